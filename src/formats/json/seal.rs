//! What the last line of a list says of the lines before it, so that a list that was cut, joined or changed can be
//! told from a whole one.

use serde::{Deserialize, Serialize};

use crate::model::capture::Completeness;
use crate::model::units::{counted, show_count};

/// The last line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Flows in the list.
    pub flows: u64,
    /// The worst verdict of its captures, which the first line has too: the two lines may be of different lists by
    /// the time that somebody reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Completeness>,
    /// Sum of the CRC-32 of all lines of flows. Lists of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32_sum: Option<u64>,
    /// Lines of flows that did not get through, where there are any. Lists of older versions do not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<u64>,
    /// Sum of the CRC-32 of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_crc32_sum: Option<u64>,
}

/// Lines of flows so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    flows: u64,
    crc32_sum: u64,
    denied: u64,
    denied_crc32_sum: u64,
    compact: Vec<u8>,
}

impl Seal {
    /// Adds the line of a flow. White space does not count, so that a program that writes the same objects with
    /// other spaces between them does not make another list of it, and neither does the order.
    pub fn add(&mut self, line: &[u8]) {
        let crc = self.sum(line);
        self.flows += 1;
        self.crc32_sum = self.crc32_sum.wrapping_add(crc);
    }

    /// Adds the line of a flow that did not get through.
    pub fn add_denied(&mut self, line: &[u8]) {
        let crc = self.sum(line);
        self.denied += 1;
        self.denied_crc32_sum = self.denied_crc32_sum.wrapping_add(crc);
    }

    fn sum(&mut self, line: &[u8]) -> u64 {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        if line.iter().any(is_space) {
            self.compact.clear();
            let seen = line.iter().copied().filter(|byte| !is_space(byte));
            self.compact.extend(seen);
            crc32fast::hash(&self.compact).into()
        } else {
            crc32fast::hash(line).into()
        }
    }

    /// Flows so far.
    pub const fn flows(&self) -> u64 {
        self.flows
    }

    /// The last line that belongs to them.
    pub const fn end(&self, verdict: Option<Completeness>) -> End {
        End {
            flows: self.flows,
            verdict,
            crc32_sum: Some(self.crc32_sum),
            denied: if self.denied > 0 {
                Some(self.denied)
            } else {
                None
            },
            denied_crc32_sum: if self.denied > 0 {
                Some(self.denied_crc32_sum)
            } else {
                None
            },
        }
    }

    /// Why this can't be the list that `end` is the end of, if it can't.
    pub fn differs_from(&self, end: &End) -> Option<String> {
        if self.flows != end.flows {
            return Some(format!(
                "it has {}, and its last line says {}",
                counted(self.flows, "flow"),
                show_count(end.flows)
            ));
        }
        if let Some(denied) = end.denied.filter(|denied| *denied != self.denied) {
            return Some(format!(
                "it has {} that did not get through, and its last line says {}",
                counted(self.denied, "flow"),
                show_count(denied)
            ));
        }
        let is_other = |told: Option<u64>, own| told.is_some_and(|sum| sum != own);
        let other = is_other(end.crc32_sum, self.crc32_sum)
            || is_other(end.denied_crc32_sum, self.denied_crc32_sum);
        other.then(|| {
            "its flows are not those that were written: lines were changed, or are of another list"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(lines: &[&str]) -> Seal {
        let mut seal = Seal::default();
        lines.iter().for_each(|line| seal.add(line.as_bytes()));
        seal
    }

    #[test]
    fn other_lines_are_another_list() {
        let end = sealed(&["{\"a\":1}", "{\"a\":2}"]).end(None);
        for same in [["{\"a\":1}", "{\"a\":2}\r"], ["{\"a\": 2}", "{ \"a\":1}"]] {
            assert_eq!(sealed(&same).differs_from(&end), None);
        }
        for (lines, why) in [
            (
                &["{\"a\":1}"][..],
                "it has 1 flow, and its last line says 2",
            ),
            (&["{\"a\":1}", "{\"a\":1}"], "not those"),
            (&["{\"a\":1}", "{\"a\":3}"], "not those"),
        ] {
            let found = sealed(lines).differs_from(&end).expect("another list");
            assert!(found.contains(why), "{found}");
        }
        let mut with_denied = sealed(&["{\"a\":1}"]);
        with_denied.add_denied(b"{\"d\":1}");
        let told = with_denied.end(None);
        assert_eq!(with_denied.differs_from(&told), None);
        let without = sealed(&["{\"a\":1}"]).differs_from(&told);
        assert!(without.is_some_and(|why| why.contains("did not get through")));
        let mut changed = sealed(&["{\"a\":1}"]);
        changed.add_denied(b"{\"d\":2}");
        assert!(changed.differs_from(&told).is_some());
        let old = End {
            crc32_sum: None,
            ..end
        };
        assert_eq!(sealed(&["x", "y"]).differs_from(&old), None);
    }
}
