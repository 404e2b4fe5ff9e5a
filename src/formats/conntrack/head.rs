//! Where an entry begins, and what its first words say: event, address family, protocol, state.

use super::prefix;
use crate::model::record::Protocol;
use crate::model::timestamp::Timestamp;

/// So many words may stand before the first address of an entry: those of the longest prefix and the longest head.
const WORDS_MAX: usize = 32;

/// An event of `conntrack -E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    New,
    Update,
    Destroy,
}

/// What stands before the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) time: Option<Timestamp>,
    pub(super) event: Option<Event>,
    /// Whether the family is IPv4, where it is said.
    pub(super) v4: Option<bool>,
    pub(super) protocol: Protocol,
    pub(super) state: Option<&'a str>,
}

/// The end of a prefix that has no white space behind it: `list.txt:12:`, `>`, `"`, `+`.
const GLUE: [char; 8] = [':', '>', '+', '"', '\'', '`', '|', ']'];

impl<'a> Head<'a> {
    /// Reads what stands before the first `src=` of a line. The error without words is for lines in which no entry is.
    pub(super) fn first(before: &'a str) -> Result<Self, Option<String>> {
        Self::read(before, true)
    }

    /// Reads what stands between the tuples of one entry and the first `src=` of another one on the same line.
    pub(super) fn next(before: &'a str) -> Result<Self, Option<String>> {
        // The rest of the entry before, whose last words have a "=" or brackets, is no prefix of this one.
        Self::read(before, false)
    }

    fn read(before: &'a str, is_first: bool) -> Result<Self, Option<String>> {
        let mut words = [""; WORDS_MAX];
        let mut count = 0;
        for word in before.split_ascii_whitespace() {
            if count == WORDS_MAX && is_first {
                return Err(Some("too much stands before the entry".into()));
            }
            if count == WORDS_MAX {
                words.copy_within(1.., 0);
                count -= 1;
            }
            words[count] = word;
            count += 1;
        }
        let words = &words[..count];
        let (mut at, mut glued, protocol) = protocol(words)?;
        let mut head = Self {
            time: None,
            event: None,
            v4: None,
            protocol,
            state: words[at + 2..].iter().copied().find(|word| is_state(word)),
        };
        if let (None, Some([family, number])) =
            (glued, at.checked_sub(2).map(|from| &words[from..at]))
        {
            let (glue, family) = unglued(family);
            // AF_INET and AF_INET6.
            let v4 = match (family, *number) {
                ("ipv4", "2") => Some(true),
                ("ipv6", "10") => Some(false),
                ("ipv4" | "ipv6", _) => {
                    return Err(Some(format!("{family} is not number {number}")));
                }
                _ => None,
            };
            if v4.is_some() {
                (head.v4, glued) = (v4, glue);
                at -= 2;
            }
        }
        if glued.is_none() && at > 0 {
            // VyOS's logger has the entry's identifier between the event and the protocol.
            let back = if at > 1 && is_number(words[at - 1]) && event(words[at - 2]).is_some() {
                2
            } else {
                1
            };
            if let Some((glue, event)) = event(words[at - back]) {
                head.event = Some(event);
                glued = glue;
                at -= back;
            }
        }
        let from = if is_first {
            0
        } else {
            end_of_rest(&words[..at])
        };
        if let (false, [sign @ ("|" | ">")]) = (is_first, &words[from..at]) {
            let why =
                format!("{sign} stands between two entries: a difference side by side is not read");
            return Err(Some(why));
        }
        head.time = prefix::time(words[from..at].iter().copied().chain(glued))?;
        Ok(head)
    }
}

/// Where the protocol is named, what is glued to it, and which it is.
fn protocol<'a>(words: &[&'a str]) -> Result<(usize, Option<&'a str>, Protocol), Option<String>> {
    let mut misfit = None;
    for at in (0..words.len().saturating_sub(1)).rev() {
        let (glue, name) = unglued(words[at]);
        if let (Some(known), Ok(number)) = (named(name), words[at + 1].parse::<u8>()) {
            if fits(known, number) {
                return Ok((at, glue, Protocol(number)));
            }
            misfit = Some(format!("{name} is not protocol {number}"));
            break;
        }
        // Between the protocol's number and the addresses stand the timeout and the state.
        let after = words.get(at + 2).copied();
        if after.is_some_and(|word| !(is_number(word) || is_state(word) || is_timeout(word))) {
            break;
        }
    }
    Err(misfit)
}

/// Where, of the words between an entry and the protocol of the next one on the line, those of the former end: the last
/// of them has a `=`, or is a mark in brackets, or ends `[start=Thu Nov 26 11:22:20 2026]`.
fn end_of_rest(words: &[&str]) -> usize {
    let is_mark = |word: &str| {
        let inner = word
            .strip_prefix('[')
            .and_then(|word| word.strip_suffix(']'));
        inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_uppercase()))
            && event(word).is_none()
    };
    let last = words
        .iter()
        .rposition(|word| word.contains('=') || is_mark(word));
    let Some(last) = last else {
        return 0;
    };
    let is_open = words[last].starts_with('[') && !words[last].ends_with(']');
    let end = words[last..].iter().position(|word| word.ends_with(']'));
    last + 1 + end.filter(|_| is_open).unwrap_or(0)
}

/// A word, and what of a prefix is glued to it.
fn unglued(word: &str) -> (Option<&str>, &str) {
    if let Some(at) = word.rfind(GLUE).filter(|&at| at + 1 < word.len()) {
        return (Some(&word[..=at]), &word[at + 1..]);
    }
    // "12-" and "list.txt-12-" stand before the context of what grep found; a "-" alone is what a difference lacks.
    if let Some((before, name)) = word.split_once('-') {
        let glue = match name.rsplit_once('-') {
            Some((between, _)) if named(name).is_none() => {
                &word[..before.len() + between.len() + 2]
            }
            _ => &word[..before.len() + 1],
        };
        if named(word).is_none() {
            return (Some(glue), &word[glue.len()..]);
        }
    }
    (None, word)
}

/// What a name stands for.
enum Name {
    Of(u8),
    /// What conntrack and the kernel write of protocols that they have no name for.
    Unknown,
}

fn named(name: &str) -> Option<Name> {
    Some(match name {
        "unknown" => Name::Unknown,
        // Nearly all there is.
        "tcp" => Name::Of(6),
        "udp" => Name::Of(17),
        // Names of <https://www.iana.org/assignments/protocol-numbers>, as /etc/protocols has them.
        "ipip" | "ipencap" => Name::Of(4),
        "igp" => Name::Of(9),
        "dccp" => Name::Of(33),
        "ipv6" => Name::Of(41),
        "rsvp" => Name::Of(46),
        "eigrp" => Name::Of(88),
        "pim" => Name::Of(103),
        "ipcomp" => Name::Of(108),
        "vrrp" | "carp" => Name::Of(112),
        "l2tp" => Name::Of(115),
        "isis" => Name::Of(124),
        "mobility-header" => Name::Of(135),
        "mpls-in-ip" => Name::Of(137),
        _ if name.starts_with(|c: char| c.is_ascii_lowercase()) => {
            Name::Of(Protocol::parse(name)?.0)
        }
        _ => return None,
    })
}

const fn fits(name: Name, number: u8) -> bool {
    match name {
        Name::Of(own) => own == number,
        // These two have always had a name.
        Name::Unknown => !matches!(number, 6 | 17),
    }
}

fn event(word: &str) -> Option<(Option<&str>, Event)> {
    let (glue, event) = match word.rfind('[') {
        Some(0) | None => (None, word),
        Some(at) => (Some(&word[..at]), &word[at..]),
    };
    let event = match event {
        "[NEW]" => Event::New,
        "[UPDATE]" => Event::Update,
        "[DESTROY]" => Event::Destroy,
        _ => return None,
    };
    Some((glue, event))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `SYN_SENT`, `ESTABLISHED`, `SYN_SENT2`.
fn is_state(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `timeout=600, stream_timeout=18000`, of GRE in `/proc/net/nf_conntrack`.
fn is_timeout(word: &str) -> bool {
    word.starts_with("timeout=") || word.starts_with("stream_timeout=")
}
