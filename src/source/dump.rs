//! The kernel's connection table, read through the C library on a handle of its own: what was open
//! when the capture began, and what has to make up for missed events. And the entries that have ended, but whose end
//! the kernel has not been able to tell yet.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netfilter_conntrack::{Family, Groups, Handle};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::entry::{observe, sighting};
use crate::decode;
use crate::flow::Event;
use crate::intake::Intake;
use crate::namespace;
use crate::namespaces::{Namespaces, OWN};
use crate::netlink::build::netfilter_message;
use crate::netlink::request::{self, NLM_F_DUMP, NLM_F_REQUEST};
use crate::tally::Tally;
use crate::timestamp::Timestamp;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_DYING`: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const GET_DYING: u16 = 0x0106;
/// How long the kernel may take for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long reading the dying list may take in all, which grows while it is read.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(60);

/// Lists every entry of the kernel's table that is not listed yet; of all namespaces that are listened to, as far as
/// they have names by which they can be entered.
///
/// # Errors
///
/// Those of `nfct_open` and `nfct_query(NFCT_Q_DUMP)`, and namespaces that can't be read; what was read before is listed.
pub fn merge(intake: &Intake) -> io::Result<Tally> {
    everywhere(intake, merge_one)
}

/// Lists the flows of all entries that have ended, but whose DESTROY event found no room in the queue of a listener
/// that wants to be told of every event. The kernel keeps these on its dying list (`ctnetlink_dump_dying`,
/// net/netfilter/nf_conntrack_netlink.c, Linux 5.10 to 6.18).
///
/// # Errors
///
/// Those of the socket, the kernel's, and a list that grows faster than it can be read.
pub fn merge_dying(intake: &Intake) -> io::Result<Tally> {
    everywhere(intake, merge_dying_of_one)
}

/// The numbers of the namespaces that are there no more.
#[must_use]
pub fn gone(intake: &Intake) -> Vec<u16> {
    let all = intake.namespaces().map_or_else(Vec::new, Namespaces::all);
    let gone = all.into_iter().filter(|named| !named.alive);
    gone.map(|named| named.number).collect()
}

/// The names of namespaces.
pub fn names<'a>(intake: &Intake, numbers: impl Iterator<Item = &'a u16>) -> Vec<Arc<str>> {
    let all = intake.namespaces().map_or_else(Vec::new, Namespaces::all);
    let name = |number: &u16| all.iter().find(|named| named.number == *number);
    numbers
        .filter_map(name)
        .map(|named| Arc::clone(&named.label))
        .collect()
}

/// Reads something in every namespace that is listened to.
fn everywhere(
    intake: &Intake,
    read: fn(&Intake, u16, &mut Tally) -> io::Result<()>,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let _merging = intake.merging();
    read(intake, OWN, &mut tally)?;
    let mut unread = Vec::new();
    for other in intake.namespaces().map_or_else(Vec::new, Namespaces::all) {
        // What is gone has no entries any more.
        if !other.alive {
            continue;
        }
        if !other.has_name {
            unread.push(other.label.to_string());
            continue;
        }
        let entered = namespace::within(&other.label, || read(intake, other.number, &mut tally));
        if let Err(error) = entered {
            unread.push(format!("{} ({error})", other.label));
        }
    }
    if unread.is_empty() {
        Ok(tally)
    } else {
        Err(io::Error::other(format!(
            "not that of these namespaces: {}",
            unread.join(", ")
        )))
    }
}

/// Lists every entry of the namespace that the calling thread is in.
fn merge_one(intake: &Intake, namespace: u16, tally: &mut Tally) -> io::Result<()> {
    let mut handle = Handle::open(Groups::NONE)?;
    let now = Timestamp::now();
    handle.dump(Family::Any, |entry| {
        if let Some(detail) = intake.detail() {
            if let Ok(mut sighting) = sighting(entry, Event::Update, detail.all_protocols) {
                sighting.namespace = namespace;
                intake.made_up_sighting(detail, &sighting, now, tally);
            }
        } else if let Ok(observation) = observe(entry, Event::Update) {
            intake.made_up(&observation, tally);
        }
    })
}

/// Reads the dying list of the namespace that the calling thread is in, until reading it again tells nothing new.
///
/// Once is not enough: if the entry at which a piece of the answer has ended leaves the list before the next piece is
/// asked for, the kernel does not find its place again, and the answer ends there without a word.
fn merge_dying_of_one(intake: &Intake, namespace: u16, tally: &mut Tally) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE_IN_ALL;
    let mut quiet = 0;
    while quiet < 2 {
        let known = tally.recovered;
        let entries = read_dying(intake, namespace, deadline, tally)?;
        if entries == 0 {
            return Ok(());
        }
        quiet = if tally.recovered == known {
            quiet + 1
        } else {
            0
        };
    }
    Ok(())
}

/// Reads it once, and returns how many entries were told.
fn read_dying(
    intake: &Intake,
    namespace: u16,
    deadline: Instant,
    tally: &mut Tally,
) -> io::Result<u64> {
    let socket = request::open(request::Family::Netfilter, 0)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut bytes = Vec::new();
    netfilter_message(
        &mut bytes,
        GET_DYING,
        NLM_F_REQUEST | NLM_F_DUMP,
        0,
        0,
        |_| {},
    );
    let now = Timestamp::now();
    let mut entries = 0;
    let whole = request::exchange(&socket, &bytes, Some(deadline), |message| {
        entries += 1;
        if let Some(detail) = intake.detail() {
            if let Ok(mut sighting) = decode::sighting(message, detail.all_protocols) {
                sighting.namespace = namespace;
                intake.made_up_sighting(detail, &sighting, now, tally);
            }
        } else if let Ok(observation) = decode::decode(message) {
            intake.made_up(&observation, tally);
        }
        ControlFlow::Continue(())
    })?;
    if whole {
        Ok(entries)
    } else {
        Err(io::Error::other(
            "the ended connections that the kernel keeps back grow faster than they can be read",
        ))
    }
}
