//! Where the list goes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::vectors::{Vector, all};
use vendor_tests::witness::udp;

/// A vector whose list is longer than what a pipe, or the small file system below, can hold.
fn vector() -> Vector {
    all()
        .into_iter()
        .find(|vector| vector.name == "index_width")
        .expect("it is there")
}

fn replay(output: impl AsRef<OsStr>) -> Launch {
    let pcap = vector().pcap();
    Launch::new([
        "-r".as_ref(),
        pcap.as_os_str(),
        "-o".as_ref(),
        output.as_ref(),
    ])
}

/// The list went to standard output, and one line says why.
fn rescued(outcome: &Outcome, path: &Path, cause: &str) {
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let line = outcome.stderr.lines().next().unwrap_or_default();
    let named = line.starts_with("conntracker: ") && line.contains(&*path.to_string_lossy());
    assert!(
        named && line.contains(cause) && line.contains("standard output"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_file_or_standard_output() {
    let folder = Folder::new();
    let path = folder.join("list");
    assert_eq!(replay(&path).run().list(), "");
    assert!(fs::read(&path).expect("the list is there") == vector().expected());
    let outcome = replay("-").run();
    assert!(outcome.stdout == vector().expected());
    let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "something was left: {names:?}");
}

#[test]
fn a_link_stays_and_its_target_is_replaced() {
    let folder = Folder::new();
    fs::create_dir(folder.join("below")).expect("a folder");
    fs::write(folder.join("below/list"), "old").expect("a file");
    symlink("below/list", folder.join("link")).expect("a link");
    assert_eq!(replay(folder.join("link")).run().list(), "");
    assert_eq!(
        fs::read_link(folder.join("link")).expect("still a link"),
        Path::new("below/list")
    );
    assert!(fs::read(folder.join("below/list")).expect("the list is there") == vector().expected());
}

#[test]
fn a_link_to_nowhere_stays_and_its_target_is_made() {
    let folder = Folder::new();
    symlink("list", folder.join("link")).expect("a link");
    assert_eq!(replay(folder.join("link")).run().list(), "");
    assert_eq!(
        fs::read_link(folder.join("link")).expect("still a link"),
        Path::new("list")
    );
    assert!(fs::read(folder.join("list")).expect("the list is there") == vector().expected());
}

#[test]
fn a_device_is_written_to() {
    assert_eq!(replay("/dev/null").run().list(), "");
    let kind = fs::metadata("/dev/null")
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(kind & libc::S_IFMT, libc::S_IFCHR);
}

#[test]
fn a_fifo_is_written_to() {
    let folder = Folder::new();
    let path = folder.join("fifo");
    run("mkfifo", [&path]);
    let reader = thread::spawn({
        let path = path.clone();
        move || fs::read(path).expect("a fifo can be read")
    });
    let capture = replay(&path).spawn();
    let list = reader.join().expect("the reader does not panic");
    assert!(
        list == vector().expected(),
        "the reader got {} bytes",
        list.len()
    );
    assert_eq!(capture.wait().list(), "");
}

#[test]
fn the_mode_follows_the_umask() {
    let folder = Folder::new();
    for (umask, mode) in [("027", 0o640), ("000", 0o666), ("077", 0o600)] {
        let path = folder.join(umask);
        let shell = format!("umask {umask}; exec \"$@\"");
        assert_eq!(
            replay(&path).under(["sh", "-c", &shell, "sh"]).run().list(),
            ""
        );
        let found = fs::metadata(&path)
            .expect("the list is there")
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "umask {umask}");
    }
}

#[test]
fn a_full_disk_sends_the_list_to_standard_output() {
    netns::run("a_full_disk_sends_the_list_to_standard_output", || {
        let folder = Folder::new();
        let path = folder.join("list");
        // The file system is gone with the process; what is in it afterwards is told on standard error.
        let shell = format!(
            "cd {}; mount -t tmpfs -o size=64k none .; cd \"$PWD\"; echo old >list; \"$@\"; code=$?; \
             cat list >&2; ls -A >&2; exit $code",
            folder.path().display()
        );
        let outcome = replay(&path)
            .under(["unshare", "-m", "sh", "-c", &shell, "sh"])
            .run();
        rescued(&outcome, &path, "No space left on device");
        assert!(outcome.stdout == vector().expected());
        let left: Vec<&str> = outcome.stderr.lines().skip(1).collect();
        assert_eq!(
            left,
            ["old", "list"],
            "the old list is not what it was, or something was left"
        );
    });
}

#[test]
fn a_full_device_sends_the_list_to_standard_output() {
    let outcome = replay("/dev/full").run();
    rescued(&outcome, Path::new("/dev/full"), "No space left on device");
    assert!(outcome.stdout == vector().expected());
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there");
    let outcome = replay("-").stdout(full).run();
    assert_eq!(
        (outcome.code, outcome.stderr.lines().count()),
        (Some(1), 1),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("standard output: No space left"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_vanished_folder_sends_the_list_to_standard_output() {
    netns::run(
        "a_vanished_folder_sends_the_list_to_standard_output",
        || {
            let folder = Folder::new();
            let path = folder.join("below/list");
            fs::create_dir(folder.join("below")).expect("a folder");
            let capture = Launch::new(["-o".as_ref(), path.as_os_str()]).start();
            fs::remove_dir_all(folder.join("below")).expect("an empty folder");
            udp("10.0.0.1", "10.0.0.2", 5000, 53);
            let outcome = capture.finish();
            rescued(&outcome, &path, "No such file");
            assert_eq!(outcome.text().lines().count(), 1);
        },
    );
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let capture = replay("-").stdout(writer).spawn();
    // As head -1 does.
    let mut line = String::new();
    BufReader::new(File::from(reader))
        .read_line(&mut line)
        .expect("a line");
    assert!(line.contains("[           0]"), "{line}");
    assert_eq!(capture.wait().list(), "");
}

#[test]
fn a_closed_pipe_ends_a_capture_when_it_is_noticed() {
    netns::run("a_closed_pipe_ends_a_capture_when_it_is_noticed", || {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let capture = Launch::new(["-o", "-"]).stdout(writer).start();
        run(flood(), ["--entries", "100"]);
        capture.drained();
        drop(reader);
        capture.signal(Signal::USR1);
        assert_eq!(capture.wait().list(), "");
    });
}

#[test]
fn what_cannot_be_written_is_told_at_once() {
    netns::run("what_cannot_be_written_is_told_at_once", || {
        let folder = Folder::new();
        fs::write(folder.join("file"), "").expect("a file");
        for (name, cause) in [
            ("no/list", "No such file"),
            ("", "directory"),
            ("file/list", "Not a directory"),
        ] {
            for option in ["-o", "-w"] {
                if (name, option) == ("", "-o") {
                    // A folder gets a file for each list.
                    continue;
                }
                let path = folder.join(name);
                let outcome = Launch::new([option.as_ref(), path.as_os_str()]).run();
                assert_eq!(outcome.code, Some(1), "{outcome:?}");
                assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
                let named = outcome.stderr.contains(&*path.to_string_lossy());
                assert!(
                    named && outcome.stderr.contains(cause),
                    "{}",
                    outcome.stderr
                );
            }
        }
    });
}
