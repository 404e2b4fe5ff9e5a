//! `conntracker show`.

use std::path::PathBuf;

use clap::Args;

use crate::console::Console;
use crate::error::Error;

/// Arguments of `conntracker show`.
#[derive(Clone, Debug, Args)]
pub struct Show {
    /// Captures; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

impl Show {
    /// Shows the captures.
    ///
    /// # Errors
    ///
    /// A file that can't be read.
    pub fn run(&self, _console: &Console) -> Result<u8, Error> {
        Err(Error::new("not there yet"))
    }
}
