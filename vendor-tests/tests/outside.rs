//! What a ruleset asks for and neither it nor the flow says: the verdict is undecided, whatever the injected packet has.

use serde_json::Value;
use vendor_tests::files::{file, on};
use vendor_tests::netns;
use vendor_tests::temp::Folder;

const HOST: &str = "local = [\"192.168.1.1/24\", \"203.0.113.1/30\"]
[interfaces]
lan = \"192.168.0.0/16\"
wan = \"0.0.0.0/0\"
";

/// The verdicts on one flow of a ruleset.
fn verdict(folder: &Folder, rules: &str, flow: &str) -> (String, String) {
    let rules = file(folder, "rules", rules);
    let flow = format!("{HOST}\n[[flow]]\n{flow}\nverdict = \"accepted\"\n");
    let expected = file(folder, "flow.toml", flow);
    let words = format!("check --format json --expect {}", expected.display());
    let outcome = on(&words, &[&rules]);
    let text = outcome.text();
    let line = text.lines().nth(1).unwrap_or_else(|| panic!("{outcome:?}"));
    let line: Value = serde_json::from_str(line).expect("JSON");
    let of = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (of("verdict"), of("reason"))
}

/// A forward chain of nft that drops, but for answers and what is said.
fn forward(rules: &str) -> String {
    format!(
        "table inet f {{ chain c {{ type filter hook forward priority 0; policy drop
         ct state established accept\n{rules}\n}}\n}}\n"
    )
}

/// The same of iptables.
fn forward_of_iptables(rules: &str) -> String {
    format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n{rules}\nCOMMIT\n"
    )
}

const WEB: &str = "from = \"192.168.1.10\"\nto = \"198.51.100.7\"\nservice = \"tcp/443\"";
const PING: &str =
    "from = \"192.168.1.10\"\nto = \"198.51.100.7\"\nservice = \"icmp/echo-request\"";

#[test]
fn one_of_the_ports_that_clients_choose_from_is_not_known_of_a_folded_flow() {
    netns::run(
        "one_of_the_ports_that_clients_choose_from_is_not_known_of_a_folded_flow",
        || {
            let folder = Folder::new();
            let known = format!("{WEB}\nsource_port = 51000");
            for (rule, exact) in [
                ("tcp sport 49152-65535 tcp dport 443 accept", "accepted"),
                ("tcp sport 32768-49151 tcp dport 443 accept", "dropped"),
                ("tcp sport 51000 accept", "accepted"),
                ("th sport { 53, 40000-60000 } accept", "accepted"),
                ("tcp sport & 1 == 1 accept", "dropped"),
                (
                    "meta l4proto tcp ct original proto-src 51000 accept",
                    "accepted",
                ),
                ("tcp sport vmap { 51000 : accept }", "accepted"),
            ] {
                let (folded, why) = verdict(&folder, &forward(rule), WEB);
                assert_eq!(folded, "undecided", "{rule}");
                assert!(why.contains("ports from 1024 on"), "{rule}: {why}");
                assert_eq!(verdict(&folder, &forward(rule), &known).0, exact, "{rule}");
            }
            for (rule, exact) in [
                (
                    "-A FORWARD -p tcp -m tcp --sport 49152:65535 --dport 443 -j ACCEPT",
                    "accepted",
                ),
                (
                    "-A FORWARD -p tcp -m multiport --sports 1024:2000,3000 -j ACCEPT",
                    "dropped",
                ),
                (
                    "-A FORWARD -p tcp -m tcp ! --sport 51000 -j ACCEPT",
                    "dropped",
                ),
            ] {
                let rules = forward_of_iptables(rule);
                assert_eq!(verdict(&folder, &rules, WEB).0, "undecided", "{rule}");
                assert_eq!(verdict(&folder, &rules, &known).0, exact, "{rule}");
            }
            // Nothing hangs on the port.
            let twice = "tcp sport 40000-50000 accept\ntcp dport 443 accept";
            assert_eq!(verdict(&folder, &forward(twice), WEB).0, "accepted");
            // No port is left that meets no rule.
            let halves = "tcp sport 1024-40000 accept\ntcp sport 40001-65535 accept";
            assert_eq!(verdict(&folder, &forward(halves), WEB).0, "undecided");
            // These do not tell them apart.
            for (rules, expected) in [
                (
                    forward("tcp sport 1024-65535 tcp dport 443 accept"),
                    "accepted",
                ),
                (forward("tcp sport >= 1024 accept"), "accepted"),
                (forward("tcp sport 443 accept"), "dropped"),
                (
                    forward_of_iptables("-A FORWARD -p tcp --sport 1024: -j ACCEPT"),
                    "accepted",
                ),
                (
                    forward_of_iptables("-A FORWARD -p tcp --sport 1:1023 -j ACCEPT"),
                    "dropped",
                ),
            ] {
                assert_eq!(verdict(&folder, &rules, WEB).0, expected, "{rules}");
            }
        },
    );
}

#[test]
fn what_injected_packets_are_given_decides_nothing() {
    netns::run("what_injected_packets_are_given_decides_nothing", || {
        let folder = Folder::new();
        for (rules, flow) in [
            (forward("tcp doff 5 drop; accept"), WEB),
            (forward("tcp urgptr 0 accept"), WEB),
            (forward("icmp id 50000 accept"), PING),
            (forward("ct id < 2147483648 accept"), WEB),
            (forward("ct bytes < 50 accept"), WEB),
            (forward("ct avgpkt 60 accept"), WEB),
            (
                forward("ip saddr @s accept").replacen(
                    "{ chain",
                    "{\nset s { type ipv4_addr; limit rate 1/hour burst 1 packets; elements = { 192.168.1.10 }\n}\nchain",
                    1,
                ),
                WEB,
            ),
            (
                forward_of_iptables("-A FORWARD -p tcp --tcp-option 8 -j ACCEPT"),
                WEB,
            ),
            (
                forward_of_iptables("-A FORWARD -p tcp ! --tcp-option 8 -j ACCEPT"),
                WEB,
            ),
            (
                forward_of_iptables("-A FORWARD -j NFQUEUE --queue-num 0 --queue-bypass"),
                WEB,
            ),
        ] {
            let (found, why) = verdict(&folder, &rules, flow);
            assert_eq!(found, "undecided", "{rules}: {why}");
        }
        let own = "from = \"192.168.1.10\"\nto = \"192.168.1.1\"\nservice = \"tcp/443\"";
        let redirected = "table inet f { chain p { type nat hook prerouting priority -100
            tcp dport 443 redirect to :1000-1001 random\n}
            chain i { type filter hook input priority 0; policy drop; tcp dport 1000 accept\n}\n}\n";
        assert_eq!(verdict(&folder, redirected, own).0, "undecided");
        // The only rule that needs tracking is the one in doubt.
        for nat in [
            "meta mark 5 redirect to :1000",
            "meta cpu 7 dnat ip to 192.168.1.1:1000",
        ] {
            let rules = redirected.replace("redirect to :1000-1001 random", nat);
            assert_eq!(verdict(&folder, &rules, own).0, "undecided", "{nat}");
        }
        let proxy = format!(
            "*mangle\n-A PREROUTING -p tcp --dport 443 -j TPROXY --on-port 3128 --on-ip 127.0.0.1 --tproxy-mark 1/1\nCOMMIT\n{}",
            forward_of_iptables("")
        );
        assert_eq!(verdict(&folder, &proxy, WEB).0, "undecided");
    });
}

#[test]
fn nothing_comes_to_the_loopback_network_from_outside() {
    netns::run("nothing_comes_to_the_loopback_network_from_outside", || {
        let folder = Folder::new();
        let rules = "table inet f { chain c { type filter hook input priority 0; policy drop; iifname \"lan\" accept\n}\n}\n";
        let flow = "from = \"192.168.1.10\"\nto = \"127.0.0.1\"\nservice = \"tcp/22\"";
        let (found, why) = verdict(&folder, rules, flow);
        assert_eq!(found, "undecided");
        assert!(why.contains("loopback network"), "{why}");
    });
}

#[test]
fn a_network_lies_behind_one_device_and_a_ruleset_has_an_end() {
    netns::run(
        "a_network_lies_behind_one_device_and_a_ruleset_has_an_end",
        || {
            let folder = Folder::new();
            let rules = file(&folder, "rules.nft", forward("accept"));
            let twice = HOST.replace("wan = \"0.0.0.0/0\"", "wan = \"192.168.0.0/16\"");
            let expected = file(
                &folder,
                "flow.toml",
                format!("{twice}\n[[flow]]\n{WEB}\nverdict = \"accepted\"\n"),
            );
            let outcome = on(&format!("check --expect {}", expected.display()), &[&rules]);
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(outcome.stderr.contains("at once"), "{outcome:?}");
            let outcome = on(
                &format!("check --expect {}", expected.display()),
                &["/dev/zero".as_ref()],
            );
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(outcome.stderr.contains("256 MiB"), "{outcome:?}");
        },
    );
}

#[test]
fn one_ruleset_can_not_take_away_what_another_one_has() {
    netns::run("one_ruleset_can_not_take_away_what_another_one_has", || {
        let folder = Folder::new();
        let rules = file(&folder, "rules.nft", forward("accept"));
        let expected = file(
            &folder,
            "flow.toml",
            format!("{HOST}\n[[flow]]\n{WEB}\nverdict = \"accepted\"\n"),
        );
        for (text, code) in [
            (
                "table inet other { chain c { type filter hook forward priority 1\n}\n}\n",
                0,
            ),
            ("flush table inet f\n", 2),
            ("flush chain inet f c\n", 2),
            (
                "delete table inet f\ntable inet f { chain c { type filter hook forward priority 1\n}\n}\n",
                2,
            ),
            ("table inet f { flags dormant\n}\n", 2),
        ] {
            let other = file(&folder, "other.nft", text);
            let words = format!(
                "check --expect {} --also {}",
                expected.display(),
                other.display()
            );
            let outcome = on(&words, &[&rules]);
            assert_eq!(outcome.code, Some(code), "{text}: {outcome:?}");
        }
        let numbered = file(&folder, "numbered.nft", forward("iif 2 accept"));
        let outcome = on(
            &format!("check --expect {}", expected.display()),
            &[&numbered],
        );
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("by its number"), "{outcome:?}");
    });
}

#[test]
fn flags_of_ecn_ranges_of_destinations_and_hashes_are_chance() {
    netns::run(
        "flags_of_ecn_ranges_of_destinations_and_hashes_are_chance",
        || {
            let folder = Folder::new();
            for (rules, expected) in [
                // A client that knows ECN sets two more flags (RFC 3168, 6.1.1).
                (forward("tcp flags == syn accept"), "undecided"),
                (
                    forward("tcp flags & (syn | cwr) == syn accept"),
                    "undecided",
                ),
                (
                    forward("tcp flags & (fin | syn | rst | ack) == syn accept"),
                    "accepted",
                ),
                (
                    forward("tcp flags == 0x0 drop\ntcp dport 443 accept"),
                    "accepted",
                ),
                (
                    forward("meta mark set jhash tcp sport mod 2 seed 0x1\nmeta mark 1 accept"),
                    "undecided",
                ),
                (
                    format!(
                        "*nat\n-A PREROUTING -p tcp --dport 443 -j DNAT --to-destination 198.51.100.8-198.51.100.9\nCOMMIT\n{}",
                        forward_of_iptables("-A FORWARD -d 198.51.100.8 -j ACCEPT")
                    ),
                    "undecided",
                ),
                (
                    format!(
                        "table ip n {{ chain p {{ type nat hook prerouting priority dstnat\n\
                         tcp dport 443 dnat to 198.51.100.8-198.51.100.9\n}}\n}}\n{}",
                        forward("ip daddr 198.51.100.8 accept")
                    ),
                    "undecided",
                ),
            ] {
                assert_eq!(verdict(&folder, &rules, WEB).0, expected, "{rules}");
            }
        },
    );
}

#[test]
fn a_capture_without_an_end_is_refused() {
    netns::run("a_capture_without_an_end_is_refused", || {
        let folder = Folder::new();
        let rules = file(&folder, "rules", forward("tcp dport 443 accept"));
        for device in ["/dev/zero", "/dev/urandom"] {
            let outcome = on("check", &[&rules, std::path::Path::new(device)]);
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(outcome.stderr.contains("has no end"), "{outcome:?}");
        }
    });
}

#[test]
fn a_set_that_other_flows_fill_up_is_not_full() {
    netns::run("a_set_that_other_flows_fill_up_is_not_full", || {
        let folder = Folder::new();
        let rules = "table inet f {\nset s { type ipv4_addr; size 2; flags dynamic; }\n\
                     chain c { type filter hook forward priority 0; policy drop\n\
                     ct state established accept\nadd @s { ip saddr } accept\n}\n}\n";
        let rules = file(&folder, "rules", rules);
        let many: Vec<String> = (10..20)
            .map(|host| format!("\"192.168.1.{host}\""))
            .collect();
        let flow = format!(
            "{HOST}\n[[flow]]\nfrom = [{}]\nto = \"198.51.100.7\"\nservice = \"tcp/443\"\nverdict = \"accepted\"\n",
            many.join(", ")
        );
        let expected = file(&folder, "flow.toml", flow);
        let outcome = on(&format!("check --expect {}", expected.display()), &[&rules]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    });
}
