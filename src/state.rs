//! The state of a capture in a file (`--state`), so that a restart goes on where the last run was.
//!
//! It is a list in the JSON form with one line more at its end, which tells that it is whole. It is replaced
//! atomically, so a crash leaves the last one; one that is damaged all the same is set aside and told of.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::capture::{Capture, Gap};
use crate::console::Console;
use crate::contents::Contents;
use crate::error::Error;
use crate::intake::Intake;
use crate::json::{self, Line, Unreadable};
use crate::output::destination::Destination;
use crate::timestamp::Timestamp;
use crate::units::show_count;

/// Gaps that are told one by one; the first ones become one when there are more.
const GAPS_MAX: usize = 64;

/// The file of a state.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
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
    /// # Errors
    ///
    /// A file that could not be written.
    pub fn new(path: &Path) -> Result<Self, Error> {
        Destination::File(path.to_owned())
            .check()
            .map_err(|error| Error::file(path, format!("can't be written: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Reads the state into `intake`, and returns the description of the capture that it goes on with. A damaged
    /// file is set aside.
    ///
    /// # Errors
    ///
    /// A file that can't be read, that is of a newer version, or that this run has no place for.
    pub fn load(&self, intake: &Intake, console: &Console) -> Result<Option<Capture>, Error> {
        let failed = |error: io::Error| Error::file(&self.path, error);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // Read through once before anything is taken over: half a state would be worse than none.
        match read(&file, |_| true, &self.path) {
            Ok((mut capture, flows)) => {
                let again = File::open(&self.path).map_err(failed)?;
                let mut fits = true;
                let restore = |record: &_| {
                    fits &= intake.restore(record);
                    fits
                };
                if read(&again, restore, &self.path).is_err() || !fits {
                    return Err(Error::file(
                        &self.path,
                        "is the state of a capture with --all-netns: give that option, or name \
                         another file with --state",
                    ));
                }
                let now = Timestamp::now();
                add_gap(&mut capture.gaps, capture.end.or(capture.start), now);
                console.note(&format!(
                    "{}: goes on with {} flows{}",
                    self.path.display(),
                    show_count(flows),
                    match capture.end {
                        Some(end) => format!("; nobody listened from {end} to {now}"),
                        None => String::new(),
                    }
                ));
                Ok(Some(capture))
            }
            Err(Trouble::Unfit(error)) => Err(error),
            Err(Trouble::Damaged(cause)) => {
                let aside = self.set_aside().map_err(failed)?;
                console.error(&format!(
                    "{}: {cause}; the file is kept as {}, and the capture begins anew. \
                     conntracker show reads what is left of it",
                    self.path.display(),
                    aside.display()
                ));
                Ok(None)
            }
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
    /// # Errors
    ///
    /// Those of the file, which then is what it was.
    pub fn save(&self, contents: &Contents, capture: &Capture) -> io::Result<()> {
        Destination::File(self.path.clone()).keep(|out| {
            let mut out = BufWriter::with_capacity(1 << 18, out);
            json::write_captures(std::slice::from_ref(capture), &mut out)?;
            contents.each(|record| json::write_flow(record, &[], &mut out))?;
            json::write_end(contents.len() as u64, &mut out)?;
            out.flush()
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a state to its end; `take` may end it early.
fn read(
    file: &File,
    mut take: impl FnMut(&crate::record::Record) -> bool,
    path: &Path,
) -> Result<(Capture, u64), Trouble> {
    let damaged = |line: usize, cause: &str| Trouble::Damaged(format!("line {line}: {cause}"));
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut capture, mut flows, mut line, mut number) = (None, 0, Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let read = reader.read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Err(damaged(number, "the end is missing")),
            Ok(_) => {}
            Err(error) => return Err(Trouble::Unfit(Error::file(path, error))),
        }
        match json::parse(&line) {
            Ok(Line::Captures(captures)) if number == 1 && captures.len() <= 1 => {
                capture = captures
                    .into_iter()
                    .next()
                    .or_else(|| Some(Capture::default()));
            }
            Ok(Line::Flow(record, _)) if capture.is_some() => {
                flows += 1;
                if !take(&record) {
                    return Ok((Capture::default(), flows));
                }
            }
            Ok(Line::End(told)) if told == flows => {
                let capture = capture.ok_or_else(|| damaged(1, "no capture is described"))?;
                return Ok((capture, flows));
            }
            Ok(Line::End(told)) => {
                return Err(damaged(number, &format!("{flows} flows instead of {told}")));
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
}

/// Adds the time in which nobody listened.
fn add_gap(gaps: &mut Vec<Gap>, from: Option<Timestamp>, to: Timestamp) {
    if let Some(from) = from {
        gaps.push(Gap { from, to });
    }
    while gaps.len() > GAPS_MAX {
        // The time between the two was listened to, but claiming less is no lie.
        let second = gaps.remove(1);
        gaps[0].to = second.to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_bounded_and_never_too_short() {
        let time = |us| Timestamp::from_us(us).unwrap();
        let mut gaps = Vec::new();
        for gap in 1..=100 {
            add_gap(&mut gaps, Some(time(gap * 10)), time(gap * 10 + 1));
        }
        assert_eq!(gaps.len(), GAPS_MAX);
        let covered = |at| gaps.iter().any(|gap| gap.from <= at && at <= gap.to);
        assert!((1..=100).all(|gap| covered(time(gap * 10))));
        assert_eq!(gaps.last().unwrap().from, time(1000));
    }
}
