//! `-d` and `-f`: what the administrator and a start script see.

mod host;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use host::{Namespace, TRAFFIC, is_root, program, run, wait_for};

fn folder(name: &str) -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn refused(arguments: &[&str], message: &str) {
    let output = Command::new(program()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains(message), "{arguments:?}: {said}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(&["-d"], "name a file with -o FILE");
    refused(&["-d", "-o", "-"], "name a file with -o FILE");
    refused(&["-d", "-o", "x", "-w", "-"], "name a file with -o FILE");
    refused(&["-d", "-f", "-o", "x"], "cannot be used with");
    refused(&["-d", "-o", "x", "-r", "y"], "cannot be used with");
    refused(&["--pid-file", "x"], "--daemon");
}

#[test]
fn a_daemon_runs_once_prints_and_leaves_its_list() {
    if !is_root("a_daemon_runs_once_prints_and_leaves_its_list") {
        return;
    }
    let folder = folder("daemon");
    let namespace = Namespace::new("daemon");
    let program = program().display().to_string();
    let start = || {
        let mut command = namespace.command(&program);
        command.current_dir(&folder).args([
            "--track",
            "-d",
            "-o",
            "flows.txt",
            "--pid-file",
            "pid",
        ]);
        command
    };
    let (pid_file, list) = (folder.join("pid"), folder.join("flows.txt"));

    // Left by a process that is gone.
    fs::write(&pid_file, "4194305\n").unwrap();
    run(&mut start());
    let pid = fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    let of = |entry: &str| PathBuf::from(format!("/proc/{pid}/{entry}"));
    assert_eq!(fs::read_to_string(of("comm")).unwrap(), "conntracker\n");
    assert_eq!(fs::read_link(of("cwd")).unwrap().to_str(), Some("/"));
    for standard in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(
            fs::read_link(of(standard)).unwrap().to_str(),
            Some("/dev/null"),
            "{standard}"
        );
    }
    let stat = fs::read_to_string(of("stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3);
    assert_eq!(session, Some(&*pid), "a session of its own");

    let second = start().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains(&format!("is running as process {pid}")),
        "{said}"
    );

    namespace.make_traffic();
    wait_for("a list on SIGUSR1", || {
        run(Command::new("kill").args(["-USR1", &pid]));
        (fs::read_to_string(&list).ok()? == TRAFFIC).then_some(())
    });
    fs::remove_file(&list).unwrap();
    run(Command::new("kill").arg(&pid));
    wait_for("the daemon's end", || {
        (!pid_file.exists() && !of("comm").exists()).then_some(())
    });
    assert_eq!(fs::read_to_string(&list).unwrap(), TRAFFIC);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_daemon_that_cannot_capture_says_so_in_the_foreground() {
    if !is_root("a_daemon_that_cannot_capture_says_so_in_the_foreground") {
        return;
    }
    let folder = folder("daemon-fails");
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(program())
        .args(["-d", "-o", "/dev/null", "--pid-file"])
        .arg(folder.join("pid"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("needs CAP_NET_ADMIN"), "{said}");
    assert!(!folder.join("pid").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_last_of_an_option_counts_and_foreground_is_the_default() {
    if !is_root("the_last_of_an_option_counts_and_foreground_is_the_default") {
        return;
    }
    let folder = folder("foreground");
    let namespace = Namespace::new("foreground");
    run(namespace
        .command(&program().display().to_string())
        .current_dir(&folder)
        .args(["-f", "-o", "one", "-o", "two", "--duration", "1s"]));
    assert!(!folder.join("one").exists());
    assert_eq!(fs::read_to_string(folder.join("two")).unwrap(), "");
    fs::remove_dir_all(folder).unwrap();
}

/// Capabilities by their numbers in include/uapi/linux/capability.h.
fn capabilities(numbers: &[u32]) -> String {
    let set = numbers.iter().fold(0_u64, |set, number| set | 1 << number);
    format!("{set:016x}")
}

const DAC_OVERRIDE: u32 = 1;
const NET_BROADCAST: u32 = 11;
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;

#[test]
fn a_daemon_gives_up_what_it_does_not_need() {
    if !is_root("a_daemon_gives_up_what_it_does_not_need") {
        return;
    }
    let program = program().display().to_string();
    let everything = "--format json --state state -w events.pcap --metrics-file metrics.prom";
    for (round, (owner, options, kept)) in [
        ("0", "--source kernel", &[NET_ADMIN, BPF][..]),
        ("0", everything, &[NET_ADMIN, BPF]),
        // Root needs more in the folder of somebody else.
        ("65534", everything, &[DAC_OVERRIDE, NET_ADMIN, BPF]),
        (
            "0",
            "--all-netns --format json --state state --existing",
            &[NET_BROADCAST, NET_ADMIN, SYS_ADMIN, BPF],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = folder(&format!("daemon-less-{round}"));
        run(Command::new("chown").arg(owner).arg(&folder));
        run(Command::new("chmod").arg("755").arg(&folder));
        let namespace = Namespace::new(&format!("daemon-less-{round}"));
        let words = format!("--track -d -o flows --pid-file pid {options}");
        run(namespace
            .command(&program)
            .current_dir(&folder)
            .args(words.split(' ')));
        let pid = fs::read_to_string(folder.join("pid")).unwrap();
        let pid = pid.trim();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut threads = 0;
        for task in tasks {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |name: &str| {
                let mut lines = status.lines();
                let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
                found.unwrap_or_else(|| panic!("no {name}")).to_owned()
            };
            for set in ["CapEff", "CapPrm", "CapBnd"] {
                assert_eq!(field(set), capabilities(kept), "{set} with {options}");
            }
            assert_eq!(field("CapInh"), capabilities(&[]));
            assert_eq!((&*field("NoNewPrivs"), &*field("Seccomp")), ("1", "2"));
            threads += 1;
        }
        assert!(threads >= 4, "every thread is looked at: {threads}");

        // All that it does still works: a reload, the state, metrics, the end.
        namespace.make_traffic();
        let list = folder.join("flows");
        wait_for("a list on SIGUSR1", || {
            run(Command::new("kill").args(["-USR1", pid]));
            let list = fs::read_to_string(&list).ok()?;
            list.contains("127.0.0.1").then_some(())
        });
        fs::remove_file(&list).unwrap();
        run(Command::new("kill").arg(pid));
        wait_for("the daemon's end", || {
            (!folder.join("pid").exists() && list.exists()).then_some(())
        });
        let list = fs::read_to_string(&list).unwrap();
        assert!(list.contains("127.0.0.1"), "{list}");
        for (option, name) in [("--state", "state"), ("-w", "events.pcap")] {
            if options.contains(option) {
                let length = fs::metadata(folder.join(name)).unwrap().len();
                assert!(length > 100, "{name}: {length}");
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
