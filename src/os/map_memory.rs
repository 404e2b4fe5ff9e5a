//! What BPF maps take of the kernel's memory, as far as it tells.

use std::fs;
#[cfg(feature = "ebpf")]
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::os::release::release;

/// What the maps of a program take of the kernel's memory.
#[derive(Debug)]
pub struct MapMemory {
    maps: Vec<OwnedFd>,
    /// What they take when they are full.
    pub max_bytes: u64,
}

/// From this release on a map says what it takes (`htab_map_mem_usage`, kernel/bpf/hashtab.c); before, what it might.
const TELLS: (u32, u32) = (6, 4);

#[cfg(feature = "ebpf")]
impl MapMemory {
    /// Of these maps, which take so much when they are full.
    pub const fn new(maps: Vec<OwnedFd>, max_bytes: u64) -> Self {
        Self { maps, max_bytes }
    }

    /// The same, to be asked elsewhere.
    ///
    /// Errors: those of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        let maps: io::Result<Vec<OwnedFd>> = self.maps.iter().map(OwnedFd::try_clone).collect();
        Ok(Self::new(maps?, self.max_bytes))
    }
}

impl MapMemory {
    /// What they take now, if the kernel tells. It counts elements as they are asked for, without what its
    /// allocator adds to them.
    pub fn bytes(&self) -> Option<u64> {
        if release()? < TELLS {
            return None;
        }
        self.maps.iter().map(memlock).sum()
    }
}

/// `memlock` of a map (`bpf_map_show_fdinfo`, kernel/bpf/syscall.c).
fn memlock(map: &OwnedFd) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))?;
    line.trim().parse().ok()
}
