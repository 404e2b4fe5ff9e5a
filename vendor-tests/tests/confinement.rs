//! What a ruleset or a capture of a stranger could do through the programs that `conntracker check` runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Signal, geteuid};
use vendor_tests::capture::Launch;
use vendor_tests::checking::{HOST, check_text, text};
use vendor_tests::judging::Cases;
use vendor_tests::netns;
use vendor_tests::program::run;
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, until};

const FLOW: &str = "tcp 203.0.113.5 192.0.2.10:443: accepted\n";

fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        skipped!("{test}: files that others may not read take root");
    }
    root
}

/// Files with a ruleset and a capture.
fn files(folder: &Folder, ruleset: &str, capture: &str) -> [String; 2] {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    [("rules.nft", ruleset), ("flows.json", capture)].map(|(name, content)| {
        fs::write(folder.join(name), content).expect("a file");
        folder.join(name).display().to_string()
    })
}

#[test]
fn what_only_root_may_read_is_not_shown() {
    if !is_root("what_only_root_may_read_is_not_shown") {
        return;
    }
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "root:$y$j9T$secret:19000\n").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("ours");
    for name in [
        text(&secret).to_owned(),
        text(&secret).replace("secret", "s*t"),
    ] {
        let (_, outcome) = check_text(&format!("include \"{name}\"\n"), FLOW, &[]);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(!outcome.stderr.contains("j9T"), "{}", outcome.stderr);
    }
    // What everyone may read is included.
    let rules = folder.join("more.nft");
    let drop = "table inet f { chain i { type filter hook input priority 0; policy drop\n}\n}\n";
    fs::write(&rules, drop).expect("a file");
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).expect("ours");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let (_, outcome) = check_text(&format!("include \"{}\"\n", text(&rules)), FLOW, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.text().contains("policy drop"), "{outcome:?}");
    // A ruleset that root alone may read is still read by us.
    let [path, capture] = files(
        &folder,
        drop,
        &Cases::parse(&format!("{HOST}{FLOW}")).file(),
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    let outcome = Launch::new(["check", &path, &capture]).run();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
}

#[test]
fn a_user_who_checks_is_not_shown_private_files_either() {
    let test = "a_user_who_checks_is_not_shown_private_files_either";
    if !is_root(test) {
        return;
    }
    if !vendor_tests::program::nobody_may_have_namespaces() {
        skipped!("{test}: takes user namespaces for a user without privileges");
        return;
    }
    let folder = Folder::new();
    let key = folder.join("id_ed25519");
    fs::write(&key, "-----BEGIN SECRET-----\n").expect("a file");
    run("chown", ["65534", text(&key)]);
    run("chmod", ["600", text(&key)]);
    let include = format!("include \"{}\"\n", text(&key));
    let capture = Cases::parse(&format!("{HOST}{FLOW}")).file();
    let [rules, capture] = files(&folder, &include, &capture);
    let program = folder.join("conntracker");
    fs::copy(vendor_tests::program::conntracker(), &program).expect("the program can be copied");
    // /dev/net/tun is open to everybody where udev runs; here it may not be.
    let tun = folder.join("tun");
    let script = format!(
        "mknod {tun} c 10 200; chmod 666 {tun}; mount --bind {tun} /dev/net/tun
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all {} check {rules} {capture}",
        text(&program),
        tun = text(&tun),
    );
    let outcome = Launch::of("unshare", ["-m", "sh", "-ec", &script]).run();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(!outcome.stderr.contains("BEGIN"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("not everyone may read"),
        "{}",
        outcome.stderr
    );
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    lists
        .flat_map(|list| {
            list.unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn its_programs_die_with_it_and_have_no_right_over_files() {
    if !is_root("its_programs_die_with_it_and_have_no_right_over_files") {
        return;
    }
    let folder = Folder::new();
    // nft(8) waits for somebody to write to it.
    let pipe = folder.join("pipe");
    run("mkfifo", ["-m", "666", text(&pipe)]);
    let include = format!("include \"{}\"\n", text(&pipe));
    let capture = Cases::parse(&format!("{HOST}{FLOW}")).file();
    let [rules, capture] = files(&folder, &include, &capture);
    let mut check = Launch::new(["check", &rules, &capture]).spawn();
    let child = until("nft to run", LONG, || {
        assert!(check.is_running(), "check ended: {}", check.stderr());
        let child = children(check.pid()).pop()?;
        let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name == "nft\n").then_some(child)
    });
    let status = fs::read_to_string(format!("/proc/{child}/status")).expect("it waits");
    let field = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found
            .unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .to_owned()
    };
    // CAP_NET_ADMIN and CAP_NET_RAW.
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(field(set), format!("{:016x}", 1 << 12 | 1 << 13), "{set}");
    }
    assert_eq!(field("Uid:"), ["65534"; 4].join("\t"));
    assert_eq!(field("Groups:"), "");
    assert_eq!(field("NoNewPrivs:"), "1");
    check.signal(Signal::KILL);
    assert_eq!(check.wait().code, None);
    until("nft to end too", LONG, || {
        (!Path::new(&format!("/proc/{child}")).exists()).then_some(())
    });
}

#[test]
fn names_of_a_capture_are_names_and_nothing_else() {
    netns::run("names_of_a_capture_are_names_and_nothing_else", || {
        let folder = Folder::new();
        for name in [
            "x\\nlink del lo",
            "a b",
            "\\u001b]0;owned\\u0007",
            "eth%d",
            "",
        ] {
            let capture = Cases::parse(&format!("{HOST}{FLOW}"))
                .file()
                .replace("\"eth0\"", &format!("\"{name}\""));
            let [rules, capture] = files(&folder, "", &capture);
            let outcome = Launch::new(["check", &rules, &capture]).run();
            assert_eq!(outcome.code, Some(2), "{name}: {outcome:?}");
            assert!(
                outcome.stderr.contains("can't be the name of a device"),
                "{outcome:?}"
            );
            assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
        }
        let outcome = Launch::new(["check", "x", "y", "--interface", "10.0.0.0/8=a b"]).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    });
}

#[test]
fn an_address_that_can_not_be_set_up_is_told() {
    netns::run("an_address_that_can_not_be_set_up_is_told", || {
        let host = HOST.replace("192.0.2.10/24 ", "192.0.2.10/24 ff02::1/64 ");
        let capture = Cases::parse(&format!("{host}{FLOW}")).file();
        let folder = Folder::new();
        let accepting = "table inet f { chain i { type filter hook input priority 0; accept; }; }";
        let [rules, capture] = files(&folder, accepting, &capture);
        let outcome = Launch::new(["check", &rules, &capture]).run();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome
                .text()
                .contains("the address ff02::1 can't be set up"),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_namespace_that_can_not_be_made_is_told_with_what_to_do() {
    netns::run(
        "a_namespace_that_can_not_be_made_is_told_with_what_to_do",
        || {
            let folder = Folder::new();
            let accepting =
                "table inet f { chain i { type filter hook input priority 0; accept; }; }";
            let [rules, capture] = files(&folder, accepting, &Cases::parse(FLOW).file());
            let without_proc = "mount -t tmpfs none /proc && exec \"$@\"";
            let outcome = Launch::new(["check", &rules, &capture])
                .under(["unshare", "--mount", "sh", "-c", without_proc, "sh"])
                .run();
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(
                outcome.stderr.contains("/proc has to be mounted"),
                "{outcome:?}"
            );
        },
    );
}

#[test]
fn a_ruleset_that_stops_traces_is_not_taken_for_the_kernel() {
    netns::run(
        "a_ruleset_that_stops_traces_is_not_taken_for_the_kernel",
        || {
            // In the same hook: it can't be seen which rule drops it.
            let (_, outcome) = check_text(
                "table inet f { chain i { type filter hook input priority 0; policy accept;
                meta nftrace set 0
                tcp dport 443 drop
            }
            }",
                FLOW,
                &["--format=json"],
            );
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            assert!(
                outcome.text().contains("switches tracing off"),
                "{outcome:?}"
            );
            assert!(
                !outcome.text().contains("not by the ruleset"),
                "{outcome:?}"
            );
            // In an earlier hook: it can.
            let (cases, outcome) = check_text(
                "table inet f {
                chain p { type filter hook prerouting priority -300; meta nftrace set 0; }
                chain i { type filter hook input priority 0; policy accept; tcp dport 443 drop; }
            }",
                "tcp 203.0.113.5 192.0.2.10:443: dropped by inet f i: tcp dport 443 drop\n\
             tcp 203.0.113.5 192.0.2.10:80: accepted, reply accepted\n\
                 limit: meta nftrace set 0\n",
                &["--format=json"],
            );
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            cases.compare(&outcome.text());
        },
    );
}
