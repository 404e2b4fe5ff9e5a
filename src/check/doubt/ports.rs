//! Rules that tell source ports from 1024 on apart. Captures fold those into one, as clients choose them at random, so that
//! of a folded flow it is not known whether it meets such a condition: `tcp sport 49152-65535`, `--sport 5353`. All of
//! them meet `sport 1024-65535`, and none meets `sport 53`.

use serde_json::Value;

/// The ports that clients choose from at random, as captures fold them.
const FIRST: u16 = 1024;

/// Whether a comparison of nft(8), as its JSON has it, is true of some of these ports and false of others.
pub(super) fn asks_for_source_port(body: &Value) -> bool {
    let left = &body["left"];
    if !mentions_source_port(left) {
        return false;
    }
    let is_alone = left["payload"].is_object() || left["ct"].is_object();
    let bounds = bounds(&body["right"]).filter(|_| is_alone);
    // Of a mask, a concatenation or a named set, it may be.
    let Some(bounds) = bounds else { return true };
    let op = body["op"].as_str().unwrap_or("==");
    let holds = |port: u16| {
        bounds.iter().any(|&(first, last)| match op {
            "<" => port < first,
            "<=" => port <= first,
            ">" => port > last,
            ">=" => port >= last,
            // "!=" divides them as "==" does.
            _ => (first..=last).contains(&port),
        })
    };
    divides(&bounds, holds)
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
    if let Some(list) = right["set"].as_array() {
        let all: Option<Vec<_>> = list.iter().map(bounds).collect();
        return Some(all?.concat());
    }
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    if let Some([first, last]) = right["range"].as_array().map(Vec::as_slice) {
        return Some(vec![(port(first)?, port(last)?)]);
    }
    let port = port(right)?;
    Some(vec![(port, port)])
}

/// A rule of iptables(8) without its conditions on source ports; `None` if these tell none of them apart.
pub(super) fn without_source_ports<'a>(words: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut kept: Vec<&str> = Vec::new();
    let mut divided = false;
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        let is_option = ["--sport", "--source-port", "--sports", "--source-ports"].contains(&word);
        if !is_option {
            kept.push(word);
            continue;
        }
        let value = rest.next()?;
        let bounds: Option<Vec<_>> = value.split(',').map(range).collect();
        let divides = bounds.is_none_or(|bounds| {
            divides(&bounds, |port| {
                bounds
                    .iter()
                    .any(|&(first, last)| (first..=last).contains(&port))
            })
        });
        if !divides {
            kept.extend([word, value]);
            continue;
        }
        divided = true;
        if kept.last() == Some(&"!") {
            kept.pop();
        }
        // It takes ports of one side only, and nothing without them.
        if kept.ends_with(&["-m", "multiport"]) {
            kept.truncate(kept.len() - 2);
        }
    }
    divided.then_some(kept)
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

/// Whether a condition holds for some of the ports and not for others: it can change at its bounds only.
fn divides(bounds: &[(u16, u16)], holds: impl Fn(u16) -> bool) -> bool {
    let at_bounds = bounds
        .iter()
        .flat_map(|&(first, last)| [first.saturating_sub(1), first, last, last.saturating_add(1)]);
    let mut ports = at_bounds
        .chain([FIRST, u16::MAX])
        .filter(|&port| port >= FIRST);
    let first = ports.next().is_some_and(&holds);
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
            assert_eq!(asks_for_source_port(&body), expected, "{body}");
        }
        let concat = r#"{"op":"==","left":{"concat":[{"meta":{"key":"iifname"}},{"payload":{"protocol":"th","field":"sport"}}]},"right":"@x"}"#;
        assert!(asks_for_source_port(&serde_json::from_str(concat).unwrap()));
        let dport =
            r#"{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":5353}"#;
        assert!(!asks_for_source_port(&serde_json::from_str(dport).unwrap()));
    }

    #[test]
    fn rules_of_iptables_are_told_by_their_words() {
        let without = |rule: &'static str| {
            let words: Vec<&str> = rule.split(' ').collect();
            without_source_ports(&words).map(|words| words.join(" "))
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
