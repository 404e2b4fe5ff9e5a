//! The conntracker library.
pub mod flood;
