//! Who gets the audio slots: the loudest, with hysteresis; and who is listed as speaking.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use saal_dataplane::id::SourceKind::Microphone;
use saal_tests::client::plan::{Plan, SourcePlan};
use saal_tests::world::{Who, World, each_backend, on_sim};

const SILENT: u8 = 127;

/// Five participants with a microphone and a viewer with three audio slots.
fn six(world: &mut World) -> (saal_dataplane::id::RoomId, Vec<Who>, Who) {
    let room = world.open_room();
    let plan = Plan::browser().sending(vec![SourcePlan::microphone()]);
    let all: Vec<Who> = (0..5).map(|_| world.join(room, plan.clone())).collect();
    for who in &all {
        world.clients[*who].source_mut(Microphone).level = SILENT;
    }
    let viewer = world.connect(room, Plan::viewer());
    world.until("all are connected", |world| all.iter().all(|who| world.is_connected(*who)));
    (room, all, viewer)
}

fn set_level(world: &mut World, who: Who, level: u8) {
    world.clients[who].source_mut(Microphone).level = level;
}

fn is_heard(world: &World, viewer: Who, who: Who) -> bool {
    let publisher = world.id(who);
    let slots = &world.clients[viewer].slots;
    slots.iter().any(|slot| slot.shows().is_some_and(|(shown, _)| shown == publisher))
}

#[test]
fn who_speaks_takes_an_audio_slot_from_the_silent() {
    each_backend(|world| {
        let (_, all, viewer) = six(world);
        for who in [4, 0, 3, 1, 2].map(|n| all[n]) {
            set_level(world, who, 25);
            world.until("the speaker is heard", |world| is_heard(world, viewer, who));
            world.run_for(Duration::from_millis(300));
            set_level(world, who, SILENT);
            world.run_for(Duration::from_millis(700));
        }
        for slot in &world.clients[viewer].slots {
            assert_eq!(slot.check(), Ok(()));
        }
    });
}

#[test]
fn a_speaker_is_heard_within_a_quarter_of_a_second() {
    on_sim(|world| {
        let (_, all, viewer) = six(world);
        world.run_for(Duration::from_secs(3));
        let unheard = all
            .iter()
            .copied()
            .find(|who| !is_heard(world, viewer, *who))
            .expect("five do not fit three slots");
        let start = world.now();
        set_level(world, unheard, 25);
        world.until("the speaker is heard", |world| is_heard(world, viewer, unheard));
        assert!(world.now() - start < Duration::from_millis(250), "{:?}", world.now() - start);
    });
}

#[test]
fn equally_loud_people_do_not_take_turns_in_the_slots() {
    on_sim(|world| {
        let (_, all, viewer) = six(world);
        for (n, who) in all.iter().enumerate() {
            set_level(world, *who, 25 + n as u8);
        }
        world.run_for(Duration::from_secs(3));
        world.forget_received();
        world.run_for(Duration::from_secs(10));
        let switches: usize = world.clients[viewer].slots.iter().map(|slot| slot.switches()).sum();
        assert_eq!(switches, 0);
        assert_eq!(world.clients[viewer].slots.iter().filter(|slot| !slot.arrivals.is_empty()).count(), 3);
    });
}

#[test]
fn a_cough_does_not_take_a_slot_from_three_who_speak() {
    on_sim(|world| {
        let (_, all, viewer) = six(world);
        for who in &all[..3] {
            set_level(world, *who, 20);
        }
        world.until("the three are heard", |world| all[..3].iter().all(|who| is_heard(world, viewer, *who)));
        world.run_for(Duration::from_secs(1));
        world.forget_received();
        set_level(world, all[3], 22);
        world.run_for(Duration::from_millis(60));
        set_level(world, all[3], SILENT);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.received(viewer, all[3], Microphone), 0);
    });
}

#[test]
fn speakers_are_listed_while_they_speak_and_not_longer() {
    each_backend(|world| {
        let (room, all, _) = six(world);
        set_level(world, all[2], 25);
        world.until("one speaks", |world| world.speakers(room) == [world.id(all[2])]);
        set_level(world, all[4], 25);
        world.until("two speak, the later first", |world| {
            world.speakers(room) == [world.id(all[4]), world.id(all[2])]
        });
        set_level(world, all[2], SILENT);
        set_level(world, all[4], SILENT);
        world.until("nobody speaks", |world| world.speakers(room).is_empty());
    });
}

#[test]
fn who_objects_to_being_detected_is_heard_but_never_listed() {
    each_backend(|world| {
        let (room, all, viewer) = six(world);
        world.object(all[4], true);
        set_level(world, all[4], 5);
        world.until("who objects is heard", |world| is_heard(world, viewer, all[4]));
        set_level(world, all[2], 25);
        world.until("the other is listed", |world| world.speakers(room) == [world.id(all[2])]);
        world.forget_received();
        world.until("who objects is heard on", |world| world.received(viewer, all[4], Microphone) > 20);
        assert_eq!(world.speakers(room), [world.id(all[2])]);
        world.object(all[4], false);
        world.until("who no longer objects is listed", |world| {
            world.speakers(room).contains(&world.id(all[4]))
        });
    });
}

#[test]
fn everybody_hears_the_others_and_never_themselves() {
    on_sim(|world| {
        let room = world.open_room();
        let plans = vec![Plan::browser().sending(vec![SourcePlan::microphone()]); 4];
        let all = world.connect_all(room, plans);
        world.until("all hear all", |world| {
            all.iter().all(|a| all.iter().all(|b| a == b || world.received(*a, *b, Microphone) > 20))
        });
        all.iter().for_each(|who| assert_eq!(world.received(*who, *who, Microphone), 0));
        all.iter().for_each(|who| world.check_slots(*who));
    });
}
