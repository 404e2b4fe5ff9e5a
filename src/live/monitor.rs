//! The metrics file: figures gathered while a capture runs, for node_exporter's textfile collector.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::files::destination::Destination;
use crate::files::lock::Lock;
use crate::files::place::Place;
use crate::intake::Intake;
use crate::live::dumps::Dumps;
use crate::live::metrics::Metrics;
use crate::live::recovery::Report;
use crate::live::watch::Watch;
use crate::model::error::Error;
use crate::model::timestamp::Timestamp;
use crate::model::verdict::Loss;
use crate::ui::console::Console;

/// How often the file is written: as often as Prometheus usually asks.
pub const EVERY: Duration = Duration::from_secs(15);

/// Writes the metrics of a capture to a file.
#[derive(Debug)]
pub struct Monitor {
    path: PathBuf,
    netns: Option<String>,
    start: Timestamp,
    /// The most UPDATE events that were written.
    updated: AtomicU64,
    /// Whether the last attempt failed, of which there was a message then.
    failed: AtomicBool,
    /// Against a second program with the same file, whose figures would take turns with these.
    _lock: Option<Lock>,
}

impl Monitor {
    /// Metrics to `path`, of a capture that begins now, in that namespace if it is not the program's own.
    ///
    /// Errors: a file that could not be written.
    pub fn new(path: &Path, netns: Option<&str>) -> Result<Self, Error> {
        if Place::of(path).is_ok_and(|place| place.is_fifo()) {
            return Err(Error::file(
                path,
                "is a pipe, and figures are replaced as a whole: name a file with --metrics-file",
            ));
        }
        Destination::File(path.to_owned())
            .check()
            .map_err(|error| Error::unwritable(path, error))?;
        // Where there can be no file beside it, there is no lock: figures are worth less than the capture.
        let lock = match Lock::take(path) {
            Ok(None) => {
                return Err(Error::file(
                    path,
                    "another conntracker writes its figures there: name another file with --metrics-file",
                ));
            }
            taken => taken.ok().flatten(),
        };
        Ok(Self {
            _lock: lock,
            path: path.to_owned(),
            netns: netns.map(ToOwned::to_owned),
            start: Timestamp::now(),
            updated: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Writes the metrics as they are now. `loss` is what was lost since the capture began. A failure is told
    /// of once, until it works again: the capture is worth more than its figures.
    pub fn write(
        &self,
        intake: &Intake,
        report: Report,
        loss: &Loss,
        (dumps, watch): (&Dumps<'_>, Option<&Watch>),
        console: &Console,
    ) {
        let metrics = Metrics {
            watch: watch.map(Watch::told),
            ..self.gather(intake, report, loss, dumps)
        };
        let mut page = Vec::with_capacity(1 << 13);
        let written = metrics.write(&mut page).and_then(|()| {
            Destination::File(self.path.clone()).publish(|out| out.write_all(&page))
        });
        let failed_before = self.failed.swap(written.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (written, failed_before) {
            console.error(&format!(
                "{}: {error}; metrics stay behind, the capture goes on",
                self.path.display()
            ));
        }
    }

    fn gather(&self, intake: &Intake, report: Report, loss: &Loss, dumps: &Dumps<'_>) -> Metrics {
        let (tally, held) = (intake.tally(), intake.held());
        let lists = dumps.lists();
        // The two are counted one after the other, and a counter that goes back counts as a restart.
        let updated = tally.events.saturating_sub(tally.begun);
        let updated = updated.max(self.updated.fetch_max(updated, Ordering::Relaxed));
        Metrics {
            netns: self.netns.clone(),
            start: self.start,
            begun: tally.begun,
            updated,
            ended: tally.ended,
            flows: held.flows,
            records: held.records,
            loss: loss.clone(),
            verdict: dumps.of_next(loss).verdict(),
            gaps: dumps.gaps(),
            resyncs: report.resyncs,
            queues: report.queues,
            memory: report.memory,
            cpu: cpu_time(),
            resident_bytes: resident_bytes(),
            lists: lists.written,
            last_list: lists.last,
            watch: None,
        }
    }
}

/// Processor time of all threads of the process, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// `VmRSS` of proc_pid_status(5), if /proc is there.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_what_it_takes() {
        assert!(cpu_time() > Duration::ZERO);
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
