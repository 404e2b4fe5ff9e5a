//! A daemon's pid file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::Error;

/// A pid file, held by its lock and removed with it.
///
/// The lock, not the number, says whether the daemon runs: the kernel takes it away with the process,
/// while a number may by then belong to another one.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Takes the pid file at `path`, also one that a dead process left.
    ///
    /// # Errors
    ///
    /// A living process that holds it, or a file that can't be written.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::file(path, format!("the pid file can't be written: {error}"));
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
                .map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(running(path, &mut file)),
                Err(error) => return Err(failed(error.into())),
            }
            // Between opening and locking, its last owner may have removed it.
            if !is_at(&file, path) {
                continue;
            }
            file.set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(failed)?;
            return Ok(Self {
                path: path.to_owned(),
                file,
            });
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            // One that stays is taken over by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn running(path: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let who = match file.read_to_string(&mut text) {
        Ok(1..) => format!("as process {}", text.trim()),
        _ => "already".into(),
    };
    Error::file(
        path,
        format!("conntracker is running {who}: end it first, or name another --pid-file"),
    )
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_held_by_one_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conntracker.pid");
        fs::write(&path, "99999999\n").unwrap();
        let held = PidFile::take(&path).expect("a stale file is taken over");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        let refused = PidFile::take(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("as process {}", std::process::id())),
            "{refused}"
        );
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_file_of_another_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conntracker.pid");
        let held = PidFile::take(&path).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(held);
        assert!(path.exists());
    }
}
