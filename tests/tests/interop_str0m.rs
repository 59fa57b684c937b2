//! An independent WebRTC stack joins: str0m speaks ICE, DTLS, SRTP, RTX and RTCP with the server and exchanges sound
//! and pictures with a simulated participant.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_dataplane::id::{self, ParticipantId, RoomId, SlotIndex, SourceKind};
use saal_dataplane::link::{Command, MediaSpec, SlotSpec, SourceSpec, Wish};
use saal_dataplane::sfu::transport::TransportSpec;
use saal_tests::client::payload::{self, Stamp, Vp8};
use saal_tests::client::plan::{Dialect, Plan};
use saal_tests::client::slot::Slot;
use saal_tests::world::{Stranger, Who, World, each_backend};
use str0m::crypto::Fingerprint;
use str0m::media::{KeyframeRequestKind, MediaData, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};

const MICROPHONE: (&str, u32) = ("mic", 1001);
const CAMERA: (&str, u32, u32) = ("cam", 1002, 1003);
const AUDIO_SLOT: &str = "a0";
const VIDEO_SLOT: &str = "v0";

/// A str0m participant. In RTP mode it sends and records packets; otherwise it puts frames together.
struct Peer {
    rtc: Rtc,
    stranger: Stranger,
    room: RoomId,
    id: ParticipantId,
    media: MediaSpec,
    slots: Vec<Slot>,
    frames: Vec<MediaData>,
    connected: bool,
    keyframe_wanted: bool,
    keyframe_requests: u32,
    frame: u32,
    seq: u64,
    epoch: Instant,
    next_frame: Instant,
}

/// Where str0m believes its socket to be; the server must not care.
fn local() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 7], 7))
}

impl Peer {
    fn join(world: &mut World, room: RoomId, rtp_mode: bool) -> Peer {
        let now = world.now();
        let mut rtc = Rtc::builder().set_rtp_mode(rtp_mode).set_stats_interval(None).build(now);
        let id = ParticipantId(0x57_0000 + world.clients.len() as u64 + u64::from(rtp_mode));
        let (audio, video, rtx) = (world.ssrc(), world.ssrc(), world.ssrc());
        let media = media_spec(audio, video, rtx);
        let ice = world.ice_credentials();

        let candidate = Candidate::host(local(), "udp").unwrap();
        rtc.add_local_candidate(candidate);
        rtc.add_remote_candidate(Candidate::host(world.server(), "udp").unwrap());
        let mut direct = rtc.direct_api();
        direct.set_ice_controlling(true);
        let remote = IceCreds { ufrag: ice.ufrag.clone(), pass: ice.pwd.clone() };
        direct.set_remote_ice_credentials(remote);
        direct.set_remote_fingerprint(Fingerprint {
            hash_func: "sha-256".into(),
            bytes: world.fingerprint().to_vec(),
        });
        direct.start_dtls(true).unwrap();
        direct.enable_twcc_feedback();
        for (mid, kind) in [(MICROPHONE.0, MediaKind::Audio), (CAMERA.0, MediaKind::Video)] {
            direct.declare_media(mid.into(), kind);
        }
        direct.declare_stream_tx(MICROPHONE.1.into(), None, MICROPHONE.0.into(), None);
        direct.declare_stream_tx(CAMERA.1.into(), Some(CAMERA.2.into()), CAMERA.0.into(), None);
        for (mid, kind, ssrc, rtx) in
            [(AUDIO_SLOT, MediaKind::Audio, audio, None), (VIDEO_SLOT, MediaKind::Video, video, Some(rtx))]
        {
            let mid: Mid = mid.into();
            direct.declare_media(mid, kind);
            direct.expect_stream_rx(ssrc.0.into(), rtx.map(|rtx| rtx.0.into()), mid, None);
        }
        let credentials = direct.local_ice_credentials();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&direct.local_dtls_fingerprint().bytes);
        let transport = TransportSpec { local: ice, remote_ufrag: credentials.ufrag, fingerprint };
        world.command(Command::Join { room, participant: id, transport });
        world.command(Command::Negotiate { room, participant: id, media: media.clone() });
        for source in [Microphone, Camera] {
            world.command(Command::Switch { room, participant: id, source, on: true });
        }
        let dialect = Dialect::chromium();
        let slots = media
            .slots
            .iter()
            .map(|slot| Slot::new(slot.kind, slot.mid, slot.ssrc, slot.rtx_ssrc, &dialect))
            .collect();
        Peer {
            rtc,
            stranger: world.stranger(),
            room,
            id,
            media,
            slots,
            frames: Vec::new(),
            connected: false,
            keyframe_wanted: true,
            keyframe_requests: 0,
            frame: 0,
            seq: 1_000,
            epoch: now,
            next_frame: now,
        }
    }

    fn view(&self, world: &mut World, from: ParticipantId) {
        let slot = self.media.slots.iter().position(|slot| slot.kind == id::MediaKind::Video).unwrap();
        let wish = Wish { slot: SlotIndex(slot as u16), from, source: Camera, height: 720 };
        world.command(Command::View { room: self.room, participant: self.id, wishes: vec![wish] });
    }

    /// Moves datagrams, timers and events at this moment.
    fn pump(&mut self, world: &mut World) {
        let now = world.now();
        for datagram in world.received_by(&mut self.stranger) {
            let contents = datagram.as_slice().try_into().unwrap();
            let receive =
                Receive { proto: Protocol::Udp, source: world.server(), destination: local(), contents };
            self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
            self.drain(world, now);
        }
        if self.connected && self.next_frame <= now {
            self.next_frame += Duration::from_millis(40);
            self.capture(now);
        }
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(world, now);
    }

    fn drain(&mut self, world: &mut World, now: Instant) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) if at > now => return,
                Output::Timeout(_) => self.rtc.handle_input(Input::Timeout(now)).unwrap(),
                Output::Transmit(transmit) => world.send_as(&self.stranger, &transmit.contents),
                Output::Event(event) => self.on_event(now, event),
            }
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::KeyframeRequest(request) => {
                assert_eq!(request.kind, KeyframeRequestKind::Pli);
                self.keyframe_requests += 1;
                self.keyframe_wanted = true;
            }
            Event::RtpPacket(packet) => {
                let header = rtp::header::Header {
                    version: 2,
                    marker: packet.header.marker,
                    payload_type: *packet.header.payload_type,
                    sequence_number: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    ssrc: *packet.header.ssrc,
                    ..Default::default()
                };
                let slot =
                    self.slots.iter_mut().find(|slot| slot.spec.ssrc.0 == header.ssrc).expect("a slot");
                slot.on_rtp(now, rtp::packet::Packet { header, payload: packet.payload.to_vec().into() })
                    .unwrap();
            }
            Event::MediaData(frame) => self.frames.push(frame),
            _ => {}
        }
    }

    /// A frame of picture and sound.
    fn capture(&mut self, now: Instant) {
        self.frame += 1;
        let captured_us = now.duration_since(self.epoch).as_micros() as u64;
        let stamp = |kind, part, parts| Stamp {
            publisher: self.id,
            kind,
            layer: 0,
            part,
            parts,
            frame: self.frame,
            captured_us,
        };
        let sound = payload::opus(&stamp(Microphone, 0, 1), 80);
        let vp8 = Vp8 {
            keyframe: std::mem::take(&mut self.keyframe_wanted),
            picture_id: self.frame as u16 & 0x7FFF,
            tl0: self.frame as u8,
            height: 360,
        };
        let picture = [0, 1].map(|part| payload::vp8(&vp8, &stamp(Camera, part, 2), 900));
        let mut direct = self.rtc.direct_api();
        let levels =
            ExtensionValues { audio_level: Some(-30), voice_activity: Some(true), ..Default::default() };
        let dialect = Dialect::chromium();
        let ticks = (captured_us * 48 / 1000) as u32;
        let write = RtpWrite::new(dialect.opus.into(), u64::from(self.frame).into(), ticks, now, sound)
            .ext_vals(levels);
        direct.stream_tx(&MICROPHONE.1.into()).unwrap().write_rtp(write);
        for (part, payload) in picture.into_iter().enumerate() {
            self.seq += 1;
            let ticks = (captured_us * 90 / 1000) as u32;
            let write = RtpWrite::new(dialect.vp8.into(), self.seq.into(), ticks, now, payload);
            let write = write.marker(part == 1).nackable(true);
            direct.stream_tx(&CAMERA.1.into()).unwrap().write_rtp(write);
        }
    }

    fn received(&self, from: ParticipantId, kind: SourceKind) -> usize {
        self.slots.iter().map(|slot| slot.count(from, kind)).sum()
    }
}

fn media_spec(audio: id::Ssrc, video: id::Ssrc, rtx: id::Ssrc) -> MediaSpec {
    let dialect = Dialect::chromium();
    let mid = |mid: &str| id::Mid::new(mid.as_bytes()).unwrap();
    let source = |name: &str, kind, ssrcs| SourceSpec {
        mid: mid(name),
        kind,
        codecs: vec![dialect.codec(kind)],
        rids: Vec::new(),
        ssrcs,
    };
    let slot = |name: &str, kind, ssrc, rtx_ssrc, like| SlotSpec {
        mid: mid(name),
        kind,
        ssrc,
        rtx_ssrc,
        codecs: vec![dialect.codec(like)],
    };
    MediaSpec {
        extensions: dialect.extensions,
        sources: vec![
            source(MICROPHONE.0, Microphone, vec![(id::Ssrc(MICROPHONE.1), None)]),
            source(CAMERA.0, Camera, vec![(id::Ssrc(CAMERA.1), Some(id::Ssrc(CAMERA.2)))]),
        ],
        slots: vec![
            slot(AUDIO_SLOT, id::MediaKind::Audio, audio, None, Microphone),
            slot(VIDEO_SLOT, id::MediaKind::Video, video, Some(rtx), Camera),
        ],
    }
}

/// Goes on with peers and world until the condition holds.
fn until(world: &mut World, peers: &mut [Peer], what: &str, condition: impl Fn(&World, &[Peer]) -> bool) {
    world.until(what, |world| {
        peers.iter_mut().for_each(|peer| peer.pump(world));
        condition(world, peers)
    });
}

fn call(world: &mut World, rtp_mode: bool) -> (Who, Vec<Peer>) {
    let room = world.open_room();
    let who = world.connect(room, Plan::browser());
    let mut peers = vec![Peer::join(world, room, rtp_mode)];
    until(world, &mut peers, "str0m is connected", |_, peers| peers[0].connected);
    let id = world.id(who);
    peers[0].view(world, id);
    (who, peers)
}

#[test]
fn str0m_and_a_simulated_participant_hear_and_see_each_other() {
    each_backend(|world| {
        let (who, mut peers) = call(world, true);
        let (room, participant, id) = (peers[0].room, world.id(who), peers[0].id);
        let slot = SlotIndex(world.video_slot(who, 0) as u16);
        let wishes = vec![Wish { slot, from: id, source: Camera, height: 720 }];
        world.command(Command::View { room, participant, wishes });
        until(world, &mut peers, "both receive both", |world, peers| {
            let by_client =
                |kind| world.clients[who].slots.iter().map(|slot| slot.count(id, kind)).sum::<usize>();
            [Microphone, Camera]
                .iter()
                .all(|kind| by_client(*kind) > 50 && peers[0].received(world.id(who), *kind) > 50)
        });
        world.check_slots(who);
        peers[0].slots.iter().for_each(|slot| slot.check().unwrap());
        let slot = world.video_slot(who, 0);
        world.clients[who].request_keyframe(slot);
        until(world, &mut peers, "the request has reached str0m", |_, peers| peers[0].keyframe_requests > 0);
    });
}

#[test]
fn str0m_puts_the_pictures_together_across_a_switch() {
    each_backend(|world| {
        let (who, mut peers) = call(world, false);
        let room = peers[0].room;
        let other = world.join(room, Plan::simulcast());
        until(world, &mut peers, "the second publisher is connected", |world, _| world.is_connected(other));
        let video = |peers: &[Peer]| -> Vec<bool> {
            let frames = peers[0].frames.iter().filter(|frame| frame.mid == VIDEO_SLOT.into());
            frames.map(|frame| frame.contiguous).collect()
        };
        for round in 0..4 {
            let shown = [who, other][round % 2];
            let from = world.id(shown);
            peers[0].view(world, from);
            let frames = video(&peers).len();
            until(world, &mut peers, "frames have come", |_, peers| video(peers).len() > frames + 25);
        }
        // The first frame has nothing to be contiguous with.
        assert!(video(&peers).iter().skip(1).all(|contiguous| *contiguous), "{:?}", video(&peers));
        assert!(peers[0].frames.iter().any(|frame| frame.mid == AUDIO_SLOT.into()), "sound came too");
    });
}

#[test]
fn str0m_repairs_what_it_sent_and_what_it_missed() {
    each_backend(|world| {
        let (who, mut peers) = call(world, true);
        let (room, participant, id) = (peers[0].room, world.id(who), peers[0].id);
        let slot = SlotIndex(world.video_slot(who, 0) as u16);
        let wishes = vec![Wish { slot, from: id, source: Camera, height: 720 }];
        world.command(Command::View { room, participant, wishes });
        until(world, &mut peers, "it is seen", |world, _| {
            world.clients[who].slots.iter().any(|slot| slot.count(id, Camera) > 10)
        });
        // The simulated participant misses packets of str0m, and asks the server for them.
        world.video_mut(who, 0).losing = 3;
        until(world, &mut peers, "they came again", |world, _| {
            let slot = world.video(who, 0);
            slot.lost.len() == 3
                && slot.lost.iter().all(|seq| slot.arrivals.iter().any(|arrival| arrival.seq == *seq))
        });
        // The server misses packets of the participant; str0m gets them late but whole.
        world.clients[who].source_mut(Camera).withhold(0, 3);
        let count = peers[0].received(participant, Camera);
        until(world, &mut peers, "the stream goes on", |_, peers| {
            peers[0].received(participant, Camera) > count + 50
        });
        peers[0].slots[1].check().unwrap();
    });
}
