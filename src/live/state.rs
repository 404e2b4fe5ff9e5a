//! The state of a capture in a file (`--state`), so that a restart goes on where the last run was.
//!
//! It is a list in the JSON form with one line more at its end, which tells that it is whole. It is replaced
//! atomically, so a crash leaves the last one; one that is damaged all the same is set aside, and a message says so.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::captures::reader::lines::{self, Lines};
use crate::files::destination::Destination;
use crate::files::lock::Lock;
use crate::files::place::{Entry, Place, is_trusted};
use crate::formats::json::{self, Line, Seal, Unreadable};
use crate::intake::Intake;
use crate::intake::contents::Contents;
use crate::live::description;
use crate::model::capture::{Capture, Gap};
use crate::model::error::Error;
use crate::model::printable::printable;
use crate::model::selection::SourcePorts;
use crate::model::units::counted;
use crate::os::clock::{earlier, later, uptime};
use crate::os::host;
use crate::ui::console::Console;

/// Gaps that are told one by one; the first ones become one when there are more.
const GAPS_MAX: usize = 64;

/// The file of a state.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// Against a second program with the same file: each would write over what the other has.
    _lock: Lock,
}

/// Why a state can't be gone on from.
enum Trouble {
    /// It is damaged; where and how.
    Damaged(String),
    /// It is not for this run.
    Unfit(Error),
}

impl State {
    /// The state in a file, which need not be there yet.
    ///
    /// Errors: a file that could not be written, that is no regular one, or that another program goes on with.
    pub fn new(path: &Path) -> Result<Self, Error> {
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(irregular(path));
        }
        Destination::File(path.to_owned())
            .check()
            .map_err(|error| Error::unwritable(path, error))?;
        let lock = Lock::take(path)
            .map_err(|error| Error::file(path, format!("can't be locked: {error}")))?
            .ok_or_else(|| {
                Error::file(
                    path,
                    "another conntracker keeps its flows there: stop that one, or name another file \
                     with --state",
                )
            })?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Reads the state into `intake`, and returns the description of the capture that goes on with it: that of
    /// `begun`, and what there is to say of earlier runs. A damaged file is set aside, and that said too.
    ///
    /// Errors: a file that can't be read, that is of a newer version, or that this run has no place for.
    pub fn go_on(
        &self,
        begun: Capture,
        intake: &Intake,
        console: &Console,
    ) -> Result<Capture, Error> {
        let failed = |error: io::Error| Error::file(&self.path, error);
        let Some(mut file) = self.open()? else {
            return Ok(begun);
        };
        // Read through once before anything is taken over: half a state would be worse than none.
        let (before, flows) = match read(&file, |_| true, &self.path) {
            Ok(whole) => whole,
            Err(Trouble::Unfit(error)) => return Err(error),
            Err(Trouble::Damaged(cause)) => {
                let aside = self.set_aside().map_err(failed)?;
                console.error(&format!(
                    "{}: {}; the file is kept as {}, and the capture begins anew. \
                     conntracker show reads what is left of it",
                    self.path.display(),
                    printable(&cause),
                    aside.display()
                ));
                return Ok(description::after_damage(begun, &aside));
            }
        };
        if let Some(why) = unfit(&before, &begun) {
            return Err(Error::file(&self.path, printable(&why)));
        }
        file.rewind().map_err(failed)?;
        let mut fits = true;
        let restore = |record: &_| {
            fits &= intake.restore(record);
            fits
        };
        if read(&file, restore, &self.path).is_err() || !fits {
            return Err(Error::file(
                &self.path,
                "is the state of a capture with --all-netns: give that option, or name \
                 another file with --state",
            ));
        }
        if intake.refused() > 0 {
            return Err(Error::file(
                &self.path,
                format!(
                    "holds {}, more than --max-flows lets be kept: give a greater number, or \
                     name another file with --state",
                    counted(flows, "flow")
                ),
            ));
        }
        let gap = gap(&before, &begun);
        let pause = match gap {
            _ if before.end.or(before.start) > begun.start => {
                "; it ends later than it is now, so the clock was set back, and how long nobody listened is \
                 not known"
                    .to_owned()
            }
            Some(Gap { from, to }) => format!("; nobody listened from {from} to {to}"),
            None => String::new(),
        };
        console.note(&format!(
            "{}: goes on with {}{pause}",
            self.path.display(),
            counted(flows, "flow"),
        ));
        let mut capture = description::go_on(begun, before);
        add_gap(&mut capture.gaps, gap);
        if capture.is_incomplete() {
            let reasons = capture.reasons();
            console.note(&format!(
                "{}: what it holds is incomplete ({})",
                self.path.display(),
                printable(&reasons.join("; "))
            ));
        }
        Ok(capture)
    }

    /// The file, if there is one. What a stranger has put there may be made up, and ends in rules.
    fn open(&self) -> Result<Option<File>, Error> {
        let failed = |error: io::Error| Error::file(&self.path, error);
        let entry = self.entry()?;
        // A named pipe that has come there meanwhile would be waited for otherwise.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&entry.folder, &entry.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(irregular(&self.path));
        }
        if !is_trusted(found.uid()) {
            return Err(Error::file(
                &self.path,
                format!(
                    "belongs to another user (uid {}), who may have made it up: if it is to be gone on with, make it \
                     this user's own with chown",
                    found.uid()
                ),
            ));
        }
        Ok(Some(file))
    }

    /// The file's name in its folder.
    fn entry(&self) -> Result<Entry, Error> {
        match Place::of(&self.path) {
            Ok(Place::Entry(entry)) => Ok(entry),
            Ok(_) => Err(irregular(&self.path)),
            Err(error) => Err(Error::file(&self.path, error)),
        }
    }

    /// Gives a damaged file a name that no other one has.
    fn set_aside(&self) -> io::Result<PathBuf> {
        for number in 1.. {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".damaged-{number}"));
            let aside = PathBuf::from(name);
            match fs::hard_link(&self.path, &aside) {
                Ok(()) => {
                    fs::remove_file(&self.path)?;
                    return Ok(aside);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("numbers have no end")
    }

    /// Writes the state.
    ///
    /// Errors: those of the file, which then is what it was.
    pub fn save(&self, contents: &Contents, capture: &Capture) -> io::Result<()> {
        let capture = Capture {
            uptime_s: Some(uptime().as_secs()),
            ..capture.clone()
        };
        Destination::File(self.path.clone()).keep(|out| {
            let mut out = BufWriter::with_capacity(1 << 18, out);
            let mut list = json::List::begin(std::slice::from_ref(&capture), &mut out)?;
            contents.each(|record| list.flow(record, &[]))?;
            list.end()?;
            out.flush()
        })
    }

    /// The file that the state is kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn irregular(path: &Path) -> Error {
    Error::file(
        path,
        "is no regular file, and a state is read and replaced as a whole: name another one with --state",
    )
}

/// Why a run of the description `now` can't go on with a capture, if it can't: what the one left out, the other
/// would be taken for having seen.
fn unfit(before: &Capture, now: &Capture) -> Option<String> {
    let shown = |what: &[String]| match what {
        [] => "none".to_owned(),
        some => some.join(" "),
    };
    let filters = |capture: &Capture| {
        let mut filters = capture.filters.clone();
        // These say what is in it as filters do. The others say how it came there.
        let told = ["--all-protocols", "--all-netns", SourcePorts::KEPT];
        let options = capture.options.iter();
        filters.extend(
            options
                .filter(|option| told.contains(&option.as_str()))
                .cloned(),
        );
        filters.sort_unstable();
        filters
    };
    let (old, new) = (filters(before), filters(now));
    if old != new {
        return Some(format!(
            "is of a capture with other filters ({}; now: {}): give the same, or name another file with \
             --state",
            shown(&old),
            shown(&new)
        ));
    }
    (before.netns != now.netns).then(|| {
        let named = |netns: &Option<String>| netns.clone().unwrap_or_else(|| "none".to_owned());
        format!(
            "is of a capture with another --netns ({}; now: {}): give the same, or name another file with \
             --state",
            named(&before.netns),
            named(&now.netns)
        )
    })
}

/// Reads a state to its end; `take` may end it early.
fn read(
    file: &File,
    mut take: impl FnMut(&crate::model::record::Record) -> bool,
    path: &Path,
) -> Result<(Capture, u64), Trouble> {
    let damaged = |line: u64, cause: &str| Trouble::Damaged(format!("line {line}: {cause}"));
    let input = BufReader::with_capacity(1 << 18, file);
    let mut lines = Lines::up_to_the_first_too_long(input);
    let (mut capture, mut seal, mut whole) = (None, Seal::default(), false);
    loop {
        let number = lines.number() + 1;
        let line = match lines.next_line() {
            Ok(None) if whole => break,
            Ok(None) => return Err(damaged(number, "the end is missing")),
            Ok(Some(_)) if whole => return Err(damaged(number, "something follows the end")),
            Ok(Some(lines::Line::Whole(line, _))) => line,
            Ok(Some(lines::Line::TooLong)) => return Err(damaged(number, "too long for a line")),
            Err(error) => return Err(Trouble::Unfit(Error::file(path, error))),
        };
        match json::parse(line) {
            Ok(Line::Captures(captures, _)) if number == 1 && captures.len() <= 1 => {
                capture = captures
                    .into_iter()
                    .next()
                    .or_else(|| Some(Capture::default()));
            }
            Ok(Line::Flow(record, _) | Line::Told(record, ..)) if capture.is_some() => {
                seal.add(line);
                if !take(&record) {
                    break;
                }
            }
            Ok(Line::End(end)) => {
                if let Some(why) = seal.differs_from(&end) {
                    return Err(damaged(number, &why));
                }
                whole = true;
            }
            Ok(_) => return Err(damaged(number, "not what a state has there")),
            Err(Unreadable::Newer(schema)) => {
                return Err(Trouble::Unfit(Error::file(
                    path,
                    format!(
                        "is of schema {schema}, which a newer conntracker writes: use that one, or name another file"
                    ),
                )));
            }
            Err(Unreadable::Malformed(cause)) => return Err(damaged(number, &cause)),
        }
    }
    match capture {
        Some(capture) => Ok((capture, seal.flows())),
        None => Err(damaged(1, "no capture is described")),
    }
}

/// The time in which nobody listened, between a capture and one that goes on with it.
fn gap(before: &Capture, begun: &Capture) -> Option<Gap> {
    let ahead = Duration::from_secs(before.clock_ahead_s.unwrap_or(0));
    let end = before.end.map(|end| earlier(end, ahead).unwrap_or(end));
    let (from, to) = (end.or(before.start)?, begun.start?);
    let same_boot = before.boot_id.is_some() && before.boot_id == host::describe().0.boot_id;
    // The clock may have been set back meanwhile: how long the machine has been up tells how long it was at least.
    if let (true, Some(end_s)) = (same_boot, before.uptime_s) {
        let passed = uptime().saturating_sub(Duration::from_secs(end_s + 1));
        let least = later(from.min(to), passed);
        if least > to {
            return Some(Gap {
                from: from.min(earlier(to, passed).unwrap_or(to)),
                to: from.max(to),
            });
        }
    }
    // Set back since: it lies somewhere between the two.
    if to < from {
        return Some(Gap { from: to, to: from });
    }
    // Whatever the clock says, within one boot it was no longer than that.
    let most = if same_boot { later(from, uptime()) } else { to };
    Some(Gap {
        from,
        to: to.min(most),
    })
}

/// Adds the time in which nobody listened.
fn add_gap(gaps: &mut Vec<Gap>, gap: Option<Gap>) {
    gaps.extend(gap);
    if gaps.len() > GAPS_MAX {
        // The time between them was listened to, but claiming less is no lie.
        let more = gaps.len() - GAPS_MAX;
        let last = gaps.drain(1..=more).map(|gap| gap.to).max();
        gaps[0].to = gaps[0].to.max(last.unwrap_or(gaps[0].to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::timestamp::Timestamp;

    #[test]
    fn gaps_are_bounded_and_never_too_short() {
        let time = |us| Timestamp::from_us(us).unwrap();
        let mut gaps = Vec::new();
        for gap in 1..=100 {
            let gap = Gap {
                from: time(gap * 10),
                to: time(gap * 10 + 1),
            };
            add_gap(&mut gaps, Some(gap));
        }
        assert_eq!(gaps.len(), GAPS_MAX);
        let covered = |at| gaps.iter().any(|gap| gap.from <= at && at <= gap.to);
        assert!((1..=100).all(|gap| covered(time(gap * 10))));
        assert_eq!(gaps.last().unwrap().from, time(1000));
    }
}
