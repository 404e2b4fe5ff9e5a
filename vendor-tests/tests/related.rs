//! `conntracker check` on connections that a helper expects, held against real ones through a gateway with the same rules.

use std::fs;

use vendor_tests::capture::Launch;
use vendor_tests::field::{PASSES, verdicts};
use vendor_tests::helped;
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;

const HELPER: &str = "table inet raw {
    ct helper f { type \"ftp\" protocol tcp; }
    chain p { type filter hook prerouting priority 0; tcp dport 21 ct helper set \"f\"; }
}\n";

/// A ruleset of the gateway that has these rules.
fn forward(rules: &str) -> String {
    format!(
        "{HELPER}table inet fw {{
            chain f {{ type filter hook forward priority 0; policy drop;\n{rules}\n}}
        }}\n"
    )
}

/// The verdicts on the control connection, and on what it has expected: passive and active.
fn judged(words: &[&str]) -> Vec<String> {
    let outcome = Launch::new([&["check", "--format=json"], words].concat()).run();
    let found = verdicts(&outcome);
    assert_eq!(
        found.len(),
        3,
        "{words:?}: {}{}",
        outcome.text(),
        outcome.stderr
    );
    found
}

#[test]
fn what_is_expected_passes_where_it_passes_a_gateway() {
    let test = "what_is_expected_passes_where_it_passes_a_gateway";
    netns::run(test, || {
        let folder = Folder::new();
        let lab = Lab::new();
        helped::assign();
        let path = folder.join("gw.json");
        let capture = path.to_str().expect("text");
        let usual = ["--all-protocols", "--format", "json", "-o", capture];
        let running = Launch::new(usual).start();
        for passive in [true, false] {
            assert!(helped::ftp(&lab, passive));
        }
        running.drained();
        assert_eq!(running.finish().code, Some(0));
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the folder can be written");
            path.to_str().expect("text").to_owned()
        };
        let usual = "ct state established,related accept\ntcp dport 21 accept";
        let own = "ct state established accept\ntcp dport 21 accept";
        let nft = [
            forward(usual),
            forward(own),
            forward(&format!("tcp sport 20 drop\n{usual}")),
            forward(&format!(
                "ct state related ct helper \"ftp\" tcp dport 40000 accept\n{own}"
            )),
            forward(&format!("ct status expected accept\n{own}")),
            forward("ct state != { new, invalid } accept\ntcp dport 21 accept"),
            forward("tcp dport 21 accept\nct state new drop\naccept"),
            forward("ct mark 7 accept\ntcp dport 21 ct mark set 7 accept"),
            forward(usual)
                + "table inet z { chain p { type filter hook prerouting priority -300; ct zone set 5\n }\n}\n",
        ];
        let mut judgements = Vec::new();
        for (at, rules) in nft.iter().enumerate() {
            let path = file(&format!("{at}.nft"), rules);
            sh(&format!(
                "nft flush ruleset && nft -f {path} && conntrack -F 2>/dev/null"
            ));
            judgements.push((
                rules.as_str(),
                judged(&[&path, capture]),
                [true, false].map(|passive| helped::ftp(&lab, passive)),
            ));
        }
        let restore = "*raw\n-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\nCOMMIT\n*filter\n:FORWARD DROP\n\
            -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -m helper --helper ftp -m conntrack --ctstate RELATED -j ACCEPT\n\
            -A FORWARD -p tcp --dport 21 -j ACCEPT\nCOMMIT\n";
        let path = file("rules.v4", restore);
        sh(&format!(
            "nft flush ruleset && iptables-restore < {path} && conntrack -F 2>/dev/null"
        ));
        judgements.push((
            restore,
            judged(&[&path, capture]),
            [true, false].map(|passive| helped::ftp(&lab, passive)),
        ));
        for (rules, found, passed) in &judgements {
            let said = passed.map(|passed| if passed { PASSES } else { "dropped" });
            assert_eq!(found[0], PASSES, "{rules}");
            assert_eq!(found[1..], said, "{rules}");
        }
        // What another helper is assigned to is not known to be what was expected.
        let irc = file("irc.nft", &forward(usual).replace("\"ftp\"", "\"irc\""));
        assert_eq!(judged(&[&irc, capture]), [PASSES, "undecided", "undecided"]);
        // Both are among them, so that neither is what is always said.
        let all: Vec<bool> = judgements.iter().flat_map(|(.., passed)| *passed).collect();
        assert!(all.contains(&true) && all.contains(&false));
    });
}

#[test]
fn without_the_helper_nothing_is_said_of_what_it_expects() {
    let test = "without_the_helper_nothing_is_said_of_what_it_expects";
    netns::run(test, || {
        let folder = Folder::new();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the folder can be written");
            path.to_str().expect("text").to_owned()
        };
        let flow = |source: &str, destination: &str, port: u16, more: &str| {
            format!(
                "{{\"type\":\"flow\",\"family\":\"ipv6\",\"protocol\":\"tcp\",\"protocol_number\":6,\"src\":\"{source}\",\"src_port\":1024,\
                 \"src_port_collapsed\":true,\"dst\":\"{destination}\",\"dst_port\":{port},\"confirmed\":true,\"connections\":1,\
                 \"first_seen\":\"2026-11-26T11:34:08.096149Z\",\"last_seen\":\"2026-11-26T11:34:08.188912Z\"{more}}}\n"
            )
        };
        let by = ",\"expected_by\":{\"helper\":\"ftp\",\"protocol_number\":6,\"port\":21}";
        let head = "{\"type\":\"capture\",\"schema\":1,\"verdict\":\"complete\",\"marks_picked_up\":true,\"options\":[],\
            \"interfaces\":[{\"name\":\"lan\",\"addresses\":[\"2001:db8:1::1/64\"]},{\"name\":\"wan\",\"addresses\":[\"2001:db8:2::1/64\"]}],\
            \"routes\":[{\"destination\":\"2001:db8:1::/64\",\"interface\":\"lan\"},{\"destination\":\"2001:db8:2::/64\",\"interface\":\"wan\"}]}\n";
        let (client, server) = ("2001:db8:1::7", "2001:db8:2::7");
        let capture = file(
            "gw.json",
            &[
                head.to_owned(),
                flow(client, server, 21, ""),
                flow(client, server, 40_000, by),
                flow(server, client, 40_001, by),
            ]
            .concat(),
        );
        let related = "ct state established,related accept\n";
        let rules = file(
            "fw.nft",
            &forward(&format!("{related}tcp dport 21 accept")).replace(HELPER, ""),
        );
        assert_eq!(
            judged(&[&rules, &capture]),
            [PASSES, "undecided", "undecided"]
        );
        // Another file assigns it.
        let also = format!("--also={}", file("raw.nft", HELPER));
        assert_eq!(judged(&[&rules, &also, &capture]), [PASSES, PASSES, PASSES]);
        // Without the control connection nothing comes of it; with one that comes to no helper, nothing is known.
        let closed = file("closed.nft", &forward(related));
        assert_eq!(judged(&[&closed, &capture]), ["dropped"; 3]);
        let other = file(
            "other.nft",
            &forward(&format!("{related}tcp dport 21 accept"))
                .replace("dport 21 ct", "dport 2121 ct"),
        );
        assert_eq!(
            judged(&[&other, &capture]),
            [PASSES, "undecided", "undecided"]
        );
        // What lets it pass is needed.
        let coverage = Launch::new([
            "check",
            "--coverage",
            "--format=json",
            &rules,
            &also,
            &capture,
        ])
        .run();
        let line = coverage.text();
        let text = line
            .lines()
            .find(|line| line.contains("\"type\":\"rule\"") && line.contains("related"))
            .unwrap_or_default();
        assert!(text.contains("\"needed\""), "{line}");
        let only = file(
            "only.nft",
            &forward("ct state established accept\nct state related accept\ntcp dport 21 accept"),
        );
        let coverage = Launch::new(["check", "--coverage", &only, &capture]).run();
        assert!(
            coverage.text().contains("4 needed, 0 not needed"),
            "{}",
            coverage.text()
        );
    });
}
