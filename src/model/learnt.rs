//! Names that clients asked a name server for, and that led to the address of a flow.

use serde::{Deserialize, Serialize};

use crate::model::timestamp::Timestamp;

/// A name that led a client to an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Learnt {
    /// The name that was asked for, in small letters.
    pub name: String,
    /// When an answer first gave the address.
    pub first: Timestamp,
    /// When one last did.
    pub last: Timestamp,
}

/// So many names are kept of a flow. A line of a file that has more does not make a list larger.
const NAMES_MAX: usize = 64;

/// Joins what two lists know of a flow, in the order of names.
pub fn join(known: &mut Vec<Learnt>, more: Vec<Learnt>) {
    for one in more {
        match known.binary_search_by(|own| own.name.cmp(&one.name)) {
            Ok(at) => {
                let own = &mut known[at];
                own.first = own.first.min(one.first);
                own.last = own.last.max(one.last);
            }
            Err(at) => known.insert(at, one),
        }
        // The first by their order, whatever came first, so that a union is the same in any order.
        known.truncate(NAMES_MAX);
    }
}

/// The names as a cell shows them: the one that was asked for last, and how many others there are.
pub fn in_short(names: &[Learnt]) -> Option<String> {
    let newest = names.iter().max_by_key(|one| (one.last, one.first))?;
    Some(match names.len() - 1 {
        0 => newest.name.clone(),
        others => format!("{} (+{others})", newest.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_in_any_order_it_is_the_same() {
        let learnt = |name: &str, first, last| Learnt {
            name: name.to_owned(),
            first: Timestamp::from_us(first).unwrap(),
            last: Timestamp::from_us(last).unwrap(),
        };
        let (one, other) = (
            vec![learnt("a", 5, 6), learnt("b", 1, 1)],
            vec![learnt("a", 2, 3), learnt("c", 9, 9)],
        );
        let mut left = one.clone();
        join(&mut left, other.clone());
        let mut right = other;
        join(&mut right, one);
        assert_eq!(left, right);
        assert_eq!(
            left,
            [learnt("a", 2, 6), learnt("b", 1, 1), learnt("c", 9, 9)]
        );
        assert_eq!(in_short(&left).unwrap(), "c (+2)");
        let many = (0..100).map(|n| learnt(&format!("n{n}"), 1, 1)).collect();
        join(&mut left, many);
        assert_eq!(left.len(), NAMES_MAX);
    }
}
