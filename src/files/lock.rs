//! A lock on the name of a file that is replaced again and again, so that two programs do not work on it at a time.
//!
//! The lock is on a file of its own beside it: one on the file itself would go with it at the first replacement. The
//! kernel lets go of it however the program ends (flock(2)).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

/// How often somebody else may remove the file before it is locked: whoever does so over and over is no program of ours.
const ATTEMPTS: u32 = 100;

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock on the name `path`; `None` if another program has it.
    ///
    /// Errors: those of the file beside it.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        // By all of its names.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let path = beside(&path);
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32)
                .open(&path)
                .map_err(|error| named(&path, &error))?;
            let owner = file.metadata()?.uid();
            if owner != 0 && owner != geteuid().as_raw() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "{} is another user's (uid {owner}), who could keep it locked: remove it, or name a file \
                         in a folder that others can't write to",
                        path.display()
                    ),
                ));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Whoever had it may have removed the file before this could lock it.
            let named = fs::symlink_metadata(&path);
            let own = file.metadata()?;
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())) {
                return Ok(Some(Self { path, _file: file }));
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held, so that nobody else's is removed.
        let _ = fs::remove_file(&self.path);
    }
}

/// The error with the name of the file that it is about, which nobody has given.
fn named(path: &Path, error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => {
            "is a link or a pipe, which this program does not make: remove it".to_owned()
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{} {why}", path.display()))
}

/// `.state.json.lock`, which no pattern for lists or metrics matches.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let held = Lock::take(&path).unwrap().expect("nobody has it");
        assert!(Lock::take(&link).unwrap().is_none());
        // It is replaced meanwhile.
        fs::rename(folder.path().join("link"), &path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "new").unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        drop(Lock::take(&path).unwrap().expect("nobody has it any more"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
