//! Where a list goes: standard output, or a file that is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The destination of lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file. Readers see the old list or the new one, never a part.
    File(PathBuf),
}

impl Destination {
    /// The destination that `-o` names.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdout
        } else {
            Self::File(path.to_owned())
        }
    }

    /// Finds out whether a list could be written, before hours are spent on gathering it.
    ///
    /// # Errors
    ///
    /// What writing would meet.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(path) => match Target::of(path)? {
                Target::Direct(path) => OpenOptions::new().write(true).open(path).map(drop),
                Target::Replaced { folder, .. } => temporary(&folder).map(drop),
            },
        }
    }

    /// Has `write` write one list.
    ///
    /// # Errors
    ///
    /// Those of `write` and of the file; the file then is what it was.
    pub fn put(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        match self {
            // Not `io::Stdout`: its line buffer would look for newlines in what comes in large chunks.
            Self::Stdout => write(&mut File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Self::File(path) => match Target::of(path)? {
                Target::Direct(path) => write(&mut OpenOptions::new().write(true).open(path)?),
                Target::Replaced { folder, path } => {
                    let mut file = temporary(&folder)?;
                    write(&mut file)?;
                    file.as_file().sync_all()?;
                    file.persist(&path).map_err(|error| error.error)?;
                    // The rename is only on disk when its folder is.
                    File::open(folder)?.sync_all()
                }
            },
        }
    }
}

/// What a path turns out to be.
enum Target {
    /// A pipe or device: there is nothing to replace.
    Direct(PathBuf),
    /// A regular file, or none yet. `path` has links followed: the link stays and its target is replaced.
    Replaced { folder: PathBuf, path: PathBuf },
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        let path = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) => {
                let kind = found.file_type();
                if kind.is_fifo()
                    || kind.is_char_device()
                    || kind.is_block_device()
                    || kind.is_socket()
                {
                    return Ok(Self::Direct(path.to_owned()));
                }
                fs::canonicalize(path)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self::Replaced { folder, path })
    }
}

/// A temporary file beside the one it will replace, with the permissions a new file gets.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".conntracker-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
}
