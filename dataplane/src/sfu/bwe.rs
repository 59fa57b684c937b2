//! What the line to one receiver carries, from what the receiver tells of each packet's arrival
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01): congestion control by delay and loss in the manner of Google's
//! (draft-ietf-rmcat-gcc-02). Sans-IO, on times since the server's start; everything is bounded.
//!
//! ```text
//! feedback ─ sent ─┬─ groups ─ trend ── usage ──┐
//!                  ├─ acked ── what arrives ────┤
//!                  ├─ flow ─── of a full line ──┤
//!                  ├─ friendly  beside others ──┤
//!                  ├─ probe ── what came through┼─ aimd ─┐
//!                  └─ loss ─── what was lost ───┴────────┴─ the lesser of both: the estimate
//! ```
//!
//! Sequence numbers are given to what leaves towards this receiver, so nothing that got lost before it came to the server
//! is counted.

mod acked;
mod aimd;
mod flow;
mod friendly;
mod groups;
mod loss;
mod probe;
mod sent;
mod trend;

#[cfg(test)]
mod tests;

use std::time::Duration;

use acked::Acked;
use aimd::{Aimd, Rates};
use flow::Flow;
use friendly::Friendly;
use groups::Groups;
use loss::LossBased;
use probe::{Probes, Verdict};
use sent::{News, SentPackets, Told};
use trend::{Trend, Usage};

use crate::wire::twcc::{CLOCK_WRAP_US, Feedback};

/// The estimate to begin with: sound and small pictures. Probes find the rest within a second.
const START_BPS: f64 = 1_000_000.0;
/// A receiver that tells nothing within this time will not.
const PATIENCE_US: u64 = 2_000_000;
/// Sound of one speaker and reports; below this nobody can take part.
const BPS_MIN: f64 = 50_000.0;
/// More than a receiver with all its slots can get.
const BPS_MAX: f64 = 200e6;
/// The round trip while no report has told it.
pub(crate) const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(100);
/// Without any feedback for this long the line is taken for broken, and the estimate halves.
const SILENCE_US: u64 = 1_000_000;
/// So long after the first halving, without a word since, the line is taken for another when it comes back.
const BROKEN_US: u64 = 2_000_000;
/// After an overuse the line is left alone for this long before it is probed again.
const CALM_US: u64 = 1_500_000;
/// Feedback may queue so long on the line in the mean; more in flight than this beyond the round trip is a queue that grows
/// faster than the estimate falls.
const QUEUE_US: f64 = 120_000.0;
/// A full line with so much of a queue is overused, whether enough groups have come through it for a trend or not.
const QUEUED_US: u64 = 100_000;
/// A trend that shows a queue which does not stand so long is that of frames, each of which is a queue for a moment.
const STANDING_US: u64 = 10_000;
/// And one that does not grow by so much from one quarter of a second to the next is that of others, who fill it slowly.
const GROWN_US: u64 = 4_000;
/// A queue that has not emptied for so long, though less was sent for it, is that of others, a TCP download for one. Once two
/// losses have been seen in it, they say what is due. Until then, as who gave way to each of its waves would soon have nothing, it is
/// given way to once in such a time: what is gained meanwhile near a known limit and what is lost then are alike at some 1 Mbit/s.
const SHARED_US: u64 = 2_000_000;
const YIELD_US: u64 = 3_000_000;
/// The others have gone when their queue is gone for so long: its waves reach down to where it looks empty.
const GONE_US: u64 = 1_000_000;
/// What is lost while less of it stands has not overflowed it: a path that has become longer looks like a queue for a while, and
/// what gets lost on the way there is not what is too much.
const OVERFLOWS_US: u64 = 30_000;
/// Of its estimate, what says nothing of a line on which it is sent beside others.
const LITTLE: f64 = 0.5;
/// Receivers tell of arrivals at intervals within these bounds (libwebrtc's are 50 to 250 ms).
const INTERVAL_US_MIN: u64 = 50_000;
const INTERVAL_US_MAX: u64 = 250_000;
/// An estimate may be far above what is sent; what is in flight is then held against this multiple of what arrives.
const WINDOW_ACKED: f64 = 1.25;
/// But a keyframe may be in flight, however little is sent otherwise, until the line has shown an end.
const WINDOW_BYTES_MIN: u64 = 48 * 1024;
/// An estimate that falls below this share of itself is worth an early choice of layers.
const FALLEN: f64 = 0.9;
/// The shortest way back that was seen is forgotten after some such time, since paths change.
const WAY_BACK_US: u64 = 10_000_000;

#[derive(Debug, Default)]
pub(crate) struct Downstream {
    sent: SentPackets,
    /// Made with the first feedback: who sends none costs nothing.
    estimator: Option<Box<Estimator>>,
    wants_bps: Option<u64>,
    /// Also before any feedback: who gets nothing else has nothing else to tell of.
    probes: Probes,
    // What every packet asks for, beside the ring and not behind the estimator's pointer.
    /// The estimate of a line that has shown an end.
    limit_bps: Option<u64>,
    /// Bytes that may be in flight; a line that holds more has an end.
    window: Option<u64>,
    /// Since the last feedback there was more in flight.
    was_exceeded: bool,
    began_us: Option<u64>,
    is_silent: bool,
    /// Feedback has come, if on the line before this one.
    has_told: bool,
    /// Since when packets that are under way are answered by nothing.
    broken_us: Option<u64>,
}

#[derive(Debug)]
struct Estimator {
    groups: Groups,
    trend: Trend,
    acked: Acked,
    flow: Flow,
    aimd: Aimd,
    loss: LossBased,
    friendly: Friendly,
    /// Others hold a queue on the line.
    is_shared: bool,
    estimate_bps: f64,
    /// A queue or losses have shown that the line has an end.
    is_limited: bool,
    over_us: Option<u64>,
    /// When the queue was empty last.
    emptied_us: u64,
    /// And when it was not.
    stood_us: u64,
    heard_us: u64,
    interval_us: u64,
    /// Shortest time from a packet to the feedback that told of it, lately.
    way_us: u64,
    way_at_us: u64,
    /// The receiver's clock, unwrapped.
    arrived_us: Option<i64>,
    clock_turns: i64,
}

/// A line that cannot be probed is given everything again after so much time without an overuse.
const RETRY_US: u64 = 15_000_000;
/// More is wanted than this while nobody has said how much: a camera in good quality and sound.
const WANTS_BPS: u64 = 3_000_000;

impl Downstream {
    /// As at the beginning, but for the numbers, which go on, and what is wanted.
    pub(crate) fn restart(&mut self) {
        let mut sent = std::mem::take(&mut self.sent);
        sent.forget();
        let (wants_bps, has_told) = (self.wants_bps, self.has_told);
        *self = Downstream { sent, wants_bps, has_told, ..Downstream::default() };
    }

    /// Whether the receiver has told of arrivals, on whichever line.
    pub(crate) fn has_told(&self) -> bool {
        self.has_told
    }

    /// The transport-wide number of the next packet.
    pub(crate) fn next_seq(&self) -> u16 {
        self.sent.next_seq()
    }

    /// The packet has left.
    pub(crate) fn on_sent(&mut self, now_us: u64, bytes: usize) {
        if self.began_us.is_none() {
            self.began_us = Some(now_us);
        }
        self.sent.on_sent(now_us, bytes, self.probes.id());
        self.probes.on_sent(bytes);
    }

    /// One feedback; `statuses` bounds what is read of it. True when the estimate has fallen by much.
    pub(crate) fn on_feedback(
        &mut self,
        now_us: u64,
        feedback: Feedback<'_>,
        statuses: &mut usize,
        round_trip: Option<Duration>,
    ) -> bool {
        let Downstream {
            sent, estimator, probes, limit_bps, window, was_exceeded, has_told, broken_us, ..
        } = self;
        let mut newest_us = None;
        for (seq, arrival) in feedback {
            let Some(left) = statuses.checked_sub(1) else { break };
            *statuses = left;
            let Some(told) = sent.on_status(now_us, seq, arrival.is_some()) else { continue };
            let estimator = estimator.get_or_insert_with(|| Box::new(Estimator::new(now_us)));
            newest_us = newest_us.max(Some(told.sent_us));
            match told.news {
                News::Lost => estimator.on_told(&told, true),
                News::Late => {
                    estimator.loss.on_late();
                    estimator.friendly.on_late(told.sent_us);
                }
                News::Arrived => estimator.on_told(&told, false),
            }
            let Some(arrived_us) = arrival else { continue };
            let arrived_us = estimator.unwrap(arrived_us);
            estimator.acked.on_packet(arrived_us, told.bytes);
            estimator.flow.on_packet(told.sent_us as i64, arrived_us, told.bytes);
            probes.on_arrival(&told, arrived_us);
            if let Some(step) = estimator.groups.on_packet(told.sent_us as i64, arrived_us) {
                estimator.trend.on_step(step);
            }
        }
        let (Some(estimator), Some(newest_us)) = (estimator, newest_us) else { return false };
        (*has_told, *broken_us) = (true, None);
        let before = estimator.estimate_bps;
        let is_congested = std::mem::take(was_exceeded) || sent.in_flight() > estimator.window_bytes();
        let round_trip = round_trip.unwrap_or(ROUND_TRIP_UNKNOWN);
        let verdict = probes.verdict(now_us, sent.settled());
        if estimator.update(now_us, newest_us, verdict, is_congested, round_trip) == Usage::Over {
            probes.put_off(now_us);
        }
        *limit_bps = estimator.limit_bps();
        *window = Some(estimator.window_bytes());
        estimator.estimate_bps < FALLEN * before
    }

    /// To be asked about every tick: halves the estimate of who is not heard of, and begins probes.
    pub(crate) fn on_tick(&mut self, now_us: u64, can_probe: impl FnOnce() -> bool) {
        let wants_bps = self.wants_bps.unwrap_or(WANTS_BPS) as f64;
        let in_flight = self.sent.in_flight();
        self.is_silent = self.estimator.is_none()
            && !self.has_told
            && self.began_us.is_some_and(|at| now_us > at + PATIENCE_US);
        if self.broken_us.is_some_and(|at| now_us > at + BROKEN_US) {
            // What was there before says nothing of what comes after, and only media that leaves can tell that it has come.
            self.restart();
        }
        if self.is_silent {
            return;
        }
        let Some(estimator) = &mut self.estimator else {
            // Whatever is larger than the estimate to begin with is paused, and without sound nothing would ever be told.
            self.probes.verdict(now_us, self.sent.settled());
            if self.probes.is_due(now_us, START_BPS, wants_bps) && can_probe() {
                self.probes.begin(now_us, START_BPS, wants_bps);
            }
            return;
        };
        if in_flight > 0 && now_us > estimator.heard_us + SILENCE_US {
            estimator.heard_us = now_us;
            estimator.is_limited = true;
            estimator.aimd.halve(now_us, BPS_MIN);
            estimator.judge();
            self.limit_bps = estimator.limit_bps();
            // What is so old will hardly be told of, and while it counted nothing would leave that could be.
            self.sent.give_up();
            self.broken_us.get_or_insert(now_us);
        }
        let calm = (estimator.over_us.is_none_or(|at| now_us > at + CALM_US)
            || self.probes.is_overdue(now_us))
            && self.sent.in_flight() <= estimator.window_bytes()
            // What comes through a queue of others is the line's rate and not one's own part of it.
            && estimator.friendly_bps().is_none();
        if calm && self.probes.is_due(now_us, estimator.estimate_bps, wants_bps) && can_probe() {
            self.probes.begin(now_us, estimator.estimate_bps, wants_bps);
        }
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.probes.id() != 0
    }

    /// What the receiver should be able to get; probes look for as much.
    pub(crate) fn wants(&mut self, bps: u64) {
        self.wants_bps = Some(bps);
    }

    /// Whether some of it is not sent at all: probes do not wait for the longest.
    pub(crate) fn set_urgent(&mut self, is_urgent: bool) {
        self.probes.set_urgent(is_urgent);
    }

    pub(crate) fn estimate_bps(&self) -> Option<u64> {
        self.estimator.as_ref().map(|estimator| estimator.estimate_bps as u64)
    }

    /// The estimate, and in its stead what to begin with while the receiver may still tell something.
    pub(crate) fn assumed_bps(&self) -> Option<u64> {
        self.estimate_bps().or_else(|| (!self.is_silent).then_some(START_BPS as u64))
    }

    /// What sending must keep to: the estimate of a line that has shown an end. More in flight than a line holds without a
    /// queue is the first that is seen of a line that has broken down: what is in the queue, nobody has told of.
    pub(crate) fn next_limit(&mut self) -> Option<u64> {
        if self.limit_bps.is_none()
            && self.window.is_some_and(|window| self.sent.in_flight() > window)
            && let Some(estimator) = &mut self.estimator
        {
            self.was_exceeded = true;
            estimator.is_limited = true;
            self.limit_bps = estimator.limit_bps();
        }
        self.limit_bps
    }

    /// The estimate of a line that has shown an end.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit_bps
    }

    #[cfg(test)]
    pub(crate) fn set_limit(&mut self, bps: u64) {
        self.limit_bps = Some(bps);
    }

    /// Of a line that cannot be probed only media can tell that it has become better.
    pub(crate) fn try_again(&mut self, now_us: u64) {
        let Some(estimator) = &mut self.estimator else { return };
        if estimator.is_limited && estimator.over_us.is_none_or(|at| now_us > at + RETRY_US) {
            estimator.is_limited = false;
            estimator.over_us = Some(now_us);
            self.limit_bps = None;
        }
    }

    /// More is on its way than the line holds without a queue.
    pub(crate) fn is_congested(&mut self, now_us: u64) -> bool {
        let is_congested = self.estimator.as_ref().is_some_and(|estimator| {
            // Of a line that says nothing at all only packets can tell that it is back.
            estimator.is_limited
                && now_us < estimator.heard_us + SILENCE_US / 2
                && self.sent.in_flight() > estimator.window_bytes()
        });
        self.was_exceeded |= is_congested;
        is_congested
    }

    pub(crate) fn loss(&self) -> Option<f64> {
        self.estimator.as_ref().map(|estimator| estimator.loss.loss())
    }

    /// Bytes of probe that are due; `None` when no probe is leaving.
    pub(crate) fn due_probe_bytes(&mut self, now_us: u64) -> Option<u64> {
        self.probes.due_bytes(now_us, self.sent.next())
    }
}

impl Estimator {
    fn new(now_us: u64) -> Estimator {
        Estimator {
            groups: Groups::default(),
            trend: Trend::new(),
            acked: Acked::new(),
            flow: Flow::new(),
            aimd: Aimd::new(START_BPS, now_us),
            loss: LossBased::default(),
            friendly: Friendly::default(),
            is_shared: false,
            estimate_bps: START_BPS,
            is_limited: false,
            over_us: None,
            emptied_us: now_us,
            stood_us: now_us,
            heard_us: now_us,
            interval_us: INTERVAL_US_MIN,
            way_us: u64::MAX,
            way_at_us: now_us,
            arrived_us: None,
            clock_turns: 0,
        }
    }

    fn on_told(&mut self, told: &Told, lost: bool) {
        self.loss.on_told(told.sent_us, told.bytes, lost);
        if self.is_shared {
            let overflowed = lost && self.flow.standing_us() >= OVERFLOWS_US;
            self.friendly.on_told(told.sent_us, told.bytes, overflowed);
        }
    }

    /// What is due to this receiver beside the others who fill the line.
    fn friendly_bps(&self) -> Option<f64> {
        self.friendly.bps().filter(|_| self.is_shared)
    }

    fn update(
        &mut self,
        now_us: u64,
        newest_us: u64,
        verdict: Option<Verdict>,
        is_congested: bool,
        round_trip: Duration,
    ) -> Usage {
        let passed_us = (now_us - self.heard_us.min(now_us)).clamp(INTERVAL_US_MIN, INTERVAL_US_MAX);
        self.interval_us = (7 * self.interval_us + passed_us) / 8;
        if now_us > self.heard_us + SILENCE_US {
            // Nothing is known of a queue of which nothing was told.
            self.emptied_us = now_us;
        }
        self.heard_us = now_us;
        let way_us = now_us.saturating_sub(newest_us);
        if way_us <= self.way_us || now_us > self.way_at_us + WAY_BACK_US {
            (self.way_us, self.way_at_us) = (way_us, now_us);
        }
        let acked = self.acked.bps();
        let is_queued = self.flow.queued_us() > QUEUED_US;
        let full = self.flow.full_bps();
        if self.flow.standing_us() < STANDING_US {
            self.emptied_us = now_us;
        } else {
            self.stood_us = now_us;
        }
        self.is_shared =
            now_us > self.emptied_us + SHARED_US || (self.is_shared && now_us < self.stood_us + GONE_US);
        self.friendly.on_round_trip(way_us);
        if self.is_shared {
            self.friendly.on_queue(now_us);
        }
        let friendly_bps = self.friendly_bps();
        // Of a line that others fill, what arrives of little is only what was sent.
        let says_little = |full: &f64| self.is_shared && *full < LITTLE * self.estimate_bps;
        let rates = Rates { acked, full: full.filter(|full| !says_little(full)), is_sure: is_queued };
        let has_yielded = self.is_shared && self.over_us.is_some_and(|at| now_us < at + YIELD_US);
        let is_own = self.emptied_us != now_us && self.flow.grown_us() >= GROWN_US && !has_yielded;
        let usage = match self.trend.usage() {
            _ if (is_congested || is_queued) && full.is_some() => Usage::Over,
            Usage::Over if !is_own => Usage::Normal,
            usage @ (Usage::Normal | Usage::Over | Usage::Under) => usage,
        };
        if usage == Usage::Over {
            self.over_us = Some(now_us);
            self.is_limited = true;
        }
        if let Some(bps) = friendly_bps {
            self.is_limited = true;
            self.aimd.on_share(now_us, bps, rates);
        } else {
            self.aimd.on_usage(now_us, usage, rates, round_trip);
            match verdict {
                Some(Verdict::Through(bps)) => self.raise(now_us, bps),
                Some(Verdict::Full(bps)) => {
                    self.is_limited = true;
                    self.raise(now_us, bps);
                }
                Some(Verdict::Nothing) | None => {}
            }
        }
        if self.loss.is_due(newest_us) {
            self.loss.update(newest_us, self.aimd.bps(), acked);
            self.is_limited |= self.loss.limit_bps().is_some_and(|limit| limit < self.aimd.bps());
        }
        self.judge();
        usage
    }

    /// A cluster came through at this rate.
    fn raise(&mut self, now_us: u64, bps: f64) {
        if bps > self.aimd.bps() {
            self.aimd.on_probe(now_us, bps);
            self.acked.forget();
        }
        self.loss.on_probe(bps);
    }

    fn judge(&mut self) {
        self.aimd.clamp(BPS_MIN, BPS_MAX);
        // What others say is due has counted the losses already.
        let by_loss =
            self.loss.limit_bps().filter(|_| self.friendly_bps().is_none()).unwrap_or(f64::INFINITY);
        self.estimate_bps = self.aimd.bps().min(by_loss).max(BPS_MIN);
    }

    fn limit_bps(&self) -> Option<u64> {
        self.is_limited.then_some(self.estimate_bps as u64)
    }

    /// Bytes that may be on their way: what the line holds in the time until the receiver tells of them, and a little.
    fn window_bytes(&self) -> u64 {
        let way_us = if self.way_us == u64::MAX { INTERVAL_US_MAX } else { self.way_us };
        let us = (way_us + self.interval_us) as f64 + QUEUE_US;
        let by_estimate = (self.estimate_bps * us / 8e6) as u64;
        let by_acked = self.acked.bps().map(|acked| (WINDOW_ACKED * acked * us / 8e6) as u64);
        let least = if self.is_limited { by_estimate.min(WINDOW_BYTES_MIN) } else { WINDOW_BYTES_MIN };
        by_acked.unwrap_or(by_estimate).min(by_estimate).max(least)
    }

    /// The receiver's clock without its wraps.
    fn unwrap(&mut self, arrived_us: i64) -> i64 {
        let mut unwrapped = arrived_us.saturating_add(self.clock_turns * CLOCK_WRAP_US);
        if let Some(before) = self.arrived_us {
            let turns = match unwrapped - before {
                ..=-1 if before - unwrapped > CLOCK_WRAP_US / 2 => 1,
                1.. if unwrapped - before > CLOCK_WRAP_US / 2 && self.clock_turns > 0 => -1,
                _ => 0,
            };
            self.clock_turns += turns;
            unwrapped += turns * CLOCK_WRAP_US;
        }
        self.arrived_us = Some(unwrapped);
        unwrapped
    }
}
