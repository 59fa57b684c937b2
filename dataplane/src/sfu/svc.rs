//! A stream whose pictures have several spatial layers (SVC), taken apart into what simulcast would have sent: for each layer a
//! stream of its own with all that a receiver of that layer needs, and with numbers of its own.
//!
//! ```text
//! picture           1 (key)        2              3              S0 to S2: spatial layers, as of L3T3_KEY
//! as it comes    10 S0 S1 S2    13 S0 S1 S2    16 S0 S1 S2
//! layer 0        10             11             12               what is left out leaves no hole
//! layer 1        10 11          12             13
//! layer 2        10 11 12       13             14
//! ```
//!
//! All behind it, openings, retransmissions, fewer pictures, choice of layers, is the same for both. What has not arrived counts as
//! a part of every layer, since nobody knows what it is; when it comes late it fills its place in those that do not need it with
//! nothing, so that no hole stays open.

use crate::id::{ExtSeq, RtpTime};
use crate::sfu::allocation::LAYERS_MAX;
use crate::wire::codec::FrameMark;
use crate::wire::codec::dependency::{Frame, Structure};

/// Packets whose numbers are remembered for what comes late; a power of two.
const REMEMBERED: usize = 512;

/// A packet as one layer has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) layer: usize,
    pub(crate) seq: ExtSeq,
    pub(crate) marker: bool,
    pub(crate) mark: FrameMark,
    /// It is nothing to this layer but its number.
    pub(crate) is_empty: bool,
    /// The layer is being sent: this is more than what the layers above are predicted from.
    pub(crate) is_own: bool,
}

/// Of one packet, at most one for each layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    parts: [Part; LAYERS_MAX],
    len: usize,
}

/// The numbering of a stream that is taken apart.
#[derive(Debug)]
pub(crate) struct Split {
    newest: Option<Numbered>,
    remembered: Box<[Option<Numbered>; REMEMBERED]>,
    /// Of the picture that each layer got last.
    timestamps: [Option<RtpTime>; LAYERS_MAX],
}

/// What a packet is called in each layer; in those without it, what the next is called.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    seq: ExtSeq,
    numbers: [ExtSeq; LAYERS_MAX],
    /// One bit for each layer that has it.
    members: u8,
}

impl Part {
    /// Sound has one layer, and a decoder can start with any packet of it.
    pub(crate) fn of_sound(seq: ExtSeq, marker: bool) -> Part {
        let mark = FrameMark { keyframe: true, ..FrameMark::default() };
        Part { layer: 0, seq, marker, mark, is_empty: false, is_own: true }
    }
}

impl Parts {
    pub(crate) fn one(part: Part) -> Parts {
        Parts { parts: [part; LAYERS_MAX], len: 1 }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().take(self.len)
    }
}

impl Split {
    /// The first packet that is taken apart has the stream's own number in all layers.
    pub(crate) fn new() -> Split {
        Split { newest: None, remembered: Box::new([None; REMEMBERED]), timestamps: [None; LAYERS_MAX] }
    }

    /// A packet of this number has come.
    pub(crate) fn has(&self, seq: ExtSeq) -> bool {
        self.remembered[place(seq)].is_some_and(|known| known.seq == seq)
    }

    /// What a packet that has just come is in each of `layers` layers; `None` when it is older than what is remembered. Without
    /// a `frame` it is a part of all of them.
    pub(crate) fn parts(
        &mut self,
        seq: ExtSeq,
        timestamp: RtpTime,
        marker: bool,
        mark: FrameMark,
        frame: Option<(&Frame, &Structure)>,
        layers: usize,
    ) -> Option<Parts> {
        let members = frame.map_or(u8::MAX, |(frame, _)| frame.members);
        let (numbered, is_late) = match &self.newest {
            Some(newest) if seq <= newest.seq => (self.before(seq, newest.seq)?, true),
            Some(newest) => (newest.after(seq, members), false),
            None => (Numbered { seq, numbers: [seq; LAYERS_MAX], members }, false),
        };
        self.remembered[place(seq)] = Some(numbered);
        if !is_late {
            self.newest = Some(numbered);
        }
        let none = Part { layer: 0, seq, marker, mark, is_empty: false, is_own: false };
        let mut parts = Parts { parts: [none; LAYERS_MAX], len: 0 };
        for layer in (0..layers.min(LAYERS_MAX)).filter(|layer| numbered.members & 1 << layer != 0) {
            let number = numbered.numbers[layer];
            parts.parts[parts.len] = match frame {
                None => Part { layer, seq: number, is_own: true, ..none },
                Some((frame, _)) if frame.members & 1 << layer == 0 => {
                    let mark = FrameMark::default();
                    Part { layer, seq: number, marker: false, mark, is_empty: true, is_own: false }
                }
                Some((frame, structure)) => {
                    let is_own = usize::from(frame.spatial_id) == layer;
                    let is_new = self.timestamps[layer] != Some(timestamp);
                    if !is_late {
                        self.timestamps[layer] = Some(timestamp);
                    }
                    let mark = mark.described(frame, layer, structure.height(layer));
                    let mark = FrameMark { frame_start: frame.starts && is_new, ..mark };
                    let marker = marker || (is_own && frame.ends);
                    Part { layer, seq: number, marker, mark, is_empty: false, is_own }
                }
            };
            parts.len += 1;
        }
        Some(parts)
    }

    /// The numbers of a packet that was missing until now, or has come already.
    fn before(&self, seq: ExtSeq, newest: ExtSeq) -> Option<Numbered> {
        let next = (seq.0..=newest.0)
            .take(REMEMBERED)
            .find_map(|next| self.remembered[place(ExtSeq(next))].filter(|known| known.seq.0 == next))?;
        let numbers = next.numbers.map(|number| ExtSeq(number.0.saturating_sub(next.seq.0 - seq.0)));
        let members = if next.seq == seq { next.members } else { u8::MAX };
        Some(Numbered { seq, numbers, members })
    }
}

impl Numbered {
    /// The numbers of a later packet, with nothing but missing ones between them.
    fn after(&self, seq: ExtSeq, members: u8) -> Numbered {
        let missing = seq.0 - self.seq.0 - 1;
        let mut numbers = self.numbers;
        for (layer, number) in numbers.iter_mut().enumerate() {
            number.0 += missing + u64::from(self.members >> layer & 1);
        }
        Numbered { seq, numbers, members }
    }
}

fn place(seq: ExtSeq) -> usize {
    seq.0 as usize % REMEMBERED
}
