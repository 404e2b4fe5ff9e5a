//! `--track`: connection tracking for as long as the program runs.
//!
//! The kernel tracks connections only in network namespaces where a rule needs it
//! (`nf_ct_netns_get`, net/netfilter/nf_conntrack_proto.c). This adds an nftables table with the flag
//! `owner`: it belongs to the netlink socket that made it, nobody else can change it, `nft flush
//! ruleset` passes it over, and the kernel removes it when the socket closes, SIGKILL included
//! (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c, Linux 5.12). What it amounts to:
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
use std::os::fd::OwnedFd;

use crate::error::Error;
use crate::netlink::build::{Body, netfilter_message};
use crate::netlink::request::{self, Family, NLM_F_ACK, NLM_F_REQUEST};

// include/uapi/linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
// include/uapi/linux/netlink.h
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
// include/uapi/linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_TABLE_F_OWNER: u32 = 2;
const NFT_REG_1: u32 = 1;
const NFT_CT_STATE: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
/// `NF_CT_STATE_BIT(IP_CT_NEW)` of `nf_conntrack_common.h`, compared in host order.
const CT_STATE_NEW: u32 = 8;
const NFPROTO_INET: u8 = 1;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_OUT: u32 = 3;

/// What does the same on kernels without table owners, by hand.
const BY_HAND: &str = "nft 'table inet conntracker { \
    chain prerouting { type filter hook prerouting priority 0; ct state new; }; \
    chain output { type filter hook output priority 0; ct state new; }; }', \
    and afterwards: nft delete table inet conntracker";

/// Connection tracking, on until this is dropped.
#[derive(Debug)]
pub struct Track {
    /// Owns the table.
    _socket: OwnedFd,
}

impl Track {
    /// Switches connection tracking on in this network namespace.
    ///
    /// # Errors
    ///
    /// No privilege, or a kernel without nftables, its `ct` expression or table owners (Linux 5.12):
    /// the message says what to run instead.
    pub fn start() -> Result<Self, Error> {
        start().map(|socket| Self { _socket: socket }).map_err(|error| {
            Error::new(match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    "--track needs CAP_NET_ADMIN: run with sudo".to_owned()
                }
                _ => format!(
                    "--track: this kernel refuses an nftables table with an owner ({error}); it takes \
                     Linux 5.12 with nf_tables and nft_ct. Without --track, run before: {BY_HAND}"
                ),
            })
        })
    }
}

fn start() -> io::Result<OwnedFd> {
    let socket = request::open(Family::Netfilter, 0)?;
    let batch = batch(&format!("conntracker-{}", std::process::id()));
    request::transact(&socket, &batch.bytes, batch.requests)?;
    Ok(socket)
}

fn batch(table: &str) -> Batch {
    let mut batch = Batch::default();
    let control = NFNL_SUBSYS_NFTABLES;
    batch.message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, control, |_| {});
    batch.request(NFT_MSG_NEWTABLE, NLM_F_EXCL, |body| {
        body.text(1, table);
        body.word_be(2, NFT_TABLE_F_OWNER);
    });
    for (chain, hook) in [
        ("prerouting", NF_INET_PRE_ROUTING),
        ("output", NF_INET_LOCAL_OUT),
    ] {
        batch.request(NFT_MSG_NEWCHAIN, 0, |body| {
            body.text(1, table);
            body.text(3, chain);
            body.nest(4, |body| {
                body.word_be(1, hook);
                body.word_be(2, 0);
            });
            body.text(7, "filter");
        });
        batch.request(NFT_MSG_NEWRULE, NLM_F_APPEND, |body| {
            body.text(1, table);
            body.text(2, chain);
            body.nest(4, |body| {
                expression(body, "ct", |body| {
                    body.word_be(1, NFT_REG_1);
                    body.word_be(2, NFT_CT_STATE);
                });
                expression(body, "bitwise", |body| {
                    body.word_be(1, NFT_REG_1);
                    body.word_be(2, NFT_REG_1);
                    body.word_be(3, size_of::<u32>() as u32);
                    body.nest(4, |body| body.attribute(1, &CT_STATE_NEW.to_ne_bytes()));
                    body.nest(5, |body| body.attribute(1, &0_u32.to_ne_bytes()));
                });
                expression(body, "cmp", |body| {
                    body.word_be(1, NFT_REG_1);
                    body.word_be(2, NFT_CMP_NEQ);
                    body.nest(3, |body| body.attribute(1, &0_u32.to_ne_bytes()));
                });
            });
        });
    }
    batch.message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 0, control, |_| {});
    batch
}

/// Messages that the kernel carries out as one transaction.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    requests: usize,
}

impl Batch {
    /// A request that is to be answered.
    fn request(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Body<'_>)) {
        self.requests += 1;
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | flags;
        self.message(
            NFNL_SUBSYS_NFTABLES << 8 | kind,
            flags,
            NFPROTO_INET,
            0,
            write,
        );
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        write: impl FnOnce(&mut Body<'_>),
    ) {
        netfilter_message(&mut self.bytes, kind, flags, family, resource, write);
    }
}

/// An expression of a rule, with its attributes.
fn expression(body: &mut Body<'_>, name: &str, write: impl FnOnce(&mut Body<'_>)) {
    body.nest(1, |body| {
        body.text(1, name);
        body.nest(2, write);
    });
}
