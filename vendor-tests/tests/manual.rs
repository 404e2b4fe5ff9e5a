//! The examples of conntracker(8), run as they are printed.

mod host;

use std::path::Path;
use std::{env, fs};

use host::{Namespace, is_root, program, repository};

/// Long enough for any example to get going, and short enough to run all of them.
const PATIENCE: &str = "1.5";

fn examples() -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/manual/sections/examples.man")).unwrap();
    let commands = text
        .lines()
        .filter_map(|line| line.strip_prefix("# ").or(line.strip_prefix("$ ")));
    commands
        .map(|command| command.replace("\\-", "-").replace("\\(aq", "'"))
        .collect()
}

#[test]
fn the_examples_of_the_manual_work() {
    if !is_root("the_examples_of_the_manual_work") {
        return;
    }
    let examples = examples();
    assert!(examples.len() >= 8, "{examples:?}");
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("manual-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let namespace = Namespace::new("manual");
    let path = format!(
        "{}:{}",
        program().parent().unwrap().display(),
        env::var("PATH").unwrap_or_default()
    );
    // What an administrator ends with Ctrl-C gets what the terminal then sends: SIGINT, to the whole
    // job; with job control on, each line is one. /run is private, for the pid file.
    let lines: String = examples
        .iter()
        .map(|example| example.replace("--duration 10m", "--duration 1s"))
        .map(|example| format!("run '{}'\n", example.replace('\'', r"'\''")))
        .collect();
    let script = format!(
        "mount -t tmpfs none /run
        set -m
        run() {{
            bash -c \"$1\" & job=$!
            sleep {PATIENCE}
            kill -INT -- -$job 2>/dev/null || true
            wait $job || {{ echo \"$1: $?\" >&2; exit 1; }}
        }}
        {lines}
        test ! -e /run/conntracker.pid"
    );
    let output = namespace
        .command("bash")
        .args(["-euc", &script])
        .current_dir(&folder)
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for file in ["flows.txt", "events.pcap"] {
        assert!(folder.join(file).exists(), "{file}: {said}");
    }
    fs::remove_dir_all(folder).unwrap();
}
