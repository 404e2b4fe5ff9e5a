//! From real traffic to rules that run on the gateway: what was seen still works, and nothing else does.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vendor_tests::attempts::{Place, ping_is_answered, tcp_opens, udp_arrives, udp_is_answered};
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

fn conntracker(args: &[&str]) -> Outcome {
    Launch::new(args).run()
}

/// Each with whether it works.
type Attempts = Vec<(&'static str, bool)>;

fn places(lab: &Lab) -> (Place<'_>, Place<'_>, Place<'_>) {
    (
        Place::At(&lab.client),
        Place::At(&lab.server),
        Place::Gateway,
    )
}

/// Everything that is captured. [`Lab::traffic`] fails by itself.
fn wanted(lab: &Lab) -> Attempts {
    lab.traffic();
    let (client, server, gateway) = places(lab);
    vec![
        ("to the gateway", tcp_opens(client, gateway, "10.1.0.1:22")),
        (
            "to the gateway, IPv6",
            tcp_opens(client, gateway, "[fd01::1]:22"),
        ),
        (
            "UDP to the gateway",
            udp_is_answered(client, gateway, "10.1.0.1:123"),
        ),
        ("ping to the gateway", ping_is_answered(client, "fd01::1")),
        (
            "from the gateway",
            tcp_opens(gateway, server, "10.2.0.2:25"),
        ),
        (
            "from the gateway, IPv6",
            udp_is_answered(gateway, server, "[fd02::2]:53"),
        ),
        (
            "ping from the gateway",
            ping_is_answered(gateway, "10.1.0.2"),
        ),
        (
            "back into the LAN",
            tcp_opens(server, client, "[fd01::2]:9100"),
        ),
        (
            "the gateway with itself",
            tcp_opens(gateway, gateway, "10.1.0.1:8080"),
        ),
    ]
}

/// What is not.
fn unwanted(lab: &Lab) -> Attempts {
    let (client, server, gateway) = places(lab);
    vec![
        ("another port", tcp_opens(client, server, "10.2.0.2:444")),
        (
            "another port, IPv6",
            tcp_opens(client, server, "[fd02::2]:444"),
        ),
        (
            "another port, UDP",
            udp_arrives(client, server, "10.2.0.2:54"),
        ),
        ("another server", tcp_opens(client, server, "10.2.0.3:443")),
        ("another server, ping", ping_is_answered(client, "10.2.0.3")),
        (
            "the other direction",
            tcp_opens(server, client, "10.1.0.2:443"),
        ),
        (
            "the other direction, ping",
            ping_is_answered(server, "fd01::2"),
        ),
        (
            "another protocol",
            udp_arrives(client, server, "10.2.0.2:443"),
        ),
        (
            "another protocol, IPv6",
            tcp_opens(client, server, "[fd02::2]:53"),
        ),
        (
            "another port of the gateway",
            tcp_opens(client, gateway, "10.1.0.1:23"),
        ),
        (
            "another address of the gateway",
            tcp_opens(client, gateway, "10.2.0.1:22"),
        ),
        (
            "to the gateway from elsewhere",
            tcp_opens(server, gateway, "10.1.0.1:22"),
        ),
        (
            "another port from the gateway",
            tcp_opens(gateway, server, "10.2.0.2:443"),
        ),
        (
            "another host from the gateway",
            tcp_opens(gateway, client, "10.1.0.2:25"),
        ),
        (
            "another port of the LAN",
            tcp_opens(server, client, "[fd01::2]:9101"),
        ),
    ]
}

/// Asserts that all of it works. Each attempt's patience is short, and the machine may be busy: what fails gets
/// another chance.
fn assert_works(lab: &Lab, attempts: fn(&Lab) -> Attempts, when: &str) {
    let mut results = attempts(lab);
    for _ in 0..2 {
        if results.iter().any(|(_, works)| !works) {
            for ((_, before), (_, now)) in results.iter_mut().zip(attempts(lab)) {
                *before |= now;
            }
        }
    }
    for (name, works) in results {
        assert!(works, "{name}: {when}");
    }
}

/// Asserts that under the rules that are loaded all works that was seen, and nothing else.
fn assert_rules_do(lab: &Lab) {
    // Connections of before would be established.
    sh("conntrack -F 2>/dev/null");
    assert_works(lab, wanted, "under the rules");
    for (name, works) in unwanted(lab) {
        assert!(!works, "{name}: under the rules");
    }
}

/// Rules without what may differ from one capture to the next: comments with times.
fn rules_of(ruleset: &str) -> Vec<&str> {
    let lines = ruleset.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(" comment ").next().unwrap_or(line))
        .collect()
}

/// What `check` says, as an exit status and objects.
fn check(ruleset: &Path, capture: &Path) -> (Option<i32>, Vec<Value>) {
    let outcome = conntracker(&["check", text(ruleset), text(capture), "--format", "json"]);
    let lines = outcome.text();
    let objects = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let objects = objects.collect();
    assert_eq!(outcome.stderr, "", "{objects:?}");
    (outcome.code, objects)
}

#[test]
fn captured_traffic_works_under_its_rules_and_nothing_else_does() {
    let test = "captured_traffic_works_under_its_rules_and_nothing_else_does";
    netns::run(test, || {
        let folder = Folder::new();
        let [capture, live, rules, lacking, iptables] = [
            "gw.json",
            "live.nft",
            "gw.nft",
            "lacking.nft",
            "gw.iptables",
        ]
        .map(|name| folder.join(name));
        let lab = Lab::new();
        lab.server.sh("ip addr add 10.2.0.3/24 dev eth0");
        lab.track();
        let listens = |more: &[&str]| {
            let args = [&["--all-protocols", "--format"], more].concat();
            Launch::new(args).start()
        };
        let runs = [
            listens(&["json", "-o", text(&capture)]),
            listens(&["nft", "-o", text(&live)]),
        ];
        assert_works(&lab, wanted, "without rules");
        for run in runs {
            run.drained();
            let outcome = run.finish();
            assert_eq!(
                (outcome.code, &*outcome.text()),
                (Some(0), ""),
                "{outcome:?}"
            );
        }
        // Or nothing would be shown by its not working later.
        assert_works(&lab, unwanted, "without rules");

        let outcome = conntracker(&["rules", text(&capture), "-o", text(&rules)]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let [from_json, from_live] =
            [&rules, &live].map(|path| fs::read_to_string(path).expect("rules were written"));
        assert_eq!(rules_of(&from_json), rules_of(&from_live));

        for path in [&rules, &live] {
            sh(&format!("nft -f {}", text(path)));
            assert_rules_do(&lab);
        }

        let (code, verdicts) = check(&rules, &capture);
        assert_eq!(code, Some(0), "{verdicts:#?}");
        assert_eq!(
            verdicts[0]["confirmed"]["accepted"],
            verdicts[0]["confirmed"]["flows"]
        );
        // The whole of what runs here, translation included, as an administrator would have it judged.
        let running = vendor_tests::program::run("nft", ["list", "ruleset"]);
        fs::write(&lacking, &running).expect("the folder can be written");
        let (code, verdicts) = check(&lacking, &capture);
        assert_eq!(code, Some(0), "{verdicts:#?}");

        let without: Vec<&str> = from_json
            .lines()
            .filter(|line| !line.contains("tcp dport 22 accept") || line.contains("ip6"))
            .collect();
        assert_eq!(without.len() + 1, from_json.lines().count());
        fs::write(&lacking, without.join("\n") + "\n").expect("the folder can be written");
        let (code, verdicts) = check(&lacking, &capture);
        assert_eq!(code, Some(1), "{verdicts:#?}");
        let stopped: Vec<&Value> = verdicts
            .iter()
            .filter(|verdict| verdict["verdict"] == "dropped")
            .collect();
        let [stopped] = stopped[..] else {
            panic!("{stopped:#?}");
        };
        assert_eq!(
            (&stopped["flow"]["dst"], &stopped["flow"]["dst_port"]),
            (&"10.1.0.1".into(), &22.into())
        );
        let by = &stopped["by"];
        assert_eq!(
            (&by["table"], &by["chain"], &by["rule"]),
            (&"observed".into(), &"input".into(), &"policy drop".into())
        );

        sh("nft delete table inet observed");
        let outcome = conntracker(&[
            "rules",
            "--for",
            "iptables",
            text(&capture),
            "-o",
            text(&iptables),
        ]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        for program in ["iptables-restore", "ip6tables-restore"] {
            sh(&format!("{program} {}", text(&iptables)));
        }
        assert_rules_do(&lab);
        let (code, verdicts) = check(&iptables, &capture);
        assert_eq!(code, Some(0), "{verdicts:#?}");
    });
}
