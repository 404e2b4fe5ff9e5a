//! What the program does on signals.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness::udp;

const NONE: [&str; 0] = [];
const FIRST: &str =
    " UDPv4 [           0] src = 10.0.0.1 (port=1024) to dst = 10.0.0.2 (port=53)\n";
const SECOND: &str =
    " UDPv4 [           1] src = 10.0.0.1 (port=1024) to dst = 10.0.0.2 (port=123)\n";

fn first() {
    udp("10.0.0.1", "10.0.0.2", 5000, 53);
}

fn second() {
    udp("10.0.0.1", "10.0.0.2", 5000, 123);
}

/// Has it print now, and waits until it has.
fn print(capture: &Capture, expected: &str) {
    capture.signal(Signal::USR1);
    until_true("a list on standard output", || {
        capture.stdout() == expected.as_bytes()
    });
}

#[test]
fn an_end_is_asked_for_by_three_signals() {
    netns::run("an_end_is_asked_for_by_three_signals", || {
        // Those who started this test may ignore SIGHUP, and so would what it starts.
        let captures = [Signal::INT, Signal::TERM, Signal::HUP].map(|signal| {
            (
                signal,
                Launch::new(NONE)
                    .under(["env", "--default-signal=HUP"])
                    .start(),
            )
        });
        first();
        for (signal, capture) in captures {
            // At once: what is queued counts.
            capture.signal(signal);
            assert_eq!(capture.wait().list(), FIRST, "{signal:?}");
        }
    });
}

#[test]
fn usr1_prints_and_goes_on() {
    netns::run("usr1_prints_and_goes_on", || {
        let capture = Launch::new(NONE).start();
        first();
        // The receiver naps for some milliseconds, and what is queued meanwhile is not in the list.
        capture.drained();
        print(&capture, FIRST);
        second();
        assert_eq!(capture.finish().list(), format!("{FIRST}{FIRST}{SECOND}"));
    });
}

#[test]
fn a_list_that_the_end_overtakes_is_complete() {
    netns::run("a_list_that_the_end_overtakes_is_complete", || {
        for source in ["kernel", "batch", "callback"] {
            for pause_ms in 0..12 {
                let capture = Launch::new(["--source", source]).start();
                run(flood(), ["--entries", "500"]);
                capture.signal(Signal::USR1);
                // Both at once would be one wake-up, and the end is looked at first.
                thread::sleep(Duration::from_millis(pause_ms));
                capture.signal(Signal::TERM);
                let outcome = capture.wait();
                assert_eq!(
                    (outcome.code, outcome.stderr.as_str()),
                    (Some(0), ""),
                    "{source}, {pause_ms} ms"
                );
                run("conntrack", ["-F"]);
            }
        }
    });
}

#[test]
fn usr1_replaces_the_file_as_a_whole() {
    netns::run("usr1_replaces_the_file_as_a_whole", || {
        let folder = Folder::new();
        let path = folder.join("list");
        let capture = Launch::new(["-o".as_ref(), path.as_os_str()]).start();
        let stop = AtomicBool::new(false);
        let (lists, seen) = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(list) = fs::read(&path) {
                        if !seen.contains(&list) {
                            seen.push(list);
                        }
                    }
                }
                seen
            });
            let mut lists = Vec::new();
            let mut inodes = Vec::new();
            for (family, proto) in [("4", "tcp"), ("4", "udp"), ("6", "tcp"), ("6", "udp")] {
                run(
                    flood(),
                    ["--entries", "5000", "--family", family, "--proto", proto],
                );
                capture.drained();
                capture.signal(Signal::USR1);
                until_true("a new file", || {
                    fs::metadata(&path).is_ok_and(|file| !inodes.contains(&file.ino()))
                });
                // A file that is held keeps its number from being used again.
                let file = fs::File::open(&path).expect("the list is there");
                inodes.push(file.metadata().expect("the list is there").ino());
                lists.push((fs::read(&path).expect("the list is there"), file));
            }
            stop.store(true, Ordering::Relaxed);
            (lists, reader.join().expect("the reader does not panic"))
        });
        for (number, (list, _)) in lists.iter().enumerate() {
            let lines = list.iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(lines, 5000 * (number + 1));
        }
        assert!(
            seen.iter()
                .all(|part| lists.iter().any(|(list, _)| list == part)),
            "a part of a list was seen"
        );
        assert_eq!(capture.finish().list(), "");
        assert!(fs::read(&path).expect("the list is there") == lists[3].0);
        let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(names.len(), 1, "something was left: {names:?}");
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    netns::run("a_second_signal_ends_at_once", || {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let capture = Launch::new(NONE).stdout(writer).start();
        run(flood(), ["--entries", "5000"]);
        // Nobody reads, so the list gets stuck.
        capture.signal(Signal::INT);
        until_true("the pipe to fill", || {
            ioctl_fionread(&reader).is_ok_and(|len| len >= 60_000)
        });
        capture.signal(Signal::INT);
        let outcome = capture.wait();
        assert_eq!(outcome.signal, Some(Signal::INT.as_raw()), "{outcome:?}");
    });
}

#[test]
fn nohup_is_respected() {
    netns::run("nohup_is_respected", || {
        let capture = Launch::new(NONE).under(["nohup"]).start();
        first();
        capture.drained();
        capture.signal(Signal::HUP);
        print(&capture, FIRST);
        let outcome = capture.finish();
        assert_eq!(
            (outcome.code, outcome.text()),
            (Some(0), FIRST.repeat(2)),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_capture_ends_after_its_duration() {
    netns::run("a_capture_ends_after_its_duration", || {
        let began = Instant::now();
        let capture = Launch::new(["--duration", "4s"]).start();
        first();
        assert_eq!(capture.wait().list(), FIRST);
        assert!(began.elapsed().as_secs() >= 4, "too early");
    });
}
