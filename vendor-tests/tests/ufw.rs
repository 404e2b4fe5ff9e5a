//! `conntracker rules --for ufw`, by ufw itself: what the kernel holds after its commands is judged as our own rules are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::week::{self, Flow, attacks, day, text};

/// ufw in a folder of its own, as its package sets it up, for `sh`: what has to stand before a command.
///
/// `None` if it can't be had.
fn ufw(folder: &Folder) -> Option<String> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ufw");
    if !unpacked.join("usr/sbin/ufw").exists() {
        skipped!("ufw is not there: make test unpacks its package");
        return None;
    }
    let (root, bin) = (folder.join("ufw"), folder.join("bin"));
    let (root, unpacked, bin) = (text(&root), text(&unpacked), text(&bin));
    // Where the release has /lib in /usr, so has the package. Kernel settings are not for a test to make.
    sh(&format!(
        "cp -a {unpacked} {root}; test -e {root}/lib || ln -s usr/lib {root}/lib
         cp {root}/usr/share/ufw/*.rules {root}/usr/share/ufw/*.init {root}/etc/ufw/
         cp {root}/usr/share/ufw/ufw.conf {root}/etc/ufw/; sed -i 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/' {root}/etc/default/ufw
         mkdir {bin}; echo 'PYTHONPATH={root}/usr/lib/python3/dist-packages exec /usr/bin/python3 {root}/usr/sbin/ufw \
           --rootdir={root} --datadir={root} \"$@\"' >{bin}/ufw; chmod +x {bin}/ufw"
    ));
    Some(format!("export PATH={bin}:$PATH;"))
}

/// What the kernel holds of a family, without counters and dates.
fn saved(folder: &Folder, program: &str) -> (PathBuf, String) {
    let file = folder.join(&format!("{program}.saved"));
    sh(&format!(
        "{program}-save | grep -v '^#' | sed 's/ \\[.*//' >{}",
        text(&file)
    ));
    let saved = fs::read_to_string(&file).expect("it was written");
    (file, saved)
}

/// The kernel's verdicts on flows by what ufw has loaded, and by our own rules for nftables.
fn both(folder: &Folder, own: &Path, flows: &[Flow]) -> [BTreeMap<String, String>; 2] {
    let loaded = ["iptables", "ip6tables"].map(|program| saved(folder, program).0);
    [
        week::judged(folder, &[text(&loaded[0]), text(&loaded[1])], flows),
        week::judged(folder, &[text(own)], flows),
    ]
}

/// Writes rules for ufw and for nftables.
fn written(folder: &Folder, files: &[PathBuf], more: &[&str]) -> [PathBuf; 2] {
    [("ufw", 3), ("nft", 0)].map(|(firewall, status)| {
        let path = folder.join(&format!("rules.{firewall}"));
        let mut args = vec!["--for", firewall, "-o", text(&path)];
        args.extend(more);
        assert_eq!(week::rules_of(files, &args), status, "{firewall}");
        path
    })
}

fn is_published(flow: &Flow) -> bool {
    flow.4.is_some()
}

#[test]
fn what_ufw_loads_accepts_what_our_own_rules_do() {
    netns::run("what_ufw_loads_accepts_what_our_own_rules_do", || {
        let folder = Folder::new();
        let Some(ufw) = ufw(&folder) else { return };
        let files = week::files(&folder, 1..=7);
        let [rules, own] = written(&folder, &files, &["--generalize"]);
        let script = fs::read_to_string(&rules).expect("it was written");
        sh(&format!("{ufw} sh {}; ufw --force enable", text(&rules)));
        let (_, first) = saved(&folder, "iptables");

        let [published, wanted]: [Vec<Flow>; 2] = [true, false].map(|one| {
            let flows = day(8).into_iter();
            flows.filter(|flow| is_published(flow) == one).collect()
        });
        let [by_ufw, by_us] = both(&folder, &own, &wanted);
        assert!(by_ufw.len() > 100, "{by_ufw:?}");
        assert_eq!(by_ufw, by_us, "{script}");
        // What ufw has no words for is stopped, and the head says so.
        let [by_ufw, by_us] = both(&folder, &own, &published);
        assert!(by_ufw.values().all(|one| one == "dropped"), "{by_ufw:?}");
        assert!(by_us.values().all(|one| one == "accepted"), "{by_us:?}");
        for line in ["LEFT OUT: ", "destination was translated"] {
            assert!(script.contains(line), "{script}");
        }
        let [by_ufw, _] = both(&folder, &own, &attacks());
        assert!(by_ufw.values().all(|one| one == "dropped"), "{by_ufw:?}");

        // A second time nothing changes.
        sh(&format!("{ufw} sh {}", text(&rules)));
        assert_eq!(saved(&folder, "iptables").1, first);
        // The way back.
        assert!(script.contains("--unit=rollback ufw disable"), "{script}");
        sh(&format!("{ufw} ufw disable"));
        assert!(saved(&folder, "iptables").1.contains(":INPUT ACCEPT"));
        assert!(!saved(&folder, "iptables").1.contains("lan0"));
    });
}

#[test]
fn exact_rules_are_as_exact_in_ufw() {
    netns::run("exact_rules_are_as_exact_in_ufw", || {
        let folder = Folder::new();
        let Some(ufw) = ufw(&folder) else { return };
        // Each command takes ufw a while.
        let seen: Vec<Flow> = day(1)
            .into_iter()
            .step_by(9)
            .chain(day(1).into_iter().rev().take(3))
            .collect();
        let file = folder.join("seen.json");
        fs::write(&file, week::capture(1, &seen)).expect("a file");
        let [rules, own] = written(&folder, &[file], &[]);
        let script = fs::read_to_string(&rules).expect("it was written");
        sh(&format!("{ufw} sh {}; ufw --force enable", text(&rules)));
        let wanted: Vec<Flow> = { seen.iter() }
            .filter(|flow| !is_published(flow))
            .cloned()
            .collect();
        let [by_ufw, by_us] = both(&folder, &own, &wanted);
        assert_eq!(by_ufw, by_us, "{script}");
        assert!(by_us.values().all(|one| one == "accepted"), "{by_us:?}");
        let others = [attacks(), week::others(&wanted)].concat();
        let [by_ufw, by_us] = both(&folder, &own, &others);
        assert_eq!(by_ufw, by_us, "{script}");
        assert!(by_ufw.values().all(|one| one == "dropped"), "{by_ufw:?}");
    });
}

#[test]
fn what_ufw_has_no_words_for_is_left_out_and_nothing_else() {
    netns::run(
        "what_ufw_has_no_words_for_is_left_out_and_nothing_else",
        || {
            let folder = Folder::new();
            let Some(ufw) = ufw(&folder) else { return };
            let seen = week::odd();
            let file = folder.join("seen.json");
            fs::write(&file, week::capture(1, &seen)).expect("a file");
            let [rules, own] = written(&folder, &[file], &[]);
            let script = fs::read_to_string(&rules).expect("it was written");
            sh(&format!("{ufw} sh {}; ufw --force enable", text(&rules)));
            let [by_ufw, by_us] = both(&folder, &own, &seen);
            let missed = week::missed(&by_ufw, &by_us);
            assert_eq!(missed, ["icmp 13", "icmp 8", "sctp 3868"], "{script}");
            for part in [
                "LEFT OUT: 3 rules",
                "types of ICMP",
                "does not know the protocol",
            ] {
                assert!(script.contains(part), "{script}");
            }
            let [by_ufw, by_us] = both(&folder, &own, &week::others(&seen));
            assert_eq!(week::missed(&by_ufw, &by_us), [""; 0], "{script}");
        },
    );
}
