//! Which rules let a flow through, or stop it: the kernel's trace events of the first packet of each flow.
//! A gate of rules picks these packets, the events are decoded, and the steps of a packet become the path of its flow.
//! May import: `model`, `netlink`, `os`.
//!
//! ```text
//!  gate     a table of ours: the first packet of each flow gets `meta nftrace set 1`, no other
//!  event    one message of NFNLGRP_NFTRACE
//!  legacy   the same of iptables-legacy, which logs packets instead
//!  drops    how many packets of each flow were dropped, where that is asked for
//!  entry    the connection that the packet begins, where the event has its number
//!  headers  the flow that the packet begins
//!  paths    which rules decided on each flow
//! ```

pub mod drops;
pub mod entry;
pub mod event;
pub mod gate;
mod headers;
pub mod legacy;
pub mod listener;
pub mod paths;
pub mod report;
pub mod ruleset;
pub mod usage;
pub mod words;
