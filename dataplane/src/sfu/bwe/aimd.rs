//! The rate that the delay allows: up by a share while nothing is known of the line, gently near what it was known to
//! carry, down to a share of what arrives when a queue grows (draft-ietf-rmcat-gcc-02 §5.5).

use std::time::Duration;

use super::trend::Usage;

/// What is left of the arriving rate after an overuse (§5.5, beta): below it, so that the queue empties.
const DECREASE: f64 = 0.85;
/// Growth in a second far from any known limit (§5.5, eta).
const INCREASE: f64 = 1.08;
/// Growth never ends for smallness.
const INCREASE_BPS_MIN: f64 = 4000.0;
/// Above so many times what arrives nothing has been shown of the line, so an estimate does not grow there by itself (§5.5);
/// the constant lets sound alone grow.
const UNPROVEN: f64 = 1.5;
const UNPROVEN_BPS: f64 = 10_000.0;
/// Beside others an estimate may be so many times what arrives: layers come in steps of three or so, and no probe finds the next;
/// the constant lets sound alone grow by a picture.
const UNPROVEN_SHARED: f64 = 4.0;
const UNPROVEN_SHARED_BPS: f64 = 200_000.0;
/// Longest time that one step of growth accounts for.
const STEP_US_MAX: u64 = 1_000_000;
/// Between two decreases lies at least a round trip, within these bounds: before, the first has not shown its effect.
const REDUCE_US_MIN: u64 = 10_000;
const REDUCE_US_MAX: u64 = 200_000;
/// What arrives has fallen so far below the estimate that nothing waits for the round trip.
const COLLAPSE: f64 = 0.5;
/// A line that only stopped for a moment looks like one that carries next to nothing, so a cut goes no further than to this
/// share at first, and all the way if the same is seen again within such a time.
const UNCONFIRMED: f64 = 0.5;
const CONFIRM_US: u64 = 1_000_000;
/// Time that the receiver takes to notice an overuse, beside the round trip (§5.5).
const NOTICE_S: f64 = 0.1;
/// Near the limit the rate grows by half of one packet of a frame in such a time; frames of video at 30 a second.
const FRAMES_PER_S: f64 = 30.0;
const PACKET_BITS: f64 = 1200.0 * 8.0;

#[derive(Debug)]
pub(crate) struct Aimd {
    bps: f64,
    state: State,
    capacity: Capacity,
    changed_us: u64,
    /// When the line was seen full last.
    full_us: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// What arrives in the mean; `None` for too little to tell.
    pub(crate) acked: Option<f64>,
    /// What the line carries that passes on less than is sent.
    pub(crate) full: Option<f64>,
    /// It does not only seem so because the line stopped for a moment.
    pub(crate) is_sure: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Hold,
    Increase,
}

/// What arrived when queues grew: a mean and how far it strays (§5.5, the average and deviation of R_hat).
#[derive(Debug, Default)]
struct Capacity {
    kbps: Option<f64>,
    variance: f64,
}

impl Aimd {
    pub(crate) fn new(bps: f64, now_us: u64) -> Aimd {
        Aimd { bps, state: State::Hold, capacity: Capacity::default(), changed_us: now_us, full_us: None }
    }

    pub(crate) fn on_usage(&mut self, now_us: u64, usage: Usage, rates: Rates, round_trip: Duration) {
        match usage {
            Usage::Over => self.decrease(now_us, rates, round_trip),
            Usage::Under => self.state = State::Hold,
            Usage::Normal if self.state == State::Hold => {
                self.state = State::Increase;
                self.changed_us = now_us;
            }
            Usage::Normal => self.increase(now_us, rates.acked, round_trip),
        }
    }

    /// The line was shown to carry so much.
    pub(crate) fn on_probe(&mut self, now_us: u64, bps: f64) {
        self.bps = bps;
        self.changed_us = now_us;
        self.capacity.on_sample(bps, 0.5);
    }

    /// Others say what is due: it is that, but not far above what arrives, nor more than is left of a line that is full.
    pub(crate) fn on_share(&mut self, now_us: u64, bps: f64, rates: Rates) {
        let proven = rates.acked.map(|acked| UNPROVEN_SHARED * acked + UNPROVEN_SHARED_BPS);
        let full = rates.full.filter(|_| rates.is_sure).map(|full| DECREASE * full);
        self.bps = proven.into_iter().chain(full).fold(bps, f64::min);
        self.changed_us = now_us;
    }

    /// Nothing is heard of the receiver.
    pub(crate) fn halve(&mut self, now_us: u64, bps_min: f64) {
        self.bps = (self.bps / 2.0).max(bps_min);
        self.changed_us = now_us;
    }

    pub(crate) fn bps(&self) -> f64 {
        self.bps
    }

    pub(crate) fn clamp(&mut self, bps_min: f64, bps_max: f64) {
        self.bps = self.bps.clamp(bps_min, bps_max);
    }

    fn increase(&mut self, now_us: u64, acked: Option<f64>, round_trip: Duration) {
        let passed_s = now_us.saturating_sub(self.changed_us).min(STEP_US_MAX) as f64 / 1e6;
        self.changed_us = now_us;
        let Some(acked) = acked else { return };
        if self.capacity.upper_bps().is_some_and(|upper| acked > upper) {
            self.capacity = Capacity::default();
        }
        // What has just come through fits, whatever was thought of the line.
        self.bps = self.bps.max(DECREASE * acked);
        let proven = UNPROVEN * acked + UNPROVEN_BPS;
        if self.bps >= proven {
            return;
        }
        let growth = match self.capacity.kbps {
            Some(_) => {
                let frame = self.bps / FRAMES_PER_S;
                let packet = frame / (frame / PACKET_BITS).ceil().max(1.0);
                (packet / (round_trip.as_secs_f64() + NOTICE_S)).max(INCREASE_BPS_MIN) * passed_s
            }
            None => (self.bps * (INCREASE.powf(passed_s) - 1.0)).max(INCREASE_BPS_MIN * passed_s),
        };
        self.bps = (self.bps + growth).min(proven);
    }

    fn decrease(&mut self, now_us: u64, rates: Rates, round_trip: Duration) {
        let Some(acked) = rates.acked else { return };
        let wait_us = (round_trip.as_micros() as u64).clamp(REDUCE_US_MIN, REDUCE_US_MAX);
        let waited = now_us.saturating_sub(self.changed_us) >= wait_us;
        let collapsed = rates.full.is_some_and(|full| full < COLLAPSE * self.bps);
        if !waited && !collapsed {
            return;
        }
        if let Some(full) = rates.full {
            if self.capacity.lower_bps().is_some_and(|lower| full < lower) {
                self.capacity = Capacity::default();
            }
            self.capacity.on_sample(full, 0.05);
            let is_confirmed = self.full_us.replace(now_us).is_some_and(|at| now_us < at + CONFIRM_US);
            let least = if is_confirmed || rates.is_sure { 0.0 } else { UNCONFIRMED * self.bps };
            self.bps = self.bps.min((DECREASE * full).max(least));
        } else {
            // What was sent came through, and it is others who fill the queue, or chance: a picture's next layer is far above
            // what is sent, and falling down to that would pause what is left.
            self.bps = (DECREASE * self.bps).max((DECREASE * acked).min(self.bps));
        }
        self.state = State::Hold;
        self.changed_us = now_us;
    }
}

impl Capacity {
    /// Bounds of the normalized variance in kbit/s: the mean is never taken for exact, nor for nothing.
    const VARIANCE_MIN: f64 = 0.4;
    const VARIANCE_MAX: f64 = 2.5;
    /// Standard deviations from the mean within which it holds (§5.5).
    const DEVIATIONS: f64 = 3.0;

    fn on_sample(&mut self, bps: f64, share: f64) {
        let sample = bps / 1000.0;
        let mean = self.kbps.map_or(sample, |known| (1.0 - share) * known + share * sample);
        let error = mean - sample;
        let variance = (1.0 - share) * self.variance + share * error * error / mean.max(1.0);
        self.variance = variance.clamp(Capacity::VARIANCE_MIN, Capacity::VARIANCE_MAX);
        self.kbps = Some(mean);
    }

    fn upper_bps(&self) -> Option<f64> {
        self.kbps.map(|mean| (mean + self.deviation(mean)) * 1000.0)
    }

    fn lower_bps(&self) -> Option<f64> {
        self.kbps.map(|mean| (mean - self.deviation(mean)).max(0.0) * 1000.0)
    }

    fn deviation(&self, mean: f64) -> f64 {
        Capacity::DEVIATIONS * (self.variance * mean).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// So much arrives of all that is sent, and of too much.
    fn even(acked: f64) -> Rates {
        Rates { acked: Some(acked), full: None, is_sure: false }
    }

    fn full(acked: f64) -> Rates {
        Rates { acked: Some(acked), full: Some(acked), is_sure: false }
    }

    #[test]
    fn growth_ends_where_nothing_has_been_shown_of_the_line() {
        let mut aimd = Aimd::new(500_000.0, 0);
        for at in 1..1000 {
            aimd.on_usage(at * 100_000, Usage::Normal, even(600_000.0), RTT);
        }
        assert_eq!(aimd.bps(), 910_000.0);
        aimd.on_probe(100_000_000, 5e6);
        for at in 1001..2000 {
            aimd.on_usage(at * 100_000, Usage::Normal, even(600_000.0), RTT);
        }
        assert_eq!(aimd.bps(), 5e6, "what a probe has shown is not forgotten by sending less");
    }

    #[test]
    fn an_overuse_goes_below_what_arrives_once_a_round_trip() {
        let mut aimd = Aimd::new(3e6, 0);
        aimd.on_usage(500_000, Usage::Over, full(2e6), RTT);
        assert_eq!(aimd.bps(), 1.7e6);
        aimd.on_usage(520_000, Usage::Over, full(1.5e6), RTT);
        assert_eq!(aimd.bps(), 1.7e6, "the first cut has not shown its effect");
        aimd.on_usage(530_000, Usage::Over, full(0.8e6), RTT);
        assert_eq!(aimd.bps(), 0.68e6, "less than half of it arrives");
    }

    #[test]
    fn a_line_that_stopped_for_a_moment_is_not_taken_for_a_narrow_one() {
        let mut aimd = Aimd::new(4e6, 0);
        aimd.on_usage(500_000, Usage::Over, full(0.3e6), RTT);
        assert_eq!(aimd.bps(), 2e6);
        aimd.on_usage(600_000, Usage::Normal, even(3e6), RTT);
        aimd.on_usage(5_000_000, Usage::Over, full(0.3e6), RTT);
        assert!(aimd.bps() >= 1e6);
        aimd.on_usage(5_100_000, Usage::Over, full(0.3e6), RTT);
        assert_eq!(aimd.bps(), DECREASE * 0.3e6, "it is narrow");
    }

    #[test]
    fn a_queue_that_others_make_costs_a_share_and_not_what_is_far_above_the_sent() {
        let mut aimd = Aimd::new(3e6, 0);
        aimd.on_usage(500_000, Usage::Over, even(0.2e6), RTT);
        assert_eq!(aimd.bps(), 3e6 * DECREASE);
    }

    #[test]
    fn what_is_due_beside_others_is_neither_far_above_what_arrives_nor_more_than_the_line_carries() {
        let mut aimd = Aimd::new(1e6, 0);
        let mut share = |rates| {
            aimd.on_share(500_000, 2e6, rates);
            aimd.bps()
        };
        assert_eq!(share(even(1e6)), 2e6);
        assert_eq!(share(even(0.1e6)), 600_000.0);
        assert_eq!(share(full(0.6e6)), 2e6, "it may be the waves of others");
        assert_eq!(share(Rates { is_sure: true, ..full(0.6e6) }), DECREASE * 0.6e6);
    }

    #[test]
    fn what_comes_through_is_allowed() {
        let mut aimd = Aimd::new(0.6e6, 0);
        aimd.on_usage(100_000, Usage::Normal, even(4e6), RTT);
        aimd.on_usage(200_000, Usage::Normal, even(4e6), RTT);
        assert!(aimd.bps() >= 3.4e6);
    }

    #[test]
    fn growth_is_gentle_near_a_known_limit_and_a_share_once_more_arrives() {
        let grown_in_a_second = |acked| {
            let mut aimd = Aimd::new(3e6, 0);
            aimd.on_usage(500_000, Usage::Over, full(2e6), RTT);
            for at in 0..=10 {
                aimd.on_usage(600_000 + at * 100_000, Usage::Normal, even(acked), RTT);
            }
            aimd.bps() - 1.7e6
        };
        assert!(grown_in_a_second(1.7e6) < 80_000.0);
        assert!(grown_in_a_second(2.5e6) > 120_000.0);
    }
}
