//! Who hears and sees whom: joining, leaving, closing, switching off; on all backends where it says so.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use saal_dataplane::counters::Dropped;
use saal_dataplane::id::SourceKind::{Camera, Microphone, Screen};
use saal_dataplane::id::{ParticipantId, RoomId};
use saal_dataplane::link::{Command, Event, Refusal};
use saal_dataplane::{Busy, Config, Limits};
use saal_tests::client::plan::{Plan, SourcePlan};
use saal_tests::world::{Backend, Who, World, config, each_backend, on_sim};

/// Everybody looks at everybody else's camera.
fn look_at_each_other(world: &mut World, all: &[Who]) {
    for viewer in all {
        let wishes: Vec<_> = all.iter().filter(|who| *who != viewer).map(|who| (*who, Camera, 720)).collect();
        world.view(*viewer, &wishes);
    }
}

/// At least so many packets of everybody's microphone and camera are with everybody else.
fn all_receive(world: &World, all: &[Who], packets: usize) -> bool {
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b);
    pairs
        .into_iter()
        .all(|(a, b)| world.received(a, b, Microphone) >= packets && world.received(a, b, Camera) >= packets)
}

#[test]
fn two_participants_hear_and_see_each_other() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::browser().firefox()]);
        look_at_each_other(world, &all);
        world.until("both receive both", |world| all_receive(world, &all, 50));
        for who in &all {
            world.check_slots(*who);
            assert_eq!(world.received(*who, *who, Microphone), 0, "nobody hears themselves");
        }
    });
}

#[test]
fn three_participants_of_two_kinds_of_browser_hear_and_see_each_other() {
    each_backend(|world| {
        let room = world.open_room();
        let plans = [Plan::browser(), Plan::browser().firefox(), Plan::simulcast()];
        let all = world.connect_all(room, plans);
        look_at_each_other(world, &all);
        world.until("all receive all", |world| all_receive(world, &all, 50));
        all.iter().for_each(|who| world.check_slots(*who));
    });
}

#[test]
fn an_audio_packet_takes_no_longer_than_the_network() {
    on_sim(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::browser()]);
        world.until("they hear each other", |world| world.received(all[0], all[1], Microphone) > 10);
        world.forget_received();
        let start = world.now();
        world.until("a packet has come", |world| world.received(all[0], all[1], Microphone) > 0);
        // Up to 20 ms until the next packet is captured, 10 ms up, 10 ms down.
        assert!(world.now() - start <= Duration::from_millis(41), "{:?}", world.now() - start);
    });
}

#[test]
fn joins_and_leaves_cost_the_others_nothing() {
    each_backend(|world| {
        let room = world.open_room();
        let pair = world.connect_all(room, [Plan::browser(), Plan::browser()]);
        look_at_each_other(world, &pair);
        world.until("both receive both", |world| all_receive(world, &pair, 20));
        for _ in 0..3 {
            let guests = world.connect_all(room, [Plan::browser().firefox(), Plan::simulcast()]);
            world.view(guests[0], &[(pair[0], Camera, 720), (guests[1], Camera, 720)]);
            world.until("the guest sees", |world| world.received(guests[0], pair[0], Camera) > 20);
            world.leave(guests[0]);
            world.clients[guests[1]].close_notify();
            world.until("the second guest is gone", |world| world.gone(guests[1]).is_some());
        }
        // Two people speak all along and nobody else does, so that each slot holds one unbroken stream.
        for who in &pair {
            world.check_slots(*who);
            let video = world.video(*who, 0);
            assert_eq!(video.switches(), 0);
            assert_eq!(video.publishers().len(), 1);
        }
    });
}

#[test]
fn who_leaves_is_neither_heard_nor_seen_and_the_slot_is_announced_empty() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::browser()]);
        look_at_each_other(world, &all);
        world.until("both receive both", |world| all_receive(world, &all, 10));
        let slot = world.video_slot(all[0], 0);
        world.until("the slot is announced", |world| {
            world.announced(all[0], slot) == Some((world.id(all[1]), Camera))
        });
        world.leave(all[1]);
        world.until("the slot is announced empty", |world| world.announced(all[0], slot).is_none());
        let snapshot = world.snapshot();
        assert_eq!(snapshot.rooms, [(room, vec![world.id(all[0])])]);
        world.forget_received();
        world.run_for(Duration::from_millis(500));
        assert_eq!(world.received(all[0], all[1], Microphone), 0);
        assert_eq!(world.received(all[0], all[1], Camera), 0);
    });
}

#[test]
fn two_rooms_never_mix() {
    each_backend(|world| {
        let (first, second) = (world.open_room(), world.open_room());
        let here = world.connect_all(first, [Plan::browser(), Plan::browser()]);
        let there = world.connect_all(second, [Plan::browser(), Plan::browser()]);
        look_at_each_other(world, &here);
        // The second room's wishes name participants of the first: they come to nothing.
        world.view(there[0], &[(here[0], Camera, 720), (there[1], Camera, 720)]);
        world.until("the first room works", |world| all_receive(world, &here, 50));
        world.until("the second room works", |world| world.received(there[0], there[1], Camera) > 50);
        for (a, b) in here.iter().flat_map(|a| there.iter().map(move |b| (*a, *b))) {
            for kind in [Microphone, Camera] {
                assert_eq!(world.received(a, b, kind) + world.received(b, a, kind), 0);
            }
        }
    });
}

#[test]
fn closing_a_room_ends_it_and_no_other() {
    each_backend(|world| {
        let (first, second) = (world.open_room(), world.open_room());
        let here = world.connect_all(first, [Plan::browser(), Plan::browser()]);
        let there = world.connect_all(second, [Plan::browser(), Plan::browser()]);
        look_at_each_other(world, &there);
        world.command(Command::CloseRoom { room: first });
        world.until("the room is closed", |world| {
            world.events.iter().any(|event| matches!(event, Event::RoomClosed { room } if *room == first))
        });
        let snapshot = world.snapshot();
        assert_eq!(snapshot.rooms.iter().map(|(room, _)| *room).collect::<Vec<_>>(), [second]);
        assert_eq!(snapshot.counters.participants, 2);
        world.run_for(Duration::from_millis(100));
        world.forget_received();
        world.until("the other room goes on", |world| all_receive(world, &there, 20));
        assert_eq!(world.received(here[0], here[1], Microphone), 0);
        there.iter().for_each(|who| assert_eq!(world.video(*who, 0).check_continued(), Ok(())));
    });
}

#[test]
fn nothing_of_a_source_that_is_off_is_forwarded() {
    each_backend(|world| {
        let room = world.open_room();
        let publisher = world.join_silently(room, Plan::browser());
        let viewer = world.connect(room, Plan::viewer());
        world.until("the publisher is connected", |world| world.is_connected(publisher));
        world.view(viewer, &[(publisher, Camera, 720)]);
        // Its page sends although nobody switched its sources on.
        world.run_for(Duration::from_millis(500));
        assert_eq!(
            world.received(viewer, publisher, Camera) + world.received(viewer, publisher, Microphone),
            0
        );

        world.switch(publisher, Camera, true);
        world.until("the camera is seen", |world| world.received(viewer, publisher, Camera) > 20);
        assert_eq!(world.received(viewer, publisher, Microphone), 0, "the microphone is still off");
        world.switch(publisher, Microphone, true);
        world.until("the microphone is heard", |world| world.received(viewer, publisher, Microphone) > 20);

        world.switch(publisher, Camera, false);
        world.switch(publisher, Microphone, false);
        world.snapshot();
        world.run_for(Duration::from_millis(100));
        world.forget_received();
        world.run_for(Duration::from_millis(500));
        assert_eq!(
            world.received(viewer, publisher, Camera) + world.received(viewer, publisher, Microphone),
            0
        );

        world.switch(publisher, Camera, true);
        world.until("the camera is seen again", |world| world.received(viewer, publisher, Camera) > 20);
    });
}

#[test]
fn a_camera_that_was_off_comes_back_with_a_keyframe_and_without_a_gap() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::viewer()]);
        world.view(all[1], &[(all[0], Camera, 720)]);
        for _ in 0..3 {
            let seen = world.received(all[1], all[0], Camera);
            world.until("the camera is seen", |world| world.received(all[1], all[0], Camera) > seen + 10);
            world.switch(all[0], Camera, false);
            world.snapshot();
            world.run_for(Duration::from_millis(300));
            world.switch(all[0], Camera, true);
        }
        world.until("the camera is seen", |world| world.received(all[1], all[0], Camera) > 50);
        // A gap would be asked for again and again, and the pictures in it are gone.
        let mut fresh_start = Vec::new();
        // Probes of the line bring packets once more.
        let slot = world.video(all[1], 0);
        let arrivals: Vec<_> = slot.arrivals.iter().filter(|arrival| !arrival.rtx).collect();
        for pair in arrivals.windows(2) {
            assert!(pair[1].seq == pair[0].seq + 1, "gap or duplicate from {:?} to {:?}", pair[0], pair[1]);
            if pair[1].stamp.frame > pair[0].stamp.frame + 1 {
                fresh_start.push(pair[1].vp8.is_some_and(|vp8| vp8.keyframe));
            }
        }
        assert_eq!(fresh_start, [true; 3], "each pause ends with a keyframe");
    });
}

#[test]
fn who_is_withheld_is_neither_heard_nor_seen_however_often_their_page_switches_on() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::viewer()]);
        world.view(all[1], &[(all[0], Camera, 720)]);
        let is_received = |world: &World, kind| world.received(all[1], all[0], kind) > 10;
        world
            .until("both are received", |world| is_received(world, Microphone) && is_received(world, Camera));
        for kind in [Microphone, Camera] {
            world.withhold(all[0], kind, true);
            world.switch(all[0], kind, false);
            world.switch(all[0], kind, true);
        }
        world.snapshot();
        world.run_for(Duration::from_millis(100));
        world.forget_received();
        let dropped = world.dropped(Dropped::SourceWithheld);
        world.until("it sends on", |world| world.dropped(Dropped::SourceWithheld) > dropped + 100);
        assert_eq!(world.received(all[1], all[0], Microphone) + world.received(all[1], all[0], Camera), 0);
        for kind in [Microphone, Camera] {
            world.withhold(all[0], kind, false);
        }
        world
            .until("both are received", |world| is_received(world, Microphone) && is_received(world, Camera));
        world.check_slots(all[1]);
    });
}

#[test]
fn a_microphone_that_is_switched_on_again_is_heard_again() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::viewer()]);
        for _ in 0..3 {
            world.switch(all[0], Microphone, true);
            world.forget_received();
            world.until("it is heard", |world| world.received(all[1], all[0], Microphone) > 5);
            world.switch(all[0], Microphone, false);
            world.snapshot();
        }
        world.check_slots(all[1]);
    });
}

#[test]
fn a_screen_is_shown_beside_the_camera_of_the_same_participant() {
    each_backend(|world| {
        let room = world.open_room();
        let sources = vec![SourcePlan::microphone(), SourcePlan::simulcast(), SourcePlan::screen()];
        let all = world.connect_all(room, [Plan::browser().sending(sources), Plan::viewer()]);
        world.view(all[1], &[(all[0], Screen, 1080), (all[0], Camera, 180)]);
        world.until("both are seen", |world| {
            world.received(all[1], all[0], Screen) > 50 && world.received(all[1], all[0], Camera) > 20
        });
        assert_eq!(world.video(all[1], 0).shows(), Some((world.id(all[0]), Screen)));
        assert_eq!(world.video(all[1], 1).shows(), Some((world.id(all[0]), Camera)));
        world.check_slots(all[1]);
    });
}

#[test]
fn renegotiation_adds_a_screen_and_slots_and_keeps_what_runs() {
    each_backend(|world| {
        let room = world.open_room();
        let sources = vec![SourcePlan::microphone(), SourcePlan::camera(), SourcePlan::screen()];
        let (publisher, media) = world.invite(room, Plan::browser().sending(sources));
        let participant = world.id(publisher);
        let transport = world.clients[publisher].transport_spec();
        let mut without_screen = media.clone();
        without_screen.sources.retain(|source| source.kind != Screen);
        world.clients[publisher].source_mut(Screen).on = false;
        world.command(Command::Join { room, participant, transport });
        world.command(Command::Negotiate { room, participant, media: without_screen });
        world.switch(publisher, Camera, true);
        let viewer = world.connect(room, Plan::viewer());
        world.view(viewer, &[(publisher, Camera, 720), (publisher, Screen, 1080)]);
        world.until("the camera is seen", |world| world.received(viewer, publisher, Camera) > 20);

        world.command(Command::Negotiate { room, participant, media });
        world.switch(publisher, Screen, true);
        world.clients[publisher].source_mut(Screen).on = true;
        world.until("the screen is seen", |world| world.received(viewer, publisher, Screen) > 20);
        world.check_slots(viewer);
        assert_eq!(world.video(viewer, 0).switches(), 0);
    });
}

#[test]
fn a_full_room_an_unknown_room_and_a_used_id_are_refused() {
    on_sim(|_| {
        let limits = Limits { participants_per_room_max: 2, ..Limits::default() };
        let mut world = World::with_config(Backend::Sim, 1, Config { limits, ..config(Backend::Sim) });
        let refusal = |world: &World, who: Who| {
            world.events.iter().find_map(|event| match event {
                Event::Refused { participant, why, .. } if *participant == world.id(who) => Some(*why),
                _ => None,
            })
        };
        let room = world.open_room();
        world.connect_all(room, [Plan::viewer(), Plan::viewer()]);
        let third = world.join(room, Plan::viewer());
        world.until("the third is refused", |world| refusal(world, third) == Some(Refusal::RoomFull));
        let lost = world.join(RoomId(u64::MAX), Plan::viewer());
        world.until("the lost one is refused", |world| refusal(world, lost) == Some(Refusal::NoSuchRoom));

        let other = world.open_room();
        let first = world.connect(other, Plan::viewer());
        let (_, media) = world.invite(other, Plan::viewer());
        let transport = world.clients[first].transport_spec();
        world.command(Command::Join { room: other, participant: world.id(first), transport });
        world.until("the double is refused", |world| refusal(world, first) == Some(Refusal::DuplicateId));
        drop(media);
    });
}

#[test]
fn commands_that_name_nobody_change_nothing() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::browser()]);
        look_at_each_other(world, &all);
        let (room_of_nobody, nobody) = (RoomId(u64::MAX), ParticipantId(u64::MAX));
        for (room, participant) in
            [(room, nobody), (room_of_nobody, world.id(all[0])), (room_of_nobody, nobody)]
        {
            world.command(Command::Leave { room, participant });
            world.command(Command::Switch { room, participant, source: Camera, on: false });
            world.command(Command::Withhold { room, participant, source: Camera, withheld: true });
            world.command(Command::View { room, participant, wishes: Vec::new() });
            world.command(Command::Negotiate { room, participant, media: Default::default() });
            let local = world.ice_credentials();
            world.command(Command::RestartIce { room, participant, local });
        }
        world.command(Command::OpenRoom { room });
        world.until("the call goes on", |world| all_receive(world, &all, 20));
    });
}

#[test]
fn a_full_command_queue_is_an_error_to_the_caller() {
    let limits = Limits { commands_max: 4, ..Limits::default() };
    let mut world = World::with_config(Backend::Sim, 1, Config { limits, ..config(Backend::Sim) });
    for request in 0..4 {
        assert_eq!(world.try_command(Command::Snapshot { request }), Ok(()));
    }
    assert_eq!(world.try_command(Command::Snapshot { request: 4 }), Err(Busy));
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.try_command(Command::Snapshot { request: 5 }), Ok(()));
}
