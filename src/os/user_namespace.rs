//! The user namespace of this process (user_namespaces(7)), whose capabilities hold for what belongs to it alone.

use rustix::fs::stat;

/// `PROC_USER_INIT_INO` (include/linux/proc_ns.h): the number of the initial one's file.
const INITIAL: u64 = 0xEFFF_FFFD;

/// Whether it is the initial one, so that capabilities are those of the machine. `None` if that can't be known, for want of
/// procfs.
pub fn is_initial() -> Option<bool> {
    match stat("/proc/self/ns/user") {
        Ok(own) => Some(own.st_ino == INITIAL),
        // A kernel without user namespaces.
        Err(_) => stat("/proc/self/ns/net").is_ok().then_some(true),
    }
}
