//! Helpers of the tests against the vendor's parts. The C side (`c/`) is linked
//! through this crate: a test that calls it says `use vendor_tests as _`.

pub mod netns;
