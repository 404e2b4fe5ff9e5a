//! The flow that a record of another program tells of.

use std::net::IpAddr;

use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::timestamp::Timestamp;
use crate::model::tuple::{Reply, Tuple};

/// What is read of a record.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) protocol: Protocol,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ports: Option<(u16, u16)>,
    /// Type and code.
    pub(super) icmp: Option<(u8, u8)>,
    /// Whether packets were seen in both directions.
    pub(super) answered: bool,
    pub(super) connections: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// Addresses and ports of the answers, where the source knows of translation.
    pub(super) reply: Option<Reply>,
}

impl Seen {
    pub(super) fn record(self) -> Result<Box<Record>, String> {
        let Self {
            protocol,
            source,
            destination,
            ..
        } = self;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err("the addresses are not of one address family".into());
        }
        if protocol.0 == 0 {
            return Err("the protocol is 0, so that this is no flow".into());
        }
        if protocol.is_icmp() && !protocol.is_icmp_of(source) {
            return Err(format!(
                "protocol {protocol} is of the other address family"
            ));
        }
        let ports = match (protocol.has_ports(), self.ports) {
            (false, _) => None,
            (true, Some((0, _) | (_, 0))) => {
                return Err("a port is 0, so that this is no flow".into());
            }
            (true, Some(ports)) => Some(ports),
            (true, None) => return Err("the ports are missing".into()),
        };
        let service = match (ports, self.icmp) {
            (Some((_, port)), _) => Service::Port(port),
            (None, Some((icmp_type, code))) if protocol.is_icmp_of(source) => {
                Service::Icmp(icmp_type, code)
            }
            _ => Service::None,
        };
        let tuple = Tuple {
            source,
            destination,
            protocol,
            service,
            source_port: ports.map_or(SourcePort::None, |(port, _)| SourcePort::Exact(port)),
            zone: 0,
        };
        let translation = match self.reply {
            Some(reply) if reply.source.is_ipv4() != source.is_ipv4() => {
                return Err("the addresses are not of one address family".into());
            }
            Some(reply) => tuple.translation(&reply),
            None => None,
        };
        let identity = Identity {
            translation: translation.map(Box::new),
            ..Identity::of(&tuple)
        };
        Ok(Box::new(Record {
            connections: self.connections,
            first_seen: self.first,
            last_seen: self.last.max(self.first),
            ..Record::new(identity, self.answered)
        }))
    }
}

/// The value of a field.
pub(super) fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    let value = value.trim();
    value.parse().map_err(|_| {
        format!(
            "{name} {:?} can't be right",
            value.chars().take(60).collect::<String>()
        )
    })
}

/// A protocol by its name or number.
pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text.trim()).ok_or_else(|| format!("{text:?} is no protocol that is known"))
}

/// Seconds of the epoch with a fraction or without.
pub(super) fn epoch(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction = fraction.get(..6).unwrap_or(fraction);
    let scale = 10_u64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let us = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    Timestamp::from_us(us.checked_add(fraction.parse::<u64>().ok()?.checked_mul(scale)?)?)
}

/// A number that orders `2026-11-26 18:23:54.131`, which is in the local time of a host that nobody names.
pub(super) fn order(text: &str) -> Option<u64> {
    let text = text.trim().replacen(' ', "T", 1) + "Z";
    Some(text.parse::<Timestamp>().ok()?.us())
}
