//! What keeps events away, and what to do about it: the checks of `conntracker doctor`.
//!
//! A file is a check: it looks, which changes nothing and takes a bounded time, and it judges what it has
//! seen, which can be tested without a kernel. Each check makes one [`finding::Finding`], always and in the
//! same place, whoever runs it.
//!
//! Files are read below /proc/thread-self/net: /proc/net is the network namespace of the process's first
//! thread, while sockets are those of the calling one.
//!
//! May import: `model`, `netlink`, `os`, `formats` (JSON), `sources` (their sockets and programs).

pub mod events;
pub mod extras;
pub mod finding;
pub mod kernel;
pub mod listeners;
pub mod listening;
pub mod module;
pub mod need;
pub mod offload;
pub mod program;
pub mod query;
pub mod report;
pub mod rights;
pub mod ruleset;
pub mod table;
pub mod tracking;
pub mod xtables;

use std::panic::resume_unwind;
use std::thread;

use finding::Finding;
use kernel::Kernel;
use listeners::Listener;
use listening::Listening;
use program::Program;
use rights::Rights;
use table::Table;
use tracking::{Signs, Tracking};

use crate::os::sysctl::sysctl;
use crate::sources::tuning::Settings;

/// All that was looked at.
#[derive(Debug)]
pub struct Facts {
    kernel: Kernel,
    conntrack_events: Option<u64>,
    rights: Rights,
    tracking: Tracking,
    table: Table,
    accounting: Option<u64>,
    timestamps: Option<u64>,
    listeners: Option<Vec<Listener>>,
    listening: Listening,
    program: Program,
}

impl Facts {
    /// Looks at everything, with a socket like that of a capture with these settings. Takes two seconds at
    /// the most.
    pub fn look(settings: &Settings) -> Self {
        let kernel = Kernel::look();
        // Before there is a socket of our own.
        let listeners = listeners::look();
        // Rules are read while nothing is done but to listen.
        let ((listening, socket), tracking) = thread::scope(|scope| {
            let tracking = scope.spawn(Tracking::look);
            let listening = Listening::look(settings, kernel.can_be_asked());
            let tracking = tracking.join();
            (
                listening,
                tracking.unwrap_or_else(|panic| resume_unwind(panic)),
            )
        });
        Self {
            conntrack_events: sysctl("nf_conntrack_events"),
            rights: Rights::look(),
            tracking,
            table: Table::look(),
            accounting: sysctl("nf_conntrack_acct"),
            timestamps: sysctl("nf_conntrack_timestamp"),
            program: Program::look(socket.as_ref()),
            kernel,
            listeners,
            listening,
        }
    }

    /// Judges everything, in the order in which it matters.
    pub fn judge(&self) -> Vec<Finding> {
        let signs = Signs {
            entries: self.table.count,
            events: self.listening.traffic().map_or(0, |traffic| traffic.events),
        };
        vec![
            kernel::judge(&self.kernel),
            rights::judge(&self.rights, self.listening.denied()),
            events::judge(self.conntrack_events, self.kernel.conntrack),
            tracking::judge(&self.tracking, signs),
            table::judge(&self.table),
            listening::judge_traffic(&self.listening, self.conntrack_events),
            listening::judge_buffer(&self.listening),
            listeners::judge(self.listeners.as_deref()),
            offload::judge(&self.tracking.nftables),
            program::judge_source(&self.program),
            program::judge_jit(&self.program),
            rights::judge_names(&self.rights),
            extras::judge_accounting(self.accounting),
            extras::judge_timestamps(self.timestamps),
        ]
    }
}
