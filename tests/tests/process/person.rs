//! Somebody in a call, from an address of their own: WebSocket, ICE, DTLS, SRTP, and words that can be looked for in what
//! they send. The keys are known, which no browser would tell.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use saal_tools::client::secure::{Certificate, DtlsVersion, Phase, Secure};
use saal_tools::client::stun::{Answer, Check, read_answer};
use saal_tools::load::peer::{OPUS, Remote, VP8};
use saal_tools::load::publisher::Stream;
use saal_tools::load::scenario::Layer;
use saal_tools::load::sdp::{Offer, extension, read_answer as read_sdp};
use saal_tools::random::Random;
use serde_json::json;
use webrtc_util::marshal::Marshal;

use crate::http::Line;
use crate::server::Server;

pub(crate) struct Person {
    pub(crate) line: Line,
    pub(crate) id: String,
    /// Brings them back.
    pub(crate) token: serde_json::Value,
    pub(crate) remote: Remote,
    /// Of this person's offer. The server sends no checks and has no use for the second.
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) secure: Secure,
    pub(crate) socket: UdpSocket,
    /// Of others, in the clear.
    pub(crate) heard: Vec<Vec<u8>>,
    /// Sealed, as they were sent; the last of them.
    pub(crate) last_sent: Vec<u8>,
    slot: String,
    streams: Vec<Stream>,
    sound: Vec<u8>,
    picture: Vec<u8>,
    seq: u16,
    transaction: u64,
    answered: bool,
    next_check: Instant,
    next_packet: Instant,
}

const CHECK_EVERY: Duration = Duration::from_millis(50);
const PACKET_EVERY: Duration = Duration::from_millis(20);

impl Person {
    /// Joins, offers a microphone, a camera and slots for one of each, and switches both on.
    pub(crate) fn call(
        server: &Server,
        address: Ipv4Addr,
        (room, password, name): (&str, &str, &str),
        (sound, picture): (&[u8], &[u8]),
    ) -> Person {
        let mut random = Random::new(u64::from(u32::from(address)));
        let mut line = Line::open_from(address, server, room);
        line.say(&json!({"type": "join", "name": name, "password": password}));
        let welcome = line.hear_type("welcome");
        let id = welcome["participant"].as_str().expect("text").to_owned();
        let certificate = Certificate::generate();
        let (ufrag, pwd) = (random.ice_chars(8), random.ice_chars(24));
        let layer = Layer { height: 180, packets: 1, bytes: 100, vary_percent: 0 };
        let mut streams = vec![
            Stream::new(0, OPUS, None, 100, PACKET_EVERY, &mut random),
            Stream::new(1, VP8, Some(layer), 0, PACKET_EVERY, &mut random),
        ];
        for index in 0..streams.len() {
            streams[index].extension = extension(&streams, &streams[index], 20);
        }
        let (fingerprint, audio_slots, video_slots) = (certificate.fingerprint, 1, 1);
        let offer =
            Offer { ufrag: &ufrag, pwd: &pwd, fingerprint, streams: &streams, audio_slots, video_slots };
        let (sdp, sources, slots) = offer.write();
        let sources: Vec<_> =
            sources.iter().map(|(mid, source)| json!({"mid": mid, "source": source})).collect();
        line.say(&json!({"type": "offer", "sdp": sdp, "sources": sources}));
        let answer = line.hear_type("answer");
        let answer = read_sdp(answer["sdp"].as_str().expect("text")).expect("all that is needed");
        let on = json!({"type": "state", "microphone": true, "camera": true, "screen": false, "hand": false});
        line.say(&on);
        let socket = UdpSocket::bind((address, 0)).expect("all of 127.0.0.0/8 is ours");
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, answer.server.port()));
        socket.connect(server).expect("an address of this machine");
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
        let now = Instant::now();
        Person {
            line,
            id,
            token: welcome["resume"].clone(),
            slot: slots.into_iter().next().expect("one was offered"),
            secure: Secure::new(&certificate, answer.remote.fingerprint, DtlsVersion::Auto, true, now),
            remote: answer.remote,
            ufrag,
            pwd,
            socket,
            heard: Vec::new(),
            last_sent: Vec::new(),
            streams,
            sound: [&[0xF8], sound].concat(),
            // Descriptor of a frame's first packet, frame tag, start code and 320x180 (RFC 7741 §4.2, RFC 6386 §9.1).
            picture: [&[0x10, 0x10, 0, 0, 0x9D, 0x01, 0x2A, 64, 1, 180, 0], picture].concat(),
            seq: 1000,
            transaction: 0,
            answered: false,
            next_check: now,
            next_packet: now,
        }
    }

    /// Asks for the camera of somebody.
    pub(crate) fn watch(&mut self, other: &str) {
        let slot = json!({"slot": self.slot, "participant": other, "source": "camera", "height": 180});
        self.line.say(&json!({"type": "view", "slots": [slot]}));
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.secure.phase() == Phase::Connected && self.secure.has_keys()
    }

    pub(crate) fn has_heard(&self, words: &[u8]) -> bool {
        self.heard.iter().any(|packet| packet.windows(words.len()).any(|bytes| bytes == words))
    }

    pub(crate) fn check(&mut self) -> Check {
        self.transaction += 1;
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.transaction.to_be_bytes());
        Check::new(transaction, format!("{}:{}", self.remote.ufrag, self.ufrag), self.remote.pwd.clone())
    }

    /// Sends what is due and reads what has come.
    pub(crate) fn turn(&mut self) {
        let now = Instant::now();
        let mut out = Vec::new();
        if self.next_check <= now {
            self.next_check = now + CHECK_EVERY;
            out.push(self.check().write());
        }
        if self.answered && self.secure.next_timeout().is_none_or(|at| at <= now) {
            self.secure.on_timeout(now, &mut out);
        }
        if self.is_connected() && self.next_packet <= now {
            self.next_packet = now + PACKET_EVERY;
            self.seq += 1;
            for index in 0..self.streams.len() {
                let packet = self.packet(index);
                let sealed = self.secure.seal_rtp(&packet).expect("there are keys");
                self.last_sent.clone_from(&sealed);
                out.push(sealed);
            }
        }
        let mut buffer = [0; 2000];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            match &buffer[..len] {
                datagram @ [0..=3, ..] => {
                    let answer = read_answer(datagram, &self.remote.pwd);
                    self.answered |= matches!(answer, Some((_, Answer::Success)));
                }
                datagram @ [20..=63, ..] => self.secure.on_dtls(now, datagram, &mut out),
                [128..=191, 192..=223, ..] => {}
                datagram => self.heard.extend(self.secure.open_rtp(datagram)),
            }
        }
        for datagram in out {
            // Nobody listens there once the server is gone.
            let _ = self.socket.send(&datagram);
        }
    }

    fn packet(&self, index: usize) -> Vec<u8> {
        let stream = &self.streams[index];
        let header = rtp::header::Header {
            version: 2,
            marker: true,
            payload_type: stream.pt,
            sequence_number: self.seq,
            timestamp: u32::from(self.seq) * stream.clock_rate_hz / 50,
            ssrc: stream.ssrc,
            ..Default::default()
        };
        let plain = header.marshal().expect("a header without extensions");
        let mut packet = plain.to_vec();
        if !stream.extension.is_empty() {
            packet[0] |= 0x10;
            packet.extend(&stream.extension);
        }
        packet.extend(if stream.video.is_some() { &self.picture } else { &self.sound });
        packet
    }
}
