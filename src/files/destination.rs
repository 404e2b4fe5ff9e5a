//! Where a list goes: standard output, or a file that is replaced as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::place::{Entry, Place};
use super::temporary::{Audience, Temporary, is_being_written, sweep};
use crate::os::socket::duplicate;

/// The destination of lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, for which `-` stands.
    Stdout,
    /// A file. Readers see the old list or the new one, never a part.
    File(PathBuf),
}

/// Whether a path is a name of standard output.
pub fn is_stdout(path: &Path) -> bool {
    let names = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
    names.iter().any(|name| path == Path::new(name))
}

impl Destination {
    /// The destination that `-o` names.
    pub fn new(path: &Path) -> Self {
        if is_stdout(path) {
            Self::Stdout
        } else {
            Self::File(path.to_owned())
        }
    }

    /// Finds out whether a list could be written, before hours are spent on gathering it, and removes what a killed
    /// process has left beside it.
    ///
    /// Errors: what writing would meet.
    pub fn check(&self) -> io::Result<()> {
        let Self::File(path) = self else {
            return Ok(());
        };
        match Place::of(path)? {
            Place::Descriptor(number) => duplicate(number).map(drop),
            Place::Special(handle) => Place::check_special(&handle),
            Place::Entry(entry) => {
                sweep(&entry.folder);
                Temporary::new(&entry.folder, None, Audience::Owner).map(drop)
            }
        }
    }

    /// Has `write` write one list.
    ///
    /// Errors: those of `write` and of the file; the file then is what it was.
    pub fn put(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.write(Audience::Group, true, write)
    }

    /// The same for what nobody else has to read.
    ///
    /// Errors: as for [`put`](Self::put).
    pub fn keep(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.write(Audience::Owner, true, write)
    }

    /// The same for what others read, over and over, and only the newest of: everyone may read it, whatever
    /// the umask, unless the file that is there says otherwise; and nobody waits for the disk.
    ///
    /// Errors: as for [`put`](Self::put).
    pub fn publish(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        self.write(Audience::Everyone, false, write)
    }

    /// A file to write to bit by bit. One that is there goes on for whoever reads it, and its name is the new one's: not
    /// if another program still writes it so, which would go on with a file that has no name any more.
    ///
    /// Errors: those of the system, and `ResourceBusy` for a file that is being written.
    pub fn open(&self) -> io::Result<File> {
        match self.target()? {
            Target::Direct(file) => Ok(file),
            Target::Replaced(entry) => {
                if is_being_written(&entry)? {
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        "is locked, as by another conntracker that still writes it: end that one, or name another file",
                    ));
                }
                let new = Temporary::new(&entry.folder, entry.present.as_ref(), Audience::Group)?;
                let file = new.file().try_clone()?;
                new.replace(&entry, false)?;
                Ok(file)
            }
        }
    }

    fn write(
        &self,
        audience: Audience,
        durable: bool,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.target()? {
            Target::Direct(mut file) => write(&mut file),
            Target::Replaced(entry) => {
                let mut new = Temporary::new(&entry.folder, entry.present.as_ref(), audience)?;
                write(&mut new)?;
                new.replace(&entry, durable)
            }
        }
    }

    fn target(&self) -> io::Result<Target> {
        let Self::File(path) = self else {
            // Not `io::Stdout`: its line buffer would look for newlines in what comes in large chunks.
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            return Ok(Target::Direct(File::from(stdout)));
        };
        Ok(match Place::of(path)? {
            Place::Descriptor(number) => Target::Direct(File::from(duplicate(number)?)),
            Place::Special(handle) => Target::Direct(File::from(Place::open_special(&handle)?)),
            Place::Entry(entry) => Target::Replaced(entry),
        })
    }
}

/// How a list gets to its place.
enum Target {
    /// A pipe, a device or what is open already: there is nothing to replace.
    Direct(File),
    /// A regular file, or none yet.
    Replaced(Entry),
}
