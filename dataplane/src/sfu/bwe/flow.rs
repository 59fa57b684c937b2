//! What the line has passed on since its queue was last the shortest: while a queue grows, that is what it carries, however
//! much or little is sent in the mean. Sent and arrived are told of the same packets, so that frames that come in bursts
//! cannot be taken for a line that is full.
//!
//! ```text
//! delay  │      ╱╲   ╱──  full: here arrives slower than it left
//!        │  ╱╲╱    ╲╱
//!        └─────────┴──┴─> arrival
//!             shortest  newest
//! ```

use std::ops::Range;

/// What arrives within this time is one point.
const POINT_US: i64 = 5_000;
/// Points kept: a third of a second in which something always arrives.
const POINTS: usize = 64;
/// A queue that was shortest longer ago has been there all the time.
const REACH_US: i64 = 400_000;
/// Delays that differ by no more are alike: the clock of a feedback, and the packets of a point.
const ALIKE_US: i64 = 5_000;
/// Within less time one frame is all that was seen.
const SPAN_US_MIN: i64 = 80_000;
/// A queue that was empty within this time is one that frames make, ten a second at the least, and that empties between them.
const STANDING_US: i64 = 150_000;
/// How long the shortest way that was seen is believed in at the least: paths change, and clocks drift.
const BASE_US: i64 = 5_000_000;
/// Less of what was sent than this arrives: the line is full.
const FULL: f64 = 0.9;

#[derive(Debug)]
pub(crate) struct Flow {
    points: [Point; POINTS],
    count: usize,
    base: Base,
}

/// The shortest delay of this span of time and of the one before it, and when it began.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    since_us: i64,
    shortest_us: Option<i64>,
    before_us: Option<i64>,
}

/// The last packet of those that arrived together, and the bytes of all.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    began_us: i64,
    sent_us: i64,
    arrived_us: i64,
    bytes: u64,
}

impl Flow {
    pub(crate) fn new() -> Flow {
        Flow { points: [Point::default(); POINTS], count: 0, base: Base::default() }
    }

    pub(crate) fn on_packet(&mut self, sent_us: i64, arrived_us: i64, bytes: u64) {
        if let Some(last) = self.count.checked_sub(1).map(|at| &mut self.points[at % POINTS]) {
            if arrived_us + REACH_US < last.began_us {
                // A clock that jumps is another clock.
                (self.count, self.base) = (0, Base::default());
            } else if arrived_us < last.began_us + POINT_US {
                last.bytes += bytes;
                if arrived_us >= last.arrived_us {
                    (last.sent_us, last.arrived_us) = (sent_us, arrived_us);
                }
                self.base.on_delay(arrived_us, arrived_us - sent_us);
                return;
            }
        }
        self.base.on_delay(arrived_us, arrived_us - sent_us);
        self.points[self.count % POINTS] = Point { began_us: arrived_us, sent_us, arrived_us, bytes };
        self.count += 1;
    }

    /// What a line that is full carries. `None`: what is sent comes through.
    pub(crate) fn full_bps(&self) -> Option<f64> {
        let newest = self.recent().next()?;
        let shortest_us = self.recent().map(|point| point.delay_us()).min()?;
        let mut bytes = 0;
        for point in self.recent() {
            if point.delay_us() > shortest_us + ALIKE_US {
                bytes += point.bytes;
                continue;
            }
            let (sent_us, arrived_us) =
                (newest.sent_us - point.sent_us, newest.arrived_us - point.arrived_us);
            let is_full = arrived_us >= SPAN_US_MIN && (sent_us as f64) < FULL * arrived_us as f64;
            return is_full.then(|| bytes as f64 * 8e6 / arrived_us as f64);
        }
        None
    }

    /// How much longer the newest took than the one that took the shortest, but for the longest time in which nothing came: a
    /// line that is full passes on one packet after the other, and one that stopped for a moment has passed on nothing.
    pub(crate) fn queued_us(&self) -> u64 {
        let Some(newest) = self.recent().next() else { return 0 };
        let Some((nth, shortest_us)) =
            self.recent().map(Point::delay_us).enumerate().min_by_key(|(_, us)| *us)
        else {
            return 0;
        };
        let since = || self.recent().take(nth + 1);
        let gap = |(later, earlier): (&Point, &Point)| later.began_us - earlier.arrived_us;
        let stopped_us = since().zip(since().skip(1)).map(gap).max().unwrap_or(0);
        (newest.delay_us() - shortest_us - stopped_us).max(0).unsigned_abs()
    }

    /// How long packets wait that wait the least: a queue that does not empty.
    pub(crate) fn standing_us(&self) -> u64 {
        let least_us = self.least_us(0..STANDING_US);
        least_us.zip(self.base.shortest_us()).map_or(0, |(least, base)| (least - base).max(0).unsigned_abs())
    }

    /// How much longer that is than it was before.
    pub(crate) fn grown_us(&self) -> u64 {
        let (newer, older) = (self.least_us(0..STANDING_US), self.least_us(STANDING_US..REACH_US));
        newer.zip(older).map_or(0, |(newer, older)| (newer - older).max(0).unsigned_abs())
    }

    /// The least delay of what arrived so long before the newest.
    fn least_us(&self, ago_us: Range<i64>) -> Option<i64> {
        let newest = self.recent().next()?;
        let within = self.recent().filter(|point| ago_us.contains(&(newest.arrived_us - point.arrived_us)));
        within.map(Point::delay_us).min()
    }

    /// The newest first.
    fn recent(&self) -> impl Iterator<Item = &Point> {
        let kept = (self.count.saturating_sub(POINTS)..self.count).rev().map(|at| &self.points[at % POINTS]);
        let newest_us = self.count.checked_sub(1).map_or(0, |at| self.points[at % POINTS].arrived_us);
        kept.take_while(move |point| point.arrived_us >= newest_us - REACH_US)
    }
}

impl Base {
    fn on_delay(&mut self, at_us: i64, delay_us: i64) {
        if at_us > self.since_us + BASE_US {
            *self = Base { since_us: at_us, shortest_us: None, before_us: self.shortest_us };
        }
        self.shortest_us = Some(self.shortest_us.map_or(delay_us, |known| known.min(delay_us)));
    }

    fn shortest_us(&self) -> Option<i64> {
        self.shortest_us.into_iter().chain(self.before_us).min()
    }
}

impl Point {
    fn delay_us(&self) -> i64 {
        self.arrived_us - self.sent_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of `bytes` every 100 ms behind sound every 20 ms, through a line of `bps`, for a second.
    fn frames(bytes: u64, bps: i64) -> Flow {
        let (mut flow, mut busy_us) = (Flow::new(), 0);
        for nth in 0..50 {
            let sent_us = nth * 20_000;
            let packets = if nth % 5 == 0 { bytes / 1000 } else { 0 };
            for size in std::iter::once(100).chain((0..packets).map(|_| 1000)) {
                busy_us = sent_us.max(busy_us) + size * 8_000_000 / bps;
                flow.on_packet(sent_us, busy_us + 20_000, size as u64);
            }
        }
        flow
    }

    #[test]
    fn frames_with_pauses_between_them_fill_no_line() {
        assert_eq!(frames(20_000, 5_000_000).full_bps(), None);
    }

    #[test]
    fn a_line_that_is_full_has_its_own_rate() {
        let bps = frames(20_000, 1_000_000).full_bps().unwrap();
        assert!((0.95e6..1.05e6).contains(&bps), "{bps}");
    }

    #[test]
    fn a_burst_that_fills_the_line_shows_what_it_carries_and_not_what_was_sent_before() {
        let mut flow = frames(0, 5_000_000);
        for nth in 1..=96 {
            flow.on_packet(1_000_000, 1_020_000 + nth * 1_600, 1000);
        }
        let bps = flow.full_bps().unwrap();
        assert!((4e6..5.2e6).contains(&bps), "{bps}");
    }

    #[test]
    fn a_queue_that_empties_between_frames_does_not_stand_and_one_that_a_line_cannot_empty_does() {
        assert!(frames(20_000, 5_000_000).standing_us() < 5_000);
        assert!(frames(20_000, 1_500_000).standing_us() > 50_000);
    }

    #[test]
    fn a_queue_grows_when_those_that_wait_the_least_wait_longer() {
        let grown_us = |us_per_packet: i64| {
            let mut flow = Flow::new();
            // Every tenth of a second something makes its way through at once, and a frame waits behind itself.
            for nth in 0..50 {
                let wait_us = if nth % 5 == 0 { 40_000 } else { 0 };
                flow.on_packet(nth * 20_000, nth * 20_000 + 20_000 + nth * us_per_packet + wait_us, 100);
            }
            flow.grown_us()
        };
        assert_eq!(grown_us(0), 0);
        assert!((1_000..4_000).contains(&grown_us(200)), "a hundredth more than the line carries");
        assert!(grown_us(2_000) > 10_000, "a tenth");
    }

    #[test]
    fn the_shortest_way_is_forgotten_when_there_is_none_such_for_long() {
        let mut flow = Flow::new();
        let mut standing_us = |seconds: Range<i64>, delay_us: i64| {
            for nth in seconds.start * 50..seconds.end * 50 {
                flow.on_packet(nth * 20_000, nth * 20_000 + delay_us, 100);
            }
            flow.standing_us()
        };
        assert_eq!(standing_us(0..3, 20_000), 0);
        assert_eq!(standing_us(3..4, 50_000), 30_000, "another way, or a queue");
        assert_eq!(standing_us(4..14, 50_000), 0, "a way");
        assert_eq!(standing_us(14..15, 10_000), 0);
    }

    #[test]
    fn a_clock_that_jumps_back_is_another_clock() {
        let mut flow = frames(20_000, 1_500_000);
        for nth in 50..60 {
            flow.on_packet(nth * 20_000, nth * 20_000 - 3_600_000_000, 100);
        }
        assert_eq!((flow.standing_us(), flow.queued_us(), flow.full_bps()), (0, 0, None));
    }

    #[test]
    fn a_queue_grows_packet_by_packet_and_a_line_that_stopped_has_none() {
        assert!(frames(20_000, 1_000_000).queued_us() > 100_000);
        let mut stopped = frames(0, 5_000_000);
        for nth in 50..60 {
            stopped.on_packet(nth * 20_000, 1_220_000 + nth * 500, 100);
        }
        assert!(stopped.queued_us() < 10_000);
    }
}
