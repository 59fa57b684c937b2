//! How one encoding becomes a part of the slot's stream: what is added to its numbers, from one of its packets on.

use crate::id::{ExtSeq, RtpTime};
use crate::sfu::batch::Meta;
use crate::sfu::slab::Key;
use crate::sfu::source::Source;
use crate::sfu::tempo::{Numbers, Tempo};
use crate::wire::codec::{self, FrameMark};

/// Largest step of the outgoing sequence number, a quarter of its range.
const JUMP_MAX: u64 = 1 << 14;
/// How much faster than it was made the past is to be shown: two seconds in a sixteenth of one, and two frames still have
/// timestamps apart.
pub(crate) const SQUEEZE: u32 = 32;

/// How numbers of one encoding become numbers of the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub(super) source: Key<Source>,
    pub(super) layer: usize,
    pub(super) epoch: u32,
    pub(super) tempo: Tempo,
    /// Among the numbers of its tempo.
    pub(super) in_start: ExtSeq,
    pub(super) out_start: ExtSeq,
    /// Where its keyframe went.
    pub(super) keyframe: ExtSeq,
    pub(super) timestamp: u32,
    /// Timestamps before this one are nearer to it than they were.
    pub(super) squeezed_until: Option<RtpTime>,
    pub(super) picture_id: u16,
    pub(super) tl0: u8,
    pub(super) frame_number: u16,
}

impl Mapping {
    /// The same with more or fewer pictures from this packet on, if that can begin there: fewer with any picture, more where a
    /// decoder can follow, and neither where something behind it has already been left out. All numbers go on.
    pub(super) fn at_tempo(&self, tempo: Tempo, meta: &Meta, next: ExtSeq) -> Option<Mapping> {
        let Meta { mark, numbers, .. } = meta;
        let is_newest = self.seq(numbers) >= next;
        let is_above = numbers.least > self.tempo && numbers.least <= tempo;
        let enters = mark.layer_sync && (is_above || mark.temporal_id == 0);
        if !mark.frame_start
            || !is_newest
            || numbers.is_late
            || !(tempo < self.tempo || mark.keyframe || enters)
        {
            return None;
        }
        let left_out = numbers.left_out(tempo).wrapping_sub(numbers.left_out(self.tempo));
        Some(Mapping {
            tempo,
            in_start: numbers.seq(tempo),
            out_start: self.seq(numbers),
            picture_id: self.picture_id.wrapping_add(left_out),
            ..*self
        })
    }

    /// Whether the packet's outgoing number is near enough to `next` for the receiver's rollover counter to follow
    /// (RFC 3711 §3.3.1); a source that jumps further gets a mapping of its own.
    pub(super) fn follows(&self, numbers: &Numbers, next: ExtSeq) -> bool {
        !self.has(numbers) || self.seq(numbers).0 < next.0 + JUMP_MAX
    }

    /// Whether it begins no later than with this packet.
    pub(super) fn has(&self, numbers: &Numbers) -> bool {
        numbers.seq(self.tempo) >= self.in_start
    }

    /// Of a packet that it has.
    pub(super) fn seq(&self, numbers: &Numbers) -> ExtSeq {
        ExtSeq(self.out_start.0 + (numbers.seq(self.tempo).0 - self.in_start.0))
    }

    pub(super) fn picture_id(&self, mark: &FrameMark, numbers: &Numbers) -> Option<u16> {
        let value = mark.picture_id?.value.wrapping_sub(numbers.left_out(self.tempo));
        Some(value.wrapping_add(self.picture_id))
    }

    pub(super) fn time(&self, timestamp: RtpTime) -> RtpTime {
        let squeezed = self.squeezed_until.map_or(0, |until| squeeze(until, timestamp));
        timestamp.wrapping_add(squeezed).wrapping_add(self.timestamp)
    }

    pub(super) fn patch(&self, payload: &mut [u8], mark: &FrameMark, numbers: &Numbers) {
        if let (Some(at), Some(value)) = (mark.picture_id, self.picture_id(mark, numbers)) {
            codec::patch_picture_id(payload, at, value);
        }
        if let Some(at) = mark.tl0 {
            codec::patch_tl0(payload, at, at.value.wrapping_add(self.tl0));
        }
    }
}

/// Ticks by which a timestamp before `until` is moved towards it.
pub(super) fn squeeze(until: RtpTime, timestamp: RtpTime) -> u32 {
    let before = until.since(timestamp).max(0).unsigned_abs();
    before - before / SQUEEZE
}
