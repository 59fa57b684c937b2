//! What may leave to one receiver now, and what waits: video that would only fill the queue of a narrow line is held here
//! for a moment, where sound and retransmissions still overtake it, and given up when the moment is over.
//!
//! ```text
//!  sound, retransmissions ───────────────────────────> train     charged, never held
//!  video ──── within the budget ─────────────────────> train
//!        └─── else: held, the most important slot first ─> train, every 5 ms, as the budget allows
//!                    ├ longer than 200 ms: pictures that no other needs are left out, where there are such
//!                    └ longer than 600 ms: the slot's packets are dropped, and it goes on at a keyframe
//! ```
//!
//! A line that has shown no end has no budget to keep, and nothing of this costs it more than a comparison. What is held
//! is a number, not a packet: the payload stays in the layer's history.

use std::collections::VecDeque;
use std::time::Duration;

use crate::id::{ExtSeq, RtpTime, SlotIndex};
use crate::sfu::slab::Key;
use crate::sfu::source::Source;

/// Sent per estimated bit: what arrives in one frame's time leaves within the next, and a queue that an estimate a little
/// too high has made is not fed for long.
const FACTOR_PERCENT: u64 = 120;
/// Bytes that may leave at once are those of so much time at the estimate: a frame leaves as a train, a keyframe does not.
const BURST_US: u64 = 60_000;
/// A burst of two packets is allowed to everybody.
const BURST_BYTES_MIN: i64 = 2400;
/// A longer pause earns no more; the burst is full by then.
const PAUSE_US_MAX: u64 = 1_000_000;
/// How long video may be held before pictures are left out: with the line's own queue it is still in time.
const LATE: Duration = Duration::from_millis(200);
/// And before it is given up, which costs a keyframe, and a picture that stands still until it comes. What a line held when it
/// became narrow has left it by then, and a keyframe with it.
const HELD_MAX: Duration = Duration::from_millis(600);
/// Packets held for one receiver: 600 ms of 8 Mbit/s.
const PACKETS_MAX: usize = 512;
/// How often held packets are looked at; trains of a narrow line are not longer.
pub(crate) const INTERVAL: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// 0: the line has shown no end.
    limit_bps: u64,
    /// Bytes that may leave now; what may not be held makes it negative.
    budget: i64,
    filled_us: u64,
    /// The rank of the most important slot of which something has waited for long.
    late: Option<u16>,
    held: VecDeque<Held>,
}

/// A video packet that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) slot: SlotIndex,
    /// Of the slot: the lowest leaves first.
    pub(crate) rank: u16,
    pub(crate) source: Key<Source>,
    pub(crate) layer: usize,
    pub(crate) epoch: u32,
    pub(crate) seq: ExtSeq,
    /// A keyframe begins with it.
    pub(crate) keyframe: bool,
    pub(crate) captured: Duration,
    /// Of the past that somebody begins with: the present, towards which it is squeezed.
    pub(crate) present: Option<RtpTime>,
    /// When it came.
    pub(crate) since: Duration,
}

impl Pacer {
    /// What the line carries, if it has shown an end, and the time.
    pub(crate) fn refill(&mut self, now_us: u64, limit_bps: Option<u64>) {
        let passed_us = now_us.saturating_sub(self.filled_us).min(PAUSE_US_MAX);
        self.filled_us = now_us;
        self.late = self.older_than(LATE, Duration::from_micros(now_us)).map(|held| held.rank);
        self.limit_bps = limit_bps.unwrap_or(0);
        if self.limit_bps == 0 {
            self.budget = 0;
            return;
        }
        let bytes = |us: u64| (self.limit_bps * us / 8_000_000) as i64;
        let most = bytes(BURST_US).max(BURST_BYTES_MIN);
        self.budget = (self.budget + bytes(passed_us * FACTOR_PERCENT / 100)).clamp(-most, most);
    }

    /// Whether everything may leave: the line has shown no end.
    pub(crate) fn is_free(&self) -> bool {
        self.limit_bps == 0 && self.held.is_empty()
    }

    /// Whether video may leave.
    pub(crate) fn is_open(&self) -> bool {
        self.limit_bps == 0 || self.budget > 0
    }

    /// Whether this slot's packets must wait behind earlier ones.
    pub(crate) fn holds(&self, slot: SlotIndex) -> bool {
        self.held.iter().any(|held| held.slot == slot)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.budget -= bytes as i64;
    }

    /// Takes a packet to hold. False when there is no room.
    pub(crate) fn hold(&mut self, packet: Held) -> bool {
        if self.held.len() == PACKETS_MAX {
            return false;
        }
        let behind = self.held.iter().rposition(|held| held.rank <= packet.rank).map_or(0, |at| at + 1);
        self.held.insert(behind, packet);
        true
    }

    /// The next packet to leave.
    pub(crate) fn release(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    /// A slot whose oldest packet has waited for too long.
    pub(crate) fn overdue(&self, now: Duration) -> Option<SlotIndex> {
        self.older_than(HELD_MAX, now).map(|held| held.slot)
    }

    /// When it was filled last, something of this rank, or of a more important one, had waited for so long that not every
    /// picture can leave.
    pub(crate) fn is_late(&self, rank: u16) -> bool {
        self.late.is_some_and(|late| late <= rank)
    }

    /// Whether a keyframe waits with which the slot begins this layer.
    pub(crate) fn begins(&self, slot: SlotIndex, source: Key<Source>, layer: usize) -> bool {
        let is_it =
            |held: &Held| held.keyframe && (held.slot, held.source, held.layer) == (slot, source, layer);
        self.held.iter().any(is_it)
    }

    /// Whether this very packet waits.
    pub(crate) fn has(&self, packet: &Held) -> bool {
        let name = |held: &Held| (held.slot, held.source, held.layer, held.epoch, held.seq);
        self.held.iter().any(|held| name(held) == name(packet))
    }

    /// How many packets more it takes.
    pub(crate) fn room(&self) -> usize {
        PACKETS_MAX - self.held.len()
    }

    fn older_than(&self, age: Duration, now: Duration) -> Option<&Held> {
        self.held.iter().find(|held| now.saturating_sub(held.since) > age)
    }

    /// Drops what is held for a slot. Returns how many packets that were.
    pub(crate) fn give_up(&mut self, slot: SlotIndex) -> u64 {
        let before = self.held.len();
        self.held.retain(|held| held.slot != slot);
        (before - self.held.len()) as u64
    }

    /// Drops what is held for a slot of other layers than this one, whose keyframe makes it worthless.
    pub(crate) fn supersede(&mut self, slot: SlotIndex, layer: usize, epoch: u32) {
        self.held.retain(|held| held.slot != slot || (held.layer, held.epoch) == (layer, epoch));
    }

    /// Slots have other numbers, or none.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(source: Key<Source>, slot: u16, rank: u16, seq: u64, since_ms: u64) -> Held {
        Held {
            slot: SlotIndex(slot),
            rank,
            source,
            layer: 0,
            epoch: 1,
            seq: ExtSeq(seq),
            keyframe: false,
            captured: Duration::ZERO,
            present: None,
            since: Duration::from_millis(since_ms),
        }
    }

    #[test]
    fn a_line_without_an_end_lets_everything_pass() {
        let mut pacer = Pacer::default();
        pacer.refill(1_000_000, None);
        pacer.on_sent(10_000_000);
        assert!(pacer.is_open());
    }

    #[test]
    fn a_narrow_line_gets_a_burst_and_then_its_rate() {
        let mut pacer = Pacer::default();
        let (mut now_us, mut sent) = (1_000_000, 0);
        pacer.refill(now_us, Some(800_000));
        for _ in 0..2000 {
            now_us += 5_000;
            pacer.refill(now_us, Some(800_000));
            while pacer.is_open() {
                pacer.on_sent(1200);
                sent += 1200;
            }
        }
        // Ten seconds at 800 kbit/s are a megabyte.
        assert!((1_190_000..1_215_000).contains(&sent), "{sent}");
    }

    #[test]
    fn important_slots_leave_first_each_in_its_order() {
        let source = Key::of_nothing();
        let mut pacer = Pacer::default();
        for (slot, rank, seq) in [(1, 5, 10), (2, 1, 20), (1, 5, 11), (3, 5, 30), (2, 1, 21)] {
            assert!(pacer.hold(held(source, slot, rank, seq, 0)));
        }
        let order: Vec<u64> = std::iter::from_fn(|| pacer.release()).map(|held| held.seq.0).collect();
        assert_eq!(order, [20, 21, 10, 11, 30]);
    }

    #[test]
    fn what_waits_too_long_goes_with_all_of_its_slot() {
        let source = Key::of_nothing();
        let mut pacer = Pacer::default();
        pacer.hold(held(source, 1, 5, 10, 0));
        pacer.hold(held(source, 1, 5, 11, 150));
        pacer.hold(held(source, 2, 1, 20, 100));
        let ms = Duration::from_millis;
        assert_eq!(pacer.overdue(ms(600)), None);
        assert_eq!(pacer.overdue(ms(601)), Some(SlotIndex(1)));
        assert_eq!(pacer.give_up(SlotIndex(1)), 2);
        assert_eq!(pacer.overdue(ms(601)), None);
        assert!(pacer.holds(SlotIndex(2)) && !pacer.holds(SlotIndex(1)));
    }

    #[test]
    fn what_waits_for_long_is_late_before_it_is_given_up() {
        let mut pacer = Pacer::default();
        pacer.hold(held(Key::of_nothing(), 1, 5, 10, 1_000));
        let mut is_late = |ms: u64| {
            pacer.refill(ms * 1_000, Some(100_000));
            [4, 5, 6].map(|rank| pacer.is_late(rank))
        };
        assert_eq!(is_late(1_200), [false; 3]);
        assert_eq!(is_late(1_201), [false, true, true], "what is more important did not wait");
    }

    #[test]
    fn the_queue_has_an_end() {
        let source = Key::of_nothing();
        let mut pacer = Pacer::default();
        assert!((0..PACKETS_MAX as u64).all(|seq| pacer.hold(held(source, 1, 1, seq, 0))));
        assert!(!pacer.hold(held(source, 1, 1, 999, 0)));
    }
}
