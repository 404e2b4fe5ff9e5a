//! What other programs write of flows: Zeek, Suricata, ulogd2, nfdump (NetFlow and IPFIX), flow logs of AWS.
//!
//! One file each says how it tells that a flow was answered, since rules rest on that. Where the source tells of one
//! direction only, it is the record of the other one that does: that is left to whoever has all records.

mod flow;
mod json;
mod nfdump;
mod suricata;
mod ulogd;
mod vpc;
mod zeek;

use crate::model::record::Record;

pub use json::{Foreign, Gathered, Gathering, Json};

/// The microseconds at which something began and ended, on a clock that may be of any time zone: they order the records of a
/// file, and say how far apart these are.
pub type Span = (u64, u64);

/// Which program a record is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    Nfdump,
    Suricata,
    Ulogd,
    Vpc,
    Zeek,
}

/// What a line or an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A flow, of which the source tells whether it was answered.
    Flow(Program, Box<Record>),
    /// Packets in one direction, and when the first and the last of them came, where the times of the record don't say.
    Direction(Program, Box<Record>, Option<Span>),
    /// A line that belongs to such a file and tells of no flow.
    Beside(Program),
    /// What says nothing without what follows it.
    Nothing,
    /// A record of something else than a flow.
    Other(Program),
    /// What the program itself says to have left out.
    Lost(Program, String),
}

/// Reads lines of text: tables with a header, and ulogd2's log.
#[derive(Debug, Default)]
pub struct Text {
    zeek: zeek::Table,
    nfdump: nfdump::Table,
    vpc: vpc::Table,
    ulogd: ulogd::Events,
}

impl Text {
    /// Reads a line; `None` if it is of another kind.
    ///
    /// Errors: what is wrong with it.
    pub fn read(&mut self, line: &str) -> Option<Result<Line, String>> {
        self.zeek
            .read(line)
            .or_else(|| self.nfdump.read(line))
            .or_else(|| self.vpc.read(line))
            .or_else(|| self.ulogd.line(line))
    }

    /// Reads an object of JSON.
    ///
    /// Errors: what is wrong with it, and what it is if it is none that is read.
    pub fn object(&mut self, object: &Json) -> Result<Line, Foreign> {
        let found = zeek::object(object)
            .or_else(|| suricata::object(object))
            .or_else(|| self.ulogd.object(object))
            .or_else(|| nfdump::object(object));
        match found {
            Some(line) => line.map_err(Foreign::Malformed),
            None => Err(Foreign::Unknown(json::name(object))),
        }
    }
}

#[cfg(test)]
mod tests;
