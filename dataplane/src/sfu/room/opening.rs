//! What somebody sees who begins to look at a source between two keyframes: the last keyframe and what came after it, out
//! of the history that is kept for retransmission. Nobody else is asked for anything.
//!
//! ```text
//! sent by the publisher  K───p───p───p───p───p───p …      one picture each 33 ms
//! sent to the newcomer                  Kppppp──p …       the past within a moment, then the present
//! ```
//!
//! The timestamps of the past are squeezed, so that it is decoded and not watched: the picture is in time with the sound
//! from the first moment on.

use std::time::Duration;

use crate::id::{ExtSeq, RtpTime};
use crate::sfu::batch::{Item, Meta};
use crate::sfu::room::{Turn, pacing};
use crate::sfu::slab::Key;
use crate::sfu::slot::{SQUEEZE, Sender, Slot};
use crate::sfu::source::Source;

/// Sends the past of the layer of `live`, whose packets from `until` on are about to be forwarded.
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
    if live.layer > slot.target || !turn.relief.is_whole() {
        return;
    }
    let Some(layer) = source.layers.get(live.layer).filter(|layer| layer.epoch == live.epoch) else { return };
    let Some(past) = layer.opening(turn.now, until) else { return };
    for seq in past.map(ExtSeq) {
        let Some((entry, _)) = layer.history.find(seq) else { return };
        let behind = behind(live.timestamp, entry.timestamp, entry.codec.clock_rate_hz());
        let captured = live.captured.saturating_sub(behind);
        let forward = |packet: &mut Item<'_>| slot.forward_past(packet, live.timestamp, to, turn.egress);
        match pacing::with_kept(key, layer, live.layer, seq, captured, forward) {
            Ok(true) => turn.counters.rtp_forwarded += 1,
            Ok(false) => {}
            Err(reason) => return turn.counters.drop(reason),
        }
    }
}

/// How long before the present a squeezed picture is to be shown.
fn behind(present: RtpTime, past: RtpTime, rate_hz: u32) -> Duration {
    let ticks = u64::from(present.since(past).max(0).unsigned_abs() / SQUEEZE);
    Duration::from_micros(ticks * 1_000_000 / u64::from(rate_hz))
}
