//! What it costs the others when somebody joins.

use serde_json::{Value, json};
use str0m::media::Direction;

use crate::http::Line;
use crate::server::Server;
use crate::whip::{BOTH, Peer};
use crate::{PASSWORD, ROOM};

/// Joins after which everybody shows that they are still there; the server gives up on who is silent for 15 s.
const SIGN_OF_LIFE_EVERY: usize = 100;

/// A participant of the room, as its organizer, whom nobody asks for a password: hashing is not what is measured here.
fn join(server: &Server, cookie: &str, name: &str) -> Line {
    let mut line = Line::open_as(server, ROOM, cookie);
    line.say(&json!({"type": "join", "name": name}));
    line.hear_type("welcome");
    line
}

/// Negotiates one microphone and one camera, or a slot for each.
fn offer(line: &mut Line, direction: Direction) {
    let (_, sdp, _) = Peer::offer(&BOTH, direction);
    let mids: Vec<&str> = sdp.lines().filter_map(|text| text.strip_prefix("a=mid:")).collect();
    let sources: Vec<Value> = match direction {
        Direction::SendOnly => {
            let kinds = ["microphone", "camera"];
            mids.iter().zip(kinds).map(|(mid, source)| json!({"mid": mid, "source": source})).collect()
        }
        Direction::RecvOnly | Direction::SendRecv | Direction::Inactive => Vec::new(),
    };
    line.say(&json!({"type": "offer", "sdp": sdp, "sources": sources}));
    line.hear_type("answer");
}

fn state(on: bool) -> Value {
    json!({"type": "state", "microphone": on, "camera": on, "screen": false, "hand": false})
}

/// Everything that somebody who is there already hears of a newcomer with microphone and camera.
fn heard_of_a_newcomer(server: &Server, cookie: &str) -> Vec<Value> {
    let mut watcher = join(server, cookie, "Watcher");
    offer(&mut watcher, Direction::RecvOnly);
    let mut newcomer = join(server, cookie, "Newcomer");
    offer(&mut newcomer, Direction::SendOnly);
    newcomer.say(&state(true));
    newcomer.hear_type("changed");
    newcomer.say(&json!({"type": "chat", "text": "here I am"}));
    let mut heard = Vec::new();
    loop {
        let message = watcher.hear().expect("the watcher stays");
        if message["type"] == "chat" {
            break;
        }
        heard.push(message);
    }
    for line in [&mut watcher, &mut newcomer] {
        line.say(&json!({"type": "leave"}));
        line.hear_out();
    }
    heard
}

fn bytes(messages: &[Value]) -> usize {
    messages.iter().map(|message| message.to_string().len()).sum()
}

#[test]
fn a_join_costs_the_others_no_more_at_500_than_at_10_and_no_renegotiation() {
    let server = Server::start("rooms.participants_max = 500\nhttp.connections_per_address_max = 1000\n");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut crowd: Vec<Line> = Vec::new();
    let [at_10, at_500] = [10, 500].map(|people| {
        while crowd.len() < people - 2 {
            crowd.push(join(&server, &cookie, "Guest"));
            if crowd.len().is_multiple_of(SIGN_OF_LIFE_EVERY) {
                crowd.iter_mut().for_each(|line| line.say(&state(false)));
            }
        }
        assert_eq!(server.metric("saal_participants"), people as f64 - 2.0);
        heard_of_a_newcomer(&server, &cookie)
    });
    for heard in [&at_10, &at_500] {
        let types: Vec<&str> = heard.iter().filter_map(|message| message["type"].as_str()).collect();
        assert_eq!(types, ["joined", "changed"], "and above all no SDP");
    }
    println!("{} bytes at 10, {} bytes at 500", bytes(&at_10), bytes(&at_500));
    assert!(2 * bytes(&at_500) <= 3 * bytes(&at_10), "{at_10:?} {at_500:?}");
}
