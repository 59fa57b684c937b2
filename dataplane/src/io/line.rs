//! One direction of a bad line and the words that describe it, the same for the simulated network and for the proxy
//! `saal-impair`. Pure: the moment and the seed come in, the moment of arrival goes out.
//!
//! ```text
//! 0s rate=10M queue=250ms delay=20ms loss=1%; 20s rate=800k; 40s rate=10M
//!
//! datagram ─▶ loss ─▶ queue ─▶ bottleneck ─▶ delay, jitter ─▶ arrival
//! ```

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What a line does to datagrams. Probabilities are 0 to 1; the default is a perfect line without delay.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Shape {
    /// Of the bottleneck; `None` is without limit.
    pub rate_bps: Option<u64>,
    pub queue: Queue,
    pub delay: Duration,
    /// Added to the delay, even between zero and this; datagrams keep their order all the same.
    pub jitter: Duration,
    pub loss: f64,
    pub burst: Option<Burst>,
    /// Such a datagram is held back by [`HELD_BACK`], so that later ones overtake it.
    pub reorder: f64,
    pub duplicate: f64,
}

/// What fits before the bottleneck; a datagram that comes when it is full is dropped.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Queue {
    /// Longest wait, as of a queue that its owner keeps short.
    Time(Duration),
    /// As of a router: when its rate falls, what waits in it waits longer.
    Bytes(usize),
}

/// Loss in bursts (Gilbert 1960): within a burst everything is lost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Burst {
    /// Of all datagrams, the share that is lost so.
    pub share: f64,
    /// Datagrams of a burst in the mean, at least one.
    pub length: f64,
}

/// Shapes over time, from the moment on at which the script is given to a line.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// In order of time; the first begins at zero.
    steps: Vec<(Duration, Shape)>,
}

/// How late a reordered datagram is.
pub const HELD_BACK: Duration = Duration::from_millis(20);

/// What happened so far, in datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub passed: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Did not fit into the queue.
    pub overflowed: u64,
}

/// How long one datagram waited before the bottleneck.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    pub sent: Instant,
    pub waited: Duration,
    pub bytes: usize,
}

/// When a datagram comes out, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub at: Instant,
    pub copies: usize,
}

/// What a line remembers between datagrams.
#[derive(Debug)]
pub struct Line {
    script: Script,
    since: Instant,
    random: Random,
    in_burst: bool,
    /// When the bottleneck has passed on everything that it has.
    free: Instant,
    /// What is in the queue: when it has passed, and its bytes.
    queued: VecDeque<(Instant, usize)>,
    /// When the last datagram in order arrives.
    tail: Instant,
    counts: Counts,
    waits: Vec<Wait>,
}

impl Default for Queue {
    /// A home router's.
    fn default() -> Queue {
        Queue::Time(Duration::from_millis(200))
    }
}

impl From<Shape> for Script {
    fn from(shape: Shape) -> Script {
        Script { steps: vec![(Duration::ZERO, shape)] }
    }
}

impl Script {
    /// The shape at a moment, and when the next one begins.
    fn at(&self, time: Duration) -> (&Shape, Option<Duration>) {
        let next = self.steps.partition_point(|(begins, _)| *begins <= time);
        // The first step begins at zero, so there is one.
        (&self.steps[next.max(1) - 1].1, self.steps.get(next).map(|(begins, _)| *begins))
    }
}

impl Line {
    pub fn new(script: Script, seed: u64, now: Instant) -> Line {
        Line {
            script,
            since: now,
            random: Random(seed),
            in_burst: false,
            free: now,
            queued: VecDeque::new(),
            tail: now,
            counts: Counts::default(),
            waits: Vec::new(),
        }
    }

    /// From `now` on another script; what is on its way arrives as it would have.
    pub fn set_script(&mut self, script: Script, now: Instant) {
        self.script = script;
        self.since = now;
    }

    /// A datagram enters the line. `None`: it gets lost.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Option<Arrival> {
        let shape = *self.script.at(now.saturating_duration_since(self.since)).0;
        // Every datagram draws the same count of numbers, so that one fault does not change where others strike.
        let [lost, burst, late, twice, jitter] = std::array::from_fn(|_| self.random.fraction());
        if self.is_in_burst(shape.burst, burst) || lost < shape.loss {
            self.counts.lost += 1;
            return None;
        }
        let Some(leaves) = self.pass_bottleneck(now, bytes, &shape) else {
            self.counts.overflowed += 1;
            return None;
        };
        let mut at = leaves + shape.delay + shape.jitter.mul_f64(jitter);
        if late < shape.reorder {
            at += HELD_BACK;
        } else {
            at = at.max(self.tail);
            self.tail = at;
        }
        let duplicated = twice < shape.duplicate;
        self.counts.passed += 1;
        self.counts.duplicated += u64::from(duplicated);
        Some(Arrival { at, copies: 1 + usize::from(duplicated) })
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Of each datagram that passed while the line had a bottleneck, since the last call.
    pub fn take_waits(&mut self) -> Vec<Wait> {
        std::mem::take(&mut self.waits)
    }

    fn is_in_burst(&mut self, burst: Option<Burst>, drawn: f64) -> bool {
        let Some(Burst { share, length }) = burst else {
            self.in_burst = false;
            return false;
        };
        let ends = 1.0 / length;
        self.in_burst = if self.in_burst {
            drawn >= ends
        } else {
            drawn < ends * share / (1.0 - share).max(f64::MIN_POSITIVE)
        };
        self.in_burst
    }

    /// When the datagram has passed; `None` when the queue is full.
    fn pass_bottleneck(&mut self, now: Instant, bytes: usize, shape: &Shape) -> Option<Instant> {
        while self.queued.pop_front_if(|(passed, _)| *passed <= now).is_some() {}
        let begins = self.free.max(now);
        let waited = begins.saturating_duration_since(now);
        if shape.rate_bps.is_some() {
            let is_full = match shape.queue {
                Queue::Time(longest) => waited > longest,
                Queue::Bytes(most) => {
                    waited > Duration::ZERO
                        && self.queued.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes > most
                }
            };
            if is_full {
                return None;
            }
            self.waits.push(Wait { sent: now, waited, bytes });
        }
        self.free = self.passed(begins, bytes);
        self.queued.push_back((self.free, bytes));
        Some(self.free)
    }

    /// When the bottleneck is done with so many bytes that it begins with at `begins`, however its rate changes meanwhile.
    fn passed(&self, begins: Instant, bytes: usize) -> Instant {
        let mut bits = bytes as f64 * 8.0;
        let mut time = begins.saturating_duration_since(self.since);
        loop {
            let (shape, until) = self.script.at(time);
            let Some(rate_bps) = shape.rate_bps else { break };
            let takes = Duration::from_secs_f64(bits / rate_bps as f64);
            match until {
                Some(until) if time + takes > until => {
                    bits -= (until - time).as_secs_f64() * rate_bps as f64;
                    time = until;
                }
                Some(_) | None => {
                    time += takes;
                    break;
                }
            }
        }
        begins.max(self.since + time)
    }
}

/// SplitMix64: small, and the same on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even in 0 to 1, 1 excluded.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Steps apart by `;` or by lines, each with the second at which it begins; what a step does not name stays as before.
/// `#` begins a comment.
impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Script, String> {
        let mut steps: Vec<(Duration, Shape)> = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            for step in line.split(';') {
                let mut words = step.split_whitespace().peekable();
                let Some(first) = words.peek() else { continue };
                let (before, mut shape) =
                    steps.last().map_or((None, Shape::default()), |(at, s)| (Some(*at), *s));
                let at = if first.contains('=') {
                    Duration::ZERO
                } else {
                    let at = duration(first)?;
                    words.next();
                    at
                };
                match before {
                    Some(before) if at <= before => {
                        return Err(format!("\"{}\" begins no later than the step before it", step.trim()));
                    }
                    None if at > Duration::ZERO => steps.push((Duration::ZERO, Shape::default())),
                    Some(_) | None => {}
                }
                for word in words {
                    shape.set(word)?;
                }
                steps.push((at, shape));
            }
        }
        if steps.is_empty() {
            steps.push((Duration::ZERO, Shape::default()));
        }
        Ok(Script { steps })
    }
}

impl Shape {
    fn set(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("\"{word}\" is no key=value"))?;
        match key {
            "rate" => self.rate_bps = if value == "none" { None } else { Some(rate(value)?) },
            "queue" if value.ends_with('B') => {
                let bytes = scaled(value.trim_end_matches('B'));
                self.queue = Queue::Bytes(
                    bytes.ok_or_else(|| format!("\"{value}\" is no size such as 64kB"))? as usize,
                );
            }
            "queue" => self.queue = Queue::Time(duration(value)?),
            "delay" => self.delay = duration(value)?,
            "jitter" => self.jitter = duration(value)?,
            "loss" => self.loss = share(value)?,
            "burst" => self.burst = burst(value)?,
            "reorder" => self.reorder = share(value)?,
            "duplicate" => self.duplicate = share(value)?,
            _ => {
                const KEYS: &str = "rate, queue, delay, jitter, loss, burst, reorder, duplicate";
                return Err(format!("\"{key}\" is none of {KEYS}"));
            }
        }
        Ok(())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let number = |unit: &str| text.strip_suffix(unit)?.parse::<f64>().ok();
    let seconds = number("ms").map(|ms| ms / 1000.0).or_else(|| number("s"));
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("\"{text}\" is no time such as 20ms or 1.5s"))
}

fn rate(text: &str) -> Result<u64, String> {
    let bps = scaled(text).filter(|bps| *bps >= 1.0);
    Ok(bps.ok_or_else(|| format!("\"{text}\" is no rate such as 800k or 5M; a dead line is loss=100%"))?
        as u64)
}

/// A number with `k` or `M` behind it, or nothing.
fn scaled(text: &str) -> Option<f64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    digits.parse::<f64>().ok().map(|number| number * factor).filter(|number| (0.0..1e12).contains(number))
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok());
    let share = percent.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent / 100.0);
    share.ok_or_else(|| format!("\"{text}\" is no share such as 2% or 0.1%"))
}

/// `2%x8`: in all 2 % in bursts of 8; `none`.
fn burst(text: &str) -> Result<Option<Burst>, String> {
    if text == "none" {
        return Ok(None);
    }
    let wrong = || format!("\"{text}\" is no burst such as 2%x8 (2 % lost, 8 at a time)");
    let (lost, length) = text.split_once('x').ok_or_else(wrong)?;
    let length = length.parse().ok().filter(|length| (1.0..1e6).contains(length)).ok_or_else(wrong)?;
    Ok(Some(Burst { share: share(lost)?, length }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn script(text: &str) -> Script {
        text.parse().unwrap()
    }

    /// What becomes of datagrams of 1000 bytes, one every millisecond: when each came, since the first was sent.
    fn fates(text: &str, seed: u64, count: u32) -> (Vec<Option<Duration>>, Line) {
        let start = Instant::now();
        let mut line = Line::new(script(text), seed, start);
        let fates = (0..count).map(|n| line.pass(start + n * MS, 1000).map(|arrival| arrival.at - start));
        (fates.collect(), line)
    }

    #[test]
    fn a_script_is_read_step_by_step_and_each_step_changes_only_what_it_names() {
        let read = script(
            "rate=10M queue=250ms delay=20ms jitter=1.5ms\n20s rate=800k queue=64kB # rush hour\n40s loss=2% burst=1%x8; 50s rate=none reorder=0.5% duplicate=100% burst=none",
        );
        let first = Shape {
            rate_bps: Some(10_000_000),
            queue: Queue::Time(250 * MS),
            delay: 20 * MS,
            jitter: Duration::from_micros(1500),
            ..Shape::default()
        };
        let second = Shape { rate_bps: Some(800_000), queue: Queue::Bytes(64_000), ..first };
        let burst = Some(Burst { share: 0.01, length: 8.0 });
        let third = Shape { loss: 0.02, burst, ..second };
        let last = Shape { rate_bps: None, reorder: 0.005, duplicate: 1.0, burst: None, ..third };
        let at = Duration::from_secs;
        assert_eq!(read.steps, [(at(0), first), (at(20), second), (at(40), third), (at(50), last)]);
        assert_eq!(script(""), Script::from(Shape::default()));
        assert_eq!(script("5s loss=1%").steps[0], (at(0), Shape::default()));
    }

    #[test]
    fn what_is_no_script_is_refused_with_the_word_that_is_wrong() {
        for (text, wrong) in [
            ("rate=fast", "fast"),
            ("rate=0", "loss=100%"),
            ("queue=-3ms", "-3ms"),
            ("loss=2", "\"2\""),
            ("loss=101%", "101%"),
            ("burst=2%", "2%x8"),
            ("speed=2", "speed"),
            ("delay", "delay"),
            ("5s loss=1%; 5s loss=2%", "no later"),
            ("5s; loss=2%", "no later"),
            ("queue=xB", "64kB"),
        ] {
            let error = text.parse::<Script>().expect_err(text);
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    #[test]
    fn a_perfect_line_passes_everything_at_once() {
        let (fates, line) = fates("", 1, 10);
        assert!(fates.iter().enumerate().all(|(n, at)| *at == Some(n as u32 * MS)));
        assert_eq!(line.counts(), Counts { passed: 10, ..Counts::default() });
    }

    #[test]
    fn the_same_seed_loses_the_same_datagrams_and_about_the_share_asked_for() {
        let lost = |seed| fates("loss=10%", seed, 10_000).0.iter().map(Option::is_none).collect::<Vec<_>>();
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
        let count = lost(7).iter().filter(|lost| **lost).count();
        assert!((900..1100).contains(&count), "{count}");
    }

    #[test]
    fn bursts_lose_their_share_and_are_as_long_as_asked() {
        let (fates, _) = fates("burst=5%x8", 3, 100_000);
        let lost = fates.iter().filter(|at| at.is_none()).count();
        let bursts = fates.windows(2).filter(|pair| pair[0].is_some() && pair[1].is_none()).count();
        assert!((4_000..6_000).contains(&lost), "{lost} of 100000 lost");
        assert!((7..=9).contains(&(lost / bursts)), "{lost} lost in {bursts} bursts");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let jittered = fates("delay=20ms jitter=10ms", 3, 1000).0;
        assert!(jittered.is_sorted() && jittered.iter().all(|at| at.unwrap() >= 20 * MS));
        assert!(!fates("reorder=2%", 3, 1000).0.is_sorted());
    }

    #[test]
    fn duplicates_arrive_twice() {
        let start = Instant::now();
        let mut line = Line::new(script("duplicate=100%"), 1, start);
        assert_eq!(line.pass(start, 100), Some(Arrival { at: start, copies: 2 }));
    }

    #[test]
    fn a_bottleneck_passes_its_rate_and_drops_what_would_wait_too_long() {
        // 8 Mbit/s offered for a second.
        let (fates, mut line) = fates("rate=800k queue=100ms", 1, 1000);
        let passed: Vec<_> =
            fates.iter().enumerate().filter_map(|(n, at)| Some((n as u32, (*at)?))).collect();
        assert!((100..=112).contains(&passed.len()), "{}", passed.len());
        assert!(passed.iter().all(|(n, at)| *at <= *n * MS + 111 * MS));
        assert_eq!(line.counts().overflowed, 1000 - passed.len() as u64);
        let waits = line.take_waits();
        assert_eq!(waits.len(), passed.len());
        assert!(
            waits.iter().all(|wait| wait.waited <= 100 * MS)
                && waits.iter().any(|wait| wait.waited > 90 * MS)
        );
    }

    #[test]
    fn a_queue_of_bytes_holds_so_many() {
        let start = Instant::now();
        let mut line = Line::new(script("rate=8k queue=3kB"), 1, start);
        // One second each; the first is being sent while the others wait.
        let came: Vec<_> = (0..5).map(|_| line.pass(start, 1000).map(|a| (a.at - start).as_secs())).collect();
        assert_eq!(came, [Some(1), Some(2), Some(3), None, None]);
    }

    #[test]
    fn what_waits_in_a_router_waits_longer_when_its_rate_falls() {
        let start = Instant::now();
        let mut line = Line::new(script("rate=80k queue=64kB; 1s rate=8k"), 1, start);
        let mut came = || (line.pass(start, 1000).unwrap().at - start).as_millis();
        assert_eq!([came(), came()], [100, 200]);
        let tenth = (0..8).map(|_| came()).last();
        assert_eq!(tenth, Some(1000));
        assert_eq!(came(), 2000, "a tenth of the rate");
        line.set_script(script("rate=80k"), start + Duration::from_secs(1));
        assert_eq!(
            line.pass(start + Duration::from_secs(2), 1000).unwrap().at - start,
            Duration::from_millis(2100)
        );
    }
}
