//! What the server finds out about its receivers' lines, and tells nobody but them.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_dataplane::io::sim::Direction;
use saal_dataplane::link::{Event, Limit, Quality, Showing};
use saal_tests::client::plan::{LayerPlan, Plan, SourcePlan};
use saal_tests::world::{Who, World, each_backend, on_sim};

/// What a participant was told of its line.
fn told(world: &World, who: Who) -> Vec<Quality> {
    let told = world.events.iter().filter_map(|event| match event {
        Event::Quality { participant, quality, .. } if *participant == world.id(who) => Some(*quality),
        _ => None,
    });
    told.collect()
}

/// A publisher and somebody who sees it.
fn pair(world: &mut World, viewer: Plan) -> (Who, Who) {
    let room = world.open_room();
    let all = world.connect_all(room, [Plan::simulcast(), viewer]);
    world.view(all[1], &[(all[0], Camera, 720)]);
    world.until("the camera is seen", |world| world.received(all[1], all[0], Camera) > 20);
    (all[0], all[1])
}

/// How a participant was told that they see somebody's camera.
fn shown(world: &World, who: Who) -> Vec<Showing> {
    let told = world.events.iter().filter_map(|event| match event {
        Event::SlotShows { participant, source: Some((_, Camera)), how, .. }
            if *participant == world.id(who) =>
        {
            Some(*how)
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn whoever_sees_less_than_there_is_hears_that_it_is_their_line_and_nobody_else_does() {
    on_sim(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::simulcast(), Plan::viewer(), Plan::viewer()]);
        let (narrow, wide) = (all[1], all[2]);
        for viewer in [narrow, wide] {
            world.view(viewer, &[(all[0], Camera, 720)]);
        }
        world.set_script(narrow, Direction::Down, "rate=400k queue=300ms");
        world
            .until("it is told", |world| shown(world, narrow).last() == Some(&Showing::Smaller(Limit::Line)));
        world.set_script(narrow, Direction::Down, "rate=10M");
        world.until("it is over", |world| shown(world, narrow).last() == Some(&Showing::Whole));
        let told = shown(world, wide);
        world.run_for(Duration::from_secs(2));
        assert_eq!(
            (shown(world, wide).last(), told.len()),
            (Some(&Showing::Whole), shown(world, wide).len())
        );
        assert!(!told.contains(&Showing::Paused(Limit::Line)), "{told:?}");
    });
}

#[test]
fn whoever_tells_of_arrivals_is_told_of_its_line_and_nothing_reaches_it_broken() {
    each_backend(|world| {
        let (_, viewer) = pair(world, Plan::viewer());
        world.until("the line is known", |world| {
            let known = |quality: &Quality| quality.estimate_bps.is_some() && quality.round_trip_ms.is_some();
            told(world, viewer).last().is_some_and(known)
        });
        world.until("more is looked for than the first estimate", |world| world.counters().probes_sent > 0);
        world.check_slots(viewer);
    });
}

#[test]
fn whoever_tells_nothing_has_no_estimate_and_gets_everything() {
    on_sim(|world| {
        let (_, viewer) = pair(world, Plan::viewer().without_transport_feedback());
        world.run_for(Duration::from_secs(3));
        let probes = world.counters().probes_sent;
        world.run_for(Duration::from_secs(5));
        let told = told(world, viewer);
        assert!(told.iter().all(|quality| quality.estimate_bps.is_none()), "{told:?}");
        assert_eq!((world.counters().held, world.counters().probes_sent), (0, probes), "none but the first");
        assert_eq!(world.video(viewer, 0).layer(), Some(2));
    });
}

#[test]
fn a_picture_larger_than_the_first_estimate_comes_though_nobody_speaks() {
    on_sim(|world| {
        let room = world.open_room();
        let layers = vec![LayerPlan { rid: None, height: 720, parts: 10, part_bytes: 1000 }];
        let camera = SourcePlan { layers, ..SourcePlan::camera() };
        let all = world.connect_all(room, [Plan::browser().sending(vec![camera]), Plan::viewer()]);
        let seen = |world: &World| world.received(all[1], all[0], Camera);
        world.view(all[1], &[(all[0], Camera, 720)]);
        world.until("it begins", |world| seen(world) > 0);
        world.run_for(Duration::from_secs(1));
        assert!(seen(world) > 230, "25 frames of ten packets, without a break: {}", seen(world));
        // Nor has the line after an outage anything else to tell of.
        for direction in [Direction::Up, Direction::Down] {
            world.set_script(all[1], direction, "loss=100%; 5s loss=0%");
        }
        world.run_for(Duration::from_secs(5));
        let before = seen(world);
        world.until("it is seen again", |world| seen(world) > before + 200);
    });
}

#[test]
fn whoever_objects_to_being_detected_as_a_speaker_is_told_of_their_line() {
    on_sim(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::browser(), Plan::viewer()]);
        world.object(all[1], true);
        world.until("the line is known", |world| !told(world, all[1]).is_empty());
    });
}

#[test]
fn redundant_sound_is_heard_by_everybody_and_goes_whole_to_who_loses_packets() {
    on_sim(|world| {
        let room = world.open_room();
        let plans = [Plan::browser().redundant(), Plan::viewer().firefox(), Plan::viewer().redundant()];
        let all = world.connect_all(room, plans);
        let heard = |world: &World, who: Who| {
            let arrivals = world.clients[who].slots.iter().flat_map(|slot| &slot.arrivals);
            let sound = arrivals.filter(|arrival| arrival.stamp.kind == Microphone).collect::<Vec<_>>();
            (sound.len(), sound.iter().filter(|arrival| arrival.earlier.is_some()).count())
        };
        world.run_for(Duration::from_secs(5));
        for viewer in [all[1], all[2]] {
            assert!(matches!(heard(world, viewer), (200.., 0)), "{:?}", heard(world, viewer));
        }
        for viewer in [all[1], all[2]] {
            world.set_script(viewer, Direction::Down, "delay=10ms loss=10%");
        }
        world.forget_received();
        world.run_for(Duration::from_secs(10));
        assert!(matches!(heard(world, all[1]), (300.., 0)), "{:?}", heard(world, all[1]));
        assert!(matches!(heard(world, all[2]), (300.., 200..)), "{:?}", heard(world, all[2]));
    });
}

#[test]
fn what_is_lost_on_a_publisher_s_way_up_does_not_count_for_its_receivers() {
    on_sim(|world| {
        let (_, sound) = pair(world, Plan::viewer());
        let (publisher, lossy) = pair(world, Plan::viewer());
        world.set_script(publisher, Direction::Up, "delay=10ms loss=10%");
        world.run_for(Duration::from_secs(20));
        let (sound, lossy) = (told(world, sound), told(world, lossy));
        assert!(lossy.iter().all(|quality| quality.loss_permille.unwrap_or(0) == 0), "{lossy:?}");
        let estimate = |told: &[Quality]| told.last().unwrap().estimate_bps.unwrap() as f64;
        let ratio = estimate(&lossy) / estimate(&sound);
        // Probes of different moments find lines without an end differently wide.
        assert!((0.8..1.25).contains(&ratio), "{ratio}: {sound:?} {lossy:?}");
        assert_eq!(world.counters().held, 0, "no line has shown an end");
    });
}

#[test]
fn what_is_lost_on_a_receiver_s_way_down_is_seen_there_and_nowhere_else() {
    on_sim(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::simulcast(), Plan::viewer(), Plan::viewer()]);
        for viewer in [all[1], all[2]] {
            world.view(viewer, &[(all[0], Camera, 720)]);
        }
        world.set_script(all[1], Direction::Down, "delay=10ms loss=10%");
        world.run_for(Duration::from_secs(20));
        let loss = |who| told(world, who).last().unwrap().loss_permille.unwrap();
        assert!((60..140).contains(&loss(all[1])), "{}", loss(all[1]));
        assert_eq!(loss(all[2]), 0);
    });
}
