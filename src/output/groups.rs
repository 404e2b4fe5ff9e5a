//! Writing of groups.

use std::io::{self, Write};

use ::csv::{Terminator, WriterBuilder};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::table;
use crate::captures::groups::{Key, Sum, Value};
use crate::formats::json;
use crate::model::usage::Usage;
use crate::ui::clock::Clock;
use crate::ui::columns::Columns;

/// A group with its values, one for each key.
type Group = (Box<[Value]>, Sum);

const SUMS: [&str; 6] = [
    "flows",
    "confirmed",
    "clients",
    "connections",
    "first_seen",
    "last_seen",
];

/// Writes aligned columns for people.
///
/// Errors: those of `out`.
pub fn write_table(
    keys: &[Key],
    groups: &[Group],
    clock: &Clock,
    out: &mut impl Write,
) -> io::Result<()> {
    let used = any_used(groups);
    let heading = keys
        .iter()
        .map(|key| key.name())
        .chain(SUMS)
        .chain(used.iter().copied());
    let heading: Vec<String> = heading
        .map(|name| match name {
            "first_seen" => format!("{} ({})", table::FIRST_SEEN, clock.name()),
            "last_seen" => format!("{} ({})", table::LAST_SEEN, clock.name()),
            name => name.to_uppercase().replace('_', " "),
        })
        .collect();
    let numbers = keys.len()..keys.len() + 4;
    let sums = keys.len() + SUMS.len();
    let right = (0..heading.len()).map(|column| numbers.contains(&column) || column >= sums);
    let mut columns = Columns::new(&heading, right);
    let row = |group: &Group| row(group, clock, !used.is_empty());
    groups.iter().for_each(|group| columns.measure(&row(group)));
    let plain = |_, cell: &str| cell.to_owned();
    columns.write(&heading, plain, out)?;
    groups
        .iter()
        .try_for_each(|group| columns.write(&row(group), plain, out))
}

/// The columns of what connections have carried, if any group has that.
fn any_used(groups: &[Group]) -> &'static [&'static str] {
    let any = groups.iter().any(|(_, sum)| sum.usage.is_some());
    if any { &Usage::FIELDS } else { &[] }
}

fn row((values, sum): &Group, clock: &Clock, used: bool) -> Vec<String> {
    let values = values.iter().map(Value::to_string);
    let sums = [
        sum.flows.to_string(),
        sum.confirmed.to_string(),
        sum.clients.len().to_string(),
        sum.connections.to_string(),
        clock.show(sum.first_seen),
        clock.show(sum.last_seen),
    ];
    let used = Usage::fields(sum.usage.as_deref())
        .into_iter()
        .filter(|_| used);
    let used = used.map(|number| number.map_or_else(|| "-".to_owned(), |n| n.to_string()));
    values.chain(sums).chain(used).collect()
}

/// Writes comma-separated values with a header (RFC 4180).
///
/// Errors: those of `out`.
pub fn write_csv(keys: &[Key], groups: &[Group], out: &mut impl Write) -> io::Result<()> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(out);
    let used = any_used(groups);
    let heading = keys.iter().map(|key| key.name()).chain(SUMS);
    writer.write_record(heading.chain(used.iter().copied()))?;
    for (values, sum) in groups {
        let values = values.iter().map(Value::to_string);
        let numbers = [
            sum.flows,
            sum.confirmed,
            sum.clients.len() as u64,
            sum.connections,
        ];
        let times = [sum.first_seen, sum.last_seen];
        let times = times.map(|time| time.map_or_else(String::new, |time| time.to_string()));
        let numbers = numbers.map(|number| number.to_string());
        let usage = Usage::fields(sum.usage.as_deref());
        let usage = usage.into_iter().take(used.len());
        let usage =
            usage.map(|number| number.map_or_else(String::new, |number| number.to_string()));
        writer.write_record(values.chain(numbers).chain(times).chain(usage))?;
    }
    writer.flush()
}

/// Writes a JSON object a line.
///
/// Errors: those of `out`.
pub fn write_json(keys: &[Key], groups: &[Group], out: &mut impl Write) -> io::Result<()> {
    for (values, sum) in groups {
        json::to_writer(out, &Object { keys, values, sum })?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

struct Object<'a> {
    keys: &'a [Key],
    values: &'a [Value],
    sum: &'a Sum,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "group")?;
        for (key, value) in self.keys.iter().zip(self.values) {
            match value {
                Value::Zone(zone) => map.serialize_entry(key.name(), zone)?,
                value => map.serialize_entry(key.name(), &value.to_string())?,
            }
        }
        let sum = self.sum;
        map.serialize_entry("flows", &sum.flows)?;
        map.serialize_entry("confirmed", &sum.confirmed)?;
        map.serialize_entry("clients", &sum.clients.len())?;
        map.serialize_entry("connections", &sum.connections)?;
        for (name, time) in [("first_seen", sum.first_seen), ("last_seen", sum.last_seen)] {
            if let Some(time) = time {
                map.serialize_entry(name, &time)?;
            }
        }
        let usage = Usage::fields(sum.usage.as_deref());
        for (name, number) in Usage::FIELDS.into_iter().zip(usage) {
            if let Some(number) = number {
                map.serialize_entry(name, &number)?;
            }
        }
        map.end()
    }
}
