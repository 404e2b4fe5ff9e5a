use std::collections::HashMap;
use std::iter;
use std::sync::Arc;

use super::*;
use crate::formats::conntrack;
use crate::formats::csv::{self, Cells};
use crate::model::names::Names;
use crate::model::ruled::Told;

/// The flows of a file.
fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Record>, String> {
    let mut reader = Reader::default();
    let mut records = Vec::new();
    for line in lines {
        match reader.read(line).expect("CSV")? {
            Line::Header => {}
            Line::Flow(record) | Line::Ruled(record, _) => records.push(*record),
        }
    }
    Ok(records)
}

#[test]
fn what_is_written_reads_back() {
    assert_eq!(read([&*COLUMNS.join(",")]), Ok(Vec::new()));
    for line in [
        "[1700000000.000001] [NEW] tcp 6 1 src=10.0.0.1 dst=10.1.0.1 sport=600 dport=1 [UNREPLIED] src=10.1.0.2 dst=10.0.0.9 sport=1 dport=2000",
        "icmpv6 58 1 src=::1 dst=::2 type=128 code=0 id=1 src=::2 dst=::1 type=129 code=0 id=1 zone=5",
        "gre 47 1 src=10.0.0.1 dst=10.1.0.1 src=10.1.0.1 dst=10.0.0.9",
    ] {
        let mut record = conntrack::parse(line, true).unwrap().unwrap().remove(0);
        for round in 0..3 {
            record.usage = (round == 2).then(|| {
                Box::new(Usage {
                    ended: 1,
                    bytes: 60,
                    reply_bytes: 0,
                    packets: 1,
                    reply_packets: 0,
                    duration_us: record.identity.netns.is_some().then_some(5),
                })
            });
            for cells in [Cells::Safe, Cells::Raw] {
                let mut text = Vec::new();
                csv::write(
                    iter::once(&record),
                    (&Names::default(), &Told::default()),
                    cells,
                    &mut text,
                )
                .unwrap();
                let text = String::from_utf8(text).unwrap();
                let line = text.lines().nth(1).unwrap();
                assert_eq!(read([line]), Ok(vec![record.clone()]), "{line}");
            }
            record.identity.collapse_ports();
            record.identity.netns = Some("=a,\"b\"".into());
            record.classic = Classic::Absent;
        }
    }
}

const HEADER: &str = "family,protocol,protocol_number,src,src_port,src_port_collapsed,dst,dst_port,\
                      icmp_type,icmp_code,icmp_name,confirmed,connections,first_seen,last_seen,zone,\
                      netns,dnat_address,dnat_port,snat_address,snat_port,snat_port_collapsed,classic,\
                      picked_up,turned,helper,expected_by_helper,expected_by_protocol_number,\
                      expected_by_port,ended,packets,bytes,reply_packets,reply_bytes,duration_us,rule,\
                      verdict";
const FLOW: &str = "ipv4,tcp,6,10.0.0.1,1024,true,10.1.0.1,443,,,,true,7,2026-01-31T12:00:00.000001Z,\
                    2026-01-31T12:00:01.000000Z,0,,10.2.0.1,8443,,,,,true,true,,ftp,6,21,\
                    3,12,3400,11,56000,7000000,ip nat p: dnat to 10.2.0.1:8443,accepted";

/// The table of [`HEADER`] and [`FLOW`], changed, as lines.
fn changed(change: impl Fn(&mut Vec<Vec<String>>), separator: &str) -> Vec<String> {
    let cells = |line: &str| line.split(',').map(str::to_owned).collect();
    let mut table: Vec<Vec<String>> = vec![cells(HEADER), cells(FLOW)];
    change(&mut table);
    table.iter().map(|line| line.join(separator)).collect()
}

fn lines(lines: &[String]) -> Result<Vec<Record>, String> {
    read(lines.iter().map(String::as_str))
}

#[test]
fn a_spreadsheet_may_have_been_over_it() {
    let whole = read([HEADER, FLOW]).unwrap();
    assert_eq!(HEADER, COLUMNS.join(","));
    let each = |change: fn(&mut String)| {
        move |table: &mut Vec<Vec<String>>| table.iter_mut().flatten().for_each(change)
    };
    let quoted = each(|cell| *cell = format!("\"{cell}\""));
    for separator in [",", ";", "\t"] {
        assert_eq!(lines(&changed(|_| {}, separator)), Ok(whole.clone()));
        assert_eq!(lines(&changed(quoted, separator)), Ok(whole.clone()));
        assert_eq!(lines(&changed(|_| {}, separator)[1..]), Ok(whole.clone()));
    }
    let reversed = |table: &mut Vec<Vec<String>>| table.iter_mut().for_each(|line| line.reverse());
    assert_eq!(lines(&changed(reversed, ",")), Ok(whole.clone()));
    let padded = |table: &mut Vec<Vec<String>>| {
        table
            .iter_mut()
            .for_each(|line| line.extend([String::new(), String::new()]));
    };
    assert_eq!(lines(&changed(padded, ",")), Ok(whole.clone()));
    let retyped = each(|cell| {
        *cell = match &**cell {
            "true" => "TRUE".into(),
            time if time.starts_with("2026-") => time.replace('T', " ").replace('Z', ""),
            other => other.into(),
        };
    });
    assert_eq!(lines(&changed(retyped, ";")), Ok(whole.clone()));
    // What is left out has the value that it has most often.
    let without = |names: &[&str]| {
        let remove = |table: &mut Vec<Vec<String>>| {
            for name in names {
                let place = table[0]
                    .iter()
                    .position(|cell| cell == name)
                    .expect("a column");
                table.iter_mut().for_each(|line| drop(line.remove(place)));
            }
        };
        lines(&changed(remove, ","))
    };
    for names in [
        &["family"][..],
        &["protocol"],
        &["protocol_number"],
        &["icmp_name", "icmp_type"],
        &[
            "snat_address",
            "snat_port",
            "snat_port_collapsed",
            "netns",
            "classic",
        ],
    ] {
        assert_eq!(without(names), Ok(whole.clone()), "{names:?}");
    }
    let fewer = without(&["connections", "first_seen", "zone"]).unwrap();
    assert_eq!(
        (
            fewer[0].connections,
            fewer[0].first_seen,
            fewer[0].identity.zone
        ),
        (1, None, 0)
    );
    for name in [
        "src",
        "dst",
        "confirmed",
        "src_port_collapsed",
        "dnat_port",
        "icmp_code",
    ] {
        let error = without(&[name]).expect_err(name);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_header_that_is_not_understood_spoils_what_comes_after_it() {
    let mut reader = Reader::default();
    for (header, why) in [
        ("family,port", "the column \"port\" is not one"),
        (
            "change,src,dst,confirmed",
            "the column \"change\" is not one",
        ),
        (
            "src,dst,src,protocol,confirmed",
            "the column src is there twice",
        ),
        (
            "src,dst,confirmed",
            "protocol_number or protocol is missing",
        ),
    ] {
        let error = reader.read(header).expect("CSV").expect_err(header);
        assert!(error.contains(why), "{header}: {error}");
        assert!(matches!(reader.read(FLOW), Some(Err(_))));
    }
    assert!(matches!(reader.read(HEADER), Some(Ok(Line::Header))));
    assert!(matches!(reader.read(FLOW), Some(Ok(Line::Ruled(..)))));
    // A line that was cut is none of another kind.
    assert!(matches!(reader.read("10.0.0.1"), Some(Err(_))));
}

#[test]
fn damage_is_named() {
    let parse = |line: &str| Reader::default().read(line);
    let good = "ipv4,tcp,6,10.0.0.1,1024,true,10.1.0.1,443,,,,true,1,,,0,,,,,,,";
    assert!(matches!(parse(good), Some(Ok(Line::Flow(_)))));
    for (from, to, why) in [
        ("10.1.0.1", "::1", "not all of the family"),
        (",443,", ",,", "dst_port is missing"),
        (",1024,", ",,", "src_port is missing"),
        (",443,", ",66000,", "dst_port can't be \"66000\""),
        (",true,1,", ",yes,1,", "confirmed can't be"),
        (",0,,,,,,,", ",0,,,,,,", "22 fields"),
        (",0,,,,,,,", ",0,,,,,,,often", "classic can't"),
        (
            ",tcp,6,",
            ",udp,6,",
            "protocol is udp, and protocol_number says tcp",
        ),
        ("ipv4,", "ipv4,\"", "quotation marks"),
    ] {
        let line = good.replace(from, to);
        let error = parse(&line).expect("CSV").expect_err(&line);
        assert!(error.contains(why), "{line}: {error}");
    }
    assert!(matches!(parse("family,port"), Some(Err(_))));
    assert_eq!(parse("tcp 6"), None);
}

#[test]
fn names_of_others_are_passed_over() {
    let lines = [
        "src,dst_names,dst,protocol,confirmed,src_port,src_port_collapsed,dst_port",
        "10.0.0.1,a b,10.0.0.2,tcp,true,1024,true,443",
    ];
    assert_eq!(read(lines).unwrap().len(), 1);
}

#[test]
fn what_decided_reads_back() {
    let record = read([HEADER, FLOW]).unwrap().remove(0);
    for (verdict, rule) in [
        (
            "accepted",
            Some("inet filter input: tcp dport { 22, 443 } accept comment \"a, b\""),
        ),
        (
            "accepted",
            Some("iptables-legacy filter INPUT: -A INPUT -j ACCEPT"),
        ),
        ("queued", Some("ip filter f: policy accept")),
        ("accepted", None),
    ] {
        let rules = rule.map(|rule| Decision::of_last_word(rule, verdict).unwrap());
        let ruled = Ruled {
            seen: None,
            verdict: verdict.into(),
            rules: rules.into_iter().collect(),
        };
        assert_eq!(ruled.last_word(), rule.unwrap_or("-"));
        let told = Told {
            rules: HashMap::from([(record.identity.clone(), Arc::new(ruled.clone()))]),
            ..Told::default()
        };
        let mut text = Vec::new();
        let names = (&Names::default(), &told);
        csv::write(iter::once(&record), names, Cells::Safe, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut reader = Reader::default();
        let lines: Vec<_> = text
            .lines()
            .map(|line| reader.read(line).unwrap())
            .collect();
        let expected = Line::Ruled(Box::new(record.clone()), Box::new(ruled));
        assert_eq!(lines, [Ok(Line::Header), Ok(expected)]);
    }
    let mut reader = Reader::default();
    reader.read(HEADER).unwrap().unwrap();
    for (from, to) in [
        (",accepted", ",passed"),
        (",accepted", ","),
        ("ip nat p: ", ""),
    ] {
        let line = FLOW.replace(from, to);
        assert!(reader.read(&line).unwrap().is_err(), "{line}");
    }
}
