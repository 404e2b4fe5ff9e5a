//! Numbers with units, as they stand on a command line.

use std::time::Duration;

/// Parses a time: `90` and `90s` are seconds, `5m`, `1h30m`, `2d` what they say.
///
/// # Errors
///
/// What is wrong and which forms there are.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write for example 90, 60s, 5m or 1h30m"))?,
    };
    if duration.is_zero() {
        return Err("must be longer than 0".into());
    }
    Ok(duration)
}

/// Parses a number of bytes: `65536`, `512K`, `64M` or `64MiB`, `1G`; the letters are powers of 1024.
///
/// # Errors
///
/// What is wrong and which forms there are.
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
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A number with thousands separated: `1,234,567`.
#[must_use]
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
    fn counts_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567].map(show_count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
