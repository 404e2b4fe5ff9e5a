//! `conntracker check`.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::brief;
use super::reading::{self, Outcome, Reading};
use crate::check::against;
use crate::check::coverage::Coverage;
use crate::check::device::is_device_name;
use crate::check::expectation::Expectations;
use crate::check::form;
use crate::check::judge::Judge;
use crate::check::namespace::gain_privilege;
use crate::check::network::Hints;
use crate::check::report::Report;
use crate::check::report::against::Against;
use crate::check::ruleset::Ruleset;
use crate::model::error::Error;
use crate::model::evidence;
use crate::model::origin::Begun;
use crate::model::printable::printable;
use crate::model::record::Record;
use crate::model::units::{agree, counted, show_count};
use crate::ui::console::Console;
use crate::ui::progress::Progress;

/// Some confirmed flow does not pass.
const DROPPED: u8 = 1;
/// It is not known whether all pass.
const TROUBLE: u8 = 2;
/// All pass, and there may be more that are not in the captures.
const INCOMPLETE: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  sudo conntracker check fw.nft flows.json
  sudo conntracker check rules.v4 --also rules.v6 flows.json
  sudo conntracker check fw.nft month.json --coverage
  sudo conntracker check old.nft --against new.nft
  sudo conntracker check fw.nft flows.json --interface 192.168.0.0/16=lan

Exit status:
  0  every confirmed flow passes, in both directions, and every expected one
     is as it should be; with --against, no difference was found
  1  some confirmed flow does not pass, or an expected one is not as it should
     be; with --against, the rulesets differ
  2  error, or it is not known whether some flow passes
  3  every confirmed flow passes, but flows may be missing from the captures";

/// Arguments of `conntracker check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Check {
    /// The ruleset: a file for nft -f, or of iptables-save or ip6tables-save (ip:FILE and ip6:FILE say which); - means
    /// standard input
    #[arg(value_name = "RULESET")]
    pub ruleset: PathBuf,

    /// Captures with the flows to judge
    #[arg(value_name = "FILE", required_unless_present_any = ["expect", "against"])]
    pub files: Vec<PathBuf>,

    /// Test that flows pass or are stopped as a TOML file says (see conntracker help check-guide). Needs no capture
    #[arg(long, value_name = "FILE")]
    pub expect: Vec<PathBuf>,

    /// Say what each rule is for: which flows need it, which rules no flow needs, which rules can't be reached, and how
    /// much of their networks and sets was used. As text or JSON
    #[arg(long)]
    pub coverage: bool,

    /// Compare with this ruleset, which is to replace the other one: what newly passes, what is newly stopped, and by
    /// which rules. Needs no capture. Repeat it for more files of the new ruleset
    #[arg(long, value_name = "NEW", conflicts_with_all = ["expect", "coverage"])]
    pub against: Vec<PathBuf>,

    /// Load this ruleset too, such as that of ip6tables-save, or the sets of ipset save
    #[arg(hide_short_help = true, long, value_name = "RULESET")]
    pub also: Vec<PathBuf>,

    /// Judge unconfirmed flows too: what the ruleset would let in although nobody answers
    #[arg(hide_short_help = true, long)]
    pub all: bool,

    /// Which flows of the files are taken, and how they are read.
    #[command(flatten)]
    pub reading: Reading,

    /// How the report is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Addresses of the host, if the capture does not have them: 192.168.1.1/24
    #[arg(hide_short_help = true, long, value_name = "ADDRESS/PREFIX", value_delimiter = ',', value_parser = parse_address)]
    pub local: Vec<IpNet>,

    /// The network that lies behind a device: 192.168.0.0/16=lan
    #[arg(long, value_name = "NETWORK=DEVICE", value_parser = parse_interface)]
    pub interface: Vec<(IpNet, String)>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
    /// XML as JUnit writes it, for GitLab, Jenkins and others that show tests
    Junit,
    /// SARIF 2.1.0, for code review: which line of the ruleset stops what
    Sarif,
    /// For a merge request or a ticket
    Markdown,
}

impl Check {
    /// Judges the flows and prints the report.
    ///
    /// Errors: None: they are told on the console, since 1 is not their exit status.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        Ok(self.check(console).unwrap_or_else(|error| {
            console.error(&error.to_string());
            TROUBLE
        }))
    }

    fn check(&self, console: &Console) -> Result<u8, Error> {
        if self.coverage && ![Format::Text, Format::Json].contains(&self.format) {
            return Err(Error::new(
                "what --coverage finds is written as text or JSON: use --format text or --format json",
            ));
        }
        if !self.against.is_empty() && ![Format::Text, Format::Json].contains(&self.format) {
            return Err(Error::new(
                "what --against finds is written as text or JSON: use --format text or --format json",
            ));
        }
        let paths = std::iter::once(&self.ruleset).chain(&self.also);
        reading::check_inputs(paths.clone().chain(&self.against).chain(&self.files))?;
        let others = self.against.iter().map(|path| Ruleset::read(path));
        let others: Vec<Ruleset> = others.collect::<Result<_, _>>()?;
        let rulesets: Vec<Ruleset> = paths
            .map(|path| Ruleset::read(path))
            .collect::<Result<_, _>>()?;
        // Before captures, which may be large, are read for nothing.
        let expected = self.expect.iter().map(|path| Expectations::read(path));
        let expected: Vec<Expectations> = expected.collect::<Result<_, _>>()?;
        if let Some(ruleset) = self.files.iter().find(|path| begins_as_ruleset(path)) {
            return Err(Error::file(
                ruleset,
                "this is a ruleset, and a capture is wanted here: to compare two rulesets give the second one with \
                 --against, to load one more give it with --also",
            ));
        }
        let read = self.reading.union(&self.files, console)?;
        let captures = read.content.captures;
        let flows = read.content.flows.into_iter();
        let mut records: Vec<Record> = flows.map(|flow| flow.record).collect();
        evidence::place_known(&mut records, &captures);
        if captures.iter().any(|capture| !capture.tells_translation()) {
            console.note(
                "warning: a capture says nothing about address translation, as classic lists do not: flows are judged as if \
                 the host translated none but by the rulesets given here. Give the host's own nat chains with --also, for \
                 example of nft list table ip nat",
            );
        }
        for spot in captures.iter().flat_map(|capture| &capture.blind_spots) {
            console.note(&format!(
                "warning: the capture could not see {}; flows that it missed are not judged",
                printable(spot)
            ));
        }
        records.sort_unstable_by(|a, b| a.identity.cmp(&b.identity));
        let (mut records, unconfirmed): (Vec<Record>, Vec<Record>) =
            { records.into_iter() }.partition(|record| self.all || record.confirmed);
        let left_out = unconfirmed.len() as u64;
        let unconfirmed = if self.coverage {
            unconfirmed
        } else {
            Vec::new()
        };
        let mut unclear = set_aside(&mut records, console);
        let open = !unclear.is_empty();
        if records.is_empty() && self.expect.is_empty() && !self.files.is_empty() {
            console.note("there are no confirmed flows in the captures, so none was judged");
        }
        // Before any thread is started, and after files that only this user may read have been read.
        gain_privilege()?;
        let mut hints = Hints {
            local: self.local.clone(),
            interfaces: self.interface.clone(),
            devices: Vec::new(),
        };
        let mut expectations = Vec::new();
        for read in expected {
            hints.local.extend(read.hints.local);
            hints.interfaces.extend(read.hints.interfaces);
            expectations.extend(read.flows);
        }
        for (at, (net, device)) in hints.interfaces.iter().enumerate() {
            let before = &hints.interfaces[..at];
            if let Some((_, other)) = before.iter().find(|(it, name)| it == net && name != device) {
                return Err(Error::new(format!(
                    "{net} can't lie behind {other} and {device} at once: leave one of them out"
                )));
            }
        }
        if !others.is_empty() {
            let mut progress = Progress::new(console, "judging", None);
            let sides = [rulesets.as_slice(), others.as_slice()];
            let comparison = against::compare(sides, &captures, &records, &hints, &mut |more| {
                progress.advance(more)
            })?;
            drop(progress);
            let report = Against {
                sides,
                comparison: &comparison,
                incomplete: read.outcome != Outcome::Whole,
            };
            written(|out| match self.format {
                Format::Json => report.write_json(out),
                _ => report.write_text(out),
            })?;
            return Ok(match (comparison.differs(), read.outcome) {
                (_, Outcome::Unreadable) | (None, _) => TROUBLE,
                (Some(true), _) => DROPPED,
                (Some(false), _) if open => TROUBLE,
                (Some(false), Outcome::Incomplete) => INCOMPLETE,
                (Some(false), Outcome::Whole) => 0,
            });
        }
        let judged = records.len();
        records.extend(expectations.iter().map(|flow| flow.record.clone()));
        let mut judge = Judge::new(&rulesets, &captures, &hints)?;
        if self.coverage {
            judge.note_paths()?;
        } else {
            judge.staff(&rulesets, &captures, &hints, records.len());
        }
        let number = records.len() as u64;
        let began = Instant::now();
        let mut progress = Progress::new(console, "judging", Some(number));
        let verdicts = judge.judge(&records, &mut |more| progress.advance(more))?;
        drop(progress);
        let elapsed = began.elapsed();
        console.detail(&format!(
            "judged {} in {:.2} s, {} a second",
            counted(number, "flow"),
            elapsed.as_secs_f64(),
            show_count((number as f64 / elapsed.as_secs_f64()) as u64),
        ));
        let coverage = if self.coverage {
            unclear.extend(unconfirmed);
            let (records, verdicts) = (&records[..judged], &verdicts[..judged]);
            Some(Coverage::new(
                &judge, records, verdicts, &unclear, &captures,
            )?)
        } else {
            None
        };
        let report = Report {
            rulesets: &rulesets,
            records: &records[..judged],
            verdicts: &verdicts[..judged],
            expectations: &expectations,
            expected: &verdicts[judged..],
            left_out,
            limits: judge.limits(),
            coverage: coverage.as_ref(),
            incomplete: read.outcome != Outcome::Whole,
        };
        written(|out| match self.format {
            Format::Text => report.write_text(out),
            Format::Json => report.write_json(out),
            Format::Junit => report.write_junit(out),
            Format::Sarif => report.write_sarif(out),
            Format::Markdown => report.write_markdown(out),
        })?;
        Ok(match (report.is_as_it_should_be(), read.outcome) {
            (_, Outcome::Unreadable) | (None, _) => TROUBLE,
            (Some(false), _) => DROPPED,
            (Some(true), _) if open => TROUBLE,
            (Some(true), Outcome::Incomplete) => INCOMPLETE,
            (Some(true), Outcome::Whole) => 0,
        })
    }
}

/// Writes a report to standard output.
fn written(
    write: impl FnOnce(&mut BufWriter<io::StdoutLock<'static>>) -> io::Result<()>,
) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        // Whoever reads has seen enough; the exit status still tells.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result
            .map_err(|error| Error::caused(format!("the report can't be written: {error}"), error)),
    }
}

/// Takes flows out that can't be judged by themselves, and says so. Returns them: they may pass or not.
fn set_aside(records: &mut Vec<Record>, console: &Console) -> Vec<Record> {
    let (unclear, clear): (Vec<Record>, Vec<Record>) = std::mem::take(records)
        .into_iter()
        .partition(|record| record.origin.begun == Begun::Unclear);
    *records = clear;
    let number = unclear.len() as u64;
    if number > 0 {
        console.note(&format!(
            "{} open before {} tracked: not judged, since it is not known which side opened {}",
            counted(number, "flow"),
            agree(number, "it was", "they were"),
            agree(number, "it", "them")
        ));
    }
    unclear
}

fn parse_address(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse().map(|address: std::net::IpAddr| address.into());
    text.parse()
        .or_else(|_| alone())
        .map_err(|_| "write an address with its prefix length, like 192.168.1.1/24".to_owned())
}

fn parse_interface(text: &str) -> Result<(IpNet, String), String> {
    let (net, device) = text
        .split_once('=')
        .filter(|(_, device)| is_device_name(device))
        .ok_or("write a network and its device, like 192.168.0.0/16=lan")?;
    Ok((parse_address(net)?.trunc(), device.to_owned()))
}

/// Whether a file begins as nft(8) and iptables-save(8) write rulesets.
pub(super) fn begins_as_ruleset(path: &Path) -> bool {
    // What is no file may not be read twice.
    if !path.is_file() {
        return false;
    }
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut begin));
    read.is_ok() && form::is_ruleset(&String::from_utf8_lossy(&begin))
}

/// Long enough for the comments that many files begin with.
const BEGINNING: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_devices_are_read_as_people_write_them() {
        let net: IpNet = "192.168.0.0/16".parse().unwrap();
        let found = parse_interface("192.168.3.4/16=lan");
        assert_eq!(found, Ok((net, "lan".to_owned())));
        assert!(parse_interface("lan=192.168.0.0/16").is_err());
        assert!(parse_interface("10.0.0.0/8=").is_err());
        let single: IpNet = "10.0.0.1/32".parse().unwrap();
        assert_eq!(parse_address("10.0.0.1"), Ok(single));
    }
}
