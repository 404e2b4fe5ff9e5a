//! Numbers with units, as they stand on a command line.

use std::borrow::Cow;
use std::time::Duration;

/// The longest time that makes sense; clocks can be added to it without an overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Lists take time to write: more often, a capture would do nothing else.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Parses a time: `90` and `90s` are seconds, `5m`, `1h30m`, `2d` what they say. From a millisecond to a hundred years.
///
/// Errors: what is wrong and which forms there are.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_from(text, Duration::from_millis(1), "1ms")
}

/// Parses a time that is `least` at the least, which is written as `named`.
fn parse_from(text: &str, least: Duration, named: &str) -> Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write for example 90, 60s, 5m or 1h30m"))?,
    };
    if duration.is_zero() {
        return Err("must be longer than 0".into());
    }
    if duration < least {
        return Err(format!("must be at least {named}"));
    }
    if duration > LONGEST {
        return Err("must not be longer than 100 years".into());
    }
    Ok(duration)
}

/// Parses the time from one list to the next, which is a tenth of a second at least.
///
/// Errors: as for [`parse_duration`].
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_from(text, SHORTEST_INTERVAL, "100ms")
}

/// What sizes there are, for those who wrote another.
const SIZES: &str = "write a size from 1 byte to 2047M, for example 65536, 512K, 64M or 1G";

/// Parses a number of bytes: `65536`, `512K`, `64M` or `64MiB`, `1G`; the letters are powers of 1024.
///
/// Errors: what is wrong and which forms there are.
pub fn parse_bytes(text: &str) -> Result<u32, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(SIZES.into()),
    };
    // The kernel keeps buffer sizes in an int.
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|&bytes| (1..=i32::MAX as u64).contains(&bytes))
        .map(|bytes| bytes as u32)
        .ok_or_else(|| SIZES.into())
}

/// A number of bytes for people, rounded down: `64 MiB`, `4.5 MiB`. `20 kB` would be lying about 20,480.
pub fn show_bytes(bytes: u64) -> String {
    let (shift, unit) = match bytes {
        0..0x400 => return counted(bytes, "byte"),
        0x400..0x10_0000 => (10, "KiB"),
        0x10_0000..0x4000_0000 => (20, "MiB"),
        _ => (30, "GiB"),
    };
    let whole = bytes >> shift;
    match ((bytes & ((1 << shift) - 1)) * 10) >> shift {
        // Of ten and more, a tenth says little; but 1.9 GiB are not 1.
        tenths @ 1.. if whole < 10 => format!("{whole}.{tenths} {unit}"),
        _ => format!("{} {unit}", show_count(whole)),
    }
}

/// A number of things, of which `thing` is one: `1 flow`, `1,234 flows`, `2 entries`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {}", show_count(number), plural(number, thing))
}

/// What so many things are called, without their number.
pub fn plural(number: u64, thing: &str) -> Cow<'_, str> {
    let before_y = thing.strip_suffix('y');
    match before_y {
        _ if number == 1 => Cow::Borrowed(thing),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => Cow::Owned(format!("{stem}ies")),
        _ if ["s", "x", "ch", "sh"]
            .iter()
            .any(|end| thing.ends_with(end)) =>
        {
            Cow::Owned(format!("{thing}es"))
        }
        _ => Cow::Owned(format!("{thing}s")),
    }
}

/// The word that goes with a number: `agree(number, "was", "were")`.
pub const fn agree<'a>(number: u64, one: &'a str, several: &'a str) -> &'a str {
    if number == 1 { one } else { several }
}

/// A number with thousands separated: `1,234,567`.
pub fn show_count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("20000"), Ok(20_000));
        assert_eq!(parse_bytes("64M"), Ok(64 << 20));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        for wrong in ["", "M", "0", "2G", "-1", "1.5M", "12 apples"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "0", "0s", "soon", "-5"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_that_clocks_can_not_be_added_to_are_refused() {
        for wrong in [
            "18446744073709551615",
            "18446744073709551615s",
            "101years",
            "1ns",
            "999us",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        let longest = parse_duration("100years").unwrap();
        assert!(std::time::Instant::now().checked_add(longest).is_some());
        assert_eq!(parse_duration("1ms"), Ok(Duration::from_millis(1)));
        assert!(parse_interval("99ms").is_err());
        assert_eq!(parse_interval("100ms"), Ok(Duration::from_millis(100)));
    }

    #[test]
    fn one_is_one_and_none_are_several() {
        let shown = [0, 1, 2, 1234].map(|number| counted(number, "new flow"));
        assert_eq!(
            shown,
            [
                "0 new flows",
                "1 new flow",
                "2 new flows",
                "1,234 new flows"
            ]
        );
        let two = ["entry", "day", "address", "switch"].map(|thing| counted(2, thing));
        assert_eq!(two, ["2 entries", "2 days", "2 addresses", "2 switches"]);
        let were = [0, 1, 2].map(|number| agree(number, "was", "were"));
        assert_eq!(were, ["were", "was", "were"]);
    }

    #[test]
    fn sizes_are_shown_as_people_say_them() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1,023 bytes"),
            (1 << 10, "1 KiB"),
            (64 << 10, "64 KiB"),
            (4096 << 10, "4 MiB"),
            (4608 << 10, "4.5 MiB"),
            ((1 << 20) - 1, "1,023 KiB"),
            (180 << 20, "180 MiB"),
            (1 << 30, "1 GiB"),
            (i32::MAX as u64, "1.9 GiB"),
            (9 << 40, "9,216 GiB"),
        ] {
            assert_eq!(show_bytes(bytes), shown);
        }
    }

    #[test]
    fn counts_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567].map(show_count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
