//! How much arrives at the receiver: bits a second, smoothed the less the more surprising they are (as libwebrtc's
//! acknowledged bitrate estimator does, with a normal distribution for prior and sample).

/// One sample: long enough for several frames, short enough to see a drop at once.
const WINDOW_US: i64 = 150_000;
/// The first sample is what everything begins with, so it looks longer.
const FIRST_WINDOW_US: i64 = 500_000;
/// How much a sample is mistrusted for its distance from what is known.
const SURPRISE: f64 = 5.0;
/// Added to the variance with every sample: nothing is known for ever.
const FORGETTING: f64 = 5.0;
const VARIANCE_START: f64 = 50.0;

#[derive(Debug)]
pub(crate) struct Acked {
    newest_us: Option<i64>,
    window_us: i64,
    bytes: u64,
    estimate_bps: Option<f64>,
    variance: f64,
}

impl Acked {
    pub(crate) fn new() -> Acked {
        Acked { newest_us: None, window_us: 0, bytes: 0, estimate_bps: None, variance: VARIANCE_START }
    }

    pub(crate) fn on_packet(&mut self, arrived_us: i64, bytes: u64) {
        let window = if self.estimate_bps.is_some() { WINDOW_US } else { FIRST_WINDOW_US };
        if let Some(newest_us) = self.newest_us {
            let passed = (arrived_us - newest_us).max(0);
            self.window_us += passed;
            if passed > window {
                // Nothing was sent for a while, which says nothing of the line.
                self.bytes = 0;
                self.window_us %= window;
            }
        }
        self.newest_us = Some(self.newest_us.map_or(arrived_us, |newest| newest.max(arrived_us)));
        if self.window_us >= window {
            let sample = self.bytes as f64 * 8.0 * 1e6 / window as f64;
            self.window_us -= window;
            self.bytes = 0;
            self.on_sample(sample);
        }
        self.bytes += bytes;
    }

    pub(crate) fn bps(&self) -> Option<f64> {
        self.estimate_bps
    }

    /// The line has shown another rate than that of the media.
    pub(crate) fn forget(&mut self) {
        self.variance = self.variance.max(VARIANCE_START);
    }

    fn on_sample(&mut self, sample: f64) {
        let Some(known) = self.estimate_bps else {
            self.estimate_bps = Some(sample);
            return;
        };
        let surprise = SURPRISE * (known - sample).abs() / known.max(1.0);
        let sample_variance = surprise * surprise;
        let variance = self.variance + FORGETTING;
        self.estimate_bps =
            Some((sample_variance * known + variance * sample) / (sample_variance + variance));
        self.variance = sample_variance * variance / (sample_variance + variance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(acked: &mut Acked, from_ms: i64, to_ms: i64, bytes_per_10ms: u64) {
        for at in (from_ms..to_ms).step_by(10) {
            acked.on_packet(at * 1000, bytes_per_10ms);
        }
    }

    #[test]
    fn a_steady_rate_is_found_and_a_drop_seen_within_half_a_second() {
        let mut acked = Acked::new();
        feed(&mut acked, 0, 2000, 2500);
        assert!((acked.bps().unwrap() - 2e6).abs() < 1e5);
        feed(&mut acked, 2000, 2500, 1000);
        assert!(acked.bps().unwrap() < 1.1e6, "{:?}", acked.bps());
    }

    #[test]
    fn a_pause_is_no_slow_line() {
        let mut acked = Acked::new();
        feed(&mut acked, 0, 2000, 2500);
        feed(&mut acked, 12_000, 14_000, 2500);
        assert!((acked.bps().unwrap() - 2e6).abs() < 2e5, "{:?}", acked.bps());
    }
}
