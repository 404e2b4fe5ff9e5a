//! Lines read back as what was written.

use super::*;
use crate::model::origin::Origin;
use crate::model::record::{
    Classic, Dnat, Identity, Protocol, Service, Snat, SourcePort, Translation,
};
use crate::model::ruled::{Decision, Ruled};
use crate::model::timestamp::Timestamp;
use crate::model::usage::Usage;

fn record() -> Record {
    Record {
        identity: Identity {
            source: "10.0.0.1".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            protocol: Protocol::TCP,
            service: Service::Port(443),
            source_port: SourcePort::Ephemeral,
            zone: 7,
            netns: None,
            translation: Some(Box::new(Translation {
                dnat: Some(Dnat {
                    address: "10.1.0.1".parse().unwrap(),
                    port: Some(8443),
                }),
                snat: None,
            })),
        },
        confirmed: true,
        connections: 3,
        first_seen: Timestamp::from_us(1),
        last_seen: Timestamp::from_us(1_600_000_000_000_001),
        classic: Classic::Listed,
        origin: Origin::default(),
        usage: None,
    }
}

#[test]
fn a_flow_reads_back_as_it_was() {
    let mut line = Vec::new();
    let seen_in = vec![Part::new(0, 1), Part::new(3, 2)];
    write_line(&Flow::new(&record(), &seen_in, None), &mut line).unwrap();
    let text = String::from_utf8(line.clone()).unwrap();
    assert_eq!(
        text,
        "{\"type\":\"flow\",\"family\":\"ipv4\",\"protocol\":\"tcp\",\"protocol_number\":6,\
         \"src\":\"10.0.0.1\",\"src_port\":1024,\"src_port_collapsed\":true,\
         \"dst\":\"192.0.2.1\",\"dst_port\":443,\"confirmed\":true,\"connections\":3,\
         \"first_seen\":\"1970-01-01T00:00:00.000001Z\",\"last_seen\":\"2020-09-13T12:26:40.000001Z\",\
         \"zone\":7,\"dnat\":{\"address\":\"10.1.0.1\",\"port\":8443},\"classic\":\"unconfirmed\",\
         \"seen_in\":[{\"capture\":0,\"connections\":1},{\"capture\":3,\"connections\":2}]}\n"
    );
    assert_eq!(parse(&line), Ok(Line::Flow(Box::new(record()), seen_in)));
}

#[test]
fn what_connections_have_carried_reads_back() {
    for duration_us in [None, Some(7)] {
        let usage = Usage {
            ended: 2,
            bytes: 300,
            reply_bytes: u64::MAX,
            packets: 4,
            reply_packets: 5,
            duration_us,
        };
        let of_all = Record {
            usage: Some(Box::new(usage.and(usage))),
            ..record()
        };
        let part = Part {
            usage: Some(Box::new(usage)),
            ..Part::new(0, 1)
        };
        let seen_in = vec![part, Part::new(1, 2)];
        let mut line = Vec::new();
        write_line(&Flow::new(&of_all, &seen_in, None), &mut line).unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(
            text.contains("\"ended\":4,\"packets\":8,\"bytes\":600,\"reply_packets\":10,"),
            "{text}"
        );
        assert_eq!(text.contains("duration_us"), duration_us.is_some());
        assert_eq!(parse(&line), Ok(Line::Flow(Box::new(of_all), seen_in)));
        let cut = text.replace("\"packets\":8,", "");
        assert!(matches!(
            parse(cut.as_bytes()),
            Err(Unreadable::Malformed(_))
        ));
    }
}

#[test]
fn what_a_line_leaves_out_reads_back() {
    let mut unknown_type = record();
    unknown_type.identity.protocol = Protocol::ICMP;
    unknown_type.identity.service = Service::None;
    unknown_type.identity.source_port = SourcePort::None;
    unknown_type.identity.translation = None;
    let mut lifted = record();
    lifted.identity.source_port = SourcePort::Exact(600);
    lifted.identity.translation = Some(Box::new(Translation {
        dnat: None,
        snat: Some(Snat {
            address: "10.9.0.1".parse().unwrap(),
            port: SourcePort::Ephemeral,
        }),
    }));
    for record in [unknown_type, lifted] {
        let mut line = Vec::new();
        write_line(&Flow::new(&record, &[], None), &mut line).unwrap();
        assert_eq!(parse(&line), Ok(Line::Flow(Box::new(record), vec![])));
    }
}

#[test]
fn what_is_gone_is_no_flow() {
    for (change, read) in [("new", true), ("gone", false)] {
        let mut line = Vec::new();
        write_change(change, &record(), (&Names::default(), &[]), &mut line).unwrap();
        assert_eq!(matches!(parse(&line), Ok(Line::Flow(..))), read);
    }
}

#[test]
fn lists_read_back_as_they_were() {
    let named = |host: &str, verdict| Capture {
        host: Some(host.to_owned()),
        start: Timestamp::from_us(5),
        verdict,
        ..Capture::default()
    };
    let (complete, incomplete) = (Completeness::Complete, Completeness::Incomplete);
    for (captures, verdict) in [
        (vec![], None),
        (vec![named("a", None)], None),
        (
            vec![named("a", Some(complete)), named("b", Some(incomplete))],
            Some(incomplete),
        ),
    ] {
        let mut text = Vec::new();
        let mut list = List::begin(&captures, &mut text).unwrap();
        list.flow(&record(), &[]).unwrap();
        list.end().unwrap();
        let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        assert_eq!(parse(lines[0]), Ok(Line::Captures(captures, true)));
        let mut seal = Seal::default();
        seal.add(lines[1]);
        assert_eq!(parse(lines[2]), Ok(Line::End(seal.end(verdict))));
        assert_eq!((lines.len(), lines[3]), (4, &b""[..]));
    }
    let old = br#"{"type":"capture","schema":1,"host":"a"}"#;
    let host = Capture {
        host: Some("a".into()),
        ..Capture::default()
    };
    assert_eq!(parse(old), Ok(Line::Captures(vec![host], false)));
}

#[test]
fn what_is_newer_or_wrong_says_so() {
    assert_eq!(
        parse(br#"{"type":"capture","schema":2,"start":17}"#),
        Err(Unreadable::Newer(2))
    );
    assert_eq!(parse(br#"{"type":"note"}"#), Ok(Line::Other));
    let wrong = [
        r#"{"type":"flow""#,
        r#"{"type":"flow","family":"ipv4","protocol_number":6,"src":"10.0.0.1","dst":"::1","src_port":1,"dst_port":1,"confirmed":true,"connections":0}"#,
        r#"{"type":"flow","family":"ipv4","protocol_number":6,"src":"10.0.0.1","dst":"10.0.0.2","confirmed":true,"connections":0}"#,
    ];
    for line in wrong {
        assert!(
            matches!(parse(line.as_bytes()), Err(Unreadable::Malformed(_))),
            "{line}"
        );
    }
}

#[test]
fn a_flow_that_was_stopped_is_no_flow() {
    let ruled = |verdict: &str| Ruled {
        seen: record().first_seen,
        verdict: verdict.to_owned(),
        rules: vec![Decision {
            hook: Some("input".to_owned()),
            family: "inet".to_owned(),
            table: "filter".to_owned(),
            chain: "input".to_owned(),
            handle: None,
            text: Some("policy drop".to_owned()),
            verdict: "dropped".to_owned(),
        }],
    };
    let mut written = Vec::new();
    let mut list = List::begin(&[], &mut written).unwrap();
    let (passed, stopped) = (ruled("accepted"), ruled("dropped"));
    list.told(&record(), &[], (Some(&passed), &[])).unwrap();
    list.denied(&record(), &[], (Some(&stopped), &[])).unwrap();
    list.end().unwrap();
    let lines: Vec<&[u8]> = written
        .trim_ascii_end()
        .split(|&byte| byte == b'\n')
        .collect();
    let of = |line| parse(line).unwrap();
    let record = || Box::new(record());
    let beside = |ruled| {
        Box::new(Beside {
            ruled: Some(Box::new(ruled)),
            names: Vec::new(),
        })
    };
    assert_eq!(of(lines[1]), Line::Told(record(), vec![], beside(passed)));
    let denied = Line::Denied(record(), vec![], beside(stopped));
    assert_eq!(of(lines[2]), denied);
    // Readers of earlier versions know no such type.
    assert!(lines[2].starts_with(br#"{"type":"denied","#));
    assert!(matches!(of(lines[3]), Line::End(End { flows: 1, .. })));
    // Whoever calls it a flow.
    let line = String::from_utf8(lines[2].to_vec()).unwrap();
    let line = line.replace("\"denied\"", "\"flow\"");
    assert_eq!(of(line.as_bytes()), denied);
}

#[test]
fn learnt_names_are_kept_and_those_of_files_are_not() {
    let time = |us| Timestamp::from_us(us).unwrap();
    let learnt = |name: &str| Learnt {
        name: name.to_owned(),
        first: time(1),
        last: time(2),
    };
    let record = record();
    let mut names = Names::default();
    names.add(record.identity.destination, "from-file".to_owned());
    let both = [learnt("from-file"), learnt("www.example.com")];
    let mut written = Vec::new();
    let mut list = List::begin(&[], &mut written).unwrap().naming(&names);
    list.told(&record, &[], (None, &both)).unwrap();
    list.end().unwrap();
    let line = written.split(|&byte| byte == b'\n').nth(1).unwrap();
    let object: serde_json::Value = serde_json::from_slice(line).unwrap();
    assert_eq!(
        object["dst_names"],
        serde_json::json!(["from-file", "www.example.com"])
    );
    let beside = Beside {
        ruled: None,
        names: both.to_vec(),
    };
    assert_eq!(
        parse(line),
        Ok(Line::Told(Box::new(record), vec![], Box::new(beside)))
    );
}
