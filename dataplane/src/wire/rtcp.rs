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
mod tests {
    use proptest::prelude::*;
    use rtcp::goodbye::Goodbye;
    use rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
    use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
    use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
    use rtcp::receiver_report::ReceiverReport;
    use rtcp::sender_report::SenderReport;
    use rtcp::source_description::SourceDescription;
    use rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};

    use super::*;

    type Theirs = Box<dyn rtcp::packet::Packet + Send + Sync>;

    fn written(fill: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
        let mut out = vec![0xee; 2000];
        let mut writer = Writer::new(&mut out);
        assert!(fill(&mut writer));
        let len = writer.len();
        assert!(out[len..].iter().all(|&byte| byte == 0xee), "wrote past its length");
        out.truncate(len);
        out
    }

    fn first(compound: &[u8]) -> Packet<'_> {
        packets(compound).next().unwrap()
    }

    fn lost_of(compound: &[u8]) -> Vec<u16> {
        let Packet::Nack { lost, .. } = first(compound) else { panic!("not a NACK") };
        lost.map(|seq| seq.0).collect()
    }

    fn theirs(compound: &[u8]) -> Vec<Theirs> {
        rtcp::packet::unmarshal(&mut &*compound).unwrap()
    }

    fn block() -> impl Strategy<Value = ReportBlock> {
        any::<(u32, u8, u32, u32, u32, u32)>().prop_flat_map(
            |(ssrc, fraction_lost, highest_seq, jitter, last_sr, delay_since_last_sr)| {
                (-0x80_0000..0x80_0000).prop_map(move |lost| ReportBlock {
                    ssrc: Ssrc(ssrc),
                    fraction_lost,
                    lost,
                    highest_seq,
                    jitter,
                    last_sr,
                    delay_since_last_sr,
                })
            },
        )
    }

    fn sender_info() -> impl Strategy<Value = SenderInfo> {
        any::<(u32, u64, u32, u32, u32)>().prop_map(|(ssrc, ntp, rtp_time, packets, octets)| SenderInfo {
            ssrc: Ssrc(ssrc),
            ntp,
            rtp_time: RtpTime(rtp_time),
            packets,
            octets,
        })
    }

    /// Sorted in wrapping order from any start.
    fn lost() -> impl Strategy<Value = Vec<SeqNo>> {
        (any::<u16>(), prop::collection::vec(1..40u16, 1..60)).prop_map(|(start, steps)| {
            let mut seq = start;
            steps
                .iter()
                .map(|step| {
                    seq = seq.wrapping_add(*step);
                    SeqNo(seq)
                })
                .collect()
        })
    }

    #[test]
    fn a_compound_by_hand_is_read_packet_by_packet() {
        let compound = [
            0x81, 200, 0, 12, // sender report with one block
            0, 0, 0, 1, 0xe0, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, //
            0, 0, 0, 9, 0x40, 0xff, 0xff, 0xfe, 0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8, 0, 1, 0, 0, //
            0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'x', 0, // source description
            0x80, 207, 0, 1, 0, 0, 0, 1, // extended report
            0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9, // PLI
            0xa1, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, // BYE with padding
        ];
        let read: Vec<_> = packets(&compound).collect();
        let [
            Packet::SenderReport { ssrc, ntp, rtp_time, packets, octets, reports },
            Packet::Other { pt: 202 },
            Packet::Other { pt: 207 },
            Packet::Pli { sender: Ssrc(1), media: Ssrc(9) },
            Packet::Bye { ssrc: Ssrc(1) },
        ] = &read[..]
        else {
            panic!("{read:?}")
        };
        assert_eq!((*ssrc, *ntp, *rtp_time), (Ssrc(1), 0xe000_0002_8000_0000, RtpTime(3)));
        assert_eq!((*packets, *octets), (4, 5));
        let expected = ReportBlock {
            ssrc: Ssrc(9),
            fraction_lost: 0x40,
            lost: -2,
            highest_seq: 0x1_0002,
            jitter: 7,
            last_sr: 8,
            delay_since_last_sr: 0x1_0000,
        };
        assert_eq!(reports.clone().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn reading_ends_at_the_first_packet_that_contradicts_itself() {
        let pli = written(|w| w.pli(Ssrc(1), Ssrc(2)));
        for garbage in [
            &[0x80, 200][..],               // shorter than a head
            &[0x81, 206, 0, 3, 0, 0, 0, 0], // longer than the datagram
            &[0x41, 206, 0, 1, 0, 0, 0, 1], // version 1
            &[0x81, 206, 0, 1, 0, 0, 0, 1], // PLI without a media source
            &[0x82, 201, 0, 1, 0, 0, 0, 1], // two report blocks that are not there
            &[0x80, 200, 0, 1, 0, 0, 0, 1], // sender report without sender information
            &[0xa0, 207, 0, 1, 0, 0, 0, 0], // padding of no bytes
            &[0xa0, 207, 0, 1, 0, 0, 0, 5], // padding longer than the packet
            &[0xa0, 207, 0, 0],             // padding in an empty packet
            &[0x84, 206, 0, 1, 0, 0, 0, 1], // FIR without a media source
            &[0x8f, 205, 0, 1, 0, 0, 0, 1], // transport-wide feedback without a media source
        ] {
            let compound = [&pli, garbage, &pli].concat();
            assert_eq!(packets(&compound[..pli.len() + garbage.len()]).count(), 1, "{garbage:?}");
        }
        assert_eq!(packets(&[pli.clone(), pli].concat()).count(), 2);
    }

    #[test]
    fn a_bye_of_nobody_is_not_a_bye() {
        assert!(matches!(first(&[0x80, 203, 0, 0]), Packet::Other { pt: 203 }));
    }

    #[test]
    fn a_nack_packs_what_lies_within_sixteen_of_its_packet_id() {
        let lost = [65_533, 65_534, 13, 14, 30, 31].map(SeqNo);
        let nack = written(|w| w.nack(Ssrc(1), Ssrc(2), &lost));
        let expected = [
            0x81, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, //
            0xff, 0xfd, 0x80, 0x01, // 65533, +1, +16
            0, 14, 0x80, 0x00, // 14, +16
            0, 31, 0, 0,
        ];
        assert_eq!(nack, expected);
        assert_eq!(lost_of(&nack), lost.map(|seq| seq.0));
    }

    #[test]
    fn a_sequence_number_is_asked_for_once_and_nothing_is_asked_by_no_packet() {
        let nack = written(|w| w.nack(Ssrc(1), Ssrc(2), &[7, 7, 8, 8].map(SeqNo)));
        assert_eq!(lost_of(&nack), [7, 8]);
        assert_eq!(written(|w| w.nack(Ssrc(1), Ssrc(2), &[])), []);
    }

    #[test]
    fn a_bitrate_beyond_64_bits_saturates() {
        let mut remb = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0x07, 0x80, 0x00];
        assert!(matches!(first(&remb), Packet::Remb { sender: Ssrc(1), bitrate_bps: 0x7_0000 }));
        remb[17] = 0xff;
        assert!(matches!(first(&remb), Packet::Remb { bitrate_bps: u64::MAX, .. }));
        remb[12] = b'r';
        assert!(matches!(first(&remb), Packet::Other { pt: 206 }));
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_the_compound_as_it_was() {
        let block = ReportBlock {
            ssrc: Ssrc(0),
            fraction_lost: 0,
            lost: 0,
            highest_seq: 0,
            jitter: 0,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        let mut out = [0; 8 + 31 * 24 + 11];
        let mut writer = Writer::new(&mut out);
        assert!(!writer.receiver_report(Ssrc(1), &[block; 32]));
        assert!(writer.is_empty());
        assert!(writer.receiver_report(Ssrc(1), &[block; 31]));
        let len = writer.len();
        assert!(!writer.pli(Ssrc(1), Ssrc(2)));
        assert!(!writer.fir(Ssrc(1), Ssrc(2), 3));
        assert!(!writer.nack(Ssrc(1), Ssrc(2), &[SeqNo(1)]));
        assert!(!writer.cname(Ssrc(1), b"0123456789"));
        assert!(!writer.cname(Ssrc(1), &[b'x'; 256]));
        assert!(writer.transport_cc(Ssrc(1), Ssrc(2), 0, &[Arrival { seq: 1, at_us: 1 }]).is_none());
        assert_eq!(writer.len(), len);
        assert!(writer.bye(Ssrc(1)));
        assert_eq!(packets(&out).count(), 2);
    }

    #[test]
    fn a_loss_count_beyond_24_bits_is_written_saturated() {
        for (lost, expected) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
            let block = ReportBlock {
                ssrc: Ssrc(1),
                fraction_lost: 0xff,
                lost,
                highest_seq: 0,
                jitter: 0,
                last_sr: 0,
                delay_since_last_sr: 0,
            };
            assert_eq!(ReportBlock::decode(&block.encode()), Some(ReportBlock { lost: expected, ..block }));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), pt in 198..209u8, first in any::<u8>()) {
            if let Some([head, kind, words0, words1]) = bytes.get_mut(..4) {
                [*head, *kind, *words0, *words1] = [0x80 | first & 0x3f, pt, 0, *words1 % 60];
            }
            for packet in packets(&bytes) {
                match packet {
                    Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                        prop_assert!(reports.count() <= REPORTS_MAX);
                    }
                    Packet::Nack { lost, .. } => prop_assert!(lost.count() <= bytes.len() / 4 * 17),
                    Packet::Fir { targets, .. } => prop_assert!(targets.count() <= bytes.len() / 8),
                    Packet::TransportCc { body, .. } => { twcc::parse_feedback(body).count(); }
                    Packet::Pli { .. } | Packet::Remb { .. } | Packet::Bye { .. } | Packet::Other { .. } => {}
                }
            }
        }

        #[test]
        fn reports_survive_writing(info in sender_info(), blocks in prop::collection::vec(block(), 0..=31)) {
            let compound = written(|w| w.sender_report(&info, &blocks) && w.receiver_report(info.ssrc, &blocks));
            let read: Vec<_> = packets(&compound).collect();
            let [
                Packet::SenderReport { ssrc, ntp, rtp_time, packets, octets, reports: of_sender },
                Packet::ReceiverReport { ssrc: receiver, reports: of_receiver },
            ] = <[Packet<'_>; 2]>::try_from(read).unwrap() else { panic!() };
            prop_assert_eq!(SenderInfo { ssrc, ntp, rtp_time, packets, octets }, info);
            prop_assert_eq!(receiver, info.ssrc);
            prop_assert_eq!(of_sender.collect::<Vec<_>>(), blocks.clone());
            prop_assert_eq!(of_receiver.collect::<Vec<_>>(), blocks);
        }

        #[test]
        fn losses_survive_writing(lost in lost()) {
            let nack = written(|w| w.nack(Ssrc(1), Ssrc(2), &lost));
            prop_assert_eq!(lost_of(&nack), lost.iter().map(|seq| seq.0).collect::<Vec<_>>());
        }

        #[test]
        fn the_rtcp_crate_reads_what_we_write(
            info in sender_info(),
            block in block(),
            lost in lost(),
            name in prop::collection::vec(b'a'..=b'z', 0..40),
            seq in any::<u8>(),
        ) {
            // The crate takes losses as unsigned.
            let block = ReportBlock { lost: block.lost & 0x7f_ffff, ..block };
            let compound = written(|w| {
                w.sender_report(&info, &[block])
                    && w.receiver_report(Ssrc(5), &[block, block])
                    && w.cname(Ssrc(6), &name)
                    && w.nack(Ssrc(1), Ssrc(2), &lost)
                    && w.pli(Ssrc(1), Ssrc(2))
                    && w.fir(Ssrc(1), Ssrc(2), seq)
                    && w.bye(Ssrc(7))
            });
            let theirs = theirs(&compound);
            prop_assert_eq!(theirs.len(), 7);
            let sender = theirs[0].as_any().downcast_ref::<SenderReport>().unwrap();
            prop_assert_eq!(
                (sender.ssrc, sender.ntp_time, sender.rtp_time, sender.packet_count, sender.octet_count),
                (info.ssrc.0, info.ntp, info.rtp_time.0, info.packets, info.octets)
            );
            let report = &sender.reports[0];
            prop_assert_eq!(
                (report.ssrc, report.fraction_lost, report.total_lost),
                (block.ssrc.0, block.fraction_lost, block.lost as u32)
            );
            prop_assert_eq!(
                (report.last_sequence_number, report.jitter, report.last_sender_report, report.delay),
                (block.highest_seq, block.jitter, block.last_sr, block.delay_since_last_sr)
            );
            let receiver = theirs[1].as_any().downcast_ref::<ReceiverReport>().unwrap();
            prop_assert_eq!((receiver.ssrc, receiver.reports.len()), (5, 2));
            let description = theirs[2].as_any().downcast_ref::<SourceDescription>().unwrap();
            prop_assert_eq!(description.chunks[0].source, 6);
            prop_assert_eq!(&description.chunks[0].items[0].text[..], &name[..]);
            let nack = theirs[3].as_any().downcast_ref::<TransportLayerNack>().unwrap();
            let read: Vec<_> = nack.nacks.iter().flat_map(NackPair::packet_list).map(SeqNo).collect();
            prop_assert_eq!(read, lost);
            let pli = theirs[4].as_any().downcast_ref::<PictureLossIndication>().unwrap();
            prop_assert_eq!((pli.sender_ssrc, pli.media_ssrc), (1, 2));
            let fir = theirs[5].as_any().downcast_ref::<FullIntraRequest>().unwrap();
            prop_assert_eq!(&fir.fir[..], &[FirEntry { ssrc: 2, sequence_number: seq }]);
            let bye = theirs[6].as_any().downcast_ref::<Goodbye>().unwrap();
            prop_assert_eq!(&bye.sources[..], &[7]);
        }

        #[test]
        fn we_read_what_the_rtcp_crate_writes(pairs in prop::collection::vec(any::<(u16, u16)>(), 1..20), targets in prop::collection::vec(any::<(u32, u8)>(), 0..10), bitrate in 1_000..100_000_000u32) {
            let nacks: Vec<_> =
                pairs.iter().map(|&(packet_id, lost_packets)| NackPair { packet_id, lost_packets }).collect();
            let expected: Vec<_> = nacks.iter().flat_map(NackPair::packet_list).collect();
            let compound = rtcp::packet::marshal(&[
                Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc: 2, nacks }) as Theirs,
                Box::new(FullIntraRequest {
                    sender_ssrc: 1,
                    media_ssrc: 0,
                    fir: targets.iter().map(|&(ssrc, sequence_number)| FirEntry { ssrc, sequence_number }).collect(),
                }),
                Box::new(ReceiverEstimatedMaximumBitrate { sender_ssrc: 1, bitrate: bitrate as f32, ssrcs: vec![2, 3] }),
                Box::new(Goodbye { sources: vec![7, 8], reason: "over".into() }),
            ]).unwrap();
            let read: Vec<_> = packets(&compound).collect();
            let [
                Packet::Nack { sender: Ssrc(1), media: Ssrc(2), lost },
                Packet::Fir { sender: Ssrc(1), targets: read_targets },
                Packet::Remb { sender: Ssrc(1), bitrate_bps },
                Packet::Bye { ssrc: Ssrc(7) },
            ] = &read[..] else { panic!("{read:?}") };
            prop_assert_eq!(lost.clone().map(|seq| seq.0).collect::<Vec<_>>(), expected);
            let read_targets: Vec<_> = read_targets.clone().map(|(ssrc, seq)| (ssrc.0, seq)).collect();
            prop_assert_eq!(read_targets, targets);
            // 18 bits of mantissa.
            prop_assert!(bitrate_bps.abs_diff(u64::from(bitrate)) <= u64::from(bitrate >> 17) + 1);
        }
    }
}
