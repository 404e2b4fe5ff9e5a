//! `conntracker check --coverage`: what each rule is for. Rules that are not needed, that can't be reached and that are too
//! wide are put into rulesets that the dice write, and a model says what is true of each rule.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;
use vendor_tests::files::{file, on};
use vendor_tests::firewall::{Firewall, Packet, Rule, Verdict, capture, rule};
use vendor_tests::netns;
use vendor_tests::properties::runner;
use vendor_tests::temp::Folder;
use vendor_tests::world::Dice;

const RULES: &str = r#"
table inet filter {
  set admins { type ipv4_addr; flags interval; elements = { 192.168.1.0/24, 10.9.0.0/16 }; }
  chain unused { tcp dport 99 accept; }
  chain input { type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lan" ip saddr @admins tcp dport 22 accept
    iifname "lan" udp dport 53 accept
    icmp type destination-unreachable accept
    tcp dport 25 reject
  }
  chain forward { type filter hook forward priority 0; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname "lan" oifname "wan" tcp dport { 80, 443, 8443 } accept
    iifname "lan" oifname "wan" tcp dport 443 ip saddr 192.168.1.5 accept
    limit rate over 5/second drop
  }
}
"#;

const HEAD: &str = r#"{"type":"capture","schema":1,"host":"gw","start":"2026-10-01T00:00:00Z","end":"2026-10-31T00:00:00Z","marks_picked_up":true,"interfaces":[{"name":"lan","addresses":["192.168.1.1/24"]},{"name":"wan","addresses":["203.0.113.1/30"]}],"routes":[{"destination":"0.0.0.0/0","interface":"wan"}]}"#;

fn flow(source: &str, destination: &str, port: u16) -> String {
    format!(
        r#"{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"{source}","src_port":1024,"src_port_collapsed":true,"dst":"{destination}","dst_port":{port},"confirmed":true,"connections":7}}"#
    )
}

fn flows() -> String {
    let flows = [
        flow("192.168.1.5", "198.51.100.9", 443),
        flow("192.168.1.5", "192.168.1.1", 22),
        flow("192.168.1.6", "192.168.1.1", 22),
    ];
    format!("{HEAD}\n{}\n", flows.join("\n"))
}

/// The rules of a report in JSON, by their texts.
fn rules_of(report: &str) -> BTreeMap<String, Value> {
    let objects = report
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let rules = objects.filter(|object| object["type"] == "rule");
    rules
        .map(|rule| (rule["rule"].as_str().expect("a text").to_owned(), rule))
        .collect()
}

#[test]
fn what_each_rule_is_for_is_told() {
    netns::run("what_each_rule_is_for_is_told", || {
        let folder = Folder::new();
        let rules = file(&folder, "fw.nft", RULES);
        let captured = file(&folder, "month.json", flows());
        let outcome = on("check --coverage", &[&rules, &captured]);
        assert_eq!(
            (outcome.code, &*outcome.stderr),
            (Some(0), ""),
            "{outcome:?}"
        );
        let text = outcome.text();
        let mut words: Vec<&str> = text.split_whitespace().collect();
        // What number a rule has is the kernel's choice.
        words.retain(|word| {
            word.strip_suffix(':')
                .is_none_or(|number| number.parse::<u64>().is_err())
        });
        // Newer versions of nft(8) tell the burst that is usual.
        let squeezed = words
            .join(" ")
            .replace("rule ", "")
            .replace(" burst 5 packets", "");
        for part in [
            "What each rule is for: 4 needed, 1 not needed in 30 days, 2 unreachable, 3 unknown",
            "2 14 iifname \"lan\" ip saddr @admins tcp dport 22 accept not used in 30 days: 10.9.0.0/16 192.168.1.0/24: 2 of 256 seen",
            "iifname \"lan\" udp dport 53 accept not needed in 30 days",
            "icmp type destination-unreachable accept whether it is needed can't be said: it is for messages of ICMP",
            "tcp dport 25 reject whether it is needed can't be said: it stops packets",
            "1 7 iifname \"lan\" oifname \"wan\" tcp dport { 80, 443, 8443 } accept not used in 30 days: 80, 8443",
            "ip saddr 192.168.1.5 accept can't be reached: an earlier rule takes whatever it would match: table inet filter, \
             chain forward,",
            "tcp dport 99 accept can't be reached: nothing leads to its chain",
            "limit rate over 5/second drop whether it is needed can't be said: it is for what is beyond a limit",
        ] {
            assert!(
                squeezed.contains(&part.replace("rule ", "")),
                "{part}\n{text}"
            );
        }

        let outcome = on("check --coverage --format json", &[&rules, &captured]);
        let report = outcome.text();
        let lines: Vec<Value> = { report.lines() }
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let counts = &lines[0]["coverage"];
        assert_eq!(
            (&counts["seconds"], &counts["needed"]),
            (&2_592_000.into(), &4.into())
        );
        let by = |line: &Value| line["accepted_by"]["rule"].as_str().map(str::to_owned);
        let deciders: BTreeSet<String> = lines.iter().filter_map(by).collect();
        assert_eq!(deciders.len(), 2, "{report}");
        assert!(
            deciders
                .iter()
                .all(|rule| rule.starts_with("iifname \"lan\"")),
            "{report}"
        );

        let outcome = on("check --coverage --format junit", &[&rules, &captured]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains("--format text or --format json"),
            "{outcome:?}"
        );
    });
}

/// Each rule of one element says by itself whether packets had that, which the kernel's trace tells; where several are in
/// one rule, the same has to be said of each. Where translation is done, addresses differ from hook to hook.
#[test]
fn addresses_are_those_that_the_hook_sees() {
    netns::run("addresses_are_those_that_the_hook_sees", || {
        let (client, outside, inside, server) =
            ("198.51.100.7", "203.0.113.1", "192.168.1.1", "192.168.1.5");
        let addresses = [client, outside, inside, server];
        let hooks = [
            ("prerouting", -300),
            ("prerouting", -100),
            ("prerouting", 0),
            ("forward", 0),
            ("postrouting", 0),
            ("postrouting", 200),
        ];
        let rules = || {
            let mut rules = String::new();
            for side in ["saddr", "daddr"] {
                rules += &format!("ip {side} {{ {} }} counter\n", addresses.join(", "));
                for address in addresses {
                    rules += &format!("ip {side} {address} counter\n");
                }
            }
            rules
        };
        let mut text = format!(
            "table ip n {{
                chain d {{ type nat hook prerouting priority dstnat; ip daddr {outside} tcp dport 80 dnat to {server}:8080\n }}
                chain s {{ type nat hook postrouting priority srcnat; {}\n masquerade\n }}
            }}\n",
            rules()
        );
        for (at, (hook, priority)) in hooks.iter().enumerate() {
            text += &format!(
                "table ip t{at} {{
                    chain jumped {{ {} }}
                    chain c {{ type filter hook {hook} priority {priority}; jump jumped\n }}
                }}\n",
                rules()
            );
        }
        let folder = Folder::new();
        let rules = file(&folder, "fw.nft", text);
        let flow = flow(client, outside, 80).replacen(
            "\"confirmed\"",
            "\"dnat\":{\"address\":\"192.168.1.5\",\"port\":8080},\"snat\":{\"address\":\"192.168.1.1\",\"port\":1024,\"port_collapsed\":true},\"confirmed\"",
            1,
        );
        let captured = file(&folder, "month.json", format!("{HEAD}\n{flow}\n"));
        let outcome = on("check --coverage --format json", &[&rules, &captured]);
        let report = outcome.text();
        let rules: Vec<Value> = { report.lines() }
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|object| object["type"] == "rule")
            .collect();
        let mut compared = 0;
        for rule in &rules {
            let Some(text) = rule["rule"].as_str().filter(|text| text.contains('{')) else {
                continue;
            };
            let used: BTreeSet<&str> = { rule["elements"].as_array().into_iter().flatten() }
                .filter(|element| element["used"] == true)
                .filter_map(|element| element["element"].as_str())
                .collect();
            let alone = addresses.iter().copied().filter(|address| {
                let (side, _) = text.split_once(" {").expect("a set");
                let alone = format!("{side} {address} ");
                rules.iter().any(|other| {
                    let same = ["table", "chain"]
                        .iter()
                        .all(|name| other[name] == rule[name]);
                    let begins = other["rule"]
                        .as_str()
                        .is_some_and(|text| text.starts_with(&alone));
                    same && begins && other["status"] == "needed"
                })
            });
            let alone: BTreeSet<&str> = alone.collect();
            assert!(!alone.is_empty(), "{rule}");
            // Whether nat chains of the same priority have translated by then is not known, so that it may be more.
            let tie = rule["table"] == "t1";
            assert!(
                used == alone || (tie && used.is_superset(&alone)),
                "{rule}: {alone:?}"
            );
            compared += 1;
        }
        assert_eq!(compared, 2 * (hooks.len() + 1), "{report}");
    });
}

#[test]
fn what_is_undecided_is_no_evidence() {
    netns::run("what_is_undecided_is_no_evidence", || {
        let folder = Folder::new();
        let status = |rules: &str, flows: &str, begin: &str| {
            let rules = file(&folder, "fw.nft", rules);
            let captured = file(&folder, "month.json", flows);
            let outcome = on("check --coverage --format json", &[&rules, &captured]);
            let rules = rules_of(&outcome.text());
            let found = rules.iter().find(|(text, _)| text.starts_with(begin));
            let (_, rule) = found.unwrap_or_else(|| panic!("{outcome:?}"));
            rule["status"].as_str().expect("a status").to_owned()
        };
        let web = "iifname \"lan\" oifname \"wan\" tcp dport { 80";
        let dns = "iifname \"lan\" udp dport 53";
        assert_eq!(status(RULES, &flows(), web), "needed");
        // Where the mark is there, the rule behind is not needed; that it is not there is not known either.
        let marked = RULES.replace(
            "iifname \"lan\" oifname \"wan\" tcp dport { 80",
            "meta mark 5 tcp dport 443 drop\n    iifname \"lan\" oifname \"wan\" tcp dport { 80",
        );
        assert_eq!(status(&marked, &flows(), web), "unknown");
        assert_eq!(status(&marked, &flows(), "meta mark"), "unknown");
        assert_eq!(status(&marked, &flows(), dns), "not_needed");
        // Unconfirmed flows are not judged without --all, and one of them would need the rule.
        let unconfirmed = flow("192.168.1.9", "192.168.1.1", 53)
            .replace(
                "\"tcp\",\"protocol_number\":6",
                "\"udp\",\"protocol_number\":17",
            )
            .replace("\"confirmed\":true", "\"confirmed\":false");
        assert_eq!(
            status(RULES, &format!("{}{unconfirmed}\n", flows()), dns),
            "unknown"
        );
        let filtered = flows().replace(
            "\"marks_picked_up\"",
            "\"filters\":[\"--proto=tcp\"],\"marks_picked_up\"",
        );
        assert_eq!(status(RULES, &filtered, dns), "unknown");
        // Later packets of the first direction, which are established.
        let stateful = RULES.replace(
            "ct state established,related accept",
            "iifname != \"lan\" ct state established accept\n    ct state established accept",
        );
        assert_eq!(
            status(&stateful, &flows(), "ct state established accept"),
            "needed"
        );
    });
}

/// Puts a rule into a firewall at a place.
fn put(firewall: &mut Firewall, at: usize, rule: Rule) {
    firewall.rules.insert(at, rule);
}

/// A network of 10.0.0.0/8 in place of a host or a small one.
fn widen(rule: &mut Rule) -> bool {
    match rule.source {
        Some((base, 24..=32)) => {
            rule.source = Some((base & 0xff00_0000, 8));
            true
        }
        _ => false,
    }
}

/// Tries one ruleset.
fn mutated(seed: u64) -> Result<[usize; 3], String> {
    let mut dice = Dice(seed);
    let mut firewall = Firewall::new(&mut dice);
    // An over-wide rule: it is taken for what it is if flows need it.
    let at = dice.below(firewall.rules.len() as u32) as usize;
    let wide = widen(&mut firewall.rules[at]).then(|| firewall.rules[at].name.clone());
    // A rule that can't be reached: a narrower one behind any other.
    let before = dice.below(firewall.rules.len() as u32) as usize;
    let mut narrow = firewall.rules[before].clone();
    narrow.name = "shadowed".to_owned();
    narrow.verdict = dice.pick(&[Verdict::Accept, Verdict::Drop]);
    if narrow.tcp.is_none() {
        narrow.tcp = Some(true);
    } else if let Some((first, last)) = narrow.ports.first().copied() {
        narrow.ports = vec![(first, first + (last - first) / 2)];
    } else {
        narrow.ports = vec![(443, 443)];
    }
    let behind = before + 1 + dice.below((firewall.rules.len() - before) as u32) as usize;
    put(&mut firewall, behind, narrow);
    // A rule that no flow needs: of a port that nothing uses.
    let mut dead = rule(&mut dice, "dead".to_owned());
    dead.verdict = Verdict::Accept;
    dead.tcp = Some(true);
    dead.ports = vec![(7777, 7777)];
    let place = dice.below(firewall.rules.len() as u32 + 1) as usize;
    put(&mut firewall, place, dead);

    let universe = Firewall::universe(&[&firewall]);
    let passing: Vec<Packet> = { universe.iter() }
        .filter(|packet| packet.port != 7777 && firewall.passes(packet))
        .copied()
        .collect();
    let mut captured: Vec<Packet> = Vec::new();
    for _ in 0..40.min(passing.len()) {
        let packet = dice.pick(&passing);
        if !captured.contains(&packet) {
            captured.push(packet);
        }
    }
    let iptables = dice.once_in(2);
    let text = if iptables {
        firewall.iptables()
    } else {
        firewall.nft()
    };
    let folder = Folder::new();
    let ruleset = file(&folder, "rules", &text);
    let flows = file(&folder, "flows.json", capture(&captured, 10));
    let outcome = on("check --coverage --format json", &[&ruleset, &flows]);
    if outcome.code != Some(0) {
        return Err(format!("seed {seed}\n{text}\n{outcome:?}"));
    }
    let rules = rules_of(&outcome.text());
    let mut found = [0; 3];
    for (at, given) in firewall.rules.iter().enumerate() {
        let own = |(text, _): &(&String, &Value)| {
            let words = text.replace('"', " ");
            words.split_whitespace().any(|word| word == given.name)
        };
        let Some((_, used)) = rules.iter().find(own) else {
            return Err(format!("seed {seed}: {} is missing\n{text}", given.name));
        };
        let met: Vec<&Packet> = { captured.iter() }
            .filter(|packet| firewall.first(packet) == Some(at))
            .collect();
        let reachable = universe
            .iter()
            .any(|packet| firewall.first(packet) == Some(at));
        let status = used["status"].as_str().unwrap_or_default();
        let right = match status {
            "needed" => used["flows"] == met.len() && !met.is_empty(),
            "not_needed" => met.is_empty() && given.verdict == Verdict::Accept,
            "unreachable" => !reachable,
            "unknown" => met.is_empty() && given.verdict == Verdict::Drop,
            _ => false,
        };
        if !right {
            return Err(format!(
                "seed {seed}: {given:?} is {used}, {} flows\n{text}",
                met.len()
            ));
        }
        if given.name == "shadowed" {
            if status != "unreachable" {
                return Err(format!("seed {seed}: the shadowed rule is {used}\n{text}"));
            }
            found[0] += 1;
        }
        if given.name == "dead" {
            // An earlier rule may take all of it.
            if status == "needed" || status == "unknown" {
                return Err(format!("seed {seed}: the dead rule is {used}\n{text}"));
            }
            found[1] += usize::from(status == "not_needed");
        }
        if wide.as_ref() == Some(&given.name) && !met.is_empty() {
            let sources: BTreeSet<u32> = met.iter().map(|packet| packet.source).collect();
            let elements = used["elements"].as_array().cloned().unwrap_or_default();
            let seen = elements
                .iter()
                .find(|element| element["element"] == "10.0.0.0/8");
            let seen = seen.map(|element| (&element["seen"], &element["size"]));
            if seen != Some((&sources.len().into(), &(1 << 24).into())) {
                return Err(format!(
                    "seed {seed}: {used}, {} sources\n{text}",
                    sources.len()
                ));
            }
            found[2] += 1;
        }
    }
    Ok(found)
}

#[test]
fn dead_shadowed_and_wide_rules_are_found() {
    netns::run("dead_shadowed_and_wide_rules_are_found", || {
        let all = std::cell::RefCell::new([0; 3]);
        let result = runner(40).run(&any::<u64>(), |seed| {
            let found = mutated(seed).map_err(TestCaseError::fail)?;
            let mut all = all.borrow_mut();
            for (sum, number) in all.iter_mut().zip(found) {
                *sum += number;
            }
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        let all = all.into_inner();
        // Tests of what never comes up show nothing.
        assert!(all.iter().all(|number| *number > 0), "{all:?}");
        println!("shadowed, dead and wide rules found: {all:?}");
    });
}
