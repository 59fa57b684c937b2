//! One receiver and its line.

use std::time::Duration;

use saal_dataplane::id::SourceKind::Camera;
use saal_dataplane::io::sim::Direction;
use saal_tests::client::plan::Plan;
use saal_tests::world::{Who, World};

use crate::each_seed;
use crate::meter::{
    Meter, audio_loss, camera_slot, concealed, estimate_bps, layer_switches, longest_freeze, publisher,
    publisher_with_keyframes, tell,
};

/// Publishers, and a viewer who draws all of them large.
fn call(world: &mut World, publishers: usize) -> (Vec<Who>, Who) {
    call_of(world, vec![publisher(); publishers], Plan::viewer())
}

fn call_of(world: &mut World, publishers: Vec<Plan>, viewer: Plan) -> (Vec<Who>, Who) {
    let room = world.open_room();
    let all = world.connect_all(room, publishers);
    let viewer = world.connect(room, viewer);
    let wishes: Vec<_> = all.iter().map(|who| (*who, Camera, 720)).collect();
    world.view(viewer, &wishes);
    (all, viewer)
}

/// Runs until the viewer's line is used as far as it shall be.
fn warm_up(world: &mut World, viewer: Who, script: &str) {
    world.set_script(viewer, Direction::Down, script);
    world.run_for(Duration::from_secs(20));
}

#[test]
fn a_clean_line_of_5_mbits_is_found_within_five_seconds() {
    each_seed(|world, seed| {
        let room = world.open_room();
        let all = world.connect_all(room, (0..4).map(|_| publisher()));
        world.run_for(Duration::from_secs(1));
        let viewer = world.join(room, Plan::viewer());
        let mut meter = Meter::begin(world, viewer, "rate=5M queue=250ms delay=20ms");
        world.until("the viewer is connected", |world| world.is_connected(viewer));
        let wishes: Vec<_> = all.iter().map(|who| (*who, Camera, 720)).collect();
        world.view(viewer, &wishes);
        let mut found = None;
        for tenth in 1..100 {
            meter.run_until(world, f64::from(tenth) / 10.0);
            if found.is_none() && estimate_bps(world, viewer).is_some_and(|bps| bps >= 4_000_000) {
                found = Some(f64::from(tenth) / 10.0);
            }
        }
        let used = meter.sent_bps(8.0, 9.9) / 5e6;
        tell(
            "start on 5 Mbit/s",
            seed,
            &format!("80 % found after {found:?} s, {:.0} % used after 8 s", used * 100.0),
        );
        assert!(found.is_some_and(|found| found <= 5.0), "{found:?}");
    });
}

#[test]
fn a_fall_from_10_to_0_8_mbits_fills_no_queue_and_breaks_no_sound() {
    each_seed(|world, seed| {
        let (all, viewer) = call(world, 3);
        warm_up(world, viewer, "rate=10M queue=2s delay=20ms");
        let mut meter = Meter::begin(world, viewer, "rate=10M queue=2s delay=20ms; 5s rate=800k");
        meter.run_until(world, 30.0);
        let second = meter.sent_bps(6.0, 7.0);
        let p95 = meter.wait_p95_ms(7.0, 30.0);
        let loss = all.iter().map(|from| audio_loss(world, viewer, *from)).fold(0.0, f64::max);
        let figures = format!(
            "{:.0} kbit/s in the second second, p95 queue {p95:.0} ms, sound lost {:.2} %",
            second / 1e3,
            loss * 100.0
        );
        tell("10 to 0.8 Mbit/s", seed, &figures);
        assert!(second < 800_000.0, "{figures}");
        assert!(p95 <= 250.0, "{figures}");
        assert!(loss <= 0.01, "{figures}");
    });
}

#[test]
fn when_0_8_mbits_become_10_again_three_are_used_within_ten_seconds() {
    each_seed(|world, seed| {
        let (_, viewer) = call(world, 3);
        warm_up(world, viewer, "rate=10M queue=500ms delay=20ms; 5s rate=800k");
        let mut meter = Meter::begin(world, viewer, "rate=800k queue=500ms delay=20ms; 1s rate=10M");
        meter.run_until(world, 14.0);
        let after = (1..13).find(|second| meter.sent_bps(f64::from(*second), f64::from(*second + 1)) >= 3e6);
        tell("0.8 to 10 Mbit/s", seed, &format!("3 Mbit/s used {after:?} s after the line was back"));
        assert!(after.is_some_and(|second| second <= 10), "{after:?}");
    });
}

const FREEZE_MAX: Duration = Duration::from_millis(500);

#[test]
fn a_line_that_goes_down_and_up_changes_the_picture_twice_at_most_each_time() {
    each_seed(|world, seed| {
        let (all, viewer) = call_of(world, vec![publisher_with_keyframes(4)], Plan::viewer());
        let script = "rate=4M queue=300ms delay=20ms; 20s rate=1M; 40s rate=4M; 50s rate=1M; 60s rate=4M";
        let mut meter = Meter::begin(world, viewer, script);
        // What is shown at first is known by its keyframe, which the meter has to see.
        world.view(viewer, &[]);
        meter.run_until(world, 0.5);
        world.view(viewer, &[(all[0], Camera, 720)]);
        meter.run_until(world, 80.0);
        let slot = camera_slot(world, viewer, all[0]);
        let mut figures = String::new();
        for (from, to) in [(20.0, 40.0), (40.0, 50.0), (50.0, 60.0), (60.0, 80.0)] {
            let (from, to) = (meter.at(from), meter.at(to));
            let (switches, freeze) = (layer_switches(slot, from, to), longest_freeze(slot, from, to));
            figures += &format!("{switches} switches, longest freeze {} ms; ", freeze.as_millis());
            assert!(switches <= 2, "{figures}");
            assert!(freeze <= FREEZE_MAX, "{figures}");
        }
        tell("4 to 1 to 4 Mbit/s", seed, &figures);
    });
}

#[test]
fn ten_percent_of_random_loss_do_not_make_the_line_seem_narrow() {
    ten_percent("10 % loss on the downlink", publisher().redundant(), Plan::viewer().redundant());
}

#[test]
fn ten_percent_of_random_loss_are_not_heard_by_who_knows_no_redundant_sound() {
    ten_percent("10 % loss, plain sound", publisher().redundant(), Plan::viewer());
}

fn ten_percent(shape: &str, publisher: Plan, viewer: Plan) {
    each_seed(|world, seed| {
        let (all, viewer) = call_of(world, vec![publisher.clone(); 3], viewer.clone());
        warm_up(world, viewer, "rate=4M queue=300ms delay=20ms loss=10%");
        let mut meter = Meter::begin(world, viewer, "rate=4M queue=300ms delay=20ms loss=10%");
        let mut estimates = Vec::new();
        for second in 1..=30 {
            meter.run_until(world, f64::from(second));
            estimates.push(estimate_bps(world, viewer).unwrap_or(0) as f64 / 4e6);
        }
        let mean = estimates.iter().sum::<f64>() / estimates.len() as f64;
        let concealed = all.iter().map(|from| concealed(world, viewer, *from)).fold(0.0, f64::max);
        let figures =
            format!("estimate {:.0} % of capacity, concealed {:.2} %", mean * 100.0, concealed * 100.0);
        tell(shape, seed, &figures);
        assert!(mean >= 0.7, "{figures}");
        assert!(concealed <= 0.05, "{figures}");
    });
}

#[test]
fn loss_on_a_publishers_uplink_is_not_held_against_its_receivers() {
    each_seed(|world, seed| {
        let (all, viewer) = call(world, 1);
        warm_up(world, viewer, "rate=6M queue=300ms delay=20ms");
        let mut mean = |loss: &str| {
            world.set_script(all[0], Direction::Up, &format!("delay=10ms loss={loss}"));
            let mut meter = Meter::begin(world, viewer, "rate=6M queue=300ms delay=20ms");
            let mut sum = 0.0;
            for second in 1..=20 {
                meter.run_until(world, f64::from(second));
                sum += estimate_bps(world, viewer).unwrap_or(0) as f64 / 20.0;
            }
            sum
        };
        let (before, after) = (mean("0%"), mean("10%"));
        let change = (after / before - 1.0).abs();
        let figures =
            format!("{:.0} to {:.0} kbit/s, {:.1} % apart", before / 1e3, after / 1e3, change * 100.0);
        tell("10 % loss on a publisher's uplink", seed, &figures);
        assert!(change <= 0.05, "{figures}");
    });
}
