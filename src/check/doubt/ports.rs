//! Rules that tell source ports from 1024 on apart. Captures fold those into one, as clients choose them at random, so that
//! of a folded flow it is not known whether it meets such a condition: `tcp sport 49152-65535`, `--sport 5353`. All of
//! them meet `sport 1024-65535`, and none meets `sport 53`.
//!
//! Folded flows are injected with a port that meets none of these conditions, if there is one. What becomes of them then
//! is known where no such rule matches, as with other doubts.

use serde_json::Value;

/// The ports that clients choose from at random, as captures fold them.
const FIRST: u16 = 1024;

/// How a condition divides these ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Division {
    /// True of these, and false of the others.
    Of(Vec<(u16, u16)>),
    /// True of some, perhaps.
    Unknown,
}

/// How a comparison of nft(8), as its JSON has it, divides these ports; `None` if it is true of all or of none of them.
/// `set` has the elements of named sets.
pub(super) fn division<'a>(
    body: &'a Value,
    set: impl Fn(&str) -> Option<&'a Value>,
) -> Option<Division> {
    let left = &body["left"];
    if !mentions_source_port(left) {
        return None;
    }
    let is_alone = left["payload"].is_object() || left["ct"].is_object();
    let right = match body["right"].as_str() {
        Some(name) => set(name).and_then(elements),
        None => bounds(&body["right"]),
    };
    // Of a mask or a concatenation it is not worked out.
    let Some(bounds) = right.filter(|_| is_alone) else {
        return Some(Division::Unknown);
    };
    let first = bounds.first().map_or(0, |(first, _)| *first);
    let holds = match body["op"].as_str().unwrap_or("==") {
        "<" => vec![(0, first.saturating_sub(1))],
        "<=" => vec![(0, first)],
        ">" => vec![(first.saturating_add(1), u16::MAX)],
        ">=" => vec![(first, u16::MAX)],
        "!=" => others(&bounds),
        _ => bounds,
    };
    divides(&holds).then_some(Division::Of(holds))
}

/// Whether an expression of nft(8) yields the source port, among other things perhaps.
pub(super) fn mentions_source_port(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().any(mentions_source_port),
        Value::Object(fields) => {
            let of_connection = value["key"] == "proto-src" && value["dir"] != "reply";
            value["field"] == "sport" || of_connection || fields.values().any(mentions_source_port)
        }
        _ => false,
    }
}

/// The numbers and ranges that something is compared with.
fn bounds(right: &Value) -> Option<Vec<(u16, u16)>> {
    if right["set"].is_array() {
        return elements(&right["set"]);
    }
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    if let Some([first, last]) = right["range"].as_array().map(Vec::as_slice) {
        return Some(vec![(port(first)?, port(last)?)]);
    }
    let port = port(right)?;
    Some(vec![(port, port)])
}

/// The elements of a set of ports.
fn elements(list: &Value) -> Option<Vec<(u16, u16)>> {
    let all: Option<Vec<_>> = list.as_array()?.iter().map(bounds).collect();
    Some(all?.concat())
}

/// The numbers that ranges leave out.
fn others(bounds: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut sorted = bounds.to_vec();
    sorted.sort_unstable();
    let mut left = Vec::new();
    let mut next = 0_u32;
    for (first, last) in sorted {
        if u32::from(first) > next {
            left.push((next as u16, first - 1));
        }
        next = next.max(u32::from(last) + 1);
    }
    if next <= u32::from(u16::MAX) {
        left.push((next as u16, u16::MAX));
    }
    left
}

/// A rule of iptables(8) without its conditions on source ports, and how these divide them; `None` if they do not.
pub(super) fn without_source_ports<'a>(words: &[&'a str]) -> Option<(Vec<&'a str>, Division)> {
    let mut kept: Vec<&str> = Vec::new();
    let mut divided = None;
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        let is_option = ["--sport", "--source-port", "--sports", "--source-ports"].contains(&word);
        if !is_option {
            kept.push(word);
            continue;
        }
        let value = rest.next()?;
        let bounds: Option<Vec<_>> = value.split(',').map(range).collect();
        if bounds.as_ref().is_some_and(|bounds| !divides(bounds)) {
            kept.extend([word, value]);
            continue;
        }
        let inverted = kept.last() == Some(&"!");
        divided = Some(match bounds {
            Some(bounds) if inverted => Division::Of(others(&bounds)),
            Some(bounds) => Division::Of(bounds),
            None => Division::Unknown,
        });
        if inverted {
            kept.pop();
        }
        // It takes ports of one side only, and nothing without them.
        if kept.ends_with(&["-m", "multiport"]) {
            kept.truncate(kept.len() - 2);
        }
    }
    divided.map(|divided| (kept, divided))
}

/// `53`, `1024:65535`, `:1023`, `49152:`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str, open: u16| {
        if text.is_empty() {
            Some(open)
        } else {
            text.parse().ok()
        }
    };
    Some((number(first, 0)?, number(last, u16::MAX)?))
}

/// Whether some of the ports are in ranges and others are not: that can change at bounds only.
fn divides(bounds: &[(u16, u16)]) -> bool {
    let holds = |port: u16| {
        bounds
            .iter()
            .any(|&(first, last)| (first..=last).contains(&port))
    };
    let at_bounds = bounds
        .iter()
        .flat_map(|&(first, last)| [first.saturating_sub(1), first, last, last.saturating_add(1)]);
    let mut ports = at_bounds
        .chain([FIRST, u16::MAX])
        .filter(|&port| port >= FIRST);
    let first = ports.next().is_some_and(holds);
    ports.any(|port| holds(port) != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_divides_the_ports_of_clients_counts() {
        let sport = r#"{"payload":{"protocol":"tcp","field":"sport"}}"#;
        for (op, right, expected) in [
            ("==", "53", false),
            ("==", "5353", true),
            ("!=", "5353", true),
            ("==", r#"{"range":[1024,65535]}"#, false),
            ("==", r#"{"range":[0,65535]}"#, false),
            ("==", r#"{"range":[1,1023]}"#, false),
            ("==", r#"{"range":[49152,65535]}"#, true),
            ("==", r#"{"set":[53,123,{"range":[32768,60999]}]}"#, true),
            ("==", r#"{"set":[53,123]}"#, false),
            ("==", r#""@ports""#, true),
            (">=", "1024", false),
            (">", "1023", false),
            (">", "1024", true),
            ("<", "1024", false),
            ("<", "1025", true),
        ] {
            let body = format!(r#"{{"op":"{op}","left":{sport},"right":{right}}}"#);
            let body = serde_json::from_str(&body).unwrap();
            assert_eq!(division(&body, |_| None).is_some(), expected, "{body}");
        }
        let concat = r#"{"op":"==","left":{"concat":[{"meta":{"key":"iifname"}},{"payload":{"protocol":"th","field":"sport"}}]},"right":"@x"}"#;
        let concat = serde_json::from_str(concat).unwrap();
        assert_eq!(division(&concat, |_| None), Some(Division::Unknown));
        let dport =
            r#"{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":5353}"#;
        let dport = serde_json::from_str(dport).unwrap();
        assert_eq!(division(&dport, |_| None), None);
        let unequal =
            r#"{"op":"!=","left":{"payload":{"protocol":"tcp","field":"sport"}},"right":5353}"#;
        let unequal = serde_json::from_str(unequal).unwrap();
        let expected = vec![(0, 5352), (5354, 65535)];
        assert_eq!(division(&unequal, |_| None), Some(Division::Of(expected)));
        let named =
            r#"{"op":"==","left":{"payload":{"protocol":"tcp","field":"sport"}},"right":"@s"}"#;
        let named = serde_json::from_str(named).unwrap();
        let elements = serde_json::from_str(r#"[512,{"range":[1024,65535]}]"#).unwrap();
        assert_eq!(division(&named, |_| Some(&elements)), None);
    }

    #[test]
    fn rules_of_iptables_are_told_by_their_words() {
        let without = |rule: &'static str| {
            let words: Vec<&str> = rule.split(' ').collect();
            without_source_ports(&words).map(|(words, _)| words.join(" "))
        };
        assert_eq!(
            without("-A FORWARD -p tcp -m tcp --sport 49152:65535 --dport 443 -j ACCEPT")
                .as_deref(),
            Some("-A FORWARD -p tcp -m tcp --dport 443 -j ACCEPT")
        );
        assert_eq!(
            without("-A FORWARD -p udp -m multiport ! --sports 53,5353 -j DROP").as_deref(),
            Some("-A FORWARD -p udp -j DROP")
        );
        for rule in [
            "-A FORWARD -p udp --sport 123 --dport 123 -j ACCEPT",
            "-A FORWARD -p tcp --sport 1024: --dport 22 -j ACCEPT",
            "-A FORWARD -p tcp --dport 5353 -j ACCEPT",
        ] {
            assert_eq!(without(rule), None, "{rule}");
        }
    }
}
