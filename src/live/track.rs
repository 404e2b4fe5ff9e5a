//! `--track`: connection tracking for as long as the program runs.
//!
//! The kernel tracks connections only in network namespaces where a rule needs it
//! (`nf_ct_netns_get`, net/netfilter/nf_conntrack_proto.c). This adds a table of our own
//! ([`own_table`](crate::os::own_table)). What it amounts to:
//!
//! ```text
//! table inet conntracker-PID {
//!     flags owner
//!     chain prerouting { type filter hook prerouting priority filter; ct state new }
//!     chain output { type filter hook output priority filter; ct state new }
//! }
//! ```
//!
//! The rules have no verdict: they change nothing about any packet.

use std::io;

use crate::model::error::Error;
use crate::netlink::nftables::{Batch, ct_state_new};
use crate::netlink::uapi::{
    NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING, NFT_MSG_NEWRULE, NLM_F_APPEND, NLM_F_CREATE,
};
use crate::os::own_table::{OwnTable, Purpose};

/// Connection tracking, on until this is dropped.
#[derive(Debug)]
pub struct Track {
    _table: OwnTable,
}

impl Track {
    /// Switches connection tracking on in this network namespace.
    ///
    /// Errors: no privilege, or a kernel without nftables or its `ct` expression.
    pub fn start() -> Result<Self, Error> {
        let table = OwnTable::new(Purpose::Track, rules).map_err(|error| {
            Error::new(match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    "--track needs CAP_NET_ADMIN: run with sudo".to_owned()
                }
                _ => format!(
                    "--track: this kernel refuses an nftables table with a rule that matches ct state ({error}); it \
                     takes nf_tables and nft_ct. Without --track, any rule that needs connection tracking will do, \
                     for example: iptables -A OUTPUT -m conntrack --ctstate NEW"
                ),
            })
        })?;
        Ok(Self { _table: table })
    }

    /// The same by a table without an owner, as on kernels that have no such thing.
    ///
    /// Errors: the kernel's.
    pub fn named() -> io::Result<Self> {
        let table = OwnTable::named(Purpose::Track, rules)?;
        Ok(Self { _table: table })
    }
}

fn rules(batch: &mut Batch, table: &str) {
    for (chain, hook) in [
        ("prerouting", NF_INET_PRE_ROUTING),
        ("output", NF_INET_LOCAL_OUT),
    ] {
        batch.base_chain(table, chain, hook, 0);
        batch.request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |body| {
            body.text(1, table);
            body.text(2, chain);
            body.nest(4, ct_state_new);
        });
    }
}
