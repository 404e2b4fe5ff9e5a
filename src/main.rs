//! conntracker: lists the distinct network flows that pass this host.
#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(conntracker::run(env::args_os()))
}
