//! Where a path leads, found out without trusting those who may write to the folders on the way.
//!
//! A link of a stranger would have us write wherever the stranger likes. The kernel's own protection
//! (fs.protected_symlinks of proc_sys_fs(5)) covers sticky folders alone, may be off, and does not see links that a
//! program reads and follows by itself. So every component is opened without following it (`O_NOFOLLOW`), a link
//! is followed only if root or we ourselves have made it, and whatever happens to the file at the end happens
//! relative to the folder that was opened, whoever renames what meanwhile.

mod walk;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, fstat, fstatfs, open, stat,
};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::geteuid;

use walk::{Walk, Wanted};

/// File systems that several hosts may have mounted: NFS, CIFS, SMB2, Ceph, AFS, 9P, GFS2, OCFS2 and everything that is
/// FUSE (include/uapi/linux/magic.h, Linux 6.18; NFS: `NFS_SUPER_MAGIC`).
const SHARED: [i64; 9] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x5346_414f,
    0x0102_1997,
    0x0116_1970,
    0x7461_636f,
    0x6573_5546,
];

/// How long a pipe may be without a reader.
const READER_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it has one.
const READER_NAP: Duration = Duration::from_millis(20);

/// What a path turns out to be.
#[derive(Debug)]
pub enum Place {
    /// A descriptor of our own, by its number: /dev/stdout, /dev/fd/3.
    Descriptor(i32),
    /// A pipe or device, or the open file of another process: there is nothing to replace.
    Special(OwnedFd),
    /// A regular file, or none yet.
    Entry(Entry),
}

/// A name in a folder.
#[derive(Debug)]
pub struct Entry {
    /// The folder; opened with `O_PATH`.
    pub folder: OwnedFd,
    /// Its name in that folder.
    pub name: OsString,
    /// The file that has the name now, if one has.
    pub present: Option<Stat>,
}

impl Place {
    /// The place that a path names. Links stay, and their targets are the place.
    ///
    /// Errors: what following the path meets: a folder that is missing, a link of a stranger.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(Errno::ISDIR.into());
        }
        Walk::new(path, Wanted::File)?.file()
    }

    /// Whether it can be written to, as far as that can be known without opening it: closing a pipe again would tell
    /// its reader that all has been written.
    ///
    /// Errors: those of access(2).
    pub fn check_special(handle: &OwnedFd) -> io::Result<()> {
        let path = opened(handle);
        Ok(accessat(
            rustix::fs::CWD,
            path,
            Access::WRITE_OK,
            AtFlags::empty(),
        )?)
    }

    /// Opens a pipe or device for writing. A pipe that nobody reads is waited for, but not for ever: open(2) would be
    /// (fifo(7)).
    ///
    /// Errors: those of open(2), and a pipe without a reader.
    pub fn open_special(handle: &OwnedFd) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
        let deadline = Instant::now() + READER_PATIENCE;
        loop {
            match open(opened(handle), flags | OFlags::NONBLOCK, Mode::empty()) {
                Ok(special) => {
                    // From here on a slow reader is waited for, as on standard output.
                    ioctl_fionbio(&special, false)?;
                    return Ok(special);
                }
                Err(Errno::NXIO) if Instant::now() < deadline => thread::sleep(READER_NAP),
                Err(Errno::NXIO) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "is a pipe that no process reads",
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it is a pipe with a name (fifo(7)).
    pub fn is_fifo(&self) -> bool {
        let Self::Special(handle) = self else {
            return false;
        };
        fstat(handle).is_ok_and(|stat| kind(&stat) == FileType::Fifo)
    }

    /// What tells places apart: two paths with one identity are one file.
    ///
    /// Errors: those of fstat(2).
    pub fn identities(&self) -> io::Result<Vec<Identity>> {
        let named = |stat: &Stat| Identity::File(stat.st_dev, stat.st_ino);
        Ok(match self {
            Self::Descriptor(number) => match stat(format!("/proc/self/fd/{number}")) {
                Ok(found) if is_character_device(&found) => Vec::new(),
                Ok(found) => vec![named(&found)],
                Err(_) => vec![Identity::Descriptor(*number)],
            },
            Self::Special(handle) => {
                let found = fstat(handle)?;
                // What is written to /dev/null does not get into the way of anything.
                if is_character_device(&found) {
                    Vec::new()
                } else {
                    vec![named(&found)]
                }
            }
            Self::Entry(entry) => {
                let folder = fstat(&entry.folder)?;
                let name = Identity::Name(folder.st_dev, folder.st_ino, entry.name.clone());
                let present = entry.present.as_ref().map(named);
                std::iter::once(name).chain(present).collect()
            }
        })
    }
}

/// Something that is the same for all paths to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A name in a folder, by the folder's device and inode.
    Name(u64, u64, OsString),
    /// A file, by device and inode.
    File(u64, u64),
    /// A descriptor that is not open.
    Descriptor(i32),
}

/// The folder that a path names, made with all above it if it is not there.
///
/// Errors: as for [`Place::of`]; what is no folder.
pub fn folder(path: &Path) -> io::Result<OwnedFd> {
    Walk::new(path, Wanted::Folder)?.folder()
}

/// Whether several hosts may have the file system of a folder mounted, so that a lock need not say who is alive.
///
/// Errors: those of fstatfs(2).
pub fn is_shared(folder: &OwnedFd) -> io::Result<bool> {
    Ok(SHARED.contains(&(fstatfs(folder)?.f_type as i64)))
}

/// Whether nobody but root and us can give names to things in a folder.
///
/// Errors: those of fstat(2).
pub fn is_private(folder: &OwnedFd) -> io::Result<bool> {
    let stat = fstat(folder)?;
    Ok(is_trusted(stat.st_uid) && stat.st_mode & 0o022 == 0)
}

/// Whether what an owner has made may lead us on: root could write anywhere anyway.
pub fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}

/// Whether what leads on, or is written to, was put there by whom it belongs to. One with a second name may have been
/// given this one by a stranger, where fs.protected_hardlinks is off: a link can be linked like a file (link(2)).
fn is_of_ours(stat: &Stat) -> bool {
    is_trusted(stat.st_uid) && stat.st_nlink == 1
}

/// The path of a handle that only names its file.
fn opened(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_character_device(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    use super::*;

    fn entry(path: &Path) -> io::Result<Entry> {
        match Place::of(path)? {
            Place::Entry(entry) => Ok(entry),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn our_own_links_are_followed_to_their_end() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        fs::create_dir(folder.join("below")).unwrap();
        symlink("below/../below/./list", folder.join("link")).unwrap();
        symlink(folder.join("link"), folder.join("again")).unwrap();
        let found = entry(&folder.join("again")).unwrap();
        assert_eq!(found.name, "list");
        assert!(found.present.is_none());
        let below = fs::metadata(folder.join("below")).unwrap();
        assert_eq!(fstat(&found.folder).unwrap().st_ino, below.ino());
        fs::write(folder.join("below/list"), "").unwrap();
        assert!(entry(&folder.join("again")).unwrap().present.is_some());
        symlink("circle", folder.join("circle")).unwrap();
        let circle = entry(&folder.join("circle")).unwrap_err();
        assert_eq!(circle.raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn what_is_no_file_is_told_apart() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let kind = |path: &Path| entry(path).unwrap_err().kind();
        assert_eq!(kind(folder), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&folder.join("x/")), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&folder.join("no/list")), io::ErrorKind::NotFound);
        fs::write(folder.join("file"), "").unwrap();
        assert_eq!(
            kind(&folder.join("file/list")),
            io::ErrorKind::NotADirectory
        );
        assert!(matches!(
            Place::of(Path::new("/dev/null")),
            Ok(Place::Special(_))
        ));
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            let found = Place::of(Path::new(name));
            assert!(
                matches!(found, Ok(Place::Descriptor(1))),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn links_and_pipes_of_strangers_are_refused_wherever_they_are() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        fs::create_dir(folder.join("below")).unwrap();
        symlink("below/list", folder.join("link")).unwrap();
        symlink("below", folder.join("way")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("pipe"),
            FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        if !geteuid().is_root() {
            eprintln!("skipped: only root can give files to others");
            return;
        }
        for name in ["link", "way", "pipe"] {
            lchown(folder.join(name), Some(65534), Some(65534)).unwrap();
        }
        for path in ["link", "way/list", "pipe"] {
            let error = Place::of(&folder.join(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{path}");
            assert!(error.to_string().contains("uid 65534"), "{error}");
        }
        // A link of our own under a name that somebody else may have given it.
        symlink("below/list", folder.join("ours")).unwrap();
        fs::hard_link(folder.join("ours"), folder.join("again")).unwrap();
        let error = Place::of(&folder.join("again")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let way = super::folder(&folder.join("way/further")).unwrap_err();
        assert_eq!(way.kind(), io::ErrorKind::PermissionDenied);
        assert!(!folder.join("below/further").exists());
    }

    #[test]
    fn different_paths_to_one_file_have_an_identity_in_common() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        symlink(folder.join("list"), folder.join("link")).unwrap();
        let identities = |name: &str| {
            Place::of(&folder.join(name))
                .and_then(|place| place.identities())
                .unwrap()
        };
        assert_eq!(identities("list"), identities("link"));
        assert_ne!(identities("list"), identities("other"));
        fs::write(folder.join("list"), "").unwrap();
        fs::hard_link(folder.join("list"), folder.join("hard")).unwrap();
        let hard = identities("hard");
        assert!(identities("list").iter().any(|one| hard.contains(one)));
        assert!(
            Place::of(Path::new("/dev/null"))
                .unwrap()
                .identities()
                .unwrap()
                .is_empty()
        );
    }
}
