//! One line of a capture, of whichever kind.

use std::borrow::Cow;

use crate::formats::classic;
use crate::formats::conntrack::{self, xml};
use crate::formats::csv;
use crate::formats::exports::{self, Foreign, Program, Span};
use crate::formats::json::{self, Unreadable};
use crate::model::printable::is_harmful;
use crate::model::record::Record;
use crate::model::ruled::Ruled;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing of interest.
    Nothing,
    /// An object of our own form.
    Json(json::Line),
    /// Flows in text: one, or several where ends of lines were lost.
    Text(Kind, Vec<Record>),
    /// A flow in text with what decided on it.
    Ruled(Kind, Box<Record>, Box<Ruled>),
    /// Packets in one direction, which may be those of a flow or answers, and when they came.
    Direction(Kind, Box<Record>, Option<Span>),
    /// A part of a file that is read, which tells of no flow: a header, a sum.
    Beside,
    /// A record of that kind of something else than a flow.
    Other(Kind),
    /// So many entries or events conntrack says to have shown.
    Shown(u64),
    /// A part of JSON.
    Part,
    /// What a file of that kind says itself to lack.
    Lost(Kind, String),
}

/// Why a line can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is of our own form, and why it can't be read.
    Own(Unreadable),
    /// It is damaged.
    Damaged(String),
    /// It is JSON of another program, which is named.
    Foreign(String),
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
    /// NetFlow and IPFIX.
    Nfdump,
    /// Events of Suricata: eve.json.
    Suricata,
    /// Flows of ulogd2, as JSON or as syslog has them.
    Ulogd,
    /// Flow logs of AWS.
    Vpc,
    /// Connections of Zeek: conn.log.
    Zeek,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Classic,
        Self::Conntrack,
        Self::Csv,
        Self::Nfdump,
        Self::Suricata,
        Self::Ulogd,
        Self::Vpc,
        Self::Zeek,
    ];

    /// Its name, as a capture's `source` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Conntrack => "conntrack",
            Self::Csv => "csv",
            Self::Nfdump => "nfdump",
            Self::Suricata => "suricata",
            Self::Ulogd => "ulogd",
            Self::Vpc => "vpc",
            Self::Zeek => "zeek",
        }
    }

    const fn of(program: Program) -> Self {
        match program {
            Program::Nfdump => Self::Nfdump,
            Program::Suricata => Self::Suricata,
            Program::Ulogd => Self::Ulogd,
            Program::Vpc => Self::Vpc,
            Program::Zeek => Self::Zeek,
        }
    }
}

/// Reads the lines of one file, and remembers what they say of those behind them.
#[derive(Debug, Default)]
pub struct Forms {
    csv: csv::Reader,
    xml: xml::Document,
    exports: exports::Text,
    gathering: exports::Gathering,
    /// Whether an object of our own form has come, so that one of a type that is not known is of a later version.
    has_own: bool,
}

impl Forms {
    /// Reads a line without its end, and `ended` is whether it had one. Total: any bytes give an answer.
    ///
    /// Errors: why it can't be read.
    pub fn read(&mut self, line: &[u8], ended: bool) -> Result<Said, Wrong> {
        // Nearly all there is.
        if line.starts_with(br#"{"type":"flow","#) && !self.gathering.is_open() {
            self.has_own = true;
            return json::parse(line).map(Said::Json).map_err(Wrong::Own);
        }
        // Editors of other systems begin a text with it.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let line = line.trim_ascii();
        let text = std::str::from_utf8(line).map_err(|_| Wrong::Damaged("not a text".into()))?;
        if text.is_empty() {
            return Ok(Said::Nothing);
        }
        let of_json = text.starts_with(['{', '[', '}', ']']) && !is_event(text);
        if self.gathering.is_open() || self.gathering.goes_on(text) || of_json {
            return self.object(text);
        }
        if is_plain(text) {
            return self.text(text, ended).map_err(Wrong::Damaged);
        }
        let text = &*uncoloured(text);
        if text.contains(|c| is_harmful(c) && !matches!(c, '\t' | '\r')) {
            let why = format!("control characters in {}", begin(text));
            return Err(Wrong::Damaged(why));
        }
        self.text(text, ended).map_err(Wrong::Damaged)
    }

    /// What the file lacks at its end, if anything is.
    pub fn stop(&self) -> Option<&'static str> {
        if self.xml.is_cut() {
            Some("the XML is cut: the line that ends it is missing")
        } else if self.gathering.is_open() {
            Some("the JSON is cut: its last object has no end")
        } else if self.gathering.is_cut() {
            Some("the JSON is cut: its array lacks its end or its beginning")
        } else {
            None
        }
    }

    fn text(&mut self, text: &str, ended: bool) -> Result<Said, String> {
        if let Some(read) = classic::parse(text) {
            return Ok(match read? {
                classic::Line::Flow(record) => Said::Text(Kind::Classic, vec![record]),
                classic::Line::Direction(record) => {
                    Said::Direction(Kind::Classic, Box::new(record), None)
                }
                // It belongs to a flow: alone it says nothing.
                classic::Line::Trace => Said::Nothing,
            });
        }
        match self.csv.read(text) {
            Some(Ok(csv::Line::Header)) => return Ok(Said::Beside),
            Some(Ok(csv::Line::Flow(record))) => return Ok(Said::Text(Kind::Csv, vec![*record])),
            Some(Ok(csv::Line::Ruled(record, ruled))) => {
                return Ok(Said::Ruled(Kind::Csv, record, ruled));
            }
            Some(Err(why)) => return Err(why),
            None => {}
        }
        if let Some(read) = self.xml.read(text) {
            return Ok(match read? {
                xml::Xml::Part if self.xml.has_begun() => Said::Beside,
                xml::Xml::Part => Said::Nothing,
                xml::Xml::Flows(records) => Said::Text(Kind::Conntrack, records),
            });
        }
        // Nothing that is exported has conntrack's words in it.
        if !text.contains("src=") {
            if let Some(read) = self.exports.read(text) {
                return read.map(exported);
            }
        }
        match conntrack::parse(text, ended) {
            Some(read) => Ok(Said::Text(Kind::Conntrack, read?)),
            None => Ok(conntrack::count_told(text).map_or(Said::Beside, Said::Shown)),
        }
    }

    /// Whether an object is of our own form.
    fn is_own(&self, text: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Typed<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        let typed = serde_json::from_str::<Typed<'_>>(text);
        typed
            .is_ok_and(|typed| self.has_own || matches!(&*typed.r#type, "capture" | "flow" | "end"))
    }

    /// A line of JSON, or of an object over several lines.
    fn object(&mut self, text: &str) -> Result<Said, Wrong> {
        if !self.gathering.is_open() && text.starts_with('{') && self.is_own(text) {
            self.has_own = true;
            return json::parse(text.as_bytes())
                .map(Said::Json)
                .map_err(Wrong::Own);
        }
        match self.gathering.line(text) {
            exports::Gathered::Part => Ok(Said::Part),
            exports::Gathered::Bad(why) => Err(Wrong::Damaged(why)),
            exports::Gathered::Object(object) => match self.exports.object(&object) {
                Ok(line) => Ok(exported(line)),
                Err(Foreign::Malformed(why)) => Err(Wrong::Damaged(why)),
                Err(Foreign::Unknown(what)) => Err(Wrong::Foreign(what)),
            },
        }
    }
}

fn exported(line: exports::Line) -> Said {
    match line {
        exports::Line::Flow(program, record) => Said::Text(Kind::of(program), vec![*record]),
        exports::Line::Direction(program, record, order) => {
            Said::Direction(Kind::of(program), record, order)
        }
        exports::Line::Beside(_) => Said::Beside,
        exports::Line::Nothing => Said::Nothing,
        exports::Line::Other(program) => Said::Other(Kind::of(program)),
        exports::Line::Lost(program, why) => Said::Lost(Kind::of(program), why),
    }
}

/// Whether all of a text can be shown and is ASCII, as nearly every line is.
fn is_plain(text: &str) -> bool {
    // Without a branch for each byte, so that the compiler takes many of them at once.
    let all = |chunk: &[u8]| {
        chunk.iter().fold(true, |all, byte| {
            all & matches!(byte, b'\t' | b'\r' | b' '..=b'~')
        })
    };
    text.as_bytes().chunks(64).all(all)
}

/// Whether a line in brackets is an event or an entry of conntrack behind a time, and no array of JSON.
fn is_event(text: &str) -> bool {
    text.starts_with('[') && text.contains("src=")
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
        let kind = |line: &str| match Forms::default().read(line.as_bytes(), true) {
            Ok(Said::Text(kind, _)) => Some(kind),
            Ok(_) => None,
            Err(error) => panic!("{line}: {error:?}"),
        };
        let classic = "\u{feff} TCPv4 [ 0] src = 10.0.0.1 (port=1) to dst = 10.0.0.2 (port=2)";
        assert_eq!(kind(classic), Some(Kind::Classic));
        let entry = "igmp 2 60 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1";
        assert_eq!(kind(entry), Some(Kind::Conntrack));
        for nothing in ["", "  \t", "conntrack v1.4.7: 0 shown"] {
            assert_eq!(kind(nothing), None);
        }
        for wrong in [
            &b"\xff"[..],
            b"{\"type\":\"note\"}",
            b"{}",
            b"{1",
            b"[1]",
            b"x",
        ] {
            assert!(Forms::default().read(wrong, true).is_err(), "{wrong:?}");
        }
        for part in [&b"["[..], b"{", b"],"] {
            assert_eq!(Forms::default().read(part, true), Ok(Said::Part));
        }
    }
}
