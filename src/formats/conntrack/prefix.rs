//! What stands before an entry: the beginnings that syslog, journalctl(1), ts(1), logread, dmesg(1), docker, kubectl,
//! grep(1) and those who quote or number lines put there, and the time in them.
//!
//! ```text
//! <30>Nov 26 10:00:01 gw1 conntrack[812]:    2026-11-26T10:00:01.123456+01:00 gw1 conntrack[812]:
//! Thu Nov 26 11:22:20 2026 daemon.info conntrack[812]:    [  123.456789]    gw-1  |    list.txt:12:    >
//! ```

use crate::model::timestamp::Timestamp;

/// So many words may be none of a date, of a number or a mark: a host, a facility, a program, a container.
const NAMES_MAX: usize = 4;
/// The first second of the epoch with ten digits, in 2001: less is the time since a start.
const SECONDS_MIN: u64 = 1_000_000_000;

/// Why an entry behind the signs of diff(1) is none, or behind words that say the same.
const GONE: &str = "this is what a difference says is gone";

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Looks over the words of a prefix, and returns the time that they say, if it is a full one: with date and time zone.
///
/// Errors: why this is no prefix that may be passed over.
pub(super) fn time<'a>(
    words: impl DoubleEndedIterator<Item = &'a str> + Clone,
) -> Result<Option<Timestamp>, String> {
    let Some(first) = words.clone().next() else {
        return Ok(None);
    };
    match first {
        // "<30>" is the priority of syslog.
        first if first.starts_with('-') || first.starts_with("<[") => return Err(GONE.into()),
        first if first.starts_with(['#', ';']) || first.starts_with("//") => {
            return Err("this is commented out".into());
        }
        _ => {}
    }
    let mut names = 0;
    let mut in_brackets = false;
    // What a difference says stands first, or behind what grep -n and a quotation put there: "12:-", "> -", "| -". Syslog
    // has a "-" behind its words where something is not known.
    let mut is_quoted = true;
    for word in words.clone() {
        if word == "<" || (is_quoted && (word == "-" || word.ends_with(":-") || word == "+-")) {
            return Err(GONE.into());
        }
        let plain = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if { ["deleted", "removed", "gone"].iter() }.any(|gone| plain.eq_ignore_ascii_case(gone)) {
            return Err(GONE.into());
        }
        is_quoted &= word.ends_with([':', '>', '|']);
        // Behind what grep -n or a quotation put before it, too: "12:#", "> #".
        let comments = ["#", "//", "<!--", "/*"];
        if word.ends_with(":#")
            || comments.iter().any(|sign| word.starts_with(sign))
            || word == "REM"
        {
            return Err("this is commented out".into());
        }
        judge(word, &mut in_brackets)?;
        names += usize::from(!is_of_date_or_mark(word));
    }
    if names > NAMES_MAX || in_brackets {
        return Err("what stands before the entry is no beginning that is known".into());
    }
    // conntrack's own time stands next to the entry, and is the more exact one. Before 1.4.2 it filled the microseconds
    // up with blanks on the right: "[1356000001.4711  ]".
    let mut back = words.clone().rev();
    let own = match back.next() {
        Some("]") => back.next().and_then(padded),
        Some(word) => epoch(word),
        None => None,
    };
    Ok(own
        .or_else(|| words.clone().find_map(epoch))
        .or_else(|| Date::of(words)?.timestamp()))
}

/// Whether a word may stand there at all.
fn judge(word: &str, in_brackets: &mut bool) -> Result<(), String> {
    let bare = word.trim_matches(['[', ']']);
    let shouted = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_uppercase());
    // "[2026-11-26 11:22:20 UTC]" ends with the name of a time zone.
    let ends_time = *in_brackets && word.strip_suffix(']') == Some(bare) && bare.len() <= 5;
    // In whatever brackets, colons and letters: as an event it would have been read already.
    let inner = word.rsplit('[').next().unwrap_or(word);
    let names_event = [word, inner].into_iter().any(|part| {
        let letters = part.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let events = ["NEW", "UPDATE", "DESTROY"];
        events
            .iter()
            .any(|event| letters.eq_ignore_ascii_case(event))
    });
    if names_event || (shouted && bare.len() < word.len() && !ends_time) {
        return Err(format!("{word} is no event of conntrack -E"));
    }
    if word.contains('=') || !word.is_ascii() {
        return Err("what stands before the entry is no beginning that is known".into());
    }
    // Brackets that have blanks in them hold a time: "[  123.456789]", "[1356000001.4711  ]", "[2026-11-26 11:22:20]" of
    // ts(1), "[Thu Nov 26 11:22:20 2026]" of dmesg -T, "[26/Nov/2026:11:22:20 +0100]".
    match (word.matches('[').count(), word.matches(']').count()) {
        (0, 0) if *in_brackets && !shouted && !is_of_time(bare) => {
            Err("what stands before the entry is no beginning that is known".into())
        }
        (open, close) if open == close => Ok(()),
        (1, 0) if is_of_time(bare) && !*in_brackets => {
            *in_brackets = true;
            Ok(())
        }
        (0, 1) if (shouted || is_of_time(bare)) && *in_brackets => {
            *in_brackets = false;
            Ok(())
        }
        _ => Err(format!("{word} has one bracket of two")),
    }
}

/// Whether a word is a day, a date, a time of day, a year or a number; `Thu`, `26/Nov/2026:11:22:20`, `+0100`, and nothing.
fn is_of_time(word: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let of_time = |part: &str| digits(part) || MONTHS.contains(&part);
    DAYS.contains(&word.trim_end_matches(','))
        || word
            .split(['.', ':', ',', '-', '/', '+', 'T', 'Z'])
            .all(of_time)
}

fn is_of_date_or_mark(word: &str) -> bool {
    let no_letters = || word.bytes().all(|byte| !byte.is_ascii_alphabetic());
    DAYS.contains(&word.trim_end_matches(','))
        || MONTHS.contains(&word)
        || matches!(word, "AM" | "PM" | "am" | "pm")
        || no_letters()
        || (word.len() <= 5 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        || word.parse::<Timestamp>().is_ok()
}

/// `[1700000000.123456]` or the same without brackets: seconds of the epoch with a fraction.
pub(super) fn epoch(word: &str) -> Option<Timestamp> {
    let inner = word
        .strip_suffix(']')
        .and_then(|word| word.rsplit_once('['));
    let inner = inner.map_or(word, |(_, inner)| inner);
    let (seconds, fraction) = inner.split_once('.')?;
    at(seconds, micros(fraction)?)
}

/// `[1356000001.4711` of `[1356000001.4711  ]`.
fn padded(word: &str) -> Option<Timestamp> {
    let (seconds, micros) = word.strip_prefix('[')?.split_once('.')?;
    at(
        seconds,
        number(micros).filter(|&micros| micros < 1_000_000)?,
    )
}

fn at(seconds: &str, micros: u64) -> Option<Timestamp> {
    let seconds = number(seconds).filter(|&seconds| seconds >= SECONDS_MIN)?;
    Timestamp::from_us(seconds.checked_mul(1_000_000)?.checked_add(micros)?)
}

/// The microseconds of six digits or more.
fn micros(fraction: &str) -> Option<u64> {
    let is_long_enough = (6..=9).contains(&fraction.len());
    number(fraction).filter(|_| is_long_enough)?;
    number(fraction.get(..6)?)
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A date with its time of day and its distance from UTC, of which a prefix may lack something.
#[derive(Default)]
struct Date<'a> {
    year: Option<u64>,
    month: Option<u64>,
    day: Option<u64>,
    clock: Option<&'a str>,
    afternoon: Option<bool>,
    /// Seconds by which the time is east of UTC, if it says so.
    zone: Option<i64>,
    /// Whether there are two times, or two numbers that may be the day: which one is meant does not show.
    is_ambiguous: bool,
}

impl<'a> Date<'a> {
    fn of(words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut date = Self::default();
        let mut before = "";
        for word in words {
            let word = word.trim_matches(['[', ']']);
            // Syslog's priority is glued to what follows it.
            let word = word
                .strip_prefix('<')
                .and_then(|rest| rest.split_once('>'))
                .map_or(word, |(_, rest)| rest);
            date.take(word, before);
            before = word;
        }
        date.clock.is_some().then_some(date)
    }

    fn take(&mut self, word: &'a str, before: &str) {
        if let Some((day, clock)) = word.split_once('T') {
            if self.take_day(day) {
                self.take_clock(clock);
                return;
            }
        }
        if self.take_day(word) || (word.len() >= 8 && self.take_clock(word)) {
            return;
        }
        if let Some(month) = MONTHS.iter().position(|month| *month == word) {
            self.is_ambiguous |= self.month.is_some();
            self.month = Some(month as u64 + 1);
            self.day = day(before);
            return;
        }
        let follows_month = MONTHS.contains(&before);
        match word {
            "AM" | "PM" | "am" | "pm" | "a.m." | "p.m." => {
                self.afternoon = Some(word.starts_with(['p', 'P']));
            }
            "UTC" | "GMT" | "Z" => self.zone = Some(0),
            _ if follows_month && self.day.is_some() && day(word).is_some() => {
                self.is_ambiguous = true;
            }
            _ if self.clock.is_some()
                && word.starts_with(['+', '-'])
                && (self.clock.is_some_and(|clock| before.ends_with(clock))
                    || (self.year.is_some() && number(before) == self.year)
                    || matches!(before, "AM" | "PM" | "am" | "pm" | "a.m." | "p.m.")) =>
            {
                self.zone = self.zone.or_else(|| offset(word));
            }
            _ if self.month.is_some() && self.day.is_none() => self.day = day(word),
            _ if self.month.is_some() && self.year.is_none() && word.len() == 4 => {
                self.year = number(word).filter(|year| (1970..2200).contains(year));
            }
            _ => {}
        }
    }

    /// `2026-11-26`.
    fn take_day(&mut self, word: &str) -> bool {
        let mut parts = word.splitn(3, '-').map(number);
        if word.len() != 10 {
            return false;
        }
        let (Some(Some(year)), Some(Some(month)), Some(Some(day))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        self.is_ambiguous |= self.month.is_some();
        (self.year, self.month, self.day) = (Some(year), Some(month), Some(day));
        true
    }

    /// `11:22:20.123456`, with the zone behind it or without.
    fn take_clock(&mut self, word: &'a str) -> bool {
        let end = word.find(['+', '-', 'Z']).unwrap_or(word.len());
        let (clock, zone) = word.split_at(end);
        if clock.splitn(3, ':').count() != 3 || !clock.starts_with(|c: char| c.is_ascii_digit()) {
            return false;
        }
        self.is_ambiguous |= self.clock.is_some();
        self.clock = Some(clock);
        if !zone.is_empty() {
            self.zone = offset(zone);
        }
        true
    }

    fn timestamp(&self) -> Option<Timestamp> {
        let clock = self.clock.filter(|_| !self.is_ambiguous)?;
        let (year, month, day) = (self.year?, self.month?, self.day?);
        let (hour, rest) = clock.split_once(':')?;
        let hour = match (number(hour)?, self.afternoon) {
            (hour, None) => hour,
            (12, Some(false)) => 0,
            (12, Some(true)) => 12,
            (hour, Some(afternoon)) => hour + if afternoon { 12 } else { 0 },
        };
        // Some write the fraction with a comma.
        let rest = rest.replace(',', ".");
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{rest}Z");
        let us = i64::try_from(text.parse::<Timestamp>().ok()?.us()).ok()?;
        let us = us.checked_sub(self.zone?.checked_mul(1_000_000)?)?;
        Timestamp::from_us(u64::try_from(us).ok()?)
    }
}

fn day(word: &str) -> Option<u64> {
    number(word).filter(|day| word.len() <= 2 && (1..=31).contains(day))
}

/// `Z`, `+01:00`, `-0530`: seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    if !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let (hours, minutes) = digits.split_at_checked(2)?;
    let (hours, minutes) = (
        number(hours)?,
        number(minutes).or(minutes.is_empty().then_some(0))?,
    );
    if hours > 14 || minutes > 59 {
        return None;
    }
    let seconds = i64::try_from(hours * 3600 + minutes * 60).ok()?;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(prefix: &str) -> Result<Option<String>, String> {
        let time = time(prefix.split_ascii_whitespace())?;
        Ok(time.map(|time| time.to_string()))
    }

    #[test]
    fn a_full_time_is_used_and_another_one_is_not() {
        for (prefix, expected) in [
            (
                "2026-11-26T11:22:20.123456+00:00 gw1 conntrack[812]:",
                "2026-11-26T11:22:20.123456Z",
            ),
            (
                "2026-11-26T11:22:20,5+0130 gw1 conntrack[812]:",
                "2026-11-26T09:52:20.500000Z",
            ),
            (
                "<30>1 2026-11-26T11:22:20Z gw1 conntrack 812 - -",
                "2026-11-26T11:22:20.000000Z",
            ),
            (
                "Thu 2026-11-26 11:22:20 UTC gw1 conntrack[812]:",
                "2026-11-26T11:22:20.000000Z",
            ),
            (
                "Thu Nov 26 11:22:20 UTC 2026",
                "2026-11-26T11:22:20.000000Z",
            ),
            (
                "Thu 26 Nov 2026 11:22:20 PM GMT",
                "2026-11-26T23:22:20.000000Z",
            ),
            ("1795692140.123456", "2026-11-26T11:22:20.123456Z"),
            (
                "Nov 26 11:22:20 gw1 ct: [1795692140.768158]",
                "2026-11-26T11:22:20.768158Z",
            ),
            ("[1356000001.4711 ]", "2012-12-20T10:40:01.004711Z"),
            ("[2026-11-26 11:22:20 UTC]", "2026-11-26T11:22:20.000000Z"),
            (
                "[Thu Nov 26 11:22:20 2026 +0100]",
                "2026-11-26T10:22:20.000000Z",
            ),
        ] {
            assert_eq!(told(prefix).unwrap().as_deref(), Some(expected), "{prefix}");
        }
        for prefix in [
            "",
            "12:",
            "3",
            "> >>",
            "gw1",
            "[12.345678]",
            "[ 123.456789]",
            "[2026-11-26 11:22:20]",
            "[2026-11-26 11:22:20.123]",
            "[Thu Nov 26 11:22:20 2026]",
            "[Thu Nov 26 11:22:20 CET 2026]",
            "[26/Nov/2026:11:22:20 +0100]",
            "[2026-11-26T11:22:20 CET]",
            "11:22:20",
            "Nov 26 11:22:20 gw1 conntrack[812]:",
            "<30>Nov  6 11:22:20 gw1 conntrack[812]:",
            "Thu Nov 26 11:22:20 2026 daemon.info conntrack[812]:",
            "2026-11-26 11:22:20",
            "gw-1 |",
            "[pod/gw/ct]",
            "root@gw:~#",
            "2026-13-26T11:22:20Z",
            "2026-11-26T11:22:20+99:00",
        ] {
            assert_eq!(told(prefix), Ok(None), "{prefix}");
        }
    }

    #[test]
    fn what_is_no_beginning_is_not_passed_over() {
        for (prefix, why) in [
            ("-", "gone"),
            ("< x", "gone"),
            ("# x", "commented out"),
            ("12:#", "commented out"),
            ("> #", "commented out"),
            ("<!--", "commented out"),
            ("[UPDTE]", "no event"),
            ("NEW", "no event"),
            ("[NEW", "no event"),
            ("[x", "one bracket"),
            ("[2026-11-26 NEW]", "no event"),
            ("[2026-11-26 seen x]", "no beginning"),
            ("[ 12.5", "no beginning"),
            ("mark=0", "no beginning"),
            ("this is what I have seen there", "no beginning"),
        ] {
            let error = told(prefix).expect_err(prefix);
            assert!(error.contains(why), "{prefix}: {error}");
        }
    }
}
