//! Names that led to the flows of a capture, learnt while it runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::live::rulings::TURN;
use crate::lookups::listener::Listener;
use crate::model::error::Error;
use crate::model::record::Record;
use crate::model::ruled::Told;
use crate::model::timestamp::Timestamp;
use crate::model::units::{agree, counted, show_count};

/// How long packets that are under way are waited for when a list is made.
const LAST: Duration = Duration::from_millis(20);
/// Packets and events have their times from two clocks of the kernel, or of this program: so far they may be apart.
const APART: Duration = Duration::from_millis(100);

/// The names of a capture's flows.
#[derive(Debug)]
pub struct Lookups(Mutex<Listener>);

impl Lookups {
    /// Begins to learn in the network namespace of the process.
    ///
    /// Errors: no privilege, or a kernel without packet sockets.
    pub fn start() -> Result<Self, Error> {
        let listener = Listener::new().map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    "--learn-names reads packets of DNS, which needs CAP_NET_RAW: run with sudo, or give the program the \
                     capability with: setcap cap_net_admin,cap_bpf,cap_net_raw+ep \"$(command -v conntracker)\""
                        .to_owned()
                }
                Some(libc::EAFNOSUPPORT) => {
                    "--learn-names: this kernel has no packet sockets: load the module with modprobe af_packet, or leave \
                     the option out"
                        .to_owned()
                }
                _ => format!("--learn-names: can't listen to DNS: {error}"),
            };
            Error::caused(why, error)
        })?;
        Ok(Self(Mutex::new(listener)))
    }

    /// Takes in what comes for a while, or until `wake` can be read.
    ///
    /// Errors: those of the socket.
    pub fn listen(&self, wake: BorrowedFd<'_>) -> io::Result<()> {
        let mut listener = self.0.lock();
        let listened = listener.listen(wake, TURN);
        // Whoever makes a list waits for it.
        MutexGuard::unlock_fair(listener);
        listened
    }

    /// Puts the names that led to these flows beside them.
    ///
    /// Errors: those of the socket.
    pub fn name(&self, records: impl Iterator<Item = Record>, told: &mut Told) -> io::Result<()> {
        let mut listener = self.0.lock();
        let (never, _keeps_it_quiet) = UnixStream::pair()?;
        listener.listen(never.as_fd(), LAST)?;
        let book = listener.book();
        let denied: Vec<_> = { told.denied.iter() }
            .map(|denied| denied.flow.record.clone())
            .collect();
        for record in records.chain(denied) {
            let identity = &record.identity;
            // Of other namespaces than its own a packet socket sees nothing.
            if identity.netns.is_some() {
                continue;
            }
            let until = record.last_seen.and_then(|seen| {
                Timestamp::from_us(seen.us().saturating_add(APART.as_micros() as u64))
            });
            let names = book.names(identity.source, identity.destination, until);
            told.learn(identity, names);
        }
        Ok(())
    }

    /// What there is to say at the end: how much was learnt, and what was not.
    pub fn remarks(&self) -> Remarks {
        let listener = self.0.lock();
        let (counts, known) = (listener.book().counts(), listener.book().len());
        let mut missing = Vec::new();
        if known == 0 && counts.left_out == 0 {
            missing.push(
                "no name was learnt: no question for an address and its answer passed here by plain UDP. Names that are \
                 asked for over TLS or HTTPS, or by TCP, can't be seen"
                    .to_owned(),
            );
        }
        match listener.dropped() {
            Ok(0) => {}
            Ok(dropped) => missing.push(format!(
                "{} of DNS came faster than {} read, and {} names are missing",
                counted(u64::from(dropped), "packet"),
                agree(dropped.into(), "it was", "they were"),
                agree(dropped.into(), "its", "their")
            )),
            Err(error) => missing.push(format!(
                "whether packets of DNS were missed is not known: {error}"
            )),
        }
        if counts.left_out > 0 {
            missing.push(format!(
                "{} of the names that were given longest ago had to make room for newer ones",
                show_count(counts.left_out)
            ));
        }
        let said = [
            (
                counts.used,
                agree(counts.used, "answer used", "answers used"),
            ),
            (counts.unasked, "without a question that was seen"),
            (
                counts.truncated,
                "cut, so that the client asked again by TCP",
            ),
            (counts.unusual, "for names with unusual signs"),
            (counts.malformed, "malformed"),
        ];
        let said: Vec<String> = { said.into_iter() }
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", show_count(count)))
            .collect();
        let learnt = match said.is_empty() {
            true => format!("names: {known} learnt"),
            false => format!("names: {known} learnt; DNS: {}", said.join(", ")),
        };
        Remarks { learnt, missing }
    }
}

/// What there is to say of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remarks {
    /// How much was learnt, and of what.
    pub learnt: String,
    /// What was not, and why.
    pub missing: Vec<String>,
}
