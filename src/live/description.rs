//! How a run describes the capture it takes, for the formats that carry a description.

use std::path::Path;

use crate::live::options::CaptureOptions;
use crate::model::capture::{Capture, Completeness, Counts};
use crate::model::selection::SourcePorts;
use crate::model::timestamp::Timestamp;
use crate::model::verdict::{Loss, Verdict};
use crate::os::host;

/// A capture by this program that begins now, from these sources.
pub fn begin(options: &CaptureOptions, source: &str) -> Capture {
    let named = [
        (options.existing, "--existing"),
        (options.reception.reliable, "--reliable"),
        (options.track, "--track"),
        (options.learn_names, "--learn-names"),
        (options.reception.all_protocols, "--all-protocols"),
        (options.reception.all_netns, "--all-netns"),
        (
            options.selection.source_ports == SourcePorts::Keep,
            SourcePorts::KEPT,
        ),
    ];
    let named = named.into_iter().filter(|(set, _)| *set);
    Capture {
        start: Some(Timestamp::now()),
        program: Some(concat!("conntracker ", env!("CARGO_PKG_VERSION")).to_owned()),
        source: Some(source.to_owned()),
        netns: options.netns.clone(),
        filters: options.selection.describe(),
        options: named.map(|(_, name)| name.to_owned()).collect(),
        marks_picked_up: options.keeps_records,
        untranslated: !options.keeps_records,
        ..Capture::default()
    }
}

/// A capture that goes on with another one, of an earlier run.
pub fn go_on(begun: Capture, before: Capture) -> Capture {
    let gaps = before.gaps_in_words();
    let mut loss = before.loss;
    let mut verdict = before.verdict;
    if let Some(loss) = &mut loss {
        // Of the gaps it is said anew, as long as they count.
        let others = loss.reasons.len();
        loss.reasons.retain(|reason| Some(reason) != gaps.as_ref());
        if loss.reasons.is_empty() && others > 0 {
            verdict = Some(match loss.missed {
                0 => Completeness::Complete,
                _ => Completeness::Recovered,
            });
        }
    }
    let incomplete = verdict == Some(Completeness::Incomplete);
    Capture {
        // The clock may have been set back since.
        start: before.start.into_iter().chain(begun.start).min(),
        gaps: before.gaps,
        blind_spots: before.blind_spots,
        invalid_packets: before.invalid_packets,
        // What was not recorded then is not there now.
        untranslated: begun.untranslated || before.untranslated,
        marks_picked_up: begun.marks_picked_up && before.marks_picked_up,
        verdict,
        loss,
        incomplete_until: before
            .incomplete_until
            .or(before.end)
            .filter(|_| incomplete),
        ..begun
    }
}

/// A capture that begins anew because the state that it was to go on with is damaged.
pub fn after_damage(begun: Capture, aside: &Path) -> Capture {
    let mut capture = Capture {
        incomplete_until: begun.start,
        ..begun
    };
    capture.lacks_flows(&format!(
        "the state that it was to go on with was damaged and is kept as {}",
        aside.display()
    ));
    capture
}

/// What is left of an earlier run's loss and gaps when everything before a time has been forgotten: what was missed
/// then would have been forgotten as well.
pub fn forgetting(begun: &Capture, before: Option<Timestamp>) -> Capture {
    let mut capture = begun.clone();
    let Some(before) = before else {
        return capture;
    };
    capture.gaps.retain(|gap| gap.to >= before);
    if capture.incomplete_until.is_some_and(|until| until < before) {
        capture.incomplete_until = None;
        capture.verdict = None;
        capture.loss = None;
    }
    capture
}

/// The description of what a recording holds, by the verdict that it carries and what was met in reading it. One
/// that carries none says nothing of what it lost.
pub fn of_recording(begun: Capture, carried: Option<Completeness>, loss: &Loss) -> Capture {
    let incomplete = loss.verdict().exit_status() != 0;
    Capture {
        verdict: if incomplete {
            Some(Completeness::Incomplete)
        } else {
            carried
        },
        loss: (incomplete || carried.is_some()).then(|| counts(loss)),
        ..begun
    }
}

/// The description of a live capture as it is now, for a list that is taken now.
pub fn of_live(begun: &Capture, loss: &Loss) -> Capture {
    let (now, unknown) = host::describe();
    // Without its own addresses nobody can tell what went to the host from what went through it.
    let loss = &Loss {
        other: [&loss.other[..], &unknown].concat(),
        ..loss.clone()
    };
    let end = Timestamp::now().max(begun.start.unwrap_or(Timestamp::now()));
    let mut loss_in_all = counts(loss);
    if let Some(before) = &begun.loss {
        loss_in_all.missed = loss_in_all.missed.saturating_add(before.missed);
        loss_in_all.recovered = loss_in_all.recovered.saturating_add(before.recovered);
        loss_in_all.refused = loss_in_all.refused.saturating_add(before.refused);
        loss_in_all.malformed = loss_in_all.malformed.saturating_add(before.malformed);
    }
    let reasons = begun.reasons().into_iter();
    let more: Vec<String> = reasons
        .filter(|reason| !loss_in_all.reasons.contains(reason))
        .collect();
    loss_in_all.reasons.extend(more);
    let own = completeness(&loss.verdict());
    let until = match own {
        Completeness::Incomplete => Some(end),
        _ => begun.incomplete_until,
    };
    let gaps = begun.gaps.iter().map(|gap| gap.to).max();
    Capture {
        end: Some(end),
        verdict: begun.judged().max(Some(own)),
        loss: Some(loss_in_all),
        incomplete_until: until.max(gaps.filter(|_| begun.has_long_gaps())),
        blind_spots: {
            let mut spots = begun.blind_spots.clone();
            spots.extend(loss.blind_spots.iter().cloned());
            spots.sort_unstable();
            spots.dedup();
            spots
        },
        invalid_packets: Some(begun.invalid_packets.unwrap_or(0) + loss.invalid)
            .filter(|&invalid| invalid > 0),
        // Addresses and routes may have changed since the beginning.
        host: now.host,
        boot_id: now.boot_id,
        kernel: now.kernel,
        interfaces: now.interfaces,
        routes: now.routes,
        policy_rules: now.policy_rules,
        tables: now.tables,
        uptime_s: None,
        ..begun.clone()
    }
}

/// A verdict's kind.
pub const fn completeness(verdict: &Verdict) -> Completeness {
    match verdict {
        Verdict::Complete => Completeness::Complete,
        Verdict::Recovered { .. } => Completeness::Recovered,
        Verdict::Incomplete(_) => Completeness::Incomplete,
    }
}

/// What was lost, in numbers, and the reasons of an incomplete capture.
pub fn counts(loss: &Loss) -> Counts {
    Counts {
        missed: loss.missed,
        recovered: loss.recovered,
        refused: loss.refused,
        malformed: loss.malformed,
        reasons: match loss.verdict() {
            Verdict::Incomplete(reasons) => reasons,
            Verdict::Complete | Verdict::Recovered { .. } => Vec::new(),
        },
    }
}
