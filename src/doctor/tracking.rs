//! Whether connections are tracked in this network namespace, and because of what.

use std::fs;
use std::io;

use super::finding::{Finding, State, cause};
use super::need::Needs;
use super::ruleset::Ruleset;
use super::xtables;
use crate::model::units::{counted, show_count};
use crate::os::host;

const NAME: &str = "tracking";

/// What there is to know about it.
#[derive(Debug)]
pub struct Tracking {
    /// nftables and iptables-nft.
    pub nftables: io::Result<Ruleset>,
    /// What the rules of iptables-legacy need, or why they can't be read.
    pub legacy: io::Result<Needs>,
    /// Whether this host has IPv6 addresses beyond its own links, or forwards IPv6.
    pub ipv6_in_use: bool,
    /// Whether it has IPv4 addresses but for loopback.
    pub ipv4_in_use: bool,
}

/// Signs of tracking other than rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// Entries in the table.
    pub entries: Option<u64>,
    /// Events that came while somebody listened.
    pub events: u64,
}

impl Tracking {
    /// Reads the rules of nftables and of iptables-legacy in the namespace of the calling thread.
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            nftables: Ruleset::look(),
            legacy: xtables::look(),
            ipv6_in_use: read("/proc/sys/net/ipv6/conf/all/forwarding").trim() == "1"
                || has_global_address(&read("/proc/thread-self/net/if_inet6")),
            ipv4_in_use: host::addresses()
                .iter()
                .any(|one| one.is_ipv4() && !one.is_loopback()),
        }
    }
}

impl Tracking {
    /// Whether a family is in use: IPv4 is 0, IPv6 is 1.
    #[must_use]
    pub const fn is_in_use(&self, family: usize) -> bool {
        match family {
            0 => self.ipv4_in_use,
            _ => self.ipv6_in_use,
        }
    }
}

/// /proc/net/if_inet6: address, interface, prefix, scope, flags, name; scope 0 is global.
fn has_global_address(if_inet6: &str) -> bool {
    let mut lines = if_inet6.lines();
    lines.any(|line| line.split_whitespace().nth(3) == Some("00"))
}

/// The finding on what has connections tracked, and on what keeps their events back.
pub fn judge(tracking: &Tracking, signs: Signs) -> Finding {
    let nothing = Needs::default();
    let nftables = tracking.nftables.as_ref();
    let needs = nftables
        .map_or_else(|_| nothing.clone(), |ruleset| ruleset.needs.clone())
        .and(tracking.legacy.as_ref().unwrap_or(&nothing));
    let unread: Vec<String> = [
        nftables.err().map(|error| ("nftables", error)),
        tracking
            .legacy
            .as_ref()
            .err()
            .map(|error| ("iptables-legacy", error)),
    ]
    .into_iter()
    .flatten()
    .map(|(what, error)| format!("{what}: {}", cause(error)))
    .collect();
    let complete = unread.is_empty() && nftables.is_ok_and(|ruleset| ruleset.complete);
    let signs_of_it = signs.events > 0 || signs.entries.is_some_and(|entries| entries > 0);
    let finding = if needs.count > 0 {
        because(&needs, complete, tracking.ipv6_in_use)
    } else if signs.events > 0 {
        Finding::ok(
            NAME,
            "connections are tracked, though no rule was found that needs it: there are events",
        )
    } else if !complete {
        let known = if signs_of_it {
            "there are entries, so connections are or were tracked"
        } else {
            "not known whether connections are tracked"
        };
        let (why, next) = match unread.as_slice() {
            [] => {
                let read = nftables.map_or(0, |ruleset| ruleset.rules);
                let text = format!(
                    "the ruleset is too large to be read in time, and its first {} rules don't need it",
                    show_count(read as u64)
                );
                (text, "")
            }
            unread => (
                format!("the rules can't be read ({})", unread.join("; ")),
                if tracking.legacy.as_ref().is_err_and(is_without_proc) {
                    "have /proc mounted; "
                } else {
                    "run as root; "
                },
            ),
        };
        Finding::note(NAME, format!("{known}: {why}")).next(format!(
            "{next}if a capture lists nothing: conntracker --track"
        ))
    } else if signs_of_it {
        // Entries outlive the rules, and `conntrack -I` makes them without any.
        Finding::note(
            NAME,
            "no rule here needs connections to be tracked, but there are entries: left over, made by \
             hand, or tracked for something else (Open vSwitch, IPVS, tc)",
        )
        .next("if a capture lists nothing: conntracker --track")
    } else {
        Finding::problem(
            NAME,
            "connection tracking is off here, since no rule of this network namespace uses it: a capture \
             lists nothing",
        )
        .next("conntracker --track; or run in the network namespace that forwards: ip netns exec NAME")
    };
    let finding = match blind(&needs) {
        Some(blind) if finding.state == State::Ok => {
            Finding::note(NAME, format!("{}, but {blind}", finding.what))
                .next("leave those rules out while a capture runs, or know what it can't see")
        }
        _ => finding,
    };
    let named: Vec<String> = needs.named.iter().map(ToString::to_string).collect();
    finding
        .value("exempt_because_of", needs.exempt.clone())
        .value("masked_because_of", needs.masks.clone())
        .value("rules", needs.count)
        .value("because_of", named)
        .value("ipv4", needs.ipv4)
        .value("ipv6", needs.ipv6)
        .value("all_rules_read", complete)
}

/// Whether it is the error of a file of procfs where there is none.
fn is_without_proc(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// What a capture can't see though connections are tracked.
fn blind(needs: &Needs) -> Option<String> {
    let mut words = Vec::new();
    if !needs.exempt.is_empty() {
        words.push(format!(
            "rules exempt packets from it, whose flows will be missing ({})",
            needs.exempt.join("; ")
        ));
    }
    if !needs.masks.is_empty() {
        words.push(format!(
            "rules keep events back, so that answers or whole flows will be missing ({})",
            needs.masks.join("; ")
        ));
    }
    (!words.is_empty()).then(|| words.join(", and "))
}

fn because(needs: &Needs, complete: bool, ipv6_in_use: bool) -> Finding {
    let named: Vec<String> = needs.named.iter().map(ToString::to_string).collect();
    let more = match needs.count - named.len() {
        0 => String::new(),
        more => format!(" and {}", counted(more as u64, "more rule")),
    };
    let named = format!("because of {}{more}", named.join("; "));
    // What could not be read may track the other one.
    match (needs.ipv4, needs.ipv6) {
        (true, false) if complete && ipv6_in_use => Finding::note(
            NAME,
            format!("IPv4 connections are tracked, {named}; IPv6 ones are not and will be missing"),
        )
        .next("conntracker --track"),
        (false, true) if complete => Finding::note(
            NAME,
            format!("IPv6 connections are tracked, {named}; IPv4 ones are not and will be missing"),
        )
        .next("conntracker --track"),
        (true, false) => Finding::ok(NAME, format!("IPv4 connections are tracked, {named}")),
        _ => Finding::ok(NAME, format!("connections are tracked, {named}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::need::Need;

    fn needs(families: &[(bool, bool)]) -> Needs {
        let mut needs = Needs::default();
        for (index, &(ipv4, ipv6)) in families.iter().enumerate() {
            needs.add(Need {
                place: format!("table inet filter, chain {index}"),
                what: "ct state".into(),
                ipv4,
                ipv6,
            });
        }
        needs
    }

    fn tracking(nftables: Needs, legacy: Needs) -> Tracking {
        Tracking {
            nftables: Ok(Ruleset {
                needs: nftables,
                complete: true,
                ..Ruleset::default()
            }),
            legacy: Ok(legacy),
            ipv6_in_use: true,
            ipv4_in_use: true,
        }
    }

    #[test]
    fn without_a_reason_nothing_is_tracked() {
        let none = tracking(needs(&[]), needs(&[]));
        let finding = judge(&none, Signs::default());
        assert_eq!(
            (finding.state, finding.prevents_capture),
            (State::Problem, false)
        );
        assert!(finding.next.unwrap().contains("--track"));
        let entries = Signs {
            entries: Some(1),
            events: 0,
        };
        assert_eq!(judge(&none, entries).state, State::Note);
        let events = Signs {
            entries: Some(1),
            events: 1,
        };
        assert_eq!(judge(&none, events).state, State::Ok);
    }

    #[test]
    fn reasons_are_named() {
        let both = (true, true);
        let finding = judge(
            &tracking(needs(&[both, both, both, both]), needs(&[both])),
            Signs::default(),
        );
        assert_eq!(finding.state, State::Ok);
        assert!(
            finding
                .what
                .contains("table inet filter, chain 0: ct state")
        );
        assert!(
            finding.what.ends_with("and 2 more rules"),
            "{}",
            finding.what
        );
        let legacy = judge(&tracking(needs(&[]), needs(&[both])), Signs::default());
        assert_eq!(legacy.state, State::Ok);
    }

    #[test]
    fn rules_that_blind_a_capture_are_named() {
        let mut needs = needs(&[(true, true)]);
        needs.add_exempt("table inet r, chain p: notrack".into());
        needs.add_mask("table inet e, chain p: ct event set".into(), Some(1));
        let finding = judge(&tracking(needs, Needs::default()), Signs::default());
        assert_eq!(finding.state, State::Note);
        for rule in [
            "table inet r, chain p: notrack",
            "table inet e, chain p: ct event set",
        ] {
            assert!(finding.what.contains(rule), "{}", finding.what);
        }
    }

    #[test]
    fn a_family_that_is_not_tracked_is_told() {
        let mut one = tracking(needs(&[(true, false)]), needs(&[]));
        let finding = judge(&one, Signs::default());
        assert_eq!(finding.state, State::Note);
        assert!(finding.what.contains("IPv6 ones are not"));
        one.ipv6_in_use = false;
        assert_eq!(judge(&one, Signs::default()).state, State::Ok);
        let split = tracking(needs(&[(true, false)]), needs(&[(false, true)]));
        assert_eq!(judge(&split, Signs::default()).state, State::Ok);
    }

    #[test]
    fn rules_that_cannot_be_read_leave_it_open() {
        let blind = Tracking {
            nftables: Err(io::Error::from_raw_os_error(libc::EPERM)),
            legacy: Err(io::Error::from_raw_os_error(libc::EACCES)),
            ipv6_in_use: true,
            ipv4_in_use: true,
        };
        let finding = judge(&blind, Signs::default());
        assert_eq!(finding.state, State::Note);
        assert!(finding.what.contains("not known"), "{}", finding.what);
    }

    #[test]
    fn a_ruleset_too_large_is_told_as_far_as_it_was_read() {
        let mut large = tracking(needs(&[]), needs(&[]));
        large.nftables = Ok(Ruleset {
            rules: 12_345,
            complete: false,
            ..Ruleset::default()
        });
        let finding = judge(&large, Signs::default());
        assert_eq!(finding.state, State::Note);
        assert!(finding.what.contains("first 12,345 rules"), "{finding:?}");
        assert!(finding.next.unwrap().contains("--track"));
    }

    #[test]
    fn addresses_of_links_are_not_global() {
        let link = "fe80000000000000fc00a8fffe000001 02 40 20 80     eth0\n";
        let global = "fd010000000000000000000000000001 02 40 00 80     eth0\n";
        assert!(!has_global_address(link));
        assert!(has_global_address(&[link, global].concat()));
    }
}
