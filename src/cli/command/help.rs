//! `conntracker help`: all options of a command, or a guide.

use std::env;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Command, CommandFactory};

use crate::cli::guide::Page;
use crate::cli::options::Cli;
use crate::cli::topics::{self, TOPICS};
use crate::model::error::Error;
use crate::model::printable::printable;
use crate::output::layout;

/// Arguments of `conntracker help`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  conntracker help topics
  conntracker help rules          all options of conntracker rules
  conntracker help rules-guide | less")]
pub struct Help {
    /// A command, to show its options; a topic, to show its guide; or topics, for a list of all
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
        let lower = self.of.as_ref().map(|name| name.to_lowercase());
        let text = match lower.as_deref() {
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
                    let columns = env::var("COLUMNS").ok();
                    let colour = layout::wants_colour();
                    Page::new(columns.as_deref(), layout::width(), colour).show(topic.text)
                } else {
                    return Err(unknown(&program, self.of.as_deref().unwrap_or(name)));
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

/// What is to be said of a name that nothing has.
fn unknown(program: &Command, name: &str) -> Error {
    let message = format!("no command and no topic is called {:?}", printable(name));
    Error::arguments(match nearest(program, name) {
        Some(nearest) => {
            format!("{message}; did you mean {nearest}? conntracker help topics lists all")
        }
        None => format!("{message}: conntracker help topics lists them"),
    })
}

/// The command or topic whose name is most like this one.
fn nearest(program: &Command, name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let name = name.strip_suffix(".md").unwrap_or(&name);
    let topics = { TOPICS.iter() }.map(|topic| Command::new(topic.name));
    let names = program.get_subcommands().cloned().chain(topics);
    let names = names.chain([Command::new("topics")]);
    let of_all = Command::new("help")
        .disable_help_subcommand(true)
        .subcommands(names);
    let error = of_all.try_get_matches_from(["help", name]).err()?;
    match error.get(ContextKind::SuggestedSubcommand)? {
        // The last is the most similar one.
        ContextValue::Strings(names) => names.last().cloned(),
        _ => None,
    }
}

/// What there is to read, and how.
fn list(program: &Command) -> String {
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
            "Commands. conntracker help COMMAND shows all options of a command, and conntracker COMMAND -h the usual ones:",
            &commands,
        ),
        (
            "Guides. conntracker help TOPIC shows a guide; add | less to read it screen by screen:",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_gets_the_nearest() {
        let said = |name: &str| {
            let help = Help {
                of: Some(name.into()),
            };
            help.run().unwrap_err().to_string()
        };
        for (name, nearest) in [
            ("chek-guide", "check-guide"),
            ("Chekguide.md", "check-guide"),
            ("relability.md", "reliability"),
            ("mrge", "merge"),
            ("topic", "topics"),
        ] {
            let message = said(name);
            assert!(
                message.contains(&format!("did you mean {nearest}?")),
                "{message}"
            );
        }
        for name in ["x", "--help", "zebra\u{1b}"] {
            let message = said(name);
            assert!(!message.contains("did you mean"), "{message}");
            assert!(
                message.ends_with("conntracker help topics lists them"),
                "{message}"
            );
        }
    }
}
