//! Every command that README.md and docs/ show, run as it stands there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vendor_tests::netns::{self, sh};
use vendor_tests::program::{conntracker, flood};
use vendor_tests::temp::Disk;

/// Commands that are run elsewhere, by how they begin.
const ELSEWHERE: [(&str, &str); 16] = [
    ("make ", "what builds and tests this"),
    ("psql -f docs/fleet", "the test of the fleet"),
    (
        "clickhouse-client ",
        "the test of the fleet, by the embedded form",
    ),
    ("apt install ./conntracker_", "the test of the package"),
    ("systemctl ", "the tests of the package and of the service"),
    ("systemd-run ", "nothing: it takes a running systemd"),
    ("setcap ", "nothing: it would change the program under test"),
    ("cargo build ", "what builds and tests this"),
    ("sh gw1.sh", "the test of rules for ufw"),
    ("conntracker check ufw.v4", "the test of rules for ufw"),
    ("cat gw1/", "the test of rules for firewalld"),
    ("aclgen ", "the test of rules for Aerleon"),
    ("conntracker check site/", "the test of rules for Aerleon"),
    ("conntracker top", "the test of top: it needs a terminal"),
    ("pkill -USR1 ", "the test of signals"),
    (
        "conntracker watch --baseline week.json --format journal",
        "the test of watch: it takes a journal",
    ),
];

/// Commands whose exit status may be another than 0, and which.
const STATUS: [(&str, &[i32]); 8] = [
    // The firewall may have no words for some of the rules.
    ("conntracker rules --for ufw", &[0, 3]),
    ("conntracker rules --for firewalld", &[0, 3]),
    ("conntracker rules --for aerleon", &[0, 3]),
    ("conntracker diff ", &[0, 1]),
    ("conntracker check ", &[0, 1]),
    ("conntracker show list.txt", &[3]),
    ("conntracker doctor", &[0]),
    ("conntracker watch ", &[0, 1]),
];

/// Ends what captures until Ctrl-C. In the foreground, since timeout(1) else sends its signal to the program and to its
/// group, and a second SIGINT ends at once.
const CTRL_C: &str = "timeout --foreground --preserve-status -s INT 2 ";

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).expect("the documents are there");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.push(root.join("README.md"));
    paths.sort();
    paths
}

/// The commands of a document: behind a prompt in a console block, in a block that is indented, or between
/// backquotes in a table.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut console = false;
    for line in text.lines() {
        let inner = line.trim_start();
        if let Some(kind) = inner.strip_prefix("```") {
            console = kind == "console";
            continue;
        }
        let ours = |command: &str| {
            let command = command.trim_start_matches("sudo ");
            command == "conntracker" || command.starts_with("conntracker ")
        };
        if console {
            commands.extend(
                ["$ ", "# "]
                    .iter()
                    .filter_map(|prompt| inner.strip_prefix(prompt)),
            );
        } else if line.starts_with("    ") && ours(inner) {
            commands.push(inner);
        } else if line.starts_with('|') {
            let quoted = line.split('`').skip(1).step_by(2);
            // An option's name or a form with a placeholder is no command.
            commands.extend(
                quoted.filter(|text| ours(text) && !text.contains("FILE") && !is_name(text)),
            );
        }
    }
    commands.into_iter().map(str::to_owned).collect()
}

/// Whether it only names one of our commands.
fn is_name(text: &str) -> bool {
    let commands = ["show", "merge", "diff", "rules", "check", "watch"];
    commands
        .iter()
        .any(|command| text.strip_prefix("conntracker ") == Some(command))
}

/// Files by the names that the documents use, in the current folder of the commands.
fn prepare(folder: &Path) {
    let script = r#"
        vectors=$1
        for name in monday tuesday yesterday today known all day week flows gw gw1 gw2 gw1-a gw1-b gw2-monday old new big; do
            conntracker -q -r $vectors/real_nat.pcap --format json -o $name.json
        done
        conntracker -q -r $vectors/real_basic.pcap --format json -o today.json
        conntracker -q -r $vectors/real_many.pcap -o old-list.txt
        { head -16 old-list.txt; echo 'udp 17 29 src=10.0.0.1 dst=10.0.0.2 dport=53'; } > list.txt
        cp $vectors/real_basic.pcap events.pcap
        cp events.pcap capture.pcap
        conntracker rules -q flows.json -o fw.nft
        cp fw.nft gw1.nft; cp fw.nft rules.nft; cp fw.nft big.nft; echo 'table inet helpers { }' >helpers.nft
        printf '[[flow]]\nfrom = "10.250.0.1"\nto = "10.250.0.2"\nservice = "tcp/9"\nverdict = "stopped"\n' > fw.toml
        conntracker rules -q --for iptables -4 flows.json -o rules.v4
        conntracker rules -q --for iptables -6 all6.json -o rules.v6 2>/dev/null ||
            printf '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n' > rules.v6
        printf '[networks]\noffice = "10.0.0.0/8"\n' > office.toml
        mkdir -p /etc/iptables /var/lib/conntracker
        cp rules.v4 rules.v6 /etc/iptables
    "#;
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
    let output = Command::new("bash")
        .args(["-euc", script, "prepare", vectors])
        .current_dir(folder)
        .env("PATH", path())
        .output()
        .expect("bash is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn path() -> String {
    let programs =
        [conntracker(), flood()].map(|program| program.parent().expect("a folder").display());
    format!(
        "{}:{}:{}",
        programs[0],
        programs[1],
        std::env::var("PATH").unwrap_or_default()
    )
}

/// What is to be run instead of an hour's capture, and of one that ends with Ctrl-C.
fn soon_over(command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let mut shorter: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    for at in 1..shorter.len() {
        if shorter[at - 1] == "--duration" {
            shorter[at] = "1s".to_owned();
        }
    }
    let command = shorter.join(" ");
    let captures = |part: &str| {
        let mut words = part.split_whitespace();
        words.next() == Some("conntracker")
            && words
                .next()
                .is_none_or(|word| word.starts_with('-') || word == "trace" || word == "watch")
            && !part.contains("--duration")
            && !part.contains(" -r ")
            && !part.contains(" -d ")
            && !part.contains("--accept")
            && !part.contains("--help")
    };
    let parts = command.split(" && ").map(|part| {
        if captures(part) {
            format!("{CTRL_C}{part}")
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join(" && ")
}

#[test]
fn the_commands_of_the_documents_work() {
    if !rustix::process::geteuid().is_root() {
        vendor_tests::skipped!("the_commands_of_the_documents_work: needs root");
        return;
    }
    netns::run("the_commands_of_the_documents_work", || {
        // SAFETY: takes flags only; it concerns this thread and the programs that it will start.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        sh("mount --make-rprivate /");
        // Whatever they write outside of their folder is gone with the namespace.
        let disk = Disk::new("50%");
        sh(&format!(
            "mkdir {disk}/etc {disk}/work {disk}/here
             mount -t overlay overlay -o lowerdir=/etc,upperdir={disk}/etc,workdir={disk}/work /etc
             mount -t tmpfs none /var/lib; mount -t tmpfs none /var/log; mount -t tmpfs none /run
             ip netns add blue
             nft 'table inet t {{ chain o {{ type filter hook output priority 0; ct state new; }}; }}'",
            disk = disk.path().display()
        ));
        let here = disk.join("here");
        prepare(&here);
        let pristine = disk.join("pristine");
        sh(&format!("cp -r {} {}", here.display(), pristine.display()));
        let (mut run, mut wrong) = (0, Vec::new());
        for document in documents() {
            let text = fs::read_to_string(&document).expect("a document");
            let name = document
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            for command in commands(&text) {
                let command = command.replace("sudo ", "");
                if ELSEWHERE
                    .iter()
                    .any(|(begin, _)| command.starts_with(begin))
                {
                    continue;
                }
                let allowed = STATUS.iter().find(|(begin, _)| command.starts_with(begin));
                let allowed = allowed.map_or(&[0][..], |(_, statuses)| statuses);
                // What another command has written over them.
                sh(&format!(
                    "cp -r {}/. {}",
                    pristine.display(),
                    here.display()
                ));
                let output = Command::new("timeout")
                    .args(["60", "bash", "-uc", &soon_over(&command)])
                    .current_dir(&here)
                    .env("PATH", path())
                    .output()
                    .expect("bash is there");
                run += 1;
                if !output
                    .status
                    .code()
                    .is_some_and(|code| allowed.contains(&code))
                {
                    let said = String::from_utf8_lossy(&output.stderr);
                    wrong.push(format!("{name}: {command}: {}: {said}", output.status));
                }
                // Daemons end with the test's commands, and before the next one begins.
                sh("cd /run; test ! -e conntracker.pid || kill $(cat conntracker.pid) 2>/dev/null || true
                    while test -e conntracker.pid; do sleep 0.1; done");
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(run > 30, "{run} commands");
    });
}

/// Where the Makefile installs DuckDB and pandas.
const ANALYSIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/analysis");

#[test]
fn the_python_of_the_documents_works() {
    let folder = vendor_tests::temp::Folder::new();
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/real_nat.pcap");
    let capture = folder.join("monday.json");
    let written = Command::new(conntracker())
        .args(["-q", "-r", recording, "--format", "json", "-o"])
        .arg(&capture)
        .status();
    assert!(written.expect("the program starts").success());
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md"));
    let text = text.expect("a document");
    let blocks: Vec<&str> = text
        .split("```python\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        let module = ["duckdb", "pandas"]
            .into_iter()
            .find(|name| block.contains(name));
        let python = |code: &str| {
            Command::new("python3")
                .args(["-c", code])
                .env("PYTHONPATH", ANALYSIS)
                .current_dir(folder.path())
                .stdin(fs::File::open(&capture).expect("the capture"))
                .output()
                .expect("python3 is there")
        };
        if let Some(module) = module {
            if !python(&format!("import {module}")).status.success() {
                vendor_tests::skipped!("DuckDB and pandas are not installed: make test does that");
                continue;
            }
        }
        let output = python(block);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}: {said}");
        // Servers, with the addresses that the capture has.
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(
            module.is_none() || shown.contains("198.51.100."),
            "{block}: {shown}"
        );
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let conflict = text.lines().find(|line| line.starts_with("<<<<<<<"));
        assert_eq!(conflict, None, "{}", document.display());
        let folder = document.parent().expect("a folder");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                folder.join(target).exists(),
                "{}: {link}",
                document.display()
            );
        }
    }
}

#[test]
fn every_test_file_has_a_line() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(folder.join("README.md")).expect("a list of the tests");
    for entry in std::fs::read_dir(folder.join("tests")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".rs") {
            assert!(list.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
