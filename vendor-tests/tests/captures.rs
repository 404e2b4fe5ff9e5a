//! Captures as commands take them: every form, and what becomes of them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::program::{conntracker, run};
use vendor_tests::temp::Folder;
use vendor_tests::terminal::Terminal;
use vendor_tests::vectors;
use vendor_tests::wait::until_true;

/// Runs a command on files.
fn on(words: &str, files: &[&Path]) -> Outcome {
    let words = words.split_whitespace().map(OsStr::new);
    Launch::new(words.chain(files.iter().map(|path| path.as_os_str()))).run()
}

/// Runs it with standard input.
fn with_stdin(words: &str, input: &[u8]) -> Outcome {
    let mut child = Command::new(conntracker())
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Outcome {
        stdout: output.stdout,
        said: stderr.clone(),
        stderr,
        code: output.status.code(),
        signal: None,
    }
}

fn file(folder: &Folder, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).expect("a file");
    path
}

/// A classic list whose lines that look the same are one, confirmed if any is.
fn folded(list: &str) -> String {
    let mut lines: Vec<(String, String, bool)> = Vec::new();
    for line in list.lines() {
        let (class, rest) = line.split_once('[').expect("an index");
        let (_, rest) = rest.split_once(']').expect("an index");
        let flow = rest.trim_end_matches(" (confirmed)");
        let confirmed = flow.len() < rest.len();
        match lines.last_mut() {
            Some((last, same, any)) if last == class && same == flow => *any |= confirmed,
            _ => lines.push((class.to_owned(), flow.to_owned(), confirmed)),
        }
    }
    let (mut class, mut index) = (String::new(), 0);
    let numbered = lines.into_iter().map(|(of, flow, confirmed)| {
        index = if of == class { index + 1 } else { 0 };
        class.clone_from(&of);
        let mark = if confirmed { " (confirmed)" } else { "" };
        format!("{of}[{index:>12}]{flow}{mark}\n")
    });
    numbered.collect()
}

#[test]
fn lists_of_the_c_tool_read_back() {
    let folder = Folder::new();
    for vector in vectors::all() {
        let expected = String::from_utf8(vector.expected()).expect("text");
        let path = file(&folder, "list", &expected);
        let shown = on("show --format classic", &[&path]).list();
        // Only ICMP flows, whose types the list does not tell, become one.
        assert!(shown == folded(&expected), "{}", vector.name);
        if !expected.contains("ICMP") {
            assert!(shown == expected, "{}", vector.name);
        }
        let merged = file(&folder, "merged", on("merge", &[&path]).list());
        let again = on("show --format classic", &[&merged, &path]).list();
        assert!(again == shown, "{}", vector.name);
    }
}

#[test]
fn recordings_are_captures() {
    for vector in vectors::all().iter().filter(|vector| vector.succeeds) {
        let outcome = on("show --format classic", &[&vector.pcap()]);
        assert_eq!(outcome.code, Some(0), "{}: {}", vector.name, outcome.stderr);
        assert!(outcome.stdout == vector.expected(), "{}", vector.name);
        assert!(
            !vector.warns || !outcome.stderr.is_empty(),
            "{}",
            vector.name
        );
    }
}

const CAPTURE: &str = r#"{"type":"capture","schema":1,"host":"gw""#;

/// A capture of two flows on a host; `seen` is what both lines say of times.
fn captured(span: &str, connections: [u64; 2], confirmed: bool, seen: &str) -> String {
    let (start, end) = span.split_once(' ').expect("two times");
    let [first, second] = connections;
    format!(
        r#"{CAPTURE},"start":"2026-01-{start}T00:00:00.000000Z","end":"2026-01-{end}T00:00:00.000000Z"}}
{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.0.0.1","src_port":1024,"src_port_collapsed":true,"dst":"10.1.0.1","dst_port":443,"confirmed":{confirmed},"connections":{first}{seen}}}
{{"type":"flow","family":"ipv4","protocol":"icmp","protocol_number":1,"src":"10.0.0.2","dst":"10.1.0.1","icmp_type":8,"icmp_code":0,"icmp_name":"echo-request","confirmed":true,"connections":{second}{seen}}}
"#
    )
}

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
    let expected = r#"{"type":"capture","schema":1,"captures":[{"host":"gw","start":"2026-01-05T00:00:00.000000Z","end":"2026-01-06T00:00:00.000000Z"},{"host":"gw","start":"2026-01-05T00:00:00.000000Z","end":"2026-01-08T00:00:00.000000Z"},{"host":"gw","start":"2026-01-07T00:00:00.000000Z","end":"2026-01-08T00:00:00.000000Z"}]}
{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.0.0.1","src_port":1024,"src_port_collapsed":true,"dst":"10.1.0.1","dst_port":443,"confirmed":true,"connections":7,"first_seen":"2026-01-05T01:00:00.000000Z","last_seen":"2026-01-07T02:00:00.000000Z","seen_in":[{"capture":0,"connections":3},{"capture":1,"connections":6},{"capture":2,"connections":4}]}
{"type":"flow","family":"ipv4","protocol":"icmp","protocol_number":1,"src":"10.0.0.2","dst":"10.1.0.1","icmp_type":8,"icmp_code":0,"icmp_name":"echo-request","confirmed":true,"connections":9,"first_seen":"2026-01-05T01:00:00.000000Z","last_seen":"2026-01-07T02:00:00.000000Z","seen_in":[{"capture":0,"connections":1},{"capture":1,"connections":9},{"capture":2,"connections":1}]}
"#;
    assert_eq!(merged, expected);
    let path = file(&folder, "merged", &merged);
    assert_eq!(on("merge", &[&path, &both, &path]).list(), expected);
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
    let kept = file(&folder, "kept", format!("{CAPTURE}}}\n{kept}"));
    let merged = on("merge", &[&kept]).list();
    assert!(
        merged.contains(r#""src_port":1024,"src_port_collapsed":true"#),
        "{merged}"
    );
    assert!(merged.contains(r#""connections":3"#), "{merged}");
    let path = file(&folder, "merged", &merged);
    assert_eq!(on("merge", &[&kept, &kept, &path]).list(), merged);
    let exact = on("merge --source-ports keep", &[&kept]);
    assert_eq!(exact.list().lines().count(), 4);
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
        ("show --group dst --sort service", "--sort orders flows"),
    ] {
        let outcome = on(words, &[&first]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(cause), "{}", outcome.stderr);
    }
    assert_eq!(on("show --group destination", &[&first]).code, Some(2));
}

#[test]
fn malformed_lines_are_named_skipped_and_counted() {
    let folder = Folder::new();
    let good = captured("05 06", [3, 1], false, "");
    let bad = "nonsense\r\n".repeat(25);
    let path = file(&folder, "mixed", format!("{good}\r\n{bad}{good}"));
    let outcome = on("show --format csv", &[&path]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(outcome.text().lines().count(), 3);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 22, "{}", outcome.stderr);
    let name = path.display();
    assert!(
        lines[0].starts_with(&format!("conntracker: {name}:5: ")),
        "{}",
        lines[0]
    );
    assert_eq!(lines[20], format!("conntracker: {name}: … and 5 more"));
    assert_eq!(lines[21], format!("conntracker: {name}: 25 lines skipped"));

    for words in [
        "show --strict",
        "merge --strict",
        "show --strict --group dst",
    ] {
        let strict = on(words, &[&path]);
        assert_eq!(
            (strict.code, strict.text().as_str()),
            (Some(1), ""),
            "{words}"
        );
        assert_eq!(strict.stderr.lines().count(), 1, "{}", strict.stderr);
        assert!(strict.stderr.contains(":5: "), "{}", strict.stderr);
    }
    let grouped = on("show --group dst", &[&path]);
    assert_eq!((grouped.code, grouped.stderr), (Some(1), outcome.stderr));
}

#[test]
fn what_is_no_capture_is_refused() {
    let folder = Folder::new();
    let good = file(&folder, "good", captured("05 06", [3, 1], false, ""));
    let newer = file(
        &folder,
        "newer",
        r#"{"type":"capture","schema":2,"start":[]}"#,
    );
    let compressed = file(&folder, "compressed", b"\x1f\x8b\x08\x00");
    let ethernet = vectors::all()
        .into_iter()
        .find(|vector| vector.name == "pcap_linktype_1")
        .expect("it is there")
        .pcap();
    for (path, cause) in [
        (folder.join("absent"), "No such file"),
        (folder.path().to_owned(), "directory"),
        (newer, "schema 2"),
        (compressed, "zcat"),
        (ethernet, "link type 1"),
    ] {
        for words in ["show", "merge", "show --group dst"] {
            let outcome = on(words, &[&good, &path]);
            assert_eq!(
                (outcome.code, outcome.text().as_str()),
                (Some(1), ""),
                "{outcome:?}"
            );
            assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
            let named = outcome.stderr.contains(&*path.to_string_lossy());
            assert!(
                named && outcome.stderr.contains(cause),
                "{}",
                outcome.stderr
            );
        }
    }
    let twice = on("merge - -", &[]);
    assert!(
        twice.code == Some(1) && twice.stderr.contains("twice"),
        "{twice:?}"
    );
}

#[test]
fn standard_input_output_files_and_pipes() {
    let folder = Folder::new();
    let json = captured("05 06", [3, 1], false, "");
    let path = file(&folder, "a", &json);
    let shown = on("show", &[&path]).list();
    assert_eq!(with_stdin("show -", json.as_bytes()).list(), shown);
    let windows = format!("\u{feff}{}", json.replace('\n', "\r\n\r\n"));
    assert_eq!(with_stdin("show -", windows.as_bytes()).list(), shown);
    assert_eq!(with_stdin("show --format classic -", b"").list(), "");
    // After grep, nobody knows where a flow is from.
    let flows: String = json.split_inclusive('\n').skip(1).collect();
    assert_eq!(with_stdin("show -", flows.as_bytes()).list(), shown);

    // A file may be replaced by what is made of it.
    let merged = on("merge", &[&path]).list();
    assert_eq!(
        on(&format!("merge -o {}", path.display()), &[&path]).list(),
        ""
    );
    assert_eq!(fs::read_to_string(&path).expect("a file"), merged);
    let outcome = on(
        &format!("show -o {}/no/such", folder.path().display()),
        &[&path],
    );
    assert!(
        outcome.code == Some(1) && outcome.stderr.contains("can't be written"),
        "{outcome:?}"
    );
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there");
    let outcome = Launch::new(["show".as_ref(), path.as_os_str()])
        .stdout(full)
        .run();
    assert!(
        outcome.code == Some(1) && outcome.stderr.contains("No space left"),
        "{outcome:?}"
    );
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
    assert_eq!(once.lines().count(), 2);
    let path = file(&folder, "b", &once);
    assert_eq!(on("merge --proto tcp", &[&path]).list(), once);
}

#[test]
fn incomplete_captures_are_told() {
    let folder = Folder::new();
    let mut text = captured("05 06", [3, 1], false, "");
    let loss = r#""verdict":"incomplete","loss":{"missed":7,"reasons":["up to 7 events missed"]}"#;
    text = text.replacen(r#""host":"gw""#, &format!(r#""host":"gw",{loss}"#), 1);
    let path = file(&folder, "a", text);
    for words in ["show", "show --group dst", "merge"] {
        let outcome = on(words, &[&path]);
        assert_eq!(outcome.code, Some(0));
        assert_eq!(
            outcome.stderr,
            "conntracker: gw, 2026-01-05T00:00:00.000000Z to 2026-01-06T00:00:00.000000Z: the capture is \
             incomplete (up to 7 events missed)\n"
        );
    }
    let detail = on("show -v", &[&path]).stderr;
    assert_eq!(detail.lines().count(), 2, "{detail}");
}

#[test]
fn long_reading_shows_its_progress() {
    let folder = Folder::new();
    let path = folder.join("slow");
    run("mkfifo", [&path]);
    let terminal = Terminal::new(80);
    let capture = Launch::new([
        "merge".as_ref(),
        "-o".as_ref(),
        "/dev/null".as_ref(),
        path.as_os_str(),
    ])
    .stderr(terminal.end())
    .spawn();
    let writer = thread::spawn(move || {
        let mut file = File::options().write(true).open(path).expect("a reader");
        let line = "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n";
        for _ in 0..3 {
            // The pipe may be closed when the test has failed.
            let _ = file.write_all(line.repeat(3000).as_bytes());
            thread::sleep(Duration::from_millis(600));
        }
    });
    assert_eq!(capture.wait().code, Some(0));
    writer.join().expect("it does not panic");
    until_true("the progress to be shown and taken away", || {
        let text = terminal.text();
        text.contains("reading /") && text.ends_with("\r\u{1b}[K")
    });
}
