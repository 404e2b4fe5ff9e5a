//! What people paste: each is read as what it says, or refused, and never as something else.

use vendor_tests::files::{file, on};
use vendor_tests::said::{NFDUMP, row, says};
use vendor_tests::temp::Folder;

const TCP: &str = "tcp 192.0.2.10 198.51.100.5 443 true 1";
const UDP: &str = "udp 192.0.2.11 198.51.100.53 53 false 1";
const TABLE: &str = "tcp      6 431999 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] mark=0 use=1";
const UNREPLIED: &str = "udp      17 29 src=192.0.2.11 dst=198.51.100.53 sport=40002 dport=53 [UNREPLIED] src=198.51.100.53 dst=192.0.2.11 sport=53 dport=40002 mark=0 use=1";

#[test]
fn events_behind_a_date_are_one_connection() {
    let events = [
        "    [NEW] tcp      6 120 SYN_SENT src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 [UNREPLIED] src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001",
        " [UPDATE] tcp      6 60 SYN_RECV src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001",
        "[DESTROY] tcp      6 src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED]",
    ];
    for prefix in [
        "[2026-11-26 11:22:20] ",
        "[Thu Nov 26 11:22:20 2026] ",
        "",
        "Nov 26 10:00:01 gw1 conntrack[812]: ",
        "Nov 06 10:00:01 ",
        "Nov 17 10:00:01 ",
        "17:14:21 ",
        "<30>Nov 26 11:22:20 gw1 conntrack[812]: ",
        "events.log:3:",
    ] {
        let text: String = events.map(|event| format!("{prefix}{event}\n")).concat();
        says(&text, &[TCP], 0);
    }
}

#[test]
fn the_logger_of_vyos_writes_an_identifier_behind_the_event() {
    let text = "\
Jul 16 12:54:54 vyos-conntrack-logger[9387]: [NEW]     1411737613 udp      17 30 src=192.0.2.11 dst=198.51.100.53 sport=17500 dport=53 [UNREPLIED] src=198.51.100.53 dst=192.0.2.11 sport=53 dport=17500
Jul 16 12:55:12 vyos-conntrack-logger[9387]: [NEW]     2800357913 tcp      6 120 SYN_SENT src=192.0.2.10 dst=198.51.100.5 sport=38854 dport=443 [UNREPLIED] src=198.51.100.5 dst=192.0.2.10 sport=443 dport=38854
Jul 17 12:55:12 vyos-conntrack-logger[9387]: [DESTROY] 2800357913 tcp      6 120 CLOSE src=192.0.2.10 dst=198.51.100.5 sport=38854 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=38854 start=1721134512551045816 stop=1721134512551109629 delta=6.4e-05
";
    says(text, &[TCP, UDP], 0);
}

#[test]
fn found_by_grep() {
    let proc = "ipv4     2 tcp      6 431999 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 packets=10 bytes=1000 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 packets=9 bytes=900 [ASSURED] mark=0 zone=0 use=2";
    let v6 = "ipv6     10 tcp      6 431999 ESTABLISHED src=2001:0db8:0000:0000:0000:0000:0000:0001 dst=2001:0db8:0000:0000:0000:0000:0000:0002 sport=40001 dport=443 packets=10 bytes=1000 src=2001:0db8:0000:0000:0000:0000:0000:0002 dst=2001:0db8:0000:0000:0000:0000:0000:0001 sport=443 dport=40001 packets=9 bytes=900 [ASSURED] mark=0 zone=0 use=2";
    let text = format!("proc.txt:{proc}\nproc.txt:{v6}\n");
    says(&text, &[TCP, "tcp 2001:db8::1 2001:db8::2 443 true 1"], 0);
    // With its colours, which it also puts around the mark that was looked for.
    let coloured = format!("\x1b[32mtcp\x1b[0m{}\n", TABLE.strip_prefix("tcp").unwrap());
    says(&coloured, &[TCP], 0);
    for colour in [
        "\x1b[01;31m\x1b[K[UNREPLIED]\x1b[m\x1b[K",
        "\x1b[31m[UNREPLIED]\x1b[0m",
        "[\x1b[1mUNREPLIED\x1b[0m]",
    ] {
        let coloured = UNREPLIED.replacen("[UNREPLIED]", colour, 1);
        says(&format!("{coloured}\n"), &[UDP], 0);
    }
    let named = format!(
        "\x1b[35m\x1b[Kx.txt\x1b[m\x1b[K\x1b[36m\x1b[K:\x1b[m\x1b[K\x1b[32m\x1b[K7\x1b[m\x1b[K\x1b[36m\x1b[K:\x1b[m\x1b[K{TABLE}\n"
    );
    says(&named, &[TCP], 0);
}

#[test]
fn other_control_characters_refuse_the_line() {
    for bad in [
        "tcp 6 1 X src=\x1b]0;title\x07\x1b[2J dst=192.0.2.1",
        "[1\x1b[2J.5] tcp",
        "[\x1b[31mNEW] tcp 6 src=1",
    ] {
        says(&format!("{bad}\n"), &[], 1);
    }
    for control in [
        "\x1b[2J",
        "\x07",
        "\x08",
        "\u{9b}31m",
        "\u{202e}",
        "\x1b[1;1H",
    ] {
        let text = TABLE.replacen("ESTABLISHED", &format!("{control}ESTABLISHED"), 1);
        says(&format!("{text}\n"), &[], 1);
        says(&format!("{text}\n{UNREPLIED}\n"), &[UDP], 3);
    }
}

#[test]
fn what_says_that_nobody_answered_is_not_confirmed() {
    let zero = "ipv4     2 udp      17 29 src=192.0.2.11 dst=198.51.100.53 sport=49633 dport=53 packets=4 bytes=4800 src=198.51.100.53 dst=203.0.113.11 sport=53 dport=61001 packets=0 bytes=0 mark=0 nmark=256 sc=0 attrs= use=2\n";
    says(zero, &[UDP], 0);
    let waiting = TABLE.replacen("ESTABLISHED", "SYN_SENT", 1);
    says(
        &format!("{waiting}\n"),
        &["tcp 192.0.2.10 198.51.100.5 443 false 1"],
        0,
    );
    let bare = UNREPLIED.replacen("[UNREPLIED]", "UNREPLIED", 1);
    says(&format!("{bare}\n"), &[], 1);
}

#[test]
fn entries_on_one_line() {
    says(&format!("{TABLE} {UNREPLIED}\n"), &[TCP, UDP], 0);
    says(&format!("{TABLE}\r{UNREPLIED}\r"), &[TCP, UDP], 0);
    says(&format!("{TABLE}\r\n{UNREPLIED}\r\n"), &[TCP, UDP], 0);
    says(&format!("{TABLE}{UNREPLIED}\n"), &[], 1);
}

#[test]
fn lists_of_later_versions_of_the_c_tool() {
    let traced = "\
 TCPv4 [           0] src = 192.0.2.10 (port=1024) to dst = 198.51.100.5 (port=443) (confirmed)
                                table: mangle, chain: OUTPUT, type: rule, position: 0
                                table: filter, chain: OUTPUT, type: policy
 UDPv4 [           0] src = 192.0.2.11 (port=1024) to dst = 198.51.100.53 (port=53)
";
    says(
        traced,
        &[
            "tcp 192.0.2.10 198.51.100.5 443 true 0",
            "udp 192.0.2.11 198.51.100.53 53 false 0",
        ],
        0,
    );
    let directions = "\
 TCPv4 [           0] src = 192.0.2.10 (port=46660) to dst = 198.51.100.5 (port=443) (-)
 TCPv4 [           1] src = 198.51.100.5 (port=443) to dst = 192.0.2.10 (port=46660) (-)
 UDPv4 [           0] src = 192.0.2.11 (port=57341) to dst = 198.51.100.53 (port=53) (nc,pid:5042,uid:user)
\t\t\t\ttable: filter, chain: OUTPUT, type: policy
ICMPv4 [           0] src = 192.0.2.12 to dst = 198.51.100.4 (type=0 | code=0)
";
    let flows = [
        "tcp 192.0.2.10 198.51.100.5 443 true 0",
        "udp 192.0.2.11 198.51.100.53 53 false 0",
        "icmp 192.0.2.12 198.51.100.4  false 0",
    ];
    says(directions, &flows, 0);
}

#[test]
fn conntrack_says_itself_that_it_failed() {
    let failed = "conntrack v1.4.7 (conntrack-tools): Operation failed: sorry, you must be root or get CAP_NET_ADMIN capability to do this\n";
    let stderr = says(failed, &[], 1);
    assert!(stderr.contains("you must be root"), "{stderr}");
    let folder = Folder::new();
    let path = file(&folder, "failed", failed);
    for command in ["rules", "merge -o /dev/null"] {
        assert_eq!(on(command, &[&path]).code, Some(1), "{command}");
    }
    let lost = format!(
        "{UNREPLIED}\nWARNING: We have hit ENOBUFS! We are losing events.\nThis message means that the current netlink socket buffer size is too small.\nPlease, check --buffer-size in conntrack(8) manpage.\nconntrack v1.4.3 (conntrack-tools): Operation failed: No buffer space available\n"
    );
    says(&lost, &[UDP], 3);
}

#[test]
fn times_of_conntrack_before_1_4_2() {
    let text = "\
[1356000000.123456]\t    [NEW] tcp      6 120 SYN_SENT src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 [UNREPLIED] src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001
[1356000001.4711  ]\t [UPDATE] tcp      6 60 SYN_RECV src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001
";
    says(text, &[TCP], 0);
    let folder = Folder::new();
    let list = on("show --format csv", &[&file(&folder, "old", text)]).text();
    assert!(
        list.contains("2012-12-20T10:40:00.123456Z,2012-12-20T10:40:01.004711Z"),
        "{list}"
    );
    let since_start = file(&folder, "start", format!("[12.345678] {TABLE}\n"));
    let list = on("show --format csv", &[&since_start]).text();
    assert!(list.contains(",true,1,,,"), "{list}");
}

#[test]
fn pieces_of_mails_and_terminals() {
    let wrapped = "\
> ipv4     2 udp      17 29 src=3D192.0.2.2 dst=3D198.51.100.78 sport=3D53 dport=3D49469 [UNREPLIED] src=3D198.51.100.78 dst=3D192.0.2.2 sport=3D49469 dport=3D477 mark=3D0
> [NEW] sctp     132 3 src=192.0.2.50 dst=198.51.100.51 sport=57295
> dport=62324 [UNREPLIED] src=198.51.100.51 dst=192.0.2.50 sport=62324
> dport=57295
";
    says(wrapped, &[], 1);
    says(&format!("> {TABLE}\n>> {UNREPLIED}\n"), &[TCP, UDP], 0);
    says(&format!("```\n{TABLE}\n```\n"), &[TCP], 3);
    let prompt = format!(
        "root@gw:~# conntrack -L\n{TABLE}\nconntrack v1.4.6 (conntrack-tools): 1 flow entries have been shown.\nroot@gw:~# \n"
    );
    says(&prompt, &[TCP], 3);
    says(&format!("< {TABLE}\n> {UNREPLIED}\n"), &[UDP], 3);
}

#[test]
fn json_of_other_programs_is_named_once_and_never_an_empty_capture() {
    let journald = r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":"tcp 6 src=192.0.2.1"}"#;
    let stderr = says(&format!("{journald}\n{journald}\n{journald}\n"), &[], 1);
    assert_eq!(
        stderr.matches("journalctl -o short-iso").count(),
        1,
        "{stderr}"
    );
    assert!(stderr.contains("3 lines skipped"), "{stderr}");
    says(&format!("{journald}\n{TABLE}\n"), &[TCP], 3);
    for nothing in [
        "[]\n",
        "[\n]\n",
        "{}\n",
        "{\n}\n",
        "{\"type\":\"other\"}\n",
        "{\"event_type\":\"dns\",\"src_ip\":\"192.0.2.1\"}\n",
        "{\n\"in_packets\": 1,\n",
    ] {
        says(nothing, &[], 1);
    }
    // A type that a later version may have added, in a list of our own.
    says(
        "{\"type\":\"capture\",\"schema\":1}\n{\"type\":\"other\"}\n",
        &[],
        0,
    );
}

#[test]
fn what_is_no_answer_confirms_nothing() {
    let (a, b) = ("192.0.2.1", "198.51.100.1");
    // Errors and advertisements answer no echo request; another kind of request is another flow.
    let ping = row((a, "0"), (b, "8.0"), "ICMP", 3);
    let echo = "icmp 192.0.2.1 198.51.100.1  false 1";
    for (back, flows) in [
        (row((b, "0"), (a, "3.13"), "ICMP", 3), vec![echo]),
        (row((a, "0"), (b, "13.0"), "ICMP", 3), vec![echo, echo]),
        (
            row((b, "0"), (a, "0.0"), "ICMP", 3),
            vec!["icmp 192.0.2.1 198.51.100.1  true 1"],
        ),
    ] {
        says(&format!("{NFDUMP}\n{ping}{back}"), &flows, 0);
    }
    let asked = row((a, "40000"), (b, "443"), "TCP", 3);
    let nothing = row((b, "443"), (a, "40000"), "TCP", 0);
    let unanswered = "tcp 192.0.2.1 198.51.100.1 443 false 1";
    says(&format!("{NFDUMP}\n{asked}{nothing}"), &[unanswered], 0);

    // A mark that is glued to the word before, by a blank that is none.
    let icmp = "icmp     1 29 src=192.0.2.10 dst=198.51.100.5 type=8 code=0 id=77";
    let rest = "src=198.51.100.5 dst=192.0.2.10 type=0 code=0 id=77 mark=0 use=1";
    for glue in ["", "\u{a0}"] {
        says(&format!("{icmp}{glue}[UNREPLIED] {rest}\n"), &[], 1);
    }
    let half = "sctp     132 100 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED]";
    says(&format!("{half}\n"), &[], 1);

    let meta = |direction: &str, from: &str, to: &str, ports: (u16, u16)| {
        format!(
            "<meta direction=\"{direction}\"><layer3 protonum=\"2\" protoname=\"ipv4\"><src>{from}</src><dst>{to}</dst></layer3>\
             <layer4 protonum=\"6\" protoname=\"tcp\"><sport>{}</sport><dport>{}</dport></layer4></meta>",
            ports.0, ports.1
        )
    };
    let tuples = meta("original", a, b, (40001, 443)) + &meta("reply", b, a, (443, 40001));
    let flow = |rest: &str| {
        format!("<flow>{tuples}<meta direction=\"independent\">{rest}<id>1</id></meta></flow>\n")
    };
    says(&flow(""), &["tcp 192.0.2.1 198.51.100.1 443 true 1"], 0);
    for unreplied in [
        "<unreplied/>",
        "<unreplied></unreplied>",
        "<state> SYN_SENT </state>",
    ] {
        says(&flow(unreplied), &[unanswered], 0);
    }
    for odd in ["<!--<unreplied/>-->", "<UNREPLIED/>"] {
        says(&flow(odd), &[], 1);
    }
    says(&flow("").replace("<flow>", "<flow type='new'>"), &[], 1);
}

#[test]
fn what_is_lost_beside_a_flow_is_said() {
    let web = row(("192.0.2.1", "40000"), ("198.51.100.1", "80"), "TCP", 3);
    let flow = "tcp 192.0.2.1 198.51.100.1 80 false 1";
    let sums = "Summary\nflows,bytes,packets,avg_bps,avg_pps,avg_bpp\n1,252,3,0,0,84\n";
    says(&format!("{NFDUMP}\n{web}{sums}"), &[flow], 0);
    let failed =
        "conntrack v1.4.7 (conntrack-tools): Operation failed: No buffer space available\n";
    says(&format!("{NFDUMP}\n{web}{sums}{failed}"), &[flow], 3);
    let cut = &web[..web.len() - 8];
    says(&format!("{NFDUMP}\n{web}{cut}"), &[flow], 3);
    says(&format!("{UNREPLIED} zone=1"), &[], 1);
    for sign in ["12:# ", "> # ", "<!-- "] {
        says(&format!("{sign}{TABLE}\n"), &[], 1);
    }
    let glued = format!("{UNREPLIED} WARNING: We have hit ENOBUFS! We are losing events.\n");
    says(&format!("{TABLE}\n{glued}"), &[TCP], 3);
}

#[test]
fn of_two_times_before_an_entry_none_is_taken() {
    let first_seen = |prefix: &str| {
        let folder = Folder::new();
        let path = file(&folder, "pasted.txt", format!("{prefix}{TABLE}\n"));
        let list = on("show --format csv", &[&path]).list();
        list.lines()
            .nth(1)
            .map(|line| line.split(',').nth(13).unwrap_or("").to_owned())
    };
    for (prefix, expected) in [
        ("2026-11-26T10:22:20.5Z ", "2026-11-26T10:22:20.500000Z"),
        (
            "2026-11-26T10:22:20.5Z Nov 26 11:22:20 gw1 conntrack[812]: ",
            "",
        ),
        ("2026-11-26T11:22:20 -0500 gw 2026-11-26T16:22:20 ct: ", ""),
        ("2026-11-26 11:22:20 gw -12 ", ""),
        ("7 Nov 26 2026 11:22:20 UTC ", ""),
        (
            "Thu 26 Nov 2026 11:22:20 p.m. UTC ",
            "2026-11-26T23:22:20.000000Z",
        ),
    ] {
        assert_eq!(first_seen(prefix).as_deref(), Some(expected), "{prefix}");
    }
}
