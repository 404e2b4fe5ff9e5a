//! What the tables of nft(8) say that bears on their rules, from the output of `nft -j list ruleset`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Effect;
use crate::check::guard::TABLE;

/// Rules other than our own, with their statements.
pub(super) fn rules(listing: &Value) -> impl Iterator<Item = (&Value, &Vec<Value>)> {
    let objects = listing["nftables"].as_array().into_iter().flatten();
    objects.filter_map(|object| {
        let rule = &object["rule"];
        let expressions = rule["expr"].as_array()?;
        (rule["table"] != TABLE).then_some((rule, expressions))
    })
}

/// What tables say that bears on their rules, by family and name.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Sets and maps without contents, and those that rules fill.
    sets: BTreeMap<(String, String), BTreeSet<String>>,
    /// Named limits, and whether each is for what goes beyond.
    pub limits: BTreeMap<(String, String), BTreeMap<String, bool>>,
    /// Those with rules that change more than the way of a packet.
    setting: BTreeSet<(String, String)>,
    pub labels: bool,
    pub priorities: bool,
    /// Elements of sets, by table and by name with `@`.
    elements: BTreeMap<(String, String), BTreeMap<String, Value>>,
    none: BTreeMap<String, Value>,
}

impl Tables {
    pub fn of(listing: &Value) -> Self {
        let mut tables = Self::default();
        for object in listing["nftables"].as_array().into_iter().flatten() {
            let Some((kind, body)) = object.as_object().and_then(|fields| fields.iter().next())
            else {
                continue;
            };
            let name = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
            let table = (name("family"), name("table"));
            if kind == "set" {
                let sets = tables.elements.entry(table.clone()).or_default();
                sets.insert(format!("@{}", name("name")), body["elem"].clone());
            }
            match kind.as_str() {
                "set" | "map" if body["elem"].as_array().is_none_or(Vec::is_empty) => {
                    let sets = tables.sets.entry(table).or_default();
                    sets.insert(format!("@{}", name("name")));
                }
                // Their elements let pass what other packets have left.
                "set" | "map" if body["stmt"].is_array() || keeps_state(&body["elem"]) => {
                    let sets = tables.sets.entry(table).or_default();
                    sets.insert(format!("@{}", name("name")));
                }
                "limit" => {
                    let limits = tables.limits.entry(table).or_default();
                    limits.insert(name("name"), body["inv"] == true);
                }
                _ => {}
            }
        }
        for (rule, expressions) in rules(listing) {
            let name = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
            let table = (name("family"), name("table"));
            for statement in expressions {
                for kind in ["set", "map"] {
                    if let Some(set) = statement[kind][kind].as_str() {
                        let sets = tables.sets.entry(table.clone()).or_default();
                        sets.insert(set.to_owned());
                    }
                }
                let key = &statement["mangle"]["key"];
                tables.labels |= key["ct"]["key"] == "label";
                tables.priorities |= key["meta"]["key"] == "priority";
                if effect(statement) == Some(Effect::Other)
                    && statement["jump"].is_null()
                    && statement["goto"].is_null()
                    && statement.get("return").is_none()
                {
                    tables.setting.insert(table.clone());
                }
            }
        }
        tables
    }

    pub fn elements(&self, table: &(String, String)) -> &BTreeMap<String, Value> {
        self.elements.get(table).unwrap_or(&self.none)
    }

    pub fn filled(&self, table: &(String, String)) -> Vec<String> {
        let sets = self.sets.get(table);
        sets.map_or_else(Vec::new, |sets| sets.iter().cloned().collect())
    }

    /// Whether the table's rules only let pass and stop.
    pub fn sets_nothing(&self, table: &(String, String)) -> bool {
        !self.setting.contains(table)
    }
}

/// Whether an element of a set has a limit or a quota of its own.
fn keeps_state(elements: &Value) -> bool {
    let elements = elements.as_array().into_iter().flatten();
    let mut bodies = elements.map(|element| &element["elem"]);
    bodies.any(|body| {
        ["limit", "quota", "ct count"]
            .iter()
            .any(|name| !body[name].is_null())
    })
}

/// What a statement does to the way of a packet; `None` for conditions, and for what does nothing to it.
pub(super) fn effect(statement: &Value) -> Option<Effect> {
    let (name, body) = statement.as_object()?.iter().next()?;
    match name.as_str() {
        "accept" => Some(Effect::Accept),
        "drop" => Some(Effect::Drop),
        "reject" => Some(Effect::Reject),
        "match" | "counter" | "log" | "limit" | "quota" | "ct count" | "set" | "map" | "meter"
        | "flow" | "last" | "continue" | "secmark" | "ct timeout" | "xt" => None,
        "mangle" => {
            let key = |whose: &str| body["key"][whose]["key"].as_str();
            let kept = [Some("mark"), Some("zone"), Some("helper")];
            (kept.contains(&key("meta")) || kept.contains(&key("ct"))).then_some(Effect::Other)
        }
        _ => Some(Effect::Other),
    }
}
