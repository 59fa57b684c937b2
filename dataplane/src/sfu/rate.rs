//! Bits a second of what comes in packets.

use std::time::{Duration, Instant};

/// What one sample covers: longer than the pause between two keyframes' bursts would hide how fast a sender adapts.
const INTERVAL: Duration = Duration::from_millis(500);
/// After a pause of this length a sample says nothing.
const STALE: Duration = Duration::from_secs(2);
/// What sending adds to a payload, as the estimate of a line counts it: header and extensions of RTP, and SRTP's tag.
const HEADERS_BYTES: usize = 44;

/// Rises at once to what was seen and falls slowly: whoever plans with it must not be surprised by the next burst.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    since: Option<Instant>,
    bytes: u64,
    bps: Option<u64>,
}

impl Rate {
    pub(crate) fn on_packet(&mut self, now: Instant, payload_bytes: usize) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= INTERVAL {
            if passed < STALE {
                let sample = (self.bytes as f64 * 8.0 / passed.as_secs_f64()) as u64;
                self.bps = Some(match self.bps {
                    Some(known) if sample < known => known - (known - sample) / 8,
                    Some(known) => known + (sample - known) / 2,
                    None => sample,
                });
            }
            self.since = Some(now);
            self.bytes = 0;
        }
        self.bytes += (payload_bytes + HEADERS_BYTES) as u64;
    }

    /// `None` until enough has come to tell.
    pub(crate) fn bps(&self) -> Option<u64> {
        self.bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_with_its_headers_and_a_pause_is_no_rate() {
        let (mut rate, mut now) = (Rate::default(), Instant::now());
        assert_eq!(rate.bps(), None);
        for _ in 0..100 {
            rate.on_packet(now, 1000 - HEADERS_BYTES);
            now += Duration::from_millis(10);
        }
        let about = |bps: u64| rate.bps().is_some_and(|known| known.abs_diff(bps) < bps / 20);
        assert!(about(800_000), "{rate:?}");
        now += Duration::from_secs(60);
        rate.on_packet(now, 10);
        assert!(rate.bps().is_some_and(|known| known > 700_000), "{rate:?}");
    }

    #[test]
    fn it_rises_faster_than_it_falls() {
        let (mut rate, mut now) = (Rate::default(), Instant::now());
        let mut second = |rate: &mut Rate, bytes: usize| {
            for _ in 0..50 {
                rate.on_packet(now, bytes);
                now += Duration::from_millis(20);
            }
            rate.bps().unwrap_or(0)
        };
        let low = second(&mut rate, 200);
        let high = second(&mut rate, 2000);
        assert!(high > low * 4, "{low} {high}");
        assert!(second(&mut rate, 200) > high / 2);
    }
}
