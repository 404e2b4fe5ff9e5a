//! Captures in other network namespaces, and in all of them.

use std::collections::BTreeMap;

use serde_json::Value;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::netns::{self, add, sh};
use vendor_tests::program::{flood, run};
use vendor_tests::schema;
use vendor_tests::wait::until_true;

/// One UDP flow in a namespace, to a port that tells it.
fn talk(name: &str, port: u16) {
    let send = format!("echo > /dev/udp/127.0.0.1/{port}");
    run("ip", ["netns", "exec", name, "bash", "-c", &send]);
}

/// The namespaces of flows by destination port.
fn by_port(list: &str) -> BTreeMap<u64, Option<String>> {
    schema::assert_holds(list);
    let flows = list
        .lines()
        .filter(|line| line.contains(r#""type":"flow""#));
    let flows = flows.map(|line| {
        let flow: Value = serde_json::from_str(line).expect("an object");
        let name = flow["netns"].as_str().map(str::to_owned);
        (flow["dst_port"].as_u64().expect("a port"), name)
    });
    flows.collect()
}

/// Waits until the program has looked at the names there are.
fn scanned(capture: &mut Capture, name: &str) {
    until_true("the namespace to have an id", || {
        assert!(capture.is_running(), "{}", capture.stderr());
        run("ip", ["netns", "list"]).contains(&format!("{name} (id:"))
    });
}

#[test]
fn all_namespaces_are_heard_and_told_apart() {
    netns::run_with_names("all_namespaces_are_heard_and_told_apart", || {
        add("blue");
        let mut capture = Launch::new(["--all-netns", "--format", "json"]).start();
        let classic = Launch::new(["--all-netns"]).start();
        let own = Launch::new(["--format", "json"]).start();
        scanned(&mut capture, "blue");
        talk("blue", 1001);
        // One that comes, goes, and leaves its id to another.
        add("green");
        scanned(&mut capture, "green");
        talk("green", 1002);
        // Which namespace an id means is found out with its first event, as long as it is there.
        capture.drained();
        let id = |name: &str| {
            let list = run("ip", ["netns", "list"]);
            let line = list.lines().find(|line| line.starts_with(name));
            line.expect("a name").split("id:").nth(1).map(str::to_owned)
        };
        let before = id("green");
        sh("ip netns del green");
        until_true("the namespace to go", || {
            !run("ip", ["-all", "netns", "list-id"]).contains("green")
        });
        add("yellow");
        scanned(&mut capture, "yellow");
        assert_eq!(id("yellow"), before, "the id was given again");
        talk("yellow", 1003);
        vendor_tests::witness::insert(
            "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 9 --dport 1000 -t 60",
        );
        capture.drained();
        let outcome = capture.finish();
        // What was done in it after the last look is not known.
        let green = outcome.stderr.lines().all(|line| line.ends_with(": green"));
        assert!(outcome.code == Some(0) && green, "{}", outcome.stderr);
        let told = by_port(&outcome.text());
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            told,
            BTreeMap::from([
                (1000, None),
                (1001, name("blue")),
                (1002, name("green")),
                (1003, name("yellow"))
            ])
        );
        assert_eq!(classic.finish().text().lines().count(), 4);
        assert_eq!(
            by_port(&own.finish().list()),
            BTreeMap::from([(1000, None)])
        );
    });
}

/// The kernel delivers events only to whoever has a capability where their namespace belongs.
#[test]
fn namespaces_whose_events_do_not_come_make_a_list_incomplete() {
    let test = "namespaces_whose_events_do_not_come_make_a_list_incomplete";
    netns::run_with_names(test, || {
        add("blue");
        let outcome = Launch::new(["--all-netns", "--duration", "300ms"])
            .under(["unshare", "-Urn"])
            .run();
        let said = &outcome.stderr;
        assert_eq!(outcome.code, Some(3), "{said}");
        assert!(said.contains("namespace blue, no event is heard"), "{said}");
        assert!(said.contains("of other user namespaces"), "{said}");
        // Whoever may enter no namespace at all can't tell which ones are heard.
        let own = "mount -t tmpfs run /run && mkdir /run/netns && ip netns add own && \
                   exec setpriv --bounding-set=-sys_admin \"$@\"";
        let outcome = Launch::new(["--all-netns", "--duration", "300ms"])
            .under(["unshare", "-Urnm", "sh", "-c", own, "sh"])
            .run();
        let said = &outcome.stderr;
        assert_eq!(outcome.code, Some(0), "{said}");
        assert!(!said.contains("no event is heard"), "{said}");
        assert!(said.contains("could not be looked at"), "{said}");
        // Nor can anybody without procfs.
        let blind = "mount -t tmpfs none /proc && exec \"$@\"";
        let outcome = Launch::new(["--all-netns", "--duration", "300ms"])
            .under(["unshare", "-m", "sh", "-c", blind, "sh"])
            .run();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let said = &outcome.stderr;
        assert!(said.contains("/proc has to be mounted"), "{said}");
    });
}

/// Lists of all formats have names of namespaces, but only those that need no quoting.
#[test]
fn a_namespace_with_an_odd_name_is_told_by_its_id() {
    netns::run_with_names("a_namespace_with_an_odd_name_is_told_by_its_id", || {
        add("odd:name");
        let mut capture = Launch::new(["--all-netns", "--format", "json"]).start();
        scanned(&mut capture, "odd:name");
        talk("odd:name", 1001);
        capture.drained();
        let told = by_port(&capture.finish().text());
        let name = told[&1001].as_deref().expect("a namespace");
        assert!(name.starts_with("nsid:"), "{name}");
    });
}

#[test]
fn missed_events_of_other_namespaces_are_made_up_for() {
    netns::run_with_names("missed_events_of_other_namespaces_are_made_up_for", || {
        add("blue");
        let args = [
            "--all-netns",
            "--format",
            "json",
            "--buffer",
            "20K",
            "--buffer-max",
            "20K",
        ];
        let mut capture = Launch::new(args).start();
        scanned(&mut capture, "blue");
        capture.stop();
        run(
            flood(),
            "--netns blue --entries 2000 --distinct 2000".split(' '),
        );
        capture.resume();
        until_true("the loss to be noticed", || capture.is_running());
        let outcome = capture.finish();
        // Entries of that namespace may be older than the capture, so that what was dropped is not known.
        assert_eq!(outcome.code, Some(3), "{}", outcome.said);
        assert!(outcome.said.contains("incomplete ("), "{}", outcome.said);
        let list = outcome.text();
        let blue = list
            .lines()
            .filter(|line| line.contains("\"netns\":\"blue\""));
        assert_eq!(blue.count(), 2000);
    });
}

#[test]
fn a_namespace_is_a_name_a_process_or_a_path() {
    netns::run_with_names("a_namespace_is_a_name_a_process_or_a_path", || {
        add("blue");
        let sleep = Launch::of("sleep", ["60"]).under(["ip", "netns", "exec", "blue"]);
        let sleep = sleep.spawn();
        until_true("the process to be there", || {
            let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
            let own = std::fs::read_link("/proc/thread-self/ns/net").ok();
            link(&sleep.pid().to_string()).is_some_and(|net| Some(net) != own)
        });
        let pid = sleep.pid().to_string();
        let captures = ["blue", &pid, "/run/netns/blue"].map(|name| {
            let capture = Launch::new(["--netns", name, "--format", "json"]).spawn();
            (name, capture)
        });
        for (_, capture) in &captures {
            until_true("the program to listen", || {
                !vendor_tests::capture::sockets(capture.pid()).is_empty()
            });
        }
        talk("blue", 1001);
        for (name, capture) in captures {
            capture.drained();
            let list = capture.finish().list();
            assert_eq!(by_port(&list), BTreeMap::from([(1001, None)]), "{name}");
            let head: Value = serde_json::from_str(list.lines().next().expect("a line")).unwrap();
            assert_eq!(head["netns"], name);
        }
        let outcome = Launch::new(["--netns", "nobody"]).run();
        assert_eq!(outcome.code, Some(1));
        assert!(
            outcome.said.contains("/run/netns/nobody"),
            "{}",
            outcome.said
        );
    });
}
