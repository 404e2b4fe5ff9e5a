//! A table of nf_tables that is there for as long as this program is.
//!
//! With the flag `owner` it belongs to the netlink socket that made it, nobody else can change it, `nft flush
//! ruleset` passes it over, and the kernel removes it when the socket closes, SIGKILL included
//! (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c, Linux 5.12).
//!
//! Before Linux 5.12 tables have no owner. There the table is removed at the end, and one that a killed program
//! has left by the next start that makes one. Whether its program runs is told by a unix socket with the table's
//! name in the abstract namespace (unix(7)), which is one of the network namespace as the table is, and gone with
//! the program in whatever way that ends.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::netlink::build::netfilter_message;
use crate::netlink::framing::{NFGENMSG_LEN, attributes};
use crate::netlink::nftables::Batch;
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{
    NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFT_MSG_DELTABLE, NFT_MSG_GETTABLE, NFT_MSG_NEWTABLE,
    NFT_TABLE_F_OWNER, NFTA_TABLE_FLAGS, NFTA_TABLE_NAME, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL,
    NLM_F_REQUEST,
};

/// What all tables of ours are called, before what they are for and the number of the process.
const PREFIX: &str = "conntracker-";
/// What tables can be for, as their names have it.
const PURPOSES: [&str; 2] = ["", "trace-"];

/// A table in this network namespace, until this is dropped.
#[derive(Debug)]
pub struct OwnTable {
    /// Owns the table, or removes it.
    socket: OwnedFd,
    name: String,
    /// Says that a table without an owner is in use, and that it is to be removed.
    sign: Option<UnixDatagram>,
}

/// What a table is for: one of each in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Rules that have connections tracked.
    Track,
    /// Rules that have packets traced.
    Trace,
}

impl OwnTable {
    /// Makes a table of family `inet`, with what `fill` asks for in it, which is given the table's name.
    ///
    /// Errors: the kernel's.
    pub fn new(purpose: Purpose, fill: impl Fn(&mut Batch, &str)) -> io::Result<Self> {
        match Self::owned(purpose, &fill) {
            // An unknown flag (`nf_tables_newtable`, net/netfilter/nf_tables_api.c).
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                Self::named(purpose, fill)
            }
            outcome => outcome,
        }
    }

    fn owned(purpose: Purpose, fill: impl Fn(&mut Batch, &str)) -> io::Result<Self> {
        let socket = request::open(Family::Netfilter, 0)?;
        let name = format!(
            "{PREFIX}{}{}",
            PURPOSES[purpose as usize],
            std::process::id()
        );
        filled(&name, NFT_TABLE_F_OWNER, fill).transact(&socket)?;
        Ok(Self {
            socket,
            name,
            sign: None,
        })
    }

    /// The same without an owner, as on kernels that have no such thing.
    ///
    /// Errors: the kernel's.
    pub fn named(purpose: Purpose, fill: impl Fn(&mut Batch, &str)) -> io::Result<Self> {
        let socket = request::open(Family::Netfilter, 0)?;
        remove_left_behind(&socket)?;
        // Another process namespace may have the same number in this network namespace.
        let number = std::process::id();
        let purpose = PURPOSES[purpose as usize];
        let (name, sign) = (0..u32::MAX)
            .map(|more| match more {
                0 => format!("{PREFIX}{purpose}{number}"),
                _ => format!("{PREFIX}{purpose}{number}-{more}"),
            })
            .find_map(|name| match sign(&name) {
                Ok(sign) => Some(Ok((name, sign))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
                Err(error) => Some(Err(error)),
            })
            .ok_or(io::ErrorKind::AddrInUse)??;
        filled(&name, 0, fill).transact(&socket)?;
        Ok(Self {
            socket,
            name,
            sign: Some(sign),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl AsFd for OwnTable {
    /// The socket that may change it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for OwnTable {
    fn drop(&mut self) {
        if self.sign.is_some() {
            // Where this fails the next start does it.
            let _ = remove(&self.socket, &self.name);
        }
    }
}

fn filled(name: &str, flags: u32, fill: impl Fn(&mut Batch, &str)) -> Batch {
    Batch::new(|batch| {
        batch.request(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, |body| {
            body.text(NFTA_TABLE_NAME, name);
            body.word_be(NFTA_TABLE_FLAGS, flags);
        });
        fill(batch, name);
    })
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

/// Whether a table has a name of ours: `conntracker-4711`, `conntracker-trace-4711-1`.
pub fn is_ours(table: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = table.strip_prefix(PREFIX) else {
        return false;
    };
    PURPOSES.iter().any(|purpose| {
        rest.strip_prefix(purpose)
            .is_some_and(|rest| rest.splitn(2, '-').all(number))
    })
}

fn remove(socket: &OwnedFd, table: &str) -> io::Result<()> {
    let batch = Batch::new(|batch| {
        batch.request(NFT_MSG_DELTABLE, 0, |body| {
            body.text(NFTA_TABLE_NAME, table);
        });
    });
    batch.transact(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_ours_are_known_by_their_names() {
        let ours = [
            "conntracker-1",
            "conntracker-4711-2",
            "conntracker-trace-4711",
        ];
        assert!(ours.into_iter().all(is_ours));
        let others = [
            "conntracker",
            "conntracker-",
            "conntracker-x",
            "conntracker-trace-",
            "filter",
            "conntracker-1-",
            "conntracker-1-2-3",
        ];
        assert!(!others.into_iter().any(is_ours));
    }
}
