//! When a worker waits so that packets leave together: the more of its core is in use, the longer. Pure; time comes in.
//!
//! ```text
//! busy share   0 %      5 %                  15 %                              100 %
//! tick         0 ───────0 ──── rising ─────── longest ──────────────────────────
//! ```
//!
//! While packets come in every tick, the worker sleeps from tick to tick and is not woken by each of them; after a tick
//! that brought none, the next packet wakes it and leaves at once.

use std::time::{Duration, Instant};

use crate::config::Limits;

#[derive(Debug)]
pub(crate) struct Pace {
    tick_max: Duration,
    padding_max_percent: u8,
    tick: Duration,
    padding_percent: u8,
    /// The share itself, of the last interval.
    percent: u32,
    /// Since when the busy share is measured, and how busy the worker had been by then in all.
    since: (Instant, Duration),
    /// When the last packets left.
    left: Option<Instant>,
    /// The last rest ended in a departure.
    in_step: bool,
    rested: bool,
}

/// How often the busy share is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// Percent of a core in use below which nothing waits, and above which packets wait for the whole tick.
const TICK_FROM: u32 = 5;
const TICK_FULL: u32 = 15;
/// The same for padding, which costs the receivers something.
const PADDING_FROM: u32 = 50;
const PADDING_FULL: u32 = 90;

impl Pace {
    pub(crate) fn new(now: Instant, limits: &Limits) -> Pace {
        // Without trains there is nothing to wait for and nothing to even out.
        let (tick_max, padding_max_percent) = match limits.segments_max {
            1 => (Duration::ZERO, 0),
            _ => (limits.tick_max, limits.padding_max_percent),
        };
        Pace {
            tick_max,
            padding_max_percent,
            tick: Duration::ZERO,
            padding_percent: padding_max_percent.min(1),
            percent: 0,
            since: (now, Duration::ZERO),
            left: None,
            in_step: false,
            rested: false,
        }
    }

    /// Whether [`Pace::on_busy`] has something to say.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since.0) >= INTERVAL
    }

    /// `busy`: processor time of the worker's thread since it started.
    pub(crate) fn on_busy(&mut self, now: Instant, busy: Duration) {
        let (since, before) = self.since;
        let passed = now.saturating_duration_since(since).as_micros().max(1);
        let percent = (busy.saturating_sub(before).as_micros() * 100 / passed) as u32;
        self.percent = percent;
        self.since = (now, busy);
        let share = |from, full| (percent.clamp(from, full) - from, full - from);
        let (part, whole) = share(TICK_FROM, TICK_FULL);
        self.tick = self.tick_max * part / whole;
        // One percent of padding is always worth a train; more when the core has more use for its time.
        let least = self.padding_max_percent.min(1);
        let (part, whole) = share(PADDING_FROM, PADDING_FULL);
        self.padding_percent = least + (u32::from(self.padding_max_percent - least) * part / whole) as u8;
    }

    /// What has arrived leaves.
    pub(crate) fn on_departure(&mut self, now: Instant) {
        self.left = Some(now);
        self.in_step = self.rested;
    }

    /// How long the worker sleeps whatever arrives, until packets that wait leave at `due`; `None` when it shall be woken.
    pub(crate) fn rest(&mut self, now: Instant, due: Option<Instant>) -> Option<Duration> {
        let in_step = std::mem::take(&mut self.in_step);
        let next = self.left.map(|left| left + self.tick).filter(|next| *next > now);
        let until = match due {
            // A frame that began after a pause leaves as soon as it is complete.
            Some(due) => Some(due).filter(|_| in_step || next.is_some()),
            None => next.filter(|_| in_step),
        };
        let rest = until.and_then(|until| until.checked_duration_since(now)).filter(|rest| !rest.is_zero());
        self.rested = rest.is_some() && !self.tick.is_zero();
        rest.filter(|_| self.rested)
    }

    pub(crate) fn busy_percent(&self) -> u32 {
        self.percent
    }

    pub(crate) fn tick(&self) -> Duration {
        self.tick
    }

    pub(crate) fn padding_percent(&self) -> u8 {
        self.padding_percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    /// After one interval in which that share of the core was in use.
    fn pace(busy_percent: u32, limits: &Limits) -> (Pace, Instant) {
        let start = Instant::now();
        let mut pace = Pace::new(start, limits);
        let now = start + INTERVAL;
        assert!(!pace.is_due(now - TICK) && pace.is_due(now));
        pace.on_busy(now, INTERVAL * busy_percent / 100);
        (pace, now)
    }

    fn limits() -> Limits {
        Limits { tick_max: TICK, padding_max_percent: 5, ..Limits::default() }
    }

    #[test]
    fn nothing_waits_on_an_idle_core_and_everything_the_whole_tick_on_a_busy_one() {
        let tick = |busy_percent| pace(busy_percent, &limits()).0.tick();
        assert_eq!(tick(0), Duration::ZERO);
        assert_eq!(tick(TICK_FROM), Duration::ZERO);
        assert_eq!(tick((TICK_FROM + TICK_FULL) / 2), TICK / 2);
        assert_eq!(tick(TICK_FULL), TICK);
        assert_eq!(tick(100), TICK);
        let padding = |busy_percent| pace(busy_percent, &limits()).0.padding_percent();
        assert_eq!([0, 50, 70, 90, 100].map(padding), [1, 1, 3, 5, 5]);
    }

    #[test]
    fn without_trains_nothing_waits_and_nothing_is_padded() {
        let (mut pace, now) = pace(100, &Limits { segments_max: 1, ..limits() });
        assert_eq!((pace.tick(), pace.padding_percent()), (Duration::ZERO, 0));
        pace.on_departure(now);
        assert_eq!(pace.rest(now, Some(now + TICK)), None);
    }

    #[test]
    fn while_every_tick_brings_packets_the_worker_sleeps_from_tick_to_tick() {
        let (mut pace, mut now) = pace(50, &limits());
        // After a pause: the first packet wakes the worker and leaves at once.
        assert_eq!(pace.rest(now, None), None);
        pace.on_departure(now);
        assert_eq!(pace.rest(now, None), None, "one packet makes no rhythm");
        // The next one comes within the tick, and waits for its end.
        assert_eq!(pace.rest(now + TICK / 4, Some(now + TICK)), Some(TICK * 3 / 4));
        for _ in 0..3 {
            now += TICK;
            pace.on_departure(now);
            assert_eq!(pace.rest(now, None), Some(TICK));
        }
        // A tick that brought nothing.
        now += TICK;
        assert_eq!(pace.rest(now, None), None);
    }

    #[test]
    fn a_frame_that_begins_after_a_pause_is_awaited_packet_by_packet() {
        let (mut pace, now) = pace(50, &limits());
        pace.on_departure(now - 2 * TICK);
        assert_eq!(pace.rest(now, Some(now + TICK / 4)), None);
    }

    #[test]
    fn an_idle_core_is_always_woken() {
        let (mut pace, now) = pace(0, &limits());
        pace.on_departure(now);
        assert_eq!(pace.rest(now, Some(now + TICK / 4)), None);
    }
}
