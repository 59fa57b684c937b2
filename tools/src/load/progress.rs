//! What the terminal shows while a load runs: one line that is drawn over and over. Where nobody watches, in a log or a
//! pipe, plain lines: one for each step and one now and then.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use super::format;

const REDRAWN_EVERY: Duration = Duration::from_millis(100);
const LOGGED_EVERY: Duration = Duration::from_secs(15);
const BAR: usize = 10;

/// Where the run stands.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    pub scenario: &'a str,
    pub contestant: &'a str,
    /// From 1.
    pub step: usize,
    pub steps: usize,
    pub participants: usize,
    pub delivered_per_s: f64,
    pub loss: f64,
    /// `None` before the first packet.
    pub p99_us: Option<u64>,
    pub server_cpu_cores: Option<f64>,
    /// Of the whole run, 0 to 1.
    pub done: f64,
    pub left: Duration,
}

/// The display. Time comes in as an argument.
#[derive(Debug)]
pub struct Progress<W: Write> {
    out: W,
    live: bool,
    /// A line without its end stands on the terminal.
    drawn: bool,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    /// A change is worth a line in a log.
    step: (String, String, usize),
}

impl Progress<io::Stdout> {
    pub fn on_stdout() -> Progress<io::Stdout> {
        let out = io::stdout();
        let live = out.is_terminal();
        Progress::new(out, live)
    }
}

impl<W: Write> Progress<W> {
    /// `live` for a terminal that can be drawn over.
    pub fn new(out: W, live: bool) -> Progress<W> {
        Progress { out, live, drawn: false, last: None }
    }

    /// Shows `status`, unless the last one was shown just before.
    pub fn update(&mut self, now: Instant, status: &Status<'_>) -> io::Result<()> {
        let step = (status.scenario.to_owned(), status.contestant.to_owned(), status.step);
        let pause = if self.live { REDRAWN_EVERY } else { LOGGED_EVERY };
        let is_due = self.last.as_ref().is_none_or(|last| {
            now.saturating_duration_since(last.at) >= pause || (!self.live && last.step != step)
        });
        if !is_due {
            return Ok(());
        }
        self.last = Some(Last { at: now, step });
        let line = line(status);
        if self.live {
            // The line is cut at the edge of the terminal, whatever its width, for one that wraps cannot be drawn over.
            write!(self.out, "\r\x1b[?7l{line}\x1b[K\x1b[?7h")?;
            self.drawn = true;
        } else {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Takes the live line away and writes lines that stay.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.out, "{}", text.trim_end_matches('\n'))?;
        self.out.flush()
    }

    /// Takes the live line away.
    pub fn clear(&mut self) -> io::Result<()> {
        if self.drawn {
            self.drawn = false;
            write!(self.out, "\r\x1b[K")?;
        }
        self.out.flush()
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        // Nobody is left to be told of a terminal that is gone.
        let _ = self.clear();
    }
}

/// `status` in some 100 columns; what matters most stands first, for narrow terminals.
pub fn line(status: &Status<'_>) -> String {
    let p99 = status.p99_us.map_or_else(|| "–".to_owned(), format::latency);
    let cpu =
        status.server_cpu_cores.map_or_else(|| "–".to_owned(), |cores| format!("{:.0} %", cores * 100.0));
    format!(
        "{} {} {}/{}  {} people  {} pkt/s  loss {}  p99 {p99}  cpu {cpu}  {} {} left",
        format::plain(status.scenario),
        format::plain(status.contestant),
        status.step,
        status.steps,
        format::count(status.participants as u64),
        thousands(status.delivered_per_s),
        format::loss(status.loss),
        bar(status.done),
        format::clock(status.left),
    )
}

fn bar(done: f64) -> String {
    // NaN becomes 0.
    let full = (done.clamp(0.0, 1.0) * BAR as f64) as usize;
    "█".repeat(full) + &"░".repeat(BAR - full)
}

fn thousands(per_s: f64) -> String {
    if per_s < 10_000.0 { format!("{per_s:.0}") } else { format!("{}k", format::figure(per_s / 1e3)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status<'static> {
        Status {
            scenario: "lecture",
            contestant: "uring-trains",
            step: 3,
            steps: 8,
            participants: 201,
            delivered_per_s: 61_234.0,
            loss: 0.0,
            p99_us: Some(840),
            server_cpu_cores: Some(0.431),
            done: 0.35,
            left: Duration::from_secs(72),
        }
    }

    #[test]
    fn line_says_everything_in_100_columns() {
        let line = line(&status());
        assert_eq!(
            line,
            "lecture uring-trains 3/8  201 people  61.2k pkt/s  loss 0 %  p99 0.84 ms  cpu 43 %  ███░░░░░░░ 1:12 left"
        );
        assert!(line.chars().count() <= 105);
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_a_name_cannot_steer_the_terminal() {
        let line = line(&Status {
            scenario: "\x1b]0;x\x07",
            p99_us: None,
            server_cpu_cores: None,
            done: f64::NAN,
            ..status()
        });
        assert!(line.contains("p99 –  cpu –  ░░░░░░░░░░"), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn terminal_is_drawn_at_most_ten_times_a_second_and_left_clean() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, true);
        let start = Instant::now();
        for ms in 0..1000 {
            let status = Status { step: 1 + ms as usize / 10, ..status() };
            progress.update(start + Duration::from_millis(ms), &status).expect("a Vec takes everything");
        }
        progress.print("step 1 done\n").expect("a Vec takes everything");
        drop(progress);
        let text = String::from_utf8(out).expect("lines are UTF-8");
        assert_eq!(text.matches("lecture").count(), 10);
        assert!(text.ends_with("left\x1b[K\x1b[?7h\r\x1b[Kstep 1 done\n"), "{text:?}");
    }

    #[test]
    fn log_gets_a_line_for_each_step_and_one_now_and_then() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, false);
        let start = Instant::now();
        for s in 0..40 {
            let status = Status { step: if s < 20 { 1 } else { 2 }, ..status() };
            progress.update(start + Duration::from_secs(s), &status).expect("a Vec takes everything");
        }
        drop(progress);
        let text = String::from_utf8(out).expect("lines are UTF-8");
        // At 0, 15, 20 (the step) and 35 seconds.
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\x1b'));
    }
}
