//! Numbers with units, as they stand on a command line.

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
        _ => return Err("write for example 65536, 512K, 64M or 1G".into()),
    };
    // The kernel keeps buffer sizes in an int.
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|&bytes| (1..=i32::MAX as u64).contains(&bytes))
        .map(|bytes| bytes as u32)
        .ok_or_else(|| "write a size from 1 byte to 2047M".into())
}

/// A number of bytes for people: `64 MiB`, `20 kB` would be lying about 20,480.
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
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
    fn counts_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567].map(show_count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
