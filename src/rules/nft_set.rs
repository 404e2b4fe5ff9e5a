//! Sets of nftables: short ones within the rule, long ones with a name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};

use super::block::{Block, Family};
use super::names::Names;

/// So many characters of elements stand within a rule.
const INLINE: usize = 56;
/// Lines of elements end here.
const COLUMNS: usize = 100;

/// A set with a name.
#[derive(Clone, Debug)]
struct Set {
    name: String,
    kind: String,
    interval: bool,
    comment: String,
    elements: Vec<String>,
}

/// The named sets of a table, and the names of addresses that it uses.
#[derive(Debug)]
pub struct Sets<'a> {
    addresses: &'a Names,
    used: BTreeSet<(usize, Family)>,
    sets: Vec<Set>,
    names: HashSet<String>,
    /// By type and elements: two rules that need the same share it.
    known: HashMap<(String, Vec<String>), usize>,
}

/// Elements, and how a set of them is declared.
#[derive(Clone, Debug)]
pub struct Elements {
    /// The type: `ipv4_addr . inet_service`.
    pub kind: String,
    /// Whether any is more than one value.
    pub interval: bool,
    /// The elements in nft's words, in order.
    pub elements: Vec<String>,
}

/// The type of addresses of a family.
pub const fn kind(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

impl<'a> Sets<'a> {
    /// None yet.
    pub fn new(addresses: &'a Names) -> Self {
        Self {
            addresses,
            used: BTreeSet::new(),
            sets: Vec::new(),
            names: HashSet::new(),
            known: HashMap::new(),
        }
    }

    /// Blocks of addresses as elements of a set.
    pub fn addresses(&mut self, blocks: &[Block], family: Family) -> Elements {
        Elements {
            kind: kind(family).to_owned(),
            interval: blocks.iter().any(|block| !block.is_single()),
            elements: self.addresses.elements(blocks, family, &mut self.used),
        }
    }

    /// Writes the definitions of the names that are used.
    ///
    /// Errors: those of `out`.
    pub fn define(&self, out: &mut impl Write) -> io::Result<()> {
        let definitions = self.addresses.definitions(&self.used);
        for line in &definitions {
            writeln!(out, "{line}")?;
        }
        if !definitions.is_empty() {
            writeln!(out)?;
        }
        Ok(())
    }

    /// What a rule says to match these: a value, a set without a name, or the name of a set.
    pub fn refer(&mut self, elements: Elements, name: &str, comment: &str) -> String {
        if let [one] = elements.elements.as_slice() {
            // What several addresses are called stays theirs in the kernel, which knows no definitions.
            return match self.addresses.several(one) {
                Some((name, given)) => self.refer_by_name(elements, name, &given),
                None => one.clone(),
            };
        }
        let length: usize = elements
            .elements
            .iter()
            .map(|element| element.len() + 2)
            .sum();
        if length <= INLINE {
            return format!("{{ {} }}", elements.elements.join(", "));
        }
        self.refer_by_name(elements, name, comment)
    }

    /// The name of a set of these. `name` is what it is called if there is none yet.
    pub fn refer_by_name(&mut self, elements: Elements, name: &str, comment: &str) -> String {
        let Elements {
            kind,
            interval,
            elements,
        } = elements;
        let at = *self
            .known
            .entry((kind.clone(), elements.clone()))
            .or_insert_with(|| {
                let mut unique = name.to_owned();
                let mut number = 2;
                while !self.names.insert(unique.clone()) {
                    unique = format!("{name}_{number}");
                    number += 1;
                }
                self.sets.push(Set {
                    name: unique,
                    kind,
                    interval,
                    comment: comment.to_owned(),
                    elements,
                });
                self.sets.len() - 1
            });
        format!("@{}", self.sets[at].name)
    }

    /// Writes their definitions.
    ///
    /// Errors: those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for set in &self.sets {
            writeln!(out, "\tset {} {{", set.name)?;
            writeln!(out, "\t\ttype {}", set.kind)?;
            if set.interval {
                writeln!(out, "\t\tflags interval")?;
            }
            writeln!(out, "\t\tcomment \"{}\"", set.comment)?;
            let mut column = 20;
            write!(out, "\t\telements = {{")?;
            for (index, element) in set.elements.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                if index == 0 || column + element.len() + 2 > COLUMNS {
                    write!(out, "\n\t\t\t{element}")?;
                    column = 24 + element.len();
                } else {
                    write!(out, " {element}")?;
                    column += element.len() + 2;
                }
            }
            writeln!(out, "\n\t\t}}\n\t}}\n")?;
        }
        Ok(())
    }
}
