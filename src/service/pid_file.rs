//! A daemon's pid file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::files::place::{Entry, Place, is_trusted};
use crate::model::error::Error;

/// How often its last owner may remove it between opening and locking.
const ATTEMPTS: u32 = 100;

/// A pid file, held by its lock and removed with it.
///
/// The lock, not the number, says whether the daemon runs: the kernel takes it away with the process,
/// while a number may by then belong to another one.
#[derive(Debug)]
pub struct PidFile {
    entry: Entry,
    file: File,
}

impl PidFile {
    /// Takes the pid file at `path`, also one that a dead process left.
    ///
    /// Errors: a living process that holds it, or a file that can't be written.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let failed =
            |error: io::Error| Error::file(path, format!("the pid file can't be written: {error}"));
        let Place::Entry(entry) = Place::of(path).map_err(failed)? else {
            return Err(Error::file(path, "is no file that a number can be kept in"));
        };
        for _ in 0..ATTEMPTS {
            // Not waiting for the other end of a pipe.
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let mode = Mode::from_raw_mode(0o644);
            let opened = openat(&entry.folder, &entry.name, flags | OFlags::CLOEXEC, mode);
            let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
            let found = fstat(&file).map_err(|error| failed(error.into()))?;
            // Whoever owns it could change the number; and what it is linked to would be written to as well.
            let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            if !regular || !is_trusted(found.st_uid) || found.st_nlink > 1 {
                return Err(Error::file(
                    path,
                    "is no pid file of this user: remove it, or name another --pid-file",
                ));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(running(path, &mut file)),
                Err(error) => return Err(failed(error.into())),
            }
            // Between opening and locking, its last owner may have removed it.
            if !is_at(&file, &entry) {
                continue;
            }
            file.set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(failed)?;
            return Ok(Self { entry, file });
        }
        Err(failed(io::ErrorKind::ResourceBusy.into()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.entry) {
            // One that stays is taken over by the next daemon.
            let _ = unlinkat(&self.entry.folder, &self.entry.name, AtFlags::empty());
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

fn is_at(file: &File, entry: &Entry) -> bool {
    let named = statat(&entry.folder, &entry.name, AtFlags::SYMLINK_NOFOLLOW);
    match (fstat(file), named) {
        (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

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

    #[test]
    fn a_pid_file_behind_a_link_is_taken_and_what_is_no_pid_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (link, path) = (folder.path().join("link"), folder.path().join("pid"));
        symlink(&path, &link).unwrap();
        let held = PidFile::take(&link).unwrap();
        assert!(PidFile::take(&path).is_err(), "it is held");
        drop(held);
        assert!(!path.exists() && link.symlink_metadata().is_ok());
        // Its content is worth more than a number.
        fs::write(&path, "precious").unwrap();
        fs::hard_link(&path, folder.path().join("elsewhere")).unwrap();
        assert!(PidFile::take(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(PidFile::take(Path::new("/dev/null")).is_err());
    }
}
