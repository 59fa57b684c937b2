//! Many people who come at once, and speech and lips that stay together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_tests::client::plan::Plan;
use saal_tests::client::slot::Slot;
use saal_tests::world::{Who, World};

use crate::meter::{percentile, publisher, tell};
use crate::{each_seed, is_nightly};

/// Between two who join.
const JOIN_INTERVAL: Duration = Duration::from_millis(40);

#[test]
fn whoever_joins_in_a_storm_sees_a_picture_within_a_second_and_publishers_are_left_alone() {
    const PUBLISHERS: usize = 2;
    // A room holds 500: these, the publishers and who was there before.
    let crowd = if is_nightly() { 500 - PUBLISHERS - 1 } else { 120 };
    each_seed(|world, seed| {
        let room = world.open_room();
        let publishers = world.connect_all(room, (0..PUBLISHERS).map(|_| publisher()));
        let first = world.connect(room, Plan::viewer());
        let wishes: Vec<_> = publishers.iter().map(|who| (*who, Camera, 720)).collect();
        world.view(first, &wishes);
        world.run_for(Duration::from_secs(5));
        let before: Vec<u32> = publishers.iter().map(|who| requests(world, *who)).collect();
        let bytes_before: Vec<(u64, u64)> = publishers.iter().map(|who| sent_bytes(world, *who)).collect();

        let start = world.now();
        let mut came: BTreeMap<Who, Instant> = BTreeMap::new();
        let mut seen: BTreeMap<(Who, usize), Duration> = BTreeMap::new();
        let mut asked: Vec<Who> = Vec::new();
        let mut requested: Vec<Vec<Instant>> = vec![Vec::new(); PUBLISHERS];
        while seen.len() < crowd * PUBLISHERS
            && world.now() < start + JOIN_INTERVAL * crowd as u32 + Duration::from_secs(5)
        {
            if came.len() < crowd && world.now() >= start + JOIN_INTERVAL * came.len() as u32 {
                let who = world.join(room, Plan::viewer());
                world.view(who, &wishes);
                asked.push(who);
                came.insert(who, world.now());
            }
            world.run_for(JOIN_INTERVAL / 4);
            for ((who, before), requested) in publishers.iter().zip(&before).zip(&mut requested) {
                let count = (requests(world, *who) - before) as usize;
                requested.resize(count, world.now());
            }
            // A picture is seen from the moment on at which media flows; the handshake before it is the network's.
            asked.retain(|who| {
                if !world.is_connected(*who) {
                    came.insert(*who, world.now());
                    return true;
                }
                for (nth, from) in publishers.iter().enumerate() {
                    let publisher = world.id(*from);
                    let slot =
                        world.clients[*who].slots.iter().find(|slot| slot.count(publisher, Camera) > 0);
                    if let Some(at) = slot.and_then(first_picture) {
                        seen.entry((*who, nth)).or_insert(at.saturating_duration_since(came[who]));
                    }
                }
                (0..PUBLISHERS).any(|nth| !seen.contains_key(&(*who, nth)))
            });
        }
        let passed = (world.now() - start).as_secs_f64();
        let waits = seen.values().map(|wait| wait.as_secs_f64() * 1000.0).collect::<Vec<_>>();
        let p95 = percentile(waits.clone(), 95);
        let counts: Vec<usize> = requested.iter().map(Vec::len).collect();
        let nearest = requested.iter().flat_map(|at| at.windows(2)).map(|pair| pair[1] - pair[0]).min();
        let shares = publishers.iter().zip(&bytes_before).map(|(who, before)| {
            let (keyframes, all) = sent_bytes(world, *who);
            (keyframes - before.0) as f64 / (all - before.1) as f64
        });
        let share = shares.fold(0.0, f64::max);
        let figures = format!(
            "{} of {crowd} joined: first picture p95 {p95:.0} ms, requests {counts:?} in {passed:.1} s and at least {:.2} s apart, \
             keyframes {:.1} % of the bytes",
            seen.len() / PUBLISHERS,
            nearest.unwrap_or_default().as_secs_f64(),
            share * 100.0
        );
        tell("500 join at 25 a second", seed, &figures);
        assert_eq!(seen.len(), crowd * PUBLISHERS, "{figures}");
        assert!(p95 <= 1000.0, "{figures}");
        // It is looked at every 10 ms, and each takes its own time to the publisher.
        assert!(nearest.is_some_and(|nearest| nearest >= Duration::from_millis(1980)), "{figures}");
        assert!(share <= 0.1, "{figures}");
    });
}

/// Keyframes that a publisher was asked for: a browser that is asked for several layers at once is asked once.
fn requests(world: &World, who: Who) -> u32 {
    world.clients[who].source(Camera).layers.iter().map(|layer| layer.keyframe_requests).max().unwrap_or(0)
}

/// Bytes of keyframes and of all pictures that a publisher has made.
fn sent_bytes(world: &World, who: Who) -> (u64, u64) {
    let layers = &world.clients[who].source(Camera).layers;
    (
        layers.iter().map(|layer| layer.keyframe_octets).sum(),
        layers.iter().map(|layer| u64::from(layer.octets)).sum(),
    )
}

fn first_picture(slot: &Slot) -> Option<Instant> {
    slot.arrivals.iter().find(|arrival| arrival.marker).map(|arrival| arrival.at)
}

#[test]
fn sound_and_picture_of_everybody_stay_together_after_every_switch() {
    each_seed(|world, seed| {
        let room = world.open_room();
        let all = world.connect_all(room, (0..4).map(|_| publisher()));
        let viewer = world.connect(room, Plan::viewer());
        let mut furthest: f64 = 0.0;
        for round in 0..12 {
            let from = all[round % all.len()];
            let height = [720, 180, 360][round % 3];
            world.view(viewer, &[(from, Camera, height)]);
            for who in &all {
                world.clients[*who].source_mut(Microphone).level = if *who == from { 20 } else { 127 };
            }
            world.run_for(Duration::from_secs(4));
            furthest = furthest.max(apart_ms(world, viewer, from).expect("both have been reported on"));
        }
        tell("lip-sync", seed, &format!("{furthest:.1} ms apart at most"));
        assert!(furthest <= 80.0, "{furthest} ms");
    });
}

/// How far a receiver that goes by the server's reports shows somebody's lips from their words.
fn apart_ms(world: &World, viewer: Who, from: Who) -> Option<f64> {
    let publisher = world.id(from);
    let slots = &world.clients[viewer].slots;
    let offset_ms = |kind| {
        let slot = slots.iter().find(|slot| slot.shows() == Some((publisher, kind)))?;
        let (report, arrival) = (slot.reports.last()?, slot.arrivals.last()?);
        let rate = f64::from(slot.spec.codecs[0].codec.clock_rate_hz());
        let ticks = f64::from(arrival.timestamp.wrapping_sub(report.rtp_time) as i32);
        let ntp_ms = ((u128::from(report.ntp) * 1_000_000) >> 32) as f64 / 1000.0;
        Some(ntp_ms + ticks * 1000.0 / rate - arrival.stamp.captured_us as f64 / 1000.0)
    };
    Some((offset_ms(Microphone)? - offset_ms(Camera)?).abs())
}
