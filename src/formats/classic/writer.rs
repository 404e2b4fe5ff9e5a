//! The classic list: the C tool's bytes.
//!
//! Six blocks without headings, a line a flow. The index starts at 0 in each block, and ICMP lines say
//! `type=0 | code=0` whatever the flow's type and code are: both are part of the contract.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, Write};

use crate::intake::snapshot::Snapshot;
use crate::intake::table::Entry;
use crate::model::address::{append_number, append4};
use crate::model::flow::{Class, Flow, Transport};
use crate::model::listing::Flow as Listed;
use crate::model::order::{Rank4, Rank6, Shown};
use crate::model::record::Classic;

/// Bytes gathered before they are written: large enough that the number of writes does not matter.
const CHUNK_LEN: usize = 1 << 18;
/// Width in which a line's index is right-aligned.
const INDEX_WIDTH: usize = 12;

/// Sorts the snapshot and writes the classic list.
///
/// Errors: those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let mut lines = Lines::new(out);
    for (transport, entries) in Transport::ALL.into_iter().zip(&snapshot.v4) {
        let rank = |entry: &Entry<_>| Rank4::new(transport, &entry.key(), entry.confirmed());
        let mut ranks: Vec<Rank4> = entries.iter().map(rank).collect();
        ranks.sort_unstable();
        lines.v4(transport, &ranks)?;
    }
    for (transport, entries) in Transport::ALL.into_iter().zip(&snapshot.v6) {
        let rank = |entry: &Entry<_>| Rank6::new(transport, &entry.key(), entry.confirmed());
        let mut ranks: Vec<Rank6> = entries.iter().map(rank).collect();
        ranks.sort_unstable();
        lines.v6(transport, &ranks)?;
    }
    lines.finish()
}

/// Writes the classic list of records in their order, class by class. Records that differ in what a line does
/// not show, zone and translation, are one line, and protocols that it does not have are left out. Source ports are
/// shown as they are if `keep_ports`, and folded otherwise.
///
/// Errors: those of `out`.
pub fn write_records(flows: &[Listed], keep_ports: bool, out: &mut impl Write) -> io::Result<()> {
    let mut lines = Lines::new(out);
    for transport in Transport::ALL {
        let keys = flows
            .iter()
            .filter_map(|flow| match shown_flow(flow, keep_ports)? {
                (Flow::V4(of, key), confirmed) if of == transport => Some((key, confirmed)),
                _ => None,
            });
        let rank = |(key, confirmed): &_| Rank4::new(transport, key, *confirmed);
        lines.v4(
            transport,
            &without_repetition(keys)
                .iter()
                .map(rank)
                .collect::<Vec<_>>(),
        )?;
    }
    for transport in Transport::ALL {
        let keys = flows
            .iter()
            .filter_map(|flow| match shown_flow(flow, keep_ports)? {
                (Flow::V6(of, key), confirmed) if of == transport => Some((key, confirmed)),
                _ => None,
            });
        let rank = |(key, confirmed): &_| Rank6::new(transport, key, *confirmed);
        lines.v6(
            transport,
            &without_repetition(keys)
                .iter()
                .map(rank)
                .collect::<Vec<_>>(),
        )?;
    }
    lines.finish()
}

/// A record as its line has it, and whether that is confirmed; `None` if there is no line.
fn shown_flow(listed: &Listed, keep_ports: bool) -> Option<(Flow, bool)> {
    let record = &listed.record;
    if record.classic == Classic::Absent {
        return None;
    }
    let tracked = record.tracked();
    let mut flow = tracked.tuple().flow()?;
    if !keep_ports {
        return Some((flow, record.classic == Classic::Confirmed));
    }
    let port = tracked.source_port.number().unwrap_or(0);
    match &mut flow {
        Flow::V4(_, key) => key.source_port = port,
        Flow::V6(_, key) => key.source_port = port,
    }
    Some((flow, record.classic == Classic::Confirmed))
}

/// Makes equal keys one, where the first of them stands; confirmed if any is.
fn without_repetition<K: Copy + Eq + Hash>(
    keys: impl Iterator<Item = (K, bool)>,
) -> Vec<(K, bool)> {
    let mut places = HashMap::new();
    let mut unique: Vec<(K, bool)> = Vec::new();
    for (key, confirmed) in keys {
        let place = *places.entry(key).or_insert(unique.len());
        match unique.get_mut(place) {
            Some(found) => found.1 |= confirmed,
            None => unique.push((key, confirmed)),
        }
    }
    unique
}

/// Lines of one class after the other, written in large chunks.
struct Lines<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
    prefix: String,
    icmp: bool,
    index: Index,
}

impl<'a, W: Write> Lines<'a, W> {
    fn new(out: &'a mut W) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(CHUNK_LEN + 256),
            prefix: String::new(),
            icmp: false,
            index: Index::default(),
        }
    }

    fn start(&mut self, class: Class) {
        self.icmp = matches!(class, Class::Icmp4 | Class::Icmp6);
        let space = if self.icmp { "" } else { " " };
        self.prefix = format!("{space}{} [", class.name());
        self.index = Index::default();
    }

    fn v4(&mut self, transport: Transport, ranks: &[Rank4]) -> io::Result<()> {
        self.start(Class::v4(transport));
        for rank in ranks {
            let (source, destination) = rank.addresses();
            self.put(
                rank.shown(transport),
                |line| append4(source, line),
                |line| append4(destination, line),
            )?;
        }
        Ok(())
    }

    fn v6(&mut self, transport: Transport, ranks: &[Rank6]) -> io::Result<()> {
        self.start(Class::v6(transport));
        for rank in ranks {
            let (source, destination) = rank.addresses();
            self.put(
                rank.shown(transport),
                |line| source.append(line),
                |line| destination.append(line),
            )?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        shown: Shown,
        source: impl FnOnce(&mut Vec<u8>),
        destination: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let line = &mut self.buffer;
        line.extend_from_slice(self.prefix.as_bytes());
        line.extend_from_slice(&self.index.text);
        self.index.advance();
        line.extend_from_slice(b"] src = ");
        source(line);
        if self.icmp {
            line.extend_from_slice(b" to dst = ");
            destination(line);
            line.extend_from_slice(b" (type=0 | code=0)");
        } else {
            append_port(shown.source_port, line);
            line.extend_from_slice(b" to dst = ");
            destination(line);
            append_port(shown.service, line);
        }
        line.extend_from_slice(if shown.confirmed {
            b" (confirmed)\n"
        } else {
            b"\n"
        });
        if line.len() >= CHUNK_LEN {
            self.out.write_all(line)?;
            line.clear();
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }
}

fn append_port(port: u16, line: &mut Vec<u8>) {
    line.extend_from_slice(b" (port=");
    append_number(u32::from(port), line);
    line.push(b')');
}

/// A line's index, counted as text: adding one touches a digit or two.
struct Index {
    text: [u8; INDEX_WIDTH],
}

impl Default for Index {
    fn default() -> Self {
        let mut text = [b' '; INDEX_WIDTH];
        text[INDEX_WIDTH - 1] = b'0';
        Self { text }
    }
}

impl Index {
    fn advance(&mut self) {
        for digit in self.text.iter_mut().rev() {
            match *digit {
                b'9' => *digit = b'0',
                b' ' => {
                    *digit = b'1';
                    return;
                }
                _ => {
                    *digit += 1;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_counts_like_a_right_aligned_number() {
        let mut index = Index::default();
        for number in 0..12_345_u32 {
            assert_eq!(index.text[..], *format!("{number:>12}").as_bytes());
            index.advance();
        }
    }
}
