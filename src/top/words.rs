//! Words and short forms for a terminal.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::printable::printable;
use crate::model::timestamp::Timestamp;
use crate::model::units::counted;

/// So many characters of a name tell enough to stand behind an address.
const NAME_LEAST: usize = 12;
/// The heights of a curve's points.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How long before `now` a time was, in a few characters: `12s`, `5m`, `3h`, `9d`.
pub fn ago(time: Option<Timestamp>, now: Option<Timestamp>) -> String {
    let (Some(time), Some(now)) = (time, now) else {
        return "-".to_owned();
    };
    match now.us().saturating_sub(time.us()) / 1_000_000 {
        seconds @ 0..100 => format!("{seconds}s"),
        seconds @ 100..6_000 => format!("{}m", seconds / 60),
        seconds @ 6_000..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A time span as a clock shows it; days before it if there are some.
pub fn clock(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        days => format!("{} {clock}", counted(days, "day")),
    }
}

/// The last points of a curve as characters, as many as have room; the highest one is full.
pub fn curve<'a>(points: impl ExactSizeIterator<Item = &'a u64> + Clone, room: usize) -> String {
    let skipped = points.len().saturating_sub(room);
    let shown = points.skip(skipped);
    let most = shown.clone().copied().max().unwrap_or(0);
    let height = |point: u64| match point {
        0 => ' ',
        // Whatever is there is seen.
        point => HEIGHTS[(point * 8).div_ceil(most).clamp(1, 8) as usize - 1],
    };
    shown.map(|point| height(*point)).collect()
}

/// Points of a curve, so many together that all of them have room.
pub fn together(points: &VecDeque<u64>, room: usize) -> VecDeque<u64> {
    let count = points.len().max(1);
    let room = room.clamp(1, count);
    let mut sums = vec![0; room];
    for (at, point) in points.iter().enumerate() {
        sums[at * room / count] += point;
    }
    sums.into()
}

/// An address with its name, or the name alone if there is no room for both, in so many characters at most. Of what is longer
/// the beginning and the end stay, which tell networks and hosts apart.
pub fn host(address: IpAddr, name: Option<String>, room: usize) -> String {
    let address = address.to_string();
    let Some(name) = name else {
        return shortened(&address, room);
    };
    let name = printable(&name);
    match room.checked_sub(address.len() + 1) {
        Some(rest) if rest >= NAME_LEAST.min(name.chars().count()) => {
            format!("{address} {}", shortened(&name, rest))
        }
        _ => shortened(&name, room),
    }
}

/// Text in so many characters at most, without its middle if it is longer.
pub fn shortened(text: &str, room: usize) -> String {
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let kept = room.saturating_sub(1);
    let head: String = text.chars().take(kept - kept / 2).collect();
    let tail: String = text.chars().skip(count - kept / 2).collect();
    format!("{head}…{tail}")
}

/// A number in five characters at most.
pub fn short_count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_fits() {
        let time = |seconds: u64| Timestamp::from_us(1 + seconds * 1_000_000);
        let ages = [0, 99, 100, 5_999, 6_000, 172_799, 172_800, 5_000_000];
        let shown = ages.map(|age| ago(time(0), time(age)));
        assert_eq!(shown, ["0s", "99s", "1m", "99m", "1h", "47h", "2d", "57d"]);
        assert_eq!(ago(time(5), time(0)), "0s", "the clock was set back");
        assert_eq!(ago(None, time(5)), "-");
        assert_eq!(clock(Duration::from_secs(3_661)), "01:01:01");
        assert_eq!(clock(Duration::from_secs(2 * 86_400)), "2 days 00:00:00");
        assert_eq!(curve([0, 1, 4, 8].iter(), 10), " ▁▄█");
        assert_eq!(curve([9, 0, 1].iter(), 2), " █");
        assert_eq!(curve([].iter(), 2), "");
        assert_eq!(together(&[1, 2, 3, 4, 5].into(), 2), [6, 9]);
        assert_eq!(together(&[1, 2].into(), 9), [1, 2]);
        assert_eq!(together(&[].into(), 9), [0]);
        assert_eq!(shortened("2001:db8:1234::abcd:1", 11), "2001:…bcd:1");
        assert_eq!(shortened("10.0.0.1", 8), "10.0.0.1");
        assert_eq!(shortened("abc", 0), "…");
        let (short, long) = (
            "10.0.0.1".parse().unwrap(),
            "2001:db8::1234:5678".parse().unwrap(),
        );
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(host(short, None, 8), "10.0.0.1");
        assert_eq!(host(short, name("nas"), 12), "10.0.0.1 nas");
        assert_eq!(host(short, name("nas"), 11), "nas");
        assert_eq!(host(long, name("www.example.com"), 16), "www.example.com");
        assert_eq!(host(short, name("a\u{1b}[m"), 40), "10.0.0.1 a\\x1b[m");
        for number in [99_999, 100_000, 9_999_999, 123_456_789_012] {
            assert!(short_count(number).len() <= 5);
        }
    }
}
