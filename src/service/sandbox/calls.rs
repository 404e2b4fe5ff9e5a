//! The system calls of a daemon, as a filter for seccomp(2).
//!
//! They are those of the service's unit (`SystemCallFilter=` and the other restrictions there), less what starts
//! programs, serves connections or changes files by way of other owners. A call that is not listed fails with `EPERM`.

use crate::os::classic_bpf::{Instruction, JEQ, JSET, LD_WORD, RET};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
/// `struct seccomp_data`: the call's number, the architecture, and behind an address the arguments, of 8 bytes each.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` of include/uapi/linux/audit.h.
const fn own_architecture() -> Option<u32> {
    if cfg!(target_arch = "x86_64") {
        Some(0xc000_003e)
    } else if cfg!(target_arch = "aarch64") {
        Some(0xc000_00b7)
    } else if cfg!(target_arch = "riscv64") {
        Some(0xc000_00f3)
    } else {
        None
    }
}

/// Calls that every 64-bit architecture has.
macro_rules! calls {
    ($($name:ident)*) => { [$(libc::$name),*] };
}

#[rustfmt::skip]
const CALLS: [libc::c_long; 115] = calls!(
    SYS_bind SYS_bpf SYS_brk SYS_capget SYS_chdir SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close
    SYS_close_range SYS_connect SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_eventfd2 SYS_exit
    SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchown SYS_fcntl SYS_fdatasync
    SYS_flock SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_get_robust_list SYS_getcwd SYS_getdents64
    SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getrandom
    SYS_getresgid SYS_getresuid SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday
    SYS_getuid SYS_inotify_add_watch SYS_inotify_init1 SYS_ioctl SYS_kill SYS_linkat SYS_lseek SYS_madvise SYS_membarrier SYS_mkdirat SYS_mremap SYS_msync
    SYS_munmap SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv
    SYS_prlimit64 SYS_pselect6 SYS_pwrite64 SYS_pwritev SYS_read SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg
    SYS_recvmsg SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask
    SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_sched_getaffinity SYS_sched_yield SYS_sendmmsg
    SYS_sendmsg SYS_sendto SYS_set_robust_list SYS_set_tid_address SYS_setsockopt SYS_shutdown SYS_sigaltstack
    SYS_socketpair SYS_statfs SYS_statx SYS_syncfs SYS_tgkill SYS_times SYS_uname SYS_unlinkat SYS_utimensat SYS_wait4
    SYS_write SYS_writev
);

/// Older ones, that others do without.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[libc::c_long] = &calls!(
    SYS_access SYS_arch_prctl SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_getdents SYS_getpgrp SYS_link SYS_lstat
    SYS_mkdir SYS_open SYS_pause SYS_pipe SYS_pipe2 SYS_poll SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_select
    SYS_stat SYS_time SYS_unlink
);
#[cfg(target_arch = "aarch64")]
const OLDER: &[libc::c_long] = &calls!(SYS_pipe2 SYS_renameat);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[libc::c_long] = &calls!(SYS_pipe2);

/// The filter; `None` where the calls are not known. `namespaces` is whether other namespaces may be entered.
pub fn filter(namespaces: bool) -> Option<Vec<Instruction>> {
    let architecture = own_architecture()?;
    let denied = ERRNO | libc::EPERM as u32;
    let mut program = vec![
        load(ARCHITECTURE),
        Instruction::jump(JEQ, architecture, 1, 0),
        answer(denied),
        load(NUMBER),
    ];
    // Threads, and no namespaces.
    let made = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    call(
        &mut program,
        libc::SYS_clone,
        &[
            argument(0),
            Instruction::jump(JSET, made as u32, 0, 1),
            answer(denied),
            answer(ALLOW),
        ],
    );
    // Its flags are behind a pointer, out of sight: the C library makes do with clone(2).
    let missing = ERRNO | libc::ENOSYS as u32;
    call(&mut program, libc::SYS_clone3, &[answer(missing)]);
    // Netlink to listen, unix for the system log.
    call(
        &mut program,
        libc::SYS_socket,
        &[
            argument(0),
            Instruction::jump(JEQ, libc::AF_NETLINK as u32, 1, 0),
            Instruction::jump(JEQ, libc::AF_UNIX as u32, 0, 1),
            answer(ALLOW),
            answer(denied),
        ],
    );
    // No memory that can be written becomes a program.
    call(
        &mut program,
        libc::SYS_mmap,
        &[
            argument(2),
            Instruction::jump(JSET, libc::PROT_EXEC as u32, 0, 2),
            Instruction::jump(JSET, libc::PROT_WRITE as u32, 0, 1),
            answer(denied),
            answer(ALLOW),
        ],
    );
    call(
        &mut program,
        libc::SYS_mprotect,
        &[
            argument(2),
            Instruction::jump(JSET, libc::PROT_EXEC as u32, 0, 1),
            answer(denied),
            answer(ALLOW),
        ],
    );
    let setns = namespaces.then_some(libc::SYS_setns);
    for number in CALLS.iter().chain(OLDER).copied().chain(setns) {
        call(&mut program, number, &[answer(ALLOW)]);
    }
    program.push(answer(denied));
    Some(program)
}

/// What becomes of a call, in instructions that end in an answer.
fn call(program: &mut Vec<Instruction>, number: libc::c_long, then: &[Instruction]) {
    let number = u32::try_from(number).expect("numbers of system calls are small");
    let over = u8::try_from(then.len()).expect("a handful");
    program.push(Instruction::jump(JEQ, number, 0, over));
    program.extend_from_slice(then);
}

/// Loads the lower half of an argument: flags and numbers of the C type int.
const fn argument(index: u32) -> Instruction {
    let half = if cfg!(target_endian = "big") { 4 } else { 0 };
    load(ARGUMENTS + 8 * index + half)
}

const fn load(offset: u32) -> Instruction {
    Instruction::plain(LD_WORD, offset)
}

const fn answer(value: u32) -> Instruction {
    Instruction::plain(RET, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does, on a call with these arguments.
    fn judge(program: &[Instruction], number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&(number as u32).to_ne_bytes());
        data[4..8].copy_from_slice(&own_architecture().unwrap().to_ne_bytes());
        for (index, argument) in arguments.iter().enumerate() {
            data[16 + 8 * index..][..8].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut value) = (0, 0);
        loop {
            let Instruction {
                code,
                jump_true,
                jump_false,
                operand,
            } = program[at];
            at += 1;
            let holds = match code {
                LD_WORD => {
                    let bytes = data[operand as usize..][..4].try_into().unwrap();
                    value = u32::from_ne_bytes(bytes);
                    continue;
                }
                RET => return operand,
                JEQ => value == operand,
                JSET => value & operand != 0,
                other => panic!("{other}"),
            };
            at += usize::from(if holds { jump_true } else { jump_false });
        }
    }

    #[test]
    fn calls_are_let_through_as_listed() {
        let Some(program) = filter(false) else {
            return;
        };
        assert!(program.len() < 4096, "BPF_MAXINSNS");
        let plain = |number| judge(&program, number, [0; 6]);
        let denied = ERRNO | libc::EPERM as u32;
        for number in CALLS.iter().chain(OLDER) {
            assert_eq!(plain(*number), ALLOW, "{number}");
        }
        for number in [
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_init_module,
            libc::SYS_setuid,
        ] {
            assert_eq!(plain(number), denied, "{number}");
        }
        assert_eq!(plain(libc::SYS_clone3), ERRNO | libc::ENOSYS as u32);
        let with = |number, index: usize, value: i32| {
            let mut arguments = [0; 6];
            arguments[index] = value as u64;
            judge(&program, number, arguments)
        };
        assert_eq!(with(libc::SYS_clone, 0, libc::CLONE_VM), ALLOW);
        assert_eq!(with(libc::SYS_clone, 0, libc::CLONE_NEWUSER), denied);
        assert_eq!(with(libc::SYS_socket, 0, libc::AF_NETLINK), ALLOW);
        assert_eq!(with(libc::SYS_socket, 0, libc::AF_UNIX), ALLOW);
        assert_eq!(with(libc::SYS_socket, 0, libc::AF_INET), denied);
        let both = libc::PROT_WRITE | libc::PROT_EXEC;
        assert_eq!(with(libc::SYS_mmap, 2, libc::PROT_EXEC), ALLOW);
        assert_eq!(with(libc::SYS_mmap, 2, libc::PROT_WRITE), ALLOW);
        assert_eq!(with(libc::SYS_mmap, 2, both), denied);
        assert_eq!(with(libc::SYS_mprotect, 2, libc::PROT_EXEC), denied);
        assert_eq!(with(libc::SYS_mprotect, 2, libc::PROT_READ), ALLOW);
        let entering = filter(true).unwrap();
        assert_eq!(judge(&entering, libc::SYS_setns, [0; 6]), ALLOW);
    }
}
