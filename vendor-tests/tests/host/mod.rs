//! What the tests of the whole program share: the program, a network namespace of their own, and
//! commands that have to succeed.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Whether the tests can do what they need root for. Says so aloud where not.
pub fn is_root(test: &str) -> bool {
    let root = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.split_whitespace().take(3).eq(["Uid:", "0", "0"]));
    if !root {
        vendor_tests::skipped!("{test}: network namespaces and mounts take root");
    }
    root
}

/// The program under test, never an old build.
pub fn program() -> PathBuf {
    vendor_tests::program::conntracker().to_owned()
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a command that has to succeed and returns what it wrote to standard output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    assert!(
        status.success(),
        "{command:?}: {status}\n{stdout}{}",
        String::from_utf8_lossy(&stderr)
    );
    stdout
}

/// Runs a script that has to succeed.
#[track_caller]
pub fn sh(script: &str) -> String {
    run(Command::new("sh").args(["-euc", script]))
}

/// Waits until `condition` gives a value.
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process that is killed with this value.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace with a loopback, which goes with this value.
pub struct Namespace(String);

impl Namespace {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let name = format!("conntracker-{name}-{}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self(name);
        run(namespace.command("ip").args(["link", "set", "lo", "up"]));
        namespace
    }

    /// A command in it, with mounts of its own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// Has a packet answered and one not.
    pub fn make_traffic(&self) {
        run(self
            .command("ping")
            .args(["-c", "1", "-W", "2", "127.0.0.1"]));
        // Nobody listens there; that the datagram was sent is all that matters.
        let _ = self
            .command("sh")
            .args(["-c", "echo x | nc -u -w 1 127.0.0.1 9"])
            .output();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// What [`Namespace::make_traffic`] has in the list.
pub const TRAFFIC: &str = "\
\x20UDPv4 [           0] src = 127.0.0.1 (port=1024) to dst = 127.0.0.1 (port=9)
ICMPv4 [           0] src = 127.0.0.1 to dst = 127.0.0.1 (type=0 | code=0) (confirmed)
";
