//! VP8 payload descriptor and the head of its keyframe (RFC 7741 §4.2 and §4.3).
//!
//! ```text
//!  |X|R|N|S|R| PID |      required
//!  |I|L|T|K| RSV   |      if X
//!  |M| PictureID   |      if I, one byte more if M
//!  |   TL0PICIDX   |      if L
//!  |TID|Y| KEYIDX  |      if T or K
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{FrameMark, Reader};

pub(super) fn inspect(payload: &[u8]) -> Option<FrameMark> {
    let mut reader = Reader::new(payload);
    let mut mark = FrameMark::default();
    let first = reader.byte()?;
    if first & 0x80 != 0 {
        let present = reader.byte()?;
        if present & 0x80 != 0 {
            mark.picture_id = Some(reader.picture_id()?);
        }
        if present & 0x40 != 0 {
            mark.tl0 = Some(reader.tl0()?);
        }
        if present & 0x30 != 0 {
            let layer = reader.byte()?;
            // TID and Y mean nothing while T is clear.
            if present & 0x20 != 0 {
                mark.temporal_id = layer >> 6;
                // Of the base layer it says nothing of what is above.
                mark.layer_sync = layer & 0x20 != 0 && mark.temporal_id > 0;
            }
        }
    }
    let frame = reader.rest();
    let (&tag, _) = frame.split_first()?;
    mark.frame_start = first & 0x17 == START_OF_FIRST_PARTITION;
    mark.keyframe = mark.frame_start && tag & 0x01 == 0;
    if mark.keyframe
        && let [_, _, _, 0x9d, 0x01, 0x2a, _, _, height0, height1, ..] = frame
    {
        // The upper two bits are the upscaling, which is the decoder's affair (RFC 6386 §9.1).
        mark.height = Some(u16::from_le_bytes([*height0, *height1]) & 0x3fff);
    }
    Some(mark)
}

/// S is set and PID is 0.
const START_OF_FIRST_PARTITION: u8 = 0x10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtp::packetizer::Depacketizer;

    use super::*;
    use crate::wire::codec::{PictureId, Tl0};

    /// Frame tag of a keyframe, start code, 640 x 360 with upscaling bits set.
    const KEYFRAME: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x81];

    #[test]
    fn a_keyframe_by_hand_is_read_field_by_field() {
        let payload = [&[0x90, 0xe0, 0x92, 0x34, 0x56, 0x80], &KEYFRAME[..]].concat();
        let expected = FrameMark {
            keyframe: true,
            frame_start: true,
            temporal_id: 2,
            layer_sync: false,
            height: Some(360),
            picture_id: Some(PictureId { offset: 2, long: true, value: 0x1234 }),
            tl0: Some(Tl0 { offset: 4, value: 0x56 }),
        };
        assert_eq!(inspect(&payload), Some(expected));
    }

    #[test]
    fn a_short_picture_id_has_seven_bits() {
        let mark = inspect(&[0x80, 0xc0, 0x7f, 0x05, 0x00]).unwrap();
        assert_eq!(mark.picture_id, Some(PictureId { offset: 2, long: false, value: 0x7f }));
        assert_eq!(mark.tl0, Some(Tl0 { offset: 3, value: 5 }));
        assert!(!mark.frame_start);
    }

    #[test]
    fn only_the_first_packet_of_the_first_partition_starts_a_frame() {
        for (first, tag, keyframe, frame_start) in [
            (0x10, 0x00, true, true),
            (0x30, 0x00, true, true),
            (0x10, 0x01, false, true),
            (0x00, 0x00, false, false),
            (0x11, 0x00, false, false),
            (0x14, 0x00, false, false),
        ] {
            let mark = inspect(&[first, tag]).unwrap();
            assert_eq!((mark.keyframe, mark.frame_start), (keyframe, frame_start), "{first:#x}");
        }
    }

    #[test]
    fn a_temporal_layer_that_is_not_announced_is_the_base() {
        for (present, layer, expected) in
            [(0x10, 0xff, (0, false)), (0x20, 0xdf, (3, false)), (0x20, 0x7f, (1, true))]
        {
            let mark = inspect(&[0x80, present, layer, 0x00]).unwrap();
            assert_eq!((mark.temporal_id, mark.layer_sync), expected, "{layer:#x}");
        }
    }

    #[test]
    fn a_descriptor_without_a_payload_is_malformed() {
        let payload = [0x90, 0xe0, 0x92, 0x34, 0x56, 0x80];
        for len in 0..=payload.len() {
            assert_eq!(inspect(&payload[..len]), None);
        }
    }

    #[test]
    fn a_keyframe_cut_short_or_without_a_start_code_has_no_height() {
        assert_eq!(inspect(&[&[0x10], &KEYFRAME[..9]].concat()).unwrap().height, None);
        let mut payload = [&[0x10], &KEYFRAME[..]].concat();
        payload[4] = 0;
        let mark = inspect(&payload).unwrap();
        assert!(mark.keyframe);
        assert_eq!(mark.height, None);
    }

    proptest! {
        #[test]
        fn the_rtp_crate_reads_the_same(payload in prop::collection::vec(any::<u8>(), 16)) {
            let mut theirs = rtp::codecs::vp8::Vp8Packet::default();
            let frame = theirs.depacketize(&payload.clone().into()).unwrap();
            let ours = inspect(&payload).unwrap();
            prop_assert_eq!(ours.picture_id.map(|id| id.value), (theirs.i == 1).then_some(theirs.picture_id));
            prop_assert_eq!(ours.tl0.map(|tl0| tl0.value), (theirs.l == 1).then_some(theirs.tl0_pic_idx));
            prop_assert_eq!(ours.temporal_id, theirs.tid);
            prop_assert_eq!(ours.layer_sync, theirs.t == 1 && theirs.y == 1 && theirs.tid > 0);
            prop_assert_eq!(ours.frame_start, theirs.s == 1 && theirs.pid == 0);
            prop_assert_eq!(ours.keyframe, ours.frame_start && frame[0] & 1 == 0);
        }
    }
}
