//! Days that come and go, clocks that jump, files that fill up.

use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// A moment of some day's afternoon.
fn afternoon(day: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * day as u32 + Duration::from_secs(15 * 3600)
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("saal-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Directory(path)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// As if it had been written that day.
    fn write(&self, day: u64) {
        let path = self.0.join(Moment::of(afternoon(day)).day().file_name());
        fs::write(&path, "x\n").unwrap();
        self.mark(day, afternoon(day));
    }

    fn mark(&self, day: u64, mark: SystemTime) {
        let path = self.0.join(Moment::of(afternoon(day)).day().file_name());
        fs::File::options().write(true).open(path).unwrap().set_modified(mark).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_line_has_time_account_and_result_and_nothing_else() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("lines");
    let mut journal = Journal::open(&directory.0, 7, afternoon(20_000), Instant::now()).unwrap();
    assert_eq!(directory.names(), [""; 0], "nobody has signed in yet");
    for attempt in [
        Attempt::Succeeded { account: "anna" },
        Attempt::WrongPassword { account: "anna" },
        Attempt::UnknownAccount,
    ] {
        journal.write(afternoon(20_000), attempt);
    }
    let names = directory.names();
    let [name] = &names[..] else { panic!("{names:?}") };
    assert_eq!(name, "sign-ins-2024-10-04.log");
    let path = directory.0.join(name);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "2024-10-04T15:00:00Z account=anna result=ok\n\
         2024-10-04T15:00:00Z account=anna result=wrong-password\n\
         2024-10-04T15:00:00Z account=- result=unknown-account\n"
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(directory.0.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(journal.lost(), 0);
    assert_eq!(
        journal.oldest_line(afternoon(20_001), Instant::now()),
        Some(Duration::from_secs((24 + 15) * 3600))
    );
}

#[test]
fn guessing_fills_no_disk_and_hides_no_sign_in() {
    let directory = Directory::new("full");
    let mut journal = Journal::open(&directory.0, 7, afternoon(20_000), Instant::now()).unwrap();
    journal.write(afternoon(20_000), Attempt::UnknownAccount);
    let path = directory.0.join(&directory.names()[0]);
    fs::File::options().write(true).open(&path).unwrap().set_len(FAILURES_BYTES_MAX).unwrap();
    journal.write(afternoon(20_000), Attempt::UnknownAccount);
    assert_eq!((path.metadata().unwrap().len(), journal.lost()), (FAILURES_BYTES_MAX, 1));
    journal.write(afternoon(20_000), Attempt::Succeeded { account: "anna" });
    assert!(path.metadata().unwrap().len() > FAILURES_BYTES_MAX);
    fs::File::options().write(true).open(&path).unwrap().set_len(FILE_BYTES_MAX).unwrap();
    journal.write(afternoon(20_000), Attempt::Succeeded { account: "anna" });
    assert_eq!((path.metadata().unwrap().len(), journal.lost()), (FILE_BYTES_MAX, 2));
}

#[test]
fn old_files_go_at_the_start_and_when_idle_and_what_is_not_ours_stays() {
    let directory = Directory::new("old");
    fs::create_dir(&directory.0).unwrap();
    (19_990..=20_002).for_each(|day| directory.write(day));
    (20_001..=20_002).for_each(|day| directory.mark(day, afternoon(20_000)));
    fs::write(directory.0.join("notes.txt"), "").unwrap();
    let now = Instant::now();
    let mut journal = Journal::open(&directory.0, 7, afternoon(20_000), now).unwrap();
    let days =
        |directory: &Directory| directory.names().iter().filter_map(|n| Day::of_file(n)).collect::<Vec<_>>();
    let range = |days: std::ops::RangeInclusive<u64>| {
        days.map(|day| Moment::of(afternoon(day)).day()).collect::<Vec<_>>()
    };
    assert_eq!(days(&directory), range(19_994..=20_000), "seven days, and none of a day to come");
    journal.on_timeout(afternoon(20_001), now + DAY);
    assert_eq!(days(&directory), range(19_995..=20_000), "nobody has signed in, and a day has passed");
    // The clock jumps forward by a year: so old are they by the only clock that dates them.
    journal.on_timeout(afternoon(20_366), now + DAY);
    assert_eq!(directory.names(), ["notes.txt"]);
}

#[test]
fn a_clock_that_is_put_back_gives_no_file_a_longer_life_and_takes_none() {
    let directory = Directory::new("back");
    let now = Instant::now();
    let mut journal = Journal::open(&directory.0, 7, afternoon(20_000), now).unwrap();
    journal.write(afternoon(20_000), Attempt::UnknownAccount);
    journal.on_timeout(afternoon(20_000), now);
    journal.on_timeout(afternoon(19_000), now + LOOK_EVERY);
    assert_eq!(directory.names().len(), 1, "its time is known though its date is to come");
    journal.on_timeout(afternoon(19_006), now + DAY * 6);
    assert_eq!(directory.names().len(), 1);
    journal.on_timeout(afternoon(19_007), now + DAY * 7);
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn a_restart_after_the_clock_was_put_back_makes_no_file_younger() {
    let directory = Directory::new("restart");
    fs::create_dir(&directory.0).unwrap();
    (19_996..=20_000).for_each(|day| directory.write(day));
    let now = Instant::now();
    let mut journal = Journal::open(&directory.0, 7, afternoon(20_001), now).unwrap();
    // The first ends in 33 hours, whatever the clock says; each of the others a day after the one before.
    for (wall, hours, files) in [
        (19_999, 0, 5),
        (20_000, 24, 5),
        (19_996, 33, 4),
        (19_990, 57, 3),
        (19_991, 81, 2),
        (19_992, 105, 1),
        (19_993, 129, 0),
    ] {
        let later = now + Duration::from_secs(hours * 3600);
        journal.on_timeout(afternoon(wall), later);
        assert_eq!(directory.names().len(), files, "after {hours} hours");
        journal = Journal::open(&directory.0, 7, afternoon(wall), later).unwrap();
        assert_eq!(directory.names().len(), files, "after {hours} hours and a restart");
    }
    // Nobody knows how old a file of a day to come is that was never seen on its day.
    directory.write(20_000);
    directory.mark(20_000, afternoon(19_993));
    Journal::open(&directory.0, 7, afternoon(19_993), now).unwrap();
    assert_eq!(directory.names(), [""; 0]);
}

#[test]
fn an_account_is_told_its_own_lines_and_no_others() {
    let directory = Directory::new("own");
    let mut journal = Journal::open(&directory.0, 7, afternoon(20_000), Instant::now()).unwrap();
    for (day, attempt) in [
        (20_000, Attempt::WrongPassword { account: "anna" }),
        (20_000, Attempt::Succeeded { account: "anna-2" }),
        (20_000, Attempt::UnknownAccount),
        (20_001, Attempt::Succeeded { account: "anna" }),
    ] {
        journal.write(afternoon(day), attempt);
    }
    let line = |at: &str, result: &str| SignIn { at: at.to_owned(), result: result.to_owned() };
    let own = [line("2024-10-04T15:00:00Z", "wrong-password"), line("2024-10-05T15:00:00Z", "ok")];
    assert_eq!(journal.of_account("anna").unwrap(), own);
    assert_eq!(journal.of_account("bert").unwrap(), []);
}

#[test]
fn a_directory_that_cannot_be_written_is_said_at_the_start() {
    let error = Journal::open(Path::new("/proc/journal"), 7, afternoon(20_000), Instant::now()).err();
    let error = error.expect("nobody writes there");
    assert!(error.contains("organizers.journal") && error.contains("journal_days = 0"), "{error}");
}

proptest! {
    /// However the wall clock jumps while time goes on, and however often the server is restarted: no line is there seven
    /// days after it was written, by the monotonic clock, and none that is dated seven days ago.
    #[test]
    fn no_line_lives_longer_than_seven_days(
        days in 1..=DAYS_MAX,
        steps in prop::collection::vec((0..40_u64, -20..20_i64, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let began = Instant::now();
        let (mut elapsed, mut offset) = (0_u64, 20_000 * 24_i64);
        let mut keeper = Keeper { days, ends: BTreeMap::new() };
        // The first line of each file, by the monotonic clock in hours, and its mark.
        let mut files: BTreeMap<Day, (u64, Moment)> = BTreeMap::new();
        let look = |keeper: &mut Keeper, files: &mut BTreeMap<Day, (u64, Moment)>, at: Moment, elapsed: u64| {
            let now = began + Duration::from_secs(elapsed * 3600);
            let present: Vec<_> = files.iter().map(|(day, (_, mark))| Present { day: *day, mark: *mark }).collect();
            for day in keeper.doomed(at, now, &present) {
                files.remove(&day);
            }
            for (day, mark) in keeper.marks(at, now, &present) {
                files.entry(day).and_modify(|(_, old)| *old = mark);
            }
        };
        for (hours, jump, writes, restarts) in steps {
            let moment = |elapsed: u64| {
                Moment::of(SystemTime::UNIX_EPOCH + Duration::from_secs((offset + elapsed as i64) as u64 * 3600))
            };
            // While the server runs it looks far more often than once an hour.
            for hour in elapsed..=elapsed + hours {
                look(&mut keeper, &mut files, moment(hour), hour);
                for (day, (first, _)) in &files {
                    prop_assert!(hour - first <= days * 24, "{day} is {} hours old", hour - first);
                    prop_assert!(day.plus(days) > moment(hour).day());
                }
            }
            elapsed += hours;
            if writes {
                let at = moment(elapsed);
                files.entry(at.day()).and_modify(|(_, mark)| *mark = at).or_insert((elapsed, at));
                look(&mut keeper, &mut files, at, elapsed);
            }
            offset += jump;
            if restarts {
                keeper = Keeper { days, ends: BTreeMap::new() };
            }
        }
    }
}
