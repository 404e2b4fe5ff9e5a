//! Names of networks and hosts, from files that somebody keeps: for the command line, and as definitions of rulesets.
//!
//! Nothing of a file gets into a ruleset but addresses, names of which nothing is left but letters, digits and `_`, and in
//! comments a few harmless signs more.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;

use super::block::{Block, Family, halves_joined};
use super::by_hand::Networks;
use super::nft_words::KEYWORDS;
use crate::model::names::files;

/// No identifier is longer.
const LONGEST: usize = 40;
/// More names than this are not said in a comment.
const SAID: usize = 3;

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// As it stands in the file.
    given: String,
    networks: Vec<IpNet>,
    /// What it is called in a ruleset: for IPv4 and for IPv6.
    identifiers: [String; 2],
}

/// Names, those that came first being the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    named: Vec<Named>,
    by_name: BTreeMap<String, usize>,
    taken: BTreeSet<String>,
    /// The first name for exactly this block.
    by_block: HashMap<(Family, Block), usize>,
}

impl Names {
    /// Takes in the text of a file: see [`files::read`].
    ///
    /// Errors: what is wrong with it, in words that name the line or the entry.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        for entry in files::read(text)? {
            self.add(&entry.name, entry.network);
        }
        self.index();
        Ok(())
    }

    fn add(&mut self, name: &str, net: IpNet) {
        let next = self.named.len();
        let at = *self.by_name.entry(name.to_owned()).or_insert(next);
        if at == next {
            let identifiers =
                [name.to_owned(), format!("{name}6")].map(|name| self.identifier(&name));
            self.named.push(Named {
                given: name.to_owned(),
                networks: Vec::new(),
                identifiers,
            });
        }
        if !self.named[at].networks.contains(&net) {
            self.named[at].networks.push(net);
        }
    }

    /// Finds out which blocks have names.
    fn index(&mut self) {
        self.by_block.clear();
        for at in 0..self.named.len() {
            for family in [Family::V4, Family::V6] {
                for block in self.blocks(at, family) {
                    self.by_block.entry((family, block)).or_insert(at);
                }
            }
        }
    }

    /// A name that nft(8) takes for an identifier and that no other has.
    fn identifier(&mut self, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut word: String = name.chars().map(plain).take(LONGEST).collect();
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            word.insert_str(0, "n_");
        }
        if KEYWORDS.contains(&word.to_ascii_lowercase().as_str()) {
            word.push('_');
        }
        let mut unique = word.clone();
        let mut number = 2;
        while !self.taken.insert(unique.clone()) {
            unique = format!("{word}_{number}");
            number += 1;
        }
        unique
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// What a name stands for.
    pub fn networks(&self, name: &str) -> Option<&[IpNet]> {
        let at = self.by_name.get(name)?;
        Some(&self.named[*at].networks)
    }

    /// The blocks of one family that a name stands for, as few as there can be.
    fn blocks(&self, at: usize, family: Family) -> Vec<Block> {
        let networks = self.named[at].networks.iter();
        let of_family = networks.filter(|net| Family::of(net.addr()) == family);
        let blocks = of_family.map(|net| Block::of_net(*net)).collect();
        halves_joined(Networks::new(blocks).into_blocks())
    }

    /// Blocks as elements of a set, those that have a name by it: `$name`. The names are added to `used`.
    pub fn elements(
        &self,
        blocks: &[Block],
        family: Family,
        used: &mut BTreeSet<(usize, Family)>,
    ) -> Vec<String> {
        let mut left: BTreeSet<Block> = blocks.iter().copied().collect();
        let mut names = BTreeMap::new();
        for block in blocks {
            let Some(&at) = self.by_block.get(&(family, *block)) else {
                continue;
            };
            let all = self.blocks(at, family);
            // A name of several blocks is one only where all of them are there.
            if all.iter().all(|block| left.contains(block)) {
                for block in &all {
                    left.remove(block);
                }
                used.insert((at, family));
                names.insert(*block, format!("${}", self.identifier_of(at, family)));
            }
        }
        let shown = blocks.iter().filter_map(|block| match names.remove(block) {
            Some(name) => Some(name),
            None => left.contains(block).then(|| block.show(family).to_string()),
        });
        shown.collect()
    }

    /// The names of blocks, as text that is safe in a comment. `None` unless all have one, and these are few.
    pub fn said(&self, blocks: &[Block], family: Family) -> Option<String> {
        let mut left: BTreeSet<Block> = blocks.iter().copied().collect();
        let mut said = Vec::new();
        for block in blocks.iter().filter(|_| !self.is_empty()) {
            if !left.contains(block) {
                continue;
            }
            let at = *self.by_block.get(&(family, *block))?;
            if !self
                .blocks(at, family)
                .iter()
                .all(|block| left.remove(block))
                || said.len() == SAID
            {
                return None;
            }
            said.push(in_comment(&self.named[at].given));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// Where something comes from and goes to, as far as that has names: `from office to printer`.
    pub fn between(
        &self,
        sources: Option<&[Block]>,
        destinations: Option<&[Block]>,
        family: Family,
    ) -> Option<String> {
        let said = |word: &str, blocks: Option<&[Block]>| {
            let said = self.said(blocks?, family)?;
            Some(format!("{word} {said}"))
        };
        let both = [said("from", sources), said("to", destinations)];
        let both: Vec<String> = both.into_iter().flatten().collect();
        (!both.is_empty()).then(|| both.join(" "))
    }

    /// What a word of [`elements`](Self::elements) is called, if it stands for several blocks.
    pub fn several(&self, element: &str) -> Option<(&str, String)> {
        let name = element.strip_prefix('$')?;
        let named = self.named.iter().enumerate();
        for (at, one) in named {
            for (identifier, family) in one.identifiers.iter().zip([Family::V4, Family::V6]) {
                if identifier == name && self.blocks(at, family).len() > 1 {
                    return Some((identifier, in_comment(&one.given)));
                }
            }
        }
        None
    }

    fn identifier_of(&self, at: usize, family: Family) -> &str {
        &self.named[at].identifiers[usize::from(family == Family::V6)]
    }

    /// What the names that are used are called in a ruleset, and what they stand for, in the order of the files.
    pub fn meanings(
        &self,
        used: &BTreeSet<(usize, Family)>,
    ) -> impl Iterator<Item = (&str, Family, Vec<Block>)> {
        let used = used.iter();
        used.map(|&(at, family)| {
            (
                self.identifier_of(at, family),
                family,
                self.blocks(at, family),
            )
        })
    }

    /// All that names are called in a ruleset.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        let named = self.named.iter();
        named.flat_map(|one| one.identifiers.iter().map(String::as_str))
    }

    /// The definitions of names that are used, in the order of the files.
    pub fn definitions(&self, used: &BTreeSet<(usize, Family)>) -> Vec<String> {
        let lines = self.meanings(used).map(|(name, family, blocks)| {
            let shown: Vec<String> = { blocks.iter() }
                .map(|block| block.show(family).to_string())
                .collect();
            let value = match shown.as_slice() {
                [one] => one.clone(),
                several => format!("{{ {} }}", several.join(", ")),
            };
            format!("define {name} = {value}")
        });
        lines.collect()
    }
}

/// What is left of a name in a comment: nothing that any firewall's language takes for more than a letter.
fn in_comment(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || " ._-:/@+".contains(c) {
            c
        } else {
            '?'
        }
    };
    name.chars().map(plain).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::block::number;

    fn names(texts: &[&str]) -> Names {
        let mut names = Names::default();
        for text in texts {
            names.read(text).unwrap();
        }
        names
    }

    fn shown(names: &Names, blocks: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut blocks: Vec<Block> = { blocks.iter() }
            .map(|net| Block::of_net(net.parse().unwrap()))
            .collect();
        blocks.sort_unstable();
        let mut used = BTreeSet::new();
        let elements = names.elements(&blocks, Family::V4, &mut used);
        (elements, names.definitions(&used))
    }

    #[test]
    fn the_three_kinds_of_files_are_known_by_their_lines() {
        let toml = "# mine\n[networks]\nlan = [\"10.1.0.0/24\", \"fd01::/64\"]\n[hosts]\nprinter = \"10.1.0.30\"\n";
        let hosts =
            "127.0.0.1 localhost\nff02::1 ip6-allnodes\n10.1.0.31 nas.example nas # disks\n";
        let leases = "1767225600 02:00:00:00:00:01 10.1.0.77 phone 01:02\n1767225600 02:00:00:00:00:02 10.1.0.78 * *\n\
                      duid 00:01\n1767225600 7 fd01::77 phone 00:01\n";
        let names = names(&[toml, hosts, leases]);
        let of = |name: &str| names.networks(name).map(<[IpNet]>::len);
        assert_eq!(of("lan"), Some(2));
        assert_eq!(of("printer"), Some(1));
        assert_eq!(of("nas.example"), Some(1));
        assert_eq!(of("phone"), Some(2));
        assert_eq!([of("localhost"), of("ip6-allnodes"), of("*")], [None; 3]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("[networks]\nlan = 5\n", "lan"),
            ("[networks]\nlan = \"10.1.0.0/44\"\n", "line 2"),
            ("lan = \"10.1.0.0/24\"\n", "[networks]"),
            ("[nets]\nlan = \"10.1.0.0/24\"\n", "[networks]"),
            ("[networks\n", "line 1"),
            ("10.0.0.1 a\nb c\n", "line 2"),
            ("some words\n", "neither"),
        ] {
            let error = Names::default().read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_of_a_name_is_left_but_an_identifier_of_its_own() {
        let odd = "[hosts]\n\"a b\" = \"10.0.0.1\"\n\"a-b\" = \"10.0.0.2\"\n\"ip\" = \"10.0.0.3\"\n\"7\" = \"10.0.0.4\"\n\
                   \"x\\\"; flush ruleset\\n\" = \"10.0.0.5\"\n\"\" = \"10.0.0.6\"\n\"a_b6\" = \"10.0.0.7\"\n";
        let names = names(&[odd]);
        let blocks: Vec<String> = (1..8).map(|host| format!("10.0.0.{host}/32")).collect();
        let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
        let (elements, definitions) = shown(&names, &blocks);
        let different: BTreeSet<&String> = elements.iter().collect();
        assert_eq!(different.len(), 7, "{elements:?}");
        for element in &elements {
            let name = element.strip_prefix('$').unwrap();
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
                "{name}"
            );
            assert!(
                name.starts_with(|c: char| c.is_ascii_alphabetic()),
                "{name}"
            );
            assert!(!KEYWORDS.contains(&name), "{name}");
        }
        assert_eq!(definitions.len(), 7);
    }

    #[test]
    fn a_name_stands_for_all_that_it_means_or_not_at_all() {
        let toml = "[networks]\nlan = [\"10.1.0.0/24\", \"10.2.0.0/24\"]\n[hosts]\nprinter = \"10.3.0.30\"\n";
        let names = names(&[toml]);
        let (elements, definitions) = shown(
            &names,
            &["10.1.0.0/24", "10.2.0.0/24", "10.3.0.30/32", "10.3.0.40/32"],
        );
        assert_eq!(elements, ["$lan", "$printer", "10.3.0.40"]);
        assert_eq!(
            definitions,
            [
                "define lan = { 10.1.0.0/24, 10.2.0.0/24 }",
                "define printer = 10.3.0.30"
            ]
        );
        let (elements, definitions) = shown(&names, &["10.1.0.0/24", "10.3.0.0/24"]);
        assert_eq!(elements, ["10.1.0.0/24", "10.3.0.0/24"]);
        assert!(definitions.is_empty());
        assert_eq!(number("10.1.0.0".parse().unwrap()), 0x0a01_0000);
    }

    #[test]
    fn hosts_side_by_side_are_known_as_the_block_that_they_are() {
        let toml = "[hosts]\n\"the admins\" = [\"10.1.0.4\", \"10.1.0.5\", \"10.1.0.6\", \"10.1.0.7\", \"10.1.0.9\"]\n";
        let names = names(&[toml, "10.1.0.6 six\n"]);
        let nets = ["10.1.0.4/30", "10.1.0.9/32"];
        let (elements, definitions) = shown(&names, &nets);
        assert_eq!(elements, ["$the_admins"]);
        assert_eq!(
            definitions,
            ["define the_admins = { 10.1.0.4/30, 10.1.0.9 }"]
        );
        assert_eq!(
            names.several("$the_admins"),
            Some(("the_admins", "the admins".to_owned()))
        );
        assert_eq!(
            [names.several("$six"), names.several("10.1.0.9")],
            [const { None }; 2]
        );
        let blocks = |nets: &[&str]| -> Vec<Block> {
            nets.iter()
                .map(|net| Block::of_net(net.parse().unwrap()))
                .collect()
        };
        let said = |nets: &[&str]| names.said(&blocks(nets), Family::V4);
        assert_eq!(said(&nets).as_deref(), Some("the admins"));
        assert_eq!(said(&nets[..1]), None);
        assert_eq!(said(&["10.1.0.6/32", "10.1.0.8/32"]), None);
        assert_eq!(said(&[]), None);
        let between = names.between(
            Some(&blocks(&nets)),
            Some(&blocks(&["10.1.0.6/32"])),
            Family::V4,
        );
        assert_eq!(between.as_deref(), Some("from the admins to six"));
    }

    #[test]
    fn names_do_not_get_out_of_comments() {
        let odd = "[hosts]\n\"x\\\"; flush ruleset\\n#$(reboot)\" = \"10.0.0.5\"\n";
        let block = Block::of_net("10.0.0.5/32".parse().unwrap());
        let said = names(&[odd]).said(&[block], Family::V4).unwrap();
        assert!(
            !said.contains(['"', '\'', '\\', '$', '`', '\n', ';', '#']),
            "{said}"
        );
    }
}
