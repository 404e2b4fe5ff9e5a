//! Lines of our own CSV form, also after a spreadsheet has been over it: cells in quotation marks, semicolons or tabs
//! between them, columns in another order or left out, `TRUE` for `true`, times without `T` and `Z`.
//!
//! ```text
//! dst;src;protocol;confirmed        the header says where which column is, and what stands between cells
//! ::2;::1;icmpv6;TRUE
//! ```

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use super::writer::{COLUMNS, NAMES, RULED, USED, unmarked};
use crate::model::origin::{Begun, Expected, Helper, Origin};
use crate::model::record::{
    Classic, Dnat, Identity, Protocol, Record, Service, Snat, SourcePort, Translation,
};
use crate::model::ruled::{Decision, Ruled};
use crate::model::timestamp::Timestamp;
use crate::model::units::counted;
use crate::model::usage::Usage;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The names of the columns.
    Header,
    /// A line with a flow.
    Flow(Box<Record>),
    /// The same, with what decided on it.
    Ruled(Box<Record>, Box<Ruled>),
}

/// What may stand between cells: the comma of RFC 4180, and what spreadsheets write instead where the comma is the
/// decimal point.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// Columns that have to be there for a flow to be what it was; of those in brackets, one is enough.
const NEEDED: [&[&str]; 4] = [
    &["src"],
    &["dst"],
    &["protocol_number", "protocol"],
    &["confirmed"],
];
/// Columns that say something else without the one beside them.
const PAIRS: [(&str, &str); 5] = [
    ("src_port", "src_port_collapsed"),
    ("icmp_type", "icmp_code"),
    ("dnat_address", "dnat_port"),
    ("snat_address", "snat_port"),
    ("snat_port", "snat_port_collapsed"),
];

/// Reads the lines of one file, in which a header says what the lines after it hold.
#[derive(Debug, Default)]
pub struct Reader {
    header: Option<Result<Columns, Unusable>>,
}

/// There was a header, and what it says can't be used.
#[derive(Debug)]
struct Unusable;

/// Which cell is of which column.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Columns {
    separator: char,
    /// For each of [`COLUMNS`] the number of its cell.
    places: [Option<usize>; COLUMNS.len()],
    /// How many cells a line has.
    count: usize,
}

impl Reader {
    /// Reads a line; `None` if it is of another kind.
    ///
    /// Errors: what is wrong with a line of CSV.
    pub fn read(&mut self, line: &str) -> Option<Result<Line, String>> {
        if let Some(separator) = separator_of_header(line) {
            let header = Columns::of_header(line, separator);
            let (header, said) = match header {
                Ok(columns) => (Ok(columns), Ok(Line::Header)),
                Err(why) => (Err(Unusable), Err(why)),
            };
            self.header = Some(header);
            return Some(said);
        }
        let read = |columns: &Columns| columns.flow(line);
        match &self.header {
            // A line of conntrack(8) behind it is of another list.
            Some(_) if line.contains(" src=") => None,
            Some(Ok(columns)) => Some(read(columns)),
            Some(Err(Unusable)) => Some(Err("the columns of it are not known".into())),
            None => Some(read(&Columns::usual(separator_of_flow(line)?))),
        }
    }
}

/// So many of the columns, the first ones, lists have in which no flow has what follows, and those of earlier versions.
const FEWER: [usize; 3] = [COLUMNS.len() - RULED, COLUMNS.len() - RULED - USED, 23];

/// What separates the cells of a line that is a header.
fn separator_of_header(line: &str) -> Option<char> {
    // Names of columns have none, and what most other lines are does: they need not be taken apart.
    if line.contains('=') {
        return None;
    }
    SEPARATORS.into_iter().find(|separator| {
        let mut cells = line.split(*separator).map(bare);
        let named = |name| line.split(*separator).any(|cell| bare(cell) == name);
        cells.next() == Some("family") && cells.next().is_some() || (named("src") && named("dst"))
    })
}

/// What separates the cells of a flow that no header comes before, as after `grep`: what follows its family.
fn separator_of_flow(line: &str) -> Option<char> {
    let quoted = line.strip_prefix('"');
    let family = quoted.unwrap_or(line);
    let rest = family
        .strip_prefix("ipv4")
        .or_else(|| family.strip_prefix("ipv6"))?;
    let rest = if quoted.is_some() {
        rest.strip_prefix('"')?
    } else {
        rest
    };
    rest.chars().next().filter(|next| SEPARATORS.contains(next))
}

/// A cell whose content has no quotation marks.
fn bare(cell: &str) -> &str {
    let cell = cell.trim();
    let inner = cell
        .strip_prefix('"')
        .and_then(|cell| cell.strip_suffix('"'));
    inner.unwrap_or(cell)
}

impl Columns {
    /// As they are written.
    fn usual(separator: char) -> Self {
        Self {
            separator,
            places: std::array::from_fn(Some),
            count: COLUMNS.len(),
        }
    }

    fn of_header(line: &str, separator: char) -> Result<Self, String> {
        let mut columns = Self {
            separator,
            places: [None; COLUMNS.len()],
            count: 0,
        };
        let cells = columns.split(line)?;
        // Spreadsheets fill lines up to the longest.
        columns.count = cells
            .iter()
            .rposition(|cell| !cell.is_empty())
            .map_or(0, |last| last + 1);
        for (number, cell) in cells[..columns.count].iter().enumerate() {
            let name = cell.trim();
            // Whoever reads a file takes names from files of names, as with JSON.
            if NAMES.contains(&name) {
                continue;
            }
            let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
                return Err(format!(
                    "the column {name:?} is not one that this program writes: take it out, since what it says \
                     would be lost"
                ));
            };
            if columns.places[column].replace(number).is_some() {
                return Err(format!("the column {name} is there twice"));
            }
        }
        if let Some(missing) = NEEDED
            .iter()
            .find(|names| !names.iter().any(|name| columns.has(name)))
        {
            return Err(format!("the column {} is missing", missing.join(" or ")));
        }
        match PAIRS
            .iter()
            .find(|(one, other)| columns.has(one) && !columns.has(other))
        {
            Some((one, other)) => Err(format!(
                "the column {other} is missing, without which {one} says too little"
            )),
            None => Ok(columns),
        }
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.places[COLUMNS.iter().position(|name| *name == column)?]
    }

    fn has(&self, column: &str) -> bool {
        self.place(column).is_some()
    }

    /// The cells of a line (RFC 4180).
    fn split<'a>(&self, line: &'a str) -> Result<Vec<Cow<'a, str>>, String> {
        if !line.contains('"') {
            return Ok(line.split(self.separator).map(Cow::Borrowed).collect());
        }
        let unpaired = || "the quotation marks do not go together".to_owned();
        // The library takes the end of the text for the missing one.
        if line.matches('"').count() % 2 == 1 {
            return Err(unpaired());
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(self.separator as u8)
            .from_reader(line.as_bytes());
        match reader.records().next() {
            Some(Ok(cells)) => Ok(cells
                .iter()
                .map(|cell| Cow::Owned(cell.to_owned()))
                .collect()),
            _ => Err(unpaired()),
        }
    }

    fn flow(&self, line: &str) -> Result<Line, String> {
        let mut cells = self.split(line)?;
        while cells.len() > self.count && cells.last().is_some_and(|cell| cell.is_empty()) {
            cells.pop();
        }
        if self.count == COLUMNS.len() && FEWER.contains(&cells.len()) {
            cells.resize(self.count, Cow::Borrowed(""));
        }
        if cells.len() != self.count {
            return Err(format!(
                "{} instead of {}",
                counted(cells.len() as u64, "field"),
                self.count
            ));
        }
        let fields = Fields {
            columns: self,
            cells,
        };
        let record = Box::new(record(&fields)?);
        Ok(match ruled(&fields)? {
            Some(ruled) => Line::Ruled(record, Box::new(ruled)),
            None => Line::Flow(record),
        })
    }
}

/// The cells of a line, by the names of their columns.
struct Fields<'a> {
    columns: &'a Columns,
    cells: Vec<Cow<'a, str>>,
}

impl Fields<'_> {
    /// What a cell says; `None` if it is empty or its column is not there.
    fn text(&self, column: &str) -> Option<&str> {
        let cell = &*self.cells[self.columns.place(column)?];
        (!cell.is_empty()).then_some(cell)
    }

    fn read<T>(
        &self,
        column: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        self.text(column)
            .map(|text| read(text).ok_or_else(|| format!("{column} can't be {text:?}")))
            .transpose()
    }

    fn maybe<T: FromStr>(&self, column: &str) -> Result<Option<T>, String> {
        // Standard parsers take a sign, which is never written.
        self.read(column, |text| {
            text.parse().ok().filter(|_| !text.starts_with('+'))
        })
    }

    fn needed<T: FromStr>(&self, column: &str) -> Result<T, String> {
        self.maybe(column)?.ok_or_else(|| missing(column))
    }

    /// `true` and `false`, also as spreadsheets write them.
    fn flag(&self, column: &str) -> Result<Option<bool>, String> {
        self.read(column, |text| match text {
            "true" | "TRUE" | "True" => Some(true),
            "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }

    /// A time in UTC, also without the `T` and `Z` that RFC 3339 wants.
    fn time(&self, column: &str) -> Result<Option<Timestamp>, String> {
        self.read(column, |text| {
            humantime::parse_rfc3339_weak(text)
                .ok()
                .map(Timestamp::from)
        })
    }

    fn source_port(&self, port: &str, collapsed: &str) -> Result<SourcePort, String> {
        Ok(match (self.maybe(port)?, self.flag(collapsed)?) {
            (None, _) => SourcePort::None,
            (number, Some(true)) if number == SourcePort::Ephemeral.number() => {
                SourcePort::Ephemeral
            }
            (Some(number), Some(true)) => {
                return Err(format!(
                    "{collapsed} says true, and {port} is {number} and not 1024"
                ));
            }
            (Some(port), _) => SourcePort::Exact(port),
        })
    }

    fn protocol(&self) -> Result<Protocol, String> {
        let number = self.maybe("protocol_number")?.map(Protocol);
        let named = self.read("protocol", Protocol::parse)?;
        match (number, named) {
            (Some(number), Some(named)) if number != named => Err(format!(
                "protocol is {named}, and protocol_number says {number}"
            )),
            (number, named) => number.or(named).ok_or_else(|| missing("protocol_number")),
        }
    }
}

fn missing(column: &str) -> String {
    format!("{column} is missing")
}

/// The control connection whose helper expected the flow.
fn expected_by(fields: &Fields<'_>) -> Result<Option<Expected>, String> {
    let Some(protocol) = fields.maybe("expected_by_protocol_number")? else {
        return Ok(None);
    };
    Ok(Some(Expected {
        helper: fields.text("expected_by_helper").map(Helper::parse),
        protocol: Protocol(protocol),
        port: fields.maybe("expected_by_port")?.unwrap_or(0),
    }))
}

/// What decided on the flow: the verdict, and the rule that had the last word.
fn ruled(fields: &Fields<'_>) -> Result<Option<Ruled>, String> {
    let known = ["accepted", "dropped", "rejected", "queued", "stolen"];
    let verdict = fields.read("verdict", |text| {
        known.into_iter().find(|word| *word == text)
    })?;
    let rule = fields.text("rule").map(unmarked);
    match (verdict, rule) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("rule is there without a verdict".into()),
        (Some(verdict), rule) => {
            let rule = rule.map(|rule| {
                Decision::of_last_word(rule, verdict).ok_or_else(|| {
                    format!("rule can't be {rule:?}: it begins with family, table and chain")
                })
            });
            Ok(Some(Ruled {
                seen: None,
                verdict: verdict.to_owned(),
                rules: rule.transpose()?.into_iter().collect(),
            }))
        }
    }
}

/// What connections have carried.
fn usage(fields: &Fields<'_>) -> Result<Option<Usage>, String> {
    let mut numbers = [None; USED];
    for (number, column) in numbers.iter_mut().zip(Usage::FIELDS) {
        *number = fields.maybe(column)?;
    }
    Usage::of_fields(numbers)
}

fn record(fields: &Fields<'_>) -> Result<Record, String> {
    let source: IpAddr = fields.needed("src")?;
    let destination: IpAddr = fields.needed("dst")?;
    let dnat_address: Option<IpAddr> = fields.maybe("dnat_address")?;
    let snat_address: Option<IpAddr> = fields.maybe("snat_address")?;
    let v4 = match fields.text("family") {
        None => source.is_ipv4(),
        Some("ipv4") => true,
        Some("ipv6") => false,
        Some(other) => return Err(format!("family can't be {other:?}")),
    };
    let others = [Some(destination), dnat_address, snat_address];
    if source.is_ipv4() != v4 || others.iter().flatten().any(|other| other.is_ipv4() != v4) {
        return Err("the addresses are not all of the family".into());
    }
    let protocol = fields.protocol()?;
    if protocol.is_icmp() && !protocol.is_icmp_of(source) {
        return Err(format!(
            "protocol {protocol} is of the other address family"
        ));
    }
    let icmp = (fields.maybe("icmp_type")?, fields.maybe("icmp_code")?);
    match icmp {
        (None, None) => {}
        (Some(_), Some(_)) if protocol.is_icmp() => {}
        (Some(_), Some(_)) => {
            return Err(format!(
                "icmp_type is there, and the protocol is {protocol}"
            ));
        }
        _ => return Err("icmp_type and icmp_code go together".into()),
    }
    for (port, address) in [("dnat_port", dnat_address), ("snat_port", snat_address)] {
        if fields.text(port).is_some() && address.is_none() {
            return Err(format!("{port} is there without its address"));
        }
    }
    let (first_seen, last_seen) = (fields.time("first_seen")?, fields.time("last_seen")?);
    if first_seen
        .zip(last_seen)
        .is_some_and(|(first, last)| last < first)
    {
        return Err("last_seen is before first_seen".into());
    }
    let (service, source_port) = if protocol.has_ports() {
        let _: u16 = fields.needed("src_port")?;
        (
            Service::Port(fields.needed("dst_port")?),
            fields.source_port("src_port", "src_port_collapsed")?,
        )
    } else {
        if fields
            .text("dst_port")
            .or(fields.text("src_port"))
            .is_some()
        {
            return Err(format!("there is a port, and protocol {protocol} has none"));
        }
        let service = match icmp {
            (Some(icmp_type), Some(code)) => Service::Icmp(icmp_type, code),
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
    let confirmed = fields
        .flag("confirmed")?
        .ok_or_else(|| missing("confirmed"))?;
    Ok(Record {
        identity: Identity {
            source,
            destination,
            protocol,
            service,
            source_port,
            zone: fields.maybe("zone")?.unwrap_or(0),
            netns: fields.text("netns").map(|name| unmarked(name).into()),
            translation: (dnat.is_some() || snat.is_some())
                .then(|| Box::new(Translation { dnat, snat })),
        },
        confirmed,
        connections: fields.maybe("connections")?.unwrap_or(1),
        first_seen,
        last_seen,
        classic: match fields.text("classic") {
            None => Record::usual_classic(confirmed),
            Some("absent") => Classic::Absent,
            Some("unconfirmed") => Classic::Listed,
            Some(other) => return Err(format!("classic can't be {other:?}")),
        },
        origin: Origin {
            begun: Begun::told(
                fields.flag("picked_up")?.unwrap_or(false),
                fields.flag("turned")?,
            ),
            helper: fields.text("helper").map(Helper::parse),
            expected_by: expected_by(fields)?,
        },
        usage: usage(fields)?.map(Box::new),
    })
}

#[cfg(test)]
mod tests;
