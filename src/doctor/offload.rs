//! Flowtables, which take established connections past the rules and past most of connection tracking.

use std::io;

use super::finding::{Finding, cause};
use super::ruleset::Ruleset;

const NAME: &str = "offload";

/// The finding on flowtables, whose connections have no events after their first packets.
pub fn judge(ruleset: &io::Result<Ruleset>) -> Finding {
    let flowtables = match ruleset {
        Ok(ruleset) => &ruleset.flowtables,
        Err(error) => {
            return Finding::note(NAME, format!("flowtables can't be read ({})", cause(error)))
                .next("run as root");
        }
    };
    let hardware = flowtables.iter().filter(|table| table.hardware).count();
    let names: Vec<&str> = flowtables
        .iter()
        .map(|table| table.place.as_str())
        .collect();
    let finding = if flowtables.is_empty() {
        Finding::ok(
            NAME,
            "no flowtable takes connections past connection tracking",
        )
    } else {
        let by = if hardware > 0 { " by hardware" } else { "" };
        // A connection is offered once it is established (`nft_flow_offload_eval`,
        // net/netfilter/nft_flow_offload.c): by then its NEW event and its reply's UPDATE are out.
        Finding::note(
            NAME,
            format!(
                "established connections are offloaded{by} ({}): the list has each of them and whether \
                 it was answered, but their last events may be missing, so last-seen times may be early",
                names.join("; ")
            ),
        )
        .next("nothing for the list; for exact times, take the flowtable out of the rules")
    };
    finding
        .value("flowtables", names)
        .value("hardware_flowtables", hardware)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;
    use crate::doctor::ruleset::Flowtable;

    #[test]
    fn flowtables_are_named() {
        let mut ruleset = Ruleset::default();
        assert_eq!(judge(&Ok(ruleset.clone())).state, State::Ok);
        ruleset.flowtables.push(Flowtable {
            place: "table inet filter, flowtable fast".into(),
            hardware: true,
        });
        let finding = judge(&Ok(ruleset));
        assert_eq!(finding.state, State::Note);
        assert!(
            finding
                .what
                .contains("by hardware (table inet filter, flowtable fast)")
        );
        let denied = judge(&Err(io::Error::from_raw_os_error(libc::EPERM)));
        assert_eq!(denied.state, State::Note);
    }
}
