//! `conntracker top` on a terminal: keys are typed into tmux, and its screen is looked at.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use vendor_tests::files::on;
use vendor_tests::netns;
use vendor_tests::program::{conntracker, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, until, until_true};
use vendor_tests::week;

/// A terminal with a shell's command in it, and a tmux server of its own.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// Starts a command. What it says at its end stays to be seen.
    fn start(command: &str, folder: &Folder, (columns, lines): (u16, u16)) -> Self {
        // A server that was told to end may still hold its socket.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tmux-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let socket = folder.join(&name).display().to_string();
        let one = Self { socket };
        let script = format!("{command}; echo \"status: $?\"; sleep 600");
        let size = [columns.to_string(), lines.to_string()];
        let folder = folder.path().display().to_string();
        one.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-c",
            &folder,
            "-x",
            &size[0],
            "-y",
            &size[1],
            &script,
        ]);
        one
    }

    fn tmux(&self, args: &[&str]) -> String {
        run("tmux", [&["-S", &self.socket], args].concat())
    }

    /// Types keys, by the names that tmux has for them, or text.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The screen once it has some text.
    fn shows(&self, text: &str) -> String {
        until(text, LONG, || {
            let screen = self.screen();
            screen.contains(text).then_some(screen)
        })
    }

    fn process(&self) -> String {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        run("pgrep", ["-P", shell.trim(), "-x", "conntracker"])
            .trim()
            .to_owned()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-S", &self.socket, "kill-server"])
            .output();
    }
}

const SIZE: (u16, u16) = (80, 24);

fn capture(folder: &Folder) -> std::path::PathBuf {
    let file = folder.join("day.json");
    fs::write(&file, week::capture(1, &week::day(1))).expect("a file");
    file
}

fn top(args: &str) -> String {
    format!("{} top {args}", conntracker().display())
}

/// The flows of a list as JSON.
fn flows(text: &str) -> BTreeSet<String> {
    let objects = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let flows = objects.filter(|object| object["type"] == "flow");
    flows
        .map(|flow| format!("{} {} {}", flow["src"], flow["dst"], flow["dst_port"]))
        .collect()
}

#[test]
fn keys_filter_group_open_and_write() {
    let folder = Folder::new();
    let file = capture(&folder);
    let terminal = Tmux::start(&top("day.json"), &folder, SIZE);
    let screen = terminal.shows("q quit");
    assert!(screen.starts_with("conntracker top  gw1"), "{screen}");
    assert!(screen.contains("complete"), "{screen}");
    let all = flows(&on("show --format json", &[&file]).text());
    assert!(
        screen.contains(&format!("({0} lines, {0} flows)", all.len())),
        "{screen}"
    );
    // The words of the options, as the other commands take them.
    // All at once, as it comes when somebody pastes.
    terminal.keys(&["/", "dport 22,53 proto tcp,udp", "Enter"]);
    let some = flows(&on("show --format json --dport 22,53 --proto tcp,udp", &[&file]).text());
    terminal.shows(&format!("({0} lines, {0} flows)", some.len()));
    terminal.keys(&["w"]);
    terminal.shows("flows written to conntracker-top-");
    let entries = fs::read_dir(folder.path()).expect("a folder").flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let written = names
        .find(|name| name.starts_with("conntracker-top-"))
        .expect("a file");
    let again = on("show --format json", &[&folder.join(&written)]);
    assert_eq!(
        (again.code, flows(&again.text())),
        (Some(0), some),
        "{}",
        again.stderr
    );
    terminal.keys(&["/"]);
    terminal.text(" colour red");
    terminal.keys(&["Enter"]);
    terminal.shows("write for example");
    terminal.keys(&["Escape"]);
    terminal.shows(&format!("{} flows)", all.len()));
    terminal.keys(&["g"]);
    let screen = terminal.shows("by service");
    assert!(screen.contains("ssh (tcp/22)"), "{screen}");
    terminal.keys(&["?"]);
    terminal.shows("group by: flow");
    terminal.keys(&["q"]);
    terminal.shows("by service");
    terminal.keys(&["q"]);
    terminal.shows("status: 0");
}

#[test]
fn the_rule_is_the_one_that_rules_writes() {
    let folder = Folder::new();
    let file = capture(&folder);
    let terminal = Tmux::start(&top("day.json --dport 22"), &folder, (200, 24));
    terminal.shows("(1 line, 1 flow)");
    terminal.keys(&["r"]);
    let screen = terminal.shows("accept comment");
    let rules = on("rules --dport 22", &[&file]).text();
    let rule = rules
        .lines()
        .find(|line| line.contains("dport 22"))
        .expect("a rule")
        .trim();
    let shown: String = screen.split_whitespace().collect();
    let wanted: String = rule.split_whitespace().collect();
    assert!(shown.contains(&wanted), "{rule}\n{screen}");
}

#[test]
fn the_terminal_is_given_back_whatever_happens() {
    let folder = Folder::new();
    capture(&folder);
    let look = |ended: &str, command: &str, end: &dyn Fn(&Tmux)| {
        // A backtrace would take the message off the screen.
        let script = format!(
            "unset RUST_BACKTRACE; stty -g > before; {command}; echo \"ended: $?\"; stty -g > after"
        );
        let terminal = Tmux::start(&script, &folder, SIZE);
        end(&terminal);
        let screen = terminal.shows("status: 0");
        assert!(screen.contains(ended), "{screen}");
        assert!(
            !screen.contains("CLIENT"),
            "the other screen is gone: {screen}"
        );
        let modes =
            ["before", "after"].map(|name| fs::read_to_string(folder.join(name)).expect("modes"));
        assert_eq!(modes[0], modes[1]);
        assert_eq!(
            terminal
                .tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"])
                .trim(),
            "1 0"
        );
    };
    look("ended: 0", &top("day.json"), &|terminal| {
        terminal.shows("q quit");
        terminal.keys(&["C-c"]);
    });
    for signal in ["TERM", "INT"] {
        look("ended: 0", &top("day.json"), &|terminal| {
            terminal.shows("q quit");
            run("kill", [&format!("-{signal}"), terminal.process().as_str()]);
        });
    }
    if cfg!(debug_assertions) {
        let panics = format!("CONNTRACKER_FAULT=top {}", top("day.json"));
        look("asked to fail at top", &panics, &|_| {});
    } else {
        vendor_tests::skipped!("a release build has no places");
    }
}

#[test]
fn it_ends_with_its_terminal() {
    let folder = Folder::new();
    capture(&folder);
    // Whoever starts it may ignore SIGHUP, as nohup(1) does: then nothing but the terminal itself says that it is gone.
    let command = format!("trap '' HUP; {}", top("day.json"));
    let terminal = Tmux::start(&command, &folder, SIZE);
    terminal.shows("q quit");
    let process = terminal.process();
    drop(terminal);
    let place = format!("/proc/{process}");
    until_true("the end", || !Path::new(&place).exists());
}

#[test]
fn it_follows_the_size_of_its_window() {
    let folder = Folder::new();
    capture(&folder);
    let terminal = Tmux::start(&top("day.json"), &folder, (120, 30));
    terminal.shows("q quit");
    for (columns, lines) in [(40_usize, 10_usize), (100, 40)] {
        let size = [columns.to_string(), lines.to_string()];
        terminal.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
        until("the new size", LONG, || {
            let screen = terminal.screen();
            let shown: Vec<&str> = screen.lines().collect();
            // Keys in the last line, and flows down to the one above.
            (shown.len() == lines
                && shown[lines - 1].starts_with("? help")
                && shown[lines - 2].contains("yes")
                && shown[lines - 2].chars().count() <= columns)
                .then_some(())
        });
    }
}

#[test]
fn nothing_is_coloured_where_nobody_wants_it() {
    let folder = Folder::new();
    capture(&folder);
    let colours = |command: &str| {
        let terminal = Tmux::start(command, &folder, SIZE);
        terminal.shows("q quit");
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
        let sequences = screen
            .split("\x1b[")
            .skip(1)
            .filter_map(|rest| rest.split('m').next());
        let codes =
            sequences.flat_map(|codes| codes.split(';').map(str::to_owned).collect::<Vec<_>>());
        codes
            .filter(|code| code.starts_with(['3', '9']) && code.len() == 2 && code != "39")
            .count()
    };
    assert!(colours(&top("day.json")) > 0);
    assert_eq!(colours(&format!("NO_COLOR=1 {}", top("day.json"))), 0);
}

#[test]
fn the_rules_that_let_flows_pass_are_shown_while_they_come() {
    netns::run(
        "the_rules_that_let_flows_pass_are_shown_while_they_come",
        || {
            let folder = Folder::new();
            run(
                "nft",
                [
                    "table inet filter {\n chain input {\n type filter hook input priority 0\n tcp dport 8443 accept\n }\n}",
                ],
            );
            let server = TcpListener::bind("127.0.0.1:8443").expect("a port");
            let terminal = Tmux::start(
                &top("--track --rules --group rule --dport 8443"),
                &folder,
                (120, 24),
            );
            terminal.shows("q quit");
            assert!(!terminal.screen().contains("tcp dport 8443 accept"));
            for _ in 0..2 {
                let client = TcpStream::connect("127.0.0.1:8443").expect("a connection");
                drop((client, server.accept().expect("a connection")));
            }
            terminal.shows("tcp dport 8443 accept");
            // One connection's rule may be known before the other's.
            terminal.shows("(1 line, 1 flow)");
            terminal.keys(&["q"]);
            terminal.shows("status: 0");
            let left = run("nft", ["list", "tables"]);
            assert_eq!(left.trim(), "table inet filter");
        },
    );
}

#[test]
fn what_passes_is_shown_and_what_is_new_is_marked() {
    netns::run("what_passes_is_shown_and_what_is_new_is_marked", || {
        let folder = Folder::new();
        let server = TcpListener::bind("127.0.0.1:8443").expect("a port");
        let connect = |from: &str| {
            let script = "import socket, sys\nk = socket.create_connection(('127.0.0.1', 8443), source_address=(sys.argv[1], 0))";
            run("/usr/bin/python3", ["-c", script, from]);
            drop(server.accept().expect("a connection"));
        };
        let baseline = week::capture(1, &[week::flow("tcp", "127.0.0.2", "127.0.0.1", 8443)]);
        fs::write(folder.join("known.json"), baseline).expect("a file");
        let terminal = Tmux::start(
            &top("--track --baseline known.json --dport 8443"),
            &folder,
            SIZE,
        );
        terminal.shows("No flow so far");
        connect("127.0.0.2");
        let screen = terminal.shows("127.0.0.2");
        assert!(
            screen
                .lines()
                .any(|line| line.starts_with('+') && line.contains("127.0.0.2")),
            "{screen}"
        );
        connect("127.0.0.3");
        let screen = terminal.shows("127.0.0.3");
        assert!(
            screen
                .lines()
                .any(|line| line.starts_with('!') && line.contains("127.0.0.3")),
            "{screen}"
        );
        terminal.shows("!1 not in the baseline");
        // Nothing comes while it is paused, and all of it afterwards.
        terminal.keys(&["Space"]);
        terminal.shows("paused");
        connect("127.0.0.4");
        terminal.keys(&["s"]);
        assert!(!terminal.shows("by flow, last-seen").contains("127.0.0.4"));
        terminal.keys(&["Space"]);
        terminal.shows("127.0.0.4");
        terminal.keys(&["q"]);
        terminal.shows("status: 0");
        // So that what is open when it begins is no news.
        let open = TcpStream::connect("127.0.0.1:8443").expect("a connection");
        let terminal = Tmux::start(
            &top("--track --plain --every 1s --duration 2s"),
            &folder,
            SIZE,
        );
        terminal.shows("status: 0");
        drop(open);
    });
}

#[test]
fn lines_of_text_have_nothing_but_text() {
    let folder = Folder::new();
    let file = capture(&folder);
    let outcome = on("top --plain --group service --sort flows", &[&file]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let text = outcome.text();
    assert!(!text.contains(['\x1b', '\r', '…']), "{text}");
    let all = flows(&on("show --format json", &[&file]).text()).len();
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.contains(&format!("{all} flows"))),
        "{text}"
    );
    let groups = on("show --group service --format csv", &[&file]).text();
    assert_eq!(
        text.lines().skip(1).count(),
        (groups.lines().count() - 1).min(21),
        "{text}"
    );
    let outcome = on("top", &[Path::new(&file)]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("--plain"), "{}", outcome.stderr);
}
