//! Redundant audio (RFC 2198): the frame itself, and ahead of it earlier ones once more, should they have got lost.
//!
//! ```text
//! [1|PT|offset|length] … [0|PT] [earlier frame] … [the frame itself]
//!  4 bytes for each       1 byte
//! ```

const BLOCK_HEADER: usize = 4;
/// Blocks of one payload: encoders offer one or two earlier frames.
pub const BLOCKS_MAX: usize = 8;
/// The first bit of a block's header: another block follows.
const FOLLOWS: u8 = 0x80;

/// Where the frame itself begins; `None` if there is none.
pub fn primary(payload: &[u8]) -> Option<usize> {
    let mut headers = payload.chunks(BLOCK_HEADER).take(BLOCKS_MAX);
    let mut at = 0;
    loop {
        match *headers.next()? {
            [first, _, high, low] if first & FOLLOWS != 0 => {
                at += BLOCK_HEADER + usize::from(u16::from_be_bytes([high & 0x03, low]));
            }
            [first, ..] if first & FOLLOWS == 0 => break,
            _ => return None,
        }
    }
    Some(at + 1).filter(|primary| *primary < payload.len())
}

/// Gives every block of a payload whose [`primary`] is known another payload type.
pub fn patch_pt(payload: &mut [u8], pt: u8) {
    for header in payload.chunks_mut(BLOCK_HEADER) {
        let Some(first) = header.first_mut() else { return };
        let follows = *first & FOLLOWS;
        *first = follows | (pt & !FOLLOWS);
        if follows == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 960 ticks and 3 bytes, then 480 and 2.
    const TWICE: [u8; 17] =
        [0x80 | 111, 0x0f, 0x00, 3, 0x80 | 111, 0x07, 0x80, 2, 111, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn the_frame_itself_is_behind_the_earlier_ones() {
        assert_eq!(primary(&TWICE), Some(14));
        assert_eq!(primary(&TWICE[8..]), Some(1), "nothing earlier comes along");
        assert_eq!(primary(&TWICE[..14]), None, "no frame is left");
        for len in 0..9 {
            assert_eq!(primary(&TWICE[..len]), None);
        }
    }

    #[test]
    fn every_block_gets_the_receiver_s_payload_type() {
        let mut patched = TWICE;
        patch_pt(&mut patched, 109);
        let mut expected = TWICE;
        (expected[0], expected[4], expected[8]) = (0x80 | 109, 0x80 | 109, 109);
        assert_eq!(patched, expected);
    }

    proptest! {
        #[test]
        fn whatever_comes_the_frame_is_inside_and_only_headers_are_patched(bytes: Vec<u8>, pt in 0..128_u8) {
            let mut patched = bytes.clone();
            patch_pt(&mut patched, pt);
            if let Some(at) = primary(&bytes) {
                prop_assert!(at < bytes.len());
                prop_assert_eq!(primary(&patched), Some(at));
                prop_assert_eq!(&patched[at..], &bytes[at..]);
            }
        }
    }
}
