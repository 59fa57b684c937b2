//! What people cost the server's memory, and what of it is left when they have gone.
//!
//! The measure is the resident size of a real server's process, which everything is in: both planes, the allocator's
//! waste, the cipher library's own heap. The allocator is told to give back at once what is free, as what it keeps
//! otherwise depends on the moment: 8 of 40 MB came and went from one meeting to the next.

use std::time::{Duration, Instant};

use saal_tools::client::secure::Certificate;
use saal_tools::load::cpu;
use saal_tools::load::engine::Engine;
use saal_tools::load::peer::{OPUS, Peer, Plan, VP8};
use saal_tools::load::publisher::Stream;
use saal_tools::load::scenario::Layer;
use saal_tools::load::sdp::{self, Offer};
use saal_tools::random::Random;
use serde_json::{Value, json};

use crate::http::Line;
use crate::server::{Server, wait_for};
use crate::{PASSWORD, ROOM};

/// The costliest of the steps counts.
const STEP: usize = 60;
const CROWD: usize = 4 * STEP;

/// Of a participant who has a WebSocket and no media yet.
const SIGNALLING_BYTES_MAX: u64 = 18 * 1024;
/// Of a participant who is connected, with microphone and camera announced and off, and every slot that the page asks for.
const CONNECTED_BYTES_MAX: u64 = 56 * 1024;

/// The participants' other half: ICE, DTLS and SRTP by the load tool's own code, on threads of their own.
struct Media {
    engine: Engine,
    certificate: Certificate,
    random: Random,
}

impl Media {
    fn new() -> Media {
        let place = cpu::Place { cores: cpu::cores()[..1].to_vec(), at_once: false };
        let engine = Engine::start(&place, false).expect("two threads");
        // Sockets are looked into now and then: nobody here is in a hurry.
        engine.pause(true);
        Media { engine, certificate: Certificate::generate(), random: Random::new(1) }
    }

    /// Negotiates what the page negotiates, and begins to connect.
    fn connect(&mut self, number: usize, line: &mut Line, welcome: &Value) {
        let slots = |kind: &str| welcome[kind].as_u64().expect("a number of slots") as usize;
        let interval = Duration::from_millis(20);
        let layers = [180, 360, 720].map(|height| Layer { height, packets: 1, bytes: 1000, vary_percent: 0 });
        let streams = std::iter::once((OPUS, None)).chain(layers.map(|layer| (VP8, Some(layer)))).enumerate();
        let streams: Vec<Stream> = streams
            .map(|(index, (pt, layer))| Stream::new(index, pt, layer, 100, interval, &mut self.random))
            .collect();
        let (ufrag, pwd) = (self.random.ice_chars(8), self.random.ice_chars(24));
        let offer = Offer {
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprint: self.certificate.fingerprint,
            streams: &streams,
            audio_slots: slots("audio_slots"),
            video_slots: slots("video_slots"),
        };
        let (text, sources, _) = offer.write();
        let sources: Vec<Value> =
            sources.iter().map(|(mid, source)| json!({"mid": mid, "source": source})).collect();
        line.say(&json!({"type": "offer", "sdp": text, "sources": sources}));
        let answer = line.hear_type("answer");
        let answer = sdp::read_answer(answer["sdp"].as_str().expect("a text")).expect("an address and keys");
        let plan = Plan {
            number,
            room: 0,
            // Announced and never sent.
            streams: Vec::new(),
            sampled: false,
            transport_feedback: false,
            asked_at_ns: 0,
        };
        let peer = Peer::webrtc(plan, &self.certificate, ufrag, answer.remote, Instant::now());
        self.engine.add(peer, answer.server).expect("a socket");
    }

    /// Until so many have finished their handshakes.
    fn wait_for(&self, people: usize) {
        wait_for("the handshakes", || {
            let states = self.engine.states();
            (states.iter().filter(|state| state.connected).count() == people).then_some(())
        });
    }
}

/// One meeting of a crowd, of whom nothing is left in it when it is over: what each of them costs.
fn meeting(server: &Server, cookie: &str, mut media: Option<&mut Media>) -> u64 {
    server.open_room(cookie, ROOM, PASSWORD);
    let mut crowd: Vec<Line> = Vec::new();
    let mut grow = |people: usize| {
        for number in crowd.len()..people {
            // As the organizer, whom nobody asks for a password: hashing is not what is measured here.
            let mut line = Line::open_as(server, ROOM, cookie);
            line.say(&json!({"type": "join", "name": format!("Guest {number}")}));
            let welcome = line.hear_type("welcome");
            if let Some(media) = &mut media {
                media.connect(number, &mut line, &welcome);
            }
            line.say(&json!({"type": "ping"}));
            line.hear_type("pong");
            crowd.push(line);
        }
        if let Some(media) = &media {
            media.wait_for(people);
        }
        // The server gives up on who is silent for 15 s.
        let off =
            json!({"type": "state", "microphone": false, "camera": false, "screen": false, "hand": false});
        crowd.iter_mut().for_each(|line| line.say(&off));
        // By reading, they answer pings, and then the ping for what had piled up: the server forgets what has arrived.
        for _ in 0..2 {
            crowd.iter_mut().for_each(|line| line.say(&json!({"type": "ping"})));
            crowd.iter_mut().for_each(|line| drop(line.hear_type("pong")));
            crowd.iter_mut().for_each(|line| drop(line.hear_at_once()));
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
    if let Some(media) = media {
        media.engine.clear();
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
    most / STEP as u64
}

/// The resident size once both planes have done what they were asked.
fn settled(server: &Server) -> u64 {
    std::thread::park_timeout(Duration::from_secs(1));
    server.metric("saal_rooms");
    server.resident_bytes()
}

/// What was measured, as a line to print.
fn costs_little_and_leaves_nothing(mut media: Option<Media>, each_max: u64) -> String {
    let more = "rooms.participants_max = 500\nhttp.connections_per_address_max = 1000\n";
    // With huge pages the resident size grows by 2 MiB at a time, which is 35 KiB for each of a step's people.
    let server = Server::spawn(more, |command| {
        let steady = command.env("MIMALLOC_ALLOW_THP", "0").env("MIMALLOC_PURGE_DELAY", "0");
        steady.spawn().expect("the server starts")
    });
    let cookie = server.sign_in();
    // Two meetings touch code, tables and the memory of both threads that hash, all of which stay.
    let before = [(); 2].map(|()| {
        meeting(&server, &cookie, media.as_mut());
        settled(&server)
    });
    let before = before[0].max(before[1]);
    let meetings = [(); 2].map(|()| {
        let each = meeting(&server, &cookie, media.as_mut());
        assert!(each <= each_max, "{each} bytes for each participant");
        let after = wait_for("a meeting's memory to be given back", || {
            Some(settled(&server)).filter(|after| *after <= before + before / 100)
        });
        format!("{each} bytes for each participant, {before} before and {after} after")
    });
    meetings.join("\n")
}

#[test]
fn a_crowd_costs_little_and_leaves_nothing() {
    println!("{}", costs_little_and_leaves_nothing(None, SIGNALLING_BYTES_MAX));
}

#[test]
fn a_connected_crowd_costs_little_and_leaves_nothing() {
    println!("{}", costs_little_and_leaves_nothing(Some(Media::new()), CONNECTED_BYTES_MAX));
}
