//! Formats of files: what writes one and what reads it again lie side by side.
//! A format works on bytes and records; which file it is and what becomes of the records is decided elsewhere.
//! May import: `model`, `netlink`, `intake` (copies of its table, which the classic list is written from).

pub mod classic;
pub mod conntrack;
pub mod csv;
pub mod exports;
pub mod json;
pub mod pcap;
