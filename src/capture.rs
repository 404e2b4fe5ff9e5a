//! What is known of a capture besides its flows: where, when and how it was taken, and how complete it is.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

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
    /// How complete it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Completeness>,
    /// What was missed, and what was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Counts>,
    /// The host's interfaces with their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// The host's main routing table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses with the prefix lengths of their networks.
    pub addresses: Vec<IpNet>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination network.
    pub destination: IpNet,
    /// Next hop, if not on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Interface it leads out of.
    pub interface: String,
}

impl Capture {
    /// The host's own addresses.
    pub fn local_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let interfaces = self.interfaces.iter();
        interfaces.flat_map(|interface| interface.addresses.iter().map(IpNet::addr))
    }
}

/// In one line, for people: where, when, from what source, by which filters.
impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host.as_deref().unwrap_or("unknown host"))?;
        match (self.start, self.end) {
            (Some(start), Some(end)) => write!(f, ", {start} to {end}")?,
            (Some(start), None) => write!(f, ", from {start}")?,
            (None, Some(end)) => write!(f, ", until {end}")?,
            (None, None) => f.write_str(", time unknown")?,
        }
        if let Some(source) = &self.source {
            write!(f, ", {source}")?;
        }
        for option in self.options.iter().chain(&self.filters) {
            write!(f, " {option}")?;
        }
        Ok(())
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
}
