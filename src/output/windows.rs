//! A list of many flows in its order, a window of them at a time, so that only a few are ever unpacked.
//!
//! With windows of four, the flows `8 3 9 1 7 2 6 5 4` are looked through once to say in which window each belongs: below
//! 5 (`3 1 2 4`) or not (`8 9 7 6 5`). Then each window is unpacked, sorted and handed over: `1 2 3 4`, `5 6 7 8 9`.
//! Where the windows meet is learnt from a sample, so that they are about as large as they are to be.

use std::cmp::Ordering;

use super::sort::Sort;
use crate::intake::records::pack::Pack;
use crate::model::listing::Flow;
use crate::model::record::Record;

/// So many flows are unpacked at a time, or about as many: 10 MB of them.
const WINDOW: usize = 1 << 16;
/// So many of the sample stand for a window.
const SAMPLES: usize = 64;

/// Hands over the flows that are wanted, sorted, in parts. The first error ends it.
///
/// Errors: the first one of `take`.
pub fn each<E>(
    pack: &Pack,
    (sort, reverse): (Sort, bool),
    wanted: impl Fn(&Record) -> bool,
    take: impl FnMut(&[Flow]) -> Result<(), E>,
) -> Result<(), E> {
    each_of(pack, WINDOW, (sort, reverse), wanted, take)
}

fn each_of<E>(
    pack: &Pack,
    window: usize,
    (sort, reverse): (Sort, bool),
    wanted: impl Fn(&Record) -> bool,
    mut take: impl FnMut(&[Flow]) -> Result<(), E>,
) -> Result<(), E> {
    let borders = borders(pack, window, sort);
    let windows = borders.len() + 1;
    // A flow that is not wanted is in none.
    let places: Vec<Option<u16>> = { pack.iter() }
        .map(|record| {
            wanted(&record).then(|| {
                let below = |border: &Record| sort.compare(border, &record) != Ordering::Greater;
                borders.partition_point(below) as u16
            })
        })
        .collect();
    let mut flows: Vec<Flow> = Vec::new();
    for number in 0..windows {
        let number = if reverse {
            windows - 1 - number
        } else {
            number
        };
        flows.clear();
        for (place, at) in places.iter().enumerate() {
            if at.is_some_and(|at| usize::from(at) == number) {
                flows.push(pack.get(place).into());
            }
        }
        sort.sort(&mut flows);
        if reverse {
            flows.reverse();
        }
        take(&flows)?;
    }
    Ok(())
}

/// The first flow of each window but the lowest, as far as a sample tells.
fn borders(pack: &Pack, window: usize, sort: Sort) -> Vec<Record> {
    let windows = pack.len().div_ceil(window).clamp(1, usize::from(u16::MAX));
    if windows == 1 {
        return Vec::new();
    }
    // Places are by hash, so that every so-manieth flow is as good as a random one.
    let step = (pack.len() / (windows * SAMPLES)).max(1);
    let sample = (0..pack.len()).step_by(step).map(|at| pack.get(at));
    let mut sample: Vec<Record> = sample.collect();
    sample.sort_unstable_by(|a, b| sort.compare(a, b));
    let each = sample.len().div_ceil(windows);
    let borders = sample.into_iter().step_by(each).skip(1);
    borders.collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::intake::records::Records;
    use crate::intake::table::Table;
    use crate::model::record::{Identity, Protocol};
    use crate::model::timestamp::Timestamp;
    use crate::model::tuple::Tuple;

    /// Flows that differ in what each order is by, some of them with the same value.
    fn flows() -> Vec<Record> {
        let flow = |number: u16| {
            let [high, low] = number.wrapping_mul(40_503).to_be_bytes();
            let source = match number % 3 {
                0 => format!("2001:db8::{high:x}:{low:x}"),
                _ => format!("10.{high}.{low}.1"),
            };
            let destination = if number % 3 == 0 {
                "2001:db8::1"
            } else {
                "10.0.0.1"
            };
            let mut identity = Identity::of(&Tuple::tcp(&source, destination, number % 97));
            if number % 5 == 0 {
                identity.protocol = Protocol::UDP;
            }
            let time = |secs: u16| Timestamp::from_us(1_000_000 + u64::from(secs));
            Record {
                connections: u64::from(number % 7),
                first_seen: time(number % 11),
                last_seen: time(number % 13 + 11),
                ..Record::new(identity, number % 4 == 0)
            }
        };
        (0..5000).map(flow).collect()
    }

    #[test]
    fn windows_are_the_sorted_list_in_parts() {
        let (records, listed) = (Records::new(usize::MAX, true), Table::new(0));
        let flows = flows();
        flows.iter().for_each(|flow| records.restore(flow, 0));
        let pack = records.copy(&listed, &[]);
        assert_eq!(pack.len(), flows.len());
        for sort in [
            Sort::Classic,
            Sort::Address,
            Sort::Service,
            Sort::Connections,
            Sort::FirstSeen,
            Sort::LastSeen,
        ] {
            for reverse in [false, true] {
                let confirmed = |record: &Record| record.confirmed;
                let mut whole: Vec<Flow> =
                    { pack.iter() }.filter(confirmed).map(Flow::from).collect();
                sort.sort(&mut whole);
                if reverse {
                    whole.reverse();
                }
                let (mut parts, mut largest) = (Vec::new(), 0);
                let Ok(()) = each_of(&pack, 300, (sort, reverse), confirmed, |flows| {
                    largest = largest.max(flows.len());
                    parts.extend_from_slice(flows);
                    Ok::<_, Infallible>(())
                });
                assert!(parts == whole, "{sort:?}, reverse: {reverse}");
                assert!(largest < 300, "{sort:?}: a window of {largest}");
            }
        }
    }
}
