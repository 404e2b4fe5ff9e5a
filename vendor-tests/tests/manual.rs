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
    // job; with job control on, each line is one. What has a time ends by itself. /run is private, for the pid file.
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
            case $1 in
                *--duration*) ;;
                *) sleep {PATIENCE}; kill -INT -- -$job 2>/dev/null || true ;;
            esac
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

#[test]
fn short_help_fits_a_screen_and_begins_its_examples() {
    let help = |words: &[&str]| {
        let output = std::process::Command::new(program())
            .args(words)
            .env("COLUMNS", "80")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = help(&["-h"]);
    let commands = whole.split("Commands:\n").nth(1).unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let short = commands.iter().map(|command| help(&[command, "-h"]));
    for text in short.chain([whole.clone()]) {
        assert!(
            text.lines().count() <= 50,
            "{} lines: {text}",
            text.lines().count()
        );
        assert!(text.contains("\nExamples:\n"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
    // Every page that is listed is there.
    let topics = help(&["help", "topics"]);
    let names = topics.lines().filter_map(|line| line.strip_prefix("  "));
    let names: Vec<&str> = names
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(
        names.contains(&"rules") && names.contains(&"rules-guide"),
        "{topics}"
    );
    for name in names {
        assert!(help(&["help", name]).lines().count() > 10, "{name}");
    }
    let guide = help(&["help", "Top.md"]);
    assert!(
        guide.starts_with("See what passes now\n") && !guide.contains('\u{1b}'),
        "{guide}"
    );
    assert!(
        guide.lines().all(|line| line.chars().count() <= 80),
        "{guide}"
    );
    let unknown = std::process::Command::new(program())
        .args(["help", "a\u{1b}[m"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    assert!(
        said.contains("help topics") && !said.contains('\u{1b}'),
        "{said}"
    );
}

#[test]
fn every_command_has_a_page_with_examples() {
    let folder = vendor_tests::temp::Folder::new();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--locked",
            "-p",
            "conntracker-manual",
            "--",
        ])
        .arg(folder.path())
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let pages = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let pages: Vec<_> = pages
        .filter(|path| path.extension().is_some_and(|end| end == "8"))
        .collect();
    assert!(pages.len() >= 11, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let examples = text.split(".SH EXAMPLES\n").nth(1);
        let examples = examples.unwrap_or_else(|| panic!("{}: no EXAMPLES", page.display()));
        assert!(examples.contains("conntracker"), "{}", page.display());
    }
}

#[test]
fn options_of_earlier_versions_go_on_working() {
    let output = std::process::Command::new(program())
        .args(["--no-thin", "-r", "/no/such/file"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Known, and refused for what it does not go with, by its name of today.
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--no-prefilter") && !said.contains("unexpected"),
        "{said}"
    );
}
