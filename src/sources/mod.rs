//! Where observations come from: a recorded file, or the kernel by one of several ways.
//! All deliver to `intake`, and none knows of another.
//! May import: `model`, `netlink`, `os`, `intake`, `formats` (recordings).

pub mod batch;
pub mod callback;
pub mod dump;
pub mod entry;
pub mod file;
#[cfg(feature = "ebpf")]
pub mod kernel;
pub mod method;
mod monitor;
pub mod receiver;
pub mod record;
pub mod tuning;
