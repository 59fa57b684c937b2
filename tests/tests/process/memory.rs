//! What people cost the server's memory, and what of it is left when they have gone.

use std::time::Duration;

use serde_json::json;

use crate::http::Line;
use crate::server::{Server, wait_for};
use crate::{PASSWORD, ROOM};

/// The allocator gives back what the last hash took in one of these steps, and the others show what people cost.
const STEP: usize = 60;
const CROWD: usize = 4 * STEP;

/// Of a participant who has a WebSocket and no media yet.
const SIGNALLING_BYTES_MAX: u64 = 64 * 1024;

/// Beside the 2 % of growth: a chunk that the allocator keeps, whatever the server's size.
const SLACK_BYTES: u64 = 1 << 20;

/// One meeting of a crowd: what each of them costs, and the resident size when it is over.
fn meeting(server: &Server, cookie: &str) -> (u64, u64) {
    server.open_room(cookie, ROOM, PASSWORD);
    let mut crowd = Vec::new();
    let mut grow = |people: usize| {
        while crowd.len() < people {
            // As the organizer, whom nobody asks for a password: hashing is not what is measured here.
            let mut line = Line::open_as(server, ROOM, cookie);
            line.say(&json!({"type": "join", "name": format!("Guest {}", crowd.len())}));
            line.hear_type("welcome");
            crowd.push(line);
        }
        settled(server)
    };
    let sizes = [0, 1, 2, 3, 4].map(|step| grow(step * STEP));
    let most = sizes.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().expect("there are steps");
    assert_eq!(server.metric("saal_participants"), CROWD as f64);
    for mut line in crowd {
        line.say(&json!({"type": "leave"}));
        line.hear_out();
    }
    for gone in [
        "saal_participants",
        "saal_rooms",
        "saal_worker_rooms",
        "saal_worker_participants",
        "saal_http_connections",
    ] {
        wait_for(gone, || (server.metric(gone) == 0.0).then_some(()));
    }
    (most / STEP as u64, settled(server))
}

/// The resident size once the allocator has given back what it gives back.
fn settled(server: &Server) -> u64 {
    std::thread::park_timeout(Duration::from_secs(1));
    server.metric("saal_rooms");
    server.resident_bytes()
}

#[test]
fn a_crowd_costs_little_and_leaves_nothing() {
    let server = Server::start("rooms.participants_max = 500\nhttp.connections_per_address_max = 1000\n");
    let cookie = server.sign_in();
    // Two meetings touch code, tables and the memory of both threads that hash, all of which stay.
    let before = meeting(&server, &cookie).1.max(meeting(&server, &cookie).1);
    for _ in 0..2 {
        let (each, after) = meeting(&server, &cookie);
        println!("{each} bytes for each participant, {before} before and {after} after");
        assert!(each <= SIGNALLING_BYTES_MAX, "{each} bytes for each participant");
        assert!(after <= before + before / 50 + SLACK_BYTES, "{after} bytes are left, {before} were before");
    }
}
