//! `rules`, then `check`: the kernel accepts every flow that was seen, and of those beside them none that was
//! not, but what the report lists.

use std::time::Instant;

use conntracker::capture::Capture;
use conntracker::check::judge::Judge;
use conntracker::check::network::Hints;
use conntracker::check::ruleset::Ruleset;
use conntracker::check::verdict::{Outcome, Verdict};
use conntracker::record::Record;
use conntracker::rules::block::Family;
use conntracker::rules::iptables::{self, Families};
use conntracker::rules::{Options, Plan, nft, plan, report};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vendor_tests::listed::Listed;
use vendor_tests::netns;
use vendor_tests::world::{Model, Sight, World, is_group, record};

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
    let family =
        |family| text(&|out| iptables::write(plan, Families::Only(family), out).expect("memory"));
    vec![family(Family::V4), family(Family::V6)]
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
    let table = if firewall == "nft" {
        nft::TABLE
    } else {
        "filter"
    };
    let chain = sight.map(|sight| sight.chain);
    rule.handle.is_none() && rule.table == table && Some(&*rule.chain.to_lowercase()) == chain
}

fn round_trip(world: &World, options: &Options, firewall: &str) -> Result<(), TestCaseError> {
    let captures = [world.capture.clone()];
    let plan = plan(&captures, &world.records, options);
    let seen = world.records.iter().filter(|record| {
        record.confirmed
            || options.include_unconfirmed
            || options.include_multicast && is_group(record.identity.destination)
    });
    let model = Model::new(seen, true);
    let mut text = Vec::new();
    report::write(&plan, &mut text).expect("memory");
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
        } else if plan.lists_as_extra(identity) {
            prop_assert!(verdict.passes(), "listed: {identity:?}: {verdict:?}");
            prop_assert!(
                sight.is_some_and(|sight| listed.holds(&sight)),
                "not in the report: {identity:?}"
            );
        } else {
            prop_assert!(
                is_left_to_the_policy(&verdict, firewall, sight),
                "not seen: {identity:?}: {verdict:?}"
            );
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
            prop_oneof![2 => Just("nft"), 1 => Just("iptables")],
            (prop::bool::weighted(0.2), any::<bool>()),
        );
        let config = ProptestConfig {
            cases: cases(30),
            max_shrink_iters: 0,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let run = TestRunner::new(config).run(
            &strategy,
            |(seed, flows, widen, firewall, (include_unconfirmed, include_multicast))| {
                let began = Instant::now();
                let world = World::new(seed, flows, 1500);
                let options = Options {
                    widen,
                    include_unconfirmed,
                    include_multicast,
                    ..Options::default()
                };
                let result = round_trip(&world, &options, firewall);
                eprintln!(
                    "{} flows, {} probes: {:?}",
                    world.records.len(),
                    world.probes.len(),
                    began.elapsed()
                );
                result
            },
        );
        run.expect("the round trip");
    });
}

/// So many, or what `PROPTEST_CASES` says.
fn cases(number: u32) -> u32 {
    let said = std::env::var("PROPTEST_CASES").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(number)
}
