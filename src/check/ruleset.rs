//! A ruleset under test: nft(8) or iptables-save(8) text, and loading it into the namespace.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::check::confine::becomes_nobody;
use crate::check::form::{self, Form};
use crate::check::include;
use crate::check::limits::without_quoted;
use crate::check::namespace::Namespace;
use crate::check::repair;
use crate::check::tool::{IP6TABLES_RESTORE, IPSET, IPTABLES_RESTORE, NFT, Tool};
use crate::model::error::Error;

/// What nft(8) calls what it reads.
const STANDARD_INPUT: &str = "/dev/stdin";

/// A ruleset as its file has it, and which program loads it.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// What messages call it.
    pub name: String,
    /// How it is written.
    pub form: Form,
    /// Whether that is certain: rules of iptables that no address tells the family of may be of the other one.
    pub certain: bool,
    /// What it says.
    pub text: String,
}

/// What no ruleset reaches: iptables-save and nft(8) have to hold a multiple of it.
const BYTES_MAX: u64 = 256 << 20;

/// Reads a text, and nothing that has no end.
fn text_of(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(
            "it has more than 256 MiB, and no ruleset has",
        ));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text, and so no ruleset"))
}

impl Ruleset {
    /// One that is not in a file.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let (name, text) = (name.into(), text.into());
        let (form, certain) = form::of(&text, &name);
        Self {
            name,
            form,
            certain,
            text: match form {
                Form::Nft | Form::Ipset => text,
                Form::Iptables | Form::Ip6tables => form::without_counters(&text),
            },
        }
    }

    /// The same ruleset for each program that loads it. A file of iptables-restore(8) whose rules say `-4` or `-6` is
    /// for both: each passes over the rules of the other's family.
    pub fn by_program(&self) -> Vec<Self> {
        let family = |word: &str| ["-4", "-6", "--ipv4", "--ipv6"].contains(&word);
        let mut rules = self.text.lines().filter(|line| line.starts_with('-'));
        let for_both = rules.any(|rule| without_quoted(rule).split_whitespace().any(family));
        if self.form.family().is_none() || !for_both {
            return vec![self.clone()];
        }
        let forms = [Form::Iptables, Form::Ip6tables].into_iter();
        let of = |form| Self {
            form,
            certain: true,
            ..self.clone()
        };
        forms.map(of).collect()
    }

    /// Reads one from a file; `-` is standard input, and `ip6:FILE` says that it is of ip6tables-save(8).
    ///
    /// Errors: a file that can't be read, or is no ruleset.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let said = path.to_str().filter(|_| !path.exists()).and_then(|text| {
            let (family, path) = text.split_once(':')?;
            let form = match family {
                "ip" | "ip4" => Form::Iptables,
                "ip6" => Form::Ip6tables,
                _ => return None,
            };
            Some((form, path))
        });
        let Some((form, path)) = said else {
            return Self::read_file(path);
        };
        let ruleset = Self::read_file(Path::new(path))?;
        if ruleset.form.family().is_none() {
            return Err(Error::file(
                Path::new(path),
                "is not of iptables-save, whose family alone can be said so: leave out ip: or ip6:",
            ));
        }
        Ok(Self {
            form,
            certain: true,
            ..ruleset
        })
    }

    fn read_file(path: &Path) -> Result<Self, Error> {
        let wrong = |error| Error::file(path, format!("can't be read: {error}"));
        if path.as_os_str() == "-" {
            let text = text_of(std::io::stdin()).map_err(wrong)?;
            if let Some(why) = form::refusal(&text) {
                return Err(Error::new(format!("standard input {why}")));
            }
            return Ok(Self::new("standard input", text));
        }
        let text = File::open(path).and_then(text_of).map_err(wrong)?;
        if let Some(why) = form::refusal(&text) {
            return Err(Error::file(path, why));
        }
        Ok(Self::new(path.display().to_string(), text))
    }

    /// Loads it, as of the other family if this one is not certain and its program refuses it.
    ///
    /// Errors: as [`load`](Self::load).
    pub fn load_as_either(
        &self,
        namespace: &Namespace,
        device: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<(Self, Vec<String>), Error> {
        let error = match self.load(namespace, device) {
            Err(error) if !self.certain => error,
            done => return done,
        };
        let other = Self {
            form: self.form.other_family(),
            ..self.clone()
        };
        other.load(namespace, device).map_err(|_| error)
    }

    /// Loads it. nft(8) wants the devices of `iif`, `oif` and of device hooks to be there: `device` is
    /// called to make them. Returns it as it was loaded, and what was left out of it.
    ///
    /// Errors: a program that is missing; a ruleset that does not load, with the program's own words.
    pub fn load(
        &self,
        namespace: &Namespace,
        device: &mut dyn FnMut(&str) -> Result<(), Error>,
    ) -> Result<(Self, Vec<String>), Error> {
        // Not by its name: whoever may read it, nft(8) runs without rights over files.
        let (tool, args): (Tool, &[&str]) = match self.form {
            Form::Nft => (NFT, &["-f", "-"]),
            Form::Ipset => (IPSET, &["restore"]),
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
        let mut loaded = self.clone();
        let mut left_out = Vec::new();
        loop {
            let output = tool.run(namespace, args, loaded.text.as_bytes())?;
            if output.status.success() {
                return Ok((loaded, left_out));
            }
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.replace(STANDARD_INPUT, &self.name);
            let missing = missing_devices(&said);
            let news: Vec<String> = missing.filter(|name| !made.contains(name)).collect();
            let repaired = match self.form {
                Form::Nft => repair::nft(&loaded.text, &self.name, &said),
                Form::Ipset => None,
                Form::Iptables | Form::Ip6tables => repair::iptables(&loaded.text, &said),
            };
            if let (Some(repaired), true) = (repaired, news.is_empty()) {
                loaded.text = repaired.text;
                left_out.extend(repaired.left_out);
                continue;
            }
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
