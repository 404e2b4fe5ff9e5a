//! The guard of the host's network namespace, which made-up entries must not go to.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

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
        match self {
            Self::Enter(path, error) => write!(
                f,
                "cannot enter the network namespace {}: {error}",
                path.display()
            ),
            Self::Host => f.write_str(
                "this is the host's network namespace, whose connections would be mixed with made-up \
                 ones: run inside another one (ip netns exec NAME conntracker-flood ..., or --netns \
                 NAME), or insist with --force-host",
            ),
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

/// Moves the calling thread, and the threads it will start, into the namespace: a name that `ip netns add` has
/// given (ip-netns(8)), or a path.
///
/// Errors: if the namespace does not exist or may not be entered.
pub fn enter(name: &str) -> Result<(), NamespaceError> {
    let path = match name.contains('/') {
        true => PathBuf::from(name),
        false => Path::new("/run/netns").join(name),
    };
    let entered = File::open(&path).and_then(|link| {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(link.as_fd(), kind)?)
    });
    entered.map_err(|error| NamespaceError::Enter(path, error))
}

/// A setting that the kernel shows in its initial network namespace only (`net_core_table` against
/// `netns_core_table`, net/core/sysctl_net_core.c, Linux 6.18).
const INITIAL_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// Makes sure that the calling thread is in neither the initial network namespace nor that of
/// process 1.
///
/// Errors: if it is.
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
    }
}
