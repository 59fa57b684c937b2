//! Participants and strangers who send anything: nothing panics, nothing leaks, and the call of the others goes on.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, FileFailurePersistence};
use saal_dataplane::counters::Dropped;
use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_tests::client::plan::Plan;
use saal_tests::world::{Backend, Stranger, Who, World, each_backend};
use webrtc_util::marshal::Marshal;

/// Two honest participants, and one with all rights who sees and is seen.
struct Call {
    honest: [Who; 2],
    evil: Who,
    stranger: Stranger,
}

fn call(world: &mut World) -> Call {
    let room = world.open_room();
    let all = world.connect_all(room, [Plan::browser(), Plan::browser().firefox(), Plan::simulcast()]);
    world.view(all[0], &[(all[1], Camera, 720), (all[2], Camera, 720)]);
    world.view(all[1], &[(all[0], Camera, 720), (all[2], Camera, 180)]);
    world.view(all[2], &[(all[0], Camera, 720)]);
    world.record(all[2]);
    world.until("all see", |world| {
        world.received(all[0], all[2], Camera) > 5
            && world.received(all[1], all[2], Camera) > 5
            && world.received(all[0], all[1], Camera) > 5
            && world.received(all[1], all[0], Camera) > 5
    });
    Call { honest: [all[0], all[1]], evil: all[2], stranger: world.stranger() }
}

/// The honest two have lost nothing of each other since the call began.
fn honest_are_unharmed(world: &mut World, call: &Call) {
    let [a, b] = call.honest;
    let before = [world.received(a, b, Microphone), world.received(b, a, Camera)];
    world.until("the honest two hear and see each other", |world| {
        world.received(a, b, Microphone) > before[0] + 10 && world.received(b, a, Camera) > before[1] + 10
    });
    for who in call.honest {
        let slots = &world.clients[who].slots;
        let honest = slots.iter().filter(|slot| !slot.publishers().contains(&world.id(call.evil)));
        let mut checked = 0;
        for slot in honest.filter(|slot| !slot.arrivals.is_empty()) {
            slot.check().unwrap();
            checked += 1;
        }
        assert!(checked >= 2, "sound and picture of the other");
    }
    world.check();
}

#[test]
fn a_replay_of_everything_is_forwarded_once() {
    each_backend(|world| {
        let call = call(world);
        world.run_for(Duration::from_secs(1));
        let recorded = world.recorded(call.evil);
        for _ in 0..5 {
            for datagram in &recorded {
                world.send_raw(call.evil, datagram);
            }
            world.run_for(Duration::from_millis(50));
        }
        honest_are_unharmed(world, &call);
        let refused = world.dropped(Dropped::SrtpReplayed) + world.dropped(Dropped::SrtpTooOld);
        assert!(refused as usize > 4 * recorded.len(), "{refused} of {} packets", recorded.len() * 5);
        for who in call.honest {
            world.check_slots(who);
        }
    });
}

#[test]
fn packets_under_wrong_keys_and_from_wrong_addresses_reach_nobody() {
    each_backend(|world| {
        let call = call(world);
        let recorded = world.recorded(call.evil);
        let other = world.open_room();
        let elsewhere = world.connect(other, Plan::viewer());
        for datagram in recorded.iter().filter(|datagram| datagram[0] >= 128) {
            // Right keys, wrong address; right address, wrong keys; right in all but one bit.
            world.send_as(&call.stranger, datagram);
            world.send_raw(elsewhere, datagram);
            let mut broken = datagram.clone();
            let at = world.random.below(broken.len() as u64 - 12) as usize + 12;
            broken[at] ^= 1 << world.random.below(8);
            world.send_raw(call.evil, &broken);
        }
        honest_are_unharmed(world, &call);
        call.honest.iter().for_each(|who| world.check_slots(*who));
        let mut stranger = call.stranger;
        assert!(world.received_by(&mut stranger).is_empty());
        assert!(world.dropped(Dropped::UnknownAddress) as usize >= recorded.len() / 2);
        assert!(world.dropped(Dropped::SrtpUnauthentic) as usize >= recorded.len() / 2);
    });
}

#[test]
fn truncated_datagrams_of_every_kind_and_length_harm_nobody() {
    each_backend(|world| {
        let call = call(world);
        let check = world.clients[call.evil].check().write();
        let mut kinds = vec![check];
        let recorded = world.recorded(call.evil);
        kinds.extend(recorded.iter().rev().find(|datagram| (192..=223).contains(&datagram[1])).cloned());
        kinds.extend(recorded.iter().rev().find(|datagram| datagram[0] >= 128).cloned());
        kinds.push(client_hello());
        for datagram in kinds {
            for len in 0..datagram.len().min(200) {
                world.send_raw(call.evil, &datagram[..len]);
                world.send_as(&call.stranger, &datagram[..len]);
            }
            world.run_for(Duration::from_millis(20));
        }
        honest_are_unharmed(world, &call);
    });
}

#[test]
fn datagrams_larger_than_any_path_are_dropped_whole() {
    each_backend(|world| {
        let call = call(world);
        for len in [1_473, 1_501, 2_048, 2_049, 9_000, 65_507] {
            for first in [0, 22, 128] {
                let mut datagram = world.random.bytes(len);
                datagram[0] = first;
                world.send_raw(call.evil, &datagram);
                world.send_as(&call.stranger, &datagram);
            }
        }
        honest_are_unharmed(world, &call);
    });
}

#[test]
fn ssrcs_without_end_take_no_memory_and_harm_nobody() {
    each_backend(|world| {
        let call = call(world);
        for n in 0..2_000 {
            let header = rtp::header::Header {
                version: 2,
                payload_type: 111,
                ssrc: 0x1000_0000 + n,
                sequence_number: 1,
                ..Default::default()
            };
            let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 0];
            packet.extend(header.ssrc.to_be_bytes());
            packet.extend(world.random.bytes(40));
            world.clients[call.evil].send_rtp_nonsense(&packet, &header);
            if n % 100 == 0 {
                world.run_for(Duration::from_millis(5));
            }
        }
        honest_are_unharmed(world, &call);
        assert!(world.dropped(Dropped::SrtpSsrcLimit) >= 1_900);
    });
}

/// The receiver guesses the rollover counter from the last sequence number that it saw (RFC 3711 §3.3.1): after a jump
/// of more than 2^15 it can open nothing that comes on this SSRC, whoever the slot shows then.
#[test]
fn a_publisher_whose_sequence_numbers_jump_spoils_no_slot_for_those_shown_after_it() {
    each_backend(|world| {
        let call = call(world);
        let [viewer, next] = call.honest;
        world.clients[call.evil].source_mut(Camera).on = false;
        world.view(viewer, &[(call.evil, Camera, 180)]);
        world.clients[call.evil].source_mut(Camera).on = true;
        world.until("the slot shows the evil one", |world| {
            world.video(viewer, 0).shows() == Some((world.id(call.evil), Camera))
        });
        let mut packet = world.clients[call.evil].source(Camera).layers[0].last_packet().cloned().unwrap();
        world.clients[call.evil].source_mut(Camera).on = false;
        for len in [1_430, 100, 1_430, 100] {
            packet.header.sequence_number = packet.header.sequence_number.wrapping_add(30_000);
            let mut payload = packet.payload.to_vec();
            // What is too large to be forwarded leaves a gap.
            payload.resize(len, 0);
            packet.payload = payload.into();
            world.clients[call.evil].send_rtp(vec![packet.marshal().unwrap().to_vec()]);
            world.run_for(Duration::from_millis(50));
        }
        world.view(viewer, &[(next, Camera, 720)]);
        world.until("the slot shows the honest one", |world| {
            world.video(viewer, 0).shows() == Some((world.id(next), Camera))
        });
    });
}

#[test]
fn a_loudest_forever_participant_does_not_silence_the_others() {
    each_backend(|world| {
        let call = call(world);
        world.clients[call.evil].source_mut(Microphone).level = 0;
        honest_are_unharmed(world, &call);
    });
}

/// One thing that the evil participant or a stranger does.
#[derive(Clone, Debug)]
enum Deed {
    /// Any bytes, with a first byte that some protocol claims.
    Garbage {
        first: u8,
        bytes: Vec<u8>,
        stranger: bool,
    },
    /// A datagram of before, with some bytes changed and cut.
    Mangled {
        which: usize,
        changes: Vec<(usize, u8)>,
        len: usize,
        stranger: bool,
    },
    /// Sealed with the right keys: whatever is inside.
    Rtp {
        bits: u8,
        pt: u8,
        own_ssrc: Option<usize>,
        extension: Option<(u16, Vec<u8>)>,
        payload: Vec<u8>,
        jump: u16,
    },
    Rtcp {
        pt: u8,
        count: u8,
        bytes: Vec<u8>,
    },
    /// A check under the right password with an attribute of any kind.
    Check {
        attribute: u16,
        controlled: bool,
        nominate: bool,
    },
}

fn deed() -> impl Strategy<Value = Deed> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let protocol = prop_oneof![0..4_u8, 20..64_u8, 64..128_u8, 128..192_u8, 192..=255_u8];
    // Lengths of words, so that the length field is honest; the content is anything.
    let profile = prop_oneof![Just(0xBEDE), 0x1000..0x1010_u16, any::<u16>()];
    let extension =
        (profile, (0..64_usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4)));
    prop_oneof![
        (protocol, bytes(200), any::<bool>()).prop_map(|(first, bytes, stranger)| Deed::Garbage {
            first,
            bytes,
            stranger
        }),
        (
            any::<usize>(),
            prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
            1..1500_usize,
            any::<bool>()
        )
            .prop_map(|(which, changes, len, stranger)| Deed::Mangled {
                which,
                changes,
                len,
                stranger
            }),
        (
            any::<u8>(),
            0..128_u8,
            prop::option::of(0..5_usize),
            prop::option::of(extension),
            bytes(1300),
            any::<u16>()
        )
            .prop_map(|(bits, pt, own_ssrc, extension, payload, jump)| Deed::Rtp {
                bits,
                pt,
                own_ssrc,
                extension,
                payload,
                jump
            }),
        (prop_oneof![200..208_u8, 192..224_u8], 0..32_u8, bytes(400))
            .prop_map(|(pt, count, bytes)| Deed::Rtcp { pt, count, bytes }),
        (any::<u16>(), any::<bool>(), any::<bool>())
            .prop_map(|(attribute, controlled, nominate)| Deed::Check { attribute, controlled, nominate }),
    ]
}

fn commit(world: &mut World, call: &Call, deed: Deed, serial: u16) {
    match deed {
        Deed::Garbage { first, mut bytes, stranger } => {
            bytes.insert(0, first);
            send(world, call, stranger, &bytes);
        }
        Deed::Mangled { which, changes, len, stranger } => {
            let recorded = world.recorded(call.evil);
            let mut datagram = recorded[which % recorded.len()].clone();
            for (at, value) in changes {
                let at = at % datagram.len();
                datagram[at] = value;
            }
            datagram.truncate(len);
            send(world, call, stranger, &datagram);
        }
        Deed::Rtp { bits, pt, own_ssrc, extension, payload, jump } => {
            let evil = &world.clients[call.evil];
            let own: Vec<u32> =
                evil.sources.iter().flat_map(|s| &s.layers).flat_map(|l| [l.ssrc.0, l.rtx_ssrc.0]).collect();
            let ssrc = own_ssrc.map_or(0x0666_0000 + u32::from(serial % 8), |n| own[n % own.len()]);
            let dialect = *evil.dialect();
            // Half of the packets have a payload type that the server knows.
            let pt = [pt, dialect.opus, dialect.vp8, dialect.vp8_rtx][usize::from(bits >> 6)];
            let csrcs = usize::from(bits & 0x0F);
            let padding = bits & 0x20;
            let mut packet = vec![0x80 | padding | (bits & 0x0F), pt];
            packet[0] |= if extension.is_some() { 0x10 } else { 0 };
            let seq = serial.wrapping_add(jump);
            packet.extend(seq.to_be_bytes());
            packet.extend(u32::from(serial).to_be_bytes());
            packet.extend(ssrc.to_be_bytes());
            packet.extend(vec![0x77; 4 * csrcs]);
            if let Some((profile, bytes)) = &extension {
                packet.extend(profile.to_be_bytes());
                packet.extend(((bytes.len() / 4) as u16).to_be_bytes());
                packet.extend(bytes);
            }
            let header_len = packet.len();
            packet.extend(payload);
            let header = header_of_length(ssrc, seq, csrcs, extension.map(|(_, bytes)| bytes.len()));
            debug_assert_eq!(webrtc_util::marshal::MarshalSize::marshal_size(&header), header_len);
            world.clients[call.evil].send_rtp_nonsense(&packet, &header);
        }
        Deed::Rtcp { pt, count, bytes } => {
            let mut compound = vec![0x80 | count, pt];
            compound.extend(((bytes.len() / 4) as u16).to_be_bytes());
            compound.extend(&bytes);
            world.clients[call.evil].send_rtcp_bytes(&compound);
        }
        Deed::Check { attribute, controlled, nominate } => {
            let mut check = world.clients[call.evil].check();
            check.unknown_attribute = Some(attribute);
            check.controlled = controlled;
            check.nominate = nominate;
            world.send_raw(call.evil, &check.write());
        }
    }
}

fn send(world: &mut World, call: &Call, stranger: bool, datagram: &[u8]) {
    if stranger {
        world.send_as(&call.stranger, datagram);
    } else {
        world.send_raw(call.evil, datagram);
    }
}

/// `webrtc-srtp` takes from the header only SSRC, sequence number and length.
fn header_of_length(ssrc: u32, seq: u16, csrcs: usize, extension: Option<usize>) -> rtp::header::Header {
    const NEITHER_BYTE_FORM: u16 = 0x9999;
    rtp::header::Header {
        version: 2,
        ssrc,
        sequence_number: seq,
        csrc: vec![0; csrcs],
        extension: extension.is_some(),
        extension_profile: NEITHER_BYTE_FORM,
        extensions: extension
            .map(|len| rtp::header::Extension { id: 0, payload: vec![0; len].into() })
            .into_iter()
            .collect(),
        ..Default::default()
    }
}

/// A DTLS record that begins a ClientHello and goes on with nothing sensible.
fn client_hello() -> Vec<u8> {
    let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 180];
    record.extend([1, 0, 0, 168, 0, 0, 0, 0, 0, 0, 0, 168]);
    record.resize(13 + 180, 0x42);
    record
}

proptest! {
    #![proptest_config(Cases {
        cases: 24,
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Cases::default()
    })]

    #[test]
    fn whatever_is_sent_the_call_of_the_others_goes_on(
        seed in any::<u64>(),
        deeds in prop::collection::vec(deed(), 1..150),
    ) {
        let mut world = World::new(Backend::Sim, seed);
        let call = call(&mut world);
        for (serial, deed) in deeds.into_iter().enumerate() {
            commit(&mut world, &call, deed, serial as u16);
            if serial % 10 == 0 {
                world.run_for(Duration::from_millis(5));
            }
        }
        honest_are_unharmed(&mut world, &call);
    }
}
