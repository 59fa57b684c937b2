//! The organizers' sign-ins, the only record that this server keeps: one line with time, account and result, never an
//! address; one file a day, which this server itself deletes after at most seven days.
//!
//! [`Keeper`] decides which files have to go. It is sans-IO and knows two clocks: the wall clock, which dates files and
//! may jump, and the monotonic one, which does not.

mod day;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use self::day::{Day, Moment};
use crate::log::{self, Entry};

/// Nothing is kept for longer, whatever the configuration says.
pub(crate) const DAYS_MAX: u64 = 7;

/// How often the directory is looked at: a wrong clock is noticed as soon.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Some 60,000 lines a day; who tries passwords all day fills no disk.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Failures leave room for the sign-ins that succeed.
const FAILURES_BYTES_MAX: u64 = FILE_BYTES_MAX / 2;

/// How an attempt to sign in ended. Only names of accounts that exist are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attempt<'a> {
    Succeeded { account: &'a str },
    WrongPassword { account: &'a str },
    UnknownAccount,
}

/// The files of one directory.
pub(crate) struct Journal {
    directory: PathBuf,
    keeper: Keeper,
    /// Said once, not at every attempt.
    is_failing: bool,
    lost: u64,
}

/// Until when each file may live.
struct Keeper {
    days: u64,
    /// By the monotonic clock, for the files that were seen while their date was possible.
    ends: BTreeMap<Day, Instant>,
}

impl Journal {
    /// Makes the directory if need be and deletes what is too old. `days` is 1 to [`DAYS_MAX`].
    pub(crate) fn open(
        directory: &Path,
        days: u64,
        wall: SystemTime,
        now: Instant,
    ) -> Result<Journal, String> {
        let why = |error: io::Error| {
            format!(
                "organizers.journal: the service's user cannot keep sign-ins in {}: {error}; name another directory, or \
                 set organizers.journal_days = 0 to keep none",
                directory.display()
            )
        };
        let made = DirBuilder::new().mode(0o700).create(directory);
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(why(error));
        }
        let keeper = Keeper { days: days.min(DAYS_MAX), ends: BTreeMap::new() };
        let mut journal = Journal { directory: directory.to_owned(), keeper, is_failing: false, lost: 0 };
        journal.delete_old(Moment::of(wall), now).map_err(why)?;
        journal.try_out(Moment::of(wall).day()).map_err(why)?;
        Ok(journal)
    }

    pub(crate) fn write(&mut self, wall: SystemTime, attempt: Attempt<'_>) {
        let result = self.append(Moment::of(wall), attempt);
        self.lost += u64::from(result.as_ref().is_ok_and(|written| !written) || result.is_err());
        self.note(result.map(|_| ()));
    }

    /// To be called every [`LOOK_EVERY`].
    pub(crate) fn on_timeout(&mut self, wall: SystemTime, now: Instant) {
        let result = self.delete_old(Moment::of(wall), now);
        self.note(result);
    }

    /// Lines that were not written: the day's file was full, or the disk refused.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// No line is older than this; `None` when there is none.
    pub(crate) fn oldest_line(&self, wall: SystemTime) -> Option<Duration> {
        let oldest = self.present().ok()?.into_iter().min()?;
        Some(Moment::of(wall).since(oldest))
    }

    fn append(&self, at: Moment, attempt: Attempt<'_>) -> io::Result<bool> {
        let mut file = self.file(at.day())?;
        let (max, account, result) = match attempt {
            Attempt::Succeeded { account } => (FILE_BYTES_MAX, account, "ok"),
            Attempt::WrongPassword { account } => (FAILURES_BYTES_MAX, account, "wrong-password"),
            Attempt::UnknownAccount => (FAILURES_BYTES_MAX, "-", "unknown-account"),
        };
        if file.metadata()?.len() >= max {
            return Ok(false);
        }
        // One write, so that no line is half there.
        file.write_all(format!("{at} account={account} result={result}\n").as_bytes())?;
        Ok(true)
    }

    fn file(&self, day: Day) -> io::Result<fs::File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.directory.join(day.file_name()))
    }

    /// Whether today's file could be written; one that was not there is not left behind.
    fn try_out(&self, day: Day) -> io::Result<()> {
        let is_empty = self.file(day)?.metadata()?.len() == 0;
        if is_empty { fs::remove_file(self.directory.join(day.file_name())) } else { Ok(()) }
    }

    fn delete_old(&mut self, at: Moment, now: Instant) -> io::Result<()> {
        let present = self.present()?;
        let doomed = self.keeper.doomed(at, now, &present).into_iter();
        // One that cannot be deleted keeps no other.
        let failures: Vec<io::Error> = doomed
            .filter_map(|day| fs::remove_file(self.directory.join(day.file_name())).err())
            .filter(|error| error.kind() != io::ErrorKind::NotFound)
            .collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// The days that have a file. Other files in the directory are not ours.
    fn present(&self) -> io::Result<Vec<Day>> {
        let names =
            fs::read_dir(&self.directory)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Day::of_file(&name)).collect())
    }

    fn note(&mut self, result: io::Result<()>) {
        if let (Err(why), false) = (&result, self.is_failing) {
            log::write(&Entry::JournalFails { why });
        }
        self.is_failing = result.is_err();
    }
}

impl Keeper {
    /// The files whose time is over: by their date, or, however the wall clock jumps meanwhile, by the time that was left
    /// when they were first seen. A date to come is of a clock that was wrong; nobody knows how old such a file is.
    fn doomed(&mut self, at: Moment, now: Instant, present: &[Day]) -> Vec<Day> {
        self.ends.retain(|day, _| present.contains(day));
        let (today, days) = (at.day(), self.days);
        let is_over = |day: &Day| {
            let end = self.ends.get(day).copied();
            let over = day.plus(days) <= today || end.map_or(*day > today, |end| end <= now);
            if !over && end.is_none() {
                self.ends.insert(*day, now + at.until(day.plus(days)));
            }
            over
        };
        present.iter().copied().filter(is_over).collect()
    }
}

#[cfg(test)]
mod tests;
