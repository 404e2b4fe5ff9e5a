//! Flows with the rules that decided on them, as text and as JSON, and the ruleset with the flows of each rule.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;

use crate::model::icmp;
use crate::model::path::{Outcome, Path, Step};
use crate::model::printable::printable;
use crate::model::record::Service;
use crate::model::ruled::Decision;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;
use crate::model::units::counted;

use super::drops::Counts;
use super::ruleset::Ruleset;
use super::usage::{self, Used};
use super::words::Words;

/// Distinct flows whose first packets were followed through the rules.
#[derive(Debug)]
pub struct Report<'a> {
    /// In the order of lists.
    pub flows: Vec<(&'a Tuple, &'a Path)>,
    /// The rules that are loaded.
    pub ruleset: &'a Ruleset,
    /// Those that were loaded at the beginning, for the texts of rules that are gone.
    pub before: &'a Ruleset,
    /// Packets that were dropped, where they were counted.
    pub drops: Option<&'a Counts>,
    /// Why flows may be missing, which makes the report incomplete.
    pub reasons: &'a [String],
    /// How long was listened, in whole seconds.
    pub seconds: u64,
}

#[derive(Serialize)]
struct FlowLine {
    r#type: &'static str,
    family: &'static str,
    protocol: String,
    protocol_number: u8,
    src: IpAddr,
    dst: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Timestamp>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_packets: Option<u64>,
    rules: Vec<Decision>,
}

#[derive(Serialize)]
struct UseLine<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<&'a str>,
    family: &'a str,
    table: &'a str,
    chain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<u64>,
    text: &'a str,
    /// `null` where it can't be told.
    flows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
}

#[derive(Serialize)]
struct EndLine<'a> {
    r#type: &'static str,
    flows: usize,
    seconds: u64,
    verdict: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    reasons: &'a [String],
}

impl Report<'_> {
    /// A line for each flow, those that did not get through first.
    ///
    /// Errors: those of `out`.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (tuple, path) in self.by_outcome() {
            let protocol = tuple.protocol.to_string();
            let flow = format!("{} > {}", tuple.source, destination(tuple));
            let told = self.told(path);
            let dropped = match self.dropped(tuple, path) {
                None | Some(0) => String::new(),
                Some(packets) => format!(" ({} dropped)", counted(packets, "packet")),
            };
            writeln!(
                out,
                "{:<8}  {protocol:<6}  {flow:<45}  {}{dropped}",
                self.words().verdict(path),
                printable(&told)
            )?;
        }
        Ok(())
    }

    /// How many packets of a flow were dropped, where that was counted.
    fn dropped(&self, tuple: &Tuple, path: &Path) -> Option<u64> {
        Some(self.drops?.of(tuple, path))
    }

    /// The rules that are worth a line: those that are rules, and of policies the one that ended it.
    fn told(&self, path: &Path) -> String {
        let last = path.steps.last();
        let worth = path.steps.iter().filter(|step| {
            step.handle.is_some() || (Some(*step) == last && step.outcome != Outcome::Accepted)
        });
        let told: Vec<String> = worth.map(|step| self.step(step)).collect();
        match (told.is_empty(), last) {
            (false, _) => told.join("; "),
            (true, Some(step)) => self.step(step),
            (true, None) => "no rule and no policy decided".to_owned(),
        }
    }

    fn step(&self, step: &Step) -> String {
        let (family, table, chain) = (step.family, &step.table, &step.chain);
        match (self.words().text(step), step.handle) {
            (Some(text), _) => format!("{family} {table} {chain}: {text}"),
            (None, Some(handle)) => {
                format!("{family} {table} {chain}: rule {handle}, which is not loaded any more")
            }
            (None, None) => format!("{family} {table} {chain}: its policy"),
        }
    }

    const fn words(&self) -> Words<'_> {
        Words {
            ruleset: self.ruleset,
            before: self.before,
        }
    }

    fn by_outcome(&self) -> Vec<(&Tuple, &Path)> {
        let mut flows = self.flows.clone();
        // Stable, so that the order of lists stays within each.
        flows.sort_by_key(|(_, path)| path.outcome() == Outcome::Accepted);
        flows
    }

    /// One object a line: flows, and a line at the end that says whether the list is whole.
    ///
    /// Errors: those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for (tuple, path) in &self.flows {
            let (dst_port, icmp) = match tuple.service {
                Service::None => (None, None),
                Service::Port(port) => (Some(port), None),
                Service::Icmp(icmp_type, code) => (None, Some((icmp_type, code))),
            };
            line(
                out,
                &FlowLine {
                    r#type: "traced",
                    family: if tuple.source.is_ipv4() {
                        "ipv4"
                    } else {
                        "ipv6"
                    },
                    protocol: tuple.protocol.to_string(),
                    protocol_number: tuple.protocol.0,
                    src: tuple.source,
                    dst: tuple.destination,
                    dst_port,
                    icmp_type: icmp.map(|(icmp_type, _)| icmp_type),
                    icmp_code: icmp.map(|(_, code)| code),
                    seen: path.seen,
                    verdict: self.words().verdict(path),
                    dropped_packets: self.dropped(tuple, path),
                    rules: { path.steps.iter() }
                        .map(|step| self.words().decision(step))
                        .collect(),
                },
            )?;
        }
        self.write_end(out)
    }

    fn write_end(&self, out: &mut dyn Write) -> io::Result<()> {
        let complete = self.reasons.is_empty();
        line(
            out,
            &EndLine {
                r#type: "end",
                flows: self.flows.len(),
                seconds: self.seconds,
                verdict: if complete { "complete" } else { "incomplete" },
                reasons: self.reasons,
            },
        )
    }

    /// The ruleset with the number of flows that each rule decided on, and when it did so last.
    ///
    /// Errors: those of `out`.
    pub fn write_by_rule(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "# {} began in {} s. 0: none of them was decided here.",
            counted(self.flows.len() as u64, "flow"),
            self.seconds
        )?;
        writeln!(
            out,
            "# -: not counted: the rule matches later packets of connections, or what begins none, or packets that are not"
        )?;
        writeln!(
            out,
            "# followed (before priority -199, untracked), or it does not end a packet's way (jump, log, counter)."
        )?;
        writeln!(out, "{:>9}  {:<20}  RULE", "FLOWS", "LAST (UTC)")?;
        let mut chain = None;
        for used in self.usage() {
            if chain != Some(used.name) {
                chain = Some(used.name);
                let (family, table, name) = used.name;
                let hook = used.chain.hook.as_deref();
                let hook = hook.map_or(String::new(), |hook| format!(" (hook {hook})"));
                writeln!(
                    out,
                    "{family} {} {}{hook}",
                    printable(table),
                    printable(name)
                )?;
            }
            let flows = used.flows.map_or("-".to_owned(), |flows| flows.to_string());
            let last = used.last.map_or(String::new(), |last| {
                let text = last.to_string();
                text.split('.').next().unwrap_or_default().to_owned() + "Z"
            });
            writeln!(out, "{flows:>9}  {last:<20}  {}", printable(&used.text))?;
        }
        Ok(())
    }

    /// The same, as JSON: an object for each rule and each policy.
    ///
    /// Errors: those of `out`.
    pub fn write_by_rule_json(&self, out: &mut dyn Write) -> io::Result<()> {
        for used in self.usage() {
            let (family, table, chain) = used.name;
            line(
                out,
                &UseLine {
                    r#type: "rule",
                    hook: used.chain.hook.as_deref(),
                    family,
                    table,
                    chain,
                    handle: used.handle,
                    text: &used.text,
                    flows: used.flows,
                    last_seen: used.last,
                },
            )?;
        }
        self.write_end(out)
    }

    fn usage(&self) -> Vec<Used<'_>> {
        let paths: Vec<&Path> = self.flows.iter().map(|(_, path)| *path).collect();
        usage::of(self.ruleset, &paths)
    }
}

fn destination(tuple: &Tuple) -> String {
    match (tuple.service, tuple.destination) {
        (Service::Port(port), IpAddr::V4(address)) => format!("{address}:{port}"),
        (Service::Port(port), IpAddr::V6(address)) => format!("[{address}]:{port}"),
        (Service::Icmp(icmp_type, code), address) => match icmp::name(tuple.protocol, icmp_type) {
            Some(name) => format!("{address} {name}"),
            None => format!("{address} type {icmp_type} code {code}"),
        },
        (Service::None, address) => address.to_string(),
    }
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
