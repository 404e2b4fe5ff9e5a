//! `conntracker rules`.

mod denied;
mod given;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use ipnet::IpNet;

use given::Value;

use super::Conflict;
use super::brief;
use super::reading::{self, Reading};
use crate::files::destination::Destination;
use crate::model::error::Error;
use crate::model::evidence;
use crate::model::record::Record;
use crate::model::selection::Selection;
use crate::model::services::{self, Services};
use crate::model::units::counted;
use crate::rules::block::Family;
use crate::rules::direction::Chain;
use crate::rules::foreign::Foreign;
use crate::rules::general::sensitive::Sensitive;
use crate::rules::general::{self, Aim, explain};
use crate::rules::iptables::{self, Families};
use crate::rules::{
    Options, Plan, Policies, Policy, aerleon, firewalld, header, nft, nft_words, plan, report, ufw,
};
use crate::ui::console::Console;

/// The firewall that rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Firewall {
    /// nftables: nft -f
    Nft,
    /// iptables-restore and ip6tables-restore
    Iptables,
    /// ufw: commands, one a line
    Ufw,
    /// Aerleon: a policy in YAML and its definitions, in a folder
    Aerleon,
    /// firewalld: zones, policies, services and ipsets, in a folder
    Firewalld,
}

impl Firewall {
    const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nftables",
            Self::Iptables => "iptables",
            Self::Ufw => "ufw",
            Self::Aerleon => "Aerleon",
            Self::Firewalld => "firewalld",
        }
    }
}

/// The exit status where rules may be too few.
const TOO_FEW: u8 = 3;

/// What comments of generalized rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Comments {
    /// What a rule is for, so that the rules of two weeks can be compared with diff
    Brief,
    /// Also how many flows it stands for, and when the captures were made
    Full,
}

const AFTER_HELP: &str = "\
Examples:
  conntracker rules week.json                  show them
  conntracker rules week.json -o fw.nft --report fw.report
  conntracker rules week.json --generalize -o fw.nft
  conntracker rules week.json --for iptables -o rules/
  sudo conntracker check fw.nft week.json      before sudo nft -f fw.nft

Exit status:
  0  the rules are written
  1  error, or nothing of a file could be read
  2  bad arguments
  3  the rules are written, but may be too few: a capture is incomplete, a file
     was cut or changed, lines were skipped, or the firewall has no words for
     some rules";

/// Arguments of `conntracker rules`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Rules {
    /// Captures; - means standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The firewall that the rules are for
    #[arg(long = "for", value_enum, value_name = "FIREWALL", default_value_t = Firewall::Nft)]
    pub firewall: Firewall,

    /// What happens to all other packets: drop or accept, for all chains or as CHAIN=POLICY for one
    ///
    /// Chains are input, forward and output. Can be given several times; the last one for a chain counts.
    #[arg(hide_short_help = true, long, value_name = "[CHAIN=]POLICY", value_parser = parse_policy, default_value = "drop")]
    pub policy: Vec<(Option<Chain>, Policy)>,

    /// An address of the gateway, or a network that belongs to the gateway alone, besides those in the captures
    #[arg(hide_short_help = true, long, value_name = "ADDR|CIDR", value_parser = parse_local)]
    pub local: Vec<IpNet>,

    /// Also accept flows that nobody answered
    #[arg(long)]
    pub include_unconfirmed: bool,

    /// Also accept some of the flows that did not get through, from captures with --denied
    ///
    /// EXPR is all, or conditions like those of filters, all of which have to hold: 'proto=tcp dst=10.0.0.0/8
    /// dport=443'. Without this option no rule is made for such flows.
    #[arg(long, value_name = "EXPR", value_parser = denied::parse)]
    pub include_denied: Option<Selection>,

    /// Also accept flows to multicast and broadcast addresses, such as requests to a DHCP server
    ///
    /// They never count as answered, since the answer comes from another address.
    #[arg(hide_short_help = true, long)]
    pub include_multicast: bool,

    /// Make one block of addresses where at most N per cent of them were not seen
    #[arg(hide_short_help = true, long, value_name = "N%", value_parser = parse_percent, default_value = "0")]
    pub widen: u8,

    /// Accept all of NETWORK where one of its addresses is a client, as with DHCP or IPv6 privacy addresses
    ///
    /// For every service that one of its addresses used, or for SERVICE alone: 22=10.0.9.0/24, udp/53=fd00::/64,
    /// ssh=any. NETWORK is a network, an address, any, or a name from --names. Can be given several times. With
    /// --generalize, the clients of a service that is named here do not climb beyond NETWORK.
    #[arg(hide_short_help = true, long, value_name = "[SERVICE=]NETWORK", value_parser = given::parse)]
    pub clients: Vec<Value>,

    /// Accept all of NETWORK where one of its addresses is a server, as with sites whose addresses move
    ///
    /// Written as with --clients: 443=any, https=198.51.100.0/24.
    #[arg(hide_short_help = true, long, value_name = "[SERVICE=]NETWORK", value_parser = given::parse)]
    pub servers: Vec<Value>,

    /// Names of networks and hosts: TOML with tables `networks` and `hosts`, a file like /etc/hosts, or the leases of dnsmasq
    ///
    /// Rules for nft use the names instead of the addresses, with definitions at their top, and comments of all rules
    /// have them; --clients and --servers take them as values. Can be given several times.
    #[arg(long, value_name = "FILE")]
    pub names: Vec<PathBuf>,

    /// Write rules that also let new flows of the same kinds pass: as narrow as they can be if they are expected to
    /// stop at most N wanted flows a day (by default 1, or a two-hundredth of a day's flows where that is less)
    ///
    /// Needs captures of three days at least, better of a week. Services climb from addresses to networks, to everybody
    /// behind an interface and, on the Internet side, to everybody, but only as far as the captured days require.
    #[arg(
        long, value_name = "N", value_parser = parse_most, num_args = 0..=1, require_equals = true,
        default_missing_value = "few"
    )]
    pub generalize: Option<Most>,

    /// With --generalize: a table of the services whose rules keep single addresses as long as they have few clients
    ///
    /// Its lines are like those of services(5), without the names in front: 22,2222/tcp or 5900-5910/tcp, and what it
    /// is. It replaces the built-in table, which has remote shells and desktops, file shares, databases and management.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        requires = "generalize"
    )]
    pub sensitive: Option<PathBuf>,

    /// With --generalize: show what each rung of each service's ladder would stop and open, instead of the rules; with
    /// -o FILE, write the rules too
    #[arg(hide_short_help = true, long, requires = "generalize")]
    pub explain: bool,

    /// With --generalize: write at most N rules, as narrow as that allows, however many flows a day they are expected
    /// to stop
    #[arg(hide_short_help = true, long, value_name = "N", requires = "generalize", value_parser = parse_count)]
    pub max_rules: Option<usize>,

    /// With --generalize: have each rule count packets and bytes
    #[arg(hide_short_help = true, long, requires = "generalize")]
    pub counter: bool,

    /// With --generalize: log what the policy drops, to group 5 of nfnetlink_log, ten packets a second at most
    #[arg(hide_short_help = true, long, requires = "generalize")]
    pub log_denied: bool,

    /// With --generalize: what comments of rules say
    #[arg(hide_short_help = true, long, value_enum, value_name = "WHAT", default_value_t = Comments::Brief, requires = "generalize")]
    pub comments: Comments,

    /// Write the rules to FILE, replaced atomically; - means standard output
    ///
    /// For iptables a folder gets two files, rules.v4 and rules.v6, as netfilter-persistent wants them. For Aerleon it
    /// has to be a folder, which gets policies/pol/conntracker.yaml and def/conntracker.yaml. For firewalld it has to
    /// be a folder like /etc/firewalld; files of earlier rules there, whose names begin with ct-, are removed if they
    /// are no longer needed.
    #[arg(short, long, value_name = "FILE|DIR", default_value = "-")]
    pub output: PathBuf,

    /// Write a report to FILE: the rules, what they admit that was not seen, and what was left out
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// The name of the nftables table
    #[arg(hide_short_help = true, long, value_name = "NAME", default_value = nft::TABLE, value_parser = parse_table)]
    pub table: String,

    /// Which flows of the files are taken, and how they are read.
    #[command(flatten)]
    pub reading: Reading,
}

impl Rules {
    /// Writes the rules.
    ///
    /// Errors: a file that can't be read or written, and captures that would make rules that accept nothing.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs(&self.files)?;
        let read = self.reading.union(&self.files, console)?;
        let captures = read.content.captures;
        let records = read.content.flows.into_iter().map(|flow| flow.record);
        let mut records: Vec<Record> = records.collect();
        let denied = read.content.told.denied;
        records.extend(denied::wanted(
            self.include_denied.as_ref(),
            denied,
            console,
        ));
        evidence::place_known(&mut records, &captures);
        let names = given::names(&self.names)?;
        let options = Options {
            policies: self.policies(),
            local: self.local.clone(),
            include_unconfirmed: self.include_unconfirmed,
            include_multicast: self.include_multicast,
            widen: self.widen,
            by_hand: given::by_hand(&self.clients, &self.servers, &names)?,
            names,
            services: Services::load()
                .map_err(|error| Error::file(Path::new(services::FILE), error))?,
        };
        let plan = match self.aim()? {
            Some(aim) => general::generalize(&captures, &records, &options, &aim),
            None => plan(&captures, &records, &options),
        };
        drop(records);
        if plan.count() == 0 && plan.missing().flows == 0 {
            return Err(Error::new(
                "the captures hold no flow that could have a rule, and rules without any would drop \
                 everything",
            ));
        }
        if plan.count() == 0 {
            return Err(Error::new(format!(
                "no flow to write a rule for: {} without an answer or otherwise left out. Such rules \
                 would drop everything; capture for longer, or use --include-unconfirmed",
                counted(plan.missing().flows, "flow")
            )));
        }
        for warning in &plan.warnings {
            console.note(&format!("warning: {warning}"));
        }
        let unsaid = match &plan.general {
            Some(general) if self.explain => {
                put(Path::new("-"), |out| explain::write(&plan, general, out))?;
                match self.output == Path::new("-") {
                    true => None,
                    false => self.write(&plan, console)?,
                }
            }
            _ => self.write(&plan, console)?,
        };
        if let Some(path) = &self.report {
            put(path, |out| report::write(&plan, out))?;
        }
        let mut status = read.outcome.exit_status();
        if let Some(unsaid) = unsaid {
            if status == 0 {
                status = TOO_FEW;
            }
            console.note(&format!("warning: {unsaid}"));
        }
        if let Some(general) = &plan.general {
            for sentence in general.outlook.sentences() {
                console.note(&sentence);
            }
            console.note(&format!(
                "{} for {}; {} left out",
                counted(plan.count() as u64, "rule"),
                counted(plan.carried().flows, "flow"),
                counted(plan.missing().flows, "flow"),
            ));
            return Ok(status);
        }
        console.note(&format!(
            "{} for {}, {} admitted that were not observed; {} left out",
            counted(plan.rules.len() as u64, "rule"),
            counted(plan.carried().flows, "flow"),
            header::show_extra(header::extra(&plan)),
            counted(plan.missing().flows, "flow"),
        ));
        Ok(status)
    }

    /// What its options ask for that can't be.
    pub fn conflict(&self) -> Option<Conflict> {
        let mut given = self.clients.iter().chain(&self.servers);
        if let Some(value) = given.find(|value| value.name().is_some() && self.names.is_empty()) {
            let why = format!(
                "{}: this is no network or address; a name needs --names FILE",
                value.text()
            );
            return Some((ErrorKind::ValueValidation, why.into()));
        }
        if !matches!(self.firewall, Firewall::Nft | Firewall::Iptables) {
            let options = [
                (self.counter, "--counter"),
                (self.log_denied, "--log-denied"),
            ];
            if let Some((_, option)) = options.into_iter().find(|(is_given, _)| *is_given) {
                let name = self.firewall.name();
                let why = format!(
                    "{option} is for nft and iptables: {name} counts and logs in its own way"
                );
                return Some((ErrorKind::ArgumentConflict, why.into()));
            }
        }
        let is_folder = matches!(self.firewall, Firewall::Aerleon | Firewall::Firewalld);
        let shows_only = self.explain && self.output == Path::new("-");
        if is_folder && !shows_only && (self.output == Path::new("-") || self.output.is_file()) {
            let name = self.firewall.name();
            let why = format!("{name} needs several files: give a folder, -o FOLDER");
            return Some((ErrorKind::ValueValidation, why.into()));
        }
        self.generalize?;
        let why = if self.widen > 0 {
            "--generalize finds out by itself how far rules have to go: leave out --widen"
        } else {
            return None;
        };
        Some((ErrorKind::ArgumentConflict, why.into()))
    }

    /// What generalized rules are to be like, if they are to be generalized.
    fn aim(&self) -> Result<Option<Aim>, Error> {
        let Some(Most(most_a_day)) = self.generalize else {
            return Ok(None);
        };
        let sensitive = match &self.sensitive {
            None => Sensitive::default(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
                let wrong =
                    |why: String| Error::new(format!("--sensitive {}: {why}", path.display()));
                Sensitive::parse(&text).map_err(wrong)?
            }
        };
        Ok(Some(Aim {
            most_a_day,
            sensitive,
            most_rules: self.max_rules,
            full_comments: self.comments == Comments::Full,
            counter: self.counter,
            log_denied: self.log_denied,
        }))
    }

    fn policies(&self) -> Policies {
        let mut policies = Policies::default();
        for &(chain, policy) in &self.policy {
            match chain {
                Some(chain) => policies.0[chain as usize] = policy,
                None => policies = Policies([policy; 3]),
            }
        }
        policies
    }

    /// Writes the rules where they go.
    ///
    /// Returns a warning of those that the firewall has no words for.
    fn write(&self, plan: &Plan, console: &Console) -> Result<Option<String>, Error> {
        let only = match (self.reading.filters.ipv4, self.reading.filters.ipv6) {
            (true, _) => Families::Only(Family::V4),
            (_, true) => Families::Only(Family::V6),
            _ => Families::Both,
        };
        match self.firewall {
            Firewall::Nft => put(&self.output, |out| nft::write(plan, &self.table, out))?,
            Firewall::Iptables if self.output.is_dir() => {
                let files = [(Family::V4, "rules.v4"), (Family::V6, "rules.v6")];
                let wanted =
                    |family| matches!(only, Families::Both) || only == Families::Only(family);
                for (family, name) in files.into_iter().filter(|(family, _)| wanted(*family)) {
                    let path = self.output.join(name);
                    put(&path, |out| {
                        iptables::write(plan, Families::Only(family), out)
                    })?;
                }
            }
            Firewall::Iptables => put(&self.output, |out| iptables::write(plan, only, out))?,
            Firewall::Ufw => return self.write_foreign(&ufw::write(plan, only), console),
            Firewall::Aerleon => return self.write_foreign(&aerleon::write(plan, only), console),
            Firewall::Firewalld => {
                return self.write_foreign(&firewalld::write(plan, only), console);
            }
        }
        Ok(None)
    }

    /// Writes what is for a program above the kernel's firewall.
    ///
    /// Returns a warning of what it does not say.
    fn write_foreign(&self, foreign: &Foreign, console: &Console) -> Result<Option<String>, Error> {
        let place = |name: &str| match name {
            "" => self.output.clone(),
            name => self.output.join(name),
        };
        for (name, text) in &foreign.files {
            let path = place(name);
            if let Some(folder) = path.parent().filter(|_| !name.is_empty()) {
                fs::create_dir_all(folder).map_err(|error| Error::unwritable(folder, error))?;
            }
            put(&path, |out| out.write_all(text.as_bytes()))?;
        }
        if let Some((prefix, mark)) = foreign.owned {
            let written: HashSet<PathBuf> = { foreign.files.iter() }
                .map(|(name, _)| place(name))
                .collect();
            let folders: BTreeSet<&Path> =
                written.iter().filter_map(|path| path.parent()).collect();
            for folder in folders {
                remove_others(folder, (prefix, mark), &written, console)?;
            }
        }
        let count = foreign.unsaid.count();
        Ok((count > 0).then(|| {
            let place = place(foreign.head);
            let place = match place.to_str() {
                Some("-") | None => "what was written".to_owned(),
                Some(path) => path.to_owned(),
            };
            format!(
                "{} can't be expressed in {} and will not be accepted: the head of {place} says which",
                counted(count as u64, "rule"),
                self.firewall.name(),
            )
        }))
    }
}

/// Removes files of ours that earlier rules needed and these do not, since they would go on accepting what they do.
fn remove_others(
    folder: &Path,
    (prefix, mark): (&str, &str),
    written: &HashSet<PathBuf>,
    console: &Console,
) -> Result<(), Error> {
    let entries = fs::read_dir(folder).map_err(|error| Error::file(folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::file(folder, error))?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(prefix));
        if !is_ours || written.contains(&path) || !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
        if text.contains(mark) {
            fs::remove_file(&path).map_err(|error| Error::unwritable(&path, error))?;
            console.note(&format!(
                "{}: removed, since these rules have no such file",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Has a file written as a whole. A reader of standard output that has gone, as head(1) does, is no error.
fn put(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut dyn Write>) -> io::Result<()>,
) -> Result<(), Error> {
    let put = Destination::new(path).put(|out| {
        let mut out = BufWriter::new(out);
        write(&mut out)?;
        out.flush()
    });
    match put {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        put => put.map_err(|error| Error::unwritable(path, error)),
    }
}

fn parse_policy(text: &str) -> Result<(Option<Chain>, Policy), String> {
    let (chain, policy) = match text.split_once('=') {
        None => (None, text),
        Some((name, policy)) => {
            let chain = Chain::ALL.into_iter().find(|chain| chain.name() == name);
            let chain = chain.ok_or("the chains are input, forward and output")?;
            (Some(chain), policy)
        }
    };
    match policy {
        "drop" => Ok((chain, Policy::Drop)),
        "accept" => Ok((chain, Policy::Accept)),
        _ => Err("write drop or accept, or for one chain for example output=accept".into()),
    }
}

fn parse_local(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| "write an address or a network, for example 192.0.2.1 or 192.0.2.0/28")?;
    // All addresses of a network would count as the gateway's, which is hardly what an interface's address
    // with its prefix length means.
    if net.trunc() != net {
        return Err(format!(
            "{} is an address within {}: write {} for the address alone, or {} if all of it is the gateway's own",
            text,
            net.trunc(),
            net.addr(),
            net.trunc()
        ));
    }
    Ok(net)
}

/// A number of rules.
fn parse_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| "write a number of rules from 1 on, for example 60".to_owned())
}

/// How many flows a day may be stopped; `None` if that is for the captures to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Most(Option<f64>);

fn parse_most(text: &str) -> Result<Most, String> {
    match text.parse() {
        Ok(most) if (0.0..=1e9).contains(&most) => Ok(Most(Some(most))),
        _ if text == "few" => Ok(Most(None)),
        _ => Err("write how many flows a day may be stopped, for example 1 or 0.5".into()),
    }
}

fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(percent @ 0..=99) => Ok(percent),
        _ => Err("write a whole number from 0 to 99, for example 10%".into()),
    }
}

fn parse_table(text: &str) -> Result<String, String> {
    if nft_words::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("write a letter and then letters, digits and _, at most 31, and no word of nft's language".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_people_write_them() {
        assert_eq!(parse_policy("drop"), Ok((None, Policy::Drop)));
        assert_eq!(
            parse_policy("output=accept"),
            Ok((Some(Chain::Output), Policy::Accept))
        );
        assert!(parse_policy("nat=drop").is_err() && parse_policy("reject").is_err());
        assert_eq!(parse_percent("10%"), Ok(10));
        assert_eq!(parse_percent("0"), Ok(0));
        assert!(parse_percent("100%").is_err() && parse_percent("-1").is_err());
        assert_eq!(
            parse_local("192.0.2.1"),
            Ok("192.0.2.1/32".parse().unwrap())
        );
        assert!(parse_local("192.0.2.0/28").is_ok());
        let error = parse_local("192.0.2.1/28").unwrap_err();
        assert!(
            error.contains("write 192.0.2.1 for the address alone"),
            "{error}"
        );
        assert!(parse_table("edge_1").is_ok());
        for wrong in [
            "",
            "1a",
            "a-b",
            "table",
            "ip",
            "a b",
            "x\"",
            &"x".repeat(32),
        ] {
            assert!(parse_table(wrong).is_err(), "{wrong}");
        }
    }
}
