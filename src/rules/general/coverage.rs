//! Whether captures are long enough, without rules: what `show --coverage` says.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::General;
use super::days::Days;
use super::outlook::DAYS_LEAST;
use crate::model::capture::Capture;
use crate::model::listing::Flow;
use crate::model::units::{agree, counted};

/// Microseconds of a day and an hour: a capture of a day may end late.
const A_DAY_US: u64 = 25 * 3_600_000_000;

/// How many confirmed flows came on one day only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// How many flows the captures have.
    pub flows: u64,
    /// How many days they are of.
    pub days: u16,
}

impl Once {
    /// Counts them. `None` unless there is a capture for each of three days at least: only then it is known on which days a
    /// flow came, and not just on which first and last.
    pub fn count(captures: &[Capture], flows: &[Flow]) -> Option<Self> {
        let days = Days::new(captures);
        if days.count() < DAYS_LEAST {
            return None;
        }
        let of_capture = captures.iter().map(|capture| {
            let (start, end) = (capture.start?, capture.end?);
            // Its middle, since days are counted back from the end of the last one.
            let middle = crate::model::timestamp::Timestamp::from_us(start.us().midpoint(end.us()));
            (end.us().saturating_sub(start.us()) <= A_DAY_US).then(|| days.of(middle))
        });
        let of_capture: Vec<u16> = of_capture.collect::<Option<_>>()?;
        let confirmed = flows.iter().filter(|flow| flow.record.confirmed);
        let once = confirmed.filter(|flow| {
            let seen =
                { flow.seen_in.iter() }.filter_map(|seen| of_capture.get(seen.capture as usize));
            seen.collect::<BTreeSet<_>>().len() == 1
        });
        Some(Self {
            flows: once.count() as u64,
            days: days.count(),
        })
    }
}

/// Writes what rules of what was seen, and generalized ones, would have stopped and will.
///
/// Errors: those of `out`.
pub fn write(general: &General, once: Option<Once>, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "Rules of what was seen and nothing else (conntracker rules):"
    )?;
    for sentence in general.exact.sentences() {
        writeln!(out, "  {sentence}.")?;
    }
    if let Some(Once { flows, days }) = once {
        writeln!(
            out,
            "  {} came on one day only, of {days}: by that, about {} a day {} new (Good and Turing).",
            counted(flows, "flow"),
            counted(flows / u64::from(days), "flow"),
            agree(flows / u64::from(days), "is", "are")
        )?;
    }
    writeln!(
        out,
        "Rules that new flows of the same kinds pass too (conntracker rules --generalize):"
    )?;
    for sentence in general.outlook.sentences() {
        writeln!(out, "  {sentence}.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::Part;
    use crate::model::record::{Identity, Record};
    use crate::model::timestamp::Timestamp;
    use crate::model::tuple::Tuple;

    #[test]
    fn days_are_counted_by_their_captures() {
        let day = 86_400_000_000;
        let capture = |number: u64| Capture {
            start: Timestamp::from_us(1 + number * day),
            end: Timestamp::from_us(number * day + day),
            ..Capture::default()
        };
        let flow = |seen_in: &[u32]| Flow {
            seen_in: seen_in.iter().map(|at| Part::new(*at, 1)).collect(),
            record: Record {
                connections: 1,
                ..Record::new(Identity::of(&Tuple::tcp("10.0.0.2", "10.2.0.2", 443)), true)
            },
        };
        let captures = [capture(0), capture(1), capture(2)];
        let flows = [flow(&[0]), flow(&[0, 1]), flow(&[2]), flow(&[0, 1, 2])];
        assert_eq!(
            Once::count(&captures, &flows),
            Some(Once { flows: 2, days: 3 })
        );
        assert_eq!(Once::count(&captures[..2], &flows), None);
        let long = Capture {
            end: Timestamp::from_us(4 * day),
            ..capture(0)
        };
        assert_eq!(Once::count(&[long], &flows), None);
    }
}
