//! The rules as they were given, with what they ask for, and the chains that they are in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::check::doubt::{Concerns, commented};
use crate::check::guard::PREFIX;
use crate::check::judge::paths::{Path, Paths};
use crate::check::rules::{ChainName, json_listing};
use crate::check::setup::Setup;
use crate::check::shape::{Sets, Shape, of_iptables};
use crate::check::trace::Place;
use crate::check::verdict::Rule;
use crate::model::error::Error;

/// A rule as it was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The rule.
    pub rule: Arc<Rule>,
    /// What it asks for.
    pub shape: Shape,
    /// Numbers of what is in doubt of it.
    pub doubts: Vec<usize>,
    /// Whether a rule that only logs stands for it.
    pub stands_in: bool,
    /// Whether it is for what is beyond a limit.
    pub beyond: bool,
}

/// A chain that the kernel calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooked {
    /// The chain.
    pub chain: ChainName,
    /// Its type: `filter`, `nat` or `route`.
    pub kind: String,
    /// The hook: `prerouting`, `forward`….
    pub hook: String,
    /// Its priority.
    pub priority: i64,
}

/// All rules, by chain and in their order.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Each rule.
    pub rules: Vec<Given>,
    /// Where the kernel has them.
    places: HashMap<(ChainName, u64), usize>,
    /// Chains that packets may come to.
    reached: BTreeSet<ChainName>,
    /// Chains that only translate.
    translating: BTreeSet<ChainName>,
    /// Chains that the kernel calls.
    pub hooks: Vec<Hooked>,
    /// From which of these packets may come to a chain.
    origins: HashMap<ChainName, Vec<usize>>,
    /// What the policies of chains do.
    policies: HashMap<ChainName, String>,
    /// Tables with rules that change what others ask for.
    pub changing: BTreeSet<(String, String)>,
}

impl Catalog {
    /// Of what is loaded.
    ///
    /// Errors: nft(8) fails.
    pub fn new(setup: &Setup) -> Result<Self, Error> {
        let listing = json_listing(&setup.namespace)?;
        let sets = Sets::new(&setup.native);
        let mut native: HashMap<(ChainName, u64), &Value> = HashMap::new();
        for object in setup.native["nftables"].as_array().into_iter().flatten() {
            let rule = &object["rule"];
            if let Some(handle) = rule["handle"].as_u64() {
                native.insert((chain_of(rule), handle), rule);
            }
        }
        let shape = |chain: &ChainName, handle: Option<u64>, text: &str| {
            if text.starts_with("-A ") {
                return of_iptables(&chain.0, text);
            }
            let rule = handle.and_then(|handle| native.get(&(chain.clone(), handle)));
            rule.map_or_else(Shape::default, |rule| sets.shape(rule))
        };
        let mut catalog = Self::default();
        let texts: BTreeMap<&ChainName, &Vec<(u64, String)>> = setup.rules.texts.iter().collect();
        for (chain, rules) in texts {
            let mut pending = Vec::new();
            for (handle, text) in rules {
                let doubt = doubt_of(text).and_then(|at| Some((at, setup.doubts.get(at)?)));
                let mut stands_in = false;
                let mut beyond = false;
                let rule = if let Some((at, doubt)) = doubt {
                    pending.push(at);
                    // The rule itself follows.
                    if doubt.concerns != Concerns::All {
                        continue;
                    }
                    stands_in = true;
                    Arc::clone(&doubt.rule)
                } else {
                    let given = commented(text).and_then(|at| setup.rules.replaced.get(at));
                    beyond = given.is_some() && text.starts_with("-A ") && !text.contains(" -j ");
                    let (handle, text) = match given {
                        Some((handle, text)) => (*handle, text.clone()),
                        None => (Some(*handle), text.clone()),
                    };
                    Arc::new(rule_of(chain, handle, text))
                };
                let number = catalog.rules.len();
                catalog.places.insert((chain.clone(), *handle), number);
                catalog.rules.push(Given {
                    shape: shape(chain, rule.handle, &rule.text),
                    rule,
                    doubts: std::mem::take(&mut pending),
                    stands_in,
                    beyond,
                });
            }
        }
        for rule in &setup.beyond {
            let chain = (rule.family.clone(), rule.table.clone(), rule.chain.clone());
            catalog.rules.push(Given {
                shape: shape(&chain, rule.handle, &rule.text),
                rule: Arc::new(rule.clone()),
                doubts: Vec::new(),
                stands_in: false,
                beyond: true,
            });
        }
        catalog.note_chains(&listing, setup);
        Ok(catalog)
    }

    /// The rule at a place, by its number.
    pub fn find(&self, place: &Place) -> Option<usize> {
        let key = (chain_at(place), place.handle?);
        self.places.get(&key).copied()
    }

    /// The policy of a chain.
    pub fn policy(&self, place: &Place) -> Arc<Rule> {
        let chain = chain_at(place);
        let does = self.policies.get(&chain).map_or("accept", String::as_str);
        Arc::new(rule_of(&chain, None, format!("policy {does}")))
    }

    /// The rule that let a flow's first packet pass: of the last hook in which one did, or else the policy. What translates
    /// addresses lets pass too, but that is not what it is for.
    pub fn decider(&self, paths: &Paths, path: &Path) -> Option<Arc<Rule>> {
        let places = || {
            let all = path
                .accepted
                .iter()
                .rev()
                .map(|at| &paths.places()[*at as usize]);
            all.filter(|place| !self.is_of_translation(place))
        };
        let rule = places().find_map(|place| self.find(place));
        rule.map(|at| Arc::clone(&self.rules[at].rule))
            .or_else(|| places().next().map(|place| self.policy(place)))
    }

    /// Whether a chain only translates addresses.
    fn is_of_translation(&self, place: &Place) -> bool {
        self.translating.contains(&chain_at(place))
    }

    /// Whether packets may come to the chain of a rule.
    pub fn leads_to(&self, rule: &Rule) -> bool {
        let chain = (rule.family.clone(), rule.table.clone(), rule.chain.clone());
        self.reached.contains(&chain)
    }

    /// The chains that the kernel calls, from which packets may come to that of a place.
    pub fn origins(&self, place: &Place) -> impl Iterator<Item = &Hooked> {
        let origins = self.origins.get(&chain_at(place)).into_iter().flatten();
        origins.map(|&at| &self.hooks[at])
    }

    /// Finds out which chains lead to which: by their names, wherever these stand, so that none that packets come to is
    /// missed.
    fn note_chains(&mut self, listing: &Value, setup: &Setup) {
        let mut chains: BTreeSet<ChainName> = BTreeSet::new();
        // What verdict maps name, whichever rule uses them.
        let mut mentions: BTreeMap<ChainName, BTreeSet<String>> = BTreeMap::new();
        let mut of_maps: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for object in listing["nftables"].as_array().into_iter().flatten() {
            let chain = &object["chain"];
            if chain.is_object() {
                let name = |field: &str| chain[field].as_str().unwrap_or_default().to_owned();
                let key = (name("family"), name("table"), name("name"));
                if chain["hook"].is_string() {
                    self.hooks.push(Hooked {
                        chain: key.clone(),
                        kind: name("type"),
                        hook: name("hook"),
                        priority: chain["prio"].as_i64().unwrap_or(0),
                    });
                    self.policies.insert(key.clone(), name("policy"));
                }
                chains.insert(key);
            }
            let map = &object["map"];
            if map.is_object() {
                let name = |field: &str| map[field].as_str().unwrap_or_default().to_owned();
                let names = of_maps.entry((name("family"), name("table"))).or_default();
                words(&map["elem"].to_string(), names);
            }
        }
        let given = self
            .rules
            .iter()
            .map(|given| (&given.rule, given.rule.text.as_str()));
        for (rule, text) in given {
            let chain = (rule.family.clone(), rule.table.clone(), rule.chain.clone());
            words(text, mentions.entry(chain).or_default());
        }
        for (chain, rules) in &setup.rules.texts {
            for (_, text) in rules {
                words(text, mentions.entry(chain.clone()).or_default());
                if [
                    "saddr set ",
                    "daddr set ",
                    "port set ",
                    "notrack",
                    "-j CT",
                    "-j NOTRACK",
                ]
                .iter()
                .any(|word| text.contains(word))
                {
                    self.changing.insert((chain.0.clone(), chain.1.clone()));
                }
            }
        }
        let none = BTreeSet::new();
        let closure = |from: &ChainName| {
            let mut reached = BTreeSet::from([from.clone()]);
            let mut open = vec![from.clone()];
            while let Some(chain) = open.pop() {
                let table = (chain.0.clone(), chain.1.clone());
                let own = mentions.get(&chain).unwrap_or(&none);
                let maps = of_maps.get(&table).unwrap_or(&none);
                for name in own.iter().chain(maps) {
                    let next = (chain.0.clone(), chain.1.clone(), name.clone());
                    if chains.contains(&next) && reached.insert(next.clone()) {
                        open.push(next);
                    }
                }
            }
            reached
        };
        let mut filtered = BTreeSet::new();
        for (at, hooked) in self.hooks.iter().enumerate() {
            let reached = closure(&hooked.chain);
            for chain in &reached {
                self.origins.entry(chain.clone()).or_default().push(at);
            }
            if hooked.kind != "nat" {
                filtered.extend(reached.iter().cloned());
            }
            self.reached.extend(reached);
        }
        self.translating = self.reached.difference(&filtered).cloned().collect();
    }
}

fn chain_of(rule: &Value) -> ChainName {
    let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    (text("family"), text("table"), text("chain"))
}

fn chain_at(place: &Place) -> ChainName {
    (
        place.family.to_owned(),
        place.table.clone(),
        place.chain.clone(),
    )
}

fn rule_of(chain: &ChainName, handle: Option<u64>, text: String) -> Rule {
    Rule {
        family: chain.0.clone(),
        table: chain.1.clone(),
        chain: chain.2.clone(),
        handle,
        text,
    }
}

/// The number of the doubt whose packets a rule of ours logs.
fn doubt_of(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once(&format!("{PREFIX}:"))?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn words(text: &str, into: &mut BTreeSet<String>) {
    let parts = text.split(|c: char| c.is_whitespace() || ",{};:\"[]".contains(c));
    into.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
}
