//! `conntracker show`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::error::ErrorKind;

use super::Conflict;
use super::brief;
use super::reading::{self, ListArgs, Outcome, Read};
use crate::captures::groups::{Groups, Key, Keys};
use crate::captures::reader::Sink;
use crate::captures::reader::line::Kind;
use crate::files::destination::Destination;
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::evidence;
use crate::model::listing::{Flow, Listing, Part};
use crate::model::record::Record;
use crate::model::ruled::Denied;
use crate::model::selection::Selection;
use crate::model::units::{agree, counted};
use crate::output::groups;
use crate::output::layout::{Format, Layout};
use crate::rules::Options;
use crate::rules::general::coverage::{self, Once};
use crate::rules::general::{self, Aim};
use crate::ui::console::Console;

const AFTER_HELP: &str = concat!(
    "\
Examples:
  conntracker show day.json
  conntracker show day.json --confirmed --dport 443 --sort connections
  conntracker show day.json --group dst-service
  conntracker show day.json --dst-name '*.example.com'
  conntracker show monday.json tuesday.json --format csv -o both.csv

",
    reading::exit_status!()
);

/// Arguments of `conntracker show`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Show {
    /// Captures (JSON, recordings, lists of conntracker or conntrack, flows of nfdump, Zeek and others); - means
    /// standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Sum flows up by what they have in common: src, dst, service, proto, zone, rule, src-net, dst/16 and the
    /// like, joined by -
    #[arg(long, value_name = "KEYS")]
    pub group: Option<Keys>,

    /// Say whether the captures are long enough for rules: what rules made a day or a week ago would have stopped, and
    /// what to expect of new ones
    #[arg(long, conflicts_with = "group")]
    pub coverage: bool,

    /// Only flows that did not get through, from captures with --denied; without this option they are not listed
    #[arg(long, conflicts_with = "coverage")]
    pub denied: bool,

    /// What is read, and how and where the result is written.
    #[command(flatten)]
    pub list: ListArgs,
}

impl Show {
    /// What its options ask for that can't be.
    pub fn conflict(&self) -> Option<Conflict> {
        let layout = &self.list.layout;
        if let Some(conflict) = self.list.conflict() {
            return Some(conflict);
        }
        let is_sorted = layout.sort.is_some() || layout.reverse;
        if self.coverage && (layout.format.is_some() || is_sorted) {
            let why = "--coverage lists no flows: leave out --format, --sort and --reverse";
            return Some((ErrorKind::ArgumentConflict, why.into()));
        }
        let lists = matches!(
            layout.format,
            Some(Format::Classic | Format::Csv | Format::Nft)
        );
        if self.denied && self.group.is_none() && lists {
            let why = "--denied lists flows that did not get through, which this format can't tell from others: choose \
                       --format table or json";
            return Some((ErrorKind::ArgumentConflict, why.into()));
        }
        self.group.as_ref()?;
        let why = match layout.format {
            Some(Format::Classic) => {
                "the classic list has no groups: leave out --group, or choose --format table, json or csv"
            }
            Some(Format::Nft) => {
                "rules are made of flows, not of groups: leave out --group, or choose --format table, json \
                 or csv"
            }
            _ if is_sorted => {
                "--sort and --reverse order flows, and groups are in the order of their size: leave out these or \
                 --group"
            }
            _ => return None,
        };
        Some((ErrorKind::ArgumentConflict, why.into()))
    }

    /// Shows the captures; the exit status is 3 if flows may be missing from them.
    ///
    /// Errors: a file that can't be read or written.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs(&self.files)?;
        let (destination, mut layout) = self.list.target(Format::Table)?;
        let outcome = match &self.group {
            None if self.coverage => self.run_coverage(&destination, &mut layout, console)?,
            Some(keys) => self.run_groups(keys, &destination, &mut layout, console)?,
            None => {
                let mut read = self.list.named_union(&self.files, &mut layout, console)?;
                self.choose(&mut read.content, console);
                reading::put_list(&destination, &layout, &mut read.content, console)?;
                read.outcome
            }
        };
        Ok(outcome.exit_status())
    }

    /// Leaves the flows that did not get through, or those that did.
    fn choose(&self, listing: &mut Listing, console: &Console) {
        let denied = listing.told.denied.len() as u64;
        if self.denied {
            listing.flows.clear();
            listing.told.rules.clear();
        } else {
            listing.told.denied.clear();
            if denied > 0 {
                console.note(&format!(
                    "{} did not get through, and {} listed with --denied",
                    counted(denied, "flow"),
                    agree(denied, "is", "are")
                ));
            }
        }
    }

    fn run_coverage(
        &self,
        destination: &Destination,
        layout: &mut Layout,
        console: &Console,
    ) -> Result<Outcome, Error> {
        let Read { content, outcome } = self.list.named_union(&self.files, layout, console)?;
        let once = Once::count(&content.captures, &content.flows);
        let records = content.flows.into_iter().map(|flow| flow.record);
        let mut records: Vec<Record> = records.collect();
        evidence::place_known(&mut records, &content.captures);
        let options = Options::default();
        let plan = general::generalize(&content.captures, &records, &options, &Aim::default());
        let general = plan.general.as_ref().expect("it was generalized");
        reading::put(destination, console, |out| {
            coverage::write(general, once, &mut { out })
        })?;
        Ok(outcome)
    }

    fn run_groups(
        &self,
        keys: &Keys,
        destination: &Destination,
        layout: &mut Layout,
        console: &Console,
    ) -> Result<Outcome, Error> {
        let format = self.list.layout.format_or(Format::Table);
        let Read { content, outcome } = match self.files.as_slice() {
            // Rules stand beside the flows of a whole list.
            [file]
                if file.is_file()
                    && !self.denied
                    && self.list.by_name.is_empty()
                    && !keys.as_slice().contains(&Key::Rule) =>
            {
                match self.stream(file, keys, console)? {
                    Some(read) => read,
                    None => self.group(keys, layout, console)?,
                }
            }
            _ => self.group(keys, layout, console)?,
        };
        let groups = content.finish();
        let keys = keys.as_slice();
        reading::put(destination, console, |out| {
            let mut out = io::BufWriter::with_capacity(1 << 18, out);
            match format {
                Format::Json => groups::write_json(keys, &groups, &mut out)?,
                Format::Csv => groups::write_csv(keys, &groups, &mut out)?,
                _ => groups::write_table(keys, &groups, &layout.clock, &mut out)?,
            }
            out.flush()
        })?;
        Ok(outcome)
    }

    /// Groups of the union of all files.
    fn group(
        &self,
        keys: &Keys,
        layout: &mut Layout,
        console: &Console,
    ) -> Result<Read<Groups>, Error> {
        let Read { content, outcome } = self.list.named_union(&self.files, layout, console)?;
        let mut groups = Groups::new(keys.clone());
        if self.denied {
            for Denied { flow, ruled } in &content.told.denied {
                groups.add(&flow.record, ruled.as_deref());
            }
        } else {
            for Flow { record, .. } in &content.flows {
                let ruled = content.told.rules.get(&record.identity);
                groups.add(record, ruled.map(AsRef::as_ref));
            }
        }
        Ok(Read {
            content: groups,
            outcome,
        })
    }

    /// Groups of one file whose flows need not be kept, since each stands in one line; `None` if it turns
    /// out not to be such a file.
    fn stream(
        &self,
        file: &Path,
        keys: &Keys,
        console: &Console,
    ) -> Result<Option<Read<Groups>>, Error> {
        let mut stream = Stream {
            selection: self.list.reading.filters.selection(),
            groups: Groups::new(keys.clone()),
            captures: Vec::new(),
            begun: false,
            unfit: false,
        };
        let complaints = self.list.reading.read(file, &mut stream, console)?;
        if stream.unfit {
            return Ok(None);
        }
        complaints.tell(&file.display().to_string(), console);
        reading::tell_of(&stream.captures, console);
        Ok(Some(Read {
            content: stream.groups,
            outcome: Outcome::of(&stream.captures).and_of(&complaints),
        }))
    }
}

/// Groups flows as they come, as long as none can come twice.
struct Stream {
    selection: Selection,
    groups: Groups,
    captures: Vec<Capture>,
    begun: bool,
    unfit: bool,
}

impl Sink for Stream {
    fn capture(&mut self, capture: Capture) -> u32 {
        // A second list may have the same flows, and text repeats them from line to line.
        let source = capture.source.as_deref();
        let text = Kind::ALL.map(|kind| Some(kind.name()));
        self.unfit |= self.begun || text.contains(&source);
        self.captures.push(capture);
        0
    }

    fn collapsed(&mut self) {
        self.unfit = true;
    }

    // Groups carry no verdict: what was found in reading is told, and in the exit status.
    fn incomplete(&mut self, _: u32, _: &str) {}

    fn flow(&mut self, record: Record, _: &[Part]) -> ControlFlow<()> {
        if self.unfit {
            return ControlFlow::Break(());
        }
        self.begun = true;
        if self.selection.wants_confirmed(record.confirmed) {
            self.groups.add(&record, None);
        }
        ControlFlow::Continue(())
    }
}
