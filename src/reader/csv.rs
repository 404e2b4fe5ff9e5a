//! Lines of our own CSV form, in the columns that it is written in.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use crate::output::csv::{COLUMNS, unmarked};
use crate::record::{
    Classic, Dnat, Identity, Protocol, Record, Service, Snat, SourcePort, Translation,
};

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The names of the columns.
    Header,
    /// A flow.
    Flow(Box<Record>),
}

/// Reads a line; `None` if it is of another kind.
///
/// # Errors
///
/// What is wrong with a line of CSV.
pub fn parse(line: &str) -> Option<Result<Line, String>> {
    match line.split_once(',')?.0 {
        "family" if line.split(',').eq(COLUMNS) => Some(Ok(Line::Header)),
        "family" => Some(Err(
            "the columns are not those that this program writes: export as JSON to keep what you can".into(),
        )),
        "ipv4" | "ipv6" => Some(record(line).map(|record| Line::Flow(Box::new(record)))),
        _ => None,
    }
}

/// The fields of a line, by the names of their columns.
struct Fields<'a>(Vec<Cow<'a, str>>);

impl Fields<'_> {
    /// A field that may be empty.
    fn maybe<T: FromStr>(&self, column: &str) -> Result<Option<T>, String> {
        let place = COLUMNS.iter().position(|name| *name == column);
        match place.map_or("", |place| &self.0[place]) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| format!("{column} can't be {text:?}")),
        }
    }

    fn needed<T: FromStr>(&self, column: &str) -> Result<T, String> {
        self.maybe(column)?
            .ok_or_else(|| format!("{column} is missing"))
    }

    fn source_port(&self, port: &str, collapsed: &str) -> Result<SourcePort, String> {
        Ok(match (self.maybe(port)?, self.maybe(collapsed)?) {
            (None, _) => SourcePort::None,
            (Some(_), Some(true)) => SourcePort::Ephemeral,
            (Some(port), _) => SourcePort::Exact(port),
        })
    }
}

/// The fields of a line (RFC 4180). Only names of namespaces can have quotes.
fn split(line: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if !line.contains('"') {
        return Ok(line.split(',').map(Cow::Borrowed).collect());
    }
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(line.as_bytes());
    match reader.records().next() {
        Some(Ok(fields)) => Ok(fields
            .iter()
            .map(|field| Cow::Owned(field.to_owned()))
            .collect()),
        _ => Err("the quotation marks do not go together".into()),
    }
}

fn record(line: &str) -> Result<Record, String> {
    let fields = Fields(split(line)?);
    if fields.0.len() != COLUMNS.len() {
        let (found, expected) = (fields.0.len(), COLUMNS.len());
        return Err(format!("{found} fields instead of {expected}"));
    }
    let source: IpAddr = fields.needed("src")?;
    let destination: IpAddr = fields.needed("dst")?;
    let dnat_address: Option<IpAddr> = fields.maybe("dnat_address")?;
    let snat_address: Option<IpAddr> = fields.maybe("snat_address")?;
    let v4 = &*fields.0[0] == "ipv4";
    let others = [Some(destination), dnat_address, snat_address];
    if source.is_ipv4() != v4 || others.iter().flatten().any(|other| other.is_ipv4() != v4) {
        return Err("the addresses are not all of the family".into());
    }
    let protocol = Protocol(fields.needed("protocol_number")?);
    let (service, source_port) = if protocol.has_ports() {
        let _: u16 = fields.needed("src_port")?;
        (
            Service::Port(fields.needed("dst_port")?),
            fields.source_port("src_port", "src_port_collapsed")?,
        )
    } else {
        let icmp = (fields.maybe("icmp_type")?, fields.maybe("icmp_code")?);
        let service = match icmp {
            (Some(icmp_type), Some(code)) if protocol.is_icmp() => Service::Icmp(icmp_type, code),
            _ => Service::None,
        };
        (service, SourcePort::None)
    };
    let dnat = match dnat_address {
        None => None,
        Some(address) => Some(Dnat {
            address,
            port: fields.maybe("dnat_port")?,
        }),
    };
    let snat = match snat_address {
        None => None,
        Some(address) => Some(Snat {
            address,
            port: fields.source_port("snat_port", "snat_port_collapsed")?,
        }),
    };
    let confirmed = fields.needed("confirmed")?;
    Ok(Record {
        identity: Identity {
            source,
            destination,
            protocol,
            service,
            source_port,
            zone: fields.needed("zone")?,
            netns: fields
                .maybe::<String>("netns")?
                .map(|name| unmarked(&name).into()),
            translation: (dnat.is_some() || snat.is_some())
                .then(|| Box::new(Translation { dnat, snat })),
        },
        confirmed,
        connections: fields.needed("connections")?,
        first_seen: fields.maybe("first_seen")?,
        last_seen: fields.maybe("last_seen")?,
        classic: match &*fields.0[COLUMNS.len() - 1] {
            "" => Record::usual_classic(confirmed),
            "absent" => Classic::Absent,
            "unconfirmed" => Classic::Listed,
            other => return Err(format!("classic can't be {other:?}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::csv::{self, Cells};
    use crate::output::listing::Flow;
    use crate::reader::conntrack;

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(parse(&COLUMNS.join(",")), Some(Ok(Line::Header)));
        for line in [
            "[1700000000.000001] [NEW] tcp 6 1 src=10.0.0.1 dst=10.1.0.1 sport=600 dport=1 [UNREPLIED] src=10.1.0.2 dst=10.0.0.9 sport=1 dport=2000",
            "icmpv6 58 1 src=::1 dst=::2 type=128 code=0 id=1 src=::2 dst=::1 type=129 code=0 id=1 zone=5",
            "gre 47 1 src=10.0.0.1 dst=10.1.0.1 src=10.1.0.1 dst=10.0.0.9",
        ] {
            let mut record = conntrack::parse(line).unwrap().unwrap();
            for _ in 0..2 {
                let flow = Flow {
                    record: record.clone(),
                    seen_in: Vec::new(),
                };
                for cells in [Cells::Safe, Cells::Raw] {
                    let mut text = Vec::new();
                    csv::write(std::slice::from_ref(&flow), cells, &mut text).unwrap();
                    let text = String::from_utf8(text).unwrap();
                    let line = text.lines().nth(1).unwrap();
                    let read = Line::Flow(Box::new(flow.record.clone()));
                    assert_eq!(parse(line), Some(Ok(read)), "{line}");
                }
                record.identity.collapse_ports();
                record.identity.netns = Some("=a,\"b\"".into());
                record.classic = Classic::Absent;
            }
        }
    }

    #[test]
    fn damage_is_named() {
        let good = "ipv4,tcp,6,10.0.0.1,1024,true,10.1.0.1,443,,,,true,1,,,0,,,,,,,";
        assert!(matches!(parse(good), Some(Ok(Line::Flow(_)))));
        for (from, to, why) in [
            ("10.1.0.1", "::1", "not all of the family"),
            (",443,", ",,", "dst_port is missing"),
            (",1024,", ",,", "src_port is missing"),
            (",443,", ",66000,", "dst_port can't be \"66000\""),
            (",true,1,", ",yes,1,", "confirmed can't be"),
            (",0,,,,,,,", ",0,,,,,,", "22 fields"),
            (",0,,,,,,,", ",0,,,,,,,often", "classic can't"),
        ] {
            let line = good.replace(from, to);
            let error = parse(&line).expect("CSV").expect_err(&line);
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(matches!(parse("family,port"), Some(Err(_))));
        assert_eq!(parse("tcp 6"), None);
    }
}
