//! What descriptors tell, as encoders write them.

pub(crate) mod written;

use proptest::prelude::*;

use super::*;
use written::{Encoding, LOWEST_HEIGHT, Place};

const L3T3_KEY: Encoding = Encoding { spatial: 3, temporal: 3, is_key: true, template_id_offset: 60 };
const L1T3: Encoding = Encoding { spatial: 1, temporal: 3, ..L3T3_KEY };
const KEY: Place = Place { spatial: 0, temporal: 0, key: true, starts: true, ends: false, frame_number: 7 };

/// What is known after a key picture of an encoding has begun.
fn begun(encoding: &Encoding) -> Structure {
    let mut known = Structure::default();
    let frame = known.read(ExtSeq(7), &encoding.with_structure(KEY)).unwrap().unwrap();
    assert_eq!((frame.spatial_id, frame.temporal_id), (0, 0));
    known
}

/// Each frame is one packet, of the number of the frame.
fn read(known: &mut Structure, value: &[u8]) -> Frame {
    let seq = Descriptor::parse(value).unwrap().frame_number;
    known.read(ExtSeq(seq.into()), value).unwrap().unwrap()
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
    let key = |spatial| read(&mut begun(&L3T3_KEY), &L3T3_KEY.descriptor(Place { spatial, ..KEY })).members;
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
    let structure = begun(&L3T3_KEY);
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
    assert_eq!(read(&mut known, &L3T3_KEY.with_structure(Place { frame_number: 11, ..KEY })).active, 0b111);
    read(&mut known, &L3T3_KEY.with_active(place(13), 0b000_000_111));
    // What was said before comes late: of this sequence, and of the one before.
    assert_eq!(read(&mut known, &L3T3_KEY.with_active(place(12), 0b000_111_111)).active, 0b001);
    let late = L3T3_KEY.with_active(place(9), 0b000_111_111);
    assert_eq!(known.read(ExtSeq(9), &late), Ok(None));
}

#[test]
fn a_frame_without_its_structure_tells_nothing() {
    let place = Place { key: false, ..KEY };
    assert_eq!(Structure::default().read(ExtSeq(8), &L1T3.descriptor(place)), Ok(None));
    let other = Encoding { template_id_offset: 20, ..L1T3 };
    assert_eq!(begun(&L1T3).read(ExtSeq(8), &other.descriptor(place)), Ok(None));
}

#[test]
fn a_structure_that_comes_late_does_not_replace_a_newer_one() {
    let mut known = begun(&L3T3_KEY);
    let before = L1T3.with_structure(Place { frame_number: 6, ..KEY });
    assert_eq!(known.read(ExtSeq(6), &before), Ok(None));
    assert_eq!(known.spatial_layers(), 3);
    // Twenty minutes later.
    let behind = L1T3.with_structure(Place { frame_number: 40_000, ..KEY });
    known.read(ExtSeq(300_000), &behind).unwrap().unwrap();
    assert_eq!(known.spatial_layers(), 1);
}

#[test]
fn a_structure_cut_short_or_with_too_many_layers_is_malformed_and_not_kept() {
    let whole = L3T3_KEY.with_structure(KEY);
    for len in 4..whole.len() {
        let mut known = Structure::default();
        assert_eq!(known.read(ExtSeq(7), &whole[..len]), Err(Malformed), "{len}");
        assert_eq!(known.spatial_layers(), 0);
    }
    let many = [Encoding { spatial: 5, temporal: 1, ..L1T3 }, Encoding { temporal: 9, ..L1T3 }];
    for encoding in many {
        assert_eq!(Structure::default().read(ExtSeq(7), &encoding.with_structure(KEY)), Err(Malformed));
    }
    // Templates without an end.
    let endless = [&[0x80, 0, 7, 0x80][..], &[0; 100]].concat();
    assert_eq!(Structure::default().read(ExtSeq(7), &endless), Err(Malformed));
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
            if let Ok(Some(frame)) = known.read(ExtSeq(seq), &value) {
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
