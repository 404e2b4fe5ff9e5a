//! Writing of differences.

use std::io::{self, Write};

use super::layout::{Format, Layout};
use super::table;
use crate::captures::difference::Difference;
use crate::formats::classic;
use crate::formats::csv;
use crate::formats::json;
use crate::model::listing::Flow;
use crate::model::ruled::Told;

/// What became of flows, as the JSON and CSV forms name it and as lines for people begin.
const KINDS: [(&str, &str); 3] = [("new", "+ "), ("gone", "- "), ("confirmed", "~ ")];

/// Writes what is new, what is gone and what is newly confirmed, each in the order of the layout.
///
/// Errors: those of `out`.
pub fn write(
    difference: Difference,
    told: &Told,
    layout: &Layout,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Difference {
        new,
        gone,
        confirmed,
    } = difference;
    let mut parts = [new, gone, confirmed];
    for part in &mut parts {
        layout.sort.sort(part);
    }
    let kinds: Vec<usize> = (0..)
        .zip(&parts)
        .flat_map(|(kind, part)| vec![kind; part.len()])
        .collect();
    let mut out = io::BufWriter::with_capacity(1 << 18, out);
    // Of a list with a heading.
    let prefixed = |heading: &'static str, prefix: fn(usize) -> String| {
        let kinds = kinds.clone();
        move |line: usize| match line.checked_sub(1) {
            None => heading.to_owned(),
            Some(flow) => kinds
                .get(flow)
                .map_or_else(String::new, |&kind| prefix(kind)),
        }
    };
    match layout.format {
        Format::Classic => {
            for (part, (_, mark)) in parts.iter().zip(KINDS) {
                let mut lines = Prefixed::new(&mut out, |_| mark.to_owned());
                classic::write_records(part, true, &mut lines)?;
            }
        }
        Format::Json => {
            for (part, (name, _)) in parts.iter().zip(KINDS) {
                for flow in part {
                    let names = (&layout.names, told.names(&flow.record.identity));
                    json::write_change(name, &flow.record, names, &mut out)?;
                }
            }
        }
        // Columns as wide as all parts need.
        Format::Table => {
            let flows: Vec<Flow> = parts.into_iter().flatten().collect();
            if flows.is_empty() {
                return Ok(());
            }
            let prefix = prefixed("  ", |kind| KINDS[kind].1.to_owned());
            let out = &mut Prefixed::new(&mut out, prefix);
            let shown = (layout.colour, layout.width);
            table::write(&flows, told, layout.words(), shown, out)?;
        }
        // Rules have no changes: the command refuses that.
        Format::Csv | Format::Nft => {
            let flows: Vec<Flow> = parts.into_iter().flatten().collect();
            let prefix = prefixed("change,", |kind| format!("{},", KINDS[kind].0));
            let names = (&layout.names, told);
            csv::write(
                flows.iter().map(|flow| &flow.record),
                names,
                layout.cells,
                &mut Prefixed::new(&mut out, prefix),
            )?;
        }
    }
    out.flush()
}

/// Puts something before every line, given its number from 0.
struct Prefixed<W, F> {
    out: W,
    prefix: F,
    line: usize,
    at_start: bool,
}

impl<W: Write, F: Fn(usize) -> String> Prefixed<W, F> {
    const fn new(out: W, prefix: F) -> Self {
        Self {
            out,
            prefix,
            line: 0,
            at_start: true,
        }
    }
}

impl<W: Write, F: Fn(usize) -> String> Write for Prefixed<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.at_start {
                self.out.write_all((self.prefix)(self.line).as_bytes())?;
                self.line += 1;
            }
            self.out.write_all(part)?;
            self.at_start = part.ends_with(b"\n");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gets_its_prefix_however_it_is_written() {
        let mut out = Vec::new();
        let mut lines = Prefixed::new(&mut out, |line| format!("{line}:"));
        for part in ["a", "b\nc", "\n", "\nd\n"] {
            lines.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(out, b"0:ab\n1:c\n2:\n3:d\n");
    }
}
