//! What a program does before it is started, between fork(2) and execve(2).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

/// Has a program die with the thread that starts it, take no more than so many bytes of memory, and leave no core.
pub fn bound(command: &mut Command, memory_bytes: u64) {
    let at_most = |limit| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    let work = move || -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        setrlimit(Resource::As, at_most(memory_bytes))?;
        setrlimit(Resource::Core, at_most(0))?;
        Ok(())
    };
    // SAFETY: `work` makes three system calls and nothing else: it allocates nothing, takes no lock, and so may run in
    // the child of a process with threads (signal-safety(7)).
    unsafe { command.pre_exec(work) };
}
