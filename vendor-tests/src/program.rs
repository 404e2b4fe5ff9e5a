//! The programs under test, built before they are used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program: `CONNTRACKER_BIN` if set, else built in the profile that the test runs in.
pub fn conntracker() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("CONNTRACKER_BIN") {
        Some(path) => std::path::absolute(path).expect("CONNTRACKER_BIN is a path"),
        None => built().join("conntracker"),
    })
}

/// The generator of synthetic entries, likewise; `CONNTRACKER_FLOOD_BIN` names another.
pub fn flood() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("CONNTRACKER_FLOOD_BIN") {
        Some(path) => std::path::absolute(path).expect("CONNTRACKER_FLOOD_BIN is a path"),
        None => built().join("conntracker-flood"),
    })
}

/// Builds both and returns their folder. Cargo builds no programs of another package for a test, so
/// without this an old one, or none, would be tested.
fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // target/[TRIPLE/]PROFILE/deps/TEST-HASH
        let test = std::env::current_exe().expect("a test binary knows its path");
        let folder = test
            .ancestors()
            .nth(2)
            .expect("cargo puts tests two folders down");
        let above = folder.parent().expect("the profile's folder is in another");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => panic!("{}: no profile", folder.display()),
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args([
                "build",
                "--quiet",
                "--bin",
                "conntracker",
                "--bin",
                "conntracker-flood",
            ])
            .args(["--package", "conntracker", "--package", "conntracker-flood"])
            .args(["--profile", profile])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
        // Cargo keeps what it knows of the compiler in the target folder itself, not in those of triples. (It
        // marks the folder with a CACHEDIR.TAG only if it made it.)
        if above.join(".rustc_info.json").exists() {
            build.arg("--target-dir").arg(above);
        } else {
            build
                .arg("--target")
                .arg(above.file_name().expect("a target triple"));
            build
                .arg("--target-dir")
                .arg(above.parent().expect("a target folder"));
        }
        let output = build.output().expect("cargo starts");
        assert!(
            output.status.success(),
            "{build:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        folder.to_owned()
    })
}

/// Runs a command to its end and returns its standard output.
///
/// Panics: if it fails.
pub fn run<S: AsRef<std::ffi::OsStr>>(
    program: impl AsRef<std::ffi::OsStr>,
    args: impl IntoIterator<Item = S>,
) -> String {
    let mut command = Command::new(program);
    command.args(args);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether this machine gives a user without privileges (nobody) a user namespace and a network namespace in it.
pub fn nobody_may_have_namespaces() -> bool {
    let words = "--reuid=65534 --regid=65534 --clear-groups unshare -Urn true";
    let may = Command::new("setpriv").args(words.split(' ')).output();
    may.is_ok_and(|output| output.status.success())
}
