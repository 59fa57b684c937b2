//! The dependency descriptor, a header extension that tells a frame's place among the others where the payload does
//! not or cannot (RTP Payload Format For AV1, appendix A).
//!
//! ```text
//!  |S|E| template  |         frame number          |      mandatory: start and end of frame, template id
//!  |T|A|D|F|C|  ...                                       T: a template dependency structure is attached
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::wire::Malformed;

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

/// Overwrites the frame number in place. All else that a descriptor tells is relative to it.
pub fn patch_frame_number(value: &mut [u8], frame_number: u16) {
    if let [_, number0, number1, ..] = value {
        [*number0, *number1] = frame_number.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
