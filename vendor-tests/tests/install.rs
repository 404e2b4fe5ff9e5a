//! `make install`: that it puts in place what the package has.

mod host;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use host::{program, repository, run};
use vendor_tests::temp::Folder;

/// Below which folder, of another name than the usual ones.
const PREFIX: &str = "/opt/x";

/// `make install` of the program under test.
fn make_install(into: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("make");
    // What a make around this one was told is not for this one.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR", "PREFIX"] {
        command.env_remove(variable);
    }
    command
        .current_dir(repository())
        .arg("install")
        .arg(format!("PREFIX={PREFIX}"))
        .arg(format!("DESTDIR={}", into.display()))
        .arg(format!("INSTALL_PROGRAM={}", program().display()))
        .args(more);
    command
}

/// The files below a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut command = Command::new("find");
    let found = run(command
        .current_dir(folder)
        .args([".", "-type", "f", "-printf", "/%P\n"]));
    found.lines().map(str::to_owned).collect()
}

/// Where `make install` has a file of the package; nothing for what belongs to packages alone.
fn place(path: &str) -> Option<String> {
    if path.starts_with("/usr/share/lintian/")
        || path.ends_with("/copyright")
        || path.contains(".Debian")
        || path == "/etc/default/conntracker"
    {
        return None;
    }
    let path = path
        .strip_suffix(".gz")
        .unwrap_or(path)
        .replace("/changelog", "/CHANGELOG.md")
        .replace("/zsh/vendor-completions/", "/zsh/site-functions/")
        .replace("/usr/lib/systemd/", "/etc/systemd/");
    Some(match path.strip_prefix("/usr/") {
        Some(rest) => format!("{PREFIX}/{rest}"),
        None => path,
    })
}

#[test]
fn what_the_package_has_is_installed() {
    let Some(deb) = env::var_os("CONNTRACKER_DEB") else {
        vendor_tests::skipped!("CONNTRACKER_DEB names no package; make test-package does");
        return;
    };
    if !repository().join("target/man/conntracker.8").exists() {
        vendor_tests::skipped!("target/man is not there: make man makes it");
        return;
    }
    let folder = Folder::new();
    run(&mut make_install(folder.path(), &[]));
    let listing = run(Command::new("dpkg-deb").arg("--contents").arg(deb));
    let wanted: BTreeSet<_> = listing
        .lines()
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| place(line.split_whitespace().nth(5)?.strip_prefix('.')?))
        .collect();
    assert!(wanted.len() > 20, "{listing}");
    assert_eq!(files(folder.path()), wanted);

    let installed = folder.join("opt/x/sbin/conntracker");
    assert!(run(Command::new(installed).arg("--version")).starts_with("conntracker "));
    let unit = fs::read_to_string(folder.join("etc/systemd/system/conntracker.service"));
    let unit = unit.expect("the unit");
    assert!(
        unit.contains("\nExecStart=/opt/x/sbin/conntracker --config /etc/conntracker/"),
        "{unit}"
    );

    // Once more, over options that somebody has set.
    let options = folder.join("etc/conntracker/conntracker.toml");
    fs::write(&options, "# mine\n").expect("a file of ours");
    run(&mut make_install(folder.path(), &[]));
    assert_eq!(fs::read_to_string(&options).expect("it"), "# mine\n");
}

#[test]
fn the_service_is_left_out_where_it_is_not_wanted() {
    if !repository().join("target/man/conntracker.8").exists() {
        vendor_tests::skipped!("target/man is not there: make man makes it");
        return;
    }
    let folder = Folder::new();
    run(&mut make_install(folder.path(), &["WITHOUT_SERVICE=1"]));
    let files = files(folder.path());
    assert!(files.contains("/opt/x/sbin/conntracker"), "{files:?}");
    assert!(
        !files.iter().any(|path| path.starts_with("/etc/")),
        "{files:?}"
    );
}

#[test]
fn what_is_not_built_yet_is_named() {
    let folder = Folder::new();
    let nothing = format!("INSTALL_PROGRAM={}", folder.join("nothing").display());
    let output = make_install(folder.path(), &[&nothing])
        .output()
        .expect("make is there");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("make build man first"), "{said}");
    assert_eq!(files(folder.path()), BTreeSet::new());
}
