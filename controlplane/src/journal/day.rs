//! Days and moments of the wall clock in UTC, as the journal writes them.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::date::{self, DAY_SECONDS};

/// Days since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Day(u64);

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Moment(u64);

/// `sign-ins-2026-01-31.log`
const PREFIX: &str = "sign-ins-";
const SUFFIX: &str = ".log";

impl Moment {
    /// A clock before 1970 is at its beginning.
    pub(super) fn of(wall: SystemTime) -> Moment {
        Moment(wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    pub(super) fn day(self) -> Day {
        Day(self.0 / DAY_SECONDS)
    }

    /// Until the day begins.
    pub(super) fn until(self, day: Day) -> Duration {
        Duration::from_secs((day.0 * DAY_SECONDS).saturating_sub(self.0))
    }

    /// Since the day began.
    pub(super) fn since(self, day: Day) -> Duration {
        self.after(day.begin())
    }

    pub(super) fn after(self, earlier: Moment) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    pub(super) fn before(self, by: Duration) -> Moment {
        Moment(self.0.saturating_sub(by.as_secs()))
    }

    pub(super) fn wall(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0 % DAY_SECONDS;
        write!(f, "{}T{:02}:{:02}:{:02}Z", self.day(), second / 3600, second / 60 % 60, second % 60)
    }
}

impl Day {
    pub(super) fn plus(self, days: u64) -> Day {
        Day(self.0 + days)
    }

    pub(super) fn begin(self) -> Moment {
        Moment(self.0 * DAY_SECONDS)
    }

    pub(super) fn file_name(self) -> String {
        format!("{PREFIX}{self}{SUFFIX}")
    }

    /// `None` for every name that [`Day::file_name`] does not give.
    pub(super) fn of_file(name: &str) -> Option<Day> {
        let date = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let mut numbers = date.splitn(3, '-').map(str::parse::<u64>);
        let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        let day = Day::from_civil(year, month, day)?;
        // The 31st of February is written otherwise.
        (day.file_name() == name).then_some(day)
    }

    /// Howard Hinnant's days_from_civil, for the years 1970 to 9999.
    fn from_civil(year: u64, month: u64, day: u64) -> Option<Day> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let year = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (year / 400, year % 400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        (era * 146_097 + of_era).checked_sub(719_468).map(Day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&date::day(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(Moment(seconds).to_string(), text);
        }
    }

    #[test]
    fn every_day_has_a_file_name_of_its_own_and_no_other_name_is_one() {
        let mut before = String::new();
        for day in (0..80_000).map(Day) {
            let name = day.file_name();
            assert_eq!(Day::of_file(&name), Some(day));
            assert!(name > before, "{name}");
            before = name;
        }
        for name in [
            "sign-ins-2026-02-30.log",
            "sign-ins-2026-2-03.log",
            "sign-ins-2026-02-03.log.gz",
            "sign-ins-+026-02-03.log",
            "sign-ins-1969-12-31.log",
            "sign-ins--1-2-3.log",
            "sign-ins-99999-01-01.log",
            "notes.txt",
            "",
        ] {
            assert_eq!(Day::of_file(name), None, "{name}");
        }
    }
}
