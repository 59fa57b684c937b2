//! Golden bytes, properties, and the same packets through another implementation.

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
