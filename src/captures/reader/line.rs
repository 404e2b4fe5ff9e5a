//! One line of a capture, of whichever kind.

use std::borrow::Cow;

use crate::formats::classic;
use crate::formats::conntrack;
use crate::formats::csv;
use crate::formats::json::{self, Unreadable};
use crate::model::printable::is_harmful;
use crate::model::record::Record;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing of interest.
    Nothing,
    /// An object of our own form.
    Json(json::Line),
    /// Flows in text: one, or several where ends of lines were lost.
    Text(Kind, Vec<Record>),
    /// Packets in one direction, which may be those of a flow or answers.
    Direction(Kind, Box<Record>),
}

/// The kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The classic list.
    Classic,
    /// conntrack(8) or `/proc/net/nf_conntrack`.
    Conntrack,
    /// Our own comma-separated values.
    Csv,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Classic, Self::Conntrack, Self::Csv];

    /// Its name, as a capture's `source` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Conntrack => "conntrack",
            Self::Csv => "csv",
        }
    }
}

/// Reads a line without its end, and `ended` is whether it had one. Total: any bytes give an answer. `csv` remembers the
/// header of the file.
///
/// Errors: why it can't be read.
pub fn parse(line: &[u8], ended: bool, csv: &mut csv::Reader) -> Result<Said, Unreadable> {
    // Editors of other systems begin a text with it.
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let line = line.trim_ascii();
    if line.first() == Some(&b'{') {
        return json::parse(line).map(Said::Json);
    }
    let wrong = Unreadable::Malformed;
    let text = std::str::from_utf8(line).map_err(|_| wrong("not a text".into()))?;
    if text.is_empty() {
        return Ok(Said::Nothing);
    }
    let text = &*uncoloured(text);
    if text.contains(|c| is_harmful(c) && !matches!(c, '\t' | '\r')) {
        return Err(wrong(format!("control characters in {}", begin(text))));
    }
    if let Some(read) = classic::parse(text) {
        return Ok(match read.map_err(wrong)? {
            classic::Line::Flow(record) => Said::Text(Kind::Classic, vec![record]),
            classic::Line::Direction(record) => Said::Direction(Kind::Classic, Box::new(record)),
            classic::Line::Trace => Said::Nothing,
        });
    }
    match csv.read(text) {
        Some(Ok(csv::Line::Header)) => return Ok(Said::Nothing),
        Some(Ok(csv::Line::Flow(record))) => return Ok(Said::Text(Kind::Csv, vec![*record])),
        Some(Err(why)) => return Err(wrong(why)),
        None => {}
    }
    match conntrack::parse(text, ended) {
        Some(read) => Ok(Said::Text(Kind::Conntrack, read.map_err(wrong)?)),
        None => Ok(Said::Nothing),
    }
}

/// The text without the sequences of ECMA-48 that colour it, as grep(1) and others put them around what they found:
/// `ESC [ … m` (select graphic rendition) and the `ESC [ K` (erase in line) that grep puts behind it.
fn uncoloured(text: &str) -> Cow<'_, str> {
    const INTRODUCER: &str = "\x1b[";
    if !text.contains(INTRODUCER) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(INTRODUCER) {
        plain.push_str(before);
        let parameter = |c: char| c.is_ascii_digit() || matches!(c, ';' | ':');
        let end = behind.trim_start_matches(parameter);
        rest = end.strip_prefix(['m', 'K']).unwrap_or_else(|| {
            // Another one, which the text keeps and is refused for.
            plain.push_str(INTRODUCER);
            behind
        });
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The beginning of a line, for messages.
fn begin(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let kind = |line: &str| match parse(line.as_bytes(), true, &mut csv::Reader::default()) {
            Ok(Said::Text(kind, _)) => Some(kind),
            Ok(_) => None,
            Err(error) => panic!("{line}: {error:?}"),
        };
        let classic = "\u{feff} TCPv4 [ 0] src = 10.0.0.1 (port=1) to dst = 10.0.0.2 (port=2)";
        assert_eq!(kind(classic), Some(Kind::Classic));
        let entry = "igmp 2 60 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1";
        assert_eq!(kind(entry), Some(Kind::Conntrack));
        for nothing in [
            "",
            "  \t",
            "{\"type\":\"note\"}",
            "conntrack v1.4.7: 0 shown",
        ] {
            assert_eq!(kind(nothing), None);
        }
        for wrong in [&b"\xff"[..], b"{", b"[", b"]["] {
            let said = parse(wrong, true, &mut csv::Reader::default());
            assert!(matches!(said, Err(Unreadable::Malformed(_))));
        }
    }
}
