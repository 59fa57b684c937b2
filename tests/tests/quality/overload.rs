//! A core with three times as much to do as it can.

use std::time::{Duration, Instant};

use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_tests::client::plan::Plan;
use saal_tests::world::{Who, World};

use crate::each_seed;
use crate::meter::{audio_loss, percentile, publisher, tell};

const SPEAKERS: usize = 3;
const VIEWERS: usize = 24;
/// Way to the server and from it.
const NETWORK_MS: f64 = 20.0;
/// What 4 MiB of a socket's buffer hold, with the kernel's account of each packet.
const INBOX_MAX: usize = 1800;
/// Loss and delay of sound, and how long pictures take to come back.
const LOSS_MAX: f64 = 0.01;
const DELAY_P99_MS_MAX: f64 = 50.0;
const RECOVERY: Duration = Duration::from_secs(10);

#[test]
fn a_core_with_three_times_too_much_to_do_keeps_the_sound_and_gives_the_pictures_back() {
    each_seed(|world, seed| {
        let room = world.open_room();
        let speakers = world.connect_all(room, (0..SPEAKERS).map(|_| publisher()));
        for who in &speakers[1..] {
            world.switch(*who, Microphone, false);
        }
        let viewers = world.connect_all(room, (0..VIEWERS).map(|_| Plan::viewer()));
        let wishes: Vec<_> = speakers.iter().map(|who| (*who, Camera, 720)).collect();
        for viewer in &viewers {
            world.view(*viewer, &wishes);
        }
        world.run_for(Duration::from_secs(8));
        let (packets, pictures) = rates(world, &viewers);

        // Before, between two of these, all was delivered; now the core has a third of the time for it.
        world.set_cost(Duration::from_secs_f64(1.0 / packets * 3.0), INBOX_MAX);
        let origin = sound(world, &viewers, speakers[0]).min().unwrap();
        world.forget_received();
        world.run_for(Duration::from_secs(60));
        let loss = viewers.iter().map(|to| audio_loss(world, *to, speakers[0]));
        let loss = loss.fold(0.0, f64::max);
        let late_ms = sound(world, &viewers, speakers[0])
            .map(|at| NETWORK_MS + at.saturating_duration_since(origin).as_secs_f64() * 1000.0);
        let p99 = percentile(late_ms.collect(), 99);
        let (_, shown) = rates(world, &viewers);

        world.set_cost(Duration::ZERO, usize::MAX);
        let relieved = world.now();
        while rates(world, &viewers).1 < 0.9 * pictures && world.now() < relieved + 2 * RECOVERY {}
        let recovery = world.now() - relieved;
        let figures = format!(
            "sound lost {:.2} %, p99 {p99:.0} ms; {:.0} % of the pictures' packets went on, all were back after {:.0} s",
            loss * 100.0,
            shown / pictures * 100.0,
            recovery.as_secs_f64()
        );
        tell("a core at three times its capacity", seed, &figures);
        assert!(loss <= LOSS_MAX, "{figures}");
        assert!(p99 <= DELAY_P99_MS_MAX, "{figures}");
        assert!(shown > 0.1 * pictures, "{figures}");
        assert!(recovery <= RECOVERY, "{figures}");
    });
}

/// Datagrams a second through the server, and those of pictures that reach viewers, in the next second.
fn rates(world: &mut World, viewers: &[Who]) -> (f64, f64) {
    let count = |world: &mut World| {
        let io = world.snapshot().io;
        let slots = viewers.iter().flat_map(|who| &world.clients[*who].slots).flat_map(|slot| &slot.arrivals);
        let pictures = slots.filter(|arrival| arrival.stamp.kind == Camera).count();
        ((io.datagrams_in + io.datagrams_out) as f64, pictures as f64)
    };
    let (packets, pictures) = count(world);
    world.run_for(Duration::from_secs(1));
    let after = count(world);
    (after.0 - packets, after.1 - pictures)
}

/// When each packet of somebody's sound arrived, less when it was made by the sender's own clock.
fn sound<'a>(world: &'a World, viewers: &'a [Who], from: Who) -> impl Iterator<Item = Instant> + 'a {
    let publisher = world.id(from);
    let slots = viewers.iter().flat_map(|who| &world.clients[*who].slots).flat_map(|slot| &slot.arrivals);
    slots
        .filter(move |arrival| arrival.stamp.publisher == publisher && arrival.stamp.kind == Microphone)
        .map(|arrival| arrival.at - Duration::from_micros(arrival.stamp.captured_us))
}
