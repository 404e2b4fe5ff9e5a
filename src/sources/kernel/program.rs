//! How a BPF program is loaded and attached to a socket, and what all of them have: counters, and maps that take memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{Array, Map, MapData};
use aya::programs::SocketFilter;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::refusal::explain;
use crate::os::bpf::{HashMap, Plain};
use crate::os::map_memory::MapMemory;

/// How many counters a program has, for each of several processors.
pub const COUNTERS: usize = 8;

/// A program that is attached, and its maps. Nothing of it outlives this value or the process.
pub struct Program {
    /// Holds the program, and the maps that nobody has taken.
    ebpf: Ebpf,
    name: &'static str,
    counts: Array<MapData, [u64; COUNTERS]>,
    memory: MapMemory,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program").field(&self.name).finish()
    }
}

impl Program {
    /// Loads the program of that name out of its object file, with so many entries in its large maps, and attaches it.
    /// `max_bytes` is what these may take in all.
    ///
    /// Errors: why this kernel or this user can't: no CAP_BPF, a kernel before 5.8, a verifier that wants more.
    pub fn attach(
        socket: impl AsFd,
        object: &[u8],
        name: &'static str,
        max_entries: &[(&'static str, u32)],
        max_bytes: u64,
    ) -> Result<Self, String> {
        // Before 5.11, maps count against the limit of locked memory; later kernels don't ask.
        let unlimited = rustix::process::Rlimit {
            current: None,
            maximum: None,
        };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, unlimited);
        let mut loader = EbpfLoader::new();
        loader
            // The program needs no type of the running kernel: reading all of them takes longer than all else.
            .btf(None)
            // What the verifier says of all that it looks at would fill megabytes, which aya has it say again and
            // again; so a refusal takes one more attempt, for the last words.
            .verifier_log_level(VerifierLogLevel::STATS);
        for (map, entries) in max_entries {
            loader.set_max_entries(map, *entries);
        }
        let mut ebpf = loader.load(object).map_err(explain)?;
        let program: &mut SocketFilter = ebpf
            .program_mut(name)
            .ok_or("the program is not in its object file")?
            .try_into()
            .map_err(explain)?;
        program.load().map_err(explain)?;
        let link = program.attach(socket).map_err(explain)?;
        // The program goes with the socket. To detach it, as aya does when the link is dropped, would take away the
        // filter that ends the capture, if that is attached by then: SO_DETACH_FILTER takes whichever there is.
        let _attached = std::mem::ManuallyDrop::new(program.take_link(link).map_err(explain)?);
        let maps: Result<Vec<OwnedFd>, String> = { max_entries.iter() }
            .map(|(name, _)| descriptor(ebpf.map(name).ok_or_else(no_map)?))
            .collect();
        let counts = Array::try_from(ebpf.take_map("counts").ok_or_else(no_map)?);
        Ok(Self {
            counts: counts.map_err(explain)?,
            memory: MapMemory::new(maps?, max_bytes),
            ebpf,
            name,
        })
    }

    /// Takes a map out.
    ///
    /// Errors: there is none of that name.
    pub fn take(&mut self, name: &str) -> Result<Map, String> {
        self.ebpf.take_map(name).ok_or_else(no_map)
    }

    /// Takes a hash table out.
    ///
    /// Errors: there is none of that name with such keys and values.
    pub fn take_table<K: Plain, V: Plain>(&mut self, name: &str) -> Result<HashMap<K, V>, String> {
        HashMap::new(descriptor(&self.take(name)?)?).map_err(explain)
    }

    /// The program itself, for benches that have the kernel run it over and over.
    ///
    /// Errors: if it is not loaded.
    pub fn descriptor(&self) -> Result<BorrowedFd<'_>, String> {
        let program = self.ebpf.program(self.name).ok_or("no such program")?;
        Ok(program.fd().map_err(explain)?.as_fd())
    }

    /// The sums of its counters.
    ///
    /// Errors: those of bpf(2).
    pub fn counts(&self) -> io::Result<[u64; COUNTERS]> {
        let mut sums = [0; COUNTERS];
        for index in 0..self.counts.len() {
            let counts = self.counts.get(&index, 0).map_err(io::Error::other)?;
            { sums.iter_mut().zip(counts) }.for_each(|(sum, more)| *sum += more);
        }
        Ok(sums)
    }

    /// What its maps take, for whoever asks while it runs.
    ///
    /// Errors: those of dup(2).
    pub fn memory(&self) -> io::Result<MapMemory> {
        self.memory.try_clone()
    }
}

fn no_map() -> String {
    "a map is not in the object file".to_owned()
}

/// A descriptor of a map.
///
/// Errors: those of dup(2), or that it is of a type that no program here has.
pub fn descriptor(map: &Map) -> Result<OwnedFd, String> {
    match map {
        Map::HashMap(data) | Map::Array(data) | Map::RingBuf(data) => {
            data.fd().as_fd().try_clone_to_owned().map_err(explain)
        }
        _ => Err("a map is of another type".into()),
    }
}
