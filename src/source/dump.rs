//! The kernel's connection table, read through the C library on a handle of its own: what was open
//! when the capture began, and what has to make up for missed events.

use std::io;

use netfilter_conntrack::{Family, Groups, Handle};

use super::entry::{observe, sighting};
use crate::flow::Event;
use crate::intake::{Intake, Tally};
use crate::timestamp::Timestamp;

/// Lists every entry of the kernel's table that is not listed yet.
///
/// # Errors
///
/// Those of `nfct_open` and `nfct_query(NFCT_Q_DUMP)`.
pub fn merge(intake: &Intake) -> io::Result<Tally> {
    let mut handle = Handle::open(Groups::NONE)?;
    let mut tally = Tally::default();
    let now = Timestamp::now();
    handle.dump(Family::Any, |entry| {
        if let Some(detail) = intake.detail() {
            if let Ok(sighting) = sighting(entry, Event::Update, detail.all_protocols) {
                intake.made_up_sighting(detail, &sighting, now, &mut tally);
            }
        } else if let Ok(observation) = observe(entry, Event::Update) {
            intake.made_up(&observation, &mut tally);
        }
    })?;
    Ok(tally)
}
