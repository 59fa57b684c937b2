//! The line to one receiver: how long it takes, what it loses, what it carries, and what may leave on it now. What is
//! known here goes to nobody but the receiver itself.

use std::time::Duration;

use crate::link::Quality;
use crate::sfu::bwe::Downstream;
use crate::sfu::clock;
use crate::sfu::pacer::Pacer;
use crate::wire::rtcp::ReportBlock;
use crate::wire::twcc;

#[derive(Debug, Default)]
pub(crate) struct Downlink {
    downstream: Downstream,
    pub(crate) pacer: Pacer,
    /// The receiver negotiated transport-wide sequence numbers, and retransmissions, which probes are.
    is_numbered: bool,
    is_probeable: bool,
    /// How often the receiver has moved to another path.
    moves: u32,
    /// How many more arrivals may be read at this moment, and since when there are so many.
    statuses: usize,
    statuses_us: u64,
    /// What the receiver itself takes for the line's rate; counts while it tells of no arrivals.
    remb_bps: Option<u64>,
    round_trip: Option<Duration>,
    /// Until when the line counts as one that loses packets.
    lossy_until: Duration,
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

/// A line that loses more than this is one that loses packets: each is heard.
const LOSSY: f64 = 0.01;
/// And remains one for so long: losses come in bursts, and sound that leaves twice hides those that there are.
const LOSSY_FOR: Duration = Duration::from_secs(30);

/// What the past of a layer may take of a line: of one that has shown an end what it carries in 0.4 s, a keyframe of a small
/// layer and what came within a moment. Any other home line takes as much as the most within a tenth of a second.
const PAST_US_MAX: u64 = 400_000;
const PAST_BYTES_MAX: u64 = 48 * 1024;

/// Arrivals that one receiver may tell of in a second, and at once: some five times the packets of 20 Mbit/s. A few bytes can
/// speak of thousands.
const STATUSES_PER_S: u64 = 10_000;
const STATUSES_MAX: usize = 10_000;
/// A line narrower than this carries no sound, whatever its receiver says.
const REMB_BPS_MIN: u64 = 50_000;

impl Downlink {
    /// Whether the receiver negotiated transport-wide sequence numbers, and retransmissions of video.
    pub(crate) fn negotiate(&mut self, is_numbered: bool, is_probeable: bool) {
        self.is_numbered = is_numbered;
        self.is_probeable = is_probeable;
        // Held packets name slots that may be others from here on.
        self.pacer.clear();
    }

    /// Another path is another line: nothing that was learned of the one before counts.
    pub(crate) fn on_moves(&mut self, moves: u32) {
        if std::mem::replace(&mut self.moves, moves) != moves {
            self.downstream.restart();
            self.remb_bps = None;
            self.round_trip = None;
        }
    }

    /// The transport-wide sequence number of the next packet (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
    pub(crate) fn next_seq(&self) -> [u8; 2] {
        self.downstream.next_seq().to_be_bytes()
    }

    /// An RTP packet of `bytes` has left with that number.
    pub(crate) fn on_sent(&mut self, clock: Duration, bytes: usize) {
        self.pacer.on_sent(bytes);
        if self.is_numbered {
            self.downstream.on_sent(micros(clock), bytes);
        }
    }

    /// One of these has left a second time, under the same number.
    pub(crate) fn on_repeated(&mut self, bytes: usize) {
        self.pacer.on_sent(bytes);
    }

    /// A batch or a tick begins: the pacer learns the time.
    pub(crate) fn refill(&mut self, clock: Duration) {
        self.pacer.refill(micros(clock), self.downstream.next_limit());
    }

    /// The line has shown that it carries no more, by decree.
    #[cfg(test)]
    pub(crate) fn limit(&mut self, bps: u64) {
        self.downstream.set_limit(bps);
    }

    /// Whether video may leave.
    pub(crate) fn is_open(&mut self, clock: Duration) -> bool {
        self.pacer.is_open() && !self.downstream.is_congested(micros(clock))
    }

    /// What the receiver tells of arrivals. True when the estimate has fallen by much.
    pub(crate) fn on_feedback(&mut self, clock: Duration, body: &[u8]) -> bool {
        let now_us = micros(clock);
        let earned = now_us.saturating_sub(self.statuses_us) / (1_000_000 / STATUSES_PER_S);
        if earned > 0 {
            self.statuses = (self.statuses + earned as usize).min(STATUSES_MAX);
            self.statuses_us = now_us;
        }
        let feedback = twcc::parse_feedback(body);
        self.downstream.on_feedback(now_us, feedback, &mut self.statuses, self.round_trip)
    }

    /// The receiver's own estimate (draft-alvestrand-rmcat-remb-03), for those who tell of no arrivals.
    pub(crate) fn on_remb(&mut self, bps: u64) {
        self.remb_bps = Some(bps.max(REMB_BPS_MIN)).filter(|_| !self.downstream.has_told());
    }

    /// `can_probe`: whether there is a slot that a probe can be sent into.
    pub(crate) fn on_tick(&mut self, clock: Duration, can_probe: impl FnOnce() -> bool) {
        self.downstream.on_tick(micros(clock), can_probe);
        if self.downstream.loss().is_some_and(|loss| loss > LOSSY) {
            self.lossy_until = clock + LOSSY_FOR;
        }
        if !self.is_probeable {
            self.downstream.try_again(micros(clock));
        }
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.downstream.is_probing()
    }

    /// Bytes of probe that shall leave now; `None` when no probe is leaving.
    pub(crate) fn due_probe_bytes(&mut self, clock: Duration) -> Option<u64> {
        self.downstream.due_probe_bytes(micros(clock))
    }

    /// Whether packets get lost on the line, or did a moment ago: here, or before they came to the server.
    pub(crate) fn is_lossy(&self, clock: Duration) -> bool {
        clock < self.lossy_until
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What the line is taken to carry; `None` when the receiver tells nothing of it.
    pub(crate) fn estimate_bps(&self) -> Option<u64> {
        // Of who cannot be probed only media tells, so the estimate counts once the line has shown an end.
        let estimate = match self.is_probeable {
            true if self.is_numbered => self.downstream.assumed_bps(),
            _ => self.downstream.limit(),
        };
        estimate.or(self.remb_bps)
    }

    /// A queue, losses or the receiver have told what the line carries; before, the estimate is what to begin with.
    pub(crate) fn has_end(&self) -> bool {
        self.downstream.limit().or(self.remb_bps).is_some()
    }

    /// What may leave is bounded: the line has shown an end.
    pub(crate) fn is_narrow(&self) -> bool {
        self.downstream.limit().is_some()
    }

    /// Bytes of a layer's past that may be sent to somebody who begins with it.
    pub(crate) fn past_bytes_max(&self) -> usize {
        let bytes = |bps: u64| bps.saturating_mul(PAST_US_MAX) / 8_000_000;
        self.downstream.limit().map_or(PAST_BYTES_MAX, |limit| bytes(limit).min(PAST_BYTES_MAX)) as usize
    }

    /// What the receiver should be able to get: as much is looked for on the line.
    pub(crate) fn wants(&mut self, bps: u64) {
        self.downstream.wants(bps);
    }

    /// Whether the line does not carry some picture at all: more is looked for sooner.
    pub(crate) fn set_urgent(&mut self, is_urgent: bool) {
        self.downstream.set_urgent(is_urgent);
    }

    /// What the receiver reports about one of our SSRCs at `clock` (RFC 3550 §6.4.1).
    pub(crate) fn on_report(&mut self, clock: Duration, report: &ReportBlock) {
        if f64::from(report.fraction_lost) > 256.0 * LOSSY {
            self.lossy_until = clock + LOSSY_FOR;
        }
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
            estimate_bps: self.downstream.estimate_bps().or(self.remb_bps),
            loss_permille: self.downstream.loss().map(|loss| (loss * 1000.0).round() as u16),
            round_trip_ms: self.round_trip.map(|time| time.as_millis() as u32),
        };
        if quality == Quality::default() || self.told.is_some_and(|told| is_alike(&told, &quality)) {
            return None;
        }
        self.told = Some(quality);
        Some(quality)
    }
}

fn micros(clock: Duration) -> u64 {
    clock.as_micros() as u64
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
