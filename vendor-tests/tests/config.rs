//! Options from a file, and the file that the package ships.

mod host;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use conntracker::testing::config;
use host::{TRAFFIC, is_root, program, repository, run, wait_for};
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns;
use vendor_tests::temp::Folder;
use vendor_tests::witness::udp;

fn file(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.join("conntracker.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Runs the program with that file and other options.
fn with(text: &str, words: &str) -> (Outcome, PathBuf) {
    let folder = Folder::new();
    let path = file(&folder, text);
    let mut args = vec!["--config".to_owned(), path.display().to_string()];
    args.extend(words.split_whitespace().map(ToOwned::to_owned));
    (Launch::new(args).run(), path)
}

/// The error names the line, and is one of bad arguments.
#[track_caller]
fn refused(text: &str, words: &str, said: &str) {
    let (outcome, path) = with(text, words);
    assert_eq!(outcome.code, Some(2), "{text}: {}", outcome.stderr);
    let said = format!("error: {}:{said}\n", path.display());
    assert_eq!(outcome.stderr, said, "{text}");
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    refused(
        "# options\n\nmax_flows = 7\n",
        "",
        "3: unknown option max_flows; did you mean max-flows?",
    );
    refused("track = true\nxxxxxx = 1\n", "", "2: unknown option xxxxxx");
    refused("help = true\n", "", "1: help is for the command line only");
    refused("track = 'yes'\n", "", "1: track is either true or false");
    refused(
        "interval = true\n",
        "",
        "1: interval takes a value, not true or false",
    );
    refused(
        "interval = ['1h', '2h']\n",
        "",
        "1: interval takes one value, not a list",
    );
    refused(
        "\ninterval = 'soon'\n",
        "",
        "2: invalid value 'soon' for '--interval <TIME>': expected number at 0; \
         write for example 90, 60s, 5m or 1h30m",
    );
    refused("[capture]\ntrack = true\n", "", "1: unknown option capture");
    let (outcome, path) = with("track = true\ntrack = true\n", "");
    let said = format!("error: {}:2: duplicate key", path.display());
    assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    let (outcome, path) = with("\ntrack = \n", "");
    let said = format!("error: {}:2: ", path.display());
    assert!(outcome.stderr.starts_with(&said), "{}", outcome.stderr);
    // Also where the command line has the option too.
    refused(
        "workers = 65\n",
        "--workers 1",
        "1: invalid value '65' for '--workers <N>': 65 is not in 1..=64",
    );
}

#[test]
fn options_that_do_not_go_together_are_told_with_their_line() {
    refused(
        "track = true\nverbose = true\n",
        "--quiet",
        "2: the argument '--verbose' cannot be used with '--quiet'",
    );
    refused(
        "reset = true\n",
        "",
        "1: reset: the following required arguments were not provided: --interval <TIME>",
    );
    refused(
        "reset = true\ninterval = 9\nstate = 'x'\n",
        "",
        "3: the argument '--reset' cannot be used with '--state <FILE>'",
    );
    refused(
        "daemon = true\n",
        "",
        "1: daemon: a daemon has no standard output: name a file with -o FILE",
    );
    refused(
        "interval = '1h'\nkeep = 2\noutput = 'flows.txt'\n",
        "",
        "2: keep: --keep is for a folder with a file for each list: name one with -o DIR/",
    );
    refused(
        "source = 'callback'\nall-netns = true\n",
        "",
        "2: --all-netns needs to know which namespace an event comes from, which --source callback does not say: \
         leave out --source",
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let outcome = Launch::new(["--config", "/nowhere/x.toml"]).run();
    assert_eq!(outcome.code, Some(2));
    let said = "error: /nowhere/x.toml: No such file or directory (os error 2)\n";
    assert_eq!(outcome.stderr, said);
}

#[test]
fn commands_have_no_file() {
    let outcome = Launch::new(["--config", "/nowhere/x.toml", "show", "x"]).run();
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("cannot be used with"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_command_line_counts_instead() {
    netns::run("the_command_line_counts_instead", || {
        let folder = Folder::new();
        let (other, list) = (folder.join("other"), folder.join("list"));
        let text = format!(
            "output = '{}'\nduration = 3600\ndport = ['53', '80']\nsource = 'batch'\n",
            other.display()
        );
        let path = file(&folder, &text);
        let capture = |words: &[&str]| {
            let config = ["--config".as_ref(), path.as_os_str()];
            Launch::new(words.iter().map(AsRef::as_ref).chain(config)).start()
        };
        let from_file = capture(&[]);
        let words = [
            "-o",
            list.to_str().unwrap(),
            "--dport",
            "443",
            "--duration",
            "2",
        ];
        let typed = capture(&words);
        for port in [53, 80, 443] {
            udp("10.9.0.1", "10.9.0.2", 5000, port);
        }
        let outcome = typed.wait();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(from_file.finish().code, Some(0));
        let ports = |path: &Path| -> Vec<String> {
            let list = fs::read_to_string(path).unwrap();
            let lines = list
                .lines()
                .map(|line| line.rsplit_once("(port=").unwrap().1);
            lines.map(ToOwned::to_owned).collect()
        };
        assert_eq!(ports(&list), ["443)"]);
        assert_eq!(ports(&other), ["53)", "80)"]);
    });
}

#[test]
fn a_daemon_takes_its_options_from_a_file() {
    if !is_root("a_daemon_takes_its_options_from_a_file") {
        return;
    }
    let folder = Folder::new();
    let text = "daemon = true\ntrack = true\noutput = 'flows.txt'\npid-file = 'pid'\n\
                state = 'state.json'\nmetrics-file = 'conntracker.prom'\n";
    file(&folder, text);
    let namespace = host::Namespace::new("config");
    run(namespace
        .command(&program().display().to_string())
        .current_dir(folder.path())
        .args(["--config", "conntracker.toml"]));
    let pid = fs::read_to_string(folder.join("pid")).unwrap();
    namespace.make_traffic();
    run(Command::new("kill").arg(pid.trim()));
    wait_for("its end", || (!folder.join("pid").exists()).then_some(()));
    assert_eq!(
        fs::read_to_string(folder.join("flows.txt")).unwrap(),
        TRAFFIC
    );
    for name in ["state.json", "conntracker.prom"] {
        assert!(folder.join(name).exists(), "{name}");
    }
}

/// The lines of the shipped file that set an option or would without the "#", and their names.
fn shipped() -> Vec<(String, String)> {
    let text = fs::read_to_string(repository().join("debian/conntracker.toml")).unwrap();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix('#').unwrap_or(line);
        let (name, _) = line.split_once(" = ").filter(|_| !line.starts_with(' '))?;
        Some((name.to_owned(), line.to_owned()))
    });
    lines.collect()
}

#[test]
fn the_shipped_file_has_every_option_and_every_line_of_it_holds() {
    let shipped = shipped();
    let named: BTreeSet<String> = shipped.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(named.len(), shipped.len(), "none twice");
    assert_eq!(named, config::names().into_iter().collect());
    let all: String = shipped
        .iter()
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let entries = config::read(Path::new("conntracker.toml"), all.as_bytes());
    let entries = entries.unwrap_or_else(|error| panic!("{error}"));
    assert!(entries.iter().all(|entry| !entry.words.is_empty()));
}

#[test]
fn what_the_shipped_file_sets_goes_together() {
    let path = repository().join("debian/conntracker.toml");
    let arguments = ["conntracker", "--config"].map(Into::into);
    let cli = config::parse(arguments.into_iter().chain([path.into()]));
    let cli = cli.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(cli.state, Some("/var/lib/conntracker/state.json".into()));
    assert_eq!(cli.output, Path::new("/var/lib/conntracker/flows.txt"));
}
