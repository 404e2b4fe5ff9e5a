//! What conntrack(8) and the kernel print, read as captures. In a file of its own: programs that other tests
//! start at the same time would hold the lab's sockets until they have begun.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use vendor_tests::capture::Launch;
use vendor_tests::files::{file, on};
use vendor_tests::lab::Lab;
use vendor_tests::netns;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness::udp;

/// What a capture says of its flows, but for times and the classic list.
fn tuple(path: &Path) -> Vec<String> {
    on("show --format csv", &[path])
        .list()
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            [&fields[..13], &fields[15..21]].concat().join(",")
        })
        .collect()
}

#[test]
fn conntrack_and_proc_tell_what_a_capture_tells() {
    netns::run("conntrack_and_proc_tell_what_a_capture_tells", || {
        let lab = Lab::new();
        let folder = Folder::new();
        let own = folder.join("own");
        let capture = Launch::new(
            ["--format", "json", "--all-protocols", "-o"]
                .map(OsStr::new)
                .into_iter()
                .chain([own.as_os_str()]),
        )
        .start();
        let events = [
            "",
            "-o extended",
            "-o timestamp",
            "-o extended,id,timestamp",
        ]
        .map(|form| {
            let events = if form.is_empty() {
                ""
            } else {
                "-e NEW,UPDATES"
            };
            let words = format!("-E {events} {form}");
            (
                form,
                Launch::of("conntrack", words.split_whitespace()).start(),
            )
        });
        lab.track();
        lab.traffic();
        udp("192.0.2.254", "192.0.2.255", 1, 2);
        let tables = ["-L", "-L -o extended", "-L -o id,ktimestamp"].map(|form| {
            let text = run("conntrack", form.split_whitespace());
            file(&folder, &form.replace(' ', "_"), text)
        });
        let proc = fs::read_to_string("/proc/thread-self/net/nf_conntrack");
        capture.drained();
        assert_eq!(capture.finish().list(), "");
        let expected = tuple(&own);
        assert!(expected.len() > 20, "{expected:#?}");

        for (form, witness) in events {
            until_true("conntrack -E to report the last event", || {
                String::from_utf8_lossy(&witness.stdout()).contains("src=192.0.2.254")
            });
            let outcome = witness.finish();
            assert!(!outcome.stderr.contains("ENOBUFS"), "{}", outcome.stderr);
            // As people paste it, with the closing line of standard error.
            let text = outcome.text() + &outcome.stderr;
            let path = file(&folder, "events", text);
            assert_eq!(tuple(&path), expected, "{form}");
            let json = on("show --format json", &[&path]).list();
            let mut flows = json
                .lines()
                .filter(|line| line.contains(r#""type":"flow""#));
            let timed = flows.all(|flow| flow.contains("first_seen"));
            assert_eq!(timed, form.contains("timestamp"), "{form}");
        }

        // Some entries have ended, so the tables hold less, but nothing else.
        let mut tables = tables.to_vec();
        match proc {
            Ok(text) => tables.push(file(&folder, "proc", text)),
            Err(error) => vendor_tests::skipped!("/proc/net/nf_conntrack: {error}"),
        }
        for path in tables {
            let changes = on("diff", &[&own, &path]);
            assert!(changes.code <= Some(1), "{changes:?}");
            let text = changes.text();
            assert!(
                text.lines().skip(1).all(|line| line.starts_with("- ")),
                "{text}"
            );
            let flows = tuple(&path).len();
            assert!(flows > 10 && flows <= expected.len(), "{flows}");
        }
    });
}
