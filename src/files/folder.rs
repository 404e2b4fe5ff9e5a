//! A folder with one file for each list.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::place;
use super::temporary::{Audience, Temporary, sweep};
use crate::model::timestamp::Timestamp;

const PREFIX: &str = "flows-";

/// A folder that lists go into, each into a file named by its time: `flows-20260131T120000Z.txt`.
///
/// Captures of several namespaces or hosts may share one: what tells them apart is in the names then, and each removes
/// its own files only. The order of files is that in which they were written: clocks step.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    extension: &'static str,
    keep: Option<usize>,
    own: Mutex<Own>,
}

/// What this run knows of its files.
#[derive(Debug, Default)]
struct Own {
    /// What tells its names from those of other captures in the folder.
    mark: Option<String>,
    /// Files of earlier runs that count as its own, the oldest first.
    before: VecDeque<OsString>,
    /// Files that it has written, the oldest first. Only as many as are kept.
    written: VecDeque<OsString>,
    /// The second of the newest one, and its number.
    last: Option<(u64, u32)>,
    /// Holds a lock for as long as it runs, which tells other captures that it is there.
    _present: Option<OwnedFd>,
    /// What is wrong with files that are to go.
    complaint: Option<String>,
}

impl Folder {
    /// The folder that a path names: one that is there, or whose name ends in a slash. Of the files only the newest
    /// `keep` stay, if that is given. `mark` is the namespace of the capture, where that is not the host's own.
    pub fn named(
        path: &Path,
        extension: &'static str,
        keep: Option<usize>,
        mark: Option<&str>,
    ) -> Option<Self> {
        Self::is_named(path).then(|| Self {
            path: path.to_owned(),
            extension,
            keep,
            own: Mutex::new(Own {
                mark: mark.map(plain),
                ..Own::default()
            }),
        })
    }

    /// Whether a path names one.
    pub fn is_named(path: &Path) -> bool {
        path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder if it is not there, finds out whether lists could be written, and takes stock of what is
    /// there.
    ///
    /// Errors: what writing would meet.
    pub fn check(&self) -> io::Result<()> {
        let folder = place::folder(&self.path)?;
        sweep(&folder);
        drop(Temporary::new(&folder, None, Audience::Owner)?);
        let mut own = self.own.lock();
        let alone = match be_present(&folder) {
            Ok((present, alone)) => {
                own._present = Some(present);
                alone
            }
            // A folder without locks, or that may not be read: its lists are taken for ours.
            Err(_) => true,
        };
        if !alone || place::is_shared(&folder)? {
            let host = plain(&rustix::system::uname().nodename().to_string_lossy());
            own.mark = Some(match own.mark.take() {
                Some(mark) => format!("{host}-{mark}"),
                None => host,
            });
        }
        // What another capture counts is not ours to remove.
        if alone && self.keep.is_some() {
            own.before = self.lists(&folder, own.mark.as_deref())?.into();
        }
        Ok(())
    }

    /// Has `write` write one list into a file that is not there yet, and removes the oldest of our lists beyond those
    /// that are to be kept. That one can't be removed is no failure of the list: [`complaint`](Self::complaint)
    /// tells.
    ///
    /// Errors: those of `write` and of the file; there is no new file then.
    pub fn put(
        &self,
        time: Timestamp,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let folder = place::folder(&self.path)?;
        let mut new = Temporary::new(&folder, None, Audience::Group)?;
        write(&mut new)?;
        let mut own = self.own.lock();
        // Behind the one before in the same second, whose own name may be free again.
        let second = time.us() / 1_000_000;
        let taken = match own.last {
            Some((then, number)) if then == second => number,
            _ => 0,
        };
        let number = Cell::new(0);
        let name = new.appear(|further| {
            number.set(taken + further);
            self.name(time, own.mark.as_deref(), number.get())
        })?;
        own.last = Some((second, number.get()));
        own.written.push_back(name);
        if let Some(keep) = self.keep {
            own.complaint = prune(&folder, &mut own, keep)
                .err()
                .map(|error| format!("an older list can't be removed: {error}"));
        }
        // Without a limit nobody asks for them.
        if self.keep.is_none() {
            own.written.clear();
        }
        Ok(())
    }

    /// What went wrong beside the list that was written last.
    pub fn complaint(&self) -> Option<String> {
        self.own.lock().complaint.take()
    }

    fn name(&self, time: Timestamp, mark: Option<&str>, number: u32) -> OsString {
        let text = time.to_string();
        let seconds = text.split('.').next().unwrap_or_default();
        let stamp: String = seconds.chars().filter(|c| !"-:".contains(*c)).collect();
        let mark = mark.map(|mark| format!("-{mark}")).unwrap_or_default();
        // Sorts behind the one without a number.
        let number = if number > 1 {
            format!("_{number}")
        } else {
            String::new()
        };
        format!("{PREFIX}{stamp}Z{mark}{number}.{}", self.extension).into()
    }

    /// Our lists that are there, as old as they say.
    fn lists(&self, folder: &OwnedFd, mark: Option<&str>) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = openat(folder, ".", flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in Dir::new(readable)? {
            let entry = entry?;
            let name = OsString::from(entry.file_name().to_string_lossy().into_owned());
            if !self.is_ours(&name, mark) {
                continue;
            }
            let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            // A folder of such a name is nobody's list.
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                found.push(((stat.st_mtime, stat.st_mtime_nsec), name));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    fn is_ours(&self, name: &OsStr, mark: Option<&str>) -> bool {
        let stamp = || {
            let rest = name.to_str()?.strip_prefix(PREFIX)?;
            rest.strip_suffix(self.extension)?.strip_suffix('.')
        };
        stamp().is_some_and(|stamp| {
            let digits = |from: usize, to: usize| {
                let part = stamp.as_bytes().get(from..to);
                part.is_some_and(|part| part.iter().all(u8::is_ascii_digit))
            };
            digits(0, 8)
                && stamp[8..].starts_with('T')
                && digits(9, 15)
                && stamp[15..].starts_with('Z')
                && is_mark(&stamp[16..], mark)
        })
    }
}

/// Whether the end of a name has this mark and no other, with a number or without.
fn is_mark(end: &str, mark: Option<&str>) -> bool {
    let rest = match mark {
        Some(mark) => end
            .strip_prefix('-')
            .and_then(|rest| rest.strip_prefix(mark)),
        None => Some(end),
    };
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('_').is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    })
}

/// A name as it can stand in the name of a file, without what ends the mark.
fn plain(name: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let name: String = name
        .chars()
        .map(|c| if kept(c) { c } else { '-' })
        .collect();
    name.chars().take(64).collect()
}

/// Tells other captures that one has its lists here; whether there was none before.
fn be_present(folder: &OwnedFd) -> io::Result<(OwnedFd, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let present = openat(folder, ".", flags, Mode::empty())?;
    let alone = match flock(&present, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(Errno::WOULDBLOCK) => false,
        Err(error) => return Err(error.into()),
    };
    // Those that start at the same moment see each other's first lock, and both take a mark.
    match flock(&present, FlockOperation::NonBlockingLockShared) {
        Ok(()) | Err(Errno::WOULDBLOCK) => Ok((present, alone)),
        Err(error) => Err(error.into()),
    }
}

/// Removes our oldest lists: those of earlier runs first, then this run's in the order of writing.
fn prune(folder: &OwnedFd, own: &mut Own, keep: usize) -> io::Result<()> {
    while own.before.len() + own.written.len() > keep {
        let from_before = !own.before.is_empty();
        let files = if from_before {
            &mut own.before
        } else {
            &mut own.written
        };
        let Some(name) = files.front() else {
            return Ok(());
        };
        match unlinkat(folder, name, AtFlags::empty()) {
            // Gone already, or replaced by what is no list.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        files.pop_front();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn time(seconds: u64) -> Timestamp {
        Timestamp::from_us(1_600_000_000 * SECOND + seconds * SECOND).unwrap()
    }

    fn folder(path: &Path, keep: usize, mark: Option<&str>) -> Folder {
        let folder = Folder::named(path, "json", Some(keep), mark).unwrap();
        folder.check().unwrap();
        folder
    }

    fn put(folder: &Folder, seconds: u64) {
        folder
            .put(time(seconds), |out| out.write_all(b"x"))
            .unwrap();
        assert_eq!(folder.complaint(), None);
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_the_newest_of_our_files_stay_and_all_others() {
        let temporary = tempfile::tempdir().unwrap();
        let others = [
            "notes.json",
            "flows-today.json",
            "flows-20200101T000000Z.txt",
            "flows-20200101T000000Z-blue.json",
            "flows-\u{e9}.json",
        ];
        for name in others {
            fs::write(temporary.path().join(name), "").unwrap();
        }
        let folder = folder(temporary.path(), 2, None);
        for second in [0, 1, 1, 2] {
            put(&folder, second);
        }
        let mut left = names(temporary.path());
        left.retain(|name| !others.contains(&name.as_str()));
        assert_eq!(
            left,
            [
                "flows-20200913T122641Z_2.json",
                "flows-20200913T122642Z.json"
            ]
        );
        assert_eq!(names(temporary.path()).len(), others.len() + 2);
    }

    #[test]
    fn names_of_one_second_are_in_the_order_of_writing() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path(), 2, None);
        for _ in 0..4 {
            put(&folder, 0);
        }
        assert_eq!(
            names(temporary.path()),
            [
                "flows-20200913T122640Z_3.json",
                "flows-20200913T122640Z_4.json"
            ]
        );
    }

    #[test]
    fn the_order_is_that_of_writing_and_not_of_the_clock() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        // Of a run whose clock was far ahead.
        fs::write(path.join("flows-20991231T000000Z.json"), "old").unwrap();
        let folder = folder(path, 3, None);
        for second in [5000, 5001, 0, 1] {
            put(&folder, second);
        }
        assert_eq!(
            names(path),
            [
                "flows-20200913T122640Z.json",
                "flows-20200913T122641Z.json",
                "flows-20200913T135001Z.json"
            ]
        );
    }

    #[test]
    fn a_folder_that_is_named_like_a_list_is_in_nobodys_way() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        for name in ["flows-20200913T122640Z.json", "flows-20000101T000000Z.json"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let folder = folder(path, 1, None);
        put(&folder, 0);
        put(&folder, 0);
        assert_eq!(
            names(path),
            [
                "flows-20000101T000000Z.json",
                "flows-20200913T122640Z.json",
                "flows-20200913T122640Z_3.json"
            ]
        );
    }

    #[test]
    fn captures_that_share_a_folder_leave_each_others_lists_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        let first = folder(path, 1, None);
        put(&first, 0);
        let second = folder(path, 1, None);
        let (red, blue) = (
            folder(path, 1, Some("red")),
            folder(path, 1, Some("b/l_ue")),
        );
        for round in 0..3 {
            for folder in [&first, &second, &red, &blue] {
                put(folder, round);
            }
        }
        let names = names(path);
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"flows-20200913T122642Z.json".to_owned()));
        assert!(names.iter().any(|name| name.ends_with("-red.json")));
        assert!(names.iter().any(|name| name.ends_with("-b-l-ue.json")));
        drop((first, second, red, blue));
        // The next run alone counts those of the last one, and leaves those with marks.
        put(&folder(path, 1, None), 9);
        assert_eq!(super::tests::names(path).len(), 4);
    }
}
