//! bpf(2), as far as maps are read many elements at a time, which no library has: asking for the next key and looking it
//! up takes eleven times as long as a batch.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

// Commands and types of include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;
const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// The parts of `union bpf_attr` that these commands take. The kernel takes what is missing at the end for zero.
#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

#[repr(C)]
struct Element {
    map_fd: u32,
    // The kernel's is aligned to 8 bytes.
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Info {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The first fields of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

/// Plain data of a map: any bytes are a value, and there are no others between them.
///
/// # Safety
///
/// Implemented only for types of which that is so.
pub unsafe trait Plain: Copy {
    /// All of it zero.
    const ZERO: Self;
}

// SAFETY: a number has no other bytes, and any bytes are one.
unsafe impl Plain for u32 {
    const ZERO: Self = 0;
}

// SAFETY: likewise of several.
unsafe impl<const N: usize> Plain for [u8; N] {
    const ZERO: Self = [0; N];
}

// SAFETY: likewise.
unsafe impl<const N: usize> Plain for [u64; N] {
    const ZERO: Self = [0; N];
}

/// # Safety
///
/// `attr` is the attribute of that command, and what it points to lives and may be written as the command does.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    let attr: *mut T = attr;
    // SAFETY: the caller's. The kernel reads and writes no more than the size that it is given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, mem::size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// A hash table that BPF programs write to and that is read here, with keys and values of these types.
#[derive(Debug)]
pub struct HashMap<K, V> {
    descriptor: OwnedFd,
    types: PhantomData<(K, V)>,
}

impl<K: Plain, V: Plain> HashMap<K, V> {
    /// The map of a descriptor.
    ///
    /// Errors: those of bpf(2); `InvalidInput` if it is none with such keys and values.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let mut info = MapInfo::default();
        let mut attr = Info {
            bpf_fd: descriptor.as_raw_fd() as u32,
            info_len: mem::size_of::<MapInfo>() as u32,
            info: &raw mut info as u64,
        };
        // SAFETY: the kernel writes at most `info_len` bytes, the size of `info`, which outlives the call.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
        let sizes = (info.key_size as usize, info.value_size as usize);
        if info.map_type != BPF_MAP_TYPE_HASH || sizes != (mem::size_of::<K>(), mem::size_of::<V>())
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            descriptor,
            types: PhantomData,
        })
    }

    /// Hands all elements to `each`, and takes them out of the map if `take`. What is changed meanwhile may be in either
    /// form; what is added may be missing.
    ///
    /// Errors: those of bpf(2): what came before is handed over.
    pub fn each(&self, take: bool, mut each: impl FnMut(&K, &V)) -> io::Result<()> {
        let command = if take {
            BPF_MAP_LOOKUP_AND_DELETE_BATCH
        } else {
            BPF_MAP_LOOKUP_BATCH
        };
        let mut room = BATCH_LEN;
        let (mut keys, mut values) = (vec![K::ZERO; room], vec![V::ZERO; room]);
        // How far the kernel is: a number that means something to it alone.
        let mut place: Option<u32> = None;
        loop {
            let mut from = place.unwrap_or(0);
            let mut to = 0_u32;
            let mut attr = Batch {
                in_batch: place.map_or(0, |_| &raw mut from as u64),
                out_batch: &raw mut to as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: room as u32,
                map_fd: self.descriptor.as_raw_fd() as u32,
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the kernel reads and writes the two places, of 32 bits for hash tables
            // (`__htab_map_lookup_and_delete_batch`, kernel/bpf/hashtab.c), and writes `count` keys and values of the
            // sizes that `new` has seen to, for all of which there is room. All of it outlives the call, and any bytes
            // are a `K` and a `V`.
            let done = unsafe { bpf(command, &mut attr) };
            let last = match done {
                Ok(_) => false,
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) => true,
                    // More elements share a place than there is room for.
                    Some(libc::ENOSPC) if room < ROOM_MAX => {
                        room *= 2;
                        keys.resize(room, K::ZERO);
                        values.resize(room, V::ZERO);
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            let count = (attr.count as usize).min(room);
            keys[..count]
                .iter()
                .zip(&values[..count])
                .for_each(|(key, value)| each(key, value));
            if last {
                return Ok(());
            }
            place = Some(to);
        }
    }
}

/// So many elements are read with one call, at first.
const BATCH_LEN: usize = 4096;
/// A place of a table has never that many.
const ROOM_MAX: usize = 1 << 20;

/// Sets the only element of an array map.
///
/// Errors: those of bpf(2): `EINVAL` if its values have another size.
pub fn set_first<V: Plain>(array: impl AsFd, value: &V) -> io::Result<()> {
    let mut info = MapInfo::default();
    let mut attr = Info {
        bpf_fd: array.as_fd().as_raw_fd() as u32,
        info_len: mem::size_of::<MapInfo>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes, the size of `info`, which outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    if info.map_type != BPF_MAP_TYPE_ARRAY || info.value_size as usize != mem::size_of::<V>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let index = 0_u32;
    let mut attr = Element {
        map_fd: array.as_fd().as_raw_fd() as u32,
        padding: 0,
        key: &raw const index as u64,
        value: std::ptr::from_ref(value) as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads a key of 32 bits, which all arrays have, and a value of the size that was asked for just
    // now; both outlive the call.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Waits until every BPF program that was at work has come to its end.
///
/// The kernel does so before an update of a map of maps returns (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c, from
/// Linux 5.0 on), so that whoever replaces a map may take for granted that no program works on the old one. A map of
/// maps that no program knows serves for that alone.
#[derive(Debug)]
pub struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes the maps.
    ///
    /// Errors: those of bpf(2).
    pub fn new() -> io::Result<Self> {
        let inner = create(Create {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..Create::default()
        })?;
        let outer = create(Create {
            map_type: BPF_MAP_TYPE_ARRAY_OF_MAPS,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            inner_map_fd: inner.as_raw_fd() as u32,
            ..Create::default()
        })?;
        Ok(Self { outer, inner })
    }

    /// Waits.
    ///
    /// Errors: those of bpf(2).
    pub fn wait(&self) -> io::Result<()> {
        let (index, inner) = (0_u32, self.inner.as_raw_fd() as u32);
        let mut attr = Element {
            map_fd: self.outer.as_raw_fd() as u32,
            padding: 0,
            key: &raw const index as u64,
            value: &raw const inner as u64,
            flags: 0,
        };
        // SAFETY: the kernel reads a key and a value of 32 bits, as the map was made; both outlive the call.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }
}

fn create(mut attr: Create) -> io::Result<OwnedFd> {
    // SAFETY: the attribute has numbers alone.
    let descriptor = unsafe { bpf(BPF_MAP_CREATE, &mut attr) }?;
    // SAFETY: the kernel has just made it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) })
}
