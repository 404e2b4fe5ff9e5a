//! The ruleset as the kernel has it: texts of the rules, chains, and the devices that are named.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::check::doubt::commented;
use crate::check::form::Form;
use crate::check::guard;
use crate::check::limits::without_quoted;
use crate::check::namespace::Namespace;
use crate::check::tool::{IP6TABLES_SAVE, IPTABLES_SAVE, NFT};
use crate::check::trace::Place;
use crate::model::error::Error;
pub(super) use crate::trace::ruleset::ChainName;
use crate::trace::ruleset::{Ruleset, Saved};

/// What is loaded, our own table left out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Text of each rule, by family, table, chain and handle: as it was loaded, where that was by
    /// iptables, else as `nft list ruleset` has it.
    pub(super) texts: HashMap<ChainName, Vec<(u64, String)>>,
    /// Text of each rule as `nft list ruleset` has it.
    pub nft_texts: Vec<String>,
    /// Families of the tables.
    pub families: BTreeSet<String>,
    /// Type, hook and family of chains that the kernel calls.
    pub hooks: BTreeSet<(String, String, String)>,
    /// Names of devices in rules and sets; a `*` at the end stands for anything.
    pub devices: BTreeSet<String>,
    /// Whether there is a rule, or a policy of drop.
    pub decides: bool,
    /// Handle and text of the rules that others stand for, by the numbers in the comments of these.
    pub replaced: Vec<(Option<u64>, String)>,
}

impl Rules {
    /// Reads what is loaded, which was written in these forms, from what the programs list.
    ///
    /// Errors: programs that fail.
    pub fn read(namespace: &Namespace, forms: &[Form]) -> Result<Self, Error> {
        let text = listing(namespace)?;
        let json = json_listing(namespace)?;
        let mut rules = Self::default();
        for (chain, handle, rule) in listed(&text) {
            rules.nft_texts.push(rule.clone());
            rules.texts.entry(chain).or_default().push((handle, rule));
        }
        for object in json["nftables"].as_array().into_iter().flatten() {
            rules.object(object);
        }
        rules.decides |= !rules.nft_texts.is_empty();
        for (form, family, tool) in [
            (Form::Iptables, "ip", IPTABLES_SAVE),
            (Form::Ip6tables, "ip6", IP6TABLES_SAVE),
        ] {
            // It fails on tables that other rules were added to by nft(8): those texts serve as well.
            if forms.contains(&form) {
                if let Ok(saved) = tool.output::<&str>(namespace, &[], b"") {
                    rules.use_iptables_texts(family, &saved);
                }
            }
        }
        Ok(rules)
    }

    /// The handle and the text of a rule as it was given; of a policy, what it says.
    pub fn rule(&self, place: &Place) -> (Option<u64>, String) {
        let text = self.text(place);
        let given = commented(&text).and_then(|number| self.replaced.get(number));
        given.cloned().unwrap_or((place.handle, text))
    }

    fn text(&self, place: &Place) -> String {
        let Some(handle) = place.handle else {
            return "policy drop".to_owned();
        };
        let chain = (
            place.family.to_owned(),
            place.table.clone(),
            place.chain.clone(),
        );
        let rules = self.texts.get(&chain).into_iter().flatten();
        let found = rules.into_iter().find(|(known, _)| *known == handle);
        found.map_or_else(|| format!("rule {handle}"), |(_, text)| text.clone())
    }

    /// Whether the ruleset translates addresses at all.
    pub fn translates(&self) -> bool {
        self.hooks.iter().any(|(kind, ..)| kind == "nat")
    }

    /// Whether a rule takes the address of a device for its own.
    pub fn takes_addresses(&self) -> bool {
        let words = ["masquerade", "redirect"];
        let mut rules = self
            .nft_texts
            .iter()
            .map(|rule| without_quoted(rule).to_lowercase());
        // Where nft(8) can't show a target of iptables, its name stands in quotes.
        rules.any(|rule| words.iter().any(|word| rule.contains(word)))
            || self.nft_texts.iter().any(|rule| rule.contains("xt target"))
    }

    /// Whether a rule puts packets into conntrack zones.
    pub fn sets_zones(&self) -> bool {
        let texts = self.texts.values().flatten().map(|(_, text)| text);
        texts.chain(&self.nft_texts).any(|rule| {
            let rule = without_quoted(rule);
            rule.contains("zone set") || rule.contains("--zone")
        })
    }

    /// Whether related packets may fare better than new ones: by a rule that says so, or by one that stops new ones alone, as
    /// `ct state != new accept` and `ct state new drop` do.
    pub fn may_tell_related_from_new(&self) -> bool {
        let texts = self.texts.values().flatten().map(|(_, text)| text);
        let mut texts = texts.chain(&self.nft_texts);
        texts.any(|rule| may_tell_related(rule))
    }

    /// Whether a rule asks for a device other than `lo`.
    pub fn names_devices(&self) -> bool {
        self.devices.iter().any(|name| name != "lo")
    }

    /// Whether chains of the ruleset see packets before the prerouting hook.
    pub fn has_ingress(&self) -> bool {
        self.hooks.iter().any(|(_, hook, _)| hook == "ingress")
    }

    /// Whether some chain of the ruleset sees packets of this family on their way.
    pub fn sees(&self, family: &str) -> bool {
        self.hooks.iter().any(|(kind, _, of)| {
            kind != "nat" && (of == family || ["inet", "netdev"].contains(&of.as_str()))
        })
    }

    /// Whether a rule may switch tracing off, so that what later rules of the hook do with the packet is not told.
    pub fn stops_trace(&self) -> bool {
        self.nft_texts.iter().any(|rule| {
            let rule = without_quoted(rule);
            let mut sets = rule.split("nftrace set ").skip(1);
            sets.any(|value| value.split_whitespace().next() != Some("1"))
        })
    }

    fn object(&mut self, object: &Value) {
        let Some((kind, body)) = object.as_object().and_then(|fields| fields.iter().next()) else {
            return;
        };
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let own = |field: &str| body[field] == guard::TABLE;
        if own("table") || (kind == "table" && own("name")) {
            return;
        }
        match kind.as_str() {
            "table" => {
                self.families.insert(text("family"));
            }
            "chain" => {
                if body["hook"].is_string() {
                    self.hooks
                        .insert((text("type"), text("hook"), text("family")));
                }
                names(&body["dev"], &mut self.devices);
                self.decides |= body["policy"] == "drop";
            }
            "flowtable" => names(&body["dev"], &mut self.devices),
            "rule" => expressions(&body["expr"], &mut self.devices),
            "set" | "map" => {
                let types = match &body["type"] {
                    Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                for element in body["elem"].as_array().into_iter().flatten() {
                    elements(&types, element, &mut self.devices);
                }
            }
            _ => {}
        }
    }

    /// Takes the texts of iptables-save(8).
    fn use_iptables_texts(&mut self, family: &str, saved: &str) {
        let saved = Saved::parse(saved);
        for ((of, table, chain), rules) in &mut self.texts {
            if of == family {
                saved.use_texts(table, chain, rules);
            }
        }
    }
}

fn may_tell_related(rule: &str) -> bool {
    let rule = rule.to_lowercase().replace("ct helper set", "");
    let has = |words: &[&str]| words.iter().any(|word| rule.contains(word));
    // A related connection has the mark and the labels of the one that it is of. Where nft(8) can't show a match of iptables,
    // its name stands in quotes.
    let related = [
        "related",
        "expected",
        "ct helper",
        "-m helper",
        "ct mark",
        "connmark",
        "ct label",
        "connlabel",
        "xt match",
    ];
    let state = has(&["ct state", "ctstate", "--state", "ct status", "ctstatus"]);
    let accepts_new = rule.ends_with(" accept") && !has(&["!"]) && !has(&["vmap"]);
    has(&related) || (state && has(&["new", "!", "vmap", "&"]) && !accepts_new)
}

/// What `nft -a list ruleset` says.
///
/// Errors: the program fails.
pub fn listing(namespace: &Namespace) -> Result<String, Error> {
    NFT.output(namespace, &["-a", "list", "ruleset"], b"")
}

/// What `nft -j list ruleset` says.
///
/// Errors: the program fails, or prints broken JSON: nft 1.0.6 prints whatever stands in its memory as the flags of a table
/// that is dormant.
pub fn json_listing(namespace: &Namespace) -> Result<Value, Error> {
    let json = NFT.output(namespace, &["-j", "list", "ruleset"], b"")?;
    serde_json::from_str(&json).map_err(|error| {
        let what = if json.contains("\"flags\"") {
            "; some versions of nft do so for a table with \"flags dormant\", which decides nothing: leave it out"
        } else {
            ""
        };
        Error::caused(
            format!("nft -j list ruleset prints broken JSON ({error}){what}"),
            error,
        )
    })
}

/// The rules in the text of `nft -a list ruleset`, with their chains and handles.
pub(super) fn listed(text: &str) -> Vec<(ChainName, u64, String)> {
    let ruleset = Ruleset::parse(text);
    let chains = ruleset.chains();
    let chains = chains.filter(|((_, table, _), _)| table != guard::TABLE);
    let rules = chains.flat_map(|(name, chain)| {
        let rules = chain.rules.iter();
        rules.map(move |(handle, rule)| (name.clone(), *handle, rule.clone()))
    });
    rules.collect()
}

/// Adds a name, or a list of names.
fn names(value: &Value, devices: &mut BTreeSet<String>) {
    match value {
        Value::String(name) => {
            devices.insert(name.clone());
        }
        Value::Array(list) => list.iter().for_each(|name| names(name, devices)),
        _ => {}
    }
}

/// Adds the devices that a rule compares with, in whatever expression.
fn expressions(value: &Value, devices: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| expressions(value, devices)),
        Value::Object(fields) => {
            for (left, right) in [("left", "right"), ("key", "data"), ("elem", "data")] {
                if let (Some(left), Some(right)) = (fields.get(left), fields.get(right)) {
                    elements(&keys(left), right, devices);
                }
            }
            fields
                .values()
                .for_each(|value| expressions(value, devices));
        }
        _ => {}
    }
}

/// The types of what an expression yields, as far as devices matter: several for a concatenation.
fn keys(expression: &Value) -> Vec<Value> {
    if let Some(parts) = expression["concat"].as_array() {
        return parts.iter().flat_map(keys).collect();
    }
    let key = expression["meta"]["key"].as_str().unwrap_or_default();
    let device = ["iifname", "oifname", "iif", "oif", "sdifname", "sdif"].contains(&key);
    vec![Value::from(if device { "ifname" } else { "" })]
}

/// Adds the devices among the elements of a set, map or single value whose parts are of these types.
fn elements(types: &[Value], value: &Value, devices: &mut BTreeSet<String>) {
    let device = |at: usize| {
        types
            .get(at)
            .is_some_and(|kind| kind == "ifname" || kind == "iface_index")
    };
    match value {
        // A name of a set is not one of a device; the set itself is listed too.
        Value::String(name) if device(0) && !name.starts_with('@') => {
            devices.insert(name.clone());
        }
        // An element of a map: key and value.
        Value::Array(pair) => {
            if let Some(key) = pair.first() {
                elements(types, key, devices);
            }
        }
        Value::Object(fields) => {
            if let Some(Value::Array(parts)) = fields.get("concat") {
                for (at, part) in parts.iter().enumerate().filter(|(at, _)| device(*at)) {
                    elements(&types[at..=at], part, devices);
                }
            } else if let Some(Value::Array(list)) = fields.get("set") {
                list.iter()
                    .for_each(|element| elements(types, element, devices));
            } else if let Some(element) = fields.get("elem") {
                elements(types, element.get("val").unwrap_or(element), devices);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_their_handles() {
        let text = "table inet f { # handle 2\n\tset s { # handle 3\n\t\ttype ifname\n\t}\n\n\
                    \tchain i { # handle 1\n\t\ttype filter hook input priority filter; policy drop;\n\
                    \t\tlog prefix \"x # handle 9 {\" drop # handle 4\n\t}\n}\n";
        let name = ("inet".to_owned(), "f".to_owned(), "i".to_owned());
        let rule = "log prefix \"x # handle 9 {\" drop".to_owned();
        assert_eq!(listed(text), [(name, 4, rule)]);
    }

    #[test]
    fn rules_that_tell_related_from_new_are_known() {
        for rule in [
            "ct state established,related accept",
            "ct state != { invalid, new } accept",
            "ct state new drop",
            "ct state vmap { established : accept, new : jump n }",
            "-A FORWARD -m conntrack ! --ctstate INVALID,NEW -j ACCEPT",
            "-A FORWARD -m state --state NEW -j DROP",
            "ct mark 0x7 accept",
            "tcp dport 21 ct helper set \"f\" ct helper \"ftp\" accept",
        ] {
            assert!(may_tell_related(rule), "{rule}");
        }
        for rule in [
            "ct state established accept",
            "ct state new tcp dport 22 accept",
            "-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT",
            "tcp dport 21 ct helper set \"f\"",
            "ct state invalid drop",
        ] {
            assert!(!may_tell_related(rule), "{rule}");
        }
    }

    #[test]
    fn devices_are_found_wherever_they_are_named() {
        let json = r#"[
            {"rule": {"expr": [{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}]}},
            {"rule": {"expr": [{"match": {"left": {"meta": {"key": "oifname"}}, "right": {"set": ["a0", "a1"]}}}]}},
            {"rule": {"expr": [{"match": {"left": {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}}, {"meta": {"key": "iifname"}}]},
                "right": {"set": [{"concat": ["1.2.3.4", "br0"]}]}}}]}},
            {"rule": {"expr": [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["v0", {"accept": null}], ["v1", {"jump": {"target": "x"}}]]}}}]}},
            {"rule": {"expr": [{"match": {"left": {"meta": {"key": "iifname"}}, "right": "@devs"}}]}},
            {"rule": {"expr": [{"match": {"left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}]}},
            {"set": {"type": "ifname", "elem": ["s*", {"elem": {"val": "s1", "comment": "x"}}]}},
            {"map": {"type": ["ifname", "inet_service"], "map": "verdict", "elem": [[{"concat": ["m0", 22]}, {"accept": null}]]}},
            {"chain": {"family": "netdev", "table": "t", "name": "c", "dev": "n0", "hook": "ingress", "type": "filter"}}
        ]"#;
        let mut rules = Rules::default();
        for object in serde_json::from_str::<Vec<Value>>(json).unwrap() {
            rules.object(&object);
        }
        let found: Vec<&str> = rules.devices.iter().map(String::as_str).collect();
        let expected = ["a0", "a1", "br0", "lo", "m0", "n0", "s*", "s1", "v0", "v1"];
        assert_eq!(found, expected);
    }
}
