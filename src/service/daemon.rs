//! The program in the background (`-d`).
//!
//! The foreground half starts the program a second time and waits until that one captures, so that its
//! exit status tells whether there is a daemon. Forking would need `unsafe` and would leave the two
//! halves with one memory; starting anew needs neither. The readiness pipe is the background half's
//! standard output: no other descriptor can be handed on without `unsafe`, and a daemon has no use for
//! it.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::model::error::Error;
use crate::service::pid_file::PidFile;
use crate::ui::console::Console;

/// Set in the background half. Not an option, so that the process list shows the command line that
/// was typed.
const BACKGROUND: &str = "CONNTRACKER_BACKGROUND";

/// The background half.
#[derive(Debug)]
pub struct Daemon {
    _pid_file: PidFile,
}

/// Whether this process is the background half.
pub fn is_background() -> bool {
    env::var_os(BACKGROUND).is_some()
}

/// Starts the background half, waits until it captures or has failed, and returns the exit status for
/// the foreground half. What went wrong has then been told on standard error by the background half.
///
/// Errors: a program that can't be started.
pub fn launch() -> Result<u8, Error> {
    let failed =
        |error: io::Error| Error::caused(format!("can't start the daemon: {error}"), error);
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "conntracker".into());
    // Not /proc/self/exe, which ps(1) and pidof(8) would show as "exe".
    let program = env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(BACKGROUND, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut pipe = child.stdout.take().expect("asked for above");
    match pipe.read(&mut [0]).map_err(failed)? {
        // Its end without a word.
        0 => {
            let status = child.wait().map_err(failed)?;
            Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .filter(|&code| code != 0)
                .unwrap_or(1))
        }
        _ => Ok(0),
    }
}

impl Daemon {
    /// Makes this process a daemon, except that its messages still go to standard error, until
    /// [`release`](Self::release).
    ///
    /// Errors: a daemon that already runs, or a pid file that can't be written.
    pub fn enter(pid_file: &Path) -> Result<Self, Error> {
        let pid_file = PidFile::take(pid_file)?;
        // It fails for the leader of a process group, which has no terminal to lose: somebody set the
        // variable by hand.
        let _ = rustix::process::setsid();
        env::set_current_dir("/").map_err(|error| Error::file(Path::new("/"), error))?;
        Ok(Self {
            _pid_file: pid_file,
        })
    }

    /// Lets go of the terminal and of the foreground half, which then ends.
    pub fn release(&self, console: &Console) {
        console.use_syslog();
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        // The foreground half may be gone: a daemon can do without.
        let _ = io::stdout()
            .write_all(b"\n")
            .and_then(|()| io::stdout().flush());
        match null {
            Ok(null) => {
                let _ = rustix::stdio::dup2_stdout(&null);
                let _ = rustix::stdio::dup2_stderr(&null);
            }
            Err(error) => console.error(&format!("/dev/null: {error}")),
        }
    }
}
