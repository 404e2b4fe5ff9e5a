//! Other users of the machine, who may write where lists, states and figures go: links, pipes and files of theirs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::process::{Command, Stdio};

use vendor_tests::capture::Launch;
use vendor_tests::netns;
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::vectors::{long, replay_long};

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
            let pcap = long().pcap();
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
        let outcome = replay_long(&list).run();
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
    let write = || assert_eq!(replay_long(&list).under(umask).run().list(), "");
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
