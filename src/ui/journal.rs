//! Entries of systemd's journal with fields of their own
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ui::syslog::Severity;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// A journal that hangs must not hang the capture.
const PATIENCE: Duration = Duration::from_millis(200);

/// The journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal that listens at `path`.
    ///
    /// Errors: those of socket(2), and of looking at the path: without systemd there is none.
    pub fn new(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Sends an entry: its message, and its own fields, whose names are capital letters, digits and underscores and begin
    /// with a letter.
    ///
    /// Errors: those of sendto(2). What is larger than a datagram can be is one of them.
    pub fn send(
        &self,
        severity: Severity,
        message: &str,
        fields: &[(String, String)],
    ) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(512);
        add(&mut datagram, "MESSAGE", message);
        add(&mut datagram, "PRIORITY", &(severity as u8).to_string());
        add(&mut datagram, "SYSLOG_IDENTIFIER", "conntracker");
        for (name, value) in fields {
            add(&mut datagram, name, value);
        }
        self.socket.send_to(&datagram, &self.path).map(drop)
    }
}

/// A field: on one line, or where its value has several, with its length before it.
fn add(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_makes_a_field_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Journal::new(&path).is_err());
        let daemon = UnixDatagram::bind(&path).unwrap();
        let fields = [("CONNTRACKER_NETNS".to_owned(), "a\nPRIORITY=0".to_owned())];
        let journal = Journal::new(&path).unwrap();
        journal.send(Severity::Notice, "new", &fields).unwrap();
        let mut buffer = [0; 256];
        let len = daemon.recv(&mut buffer).unwrap();
        let expected = b"MESSAGE=new\nPRIORITY=5\nSYSLOG_IDENTIFIER=conntracker\n\
            CONNTRACKER_NETNS\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n";
        assert_eq!(&buffer[..len], expected);
    }
}
