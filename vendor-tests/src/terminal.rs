//! A terminal for a program to write to.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::capture::without_usual_notes;

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Terminal {
    written: Arc<Mutex<Vec<u8>>>,
    end: OwnedFd,
}

impl Terminal {
    /// Opens one of that width.
    ///
    /// Panics: if the system has none to give.
    pub fn new(columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("the terminal can be used");
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("a terminal has a size");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = open(name, flags, Mode::empty()).expect("the terminal can be opened");
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let mut master = File::from(master);
        // Ends, with EIO, when nobody holds the other end any more.
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = master.read(&mut chunk) {
                to.lock()
                    .expect("nothing panics here")
                    .extend_from_slice(&chunk[..len]);
            }
        });
        Self { written, end }
    }

    /// The end that programs write to.
    ///
    /// Panics: if there are too many open files.
    pub fn end(&self) -> OwnedFd {
        self.end.try_clone().expect("a descriptor")
    }

    /// What was written so far.
    ///
    /// Panics: never.
    pub fn text(&self) -> String {
        let written = self.written.lock().expect("nothing panics here");
        without_usual_notes(&String::from_utf8_lossy(&written))
    }
}
