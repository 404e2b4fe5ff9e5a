//! The rule that `conntracker rules` would write for a line.

use crate::model::capture::Capture;
use crate::model::evidence;
use crate::model::printable::printable;
use crate::model::record::Record;
use crate::model::services::Services;
use crate::model::units::agree;
use crate::rules::{Options, nft, plan};

/// The rules for some flows, in nft's words, and why others have none.
pub fn rules(captures: &[Capture], mut records: Vec<Record>, services: &Services) -> Vec<String> {
    evidence::place_known(&mut records, captures);
    let options = Options {
        services: services.clone(),
        ..Options::default()
    };
    let plan = plan(captures, &records, &options);
    let mut text = Vec::new();
    nft::write_rules(&plan, &mut text).expect("memory takes it");
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| printable(line).into_owned())
        .collect();
    let carried = plan.loopback.flows + plan.related.flows();
    if carried > 0 {
        lines.push(format!(
            "{carried} of these flows {} no rule: every ruleset accepts what the host sends itself and what belongs to \
             other connections",
            agree(carried, "needs", "need")
        ));
    }
    for left in &plan.left_out {
        lines.push(format!(
            "No rule for {} of these flows: {}",
            left.tally.flows,
            left.reason.text()
        ));
    }
    lines
}
