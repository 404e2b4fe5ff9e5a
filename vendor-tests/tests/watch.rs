//! `conntracker watch`: what is new is told once, what no longer comes is told, and nothing else is.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use vendor_tests::capture::{Capture, Launch, Outcome};
use vendor_tests::flooding::Flood;
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;

/// A connection to a port of 10.77.0.2, from another source port each time.
fn connect(protocol: &str, from: u16, port: u16) {
    let state = if protocol == "tcp" {
        "--state SYN_SENT"
    } else {
        ""
    };
    sh(&format!(
        "conntrack -I -p {protocol} -s 10.77.0.1 -d 10.77.0.2 --sport {from} --dport {port} {state} -t 60"
    ));
}

/// What a capture lists while this is done.
fn baseline(folder: &Folder, format: &str, traffic: impl FnOnce()) -> PathBuf {
    let path = folder.join("base");
    let name = path.to_str().expect("a path");
    let capture = Launch::new(["--format", format, "-o", name]).start();
    traffic();
    assert_eq!(capture.finish().code, Some(0));
    sh("conntrack -F");
    path
}

fn start(baseline: &Path, more: &[&str]) -> Capture {
    let baseline = baseline.to_str().expect("a path");
    Launch::new(["watch", "--baseline", baseline].iter().chain(more)).start()
}

/// What was told, but for the time.
fn told(outcome: &Outcome) -> Vec<String> {
    let text = outcome.text();
    let mut lines: Vec<String> = { text.lines() }
        .map(|line| {
            let (_, rest) = line.split_once(' ').expect("a time");
            rest.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn ten_new_flows_among_many_events_are_ten_lines() {
    netns::run("ten_new_flows_among_many_events_are_ten_lines", || {
        let folder = Folder::new();
        let base = baseline(&folder, "json", || {
            Flood::start("--entries 2000 --distinct 1000").finish();
        });
        for (source, updates) in [("auto", 400_000), ("batch", 200_000)] {
            // However late it is read, on a busy machine.
            let watch = start(&base, &["--source", source, "--buffer", "512M"]);
            let flood = Flood::start("--entries 200000 --distinct 1000");
            for port in 0..10 {
                // Of each flow several connections.
                for from in 0..3 {
                    connect("tcp", 40_000 + from, 7000 + port);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            flood.finish();
            sh("conntrack -F");
            let updates = format!("--entries {updates} --distinct 1000 --repeat update");
            Flood::start(&updates).finish();
            let outcome = watch.finish();
            assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
            let expected: Vec<String> = (7000..7010)
                .map(|port| format!("new tcp 10.77.0.1 > 10.77.0.2 {port}"))
                .collect();
            assert_eq!(told(&outcome), expected, "{source}");
            sh("conntrack -F");
        }
    });
}

#[test]
fn what_is_expected_is_not_told_and_what_is_accepted_is_expected() {
    netns::run(
        "what_is_expected_is_not_told_and_what_is_accepted_is_expected",
        || {
            let folder = Folder::new();
            let base = baseline(&folder, "json", || connect("udp", 41_000, 53));
            let nothing = start(&base, &[]);
            connect("udp", 42_000, 53);
            let outcome = nothing.finish();
            assert_eq!(
                (outcome.code, outcome.text().as_str()),
                (Some(0), ""),
                "{outcome:?}"
            );

            let program = folder.join("given");
            let words = [
                "/bin/sh",
                "-c",
                "cat >> \"$0\"",
                program.to_str().expect("a path"),
            ];
            let watch = start(
                &base,
                &[&["--format", "json", "--exec"], &words[..]].concat(),
            );
            connect("udp", 42_000, 54);
            sh(
                "conntrack -I -p udp -s 10.77.0.1 -d 10.77.0.2 --sport 42009 --dport 53 -t 60 -g 10.1.1.1",
            );
            let outcome = watch.finish();
            assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
            let new = objects(&outcome.text());
            assert_eq!(new.len(), 2, "{new:?}");
            assert!({ new.iter() }.all(|flow| flow["type"] == "flow" && flow["change"] == "new"));
            assert!({ new.iter() }.any(|flow| flow["dnat"]["address"] == "10.1.1.1"));
            vendor_tests::schema::assert_holds(&outcome.text());
            assert_eq!(
                objects(&fs::read_to_string(&program).expect("the program was started")),
                new
            );

            // From what was told, and then of what comes while it listens.
            let file = vendor_tests::files::file(&folder, "new.json", outcome.text());
            let before = fs::read_to_string(&base).expect("the baseline");
            let accept = |more: &[&str]| {
                let base = base.to_str().expect("a path");
                Launch::new(["watch", "--baseline", base, "--accept"].iter().chain(more)).run()
            };
            let accepted = accept(&[file.to_str().expect("a path")]);
            assert_eq!(accepted.code, Some(0), "{}", accepted.stderr);
            assert_eq!(told(&accepted).len(), 2);
            let after = fs::read_to_string(&base).expect("the baseline");
            assert_eq!(after.lines().count(), before.lines().count() + 2);
            vendor_tests::schema::assert_holds(&after);
            let watch = start(&base, &["--accept"]);
            connect("udp", 42_001, 54);
            connect("tcp", 42_001, 80);
            let outcome = watch.finish();
            assert_eq!(told(&outcome), ["new tcp 10.77.0.1 > 10.77.0.2 80"]);
            sh("conntrack -F");
            let watch = start(&base, &[]);
            connect("tcp", 42_002, 80);
            connect("udp", 42_002, 54);
            assert_eq!(watch.finish().code, Some(0));
        },
    );
}

#[test]
fn a_baseline_that_is_no_json_is_not_replaced() {
    let folder = Folder::new();
    let list = "TCPv4  [       0] src = 10.77.0.1:1024 to dst = 10.77.0.2:80 (confirmed)\n";
    let path = vendor_tests::files::file(&folder, "list.txt", list);
    let name = path.to_str().expect("a path");
    let outcome = Launch::new(["watch", "--baseline", name, "--accept", name]).run();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("conntracker merge"), "{outcome:?}");
    assert_eq!(fs::read_to_string(&path).expect("the list"), list);
    let missing = Launch::new(["watch", "--baseline", "/nowhere/x.json"]).run();
    assert_eq!(missing.code, Some(2), "{missing:?}");
    let both = Launch::new(["watch", "--baseline", name, "--confirmed"]).run();
    assert_eq!(both.code, Some(2), "{both:?}");
}

/// A time as captures have it, so many seconds from now.
fn ago(seconds: u64) -> String {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("a time");
    let output = std::process::Command::new("date")
        .args(["-u", "+%FT%T.000000Z", "-d"])
        .arg(format!("@{}", since.as_secs()))
        .output()
        .expect("date is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_flow_that_no_longer_comes_is_told_unless_it_is_open() {
    netns::run(
        "a_flow_that_no_longer_comes_is_told_unless_it_is_open",
        || {
            let folder = Folder::new();
            // For an hour each came every two seconds, but for the last, of which there was one connection.
            let flow = |port: u16, connections: u32| {
                format!(
                    r#"{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.77.0.1","src_port":1024,"src_port_collapsed":true,"dst":"10.77.0.2","dst_port":{port},"confirmed":true,"connections":{connections},"first_seen":"{}","last_seen":"{}"}}"#,
                    ago(7200 - 1),
                    ago(3600 + 1)
                )
            };
            let capture = format!(
                r#"{{"type":"capture","schema":1,"host":"x","start":"{}","end":"{}","source":"batch","verdict":"complete"}}"#,
                ago(7200),
                ago(3600)
            );
            let text = [
                capture,
                flow(80, 1800),
                flow(81, 1800),
                flow(82, 1800),
                flow(83, 1),
            ]
            .join("\n");
            let base = vendor_tests::files::file(&folder, "base.json", &text);
            // One that is open and makes no events any more.
            connect("tcp", 45_000, 81);
            let watch = start(&base, &["--format", "json"]);
            connect("tcp", 45_000, 82);
            until_true("what is overdue", || {
                String::from_utf8_lossy(&watch.stdout()).contains("overdue")
            });
            let outcome = watch.finish();
            assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
            let told = objects(&outcome.text());
            let [overdue] = told.as_slice() else {
                panic!("{told:?}");
            };
            assert_eq!(overdue["type"], "overdue");
            assert_eq!(overdue["flow"]["dst_port"], 80);
            assert_eq!(overdue["usual_gap_s"], 2);
            vendor_tests::schema::assert_holds(&outcome.text());
            // For other commands it is no flow.
            let seen = vendor_tests::files::file(&folder, "seen.json", outcome.text());
            let shown =
                Launch::new(["show", "--format", "csv", seen.to_str().expect("a path")]).run();
            assert_eq!(shown.text().lines().count(), 1, "{shown:?}");
        },
    );
}

#[test]
fn a_service_tells_in_the_journal_and_goes_on_after_a_loss() {
    if !rustix::process::geteuid().is_root() {
        vendor_tests::skipped!(
            "a_service_tells_in_the_journal_and_goes_on_after_a_loss: needs root"
        );
        return;
    }
    netns::run_with_names(
        "a_service_tells_in_the_journal_and_goes_on_after_a_loss",
        || {
            sh("mkdir -p /run/systemd/journal");
            let journal = UnixDatagram::bind("/run/systemd/journal/socket").expect("a socket");
            journal.set_nonblocking(true).expect("a socket");
            let folder = Folder::new();
            let base = baseline(&folder, "json", || {
                Flood::start("--entries 2000 --distinct 1000").finish();
            });
            let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
            let config = format!(
                "watch = [\"{}\"]\noutput = \"{}\"\nstate = \"{}\"\nmetrics-file = \"{}\"\nsource = \"batch\"\n\
             buffer = \"16K\"\nbuffer-max = \"16K\"\n",
                base.display(),
                path("flows.txt"),
                path("state.json"),
                path("figures.prom"),
            );
            let config = vendor_tests::files::file(&folder, "conntracker.toml", &config);
            let run = || {
                let words = ["JOURNAL_STREAM=1:1"];
                Launch::new(["--config", config.to_str().expect("a path")])
                    .under([&["env"], &words[..]].concat())
                    .start()
            };
            let mut entries = Vec::new();
            let hear = |entries: &mut Vec<String>| {
                let mut buffer = [0; 1 << 14];
                while let Ok(len) = journal.recv(&mut buffer) {
                    entries.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
                }
            };
            let service = run();
            service.stop();
            Flood::start("--entries 20000 --distinct 1000").finish();
            // Its event finds no room; its entry is still there.
            connect("udp", 40_000, 7000);
            service.resume();
            until_true("the flow that was missed", || {
                hear(&mut entries);
                entries.iter().any(|entry| entry.contains("=7000"))
            });
            connect("udp", 40_000, 7001);
            let outcome = service.finish();
            hear(&mut entries);
            let told = std::mem::take(&mut entries);
            let count = |field: &str| told.iter().filter(|entry| entry.contains(field)).count();
            assert_eq!(count("CONNTRACKER_NOTICE=new\n"), 2, "{told:?} {outcome:?}");
            assert_eq!(count("CONNTRACKER_DST_PORT=7000\n"), 1, "{told:?}");
            assert_eq!(count("CONNTRACKER_DST_PORT=7001\n"), 1, "{told:?}");
            assert!(count("CONNTRACKER_NOTICE=missed\n") > 0, "{told:?}");
            assert_eq!(
                count("MESSAGE=new      udp    10.77.0.1 > 10.77.0.2 7000\n"),
                1,
                "{told:?}"
            );
            let figures = fs::read_to_string(folder.join("figures.prom")).expect("figures");
            assert!(
                figures.contains("\nconntracker_watch_new_flows_total 2\n"),
                "{figures}"
            );
            // What the state holds was told by the run before.
            let again = run();
            connect("udp", 40_000, 7002);
            assert!(
                again
                    .finish()
                    .said
                    .contains("2 flows of the state are not in the baseline")
            );
            hear(&mut entries);
            let new = entries
                .iter()
                .filter(|entry| entry.contains("NOTICE=new\n"));
            assert_eq!(new.count(), 1, "{entries:?}");
        },
    );
}

#[test]
fn what_a_ruleset_would_not_accept_is_new() {
    netns::run("what_a_ruleset_would_not_accept_is_new", || {
        let folder = Folder::new();
        let ruleset = vendor_tests::files::file(
            &folder,
            "base.nft",
            "table inet filter {\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy drop;\n\
             \t\tct state established,related accept\n\t\ttcp dport 443 accept\n\t\ttcp dport 22 reject\n\t}\n}\n",
        );
        // A capture beside it adds what it has.
        let base = baseline(&folder, "json", || connect("udp", 40_000, 53));
        let both = [
            ruleset.to_str().expect("a path"),
            base.to_str().expect("a path"),
        ];
        let args = ["watch", "--baseline", both[0], both[1], "--format", "json"];
        let watch = Launch::new(args).start();
        for from in 0..3 {
            for port in [443, 22, 23] {
                connect("tcp", 40_000 + from, port);
            }
            connect("udp", 41_000 + from, 53);
            connect("udp", 41_000 + from, 54);
            std::thread::sleep(Duration::from_millis(600));
        }
        let outcome = watch.finish();
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        let text = outcome.text();
        vendor_tests::schema::assert_holds(&text);
        let mut found: Vec<_> = objects(&text)
            .iter()
            .map(|flow| {
                let word = |name: &str| flow[name].as_str().expect(name).to_owned();
                let port = flow["dst_port"].as_u64().expect("a port");
                (
                    word("change"),
                    port,
                    word("ruleset_verdict"),
                    word("ruleset_reason"),
                )
            })
            .collect();
        found.sort_by_key(|flow| flow.1);
        let line = |port, verdict: &str, rule: &str| {
            let reason = format!("inet filter forward: {rule}");
            ("new".to_owned(), port, verdict.to_owned(), reason)
        };
        let expected = [
            line(22, "rejected", "tcp dport 22 reject"),
            line(23, "dropped", "policy drop"),
            line(54, "dropped", "policy drop"),
        ];
        assert_eq!(found, expected, "{}", outcome.stderr);
        // Nothing of the judge is left, and nothing of it came into this namespace.
        assert!(vendor_tests::program::run("nft", ["list", "tables"]).is_empty());
    });
}
