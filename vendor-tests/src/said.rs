//! What the program says of a text.

use std::path::Path;

use crate::files::{file, on};
use crate::temp::Folder;

/// Flows as `protocol source destination port confirmed connections`, and the exit status.
pub fn read(name: &str, text: &[u8]) -> (Vec<String>, Option<i32>, String) {
    let folder = Folder::new();
    shown(&file(&folder, name, text))
}

/// The same of a file.
pub fn shown(path: &Path) -> (Vec<String>, Option<i32>, String) {
    let outcome = on("show --format csv", &[path]);
    assert!(!outcome.stderr.contains('\x1b'), "{}", outcome.stderr);
    let text = outcome.text();
    let flows = text.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        [1, 3, 6, 7, 11, 12].map(|cell| cells[cell]).join(" ")
    });
    (flows.collect(), outcome.code, outcome.stderr)
}

/// What a text says, with its exit status.
#[track_caller]
pub fn says(text: &str, flows: &[&str], status: i32) -> String {
    let (found, code, stderr) = read("pasted.txt", text.as_bytes());
    assert_eq!(found, flows, "{text}\n{stderr}");
    assert_eq!(code, Some(status), "{text}\n{stderr}");
    stderr
}

/// The header of `nfdump -o csv`, version 1.6.
pub const NFDUMP: &str = "ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt";

/// A row of nfdump: source and destination with their ports or type, protocol, packets.
pub fn row(from: (&str, &str), to: (&str, &str), protocol: &str, packets: u32) -> String {
    let ((source, sport), (destination, dport)) = (from, to);
    format!(
        "2026-11-26 10:00:01,2026-11-26 10:00:02,1.0,{source},{destination},{sport},{dport},{protocol},..,0,0,{packets},252,0,0\n"
    )
}
