//! Attaching a filter of system calls (seccomp(2)).

use std::io;

use crate::os::classic_bpf::Instruction;

/// Has the calling thread, and the threads that it starts from here on, make only system calls that `program` lets
/// pass. For good: it can't be taken off. `PR_SET_NO_NEW_PRIVS` must be set before.
///
/// Errors: those of seccomp(2): `EINVAL` for a program that the kernel refuses, `ENOSYS` without seccomp.
pub fn restrict_system_calls(program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program.iter().map(super::raw).collect();
    let fprog = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `fprog` points to `len` instructions in `filter`; the kernel copies them during the call, which both
    // outlive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const fprog,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
