//! What is not known around the ruleset: by which devices flows come and go, and what helpers have to do with them.
//! Verdicts that hang on it are none.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::helped::Helped;
use super::{HELPED, Judge};
use crate::check::flow::Flow;
use crate::check::network::{Network, UNKNOWN_LINK};
use crate::check::setup;
use crate::check::verdict::{Outcome, Verdict};
use crate::model::error::Error;
use crate::model::record::{Protocol, Record, Service, SourcePort};

/// How often flows are judged, each time with other devices, to find out whether it matters which they are.
const WORLDS_MAX: usize = 24;

impl Judge {
    /// Takes back verdicts that hang on which table of routes the host's packets were routed by.
    pub(super) fn question_ways(&self, records: &[Record], verdicts: &mut [Verdict]) {
        if !self.setup.rules.names_devices() {
            return;
        }
        let network = &self.setup.network;
        for (record, verdict) in records.iter().zip(verdicts) {
            let doubt = way_in_doubt(record, network);
            if let (Some(why), false) = (doubt, matches!(verdict.first, Outcome::Undecided(..))) {
                *verdict = undecided(why);
            }
        }
    }

    /// Takes back verdicts that stop what a helper may have expected, but for those that are known in spite of that: it
    /// passes as related where the helper is assigned.
    pub(super) fn question_helpers(
        &self,
        records: &[Record],
        verdicts: &mut [Verdict],
        helped: &Helped,
    ) {
        if !self.setup.rules.may_tell_related_from_new() {
            return;
        }
        let controls: HashSet<(IpAddr, IpAddr)> = records
            .iter()
            .filter(|record| matches!(record.identity.service, Service::Port(port) if HELPED.contains(&port)))
            .flat_map(pairs)
            .collect();
        for (at, (record, verdict)) in records.iter().zip(verdicts).enumerate() {
            let stopped = matches!(verdict.worst(), Outcome::Dropped(_) | Outcome::Rejected(_));
            if !stopped || helped.known.contains(&at) {
                continue;
            }
            let maybe = || {
                !self.helpers_told
                    && is_like_data(record)
                    && pairs(record).any(|pair| controls.contains(&pair))
            };
            if let Some(why) = helped.reasons.get(&at) {
                *verdict = undecided(why);
            } else if record.origin.expected_by.is_none() && maybe() {
                *verdict = undecided(
                    "a conntrack helper may have expected it, as there was a control connection between the same hosts, and \
                     the capture does not tell: then it passes as related",
                );
            }
        }
    }

    /// Judges flows again whose device is not known, as if it were another one, and takes back the verdicts on those that
    /// fare otherwise then.
    pub(super) fn question_devices(
        &mut self,
        records: &[Record],
        verdicts: &mut [Verdict],
    ) -> Result<(), Error> {
        if !self.setup.rules.names_devices() {
            return Ok(());
        }
        let network = &self.setup.network;
        let concerned: Vec<usize> = (0..records.len())
            .filter(|&at| ends(&records[at], network).contains(&true))
            .filter(|&at| !matches!(verdicts[at].first, Outcome::Undecided(..)))
            .collect();
        if concerned.is_empty() {
            return Ok(());
        }
        let mut devices: Vec<String> = network.devices().map(str::to_owned).collect();
        if !devices.iter().any(|name| name == UNKNOWN_LINK) {
            devices.push(UNKNOWN_LINK.to_owned());
        }
        let both = concerned
            .iter()
            .any(|&at| ends(&records[at], network) == [true, true]);
        let entrances: &[String] = if both { &devices } else { &[] };
        let worlds: Vec<(&str, Option<&str>)> = devices
            .iter()
            .flat_map(|out| {
                let same = std::iter::once((out.as_str(), None));
                same.chain(
                    entrances
                        .iter()
                        .map(move |by| (out.as_str(), Some(by.as_str()))),
                )
            })
            .collect();
        let before = network.clone();
        let mut open = concerned;
        let tried = worlds.len() <= WORLDS_MAX;
        for (out, by) in worlds.iter().filter(|_| tried) {
            self.assume(out)?;
            let asked: Vec<&Record> = open.iter().map(|&at| &records[at]).collect();
            let plan = |judge: &Self, _, record: &Record| judge.plan_by(record, *by);
            let found = self.in_zones(&asked, &plan, &mut |_| ())?;
            let pairs = open.into_iter().zip(found);
            open = pairs
                .filter_map(|(at, found)| {
                    if alike(&verdicts[at], &found) {
                        return Some(at);
                    }
                    verdicts[at] = no_route();
                    None
                })
                .collect();
        }
        if !tried {
            open.into_iter().for_each(|at| verdicts[at] = no_route());
        }
        let restored = before.assumed_routes();
        self.setup.network = before;
        setup::set_up(&self.setup.namespace, None, &restored)?;
        Ok(())
    }

    /// Takes another device for what no route leads to.
    pub(super) fn assume(&mut self, device: &str) -> Result<(), Error> {
        let setup = &mut self.setup;
        let wire = &mut setup.wire;
        setup.namespace.run(|| wire.add(device))??;
        setup.network.assume_device(device);
        let up = format!(
            "link set dev {device} up\n{}",
            setup.network.assumed_routes()
        );
        setup::set_up(&setup.namespace, None, &up)?;
        Ok(())
    }

    /// Plans a flow that comes in by this device, unless it is the host's own.
    pub(super) fn plan_coming_by(&self, record: &Record, by: Option<&str>) -> Flow {
        let (network, wire) = (&self.setup.network, &self.setup.wire);
        let mut flow = Flow::new(record, network, wire);
        if let (Some(end), false) = (
            by.and_then(|by| wire.end(by)),
            network.is_local(record.identity.source),
        ) {
            flow.entrance = end;
            flow.impossible = None;
        }
        flow
    }

    /// Plans a flow, which comes in by this device if it is not known by which.
    fn plan_by(&self, record: &Record, by: Option<&str>) -> Flow {
        let (network, wire) = (&self.setup.network, &self.setup.wire);
        let mut flow = Flow::new(record, network, wire);
        if let (Some(end), true) = (by.and_then(|by| wire.end(by)), ends(record, network)[0]) {
            flow.entrance = end;
        }
        flow
    }
}

fn no_route() -> Verdict {
    undecided(
        "no route tells the device that its other side lies behind, and it fares otherwise by another one: say so with \
         --interface NETWORK=DEVICE",
    )
}

pub(super) fn undecided(why: &str) -> Verdict {
    Verdict::of_first(Outcome::Undecided(Arc::from(why), None))
}

pub(super) fn alike(one: &Verdict, other: &Verdict) -> bool {
    let names = |verdict: &Verdict| {
        (
            verdict.first.name(),
            verdict.reply.as_ref().map(Outcome::name),
        )
    };
    names(one) == names(other)
}

/// Whether the device of the source, and of the destination, is only assumed.
pub(super) fn ends(record: &Record, network: &Network) -> [bool; 2] {
    let identity = &record.identity;
    let to = identity
        .dnat()
        .map_or(identity.destination, |dnat| dnat.address);
    [identity.source, to].map(|end| {
        !network.is_local(end) && !network.is_for_many(end) && network.assumed(end).is_some()
    })
}

/// Why it is not known by which devices a flow came and went.
fn way_in_doubt(record: &Record, network: &Network) -> Option<&'static str> {
    let identity = &record.identity;
    let to = identity
        .dnat()
        .map_or(identity.destination, |dnat| dnat.address);
    let own = network.is_local(identity.source);
    let routed = !network.is_local(to) && !network.is_for_many(to);
    let v6 = identity.source.is_ipv6();
    if (own || routed) && network.policy.has_rules(v6) {
        if let Some(why) = network.policy.doubt(v6, own) {
            return Some(why);
        }
    }
    if network.policy.lacks_routers() {
        return Some(
            "the host has virtual routers (VRF) and this kernel can't make any: by which device it leaves is not known",
        );
    }
    if own && network.policy.is_of_router(network.towards(to)) {
        return Some(
            "the host's own packets that a virtual router (VRF) routes are not sent as on the host",
        );
    }
    if !network.policy.is_unrecorded() {
        return None;
    }
    // The main table alone says where a flow went. Which address it was given, or was sent to, tells of the device too.
    let on = |address: Option<IpAddr>, device: &str| {
        address.is_some_and(|address| network.device_of(address) == Some(device))
    };
    let (near, far) = (network.towards(identity.source), network.towards(to));
    let open = |end: IpAddr, device: &str, told: Option<IpAddr>| {
        network.is_by_default(end) && !on(told, device) && network.has_other_ways_out(&[near, far])
    };
    let given = identity.snat().map(|snat| snat.address);
    let out = routed && open(to, far, if own { Some(identity.source) } else { given });
    let by = !own && routed && open(identity.source, near, Some(identity.destination));
    (out || by).then_some(
        "the capture is of a version that did not record policy routing (ip rule): where the host has rules of it, the flow \
         may have left by another device than the main table of routes says; capture again",
    )
}

/// The two hosts of a flow, before and after translation.
pub(super) fn pairs(record: &Record) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    let identity = &record.identity;
    let from = [
        Some(identity.source),
        identity.snat().map(|snat| snat.address),
    ];
    let to = [
        Some(identity.destination),
        identity.dnat().map(|dnat| dnat.address),
    ];
    let both = from
        .into_iter()
        .flatten()
        .flat_map(move |a| to.into_iter().flatten().map(move |b| (a, b)));
    both.flat_map(|(a, b)| [(a, b), (b, a)])
}

/// Whether a flow is like those that helpers expect.
fn is_like_data(record: &Record) -> bool {
    let identity = &record.identity;
    let high =
        matches!(identity.service, Service::Port(port) if port >= 1024 && !HELPED.contains(&port));
    let active = identity.source_port == SourcePort::Exact(20);
    let carried = [Protocol::TCP, Protocol::UDP, Protocol::GRE].contains(&identity.protocol);
    carried && (high || active || identity.protocol == Protocol::GRE)
}
