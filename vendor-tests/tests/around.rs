//! `conntracker check` is right or undecided about what is around the ruleset: routes, devices, translation, helpers.

use std::fs;

use serde_json::{Value, json};
use vendor_tests::checking::{HOST, check_text, ruleset, text};
use vendor_tests::field::{PASSES, judged, on, verdicts};
use vendor_tests::judging::Cases;
use vendor_tests::netns;
use vendor_tests::temp::Folder;

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
        // What was done for the ruleset is said where it was.
        let says = |words: &str| on(words).text().contains("gets the DNAT that the capture");
        assert!(!says(&format!("{} @dnat-cap.json", text(&path))));
        assert!(says("@own-with-masquerade.nft @dnat-cap.json"));
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
