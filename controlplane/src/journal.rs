//! The organizers' sign-ins, the only record that this server keeps: one line with time, account and result, never an
//! address; one file a day, which this server itself deletes after at most seven days.
//!
//! [`Keeper`] decides which files have to go. It is sans-IO and knows two clocks: the wall clock, which dates files and
//! may jump, and the monotonic one, which does not. What it knows of a file's age outlives a restart as the file's time of
//! modification, so that a clock that is put back makes nothing younger.

mod day;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use self::day::{Day, Moment};
use crate::log::{self, Entry};

/// Nothing is kept for longer, whatever the configuration says.
pub(crate) const DAYS_MAX: u64 = 7;

/// How often the directory is looked at: a wrong clock is noticed as soon.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How far the mark of a file's age may lag behind.
const MARK_EVERY: Duration = Duration::from_secs(300);

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

/// One line about an account, as it stands in the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct SignIn {
    at: String,
    result: String,
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
    /// By the monotonic clock, for the files that were there at the last look.
    ends: BTreeMap<Day, Instant>,
}

/// A file of the journal.
#[derive(Clone, Copy)]
struct Present {
    day: Day,
    /// Its time of modification: so late it has been at least.
    mark: Moment,
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
    pub(crate) fn oldest_line(&self, wall: SystemTime, now: Instant) -> Option<Duration> {
        let present = self.present().ok()?;
        present.iter().map(|file| self.keeper.latest(Moment::of(wall), now, file).since(file.day)).max()
    }

    /// What is held of one account, the oldest first.
    pub(crate) fn of_account(&self, account: &str) -> io::Result<Vec<SignIn>> {
        let mut days: Vec<Day> = self.present()?.iter().map(|file| file.day).collect();
        days.sort();
        let mut held = Vec::new();
        for day in days {
            for line in BufReader::new(fs::File::open(self.directory.join(day.file_name()))?).lines() {
                held.extend(SignIn::of_line(&line?, account));
            }
        }
        Ok(held)
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
        file.set_modified(at.wall())?;
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
        let path = |day: Day| self.directory.join(day.file_name());
        let deleted = self.keeper.doomed(at, now, &present).into_iter().map(|day| fs::remove_file(path(day)));
        // One that cannot be deleted keeps no other.
        let mut failures: Vec<io::Error> = deleted.filter_map(Result::err).collect();
        for (day, mark) in self.keeper.marks(at, now, &present) {
            let marked = OpenOptions::new()
                .append(true)
                .open(path(day))
                .and_then(|file| file.set_modified(mark.wall()));
            failures.extend(marked.err());
        }
        failures.into_iter().find(|error| error.kind() != io::ErrorKind::NotFound).map_or(Ok(()), Err)
    }

    /// Other files in the directory are not ours.
    fn present(&self) -> io::Result<Vec<Present>> {
        let present = fs::read_dir(&self.directory)?.filter_map(|entry| {
            let entry = entry.ok()?;
            let day = Day::of_file(entry.file_name().to_str()?)?;
            Some(Present { day, mark: Moment::of(entry.metadata().ok()?.modified().ok()?) })
        });
        Ok(present.collect())
    }

    fn note(&mut self, result: io::Result<()>) {
        if let (Err(why), false) = (&result, self.is_failing) {
            log::write(&Entry::JournalFails { why });
        }
        self.is_failing = result.is_err();
    }
}

impl SignIn {
    fn of_line(line: &str, of: &str) -> Option<SignIn> {
        let mut words = line.split(' ');
        let (at, account, result) = (words.next()?, words.next()?, words.next()?);
        let is_theirs = account.strip_prefix("account=") == Some(of);
        is_theirs
            .then(|| SignIn { at: at.to_owned(), result: result.trim_start_matches("result=").to_owned() })
    }
}

impl Keeper {
    /// The files whose time is over: by their date, or, however the wall clock jumps meanwhile, by the time that was left
    /// when they were first seen. A date to come, without a mark of that day, is of a clock that was wrong; nobody knows how
    /// old such a file is.
    fn doomed(&mut self, at: Moment, now: Instant, present: &[Present]) -> Vec<Day> {
        self.ends.retain(|day, _| present.iter().any(|file| file.day == *day));
        let mut doomed = Vec::new();
        for &Present { day, mark } in present {
            let (over, latest) = (day.plus(self.days), at.max(mark));
            let end = *self.ends.entry(day).or_insert_with(|| now + latest.until(over));
            if over <= at.day() || end <= now || day > latest.day() {
                doomed.push(day);
            }
        }
        doomed
    }

    /// What the marks of the files that stay should be, of those that are not.
    fn marks(&self, at: Moment, now: Instant, present: &[Present]) -> Vec<(Day, Moment)> {
        let stays = |file: &&Present| self.ends.get(&file.day).is_some_and(|end| *end > now);
        let late = present.iter().filter(stays).filter_map(|file| {
            let latest = self.latest(at, now, file);
            (latest.after(file.mark) >= MARK_EVERY).then_some((file.day, latest))
        });
        late.collect()
    }

    /// How late it is for this file: by the wall clock, or by what has passed of its time if the clock was put back.
    fn latest(&self, at: Moment, now: Instant, file: &Present) -> Moment {
        let end = file.day.plus(self.days);
        let left = self.ends.get(&file.day).map(|over| over.saturating_duration_since(now));
        left.map_or(at, |left| at.max(end.begin().before(left)))
    }
}

#[cfg(test)]
mod tests;
