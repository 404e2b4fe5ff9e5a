//! `conntracker check`: rulesets in the style of common guides, with verdicts that were written by hand.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use conntracker::check::judge::Judge;
use conntracker::check::network::Hints;
use conntracker::check::ruleset::Ruleset;
use conntracker::json::{self, Line};
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::judging::Cases;
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::terminal::Terminal;
use vendor_tests::wait::bound;

fn ruleset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("rulesets")
        .join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Runs a check of a ruleset on cases, and returns the cases and how it went.
fn check(cases: &str, rulesets: &[&Path], args: &[&str]) -> (Cases, Outcome) {
    let cases = Cases::parse(cases);
    let folder = Folder::new();
    let capture = folder.join("flows.json");
    fs::write(&capture, cases.file()).expect("the folder can be written");
    let mut words = vec!["check", text(rulesets[0]), text(&capture)];
    for also in &rulesets[1..] {
        words.extend(["--also", text(also)]);
    }
    words.extend(args);
    let outcome = Launch::new(words).run();
    (cases, outcome)
}

/// Compares the verdicts on a ruleset's cases with the expected ones.
fn judge(test: &str, rulesets: &[&str], cases: &str) {
    netns::run(test, || {
        let cases = fs::read_to_string(ruleset(cases)).expect("the cases are there");
        let paths: Vec<PathBuf> = rulesets.iter().map(|name| ruleset(name)).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let (cases, outcome) = check(&cases, &paths, &["--format", "json"]);
        assert_eq!((outcome.stderr.as_str(), outcome.code), ("", Some(1)));
        cases.compare(&outcome.text());
    });
}

#[test]
fn a_workstation() {
    judge("a_workstation", &["workstation.nft"], "workstation.flows");
}

#[test]
fn a_server() {
    judge("a_server", &["server.nft"], "server.flows");
}

#[test]
fn a_gateway_with_nat() {
    judge("a_gateway_with_nat", &["gateway.nft"], "gateway.flows");
}

#[test]
fn a_bridge_of_vlans() {
    judge("a_bridge_of_vlans", &["vlans.nft"], "vlans.flows");
}

#[test]
fn a_host_of_containers() {
    let rulesets = ["docker.iptables", "docker.ip6tables"];
    judge("a_host_of_containers", &rulesets, "docker.flows");
}

const HOST: &str = "interface eth0 192.0.2.10/24 2001:db8::10/64\n\
                    route 0.0.0.0/0 192.0.2.1 eth0\nroute ::/0 - eth0\n";

/// Checks a ruleset given as text.
fn check_text(ruleset: &str, cases: &str, args: &[&str]) -> (Cases, Outcome) {
    let folder = Folder::new();
    let path = folder.join("rules.nft");
    fs::write(&path, ruleset).expect("the folder can be written");
    check(&format!("{HOST}{cases}"), &[&path], args)
}

#[test]
fn a_missing_rule_for_replies_shows() {
    netns::run("a_missing_rule_for_replies_shows", || {
        let rules = "table inet filter {
            chain input { type filter hook input priority 0; policy drop; tcp dport 443 accept; }
            chain output { type filter hook output priority 0; policy drop; udp dport 53 accept; }
        }";
        let cases = "tcp 203.0.113.5 192.0.2.10:443: accepted, reply dropped by inet filter output: policy drop\n\
                     udp 192.0.2.10 9.9.9.9:53: accepted, reply dropped by inet filter input: policy drop\n";
        let (cases, outcome) = check_text(rules, cases, &["--format", "json"]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        cases.compare(&outcome.text());
        let (_, outcome) = check_text(rules, "udp 192.0.2.10 9.9.9.9:53: accepted", &[]);
        let expected = "\nreplies of 1 flow dropped by the policy of table inet filter, chain input:\n    \
                        policy drop\n  udp    192.0.2.10 -> 9.9.9.9:53\n";
        assert!(outcome.text().contains(expected), "{}", outcome.text());
    });
}

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
        let outcome = Launch::new(["check", "only-one"]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    });
}

/// The other witness: a gateway with the ruleset, and real connections through it.
#[test]
fn real_connections_fare_as_judged() {
    netns::run("real_connections_fare_as_judged", || {
        let lab = Lab::new();
        let rules = "table ip nat {
            chain prerouting { type nat hook prerouting priority dstnat
                ip daddr 10.2.0.99 tcp dport 8080 dnat to 10.2.0.2:443
                ip daddr 10.1.0.1 tcp dport 81 redirect to :82
            }
            chain postrouting { type nat hook postrouting priority srcnat
                oifname side2 masquerade
            }
        }
        table inet filter {
            chain forward { type filter hook forward priority 0; policy drop
                ct state established,related accept
                iifname side1 oifname side2 tcp dport { 443, 444 } accept
                iifname side1 tcp dport 445 reject with tcp reset
                iifname side2 accept
            }
            chain input { type filter hook input priority 0; policy drop
                iif side1 tcp dport { 22, 82 } accept
                tcp sport 443 accept
            }
            chain output { type filter hook output priority 0
                tcp sport 22 drop
            }
        }";
        let folder = Folder::new();
        let path = folder.join("gateway.nft");
        fs::write(&path, rules).expect("the folder can be written");
        run("nft", ["-f", text(&path)]);
        let served = [443, 444, 445, 446];
        let far = |port| bound(|| TcpListener::bind(("10.2.0.2", port)));
        let near = |port| bound(|| TcpListener::bind(("10.1.0.1", port)));
        let _listeners = (
            lab.server.run(move || served.map(far)),
            [22, 23, 81, 82].map(near),
        );
        let mut cases = String::from("interface side1 10.1.0.1/24\ninterface side2 10.2.0.1/24\n");
        let targets = [
            "10.2.0.2:443",
            "10.2.0.2:444",
            "10.2.0.2:445",
            "10.2.0.2:446",
            "10.2.0.99:8080",
            "10.2.0.99:443",
            "10.1.0.1:22",
            "10.1.0.1:23",
            "10.1.0.1:81",
            "10.1.0.1:82",
        ];
        let mut passing = Vec::new();
        for target in targets {
            let address = target.parse().expect("an address");
            let patience = Duration::from_millis(300);
            let opened = lab
                .client
                .run(move || TcpStream::connect_timeout(&address, patience).is_ok());
            passing.push(opened);
            cases.push_str(&format!("tcp 10.1.0.2 {target}: judged\n"));
        }
        // Both kinds, or the comparison would show nothing.
        assert!(
            passing.contains(&true) && passing.contains(&false),
            "{passing:?}"
        );
        let (cases, outcome) = check(&cases, &[&path], &["--format", "json"]);
        assert_eq!((outcome.stderr.as_str(), outcome.code), ("", Some(1)));
        for (case, opened) in cases.flows.iter().zip(passing) {
            let verdict = outcome.text();
            let verdict = verdict
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
                .find(|line| {
                    let (flow, own) = (&line["flow"], &case.flow);
                    flow["dst"] == own["dst"] && flow["dst_port"] == own["dst_port"]
                })
                .expect("a verdict");
            // Nobody has the address behind 10.2.0.99:443: rules let through what is lost then.
            if case.line.contains("10.2.0.99:443") {
                assert_eq!(verdict["verdict"], "accepted");
                continue;
            }
            assert_eq!(
                verdict["reply"]["verdict"] == "accepted",
                opened,
                "{verdict}"
            );
        }
    });
}

#[test]
fn a_rule_behind_many_others_is_found() {
    netns::run("a_rule_behind_many_others_is_found", || {
        // Each rule that matches makes a trace event.
        let many = "tcp dport 443 counter\n".repeat(400);
        let rules = format!(
            "table inet f {{\n chain i {{ type filter hook input priority 0\n {many} tcp dport 443 reject\n }}\n}}"
        );
        let cases = "tcp 203.0.113.5 192.0.2.10:443: rejected by inet f i: tcp dport 443 reject\n";
        let (cases, outcome) = check_text(&rules, cases, &["--format", "json"]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        cases.compare(&outcome.text());
    });
}

#[test]
fn rules_of_the_earliest_hook_are_named_too() {
    netns::run("rules_of_the_earliest_hook_are_named_too", || {
        let rules = "table netdev early {\n chain ingress {
            type filter hook ingress device \"eth0\" priority -500; policy accept
            ip saddr 203.0.113.66 tcp dport 443 drop\n }\n}
            table inet late {\n chain ingress { type filter hook ingress device \"eth0\" priority 0
            ip6 saddr 2001:db8:66::/48 drop\n }\n}";
        let cases = "tcp 203.0.113.66 192.0.2.10:443: dropped by netdev early ingress: ip saddr 203.0.113.66 tcp dport 443 drop\n\
                     tcp 203.0.113.66 192.0.2.10:80: accepted, reply accepted\n\
                     tcp 2001:db8:66::1 [2001:db8::10]:80: dropped by inet late ingress: ip6 saddr\n";
        let (cases, outcome) = check_text(rules, cases, &["--format", "json"]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        cases.compare(&outcome.text());
    });
}

#[test]
fn a_file_of_rules_alone_gets_the_captured_dnat() {
    netns::run("a_file_of_rules_alone_gets_the_captured_dnat", || {
        let rules =
            "table inet filter { chain forward { type filter hook forward priority 0; policy drop
            ct state established accept\n ip daddr 10.0.0.5 tcp dport 8443 accept\n }\n}";
        let cases = "interface lan 10.0.0.1/24\n\
                     tcp 203.0.113.5 192.0.2.10:443: accepted, reply accepted\n\
                     limit: the ruleset translates no addresses";
        let mut cases = Cases::parse(&format!("{HOST}{cases}"));
        cases.flows[0].flow["dnat"] = serde_json::json!({"address": "10.0.0.5", "port": 8443});
        let folder = Folder::new();
        let (path, capture) = (folder.join("rules.nft"), folder.join("flows.json"));
        fs::write(&path, rules).expect("the folder can be written");
        fs::write(&capture, cases.file()).expect("the folder can be written");
        let outcome = Launch::new(["check", text(&path), text(&capture), "--format", "json"]).run();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        cases.compare(&outcome.text());
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
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
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
                Line::Captures(more) => captures.extend(more),
                Line::Flow(record, _) => records.push(*record),
                Line::End(_) | Line::Other => {}
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
        let cases = "tcp 203.0.113.5 192.0.2.10:443: accepted, reply accepted\n\
                     tcp 2001:db8:9::5 [2001:db8::10]:443: accepted, reply accepted\n\
                     limit: ipsets\nlimit: groups of interfaces\nlimit: conntrack helpers\n\
                     limit: times of day\nlimit: users, groups and cgroups\n\
                     limit: no chain of the ruleset sees IPv6\n";
        let (cases, outcome) = check_text(rules, cases, &["--format", "json"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
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
    let may = std::process::Command::new("unshare")
        .args([
            "-m",
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
            "-Urn",
            "true",
        ])
        .output();
    if !may.as_ref().is_ok_and(|output| output.status.success()) {
        vendor_tests::skipped!(
            "unprivileged check: needs root to become nobody, and user namespaces for nobody: {may:?}"
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

#[test]
fn a_bar_is_drawn_on_a_terminal_and_taken_away() {
    netns::run("a_bar_is_drawn_on_a_terminal_and_taken_away", || {
        // Dropped flows take the longest.
        let rules =
            "table inet f { chain f { type filter hook forward priority 0; policy drop; }\n}";
        let mut cases = HOST.to_owned();
        for port in 1..40_000 {
            use std::fmt::Write as _;
            let _ = writeln!(cases, "tcp 203.0.113.5 198.51.100.7:{port}: dropped");
        }
        let folder = Folder::new();
        let (path, capture) = (folder.join("rules.nft"), folder.join("flows.json"));
        fs::write(&path, rules).expect("the folder can be written");
        fs::write(&capture, Cases::parse(&cases).file()).expect("the folder can be written");
        let terminal = Terminal::new(100);
        let outcome = Launch::new(["check", text(&path), text(&capture)])
            .stderr(terminal.end())
            .run();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let drawn = terminal.text();
        assert!(
            drawn.contains("judging  ") && drawn.contains(" %") && drawn.ends_with("\r\x1b[K"),
            "{drawn:?}"
        );
    });
}
