//! Which expressions of nft(8), as its JSON has them (libnftables-json(5)), tell what stands outside the ruleset.

use std::collections::BTreeMap;

use serde_json::Value;

use super::marks::{Kind, Marks};
use super::why;

/// What the rest of the ruleset says.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The marks that it sets.
    pub marks: &'a Marks,
    /// Names of the sets and maps of the table, with `@`, whose contents are not known.
    pub filled: Vec<String>,
    /// Whether it sets labels.
    pub labels: bool,
    /// Whether it sets priorities.
    pub priorities: bool,
    /// The elements of the table's sets, by their names with `@`.
    pub elements: &'a BTreeMap<String, Value>,
}

impl Known<'_> {
    /// Why the truth of a comparison is not known; `None` if it is.
    pub fn doubt_of_match(&self, body: &Value) -> Option<&'static str> {
        let left = &body["left"];
        if let Some((kind, mask)) = mark(left) {
            let values = constants(&body["right"]);
            let own = values.is_some_and(|values| {
                values
                    .iter()
                    .all(|&value| self.marks.decide(kind, value, mask))
            });
            if own {
                return None;
            }
        }
        // Neighbour discovery, which is what rules ask this of, is injected with it (RFC 4861, 7.1).
        let hop_limit = left["payload"]["field"] == "hoplimit" && body["right"] == 255;
        if hop_limit && body["op"] == "==" {
            return None;
        }
        if asks_for_ecn(body) {
            return Some(why::HEADER);
        }
        self.doubt(left).or_else(|| self.doubt(&body["right"]))
    }

    /// Whether a comparison is with a whole mark of the ruleset's own. Of bits of a mark, rulesets and programs keep to
    /// theirs.
    pub fn is_of_own_mark(&self, body: &Value) -> bool {
        mark(&body["left"]) == Some((Kind::Packet, u32::MAX)) && self.doubt_of_match(body).is_none()
    }

    /// Why what an expression yields is not known.
    pub fn doubt(&self, expression: &Value) -> Option<&'static str> {
        match expression {
            Value::String(name) if self.filled.contains(name) => Some(why::FILLED),
            Value::Array(list) => list.iter().find_map(|part| self.doubt(part)),
            Value::Object(fields) => fields
                .iter()
                .find_map(|(name, body)| self.named(name, body).or_else(|| self.doubt(body))),
            _ => None,
        }
    }

    fn named(&self, name: &str, body: &Value) -> Option<&'static str> {
        let key = body["key"].as_str().unwrap_or_default();
        Some(match name {
            "meta" => match key {
                "mark" => why::MARK,
                "priority" if !self.priorities => why::PRIORITY,
                "random" => why::CHANCE,
                "cpu" => why::PROCESSOR,
                "skuid" | "skgid" | "cgroup" => why::OWNER,
                "iifgroup" | "oifgroup" => why::GROUP,
                "iiftype" | "oiftype" | "iifkind" | "oifkind" | "sdif" | "sdifname" => why::KIND,
                "ibrname" | "obrname" | "ibriport" | "obriport" | "ibridgename" | "obridgename"
                | "ibrpvid" | "ibrvproto" => why::PORT,
                "rtclassid" => why::ROUTE,
                "time" | "day" | "hour" => why::TIME,
                "ipsec" | "secpath" | "secmark" => why::IPSEC,
                "length" => why::CONTENT,
                _ => return None,
            },
            "ct" => match key {
                "mark" => why::MARK,
                "label" if !self.labels => why::LABEL,
                "expiration" => why::EXPIRY,
                "id" => why::CHANCE,
                "bytes" | "packets" | "avgpkt" => why::VOLUME,
                "secmark" => why::IPSEC,
                _ => return None,
            },
            "tproxy" => why::PROXY,
            "queue" if body["flags"] == "bypass" || mentions(&body["flags"], "bypass") => {
                why::PROGRAM
            }
            // One of them is taken (nf_nat_l4proto_unique_tuple, net/netfilter/nf_nat_core.c).
            "dnat" | "redirect" if chooses(body) => why::CHANCE,
            "numgen" | "symhash" => why::CHANCE,
            // The kernel makes the seed up (nft_jhash_init, net/netfilter/nft_hash.c).
            "jhash" if body["seed"].is_null() => why::CHANCE,
            "rt" => why::ROUTE,
            "socket" if key == "cgroupv2" => why::OWNER,
            "socket" => why::PROXY,
            "ipsec" => why::IPSEC,
            "osf" | "tcp option" | "ip option" | "exthdr" | "sctp chunk" | "dccp option" => {
                why::CONTENT
            }
            "payload" => return of_payload(body),
            _ => return None,
        })
    }
}

/// Whether a destination is chosen out of a range. A network that another one is mapped to (`dnat prefix to`) is none.
fn chooses(body: &Value) -> bool {
    let of_network = body["addr"]["prefix"].is_object() && body["type_flags"].is_null();
    body["port"]["range"].is_array() || body["addr"]["range"].is_array() || of_network
}

/// A field of the packet: addresses, ports, types and flags are those of the flow.
fn of_payload(body: &Value) -> Option<&'static str> {
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    match (text("protocol"), text("field")) {
        // By offset and length.
        ("", "") => Some(why::CONTENT),
        ("ether" | "vlan" | "arp", _) => Some(why::LINK),
        (_, "ttl" | "hoplimit" | "dscp" | "ecn") => Some(why::HEADER),
        ("ip" | "icmp" | "icmpv6", "id") | ("ip6", "flowlabel") => Some(why::CONTENT),
        ("tcp", "doff" | "urgptr") => Some(why::CONTENT),
        (_, "length" | "checksum" | "csumcov" | "window" | "sequence" | "ackseq" | "vtag") => {
            Some(why::CONTENT)
        }
        ("esp" | "ah" | "comp" | "gre" | "geneve" | "vxlan", _) => Some(why::CONTENT),
        _ => None,
    }
}

/// The flags of TCP by their names (RFC 9293, 3.1; RFC 3168, 6.1).
const TCP_FLAGS: [(&str, u64); 8] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ecn", 0x40),
    ("cwr", 0x80),
];
/// Those that say whether a host knows ECN: a SYN has both or none, and its answer one or none.
const ECN: u64 = 0xc0;
/// The others of a SYN, its answer, and later packets.
const USUAL: [u64; 3] = [0x02, 0x12, 0x10];

/// Whether a comparison of TCP's flags hangs on whether hosts know ECN, which captures do not tell.
fn asks_for_ecn(body: &Value) -> bool {
    let left = &body["left"];
    let is_flags = |value: &Value| {
        value["payload"]["protocol"] == "tcp" && value["payload"]["field"] == "flags"
    };
    let (mask, known) = match left["&"].as_array().map(Vec::as_slice) {
        Some([flags, mask]) if is_flags(flags) => (tcp_flags(mask), true),
        _ => (Some(0xff), is_flags(left)),
    };
    if !known {
        return false;
    }
    let right = &body["right"];
    let values: Vec<&Value> = match right["set"].as_array() {
        Some(list) => list.iter().collect(),
        None => vec![right],
    };
    let Some(mask) = mask else { return true };
    values.into_iter().any(|value| match tcp_flags(value) {
        None => true,
        // Any of these flags.
        Some(value) if body["op"] == "in" => {
            let value = value & mask;
            value & ECN != 0 && USUAL.iter().any(|usual| usual & value == 0)
        }
        Some(value) => {
            let other = |usual: &u64| (usual ^ value) & mask & !ECN != 0;
            mask & ECN != 0 && !USUAL.iter().all(other)
        }
    })
}

/// Flags by name or number, alone or together.
fn tcp_flags(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    if let Some(name) = value.as_str() {
        let found = TCP_FLAGS.iter().find(|(known, _)| *known == name);
        return found.map(|(_, bit)| *bit);
    }
    let all = value.as_array().or_else(|| value["|"].as_array())?;
    all.iter()
        .try_fold(0, |flags, one| Some(flags | tcp_flags(one)?))
}

/// The kind of a mark that is compared, and the bits of it that count.
fn mark(left: &Value) -> Option<(Kind, u32)> {
    let kind = |value: &Value| {
        if value["meta"]["key"] == "mark" {
            Some(Kind::Packet)
        } else if value["ct"]["key"] == "mark" {
            Some(Kind::Connection)
        } else {
            None
        }
    };
    if let Some(kind) = kind(left) {
        return Some((kind, u32::MAX));
    }
    let both = left["&"].as_array()?;
    let mask = u32::try_from(both.get(1)?.as_u64()?).ok()?;
    Some((kind(both.first()?)?, mask))
}

/// The numbers that something is compared with; `None` if it is no number or list of them.
fn constants(right: &Value) -> Option<Vec<u32>> {
    if let Some(list) = right["set"].as_array() {
        return list.iter().map(as_u32).collect();
    }
    Some(vec![as_u32(right)?])
}

fn as_u32(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// Notes what a statement that sets a mark makes of it.
pub fn note_mark(body: &Value, marks: &mut Marks) {
    let Some((kind, _)) = mark(&body["key"]) else {
        return;
    };
    let value = &body["value"];
    if let Some(number) = as_u32(value) {
        marks.set(kind, number);
    } else if let Some(map) = value["map"]["data"]["set"].as_array() {
        map.iter()
            .filter_map(|pair| as_u32(pair.get(1)?))
            .for_each(|number| marks.set(kind, number));
    } else {
        for name in ["|", "^"] {
            let bits = value[name].as_array().and_then(|both| as_u32(both.get(1)?));
            if let Some(bits) = bits {
                marks.set(kind, bits);
            }
        }
        let other = match kind {
            Kind::Packet => "ct",
            Kind::Connection => "meta",
        };
        if mentions_mark(value, other) {
            marks.copy_to(kind);
        }
    }
}

fn mentions(value: &Value, word: &str) -> bool {
    value
        .as_array()
        .is_some_and(|list| list.iter().any(|one| one == word))
}

fn mentions_mark(value: &Value, whose: &str) -> bool {
    match value {
        Value::Array(list) => list.iter().any(|part| mentions_mark(part, whose)),
        Value::Object(fields) => {
            value[whose]["key"] == "mark" || fields.values().any(|part| mentions_mark(part, whose))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(text: &str, marks: &Marks) -> Option<&'static str> {
        let known = Known {
            marks,
            filled: vec!["@seen".to_owned()],
            labels: false,
            priorities: false,
            elements: &BTreeMap::new(),
        };
        known.doubt_of_match(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_stands_outside_is_told_from_what_the_flow_has() {
        let marks = Marks::default();
        for (body, expected) in [
            (
                r#"{"op":"==","left":{"meta":{"key":"mark"}},"right":51820}"#,
                Some(why::MARK),
            ),
            (
                r#"{"op":"==","left":{"numgen":{"mode":"random","mod":2,"offset":0}},"right":0}"#,
                Some(why::CHANCE),
            ),
            (
                r#"{"op":"==","left":{"symhash":{"mod":2}},"right":0}"#,
                Some(why::CHANCE),
            ),
            (
                r#"{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@seen"}"#,
                Some(why::FILLED),
            ),
            (
                r#"{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@known"}"#,
                None,
            ),
            (
                r#"{"op":"==","left":{"concat":[{"meta":{"key":"iifname"}},{"meta":{"key":"skuid"}}]},"right":"@x"}"#,
                Some(why::OWNER),
            ),
            (
                r#"{"op":"==","left":{"payload":{"base":"th","offset":16,"len":16}},"right":53}"#,
                Some(why::CONTENT),
            ),
            (
                r#"{"op":"==","left":{"payload":{"protocol":"ip6","field":"hoplimit"}},"right":255}"#,
                None,
            ),
            (
                r#"{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}"#,
                None,
            ),
            (
                r#"{"op":"in","left":{"ct":{"key":"state"}},"right":"established"}"#,
                None,
            ),
        ] {
            assert_eq!(doubts(body, &marks), expected, "{body}");
        }
    }

    #[test]
    fn flags_are_in_doubt_where_ecn_decides() {
        let flags = r#"{"payload":{"protocol":"tcp","field":"flags"}}"#;
        let masked = |mask: &str| format!(r#"{{"&":[{flags},{mask}]}}"#);
        let four = masked(r#"["fin","syn","rst","ack"]"#);
        let six = masked(r#"{"|":["syn",{"|":["ack","cwr"]}]}"#);
        for (op, left, right, expected) in [
            ("==", flags, r#""syn""#, Some(why::HEADER)),
            ("!=", flags, r#""syn""#, Some(why::HEADER)),
            (
                "==",
                flags,
                r#"{"set":["fin",["syn","ack"]]}"#,
                Some(why::HEADER),
            ),
            ("in", flags, r#""cwr""#, Some(why::HEADER)),
            ("in", flags, r#"["ecn","syn"]"#, Some(why::HEADER)),
            ("in", flags, r#""syn""#, None),
            // None has no flag at all, and none has three of these.
            ("==", flags, "0", None),
            ("==", flags, r#"["fin","psh","urg"]"#, None),
            ("==", &four, r#""syn""#, None),
            ("==", &six, r#""syn""#, Some(why::HEADER)),
            ("==", &six, r#"["syn","cwr"]"#, Some(why::HEADER)),
            ("==", &six, r#""cwr""#, None),
        ] {
            let body = format!(r#"{{"op":"{op}","left":{left},"right":{right}}}"#);
            assert_eq!(doubts(&body, &Marks::default()), expected, "{body}");
        }
    }

    #[test]
    fn marks_that_the_ruleset_sets_are_known() {
        let mut marks = Marks::default();
        let set =
            r#"{"key":{"meta":{"key":"mark"}},"value":{"|":[{"meta":{"key":"mark"}},16384]}}"#;
        note_mark(&serde_json::from_str(set).unwrap(), &mut marks);
        let masked = r#"{"op":"==","left":{"&":[{"meta":{"key":"mark"}},16384]},"right":16384}"#;
        assert_eq!(doubts(masked, &marks), None);
        let other = r#"{"op":"==","left":{"meta":{"key":"mark"}},"right":7}"#;
        assert_eq!(doubts(other, &marks), Some(why::MARK));
    }
}
