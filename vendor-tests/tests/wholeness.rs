//! Files that lack something never look whole, and whatever they hold, terminals and spreadsheets are safe from it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::files::{CAPTURE, captured, file, on, with_stdin};
use vendor_tests::schema;
use vendor_tests::temp::Folder;

/// A list as this version writes it, of a complete capture of twelve flows.
fn list() -> String {
    let mut text = format!(
        r#"{CAPTURE},"start":"2026-01-05T00:00:00.000000Z","end":"2026-01-06T00:00:00.000000Z","verdict":"complete","loss":{{"missed":0,"recovered":0,"refused":0,"malformed":0}},"interfaces":[{{"name":"eth0","addresses":["10.1.0.1/24"]}}]}}
"#
    );
    for host in 1..=12 {
        text.push_str(&flow(host));
    }
    with_stdin("merge -", text.as_bytes()).list()
}

fn flow(host: u8) -> String {
    format!(
        r#"{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.0.0.{host}","src_port":1024,"src_port_collapsed":true,"dst":"10.1.0.1","dst_port":443,"confirmed":true,"connections":1}}
"#
    )
}

/// Asserts that every command owns up to it that flows may be missing from this text.
fn is_incomplete(text: &str, how: &str) {
    let folder = Folder::new();
    let path = file(&folder, "list", text);
    for words in ["show", "show --group dst", "show --format classic", "diff"] {
        let again: &[&Path] = &[&path, &path];
        let outcome = on(words, if words == "diff" { again } else { &again[..1] });
        assert_eq!(outcome.code, Some(3), "{how}: {words}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{how}: {words}");
    }
    let strict = on("show --strict", &[&path]);
    assert_eq!(
        (strict.code, strict.text()),
        (Some(1), String::new()),
        "{how}"
    );
    passes_on(text, how);
}

/// Asserts that what is made of this text says that flows may be missing, and so does what is made of that.
fn passes_on(text: &str, how: &str) {
    let folder = Folder::new();
    let path = file(&folder, "list", text);
    let merged = on("merge", &[&path]);
    assert_eq!(merged.code, Some(3), "{how}");
    let text = merged.text();
    schema::assert_holds(&text);
    let parsed = |line: Option<&str>| -> Value {
        serde_json::from_str(line.expect("a line")).expect("JSON")
    };
    let head = parsed(text.lines().next());
    let several = head["captures"].as_array();
    let captures = several.map_or(std::slice::from_ref(&head), Vec::as_slice);
    let told = captures.iter().any(|capture| {
        capture["verdict"] == "incomplete" && capture["loss"]["reasons"][0].is_string()
    });
    assert!(told, "{how}: {head}");
    assert_eq!(
        parsed(text.lines().last())["verdict"],
        "incomplete",
        "{how}"
    );
    let merged = file(&folder, "merged", merged.text());
    for path in [&path, &merged] {
        let rules = on("rules --include-unconfirmed", &[path]);
        if rules.code != Some(1) {
            assert_eq!(rules.code, Some(3), "{how}: {rules:?}");
            let text = rules.text();
            let top: Vec<&str> = text.lines().take(12).collect();
            let top = top.join("\n");
            assert!(
                top.contains("WARNING: the capture is incomplete ("),
                "{how}: {top}"
            );
        }
    }
}

fn is_whole(text: &str, how: &str) {
    for words in ["show -", "show --group dst -", "merge --strict -"] {
        let outcome = with_stdin(words, text.as_bytes());
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (Some(0), ""),
            "{how}: {words}"
        );
    }
}

/// A list of no flows in the classic form has no byte, and so has one that was cut to nothing.
#[test]
fn an_empty_file_is_not_taken_for_whole() {
    let folder = Folder::new();
    let empty = folder.join("empty.json");
    fs::write(&empty, "").expect("a folder of ours");
    for words in [&["show"][..], &["merge"], &["rules"]] {
        let outcome = Launch::new(
            words
                .iter()
                .map(AsRef::<std::ffi::OsStr>::as_ref)
                .chain([empty.as_os_str()]),
        )
        .run();
        assert!(
            matches!(outcome.code, Some(1 | 3)),
            "{words:?}: {}",
            outcome.said
        );
        assert!(outcome.said.contains("empty.json"), "{}", outcome.said);
        assert!(outcome.said.contains("is empty"), "{}", outcome.said);
    }
}

#[test]
fn a_list_is_whole_with_its_last_line_only() {
    let whole = list();
    schema::assert_holds(&whole);
    is_whole(&whole, "as it was written");
    is_whole(&whole.repeat(3), "three of them");
    is_whole(
        &whole.replace('\n', "\r\n"),
        "as another system's editor leaves it",
    );
    is_whole(
        &whole.replace("\":", "\": ").replace(",\"", ", \""),
        "as Python writes it",
    );
    let other = whole.replace(r#""host":"gw""#, r#""host":"gw2""#);
    is_whole(&format!("{whole}{other}"), "of two hosts");

    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for len in 1..lines.len() {
        is_incomplete(&lines[..len].concat(), &format!("the first {len} lines"));
    }
    let cut = lines[..lines.len() - 1].concat();
    is_incomplete(&format!("{cut}{whole}"), "another one behind a cut one");
    is_incomplete(&format!("{whole}{cut}"), "a cut one behind another");
    is_incomplete(&whole.replace(lines[4], ""), "without a flow");
    is_incomplete(
        &whole.replace(lines[4], lines[5]),
        "with another twice instead",
    );
    is_incomplete(
        &whole.replace(lines[4], &lines[4].repeat(2)),
        "with one twice",
    );
    is_incomplete(
        &whole.replace(lines[4], "{\"type\":\"flow\"}\n"),
        "with one that can't be read",
    );
    is_incomplete(&whole.replace("10.0.0.7", "10.0.0.77"), "with another flow");
    let end = lines.last().expect("a last one");
    is_incomplete(
        &whole.replace(end, &end.replace(r#""flows":12"#, r#""flows":13"#)),
        "with a wrong number",
    );
    is_incomplete(
        &whole.replace(end, &end.replace("\"complete\"", "\"incomplete\"")),
        "with the end of one that was incomplete",
    );
}

#[test]
fn a_list_that_is_cut_anywhere_is_told() {
    let whole = list();
    // The end of the last line alone is nothing.
    for len in (1..whole.len() - 1).step_by(7) {
        let outcome = with_stdin("show -", &whole.as_bytes()[..len]);
        let head = whole.find('\n').expect("lines");
        // Of a line that is not whole nothing can be read.
        let expected = if len < head { 1 } else { 3 };
        assert_eq!(
            outcome.code,
            Some(expected),
            "{len} of {}: {outcome:?}",
            whole.len()
        );
    }
    is_whole(whole.trim_end(), "without the end of the last line");
}

#[test]
fn lists_of_older_versions_are_read_as_ever() {
    let old = captured("05 06", [3, 1], true, "");
    is_whole(&old, "without an end");
    let flows: String = old.split_inclusive('\n').skip(1).collect();
    is_whole(&flows, "without its first line");
    let state = format!("{old}{{\"type\":\"end\",\"flows\":2}}\n");
    is_whole(&state, "a state");
    is_incomplete(
        &state.replace("\"flows\":2", "\"flows\":3"),
        "a state with a flow too few",
    );
    // The lines of flows that grep(1) has picked out of a list claim nothing.
    let lines: String = list()
        .split_inclusive('\n')
        .filter(|line| line.contains("\"flow\""))
        .collect();
    let merged = with_stdin("merge -", lines.as_bytes()).list();
    assert!(!merged.contains("verdict"), "{merged}");
}

#[test]
fn lines_of_text_that_were_cut_are_told() {
    let classic = " TCPv4 [           0] src = 10.0.0.1 (port=1024) to dst = 10.1.0.1 (port=443) (confirmed)\n";
    is_whole(classic, "a classic list");
    // It would say that nobody has answered.
    is_incomplete(
        classic.strip_suffix(" (confirmed)\n").expect("so it ends"),
        "a classic list",
    );
    let csv = with_stdin(
        "show --format csv -",
        captured("05 06", [3, 1], true, "").as_bytes(),
    )
    .list();
    is_whole(&csv, "CSV");
    is_incomplete(csv.trim_end(), "CSV");
    is_incomplete(&csv[..csv.len() - 40], "CSV in the middle of a line");
    // Conntrack's are pasted.
    let entry = "tcp 6 9 src=10.0.0.1 dst=10.1.0.1 sport=9 dport=1 src=10.1.0.1 dst=10.0.0.1 sport=1 dport=9";
    is_whole(entry, "an entry");
    is_incomplete(
        &format!("{entry}\nnonsense\n"),
        "an entry and something else",
    );
}

#[test]
fn what_conntrack_says_of_itself_is_told() {
    let entry = "    [NEW] udp      17 30 src=192.0.2.11 dst=198.51.100.53 sport=40002 dport=53 [UNREPLIED] src=198.51.100.53 dst=192.0.2.11 sport=53 dport=40002\n";
    let failed = "conntrack v1.4.7 (conntrack-tools): Operation failed: sorry, you must be root or get CAP_NET_ADMIN capability to do this\n";
    let overrun = "WARNING: We have hit ENOBUFS! We are losing events.\n\
                   This message means that the current netlink socket buffer size is too small.\n\
                   Please, check --buffer-size in conntrack(8) manpage.\n";
    let outcome = with_stdin("show -", failed.as_bytes());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("you must be root"), "{outcome:?}");
    for trouble in [failed, overrun] {
        is_incomplete(&format!("{entry}{trouble}"), trouble);
        let outcome = with_stdin("show -", format!("{entry}{trouble}").as_bytes());
        assert_eq!(outcome.text().lines().count(), 2, "{outcome:?}");
    }
    is_whole(
        &format!("{entry}conntrack v1.4.7 (conntrack-tools): 1 flow events have been shown.\n"),
        "with its closing line",
    );
}

#[test]
fn times_in_which_nobody_listened_are_told() {
    let with = |to: &str| {
        let gap = format!(
            r#""verdict":"complete","loss":{{}},"gaps":[{{"from":"2026-01-05T00:00:10.000000Z","to":"{to}"}}],"host":"gw""#
        );
        captured("05 06", [3, 1], true, "").replacen(r#""host":"gw""#, &gap, 1)
    };
    let text = with("2026-01-05T23:00:00.000000Z");
    passes_on(&text, "nearly all of a day");
    assert_eq!(with_stdin("show --strict -", text.as_bytes()).code, Some(3));
    let folder = Folder::new();
    let path = file(&folder, "restarted", with("2026-01-05T00:00:13.000000Z"));
    let shown = on("show", &[&path]);
    assert_eq!(shown.code, Some(0));
    assert!(
        shown.stderr.contains("nobody listened for 3s"),
        "{}",
        shown.stderr
    );
    let rules = on("rules", &[&path]);
    assert_eq!(rules.code, Some(0), "{rules:?}");
    assert!(
        rules.text().contains("# WARNING: nobody listened for 3s"),
        "{}",
        rules.text()
    );
}

/// What a terminal would obey: everything but printable characters, ends of lines and colours of ours.
fn harmless(outcome: &Outcome) {
    let text = outcome.text() + &outcome.said;
    let harmful = |c: char| {
        (c.is_control() && !"\r\n\t".contains(c)) || ('\u{202a}'..='\u{202e}').contains(&c)
    };
    assert!(!text.contains(harmful), "{text:?}");
}

#[test]
fn no_control_character_of_a_file_reaches_the_terminal() {
    // As JSON has them, and as they are.
    let escapes = r"\u001b]0;title\u0007\u001b[2J\u009b31m\u007f\u202e\n\r";
    let raw = "\x1b]0;title\x07\x1b[2J\u{9b}31m";
    let evil = |text: &str| text.replace('@', escapes);
    let capture = evil(
        r#"{"type":"capture","schema":1,"host":"@","kernel":"@","boot_id":"@","program":"@","source":"@","netns":"@","filters":["@"],"options":["@"],"verdict":"incomplete","loss":{"reasons":["@"]},"interfaces":[{"name":"@","addresses":["10.1.0.1/24"]}],"routes":[{"destination":"0.0.0.0/0","gateway":"10.1.0.254","interface":"@"}]}
"#,
    );
    let named = evil(
        &flow(1)
            .replace(
                "\"confirmed\"",
                "\"netns\":\"@\",\"icmp_name\":\"@\",\"confirmed\"",
            )
            .replace("\"tcp\"", "\"@\""),
    );
    let texts = [
        format!("{capture}{}{named}", flow(2)),
        evil("{\"type\":\"capture\",\"schema\":1,\"verdict\":\"@\"}\n"),
        evil("{\"type\":\"flow\",\"family\":\"@\"}\n"),
        evil("{\"@\":1}\n"),
        format!("{raw}\n{{{raw}\n[{raw}\n"),
        format!("tcp 6 1 X src={raw} dst=192.0.2.1\n[{raw}NEW] tcp 6 src=1\n[1{raw}.5] tcp\n"),
        format!(" TCPv4 [{raw}] src = {raw}\nipv4,tcp,{raw},1\nconntrack v{raw}\nWARNING: {raw}\n"),
    ];
    let folder = Folder::new();
    let good = file(&folder, "good", captured("05 06", [3, 1], true, ""));
    for text in texts {
        let path = file(&folder, "evil", &text);
        for words in [
            "show -v",
            "show --format classic",
            "show --format csv",
            "show --format json",
            "show --format nft",
            "show --group src-service",
            "show --strict",
            "merge",
            "rules",
            "rules --for iptables",
        ] {
            harmless(&on(words, &[&path]));
        }
        for format in ["table", "json", "csv", "classic"] {
            harmless(&on(&format!("diff --format {format}"), &[&good, &path]));
        }
        let report = folder.join("report");
        harmless(&on(
            &format!("rules --report {}", report.display()),
            &[&path],
        ));
        let report = fs::read_to_string(report).unwrap_or_default();
        assert!(
            !report.contains(|c: char| c.is_control() && c != '\n'),
            "{report:?}"
        );
    }
}

#[test]
fn no_cell_is_a_formula_and_all_read_back() {
    let folder = Folder::new();
    for name in [
        "=cmd|' /C calc'!A1",
        "+1",
        "-1",
        "@SUM(1)",
        "'=1",
        "a,\\\"b\\\"",
        "plain",
    ] {
        let with = flow(1).replace(
            "\"confirmed\"",
            &format!("\"netns\":\"{name}\",\"confirmed\""),
        );
        let path = file(&folder, "json", with);
        let csv = on("show --format csv", &[&path]).list();
        let mut rows = csv::Reader::from_reader(csv.as_bytes());
        let row = rows.records().next().expect("a row").expect("CSV");
        for cell in &row {
            assert!(
                !cell.starts_with(['=', '+', '-', '@', '\t', '\r']),
                "{name}: {csv}"
            );
        }
        let raw = on("show --format csv --raw-csv", &[&path]).list();
        let mut rows = csv::Reader::from_reader(raw.as_bytes());
        let row = rows.records().next().expect("a row").expect("CSV");
        assert!(
            row.iter().any(|cell| cell == name.replace('\\', "")),
            "{name}: {raw}"
        );
        let json = on("show --format json", &[&path]).list();
        let flows = |json: &str| {
            json.lines()
                .find(|line| line.contains("netns"))
                .map(str::to_owned)
        };
        for text in [csv, raw] {
            // "'=1" as it is can't be told from "=1" that was marked.
            if !(text.contains(",'=1,") && name == "'=1") {
                let again = file(&folder, "csv", text);
                let again = on("show --format json", &[&again]).list();
                assert_eq!(flows(&again), flows(&json), "{name}");
            }
        }
    }
}
