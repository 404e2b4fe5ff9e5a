//! A descriptor that is known by its number alone: the N of /dev/fd/N.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A second descriptor of the open file that `number` refers to. It shares its offset and its `O_APPEND`, which opening
/// /dev/fd/N anew would not.
///
/// Errors: those of fcntl(2): `EBADF` if nothing is open there.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only. The kernel refuses what is not open, and the file stays open for as long as the new
    // descriptor is, whoever closes the old one.
    let new = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn both_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before ").unwrap();
        let mut log = OpenOptions::new().append(true).open(&path).unwrap();
        let mut second = std::fs::File::from(duplicate(log.as_raw_fd()).unwrap());
        second.write_all(b"second ").unwrap();
        log.write_all(b"first").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before second first");
        assert_eq!(
            duplicate(1 << 20).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
    }
}
