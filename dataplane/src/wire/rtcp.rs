//! RTCP: reads a decrypted compound packet one by one, writes one into a caller's buffer.
//!
//! Only what a forwarding server acts on has a variant; all else is [`Packet::Other`] and is skipped. Reading ends at
//! the first packet that contradicts itself, because after a wrong length nothing that follows can be trusted. Readers
//! and writers do not print their bytes: a source description names a person's machine.
//!
//! ```text
//!  |V=2|P|  count  |      PT       |  length in words, less one    |
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

use super::be32;
use super::twcc::{self, Arrival};
use crate::id::{RtpTime, SeqNo, Ssrc};

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// RFC 3550 §6.4.1; `ntp` is the 64-bit NTP timestamp.
    SenderReport {
        ssrc: Ssrc,
        ntp: u64,
        rtp_time: RtpTime,
        packets: u32,
        octets: u32,
        reports: ReportBlocks<'a>,
    },
    /// RFC 3550 §6.4.2.
    ReceiverReport {
        ssrc: Ssrc,
        reports: ReportBlocks<'a>,
    },
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack {
        sender: Ssrc,
        media: Ssrc,
        lost: Nacks<'a>,
    },
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli {
        sender: Ssrc,
        media: Ssrc,
    },
    /// Full intra request (RFC 5104 §4.3.1).
    Fir {
        sender: Ssrc,
        targets: FirTargets<'a>,
    },
    /// For [`twcc::parse_feedback`].
    TransportCc {
        sender: Ssrc,
        media: Ssrc,
        body: &'a [u8],
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).
    Remb {
        sender: Ssrc,
        bitrate_bps: u64,
    },
    /// RFC 3550 §6.6; the first of the sources that leave.
    Bye {
        ssrc: Ssrc,
    },
    Other {
        pt: u8,
    },
}

/// Iterates over a decrypted compound packet, reduced-size ones (RFC 5506) included.
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// See [`packets`].
#[derive(Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl fmt::Debug for Packets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packets(redacted)")
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let packet = self.packet();
        if packet.is_none() {
            self.rest = &[];
        }
        packet
    }
}

impl<'a> Packets<'a> {
    fn packet(&mut self) -> Option<Packet<'a>> {
        let (&[first, pt, words0, words1], rest) = self.rest.split_first_chunk()?;
        if first >> 6 != 2 {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([words0, words1])) * 4;
        let (mut body, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        if first & 0x20 != 0 {
            let padding = usize::from(*body.last()?);
            if padding == 0 {
                return None;
            }
            (body, _) = body.split_at_checked(len.checked_sub(padding)?)?;
        }
        parse(pt, first & 0x1f, body)
    }
}

fn parse(pt: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    let packet = match (pt, count) {
        (SENDER_REPORT, _) => Packet::SenderReport {
            ssrc: Ssrc(be32(body, 0)?),
            ntp: u64::from(be32(body, 4)?) << 32 | u64::from(be32(body, 8)?),
            rtp_time: RtpTime(be32(body, 12)?),
            packets: be32(body, 16)?,
            octets: be32(body, 20)?,
            reports: ReportBlocks::new(body.get(24..)?, count)?,
        },
        (RECEIVER_REPORT, _) => Packet::ReceiverReport {
            ssrc: Ssrc(be32(body, 0)?),
            reports: ReportBlocks::new(body.get(4..)?, count)?,
        },
        (BYE, 1..) => Packet::Bye { ssrc: Ssrc(be32(body, 0)?) },
        (TRANSPORT_FEEDBACK, NACK) => Packet::Nack {
            sender: Ssrc(be32(body, 0)?),
            media: Ssrc(be32(body, 4)?),
            lost: Nacks { pairs: body.get(8..)?, next: SeqNo(0), bits: 0 },
        },
        (TRANSPORT_FEEDBACK, twcc::FORMAT) => Packet::TransportCc {
            sender: Ssrc(be32(body, 0)?),
            media: Ssrc(be32(body, 4)?),
            body: body.get(8..)?,
        },
        (PAYLOAD_FEEDBACK, PLI) => Packet::Pli { sender: Ssrc(be32(body, 0)?), media: Ssrc(be32(body, 4)?) },
        (PAYLOAD_FEEDBACK, FIR) => {
            Packet::Fir { sender: Ssrc(be32(body, 0)?), targets: FirTargets { entries: body.get(8..)? } }
        }
        (PAYLOAD_FEEDBACK, APPLICATION) if body.get(8..12) == Some(b"REMB") => {
            let sender = Ssrc(be32(body, 0)?);
            // 8 bits number of SSRCs, 6 bits exponent, 18 bits mantissa.
            let word = be32(body, 12)?;
            let bitrate_bps = u128::from(word & 0x3_ffff) << (word >> 18 & 0x3f);
            Packet::Remb { sender, bitrate_bps: u64::try_from(bitrate_bps).unwrap_or(u64::MAX) }
        }
        _ => Packet::Other { pt },
    };
    Some(packet)
}

/// What one receiver tells of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    pub ssrc: Ssrc,
    /// Since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Since the beginning; negative when duplicates arrived. 24 bits on the wire: written saturated.
    pub lost: i32,
    /// Cycles of the sequence number in the upper 16 bits.
    pub highest_seq: u32,
    /// In units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report.
    pub last_sr: u32,
    /// In 1/65536 seconds.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    const LEN: usize = 24;

    fn encode(&self) -> [u8; ReportBlock::LEN] {
        let [_, lost @ ..] = self.lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
        let mut out = [0; ReportBlock::LEN];
        out[0..4].copy_from_slice(&self.ssrc.0.to_be_bytes());
        out[4] = self.fraction_lost;
        out[5..8].copy_from_slice(&lost);
        out[8..12].copy_from_slice(&self.highest_seq.to_be_bytes());
        out[12..16].copy_from_slice(&self.jitter.to_be_bytes());
        out[16..20].copy_from_slice(&self.last_sr.to_be_bytes());
        out[20..24].copy_from_slice(&self.delay_since_last_sr.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<ReportBlock> {
        let lost = be32(bytes, 4)?;
        Some(ReportBlock {
            ssrc: Ssrc(be32(bytes, 0)?),
            fraction_lost: (lost >> 24) as u8,
            // Shifted up and down again to extend the sign of 24 bits.
            lost: (lost << 8) as i32 >> 8,
            highest_seq: be32(bytes, 8)?,
            jitter: be32(bytes, 12)?,
            last_sr: be32(bytes, 16)?,
            delay_since_last_sr: be32(bytes, 20)?,
        })
    }
}

/// Iterates over the report blocks of a sender or receiver report.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    /// `None` when `count` blocks are not there. What follows them is a profile's extension and is skipped.
    fn new(bytes: &'a [u8], count: u8) -> Option<ReportBlocks<'a>> {
        Some(ReportBlocks { rest: bytes.get(..usize::from(count) * ReportBlock::LEN)? })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_at_checked(ReportBlock::LEN)?;
        self.rest = rest;
        ReportBlock::decode(block)
    }
}

/// Iterates over the sequence numbers that a NACK asks for.
#[derive(Clone, Debug)]
pub struct Nacks<'a> {
    /// Pairs of packet id and bitmask of the 16 that follow it.
    pairs: &'a [u8],
    /// What is left of a bitmask; its bit 0 belongs to `next`.
    bits: u16,
    next: SeqNo,
}

impl Iterator for Nacks<'_> {
    type Item = SeqNo;

    fn next(&mut self) -> Option<SeqNo> {
        if self.bits == 0 {
            let (&[pid0, pid1, blp0, blp1], rest) = self.pairs.split_first_chunk()?;
            self.pairs = rest;
            let pid = SeqNo(u16::from_be_bytes([pid0, pid1]));
            self.bits = u16::from_be_bytes([blp0, blp1]);
            self.next = SeqNo(pid.0.wrapping_add(1));
            return Some(pid);
        }
        let skip = self.bits.trailing_zeros() as u16;
        let seq = SeqNo(self.next.0.wrapping_add(skip));
        self.bits = self.bits >> skip >> 1;
        self.next = SeqNo(seq.0.wrapping_add(1));
        Some(seq)
    }
}

/// Iterates over the sources of a full intra request, each with the request's sequence number.
#[derive(Clone, Debug)]
pub struct FirTargets<'a> {
    entries: &'a [u8],
}

impl Iterator for FirTargets<'_> {
    type Item = (Ssrc, u8);

    fn next(&mut self) -> Option<(Ssrc, u8)> {
        let (&[ssrc0, ssrc1, ssrc2, ssrc3, seq, _, _, _], rest) = self.entries.split_first_chunk()?;
        self.entries = rest;
        Some((Ssrc(u32::from_be_bytes([ssrc0, ssrc1, ssrc2, ssrc3])), seq))
    }
}

/// The sender's half of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    pub ssrc: Ssrc,
    /// 64-bit NTP timestamp of the same instant as `rtp_time`.
    pub ntp: u64,
    pub rtp_time: RtpTime,
    pub packets: u32,
    pub octets: u32,
}

/// Appends RTCP packets to a buffer. Each method returns `false`, and leaves the length as it was, when its packet
/// does not fit the buffer or the format.
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer(redacted)")
    }
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut [u8]) -> Writer<'a> {
        Writer { out, len: 0 }
    }

    /// At most [`REPORTS_MAX`] blocks; more go into receiver reports of the same compound.
    pub fn sender_report(&mut self, info: &SenderInfo, reports: &[ReportBlock]) -> bool {
        let Some(count) = report_count(reports) else { return false };
        self.append(SENDER_REPORT, count, |body| {
            body.put(&info.ssrc.0.to_be_bytes())?;
            body.put(&info.ntp.to_be_bytes())?;
            body.put(&info.rtp_time.0.to_be_bytes())?;
            body.put(&info.packets.to_be_bytes())?;
            body.put(&info.octets.to_be_bytes())?;
            reports.iter().try_for_each(|report| body.put(&report.encode()))
        })
    }

    /// At most [`REPORTS_MAX`] blocks.
    pub fn receiver_report(&mut self, ssrc: Ssrc, reports: &[ReportBlock]) -> bool {
        let Some(count) = report_count(reports) else { return false };
        self.append(RECEIVER_REPORT, count, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            reports.iter().try_for_each(|report| body.put(&report.encode()))
        })
    }

    /// Source description with nothing but the canonical name (RFC 3550 §6.5.1).
    pub fn cname(&mut self, ssrc: Ssrc, name: &[u8]) -> bool {
        let Ok(name_len) = u8::try_from(name.len()) else { return false };
        self.append(SOURCE_DESCRIPTION, 1, |body| {
            body.put(&ssrc.0.to_be_bytes())?;
            body.put(&[CNAME, name_len])?;
            body.put(name)?;
            // The item list ends with one to four zeros, at a word's border.
            body.put([0u8; 4].get(body.len % 4..)?)
        })
    }

    /// `lost` is sorted in wrapping order; each sequence number takes part once. An empty list writes nothing.
    pub fn nack(&mut self, sender: Ssrc, media: Ssrc, lost: &[SeqNo]) -> bool {
        let mut lost = lost.iter().copied().peekable();
        if lost.peek().is_none() {
            return true;
        }
        self.append(TRANSPORT_FEEDBACK, NACK, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&media.0.to_be_bytes())?;
            while let Some(pid) = lost.next() {
                let mut bits = 0u16;
                let bit_of = |seq: SeqNo| match seq.0.wrapping_sub(pid.0) {
                    0 => Some(0),
                    distance => 1u16.checked_shl(u32::from(distance) - 1),
                };
                while let Some(bit) = lost.peek().copied().and_then(bit_of) {
                    bits |= bit;
                    lost.next();
                }
                body.put(&pid.0.to_be_bytes())?;
                body.put(&bits.to_be_bytes())?;
            }
            Some(())
        })
    }

    pub fn pli(&mut self, sender: Ssrc, media: Ssrc) -> bool {
        self.append(PAYLOAD_FEEDBACK, PLI, |body| {
            body.put(&sender.0.to_be_bytes())?;
            body.put(&media.0.to_be_bytes())
        })
    }

    /// `seq` counts up with each new request to this source, and stays for a repetition (RFC 5104 §4.3.1.1).
    pub fn fir(&mut self, sender: Ssrc, media: Ssrc, seq: u8) -> bool {
        self.append(PAYLOAD_FEEDBACK, FIR, |body| {
            body.put(&sender.0.to_be_bytes())?;
            // The media source of the common head is unused (RFC 5104 §4.3.1.2).
            body.put(&[0; 4])?;
            body.put(&media.0.to_be_bytes())?;
            body.put(&[seq, 0, 0, 0])
        })
    }

    pub fn bye(&mut self, ssrc: Ssrc) -> bool {
        self.append(BYE, 1, |body| body.put(&ssrc.0.to_be_bytes()))
    }

    /// Appends a feedback and returns how many of `arrivals` it tells of; the rest is for another one. See
    /// [`twcc::write_feedback`].
    pub fn transport_cc(
        &mut self,
        sender: Ssrc,
        media: Ssrc,
        feedback_count: u8,
        arrivals: &[Arrival],
    ) -> Option<usize> {
        let out = self.out.get_mut(self.len..)?;
        let (bytes, consumed) = twcc::write_feedback(out, sender, media, feedback_count, arrivals)?;
        self.len += bytes;
        Some(consumed)
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn append(&mut self, pt: u8, count: u8, fill: impl FnOnce(&mut Body<'_>) -> Option<()>) -> bool {
        let Some((head, out)) = self.out.get_mut(self.len..).and_then(|out| out.split_first_chunk_mut())
        else {
            return false;
        };
        let mut body = Body { out, len: 0 };
        if fill(&mut body).is_none() {
            return false;
        }
        let len = body.len;
        let Ok(words) = u16::try_from(len / 4) else { return false };
        let [words0, words1] = words.to_be_bytes();
        *head = [0x80 | count, pt, words0, words1];
        self.len += 4 + len;
        true
    }
}

/// The part of a packet behind its first word, while it is being written.
struct Body<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (out, _) = self.out.get_mut(self.len..)?.split_at_mut_checked(bytes.len())?;
        out.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }
}

/// What the five bits of the count field can tell.
pub const REPORTS_MAX: usize = 31;

fn report_count(reports: &[ReportBlock]) -> Option<u8> {
    u8::try_from(reports.len()).ok().filter(|_| reports.len() <= REPORTS_MAX)
}

// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

// Feedback message types (RFC 4585 §6.2 and §6.3, RFC 5104 §4.3.1).
const NACK: u8 = 1;
const PLI: u8 = 1;
const FIR: u8 = 4;
const APPLICATION: u8 = 15;

/// Item type of a source description (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

#[cfg(test)]
mod tests;
