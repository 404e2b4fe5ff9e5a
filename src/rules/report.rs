//! The report on a ruleset: each rule, everything that it admits besides what was seen, and what has none.

use std::io::{self, Write};

use super::general::explain;
use super::header;
use super::plan::Plan;
use super::text::{self, addresses, left_out, numbers, unobserved};
use crate::model::record::Protocol;
use crate::model::units::counted;

/// Writes which rule admits how much, what it admits that nobody saw, and which flows have no rule.
///
/// Errors: those of `out`.
pub fn write(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let names = &plan.options.services;
    for capture in &plan.captures {
        writeln!(out, "{}", header::capture(capture))?;
    }
    for warning in &plan.warnings {
        writeln!(out, "WARNING: {warning}.")?;
    }
    if let Some(general) = &plan.general {
        for sentence in general.outlook.sentences() {
            writeln!(out, "{sentence}.")?;
        }
        writeln!(out)?;
        explain::write(plan, general, out)?;
        write_standing(plan, out)?;
        return write_left_out(plan, out);
    }
    let carried = plan.carried();
    writeln!(
        out,
        "\n{} for {} ({})",
        counted(plan.rules.len() as u64, "rule"),
        counted(carried.flows, "flow"),
        text::traffic(&carried)
    )?;
    for (index, rule) in plan.rules.iter().enumerate() {
        writeln!(
            out,
            "{:>5}  {}: {}, {}: {}, {}",
            index + 1,
            rule.chain.name(),
            text::title(rule, names),
            addresses(rule, 4),
            counted(rule.tally.flows, "flow"),
            text::traffic(&rule.tally),
        )?;
    }
    if plan.loopback.flows > 0 {
        writeln!(
            out,
            "       lo: {}, {}",
            counted(plan.loopback.flows, "flow"),
            text::traffic(&plan.loopback)
        )?;
    }
    writeln!(
        out,
        "\nAdmitted though not observed: {}",
        header::show_extra(header::extra(plan))
    )?;
    for (index, rule) in plan.rules.iter().enumerate() {
        for extra in &rule.extras {
            writeln!(
                out,
                "{:>5}  {}: {}, {} to {}",
                index + 1,
                rule.chain.name(),
                numbers(extra.protocol, &extra.services, names, usize::MAX - 1),
                unobserved(&extra.sources, rule.family),
                unobserved(&extra.destinations, rule.family),
            )?;
        }
    }
    write_standing(plan, out)?;
    write_left_out(plan, out)
}

fn write_left_out(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let names = &plan.options.services;
    writeln!(out, "\nLeft out: {}", counted(plan.missing().flows, "flow"))?;
    for left in &plan.left_out {
        writeln!(
            out,
            "       {}: {}",
            left_out(left, names, usize::MAX - 1),
            left.reason.text()
        )?;
    }
    Ok(())
}

fn write_standing(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nAdmitted by every ruleset")?;
    writeln!(
        out,
        "       answers, and what belongs to accepted connections (established, related)"
    )?;
    writeln!(
        out,
        "       what the gateway sends to its own addresses (lo)"
    )?;
    writeln!(
        out,
        "       ICMPv6 that IPv6 does not work without (RFC 4890)"
    )?;
    let mut icmp = plan.rules.iter().filter(|rule| {
        rule.coded.is_none() && matches!(rule.protocols[0], Protocol::ICMP | Protocol::ICMPV6)
    });
    if icmp.next().is_some() {
        writeln!(
            out,
            "       every code of an accepted ICMP type that has one code only"
        )?;
    }
    Ok(())
}
