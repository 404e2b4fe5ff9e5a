//! `conntracker check`: rulesets in the style of common guides, with verdicts that were written by hand.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vendor_tests::capture::Launch;
use vendor_tests::checking::{HOST, check, check_text, ruleset, text};
use vendor_tests::judging::Cases;
use vendor_tests::lab::Lab;
use vendor_tests::netns;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::wait::bound;

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
            let patience = Duration::from_secs(2);
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
