//! Which elements of what a rule enumerates were used.

use std::collections::{HashMap, HashSet};

use super::sight::Sight;
use crate::check::shape::ranges::Ranges;
use crate::check::shape::{Element, Field, List, Shape};

/// What became of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementUse {
    /// The set that it is in; `None` if it stands in the rule.
    pub set: Option<String>,
    /// As it is written.
    pub text: String,
    /// Whether a packet of a flow had it: `None` if that is not known.
    pub used: Option<bool>,
    /// How many different values of it were seen: addresses, ports, or combinations of them.
    pub seen: u64,
    /// How many there are in it.
    pub size: u128,
}

/// Counts for one rule.
#[derive(Debug)]
pub(super) struct Tally {
    lists: Vec<Index>,
    /// Values that were seen, by list and element.
    seen: Vec<Vec<HashSet<Vec<u128>>>>,
}

/// Finds elements by values.
#[derive(Debug)]
struct Index {
    /// The fields of which values are known, by place.
    fields: Vec<(usize, Field)>,
    /// Elements of one value in each of them.
    single: HashMap<Vec<u128>, Vec<usize>>,
    /// The others.
    ranged: Vec<usize>,
}

/// Combinations of addresses and ports of one packet, before and after translation.
fn combinations(sight: &Sight, fields: &[(usize, Field)]) -> Vec<Vec<(u128, u128)>> {
    let mut all: Vec<Vec<(u128, u128)>> = vec![Vec::new()];
    for (_, field) in fields {
        let values = sight.values(*field).unwrap_or_default();
        let longer = all.iter().flat_map(|begin| {
            values
                .iter()
                .map(|value| [begin.as_slice(), &[*value]].concat())
        });
        all = longer.collect();
    }
    all
}

impl Index {
    fn new(list: &List) -> Self {
        let fields: Vec<(usize, Field)> = { list.elements.first().into_iter() }
            .flat_map(|element| {
                element
                    .conditions
                    .iter()
                    .map(|condition| condition.field)
                    .enumerate()
            })
            // Devices and states are not in captures, and which source port it was is not known of most.
            .filter(|(_, field)| {
                !field.is_device() && ![Field::State, Field::SourcePort].contains(field)
            })
            .collect();
        let mut index = Self {
            fields,
            single: HashMap::new(),
            ranged: Vec::new(),
        };
        for (at, element) in list.elements.iter().enumerate() {
            let values: Option<Vec<u128>> = { index.fields.iter() }
                .map(|(place, _)| {
                    let ranges = element.conditions[*place].numbers()?;
                    let (first, last) = ranges.iter().next()?;
                    (first == last).then_some(first)
                })
                .collect();
            match values {
                Some(values) => index.single.entry(values).or_default().push(at),
                None => index.ranged.push(at),
            }
        }
        index
    }

    /// The elements that a packet had, with its values.
    fn find(&self, list: &[Element], sight: &Sight, mut found: impl FnMut(usize, Vec<u128>)) {
        for values in combinations(sight, &self.fields) {
            let exact: Vec<u128> = values.iter().map(|(first, _)| *first).collect();
            for at in self.single.get(&exact).into_iter().flatten() {
                found(*at, exact.clone());
            }
            for &at in &self.ranged {
                let mut pairs = self.fields.iter().zip(&values);
                let fits = pairs.all(|((place, _), (first, last))| {
                    let ranges = list[at].conditions[*place].numbers();
                    ranges.is_some_and(|ranges| {
                        ranges
                            .iter()
                            .any(|(begin, end)| begin <= *last && *first <= end)
                    })
                });
                if fits {
                    found(at, exact.clone());
                }
            }
        }
    }
}

/// Whether what is listed is worth telling: addresses, ports and what is made up of them.
fn is_told(list: &List) -> bool {
    let plain = [
        Field::Protocol,
        Field::Family,
        Field::State,
        Field::SourcePort,
    ];
    list.elements.first().is_some_and(|element| {
        let mut fields = element.conditions.iter().map(|condition| condition.field);
        fields.any(|field| !field.is_device() && !plain.contains(&field))
    })
}

impl Tally {
    pub fn new(shape: &Shape) -> Self {
        let told = || shape.lists.iter().filter(|list| is_told(list));
        Self {
            lists: told().map(Index::new).collect(),
            seen: told()
                .map(|list| vec![HashSet::new(); list.elements.len()])
                .collect(),
        }
    }

    /// The rule has matched a packet.
    pub fn add(&mut self, shape: &Shape, sight: &Sight) {
        let told = shape.lists.iter().filter(|list| is_told(list));
        for ((index, seen), list) in self.lists.iter().zip(&mut self.seen).zip(told) {
            index.find(&list.elements, sight, |at, values| {
                seen[at].insert(values);
            });
        }
    }

    /// What became of each element. Those that were not used may have been by packets of the undecided flows.
    pub fn finish(self, shape: &Shape, undecided: &[[Sight; 2]]) -> Vec<ElementUse> {
        let mut uses = Vec::new();
        let told = shape.lists.iter().filter(|list| is_told(list));
        for ((index, seen), list) in self.lists.into_iter().zip(self.seen).zip(told) {
            let mut perhaps: HashSet<usize> = HashSet::new();
            if seen.iter().any(HashSet::is_empty) {
                for sight in undecided.iter().flatten() {
                    index.find(&list.elements, sight, |at, _| {
                        perhaps.insert(at);
                    });
                }
            }
            for (at, (element, seen)) in list.elements.iter().zip(seen).enumerate() {
                let used = match (seen.is_empty(), perhaps.contains(&at)) {
                    (false, _) => Some(true),
                    (true, true) => None,
                    (true, false) => Some(false),
                };
                let sizes = index
                    .fields
                    .iter()
                    .map(|(place, _)| element.conditions[*place].numbers().map_or(1, Ranges::size));
                uses.push(ElementUse {
                    set: list.set.clone(),
                    text: element.text.clone(),
                    used: used.filter(|_| !index.fields.is_empty()),
                    seen: seen.len() as u64,
                    size: sizes.fold(1, u128::saturating_mul),
                });
            }
        }
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::coverage::stage::Stage;
    use crate::check::shape::of_iptables;
    use crate::model::record::{Identity, Record};
    use crate::model::tuple::Tuple;

    #[test]
    fn what_was_seen_of_a_network_is_counted() {
        let shape = of_iptables(
            "ip",
            "-A INPUT -s 10.0.0.0/8 -p tcp -m multiport --dports 22,80 -j ACCEPT",
        );
        let mut tally = Tally::new(&shape);
        for source in ["10.0.0.1", "10.0.0.2", "10.0.0.1"] {
            let tuple = Tuple::tcp(source, "192.0.2.1", 22);
            let record = Record::new(Identity::of(&tuple), true);
            tally.add(&shape, &Sight::new(&record, None, false, Stage::default()));
        }
        let uses = tally.finish(&shape, &[]);
        let found: Vec<_> = uses
            .iter()
            .map(|one| (&*one.text, one.used, one.seen, one.size))
            .collect();
        let expected = [
            ("10.0.0.0/8", Some(true), 2, 1 << 24),
            ("22", Some(true), 1, 1),
            ("80", Some(false), 0, 1),
        ];
        assert_eq!(found, expected);
    }
}
