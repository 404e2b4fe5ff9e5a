//! Compressed captures: what is in them is what is read.

use std::process::{Command, Stdio};

use vendor_tests::files::{file, on, with_stdin};
use vendor_tests::temp::Folder;

const PROGRAMS: [&str; 3] = ["gzip", "xz", "zstd"];
const TABLE: &str = "tcp      6 431999 ESTABLISHED src=192.0.2.10 dst=198.51.100.5 sport=40001 dport=443 src=198.51.100.5 dst=192.0.2.10 sport=443 dport=40001 [ASSURED] mark=0 use=1\n";

/// Packs by the program itself.
fn packed(program: &str, content: &[u8]) -> Vec<u8> {
    let folder = Folder::new();
    let plain = file(&folder, "plain", content);
    let packed = Command::new(program).arg("-c").arg(plain).output();
    let packed = packed.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(packed.status.success(), "{packed:?}");
    packed.stdout
}

#[test]
fn every_form_is_read_out_of_every_packing() {
    let folder = Folder::new();
    let text = file(&folder, "text", TABLE);
    let json = on("show --format json", &[&text]).text();
    let recording = vendor_tests::pcap::write(&[]);
    for content in [TABLE.as_bytes(), json.as_bytes(), &recording] {
        let plain = on("show --format json", &[&file(&folder, "plain", content)]).list();
        for program in PROGRAMS {
            let bytes = packed(program, content);
            let path = file(&folder, "packed", &bytes);
            assert_eq!(
                on("show --format json", &[&path]).list(),
                plain,
                "{program}"
            );
            assert_eq!(
                with_stdin("show --format json -", &bytes).list(),
                plain,
                "{program}"
            );
        }
    }
}

#[test]
fn what_is_cut_or_damaged_is_an_error() {
    let folder = Folder::new();
    let many = TABLE.repeat(5000);
    for program in PROGRAMS {
        let bytes = packed(program, many.as_bytes());
        for len in [5, bytes.len() / 2, bytes.len() - 1] {
            let outcome = on("show", &[&file(&folder, "cut", &bytes[..len])]);
            assert_eq!(outcome.code, Some(1), "{program} {len}: {outcome:?}");
            assert!(outcome.stderr.contains("cut: "), "{}", outcome.stderr);
        }
        let twice = packed(program, &bytes);
        let outcome = on("show", &[&file(&folder, "twice", twice)]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("twice"), "{}", outcome.stderr);
    }
}

#[test]
fn a_program_that_is_missing_is_named() {
    let folder = Folder::new();
    for program in PROGRAMS {
        let path = file(&folder, "packed", packed(program, TABLE.as_bytes()));
        let output = Command::new(vendor_tests::program::conntracker())
            .arg("show")
            .arg(path)
            .env("PATH", folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(program), "{said}");
    }
}

#[test]
fn what_unpacks_without_end_is_given_up() {
    let folder = Folder::new();
    let path = folder.join("bomb");
    let mut zeros = Command::new("head")
        .args(["-c", "1200M", "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("head");
    let status = Command::new("zstd")
        .args(["-q", "-o"])
        .arg(&path)
        .stdin(zeros.stdout.take().expect("a pipe"))
        .status()
        .expect("zstd");
    zeros.wait().expect("it ends");
    assert!(status.success());
    let outcome = on("show", &[&path]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("times its size"),
        "{}",
        outcome.stderr
    );
}
