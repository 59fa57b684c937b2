//! What a receiver sees of a slot: opened with its own keys, number by number.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::config::Limits;
use crate::id::{MediaKind, Mid, Path, SeqNo, Ssrc};
use crate::link::CodecPt;
use crate::sfu::batch::Meta;
use crate::sfu::history::{Entry, History};
use crate::sfu::ice::IceCredentials;
use crate::sfu::slab::Slab;
use crate::sfu::srtp::{Inbound, Outbound, Profile};
use crate::sfu::transport::TransportSpec;
use crate::wire::codec::inspect;
use crate::wire::rtp::Header;

const PROFILE: Profile = Profile::AeadAes128Gcm;
const KEYFRAME: u8 = 0x10;
const DELTA: u8 = 0x11;

/// A slot, its receiver's keys on both ends, and the way between.
struct Rig {
    slot: Slot,
    egress: Egress,
    transport: Transport,
    inbound: Inbound,
    downlink: Downlink,
    resend: ResendBudget,
    padding: PaddingBudget,
    source: Key<Source>,
}

/// What the receiver saw.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    ssrc: u32,
    pt: u8,
    seq: u16,
    timestamp: u32,
    picture_id: u16,
    tl0: u8,
    body: Vec<u8>,
}

/// One packet of a source.
struct Sent {
    layer: usize,
    epoch: u32,
    seq: u64,
    timestamp: u32,
    picture_id: u16,
    frame: u8,
    captured_ms: u64,
}

impl Rig {
    fn new() -> Rig {
        let codecs = vec![CodecPt { codec: Codec::Vp8, pt: Pt(96), rtx_pt: Some(Pt(97)) }];
        let spec = SlotSpec {
            mid: Mid::new(b"5").unwrap(),
            kind: MediaKind::Video,
            ssrc: Ssrc(1000),
            rtx_ssrc: Some(Ssrc(1001)),
            codecs,
        };
        let mut slot = Slot::new(spec, 77);
        let source = Slab::new().reserve_key();
        slot.show(Some(source));
        let credentials = IceCredentials { ufrag: "ufrag".into(), pwd: "password".into() };
        let spec = TransportSpec { local: credentials, remote_ufrag: String::new(), fingerprint: [0; 32] };
        let now = Instant::now();
        let mut transport = Transport::new(spec, &Limits::default(), now);
        let path = Path { remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9), local: None };
        let outbound = Outbound::new(PROFILE, &[7; 16], &[3; 12]).unwrap();
        transport.connect(
            now,
            path,
            PROFILE,
            Inbound::new(PROFILE, &[8; 16], &[4; 12], 8).unwrap(),
            outbound,
        );
        Rig {
            slot,
            egress: Egress::new(8, 4096, 1),
            transport,
            inbound: Inbound::new(PROFILE, &[7; 16], &[3; 12], 8).unwrap(),
            downlink: Downlink::default(),
            resend: ResendBudget::default(),
            padding: PaddingBudget::default(),
            source,
        }
    }

    fn forward(&mut self, sent: &Sent) -> Option<Seen> {
        let mut payload = payload(sent);
        let mark = inspect(Codec::Vp8, &payload);
        let meta = Meta {
            kind: MediaKind::Video,
            layer: sent.layer,
            epoch: sent.epoch,
            seq: ExtSeq(sent.seq),
            numbers: Numbers::whole(ExtSeq(sent.seq)),
            timestamp: RtpTime(sent.timestamp),
            marker: false,
            padding: false,
            codec: Codec::Vp8,
            mark,
            audio_level: None,
            captured: Duration::from_millis(sent.captured_ms),
        };
        let source = self.source;
        let mut packet = Item { source, meta: &meta, payload: &mut payload, descriptor: None, longest: 0 };
        let mut to = sender(&mut self.transport, &mut self.downlink, &mut self.resend, &mut self.padding);
        let forwarded = self.slot.forward(&mut packet, false, &mut to, &mut self.egress).unwrap();
        let seen = self.receive();
        assert_eq!(forwarded, seen.is_some());
        seen
    }

    fn resend(
        &mut self,
        now: Instant,
        lost: u16,
        history: &History,
        epoch: u32,
    ) -> Result<Option<Seen>, Dropped> {
        let mut to = sender(&mut self.transport, &mut self.downlink, &mut self.resend, &mut self.padding);
        let of = |_, _, e| (e == epoch).then_some(history);
        self.slot.resend(now, SeqNo(lost), of, &mut to, &mut self.egress)?;
        Ok(self.receive())
    }

    fn receive(&mut self) -> Option<Seen> {
        let departure = self.egress.take_ready()?;
        let mut packet = self.egress.bytes(&departure).to_vec();
        self.egress.release(departure);
        let header = Header::parse(&packet).unwrap();
        let (len, _) = self.inbound.open_rtp(&mut packet, &header, true).unwrap();
        let payload = &packet[header.len..len];
        let (original, payload) = if header.pt == Pt(97) { payload.split_at(2) } else { payload.split_at(0) };
        let mark = inspect(Codec::Vp8, payload);
        let seq = original.first_chunk().map_or(header.seq.0, |osn| u16::from_be_bytes(*osn));
        Some(Seen {
            ssrc: header.ssrc.0,
            pt: header.pt.0,
            seq,
            timestamp: header.timestamp.0,
            picture_id: mark.picture_id.unwrap().value,
            tl0: mark.tl0.unwrap().value,
            body: payload[6..].to_vec(),
        })
    }
}

fn sender<'a>(
    transport: &'a mut Transport,
    downlink: &'a mut Downlink,
    resend: &'a mut ResendBudget,
    padding: &'a mut PaddingBudget,
) -> Sender<'a> {
    static EXTENSIONS: ExtensionIds = ExtensionIds {
        mid: Some(4),
        rid: None,
        repaired_rid: None,
        abs_send_time: Some(2),
        transport_cc: Some(3),
        audio_level: Some(1),
        dependency_descriptor: None,
    };
    Sender {
        transport,
        overhead: PROFILE.rtp_overhead(),
        extensions: &EXTENSIONS,
        downlink,
        clock: Duration::from_secs(1),
        datagram_max: 1452,
        resend,
        padding,
    }
}

/// A VP8 payload with 15-bit picture id and TL0PICIDX (RFC 7741 §4.2).
fn payload(sent: &Sent) -> Vec<u8> {
    let [high, low] = sent.picture_id.to_be_bytes();
    let mut payload = vec![0x90, 0xc0, 0x80 | high, low, sent.picture_id as u8];
    payload.push(sent.frame);
    // Start code and 640x360 of a keyframe (RFC 6386 §9.1).
    payload.extend_from_slice(&[0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
    payload.extend_from_slice(&sent.seq.to_be_bytes());
    payload
}

fn small(seq: u64, frame: u8) -> Sent {
    Sent {
        layer: 0,
        epoch: 1,
        seq,
        timestamp: 3000 * seq as u32,
        picture_id: seq as u16,
        frame,
        captured_ms: 33 * seq,
    }
}

/// The same picture in a larger layer with numbers of its own.
fn large(seq: u64, frame: u8) -> Sent {
    Sent {
        layer: 2,
        epoch: 1,
        seq: seq + 60_000,
        timestamp: 900_000 + 3000 * seq as u32,
        picture_id: 30_000 + seq as u16,
        frame,
        captured_ms: 33 * seq,
    }
}

#[test]
fn a_slot_shows_nothing_before_a_keyframe() {
    let mut rig = Rig::new();
    assert_eq!(rig.forward(&small(1, DELTA)), None);
    let first = rig.forward(&small(2, KEYFRAME)).unwrap();
    assert_eq!((first.ssrc, first.pt), (1000, 96));
    let second = rig.forward(&small(3, DELTA)).unwrap();
    assert_eq!(second.seq, first.seq.wrapping_add(1));
    assert_eq!(second.timestamp, first.timestamp.wrapping_add(3000));
}

#[test]
fn a_gap_of_the_source_stays_a_gap_and_a_late_packet_fills_it() {
    let mut rig = Rig::new();
    let first = rig.forward(&small(2, KEYFRAME)).unwrap();
    let third = rig.forward(&small(4, DELTA)).unwrap();
    assert_eq!(third.seq, first.seq.wrapping_add(2));
    let second = rig.forward(&small(3, DELTA)).unwrap();
    assert_eq!(second.seq, first.seq.wrapping_add(1));
}

#[test]
fn a_layer_switch_waits_for_the_keyframe_and_continues_every_number() {
    let mut rig = Rig::new();
    rig.forward(&small(9, KEYFRAME)).unwrap();
    let before = rig.forward(&small(10, DELTA)).unwrap();
    rig.slot.target = 2;
    assert_eq!(rig.forward(&large(11, DELTA)), None);
    let between = rig.forward(&small(11, DELTA)).unwrap();
    let after = rig.forward(&large(12, KEYFRAME)).unwrap();
    assert_eq!(rig.forward(&small(12, DELTA)), None);
    assert_eq!(after.seq, between.seq.wrapping_add(1));
    assert_eq!(after.picture_id, between.picture_id + 1);
    assert_eq!(after.tl0, between.tl0.wrapping_add(1));
    let step = after.timestamp.wrapping_sub(before.timestamp);
    assert!((5900..6100).contains(&step), "two frames of 33 ms, not {step}");
}

#[test]
fn a_switch_never_repeats_a_timestamp() {
    let mut rig = Rig::new();
    let before = rig.forward(&small(10, KEYFRAME)).unwrap();
    rig.slot.target = 2;
    let after = rig.forward(&large(10, KEYFRAME)).unwrap();
    assert!(after.timestamp.wrapping_sub(before.timestamp) > 0);
}

#[test]
fn a_packet_from_before_the_switch_that_comes_late_is_not_shown() {
    let mut rig = Rig::new();
    rig.forward(&small(10, KEYFRAME)).unwrap();
    rig.slot.target = 2;
    rig.forward(&large(12, KEYFRAME)).unwrap();
    assert_eq!(rig.forward(&large(11, DELTA)), None);
}

#[test]
fn a_restarted_encoder_is_shown_from_its_keyframe_on() {
    let mut rig = Rig::new();
    let before = rig.forward(&small(10, KEYFRAME)).unwrap();
    let restarted = Sent { epoch: 2, seq: 5, ..small(11, DELTA) };
    assert_eq!(rig.forward(&restarted), None);
    let after = rig.forward(&Sent { frame: KEYFRAME, ..restarted }).unwrap();
    assert_eq!(after.seq, before.seq.wrapping_add(1));
}

#[test]
fn a_nack_is_answered_as_the_receiver_first_saw_the_packet_even_from_before_a_switch() {
    let mut rig = Rig::new();
    let now = Instant::now();
    let mut history = History::new();
    history.provide(16);
    let sent = small(10, KEYFRAME);
    let bytes = payload(&sent);
    let mark = inspect(Codec::Vp8, &bytes);
    let (seq, timestamp) = (ExtSeq(sent.seq), RtpTime(sent.timestamp));
    history.store(Entry::new(seq, timestamp, false, false, Codec::Vp8, mark), &bytes, None);
    let first = rig.forward(&sent).unwrap();
    rig.slot.target = 2;
    rig.forward(&large(12, KEYFRAME)).unwrap();

    let again = rig.resend(now, first.seq, &history, 1).unwrap().unwrap();
    assert_eq!((again.ssrc, again.pt), (1001, 97));
    assert_eq!(Seen { ssrc: 1000, pt: 96, ..again }, first);
    assert_eq!(rig.resend(now, first.seq, &history, 1), Err(Dropped::ResendBudget));
    let later = now + again::RESEND_INTERVAL;
    assert_eq!(rig.resend(later, first.seq, &history, 2), Err(Dropped::NotInHistory));
    assert!(rig.resend(later, first.seq, &history, 1).unwrap().is_some());
}

#[test]
fn a_nack_for_what_was_never_sent_is_not_answered() {
    let mut rig = Rig::new();
    let mut history = History::new();
    history.provide(16);
    let first = rig.forward(&small(10, KEYFRAME)).unwrap();
    for seq in [10, 11] {
        let bytes = payload(&small(seq, DELTA));
        let mark = inspect(Codec::Vp8, &bytes);
        history.store(Entry::new(ExtSeq(seq), RtpTime(0), false, false, Codec::Vp8, mark), &bytes, None);
    }
    rig.slot.pause();
    let now = Instant::now();
    assert!(rig.resend(now, first.seq, &history, 1).unwrap().is_some());
    assert_eq!(rig.resend(now, first.seq.wrapping_add(1), &history, 1), Err(Dropped::NotInHistory));
}

#[test]
fn a_codec_without_payload_type_is_counted_and_nothing_leaves() {
    let mut rig = Rig::new();
    let mut bytes = payload(&small(1, KEYFRAME));
    let mark = inspect(Codec::Vp8, &bytes);
    let meta = Meta {
        kind: MediaKind::Video,
        layer: 0,
        epoch: 1,
        seq: ExtSeq(1),
        numbers: Numbers::whole(ExtSeq(1)),
        timestamp: RtpTime(0),
        marker: false,
        padding: false,
        codec: Codec::Av1,
        mark,
        audio_level: None,
        captured: Duration::ZERO,
    };
    let source = rig.source;
    let mut packet = Item { source, meta: &meta, payload: &mut bytes, descriptor: None, longest: 0 };
    let mut to = sender(&mut rig.transport, &mut rig.downlink, &mut rig.resend, &mut rig.padding);
    assert_eq!(
        rig.slot.forward(&mut packet, false, &mut to, &mut rig.egress),
        Err(Dropped::CodecNotReceivable)
    );
    assert!(rig.egress.take_ready().is_none());
}
