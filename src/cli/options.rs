//! The command line: the one definition that parsing, `--help`, the manual and the shell completions
//! come from.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{ArgAction, Parser};

use crate::cli::command::Command;
use crate::cli::filters::Filters;
use crate::cli::layout::LayoutArgs;
use crate::model::units::{parse_bytes, parse_duration, parse_interval};
use crate::sources::method::Source;

/// Shown behind `-h`.
const EXAMPLES: &str = "\
Examples:
  sudo conntracker --track              list what passes until Ctrl-C
  sudo conntracker --track --existing --duration 1d --format json -o day.json
  conntracker show day.json             look at it, in columns
  conntracker rules day.json -o fw.nft  make firewall rules of it
  conntracker help topics               see what else there is to read";

/// What `--help` has beside all options; `-h` has the usual ones and the examples.
static AFTER_HELP: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{EXAMPLES}

Signals:
  SIGINT, SIGTERM, SIGHUP   print the list and end; a second one ends at once
  SIGUSR1                   print the list and go on

Exit status:
  0  the list is complete; if events were missed, everything they stood for was
     found
  1  error
  2  bad arguments
  3  flows may be missing from the list; standard error says why and how many
     at most"
    )
});

/// Our version, and that of the C library: the one it was built against, since a running one does not tell.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let library = netfilter_conntrack::BUILT_AGAINST;
    format!(
        "{} (libnetfilter_conntrack {library})",
        env!("CARGO_PKG_VERSION")
    )
});

/// Lists the distinct network flows that pass this host.
///
/// Listens to the kernel's connection-tracking events, folds them into distinct flows (ephemeral
/// source ports count as one), and prints them sorted when it is stopped.
#[derive(Clone, Debug, Parser)]
#[command(name = "conntracker", version = VERSION.as_str(), after_help = EXAMPLES, after_long_help = AFTER_HELP.as_str(), max_term_width = 100, args_override_self = true, disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do other than to capture
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Read options from FILE: TOML, with the names they have here
    ///
    /// An option without a value is true or false; an option that may be given several times may have a list. Options on the command line override those of the file.
    #[arg(hide_short_help = true, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Write the list to FILE instead of standard output
    ///
    /// The file is replaced atomically. - means standard output.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "-",
        hide_default_value = true
    )]
    pub output: PathBuf,

    /// Print the list and end after TIME (90, 60s, 5m, 1h30m)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Write nothing but errors to standard error
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        display_order = 900
    )]
    pub quiet: bool,

    /// Say how the capture was set up and how it went
    #[arg(short, long, global = true, action = ArgAction::SetTrue, display_order = 901)]
    pub verbose: bool,

    /// Print the list every TIME, besides the one at the end
    ///
    /// With -o FILE the file is replaced each time; with -o DIR/ each list gets a file of its own.
    #[arg(hide_short_help = true, long, value_name = "TIME", value_parser = parse_interval, conflicts_with = "read", help_heading = "Long runs")]
    pub interval: Option<Duration>,

    /// Begin every interval with an empty list
    #[arg(
        hide_short_help = true,
        long,
        requires = "interval",
        conflicts_with = "state",
        help_heading = "Long runs"
    )]
    pub reset: bool,

    /// In -o DIR/, keep the N files that were written last, and remove older ones
    #[arg(hide_short_help = true, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Long runs")]
    pub keep: Option<u16>,

    /// Keep the flows in FILE from run to run: read at the start, written with every list
    ///
    /// A damaged file is set aside under another name, and a message says so.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        conflicts_with = "read",
        help_heading = "Long runs"
    )]
    pub state: Option<PathBuf>,

    /// Forget flows that were not seen for TIME (30d)
    #[arg(hide_short_help = true, long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "read", help_heading = "Long runs")]
    pub forget: Option<Duration>,

    /// Write figures for Prometheus to FILE every 15 seconds, for node_exporter's textfile collector
    ///
    /// The file is replaced atomically. Its name has to end in .prom for node_exporter to read it.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        conflicts_with = "read",
        help_heading = "Long runs"
    )]
    pub metrics_file: Option<PathBuf>,

    /// Compare flows with the captures in FILE, and say which ones are new and which no longer come
    ///
    /// conntracker watch does the same without a list. The reports go where messages go: in a service to the journal,
    /// with fields. Can be given several times.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        conflicts_with = "read",
        help_heading = "Long runs"
    )]
    pub watch: Vec<PathBuf>,

    /// With --watch: start a program for each report, with a JSON object on its standard input
    ///
    /// Give it several times: the first WORD is the program, the others are its arguments.
    #[arg(
        hide_short_help = true,
        long,
        value_name = "WORD",
        requires = "watch",
        conflicts_with = "daemon",
        allow_hyphen_values = true,
        help_heading = "Long runs"
    )]
    pub watch_exec: Vec<OsString>,

    /// Read events from a recorded FILE, not from the kernel
    ///
    /// - means standard input.
    #[arg(short, long, value_name = "FILE", help_heading = "Recordings")]
    pub read: Option<PathBuf>,

    /// With -r: refuse a recording that was cut or has unreadable parts, instead of listing the rest
    #[arg(
        hide_short_help = true,
        long,
        requires = "read",
        help_heading = "Recordings"
    )]
    pub strict: bool,

    /// Also record the raw events to FILE, for -r or tshark
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with = "read",
        help_heading = "Recordings"
    )]
    pub write: Option<PathBuf>,

    /// Have the kernel track connections while this runs
    ///
    /// The kernel tracks connections only where some firewall rule needs it. This option adds an nftables table of two
    /// rules without a verdict. The kernel removes the table when the program ends, however it ends. Before Linux 5.12
    /// the program removes it at its end, and the next start with --track removes that of a killed program.
    #[arg(long, conflicts_with = "read", help_heading = "Capture")]
    pub track: bool,

    /// Also list connections that were open at the start
    #[arg(long, conflicts_with = "read", help_heading = "Capture")]
    pub existing: bool,

    /// Also list which rules of the firewall decided on each flow
    ///
    /// For --format table, json and csv. The program follows the first packet of each flow through the rules of
    /// nftables and iptables-nft. A table of two chains picks these packets, and is removed with the program.
    /// conntracker help trace-guide says what this can't see.
    #[arg(
        hide_short_help = true,
        long,
        conflicts_with = "read",
        help_heading = "Capture"
    )]
    pub rules: bool,

    /// The same as --rules, and also list the flows that were dropped or rejected
    ///
    /// For --format table and json. The list keeps these flows apart from the others. No rule is made for them unless you ask for it with
    /// conntracker rules --include-denied.
    #[arg(
        hide_short_help = true,
        long,
        conflicts_with = "read",
        help_heading = "Capture"
    )]
    pub denied: bool,

    /// With --rules or --denied, also follow flows through the rules of iptables-legacy
    ///
    /// While it runs, the capture sets the logger for packets of this network namespace
    /// (/proc/sys/net/netfilter/nf_log) to nfnetlink_log. It restores the earlier logger at its end. If the program is
    /// killed, the next start with this option does so.
    #[arg(
        hide_short_help = true,
        long,
        conflicts_with = "read",
        help_heading = "Capture"
    )]
    pub iptables_legacy: bool,

    /// Also list the names that clients asked for before they went to an address
    ///
    /// For --format table, json and csv. The program learns names from questions and answers of DNS that pass here by
    /// plain UDP, and shows them with flows of the client that asked. It can't see them in DNS over TLS or HTTPS. Needs
    /// CAP_NET_RAW as well.
    #[arg(hide_short_help = true, long, conflicts_with_all = ["read", "all_netns"], help_heading = "Capture")]
    pub learn_names: bool,

    /// Miss no short connection, even when events come faster than they can be read
    ///
    /// The kernel then keeps ended connections until it has delivered their end to this program. They count against
    /// nf_conntrack_max; before they can fill the table, the program gives up reliability, and the list is incomplete.
    /// At its end, the capture waits up to half a minute for what the kernel still keeps. If the kernel counts packets
    /// and bytes (nf_conntrack_acct), lists other than the classic one have the counts of ended connections.
    #[arg(
        hide_short_help = true,
        long,
        conflicts_with = "read",
        help_heading = "Capture"
    )]
    pub reliable: bool,

    /// Also record protocols that the classic list does not have: SCTP, DCCP, UDP-Lite, GRE and the rest
    ///
    /// The classic list has no lines for them: choose another --format.
    #[arg(hide_short_help = true, long, help_heading = "Capture")]
    pub all_protocols: bool,

    /// Format and order.
    #[command(flatten)]
    pub layout: LayoutArgs,

    /// The options that choose flows.
    #[command(flatten)]
    pub filters: Filters,

    /// Keep at most N flows; the verdict says so if there were more
    #[arg(
        hide_short_help = true,
        long,
        value_name = "N",
        default_value_t = 2_000_000,
        help_heading = "Capture"
    )]
    pub max_flows: usize,

    /// Capture in this network namespace: a name of ip-netns(8), a process number, or a path
    #[arg(
        hide_short_help = true,
        long,
        value_name = "NAME|PID|PATH",
        conflicts_with = "read",
        help_heading = "Capture"
    )]
    pub netns: Option<String>,

    /// Capture in every network namespace that has an id or a name here
    ///
    /// Formats other than the classic list say in which namespace a flow was seen. The program gives an id to
    /// namespaces in /run/netns that have none. Needs CAP_NET_BROADCAST, and CAP_SYS_ADMIN to read their tables after a
    /// loss and for --existing.
    #[arg(hide_short_help = true, long, conflicts_with_all = ["read", "write"], help_heading = "Capture")]
    pub all_netns: bool,

    /// How events are received
    #[arg(hide_short_help = true, long, value_enum, default_value_t = Source::Auto, conflicts_with = "read", help_heading = "Capture")]
    pub source: Source,

    /// Receive buffer to start with (64M, 512K, bytes)
    #[arg(hide_short_help = true, long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes, allow_negative_numbers = true, conflicts_with = "read", help_heading = "Capture")]
    pub buffer: u32,

    /// How far the receive buffer may grow under pressure
    #[arg(hide_short_help = true, long, value_name = "SIZE", default_value = "512M", value_parser = parse_bytes, allow_negative_numbers = true, conflicts_with = "read", help_heading = "Capture")]
    pub buffer_max: u32,

    /// Receive with N threads, each with a socket for its share of the flows
    #[arg(hide_short_help = true, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "read", help_heading = "Capture")]
    pub workers: u32,

    /// Receive every event: do without the filter in the kernel that drops events which can't change the list
    #[arg(
        hide_short_help = true,
        long,
        alias = "no-thin",
        conflicts_with = "read",
        help_heading = "Capture"
    )]
    pub no_prefilter: bool,

    /// Run in the background; messages go to the system log
    ///
    /// Returns once the capture runs, or with an error if it can't.
    #[arg(
        hide_short_help = true,
        short,
        long,
        conflicts_with = "read",
        help_heading = "Daemon"
    )]
    pub daemon: bool,

    /// Run in the foreground, as without -d
    #[arg(
        hide_short_help = true,
        short,
        long,
        conflicts_with = "daemon",
        help_heading = "Daemon"
    )]
    pub foreground: bool,

    /// Where a daemon keeps its process number, and a lock against a second one
    #[arg(
        hide_short_help = true,
        long,
        value_name = "FILE",
        default_value = "/run/conntracker.pid",
        requires = "daemon",
        help_heading = "Daemon"
    )]
    pub pid_file: PathBuf,
}
