//! How a capture is taken, in plain values: made once, of a command line or of whatever else says it.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::selection::Selection;
use crate::sources::method::Source;

/// How a capture is taken and what for.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// The name by which another network namespace than the program's own was entered.
    pub netns: Option<String>,
    /// Filters, for the description of the capture.
    pub selection: Selection,
    /// Whether the connections that were open before are listed too.
    pub existing: bool,
    /// Whether the kernel is to have connections tracked as long as the capture runs.
    pub track: bool,
    /// When the capture ends by itself.
    pub duration: Option<Duration>,
    /// How often a list is made besides the one at the end.
    pub interval: Option<Duration>,
    /// Whether every interval begins with an empty list.
    pub reset: bool,
    /// After which time a flow that is not seen any more is forgotten.
    pub forget: Option<Duration>,
    /// Whether records are kept, and not only what the classic list needs.
    pub keeps_records: bool,
    /// What is to be told of rules, if anything is.
    pub rules: Option<Rules>,
    /// Whether names are learnt from DNS that passes.
    pub learn_names: bool,
    /// Where events are recorded.
    pub write: Option<PathBuf>,
    /// How the sockets that receive events are set up.
    pub reception: Reception,
}

/// What is to be told of rules.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether flows that did not get through are listed too.
    pub denied: bool,
    /// Whether rules of iptables-legacy are followed too.
    pub legacy: bool,
}

/// How events are received.
#[derive(Clone, Debug)]
pub struct Reception {
    /// The source that was asked for.
    pub source: Source,
    /// What keeps the source `kernel` from serving, if anything does.
    pub unfit_for_kernel: Option<&'static str>,
    /// Receive buffer to start with, in bytes.
    pub buffer: u32,
    /// How far it may grow.
    pub buffer_max: u32,
    /// Number of sockets, each with a thread and its share of the flows.
    pub workers: u32,
    /// Whether the kernel may drop what cannot change the list.
    pub prefilter: bool,
    /// Whether protocols are recorded that the classic list does not have.
    pub all_protocols: bool,
    /// Whether events of all namespaces that have an id here are received.
    pub all_netns: bool,
    /// Whether the kernel keeps the ends of connections until they are delivered.
    pub reliable: bool,
    /// How many flows are kept at most, which the BPF program's tables are made for.
    pub max_flows: usize,
    /// Whether it is not enough to know of each flow once.
    pub more_than_flows: bool,
    /// Whether source ports are told apart that lists show as one.
    pub exact_ports: bool,
}
