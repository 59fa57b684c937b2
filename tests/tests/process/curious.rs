//! What somebody tries who has a room's link and the browser's console: tokens of others and of before, messages out of
//! place, too many or too strange, names that are markup. None of it opens a door, moves a limit, or reaches the others as
//! anything but text.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use str0m::media::Direction;

use crate::http::{Line, request};
use crate::server::{Server, wait_for};
use crate::whip::{BOTH, Peer, post};
use crate::{PASSWORD, ROOM};

fn refused(reason: &str) -> Value {
    json!({"type": "refused", "reason": reason})
}

/// A room with its organizer in it, and their cookie.
fn open(server: &Server) -> (Line, String) {
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut ada = Line::open_as(server, ROOM, &cookie);
    ada.say(&json!({"type": "join", "name": "Ada"}));
    ada.hear_type("welcome");
    (ada, cookie)
}

/// A guest who has come in, with what `welcome` said.
fn guest(server: &Server) -> (Line, Value) {
    let mut line = Line::join(server, ROOM, "Eve", PASSWORD);
    let welcome = line.hear_type("welcome");
    (line, welcome)
}

fn resume(server: &Server, token: &Value) -> Vec<Value> {
    Line::resume(server, ROOM, token, 1).hear_out()
}

/// An offer to send sound and picture.
fn offer() -> String {
    Peer::offer(&BOTH, Direction::SendOnly).1
}

fn say_offer(line: &mut Line, sdp: &str) {
    let mids = sdp.lines().filter_map(|line| line.strip_prefix("a=mid:"));
    let sources = mids.zip(["microphone", "camera"]);
    let sources: Vec<Value> = sources.map(|(mid, source)| json!({"mid": mid, "source": source})).collect();
    line.say(&json!({"type": "offer", "sdp": sdp, "sources": sources}));
}

/// The rest of the first line of a description that begins so.
fn part<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines().find_map(|line| line.strip_prefix(name)).expect("every description has it")
}

#[test]
fn a_token_dies_with_the_stay_however_it_ended() {
    let server = Server::start("");
    let (mut ada, cookie) = open(&server);
    let ends: [fn(&mut Line, &mut Line, &Value); 4] = [
        |_, eve, _| eve.say(&json!({"type": "leave"})),
        |_, eve, _| eve.say(&json!({"type": "no such word"})),
        |ada, _, id| {
            ada.say(&json!({"type": "block", "participant": id, "source": "camera", "blocked": true}))
        },
        |ada, _, _| ada.say(&json!({"type": "end"})),
    ];
    for (nth, end) in ends.into_iter().enumerate() {
        let (mut eve, welcome) = guest(&server);
        let id = &welcome["participant"];
        end(&mut ada, &mut eve, id);
        if nth == 2 {
            // Blocked is not gone: the stay ends with the line that says goodbye.
            while ada.hear_type("changed")["participant"]["blocked"] != json!(["camera"]) {}
            drop(eve);
        } else {
            eve.hear_out();
        }
        if nth < 3 {
            while ada.hear_type("left")["participant"] != *id {}
        }
        assert_eq!(resume(&server, &welcome["resume"]), [refused("not-admitted")], "end {nth}");
    }
    // Nor does it count in the next room of the name.
    let (_, welcome) = {
        ada.hear_out();
        wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
        server.open_room(&cookie, ROOM, PASSWORD);
        guest(&server)
    };
    wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
    server.open_room(&cookie, ROOM, PASSWORD);
    assert_eq!(resume(&server, &welcome["resume"]), [refused("not-admitted")]);
}

#[test]
fn whoever_is_removed_while_they_are_away_stays_away() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let (eve, welcome) = guest(&server);
    eve.lose();
    while ada.hear_type("changed")["participant"]["away"] != true {}
    ada.say(&json!({"type": "remove", "participant": welcome["participant"]}));
    assert_eq!(ada.hear_type("left")["participant"], welcome["participant"]);
    assert_eq!(resume(&server, &welcome["resume"]), [refused("not-admitted")]);
    assert_eq!(Line::join(&server, ROOM, "Eve", PASSWORD).hear(), Some(json!({"type": "waiting"})));
}

#[test]
fn a_removal_reaches_whoever_came_back_over_another_network() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let (eve, welcome) = guest(&server);
    eve.lose();
    let elsewhere = Ipv4Addr::new(127, 77, 66, 56);
    let mut back = Line::open_from(elsewhere, &server, ROOM);
    back.say(&json!({"type": "resume", "token": welcome["resume"], "heard": 1}));
    back.hear_type("resumed");
    ada.say(&json!({"type": "remove", "participant": welcome["participant"]}));
    assert_eq!(back.hear_type("ended")["reason"], "removed");
    let mut again = Line::open_from(elsewhere, &server, ROOM);
    again.say(&json!({"type": "join", "name": "Eve", "password": PASSWORD}));
    assert_eq!(again.hear(), Some(json!({"type": "waiting"})));
}

#[test]
fn of_many_who_bring_one_token_at_once_one_comes_back() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let (eve, welcome) = guest(&server);
    let mut copies: Vec<Line> = (0..8).map(|_| Line::open(&server, ROOM)).collect();
    let message = json!({"type": "resume", "token": welcome["resume"], "heard": 1});
    copies.iter_mut().for_each(|line| line.say(&message));
    let answers: Vec<Value> = copies.iter_mut().map(|line| line.hear().expect("an answer")).collect();
    assert_eq!(answers.iter().filter(|answer| answer["type"] == "resumed").count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == refused("not-admitted")).count(), 7);
    assert_eq!(server.metric("saal_participants"), 2.0);
    drop((eve, copies));
    assert_eq!(ada.hear_type("left")["participant"], welcome["participant"]);
}

#[test]
fn a_return_brings_back_what_was_there_and_not_a_right_or_a_word_more() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let (mut eve, welcome) = guest(&server);
    let id = &welcome["participant"];
    ada.say(&json!({"type": "block", "participant": id, "source": "camera", "blocked": true}));
    for text in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] {
        eve.say(&json!({"type": "chat", "text": text}));
    }
    eve.say(&json!({"type": "pause", "on": true}));
    while ada.hear_type("changed")["participant"]["paused"] != true {}
    eve.lose();
    while ada.hear_type("changed")["participant"]["away"] != true {}
    ada.say(&json!({"type": "rules", "lobby": true, "locked": true, "microphone": false}));
    ada.say(&json!({"type": "password", "password": "another"}));
    ada.hear_type("password-changed");

    let mut eve = Line::resume(&server, ROOM, &welcome["resume"], 1);
    eve.hear_type("resumed");
    eve.say(&json!({"type": "state", "microphone": true, "camera": true, "screen": false, "hand": false}));
    assert_eq!(eve.hear_type("silenced")["sources"], json!(["microphone", "camera"]));
    eve.say(&json!({"type": "my-data"}));
    let data = eve.hear_type("my-data")["data"].clone();
    assert_eq!(
        (&data["organizer"], &data["paused"], &data["blocked"], &data["chat_lines_relayed"]),
        (&json!(false), &json!(true), &json!(["camera"]), &json!(10)),
    );
    eve.say(&json!({"type": "rules", "microphone": true}));
    assert_eq!(eve.hear_out().last(), Some(&refused("bad-message")), "a guest before, a guest after");
}

#[test]
fn whoever_comes_back_again_and_again_is_stopped_like_whoever_says_too_much() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let (first, welcome) = guest(&server);
    let mut token = welcome["resume"].clone();
    let mut lines = vec![first];
    // Many a minute are allowed: a network that comes and goes is no attack.
    let stopped = (0..5000).find_map(|_| {
        let mut line = Line::resume(&server, ROOM, &token, 1);
        let answer = line.hear().expect("an answer");
        token = answer["resume"].clone();
        lines = vec![line];
        ada.hear_at_once();
        (answer["type"] != "resumed").then_some(answer)
    });
    assert_eq!(stopped, Some(refused("too-many-attempts")));
    wait_for("Eve to be gone", || (server.metric("saal_participants") == 1.0).then_some(()));
}

#[test]
fn no_key_fits_another_lock() {
    let server = Server::start("");
    let cookie = server.sign_in();
    let room = server.open_room(&cookie, ROOM, PASSWORD);
    let (_eve, welcome) = guest(&server);
    let (token, session) = (&welcome["resume"], cookie.split_once('=').expect("name and value"));
    for key in [&room["media_token"], &json!(session.1), &json!(PASSWORD), &welcome["participant"]] {
        assert_eq!(resume(&server, key), [refused("not-admitted")]);
    }
    let text = token.as_str().expect("text");
    assert_eq!(Line::join(&server, ROOM, "Eve", text).hear_out(), [refused("not-admitted")]);
    assert_eq!(post(&server, "whip", ROOM, text, "v=0\r\n").status, 401);
    let stolen = format!("{}={text}", session.0);
    let who = request(server.http, "GET", "/api/v1/session", &[("Cookie", &stolen)], "").json();
    assert_eq!(who["account"], Value::Null);
    assert_eq!(server.metric("saal_participants"), 1.0);
}

#[test]
fn a_first_message_that_is_nearly_right_is_as_wrong_as_any() {
    let server = Server::start("");
    let (_ada, _) = open(&server);
    let (_eve, welcome) = guest(&server);
    let token = &welcome["resume"];
    let nested = format!(
        "{{\"type\": \"resume\", \"heard\": 1, \"token\": {}1{}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    for first in [
        format!("{{\"type\": \"resume\", \"token\": {token}}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": -1}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": 1.5}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": \"1\"}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": 18446744073709551616}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": null}}"),
        format!("{{\"type\": \"resume\", \"token\": [{token}], \"heard\": 1}}"),
        format!("{{\"type\": \"resume\", \"token\": \"x\", \"token\": {token}, \"heard\": 1}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": 1, \"name\": \"Ada\"}}"),
        format!(
            "{{\"type\": \"resume\", \"token\": {token}, \"heard\": 1, \"__proto__\": {{\"organizer\": true}}}}"
        ),
        format!("{{\"type\": \"join\", \"type\": \"resume\", \"token\": {token}, \"heard\": 1}}"),
        format!("[\"resume\", {token}, 1]"),
        format!("\u{feff}{{\"type\": \"resume\", \"token\": {token}, \"heard\": 1}}"),
        format!("{{\"type\": \"resume\", \"token\": {token}, \"heard\": 1}} {{}}"),
        nested,
    ] {
        let mut line = Line::open(&server, ROOM);
        line.say_text(&first);
        let shown = &first[..first.len().min(120)];
        assert_eq!(
            line.hear_out(),
            [refused("bad-message")],
            "{}",
            shown.replace(token.as_str().expect("text"), "…")
        );
    }
    // None of them has used the token up.
    assert_eq!(Line::resume(&server, ROOM, token, 1).hear_type("resumed")["heard"], 0);
}

#[test]
fn messages_that_no_page_sends_end_the_connection_and_change_nothing() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let id = "00000000000000ff";
    let slot = |id: &str, height: &str| {
        format!(
            "{{\"type\": \"view\", \"slots\": [{{\"slot\": \"5\", \"participant\": {id}, \"source\": \"camera\", \"height\": {height}}}]}}"
        )
    };
    let many = format!(
        "[{}]",
        vec![
            format!("{{\"slot\": \"5\", \"participant\": \"{id}\", \"source\": \"camera\", \"height\": 1}}");
            500
        ]
        .join(",")
    );
    let deep =
        format!("{{\"type\": \"chat\", \"text\": {}{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for message in [
        "{\"type\": \"chat\", \"text\": \"x\", \"__proto__\": {\"organizer\": true}}",
        "{\"type\": \"chat\", \"text\": \"x\", \"constructor\": {\"prototype\": {}}}",
        "{\"type\": \"chat\", \"text\": {\"toString\": \"x\"}}",
        "{\"type\": \"chat\", \"text\": \"x\", \"from\": \"00000000000000ff\"}",
        "{\"type\": \"chat\", \"text\": \"\\ud800\"}",
        "{\"type\": \"chat\", \"text\": \"\\u202e\\u200b\"}",
        "{\"type\": \"rename\", \"name\": \"\\u0000\\u3164\"}",
        "{\"type\": \"state\", \"microphone\": 1, \"camera\": 0, \"screen\": 0, \"hand\": 0}",
        "{\"type\": \"state\", \"microphone\": true, \"camera\": true, \"screen\": true, \"hand\": true, \"away\": true}",
        "{\"type\": \"pause\", \"on\": true, \"participant\": \"00000000000000ff\"}",
        "{\"type\": \"object\", \"speaker_detection\": \"no\"}",
        "{\"type\": \"delete-chat\", \"line\": 4294967296}",
        "{\"type\": \"delete-chat\", \"line\": 1, \"from\": \"00000000000000ff\"}",
        "{\"type\": \"my-data\", \"participant\": \"00000000000000ff\"}",
        "{\"type\": \"quality\", \"estimate_bps\": 1, \"loss_permille\": 0, \"round_trip_ms\": 1}",
        "{\"type\": \"layers\", \"source\": \"camera\", \"layers\": 3}",
        "{\"type\": \"welcome\"}",
        "{\"type\": \"mute\", \"source\": \"chat\"}",
        "{\"type\": \"end\", \"reason\": \"shutdown\"}",
        &slot("255", "360"),
        &slot("\"00000000000000fg\"", "360"),
        &slot("\"+0000000000000ff\"", "360"),
        &slot("\"00000000000000ff\"", "65536"),
        &slot("\"00000000000000ff\"", "-1"),
        &format!("{{\"type\": \"view\", \"slots\": {many}}}"),
        &deep,
    ] {
        let (mut eve, welcome) = guest(&server);
        eve.say_text(message);
        let shown = &message[..message.len().min(120)];
        assert_eq!(eve.hear_out(), [refused("bad-message")], "{shown}");
        let heard: Vec<Value> = [(); 2].map(|()| ada.hear().expect("news")).into();
        let kinds: Vec<&Value> = heard.iter().map(|message| &message["type"]).collect();
        assert_eq!(kinds, ["joined", "left"], "{shown}");
        assert_eq!(heard[1]["participant"], welcome["participant"]);
    }
}

#[test]
fn a_connection_is_its_owners_and_restarts_do_not_come_in_storms() {
    let server = Server::start("");
    let (_ada, _) = open(&server);
    let (mut eve, _) = guest(&server);
    let (own, other) = (offer(), offer());
    // What an offer says of its connection, and what another says instead.
    let forged = |name: &str| own.replace(part(&own, name), part(&other, name));
    let mut answer_to = |sdp: &str| {
        say_offer(&mut eve, sdp);
        eve.hear_type("answer")["sdp"].as_str().expect("text").to_owned()
    };
    let (first, second) = (answer_to(&own), answer_to(&forged("a=ice-ufrag:")));
    for secret in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(part(&first, secret), part(&second, secret), "each restart has credentials of its own");
    }
    assert_eq!(part(&first, "a=fingerprint:"), part(&second, "a=fingerprint:"));
    say_offer(&mut eve, &forged("a=fingerprint:"));
    assert_eq!(eve.hear_out(), [refused("bad-message")], "another certificate is another connection");

    let (mut eve, _) = guest(&server);
    (0..20).for_each(|_| say_offer(&mut eve, &own));
    let heard = eve.hear_out();
    assert_eq!(heard.last(), Some(&refused("too-many-attempts")));
    assert!(heard.len() <= 8, "{} answers to 20 offers at once", heard.len() - 1);
}

#[test]
fn markup_in_names_and_lines_is_the_text_that_it_is() {
    let server = Server::start("");
    let (mut ada, _) = open(&server);
    let markup = "<img src=x onerror=\"alert(1)\">{{7*7}}${1}&lt;";
    let mut eve = Line::join(&server, ROOM, markup, PASSWORD);
    eve.hear_type("welcome");
    eve.say(&json!({"type": "chat", "text": markup}));
    assert_eq!(ada.hear_type("joined")["participant"]["name"], markup);
    assert_eq!(
        ada.hear_type("chat"),
        json!({"type": "chat", "from": eve_id(&mut eve), "name": markup, "text": markup, "line": 1})
    );
    // A room cannot have such a name, so that no address of it can.
    let cookie = server.sign_in();
    for name in ["<b>", "a\"b", "a/../b", "javascript:alert(1)", "\u{202e}a"] {
        assert_eq!(
            server.post("/api/v1/rooms", &cookie, &json!({"name": name})).error(),
            (422, "bad-name".into())
        );
    }
}

fn eve_id(eve: &mut Line) -> Value {
    eve.say(&json!({"type": "my-data"}));
    eve.hear_type("my-data")["data"]["participant"].clone()
}
