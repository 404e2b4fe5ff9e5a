//! The JSON form against its schema, docs/schema.json, by another implementation.

use std::io::Write;
use std::process::{Command, Stdio};

/// The schema.
pub const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.json");
const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/schema.py");

/// Asserts that each line is as the schema says.
///
/// Panics: if one is not, or python3-jsonschema is not installed.
pub fn assert_holds(lines: &str) {
    let mut child = Command::new("python3")
        .args([CHECK, SCHEMA])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python is installed");
    let mut input = child.stdin.take().expect("a pipe");
    // It ends early where something is wrong, and says so below.
    let _ = input.write_all(lines.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{lines}");
}
