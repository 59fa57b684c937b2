//! Many people at the door at once; over real sockets, a thread beside the workers does their handshakes.
#![allow(clippy::unwrap_used)]

use saal_dataplane::id::SourceKind::Camera;
use saal_tests::client::plan::Plan;
use saal_tests::world::{World, each_backend};

fn storm(world: &mut World) {
    const CROWD: usize = 40;
    let quiet = world.open_room();
    let pair = world.connect_all(quiet, [Plan::browser(), Plan::viewer()]);
    world.view(pair[1], &[(pair[0], Camera, 720)]);
    world.until("the camera is seen", |world| world.received(pair[1], pair[0], Camera) > 10);
    let before = world.received(pair[1], pair[0], Camera);

    let hall = world.open_room();
    let crowd: Vec<_> = (0..CROWD).map(|_| world.join(hall, Plan::viewer())).collect();
    world.until("all of them are in", |world| crowd.iter().all(|&who| world.is_connected(who)));
    world.until("the camera is still seen", |world| world.received(pair[1], pair[0], Camera) > before + 10);

    // Half of a second crowd turns round in the door.
    let second: Vec<_> = (0..CROWD).map(|_| world.join(hall, Plan::viewer())).collect();
    for &who in second.iter().step_by(2) {
        world.leave(who);
    }
    world.until("the others are in", |world| {
        second.iter().skip(1).step_by(2).all(|&who| world.is_connected(who))
    });
}

#[test]
fn a_crowd_joins_while_another_room_goes_on() {
    each_backend(storm);
}
