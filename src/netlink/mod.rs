//! Netlink: messages as they lie in a datagram, requests to the kernel, and decoding of connection-tracking events.
//! Every constant of the kernel that the program needs and libc lacks has its place here.
//! May import: `model`.

pub mod build;
pub mod conntrack;
pub mod framing;
pub mod nflog;
pub mod nftables;
pub mod request;
pub mod uapi;
