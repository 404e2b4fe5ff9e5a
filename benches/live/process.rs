//! A started program: its signals, its processor time, its memory, its end.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::Failure;
use crate::clock::Interrupt;

/// Processor time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In user space.
    pub user_ns: f64,
    /// In the kernel.
    pub system_ns: f64,
}

impl Cpu {
    /// Both.
    pub fn total_ns(self) -> f64 {
        self.user_ns + self.system_ns
    }
}

/// What the kernel has counted for a program that runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// To the nanosecond.
    total_ns: u64,
    /// To the tick, for the share of each in the total only.
    user_ticks: u64,
    system_ticks: u64,
    /// Times a thread went to sleep of its own accord: as many as it was woken.
    pub sleeps: u64,
}

impl Account {
    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Cpu {
        let total_ns = (self.total_ns - earlier.total_ns) as f64;
        let user = (self.user_ticks - earlier.user_ticks) as f64;
        let system = (self.system_ticks - earlier.system_ticks) as f64;
        // Below one tick there is no telling; receiving is all there is to a program that does so little.
        let user_share = if user + system > 0.0 {
            user / (user + system)
        } else {
            0.0
        };
        Cpu {
            user_ns: total_ns * user_share,
            system_ns: total_ns * (1.0 - user_share),
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// When that was noticed.
    pub at: Instant,
    /// All the time it and its threads took.
    pub cpu: Cpu,
    /// The most memory it had resident.
    pub peak_bytes: u64,
}

/// A started program, killed with this value.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    ended: Option<Ended>,
}

impl Process {
    /// Takes over a child, whose end must not be waited for by anybody else.
    pub fn new(child: &Child) -> Result<Self, Failure> {
        let pid = Pid::from_child(child);
        Ok(Self {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            ended: None,
        })
    }

    /// Its descriptor for pidfd_getfd(2).
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// A file below /proc/PID.
    pub fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid.as_raw_nonzero())
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        if self.ended.is_none() {
            kill_process(self.pid, signal)?;
        }
        Ok(())
    }

    /// Stops it and waits until it stands.
    pub fn stop(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        self.signal(Signal::STOP)?;
        interrupt.until("stopping", Duration::from_secs(5), || {
            let stat = fs::read_to_string(self.proc("stat"))?;
            Ok(after_name(&stat).starts_with('T').then_some(()))
        })
    }

    /// What was counted for it so far, all threads together.
    pub fn account(&self) -> Result<Account, Failure> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // proc_pid_stat(5): utime and stime are fields 14 and 15, the name is the second.
        let mut times = after_name(&stat).split(' ').skip(11);
        let mut ticks = || -> Result<u64, Failure> {
            Ok(times.next().ok_or("a short /proc/PID/stat")?.parse()?)
        };
        let mut account = Account {
            user_ticks: ticks()?,
            system_ticks: ticks()?,
            ..Account::default()
        };
        for thread in fs::read_dir(self.proc("task"))? {
            let thread = thread?.path();
            let schedstat = fs::read_to_string(thread.join("schedstat"))?;
            let run = schedstat.split(' ').next().unwrap_or_default();
            account.total_ns += run.parse::<u64>()?;
            let status = fs::read_to_string(thread.join("status"))?;
            account.sleeps += field(&status, "voluntary_ctxt_switches:")?;
        }
        Ok(account)
    }

    /// Bytes resident.
    pub fn resident_bytes(&self) -> Result<u64, Failure> {
        Ok(field(&fs::read_to_string(self.proc("status"))?, "VmRSS:")? * 1024)
    }

    /// Its end, if it comes within `limit`.
    pub fn end_within(&mut self, limit: Duration) -> Result<Option<Ended>, Failure> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        let timeout = Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let at = Instant::now();
        let (status, usage) = reap(self.pid)?;
        let ns = |time: libc::timeval| (time.tv_sec * 1_000_000 + time.tv_usec) as f64 * 1e3;
        self.ended = Some(Ended {
            status,
            at,
            cpu: Cpu {
                user_ns: ns(usage.ru_utime),
                system_ns: ns(usage.ru_stime),
            },
            peak_bytes: usage.ru_maxrss as u64 * 1024,
        });
        Ok(self.ended)
    }

    /// Waits for its end.
    pub fn end(&mut self, interrupt: &Interrupt, limit: Duration) -> Result<Ended, Failure> {
        interrupt.until("the end of a program", limit, || {
            self.end_within(Duration::from_millis(100))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = reap(self.pid);
        }
    }
}

/// What follows the program's name, which may contain anything, in /proc/PID/stat: from the state on.
fn after_name(stat: &str) -> &str {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest)
}

/// A number of /proc/PID/status.
fn field(status: &str, name: &str) -> Result<u64, Failure> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .ok_or_else(|| format!("no {name} in /proc/PID/status"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

fn reap(pid: Pid) -> io::Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    // SAFETY: rusage is plain data for which zeros are valid.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes one c_int and one rusage, which both outlive the call.
    let result = unsafe {
        libc::wait4(
            pid.as_raw_nonzero().get(),
            &raw mut status,
            0,
            &raw mut usage,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((ExitStatus::from_raw(status), usage))
}
