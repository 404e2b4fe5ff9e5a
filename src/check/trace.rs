//! Which rule has decided on a packet: the kernel's trace events (`meta nftrace`).
//!
//! Layouts: `enum nft_trace_attributes` of `include/uapi/linux/netfilter/nf_tables.h`.

use std::io;
use std::os::fd::OwnedFd;

use crate::check::guard::TABLE;
use crate::check::local::enlarge;
use crate::netlink::framing::{HEADER_LEN, NFGENMSG_LEN, attributes, messages};
use crate::netlink::request::{Family, open};
use crate::os::prefilter::Instruction;
use crate::os::socket::{Batch, attach_filter};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_TRACE: u16 = 17;
/// `NFNLGRP_NFTRACE` is 9; bits count from 1.
const TRACE_GROUP: u32 = 1 << 8;
const NFTA_TRACE_TABLE: u16 = 1;
const NFTA_TRACE_CHAIN: u16 = 2;
const NFTA_TRACE_RULE_HANDLE: u16 = 3;
const NFTA_TRACE_TYPE: u16 = 4;
const NFTA_TRACE_VERDICT: u16 = 5;
const NFTA_TRACE_POLICY: u16 = 16;
const NFTA_VERDICT_CODE: u16 = 1;
const NFT_TRACETYPE_POLICY: u32 = 1;
const NFT_TRACETYPE_RULE: u32 = 3;
const NFT_RETURN: u32 = -5_i32 as u32;
// Opcodes of include/uapi/linux/bpf_common.h and filter.h.
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LD_WORD: u16 = 0x20;
const LD_WORD_X: u16 = 0x40;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const TAX: u16 = 0x07;
const RET: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_NLATTR`: A becomes the offset of the attribute of type X, searched from A on.
const NLATTR: u32 = (-0x1000_i32 + 12) as u32;
/// `SKF_AD_OFF + SKF_AD_NLATTR_NEST`: the same within the attribute that A is at.
const NLATTR_NEST: u32 = (-0x1000_i32 + 16) as u32;
// include/uapi/linux/netfilter.h
const NF_DROP: u32 = 0;
const NF_STOLEN: u32 = 2;
const NF_QUEUE: u32 = 3;
/// The upper half of a verdict holds a queue number, or an error (`NF_VERDICT_MASK` and beyond).
const NF_VERDICT_MASK: u32 = 0xff;

/// Keeps the events of policies and of rules that end a packet's way through a hook. Each rule that matches
/// makes an event, and without privileges the buffer has room for a few hundred.
const TERMINAL: [Instruction; 12] = [
    // A: where the attributes begin. X: which one is sought. A: where it is, or 0.
    Instruction::plain(LD_IMM, (HEADER_LEN + NFGENMSG_LEN) as u32),
    Instruction::plain(LDX_IMM, NFTA_TRACE_VERDICT as u32),
    Instruction::plain(LD_WORD, NLATTR),
    Instruction::jump(JEQ, 0, 6, 0),
    Instruction::plain(LDX_IMM, NFTA_VERDICT_CODE as u32),
    Instruction::plain(LD_WORD, NLATTR_NEST),
    Instruction::jump(JEQ, 0, 3, 0),
    Instruction::plain(TAX, 0),
    // Behind the attribute's header.
    Instruction::plain(LD_WORD_X, 4),
    // Verdicts of nftables itself, from `NFT_RETURN` to `NFT_CONTINUE` (`enum nft_verdicts`).
    Instruction::jump(JGE, NFT_RETURN, 1, 0),
    Instruction::plain(RET, u32::MAX),
    Instruction::plain(RET, 0),
];

/// A rule, or the policy of a chain, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// `ip`, `ip6`, `inet`, `netdev`….
    pub family: &'static str,
    /// Table.
    pub table: String,
    /// Chain.
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

/// Receives trace events.
#[derive(Debug)]
pub struct Tracer {
    socket: OwnedFd,
    batch: Batch,
}

impl Tracer {
    /// Opens it in the calling thread's namespace.
    ///
    /// Errors: those of socket(2) and bind(2).
    pub fn new() -> io::Result<Self> {
        let socket = open(Family::Netfilter, TRACE_GROUP)?;
        enlarge(&socket);
        attach_filter(&socket, &TERMINAL)?;
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
                        if let Some(next) = event(message.payload) {
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

/// Reads an event; `None` for those of our own table, and what can't be read.
fn event(payload: &[u8]) -> Option<Ending> {
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
        _ => return Some(Ending::Passed),
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
    if verdict >= NFT_RETURN {
        return Some(Ending::Passed);
    }
    Some(match verdict & NF_VERDICT_MASK {
        NF_DROP => Ending::Dropped(place),
        NF_STOLEN => Ending::Stolen(place),
        NF_QUEUE => Ending::Queued(place),
        _ => Ending::Passed,
    })
}
