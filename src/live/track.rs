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
//!
//! Before Linux 5.12 tables have no owner. There the table is removed at the end, and one that a killed program
//! has left by the next start with `--track`. Whether its program runs is told by a unix socket with the table's
//! name in the abstract namespace (unix(7)), which is one of the network namespace as the table is, and gone with
//! the program in whatever way that ends.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::model::error::Error;
use crate::netlink::build::{Body, netfilter_message};
use crate::netlink::framing::{NFGENMSG_LEN, attributes};
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{
    NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END,
    NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFT_CMP_NEQ, NFT_CT_STATE, NFT_MSG_DELTABLE,
    NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NFT_REG_1,
    NFT_TABLE_F_OWNER, NFTA_TABLE_NAME, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP,
    NLM_F_EXCL, NLM_F_REQUEST,
};

// include/uapi/linux/netfilter/nfnetlink.h
// include/uapi/linux/netlink.h
// include/uapi/linux/netfilter/nf_tables.h
/// `NF_CT_STATE_BIT(IP_CT_NEW)` of `nf_conntrack_common.h`, compared in host order.
const CT_STATE_NEW: u32 = 8;

/// What all tables of ours are called, before the number of the process.
const PREFIX: &str = "conntracker-";

/// Connection tracking, on until this is dropped.
#[derive(Debug)]
pub struct Track {
    /// Owns the table, or removes it.
    socket: OwnedFd,
    /// Where tables have no owner.
    named: Option<Named>,
}

/// A table that is to be removed.
#[derive(Debug)]
struct Named {
    table: String,
    /// Says that it is in use.
    _sign: UnixDatagram,
}

impl Track {
    /// Switches connection tracking on in this network namespace.
    ///
    /// Errors: no privilege, or a kernel without nftables or its `ct` expression.
    pub fn start() -> Result<Self, Error> {
        let outcome = match Self::owned() {
            // An unknown flag (`nf_tables_newtable`, net/netfilter/nf_tables_api.c).
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                Self::named()
            }
            outcome => outcome,
        };
        outcome.map_err(|error| {
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
        })
    }

    fn owned() -> io::Result<Self> {
        let socket = request::open(Family::Netfilter, 0)?;
        let table = format!("{PREFIX}{}", std::process::id());
        let batch = batch(&table, NFT_TABLE_F_OWNER);
        request::transact(&socket, &batch.bytes, batch.requests)?;
        Ok(Self {
            socket,
            named: None,
        })
    }

    /// The same by a table without an owner, as on kernels that have no such thing.
    ///
    /// Errors: the kernel's.
    pub fn named() -> io::Result<Self> {
        let socket = request::open(Family::Netfilter, 0)?;
        remove_left_behind(&socket)?;
        // Another process namespace may have the same number in this network namespace.
        let number = std::process::id();
        let (table, sign) = (0..u32::MAX)
            .map(|more| match more {
                0 => format!("{PREFIX}{number}"),
                _ => format!("{PREFIX}{number}-{more}"),
            })
            .find_map(|table| match sign(&table) {
                Ok(sign) => Some(Ok((table, sign))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
                Err(error) => Some(Err(error)),
            })
            .ok_or(io::ErrorKind::AddrInUse)??;
        let batch = batch(&table, 0);
        request::transact(&socket, &batch.bytes, batch.requests)?;
        Ok(Self {
            socket,
            named: Some(Named { table, _sign: sign }),
        })
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        if let Some(named) = &self.named {
            // Where this fails the next start does it.
            let _ = remove(&self.socket, &named.table);
        }
    }
}

/// Says that a table is in use, for as long as the socket is open; `AddrInUse` if somebody else says so.
fn sign(table: &str) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(table)?)
}

/// Removes the tables of programs that were killed.
fn remove_left_behind(socket: &OwnedFd) -> io::Result<()> {
    let mut bytes = Vec::new();
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    netfilter_message(&mut bytes, kind, flags, NFPROTO_INET, 0, |_| {});
    let tables = request::again(|| {
        let mut tables = Vec::new();
        request::query(socket, &bytes, None, |payload| {
            let mut attributes = attributes(payload.get(NFGENMSG_LEN..).unwrap_or_default());
            let name = attributes.find(|(kind, _)| *kind == NFTA_TABLE_NAME);
            let name =
                name.and_then(|(_, name)| std::str::from_utf8(name.strip_suffix(&[0])?).ok());
            tables.extend(name.filter(|name| is_ours(name)).map(str::to_owned));
            ControlFlow::Continue(())
        })?;
        Ok(tables)
    })?;
    for table in tables {
        if let Ok(_held) = sign(&table) {
            remove(socket, &table)?;
        }
    }
    Ok(())
}

/// `conntracker-4711`, `conntracker-4711-1`.
fn is_ours(table: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    table
        .strip_prefix(PREFIX)
        .is_some_and(|rest| rest.splitn(2, '-').all(number))
}

fn remove(socket: &OwnedFd, table: &str) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.begin();
    batch.request(NFT_MSG_DELTABLE, 0, |body| {
        body.text(NFTA_TABLE_NAME, table)
    });
    batch.end();
    request::transact(socket, &batch.bytes, batch.requests)
}

fn batch(table: &str, flags: u32) -> Batch {
    let mut batch = Batch::default();
    batch.begin();
    batch.request(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, |body| {
        body.text(NFTA_TABLE_NAME, table);
        body.word_be(2, flags);
    });
    for (chain, hook) in [
        ("prerouting", NF_INET_PRE_ROUTING),
        ("output", NF_INET_LOCAL_OUT),
    ] {
        batch.request(NFT_MSG_NEWCHAIN, NLM_F_CREATE, |body| {
            body.text(1, table);
            body.text(3, chain);
            body.nest(4, |body| {
                body.word_be(1, hook);
                body.word_be(2, 0);
            });
            body.text(7, "filter");
        });
        batch.request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |body| {
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
    batch.end();
    batch
}

/// Messages that the kernel carries out as one transaction.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    requests: usize,
}

impl Batch {
    fn begin(&mut self) {
        let control = NFNL_SUBSYS_NFTABLES;
        self.message(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, control, |_| {});
    }

    fn end(&mut self) {
        let control = NFNL_SUBSYS_NFTABLES;
        self.message(NFNL_MSG_BATCH_END, NLM_F_REQUEST, 0, control, |_| {});
    }

    /// A request that is to be answered.
    fn request(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Body<'_>)) {
        self.requests += 1;
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_ours_are_known_by_their_names() {
        let ours = ["conntracker-1", "conntracker-4711-2"];
        assert!(ours.into_iter().all(is_ours));
        let others = [
            "conntracker",
            "conntracker-",
            "conntracker-x",
            "filter",
            "conntracker-1-",
            "conntracker-1-2-3",
        ];
        assert!(!others.into_iter().any(is_ours));
    }
}
