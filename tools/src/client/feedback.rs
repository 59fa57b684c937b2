//! Transport-wide feedback of a simulated receiver (draft-holmer-rmcat-transport-wide-cc-extensions-01), written by the
//! reference implementation.

use std::collections::BTreeMap;

use rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc, SymbolTypeTcc,
    TransportLayerCc,
};

/// What arrived since the last feedback.
#[derive(Debug, Default)]
pub struct Feedback {
    /// By extended sequence number, in ticks of 250 us.
    arrivals: BTreeMap<u64, i64>,
    highest: u64,
    /// First number that no feedback has told of.
    next: Option<u64>,
    count: u8,
}

/// Statuses of one feedback: it fits a datagram with two bytes for each.
const STATUSES_MAX: u64 = 400;
const TICK_US: u64 = 250;
/// Ticks of the reference time's unit.
const REFERENCE_TICKS: i64 = 256;
/// Symbols of a status vector of two bits each.
const VECTOR: usize = 7;

impl Feedback {
    pub fn on_packet(&mut self, seq: u16, at_us: u64) {
        let seq = match self.highest {
            0 => (1 << 16) + u64::from(seq),
            highest => highest.saturating_add_signed(i64::from(seq.wrapping_sub(highest as u16) as i16)),
        };
        self.highest = self.highest.max(seq);
        self.arrivals.entry(seq).or_insert((at_us / TICK_US) as i64);
    }

    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// One feedback; to be called until there is none.
    pub fn take(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Option<TransportLayerCc> {
        let (&first, &first_tick) = self.arrivals.first_key_value()?;
        let near = |next: &u64| *next <= first && first - next < STATUSES_MAX;
        let base = self.next.filter(near).unwrap_or(first);
        let reference = first_tick / REFERENCE_TICKS;
        let mut tick = reference * REFERENCE_TICKS;
        let (mut symbols, mut recv_deltas) = (Vec::new(), Vec::new());
        while let Some((&seq, &arrival)) = self.arrivals.first_key_value() {
            let delta = arrival - tick;
            if seq >= base + STATUSES_MAX || i16::try_from(delta).is_err() {
                break;
            }
            self.arrivals.remove(&seq);
            symbols.resize((seq - base) as usize, SymbolTypeTcc::PacketNotReceived);
            let symbol = match u8::try_from(delta) {
                Ok(_) => SymbolTypeTcc::PacketReceivedSmallDelta,
                Err(_) => SymbolTypeTcc::PacketReceivedLargeDelta,
            };
            symbols.push(symbol);
            recv_deltas.push(RecvDelta { type_tcc_packet: symbol, delta: delta * TICK_US as i64 });
            tick = arrival;
        }
        let end = base + symbols.len() as u64;
        self.next = Some(self.next.map_or(end, |next| next.max(end)));
        self.count = self.count.wrapping_add(1);
        let chunk = |symbols: &[SymbolTypeTcc]| {
            PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: SymbolSizeTypeTcc::TwoBit,
                symbol_list: symbols.to_vec(),
            })
        };
        Some(TransportLayerCc {
            sender_ssrc,
            media_ssrc,
            base_sequence_number: base as u16,
            packet_status_count: symbols.len() as u16,
            reference_time: reference as u32 & 0xff_ffff,
            fb_pkt_count: self.count,
            packet_chunks: symbols.chunks(VECTOR).map(chunk).collect(),
            recv_deltas,
        })
    }
}

#[cfg(test)]
mod tests {
    use rtcp::packet::Packet;
    use saal_dataplane::wire::rtcp::{Packet as Read, packets};
    use saal_dataplane::wire::twcc::parse_feedback;

    use super::*;

    #[test]
    fn the_server_reads_what_arrived_and_what_did_not() {
        let mut feedback = Feedback::default();
        for (seq, at_us) in [(65_534, 1_000_000), (65_535, 1_000_250), (2, 1_090_000), (1, 1_100_000)] {
            feedback.on_packet(seq, at_us);
        }
        let boxed: Box<dyn Packet + Send + Sync> = Box::new(feedback.take(1, 2).expect("something arrived"));
        assert!(feedback.take(1, 2).is_none());
        let bytes = rtcp::packet::marshal(&[boxed]).expect("it is well formed");
        let Some(Read::TransportCc { body, .. }) = packets(&bytes).next() else { panic!("{bytes:?}") };
        let read: Vec<_> = parse_feedback(body).collect();
        let at = |us: i64| Some(us / 250 * 250);
        let expected = [
            (65_534, at(1_000_000)),
            (65_535, at(1_000_250)),
            (0, None),
            (1, at(1_100_000)),
            (2, at(1_090_000)),
        ];
        assert_eq!(read, expected);
        feedback.on_packet(4, 1_200_000);
        assert_eq!(feedback.take(1, 2).expect("one more").base_sequence_number, 3);
    }
}
