//! Options that are right one by one, and ask together for what can't be.

use std::path::PathBuf;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::layout::Resolve;
use super::options::Cli;
use crate::cli::command::{Command, Conflict};
use crate::files::destination::is_stdout;
use crate::files::folder::Folder;
use crate::model::selection::SourcePorts;
use crate::output::layout::Format;
use crate::output::sort::Sort;
use crate::sources::method::Source;

impl Cli {
    /// Refuses what parsing alone can't.
    ///
    /// Errors: options that ask for what can't be.
    pub fn check(self) -> Result<Self, clap::Error> {
        let wrong = match &self.command {
            Some(command) => command.conflict(),
            None => self.conflict(),
        };
        let wrong = wrong.or_else(|| {
            let why = self.shared_file()?;
            Some((ErrorKind::ArgumentConflict, why.into()))
        });
        let Some((kind, why)) = wrong else {
            return Ok(self);
        };
        let mut program = Self::command();
        program.build();
        let name = self.command.as_ref().map(Command::name);
        let command = name.and_then(|name| program.find_subcommand_mut(name));
        Err(match command {
            Some(command) => command.error(kind, why),
            None => program.error(kind, why),
        })
    }

    /// Whether more of an event is needed than the classic list does.
    pub fn is_detailed(&self) -> bool {
        self.keeps_records() || self.all_protocols || self.filters.selection().filters_sightings()
    }

    /// Whether records are kept.
    pub fn keeps_records(&self) -> bool {
        let format = self.layout.format_or(Format::Classic);
        format != Format::Classic
            || self.layout.sort_of(format) != Sort::Classic
            || self.layout.reverse
            || self.filters.source_ports == SourcePorts::Keep
            // To forget a flow takes to know when it was last seen.
            || self.forget.is_some()
            || !self.watch.is_empty()
            // What is gathered over months should serve for rules too, whatever is printed meanwhile.
            || self.state.is_some() && self.source != Source::Kernel
    }

    /// Whether it is not enough to know of each flow once: because of filters and formats that need more of an event than
    /// the classic list does, or because of intervals that begin anew.
    pub fn needs_more_than_flows(&self) -> bool {
        self.is_detailed() || self.reset
    }

    /// What keeps a BPF program that drops what it has handled from serving, if anything does.
    pub fn unfit_for_kernel(&self) -> Option<&'static str> {
        if self.write.is_some() {
            Some("-w, which records every event")
        } else if self.all_netns && self.needs_more_than_flows() {
            Some(
                "--all-netns with filters, formats or --reset: a program in the kernel does not learn which namespace an \
                 event is from",
            )
        } else if self.no_prefilter {
            Some("--no-prefilter, which receives every event")
        } else if self.workers > 1 {
            Some("--workers: it leaves next to nothing to share out")
        } else {
            None
        }
    }

    /// What does not go with --rules and --denied.
    fn conflict_of_rules(&self, format: Format) -> Option<Conflict> {
        let conflict = |why: &'static str| Some((ErrorKind::ArgumentConflict, why.into()));
        if !self.rules && !self.denied {
            let why =
                "--iptables-legacy says which rules --rules and --denied follow: add one of them";
            let alone = self.iptables_legacy;
            return alone.then(|| (ErrorKind::MissingRequiredArgument, why.into()));
        }
        if self.all_netns {
            return conflict(
                "--rules and --denied follow packets in one network namespace, and --all-netns captures in all: capture one with \
                 --netns NAME, or start conntracker trace --netns NAME beside it",
            );
        }
        if self.daemon {
            return conflict(
                "--rules and --denied start nft(8) for the texts of rules, and a daemon starts no programs: leave out --daemon, as \
                 the service does, or start conntracker trace beside it",
            );
        }
        match format {
            Format::Table | Format::Json => None,
            Format::Csv if !self.denied => None,
            Format::Csv => conflict(
                "--denied takes --format table or json: whoever reads a line of CSV takes it for a flow that got through. --rules \
                 alone goes with --format csv",
            ),
            _ => conflict(
                "--rules takes --format table, json or csv, and --denied table or json: the other formats have no place for rules",
            ),
        }
    }

    fn conflict(&self) -> Option<Conflict> {
        let standard_output = |path: &PathBuf| is_stdout(path);
        let listed = standard_output(&self.output);
        let recorded = self.write.as_ref().is_some_and(standard_output);
        if self.daemon && (listed || recorded) {
            let why = "a daemon has no standard output: name a file with -o FILE";
            return Some((ErrorKind::MissingRequiredArgument, why.into()));
        }
        let format = self.layout.format_or(Format::Classic);
        if let Some(conflict) = self.conflict_of_rules(format) {
            return Some(conflict);
        }
        if self.learn_names && matches!(format, Format::Classic | Format::Nft) {
            let why = "--learn-names takes --format table, json or csv: the other formats have no place for names";
            return Some((ErrorKind::ArgumentConflict, why.into()));
        }
        if self.keep.is_some() && !Folder::is_named(&self.output) {
            let why = "--keep is for a folder with a file for each list: name one with -o DIR/";
            return Some((ErrorKind::MissingRequiredArgument, why.into()));
        }
        if self.layout.resolve.contains(&Resolve::Dns) {
            let why = "--resolve dns would ask while flows are captured, and be captured itself: write the list with \
                       --format json -o FILE, then conntracker show --resolve dns FILE";
            return Some((ErrorKind::ArgumentConflict, why.into()));
        }
        if self.source == Source::Kernel {
            let reason = self.unfit_for_kernel()?;
            let why = format!("--source kernel does not go with {reason}");
            return Some((ErrorKind::ArgumentConflict, why.into()));
        }
        let why = if listed && recorded {
            "the list and the recording can't both go to standard output: name a file with -o or -w"
        } else if self.source != Source::Callback {
            return None;
        } else if self.all_netns {
            "--all-netns needs to know which namespace an event comes from, which --source callback does not say: \
             leave out --source"
        } else if self.write.is_some() {
            "-w records raw events, which --source callback does not see: leave out --source"
        } else {
            return None;
        };
        Some((ErrorKind::ArgumentConflict, why.into()))
    }
}
