//! Rules of nft(8) that are loaded already: those in doubt are changed for ones that log, those with limits of rates for
//! ones without.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::conditions::{Known, note_mark};
use super::marks::Marks;
use super::ports::{Division, division, mentions_source_port};
use super::tables::{Tables, effect, rules};
use super::{Concerns, Doubt, Effect, comment, prefix, why};
use crate::check::guard::GROUP;
use crate::check::verdict::Rule;

/// What is to be changed.
#[derive(Debug, Default)]
pub struct Edits {
    /// For `nft -j -f`, one object a rule: so that the rest can be done if nft(8) does not take one.
    pub commands: Vec<Vec<Value>>,
    /// What is not known then of the rules, from number `first` on.
    pub doubts: Vec<Doubt>,
    /// Rules that others stand for, by the numbers in the comments of these.
    pub replaced: Vec<(Option<u64>, String)>,
    /// Rules for what is beyond a limit, which no flow is by itself: they are taken out.
    pub beyond: Vec<Rule>,
}

/// Notes the marks that loaded rules set.
pub fn note_marks(listing: &Value, marks: &mut Marks) {
    for (_, expressions) in rules(listing) {
        for statement in expressions {
            if statement["mangle"].is_object() {
                note_mark(&statement["mangle"], marks);
            }
        }
    }
}

/// Finds what is to be changed in the output of `nft -j list ruleset`. `first` is the number of the first doubt, `text` tells a rule's text by family, table, chain and handle, and
/// `replaced` is how many rules others stand for already.
pub fn edits(
    listing: &Value,
    marks: &Marks,
    first: usize,
    replaced: usize,
    text: &dyn Fn(&Rule) -> String,
) -> Edits {
    let tables = Tables::of(listing);
    let mut edits = Edits::default();
    for (rule, expressions) in rules(listing) {
        let name = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
        let table = (name("family"), name("table"));
        let known = Known {
            marks,
            filled: tables.filled(&table),
            labels: tables.labels,
            priorities: tables.priorities,
            elements: tables.elements(&table),
        };
        let found = Found::of(expressions, &known, tables.limits.get(&table));
        if !found.is_changed() {
            continue;
        }
        let mut place = Rule {
            family: table.0.clone(),
            table: table.1.clone(),
            chain: name("chain"),
            handle: rule["handle"].as_u64(),
            text: String::new(),
        };
        place.text = text(&place);
        let target = |expr: Option<Vec<Value>>, comment: Option<String>| {
            let mut rule = json!({
                "family": place.family, "table": place.table, "chain": place.chain, "handle": place.handle,
            });
            if let Some(expr) = expr {
                rule["expr"] = expr.into();
            }
            if let Some(comment) = comment {
                rule["comment"] = comment.into();
            }
            rule
        };
        let mut commands = Vec::new();
        for (is_so, why, concerns) in [
            (found.is_of_own_mark(), why::OWN_MARK, Concerns::Own),
            (
                found.source_port.is_some() && found.effect.is_some(),
                why::SOURCE_PORT,
                Concerns::Folded,
            ),
        ] {
            if !is_so {
                continue;
            }
            let expr = logging(&found, first + edits.doubts.len());
            edits
                .commands
                .push(vec![json!({"insert": {"rule": target(Some(expr), None)}})]);
            let (effect, ports) = match (&found.source_port, concerns) {
                (Some(Division::Of(ports)), Concerns::Folded) => {
                    let accepts =
                        found.effect == Some(Effect::Accept) && !tables.sets_nothing(&table);
                    let effect = found.effect.filter(|_| !accepts);
                    (effect.unwrap_or(Effect::Other), ports.clone())
                }
                _ => (Effect::Other, Vec::new()),
            };
            edits.doubts.push(Doubt {
                why,
                effect,
                concerns,
                ports,
                rule: Arc::new(place.clone()),
            });
        }
        if found.doubt.is_none() && !found.rates {
            continue;
        }
        if let (Some(why), false) = (found.doubt, found.never) {
            let accepts = found.effect == Some(Effect::Accept) && tables.sets_nothing(&table);
            let effect = match found.effect {
                Some(Effect::Accept) if !accepts => Effect::Other,
                Some(effect) => effect,
                None => Effect::Other,
            };
            let expr = logging(&found, first + edits.doubts.len());
            commands.push(json!({"insert": {"rule": target(Some(expr), None)}}));
            edits.doubts.push(Doubt {
                why,
                effect,
                concerns: Concerns::All,
                ports: Vec::new(),
                rule: Arc::new(place.clone()),
            });
        } else if !found.never {
            let number = replaced + edits.replaced.len();
            let expr = Some(found.without_rates.clone());
            commands.push(json!({"insert": {"rule": target(expr, Some(comment(number)))}}));
            edits.replaced.push((place.handle, place.text.clone()));
        }
        if found.never {
            edits.beyond.push(place.clone());
        }
        commands.push(json!({"delete": {"rule": target(None, None)}}));
        edits.commands.push(commands);
    }
    edits
}

/// The statements that log what meets the conditions that are known.
fn logging(found: &Found, number: usize) -> Vec<Value> {
    let mut expr = found.certain.clone();
    expr.push(json!({"log": {"prefix": prefix(number), "group": GROUP, "queue-threshold": 1}}));
    expr
}

/// What is found in a rule.
#[derive(Debug, Default)]
struct Found {
    /// The first condition that is not known.
    doubt: Option<&'static str>,
    /// The conditions that are.
    certain: Vec<Value>,
    /// The rule without limits of rates.
    without_rates: Vec<Value>,
    rates: bool,
    /// Whether it asks for a mark that the ruleset sets.
    own_mark: bool,
    /// How it divides the source ports that clients choose from.
    source_port: Option<Division>,
    /// Whether it asks for more than a single flow can be.
    never: bool,
    /// What it does.
    effect: Option<Effect>,
}

impl Found {
    fn of(
        expressions: &[Value],
        known: &Known<'_>,
        limits: Option<&BTreeMap<String, bool>>,
    ) -> Self {
        let mut found = Self::default();
        for statement in expressions {
            if let Some(over) = rate(statement, limits) {
                found.rates = true;
                found.never |= over;
                continue;
            }
            found.without_rates.push(statement.clone());
            let doubt = if statement["match"].is_object() {
                known.doubt_of_match(&statement["match"])
            } else if statement["quota"].is_object() || statement["quota"].is_string() {
                Some(why::VOLUME)
            } else if statement["mangle"].is_object() {
                // A mark that is made from another one is as certain as what asks for it is.
                let value = known.doubt(&statement["mangle"]["value"]);
                value.filter(|why| *why != why::MARK && effect(statement).is_some())
            } else if effect(statement).is_some() {
                known.doubt(statement)
            } else {
                None
            };
            if found.doubt.is_none() {
                found.doubt = doubt;
            }
            let new = effect(statement);
            found.effect = match (found.effect, new) {
                (Some(Effect::Other), _) | (Some(_), Some(Effect::Other)) => Some(Effect::Other),
                (old, new) => new.or(old),
            };
            let own_mark = known.is_of_own_mark(&statement["match"]);
            found.own_mark |= own_mark;
            // Also where a mark or a destination is made of it.
            let made_of_it = || {
                statement["match"].is_null()
                    && effect(statement).is_some()
                    && mentions_source_port(statement)
            };
            let source_port = if mentions_source_port(&statement["vmap"]["key"]) || made_of_it() {
                Some(Division::Unknown)
            } else {
                division(&statement["match"], |name| known.elements.get(name))
            };
            let divides = source_port.is_some();
            found.source_port = match (found.source_port.take(), source_port) {
                (Some(_), Some(_)) => Some(Division::Unknown),
                (before, new) => before.or(new),
            };
            if doubt.is_none() && statement["match"].is_object() && !own_mark && !divides {
                found.certain.push(statement.clone());
            }
        }
        found
    }

    /// Whether it has to be another rule: what only counts and logs is left as it is.
    const fn is_changed(&self) -> bool {
        self.effect.is_some() && (self.doubt.is_some() || self.rates || self.source_port.is_some())
            || self.is_of_own_mark()
    }

    /// Whether all that is in doubt is a mark that the ruleset gives, and programs may.
    const fn is_of_own_mark(&self) -> bool {
        let ends = matches!(
            self.effect,
            Some(Effect::Accept | Effect::Drop | Effect::Reject)
        );
        self.own_mark && self.doubt.is_none() && !self.rates && ends
    }
}

/// Whether a statement limits rates or numbers, and if so, whether it is for what goes beyond: by a flow that is the only
/// one nothing is.
fn rate(statement: &Value, limits: Option<&BTreeMap<String, bool>>) -> Option<bool> {
    if let Some(limit) = statement.get("limit") {
        return Some(match limit.as_str() {
            Some(name) => limits.and_then(|limits| limits.get(name)) == Some(&true),
            None => limit["inv"] == true,
        });
    }
    if let Some(count) = statement.get("ct count") {
        // The first connection is number one.
        let none = count["val"] == 0;
        return Some((count["inv"] == true) != none);
    }
    for kind in ["set", "map", "meter"] {
        let stateful = match &statement[kind]["stmt"] {
            Value::Array(list) => list.iter().find_map(|inner| rate(inner, limits)),
            one @ Value::Object(_) => rate(one, limits),
            _ => None,
        };
        if stateful.is_some() {
            return stateful;
        }
        // A set that is full takes none, and the rule does not match then (`nft_dynset_eval`, net/netfilter/nft_dynset.c):
        // by a flow that is the only one it is not full.
        if ["add", "update"]
            .iter()
            .any(|op| statement[kind]["op"] == *op)
        {
            return Some(false);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rules: &str) -> Edits {
        let rules: Vec<Value> = serde_json::from_str(rules).unwrap();
        let mut objects = vec![
            json!({"set": {"family": "inet", "table": "t", "name": "empty", "type": "ipv4_addr"}}),
        ];
        for (at, expr) in rules.into_iter().enumerate() {
            objects.push(json!({"rule": {"family": "inet", "table": "t", "chain": "c", "handle": at + 1, "expr": expr}}));
        }
        let listing = json!({"nftables": objects});
        let mut marks = Marks::default();
        note_marks(&listing, &mut marks);
        edits(&listing, &marks, 0, 0, &|_| "text".to_owned())
    }

    #[test]
    fn rules_in_doubt_are_changed_for_ones_that_log_what_comes_to_them() {
        let found = of(r#"[
            [{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "wan"}},
             {"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 51820}}, {"accept": null}],
            [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@empty"}}, {"drop": null}],
            [{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 5}}, {"counter": null}],
            [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]
        ]"#);
        let whys: Vec<_> = found
            .doubts
            .iter()
            .map(|doubt| (doubt.why, doubt.effect))
            .collect();
        assert_eq!(
            whys,
            [(why::MARK, Effect::Accept), (why::FILLED, Effect::Drop)]
        );
        let expr = &found.commands[0][0]["insert"]["rule"]["expr"];
        assert_eq!(expr.as_array().unwrap().len(), 2, "{expr}");
        assert_eq!(expr[1]["log"]["prefix"], prefix(0));
        assert_eq!(found.commands[0][1]["delete"]["rule"]["handle"], 1);
        assert_eq!(found.commands.len(), 2);
    }

    #[test]
    fn nothing_is_beyond_a_rate_that_comes_alone() {
        let found = of(r#"[
            [{"limit": {"rate": 25, "per": "second"}}, {"accept": null}],
            [{"limit": {"rate": 5, "per": "minute", "inv": true}}, {"drop": null}],
            [{"ct count": {"val": 20, "inv": true}}, {"drop": null}],
            [{"ct count": {"val": 20}}, {"accept": null}],
            [{"set": {"op": "add", "elem": 1, "set": "@x", "stmt": [{"limit": {"rate": 5, "per": "second", "inv": true}}]}}, {"drop": null}],
            [{"limit": {"rate": 5, "per": "minute"}}, {"log": null}]
        ]"#);
        assert!(found.doubts.is_empty());
        let inserted: Vec<bool> = found
            .commands
            .iter()
            .map(|commands| commands.len() == 2)
            .collect();
        assert_eq!(inserted, [true, false, false, true, false]);
        assert_eq!(
            found.commands[0][0]["insert"]["rule"]["expr"],
            json!([{"accept": null}])
        );
    }

    #[test]
    fn no_flow_finds_a_set_full() {
        let found = of(r#"[
            [{"set": {"op": "update", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "set": "@seen"}}, {"accept": null}],
            [{"set": {"op": "add", "elem": 1, "set": "@seen"}}, {"counter": null}]
        ]"#);
        assert!(found.doubts.is_empty());
        assert_eq!(found.commands.len(), 1);
        let expr = &found.commands[0][0]["insert"]["rule"]["expr"];
        assert_eq!(*expr, json!([{"accept": null}]));
    }

    #[test]
    fn what_is_made_of_the_source_port_is_in_doubt_for_folded_flows() {
        let hash = r#"{"jhash": {"mod": 2, "seed": 1, "expr": {"payload": {"protocol": "tcp", "field": "sport"}}}}"#;
        let found = of(&format!(
            r#"[[{{"match": {{"op": "==", "left": {hash}, "right": 0}}}}, {{"drop": null}}],
                [{{"mangle": {{"key": {{"meta": {{"key": "mark"}}}}, "value": {hash}}}}}],
                [{{"dnat": {{"addr": {{"map": {{"key": {hash}, "data": "@m"}}}}}}}}]]"#
        ));
        let concerns: Vec<_> = found.doubts.iter().map(|doubt| doubt.concerns).collect();
        assert_eq!(concerns, [Concerns::Folded; 3]);
    }

    #[test]
    fn a_table_that_sets_marks_passes_more_by_than_verdicts() {
        let found = of(r#"[
            [{"match": {"op": "==", "left": {"meta": {"key": "cpu"}}, "right": 1}}, {"accept": null}],
            [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 5}}]
        ]"#);
        assert_eq!(found.doubts[0].effect, Effect::Other);
    }
}
