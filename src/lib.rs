//! conntracker lists the distinct network flows that pass a Linux gateway.
//!
//! Data flows one way: a source delivers messages, [`decode`] makes each an
//! [`flow::Observation`], [`table`] folds them into distinct flows, and at dump time a
//! [`snapshot`] of it is put in [`order`] and written by [`output`]. ARCHITECTURE.md in the
//! repository is the map.
#![deny(unsafe_code)]

pub mod address;
pub mod capture;
pub mod check;
pub mod cli;
pub mod clock;
pub mod collection;
pub mod command;
pub mod conditions;
pub mod config;
pub mod console;
pub mod contents;
pub mod daemon;
pub mod decode;
pub mod description;
pub mod difference;
pub mod doctor;
pub mod dumps;
pub mod error;
pub mod fault;
pub mod flood;
pub mod flow;
pub mod group;
pub mod host;
pub mod icmp;
pub mod intake;
pub mod json;
pub mod kernel_stat;
pub mod listen;
pub mod live;
pub mod lock;
pub mod metrics;
pub mod monitor;
pub mod namespace;
pub mod namespaces;
pub mod netlink;
pub mod notify;
pub mod order;
pub mod output;
pub mod pcap;
pub mod pid_file;
pub mod printable;
pub mod printer;
pub mod progress;
pub mod reader;
pub mod record;
pub mod records;
pub mod recovery;
pub mod replay;
pub mod rules;
pub mod run;
pub mod sandbox;
pub mod select;
pub mod services;
pub mod session;
pub mod sighting;
pub mod signals;
pub mod snapshot;
pub mod socket;
pub mod source;
pub mod state;
pub mod stripes;
pub mod syslog;
pub mod table;
pub mod tally;
pub mod thin;
pub mod timestamp;
pub mod track;
pub mod units;
pub mod unlisted;
pub mod verdict;
