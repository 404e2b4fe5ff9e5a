//! How `conntracker check` takes files: their family, what they would remove, what the host lacks, what is no ruleset.

use std::fs;

use vendor_tests::checking::{check_text, text};
use vendor_tests::field::{PASSES, compare, judged, on, verdicts};
use vendor_tests::netns;
use vendor_tests::temp::Folder;

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
