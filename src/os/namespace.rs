//! Network namespaces by the names that people give them.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::{fmt, io, thread};

use rustix::fs::{Dir, Mode, OFlags, stat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns add` keeps its namespaces (ip-netns(8)).
pub const NAMED: &str = "/run/netns";

/// That of the calling thread.
pub const OWN: &str = "/proc/thread-self/ns/net";

/// A namespace that can't be entered.
#[derive(Debug)]
pub struct EnterError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot enter the network namespace {}: {}",
            self.path.display(),
            self.error
        )?;
        match self.error.kind() {
            io::ErrorKind::NotFound => f.write_str(
                "; a namespace is a name that ip netns list shows, a process number, or a path",
            ),
            io::ErrorKind::PermissionDenied => f.write_str("; needs CAP_SYS_ADMIN: run with sudo"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for EnterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The path of a namespace: itself if there is a slash in it, that of a name given by `ip netns add`, or that of
/// a process.
pub fn path(name: &str) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    let named = Path::new(NAMED).join(name);
    if name.bytes().all(|byte| byte.is_ascii_digit()) && !named.exists() {
        return PathBuf::from(format!("/proc/{name}/ns/net"));
    }
    named
}

/// Opens a namespace's file.
///
/// Errors: those of open(2).
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Moves the calling thread, and the threads it will start, into the namespace: a name, a process number or a
/// path, as [`path`] reads it.
///
/// Errors: if the namespace does not exist or may not be entered.
pub fn enter(name: &str) -> Result<(), EnterError> {
    let path = path(name);
    let entered = open(&path).and_then(|link| {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(link.as_fd(), kind)?)
    });
    entered.map_err(|error| EnterError { path, error })
}

/// Does something in a namespace, in a thread of its own: one that has left its namespace may not come back.
///
/// Errors: if no thread can be made, the namespace can't be entered, or `body` fails.
pub fn within<T: Send>(name: &str, body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, || {
                enter(name).map_err(|error| io::Error::new(error.error.kind(), error))?;
                body()
            })?;
        inside.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The name that `ip netns add` has given the namespace of the calling thread, if it has one.
pub fn own_name() -> Option<String> {
    let own = stat(OWN).ok()?;
    let is_own = |name: &String| {
        let named = stat(Path::new(NAMED).join(name));
        named.is_ok_and(|named| (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino))
    };
    names().ok()?.into_iter().find(is_own)
}

/// The names that `ip netns add` has given.
///
/// Errors: if there are none, or the folder of them can't be read.
pub fn names() -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Not by the standard library, which panics if the folder can't be closed.
    let entries = Dir::new(rustix::fs::open(NAMED, flags, Mode::empty())?)?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_str().ok()?;
        (name != "." && name != "..").then(|| name.to_owned())
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_paths_are_told_apart() {
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("1"), Path::new("/proc/1/ns/net"));
        assert_eq!(path("./1"), Path::new("./1"));
    }

    #[test]
    fn messages_say_what_to_do() {
        let missing = enter("no-such-namespace").unwrap_err().to_string();
        assert!(
            missing.contains("/run/netns/no-such-namespace"),
            "{missing}"
        );
        assert!(missing.contains("ip netns list"), "{missing}");
    }
}
