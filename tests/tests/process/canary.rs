//! What is left of a call: its words, keys, tokens and addresses are looked for where they should not be.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::KeyLog;
use saal_dataplane::remains::{Found, Secret, search};
use saal_tools::random::Random;
use serde_json::{Value, json};

use crate::http::{Line, Wire};
use crate::person::Person;
use crate::server::{SOON, Server};

/// After the last one has left.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Words of one test, which nothing else in the process can be.
pub(crate) struct Words {
    pub(crate) room: String,
    pub(crate) password: String,
    pub(crate) ada: String,
    pub(crate) bob: String,
    pub(crate) chat: String,
    pub(crate) sound: Vec<u8>,
    pub(crate) picture: Vec<u8>,
    pub(crate) addresses: [Ipv4Addr; 2],
}

impl Words {
    pub(crate) fn new(seed: u64) -> Words {
        let mut random = Random::new(seed ^ u64::from(std::process::id()));
        let mut word = |kind: &str| {
            let chars = random.ice_chars(20).replace(['+', '/'], "x");
            format!("{kind}-{}", chars.to_lowercase())
        };
        let (room, password, ada, bob) = (word("room"), word("password"), word("ada"), word("bob"));
        let (chat, sound, picture) = (word("chat"), word("sound"), word("picture"));
        // No zeros, which would make them likely.
        let mut address = || {
            let [a, b, c, ..] = random.number().to_be_bytes();
            Ipv4Addr::new(127, 100 + a % 100, 100 + b % 100, 100 + c % 100)
        };
        let addresses = [address(), address()];
        Words {
            room,
            password,
            ada,
            bob,
            chat,
            sound: sound.into(),
            picture: picture.repeat(20).into(),
            addresses,
        }
    }
}

/// Secrets by what they are.
#[derive(Default)]
struct Watched {
    names: Vec<String>,
    secrets: Vec<Secret>,
}

impl Watched {
    fn add(&mut self, name: impl Into<String>, bytes: impl AsRef<[u8]>) {
        self.names.push(name.into());
        self.secrets.push(Secret::new(bytes.as_ref()));
    }

    /// In the memory of the server: what is there, and where.
    fn found(&self, server: &Server) -> BTreeMap<&str, Vec<Found>> {
        let mut by_name = BTreeMap::<&str, Vec<Found>>::new();
        for found in search(&server.pid().to_string(), &self.secrets).expect("the test's own child") {
            by_name.entry(&self.names[found.secret]).or_default().push(found);
        }
        by_name
    }

    fn missing(&self, server: &Server) -> Vec<&str> {
        let found = self.found(server);
        self.names.iter().map(String::as_str).filter(|name| !found.contains_key(name)).collect()
    }
}

/// A request or a message of which the server has read the first part only, so that what is in it can be seen there.
struct Half {
    carrier: Carrier,
    rest: Vec<u8>,
}

enum Carrier {
    Wire(Wire),
    Line(Box<Line>),
}

impl Carrier {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Carrier::Wire(wire) => wire,
            Carrier::Line(line) => line.wire(),
        }
    }
}

impl Half {
    fn request(wire: Wire, head: &str) -> Half {
        Half::send(Carrier::Wire(wire), head.as_bytes())
    }

    fn message(line: Line, message: &Value) -> Half {
        Half::send(Carrier::Line(Box::new(line)), &frame(&message.to_string()))
    }

    fn send(mut carrier: Carrier, bytes: &[u8]) -> Half {
        let (first, rest) = bytes.split_at(bytes.len() - 2);
        let wire = carrier.wire();
        wire.write_all(first).and_then(|()| wire.flush()).expect("the server reads");
        Half { carrier, rest: rest.to_vec() }
    }

    fn finish(mut self) {
        let wire = self.carrier.wire();
        wire.write_all(&self.rest).and_then(|()| wire.flush()).expect("the server reads");
        let _ = wire.tcp().set_read_timeout(Some(Duration::from_secs(1)));
        // Whatever it answers, if it does.
        let _ = wire.read(&mut [0; 4096]);
    }
}

/// What clients' TLS connections are made secure by, as they come about.
#[derive(Debug, Default)]
struct TlsSecrets(Mutex<Vec<Vec<u8>>>);

impl KeyLog for TlsSecrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"].contains(&label) {
            self.0.lock().expect("nobody panics").push(secret.to_vec());
        }
    }
}

impl TlsSecrets {
    fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

/// A text frame with a mask of zeros, which leaves it readable on its way.
fn frame(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81, 0xFE];
    frame.extend(len.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

pub(crate) fn until(
    what: &str,
    people: &mut [&mut Person],
    mut is_true: impl FnMut(&mut [&mut Person]) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_true(people) {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        people.iter_mut().for_each(|person| person.turn());
    }
}

/// A call of two who hear and see each other.
pub(crate) fn call(server: &Server, words: &Words) -> (Person, Person) {
    let person = |name: &str, address| {
        Person::call(server, address, (&words.room, &words.password, name), (&words.sound, &words.picture))
    };
    let mut ada = person(&words.ada, words.addresses[0]);
    let mut bob = person(&words.bob, words.addresses[1]);
    ada.watch(&bob.id);
    bob.watch(&ada.id);
    until("sound and picture", &mut [&mut ada, &mut bob], |people| {
        people.iter().all(|person| person.has_heard(&words.sound) && person.has_heard(&words.picture))
    });
    (ada, bob)
}

fn nothing_is_left_in_memory(io: &str, encrypted: bool, seed: u64) {
    let more = format!("media.io = \"{io}\"\nmedia.announce = [\"127.0.0.1\"]\n");
    let tls = Arc::new(TlsSecrets::default());
    let server = if encrypted { Server::start_with_tls(&more, tls.clone()) } else { Server::start(&more) };
    let words = Words::new(seed);
    let mut watched = Watched::default();
    for (whose, address) in ["ada's", "bob's"].into_iter().zip(words.addresses) {
        watched.add(format!("{whose} address"), address.octets());
    }
    assert_eq!(
        watched.found(&server),
        BTreeMap::new(),
        "an address that is in memory by chance tells nothing"
    );

    let cookie = server.sign_in();
    let session = cookie.split_once('=').expect("name and value").1.to_owned();
    let room = server.open_room(&cookie, &words.room, &words.password);
    let token = room["media_token"].as_str().expect("a room has one").to_owned();
    let of_organizer = tls.take();
    let (mut ada, mut bob) = call(&server, &words);
    let of_the_call = tls.take();
    assert_eq!(of_the_call.len(), if encrypted { 4 } else { 0 }, "two connections, two directions each");
    assert_eq!(server.metric("saal_participants"), 2.0);

    // What the server holds for as long as the call lasts.
    for (name, bytes) in [
        ("room name", words.room.as_bytes()),
        ("ada's name", words.ada.as_bytes()),
        ("bob's name", words.bob.as_bytes()),
        ("picture", &words.picture),
        ("ada's ufrag", ada.remote.ufrag.as_bytes()),
        ("bob's ufrag", bob.remote.ufrag.as_bytes()),
    ] {
        watched.add(name, bytes);
    }
    // Master keys come first and are forgotten once the session keys are made; salts are kept as numbers.
    for (whose, person) in [("ada's", &ada), ("bob's", &bob)] {
        for nth in [2, 4, 6, 8] {
            watched.add(format!("{whose} session key {nth}"), &person.secure.secrets()[nth]);
        }
    }
    for (nth, secret) in of_the_call.iter().enumerate() {
        watched.add(format!("TLS secret {nth} of the call"), secret);
    }
    let deadline = Instant::now() + SOON;
    while let missing @ [_, ..] = &watched.missing(&server)[..] {
        assert!(Instant::now() < deadline, "not found during the call: {missing:?}");
        [&mut ada, &mut bob].into_iter().for_each(Person::turn);
    }

    // What only passes through is caught in the middle of its message.
    let mut halves = Vec::new();
    let mut passing = Watched::default();
    let other = Ipv4Addr::new(127, 1, 1, 1);
    for (name, word, header) in
        [("session", &session, "Cookie: saal="), ("media token", &token, "Authorization: Bearer ")]
    {
        let head = format!("POST /whip/none HTTP/1.1\r\nHost: x\r\n{header}{word}\r\n\r\n");
        halves.push(Half::request(server.wire_from(other), &head));
        passing.add(name, word);
    }
    let offer = format!("v=0\r\na=ice-pwd:{}\r\na=ice-pwd:{}\r\n", ada.pwd, ada.remote.pwd);
    for (name, word, message) in [
        ("password", &words.password, json!({"type": "join", "name": "x", "password": words.password})),
        ("chat", &words.chat, json!({"type": "chat", "text": words.chat})),
        ("ada's own ICE password", &ada.pwd, json!({"type": "offer", "sdp": offer, "sources": []})),
        ("ICE password for ada", &ada.remote.pwd, json!({"type": "offer", "sdp": offer, "sources": []})),
    ] {
        halves.push(Half::message(Line::open_from(other, &server, &words.room), &message));
        passing.add(name, word);
    }
    let deadline = Instant::now() + SOON;
    while let missing @ [_, ..] = &passing.missing(&server)[..] {
        assert!(Instant::now() < deadline, "not found on its way: {missing:?}");
        [&mut ada, &mut bob].into_iter().for_each(Person::turn);
    }
    halves.into_iter().for_each(Half::finish);
    for (nth, secret) in of_organizer.iter().chain(&tls.take()).enumerate() {
        watched.add(format!("TLS secret {nth} of a request"), secret);
    }
    for (name, word) in
        [("session", &session), ("media token", &token), ("password", &words.password), ("chat", &words.chat)]
    {
        watched.add(name, word);
    }
    for (whose, person) in [("ada's", &ada), ("bob's", &bob)] {
        watched.add(format!("{whose} own ICE password"), &person.pwd);
        watched.add(format!("ICE password for {whose}"), &person.remote.pwd);
        watched.add(format!("{whose} own ufrag"), &person.ufrag);
        watched.add(format!("{whose} id"), &person.id);
        watched.add(format!("{whose} way back"), person.token.as_str().expect("text"));
        for (nth, secret) in person.secure.secrets().iter().enumerate() {
            watched.add(format!("{whose} secret {nth}"), secret);
            // As a number.
            let reversed: Vec<u8> = secret.iter().rev().copied().collect();
            watched.add(format!("{whose} secret {nth}, reversed"), reversed);
        }
    }
    watched.add("sound", &words.sound);
    for (whose, address) in ["ada's", "bob's"].into_iter().zip(words.addresses) {
        watched.add(format!("{whose} address as text"), address.to_string());
    }
    ada.line.say(&json!({"type": "chat", "text": words.chat}));
    assert_eq!(bob.line.hear_type("chat")["text"], words.chat.as_str());
    bob.line.say(&json!({"type": "leave"}));
    bob.line.hear_out();
    ada.line.say(&json!({"type": "leave"}));
    ada.line.hear_out();
    let left = Instant::now();
    drop((ada, bob));
    loop {
        // A search sees each page at its own moment, and takes seconds on a machine that has other work.
        let began = left.elapsed();
        let remains = watched.found(&server);
        if remains.is_empty() {
            return;
        }
        assert!(began < GONE_WITHIN, "{}", told(&server, &remains));
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Where each of them is and what is around it, for whoever has to find out why.
fn told(server: &Server, remains: &BTreeMap<&str, Vec<Found>>) -> String {
    let memory = std::fs::File::open(format!("/proc/{}/mem", server.pid())).expect("the test's own child");
    let around = |found: &Found| {
        let mut bytes = [0; 160];
        // Gone meanwhile, perhaps.
        let _ = memory.read_at(&mut bytes, found.address.saturating_sub(64));
        format!("\n    {:x} {} {}", found.address, found.mapping, bytes.escape_ascii())
    };
    let mut text = String::from("left in memory:\n");
    for (name, places) in remains {
        let list: String = places.iter().take(6).map(around).collect();
        text += &format!("  {name}: {} times{list}\n", places.len());
    }
    text
}

/// Over TLS, as others than this machine are served.
#[test]
fn nothing_of_a_call_is_left_in_memory_with_uring() {
    nothing_is_left_in_memory("uring", true, 1);
}

/// In the clear, as on loopback.
#[test]
fn nothing_of_a_call_is_left_in_memory_with_mio() {
    nothing_is_left_in_memory("mio", false, 2);
}
