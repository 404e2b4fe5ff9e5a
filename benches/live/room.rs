//! Room in the kernel's connection table, whose limit is one number for the whole machine.

use std::fs::{self, File};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::Failure;
use crate::clock::Interrupt;

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const WAITING: &str = "waiting for tests or a bench that set nf_conntrack_max";
const LIMIT: Duration = Duration::from_secs(900);

/// Room for a number of entries in a namespace, as long as this lives.
#[derive(Debug)]
pub struct Room {
    raised: Option<Raised>,
    _lock: File,
}

#[derive(Debug)]
struct Raised {
    from: String,
    to: String,
}

impl Room {
    /// Raises the limit if it is too low.
    pub fn new(entries: u64, interrupt: &Interrupt) -> Result<Self, Failure> {
        // Held to the end, since somebody else's flood would be in the figures. On the folder, as the
        // tests that change the limit have it: no file is left behind, and it is one lock for all
        // checkouts.
        let lock = File::open(std::env::temp_dir())?;
        let mut told = false;
        interrupt.until(WAITING, LIMIT, || {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(())),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    if !std::mem::replace(&mut told, true) {
                        println!("{WAITING}");
                    }
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })?;
        let from = fs::read_to_string(MAX)
            .map_err(|error| format!("{MAX}: {error}; modprobe nf_conntrack_netlink"))?;
        let max: u64 = from.trim().parse()?;
        let mut room = Self {
            raised: None,
            _lock: lock,
        };
        // 0 is no limit.
        if max != 0 && max < entries {
            let to = entries.to_string();
            fs::write(MAX, &to).map_err(|error| format!("{MAX} can't be raised: {error}"))?;
            room.raised = Some(Raised { from, to });
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(Raised { from, to }) = &self.raised else {
            return;
        };
        // What somebody else has set meanwhile is theirs.
        if fs::read_to_string(MAX).is_ok_and(|now| now.trim() == to) {
            if let Err(error) = fs::write(MAX, from) {
                eprintln!("{MAX} could not be set to {} again: {error}", from.trim());
            }
        }
    }
}
