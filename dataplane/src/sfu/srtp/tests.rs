//! What [`Inbound`] and [`Outbound`] promise, and whether another implementation understands them.

use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::*;
use crate::id::SeqNo;

const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80];
const SSRC: Ssrc = Ssrc(0x1234_5678);
const SSRCS_MAX: usize = 8;

#[test]
fn another_implementation_opens_our_rtp_across_a_rollover() {
    for profile in PROFILES {
        let (_, mut ours, mut theirs) = ends(profile);
        for (nth, index) in (65_400u64..65_700).enumerate() {
            let packet = plain_rtp(SSRC, index, &payload(nth));
            let sealed = seal(&mut ours, profile, &packet, index);
            assert_eq!(theirs.decrypt_rtp(&sealed).unwrap(), packet, "{profile:?} {index}");
        }
    }
}

#[test]
fn another_implementation_finds_the_payload_before_our_padding() {
    for profile in PROFILES {
        let (_, mut ours, mut theirs) = ends(profile);
        // Payloads that end anywhere in a cipher block, padding of any length.
        for (index, (len, padding)) in
            (0..40).flat_map(|len| [1, 2, 15, 16, 17, 254, 255].map(|p| (len, p))).enumerate()
        {
            let index = index as u64;
            let mut packet = plain_rtp(SSRC, index, &payload(len));
            packet[0] |= 0x20;
            let mut sealed = packet[..HEADER_LEN].to_vec();
            sealed.resize(packet.len() + padding + profile.rtp_overhead(), 0xee);
            ours.seal_rtp(ExtSeq(index), SSRC, HEADER_LEN, &packet[HEADER_LEN..], &mut sealed).unwrap();

            let opened = theirs.decrypt_rtp(&sealed).unwrap();
            packet.extend(std::iter::repeat_n(0, padding - 1));
            packet.push(padding as u8);
            assert_eq!(opened, packet, "{profile:?} {len} {padding}");
            let read =
                <rtp::packet::Packet as webrtc_util::marshal::Unmarshal>::unmarshal(&mut opened.clone());
            assert_eq!(read.unwrap().payload[..], payload(len)[..], "{profile:?} {len} {padding}");
        }
    }
}

#[test]
fn we_open_the_rtp_of_another_implementation_across_a_rollover() {
    for profile in PROFILES {
        let (mut ours, _, mut theirs) = ends(profile);
        for (nth, index) in (65_400u64..65_700).enumerate() {
            let packet = plain_rtp(SSRC, index, &payload(nth));
            let mut sealed = theirs.encrypt_rtp(&packet).unwrap().to_vec();
            let (len, opened) = open(&mut ours, &mut sealed).unwrap();
            assert_eq!((&sealed[..len], opened), (&packet[..], ExtSeq(index)), "{profile:?}");
        }
    }
}

#[test]
fn another_implementation_opens_our_rtcp_and_we_open_its() {
    for profile in PROFILES {
        let (mut inbound, mut outbound, mut theirs) = ends(profile);
        let (_, _, mut their_receiver) = ends(profile);
        for nth in 0..40u8 {
            let packet = plain_rtcp(SSRC, nth);
            let mut sealed = packet.clone();
            sealed.resize(packet.len() + profile.rtcp_overhead(), 0);
            assert_eq!(outbound.seal_rtcp(packet.len(), &mut sealed), Ok(sealed.len()));
            assert_eq!(their_receiver.decrypt_rtcp(&sealed).unwrap(), packet, "{profile:?}");

            let mut sealed = theirs.encrypt_rtcp(&packet).unwrap().to_vec();
            let len = inbound.open_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], packet, "{profile:?}");
        }
    }
}

#[test]
fn sealing_in_place_and_from_elsewhere_write_the_same_bytes() {
    for profile in PROFILES {
        let packet = plain_rtp(SSRC, 7, &payload(99));
        let (_, mut first, _) = ends(profile);
        let (_, mut second, _) = ends(profile);
        let mut in_place = packet.clone();
        in_place.resize(packet.len() + profile.rtp_overhead(), 0);
        first.seal_rtp_in_place(ExtSeq(7), SSRC, HEADER_LEN, &mut in_place).unwrap();
        assert_eq!(in_place, seal(&mut second, profile, &packet, 7));
    }
}

#[test]
fn late_packets_around_a_rollover_open_once_each() {
    for profile in PROFILES {
        let (mut inbound, mut outbound, _) = ends(profile);
        for index in [65_534u64, 65_537, 65_535, 65_536, 65_300, 65_600] {
            let mut sealed = seal(&mut outbound, profile, &plain_rtp(SSRC, index, &payload(3)), index);
            let mut again = sealed.clone();
            assert_eq!(open(&mut inbound, &mut sealed).unwrap().1, ExtSeq(index));
            assert_eq!(open(&mut inbound, &mut again), Err(Dropped::SrtpReplayed));
        }
        let (_, mut another, _) = ends(profile);
        let mut late = seal(&mut another, profile, &plain_rtp(SSRC, 65_000, &payload(3)), 65_000);
        assert_eq!(open(&mut inbound, &mut late), Err(Dropped::SrtpTooOld));
    }
}

#[test]
fn replayed_rtcp_is_refused() {
    for profile in PROFILES {
        let (mut inbound, mut outbound, _) = ends(profile);
        let mut sealed = seal_rtcp(&mut outbound, profile, &plain_rtcp(SSRC, 1));
        let mut again = sealed.clone();
        assert!(inbound.open_rtcp(&mut sealed).is_ok());
        assert_eq!(inbound.open_rtcp(&mut again), Err(Dropped::SrtpReplayed));
    }
}

#[test]
fn forged_packets_before_the_first_genuine_one_poison_nothing() {
    for profile in PROFILES {
        let (mut inbound, mut outbound, _) = ends(profile);
        for seq in [0u64, 40_000, 65_535] {
            let mut forged = plain_rtp(SSRC, seq, &payload(60));
            assert_eq!(open(&mut inbound, &mut forged), Err(Dropped::SrtpUnauthentic));
        }
        assert_eq!(inbound.rtp_windows.len(), 0);
        for index in 100..400u64 {
            let mut sealed = seal(&mut outbound, profile, &plain_rtp(SSRC, index, &payload(5)), index);
            assert_eq!(open(&mut inbound, &mut sealed).unwrap().1, ExtSeq(index));
            let mut forged = plain_rtp(SSRC, index + 30_000, &payload(60));
            assert_eq!(open(&mut inbound, &mut forged), Err(Dropped::SrtpUnauthentic));
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for profile in PROFILES {
        let (mut inbound, mut outbound, _) = ends(profile);
        let sealed = seal(&mut outbound, profile, &plain_rtp(SSRC, 9, &payload(20)), 9);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            // A flip may also make the header unreadable.
            if let Ok(header) = Header::parse(&forged) {
                assert!(inbound.open_rtp(&mut forged, &header, true).is_err(), "{profile:?} bit {bit}");
            }
        }
        let sealed = seal_rtcp(&mut outbound, profile, &plain_rtcp(SSRC, 1));
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                inbound.open_rtcp(&mut forged),
                Err(Dropped::SrtpUnauthentic),
                "{profile:?} bit {bit}"
            );
        }
        assert_eq!(inbound.rtp_windows.len() + inbound.rtcp_windows.len(), 0);
    }
}

#[test]
fn rtcp_that_claims_to_be_unencrypted_is_still_authenticated() {
    for profile in PROFILES {
        let (mut inbound, _, _) = ends(profile);
        let mut forged = plain_rtcp(SSRC, 1);
        forged.resize(forged.len() + profile.rtcp_overhead(), 0);
        assert_eq!(inbound.rtcp.rtcp_index(&forged), 0, "E = 0, index 0");
        assert_eq!(inbound.open_rtcp(&mut forged), Err(Dropped::SrtpUnauthentic));
    }
}

#[test]
fn short_packets_are_malformed() {
    for profile in PROFILES {
        let (mut inbound, _, _) = ends(profile);
        for len in 0..RTCP_HEADER_LEN + profile.rtcp_overhead() {
            assert_eq!(inbound.open_rtcp(&mut vec![0x80; len]), Err(Dropped::MalformedRtcp));
        }
        for len in HEADER_LEN..HEADER_LEN + profile.rtp_overhead() {
            let mut packet = plain_rtp(SSRC, 1, &payload(40))[..len].to_vec();
            assert_eq!(open(&mut inbound, &mut packet), Err(Dropped::MalformedRtp));
        }
    }
}

#[test]
fn authentic_ssrcs_beyond_the_limit_are_dropped_and_announced_ones_have_room_kept() {
    let profile = Profile::AeadAes128Gcm;
    let (mut inbound, mut outbound, _) = ends(profile);
    let mut results = Vec::new();
    for ssrc in 1..=20u32 {
        let mut sealed = seal(&mut outbound, profile, &plain_rtp(Ssrc(ssrc), 1, &payload(5)), 1);
        let header = Header::parse(&sealed).unwrap();
        results.push(inbound.open_rtp(&mut sealed, &header, ssrc > 10).map(|_| ()));
    }
    assert!(results[..6].iter().chain(&results[10..12]).all(Result::is_ok));
    assert!(results[6..10].iter().chain(&results[12..]).all(|result| *result == Err(Dropped::SrtpSsrcLimit)));

    let mut rtcp = Vec::new();
    for ssrc in 1..=20u32 {
        rtcp.push(inbound.open_rtcp(&mut seal_rtcp(&mut outbound, profile, &plain_rtcp(Ssrc(ssrc), 1))));
    }
    assert!(rtcp[..SSRCS_MAX].iter().all(Result::is_ok));
    assert!(rtcp[SSRCS_MAX..].iter().all(|result| *result == Err(Dropped::SrtpSsrcLimit)));
}

#[test]
fn no_index_is_sealed_twice() {
    for profile in PROFILES {
        let (_, mut outbound, _) = ends(profile);
        for index in [10u64, 12, 11] {
            seal(&mut outbound, profile, &plain_rtp(SSRC, index, &payload(5)), index);
        }
        let mut out = plain_rtp(SSRC, 11, &payload(30));
        assert_eq!(
            outbound.seal_rtp_in_place(ExtSeq(11), SSRC, HEADER_LEN, &mut out),
            Err(Dropped::SrtpReplayed)
        );
    }
}

#[test]
fn indices_end_and_never_wrap() {
    for profile in PROFILES {
        let (mut inbound, mut outbound, _) = ends(profile);
        let mut out = plain_rtp(SSRC, 0xffff, &payload(30));
        assert_eq!(
            outbound.seal_rtp_in_place(ExtSeq((1 << 48) - 1), SSRC, HEADER_LEN, &mut out),
            Err(Dropped::SrtpExhausted)
        );

        let last = (1 << 48) - 2;
        let mut sealed = seal(&mut outbound, profile, &plain_rtp(SSRC, last, &payload(5)), last);
        inbound.rtp_windows.mark(None, SSRC, last - 1);
        assert_eq!(open(&mut inbound, &mut sealed).unwrap().1, ExtSeq(last));
        for seq in [0xffff, 0, 1] {
            let mut beyond = plain_rtp(SSRC, seq, &payload(30));
            assert_eq!(open(&mut inbound, &mut beyond), Err(Dropped::SrtpExhausted));
        }

        outbound.rtcp_index = RTCP_INDEX_MASK - 1;
        seal_rtcp(&mut outbound, profile, &plain_rtcp(SSRC, 1));
        for _ in 0..3 {
            let mut out = plain_rtcp(SSRC, 1);
            let len = out.len();
            out.resize(len + profile.rtcp_overhead(), 0);
            assert_eq!(outbound.seal_rtcp(len, &mut out), Err(Dropped::SrtpExhausted));
        }
    }
}

#[test]
fn keys_of_the_wrong_length_are_refused() {
    for profile in PROFILES {
        assert!(Outbound::new(profile, &[0; 15], &[0; 12]).is_none());
        assert!(Inbound::new(profile, &[0; 32], &[0; 13], SSRCS_MAX).is_none());
    }
}

#[test]
fn rooms_of_the_wrong_size_are_refused_before_anything_is_sealed() {
    for profile in PROFILES {
        let (_, mut outbound, _) = ends(profile);
        let mut out = plain_rtp(SSRC, 1, &payload(30));
        assert_eq!(
            outbound.seal_rtp(ExtSeq(1), SSRC, HEADER_LEN, &[0; 500], &mut out),
            Err(Dropped::TooLarge)
        );
        assert_eq!(
            outbound.seal_rtp_in_place(ExtSeq(1), SSRC, HEADER_LEN, &mut out[..14]),
            Err(Dropped::TooLarge)
        );
        assert_eq!(outbound.seal_rtcp(out.len(), &mut out), Err(Dropped::TooLarge));
        assert_eq!(outbound.sealed.len(), 0);
    }
}

const HEADER_LEN: usize = 12;

fn ends(profile: Profile) -> (Inbound, Outbound, Context) {
    let key: Vec<u8> = (0..profile.key_len() as u8).map(|byte| byte.wrapping_mul(37) ^ 0x5a).collect();
    let salt: Vec<u8> = (0..profile.salt_len() as u8).map(|byte| byte.wrapping_mul(91) ^ 0xa5).collect();
    let theirs = match profile {
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    (
        Inbound::new(profile, &key, &salt, SSRCS_MAX).unwrap(),
        Outbound::new(profile, &key, &salt).unwrap(),
        Context::new(
            &key,
            &salt,
            theirs,
            Some(srtp_replay_protection(64)),
            Some(srtcp_replay_protection(64)),
        )
        .unwrap(),
    )
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|byte| byte as u8).collect()
}

fn plain_rtp(ssrc: Ssrc, index: u64, payload: &[u8]) -> Vec<u8> {
    let SeqNo(seq) = ExtSeq(index).seq();
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 1]);
    packet.extend_from_slice(&ssrc.0.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// A receiver report with one block.
fn plain_rtcp(ssrc: Ssrc, fill: u8) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.extend_from_slice(&ssrc.0.to_be_bytes());
    packet.extend_from_slice(&[fill; 24]);
    packet
}

fn seal(outbound: &mut Outbound, profile: Profile, packet: &[u8], index: u64) -> Vec<u8> {
    let mut out = vec![0; packet.len() + profile.rtp_overhead()];
    out[..HEADER_LEN].copy_from_slice(&packet[..HEADER_LEN]);
    let ssrc = Header::parse(packet).unwrap().ssrc;
    outbound.seal_rtp(ExtSeq(index), ssrc, HEADER_LEN, &packet[HEADER_LEN..], &mut out).unwrap();
    out
}

fn seal_rtcp(outbound: &mut Outbound, profile: Profile, packet: &[u8]) -> Vec<u8> {
    let mut out = packet.to_vec();
    out.resize(packet.len() + profile.rtcp_overhead(), 0);
    outbound.seal_rtcp(packet.len(), &mut out).unwrap();
    out
}

fn open(inbound: &mut Inbound, packet: &mut [u8]) -> Result<(usize, ExtSeq), Dropped> {
    let header = Header::parse(packet).unwrap();
    inbound.open_rtp(packet, &header, true)
}
