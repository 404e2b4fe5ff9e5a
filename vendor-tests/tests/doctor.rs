//! `conntracker doctor` in network namespaces where something is wrong, and in those where nothing is.

use std::fs;
use std::process::Command;

use vendor_tests::capture::Launch;
use vendor_tests::findings::{Findings, doctor, launch};
use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness;

const RULE: &str = "nft 'table inet firewall { chain forward { type filter hook forward priority 0; \
     ct state established accept; }; }'";

#[test]
fn without_a_rule_nothing_is_tracked() {
    netns::run("without_a_rule_nothing_is_tracked", || {
        let outcome = launch().run();
        // A capture works, though it lists nothing until there is a rule.
        assert_eq!(outcome.code, Some(0));
        let findings = Findings::of(&outcome);
        findings.assert("kernel", "ok", &["Linux "]);
        findings.assert("events", "ok", &["nf_conntrack_events is 2"]);
        findings.assert("tracking", "problem", &["no rule", "conntracker --track"]);
        findings.assert("listeners", "ok", &["nobody else"]);
        findings.assert("offload", "ok", &[]);
        let traffic = findings.assert("traffic", "ok", &["0 events/s"]);
        assert_eq!(traffic["events"], 0);
    });
}

#[test]
fn nothing_is_changed() {
    netns::run("nothing_is_changed", || {
        let state = || {
            [
                "nft list ruleset",
                "cat /proc/net/ip_tables_names",
                "sysctl net.netfilter",
            ]
            .map(|look| {
                let output = Command::new("sh").args(["-c", look]).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                // Everybody's.
                text.lines()
                    .filter(|line| !line.contains("_max"))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
        };
        let before = state();
        let _ = doctor();
        assert_eq!(state(), before);
    });
}

#[test]
fn a_rule_that_needs_tracking_is_named() {
    netns::run("a_rule_that_needs_tracking_is_named", || {
        sh(RULE);
        let findings = doctor();
        let finding = findings.assert(
            "tracking",
            "ok",
            &["because of table inet firewall, chain forward: ct state"],
        );
        assert_eq!(finding["rules"], 1);
        sh("nft flush ruleset; nft 'table inet plain { chain input { tcp dport 22 accept; }; }'");
        doctor().assert("tracking", "problem", &["no rule"]);
    });
}

#[test]
fn the_rules_of_track_are_named_too() {
    netns::run("the_rules_of_track_are_named_too", || {
        let capture = Launch::new(["--track"]).start();
        until_true("the table", || {
            vendor_tests::program::run("nft", ["list", "tables"]).contains("conntracker-")
        });
        let findings = doctor();
        let table = format!("table inet conntracker-{}", capture.pid());
        findings.assert("tracking", "ok", &[&table]);
        let process = format!("conntracker (process {})", capture.pid());
        findings.assert("listeners", "note", &[&process, "new/update"]);
        let _ = capture.finish();
        doctor().assert("tracking", "problem", &["--track"]);
    });
}

#[test]
fn what_only_ipv4_rules_leave_out_is_told() {
    netns::run("what_only_ipv4_rules_leave_out_is_told", || {
        sh(
            "nft 'table ip nat { chain postrouting { type nat hook postrouting priority 100; \
            masquerade; }; }'",
        );
        let only = ["because of table ip nat, chain postrouting: masquerade"];
        doctor().assert("tracking", "ok", &only);
        sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        doctor().assert(
            "tracking",
            "note",
            &["IPv6 ones are not", "--track", only[0]],
        );
        sh(
            "nft 'table ip6 filter { chain input { type filter hook input priority 0; ct mark 1; }; }'",
        );
        doctor().assert("tracking", "ok", &[only[0], "chain input: ct mark"]);
    });
}

#[test]
fn rules_of_both_kinds_of_iptables_are_named() {
    netns::run("rules_of_both_kinds_of_iptables_are_named", || {
        for (program, words) in [
            (
                "iptables-nft",
                [
                    "table ip filter, chain FORWARD: -m conntrack",
                    "table ip filter, chain mine",
                ],
            ),
            (
                "iptables-legacy",
                [
                    "iptables table filter, chain FORWARD: -m conntrack",
                    "iptables table filter, chain mine",
                ],
            ),
        ] {
            // The usual lock is root's.
            let folder = Folder::new();
            let lock = folder.join("lock");
            let mut there = Command::new(program);
            let there = there.arg("-S").env("XTABLES_LOCKFILE", &lock).output();
            if !there.is_ok_and(|output| output.status.success()) {
                skipped!("{program} does not work here");
                continue;
            }
            // Rules that need nothing lie around those that do.
            let lock = format!("export XTABLES_LOCKFILE={}", lock.display());
            sh(&format!(
                "{lock}
                 {program} -A INPUT -p tcp --dport 22 -j ACCEPT
                 {program} -A FORWARD -s 10.0.0.0/8 -m conntrack --ctstate NEW -j ACCEPT
                 {program} -N mine
                 {program} -A mine -m comment --comment x -m conntrack --ctstate NEW -j DROP"
            ));
            doctor().assert("tracking", "ok", &words);
            sh(&format!("{lock}; {program} -F; {program} -X"));
            doctor().assert("tracking", "problem", &["no rule"]);
        }
    });
}

#[test]
fn events_switched_off_prevent_a_capture() {
    netns::run("events_switched_off_prevent_a_capture", || {
        sh(&format!(
            "{RULE}; echo 0 > /proc/sys/net/netfilter/nf_conntrack_events"
        ));
        let outcome = launch().run();
        assert_eq!(outcome.code, Some(1));
        let finding = &Findings::of(&outcome);
        let finding = finding.assert(
            "events",
            "problem",
            &["sysctl -w net.netfilter.nf_conntrack_events=1"],
        );
        assert_eq!(
            (
                &finding["nf_conntrack_events"],
                &finding["prevents_capture"]
            ),
            (&0.into(), &true.into())
        );
        sh("echo 1 > /proc/sys/net/netfilter/nf_conntrack_events");
        doctor().assert("events", "ok", &["every connection"]);
    });
}

#[test]
fn who_listens_is_named() {
    netns::run("who_listens_is_named", || {
        let all = Launch::of("conntrack", ["-E"]).start();
        let findings = doctor();
        let process = format!("conntrack (process {})", all.pid());
        let finding = findings.assert("listeners", "note", &[&process, "new/update/destroy"]);
        assert_eq!(finding["listeners"][0]["pid"], all.pid());
        let _ = all.finish();
        doctor().assert("listeners", "ok", &[]);
    });
}

#[test]
fn traffic_is_counted() {
    netns::run("traffic_is_counted", || {
        let mut run = launch().spawn();
        // Before it listens, while it does, and after.
        let mut port = 1;
        while run.is_running() {
            witness::udp("192.0.2.1", "192.0.2.2", port, 53);
            port += 1;
        }
        let findings = Findings::of(&run.wait());
        let finding = findings.assert("traffic", "ok", &["new connections"]);
        let (events, new) = (&finding["events"], &finding["new_connections"]);
        assert!(
            new.as_u64() > Some(0) && events.as_u64() >= new.as_u64(),
            "{finding}"
        );
        assert_eq!(finding["missed"], 0);
        // Entries made by hand need no rule.
        findings.assert("tracking", "ok", &["there are events"]);
        doctor().assert("tracking", "note", &["there are entries", "--track"]);
    });
}

#[test]
fn without_privileges_as_much_is_told_as_can_be() {
    netns::run("without_privileges_as_much_is_told_as_can_be", || {
        sh(RULE);
        let none = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
        let outcome = launch().under(none).run();
        assert_eq!(outcome.code, Some(1));
        let findings = Findings::of(&outcome);
        let next = ["CAP_NET_ADMIN", "sudo", "setcap cap_net_admin,cap_bpf+ep"];
        let finding = findings.assert("privileges", "problem", &next);
        assert_eq!(finding["prevents_capture"], true);
        findings.assert("tracking", "note", &["not known", "run as root"]);
        findings.assert("buffer", "note", &["see privileges"]);
        findings.assert("kernel-source", "note", &["not tried"]);
        findings.assert("events", "ok", &[]);
        let blockers = findings
            .0
            .values()
            .filter(|finding| finding["prevents_capture"] == true);
        assert_eq!(blockers.count(), 1);
    });
}

#[test]
fn another_user_sees_listeners_without_names() {
    netns::run("another_user_sees_listeners_without_names", || {
        let user = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        // In a user namespace with one user there is no other.
        let may = Command::new(user[0]).args(&user[1..]).arg("true").output();
        if !may.is_ok_and(|output| output.status.success()) {
            skipped!("another_user_sees_listeners_without_names: there is no other user here");
            return;
        }
        let folder = Folder::new();
        sh(&format!("chmod 755 {}", folder.path().display()));
        let copy = folder.join("conntracker");
        fs::copy(vendor_tests::program::conntracker(), &copy).expect("room for a copy");
        let listener = Launch::of("conntrack", ["-E"]).start();
        let outcome = Launch::of(&copy, ["doctor", "--format", "json"])
            .under(user)
            .run();
        let findings = Findings::of(&outcome);
        findings.assert("listeners", "note", &["an unknown process", "run as root"]);
        findings.assert("privileges", "problem", &["sudo"]);
        let _ = listener.finish();
    });
}

#[test]
fn what_can_not_be_seen_is_no_problem_of_the_kernel() {
    netns::run("what_can_not_be_seen_is_no_problem_of_the_kernel", || {
        let mounts = [
            "mount -t proc -o subset=pid proc /proc",
            "mount -t tmpfs none /proc",
        ];
        for mount in mounts {
            let command = format!("{mount} && exec \"$@\"");
            let outcome = launch()
                .under(["unshare", "--mount", "sh", "-c", &command, "sh"])
                .run();
            assert_eq!(outcome.code, Some(0), "{mount}: {outcome:?}");
            let findings = Findings::of(&outcome);
            findings.assert("privileges", "ok", &["CAP_NET_ADMIN is there"]);
            findings.assert("events", "note", &["not known", "/proc/sys"]);
        }
    });
}

#[test]
fn in_a_user_namespace_the_buffer_is_smaller() {
    netns::run("in_a_user_namespace_the_buffer_is_smaller", || {
        let outcome = launch().under(["unshare", "-Urn"]).run();
        assert_eq!(outcome.code, Some(0));
        let findings = Findings::of(&outcome);
        findings.assert("privileges", "note", &["user namespace"]);
        let buffer = findings.assert("buffer", "note", &["sysctl -w net.core.rmem_max=33554432"]);
        assert!(buffer["granted_bytes"].as_u64() < buffer["asked_bytes"].as_u64());
        let loads = "can't be loaded from a user namespace";
        findings.assert("kernel-source", "note", &[loads, "batch"]);
        // One without a network namespace of its own has no rights over this one.
        let outcome = launch().under(["unshare", "-Ur"]).run();
        assert_eq!(outcome.code, Some(1));
        Findings::of(&outcome).assert("privileges", "problem", &["does not belong"]);
    });
}

#[test]
fn a_table_that_fills_up_is_told() {
    netns::run("a_table_that_fills_up_is_told", || {
        // The limit is one for the machine: only what the program reads of it is made another, in a mount
        // namespace of its own.
        let folder = Folder::new();
        let max = folder.join("max");
        fs::write(&max, "10\n").expect("a file");
        let script = format!(
            "mount --bind {} /proc/sys/net/netfilter/nf_conntrack_max && exec \"$@\"",
            max.display()
        );
        let under = ["unshare", "-m", "sh", "-c", &script, "sh"];
        let may = Launch::of("true", [""; 0]).under(under).run();
        if may.code != Some(0) {
            skipped!("a_table_that_fills_up_is_told: {}", may.stderr);
            return;
        }
        for port in 1..=8 {
            witness::udp("192.0.2.1", "192.0.2.2", port, 53);
        }
        let findings = Findings::of(&launch().under(under).run());
        findings.assert("table", "note", &["8 of 10", "80 %", "nf_conntrack_max=20"]);
        for port in 9..=10 {
            witness::udp("192.0.2.1", "192.0.2.2", port, 53);
        }
        let findings = Findings::of(&launch().under(under).run());
        let finding = findings.assert("table", "problem", &["10 of 10", "drops packets"]);
        assert_eq!(finding["prevents_capture"], false);
        doctor().assert("table", "ok", &["10 of "]);
    });
}

#[test]
fn a_flowtable_is_told() {
    netns::run("a_flowtable_is_told", || {
        sh("ip link add side0 type veth peer name side1");
        let table =
            "table inet fast { flowtable way { hook ingress priority 0; devices = { side0 }; }; }";
        let made = Command::new("nft")
            .arg(table)
            .output()
            .expect("nft is there");
        if !made.status.success() {
            skipped!("a_flowtable_is_told: this kernel makes no flowtables (CONFIG_NF_FLOW_TABLE)");
            return;
        }
        let findings = doctor();
        findings.assert("offload", "note", &["table inet fast, flowtable way"]);
        findings.assert("tracking", "problem", &["no rule"]);
    });
}
