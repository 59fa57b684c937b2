//! Server time in the units of RTCP, and each publisher's clock brought onto it so that lip-sync survives forwarding.

use std::time::{Duration, Instant};

use crate::id::RtpTime;
use crate::sfu::layer::SenderReport;

/// Added to the time since start in NTP timestamps (seconds): reports need a common clock, not the date.
const NTP_BASE_S: u64 = 0xe000_0000;
/// How fast a publisher's clock offset may grow between two reports: 200 us in a second or so covers any oscillator.
const DRIFT_US: i64 = 200;
/// A capture time further than this from the present is a broken report.
const PLAUSIBLE: Duration = Duration::from_secs(10);
/// A report about a moment further away than this is as broken: senders report every few seconds.
const REPORT_AGE_MAX: Duration = Duration::from_secs(3600);

/// 64-bit NTP timestamp (RFC 3550 §4) of `clock`, the time since the server's start.
pub(crate) fn ntp(clock: Duration) -> u64 {
    let fraction = (u64::from(clock.subsec_nanos()) << 32) / 1_000_000_000;
    ((NTP_BASE_S + clock.as_secs()) << 32) | fraction
}

/// Microseconds of a 64-bit NTP timestamp.
fn ntp_us(ntp: u64) -> i64 {
    ((ntp >> 32) * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)) as i64
}

/// The offset from one publisher's NTP clock to ours, the same for all its sources.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PublisherClock {
    offset_us: Option<i64>,
}

impl PublisherClock {
    /// Keeps the least delayed report: the offset then holds the shortest way from the publisher.
    pub(crate) fn on_sender_report(&mut self, clock: Duration, ntp: u64) {
        let offset = clock.as_micros() as i64 - ntp_us(ntp);
        self.offset_us = Some(match self.offset_us {
            Some(known) if (known - offset).unsigned_abs() < PLAUSIBLE.as_micros() as u64 => {
                offset.min(known + DRIFT_US)
            }
            Some(_) | None => offset,
        });
    }

    /// When `timestamp` was captured, on the server's clock; `arrived` when no report tells.
    pub(crate) fn captured(
        &self,
        report: Option<&SenderReport>,
        timestamp: RtpTime,
        rate_hz: u32,
        arrived: Duration,
    ) -> Duration {
        let (Some(offset), Some(report)) = (self.offset_us, report) else { return arrived };
        let ticks = i64::from(timestamp.since(report.rtp_time));
        let us = ntp_us(report.ntp) + offset + ticks * 1_000_000 / i64::from(rate_hz);
        let captured = Duration::from_micros(us.max(0) as u64);
        if captured.abs_diff(arrived) < PLAUSIBLE { captured } else { arrived }
    }

    /// The RTP time that is captured at `clock`.
    pub(crate) fn rtp_time_at(
        &self,
        report: Option<&SenderReport>,
        rate_hz: u32,
        clock: Duration,
    ) -> Option<RtpTime> {
        let report = report?;
        let age_us = clock.as_micros() as i64 - (ntp_us(report.ntp) + self.offset_us?);
        if age_us.unsigned_abs() > REPORT_AGE_MAX.as_micros() as u64 {
            return None;
        }
        let ticks = age_us * i64::from(rate_hz) / 1_000_000;
        Some(RtpTime(report.rtp_time.0.wrapping_add(ticks as u32)))
    }
}

/// Time since `epoch`.
pub(crate) fn since(epoch: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sources_of_one_publisher_captured_together_have_one_capture_time() {
        let start = Instant::now();
        let mut publisher = PublisherClock::default();
        let audio = SenderReport { ntp: ntp(Duration::from_secs(500)), rtp_time: RtpTime(48_000), at: start };
        let video =
            SenderReport { ntp: ntp(Duration::from_millis(500_250)), rtp_time: RtpTime(u32::MAX), at: start };
        publisher.on_sender_report(Duration::from_millis(1040), audio.ntp);
        publisher.on_sender_report(Duration::from_millis(1300), video.ntp);
        // One second after the audio report, 750 ms after the video report.
        let arrived = Duration::from_millis(2050);
        let heard = publisher.captured(Some(&audio), RtpTime(96_000), 48_000, arrived);
        let seen = publisher.captured(
            Some(&video),
            RtpTime(u32::MAX).wrapping_add(67_500),
            90_000,
            arrived + Duration::from_millis(80),
        );
        assert!(heard.abs_diff(seen) < Duration::from_millis(1), "{heard:?} {seen:?}");
        assert!(heard.abs_diff(Duration::from_millis(2040)) < Duration::from_millis(1));
    }

    #[test]
    fn the_rtp_time_of_a_moment_is_the_inverse_of_the_capture_time() {
        let mut publisher = PublisherClock::default();
        let report =
            SenderReport { ntp: ntp(Duration::from_secs(9)), rtp_time: RtpTime(1000), at: Instant::now() };
        publisher.on_sender_report(Duration::from_secs(20), report.ntp);
        let at = Duration::from_secs(23);
        let time = publisher.rtp_time_at(Some(&report), 90_000, at).expect("a report is known");
        assert!(publisher.captured(Some(&report), time, 90_000, at).abs_diff(at) < Duration::from_micros(20));
    }

    #[test]
    fn reports_of_contradicting_clocks_tell_no_rtp_time() {
        let mut publisher = PublisherClock::default();
        let camera = SenderReport { ntp: 0, rtp_time: RtpTime(0), at: Instant::now() };
        publisher.on_sender_report(Duration::from_secs(1), camera.ntp);
        publisher.on_sender_report(Duration::from_secs(1), u64::MAX);
        assert_eq!(publisher.rtp_time_at(Some(&camera), 90_000, Duration::from_secs(2)), None);
    }

    #[test]
    fn an_absurd_report_falls_back_to_the_arrival_time() {
        let mut publisher = PublisherClock::default();
        let report = SenderReport { ntp: u64::MAX, rtp_time: RtpTime(0), at: Instant::now() };
        publisher.on_sender_report(Duration::from_secs(1), report.ntp);
        let arrived = Duration::from_secs(1);
        assert_eq!(publisher.captured(Some(&report), RtpTime(0x7fff_ffff), 90_000, arrived), arrived);
    }
}
