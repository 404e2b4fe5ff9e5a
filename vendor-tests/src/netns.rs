//! A fresh network namespace for a test.
//!
//! A network namespace belongs to a thread, so a test gets a thread of its own
//! that leaves for a new one; the namespace is gone when the thread and the
//! sockets made in it are. Programs started from that thread run in it too.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Set in the process a test was started again in.
const INSIDE: &str = "VENDOR_TESTS_INSIDE_USER_NAMESPACE";

/// Runs `body` in a fresh network namespace with `lo` up.
///
/// `test` is the full name of the calling test function. Without the right to
/// make a namespace, the test binary is started again for that one test under
/// `unshare -Urn`, where an unprivileged user has the right. Where that is
/// forbidden too, the test is skipped, aloud.
///
/// Panics: if `body` panics, or the test started again fails.
pub fn run(test: &str, body: impl FnOnce() + Send) {
    let panicked = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: takes flags only; CLONE_NEWNET concerns this thread.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
                sh("ip link set lo up");
                body();
            } else {
                again_in_user_namespace(test, &std::io::Error::last_os_error());
            }
        });
        thread.join()
    });
    if let Err(payload) = panicked {
        std::panic::resume_unwind(payload);
    }
}

fn again_in_user_namespace(test: &str, why: &std::io::Error) {
    if std::env::var_os(INSIDE).is_some() {
        crate::skipped!("{test}: no network namespace even in a user namespace: {why}");
        return;
    }
    let may = Command::new("unshare").args(["-Urn", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        crate::skipped!("{test}: needs root, or user namespaces that `unshare -Urn` can make");
        return;
    }
    let binary = std::env::current_exe().expect("a test binary knows its path");
    let status = Command::new("unshare")
        .arg("-Urn")
        .arg(binary)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare has just been started");
    assert!(status.success(), "{test} failed in a user namespace");
}

/// Runs a shell command in the namespace of the calling thread.
///
/// Panics: if it fails.
pub fn sh(command: &str) {
    let output = Command::new("/bin/sh")
        .arg0("sh")
        .args(["-ec", command])
        .output()
        .expect("/bin/sh is there");
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// [`run`], with names of network namespaces that are the test's own.
///
/// Panics: as [`run`].
pub fn run_with_names(test: &str, body: impl FnOnce() + Send) {
    run(test, || {
        // SAFETY: takes flags only; it concerns this thread and the programs that it will start.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        sh("mount --make-rprivate / && mount -t tmpfs none /run");
        body();
    });
}

/// Makes a namespace with a name, in which connections are tracked.
///
/// Panics: if it can't be made.
pub fn add(name: &str) {
    sh(&format!(
        "ip netns add {name}
         ip netns exec {name} ip link set lo up
         ip netns exec {name} nft 'table inet t {{ chain output {{
             type filter hook output priority 0; ct state new; }}; }}'"
    ));
}
