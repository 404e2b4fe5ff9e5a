//! What each program writes. The lines of nfdump and ulogd2 are the programs' own (nfdump 1.7.1, ulogd2 2.0.8); those of
//! Zeek, Suricata and AWS are made after their documentation.

use super::*;
use crate::model::record::{Protocol, Service};

/// What lines say: `protocol source destination service confirmed connections`, with `->` for one direction.
fn said(lines: &str) -> Vec<String> {
    let mut text = Text::default();
    let mut gathering = Gathering::default();
    let mut said = Vec::new();
    for line in lines.lines() {
        let read = if gathering.is_open() || line.starts_with(['{', '[', '}']) {
            match gathering.line(line) {
                Gathered::Part => continue,
                Gathered::Bad(why) => Err(why),
                Gathered::Object(object) => text.object(&object).map_err(|why| format!("{why:?}")),
            }
        } else {
            text.read(line).expect("a line of an export")
        };
        said.push(match read {
            Ok(Line::Flow(_, record)) => shown(&record),
            Ok(Line::Direction(_, record, _)) => format!("-> {}", shown(&record)),
            Ok(Line::Beside(_) | Line::Nothing) => continue,
            Ok(Line::Other(_)) => "other".into(),
            Ok(Line::Lost(..)) => "lost".into(),
            Err(why) => format!("error: {why}"),
        });
    }
    said
}

fn shown(record: &Record) -> String {
    let identity = &record.identity;
    let service = match identity.service {
        Service::None => "-".into(),
        Service::Port(port) => port.to_string(),
        Service::Icmp(icmp_type, code) => format!("{icmp_type}.{code}"),
    };
    let (protocol, source, destination) =
        (identity.protocol, identity.source, identity.destination);
    let (confirmed, connections) = (record.confirmed, record.connections);
    format!("{protocol} {source} {destination} {service} {confirmed} {connections}")
}

#[test]
fn zeek_as_a_table_and_as_json() {
    let table = "\
#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tconn
#open\t2026-11-26-18-00-00
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tbool\tbool\tcount\tstring\tcount\tcount\tcount\tcount\tset[string]
1795717457.379737\tC1\t10.0.0.1\t40001\t10.0.0.2\t443\ttcp\tssl\t1.500000\t1\t1\tSF\tT\tT\t0\tShAadfF\t6\t321\t4\t217\t-
1795717457.400000\tC2\t10.0.0.1\t40003\t10.0.0.2\t514\tudp\t-\t-\t-\t-\tS0\tT\tT\t0\tD\t1\t29\t0\t0\t-
1795717457.500000\tC3\t10.0.0.1\t8\t10.0.0.2\t0\ticmp\t-\t0.1\t56\t56\tOTH\tT\tT\t0\t-\t1\t84\t1\t84\t-
1795717457.600000\tC4\t10.0.0.2\t3\t10.0.0.1\t1\ticmp\t-\t-\t-\t-\tOTH\tT\tT\t0\t-\t1\t84\t0\t0\t-
1795717457.700000\tC5\t10.0.0.2\t443\t10.0.0.1\t40009\ttcp\t-\t-\t-\t-\tOTH\tT\tT\t0\tCc\t3\t84\t3\t84\t-
#close\t2026-11-26-19-00-00";
    let expected = [
        "tcp 10.0.0.1 10.0.0.2 443 true 1",
        "udp 10.0.0.1 10.0.0.2 514 false 1",
        "icmp 10.0.0.1 10.0.0.2 8.0 false 1",
        "tcp 10.0.0.2 10.0.0.1 40009 false 1",
    ];
    assert_eq!(said(table), expected);
    let json = r#"{"ts":1795717457.379737,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":40001,"id.resp_h":"10.0.0.2","id.resp_p":443,"proto":"tcp","duration":1.5,"conn_state":"SF","orig_pkts":6,"resp_pkts":4}
{"ts":"2026-11-26T18:24:17.379737Z","uid":"C2","id.orig_h":"fd00::1","id.orig_p":128,"id.resp_h":"fd00::2","id.resp_p":129,"proto":"icmp","conn_state":"SF","orig_pkts":1,"resp_pkts":1}
{"ts":1.5,"uid":"C3","id.orig_h":"10.0.0.1","id.orig_p":40001,"id.resp_h":"10.0.0.2","id.resp_p":53,"proto":"udp","query":"x"}"#;
    assert_eq!(
        said(json),
        [
            "tcp 10.0.0.1 10.0.0.2 443 true 1",
            "icmpv6 fd00::1 fd00::2 128.0 true 1",
            "other"
        ]
    );
    let line = json.lines().next().unwrap();
    let mut text = Text::default();
    let object = serde_json::from_str(line).unwrap();
    let Ok(Line::Flow(Program::Zeek, record)) = text.object(&object) else {
        panic!("{line}");
    };
    let times = [record.first_seen, record.last_seen].map(|time| time.unwrap().to_string());
    assert_eq!(
        times,
        ["2026-11-26T18:24:17.379737Z", "2026-11-26T18:24:18.879737Z"]
    );
}

#[test]
fn suricata() {
    let eve = r#"{"timestamp":"2026-11-26T18:24:18.000000+0000","flow_id":1,"event_type":"flow","src_ip":"10.0.0.1","src_port":40001,"dest_ip":"10.0.0.2","dest_port":443,"proto":"TCP","app_proto":"tls","flow":{"pkts_toserver":6,"pkts_toclient":4,"bytes_toserver":321,"bytes_toclient":217,"start":"2026-11-26T19:24:17.379737+0100","end":"2026-11-26T18:24:17.500000+0000","age":0,"state":"closed","reason":"timeout","alerted":false}}
{"event_type":"flow","src_ip":"10.0.0.1","src_port":40003,"dest_ip":"10.0.0.2","dest_port":514,"proto":"UDP","flow":{"pkts_toserver":1,"pkts_toclient":0,"start":"2026-11-26T18:24:17.379737+0000","state":"new"}}
{"event_type":"flow","src_ip":"fd00::1","dest_ip":"fd00::2","proto":"IPv6-ICMP","icmp_type":128,"icmp_code":0,"response_icmp_type":129,"response_icmp_code":0,"flow":{"pkts_toserver":1,"pkts_toclient":1}}
{"event_type":"netflow","src_ip":"10.0.0.2","src_port":443,"dest_ip":"10.0.0.1","dest_port":40001,"proto":"TCP","netflow":{"pkts":4,"bytes":217,"start":"2026-11-26T18:24:17.379737+0000"}}
{"event_type":"dns","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","proto":"UDP"}
{"event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","proto":"TCP","src_port":1,"dest_port":2}"#;
    assert_eq!(
        said(eve),
        [
            "tcp 10.0.0.1 10.0.0.2 443 true 1",
            "udp 10.0.0.1 10.0.0.2 514 false 1",
            "icmpv6 fd00::1 fd00::2 128.0 true 1",
            "-> tcp 10.0.0.2 10.0.0.1 40001 false 1",
            "other",
            "error: Malformed(\"flow is missing\")",
        ]
    );
    let object = serde_json::from_str(eve.lines().next().unwrap()).unwrap();
    let Ok(Line::Flow(_, record)) = Text::default().object(&object) else {
        panic!("a flow");
    };
    assert_eq!(
        record.first_seen.unwrap().to_string(),
        "2026-11-26T18:24:17.379737Z"
    );
}

#[test]
fn ulogd2_as_json_and_in_its_log() {
    let json = r#"{"timestamp": "2026-11-26T18:24:18", "dvc": "Netfilter", "orig.ip.protocol": 17, "orig.l4.sport": 40003, "orig.l4.dport": 514, "orig.raw.pktlen": 29, "orig.raw.pktcount": 1, "reply.ip.protocol": 17, "reply.l4.sport": 514, "reply.l4.dport": 40003, "reply.raw.pktlen": 0, "reply.raw.pktcount": 0, "ct.mark": 0, "ct.id": 2076601991, "ct.event": 4, "flow.start.sec": 1795717457, "flow.start.usec": 385762, "flow.end.sec": 1795717458, "flow.end.usec": 562441, "oob.family": 2, "oob.protocol": 0, "src_ip": "10.99.0.1", "dest_ip": "10.99.0.2", "reply.ip.saddr.str": "10.99.0.2", "reply.ip.daddr.str": "10.99.0.1"}
{"timestamp": "2026-11-26T18:24:18", "dvc": "Netfilter", "orig.ip.protocol": 1, "orig.raw.pktlen": 84, "orig.raw.pktcount": 1, "reply.ip.protocol": 1, "reply.raw.pktlen": 84, "reply.raw.pktcount": 1, "icmp.code": 0, "icmp.type": 8, "ct.event": 4, "oob.family": 2, "oob.protocol": 0, "src_ip": "10.99.0.1", "dest_ip": "10.99.0.2", "reply.ip.saddr.str": "10.99.0.2", "reply.ip.daddr.str": "10.99.0.1"}
{"timestamp": "2026-11-26T18:24:18", "dvc": "Netfilter", "oob.family": 2, "oob.prefix": "DROP", "src_ip": "10.99.0.1", "dest_ip": "10.99.0.2"}"#;
    assert_eq!(
        said(json),
        [
            "udp 10.99.0.1 10.99.0.2 514 false 1",
            "icmp 10.99.0.1 10.99.0.2 8.0 true 1",
            "other"
        ]
    );
    let log = "\
Nov 26 18:24:17 vm [NEW] ORIG: SRC=10.99.0.1 DST=10.99.0.2 PROTO=TCP SPT=40001 DPT=443 PKTS=0 BYTES=0 , REPLY: SRC=10.99.0.2 DST=10.99.0.1 PROTO=TCP SPT=443 DPT=40001 PKTS=0 BYTES=0
Nov 26 18:24:17 vm [NEW] ORIG: SRC=10.99.0.1 DST=10.99.0.2 PROTO=ICMP TYPE=0 CODE=8 PKTS=0 BYTES=0 , REPLY: SRC=10.99.0.2 DST=10.99.0.1 PROTO=ICMP TYPE=0 CODE=8 PKTS=0 BYTES=0
Nov 26 18:24:18 vm [DESTROY] ORIG: SRC=10.99.0.1 DST=10.99.0.2 PROTO=TCP SPT=40001 DPT=443 PKTS=6 BYTES=321 , REPLY: SRC=10.99.0.2 DST=10.99.0.1 PROTO=TCP SPT=443 DPT=40001 PKTS=4 BYTES=217
Nov 26 18:24:18 vm [DESTROY] ORIG: SRC=fd99::1 DST=fd99::2 PROTO=58 PKTS=1 BYTES=104 , REPLY: SRC=fd99::2 DST=fd99::1 PROTO=58 PKTS=1 BYTES=104
Nov 26 18:24:18 vm [DESTROY] ORIG: SRC=10.99.0.1 DST=10.99.0.2 PROTO=TCP SPT=40001 DPT=443 PKTS=6 BYTES=321 , REPLY: SRC=10.99.0.2 DST=10.99.0.1 PROTO=TCP SPT=443 DPT=40001 PKTS=4";
    assert_eq!(
        said(log),
        [
            "tcp 10.99.0.1 10.99.0.2 443 false 1",
            "icmp 10.99.0.1 10.99.0.2 - false 1",
            "tcp 10.99.0.1 10.99.0.2 443 true 0",
            "icmpv6 fd99::1 fd99::2 - true 0",
            "error: PKTS= is missing",
        ]
    );
}

#[test]
fn nfdump_as_csv_and_as_json() {
    let csv = "\
ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das
2026-11-26 18:23:54,2026-11-26 18:23:54,0.000,10.99.0.1,10.99.0.2,40001,443,TCP,...AP.SF,0,0,6,321,0,0,0,0,0,0
2026-11-26 18:23:54,2026-11-26 18:23:54,0.000,10.99.0.2,10.99.0.1,443,40001,TCP,...AP.SF,0,0,4,217,0,0,0,0,0,0
2026-11-26 18:23:54,2026-11-26 18:23:54,0.000,10.99.0.1,10.99.0.2,0,2048,ICMP,........,0,0,1,84,0,0,0,0,0,0
2026-11-26 18:23:54,2026-11-26 18:23:54,0.000,fd99::1,fd99::2,0,32768,ICMP6,........,0,0,1,104,1,104,0,0,0,0
Summary
flows,bytes,packets,avg_bps,avg_pps,avg_bpp
9,1001,17,72800,154,58";
    let expected = [
        "-> tcp 10.99.0.1 10.99.0.2 443 false 1",
        "-> tcp 10.99.0.2 10.99.0.1 40001 false 1",
        "-> icmp 10.99.0.1 10.99.0.2 8.0 false 1",
        "-> icmpv6 fd99::1 fd99::2 128.0 true 1",
    ];
    assert_eq!(said(csv), expected);
    let newer = "\
firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,bps,bpp,flows
2026-11-26 18:23:54.131,0.000,TCP,10.99.0.1,40001,10.99.0.2,443,6,321,0,53,1
2026-11-26 18:23:54.131,0.000,ICMP,10.99.0.1,0,10.99.0.2,8.0,1,84,0,84,1";
    assert_eq!(said(newer), [expected[0], expected[2]]);
    let json = r#"[
{
	"type" : "FLOW",
	"sampled" : 0,
	"export_sysid" : 0,
	"first" : "2026-11-26T18:23:54.131",
	"in_packets" : 6,
	"proto" : 6,
	"tcp_flags" : "...AP.SF",
	"src_port" : 40001,
	"dst_port" : 443,
	"src4_addr" : "10.99.0.1",
	"dst4_addr" : "10.99.0.2",
	"label" : "<none>"
},
{
	"type" : "FLOW",
	"export_sysid" : 0,
	"in_packets" : 1,
	"out_packets" : 1,
	"proto" : 58,
	"icmp_type" : 128,
	"icmp_code" : 0,
	"src6_addr" : "fd99::1",
	"dst6_addr" : "fd99::2"
}]"#;
    assert_eq!(said(json), [expected[0], expected[3]]);
}

#[test]
fn flow_logs_of_aws() {
    let default = "\
version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status
2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK
2 123456789010 eni-1235b8ca123456789 172.31.9.69 172.31.9.12 49761 3389 6 20 4249 1418530010 1418530070 REJECT OK
2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA
2 123456789010 eni-11111111aaaaaaaaa - - - - - - - 1431280876 1431280934 - SKIPDATA";
    let expected = [
        "-> tcp 172.31.16.139 172.31.16.21 22 false 1",
        "tcp 172.31.9.69 172.31.9.12 3389 false 1",
        "lost",
    ];
    assert_eq!(said(default), expected);
    // Without its header.
    assert_eq!(said(default.split_once('\n').unwrap().1), expected);
    let custom = "\
version vpc-id instance-id type srcaddr dstaddr srcport dstport pkt-srcaddr pkt-dstaddr protocol bytes packets start end action tcp-flags log-status
3 vpc-1 i-1 IPv4 10.0.0.5 10.0.0.220 40001 443 10.0.1.5 203.0.113.5 6 568 8 1566848875 1566848933 ACCEPT 2 OK
5 vpc-1 - IPv4 10.0.0.5 10.0.0.220 0 0 - - 1 568 8 1566848875 1566848933 ACCEPT 0 OK";
    assert_eq!(
        said(custom),
        [
            "-> tcp 10.0.1.5 203.0.113.5 443 false 1",
            "-> icmp 10.0.0.5 10.0.0.220 - false 1"
        ]
    );
}

#[test]
fn other_json_is_named() {
    for (object, name) in [
        (
            r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":"tcp 6"}"#,
            "journald",
        ),
        (
            r#"{"log":"tcp 6\n","stream":"stdout","time":"x"}"#,
            "Docker",
        ),
        (r#"{"nftables":[]}"#, "nft -j"),
        (r#"{"records":[{"time":"x"}]}"#, "Azure"),
        (r#"{"timestamp":"1","layers":{}}"#, "tshark -T ek"),
        (
            r#"{"event_type":"purge","ip_src":"10.0.0.1","packets":1}"#,
            "a program that is not known",
        ),
        (r#"{"a":1}"#, "no flow"),
    ] {
        let object = serde_json::from_str(object).unwrap();
        let Err(Foreign::Unknown(what)) = Text::default().object(&object) else {
            panic!("{object:?}");
        };
        assert!(what.contains(name), "{what}");
    }
}

#[test]
fn damage_is_named() {
    for (object, why) in [
        (
            r#"{"id.orig_h":"10.0.0.1","conn_state":"SF"}"#,
            "id.resp_h is missing",
        ),
        (
            r#"{"id.orig_h":"x","id.resp_h":"10.0.0.1","conn_state":"SF","proto":"tcp"}"#,
            "id.orig_h \"x\" can't",
        ),
        (
            r#"{"orig.ip.protocol":6,"src_ip":"10.0.0.1","dest_ip":"::1"}"#,
            "address family",
        ),
        (
            r#"{"orig.ip.protocol":6,"src_ip":"10.0.0.1","dest_ip":"10.0.0.2"}"#,
            "ports are missing",
        ),
        (
            r#"{"in_packets":1,"src4_addr":"10.0.0.1","dst4_addr":"10.0.0.2"}"#,
            "proto is missing",
        ),
    ] {
        let object = serde_json::from_str(object).unwrap();
        let Err(Foreign::Malformed(error)) = Text::default().object(&object) else {
            panic!("{object:?}");
        };
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(Protocol::parse("IPv6-ICMP"), Some(Protocol::ICMPV6));
}
