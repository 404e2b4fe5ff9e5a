//! Lines of conntrack(8) (`-L` and `-E`, whatever `-o` adds) and of `/proc/net/nf_conntrack`, also behind what syslog,
//! grep(1) and others put before a line.
//!
//! The former are written by `__snprintf_conntrack_default` (libnetfilter_conntrack 1.0.9,
//! `src/conntrack/snprintf_default.c`), the latter by `ct_seq_show` (Linux 6.18,
//! `net/netfilter/nf_conntrack_standalone.c`).
//!
//! ```text
//! Nov 26 10:00:01 gw1 conntrack[812]:  [UPDATE] tcp      6 60 SYN_RECV src=… dst=… src=… dst=…  mark=0
//! prefix                               head                            entry: two tuples        rest
//! ```
//!
//! A line is believed if it says what it says in the words of those two, in their order: a protocol's name fits its
//! number, a tuple is whole, and only `[UNREPLIED]` and counters stand between the tuples. In the rest behind them what
//! is known is picked out and everything else is passed over, since every release adds some.

mod entry;
mod head;
mod prefix;
mod remark;
pub mod xml;

use crate::model::record::Record;
use crate::model::timestamp::Timestamp;

use head::Head;
use remark::Remark;

/// Reads a line, which may hold several entries where ends of lines were lost; `None` if it says nothing of a flow, as
/// conntrack's closing line does. `ended` is whether the line had an end: one that has none may have been cut.
///
/// Errors: what is wrong with it.
pub fn parse(line: &str, ended: bool) -> Option<Result<Vec<Record>, String>> {
    match remark::of(line) {
        Some(Remark::Harmless) => None,
        Some(Remark::Trouble) => Some(Err(format!("conntrack itself says: {line}"))),
        None => Some(records(unquoted(line), ended)),
    }
}

/// How many entries or events a line of conntrack says to have been shown; `None` of other lines.
pub fn count_told(line: &str) -> Option<u64> {
    matches!(remark::of(line), Some(Remark::Harmless)).then(|| remark::count(line))?
}

/// The line without the quotation marks that it stands in.
fn unquoted(line: &str) -> &str {
    let quote = line
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'));
    let inner = quote.and_then(|quote| line.strip_prefix(quote)?.strip_suffix(quote));
    inner.unwrap_or(line)
}

fn records(line: &str, ended: bool) -> Result<Vec<Record>, String> {
    let mut records = Vec::with_capacity(1);
    let (mut before, mut rest) = split_at_source(line).ok_or_else(|| no_entry(line))?;
    loop {
        let head = if records.is_empty() {
            Head::first(before)
        } else {
            Head::next(before)
        };
        let head = head.map_err(|why| why.unwrap_or_else(|| no_entry(line)))?;
        let (record, left) = entry::read(&head, rest, ended)?;
        records.push(record);
        match split_at_source(left) {
            Some(split) => (before, rest) = split,
            None => return Ok(records),
        }
    }
}

/// The time that the beginning of a line says, if that is a full one; what syslog puts before lines of other programs is the
/// same.
///
/// Errors: why it is no beginning that may be passed over.
pub fn prefix_time(prefix: &str) -> Result<Option<Timestamp>, String> {
    prefix::time(prefix.split_ascii_whitespace())
}

/// A time in one word, with its distance from UTC: `2026-11-26T11:22:20.123456+0100`.
pub fn full_time(word: &str) -> Option<Timestamp> {
    prefix::time(std::iter::once(word)).ok().flatten()
}

/// What stands before the next `src=`, and what begins with it.
fn split_at_source(text: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("src=")?;
        let before = &text[..at];
        if before.is_empty() || before.ends_with(|c: char| c.is_ascii_whitespace()) {
            return Some((before, &text[at..]));
        }
        from = at + 4;
    }
}

/// What to say of a line in which no entry is.
fn no_entry(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    if matches!(words.next(), Some("-A" | "-I")) && words.next().is_some_and(|word| word == "-t") {
        return "conntrack's -o save is not read: leave it out".into();
    }
    if Head::first(line).is_ok() {
        return "src= is missing".into();
    }
    let mut shown: String = line.chars().take(60).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    format!("neither a flow of conntrack or of conntracker nor JSON: {shown:?}")
}

#[cfg(test)]
mod tests;
