//! What forwarding must know of a media payload: where pictures begin, whether a decoder can start there, which
//! temporal layer this is, and where the counters are that change with the source. Never decodes anything.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod av1;
pub mod dependency;
pub mod h264;
pub mod red;
pub mod vp8;
pub mod vp9;

use crate::id::Codec;
use dependency::Frame;

/// What one payload tells. The default says nothing, and is what a malformed payload gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameMark {
    /// This packet starts a picture that a decoder can start with.
    pub keyframe: bool,
    /// This packet starts a picture.
    pub frame_start: bool,
    /// 0 where the payload does not tell.
    pub temporal_id: u8,
    /// A decoder that has seen temporal layer 0 alone can go on with this picture and those above that layer behind it.
    pub layer_sync: bool,
    /// In pixels, of the highest spatial layer, from a keyframe's header where it is cheap to read: VP8 and VP9, or from its
    /// dependency descriptor.
    pub height: Option<u16>,
    pub picture_id: Option<PictureId>,
    pub tl0: Option<Tl0>,
}

/// A picture id and where it is in the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PictureId {
    pub offset: u8,
    /// 15 bits wide, else 7.
    pub long: bool,
    pub value: u16,
}

/// The index of pictures of temporal layer 0 (TL0PICIDX) and where it is in the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tl0 {
    pub offset: u8,
    pub value: u8,
}

impl FrameMark {
    /// With what a dependency descriptor tells of it to those who see a spatial layer of this height.
    pub fn described(self, frame: &Frame, layer: usize, height: Option<u16>) -> FrameMark {
        FrameMark {
            temporal_id: frame.temporal_id,
            layer_sync: frame.switches & 1 << layer != 0,
            height: height.filter(|_| self.keyframe).or(self.height),
            ..self
        }
    }
}

/// Looks at one payload. Every Opus packet counts as a picture of its own, because a decoder can start with any.
pub fn inspect(codec: Codec, payload: &[u8]) -> FrameMark {
    let mark = match codec {
        Codec::Opus | Codec::Red => {
            payload.first().map(|_| FrameMark { keyframe: true, frame_start: true, ..FrameMark::default() })
        }
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 { .. } => vp9::inspect(payload),
        Codec::H264 { .. } => h264::inspect(payload),
        Codec::Av1 => av1::inspect(payload),
    };
    mark.unwrap_or_default()
}

/// Overwrites a picture id that [`inspect`] found, in its own width: a short one takes the low 7 bits of `value`, a
/// long one the low 15.
pub fn patch_picture_id(payload: &mut [u8], at: PictureId, value: u16) {
    let Some(field) = payload.get_mut(usize::from(at.offset)..) else { return };
    let [high, low] = value.to_be_bytes();
    match field {
        [first, second, ..] if at.long => [*first, *second] = [0x80 | high, low],
        [first, ..] if !at.long => *first = low & 0x7f,
        _ => {}
    }
}

/// Overwrites a TL0PICIDX that [`inspect`] found.
pub fn patch_tl0(payload: &mut [u8], at: Tl0, value: u8) {
    if let Some(byte) = payload.get_mut(usize::from(at.offset)) {
        *byte = value;
    }
}

/// Walks a payload descriptor byte by byte.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.at += len;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// What has not been walked over.
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The picture id of VP8 and VP9: the first bit tells whether 7 or 15 bits follow.
    fn picture_id(&mut self) -> Option<PictureId> {
        let offset = self.at as u8;
        let first = self.byte()?;
        let long = first & 0x80 != 0;
        let mut value = u16::from(first & 0x7f);
        if long {
            value = value << 8 | u16::from(self.byte()?);
        }
        Some(PictureId { offset, long, value })
    }

    fn tl0(&mut self) -> Option<Tl0> {
        let offset = self.at as u8;
        Some(Tl0 { offset, value: self.byte()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Codec; 6] = [
        Codec::Opus,
        Codec::Red,
        Codec::Vp8,
        Codec::Vp9 { profile: 0 },
        Codec::H264 { profile: [0x42, 0xe0], packetization_mode: 1 },
        Codec::Av1,
    ];

    #[test]
    fn an_empty_payload_tells_nothing() {
        for codec in CODECS {
            assert_eq!(inspect(codec, &[]), FrameMark::default());
        }
    }

    #[test]
    fn a_payload_of_one_repeated_byte_is_walked_to_its_end() {
        for byte in 0..=255 {
            for codec in CODECS {
                inspect(codec, &[byte; 1500]);
            }
        }
    }

    #[test]
    fn a_decoder_can_start_with_any_opus_packet() {
        let mark = inspect(Codec::Opus, &[0xfc, 0xff, 0xfe]);
        assert!(mark.keyframe && mark.frame_start);
    }

    #[test]
    fn patching_outside_the_payload_changes_nothing() {
        let mut payload = [1, 2];
        patch_picture_id(&mut payload, PictureId { offset: 1, long: true, value: 0 }, 0x7fff);
        patch_picture_id(&mut payload, PictureId { offset: 2, long: false, value: 0 }, 0x7f);
        patch_picture_id(&mut payload, PictureId { offset: 9, long: false, value: 0 }, 0x7f);
        patch_tl0(&mut payload, Tl0 { offset: 2, value: 0 }, 9);
        assert_eq!(payload, [1, 2]);
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_inspection_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            for codec in CODECS {
                let mark = inspect(codec, &payload);
                prop_assert!(mark.temporal_id < 8);
            }
        }

        #[test]
        fn patched_counters_are_read_back_and_nothing_else_changes(
            mut payload in prop::collection::vec(any::<u8>(), 1..64),
            head in any::<u8>(),
            picture_id in any::<u16>(),
            tl0 in any::<u8>(),
        ) {
            for (codec, counters) in [(Codec::Vp8, 0x80), (Codec::Vp9 { profile: 0 }, 0xa0)] {
                payload[0] = head | counters;
                let before = inspect(codec, &payload);
                let mut patched = payload.clone();
                let mut expected = before;
                if let Some(at) = before.picture_id {
                    patch_picture_id(&mut patched, at, picture_id);
                    let value = picture_id & if at.long { 0x7fff } else { 0x7f };
                    expected.picture_id = Some(PictureId { value, ..at });
                }
                if let Some(at) = before.tl0 {
                    patch_tl0(&mut patched, at, tl0);
                    expected.tl0 = Some(Tl0 { value: tl0, ..at });
                }
                prop_assert_eq!(inspect(codec, &patched), expected);
                prop_assert_eq!(patched.len(), payload.len());
                if let Some(at) = before.picture_id {
                    patch_picture_id(&mut patched, at, at.value);
                }
                if let Some(at) = before.tl0 {
                    patch_tl0(&mut patched, at, at.value);
                }
                prop_assert_eq!(&patched, &payload);
            }
        }
    }
}
