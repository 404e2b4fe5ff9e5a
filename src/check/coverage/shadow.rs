//! Rules that no packet reaches, since an earlier rule of the same chain takes whatever they would match. This is a proof
//! by what the rules say: the earlier one asks for nothing that does not follow from what the later one asks for. Where a
//! rule says more than is understood, there is none.

use std::sync::Arc;

use crate::check::catalog::{Catalog, Given};
use crate::check::shape::{Condition, implies};
use crate::check::verdict::Rule;

/// In longer chains rules are not compared.
const CHAIN_MAX: usize = 20_000;

/// A rule that takes whatever this one would match, if there is one.
pub(super) fn before(catalog: &Catalog, at: usize) -> Option<Arc<Rule>> {
    let later = &catalog.rules[at];
    let same = |given: &Given| {
        let (one, other) = (&given.rule, &later.rule);
        (&one.family, &one.table, &one.chain) == (&other.family, &other.table, &other.chain)
    };
    let table = (later.rule.family.clone(), later.rule.table.clone());
    if later.beyond || catalog.changing.contains(&table) {
        return None;
    }
    let begin = catalog.rules[..at].iter().rposition(|given| !same(given));
    let begin = begin.map_or(0, |before| before + 1);
    if at - begin > CHAIN_MAX {
        return None;
    }
    let earlier = catalog.rules[begin..at].iter();
    let found = earlier.filter(|given| !given.beyond).find(|given| {
        given.shape.exact
            && given.doubts.is_empty()
            && given.shape.branches.iter().any(|(more, ending)| {
                ending.ends_chain() && { given.shape.conditions.iter().chain(more) }
                    .all(|wanted| later_is(later, wanted))
            })
    });
    found.map(|given| Arc::clone(&given.rule))
}

/// Whether whatever a rule matches meets a condition: by each of its branches, if a verdict map is all that it has.
fn later_is(later: &Given, wanted: &Condition) -> bool {
    let shape = &later.shape;
    implies(&shape.conditions, wanted)
        || !shape.branches.is_empty()
            && shape.branches.iter().all(|(more, _)| implies(more, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::shape::of_iptables;

    fn chain(lines: &[&str]) -> Catalog {
        let rules = lines.iter().zip(1..).map(|(line, handle)| Given {
            rule: Arc::new(Rule {
                family: "ip".to_owned(),
                table: "filter".to_owned(),
                chain: "INPUT".to_owned(),
                handle: Some(handle),
                text: (*line).to_owned(),
            }),
            shape: of_iptables("ip", line),
            doubts: Vec::new(),
            stands_in: false,
            beyond: false,
        });
        let mut catalog = Catalog::default();
        catalog.rules = rules.collect();
        catalog
    }

    #[test]
    fn only_what_an_earlier_rule_takes_whole_is_out_of_reach() {
        let shadowed = |lines: &[&str]| {
            let catalog = chain(lines);
            before(&catalog, lines.len() - 1).and_then(|rule| rule.handle)
        };
        let wide = "-A INPUT -s 10.0.0.0/8 -p tcp -j DROP";
        let narrow = "-A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 22 -j ACCEPT";
        assert_eq!(shadowed(&[wide, narrow]), Some(1));
        assert_eq!(shadowed(&[narrow, wide]), None);
        assert_eq!(shadowed(&["-A INPUT -j RETURN", narrow]), Some(1));
        for earlier in [
            "-A INPUT -s 10.0.0.0/8 -p tcp -j LOG",
            "-A INPUT -s 10.0.0.0/8 -p tcp -j chain",
            "-A INPUT -s 10.0.0.0/8 -p udp -j DROP",
            "-A INPUT -s 10.0.0.0/8 -i lan -j DROP",
            "-A INPUT -s 10.0.0.0/8 -m limit --limit 5/sec -j DROP",
            "-A INPUT -s 10.0.0.0/8 -m mark --mark 0x1 -j DROP",
            "-A INPUT ! -s 10.0.0.0/8 -j DROP",
        ] {
            assert_eq!(shadowed(&[earlier, narrow]), None, "{earlier}");
        }
    }
}
