//! nftables as it stands: the rules that have connections tracked, and the flowtables.

mod heard;
mod rule;

use std::io;
use std::ops::ControlFlow;

use self::rule::{exempt, family_name, find, masks, need, object, text, word};

pub use self::heard::{Added, Heard};

use super::module::Presence;
use super::need::Needs;
use super::query;
use crate::netlink::request;
use crate::netlink::uapi::{
    NFNL_SUBSYS_NFTABLES, NFT_FLOWTABLE_HW_OFFLOAD, NFT_MSG_GETFLOWTABLE, NFT_MSG_GETGEN,
    NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFTA_FLOWTABLE_FLAGS, NFTA_FLOWTABLE_NAME,
    NFTA_FLOWTABLE_TABLE, NFTA_GEN_ID,
};

/// What the rules of nftables say that matters to events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Rules that have connections tracked.
    pub needs: Needs,
    /// All rules that were looked at.
    pub rules: usize,
    /// Whether those were all there are: a very large ruleset is not waited for.
    pub complete: bool,
    /// Flowtables, which take connections past conntrack.
    pub flowtables: Vec<Flowtable>,
}

/// A flowtable, which takes established connections past the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable {
    /// `table inet filter, flowtable f`.
    pub place: String,
    /// Whether the network card does it.
    pub hardware: bool,
}

impl Ruleset {
    /// Reads the rules of the namespace of the calling thread.
    ///
    /// Errors: `EPERM` without CAP_NET_ADMIN.
    pub fn look() -> io::Result<Self> {
        request::again(Self::look_once)
    }

    fn look_once() -> io::Result<Self> {
        let mut ruleset = Self {
            complete: true,
            ..Self::default()
        };
        // Not loaded: no rules. And asking would load it.
        if !Presence::of("nf_tables").can_be_asked() {
            return Ok(ruleset);
        }
        let kind = |message| NFNL_SUBSYS_NFTABLES << 8 | message;
        let complete = query::dump(kind(NFT_MSG_GETRULE), |family, rule| {
            ruleset.rules += 1;
            if let Some(need) = need(family, rule) {
                ruleset.needs.add(need);
            }
            for (rule, mask) in masks(family, rule) {
                ruleset.needs.add_mask(rule, mask);
            }
            if let Some(exempt) = exempt(family, rule) {
                ruleset.needs.add_exempt(exempt);
            }
            ControlFlow::Continue(())
        });
        ruleset.complete = without_subsystem(complete)?;
        let complete = query::dump(kind(NFT_MSG_GETOBJ), |family, attributes| {
            if let Some(need) = object(family, attributes) {
                ruleset.needs.add(need);
            }
            ControlFlow::Continue(())
        });
        ruleset.complete &= without_subsystem(complete)?;
        let flowtables = query::dump(kind(NFT_MSG_GETFLOWTABLE), |family, attributes| {
            ruleset.flowtables.extend(flowtable(family, attributes));
            ControlFlow::Continue(())
        });
        without_subsystem(flowtables)?;
        Ok(ruleset)
    }
}

/// The number of the ruleset's generation, which every change raises; `None` where nftables is not loaded.
///
/// Errors: those of the socket, and `EPERM` without CAP_NET_ADMIN.
pub fn generation() -> io::Result<Option<u32>> {
    if !Presence::of("nf_tables").can_be_asked() {
        return Ok(None);
    }
    let mut generation = None;
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
    let answer = query::get(kind, |_, attributes| {
        generation = find(attributes, NFTA_GEN_ID).and_then(word);
        ControlFlow::Break(())
    });
    without_subsystem(answer).map(|_| generation)
}

/// A kernel without nftables, or without flowtables, has none.
fn without_subsystem(answer: io::Result<bool>) -> io::Result<bool> {
    match answer.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => Ok(true),
        _ => answer,
    }
}

fn flowtable(family: u8, attributes: &[u8]) -> Option<Flowtable> {
    let table = text(find(attributes, NFTA_FLOWTABLE_TABLE)?);
    let name = text(find(attributes, NFTA_FLOWTABLE_NAME)?);
    let flags = find(attributes, NFTA_FLOWTABLE_FLAGS).and_then(word);
    Some(Flowtable {
        place: format!("table {} {table}, flowtable {name}", family_name(family)),
        hardware: flags.is_some_and(|flags| flags & NFT_FLOWTABLE_HW_OFFLOAD != 0),
    })
}

#[cfg(test)]
mod tests;
