//! One line of a capture, of whichever kind.

use crate::formats::classic;
use crate::formats::conntrack;
use crate::formats::csv;
use crate::formats::json::{self, Unreadable};
use crate::model::record::Record;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing of interest.
    Nothing,
    /// An object of our own form.
    Json(json::Line),
    /// A flow in text.
    Text(Kind, Box<Record>),
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

/// Reads a line without its end. Total: any bytes give an answer. `csv` remembers the header of the file.
///
/// Errors: why it can't be read.
pub fn parse(line: &[u8], csv: &mut csv::Reader) -> Result<Said, Unreadable> {
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
    if let Some(read) = classic::parse(text) {
        return Ok(Said::Text(Kind::Classic, Box::new(read.map_err(wrong)?)));
    }
    match csv.read(text) {
        Some(Ok(csv::Line::Header)) => return Ok(Said::Nothing),
        Some(Ok(csv::Line::Flow(record))) => return Ok(Said::Text(Kind::Csv, record)),
        Some(Err(why)) => return Err(wrong(why)),
        None => {}
    }
    match conntrack::parse(text) {
        Some(read) => Ok(Said::Text(Kind::Conntrack, Box::new(read.map_err(wrong)?))),
        None => Ok(Said::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let kind = |line: &str| match parse(line.as_bytes(), &mut csv::Reader::default()) {
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
            let said = parse(wrong, &mut csv::Reader::default());
            assert!(matches!(said, Err(Unreadable::Malformed(_))));
        }
    }
}
