//! `conntracker check OLD --against NEW`: what one ruleset lets pass and the other does not. Whether an edit matters is worked
//! out by a model, which compares the rulesets by each packet at a boundary of either.

use std::cell::Cell;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use vendor_tests::checking::ruleset;
use vendor_tests::files::{file, on};
use vendor_tests::firewall::{Firewall, Packet, capture};
use vendor_tests::netns;
use vendor_tests::program::run;
use vendor_tests::properties::runner;
use vendor_tests::temp::Folder;
use vendor_tests::world::Dice;

const OLD: &str = r#"
table inet filter {
  set admins { type ipv4_addr; flags interval; elements = { 192.168.1.0/24, 10.9.0.0/16 }; }
  chain web { ip daddr 198.51.100.0/25 accept; }
  chain input { type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lan" ip saddr @admins tcp dport 22 accept
    ip6 saddr 2001:db8:1::/64 udp dport 53 accept
    ip daddr 192.0.2.44 tcp dport 8443 accept
    icmp type echo-request accept
  }
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" oifname "wan" tcp dport { 80, 443, 8443 } accept
    iifname "lan" udp dport 5000-5010 jump web
    ip saddr . ip daddr . tcp dport { 10.1.0.1 . 10.2.0.1 . 25, 10.1.0.2 . 10.2.0.1 . 25 } accept
  }
  chain nat { type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" tcp dport 2222 dnat ip to 192.168.1.10:22
  }
}
"#;

fn compare(folder: &Folder, old: &str, new: &str, more: &str) -> (Option<i32>, Vec<Value>) {
    let old = file(folder, "old", old);
    let new = file(folder, "new", new);
    let words = format!("check --format json {more} --against {}", new.display());
    let outcome = on(&words, &[&old]);
    let text = outcome.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    assert!(!lines.is_empty(), "{outcome:?}");
    (outcome.code, lines)
}

#[test]
fn edits_of_all_kinds_are_found() {
    netns::run("edits_of_all_kinds_are_found", || {
        let folder = Folder::new();
        let (code, lines) = compare(&folder, OLD, OLD, "");
        assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");
        assert_eq!(lines[0]["differs"], false);
        for (from, to, kinds) in [
            ("10.9.0.0/16", "10.9.0.0/17", &["newly_stopped"][..]),
            ("10.9.0.0/16", "10.8.0.0/15", &["newly_passes"]),
            (", 10.9.0.0/16 ", " ", &["newly_stopped"]),
            ("2001:db8:1::/64", "2001:db8:1::/63", &["newly_passes"]),
            (
                "192.0.2.44",
                "192.0.2.45",
                &["newly_passes", "newly_stopped"],
            ),
            (
                "echo-request",
                "timestamp-request",
                &["newly_passes", "newly_stopped"],
            ),
            ("443, 8443 }", "443 }", &["newly_stopped"]),
            ("oifname \"wan\" ", "", &["newly_passes"]),
            ("5000-5010", "5000-5011", &["newly_passes"]),
            ("198.51.100.0/25", "198.51.100.0/24", &["newly_passes"]),
            (", 10.1.0.2 . 10.2.0.1 . 25", "", &["newly_stopped"]),
            (
                "10.1.0.2 . 10.2.0.1 . 25",
                "10.1.0.2 . 10.2.0.2 . 25",
                &["newly_passes", "newly_stopped"],
            ),
            // What is translated.
            ("192.168.1.10:22", "192.168.1.11:22", &["elsewhere"]),
            ("dport 2222 dnat", "dport 2223 dnat", &["elsewhere"]),
            // Only later packets meet the rule.
            (
                "    ct state established,related accept\n    iifname \"lan\" ip",
                "    iifname \"lan\" ip",
                &["newly_stopped"],
            ),
        ] {
            let new = OLD.replacen(from, to, 1);
            assert_ne!(new, OLD, "{from}");
            // What is to be translated passes by this alone.
            let open = |text: &str| {
                text.replace(
                    "hook forward priority 0; policy drop",
                    "hook forward priority 0; policy accept",
                )
            };
            let both = |text: &str| {
                if kinds == ["elsewhere"] {
                    open(text)
                } else {
                    text.to_owned()
                }
            };
            let (code, lines) = compare(&folder, &both(OLD), &both(&new), "");
            assert_eq!(code, Some(1), "{from}: {:?}", lines[0]);
            let mut found: Vec<&str> = lines[1..]
                .iter()
                .map(|line| line["kind"].as_str().expect("a kind"))
                .collect();
            found.sort_unstable();
            found.dedup();
            for kind in kinds {
                assert!(found.contains(kind), "{from} to {to}: {found:?}");
            }
        }
    });
}

#[test]
fn rules_of_both_are_named_and_captured_flows_told_apart() {
    netns::run(
        "rules_of_both_are_named_and_captured_flows_told_apart",
        || {
            let folder = Folder::new();
            let packet = |port| Packet {
                source: 0x0a01_0005,
                destination: 0x0a02_0005,
                tcp: true,
                port,
            };
            let flows = file(
                &folder,
                "flows.json",
                capture(&[packet(80), packet(443)], 3),
            );
            let rules = |ports: &str| {
                format!(
                    "table ip f {{ chain c {{ type filter hook forward priority 0; policy drop;\n\
                 ct state established accept\ntcp dport {{ {ports} }} accept\n}}\n}}\n"
                )
            };
            let old = file(&folder, "old.nft", rules("80, 443"));
            let new = file(&folder, "new.nft", rules("443, 444"));
            let words = format!("check --against {}", new.display());
            let outcome = on(&words, &[&old, &flows]);
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            let text = outcome.text();
            for part in [
                "2 captured flows: 0 newly passing, 1 newly stopped\n",
                "\n    old: accepted by table ip f, chain c, rule 4: tcp dport { 80, 443 } accept\n    new: dropped by the \
             policy of table ip f, chain c: policy drop\n  tcp    10.1.0.5 -> 10.2.0.5:80\n",
                ":444 in by ",
            ] {
                assert!(text.contains(part), "{part}\n{text}");
            }
            for options in ["--coverage", "--expect x.toml", "--format junit"] {
                let outcome = on(&format!("{words} {options}"), &[&old]);
                assert_eq!(outcome.code, Some(2), "{outcome:?}");
            }
            // One flow shows nothing of a rate.
            let limited = |rate: u32| {
                let text = rules("443").replace(
                    "tcp dport",
                    &format!("tcp dport 22 limit rate {rate}/minute accept\ntcp dport"),
                );
                file(&folder, &format!("limited-{rate}.nft"), text)
            };
            let (five, six) = (limited(5), limited(6));
            let of = |new: &Path| on(&format!("check --against {}", new.display()), &[&five]).code;
            assert_eq!((of(&five), of(&six)), (Some(0), Some(2)));
            // Whether the mark is there is not known of either.
            let marked = rules("443").replace("tcp dport", "meta mark 5 drop\ntcp dport");
            let marked = file(&folder, "marked.nft", marked);
            let outcome = on(&format!("check --against {}", marked.display()), &[&marked]);
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(
                outcome
                    .text()
                    .contains("whether there is none is not known"),
                "{outcome:?}"
            );
        },
    );
}

#[test]
fn what_iptables_translates_is_the_same_and_dumps_are_compared() {
    netns::run(
        "what_iptables_translates_is_the_same_and_dumps_are_compared",
        || {
            let folder = Folder::new();
            for seed in 0..6 {
                let firewall = Firewall::new(&mut Dice(seed));
                let old = file(&folder, "rules.v4", firewall.iptables());
                let translated = run(
                    "iptables-restore-translate",
                    ["-f", old.to_str().expect("text")],
                );
                let (code, lines) = compare(&folder, &firewall.iptables(), &translated, "");
                assert_eq!(code, Some(0), "seed {seed}: {lines:?}\n{translated}");
            }
            for (name, from, to) in DUMPS {
                let path = ruleset(name);
                let text = std::fs::read_to_string(&path).expect("a ruleset");
                let new = text.replacen(from, to, 1);
                assert_ne!(new, text, "{name}");
                let new = file(&folder, "changed", new);
                let against =
                    |new: &Path| on(&format!("check --against {}", new.display()), &[&path]);
                let outcome = against(&path);
                assert_ne!(outcome.code, Some(1), "{name}: {outcome:?}");
                assert!(
                    outcome.text().contains("no difference was found"),
                    "{name}: {outcome:?}"
                );
                let outcome = against(&new);
                assert_eq!(outcome.code, Some(1), "{name}: {outcome:?}");
            }
        },
    );
}

/// Dumps of programs that make rules, and an edit of each.
const DUMPS: [(&str, &str, &str); 6] = [
    ("ufw.v4", "-s 10.0.0.0/8 ", "-s 10.0.0.0/9 "),
    ("ufw.v6", "--dport 22 -j ACCEPT", "--dport 23 -j ACCEPT"),
    (
        "docker.iptables",
        "-d 172.17.0.2/32 ! -i docker0",
        "-d 172.17.0.3/32 ! -i docker0",
    ),
    (
        "docker.iptables",
        "--to-destination 172.17.0.2:80",
        "--to-destination 172.17.0.2:81",
    ),
    ("gateway.nft", "{ 22, 53, 80 }", "{ 22, 53 }"),
    (
        "server.nft",
        "udp dport https accept",
        "udp dport 442-443 accept",
    ),
];

/// Tries an edit; `None` if it does not matter.
fn mutated(seed: u64) -> Option<Result<(), String>> {
    let mut dice = Dice(seed);
    let old = Firewall::new(&mut dice);
    let new = old.edited(&mut dice);
    let universe = Firewall::universe(&[&old, &new]);
    if universe
        .iter()
        .all(|packet| old.passes(packet) == new.passes(packet))
    {
        return None;
    }
    let write = |firewall: &Firewall, iptables: bool| {
        if iptables {
            firewall.iptables()
        } else {
            firewall.nft()
        }
    };
    let texts = [write(&old, dice.once_in(2)), write(&new, dice.once_in(2))];
    // With what lies behind which device, and without.
    let network = "--interface 10.1.0.0/16=side1 --interface 10.2.0.0/16=side2";
    let folder = Folder::new();
    let (code, lines) = compare(&folder, &texts[0], &texts[1], dice.pick(&[network, ""]));
    Some(if code == Some(1) {
        Ok(())
    } else {
        Err(format!(
            "seed {seed}: {:?}\n{}\n{}",
            lines[0], texts[0], texts[1]
        ))
    })
}

#[test]
fn edits_that_matter_are_found() {
    netns::run("edits_that_matter_are_found", || {
        let (tried, missed) = (Cell::new(0_u32), std::cell::RefCell::new(Vec::new()));
        let result = runner(16).run(&any::<u64>(), |seed| {
            // Most edits matter.
            let attempts = (0..50).map(|more: u64| seed.wrapping_add(more));
            let result = attempts.filter_map(mutated).next();
            tried.set(tried.get() + 1);
            if let Some(Err(what)) = result {
                missed.borrow_mut().push(what);
            }
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        let missed = missed.into_inner();
        println!("{} of {} edits missed", missed.len(), tried.get());
        assert!(
            missed.len() as u32 * 100 <= tried.get(),
            "{}",
            missed.join("\n")
        );
    });
}

#[test]
fn the_same_in_other_words_is_no_difference() {
    netns::run("the_same_in_other_words_is_no_difference", || {
        let folder = Folder::new();
        for seed in 100..110 {
            let firewall = Firewall::new(&mut Dice(seed));
            // Each port in a rule of its own, and a rule that is there twice.
            let mut other = firewall.clone();
            other.rules = { firewall.rules.iter() }
                .flat_map(|rule| {
                    let parts = rule.ports.iter().map(|range| {
                        let mut part = rule.clone();
                        part.ports = vec![*range];
                        part
                    });
                    let parts: Vec<_> = parts.collect();
                    if parts.is_empty() {
                        vec![rule.clone(); 2]
                    } else {
                        parts
                    }
                })
                .collect();
            let (code, lines) = compare(&folder, &firewall.nft(), &other.iptables(), "");
            assert_eq!(code, Some(0), "seed {seed}: {lines:?}\n{}", firewall.nft());
        }
    });
}
