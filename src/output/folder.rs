//! A folder with one file for each list.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::destination::Destination;
use crate::timestamp::Timestamp;

const PREFIX: &str = "flows-";

/// A folder that lists go into, each into a file named by its time: `flows-20260131T120000Z.txt`.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    extension: &'static str,
    keep: Option<usize>,
}

impl Folder {
    /// The folder that a path names: one that is there, or whose name ends in a slash. Of the files only the newest
    /// `keep` stay, if that is given.
    #[must_use]
    pub fn named(path: &Path, extension: &'static str, keep: Option<usize>) -> Option<Self> {
        Self::is_named(path).then(|| Self {
            path: path.to_owned(),
            extension,
            keep,
        })
    }

    /// Whether a path names one.
    #[must_use]
    pub fn is_named(path: &Path) -> bool {
        path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir()
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder if it is not there, and finds out whether lists could be written.
    ///
    /// # Errors
    ///
    /// What writing would meet.
    pub fn check(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        Destination::File(self.path.join(".check")).check()
    }

    /// Where the list of a time goes: a file that is not there yet.
    #[must_use]
    pub fn next(&self, time: Timestamp) -> PathBuf {
        let text = time.to_string();
        let seconds = text.split('.').next().unwrap_or_default();
        let stamp: String = seconds.chars().filter(|c| !"-:".contains(*c)).collect();
        let mut name = format!("{PREFIX}{stamp}Z.{}", self.extension);
        let mut number = 1;
        while self.path.join(&name).exists() {
            number += 1;
            // Sorts behind the one without a number.
            name = format!("{PREFIX}{stamp}Z_{number}.{}", self.extension);
        }
        self.path.join(name)
    }

    /// Removes the oldest files beyond those that are to be kept, by their names. Others are left alone.
    ///
    /// # Errors
    ///
    /// A folder that can't be read, or a file that can't be removed.
    pub fn prune(&self) -> io::Result<()> {
        let Some(keep) = self.keep else {
            return Ok(());
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if self.is_ours(&name) {
                names.push(name);
            }
        }
        names.sort_unstable();
        let old = names.len().saturating_sub(keep);
        names[..old]
            .iter()
            .try_for_each(|name| fs::remove_file(self.path.join(name)))
    }

    fn is_ours(&self, name: &OsStr) -> bool {
        let stamp = || {
            let rest = name.to_str()?.strip_prefix(PREFIX)?;
            let (stamp, extension) = rest.split_once('.')?;
            (extension == self.extension).then_some(stamp)
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_of_our_files_stay_and_all_others() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::named(temporary.path(), "json", Some(2)).unwrap();
        folder.check().unwrap();
        let others = [
            "notes.json",
            "flows-today.json",
            "flows-20200101T000000Z.txt",
            "flows-\u{e9}.json",
        ];
        for name in others {
            fs::write(temporary.path().join(name), "").unwrap();
        }
        let time =
            |seconds: u64| Timestamp::from_us(1_600_000_000_000_000 + seconds * 1_000_000).unwrap();
        for second in [0, 1, 1, 2] {
            fs::write(folder.next(time(second)), "").unwrap();
        }
        folder.prune().unwrap();
        let mut left: Vec<_> = fs::read_dir(temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !others.contains(&name.as_str()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "flows-20200913T122641Z_2.json",
                "flows-20200913T122642Z.json"
            ]
        );
    }
}
