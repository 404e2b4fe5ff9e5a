//! The entry behind its head: two tuples, what stands between them, and the rest.

use std::net::IpAddr;

use super::head::{Event, Head};
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::tuple::{Reply, Tuple};

/// One direction of an entry, and the packets that were counted in it.
#[derive(Default)]
struct Written<'a> {
    /// Addresses, as they are and as they stand there.
    source: Option<IpAddr>,
    destination: Option<(IpAddr, &'a str)>,
    source_port: Option<u16>,
    destination_port: Option<(u16, &'a str)>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    packets: Option<u64>,
    bytes: Option<u64>,
}

/// Reads the entry of `head` out of `text`, which begins with its first `src=`, and returns it with what is left: from
/// the third `src=` on, which is another entry's.
pub(super) fn read<'a>(
    head: &Head<'_>,
    text: &'a str,
    ended: bool,
) -> Result<(Record, &'a str), String> {
    let mut tuples = [Written::default(), Written::default()];
    let mut count = 0;
    let mut unreplied = false;
    let mut assured = false;
    let mut zone = 0;
    // The key of the word before, of which some have to follow one another.
    let mut before = "";
    let mut left = text;
    let mut last = "";
    let says_unreplied = text.contains("UNREPLIED");
    while let Some((word, rest)) = next_word(left) {
        if count == 2 && word.starts_with("src=") {
            // What follows the tuples, up to this word, has the head of the next entry at its end.
            break;
        }
        left = rest;
        last = word;
        // Glued to something else, as by a blank that is none, it would be passed over.
        if says_unreplied && word.contains("UNREPLIED") && word != "[UNREPLIED]" {
            return Err(format!("{} is not expected there", quoted(word)));
        }
        let Some((key, value)) = key_and_value(word) else {
            match word {
                "[UNREPLIED]" if count == 1 && !unreplied => unreplied = true,
                "[ASSURED]" if count == 2 => assured = true,
                // What diff --side-by-side puts behind what stands on the left only.
                "<" => return Err("this is what a difference says is gone".into()),
                // Colour or a blank took its brackets away, or the line is not what conntrack wrote.
                _ if count == 1 || word == "[UNREPLIED]" => {
                    return Err(format!("{} is not expected there", quoted(word)));
                }
                _ => {}
            }
            before = "";
            continue;
        };
        count += usize::from(key == "src");
        let tuple = &mut tuples[count - 1];
        match key {
            "src" => {
                if count == 2 {
                    complete(&tuples[0])?;
                }
                tuples[count - 1].source = Some(number(key, value)?);
            }
            "dst" => once(
                &mut tuple.destination,
                key,
                (number(key, value)?, value),
                before == "src",
            )?,
            "sport" => once(
                &mut tuple.source_port,
                key,
                number(key, value)?,
                before == "dst",
            )?,
            "dport" => {
                let port = (number(key, value)?, value);
                once(&mut tuple.destination_port, key, port, before == "sport")?;
            }
            "type" if head.protocol.is_icmp() => {
                once(
                    &mut tuple.icmp_type,
                    key,
                    number(key, value)?,
                    before == "dst",
                )?;
            }
            "code" if head.protocol.is_icmp() => {
                once(
                    &mut tuple.icmp_code,
                    key,
                    number(key, value)?,
                    before == "type",
                )?;
            }
            // Counters stand once behind each tuple; what a vendor calls so farther back is something else.
            "packets" if tuple.packets.is_none() => tuple.packets = Some(number(key, value)?),
            "bytes" if tuple.bytes.is_none() => tuple.bytes = Some(number(key, value)?),
            // "zone-reply" is not the zone that the flow's packets come in by.
            "zone" | "zone-orig" => zone = number(key, value)?,
            _ => {}
        }
        before = key;
    }
    let [original, reply] = tuples;
    // The kernel tells of all four counters or of none (`ctnetlink_dump_acct`, `seq_print_acct`).
    let counters = [original.packets, original.bytes, reply.packets, reply.bytes];
    if counters.iter().any(Option::is_some) && !counters.iter().all(Option::is_some) {
        return Err("a counter is missing".into());
    }
    let cut = Cut {
        word: last,
        ended: ended || next_word(left).is_some(),
        follows: next_word(left).is_some(),
    };
    if !cut.ended && last.starts_with("zone") {
        return Err("the line has no end, and may have been cut inside its zone".into());
    }
    let identity = identity(head.protocol, &original, &reply, zone, &cut)?;
    if head.v4.is_some_and(|v4| v4 != identity.source.is_ipv4()) {
        return Err("the addresses are of the other address family".into());
    }
    let counted = reply.packets.is_some_and(|packets| packets > 0);
    let replied = !(unreplied
        || reply.packets == Some(0)
        || is_before_any_reply(head.protocol, head.state)
        // The first packet is what makes an entry: only those that are put into the table by a program are new and
        // answered at the same time.
        || (head.event == Some(Event::New) && !assured && !counted));
    let connections = match head.event {
        // Each entry of a table is one connection.
        None | Some(Event::New) => 1,
        Some(Event::Update | Event::Destroy) => 0,
    };
    let record = Record {
        connections,
        first_seen: head.time,
        last_seen: head.time,
        ..Record::new(identity, replied)
    };
    // The head of the next entry stands at the end of what was passed over since the tuples.
    Ok((record, if cut.follows { behind_tuples(text) } else { "" }))
}

/// What stands behind the second tuple's addresses.
fn behind_tuples(text: &str) -> &str {
    let mut left = text;
    let mut count = 0;
    while let Some((word, rest)) = next_word(left) {
        count += usize::from(word.starts_with("src="));
        left = rest;
        if count == 2 && word.starts_with("dst=") {
            break;
        }
    }
    left
}

/// Where the text of an entry ends.
struct Cut<'a> {
    /// Its last word.
    word: &'a str,
    ended: bool,
    /// Whether another entry follows on the line.
    follows: bool,
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii_start();
    let end = text.bytes().position(|byte| byte.is_ascii_whitespace());
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (!word.is_empty()).then_some((word, rest))
}

/// What stands before and behind the first `=`. As `str::split_once`, which takes three times as long for words.
fn key_and_value(word: &str) -> Option<(&str, &str)> {
    let at = word.bytes().position(|byte| byte == b'=')?;
    Some((&word[..at], &word[at + 1..]))
}

/// Sets what may be there once, in its place.
fn once<T>(slot: &mut Option<T>, key: &str, value: T, in_place: bool) -> Result<(), String> {
    if slot.is_some() || !in_place {
        return Err(format!("{key}= does not stand where it should"));
    }
    *slot = Some(value);
    Ok(())
}

/// Whether the first tuple is whole, when the second one begins.
fn complete(original: &Written<'_>) -> Result<(), String> {
    match original.destination {
        Some(_) => Ok(()),
        None => Err("dst= is missing".into()),
    }
}

/// Whether in this state no packet can have come back: `SYN_SENT` (`net/netfilter/nf_conntrack_proto_tcp.c`) is left
/// with any answer, as is `REQUEST` of DCCP (`nf_conntrack_proto_dccp.c`).
fn is_before_any_reply(protocol: Protocol, state: Option<&str>) -> bool {
    matches!(
        (protocol, state),
        (Protocol::TCP, Some("SYN_SENT")) | (Protocol::DCCP, Some("REQUEST"))
    )
}

fn identity(
    protocol: Protocol,
    original: &Written<'_>,
    reply: &Written<'_>,
    zone: u16,
    cut: &Cut<'_>,
) -> Result<Identity, String> {
    let source = original.source.ok_or("src= is missing")?;
    let (destination, _) = original.destination.ok_or("dst= is missing")?;
    let ports = ports(protocol, original)?;
    let (Some(reply_source), Some(reply_destination)) = (reply.source, reply.destination) else {
        // A line that was cut off could miss "[UNREPLIED]" as well.
        return Err("the reply direction is missing".into());
    };
    let all = [source, destination, reply_source, reply_destination.0];
    if all
        .iter()
        .any(|address| address.is_ipv4() != source.is_ipv4())
    {
        return Err("the addresses are not of one address family".into());
    }
    let reply_ports = self::ports(protocol, reply)?;
    if original.source_port.is_some() != reply.source_port.is_some() {
        return Err("one direction has no ports".into());
    }
    if protocol.is_icmp() && !protocol.is_icmp_of(source) {
        return Err(format!(
            "protocol {protocol} is of the other address family"
        ));
    }
    let icmp = icmp(protocol, source, original)?;
    if icmp.is_some() {
        self::icmp(protocol, source, reply)?;
    }
    let tuple = Tuple {
        source,
        destination,
        protocol,
        service: match (ports, icmp) {
            (Some((_, port)), _) => Service::Port(port),
            (None, Some((icmp_type, code))) => Service::Icmp(icmp_type, code),
            (None, None) => Service::None,
        },
        source_port: ports.map_or(SourcePort::None, |(port, _)| SourcePort::Exact(port)),
        zone,
    };
    let mut answers = Reply {
        source: reply_source,
        source_port: reply_ports.map(|(port, _)| port),
        destination: reply_destination.0,
        destination_port: reply_ports.map(|(_, port)| port),
    };
    match (reply_ports, reply.destination_port) {
        (Some(_), Some((found, text))) => {
            let own = original.source_port.unwrap_or_default();
            answers.destination_port = Some(uncut(found, text, own, cut)?);
        }
        (None, _) => {
            answers.destination = uncut(reply_destination.0, reply_destination.1, source, cut)?
        }
        _ => {}
    }
    let translation = tuple.translation(&answers);
    Ok(Identity {
        translation: translation.map(Box::new),
        ..Identity::of(&tuple)
    })
}

/// What a line's last word says, `text` being that of the word. Where the line was cut inside it, it is the beginning of
/// what the original direction has, and no translation; whatever else a line without an end has there can't be trusted.
fn uncut<T: Copy + PartialEq + std::fmt::Display>(
    found: T,
    text: &str,
    own: T,
    cut: &Cut<'_>,
) -> Result<T, String> {
    let is_last = cut
        .word
        .split_once('=')
        .is_some_and(|(_, value)| std::ptr::eq(value, text));
    if found == own || !is_last {
        Ok(found)
    } else if own.to_string().starts_with(text) {
        Ok(own)
    } else if cut.ended {
        Ok(found)
    } else {
        Err("the line has no end, and may have been cut inside its last number".into())
    }
}

/// Source and destination port of a tuple, if the protocol has ports.
fn ports(protocol: Protocol, tuple: &Written<'_>) -> Result<Option<(u16, u16)>, String> {
    match (tuple.source_port, tuple.destination_port) {
        (None, None) if !protocol.has_ports() => Ok(None),
        _ if !protocol.has_ports() => Err(format!("protocol {protocol} has no ports")),
        (Some(source), Some((destination, _))) => Ok(Some((source, destination))),
        // A kernel that has no tracker for the protocol knows no ports: conntrack shows 0, /proc nothing.
        (None, None) if !matches!(protocol, Protocol::TCP | Protocol::UDP) => Ok(Some((0, 0))),
        (None, _) => Err("sport= is missing".into()),
        (_, None) => Err("dport= is missing".into()),
    }
}

/// Type and code of a tuple, if the protocol has them.
fn icmp(
    protocol: Protocol,
    source: IpAddr,
    tuple: &Written<'_>,
) -> Result<Option<(u8, u8)>, String> {
    if !protocol.is_icmp_of(source) {
        return Ok(None);
    }
    let icmp_type = tuple.icmp_type.ok_or("type= is missing")?;
    Ok(Some((
        icmp_type,
        tuple.icmp_code.ok_or("code= is missing")?,
    )))
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{key}={value} can't be right"))
}

fn quoted(word: &str) -> String {
    format!("{:?}", word.chars().take(60).collect::<String>())
}
