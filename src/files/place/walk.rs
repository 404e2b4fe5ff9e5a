//! A path followed component by component, through no link that a stranger has made.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{
    FileType, Mode, OFlags, Stat, fstat, fstatfs, mkdirat, open, openat, readlinkat, stat,
};
use rustix::io::Errno;

use super::{Entry, Place, is_of_ours, is_trusted, kind};

/// As many links as the kernel follows (`MAXSYMLINKS`, include/linux/namei.h, Linux 6.18).
const LINKS_MAX: u32 = 40;
/// `PROC_SUPER_MAGIC` of include/uapi/linux/magic.h.
// Of another type elsewhere.
#[allow(clippy::unnecessary_cast)]
const PROCFS: i64 = libc::PROC_SUPER_MAGIC as i64;
/// Only to name something by; takes no right to read.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// What a folder of ours gets: what is in it says who talks to whom.
const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP);

/// Where a path is followed to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    File,
    /// A folder, which is made if it is not there.
    Folder,
}

/// A path that is followed.
pub(super) struct Walk {
    at: OwnedFd,
    /// What is left of it, the last component first. `/` is the root.
    rest: Vec<OsString>,
    links: u32,
    wanted: Wanted,
}

impl Walk {
    pub(super) fn new(path: &Path, wanted: Wanted) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        let mut walk = Self {
            at: open(".", LOOK | OFlags::DIRECTORY, Mode::empty())?,
            rest: Vec::new(),
            links: 0,
            wanted,
        };
        walk.lead(path);
        Ok(walk)
    }

    /// Has a path come before what is left.
    fn lead(&mut self, path: &Path) {
        let components = path.components().rev();
        let names = components.filter(|component| *component != Component::CurDir);
        self.rest
            .extend(names.map(|component| component.as_os_str().to_owned()));
    }

    pub(super) fn folder(mut self) -> io::Result<OwnedFd> {
        match self.go()? {
            None => Ok(self.at),
            Some(_) => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn file(mut self) -> io::Result<Place> {
        self.go()?.ok_or_else(|| Errno::ISDIR.into())
    }

    /// Goes to the end. What is there, if it is no folder; else the folder is where it stands.
    fn go(&mut self) -> io::Result<Option<Place>> {
        while let Some(name) = self.rest.pop() {
            let last = self.rest.is_empty();
            let found = match openat(&self.at, &name, LOOK, Mode::empty()) {
                Ok(found) => found,
                Err(Errno::NOENT) if self.wanted == Wanted::Folder => self.make(&name)?,
                Err(Errno::NOENT) if last => return Ok(Some(self.entry(name, None)?)),
                Err(error) => return Err(error.into()),
            };
            let stat = fstat(&found)?;
            match kind(&stat) {
                FileType::Directory => self.at = found,
                FileType::Symlink => {
                    if let Some(place) = self.link(&name, &found, &stat)? {
                        return Ok(Some(place));
                    }
                }
                _ if !last => return Err(Errno::NOTDIR.into()),
                FileType::RegularFile => return Ok(Some(self.entry(name, Some(stat))?)),
                FileType::Fifo | FileType::Socket if !is_of_ours(&stat) => {
                    return Err(refused("pipe", &name, &stat));
                }
                _ => return Ok(Some(Place::Special(found))),
            }
        }
        Ok(None)
    }

    fn entry(&mut self, name: OsString, present: Option<Stat>) -> io::Result<Place> {
        let folder = self.at.try_clone()?;
        Ok(Place::Entry(Entry {
            folder,
            name,
            present,
        }))
    }

    fn make(&self, name: &OsStr) -> io::Result<OwnedFd> {
        match mkdirat(&self.at, name, FOLDER_MODE) {
            // Somebody else has made it.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(openat(&self.at, name, LOOK, Mode::empty())?)
    }

    /// Follows a link; the place, if it is the end.
    fn link(&mut self, name: &OsStr, link: &OwnedFd, stat: &Stat) -> io::Result<Option<Place>> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        if fstatfs(&self.at)?.f_type as i64 == PROCFS {
            return self.descriptor(name);
        }
        if !is_of_ours(stat) {
            return Err(refused("link", name, stat));
        }
        let target = readlinkat(link, "", Vec::new())?;
        if target.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let target = OsString::from_vec(target.into_bytes());
        let path = Path::new(&target);
        self.lead(path);
        Ok(None)
    }

    /// Follows a link of proc(5), which may lead to what has no path. Only the kernel makes links there.
    fn descriptor(&mut self, name: &OsStr) -> io::Result<Option<Place>> {
        let last = self.rest.is_empty();
        let number = name.to_str().and_then(|name| name.parse().ok());
        if let (true, Some(number)) = (last, number) {
            if self.is_our_descriptors()? {
                return Ok(Some(Place::Descriptor(number)));
            }
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = openat(&self.at, name, flags, Mode::empty())?;
        if kind(&fstat(&found)?) == FileType::Directory {
            self.at = found;
            return Ok(None);
        }
        if !last {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Some(Place::Special(found)))
    }

    /// Whether it stands in the folder of this process's descriptors.
    fn is_our_descriptors(&self) -> io::Result<bool> {
        let here = fstat(&self.at)?;
        let is_here = |path: &str| {
            stat(path).is_ok_and(|own| (own.st_dev, own.st_ino) == (here.st_dev, here.st_ino))
        };
        Ok(is_here("/proc/self/fd") || is_here("/proc/thread-self/fd"))
    }
}

fn refused(what: &str, name: &OsStr, stat: &Stat) -> io::Error {
    let name = name.to_string_lossy();
    let whose = if is_trusted(stat.st_uid) {
        "that has other names, and may have got this one from anybody".to_owned()
    } else {
        format!(
            "of another user (uid {}), who could have it lead anywhere",
            stat.st_uid
        )
    };
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{name:?} is a {what} {whose}: name the file itself, in a folder that others can't write to"
        ),
    )
}
