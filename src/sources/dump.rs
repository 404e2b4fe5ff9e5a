//! The kernel's connection table, read through the C library on a handle of its own: what was open
//! when the capture began, and what has to make up for missed events. And the entries that have ended, but whose end
//! the kernel has not been able to tell yet.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use netfilter_conntrack::{Family, Groups, Handle};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::entry::{observe, sighting};
use crate::intake::Intake;
use crate::intake::tally::Tally;
use crate::model::flow::Event;
use crate::model::sighting::{OWN, Sighting};
use crate::model::timestamp::Timestamp;
use crate::netlink::build::netfilter_message;
use crate::netlink::request;
use crate::netlink::uapi::{
    IPCTNL_MSG_CT_GET_DYING, NFNL_SUBSYS_CTNETLINK, NLM_F_DUMP, NLM_F_REQUEST, message_type,
};
use crate::os::namespace;
use crate::os::namespaces::Namespaces;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_DYING`: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const GET_DYING: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_DYING);
/// How long the kernel may take for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists every entry of the kernel's table that is not listed yet; of all namespaces that are listened to, as far as
/// they have names by which they can be entered.
///
/// Errors: those of `nfct_open` and `nfct_query(NFCT_Q_DUMP)`, and namespaces that can't be read; what was read before is listed.
pub fn merge(intake: &Intake) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let _merging = intake.merging();
    everywhere(intake, &mut tally, merge_one)?;
    Ok(tally)
}

/// Hands over every entry of the kernel's table that is a flow of the kinds that are recorded; of all namespaces as
/// [`merge`] does. Nothing is listed by it.
///
/// Errors: as those of [`merge`].
pub fn each_open<F: FnMut(&Sighting) + Send>(intake: &Intake, take: &mut F) -> io::Result<()> {
    everywhere(intake, take, |intake, namespace, take| {
        let all_protocols = intake.detail().is_some_and(|detail| detail.all_protocols);
        let mut handle = Handle::open(Groups::NONE)?;
        handle.dump(Family::Any, |entry| {
            if let Ok(mut sighting) = sighting(entry, Event::Update, all_protocols) {
                sighting.namespace = namespace;
                take(&sighting);
            }
        })
    })
}

/// Whether the kernel keeps back ends of entries, in any namespace that is listened to: DESTROY events that found no
/// room in the queue of a listener that asked for every event (`NETLINK_BROADCAST_ERROR`). The kernel keeps their entries on its dying list
/// and tries again (`ecache_work`, net/netfilter/nf_conntrack_ecache.c, and `ctnetlink_dump_dying`,
/// net/netfilter/nf_conntrack_netlink.c, Linux 5.10 to 6.18).
///
/// Errors: those of the socket, and the kernel's.
pub fn keeps_ends_back(intake: &Intake) -> io::Result<bool> {
    let mut kept = Tally::default();
    everywhere(intake, &mut kept, |_, _, kept| {
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
        // The first one is enough. Reading all of them takes the kernel a time that grows with their square.
        request::query(&socket, &bytes, None, |_| {
            kept.ended += 1;
            ControlFlow::Break(())
        })
        .map(drop)
    })?;
    Ok(kept.ended > 0)
}

/// The numbers of the namespaces that are there no more.
pub fn gone(intake: &Intake) -> Vec<u16> {
    if let Some(namespaces) = intake.namespaces() {
        // What can't be looked at now can be the next time.
        let _ = namespaces.scan();
    }
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

/// Does something in every namespace that is listened to.
fn everywhere<T: Send>(
    intake: &Intake,
    sum: &mut T,
    each: fn(&Intake, u16, &mut T) -> io::Result<()>,
) -> io::Result<()> {
    each(intake, OWN, sum)?;
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
        let entered = namespace::within(&other.label, || each(intake, other.number, sum));
        if let Err(error) = entered {
            unread.push(format!("{} ({error})", other.label));
        }
    }
    if unread.is_empty() {
        Ok(())
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
                intake.recovered_sighting(detail, &sighting, now, tally);
            }
        } else if let Ok(observation) = observe(entry, Event::Update) {
            intake.recovered(&observation, tally);
        }
    })
}
