//! Times as people read them: of where they are, or in UTC.

use jiff::tz::TimeZone;

use crate::model::timestamp::Timestamp;

/// Which clock times are shown by.
#[derive(Clone, Debug)]
pub struct Clock(TimeZone);

impl Clock {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// That of this host: TZ, or /etc/localtime (tzset(3)). UTC if neither says anything that can be read.
    pub fn local() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// What the clock is called, for a heading: `UTC`, `Europe/Berlin`, or `local` where its file says no name.
    pub fn name(&self) -> &str {
        match self.0.iana_name() {
            Some("Etc/UTC" | "UCT" | "Etc/UCT" | "Zulu" | "Etc/Zulu") => "UTC",
            Some(name) => name,
            None if self.0 == TimeZone::UTC => "UTC",
            None => "local",
        }
    }

    /// A time to the second; `-` for none.
    pub fn show(&self, time: Option<Timestamp>) -> String {
        let shown = time.and_then(|time| {
            let us = i64::try_from(time.us()).ok()?;
            let time = jiff::Timestamp::from_microsecond(us).ok()?;
            let time = self.0.to_datetime(time);
            Some(time.strftime("%Y-%m-%d %H:%M:%S").to_string())
        });
        shown.unwrap_or_else(|| "-".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_zone() {
        let time = "2026-07-01T10:20:30.999999Z".parse::<Timestamp>().ok();
        assert_eq!(Clock::UTC.show(time), "2026-07-01 10:20:30");
        assert_eq!(Clock::UTC.name(), "UTC");
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(Clock(berlin).show(time), "2026-07-01 12:20:30");
        assert_eq!(Clock::UTC.show(None), "-");
    }
}
