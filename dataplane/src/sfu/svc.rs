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
//! All behind it, openings, retransmissions, fewer pictures, choice of layers, is the same for both. What has not arrived is of the
//! frame that is around it, or if that is not one frame, counts as a part of every layer, since nobody knows what it is; when it comes
//! late it fills its place in those that do not need it with nothing, so that no hole stays open.

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
    /// Of the picture that each layer got last, and of the last that begins with a keyframe.
    timestamps: [Option<RtpTime>; LAYERS_MAX],
    key: Option<RtpTime>,
}

/// What a packet is called in each layer; in those without it, what the next is called.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    seq: ExtSeq,
    numbers: [ExtSeq; LAYERS_MAX],
    /// One bit for each layer that has it.
    members: u8,
    /// The same of what is missing before it.
    missing: u8,
    frame: Option<u16>,
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
        Split {
            newest: None,
            remembered: Box::new([None; REMEMBERED]),
            timestamps: [None; LAYERS_MAX],
            key: None,
        }
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
        let number = frame.map(|(frame, _)| frame.number);
        let (numbered, is_late) = match &self.newest {
            Some(newest) if seq <= newest.seq => (self.before(seq, newest.seq)?, true),
            Some(newest) => (newest.after(seq, members, number), false),
            None => {
                let numbers = [seq; LAYERS_MAX];
                (Numbered { seq, numbers, members, missing: u8::MAX, frame: number }, false)
            }
        };
        self.remembered[place(seq)] = Some(numbered);
        if !is_late {
            self.newest = Some(numbered);
            self.key = if mark.keyframe { Some(timestamp) } else { self.key };
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
                    let frame_start = frame.starts && is_new;
                    // The layers of a picture begin with the lowest that they have.
                    let keyframe = mark.keyframe || (frame_start && !is_late && self.key == Some(timestamp));
                    // A payload tells the height of the highest.
                    let height = mark.height.filter(|_| layer + 1 == layers);
                    let mark = FrameMark { frame_start, keyframe, height, ..mark };
                    let mark = mark.described(frame, layer, structure.height(layer));
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
        let behind = (seq.0..=newest.0).map(ExtSeq).take_while(|_| newest.0 - seq.0 < REMEMBERED as u64);
        let next =
            behind.filter_map(|seq| self.remembered[place(seq)].filter(|known| known.seq == seq)).next()?;
        if next.seq == seq {
            return Some(next);
        }
        let mut numbers = next.numbers;
        for (layer, number) in numbers.iter_mut().enumerate() {
            let has = u64::from(next.missing >> layer & 1);
            number.0 = number.0.saturating_sub((next.seq.0 - seq.0) * has);
        }
        Some(Numbered { seq, numbers, members: next.missing, ..next })
    }
}

impl Numbered {
    /// The numbers of a later packet, with nothing but missing ones between them, which are of the same frame if these two are.
    fn after(&self, seq: ExtSeq, members: u8, frame: Option<u16>) -> Numbered {
        let missing = if frame.is_some() && frame == self.frame { members } else { u8::MAX };
        let mut numbers = self.numbers;
        for (layer, number) in numbers.iter_mut().enumerate() {
            let count = (seq.0 - self.seq.0 - 1) * u64::from(missing >> layer & 1);
            number.0 += count + u64::from(self.members >> layer & 1);
        }
        Numbered { seq, numbers, members, missing, frame }
    }
}

fn place(seq: ExtSeq) -> usize {
    seq.0 as usize % REMEMBERED
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::codec::dependency::tests::written::{Encoding, Place};

    const LAYERS: usize = 3;
    const ENCODING: Encoding = Encoding { spatial: 3, temporal: 3, is_key: true, template_id_offset: 0 };
    /// Packets of each frame.
    const PACKETS: u64 = 2;
    const PICTURE: u64 = PACKETS * LAYERS as u64;

    /// A stream of which each tenth picture is a key picture, and what its layers have got.
    struct Stream {
        first: u64,
        split: Split,
        structure: Structure,
    }

    impl Stream {
        fn new(first: u64) -> Stream {
            let mut structure = Structure::default();
            let first_descriptor = ENCODING.with_structure(Stream::place(0));
            structure.read(ExtSeq(first), &first_descriptor).unwrap();
            Stream { first, split: Split::new(), structure }
        }

        fn place(nth: u64) -> Place {
            let (frame, packet) = (nth / PACKETS, nth % PACKETS);
            Place {
                spatial: (frame % LAYERS as u64) as u8,
                temporal: 0,
                key: (nth / PICTURE).is_multiple_of(10),
                starts: packet == 0,
                ends: packet == PACKETS - 1,
                frame_number: frame as u16,
            }
        }

        /// The `nth` packet comes.
        fn arrive(&mut self, nth: u64) -> Option<Vec<Part>> {
            let place = Stream::place(nth);
            let (seq, descriptor) = (ExtSeq(self.first + nth), ENCODING.descriptor(place));
            let frame = self.structure.read(seq, &descriptor).unwrap().unwrap();
            let mark =
                FrameMark { keyframe: place.key && nth.is_multiple_of(PICTURE), ..FrameMark::default() };
            let marker = nth % PICTURE == PICTURE - 1;
            let timestamp = RtpTime((nth / PICTURE) as u32);
            let described = Some((&frame, &self.structure));
            let parts = self.split.parts(seq, timestamp, marker, mark, described, LAYERS)?;
            Some(parts.iter().copied().collect())
        }

        fn is_needed(nth: u64, layer: usize) -> bool {
            let place = Stream::place(nth);
            let spatial = usize::from(place.spatial);
            spatial == layer || (place.key && spatial < layer)
        }
    }

    #[test]
    fn each_layer_is_a_stream_of_pictures_without_holes() {
        for first in [0, 65_530] {
            let mut stream = Stream::new(first);
            let mut parts: [Vec<Part>; LAYERS] = Default::default();
            for part in (0..11 * PICTURE).flat_map(|nth| stream.arrive(nth).unwrap()) {
                parts[part.layer].push(part);
            }
            for (layer, parts) in parts.iter().enumerate() {
                let key = (layer + 1) * PACKETS as usize;
                assert_eq!(parts.len(), 2 * key + 9 * PACKETS as usize);
                assert!(parts.iter().enumerate().all(|(at, part)| part.seq.0 == first + at as u64));
                let (of_key, rest) = parts.split_at(key);
                let bits = |of: &[Part], bit: fn(&Part) -> bool| of.iter().map(bit).collect::<Vec<_>>();
                for picture in [of_key].into_iter().chain(rest[..18].chunks(PACKETS as usize)) {
                    let last = picture.len() - 1;
                    assert_eq!(
                        bits(picture, |part| part.mark.frame_start),
                        (0..=last).map(|at| at == 0).collect::<Vec<_>>()
                    );
                    assert_eq!(
                        bits(picture, |part| part.marker),
                        (0..=last).map(|at| at == last).collect::<Vec<_>>()
                    );
                }
                assert!(of_key[0].mark.keyframe && rest[18].mark.keyframe);
                assert_eq!(of_key[0].mark.height, [Some(90), Some(180), Some(360)][layer]);
                assert_eq!(parts.iter().filter(|part| part.is_own).count(), 11 * PACKETS as usize);
            }
        }
    }

    #[test]
    fn what_comes_late_is_a_packet_where_it_is_needed_and_a_number_elsewhere() {
        let mut stream = Stream::new(1000);
        let late = PICTURE + 2;
        (0..2 * PICTURE).filter(|nth| *nth != late).for_each(|nth| assert!(stream.arrive(nth).is_some()));
        assert!(!stream.split.has(ExtSeq(1000 + late)) && stream.split.has(ExtSeq(1000 + late + 1)));
        let parts = stream.arrive(late).unwrap();
        let empty: Vec<_> = parts.iter().map(|part| (part.layer, part.is_empty)).collect();
        assert_eq!(empty, [(0, true), (1, false), (2, true)]);
        // Behind four packets of the key picture in layer 1, and the two of layer 0's next frame in that.
        assert_eq!(parts.iter().map(|part| part.seq.0 - 1000).collect::<Vec<_>>(), [4, 4, 6]);
        assert!(stream.split.has(ExtSeq(1000 + late)));
    }

    #[test]
    fn what_is_missing_within_a_frame_is_no_hole_in_other_layers() {
        let mut split = Split::new();
        let of = |number, members, ends| Frame {
            number,
            starts: false,
            ends,
            spatial_id: 0,
            temporal_id: 0,
            members,
            switches: 0,
            active: 7,
        };
        let structure = Stream::new(1).structure;
        let mut part = |seq: u64, frame: Frame| {
            let parts = split.parts(
                ExtSeq(seq),
                RtpTime(9),
                false,
                FrameMark::default(),
                Some((&frame, &structure)),
                LAYERS,
            );
            parts.unwrap().iter().map(|part| (part.layer, part.seq.0, part.is_empty)).collect::<Vec<_>>()
        };
        assert_eq!(part(10, of(1, 0b001, true)), [(0, 10, false)]);
        assert_eq!(part(11, of(2, 0b100, false)), [(2, 10, false)]);
        assert_eq!(part(15, of(2, 0b100, true)), [(2, 14, false)]);
        assert_eq!(part(16, of(3, 0b011, true)), [(0, 11, false), (1, 10, false)]);
        // One of those comes, and is one of theirs.
        assert_eq!(part(13, of(2, 0b100, false)), [(2, 12, false)]);
        assert_eq!(part(20, of(5, 0b001, true)), [(0, 15, false)]);
        assert_eq!(part(18, of(4, 0b010, true)), [(0, 13, true), (1, 12, false), (2, 16, true)]);
    }

    #[test]
    fn a_layer_of_its_own_begins_with_its_part_of_a_key_picture() {
        let mut split = Split::new();
        let structure = Stream::new(1).structure;
        let mut keys = Vec::new();
        for (seq, layer) in (10..).zip([0, 1, 2, 0, 1, 2]) {
            let (key, picture) = (seq == 10, (seq - 10) / 3);
            let frame = Frame {
                number: seq as u16,
                starts: true,
                ends: true,
                spatial_id: layer,
                temporal_id: 0,
                members: 1 << layer,
                switches: 0,
                active: 7,
            };
            let mark = FrameMark { keyframe: key, height: Some(720).filter(|_| key), ..FrameMark::default() };
            let parts = split.parts(
                ExtSeq(seq),
                RtpTime(picture as u32),
                layer == 2,
                mark,
                Some((&frame, &structure)),
                LAYERS,
            );
            keys.extend(parts.unwrap().iter().map(|part| (part.mark.keyframe, part.mark.height)));
        }
        assert_eq!(keys[..3], [90, 180, 360].map(|height| (true, Some(height))));
        assert_eq!(keys[3..], [(false, None); 3]);
    }

    #[test]
    fn what_is_older_than_what_is_remembered_has_no_number_any_more() {
        let mut stream = Stream::new(1);
        (1..600).for_each(|nth| assert!(stream.arrive(nth).is_some()));
        assert!(stream.arrive(0).is_none());
        assert!(
            stream.split.parts(ExtSeq(0), RtpTime(0), false, FrameMark::default(), None, LAYERS).is_none()
        );
    }

    #[test]
    fn what_is_not_described_is_a_part_of_every_layer() {
        let mut stream = Stream::new(1);
        (0..PICTURE).for_each(|nth| assert!(stream.arrive(nth).is_some()));
        let mark = FrameMark { frame_start: true, ..FrameMark::default() };
        let parts = stream.split.parts(ExtSeq(PICTURE + 1), RtpTime(1), true, mark, None, LAYERS).unwrap();
        let layers: Vec<_> =
            parts.iter().map(|part| (part.layer, part.mark, part.marker, part.is_empty)).collect();
        assert_eq!(layers, [0, 1, 2].map(|layer| (layer, mark, true, false)));
    }

    proptest! {
        /// Packets get lost, and come late or never: in each layer no number is used twice, their order is that of the stream,
        /// and a hole is only where something is missing.
        #[test]
        fn numbers_are_never_used_twice_and_holes_are_what_is_missing(
            fates in prop::collection::vec((0..10_u8, 1..30_u64), 240),
        ) {
            let last = fates.len() as u64 - 1;
            let mut order: Vec<(u64, u64)> = Vec::new();
            for (nth, (fate, delay)) in (0..).zip(&fates) {
                match fate {
                    0 if nth > 0 && nth < last => {}
                    1 if nth > 0 => order.push((nth + delay, nth)),
                    _ => order.push((nth, nth)),
                }
            }
            order.sort_unstable();
            let mut stream = Stream::new(65_500);
            let mut layers: [Vec<(u64, u64)>; LAYERS] = Default::default();
            for (_, nth) in &order {
                for part in stream.arrive(*nth).unwrap() {
                    prop_assert_eq!(part.is_empty, !Stream::is_needed(*nth, part.layer));
                    layers[part.layer].push((part.seq.0, *nth));
                }
            }
            let missing = fates.len() - order.len();
            for (layer, got) in layers.iter_mut().enumerate() {
                got.sort_unstable();
                prop_assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
                let span = got.last().unwrap().0 - got[0].0 + 1;
                prop_assert!(span as usize - got.len() <= missing);
                let needed = order.iter().filter(|(_, nth)| Stream::is_needed(*nth, layer)).count();
                prop_assert!(got.iter().filter(|(_, nth)| Stream::is_needed(*nth, layer)).count() == needed);
            }
        }
    }
}
