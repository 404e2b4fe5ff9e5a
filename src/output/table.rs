//! Lists as aligned columns, for people.

use std::io::{self, Write};
use std::net::IpAddr;

use crate::model::icmp;
use crate::model::learnt;
use crate::model::listing::Flow;
use crate::model::names::Names;
use crate::model::origin::{Begun, Helper};
use crate::model::printable::printable;
use crate::model::record::{Identity, Record, Service, SourcePort};
use crate::model::ruled::{Denied, Ruled, Told};
use crate::model::services::Services;
use crate::ui::clock::Clock;
use crate::ui::columns::Columns;

// SGR sequences (ECMA-48).
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Columns of addresses, which may be cut on a terminal.
const ADDRESSES: [usize; 2] = [1, 3];
/// Headings of times, which the clock's name is put behind.
pub const FIRST_SEEN: &str = "FIRST SEEN";
/// The same.
pub const LAST_SEEN: &str = "LAST SEEN";
/// The column that is coloured by what it says.
const CONFIRMED: usize = 5;
/// The columns, and whether they have numbers, which stand at the right edge.
const COLUMNS: [(&str, bool); 9] = [
    ("PROTO", false),
    ("SOURCE", false),
    ("SPORT", true),
    ("DESTINATION", false),
    ("SERVICE", false),
    ("CONFIRMED", false),
    ("CONNECTIONS", true),
    (FIRST_SEEN, false),
    (LAST_SEEN, false),
];
/// Columns that are there only if a flow has them.
const USED: [(&str, bool); 3] = [("ENDED", true), ("BYTES", true), ("REPLY BYTES", true)];
const LAST: (&str, bool) = ("TRANSLATION", false);

/// What cells are written with.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Names of ports, if they are to be shown.
    pub services: Option<&'a Services>,
    /// Names of hosts and networks.
    pub names: &'a Names,
    /// The clock that times are of.
    pub clock: &'a Clock,
}

/// Writes a heading and a line a flow, with colours for a terminal, and no wider than `width` as far as addresses can be cut.
/// Where something is known of rules there is a column for it, and behind the flows are those that did not get through.
///
/// Errors: those of `out`.
pub fn write(
    flows: &[Flow],
    told: &Told,
    words: Words<'_>,
    (colour, width): (bool, Option<usize>),
    out: &mut impl Write,
) -> io::Result<()> {
    // Rows are made twice, for their widths and to be written: a million of them kept would be hundreds
    // of megabytes.
    let used = flows.iter().any(|flow| flow.record.usage.is_some());
    let shown = COLUMNS.iter().chain(USED.iter().filter(|_| used));
    let rule = [("RULE", false)];
    let shown = shown.chain([&LAST]);
    let shown = shown.chain(rule.iter().filter(|_| told.has_rules()));
    let (headings, right): (Vec<String>, Vec<bool>) = shown
        .map(|(heading, right)| (words.heading(heading), *right))
        .unzip();
    let passed = flows.iter().map(|flow| {
        let mut cells = row(flow, told, words, used);
        if told.has_rules() {
            let ruled = told.rules.get(&flow.record.identity);
            cells.push(last_word(ruled.map(AsRef::as_ref)));
        }
        (cells, (!flow.record.confirmed).then_some(YELLOW))
    });
    let denied = { told.denied.iter() }.map(|Denied { flow, ruled }| {
        let mut cells = row(flow, told, words, used);
        let verdict = { ruled.as_ref() }.map_or("dropped", |ruled| &ruled.verdict);
        let rule = last_word(ruled.as_deref());
        cells.push(format!("{} by {rule}", printable(verdict)));
        (cells, Some(RED))
    });
    let rows = || passed.clone().chain(denied.clone());
    let mut columns = Columns::new(&headings, right);
    rows().for_each(|(cells, _)| columns.measure(&cells));
    if let Some(width) = width {
        columns.fit(width, &ADDRESSES);
    }
    let paint = |wanted, colour: &str, cell: &str| match wanted {
        true => format!("{colour}{cell}{PLAIN}"),
        false => cell.to_owned(),
    };
    columns.write(&headings, |_, cell| paint(colour, BOLD, cell), out)?;
    let last = headings.len() - 1;
    rows().try_for_each(|(cells, shade)| {
        // What was denied is told by its last column as well as by the one of its answer.
        let is_coloured = |column| column == CONFIRMED || column == last && shade == Some(RED);
        let shade = shade.unwrap_or(GREEN);
        let painted = |column, cell: &str| paint(colour && is_coloured(column), shade, cell);
        columns.write(&cells, painted, out)
    })
}

/// The rule that had the last word, where one is known.
fn last_word(ruled: Option<&Ruled>) -> String {
    let rule = ruled.map_or_else(|| "-".to_owned(), Ruled::last_word);
    printable(&rule).into_owned()
}

impl Words<'_> {
    /// A heading, with the name of the clock where the column has times.
    pub fn heading(&self, heading: &str) -> String {
        if [FIRST_SEEN, LAST_SEEN].contains(&heading) {
            format!("{heading} ({})", self.clock.name())
        } else {
            heading.to_owned()
        }
    }
}

fn row(flow: &Flow, told: &Told, words: Words<'_>, used: bool) -> Vec<String> {
    let record = &flow.record;
    let identity = &record.identity;
    let mut row = vec![
        identity.protocol.to_string(),
        address(identity.source, words.names),
        source_port(identity.source_port),
        destination(identity, told, words.names),
        service(identity, words.services),
        if record.confirmed { "yes" } else { "no" }.to_owned(),
        record.connections.to_string(),
        words.clock.show(record.first_seen),
        words.clock.show(record.last_seen),
    ];
    if used {
        let usage = record.usage.as_deref();
        let numbers = [
            usage.map(|usage| usage.ended),
            usage.map(|usage| usage.bytes),
            usage.map(|usage| usage.reply_bytes),
        ];
        row.extend(numbers.map(|number| number.map_or_else(|| "-".to_owned(), |n| n.to_string())));
    }
    row.push(translation(record));
    row
}

/// An address, with its name where it has one.
pub fn address(address: IpAddr, names: &Names) -> String {
    match names.of(address) {
        Some(name) => format!("{address} {}", printable(name)),
        None => address.to_string(),
    }
}

/// The destination of a flow, with the name that a file has for it, or else the one by which its client came to it.
pub fn destination(identity: &Identity, told: &Told, names: &Names) -> String {
    let to = identity.destination;
    match (names.of(to), learnt::in_short(told.names(identity))) {
        (None, Some(name)) => format!("{to} {}", printable(&name)),
        _ => address(to, names),
    }
}

/// A source port; folded ones as what they stand for.
pub fn source_port(port: SourcePort) -> String {
    match port {
        SourcePort::None => "-".to_owned(),
        SourcePort::Exact(port) => port.to_string(),
        SourcePort::Ephemeral => "1024+".to_owned(),
    }
}

/// A destination port or ICMP type, with its name where it is known.
pub fn service(identity: &Identity, names: Option<&Services>) -> String {
    match identity.service {
        Service::None => "-".to_owned(),
        Service::Port(port) => match names.and_then(|names| names.name(identity.protocol, port)) {
            Some(name) => format!("{port} {}", printable(name)),
            None => port.to_string(),
        },
        Service::Icmp(icmp_type, code) => {
            let name = icmp::name(identity.protocol, icmp_type).unwrap_or("type");
            match code {
                0 => format!("{name} ({icmp_type})"),
                _ => format!("{name} ({icmp_type}/{code})"),
            }
        }
    }
}

/// Where packets go instead, where they seem to come from, zone and namespace if they are not the usual ones, and how
/// the flow came about.
pub fn translation(record: &Record) -> String {
    let identity = &record.identity;
    let mut parts = Vec::new();
    if let Some(dnat) = identity.dnat() {
        parts.push(match dnat.port {
            Some(port) => format!("to {}", std::net::SocketAddr::new(dnat.address, port)),
            None => format!("to {}", dnat.address),
        });
    }
    if let Some(snat) = identity.snat() {
        parts.push(match snat.port {
            SourcePort::Exact(port) => {
                format!("from {}", std::net::SocketAddr::new(snat.address, port))
            }
            SourcePort::None | SourcePort::Ephemeral => format!("from {}", snat.address),
        });
    }
    if identity.zone != 0 {
        parts.push(format!("zone {}", identity.zone));
    }
    if let Some(name) = &identity.netns {
        parts.push(format!("netns {}", printable(name)));
    }
    match record.origin.begun {
        Begun::Usual => {}
        Begun::PickedUp => parts.push("(open before)".to_owned()),
        Begun::Turned => parts.push("(open before, turned)".to_owned()),
        Begun::Unclear => parts.push("(open before, direction unclear)".to_owned()),
    }
    if let Some(by) = record.origin.expected_by {
        let helper = by.helper.map_or("a helper", Helper::name);
        parts.push(match by.port {
            0 => format!("(expected by {helper})"),
            port => format!("(expected by {helper}, {} port {port})", by.protocol),
        });
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::tuple::Tuple;

    #[test]
    fn what_was_denied_is_red_on_a_terminal_and_nowhere_else() {
        let flow = |port, confirmed| {
            let identity = Identity::of(&Tuple::tcp("10.0.0.1", "192.0.2.1", port));
            Flow::from(Record::new(identity, confirmed))
        };
        let ruled = Ruled {
            seen: None,
            verdict: "rejected".to_owned(),
            rules: Vec::new(),
        };
        let mut told = Told::default();
        told.denied.push(Denied {
            flow: flow(23, false),
            ruled: Some(Arc::new(ruled)),
        });
        let words = Words {
            services: None,
            names: &Names::default(),
            clock: &Clock::UTC,
        };
        let table = |colour| {
            let mut text = Vec::new();
            let flows = [flow(443, true), flow(80, false)];
            write(&flows, &told, words, (colour, None), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let plain = table(false);
        assert!(!plain.contains('\x1b'));
        let denied = plain.lines().last().unwrap();
        assert!(
            denied.contains("  23 ") && denied.ends_with("rejected by -"),
            "{plain}"
        );
        let coloured = table(true);
        let lines: Vec<&str> = coloured.lines().collect();
        for (line, shade) in lines[1..].iter().zip([GREEN, YELLOW, RED]) {
            assert!(line.contains(shade), "{line:?}");
        }
        assert!(
            lines[3].ends_with(&format!("{RED}rejected by -{PLAIN}")),
            "{:?}",
            lines[3]
        );
        let mut bare = coloured;
        for sign in [BOLD, GREEN, YELLOW, RED, PLAIN] {
            bare = bare.replace(sign, "");
        }
        assert_eq!(bare, plain);
    }
}
