//! What is known of a capture besides its flows: where, when and how it was taken, and how complete it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::printable::printable;
use crate::model::timestamp::Timestamp;

/// A gap no longer than this is a restart, as that of a service that is upgraded: it is told, and the list counts as
/// complete all the same.
const GAP_MAX: Duration = Duration::from_secs(60);
/// And as long as all of them come to no more than this.
const GAPS_MAX: Duration = Duration::from_secs(600);

/// The description of one capture. What its source does not tell is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Capture {
    /// Host name (uname(2)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The network namespace that was listened to, if it was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// `/proc/sys/kernel/random/boot_id` (random(4)): another one after every boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Kernel release (uname(2)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// When it ended, or when this list of it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// Times in which nobody listened, where the capture went on after a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// The program and its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Where the flows are from: `batch`, `kernel`, `callback`; `pcap`, `conntrack`, `classic` for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Filters that flows have passed, as options: `--proto=tcp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Other options that say what is in it: `--existing`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether flows that were picked up in the middle are marked, so that others are not.
    #[serde(skip_serializing_if = "is_false")]
    pub marks_picked_up: bool,
    /// Whether it does not tell of address translation, times and connections, because it was kept as the classic list is.
    #[serde(skip_serializing_if = "is_false")]
    pub untranslated: bool,
    /// How complete it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Completeness>,
    /// What was missed, and what was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Counts>,
    /// Seconds by which the clock was ahead at the end of what it could have been, by the time that the machine was up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_s: Option<u64>,
    /// Seconds that the machine had been up at the end, sleep included: what the clock says may be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// What it could not see although it missed no event, in words: rules that exempt packets from tracking, for example.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blind_spots: Vec<String>,
    /// Packets that the host's connection tracking could not assign to a connection, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_packets: Option<u64>,
    /// The last time at which a flow may have been missed, of an incomplete capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_until: Option<Timestamp>,
    /// The host's interfaces with their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// The host's main routing table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The rules that choose a routing table, of each family that has others than every host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_rules: Vec<PolicyRule>,
    /// The tables besides the main one that such rules or virtual routers choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<RoutingTable>,
}

/// A routing table besides the main one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoutingTable {
    /// The number by which rules of policy routing name it.
    pub table: u32,
    /// Its unicast routes.
    pub routes: Vec<Route>,
}

/// A rule that chooses a routing table: ip-rule(8), whose words the fields are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRule {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Lower ones are asked first.
    pub priority: u32,
    /// Whether it is for what does not match.
    #[serde(skip_serializing_if = "is_false")]
    pub not: bool,
    /// The network that a packet has to come from; any if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// The network that a packet has to go to; any if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// Interface that packets come in by; `lo` for the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// Interface that a socket is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oif: Option<String>,
    /// Mark of the packet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// of which these bits count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
    /// Whether it is for the table of the virtual router that the packet belongs to.
    #[serde(skip_serializing_if = "is_false")]
    pub l3mdev: bool,
    /// Words of other conditions that it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// What it does: `lookup`, `blackhole`, …
    pub action: String,
    /// The table that it chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

impl PolicyRule {
    /// One of the rules that every host has.
    pub fn usual(v4: bool, priority: u32, table: u32) -> Self {
        Self {
            family: if v4 { "ipv4" } else { "ipv6" }.to_owned(),
            priority,
            action: "lookup".to_owned(),
            table: Some(table),
            ..Self::default()
        }
    }

    /// Whether it is for IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.family == "ipv4"
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A time in which nobody listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// The last list before it.
    pub from: Timestamp,
    /// When somebody listened again.
    pub to: Timestamp,
}

/// The verdict on a capture; the greater one is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// Every event was taken in.
    Complete,
    /// Events were missed and made up for.
    Recovered,
    /// Flows may be missing.
    Incomplete,
}

/// Counts of loss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Upper bound of the events that the kernel could not deliver.
    pub missed: u64,
    /// Flows that the kernel's table or ends of entries added.
    pub recovered: u64,
    /// Events whose flow found no room.
    pub refused: u64,
    /// Events that could not be read.
    pub malformed: u64,
    /// Why the capture is incomplete, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interface {
    /// The name of the interface, as ip(8) shows it.
    pub name: String,
    /// Its addresses with the prefix lengths of their networks.
    pub addresses: Vec<IpNet>,
    /// What it is, where it is no plain network card: `bridge`, `vlan`, `tun`, `wireguard`, `vrf`, as ip-link(8) says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The bridge, bond or virtual router that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// The routing table of a virtual router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The network that the route leads to.
    pub destination: IpNet,
    /// Next hop, if not on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Interface it leads out of.
    pub interface: String,
}

impl Gap {
    /// How long it was.
    pub const fn length(&self) -> Duration {
        Duration::from_micros(self.to.us().saturating_sub(self.from.us()))
    }
}

impl Capture {
    /// The verdict on it, its gaps included; `None` if nobody judged it.
    pub fn judged(&self) -> Option<Completeness> {
        if self.has_long_gaps() {
            return Some(Completeness::Incomplete);
        }
        self.verdict
    }

    /// Whether this program made it.
    pub fn is_ours(&self) -> bool {
        let program = self.program.as_ref();
        program.is_some_and(|program| program.starts_with("conntracker"))
    }

    /// Whether it was taken by this program from a kernel, not read from a file.
    pub fn is_live(&self) -> bool {
        const FILES: [&str; 4] = ["pcap", "conntrack", "classic", "csv"];
        let read = |source: &str| FILES.contains(&source);
        self.is_ours() && self.source.as_deref().is_some_and(|source| !read(source))
    }

    /// Whether it tells of address translation.
    pub fn tells_translation(&self) -> bool {
        !self.untranslated && self.source.as_deref() != Some("classic")
    }

    /// Whether flows may be missing from it.
    pub fn is_incomplete(&self) -> bool {
        self.judged() == Some(Completeness::Incomplete)
    }

    /// Whether nobody listened for longer than a restart takes.
    pub fn has_long_gaps(&self) -> bool {
        let lengths = self.gaps.iter().map(Gap::length);
        let sum = lengths
            .clone()
            .fold(Duration::ZERO, Duration::saturating_add);
        lengths.max() > Some(GAP_MAX) || sum > GAPS_MAX
    }

    /// What there is to say of the times in which nobody listened, if there were any.
    pub fn gaps_in_words(&self) -> Option<String> {
        let longest = self.gaps.iter().max_by_key(|gap| gap.length())?;
        let lengths = self.gaps.iter().map(Gap::length);
        let sum = lengths.fold(Duration::ZERO, Duration::saturating_add);
        // Less than a second is not worth its digits.
        let shown = humantime::format_duration(Duration::from_secs(sum.as_secs().max(1)));
        let span = format!("from {} to {}", longest.from, longest.to);
        Some(match self.gaps.len() {
            1 => format!("nobody listened for {shown}, {span}"),
            several => {
                format!("nobody listened for {shown} in {several} gaps, the longest of them {span}")
            }
        })
    }

    /// Why flows may be missing, as far as it is known.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self
            .loss
            .as_ref()
            .map_or_else(Vec::new, |loss| loss.reasons.clone());
        if self.has_long_gaps() {
            let gaps = self.gaps_in_words().into_iter();
            reasons.extend(
                gaps.filter(|gaps| !reasons.contains(gaps))
                    .collect::<Vec<_>>(),
            );
        }
        reasons
    }

    /// Makes it an incomplete one, for a reason that was found later.
    pub fn lacks_flows(&mut self, why: &str) {
        self.verdict = Some(Completeness::Incomplete);
        let reasons = &mut self.loss.get_or_insert_default().reasons;
        if !reasons.iter().any(|reason| reason == why) {
            reasons.push(why.to_owned());
        }
    }

    /// The host's own addresses.
    pub fn local_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let interfaces = self.interfaces.iter();
        interfaces.flat_map(|interface| interface.addresses.iter().map(IpNet::addr))
    }
}

/// In one line, for people: where, when, from what source, by which filters.
impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.host.as_deref().unwrap_or("unknown host")))?;
        match (self.start, self.end) {
            (Some(start), Some(end)) => write!(f, ", {start} to {end}")?,
            (Some(start), None) => write!(f, ", from {start}")?,
            (None, Some(end)) => write!(f, ", until {end}")?,
            (None, None) => f.write_str(", time unknown")?,
        }
        if let Some(source) = &self.source {
            write!(f, ", {}", printable(source))?;
        }
        for option in self.options.iter().chain(&self.filters) {
            write!(f, " {}", printable(option))?;
        }
        Ok(())
    }
}

/// The address that stands for all hosts of a link.
pub fn broadcast(net: &IpNet) -> Option<Ipv4Addr> {
    match net {
        // Links of one or two addresses have none (RFC 3021).
        IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_told_by_what_is_known_of_it() {
        let unknown = Capture::default();
        assert_eq!(unknown.to_string(), "unknown host, time unknown");
        let known = Capture {
            host: Some("gw".into()),
            start: Timestamp::from_us(1),
            end: Timestamp::from_us(2),
            source: Some("batch".into()),
            filters: vec!["--proto=tcp".into()],
            options: vec!["--existing".into()],
            ..unknown
        };
        let shown = "gw, 1970-01-01T00:00:00.000001Z to 1970-01-01T00:00:00.000002Z, batch --existing --proto=tcp";
        assert_eq!(known.to_string(), shown);
    }

    #[test]
    fn restarts_are_told_and_longer_gaps_make_it_incomplete() {
        let time = |seconds: u64| Timestamp::from_us(seconds * 1_000_000).unwrap();
        let with = |gaps: &[(u64, u64)]| Capture {
            verdict: Some(Completeness::Complete),
            gaps: gaps
                .iter()
                .map(|&(from, to)| Gap {
                    from: time(from),
                    to: time(to),
                })
                .collect(),
            ..Capture::default()
        };
        assert_eq!(with(&[]).gaps_in_words(), None);
        let restart = with(&[(100, 102)]);
        assert_eq!(restart.judged(), Some(Completeness::Complete));
        assert!(restart.reasons().is_empty());
        let words = restart.gaps_in_words().unwrap();
        assert!(
            words.starts_with("nobody listened for 2s, from 1970-01-01T00:01:40"),
            "{words}"
        );
        assert!(!with(&[(100, 160)]).is_incomplete());
        for gaps in [
            vec![(100, 161)],
            vec![(10, 11), (100, 28_900_000)],
            (0..11).map(|n| (1 + n * 100, 60 + n * 100)).collect(),
        ] {
            let capture = with(&gaps);
            assert!(capture.is_incomplete(), "{gaps:?}");
            assert_eq!(capture.reasons(), [capture.gaps_in_words().unwrap()]);
        }
    }

    #[test]
    fn what_is_found_later_counts_once() {
        let mut capture = Capture::default();
        capture.lacks_flows("cut");
        capture.lacks_flows("cut");
        assert!(capture.is_incomplete());
        assert_eq!(capture.reasons(), ["cut"]);
    }

    #[test]
    fn a_capture_is_told_without_control_characters() {
        let hostile = Capture {
            host: Some("\x1b[2J".into()),
            source: Some("\n\u{9b}31m".into()),
            filters: vec!["\x07".into()],
            ..Capture::default()
        };
        let shown = hostile.to_string();
        assert_eq!(shown, "\\x1b[2J, time unknown, \\n\\x9b31m \\x07");
    }
}
