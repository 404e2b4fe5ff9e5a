//! `conntracker check` is right or undecided: what goes wrong with rulesets of the field, each with what packets did
//! (`rulesets/field`), and other rulesets of the same kinds.

use std::fs;

use serde_json::{Value, json};
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::checking::{HOST, check_text, ruleset, text};
use vendor_tests::judging::Cases;
use vendor_tests::netns;
use vendor_tests::temp::Folder;

/// Runs `conntracker check` on files of the field, named as words that begin with `@`, and other words.
fn on(words: &str) -> Outcome {
    let words: Vec<String> = words
        .split_whitespace()
        .map(|word| match word.split_once('@') {
            Some((before, name)) => format!("{before}{}", text(&ruleset("field").join(name))),
            None => word.to_owned(),
        })
        .collect();
    Launch::new(
        ["check", "--format=json"]
            .into_iter()
            .map(str::to_owned)
            .chain(words),
    )
    .run()
}

/// The verdicts of a report, each with that on the answer, as far as there is one.
fn verdicts(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.text();
    let lines = lines
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let named = |verdict: &Value| verdict["verdict"].as_str().unwrap_or_default().to_owned();
    lines
        .map(|line| match line["reply"].is_object() {
            true => format!("{}/{}", named(&line), named(&line["reply"])),
            false => named(&line),
        })
        .collect()
}

/// Compares the verdicts on flows of the field.
fn judged(words: &str, expected: &[&str]) {
    let outcome = on(words);
    assert_eq!(
        verdicts(&outcome),
        expected,
        "{words}: {}{}",
        outcome.text(),
        outcome.stderr
    );
}

/// Compares with cases, of which some confirmed flow is dropped, or none, or some are undecided.
fn compare(rules: &str, cases: &str) {
    let (cases, outcome) = check_text(rules, cases, &["--format", "json"]);
    assert!(!outcome.stdout.is_empty(), "{rules}: {}", outcome.stderr);
    cases.compare(&outcome.text());
}

const PASSES: &str = "accepted/accepted";

#[test]
fn the_family_of_a_file_is_that_of_its_rules() {
    netns::run("the_family_of_a_file_is_that_of_its_rules", || {
        let both = "@flows.txt --local 203.0.113.2/24 --local 2001:db8:1::2/64";
        judged(
            &format!("@rules.v4 --also @rules.v6 {both}"),
            &[PASSES, "dropped"],
        );
        judged(
            "@v4-with-comment.rules @flow4.txt --local 203.0.113.2/24",
            &["dropped"],
        );
        judged(
            &format!("@rules.v4 --also @rules-comment.v6 {both}"),
            &[PASSES, "dropped"],
        );
        // Two of one family: the second would take the place of the first.
        let outcome = on(&format!("@rules.v4 --also @v4-with-comment.rules {both}"));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        for word in ["would replace", "ip6:"] {
            assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
        }
        judged(
            &format!("@rules.v4 --also ip6:@v4-with-comment.rules {both}"),
            &[PASSES, "dropped"],
        );
        judged(
            &format!("ip6:@rules.v4 --also ip:@rules.v6 {both}"),
            &["dropped", PASSES],
        );
        // What iptables-restore refuses is of the other family.
        let folder = Folder::new();
        let path = folder.join("rules");
        let rules = "*filter\n:INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -j REJECT --reject-with adm-prohibited\nCOMMIT\n";
        fs::write(&path, rules).expect("the folder can be written");
        let outcome = on(&format!("{} {both}", text(&path)));
        assert_eq!(verdicts(&outcome), [PASSES, "rejected"], "{outcome:?}");
    });
}

#[test]
fn what_would_remove_another_ruleset_is_refused() {
    netns::run("what_would_remove_another_ruleset_is_refused", || {
        let folder = Folder::new();
        let path = folder.join("second.nft");
        fs::write(&path, "flush ruleset\ntable inet x { chain c { type filter hook input priority 0; policy drop; }; }\n")
            .expect("the folder can be written");
        let second = text(&path);
        let outcome = on(&format!("@home.nft --also {second} @home.txt"));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains("flush ruleset"),
            "{}",
            outcome.stderr
        );
        let outcome = on(&format!("{second} --also @home.nft @home.txt"));
        assert_eq!(verdicts(&outcome), [PASSES], "{outcome:?}");
    });
}

#[test]
fn what_stands_outside_the_ruleset_decides_nothing() {
    netns::run("what_stands_outside_the_ruleset_decides_nothing", || {
        let own = "@wg-flow.txt --local 192.168.1.10/24";
        for rules in ["@wg-killswitch.v4", "@wg-killswitch.nft"] {
            judged(&format!("{rules} {own}"), &["undecided"]);
            judged(
                &format!("{rules} {own} --interface 0.0.0.0/0=eth0"),
                &["undecided"],
            );
            // Behind the tunnel no mark is asked for.
            judged(
                &format!("{rules} {own} --interface 0.0.0.0/0=wg0"),
                &[PASSES],
            );
        }
        let chain = |rules: &str| {
            format!(
                "table inet f {{\n set empty {{ type ipv4_addr; }}\n chain i {{ type filter hook input priority 0; policy drop;\n{rules}\n }}\n}}"
            )
        };
        let flow = "tcp 203.0.113.5 192.0.2.10:443";
        for condition in [
            "meta mark 7",
            "meta mark != 7",
            "ct mark 7",
            "meta random < 5",
            "numgen random mod 2 0",
            "symhash mod 2 0",
            "jhash ip saddr mod 2 0",
            "meta cpu 0",
            "meta priority 1:2",
            "ct expiration > 5s",
            "ct label 3",
            "iifgroup 3",
            "meta iifkind \"vrf\"",
            "ip ttl 5",
            "ip dscp cs1",
            "meta length > 100",
            "meta hour \"00:00\"-\"11:00\"",
            "ip saddr @empty",
            "quota 5 mbytes",
            "meta mark & 0xf == 3",
        ] {
            compare(
                &chain(&format!(
                    "{condition} tcp dport 443 accept\ntcp dport 443 reject"
                )),
                &format!("{flow}: undecided by inet f i: accept"),
            );
            // A rule that another condition keeps from it says nothing, nor does one that ends in the same.
            compare(
                &chain(&format!("tcp dport 80 {condition} accept")),
                &format!("{flow}: dropped by inet f i: policy"),
            );
            compare(
                &chain(&format!("{condition} log")),
                &format!("{flow}: dropped by inet f i: policy"),
            );
        }
        compare(
            &chain("meta mark 7 drop"),
            &format!("{flow}: dropped by inet f i: policy"),
        );
        compare(
            &chain("meta mark 7 accept\ntcp dport 443 ct state new,established accept"),
            &format!("{flow}: accepted, reply accepted"),
        );
        compare(
            &chain("meta mark 7 drop\naccept"),
            &format!("{flow}: undecided by inet f i: meta mark 0x00000007 drop"),
        );
        compare(
            &chain("meta mark 7 jump x\n accept\n }\n chain x {"),
            &format!("{flow}: undecided by inet f i: meta mark"),
        );
        compare(
            &chain("meta mark vmap { 1 : accept }"),
            &format!("{flow}: undecided by inet f i: vmap"),
        );
        // Marks that the ruleset gives itself.
        let own = "table inet f {
            chain p { type filter hook prerouting priority mangle; tcp dport 443 meta mark set 7; }
            chain i { type filter hook input priority 0; policy drop; meta mark 7 accept; }
        }";
        compare(
            own,
            &format!(
                "{flow}: accepted, reply accepted\ntcp 203.0.113.5 192.0.2.10:80: dropped by inet f i: policy"
            ),
        );
        // The answer may meet such a rule where the first packet does not.
        let answer = "table inet f { chain o { type filter hook output priority 0; policy drop; meta skuid 33 accept; }; }";
        let (_, outcome) = check_text(answer, &format!("{flow}: judged"), &["--format", "json"]);
        assert_eq!(
            verdicts(&outcome),
            ["accepted/undecided"],
            "{}",
            outcome.text()
        );
        let words = outcome.text();
        assert!(
            words.contains("user, group or cgroup") && words.contains("meta skuid 33 accept"),
            "{words}"
        );
    });
}

#[test]
fn what_stands_outside_rules_of_iptables_decides_nothing() {
    netns::run(
        "what_stands_outside_rules_of_iptables_decides_nothing",
        || {
            let flow = "tcp 203.0.113.5 192.0.2.10:443";
            for condition in [
                "-m mark --mark 0x7",
                "-m connmark ! --mark 0x7/0xf",
                "-m statistic --mode random --probability 0.5",
                "-m cpu --cpu 0",
                "-m time --timestart 10:00 --timestop 10:01",
                "-m length --length 0:60",
                "-m ttl --ttl-lt 60",
                "-m devgroup --src-group 5",
                "-m set --match-set bad src",
                "-m recent --rcheck --seconds 30 --name knock",
                "-m mac --mac-source 00:11:22:33:44:55",
                "-m policy --dir in --pol ipsec",
                "-m string --string x --algo bm",
                "-m dscp --dscp 8",
                "-m quota --quota 1000",
            ] {
                let rules = format!(
                    "*filter\n:INPUT DROP\n-A INPUT {condition} -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n"
                );
                let part = condition.split_whitespace().nth(1).expect("a match");
                compare(
                    &rules,
                    &format!(
                        "{flow}: undecided by ip filter INPUT: -m {part}\ntcp 203.0.113.5 192.0.2.10:80: dropped by ip filter INPUT: policy"
                    ),
                );
            }
            let own = "*mangle\n-A PREROUTING -p tcp --dport 443 -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n\
                   *filter\n:INPUT DROP\n-A INPUT -m mark --mark 0x4000/0x4000 -j ACCEPT\nCOMMIT\n";
            compare(
                own,
                &format!(
                    "{flow}: accepted, reply accepted\ntcp 203.0.113.5 192.0.2.10:80: dropped by ip filter INPUT: policy"
                ),
            );
        },
    );
}

/// 250 clients of port 443.
fn clients(folder: &Folder) -> String {
    let mut cases = HOST.to_owned();
    for client in 0..250 {
        cases.push_str(&format!(
            "tcp 203.0.113.{client} 192.0.2.10:443: accepted, reply accepted\n"
        ));
    }
    let path = folder.join("clients.json");
    fs::write(&path, Cases::parse(&cases).file()).expect("the folder can be written");
    text(&path).to_owned()
}

#[test]
fn each_flow_is_judged_as_the_only_one() {
    netns::run("each_flow_is_judged_as_the_only_one", || {
        let folder = Folder::new();
        let clients = clients(&folder);
        let all = vec![PASSES; 250];
        judged(&format!("@rate.nft {clients}"), &all);
        let path = folder.join("rules");
        for rules in [
            // As OpenWrt's default rules have it.
            "table inet fw4 { chain input { type filter hook input priority 0; policy drop; ct state established accept
                tcp flags & (fin | syn | rst | ack) == syn jump flood\n tcp dport 443 accept\n }
              chain flood { limit rate 25/second burst 50 packets return\n drop\n }\n}",
            "table inet f { set seen { type ipv4_addr; flags dynamic,timeout; timeout 1m; size 100; }
              chain input { type filter hook input priority 0; policy drop; ct state established accept
                add @seen { ip saddr limit rate over 1/hour burst 1 packets } drop\n ct count over 10 drop\n limit rate over 1/day burst 1 packets drop
                tcp dport 443 accept\n }\n}",
            "*filter\n:INPUT DROP\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
             -A INPUT -p tcp --syn -m connlimit --connlimit-above 3 --connlimit-mask 0 -j DROP\n\
             -A INPUT -p tcp --dport 443 -m recent --set --name web --rsource\n\
             -A INPUT -p tcp --dport 443 -m recent --update --seconds 60 --hitcount 2 --name web --mask 0.0.0.0 -j DROP\n\
             -A INPUT -p tcp --dport 443 -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 1 --hashlimit-name web -j DROP\n\
             -A INPUT -p tcp --dport 443 -m limit --limit 1/hour --limit-burst 1 -j ACCEPT\nCOMMIT\n",
        ] {
            fs::write(&path, rules).expect("the folder can be written");
            judged(&format!("{} {clients}", text(&path)), &all);
        }
        // The rule that is shown is the one that was given.
        let limited = "table inet f { chain i { type filter hook input priority 0; tcp dport 443 limit rate 1/hour drop; }; }";
        compare(
            limited,
            "tcp 203.0.113.5 192.0.2.10:443: dropped by inet f i: limit rate 1/hour",
        );
    });
}

#[test]
fn sets_are_as_they_are_given() {
    netns::run("sets_are_as_they_are_given", || {
        let at = "--local 203.0.113.2/24";
        judged(
            &format!("@counters-ipset.v4 @flow4.txt {at}"),
            &["undecided"],
        );
        let said = |rules: &str| {
            let text = on(&format!("{rules} @flow4.txt {at}")).text();
            text.replace("nocounters-", "")
                .replace("counters-", "")
                .replace("\"handle\":", "")
        };
        assert_eq!(said("@counters-ipset.v4"), said("@nocounters-ipset.v4"));
        if !std::path::Path::new("/usr/sbin/ipset").exists() {
            vendor_tests::skipped!("ipset files: ipset is not installed");
            return;
        }
        let folder = Folder::new();
        let path = folder.join("ipset.save");
        for (elements, verdict) in [
            ("add admins 198.51.100.0/24\n", PASSES),
            ("add admins 198.51.101.0/24\n", "dropped"),
        ] {
            let sets = format!(
                "create admins hash:net family inet hashsize 1024 maxelem 65536\n{elements}"
            );
            fs::write(&path, sets).expect("the folder can be written");
            judged(
                &format!("@counters-ipset.v4 --also {} @flow4.txt {at}", text(&path)),
                &[verdict],
            );
        }
        let filled = "table inet f { set ok { type ipv4_addr; flags interval; elements = { 203.0.113.0/28 } }
            chain i { type filter hook input priority 0; policy drop; ct state established accept\n ip saddr @ok accept\n }\n}";
        compare(
            filled,
            "tcp 203.0.113.5 192.0.2.10:443: accepted, reply accepted\ntcp 203.0.113.77 192.0.2.10:443: dropped by inet f i: policy",
        );
        let packets = filled
            .replace(
                "policy drop;",
                "policy drop; tcp dport 1 add @ok { ip saddr };",
            )
            .replace("flags interval;", "")
            .replace("0/28", "5");
        compare(
            &packets,
            "tcp 203.0.113.5 192.0.2.10:443: undecided by inet f i: @ok",
        );
    });
}

/// The capture of the field with rules of policy routing.
fn with_policy(folder: &Folder, rules: &Value, table: &Value) -> String {
    let given =
        fs::read_to_string(ruleset("field/policy-routing.json")).expect("the cases are there");
    let (head, flows) = given.split_once('\n').expect("two lines");
    let mut head: Value = serde_json::from_str(head).expect("JSON");
    head["marks_picked_up"] = true.into();
    if rules != &Value::Null {
        let usual = |priority: u32, table: u32| json!({"family": "ipv4", "priority": priority, "action": "lookup", "table": table});
        let mut all = vec![usual(0, 255)];
        all.extend(rules.as_array().expect("rules").iter().cloned());
        all.extend([usual(32_766, 254), usual(32_767, 253)]);
        head["policy_rules"] = all.into();
        head["tables"] = json!([{"table": 100, "routes": table}]);
    }
    let path = folder.join("policy.json");
    fs::write(&path, format!("{head}\n{flows}")).expect("the folder can be written");
    text(&path).to_owned()
}

#[test]
fn routes_are_chosen_as_on_the_host() {
    netns::run("routes_are_chosen_as_on_the_host", || {
        // It does not tell of policy routing, as versions before did not.
        judged("@vpn-only.nft @policy-routing.json", &["undecided"]);
        judged("@eth0-only.nft @policy-routing.json", &["undecided"]);
        let folder = Folder::new();
        let tunnel = json!([{"destination": "0.0.0.0/0", "interface": "wg0"}]);
        let lan = json!({"family": "ipv4", "priority": 100, "from": "192.168.1.0/24", "action": "lookup", "table": 100});
        let mut by_device = lan.clone();
        by_device["from"] = Value::Null;
        by_device["iif"] = "eth1".into();
        // As wg-quick(8) has it.
        let quick = json!([
            {"family": "ipv4", "priority": 50, "action": "lookup", "table": 254, "others": ["suppress_prefixlength 0"]},
            {"family": "ipv4", "priority": 51, "not": true, "mark": 51820, "action": "lookup", "table": 100}
        ]);
        for rules in [json!([lan.clone()]), json!([by_device]), quick] {
            let capture = with_policy(&folder, &rules, &tunnel);
            judged(&format!("@vpn-only.nft {capture}"), &[PASSES]);
            judged(&format!("@eth0-only.nft {capture}"), &["dropped"]);
        }
        // For another network.
        let mut other = lan.clone();
        other["from"] = "192.168.7.0/24".into();
        for rules in [json!([other]), Value::Null] {
            let capture = with_policy(&folder, &rules, &tunnel);
            judged(&format!("@vpn-only.nft {capture}"), &["dropped"]);
            judged(&format!("@eth0-only.nft {capture}"), &[PASSES]);
        }
        // By what the capture does not tell of a flow.
        let mut user = lan;
        user["others"] = json!(["sport"]);
        let capture = with_policy(&folder, &json!([user]), &tunnel);
        judged(&format!("@vpn-only.nft {capture}"), &["undecided"]);
    });
}

/// Where the kernel has no virtual routers nothing is known; where it has, the flow goes by the router's table.
#[test]
fn virtual_routers_are_made_or_leave_flows_undecided() {
    netns::run("virtual_routers_are_made_or_leave_flows_undecided", || {
        let given =
            fs::read_to_string(ruleset("field/policy-routing.json")).expect("the cases are there");
        let (head, flows) = given.split_once('\n').expect("two lines");
        let mut head: Value = serde_json::from_str(head).expect("JSON");
        head["marks_picked_up"] = true.into();
        let interfaces = head["interfaces"].as_array_mut().expect("interfaces");
        for interface in interfaces
            .iter_mut()
            .filter(|one| ["eth1", "wg0"].map(Value::from).contains(&one["name"]))
        {
            interface["master"] = "red".into();
        }
        interfaces.push(json!({"name": "red", "addresses": [], "kind": "vrf", "table": 100}));
        head["tables"] =
            json!([{"table": 100, "routes": [{"destination": "0.0.0.0/0", "interface": "wg0"}]}]);
        let folder = Folder::new();
        let path = folder.join("routers.json");
        fs::write(&path, format!("{head}\n{flows}")).expect("the folder can be written");
        for (rules, wrong) in [("@vpn-only.nft", "dropped"), ("@eth0-only.nft", "accepted")] {
            let outcome = on(&format!("{rules} {}", text(&path)));
            let found = verdicts(&outcome);
            assert!(!found[0].starts_with(wrong), "{rules}: {}", outcome.text());
        }
    });
}

#[test]
fn translation_is_done_where_the_ruleset_does_none() {
    netns::run("translation_is_done_where_the_ruleset_does_none", || {
        judged("@own-without-nat.nft @dnat-cap.json", &[PASSES]);
        judged("@own-with-masquerade.nft @dnat-cap.json", &[PASSES]);
        judged(
            "@own-with-masquerade.nft --also @docker-nat.v4 @dnat-cap.json",
            &[PASSES],
        );
        judged("@own-wrong-accept.nft @dnat-cap.json", &["dropped"]);
        let folder = Folder::new();
        let path = folder.join("rules.nft");
        // The ruleset's own translation goes first.
        let own = |to: &str| {
            format!(
                "table inet f {{ chain f {{ type filter hook forward priority 0; policy drop; ct state established accept
                 ip daddr {to} tcp dport 80 accept\n }}
                 chain n {{ type nat hook prerouting priority 0; ip daddr 203.0.113.2 tcp dport 8080 dnat ip to 172.17.0.9:80\n }}\n}}"
            )
        };
        for (to, verdict) in [("172.17.0.9", PASSES), ("172.17.0.2", "dropped")] {
            fs::write(&path, own(to)).expect("the folder can be written");
            judged(&format!("{} @dnat-cap.json", text(&path)), &[verdict]);
        }
    });
}

#[test]
fn a_device_without_an_address_is_no_fault_of_translation() {
    netns::run(
        "a_device_without_an_address_is_no_fault_of_translation",
        || {
            judged("@home.nft @home.txt", &[PASSES]);
            let masquerade = "*nat\n-A POSTROUTING -o elsewhere -j MASQUERADE\n-A PREROUTING -p tcp --dport 81 -j REDIRECT --to-ports 82\nCOMMIT\n\
                          *filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\nCOMMIT\n";
            let (_, outcome) = check_text(
                masquerade,
                "tcp 192.0.2.77 203.0.113.5:443: judged\ntcp 192.0.2.77 203.0.113.5:81: judged",
                &["--format", "json"],
            );
            assert_eq!(verdicts(&outcome), [PASSES, PASSES], "{}", outcome.text());
            let six = "table inet f { chain p { type nat hook postrouting priority srcnat; masquerade\n }\n chain r { type nat hook prerouting priority dstnat; tcp dport 81 redirect to :82\n }\n}";
            let folder = Folder::new();
            let (rules, flows) = (folder.join("rules.nft"), folder.join("flows.json"));
            fs::write(&rules, six).expect("the folder can be written");
            let cases = Cases::parse(
                "tcp 2001:db8::5 [2001:db8:9::5]:443: judged\ntcp 2001:db8::5 [2001:db8:9::5]:81: judged\n",
            );
            fs::write(&flows, cases.file()).expect("the folder can be written");
            judged(
                &format!("{} {}", text(&rules), text(&flows)),
                &[PASSES, PASSES],
            );
        },
    );
}

#[test]
fn what_helpers_expect_is_not_said_to_be_dropped() {
    netns::run("what_helpers_expect_is_not_said_to_be_dropped", || {
        judged(
            "@ftp-fw.nft @ftp-capture.json",
            &[PASSES, "undecided", "undecided"],
        );
        // Where the capture tells what was expected, nothing else is in doubt.
        let given =
            fs::read_to_string(ruleset("field/ftp-capture.json")).expect("the cases are there");
        let told = given
            .replacen("\"verdict\":\"complete\"", "\"verdict\":\"complete\",\"marks_picked_up\":true", 1)
            .replacen("\"dst_port\":39083,", "\"dst_port\":39083,\"expected_by\":{\"helper\":\"ftp\",\"protocol_number\":6,\"port\":21},", 1);
        assert_ne!(told, given);
        let folder = Folder::new();
        let path = folder.join("told.json");
        fs::write(&path, told).expect("the folder can be written");
        judged(
            &format!("@ftp-fw.nft {}", text(&path)),
            &[PASSES, "undecided", "dropped"],
        );
        // A ruleset that has nothing for related connections stops them.
        let rules = folder.join("rules.nft");
        let strict = "table inet f { chain f { type filter hook forward priority 0; policy drop; ct state established accept\n tcp dport 21 accept\n }\n}";
        fs::write(&rules, strict).expect("the folder can be written");
        judged(
            &format!("{} @ftp-capture.json", text(&rules)),
            &[PASSES, "dropped", "dropped"],
        );
    });
}

#[test]
fn flows_of_a_zone_are_judged_in_it() {
    netns::run("flows_of_a_zone_are_judged_in_it", || {
        let folder = Folder::new();
        let cases = format!(
            "{HOST}tcp 203.0.113.5 192.0.2.10:443: x\ntcp 203.0.113.6 192.0.2.10:443: x\ntcp 192.0.2.10 203.0.113.7:25: x\n"
        );
        let mut cases = Cases::parse(&cases);
        cases.capture["marks_picked_up"] = true.into();
        for (flow, zone) in cases.flows.iter_mut().zip([5, 7, 5]) {
            flow.flow["zone"] = zone.into();
        }
        let (flows, rules) = (folder.join("flows.json"), folder.join("rules.nft"));
        fs::write(&flows, cases.file()).expect("the folder can be written");
        let by_zone = "table inet f { chain i { type filter hook input priority 0; policy drop; ct zone 5 accept\n }
            chain o { type filter hook output priority 0; policy drop; ct original zone 5 accept\n }\n}";
        fs::write(&rules, by_zone).expect("the folder can be written");
        let files = format!("{} {}", text(&rules), text(&flows));
        judged(&files, &[PASSES, PASSES, "dropped"]);
        // The ruleset's own zones go first.
        let own = by_zone.replacen(
            "table inet f {",
            "table inet f { chain z { type filter hook prerouting priority raw; ct zone set 7\n }",
            1,
        );
        fs::write(&rules, own).expect("the folder can be written");
        let outcome = on(&files);
        assert!(
            verdicts(&outcome)
                .iter()
                .all(|verdict| verdict == "dropped" || verdict == "accepted/dropped"),
            "{}",
            outcome.text()
        );
        // What is written for them passes.
        let written = Launch::new(["rules", text(&flows)]).run();
        fs::write(&rules, written.text()).expect("the folder can be written");
        judged(&files, &[PASSES, PASSES, PASSES]);
    });
}

#[test]
fn what_loads_elsewhere_loads_here() {
    netns::run("what_loads_elsewhere_loads_here", || {
        judged("@nfacct.v4 @flow4.txt --local 203.0.113.2/24", &[PASSES]);
        judged(
            "@recent-counters.v4 @flow4.txt --local 203.0.113.2/24 --interface 0.0.0.0/0=eth0",
            &[PASSES],
        );
        let nft = "table inet f {\n flowtable ft {\n  hook ingress priority 0; devices = { eth0 }; flags offload\n }\n ct helper foo { type \"foo\" protocol tcp; }
            chain o { type filter hook output priority 0; meta skuid \"nobody-has-this-name\" accept; }
            chain i { type filter hook input priority 0; policy drop; tcp dport 21 ct helper set \"foo\"
            ct state established flow add @ft accept\n tcp dport 443 ct state new,established accept\n }\n}";
        let flows = "tcp 203.0.113.5 192.0.2.10:443: accepted, reply accepted\ntcp 203.0.113.5 192.0.2.10:80: dropped by inet f i: policy\nlimit: left out of the ruleset";
        compare(nft, flows);
        let iptables = "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -p tcp --dport 21 -j CT --helper foo\nCOMMIT\n*filter\n:INPUT DROP\n\
            -A OUTPUT -m owner --uid-owner nobody-has-this-name -j ACCEPT\n-A INPUT -p tcp --dport 443 -j ACCEPT\nCOMMIT\n";
        compare(iptables, &flows.replace("inet f i", "ip filter INPUT"));
    });
}

#[test]
fn packets_reach_the_loopback_where_captured_ones_did() {
    netns::run("packets_reach_the_loopback_where_captured_ones_did", || {
        let rules = "table ip n { chain p { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 127.0.0.1:80\n }
            chain i { type filter hook input priority 0; policy drop; ct status dnat accept\n }\n}";
        let mut cases = Cases::parse(&format!(
            "{HOST}tcp 203.0.113.5 192.0.2.10:8080: accepted, reply accepted\n"
        ));
        cases.flows[0].flow["dnat"] = json!({"address": "127.0.0.1", "port": 80});
        let folder = Folder::new();
        let (path, capture) = (folder.join("rules.nft"), folder.join("flows.json"));
        fs::write(&path, rules).expect("the folder can be written");
        fs::write(&capture, cases.file()).expect("the folder can be written");
        judged(&format!("{} {}", text(&path), text(&capture)), &[PASSES]);
    });
}

#[test]
fn what_is_no_ruleset_says_how_to_get_one() {
    netns::run("what_is_no_ruleset_says_how_to_get_one", || {
        let outcome = on("@fw.sh @flow4.txt");
        assert_eq!(
            (outcome.code, outcome.stdout.len()),
            (Some(2), 0),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("iptables-save"),
            "{}",
            outcome.stderr
        );
        let flow = "tcp 203.0.113.5 192.0.2.10:443: judged";
        for (rules, advice) in [
            ("-P INPUT DROP\n-A INPUT -j DROP\n", "iptables-save"),
            (
                "Chain INPUT (policy DROP)\ntarget     prot opt source               destination\n",
                "iptables-save",
            ),
            ("{\"nftables\": []}", "nft list ruleset"),
            (
                "table ip filter {\n chain INPUT {\n  type filter hook input priority 0; policy drop;\n  xt match \"conntrack\" accept\n }\n}\n",
                "iptables-save",
            ),
            (
                "table inet f {\n chain i {\n  type filter hook input priority 0; policy accept;\n }\n}\n",
                "decides nothing",
            ),
            ("", "decides nothing"),
        ] {
            let (_, outcome) = check_text(rules, flow, &[]);
            assert_eq!(
                (outcome.code, outcome.stdout.len()),
                (Some(2), 0),
                "{rules}: {outcome:?}"
            );
            assert!(
                outcome.stderr.contains(advice),
                "{rules}: {}",
                outcome.stderr
            );
        }
    });
}

#[test]
fn a_device_that_is_not_known_decides_nothing() {
    netns::run("a_device_that_is_not_known_decides_nothing", || {
        let folder = Folder::new();
        let (rules, flows) = (folder.join("rules.nft"), folder.join("flows.json"));
        fs::write(
            &flows,
            Cases::parse("tcp 203.0.113.5 192.0.2.10:443: x\ntcp 203.0.113.5 192.0.2.10:22: x\n")
                .file(),
        )
        .expect("the folder can be written");
        let by_device = "table inet f { chain i { type filter hook input priority 0; policy drop; ct state established accept
            tcp dport 443 accept\n iifname \"wan0\" tcp dport 22 accept\n }\n}";
        fs::write(&rules, by_device).expect("the folder can be written");
        let words = format!("{} {} --local 192.0.2.10/32", text(&rules), text(&flows));
        judged(&words, &["undecided", PASSES]);
        judged(
            &format!("{words} --interface 0.0.0.0/0=wan0"),
            &[PASSES, PASSES],
        );
        judged(
            &format!("{words} --interface 0.0.0.0/0=lan0"),
            &["dropped", PASSES],
        );
    });
}
