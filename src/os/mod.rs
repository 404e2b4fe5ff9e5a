//! The operating system: sockets and their filters, namespaces, signals, clocks, the host.
//! Each file wraps one facility and knows nothing of flows beyond what the facility filters or describes.
//! May import: `model`, `netlink`.

#[cfg(feature = "ebpf")]
pub mod bpf;
pub mod classic_bpf;
pub mod clock;
pub mod fault;
pub mod host;
pub mod map_memory;
pub mod namespace;
pub mod namespaces;
pub mod nf_log;
mod nsid;
pub mod own_table;
mod policy;
pub mod prefilter;
pub mod release;
pub mod resolver;
pub mod signals;
pub mod socket;
pub mod sysctl;
pub mod user_namespace;
