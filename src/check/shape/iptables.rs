//! Rules as iptables-save(8) writes them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ranges::Ranges;
use super::{
    Condition, Element, Ending, Field, List, STATES, Shape, Values, icmp_number, number_of,
    range_of,
};
use crate::check::doubt::words;
use crate::model::record::Protocol;

/// Matches whose answer is the same for all packets of a connection in one direction, although it is not understood here.
const OF_CONNECTION: [&str; 9] = [
    "addrtype",
    "mark",
    "connmark",
    "set",
    "limit",
    "hashlimit",
    "connlimit",
    "owner",
    "devgroup",
];
/// Matches that are understood.
const KNOWN: [&str; 11] = [
    "tcp",
    "udp",
    "sctp",
    "dccp",
    "multiport",
    "conntrack",
    "state",
    "comment",
    "icmp",
    "icmp6",
    "iprange",
];

/// The shape of a rule, of `ip` or `ip6`.
pub fn shape(family: &str, line: &str) -> Shape {
    let v6 = family == "ip6";
    let number = if v6 { 6 } else { 4 };
    let mut shape = Shape {
        conditions: vec![Condition::number(Field::Family, number)],
        exact: true,
        varies: false,
        lists: Vec::new(),
        branches: Vec::new(),
    };
    let (source, destination, icmp) = if v6 {
        (Field::Source6, Field::Destination6, Field::Icmp6)
    } else {
        (Field::Source4, Field::Destination4, Field::Icmp4)
    };
    let words = words(line);
    let mut rest = words.iter().copied().peekable();
    let mut not = false;
    while let Some(word) = rest.next() {
        if word == "!" {
            not = true;
            continue;
        }
        let not = std::mem::take(&mut not);
        let mut known = |field: Field, texts: &str, read: &dyn Fn(&str) -> Option<(u128, u128)>| {
            let done = numbers(field, texts, not, read, &mut shape);
            shape.exact &= done;
            shape.varies |= !done;
        };
        match word {
            "-A" | "--comment" => drop(rest.next()),
            "-4" | "-6" => {}
            "-s" => known(source, rest.next().unwrap_or_default(), &network),
            "-d" => known(destination, rest.next().unwrap_or_default(), &network),
            "--src-range" => known(source, rest.next().unwrap_or_default(), &addresses),
            "--dst-range" => known(destination, rest.next().unwrap_or_default(), &addresses),
            "-p" => known(Field::Protocol, rest.next().unwrap_or_default(), &|text| {
                let number = u128::from(Protocol::parse(text)?.0);
                Some((number, number))
            }),
            "--sport" | "--sports" => {
                known(Field::SourcePort, rest.next().unwrap_or_default(), &ports);
            }
            "--dport" | "--dports" => {
                known(
                    Field::DestinationPort,
                    rest.next().unwrap_or_default(),
                    &ports,
                );
            }
            "--ctstate" | "--state" => {
                known(Field::State, rest.next().unwrap_or_default(), &|text| {
                    let text = text.to_lowercase();
                    let at = STATES.iter().position(|state| *state == text)? as u128;
                    Some((at, at))
                });
            }
            "--icmp-type" | "--icmpv6-type" => {
                known(icmp, rest.next().unwrap_or_default(), &|text| {
                    let number = icmp_number(icmp, text)?;
                    Some((number, number))
                });
            }
            "-i" | "-o" => {
                let field = if word == "-i" { Field::In } else { Field::Out };
                let name = rest.next().unwrap_or_default().trim_matches('"');
                let name = match name.strip_suffix('+') {
                    Some(begin) => format!("{begin}*"),
                    None => name.to_owned(),
                };
                shape.conditions.push(Condition {
                    field,
                    values: Values::Names(vec![name], not),
                });
            }
            "-m" => {
                let name = rest.next().unwrap_or_default();
                if !KNOWN.contains(&name) {
                    shape.exact = false;
                    shape.varies |= !OF_CONNECTION.contains(&name);
                }
            }
            "-j" | "-g" => {
                let target = rest.next().unwrap_or_default();
                let with = rest.find(|word| *word == "tcp-reset");
                let ending = ending(word, target);
                if with.is_some() {
                    shape.conditions.push(Condition::number(Field::Protocol, 6));
                }
                if ending == Ending::Other {
                    shape.exact = false;
                }
                shape.branches.push((Vec::new(), ending));
                break;
            }
            word if word.starts_with('-') => {
                shape.exact = false;
                let of_packet = [
                    "--tcp-flags",
                    "--syn",
                    "--tcp-option",
                    "-f",
                    "--chunk-types",
                ];
                shape.varies |= of_packet.contains(&word);
            }
            _ => {}
        }
    }
    if shape.branches.is_empty() {
        shape.branches.push((Vec::new(), Ending::Continue));
    }
    shape
}

fn ending(option: &str, target: &str) -> Ending {
    match target {
        "ACCEPT" => Ending::Accept,
        "DROP" | "REJECT" => Ending::Stop,
        "RETURN" => Ending::Return,
        "LOG" | "NFLOG" => Ending::Continue,
        chain if option == "-g" => Ending::Goto(chain.to_owned()),
        // Names of targets are in capitals, and so may those of chains be: who asks for chains knows which there are.
        chain => Ending::Jump(chain.to_owned()),
    }
}

/// Adds a condition on numbers, unless it is not understood.
fn numbers(
    field: Field,
    texts: &str,
    not: bool,
    read: &dyn Fn(&str) -> Option<(u128, u128)>,
    shape: &mut Shape,
) -> bool {
    let mut elements = Vec::new();
    for text in texts.split(',') {
        let Some((first, last)) = read(text) else {
            return false;
        };
        let range = Condition::ranges(field, Ranges::new(vec![(first, last)]));
        elements.push(Element {
            text: text.to_owned(),
            conditions: vec![range],
        });
    }
    let parts = elements
        .iter()
        .filter_map(|element| element.conditions[0].numbers());
    let given = Ranges::new(parts.flat_map(Ranges::iter).collect());
    let ranges = if not {
        given.complement(&field.all())
    } else {
        given
    };
    if !not && field != Field::State {
        shape.lists.push(List {
            set: None,
            elements,
        });
    }
    Condition::ranges(field, ranges).with_implied(&mut shape.conditions);
    true
}

fn network(text: &str) -> Option<(u128, u128)> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from).ok();
    text.parse::<IpNet>().ok().or_else(alone).map(range_of)
}

fn addresses(text: &str) -> Option<(u128, u128)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().ok().map(number_of);
    Some((number(first)?, number(last)?))
}

fn ports(text: &str) -> Option<(u128, u128)> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str, open: u16| {
        if text.is_empty() {
            Some(open)
        } else {
            text.parse().ok()
        }
    };
    Some((number(first, 0)?.into(), number(last, u16::MAX)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_iptables_are_read() {
        let found = shape(
            "ip",
            "-A INPUT -s 10.0.0.0/8 ! -i wan+ -p tcp -m multiport --dports 22,80:90 -m conntrack --ctstate NEW -m comment --comment \"a -j b\" -j ACCEPT",
        );
        assert!(found.exact && !found.varies, "{found:?}");
        assert_eq!(found.branches, [(Vec::new(), Ending::Accept)]);
        let ports = Ranges::new(vec![(22, 22), (80, 90)]);
        let wanted = Condition::ranges(Field::DestinationPort, ports);
        assert!(found.conditions.contains(&wanted));
        let texts: Vec<&str> = found
            .lists
            .iter()
            .flat_map(|list| &list.elements)
            .map(|element| &*element.text)
            .collect();
        assert_eq!(texts, ["10.0.0.0/8", "tcp", "22", "80:90"]);
        let user = shape("ip", "-A INPUT -p tcp -j web");
        assert_eq!(
            user.branches,
            [(Vec::new(), Ending::Jump("web".to_owned()))]
        );
        let reset = shape("ip", "-A INPUT -j REJECT --reject-with tcp-reset");
        assert!(
            reset
                .conditions
                .contains(&Condition::number(Field::Protocol, 6))
        );
    }

    #[test]
    fn what_is_not_understood_makes_a_rule_inexact() {
        for (rule, varies) in [
            ("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT", false),
            ("-A INPUT -m mark --mark 0x1 -j ACCEPT", false),
            (
                "-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN -j ACCEPT",
                true,
            ),
            ("-A INPUT -m length --length 0:50 -j ACCEPT", true),
            ("-A INPUT -p icmp -m icmp --icmp-type 3/4 -j ACCEPT", true),
            ("-A INPUT -s 10.0.0.1/255.0.255.0 -j ACCEPT", true),
        ] {
            let found = shape("ip", rule);
            assert!(!found.exact, "{rule}");
            assert_eq!(found.varies, varies, "{rule}");
        }
    }
}
