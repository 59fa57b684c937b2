//! What the simulated cameras and microphones send: real VP8 payload descriptors and keyframe headers (RFC 7741)
//! around a stamp that tells the receiver where each packet came from.

use saal_dataplane::id::{ParticipantId, SourceKind};

/// Who made a packet, which frame it belongs to and when that frame was captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub publisher: ParticipantId,
    pub kind: SourceKind,
    /// Index of the simulcast layer, 0 is the smallest.
    pub layer: u8,
    pub part: u8,
    pub parts: u8,
    pub frame: u32,
    /// On the publisher's own clock.
    pub captured_us: u64,
}

impl Stamp {
    const MAGIC: [u8; 4] = *b"SAAL";
    pub const LEN: usize = 28;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(Stamp::MAGIC);
        out.extend(self.publisher.0.to_be_bytes());
        let kind = SourceKind::ALL.iter().position(|kind| *kind == self.kind).expect("ALL is all") as u8;
        out.extend([kind, self.layer, self.part, self.parts]);
        out.extend(self.frame.to_be_bytes());
        out.extend(self.captured_us.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Stamp> {
        let bytes: &[u8; Stamp::LEN] = bytes.get(..Stamp::LEN)?.try_into().ok()?;
        if bytes[..4] != Stamp::MAGIC {
            return None;
        }
        Some(Stamp {
            publisher: ParticipantId(u64::from_be_bytes(bytes[4..12].try_into().ok()?)),
            kind: *SourceKind::ALL.get(usize::from(bytes[12]))?,
            layer: bytes[13],
            part: bytes[14],
            parts: bytes[15],
            frame: u32::from_be_bytes(bytes[16..20].try_into().ok()?),
            captured_us: u64::from_be_bytes(bytes[20..28].try_into().ok()?),
        })
    }
}

/// Opus: fullband, 20 ms, mono (RFC 6716 §3.1).
pub const OPUS_TOC: u8 = 0xF8;

/// A packet of 20 ms of "speech".
pub fn opus(stamp: &Stamp, len: usize) -> Vec<u8> {
    let mut payload = vec![OPUS_TOC];
    stamp.write(&mut payload);
    payload.resize(len.max(payload.len()), 0x55);
    payload
}

/// A frame behind the one before it, which was made so many ticks earlier (RFC 2198 §3).
pub fn red(opus: u8, earlier: Option<(u32, Vec<u8>)>, frame: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some((ticks, earlier)) = &earlier {
        payload.push(0x80 | opus);
        payload.extend((ticks << 10 | earlier.len() as u32).to_be_bytes().split_at(1).1);
    }
    payload.push(opus);
    payload.extend(earlier.iter().flat_map(|(_, frame)| frame));
    payload.extend(frame);
    payload
}

/// The earlier frame and the frame itself, of a payload whose blocks are all of this type.
pub fn read_red(opus: u8, payload: &[u8]) -> Option<(Option<Stamp>, Stamp)> {
    let Some(rest) = payload.strip_prefix(&[opus]) else {
        let [pt, sizes @ ..] = *payload.first_chunk::<4>()?;
        let [_, high, low] = sizes;
        let len = usize::from(u16::from_be_bytes([high & 0x03, low]));
        let rest = payload[4..].strip_prefix(&[opus]).filter(|_| pt == 0x80 | opus)?;
        let (earlier, frame) = rest.split_at_checked(len)?;
        return Some((Some(read_opus(earlier)?), read_opus(frame)?));
    };
    Some((None, read_opus(rest)?))
}

/// The codec's part of one VP8 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vp8 {
    pub keyframe: bool,
    pub picture_id: u16,
    pub tl0: u8,
    pub height: u16,
}

/// A packet of a frame: [`vp8_head`], the stamp, filling.
pub fn vp8(vp8: &Vp8, stamp: &Stamp, len: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(len);
    vp8_head(vp8, stamp.part == 0, &mut payload);
    stamp.write(&mut payload);
    payload.resize(len.max(payload.len()), 0xAA);
    payload
}

/// S, X and a 15-bit picture id, TL0PICIDX and TID in every packet, as libwebrtc writes them; in a frame's first packet
/// the frame's own head as well.
pub fn vp8_head(vp8: &Vp8, first: bool, payload: &mut Vec<u8>) {
    let start = if first { 0x10 } else { 0 };
    payload.extend([0x80 | start, 0x80 | 0x40 | 0x20]);
    payload.extend((0x8000 | vp8.picture_id).to_be_bytes());
    payload.extend([vp8.tl0, 0]);
    if first {
        // Frame tag: bit 0 is 0 in a keyframe, bit 4 is show_frame (RFC 6386 §9.1).
        payload.extend([u8::from(!vp8.keyframe) | 0x10, 0, 0]);
        if vp8.keyframe {
            payload.extend([0x9D, 0x01, 0x2A]);
            payload.extend((vp8.height / 9 * 16).to_le_bytes());
            payload.extend(vp8.height.to_le_bytes());
        }
    }
}

pub fn read_opus(payload: &[u8]) -> Option<Stamp> {
    Stamp::read(payload.get(1..)?)
}

pub fn read_vp8(payload: &[u8]) -> Option<(Vp8, Stamp)> {
    let (vp8, rest) = read_vp8_head(payload)?;
    Some((vp8, Stamp::read(rest)?))
}

/// What [`vp8_head`] wrote, and what follows it. `keyframe` is true in the first packet of a keyframe only; the height
/// is known there only.
pub fn read_vp8_head(payload: &[u8]) -> Option<(Vp8, &[u8])> {
    let [descriptor, bits, id_high, id_low, tl0, _] = *payload.first_chunk()?;
    if descriptor & 0x80 == 0 || bits & 0xE0 != 0xE0 || id_high & 0x80 == 0 {
        return None;
    }
    let mut frame = &payload[6..];
    let mut vp8 =
        Vp8 { keyframe: false, picture_id: u16::from_be_bytes([id_high & 0x7F, id_low]), tl0, height: 0 };
    if descriptor & 0x10 != 0 {
        vp8.keyframe = frame.first()? & 1 == 0;
        frame = frame.get(3..)?;
        if vp8.keyframe {
            vp8.height = u16::from_le_bytes([*frame.get(5)?, *frame.get(6)?]);
            frame = frame.get(7..)?;
        }
    }
    Some((vp8, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(part: u8) -> Stamp {
        Stamp {
            publisher: ParticipantId(0x0102_0304_0506_0708),
            kind: SourceKind::Screen,
            layer: 2,
            part,
            parts: 4,
            frame: 77,
            captured_us: 123_456,
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let codec = Vp8 { keyframe: true, picture_id: 0x7ABC, tl0: 9, height: 720 };
        assert_eq!(read_vp8(&vp8(&codec, &stamp(0), 200)), Some((codec, stamp(0))));
        let later = Vp8 { keyframe: false, height: 0, ..codec };
        assert_eq!(read_vp8(&vp8(&later, &stamp(1), 200)), Some((later, stamp(1))));
        assert_eq!(read_opus(&opus(&stamp(0), 80)), Some(stamp(0)));
    }

    #[test]
    fn redundant_sound_is_read_again() {
        let frame = |frame| opus(&Stamp { frame, ..stamp(0) }, 80);
        let read = |payload: &[u8]| {
            read_red(111, payload).map(|(earlier, itself)| (earlier.map(|stamp| stamp.frame), itself.frame))
        };
        assert_eq!(read(&red(111, None, &frame(2))), Some((None, 2)));
        let both = red(111, Some((960, frame(1))), &frame(2));
        assert_eq!(both[..5], [0x80 | 111, 0x0f, 0x00, 80, 111]);
        assert_eq!(read(&both), Some((Some(1), 2)));
        assert_eq!(read_red(109, &both), None);
    }

    #[test]
    fn the_rtp_crate_reads_our_descriptor_the_same_way() {
        use rtp::packetizer::Depacketizer;
        let codec = Vp8 { keyframe: true, picture_id: 300, tl0: 9, height: 360 };
        let payload = vp8(&codec, &stamp(0), 200);
        let mut reader = rtp::codecs::vp8::Vp8Packet::default();
        reader.depacketize(&payload.into()).unwrap();
        assert_eq!((reader.picture_id, reader.tl0_pic_idx, reader.s), (300, 9, 1));
    }
}
