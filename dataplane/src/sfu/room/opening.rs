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
    let (Some(layer), Some((past, _))) = (layer, past) else { return };
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
/// next picture. Of the bytes that the line has for the past it takes what that needs.
pub(super) fn hold(
    (index, slot): (SlotIndex, &Slot),
    source: &Source,
    now: Instant,
    clock: Duration,
    downlink: &mut Downlink,
    bytes_left: &mut usize,
) -> u64 {
    let Some(key) = slot.source.filter(|_| downlink.is_narrow()) else { return 0 };
    if slot.layer() == Some(slot.target) || downlink.pacer.begins(index, key, slot.target) {
        return 0;
    }
    let opening = |at: usize| {
        let layer = source.layers.get(at).filter(|_| slot.may_open(at, true))?;
        let (newest, captured) = layer.newest()?;
        let (past, bytes) = layer.opening(now, ExtSeq(newest.seq.0 + 1), *bytes_left)?;
        Some((at, layer, (newest.timestamp, captured), past, bytes))
    };
    let Some((at, layer, present, past, bytes)) = (0..=slot.target).rev().find_map(opening) else { return 0 };
    let count = needed(layer, past.clone()).count();
    if downlink.pacer.begins(index, key, at) || count > downlink.pacer.room() {
        return 0;
    }
    let (epoch, first) = (layer.epoch, past.start);
    // What waits of another layer is worth nothing from here on.
    downlink.pacer.supersede(index, at, epoch);
    for entry in needed(layer, past) {
        let held = Held {
            slot: index,
            rank: slot.rank(),
            source: key,
            layer: at,
            epoch,
            seq: entry.seq,
            keyframe: entry.seq.0 == first,
            captured: present.1.saturating_sub(behind(present.0, entry)),
            present: Some(present.0),
            since: clock,
        };
        downlink.pacer.hold(held);
    }
    *bytes_left -= bytes;
    count as u64
}

/// Whether a layer can be shown without another keyframe: one waits for the line, or goes ahead of the layer's next picture.
pub(super) fn opens(
    (index, slot): (SlotIndex, &Slot),
    (source, at): (&Source, usize),
    now: Instant,
    downlink: &Downlink,
    bytes_left: usize,
) -> bool {
    let waits = slot.source.is_some_and(|key| downlink.pacer.begins(index, key, at));
    let comes = || slot.may_open(at, false) && source.layers[at].has_opening(now, bytes_left);
    waits || (!downlink.is_narrow() && comes())
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
