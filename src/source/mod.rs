//! Where observations come from: a recorded file, or the kernel by one of several ways.

pub mod batch;
pub mod callback;
pub mod dump;
pub mod entry;
pub mod file;
#[cfg(feature = "ebpf")]
pub mod kernel;
pub mod method;
pub mod receiver;
pub mod record;
pub mod tuning;
