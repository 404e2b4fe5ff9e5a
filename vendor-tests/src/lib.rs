//! Helpers of the tests against the vendor's real parts. The C side (`c/`) is linked through this crate:
//! a test that calls it says `use vendor_tests as _`.

pub mod attempts;
pub mod beside;
pub mod capture;
pub mod checking;
pub mod faults;
pub mod files;
pub mod findings;
pub mod flooding;
pub mod judging;
pub mod lab;
pub mod listed;
pub mod model;
pub mod netns;
pub mod pcap;
pub mod program;
pub mod properties;
pub mod room;
pub mod schema;
pub mod sieve;
pub mod soak;
pub mod temp;
pub mod terminal;
pub mod vectors;
pub mod wait;
pub mod witness;
pub mod world;

/// Says aloud that a test, or a part of it, is left out, and why. Not by `println!`, which the test harness
/// keeps to itself as long as the test passes.
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: {}", format_args!($($why)*));
    }};
}
