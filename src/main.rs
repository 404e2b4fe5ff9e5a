//! conntracker: lists the distinct network flows that pass this host.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use conntracker::{cli::Cli, run::run};

fn main() -> ExitCode {
    let cli = Cli::parse().check().unwrap_or_else(|error| error.exit());
    ExitCode::from(run(&cli))
}
