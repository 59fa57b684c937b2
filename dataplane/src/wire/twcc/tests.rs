//! Wraps, losses, steps of the clock, and the same feedback through another implementation.

use proptest::prelude::*;
use rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
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
        let list = arrivals(&[(1, 100_000), (2, 101_000), (3, 101_000 + pause_us), (4, 102_000 + pause_us)]);
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
