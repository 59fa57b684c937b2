//! AV1 aggregation header and the open bitstream units (OBU) behind it (RTP Payload Format For AV1 §4.4).
//!
//! ```text
//!  |Z|Y| W |N|-|-|-|      Z: continues an OBU; W: number of OBUs, 0 = each has a length; N: new coded video sequence
//!  |F| type  |X|S|-|      OBU header (AV1 §5.3.2)
//! ```
//!
//! Temporal layers are not read here, because a packet that continues an OBU does not name its layer: the dependency
//! descriptor does (see [`super::dependency`]).
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{FrameMark, Reader};

pub(super) fn inspect(payload: &[u8]) -> Option<FrameMark> {
    let mut reader = Reader::new(payload);
    let mut mark = FrameMark::default();
    let aggregation = reader.byte()?;
    let continues = aggregation & 0x80 != 0;
    let count = usize::from(aggregation >> 4 & 0x03);
    mark.keyframe = aggregation & 0x08 != 0;
    // A new sequence cannot begin in the middle of an OBU.
    if mark.keyframe && continues || reader.rest().is_empty() {
        return None;
    }
    let mut index = 0usize;
    while !reader.rest().is_empty() {
        index += 1;
        // The last of a counted number of OBUs goes to the end of the packet and has no length.
        let len = if index == count { reader.rest().len() } else { leb128(&mut reader)? };
        let obu = reader.rest().get(..len)?;
        if let Some(head) = obu.first()
            && !(index == 1 && continues)
        {
            mark.frame_start |= matches!(head >> 3 & 0x0f, FRAME_HEADER | FRAME);
        }
        reader.skip(len)?;
        if index == count {
            break;
        }
    }
    Some(mark)
}

/// A length (AV1 §4.10.5): seven bits a byte, the lowest first, at most 32 bits.
fn leb128(reader: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0u64;
    for byte_index in 0..5 {
        let byte = reader.byte()?;
        value |= u64::from(byte & 0x7f) << (7 * byte_index);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

// OBU types (AV1 §6.2.2).
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_picture_and_of_a_sequence_are_found() {
        let cases: [(&str, &[u8], bool, bool); 8] = [
            ("sequence header and frame, counted", &[0x28, 2, 0x08, 0xaa, 0x30, 0xbb], true, true),
            ("sequence header and frame, with lengths", &[0x08, 2, 0x08, 0xaa, 2, 0x30, 0xbb], true, true),
            ("sequence header alone", &[0x18, 0x08, 0xaa], true, false),
            ("frame", &[0x10, 0x30, 0xbb], false, true),
            ("frame that goes on in the next packet", &[0x50, 0x30, 0xbb], false, true),
            ("rest of a frame", &[0x90, 0x30, 0xbb], false, false),
            ("rest of a frame, then another", &[0xa0, 1, 0xbb, 0x30, 0xbb], false, true),
            ("frame header with a layer, then tiles", &[0x20, 2, 0x1c, 0x20, 0x20], false, true),
        ];
        for (name, payload, keyframe, frame_start) in cases {
            let expected = FrameMark { keyframe, frame_start, ..FrameMark::default() };
            assert_eq!(inspect(payload), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_payload_that_contradicts_itself_is_malformed() {
        for payload in [
            &[][..],
            &[0x08],                                              // nothing behind the head
            &[0x98, 0x30, 0xbb],                                  // a new sequence that continues
            &[0x00, 3, 0x30, 0xbb],                               // OBU longer than the payload
            &[0x00, 0x80],                                        // half a length
            &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], // a length without an end
        ] {
            assert_eq!(inspect(payload), None, "{payload:x?}");
        }
    }
}
