//! Options from a file (`--config`): TOML, with the names and the values of the command line.
//!
//! Each line is put before the words that were typed, and clap parses the whole: what an option means, and what it
//! goes with, is said in one place.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, CommandFactory, Error, Parser};
use toml::de::{DeTable, DeValue};

use crate::cli::options::Cli;

/// Options that make no sense in a file.
const TYPED_ONLY: [&str; 3] = ["config", "help", "version"];

/// One option of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without dashes.
    pub name: String,
    /// The line it is in, from 1.
    pub line: usize,
    /// What it would be on the command line; nothing for a flag that is false.
    pub words: Vec<OsString>,
}

/// A file of options is never larger.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a file of options, and nothing that has no end.
fn slurp(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if found.is_dir() || found.len() > BYTES_MAX {
        return Err(io::Error::other("is no file of options"));
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(BYTES_MAX + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(
            "is no file of options: it has more than 1 MiB",
        ));
    }
    Ok(text)
}

/// The options of a command line, and those of the file that it names with `--config`. An option that is in both
/// has what the command line says.
///
/// Errors: what clap finds wrong, with file and line if it comes from there; a file that can't be read. Help and the
/// version are errors too, for clap.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // What is wrong is found below, where the options of the file are there.
    let typed = Cli::command()
        .ignore_errors(true)
        .try_get_matches_from(&arguments);
    let path = typed
        .as_ref()
        .ok()
        .and_then(|typed| typed.get_one::<PathBuf>("config"));
    let (Ok(typed), Some(path)) = (&typed, path) else {
        return Cli::try_parse_from(arguments)
            .and_then(Cli::check)
            .map_err(with_file_named);
    };
    // Commands have no file, and ignoring errors makes them plain arguments.
    match Cli::try_parse_from(&arguments) {
        Err(error) if error.get(ContextKind::InvalidSubcommand).is_some() => {
            return Err(with_file_named(error));
        }
        _ => {}
    }
    let text = slurp(path).map_err(|error| failure(format!("{}: {error}", path.display())))?;
    let mut entries = read(path, &text)?;
    let ids = Cli::command();
    entries.retain(|entry| {
        let argument = option(&ids, &entry.name).expect("an option that was found before");
        typed.value_source(argument.get_id().as_str()) != Some(ValueSource::CommandLine)
    });
    together(&arguments, &entries)
        .and_then(Cli::check)
        .map_err(|error| locate(error, &arguments, &entries, path))
}

/// The options in the text of a file, in its order.
///
/// Errors: the first line that is no TOML, no option of captures, or has a value that the option does not take.
pub fn read(path: &Path, text: &[u8]) -> Result<Vec<Entry>, Error> {
    let wrong = |line, message| failure(format!("{}:{line}: {message}", path.display()));
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = &text[..error.valid_up_to()];
        wrong(line_of(before), "is not UTF-8".to_owned())
    })?;
    let line = |offset: usize| line_of(&text.as_bytes()[..offset.min(text.len())]);
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        wrong(line(offset), error.message().replace('\n', ", "))
    })?;
    let mut program = Cli::command();
    let mut found: Vec<_> = table.get_ref().iter().collect();
    found.sort_by_key(|(name, _)| name.span().start);
    let mut entries = Vec::with_capacity(found.len());
    for (name, value) in found {
        let at = line(name.span().start);
        let name: &str = name.get_ref();
        let argument =
            option(&program, name).ok_or_else(|| wrong(at, unknown(&mut program.clone(), name)))?;
        let argument = argument.clone();
        // A name of an earlier version stands for that of today.
        let name = argument.get_long().unwrap_or(name);
        let is_list = matches!(argument.get_action(), ArgAction::Append);
        let values = match value.get_ref() {
            DeValue::Array(values) if is_list => values.iter().collect(),
            DeValue::Array(_) => {
                return Err(wrong(at, format!("{name} takes one value, not a list")));
            }
            _ => vec![value],
        };
        let mut words = Vec::with_capacity(values.len());
        for value in values {
            // Lists may go over many lines.
            let at = line(value.span().start);
            let Some(word) =
                word(&argument, name, value.get_ref()).map_err(|error| wrong(at, error))?
            else {
                continue;
            };
            refuse(&mut program, &word).map_err(|error| wrong(at, error))?;
            words.push(word.into());
        }
        entries.push(Entry {
            name: name.to_owned(),
            line: at,
            words,
        });
    }
    Ok(entries)
}

/// The names of all options that a file may have.
pub fn names() -> Vec<String> {
    let program = Cli::command();
    let names = program.get_arguments().filter_map(Arg::get_long);
    names
        .filter(|name| !TYPED_ONLY.contains(name))
        .map(ToOwned::to_owned)
        .collect()
}

fn option<'a>(program: &'a Command, name: &str) -> Option<&'a Arg> {
    program
        .get_arguments()
        .filter(|_| !TYPED_ONLY.contains(&name))
        .find(|argument| {
            argument.get_long() == Some(name)
                || argument
                    .get_all_aliases()
                    .is_some_and(|names| names.contains(&name))
        })
}

/// What is to be said of a name that is none of an option.
fn unknown(program: &mut Command, name: &str) -> String {
    if TYPED_ONLY.contains(&name) {
        return format!("{name} is for the command line only");
    }
    let similar = program
        .try_get_matches_from_mut(["conntracker", &format!("--{name}")])
        .err()
        .and_then(|error| match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(similar)) => Some(similar.clone()),
            _ => None,
        });
    let similar = similar
        .as_deref()
        .and_then(|similar| similar.strip_prefix("--"))
        .filter(|similar| option(program, similar).is_some());
    match similar {
        Some(similar) => format!("unknown option {name}; did you mean {similar}?"),
        None => format!("unknown option {name}"),
    }
}

/// A value as the command line has it; none for a flag that is not set.
fn word(argument: &Arg, name: &str, value: &DeValue<'_>) -> Result<Option<String>, String> {
    if !argument.get_action().takes_values() {
        return match value {
            DeValue::Boolean(set) => Ok(set.then(|| format!("--{name}"))),
            _ => Err(format!("{name} is either true or false")),
        };
    }
    let value = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_err(|error| format!("{name}: {error}"))?
            .to_string(),
        DeValue::Boolean(_) => return Err(format!("{name} takes a value, not true or false")),
        DeValue::Table(_) => return Err(format!("{name} is no section: write {name} = …")),
        _ => return Err(format!("{name} takes text in quotes or a whole number")),
    };
    Ok(Some(format!("--{name}={value}")))
}

/// What clap has against a word, whatever else there may be.
fn refuse(program: &mut Command, word: &str) -> Result<(), String> {
    match program.try_get_matches_from_mut(["conntracker", word]) {
        // What it goes with is not known yet.
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict
            ) =>
        {
            Err(short(&error))
        }
        _ => Ok(()),
    }
}

/// Parses the options of a file and a command line as one.
fn together<'a>(
    arguments: &[OsString],
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<Cli, Error> {
    let (program, typed) = arguments.split_at(arguments.len().min(1));
    let words = entries.into_iter().flat_map(|entry| &entry.words);
    Cli::try_parse_from(program.iter().chain(words).chain(typed))
}

/// An error with the place it comes from: the last line of the file without which all would be well, if there is
/// one.
fn locate(error: Error, arguments: &[OsString], entries: &[Entry], path: &Path) -> Error {
    if !error.use_stderr() {
        return error;
    }
    let culprit = entries.iter().rev().find(|entry| {
        let others = entries.iter().filter(|other| other.name != entry.name);
        together(arguments, others).and_then(Cli::check).is_ok()
    });
    match culprit {
        Some(Entry { name, line, .. }) => {
            let file = path.display();
            let cause = short(&error);
            failure(match error.kind() {
                // Of conflicts clap names both sides, of what is missing only that.
                ErrorKind::MissingRequiredArgument => format!("{file}:{line}: {name}: {cause}"),
                _ => format!("{file}:{line}: {cause}"),
            })
        }
        None => error,
    }
}

/// What clap says, in one line: without the usage and what to try.
fn short(error: &Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
    lines.join(" ")
}

/// Whoever names a file where a command is expected wants to see it.
fn with_file_named(error: Error) -> Error {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if Path::new(word).is_file() => {
            let why = format!(
                "{word:?} is a file and no command; this shows it: conntracker show {word}"
            );
            Cli::command().error(ErrorKind::InvalidSubcommand, why)
        }
        _ => error,
    }
}

fn failure(message: String) -> Error {
    Error::raw(ErrorKind::InvalidValue, message + "\n")
}

fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let entries = read(Path::new("f"), text.as_bytes()).unwrap();
        let words = entries.into_iter().flat_map(|entry| entry.words);
        words.map(|word| word.into_string().unwrap()).collect()
    }

    fn refused(text: &str) -> String {
        let error = read(Path::new("f"), text.as_bytes()).unwrap_err();
        error.to_string().trim_end().to_owned()
    }

    #[test]
    fn names_of_earlier_versions_are_known() {
        assert_eq!(words("no-thin = true"), ["--no-prefilter"]);
        let typed = parse(["conntracker", "--no-thin"].map(OsString::from));
        assert!(typed.unwrap().no_prefilter);
        assert!(
            !Cli::command()
                .render_long_help()
                .to_string()
                .contains("no-thin")
        );
    }

    #[test]
    fn lines_become_words_in_their_order() {
        let text = "workers = 2\n# no\nproto = [\"tcp\",\n \"!icmp\"]\ntrack = true\nreliable = false\n\
                    buffer = 0x100000\ndst = '10.0.0.0/8'\n";
        let expected = [
            "--workers=2",
            "--proto=tcp",
            "--proto=!icmp",
            "--track",
            "--buffer=1048576",
            "--dst=10.0.0.0/8",
        ];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn every_error_says_where() {
        for (text, said) in [
            (
                "\nmax_flows = 3",
                "f:2: unknown option max_flows; did you mean max-flows?",
            ),
            ("xxxxxx = 3", "f:1: unknown option xxxxxx"),
            ("config = 'x'", "f:1: config is for the command line only"),
            ("track = 1", "f:1: track is either true or false"),
            (
                "state = true",
                "f:1: state takes a value, not true or false",
            ),
            (
                "output = ['a', 'b']",
                "f:1: output takes one value, not a list",
            ),
            (
                "buffer = 1.5",
                "f:1: buffer takes text in quotes or a whole number",
            ),
            (
                "[state]\nx = 1",
                "f:1: state is no section: write state = …",
            ),
            (
                "proto = [\n'tcp',\n7.5]",
                "f:3: proto takes text in quotes or a whole number",
            ),
            (
                "track = true\nworkers = 65",
                "f:2: invalid value '65' for '--workers <N>': 65 is not in 1..=64",
            ),
            (
                "source = 'x'",
                "f:1: invalid value 'x' for '--source <SOURCE>' \
                 [possible values: auto, kernel, batch, callback]",
            ),
        ] {
            let said = format!("error: {said}");
            assert_eq!(refused(text), said, "{text}");
        }
        for (text, line) in [
            ("a b\n", 1),
            ("track = true\n\ntrack = true\n", 3),
            ("x =", 1),
        ] {
            let found = refused(text);
            assert!(found.starts_with(&format!("error: f:{line}: ")), "{found}");
        }
        let error = read(Path::new("f"), b"# \xff").unwrap_err();
        assert_eq!(error.to_string().trim_end(), "error: f:1: is not UTF-8");
    }
}
