//! Signals: end, end at once, and "print now".

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};

/// Has a file that would get larger than its limit (`RLIMIT_FSIZE`) fail to be written, with `EFBIG`, instead of ending
/// the program: a list then goes elsewhere. Programs that are started get the default back.
pub fn survive_file_limits() {
    // Handled and not ignored, which programs that are started would inherit. It can't fail but for a number that is
    // no signal.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// The signals that arrived, and a descriptor that becomes readable with each.
#[derive(Debug)]
pub struct Signals {
    end: Arc<AtomicBool>,
    print: Arc<AtomicBool>,
    woken: UnixStream,
    waker: UnixStream,
}

impl Signals {
    /// Takes the signals over for the rest of the program's life.
    ///
    /// Errors: those of socketpair(2) and sigaction(2).
    pub fn install() -> io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let print = Arc::new(AtomicBool::new(false));
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                // nohup(1): the user wants the program to survive the terminal.
                continue;
            }
            // In this order: a second signal meets the flag that the first one has set, and has its
            // default action.
            flag::register_conditional_default(signal, Arc::clone(&end))?;
            flag::register(signal, Arc::clone(&end))?;
            pipe::register(signal, waker.try_clone()?)?;
        }
        flag::register(SIGUSR1, Arc::clone(&print))?;
        pipe::register(SIGUSR1, waker.try_clone()?)?;
        Ok(Self {
            end,
            print,
            woken,
            waker,
        })
    }

    /// Readable after a signal, until [`drain`](Self::drain).
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }

    /// Makes the descriptor unreadable again. To be called before the flags are looked at.
    pub fn drain(&self) {
        while matches!(io::Read::read(&mut &self.woken, &mut [0; 64]), Ok(1..)) {}
    }

    /// Whether the program is to end.
    pub fn end(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Ends the program as a signal would.
    pub fn request_end(&self) {
        self.end.store(true, Ordering::Relaxed);
        // A full pipe is readable, which is all that is wanted.
        let _ = io::Write::write(&mut &self.waker, &[0]);
    }

    /// Whether a list was asked for since the last call.
    pub fn take_print(&self) -> bool {
        self.print.swap(false, Ordering::Relaxed)
    }
}

/// Whether the program was started with a signal ignored (proc_pid_status(5), `SigIgn`).
fn is_ignored(signal: i32) -> bool {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
}
