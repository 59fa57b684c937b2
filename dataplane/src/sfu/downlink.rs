//! The line to one receiver: how long it takes, what it loses, what it carries. What is known here goes to nobody but the
//! receiver itself.

use std::time::Duration;

use crate::link::Quality;
use crate::sfu::clock;
use crate::wire::rtcp::ReportBlock;

#[derive(Debug, Default)]
pub(crate) struct Downlink {
    round_trip: Option<Duration>,
    /// What the control plane was told last.
    told: Option<Quality>,
}

/// A longer round trip is a broken report: nobody talks over such a line.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// Weight of a new round trip among the earlier ones, as TCP has it (RFC 6298 §2).
const ROUND_TRIP_SHARE: u32 = 8;
/// Milliseconds of round trip, thousandths of loss and percent of the estimate below which a change is not worth a message.
const ROUND_TRIP_STEP_MS: u32 = 20;
const LOSS_STEP_PERMILLE: u16 = 5;
const ESTIMATE_STEP_PERCENT: u64 = 10;

impl Downlink {
    /// What the receiver reports about one of our SSRCs at `clock` (RFC 3550 §6.4.1).
    pub(crate) fn on_report(&mut self, clock: Duration, report: &ReportBlock) {
        if report.last_sr == 0 {
            return;
        }
        let middle = (clock::ntp(clock) >> 16) as u32;
        let units = middle.wrapping_sub(report.last_sr).wrapping_sub(report.delay_since_last_sr);
        let sample = Duration::from_micros((u64::from(units) * 1_000_000) >> 16);
        // A negative round trip is a huge one in this arithmetic.
        if sample > ROUND_TRIP_MAX {
            return;
        }
        self.round_trip = Some(match self.round_trip {
            Some(known) => (known * (ROUND_TRIP_SHARE - 1) + sample) / ROUND_TRIP_SHARE,
            None => sample,
        });
    }

    /// What there is to tell the receiver's page, when it is not what it was told last.
    pub(crate) fn next_quality(&mut self) -> Option<Quality> {
        let quality = Quality {
            estimate_bps: None,
            loss_permille: None,
            round_trip_ms: self.round_trip.map(|time| time.as_millis() as u32),
        };
        if quality == Quality::default() || self.told.is_some_and(|told| is_alike(&told, &quality)) {
            return None;
        }
        self.told = Some(quality);
        Some(quality)
    }
}

fn is_alike(told: &Quality, quality: &Quality) -> bool {
    let alike = |told: Option<u64>, known: Option<u64>, step: u64| match (told, known) {
        (Some(told), Some(known)) => told.abs_diff(known) < step,
        (told, known) => told.is_some() == known.is_some(),
    };
    let estimate_step = told.estimate_bps.unwrap_or(0) / 100 * ESTIMATE_STEP_PERCENT;
    alike(told.estimate_bps, quality.estimate_bps, estimate_step.max(1))
        && alike(
            told.loss_permille.map(u64::from),
            quality.loss_permille.map(u64::from),
            LOSS_STEP_PERMILLE.into(),
        )
        && alike(
            told.round_trip_ms.map(u64::from),
            quality.round_trip_ms.map(u64::from),
            ROUND_TRIP_STEP_MS.into(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Ssrc;

    fn report(last_sr: u32, delay: Duration) -> ReportBlock {
        ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 0,
            lost: 0,
            highest_seq: 0,
            jitter: 0,
            last_sr,
            delay_since_last_sr: (delay.as_micros() * 65_536 / 1_000_000) as u32,
        }
    }

    fn middle(clock: Duration) -> u32 {
        (clock::ntp(clock) >> 16) as u32
    }

    #[test]
    fn the_round_trip_is_what_is_left_without_the_receiver_s_own_delay() {
        let ms = Duration::from_millis;
        let mut downlink = Downlink::default();
        downlink.on_report(ms(70_500), &report(middle(ms(70_000)), ms(440)));
        let told = downlink.next_quality().unwrap();
        assert!((59..=60).contains(&told.round_trip_ms.unwrap()), "{told:?}");
        assert_eq!(downlink.next_quality(), None, "nothing has changed");
        for _ in 0..50 {
            downlink.on_report(ms(71_500), &report(middle(ms(71_000)), ms(400)));
        }
        assert!((98..=100).contains(&downlink.next_quality().unwrap().round_trip_ms.unwrap()));
    }

    #[test]
    fn a_report_that_cannot_be_true_changes_nothing() {
        let ms = Duration::from_millis;
        let mut downlink = Downlink::default();
        downlink.on_report(ms(500), &report(0, ms(1)));
        downlink.on_report(ms(500), &report(middle(ms(400)), ms(101)));
        downlink.on_report(ms(500), &report(middle(ms(600)), ms(0)));
        downlink.on_report(ms(90_000), &report(middle(ms(1000)), ms(1000)));
        assert_eq!(downlink.next_quality(), None);
    }
}
