//! Commands on captures, with outputs written by hand.

use std::fs;

use vendor_tests::files::{CAPTURE, captured, file, on, with_stdin};
use vendor_tests::schema;
use vendor_tests::temp::Folder;

#[test]
fn merging_adds_what_does_not_overlap() {
    let folder = Folder::new();
    let seen = |day: u8| {
        format!(
            r#","first_seen":"2026-01-0{day}T01:00:00.000000Z","last_seen":"2026-01-0{day}T02:00:00.000000Z""#
        )
    };
    let monday = file(&folder, "1", captured("05 06", [3, 1], false, &seen(5)));
    let tuesday = file(&folder, "2", captured("07 08", [4, 1], true, &seen(7)));
    // Runs beside both, and has missed some.
    let both = file(&folder, "3", captured("05 08", [6, 9], true, &seen(6)));
    let merged = on("merge", &[&tuesday, &both, &monday]).list();
    let expected = r#"{"type":"capture","schema":1,"end_mark":true,"captures":[{"host":"gw","start":"2026-01-05T00:00:00.000000Z","end":"2026-01-06T00:00:00.000000Z"},{"host":"gw","start":"2026-01-05T00:00:00.000000Z","end":"2026-01-08T00:00:00.000000Z"},{"host":"gw","start":"2026-01-07T00:00:00.000000Z","end":"2026-01-08T00:00:00.000000Z"}]}
{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.0.0.1","src_port":1024,"src_port_collapsed":true,"dst":"10.1.0.1","dst_port":443,"confirmed":true,"connections":7,"first_seen":"2026-01-05T01:00:00.000000Z","last_seen":"2026-01-07T02:00:00.000000Z","seen_in":[{"capture":0,"connections":3},{"capture":1,"connections":6},{"capture":2,"connections":4}]}
{"type":"flow","family":"ipv4","protocol":"icmp","protocol_number":1,"src":"10.0.0.2","dst":"10.1.0.1","icmp_type":8,"icmp_code":0,"icmp_name":"echo-request","confirmed":true,"connections":9,"first_seen":"2026-01-05T01:00:00.000000Z","last_seen":"2026-01-07T02:00:00.000000Z","seen_in":[{"capture":0,"connections":1},{"capture":1,"connections":9},{"capture":2,"connections":1}]}
"#;
    let (lines, end) = merged.split_once(r#"{"type":"end""#).expect("an end");
    assert_eq!(lines, expected);
    assert!(end.starts_with(r#","flows":2,"crc32_sum":"#), "{end}");
    schema::assert_holds(&merged);
    let path = file(&folder, "merged", &merged);
    assert_eq!(on("merge", &[&path, &both, &path]).list(), merged);
    let concatenated = captured("05 06", [3, 1], false, &seen(5)).repeat(2);
    let path = file(&folder, "concatenated", concatenated);
    assert_eq!(on("merge", &[&path]).list(), on("merge", &[&monday]).list());
}

#[test]
fn ports_that_are_folded_while_merging_count_once() {
    let folder = Folder::new();
    let kept: String = [2000, 3000, 4000]
        .iter()
        .map(|port| {
            format!(
                r#"{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.0.0.1","src_port":{port},"src_port_collapsed":false,"dst":"10.1.0.1","dst_port":443,"confirmed":true,"connections":1}}
"#
            )
        })
        .collect();
    let capture = format!(r#"{CAPTURE},"options":["--source-ports=keep"]}}"#);
    let kept = file(&folder, "kept", format!("{capture}\n{kept}"));
    let merged = on("merge", &[&kept]).list();
    assert!(
        merged.contains(r#""src_port":1024,"src_port_collapsed":true"#),
        "{merged}"
    );
    assert!(merged.contains(r#""connections":3"#), "{merged}");
    assert!(!merged.contains("--source-ports"), "{merged}");
    let path = file(&folder, "merged", &merged);
    assert_eq!(on("merge", &[&kept, &kept, &path]).list(), merged);
    let exact = on("merge --source-ports keep", &[&kept]);
    assert_eq!(exact.list().lines().count(), 5);
    assert!(exact.list().contains("--source-ports=keep"), "{exact:?}");
    let one = on("show --sport 3000 --group src", &[&kept]).list();
    assert!(
        one.lines().nth(1).is_some_and(|line| line.contains(" 1 ")),
        "{one}"
    );
}

#[test]
fn differences_have_marks_and_statuses() {
    let folder = Folder::new();
    let old = file(&folder, "old", captured("05 06", [3, 1], false, ""));
    let seen_later = captured("07 08", [1, 1], true, "");
    let confirmed = file(&folder, "confirmed", &seen_later);
    let icmp_only: Vec<&str> = seen_later
        .lines()
        .filter(|line| !line.contains("tcp"))
        .collect();
    let less = file(&folder, "less", icmp_only.join("\n"));

    let same = on("diff", &[&old, &old]);
    assert_eq!(
        (same.code, same.text().as_str(), same.stderr.as_str()),
        (Some(0), "", "")
    );
    for (from, to, mark, change) in [
        (&old, &confirmed, '~', "confirmed"),
        (&old, &less, '-', "gone"),
        (&less, &old, '+', "new"),
    ] {
        let table = on("diff", &[from, to]);
        assert_eq!((table.code, table.stderr.as_str()), (Some(1), ""));
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("  PROTO  SOURCE"), "{text}");
        assert!(
            lines[1].starts_with(&format!("{mark} tcp    10.0.0.1")),
            "{text}"
        );
        let json = on("diff --format json", &[from, to]).text();
        schema::assert_holds(&json);
        assert!(
            json.starts_with(&format!(
                r#"{{"type":"flow","change":"{change}","family":"ipv4","protocol":"tcp""#
            )),
            "{json}"
        );
        let csv = on("diff --format csv", &[from, to]).text();
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].starts_with("change,family,protocol,"), "{csv}");
        assert!(
            lines[1].starts_with(&format!("{change},ipv4,tcp,6,10.0.0.1,")),
            "{csv}"
        );
        let classic = on("diff --format classic", &[from, to]).text();
        assert!(
            classic.starts_with(&format!(
                "{mark}  TCPv4 [           0] src = 10.0.0.1 (port=1024)"
            )),
            "{classic}"
        );
        // A difference is a capture of what is there.
        let path = file(&folder, "difference", &json);
        let shown = on("show", &[&path]).list().lines().count();
        assert_eq!(shown, if change == "gone" { 1 } else { 2 }, "{json}");
    }
    // What is filtered out is no difference.
    assert_eq!(on("diff --proto icmp", &[&old, &less]).code, Some(0));

    // Of a list of the C tool nobody expects what it does not tell.
    let list = on("show --format classic", &[&old]).list();
    let list = file(&folder, "list", list);
    let outcome = on("diff", &[&list, &old]);
    assert_eq!((outcome.code, outcome.text().as_str()), (Some(0), ""));
    assert!(
        outcome.stderr.contains("is a classic list"),
        "{}",
        outcome.stderr
    );

    let absent = folder.join("absent");
    let bad = file(&folder, "bad", "nonsense\n");
    let newer = file(&folder, "newer", r#"{"type":"capture","schema":9}"#);
    for trouble in [&absent, &bad, &newer] {
        let outcome = on("diff", &[&old, trouble]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains(&*trouble.to_string_lossy()),
            "{}",
            outcome.stderr
        );
    }
    assert_eq!(on("diff", &[&old]).code, Some(2));
}

#[test]
fn groups_in_every_format() {
    let folder = Folder::new();
    let time =
        r#","first_seen":"2026-01-05T01:00:00.000000Z","last_seen":"2026-01-05T02:00:00.000000Z""#;
    let first = file(&folder, "1", captured("05 06", [3, 1], false, time));
    let second = file(
        &folder,
        "2",
        captured("07 08", [4, 1], true, "").replace("10.0.0.1", "10.0.0.3"),
    );
    let table = "\
DST       SERVICE            FLOWS  CONFIRMED  CLIENTS  CONNECTIONS  FIRST SEEN (UTC)     LAST SEEN (UTC)
10.1.0.1  tcp/443                2          1        2            7  2026-01-05 01:00:00  2026-01-05 02:00:00
10.1.0.1  icmp/echo-request      1          1        1            2  2026-01-05 01:00:00  2026-01-05 02:00:00
";
    assert_eq!(
        on("show --group dst-service", &[&first, &second]).list(),
        table
    );
    let csv = "src_net,protocol,flows,confirmed,clients,connections,first_seen,last_seen\r\n\
               10.0.0.0/24,icmp,1,1,1,1,2026-01-05T01:00:00.000000Z,2026-01-05T02:00:00.000000Z\r\n\
               10.0.0.0/24,tcp,1,0,1,3,2026-01-05T01:00:00.000000Z,2026-01-05T02:00:00.000000Z\r\n";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let shown = on("show --group src-net-proto --format csv", &[&first]).list();
    assert_eq!(sorted(&shown), sorted(csv));
    let json = r#"{"type":"group","dst_net":"10.0.0.0/8","zone":0,"flows":2,"confirmed":1,"clients":2,"connections":4,"first_seen":"2026-01-05T01:00:00.000000Z","last_seen":"2026-01-05T02:00:00.000000Z"}
"#;
    assert_eq!(
        on("show --group dst/8-zone --format json", &[&first]).list(),
        json
    );
    // The same whether a file is read in one go or flows are kept.
    let once = on("show --group src-service --format json", &[&first]).list();
    let piped = with_stdin(
        "show --group src-service --format json -",
        &fs::read(&first).expect("a file"),
    );
    assert_eq!(once, piped.list());
    let only = on("show --group dst --confirmed --format csv", &[&first]).list();
    assert!(only.contains("10.1.0.1,1,1,1,1,"), "{only}");

    for (words, cause) in [
        (
            "show --group dst --format classic",
            "classic list has no groups",
        ),
        (
            "show --group dst --sort service",
            "--sort and --reverse order flows",
        ),
        (
            "show --group dst --reverse",
            "--sort and --reverse order flows",
        ),
    ] {
        let outcome = on(words, &[&first]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains(cause), "{}", outcome.stderr);
    }
    assert_eq!(on("show --group destination", &[&first]).code, Some(2));
}

#[test]
fn a_file_where_a_command_is_expected_is_to_be_shown() {
    let folder = Folder::new();
    let path = file(&folder, "monday.json", captured("05 06", [3, 1], false, ""));
    let outcome = on("-q", &[&path]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    let advice = format!("conntracker show {}", path.display());
    assert!(outcome.stderr.contains(&advice), "{}", outcome.stderr);
}

#[test]
fn a_host_is_found_on_either_side() {
    let folder = Folder::new();
    let path = file(&folder, "a", captured("05 06", [3, 1], false, ""));
    let count = |words: &str| on(words, &[&path]).list().lines().count() - 1;
    // One flow is from 10.0.0.1, another one from 10.0.0.2, both to 10.1.0.1.
    for (filter, expected) in [
        ("--host 10.0.0.1", 1),
        ("--host 10.1.0.1", 2),
        ("--host ^10.0.0.2", 1),
        ("--host not:10.1.0.1", 0),
        ("--dport https", 1),
    ] {
        assert_eq!(
            count(&format!("show --format csv {filter}")),
            expected,
            "{filter}"
        );
    }
}

#[test]
fn filters_are_noted() {
    let folder = Folder::new();
    let path = file(&folder, "a", captured("05 06", [3, 1], false, ""));
    let once = on("merge --proto tcp --src 10.0.0.0/8", &[&path]).list();
    assert!(
        once.lines().next().is_some_and(|head| {
            head.ends_with(r#""filters":["--proto=tcp","--src=10.0.0.0/8"]}"#)
        }),
        "{once}"
    );
    assert_eq!(once.lines().count(), 3);
    let path = file(&folder, "b", &once);
    assert_eq!(on("merge --proto tcp", &[&path]).list(), once);
}

#[test]
fn lists_have_the_order_that_is_asked_for() {
    // Name, connections, last seen, and what follows.
    let flows = [
        ("a", 5, "03", "tcp 10.0.0.10 10.1.0.1 443"),
        ("b", 9, "01", "tcp 10.0.0.9 10.1.0.1 443"),
        ("c", 5, "04", "udp 10.0.0.9 10.1.0.1 53"),
        ("d", 1, "", "tcp 9.0.0.200 10.1.0.9 80"),
        ("e", 9, "02", "tcp fd00::10 fd00::1 443"),
        ("f", 2, "04", "tcp fd00::9 fd00::1 443"),
        ("g", 1, "05", "tcp 10.0.0.9 10.0.255.1 443"),
    ];
    let mut capture = format!("{CAPTURE}}}\n");
    for (_, connections, seen, flow) in flows {
        let [protocol, source, destination, port] = flow.split(' ').collect::<Vec<_>>()[..] else {
            panic!("four words")
        };
        let number = if protocol == "tcp" { 6 } else { 17 };
        let family = if source.contains(':') { "ipv6" } else { "ipv4" };
        let times = match seen {
            "" => String::new(),
            seen => format!(
                r#","first_seen":"2026-01-01T00:00:00.000000Z","last_seen":"2026-01-{seen}T00:00:00.000000Z""#
            ),
        };
        capture.push_str(&format!(
            "{{\"type\":\"flow\",\"family\":\"{family}\",\"protocol\":\"{protocol}\",\"protocol_number\":{number},\
             \"src\":\"{source}\",\"src_port\":1024,\"src_port_collapsed\":true,\"dst\":\"{destination}\",\
             \"dst_port\":{port},\"confirmed\":true,\"connections\":{connections}{times}}}\n"
        ));
    }
    let folder = Folder::new();
    let path = file(&folder, "flows", capture);
    for (order, expected) in [
        // Addresses as numbers, so that neighbours stand together.
        ("address", "dgbcafe"),
        ("service", "dgbafec"),
        ("connections", "becafdg"),
        ("last-seen", "gcfaebd"),
        ("last-seen --reverse", "dbeafcg"),
        ("address --reverse", "efacbgd"),
        // Class by class; IPv4 addresses from their last octet on, IPv6 addresses as text.
        ("classic", "bgadcef"),
    ] {
        let list = on(&format!("show --format csv --sort {order}"), &[&path]).list();
        let names: String = list
            .lines()
            .skip(1)
            .map(|line| {
                let fields: Vec<&str> = line.split(',').collect();
                let same = |flow: &str| flow.split(' ').all(|word| fields.contains(&word));
                flows.iter().find(|flow| same(flow.3)).expect("a flow").0
            })
            .collect();
        assert_eq!(names, expected, "{order}:\n{list}");
    }
}
