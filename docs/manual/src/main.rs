//! Writes conntracker(8) and the shell completions from the definition of the command line.
//!
//! `cargo run -p conntracker-manual -- FOLDER`. The package of its own keeps what only this needs out
//! of the program and out of its tests.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// The sections that are written by hand, in the order of man-pages(7).
const BEFORE_OPTIONS: [&str; 3] = [
    include_str!("../sections/synopsis.man"),
    include_str!("../sections/description.man"),
    include_str!("../sections/commands.man"),
];
const AFTER_OPTIONS: [&str; 9] = [
    include_str!("../sections/output.man"),
    include_str!("../sections/quirks.man"),
    include_str!("../sections/differences.man"),
    include_str!("../sections/daemon.man"),
    include_str!("../sections/signals.man"),
    include_str!("../sections/exit_status.man"),
    include_str!("../sections/files.man"),
    include_str!("../sections/examples.man"),
    include_str!("../sections/see_also.man"),
];

/// How long source lines may be, after `mandoc -T lint`.
const COLUMNS: usize = 80;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: conntracker-manual FOLDER");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "conntracker-manual: {}: {error}",
                Path::new(&folder).display()
            );
            ExitCode::FAILURE
        }
    }
}

/// Writes everything into `folder`.
fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("conntracker.8"), page()?)?;
    let mut program = conntracker::command_line();
    // Gives the commands their options that hold for all, and their usage lines the program's name.
    program.build();
    for command in program.get_subcommands() {
        if command.get_name() != "help" {
            let name = format!("conntracker-{}", command.get_name());
            fs::write(
                folder.join(format!("{name}.8")),
                command_page(&name, command)?,
            )?;
        }
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(
            shell,
            &mut conntracker::command_line(),
            "conntracker",
            folder,
        )?;
    }
    Ok(())
}

/// Of which program in which version the pages are.
fn source() -> String {
    let command = conntracker::command_line();
    format!("conntracker {}", command.get_version().unwrap_or_default())
}

/// The page of a command, all of it from its definition.
fn command_page(name: &str, command: &Command) -> io::Result<Vec<u8>> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let about = command.get_about().map(ToString::to_string);
    let man = Man::new(with_all_help(command.clone()))
        .title(name.to_uppercase())
        .section("8")
        .date(date())
        .source(source())
        .manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    let about = about.unwrap_or_default();
    let mut heading = ".SH NAME\n".to_owned();
    fill(
        &format!("{} \\- {}", roff(name), roff(&about)),
        &mut heading,
    );
    page.write_all(heading.as_bytes())?;
    writeln!(page, ".SH SYNOPSIS\n{}", roff(usage))?;
    let mut description = Vec::new();
    man.render_description_section(&mut description)?;
    let mut text = String::new();
    for line in String::from_utf8_lossy(&description).lines() {
        fill(line, &mut text);
    }
    page.write_all(text.as_bytes())?;
    page.write_all(options(&man)?.as_bytes())?;
    let after = command.get_after_long_help().or(command.get_after_help());
    if !after.is_some_and(|text| text.to_string().starts_with("Examples:\n")) {
        return Err(io::Error::other(format!(
            "{name} has no examples: its help is to begin with them behind the options"
        )));
    }
    if let Some(after) = after {
        for paragraph in after.to_string().split("\n\n") {
            let (heading, body) = paragraph.split_once('\n').unwrap_or(("Notes:", paragraph));
            writeln!(
                page,
                ".SH {}",
                roff(&heading.trim_end_matches(':').to_uppercase())
            )?;
            writeln!(page, ".EX\n{}\n.EE", roff(body))?;
        }
    }
    page.write_all(include_bytes!("../sections/command_see_also.man"))?;
    Ok(page)
}

/// A page has the help of every option, and `-h` that of the usual ones.
fn with_all_help(command: Command) -> Command {
    command.mut_args(|option| option.hide_short_help(false))
}

/// Text as it stands in a page.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped.lines().map(|line| {
        if line.starts_with(['.', '\'']) {
            format!("\\&{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn page() -> io::Result<Vec<u8>> {
    let man = Man::new(with_all_help(conntracker::command_line()))
        .title("CONNTRACKER")
        .section("8")
        .date(date())
        .source(source())
        .manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    for section in BEFORE_OPTIONS {
        page.write_all(section.as_bytes())?;
    }
    page.write_all(options(&man)?.as_bytes())?;
    for section in AFTER_OPTIONS {
        page.write_all(section.as_bytes())?;
    }
    Ok(page)
}

/// The OPTIONS section, with what clap_mangen 0.3 makes of help headings and possible values put into
/// the form of man-pages(7): subsections, and no line breaks around paragraphs.
fn options(man: &Man) -> io::Result<String> {
    let mut raw = Vec::new();
    man.render_options_section(&mut raw)?;
    let raw = String::from_utf8_lossy(&raw).replace(".br\n\n.br\n", "\n");
    let mut section = String::new();
    for line in raw.lines() {
        match line.strip_prefix(".SH ") {
            Some("OPTIONS") | None => fill(line, &mut section),
            Some(heading) => {
                let (first, rest) = heading.split_at(1);
                section.extend([".SS ", first, &rest.to_lowercase(), "\n"]);
            }
        }
    }
    Ok(section)
}

/// Appends a line, broken so that it stays readable as source.
fn fill(line: &str, section: &mut String) {
    let mut column = 0;
    for (index, word) in line.split(' ').enumerate() {
        // At the start of a line, a dot or quote makes a request.
        let breakable =
            !line.starts_with('.') && !word.starts_with(['.', '\'']) && !word.is_empty();
        if index > 0 {
            let fits = column + 1 + word.len() <= COLUMNS;
            section.push(if fits || !breakable { ' ' } else { '\n' });
            column = if fits || !breakable { column + 1 } else { 0 };
        }
        section.push_str(word);
        column += word.len();
    }
    section.push('\n');
}

/// The day of the sources where that is known (<https://reproducible-builds.org/specs/source-date-epoch/>),
/// so that the page is the same whenever it is built.
fn date() -> String {
    let epoch = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    let time = epoch.map_or_else(SystemTime::now, |seconds| {
        UNIX_EPOCH + Duration::from_secs(seconds)
    });
    let mut date = humantime::format_rfc3339_seconds(time).to_string();
    date.truncate("2000-01-01".len());
    date
}
