//! What people see of one encoding with three spatial layers: each the layer that suits them, and nothing of the others.

use super::*;
use crate::sfu::slot::Slot;
use crate::sfu::tempo::Tempo;
use crate::wire::codec::dependency::tests::written::{Encoding, Place};
use crate::wire::codec::dependency::{Frame, Structure};

const AV1: CodecPt = CodecPt { codec: Codec::Av1, pt: Pt(45), rtx_pt: Some(Pt(46)) };
const L3T3_KEY: Encoding = Encoding { spatial: 3, temporal: 3, is_key: true, template_id_offset: 12 };
/// Temporal layers of four pictures.
const PATTERN: [u8; 4] = [0, 2, 1, 2];
const PICTURE: Duration = Duration::from_millis(40);
/// Of each spatial layer, so that its rate is as large as its picture.
const BYTES: [usize; 3] = [60, 240, 960];

/// One packet that left for the viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Got {
    seq: u16,
    timestamp: u32,
    marker: bool,
    payload: usize,
    spatial: u8,
    temporal: u8,
    frame_number: u16,
}

struct Scene {
    rig: Rig,
    picture: u64,
    seq: u64,
    /// The viewer's own, learnt from what it gets.
    structure: Structure,
    got: Vec<Got>,
    /// Decode targets that the encoder says are active.
    active: u32,
    /// Spatial layers that it sends.
    spatial: u8,
    ssrc: u32,
}

impl Scene {
    fn new(height: u16) -> Scene {
        let mut rig = Rig::new(2);
        rig.negotiate(0, vec![source(SourceKind::Camera, b"c", AV1, &[])], Vec::new());
        let mut slots = slots(MediaKind::Video, AV1, 1);
        slots[0].rtx_ssrc = Some(Ssrc(6000));
        rig.negotiate(1, Vec::new(), slots);
        rig.switch_on(0, SourceKind::Camera);
        rig.room.view(rig.people[1].key, &[wish(0, 0, height)], &mut rig.events);
        Scene {
            rig,
            picture: 0,
            seq: 65_500,
            structure: Structure::default(),
            got: Vec::new(),
            active: u32::MAX,
            spatial: 3,
            ssrc: 1,
        }
    }

    fn slot(&mut self) -> &mut Slot {
        let key = self.rig.people[1].key;
        &mut self.rig.room.participants.find_mut(key).unwrap().slots[0]
    }

    /// The next picture, each frame in two packets, but for those of the spatial layers named `lost`.
    fn picture(&mut self, key: bool, lost: &[u8]) {
        for spatial in 0..self.spatial {
            for nth in 0..2 {
                if lost.contains(&spatial) {
                    self.seq += 1;
                } else {
                    self.packet(key, spatial, nth);
                }
            }
        }
        self.picture += 1;
        self.rig.fan_out();
        self.take();
        self.rig.tick(PICTURE);
    }

    fn packet(&mut self, key: bool, spatial: u8, nth: u8) {
        let place = Place {
            spatial,
            temporal: if key { 0 } else { PATTERN[(self.picture % 4) as usize] },
            key,
            starts: nth == 0,
            ends: nth == 1,
            frame_number: (3 * self.picture) as u16 + u16::from(spatial),
        };
        let descriptor = match place {
            Place { spatial: 0, starts: true, key: true, .. } => L3T3_KEY.with_structure(place),
            _ if self.active != u32::MAX => L3T3_KEY.with_active(place, self.active),
            _ => L3T3_KEY.descriptor(place),
        };
        // A sequence header and the beginning of a frame, the beginning of a frame, or the rest of one.
        let mut payload = match (key && spatial == 0, nth) {
            (true, 0) => vec![0x28, 2, 0x08, 0xaa, 0x30],
            (_, 0) => vec![0x10, 0x30],
            _ => vec![0x90, 0x30],
        };
        payload.resize(BYTES[usize::from(spatial)], spatial);
        let marker = spatial + 1 == self.spatial && nth == 1;
        let sent = Sent { pt: 45, ssrc: self.ssrc, seq: self.seq, marker, descriptor: &descriptor, ..CAMERA };
        self.seq += 1;
        self.rig.arrive_at(0, sent, RtpTime(3600 * self.picture as u32), &payload).unwrap();
    }

    /// What has left for the viewer.
    fn take(&mut self) {
        while let Some(departure) = self.rig.egress.take_ready() {
            let mut train = self.rig.egress.bytes(&departure).to_vec();
            let is_viewers = departure.path == self.rig.people[1].path;
            for packet in train.chunks_mut(departure.segment_bytes).filter(|_| is_viewers) {
                if crate::wire::classify(packet) != Some(crate::wire::Kind::Rtp) {
                    continue;
                }
                let header = Header::parse(packet).unwrap();
                let (len, _) = self.rig.people[1].inbound.open_rtp(packet, &header, true).unwrap();
                let values = crate::wire::ext::ExtensionValues::read(packet, &header, &EXTENSIONS);
                let descriptor = values.dependency_descriptor.unwrap();
                let frame_number = u16::from_be_bytes([descriptor[1], descriptor[2]]);
                let frame = self.structure.read(ExtSeq(header.seq.0.into()), descriptor).unwrap();
                let Frame { spatial_id: spatial, temporal_id: temporal, .. } = frame.unwrap();
                let (seq, timestamp) = (header.seq.0, header.timestamp.0);
                let payload = len - header.len - header.padding_len(&packet[..len]).unwrap();
                let marker = header.marker;
                self.got.push(Got { seq, timestamp, marker, payload, spatial, temporal, frame_number });
            }
            self.rig.egress.release(departure);
        }
    }

    /// The spatial layers of what came since the last call, picture by picture; each is whole and numbers go on.
    fn seen(&mut self) -> Vec<Vec<u8>> {
        assert!(self.got.windows(2).all(|pair| pair[1].seq == pair[0].seq.wrapping_add(1)), "{:?}", self.got);
        let pictures = self.got.chunk_by(|a, b| a.timestamp == b.timestamp);
        let seen = pictures.map(|picture| {
            let marked: Vec<_> = picture.iter().map(|got| got.marker).collect();
            assert!(marked[..marked.len() - 1].iter().all(|marker| !marker) && marked[marked.len() - 1]);
            picture.chunks(2).map(|frame| frame[0].spatial).collect()
        });
        let seen = seen.collect();
        self.got.clear();
        seen
    }
}

#[test]
fn everybody_sees_the_layer_that_they_draw_and_nothing_of_the_others() {
    for (height, layer) in [(90, 0), (180, 1), (360, 2), (2000, 2)] {
        let mut scene = Scene::new(height);
        // What there is to choose from is known with the first picture.
        scene.picture(true, &[]);
        (0..10).for_each(|_| scene.picture(false, &[]));
        scene.seen();
        scene.picture(true, &[]);
        (0..3).for_each(|_| scene.picture(false, &[]));
        let whole: Vec<u8> = (0..=layer).collect();
        assert_eq!(scene.seen(), [whole, vec![layer], vec![layer], vec![layer]], "{height}");
    }
}

#[test]
fn another_layer_begins_with_a_key_picture_which_is_asked_for_once() {
    let mut scene = Scene::new(90);
    scene.picture(true, &[]);
    (0..80).for_each(|_| scene.picture(false, &[]));
    scene.seen();
    scene.rig.asked_for_keyframes(0);
    let key = scene.rig.people[1].key;
    scene.rig.room.view(key, &[wish(0, 0, 360)], &mut scene.rig.events);
    scene.rig.tick(PICTURE);
    assert_eq!(scene.rig.asked_for_keyframes(0), [1]);
    (0..5).for_each(|_| scene.picture(false, &[]));
    assert_eq!(scene.seen(), [[0]; 5]);
    scene.picture(true, &[]);
    scene.picture(false, &[]);
    assert_eq!(scene.seen(), [vec![0, 1, 2], vec![2]]);
    assert!(!scene.rig.events.iter().any(|event| matches!(event, Event::LayersWanted { .. })));
}

#[test]
fn an_encoder_that_begins_anew_is_taken_apart_again() {
    let mut scene = Scene::new(180);
    scene.picture(true, &[]);
    (0..10).for_each(|_| scene.picture(false, &[]));
    (scene.ssrc, scene.seq, scene.structure) = (2, 40, Structure::default());
    scene.got.clear();
    scene.picture(true, &[]);
    (0..2).for_each(|_| scene.picture(false, &[]));
    assert_eq!(scene.seen(), [vec![0, 1], vec![1], vec![1]]);
}

#[test]
fn who_sees_a_layer_that_ends_gets_the_one_below_it() {
    let mut scene = Scene::new(360);
    scene.picture(true, &[]);
    (0..50).for_each(|_| scene.picture(false, &[]));
    assert_eq!(scene.slot().target, 2);
    scene.rig.asked_for_keyframes(0);
    scene.seen();
    (scene.spatial, scene.active) = (2, 0b000_111_111);
    (0..6).for_each(|_| scene.picture(false, &[]));
    assert_eq!(scene.slot().target, 1);
    scene.seen();
    scene.picture(true, &[]);
    scene.picture(false, &[]);
    assert_eq!(scene.seen(), [vec![0, 1], vec![1]]);
}

#[test]
fn fewer_pictures_of_a_spatial_layer_are_those_of_its_lower_temporal_layers() {
    let mut scene = Scene::new(360);
    for key in [true, false, false, false, true, false, false, false] {
        scene.picture(key, &[]);
    }
    assert_eq!(scene.slot().layer(), Some(2));
    scene.got.clear();
    for (tempo, temporal) in [(Tempo::Base, vec![0, 0]), (Tempo::Middle, vec![0, 1, 0, 1])] {
        (0..4).for_each(|_| {
            scene.slot().tempo = tempo;
            scene.picture(false, &[]);
        });
        scene.got.clear();
        (0..8).for_each(|_| {
            scene.slot().tempo = tempo;
            scene.picture(false, &[]);
        });
        let seen: Vec<_> = scene.got.iter().step_by(2).map(|got| got.temporal).collect();
        assert_eq!(seen, temporal);
        scene.seen();
    }
}

#[test]
fn what_another_layer_lost_and_got_late_is_a_number_and_nothing_else() {
    let mut scene = Scene::new(90);
    scene.picture(true, &[]);
    (0..10).for_each(|_| scene.picture(false, &[]));
    scene.got.clear();
    let (late, picture) = (scene.seq + 2, scene.picture);
    scene.picture(false, &[1]);
    scene.picture(false, &[]);
    let before: Vec<_> = scene.got.iter().map(|got| got.seq).collect();
    assert_eq!(before[2].wrapping_sub(before[1]), 3, "nobody knows whose packets are missing");
    let (seq, now) = (scene.seq, scene.picture);
    (scene.seq, scene.picture) = (late, picture);
    (0..2).for_each(|nth| scene.packet(false, 1, nth));
    (scene.seq, scene.picture) = (seq, now);
    scene.got.clear();
    scene.structure = Structure::default();
    scene.rig.fan_out();
    let trains = scene.rig.trains_for(1);
    let filled: Vec<_> = trains.iter().flatten().map(|packet| (packet.seq, packet.payload)).collect();
    assert_eq!(filled, [(before[1].wrapping_add(1), 0), (before[1].wrapping_add(2), 0)]);
}

#[test]
fn what_was_lost_of_pictures_that_are_left_out_is_a_number_and_nothing_else() {
    let mut scene = Scene::new(90);
    scene.picture(true, &[]);
    (1..4).for_each(|_| scene.picture(false, &[]));
    scene.slot().tempo = Tempo::Base;
    scene.picture(false, &[]);
    scene.slot().tempo = Tempo::Base;
    let (late, picture) = (scene.seq, scene.picture);
    assert_eq!(PATTERN[(picture % 4) as usize], 2);
    scene.picture(false, &[0]);
    scene.slot().tempo = Tempo::Base;
    (0..3).for_each(|_| scene.picture(false, &[]));
    let last = scene.got.pop().unwrap();
    assert_eq!((last.spatial, last.temporal), (0, 0));
    (scene.seq, scene.picture) = (late, picture);
    (0..2).for_each(|nth| scene.packet(false, 0, nth));
    scene.rig.fan_out();
    let filled: Vec<_> = scene.rig.trains_for(1).concat().iter().map(|packet| packet.payload).collect();
    assert_eq!(filled, [0, 0]);
}
