//! Room in the kernel's connection table, whose limit is one number for the whole machine.

use std::fs::{self, File};

use rustix::fs::{FlockOperation, flock};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Room for a number of entries in one namespace, as long as this lives. Nobody else has as much.
#[derive(Debug)]
pub struct Room {
    /// How many entries there is room for: what was asked for, unless the limit can't be raised.
    pub entries: u64,
    restore: Option<String>,
    _lock: File,
}

impl Room {
    /// Sees to it that a new namespace can have that many entries. To be called outside of it: the
    /// kernel lets the limit be changed in its initial namespace only.
    ///
    /// Panics: if there is no connection tracking at all.
    pub fn new(entries: u64) -> Self {
        // A lock on a folder leaves no file behind, and is one for all checkouts.
        let lock = File::open(std::env::temp_dir()).expect("there is a folder for temporary files");
        flock(&lock, FlockOperation::LockExclusive).expect("a lock can be waited for");
        let before = fs::read_to_string(MAX).expect("nf_conntrack is there");
        let max: u64 = before.trim().parse().expect("a number");
        // 0 is no limit.
        if max == 0 || max > entries {
            return Self {
                entries,
                restore: None,
                _lock: lock,
            };
        }
        if let Err(error) = fs::write(MAX, format!("{}", entries + entries / 10)) {
            let fewer = max * 9 / 10;
            println!("{MAX} can't be raised ({error}): {fewer} entries instead of {entries}");
            return Self {
                entries: fewer,
                restore: None,
                _lock: lock,
            };
        }
        Self {
            entries,
            restore: Some(before),
            _lock: lock,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(before) = &self.restore {
            if let Err(error) = fs::write(MAX, before) {
                println!("{MAX} could not be set to {before} again: {error}");
            }
        }
    }
}
