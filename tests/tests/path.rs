//! How participants come, move and go: ICE, DTLS, consent and addresses.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use saal_dataplane::counters::Dropped;
use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_dataplane::io::line::Shape;
use saal_dataplane::io::sim::Direction;
use saal_dataplane::link::Command;
use saal_dataplane::sfu::transport::Gone;
use saal_tests::client::plan::Plan;
use saal_tests::client::secure::{DtlsVersion, Phase};
use saal_tests::world::{Who, World, each_backend, on_sim};

fn pair(world: &mut World) -> (Who, Who) {
    let room = world.open_room();
    let all = world.connect_all(room, [Plan::browser(), Plan::browser().firefox()]);
    world.view(all[0], &[(all[1], Camera, 720)]);
    world.view(all[1], &[(all[0], Camera, 720)]);
    world.until("they see each other", |world| {
        sees(world, all[0], all[1], 10) && sees(world, all[1], all[0], 10)
    });
    (all[0], all[1])
}

fn sees(world: &World, who: Who, whom: Who, packets: usize) -> bool {
    world.received(who, whom, Camera) >= packets && world.received(who, whom, Microphone) >= packets
}

/// Both see each other from now on.
fn goes_on(world: &mut World, a: Who, b: Who) {
    world.forget_received();
    world.until("the call goes on", |world| sees(world, a, b, 30) && sees(world, b, a, 30));
}

#[test]
fn every_dtls_version_connects_with_an_aead_cipher() {
    each_backend(|world| {
        let room = world.open_room();
        for dtls in [DtlsVersion::V12, DtlsVersion::V13, DtlsVersion::Auto] {
            let who = world.connect(room, Plan { dtls, ..Plan::viewer() });
            let profile = world.clients[who].srtp_profile().unwrap().to_string();
            assert!(profile.contains("AEAD"), "{dtls:?} got {profile}");
        }
    });
}

#[test]
fn joining_takes_few_round_trips() {
    on_sim(|world| {
        let room = world.open_room();
        let start = world.now();
        world.connect(room, Plan::viewer());
        // ICE is one round trip of 20 ms, DTLS 1.2 is three with its cookie.
        assert!(world.now() - start <= Duration::from_millis(120), "{:?}", world.now() - start);
    });
}

#[test]
fn joining_survives_loss_and_reordering() {
    on_sim(|world| {
        let room = world.open_room();
        // DTLS repeats a flight after 1, 3, 7 and 15 s: all five being lost has to be out of the question.
        let shape = Shape { loss: 0.08, reorder: 0.2, duplicate: 0.2, ..Shape::default() };
        for _ in 0..10 {
            let who = world.join(room, Plan::viewer().firefox());
            world.set_shape(who, Direction::Up, shape);
            world.set_shape(who, Direction::Down, shape);
            world.until("the participant is connected", |world| world.is_connected(who));
        }
    });
}

#[test]
fn who_vanishes_is_disconnected_after_fifteen_seconds() {
    on_sim(|world| {
        let (stays, vanishes) = pair(world);
        let start = world.now();
        world.clients[vanishes].vanished = true;
        world.until_within(Duration::from_secs(16), "it is noticed", |world| world.gone(vanishes).is_some());
        assert_eq!(world.gone(vanishes), Some(Gone::ConsentExpired));
        // The last check was up to 2.5 s before.
        let after = world.now() - start;
        assert!(
            after >= Duration::from_millis(12_400) && after <= Duration::from_millis(15_200),
            "{after:?}"
        );
        assert_eq!(world.snapshot().counters.participants, 1);
        let sent = world.snapshot().io.bytes_out;
        world.run_for(Duration::from_secs(2));
        let rate = (world.snapshot().io.bytes_out - sent) / 2;
        assert!(rate < 5_000, "{rate} bytes a second go out although there is one participant only");
        assert!(world.gone(stays).is_none());
    });
}

#[test]
fn who_never_arrives_is_disconnected_after_the_setup_time() {
    on_sim(|world| {
        let room = world.open_room();
        let start = world.now();
        let who = world.join(room, Plan::browser());
        world.clients[who].vanished = true;
        world.until_within(Duration::from_secs(31), "it is noticed", |world| world.gone(who).is_some());
        assert!(world.now() - start >= Duration::from_secs(15));
        assert_eq!(world.snapshot().counters.participants, 0);
    });
}

#[test]
fn who_stalls_in_the_handshake_is_disconnected_after_the_setup_time() {
    on_sim(|world| {
        let room = world.open_room();
        let who = world.join(room, Plan::browser());
        world.until("ICE is done", |world| world.clients[who].checks_answered > 0);
        world.set_shape(who, Direction::Down, Shape { loss: 1.0, ..Shape::default() });
        world.until_within(Duration::from_secs(61), "it is noticed", |world| world.gone(who).is_some());
        assert_eq!(world.snapshot().counters.participants, 0);
    });
}

#[test]
fn a_close_notify_is_a_leave() {
    each_backend(|world| {
        let (stays, leaves) = pair(world);
        world.clients[leaves].close_notify();
        world.until("the leave is noticed", |world| world.gone(leaves) == Some(Gone::CloseNotify));
        let slot = world.video_slot(stays, 0);
        world.until("the slot is announced empty", |world| world.announced(stays, slot).is_none());
        assert_eq!(world.snapshot().counters.participants, 1);
    });
}

#[test]
fn an_ice_restart_costs_nothing_and_the_old_credentials_end() {
    each_backend(|world| {
        let (a, b) = pair(world);
        for round in 0..3 {
            let old = world.clients[a].check();
            world.restart_ice(a);
            world.until("the new credentials work", |world| world.clients[a].checks_answered > 0);
            goes_on(world, a, b);
            let refused = world.dropped(Dropped::UnknownUfrag);
            world.send_raw(a, &old.write());
            world.until("the old credentials are refused", |world| {
                world.dropped(Dropped::UnknownUfrag) > refused
            });
            assert!(world.gone(a).is_none(), "round {round}");
        }
        assert_eq!(world.video(a, 0).check_continued(), Ok(()));
        assert_eq!(world.video(b, 0).check_continued(), Ok(()));
    });
}

#[test]
fn the_old_credentials_serve_until_the_first_check_with_the_new_ones() {
    on_sim(|world| {
        let (a, b) = pair(world);
        let local = world.ice_credentials();
        let (room, participant) = (world.clients[a].seat.room, world.id(a));
        world.command(Command::RestartIce { room, participant, local });
        // The client has not heard of it and goes on checking with the old ones, for longer than consent lasts.
        world.run_for(Duration::from_secs(20));
        assert!(world.gone(a).is_none());
        goes_on(world, a, b);
    });
}

#[test]
fn nat_rebinding_is_followed_at_the_next_check() {
    each_backend(|world| {
        let (a, b) = pair(world);
        for _ in 0..3 {
            world.rebind(a);
            goes_on(world, a, b);
        }
        assert_eq!(world.gone(a), None);
    });
}

#[test]
fn a_participant_can_move_more_often_than_addresses_are_remembered() {
    on_sim(|world| {
        let (a, b) = pair(world);
        for _ in 0..20 {
            world.rebind(a);
            world.run_for(Duration::from_secs(3));
        }
        goes_on(world, a, b);
    });
}

/// Until then packets for the one before may still be on their way.
fn until_it_is_its_own(world: &mut World, who: Who) {
    world.until("the next is connected", |world| world.is_connected(who));
    world.clients[who].violations.clear();
}

#[test]
fn the_address_of_one_who_left_can_be_anothers() {
    each_backend(|world| {
        let (a, b) = pair(world);
        let room = world.clients[a].seat.room;
        world.leave(a);
        let next = world.join(room, Plan::browser());
        world.hand_over_address(a, next);
        until_it_is_its_own(world, next);
        world.view(b, &[(next, Camera, 720)]);
        world.view(next, &[(b, Camera, 720)]);
        goes_on(world, next, b);
    });
}

#[test]
fn the_address_of_one_who_is_still_listed_can_be_anothers() {
    each_backend(|world| {
        let (a, b) = pair(world);
        // a's machine is gone, but nobody has noticed; its NAT gives the address to another one.
        world.clients[a].vanished = true;
        let room = world.clients[a].seat.room;
        let next = world.join(room, Plan::browser());
        world.hand_over_address(a, next);
        until_it_is_its_own(world, next);
        world.view(b, &[(next, Camera, 720)]);
        world.view(next, &[(b, Camera, 720)]);
        goes_on(world, next, b);
        let slots = &world.clients[next].slots;
        assert!(slots.iter().all(|slot| slot.publishers().iter().all(|publisher| *publisher == world.id(b))));
    });
}

#[test]
fn a_check_with_anothers_ufrag_and_ones_own_password_moves_nothing() {
    each_backend(|world| {
        let (a, b) = pair(world);
        let mut forged = world.clients[a].check();
        forged.pwd = world.clients[b].check().pwd;
        let stranger = world.stranger();
        world.send_as(&stranger, &forged.write());
        world.until("it is refused", |world| world.dropped(Dropped::StunUnauthentic) > 0);
        goes_on(world, a, b);
    });
}

#[test]
fn another_certificate_than_the_signalled_one_ends_the_join() {
    each_backend(|world| {
        let room = world.open_room();
        let other = world.connect(room, Plan::viewer());
        let (who, media) = world.invite(room, Plan::browser());
        let participant = world.id(who);
        // The fingerprint of another participant of the room.
        let mut transport = world.clients[who].transport_spec();
        transport.fingerprint = world.clients[other].transport_spec().fingerprint;
        world.command(Command::Join { room, participant, transport });
        world.command(Command::Negotiate { room, participant, media });
        world.switch(who, Microphone, true);
        world.until("the join has ended", |world| world.gone(who).is_some());
        assert_eq!(world.gone(who), Some(Gone::FingerprintMismatch));
        world.run_for(Duration::from_millis(300));
        assert_eq!(world.received(other, who, Microphone), 0);
        assert_eq!(world.snapshot().counters.participants, 1);
    });
}

#[test]
fn the_server_refuses_what_ice_says_it_must() {
    each_backend(|world| {
        let room = world.open_room();
        let who = world.connect(room, Plan::viewer());
        let mut controlled = world.clients[who].check();
        controlled.controlled = true;
        let mut unknown = world.clients[who].check();
        unknown.unknown_attribute = Some(0x7FFF);
        for (check, code) in [(controlled, 487), (unknown, 420)] {
            world.send_raw(who, &check.write());
            world.until(&format!("it is refused with {code}"), |world| {
                world.clients[who].refusals.contains(&code)
            });
        }
        assert!(world.is_connected(who) && world.clients[who].phase() == Phase::Connected);
    });
}

#[test]
fn who_proves_no_way_back_gets_at_most_three_times_the_bytes() {
    on_sim(|world| {
        let room = world.open_room();
        let who = world.join(room, Plan::viewer());
        world.until("ICE is done", |world| world.clients[who].checks_answered > 0);
        // The client's first flight is on its way; nothing more comes from there, as if its address were forged.
        world.run_for(Duration::from_millis(1));
        world.clients[who].vanished = true;
        world.run_for(Duration::from_secs(25));
        // As somebody flooded would count them: with the headers of IP and UDP.
        let io = world.snapshot().io;
        let (came, went) = (io.bytes_in + 28 * io.datagrams_in, io.bytes_out + 28 * io.datagrams_out);
        assert!(went <= 3 * came, "{came} bytes in, {went} bytes out");
    });
}

#[test]
fn strangers_get_no_answer() {
    each_backend(|world| {
        let (a, b) = pair(world);
        let mut stranger = world.stranger();
        let check = world.clients[a].check();
        let mut broken = [check.clone(), check.clone(), check.clone(), check];
        broken[0].integrity = false;
        broken[1].fingerprint = false;
        broken[1].pwd.push('x');
        broken[2].username = "nobody:here".into();
        broken[3].username.clear();
        for check in &broken {
            world.send_as(&stranger, &check.write());
        }
        for first in 0..=255 {
            let mut datagram = world.random.bytes(100);
            datagram[0] = first;
            world.send_as(&stranger, &datagram);
        }
        goes_on(world, a, b);
        let received = world.received_by(&mut stranger);
        // RFC 8489 allows an error response to a request without integrity; it must not be larger than the request.
        assert!(received.len() <= 4 && received.iter().all(|datagram| datagram.len() <= 100), "{received:?}");
        assert!(!received.iter().any(|datagram| datagram.starts_with(&[1, 1])), "no stranger gets a success");
    });
}
