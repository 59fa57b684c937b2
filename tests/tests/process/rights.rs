//! What participants may do about their own data, as a client of the WebSocket meets it.

use serde_json::{Value, json};
use str0m::media::{Direction, MediaKind};

use crate::http::{Line, get};
use crate::server::{Server, wait_for};
use crate::traces::{House, day};
use crate::whip::{BOTH, Peer, open, until};
use crate::{PASSWORD, ROOM};

/// Somebody who has come in, and their id.
fn join(server: &Server, name: &str) -> (Line, Value) {
    let mut line = Line::join(server, ROOM, name, PASSWORD);
    let id = line.hear_type("welcome")["participant"].clone();
    (line, id)
}

/// Negotiates a microphone and a camera, both on, for somebody who has joined.
fn publish(line: &mut Line) -> Peer {
    let (mut peer, sdp, pending) = Peer::offer(&BOTH, Direction::SendOnly);
    let mids = sdp.lines().filter_map(|text| text.strip_prefix("a=mid:"));
    let sources: Vec<Value> = mids
        .zip(["microphone", "camera"])
        .map(|(mid, source)| json!({"mid": mid, "source": source}))
        .collect();
    line.say(&json!({"type": "offer", "sdp": sdp, "sources": sources}));
    let answer = line.hear_type("answer");
    peer.accept(pending, answer["sdp"].as_str().expect("a description"));
    line.say(&json!({"type": "state", "microphone": true, "camera": true, "screen": false, "hand": false}));
    peer
}

fn my_data(line: &mut Line) -> Value {
    line.say(&json!({"type": "my-data"}));
    line.hear_type("my-data")["data"].clone()
}

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

#[test]
fn everybody_gets_all_that_is_held_on_them_and_nothing_on_others() {
    let server = Server::start("");
    open(&server);
    let (mut ada, id) = join(&server, "Ada");
    let (mut bob, bobs) = join(&server, "Bob");
    ada.say(&json!({"type": "chat", "text": "hello"}));
    ada.say(&json!({"type": "rename", "name": "Ada L."}));
    let data = my_data(&mut ada);
    let all = [
        "blocked",
        "chat_lines_allowed",
        "chat_lines_relayed",
        "connection",
        "consents",
        "joined_at",
        "kind",
        "name",
        "objections",
        "organizer",
        "participant",
        "paused",
        "speaking",
        "switched_on",
    ];
    assert_eq!(fields(&data), all, "docs/protocol.md has these and no others");
    assert_eq!((&data["participant"], &data["name"]), (&id, &json!("Ada L.")));
    assert_eq!((&data["chat_lines_relayed"], &data["consents"]), (&json!(1), &json!([])));
    assert_eq!(data["connection"], Value::Null, "there was no offer");
    assert!(data["joined_at"].as_str().is_some_and(|at| at.len() == 20 && at.ends_with('Z')));

    publish(&mut ada);
    ada.say(&json!({"type": "object", "speaker_detection": true}));
    let data = my_data(&mut ada);
    let all = [
        "certificate_sha256",
        "cname",
        "ice_ufrag",
        "messages_allowed",
        "offers",
        "offers_allowed",
        "slots",
        "view",
    ];
    assert_eq!(fields(&data["connection"]), all);
    assert_eq!(data["objections"], json!({"speaker_detection": true, "quality": false}));
    ada.say(&json!({"type": "object", "quality": true}));
    assert_eq!(my_data(&mut ada)["objections"], json!({"speaker_detection": true, "quality": true}));
    assert_eq!(
        (&data["switched_on"]["microphone"], &data["switched_on"]["hand"]),
        (&json!(true), &json!(false))
    );
    let text = data.to_string();
    for foreign in ["Bob", bobs.as_str().expect("an id"), "127.77.66.55"] {
        assert!(!text.contains(foreign), "{foreign} in {text}");
    }
    assert_eq!(my_data(&mut bob)["name"], "Bob");
}

#[test]
fn chat_lines_are_taken_back_by_their_author_alone_and_without_their_words() {
    let server = Server::start("");
    open(&server);
    let (mut ada, id) = join(&server, "Ada");
    let (mut bob, _) = join(&server, "Bob");
    for text in ["one", "two"] {
        ada.say(&json!({"type": "chat", "text": text}));
    }
    assert_eq!([1, 2].map(|_| bob.hear_type("chat")["line"].clone()), [json!(1), json!(2)]);
    bob.say(&json!({"type": "delete-chat", "line": 1}));
    bob.say(&json!({"type": "delete-chat"}));
    ada.say(&json!({"type": "delete-chat", "line": 3}));
    ada.say(&json!({"type": "delete-chat", "line": 2}));
    let deleted = bob.hear_type("chat-deleted");
    assert_eq!(deleted, json!({"type": "chat-deleted", "from": id, "line": 2}), "the first that counts");
    ada.say(&json!({"type": "delete-chat"}));
    assert_eq!(bob.hear_type("chat-deleted"), json!({"type": "chat-deleted", "from": id}));
}

#[test]
fn of_somebody_who_pauses_nobody_gets_a_packet_or_a_word_until_they_resume() {
    let server = Server::start("");
    let token = open(&server);
    let (mut ada, id) = join(&server, "Ada");
    let (mut bob, _) = join(&server, "Bob");
    let mut sends = publish(&mut ada);
    let many = [[MediaKind::Audio; 3], [MediaKind::Video; 3]].concat();
    let (mut viewer, _) = Peer::enter(&server, "whep", &token, &many);
    let both = |peer: &Peer| (peer.heard_on(MediaKind::Audio), peer.heard_on(MediaKind::Video));
    until("sound and picture", &mut [&mut sends, &mut viewer], |peers| {
        both(peers[1]).0 > 20 && both(peers[1]).1 > 20
    });

    ada.say(&json!({"type": "pause", "on": true}));
    let paused = |message: &Value, on: bool| {
        let person = &message["participant"];
        message["type"] == "changed" && person["id"] == id && person["paused"] == on
    };
    while !paused(&bob.hear_type("changed"), true) {}
    // What was under way has arrived when packets of after it have been thrown away.
    let withheld = || -> f64 {
        let metrics = get(server.admin, "/metrics").body;
        let lines = metrics.lines().filter(|line| line.contains("reason=\"source_withheld\""));
        lines.filter_map(|line| line.split(' ').next_back()?.parse::<f64>().ok()).sum()
    };
    let more = |than: f64| move |now: f64| now > than + 30.0;
    let enough = more(withheld());
    until("packets withheld", &mut [&mut sends, &mut viewer], |_| enough(withheld()));
    let before = both(&viewer);
    let enough = more(withheld());
    until("more packets withheld", &mut [&mut sends, &mut viewer], |_| enough(withheld()));
    assert_eq!(both(&viewer), before, "the server gets packets and forwards none");
    ada.say(&json!({"type": "chat", "text": "unheard"}));
    assert_eq!(my_data(&mut ada)["paused"], true);
    assert!(bob.hear_at_once().iter().all(|message| message["type"] != "chat"));

    ada.say(&json!({"type": "pause", "on": false}));
    while !paused(&bob.hear_type("changed"), false) {}
    until("sound and picture again", &mut [&mut sends, &mut viewer], |peers| {
        both(peers[1]).0 > before.0 + 20 && both(peers[1]).1 > before.1 + 20
    });
}

#[test]
fn who_objects_to_speaker_detection_is_heard_and_never_among_the_speakers() {
    let server = Server::start("");
    let token = open(&server);
    let (mut ada, id) = join(&server, "Ada");
    let (mut bob, bobs) = join(&server, "Bob");
    ada.say(&json!({"type": "object", "speaker_detection": true}));
    let mut of_ada = publish(&mut ada);
    let (mut viewer, _) = Peer::enter(&server, "whep", &token, &[MediaKind::Audio]);
    until("Ada's voice", &mut [&mut of_ada, &mut viewer], |peers| peers[1].heard_on(MediaKind::Audio) > 50);
    let mut of_bob = publish(&mut bob);
    let mut lists: Vec<Value> = Vec::new();
    until("Bob among the speakers", &mut [&mut of_ada, &mut of_bob, &mut viewer], |_| {
        let speakers = ada.hear_at_once().into_iter().filter(|message| message["type"] == "speakers");
        lists.extend(speakers.map(|message| message["participants"].clone()));
        lists.last() == Some(&json!([bobs]))
    });
    let names_ada = |list: &Value| list.as_array().is_some_and(|ids| ids.contains(&id));
    assert!(!lists.iter().any(names_ada), "{lists:?}");

    ada.say(&json!({"type": "object", "speaker_detection": false}));
    until("Ada among the speakers again", &mut [&mut of_ada, &mut of_bob, &mut viewer], |_| {
        let heard = bob.hear_at_once();
        heard.iter().any(|message| message["type"] == "speakers" && names_ada(&message["participants"]))
    });
}

/// The receipt at the end of what somebody hears, as the server signed it.
fn receipt(line: &mut Line) -> Value {
    let heard = line.hear_out();
    let last = heard.last().expect("a last word");
    assert_eq!(last["type"], "receipt", "{heard:?}");
    assert!(last["signature"].as_str().is_some_and(|signature| signature.len() == 128), "{last}");
    serde_json::from_str(last["receipt"].as_str().expect("text")).expect("JSON")
}

#[test]
fn whoever_leaves_gets_a_receipt_when_both_planes_have_erased_them() {
    let server = Server::start("");
    open(&server);
    let (mut ada, id) = join(&server, "Adacanary");
    let (mut bob, _) = join(&server, "Bob");
    publish(&mut ada);
    ada.say(&json!({"type": "chat", "text": "canarychat"}));
    ada.say(&json!({"type": "leave"}));
    let receipt_of_ada = receipt(&mut ada);
    let erased =
        json!({"names": 1, "states": 1, "rate_counters": 3, "media_connections": 1, "chat_lines": 0});
    assert_eq!((&receipt_of_ada["erased"], &receipt_of_ada["chat_lines_relayed"]), (&erased, &json!(1)));
    let text = receipt_of_ada.to_string();
    for personal in ["canary", ROOM, id.as_str().expect("an id")] {
        assert!(!text.contains(personal), "{personal} in {text}");
    }
    bob.say(&json!({"type": "leave"}));
    assert_eq!(receipt(&mut bob)["erased"]["media_connections"], 0, "he never offered any");
    wait_for("an empty house", || (server.metric("saal_participants") == 0.0).then_some(()));
}

#[test]
fn the_end_of_the_room_gives_everybody_their_receipt() {
    let server = Server::start("");
    open(&server);
    let (mut ada, _) = join(&server, "Ada");
    publish(&mut ada);
    let path = format!("/api/v1/rooms/{ROOM}");
    assert_eq!(server.own("DELETE", &path, &server.sign_in(), "").status, 204);
    assert_eq!(ada.hear_type("ended")["reason"], "by-organizer");
    assert_eq!(receipt(&mut ada)["erased"]["media_connections"], 1);
}

#[test]
fn the_key_of_receipts_is_there_for_everybody_and_another_after_a_restart() {
    let key = |server: &Server| {
        let answer = get(server.http, "/api/v1/receipt-key").json();
        assert_eq!(answer["algorithm"], "Ed25519");
        answer["public_key"].as_str().expect("hex").to_owned()
    };
    let server = Server::start("");
    let first = key(&server);
    assert_eq!((first.len(), key(&server)), (64, first.clone()));
    assert_ne!(key(&Server::start("")), first);
}

#[test]
fn organizers_see_what_is_held_on_them_and_delete_their_account_with_its_rooms() {
    let server = Server::start("");
    assert_eq!(get(server.http, "/api/v1/account").error(), (401, "sign-in".into()));
    let delete = |cookie: &str, password: &str| {
        server.own("DELETE", "/api/v1/account", cookie, &json!({ "password": password }).to_string())
    };
    assert_eq!(delete("", &server.password).error(), (401, "sign-in".into()));
    let (here, elsewhere) = (server.sign_in(), server.sign_in());
    server.open_room(&here, ROOM, PASSWORD);
    let (mut ada, _) = join(&server, "Ada");
    let own = server.own("GET", "/api/v1/account", &here, "").json();
    assert_eq!(fields(&own), ["account", "rooms", "sessions", "sign_ins"]);
    let room = json!({"name": ROOM, "participants": 1});
    assert_eq!((&own["account"], &own["rooms"]), (&json!(server.account), &json!([room])));
    let ends = |session: &Value| session["ends_at"].as_str().is_some_and(|at| at.ends_with('Z'));
    let sessions = own["sessions"].as_array().expect("a list");
    assert!(sessions.len() == 2 && sessions.iter().all(ends), "here and elsewhere: {own}");
    assert_eq!(own["sign_ins"], Value::Null, "of a demo account none are written down");

    assert_eq!(delete(&here, "guess").error(), (401, "wrong-credentials".into()));
    assert_eq!(server.own("GET", "/api/v1/account", &here, "").status, 200, "nothing has happened");
    let done = delete(&here, &server.password);
    assert_eq!(done.status, 204);
    assert!(done.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(ada.hear_type("ended")["reason"], "by-organizer");
    for cookie in [&here, &elsewhere] {
        assert_eq!(server.own("GET", "/api/v1/account", cookie, "").status, 401, "every session is over");
    }
    let credentials = json!({"account": server.account, "password": server.password});
    assert_eq!(server.post("/api/v1/login", "", &credentials).status, 401);
    assert_eq!(server.metric("saal_rooms"), 0.0);
}

#[test]
fn organizers_read_their_own_sign_ins_as_they_are_held_and_nobody_elses() {
    let house = House::new();
    let server = house.serve("");
    house.add("bert");
    let attempt = |account: &str, password: &str| {
        server.post("/api/v1/login", "", &json!({"account": account, "password": password})).status
    };
    assert_eq!(attempt("anna", "guess"), 401);
    assert_eq!(attempt("bert", "guess"), 401);
    assert_eq!(attempt("nobody", "guess"), 401);
    let cookie = server.sign_in();
    let own = server.own("GET", "/api/v1/account", &cookie, "").json();
    let lines = own["sign_ins"].as_array().expect("a list");
    let results: Vec<&Value> = lines.iter().map(|line| &line["result"]).collect();
    assert_eq!(results, ["wrong-password", "ok"], "{own}");
    let today = day("now");
    for line in lines {
        assert_eq!(fields(line), ["at", "result"], "and no address");
        let at = line["at"].as_str().expect("text");
        assert!(at.len() == 20 && (at.starts_with(&today) || at.starts_with(&day("now"))), "{at}");
    }
    // They are what the journal says, word for word.
    let journal = house.directory.path("state/journal");
    let written: String = std::fs::read_dir(journal)
        .expect("it is ours")
        .map(|file| std::fs::read_to_string(file.expect("it is ours").path()).expect("text"))
        .collect();
    for line in lines {
        let (at, result) = (line["at"].as_str().expect("text"), line["result"].as_str().expect("text"));
        assert!(written.contains(&format!("{at} account=anna result={result}\n")), "{written}");
    }
    // Where none are kept, none are claimed.
    drop(server);
    let server = house.serve("organizers.journal_days = 0\n");
    let own = server.own("GET", "/api/v1/account", &server.sign_in(), "").json();
    assert_eq!(own["sign_ins"], Value::Null);
}
