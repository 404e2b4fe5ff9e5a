//! The report on two rulesets.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::OutcomeOut;
use super::text::{show_flow, show_place};
use crate::check::against::draft::is_any;
use crate::check::against::{Comparison, Difference, Fate, Kind, Which};
use crate::check::limits::flows;
use crate::check::ruleset::Ruleset;
use crate::check::verdict::Rule;
use crate::formats::json;
use crate::model::printable::{printable, printable_lines};
use crate::model::record::SourcePort;
use crate::model::units::{counted, plural, show_count};

/// Made-up flows of a kind that are shown: they are many, and alike. Captured ones are shown all.
const SHOWN: usize = 5;

const KINDS: [(Kind, &str); 4] = [
    (Kind::NewlyPasses, "newly passing"),
    (Kind::NewlyStopped, "newly stopped"),
    (
        Kind::Elsewhere,
        "going elsewhere: by another device or to another address",
    ),
    (
        Kind::Undecided,
        "of which it is not known whether the rulesets differ",
    ),
];

#[derive(Serialize)]
struct HeadOut<'a> {
    r#type: &'static str,
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    /// `null` if that is not known.
    differs: Option<bool>,
    captured: Counts,
    probes: Counts,
    /// Whether rules with limits of rates and numbers differ, and whether there are more constants than can be tried.
    rates_differ: bool,
    cut: bool,
    limits: &'a [String],
}

#[derive(Default, Serialize)]
struct Counts {
    flows: u64,
    newly_passes: u64,
    newly_stopped: u64,
    elsewhere: u64,
    undecided: u64,
}

#[derive(Serialize)]
struct FateOut<'a> {
    packet: &'static str,
    #[serde(flatten)]
    outcome: OutcomeOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_by: Option<&'a Rule>,
}

#[derive(Serialize)]
struct DifferenceOut<'a> {
    r#type: &'static str,
    kind: &'static str,
    captured: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#in: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<&'a str>,
    old: FateOut<'a>,
    new: FateOut<'a>,
}

impl<'a> FateOut<'a> {
    fn new(fate: &'a Fate) -> Self {
        Self {
            packet: match fate.which {
                Which::First => "first",
                Which::Answer => "answer",
                Which::Later => "later",
            },
            outcome: OutcomeOut::new(&fate.outcome),
            accepted_by: fate.accepted_by.as_deref(),
        }
    }
}

/// A comparison that is over.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The rulesets of either side.
    pub sides: [&'a [Ruleset]; 2],
    /// What came of it.
    pub comparison: &'a Comparison,
    /// Whether flows may be missing from the captures.
    pub incomplete: bool,
}

impl Against<'_> {
    fn counts(&self, captured: bool) -> Counts {
        let mut counts = Counts {
            flows: if captured {
                self.comparison.captured
            } else {
                self.comparison.probes
            },
            ..Counts::default()
        };
        let all = self.comparison.differences.iter();
        for difference in all.filter(|difference| difference.captured == captured) {
            *match difference.kind {
                Kind::NewlyPasses => &mut counts.newly_passes,
                Kind::NewlyStopped => &mut counts.newly_stopped,
                Kind::Elsewhere => &mut counts.elsewhere,
                Kind::Undecided => &mut counts.undecided,
            } += 1;
        }
        counts
    }

    /// Writes it as JSON, one object a line.
    ///
    /// Errors: those of `out`.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let names = |side: usize| {
            self.sides[side]
                .iter()
                .map(|ruleset| &*ruleset.name)
                .collect()
        };
        let head = HeadOut {
            r#type: "against",
            old: names(0),
            new: names(1),
            differs: self.comparison.differs(),
            captured: self.counts(true),
            probes: self.counts(false),
            rates_differ: self.comparison.rates,
            cut: self.comparison.cut,
            limits: &self.comparison.limits,
        };
        json::to_writer(out, &head)?;
        out.write_all(b"\n")?;
        for difference in &self.comparison.differences {
            let object = DifferenceOut {
                r#type: "difference",
                kind: difference.kind.name(),
                captured: difference.captured,
                r#in: difference.probe.by.as_deref(),
                out: difference.probe.out.as_deref(),
                old: FateOut::new(&difference.fates[0]),
                new: FateOut::new(&difference.fates[1]),
            };
            let mut text = Vec::new();
            json::to_writer(&mut text, &object)?;
            out.write_all(&text[..text.len() - 1])?;
            out.write_all(b",\"flow\":")?;
            let mut flow = Vec::new();
            json::write_flow(&difference.probe.record, &mut flow)?;
            out.write_all(flow.trim_ascii_end())?;
            out.write_all(b"}\n")?;
        }
        Ok(())
    }

    /// Writes it for people.
    ///
    /// Errors: those of `out`.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut text = Vec::new();
        self.write_as_it_is(&mut text)?;
        // Names of files, rules and devices are not ours.
        let text = String::from_utf8_lossy(&text);
        out.write_all(printable_lines(&text).as_bytes())
    }

    fn write_as_it_is(&self, out: &mut impl Write) -> io::Result<()> {
        let comparison = self.comparison;
        let names = |side: usize| {
            let names = self.sides[side].iter().map(|ruleset| &*ruleset.name);
            printable(&names.collect::<Vec<_>>().join(" and ")).into_owned()
        };
        let what = match comparison.differs() {
            Some(true) => "they differ",
            Some(false) => "no difference was found",
            None => "no difference was found, but whether there is none is not known",
        };
        writeln!(out, "{} against {}: {what}", names(0), names(1))?;
        if self.incomplete {
            writeln!(
                out,
                "  the captures are incomplete: flows that are missing from them were not judged"
            )?;
        }
        for (captured, noun) in [(true, "captured flow"), (false, "made-up flow")] {
            let counts = self.counts(captured);
            if counts.flows == 0 {
                continue;
            }
            let noun = plural(counts.flows, noun);
            write!(out, "  {:>9} {noun}:", show_count(counts.flows))?;
            write!(
                out,
                " {} newly passing, {} newly stopped",
                show_count(counts.newly_passes),
                show_count(counts.newly_stopped)
            )?;
            for (number, name) in [
                (counts.elsewhere, "going elsewhere"),
                (counts.undecided, "undecided"),
            ] {
                if number > 0 {
                    write!(out, ", {} {name}", show_count(number))?;
                }
            }
            writeln!(out)?;
        }
        if comparison.cut {
            writeln!(
                out,
                "  the rulesets have more constants than can be tried: of some nothing is known"
            )?;
        }
        if comparison.rates {
            writeln!(
                out,
                "  rules with limits of rates or numbers are not the same in both, word for word: whether they do the same is \
                 not known"
            )?;
        }
        for (kind, words) in KINDS {
            self.group(out, kind, words)?;
        }
        if !comparison.limits.is_empty() {
            writeln!(
                out,
                "\nLimits: what was not compared, or not as on the host"
            )?;
            for limit in &comparison.limits {
                writeln!(out, "  - {}", printable(limit))?;
            }
        }
        Ok(())
    }

    /// Flows that differ in one way, by the rules of both.
    fn group(&self, out: &mut impl Write, kind: Kind, words: &str) -> io::Result<()> {
        let mut groups: BTreeMap<&[Fate; 2], Vec<&Difference>> = BTreeMap::new();
        for difference in &self.comparison.differences {
            if difference.kind == kind {
                groups
                    .entry(&difference.fates)
                    .or_default()
                    .push(difference);
            }
        }
        for (fates, members) in groups {
            writeln!(out, "\n{} {words}", flows(members.len() as u64))?;
            for (name, fate) in ["old", "new"].iter().zip(fates) {
                writeln!(out, "    {name}: {}", show_fate(fate))?;
            }
            let (captured, made_up): (Vec<&Difference>, Vec<&Difference>) =
                { members.iter() }.partition(|difference| difference.captured);
            for difference in captured.iter().chain(made_up.iter().take(SHOWN)) {
                let probe = &difference.probe;
                let by = probe.by.as_deref().map(|by| format!(" in by {by}"));
                let to = probe.out.as_deref().map(|to| format!(" out by {to}"));
                let made_up = if difference.captured {
                    ""
                } else {
                    " (made up)"
                };
                let mut record = probe.record.clone();
                let port = record.identity.source_port;
                if matches!(port, SourcePort::Exact(port) if !difference.captured && is_any(port)) {
                    record.identity.source_port = SourcePort::Ephemeral;
                }
                writeln!(
                    out,
                    "  {}{}{}{made_up}",
                    show_flow(&record),
                    by.unwrap_or_default(),
                    to.unwrap_or_default()
                )?;
            }
            if made_up.len() > SHOWN {
                let more = (made_up.len() - SHOWN) as u64;
                writeln!(out, "  and {}", counted(more, "more made-up one"))?;
            }
        }
        Ok(())
    }
}

fn show_fate(fate: &Fate) -> String {
    let packet = match fate.which {
        Which::First => "",
        Which::Answer => "the answer is ",
        Which::Later => "a later packet is ",
    };
    let mut text = format!("{packet}{}", fate.outcome.name());
    if let Some(rule) = fate.outcome.rule().or(fate.accepted_by.as_ref()) {
        text.push_str(&format!(
            " by {}: {}",
            show_place(rule),
            printable(&rule.text)
        ));
    }
    if let Some(reason) = fate.outcome.reason() {
        text.push_str(&format!(" ({})", printable(reason)));
    }
    text
}
