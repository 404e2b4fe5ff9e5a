use super::*;
use crate::model::record::{Dnat, Protocol, Service, Snat, SourcePort};

fn good(line: &str) -> Record {
    let mut records = parse(line, true).expect("an entry").expect("a good one");
    assert_eq!(records.len(), 1);
    records.remove(0)
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
    assert_eq!(parse(closing, true), None);
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
        ("<conntrack>", "neither a flow"),
        ("-A -t 99 -u UNSET -s 10.0.0.1", "-o save"),
        ("[SOON] tcp 6 src=10.0.0.1", "[SOON] is no event"),
        ("[1.5] [NEW] tcp 6", "src= is missing"),
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
        ("tcp 26 src=10.0.0.1", "tcp is not protocol 26"),
    ] {
        let error = parse(line, true).expect("an entry").expect_err(line);
        assert!(error.contains(why), "{line}: {error}");
    }
}

const TABLE: &str = "tcp      6 431999 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] mark=0 use=1";
const PROC: &str = "ipv4     2 tcp      6 431999 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] mark=0 zone=0 use=2";
const EVENT: &str = " [UPDATE] tcp      6 432000 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED]";
const EXTENDED: &str = "[1795692140.768158]\t [UPDATE] ipv4     2 tcp      6 432000 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] id=1";
const UNREPLIED: &str = "    [NEW] udp      17 30 src=192.0.2.11 dst=198.51.100.53 sport=40002 dport=53 [UNREPLIED] src=198.51.100.53 dst=192.0.2.11 sport=53 dport=40002";

/// Prefixes, whether an entry has to be read behind them, and the time that they say.
const PREFIXES: [(&str, bool, Option<&str>); 48] = [
    // grep -n, -H, -nH and the lines around what it found; cat -n, uniq -c, sed.
    ("12:", true, None),
    ("12-", true, None),
    ("gw1.txt:", true, None),
    ("gw1.txt:12:", true, None),
    ("gw1.txt-12-", true, None),
    ("     1\t", true, None),
    ("      3 ", true, None),
    ("gw1 ", true, None),
    // ts, ts -s, ts %.s, ts [%.s], dmesg.
    ("Nov 26 11:22:20 ", true, None),
    ("Nov 06 11:22:20 ", true, None),
    ("Nov 17 11:22:20 ", true, None),
    ("00:00:12 ", true, None),
    ("17:14:21 ", true, None),
    (
        "1795692140.123456 ",
        true,
        Some("2026-11-26T11:22:20.123456Z"),
    ),
    ("[12.345678] ", true, None),
    ("[  123.456789] ", true, None),
    // syslog in its old form, its new one and with a priority; journalctl -o short-iso, short-full, short-unix.
    ("Nov 26 11:22:20 gw1 conntrack[812]: ", true, None),
    ("Nov  6 11:22:20 gw1 conntrack[812]: ", true, None),
    ("<30>Nov 26 11:22:20 gw1 conntrack[812]: ", true, None),
    ("<30>Nov  6 11:22:20 conntrack: ", true, None),
    (
        "2026-11-26T11:22:20.123456+00:00 gw1 conntrack[812]: ",
        true,
        Some("2026-11-26T11:22:20.123456Z"),
    ),
    (
        "<30>1 2026-11-26T12:22:20.5+01:00 gw1 conntrack 812 - - ",
        true,
        Some("2026-11-26T11:22:20.500000Z"),
    ),
    (
        "2026-11-26T11:22:20+0000 gw1 conntrack[812]: ",
        true,
        Some("2026-11-26T11:22:20.000000Z"),
    ),
    (
        "Thu 2026-11-26 11:22:20 UTC gw1 conntrack[812]: ",
        true,
        Some("2026-11-26T11:22:20.000000Z"),
    ),
    (
        "Thu 2026-11-26 11:22:20 CET gw1 conntrack[812]: ",
        true,
        None,
    ),
    (
        "1795692140.123456 gw1 conntrack[812]: ",
        true,
        Some("2026-11-26T11:22:20.123456Z"),
    ),
    (
        "Thu Nov 26 11:22:20 2026 daemon.info conntrack[812]: ",
        true,
        None,
    ),
    (
        "Thu Nov 26 11:22:20 2026 kern.info kernel: [ 812.5] ",
        true,
        None,
    ),
    (
        "Thu Nov 26 11:22:20 UTC 2026 ",
        true,
        Some("2026-11-26T11:22:20.000000Z"),
    ),
    (
        "Thu 26 Nov 2026 11:22:20 AM UTC ",
        true,
        Some("2026-11-26T11:22:20.000000Z"),
    ),
    ("2026-11-26 11:22:20 ", true, None),
    ("2026-11-26 11:22:20.123 ", true, None),
    ("Thu Nov 26 11:22:20 2026\t", true, None),
    ("Jul 16 12:54:54 vyos-conntrack-logger[9387]: ", true, None),
    // docker compose, kubectl logs --prefix, pdsh, mail, diff, a prompt, lists.
    ("gw-1  | ", true, None),
    ("gw-1  |", true, None),
    ("[pod/gw/ct] ", true, None),
    ("gw1: ", true, None),
    ("> ", true, None),
    (">> ", true, None),
    ("+", true, None),
    ("+ ", true, None),
    ("root@gw:~# ", true, None),
    ("* ", true, None),
    ("\"", true, None),
    // What says that the line does not hold.
    ("-", false, None),
    ("< ", false, None),
    ("# ", false, None),
];

#[test]
fn behind_every_prefix_a_line_says_the_same() {
    for line in [TABLE, PROC, EVENT, EXTENDED, UNREPLIED] {
        let plain = good(line);
        for (prefix, is_read, time) in PREFIXES {
            let with = format!("{prefix}{line}");
            if !is_read {
                assert!(parse(&with, true).unwrap().is_err(), "{with}");
                continue;
            }
            let time = time.map(|time| time.parse().unwrap());
            let expected = Record {
                first_seen: plain.first_seen.or(time),
                last_seen: plain.last_seen.or(time),
                ..plain.clone()
            };
            assert_eq!(good(&with), expected, "{with}");
        }
    }
}

#[test]
fn names_fit_their_numbers() {
    for name in [
        "26 tcp",
        "tcp 26",
        "udp 6",
        "unknown 6",
        "unknown 17",
        "foo 6",
        "10 tcp 17",
        "6",
    ] {
        let line = TABLE.replacen("tcp      6", name, 1);
        assert!(parse(&line, true).unwrap().is_err(), "{line}");
    }
    let family = PROC.replacen("ipv4     2", "ipv4 10", 1);
    assert!(parse(&family, true).unwrap().is_err(), "{family}");
    let unknown = good("unknown 103 590 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1");
    let named = good("pim 103 590 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1");
    assert_eq!(unknown, named);
}

#[test]
fn what_a_line_says_itself_is_not_confirmed() {
    let answered = "udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 packets=1 bytes=9 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 packets=1 bytes=9";
    assert!(good(answered).confirmed);
    assert!(!good(&answered.replace("packets=1 bytes=9", "packets=0 bytes=0")).confirmed);
    assert!(!good(&TABLE.replacen("ESTABLISHED", "SYN_SENT", 1)).confirmed);
    assert!(good(&TABLE.replacen("ESTABLISHED", "SYN_SENT2", 1)).confirmed);
    let new = UNREPLIED.replacen("[UNREPLIED] ", "", 1);
    assert!(!good(&new).confirmed);
    assert!(good(&new.replacen("[NEW]", "[UPDATE]", 1)).confirmed);
}

#[test]
fn marks_stand_where_conntrack_puts_them() {
    for wrong in [
        UNREPLIED.replacen("[UNREPLIED]", "UNREPLIED", 1),
        UNREPLIED.replacen("[UNREPLIED]", "[UNREPLED]", 1),
        UNREPLIED.replacen("[UNREPLIED]", "[UNREPLIED] [UNREPLIED]", 1),
        format!("{} [UNREPLIED]", UNREPLIED.replacen("[UNREPLIED] ", "", 1)),
        UNREPLIED.replacen("[NEW]", "[NWE]", 1),
        UNREPLIED.replacen("[NEW]", "[NEW", 1),
        UNREPLIED.replacen("[NEW]", "NEW", 1),
        TABLE.replacen("src=192.0.2.10 ", "", 1),
        TABLE.replacen("dst=198.51.100.5 ", "", 1),
        TABLE.replacen("sport=40001 ", "", 1),
        TABLE.replacen("dport=443 ", "", 1),
        TABLE.replacen("src=198.51.100.5 ", "", 1),
        TABLE.replacen("sport=443 ", "", 1),
        TABLE.replacen("src=192.0.2.10", "src=192.0.2.10 src=192.0.2.10", 1),
        TABLE.replacen("dst=198.51.100.5", "dst=198.51.100.5 dst=198.51.100.5", 1),
        TABLE.replacen("tcp      6", "esp 50", 1),
        "icmp 1 9 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.2 dst=10.0.0.1".into(),
    ] {
        assert!(parse(&wrong, true).unwrap().is_err(), "{wrong}");
    }
}

#[test]
fn a_third_source_begins_another_entry() {
    for (first, second) in [
        (TABLE, UNREPLIED),
        (UNREPLIED, TABLE),
        (EVENT, EXTENDED),
        (PROC, PROC),
    ] {
        for between in [" ", "\r", "\t"] {
            let joined = format!("{first}{between}{second}");
            let read = parse(&joined, true).unwrap().unwrap();
            assert_eq!(read, [good(first), good(second)], "{joined}");
        }
    }
    assert!(parse(&format!("{TABLE}{TABLE}"), true).unwrap().is_err());
    let three = [TABLE; 3].join(" ");
    assert_eq!(parse(&three, true).unwrap().unwrap().len(), 3);
}

#[test]
fn a_line_cut_inside_its_last_number_has_no_translation() {
    let plain = good(UNREPLIED);
    for len in 1..5 {
        let cut = &UNREPLIED[..UNREPLIED.len() - len];
        assert_eq!(good(cut), plain, "{cut}");
    }
    assert!(
        parse(&UNREPLIED[..UNREPLIED.len() - 5], true)
            .unwrap()
            .is_err()
    );
    let other = UNREPLIED.strip_suffix("40002").unwrap().to_owned() + "61001";
    assert!(good(&other).identity.snat().is_some(), "{other}");
    // A line without an end may have been cut there.
    assert!(parse(&other, false).unwrap().is_err());
    assert!(parse(UNREPLIED, false).unwrap().is_ok());
    let esp = "esp 50 590 src=192.0.2.10 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=192.0.2.1";
    assert_eq!(good(esp).identity.translation, None);
}

#[test]
fn what_conntrack_says_of_itself() {
    for line in [
        "conntrack v1.4.7 (conntrack-tools): Operation failed: sorry, you must be root",
        "Nov 26 11:22:20 gw1 conntrack[812]: conntrack v1.4.7 (conntrack-tools): Operation failed: x",
        "gw-1 | WARNING: We have hit ENOBUFS! We are losing events.",
    ] {
        assert!(parse(line, true).unwrap().is_err(), "{line}");
    }
    let closing = "gw-1 | conntrack v1.4.7 (conntrack-tools): 19 flow entries have been shown.";
    assert_eq!(parse(closing, true), None);
}
