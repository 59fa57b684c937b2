//! Lost packets, keyframe requests and clocks: what RTCP is for.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use saal_dataplane::counters::Dropped;
use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_dataplane::io::line::Shape;
use saal_dataplane::io::sim::Direction;
use saal_tests::client::plan::Plan;
use saal_tests::client::slot::Slot;
use saal_tests::world::{Who, World, each_backend, on_sim};
use webrtc_util::marshal::Marshal;

/// A publisher and a viewer who sees it.
fn seen(world: &mut World, publisher: Plan, viewer: Plan) -> (Who, Who) {
    let room = world.open_room();
    let all = world.connect_all(room, [publisher, viewer]);
    world.view(all[1], &[(all[0], Camera, 720)]);
    world.until("the camera is seen", |world| world.received(all[1], all[0], Camera) > 20);
    (all[0], all[1])
}

/// No packet of the slot is missing, in whatever order they came. One that was only late may have come as RTX too.
fn is_whole(slot: &Slot) -> bool {
    let mut seqs: Vec<u64> = slot.arrivals.iter().map(|arrival| arrival.seq).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[test]
fn what_a_receiver_lost_is_resent_from_the_history() {
    each_backend(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        for lost in [1, 3, 8] {
            let lost_before = world.video(viewer, 0).lost.len();
            world.video_mut(viewer, 0).losing = lost;
            world.until("packets got lost and came again", |world| {
                let slot = world.video(viewer, 0);
                slot.lost.len() == lost_before + lost as usize
                    && slot.lost.iter().all(|seq| slot.arrivals.iter().any(|arrival| arrival.seq == *seq))
            });
        }
        assert!(is_whole(world.video(viewer, 0)));
        world.video(viewer, 0).check().expect("a repaired stream is as good as a whole one");
        let again = world.video(viewer, 0).arrivals.iter().filter(|arrival| arrival.rtx).count();
        assert_eq!(again, 12, "each lost packet came once as RTX");
        assert_eq!(
            world.clients[publisher].source(Camera).layers[0].nacked,
            0,
            "the publisher was not asked"
        );
    });
}

#[test]
fn packets_from_before_a_switch_can_still_be_resent() {
    each_backend(|world| {
        let (_, viewer) = seen(world, Plan::browser(), Plan::viewer().without_nacks());
        let room = world.clients[viewer].seat.room;
        let other = world.connect(room, Plan::browser());
        let old: Vec<u16> =
            world.video(viewer, 0).arrivals.iter().rev().take(3).map(|a| a.seq as u16).collect();
        world.view(viewer, &[(other, Camera, 720)]);
        world.until("the other is seen", |world| world.received(viewer, other, Camera) > 0);
        let slot = world.video_slot(viewer, 0);
        world.clients[viewer].nack(slot, &old);
        world.until("they came again", |world| {
            let again = world.video(viewer, 0).arrivals.iter().filter(|arrival| arrival.rtx);
            again.map(|arrival| arrival.seq as u16).filter(|seq| old.contains(seq)).count() == 3
        });
        // The same bytes as the first time.
        let arrivals = &world.video(viewer, 0).arrivals;
        for again in arrivals.iter().filter(|arrival| arrival.rtx) {
            let first = arrivals.iter().find(|arrival| arrival.seq == again.seq && !arrival.rtx).unwrap();
            assert_eq!((first.timestamp, first.vp8, first.stamp), (again.timestamp, again.vp8, again.stamp));
        }
    });
}

#[test]
fn what_the_server_lost_is_asked_for_and_repaired() {
    each_backend(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        for lost in [1, 2, 5] {
            let nacked = world.clients[publisher].source(Camera).layers[0].nacked;
            world.clients[publisher].source_mut(Camera).withhold(0, lost);
            world.until("the publisher was asked", |world| {
                world.clients[publisher].source(Camera).layers[0].nacked >= nacked + lost
            });
            world.until("the viewer has everything", |world| is_whole(world.video(viewer, 0)));
        }
        world.video(viewer, 0).check().expect("a repaired stream is as good as a whole one");
        assert_eq!(world.clients[publisher].source(Camera).layers[0].resent, 8, "each was resent once");
    });
}

#[test]
fn loss_in_each_layer_of_a_simulcast_is_repaired() {
    each_backend(|world| {
        let (publisher, viewer) = seen(world, Plan::simulcast(), Plan::viewer());
        world.view(viewer, &[(publisher, Camera, 180), (publisher, Camera, 360), (publisher, Camera, 720)]);
        let layers = |world: &World| (0..3).map(|n| world.video(viewer, n).layer()).collect::<Vec<_>>();
        world.until("each slot has its layer", |world| layers(world) == [Some(0), Some(1), Some(2)]);
        for layer in 0..3 {
            world.clients[publisher].source_mut(Camera).withhold(layer, 2);
        }
        world.until("all is repaired", |world| {
            let layers = &world.clients[publisher].source(Camera).layers;
            layers.iter().all(|layer| layer.resent >= 2) && (0..3).all(|n| is_whole(world.video(viewer, n)))
        });
        world.check_slots(viewer);
    });
}

#[test]
fn five_percent_loss_both_ways_leaves_no_hole_for_long() {
    on_sim(|world| {
        let (publisher, viewer) = seen(world, Plan::simulcast(), Plan::viewer());
        let shape = Shape { loss: 0.05, jitter: Duration::from_millis(5), reorder: 0.02, ..Shape::default() };
        for (who, direction) in [(publisher, Direction::Up), (viewer, Direction::Down)] {
            world.set_shape(who, direction, shape);
        }
        world.run_for(Duration::from_secs(10));
        for (who, direction) in [(publisher, Direction::Up), (viewer, Direction::Down)] {
            world.set_shape(who, direction, Shape::default());
        }
        world.run_for(Duration::from_secs(1));
        let slot = world.video(viewer, 0);
        let frames = slot.arrivals.iter().filter(|arrival| arrival.marker).count();
        assert!(frames > 200, "{frames} of about 275 frames");
        assert!(is_whole(slot), "a hole stayed open");
        // What is resent is what was lost, not a multiple of it.
        let counters = world.counters();
        let share = counters.rtx_sent as f64 / counters.rtp_forwarded as f64;
        assert!(share < 0.10, "{share} of the packets were resent");
    });
}

#[test]
fn duplicates_on_the_way_are_forwarded_once() {
    on_sim(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        world.set_shape(publisher, Direction::Up, Shape { duplicate: 0.5, ..Shape::default() });
        world.run_for(Duration::from_secs(2));
        world.check_slots(viewer);
        assert!(world.dropped(Dropped::SrtpReplayed) > 50);
    });
}

/// Sealing two packets under one index would give the GCM key away (RFC 7714 §10.1).
#[test]
fn no_index_is_sealed_twice_when_the_original_comes_after_its_retransmission() {
    each_backend(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        world.clients[publisher].source_mut(Camera).withhold(0, 1);
        world.until("a packet was withheld", |world| {
            world.clients[publisher].source(Camera).layers[0].nacked > 0
        });
        let late = world.clients[publisher].source(Camera).layers[0].last_withheld().cloned().unwrap();
        world.until("it is repaired", |world| is_whole(world.video(viewer, 0)));
        world.clients[publisher].send_rtp(vec![late.marshal().unwrap().to_vec()]);
        world.run_for(Duration::from_millis(200));
        world.check_slots(viewer);
    });
}

#[test]
fn no_index_is_sealed_twice_when_a_retransmission_is_older_than_the_history() {
    each_backend(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        let old = world.clients[publisher].source(Camera).layers[0].last_packet().cloned().unwrap();
        let passed = world.received(viewer, publisher, Camera) + 530;
        world.until("the history has moved on", |world| world.received(viewer, publisher, Camera) > passed);
        for again in 0..3 {
            let mut packet = old.clone();
            let layer = &world.clients[publisher].source(Camera).layers[0];
            packet.header.ssrc = layer.rtx_ssrc.0;
            packet.header.payload_type = world.clients[publisher].dialect().vp8_rtx;
            packet.header.sequence_number = again;
            let mut payload = old.header.sequence_number.to_be_bytes().to_vec();
            payload.extend_from_slice(&old.payload);
            packet.payload = payload.into();
            world.clients[publisher].send_rtp(vec![packet.marshal().unwrap().to_vec()]);
        }
        world.run_for(Duration::from_millis(200));
        world.check_slots(viewer);
    });
}

#[test]
fn a_storm_of_keyframe_requests_is_merged() {
    each_backend(|world| {
        let room = world.open_room();
        let publisher = world.connect(room, Plan::browser());
        let viewers = world.connect_all(room, (0..10).map(|_| Plan::viewer()));
        for viewer in &viewers {
            world.view(*viewer, &[(publisher, Camera, 720)]);
        }
        world
            .until("all see", |world| viewers.iter().all(|who| world.received(*who, publisher, Camera) > 20));
        world.run_for(Duration::from_secs(4));
        let before = world.clients[publisher].source(Camera).layers[0].keyframe_requests;
        for _ in 0..10 {
            for viewer in &viewers {
                let slot = world.video_slot(*viewer, 0);
                world.clients[*viewer].request_keyframe(slot);
            }
            world.run_for(Duration::from_millis(100));
        }
        world.run_for(Duration::from_millis(200));
        let asked = world.clients[publisher].source(Camera).layers[0].keyframe_requests - before;
        // Two may come close together, the next one two seconds later; 100 were asked for.
        assert!((1..=2).contains(&asked), "the publisher was asked {asked} times");
        assert!(world.dropped(Dropped::KeyframeRequestMerged) >= 20);
    });
}

#[test]
fn a_keyframe_request_is_repeated_until_the_keyframe_comes() {
    on_sim(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        world.run_for(Duration::from_secs(4));
        world.set_shape(publisher, Direction::Down, Shape { loss: 1.0, ..Shape::default() });
        let slot = world.video_slot(viewer, 0);
        world.clients[viewer].request_keyframe(slot);
        world.run_for(Duration::from_millis(700));
        let before = world.clients[publisher].source(Camera).layers[0].keyframes;
        world.set_shape(publisher, Direction::Down, Shape::default());
        world.until_within(Duration::from_secs(2), "the keyframe is made", |world| {
            world.clients[publisher].source(Camera).layers[0].keyframes > before
        });
    });
}

#[test]
fn sender_reports_bring_sound_and_picture_of_one_publisher_onto_one_clock() {
    on_sim(|world| {
        let room = world.open_room();
        let all = world.connect_all(room, [Plan::simulcast(), Plan::viewer()]);
        world.view(all[1], &[(all[0], Camera, 720)]);
        world.until("two reports have come on both", |world| {
            let slots = &world.clients[all[1]].slots;
            slots.iter().filter(|slot| slot.reports.len() >= 3 && !slot.arrivals.is_empty()).count() == 2
        });
        let slots = &world.clients[all[1]].slots;
        let offset_us = |slot: &Slot| {
            let report = slot.reports.last().unwrap();
            let arrival = slot.arrivals.last().unwrap();
            let rate = i64::from(slot.spec.codecs[0].codec.clock_rate_hz());
            let ticks = i64::from(arrival.timestamp.wrapping_sub(report.rtp_time) as i32);
            let ntp_us = ((u128::from(report.ntp) * 1_000_000) >> 32) as i64;
            // When the receiver thinks it was captured, less when it was.
            ntp_us + ticks * 1_000_000 / rate - arrival.stamp.captured_us as i64
        };
        let active: Vec<i64> = slots.iter().filter(|slot| !slot.reports.is_empty()).map(offset_us).collect();
        assert_eq!(active.len(), 2);
        assert!(
            (active[0] - active[1]).abs() < 5_000,
            "sound and picture are {} us apart",
            active[0] - active[1]
        );
    });
}

#[test]
fn sender_reports_count_what_was_sent_and_their_clock_never_runs_backwards() {
    on_sim(|world| {
        let (publisher, viewer) = seen(world, Plan::browser(), Plan::viewer());
        world.run_for(Duration::from_secs(10));
        let slot = world.video(viewer, 0);
        assert!(slot.reports.len() >= 9);
        for pair in slot.reports.windows(2) {
            assert!(pair[1].ntp > pair[0].ntp);
            assert!(pair[1].rtp_time.wrapping_sub(pair[0].rtp_time) as i32 > 0);
            assert!(pair[1].packets > pair[0].packets && pair[1].octets > pair[0].octets);
        }
        let last = slot.reports.last().unwrap();
        let received = slot.arrivals.iter().filter(|arrival| arrival.at <= last.at && !arrival.rtx).count();
        assert!(
            received.abs_diff(last.packets as usize) <= 2,
            "{received} received, {} reported",
            last.packets
        );
        assert!(world.received(viewer, publisher, Microphone) > 0);
    });
}

#[test]
fn the_publisher_gets_receiver_reports_and_transport_wide_feedback() {
    each_backend(|world| {
        let (publisher, _) = seen(world, Plan::browser(), Plan::viewer());
        world.until("feedback came", |world| world.clients[publisher].transport_feedbacks > 10);
    });
}
