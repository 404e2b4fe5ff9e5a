//! A file while it is written: it takes its name when it is whole.
//!
//! Whoever is killed meanwhile leaves it behind. A lock says that it is being written; the kernel takes the lock away
//! with the process, and the next start removes what nobody holds.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::UNIX_EPOCH;

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, fchmod, fchown, flock,
    fstat, linkat, openat, renameat, renameat_with, statat, syncfs, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::place::{Entry, is_private, is_shared};

const PREFIX: &str = ".conntracker-";
const SUFFIX: &str = ".tmp";
/// Hexadecimal digits between the two.
const DIGITS: usize = 16;
/// Names that are tried, and other names for a list whose own is taken.
const ATTEMPTS: u32 = 1000;

/// How old a file has to be where the lock of another host might not be seen: no list takes that long to write.
const ABANDONED_S: u64 = 86_400;

/// Who is to read a file that was not there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The user alone: a state.
    Owner,
    /// The user's group too: lists and recordings say who talks to whom.
    Group,
    /// Everyone, whatever the umask: figures.
    Everyone,
}

impl Audience {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
            Self::Everyone => 0o644,
        }
    }
}

/// Whether an entry is a file that another program writes bit by bit: it keeps the lock that a temporary file has, for as
/// long as the file is open.
///
/// Errors: a file that may not be opened, so that this can't be known.
pub fn is_being_written(entry: &Entry) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&entry.folder, &entry.name, flags, Mode::empty()) {
        Ok(file) => {
            let lock = flock(&file, FlockOperation::NonBlockingLockShared);
            Ok(lock == Err(Errno::WOULDBLOCK))
        }
        Err(Errno::ACCESS) => Err(Errno::ACCESS.into()),
        Err(_) => Ok(false),
    }
}

/// A file that has no name of its own yet.
#[derive(Debug)]
pub struct Temporary<'a> {
    folder: &'a OwnedFd,
    name: OsString,
    file: File,
    audience: Audience,
    /// Whether there is still a name to remove.
    named: bool,
}

impl<'a> Temporary<'a> {
    /// A new one in a folder, for a file that may be there already.
    ///
    /// Errors: those of open(2).
    pub fn new(
        folder: &'a OwnedFd,
        present: Option<&Stat>,
        audience: Audience,
    ) -> io::Result<Self> {
        // Never more than the finished file will have: who opens it now may read it later.
        let mode = inherited(present, folder).map_or(audience.mode(), |old| old.st_mode & 0o777);
        for _ in 0..ATTEMPTS {
            let name = random_name();
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = match openat(folder, &name, flags, Mode::from_raw_mode(mode)) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            let made = Self {
                folder,
                name,
                file: File::from(file),
                audience,
                named: true,
            };
            // A file system without locks has nothing removed, rather than something that is in use.
            let lock = flock(&made.file, FlockOperation::NonBlockingLockExclusive);
            // Before it was locked, another start may have taken it for left behind.
            if lock != Err(Errno::WOULDBLOCK) && made.is_there()? {
                return Ok(made);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The file, to be written.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Takes the place of an entry. `durable` is for what has to survive a power cut.
    ///
    /// Errors: those of the system; the old file is there then, except that a folder that can't be written to the disk is told
    /// of too.
    pub fn replace(mut self, entry: &Entry, durable: bool) -> io::Result<()> {
        self.settle(entry.present.as_ref())?;
        if durable {
            self.file.sync_all()?;
        }
        renameat(self.folder, &self.name, self.folder, &entry.name)?;
        self.named = false;
        if durable {
            sync(self.folder, &self.file)?;
        }
        Ok(())
    }

    /// Takes the first name that is free.
    ///
    /// Errors: those of the system; there is no new file then.
    pub fn appear(mut self, names: impl Fn(u32) -> OsString) -> io::Result<OsString> {
        self.settle(None)?;
        self.file.sync_all()?;
        for number in 1..=ATTEMPTS {
            let name = names(number);
            match self.take(&name) {
                Ok(()) => {
                    sync(self.folder, &self.file)?;
                    return Ok(name);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Takes a name that must not be there.
    fn take(&mut self, name: &OsStr) -> Result<(), Errno> {
        let folder = self.folder;
        match renameat_with(folder, &self.name, folder, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.named = false,
            // Not every file system knows that flag (renameat2(2)).
            Err(Errno::INVAL | Errno::NOSYS) => {
                match linkat(folder, &self.name, folder, name, AtFlags::empty()) {
                    // The name that is left goes when this is dropped.
                    Ok(()) => {}
                    // Nor links, as FAT: the name is made first, and then replaced.
                    Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                        openat(folder, name, flags | OFlags::CLOEXEC, Mode::RUSR)?;
                        renameat(folder, &self.name, folder, name)?;
                        self.named = false;
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives the file the permissions and the group of the one that it replaces, if that is our own: what
    /// was made private stays so. What a stranger has put there says nothing.
    fn settle(&self, present: Option<&Stat>) -> io::Result<()> {
        let Some(old) = inherited(present, self.folder) else {
            if self.audience == Audience::Everyone {
                fchmod(&self.file, Mode::from_raw_mode(self.audience.mode()))?;
            }
            return Ok(());
        };
        // Without the bits that change who runs a program.
        let mut mode = old.st_mode & 0o777;
        let group = rustix::fs::Gid::from_raw(old.st_gid);
        if fstat(&self.file)?.st_gid != old.st_gid && fchown(&self.file, None, Some(group)).is_err()
        {
            // Another group was meant.
            mode &= !0o070;
        }
        Ok(fchmod(&self.file, Mode::from_raw_mode(mode))?)
    }

    fn is_there(&self) -> io::Result<bool> {
        let own = fstat(&self.file)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(statat(self.folder, &self.name, flags).is_ok_and(|named| is_same(&named, &own)))
    }
}

impl Write for Temporary<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.named {
            // What can't be removed now, the next start removes.
            let _ = unlinkat(self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Removes what killed processes of ours have left in a folder. What can't be read or removed stays.
pub fn sweep(folder: &OwnedFd) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(readable) = openat(folder, ".", flags, Mode::empty()) else {
        return;
    };
    let Ok(entries) = Dir::new(readable) else {
        return;
    };
    let written_before = if is_shared(folder).unwrap_or(true) {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        now.as_secs().saturating_sub(ABANDONED_S)
    } else {
        u64::MAX
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_ok_and(is_temporary) {
            remove_stale(folder, name, written_before);
        }
    }
}

/// Removes a temporary file that nobody is writing.
fn remove_stale(folder: &OwnedFd, name: &std::ffi::CStr, written_before: u64) {
    // Not waiting for the other end of a pipe that a stranger has called so.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(folder, name, flags, Mode::empty()) else {
        return;
    };
    let Ok(stat) = fstat(&file) else {
        return;
    };
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == geteuid().as_raw()
        && u64::try_from(stat.st_mtime).is_ok_and(|written| written <= written_before);
    if !ours || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let named = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    if named.is_ok_and(|named| is_same(&named, &stat)) {
        let _ = unlinkat(folder, name, AtFlags::empty());
    }
}

/// Has a folder's names written to the disk.
///
/// Errors: those of fsync(2).
fn sync(folder: &OwnedFd, file: impl AsFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = match openat(folder, ".", flags, Mode::empty()) {
        Ok(readable) => rustix::fs::fsync(readable),
        // A folder that may be written to and not read: all that its file system has.
        Err(Errno::ACCESS) => syncfs(file),
        Err(error) => Err(error),
    };
    match synced {
        // Some file systems have nothing to write there (fsync(2)).
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => {
            let error = io::Error::from(error);
            Err(io::Error::new(
                error.kind(),
                format!("it is written, and a power cut may still undo that: {error}"),
            ))
        }
    }
}

/// What is there, if its permissions are to be kept: a file of ours, that nobody else can have given this name.
fn inherited<'a>(present: Option<&'a Stat>, folder: &OwnedFd) -> Option<&'a Stat> {
    present.filter(|old| {
        old.st_uid == geteuid().as_raw()
            && (old.st_nlink == 1 || is_private(folder).unwrap_or(false))
    })
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn random_name() -> OsString {
    let number = RandomState::new().hash_one(std::process::id());
    format!("{PREFIX}{number:0DIGITS$x}{SUFFIX}").into()
}

fn is_temporary(name: &str) -> bool {
    let middle = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    middle.is_some_and(|middle| {
        middle.len() == DIGITS && middle.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::files::place;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_writes_is_swept_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        let folder = place::folder(path).unwrap();
        let others = [".conntracker-backup.tmp", ".conntracker-notes"];
        for name in others {
            fs::write(path.join(name), "").unwrap();
        }
        fs::write(path.join(".conntracker-0123456789abcdef.tmp"), "left").unwrap();
        fs::create_dir(path.join(".conntracker-fedcba9876543210.tmp")).unwrap();
        let living = Temporary::new(&folder, None, Audience::Group).unwrap();
        let name = living.name.clone().into_string().unwrap();
        sweep(&folder);
        let mut expected: Vec<&str> = others.to_vec();
        expected.extend([".conntracker-fedcba9876543210.tmp", &name]);
        expected.sort_unstable();
        assert_eq!(names(path), expected);
        drop(living);
        expected.retain(|kept| *kept != name);
        assert_eq!(names(path), expected);
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        let folder = place::folder(path).unwrap();
        fs::write(path.join("list1"), "of another").unwrap();
        fs::create_dir(path.join("list2")).unwrap();
        let mut new = Temporary::new(&folder, None, Audience::Group).unwrap();
        new.write_all(b"ours").unwrap();
        let name = new.appear(|number| format!("list{number}").into()).unwrap();
        assert_eq!(name, "list3");
        assert_eq!(names(path), ["list1", "list2", "list3"]);
        assert_eq!(fs::read(path.join("list1")).unwrap(), b"of another");
        assert_eq!(fs::read(path.join("list3")).unwrap(), b"ours");
    }
}
