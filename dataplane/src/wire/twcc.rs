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
mod tests;
