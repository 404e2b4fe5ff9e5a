//! Loading rulesets into the namespace, with what is in doubt in them changed.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::check::doubt::{self, Doubt, marks::Marks};
use crate::check::form::{self, Form};
use crate::check::namespace::Namespace;
use crate::check::rules::{ChainName, Rules, json_listing, listed, listing};
use crate::check::ruleset::Ruleset;
use crate::check::stand_in;
use crate::check::tool::NFT;
use crate::check::verdict::Rule;
use crate::model::error::Error;

/// What is loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The rules as the kernel has them.
    pub rules: Rules,
    /// What is not known of them.
    pub doubts: Vec<Doubt>,
    /// What was left out of the rulesets.
    pub left_out: Vec<String>,
    /// The rules of nft(8) as they were given, in its JSON.
    pub native: Value,
    /// Rules for what is beyond a limit, which no flow is by itself: they are taken out.
    pub beyond: Vec<Rule>,
}

/// Who has loaded which table, by family and name.
#[derive(Debug, Default)]
struct Owners(BTreeMap<(String, String), String>);

/// Loads the rulesets. `device` makes a device that nft(8) wants to be there.
///
/// Errors: a lack of programs or of the kernel's; a ruleset that does not load, would remove another one, or decides
/// nothing.
pub fn load(
    rulesets: &[Ruleset],
    namespace: &Namespace,
    device: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<Loaded, Error> {
    let mut rulesets: Vec<Ruleset> = rulesets.iter().flat_map(Ruleset::by_program).collect();
    // Stable: files for nft(8) may begin with "flush ruleset", and come first.
    rulesets.sort_by_key(|ruleset| ruleset.form);
    let mut owners = Owners::default();
    let mut marks = Marks::default();
    let mut left_out = Vec::new();
    let native = native(&rulesets, namespace, device, &mut owners, &mut left_out)?;
    doubt::note_marks(&native, &mut marks);
    let mut sets = BTreeSet::new();
    for ruleset in rulesets
        .iter()
        .filter(|ruleset| ruleset.form == Form::Ipset)
    {
        ruleset.load(namespace, device)?;
        sets.extend(stand_in::created(&ruleset.text).map(str::to_owned));
    }
    let of_iptables = |ruleset: &&Ruleset| ruleset.form.family().is_some();
    for ruleset in rulesets.iter().filter(of_iptables) {
        doubt::note_marks_of_text(&ruleset.text, &mut marks);
    }
    let mut doubts = Vec::new();
    let mut replaced = Vec::new();
    let mut forms = Vec::new();
    for ruleset in rulesets.iter().filter(of_iptables) {
        let form = iptables(ruleset, namespace, device, &mut owners, &mut |ruleset| {
            let given = doubt::Given {
                marks: &marks,
                sets: &sets,
                family: ruleset.form.family().unwrap_or_default(),
                first: doubts.len(),
                replaced: replaced.len(),
            };
            let done = doubt::rewrite(&ruleset.text, &given);
            doubts.extend(done.doubts);
            replaced.extend(done.replaced.into_iter().map(|line| (None, line)));
            done.text
        })?;
        forms.push(form.0);
        left_out.extend(form.1);
    }
    let mut beyond = Vec::new();
    let given = change(
        namespace,
        &native,
        &marks,
        &mut doubts,
        &mut replaced,
        &mut beyond,
    )?;
    let mut rules = Rules::read(namespace, &forms)?;
    rules.nft_texts.extend(given);
    rules.replaced = replaced;
    let objects = native["nftables"].as_array();
    rules.decides |= { objects.into_iter().flatten() }.any(|object| object["rule"].is_object());
    if !rules.decides {
        return Err(Error::new(format!(
            "{}: there is no rule in it and no policy of drop, so it decides nothing, and that a flow gets through would \
             say nothing: is it the right file?",
            { rulesets.iter() }
                .map(|ruleset| ruleset.name.as_str())
                .collect::<Vec<_>>()
                .join(" and ")
        )));
    }
    Ok(Loaded {
        rules,
        doubts,
        left_out,
        native,
        beyond,
    })
}

/// Loads those of nft(8), and returns what it lists then.
fn native(
    rulesets: &[Ruleset],
    namespace: &Namespace,
    device: &mut dyn FnMut(&str) -> Result<(), Error>,
    owners: &mut Owners,
    left_out: &mut Vec<String>,
) -> Result<Value, Error> {
    let mut native = json!({});
    let mut first: Option<&str> = None;
    for ruleset in rulesets.iter().filter(|ruleset| ruleset.form == Form::Nft) {
        let flushes = ruleset.text.lines().any(|line| {
            let words: Vec<&str> = line
                .split([' ', '\t', ';'])
                .filter(|word| !word.is_empty())
                .collect();
            words.starts_with(&["flush", "ruleset"])
        });
        if let (Some(first), true) = (first, flushes) {
            return Err(Error::new(format!(
                "{}: it begins with \"flush ruleset\", which would remove what {first} has loaded: take that line out, or \
                 name this file first",
                ruleset.name
            )));
        }
        left_out.extend(ruleset.load(namespace, device)?.1);
        let listing = json_listing(namespace)?;
        if let (Some(first), true) = (first, removes(&native, &listing)) {
            return Err(Error::new(format!(
                "{}: it removes, flushes or switches off what {first} has loaded, which is judged then as if both were \
                 there: put both into one file",
                ruleset.name
            )));
        }
        native = listing;
        owners.note(&native, &ruleset.name);
        first.get_or_insert(&ruleset.name);
    }
    Ok(native)
}

/// Whether a table or a rule of one listing of nft(8) is not in another one as it was.
fn removes(before: &Value, after: &Value) -> bool {
    let kept = |listing: &Value| -> BTreeSet<String> {
        let objects = listing["nftables"].as_array().into_iter().flatten();
        let shown = objects.filter_map(|object| {
            let (table, rule) = (&object["table"], &object["rule"]);
            if table.is_object() {
                let what = [&table["family"], &table["name"], &table["flags"]];
                return Some(format!("{what:?}"));
            }
            let what = [
                &rule["family"],
                &rule["table"],
                &rule["chain"],
                &rule["handle"],
            ];
            rule.is_object().then(|| format!("{what:?}"))
        });
        shown.collect()
    };
    !kept(before).is_subset(&kept(after))
}

/// Loads rules of iptables, changed by `prepare`, and returns the form that they were loaded in.
fn iptables(
    ruleset: &Ruleset,
    namespace: &Namespace,
    device: &mut dyn FnMut(&str) -> Result<(), Error>,
    owners: &mut Owners,
    prepare: &mut dyn FnMut(&Ruleset) -> String,
) -> Result<(Form, Vec<String>), Error> {
    // If it fails, iptables-restore(8) names what it misses.
    let stand_in = |ruleset: &Ruleset| namespace.run(|| stand_in::make(ruleset).ok());
    // By the program itself, in a namespace where it does no harm: which family it is shows there, and its complaint is
    // of the text as it was given.
    let trial = Namespace::new()?;
    trial.run(|| stand_in::make(ruleset).ok())?;
    let (ruleset, left_out) = ruleset.load_as_either(&trial, device)?;
    owners.claim(&ruleset)?;
    stand_in(&ruleset)?;
    let changed = Ruleset {
        text: prepare(&ruleset),
        certain: true,
        ..ruleset.clone()
    };
    changed.load(namespace, device).map_err(|error| {
        Error::new(format!(
            "{}: rules of it that ask for what is set elsewhere can't be marked as such: {error}",
            ruleset.name
        ))
    })?;
    Ok((ruleset.form, left_out))
}

/// Changes the rules of nft(8) that are in doubt, and returns the texts of all as they were, if any was changed.
fn change(
    namespace: &Namespace,
    native: &Value,
    marks: &Marks,
    doubts: &mut Vec<Doubt>,
    replaced: &mut Vec<(Option<u64>, String)>,
    beyond: &mut Vec<Rule>,
) -> Result<Vec<String>, Error> {
    let texts: OnceCell<BTreeMap<(ChainName, u64), String>> = OnceCell::new();
    let text = |rule: &Rule| {
        let texts = texts.get_or_init(|| {
            let listed = listed(&listing(namespace).unwrap_or_default()).into_iter();
            listed
                .map(|(chain, handle, text)| ((chain, handle), text))
                .collect()
        });
        let chain = (rule.family.clone(), rule.table.clone(), rule.chain.clone());
        let handle = rule.handle.unwrap_or(0);
        texts
            .get(&(chain, handle))
            .cloned()
            .unwrap_or_else(|| format!("rule {handle}"))
    };
    let edits = doubt::edits(native, marks, doubts.len(), replaced.len(), &text);
    doubts.extend(edits.doubts);
    replaced.extend(edits.replaced);
    beyond.extend(edits.beyond);
    let apply = |commands: &[Value]| -> Result<(), Error> {
        let batch = json!({"nftables": commands}).to_string();
        NFT.output(namespace, &["-j", "-f", "-"], batch.as_bytes())
            .map(|_| ())
    };
    let all: Vec<Value> = edits.commands.iter().flatten().cloned().collect();
    let given = || {
        texts
            .get()
            .map_or_else(Vec::new, |texts| texts.values().cloned().collect())
    };
    if all.is_empty() || apply(&all).is_ok() {
        return Ok(given());
    }
    for mut commands in edits.commands {
        if apply(&commands).is_ok() {
            continue;
        }
        // What nft(8) lists it does not always read again. Then whatever comes to the rule is in doubt.
        let statements = commands[0]["insert"]["rule"]["expr"].as_array_mut();
        if let Some(statements) = statements {
            statements.retain(|statement| statement["log"].is_object());
        }
        apply(&commands).map_err(|error| {
            Error::new(format!(
                "a rule that asks for what is set elsewhere can't be marked as such: {error}"
            ))
        })?;
    }
    Ok(given())
}

impl Owners {
    fn note(&mut self, listing: &Value, name: &str) {
        for object in listing["nftables"].as_array().into_iter().flatten() {
            let text = |field: &str| object["table"][field].as_str().map(str::to_owned);
            if let (Some(family), Some(table)) = (text("family"), text("name")) {
                self.0
                    .entry((family, table))
                    .or_insert_with(|| name.to_owned());
            }
        }
    }

    /// iptables-restore(8) replaces the tables of its file.
    fn claim(&mut self, ruleset: &Ruleset) -> Result<(), Error> {
        let family = ruleset.form.family().unwrap_or_default();
        let tables: BTreeSet<&str> = ruleset.text.lines().filter_map(form::table).collect();
        for table in tables {
            let key = (family.to_owned(), table.to_owned());
            if let Some(owner) = self.0.get(&key) {
                let (version, other) = match ruleset.form {
                    Form::Iptables => ("IPv4", "ip6"),
                    _ => ("IPv6", "ip"),
                };
                return Err(Error::new(format!(
                    "{}: its table {table} was taken for one of {version}, and would replace that of {owner}: if it is of \
                     the other family, say so with {other}:{}",
                    ruleset.name, ruleset.name
                )));
            }
            self.0.insert(key, ruleset.name.clone());
        }
        Ok(())
    }
}
