//! Points in time, as records have them: UTC, microseconds.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z, not 0. Shown as RFC 3339 with six decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(NonZeroU64);

/// The last microsecond that RFC 3339 can write (year 9999).
const MAX_US: u64 = 253_402_300_799_999_999;

/// The earlier of two times, of which either may be unknown. The later one is `max`, since `None` is less than any time.
pub fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl Timestamp {
    /// The time by the system's clock.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// A time in microseconds since the epoch; `None` for 0 and beyond the year 9999.
    pub fn from_us(us: u64) -> Option<Self> {
        if us > MAX_US {
            return None;
        }
        NonZeroU64::new(us).map(Self)
    }

    /// Microseconds since the epoch.
    pub const fn us(self) -> u64 {
        self.0.get()
    }
}

impl From<SystemTime> for Timestamp {
    /// Times that can't be written become the nearest that can.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let us = u64::try_from(since.as_micros()).unwrap_or(MAX_US);
        Self(NonZeroU64::new(us.clamp(1, MAX_US)).expect("at least 1"))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.us())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&humantime::format_rfc3339_micros((*self).into()), f)
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_rfc3339(text).map(Self::from).map_err(|_| {
            format!("{text:?} is no time: write for example 2026-01-31T12:00:00.000000Z")
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        let time = Timestamp::from_us(1_600_000_000_000_001).unwrap();
        assert_eq!(time.to_string(), "2020-09-13T12:26:40.000001Z");
        assert_eq!(time.to_string().parse(), Ok(time));
        assert_eq!(Timestamp::from_us(0), None);
        assert_eq!(
            Timestamp::from_us(MAX_US).unwrap().to_string(),
            "9999-12-31T23:59:59.999999Z"
        );
    }
}
