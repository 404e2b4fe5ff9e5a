//! How a BPF program is loaded and attached to a socket: the same for all of them.

use std::os::fd::{AsFd, OwnedFd};

use aya::maps::Map;
use aya::programs::SocketFilter;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::refusal::explain;

/// Loads the program of that name out of its object file, with so many entries in maps, and attaches it.
///
/// Errors: why this kernel or this user can't: no CAP_BPF, a kernel before 5.8, a verifier that wants more.
pub fn attach(
    socket: impl AsFd,
    object: &[u8],
    name: &str,
    max_entries: &[(&'static str, u32)],
) -> Result<Ebpf, String> {
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
    Ok(ebpf)
}

/// Takes a map out.
///
/// Errors: there is none of that name.
pub fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, String> {
    ebpf.take_map(name)
        .ok_or_else(|| "a map is not in the object file".to_owned())
}

/// A descriptor of a hash table or an array.
///
/// Errors: those of dup(2), or that it is neither.
pub fn descriptor(map: &Map) -> Result<OwnedFd, String> {
    match map {
        Map::HashMap(data) | Map::Array(data) => {
            data.fd().as_fd().try_clone_to_owned().map_err(explain)
        }
        _ => Err("a map is of another type".into()),
    }
}
