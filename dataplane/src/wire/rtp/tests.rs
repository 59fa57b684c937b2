//! Golden bytes, properties, and the same packets through another implementation.

use proptest::prelude::*;
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::*;

/// The example of RFC 8285 §4.2 behind a header with two CSRCs.
const ONE_BYTE: [u8; 40] = [
    0xb2, 0xe0, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0x00, 0x00, 0x00, 0x2a, // V=2 P X CC=2, M PT=96
    0, 0, 0, 1, 0, 0, 0, 2, // CSRC
    0xbe, 0xde, 0x00, 0x03, // one-byte form, 3 words
    0x10, 0xa0, 0x21, 0xb0, 0xb1, 0x00, 0x00, 0x33, 0xc0, 0xc1, 0xc2, 0xc3, // ids 1, 2, 3
    0x99, 0x98, 0x00, 0x02, // payload and padding
];

fn elements(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let header = Header::parse(packet).unwrap();
    header.extensions(packet).map(|(id, value)| (id, value.to_vec())).collect()
}

fn with_extension(profile: u16, elements: &[u8]) -> Vec<u8> {
    assert_eq!(elements.len() % 4, 0);
    let mut packet = vec![0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    packet.extend(profile.to_be_bytes());
    packet.extend((elements.len() as u16 / 4).to_be_bytes());
    packet.extend(elements);
    packet
}

fn outgoing() -> impl Strategy<Value = Outgoing> {
    (any::<(bool, bool)>(), 0..128u8, any::<(u16, u32, u32)>()).prop_map(
        |((marker, padding), pt, (seq, timestamp, ssrc))| Outgoing {
            marker,
            padding,
            pt: Pt(pt),
            seq: SeqNo(seq),
            timestamp: RtpTime(timestamp),
            ssrc: Ssrc(ssrc),
        },
    )
}

fn values(
    ids: std::ops::RangeInclusive<u8>,
    len: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    prop::collection::vec((ids, prop::collection::vec(any::<u8>(), len)), 0..6)
}

fn write(header: &Outgoing, values: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut extensions = Extensions::new();
    for (id, value) in values {
        assert!(extensions.push(*id, value));
    }
    let mut packet = vec![0xee; header.len(&extensions) + 7];
    assert_eq!(header.write(&extensions, &mut packet), header.len(&extensions));
    packet
}

#[test]
fn a_header_by_hand_is_read_field_by_field() {
    let header = Header::parse(&ONE_BYTE).unwrap();
    assert!(header.marker && header.padding);
    assert_eq!(header.pt, Pt(96));
    assert_eq!(header.seq, SeqNo(0x1234));
    assert_eq!(header.timestamp, RtpTime(0xdead_beef));
    assert_eq!(header.ssrc, Ssrc(42));
    assert_eq!(header.len, 36);
    assert_eq!(header.padding_len(&ONE_BYTE), Some(2));
    assert_eq!(
        elements(&ONE_BYTE),
        [(1, vec![0xa0]), (2, vec![0xb0, 0xb1]), (3, vec![0xc0, 0xc1, 0xc2, 0xc3])]
    );
}

#[test]
fn a_packet_cut_inside_its_header_is_malformed() {
    for len in 0..36 {
        assert_eq!(Header::parse(&ONE_BYTE[..len]), Err(Malformed), "{len}");
    }
    assert!(Header::parse(&ONE_BYTE[..36]).is_ok());
}

#[test]
fn only_version_two_is_rtp() {
    for version in [0x00, 0x40, 0xc0] {
        let mut packet = ONE_BYTE;
        packet[0] = version | packet[0] & 0x3f;
        assert_eq!(Header::parse(&packet), Err(Malformed));
    }
}

#[test]
fn padding_that_reaches_into_the_header_is_inconsistent() {
    let mut packet = ONE_BYTE;
    let header = Header::parse(&packet).unwrap();
    for (count, expected) in [(0, None), (1, Some(1)), (4, Some(4)), (5, None), (255, None)] {
        packet[39] = count;
        assert_eq!(header.padding_len(&packet), expected, "{count}");
    }
    assert_eq!(header.padding_len(&packet[..36]), None);
    assert_eq!(header.padding_len(&[]), None);
}

#[test]
fn id_15_ends_a_one_byte_extension() {
    let packet = with_extension(0xbede, &[0x10, 0xa0, 0xf0, 0xff, 0x20, 0xb0, 0, 0]);
    assert_eq!(elements(&packet), [(1, vec![0xa0])]);
}

#[test]
fn id_0_is_padding_but_with_a_length_it_ends_a_one_byte_extension() {
    let packet = with_extension(0xbede, &[0x00, 0x10, 0xa0, 0x00, 0x00, 0x20, 0xb0, 0x00]);
    assert_eq!(elements(&packet), [(1, vec![0xa0]), (2, vec![0xb0])]);
    let packet = with_extension(0xbede, &[0x10, 0xa0, 0x01, 0xff, 0xff, 0x20, 0xb0, 0x00]);
    assert_eq!(elements(&packet), [(1, vec![0xa0])]);
}

#[test]
fn an_element_longer_than_its_extension_is_not_read() {
    let packet = with_extension(0xbede, &[0x10, 0xa0, 0x2f, 0xff]);
    assert_eq!(elements(&packet), [(1, vec![0xa0])]);
    let packet = with_extension(0x1000, &[1, 1, 0xa0, 0, 2, 255, 0, 0]);
    assert_eq!(elements(&packet), [(1, vec![0xa0])]);
    let packet = with_extension(0x1000, &[0, 0, 0, 7]);
    assert_eq!(elements(&packet), []);
}

#[test]
fn the_two_byte_form_is_read_with_any_appbits() {
    // The example of RFC 8285 §4.3, and an id that only this form can carry.
    let bytes = [1, 0, 2, 1, 0xb0, 0, 3, 4, 0xc0, 0xc1, 0xc2, 0xc3, 200, 1, 0xd0, 0];
    for appbits in 0..16 {
        assert_eq!(
            elements(&with_extension(0x1000 | appbits, &bytes)),
            [(1, vec![]), (2, vec![0xb0]), (3, vec![0xc0, 0xc1, 0xc2, 0xc3]), (200, vec![0xd0])]
        );
    }
}

#[test]
fn an_extension_of_another_profile_is_skipped() {
    for profile in [0x0fff, 0x1010, 0xbedd, 0] {
        let packet = with_extension(profile, &[0x10, 0xa0, 0, 0]);
        assert_eq!(Header::parse(&packet).unwrap().len, packet.len());
        assert_eq!(elements(&packet), []);
    }
}

#[test]
fn a_header_is_written_as_by_hand() {
    let header = Outgoing {
        marker: true,
        padding: true,
        pt: Pt(96),
        seq: SeqNo(0x1234),
        timestamp: RtpTime(0xdead_beef),
        ssrc: Ssrc(42),
    };
    let packet = write(&header, &[(1, vec![0xa0]), (2, vec![0xb0, 0xb1])]);
    let expected = [
        0xb0, 0xe0, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 42, // fixed
        0xbe, 0xde, 0, 2, 0x10, 0xa0, 0x21, 0xb0, 0xb1, 0, 0, 0, // one-byte form, padded
    ];
    assert_eq!(packet[..expected.len()], expected);
}

#[test]
fn without_elements_the_extension_bit_is_clear() {
    let header = Outgoing {
        marker: false,
        padding: false,
        pt: Pt(111),
        seq: SeqNo(0),
        timestamp: RtpTime(0),
        ssrc: Ssrc(1),
    };
    let mut out = [0xff; FIXED_LEN];
    assert_eq!(header.write(&Extensions::new(), &mut out), FIXED_LEN);
    assert_eq!(out[..2], [0x80, 111]);
    assert_eq!(header.write(&Extensions::new(), &mut out[..11]), 0);
}

#[test]
fn the_two_byte_form_is_used_only_when_an_element_needs_it() {
    for (id, value, form) in
        [(14, vec![0; 16], 0xbe), (15, vec![0], 0x10), (1, vec![0; 17], 0x10), (1, vec![], 0x10)]
    {
        let mut extensions = Extensions::new();
        assert!(extensions.push(1, &[7]));
        assert!(extensions.push(id, &value));
        let mut out = vec![0; extensions.encoded_len()];
        extensions.write(&mut out);
        assert_eq!(out[0], form);
    }
}

#[test]
fn elements_that_do_not_fit_are_refused_and_change_nothing() {
    let mut extensions = Extensions::new();
    assert!(!extensions.push(0, &[1]));
    assert!(!extensions.push(1, &[0; 255]));
    assert!(!extensions.push(1, &[0; 300]));
    assert!(extensions.is_empty());
    assert_eq!(extensions.encoded_len(), 0);
    assert!(extensions.push(1, &[0; 250]));
    assert!(extensions.push(2, &[1, 2]));
    assert!(!extensions.push(3, &[]));
    assert_eq!(extensions.encoded_len(), 4 + Extensions::BYTES_MAX);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(header in outgoing(), values in values(1..=255, 0..=40)) {
        let packet = write(&header, &values);
        let read = Header::parse(&packet).unwrap();
        prop_assert_eq!(read.len, packet.len() - 7);
        let Header { marker, padding, pt, seq, timestamp, ssrc, .. } = read;
        prop_assert_eq!(Outgoing { marker, padding, pt, seq, timestamp, ssrc }, header);
        prop_assert_eq!(elements(&packet), values);
    }

    #[test]
    fn a_header_is_written_whole_or_not_at_all(header in outgoing(), values in values(1..=14, 1..=16), short in 1..200usize) {
        let packet = write(&header, &values);
        let len = packet.len() - 7;
        let mut extensions = Extensions::new();
        for (id, value) in &values {
            prop_assert!(extensions.push(*id, value));
        }
        prop_assert!(packet[len..].iter().all(|&byte| byte == 0xee), "wrote past its length");
        let mut out = vec![0xee; len.saturating_sub(short)];
        prop_assert_eq!(header.write(&extensions, &mut out), 0);
        prop_assert!(out.iter().all(|&byte| byte == 0xee));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut packet in prop::collection::vec(any::<u8>(), 0..300), first in any::<u8>()) {
        // Version 2 with an extension in one of the two forms, so that the interesting code is reached.
        if let Some(byte) = packet.first_mut() {
            *byte = 0x80 | first;
        }
        let extension_at = FIXED_LEN + usize::from(first & 0x0f) * 4;
        if let Some([profile0, profile1, words0, words1]) = packet.get_mut(extension_at..extension_at + 4) {
            [*profile0, *profile1] = if first & 0x20 == 0 { [0xbe, 0xde] } else { [0x10, 0x03] };
            [*words0, *words1] = [0, *words1 % 64];
        }
        if let Ok(header) = Header::parse(&packet) {
            let total: usize = header.extensions(&packet).map(|(_, value)| value.len()).sum();
            prop_assert!(total <= packet.len());
            prop_assert!(header.extensions(&packet[..packet.len() / 2]).count() <= packet.len());
            prop_assert!(header.padding_len(&packet).unwrap_or(0) <= packet.len() - header.len);
            header.padding_len(&packet[..packet.len() / 2]);
        }
    }

    #[test]
    fn the_rtp_crate_reads_what_we_write(header in outgoing(), values in values(1..=14, 1..=16)) {
        let packet = write(&header, &values);
        let theirs = rtp::header::Header::unmarshal(&mut packet.as_slice()).unwrap();
        prop_assert_eq!(theirs.marker, header.marker);
        prop_assert_eq!(theirs.padding, header.padding);
        prop_assert_eq!(theirs.payload_type, header.pt.0);
        prop_assert_eq!(theirs.sequence_number, header.seq.0);
        prop_assert_eq!(theirs.timestamp, header.timestamp.0);
        prop_assert_eq!(theirs.ssrc, header.ssrc.0);
        let read: Vec<_> = theirs.extensions.iter().map(|e| (e.id, e.payload.to_vec())).collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn we_read_what_the_rtp_crate_writes(
        header in outgoing(),
        csrc in prop::collection::vec(any::<u32>(), 0..=15),
        two_byte in any::<bool>(),
        values in values(1..=14, 1..=16),
    ) {
        let theirs = rtp::header::Header {
            version: 2,
            padding: header.padding,
            extension: !values.is_empty(),
            marker: header.marker,
            payload_type: header.pt.0,
            sequence_number: header.seq.0,
            timestamp: header.timestamp.0,
            ssrc: header.ssrc.0,
            csrc,
            extension_profile: if two_byte { 0x1000 } else { 0xbede },
            extensions: values
                .iter()
                .map(|(id, value)| rtp::header::Extension { id: *id, payload: value.clone().into() })
                .collect(),
            extensions_padding: 0,
        };
        let packet = theirs.marshal().unwrap();
        let read = Header::parse(&packet).unwrap();
        prop_assert_eq!(read.len, packet.len());
        let Header { marker, padding, pt, seq, timestamp, ssrc, .. } = read;
        prop_assert_eq!(Outgoing { marker, padding, pt, seq, timestamp, ssrc }, header);
        prop_assert_eq!(elements(&packet), values);
    }
}

proptest! {
    #[test]
    fn a_prepared_block_is_what_would_have_been_composed(
        header in outgoing(), mid in proptest::collection::vec(any::<u8>(), 0..24),
        ids in proptest::array::uniform4(proptest::option::of(0..20u8)), send_time: [u8; 3], transport_seq: [u8; 2],
        level: [u8; 1],
    ) {
        let mid = ids[0].map(|id| (id, &mid[..]));
        let Some(mut prepared) = Prepared::new(mid, ids[1], ids[2], ids[3]) else {
            // What the one-byte form cannot say, or nothing at all.
            let sayable = |id: &u8| (1..=14).contains(id);
            let fits = mid.is_none_or(|(_, mid)| (1..=16).contains(&mid.len()));
            prop_assert!(!ids.iter().flatten().all(sayable) || !fits || ids == [None; 4]);
            return Ok(());
        };
        prop_assert_eq!(prepared.has_audio_level(), ids[3].is_some());
        prepared.set(send_time, transport_seq, level);
        let mut extensions = Extensions::new();
        mid.map(|(id, mid)| extensions.push(id, mid));
        ids[1].map(|id| extensions.push(id, &send_time));
        ids[2].map(|id| extensions.push(id, &transport_seq));
        ids[3].map(|id| extensions.push(id, &level));
        let (mut composed, mut copied) = ([0; 80], [0; 80]);
        let len = header.write(&extensions, &mut composed);
        prop_assert_eq!(header.write_prepared(&prepared, &mut copied), len);
        prop_assert_eq!(prepared.header_len(), len);
        prop_assert_eq!(composed, copied);
        prop_assert_eq!(header.write_prepared(&prepared, &mut copied[..len - 1]), 0);
    }
}
