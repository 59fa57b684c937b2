//! Connections that break: the same participant comes back to the same place, and nobody else does.

use serde_json::{Value, json};

use crate::canary::{Words, call, until};
use crate::http::Line;
use crate::server::{Server, wait_for};
use crate::{PASSWORD, ROOM};

/// Somebody who has come in, with what `welcome` said.
fn join(server: &Server, name: &str) -> (Line, Value) {
    let mut line = Line::join(server, ROOM, name, PASSWORD);
    let welcome = line.hear_type("welcome");
    (line, welcome)
}

fn not_admitted() -> Value {
    json!({"type": "refused", "reason": "not-admitted"})
}

#[test]
fn a_broken_conversation_goes_on_where_it_broke_off() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let (mut ada, _) = join(&server, "Ada");
    let (mut bob, welcome) = join(&server, "Bob");
    let id = &welcome["participant"];
    bob.say(&json!({"type": "state", "microphone": false, "camera": false, "screen": false, "hand": true}));
    bob.say(&json!({"type": "chat", "text": "before"}));
    while bob.hear_type("changed")["participant"]["hand"] != true {}
    bob.hear_type("chat");
    bob.lose();
    let changed = |line: &mut Line, away: bool| loop {
        let person = line.hear_type("changed")["participant"].clone();
        if person["id"] == *id && person["away"] == away {
            return person;
        }
    };
    let person = changed(&mut ada, true);
    assert_eq!((&person["name"], &person["hand"]), (&json!("Bob"), &json!(true)), "the place is kept");
    ada.say(&json!({"type": "chat", "text": "meanwhile"}));
    ada.say(&json!({"type": "rename", "name": "Ada L."}));
    ada.hear_type("chat");

    // Bob has heard: welcome, his own change, his own line.
    let mut bob = Line::resume(&server, ROOM, &welcome["resume"], 3);
    let resumed = bob.hear().expect("an answer");
    assert_eq!(
        (&resumed["type"], &resumed["heard"]),
        (&json!("resumed"), &json!(2)),
        "his state and his line"
    );
    assert_ne!(resumed["resume"], welcome["resume"]);
    let missed = [bob.hear().expect("the line"), bob.hear().expect("the name")];
    assert_eq!(
        (&missed[0]["text"], &missed[1]["participant"]["name"]),
        (&json!("meanwhile"), &json!("Ada L."))
    );
    assert_eq!(changed(&mut ada, false)["id"], *id);
    bob.say(&json!({"type": "chat", "text": "after"}));
    assert_eq!(bob.hear_type("chat")["line"], 2, "his lines are numbered on");
    bob.say(&json!({"type": "ping"}));
    assert_eq!(bob.hear_type("pong")["heard"], 3);

    // Nothing is said twice.
    bob.abandon();
    let mut bob = Line::resume(&server, ROOM, &resumed["resume"], 6);
    let again = bob.hear().expect("an answer");
    assert_eq!((&again["type"], &again["heard"]), (&json!("resumed"), &json!(3)), "{again}");
    ada.say(&json!({"type": "chat", "text": "welcome back"}));
    assert_eq!(bob.hear().expect("her line")["text"], "welcome back");
    let heard = ada.hear_at_once();
    assert!(
        heard.iter().all(|message| message["type"] != "left" && message["type"] != "joined"),
        "{heard:?}"
    );
}

#[test]
fn a_second_connection_takes_the_place_of_the_first() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let (mut ada, _) = join(&server, "Ada");
    let (mut first, welcome) = join(&server, "Bob");
    ada.hear_type("joined");
    let mut second = Line::resume(&server, ROOM, &welcome["resume"], 1);
    let resumed = second.hear_type("resumed");
    assert_eq!(first.hear_out(), [] as [Value; 0], "the first ends without a word");
    drop(first);
    second.say(&json!({"type": "chat", "text": "still here"}));
    assert_eq!(ada.hear().expect("the line")["text"], "still here", "the others have noticed nothing");
    // A thief of the first token is late, and does no harm.
    assert_eq!(Line::resume(&server, ROOM, &welcome["resume"], 1).hear_out(), [not_admitted()]);
    second.say(&json!({"type": "leave"}));
    assert_eq!(second.hear_out().last().expect("a receipt")["type"], "receipt");
    assert_eq!(Line::resume(&server, ROOM, &resumed["resume"], 1).hear_out(), [not_admitted()]);
    assert_eq!(ada.hear_type("left")["participant"], welcome["participant"]);
}

#[test]
fn a_token_opens_nothing_else() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    server.open_room(&cookie, "another", PASSWORD);
    let (ada, welcome) = join(&server, "Ada");
    let mut elsewhere = Line::join(&server, "another", "Eve", PASSWORD);
    elsewhere.hear_type("welcome");
    for (room, token) in [
        ("another", welcome["resume"].clone()),
        (ROOM, json!("")),
        (ROOM, json!("0".repeat(64))),
        ("absent", json!("x")),
    ] {
        assert_eq!(Line::resume(&server, room, &token, 1).hear_out(), [not_admitted()]);
    }
    // Nothing was used up by that. Who claims to have heard more than was said is not who they say.
    ada.lose();
    assert_eq!(Line::resume(&server, ROOM, &welcome["resume"], 2).hear_out(), [not_admitted()]);
    wait_for("the room to end", || (server.metric("saal_rooms") == 1.0).then_some(()));
    // In a call, or anew, such a message has no place.
    elsewhere.say(&json!({"type": "resume", "token": "x", "heard": 0}));
    assert_eq!(elsewhere.hear_out(), [json!({"type": "refused", "reason": "bad-message"})]);
}

#[test]
fn who_does_not_come_back_is_gone_in_time_and_takes_the_room_along() {
    let server = Server::start("media.consent_seconds = 5\n");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let (mut ada, _) = join(&server, "Ada");
    let (bob, welcome) = join(&server, "Bob");
    let since = std::time::Instant::now();
    bob.lose();
    assert_eq!(ada.hear_type("left")["participant"], welcome["participant"]);
    assert!(since.elapsed().as_secs() >= 4, "the place was kept for {:?}", since.elapsed());
    assert_eq!(Line::resume(&server, ROOM, &welcome["resume"], 1).hear_out(), [not_admitted()]);
    ada.lose();
    wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
    assert_eq!(server.metric("saal_participants"), 0.0);
}

#[test]
fn a_page_that_says_goodbye_is_gone_at_once_and_so_is_whoever_waits_in_the_lobby() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.post("/api/v1/rooms", &cookie, &json!({"name": ROOM, "password": PASSWORD, "lobby": true}));
    let mut anna = Line::open_as(&server, ROOM, &cookie);
    anna.say(&json!({"type": "join", "name": "Anna"}));
    anna.hear_type("welcome");
    let mut guest = Line::join(&server, ROOM, "Bob", PASSWORD);
    guest.hear_type("waiting");
    let id = anna.hear_type("knocked")["participant"]["id"].clone();
    guest.lose();
    assert_eq!(anna.hear_type("knock-over")["participant"], id);
    drop(anna);
    wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
}

#[test]
fn media_goes_on_while_signalling_is_broken_and_after() {
    let server = Server::start("media.announce = [\"127.0.0.1\"]\n");
    let words = Words::new(21);
    server.open_room(&server.sign_in(), &words.room, &words.password);
    let (mut ada, mut bob) = call(&server, &words);
    let away = std::mem::replace(&mut ada.line, Line::open(&server, &words.room));
    away.lose();
    while bob.line.hear_type("changed")["participant"]["away"] != true {}
    bob.heard.clear();
    until("ada is heard and seen", &mut [&mut ada, &mut bob], |people| {
        people[1].has_heard(&words.sound) && people[1].has_heard(&words.picture)
    });
    ada.line.say(&json!({"type": "resume", "token": ada.token, "heard": 1}));
    ada.line.hear_type("resumed");
    ada.line.say(&json!({"type": "chat", "text": "back"}));
    while bob.line.hear_type("chat")["text"] != "back" {}
    bob.heard.clear();
    until("ada is heard and seen", &mut [&mut ada, &mut bob], |people| {
        people[1].has_heard(&words.sound) && people[1].has_heard(&words.picture)
    });
    // Her microphone is still hers to switch off.
    let off = json!({"type": "state", "microphone": false, "camera": true, "screen": false, "hand": false});
    ada.line.say(&off);
    while bob.line.hear_type("changed")["participant"]["microphone"] != false {}
}
