//! What a report says is admitted though it was not observed, read back from its text.

use std::net::IpAddr;

use conntracker::testing::model::icmp;
use conntracker::testing::model::{Protocol, Service};

use crate::world::Sight;

/// A range of addresses.
type Range = (IpAddr, IpAddr);

/// One line: each of the sources, to each of the destinations, for each of the services.
#[derive(Debug)]
struct Line {
    chain: String,
    protocol: String,
    /// Ports, or names of ICMP types.
    services: Vec<String>,
    sources: Vec<Range>,
    /// Not these of the sources.
    except: Vec<Range>,
    destinations: Vec<Range>,
}

/// The lines.
#[derive(Debug)]
pub struct Listed(Vec<Line>);

impl Listed {
    /// Reads a report in which ports have no names.
    ///
    /// Panics: if it has another form.
    pub fn parse(report: &str) -> Self {
        let mut lines = report
            .lines()
            .skip_while(|line| !line.starts_with("Admitted though not observed"));
        lines.next().expect("every report has that heading");
        Self(
            lines
                .take_while(|line| !line.is_empty())
                .map(Line::parse)
                .collect(),
        )
    }

    /// Whether it has a flow.
    pub fn holds(&self, sight: &Sight) -> bool {
        self.0.iter().any(|line| line.holds(sight))
    }
}

impl Line {
    /// `    2  forward: tcp ports 80-81, 443, 10.0.0.8/31 to 10.0.1.20`, the sources perhaps with
    /// ` except 10.0.0.9, 10.0.0.11`
    fn parse(line: &str) -> Self {
        let wrong = || -> ! { panic!("{line:?}: not a line of a report") };
        let parts = line
            .trim_start()
            .split_once("  ")
            .and_then(|(number, rest)| {
                number.parse::<u32>().ok()?;
                let (chain, rest) = rest.split_once(": ")?;
                Some((chain, rest.split_once(" to ")?))
            });
        let Some((chain, (left, destinations))) = parts else {
            wrong()
        };
        let (left, except) = left.split_once(" except ").unwrap_or((left, ""));
        let mut parsed = Self {
            chain: chain.to_owned(),
            protocol: String::new(),
            services: Vec::new(),
            sources: Vec::new(),
            except: except.split(", ").filter_map(range).collect(),
            destinations: destinations.split(", ").filter_map(range).collect(),
        };
        for word in left.split(", ") {
            if let Some(range) = range(word) {
                parsed.sources.push(range);
                continue;
            }
            let words: Vec<&str> = word.split(' ').collect();
            match words[..] {
                ["protocol", number] => parsed.protocol = number.to_owned(),
                [protocol, "port" | "ports", port] => {
                    parsed.protocol = protocol.to_owned();
                    parsed.services.push(port.to_owned());
                }
                [protocol, icmp_type] => {
                    parsed.protocol = protocol.to_owned();
                    parsed.services.push(icmp_type.to_owned());
                }
                [word] if parsed.protocol.is_empty() => parsed.protocol = word.to_owned(),
                [port] => parsed.services.push(port.to_owned()),
                _ => wrong(),
            }
        }
        parsed
    }

    fn holds(&self, sight: &Sight) -> bool {
        let within = |ranges: &[Range], address| {
            let mut ranges = ranges.iter();
            ranges.any(|(first, last)| (first..=last).contains(&&address))
        };
        self.chain == sight.chain
            && self.protocol == sight.protocol.to_string()
            && self.has_service(sight.protocol, sight.service)
            && within(&self.sources, sight.source)
            && !within(&self.except, sight.source)
            && within(&self.destinations, sight.destination)
    }

    fn has_service(&self, protocol: Protocol, service: Service) -> bool {
        match service {
            Service::None => self.services.is_empty(),
            Service::Port(port) => self.services.iter().any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.parse::<u16>().expect("a port");
                (number(first)..=number(last)).contains(&port)
            }),
            Service::Icmp(icmp_type, _) => {
                let name = icmp::name(protocol, icmp_type);
                self.services.iter().any(|own| Some(&**own) == name)
            }
        }
    }
}

/// An address, or a block.
fn range(text: &str) -> Option<Range> {
    if let Ok(address) = text.parse() {
        return Some((address, address));
    }
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    Some(match address.parse().ok()? {
        IpAddr::V4(first) => {
            let last = first.to_bits() | u32::MAX.checked_shr(length).unwrap_or(0);
            (first.into(), IpAddr::V4(last.into()))
        }
        IpAddr::V6(first) => {
            let last = first.to_bits() | u128::MAX.checked_shr(length).unwrap_or(0);
            (first.into(), IpAddr::V6(last.into()))
        }
    })
}
