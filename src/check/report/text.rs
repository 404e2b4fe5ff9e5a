//! The report for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::check::limits::flows;
use crate::check::report::groups::Group;
use crate::check::report::{Counts, Report};
use crate::check::verdict::{Outcome, Rule, Verdict};
use crate::model::icmp;
use crate::model::printable::{printable, printable_lines};
use crate::model::record::{Identity, Record, Service, SourcePort};
use crate::model::units::{agree, counted, plural, show_count};

impl Report<'_> {
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
        let summary = self.summary();
        writeln!(out, "{}", self.headline())?;
        if self.incomplete {
            writeln!(
                out,
                "  the captures are incomplete: flows that are missing from them were not judged"
            )?;
        }
        if !self.is_of_expectations_alone() {
            let confirmed = plural(summary.confirmed.flows, "confirmed flow");
            counts(out, &confirmed, &summary.confirmed)?;
            let replies = agree(summary.replies.flows, "reply", "their replies");
            counts(out, replies, &summary.replies)?;
        }
        if summary.unconfirmed.flows > 0 {
            let unconfirmed = plural(summary.unconfirmed.flows, "unconfirmed flow");
            counts(out, &unconfirmed, &summary.unconfirmed)?;
        }
        if self.left_out > 0 {
            writeln!(
                out,
                "  {} {} left out: --all judges {} too",
                counted(self.left_out, "unconfirmed flow"),
                agree(self.left_out, "was", "were"),
                agree(self.left_out, "it", "them")
            )?;
        }
        self.groups(out)?;
        self.write_expected_text(out)?;
        self.write_coverage_text(out)?;
        if !self.limits.is_empty() {
            writeln!(out, "\nLimits: what could not be judged as on the host")?;
            for limit in self.limits {
                writeln!(out, "  - {}", printable(limit))?;
            }
        }
        Ok(())
    }

    /// Whether there are no captured flows, and none was asked for.
    pub(super) fn is_of_expectations_alone(&self) -> bool {
        self.records.is_empty() && self.left_out == 0 && !self.expectations.is_empty()
    }

    pub(super) fn headline(&self) -> String {
        let rulesets = self.names().collect::<Vec<_>>().join(" and ");
        let rulesets = printable(&rulesets);
        if self.is_of_expectations_alone() {
            let what = match self.tally().is_met() {
                Some(true) => "every flow is as expected",
                Some(false) => "some flows are not as expected",
                None => "of some flows it is not known whether they are as expected",
            };
            return format!("{rulesets}: {what}");
        }
        match self.passes() {
            // Nothing may be wrong with the ruleset, and nothing shows it.
            Some(true) if self.summary().confirmed.flows == 0 => {
                format!("{rulesets}: nothing was judged, since the captures have no confirmed flow")
            }
            Some(true) => format!("{rulesets}: every confirmed flow passes"),
            Some(false) => format!("{rulesets}: some confirmed flows do not pass"),
            None => {
                format!("{rulesets}: of some confirmed flows it is not known whether they pass")
            }
        }
    }

    /// Unconfirmed flows that pass; then what does not pass, by what it does not pass.
    fn groups(&self, out: &mut impl Write) -> io::Result<()> {
        let open = self.open();
        if !open.is_empty() {
            let number = flows(open.len() as u64);
            writeln!(out, "\n{number} accepted that nobody has answered")?;
            for record in open {
                writeln!(out, "  {}", show_flow(record))?;
            }
        }
        for Group {
            reply,
            outcome,
            records,
        } in self.stopped()
        {
            let what = if reply { "replies of " } else { "" };
            let number = flows(records.len() as u64);
            write!(out, "\n{what}{number} {}", outcome.name())?;
            match outcome.rule() {
                Some(rule) => {
                    writeln!(
                        out,
                        " by {}:\n    {}",
                        show_place(rule),
                        printable(&rule.text)
                    )?;
                }
                None => writeln!(out)?,
            }
            if let Some(reason) = outcome.reason() {
                writeln!(out, "    {}", printable(reason))?;
            }
            for record in records {
                writeln!(out, "  {}", show_flow(record))?;
            }
        }
        Ok(())
    }
}

fn counts(out: &mut impl Write, what: &str, counts: &Counts) -> io::Result<()> {
    write!(out, "  {:>9} {what}:", show_count(counts.flows))?;
    write!(out, " {} accepted", show_count(counts.accepted))?;
    for (number, name) in [
        (counts.dropped, "dropped"),
        (counts.rejected, "rejected"),
        (counts.undecided, "undecided"),
    ] {
        if number > 0 || name == "dropped" {
            write!(out, ", {} {name}", show_count(number))?;
        }
    }
    writeln!(out)
}

/// Where a rule stands.
pub(super) fn show_place(rule: &Rule) -> String {
    let family = &rule.family;
    let (table, chain) = (printable(&rule.table), printable(&rule.chain));
    match rule.handle {
        Some(handle) => format!("table {family} {table}, chain {chain}, rule {handle}"),
        None if rule.text.starts_with("policy ") => {
            format!("the policy of table {family} {table}, chain {chain}")
        }
        // Rules of iptables in doubt are not loaded as they are, so they have no handle.
        None => format!("table {family} {table}, chain {chain}"),
    }
}

/// A verdict in a line.
pub(super) fn show_outcome(verdict: &Verdict) -> String {
    let outcome = verdict.worst();
    let mut text = String::new();
    if verdict.first == Outcome::Accepted && !verdict.passes() {
        text.push_str("accepted, and its answer is ");
    }
    text.push_str(outcome.name());
    if let Some(reason) = outcome.reason() {
        let _ = write!(text, ": {}", printable(reason));
    }
    if let Some(rule) = outcome.rule() {
        let _ = write!(text, " by {}: {}", show_place(rule), printable(&rule.text));
    }
    text
}

/// A flow in a line of text, without columns.
pub(super) fn name_flow(record: &Record) -> String {
    let line = show_flow(record);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A flow in a line.
pub(super) fn show_flow(record: &Record) -> String {
    let identity: &Identity = &record.identity;
    let bracket = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    };
    let protocol = identity.protocol;
    let named = if protocol.name().is_some() {
        protocol.to_string()
    } else {
        format!("protocol {protocol}")
    };
    let mut text = format!("{named:<6} {}", identity.source);
    let _ = match identity.service {
        Service::Port(port) => write!(text, " -> {}:{port}", bracket(identity.destination)),
        Service::Icmp(icmp_type, code) => {
            let _ = write!(text, " -> {} ", identity.destination);
            match (icmp::name(identity.protocol, icmp_type), code) {
                (Some(name), 0) => write!(text, "{name}"),
                _ => write!(text, "type {icmp_type} code {code}"),
            }
        }
        Service::None => write!(text, " -> {}", identity.destination),
    };
    if let SourcePort::Exact(port) = identity.source_port {
        let _ = write!(text, " from port {port}");
    }
    if let Some(dnat) = identity.dnat() {
        let port = dnat.port.map(|port| format!(":{port}")).unwrap_or_default();
        let _ = write!(text, " to {}{port}", bracket(dnat.address));
    }
    if !record.confirmed {
        text.push_str(" (unconfirmed)");
    }
    text
}
