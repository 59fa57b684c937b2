//! What somebody sees who begins to look at a source between two keyframes, or whose line carries a smaller layer only: the
//! last keyframe and what came after it, out of the history that is kept for retransmission. Nobody is asked for anything.
//!
//! ```text
//! sent by the publisher  K───p───p───p───p───p───p …      one picture each 33 ms
//! sent to the newcomer                  Kppppp──p …       the past within a moment, then the present
//! ```
//!
//! The timestamps of the past are squeezed, so that it is decoded and not watched: the picture is in time with the sound
//! from the first moment on. Pictures that no later one needs are left out.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::id::{ExtSeq, RtpTime, SlotIndex};
use crate::relief::Relief;
use crate::sfu::batch::{Item, Meta};
use crate::sfu::downlink::Downlink;
use crate::sfu::history::Entry;
use crate::sfu::layer::Layer;
use crate::sfu::pacer::Held;
use crate::sfu::room::{Turn, pacing};
use crate::sfu::slab::Key;
use crate::sfu::slot::{SQUEEZE, Sender, Slot};
use crate::sfu::source::Source;
use crate::sfu::tempo::Tempo;

/// Sends the past of the layer of `live`, whose packets from `until` on are about to be forwarded on a line without an end.
pub(super) fn open(
    slot: &mut Slot,
    key: Key<Source>,
    source: &Source,
    live: &Meta,
    until: ExtSeq,
    to: &mut Sender<'_>,
    turn: &mut Turn<'_>,
) {
    // A core that has too much to do sends nobody the past.
    if !turn.relief.is_whole() || !to.downlink.pacer.is_free() {
        return;
    }
    let layer = source.layers.get(live.layer).filter(|layer| layer.epoch == live.epoch);
    let past = layer.and_then(|layer| layer.opening(turn.now, until, to.downlink.past_bytes_max()));
    let (Some(layer), Some(past)) = (layer, past) else { return };
    for entry in needed(layer, past) {
        let captured = live.captured.saturating_sub(behind(live.timestamp, entry));
        let forward = |packet: &mut Item<'_>| slot.forward_past(packet, live.timestamp, to, turn.egress);
        match pacing::with_kept(key, layer, live.layer, entry.seq, captured, forward) {
            Ok(true) => turn.counters.rtp_forwarded += 1,
            Ok(false) => {}
            Err(reason) => return turn.counters.drop(reason),
        }
    }
}

/// Holds the past of the largest layer that the slot may begin with, for a narrow line, which does not wait for the layer's
/// next picture. Returns how many packets that are.
pub(super) fn hold(
    (index, slot): (SlotIndex, &Slot),
    source: &Source,
    now: Instant,
    clock: Duration,
    relief: Relief,
    downlink: &mut Downlink,
) -> u64 {
    let may = relief.is_whole() && downlink.is_narrow() && slot.waits();
    let Some(key) = slot.source.filter(|_| may) else { return 0 };
    let bytes_max = downlink.past_bytes_max();
    let opening = |at: usize| {
        let layer = source.layers.get(at).filter(|_| slot.may_open(at))?;
        let newest = layer.newest()?;
        Some((at, layer, newest.timestamp, layer.opening(now, ExtSeq(newest.seq.0 + 1), bytes_max)?))
    };
    let Some((at, layer, present, past)) = (0..=slot.target).rev().find_map(opening) else { return 0 };
    if downlink.pacer.opens(index, at) {
        return 0;
    }
    // What waits of another layer is worth nothing from here on.
    downlink.pacer.supersede(index, at, layer.epoch);
    let mut count = 0;
    for entry in needed(layer, past) {
        let captured = clock.saturating_sub(behind(present, entry));
        let (rank, epoch, seq, present) = (slot.rank(), layer.epoch, entry.seq, Some(present));
        let packet =
            Held { slot: index, rank, source: key, layer: at, epoch, seq, captured, present, since: clock };
        count += u64::from(downlink.pacer.hold(packet));
    }
    count
}

/// Of the past what later pictures need.
fn needed(layer: &Layer, past: Range<u64>) -> impl Iterator<Item = &Entry> {
    let entries = past.map_while(|seq| layer.history.find(ExtSeq(seq))).map(|(entry, _)| entry);
    entries.filter(|entry| entry.numbers.least == Tempo::Base)
}

/// How long before the present a squeezed picture is to be shown.
fn behind(present: RtpTime, past: &Entry) -> Duration {
    let ticks = u64::from(present.since(past.timestamp).max(0).unsigned_abs() / SQUEEZE);
    Duration::from_micros(ticks * 1_000_000 / u64::from(past.codec.clock_rate_hz()))
}
