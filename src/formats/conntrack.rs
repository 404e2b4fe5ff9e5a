//! Lines of conntrack(8) (`-L` and `-E`, whatever `-o` adds) and of `/proc/net/nf_conntrack`.
//!
//! The former are written by `__snprintf_conntrack_default` (libnetfilter_conntrack 1.0.9,
//! `src/conntrack/snprintf_default.c`), the latter by `ct_seq_show` (Linux 6.18,
//! `net/netfilter/nf_conntrack_standalone.c`). Both are words: what is known is picked out, the rest passed
//! over, since every release adds some.

use std::net::IpAddr;

use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::timestamp::Timestamp;
use crate::model::tuple::{Reply, Tuple};

/// One direction of an entry.
#[derive(Default)]
struct Written {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
}

/// Reads a line; `None` if it says nothing of a flow, as conntrack's closing line does.
///
/// Errors: what is wrong with it.
pub fn parse(line: &str) -> Option<Result<Record, String>> {
    match remark(line) {
        Some(Remark::Harmless) => None,
        Some(Remark::Trouble) => Some(Err(format!("conntrack itself says: {line}"))),
        None => Some(record(line)),
    }
}

/// What conntrack says of itself.
enum Remark {
    Harmless,
    Trouble,
}

/// What conntrack(8) says beside the entries (conntrack-tools 1.4.7, `src/conntrack.c`). Anything else than the counts
/// that it closes with tells of an entry or event that it could not show.
fn remark(line: &str) -> Option<Remark> {
    const ADVICE: [&str; 2] = [
        "This message means that the current netlink socket buffer size is too small.",
        "Please, check --buffer-size in conntrack(8) manpage.",
    ];
    if line.starts_with("conntrack v") {
        // "conntrack v1.4.7 (conntrack-tools): 19 flow entries have been shown."
        let closing = line.ends_with(" shown.") || line.ends_with(" shown");
        return Some(if closing {
            Remark::Harmless
        } else {
            Remark::Trouble
        });
    }
    if line.starts_with("WARNING: ") || line.contains("We have hit ENOBUFS") {
        return Some(Remark::Trouble);
    }
    ADVICE.contains(&line).then_some(Remark::Harmless)
}

fn record(line: &str) -> Result<Record, String> {
    let mut words = line.split_ascii_whitespace().peekable();
    let time = words.next_if(|word| starts_with_digit(word.strip_prefix('[')));
    let time = time.map(time_of).transpose()?;
    let connections = match words.next_if(|word| word.starts_with('[')) {
        // Each entry of a table is one connection.
        None | Some("[NEW]") => 1,
        Some("[UPDATE]" | "[DESTROY]") => 0,
        Some(other) => return Err(format!("{other} is no event of conntrack -E")),
    };
    let family = words.next_if(|word| matches!(*word, "ipv4" | "ipv6"));
    if family.is_some() {
        // AF_INET or AF_INET6.
        words.next();
    }
    let name = words.next().unwrap_or_default();
    let protocol = words
        .next()
        .and_then(|number| number.parse().ok())
        .map(Protocol)
        .ok_or_else(|| no_entry(name, line))?;

    let mut tuples = [Written::default(), Written::default()];
    let mut count = 0;
    let mut replied = true;
    let mut zone = 0;
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            replied &= word != "[UNREPLIED]";
            continue;
        };
        if key == "src" {
            count += 1;
        }
        let written = match count {
            1 | 2 => &mut tuples[count - 1],
            _ => continue,
        };
        match key {
            "src" => written.source = Some(read(key, value)?),
            "dst" => written.destination = Some(read(key, value)?),
            "sport" => written.source_port = Some(read(key, value)?),
            "dport" => written.destination_port = Some(read(key, value)?),
            "type" => written.icmp_type = Some(read(key, value)?),
            "code" => written.icmp_code = Some(read(key, value)?),
            // "zone-reply" is not the zone that the flow's packets come in by.
            "zone" | "zone-orig" => zone = read(key, value)?,
            _ => {}
        }
    }
    let [original, reply] = tuples;
    let identity = identity(protocol, &original, &reply, zone)?;
    if family.is_some_and(|family| (family == "ipv4") != identity.source.is_ipv4()) {
        return Err("the addresses are of the other address family".into());
    }
    Ok(Record {
        identity,
        confirmed: replied,
        connections,
        first_seen: time,
        last_seen: time,
        classic: Record::usual_classic(replied),
    })
}

fn identity(
    protocol: Protocol,
    original: &Written,
    reply: &Written,
    zone: u16,
) -> Result<Identity, String> {
    let source = original.source.ok_or("src= is missing")?;
    let destination = original.destination.ok_or("dst= is missing")?;
    let ports = ports(protocol, original)?;
    let (Some(reply_source), Some(reply_destination)) = (reply.source, reply.destination) else {
        // A line that was cut off could miss "[UNREPLIED]" as well.
        return Err("the reply direction is missing".into());
    };
    let all = [source, destination, reply_source, reply_destination];
    if all
        .iter()
        .any(|address| address.is_ipv4() != source.is_ipv4())
    {
        return Err("the addresses are not of one address family".into());
    }
    let reply_ports = self::ports(protocol, reply)?;
    let tuple = Tuple {
        source,
        destination,
        protocol,
        service: match (ports, original.icmp_type, original.icmp_code) {
            (Some((_, port)), ..) => Service::Port(port),
            (None, Some(icmp_type), Some(code)) if protocol.is_icmp_of(source) => {
                Service::Icmp(icmp_type, code)
            }
            _ => Service::None,
        },
        source_port: ports.map_or(SourcePort::None, |(port, _)| SourcePort::Exact(port)),
        zone,
    };
    let translation = tuple.translation(&Reply {
        source: reply_source,
        source_port: reply_ports.map(|(port, _)| port),
        destination: reply_destination,
        destination_port: reply_ports.map(|(_, port)| port),
    });
    Ok(Identity {
        translation: translation.map(Box::new),
        ..Identity::of(&tuple)
    })
}

/// Source and destination port of a tuple, if the protocol has ports.
fn ports(protocol: Protocol, written: &Written) -> Result<Option<(u16, u16)>, String> {
    match (written.source_port, written.destination_port) {
        _ if !protocol.has_ports() => Ok(None),
        (Some(source), Some(destination)) => Ok(Some((source, destination))),
        // A kernel that has no tracker for the protocol knows no ports: conntrack shows 0, /proc nothing.
        (None, None) if !matches!(protocol, Protocol::TCP | Protocol::UDP) => Ok(Some((0, 0))),
        (None, _) => Err("sport= is missing".into()),
        (_, None) => Err("dport= is missing".into()),
    }
}

fn read<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{key}={value} can't be right"))
}

fn starts_with_digit(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
}

/// `[1700000000.123456]`, of `-o timestamp`.
fn time_of(word: &str) -> Result<Timestamp, String> {
    let parsed = || {
        let (seconds, micros) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('.')?;
        let micros = (micros.len() == 6).then(|| micros.parse::<u64>().ok())??;
        let us = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?;
        Timestamp::from_us(us.checked_add(micros)?)
    };
    parsed().ok_or_else(|| format!("{word} is no time"))
}

/// What to say of a line that begins as no entry does.
fn no_entry(name: &str, line: &str) -> String {
    if line.starts_with("<?xml") || line.starts_with('<') {
        return "XML is not read: run conntrack without -o xml".into();
    }
    if name == "-A" || name == "-I" {
        return "conntrack's -o save is not read: leave it out".into();
    }
    let mut shown: String = line.chars().take(60).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    format!("neither a flow of conntrack or of conntracker nor JSON: {shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Dnat, Snat};

    fn good(line: &str) -> Record {
        parse(line).expect("an entry").expect("a good one")
    }

    // The samples are conntrack 1.4.7's and Linux 6.18's own.

    #[test]
    fn a_table() {
        let extended = good(
            "ipv4     2 udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=5000 dport=5353 packets=1 bytes=29 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=5353 dport=5000 packets=0 bytes=0 mark=0 zone=5 delta-time=0 [start=Sun Nov 22 11:32:37 2026] use=1 id=718840939",
        );
        let plain = good(
            "udp      17 29 src=127.0.0.1 dst=127.0.0.1 sport=5000 dport=5353 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=5353 dport=5000 mark=0 zone=5 use=1",
        );
        assert_eq!(extended, plain);
        assert_eq!(plain.identity.zone, 5);
        assert_eq!(plain.identity.source_port, SourcePort::Exact(5000));
        assert_eq!(plain.identity.translation, None);
        assert_eq!((plain.confirmed, plain.connections), (false, 1));
    }

    #[test]
    fn proc_net_nf_conntrack() {
        let record = good(
            "ipv6     10 icmpv6   58 29 src=0000:0000:0000:0000:0000:0000:0000:0001 dst=0000:0000:0000:0000:0000:0000:0000:0001 type=128 code=0 id=2205 packets=1 bytes=104 src=0000:0000:0000:0000:0000:0000:0000:0001 dst=0000:0000:0000:0000:0000:0000:0000:0001 type=129 code=0 id=2205 packets=1 bytes=104 mark=0 zone=0 delta-time=0 use=2",
        );
        assert_eq!(record.identity.service, Service::Icmp(128, 0));
        assert!(record.confirmed);
        let gre = good(
            "ipv4     2 gre      47 99 timeout=0, stream_timeout=0 src=10.0.0.1 dst=10.0.0.2 srckey=0x11 dstkey=0x22 packets=0 bytes=0 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x22 dstkey=0x11 packets=0 bytes=0 mark=0 zone=0 delta-time=0 use=2",
        );
        assert_eq!(gre.identity.protocol, Protocol::GRE);
        assert_eq!(gre.identity.service, Service::None);
        assert_eq!(gre.identity.translation, None);
        let dccp = good(
            "ipv4     2 unknown  33 599 src=127.0.0.1 dst=127.0.0.1 packets=1 bytes=36 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 packets=0 bytes=0 mark=0 zone=0 delta-time=0 use=2",
        );
        assert_eq!(dccp.identity.service, Service::Port(0));
    }

    #[test]
    fn events() {
        let new = good(
            "[1795347157.538215]\t    [NEW] tcp      6 120 SYN_SENT src=127.0.0.1 dst=127.0.0.1 sport=54286 dport=8080 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=443 dport=54286",
        );
        assert_eq!(
            new.first_seen.unwrap().to_string(),
            "2026-11-22T11:32:37.538215Z"
        );
        assert_eq!(new.last_seen, new.first_seen);
        assert_eq!((new.confirmed, new.connections), (false, 1));
        let dnat = Dnat {
            address: "127.0.0.1".parse().unwrap(),
            port: Some(443),
        };
        assert_eq!(
            (new.identity.dnat(), new.identity.snat()),
            (Some(dnat), None)
        );
        let update = good(
            " [UPDATE] ipv4     2 tcp      6 60 SYN_RECV src=127.0.0.1 dst=127.0.0.1 sport=44274 dport=443 src=127.0.0.1 dst=127.0.0.1 sport=443 dport=44274",
        );
        assert_eq!((update.confirmed, update.connections), (true, 0));
        assert_eq!(update.first_seen, None);
    }

    #[test]
    fn translated_sources_and_zones_of_one_direction() {
        let snat = good(
            "    [NEW] udp      17 30 src=127.0.0.1 dst=127.0.0.1 sport=5000 dport=9999 [UNREPLIED] src=127.0.0.1 dst=127.0.0.9 sport=9999 dport=2606",
        );
        let to = Snat {
            address: "127.0.0.9".parse().unwrap(),
            port: SourcePort::Exact(2606),
        };
        assert_eq!(
            (snat.identity.dnat(), snat.identity.snat()),
            (None, Some(to))
        );
        let original = good(
            "    [NEW] udp      17 30 src=127.0.0.1 dst=127.0.0.1 sport=5000 dport=5354 zone-orig=6 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=5354 dport=5000",
        );
        assert_eq!(original.identity.zone, 6);
        let reply = good(
            "    [NEW] udp      17 30 src=127.0.0.1 dst=127.0.0.1 sport=5000 dport=5355 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=5355 dport=5000 zone-reply=7",
        );
        assert_eq!(reply.identity.zone, 0);
    }

    #[test]
    fn damage_is_named() {
        let closing = "conntrack v1.4.7 (conntrack-tools): 19 flow entries have been shown.";
        assert_eq!(parse(closing), None);
        for (line, why) in [
            ("nonsense", "neither a flow"),
            (
                "conntrack v1.4.7 (conntrack-tools): Operation failed: sorry, you must be root",
                "you must be root",
            ),
            (
                "WARNING: We have hit ENOBUFS! We are losing events.",
                "ENOBUFS",
            ),
            ("<conntrack>", "-o xml"),
            ("-A -t 99 -u UNSET -s 10.0.0.1", "-o save"),
            ("[soon]", "[soon] is no event"),
            ("[1.5] [NEW] tcp 6", "[1.5] is no time"),
            ("tcp 6 120", "src= is missing"),
            ("tcp 6 120 src=10.0.0.1", "dst= is missing"),
            ("tcp 6 src=10.0.0.1 dst=10.0.0.2", "sport= is missing"),
            (
                "tcp 6 src=10.0.0.1 dst=10.0.0.2 sport=1",
                "dport= is missing",
            ),
            ("tcp 6 src=10.0.0 dst=10.0.0.2", "src=10.0.0 can't"),
            ("tcp 6 src=10.0.0.1 dst=10.0.0.2 sport=65536", "sport=65536"),
            ("gre 47 src=10.0.0.1 dst=10.0.0.2", "reply direction"),
            (
                "gre 47 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=::1",
                "not of one address family",
            ),
            (
                "ipv6 10 gre 47 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1",
                "other address family",
            ),
            ("tcp 256 src=10.0.0.1", "neither a flow"),
        ] {
            let error = parse(line).expect("an entry").expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
