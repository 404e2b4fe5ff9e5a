//! Two rulesets against each other: what passes by one and not by the other.
//!
//! The kernel judges the same flows by both: the captured ones, and others that are made from what both rulesets ask for,
//! on either side of each boundary. That finds differences. That there is none is shown for what was tried, and for nothing
//! else: rulesets are not interpreted.

mod corners;
pub mod draft;
mod draw;
mod fates;
mod pair;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use ipnet::IpNet;

use self::corners::{Corner, Position, corners};
use self::draw::Drawing;
use self::fates::{by_no_rule, exit, fate, kind};
use self::pair::Pair;
use crate::check::catalog::Catalog;
use crate::check::judge::Judge;
use crate::check::judge::probing::Probe;
use crate::check::network::Hints;
use crate::check::ruleset::Ruleset;
use crate::check::shape::Field;
use crate::check::verdict::{Outcome, Rule};
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::record::Record;

/// What an address of the host is taken for if none is known: of networks for benchmarks (RFC 2544, RFC 5180).
const HOST: [&str; 2] = ["198.18.0.1/32", "2001:2::1/128"];
/// Addresses that rules ask for and that may be the host's.
const OWN_MAX: usize = 256;

/// How two rulesets differ about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The first one stops it.
    NewlyPasses,
    /// The second one stops it.
    NewlyStopped,
    /// Both let it pass, by other devices or to other addresses.
    Elsewhere,
    /// One of them leaves it open.
    Undecided,
}

impl Kind {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewlyPasses => "newly_passes",
            Self::NewlyStopped => "newly_stopped",
            Self::Elsewhere => "elsewhere",
            Self::Undecided => "undecided",
        }
    }
}

/// Which packet of a flow decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The first one.
    First,
    /// The answer.
    Answer,
    /// A later one of the first direction.
    Later,
}

/// What a ruleset does with a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// What became of it.
    pub outcome: Outcome,
    /// The packet that was stopped or is undecided; the first one if it passes.
    pub which: Which,
    /// The rule that let the first packet pass, if it did.
    pub accepted_by: Option<Arc<Rule>>,
}

/// A flow that the rulesets differ about.
#[derive(Clone, Debug)]
pub struct Difference {
    /// How.
    pub kind: Kind,
    /// The flow.
    pub probe: Probe,
    /// Whether it was captured.
    pub captured: bool,
    /// By the first ruleset, and by the second.
    pub fates: [Fate; 2],
}

/// What was compared, and what differs.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Captured flows that were judged.
    pub captured: u64,
    /// Flows that were made up and judged.
    pub probes: u64,
    /// Those of both that the kernel routes by neither, whatever the rules say.
    pub unroutable: u64,
    /// All differences: those of captured flows first.
    pub differences: Vec<Difference>,
    /// What could not be compared.
    pub limits: Vec<String>,
    /// Whether more flows would have been worth trying.
    pub cut: bool,
    /// Whether rules with limits of rates and numbers are not the same in both, word for word.
    pub rates: bool,
}

impl Comparison {
    /// Whether the rulesets differ; `None` if that is not known.
    pub fn differs(&self) -> Option<bool> {
        let mut kinds = self.differences.iter().map(|difference| difference.kind);
        if kinds.clone().any(|kind| kind != Kind::Undecided) {
            return Some(true);
        }
        if kinds.next().is_some() || self.cut || self.rates {
            return None;
        }
        Some(false)
    }
}

/// Compares rulesets, of which each side may have several, by the captured flows and by made-up ones.
///
/// Errors: rulesets that can't be loaded; failing system calls.
///
/// Panics: if nftables answers what it can't.
pub fn compare(
    sides: [&[Ruleset]; 2],
    captures: &[Capture],
    records: &[Record],
    hints: &Hints,
    progress: &mut dyn FnMut(u64),
) -> Result<Comparison, Error> {
    let mut comparison = Comparison::default();
    let known = !hints.local.is_empty()
        || captures.iter().any(|capture| {
            capture
                .interfaces
                .iter()
                .any(|one| !one.addresses.is_empty())
        });
    let mut hints = hints.clone();
    if !known {
        let own = HOST
            .iter()
            .map(|text| text.parse::<IpNet>().expect("a network"));
        hints.local.extend(own);
        comparison.limits.push(
            "the host's own addresses are not known: made-up ones were tried, and those in rules for its own input and \
             output; give them with --local ADDRESS/PREFIX, or give a capture"
                .to_owned(),
        );
    }
    let mut pair = Pair::new(sides, captures, &hints)?;
    let captured: Vec<Probe> = { records.iter() }
        .map(|record| Probe {
            record: record.clone(),
            by: None,
            out: None,
        })
        .collect();
    comparison.captured = captured.len() as u64;
    comparison.rates = pair.limited(0) != pair.limited(1);
    comparison.judge(&mut pair, &captured, true, progress)?;
    let all = comparison.probe(&mut pair, &hints, progress)?;
    let own = own_addresses(&all, &hints);
    if !known && !own.is_empty() {
        hints.local.extend(own.into_iter().map(IpNet::from));
        drop(pair);
        let mut pair = Pair::new(sides, captures, &hints)?;
        comparison.probe(&mut pair, &hints, progress)?;
    }
    comparison.limits.push(
        "first packets, their answers and later packets of the first direction are compared; invalid packets, errors of \
         ICMP, rates and numbers, and what is only logged or counted are not"
            .to_owned(),
    );
    comparison.limits.push(
        "what was not captured is tried with unicast addresses that the kernel routes, and not with multicast, broadcast \
         and link-local ones"
            .to_owned(),
    );
    Ok(comparison)
}

impl Comparison {
    /// Tries what both rulesets ask for, and returns that.
    fn probe(
        &mut self,
        pair: &mut Pair,
        hints: &Hints,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Corner>, Error> {
        let mut all = Vec::new();
        for judge in &pair.judges {
            all.extend(corners(&Catalog::new(judge.setup())?));
        }
        let translates = pair
            .judges
            .iter()
            .any(|judge| judge.setup().rules.translates());
        let network = &pair.judges[0].setup().network;
        let mut own: Vec<IpAddr> = hints.local.iter().map(IpNet::addr).collect();
        own.extend(network.own_addresses());
        let (probes, whole) = Drawing::new(network, &own, &all, translates).draw(&all);
        self.cut |= !whole;
        self.probes += probes.len() as u64;
        self.judge(pair, &probes, false, progress)?;
        Ok(all)
    }

    /// Judges flows by both, and notes the differences.
    fn judge(
        &mut self,
        pair: &mut Pair,
        probes: &[Probe],
        captured: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        if probes.is_empty() {
            return Ok(());
        }
        let records: Vec<Record> = probes.iter().map(|probe| probe.record.clone()).collect();
        let by = |judge: &mut Judge, progress: &mut dyn FnMut(u64)| {
            let verdicts = if captured {
                judge.judge(&records, progress)?
            } else {
                judge.judge_probes(probes, progress)?
            };
            Ok::<_, Error>((verdicts, Catalog::new(judge.setup())?))
        };
        let [old, new] = &mut pair.judges;
        let (old, new) = thread::scope(|scope| {
            let old = scope.spawn(|| by(old, &mut |_| ()));
            let new = by(new, progress);
            let old = old.join();
            (
                old.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                new,
            )
        });
        let ((old, of_old), (new, of_new)) = (old?, new?);
        let (verdicts, catalogs) = ([old, new], [of_old, of_new]);
        for (at, probe) in probes.iter().enumerate() {
            let [old, new] = [0, 1].map(|side| &verdicts[side][at]);
            if by_no_rule(old) && by_no_rule(new) {
                self.unroutable += 1;
                continue;
            }
            let exits = [0, 1].map(|side| exit(&pair.judges[side], &verdicts[side][at]));
            let Some(kind) = kind(old, new, &exits) else {
                continue;
            };
            let fates = [0, 1].map(|side| {
                let paths = pair.judges[side].paths();
                let by = paths.and_then(|paths| {
                    let path = paths.of(at)?;
                    catalogs[side].decider(paths, path)
                });
                fate(&verdicts[side][at], by)
            });
            let mut probe = probe.clone();
            let identity = &probe.record.identity;
            let to = { identity.dnat() }.map_or(identity.destination, |dnat| dnat.address);
            if pair.judges[0].setup().network.is_local(to) {
                // It goes no farther: only its answers leave by that.
                probe.out = None;
            }
            self.differences.push(Difference {
                kind,
                probe,
                captured,
                fates,
            });
        }
        for judge in &pair.judges {
            for limit in judge.limits() {
                if !self.limits.contains(limit) {
                    self.limits.push(limit.clone());
                }
            }
        }
        Ok(())
    }
}

/// Addresses that rules for the host ask for, each by itself.
fn own_addresses(corners: &[Corner], hints: &Hints) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for corner in corners {
        let fields: &[Field] = match corner.positions.as_slice() {
            [Position::Input] => &[Field::Destination4, Field::Destination6],
            [Position::Output] => &[Field::Source4, Field::Source6],
            _ => continue,
        };
        for field in fields {
            let ranges = corner
                .numbers
                .get(field)
                .into_iter()
                .flat_map(|ranges| ranges.iter());
            for (first, _) in ranges.filter(|(first, last)| first == last) {
                let address: IpAddr = match field {
                    Field::Destination4 | Field::Source4 => match u32::try_from(first) {
                        Ok(bits) => std::net::Ipv4Addr::from(bits).into(),
                        Err(_) => continue,
                    },
                    _ => std::net::Ipv6Addr::from(first).into(),
                };
                found.insert(address);
            }
        }
    }
    found.retain(|address| {
        draw::is_usable(*address) && !hints.local.iter().any(|net| net.addr() == *address)
    });
    found.into_iter().take(OWN_MAX).collect()
}
