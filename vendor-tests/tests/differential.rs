//! `conntracker check` against packets: rulesets that the dice write are loaded on a gateway between two hosts, and flows
//! of all kinds are tried. What is judged accepted gets through, what is judged dropped does not.

use std::net::SocketAddr;

use conntracker::testing::check::{Hints, Judge, Outcome, Ruleset, Verdict};
use conntracker::testing::formats::json::{self, Line};
use conntracker::testing::model::{Capture, Record};
use proptest::prelude::*;
use vendor_tests::judging::Cases;
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::probes::{Fate, HOSTS, Listeners, PORTS, Probe};
use vendor_tests::program::run;
use vendor_tests::properties::runner;
use vendor_tests::rulegen::{Generated, ruleset};
use vendor_tests::temp::Folder;
use vendor_tests::world::Dice;

/// Flows for each ruleset.
const FLOWS: usize = 40;
/// How often a packet that should have come is sent again: the machine may be busy.
const AGAIN: usize = 5;

fn probes(dice: &mut Dice) -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    while probes.len() < FLOWS {
        let v6 = dice.once_in(4);
        let from = dice.below(4) as usize;
        let to = dice.below(4) as usize;
        // The gateway is one host; the other end of the address that it has there is elsewhere.
        let gateway = |host: usize| host == 1 || host == 2;
        if from == to
            || gateway(from) && gateway(to)
            || (from, to) == (1, 3)
            || (from, to) == (2, 0)
        {
            continue;
        }
        // An address that no host has, in the network of the server.
        let address = if !v6 && from != 3 && dice.once_in(8) {
            "10.2.0.99"
        } else {
            HOSTS[to][usize::from(v6)]
        };
        let probe = Probe {
            from,
            to: SocketAddr::new(address.parse().expect("an address"), dice.pick(&PORTS)),
            tcp: dice.once_in(3),
            marked: gateway(from) && dice.once_in(2),
        };
        let same =
            |other: &Probe| (other.from, other.to, other.tcp) == (probe.from, probe.to, probe.tcp);
        if !probes.iter().any(same) {
            probes.push(probe);
        }
    }
    probes
}

/// The capture and its flows, in the order of the probes.
fn records(probes: &[Probe]) -> (Vec<Capture>, Vec<Record>) {
    let mut text = String::from(
        "interface side1 10.1.0.1/24 fd01::1/64\ninterface side2 10.2.0.1/24 fd02::1/64\n",
    );
    for probe in probes {
        let from = HOSTS[probe.from][usize::from(probe.to.is_ipv6())];
        let protocol = if probe.tcp { "tcp" } else { "udp" };
        text.push_str(&format!("{protocol} {from} {}: judged\n", probe.to));
    }
    let (mut captures, mut records) = (Vec::new(), Vec::new());
    for line in Cases::parse(&text).file().lines() {
        match json::parse(line.as_bytes()).expect("a line of a capture") {
            Line::Captures(more, _) => captures.extend(more),
            Line::Flow(record, _) => records.push(*record),
            _ => {}
        }
    }
    (captures, records)
}

/// What packets contradict in a verdict.
fn contradiction(probe: &Probe, verdict: &Verdict, fate: Fate) -> Option<&'static str> {
    let stopped = |outcome: &Outcome| matches!(outcome, Outcome::Dropped(_) | Outcome::Rejected(_));
    let accepted = verdict.first == Outcome::Accepted;
    let answered = verdict.reply == Some(Outcome::Accepted);
    // Nobody has this address: what is let through to it is lost.
    let nobody = probe.to.ip().to_string() == "10.2.0.99";
    if accepted && answered && !fate.answered && !nobody {
        return Some("judged to pass in both directions, and does not");
    }
    if accepted && !probe.tcp && !fate.arrived && !nobody {
        return Some("judged accepted, and does not arrive");
    }
    if stopped(&verdict.first) && (fate.arrived || fate.answered) {
        return Some("judged to be stopped, and arrives");
    }
    if accepted && verdict.reply.as_ref().is_some_and(stopped) && fate.answered {
        return Some("its answer was judged to be stopped, and arrives");
    }
    None
}

/// Whether a rule is for packets behind the first ones, and stops them.
fn stops_later(rules: &str) -> bool {
    let mut lines = rules.lines();
    lines.any(|line| {
        line.contains("established")
            && !line.trim_end().ends_with("accept")
            && !line.contains("-j ACCEPT")
    })
}

fn load(generated: &Generated, folder: &Folder) {
    let path = folder.join("rules");
    std::fs::write(&path, &generated.text).expect("the folder can be written");
    let path = path.to_str().expect("text");
    if generated.iptables {
        sh(&format!("iptables-nft-restore < {path}"));
    } else {
        run("nft", ["-f", path]);
        run("nft", [generated.fill.trim()]);
    }
}

/// Tries a ruleset, and returns how many of its flows have a verdict.
fn compare(lab: &Lab, listeners: &Listeners, seed: u64, doubtful: bool) -> Result<usize, String> {
    let mut dice = Dice(seed);
    let generated = ruleset(&mut dice, doubtful);
    let probes = probes(&mut dice);
    let (captures, records) = records(&probes);
    let folder = Folder::new();
    let given = Ruleset::new("generated", generated.text.as_str());
    let mut judge = Judge::new(&[given], &captures, &Hints::default())
        .map_err(|error| format!("{}\n{error}", generated.text))?;
    let verdicts = judge
        .judge(&records, &mut |_| ())
        .expect("it can be judged");
    drop(judge);
    load(&generated, &folder);
    let mut fates = listeners.attempt(lab, &probes);
    for _ in 0..AGAIN {
        let suspicious: Vec<usize> = (0..probes.len())
            .filter(|&at| contradiction(&probes[at], &verdicts[at], fates[at]).is_some())
            .collect();
        if suspicious.is_empty() {
            break;
        }
        sh("conntrack -F 2>/dev/null");
        let again: Vec<Probe> = suspicious.iter().map(|&at| probes[at]).collect();
        let found = listeners.attempt(lab, &again);
        for (at, fate) in suspicious.into_iter().zip(found) {
            fates[at].arrived |= fate.arrived;
            fates[at].answered |= fate.answered;
        }
    }
    let mut wrong = String::new();
    for ((probe, verdict), fate) in probes.iter().zip(&verdicts).zip(&fates) {
        // No host takes packets that come from itself, however well they got through the rules.
        let own = HOSTS[probe.from][0];
        if !probe.to.is_ipv6() && generated.text.contains(&format!("dnat ip to {own}:")) {
            continue;
        }
        let contradicted = contradiction(probe, verdict, *fate);
        // Rules that stop later packets end a connection whose first two passed, and check judges no more than these.
        let later = probe.tcp && stops_later(&generated.text) && !fate.answered;
        if let Some(what) = contradicted.filter(|_| !later) {
            wrong.push_str(&format!("{probe:?}: {what}: {verdict:?}, {fate:?}\n"));
        }
        let open = |outcome: &Outcome| matches!(outcome, Outcome::Undecided(..));
        if !doubtful
            && (open(&verdict.first) || verdict.reply.as_ref().is_some_and(open))
            && probe.to.ip().to_string() != "10.2.0.99"
        {
            wrong.push_str(&format!(
                "{probe:?}: undecided without a doubt: {verdict:?}\n"
            ));
        }
    }
    sh("nft flush ruleset; conntrack -F 2>/dev/null");
    if !wrong.is_empty() {
        return Err(format!(
            "seed {seed}, doubtful {doubtful}:\n{}\n{wrong}",
            generated.text
        ));
    }
    let decided = verdicts
        .iter()
        .filter(|verdict| !matches!(verdict.first, Outcome::Undecided(..)));
    Ok(decided.count())
}

#[test]
fn packets_never_contradict_a_verdict() {
    netns::run("packets_never_contradict_a_verdict", || {
        let lab = Lab::new();
        sh("ip link set side1 group 7");
        let listeners = Listeners::new(&lab);
        let decided = std::cell::RefCell::new([(0, 0), (0, 0)]);
        let result = runner(40).run(&(any::<u64>(), any::<bool>()), |(seed, doubtful)| {
            let number = compare(&lab, &listeners, seed, doubtful).map_err(TestCaseError::fail)?;
            let mut decided = decided.borrow_mut();
            let (flows, all) = &mut decided[usize::from(doubtful)];
            *flows += number;
            *all += FLOWS;
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        let decided = decided.into_inner();
        // Verdicts that are never given are never wrong.
        for (flows, all) in decided {
            assert!(flows * 4 >= all, "{decided:?}");
        }
        println!("decided: {decided:?}");
    });
}
