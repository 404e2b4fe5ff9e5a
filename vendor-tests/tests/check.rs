//! `conntracker check` as a command: exit statuses, messages, limits, privileges, and what it leaves alone.

use std::fs;

use conntracker::testing::check::Hints;
use conntracker::testing::check::Judge;
use conntracker::testing::check::Ruleset;
use conntracker::testing::formats::json::{self, Line};
use vendor_tests::capture::Launch;
use vendor_tests::checking::{HOST, check, check_text, ruleset, text};
use vendor_tests::files::{file, on};
use vendor_tests::judging::Cases;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::terminal::Terminal;

#[test]
fn exit_statuses_tell() {
    netns::run("exit_statuses_tell", || {
        let rules = "table inet filter { chain input { type filter hook input priority 0
            tcp dport 23 drop\n ct state new,established accept\n }\n}";
        let passing = "tcp 203.0.113.5 192.0.2.10:443: accepted, reply accepted\n";
        let (_, outcome) = check_text(rules, passing, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome.text().contains("every confirmed flow passes"),
            "{outcome:?}"
        );
        // Unconfirmed flows never make it fail, and are judged only if asked for.
        let unconfirmed = "tcp 203.0.113.5 192.0.2.10:23 unconfirmed: dropped by inet filter input: tcp dport 23 drop\n";
        let both = format!("{passing}{unconfirmed}");
        let (_, outcome) = check_text(rules, &both, &[]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome.text().contains("1 unconfirmed flow was left out"),
            "{outcome:?}"
        );
        let (cases, outcome) = check_text(rules, &both, &["--all", "--format", "json"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        cases.compare(&outcome.text());
        let confirmed = both.replace(" unconfirmed", "");
        let (_, outcome) = check_text(rules, &confirmed, &[]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        // What the kernel does not take, or not forward, whatever the rules say.
        for flow in [
            "tcp 224.0.0.9 192.0.2.10:1: undecided",
            "tcp fe80::5 [2001:db8:9::77]:1: undecided",
        ] {
            let (_, outcome) = check_text(rules, flow, &[]);
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(outcome.text().contains("not by the ruleset"), "{outcome:?}");
        }
    });
}

#[test]
fn flows_that_the_captures_lack_are_not_said_to_pass() {
    netns::run("flows_that_the_captures_lack_are_not_said_to_pass", || {
        let folder = Folder::new();
        let capture = r#"{"type":"capture","schema":1,"host":"gw","interfaces":[{"name":"lan","addresses":["192.0.2.10/24"]}]}"#;
        let flow = r#"{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"203.0.113.5","src_port":1024,"src_port_collapsed":true,"dst":"192.0.2.10","dst_port":443,"confirmed":true,"connections":1}"#;
        let whole = format!("{capture}\n{flow}\n");
        let cut = whole.replace(r#""schema":1"#, r#""schema":1,"end_mark":true"#);
        for (rules, text, code) in [
            ("accept", whole.clone(), 0),
            ("accept", cut.clone(), 3),
            ("accept", format!("{whole}nonsense\n"), 3),
            ("accept", "nonsense\n".to_owned(), 2),
            ("drop", cut, 1),
        ] {
            let rules = file(
                &folder,
                "rules.nft",
                format!(
                    "table inet f {{ chain i {{ type filter hook input priority 0; {rules}\n }}\n}}"
                ),
            );
            let flows = file(&folder, "flows", &text);
            let outcome = on("check", &[&rules, &flows]);
            assert_eq!(outcome.code, Some(code), "{text}: {outcome:?}");
            let told = outcome.text().contains("the captures are incomplete");
            assert_eq!(told, text != whole, "{outcome:?}");
            let json = on("check --format json", &[&rules, &flows]).text();
            let told = json.contains(r#""captures_incomplete":true"#);
            assert_eq!(told, text != whole, "{json}");
        }
    });
}

#[test]
fn a_wrong_ruleset_says_where() {
    netns::run("a_wrong_ruleset_says_where", || {
        let flow = "tcp 203.0.113.5 192.0.2.10:443: accepted\n";
        let (_, outcome) = check_text(
            "table inet f {\n  chain c {\n    tcp dport x drop\n  }\n}\n",
            flow,
            &[],
        );
        assert_eq!(
            (outcome.code, outcome.stdout.len()),
            (Some(2), 0),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("rules.nft:3:"),
            "{}",
            outcome.stderr
        );
        let (_, outcome) = check_text(
            "*filter\n:INPUT DROP\n-A INPUT -p nothing -j DROP\nCOMMIT\n",
            flow,
            &[],
        );
        assert_eq!(
            (outcome.code, outcome.stdout.len()),
            (Some(2), 0),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("rules.nft") && outcome.stderr.contains("line: 3"),
            "{}",
            outcome.stderr
        );
        let outcome = Launch::new(["check", "/nonexistent", "/nonexistent"]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let folder = Folder::new();
        let capture = folder.join("flows.json");
        fs::write(&capture, Cases::parse(flow).file()).expect("the folder can be written");
        let outcome = Launch::new(["check", text(&capture), "fw.nft"]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains("name the ruleset first"),
            "{outcome:?}"
        );
        let ruleset = folder.join("new.nft");
        fs::write(&ruleset, "table inet f {\n\tchain c {\n\t}\n}\n")
            .expect("the folder can be written");
        let outcome = Launch::new(["check", text(&ruleset), text(&ruleset)]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("--against"), "{outcome:?}");
        let outcome = Launch::new(["check", "only-one"]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    });
}

#[test]
fn what_the_capture_does_not_know_can_be_said() {
    netns::run("what_the_capture_does_not_know_can_be_said", || {
        let folder = Folder::new();
        let (path, capture) = (folder.join("rules.nft"), folder.join("flows.json"));
        let rules = "table inet f {
            chain i { type filter hook input priority 0; policy drop; iifname lan tcp dport 22 accept; }
            chain f { type filter hook forward priority 0; policy drop; ct state established accept; iifname lan oifname wan accept; }
        }";
        fs::write(&path, rules).expect("the folder can be written");
        let cases = Cases::parse(
            "tcp 192.168.7.5 192.168.7.1:22: accepted, reply accepted\n\
             tcp 192.168.7.5 203.0.113.9:443: accepted, reply accepted\n",
        );
        fs::write(&capture, cases.file()).expect("the folder can be written");
        let files = [text(&path), text(&capture)];
        let outcome = Launch::new(["check", files[0], files[1]]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        for word in ["--local ADDRESS/PREFIX", "--interface NETWORK=DEVICE"] {
            assert!(outcome.text().contains(word), "{outcome:?}");
        }
        let hints = [
            "--local",
            "192.168.7.1/24",
            "--interface",
            "192.168.0.0/16=lan",
            "--interface",
            "0.0.0.0/0=wan",
        ];
        let outcome = Launch::new(
            ["check", files[0], files[1], "--format=json"]
                .into_iter()
                .chain(hints),
        )
        .run();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        cases.compare(&outcome.text());
    });
}

/// As other tests use it: a ruleset once, flows many times.
#[test]
fn a_ruleset_given_as_text_judges_records_again_and_again() {
    let test = "a_ruleset_given_as_text_judges_records_again_and_again";
    netns::run(test, || {
        let rules = "table ip filter { chain input { type filter hook input priority 0; policy drop
            ct state established accept\n tcp dport { 22, 443 } accept\n }\n}";
        let cases = format!(
            "{HOST}tcp 203.0.113.5 192.0.2.10:443: accepted\ntcp 203.0.113.5 192.0.2.10:80: dropped\n\
             tcp 203.0.113.6 192.0.2.10:443: accepted\ntcp 203.0.113.6 192.0.2.10:81: dropped\n"
        );
        let cases = Cases::parse(&cases);
        let (mut captures, mut records) = (Vec::new(), Vec::new());
        for line in cases.file().lines() {
            match json::parse(line.as_bytes()).expect("a line of a capture") {
                Line::Captures(more, _) => captures.extend(more),
                Line::Flow(record, _) => records.push(*record),
                _ => {}
            }
        }
        let ruleset = Ruleset::new("text", rules);
        let mut judge = Judge::new(&[ruleset], &captures, &Hints::default()).expect("it loads");
        for _ in 0..3 {
            for (records, cases) in records.chunks(2).zip(cases.flows.chunks(2)) {
                let verdicts = judge.judge(records, &mut |_| ()).expect("it can be judged");
                let names: Vec<&str> = verdicts
                    .iter()
                    .map(|verdict| verdict.first.name())
                    .collect();
                let expected: Vec<&str> = cases.iter().map(|case| case.verdict.as_str()).collect();
                assert_eq!(names, expected);
                assert!(verdicts[0].reply.is_some() && verdicts[0].passes());
            }
        }
    });
}

#[test]
fn limits_are_named() {
    netns::run("limits_are_named", || {
        let rules = "*filter\n:INPUT ACCEPT\n\
            -A INPUT -m set --match-set elsewhere src -j DROP\n\
            -A INPUT -m devgroup --src-group 5 -j DROP\n\
            -A INPUT -m helper --helper ftp -j ACCEPT\n\
            -A INPUT -m time --timestart 10:00 --timestop 10:01 -j ACCEPT\n\
            -A INPUT -m cgroup --cgroup 1 -j ACCEPT\nCOMMIT\n";
        let cases = "tcp 203.0.113.5 192.0.2.10:443: undecided by ip filter INPUT: -m set --match-set elsewhere\n\
                     tcp 2001:db8:9::5 [2001:db8::10]:443: accepted, reply accepted\n\
                     limit: ipsets\nlimit: groups of interfaces\nlimit: conntrack helpers\n\
                     limit: times of day\nlimit: users, groups and cgroups\n\
                     limit: no chain of the ruleset sees IPv6\n";
        let (cases, outcome) = check_text(rules, cases, &["--format", "json"]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        cases.compare(&outcome.text());
    });
}

#[test]
fn the_namespace_it_is_started_in_is_left_alone() {
    netns::run("the_namespace_it_is_started_in_is_left_alone", || {
        sh(
            "nft add table inet mine; nft 'add chain inet mine c { type filter hook input priority 0; }'; nft add rule inet mine c counter",
        );
        let look = || {
            let links = run("ip", ["-o", "link"]);
            let routes = fs::read_to_string("/proc/thread-self/net/route").expect("routes");
            let setting = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a setting");
            let named = fs::read_dir("/run/netns").map_or(0, Iterator::count);
            let rules = run("nft", ["list", "ruleset"]);
            (rules, links, routes, setting, named)
        };
        let before = look();
        for name in ["workstation", "gateway"] {
            let cases =
                fs::read_to_string(ruleset(&format!("{name}.flows"))).expect("the cases are there");
            let (_, outcome) = check(&cases, &[&ruleset(&format!("{name}.nft"))], &[]);
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
        }
        assert_eq!(look(), before);
    });
}

#[test]
fn a_user_without_privileges_may_check() {
    let cases =
        Cases::parse(&fs::read_to_string(ruleset("server.flows")).expect("the cases are there"));
    let folder = Folder::new();
    let (capture, rules, tun) = (
        folder.join("flows.json"),
        folder.join("server.nft"),
        folder.join("tun"),
    );
    fs::write(&capture, cases.file()).expect("the folder can be written");
    fs::copy(ruleset("server.nft"), &rules).expect("the folder can be written");
    let program = folder.join("conntracker");
    fs::copy(vendor_tests::program::conntracker(), &program).expect("the program can be copied");
    // /dev/net/tun is open to everybody where udev runs (its 50-udev-default.rules); here it may not be.
    let script = format!(
        "set -e
        mknod {tun} c 10 200; chmod 666 {tun}; mount --bind {tun} /dev/net/tun
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
            {program} check {rules} {capture} --format json",
        tun = text(&tun),
        program = text(&program),
        rules = text(&rules),
        capture = text(&capture)
    );
    if !vendor_tests::program::nobody_may_have_namespaces() {
        vendor_tests::skipped!(
            "unprivileged check: needs root to become nobody, and user namespaces for nobody"
        );
        return;
    }
    let outcome = Launch::of("unshare", ["-m", "sh", "-c", &script]).run();
    assert_eq!(
        (outcome.stderr.as_str(), outcome.code),
        ("", Some(1)),
        "{outcome:?}"
    );
    cases.compare(&outcome.text());
}

/// What a check of so many dropped flows draws on a terminal. The kernel passes each by a thousand rules first.
fn drawn(flows: usize) -> String {
    let passed_by: String = (1..=1000)
        .map(|port| format!("udp dport {port} accept\n"))
        .collect();
    let rules = format!(
        "table inet f {{ chain f {{ type filter hook forward priority 0; policy drop\n{passed_by}}}\n}}"
    );
    let mut cases = HOST.to_owned();
    for flow in 0..flows {
        use std::fmt::Write as _;
        let (host, port) = (flow / 50_000, flow % 50_000 + 1001);
        let _ = writeln!(cases, "udp 203.0.113.5 198.51.100.{host}:{port}: dropped");
    }
    let folder = Folder::new();
    let (path, capture) = (folder.join("rules.nft"), folder.join("flows.json"));
    fs::write(&path, rules).expect("the folder can be written");
    fs::write(&capture, Cases::parse(&cases).file()).expect("the folder can be written");
    let terminal = Terminal::new(100);
    let outcome = Launch::new(["check", text(&path), text(&capture)])
        .stderr(terminal.end())
        .run();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    terminal.text()
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_taken_away() {
    netns::run("a_bar_is_drawn_on_a_terminal_and_taken_away", || {
        // How many take more than the second in which nothing is drawn is the machine's to say.
        let drawn = (0..6)
            .map(|doubled| drawn(10_000 << doubled))
            .find(|drawn| drawn.contains("judging  "))
            .expect("a bar");
        assert!(
            drawn.contains(" %  00:") && drawn.ends_with("\r\x1b[K"),
            "{drawn:?}"
        );
    });
}
