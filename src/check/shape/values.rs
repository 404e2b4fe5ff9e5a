//! Fields and values, as the JSON of nft(8) has them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::ranges::Ranges;
use super::{Condition, Element, Field, STATES, Values, icmp_number, number_of, range_of};
use crate::model::record::Protocol;

/// What an expression yields: several fields of a concatenation, each with what else a packet has to be.
pub(super) fn fields(left: &Value) -> Option<Vec<(Field, Vec<Condition>)>> {
    if let Some(parts) = left["concat"].as_array() {
        let parts: Option<Vec<_>> = parts.iter().map(fields).collect();
        return Some(parts?.concat());
    }
    let plain = |field| Some(vec![(field, Vec::new())]);
    let payload = &left["payload"];
    if payload.is_object() {
        let protocol = payload["protocol"].as_str()?;
        let of = |number| vec![Condition::number(Field::Protocol, number)];
        return Some(vec![match (protocol, payload["field"].as_str()?) {
            ("ip", "saddr") => (Field::Source4, Vec::new()),
            ("ip", "daddr") => (Field::Destination4, Vec::new()),
            ("ip6", "saddr") => (Field::Source6, Vec::new()),
            ("ip6", "daddr") => (Field::Destination6, Vec::new()),
            ("ip", "protocol") => (Field::Protocol, vec![Condition::number(Field::Family, 4)]),
            ("icmp", "type") => (Field::Icmp4, Vec::new()),
            ("icmpv6", "type") => (Field::Icmp6, Vec::new()),
            ("th", "sport") => (Field::SourcePort, Vec::new()),
            ("th", "dport") => (Field::DestinationPort, Vec::new()),
            (name @ ("tcp" | "udp" | "sctp" | "dccp" | "udplite"), port) => {
                let number = Protocol::parse(name)?.0;
                match port {
                    "sport" => (Field::SourcePort, of(number.into())),
                    "dport" => (Field::DestinationPort, of(number.into())),
                    _ => return None,
                }
            }
            _ => return None,
        }]);
    }
    match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
        (Some("iifname" | "iif"), _) => plain(Field::In),
        (Some("oifname" | "oif"), _) => plain(Field::Out),
        (Some("l4proto"), _) => plain(Field::Protocol),
        (Some("nfproto"), _) => plain(Field::Family),
        (_, Some("state")) if left["ct"]["dir"].is_null() => plain(Field::State),
        _ => None,
    }
}

/// An element of a set, or a value: what it asks of each field.
pub(super) fn element(fields: &[(Field, Vec<Condition>)], value: &Value) -> Option<Element> {
    let value = match &value["elem"] {
        Value::Object(body) => body.get("val")?,
        _ => value,
    };
    let parts: Vec<&Value> = match value["concat"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![value],
    };
    if parts.len() != fields.len() {
        return None;
    }
    let mut conditions = Vec::new();
    let mut texts = Vec::new();
    for ((field, _), part) in fields.iter().zip(parts) {
        conditions.push(single(*field, part)?);
        texts.push(text_of(part));
    }
    Some(Element {
        text: texts.join(" . "),
        conditions,
    })
}

fn single(field: Field, value: &Value) -> Option<Condition> {
    if field.is_device() {
        let name = value.as_str()?.to_owned();
        return Some(Condition {
            field,
            values: Values::Names(vec![name], false),
        });
    }
    let (first, last) = if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
        (scalar(field, first)?, scalar(field, last)?)
    } else if value["prefix"].is_object() {
        let address: IpAddr = value["prefix"]["addr"].as_str()?.parse().ok()?;
        let len = u8::try_from(value["prefix"]["len"].as_u64()?).ok()?;
        range_of(IpNet::new(address, len).ok()?)
    } else {
        let number = scalar(field, value)?;
        (number, number)
    };
    Some(Condition::ranges(field, Ranges::new(vec![(first, last)])))
}

fn scalar(field: Field, value: &Value) -> Option<u128> {
    if let Some(number) = value.as_u64() {
        return field.all().contains(number.into()).then_some(number.into());
    }
    let text = value.as_str()?;
    match field {
        Field::Source4 | Field::Destination4 | Field::Source6 | Field::Destination6 => {
            let address: IpAddr = text.parse().ok()?;
            let four = matches!(field, Field::Source4 | Field::Destination4);
            (address.is_ipv4() == four).then(|| number_of(address))
        }
        Field::Protocol => Protocol::parse(text).map(|protocol| protocol.0.into()),
        Field::Icmp4 | Field::Icmp6 => icmp_number(field, text),
        Field::State => {
            let at = STATES.iter().position(|state| *state == text)?;
            Some(at as u128)
        }
        Field::Family => match text {
            "ipv4" => Some(4),
            "ipv6" => Some(6),
            _ => None,
        },
        _ => text.parse().ok(),
    }
}

/// Any of several values of one field.
pub(super) fn union(field: Field, parts: &[&Condition]) -> Condition {
    if field.is_device() {
        let names = parts.iter().filter_map(|part| match &part.values {
            Values::Names(names, _) => Some(names.clone()),
            Values::Numbers(_) => None,
        });
        return Condition {
            field,
            values: Values::Names(names.flatten().collect(), false),
        };
    }
    let ranges = parts.iter().filter_map(|part| part.numbers());
    Condition::ranges(field, Ranges::new(ranges.flat_map(Ranges::iter).collect()))
}

fn text_of(value: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
        return format!("{}-{}", plain(first), plain(last));
    }
    if value["prefix"].is_object() {
        let part = |name: &str| plain(&value["prefix"][name]);
        return format!("{}/{}", part("addr"), part("len"));
    }
    plain(value)
}
