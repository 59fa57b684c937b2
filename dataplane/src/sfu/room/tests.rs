//! A room with its participants connected by decree: what they send, what leaves for them.

mod narrow;
mod opening;
mod pacing;
mod redundant;
mod thinned;

use std::net::SocketAddr;

use super::*;
use crate::counters::Dropped;
use crate::id::{Codec, Mid, Pt, Rid, RtpTime};
use crate::id::{ExtSeq, MediaKind, Path, SourceKind, Ssrc};
use crate::link::Wish;
use crate::link::{CodecPt, SlotSpec, SourceSpec};
use crate::sfu::ice::IceCredentials;
use crate::sfu::layer::{Layer, Urgency};
use crate::sfu::srtp::{Inbound, Outbound, Profile};
use crate::sfu::transport::TransportSpec;
use crate::wire::ext::{AudioLevel, ExtensionIds};
use crate::wire::rtcp::{self, Packet};
use crate::wire::rtp::{Extensions, Header, Outgoing};

const PROFILE: Profile = Profile::AeadAes128Gcm;
const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    abs_send_time: None,
    transport_cc: None,
    audio_level: Some(6),
    dependency_descriptor: None,
};
const VP8: CodecPt = CodecPt { codec: Codec::Vp8, pt: Pt(96), rtx_pt: Some(Pt(97)) };
const OPUS: CodecPt = CodecPt { codec: Codec::Opus, pt: Pt(111), rtx_pt: None };

struct Rig {
    room: Room,
    now: Instant,
    epoch: Instant,
    egress: Egress,
    counters: Counters,
    events: VecDeque<Event>,
    limits: Limits,
    people: Vec<Person>,
    batch: Batch,
    padding_percent: u8,
    relief: Relief,
}

/// A participant's own end.
struct Person {
    key: Key<Participant>,
    path: Path,
    outbound: Outbound,
    inbound: Inbound,
}

/// One packet of a participant.
#[derive(Clone, Copy)]
struct Sent<'a> {
    pt: u8,
    ssrc: u32,
    seq: u64,
    mid: &'a [u8],
    rid: &'a [u8],
    level: Option<u8>,
    keyframe: bool,
    marker: bool,
}

/// One packet on its way to a receiver, opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Leaving {
    ssrc: u32,
    seq: u16,
    wire: usize,
    payload: usize,
    padding: usize,
}

const CAMERA: Sent<'static> =
    Sent { pt: 96, ssrc: 1, seq: 1, mid: b"c", rid: b"", level: None, keyframe: true, marker: false };

impl Rig {
    fn new(people: usize) -> Rig {
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

    fn join(&mut self, nth: u8) {
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

    fn negotiate(&mut self, who: usize, sources: Vec<SourceSpec>, slots: Vec<SlotSpec>) {
        let media = MediaSpec { extensions: EXTENSIONS, sources, slots };
        self.room.negotiate(self.people[who].key, media, &mut || 7, &mut self.events);
    }

    fn switch_on(&mut self, who: usize, kind: SourceKind) {
        self.room.switch(self.people[who].key, kind, true, &mut self.events);
    }

    fn rtp(&mut self, who: usize, sent: Sent<'_>) -> Result<(), Dropped> {
        let result = self.arrive(who, sent, 0);
        self.fan_out();
        result
    }

    /// A packet whose payload has at least `len` bytes comes in and waits.
    fn arrive(&mut self, who: usize, sent: Sent<'_>, len: usize) -> Result<(), Dropped> {
        // A VP8 descriptor, then a keyframe's start code and size, or neither.
        let payload: &[u8] = match sent.keyframe {
            true => &[0x10, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01],
            false => &[0x10, 1, 0, 0],
        };
        let mut payload = payload.to_vec();
        payload.resize(payload.len().max(len), sent.seq as u8);
        self.arrive_with(who, sent, &payload)
    }

    fn arrive_with(&mut self, who: usize, sent: Sent<'_>, payload: &[u8]) -> Result<(), Dropped> {
        self.arrive_at(who, sent, RtpTime(3000 * sent.seq as u32), payload)
    }

    fn arrive_at(
        &mut self,
        who: usize,
        sent: Sent<'_>,
        timestamp: RtpTime,
        payload: &[u8],
    ) -> Result<(), Dropped> {
        let mut extensions = Extensions::new();
        for (id, value) in [(1, sent.mid), (2, sent.rid)] {
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

    fn fan_out(&mut self) {
        self.with_turn(|room, turn| {
            turn.batch.close();
            let groups = turn.batch.room_from(0).map_or(0, |(_, end)| end);
            room.fan_out(0..groups, turn, &mut |_| {});
            turn.batch.clear(turn.now);
        });
    }

    fn tick(&mut self, after: Duration) {
        self.now += after;
        self.with_turn(|room, turn| room.on_tick(turn));
    }

    fn with_turn<T>(&mut self, work: impl FnOnce(&mut Room, &mut Turn<'_>) -> T) -> T {
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

    /// The compound RTCP packets that leave for `who`, in the clear; everybody's datagrams are taken.
    fn rtcp_for(&mut self, who: usize) -> Vec<Vec<u8>> {
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
    fn trains_for(&mut self, who: usize) -> Vec<Vec<Leaving>> {
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

    fn leaving(&mut self, who: usize, packet: &[u8]) -> Leaving {
        let mut packet = packet.to_vec();
        let wire = packet.len();
        let header = Header::parse(&packet).unwrap();
        let (len, _) = self.people[who].inbound.open_rtp(&mut packet, &header, true).unwrap();
        let padding = header.padding_len(&packet[..len]).unwrap();
        assert!(packet[len - padding..len].iter().rev().skip(1).all(|byte| *byte == 0));
        Leaving { ssrc: header.ssrc.0, seq: header.seq.0, wire, payload: len - header.len - padding, padding }
    }

    /// The SSRCs that `who` is asked keyframes of.
    fn asked_for_keyframes(&mut self, who: usize) -> Vec<u32> {
        let compounds = self.rtcp_for(who);
        let packets = compounds.iter().flat_map(|compound| rtcp::packets(compound));
        packets.filter_map(|p| if let Packet::Pli { media, .. } = p { Some(media.0) } else { None }).collect()
    }

    fn layer(&mut self, who: usize, index: usize) -> &mut Layer {
        let participant = self.room.participants.find(self.people[who].key).unwrap();
        let source = participant.sources[SourceKind::Camera as usize].unwrap();
        &mut self.room.sources.find_mut(source).unwrap().layers[index]
    }
}

fn source(kind: SourceKind, mid: &[u8], codec: CodecPt, rids: &[&[u8]]) -> SourceSpec {
    let rids = rids.iter().map(|rid| Rid::new(rid).unwrap()).collect();
    SourceSpec { mid: Mid::new(mid).unwrap(), kind, codecs: vec![codec], rids, ssrcs: Vec::new() }
}

fn camera(rids: &[&[u8]]) -> SourceSpec {
    source(SourceKind::Camera, b"c", VP8, rids)
}

fn slots(kind: MediaKind, codec: CodecPt, count: u16) -> Vec<SlotSpec> {
    let slot = |nth: u16| SlotSpec {
        mid: Mid::new(format!("s{nth}").as_bytes()).unwrap(),
        kind,
        ssrc: Ssrc(5000 + u32::from(nth)),
        rtx_ssrc: None,
        codecs: vec![codec],
    };
    (0..count).map(slot).collect()
}

fn wish(slot: u16, from: u64, height: u16) -> Wish {
    Wish { slot: SlotIndex(slot), from: ParticipantId(from), source: SourceKind::Camera, height }
}

#[test]
fn two_ssrcs_in_turn_do_not_make_the_server_forget_a_layer_again_and_again() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    assert_eq!(rig.rtp(0, CAMERA), Ok(()));
    assert_eq!(rig.rtp(0, Sent { ssrc: 2, ..CAMERA }), Ok(()), "a sender may begin anew");
    for seq in 2..50 {
        assert_eq!(rig.rtp(0, Sent { seq, ..CAMERA }), Err(Dropped::UnknownSource));
        assert_eq!(rig.rtp(0, Sent { ssrc: 2, seq, ..CAMERA }), Ok(()));
    }
    assert_eq!(rig.layer(0, 0).epoch, 2);
}

#[test]
fn media_under_the_ssrc_of_retransmissions_is_refused() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    assert_eq!(rig.rtp(0, CAMERA), Ok(()));
    assert_eq!(rig.rtp(0, Sent { pt: 97, ssrc: 2, ..CAMERA }), Err(Dropped::RtxInvalid));
    assert_eq!(rig.rtp(0, Sent { pt: 96, ssrc: 2, seq: 2, ..CAMERA }), Err(Dropped::UnknownPayloadType));
    assert_eq!(rig.rtp(0, Sent { pt: 97, seq: 2, ..CAMERA }), Err(Dropped::UnknownPayloadType));
}

#[test]
fn a_sender_report_comes_for_every_slot_however_many_there_are() {
    const SLOTS: u16 = 40;
    let mut rig = Rig::new(2);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.negotiate(1, Vec::new(), slots(MediaKind::Video, VP8, SLOTS));
    rig.switch_on(0, SourceKind::Camera);
    let wishes: Vec<Wish> = (0..SLOTS).map(|nth| wish(nth, 0, 720)).collect();
    rig.room.view(rig.people[1].key, &wishes, &mut rig.events);
    assert_eq!(rig.rtp(0, CAMERA), Ok(()));
    rig.tick(Duration::from_millis(20));
    let compounds = rig.rtcp_for(1);
    let mut reported: Vec<u32> = compounds
        .iter()
        .flat_map(|compound| rtcp::packets(compound))
        .filter_map(|p| if let Packet::SenderReport { ssrc, .. } = p { Some(ssrc.0) } else { None })
        .collect();
    reported.sort_unstable();
    assert_eq!(reported, (5000..5000 + u32::from(SLOTS)).collect::<Vec<_>>());
    let receiver_reports = compounds
        .iter()
        .flat_map(|c| rtcp::packets(c))
        .filter(|p| matches!(p, Packet::ReceiverReport { .. }));
    assert_eq!(receiver_reports.count(), 1);
}

#[test]
fn nobody_asks_for_keyframes_of_a_layer_that_its_sender_has_paused() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[b"l", b"h"])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    let low = Sent { rid: b"l", ..CAMERA };
    let high = Sent { rid: b"h", ssrc: 2, ..CAMERA };
    rig.rtp(0, low).unwrap();
    rig.rtp(0, high).unwrap();
    rig.layer(0, 1).keyframe.want(Urgency::Now);
    rig.tick(Duration::from_millis(20));
    assert_eq!(rig.asked_for_keyframes(0), [1, 2], "the smallest comes along");
    for nth in 0..20 {
        rig.now += Duration::from_millis(200);
        rig.rtp(0, Sent { seq: 2 + nth, keyframe: false, ..low }).unwrap();
        rig.tick(Duration::ZERO);
    }
    let asked = rig.asked_for_keyframes(0).iter().filter(|ssrc| **ssrc == 2).count();
    assert!((1..=3).contains(&asked), "{asked}: while it counted as live");
    for nth in 20..40 {
        rig.now += Duration::from_millis(200);
        rig.rtp(0, Sent { seq: 2 + nth, keyframe: false, ..low }).unwrap();
        rig.tick(Duration::ZERO);
    }
    assert_eq!(rig.asked_for_keyframes(0), [0u32; 0]);
    rig.rtp(0, Sent { seq: 2, keyframe: false, ..high }).unwrap();
    rig.tick(Duration::from_millis(20));
    assert_eq!(rig.asked_for_keyframes(0), [1, 2], "it is back");
}

#[test]
fn a_source_that_sends_nothing_at_all_is_still_asked() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[b"l", b"h"])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    rig.rtp(0, Sent { rid: b"l", ..CAMERA }).unwrap();
    rig.layer(0, 0).keyframe.want(Urgency::Now);
    rig.tick(Duration::from_secs(10));
    assert_eq!(rig.asked_for_keyframes(0), [1], "a still screen is sent on request only");
}

#[test]
fn a_storm_of_keyframe_requests_costs_the_publisher_one_per_interval() {
    let asked = |urgency, answers: bool| {
        let mut rig = Rig::new(1);
        rig.negotiate(0, vec![camera(&[])], Vec::new());
        rig.switch_on(0, SourceKind::Camera);
        let mut asked = 0;
        for nth in 0..500 {
            rig.rtp(0, Sent { seq: 1 + nth, keyframe: nth == 0 || answers, ..CAMERA }).unwrap();
            rig.layer(0, 0).keyframe.want(urgency);
            rig.tick(Duration::from_millis(20));
            asked += rig.asked_for_keyframes(0).len();
        }
        asked
    };
    assert_eq!(asked(Urgency::Soon, true), 5, "one in two seconds");
    assert_eq!(asked(Urgency::Now, true), 6, "two at once, then one in two seconds");
    assert_eq!(asked(Urgency::Soon, false), 6, "what is not answered may have got lost");
}

#[test]
fn a_layer_that_comes_and_goes_is_left_alone_until_it_stays() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[b"l", b"h"])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    let low = Sent { rid: b"l", ..CAMERA };
    let high = Sent { rid: b"h", ssrc: 2, ..CAMERA };
    let mut chosen = Vec::new();
    let mut target = 0;
    for nth in 0..100u64 {
        rig.now += Duration::from_millis(100);
        rig.rtp(0, Sent { seq: 1 + nth, ..low }).unwrap();
        // Half a second in every three, and from the seventh second on for good.
        if nth % 30 < 5 || nth >= 70 {
            rig.rtp(0, Sent { seq: 1 + nth, ..high }).unwrap();
        }
        let participant = rig.room.participants.find(rig.people[0].key).unwrap();
        let source =
            rig.room.sources.find(participant.sources[SourceKind::Camera as usize].unwrap()).unwrap();
        target = source.ladder(rig.now, 1080, target).rungs().last().unwrap().layer;
        if chosen.last() != Some(&target) {
            chosen.push(target);
        }
    }
    assert_eq!(chosen, [1, 0, 1]);
}

#[test]
fn of_two_sources_of_one_kind_the_first_counts_and_none_is_left_behind() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[]), source(SourceKind::Camera, b"d", VP8, &[])], Vec::new());
    assert_eq!(rig.room.sources.len(), 1);
    assert_eq!(rig.rtp(0, Sent { mid: b"d", ..CAMERA }), Err(Dropped::UnknownSource));
    let key = rig.people[0].key;
    rig.room.leave(key, &mut rig.events).unwrap();
    assert_eq!((rig.room.sources.len(), rig.room.participants.len()), (0, 0));
}

#[test]
fn a_microphone_that_floods_levels_does_not_flood_the_receivers_with_changes() {
    let mut rig = Rig::new(4);
    for who in 0..4 {
        let microphone = source(SourceKind::Microphone, b"m", OPUS, &[]);
        rig.negotiate(who, vec![microphone], slots(MediaKind::Audio, OPUS, 1));
        rig.switch_on(who, SourceKind::Microphone);
    }
    rig.events.clear();
    for seq in 1..2000 {
        rig.now += Duration::from_millis(1);
        for who in [2, 3] {
            let level = if (seq / 25 + who) % 2 == 0 { 0 } else { 127 };
            let packet = Sent { pt: 111, mid: b"m", seq: seq as u64, level: Some(level), ..CAMERA };
            let _ = rig.rtp(who, packet);
        }
        rig.rtcp_for(0);
    }
    assert!(rig.events.len() < 100, "{} events in two seconds", rig.events.len());
}

#[test]
fn who_floods_is_cut_to_the_limit_and_has_its_say_again_afterwards() {
    let mut rig = Rig::new(1);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    let most = u64::from(rig.limits.packets_per_second_max);
    let mut admitted = 0;
    for seq in 1..=4 * most {
        // Twice the limit, for two seconds.
        rig.now += Duration::from_micros(500_000 / most);
        match rig.rtp(0, Sent { seq, ..CAMERA }) {
            Ok(()) => admitted += 1,
            Err(reason) => assert_eq!(reason, Dropped::RateLimit),
        }
    }
    assert!(
        (most * 29 / 10..=most * 31 / 10).contains(&admitted),
        "{admitted}: two seconds and a burst of one"
    );
    rig.now += Duration::from_secs(1);
    assert_eq!(rig.rtp(0, Sent { seq: 5 * most, ..CAMERA }), Ok(()));
}

#[test]
fn sound_is_limited_by_how_many_hear_it_and_pictures_go_on() {
    let admitted = |listeners: usize| {
        let mut rig = Rig::new(1 + listeners);
        rig.limits.sound_forwards_per_second_max = 500;
        let microphone = source(SourceKind::Microphone, b"m", OPUS, &[]);
        rig.negotiate(0, vec![camera(&[]), microphone], Vec::new());
        (1..=listeners).for_each(|who| rig.negotiate(who, Vec::new(), slots(MediaKind::Audio, OPUS, 1)));
        rig.switch_on(0, SourceKind::Microphone);
        rig.switch_on(0, SourceKind::Camera);
        let mut admitted = 0;
        for seq in 1..=2000 {
            rig.now += Duration::from_millis(1);
            assert_eq!(rig.rtp(0, Sent { seq, ..CAMERA }), Ok(()));
            match rig.rtp(0, Sent { pt: 111, ssrc: 2, seq, mid: b"m", level: Some(10), ..CAMERA }) {
                Ok(()) => admitted += 1,
                Err(reason) => assert_eq!(reason, Dropped::RateLimit),
            }
            rig.trains_for(0);
        }
        admitted
    };
    // Two seconds, and a burst of one.
    assert!((1480..=1520).contains(&admitted(1)));
    assert!((365..=385).contains(&admitted(4)));
    assert_eq!(admitted(0), 2000);
}

/// A speaker with a camera, and a viewer with a slot for each; the viewer has seen the first keyframe.
fn speaker_and_viewer(padding_percent: u8) -> Rig {
    let mut rig = Rig::new(2);
    rig.padding_percent = padding_percent;
    let microphone = source(SourceKind::Microphone, b"m", OPUS, &[]);
    rig.negotiate(0, vec![camera(&[]), microphone], Vec::new());
    let mut both = slots(MediaKind::Video, VP8, 1);
    both.extend(slots(MediaKind::Audio, OPUS, 2).split_off(1));
    rig.negotiate(1, Vec::new(), both);
    rig.switch_on(0, SourceKind::Camera);
    rig.switch_on(0, SourceKind::Microphone);
    rig.room.view(rig.people[1].key, &[wish(0, 0, 720)], &mut rig.events);
    rig.arrive(0, CAMERA, 0).unwrap();
    // What earns the budget for padding.
    for seq in 2..40 {
        rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, 1000).unwrap();
    }
    rig.fan_out();
    rig.trains_for(1);
    rig
}

const VOICE: Sent<'static> =
    Sent { pt: 111, ssrc: 9, seq: 1, mid: b"m", rid: b"", level: Some(30), keyframe: false, marker: false };

#[test]
fn a_frame_of_nearly_equal_packets_leaves_as_one_train() {
    let mut rig = speaker_and_viewer(1);
    // As libwebrtc splits a frame: the first a little shorter, the last ones a byte longer.
    for (seq, len) in (40..).zip([1085, 1099, 1099, 1100, 1100]) {
        rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, len).unwrap();
    }
    rig.fan_out();
    let trains = rig.trains_for(1);
    assert_eq!(trains.len(), 1);
    let payloads: Vec<usize> = trains[0].iter().map(|p| p.payload).collect();
    assert_eq!(payloads, [1085, 1099, 1099, 1100, 1100], "what was published arrives as it was");
    let padding: Vec<usize> = trains[0].iter().map(|p| p.padding).collect();
    assert_eq!(padding, [15, 1, 1, 0, 0]);
    assert_eq!(rig.counters.padding_bytes, 17);
    assert!(trains[0].windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
}

#[test]
fn nothing_is_padded_when_padding_is_off() {
    let mut rig = speaker_and_viewer(0);
    for (seq, len) in (40..).zip([1085, 1099, 1100]) {
        rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, len).unwrap();
    }
    rig.fan_out();
    let trains = rig.trains_for(1);
    assert_eq!(trains.len(), 3);
    assert!(trains.iter().flatten().all(|p| p.padding == 0));
}

#[test]
fn padding_stays_within_its_share_of_what_a_receiver_gets() {
    let mut rig = speaker_and_viewer(1);
    let (mut wire, mut padding, mut trains) = (0, 0, 0);
    let before = 38 * 1100;
    for frame in 0..100 {
        for (nth, len) in [900, 1100, 1000, 1100].into_iter().enumerate() {
            let seq = 40 + frame * 4 + nth as u64;
            rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, len).unwrap();
        }
        rig.fan_out();
        let left = rig.trains_for(1);
        trains += left.len();
        wire += left.iter().flatten().map(|p| p.wire).sum::<usize>();
        padding += left.iter().flatten().map(|p| p.padding).sum::<usize>();
    }
    assert!(padding * 100 <= wire + before, "{padding} of {wire} bytes");
    assert!(padding > 0);
    assert!(trains > 100, "not everything could be evened out");
}

#[test]
fn sound_rides_as_the_last_packet_of_the_picture_s_train() {
    let mut rig = speaker_and_viewer(1);
    rig.arrive(0, VOICE, 80).unwrap();
    for seq in 40..44 {
        rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, 1100).unwrap();
    }
    rig.fan_out();
    let trains = rig.trains_for(1);
    assert_eq!(trains.len(), 1);
    let ssrcs: Vec<u32> = trains[0].iter().map(|p| p.ssrc).collect();
    assert_eq!(ssrcs, [5000, 5000, 5000, 5000, 5001]);
    assert!(trains[0].iter().all(|p| p.padding == 0));
}

#[test]
fn what_waits_of_a_source_that_is_switched_off_or_gone_is_not_sent() {
    let mut rig = speaker_and_viewer(1);
    rig.arrive(0, Sent { seq: 40, keyframe: false, ..CAMERA }, 1100).unwrap();
    rig.room.switch(rig.people[0].key, SourceKind::Camera, false, &mut rig.events);
    rig.fan_out();
    assert_eq!(rig.trains_for(1), Vec::<Vec<Leaving>>::new());
    rig.arrive(0, VOICE, 80).unwrap();
    rig.room.leave(rig.people[0].key, &mut rig.events);
    rig.fan_out();
    assert_eq!(rig.trains_for(1), Vec::<Vec<Leaving>>::new());
}

#[test]
fn what_is_withheld_is_neither_sent_nor_kept_nor_listened_to_and_its_owner_cannot_change_that() {
    let mut rig = speaker_and_viewer(1);
    let key = rig.people[0].key;
    rig.arrive(0, Sent { seq: 40, keyframe: false, ..CAMERA }, 1100).unwrap();
    for kind in [SourceKind::Camera, SourceKind::Microphone] {
        rig.room.withhold(key, kind, true, &mut rig.events);
        rig.room.switch(key, kind, false, &mut rig.events);
        rig.room.switch(key, kind, true, &mut rig.events);
    }
    rig.fan_out();
    assert_eq!(rig.trains_for(1), Vec::<Vec<Leaving>>::new(), "what waited is not sent either");
    let withheld = Err(Dropped::SourceWithheld);
    assert_eq!(rig.rtp(0, Sent { seq: 41, ..CAMERA }), withheld);
    for seq in 1..20 {
        assert_eq!(rig.rtp(0, Sent { seq, ..VOICE }), withheld);
    }
    assert!(rig.trains_for(1).is_empty());
    rig.tick(CHOICE_INTERVAL);
    assert!(!rig.events.iter().any(|event| matches!(event, Event::Speakers { .. })));
    let history = &rig.layer(0, 0).history;
    assert!((1..42).all(|seq| history.find(ExtSeq(seq)).is_none()), "nothing is left to be sent again");
}

#[test]
fn what_is_released_is_shown_from_its_next_keyframe_on_without_a_gap_in_the_numbers() {
    let mut rig = speaker_and_viewer(0);
    let key = rig.people[0].key;
    rig.rtp(0, Sent { seq: 40, keyframe: false, ..CAMERA }).unwrap();
    let last = rig.trains_for(1)[0][0].seq;
    rig.room.withhold(key, SourceKind::Camera, true, &mut rig.events);
    assert_eq!(rig.rtp(0, Sent { seq: 41, ..CAMERA }), Err(Dropped::SourceWithheld));
    rig.room.withhold(key, SourceKind::Camera, false, &mut rig.events);
    rig.rtp(0, Sent { seq: 42, keyframe: false, ..CAMERA }).unwrap();
    assert!(rig.trains_for(1).is_empty());
    rig.tick(CHOICE_INTERVAL);
    assert_eq!(rig.asked_for_keyframes(0), [CAMERA.ssrc]);
    rig.rtp(0, Sent { seq: 43, ..CAMERA }).unwrap();
    assert_eq!(rig.trains_for(1)[0][0].seq, last.wrapping_add(1));
}

#[test]
fn releasing_a_source_does_not_switch_it_on() {
    let mut rig = speaker_and_viewer(0);
    let key = rig.people[0].key;
    rig.room.withhold(key, SourceKind::Microphone, true, &mut rig.events);
    rig.room.switch(key, SourceKind::Microphone, false, &mut rig.events);
    rig.room.withhold(key, SourceKind::Microphone, false, &mut rig.events);
    assert_eq!(rig.rtp(0, VOICE), Err(Dropped::SourceOff));
}

#[test]
fn a_source_withheld_before_it_is_negotiated_is_withheld_from_its_first_packet_on() {
    let mut rig = Rig::new(1);
    let key = rig.people[0].key;
    rig.room.withhold(key, SourceKind::Camera, true, &mut rig.events);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    assert_eq!(rig.rtp(0, CAMERA), Err(Dropped::SourceWithheld));
    rig.negotiate(0, Vec::new(), Vec::new());
    rig.negotiate(0, vec![source(SourceKind::Camera, b"d", VP8, &[])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    assert_eq!(rig.rtp(0, Sent { ssrc: 2, mid: b"d", ..CAMERA }), Err(Dropped::SourceWithheld));
}

const FRAME: Duration = Duration::from_micros(300);

#[test]
fn only_the_middle_of_a_frame_waits_for_the_rest_of_it() {
    let part = Sent { seq: 40, keyframe: false, ..CAMERA };
    let mut rig = speaker_and_viewer(1);
    rig.arrive(0, VOICE, 80).unwrap();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), Some(rig.now), "sound is complete");
    rig.arrive(0, part, 1100).unwrap();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), Some(rig.now + FRAME));
    rig.arrive(0, Sent { seq: 2, ..VOICE }, 80).unwrap();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), Some(rig.now + FRAME), "sound ends no frame");
    rig.arrive(0, Sent { seq: 41, marker: true, ..part }, 1100).unwrap();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), Some(rig.now));
    rig.fan_out();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), None);
}

#[test]
fn a_whole_frame_of_one_camera_does_not_end_the_wait_for_that_of_another() {
    let mut rig = Rig::new(2);
    for who in 0..2 {
        rig.negotiate(who, vec![camera(&[])], slots(MediaKind::Video, VP8, 1));
        rig.switch_on(who, SourceKind::Camera);
    }
    rig.arrive(0, CAMERA, 1100).unwrap();
    rig.arrive(1, Sent { marker: true, ..CAMERA }, 1100).unwrap();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), Some(rig.now + FRAME));
    rig.arrive(0, Sent { seq: 2, keyframe: false, marker: true, ..CAMERA }, 1100).unwrap();
    assert_eq!(rig.batch.due(Duration::ZERO, FRAME), Some(rig.now));
}

#[test]
fn a_busy_core_sends_one_batch_a_tick_and_what_comes_after_a_pause_at_once() {
    const TICK: Duration = Duration::from_millis(1);
    let mut rig = speaker_and_viewer(1);
    let left = rig.now;
    rig.now += TICK / 4;
    rig.arrive(0, VOICE, 80).unwrap();
    assert_eq!(rig.batch.due(TICK, FRAME), Some(left + TICK));
    rig.fan_out();
    rig.now += 2 * TICK;
    rig.arrive(0, Sent { seq: 2, ..VOICE }, 80).unwrap();
    assert_eq!(rig.batch.due(TICK, FRAME), Some(rig.now));
}

#[test]
fn a_full_batch_refuses_and_the_next_one_goes_on() {
    let mut rig = speaker_and_viewer(1);
    let mut seq = 40;
    while !rig.batch.is_full() {
        rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, 1100).unwrap();
        seq += 1;
    }
    rig.fan_out();
    let sent: usize = rig.trains_for(1).iter().map(Vec::len).sum();
    assert_eq!(sent, seq as usize - 40);
    assert_eq!(rig.arrive(0, Sent { seq, keyframe: false, ..CAMERA }, 1100), Ok(()));
}
