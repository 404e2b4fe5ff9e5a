//! `conntracker check` is right or undecided where a rule asks for what stands outside the ruleset: rulesets of the field,
//! and others of the same kinds.

use std::fs;

use vendor_tests::capture::Launch;
use vendor_tests::checking::{HOST, check_text, text};
use vendor_tests::field::{PASSES, compare, judged, on, verdicts};
use vendor_tests::judging::Cases;
use vendor_tests::netns;
use vendor_tests::temp::Folder;

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
