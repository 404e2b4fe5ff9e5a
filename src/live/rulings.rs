//! Which rules decided on the flows of a capture, and which flows they stopped: the paths of first packets, joined with the
//! records by what both know of a flow.
//!
//! A path is that of one packet of a flow. Where several records could be its flow, because they differ in what a path does not
//! have (zone, translation), none of them gets it; and one that says that the packet was stopped is none of a record, which is of
//! a connection that got through.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::live::options::Rules;
use crate::model::error::Error;
use crate::model::path::{Outcome, Path};
use crate::model::record::{Classic, Identity, Record, SourcePort, Translation};
use crate::model::ruled::{Denied, Told};
use crate::model::selection::{Selection, SourcePorts};
use crate::model::tuple::Tuple;
use crate::trace::listener::Listener;
use crate::trace::paths::folded;
use crate::trace::ruleset::Ruleset;
use crate::trace::words::Words;

/// How long it is listened at a time, so that lists have their turn.
pub const TURN: Duration = Duration::from_millis(100);
/// How long events of what is under way are waited for when a list is made.
const LAST: Duration = Duration::from_millis(50);

/// The paths of a capture's flows.
#[derive(Debug)]
pub struct Rulings {
    listener: Mutex<Listener>,
    before: Ruleset,
    /// Whether flows that did not get through are wanted.
    denied: bool,
    selection: Selection,
}

impl Rulings {
    /// Begins to follow the first packets of at most `max` flows.
    ///
    /// Errors: no privilege, or what the kernel or this machine lacks.
    pub fn start(max: usize, rules: Rules, selection: Selection) -> Result<Self, Error> {
        let unreadable = |error: io::Error| {
            Error::new(format!(
                "--rules: nft, which writes rules as text, can't be used: {error} (package nftables)"
            ))
        };
        let mut before = Ruleset::read().map_err(unreadable)?;
        let max = u32::try_from(max).unwrap_or(u32::MAX).min(FLOWS_MAX);
        let listener = Listener::new(max, rules.legacy).map_err(|error| {
            Error::new(match error.raw_os_error() {
                // Of --iptables-legacy, in words.
                None => error.to_string(),
                Some(_) => format!(
                    "--rules: this kernel refuses the table that picks packets ({error}): it takes CAP_NET_ADMIN, nf_tables \
                     with nft_ct and dynamic sets, Linux 4.1 or later"
                ),
            })
        })?;
        if rules.legacy {
            before = listener.ruleset().map_err(unreadable)?;
        }
        Ok(Self {
            listener: Mutex::new(listener),
            before,
            denied: rules.denied,
            selection,
        })
    }

    /// Takes in what comes for a while, or until `wake` can be read.
    ///
    /// Errors: those of the socket.
    pub fn listen(&self, wake: BorrowedFd<'_>) -> io::Result<()> {
        let mut listener = self.listener.lock();
        let listened = listener
            .listen(wake, TURN)
            .and_then(|()| listener.identify());
        // Whoever makes a list waits for it.
        MutexGuard::unlock_fair(listener);
        listened
    }

    /// What is told of these flows at the end, and why some of it may be missing. Of what is under way the events have a
    /// moment to come.
    ///
    /// Errors: those of the socket, and of reading the rules.
    pub fn told(&self, records: impl Iterator<Item = Record>) -> io::Result<(Told, Vec<String>)> {
        self.told_after(LAST, records)
    }

    /// What is told of these flows by now. What is under way is in the next look.
    ///
    /// Errors: those of the socket, and of reading the rules.
    pub fn told_now(&self, records: impl Iterator<Item = Record>) -> io::Result<Told> {
        Ok(self.told_after(Duration::ZERO, records)?.0)
    }

    fn told_after(
        &self,
        time: Duration,
        records: impl Iterator<Item = Record>,
    ) -> io::Result<(Told, Vec<String>)> {
        let mut listener = self.listener.lock();
        let (never, _keeps_it_quiet) = UnixStream::pair()?;
        listener.listen(never.as_fd(), time)?;
        listener.identify()?;
        let ruleset = listener.ruleset()?;
        let reasons = listener.reasons();
        let words = Words {
            ruleset: &ruleset,
            before: &self.before,
        };
        let mut by_tuple: HashMap<Tuple, Vec<Record>> = HashMap::new();
        for record in records {
            let tuple = folded(record.tracked().tuple());
            if record.identity.netns.is_none() && listener.paths().has(&tuple) {
                by_tuple.entry(tuple).or_default().push(record);
            }
        }
        let mut told = Told::default();
        for (tuple, path) in listener.paths().iter() {
            if path.outcome() == Outcome::Dropped {
                if self.denied {
                    let wanted = self.denied_flow(tuple, path);
                    told.denied.extend(wanted.map(|record| Denied {
                        flow: record.into(),
                        ruled: Some(Arc::new(words.ruled(path))),
                    }));
                }
                continue;
            }
            let records: Vec<&Record> = by_tuple.get(tuple).into_iter().flatten().collect();
            let of_entry = match &path.identity {
                Some(identity) => Some(identity.clone()),
                None if records.len() > 1 => of_zones(&listener, (tuple, path), &records)?,
                None => None,
            };
            let record = match of_entry {
                Some(identity) => of_this(&records, *identity),
                None => only(&records, path),
            };
            if let Some(record) = record {
                let ruled = Arc::new(words.ruled(path));
                told.rules.insert(record.identity.clone(), ruled);
            }
        }
        told.denied
            .sort_unstable_by(|a, b| a.flow.record.identity.cmp(&b.flow.record.identity));
        Ok((told, reasons))
    }

    /// A flow that did not get through, as a record, if it is wanted.
    fn denied_flow(&self, tuple: &Tuple, path: &Path) -> Option<Record> {
        let port = path.source_port.unwrap_or(SourcePort::None);
        let tuple = Tuple {
            source_port: match self.selection.source_ports {
                SourcePorts::Collapse => port.collapsed(),
                SourcePorts::Keep => port,
            },
            ..*tuple
        };
        let wanted = self.selection.wants(&Tuple {
            source_port: port,
            ..tuple
        });
        let translation = path.dnat.map(|dnat| {
            Box::new(Translation {
                dnat: Some(dnat),
                snat: None,
            })
        });
        let identity = Identity {
            translation,
            ..Identity::of(&tuple)
        };
        wanted.then(|| Record {
            first_seen: path.seen,
            last_seen: path.seen,
            classic: Classic::Absent,
            ..Record::new(identity, false)
        })
    }
}

/// No set of the gate has room for more (`NFTA_SET_DESC_SIZE` takes memory as elements come, so this is no reservation).
const FLOWS_MAX: u32 = 2_000_000;

/// What makes the flow of a path's entry, where that is there now in a zone of one of these records.
fn of_zones(
    listener: &Listener,
    (tuple, path): (&Tuple, &Path),
    records: &[&Record],
) -> io::Result<Option<Box<Identity>>> {
    let (Some(id), Some(source_port)) = (path.connection, path.source_port) else {
        return Ok(None);
    };
    let mut zones: Vec<u16> = records.iter().map(|record| record.identity.zone).collect();
    zones.sort_unstable();
    zones.dedup();
    for zone in zones.into_iter().take(ZONES_MAX) {
        let tuple = Tuple {
            source_port,
            zone,
            ..*tuple
        };
        if let Some(identity) = listener.identity(&tuple, id)? {
            return Ok(Some(Box::new(identity)));
        }
    }
    Ok(None)
}

/// So many zones are asked for an entry.
const ZONES_MAX: usize = 16;

/// The record of an entry, whose ports are those of one connection.
fn of_this<'a>(records: &[&'a Record], mut identity: Identity) -> Option<&'a Record> {
    let find = |identity: &Identity| {
        let mut all = records.iter();
        all.find(|record| *record.tracked() == *identity).copied()
    };
    find(&identity).or_else(|| {
        identity.collapse_ports();
        find(&identity)
    })
}

/// The record whose flow a path is of, if it can be no other.
fn only<'a>(records: &[&'a Record], path: &Path) -> Option<&'a Record> {
    if let [one] = records {
        return Some(one);
    }
    // The packet's source port tells flows from ports below 1024 apart from the others.
    let port = path.source_port?;
    let is_of = |record: &&&Record| {
        let own = record.identity.source_port;
        own == port || own == port.collapsed()
    };
    let mut fitting = records.iter().filter(is_of);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_may_be_of_several_records_is_of_none() {
        let record = |zone, port| {
            let mut identity = Identity::of(&Tuple::tcp("10.0.0.1", "10.0.0.2", 80));
            identity.zone = zone;
            identity.source_port = port;
            Record::new(identity, true)
        };
        let path = |port| Path {
            source_port: Some(SourcePort::Exact(port)),
            ..Path::default()
        };
        let (one, low) = (
            record(0, SourcePort::Ephemeral),
            record(0, SourcePort::Exact(80)),
        );
        let zoned = record(7, SourcePort::Ephemeral);
        assert_eq!(only(&[&one], &path(80)), Some(&one));
        assert_eq!(only(&[&one, &low], &path(40_000)), Some(&one));
        assert_eq!(only(&[&one, &low], &path(80)), Some(&low));
        assert_eq!(only(&[&one, &zoned], &path(40_000)), None);
        assert_eq!(only(&[], &path(80)), None);
    }
}
