//! RTP headers (RFC 3550 §5.1) and their header extensions (RFC 8285): where the parts of a packet are, and how to
//! write a header of our own. Never looks into the payload, and prints no element: a mid or rid is the peer's text.
//!
//! ```text
//!  |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//!  |                           timestamp                           |
//!  |           synchronization source (SSRC) identifier            |
//!  |            contributing source (CSRC) identifiers  (CC times) |
//!  |      0xBEDE or 0x100_         |       length in words         |  if X
//!  |   id  |  len  |  value ...    |   id  |  len  |  value ...    |
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

use super::{Malformed, be16};
use crate::id::{Pt, RtpTime, SeqNo, Ssrc};

/// Length of a header with neither CSRC nor extension.
pub const FIXED_LEN: usize = 12;

/// The readable part of an RTP packet. It is in the clear even while the payload is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub marker: bool,
    pub padding: bool,
    pub pt: Pt,
    pub seq: SeqNo,
    pub timestamp: RtpTime,
    pub ssrc: Ssrc,
    /// Bytes before the payload, CSRC list and header extension included.
    pub len: usize,
    /// Where the extension's elements begin; they end with the header.
    elements_at: usize,
    form: Form,
}

/// How the header extension lays out its elements (RFC 8285 §4.2 and §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    OneByte,
    TwoByte,
    /// No extension, or one of a profile that is not RFC 8285's: to be skipped (RFC 3550 §5.3.1).
    Opaque,
}

impl Header {
    pub fn parse(packet: &[u8]) -> Result<Header, Malformed> {
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk().ok_or(Malformed)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed);
        }
        let mut len = FIXED_LEN + usize::from(fixed[0] & 0x0f) * 4;
        let mut elements_at = len;
        let mut form = Form::Opaque;
        if fixed[0] & 0x10 != 0 {
            let profile = be16(packet, len).ok_or(Malformed)?;
            let words = be16(packet, len + 2).ok_or(Malformed)?;
            elements_at = len + 4;
            len = elements_at + usize::from(words) * 4;
            form = match profile {
                ONE_BYTE_PROFILE => Form::OneByte,
                // The low four bits are `appbits`, free for the application (RFC 8285 §4.3).
                TWO_BYTE_PROFILE..=TWO_BYTE_PROFILE_LAST => Form::TwoByte,
                _ => Form::Opaque,
            };
        }
        if packet.len() < len {
            return Err(Malformed);
        }
        Ok(Header {
            marker: fixed[1] & 0x80 != 0,
            padding: fixed[0] & 0x20 != 0,
            pt: Pt(fixed[1] & 0x7f),
            seq: SeqNo(u16::from_be_bytes([fixed[2], fixed[3]])),
            timestamp: RtpTime(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
            len,
            elements_at,
            form,
        })
    }

    /// The header extension's elements as (id, value), in order. `packet` is the one that was parsed. Ends at the
    /// first element that is not well-formed.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        let rest = match self.form {
            Form::OneByte | Form::TwoByte => packet.get(self.elements_at..self.len).unwrap_or_default(),
            Form::Opaque => &[],
        };
        Elements { form: self.form, rest }
    }

    /// Bytes of padding at the end of a decrypted packet, their count included (RFC 3550 §5.1). `None` when the count
    /// is zero or reaches into the header.
    pub fn padding_len(&self, packet: &[u8]) -> Option<usize> {
        if !self.padding {
            return Some(0);
        }
        let (last, _) = packet.get(self.len..)?.split_last()?;
        let len = usize::from(*last);
        (len > 0 && len <= packet.len() - self.len).then_some(len)
    }
}

/// Iterates over header-extension elements. See [`Header::extensions`].
#[derive(Clone)]
pub struct Elements<'a> {
    form: Form,
    rest: &'a [u8],
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elements(redacted)")
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.element();
        if element.is_none() {
            self.rest = &[];
        }
        element
    }
}

impl<'a> Elements<'a> {
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (id, len, rest) = loop {
            let (&head, rest) = self.rest.split_first()?;
            if head == 0 {
                self.rest = rest;
                continue;
            }
            match self.form {
                // Id 15, and id 0 with a length, end the whole extension (RFC 8285 §4.2).
                Form::OneByte if matches!(head >> 4, 0 | 15) => return None,
                Form::OneByte => break (head >> 4, usize::from(head & 0x0f) + 1, rest),
                Form::TwoByte => {
                    let (&len, rest) = rest.split_first()?;
                    break (head, usize::from(len), rest);
                }
                Form::Opaque => return None,
            }
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some((id, value))
    }
}

/// A header that we write. It has no CSRC list: the server mixes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    pub marker: bool,
    pub padding: bool,
    pub pt: Pt,
    pub seq: SeqNo,
    pub timestamp: RtpTime,
    pub ssrc: Ssrc,
}

impl Outgoing {
    /// Bytes that [`Outgoing::write`] fills.
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self, extensions: &Extensions) -> usize {
        FIXED_LEN + extensions.encoded_len()
    }

    /// Writes the header at the start of `out` and returns its length; 0, and nothing written, when it does not fit.
    pub fn write(&self, extensions: &Extensions, out: &mut [u8]) -> usize {
        let len = self.len(extensions);
        let Some(elements) = out.get_mut(..len).and_then(|out| self.write_fixed(!extensions.is_empty(), out))
        else {
            return 0;
        };
        extensions.write(elements);
        len
    }

    /// The same with a block of extensions that was written before.
    pub fn write_prepared(&self, prepared: &Prepared, out: &mut [u8]) -> usize {
        let len = prepared.header_len();
        let Some(elements) = out.get_mut(..len).and_then(|out| self.write_fixed(true, out)) else { return 0 };
        elements.copy_from_slice(prepared.block.get(..prepared.len).unwrap_or_default());
        len
    }

    /// Returns what is behind the fixed header (RFC 3550 §5.1).
    fn write_fixed<'o>(&self, extended: bool, out: &'o mut [u8]) -> Option<&'o mut [u8]> {
        let (fixed, rest) = out.split_first_chunk_mut::<FIXED_LEN>()?;
        let [seq0, seq1] = self.seq.0.to_be_bytes();
        let [time0, time1, time2, time3] = self.timestamp.0.to_be_bytes();
        let [ssrc0, ssrc1, ssrc2, ssrc3] = self.ssrc.0.to_be_bytes();
        let first = 0x80 | u8::from(self.padding) << 5 | u8::from(extended) << 4;
        let second = u8::from(self.marker) << 7 | self.pt.0 & 0x7f;
        *fixed = [first, second, seq0, seq1, time0, time1, time2, time3, ssrc0, ssrc1, ssrc2, ssrc3];
        Some(rest)
    }
}

/// A block of header extensions in the one-byte form (RFC 8285 §4.2) in which only three values change from packet to
/// packet: abs-send-time, the transport-wide sequence number and the audio level.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    block: [u8; Prepared::LEN_MAX],
    len: usize,
    /// Where the values lie.
    abs_send_time: Option<usize>,
    transport_cc: Option<usize>,
    audio_level: Option<usize>,
}

impl Prepared {
    /// MID of 4 characters, abs-send-time, transport-cc, audio level and some room.
    const LEN_MAX: usize = 32;

    /// Ids of 0 and above 14, and a MID above 16 bytes, do not fit the one-byte form; neither does nothing at all.
    pub fn new(
        mid: Option<(u8, &[u8])>,
        abs_send_time: Option<u8>,
        transport_cc: Option<u8>,
        audio_level: Option<u8>,
    ) -> Option<Prepared> {
        let mut extensions = Extensions::new();
        let (block, len) = ([0; Prepared::LEN_MAX], 0);
        let mut prepared =
            Prepared { block, len, abs_send_time: None, transport_cc: None, audio_level: None };
        let mut at = 4;
        let mut push = |id: u8, value: &[u8]| {
            let value_at = at + 1;
            at = value_at + value.len();
            extensions.push(id, value).then_some(value_at)
        };
        if let Some((id, mid)) = mid {
            push(id, mid)?;
        }
        if let Some(id) = abs_send_time {
            prepared.abs_send_time = Some(push(id, &[0; 3])?);
        }
        if let Some(id) = transport_cc {
            prepared.transport_cc = Some(push(id, &[0; 2])?);
        }
        if let Some(id) = audio_level {
            prepared.audio_level = Some(push(id, &[0; 1])?);
        }
        prepared.len = extensions.encoded_len();
        if extensions.is_empty() || !extensions.one_byte || prepared.len > Prepared::LEN_MAX {
            return None;
        }
        extensions.write(prepared.block.get_mut(..prepared.len)?);
        Some(prepared)
    }

    /// Bytes of a header with this block.
    pub fn header_len(&self) -> usize {
        FIXED_LEN + self.len
    }

    pub fn has_audio_level(&self) -> bool {
        self.audio_level.is_some()
    }

    /// What is not in the block is left out.
    pub fn set(&mut self, abs_send_time: [u8; 3], transport_cc: [u8; 2], audio_level: [u8; 1]) {
        let mut write = |at: Option<usize>, value: &[u8]| {
            if let Some(place) = at.and_then(|at| self.block.get_mut(at..at + value.len())) {
                place.copy_from_slice(value);
            }
        };
        write(self.abs_send_time, &abs_send_time);
        write(self.transport_cc, &transport_cc);
        write(self.audio_level, &audio_level);
    }
}

/// Header-extension elements of one outgoing packet, collected without a heap.
///
/// The one-byte form is used whenever every element fits it, because it must be understood by every receiver, while
/// the two-byte form has to be negotiated (`a=extmap-allow-mixed`, RFC 8285 §6).
#[derive(Clone, Copy)]
pub struct Extensions {
    /// Elements in two-byte form: id, length, value.
    elements: [u8; Extensions::BYTES_MAX],
    used: usize,
    count: usize,
    one_byte: bool,
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extensions(redacted)")
    }
}

impl Default for Extensions {
    fn default() -> Extensions {
        Extensions::new()
    }
}

impl Extensions {
    /// Room for a dependency descriptor with its template structure (some 100 bytes) beside all the others.
    pub const BYTES_MAX: usize = 256;

    pub fn new() -> Extensions {
        Extensions { elements: [0; Extensions::BYTES_MAX], used: 0, count: 0, one_byte: true }
    }

    /// Adds an element; `false`, and nothing added, when `id` is 0, the value too long, or no room left.
    pub fn push(&mut self, id: u8, value: &[u8]) -> bool {
        let Ok(len) = u8::try_from(value.len()) else { return false };
        let end = self.used + 2 + value.len();
        let Some([id_out, len_out, value_out @ ..]) = self.elements.get_mut(self.used..end) else {
            return false;
        };
        if id == 0 {
            return false;
        }
        *id_out = id;
        *len_out = len;
        value_out.copy_from_slice(value);
        self.used = end;
        self.count += 1;
        self.one_byte &= id <= 14 && (1..=16).contains(&len);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes on the wire: 0 when empty, else a multiple of 4 including the 4 bytes of profile and length.
    pub fn encoded_len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let heads_saved = if self.one_byte { self.count } else { 0 };
        4 + (self.used - heads_saved).next_multiple_of(4)
    }

    /// Fills `out`, which is exactly `encoded_len` long.
    fn write(&self, out: &mut [u8]) {
        let words = (out.len() / 4).saturating_sub(1) as u16;
        let Some((head, mut out)) = out.split_first_chunk_mut::<4>() else { return };
        let profile = if self.one_byte { ONE_BYTE_PROFILE } else { TWO_BYTE_PROFILE };
        let [profile0, profile1] = profile.to_be_bytes();
        let [words0, words1] = words.to_be_bytes();
        *head = [profile0, profile1, words0, words1];

        let stored = self.elements.get(..self.used).unwrap_or_default();
        for (id, value) in (Elements { form: Form::TwoByte, rest: stored }) {
            let len = value.len() as u8;
            let (heads, len_heads) =
                if self.one_byte { ([id << 4 | (len - 1), 0], 1) } else { ([id, len], 2) };
            let Some((heads_out, rest)) = out.split_at_mut_checked(len_heads) else { return };
            let Some((value_out, rest)) = rest.split_at_mut_checked(value.len()) else { return };
            heads_out.copy_from_slice(heads.get(..len_heads).unwrap_or_default());
            value_out.copy_from_slice(value);
            out = rest;
        }
        out.fill(0);
    }
}

/// `defined by profile` of the one-byte form (RFC 8285 §4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// `defined by profile` of the two-byte form with `appbits` 0 (RFC 8285 §4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
const TWO_BYTE_PROFILE_LAST: u16 = 0x100f;

#[cfg(test)]
mod tests;
