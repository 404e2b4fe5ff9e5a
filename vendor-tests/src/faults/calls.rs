//! The system calls of a run, and how each can fail.

use std::collections::BTreeMap;

/// Calls that are never made to fail: no kernel lets them, or the C library does not look whether they did and could not
/// go on, whatever a program does (rt_sigprocmask(2) where a thread is made: signals would stay blocked).
const SPARED: [&str; 17] = [
    "arch_prctl",
    "clock_gettime",
    "execve",
    "exit",
    "exit_group",
    "futex",
    "gettid",
    "getpid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "restart_syscall",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "uname",
];

/// Calls that change files: where a process is killed, and what a power cut undoes.
pub const CHANGING: [&str; 14] = [
    "openat",
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "fchmod",
    "mkdirat",
    "flock",
];

/// How a call fails: what its manual page has, and the likeliest of that.
fn error(call: &str) -> &'static str {
    match call {
        "open" | "openat" | "openat2" | "socket" | "socketpair" | "dup" | "dup2" | "dup3"
        | "fcntl" | "pipe2" | "eventfd2" | "memfd_create" => "EMFILE",
        "write" | "writev" | "pwrite64" | "fallocate" => "ENOSPC",
        "mmap" | "mremap" | "mprotect" | "munmap" | "brk" | "madvise" | "poll" | "ppoll"
        | "sigaltstack" => "ENOMEM",
        "recvfrom" | "recvmsg" | "recvmmsg" | "sendto" | "sendmsg" | "bind" | "connect" => {
            "ENOBUFS"
        }
        "clone" | "clone3" => "EAGAIN",
        "clock_nanosleep" | "nanosleep" => "EINTR",
        "flock" => "ENOLCK",
        "bpf" | "setsockopt" | "setns" | "prctl" | "prlimit64" | "fchmod" | "fchown" => "EPERM",
        "getsockopt" | "rt_sigaction" | "rt_sigprocmask" | "sched_getaffinity" => "EINVAL",
        "rseq" | "set_robust_list" | "getrandom" => "ENOSYS",
        _ => "EIO",
    }
}

/// A call that is to fail, or at which the process is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub call: String,
    /// Which one of a thread, from 1.
    pub number: usize,
    /// Whether the process is killed, instead of that the call fails.
    pub kill: bool,
}

impl Fault {
    /// The option of strace(1).
    pub fn injection(&self) -> String {
        let Self { call, number, kill } = self;
        if *kill {
            format!("inject={call}:signal=KILL:when={number}")
        } else {
            format!("inject={call}:error={}:when={number}", error(call))
        }
    }
}

/// How often each call is made, by the thread that makes most of it: strace(1) counts the calls of each thread.
pub fn counted(trace: &str) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        // What goes on was counted when it began; signals and ends are no calls.
        let Some((call, _)) = rest.split_once('(').filter(|(call, _)| {
            !call.is_empty()
                && call
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        }) else {
            continue;
        };
        *counts
            .entry((call.to_owned(), thread.to_owned()))
            .or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in counts {
        let known = most.entry(call).or_insert(0);
        *known = count.max(*known);
    }
    most
}

/// The faults of a run that makes these calls. Of a call that is made more often than `each` times, the first ones and
/// as many of the others, evenly.
pub fn faults(counts: &BTreeMap<String, usize>, each: usize) -> Vec<Fault> {
    let mut all = Vec::new();
    for (call, &count) in counts {
        for number in chosen(count, each) {
            let fault = |kill| Fault {
                call: call.clone(),
                number,
                kill,
            };
            if !SPARED.contains(&&**call) {
                all.push(fault(false));
            }
            if CHANGING.contains(&&**call) {
                all.push(fault(true));
            }
        }
    }
    all
}

/// Numbers from 1 to `count`, at most `each` of them.
pub fn chosen(count: usize, each: usize) -> impl Iterator<Item = usize> {
    let first = if count <= each { count } else { each / 2 };
    let rest = count - first;
    let others = rest.min(each - first);
    (1..=first).chain((1..=others).map(move |number| first + rest * number / others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread() {
        let trace = "10 openat(AT_FDCWD, \"x\") = 3\n\
                     10 read(3, <unfinished ...>\n\
                     11 read(4, \"\", 9) = 0\n\
                     10 <... read resumed>\"\", 9) = 0\n\
                     11 read(4, \"\", 9) = 0\n\
                     11 --- SIGINT {si_signo=SIGINT} ---\n\
                     11 +++ exited with 0 +++\n";
        let counts = counted(trace);
        assert_eq!(counts.len(), 2);
        assert_eq!((counts["openat"], counts["read"]), (1, 2));
    }

    #[test]
    fn many_calls_are_taken_evenly() {
        let of = |count, each| chosen(count, each).collect::<Vec<_>>();
        assert_eq!(of(3, 10), [1, 2, 3]);
        assert_eq!(of(0, 10), [0; 0]);
        assert_eq!(of(102, 4), [1, 2, 52, 102]);
    }
}
