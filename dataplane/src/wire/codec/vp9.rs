//! VP9 payload descriptor (RFC 9628 §4.2).
//!
//! ```text
//!  |I|P|L|F|B|E|V|Z|      required
//!  |M| PICTURE ID  |      if I, one byte more if M
//!  | TID |U| SID |D|      if L
//!  |   TL0PICIDX   |      if L and not F
//!  |   P_DIFF    |N|      if P and F, up to three
//!  | N_S |Y|G|-|-|-|      if V: the scalability structure
//!  | WIDTH | HEIGHT|      if Y, N_S + 1 times 16 and 16 bits
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{FrameMark, Reader};
use crate::wire::be16;

pub(super) fn inspect(payload: &[u8]) -> Option<FrameMark> {
    let mut reader = Reader::new(payload);
    let mut mark = FrameMark::default();
    let first = reader.byte()?;
    let flexible = first & FLEXIBLE != 0;
    let mut spatial_id = 0;
    if first & PICTURE_ID != 0 {
        mark.picture_id = Some(reader.picture_id()?);
    }
    if first & LAYERS != 0 {
        let layer = reader.byte()?;
        mark.temporal_id = layer >> 5;
        spatial_id = layer >> 1 & 0x07;
        if !flexible {
            mark.tl0 = Some(reader.tl0()?);
        }
    }
    if first & PREDICTED != 0 && flexible {
        let mut references = 1;
        while reader.byte()? & 0x01 != 0 {
            references += 1;
            if references > REFERENCES_MAX {
                return None;
            }
        }
    }
    // A picture starts with its lowest spatial layer; what is above predicts from it.
    mark.frame_start = first & BEGIN != 0 && spatial_id == 0;
    mark.keyframe = mark.frame_start && first & PREDICTED == 0;
    if first & STRUCTURE != 0 {
        let height = structure(&mut reader)?;
        mark.height = height.filter(|_| mark.keyframe);
    }
    // A descriptor alone is no picture.
    reader.byte()?;
    Some(mark)
}

/// Walks over a scalability structure and returns the height of its highest layer, if it tells.
fn structure(reader: &mut Reader<'_>) -> Option<Option<u16>> {
    let head = reader.byte()?;
    let mut height = None;
    if head & 0x10 != 0 {
        let highest = usize::from(head >> 5);
        height = Some(be16(reader.rest(), highest * 4 + 2)?);
        reader.skip((highest + 1) * 4)?;
    }
    if head & 0x08 != 0 {
        for _ in 0..reader.byte()? {
            // TID (3 bits), U, R: the number of reference bytes that follow.
            let picture = reader.byte()?;
            reader.skip(usize::from(picture >> 2 & 0x03))?;
        }
    }
    Some(height)
}

const PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const STRUCTURE: u8 = 0x02;

/// References of a picture in flexible mode.
const REFERENCES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtp::packetizer::Depacketizer;

    use super::*;
    use crate::wire::codec::{PictureId, Tl0};

    #[test]
    fn a_key_picture_by_hand_is_read_field_by_field() {
        let payload = [
            0xaa, // I L B V
            0x92, 0x34, // picture id
            0x00, 0x56, // layer 0, TL0PICIDX
            0x38, // two spatial layers, Y, G
            0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, // 320x180, 640x360
            0x02, 0x00, 0x24, 0x01, // two pictures, the second with one reference
            0x82,
        ];
        let expected = FrameMark {
            keyframe: true,
            frame_start: true,
            temporal_id: 0,
            layer_sync: false,
            height: Some(360),
            picture_id: Some(PictureId { offset: 1, long: true, value: 0x1234 }),
            tl0: Some(Tl0 { offset: 4, value: 0x56 }),
        };
        assert_eq!(inspect(&payload), Some(expected));
        for len in 0..payload.len() {
            assert_eq!(inspect(&payload[..len]), None, "{len}");
        }
    }

    #[test]
    fn flexible_mode_has_references_instead_of_tl0() {
        // I P L F B; short picture id 5, temporal layer 3, references 1 and 2 back.
        let mark = inspect(&[0xf8, 0x05, 0x60, 0x03, 0x04, 0x82]).unwrap();
        assert_eq!(mark.picture_id, Some(PictureId { offset: 1, long: false, value: 5 }));
        assert_eq!(mark.temporal_id, 3);
        assert_eq!(mark.tl0, None);
        assert!(mark.frame_start && !mark.keyframe);
    }

    #[test]
    fn more_than_three_references_are_malformed() {
        assert!(inspect(&[0x58, 0x03, 0x05, 0x06, 0x82]).is_some());
        assert_eq!(inspect(&[0x58, 0x03, 0x05, 0x07, 0x08, 0x82]), None);
    }

    #[test]
    fn a_key_picture_starts_with_its_lowest_spatial_layer() {
        for (first, layer, keyframe, frame_start) in [
            (0x28, 0x00, true, true),   // B, SID 0
            (0x28, 0x02, false, false), // B, SID 1
            (0x20, 0x00, false, false), // not B
            (0x68, 0x00, false, true),  // predicted
        ] {
            let mark = inspect(&[first, layer, 0x00, 0x82]).unwrap();
            assert_eq!((mark.keyframe, mark.frame_start), (keyframe, frame_start), "{first:#x} {layer:#x}");
        }
        assert!(inspect(&[0x08, 0x82]).unwrap().keyframe);
    }

    #[test]
    fn a_structure_outside_a_key_picture_gives_no_height() {
        let mark = inspect(&[0x4a, 0x10, 0x01, 0x40, 0x00, 0xb4, 0x82]).unwrap();
        assert_eq!(mark.height, None);
    }

    proptest! {
        #[test]
        fn the_rtp_crate_reads_the_same(payload in prop::collection::vec(any::<u8>(), 1200)) {
            let mut theirs = rtp::codecs::vp9::Vp9Packet::default();
            // It refuses a fifth spatial layer and a third reference.
            prop_assume!(theirs.depacketize(&payload.clone().into()).is_ok());
            let ours = inspect(&payload).unwrap();
            prop_assert_eq!(ours.picture_id.map(|id| id.value), theirs.i.then_some(theirs.picture_id));
            prop_assert_eq!(ours.tl0.map(|tl0| tl0.value), (theirs.l && !theirs.f).then_some(theirs.tl0picidx));
            prop_assert_eq!(ours.temporal_id, theirs.tid);
            prop_assert_eq!(ours.frame_start, theirs.b && theirs.sid == 0);
            prop_assert_eq!(ours.keyframe, ours.frame_start && !theirs.p);
            prop_assert_eq!(ours.height, theirs.height.last().copied().filter(|_| ours.keyframe));
        }
    }
}
