//! `conntracker rules --for aerleon`, by Aerleon itself: what it compiles is judged as our own rules are.

use std::fs;
use std::path::{Path, PathBuf};

use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::week::{self, Flow, attacks, day, text};

/// Writes a policy, has Aerleon compile it, and writes our own rules.
///
/// Returns the policy, what was compiled and our own rules; `None` if Aerleon can't be had.
fn compiled(
    folder: &Folder,
    files: &[PathBuf],
    more: &[&str],
    status: i32,
) -> Option<(String, [PathBuf; 2])> {
    let aerleon = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/aerleon");
    if !aerleon.join("bin/aclgen").exists() {
        skipped!("Aerleon is not there: make test fetches it");
        return None;
    }
    let (site, own) = (folder.join("site"), folder.join("own.nft"));
    let mut args = vec!["--for", "aerleon", "-o", text(&site)];
    args.extend(more);
    assert_eq!(week::rules_of(files, &args), status);
    let mut args = vec!["-o", text(&own)];
    args.extend(more);
    assert_eq!(week::rules_of(files, &args), 0);
    sh(&format!(
        "cd {}; PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={} python3 {}/bin/aclgen >aclgen.log 2>&1 || {{ cat aclgen.log >&2; exit 1; }}",
        text(&site),
        text(&aerleon),
        text(&aerleon)
    ));
    let policy = fs::read_to_string(site.join("policies/pol/conntracker.yaml"));
    Some((
        policy.expect("it was written"),
        [site.join("conntracker.nft"), own],
    ))
}

fn is_published(flow: &Flow) -> bool {
    flow.4.is_some()
}

#[test]
fn what_aerleon_compiles_accepts_what_our_own_rules_do() {
    netns::run(
        "what_aerleon_compiles_accepts_what_our_own_rules_do",
        || {
            let folder = Folder::new();
            let files = week::files(&folder, 1..=7);
            let names = folder.join("names.toml");
            fs::write(
                &names,
                "[networks]\noffice = \"10.1.0.0/24\"\n[hosts]\nweb = \"10.2.0.80\"\n",
            )
            .expect("a file");
            let more = ["--generalize", "--names", text(&names)];
            let Some((policy, [compiled, own])) = compiled(&folder, &files, &more, 3) else {
                return;
            };
            let [published, wanted]: [Vec<Flow>; 2] = [true, false].map(|one| {
                let flows = day(8).into_iter();
                flows.filter(|flow| is_published(flow) == one).collect()
            });
            let judged =
                |rules: &Path, flows: &[Flow]| week::judged(&folder, &[text(rules)], flows);
            let by_us = judged(&own, &wanted);
            assert!(by_us.len() > 100, "{by_us:?}");
            assert_eq!(judged(&compiled, &wanted), by_us, "{policy}");
            assert!(
                judged(&compiled, &attacks())
                    .values()
                    .all(|one| one == "dropped")
            );
            // What Aerleon has no words for is stopped, and the head says so.
            assert!(
                judged(&compiled, &published)
                    .values()
                    .all(|one| one == "dropped")
            );
            for part in [
                "LEFT OUT: ",
                "destination was translated",
                "    destination-address: web\n",
            ] {
                assert!(policy.contains(part), "{policy}");
            }
            // The commands of the head do what they say.
            sh(&format!("nft -f {}", text(&compiled)));
            let commands = policy
                .lines()
                .filter_map(|line| line.strip_prefix("#   nft insert"));
            let commands: Vec<&str> = commands.collect();
            assert_eq!(commands.len(), 2, "{policy}");
            for command in commands {
                sh(&format!("nft insert{command}"));
            }
            sh("for hook in input output; do nft list table ip6 filtering_policies | grep -A1 \"hook $hook\" | grep nd-neighbor; done
            nft delete table ip filtering_policies; nft delete table ip6 filtering_policies");
        },
    );
}

#[test]
fn exact_rules_are_as_exact_in_aerleon() {
    netns::run("exact_rules_are_as_exact_in_aerleon", || {
        let folder = Folder::new();
        let seen = day(1);
        let Some((policy, [compiled, own])) =
            compiled(&folder, &week::files(&folder, 1..=1), &[], 3)
        else {
            return;
        };
        let wanted: Vec<Flow> = { seen.iter() }
            .filter(|flow| !is_published(flow))
            .cloned()
            .collect();
        let judged = |rules: &Path, flows: &[Flow]| week::judged(&folder, &[text(rules)], flows);
        let by_us = judged(&own, &wanted);
        assert!(by_us.values().all(|one| one == "accepted"), "{by_us:?}");
        assert_eq!(judged(&compiled, &wanted), by_us, "{policy}");
        let others = [attacks(), week::others(&wanted)].concat();
        let by_aerleon = judged(&compiled, &others);
        assert_eq!(by_aerleon, judged(&own, &others), "{policy}");
        assert!(
            by_aerleon.values().all(|one| one == "dropped"),
            "{by_aerleon:?}"
        );
    });
}

#[test]
fn what_aerleon_has_words_for_is_said() {
    netns::run("what_aerleon_has_words_for_is_said", || {
        let folder = Folder::new();
        let seen = week::odd();
        let file = folder.join("seen.json");
        fs::write(&file, week::capture(1, &seen)).expect("a file");
        let Some((policy, [compiled, own])) = compiled(&folder, &[file], &[], 0) else {
            return;
        };
        let judged = |rules: &Path, flows: &[Flow]| week::judged(&folder, &[text(rules)], flows);
        assert_eq!(judged(&compiled, &seen), judged(&own, &seen), "{policy}");
        let others = week::others(&seen);
        assert_eq!(
            judged(&compiled, &others),
            judged(&own, &others),
            "{policy}"
        );
    });
}
