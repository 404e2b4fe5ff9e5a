//! How a run describes the capture it takes, for the formats that carry a description.

use crate::capture::{Capture, Completeness, Counts};
use crate::cli::Cli;
use crate::host;
use crate::select::SourcePorts;
use crate::timestamp::Timestamp;
use crate::verdict::{Loss, Verdict};

/// A capture by this program that begins now, from these sources.
#[must_use]
pub fn begin(cli: &Cli, source: &str) -> Capture {
    let options = [
        (cli.existing, "--existing"),
        (cli.reliable, "--reliable"),
        (cli.track, "--track"),
        (cli.all_protocols, "--all-protocols"),
        (cli.all_netns, "--all-netns"),
        (
            cli.selection.source_ports == SourcePorts::Keep,
            SourcePorts::KEPT,
        ),
    ];
    let options = options.into_iter().filter(|(set, _)| *set);
    Capture {
        start: Some(Timestamp::now()),
        program: Some(concat!("conntracker ", env!("CARGO_PKG_VERSION")).to_owned()),
        source: Some(source.to_owned()),
        netns: cli.netns.clone(),
        filters: cli.selection.describe(),
        options: options.map(|(_, name)| name.to_owned()).collect(),
        ..Capture::default()
    }
}

/// A capture that goes on with another one, of an earlier run.
#[must_use]
pub fn go_on(begun: Capture, before: Capture) -> Capture {
    Capture {
        start: before.start.or(begun.start),
        gaps: before.gaps,
        verdict: before.verdict,
        loss: before.loss,
        ..begun
    }
}

/// The description of a live capture as it is now, for a list that is taken now.
#[must_use]
pub fn of_live(begun: &Capture, loss: &Loss) -> Capture {
    let now = host::describe();
    let mut loss_in_all = counts(loss);
    if let Some(before) = &begun.loss {
        loss_in_all.missed += before.missed;
        loss_in_all.recovered += before.recovered;
        loss_in_all.refused += before.refused;
        loss_in_all.malformed += before.malformed;
        let more = before.reasons.iter();
        let more: Vec<String> = more
            .filter(|reason| !loss_in_all.reasons.contains(reason))
            .cloned()
            .collect();
        loss_in_all.reasons.extend(more);
    }
    Capture {
        end: Some(Timestamp::now()),
        verdict: begun.verdict.max(Some(completeness(&loss.verdict()))),
        loss: Some(loss_in_all),
        // Addresses and routes may have changed since the beginning.
        host: now.host,
        boot_id: now.boot_id,
        kernel: now.kernel,
        interfaces: now.interfaces,
        routes: now.routes,
        ..begun.clone()
    }
}

/// A verdict's kind.
#[must_use]
pub const fn completeness(verdict: &Verdict) -> Completeness {
    match verdict {
        Verdict::Complete => Completeness::Complete,
        Verdict::Recovered { .. } => Completeness::Recovered,
        Verdict::Incomplete(_) => Completeness::Incomplete,
    }
}

/// What was lost, in numbers, and the reasons of an incomplete capture.
#[must_use]
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
