//! The rules that are loaded, as `nft -a -s list ruleset` writes them: the kernel has expressions and handles, and only nft(8)
//! makes words of these.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::gate;
use super::legacy::{self, Logged};
use crate::model::path::{Outcome, Step};

/// Where administrators' programs are, which is not in everybody's PATH.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// Tables of iptables-nft, whose rules nft(8) can't always show.
const OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// Family, table and chain.
pub type ChainName = (String, String, String);

/// What is loaded.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The rules of each chain, by handle, in their order.
    chains: Vec<(ChainName, Chain)>,
    index: HashMap<ChainName, usize>,
}

/// A chain and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The hook at which the kernel calls it; `None` where only rules do.
    pub hook: Option<String>,
    /// When it is called there, before those of higher numbers; `None` if that can't be told.
    pub priority: Option<i32>,
    /// What it does with what no rule decides.
    pub policy: Option<String>,
    /// Handles and texts.
    pub rules: Vec<(u64, String)>,
}

impl Ruleset {
    /// Asks nft(8) for what is loaded in this network namespace.
    ///
    /// Errors: nft is missing, or says why it can't.
    pub fn read() -> io::Result<Self> {
        let mut ruleset = Self::parse(&output("nft", &["-a", "-s", "list", "ruleset"])?);
        for (family, program) in [("ip", "iptables-nft-save"), ("ip6", "ip6tables-nft-save")] {
            let is_there = ruleset
                .chains
                .iter()
                .any(|((of, table, _), _)| of == family && OF_IPTABLES.contains(&table.as_str()));
            // It fails where other programs have put rules into its tables: nft's words serve as well.
            if let (true, Ok(saved)) = (is_there, output(program, &[])) {
                ruleset.use_texts_of_iptables(family, &saved);
            }
        }
        Ok(ruleset)
    }

    /// The rules of iptables-legacy that are loaded in this network namespace. No table is loaded for that.
    ///
    /// Errors: iptables-legacy-save is missing, or says why it can't.
    pub fn read_legacy() -> io::Result<Self> {
        let mut ruleset = Self::default();
        for (family, names, program) in [
            (legacy::IPV4, TABLES_IPV4, "iptables-legacy-save"),
            (legacy::IPV6, TABLES_IPV6, "ip6tables-legacy-save"),
        ] {
            if has_tables(names) {
                ruleset.add_saved(family, &output(program, &[])?);
            }
        }
        Ok(ruleset)
    }

    /// Adds the rules of another one behind these.
    pub fn add(&mut self, other: Self) {
        for (name, chain) in other.chains {
            self.index.insert(name.clone(), self.chains.len());
            self.chains.push((name, chain));
        }
    }

    /// Whether it has the same rules and policies.
    pub fn has_rules_of(&self, other: &Self) -> bool {
        self.chains == other.chains
    }

    /// Reads the text of iptables-save(8): chains, then their rules, which are numbered from 1 on.
    fn add_saved(&mut self, family: &str, saved: &str) {
        let mut table = "";
        for line in saved.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim();
            } else if let Some(declared) = line.strip_prefix(':') {
                let mut words = declared.split(' ');
                let chain = words.next().unwrap_or_default();
                let policy = words.next().filter(|policy| *policy != "-");
                let name = (family.to_owned(), table.to_owned(), chain.to_owned());
                let hook = policy.map(|_| chain.to_lowercase());
                self.index.insert(name.clone(), self.chains.len());
                self.chains.push((
                    name,
                    Chain {
                        priority: hook.as_deref().map(|hook| built_in(table, hook)),
                        hook,
                        policy: policy.map(str::to_lowercase),
                        rules: Vec::new(),
                    },
                ));
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let chain = rule.split(' ').next().unwrap_or_default();
                let name = (family.to_owned(), table.to_owned(), chain.to_owned());
                if let Some(&at) = self.index.get(&name) {
                    let rules = &mut self.chains[at].1.rules;
                    rules.push((rules.len() as u64 + 1, line.to_owned()));
                }
            }
        }
    }

    /// The rule that a packet met, by its number: its handle and text. The number behind the last one is the policy, or what
    /// ends a chain that others call, which is no rule.
    pub(super) fn numbered(&self, logged: &Logged) -> Option<(Option<u64>, String)> {
        let Logged {
            family,
            table,
            chain,
            number,
            ..
        } = logged;
        let name = ((*family).to_owned(), table.clone(), chain.clone());
        let chain = &self.chains[*self.index.get(&name)?].1;
        let at = usize::try_from(*number).ok()?.checked_sub(1)?;
        match (chain.rules.get(at), &chain.policy) {
            (Some((handle, text)), _) => Some((Some(*handle), text.clone())),
            (None, _) if at != chain.rules.len() => None,
            (None, Some(policy)) => Some((None, format!("policy {policy}"))),
            (None, None) => Some((None, "return".to_owned())),
        }
    }

    /// Takes the texts of iptables-save(8) for rules that iptables has made.
    fn use_texts_of_iptables(&mut self, family: &str, saved: &str) {
        let saved = Saved::parse(saved);
        for ((of, table, name), chain) in &mut self.chains {
            if of == family {
                saved.use_texts(table, name, &mut chain.rules);
            }
        }
    }

    /// Reads the text of nft(8), which indents by tabs: table, chain, rule.
    pub fn parse(text: &str) -> Self {
        let mut ruleset = Self::default();
        let (mut family, mut table) = ("", "");
        let mut chain: Option<usize> = None;
        for line in text.lines() {
            let depth = line.len() - line.trim_start_matches('\t').len();
            let line = line.trim();
            let mut words = line.split_whitespace();
            match (depth, words.next()) {
                (0, Some("table")) => {
                    family = words.next().unwrap_or_default();
                    table = words.next().unwrap_or_default();
                }
                (1, Some("chain")) => {
                    let name = words.next().unwrap_or_default();
                    let name = (family.to_owned(), table.to_owned(), name.to_owned());
                    chain = Some(ruleset.chains.len());
                    ruleset.index.insert(name.clone(), ruleset.chains.len());
                    ruleset.chains.push((name, Chain::default()));
                }
                (1, _) => chain = None,
                (2, Some(first)) => {
                    let Some((_, chain)) = chain.and_then(|at| ruleset.chains.get_mut(at)) else {
                        continue;
                    };
                    if first == "type" && chain.hook.is_none() && line.contains(" hook ") {
                        chain.hook = behind(line, "hook");
                        chain.priority = priority(line);
                        chain.policy = behind(line, "policy").or_else(|| Some("accept".into()));
                    } else if let Some((rule, handle)) = line.rsplit_once(" # handle ") {
                        chain
                            .rules
                            .extend(handle.parse().ok().map(|handle| (handle, rule.to_owned())));
                    }
                }
                _ => {}
            }
        }
        ruleset
    }

    /// The chain of a step, if it is still loaded.
    pub fn chain(&self, step: &Step) -> Option<&Chain> {
        let name = (
            step.family.to_owned(),
            step.table.to_string(),
            step.chain.to_string(),
        );
        self.index.get(&name).map(|&at| &self.chains[at].1)
    }

    /// The text of the rule of a step; of a policy, what it says.
    pub fn text(&self, step: &Step) -> Option<String> {
        let chain = self.chain(step)?;
        match step.handle {
            None => Some(format!("policy {}", chain.policy.as_deref()?)),
            Some(handle) => {
                let found = chain.rules.iter().find(|(known, _)| *known == handle);
                found.map(|(_, text)| text.clone())
            }
        }
    }

    /// All chains, in the order in which they are listed.
    pub fn chains(&self) -> impl Iterator<Item = (&ChainName, &Chain)> {
        self.chains.iter().map(|(name, chain)| (name, chain))
    }
}

/// The rules of each chain as iptables-save(8) writes them.
#[derive(Debug)]
pub struct Saved<'a>(HashMap<(&'a str, &'a str), Vec<&'a str>>);

impl<'a> Saved<'a> {
    /// Reads the text of iptables-save(8).
    pub fn parse(saved: &'a str) -> Self {
        let mut texts: HashMap<_, Vec<&str>> = HashMap::new();
        let mut table = "";
        for line in saved.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim();
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let chain = rule.split(' ').next().unwrap_or_default();
                texts.entry((table, chain)).or_default().push(line);
            }
        }
        Self(texts)
    }

    /// Gives the rules of a chain these texts: the n-th line is the n-th rule. Where the numbers differ, others have put rules
    /// among them, and nothing is changed.
    pub fn use_texts(&self, table: &str, chain: &str, rules: &mut [(u64, String)]) {
        let own = self.0.get(&(table, chain));
        let own = own.filter(|own| own.len() == rules.len());
        for ((_, text), own) in rules.iter_mut().zip(own.into_iter().flatten()) {
            (*own).clone_into(text);
        }
    }
}

impl Chain {
    /// Whether it may see packets before the gate does, or others than those that pass the gate.
    pub fn is_early(&self) -> bool {
        let of_hosts = matches!(
            self.hook.as_deref(),
            Some("prerouting" | "input" | "forward" | "output" | "postrouting")
        );
        !of_hosts
            || self
                .priority
                .is_none_or(|priority| priority <= gate::PRIORITY)
    }
}

/// The priority of a chain, also by the names that nft(8) has for the usual ones: `raw`, `filter + 10`.
fn priority(line: &str) -> Option<i32> {
    let (_, behind) = line.split_once(" priority ")?;
    let mut words = behind.split(';').next()?.split_whitespace();
    let base = match words.next()? {
        "raw" => -300,
        "mangle" => -150,
        "dstnat" => -100,
        "filter" => 0,
        "security" => 50,
        "srcnat" => 100,
        number => number.parse().ok()?,
    };
    match (words.next(), words.next()) {
        (None, _) => Some(base),
        (Some("+"), Some(more)) => Some(base + more.parse::<i32>().ok()?),
        (Some("-"), Some(less)) => Some(base - less.parse::<i32>().ok()?),
        _ => None,
    }
}

/// When a chain of iptables is called at its hook (`enum nf_ip_hook_priorities`; net/ipv4/netfilter/iptable_nat.c for nat).
fn built_in(table: &str, hook: &str) -> i32 {
    match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", "prerouting" | "output") => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    }
}

/// What a rule of iptables, or a policy, does with a packet; `None` if the packet goes on to the next rule or another chain.
pub(super) fn outcome_of(text: &str) -> Option<Outcome> {
    if let Some(policy) = text.strip_prefix("policy ") {
        return match policy {
            "accept" => Some(Outcome::Accepted),
            _ => Some(Outcome::Dropped),
        };
    }
    // The target's own options stand behind it, and a comment before it may have any words, in quotes.
    let mut quoted = false;
    let mut words = text.split(' ').filter(|word| {
        let inside = quoted;
        quoted ^= word.bytes().filter(|byte| *byte == b'"').count() % 2 == 1;
        !inside
    });
    words.find(|word| *word == "-j")?;
    Some(match words.next()? {
        "ACCEPT" | "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" | "TPROXY" => {
            Outcome::Accepted
        }
        "DROP" | "REJECT" | "TARPIT" => Outcome::Dropped,
        "NFQUEUE" | "QUEUE" => Outcome::Queued,
        "SYNPROXY" => Outcome::Stolen,
        _ => return None,
    })
}

/// Where the kernel lists the tables of iptables-legacy that are loaded in this network namespace.
const TABLES_IPV4: &str = "/proc/net/ip_tables_names";
const TABLES_IPV6: &str = "/proc/net/ip6_tables_names";

fn has_tables(names: &str) -> bool {
    !std::fs::read(names).unwrap_or_default().is_empty()
}

/// What rules there are that make no trace events.
pub fn unseen() -> Option<String> {
    let any = has_tables(TABLES_IPV4) || has_tables(TABLES_IPV6);
    any.then(|| {
        "tables of iptables-legacy are loaded, whose rules are followed with --iptables-legacy only"
            .to_owned()
    })
}

/// What a program writes.
fn output(program: &str, arguments: &[&str]) -> io::Result<String> {
    let places = FOLDERS.map(|folder| Path::new(folder).join(program));
    let found = places.iter().find(|path| path.exists());
    let output = Command::new(found.map_or(Path::new(program), PathBuf::as_path))
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(said.trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The word behind another one: `drop` of `policy drop;`.
fn behind(line: &str, key: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| *word != key);
    let word = words.nth(1)?;
    Some(word.trim_end_matches(';').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_iptables_have_its_words() {
        let mut ruleset = Ruleset::parse(
            "table ip filter {\n\tchain FORWARD { # handle 1\n\t\ttype filter hook forward priority filter; policy accept;\n\t\txt match \"x\" # handle 4\n\t}\n}\n",
        );
        ruleset.use_texts_of_iptables(
            "ip",
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m x -j DROP\nCOMMIT\n",
        );
        assert_eq!(
            ruleset.chains[0].1.rules,
            [(4, "-A FORWARD -m x -j DROP".to_owned())]
        );
        // Not where somebody else's rules are among them.
        ruleset.use_texts_of_iptables("ip", "*filter\n-A FORWARD -j ACCEPT\n-A FORWARD -j LOG\n");
        assert_eq!(ruleset.chains[0].1.rules[0].1, "-A FORWARD -m x -j DROP");
    }

    const LISTING: &str = "\
table inet filter { # handle 3
\tset lan { # handle 5
\t\ttype ipv4_addr
\t}

\tchain forward { # handle 1
\t\ttype filter hook forward priority filter; policy drop;
\t\tct state established,related accept # handle 7
\t\ttcp dport 443 counter packets 0 bytes 0 jump web # handle 8
\t}

\tchain web { # handle 2
\t\tip saddr 10.0.0.0/8 accept # handle 9
\t}
}
";

    #[test]
    fn rules_are_found_by_their_handles() {
        let ruleset = Ruleset::parse(LISTING);
        let step = |chain: &str, handle| Step {
            family: "inet",
            table: "filter".into(),
            chain: chain.into(),
            handle,
            text: None,
            outcome: Outcome::Accepted,
        };
        let text = |chain, handle| ruleset.text(&step(chain, handle));
        assert_eq!(
            text("web", Some(9)).as_deref(),
            Some("ip saddr 10.0.0.0/8 accept")
        );
        assert_eq!(text("forward", None).as_deref(), Some("policy drop"));
        assert_eq!(text("forward", Some(9)), None);
        assert_eq!(text("other", None), None);
        let hook = |chain| ruleset.chain(&step(chain, None)).unwrap().hook.clone();
        assert_eq!(hook("forward").as_deref(), Some("forward"));
        assert_eq!(hook("web"), None);
        assert_eq!(ruleset.chains().count(), 2);
    }
}
