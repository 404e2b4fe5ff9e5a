//! The metrics file: what is counted, against traffic that is known, and how it is written.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch, sockets};
use vendor_tests::flooding::Flood;
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, until, until_true};
use vendor_tests::witness::{insert, udp};

/// The figures of a file, by name and labels without the prefix that all have.
#[derive(Debug)]
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn read(path: &Path) -> Self {
        let page = fs::read_to_string(path).expect("the file is there");
        assert!(page.ends_with('\n'), "{page}");
        let figures = page.lines().filter(|line| !line.starts_with('#'));
        Self(
            figures
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                    let name = name.strip_prefix("conntracker_").expect("the prefix");
                    (name.to_owned(), value.parse().expect("a number"))
                })
                .collect(),
        )
    }

    fn of(&self, name: &str) -> f64 {
        *self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    fn flows(&self) -> f64 {
        let flows = self.0.iter().filter(|(name, _)| name.starts_with("flows{"));
        flows.map(|(_, value)| value).sum()
    }

    fn verdict(&self) -> &str {
        let verdicts = ["complete", "recovered", "incomplete"];
        let holding = verdicts.map(|name| self.of(&format!("verdict{{verdict=\"{name}\"}}")));
        assert!((holding.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{self:?}");
        let index = holding.iter().position(|&value| value > 0.5);
        verdicts[index.expect("one holds")]
    }
}

struct Run {
    _folder: Folder,
    metrics: PathBuf,
    capture: Capture,
}

impl Run {
    fn start(words: &str) -> Self {
        let folder = Folder::new();
        let metrics = folder.join("conntracker.prom");
        let words = words.split_whitespace().map(ToOwned::to_owned);
        let path = metrics.display().to_string();
        let capture = Launch::new(words.chain(["--metrics-file".into(), path])).start();
        until_true("the first metrics", || metrics.exists());
        Self {
            _folder: folder,
            metrics,
            capture,
        }
    }

    /// Asks for a list, with which metrics are written, until they are as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Figures) -> bool) -> Figures {
        until(what, Duration::from_secs(60), || {
            self.capture.signal(Signal::USR1);
            thread::sleep(Duration::from_millis(100));
            let figures = Figures::read(&self.metrics);
            wanted(&figures).then_some(figures)
        })
    }

    fn finish(self) -> Figures {
        let outcome = self.capture.finish();
        assert!(outcome.code.is_some(), "{}", outcome.stderr);
        Figures::read(&self.metrics)
    }
}

/// Whether BPF programs can be loaded here.
fn has_bpf() -> bool {
    // A user namespace of one's own does not give the right.
    let map = fs::read_to_string("/proc/self/uid_map").expect("proc is mounted");
    let root = rustix::process::geteuid().is_root();
    root && map.split_whitespace().last() == Some("4294967295")
}

fn sources(test: &str) -> Vec<&'static str> {
    let mut sources = vec!["batch", "callback"];
    if has_bpf() {
        sources.push("kernel");
    } else {
        vendor_tests::skipped!("{test}: the kernel source takes root");
    }
    sources
}

#[test]
fn events_are_counted_by_type_and_flows_by_class_whatever_the_source() {
    let test = "events_are_counted_by_type_and_flows_by_class_whatever_the_source";
    netns::run(test, || {
        for source in sources(test) {
            run("conntrack", ["-F"]);
            let running = Run::start(&format!("--reliable --source {source}"));
            let began = Figures::read(&running.metrics);
            assert_eq!(began.verdict(), "complete");
            udp("10.9.0.1", "10.9.0.2", 5000, 53);
            udp("10.9.0.1", "10.9.0.2", 5001, 53);
            insert("-p tcp -s 10.9.0.1 -d 10.9.0.2 --sport 5000 --dport 80 -t 60 --state SYN_SENT");
            insert("-p icmp -s 10.9.0.1 -d 10.9.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 60");
            insert("-p udp -s fd00::1 -d fd00::2 --sport 5000 --dport 53 -t 60");
            let udp53 = "-p udp -s 10.9.0.1 -d 10.9.0.2 --dport 53 -t 600";
            run("conntrack", format!("-U {udp53} -u SEEN_REPLY").split(' '));
            run("conntrack", ["-D", "-p", "tcp"]);

            let figures = running.finish();
            let expected = [
                ("events_total{type=\"new\"}", 5.0),
                ("events_total{type=\"update\"}", 2.0),
                ("events_total{type=\"destroy\"}", 1.0),
                ("flows{class=\"tcp4\"}", 1.0),
                ("flows{class=\"udp4\"}", 1.0),
                ("flows{class=\"icmp4\"}", 1.0),
                ("flows{class=\"tcp6\"}", 0.0),
                ("flows{class=\"udp6\"}", 1.0),
                ("flows{class=\"icmp6\"}", 0.0),
                ("events_missed_total", 0.0),
                ("resyncs_total", 0.0),
                ("lists_written_total", 1.0),
                ("receive_queue_bytes", 0.0),
            ];
            for (name, value) in expected {
                let found = figures.of(name);
                assert!((found - value).abs() < 1e-9, "{source}: {name}: {found}");
            }
            assert!(figures.of("cpu_seconds_total") > 0.0);
            assert!(figures.of("resident_memory_bytes") > 1e6);
            assert!(figures.of("receive_buffer_bytes") > 4096.0);
            let (start, list) = (
                figures.of("start_time_seconds"),
                figures.of("last_list_timestamp_seconds"),
            );
            assert!(1.7e9 < start && start < list, "{start} {list}");
        }
    });
}

#[test]
fn a_flood_is_counted_to_the_last_event() {
    let test = "a_flood_is_counted_to_the_last_event";
    netns::run(test, || {
        for source in sources(test) {
            run("conntrack", ["-F"]);
            let running = Run::start(&format!("--source {source}"));
            let words = "--entries 6000 --distinct 1500 --family mixed --replied 30 --rate 20000";
            let expected = Flood::start(words).finish();
            let figures = running.finish();
            let by_type = |name| figures.of(&format!("events_total{{type=\"{name}\"}}"));
            // Only where nothing was missed is there a number to hold against.
            if figures.verdict() == "complete" {
                let events = by_type("new") + by_type("update");
                assert!((events - 6000.0).abs() < 1e-9, "{source}: {events}");
            } else {
                vendor_tests::skipped!("{test}: events were missed");
            }
            assert!(by_type("new") > by_type("update"), "{source}: {figures:?}");
            let (found, wanted) = (figures.flows(), expected.len() as f64);
            assert!((found - wanted).abs() < 1e-9, "{source}: {found} {wanted}");
        }
    });
}

/// What hash tables and rings of a process take, as the kernel says beside their descriptors, each map once.
fn maps_of(pid: u32) -> BTreeMap<String, f64> {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it is running");
    let texts = infos.filter_map(|info| fs::read_to_string(info.ok()?.path()).ok());
    let maps = texts.filter_map(|text| {
        let of = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(known, _)| *known == name);
            found.map(|(_, value)| value.trim().to_owned())
        };
        // BPF_MAP_TYPE_HASH and BPF_MAP_TYPE_RINGBUF (include/uapi/linux/bpf.h).
        matches!(of("map_type")?.as_str(), "1" | "27").then_some(())?;
        Some((of("map_id")?, of("memlock")?.parse().ok()?))
    });
    maps.collect()
}

#[test]
fn kernel_memory_is_what_the_kernel_says_of_the_maps() {
    let test = "kernel_memory_is_what_the_kernel_says_of_the_maps";
    if !has_bpf() {
        vendor_tests::skipped!("{test}: the kernel source takes root");
        return;
    }
    netns::run(test, || {
        let without = Run::start("--source batch").finish();
        assert!(
            !without
                .0
                .keys()
                .any(|name| name.starts_with("kernel_memory")),
            "{without:?}"
        );
        for (words, maps) in [("--source kernel", 3), ("--source kernel --format json", 4)] {
            let small = Run::start(&format!("{words} --max-flows 50000")).finish();
            run("conntrack", ["-F"]);
            let running = Run::start(words);
            let before = Figures::read(&running.metrics);
            assert!(
                small.of("kernel_memory_max_bytes") < before.of("kernel_memory_max_bytes") / 5.0
            );
            if !before.0.contains_key("kernel_memory_bytes") {
                vendor_tests::skipped!("{test}: before Linux 6.4 the kernel does not tell");
                continue;
            }
            Flood::start("--entries 3000 --family mixed").finish();
            let figures = running.until("the events", |figures| figures.flows() > 2999.5);
            let told = maps_of(running.capture.pid());
            assert_eq!(told.len(), maps, "{words}: {told:?}");
            let (found, wanted) = (
                figures.of("kernel_memory_bytes"),
                told.values().sum::<f64>(),
            );
            assert!((found - wanted).abs() < 1.0, "{words}: {found} {wanted}");
            assert!(found < figures.of("kernel_memory_max_bytes"));
            // What the classic list knows stays in the kernel, and records are collected for a list.
            let more = found - before.of("kernel_memory_bytes");
            let stays = if maps == 3 { 3000.0 * 64.0 } else { 0.0 };
            assert!(more >= stays && more < 3000.0 * 256.0, "{words}: {more}");
        }
    });
}

#[test]
fn the_verdict_follows_what_is_missed_and_made_up_for() {
    netns::run("the_verdict_follows_what_is_missed_and_made_up_for", || {
        let running = Run::start("--buffer 20000 --buffer-max 20000 --source batch");
        udp("10.9.0.1", "10.9.0.2", 5000, 53);
        let before = running.until("the event", |figures| {
            figures.of("events_total{type=\"new\"}") > 0.5
        });
        assert_eq!(before.verdict(), "complete");
        running.capture.stop();
        run(flood(), ["--entries", "500"]);
        until_true("an overrun", || {
            let sockets = sockets(running.capture.pid());
            sockets.iter().any(|socket| socket.drops > 0)
        });
        running.capture.resume();
        let after = running.until("the loss made up for", |figures| {
            figures.of("resyncs_total") > 0.5 && figures.verdict() == "recovered"
        });
        assert!(after.of("events_missed_total") > 0.5, "{after:?}");
        assert!(after.of("flows_recovered_total") > 0.5, "{after:?}");
        assert!((after.flows() - 501.0).abs() < 1e-9, "{after:?}");
        assert_eq!(running.finish().verdict(), "recovered");
    });
}

#[test]
fn what_finds_no_room_is_counted_and_makes_the_verdict() {
    netns::run(
        "what_finds_no_room_is_counted_and_makes_the_verdict",
        || {
            let running = Run::start("--max-flows 3 --format json --source batch");
            for port in 1..=5 {
                udp("10.9.0.1", "10.9.0.2", 5000, port);
            }
            let figures = running.until("the events", |figures| {
                figures.of("events_total{type=\"new\"}") > 4.5
            });
            assert_eq!(figures.verdict(), "incomplete");
            assert!((figures.of("events_refused_total") - 2.0).abs() < 1e-9);
            assert!((figures.of("records") - 3.0).abs() < 1e-9);
        },
    );
}

#[test]
fn readers_never_see_a_part() {
    netns::run("readers_never_see_a_part", || {
        let running = Run::start("-o /dev/null");
        let names = Figures::read(&running.metrics).0.len();
        let (mut rounds, mut seen) = (0, 0);
        until("many lists", LONG, || {
            rounds += 1;
            running.capture.signal(Signal::USR1);
            for _ in 0..20 {
                let figures = Figures::read(&running.metrics);
                // That of the last list comes with the first one.
                assert!((names..=names + 1).contains(&figures.0.len()));
                seen = seen.max(figures.of("lists_written_total") as u32);
            }
            (rounds >= 100 && seen > 10).then_some(())
        });
        let folder = running.metrics.parent().expect("a folder").to_owned();
        assert_eq!(running.capture.finish().code, Some(0));
        let left = fs::read_dir(folder).expect("a folder").count();
        assert_eq!(left, 1, "nothing but the file is left");
    });
}

#[test]
fn the_file_is_written_without_being_asked_for() {
    netns::run("the_file_is_written_without_being_asked_for", || {
        let running = Run::start("");
        let count = || Figures::read(&running.metrics).of("events_total{type=\"new\"}");
        udp("10.9.0.1", "10.9.0.2", 5000, 53);
        until_true("the file", || count() > 0.5);
        let list = Figures::read(&running.metrics).of("lists_written_total");
        assert!(list < 0.5, "no list was asked for");
    });
}

#[test]
fn everyone_may_read_it_unless_the_administrator_says_otherwise() {
    netns::run(
        "everyone_may_read_it_unless_the_administrator_says_otherwise",
        || {
            let folder = Folder::new();
            let path = folder.join("conntracker.prom");
            let mode = || {
                let found = fs::metadata(&path).expect("it is there").permissions();
                found.mode() & 0o777
            };
            let once = || {
                let words = ["--duration", "1", "--metrics-file"].map(AsRef::as_ref);
                let launch = Launch::new(words.into_iter().chain([path.as_os_str()]));
                let umask = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
                assert_eq!(launch.under(umask).run().list(), "");
            };
            once();
            assert_eq!(mode(), 0o644);
            fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
            once();
            assert_eq!(mode(), 0o640);
        },
    );
}

#[test]
fn a_file_that_cant_be_written_is_told_of_once_and_ends_nothing() {
    netns::run(
        "a_file_that_cant_be_written_is_told_of_once_and_ends_nothing",
        || {
            let outcome = Launch::new(["--metrics-file", "/nowhere/conntracker.prom"]).run();
            assert_eq!(outcome.code, Some(1));
            let said = "conntracker: /nowhere/conntracker.prom: can't be written: ";
            assert!(outcome.stderr.starts_with(said), "{}", outcome.stderr);

            let running = Run::start("-o /dev/null");
            let folder = running.metrics.parent().expect("a folder").to_owned();
            fs::remove_dir_all(&folder).expect("it is ours");
            let told = || {
                let said = running.capture.stderr();
                said.matches("conntracker.prom").count()
            };
            running.capture.signal(Signal::USR1);
            until_true("the message", || told() > 0);
            for _ in 0..3 {
                running.capture.signal(Signal::USR1);
                thread::sleep(Duration::from_millis(200));
            }
            let said = running.capture.stderr();
            assert_eq!(told(), 1, "{said}");
            assert!(said.contains("the capture goes on"), "{said}");
            udp("10.9.0.1", "10.9.0.2", 5000, 53);
            fs::create_dir(&folder).expect("a folder");
            let outcome = running.capture.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            assert!((Figures::read(&running.metrics).flows() - 1.0).abs() < 1e-9);
        },
    );
}

#[test]
fn a_recording_has_no_metrics() {
    let outcome = Launch::new(["-r", "x", "--metrics-file", "y"]).run();
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
}

/// The alerts that docs/long-runs.md shows.
fn alerts() -> String {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/long-runs.md");
    let text = fs::read_to_string(document).expect("it is there");
    let (_, rest) = text.split_once("```yaml\n").expect("a block");
    rest.split("```").next().expect("its end").to_owned()
}

#[test]
fn the_alerts_of_the_documentation_are_rules() {
    let Some(promtool) = promtool() else {
        vendor_tests::skipped!("the_alerts_of_the_documentation_are_rules: promtool is not there");
        return;
    };
    let folder = Folder::new();
    let path = folder.join("alerts.yml");
    fs::write(&path, alerts()).expect("a file");
    let said = run(promtool, ["check", "rules", &path.display().to_string()]);
    assert!(said.contains("3 rules found"), "{said}");
}

/// Prometheus' own checker, unpacked by the Makefile or installed.
fn promtool() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/prometheus/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [unpacked].into_iter().chain(std::env::split_paths(&path));
    let mut programs = folders.map(|folder| folder.join("promtool"));
    programs.find(|program| program.exists())
}

#[test]
fn promtool_has_nothing_to_say() {
    let Some(promtool) = promtool() else {
        vendor_tests::skipped!(
            "promtool is not there: make test-packages unpacks Debian's, if that can be had"
        );
        return;
    };
    netns::run("promtool_has_nothing_to_say", || {
        // This very namespace, as others reach it.
        let thread = rustix::thread::gettid().as_raw_pid();
        let own = format!("--netns /proc/{}/task/{thread}/ns/net", std::process::id());
        for words in ["", "--format json", &own] {
            run("conntrack", ["-F"]);
            let running = Run::start(words);
            udp("10.9.0.1", "10.9.0.2", 5000, 53);
            running.capture.signal(Signal::INT);
            until_true("the last metrics", || {
                Figures::read(&running.metrics)
                    .0
                    .keys()
                    .any(|name| name.starts_with("last_list"))
            });
            let page = fs::File::open(&running.metrics).expect("it is there");
            let output = Command::new(&promtool)
                .args(["check", "metrics"])
                .stdin(Stdio::from(page))
                .output()
                .expect("promtool starts");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(
                output.status.success() && said.is_empty(),
                "{words}: {said}"
            );
            let page = fs::read_to_string(&running.metrics).expect("it is there");
            assert_eq!(page.contains("{netns=\"/proc/"), words == own, "{page}");
        }
    });
}
