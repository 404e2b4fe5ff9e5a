//! Rules as the JSON of nft(8) has them (libnftables-json(5)).

use std::collections::BTreeMap;

use serde_json::Value;

use super::ranges::Ranges;
use super::values::{element, fields, union};
use super::{Condition, Ending, Field, List, Shape, Values};

/// A set or a map.
#[derive(Clone, Debug, Default)]
struct Set {
    elements: Value,
    /// Whether its contents stay as they are in the listing.
    fixed: bool,
}

/// The sets and maps of all tables.
#[derive(Clone, Debug, Default)]
pub struct Sets(BTreeMap<(String, String), BTreeMap<String, Set>>);

impl Sets {
    /// Those of the output of `nft -j list ruleset`.
    pub fn new(listing: &Value) -> Self {
        let mut sets = Self::default();
        let objects = || listing["nftables"].as_array().into_iter().flatten();
        for object in objects() {
            for kind in ["set", "map"] {
                let body = &object[kind];
                if !body.is_object() {
                    continue;
                }
                let flags = body["flags"].to_string();
                let set = Set {
                    elements: body["elem"].clone(),
                    fixed: body["elem"].as_array().is_some_and(|list| !list.is_empty())
                        && !flags.contains("dynamic")
                        && !flags.contains("timeout")
                        && body["timeout"].is_null(),
                };
                let name = body["name"].as_str().unwrap_or_default();
                sets.0
                    .entry(table_of(body))
                    .or_default()
                    .insert(format!("@{name}"), set);
            }
        }
        for object in objects() {
            let rule = &object["rule"];
            for statement in rule["expr"].as_array().into_iter().flatten() {
                for kind in ["set", "map"] {
                    let name = statement[kind][kind].as_str().unwrap_or_default();
                    let table = sets.0.get_mut(&table_of(rule));
                    if let Some(set) = table.and_then(|table| table.get_mut(name)) {
                        set.fixed = false;
                    }
                }
            }
        }
        sets
    }

    /// The shape of a rule of it.
    pub fn shape(&self, rule: &Value) -> Shape {
        let none = BTreeMap::new();
        let table = table_of(rule);
        let reading = Reading {
            sets: self.0.get(&table).unwrap_or(&none),
        };
        let mut shape = Shape {
            exact: true,
            varies: false,
            branches: Vec::new(),
            ..Shape::default()
        };
        match table.0.as_str() {
            "ip" => shape.conditions.push(Condition::number(Field::Family, 4)),
            "ip6" => shape.conditions.push(Condition::number(Field::Family, 6)),
            "inet" => {}
            // Other packets come to these too.
            _ => return Shape::default(),
        }
        for statement in rule["expr"].as_array().into_iter().flatten() {
            if !shape.branches.is_empty() {
                break;
            }
            reading.statement(statement, &mut shape);
        }
        if shape.branches.is_empty() {
            shape.branches.push((Vec::new(), Ending::Continue));
        }
        shape
    }
}

fn table_of(body: &Value) -> (String, String) {
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    (text("family"), text("table"))
}

/// Reads rules of one table.
struct Reading<'a> {
    sets: &'a BTreeMap<String, Set>,
}

impl Reading<'_> {
    fn statement(&self, statement: &Value, shape: &mut Shape) {
        let Some((name, body)) = statement
            .as_object()
            .and_then(|fields| fields.iter().next())
        else {
            shape.exact = false;
            shape.varies = true;
            return;
        };
        match name.as_str() {
            "match" => {
                if self.comparison(body, shape).is_none() {
                    shape.exact = false;
                    shape.varies |= !is_of_connection(&body["left"]);
                }
            }
            "counter" | "log" => {}
            // One flow is within each.
            "limit" | "ct count" => shape.exact = false,
            "vmap" => {
                if self.verdict_map(body, shape).is_none() {
                    shape.exact = false;
                    shape.branches = vec![(Vec::new(), Ending::Other)];
                }
            }
            "reject" => {
                let more = match body["type"].as_str() {
                    None | Some("icmpx") => None,
                    Some("tcp reset") => Some(Condition::number(Field::Protocol, 6)),
                    Some("icmp") => Some(Condition::number(Field::Family, 4)),
                    Some("icmpv6") => Some(Condition::number(Field::Family, 6)),
                    Some(_) => {
                        shape.exact = false;
                        None
                    }
                };
                shape.conditions.extend(more);
                shape.branches.push((Vec::new(), Ending::Stop));
            }
            name => {
                if let Some(ending) = verdict(name, body) {
                    if ending != Ending::Continue {
                        shape.branches.push((Vec::new(), ending));
                    }
                } else {
                    // What stands behind it is asked of whatever it has changed.
                    shape.exact = false;
                    let sets = ["mangle", "set", "map"].contains(&name);
                    shape.varies |= !sets && !is_translation(name);
                    shape.branches.push((Vec::new(), Ending::Other));
                }
            }
        }
    }

    fn comparison(&self, body: &Value, shape: &mut Shape) -> Option<()> {
        let fields = fields(&body["left"])?;
        let right = &body["right"];
        let op = body["op"].as_str().unwrap_or("==");
        let set = right.as_str().filter(|name| name.starts_with('@'));
        let values: Vec<&Value> = match set {
            Some(name) => self.elements(name)?,
            None => match (right["set"].as_array(), right.as_array()) {
                (Some(list), _) | (None, Some(list)) => list.iter().collect(),
                (None, None) => vec![right],
            },
        };
        let list = List {
            set: set.map(|name| name[1..].to_owned()),
            elements: { values.iter() }
                .map(|value| element(&fields, value))
                .collect::<Option<_>>()?,
        };
        let [(field, implied)] = fields.as_slice() else {
            if !["==", "in"].contains(&op) {
                return None;
            }
            // Each part by itself: more than the tuples say.
            for (at, (field, implied)) in fields.iter().enumerate() {
                let parts = list.elements.iter().map(|element| &element.conditions[at]);
                let all = union(*field, &parts.collect::<Vec<_>>());
                shape.conditions.extend(implied.iter().cloned());
                all.with_implied(&mut shape.conditions);
            }
            shape.exact &= list.elements.len() == 1;
            shape.lists.push(list);
            return Some(());
        };
        let parts: Vec<&Condition> = { list.elements.iter() }
            .map(|element| &element.conditions[0])
            .collect();
        let given = union(*field, &parts);
        let condition = match (op, &given.values) {
            ("==" | "in", _) => given,
            ("!=", Values::Names(names, false)) => Condition {
                field: *field,
                values: Values::Names(names.clone(), true),
            },
            ("!=", Values::Numbers(ranges)) => {
                Condition::ranges(*field, ranges.complement(&field.all()))
            }
            (op, Values::Numbers(ranges)) => {
                let (number, _) = ranges.iter().next()?;
                let (low, high) = match op {
                    "<" => (0, number.checked_sub(1)?),
                    "<=" => (0, number),
                    ">" => (number.checked_add(1)?, u128::MAX),
                    ">=" => (number, u128::MAX),
                    _ => return None,
                };
                Condition::ranges(*field, Ranges::new(vec![(low, high)]).and(&field.all()))
            }
            (_, Values::Names(..)) => return None,
        };
        if ["==", "in"].contains(&op) && *field != Field::State {
            shape.lists.push(list);
        }
        shape.conditions.extend(implied.iter().cloned());
        condition.with_implied(&mut shape.conditions);
        Some(())
    }

    fn verdict_map(&self, body: &Value, shape: &mut Shape) -> Option<()> {
        let fields = fields(&body["key"])?;
        let name = body["data"].as_str();
        let pairs: Vec<&Value> = match name {
            Some(name) => self.elements(name)?,
            None => body["data"]["set"].as_array()?.iter().collect(),
        };
        let mut branches = Vec::new();
        let mut elements = Vec::new();
        for pair in pairs {
            let [key, then] = pair.as_array()?.as_slice() else {
                return None;
            };
            let (verb, body) = then.as_object()?.iter().next()?;
            let element = element(&fields, key)?;
            let mut conditions = Vec::new();
            for (condition, (_, implied)) in element.conditions.iter().zip(&fields) {
                conditions.extend(implied.iter().cloned());
                condition.clone().with_implied(&mut conditions);
            }
            branches.push((conditions, verdict(verb, body)?));
            elements.push(element);
        }
        if fields.iter().all(|(field, _)| *field != Field::State) {
            let set = name.map(|name| name[1..].to_owned());
            shape.lists.push(List { set, elements });
        }
        shape.branches = branches;
        Some(())
    }

    fn elements(&self, name: &str) -> Option<Vec<&Value>> {
        let set = self.sets.get(name).filter(|set| set.fixed)?;
        Some(set.elements.as_array()?.iter().collect())
    }
}

fn verdict(name: &str, body: &Value) -> Option<Ending> {
    let target = || body["target"].as_str().map(str::to_owned);
    Some(match name {
        "accept" => Ending::Accept,
        "drop" => Ending::Stop,
        "return" => Ending::Return,
        "continue" => Ending::Continue,
        "jump" => Ending::Jump(target()?),
        "goto" => Ending::Goto(target()?),
        _ => return None,
    })
}

fn is_translation(name: &str) -> bool {
    [
        "masquerade",
        "redirect",
        "dnat",
        "snat",
        "notrack",
        "ct helper",
        "flow",
    ]
    .contains(&name)
}

/// Whether an expression that is not understood yields the same for all packets of a connection in one direction.
fn is_of_connection(left: &Value) -> bool {
    let meta = left["meta"]["key"].as_str();
    let connection = left["ct"]["key"].as_str();
    left["fib"].is_object()
        || meta.is_some_and(|key| ["mark", "iifgroup", "oifgroup", "skuid", "skgid"].contains(&key))
        || connection.is_some_and(|key| ["mark", "zone"].contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape(expr: &str) -> Shape {
        let expr: Value = serde_json::from_str(expr).unwrap();
        let rule = json!({"family": "inet", "table": "t", "chain": "c", "expr": expr});
        let listing = json!({"nftables": [
            {"set": {"family": "inet", "table": "t", "name": "s", "elem": ["10.0.0.1", {"prefix": {"addr": "10.1.0.0", "len": 16}}]}},
            {"set": {"family": "inet", "table": "t", "name": "d", "flags": ["dynamic"], "elem": ["10.0.0.1"]}},
        ]});
        Sets::new(&listing).shape(&rule)
    }

    #[test]
    fn conditions_are_read_with_what_they_imply() {
        let found = shape(
            r#"[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@s"}},
                {"match":{"op":"!=","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[80,90]}]}}},
                {"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},
                {"counter":{"packets":0,"bytes":0}},{"accept":null}]"#,
        );
        assert!(found.exact && !found.varies);
        assert_eq!(found.branches, [(Vec::new(), Ending::Accept)]);
        let has = |condition: &Condition| found.conditions.contains(condition);
        assert!(has(&Condition::number(Field::Family, 4)));
        assert!(has(&Condition::number(Field::Protocol, 6)));
        let ports = Ranges::new(vec![(0, 21), (23, 79), (91, 65_535)]);
        assert!(has(&Condition::ranges(Field::DestinationPort, ports)));
        assert!(has(&Condition::ranges(
            Field::State,
            Ranges::new(vec![(1, 2)])
        )));
        assert_eq!(found.lists.len(), 1);
        assert_eq!(found.lists[0].set.as_deref(), Some("s"));
        assert_eq!(found.lists[0].elements[1].text, "10.1.0.0/16");
    }

    #[test]
    fn what_is_not_understood_is_said_to_be() {
        for expr in [
            r#"[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@d"}},{"accept":null}]"#,
            r#"[{"match":{"op":"==","left":{"&":[{"meta":{"key":"mark"}},2]},"right":2}},{"accept":null}]"#,
            r#"[{"limit":{"rate":5,"per":"second"}},{"accept":null}]"#,
            r#"[{"mangle":{"key":{"meta":{"key":"mark"}},"value":5}},{"accept":null}]"#,
            r#"[{"masquerade":null}]"#,
            r#"[{"xt":{"type":"match","name":"owner"}},{"accept":null}]"#,
        ] {
            assert!(!shape(expr).exact, "{expr}");
        }
        let flags = r#"[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"flags"}},"right":"syn"}},{"accept":null}]"#;
        assert!(shape(flags).varies);
    }

    #[test]
    fn a_verdict_map_has_a_branch_for_each_element() {
        let found = shape(
            r#"[{"vmap":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":{"set":[[22,{"accept":null}],[80,{"jump":{"target":"web"}}]]}}}]"#,
        );
        assert_eq!(found.branches.len(), 2);
        assert_eq!(found.branches[1].1, Ending::Jump("web".to_owned()));
        let port = Condition::number(Field::DestinationPort, 22);
        assert!(found.branches[0].0.contains(&port));
    }
}
