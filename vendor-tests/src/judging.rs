//! Captures and expected verdicts for `conntracker check`, from a text that people can write:
//!
//! ```text
//! interface eth0 192.0.2.10/24 2001:db8::10/64
//! route 0.0.0.0/0 192.0.2.1 eth0
//! tcp 203.0.113.5 192.0.2.10:443: accepted, reply accepted
//! tcp 203.0.113.5 192.0.2.10:23: dropped by inet filter input: policy drop
//! icmp/8/0 203.0.113.5 192.0.2.10: rejected by ip filter INPUT: -j REJECT
//! limit: limits of rates
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

/// A flow and what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The line that it is from.
    pub line: String,
    /// The flow, as JSON.
    pub flow: Value,
    /// Verdict on the first packet.
    pub verdict: String,
    /// Verdict on the answer.
    pub reply: Option<String>,
    /// Family, table and chain that decide, and a part of the rule.
    pub by: Option<(String, String)>,
}

/// A capture, and what is expected of a check.
#[derive(Clone, Debug, Default)]
pub struct Cases {
    /// The capture's description, as JSON.
    pub capture: Value,
    /// Its flows.
    pub flows: Vec<Case>,
    /// Beginnings of the limits.
    pub limits: Vec<String>,
}

impl Cases {
    /// Reads the text.
    ///
    /// Panics: if it is wrong.
    pub fn parse(text: &str) -> Self {
        let (mut interfaces, mut routes) = (Vec::new(), Vec::new());
        let mut cases = Self::default();
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] | ["#", ..] => {}
                ["interface", name, ref addresses @ ..] => {
                    interfaces.push(json!({"name": name, "addresses": addresses}));
                }
                ["route", to, via, device] => {
                    let mut route = json!({"destination": to, "interface": device});
                    if via != "-" {
                        route["gateway"] = via.into();
                    }
                    routes.push(route);
                }
                ["limit:", ..] => cases.limits.push(line["limit: ".len()..].to_owned()),
                _ => cases.flows.push(case(line)),
            }
        }
        cases.capture = json!({
            "type": "capture", "schema": 1, "interfaces": interfaces, "routes": routes,
        });
        cases
    }

    /// The capture file.
    pub fn file(&self) -> String {
        let mut text = format!("{}\n", self.capture);
        for case in &self.flows {
            let _ = writeln!(text, "{}", case.flow);
        }
        text
    }

    /// Compares with a report in JSON.
    ///
    /// Panics: if something is not as expected; all differences are named.
    pub fn compare(&self, report: &str) {
        let mut lines = report
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let head = lines.next().expect("a summary");
        let verdicts: Vec<Value> = lines.collect();
        let mut wrong = String::new();
        for case in &self.flows {
            let same = |verdict: &&Value| {
                let keys = ["protocol_number", "src", "dst", "dst_port", "icmp_type"];
                keys.iter()
                    .all(|key| verdict["flow"].get(key) == case.flow.get(key))
            };
            let found: Vec<&Value> = verdicts.iter().filter(same).collect();
            let [verdict] = found[..] else {
                let _ = writeln!(wrong, "{}: {} verdicts", case.line, found.len());
                continue;
            };
            if let Some(difference) = case.difference(verdict) {
                let _ = writeln!(wrong, "{}\n    {difference}", case.line);
            }
        }
        let limits: Vec<&str> = head["limits"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for limit in &self.limits {
            if !limits.iter().any(|known| known.starts_with(limit)) {
                let _ = writeln!(wrong, "limit \"{limit}\" is not among {limits:?}");
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
        assert_eq!(verdicts.len(), self.flows.len());
    }
}

impl Case {
    fn difference(&self, verdict: &Value) -> Option<String> {
        let reply = &verdict["reply"];
        let by = match &verdict["by"] {
            Value::Null => &reply["by"],
            by => by,
        };
        let same_rule = match &self.by {
            None => by.is_null(),
            Some((chain, rule)) => {
                let text = |name: &str| by[name].as_str().unwrap_or_default().to_owned();
                let place = [text("family"), text("table"), text("chain")].join(" ");
                place == *chain && text("rule").contains(rule.as_str())
            }
        };
        let same = verdict["verdict"] == self.verdict
            && reply["verdict"].as_str() == self.reply.as_deref()
            && same_rule;
        (!same).then(|| {
            format!(
                "{}, reply {}, by {by}, {}",
                verdict["verdict"], reply["verdict"], verdict["reason"]
            )
        })
    }
}

fn case(line: &str) -> Case {
    let (flow, expected) = line
        .split_once(": ")
        .unwrap_or_else(|| panic!("{line}: no verdict"));
    let (verdicts, by) = match expected.split_once(" by ") {
        Some((verdicts, by)) => (verdicts, Some(by)),
        None => (expected, None),
    };
    let (verdict, reply) = match verdicts.split_once(", reply ") {
        Some((verdict, reply)) => (verdict, Some(reply)),
        None => (verdicts, None),
    };
    let by = by.map(|by| {
        let (chain, rule) = by
            .split_once(": ")
            .unwrap_or_else(|| panic!("{line}: no rule"));
        (chain.to_owned(), rule.to_owned())
    });
    Case {
        line: line.to_owned(),
        flow: flow_of(flow),
        verdict: verdict.to_owned(),
        reply: reply.map(str::to_owned),
        by,
    }
}

fn flow_of(text: &str) -> Value {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (protocol, source, destination, confirmed) = match words[..] {
        [protocol, source, destination] => (protocol, source, destination, true),
        [protocol, source, destination, "unconfirmed"] => (protocol, source, destination, false),
        _ => panic!("{text}: not a flow"),
    };
    let (source, source_port) = end(source);
    let (destination, destination_port) = end(destination);
    let parts: Vec<&str> = protocol.split('/').collect();
    let number = match parts[0] {
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "icmpv6" => 58,
        "sctp" => 132,
        "gre" => 47,
        other => other
            .parse()
            .unwrap_or_else(|_| panic!("{other}: no protocol")),
    };
    let mut flow = json!({
        "type": "flow",
        "family": if source.is_ipv4() { "ipv4" } else { "ipv6" },
        "protocol_number": number,
        "src": source,
        "dst": destination,
        "confirmed": confirmed,
        "connections": 1,
    });
    if let [_, icmp_type, code] = parts[..] {
        let number = |text: &str| text.parse::<u8>().expect("a number");
        flow["icmp_type"] = number(icmp_type).into();
        flow["icmp_code"] = number(code).into();
    } else if let Some(port) = destination_port {
        flow["dst_port"] = port.into();
        flow["src_port"] = source_port.unwrap_or(1024).into();
        flow["src_port_collapsed"] = source_port.is_none().into();
    }
    flow
}

/// An address, with a port or without.
fn end(text: &str) -> (IpAddr, Option<u16>) {
    if let Ok(address) = text.parse() {
        return (address, None);
    }
    let end: std::net::SocketAddr = text
        .parse()
        .unwrap_or_else(|_| panic!("{text}: no address"));
    (end.ip(), Some(end.port()))
}
