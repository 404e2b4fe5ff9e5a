//! Judging flows by a ruleset: `conntracker check`.
//!
//! The running kernel is the judge. The ruleset is loaded in a network namespace of its own, together with
//! the devices it names and the addresses and routes of the capture. Then the first packet of each flow is
//! injected: into the TUN device that the way back to its source leads to, or, if the source is the host
//! itself, through a raw socket. Where it comes out, if it does, is the verdict; if it does not, a trace
//! tells the rule. [`judge::Judge`] does all that.
//!
//! May import: `model`, `netlink`, `os`, `formats` (how JSON writes strings and flows), `trace` (trace events).

pub mod against;
pub mod catalog;
pub mod checksum;
pub mod confine;
pub mod coverage;
pub mod device;
pub mod doubt;
pub mod expectation;
pub mod flow;
pub mod form;
pub mod groups;
pub mod guard;
pub mod include;
pub mod judge;
pub mod limits;
pub mod load;
pub mod local;
pub mod namespace;
pub mod network;
pub mod packet;
pub mod policy;
pub mod repair;
pub mod report;
pub mod rules;
pub mod ruleset;
pub mod setup;
pub mod shape;
pub mod stand_in;
pub mod tool;
pub mod trace;
pub mod translation;
pub mod tun;
pub mod verdict;
pub mod wire;
