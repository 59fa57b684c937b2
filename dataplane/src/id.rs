//! Names for things: every id, sequence number and time that crosses a function border has its own type here.
//!
//! Nothing in this file may print a client's address: [`Path`] hides itself from `Debug`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One room, drawn at random by the control plane; a reused room name gets another id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RoomId(pub u64);

/// One stay of one participant in one room, drawn at random by the control plane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ParticipantId(pub u64);

/// Index of a worker: worker i has core i and port i of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkerId(pub u16);

/// Index of a receive slot in its participant's [`crate::link::MediaSpec::slots`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SlotIndex(pub u16);

/// Synchronization source (RFC 3550 §3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0 to 127.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Pt(pub u8);

/// RTP sequence number as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SeqNo(pub u16);

/// RTP sequence number extended by its rollover counter: `roc << 16 | seq` (RFC 3711 §3.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExtSeq(pub u64);

/// RTP timestamp in units of the codec's clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RtpTime(pub u32);

impl ExtSeq {
    /// The 16 bits that travel in the RTP header.
    pub fn seq(self) -> SeqNo {
        SeqNo(self.0 as u16)
    }

    /// The rollover counter.
    pub fn roc(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The extended number nearest to `self` whose low 16 bits are `seq`.
    pub fn nearest(self, seq: SeqNo) -> ExtSeq {
        let delta = seq.0.wrapping_sub(self.0 as u16) as i16;
        ExtSeq(self.0.saturating_add_signed(i64::from(delta)))
    }
}

impl RtpTime {
    pub fn wrapping_add(self, ticks: u32) -> RtpTime {
        RtpTime(self.0.wrapping_add(ticks))
    }

    /// Signed distance `self - earlier`, right while it is below 2^31 ticks.
    pub fn since(self, earlier: RtpTime) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

/// Media identification (RFC 8843 §15.1): a short byte string kept inline.
pub type Mid = Tag;

/// RTP stream id of a simulcast layer (RFC 8852): a short byte string kept inline.
pub type Rid = Tag;

/// Up to [`Tag::LEN_MAX`] bytes, without a heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    len: u8,
    bytes: [u8; Tag::LEN_MAX],
}

impl Tag {
    /// Longest value that fits the one-byte header-extension form (RFC 8285 §4.2).
    pub const LEN_MAX: usize = 16;

    /// `None` when `value` is empty or too long.
    pub fn new(value: &[u8]) -> Option<Tag> {
        if value.is_empty() || value.len() > Tag::LEN_MAX {
            return None;
        }
        let mut bytes = [0; Tag::LEN_MAX];
        bytes[..value.len()].copy_from_slice(value);
        Some(Tag { len: value.len() as u8, bytes })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(redacted)")
    }
}

/// What a source is. A participant has at most one source of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SourceKind {
    Microphone,
    Camera,
    Screen,
}

impl SourceKind {
    pub const ALL: [SourceKind; 3] = [SourceKind::Microphone, SourceKind::Camera, SourceKind::Screen];

    pub fn media(self) -> MediaKind {
        match self {
            SourceKind::Microphone => MediaKind::Audio,
            SourceKind::Camera | SourceKind::Screen => MediaKind::Video,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaKind {
    Audio,
    Video,
}

/// A codec as far as forwarding must tell one from another: equal values are decodable by the same payload type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    Opus,
    /// Opus with earlier frames once more (RFC 2198).
    Red,
    Vp8,
    /// `profile-id` (RFC 9628 §6).
    Vp9 {
        profile: u8,
    },
    /// First two bytes of `profile-level-id` and `packetization-mode` (RFC 6184 §8.1).
    H264 {
        profile: [u8; 2],
        packetization_mode: u8,
    },
    Av1,
}

impl Codec {
    /// RTP clock rate in Hz.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Codec::Opus | Codec::Red => 48_000,
            Codec::Vp8 | Codec::Vp9 { .. } | Codec::H264 { .. } | Codec::Av1 => 90_000,
        }
    }
}

/// Where a datagram came from and which of our own addresses it came to. Replies leave from `local`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    pub remote: SocketAddr,
    pub local: Option<IpAddr>,
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Path(redacted)")
    }
}
