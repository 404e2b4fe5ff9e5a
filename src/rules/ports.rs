//! Ranges of ports.

use crate::model::flow::COLLAPSED_SOURCE_PORT;
use crate::model::record::SourcePort;

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The first port of the range.
    pub first: u16,
    /// The last port of the range, which belongs to it.
    pub last: u16,
}

impl PortRange {
    /// The ports that a program gets without privilege: what a folded source port stands for.
    pub const UNPRIVILEGED: Self = Self {
        first: COLLAPSED_SOURCE_PORT,
        last: u16::MAX,
    };

    /// The ports that privileged clients get where a server asks for them: rresvport(3).
    pub const RESERVED: Self = Self {
        first: 512,
        last: COLLAPSED_SOURCE_PORT - 1,
    };

    /// The ports that Linux gives its own clients (`ip_local_port_range`), and those that others do.
    pub const LOCAL: Self = Self {
        first: 32768,
        last: u16::MAX,
    };

    /// The range of one port alone.
    pub const fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// The source ports of a flow; `None` where the protocol has none.
    pub const fn of(port: SourcePort) -> Option<Self> {
        match port {
            SourcePort::None => None,
            SourcePort::Exact(port) => Some(Self::single(port)),
            SourcePort::Ephemeral => Some(Self::UNPRIVILEGED),
        }
    }

    /// Whether it has more than so many ports.
    pub const fn is_wider_than(self, ports: u16) -> bool {
        self.last - self.first >= ports
    }

    /// Whether all of another range is in it.
    pub const fn holds(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// As text, with what stands between the two ends.
    pub fn show(self, dash: char) -> String {
        if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}{dash}{}", self.first, self.last)
        }
    }
}

/// The fewest ranges that hold the same ports, in order.
pub fn joined(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// A range without some others, which are in order and do not overlap.
pub fn without(range: PortRange, except: &[PortRange]) -> Vec<PortRange> {
    let mut left = Vec::new();
    let mut first = u32::from(range.first);
    for other in except.iter().filter(|other| other.last >= range.first) {
        if u32::from(other.first) > first {
            let last = (other.first - 1).min(range.last);
            left.extend(
                u16::try_from(first)
                    .ok()
                    .filter(|&first| first <= last)
                    .map(|first| PortRange { first, last }),
            );
        }
        first = first.max(u32::from(other.last) + 1);
    }
    let last = range.last;
    left.extend(
        u16::try_from(first)
            .ok()
            .filter(|&first| first <= last)
            .map(|first| PortRange { first, last }),
    );
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_overlaps_are_joined() {
        let ranges = [80, 443, 81, 80].map(PortRange::single).to_vec();
        let shown: Vec<String> = joined(ranges).iter().map(|range| range.show('-')).collect();
        assert_eq!(shown, ["80-81", "443"]);
        let folded = vec![PortRange::single(40_000), PortRange::UNPRIVILEGED];
        assert_eq!(joined(folded), [PortRange::UNPRIVILEGED]);
        assert_eq!(
            joined(vec![PortRange::single(u16::MAX), PortRange::single(1023)]).len(),
            2
        );
    }

    #[test]
    fn what_is_taken_out_of_a_range_leaves_the_rest() {
        let range = |first, last| PortRange { first, last };
        let (all, high) = (range(1024, 65535), range(60000, 65535));
        assert_eq!(without(all, &[]), [all]);
        assert_eq!(
            without(all, &[range(1, 2000), range(3000, 3000)]),
            [range(2001, 2999), range(3001, 65535)]
        );
        assert_eq!(without(all, &[high]), [range(1024, 59999)]);
        assert_eq!(without(high, &[range(70, 80), range(1024, 65535)]), []);
        assert_eq!(
            without(range(10, 20), &[range(15, 15), range(30, 40)]),
            [range(10, 14), range(16, 20)]
        );
    }
}
