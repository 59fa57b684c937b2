//! Transport-wide congestion-control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which of a
//! peer's packets arrived, and when.
//!
//! ```text
//!  |V=2|P|  FMT=15 |    PT=205     |           length              |
//!  |                     SSRC of packet sender                     |
//!  |                      SSRC of media source                     |
//!  |      base sequence number     |      packet status count      |  <- body of a parsed packet
//!  |                 reference time                | fb pkt. count |
//!  |         packet chunk          |         packet chunk          |
//!  |         packet chunk          |  recv delta   |  recv delta   |
//!  |           recv delta          |  recv delta   | zero padding  |
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::be16;
use super::rtcp::TRANSPORT_FEEDBACK;
use crate::id::Ssrc;

/// One packet's arrival on our clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Transport-wide sequence number.
    pub seq: u16,
    pub at_us: u64,
}

/// Most sequence numbers that one feedback may span, lost ones included. A run-length chunk can tell of so many, and
/// it bounds the work that a packet of a few bytes can ask for.
pub const SPAN_MAX: u16 = RUN_MAX;

/// The receiver's clock as told by [`parse_feedback`] begins anew after this time, some 12.4 days.
pub const CLOCK_WRAP_US: i64 = REFERENCE_US << 24;

/// Writes one complete RTCP packet; `arrivals` ascend by unwrapped sequence number, and gaps between them are losses.
/// Returns the packet's length and how many arrivals it tells of: fewer than all when `out` is full, when two
/// arrivals are more than 8 seconds apart, or when they span more than [`SPAN_MAX`]. `None` when there is nothing to
/// tell or not even one arrival fits.
pub fn write_feedback(
    out: &mut [u8],
    sender: Ssrc,
    media: Ssrc,
    feedback_count: u8,
    arrivals: &[Arrival],
) -> Option<(usize, usize)> {
    write_feedback_since(out, sender, media, feedback_count, arrivals.first()?.seq, arrivals)
}

/// As [`write_feedback`], but begins at `base_seq`: what is missing between it and the first arrival is told as lost.
/// Without this the sender never hears of losses at the border between two feedbacks.
pub fn write_feedback_since(
    out: &mut [u8],
    sender: Ssrc,
    media: Ssrc,
    feedback_count: u8,
    base_seq: u16,
    arrivals: &[Arrival],
) -> Option<(usize, usize)> {
    let first = arrivals.first()?;
    let base_seq = if first.seq.wrapping_sub(base_seq) < SPAN_MAX { base_seq } else { first.seq };
    // The reference time lies on its own grid, at most 255 ticks before the first arrival: a small delta.
    let reference = first.at_us / REFERENCE_US as u64;
    let plan = Plan::new(out.len(), base_seq, reference, arrivals)?;

    let (head, rest) = out.get_mut(..plan.len)?.split_first_chunk_mut::<HEAD_LEN>()?;
    let words = u16::try_from(plan.len / 4 - 1).ok()?;
    head[0] = 0x80 | FORMAT;
    head[1] = TRANSPORT_FEEDBACK;
    head[2..4].copy_from_slice(&words.to_be_bytes());
    head[4..8].copy_from_slice(&sender.0.to_be_bytes());
    head[8..12].copy_from_slice(&media.0.to_be_bytes());
    head[12..14].copy_from_slice(&base_seq.to_be_bytes());
    head[14..16].copy_from_slice(&plan.statuses.to_be_bytes());
    head[16..20].copy_from_slice(&((reference as u32) << 8 | u32::from(feedback_count)).to_be_bytes());

    let (chunks, mut deltas) = rest.split_at_mut_checked(plan.chunks * 2)?;
    let mut chunks = chunks.chunks_exact_mut(2);
    let mut emit = |chunk: u16| {
        if let Some(out) = chunks.next() {
            out.copy_from_slice(&chunk.to_be_bytes());
        }
    };
    let mut builder = ChunkBuilder::default();
    for step in steps(base_seq, reference, arrivals).take(plan.arrivals) {
        builder.push(LOST, step.lost, &mut emit);
        builder.push(step.symbol(), 1, &mut emit);
        let [high, low] = step.delta.to_be_bytes();
        let (out, rest) = deltas.split_at_mut_checked(step.delta_len())?;
        match out {
            [small] => *small = low,
            large => large.copy_from_slice(&[high, low]),
        }
        deltas = rest;
    }
    builder.finish(&mut emit);
    deltas.fill(0);
    Some((plan.len, plan.arrivals))
}

/// How much of the arrivals goes into a feedback, and what room that takes.
struct Plan {
    arrivals: usize,
    statuses: u16,
    chunks: usize,
    /// Of the whole packet, padded to a word.
    len: usize,
}

impl Plan {
    fn new(room: usize, base_seq: u16, reference: u64, arrivals: &[Arrival]) -> Option<Plan> {
        let mut plan = Plan { arrivals: 0, statuses: 0, chunks: 0, len: 0 };
        let mut builder = ChunkBuilder::default();
        let mut chunks_closed = 0;
        let mut delta_bytes = 0;
        for step in steps(base_seq, reference, arrivals) {
            let mut emit = |_| chunks_closed += 1;
            builder.push(LOST, step.lost, &mut emit);
            builder.push(step.symbol(), 1, &mut emit);
            delta_bytes += step.delta_len();
            let chunks = chunks_closed + 1;
            let len = (HEAD_LEN + chunks * 2 + delta_bytes).next_multiple_of(4);
            if len > room {
                break;
            }
            plan = Plan { arrivals: plan.arrivals + 1, statuses: plan.statuses + step.lost + 1, chunks, len };
        }
        (plan.arrivals > 0).then_some(plan)
    }
}

/// One arrival as the format tells it: the losses before it, and the time since the arrival before.
struct Step {
    lost: u16,
    /// In ticks.
    delta: i16,
}

impl Step {
    fn symbol(&self) -> u8 {
        if u8::try_from(self.delta).is_ok() { SMALL } else { LARGE }
    }

    fn delta_len(&self) -> usize {
        if u8::try_from(self.delta).is_ok() { 1 } else { 2 }
    }
}

/// Ends at the first arrival that a feedback with this base and reference cannot tell.
fn steps(base_seq: u16, reference: u64, arrivals: &[Arrival]) -> impl Iterator<Item = Step> {
    let mut next_seq = base_seq;
    let mut tick = reference * (REFERENCE_US / TICK_US) as u64;
    arrivals.iter().map_while(move |arrival| {
        let lost = arrival.seq.wrapping_sub(next_seq);
        let span = u32::from(next_seq.wrapping_sub(base_seq)) + u32::from(lost) + 1;
        if span > u32::from(SPAN_MAX) {
            return None;
        }
        let arrival_tick = arrival.at_us / TICK_US as u64;
        let delta = i16::try_from(arrival_tick.wrapping_sub(tick) as i64).ok()?;
        next_seq = arrival.seq.wrapping_add(1);
        tick = arrival_tick;
        Some(Step { lost, delta })
    })
}

/// Packs statuses into chunks: a run while they are equal (§3.1.3), else a vector of seven two-bit symbols (§3.1.4).
#[derive(Default)]
struct ChunkBuilder {
    count: u16,
    /// The symbol that all of the chunk's statuses share, while they do.
    run: Option<u8>,
    /// The first seven statuses, the first in the highest of 14 bits.
    list: u16,
}

impl ChunkBuilder {
    fn push(&mut self, symbol: u8, mut times: u16, emit: &mut impl FnMut(u16)) {
        while times > 0 {
            let continues = self.count == 0 || self.run == Some(symbol);
            if self.count < VECTOR_LEN {
                self.run = continues.then_some(symbol);
                self.list |= u16::from(symbol) << (12 - 2 * self.count);
                self.count += 1;
                times -= 1;
            } else if continues && self.count < RUN_MAX {
                let taken = times.min(RUN_MAX - self.count);
                self.count += taken;
                times -= taken;
            } else {
                self.finish(emit);
            }
        }
    }

    /// Closes the chunk and begins another. The places of a last vector that are not filled are not counted.
    fn finish(&mut self, emit: &mut impl FnMut(u16)) {
        match self.run {
            _ if self.count == 0 => {}
            Some(symbol) => emit(u16::from(symbol) << 13 | self.count),
            None => emit(0xc000 | self.list),
        }
        *self = ChunkBuilder::default();
    }
}

/// Reads the body of a feedback as [`super::rtcp::Packet::TransportCc`] carries it. A body that contradicts itself
/// yields nothing.
pub fn parse_feedback(body: &[u8]) -> Feedback<'_> {
    Feedback::parse(body).unwrap_or_default()
}

/// Iterates over the sequence numbers of a feedback, in order. With each that arrived comes the time of arrival in
/// microseconds on the receiver's clock: comparable from one feedback to the next, up to [`CLOCK_WRAP_US`].
#[derive(Clone, Debug, Default)]
pub struct Feedback<'a> {
    feedback_count: u8,
    next_seq: u16,
    statuses_left: u16,
    at_us: i64,
    chunks: &'a [u8],
    deltas: &'a [u8],
    /// What is left of the chunk before `chunks`.
    chunk: Chunk,
}

impl<'a> Feedback<'a> {
    /// Counts the feedbacks of one receiver, to tell those that were lost.
    pub fn feedback_count(&self) -> u8 {
        self.feedback_count
    }

    fn parse(body: &'a [u8]) -> Option<Feedback<'a>> {
        let (&[seq0, seq1, statuses0, statuses1, time0, time1, time2, feedback_count], rest) =
            body.split_first_chunk()?;
        let statuses = u16::from_be_bytes([statuses0, statuses1]);
        if statuses > SPAN_MAX {
            return None;
        }
        let mut covered = 0;
        let mut chunks = 0;
        while covered < usize::from(statuses) {
            covered += usize::from(Chunk::new(be16(rest, chunks)?).left);
            chunks += 2;
        }
        let (chunks, deltas) = rest.split_at_checked(chunks)?;
        // Shifted down from the upper 24 bits to extend the sign.
        let reference = i32::from_be_bytes([time0, time1, time2, 0]) >> 8;
        Some(Feedback {
            feedback_count,
            next_seq: u16::from_be_bytes([seq0, seq1]),
            statuses_left: statuses,
            at_us: i64::from(reference) * REFERENCE_US,
            chunks,
            deltas,
            chunk: Chunk::default(),
        })
    }

    fn status(&mut self) -> Option<(u16, Option<i64>)> {
        self.statuses_left = self.statuses_left.checked_sub(1)?;
        while self.chunk.left == 0 {
            let (&chunk, rest) = self.chunks.split_first_chunk()?;
            self.chunks = rest;
            self.chunk = Chunk::new(u16::from_be_bytes(chunk));
        }
        let seq = self.next_seq;
        let arrival = match self.chunk.next_symbol() {
            LOST => None,
            SMALL => {
                let (&delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                self.at_us += i64::from(delta) * TICK_US;
                Some(self.at_us)
            }
            LARGE => {
                let (&delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                self.at_us += i64::from(i16::from_be_bytes(delta)) * TICK_US;
                Some(self.at_us)
            }
            // Reserved (§3.1.1): what belongs to it among the deltas cannot be known.
            _ => return None,
        };
        self.next_seq = seq.wrapping_add(1);
        Some((seq, arrival))
    }
}

impl Iterator for Feedback<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<(u16, Option<i64>)> {
        let status = self.status();
        if status.is_none() {
            self.statuses_left = 0;
        }
        status
    }
}

/// A packet chunk that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    left: u16,
    /// Symbols of a vector, the next one in the highest bits; of a run, its one symbol there.
    symbols: u16,
    /// 0 for a run.
    symbol_bits: u32,
}

impl Chunk {
    fn new(bits: u16) -> Chunk {
        match bits >> 14 {
            // Run length (§3.1.3): two bits symbol, 13 bits length.
            0 | 1 => Chunk { left: bits & RUN_MAX, symbols: bits << 1, symbol_bits: 0 },
            // Status vector (§3.1.4): 14 symbols of one bit, or 7 of two.
            2 => Chunk { left: 14, symbols: bits << 2, symbol_bits: 1 },
            _ => Chunk { left: VECTOR_LEN, symbols: bits << 2, symbol_bits: 2 },
        }
    }

    fn next_symbol(&mut self) -> u8 {
        let symbol = if self.symbol_bits == 1 { self.symbols >> 15 } else { self.symbols >> 14 };
        self.symbols <<= self.symbol_bits;
        self.left = self.left.saturating_sub(1);
        symbol as u8
    }
}

/// Feedback message type below [`TRANSPORT_FEEDBACK`].
pub(super) const FORMAT: u8 = 15;

/// Bytes before the first packet chunk.
const HEAD_LEN: usize = 20;
/// Longest run of a chunk: 13 bits.
const RUN_MAX: u16 = 0x1fff;
/// Symbols of two bits in a status vector.
const VECTOR_LEN: u16 = 7;
/// Unit of a delta.
const TICK_US: i64 = 250;
/// Unit of the reference time.
const REFERENCE_US: i64 = 64_000;

// Packet status symbols (§3.1.1). Where the text of the draft mixes up 0 and 1, its examples and every implementation
// take 0 for "not received".
const LOST: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp::transport_feedbacks::transport_layer_cc::{
        PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk,
        SymbolSizeTypeTcc, SymbolTypeTcc, TransportLayerCc,
    };

    use super::*;

    fn arrivals(list: &[(u16, u64)]) -> Vec<Arrival> {
        list.iter().map(|&(seq, at_us)| Arrival { seq, at_us }).collect()
    }

    fn write(arrivals: &[Arrival]) -> (Vec<u8>, usize) {
        let mut out = vec![0xee; 60_000];
        let (len, consumed) = write_feedback(&mut out, Ssrc(1), Ssrc(2), 3, arrivals).unwrap();
        assert_eq!(len % 4, 0);
        assert!(out[len..].iter().all(|&byte| byte == 0xee), "wrote past its length");
        out.truncate(len);
        (out, consumed)
    }

    fn read(packet: &[u8]) -> Vec<(u16, Option<i64>)> {
        let mut packets = crate::wire::rtcp::packets(packet);
        let Some(crate::wire::rtcp::Packet::TransportCc { sender: Ssrc(1), media: Ssrc(2), body }) =
            packets.next()
        else {
            panic!("not a feedback")
        };
        assert!(packets.next().is_none());
        parse_feedback(body).collect()
    }

    /// What a reader ought to see of `arrivals` when they are told from `base_seq` on.
    fn expected(base_seq: u16, arrivals: &[Arrival]) -> Vec<(u16, Option<i64>)> {
        let mut told = Vec::new();
        let mut next = base_seq;
        let reference = arrivals[0].at_us / 64_000;
        for arrival in arrivals {
            while next != arrival.seq {
                told.push((next, None));
                next = next.wrapping_add(1);
            }
            let since_reference = (arrival.at_us / 250 * 250) as i64 - reference as i64 * 64_000;
            let clock = i64::from((reference as i32) << 8 >> 8) * 64_000 + since_reference;
            told.push((next, Some(clock)));
            next = next.wrapping_add(1);
        }
        told
    }

    /// Ascending sequence numbers over wraps, with losses, reordering and pauses.
    fn some_arrivals() -> impl Strategy<Value = Vec<Arrival>> {
        let gap = prop_oneof![8 => Just(1u16), 2 => 2..5u16, 1 => 5..700u16];
        let pause_us = prop_oneof![8 => 0..3_000i64, 2 => -20_000..100_000i64, 1 => -900_000..900_000i64];
        let start_us =
            prop_oneof![0..CLOCK_WRAP_US as u64, (CLOCK_WRAP_US as u64 - 100_000)..CLOCK_WRAP_US as u64];
        (any::<u16>(), start_us, prop::collection::vec((gap, pause_us), 1..80)).prop_map(
            |(mut seq, start_us, steps)| {
                let mut at_us = start_us + 100_000_000;
                steps
                    .iter()
                    .map(|&(gap, pause_us)| {
                        let arrival = Arrival { seq, at_us };
                        seq = seq.wrapping_add(gap);
                        at_us = at_us.saturating_add_signed(pause_us);
                        arrival
                    })
                    .collect()
            },
        )
    }

    #[test]
    fn a_feedback_is_written_as_by_hand() {
        let list = arrivals(&[(0xfffe, 64_500), (0xffff, 65_000), (1, 64_000), (2, 164_000)]);
        let (packet, consumed) = write(&list);
        assert_eq!(consumed, 4);
        let expected = [
            0x8f,
            205,
            0,
            6,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            2, //
            0xff,
            0xfe,
            0,
            5, // base, five statuses
            0,
            0,
            1,
            3, // 1 * 64 ms, third feedback
            // small, small, lost, large (negative), large (100 ms)
            0b1101_0100,
            0b1010_0000, //
            2,
            2,
            0xff,
            0xfc,
            0x01,
            0x90,
        ];
        assert_eq!(packet, expected);
        let clock = |us| Some(us);
        assert_eq!(
            read(&packet),
            [
                (0xfffe, clock(64_500)),
                (0xffff, clock(65_000)),
                (0, None),
                (1, clock(64_000)),
                (2, clock(164_000))
            ]
        );
    }

    #[test]
    fn equal_statuses_share_a_run() {
        let list: Vec<_> = (0..600u16).map(|i| Arrival { seq: i, at_us: u64::from(i) * 250 }).collect();
        let (packet, consumed) = write(&list);
        assert_eq!(consumed, 600);
        assert_eq!(packet[20..22], [0x20 | 0x02, 0x58]);
        assert_eq!(packet.len(), (20 + 2 + 600usize).next_multiple_of(4));
        assert_eq!(read(&packet), expected(0, &list));
    }

    #[test]
    fn all_three_kinds_of_chunk_are_read() {
        let body = [
            0xff,
            0xf0,
            0,
            28,
            0,
            0,
            0,
            9, //
            0x20,
            0x04, // run of 4 small
            0b1011_0000,
            0b0000_0011, // 14 one-bit symbols: 1 1 0 ... 0 1 1
            0b1101_1000,
            0b0000_0000, // 7 two-bit symbols: small large lost ...
            0x00,
            0x03, // run of 3 lost
            1,
            1,
            1,
            1,
            2,
            2,
            2,
            2,
            4,
            0xff,
            0xff,
        ];
        let feedback = parse_feedback(&body);
        assert_eq!(feedback.feedback_count(), 9);
        let told: Vec<_> = feedback.collect();
        assert_eq!(told.len(), 28);
        assert_eq!(told[27].0, 0xfff0u16.wrapping_add(27));
        let ticks: Vec<_> = told.iter().map(|(_, at)| at.map(|at| at / 250)).collect();
        assert_eq!(ticks[..6], [1, 2, 3, 4, 6, 8].map(Some));
        assert_eq!(ticks[6..16], [None; 10]);
        assert_eq!(ticks[16..20], [10, 12, 16, 15].map(Some));
        assert_eq!(ticks[20..], [None; 8]);
    }

    #[test]
    fn a_body_that_contradicts_itself_tells_nothing() {
        let whole = [0, 0, 0, 9, 0, 0, 0, 0, 0x20, 0x08, 0x20, 0x01, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(parse_feedback(&whole).count(), 9);
        for len in 0..12 {
            assert_eq!(parse_feedback(&whole[..len]).count(), 0, "{len}");
        }
        // Deltas that are missing end the list.
        assert_eq!(parse_feedback(&whole[..15]).count(), 3);
        // So does a reserved symbol.
        assert_eq!(parse_feedback(&[0, 0, 0, 2, 0, 0, 0, 0, 0b1101_1100, 0, 1, 1]).count(), 1);
        // Runs of nothing cover nothing.
        assert_eq!(parse_feedback(&[0, 0, 0, 2, 0, 0, 0, 0, 0x20, 0, 0, 0]).count(), 0);
        // More statuses than anybody needs.
        assert_eq!(parse_feedback(&[0, 0, 0xff, 0xff, 0, 0, 0, 0, 0x1f, 0xff, 0x1f, 0xff]).count(), 0);
    }

    #[test]
    fn a_long_pause_begins_another_feedback_with_its_own_reference_time() {
        for pause_us in [8_192_000u64, 60_000_000] {
            let list =
                arrivals(&[(1, 100_000), (2, 101_000), (3, 101_000 + pause_us), (4, 102_000 + pause_us)]);
            let (packet, consumed) = write(&list);
            assert_eq!(consumed, 2);
            assert_eq!(read(&packet), expected(1, &list[..2]));
            let (packet, consumed) = write(&list[2..]);
            assert_eq!(consumed, 2);
            assert_eq!(read(&packet), expected(3, &list[2..]));
        }
        let list = arrivals(&[(1, 100_000), (2, 100_000 + 8_191_750)]);
        assert_eq!(write(&list).1, 2);
    }

    #[test]
    fn a_gap_too_wide_begins_another_feedback() {
        let list = arrivals(&[(10, 0), (10 + SPAN_MAX - 1, 0), (10 + SPAN_MAX, 0)]);
        let (packet, consumed) = write(&list);
        assert_eq!(consumed, 2);
        assert_eq!(read(&packet).len(), usize::from(SPAN_MAX));
    }

    #[test]
    fn sequence_numbers_that_do_not_ascend_begin_another_feedback() {
        for second in [10, 9, 40_000] {
            assert_eq!(write(&arrivals(&[(10, 0), (second, 1)])).1, 1, "{second}");
        }
    }

    #[test]
    fn losses_at_the_border_of_two_feedbacks_are_told() {
        let list = arrivals(&[(2, 1_000)]);
        let mut out = [0; 64];
        let (len, consumed) = write_feedback_since(&mut out, Ssrc(1), Ssrc(2), 0, 0xffff, &list).unwrap();
        assert_eq!(consumed, 1);
        assert_eq!(read(&out[..len]), expected(0xffff, &list));
        // A base behind the first arrival, or far before it, is not one.
        for base in [3, 20_000] {
            let (len, _) = write_feedback_since(&mut out, Ssrc(1), Ssrc(2), 0, base, &list).unwrap();
            assert_eq!(read(&out[..len]), expected(2, &list));
        }
    }

    #[test]
    fn nothing_to_tell_and_no_room_write_nothing() {
        let mut out = [0xee; 24];
        assert_eq!(write_feedback(&mut out, Ssrc(1), Ssrc(2), 0, &[]), None);
        let list = arrivals(&[(1, 0)]);
        assert_eq!(write_feedback(&mut out[..23], Ssrc(1), Ssrc(2), 0, &list), None);
        assert_eq!(out, [0xee; 24]);
        assert_eq!(write_feedback(&mut out, Ssrc(1), Ssrc(2), 0, &list), Some((24, 1)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(list in some_arrivals(), room in 24..400usize) {
            let mut told = 0;
            while told < list.len() {
                let mut out = vec![0; room];
                let (len, consumed) = write_feedback(&mut out, Ssrc(1), Ssrc(2), 0, &list[told..]).unwrap();
                prop_assert!(consumed > 0);
                let part = &list[told..told + consumed];
                prop_assert_eq!(read(&out[..len]), expected(part[0].seq, part));
                told += consumed;
            }
        }

        #[test]
        fn the_rtcp_crate_reads_what_we_write(list in some_arrivals()) {
            let (packet, consumed) = write(&list);
            let theirs = rtcp::packet::unmarshal(&mut packet.as_slice()).unwrap();
            let theirs = theirs[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
            prop_assert_eq!((theirs.sender_ssrc, theirs.media_ssrc, theirs.fb_pkt_count), (1, 2, 3));
            prop_assert_eq!(theirs.base_sequence_number, list[0].seq);
            prop_assert_eq!(u64::from(theirs.reference_time), (list[0].at_us / 64_000) & 0xff_ffff);
            let mut at_us = list[0].at_us / 64_000 * 64_000;
            let mut times = Vec::new();
            for delta in &theirs.recv_deltas {
                at_us = at_us.saturating_add_signed(delta.delta);
                times.push(at_us);
            }
            let expected: Vec<_> = list[..consumed].iter().map(|a| a.at_us / 250 * 250).collect();
            prop_assert_eq!(times, expected);
            let mut symbols = Vec::new();
            for chunk in &theirs.packet_chunks {
                match chunk {
                    PacketStatusChunk::RunLengthChunk(run) => {
                        symbols.extend(vec![run.packet_status_symbol; usize::from(run.run_length)]);
                    }
                    PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(vector.symbol_list.clone()),
                }
            }
            symbols.truncate(usize::from(theirs.packet_status_count));
            let arrived: Vec<_> = symbols
                .iter()
                .zip(0u16..)
                .filter(|(symbol, _)| **symbol != SymbolTypeTcc::PacketNotReceived)
                .map(|(_, i)| list[0].seq.wrapping_add(i))
                .collect();
            prop_assert_eq!(arrived, list[..consumed].iter().map(|a| a.seq).collect::<Vec<_>>());
        }

        #[test]
        fn we_read_what_the_rtcp_crate_writes(
            base in any::<u16>(),
            reference_time in 0..0x7f_ffffu32,
            runs in prop::collection::vec((0..3u16, 1..30u16), 0..4),
            vector in prop::collection::vec(0..3u16, 7),
            bits in prop::collection::vec(0..2u16, 14),
            deltas in prop::collection::vec(any::<(u8, i16)>(), 141),
        ) {
            let mut symbols: Vec<SymbolTypeTcc> = Vec::new();
            let mut packet_chunks = Vec::new();
            for (symbol, run_length) in runs {
                symbols.extend(vec![SymbolTypeTcc::from(symbol); usize::from(run_length)]);
                packet_chunks.push(PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                    packet_status_symbol: symbol.into(),
                    run_length,
                }));
            }
            for (symbol_size, list) in [(SymbolSizeTypeTcc::TwoBit, vector), (SymbolSizeTypeTcc::OneBit, bits)] {
                let symbol_list: Vec<SymbolTypeTcc> = list.into_iter().map(Into::into).collect();
                symbols.extend(&symbol_list);
                packet_chunks.push(PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                    type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                    symbol_size,
                    symbol_list,
                }));
            }
            let mut expected = Vec::new();
            let mut recv_deltas = Vec::new();
            let mut at_us = i64::from(reference_time) * 64_000;
            for (i, (symbol, (small, large))) in symbols.iter().zip(deltas).enumerate() {
                let delta = match symbol {
                    SymbolTypeTcc::PacketReceivedSmallDelta => Some(i64::from(small) * 250),
                    SymbolTypeTcc::PacketReceivedLargeDelta => Some(i64::from(large) * 250),
                    SymbolTypeTcc::PacketNotReceived | SymbolTypeTcc::PacketReceivedWithoutDelta => None,
                };
                if let Some(delta) = delta {
                    at_us += delta;
                    recv_deltas.push(RecvDelta { type_tcc_packet: *symbol, delta });
                }
                expected.push((base.wrapping_add(i as u16), delta.map(|_| at_us)));
            }
            let theirs = TransportLayerCc {
                sender_ssrc: 1,
                media_ssrc: 2,
                base_sequence_number: base,
                packet_status_count: symbols.len() as u16,
                reference_time,
                fb_pkt_count: 3,
                packet_chunks,
                recv_deltas,
            };
            let packet = rtcp::packet::marshal(&[Box::new(theirs)]).unwrap();
            prop_assert_eq!(read(&packet), expected);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(high) = body.get_mut(2) {
                *high %= 2;
            }
            prop_assert!(parse_feedback(&body).count() <= usize::from(SPAN_MAX));
        }

        #[test]
        fn no_arrivals_make_the_writer_panic(list in prop::collection::vec(any::<(u16, u64)>(), 0..20), base in any::<u16>(), room in 0..100usize) {
            let mut out = vec![0; room];
            let list = arrivals(&list);
            if let Some((len, consumed)) = write_feedback_since(&mut out, Ssrc(1), Ssrc(2), 0, base, &list) {
                prop_assert!(len <= room && (1..=list.len()).contains(&consumed));
            }
        }
    }
}
