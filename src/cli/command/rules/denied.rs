//! `--include-denied`: which flows that did not get through are wanted after all.

use clap::Parser;

use crate::cli::filters::Filters;
use crate::model::record::Record;
use crate::model::ruled::Denied;
use crate::model::selection::Selection;
use crate::model::units::{agree, counted};
use crate::ui::console::Console;

/// Filters as the words of an expression.
#[derive(Parser)]
struct Words {
    #[command(flatten)]
    filters: Filters,
}

/// What the words of an expression can begin with.
const NAMES: [&str; 7] = ["proto", "src", "dst", "host", "sport", "dport", "zone"];

/// Reads an expression: `proto=tcp dport=443,8443`, or `all`.
///
/// Errors: what is wrong with it, in words.
pub fn parse(text: &str) -> Result<Selection, String> {
    let hint = || {
        "write conditions as proto=tcp dst=10.0.0.0/8 dport=443, all of which have to hold (src, dst, host, sport, dport, \
         proto, zone), or all"
            .to_owned()
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    if words == ["all"] {
        return Ok(Selection::default());
    }
    let known = |word: &&str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| NAMES.contains(&name))
    };
    if words.is_empty() || !words.iter().all(known) {
        return Err(hint());
    }
    let options = words.iter().map(|word| format!("--{word}"));
    let parsed = Words::try_parse_from(std::iter::once("x".to_owned()).chain(options));
    parsed
        .map(|words| words.filters.selection())
        .map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            format!("{first}; {}", hint())
        })
}

/// The flows among those that did not get through that are wanted, as flows that rules are made for.
pub fn wanted(
    selection: Option<&Selection>,
    denied: Vec<Denied>,
    console: &Console,
) -> Vec<Record> {
    let all = denied.len();
    let wanted: Vec<Record> = { denied.into_iter() }
        .map(|denied| denied.flow.record)
        .filter(|record| {
            selection.is_some_and(|selection| selection.wants(&record.identity.tuple()))
        })
        .map(|record| Record {
            // There is no answer to what did not get through.
            confirmed: true,
            connections: record.connections.max(1),
            ..record
        })
        .collect();
    let unwanted = (all - wanted.len()) as u64;
    if unwanted > 0 {
        console.note(&format!(
            "{} of the captures did not get through, and {} no rule for it: conntracker show --denied lists them, \
             --include-denied makes rules for those that you want",
            counted(unwanted, "flow"),
            agree(unwanted, "has", "have")
        ));
    }
    if !wanted.is_empty() {
        console.note(&format!(
            "warning: there are rules for {} that did not get through, which nobody is known to answer",
            counted(wanted.len() as u64, "flow")
        ));
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_filters_or_all() {
        let described = |text: &str| parse(text).map(|selection| selection.describe());
        assert_eq!(described("all"), Ok(vec![]));
        assert_eq!(
            described(" proto=tcp  dport=443,8443 "),
            Ok(vec![
                "--proto=tcp".to_owned(),
                "--dport=443,8443".to_owned()
            ])
        );
        for wrong in [
            "",
            "tcp",
            "all dport=1",
            "dport",
            "confirmed=1",
            "dport=x",
            "--help",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
