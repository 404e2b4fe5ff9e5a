//! Helpers of the tests against the vendor's real parts. The C side (`c/`) is linked through this crate:
//! a test that calls it says `use vendor_tests as _`.

pub mod attempts;
pub mod beside;
pub mod capture;
pub mod checking;
pub mod estate;
pub mod faults;
pub mod field;
pub mod files;
pub mod findings;
pub mod firewall;
pub mod flooding;
pub mod helped;
pub mod judging;
pub mod lab;
pub mod listed;
pub mod model;
pub mod netns;
pub mod office;
pub mod pcap;
pub mod probes;
pub mod program;
pub mod properties;
pub mod room;
pub mod rulegen;
pub mod said;
pub mod schema;
pub mod sieve;
pub mod soak;
pub mod temp;
pub mod terminal;
pub mod vectors;
pub mod wait;
pub mod week;
pub mod witness;
pub mod world;
pub mod worlds;

/// Says aloud that a test, or a part of it, is left out, and why. With `VENDOR_TESTS_STRICT=1`, as on the machine of
/// continuous integration, that is a failure unless `MAY_BE_SKIPPED` has the reason: a suite that skips itself is
/// green as well.
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => { $crate::skip(&format!($($why)*)) };
}

/// What may be skipped on the machine of continuous integration, by how the reason begins, and why that is so.
const MAY_BE_SKIPPED: [(&str, &str); 8] = [
    ("no reference:", "the C tool is not part of this project"),
    ("ulogd2 is not there", "not every Debian has its package"),
    ("nfdump is not there", "not every Debian has its package"),
    ("suricata is not there", "Debian 12 has no package of it"),
    (
        "chromium is not there",
        "Ubuntu has it as a snap only, which can't be installed in a container",
    ),
    (
        "chdb is not installed",
        "555 MB are fetched only if asked for",
    ),
    (
        "a_flowtable_is_told:",
        "depends on how the kernel was built",
    ),
    (
        "a release build has no places",
        "the tests run with a debug build there",
    ),
];

/// See [`skipped`].
///
/// Panics: if nothing may be skipped without being listed, and this is not.
pub fn skip(why: &str) {
    // Not by `println!`, which the test harness keeps to itself as long as the test passes.
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    let is_strict = std::env::var_os("VENDOR_TESTS_STRICT").is_some_and(|it| it == "1");
    assert!(
        !is_strict || may_be_skipped(why),
        "nothing else may be skipped here: {why}"
    );
}

fn may_be_skipped(why: &str) -> bool {
    MAY_BE_SKIPPED
        .iter()
        .any(|(begin, _)| why.starts_with(begin))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_listed_reasons_count() {
        assert!(super::may_be_skipped("no reference: there is none"));
        assert!(!super::may_be_skipped("because it is Thursday"));
    }
}
