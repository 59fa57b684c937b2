//! What a video slot shows: switches at keyframes, layers by height, and numbers that never jump.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use saal_dataplane::id::SourceKind::{Camera, Screen};
use saal_tests::client::plan::{Plan, SourcePlan};
use saal_tests::world::{World, each_backend, on_sim};

const WHILE: Duration = Duration::from_millis(500);

#[test]
fn a_slot_changes_its_source_at_a_keyframe_and_all_its_numbers_go_on() {
    each_backend(|world| {
        let room = world.open_room();
        let plans = [Plan::browser(), Plan::browser().firefox(), Plan::simulcast(), Plan::viewer()];
        let all = world.connect_all(room, plans);
        let viewer = all[3];
        for round in 0..6 {
            let publisher = all[round % 3];
            world.view(viewer, &[(publisher, Camera, 720)]);
            let shown = Some((world.id(publisher), Camera));
            world.until("the slot shows the next publisher", |world| world.video(viewer, 0).shows() == shown);
            world.run_for(Duration::from_millis(200));
        }
        // Sequence, timestamp, picture id, TL0PICIDX and "keyframe first" are what this looks at.
        world.check_slots(viewer);
        assert!(world.video(viewer, 0).switches() >= 5);
    });
}

#[test]
fn a_switch_is_done_within_a_few_frames_and_costs_one_keyframe() {
    on_sim(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::browser(), Plan::viewer()]);
        world.view(all[2], &[(all[0], Camera, 720)]);
        world.until("the first is seen", |world| world.received(all[2], all[0], Camera) > 20);
        world.run_for(Duration::from_secs(2));
        let keyframes = world.clients[all[1]].source(Camera).layers[0].keyframes;
        let start = world.now();
        world.view(all[2], &[(all[1], Camera, 720)]);
        world.until("the second is seen", |world| world.received(all[2], all[1], Camera) > 0);
        // A tick of 100 ms, 10 ms to the publisher, a frame of 40 ms, 20 ms to the viewer.
        assert!(world.now() - start < Duration::from_millis(200), "{:?}", world.now() - start);
        assert_eq!(world.clients[all[1]].source(Camera).layers[0].keyframes, keyframes + 1);
    });
}

#[test]
fn many_slots_can_show_the_same_source() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::simulcast(), Plan::viewer(), Plan::viewer().firefox()]);
        world.view(all[1], &[(all[0], Camera, 720), (all[0], Camera, 180), (all[0], Camera, 360)]);
        world.view(all[2], &[(all[0], Camera, 360), (all[0], Camera, 360)]);
        world.until("each slot has its layer", |world| {
            let layers = |who, count| (0..count).map(|n| world.video(who, n).layer()).collect::<Vec<_>>();
            layers(all[1], 3) == [Some(2), Some(0), Some(1)] && layers(all[2], 2) == [Some(1), Some(1)]
        });
        world.run_for(WHILE);
        world.check_slots(all[1]);
        world.check_slots(all[2]);
    });
}

#[test]
fn the_best_layer_that_is_not_larger_than_the_wish_is_forwarded() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::simulcast(), Plan::viewer()]);
        // Smaller than the smallest layer is better than nothing.
        for (height, layer) in
            [(90, 0), (180, 0), (359, 0), (360, 1), (719, 1), (720, 2), (2160, 2), (180, 0)]
        {
            world.view(all[1], &[(all[0], Camera, height)]);
            world.until(&format!("a wish of {height} gets layer {layer}"), |world| {
                world.video(all[1], 0).layer() == Some(layer)
            });
            world.run_for(Duration::from_millis(300));
            assert_eq!(world.video(all[1], 0).layer(), Some(layer), "and stays there");
        }
        world.check_slots(all[1]);
    });
}

#[test]
fn a_layer_that_dies_is_replaced_by_the_next_smaller_one_and_comes_back() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::simulcast(), Plan::viewer()]);
        world.view(all[1], &[(all[0], Camera, 720)]);
        world.until("the largest layer is seen", |world| world.video(all[1], 0).layer() == Some(2));
        world.clients[all[0]].source_mut(Camera).layers[2].alive = false;
        world.until("the middle layer is seen", |world| world.video(all[1], 0).layer() == Some(1));
        world.clients[all[0]].source_mut(Camera).layers[1].alive = false;
        world.until("the smallest layer is seen", |world| world.video(all[1], 0).layer() == Some(0));
        for layer in &mut world.clients[all[0]].source_mut(Camera).layers {
            layer.alive = true;
        }
        world.until("the largest layer is back", |world| world.video(all[1], 0).layer() == Some(2));
        world.check_slots(all[1]);
    });
}

#[test]
fn a_wish_for_nobody_leaves_the_slot_empty_and_one_for_a_late_comer_is_kept() {
    each_backend(|world| {
        let room = world.open_room();
        let viewer = world.connect(room, Plan::viewer());
        let (late, media) = world.invite(room, Plan::browser());
        world.view(viewer, &[(late, Camera, 720)]);
        let participant = world.id(late);
        let transport = world.clients[late].transport_spec();
        world.command(saal_dataplane::link::Command::Join { room, participant, transport });
        world.command(saal_dataplane::link::Command::Negotiate { room, participant, media });
        world.switch(late, Camera, true);
        world.until("the late comer is seen", |world| world.received(viewer, late, Camera) > 10);
        world.check_slots(viewer);
    });
}

#[test]
fn an_unlisted_slot_shows_nothing_any_more() {
    each_backend(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::viewer()]);
        world.view(all[1], &[(all[0], Camera, 720)]);
        world.until("the camera is seen", |world| world.received(all[1], all[0], Camera) > 10);
        world.view(all[1], &[]);
        let slot = world.video_slot(all[1], 0);
        world.until("the slot is announced empty", |world| world.announced(all[1], slot).is_none());
        world.run_for(Duration::from_millis(100));
        world.forget_received();
        world.run_for(WHILE);
        assert_eq!(world.received(all[1], all[0], Camera), 0);
    });
}

/// The slot showed layer 2 of three; the screen has one.
fn shows_a_large_layer(world: &mut World) -> Vec<usize> {
    let room = world.open_room();
    let screen = Plan::browser().sending(vec![SourcePlan::screen()]);
    let all = world.connect_all(room, [Plan::simulcast(), screen, Plan::viewer()]);
    world.view(all[2], &[(all[0], Camera, 720)]);
    world.until("the largest layer is seen", |world| world.video(all[2], 0).layer() == Some(2));
    all
}

#[test]
fn a_slot_that_showed_a_large_layer_can_show_a_source_with_one_layer() {
    each_backend(|world| {
        let all = shows_a_large_layer(world);
        world.view(all[2], &[(all[1], Screen, 1080)]);
        world.until("the screen is seen", |world| world.received(all[2], all[1], Screen) > 10);
        world.check_slots(all[2]);
    });
}

#[test]
fn a_slot_that_showed_a_large_layer_can_wait_for_a_source_that_sends_nothing() {
    each_backend(|world| {
        let all = shows_a_large_layer(world);
        world.clients[all[1]].source_mut(Screen).on = false;
        world.run_for(Duration::from_secs(2));
        world.view(all[2], &[(all[1], Screen, 1080)]);
        world.snapshot();
        let slot = world.video_slot(all[2], 0);
        world.clients[all[2]].request_keyframe(slot);
        world.run_for(WHILE);
        world.clients[all[1]].source_mut(Screen).on = true;
        world.until("the screen is seen", |world| world.received(all[2], all[1], Screen) > 10);
        world.check_slots(all[2]);
    });
}
