//! The trade-off as a list: what each rung of a service would stop, and what it opens.

use std::io::{self, Write};

use super::evidence::{Key, Kind, Target};
use super::outlook::{DAYS_LEAST, Expected};
use super::{Decision, General};
use crate::model::units::{counted, show_count};
use crate::rules::direction::Chain;
use crate::rules::plan::Plan;
use crate::rules::text;

/// Writes a service's rungs, those of most flows first within a section.
///
/// Errors: those of `out`.
pub fn write(plan: &Plan, general: &General, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "For each service: what rules of each rung are expected to stop a day, and how many pairs of addresses they admit\n\
         besides those seen. The rung that was chosen is marked by an arrow."
    )?;
    let mut section = String::new();
    for decision in &general.decisions {
        let heading = heading(general, &decision.key);
        if heading != section {
            writeln!(out, "\n{heading}")?;
            section = heading;
        }
        write_service(plan, general, decision, out)?;
    }
    Ok(())
}

fn write_service(
    plan: &Plan,
    general: &General,
    decision: &Decision,
    out: &mut impl Write,
) -> io::Result<()> {
    let key = &decision.key;
    let name = text::service(key.protocol, key.service, &plan.options.services);
    let protocols: Vec<String> = key.protocols().iter().map(ToString::to_string).collect();
    let name = match key.kind {
        Kind::High(first, last) => format!("ports {first} to {last}"),
        Kind::From(port) => format!("from port {port}"),
        Kind::Plain | Kind::Both => name,
    };
    let mut what = format!(
        "{name}, {} {}",
        protocols.join("+"),
        counted(decision.flows, "flow")
    );
    if let Target::Translated(..) = key.target {
        what += ", published";
    }
    if decision.is_sensitive {
        what += ", sensitive";
    }
    if !decision.by_hand.is_empty() {
        what += &format!(", as far as given by {}", decision.by_hand.join(" and "));
    }
    writeln!(out, "  {what}")?;
    let days = general.outlook.days;
    for &rung in &decision.rungs {
        let trial = &decision.trials[rung];
        let (sources, destinations) = decision.levels[rung];
        let mark = if rung == decision.chosen { "->" } else { "  " };
        let stopped = if days < DAYS_LEAST {
            "nobody can tell what".to_owned()
        } else {
            let expected = Expected::of(&trial.recent, trial.recent.len());
            format!(
                "{:.1} a day ({} to {})",
                expected.mean,
                expected.least.floor(),
                expected.most.ceil()
            )
        };
        writeln!(
            out,
            "    {mark} {sources} to {destinations}: stops {stopped}, admits {} more",
            besides(trial.admitted - decision.flows as f64)
        )?;
    }
    if decision.is_sensitive
        && decision.trials[decision.chosen]
            .missed
            .iter()
            .any(|one| *one > 0)
    {
        writeln!(
            out,
            "       its clients stay addresses: give administrators fixed leases, or a network of their own"
        )?;
    }
    Ok(())
}

/// A number of pairs.
fn besides(pairs: f64) -> String {
    if pairs < 1e12 {
        show_count(pairs.max(0.0) as u64)
    } else {
        format!("2^{:.0}", pairs.log2())
    }
}

fn heading(general: &General, key: &Key) -> String {
    let name = |zone| general.links.name(zone);
    match key.chain {
        Chain::Input => format!("{} -> the gateway", name(key.from)),
        Chain::Forward => format!("{} -> {}", name(key.from), name(key.to)),
        Chain::Output => format!("the gateway -> {}", name(key.to)),
    }
}
