//! A ruleset under test: nft(8) or iptables-save(8) text, and loading it into the namespace.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::check::confine::becomes_nobody;
use crate::check::include;
use crate::check::limits::without_quoted;
use crate::check::namespace::Namespace;
use crate::check::tool::{IP6TABLES_RESTORE, IPTABLES_RESTORE, NFT, Tool};
use crate::model::error::Error;

/// What nft(8) calls what it reads.
const STANDARD_INPUT: &str = "/dev/stdin";

/// How a ruleset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// For `nft -f`.
    Nft,
    /// Rules of IPv4 for `iptables-restore`(8).
    Iptables,
    /// Rules of IPv6 for `ip6tables-restore`(8).
    Ip6tables,
}

/// A ruleset as its file has it, and which program loads it.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// What messages call it.
    pub name: String,
    /// How it is written.
    pub form: Form,
    /// What it says.
    pub text: String,
}

impl Ruleset {
    /// One that is not in a file.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            name: name.into(),
            form: Form::of(&text),
            text,
        }
    }

    /// The same ruleset for each program that loads it. A file of iptables-restore(8) whose rules say `-4` or `-6` is
    /// for both: each passes over the rules of the other's family.
    pub fn by_program(&self) -> Vec<Self> {
        let family = |word: &str| ["-4", "-6", "--ipv4", "--ipv6"].contains(&word);
        let mut rules = self.text.lines().filter(|line| line.starts_with('-'));
        let for_both = rules.any(|rule| without_quoted(rule).split_whitespace().any(family));
        if self.form == Form::Nft || !for_both {
            return vec![self.clone()];
        }
        let forms = [Form::Iptables, Form::Ip6tables].into_iter();
        let of = |form| Self {
            form,
            ..self.clone()
        };
        forms.map(of).collect()
    }

    /// Reads one from a file; `-` is standard input.
    ///
    /// Errors: a file that can't be read, or is not text.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |error| Error::file(path, format!("can't be read: {error}"));
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(wrong)?;
            return Ok(Self::new("standard input", text));
        }
        let bytes = fs::read(path).map_err(wrong)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::file(path, "is not a ruleset: it is not text"))?;
        if text.trim_start().starts_with("{\"") {
            return Err(Error::file(
                path,
                "is JSON, as captures are, and no ruleset: name the ruleset first, then the captures",
            ));
        }
        Ok(Self::new(path.display().to_string(), text))
    }

    /// Loads it. nft(8) wants the devices of `iif`, `oif` and of device hooks to be there: `device` is
    /// called to make them.
    ///
    /// Errors: a program that is missing; a ruleset that does not load, with the program's own words.
    pub fn load(
        &self,
        namespace: &Namespace,
        device: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Not by its name: whoever may read it, nft(8) runs without rights over files.
        let (tool, args): (Tool, &[&str]) = match self.form {
            Form::Nft => (NFT, &["-f", "-"]),
            Form::Iptables => (IPTABLES_RESTORE, &[]),
            Form::Ip6tables => (IP6TABLES_RESTORE, &[]),
        };
        if self.form == Form::Nft {
            if !becomes_nobody() {
                include::refuse_private(&self.text)
                    .map_err(|why| Error::new(format!("{}: {why}", self.name)))?;
            }
            for name in hook_devices(&self.text) {
                // What is no name of a device after all, nft(8) will complain of.
                let _ = device(&name);
            }
        }
        let mut made = Vec::new();
        loop {
            let output = tool.run(namespace, args, self.text.as_bytes())?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.replace(STANDARD_INPUT, &self.name);
            let missing = missing_devices(&said);
            let news: Vec<String> = missing.filter(|name| !made.contains(name)).collect();
            if news.is_empty() {
                let said = said.trim();
                // EMSGSIZE: only root may send more at once than `wmem_max` (socket(7)).
                let advice = if said.contains("Message too long") {
                    "\nThe ruleset is too large to be loaded without privileges: run with sudo, or raise \
                     net.core.wmem_max"
                } else {
                    ""
                };
                return Err(Error::new(format!(
                    "{}: the ruleset can't be loaded:\n{said}{advice}",
                    self.name
                )));
            }
            for name in news {
                device(&name)?;
                made.push(name);
            }
        }
    }
}

impl Form {
    /// Finds out how a text is written: only iptables-save(8) has lines like `*filter` and `COMMIT`.
    fn of(text: &str) -> Self {
        let lines = || text.lines().map(str::trim);
        let table = |line: &str| {
            let names = ["filter", "nat", "mangle", "raw", "security"];
            line.strip_prefix('*')
                .is_some_and(|name| names.contains(&name))
        };
        if !lines().any(table) {
            return Self::Nft;
        }
        for line in lines() {
            if line.starts_with('#') {
                // "# Generated by ip6tables-save v1.8.9"
                if line.contains("ip6tables") {
                    return Self::Ip6tables;
                } else if line.contains("iptables") {
                    return Self::Iptables;
                }
            }
        }
        let ipv6 = |word: &str| {
            let address = word.split('/').next().unwrap_or(word);
            address.parse::<std::net::Ipv6Addr>().is_ok()
                || ["ipv6-icmp", "icmpv6", "icmp6", "--icmpv6-type"].contains(&word)
                || word.starts_with("icmp6-")
        };
        if lines().flat_map(str::split_whitespace).any(ipv6) {
            Self::Ip6tables
        } else {
            Self::Iptables
        }
    }
}

/// Devices that hooks of `netdev` tables, `ingress` of `inet` ones and flowtables name: without them
/// nft(8) only says "No such file or directory".
fn hook_devices(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or(line);
        let mut words = line
            .split(|c: char| c.is_whitespace() || "{},;=\"".contains(c))
            .filter(|word| !word.is_empty())
            .peekable();
        while let Some(word) = words.next() {
            match word {
                "device" => names.extend(words.next().map(str::to_owned)),
                "devices" => {
                    names.extend(words.by_ref().map(str::to_owned));
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.starts_with('$') && name != "priority");
    names
}

/// The devices that nft(8) misses:
///
/// ```text
/// fw.nft:5:9-14: Error: Interface does not exist
///     iif "eth0" accept
///         ^^^^^^
/// ```
fn missing_devices(said: &str) -> impl Iterator<Item = String> {
    let lines: Vec<&str> = said.lines().collect();
    let mut names = Vec::new();
    for three in lines.windows(3) {
        if !three[0].ends_with("Error: Interface does not exist") {
            continue;
        }
        // The marks stand below the name; nft(8) shows each tab of the line above as it is.
        let begin = three[2].find('^').unwrap_or(0);
        let len = three[2].matches('^').count();
        let name: String = three[1].chars().skip(begin).take(len).collect();
        let name = name.trim_matches('"').to_owned();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_shows_in_the_text() {
        let form = |text: &str| Form::of(text);
        assert_eq!(form("table inet filter {\n}"), Form::Nft);
        assert_eq!(form("*filter\n:INPUT DROP [0:0]\nCOMMIT\n"), Form::Iptables);
        let six = "*filter\n-A INPUT -s fe80::/10 -j ACCEPT\nCOMMIT\n";
        assert_eq!(form(six), Form::Ip6tables);
        let generated = "# Generated by ip6tables-save v1.8.9\n*filter\nCOMMIT\n";
        assert_eq!(form(generated), Form::Ip6tables);
        assert_eq!(
            form("*filter\n-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT"),
            Form::Ip6tables
        );
    }

    #[test]
    fn a_file_for_both_programs_is_loaded_by_both() {
        let forms = |text: &str| -> Vec<Form> {
            let rulesets = Ruleset::new("r", text).by_program();
            rulesets.iter().map(|ruleset| ruleset.form).collect()
        };
        let both =
            "*filter\n-4 -A INPUT -s 10.0.0.1 -j ACCEPT\n-6 -A INPUT -s ::1 -j ACCEPT\nCOMMIT\n";
        assert_eq!(forms(both), [Form::Iptables, Form::Ip6tables]);
        let quoted = "*filter\n-A INPUT -m comment --comment \"not -6 \" -j ACCEPT\nCOMMIT\n";
        assert_eq!(forms(quoted), [Form::Iptables]);
        assert_eq!(forms("table ip6 filter {\n}"), [Form::Nft]);
    }

    #[test]
    fn missing_devices_are_read_from_what_nft_says() {
        let said = "a.nft:1:14-17: Error: Interface does not exist\n\
                    define wan = eth9\n             ^^^^\n\
                    a.nft:8:9-16: Error: Interface does not exist\n\
                    \tiif \"eth0.1\" drop\n\t    ^^^^^^^^\n";
        let names: Vec<String> = missing_devices(said).collect();
        assert_eq!(names, ["eth9", "eth0.1"]);
    }

    #[test]
    fn devices_of_hooks_are_found() {
        let text = "chain in { type filter hook ingress device \"eth0\" priority 0; }\n\
                    flowtable f { hook ingress priority 0; devices = { eth1, \"eth2\" }; }\n\
                    # device eth3\n chain c { type filter hook ingress device $wan priority 0; }";
        assert_eq!(hook_devices(text), ["eth0", "eth1", "eth2"]);
    }
}
