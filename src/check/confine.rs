//! What the programs that load rulesets may do: change the namespace, and nothing else.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// The user who owns no files (`overflowuid`, proc_sys_fs(5)), and the group.
const NOBODY: u32 = 65_534;
/// Leaves the calling thread with the rights that its programs need over the network of the namespace, and with none
/// over the files of the host: a ruleset may include any file, and the complaint about it shows its lines.
///
/// Errors: those of the system calls: nothing may be started then.
pub fn confine() -> io::Result<()> {
    set_no_new_privs(true)?;
    // iptables-restore(8) asks for ipsets by a raw socket (libxt_set.h of iptables 1.8.9, `get_version`).
    let needed = [CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW];
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !needed.contains(&capability) {
            // Fails for numbers that this kernel does not have.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    set_keep_capabilities(true)?;
    // Only for this thread: these are the bare system calls (setuid(2), "C library/kernel differences").
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let left = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user));
    match left {
        Ok(()) => {}
        // In a user namespace of our own there is nobody else to become; what the user may not read stays so, and
        // `include` looks at what the user may.
        Err(Errno::INVAL | Errno::PERM) if !becomes_nobody() => {}
        Err(error) => return Err(error.into()),
    }
    let [first, second] = needed;
    let kept = first | second;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )?;
    for capability in needed {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Whether programs run as a user who owns no files: not in a user namespace that has no such user (user_namespaces(7)).
pub fn becomes_nobody() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut fields = line
            .split_whitespace()
            .filter_map(|field| field.parse().ok());
        let (Some(first), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        let (first, count): (u64, u64) = (first, count);
        first <= NOBODY.into() && u64::from(NOBODY) - first < count
    })
}
