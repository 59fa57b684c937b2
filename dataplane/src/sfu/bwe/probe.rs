//! Probes: short clusters faster than the estimate, which show what a line carries that is not asked for more at the
//! moment. What the media needs meanwhile is part of the cluster.
//!
//! ```text
//! first feedback ─> 3x ─> 2x ─> 2x … while each comes through and more is wanted
//! more wanted than estimated: every two to four seconds, not while a queue is there
//! ```

use super::sent::Told;
use crate::sfu::pacer;

/// First probe against the first estimate, and every probe against the one that holds (libwebrtc: 3 and 6, then 2).
const FIRST: f64 = 3.0;
const NEXT: f64 = 2.0;
/// What is wanted fits when so much more has been shown: layers are chosen with room to spare.
const GOAL: f64 = 1.2;
/// A probe goes that much beyond what is wanted, so that the goal is met.
const BEYOND: f64 = 1.4;
/// No line needs more, and a cluster at this rate is 60 kB.
const BPS_MAX: f64 = 20e6;
/// A cluster lasts for several trains, and has packets enough that one of them says little.
const LASTS_US_MIN: u64 = 25_000;
const PACKETS_MIN: f64 = 6.0;
const PACKET_BITS: f64 = 1200.0 * 8.0;
/// Between two trains of a cluster.
const STEP_US: u64 = pacer::INTERVAL.as_micros() as u64;
/// After that nothing is heard of it any more.
const PATIENCE_US: u64 = 2_000_000;
/// Least and longest time between a probe that failed and the next one: a line that has become better is found within the
/// longest, and what failing probes add is some ten kbit/s. Who does not see somebody at all does not wait for the longest.
const PAUSE_US: u64 = 2_000_000;
const PAUSE_US_MAX: u64 = 4_000_000;
/// After so long nothing puts a probe off.
const OVERDUE_US: u64 = 10_000_000;
/// Share of a cluster that must have arrived for its rate to mean something: every tenth packet may get lost.
const ARRIVED_MIN: f64 = 0.6;
/// Below this share of the rate sent, the line was full.
const FULL: f64 = 0.9;
/// A full line is used to this share.
const USED: f64 = 0.95;
/// What arrives faster than it left by more than this was bunched on the way.
const BUNCHED: f64 = 2.0;

#[derive(Debug, Default)]
pub(crate) struct Probes {
    cluster: Option<Cluster>,
    last_id: u8,
    /// The last probe, or what keeps the next one waiting, was then; it waits for so long.
    since_us: u64,
    pause_us: u64,
    /// There is a picture that the line does not carry at all.
    is_urgent: bool,
    /// When the last probe began.
    began_us: u64,
}

#[derive(Debug)]
struct Cluster {
    id: u8,
    bps: f64,
    began_us: u64,
    lasts_us: u64,
    /// Everything that left while it lasted.
    sent_bytes: u64,
    /// Known once it has left: the first packet number behind it.
    end: Option<u64>,
    arrived_bytes: u64,
    /// Times of the first and last packets of those that arrived, and the bytes that left or came with these.
    sent: Option<Span>,
    arrived: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    first_us: i64,
    first_bytes: u64,
    last_us: i64,
    last_bytes: u64,
}

/// What a cluster has shown.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Verdict {
    /// It came through as it was sent.
    Through(f64),
    /// The line carries this much and no more.
    Full(f64),
    Nothing,
}

impl Probes {
    /// More is wanted than the estimate, and it is time to look for it.
    pub(crate) fn is_due(&self, now_us: u64, estimate_bps: f64, wants_bps: f64) -> bool {
        let pause_us = if self.is_urgent { self.pause_us.min(PAUSE_US) } else { self.pause_us };
        self.cluster.is_none()
            && GOAL * wants_bps > estimate_bps
            && (self.is_overdue(now_us) || now_us >= self.since_us + pause_us)
    }

    /// It is so long since the last that nothing puts the next one off: what others send may look like an overuse for ever, and
    /// whoever gets little more than sound learns of the rest of their line by probes alone.
    pub(crate) fn is_overdue(&self, now_us: u64) -> bool {
        now_us >= self.began_us + OVERDUE_US
    }

    pub(crate) fn set_urgent(&mut self, is_urgent: bool) {
        self.is_urgent = is_urgent;
    }

    pub(crate) fn begin(&mut self, now_us: u64, estimate_bps: f64, wants_bps: f64) {
        self.began_us = now_us;
        let factor = if self.last_id == 0 { FIRST } else { NEXT };
        let bps = (factor * estimate_bps).min((BEYOND * wants_bps).max(estimate_bps)).min(BPS_MAX);
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let lasts_us = LASTS_US_MIN.max((PACKETS_MIN * PACKET_BITS / bps * 1e6) as u64);
        self.cluster = Some(Cluster {
            id: self.last_id,
            bps,
            began_us: now_us,
            lasts_us,
            sent_bytes: 0,
            end: None,
            arrived_bytes: 0,
            sent: None,
            arrived: None,
        });
    }

    /// The cluster that is leaving; 0 for none.
    pub(crate) fn id(&self) -> u8 {
        self.cluster.as_ref().filter(|cluster| cluster.end.is_none()).map_or(0, |cluster| cluster.id)
    }

    pub(crate) fn on_sent(&mut self, bytes: usize) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.end.is_none()) {
            cluster.sent_bytes += bytes as u64;
        }
    }

    /// Bytes that must leave now for the cluster to have its rate; `None` when none is leaving. `next_seq` is that of the
    /// next packet.
    pub(crate) fn due_bytes(&mut self, now_us: u64, next_seq: u64) -> Option<u64> {
        let cluster = self.cluster.as_mut().filter(|cluster| cluster.end.is_none())?;
        let passed_us = now_us.saturating_sub(cluster.began_us);
        if passed_us >= cluster.lasts_us {
            cluster.end = Some(next_seq);
            return None;
        }
        let due = cluster.bps * (passed_us + STEP_US) as f64 / 8e6;
        Some((due as u64).saturating_sub(cluster.sent_bytes))
    }

    pub(crate) fn on_arrival(&mut self, told: &Told, arrived_us: i64) {
        let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.id == told.cluster) else {
            return;
        };
        cluster.arrived_bytes += told.bytes;
        Span::extend(&mut cluster.sent, told.sent_us as i64, told.bytes);
        Span::extend(&mut cluster.arrived, arrived_us, told.bytes);
    }

    /// What a cluster has shown of which everything was told: the numbers below `settled`.
    pub(crate) fn verdict(&mut self, now_us: u64, settled: u64) -> Option<Verdict> {
        let cluster = self.cluster.as_ref()?;
        let told = cluster.end.is_some_and(|end| settled >= end);
        if !told && now_us < cluster.began_us + cluster.lasts_us + PATIENCE_US {
            return None;
        }
        let cluster = self.cluster.take()?;
        let verdict = cluster.verdict();
        match verdict {
            Verdict::Through(_) => (self.since_us, self.pause_us) = (now_us, 0),
            Verdict::Full(_) | Verdict::Nothing => self.back_off(now_us),
        }
        Some(verdict)
    }

    /// A queue was there: not now, but soon, since only a probe tells whether the line or chance made it.
    pub(crate) fn put_off(&mut self, now_us: u64) {
        (self.since_us, self.pause_us) = (now_us, PAUSE_US);
    }

    /// A probe has failed: each after the other later.
    fn back_off(&mut self, now_us: u64) {
        self.pause_us = (self.pause_us * 2).clamp(PAUSE_US, PAUSE_US_MAX);
        self.since_us = now_us;
    }
}

impl Cluster {
    fn verdict(&self) -> Verdict {
        let (Some(sent), Some(arrived)) = (self.sent, self.arrived) else { return Verdict::Nothing };
        let (sent_us, arrived_us) = (sent.last_us - sent.first_us, arrived.last_us - arrived.first_us);
        if (self.arrived_bytes as f64) < ARRIVED_MIN * self.sent_bytes as f64
            || sent_us <= 0
            || arrived_us <= 0
        {
            return Verdict::Nothing;
        }
        // What left last left at the end of the time, and what came first at the beginning of it.
        let sent_bps = (self.arrived_bytes - sent.last_bytes) as f64 * 8e6 / sent_us as f64;
        let arrived_bps = (self.arrived_bytes - arrived.first_bytes) as f64 * 8e6 / arrived_us as f64;
        if arrived_bps > BUNCHED * sent_bps {
            return Verdict::Nothing;
        }
        if arrived_bps < FULL * sent_bps {
            Verdict::Full(USED * arrived_bps)
        } else {
            Verdict::Through(sent_bps.min(arrived_bps))
        }
    }
}

impl Span {
    fn extend(span: &mut Option<Span>, at_us: i64, bytes: u64) {
        let Some(span) = span else {
            *span = Some(Span { first_us: at_us, first_bytes: bytes, last_us: at_us, last_bytes: bytes });
            return;
        };
        if at_us < span.first_us {
            (span.first_us, span.first_bytes) = (at_us, bytes);
        }
        match at_us.cmp(&span.last_us) {
            std::cmp::Ordering::Greater => (span.last_us, span.last_bytes) = (at_us, bytes),
            std::cmp::Ordering::Equal => span.last_bytes += bytes,
            std::cmp::Ordering::Less => {}
        }
    }
}
