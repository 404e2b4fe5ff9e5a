//! `conntracker rules --for firewalld`, by firewalld itself: what it loads is judged as our own rules are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::week::{self, Flow, attacks, day, text};

fn is_there() -> bool {
    let is_there = unpacked().join("usr/lib/firewalld").exists();
    if !is_there {
        skipped!("firewalld is not there: make test unpacks its packages");
    }
    is_there
}

fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/firewalld")
}

/// Writes files for firewalld, and our own rules.
fn written(folder: &Folder, files: &[PathBuf], more: &[&str], status: i32) -> [PathBuf; 2] {
    [("firewalld", "etc", status), ("nft", "own.nft", 0)].map(|(firewall, name, status)| {
        let path = folder.join(name);
        let mut args = vec!["--for", firewall, "-o", text(&path)];
        args.extend(more);
        assert_eq!(week::rules_of(files, &args), status, "{firewall}");
        path
    })
}

/// Names a zone for each interface of the gateway that has none, as NetworkManager does.
fn name_zones(etc: &Path) {
    let zones = etc.join("zones");
    fs::create_dir_all(&zones).expect("a folder");
    let known: String = { fs::read_dir(&zones).expect("a folder") }
        .map(|entry| fs::read_to_string(entry.expect("a file").path()).expect("text"))
        .collect();
    let names = ["lan0", "dmz0", "wan0"].map(|name| format!("<interface name=\"{name}\"/>"));
    let lacking: String = { names.into_iter() }
        .filter(|name| !known.contains(name))
        .collect();
    let text = format!("<zone><short>rest</short>{lacking}</zone>");
    fs::write(zones.join("rest.xml"), text).expect("a file");
}

/// What the kernel holds once firewalld has loaded a folder.
fn loaded(folder: &Folder, etc: &Path) -> PathBuf {
    name_zones(etc);
    let (unpacked, held) = (unpacked(), folder.join("held.nft"));
    let (etc, unpacked) = (text(etc), text(&unpacked));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/firewalld.py");
    // Debian's own Python has the libraries that it needs.
    sh(&format!(
        "cp {unpacked}/etc/firewalld/firewalld.conf {etc}
         PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 {script} {unpacked} {etc} >{etc}/log 2>&1 || {{ cat {etc}/log >&2; exit 1; }}
         nft list ruleset >{}; nft delete table inet firewalld",
        text(&held)
    ));
    held
}

fn all(verdicts: &BTreeMap<String, String>, wanted: &str) -> bool {
    verdicts.values().all(|verdict| verdict == wanted)
}

#[test]
fn what_firewalld_loads_accepts_what_our_own_rules_do() {
    netns::run("what_firewalld_loads_accepts_what_our_own_rules_do", || {
        if !is_there() {
            return;
        }
        let folder = Folder::new();
        let names = folder.join("names.toml");
        fs::write(
            &names,
            "[networks]\ninside = [\"10.1.0.0/24\", \"10.2.0.0/24\"]\n",
        )
        .expect("a file");
        let more = ["--generalize", "--names", text(&names)];
        let files = week::files(&folder, 1..=7);
        let [etc, own] = written(&folder, &files, &more, 0);
        let held = loaded(&folder, &etc);
        let head = fs::read_to_string(etc.join("conntracker.txt")).expect("it was written");
        // Those that are published, too: firewalld accepts what was translated.
        let wanted = day(8);
        let judged = |rules: &Path, flows: &[Flow]| week::judged(&folder, &[text(rules)], flows);
        let by_us = judged(&own, &wanted);
        assert!(by_us.len() > 100, "{by_us:?}");
        assert_eq!(judged(&held, &wanted), by_us, "{head}");
        assert!(all(&judged(&held, &attacks()), "dropped"), "{head}");
        assert!(head.contains("whose destination was translated"), "{head}");
        assert!(etc.join("ipsets/ct-inside.xml").exists());

        // What earlier rules had and later ones have not is removed; what others wrote stays.
        let (stale, other) = (
            etc.join("policies/ct-old.xml"),
            etc.join("policies/ct-mine.xml"),
        );
        fs::copy(etc.join("policies/ct-end-input.xml"), &stale).expect("a file");
        fs::write(&other, "<policy/>").expect("a file");
        written(&folder, &files, &more, 0);
        assert!(!stale.exists() && other.exists());
    });
}

#[test]
fn exact_rules_are_as_exact_in_firewalld_but_for_source_ports() {
    netns::run(
        "exact_rules_are_as_exact_in_firewalld_but_for_source_ports",
        || {
            if !is_there() {
                return;
            }
            let folder = Folder::new();
            let seen = day(1);
            let [etc, own] = written(&folder, &week::files(&folder, 1..=1), &[], 0);
            let head = fs::read_to_string(etc.join("conntracker.txt")).expect("it was written");
            assert!(head.contains("accept clients at any source port"), "{head}");
            let held = loaded(&folder, &etc);
            let judged =
                |rules: &Path, flows: &[Flow]| week::judged(&folder, &[text(rules)], flows);
            let by_us = judged(&own, &seen);
            assert!(all(&by_us, "accepted"), "{by_us:?}");
            assert_eq!(judged(&held, &seen), by_us, "{head}");
            let others = [attacks(), week::others(&seen)].concat();
            let by_firewalld = judged(&held, &others);
            assert_eq!(by_firewalld, judged(&own, &others), "{head}");
            assert!(all(&by_firewalld, "dropped"), "{by_firewalld:?}");
        },
    );
}

#[test]
fn what_firewalld_has_no_words_for_is_left_out_and_nothing_else() {
    netns::run(
        "what_firewalld_has_no_words_for_is_left_out_and_nothing_else",
        || {
            if !is_there() {
                return;
            }
            let folder = Folder::new();
            let seen = week::odd();
            let file = folder.join("seen.json");
            fs::write(&file, week::capture(1, &seen)).expect("a file");
            let [etc, own] = written(&folder, &[file], &[], 3);
            let head = fs::read_to_string(etc.join("conntracker.txt")).expect("it was written");
            let held = loaded(&folder, &etc);
            let judged = |flows: &[Flow]| {
                let by = |rules: &Path| week::judged(&folder, &[text(rules)], flows);
                week::missed(&by(&held), &by(&own))
            };
            // A rule has one kind of port.
            assert_eq!(judged(&seen), ["udp 123"], "{head}");
            assert!(head.contains("LEFT OUT: 2 rules"), "{head}");
            assert!(head.contains("source and destination ports"), "{head}");
            assert_eq!(judged(&week::others(&seen)), [""; 0], "{head}");
            // Several ports of a rule are a service.
            let services = fs::read_dir(etc.join("services")).expect("there are some");
            assert!(services.count() > 1, "{head}");
        },
    );
}
