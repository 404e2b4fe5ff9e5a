//! One run of the program, from parsed options to exit status.

use crate::cli::command::watch;
use crate::cli::options::Cli;
use crate::files::destination::{Destination, is_stdout};
use crate::files::folder::Folder;
use crate::intake::records::Records;
use crate::intake::table::Table;
use crate::intake::{Detail, Intake};
use crate::live::capture;
use crate::live::lookups::Lookups;
use crate::live::monitor::Monitor;
use crate::live::replay;
use crate::live::state::State;
use crate::live::watch::teller::Form;
use crate::model::error::Error;
use crate::model::selection::SourcePorts;
use crate::os::namespace;
use crate::os::namespaces::Namespaces;
use crate::os::signals;
use crate::output::layout::Format;
use crate::output::printer::{Printer, Sink};
use crate::service::daemon::{self, Daemon};
use crate::service::notify::Supervisor;
use crate::service::sandbox;
use crate::ui::console::{Console, Verbosity};

/// Runs and returns the exit status. All that is to be said is said on `stderr`.
pub fn run(cli: &Cli) -> u8 {
    let console = Console::stderr(match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    });
    signals::survive_file_limits();
    let outcome = if let Some(command) = &cli.command {
        command.run(&console)
    } else if cli.daemon && !daemon::is_background() {
        daemon::launch()
    } else {
        start(cli, Role::List, &console)
    };
    outcome.unwrap_or_else(|error| {
        console.error(&error.to_string());
        error.exit_status()
    })
}

/// What a capture is taken for.
#[derive(Debug)]
pub enum Role<'a> {
    /// Its list.
    List,
    /// What is told in this form in comparing with a baseline. Whether anything was is noted.
    Watch(Form, &'a mut bool),
}

/// Takes a capture, and returns the exit status.
///
/// Errors: what keeps it from starting.
pub fn start(cli: &Cli, role: Role<'_>, console: &Console) -> Result<u8, Error> {
    let cli = &cli.absolute()?;
    let daemon = cli
        .daemon
        .then(|| Daemon::enter(&cli.pid_file))
        .transpose()?;
    // Before any socket is opened and any thread started.
    if let Some(name) = &cli.netns {
        namespace::enter(name)
            .map_err(|error| Error::caused(format!("--netns: {error}"), error))?;
    }
    let format = cli.layout.format_or(Format::Classic);
    let sink = match role {
        Role::Watch(..) if is_stdout(&cli.output) => Sink::Nowhere,
        _ => sink(cli, format)?,
    };
    let on_stdout = matches!(sink, Sink::One(Destination::Stdout));
    let layout = cli.layout.layout(Format::Classic, on_stdout)?;
    let namespaces = cli.all_netns.then(Namespaces::follow).transpose();
    let namespaces = namespaces.map_err(|error| {
        Error::caused(
            format!("--all-netns: can't follow namespaces: {error}"),
            error,
        )
    })?;
    let intake = Intake::with_detail(Table::new(cli.max_flows), detail(cli)).of_all(namespaces);
    let printer = Printer::new(sink, layout, cli.filters.selection(), cli.daemon);
    if cli.state.is_some() && (cli.rules || cli.denied) {
        console.note(
            "--state keeps neither rules nor denied flows: lists have those that were met since this start",
        );
    }
    let state = cli.state.as_deref().map(State::new).transpose()?;
    let monitor = cli
        .metrics_file
        .as_deref()
        .map(|path| Monitor::new(path, cli.netns.as_deref()))
        .transpose()?;
    let form = match role {
        Role::List => Form::Messages,
        Role::Watch(form, _) => form,
    };
    let exec = &cli.watch_exec;
    let watched = (cli.watch.as_slice(), &cli.filters);
    let watch = (!cli.watch.is_empty())
        .then(|| {
            if cli.daemon {
                watch::refuse_rulesets(&cli.watch)?;
            }
            watch::comparison(watched, (form, exec), cli.max_flows, console)
        })
        .transpose()?;
    // Before privileges are given up.
    let lookups = cli.learn_names.then(Lookups::start).transpose()?;
    if cli.daemon {
        sandbox::enter(&cli.needs(), console)?;
    }
    let options = cli.capture_options();
    let status = match &cli.read {
        Some(path) => replay::replay(path, (&options, cli.strict), &intake, &printer, console),
        None => capture::capture(
            &options,
            &intake,
            (&printer, state.as_ref()),
            (monitor.as_ref(), watch.as_ref(), lookups.as_ref()),
            None,
            &Supervisor::new(daemon),
            console,
        ),
    };
    if let (Role::Watch(_, told), Some(watch)) = (role, &watch) {
        *told = watch.told().any();
    }
    status
}

/// Where lists go.
fn sink(cli: &Cli, format: Format) -> Result<Sink, Error> {
    let unwritable = |error| Error::unwritable(&cli.output, error);
    let keep = cli.keep.map(usize::from);
    let mark = namespace::own_name().or_else(|| cli.netns.clone());
    let mark = mark.as_deref();
    if let Some(folder) = Folder::named(&cli.output, format.extension(), keep, mark) {
        folder.check().map_err(unwritable)?;
        return Ok(Sink::Each(folder));
    }
    let destination = Destination::new(&cli.output);
    destination.check().map_err(unwritable)?;
    Ok(Sink::One(destination))
}

/// What there is to look at beyond what the classic list needs.
pub(super) fn detail(cli: &Cli) -> Option<Detail> {
    let keep_ports = cli.filters.source_ports == SourcePorts::Keep;
    let records = cli.keeps_records();
    cli.is_detailed().then(|| Detail {
        selection: cli.filters.selection(),
        all_protocols: cli.all_protocols,
        records: records.then(|| {
            let records = Records::new(cli.max_flows, keep_ports);
            if cli.watch.is_empty() {
                records
            } else {
                records.with_log()
            }
        }),
    })
}
