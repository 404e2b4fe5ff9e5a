//! `conntracker help`: all options of a command, or a guide.

use std::io::{self, Write};

use clap::{Args, CommandFactory};

use crate::cli::options::Cli;
use crate::cli::topics::{self, TOPICS};
use crate::model::error::Error;
use crate::model::printable::printable;

/// Arguments of `conntracker help`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  conntracker help topics
  conntracker help rules          all options of conntracker rules
  conntracker help rules-guide | less")]
pub struct Help {
    /// A command, whose options are shown; a topic, whose guide is shown; or topics, for a list of all
    #[arg(value_name = "COMMAND|TOPIC")]
    pub of: Option<String>,
}

impl Help {
    /// Writes what is wanted to standard output.
    ///
    /// Errors: a name that nothing has; standard output that can't be written.
    pub fn run(&self) -> Result<u8, Error> {
        let mut program = Cli::command();
        program.build();
        let text = match self.of.as_deref() {
            None => program.render_long_help().to_string(),
            Some("topics") => list(&program),
            Some(name) => {
                if let Some(command) = program.find_subcommand_mut(name) {
                    let guide = format!("{name}-guide");
                    let mut text = command.render_long_help().to_string();
                    if topics::find(&guide).is_some() {
                        text += &format!("\nThe guide: conntracker help {guide}\n");
                    }
                    text
                } else if let Some(topic) = topics::find(name) {
                    topics::plain(topic.text)
                } else {
                    return Err(Error::arguments(format!(
                        "no command and no topic is called {:?}: conntracker help topics lists them",
                        printable(name)
                    )));
                }
            }
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::caused(format!("standard output: {error}"), error))
            }
            // That nobody reads on is no error.
            _ => Ok(0),
        }
    }
}

/// What there is to read, and how.
fn list(program: &clap::Command) -> String {
    let commands = program.get_subcommands().map(|command| {
        let about = command.get_about().map(ToString::to_string);
        (command.get_name().to_owned(), about.unwrap_or_default())
    });
    let commands: Vec<(String, String)> = commands.collect();
    let topics = { TOPICS.iter() }.map(|topic| (topic.name.to_owned(), topic.title().to_owned()));
    let topics: Vec<(String, String)> = topics.collect();
    let names = commands.iter().chain(&topics).map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for (heading, rows) in [
        (
            "Commands. conntracker help COMMAND shows all options of one, conntracker COMMAND -h the usual ones:",
            &commands,
        ),
        (
            "Guides. conntracker help TOPIC shows one; with | less it stops at each screen:",
            &topics,
        ),
    ] {
        text += &format!("{heading}\n\n");
        for (name, about) in rows {
            text += &format!("  {name:width$}  {about}\n");
        }
        text.push('\n');
    }
    text + "Manual pages, where the package is installed: man conntracker, and man conntracker-COMMAND.\n"
}
