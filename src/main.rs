//! conntracker: lists the distinct network flows that pass this host.
#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;

use conntracker::cli::config;
use conntracker::cli::run::run;

fn main() -> ExitCode {
    let cli = config::parse(env::args_os()).unwrap_or_else(|error| error.exit());
    ExitCode::from(run(&cli))
}
