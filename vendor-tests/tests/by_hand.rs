//! What is given by hand to `conntracker rules`: `--clients`, `--servers` and `--names`, for all services and for one, as
//! the kernel judges the rules by `check`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns;
use vendor_tests::temp::Folder;
use vendor_tests::week;

/// A gateway between a network of clients, one of administrators, and the Internet.
const HEAD: &str = r#"{"type":"capture","schema":1,"host":"gw1","program":"conntracker 1.0.0","source":"batch","options":["--existing","--all-protocols"],"verdict":"complete","marks_picked_up":true,"start":"2026-01-01T00:00:00.000000Z","end":"2026-01-01T23:59:59.000000Z","interfaces":[{"name":"lo","addresses":["127.0.0.1/8"]},{"name":"lan0","addresses":["10.1.0.1/24"]},{"name":"adm0","addresses":["10.0.9.1/24"]},{"name":"wan0","addresses":["203.0.113.1/24"]}],"routes":[{"destination":"0.0.0.0/0","gateway":"203.0.113.254","interface":"wan0"}]}"#;

/// A flow: protocol, source, destination, port.
type Flow = (&'static str, &'static str, &'static str, u16);

/// What was seen.
const SEEN: [Flow; 5] = [
    ("tcp", "10.0.9.5", "10.1.0.80", 22),
    ("tcp", "10.1.0.20", "198.51.100.9", 443),
    ("udp", "10.1.0.20", "198.51.100.53", 53),
    ("tcp", "10.1.0.20", "198.51.100.25", 25),
    ("tcp", "10.1.0.20", "203.0.113.1", 80),
];

/// What passes besides with `--clients 22=10.0.9.0/24 --servers 443=any`.
const OPENED: [Flow; 3] = [
    ("tcp", "10.0.9.77", "10.1.0.80", 22),
    ("tcp", "10.1.0.20", "192.0.2.77", 443),
    ("tcp", "10.1.0.20", "8.8.8.8", 443),
];

/// What does not.
const CLOSED: [Flow; 8] = [
    ("tcp", "10.1.0.20", "10.0.9.5", 22),
    ("tcp", "10.0.9.77", "10.1.0.81", 22),
    ("tcp", "10.0.8.5", "10.1.0.80", 22),
    ("tcp", "10.1.0.21", "192.0.2.77", 443),
    ("udp", "10.1.0.20", "192.0.2.77", 53),
    ("tcp", "10.0.9.77", "192.0.2.77", 443),
    ("tcp", "10.1.0.20", "192.0.2.77", 25),
    ("tcp", "10.1.0.21", "203.0.113.1", 80),
];

fn capture(flows: &[Flow]) -> String {
    let mut text = format!("{HEAD}\n");
    for (protocol, source, destination, port) in flows {
        let number = if *protocol == "tcp" { 6 } else { 17 };
        let _ = writeln!(
            text,
            r#"{{"type":"flow","family":"ipv4","protocol":"{protocol}","protocol_number":{number},"src":"{source}","src_port":1024,"src_port_collapsed":true,"dst":"{destination}","dst_port":{port},"confirmed":true,"connections":1,"first_seen":"2026-01-01T06:30:00.000000Z","last_seen":"2026-01-01T06:30:00.000000Z"}}"#
        );
    }
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Rules of what was seen, with more options.
fn rules(folder: &Folder, more: &[&str]) -> Outcome {
    let seen = folder.join("seen.json");
    fs::write(&seen, capture(&SEEN)).expect("a file");
    let mut args = vec!["rules", text(&seen)];
    args.extend(more);
    Launch::new(&args).run()
}

/// How many of some flows pass, as the kernel has it.
fn passed(folder: &Folder, rules: &Path, flows: &[Flow]) -> usize {
    let path = folder.join("probes.json");
    fs::write(&path, capture(flows)).expect("a file");
    let outcome = Launch::new(["check", "--format", "json", text(rules), text(&path)]).run();
    let report = outcome.text();
    let verdicts: Vec<Value> = { report.lines() }
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "verdict")
        .collect();
    assert_eq!(verdicts.len(), flows.len(), "{outcome:?}");
    let accepted = verdicts.iter().filter(|line| line["verdict"] == "accepted");
    accepted.count()
}

#[test]
fn values_for_one_service_open_it_and_no_other() {
    netns::run("values_for_one_service_open_it_and_no_other", || {
        let folder = Folder::new();
        let (path, report) = (folder.join("rules.nft"), folder.join("report"));
        let given = ["--clients", "22=10.0.9.0/24", "--servers", "443=any"];
        for mode in [&[][..], &["--generalize"]] {
            let files = ["-o", text(&path), "--report", text(&report)];
            let outcome = rules(&folder, &[mode, &given, &files].concat());
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let ruleset = fs::read_to_string(&path).expect("it was written");
            for (flows, expected) in [
                (&SEEN[..], SEEN.len()),
                (&OPENED, OPENED.len()),
                (&CLOSED, 0),
            ] {
                let found = passed(&folder, &path, flows);
                assert_eq!(found, expected, "{mode:?} {flows:?}\n{ruleset}");
            }
            let report = fs::read_to_string(&report).expect("it was written");
            let told: &[&str] = if mode.is_empty() {
                &[
                    "tcp port 22, 10.0.9.0/24 except 10.0.9.5 to 10.1.0.80",
                    "10.1.0.20 to 0.0.0.0/0 except 198.51.100.9",
                ]
            } else {
                &[
                    "as far as given by --clients",
                    "as far as given by --servers",
                ]
            };
            for words in told {
                assert!(report.contains(words), "{words}: {report}");
            }
        }
    });
}

#[test]
fn a_value_that_no_flow_is_an_example_of_is_warned_of() {
    let folder = Folder::new();
    for mode in [&[][..], &["--generalize"]] {
        let outcome = rules(
            &folder,
            &[mode, &["--clients", "tcp/22=10.7.0.0/16"]].concat(),
        );
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let warning = "warning: --clients tcp/22=10.7.0.0/16 changes nothing";
        assert!(format!("{outcome:?}").contains(warning), "{outcome:?}");
        assert!(
            outcome
                .text()
                .contains("WARNING: --clients tcp/22=10.7.0.0/16"),
            "{outcome:?}"
        );
    }
}

#[test]
fn names_of_files_are_definitions_of_the_ruleset() {
    netns::run("names_of_files_are_definitions_of_the_ruleset", || {
        let folder = Folder::new();
        let (toml, hosts, leases) = (
            folder.join("hosts.toml"),
            folder.join("hosts"),
            folder.join("leases"),
        );
        // Names that would end a line, or are words of nft's language, are none of a ruleset.
        fs::write(
            &toml,
            "[networks]\nadmins = \"10.0.9.0/24\"\n[hosts]\n\"table\" = \"198.51.100.9\"\n\"x\\\"; flush ruleset #\" = \"198.51.100.25\"\n",
        )
        .expect("a file");
        fs::write(
            &hosts,
            "127.0.0.1 localhost\n10.1.0.80 build.example build\n",
        )
        .expect("a file");
        fs::write(&leases, "1767225600 02:00:00:00:00:01 10.1.0.20 desk *\n").expect("a file");
        let path = folder.join("rules.nft");
        let given = ["--clients", "ssh=admins", "--servers", "443=any"];
        let names = [
            "--names",
            text(&toml),
            "--names",
            text(&hosts),
            "--names",
            text(&leases),
        ];
        for mode in [&[][..], &["--generalize"]] {
            let outcome = rules(
                &folder,
                &[mode, &given, &names, &["-o", text(&path)]].concat(),
            );
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let ruleset = fs::read_to_string(&path).expect("it was written");
            for line in [
                "define admins = 10.0.9.0/24\n",
                "define build_example = 10.1.0.80\n",
            ] {
                assert!(ruleset.contains(line), "{ruleset}");
            }
            assert!(ruleset.contains("ip daddr $build_example tcp"), "{ruleset}");
            // In comments nothing is left of them that ends one.
            assert!(!ruleset.contains("; flush ruleset"), "{ruleset}");
            assert!(!ruleset.contains("flush ruleset #"), "{ruleset}");
            let is_told = ruleset.contains("ssh from admins to build.example");
            assert!(is_told || !mode.is_empty(), "{ruleset}");
            assert_eq!(passed(&folder, &path, &SEEN), SEEN.len(), "{ruleset}");
            assert_eq!(passed(&folder, &path, &CLOSED), 0, "{ruleset}");
            netns::sh(&format!("nft -f {0} && nft -f {0}", text(&path)));
        }
    });
}

#[test]
fn several_hosts_with_a_name_are_a_set_of_that_name() {
    netns::run("several_hosts_with_a_name_are_a_set_of_that_name", || {
        let folder = Folder::new();
        let names = folder.join("hosts.toml");
        // The hosts of the flow's clients and one beside, so that two of them fill a block.
        fs::write(&names, "[hosts]\n\"the \\\"admins\\\"\" = [\"10.0.9.4\", \"10.0.9.5\", \"10.0.9.9\"]\nserver = \"10.1.0.80\"\n")
            .expect("a file");
        let seen: Vec<week::Flow> = ["10.0.9.4", "10.0.9.5", "10.0.9.9"]
            .map(|client| week::flow("tcp", client, "10.1.0.80", 22))
            .to_vec();
        let path = folder.join("rules.nft");
        let file = folder.join("seen.json");
        fs::write(&file, week::capture(1, &seen)).expect("a file");
        let args = ["--names", text(&names), "-o", text(&path)];
        assert_eq!(week::rules_of(&[file], &args), 0);
        let ruleset = fs::read_to_string(&path).expect("it was written");
        for part in [
            "define the__admins_ = { 10.0.9.4/31, 10.0.9.9 }\n",
            "\tset the__admins_ {",
            "comment \"the ?admins?\"",
            "ip saddr @the__admins_ ip daddr $server",
            "ssh from the ?admins? to server: 3 clients",
        ] {
            assert!(ruleset.contains(part), "{part}: {ruleset}");
        }
        let verdicts = week::judged(&folder, &[text(&path)], &seen);
        assert!(verdicts.values().all(|one| one == "accepted"), "{ruleset}");
        let other = [week::flow("tcp", "10.0.9.6", "10.1.0.80", 22)];
        let verdicts = week::judged(&folder, &[text(&path)], &other);
        assert!(verdicts.values().all(|one| one == "dropped"), "{ruleset}");
    });
}

#[test]
fn values_that_say_nothing_are_refused() {
    let folder = Folder::new();
    let names = folder.join("names");
    fs::write(&names, "[hosts]\nprinter = \"10.1.0.300\"\n").expect("a file");
    for (more, code, told) in [
        (&["--clients", "22=office"][..], 2, "--names"),
        (&["--servers", "99999=any"], 2, "1 to 65535"),
        (&["--servers", "nothing-such=any"], 2, "/etc/services"),
        (&["--clients", "10.0.9.5/24"], 2, "10.0.9.0/24"),
        (&["--names", text(&names)], 1, "line 2"),
        (&["--names", "/nonexistent/names"], 1, "/nonexistent/names"),
    ] {
        let outcome = rules(&folder, more);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(format!("{outcome:?}").contains(told), "{told}: {outcome:?}");
    }
}
