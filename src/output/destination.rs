//! Where a list goes: standard output, or a file that is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use tempfile::NamedTempFile;

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
                // Not opened: closing a pipe again would tell its reader that all has been written.
                Target::Direct(path) => Ok(rustix::fs::access(path, Access::WRITE_OK)?),
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
                    write(&mut file).map_err(plain)?;
                    inherit(&file, &path)?;
                    file.as_file().sync_all()?;
                    file.persist(&path).map_err(|error| error.error)?;
                    // The rename is only on disk when its folder is.
                    File::open(folder)?.sync_all()
                }
            },
        }
    }

    /// The same for what others read, over and over, and only the newest of: everyone may read it, whatever
    /// the umask, unless the file that is there says otherwise; and nobody waits for the disk.
    ///
    /// # Errors
    ///
    /// Those of `write` and of the file; the file then is what it was.
    pub fn publish(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let Self::File(path) = self else {
            return self.put(write);
        };
        let Target::Replaced { folder, path } = Target::of(path)? else {
            return self.put(write);
        };
        let mut file = temporary(&folder)?;
        write(&mut file)?;
        let readable = fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable)?;
        inherit(&file, &path)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => behind_links(path),
            Err(error) => return Err(error),
        };
        let folder = folder_of(&path).to_owned();
        Ok(Self::Replaced { folder, path })
    }
}

/// The folder that a path names an entry of.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Where links lead whose target is missing, so that the target is made and the link stays. A circle of
/// links never gets here: looking it up has failed with another error.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    while let Ok(target) = fs::read_link(&path) {
        path = folder_of(&path).join(target);
    }
    path
}

/// A temporary file beside the one it will replace.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".conntracker-")
        // What a new file gets; the umask takes its share.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(plain)
}

/// Gives the new file the permissions, and as far as we may the owner, of the one it replaces: a list
/// that was made private stays so.
fn inherit(file: &NamedTempFile, path: &Path) -> io::Result<()> {
    let Ok(old) = fs::metadata(path) else {
        return Ok(());
    };
    // Only root may give files away; for others the file they can replace is usually their own.
    let _ = std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
    file.as_file().set_permissions(old.permissions())
}

/// The system's error, without the temporary file's name that nobody has asked for.
fn plain(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((cause, _)) => io::Error::new(error.kind(), cause),
        None => error,
    }
}
