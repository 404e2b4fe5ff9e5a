//! Messages to the system log.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where syslog daemons listen (glibc 2.36, `misc/sys/syslog.h`, `_PATH_LOG`).
pub const SOCKET: &str = "/dev/log";

/// `LOG_DAEMON` of syslog(3).
const FACILITY: u8 = 3 << 3;

/// A log daemon that hangs must not hang the capture.
const PATIENCE: Duration = Duration::from_millis(200);

/// How much a message matters, in the numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Severity {
    /// `LOG_ERR`
    Error = 3,
    /// `LOG_NOTICE`
    Notice = 5,
    /// `LOG_INFO`
    Info = 6,
}

/// The system log.
#[derive(Debug)]
pub struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Syslog {
    /// The system log that listens at `path`. It need not listen yet.
    ///
    /// Errors: those of socket(2).
    pub fn new(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Sends a message to the system log.
    ///
    /// The form is that of RFC 3164 without its time, which is the sender's local time and which every
    /// log daemon fills in when a local message has none (systemd-journald, rsyslog's imuxsock,
    /// syslog-ng, busybox).
    pub fn log(&self, severity: Severity, message: &str) {
        let line = format!(
            "<{}>conntracker[{}]: {message}",
            FACILITY | severity as u8,
            std::process::id()
        );
        // By address, so that a log daemon that was started anew gets it. Nobody else could be told
        // that nobody listens.
        let _ = self.socket.send_to(line.as_bytes(), &self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_priority_name_and_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let syslog = Syslog::new(&path).unwrap();
        syslog.log(Severity::Error, "nobody listens");
        let daemon = UnixDatagram::bind(&path).unwrap();
        syslog.log(Severity::Notice, "hello");
        let mut buffer = [0; 64];
        let len = daemon.recv(&mut buffer).unwrap();
        let expected = format!("<29>conntracker[{}]: hello", std::process::id());
        assert_eq!(std::str::from_utf8(&buffer[..len]).unwrap(), expected);
    }
}
