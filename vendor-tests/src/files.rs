//! Captures as files, and commands on them.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::capture::{Launch, Outcome};
use crate::program::conntracker;
use crate::temp::Folder;

/// Runs a command on files.
pub fn on(words: &str, files: &[&Path]) -> Outcome {
    let words = words.split_whitespace().map(OsStr::new);
    Launch::new(words.chain(files.iter().map(|path| path.as_os_str()))).run()
}

/// Runs a command with standard input.
///
/// Panics: if it does not read all of it.
pub fn with_stdin(words: &str, input: &[u8]) -> Outcome {
    let mut child = Command::new(conntracker())
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Outcome {
        stdout: output.stdout,
        said: stderr.clone(),
        stderr,
        code: output.status.code(),
        signal: None,
    }
}

/// Makes a file.
///
/// Panics: if it can't be made.
pub fn file(folder: &Folder, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).expect("a file");
    path
}

/// How the description of a capture on a host begins.
pub const CAPTURE: &str = r#"{"type":"capture","schema":1,"host":"gw""#;

/// A capture of two flows on a host, from one day of January 2026 to another (`05 06`); `seen` is what both
/// flows have of times.
///
/// Panics: if `span` is not two days.
pub fn captured(span: &str, connections: [u64; 2], confirmed: bool, seen: &str) -> String {
    let (start, end) = span.split_once(' ').expect("two times");
    let [first, second] = connections;
    format!(
        r#"{CAPTURE},"start":"2026-01-{start}T00:00:00.000000Z","end":"2026-01-{end}T00:00:00.000000Z"}}
{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"10.0.0.1","src_port":1024,"src_port_collapsed":true,"dst":"10.1.0.1","dst_port":443,"confirmed":{confirmed},"connections":{first}{seen}}}
{{"type":"flow","family":"ipv4","protocol":"icmp","protocol_number":1,"src":"10.0.0.2","dst":"10.1.0.1","icmp_type":8,"icmp_code":0,"icmp_name":"echo-request","confirmed":true,"connections":{second}{seen}}}
"#
    )
}
