//! Which rule has decided on a packet: the kernel's trace events (`meta nftrace`).
//!
//! Layouts: `enum nft_trace_attributes` of `include/uapi/linux/netfilter/nf_tables.h`.

use std::io;
use std::os::fd::OwnedFd;

use crate::check::guard::TABLE;
use crate::check::local::enlarge;
use crate::netlink::framing::{HEADER_LEN, NFGENMSG_LEN, attributes, messages};
use crate::netlink::request::{Family, open};
use crate::netlink::uapi::{
    NF_DROP, NF_QUEUE, NF_STOLEN, NF_VERDICT_MASK, NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTRACE,
    NFT_MSG_TRACE, NFT_RETURN, NFT_TRACETYPE_POLICY, NFT_TRACETYPE_RULE, NFTA_TRACE_CHAIN,
    NFTA_TRACE_POLICY, NFTA_TRACE_RULE_HANDLE, NFTA_TRACE_TABLE, NFTA_TRACE_TYPE,
    NFTA_TRACE_VERDICT, NFTA_VERDICT_CODE,
};
use crate::os::classic_bpf::Step::{At, Do, If};
use crate::os::classic_bpf::{
    Instruction, JEQ, JGE, LD_IMM, LD_WORD, LD_WORD_X, LDX_IMM, NLATTR, NLATTR_NEST, RET, TAX,
    assemble,
};
use crate::os::socket::{Batch, attach_filter};

/// `NFNLGRP_NFTRACE` is 9; bits count from 1.
const TRACE_GROUP: u32 = 1 << (NFNLGRP_NFTRACE - 1);

/// Keeps the events of policies and of rules that end a packet's way through a hook. Each rule that matches
/// makes an event, and without privileges the buffer has room for a few hundred.
fn terminal() -> Vec<Instruction> {
    let attributes = (HEADER_LEN + NFGENMSG_LEN) as u32;
    assemble(&[
        Do(LD_IMM, attributes),
        Do(LDX_IMM, NFTA_TRACE_VERDICT.into()),
        Do(LD_WORD, NLATTR),
        If(JEQ, 0, "keep", ""),
        Do(LDX_IMM, NFTA_VERDICT_CODE.into()),
        Do(LD_WORD, NLATTR_NEST),
        If(JEQ, 0, "keep", ""),
        Do(TAX, 0),
        // Behind the attribute's header.
        Do(LD_WORD_X, 4),
        // Verdicts of nftables itself, from `NFT_RETURN` to `NFT_CONTINUE` (`enum nft_verdicts`).
        If(JGE, NFT_RETURN, "drop", ""),
        At("keep"),
        Do(RET, u32::MAX),
        At("drop"),
        Do(RET, 0),
    ])
}

/// A rule, or the policy of a chain, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// `ip`, `ip6`, `inet`, `netdev`….
    pub family: &'static str,
    /// The table that the rule is in.
    pub table: String,
    /// The chain that the rule is in.
    pub chain: String,
    /// Handle of the rule; `None` is the policy.
    pub handle: Option<u64>,
}

/// What a trace says of how a packet's way through the rules ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No rule of the ruleset has seen it.
    Unseen,
    /// Each hook that it came to let it pass.
    Passed,
    /// Dropped or rejected there.
    Dropped(Place),
    /// Handed to a program (`queue`).
    Queued(Place),
    /// Taken by the kernel for something else, like a proxy.
    Stolen(Place),
}

/// A rule that has matched, or a policy that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which.
    pub place: Place,
    /// Whether it has accepted the packet.
    pub accepts: bool,
}

/// Receives trace events.
#[derive(Debug)]
pub struct Tracer {
    socket: OwnedFd,
    batch: Batch,
}

impl Tracer {
    /// Opens it in the calling thread's namespace. It hears of each rule that matches if `all`, else only of those that
    /// end a packet's way.
    ///
    /// Errors: those of socket(2) and bind(2).
    pub fn new(all: bool) -> io::Result<Self> {
        let socket = open(Family::Netfilter, TRACE_GROUP)?;
        enlarge(&socket);
        if !all {
            attach_filter(&socket, &terminal())?;
        }
        Ok(Self {
            socket,
            batch: Batch::new(),
        })
    }

    /// Reads the events that are there: those of one packet, which has gone its way. `None` if the kernel
    /// could not deliver all of them.
    ///
    /// Errors: those of recvmmsg(2).
    pub fn ending(&mut self) -> io::Result<Option<Ending>> {
        self.path(&mut Vec::new())
    }

    /// The same, with the rules on its way, which are added to `path`.
    ///
    /// Errors: those of recvmmsg(2).
    pub fn path(&mut self, path: &mut Vec<Passed>) -> io::Result<Option<Ending>> {
        let mut ending = Ending::Unseen;
        let mut whole = true;
        loop {
            let received = match self.batch.receive(&self.socket) {
                Ok(0) => return Ok(whole.then_some(ending)),
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for datagram in self.batch.datagrams(received) {
                for message in messages(datagram.bytes).flatten() {
                    if message.kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE {
                        if let Some((next, passed)) = event(message.payload) {
                            path.extend(passed);
                            // A packet ends once; copies of it (`dup`) may go on.
                            if matches!(ending, Ending::Unseen | Ending::Passed) {
                                ending = next;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Reads an event: what it says of the packet's end, and the rule or policy. `None` for those of our own table, and what
/// can't be read.
fn event(payload: &[u8]) -> Option<(Ending, Option<Passed>)> {
    let body = payload.get(NFGENMSG_LEN..)?;
    let family = match payload[0] {
        1 => "inet",
        2 => "ip",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "other",
    };
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let word = |value: &[u8]| Some(u32::from_be_bytes(*value.first_chunk()?));
    let text = |value: &[u8]| {
        let end = value.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
    };
    let table = text(find(NFTA_TRACE_TABLE)?);
    // Also the one that translates.
    if table.starts_with(TABLE) {
        return None;
    }
    let kind = word(find(NFTA_TRACE_TYPE)?)?;
    let verdict = match kind {
        NFT_TRACETYPE_POLICY => word(find(NFTA_TRACE_POLICY)?)?,
        NFT_TRACETYPE_RULE => {
            let (_, code) = attributes(find(NFTA_TRACE_VERDICT)?)
                .find(|(kind, _)| *kind == NFTA_VERDICT_CODE)?;
            word(code)?
        }
        _ => return Some((Ending::Passed, None)),
    };
    let handle = find(NFTA_TRACE_RULE_HANDLE).and_then(|value| value.first_chunk());
    let place = Place {
        family,
        table,
        chain: text(find(NFTA_TRACE_CHAIN)?),
        handle: handle
            .filter(|_| kind == NFT_TRACETYPE_RULE)
            .map(|handle| u64::from_be_bytes(*handle)),
    };
    let passed = |accepts| {
        let place = place.clone();
        Some(Passed { place, accepts })
    };
    if verdict >= NFT_RETURN {
        return Some((Ending::Passed, passed(false)));
    }
    Some(match verdict & NF_VERDICT_MASK {
        NF_DROP => (Ending::Dropped(place.clone()), passed(false)),
        NF_STOLEN => (Ending::Stolen(place.clone()), passed(false)),
        NF_QUEUE => (Ending::Queued(place.clone()), passed(false)),
        _ => (Ending::Passed, passed(true)),
    })
}
