//! `conntracker check`: flows a second, judged by one processor and by all, for rulesets of several shapes. As root.
//!
//! Each figure is of a run of the real program, which says itself how long it judged (`-v`): making the namespace, loading
//! the ruleset and reading the capture are not in it. `CONNTRACKER_BASELINE` may name another build, which is measured in
//! the same rounds.
#![allow(missing_docs)] // Nobody imports a bench.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Rules of the long rulesets.
const RULES: u32 = 1_000;
const ROUNDS: usize = 3;

/// A ruleset by its name, and its file.
type Shape = (&'static str, &'static str, fn() -> String);

const SHAPES: [Shape; 4] = [
    ("nft, 2 rules", "two.nft", || {
        nft("", "ip saddr 10.0.0.0/8 accept\n")
    }),
    ("nft, a set of 1,000", "set.nft", || {
        let elements: Vec<String> = (0..RULES)
            .map(|rule| {
                let (from, to, port) = parts(rule);
                format!("{from} . {to} . {port}")
            })
            .collect();
        let set = format!(
            "set s {{ type ipv4_addr . ipv4_addr . inet_service; flags interval\nelements = {{ {} }}\n}}\n",
            elements.join(", ")
        );
        nft(&set, "ip saddr . ip daddr . tcp dport @s accept\n")
    }),
    ("nft, 1,000 rules in a row", "row.nft", || {
        let mut rules = String::new();
        for rule in 0..RULES {
            let (from, to, port) = parts(rule);
            let _ = writeln!(
                rules,
                "ip saddr {from} ip daddr {to} tcp dport {port} accept"
            );
        }
        nft("", &rules)
    }),
    ("iptables, 1,000 rules in a row", "row.v4", || {
        let mut text = String::from(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
             -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n",
        );
        for rule in 0..RULES {
            let (from, to, port) = parts(rule);
            let _ = writeln!(
                text,
                "-A FORWARD -s {from} -d {to}/32 -p tcp -m tcp --dport {port} -j ACCEPT"
            );
        }
        text + "COMMIT\n"
    }),
];

/// Sources, destination and port of a rule: no two rules accept the same flow.
fn parts(rule: u32) -> (String, String, u32) {
    (
        format!("10.{}.{}.0/24", rule / 250, rule % 250),
        format!("192.168.{}.{}", rule % 200, 1 + rule / 200),
        1_024 + rule,
    )
}

fn nft(sets: &str, rules: &str) -> String {
    format!(
        "table inet f {{\n{sets}chain forward {{ type filter hook forward priority 0; policy drop;\n\
         ct state established,related accept\n{rules}}}\n}}\n"
    )
}

/// A capture of so many flows, of which each rule accepts as many.
fn capture(flows: u32) -> String {
    let mut text = String::from(
        "{\"type\":\"capture\",\"schema\":1,\"marks_picked_up\":true,\"interfaces\":[\
         {\"name\":\"lan\",\"addresses\":[\"10.0.0.1/8\"]},{\"name\":\"dmz\",\"addresses\":[\"192.168.0.254/16\"]}]}\n",
    );
    for flow in 0..flows {
        let (from, to, port) = parts(flow % RULES);
        let (host, source_port) = (2 + flow / RULES % 250, 1 + flow / RULES / 250);
        let from = from.replace("0/24", &host.to_string());
        let _ = writeln!(
            text,
            "{{\"type\":\"flow\",\"family\":\"ipv4\",\"protocol\":\"tcp\",\"protocol_number\":6,\"src\":\"{from}\",\
             \"src_port\":{source_port},\"dst\":\"{to}\",\"dst_port\":{port},\"confirmed\":true,\"connections\":1}}"
        );
    }
    text
}

/// Flows a second that a program judges, on the first processor alone or on all.
fn measure(program: &str, alone: bool, ruleset: &Path, capture: &Path, flows: u32) -> f64 {
    let mut command = if alone {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", program]);
        command
    } else {
        Command::new(program)
    };
    let output = command
        .args(["check", "-v"])
        .args([ruleset, capture])
        .output();
    let output = output.expect("taskset of util-linux, and the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    // "judged 200,000 flows in 2.51 s, 79,681 a second"
    let words: Vec<&str> = { said.lines() }
        .find_map(|line| line.split_once("judged "))
        .expect("how long it judged")
        .1
        .split(' ')
        .collect();
    let number = |text: &str| text.replace(',', "").parse::<f64>().expect("a number");
    assert_eq!(number(words[0]), f64::from(flows));
    number(words[0]) / number(words[3])
}

fn main() {
    // `cargo test --bench` wants to know whether it works.
    let is_test = std::env::args().any(|argument| argument == "--test");
    if !rustix::process::geteuid().is_root() {
        println!("skipped: as root only");
        return;
    }
    let (flows, rounds) = if is_test {
        (2_000, 1)
    } else {
        (1_000_000, ROUNDS)
    };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let captured = folder.path().join("flows.json");
    fs::write(&captured, capture(flows)).expect("room for the capture");
    let own = env!("CARGO_BIN_EXE_conntracker");
    let baseline = std::env::var("CONNTRACKER_BASELINE").ok();
    println!("| ruleset | one processor, flows/s | all of them | baseline |\n|---|---:|---:|---:|");
    for (name, file, text) in SHAPES {
        let ruleset = folder.path().join(file);
        fs::write(&ruleset, text()).expect("room for the ruleset");
        let mut best = [0.0_f64; 3];
        for _ in 0..rounds {
            best[0] = best[0].max(measure(own, true, &ruleset, &captured, flows));
            best[1] = best[1].max(measure(own, false, &ruleset, &captured, flows));
            if let Some(baseline) = &baseline {
                best[2] = best[2].max(measure(baseline, false, &ruleset, &captured, flows));
            }
        }
        let [alone, all, before] = best;
        let before = if baseline.is_some() {
            format!("{before:.0}")
        } else {
            "-".to_owned()
        };
        println!("| {name} | {alone:.0} | {all:.0} | {before} |");
    }
}
