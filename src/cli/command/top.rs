//! `conntracker top`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use super::brief;
use super::naming::ByName;
use super::reading::{self, Reading};
use crate::captures::difference::Known;
use crate::cli::filters::Filters;
use crate::cli::layout;
use crate::cli::options::Cli;
use crate::cli::run;
use crate::intake::Intake;
use crate::intake::table::Table;
use crate::live::capture;
use crate::live::lookups::Lookups;
use crate::model::error::Error;
use crate::model::services::{self, Services};
use crate::model::units::{parse_bytes, parse_interval};
use crate::os::namespace;
use crate::os::signals::Signals;
use crate::output::layout::{Format, wants_colour};
use crate::output::printer::{Printer, Sink};
use crate::service::notify::Supervisor;
use crate::sources::method::Source as Method;
use crate::top::app::App;
use crate::top::draw::Palette;
use crate::top::lines::{Filter, Group, Sort, Wanted};
use crate::top::list::List;
use crate::top::run::Looking;
use crate::top::source::Stored;
use crate::ui::console::Console;

const AFTER_HELP: &str = "\
Examples:
  sudo conntracker top --track          what passes now
  sudo conntracker top --baseline monday.json
  conntracker top monday.json --group service --sort flows
  sudo conntracker top --rules --group rule
  sudo conntracker top --plain          lines of text instead of a screen

Exit status:
  0  every event was received; the captures are complete as far as they say
  1  error
  2  bad arguments
  3  flows may be missing from what was shown";

/// Arguments of `conntracker top`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Top {
    /// Captures to show instead of what passes now
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Mark flows that this capture does not have. Can be given several times
    #[arg(long, value_name = "FILE")]
    pub baseline: Vec<PathBuf>,

    /// What each line stands for
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Group::Flow)]
    pub group: Group,

    /// What comes first
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = Sort::New)]
    pub sort: Sort,

    /// Write lines of text, as screen readers need them, instead of drawing on a screen
    #[arg(long)]
    pub plain: bool,

    /// With --plain: how often to write what passes now
    #[arg(hide_short_help = true, long, value_name = "TIME", value_parser = parse_interval, default_value = "10s", requires = "plain")]
    pub every: Duration,

    /// End after TIME
    #[arg(long, value_name = "TIME", value_parser = crate::model::units::parse_duration, conflicts_with = "files")]
    pub duration: Option<Duration>,

    /// Have the kernel track connections as long as this runs
    #[arg(long, conflicts_with = "files")]
    pub track: bool,

    /// Show names of hosts and networks from this file, as conntracker show --names does. Can be given several times
    #[arg(long, value_name = "FILE")]
    pub names: Vec<PathBuf>,

    /// Show the names that clients ask for, learnt from DNS that passes; needs CAP_NET_RAW as well
    #[arg(long, conflicts_with = "files")]
    pub learn_names: bool,

    /// Show which rule of the firewall decided on each flow; --group rule has the flows of each
    ///
    /// As conntracker --rules does: a table of two chains picks the first packet of each flow, and is gone with the program. The
    /// firewall's rules are read with nft(8) at each look, so that there is one every few seconds, or less often where there are
    /// many rules. Flows that were open at the beginning have no rule.
    #[arg(long, conflicts_with = "files")]
    pub rules: bool,

    /// Also show protocols that the classic list does not have
    #[arg(hide_short_help = true, long, conflicts_with = "files")]
    pub all_protocols: bool,

    /// Look at this network namespace: a name of ip-netns(8), a process number, or a path
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NAME|PID|PATH",
        conflicts_with = "files"
    )]
    pub netns: Option<String>,

    /// How events are received
    #[arg(hide_short_help = true, long, value_enum, default_value_t = Method::Auto, conflicts_with = "files")]
    pub source: Method,

    /// Receive buffer to start with (64M, 512K, bytes)
    #[arg(hide_short_help = true, long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes, allow_negative_numbers = true, conflicts_with = "files")]
    pub buffer: u32,

    /// Which flows are taken, and how files are read.
    #[command(flatten)]
    pub reading: Reading,
}

impl ValueEnum for Group {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(
            clap::builder::PossibleValue::new(self.name()).help(match self {
                Self::Flow => "Each flow",
                Self::Service => "Flows to the same service of any server",
                Self::Client => "Flows of the same client",
                Self::Server => "Flows to the same server",
                Self::Pair => "Flows between the same interfaces",
                Self::Rule => {
                    "Flows that the same rule decided on, with --rules or of captures with it"
                }
                Self::Verdict => {
                    "Flows with the same verdict, with --rules or of captures with --rules or --denied"
                }
            }),
        )
    }
}

impl ValueEnum for Sort {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(
            clap::builder::PossibleValue::new(self.name()).help(match self {
                Self::New => "What was first seen last",
                Self::Seen => "What was last seen last",
                Self::Connections => "What has most connections",
                Self::Flows => "What has most flows",
                Self::Name => "By name and address",
            }),
        )
    }
}

/// The filters alone, for what is typed.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Typed {
    #[command(flatten)]
    filters: Filters,

    #[command(flatten)]
    by_name: ByName,
}

/// Reads a filter as it is typed: the words of the options, with their dashes or without.
fn parse_filter(text: &str) -> Result<Filter, String> {
    const WORDS: [&str; 14] = [
        "proto",
        "src",
        "dst",
        "host",
        "sport",
        "dport",
        "ipv4",
        "ipv6",
        "confirmed",
        "unconfirmed",
        "zone",
        "source-ports",
        "src-name",
        "dst-name",
    ];
    let words = text.split_whitespace().map(|word| {
        let name = word.split('=').next().unwrap_or(word);
        match WORDS.contains(&name) {
            true => format!("--{word}"),
            false => word.to_owned(),
        }
    });
    let typed = Typed::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix("error: ").unwrap_or(first);
        format!("{what}: write for example dport 443 or src 10.0.0.0/8")
    })?;
    Ok(Filter {
        selection: typed.filters.selection(),
        source_names: typed.by_name.src_name,
        destination_names: typed.by_name.dst_name,
    })
}

impl Top {
    /// Shows what passes, or files.
    ///
    /// Errors: no privilege, a file that can't be read, a terminal that can't be drawn on.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs(self.files.iter().chain(&self.baseline))?;
        let names =
            Services::load().map_err(|error| Error::file(Path::new(services::FILE), error))?;
        let mut baseline = None;
        if !self.baseline.is_empty() {
            // The filters are for what is shown.
            let whole = Reading {
                strict: self.reading.strict,
                ..Reading::default()
            };
            baseline = Some(Known::new(whole.union(&self.baseline, console)?.content));
        }
        let wanted = Wanted {
            group: self.group,
            sort: self.sort,
            ..Wanted::default()
        };
        let mut looking = Looking {
            app: App::new(
                List::new(names, layout::names(&self.names)?, baseline),
                wanted,
                parse_filter,
            ),
            plain: self.plain.then_some(self.every),
            palette: Palette {
                has_colour: wants_colour(),
            },
            what: String::new(),
            failed: None,
        };
        let status = if self.files.is_empty() {
            self.look_live(&mut looking, console)
        } else {
            self.look_stored(&mut looking, console)
        };
        match looking.failed {
            Some(error) => Err(Error::caused(format!("top: {error}"), error)),
            None => status,
        }
    }

    fn look_stored(&self, looking: &mut Looking, console: &Console) -> Result<u8, Error> {
        let read = self.reading.union(&self.files, console)?;
        let signals = Signals::install()
            .map_err(|error| Error::caused(format!("can't take signals: {error}"), error))?;
        looking.look_at(&mut Stored::new(read.content, &signals));
        Ok(read.outcome.exit_status())
    }

    fn look_live(&self, looking: &mut Looking, console: &Console) -> Result<u8, Error> {
        let mut cli = Cli::parse_from(["conntracker", "--existing", "--format=json"]);
        cli.duration = self.duration;
        cli.track = self.track;
        cli.all_protocols = self.all_protocols;
        cli.learn_names = self.learn_names;
        cli.rules = self.rules;
        cli.netns = self.netns.clone();
        cli.source = self.source;
        cli.buffer = self.buffer;
        cli.filters = self.reading.filters.clone();
        // Before any socket is opened and any thread started.
        if let Some(name) = &cli.netns {
            namespace::enter(name)
                .map_err(|error| Error::caused(format!("--netns: {error}"), error))?;
        }
        let intake = Intake::with_detail(Table::new(cli.max_flows), run::detail(&cli));
        let layout = cli.layout.layout(Format::Json, false);
        let layout = layout.map_err(|error| Error::new(error.to_string()))?;
        let printer = Printer::new(Sink::Nowhere, layout, cli.filters.selection(), false);
        let lookups = cli.learn_names.then(Lookups::start).transpose()?;
        let options = cli.capture_options();
        // Lines of text leave room for messages.
        if !self.plain {
            console.hold();
        }
        let captured = capture::capture(
            &options,
            &intake,
            (&printer, None),
            (None, None, lookups.as_ref()),
            Some(looking),
            &Supervisor::new(None),
            console,
        );
        console.release();
        captured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_typed_with_the_words_of_options() {
        let same = |one: &str, other: &str| {
            assert_eq!(
                parse_filter(one).unwrap(),
                parse_filter(other).unwrap(),
                "{one}"
            );
        };
        same("dport 443", "--dport 443");
        same("dport=443 src=10.0.0.0/8", "--dport 443 --src 10.0.0.0/8");
        same(
            "proto !tcp,!udp unconfirmed",
            "--proto !tcp,!udp --unconfirmed",
        );
        same(
            "dst-name *.example.com,!ads.example.com",
            "--dst-name *.example.com --dst-name !ads.example.com",
        );
        same("-4 host 10.0.0.1", "--ipv4 --host 10.0.0.1");
        for wrong in [
            "443",
            "dport",
            "dport x y",
            "src 10.0.0.0/33",
            "--output x",
            "colour red",
        ] {
            let error = parse_filter(wrong).unwrap_err();
            assert!(
                error.contains("write for example") && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
