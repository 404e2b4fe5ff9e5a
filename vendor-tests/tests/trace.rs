//! `conntracker trace`: which rule let a flow through, and which stopped it. The counters of the rules are the oracle: the rule
//! that is named is the one whose counter moved.

use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::lab::Namespace;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::run;
use vendor_tests::wait::{bound, until_true};

/// A neighbour behind a pair of devices: it has 10.9.0.2 and fd09::2, this host 10.9.0.1 and fd09::1.
fn neighbour() -> Namespace {
    let other = Namespace::new();
    let thread = other.thread_id();
    sh(&format!(
        "ip link add v0 type veth peer name v1 netns {thread}"
    ));
    sh("ip addr add 10.9.0.1/24 dev v0; ip addr add fd09::1/64 dev v0 nodad; ip link set v0 up");
    other.run(|| {
        sh("ip addr add 10.9.0.2/24 dev v1; ip addr add fd09::2/64 dev v1 nodad; ip link set v1 up");
    });
    until_true("the link", || {
        run("ip", ["-br", "link", "show", "v0"]).contains("UP")
    });
    other
}

/// Loads a ruleset.
fn load(rules: &str) {
    let folder = vendor_tests::temp::Folder::new();
    let path = vendor_tests::files::file(&folder, "rules.nft", rules);
    run("nft", ["-f", path.to_str().expect("a path")]);
}

fn start(args: &[&str]) -> Capture {
    let capture = Launch::new(["trace"].iter().chain(args)).spawn();
    until_true("the table", || {
        run("nft", ["list", "tables"]).contains("conntracker-trace-")
    });
    capture
}

/// Sends a datagram from the neighbour to each port of an address.
fn send(from: &Namespace, to: &'static str, ports: std::ops::Range<u16>) {
    from.run(move || {
        let own = if to.contains(':') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(own).expect("a socket");
        for port in ports {
            // The one before may have been answered by an error.
            let sent = || socket.send_to(b"x", (to, port));
            sent().or_else(|_| sent()).expect("sent");
        }
    });
}

/// Flows by port: the verdict, and the texts of the rules that decided.
fn flows(list: &str) -> Vec<(String, u64, String, Vec<String>)> {
    let lines = list
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let flows = lines.filter(|line| line["type"] == "traced");
    let mut flows: Vec<_> = flows
        .map(|flow| {
            let rules = flow["rules"].as_array().expect("rules").iter();
            let rules =
                rules.filter(|rule| rule["handle"].is_u64() || rule["verdict"] != "accepted");
            (
                flow["dst"].as_str().expect("dst").to_owned(),
                flow["dst_port"].as_u64().unwrap_or(0),
                flow["verdict"].as_str().expect("verdict").to_owned(),
                rules
                    .map(|rule| rule["text"].as_str().expect("text").to_owned())
                    .collect(),
            )
        })
        .filter(|(dst, ..)| dst.starts_with("10.9.") || dst.starts_with("fd09:"))
        .collect();
    flows.sort();
    flows
}

const RULES: &str = "
table inet filter {
	counter web { }
	counter refused { }
	counter mapped { }
	chain input {
		type filter hook input priority 0; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		ct state established,related accept
		udp dport 80 counter name web accept
		udp dport 22 counter name refused reject
		udp dport 90-99 jump nineties
		udp dport vmap { 70 : goto seventy, 71 : drop }
	}
	chain nineties {
		udp dport 95 return
		udp dport 90-96 accept
	}
	chain seventy {
		counter name mapped accept
	}
}
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		udp dport 8080 redirect to :80
	}
}
";

#[test]
fn the_rule_that_is_named_is_the_one_whose_counter_moved() {
    netns::run(
        "the_rule_that_is_named_is_the_one_whose_counter_moved",
        || {
            let other = neighbour();
            load(RULES);
            let capture = start(&["--format", "json"]);
            for to in ["10.9.0.1", "fd09::1"] {
                // Each twice: a flow is told once.
                for port in [80, 22, 23, 90, 95, 70, 71, 80, 22, 23] {
                    send(&other, to, port..port + 1);
                }
            }
            send(&other, "10.9.0.1", 8080..8081);
            // Refused ones were answered 2 times each, and the others 2 or 1 times: each went by its rule.
            let counter = |name: &str| {
                let text = run("nft", ["list", "counter", "inet", "filter", name]);
                let words: Vec<&str> = text.split_whitespace().collect();
                let at = words
                    .iter()
                    .position(|word| *word == "packets")
                    .expect("packets");
                words[at + 1].parse::<u64>().expect("a number")
            };
            until_true("all packets", || {
                counter("web") == 5 && counter("refused") == 4
            });
            assert_eq!(counter("mapped"), 2);
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            let of = |port: u64, verdict: &str, rules: &[&str]| {
                (
                    port,
                    verdict.to_owned(),
                    rules
                        .iter()
                        .map(|&rule| rule.to_owned())
                        .collect::<Vec<_>>(),
                )
            };
            let (accepted, dropped) = ("accepted", "dropped");
            let web = "udp dport 80 counter name \"web\" accept";
            let expected = [
                of(
                    22,
                    "rejected",
                    &["udp dport 22 counter name \"refused\" reject"],
                ),
                of(23, dropped, &["policy drop"]),
                of(70, accepted, &["counter name \"mapped\" accept"]),
                of(
                    71,
                    dropped,
                    &["udp dport vmap { 70 : goto seventy, 71 : drop }"],
                ),
                of(80, accepted, &[web]),
                of(90, accepted, &["udp dport 90-96 accept"]),
                of(95, dropped, &["policy drop"]),
            ];
            let found = flows(&outcome.text());
            for to in ["10.9.0.1", "fd09::1"] {
                let mut expected = expected.to_vec();
                if to.contains('.') {
                    expected.push(of(8080, accepted, &["udp dport 8080 redirect to :80", web]));
                }
                let found: Vec<_> = found
                    .iter()
                    .filter(|(dst, ..)| dst == to)
                    .map(|(_, port, verdict, rules)| (*port, verdict.clone(), rules.clone()))
                    .collect();
                assert_eq!(found, expected, "{to}");
            }
            assert!(!run("nft", ["list", "tables"]).contains("conntracker"));
        },
    );
}

#[test]
fn every_denied_flow_is_told_once() {
    netns::run("every_denied_flow_is_told_once", || {
        let other = neighbour();
        load(
            "table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\n }\n}\n",
        );
        let capture = start(&["--denied"]);
        for _ in 0..2 {
            send(&other, "10.9.0.1", 10_000..13_000);
        }
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let list = outcome.text();
        let own = list.lines().filter(|line| line.contains(" > 10.9.0.1:"));
        let mut ports: Vec<u16> = own
            .map(|line| {
                assert!(line.starts_with("dropped   udp "), "{line}");
                assert!(line.ends_with("inet filter input: policy drop"), "{line}");
                let port = line.split("10.9.0.1:").nth(1).expect("a port");
                port.split(' ')
                    .next()
                    .expect("a port")
                    .parse()
                    .expect("a port")
            })
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, (10_000..13_000).collect::<Vec<u16>>());
    });
}

#[test]
fn rules_of_iptables_have_its_words() {
    netns::run("rules_of_iptables_have_its_words", || {
        let other = neighbour();
        for command in [
            "iptables-nft -A INPUT -p udp -m multiport --dports 80,81 -j ACCEPT",
            "iptables-nft -A INPUT -p udp --dport 22 -j REJECT",
            "iptables-nft -P INPUT DROP",
            "ip6tables-nft -A INPUT -p udp --dport 80 -m comment --comment web -j DROP",
        ] {
            sh(command);
        }
        let capture = start(&["--format", "json"]);
        for (to, ports) in [("10.9.0.1", [81, 22, 23]), ("fd09::1", [80, 22, 23])] {
            for port in ports {
                send(&other, to, port..port + 1);
            }
        }
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let found = flows(&outcome.text());
        let rule = |to: &str, port: u64| {
            let flow = found.iter().find(|(dst, of, ..)| dst == to && *of == port);
            let (_, _, verdict, rules) = flow.expect("listed");
            (verdict.clone(), rules.join("; "))
        };
        let is = |to, port, verdict: &str, text: &str| {
            assert_eq!(
                rule(to, port),
                (verdict.to_owned(), text.to_owned()),
                "{to} {port}"
            );
        };
        is(
            "10.9.0.1",
            81,
            "accepted",
            "-A INPUT -p udp -m multiport --dports 80,81 -j ACCEPT",
        );
        let (verdict, text) = rule("10.9.0.1", 22);
        assert_eq!(verdict, "rejected");
        assert!(
            text.starts_with("-A INPUT -p udp -m udp --dport 22 -j REJECT"),
            "{text}"
        );
        is("10.9.0.1", 23, "dropped", "policy drop");
        let text = "-A INPUT -p udp -m udp --dport 80 -m comment --comment web -j DROP";
        is("fd09::1", 80, "dropped", text);
        is("fd09::1", 22, "accepted", "");
    });
}

/// Rules of iptables-legacy that decide, with the packets that each has counted.
fn counted(program: &str) -> Vec<(String, u64)> {
    let text = run(program, ["-c"]);
    let rule = |line: &str| {
        let (counts, rule) = line.strip_prefix('[')?.split_once("] ")?;
        let packets = counts.split(':').next()?.parse().expect("a number");
        let decides = ["ACCEPT", "DROP", "REJECT", "REDIRECT", "DNAT"];
        let decides = decides
            .iter()
            .any(|target| rule.contains(&format!("-j {target}")));
        decides.then(|| (rule.to_owned(), packets))
    };
    text.lines().filter_map(rule).collect()
}

fn loggers() -> [String; 2] {
    ["2", "10"].map(|family| {
        std::fs::read_to_string(format!("/proc/sys/net/netfilter/nf_log/{family}"))
            .expect("a setting")
    })
}

/// Rules of iptables-legacy, for both families: the last one of INPUT and that of `open` have no condition, which the kernel
/// calls a policy and a return.
const LEGACY: [&str; 11] = [
    "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    "-A INPUT -p udp --dport 80 -j ACCEPT",
    "-A INPUT -p udp --dport 22 -m comment --comment no-shell -j REJECT",
    "-N web",
    "-N open",
    "-A web -p udp --dport 95 -j RETURN",
    "-A web -p udp -j ACCEPT",
    "-A open -j ACCEPT",
    "-A INPUT -p udp --dport 90:99 -j web",
    "-A INPUT -p udp --dport 70 -g open",
    "-A INPUT -p udp -j DROP",
];

#[test]
fn rules_of_iptables_legacy_are_those_whose_counters_moved() {
    netns::run(
        "rules_of_iptables_legacy_are_those_whose_counters_moved",
        || {
            if !std::path::Path::new("/proc/net/ip_tables_names").exists() {
                return vendor_tests::skipped!("this kernel has no iptables-legacy");
            }
            let other = neighbour();
            for family in ["iptables-legacy", "ip6tables-legacy"] {
                LEGACY
                    .iter()
                    .for_each(|rule| sh(&format!("{family} {rule}")));
            }
            sh(
                "iptables-legacy -t nat -A PREROUTING -p udp --dport 8080 -j REDIRECT --to-ports 80",
            );
            sh("iptables-legacy -t mangle -A PREROUTING -p udp --dport 80 -j MARK --set-mark 1");
            // The neighbour's addresses are found by ICMPv6, which no rule above lets pass or stops.
            let before = loggers();
            let capture = start(&["--format", "json", "--iptables-legacy"]);
            assert_eq!(loggers(), ["nfnetlink_log\n", "nfnetlink_log\n"]);
            let mut expected = Vec::new();
            for (to, program) in [
                ("10.9.0.1", "iptables-legacy-save"),
                ("fd09::1", "ip6tables-legacy-save"),
            ] {
                for port in [80, 22, 23, 90, 95, 70, 8080] {
                    let earlier = counted(program);
                    send(&other, to, port..port + 1);
                    let moved = || {
                        let now = counted(program).into_iter().zip(&earlier);
                        let moved = now.filter(|((_, now), (_, earlier))| now > earlier);
                        moved.map(|((rule, _), _)| rule).collect::<Vec<_>>()
                    };
                    let translated = to.contains('.') && port == 8080;
                    until_true("the packet", || {
                        moved().len() == 1 + usize::from(translated)
                    });
                    expected.push((to.to_owned(), u64::from(port), moved()));
                }
            }
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            assert_eq!(loggers(), before);
            let found = flows(&outcome.text());
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (to, port, mut rules) in expected {
                let flow = found.iter().find(|flow| flow.0 == to && flow.1 == port);
                let (_, _, verdict, named) = flow.expect("listed");
                let mut named = named.clone();
                rules.sort();
                named.sort();
                assert_eq!(named, rules, "{to} {port}");
                let wanted = match port {
                    22 => "rejected",
                    23 | 95 => "dropped",
                    8080 if to.contains(':') => "dropped",
                    _ => "accepted",
                };
                assert_eq!(verdict, wanted, "{to} {port}");
            }
        },
    );
}

#[test]
fn the_logger_is_put_back_by_the_start_after_one_that_was_killed() {
    netns::run(
        "the_logger_is_put_back_by_the_start_after_one_that_was_killed",
        || {
            if !std::path::Path::new("/proc/net/ip_tables_names").exists() {
                return vendor_tests::skipped!("this kernel has no iptables-legacy");
            }
            sh("echo NONE > /proc/sys/net/netfilter/nf_log/10");
            let before = loggers();
            let killed = start(&["--iptables-legacy"]);
            // Two at a time would each put back what the other has set.
            let second = Launch::new(["trace", "--iptables-legacy"]).run();
            assert_eq!(second.code, Some(1));
            assert!(second.stderr.contains("another"), "{}", second.stderr);
            killed.signal(Signal::KILL);
            killed.wait();
            assert_eq!(loggers(), ["nfnetlink_log\n", "nfnetlink_log\n"]);
            let next = start(&["--iptables-legacy"]);
            assert_eq!(next.finish().code, Some(0));
            assert_eq!(loggers(), before);
        },
    );
}

#[test]
fn changed_rules_of_iptables_legacy_are_noticed() {
    netns::run("changed_rules_of_iptables_legacy_are_noticed", || {
        if !std::path::Path::new("/proc/net/ip_tables_names").exists() {
            return vendor_tests::skipped!("this kernel has no iptables-legacy");
        }
        let other = neighbour();
        sh("iptables-legacy -A INPUT -p udp --dport 80 -j ACCEPT");
        let capture = start(&["--format", "json", "--iptables-legacy"]);
        send(&other, "10.9.0.1", 80..81);
        std::thread::sleep(Duration::from_millis(300));
        sh("iptables-legacy -I INPUT -p udp --dport 81 -j DROP");
        // Longer than it takes to notice.
        std::thread::sleep(Duration::from_millis(2500));
        send(&other, "10.9.0.1", 81..82);
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        assert!(outcome.said.contains("were changed"), "{}", outcome.said);
        let found = flows(&outcome.text());
        let rules: Vec<_> = found
            .iter()
            .map(|flow| (flow.1, flow.3.join("; ")))
            .collect();
        assert_eq!(
            rules,
            [
                (80, "-A INPUT -p udp -m udp --dport 80 -j ACCEPT".to_owned()),
                (81, "-A INPUT -p udp -m udp --dport 81 -j DROP".to_owned()),
            ]
        );
    });
}

#[test]
fn dropped_packets_are_counted_as_the_rules_count_them() {
    netns::run(
        "dropped_packets_are_counted_as_the_rules_count_them",
        || {
            let other = neighbour();
            load(
                "table ip nat {\n chain p {\n type nat hook prerouting priority dstnat;\n udp dport 8023 redirect to :23\n }\n}\n\
             table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\n\
             icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n udp dport 80 accept\n\
             udp dport 23 counter drop\n udp dport 22 counter reject\n udp dport 24 counter drop\n }\n}\n",
            );
            let capture = Launch::new(["trace", "--format", "json", "--count-drops"]).spawn();
            let mut refused = None;
            until_true("the table", || {
                refused = capture
                    .stderr()
                    .contains("--count-drops")
                    .then(|| capture.stderr());
                refused.is_some() || run("nft", ["list", "tables"]).contains("conntracker-trace-")
            });
            if let Some(why) = refused {
                return vendor_tests::skipped!("{why}");
            }
            // Of another namespace: a drop that is none of ours.
            let (v4, v6) = ("10.9.0.1", "fd09::1");
            let mut sent = Vec::new();
            for (to, port, times) in [
                (v4, 24, 7),
                (v6, 24, 5),
                (v4, 22, 3),
                (v4, 8023, 4),
                (v4, 25, 2),
                (v4, 80, 3),
            ] {
                for _ in 0..times {
                    send(&other, to, port..port + 1);
                }
                let dropped = if port == 80 { 0 } else { times };
                sent.push((to.to_owned(), u64::from(port), dropped));
            }
            let counters = || {
                let text = run("nft", ["list", "chain", "inet", "filter", "input"]);
                let packets = |line: &str| {
                    let number = line.split("packets ").nth(1)?.split(' ').next()?;
                    number.parse::<u64>().ok()
                };
                text.lines().filter_map(packets).collect::<Vec<_>>()
            };
            until_true("all packets", || counters() == [4, 3, 12]);
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            let lines = outcome.text();
            let mut found: Vec<(String, u64, u64)> = lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
                .filter(|line| line["type"] == "traced" && line["protocol"] == "udp")
                .map(|flow| {
                    (
                        flow["dst"].as_str().expect("dst").to_owned(),
                        flow["dst_port"].as_u64().expect("a port"),
                        flow["dropped_packets"].as_u64().expect("a count"),
                    )
                })
                .filter(|(to, ..)| to == v4 || to == v6)
                .collect();
            found.sort();
            sent.sort();
            assert_eq!(found, sent);
        },
    );
}

#[test]
fn rules_are_listed_with_their_flows() {
    netns::run("rules_are_listed_with_their_flows", || {
        let other = neighbour();
        load(RULES);
        let capture = start(&["--by-rule"]);
        send(&other, "10.9.0.1", 80..81);
        send(&other, "fd09::1", 80..81);
        send(&other, "10.9.0.1", 23..24);
        let list = capture.finish().text();
        let flows = |rule: &str| {
            let line = list.lines().find(|line| line.ends_with(rule));
            let line = line.unwrap_or_else(|| panic!("{rule}:\n{list}"));
            line.split_whitespace().next().expect("a number").to_owned()
        };
        assert_eq!(flows("  udp dport 80 counter name \"web\" accept"), "2");
        assert_eq!(flows("  udp dport 22 counter name \"refused\" reject"), "0");
        // It decides on packets that begin no flow; this one leaves the decision to another chain.
        assert_eq!(flows("  ct state established,related accept"), "-");
        assert_eq!(flows("  udp dport 90-99 jump nineties"), "-");
        assert!(list.contains("inet filter input (hook input)\n"), "{list}");
        assert!(!list.contains("conntracker-trace"), "{list}");
    });
}

#[test]
fn when_rules_change_every_flow_is_told_again() {
    netns::run("when_rules_change_every_flow_is_told_again", || {
        let other = neighbour();
        load(RULES);
        let capture = start(&["--format", "json"]);
        send(&other, "10.9.0.1", 80..81);
        // Behind the pause after which the gate may be opened anew.
        std::thread::sleep(Duration::from_millis(1100));
        sh("nft insert rule inet filter input udp dport 80 drop");
        std::thread::sleep(Duration::from_millis(1100));
        send(&other, "10.9.0.1", 80..81);
        let found = flows(&capture.finish().text());
        let (_, _, verdict, rules) = &found[0];
        assert_eq!(
            (verdict.as_str(), rules.join("; ").as_str()),
            ("dropped", "udp dport 80 drop")
        );
        assert_eq!(found.len(), 1, "{found:?}");
    });
}

#[test]
fn what_does_not_fit_is_owned_up_to() {
    netns::run("what_does_not_fit_is_owned_up_to", || {
        let other = neighbour();
        load(
            "table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\n }\n}\n",
        );
        let capture = start(&["--denied", "--max-flows", "64"]);
        send(&other, "10.9.0.1", 10_000..11_000);
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        assert!(
            outcome.said.contains("not traced") || outcome.said.contains("no room"),
            "{}",
            outcome.said
        );
    });
}

#[test]
fn sigusr1_prints_the_list_and_goes_on() {
    netns::run("sigusr1_prints_the_list_and_goes_on", || {
        let other = neighbour();
        load(RULES);
        let capture = start(&["--denied"]);
        send(&other, "10.9.0.1", 71..72);
        // When it has been taken in does not show otherwise.
        until_true("the flow in a list", || {
            capture.signal(Signal::USR1);
            std::thread::sleep(Duration::from_millis(100));
            String::from_utf8_lossy(&capture.stdout()).contains("10.9.0.1:71 ")
        });
        send(&other, "10.9.0.1", 23..24);
        let list = capture.finish().text();
        let last = list.rfind("10.9.0.1:23 ").expect("listed at the end");
        assert!(list.contains("10.9.0.1:71 ") && last > 0, "{list}");
    });
}

#[test]
fn nothing_is_left_of_one_that_is_killed() {
    netns::run("nothing_is_left_of_one_that_is_killed", || {
        let capture = start(&[]);
        capture.signal(Signal::KILL);
        capture.wait();
        until_true("the table is gone", || {
            !run("nft", ["list", "tables"]).contains("conntracker")
        });
    });
}

/// The destination ports of a ruleset's rules: its comments name others, and times of day.
fn ports(ruleset: &str) -> Vec<u16> {
    let rules = ruleset
        .lines()
        .filter_map(|rule| rule.split_once(" dport "));
    let matched = rules.map(|(_, rest)| rest.split(" accept").next().expect("a match"));
    let words = matched.flat_map(|ports| ports.split(|letter: char| !letter.is_ascii_digit()));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_captures_flows_have_their_rules_and_denied_ones_are_kept_apart() {
    netns::run(
        "a_captures_flows_have_their_rules_and_denied_ones_are_kept_apart",
        || {
            let other = neighbour();
            let own_dnat = RULES.replace(
                "redirect to :80",
                "redirect to :80\n\t\tudp dport 8023 redirect to :23",
            );
            load(&own_dnat);
            let folder = vendor_tests::temp::Folder::new();
            let path = folder.join("flows.json");
            let name = path.to_str().expect("a path");
            let only = ["--dst", "10.9.0.1,fd09::1", "--proto", "udp"];
            let capture = Launch::new(
                ["--format", "json", "--denied", "-o", name]
                    .iter()
                    .chain(&only),
            )
            .start();
            for to in ["10.9.0.1", "fd09::1"] {
                for port in [80, 22, 23, 90, 95, 70, 71, 80, 22] {
                    send(&other, to, port..port + 1);
                }
            }
            for port in [8080, 8023] {
                send(&other, "10.9.0.1", port..port + 1);
            }
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            assert!(!run("nft", ["list", "tables"]).contains("conntracker"));
            let text = std::fs::read_to_string(&path).expect("the list");
            vendor_tests::schema::assert_holds(&text);
            let objects: Vec<Value> = { text.lines() }
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            let of = |kind: &str, to: &str| {
                let of_kind = objects
                    .iter()
                    .filter(|object| object["type"] == kind && object["dst"] == to);
                let mut found: Vec<(u64, String, String)> = of_kind
                    .map(|object| {
                        let rules = object["rules"].as_array().expect("rules");
                        let deciding = rules.iter().rfind(|rule| rule["text"] != "policy accept");
                        let rule = deciding.expect("a rule");
                        assert_eq!(
                            rule["hook"].is_string(),
                            rule["chain"] != "seventy" && rule["chain"] != "nineties"
                        );
                        (
                            object["dst_port"].as_u64().expect("a port"),
                            object["verdict"].as_str().expect("a verdict").to_owned(),
                            rule["text"].as_str().expect("a text").to_owned(),
                        )
                    })
                    .collect();
                found.sort();
                found
            };
            let line =
                |port, verdict: &str, text: &str| (port, verdict.to_owned(), text.to_owned());
            let web = "udp dport 80 counter name \"web\" accept";
            let refused = "udp dport 22 counter name \"refused\" reject";
            let mapped = "udp dport vmap { 70 : goto seventy, 71 : drop }";
            for to in ["10.9.0.1", "fd09::1"] {
                let mut passed = vec![
                    line(70, "accepted", "counter name \"mapped\" accept"),
                    line(80, "accepted", web),
                    line(90, "accepted", "udp dport 90-96 accept"),
                ];
                let mut denied = vec![
                    line(22, "rejected", refused),
                    line(23, "dropped", "policy drop"),
                    line(71, "dropped", mapped),
                    line(95, "dropped", "policy drop"),
                ];
                if to.contains('.') {
                    passed.push(line(8080, "accepted", web));
                    denied.push(line(8023, "dropped", "policy drop"));
                }
                assert_eq!(of("flow", to), passed, "{to}");
                assert_eq!(of("denied", to), denied, "{to}");
            }

            // The last line counts those too, so that none can be taken out unnoticed.
            let end = objects.last().expect("an end");
            assert_eq!((&end["flows"], &end["denied"]), (&7.into(), &9.into()));
            let is_kept = |line: &&str| !line.contains("\"dst_port\":8023,");
            let fewer: Vec<&str> = text.lines().filter(is_kept).collect();
            assert_eq!(fewer.len(), text.lines().count() - 1);
            let fewer = vendor_tests::files::file(&folder, "fewer.json", fewer.join("\n") + "\n");
            let outcome = Launch::new(["show", fewer.to_str().expect("a path")]).run();
            assert_eq!(outcome.code, Some(3), "{outcome:?}");
            assert!(
                outcome.said.contains("did not get through"),
                "{}",
                outcome.said
            );
            // As CSV, which has those that got through, and is read back.
            let csv = Launch::new(["show", name, "--format", "csv"]).run().text();
            assert_eq!(csv.lines().count(), 1 + 7, "{csv}");
            assert!(
                csv.lines()
                    .next()
                    .expect("a header")
                    .ends_with(",rule,verdict")
            );
            let csv = vendor_tests::files::file(&folder, "flows.csv", csv);
            let csv = csv.to_str().expect("a path");
            let by_rule = |file| Launch::new(["show", file, "--group", "rule"]).run().text();
            assert_eq!(by_rule(csv), by_rule(name));

            // What others make of it.
            let shown = |args: &[&str]| {
                let outcome = Launch::new(["show", name].iter().chain(args)).run();
                assert_eq!(outcome.code, Some(0), "{outcome:?}");
                outcome.text()
            };
            let (flows, denied) = (shown(&[]), shown(&["--denied"]));
            assert!(flows.lines().next().expect("a heading").ends_with("  RULE"));
            assert!(flows.contains(web) && !flows.contains("drop"), "{flows}");
            assert_eq!(
                (flows.lines().count(), denied.lines().count()),
                (1 + 7, 1 + 9)
            );
            assert!(
                denied.contains("rejected by inet filter input: udp dport 22 counter"),
                "{denied}"
            );
            let groups = shown(&["--group", "rule"]);
            let row = groups
                .lines()
                .find(|line| line.contains(web))
                .expect("the rule");
            assert!(
                row.split(web)
                    .nth(1)
                    .expect("sums")
                    .trim_start()
                    .starts_with("3 "),
                "{groups}"
            );
            let classic = shown(&["--format", "classic"]);
            assert_eq!(classic.lines().count(), 7, "{classic}");

            // No rule for what was denied, but for what is wanted.
            let rules = |args: &[&str]| {
                let args = [&["rules", "--include-unconfirmed", name], args].concat();
                Launch::new(args).run().text()
            };
            let plain = ports(&rules(&[]));
            assert!(!plain.contains(&22) && !plain.contains(&23), "{plain:?}");
            let more = ports(&rules(&["--include-denied", "dport=8023"]));
            assert!(!more.contains(&22) && more.contains(&23), "{more:?}");

            // A union has both, in any order.
            let merged =
                |files: [&str; 2]| Launch::new(["merge"].iter().chain(&files)).run().text();
            let again = folder.join("again.json");
            std::fs::copy(&path, &again).expect("a copy");
            let again = again.to_str().expect("a path");
            let union = merged([name, again]);
            assert_eq!(union, merged([again, name]));
            let count = |kind: &str| union.matches(&format!("{{\"type\":\"{kind}\"")).count();
            assert_eq!((count("flow"), count("denied")), (7, 9));
            // Judged are those that passed, whatever lines say of answers. Without the last line, which the change would contradict.
            let lines = text.lines().filter(|line| !line.contains("\"end\""));
            let answered = lines.map(|line| {
                let line = line.replace("\"end_mark\":true", "\"end_mark\":false");
                line.replace("\"confirmed\":false", "\"confirmed\":true") + "\n"
            });
            let answered: String = answered.collect();
            let answered = vendor_tests::files::file(&folder, "answered.json", answered);
            let chain = "chain i { type filter hook input priority 0; tcp dport 9 drop; }";
            let open = format!("table inet t {{\n{chain}\n}}\n");
            let open = vendor_tests::files::file(&folder, "open.nft", open);
            let files = [&open, &answered].map(|path| path.to_str().expect("a path"));
            let checked =
                Launch::new([&["check"], &files[..], &["--format", "json"]].concat()).run();
            let judged = checked.text();
            let flows = judged.matches("\"type\":\"flow\"").count();
            assert_eq!(flows, 7, "{checked:?}");
        },
    );
}

#[test]
fn what_rules_do_not_go_with_is_refused_with_the_reason() {
    for (args, why) in [
        (
            &["--rules", "--all-netns", "--format", "json"][..],
            "one network namespace",
        ),
        (
            &["--denied", "--daemon", "--format", "json", "-o", "/tmp/x"],
            "starts no programs",
        ),
        (&["--denied", "--format", "csv"], "got through"),
        (&["--rules", "--format", "classic"], "no place for rules"),
        (
            &["--iptables-legacy", "--format", "json"],
            "--rules and --denied",
        ),
    ] {
        let outcome = Launch::new(args).run();
        assert_eq!(outcome.code, Some(2), "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{args:?}: {}", outcome.stderr);
    }
}

/// Sends a datagram from a port.
fn send_from(from: &Namespace, source_port: u16, port: u16) {
    from.run(move || {
        let socket = bound(|| UdpSocket::bind(("0.0.0.0", source_port)));
        socket.send_to(b"x", ("10.9.0.1", port)).expect("sent");
    });
}

#[test]
fn a_path_is_that_of_the_entry_that_it_made() {
    netns::run("a_path_is_that_of_the_entry_that_it_made", || {
        let other = neighbour();
        load(
            "table ip zones {\n chain p {\n type filter hook prerouting priority raw; udp sport 5500 ct zone set 7\n }\n}\n\
             table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\n ct state established accept\n udp dport 80-82 accept\n }\n}\n",
        );
        let args = [
            "--format", "json", "--rules", "--dst", "10.9.0.1", "--proto", "udp",
        ];
        let capture = Launch::new(args).start();
        // The same flow by its headers, in two zones; the first packet is followed.
        for (port, sources) in [(80, [40_001, 5500]), (81, [5500, 40_001])] {
            for source in sources {
                send_from(&other, source, port);
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        send_from(&other, 5500, 82);
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let text = outcome.list();
        let flow = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        let mut found: Vec<(u64, u64, bool)> = { text.lines() }
            .map(flow)
            .filter(|line| line["type"] == "flow")
            .map(|flow| {
                let port = flow["dst_port"].as_u64().expect("a port");
                (
                    port,
                    flow["zone"].as_u64().unwrap_or(0),
                    flow["rules"].is_array(),
                )
            })
            .collect();
        found.sort_unstable();
        let told = |with: [bool; 5]| {
            let flows = [(80, 0), (80, 7), (81, 0), (81, 7), (82, 7)];
            let all = flows.into_iter().zip(with);
            all.map(|((port, zone), with)| (port, zone, with))
                .collect::<Vec<_>>()
        };
        if found == told([false, false, false, false, true]) {
            return vendor_tests::skipped!(
                "events of this kernel have no number of the entry (Linux 6.16)"
            );
        }
        assert_eq!(found, told([true, false, false, true, true]));
    });
}
