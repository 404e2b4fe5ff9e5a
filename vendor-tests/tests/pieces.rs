//! Pieces of something: halves of flows, sums over flows, documents that were cut, differences. Each is read as no more than
//! it says.

use vendor_tests::files::on;
use vendor_tests::said::{NFDUMP, row, says, shown};
use vendor_tests::temp::Folder;

const ENTRY: &str = "tcp 6 100 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] mark=0 use=1";
const FLOW: &str = "tcp 192.0.2.10 198.51.100.5 443 true 1";
const OTHER: &str = "udp 17 30 src=192.0.2.11 dst=198.51.100.53 sport=40002 dport=53 [UNREPLIED] src=198.51.100.53 dst=192.0.2.11 sport=53 dport=40002 mark=0 use=1";

#[test]
fn packets_that_are_hours_apart_are_no_answer() {
    let (a, b) = (("192.0.2.1", "5060"), ("198.51.100.1", "5060"));
    let there = row(a, b, "UDP", 3);
    let back = |time: &str| row(b, a, "UDP", 3).replace("2026-11-26 10:00", time);
    let answered = "udp 192.0.2.1 198.51.100.1 5060 true 1";
    let unanswered = [
        "udp 192.0.2.1 198.51.100.1 5060 false 1",
        "udp 198.51.100.1 192.0.2.1 5060 false 1",
    ];
    let both = |time: &str| format!("{NFDUMP}\n{there}{}", back(time));
    says(&both("2026-11-26 10:03"), &[answered], 0);
    says(&both("2026-11-26 15:00"), &unanswered, 0);
    // A long record that reaches up to the answer.
    let long = there.replace("10:00:02", "14:59:58");
    says(
        &format!("{NFDUMP}\n{long}{}", back("2026-11-26 15:00")),
        &[answered],
        0,
    );
    // One exchange among packets of other days.
    let days =
        ["2026-11-24 10:00", "2026-11-28 10:00"].map(|day| there.replace("2026-11-26 10:00", day));
    let text = format!(
        "{NFDUMP}\n{}{}{there}{}",
        days[0],
        days[1],
        back("2026-11-26 10:00")
    );
    says(&text, &[answered], 0);
    let text = format!(
        "{NFDUMP}\n{}{}{}",
        days[0],
        days[1],
        back("2026-11-26 10:00")
    );
    says(&text, &unanswered, 0);
    // The two minutes of a flow log.
    let log = |from: &str, to: &str, start: u32| {
        format!(
            "2 123456789010 eni-1 {from} {to} 5060 5060 17 20 4249 {start} {} ACCEPT OK\n",
            start + 60
        )
    };
    let (first, second) = (log(a.0, b.0, 1_795_692_140), log(b.0, a.0, 1_795_692_141));
    says(&format!("{first}{second}"), &[answered], 0);
    says(
        &format!("{first}{}", log(b.0, a.0, 1_795_792_140)),
        &unanswered,
        0,
    );
}

#[test]
fn a_record_that_stands_the_wrong_way_round_is_no_answered_flow() {
    let both = |from, to| row(from, to, "TCP", 3).replace(",3,252,0,0", ",3,252,5,500");
    let (client, server) = (("192.0.2.1", "40000"), ("198.51.100.1", "443"));
    let flow = "tcp 192.0.2.1 198.51.100.1 443 true 1";
    says(&format!("{NFDUMP}\n{}", both(client, server)), &[flow], 0);
    let flow = "tcp 198.51.100.1 192.0.2.1 40000 false 1";
    says(&format!("{NFDUMP}\n{}", both(server, client)), &[flow], 0);
}

#[test]
fn sums_over_ports_or_protocols_are_no_flows() {
    let (a, b) = ("192.0.2.1", "198.51.100.1");
    let whole = row((a, "40000"), (b, "80"), "TCP", 3);
    let flow = "tcp 192.0.2.1 198.51.100.1 80 false 1";
    for sum in [
        row((a, "0"), (b, "0"), "0", 3),
        row((a, "0"), (b, "443"), "TCP", 3),
        row((a, "0"), (b, "0"), "UDP", 3),
    ] {
        let stderr = says(&format!("{NFDUMP}\n{whole}{sum}{sum}"), &[flow], 3);
        assert_eq!(stderr.matches("summed up").count(), 1, "{stderr}");
    }
}

#[test]
fn what_suricata_tells_twice_is_one_connection() {
    let flow = r#"{"event_type":"flow","src_ip":"192.0.2.1","dest_ip":"198.51.100.1","src_port":40000,"dest_port":443,"proto":"TCP","flow":{"pkts_toserver":5,"pkts_toclient":5}}"#;
    let one = r#"{"event_type":"netflow","src_ip":"192.0.2.1","dest_ip":"198.51.100.1","src_port":40000,"dest_port":443,"proto":"TCP","netflow":{"pkts":5,"start":"2026-11-26T11:00:00.000000+0000"}}"#;
    let other = r#"{"event_type":"netflow","src_ip":"198.51.100.1","dest_ip":"192.0.2.1","src_port":443,"dest_port":40000,"proto":"TCP","netflow":{"pkts":5,"start":"2026-11-26T11:00:00.100000+0000"}}"#;
    let answered = ["tcp 192.0.2.1 198.51.100.1 443 true 1"];
    says(&format!("{flow}\n{one}\n{other}\n"), &answered, 0);
    says(&format!("{one}\n{other}\n"), &answered, 0);
}

#[test]
fn documents_that_were_cut_are_told() {
    let object = r#"{"type":"FLOW","export_sysid":1,"proto":6,"src4_addr":"192.0.2.1","dst4_addr":"198.51.100.1","src_port":40000,"dst_port":443,"in_packets":3}"#;
    let flow = ["tcp 192.0.2.1 198.51.100.1 443 false 1"];
    for whole in [
        format!("[\n{object}\n]\n"),
        format!("[{object}]\n"),
        format!("[\n{object}\n,\n{object}\n]\n"),
        format!("[\n{}\n]\n", object.replace('{', "{\n").replace('}', "\n}")),
        format!("{object}\n"),
    ] {
        says(&whole, &flow, 0);
    }
    for cut in [
        format!("[\n{object},\n"),
        format!("[\n{object}\n,\n"),
        format!("{object}]\n"),
        format!("[{object}\n"),
    ] {
        says(&cut, &flow, 3);
    }
    let xml = "<flow><meta direction=\"original\"><layer3 protonum=\"2\"><src>192.0.2.1</src><dst>198.51.100.1</dst></layer3><layer4 protonum=\"6\"><sport>40000</sport><dport>443</dport></layer4></meta><meta direction=\"reply\"><layer3 protonum=\"2\"><src>198.51.100.1</src><dst>192.0.2.1</dst></layer3><layer4 protonum=\"6\"><sport>443</sport><dport>40000</dport></layer4></meta><meta direction=\"independent\"><unreplied/></meta></flow>";
    let begin = "<?xml version=\"1.0\"?>\n<conntrack>\n";
    let document = format!("{begin}{xml}\n</conntrack>\n");
    let one = ["tcp 192.0.2.1 198.51.100.1 443 false 1"];
    let two = ["tcp 192.0.2.1 198.51.100.1 443 false 2"];
    says(&document, &one, 0);
    says(&format!("{document}{document}"), &two, 0);
    says(&format!("{begin}{xml}\n{document}"), &two, 3);
    says(&format!("{xml}\n</conntrack>\n{document}"), &two, 3);
    // The last cell of a table.
    let web = row(("192.0.2.1", "40000"), ("198.51.100.1", "443"), "TCP", 3);
    says(&format!("{NFDUMP}\n{}", web.trim_end()), &one, 3);
}

#[test]
fn a_file_that_says_nothing_is_no_empty_capture() {
    for nothing in [
        "\n\n",
        "\u{feff}",
        " \t\n",
        "<?xml version=\"1.0\"?>\n",
        "#separator \\x09\n",
    ] {
        says(nothing, &[], 1);
    }
    for empty in [
        "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n",
        "<?xml version=\"1.0\"?>\n<conntrack>\n</conntrack>\n",
        "#separator \\x09\n#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\torig_pkts\tresp_pkts\n",
        &format!("{NFDUMP}\n"),
    ] {
        says(empty, &[], 0);
    }
    let folder = Folder::new();
    let path = vendor_tests::files::file(&folder, "one.txt", format!("{ENTRY}\n"));
    let header: String = on("show --format csv", &[&path]).list();
    let header = header.lines().next().expect("a header").to_owned() + "\n";
    says(&header, &[], 0);
}

#[test]
fn events_in_other_spellings_are_not_taken_for_entries() {
    for event in [
        "DESTROY: ",
        "(NEW) ",
        "Destroy ",
        "<DESTROY> ",
        "[destroy] ",
        "\"[DESTROY]\" ",
        "x[DESTROY] gw ",
        "NEW| ",
        "12: Update - ",
    ] {
        says(&format!("{event}{ENTRY}\n"), &[], 1);
    }
}

#[test]
fn what_a_difference_says_is_gone_is_no_flow() {
    for gone in ["12:- ", "> - ", " | - ", "+- ", "f.txt:7:- ", "- ", "< "] {
        says(&format!("{gone}{ENTRY}\n"), &[], 1);
    }
    // diff --side-by-side: on the left only, and another entry on the right.
    says(&format!("{ENTRY}     <\n"), &[], 1);
    says(&format!("{ENTRY}   | {OTHER}\n"), &[], 1);
    // Two entries on a line, of which the second is no entry any more.
    for sign in ["# ", "- ", "- [DESTROY] "] {
        says(&format!("{ENTRY} {sign}{OTHER}\n"), &[], 1);
    }
    let both = [FLOW, "udp 192.0.2.11 198.51.100.53 53 false 1"];
    for prefix in ["", "Nov 26 10:00:01 gw1 conntrack[812]: ", "<30>"] {
        says(&format!("{ENTRY} {prefix}{OTHER}\n"), &both, 0);
    }
    // What syslog has where something is not known.
    says(
        &format!("<30>1 2026-11-26T11:22:20Z gw1 conntrack 812 - - {ENTRY}\n"),
        &[FLOW],
        0,
    );
}

#[test]
fn cells_that_contradict_each_other_refuse_their_row() {
    let header = "protocol,src,src_port,src_port_collapsed,dst,dst_port,icmp_type,icmp_code,confirmed,first_seen,last_seen,dnat_address,dnat_port\n";
    says(
        &format!("{header}tcp,192.0.2.1,1024,true,198.51.100.1,443,,,true,,,,\n"),
        &["tcp 192.0.2.1 198.51.100.1 443 true 1"],
        0,
    );
    for row in [
        "tcp,192.0.2.1,40000,true,198.51.100.1,443,,,true,,,,",
        "tcp,192.0.2.1,1024,true,198.51.100.1,443,8,0,true,,,,",
        "tcp,192.0.2.1,1024,true,198.51.100.1,443,,,true,,,,8443",
        "tcp,192.0.2.1,1024,true,198.51.100.1,443,,,true,2026-11-27 11:22:20,2026-11-26 11:22:20,,",
        "icmp,192.0.2.1,,,198.51.100.1,,8,,true,,,,",
        "icmpv6,192.0.2.1,,,198.51.100.1,,128,0,true,,,,",
        "tcp,192.0.2.1,+1024,true,198.51.100.1,443,,,true,,,,",
    ] {
        says(&format!("{header}{row}\n"), &[], 1);
    }
}

#[test]
fn recordings_that_lack_something_say_so() {
    let folder = Folder::new();
    let message = |kind: u16, flags: u16| {
        let mut message = 16_u32.to_le_bytes().to_vec();
        message.extend_from_slice(&kind.to_le_bytes());
        message.extend_from_slice(&flags.to_le_bytes());
        message.extend_from_slice(&[0; 8]);
        message
    };
    let recording = |datagrams: &[Vec<u8>]| {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 253] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        for datagram in datagrams {
            let len = u32::try_from(16 + datagram.len()).expect("short");
            for word in [1_795_692_140, 0, len, len] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            // Cooked: from the kernel, ARPHRD_NETLINK, family NETLINK_NETFILTER.
            file.extend_from_slice(&[0, 4, 3, 56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
            file.extend_from_slice(datagram);
        }
        file
    };
    // A batch of nftables, and a list of the table that was interrupted (NLM_F_DUMP_INTR).
    for (name, datagrams) in [
        ("none", vec![message(0x0a00, 0)]),
        ("interrupted", vec![message(0x0100, 0x10)]),
    ] {
        let path = vendor_tests::files::file(&folder, name, recording(&datagrams));
        let (_, code, stderr) = shown(&path);
        assert_eq!(code, Some(3), "{name}: {stderr}");
    }
}

#[test]
fn what_conntrack_says_to_have_shown_is_held_against_what_is_there() {
    let shown = |count: u32, what: &str| {
        format!("conntrack v1.4.7 (conntrack-tools): {count} flow {what} have been shown.\n")
    };
    says(&format!("{ENTRY}\n{}", shown(1, "entries")), &[FLOW], 0);
    says(&format!("{ENTRY}\n{}", shown(3, "entries")), &[FLOW], 3);
    says(&format!("{}{ENTRY}\n", shown(17, "events")), &[FLOW], 3);
    says(&shown(412, "entries"), &[], 3);
    // A line of the C tool's list that belongs to a flow which is not there.
    says(
        "\t\ttable: mangle, chain: OUTPUT, type: rule, position: 0\n",
        &[],
        1,
    );
}

#[test]
fn what_was_dropped_or_never_came_answers_nothing() {
    let (client, server) = (("192.0.2.1", "40000"), ("198.51.100.1", "443"));
    let asked = row(client, server, "TCP", 3);
    let dropped = row(server, client, "TCP", 3).replace(",..,0,", ",..,130,");
    let unanswered = "tcp 192.0.2.1 198.51.100.1 443 false 1";
    let listed = ["tcp 198.51.100.1 192.0.2.1 40000 false 1", unanswered];
    let mut listed = listed.to_vec();
    listed.sort_unstable();
    says(&format!("{NFDUMP}\n{asked}{dropped}"), &listed, 0);
    let log = |from: &str, to: &str, ports: &str, packets: u32| {
        format!("2 1 eni-1 {from} {to} {ports} 6 {packets} 840 1700000000 1700000060 ACCEPT OK\n")
    };
    let request = log(client.0, server.0, "40000 443", 10);
    let nothing = log(server.0, client.0, "443 40000", 0);
    says(&format!("{request}{nothing}"), &[unanswered], 0);
    says(&log(client.0, server.0, "0 0", 10), &[], 1);
    let fields = "#separator \\x09\n#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\torig_pkts\tresp_pkts\n";
    for (state, is_answered) in [
        ("SF", true),
        ("REJ", true),
        ("S0", false),
        ("SH", false),
        ("RSTOS0", false),
        ("OTH", false),
        ("FOO", false),
    ] {
        let line = format!("1.5\t192.0.2.1\t40000\t198.51.100.1\t443\ttcp\t{state}\t2\t2\n");
        let flow = format!("tcp 192.0.2.1 198.51.100.1 443 {is_answered} 1");
        says(&format!("{fields}{line}"), &[&flow], 0);
    }
    let more = "1.5\t192.0.2.1\t40000\t198.51.100.1\t443\ttcp\tSF\t2\t2\t9\n";
    says(&format!("{fields}{more}"), &[], 1);
    let echo = |response: u8| {
        format!(
            r#"{{"event_type":"flow","src_ip":"192.0.2.1","dest_ip":"198.51.100.1","proto":"ICMP","icmp_type":8,"icmp_code":0,"response_icmp_type":{response},"response_icmp_code":0,"flow":{{"pkts_toserver":1,"pkts_toclient":1}}}}"#
        ) + "\n"
    };
    says(&echo(0), &["icmp 192.0.2.1 198.51.100.1  true 1"], 0);
    says(&echo(3), &["icmp 192.0.2.1 198.51.100.1  false 1"], 0);
    // Sums over addresses, and what a spreadsheet makes of "8.0".
    for sum in [
        row(("0.0.0.0", "40000"), server, "TCP", 3),
        row(client, ("0.0.0.0", "443"), "TCP", 3),
    ] {
        says(&format!("{NFDUMP}\n{asked}{sum}"), &[unanswered], 3);
    }
    let leased = row(("0.0.0.0", "68"), ("255.255.255.255", "67"), "UDP", 3);
    says(
        &format!("{NFDUMP}\n{leased}"),
        &["udp 0.0.0.0 255.255.255.255 67 false 1"],
        0,
    );
    let ping = row(("192.0.2.1", "0"), ("198.51.100.1", "8"), "ICMP", 3);
    says(&format!("{NFDUMP}\n{ping}"), &[], 1);
    // ICMP of the other family.
    let v6 = "icmpv6   58 29 src=10.0.0.1 dst=10.0.0.2 type=128 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=129 code=0 id=7 mark=0 use=1\n";
    says(v6, &[], 1);
}
