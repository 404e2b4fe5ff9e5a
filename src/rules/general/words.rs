//! What rulesets in any language say of general rules.

use super::General;
use super::accept::{Accept, Match};
use super::evidence::{Key, Kind, Target};
use super::links::LINK_LOCAL;
use super::outlook::Outlook;
use crate::model::record::{Protocol, Service};
use crate::model::units::counted;
use crate::rules::block::Family;
use crate::rules::direction::Chain;
use crate::rules::header;
use crate::rules::plan::Plan;
use crate::rules::text;

/// The ports that programs choose freely.
pub(super) const HIGH: &str = "1024-65535";
/// The ports that Linux gives its own clients (`ip_local_port_range`), and those that others do.
pub(super) const LOCAL: &str = "32768-65535";

/// The lines above the rules: what to expect, and the warnings.
pub(crate) fn top(plan: &Plan, general: &General) -> Vec<String> {
    let mut lines = vec![
        format!(
            "Written by conntracker {}: accepts what was observed, and new flows of the same kinds.",
            env!("CARGO_PKG_VERSION")
        ),
        "The report (--report) says what each rule stands for, what it admits besides, and what was left out.".to_owned(),
        String::new(),
    ];
    if general.aim.full_comments {
        lines.extend(plan.captures.iter().map(header::capture));
        lines.push(String::new());
    }
    for sentence in outlook(&general.outlook) {
        lines.extend(sentence);
    }
    for text in &plan.warnings {
        lines.push(String::new());
        lines.extend(header::warning(text));
    }
    lines
}

fn outlook(outlook: &Outlook) -> Vec<Vec<String>> {
    let sentences = outlook.sentences().into_iter();
    sentences
        .map(|sentence| header::wrapped(String::new(), &format!("{sentence}.")))
        .collect()
}

/// Where a rule's packets come from and go to, in words.
pub fn section(general: &General, key: &Key) -> [String; 2] {
    let name = |zone| general.links.name(zone);
    match key.chain {
        Chain::Input => [name(key.from), "the gateway".to_owned()],
        Chain::Forward => [name(key.from), name(key.to)],
        Chain::Output => ["the gateway".to_owned(), name(key.to)],
    }
}

/// Link-local addresses lie behind every interface, and nothing tells by which one a flow came. A service that the gateway
/// gives is not given on the Internet side then, whose interfaces these are, if there is any other; what answers it may
/// come from there.
pub(super) fn outside<'a>(general: &'a General, key: &Key) -> Option<&'a [String]> {
    let links = &general.links;
    let internet = links.internet(Family::V6)?;
    let gives = matches!(key.kind, Kind::Plain | Kind::Both) && key.chain == Chain::Input;
    let outside = &links.zones[internet].names;
    let has_inside =
        { links.zones.iter() }.any(|zone| zone.names.iter().any(|name| !outside.contains(name)));
    let is_everywhere = key.from == Some(LINK_LOCAL);
    (gives && has_inside && is_everywhere && matches!(key.service, Service::Port(_)))
        .then_some(outside)
}

/// Ports of a range that are for rules of their own: sensitive ones, and those that something was given for.
pub(super) fn except(
    plan: &Plan,
    general: &General,
    protocol: Protocol,
    range: (u16, u16),
) -> Vec<Service> {
    let mut except = general.aim.sensitive.within(protocol, range);
    except.extend(plan.options.by_hand.within(protocol, range));
    except.sort_unstable();
    except.dedup();
    except
}

/// What a rule is called.
pub(super) fn title(plan: &Plan, rule: &Accept) -> String {
    let names = &plan.options.services;
    let title = if let Kind::High(first, last) = rule.place.key.kind {
        format!("{} ports {first} to {last}", rule.protocols[0])
    } else if let Kind::From(port) = rule.place.key.kind {
        let name = text::service(rule.protocols[0], Service::Port(port), names);
        format!("from {name}")
    } else if rule.services.is_empty() {
        format!("{} of many services", rule.protocols[0])
    } else {
        text::titles(rule.protocols[0], &rule.services, names)
    };
    text::plain(&title, 80)
}

/// A rule's comment, of at most so many bytes.
pub fn note(plan: &Plan, general: &General, rule: &Accept, most: usize) -> String {
    let mut text = title(plan, rule);
    if rule.pairs.is_empty() {
        let [sources, destinations] = [&rule.sources, &rule.destinations].map(|side| match side {
            Match::Blocks(blocks) => Some(&blocks[..]),
            Match::All => None,
        });
        let names = &plan.options.names;
        let family = rule.place.key.family;
        if let Some(between) = names.between(sources, destinations, family) {
            text += &format!(" {between}");
        }
    }
    if let Target::Translated(..) = rule.place.key.target {
        text += ", published";
    }
    if general.aim.full_comments {
        text += &format!(": {}", counted(rule.flows, "flow"));
    }
    text.truncate(most);
    text
}
