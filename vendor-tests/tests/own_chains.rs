//! `conntracker rules --for iptables`: chains of our own, beside those of Docker, fail2ban and VPNs, exact and generalized.

use std::fs;
use std::path::Path;

use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;
use vendor_tests::week::{self, Flow, attacks, day, text};

/// Rules for iptables of some days.
fn rules(
    folder: &Folder,
    days: std::ops::RangeInclusive<u16>,
    more: &[&str],
) -> std::path::PathBuf {
    let path = folder.join("gw.rules");
    let mut args = vec!["--for", "iptables", "-o", text(&path)];
    args.extend(more);
    assert_eq!(week::rules_of(&week::files(folder, days), &args), 0);
    path
}

/// How many flows pass, and how many do not, as the kernel has it.
fn judged(folder: &Folder, rules: &Path, flows: &[Flow]) -> (usize, usize) {
    let verdicts = week::judged(folder, &[text(rules)], flows);
    let accepted = verdicts
        .values()
        .filter(|verdict| *verdict == "accepted")
        .count();
    (accepted, verdicts.len() - accepted)
}

#[test]
fn a_week_holds_on_the_next_day_with_iptables_too() {
    netns::run("a_week_holds_on_the_next_day_with_iptables_too", || {
        let folder = Folder::new();
        let rules = rules(&folder, 1..=7, &["--generalize", "--log-denied"]);
        let ruleset = fs::read_to_string(&rules).expect("it was written");
        let (passed, stopped) = judged(&folder, &rules, &day(8));
        assert!(
            passed > 200 && stopped <= 2,
            "{passed}, {stopped}: {ruleset}"
        );
        assert_eq!(
            judged(&folder, &rules, &attacks()),
            (0, attacks().len()),
            "{ruleset}"
        );
        assert!(ruleset.contains("--nflog-group 5"), "{ruleset}");
        assert!(ruleset.lines().count() < 120, "{ruleset}");
    });
}

#[test]
fn chains_of_other_programs_stay_and_loading_twice_gives_the_same() {
    netns::run(
        "chains_of_other_programs_stay_and_loading_twice_gives_the_same",
        || {
            let folder = Folder::new();
            for more in [&[][..], &["--generalize"]] {
                let rules = rules(&folder, 1..=2, more);
                let seen: Vec<Flow> = [day(1), day(2)].concat();
                let (passed, stopped) = judged(&folder, &rules, &seen);
                assert!(passed > 200 && stopped == 0, "{passed}, {stopped}");
                assert_eq!(judged(&folder, &rules, &attacks()), (0, attacks().len()));
                let rules = text(&rules);
                for program in ["iptables", "ip6tables"] {
                    sh(&format!(
                    "{program} -N f2b-sshd; {program} -I INPUT -p tcp --dport 22 -j f2b-sshd; {program} -A f2b-sshd -j RETURN
                     {program} -t nat -N DOCKER; {program} -t nat -A PREROUTING -j DOCKER
                     {program} -P FORWARD DROP; {program} -N DOCKER-USER; {program} -A FORWARD -j DOCKER-USER"
                ));
                }
                let saved = |program: &str, table: &str| {
                    let file = folder.join("saved");
                    sh(&format!(
                        "{program}-save -t {table} | grep -v '^#' > {}",
                        text(&file)
                    ));
                    fs::read_to_string(file).expect("it was written")
                };
                for program in ["iptables", "ip6tables"] {
                    let others = || [saved(program, "filter"), saved(program, "nat")];
                    let before = others();
                    sh(&format!("{program}-restore --noflush {rules}"));
                    let first = saved(program, "security");
                    sh(&format!("{program}-restore --noflush {rules}"));
                    assert_eq!(saved(program, "security"), first);
                    sh(&format!("{program}-restore {rules}"));
                    assert_eq!(saved(program, "security"), first);
                    assert_eq!(others(), before);
                    for jump in [
                        "-A INPUT -j conntracker-input",
                        "-A FORWARD -j conntracker-forward",
                    ] {
                        assert!(first.contains(jump), "{first}");
                    }
                    // The way back, as the head has it.
                    sh(&format!(
                        "grep -q '{program} -t security -F' {rules} && {program} -t security -F"
                    ));
                    assert!(!saved(program, "security").contains("-A "));
                    sh(&format!(
                        "{program} -F; {program} -X; {program} -t nat -F; {program} -t nat -X"
                    ));
                }
            }
        },
    );
}
