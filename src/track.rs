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

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use crate::error::Error;
use crate::netlink::{HEADER_LEN, messages};

// include/uapi/linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
// include/uapi/linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 0x8000;
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
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let batch = batch(&format!("conntracker-{}", std::process::id()));
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &batch.bytes, SendFlags::empty(), &kernel)?;
    // One answer for each request, also when an earlier one failed.
    let mut answered = 0;
    let mut buffer = vec![0; 32 * 1024];
    while answered < batch.requests {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(&buffer[..received]).flatten() {
            if message.kind != NLMSG_ERROR {
                continue;
            }
            answered += 1;
            match message
                .payload
                .first_chunk()
                .map(|errno| i32::from_ne_bytes(*errno))
            {
                Some(0) => {}
                Some(errno) => return Err(io::Error::from_raw_os_error(-errno)),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
    Ok(socket)
}

fn batch(table: &str) -> Batch {
    let mut batch = Batch::default();
    let control = NFNL_SUBSYS_NFTABLES.to_be();
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
                body.expression("ct", |body| {
                    body.word_be(1, NFT_REG_1);
                    body.word_be(2, NFT_CT_STATE);
                });
                body.expression("bitwise", |body| {
                    body.word_be(1, NFT_REG_1);
                    body.word_be(2, NFT_REG_1);
                    body.word_be(3, size_of::<u32>() as u32);
                    body.nest(4, |body| body.attribute(1, &CT_STATE_NEW.to_ne_bytes()));
                    body.nest(5, |body| body.attribute(1, &0_u32.to_ne_bytes()));
                });
                body.expression("cmp", |body| {
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
        resource_be: u16,
        write: impl FnOnce(&mut Body<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource_be.to_ne_bytes());
        write(&mut Body(&mut self.bytes));
        let len = (self.bytes.len() - start) as u32;
        let header = &mut self.bytes[start..start + HEADER_LEN];
        header[0..4].copy_from_slice(&len.to_ne_bytes());
        header[4..6].copy_from_slice(&kind.to_ne_bytes());
        header[6..8].copy_from_slice(&flags.to_ne_bytes());
    }
}

/// The attributes of one message.
struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0
            .extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn word_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Body<'_>)) {
        let start = self.0.len();
        self.attribute(kind | NLA_F_NESTED, &[]);
        write(&mut Body(self.0));
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn expression(&mut self, name: &str, write: impl FnOnce(&mut Body<'_>)) {
        self.nest(1, |body| {
            body.text(1, name);
            body.nest(2, write);
        });
    }
}
