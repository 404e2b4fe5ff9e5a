//! What a daemon gives up once it has what it needs: capabilities, the gain of new ones, and system calls.
//!
//! The service's unit says the same to systemd. A daemon that was started by hand has no unit around it.

mod calls;

use std::io;
use std::path::PathBuf;
use std::thread;

use rustix::fs::{Mode, OFlags, Stat, openat};
use rustix::process::{Resource, Rlimit, getegid, geteuid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::files::destination::{Destination, is_stdout};
use crate::files::folder::Folder;
use crate::files::place::{self, Place};
use crate::files::temporary::{Audience, Temporary};
use crate::model::error::Error;
use crate::os::socket::restrict_system_calls;
use crate::ui::console::Console;

/// The number of the last capability that has a name (include/uapi/linux/capability.h, Linux 6.18).
const LAST: u32 = 40;

/// What a daemon goes on needing once it runs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Whether it listens to all namespaces.
    pub all_netns: bool,
    /// Whether it has entered another namespace than its own.
    pub other_netns: bool,
    /// Where lists go: a file, a folder, or `-`.
    pub output: PathBuf,
    /// The recording that is written, if there is one.
    pub write: Option<PathBuf>,
    /// The flows that are kept from run to run.
    pub state: Option<PathBuf>,
    /// Figures for Prometheus.
    pub metrics_file: Option<PathBuf>,
    /// Where its process number is.
    pub pid_file: PathBuf,
}

/// Gives up what a capture with these options does not need, for good. To be called before any thread is started, which
/// would keep what it has.
///
/// Errors: capabilities that the kernel does not take. That it has no filter for system calls is told on the console.
pub fn enter(needs: &Needs, console: &Console) -> Result<(), Error> {
    let failed = |error: rustix::io::Errno| {
        Error::new(format!(
            "can't give up privileges: {}",
            io::Error::from(error)
        ))
    };
    // Before Linux 5.11 the BPF program's tables count as locked memory, and this takes CAP_SYS_RESOURCE.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
    set_no_new_privs(true).map_err(failed)?;
    let kept = needed(needs);
    for number in 0..=LAST {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) {
            // Without CAP_SETPCAP, or if this kernel has none of that number. What can't be had any more by
            // no_new_privs anyway.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    // Unknown before Linux 4.3.
    let _ = clear_ambient_capability_set();
    reduce(kept).map_err(failed)?;
    let outcome = match calls::filter(enters_namespaces(needs)) {
        Some(filter) => restrict_system_calls(&filter),
        None => Err(io::ErrorKind::Unsupported.into()),
    };
    if let Err(error) = outcome {
        console.note(&format!(
            "system calls are not restricted: {error} (the kernel lacks CONFIG_SECCOMP_FILTER, or this machine is of an \
             architecture whose system calls are not listed)"
        ));
    }
    Ok(())
}

/// Whether namespaces are entered while the capture runs.
const fn enters_namespaces(needs: &Needs) -> bool {
    needs.all_netns || needs.other_netns
}

/// The capabilities that are kept, if they are there.
fn needed(needs: &Needs) -> CapabilitySet {
    // To listen, to have a buffer, to read the kernel's table, and for the BPF program.
    let mut kept = CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
    if needs.all_netns {
        kept |= CapabilitySet::NET_BROADCAST;
    }
    if enters_namespaces(needs) {
        kept |= CapabilitySet::SYS_ADMIN;
    }
    for stat in places(needs).iter().filter_map(present) {
        if stat.st_uid != geteuid().as_raw() {
            // To replace it in a sticky folder.
            kept |= CapabilitySet::FOWNER;
        } else if stat.st_gid != getegid().as_raw() {
            // The new file gets the group of the old one.
            kept |= CapabilitySet::CHOWN;
        }
    }
    // Root usually owns the folders. Where they are another user's, it takes this to write there.
    if !suffices(needs, kept) {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    kept
}

fn places(needs: &Needs) -> Vec<Place> {
    let paths = [
        Some(&needs.output),
        needs.write.as_ref(),
        needs.state.as_ref(),
        needs.metrics_file.as_ref(),
        Some(&needs.pid_file),
    ];
    let paths = paths.into_iter().flatten();
    paths.filter_map(|path| Place::of(path).ok()).collect()
}

fn present(place: &Place) -> Option<&Stat> {
    match place {
        Place::Entry(entry) => entry.present.as_ref(),
        _ => None,
    }
}

/// Whether every file can be used with no other capabilities than these. Found out by trying it, in a thread, which has
/// capabilities of its own.
fn suffices(needs: &Needs, kept: CapabilitySet) -> bool {
    let attempt = || -> io::Result<()> {
        reduce(kept)?;
        if Folder::is_named(&needs.output) {
            let folder = place::folder(&needs.output)?;
            // To look for older lists.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(&folder, ".", flags, Mode::empty())?;
            drop(Temporary::new(&folder, None, Audience::Owner)?);
        } else if !is_stdout(&needs.output) {
            Destination::new(&needs.output).check()?;
        }
        if let Some(path) = &needs.state {
            match std::fs::File::open(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let others = [
            needs.write.as_ref(),
            needs.state.as_ref(),
            needs.metrics_file.as_ref(),
            // For its removal.
            Some(&needs.pid_file),
        ];
        let mut others = others.into_iter().flatten();
        others.try_for_each(|path| Destination::new(path).check())
    };
    thread::scope(|scope| {
        let tried = thread::Builder::new().spawn_scoped(scope, || attempt().is_ok());
        // Without a thread there is no knowing, and the capture will say why it can't start.
        tried.is_ok_and(|thread| thread.join().unwrap_or(false))
    })
}

/// Leaves the calling thread with no other capabilities than these, of those that it has.
fn reduce(kept: CapabilitySet) -> rustix::io::Result<()> {
    let now = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & kept,
            permitted: now.permitted & kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}
