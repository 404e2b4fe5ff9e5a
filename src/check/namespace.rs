//! A network namespace that is thrown away. It has no name, so nothing is left of it however the
//! program ends.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space};

use crate::model::error::Error;
use crate::os::socket::{leave_network_namespace, leave_user_namespace};

/// The calling thread's own: /proc/self is the first thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// What making namespaces, devices and raw sockets takes.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW);

/// Sees to it that this process may make network namespaces. Without the privilege it moves to a user
/// namespace, where it has it; it must not have started any thread then.
///
/// Errors: a kernel that does not let unprivileged users have namespaces.
pub fn gain_privilege() -> Result<(), Error> {
    let able = capabilities(None).is_ok_and(|sets| sets.effective.contains(NEEDED));
    if able {
        return Ok(());
    }
    let (uid, gid) = (geteuid(), getegid());
    let write = |path: &str, text: &str| fs::write(path, text);
    leave_user_namespace()
        // Who may not set groups may map the own one (user_namespaces(7)).
        .and_then(|()| write("/proc/self/setgroups", "deny"))
        .and_then(|()| write("/proc/self/uid_map", &format!("0 {} 1", uid.as_raw())))
        .and_then(|()| write("/proc/self/gid_map", &format!("0 {} 1", gid.as_raw())))
        .map_err(|error| {
            Error::new(format!(
                "a ruleset is judged in a network namespace, which takes root or a user namespace, and \
                 this kernel gives none ({error}): run with sudo, or allow user namespaces (sysctl \
                 user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                 kernel.apparmor_restrict_unprivileged_userns)"
            ))
        })
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    link: OwnedFd,
}

impl Namespace {
    /// Makes a new one.
    ///
    /// Errors: no privilege: [`gain_privilege`] was not called, or failed.
    pub fn new() -> Result<Self, Error> {
        let made = thread::scope(|scope| {
            let maker = scope.spawn(|| {
                leave_network_namespace()?;
                Ok(open(OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
            });
            maker.join().expect("nothing here panics")
        });
        made.map(|link| Self { link }).map_err(|error: io::Error| {
            let advice = match error.kind() {
                // It is entered by its file there.
                io::ErrorKind::NotFound => "/proc has to be mounted: mount -t proc proc /proc",
                _ => "run with sudo; in a container, give it CAP_SYS_ADMIN and CAP_NET_ADMIN",
            };
            Error::new(format!(
                "can't make a network namespace to judge the ruleset in ({error}): {advice}"
            ))
        })
    }

    /// Runs something in it, on a thread of its own. Sockets, devices and processes made there belong to
    /// the namespace; they can be used from everywhere.
    ///
    /// Errors: the namespace can't be entered.
    ///
    /// Panics: if `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let outcome = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))?;
                // What follows loads rulesets: the host's namespace must never be the one it happens in.
                let (own, wanted) = (stat(OWN)?, fstat(&self.link)?);
                if (own.st_dev, own.st_ino) != (wanted.st_dev, wanted.st_ino) {
                    return Err(io::ErrorKind::Other.into());
                }
                Ok(work())
            });
            worker.join()
        });
        match outcome {
            Ok(done) => done.map_err(|error: io::Error| {
                Error::caused(format!("can't enter the network namespace: {error}"), error)
            }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
