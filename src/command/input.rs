//! Captures as commands read them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::capture::Capture;
use crate::error::Error;
use crate::json::{self, Line, Unreadable};
use crate::record::{Identity, Record};

/// Reads captures, and makes one record of each flow that several of them have.
///
/// # Errors
///
/// A file that can't be read, or a line of it that is no JSON line of ours.
pub fn read(files: &[PathBuf]) -> Result<(Vec<Capture>, Vec<Record>), Error> {
    let mut captures = Vec::new();
    let mut records: Vec<Record> = Vec::new();
    let mut known: HashMap<Identity, usize> = HashMap::new();
    for path in files {
        let mut add = |line| match line {
            Line::Captures(more) => captures.extend(more),
            Line::Flow(record, _) => match known.get(&record.identity) {
                Some(&at) => merge(&mut records[at], &record),
                None => {
                    known.insert(record.identity.clone(), records.len());
                    records.push(*record);
                }
            },
            Line::Other => {}
        };
        if path.as_os_str() == "-" {
            read_lines(path, io::stdin().lock(), &mut add)?;
        } else {
            let file = File::open(path).map_err(|error| Error::file(path, error))?;
            read_lines(path, BufReader::new(file), &mut add)?;
        }
    }
    Ok((captures, records))
}

fn merge(record: &mut Record, other: &Record) {
    record.confirmed |= other.confirmed;
    record.connections += other.connections;
    record.last_seen = record.last_seen.max(other.last_seen);
    record.first_seen = match (record.first_seen, other.first_seen) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    record.classic = record.classic.max(other.classic);
}

fn read_lines(path: &Path, file: impl BufRead, add: &mut impl FnMut(Line)) -> Result<(), Error> {
    for (index, line) in file.split(b'\n').enumerate() {
        let line = line.map_err(|error| Error::file(path, error))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let at = |cause: String| Error::file(path, format!("line {}: {cause}", index + 1));
        add(json::parse(&line).map_err(|error| match error {
            Unreadable::Newer(schema) => at(format!(
                "written by a newer version (schema {schema}): update conntracker"
            )),
            Unreadable::Malformed(cause) => at(format!(
                "{cause}: write captures with conntracker --format json"
            )),
        })?);
    }
    Ok(())
}
