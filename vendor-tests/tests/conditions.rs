//! What a capture rests on besides its sockets, taken away while it runs: the list says so.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use vendor_tests::capture::Launch;
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::conntracker;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness::udp;

#[test]
fn events_that_are_switched_off_meanwhile_are_said() {
    netns::run("events_that_are_switched_off_meanwhile_are_said", || {
        let lab = Lab::new();
        lab.track();
        let switch = |to: u8| {
            sh(&format!(
                "echo {to} > /proc/sys/net/netfilter/nf_conntrack_events"
            ));
        };
        // Until the end, and only for a while.
        for (back, port) in [(false, 1000), (true, 1001)] {
            switch(1);
            let capture = Launch::new(["--source", "batch"]).start();
            udp("10.9.0.1", "10.9.0.2", port, 53);
            capture.drained();
            switch(0);
            udp("10.9.0.1", "10.9.0.3", port, 53);
            if back {
                // The clock has to see it.
                std::thread::sleep(Duration::from_millis(1500));
                switch(1);
                std::thread::sleep(Duration::from_millis(1500));
            }
            let outcome = capture.finish();
            let said = &outcome.stderr;
            assert_eq!(outcome.code, Some(3), "{said}");
            assert!(said.contains("nf_conntrack_events=0"), "{said}");
            assert_eq!(said.contains(", until "), back, "{said}");
            switch(1);
        }
    });
}

#[test]
fn rules_that_end_tracking_or_keep_events_back_are_said() {
    netns::run(
        "rules_that_end_tracking_or_keep_events_back_are_said",
        || {
            let base = "nft 'table inet y { chain c { type filter hook output priority 0; ct state new; }; }'";
            let end = "nft delete table inet y";
            let mask = |events: &str| {
                format!(
                    "nft 'table inet z {{ chain c {{ type filter hook output priority -150; \
                     ct event set {events}; }}; }}'"
                )
            };
            let cases = [
                (
                    end.to_owned(),
                    Some("IPv4 and IPv6 connections tracked was deleted"),
                ),
                (mask("destroy"), Some("chain c: ct event set")),
                (mask("new,related,reply,assured"), None),
                (
                    "iptables -t raw -A OUTPUT -p udp -j CT --ctevents new".to_owned(),
                    Some("-j CT --ctevents"),
                ),
                (
                    "nft 'add table inet other; add chain inet other c'".to_owned(),
                    None,
                ),
            ];
            for (change, expected) in cases {
                sh(base);
                let capture = Launch::new(["--source", "batch"]).start();
                sh(&change);
                let outcome = capture.finish();
                match expected {
                    Some(words) => {
                        assert_eq!(outcome.code, Some(3), "{change}: {}", outcome.stderr);
                        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
                    }
                    None => assert_eq!(outcome.code, Some(0), "{change}: {}", outcome.stderr),
                }
                sh("nft flush ruleset");
            }
        },
    );
}

/// Between two looks nobody reads the rules; the kernel tells of each that is added.
#[test]
fn a_rule_that_is_there_for_a_moment_is_said() {
    netns::run("a_rule_that_is_there_for_a_moment_is_said", || {
        sh("nft 'table inet y { chain c { type filter hook output priority 0; ct state new; }; }'");
        let within = |rule: &str| {
            format!(
                "nft 'table inet z {{ chain c {{ type filter hook output priority -150; {rule}; }}; }}'
                 nft delete table inet z"
            )
        };
        let cases = [
            (
                within("ct event set destroy"),
                Some("a rule kept events back (table inet z, chain c: ct event set)"),
            ),
            (within("ct event set new,related,reply"), None),
            (within("counter"), None),
        ];
        for (change, expected) in cases {
            let capture = Launch::new(["--source", "batch"]).start();
            sh(&change);
            let outcome = capture.finish();
            let said = &outcome.stderr;
            assert_eq!(
                outcome.code,
                Some(if expected.is_some() { 3 } else { 0 }),
                "{change}: {said}"
            );
            if let Some(words) = expected {
                assert!(said.contains(words) && said.contains(", until "), "{said}");
            }
        }
    });
}

#[test]
fn a_namespace_that_is_made_anew_is_said() {
    netns::run_with_names("a_namespace_that_is_made_anew_is_said", || {
        netns::add("blue");
        let capture = Launch::new(["--netns", "blue", "--source", "batch"]).start();
        sh("ip netns delete blue");
        netns::add("blue");
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("another network namespace"),
            "{}",
            outcome.stderr
        );
    });
}

#[test]
fn other_namespaces_are_looked_at_too() {
    netns::run_with_names("other_namespaces_are_looked_at_too", || {
        netns::add("blue");
        let capture = Launch::new(["--all-netns"]).start();
        until_true("the namespace to have an id", || {
            run("ip", ["netns", "list"]).contains("blue (id:")
        });
        sh("ip netns exec blue nft flush ruleset");
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        let said = &outcome.stderr;
        assert!(
            said.contains("namespace blue, the last firewall rule"),
            "{said}"
        );
    });
}

/// While addresses go, the kernel may skip others in its answer, and says so. Such an answer is never taken for whole.
#[test]
fn own_addresses_are_all_there_or_are_said_to_be_missing() {
    netns::run(
        "own_addresses_are_all_there_or_are_said_to_be_missing",
        || {
            let folder = Folder::new();
            let batch = |name: &str, what: &str, from: u32, to: u32| {
                let address =
                    |n: u32| format!("addr {what} 10.{}.{}.1/32 dev d0", n / 250, n % 250);
                let lines: Vec<String> = (from..to).map(address).collect();
                let file = folder.join(name);
                fs::write(&file, lines.join("\n")).expect("a folder of ours");
                format!("ip -batch {}", file.display())
            };
            sh("ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up");
            // What goes stands before what stays: its going moves the kernel's place in the list.
            sh(&batch("early", "add", 10_000, 14_000));
            sh(&batch("stable", "add", 0, 1_500));
            let gone = batch("gone", "del", 10_000, 14_000);
            let out = folder.join("lists");
            let words = format!("--format json -o {}/ -q", out.display());
            let capture = Launch::new(words.split(' ')).start();
            let mut going = Launch::of("sh", ["-c", &gone]).spawn();
            while going.is_running() {
                capture.signal(Signal::USR1);
                std::thread::sleep(Duration::from_millis(30));
            }
            assert_eq!(capture.finish().code, Some(0));
            let (mut whole, mut said) = (0, 0);
            for entry in fs::read_dir(&out).expect("lists are there").flatten() {
                let list = fs::read_to_string(entry.path()).expect("a list");
                let head = list.lines().next().expect("a description");
                let description: serde_json::Value = serde_json::from_str(head).expect("JSON");
                let interfaces = description["interfaces"].as_array();
                let stable = interfaces.into_iter().flatten();
                let stable = stable.flat_map(|it| it["addresses"].as_array().into_iter().flatten());
                let stable = stable.filter(|address| {
                    let text = address.as_str().expect("text");
                    text.starts_with("10.")
                        && text.split('.').nth(1).is_some_and(|it| it.len() == 1)
                });
                match stable.count() {
                    1_500 => whole += 1,
                    _ => said += i32::from(description["verdict"] == "incomplete"),
                }
            }
            let all = fs::read_dir(&out).expect("lists are there").count();
            assert_eq!(whole + said, i32::try_from(all).expect("few"));
            assert!(whole > 0);
        },
    );
}

/// Only root may see which tables iptables-legacy has, and the service is not. What nftables says counts all the same.
#[test]
fn rules_that_may_be_read_count_where_others_may_not() {
    netns::run("rules_that_may_be_read_count_where_others_may_not", || {
        sh("nft 'table inet t { chain c { type filter hook output priority 0; ct state new; }; }'");
        let folder = Folder::new();
        let program = folder.join("conntracker");
        fs::copy(conntracker(), &program).expect("the program can be copied");
        sh(&format!("chmod 755 {}", folder.path().display()));
        let run = || {
            Launch::of(&program, ["--source", "batch", "--duration", "100ms"])
                .under("setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+net_admin --ambient-caps=+net_admin".split(' '))
                .run()
        };
        let well = run();
        assert_eq!(well.code, Some(0), "{}", well.stderr);
        sh("nft add rule inet t c ct event set destroy");
        let masked = run();
        assert_eq!(masked.code, Some(3), "{}", masked.stderr);
        assert!(
            masked.stderr.contains("kept events back"),
            "{}",
            masked.stderr
        );
        sh("nft flush ruleset; iptables-legacy -t raw -A OUTPUT -p udp -j CT --ctevents destroy");
        let legacy = run();
        let spot = "can't be seen here: flows whose events or packets a rule of iptables-legacy keeps back";
        assert!(legacy.stderr.contains(spot), "{}", legacy.stderr);
    });
}

/// A daemon has given up all system calls but some, and those with which it hears of the switch are among them.
#[test]
fn a_daemon_hears_of_events_that_are_off_for_a_moment() {
    netns::run("a_daemon_hears_of_events_that_are_off_for_a_moment", || {
        sh("nft 'table inet y { chain c { type filter hook output priority 0; ct state new; }; }'");
        let folder = Folder::new();
        let path = |name: &str| folder.join(name).display().to_string();
        let (list, pid_file) = (path("list"), path("pid"));
        let words = [
            "-d",
            "--format",
            "json",
            "-o",
            &list,
            "--pid-file",
            &pid_file,
        ];
        let started = Launch::new(words).run();
        assert_eq!(started.code, Some(0), "{}", started.stderr);
        assert!(!started.stderr.contains("can't be"), "{}", started.stderr);
        sh(
            "echo 0 > /proc/sys/net/netfilter/nf_conntrack_events; echo 1 > /proc/sys/net/netfilter/nf_conntrack_events",
        );
        sh(&format!("kill $(cat {pid_file})"));
        let mut said = String::new();
        until_true("the daemon to end with its list", || {
            said = fs::read_to_string(&list).unwrap_or_default();
            !std::path::Path::new(&pid_file).exists() && !said.is_empty()
        });
        let head = said.lines().next().expect("a description");
        let description: serde_json::Value = serde_json::from_str(head).expect("JSON");
        assert_eq!(description["verdict"], "incomplete", "{head}");
        assert!(head.contains("was written to"), "{head}");
    });
}

/// Where /proc shows processes alone, or nothing at all, nobody can tell whether there are events.
#[test]
fn a_switch_that_can_not_be_read_is_said() {
    netns::run("a_switch_that_can_not_be_read_is_said", || {
        let switch = "can't be seen here: whether conntrack events are switched off";
        let legacy = "can't be seen here: flows whose events or packets a rule of iptables-legacy keeps back";
        for (mount, spots) in [
            ("mount -t proc -o subset=pid proc /proc", &[switch][..]),
            ("mount -t tmpfs none /proc", &[switch, legacy]),
        ] {
            let command = format!("{mount} && exec \"$@\"");
            let outcome = Launch::new(["--track", "--duration", "100ms"])
                .under(["unshare", "--mount", "sh", "-c", &command, "sh"])
                .run();
            for spot in spots {
                assert!(outcome.stderr.contains(spot), "{mount}: {outcome:?}");
            }
        }
    });
}
