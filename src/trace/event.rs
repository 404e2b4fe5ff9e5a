//! Trace events: which rule or policy a packet has met (`enum nft_trace_attributes` of
//! `include/uapi/linux/netfilter/nf_tables.h`; `nft_trace_notify`, net/netfilter/nf_tables_trace.c, Linux 6.18).

use crate::model::path::Outcome;
use crate::model::tuple::Tuple;
use crate::netlink::framing::{Message, NFGENMSG_LEN, attributes};
use crate::netlink::uapi::{
    NF_DROP, NF_QUEUE, NF_STOLEN, NF_VERDICT_MASK, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN,
    NFT_MSG_TRACE, NFT_RETURN, NFT_TRACETYPE_POLICY, NFT_TRACETYPE_RULE, NFTA_GEN_ID,
    NFTA_TRACE_CHAIN, NFTA_TRACE_ID, NFTA_TRACE_NETWORK_HEADER, NFTA_TRACE_POLICY,
    NFTA_TRACE_RULE_HANDLE, NFTA_TRACE_TABLE, NFTA_TRACE_TRANSPORT_HEADER, NFTA_TRACE_TYPE,
    NFTA_TRACE_VERDICT, NFTA_VERDICT_CODE,
};

use super::headers;

/// `NFTA_TRACE_CT_ID`, which headers from before Linux 6.16 do not have.
const NFTA_TRACE_CT_ID: u16 = 18;

/// What a message of the trace group or of nf_tables says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A packet met a rule or a policy.
    Met(Met<'a>),
    /// The ruleset is another one from now on: its generation.
    Changed(u32),
}

/// A packet and a rule that matched it, or the end of a chain that it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met<'a> {
    /// The same for all events of a packet, and of another one when that has gone.
    pub packet: u32,
    /// `ip`, `ip6`, `inet`, `netdev`….
    pub family: &'static str,
    /// The table of the chain.
    pub table: &'a str,
    /// The chain that the rule is in.
    pub chain: &'a str,
    /// Handle of the rule; `None` of a policy.
    pub handle: Option<u64>,
    /// What it did with the packet; `None` if the packet went on to the next rule or another chain.
    pub outcome: Option<Outcome>,
    /// The flow that the packet begins, as the packet is at this chain. Of the first event in each chain of a hook only.
    pub flow: Option<Tuple>,
    /// The number of its entry in connection tracking, where the kernel tells (Linux 6.16).
    pub connection: Option<u32>,
}

/// Reads a message; `None` for others, and what can't be read.
pub fn read<'a>(message: &Message<'a>) -> Option<Event<'a>> {
    if message.kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN {
        let mut attributes = attributes(message.payload.get(NFGENMSG_LEN..)?);
        let (_, id) = attributes.find(|(kind, _)| *kind == NFTA_GEN_ID)?;
        return Some(Event::Changed(word(id)?));
    }
    if message.kind != NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE {
        return None;
    }
    let payload = message.payload;
    let body = payload.get(NFGENMSG_LEN..)?;
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let kind = word(find(NFTA_TRACE_TYPE)?)?;
    let verdict = match kind {
        NFT_TRACETYPE_POLICY => Some(word(find(NFTA_TRACE_POLICY)?)?),
        NFT_TRACETYPE_RULE => {
            let mut verdict = attributes(find(NFTA_TRACE_VERDICT)?);
            let code = verdict.find(|(kind, _)| *kind == NFTA_VERDICT_CODE)?.1;
            Some(word(code)?)
        }
        // The packet comes back from a chain that it was sent to.
        _ => None,
    };
    let handle = find(NFTA_TRACE_RULE_HANDLE)
        .filter(|_| kind == NFT_TRACETYPE_RULE)
        .and_then(|value| Some(u64::from_be_bytes(*value.first_chunk()?)));
    let network = find(NFTA_TRACE_NETWORK_HEADER);
    let transport = find(NFTA_TRACE_TRANSPORT_HEADER).unwrap_or_default();
    Some(Event::Met(Met {
        packet: word(find(NFTA_TRACE_ID)?)?,
        family: match payload[0] {
            1 => "inet",
            2 => "ip",
            5 => "netdev",
            7 => "bridge",
            10 => "ip6",
            _ => "other",
        },
        table: text(find(NFTA_TRACE_TABLE)?)?,
        chain: text(find(NFTA_TRACE_CHAIN)?)?,
        handle,
        outcome: verdict.and_then(outcome),
        connection: find(NFTA_TRACE_CT_ID).and_then(word),
        flow: network.and_then(|network| headers::tuple(network, transport)),
    }))
}

/// What a verdict does; `None` for those of nftables itself, from `NFT_RETURN` to `NFT_CONTINUE` (`enum nft_verdicts`).
const fn outcome(verdict: u32) -> Option<Outcome> {
    if verdict >= NFT_RETURN {
        return None;
    }
    Some(match verdict & NF_VERDICT_MASK {
        NF_DROP => Outcome::Dropped,
        NF_STOLEN => Outcome::Stolen,
        NF_QUEUE => Outcome::Queued,
        _ => Outcome::Accepted,
    })
}

fn word(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

fn text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|byte| *byte == 0);
    std::str::from_utf8(&value[..end.unwrap_or(value.len())]).ok()
}
