//! The dependency descriptor, a header extension that tells a frame's place among the others where the payload does
//! not or cannot (RTP Payload Format For AV1, appendix A).
//!
//! ```text
//!  |S|E| template  |         frame number          |      mandatory: start and end of frame, template id
//!  |T|A|D|F|C|  ...                                       T: a template structure is attached, A: which decode targets
//!                                                         are active, D: indications of this frame's own
//! ```
//!
//! A *decode target* is what a receiver can be given: a spatial layer with pictures up to a temporal one. A *template* says what
//! frames that name it are to each target: no part of it, or one with which a receiver can go over to it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::id::ExtSeq;
use crate::wire::Malformed;

/// Spatial layers of one stream that are told apart.
pub const SPATIAL_LAYERS_MAX: usize = 4;
/// AV1 has three bits for a temporal layer (§5.3.3).
const TEMPORAL_LAYERS_MAX: u8 = 8;
/// Template ids have six bits.
const TEMPLATES_MAX: usize = 64;
/// Values of an indication, two bits each (table A.1).
const NOT_PRESENT: u64 = 0;
const SWITCH: u64 = 2;

/// The fields that every descriptor has, and whether it brings a template structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// First packet of its frame. A frame here is one spatial layer of a picture.
    pub start_of_frame: bool,
    /// Last packet of its frame.
    pub end_of_frame: bool,
    /// Looked up in the structure that was attached last.
    pub template_id: u8,
    /// Counts frames, and wraps.
    pub frame_number: u16,
    /// Comes with the first packet of a coded video sequence: later descriptors cannot be understood without it.
    pub structure_attached: bool,
}

/// What a packet's frame is to each spatial layer. Bit `n` is for those who see layer `n`, with all of its pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    pub number: u16,
    /// First packet of its frame.
    pub starts: bool,
    /// Last packet of its frame.
    pub ends: bool,
    pub spatial_id: u8,
    pub temporal_id: u8,
    /// They need it.
    pub members: u8,
    /// Whoever sees the layer with fewer pictures can see all of them from here on.
    pub switches: u8,
    /// The layer is being sent at all.
    pub active: u8,
}

/// The template structure of one stream, and which of its decode targets are active.
#[derive(Debug)]
pub struct Structure {
    /// The packets that brought it, and what is said last of active targets: frame numbers wrap within minutes.
    since: ExtSeq,
    active_since: ExtSeq,
    template_id_offset: u8,
    targets: u8,
    templates: [Template; TEMPLATES_MAX],
    templates_len: usize,
    /// Of each spatial layer the decode target that has all of its pictures.
    tops: [Option<u8>; SPATIAL_LAYERS_MAX],
    spatial_layers: u8,
    /// In pixels.
    heights: [Option<u16>; SPATIAL_LAYERS_MAX],
    active: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Template {
    spatial_id: u8,
    temporal_id: u8,
    /// Two bits for each decode target, the first lowest.
    indications: u64,
}

impl Descriptor {
    pub fn parse(value: &[u8]) -> Result<Descriptor, Malformed> {
        let &[first, number0, number1, ref extended @ ..] = value else { return Err(Malformed) };
        Ok(Descriptor {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([number0, number1]),
            structure_attached: extended.first().is_some_and(|flags| flags & 0x80 != 0),
        })
    }
}

impl Structure {
    /// Reads the descriptor of packet `seq`. `known` is what has been learnt from others of the stream; what comes of later packets
    /// replaces it. `None`: the frame belongs to another structure.
    pub fn read(
        known: &mut Option<Box<Structure>>,
        seq: ExtSeq,
        value: &[u8],
    ) -> Result<Option<Frame>, Malformed> {
        let descriptor = Descriptor::parse(value)?;
        let mut bits = Bits { bytes: value, at: 24 };
        let [has_structure, has_active, has_indications] = match value.len() {
            0..=3 => [false; 3],
            _ => {
                let flags = bits.take(5)?;
                [flags & 0x10 != 0, flags & 0x08 != 0, flags & 0x04 != 0]
            }
        };
        // A retransmission may bring what has been replaced since.
        if known.as_ref().is_some_and(|known| known.since > seq) {
            return Ok(None);
        }
        if has_structure {
            let attached = Structure::parse(&mut bits, seq)?;
            match known {
                Some(structure) => **structure = attached,
                None => *known = Some(Box::new(attached)),
            }
        }
        let Some(structure) = known else { return Ok(None) };
        let index = usize::from((descriptor.template_id + 64 - structure.template_id_offset) % 64);
        let Some(mut template) = structure.templates().get(index).copied() else { return Ok(None) };
        if has_active {
            let active = bits.take(structure.targets)?;
            if structure.active_since <= seq {
                (structure.active, structure.active_since) = (active, seq);
            }
        }
        if has_indications {
            template.indications = bits.indications(structure.targets)?;
        }
        Ok(Some(structure.frame(&descriptor, &template)))
    }

    /// At least one.
    pub fn spatial_layers(&self) -> usize {
        usize::from(self.spatial_layers)
    }

    /// Of a spatial layer, in pixels, if told.
    pub fn height(&self, spatial_id: usize) -> Option<u16> {
        *self.heights.get(spatial_id)?
    }

    /// template_dependency_structure() of §A.8.2.
    fn parse(bits: &mut Bits<'_>, since: ExtSeq) -> Result<Structure, Malformed> {
        let template_id_offset = bits.take(6)? as u8;
        let targets = bits.take(5)? as u8 + 1;
        let mut all = [Template::default(); TEMPLATES_MAX];
        let (mut templates_len, mut spatial_id, mut temporal_id) = (0, 0, 0);
        loop {
            let template = all.get_mut(templates_len).ok_or(Malformed)?;
            if usize::from(spatial_id) == SPATIAL_LAYERS_MAX || temporal_id == TEMPORAL_LAYERS_MAX {
                return Err(Malformed);
            }
            *template = Template { spatial_id, temporal_id, indications: 0 };
            templates_len += 1;
            match bits.take(2)? {
                0 => {}
                1 => temporal_id += 1,
                2 => (spatial_id, temporal_id) = (spatial_id + 1, 0),
                _ => break,
            }
        }
        let templates = all.get_mut(..templates_len).ok_or(Malformed)?;
        for template in &mut *templates {
            template.indications = bits.indications(targets)?;
        }
        // The distances to the frames that are referred to.
        for _ in &*templates {
            while bits.take(1)? == 1 {
                bits.take(4)?;
            }
        }
        let chains = bits.non_symmetric(u32::from(targets) + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.non_symmetric(chains)?;
            }
            for _ in 0..templates.len() as u32 * chains {
                bits.take(4)?;
            }
        }
        let mut heights = [None; SPATIAL_LAYERS_MAX];
        if bits.take(1)? == 1 {
            for height in heights.iter_mut().take(usize::from(spatial_id) + 1) {
                bits.take(16)?;
                *height = u16::try_from(bits.take(16)? + 1).ok();
            }
        }
        let tops = std::array::from_fn(|layer| top(templates, targets, layer as u8));
        let (spatial_layers, active) = (spatial_id + 1, u32::MAX);
        Ok(Structure {
            since,
            active_since: since,
            template_id_offset,
            targets,
            templates: all,
            templates_len,
            tops,
            spatial_layers,
            heights,
            active,
        })
    }

    fn templates(&self) -> &[Template] {
        self.templates.get(..self.templates_len).unwrap_or_default()
    }

    fn frame(&self, descriptor: &Descriptor, template: &Template) -> Frame {
        let layers = |is: &dyn Fn(u8) -> bool| {
            let tops = self.tops.iter().enumerate();
            tops.filter(|(_, top)| top.is_some_and(is)).fold(0, |mask, (layer, _)| mask | 1 << layer)
        };
        Frame {
            number: descriptor.frame_number,
            starts: descriptor.start_of_frame,
            ends: descriptor.end_of_frame,
            spatial_id: template.spatial_id,
            temporal_id: template.temporal_id,
            members: layers(&|target| template.indication(target) != NOT_PRESENT),
            switches: layers(&|target| template.indication(target) == SWITCH),
            active: layers(&|target| self.active & 1 << target != 0),
        }
    }
}

impl Template {
    fn indication(&self, target: u8) -> u64 {
        self.indications >> (2 * target) & 0x03
    }
}

/// The decode target with the most pictures whose highest spatial layer is `layer`: decode_target_layers() of §A.8.2.
fn top(templates: &[Template], targets: u8, layer: u8) -> Option<u8> {
    let highest = |target: u8, of: fn(&Template) -> u8| {
        let parts = templates.iter().filter(|template| template.indication(target) != NOT_PRESENT);
        parts.map(of).max()
    };
    (0..targets)
        .filter(|target| highest(*target, |template| template.spatial_id) == Some(layer))
        .max_by_key(|target| highest(*target, |template| template.temporal_id))
}

/// Walks a descriptor bit by bit.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// f(n) of §A.8.1, for up to 32 bits.
    fn take(&mut self, count: u8) -> Result<u32, Malformed> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(Malformed)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    /// ns(n) of §A.8.1: a number below `bound`, of which the lesser take a bit less than the others.
    fn non_symmetric(&mut self, bound: u32) -> Result<u32, Malformed> {
        let width = u32::BITS - bound.leading_zeros();
        let short = (1 << width) - bound;
        let value = self.take(width as u8 - 1)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1) - short + self.take(1)?)
    }

    fn indications(&mut self, targets: u8) -> Result<u64, Malformed> {
        (0..targets).try_fold(0, |all, target| Ok(all | u64::from(self.take(2)?) << (2 * target)))
    }
}

/// Overwrites the frame number in place. All else that a descriptor tells is relative to it.
pub fn patch_frame_number(value: &mut [u8], frame_number: u16) {
    if let [_, number0, number1, ..] = value {
        [*number0, *number1] = frame_number.to_be_bytes();
    }
}

#[cfg(test)]
pub(crate) mod written;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::written::{Encoding, LOWEST_HEIGHT, Place};
    use super::*;

    const L3T3_KEY: Encoding = Encoding { spatial: 3, temporal: 3, is_key: true, template_id_offset: 60 };
    const L1T3: Encoding = Encoding { spatial: 1, temporal: 3, ..L3T3_KEY };
    const KEY: Place =
        Place { spatial: 0, temporal: 0, key: true, starts: true, ends: false, frame_number: 7 };

    /// What is known after a key picture of an encoding has begun.
    fn begun(encoding: &Encoding) -> Option<Box<Structure>> {
        let mut known = None;
        let frame = Structure::read(&mut known, ExtSeq(7), &encoding.with_structure(KEY)).unwrap().unwrap();
        assert_eq!((frame.spatial_id, frame.temporal_id), (0, 0));
        known
    }

    /// Each frame is one packet, of the number of the frame.
    fn read(known: &mut Option<Box<Structure>>, value: &[u8]) -> Frame {
        let seq = Descriptor::parse(value).unwrap().frame_number;
        Structure::read(known, ExtSeq(seq.into()), value).unwrap().unwrap()
    }

    /// Of a picture behind the key picture: members and switches, as bits for the spatial layers.
    fn delta(encoding: &Encoding, spatial: u8, temporal: u8) -> (u8, u8) {
        let place = Place { spatial, temporal, key: false, starts: true, ends: true, frame_number: 8 };
        let frame = read(&mut begun(encoding), &encoding.descriptor(place));
        assert_eq!((frame.spatial_id, frame.temporal_id), (spatial, temporal));
        assert!(frame.starts && frame.ends);
        (frame.members, frame.switches)
    }

    #[test]
    fn only_key_pictures_are_a_part_of_the_layers_above() {
        let key =
            |spatial| read(&mut begun(&L3T3_KEY), &L3T3_KEY.descriptor(Place { spatial, ..KEY })).members;
        assert_eq!([0, 1, 2].map(key), [0b111, 0b110, 0b100]);
        assert_eq!([0, 1, 2].map(|spatial| delta(&L3T3_KEY, spatial, 0)), [(1, 1), (2, 2), (4, 4)]);
        let full = Encoding { is_key: false, ..L3T3_KEY };
        assert_eq!([0, 1, 2].map(|spatial| delta(&full, spatial, 0)), [(0b111, 1), (0b110, 2), (0b100, 4)]);
    }

    #[test]
    fn all_pictures_can_be_seen_from_where_the_encoder_says_so() {
        assert_eq!([0, 1, 2].map(|temporal| delta(&L1T3, 0, temporal)), [(1, 1), (1, 1), (1, 0)]);
        assert_eq!([0, 1, 2].map(|temporal| delta(&L3T3_KEY, 2, temporal)), [(4, 4), (4, 4), (4, 0)]);
        let place = Place { key: false, frame_number: 8, ..KEY };
        let frame = read(&mut begun(&L1T3), &L1T3.with_indications(place, &[2, 2, 3]));
        assert_eq!((frame.members, frame.switches), (1, 0));
    }

    #[test]
    fn the_sizes_of_spatial_layers_are_known() {
        let structure = begun(&L3T3_KEY).unwrap();
        assert_eq!(structure.spatial_layers(), 3);
        assert_eq!(
            [0, 1, 2].map(|layer| structure.height(layer)),
            [1, 2, 4].map(|times| Some(times * LOWEST_HEIGHT))
        );
        assert_eq!((structure.height(3), structure.height(9)), (None, None));
    }

    #[test]
    fn what_is_active_holds_until_something_else_is_said() {
        let mut known = begun(&L3T3_KEY);
        let place = |frame_number| Place { key: false, frame_number, ..KEY };
        assert_eq!(read(&mut known, &L3T3_KEY.descriptor(place(8))).active, 0b111);
        assert_eq!(read(&mut known, &L3T3_KEY.with_active(place(9), 0b000_111_111)).active, 0b011);
        assert_eq!(read(&mut known, &L3T3_KEY.descriptor(place(10))).active, 0b011);
        assert_eq!(
            read(&mut known, &L3T3_KEY.with_structure(Place { frame_number: 11, ..KEY })).active,
            0b111
        );
        read(&mut known, &L3T3_KEY.with_active(place(13), 0b000_000_111));
        // What was said before comes late: of this sequence, and of the one before.
        assert_eq!(read(&mut known, &L3T3_KEY.with_active(place(12), 0b000_111_111)).active, 0b001);
        let late = L3T3_KEY.with_active(place(9), 0b000_111_111);
        assert_eq!(Structure::read(&mut known, ExtSeq(9), &late), Ok(None));
    }

    #[test]
    fn a_frame_without_its_structure_tells_nothing() {
        let place = Place { key: false, ..KEY };
        assert_eq!(Structure::read(&mut None, ExtSeq(8), &L1T3.descriptor(place)), Ok(None));
        let other = Encoding { template_id_offset: 20, ..L1T3 };
        assert_eq!(Structure::read(&mut begun(&L1T3), ExtSeq(8), &other.descriptor(place)), Ok(None));
    }

    #[test]
    fn a_structure_that_comes_late_does_not_replace_a_newer_one() {
        let mut known = begun(&L3T3_KEY);
        let before = L1T3.with_structure(Place { frame_number: 6, ..KEY });
        assert_eq!(Structure::read(&mut known, ExtSeq(6), &before), Ok(None));
        assert_eq!(known.as_ref().unwrap().spatial_layers(), 3);
        // Twenty minutes later.
        let behind = L1T3.with_structure(Place { frame_number: 40_000, ..KEY });
        Structure::read(&mut known, ExtSeq(300_000), &behind).unwrap().unwrap();
        assert_eq!(known.unwrap().spatial_layers(), 1);
    }

    #[test]
    fn a_structure_cut_short_or_with_too_many_layers_is_malformed_and_not_kept() {
        let whole = L3T3_KEY.with_structure(KEY);
        for len in 4..whole.len() {
            let mut known = None;
            assert_eq!(Structure::read(&mut known, ExtSeq(7), &whole[..len]), Err(Malformed), "{len}");
            assert!(known.is_none());
        }
        let many = [Encoding { spatial: 5, temporal: 1, ..L1T3 }, Encoding { temporal: 9, ..L1T3 }];
        for encoding in many {
            assert_eq!(Structure::read(&mut None, ExtSeq(7), &encoding.with_structure(KEY)), Err(Malformed));
        }
        // Templates without an end.
        let endless = [&[0x80, 0, 7, 0x80][..], &[0; 100]].concat();
        assert_eq!(Structure::read(&mut None, ExtSeq(7), &endless), Err(Malformed));
    }

    #[test]
    fn a_descriptor_by_hand_is_read_field_by_field() {
        let mut expected = Descriptor {
            start_of_frame: true,
            end_of_frame: false,
            template_id: 5,
            frame_number: 0x1234,
            structure_attached: false,
        };
        assert_eq!(Descriptor::parse(&[0x85, 0x12, 0x34]), Ok(expected));
        assert_eq!(Descriptor::parse(&[0x85, 0x12, 0x34, 0x7f]), Ok(expected));
        expected.structure_attached = true;
        assert_eq!(Descriptor::parse(&[0x85, 0x12, 0x34, 0x80, 0x00]), Ok(expected));
        expected.end_of_frame = true;
        expected.start_of_frame = false;
        assert_eq!(Descriptor::parse(&[0x45, 0x12, 0x34, 0x80, 0x00]), Ok(expected));
    }

    #[test]
    fn a_descriptor_shorter_than_its_mandatory_fields_is_malformed_and_not_patched() {
        assert_eq!(Descriptor::parse(&[0x85, 0x12]), Err(Malformed));
        let mut short = [0x85, 0x12];
        patch_frame_number(&mut short, 0);
        assert_eq!(short, [0x85, 0x12]);
    }

    proptest! {
        #[test]
        fn no_descriptor_makes_the_reading_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8)) {
            let mut known = begun(&L3T3_KEY);
            for (seq, value) in (8..).zip(values) {
                if let Ok(Some(frame)) = Structure::read(&mut known, ExtSeq(seq), &value) {
                    prop_assert!(usize::from(frame.spatial_id) < SPATIAL_LAYERS_MAX && frame.temporal_id < TEMPORAL_LAYERS_MAX);
                    prop_assert!(frame.members < 16 && frame.switches & !frame.members == 0);
                }
            }
        }

        #[test]
        fn only_the_frame_number_is_patched(mut value in prop::collection::vec(any::<u8>(), 3..60), number in any::<u16>()) {
            let before = Descriptor::parse(&value).unwrap();
            let bytes = value.clone();
            patch_frame_number(&mut value, number);
            prop_assert_eq!(Descriptor::parse(&value), Ok(Descriptor { frame_number: number, ..before }));
            patch_frame_number(&mut value, before.frame_number);
            prop_assert_eq!(value, bytes);
        }
    }
}
