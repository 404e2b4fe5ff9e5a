//! Captures as commands take them: every form, and what becomes of them.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use vendor_tests::capture::Launch;
use vendor_tests::files::{captured, file, on, with_stdin};
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::terminal::Terminal;
use vendor_tests::vectors;
use vendor_tests::wait::until_true;

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
        if expected.is_empty() {
            // Nothing tells it from a file that was cut to nothing.
            continue;
        }
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
        let expected = Some(vector.code());
        assert_eq!(
            outcome.code, expected,
            "{}: {}",
            vector.name, outcome.stderr
        );
        assert!(outcome.stdout == vector.expected(), "{}", vector.name);
        assert!(
            !vector.warns || !outcome.stderr.is_empty(),
            "{}",
            vector.name
        );
    }
}

#[test]
fn malformed_lines_are_named_skipped_and_counted() {
    let folder = Folder::new();
    let good = captured("05 06", [3, 1], false, "");
    let bad = "nonsense\r\n".repeat(25);
    let path = file(&folder, "mixed", format!("{good}\r\n{bad}{good}"));
    let outcome = on("show --format csv", &[&path]);
    assert_eq!(outcome.code, Some(3));
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
    assert_eq!((grouped.code, grouped.stderr), (Some(3), outcome.stderr));
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
        (compressed, "unexpected end of file"),
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
fn tables_of_values_read_back() {
    let folder = Folder::new();
    let json = captured(
        "05 06",
        [3, 1],
        false,
        r#","first_seen":"2026-01-05T01:00:00.000000Z""#,
    );
    let path = file(&folder, "a", json);
    let csv = on("show --format csv", &[&path]).list();
    assert_eq!(
        with_stdin("show --format csv -", csv.as_bytes()).list(),
        csv
    );
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
        assert_eq!(outcome.code, Some(3));
        assert_eq!(
            outcome.stderr,
            "conntracker: gw, 2026-01-05T00:00:00.000000Z to 2026-01-06T00:00:00.000000Z: the capture is \
             incomplete (up to 7 events missed)\n"
        );
    }
    let detail = on("show -v", &[&path]).stderr;
    assert_eq!(detail.lines().count(), 2, "{detail}");
}

/// What `args` and then the name of a pipe draw on a terminal while these come through it, slowly.
fn drawn_while_read_slowly(args: &[&str], first: &[u8], more: &[u8]) -> String {
    // More than a pipe holds: the first is over when it is being read.
    assert!(first.len() > 1 << 17);
    let folder = Folder::new();
    let path = folder.join("slow");
    run("mkfifo", [&path]);
    let terminal = Terminal::new(80);
    let args = args.iter().map(AsRef::as_ref).chain([path.as_os_str()]);
    let capture = Launch::new(args).stderr(terminal.end()).spawn();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().write(true).open(&path).expect("a reader");
            file.write_all(first).expect("a reader");
            until_true("the progress to be shown", || {
                thread::sleep(Duration::from_millis(600));
                file.write_all(more).expect("a reader");
                !terminal.text().is_empty()
            });
        });
        assert_eq!(capture.wait().code, Some(0));
    });
    until_true("the progress to be shown and taken away", || {
        terminal.text().ends_with("\r\u{1b}[K")
    });
    terminal.text()
}

#[test]
fn long_reading_shows_its_progress() {
    let line = "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n";
    let lines = line.repeat(3000);
    let drawn = drawn_while_read_slowly(
        &["merge", "-o", "/dev/null"],
        lines.as_bytes(),
        lines.as_bytes(),
    );
    assert!(drawn.contains("reading /"), "{drawn:?}");

    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let recording = fs::read(vectors.join("fuzz_06.pcap")).expect("a vector");
    let (_header, records) = recording.split_at(24);
    let args = ["-o", "/dev/null", "-r"];
    let drawn = drawn_while_read_slowly(&args, &recording, records);
    assert!(drawn.contains("reading /"), "{drawn:?}");
}
