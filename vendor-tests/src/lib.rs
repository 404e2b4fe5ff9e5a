//! Helpers of the tests against the vendor's real parts. The C side (`c/`) is linked through this crate:
//! a test that calls it says `use vendor_tests as _`.

pub mod capture;
pub mod flooding;
pub mod lab;
pub mod model;
pub mod netns;
pub mod pcap;
pub mod program;
pub mod room;
pub mod sieve;
pub mod temp;
pub mod terminal;
pub mod vectors;
pub mod wait;
pub mod witness;
