//! The kernel's table of connections: how full it is, and what that has cost.

use std::fs;

use super::finding::Finding;
use crate::model::units::{counted, show_count};
use crate::os::sysctl::sysctl;

const NAME: &str = "table";
/// How full is worth a word.
const NOTE_PERCENT: u64 = 80;
/// How full is too full.
const PROBLEM_PERCENT: u64 = 95;
/// Entries in a bucket, on average, beyond which looking them up takes noticeably longer. By default
/// there are as many buckets as entries may be (nf_conntrack-sysctl in the kernel's documentation).
const CROWD: u64 = 4;

/// The table in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table {
    /// How many entries the connection table has now.
    pub count: Option<u64>,
    /// Entries at most; 0 is no limit.
    pub max: Option<u64>,
    /// Size of the hash table.
    pub buckets: Option<u64>,
    /// What was counted since the network namespace was made.
    pub counters: Option<Counters>,
}

/// Some columns of /proc/net/stat/nf_conntrack, summed up over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets of new connections dropped because the table was full.
    pub drop: u64,
    /// Entries thrown out to make room for others.
    pub early_drop: u64,
    /// Entries that could not be inserted, mostly because another packet of the flow was quicker.
    pub insert_failed: u64,
}

impl Table {
    /// Reads the size of the connection table, its limits and its counters.
    pub fn look() -> Self {
        let counters = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").ok();
        Self {
            count: sysctl("nf_conntrack_count"),
            max: sysctl("nf_conntrack_max"),
            buckets: sysctl("nf_conntrack_buckets"),
            counters: counters.and_then(|text| Counters::read(&text)),
        }
    }
}

impl Counters {
    /// Reads the file: names of columns, then a line of hexadecimal numbers for each processor. Columns
    /// are found by their names, since they have changed (`ct_cpu_seq_show`).
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next()?.split_whitespace().collect();
        let rows: Vec<Vec<u64>> = lines
            .map(|line| {
                let fields = line.split_whitespace();
                let numbers = fields.map(|field| u64::from_str_radix(field, 16).unwrap_or(0));
                numbers.collect()
            })
            .collect();
        let sum = |name| {
            let column = names.iter().position(|&other| other == name)?;
            Some(rows.iter().filter_map(|row| row.get(column)).sum())
        };
        Some(Self {
            drop: sum("drop")?,
            early_drop: sum("early_drop")?,
            insert_failed: sum("insert_failed")?,
        })
    }
}

/// The finding on the connection table: how full it is and what it has dropped.
pub fn judge(table: &Table) -> Finding {
    let finding = match (table.count, table.max) {
        (Some(count), Some(max)) => judge_known(table, count, max),
        _ => Finding::note(
            NAME,
            "nf_conntrack_count and nf_conntrack_max are not to be read",
        ),
    };
    let counters = table.counters;
    finding
        .value("nf_conntrack_count", table.count)
        .value("nf_conntrack_max", table.max)
        .value("nf_conntrack_buckets", table.buckets)
        .value("drop", counters.map(|counters| counters.drop))
        .value("early_drop", counters.map(|counters| counters.early_drop))
        .value(
            "insert_failed",
            counters.map(|counters| counters.insert_failed),
        )
}

fn judge_known(table: &Table, count: u64, max: u64) -> Finding {
    let raise = || {
        let more = max.saturating_mul(2);
        format!("raise it: sysctl -w net.netfilter.nf_conntrack_max={more}")
    };
    if max == 0 {
        return Finding::ok(NAME, format!("{}, no limit", counted(count, "connection")));
    }
    let percent = count.saturating_mul(100) / max;
    let full = format!(
        "{} of {} connections (nf_conntrack_max), {percent} %",
        show_count(count),
        show_count(max)
    );
    let Counters {
        drop, early_drop, ..
    } = table.counters.unwrap_or_default();
    if percent >= PROBLEM_PERCENT {
        return Finding::problem(
            NAME,
            format!("{full}: when it is full, the kernel drops packets of new connections"),
        )
        .next(raise());
    }
    if percent >= NOTE_PERCENT {
        return Finding::note(NAME, format!("{full}: room gets scarce")).next(raise());
    }
    if drop + early_drop > 0 {
        return Finding::note(
            NAME,
            format!(
                "{full} now; it was full before: {} dropped, {} thrown out early",
                counted(drop, "packet"),
                counted(early_drop, "connection")
            ),
        )
        .next(raise());
    }
    match table.buckets {
        Some(buckets) if buckets > 0 && count / buckets >= CROWD => Finding::note(
            NAME,
            format!(
                "{full}; with {} each packet's look-up is slow",
                counted(buckets, "bucket")
            ),
        )
        .next(format!(
            "sysctl -w net.netfilter.nf_conntrack_buckets={max}"
        )),
        _ => Finding::ok(NAME, full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    const STAT: &str = "\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new
00000007  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 0000000a 00000002 00000000  00000000
00000007  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000010 00000000 00000000  00000000
";

    #[test]
    fn counters_are_summed_by_the_names_of_columns() {
        let expected = Counters {
            drop: 26,
            early_drop: 2,
            insert_failed: 2,
        };
        assert_eq!(Counters::read(STAT), Some(expected));
        assert_eq!(Counters::read("entries found\n1 2\n"), None);
        assert_eq!(Counters::read(""), None);
    }

    #[test]
    fn the_fuller_the_worse() {
        let judge = |count, max, drop| {
            judge(&Table {
                count: Some(count),
                max: Some(max),
                buckets: Some(1000),
                counters: Some(Counters {
                    drop,
                    ..Counters::default()
                }),
            })
        };
        assert_eq!(judge(799, 1000, 0).state, State::Ok);
        assert_eq!(judge(800, 1000, 0).state, State::Note);
        let full = judge(950, 1000, 0);
        assert_eq!((full.state, full.prevents_capture), (State::Problem, false));
        assert!(full.next.unwrap().ends_with("nf_conntrack_max=2000"));
        assert_eq!(judge(1, 1000, 1).state, State::Note);
        assert_eq!(judge(1 << 40, 0, 0).state, State::Ok);
        assert_eq!(judge(5000, 100_000, 0).state, State::Note);
    }

    #[test]
    fn nothing_known_is_no_problem() {
        assert_eq!(super::judge(&Table::default()).state, State::Note);
    }
}
