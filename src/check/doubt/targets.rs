//! What the targets of iptables(8) do to the way of a packet.

use std::collections::BTreeSet;

use super::Effect;
use super::words::{target, words};

/// What a target does to the way of a packet, if it does anything.
pub(super) fn effect(
    target: Option<&str>,
    table: &str,
    setting: &BTreeSet<String>,
) -> Option<Effect> {
    const NOTHING: [&str; 17] = [
        "LOG",
        "NFLOG",
        "ULOG",
        "TRACE",
        "AUDIT",
        "TCPMSS",
        "TCPOPTSTRIP",
        "SET",
        "DSCP",
        "TOS",
        "TTL",
        "HL",
        "ECN",
        "CHECKSUM",
        "CLASSIFY",
        "RATEEST",
        "SECMARK",
    ];
    match target? {
        // What `security` accepts, `filter` has accepted before: it comes last in the same hooks.
        "ACCEPT" if ["filter", "security"].contains(&table) && !setting.contains(table) => {
            Some(Effect::Accept)
        }
        "DROP" => Some(Effect::Drop),
        "REJECT" => Some(Effect::Reject),
        name if NOTHING.contains(&name) => None,
        _ => Some(Effect::Other),
    }
}

/// Tables with rules that change more than the way of a packet.
pub(super) fn tables_that_set(text: &str) -> BTreeSet<String> {
    let mut table = "filter";
    let mut tables = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        } else if ["MARK", "CONNMARK", "CT", "NOTRACK"]
            .iter()
            .any(|name| target(&words(line)) == Some(name))
        {
            tables.insert(table.to_owned());
        }
    }
    tables
}
