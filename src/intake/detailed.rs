//! Events of which more is looked at than the classic list takes.

use super::{Detail, Intake, Pending, is_second_attempt};
use crate::intake::table::Unseen;
use crate::intake::tally::Tally;
use crate::model::flow::Event;
use crate::model::sighting::Sighting;
use crate::model::timestamp::Timestamp;
use crate::netlink::conntrack;
use crate::netlink::framing::messages;

impl Intake {
    pub(super) fn gather_detail(
        &self,
        detail: &Detail,
        (now, namespace): (Timestamp, u16),
        datagram: &[u8],
        pending: &mut Pending,
        mut missed: impl FnMut() -> bool,
    ) {
        for message in messages(datagram) {
            let Ok(message) = message else {
                pending.tally.malformed += 1;
                break;
            };
            match conntrack::sighting(message, detail.all_protocols) {
                Ok(mut sighting) => {
                    sighting.namespace = namespace;
                    let matters = sighting.event == Event::Destroy
                        || sighting.event == Event::New && sighting.replied;
                    let missed = matters && missed();
                    self.sighting(detail, &sighting, now, missed, &mut pending.tally);
                }
                Err(skip) => pending.tally.skipped(skip),
            }
        }
    }

    /// Takes in one event with its detail. `missed` is whether events were missed before it.
    pub fn sighting(
        &self,
        detail: &Detail,
        sighting: &Sighting,
        now: Timestamp,
        missed: bool,
        tally: &mut Tally,
    ) {
        match sighting.event {
            Event::Destroy => {
                if tally.end(missed) {
                    self.recovered_sighting(detail, sighting, now, tally);
                }
                if let Some(records) = &detail.records {
                    if detail.selection.wants(&sighting.tuple) {
                        records.end(sighting);
                    }
                }
            }
            Event::New | Event::Update => {
                tally.events += 1;
                tally.begun += u64::from(sighting.event == Event::New);
                if !detail.selection.wants(&sighting.tuple) {
                    return;
                }
                if let Some(observation) = sighting.observation() {
                    if missed && is_second_attempt(observation) {
                        self.late(&observation, tally);
                    } else {
                        self.table.apply(&observation, Unseen::Ignore);
                    }
                }
                if let Some(records) = &detail.records {
                    records.apply(sighting, now);
                }
            }
        }
    }

    /// [`recovered`](Self::recovered) with detail.
    pub fn recovered_sighting(
        &self,
        detail: &Detail,
        sighting: &Sighting,
        now: Timestamp,
        tally: &mut Tally,
    ) {
        if !detail.selection.wants(&sighting.tuple) {
            return;
        }
        if let Some(observation) = sighting.observation() {
            self.recovered(&observation, tally);
        }
        if let Some(records) = &detail.records {
            records.apply(sighting, now);
        }
    }
}
