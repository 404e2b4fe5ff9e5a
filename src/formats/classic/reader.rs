//! Lines of the classic list, as the C tool and this program write them.
//!
//! Of the C tool there are versions 0.1 to 0.4. From 0.2 on, lines behind a flow say by which rules it came (`table:
//! mangle, chain: OUTPUT, type: policy`). From 0.4 on there is no `(confirmed)`: a flow has the program that made it behind
//! itself, `(nc,pid:5042,uid:user)`, or `(-)`, and both directions are listed.

use std::net::IpAddr;

use crate::model::flow::COLLAPSED_SOURCE_PORT;
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::tuple::Tuple;

/// The class that a line begins with, if it is a line of a classic list at all.
fn class(line: &str) -> Option<(Protocol, bool, &str)> {
    // Those below, so that long lines of other forms need not be searched.
    if !line.trim_start().starts_with(['T', 'U', 'I']) {
        return None;
    }
    let (name, rest) = line.split_once('[')?;
    let (protocol, v4) = match name.trim() {
        "TCPv4" => (Protocol::TCP, true),
        "UDPv4" => (Protocol::UDP, true),
        "ICMPv4" => (Protocol::ICMP, true),
        "TCPv6" => (Protocol::TCP, false),
        "UDPv6" => (Protocol::UDP, false),
        "ICMPv6" => (Protocol::ICMPV6, false),
        _ => return None,
    };
    Some((protocol, v4, rest))
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line with a flow.
    Flow(Record),
    /// One direction of a flow, as versions from 0.4 on list it.
    Direction(Record),
    /// By which rule the flow before it came.
    Trace,
}

/// Reads a line; `None` if it is of another kind.
///
/// Errors: what is wrong with a line of a classic list.
pub fn parse(line: &str) -> Option<Result<Line, String>> {
    if is_trace(line) {
        return Some(Ok(Line::Trace));
    }
    let (protocol, v4, rest) = class(line)?;
    Some(read(protocol, v4, rest))
}

/// `table: mangle, chain: OUTPUT, type: rule, position: 0`.
fn is_trace(line: &str) -> bool {
    let parts =
        { line.trim_start().strip_prefix("table: ") }.and_then(|rest| rest.split_once(", chain: "));
    parts.is_some_and(|(_, chain)| chain.contains(", type: "))
}

/// Whether that stands behind a flow in lists from version 0.4 on: the program, or that none is known.
fn is_program(text: &str) -> bool {
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    let words = |inner: &str| {
        let (name, ids) = inner.rsplit_once(",pid:")?;
        let (pid, user) = ids.split_once(",uid:")?;
        let id = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        Some(id && !name.is_empty() && !user.is_empty())
    };
    inner.is_some_and(|inner| inner == "-" || words(inner) == Some(true))
}

fn read(protocol: Protocol, v4: bool, rest: &str) -> Result<Line, String> {
    let (index, rest) = rest.split_once(']').ok_or("\"]\" is missing")?;
    if index.trim().parse::<u64>().is_err() {
        return Err(format!("{:?} is no index", index.trim()));
    }
    let mut words = Words(rest);
    words.expect("src")?;
    words.expect("=")?;
    let source = words.address(v4)?;
    let source_port = protocol.has_ports().then(|| words.port()).transpose()?;
    words.expect("to")?;
    words.expect("dst")?;
    words.expect("=")?;
    let destination = words.address(v4)?;
    let service = if protocol.has_ports() {
        Service::Port(words.port()?)
    } else {
        words.icmp()?
    };
    let (confirmed, is_direction) = match words.rest() {
        "" => (false, false),
        "(confirmed)" => (true, false),
        other if is_program(other) => (false, true),
        other => return Err(format!("{other:?} behind the destination")),
    };
    let tuple = Tuple {
        source,
        destination,
        protocol,
        service,
        source_port: match source_port {
            None => SourcePort::None,
            // The C tool folds all ports from here on into this one.
            Some(COLLAPSED_SOURCE_PORT) => SourcePort::Ephemeral,
            Some(port) => SourcePort::Exact(port),
        },
        zone: 0,
    };
    let record = Record::new(Identity::of(&tuple), confirmed);
    Ok(if is_direction {
        Line::Direction(record)
    } else {
        Line::Flow(record)
    })
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        let text = self.0.trim_start();
        let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        self.0 = rest;
        word
    }

    fn rest(&self) -> &'a str {
        self.0.trim()
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.next() {
            found if found == word => Ok(()),
            found => Err(format!("{found:?} instead of {word:?}")),
        }
    }

    fn address(&mut self, v4: bool) -> Result<IpAddr, String> {
        let word = self.next();
        let address: IpAddr = word
            .parse()
            .map_err(|_| format!("{word:?} is no address"))?;
        if address.is_ipv4() == v4 {
            Ok(address)
        } else {
            Err(format!("{word} is of the other address family"))
        }
    }

    fn port(&mut self) -> Result<u16, String> {
        let word = self.next();
        let number = word
            .strip_prefix("(port=")
            .and_then(|rest| rest.strip_suffix(')'));
        number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| format!("{word:?} is no port"))
    }

    /// `(type=0 | code=0)`.
    fn icmp(&mut self) -> Result<Service, String> {
        let text = self.0.trim_start();
        let parsed = text.strip_prefix("(type=").and_then(|rest| {
            let (icmp_type, rest) = rest.split_once(" | code=")?;
            let (code, rest) = rest.split_once(')')?;
            Some((icmp_type.parse().ok()?, code.parse().ok()?, rest))
        });
        match parsed {
            Some((icmp_type, code, rest)) => {
                self.0 = rest;
                Ok(match (icmp_type, code) {
                    // What the C tool prints for every type and code.
                    (0, 0) => Service::None,
                    (icmp_type, code) => Service::Icmp(icmp_type, code),
                })
            }
            None => Err(format!("{text:?} instead of type and code")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Record {
        match parse(line).expect("a classic line").expect("a good one") {
            Line::Flow(record) => record,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn ports_and_marks() {
        let line = " TCPv4 [           0] src = 10.0.0.1 (port=1024) to dst = 10.0.0.2 (port=443) (confirmed)";
        let record = read(line);
        assert_eq!(record.identity.source_port, SourcePort::Ephemeral);
        assert_eq!(record.identity.service, Service::Port(443));
        assert!(record.confirmed);
        assert_eq!(record.connections, 0);
        let line = "UDPv6 [1234567890123] src = ::1.2.3.4 (port=53) to dst = fd00::1 (port=0)";
        let record = read(line);
        assert_eq!(record.identity.source_port, SourcePort::Exact(53));
        assert_eq!(
            record.identity.source,
            "::102:304".parse::<IpAddr>().unwrap()
        );
        assert!(!record.confirmed);
    }

    #[test]
    fn the_type_of_icmp_is_unknown() {
        let record = read("ICMPv4 [ 0] src = 10.0.0.1 to dst = 10.0.0.2 (type=0 | code=0)");
        assert_eq!(record.identity.service, Service::None);
        assert_eq!(record.identity.source_port, SourcePort::None);
    }

    #[test]
    fn later_versions_of_the_c_tool() {
        for program in ["(-)", "(nc,pid:5042,uid:user)", "(a,b,pid:1,uid:0)"] {
            let line = format!(
                " TCPv4 [ 0] src = 10.0.0.1 (port=46660) to dst = 10.0.0.2 (port=22) {program}"
            );
            let Some(Ok(Line::Direction(record))) = parse(&line) else {
                panic!("{line}");
            };
            assert_eq!(record.identity.source_port, SourcePort::Exact(46660));
            assert!(!record.confirmed);
        }
        for trace in [
            "\t\ttable: mangle, chain: OUTPUT, type: rule, position: 0",
            "table: filter, chain: OUTPUT, type: policy",
        ] {
            assert_eq!(parse(trace), Some(Ok(Line::Trace)));
        }
        for wrong in [
            "(--)",
            "(nc,pid:,uid:user)",
            "(nc,pid:x,uid:user)",
            "(,pid:1,uid:x)",
            "(nc)",
        ] {
            let line =
                format!("TCPv4 [ 0] src = 10.0.0.1 (port=1) to dst = 10.0.0.2 (port=2) {wrong}");
            assert!(parse(&line).unwrap().is_err(), "{line}");
        }
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(parse("tcp 6 src=10.0.0.1"), None);
        for (line, why) in [
            ("TCPv4 [0", "\"]\" is missing"),
            ("TCPv4 [x] src = 10.0.0.1", "no index"),
            ("TCPv4 [0] src = 10.0.0 (port=1)", "no address"),
            ("TCPv4 [0] src = ::1 (port=1)", "other address family"),
            ("TCPv4 [0] src = 10.0.0.1 (port=65536)", "no port"),
            ("TCPv4 [0] src = 10.0.0.1 (port=1) to", "instead of \"dst\""),
            (
                "ICMPv4 [0] src = 10.0.0.1 to dst = 10.0.0.2 (type=256 | code=0)",
                "type and code",
            ),
            (
                "ICMPv4 [0] src = 10.0.0.1 to dst = 10.0.0.2 (type=0 | code=0) (conf",
                "behind",
            ),
        ] {
            let error = parse(line).expect("a classic line").expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
