//! A room with its participants connected by decree: what they send, what leaves for them.

use std::net::SocketAddr;

use super::super::*;
use crate::counters::Dropped;
use crate::id::{Codec, ExtSeq, MediaKind, Mid, Path, Pt, Rid, RtpTime, SourceKind, Ssrc};
use crate::link::{CodecPt, SlotSpec, SourceSpec, Wish};
use crate::sfu::ice::IceCredentials;
use crate::sfu::layer::Layer;
use crate::sfu::srtp::{Inbound, Outbound, Profile};
use crate::sfu::transport::TransportSpec;
use crate::wire::ext::{AudioLevel, ExtensionIds};
use crate::wire::rtcp::{self, Packet};
use crate::wire::rtp::{Extensions, Header, Outgoing};

pub(super) const PROFILE: Profile = Profile::AeadAes128Gcm;
pub(super) const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    abs_send_time: None,
    transport_cc: None,
    audio_level: Some(6),
    dependency_descriptor: Some(7),
};
pub(super) const VP8: CodecPt = CodecPt { codec: Codec::Vp8, pt: Pt(96), rtx_pt: Some(Pt(97)) };
pub(super) const OPUS: CodecPt = CodecPt { codec: Codec::Opus, pt: Pt(111), rtx_pt: None };

pub(super) struct Rig {
    pub(super) room: Room,
    pub(super) now: Instant,
    pub(super) epoch: Instant,
    pub(super) egress: Egress,
    pub(super) counters: Counters,
    pub(super) events: VecDeque<Event>,
    pub(super) limits: Limits,
    pub(super) people: Vec<Person>,
    pub(super) batch: Batch,
    pub(super) padding_percent: u8,
    pub(super) relief: Relief,
}

/// A participant's own end.
pub(super) struct Person {
    pub(super) key: Key<Participant>,
    pub(super) path: Path,
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
}

/// One packet of a participant.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) pt: u8,
    pub(super) ssrc: u32,
    pub(super) seq: u64,
    pub(super) mid: &'a [u8],
    pub(super) rid: &'a [u8],
    pub(super) level: Option<u8>,
    pub(super) keyframe: bool,
    pub(super) marker: bool,
    pub(super) descriptor: &'a [u8],
}

/// One packet on its way to a receiver, opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaving {
    pub(super) ssrc: u32,
    pub(super) seq: u16,
    pub(super) wire: usize,
    pub(super) payload: usize,
    pub(super) padding: usize,
}

pub(super) const CAMERA: Sent<'static> = Sent {
    pt: 96,
    ssrc: 1,
    seq: 1,
    mid: b"c",
    rid: b"",
    level: None,
    keyframe: true,
    marker: false,
    descriptor: b"",
};

impl Rig {
    pub(super) fn new(people: usize) -> Rig {
        let now = Instant::now();
        let mut rig = Rig {
            room: Room::new(RoomId(1), now),
            now,
            epoch: now,
            egress: Egress::new(256, 32 * 1024, 44),
            counters: Counters::default(),
            events: VecDeque::new(),
            limits: Limits::default(),
            people: Vec::new(),
            batch: Batch::new(),
            padding_percent: 0,
            relief: Relief::new(),
        };
        for nth in 0..people {
            rig.join(nth as u8);
        }
        rig
    }

    pub(super) fn join(&mut self, nth: u8) {
        let credentials = IceCredentials { ufrag: format!("u{nth}"), pwd: "password".into() };
        let spec = TransportSpec { local: credentials, remote_ufrag: String::new(), fingerprint: [0; 32] };
        let mut transport = Transport::new(spec, &self.limits, self.now);
        let path = Path { remote: SocketAddr::from(([192, 0, 2, 1], u16::from(nth) + 1)), local: None };
        let (up, down) = ([nth; 16], [nth + 100; 16]);
        transport.connect(
            self.now,
            path,
            PROFILE,
            Inbound::new(PROFILE, &up, &[1; 12], self.limits.ssrcs_max).unwrap(),
            Outbound::new(PROFILE, &down, &[1; 12]).unwrap(),
        );
        let seeds = Seeds { ssrc: Ssrc(9000 + u32::from(nth)), cname: [b'A'; 16] };
        let key = self.room.join(ParticipantId(nth.into()), transport, seeds, &self.limits).unwrap();
        self.room.on_connected(key);
        self.people.push(Person {
            key,
            path,
            outbound: Outbound::new(PROFILE, &up, &[1; 12]).unwrap(),
            inbound: Inbound::new(PROFILE, &down, &[1; 12], 256).unwrap(),
        });
    }

    pub(super) fn negotiate(&mut self, who: usize, sources: Vec<SourceSpec>, slots: Vec<SlotSpec>) {
        let media = MediaSpec { extensions: EXTENSIONS, sources, slots };
        self.room.negotiate(self.people[who].key, media, &mut || 7, &mut self.events);
    }

    pub(super) fn switch_on(&mut self, who: usize, kind: SourceKind) {
        self.room.switch(self.people[who].key, kind, true, &mut self.events);
    }

    pub(super) fn rtp(&mut self, who: usize, sent: Sent<'_>) -> Result<(), Dropped> {
        let result = self.arrive(who, sent, 0);
        self.fan_out();
        result
    }

    /// A packet whose payload has at least `len` bytes comes in and waits.
    pub(super) fn arrive(&mut self, who: usize, sent: Sent<'_>, len: usize) -> Result<(), Dropped> {
        // A VP8 descriptor, then a keyframe's start code and size, or neither.
        let payload: &[u8] = match sent.keyframe {
            true => &[0x10, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01],
            false => &[0x10, 1, 0, 0],
        };
        let mut payload = payload.to_vec();
        payload.resize(payload.len().max(len), sent.seq as u8);
        self.arrive_with(who, sent, &payload)
    }

    pub(super) fn arrive_with(&mut self, who: usize, sent: Sent<'_>, payload: &[u8]) -> Result<(), Dropped> {
        self.arrive_at(who, sent, RtpTime(3000 * sent.seq as u32), payload)
    }

    pub(super) fn arrive_at(
        &mut self,
        who: usize,
        sent: Sent<'_>,
        timestamp: RtpTime,
        payload: &[u8],
    ) -> Result<(), Dropped> {
        let mut extensions = Extensions::new();
        for (id, value) in [(1, sent.mid), (2, sent.rid), (7, sent.descriptor)] {
            if !value.is_empty() {
                extensions.push(id, value);
            }
        }
        if let Some(level) = sent.level {
            extensions.push(6, &AudioLevel { voice: true, level }.encode());
        }
        let seq = ExtSeq(sent.seq);
        let out = Outgoing {
            marker: sent.marker,
            padding: false,
            pt: Pt(sent.pt),
            seq: seq.seq(),
            timestamp,
            ssrc: Ssrc(sent.ssrc),
        };
        let head = out.len(&extensions);
        let mut packet = vec![0; head + payload.len() + PROFILE.rtp_overhead()];
        out.write(&extensions, &mut packet);
        self.people[who].outbound.seal_rtp(seq, Ssrc(sent.ssrc), head, payload, &mut packet).unwrap();
        let (key, path) = (self.people[who].key, self.people[who].path);
        self.with_turn(|room, turn| room.on_rtp(key, &path, &mut packet, turn))
    }

    pub(super) fn fan_out(&mut self) {
        self.with_turn(|room, turn| {
            turn.batch.close();
            let groups = turn.batch.room_from(0).map_or(0, |(_, end)| end);
            room.fan_out(0..groups, turn, &mut |_| {});
            turn.batch.clear(turn.now);
        });
    }

    pub(super) fn tick(&mut self, after: Duration) {
        self.now += after;
        self.with_turn(|room, turn| room.on_tick(turn));
    }

    pub(super) fn with_turn<T>(&mut self, work: impl FnOnce(&mut Room, &mut Turn<'_>) -> T) -> T {
        let mut turn = Turn {
            now: self.now,
            epoch: self.epoch,
            egress: &mut self.egress,
            counters: &mut self.counters,
            events: &mut self.events,
            limits: &self.limits,
            batch: &mut self.batch,
            padding_percent: self.padding_percent,
            relief: self.relief,
        };
        work(&mut self.room, &mut turn)
    }

    /// What `who` sends of RTCP, sealed on its way.
    pub(super) fn rtcp(&mut self, who: usize, compound: &[u8]) {
        let Person { key, path, outbound, .. } = &mut self.people[who];
        let (key, path, len) = (*key, *path, compound.len());
        let mut sealed = vec![0; len + PROFILE.rtcp_overhead()];
        sealed[..len].copy_from_slice(compound);
        let len = outbound.seal_rtcp(len, &mut sealed).unwrap();
        self.with_turn(|room, turn| room.on_rtcp(key, &path, &mut sealed[..len], turn)).unwrap();
    }

    /// The compound RTCP packets that leave for `who`, in the clear; everybody's datagrams are taken.
    pub(super) fn rtcp_for(&mut self, who: usize) -> Vec<Vec<u8>> {
        let mut compounds = Vec::new();
        while let Some(departure) = self.egress.take_ready() {
            if departure.path == self.people[who].path {
                for datagram in self.egress.bytes(&departure).chunks(departure.segment_bytes) {
                    let mut datagram = datagram.to_vec();
                    if crate::wire::classify(&datagram) == Some(crate::wire::Kind::Rtcp) {
                        let len = self.people[who].inbound.open_rtcp(&mut datagram).unwrap();
                        datagram.truncate(len);
                        compounds.push(datagram);
                    }
                }
            }
            self.egress.release(departure);
        }
        compounds
    }

    /// What leaves for `who`, train by train: of each packet its SSRC, sequence number, and lengths on the wire, of the
    /// payload, and of the padding.
    pub(super) fn trains_for(&mut self, who: usize) -> Vec<Vec<Leaving>> {
        let mut trains = Vec::new();
        while let Some(departure) = self.egress.take_ready() {
            if departure.path == self.people[who].path {
                let bytes = self.egress.bytes(&departure).to_vec();
                let packets = bytes.chunks(departure.segment_bytes);
                let is_rtp = |packet: &&[u8]| crate::wire::classify(packet) == Some(crate::wire::Kind::Rtp);
                let train: Vec<_> = packets.filter(is_rtp).map(|packet| self.leaving(who, packet)).collect();
                trains.extend(Some(train).filter(|train| !train.is_empty()));
            }
            self.egress.release(departure);
        }
        trains
    }

    pub(super) fn leaving(&mut self, who: usize, packet: &[u8]) -> Leaving {
        let mut packet = packet.to_vec();
        let wire = packet.len();
        let header = Header::parse(&packet).unwrap();
        let (len, _) = self.people[who].inbound.open_rtp(&mut packet, &header, true).unwrap();
        let padding = header.padding_len(&packet[..len]).unwrap();
        assert!(packet[len - padding..len].iter().rev().skip(1).all(|byte| *byte == 0));
        Leaving { ssrc: header.ssrc.0, seq: header.seq.0, wire, payload: len - header.len - padding, padding }
    }

    /// The SSRCs that `who` is asked keyframes of.
    pub(super) fn asked_for_keyframes(&mut self, who: usize) -> Vec<u32> {
        let compounds = self.rtcp_for(who);
        let packets = compounds.iter().flat_map(|compound| rtcp::packets(compound));
        packets.filter_map(|p| if let Packet::Pli { media, .. } = p { Some(media.0) } else { None }).collect()
    }

    pub(super) fn layer(&mut self, who: usize, index: usize) -> &mut Layer {
        let participant = self.room.participants.find(self.people[who].key).unwrap();
        let source = participant.sources[SourceKind::Camera as usize].unwrap();
        &mut self.room.sources.find_mut(source).unwrap().layers[index]
    }
}

pub(super) fn source(kind: SourceKind, mid: &[u8], codec: CodecPt, rids: &[&[u8]]) -> SourceSpec {
    let rids = rids.iter().map(|rid| Rid::new(rid).unwrap()).collect();
    SourceSpec { mid: Mid::new(mid).unwrap(), kind, codecs: vec![codec], rids, ssrcs: Vec::new() }
}

pub(super) fn camera(rids: &[&[u8]]) -> SourceSpec {
    source(SourceKind::Camera, b"c", VP8, rids)
}

pub(super) fn slots(kind: MediaKind, codec: CodecPt, count: u16) -> Vec<SlotSpec> {
    let slot = |nth: u16| SlotSpec {
        mid: Mid::new(format!("s{nth}").as_bytes()).unwrap(),
        kind,
        ssrc: Ssrc(5000 + u32::from(nth)),
        rtx_ssrc: None,
        codecs: vec![codec],
    };
    (0..count).map(slot).collect()
}

pub(super) fn wish(slot: u16, from: u64, height: u16) -> Wish {
    Wish { slot: SlotIndex(slot), from: ParticipantId(from), source: SourceKind::Camera, height }
}
