//! Figures of a capture in Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::io::{self, Write};
use std::time::Duration;

use crate::live::recovery::KernelMemory;
use crate::live::watch::Told;
use crate::model::flow::Class;
use crate::model::timestamp::Timestamp;
use crate::model::verdict::{Loss, Verdict};

/// What there is to say of a capture at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The namespace that the capture was told to listen in: a label of all figures, without which two captures
    /// on one host could not be told apart.
    pub netns: Option<String>,
    /// When the program began to capture.
    pub start: Timestamp,
    /// NEW events of listed protocols.
    pub begun: u64,
    /// UPDATE events of the same.
    pub updated: u64,
    /// DESTROY events of the same.
    pub ended: u64,
    /// Flows of the list, in the order of [`Class::ALL`].
    pub flows: [usize; 6],
    /// Records, where any are kept.
    pub records: Option<usize>,
    /// What was lost since the capture began.
    pub loss: Loss,
    /// What the list would be if it were written now.
    pub verdict: Verdict,
    /// Time in which nobody listened, between the runs of a state; what is forgotten does not count.
    pub gaps: Duration,
    /// Successful reads of the kernel's table to make up for a loss.
    pub resyncs: u64,
    /// Bytes that the sockets may queue and have queued, as the kernel charges them.
    pub queues: Option<(u64, u64)>,
    /// What BPF programs take of the kernel's memory, if there are any.
    pub memory: Option<KernelMemory>,
    /// Processor time of the process.
    pub cpu: Duration,
    /// Memory of the process that is resident.
    pub resident_bytes: Option<u64>,
    /// Lists written since the start.
    pub lists: u64,
    /// When the last one was.
    pub last_list: Option<Timestamp>,
    /// What was found in comparing with a baseline, where that is done.
    pub watch: Option<Told>,
}

impl Metrics {
    /// Writes all that is known.
    ///
    /// Errors: those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut page = Page {
            out,
            netns: self.netns.as_deref(),
        };
        let version = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("library", netfilter_conntrack::BUILT_AGAINST),
        ];
        page.family(
            GAUGE,
            "build_info",
            "Version of the program, and of libnetfilter_conntrack that it was built against.",
            &[(&version, 1.0)],
        )?;
        page.gauge(
            "start_time_seconds",
            "When the capture began, in seconds since 1970-01-01 UTC.",
            seconds(self.start),
        )?;
        self.write_flows(&mut page)?;
        self.write_loss(&mut page)?;
        self.write_costs(&mut page)?;
        if let Some(told) = self.watch {
            write_watch(told, &mut page)?;
        }
        page.counter(
            "lists_written_total",
            "Lists written without an error.",
            self.lists,
        )?;
        if let Some(time) = self.last_list {
            page.gauge(
                "last_list_timestamp_seconds",
                "When the last list was written, in seconds since 1970-01-01 UTC.",
                seconds(time),
            )?;
        }
        Ok(())
    }

    fn write_flows(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.family(
            COUNTER,
            "events_total",
            "Events of listed protocols that were taken in. Those of type destroy are received with \
             --reliable only.",
            &[
                (&[("type", "new")], self.begun as f64),
                (&[("type", "update")], self.updated as f64),
                (&[("type", "destroy")], self.ended as f64),
            ],
        )?;
        let labels = Class::ALL.map(|class| [("class", label(class))]);
        let flows: Vec<Sample<'_>> = labels
            .iter()
            .zip(self.flows)
            .map(|(labels, flows)| (&labels[..], flows as f64))
            .collect();
        page.family(GAUGE, "flows", "Distinct flows of the list.", &flows)?;
        if let Some(records) = self.records {
            page.gauge(
                "records",
                "Records of flows, which formats other than the classic list are written from.",
                records as f64,
            )?;
        }
        Ok(())
    }

    fn write_loss(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.counter(
            "events_missed_total",
            "Upper bound of the events that the kernel could not deliver: it counts every retry of one event.",
            self.loss.missed,
        )?;
        page.counter(
            "resyncs_total",
            "Times the kernel's table was read to make up for missed events.",
            self.resyncs,
        )?;
        page.counter(
            "flows_recovered_total",
            "Flows that were listed because they made up for missed events.",
            self.loss.recovered,
        )?;
        page.counter(
            "events_refused_total",
            "Events whose flow was not recorded because of --max-flows.",
            self.loss.refused,
        )?;
        page.counter(
            "messages_malformed_total",
            "Messages of the kernel that could not be read.",
            self.loss.malformed,
        )?;
        page.gauge(
            "gap_seconds",
            "Time in which nobody listened, between the runs that --state joins.",
            self.gaps.as_secs_f64(),
        )?;
        let verdict = |name| f64::from(u8::from(name == self.verdict.name()));
        let labels = Verdict::NAMES.map(|name| [("verdict", name)]);
        let verdicts = labels.each_ref().map(|labels| {
            let [(_, name)] = labels;
            (&labels[..], verdict(*name))
        });
        page.family(
            GAUGE,
            "verdict",
            "Whether the list, written now, would be complete: 1 for the verdict that holds, 0 for the others.",
            &verdicts,
        )
    }

    fn write_costs(&self, page: &mut Page<'_>) -> io::Result<()> {
        if let Some((limit, queued)) = self.queues {
            page.gauge(
                "receive_buffer_bytes",
                "Size of the receive buffers of all sockets, as the kernel accounts them.",
                limit as f64,
            )?;
            page.gauge(
                "receive_queue_bytes",
                "How much of the receive buffers is taken.",
                queued as f64,
            )?;
        }
        if let Some(memory) = self.memory {
            if let Some(bytes) = memory.bytes {
                page.gauge(
                    "kernel_memory_bytes",
                    "Memory that the BPF program's maps take in the kernel, as it tells from Linux 6.4 on.",
                    bytes as f64,
                )?;
            }
            page.gauge(
                "kernel_memory_max_bytes",
                "Memory that the BPF program's maps take in the kernel at the most, which --max-flows bounds.",
                memory.max_bytes as f64,
            )?;
        }
        page.family(
            COUNTER,
            "cpu_seconds_total",
            "Processor time that the program has taken, user and system.",
            &[(&[], self.cpu.as_secs_f64())],
        )?;
        if let Some(bytes) = self.resident_bytes {
            page.gauge(
                "resident_memory_bytes",
                "Memory of the program that is resident.",
                bytes as f64,
            )?;
        }
        Ok(())
    }
}

fn write_watch(told: Told, page: &mut Page<'_>) -> io::Result<()> {
    page.gauge(
        "watch_baseline_flows",
        "Flows of the baseline that what comes is compared with.",
        told.baseline as f64,
    )?;
    page.counter(
        "watch_new_flows_total",
        "Flows that the baseline does not have, each counted once.",
        told.new,
    )?;
    page.counter(
        "watch_overdue_flows_total",
        "Times that a flow of the baseline had not come for three times its usual gap.",
        told.overdue,
    )
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// Labels, with names, and a value. Prometheus has no other numbers than these.
type Sample<'a> = (&'a [(&'a str, &'a str)], f64);

struct Page<'a> {
    out: &'a mut dyn Write,
    netns: Option<&'a str>,
}

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> io::Result<()> {
        self.family(COUNTER, name, help, &[(&[], value as f64)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> io::Result<()> {
        self.family(GAUGE, name, help, &[(&[], value)])
    }

    fn family(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        samples: &[Sample<'_>],
    ) -> io::Result<()> {
        writeln!(self.out, "# HELP conntracker_{name} {help}")?;
        writeln!(self.out, "# TYPE conntracker_{name} {kind}")?;
        for (labels, value) in samples {
            let netns = self.netns.map(|netns| ("netns", netns));
            let labels: Vec<String> = netns
                .iter()
                .chain(*labels)
                .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
                .collect();
            let labels = match labels.join(",") {
                labels if labels.is_empty() => labels,
                labels => format!("{{{labels}}}"),
            };
            writeln!(self.out, "conntracker_{name}{labels} {value}")?;
        }
        Ok(())
    }
}

/// A label's value as it stands between quotes.
fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn seconds(time: Timestamp) -> f64 {
    time.us() as f64 / 1e6
}

const fn label(class: Class) -> &'static str {
    match class {
        Class::Tcp4 => "tcp4",
        Class::Udp4 => "udp4",
        Class::Icmp4 => "icmp4",
        Class::Tcp6 => "tcp6",
        Class::Udp6 => "udp6",
        Class::Icmp6 => "icmp6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics {
            netns: None,
            start: Timestamp::from_us(1_800_000_000_250_000).unwrap(),
            begun: 1,
            updated: 2,
            ended: 3,
            flows: [1, 2, 3, 4, 5, 6_000_000],
            records: None,
            loss: Loss::default(),
            verdict: Verdict::Complete,
            gaps: Duration::from_millis(2500),
            resyncs: 0,
            queues: None,
            memory: None,
            cpu: Duration::from_millis(1250),
            resident_bytes: None,
            lists: 0,
            last_list: None,
            watch: None,
        }
    }

    fn written(metrics: &Metrics) -> String {
        let mut page = Vec::new();
        metrics.write(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn numbers_are_written_out() {
        let page = written(&metrics());
        for line in [
            "conntracker_start_time_seconds 1800000000.25",
            "conntracker_events_total{type=\"destroy\"} 3",
            "conntracker_flows{class=\"icmp6\"} 6000000",
            "conntracker_cpu_seconds_total 1.25",
            "conntracker_gap_seconds 2.5",
            "conntracker_verdict{verdict=\"complete\"} 1",
            "conntracker_verdict{verdict=\"incomplete\"} 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\n{page}");
        }
        assert!(!page.contains("records") && !page.contains("last_list"));
    }

    #[test]
    fn every_figure_carries_the_namespace_whatever_its_name() {
        let page = written(&Metrics {
            netns: Some("a\"b\\c\nd".into()),
            ..metrics()
        });
        let figures = page.lines().filter(|line| !line.starts_with('#'));
        for line in figures {
            assert!(line.contains("{netns=\"a\\\"b\\\\c\\nd\""), "{line}");
        }
    }
}
