//! Rules of iptables-restore(8), changed before they are loaded: one line for one line, so that numbers of lines and of
//! rules stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::marks::{Kind, Marks, number};
use super::matches::Found;
use super::ports::{Division, without_source_ports};
use super::targets::{effect, tables_that_set};
use super::words::{conditions, position, target, words};
use super::{Concerns, Doubt, Effect, comment, prefix, why};
use crate::check::guard::GROUP;
use crate::check::verdict::Rule;

/// What became of a text.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// For the program.
    pub text: String,
    /// What is not known of its rules.
    pub doubts: Vec<Doubt>,
    /// Lines that others stand for, by the numbers in the comments of these.
    pub replaced: Vec<String>,
}

/// What is known besides the text.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Marks that the rulesets set.
    pub marks: &'a Marks,
    /// Ipsets whose contents are given.
    pub sets: &'a BTreeSet<String>,
    /// `ip` or `ip6`.
    pub family: &'a str,
    /// Number of the first doubt.
    pub first: usize,
    /// How many rules others stand for already.
    pub replaced: usize,
}

/// Notes the marks that a text sets.
pub fn note_marks(text: &str, marks: &mut Marks) {
    for line in text.lines().filter(|line| line.starts_with('-')) {
        let words = words(line);
        let kind = match target(&words) {
            Some("MARK") => Kind::Packet,
            Some("CONNMARK") => Kind::Connection,
            _ => continue,
        };
        for pair in words.windows(2) {
            let sets = ["--set-mark", "--set-xmark", "--or-mark", "--xor-mark"].contains(&pair[0]);
            if let (true, Some((value, _))) = (sets, number(pair[1])) {
                marks.set(kind, value);
            }
        }
        if words.contains(&"--restore-mark") {
            marks.copy_to(Kind::Packet);
        }
        if words.contains(&"--save-mark") {
            marks.copy_to(Kind::Connection);
        }
    }
}

/// Changes the rules in doubt for ones that log what comes to them, and those with limits for ones without.
pub fn rewrite(text: &str, known: &Known<'_>) -> Rewritten {
    let mut done = Rewritten::default();
    let mut table = "filter";
    let setting = tables_that_set(text);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        }
        match changed(line, table, &setting, known, &mut done) {
            Some(new) => done.text.push_str(&new),
            None => done.text.push_str(line),
        }
        done.text.push('\n');
    }
    done
}

fn changed(
    line: &str,
    table: &str,
    setting: &BTreeSet<String>,
    known: &Known<'_>,
    done: &mut Rewritten,
) -> Option<String> {
    let words = words(line);
    let at = words
        .iter()
        .position(|word| ["-A", "-I", "--append", "--insert"].contains(word))?;
    let chain = *words.get(at + 1)?;
    let mut found = Found::of(&words, known);
    let target = target(&words);
    match target {
        Some("TPROXY") => found.doubt = found.doubt.or(Some(why::PROXY)),
        // One of several addresses or ports is taken (`nf_nat_l4proto_unique_tuple`, net/netfilter/nf_nat_core.c).
        Some("DNAT" | "REDIRECT") if chooses(&words) => {
            found.doubt = found.doubt.or(Some(why::CHANCE));
        }
        // Without that option nothing passes as long as no program runs.
        Some("NFQUEUE") if words.contains(&"--queue-bypass") => {
            found.doubt = found.doubt.or(Some(why::PROGRAM));
        }
        _ => {}
    }
    // The options of the SYN that is injected are not those of the client's.
    if let Some(at) = { found.certain.iter() }.position(|word| *word == "--tcp-option") {
        let begin = at - usize::from(at > 0 && found.certain[at - 1] == "!");
        let end = (at + 2).min(found.certain.len());
        found.certain.drain(begin..end);
        found.doubt = found.doubt.or(Some(why::CONTENT));
    }
    let effect = effect(target, table, setting);
    let effect = effect?;
    let rule = || {
        Arc::new(Rule {
            family: known.family.to_owned(),
            table: table.to_owned(),
            chain: chain.to_owned(),
            handle: None,
            text: line.trim().to_owned(),
        })
    };
    let number = known.first + done.doubts.len();
    let unported = without_source_ports(&found.certain);
    let logging = || {
        format!(
            "{} -j NFLOG --nflog-group {GROUP} --nflog-threshold 1 --nflog-prefix {}",
            conditions(unported.as_ref().map_or(&found.certain, |(words, _)| words)).join(" "),
            prefix(number)
        )
    };
    let ends = matches!(effect, Effect::Accept | Effect::Drop | Effect::Reject);
    if found.own_mark && !found.is_changed() && ends && words[at] == "-A" {
        let text = format!("{}\n{line}", logging());
        done.doubts.push(Doubt {
            why: why::OWN_MARK,
            effect: Effect::Other,
            concerns: Concerns::Own,
            ports: Vec::new(),
            rule: rule(),
        });
        return Some(text);
    }
    if let (Some((_, division)), false, "-A") = (&unported, found.is_changed(), words[at]) {
        let text = format!("{}\n{line}", logging());
        let (effect, ports) = match division {
            Division::Of(ports) => (effect, ports.clone()),
            Division::Unknown => (Effect::Other, Vec::new()),
        };
        done.doubts.push(Doubt {
            why: why::SOURCE_PORT,
            effect,
            concerns: Concerns::Folded,
            ports,
            rule: rule(),
        });
        return Some(text);
    }
    if !found.is_changed() {
        return None;
    }
    if found.never {
        // It still takes its place among the rules, and does nothing.
        let number = known.replaced + done.replaced.len();
        done.replaced.push(line.trim().to_owned());
        return Some(format!(
            "{} {chain}{} -m comment --comment {}",
            words[at],
            position(&words, at),
            comment(number)
        ));
    }
    let Some(why) = found.doubt else {
        let number = known.replaced + done.replaced.len();
        done.replaced.push(line.trim().to_owned());
        let kept = found.without_limits.join(" ");
        return Some(format!("{kept} -m comment --comment {}", comment(number)));
    };
    let text = logging();
    done.doubts.push(Doubt {
        why,
        effect,
        concerns: Concerns::All,
        ports: Vec::new(),
        rule: rule(),
    });
    Some(text)
}

/// Whether a destination is chosen out of a range. One that is moved together with its range (`80-90/8080`) is not.
fn chooses(words: &[&str]) -> bool {
    words.windows(2).any(|pair| {
        let to = ["--to-destination", "--to-ports", "--to-port"].contains(&pair[0]);
        to && pair[1].contains('-') && !pair[1].contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(rules: &str) -> Rewritten {
        let text = format!("*filter\n{rules}\nCOMMIT\n");
        let mut marks = Marks::default();
        note_marks(&text, &mut marks);
        let sets = BTreeSet::from(["given".to_owned()]);
        rewrite(
            &text,
            &Known {
                marks: &marks,
                sets: &sets,
                family: "ip",
                first: 0,
                replaced: 0,
            },
        )
    }

    /// The line of one rule, and what is in doubt of it.
    fn one(rule: &str) -> (String, Option<(&'static str, Effect)>) {
        let done = rewritten(rule);
        let doubt = done.doubts.first().map(|doubt| (doubt.why, doubt.effect));
        (done.text.lines().nth(1).unwrap().to_owned(), doubt)
    }

    #[test]
    fn a_rule_in_doubt_logs_what_meets_its_other_conditions() {
        let (line, doubt) = one(
            "-A OUTPUT ! -o wg0 -m mark ! --mark 0xca6c -m addrtype ! --dst-type LOCAL -j REJECT --reject-with icmp-port-unreachable",
        );
        assert_eq!(doubt, Some((why::MARK, Effect::Reject)));
        assert_eq!(
            line,
            format!(
                "-A OUTPUT ! -o wg0 -m addrtype ! --dst-type LOCAL -j NFLOG --nflog-group {GROUP} --nflog-threshold 1 --nflog-prefix {}",
                prefix(0)
            )
        );
        // Options may stand behind a match that they do not belong to.
        let (line, doubt) = one("-A INPUT -p tcp -m owner --uid-owner 5 --dport 22 -j ACCEPT");
        assert_eq!(doubt, Some((why::OWNER, Effect::Accept)));
        assert!(
            line.starts_with("-A INPUT -p tcp --dport 22 -j NFLOG"),
            "{line}"
        );
        for (rule, why) in [
            ("-A INPUT -m set --match-set bad src -j DROP", why::IPSET),
            (
                "-A INPUT -m conntrack --ctstate NEW --ctexpire 1:60 -j DROP",
                why::EXPIRY,
            ),
            (
                "-A INPUT -m recent --rcheck --name knock --rsource -j ACCEPT",
                why::SEEN,
            ),
            (
                "-A INPUT -m statistic --mode random --probability 0.5 -j MARK --set-mark 1",
                why::CHANCE,
            ),
            (
                "-A INPUT -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.3:80",
                why::CHANCE,
            ),
            (
                "-A INPUT -p tcp -j REDIRECT --to-ports 8000-8010 --random",
                why::CHANCE,
            ),
            (
                "-A INPUT -m string --string \"a -j b\" --algo bm -j DROP",
                why::CONTENT,
            ),
        ] {
            assert_eq!(one(rule).1.map(|(why, _)| why), Some(why), "{rule}");
        }
    }

    #[test]
    fn rules_of_what_is_known_and_those_that_do_nothing_stay() {
        for rule in [
            "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
            "-A INPUT -m conntrack ! --ctstate NEW,RELATED -j ACCEPT",
            "-A INPUT -m set --match-set given src -j DROP",
            "-A INPUT -m limit --limit 5/min -j LOG",
            "-A INPUT -p tcp -j DNAT --to-destination 10.0.0.1:80-90/8080",
            "-A INPUT -p tcp -j REDIRECT --to-ports 8080 --random",
            "-A INPUT -m comment --comment \"-m mark --mark 5\" -j DROP",
            "-A INPUT -m hl --hl-eq 255 -j ACCEPT",
            ":INPUT DROP [0:0]",
        ] {
            assert_eq!(one(rule), (rule.to_owned(), None));
        }
        let own = "-A A -j MARK --set-xmark 0x4000/0x4000\n-A INPUT -m mark --mark 0x4000/0x4000 -j ACCEPT";
        assert!(rewritten(own).doubts.is_empty());
    }

    #[test]
    fn one_flow_is_within_every_limit() {
        let line = |rule: &str| {
            let (line, doubt) = one(rule);
            assert_eq!(doubt, None, "{rule}");
            line
        };
        assert_eq!(
            line("-A INPUT -p icmp -m limit --limit 1/sec --limit-burst 3 -j ACCEPT"),
            format!(
                "-A INPUT -p icmp -j ACCEPT -m comment --comment {}",
                comment(0)
            )
        );
        for never in [
            "-A INPUT -p tcp -m connlimit --connlimit-above 20 --connlimit-mask 32 -j DROP",
            "-A INPUT -m hashlimit --hashlimit-above 5/sec --hashlimit-name x -j DROP",
            "-A INPUT -m recent --update --seconds 60 --hitcount 4 --name SSH -j DROP",
            "-A INPUT -m connlimit ! --connlimit-upto 3 -j DROP",
        ] {
            let stand_in = format!("-A INPUT -m comment --comment {}", comment(0));
            assert_eq!(line(never), stand_in);
        }
        let set = line("-A INPUT -p tcp -m recent --name ssh --set -m tcp --dport 22 -j ACCEPT");
        assert!(
            set.starts_with("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"),
            "{set}"
        );
    }
}
