//! conntracker lists the distinct network flows that pass a Linux gateway.
//!
//! Data flows one way: a source delivers messages, [`netlink::conntrack`] makes each an
//! [`model::flow::Observation`], [`intake`] folds them into distinct flows, and when a list is due a copy of
//! them is sorted and written by [`output`]. ARCHITECTURE.md in the repository is the map.
//!
//! The folders are layers, and each uses only those below it; `layers` holds that.
#![deny(unsafe_code)]
// Nothing but these lines is documentation for anybody else: `make check` builds it with what is private.
#![allow(rustdoc::private_intra_doc_links)]
// No interface has to be complete where there is none.
#![allow(clippy::len_without_is_empty)]

pub(crate) mod captures;
pub(crate) mod check;
pub(crate) mod cli;
pub(crate) mod doctor;
pub(crate) mod files;
pub(crate) mod formats;
pub(crate) mod intake;
pub(crate) mod live;
pub(crate) mod lookups;
pub(crate) mod model;
pub(crate) mod netlink;
pub(crate) mod os;
pub(crate) mod output;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod service;
pub(crate) mod sources;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod ui;

#[cfg(test)]
mod layers;
#[doc(hidden)]
pub mod testing;

use std::ffi::OsString;

use clap::CommandFactory;

/// Does what the arguments ask for, the first of which is the name of the program, and returns the exit status. What
/// clap has to say of them (help, the version, what is wrong) it says itself, and ends the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = cli::config::parse(arguments).unwrap_or_else(|error| error.exit());
    cli::run::run(&cli)
}

/// The definition of the command line, from which the manual and the completions for shells are made.
pub fn command_line() -> clap::Command {
    cli::options::Cli::command()
}
