//! Rules of iptables-restore(8) by their words.

use super::options::{HOP_LIMIT, IPSET, MATCHES, Match};

/// The words of a line, with their quotes.
pub fn words(line: &str) -> Vec<&str> {
    let (mut words, mut begin, mut quote, mut escaped) = (Vec::new(), None, None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(end), c) if c == end => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                if let Some(begin) = begin.take() {
                    words.push(&line[begin..at]);
                }
                continue;
            }
            _ => {}
        }
        begin.get_or_insert(at);
    }
    words.extend(begin.map(|begin| &line[begin..]));
    words
}

/// The number behind the chain, if there is one.
pub(super) fn position(words: &[&str], at: usize) -> String {
    let number = words.get(at + 2).filter(|word| word.parse::<u32>().is_ok());
    number.map_or_else(String::new, |number| format!(" {number}"))
}

/// The words of a match: its own ones, and those of other matches that stand between.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    pub name: Option<&'a str>,
    pub own: Vec<&'a str>,
    pub other: Vec<&'a str>,
}

impl<'a> Group<'a> {
    pub fn all(&self) -> impl Iterator<Item = &'a str> {
        self.own.iter().chain(&self.other).copied()
    }
}

/// Divides a rule into what stands before the first match, and one group for each.
pub(super) fn groups<'a>(words: &[&'a str]) -> Vec<Group<'a>> {
    let mut groups = vec![Group::default()];
    let mut rest = words.iter().copied().peekable();
    let mut bang = None;
    while let Some(word) = rest.next() {
        if word == "!" {
            bang = Some(word);
            continue;
        }
        if let ("-m" | "--match", Some(name)) = (word, rest.peek().copied()) {
            rest.next();
            groups.push(Group {
                name: Some(name),
                own: vec![word, name],
                other: Vec::new(),
            });
            continue;
        }
        let group = groups.last_mut().expect("there is a first one");
        let known = group.name.and_then(lookup);
        let option = known.and_then(|known| known.options.iter().find(|(name, _)| *name == word));
        match (known, option) {
            (Some(_), Some(&(_, count))) => {
                group.own.extend(bang.take());
                group.own.push(word);
                group.own.extend(rest.by_ref().take(count));
            }
            (Some(_), None) => {
                group.other.extend(bang.take());
                group.other.push(word);
            }
            (None, _) => {
                group.own.extend(bang.take());
                group.own.push(word);
            }
        }
    }
    groups
}

/// A rule up to its target, and what stands behind the target's words: matches may.
pub(super) fn conditions<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let target = |word: &&str| ["-j", "--jump", "-g", "--goto"].contains(word);
    let Some(at) = words.iter().position(target) else {
        return words.to_vec();
    };
    let behind = words[at..].iter().position(|word| *word == "-m");
    let behind = behind.map_or(&[][..], |more| &words[at + more..]);
    words[..at].iter().chain(behind).copied().collect()
}

pub(super) fn target<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = { words.iter() }.position(|word| ["-j", "--jump", "-g", "--goto"].contains(word))?;
    words.get(at + 1).copied()
}

/// What is known of a match.
pub(super) fn lookup(name: &str) -> Option<&'static Match> {
    let also = [&IPSET, &HOP_LIMIT].into_iter();
    MATCHES.iter().chain(also).find(|known| known.name == name)
}
