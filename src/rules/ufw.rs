//! A ruleset for ufw(8): commands, one a line.
//!
//! A command names one address on each side, up to fifteen ports, and an interface in each direction; so lists are
//! multiplied here. It has no words for types of ICMP, for translated destinations, and for many protocols.

use super::block::{Block, Family};
use super::direction::Chain;
use super::foreign::{self, Foreign, Unsaid};
use super::iptables::{Families, port_lists};
use super::plan::{Plan, Policy};
use super::term::{Term, What, terms};
use super::{header, text};
use crate::model::record::Protocol;
use crate::model::units::counted;

/// So many bytes of a comment.
const COMMENT: usize = 200;
/// So many commands take minutes, since ufw is started for each and writes its rules anew.
const MANY: usize = 500;

/// What ufw accepts of its own accord.
const STANDING: &str = "By itself ufw accepts besides, whatever rules it has: replies, the loopback interface, and what \
    /etc/ufw/before.rules and before6.rules have. Unless they were changed these are pings to and through this host and \
    errors of ICMP from everybody, answers of DHCP servers, and requests of mDNS and UPnP to their groups. Remove there what \
    you do not want";

/// Types of ICMP that ufw's own rules accept to this host and through it.
const STANDING_V4: [u8; 4] = [3, 8, 11, 12];
const STANDING_V6: [u8; 6] = [1, 2, 3, 4, 128, 129];

const NO_TYPE: &str =
    "ufw has no words for types of ICMP (/etc/ufw/before.rules and before6.rules can have them)";
const NO_TRANSLATION: &str = "ufw can't tell connections whose destination was translated (DNAT) from those that ask for \
    the inner address directly";
const NO_ZONE: &str = "ufw can't tell conntrack zones apart";
const NO_PROTOCOL: &str = "ufw does not know the protocol";
const NO_INTERFACE: &str = "ufw does not take the name of the interface";

/// Writes a plan as commands.
pub fn write(plan: &Plan, families: Families) -> Foreign {
    let mut unsaid = Unsaid::default();
    let mut commands = Vec::new();
    let mut chain = None;
    let mut terms = terms(plan);
    terms.retain(|term| !term.families(families).is_empty());
    for term in &terms {
        match lines(term, families) {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                if chain.replace(term.chain) != Some(term.chain) {
                    commands.push(format!("\n# {}", term.chain.name()));
                }
                commands.extend(lines);
            }
            Err(why) => unsaid.add(why, term),
        }
    }
    let many = commands.len();
    let mut top = foreign::top(plan);
    top.extend(unsaid.lines("ufw"));
    top.extend(head(plan, families, many));
    let mut text = format!(
        "#!/bin/sh\n{}\nset -e\n{}\n",
        foreign::comments(&top, "#"),
        commands.join("\n")
    );
    text += "\n# Last, so that nothing is stopped before its rule is there.\n";
    for &chain in &plan.chains {
        let direction = match chain {
            Chain::Input => "incoming",
            Chain::Forward => "routed",
            Chain::Output => "outgoing",
        };
        let what = match plan.options.policies.of(chain) {
            Policy::Drop => "deny",
            Policy::Accept => "allow",
        };
        text += &format!("ufw default {what} {direction}\n");
    }
    if plan.general.is_none() {
        text += "\n";
        text += &foreign::comments(&header::bottom(plan), "#");
    }
    Foreign {
        files: vec![(String::new(), text)],
        unsaid,
        head: "",
        owned: None,
    }
}

/// How it is run, the way back, and what ufw does besides.
fn head(plan: &Plan, families: Families, commands: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(header::wrapped(String::new(), &format!("{STANDING}.")));
    let helpers = plan.related.commands(families);
    if !helpers.is_empty() {
        lines.push(String::new());
        let how = "Connections that helpers expect are related only where the helpers are assigned, as on the host of the \
                   capture. That is done in the table raw, for which ufw has no commands:";
        lines.extend(header::wrapped(String::new(), how));
        lines.extend(helpers.iter().map(|command| format!("  {command}")));
    }
    lines.push(String::new());
    if commands > MANY {
        let many = format!(
            "WARNING: these are {}, for each of which ufw takes a third of a second or more. nftables has sets instead \
             (--for nft).",
            counted(commands as u64, "command")
        );
        lines.extend(header::wrapped(String::new(), &many));
        lines.push(String::new());
    }
    let how = "Running this file as root adds its rules behind those that ufw has, none twice, and sets what becomes of the \
               rest. Rules that are there already stay, and go on accepting what they do: `ufw reset` removes them (and \
               switches ufw off). With a way back, should you lock yourself out:";
    lines.extend(header::wrapped(String::new(), how));
    let back = "cp -a /root/ufw.before/ufw /etc/; cp /root/ufw.before/default /etc/default/ufw";
    lines.extend([
        "  mkdir /root/ufw.before && cp -a /etc/ufw /root/ufw.before/ && cp /etc/default/ufw /root/ufw.before/default"
            .to_owned(),
        "  systemd-run --on-active=120 --unit=rollback ufw disable".to_owned(),
        "  sh FILE && ufw --force enable".to_owned(),
        "If a new connection gets through: systemctl stop rollback.timer".to_owned(),
        "All that ufw had before comes back by:".to_owned(),
        format!("  ufw disable; {back}"),
    ]);
    lines
}

/// The commands for a term.
///
/// Errors: why there are none.
fn lines(term: &Term, families: Families) -> Result<Vec<String>, &'static str> {
    if let What::Types(types) = &term.what {
        // What ufw accepts in any case needs no command.
        let standing = match term.family {
            Some(Family::V6) => &STANDING_V6[..],
            _ => &STANDING_V4[..],
        };
        let stands = types.iter().all(|(one, _)| standing.contains(one));
        if term.is_baseline || (stands && term.chain != Chain::Output) {
            return Ok(Vec::new());
        }
        return Err(NO_TYPE);
    }
    if term.is_translated {
        return Err(NO_TRANSLATION);
    }
    if term.zone != 0 {
        return Err(NO_ZONE);
    }
    let both = [&term.from, &term.to].into_iter().flatten();
    if both.clone().any(|name| !is_taken(name)) {
        return Err(NO_INTERFACE);
    }
    // One of many commands carries a part of the flows alone.
    let note = if term.accepts {
        &term.title
    } else {
        &term.note
    };
    let mut lines = Vec::new();
    for protocol in protocols(term)? {
        for device in devices(term) {
            for (source, destination) in addresses(term, families) {
                for [sports, dports] in ports(&term.what) {
                    lines.push(format!(
                        "{} {device}{protocol}from {source}{sports} to {destination}{dports} comment '{}'",
                        verb(term),
                        text::plain(note, COMMENT)
                    ));
                }
            }
        }
    }
    Ok(lines)
}

/// Names that ufw takes as one interface (`UFWRule.set_interface`): to iptables those that end in `+` are several.
fn is_taken(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    !name.is_empty() && name.chars().all(plain)
}

fn verb(term: &Term) -> String {
    let route = match term.chain {
        Chain::Forward => "route ",
        Chain::Input | Chain::Output => "",
    };
    let action = if term.accepts { "allow" } else { "deny" };
    let direction = match term.chain {
        Chain::Output => " out",
        Chain::Input => " in",
        Chain::Forward => "",
    };
    format!("ufw {route}{action}{direction}")
}

/// The conditions on interfaces, each for a command.
fn devices(term: &Term) -> Vec<String> {
    let words = |names: &[String], word: &str| match names {
        [] => vec![String::new()],
        names => names.iter().map(|name| format!("{word} {name} ")).collect(),
    };
    let (from, to) = match term.chain {
        Chain::Input => (words(&term.from, "on"), words(&[], "")),
        Chain::Output => (words(&[], ""), words(&term.to, "on")),
        Chain::Forward => (words(&term.from, "in on"), words(&term.to, "out on")),
    };
    let pairs = from
        .iter()
        .flat_map(|from| to.iter().map(move |to| format!("{from}{to}")));
    pairs.collect()
}

/// Without a family, both sides may be any; else one of them says it.
fn addresses(term: &Term, families: Families) -> Vec<(String, String)> {
    let of = term.families(families);
    let family = of[0];
    let side = |blocks: &Option<Vec<Block>>| match blocks {
        None => vec!["any".to_owned()],
        Some(blocks) => { blocks.iter() }
            .map(|block| block.show(family).to_string())
            .collect(),
    };
    let (mut sources, destinations) = (side(&term.sources), side(&term.destinations));
    if term.sources.is_none() && term.destinations.is_none() && of.len() == 1 {
        sources = vec![match family {
            Family::V4 => "0.0.0.0/0".to_owned(),
            Family::V6 => "::/0".to_owned(),
        }];
    }
    let pairs = sources.iter().flat_map(|source| {
        let to = destinations.iter();
        to.map(move |destination| (source.clone(), destination.clone()))
    });
    pairs.collect()
}

/// Source and destination ports, each for a command.
fn ports(what: &What) -> Vec<[String; 2]> {
    let What::Ports(dports, sports) = what else {
        return vec![[String::new(), String::new()]];
    };
    let words = |ranges| match port_lists(ranges) {
        lists if lists.is_empty() => vec![String::new()],
        lists => lists.iter().map(|list| format!(" port {list}")).collect(),
    };
    let (dports, sports) = (words(dports), words(sports));
    let pairs = sports.iter().flat_map(|from| {
        let to = dports.iter();
        to.map(move |to| [from.clone(), to.clone()])
    });
    pairs.collect()
}

/// The words for protocols (`supported_protocols`, ufw/util.py, ufw 0.36.2).
///
/// Errors: there is none.
fn protocols(term: &Term) -> Result<Vec<String>, &'static str> {
    if term.protocols.is_empty() {
        return Ok(vec![String::new()]);
    }
    let is_v4 = term.family == Some(Family::V4);
    let words = term.protocols.iter().map(|&protocol| {
        let word = match protocol {
            Protocol::TCP => "tcp",
            Protocol::UDP => "udp",
            Protocol(2) if is_v4 => "igmp",
            Protocol(41) if is_v4 => "ipv6",
            Protocol(47) => "gre",
            Protocol(50) => "esp",
            Protocol(51) => "ah",
            Protocol(112) => "vrrp",
            _ => return Err(NO_PROTOCOL),
        };
        Ok(format!("proto {word} "))
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ports::PortRange;

    fn term() -> Term {
        Term {
            from: vec!["lan0".to_owned()],
            protocols: vec![Protocol::TCP],
            what: What::Ports(vec![PortRange::single(443)], Vec::new()),
            title: "https".to_owned(),
            ..Term::new(Chain::Forward)
        }
    }

    #[test]
    fn what_has_no_words_is_refused_and_nothing_gets_to_the_shell() {
        let said = |term: &Term| lines(term, Families::Both);
        let line = "ufw route allow in on lan0 proto tcp from any to any port 443 comment 'https'";
        assert_eq!(said(&term()), Ok(vec![line.to_owned()]));
        for name in ["lan+", "a;reboot", "$(reboot)", "a b", "a'b", "a:1", ""] {
            let from = vec![name.to_owned()];
            assert_eq!(
                said(&Term { from, ..term() }),
                Err(NO_INTERFACE),
                "{name:?}"
            );
        }
        let title = "a'; reboot; '$(reboot)`reboot`".to_owned();
        let text = said(&Term { title, ..term() }).unwrap().concat();
        assert_eq!(text.matches('\'').count(), 2, "{text}");
        for (term, why) in [
            (
                Term {
                    is_translated: true,
                    ..term()
                },
                NO_TRANSLATION,
            ),
            (Term { zone: 3, ..term() }, NO_ZONE),
            (
                Term {
                    protocols: vec![Protocol::SCTP],
                    ..term()
                },
                NO_PROTOCOL,
            ),
            (
                Term {
                    what: What::Types(vec![(13, None)]),
                    family: Some(Family::V4),
                    ..term()
                },
                NO_TYPE,
            ),
        ] {
            assert_eq!(said(&term), Err(why));
        }
    }

    #[test]
    fn a_family_alone_is_said_by_an_address_and_long_lists_by_several_commands() {
        let one = Term {
            family: Some(Family::V6),
            what: What::Ports(
                (1..=20).map(|port| PortRange::single(port * 2)).collect(),
                Vec::new(),
            ),
            ..term()
        };
        let lines = lines(&one, Families::Both).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(
            lines
                .iter()
                .all(|line| line.contains("from ::/0 to any port "))
        );
    }
}
