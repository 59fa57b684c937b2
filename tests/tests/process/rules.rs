//! The rules of a room, as guests and organizers meet them over their WebSockets.

use serde_json::{Value, json};
use str0m::media::{Direction, MediaKind};

use crate::http::{Line, Reply, get};
use crate::server::Server;
use crate::traces::House;
use crate::whip::{BOTH, Peer, post, until};
use crate::{PASSWORD, ROOM};

/// A room, its organizer's line into it, and its media token.
fn open(server: &Server, more: &Value) -> (Line, String) {
    let cookie = server.sign_in();
    let mut wish = json!({"name": ROOM, "password": PASSWORD});
    let fields = more.as_object().expect("fields of the request").clone();
    wish.as_object_mut().expect("an object").extend(fields);
    let reply = server.post("/api/v1/rooms", &cookie, &wish);
    assert_eq!(reply.status, 201, "{}", reply.body);
    let token = reply.json()["media_token"].as_str().expect("a room has one").to_owned();
    (enter(server, &cookie), token)
}

fn enter(server: &Server, cookie: &str) -> Line {
    let mut line = Line::open_as(server, ROOM, cookie);
    line.say(&json!({"type": "join", "name": "Ada"}));
    assert_eq!(line.hear_type("welcome")["organizer"], true);
    line
}

/// What a join is answered with.
fn join(server: &Server, password: &str) -> (Line, Value) {
    let mut line = Line::join(server, ROOM, "canaryguest", password);
    let answer = line.hear().expect("every join is answered");
    (line, answer)
}

fn refused(reason: &str) -> Value {
    json!({"type": "refused", "reason": reason})
}

fn whip(server: &Server, token: &str) -> Reply {
    post(server, "whip", ROOM, token, &Peer::offer(&BOTH, Direction::SendOnly).1)
}

/// Packets that no worker used for this reason.
fn dropped(server: &Server, reason: &str) -> f64 {
    let metrics = get(server.admin, "/metrics").body;
    let label = format!("reason=\"{reason}\"");
    let lines =
        metrics.lines().filter(|line| line.starts_with("saal_dropped_total") && line.contains(&label));
    let counts: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!counts.is_empty(), "no reason {reason} in\n{metrics}");
    counts.iter().sum()
}

#[test]
fn a_guest_in_the_lobby_hears_nothing_until_they_are_admitted() {
    let server = Server::start("");
    let (mut ada, _) = open(&server, &json!({"lobby": true}));
    let (mut guest, answer) = join(&server, PASSWORD);
    assert_eq!(answer, json!({"type": "waiting"}), "no participant, no name, no rule");
    let knocked = ada.hear_type("knocked")["participant"].clone();
    assert_eq!(knocked["name"], "canaryguest");
    assert_eq!(knocked.as_object().map(|fields| fields.len()), Some(2), "id and name only: {knocked}");

    ada.say(&json!({"type": "chat", "text": "between us"}));
    ada.hear_type("chat");
    ada.say(&json!({"type": "state", "microphone": true, "camera": true, "screen": false, "hand": true}));
    ada.hear_type("changed");
    ada.say(&json!({"type": "admit", "participants": [knocked["id"]]}));
    let welcome = guest.hear().expect("they are let in");
    assert_eq!((&welcome["type"], &welcome["participant"]), (&json!("welcome"), &knocked["id"]));
    assert_eq!(welcome["participants"].as_array().map(Vec::len), Some(1));
    assert_eq!(ada.hear_type("joined")["participant"]["id"], knocked["id"]);
    ada.say(&json!({"type": "chat", "text": "hello"}));
    assert_eq!(guest.hear_type("chat")["text"], "hello", "the first line is the first after the welcome");
    assert!(!server.said().contains("canaryguest"));
}

#[test]
fn a_wrong_password_does_not_even_reach_the_lobby() {
    let server = Server::start("");
    let (mut ada, _) = open(&server, &json!({"lobby": true}));
    for wrong in ["", "guess"] {
        assert_eq!(join(&server, wrong).1, refused("not-admitted"));
    }
    assert_eq!(Line::join(&server, "absent", "x", PASSWORD).hear(), Some(refused("not-admitted")));
    ada.say(&json!({"type": "chat", "text": "is anybody there?"}));
    assert_eq!(ada.hear().expect("her own words")["type"], "chat", "nobody knocked");
}

#[test]
fn there_is_nothing_to_do_in_the_lobby_but_to_leave() {
    let server = Server::start("");
    let (mut ada, _) = open(&server, &json!({"lobby": true}));
    for message in [
        json!({"type": "offer", "sdp": Peer::offer(&BOTH, Direction::SendOnly).1, "sources": []}),
        json!({"type": "state", "microphone": true, "camera": true, "screen": true, "hand": true}),
        json!({"type": "chat", "text": "let me in"}),
        json!({"type": "rename", "name": "Ada"}),
    ] {
        let (mut guest, answer) = join(&server, PASSWORD);
        assert_eq!(answer["type"], "waiting");
        guest.say(&message);
        assert_eq!(guest.hear_out(), [refused("bad-message")], "{}", message["type"]);
        assert_eq!(ada.hear_type("knock-over")["type"], "knock-over");
    }
    let (mut guest, _) = join(&server, PASSWORD);
    guest.say(&json!({"type": "leave"}));
    assert_eq!(guest.hear_out(), Vec::<Value>::new());
    ada.hear_type("knock-over");
}

#[test]
fn who_is_turned_away_hears_so() {
    let server = Server::start("");
    let (mut ada, _) = open(&server, &json!({"lobby": true}));
    let (mut guest, _) = join(&server, PASSWORD);
    let id = ada.hear_type("knocked")["participant"]["id"].clone();
    ada.say(&json!({"type": "turn-away", "participants": [id]}));
    assert_eq!(guest.hear_out(), [refused("turned-away")]);
}

#[test]
fn another_password_counts_for_newcomers_and_for_those_who_wait() {
    let server = Server::start("");
    let (mut ada, _) = open(&server, &json!({}));
    let (mut insider, answer) = join(&server, PASSWORD);
    assert_eq!(answer["type"], "welcome");
    ada.say(&json!({"type": "rules", "lobby": true}));
    assert_eq!(insider.hear_type("rules")["lobby"], true);
    let (mut waiter, answer) = join(&server, PASSWORD);
    assert_eq!(answer["type"], "waiting");
    ada.say(&json!({"type": "password", "password": "another one"}));
    ada.hear_type("password-changed");
    assert_eq!(waiter.hear_out(), [refused("not-admitted")]);
    assert_eq!(join(&server, PASSWORD).1, refused("not-admitted"));
    assert_eq!(join(&server, "another one").1["type"], "waiting");
    insider.say(&json!({"type": "chat", "text": "still here"}));
    assert_eq!(insider.hear_type("chat")["text"], "still here");

    ada.say(&json!({"type": "password", "password": ""}));
    ada.say(&json!({"type": "rules", "lobby": false}));
    let open = json!({"type": "rules", "lobby": false, "locked": false, "password": false, "microphone": true,
        "camera": true, "screen": true, "chat": true});
    while ada.hear_type("rules") != open {}
    assert_eq!(join(&server, "").1["type"], "welcome");
}

#[test]
fn a_locked_room_is_locked_for_guests_and_streams_and_not_for_its_organizer() {
    let server = Server::start("");
    let (mut ada, token) = open(&server, &json!({}));
    ada.say(&json!({"type": "rules", "locked": true}));
    ada.hear_type("rules");
    assert_eq!(join(&server, PASSWORD).1, refused("locked"));
    assert_eq!(
        join(&server, "guess").1,
        refused("not-admitted"),
        "only who has the password learns of the lock"
    );
    assert_eq!(whip(&server, &token).error(), (403, "locked".into()));
    enter(&server, &server.sign_in());
    ada.say(&json!({"type": "rules", "locked": false, "lobby": true}));
    ada.hear_type("rules");
    assert_eq!(whip(&server, &token).status, 201, "a program cannot wait");
}

#[test]
fn who_is_removed_is_gone_and_waits_when_they_come_again() {
    let server = Server::start("");
    let (mut ada, token) = open(&server, &json!({}));
    let (mut guest, welcome) = join(&server, PASSWORD);
    ada.say(&json!({"type": "remove", "participant": welcome["participant"]}));
    assert_eq!(guest.hear_type("ended")["reason"], "removed");
    let rest = guest.hear_out();
    assert!(rest.len() == 1 && rest[0]["type"] == "receipt", "{rest:?}");
    assert_eq!(ada.hear_type("left")["participant"], welcome["participant"]);

    let (mut again, answer) = join(&server, PASSWORD);
    assert_eq!(answer["type"], "waiting");
    let id = ada.hear_type("knocked")["participant"]["id"].clone();
    ada.say(&json!({"type": "admit", "participants": [id]}));
    assert_eq!(again.hear_type("welcome")["participant"], id);
    // The organizer comes from the same address.
    enter(&server, &server.sign_in());

    let (mut stream, _) = Peer::enter(&server, "whip", &token, &BOTH);
    let joined = loop {
        let joined = ada.hear_type("joined")["participant"].clone();
        if joined["kind"] == "stream" {
            break joined;
        }
    };
    until("the stream", &mut [&mut stream], |peers| peers[0].is_connected());
    ada.say(&json!({"type": "remove", "participant": joined["id"]}));
    while ada.hear_type("left")["participant"] != joined["id"] {}
    assert_eq!(whip(&server, &token).error(), (401, "not-admitted".into()));
}

#[test]
fn guests_moderate_nothing() {
    let server = Server::start("");
    let (_ada, _) = open(&server, &json!({}));
    let nobody = "00000000000000ff";
    for message in [
        json!({"type": "rules", "lobby": false}),
        json!({"type": "password", "password": "mine"}),
        json!({"type": "admit", "participants": []}),
        json!({"type": "turn-away", "participants": [nobody]}),
        json!({"type": "mute", "source": "microphone"}),
        json!({"type": "block", "participant": nobody, "source": "camera", "blocked": true}),
        json!({"type": "remove", "participant": nobody}),
    ] {
        let (mut guest, _) = join(&server, PASSWORD);
        guest.say(&message);
        assert_eq!(guest.hear_out().pop(), Some(refused("bad-message")), "{}", message["type"]);
    }
    assert_eq!(join(&server, PASSWORD).1["type"], "welcome", "the password is what it was");
}

#[test]
fn of_somebody_who_is_blocked_the_others_get_no_packet_whatever_their_page_says() {
    let server = Server::start("");
    let (mut ada, token) = open(&server, &json!({}));
    let (mut guest, welcome) = join(&server, PASSWORD);
    let id = welcome["participant"].clone();
    let on = json!({"type": "state", "microphone": true, "camera": true, "screen": false, "hand": false});
    let mut publisher = Peer::on_line(&mut guest, &BOTH, Direction::SendOnly);
    guest.say(&on);
    let (mut viewer, _) = Peer::enter(&server, "whep", &token, &BOTH);
    let hears =
        |viewer: &Peer, packets: usize| BOTH.iter().all(|kind: &MediaKind| viewer.heard_on(*kind) > packets);
    until("sound and picture", &mut [&mut publisher, &mut viewer], |peers| hears(peers[1], 10));

    for source in ["microphone", "camera"] {
        ada.say(&json!({"type": "block", "participant": id, "source": source, "blocked": true}));
        assert_eq!(guest.hear_type("silenced")["sources"], json!([source]));
    }
    // A page that does not care.
    guest.say(&on);
    assert_eq!(guest.hear_type("silenced")["sources"], json!(["microphone", "camera"]));
    let withheld = || dropped(&server, "source_withheld");
    until("both are withheld", &mut [&mut publisher, &mut viewer], |_| withheld() > 10.0);
    let before = withheld();
    until("what was on its way has come", &mut [&mut publisher, &mut viewer], |_| withheld() > before + 50.0);
    viewer.heard.clear();
    let (before, forwarded) = (withheld(), server.metric("saal_rtp_forwarded_total"));
    until("they send on", &mut [&mut publisher, &mut viewer], |_| withheld() > before + 50.0);
    assert_eq!(server.metric("saal_rtp_forwarded_total"), forwarded);
    assert_eq!(viewer.heard, []);

    for source in ["microphone", "camera"] {
        ada.say(&json!({"type": "block", "participant": id, "source": source, "blocked": false}));
    }
    let changed = loop {
        let changed = guest.hear_type("changed")["participant"].clone();
        if changed["id"] == id && changed["blocked"] == json!([]) {
            break changed;
        }
    };
    assert_eq!((&changed["microphone"], &changed["camera"]), (&json!(false), &json!(false)), "and off");
    guest.say(&on);
    until("sound and picture", &mut [&mut publisher, &mut viewer], |peers| hears(peers[1], 10));
}

#[test]
fn a_rule_for_guests_holds_for_who_comes_later_and_for_chat() {
    let server = Server::start("");
    let (mut ada, _) = open(&server, &json!({}));
    ada.say(&json!({"type": "rules", "microphone": false, "chat": false}));
    ada.hear_type("rules");
    let (mut guest, welcome) = join(&server, PASSWORD);
    assert_eq!((&welcome["rules"]["microphone"], &welcome["rules"]["camera"]), (&json!(false), &json!(true)));
    guest.say(&json!({"type": "state", "microphone": true, "camera": true, "screen": false, "hand": false}));
    assert_eq!(guest.hear_type("silenced")["sources"], json!(["microphone"]));
    guest.say(&json!({"type": "chat", "text": "unheard"}));
    ada.hear_type("changed");
    ada.say(&json!({"type": "chat", "text": "heard"}));
    assert_eq!(ada.hear_type("chat")["text"], "heard");
    assert_eq!(guest.hear_type("chat")["text"], "heard");
}

#[test]
fn an_organizer_whose_account_is_removed_stays_as_a_guest() {
    let house = House::new();
    let server = house.serve("");
    let cookie = server.sign_in();
    let (mut ada, token) = open(&server, &json!({}));
    let (mut guest, welcome) = join(&server, PASSWORD);
    let guests_id = welcome["participant"].clone();
    house.organizer(&["remove", "anna"], "");
    for line in [&mut ada, &mut guest] {
        let changed = line.hear_type("changed");
        assert_eq!(changed["participant"]["name"], "Ada");
        assert_eq!(changed["participant"]["organizer"], false);
    }
    // What her page has not heard of yet is neither done nor the end of her stay.
    for message in [
        json!({"type": "mute", "source": "microphone"}),
        json!({"type": "rules", "chat": false}),
        json!({"type": "password", "password": "mine"}),
        json!({"type": "block", "participant": guests_id, "source": "camera", "blocked": true}),
        json!({"type": "admit", "participants": []}),
        json!({"type": "turn-away", "participants": []}),
        json!({"type": "remove", "participant": guests_id}),
        json!({"type": "end"}),
        json!({"type": "chat", "text": "I am still here"}),
    ] {
        ada.say(&message);
    }
    assert_eq!(guest.hear().expect("her words")["text"], "I am still here", "nothing else was done");
    assert_eq!(ada.hear_type("chat")["text"], "I am still here");
    assert_eq!(whip(&server, &token).status, 401, "nor does the media token open the room");

    // From another browser that is still signed in it is no room of hers either, nor for a newcomer of that name.
    house.add("anna");
    for cookie in [cookie, server.sign_in()] {
        let mut again = Line::open_as(&server, ROOM, &cookie);
        again.say(&json!({"type": "join", "name": "Ada"}));
        assert_eq!(again.hear_out(), [refused("not-admitted")]);
    }
}

#[test]
fn an_organizer_with_another_password_signs_in_again_and_moderates() {
    let house = House::new();
    let mut server = house.serve("");
    let (mut ada, _) = open(&server, &json!({}));
    let old = server.sign_in();
    let (mut guest, _) = join(&server, PASSWORD);
    house.organizer(&["add", "anna", "--replace", "--password-stdin"], "battery staple\n");
    assert_eq!(ada.hear_type("changed")["participant"]["organizer"], false);
    let mut with_old = Line::open_as(&server, ROOM, &old);
    with_old.say(&json!({"type": "join", "name": "Ada"}));
    assert_eq!(with_old.hear_out(), [refused("not-admitted")]);
    server.password = "battery staple".into();
    let mut again = enter(&server, &server.sign_in());
    again.say(&json!({"type": "rules", "chat": false}));
    assert_eq!(guest.hear_type("rules")["chat"], false);
}
