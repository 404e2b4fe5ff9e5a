//! The kernel's connection table, read through the C library on a handle of its own: what was open
//! when the capture began, and what has to make up for missed events.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use netfilter_conntrack::{Family, Groups, Handle};

use super::entry::{observe, sighting};
use crate::flow::Event;
use crate::intake::Intake;
use crate::namespace;
use crate::namespaces::{Namespaces, OWN};
use crate::tally::Tally;
use crate::timestamp::Timestamp;

/// Lists every entry of the kernel's table that is not listed yet; of all namespaces that are listened to, as far as
/// they have names by which they can be entered.
///
/// # Errors
///
/// Those of `nfct_open` and `nfct_query(NFCT_Q_DUMP)`, and namespaces that can't be read; what was read before is listed.
pub fn merge(intake: &Intake) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let _merging = intake.merging();
    merge_one(intake, OWN, &mut tally)?;
    let mut unread = Vec::new();
    for other in intake.namespaces().map_or_else(Vec::new, Namespaces::all) {
        // What is gone has no entries any more.
        if !other.alive {
            continue;
        }
        let entered = other.has_name.then(|| {
            // A thread of its own, since a thread that has left its namespace may not come back.
            thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    namespace::enter(&other.label).map_err(io::Error::other)?;
                    merge_one(intake, other.number, &mut tally)
                });
                reader.join().unwrap_or_else(|panic| resume_unwind(panic))
            })
        });
        match entered {
            Some(Ok(())) => {}
            Some(Err(error)) => unread.push(format!("{} ({error})", other.label)),
            None => unread.push(other.label.to_string()),
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
