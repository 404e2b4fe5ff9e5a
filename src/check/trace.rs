//! Which rule has decided on a packet: the kernel's trace events (`meta nftrace`).
//!
//! Layouts: `enum nft_trace_attributes` of `include/uapi/linux/netfilter/nf_tables.h`.

use std::io;
use std::os::fd::OwnedFd;

use crate::check::guard::TABLE;
use crate::check::local::enlarge;
use crate::model::path::Outcome;
use crate::netlink::framing::{HEADER_LEN, Message, NFGENMSG_LEN, messages};
use crate::netlink::request::{Family, open};
use crate::netlink::uapi::{NFNLGRP_NFTRACE, NFT_RETURN, NFTA_TRACE_VERDICT, NFTA_VERDICT_CODE};
use crate::os::classic_bpf::Step::{At, Do, If};
use crate::os::classic_bpf::{
    Instruction, JEQ, JGE, LD_IMM, LD_WORD, LD_WORD_X, LDX_IMM, NLATTR, NLATTR_NEST, RET, TAX,
    assemble,
};
use crate::os::socket::{Batch, attach_filter};
use crate::trace::event::{self, Event};

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
                    if let Some((next, passed)) = event(&message) {
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

/// Reads an event: what it says of the packet's end, and the rule or policy. `None` for those of our own table, and what
/// can't be read.
fn event(message: &Message<'_>) -> Option<(Ending, Option<Passed>)> {
    let Event::Met(met) = event::read(message)? else {
        return None;
    };
    // Also the one that translates.
    if met.table.starts_with(TABLE) {
        return None;
    }
    let place = Place {
        family: met.family,
        table: met.table.to_owned(),
        chain: met.chain.to_owned(),
        handle: met.handle,
    };
    let passed = |accepts| {
        let place = place.clone();
        Some(Passed { place, accepts })
    };
    Some(match met.outcome {
        // Back from another chain.
        None if met.handle.is_none() => (Ending::Passed, None),
        None => (Ending::Passed, passed(false)),
        Some(Outcome::Accepted) => (Ending::Passed, passed(true)),
        Some(Outcome::Dropped) => (Ending::Dropped(place.clone()), passed(false)),
        Some(Outcome::Stolen) => (Ending::Stolen(place.clone()), passed(false)),
        Some(Outcome::Queued) => (Ending::Queued(place.clone()), passed(false)),
    })
}
