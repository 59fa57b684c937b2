//! H.264 NAL units in RTP (RFC 6184 §5): single units, STAP-A and FU-A, the kinds of packetization modes 0 and 1.
//!
//! The format does not mark where a picture starts. Taken for it is the packet with the first macroblock of a picture:
//! `first_mb_in_slice`, the first field of a slice header, is 0 there and is coded as one set bit (H.264 §7.3.3, §9.1).
//! A key picture starts there, or with a sequence parameter set (SPS) in a packet before; both are marked, because a
//! sender may send either alone.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{FrameMark, Reader};
use crate::wire::be16;

pub(super) fn inspect(payload: &[u8]) -> Option<FrameMark> {
    let mut reader = Reader::new(payload);
    let mut mark = FrameMark::default();
    let head = reader.byte()?;
    match head & TYPE {
        1..=23 => look_at(&mut mark, head, reader.rest())?,
        STAP_A => {
            while !reader.rest().is_empty() {
                let len = usize::from(be16(reader.rest(), 0)?);
                reader.skip(2)?;
                let (&head, body) = reader.rest().get(..len)?.split_first()?;
                look_at(&mut mark, head, body)?;
                reader.skip(len)?;
            }
        }
        FU_A => {
            let fragment = reader.byte()?;
            if fragment & FU_START != 0 {
                look_at(&mut mark, fragment, reader.rest())?;
            }
        }
        _ => return None,
    }
    Some(mark)
}

/// Adds what the start of one NAL unit tells. Only the type of `head` counts; `body` is what follows it.
fn look_at(mark: &mut FrameMark, head: u8, body: &[u8]) -> Option<()> {
    match head & TYPE {
        SPS => mark.keyframe = true,
        kind @ (SLICE | SLICE_PARTITION_A | IDR) if body.first()? & 0x80 != 0 => {
            mark.frame_start = true;
            mark.keyframe |= kind == IDR;
        }
        _ => {}
    }
    Some(())
}

/// Mask of the NAL unit type (RFC 6184 §1.3).
const TYPE: u8 = 0x1f;
const SLICE: u8 = 1;
const SLICE_PARTITION_A: u8 = 2;
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// S bit of the FU header (RFC 6184 §5.8).
const FU_START: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_picture_and_of_a_key_picture_are_found() {
        let cases: [(&str, &[u8], bool, bool); 12] = [
            ("IDR slice", &[0x65, 0x88, 0x84], true, true),
            ("second slice of an IDR picture", &[0x65, 0x40, 0x00], false, false),
            ("slice", &[0x41, 0x9a, 0x00], false, true),
            ("second slice", &[0x41, 0x40, 0x00], false, false),
            ("SPS", &[0x67, 0x42, 0xe0, 0x1f], true, false),
            ("PPS", &[0x68, 0xce, 0x3c, 0x80], false, false),
            ("SEI", &[0x06, 0x05], false, false),
            ("STAP-A of SPS and PPS", &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce], true, false),
            ("STAP-A of PPS and slice", &[0x78, 0, 1, 0x68, 0, 2, 0x41, 0x9a], false, true),
            ("FU-A start of an IDR slice", &[0x7c, 0x85, 0x88], true, true),
            ("FU-A middle of an IDR slice", &[0x7c, 0x05, 0x88], false, false),
            ("FU-A start of a slice", &[0x5c, 0x81, 0x9a], false, true),
        ];
        for (name, payload, keyframe, frame_start) in cases {
            let expected = FrameMark { keyframe, frame_start, ..FrameMark::default() };
            assert_eq!(inspect(payload), Some(expected), "{name}");
        }
    }

    #[test]
    fn an_aggregate_that_contradicts_itself_is_malformed() {
        for payload in [
            &[0x78, 0][..],                        // half a length
            &[0x78, 0, 0],                         // unit of no bytes
            &[0x78, 0, 2, 0x67, 0x42, 0, 9, 0x68], // unit longer than the payload
            &[0x78, 0, 2, 0x67, 0x42, 0xff, 0xff, 0x68],
        ] {
            assert_eq!(inspect(payload), None, "{payload:x?}");
        }
    }

    #[test]
    fn a_unit_without_a_body_is_malformed_only_if_it_must_have_one() {
        assert_eq!(inspect(&[0x65]), None);
        assert_eq!(inspect(&[0x7c]), None);
        assert_eq!(inspect(&[0x7c, 0x85]), None);
        assert!(inspect(&[0x67]).unwrap().keyframe);
    }

    #[test]
    fn units_of_the_interleaved_mode_tell_nothing() {
        for kind in [0, 25, 26, 27, 29, 30, 31] {
            assert_eq!(inspect(&[0x60 | kind, 0x85, 0x88]), None, "{kind}");
        }
    }
}
