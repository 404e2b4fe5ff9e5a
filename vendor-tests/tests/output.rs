//! Where the list goes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::skipped;
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
    for (umask, mode) in [("027", 0o640), ("000", 0o640), ("077", 0o600)] {
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

/// Files of others: the name of an option, and what is told of it.
#[test]
fn a_link_of_a_stranger_is_refused_wherever_a_file_is_written() {
    netns::run(
        "a_link_of_a_stranger_is_refused_wherever_a_file_is_written",
        || {
            if !rustix::process::geteuid().is_root()
                || std::env::var_os("VENDOR_TESTS_INSIDE_USER_NAMESPACE").is_some()
            {
                skipped!("only root can give files to others");
                return;
            }
            let folder = Folder::new();
            let precious = folder.join("precious");
            fs::write(&precious, "precious").expect("a file");
            let link = folder.join("link");
            symlink(&precious, &link).expect("a link");
            lchown(&link, Some(65534), Some(65534)).expect("root may");
            let list = folder.join("list");
            let (list, link) = (list.as_os_str(), link.as_os_str());
            let capture = ["--duration".as_ref(), "1s".as_ref(), "-o".as_ref()];
            let mut attempts = vec![vec!["-o".as_ref(), link]];
            for option in ["--state", "--metrics-file", "-w"] {
                attempts.push(vec!["-o".as_ref(), list, option.as_ref(), link]);
            }
            attempts.push(vec![
                "-d".as_ref(),
                "-o".as_ref(),
                list,
                "--pid-file".as_ref(),
                link,
            ]);
            for mut attempt in attempts {
                attempt.extend(&capture[..2]);
                let outcome = Launch::new(attempt.clone()).run();
                assert_eq!(outcome.code, Some(1), "{attempt:?}: {outcome:?}");
                assert!(
                    outcome.stderr.contains("uid 65534"),
                    "{attempt:?}: {}",
                    outcome.stderr
                );
                assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
            }
            let pcap = vector().pcap();
            let rules =
                Launch::new(["rules".as_ref(), pcap.as_os_str(), "-o".as_ref(), link]).run();
            assert_eq!(rules.code, Some(1), "{rules:?}");
            assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
        },
    );
}

/// A program that makes a link to a file and removes it again, as fast as it can, as another user.
const RACER: &str = r#"
import os, sys
link, target = sys.argv[1:]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print("ready", flush=True)
while True:
    try:
        os.symlink(target, link)
        for _ in range(50): pass
        os.unlink(link)
    except OSError:
        pass
"#;

#[test]
fn a_racer_in_a_sticky_folder_has_nothing_written_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        skipped!("only root can be somebody else");
        return;
    }
    let folder = Folder::new();
    let (sticky, private) = (folder.join("sticky"), folder.join("private"));
    fs::create_dir(&sticky).expect("a folder");
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).expect("ours");
    fs::create_dir(&private).expect("a folder");
    let precious = private.join("precious");
    fs::write(&precious, "precious").expect("a file");
    let list = sticky.join("list");
    let mut racer = Command::new("python3")
        .args(["-c", RACER])
        .args([&list, &precious])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut line = String::new();
    BufReader::new(racer.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    let mut outcomes = [0; 2];
    for _ in 0..150 {
        let outcome = replay(&list).run();
        outcomes[usize::from(outcome.code == Some(0))] += 1;
        assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
        assert_eq!(fs::read_dir(&private).expect("a folder").count(), 1);
        // So that the racer gets its turn again.
        if fs::symlink_metadata(&list).is_ok_and(|found| found.is_file()) {
            fs::remove_file(&list).expect("ours");
        }
    }
    racer.kill().expect("it runs");
    racer.wait().expect("it ends");
    eprintln!(
        "refused {} times, written {} times",
        outcomes[0], outcomes[1]
    );
}

#[test]
fn what_a_stranger_has_left_says_nothing_of_owner_and_mode() {
    if !rustix::process::geteuid().is_root() {
        skipped!("only root can give files to others");
        return;
    }
    let folder = Folder::new();
    let list = folder.join("list");
    let found = || {
        let found = fs::metadata(&list).expect("a list");
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let umask = ["sh", "-c", "umask 022; exec \"$@\"", "sh"];
    let write = || assert_eq!(replay(&list).under(umask).run().list(), "");
    let mode = |mode| fs::set_permissions(&list, fs::Permissions::from_mode(mode)).expect("ours");
    fs::write(&list, "").expect("a file");
    mode(0o666);
    chown(&list, Some(65534), Some(65534)).expect("root may");
    write();
    assert_eq!(found(), (0, 0, 0o640), "a stranger's");
    // What we have made ourselves stays as an administrator has set it, but for bits that change who runs a program.
    chown(&list, None, Some(4)).expect("root may");
    mode(0o6604);
    write();
    assert_eq!(found(), (0, 4, 0o604), "our own");
    // Nor does a file of ours that a stranger may have given this name.
    fs::remove_file(&list).expect("ours");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("ours");
    let program = folder.join("program");
    fs::write(&program, "").expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    fs::hard_link(&program, &list).expect("a link");
    write();
    assert_eq!(found(), (0, 0, 0o640), "linked");
}

#[test]
fn a_state_that_a_stranger_has_made_up_is_not_gone_on_with() {
    let test = "a_state_that_a_stranger_has_made_up_is_not_gone_on_with";
    netns::run(test, || {
        let folder = Folder::new();
        let (list, state) = (folder.join("list"), folder.join("state"));
        let launch = || {
            let words = [
                "-o".as_ref(),
                list.as_os_str(),
                "--state".as_ref(),
                state.as_os_str(),
            ];
            Launch::new(words)
        };
        assert_eq!(launch().start().finish().code, Some(0));
        if chown(&state, Some(65534), Some(65534)).is_err() {
            skipped!("{test}: only root can give files to others");
            return;
        }
        let before = fs::read(&state).expect("a state");
        let outcome = launch().run();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("uid 65534"), "{}", outcome.stderr);
        assert_eq!(fs::read(&state).expect("it is there"), before);
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
            let outcome = replay(output).under(["sh", "-c", &shell, "sh"]).run();
            assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        }
        let mut expected = b"before\n".to_vec();
        expected.extend(vector().expected());
        expected.extend(vector().expected());
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
    let outcome = replay(&path)
        .under(["sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"])
        .run();
    rescued(&outcome, &path, "File too large");
    assert!(outcome.stdout == vector().expected());
    assert_eq!(fs::read(&path).expect("a file"), b"old");
}

#[test]
fn what_a_killed_process_has_left_goes_with_the_next_start() {
    let folder = Folder::new();
    let path = folder.join("list");
    // It is killed when it has the temporary file open, before that has its name.
    let outcome = replay(&path)
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
    assert_eq!(replay(&path).run().list(), "");
    assert_eq!(names(), ["list"]);
}
