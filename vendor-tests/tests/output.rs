//! Where the list goes.

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
use vendor_tests::vectors::{long, replay_long};
use vendor_tests::witness::udp;

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
    assert_eq!(replay_long(&path).run().list(), "");
    assert!(fs::read(&path).expect("the list is there") == long().expected());
    let outcome = replay_long("-").run();
    assert!(outcome.stdout == long().expected());
    let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "something was left: {names:?}");
}

#[test]
fn a_link_stays_and_its_target_is_replaced() {
    let folder = Folder::new();
    fs::create_dir(folder.join("below")).expect("a folder");
    fs::write(folder.join("below/list"), "old").expect("a file");
    symlink("below/list", folder.join("link")).expect("a link");
    assert_eq!(replay_long(folder.join("link")).run().list(), "");
    assert_eq!(
        fs::read_link(folder.join("link")).expect("still a link"),
        Path::new("below/list")
    );
    assert!(fs::read(folder.join("below/list")).expect("the list is there") == long().expected());
}

#[test]
fn a_link_to_nowhere_stays_and_its_target_is_made() {
    let folder = Folder::new();
    symlink("list", folder.join("link")).expect("a link");
    assert_eq!(replay_long(folder.join("link")).run().list(), "");
    assert_eq!(
        fs::read_link(folder.join("link")).expect("still a link"),
        Path::new("list")
    );
    assert!(fs::read(folder.join("list")).expect("the list is there") == long().expected());
}

#[test]
fn a_device_is_written_to() {
    assert_eq!(replay_long("/dev/null").run().list(), "");
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
    let capture = replay_long(&path).spawn();
    let list = reader.join().expect("the reader does not panic");
    assert!(
        list == long().expected(),
        "the reader got {} bytes",
        list.len()
    );
    assert_eq!(capture.wait().list(), "");
}

#[test]
fn the_mode_follows_the_umask() {
    let folder = Folder::new();
    for (umask, mode) in [("027", 0o640), ("000", 0o640), ("077", 0o600)] {
        let path = folder.join(umask);
        let shell = format!("umask {umask}; exec \"$@\"");
        assert_eq!(
            replay_long(&path)
                .under(["sh", "-c", &shell, "sh"])
                .run()
                .list(),
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
        let outcome = replay_long(&path)
            .under(["unshare", "-m", "sh", "-c", &shell, "sh"])
            .run();
        rescued(&outcome, &path, "No space left on device");
        assert!(outcome.stdout == long().expected());
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
    let outcome = replay_long("/dev/full").run();
    rescued(&outcome, Path::new("/dev/full"), "No space left on device");
    assert!(outcome.stdout == long().expected());
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there");
    let outcome = replay_long("-").stdout(full).run();
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
    let capture = replay_long("-").stdout(writer).spawn();
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

#[test]
fn descriptors_are_written_to() {
    let folder = Folder::new();
    let log = folder.join("log");
    for (number, name) in [(1, "/dev/stdout"), (1, "/proc/self/fd/1"), (7, "/dev/fd/7")] {
        fs::write(&log, "before\n").expect("a file");
        symlink(name, folder.join("link")).expect("a link");
        for output in [Path::new(name), &folder.join("link")] {
            let shell = format!("exec \"$@\" {number}>>{}", log.display());
            let outcome = replay_long(output).under(["sh", "-c", &shell, "sh"]).run();
            assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        }
        let mut expected = b"before\n".to_vec();
        expected.extend(long().expected());
        expected.extend(long().expected());
        assert!(fs::read(&log).expect("a file") == expected, "{name}");
        fs::remove_file(folder.join("link")).expect("a link");
    }
}

#[test]
fn one_file_can_not_be_two_things() {
    let folder = Folder::new();
    symlink(folder.join("one"), folder.join("link")).expect("a link");
    let place = |name: &str| folder.join(name).display().to_string();
    for (first, second) in [
        ("-o", "-w"),
        ("-o", "--state"),
        ("--state", "--metrics-file"),
        ("-d --pid-file", "-o"),
        ("--config", "-o"),
        ("-r", "-o"),
    ] {
        fs::write(folder.join("one"), "").expect("a file");
        for name in ["one", "link", "../NAME/one"] {
            let own = folder.path().file_name().expect("a name").to_string_lossy();
            let name = name.replace("NAME", &own);
            let words = format!("{first} {} {second} {}", place("one"), place(&name));
            let outcome = Launch::new(words.split(' ')).run();
            assert_eq!(outcome.code, Some(2), "{words}: {outcome:?}");
            assert!(
                outcome.stderr.contains("are the same file"),
                "{words}: {}",
                outcome.stderr
            );
        }
        assert_eq!(
            fs::read(folder.join("one")).expect("a file"),
            b"",
            "{first} {second}"
        );
    }
}

#[test]
fn a_file_that_may_not_grow_is_told_of() {
    let folder = Folder::new();
    let path = folder.join("list");
    fs::write(&path, "old").expect("a file");
    let outcome = replay_long(&path)
        .under(["sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"])
        .run();
    rescued(&outcome, &path, "File too large");
    assert!(outcome.stdout == long().expected());
    assert_eq!(fs::read(&path).expect("a file"), b"old");
}

#[test]
fn what_a_killed_process_has_left_goes_with_the_next_start() {
    let folder = Folder::new();
    let path = folder.join("list");
    // It is killed when it has the temporary file open, before that has its name.
    let outcome = replay_long(&path)
        .under("strace -f -qq -o /dev/null -e inject=fsync:signal=KILL:when=1".split(' '))
        .run();
    assert_eq!(outcome.code, None, "{outcome:?}");
    let names = || {
        let entries = fs::read_dir(folder.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names().len(), 1, "{:?}", names());
    assert_ne!(names(), ["list"]);
    assert_eq!(replay_long(&path).run().list(), "");
    assert_eq!(names(), ["list"]);
}
