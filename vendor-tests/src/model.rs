//! The list as the rules of `vectors/README.md` make it: a second implementation, which shares nothing
//! with the program's, to compare with.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

/// What was seen of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Protocol number.
    pub protocol: u8,
    /// Source address of the original direction.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port, or ICMP type.
    pub first: u16,
    /// Destination port, or ICMP code.
    pub second: u16,
    /// Whether the status says that there was a reply.
    pub replied: bool,
}

/// Rank of the class, then the rules' order: addresses in comparable form, then two numbers.
type Place = (usize, Vec<u8>, Vec<u8>, u16, u16);

/// The flows seen so far.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The text of the line between the index and the mark, and whether the flow is confirmed.
    flows: BTreeMap<Place, (String, bool)>,
}

const NAMES: [&str; 6] = [" TCPv4", " UDPv4", "ICMPv4", " TCPv6", " UDPv6", "ICMPv6"];

impl Model {
    /// Takes in a NEW or UPDATE event.
    pub fn event(&mut self, sighting: &Sighting) {
        self.take(sighting, false);
    }

    /// Takes in an entry of the kernel's table, which is listed whether it is replied or not.
    pub fn entry(&mut self, sighting: &Sighting) {
        self.take(sighting, true);
    }

    fn take(&mut self, sighting: &Sighting, even_replied: bool) {
        let Some((place, text)) = line(sighting) else {
            return;
        };
        if let Some((_, confirmed)) = self.flows.get_mut(&place) {
            *confirmed |= sighting.replied;
        } else if even_replied || !sighting.replied {
            self.flows.insert(place, (text, sighting.replied));
        }
    }

    /// Adds the flows of another one.
    pub fn join(&mut self, other: Self) {
        for (place, (text, confirmed)) in other.flows {
            let (_, known) = self.flows.entry(place).or_insert((text, false));
            *known |= confirmed;
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The list as it is to be printed.
    pub fn list(&self) -> String {
        let mut list = String::new();
        let mut counts = [0_usize; 6];
        for ((class, ..), (text, confirmed)) in &self.flows {
            let mark = if *confirmed { " (confirmed)" } else { "" };
            writeln!(
                list,
                "{} [{:>12}] {text}{mark}",
                NAMES[*class], counts[*class]
            )
            .expect("memory takes it");
            counts[*class] += 1;
        }
        list
    }
}

fn line(sighting: &Sighting) -> Option<(Place, String)> {
    let &Sighting {
        protocol,
        source,
        destination,
        first,
        second,
        ..
    } = sighting;
    let class = match (protocol, source.is_ipv4()) {
        (6, true) => 0,
        (17, true) => 1,
        (1, true) => 2,
        (6, false) => 3,
        (17, false) => 4,
        (58, false) => 5,
        _ => return None,
    };
    let (from, from_text) = address(source);
    let (to, to_text) = address(destination);
    Some(if matches!(protocol, 1 | 58) {
        let text = format!("src = {from_text} to dst = {to_text} (type=0 | code=0)");
        ((class, from, to, first, second), text)
    } else {
        let port = first.min(1024);
        let text = format!("src = {from_text} (port={port}) to dst = {to_text} (port={second})");
        (
            (class, from, to, second.swap_bytes(), port.swap_bytes()),
            text,
        )
    })
}

/// What an address is compared by, and its text.
fn address(address: IpAddr) -> (Vec<u8>, String) {
    match address {
        IpAddr::V4(address) => {
            let mut octets = address.octets();
            octets.reverse();
            (octets.to_vec(), address.to_string())
        }
        IpAddr::V6(address) => {
            let text = ntop(address);
            (text.clone().into_bytes(), text)
        }
    }
}

// The libc crate does not declare it.
unsafe extern "C" {
    fn inet_ntop(
        family: libc::c_int,
        address: *const libc::c_void,
        text: *mut libc::c_char,
        len: libc::socklen_t,
    ) -> *const libc::c_char;
}

/// `INET6_ADDRSTRLEN` of <netinet/in.h>.
const TEXT_LEN: usize = 46;

/// The C library's text of an address: what the C tool prints.
///
/// Panics: Never: the text always fits.
pub fn ntop(address: Ipv6Addr) -> String {
    let octets = address.octets();
    let mut text = [0_u8; TEXT_LEN];
    // SAFETY: `octets` has the 16 bytes that AF_INET6 asks for; at most the given length is written to
    // `text`, and both outlive the call.
    let result = unsafe {
        inet_ntop(
            libc::AF_INET6,
            octets.as_ptr().cast(),
            text.as_mut_ptr().cast(),
            TEXT_LEN as libc::socklen_t,
        )
    };
    assert!(
        !result.is_null(),
        "{address}: {}",
        std::io::Error::last_os_error()
    );
    let text = CStr::from_bytes_until_nul(&text).expect("inet_ntop ends its text");
    text.to_str().expect("addresses are ASCII").to_owned()
}

/// Reads a line of `conntrack -o extended`, of an event or of the table. `None` for what is no entry.
pub fn parse(line: &str) -> Option<Sighting> {
    // The kernel's order: family name and number, protocol name and number, then the two directions.
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !matches!(*word, "ipv4" | "ipv6"));
    let protocol = words.nth(3)?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    // The first of each name belongs to the original direction.
    let value = |name: &str| {
        rest.iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let number = |name: &str| value(name).and_then(|text| text.parse().ok());
    Some(Sighting {
        protocol,
        source: value("src")?.parse().ok()?,
        destination: value("dst")?.parse().ok()?,
        first: number("sport").or_else(|| number("type")).unwrap_or(0),
        second: number("dport").or_else(|| number("code")).unwrap_or(0),
        replied: !rest.contains(&"[UNREPLIED]"),
    })
}

/// Reads the table that `conntracker-flood --list` writes.
///
/// Panics: if it has another form.
pub fn of_flood(table: &str) -> Model {
    let mut model = Model::default();
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[class, source, first, destination, second, state] = fields.as_slice() else {
            panic!("{line}: not six fields");
        };
        let number = |text: &str| text.parse::<u16>().expect("a number");
        // ICMP: type and code stand where the others have their ports.
        let sighting = Sighting {
            protocol: match class {
                "tcp4" | "tcp6" => 6,
                "udp4" | "udp6" => 17,
                "icmp4" => 1,
                "icmp6" => 58,
                other => panic!("{other}: no class"),
            },
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            first: number(first),
            second: number(second),
            replied: state == "confirmed",
        };
        model.entry(&sighting);
    }
    model
}
