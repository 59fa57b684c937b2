//! What a TCP flow would have of the same line: the rate beside others that fill a queue until it overflows. Delay says nothing
//! there, since it is theirs, and who went down and up from what they had would keep whatever they began with. It follows from
//! the round trip and from how much arrives between two losses (RFC 5348 §3.1, without its term for time-outs, which media does
//! not have):
//!
//! ```text
//! rate = packet / round trip * sqrt(3/2 * packets between two losses)
//! ```
//!
//! All who are behind one queue have the same round trip and losses in it, and so come to one rate.

/// A packet of a TCP flow, and what we count in, however small ours are.
const PACKET_BITS: f64 = 1200.0 * 8.0;
/// Weights of the last intervals between losses, the newest first (RFC 5348 §5.4).
const WEIGHTS: [f64; 8] = [1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2];
/// Share of the known round trip in the smoothed one (RFC 5348 §4.3, q).
const SMOOTHING: f64 = 0.9;
/// A queue that was gone for so long is another one.
const FORGOTTEN_US: u64 = 30_000_000;

#[derive(Debug, Default)]
pub(crate) struct Friendly {
    /// Bits between two losses; a ring.
    intervals: [f64; WEIGHTS.len()],
    count: usize,
    /// Bits since the last loss, and when that packet left. What is lost within a round trip is one loss.
    open: f64,
    lost_us: Option<u64>,
    round_trip_us: f64,
    queued_us: u64,
}

impl Friendly {
    /// There is such a queue at the moment.
    pub(crate) fn on_queue(&mut self, now_us: u64) {
        if now_us > self.queued_us + FORGOTTEN_US {
            *self = Friendly { round_trip_us: self.round_trip_us, ..Friendly::default() };
        }
        self.queued_us = now_us;
    }

    pub(crate) fn on_round_trip(&mut self, us: u64) {
        let known = if self.round_trip_us > 0.0 { self.round_trip_us } else { us as f64 };
        self.round_trip_us = SMOOTHING * known + (1.0 - SMOOTHING) * us as f64;
    }

    /// A packet that went into the queue then has arrived or got lost.
    pub(crate) fn on_told(&mut self, sent_us: u64, bytes: u64, lost: bool) {
        self.open += bytes as f64 * 8.0;
        if !lost || self.lost_us.is_some_and(|at| sent_us <= at + self.round_trip_us as u64) {
            return;
        }
        if self.lost_us.replace(sent_us).is_some() {
            self.intervals[self.count % WEIGHTS.len()] = self.open;
            self.count += 1;
        }
        self.open = 0.0;
    }

    /// What was told to be lost was only late.
    pub(crate) fn on_late(&mut self, sent_us: u64) {
        if self.lost_us != Some(sent_us) {
            return;
        }
        self.lost_us = None;
        if let Some(before) = self.count.checked_sub(1) {
            self.count = before;
            self.open += self.intervals[before % WEIGHTS.len()];
            self.lost_us = Some(0);
        }
    }

    /// `None` until two losses have been seen.
    pub(crate) fn bps(&self) -> Option<f64> {
        let known = self.count.min(WEIGHTS.len());
        let closed = || (1..=known).map(|back| self.intervals[(self.count - back) % WEIGHTS.len()]);
        // What has come without a loss counts as soon as it says something better (§5.4).
        let between = mean(closed())?.max(mean(std::iter::once(self.open).chain(closed()))?);
        Some(PACKET_BITS / (self.round_trip_us.max(1.0) / 1e6) * (1.5 * between / PACKET_BITS).sqrt())
    }
}

fn mean(intervals: impl Iterator<Item = f64>) -> Option<f64> {
    let weighed = intervals.zip(WEIGHTS).map(|(bits, weight)| (weight * bits, weight));
    let (sum, weights) =
        weighed.fold((0.0, 0.0), |(sum, weights), (bits, weight)| (sum + bits, weights + weight));
    (weights > 0.0).then(|| sum / weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 1200 bytes, one each millisecond, every `nth` of them lost; a round trip of 100 ms.
    fn every(nth: u64, packets: u64) -> Friendly {
        let mut friendly = Friendly::default();
        friendly.on_round_trip(100_000);
        for at in 1..=packets {
            friendly.on_told(at * 1000, 1200, at % nth == 0);
        }
        friendly
    }

    #[test]
    fn the_rate_is_that_of_the_formula() {
        // 150 packets between two losses: sqrt(225) of them in a round trip.
        let bps = every(150, 1500).bps().unwrap();
        assert!((bps - 15.0 * 96_000.0).abs() < 1.0, "{bps}");
    }

    #[test]
    fn one_loss_says_nothing_and_those_of_one_round_trip_are_one() {
        assert_eq!(every(150, 299).bps(), None);
        let (apart, together) = (every(150, 1500).bps().unwrap(), every(10, 1500).bps().unwrap());
        assert!(together > 0.8 * apart, "{together} and {apart}");
    }

    #[test]
    fn what_comes_without_a_loss_raises_the_rate_and_a_first_loss_after_it_does_not_lower_it_by_much() {
        let mut friendly = every(150, 1500);
        let before = friendly.bps().unwrap();
        for at in 1501..=1600 {
            friendly.on_told(at * 1000, 1200, false);
            assert!((friendly.bps().unwrap() - before).abs() < 1.0, "no more than between any two");
        }
        for at in 1601..=3000 {
            friendly.on_told(at * 1000, 1200, false);
        }
        let risen = friendly.bps().unwrap();
        assert!(risen > 1.3 * before);
        friendly.on_told(3_001_000, 1200, true);
        assert!(friendly.bps().unwrap() > 0.95 * risen);
    }

    #[test]
    fn what_was_only_late_is_no_loss() {
        let mut friendly = every(150, 300);
        assert!(friendly.bps().is_some());
        friendly.on_late(300_000);
        assert_eq!(friendly.bps(), None);
        friendly.on_told(450_000, 1200, true);
        let bps = friendly.bps().unwrap();
        assert!((bps - (1.5 * 151.0_f64).sqrt() * 96_000.0).abs() < 1.0, "{bps}");
    }

    #[test]
    fn another_queue_is_another_rate() {
        let mut friendly = every(150, 1500);
        friendly.on_queue(29_000_000);
        assert!(friendly.bps().is_some());
        friendly.on_queue(60_000_000);
        assert_eq!(friendly.bps(), None);
    }
}
