//! What the matches of a rule of iptables(8) are to a flow that is judged as the only one.

use super::iptables::Known;
use super::marks::{Kind, number};
use super::options::Nature;
use super::why;
use super::words::{groups, lookup};

/// What is found in a rule.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub doubt: Option<&'static str>,
    pub certain: Vec<&'a str>,
    pub without_limits: Vec<&'a str>,
    pub limits: bool,
    pub never: bool,
    /// Whether it asks for a mark that the ruleset sets.
    pub own_mark: bool,
}

impl<'a> Found<'a> {
    pub fn of(words: &[&'a str], known: &Known<'_>) -> Self {
        let mut found = Self::default();
        let groups = groups(words);
        for group in &groups {
            let judged = group.name.and_then(|name| judge(name, &group.own, known));
            match judged {
                None => {
                    found.certain.extend(group.all());
                    found.without_limits.extend(group.all());
                }
                Some(Judged::OwnMark) => {
                    found.own_mark = true;
                    found.certain.extend(&group.other);
                    found.without_limits.extend(group.all());
                }
                Some(Judged::Doubtful(why)) => {
                    found.doubt = found.doubt.or(Some(why));
                    found.without_limits.extend(group.all());
                    found.certain.extend(&group.other);
                }
                Some(Judged::Always | Judged::Never) => {
                    found.limits = true;
                    found.never |= judged == Some(Judged::Never);
                    found.certain.extend(&group.other);
                    found.without_limits.extend(&group.other);
                }
            }
        }
        found
    }

    pub const fn is_changed(&self) -> bool {
        self.doubt.is_some() || self.limits
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Doubtful(&'static str),
    /// A whole mark that the ruleset gives to packets.
    OwnMark,
    /// By a flow that is the only one it always, or never, matches.
    Always,
    Never,
}

/// What a match with these words is.
fn judge(name: &str, own: &[&str], known: &Known<'_>) -> Option<Judged> {
    let found = lookup(name)?;
    let value = |option: &str| {
        let at = own.iter().position(|word| *word == option)?;
        own.get(at + 1).copied()
    };
    // In front of the match's own option.
    let inverted = own.contains(&"!");
    let always = |truth: bool| {
        if truth == inverted {
            Judged::Never
        } else {
            Judged::Always
        }
    };
    match found.nature {
        Nature::Doubtful(why::IPSET) => {
            let set = value("--match-set")?;
            (!known.sets.contains(set)).then_some(Judged::Doubtful(why::IPSET))
        }
        // All else that it asks for is the connection's own.
        Nature::Doubtful(_) if name == "conntrack" && value("--ctexpire").is_none() => None,
        Nature::Doubtful(_) if name == "hl" && value("--hl-eq") == Some("255") => None,
        Nature::Doubtful(why) => Some(Judged::Doubtful(why)),
        Nature::Mark => {
            let kind = if name == "mark" {
                Kind::Packet
            } else {
                Kind::Connection
            };
            let wanted = value("--mark").and_then(number);
            let own = wanted.is_some_and(|(value, mask)| known.marks.decide(kind, value, mask));
            let whole = wanted.is_some_and(|(_, mask)| mask == u32::MAX);
            match (own, kind) {
                (false, _) => Some(Judged::Doubtful(why::MARK)),
                (true, Kind::Packet) if whole => Some(Judged::OwnMark),
                (true, _) => None,
            }
        }
        Nature::Limit => {
            let upto = value("--connlimit-upto").map(|number| number != "0");
            let above = value("--connlimit-above").map(|number| number == "0");
            let over = value("--hashlimit-above").map(|_| false);
            Some(always(upto.or(above).or(over).unwrap_or(true)))
        }
        Nature::Recent => {
            let several = value("--hitcount").and_then(|count| count.parse::<u32>().ok());
            if own.contains(&"--set") {
                Some(always(true))
            } else if several.is_some_and(|count| count > 1) {
                Some(always(false))
            } else {
                Some(Judged::Doubtful(why::SEEN))
            }
        }
    }
}
