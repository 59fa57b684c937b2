//! WHIP and WHEP as str0m speaks them: offers over HTTP, media over real UDP sockets of this machine.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

use crate::http::{Line, Reply, request};
use crate::server::{SOON, Server, wait_for};
use crate::{PASSWORD, ROOM};

const SDP: (&str, &str) = ("Content-Type", "application/sdp");

/// A client of its own UDP socket.
pub(crate) struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    lines: Vec<(MediaKind, Mid)>,
    connected: bool,
    pub(crate) heard: Vec<(Mid, usize)>,
    sent_at: Instant,
    began: Instant,
}

impl Peer {
    pub(crate) fn offer(lines: &[MediaKind], direction: Direction) -> (Peer, String, SdpPendingOffer) {
        let now = Instant::now();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        let local = socket.local_addr().expect("it is bound");
        let mut rtc = Rtc::builder().build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp").expect("a candidate"));
        let mut change = rtc.sdp_api();
        let lines =
            lines.iter().map(|&kind| (kind, change.add_media(kind, direction, None, None, None))).collect();
        let (offer, pending) = change.apply().expect("something has changed");
        let (connected, heard) = (false, Vec::new());
        let peer = Peer { rtc, socket, local, lines, connected, heard, sent_at: now, began: now };
        (peer, offer.to_sdp_string(), pending)
    }

    /// Sends the offer through the door and gives the session's path.
    pub(crate) fn enter(server: &Server, door: &str, token: &str, lines: &[MediaKind]) -> (Peer, String) {
        let direction = if door == "whip" { Direction::SendOnly } else { Direction::RecvOnly };
        let (mut peer, offer, pending) = Peer::offer(lines, direction);
        let reply = post(server, door, ROOM, token, &offer);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (201, Some("application/sdp")),
            "{}",
            reply.body
        );
        peer.accept(pending, &reply.body);
        let location = reply.header("location").expect("a session has a URL").to_owned();
        assert!(location.starts_with(&format!("/{door}/session/")) && location.len() > 64, "{location}");
        (peer, location)
    }

    /// As a page does it: the offer goes over the participant's WebSocket.
    pub(crate) fn on_line(line: &mut Line, lines: &[MediaKind], direction: Direction) -> Peer {
        let (mut peer, offer, pending) = Peer::offer(lines, direction);
        let kinds = ["microphone", "camera"];
        let mids = offer.lines().filter_map(|text| text.strip_prefix("a=mid:"));
        let sources: Vec<Value> = match direction {
            Direction::SendOnly => {
                mids.zip(kinds).map(|(mid, source)| json!({"mid": mid, "source": source})).collect()
            }
            Direction::RecvOnly | Direction::SendRecv | Direction::Inactive => Vec::new(),
        };
        line.say(&json!({"type": "offer", "sdp": offer, "sources": sources}));
        let answer = line.hear_type("answer");
        peer.accept(pending, answer["sdp"].as_str().expect("an answer"));
        peer
    }

    pub(crate) fn accept(&mut self, pending: SdpPendingOffer, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("it fits the offer");
    }

    /// Moves packets for a moment; a publisher speaks and shows something meanwhile.
    fn turn(&mut self) {
        loop {
            match self.rtc.poll_output().expect("str0m is content") {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => {
                    // Candidates of interfaces that loopback cannot reach fail, as they may.
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected)) => {
                    self.connected = false;
                }
                Output::Event(Event::MediaData(data)) => self.heard.push((data.mid, data.data.len())),
                Output::Event(_) => {}
            }
        }
        let now = Instant::now();
        if self.connected && now >= self.sent_at + Duration::from_millis(20) {
            self.sent_at = now;
            self.speak(now);
        }
        let mut buffer = [0; 2000];
        let input = match self.socket.recv_from(&mut buffer) {
            Ok((length, source)) => {
                let contents = buffer[..length].try_into().expect("the server speaks known protocols");
                Input::Receive(
                    Instant::now(),
                    Receive { proto: Protocol::Udp, source, destination: self.local, contents },
                )
            }
            Err(_) => Input::Timeout(Instant::now()),
        };
        self.rtc.handle_input(input).expect("str0m is content");
    }

    fn speak(&mut self, now: Instant) {
        let elapsed = now - self.began;
        for &(kind, mid) in &self.lines.clone() {
            let (codec, payload) = match kind {
                MediaKind::Audio => (Codec::Opus, vec![0xF8, 1, 2, 3, 4, 5, 6, 7]),
                MediaKind::Video => (Codec::Vp8, vp8_keyframe()),
            };
            let Some(writer) = self.rtc.writer(mid) else { continue };
            let Some(pt) = writer.payload_params().find(|p| p.spec().codec == codec).map(|p| p.pt()) else {
                continue;
            };
            let writer = if kind == MediaKind::Audio { writer.audio_level(-20, true) } else { writer };
            writer.write(pt, now, MediaTime::from(elapsed), payload).expect("it was negotiated");
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(crate) fn heard_on(&self, kind: MediaKind) -> usize {
        let mids = || self.lines.iter().filter(|(of, _)| *of == kind).map(|(_, mid)| *mid);
        self.heard.iter().filter(|(mid, _)| mids().any(|own| own == *mid)).count()
    }
}

/// A frame tag, the start code and 320x180, and something to fill a packet (RFC 6386 §9.1).
fn vp8_keyframe() -> Vec<u8> {
    let mut frame = vec![0x10, 0, 0, 0x9D, 0x01, 0x2A, 64, 1, 180, 0];
    frame.resize(600, 0x55);
    frame
}

pub(crate) fn post(server: &Server, door: &str, room: &str, token: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    request(server.http, "POST", &format!("/{door}/{room}"), &[SDP, ("Authorization", &bearer)], body)
}

pub(crate) fn delete(server: &Server, path: &str, token: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    request(server.http, "DELETE", path, &[("Authorization", &bearer)], "")
}

/// Opens a room and gives its media token.
pub(crate) fn open(server: &Server) -> String {
    let room = server.open_room(&server.sign_in(), ROOM, PASSWORD);
    room["media_token"].as_str().expect("a room has one").to_owned()
}

/// All move until it is true.
pub(crate) fn until(what: &str, peers: &mut [&mut Peer], mut is_true: impl FnMut(&[&mut Peer]) -> bool) {
    let deadline = Instant::now() + SOON * 2;
    while !is_true(peers) {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        peers.iter_mut().for_each(|peer| peer.turn());
    }
}

pub(crate) const BOTH: [MediaKind; 2] = [MediaKind::Audio, MediaKind::Video];

#[test]
fn what_a_stream_sends_a_viewer_receives_and_everybody_sees_both() {
    let server = Server::start("");
    let token = open(&server);
    let mut ada = Line::join(&server, ROOM, "Ada", PASSWORD);
    ada.hear_type("welcome");
    let (mut stream, of_stream) = Peer::enter(&server, "whip", &token, &BOTH);
    let joined = ada.hear_type("joined")["participant"].clone();
    assert_eq!((&joined["kind"], &joined["name"]), (&json!("stream"), &json!("1")));
    let changed = ada.hear_type("changed")["participant"].clone();
    assert_eq!(
        (&changed["microphone"], &changed["camera"], &changed["screen"]),
        (&json!(true), &json!(true), &json!(false))
    );
    let many: Vec<MediaKind> = [[MediaKind::Audio; 10], [MediaKind::Video; 10]].concat();
    let (mut viewer, of_viewer) = Peer::enter(&server, "whep", &token, &many);
    assert_eq!(ada.hear_type("joined")["participant"]["kind"], "viewer");
    assert_eq!((server.metric("saal_whip_sessions"), server.metric("saal_whep_sessions")), (1.0, 1.0));

    until("sound and pictures", &mut [&mut stream, &mut viewer], |peers| {
        peers[1].heard_on(MediaKind::Audio) > 20 && peers[1].heard_on(MediaKind::Video) > 20
    });

    // A second camera takes the next free slot, and the first one's end does not move it.
    let (mut second, _) = Peer::enter(&server, "whip", &token, &[MediaKind::Video]);
    assert_eq!(ada.hear_type("joined")["participant"]["name"], "2");
    let in_slots = |viewer: &Peer| {
        let mut mids: Vec<Mid> =
            viewer.heard.iter().filter(|(_, len)| *len > 100).map(|(mid, _)| *mid).collect();
        mids.sort();
        mids.dedup();
        mids
    };
    until("two pictures", &mut [&mut stream, &mut second, &mut viewer], |peers| {
        in_slots(peers[2]).len() == 2
    });
    assert_eq!(delete(&server, &of_stream, &token).status, 200);
    assert_eq!(ada.hear_type("left")["participant"], joined["id"]);
    assert_eq!(delete(&server, &of_stream, &token).error(), (404, "no-session".into()));
    let both = in_slots(&viewer);
    // What was under way when the first one ended is still read.
    let lasts = |viewer: &Peer| {
        let pictures = || viewer.heard.iter().rev().filter(|(_, len)| *len > 100).take(20);
        let slot = pictures().next().map(|(mid, _)| *mid);
        pictures().count() == 20 && pictures().all(|(mid, _)| slot == Some(*mid) && both.contains(mid))
    };
    viewer.heard.clear();
    until("the second picture in its slot", &mut [&mut second, &mut viewer], |peers| lasts(peers[1]));

    assert_eq!(delete(&server, &of_viewer, &token).status, 200);
    wait_for("no viewer", || (server.metric("saal_whep_sessions") == 0.0).then_some(()));
    let said = server.said();
    for secret in ["canary", token.as_str(), &of_stream, "ice-ufrag"] {
        let log = said.lines().filter(|line| !line.starts_with("password: "));
        assert!(log.clone().all(|line| !line.contains(secret)), "the log holds {secret}");
    }
}

#[test]
fn an_absent_room_a_missing_and_a_wrong_token_get_the_same_answer() {
    let server = Server::start("");
    let token = open(&server);
    let (_, offer, _) = Peer::offer(&BOTH, Direction::SendOnly);
    for door in ["whip", "whep"] {
        let path = format!("/{door}/{ROOM}");
        let replies = [
            post(&server, door, ROOM, "guess", &offer),
            post(&server, door, "elsewhere", &token, &offer),
            request(server.http, "POST", &path, &[SDP], &offer),
            request(server.http, "POST", &path, &[SDP, ("Authorization", "Basic Z3Vlc3M6eA==")], &offer),
        ];
        for reply in replies {
            assert_eq!(reply.error(), (401, "not-admitted".into()), "{door}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(server.metric("saal_participants"), 0.0);
    for _ in 0..99 {
        post(&server, "whip", ROOM, "guess", &offer);
    }
    let last = post(&server, "whip", ROOM, "guess", &offer);
    assert_eq!(last.error(), (429, "too-many-attempts".into()));
    assert_eq!(post(&server, "whip", ROOM, &token, &offer).status, 201, "guessing keeps nobody out");
}

#[test]
fn a_session_ends_for_whoever_has_its_url_and_the_token() {
    let server = Server::start("");
    let token = open(&server);
    let (_peer, location) = Peer::enter(&server, "whip", &token, &BOTH);
    assert_eq!(delete(&server, &location, "guess").error(), (401, "not-admitted".into()));
    assert_eq!(request(server.http, "DELETE", &location, &[], "").status, 401);
    assert_eq!(delete(&server, &location.replace("whip", "whep"), &token).status, 404);
    assert_eq!(server.metric("saal_whip_sessions"), 1.0);
    assert_eq!(delete(&server, &location, &token).status, 200);
    wait_for("the room to end with its last participant", || {
        (server.metric("saal_rooms") == 0.0).then_some(())
    });
}

#[test]
fn an_offer_that_cannot_be_served_is_answered_with_the_reason_and_makes_no_participant() {
    let server = Server::start("");
    let token = open(&server);
    let (_, sends, _) = Peer::offer(&BOTH, Direction::SendOnly);
    let bearer = format!("Bearer {token}");
    let (_, receives, _) = Peer::offer(&BOTH, Direction::RecvOnly);
    let foreign = sends.replace("opus/", "speex/").replace("VP8", "V1").replace("VP9", "V2");
    let foreign = foreign.replace("H264", "V3").replace("AV1", "V4").replace("H265", "V5");
    let half = sends.replace("opus/", "speex/");
    for (door, offer, status) in [
        ("whip", "", 400),
        ("whip", "v=1", 400),
        ("whip", &sends.replace("a=group:BUNDLE", "a=group:LS"), 422),
        ("whip", &sends.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1"), 422),
        ("whip", &foreign, 422),
        ("whip", &half, 422),
        ("whip", &receives, 422),
        ("whep", &sends, 422),
        ("whip", &"v=0\r\n".repeat(20_000), 413),
    ] {
        let reply = post(&server, door, ROOM, &token, offer);
        assert_eq!(reply.status, status, "{door} {}", reply.body);
    }
    for kind in ["application/json", "text/plain; x=application/sdp"] {
        let headers = [("Content-Type", kind), ("Authorization", &bearer)];
        assert_eq!(request(server.http, "POST", &format!("/whip/{ROOM}"), &headers, &sends).status, 415);
    }
    assert_eq!(server.metric("saal_participants"), 0.0);
}

#[test]
fn pages_of_other_origins_may_ask_and_methods_without_a_meaning_are_refused() {
    let server = Server::start("");
    let token = open(&server);
    let (_peer, location) = Peer::enter(&server, "whep", &token, &BOTH);
    let path = format!("/whip/{ROOM}");
    for (method, path, status) in [
        ("OPTIONS", path.as_str(), 200),
        ("OPTIONS", &location, 200),
        ("GET", &path, 405),
        ("HEAD", &path, 405),
        ("PUT", &path, 405),
        ("PATCH", &location, 405),
        ("GET", &location, 405),
        ("POST", &path, 401),
        ("POST", "/whip/a/b/c", 404),
    ] {
        let reply = request(server.http, method, path, &[("Origin", "https://player.example")], "");
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{method} {path}");
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn a_full_room_says_when_to_come_again() {
    let server = Server::start("rooms.participants_max = 1\n");
    let token = open(&server);
    let (_peer, _) = Peer::enter(&server, "whip", &token, &BOTH);
    let (_, offer, _) = Peer::offer(&BOTH, Direction::SendOnly);
    let reply = post(&server, "whip", ROOM, &token, &offer);
    assert_eq!((reply.error(), reply.header("retry-after")), ((503, "full".into()), Some("10")));
    assert_eq!(server.metric("saal_whip_sessions"), 1.0);
}

#[test]
fn the_rooms_end_ends_its_sessions_and_their_token() {
    let server = Server::start("");
    let cookie = server.sign_in();
    let room: Value = server.open_room(&cookie, ROOM, PASSWORD);
    let token = room["media_token"].as_str().expect("a room has one").to_owned();
    let (_stream, location) = Peer::enter(&server, "whip", &token, &BOTH);
    let (_viewer, _) = Peer::enter(&server, "whep", &token, &BOTH);
    assert_eq!(server.own("DELETE", &format!("/api/v1/rooms/{ROOM}"), &cookie, "").status, 204);
    wait_for("no session", || {
        (server.metric("saal_whip_sessions") + server.metric("saal_whep_sessions") == 0.0).then_some(())
    });
    assert_eq!(delete(&server, &location, &token).status, 404);
    server.open_room(&cookie, ROOM, PASSWORD);
    let (_, offer, _) = Peer::offer(&BOTH, Direction::SendOnly);
    assert_eq!(post(&server, "whip", ROOM, &token, &offer).status, 401, "another room has another token");
}

#[test]
fn a_stream_that_falls_silent_is_gone() {
    let server = Server::start("media.consent_seconds = 5\n");
    let token = open(&server);
    let mut ada = Line::join(&server, ROOM, "Ada", PASSWORD);
    ada.hear_type("welcome");
    let (mut stream, location) = Peer::enter(&server, "whip", &token, &BOTH);
    let joined = ada.hear_type("joined")["participant"]["id"].clone();
    until("a connection", &mut [&mut stream], |peers| peers[0].connected);
    assert_eq!(ada.hear_type("left")["participant"], joined);
    assert_eq!(delete(&server, &location, &token).status, 404);
    assert_eq!(server.metric("saal_whip_sessions"), 0.0);
}
