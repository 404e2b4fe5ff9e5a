//! The network namespace the entries go to, and the guard of the host's.

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Where `ip netns add` keeps its namespaces.
const NAMED: &str = "/run/netns";

/// Why the namespace cannot be used.
#[derive(Debug)]
pub enum NamespaceError {
    /// It cannot be entered.
    Enter(PathBuf, io::Error),
    /// It is the host's.
    Host,
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = "run inside another one (ip netns exec NAME conntracker-flood ..., or --netns NAME), \
                      or insist with --force-host";
        match self {
            Self::Enter(path, error) => {
                write!(
                    f,
                    "cannot enter the network namespace {}: {error}",
                    path.display()
                )?;
                match error.kind() {
                    io::ErrorKind::NotFound => {
                        write!(f, "; ip netns list shows the names, ip netns add makes one")
                    }
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "; needs CAP_SYS_ADMIN: run with sudo")
                    }
                    _ => Ok(()),
                }
            }
            Self::Host => {
                write!(
                    f,
                    "this is the host's network namespace, whose connections would be mixed with made-up ones: {advice}"
                )
            }
        }
    }
}

impl std::error::Error for NamespaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Enter(_, error) => Some(error),
            Self::Host => None,
        }
    }
}

/// Moves the calling thread, and the threads it will start, into the namespace: a path if there is a slash in
/// it, else a name given by `ip netns add`.
///
/// # Errors
/// If the namespace does not exist or may not be entered.
pub fn enter(name: &str) -> Result<(), NamespaceError> {
    let path = if name.contains('/') {
        PathBuf::from(name)
    } else {
        Path::new(NAMED).join(name)
    };
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|link| move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)))
        .map_err(|errno| NamespaceError::Enter(path, errno.into()))
}

/// A setting that the kernel shows in its initial network namespace only (`net_core_table` against
/// `netns_core_table`, net/core/sysctl_net_core.c, Linux 6.18).
const INITIAL_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// Makes sure that the calling thread is in neither the initial network namespace nor that of
/// process 1.
///
/// # Errors
/// If it is.
pub fn refuse_host() -> Result<(), NamespaceError> {
    // The thread's own link, as a thread may have been moved alone. Process 1's may not be ours to
    // read; in a container it is not the initial one.
    let own = fs::read_link("/proc/thread-self/ns/net").ok();
    let host = fs::read_link("/proc/1/ns/net").ok();
    if Path::new(INITIAL_ONLY).exists() || (own.is_some() && own == host) {
        Err(NamespaceError::Host)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        assert!(
            NamespaceError::Host
                .to_string()
                .contains("ip netns exec NAME")
        );
        let missing = enter("no-such-namespace").unwrap_err().to_string();
        assert!(
            missing.contains("/run/netns/no-such-namespace") && missing.contains("ip netns add"),
            "{missing}"
        );
    }
}
