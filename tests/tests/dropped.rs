//! Every reason to drop something is provoked from the network, and its counter moves.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::time::Duration;

use rtp::header::{Extension, Header};
use rtp::packet::Packet;
use saal_dataplane::counters::Dropped;
use saal_dataplane::id::SourceKind::Camera;
use saal_dataplane::id::{Codec, Pt};
use saal_dataplane::io::line::Shape;
use saal_dataplane::io::sim::Direction;
use saal_dataplane::link::{CodecPt, Command};
use saal_dataplane::{Config, Limits};
use saal_tests::client::plan::Plan;
use saal_tests::world::{Backend, Who, World, config};
use webrtc_util::marshal::Marshal;

type Provocation = fn(&mut Stage);

/// A table, so that a reason without a test is seen at once.
const PROVOKED: [(Dropped, Provocation); 28] = [
    (Dropped::NotOurs, |stage| stage.send(&[0x40; 100])),
    (Dropped::UnknownAddress, |stage| {
        let stranger = stage.world.stranger();
        stage.world.send_as(&stranger, &[0x80; 100]);
    }),
    (Dropped::MalformedStun, |stage| stage.send(&[0, 1, 0, 200, 0x21, 0x12, 0xA4, 0x42, 0, 0])),
    (Dropped::UnknownUfrag, |stage| {
        let mut check = stage.world.clients[stage.publisher].check();
        check.username = "nobody:here".into();
        stage.send(&check.write());
    }),
    (Dropped::StunUnauthentic, |stage| {
        let mut check = stage.world.clients[stage.publisher].check();
        check.pwd.push('x');
        stage.send(&check.write());
    }),
    (Dropped::StunUnsupported, |stage| {
        let mut check = stage.world.clients[stage.publisher].check();
        check.unknown_attribute = Some(0x7FFF);
        stage.send(&check.write());
    }),
    (Dropped::AmplificationCap, |stage| {
        let who = stage.world.join(stage.room(), Plan::viewer());
        stage.world.until("ICE is done", |world| world.clients[who].checks_answered > 0);
        stage.world.run_for(Duration::from_millis(1));
        // The server repeats its flight to somebody who does not answer.
        stage.world.clients[who].vanished = true;
    }),
    (Dropped::DtlsFailed, |stage| {
        let (secure, out) = stage.world.clients[stage.publisher].secure_mut();
        secure.application_data(b"nobody negotiated a data channel", out);
    }),
    (Dropped::DtlsOverflow, |stage| {
        let who = stage.between_ice_and_dtls();
        // A ClientHello that announces a megabyte.
        let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 112];
        record.extend([1, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100]);
        record.resize(13 + 112, 1);
        stage.world.send_raw(who, &record);
    }),
    (Dropped::MalformedRtp, |stage| stage.send(&[0x9F, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0])),
    (Dropped::MalformedRtcp, |stage| stage.send(&[0x80, 201, 0, 1, 0, 0, 0, 7])),
    (Dropped::BeforeDtls, |stage| {
        let who = stage.between_ice_and_dtls();
        stage.world.send_raw(who, &[0x80; 100]);
    }),
    (Dropped::SrtpUnauthentic, |stage| {
        // The next sequence number, so that it is no replay.
        let mut datagram = stage.last_rtp();
        datagram[3] = datagram[3].wrapping_add(1);
        stage.send(&datagram);
    }),
    (Dropped::SrtpReplayed, |stage| {
        let datagram = stage.last_rtp();
        stage.send(&datagram);
    }),
    (Dropped::SrtpTooOld, |stage| {
        let datagram = stage.last_rtp();
        stage.world.run_for(Duration::from_secs(60));
        stage.send(&datagram);
    }),
    (Dropped::SrtpSsrcLimit, |stage| {
        for ssrc in 1..100 {
            stage.rtp(|header| header.ssrc = ssrc);
        }
    }),
    (Dropped::UnknownSource, |stage| {
        stage.rtp(|header| {
            header.ssrc = 0x0BAD;
            header.extensions = vec![Extension { id: 4, payload: b"mid of nobody".to_vec().into() }];
        });
    }),
    (Dropped::UnknownPayloadType, |stage| stage.rtp(|header| header.payload_type = 33)),
    (Dropped::SourceOff, |stage| stage.world.switch(stage.publisher, Camera, false)),
    (Dropped::SourceWithheld, |stage| stage.world.withhold(stage.publisher, Camera, true)),
    (Dropped::RtxInvalid, |stage| {
        // Repairs a layer of which nothing has come.
        let publisher = stage.world.join_silently(stage.room(), Plan::browser());
        stage.world.clients[publisher].sources.iter_mut().for_each(|source| source.on = false);
        stage.world.until("the publisher is connected", |world| world.is_connected(publisher));
        let rtx_ssrc = stage.world.clients[publisher].source(Camera).layers[0].rtx_ssrc.0;
        let payload_type = stage.world.clients[publisher].dialect().vp8_rtx;
        let header =
            Header { version: 2, ssrc: rtx_ssrc, payload_type, sequence_number: 9, ..Default::default() };
        let packet = Packet { header, payload: vec![0; 50].into() };
        stage.world.clients[publisher].send_rtp(vec![packet.marshal().unwrap().to_vec()]);
    }),
    (Dropped::CodecNotReceivable, |stage| {
        let (viewer, mut media) = stage.world.invite(stage.room(), Plan::viewer());
        for slot in &mut media.slots {
            let codec = Codec::H264 { profile: [0x42, 0xE0], packetization_mode: 1 };
            slot.codecs = vec![CodecPt { codec, pt: Pt(102), rtx_pt: None }];
        }
        stage.admit(viewer, media);
        stage.world.view(viewer, &[(stage.publisher, Camera, 720)]);
    }),
    (Dropped::TooLarge, |stage| {
        stage.start(Limits { datagram_max: 500, ..Limits::default() });
    }),
    (Dropped::EgressFull, |stage| {
        // A block for every packet, and eight blocks.
        let limits =
            Limits { egress_blocks: 1, segments_max: 1, participants_per_room_max: 2, ..Limits::default() };
        stage.start(limits);
        stage.world.leave(stage.viewer);
        let viewer = stage.world.connect(stage.room(), Plan { video_slots: 20, ..Plan::viewer() });
        let wishes = [(stage.publisher, Camera, 720); 20];
        stage.world.view(viewer, &wishes);
    }),
    (Dropped::NotInHistory, |stage| {
        let slot = stage.world.video_slot(stage.viewer, 0);
        let old = stage.world.video(stage.viewer, 0).highest_seq().unwrap() as u16;
        stage.world.clients[stage.viewer].nack(slot, &[old.wrapping_sub(5_000)]);
    }),
    (Dropped::RateLimit, |stage| {
        stage.start(Limits { packets_per_second_max: 20, ..Limits::default() });
    }),
    (Dropped::KeyframeRequestMerged, |stage| {
        let slot = stage.world.video_slot(stage.viewer, 0);
        stage.world.clients[stage.viewer].request_keyframe(slot);
        stage.world.clients[stage.viewer].request_keyframe(slot);
    }),
    (Dropped::ResendBudget, |stage| {
        let slot = stage.world.video_slot(stage.viewer, 0);
        let last = stage.world.video(stage.viewer, 0).highest_seq().unwrap() as u16;
        stage.world.clients[stage.viewer].nack(slot, &[last]);
        stage.world.clients[stage.viewer].nack(slot, &[last]);
    }),
];

/// Reasons that no datagram can bring about in a test, and where they are provoked instead.
const NOT_FROM_THE_NETWORK: [(Dropped, &str); 5] = [
    // An address becomes known by ICE only, so that the worker finds nobody before the transport is asked.
    // The simulated network delivers no datagram whose source is forged.
    (Dropped::AddressTaken, "dataplane/src/rooms/tests.rs"),
    (Dropped::DtlsBeforeIce, "dataplane/src/sfu/transport/tests.rs"),
    // The simulation's handshakes run inside the worker's turn.
    (Dropped::HandshakeQueueFull, "dataplane/src/door.rs"),
    // 2^31 RTCP packets or 2^48 RTP packets under one key.
    (Dropped::SrtpExhausted, "dataplane/src/sfu/srtp/tests.rs"),
    // It takes feedback of a narrow line, and some seconds.
    (Dropped::Overdue, "dataplane/src/sfu/room/tests/pacing.rs"),
];

/// A publisher whose camera a viewer sees.
struct Stage {
    world: World,
    publisher: Who,
    viewer: Who,
}

impl Stage {
    fn new() -> Stage {
        let mut stage = Stage { world: World::new(Backend::Sim, 1), publisher: 0, viewer: 0 };
        stage.start(Limits::default());
        let (publisher, viewer) = (stage.publisher, stage.viewer);
        stage.world.until("the camera is seen", |world| world.received(viewer, publisher, Camera) > 10);
        stage
    }

    /// Begins again under other limits.
    fn start(&mut self, limits: Limits) {
        self.world = World::with_config(Backend::Sim, 1, Config { limits, ..config(Backend::Sim) });
        let room = self.world.open_room();
        let all = self.world.connect_all(room, [Plan::browser(), Plan::viewer()]);
        (self.publisher, self.viewer) = (all[0], all[1]);
        self.world.record(self.publisher);
        self.world.view(self.viewer, &[(self.publisher, Camera, 720)]);
    }

    fn room(&self) -> saal_dataplane::id::RoomId {
        self.world.clients[self.publisher].seat.room
    }

    /// From the publisher's address.
    fn send(&mut self, datagram: &[u8]) {
        self.world.send_raw(self.publisher, datagram);
    }

    /// An authentic packet of the publisher, like its camera's but for what `change` says.
    fn rtp(&mut self, change: impl FnOnce(&mut Header)) {
        let mut packet =
            self.world.clients[self.publisher].source(Camera).layers[0].last_packet().cloned().unwrap();
        packet.header.sequence_number = packet.header.sequence_number.wrapping_add(1);
        change(&mut packet.header);
        self.world.clients[self.publisher].send_rtp(vec![packet.marshal().unwrap().to_vec()]);
    }

    fn last_rtp(&self) -> Vec<u8> {
        let recorded = self.world.recorded(self.publisher);
        let is_rtp = |datagram: &&Vec<u8>| datagram[0] >= 128 && !(192..=223).contains(&datagram[1]);
        recorded.iter().rev().find(is_rtp).cloned().unwrap()
    }

    /// A participant whose address is known and whose DTLS has not begun.
    fn between_ice_and_dtls(&mut self) -> Who {
        let who = self.world.join(self.room(), Plan::viewer());
        self.world.set_shape(who, Direction::Down, Shape { loss: 1.0, ..Shape::default() });
        self.world.run_for(Duration::from_millis(100));
        who
    }

    fn admit(&mut self, who: Who, media: saal_dataplane::link::MediaSpec) {
        let (room, participant) = (self.room(), self.world.id(who));
        let transport = self.world.clients[who].transport_spec();
        self.world.command(Command::Join { room, participant, transport });
        self.world.command(Command::Negotiate { room, participant, media });
        self.world.until("the participant is connected", |world| world.is_connected(who));
    }
}

#[test]
fn every_reason_to_drop_is_in_the_table() {
    for reason in Dropped::ALL {
        let provoked = PROVOKED.iter().any(|(of, _)| *of == reason);
        let elsewhere = NOT_FROM_THE_NETWORK.iter().any(|(of, _)| *of == reason);
        assert!(provoked != elsewhere, "{reason:?} is provoked once");
    }
}

#[test]
fn every_reason_in_the_table_is_counted_when_it_is_provoked() {
    let mut failed = Vec::new();
    for (reason, provoke) in PROVOKED {
        let mut stage = Stage::new();
        provoke(&mut stage);
        let end = stage.world.now() + Duration::from_secs(5);
        while stage.world.dropped(reason) == 0 && stage.world.now() < end {
            stage.world.run_for(Duration::from_millis(100));
        }
        if stage.world.dropped(reason) == 0 {
            failed.push(reason);
        }
    }
    assert!(failed.is_empty(), "not provoked: {failed:?}");
}
