//! `rules`, then `check`: the kernel accepts every flow that was seen, and of those beside them none that was
//! not, but what the report lists.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use conntracker::testing::check::Hints;
use conntracker::testing::check::Judge;
use conntracker::testing::check::Ruleset;
use conntracker::testing::check::{Outcome, Verdict};
use conntracker::testing::formats::json::{self, Line};
use conntracker::testing::model::{Begun, Capture};
use conntracker::testing::model::{Dnat, Identity, Protocol, Record, Service, SourcePort};
use conntracker::testing::rules::Family;
use conntracker::testing::rules::iptables::{self, Families};
use conntracker::testing::rules::{ByHand, Options, Plan, nft, plan, write_report};
use proptest::prelude::*;
use vendor_tests::beside::beside;
use vendor_tests::capture::Launch;
use vendor_tests::listed::Listed;
use vendor_tests::netns;
use vendor_tests::properties;
use vendor_tests::vectors::{self, Vector};
use vendor_tests::world::{Dice, Model, Sight, World, is_group, record};

/// Rules of iptables for both families, in one file.
const ONE_FILE: &str = "iptables for both families";

/// Networks that clients may be told by.
const NETWORKS: [&str; 7] = [
    "10.0.0.0/24",
    "10.8.0.0/16",
    "198.51.100.0/27",
    "0.0.0.0/0",
    "fd00::/64",
    "fd08::/16",
    "::/0",
];

/// The plan in a firewall's language.
fn written(plan: &Plan, firewall: &str) -> Vec<Ruleset> {
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut text);
        Ruleset::new(firewall, String::from_utf8(text).expect("rules are text"))
    };
    if firewall == "nft" {
        return vec![text(&|out| {
            nft::write(plan, nft::TABLE, out).expect("memory");
        })];
    }
    let rules = |families| text(&|out| iptables::write(plan, families, out).expect("memory"));
    if firewall == ONE_FILE {
        return vec![rules(Families::Both)];
    }
    [Family::V4, Family::V6]
        .map(|family| rules(Families::Only(family)))
        .into()
}

/// Has the kernel judge flows: as many verdicts.
fn judged(plan: &Plan, firewall: &str, captures: &[Capture], records: &[Record]) -> Vec<Verdict> {
    let mut judge = Judge::new(&written(plan, firewall), captures, &Hints::default())
        .expect("what is written loads");
    judge
        .judge(records, &mut |_| ())
        .expect("flows can be judged")
}

/// Whether the policy of the chain drops it, and nothing before.
fn is_left_to_the_policy(verdict: &Verdict, firewall: &str, sight: Option<Sight>) -> bool {
    let Outcome::Dropped(rule) = &verdict.first else {
        return false;
    };
    let Some(chain) = sight.map(|sight| sight.chain) else {
        return false;
    };
    if firewall == "nft" {
        return rule.handle.is_none() && rule.table == nft::TABLE && rule.chain == chain;
    }
    // The last rule of a chain of ours is what a policy is.
    let ours = format!("conntracker-{chain}");
    rule.table == "security" && rule.chain == ours && rule.text == format!("-A {ours} -j DROP")
}

/// Flows, by what became of them.
#[derive(Debug, Default)]
struct Count {
    seen: usize,
    listed: usize,
    dropped: usize,
    undecided: usize,
}

fn round_trip(
    world: &World,
    options: &Options,
    firewall: &str,
    count: &mut Count,
) -> Result<(), TestCaseError> {
    let captures = [world.capture.clone()];
    let plan = plan(&captures, &world.records, options);
    let seen = world.records.iter().filter(|record| {
        record.confirmed
            || options.include_unconfirmed
            || options.include_multicast && is_group(record.identity.destination)
    });
    let model = Model::new(seen, true);
    let mut text = Vec::new();
    write_report(&plan, &mut text).expect("memory");
    let listed = Listed::parse(&String::from_utf8(text).expect("reports are text"));

    let probes = world.probes.iter().cloned();
    let mut records = world.records.clone();
    records.extend(probes.map(|probe| {
        let confirmed = !is_group(probe.destination);
        record(probe, confirmed, 1)
    }));
    let verdicts = judged(&plan, firewall, &captures, &records);
    for (record, verdict) in records.iter().zip(verdicts) {
        let identity = &record.identity;
        let sight = Sight::of(identity, true);
        if model.has_seen(identity) {
            prop_assert!(verdict.passes(), "seen: {identity:?}: {verdict:?}");
            count.seen += 1;
        } else if plan.lists_as_extra(identity) {
            prop_assert!(
                options.widen > 0 || !options.by_hand.0.is_empty(),
                "not asked for: {identity:?}"
            );
            prop_assert!(verdict.passes(), "listed: {identity:?}: {verdict:?}");
            prop_assert!(
                sight.is_some_and(|sight| listed.holds(&sight)),
                "not in the report: {identity:?}"
            );
            count.listed += 1;
        } else {
            prop_assert!(
                is_left_to_the_policy(&verdict, firewall, sight)
                    || hangs_on_its_port(identity, &verdict),
                "not seen: {identity:?}: {verdict:?}"
            );
            count.dropped += 1;
        }
    }
    Ok(())
}

#[test]
fn generated_captures() {
    netns::run("generated_captures", || {
        let strategy = (
            any::<u64>(),
            prop_oneof![3 => 40_usize..120, 1 => 300_usize..400],
            prop_oneof![Just(0_u8), 5_u8..60],
            prop_oneof![4 => Just("nft"), 1 => Just("iptables"), 1 => Just(ONE_FILE)],
            (prop::bool::weighted(0.2), any::<bool>()),
            prop_oneof![
                2 => Just(Vec::new()),
                1 => prop::sample::subsequence(NETWORKS.to_vec(), 1..=3),
            ],
        );
        let count = RefCell::new(Count::default());
        let run = properties::runner(40).run(
            &strategy,
            |(seed, flows, widen, firewall, (include_unconfirmed, include_multicast), clients)| {
                let world = World::new(seed, flows, 1000);
                let options = Options {
                    widen,
                    by_hand: ByHand::clients(
                        clients
                            .into_iter()
                            .map(|net| net.parse().expect("a network"))
                            .collect(),
                    ),
                    include_unconfirmed,
                    include_multicast,
                    ..Options::default()
                };
                round_trip(&world, &options, firewall, &mut count.borrow_mut())
            },
        );
        run.expect("the round trip");
        let count = count.into_inner();
        // Or it would show nothing.
        let least = count.seen.min(count.listed).min(count.dropped);
        assert!(least > 50, "{count:?}");
    });
}

/// Whether the kernel could have seen a flow, and in the forward chain, and the judge can have it there: the
/// vectors are made by programs that did not care.
fn is_possible(identity: &Identity) -> bool {
    let beyond =
        |address: IpAddr| !address.is_loopback() && !is_group(address) && !address.is_unspecified();
    let protocol = match (identity.protocol, identity.service) {
        // What conntrack takes for the first packet of a connection (`valid_new` of
        // net/netfilter/nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c, Linux 6.18). To the
        // ICMP of the other family it is nothing at all.
        (Protocol::ICMP, Service::Icmp(icmp_type, _)) => [8, 13, 15, 17].contains(&icmp_type),
        (Protocol::ICMPV6, Service::Icmp(icmp_type, _)) => [128, 139].contains(&icmp_type),
        (Protocol::ICMP, _) => identity.source.is_ipv4(),
        (Protocol::ICMPV6, _) => identity.source.is_ipv6(),
        // Extension headers of IPv6 are no protocols (`ipv6_ext_hdr`, net/ipv6/exthdrs_core.c).
        (Protocol(0 | 43 | 44 | 51 | 59 | 60), _) => identity.source.is_ipv4(),
        // Two hosts have one connection only where its ports are not tracked.
        (Protocol::DCCP, _) => {
            Path::new("/proc/sys/net/netfilter/nf_conntrack_dccp_loose").exists()
        }
        _ => true,
    };
    beyond(identity.source) && beyond(identity.destination) && protocol && identity.zone == 0
}

/// Hosts between which destinations are translated now so, now otherwise: the judge has one way.
fn ambiguous(records: &[Record]) -> HashSet<(IpAddr, IpAddr)> {
    let mut ways: HashMap<(IpAddr, IpAddr), HashSet<Option<Dnat>>> = HashMap::new();
    for Record { identity, .. } in records {
        let ends = (identity.source, identity.destination);
        ways.entry(ends).or_default().insert(identity.dnat());
    }
    ways.retain(|_, ways| ways.len() > 1);
    ways.into_keys().collect()
}

/// Whether a flow with a folded source port passes if that is the one of another flow, which was seen with its own.
fn hangs_on_its_port(identity: &Identity, verdict: &Verdict) -> bool {
    let asked = "a rule asks for some of the ports from 1024 on";
    let reason = verdict.first.reason().unwrap_or_default();
    identity.source_port == SourcePort::Ephemeral && reason.starts_with(asked)
}

/// A capture as the program writes it.
fn read(text: &str) -> (Vec<Capture>, Vec<Record>) {
    let (mut captures, mut records) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match json::parse(line.as_bytes()).expect("a line of a capture") {
            Line::Captures(more, _) => captures.extend(more),
            Line::Flow(record, _) => records.push(*record),
            _ => {}
        }
    }
    (captures, records)
}

/// What the rules of one vector are worth: flows that were seen, others, and what is wrong.
fn of_vector(vector: &Vector, count: &mut Count) -> Vec<String> {
    let path = vector.pcap();
    let path = path.to_str().expect("test paths are text");
    let args = ["-r", path, "--format", "json", "--all-protocols"];
    let (captures, mut records) = read(&Launch::new(args).run().text());
    if records.is_empty() {
        return Vec::new();
    }
    let plan = plan(&captures, &records, &Options::default());
    // Those that a helper expected pass as related, and those whose direction is not known have no rule.
    let has_rule = |record: &&Record| {
        record.origin.expected_by.is_none() && record.origin.begun != Begun::Unclear
    };
    records.retain(|record| has_rule(&record));
    if records.is_empty() {
        return Vec::new();
    }
    let seen = |record: &&Record| record.confirmed && record.identity.zone == 0;
    // The port of a connection that was open before is no port that its client insists on.
    let mut known = records.clone();
    for record in &mut known {
        if record.origin.begun.is_picked_up() {
            record.identity.source_port = record.identity.source_port.collapsed();
        }
    }
    let model = Model::new(known.iter().filter(seen), false);
    let mut dice = Dice(records.len() as u64);
    let mut all = records.clone();
    for _ in 0..6 {
        let (one, other) = (dice.pick(&records), dice.pick(&records));
        let probes = beside(&one.identity, &other.identity, &mut dice);
        all.extend(probes.into_iter().map(|probe| record(probe, true, 1)));
    }
    let ambiguous = ambiguous(&all);
    all.retain(|record| {
        let ends = (record.identity.source, record.identity.destination);
        is_possible(&record.identity) && !ambiguous.contains(&ends)
    });
    let mut wrong = Vec::new();
    for (record, verdict) in all.iter().zip(judged(&plan, "nft", &captures, &all)) {
        let identity = &record.identity;
        let passes = verdict.passes();
        let (right, counter) = match &verdict.first {
            // Such as link-local addresses, which are not forwarded.
            Outcome::Undecided(why, _) => {
                let unseen = !model.has_seen(identity) && hangs_on_its_port(identity, &verdict);
                let by_itself = why.starts_with("not by the ruleset");
                (by_itself || unseen, &mut count.undecided)
            }
            _ if model.has_seen(identity) => (passes, &mut count.seen),
            _ if plan.lists_as_extra(identity) => (passes, &mut count.listed),
            _ => (
                matches!(verdict.first, Outcome::Dropped(_)),
                &mut count.dropped,
            ),
        };
        *counter += 1;
        if !right {
            wrong.push(format!("{}: {identity:?}: {verdict:?}", vector.name));
        }
    }
    wrong
}

#[test]
fn golden_vectors() {
    netns::run("golden_vectors", || {
        let mut count = Count::default();
        let mut wrong = Vec::new();
        // The largest has as many flows as all others together.
        let vectors = vectors::all().into_iter();
        for vector in vectors.filter(|vector| vector.succeeds && vector.name != "large") {
            wrong.extend(of_vector(&vector, &mut count));
        }
        assert!(
            wrong.is_empty(),
            "{} of {count:?}: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(9)]
        );
        let Count {
            seen,
            dropped,
            undecided,
            ..
        } = count;
        assert!(
            seen > 5000 && dropped > 5000 && undecided < 100,
            "{count:?}"
        );
    });
}
