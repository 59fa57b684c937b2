//! What somebody sees of a camera in temporal layers who gets fewer of its pictures: a stream without holes, of which a
//! decoder misses nothing, however the packets reached the server.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::id::SeqNo;
use crate::sfu::history::History;
use crate::sfu::layer::Layer;
use crate::sfu::slot::{Share, Slot};
use crate::sfu::tempo::Tempo;
use crate::wire::codec;

/// Temporal layers of a browser's eight pictures, and which of them name the base layer alone (RFC 7741 §4.2, Y). The
/// others name the last picture of layer 1 as well.
const PATTERN: [(u8, bool); 8] =
    [(0, false), (2, true), (1, true), (2, false), (0, false), (2, false), (1, false), (2, false)];
const KEYFRAMES_APART: u64 = 64;
const PICTURE_ID: u64 = 0x7ff0;
/// Sequence numbers wrap soon.
const SEQ: u64 = 65_500;

/// One packet of the camera.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Part {
    seq: u64,
    picture: u64,
    part: u8,
    parts: u8,
}

/// What a receiver has got under a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Got {
    timestamp: u32,
    picture_id: u16,
    tl0: u8,
    part: Part,
}

fn layer_of(picture: u64) -> (u8, bool) {
    PATTERN[(picture % KEYFRAMES_APART % 8) as usize]
}

fn tl0_of(picture: u64) -> u64 {
    (0..=picture).filter(|picture| layer_of(*picture).0 == 0).count() as u64
}

/// The pictures that a decoder must have to show this one.
fn needs(picture: u64) -> Vec<u64> {
    let last = |temporal_id| (0..picture).rev().find(|before| layer_of(*before).0 == temporal_id);
    match layer_of(picture) {
        _ if picture.is_multiple_of(KEYFRAMES_APART) => Vec::new(),
        (0, _) | (_, true) => last(0).into_iter().collect(),
        _ => [last(0), last(1)].into_iter().flatten().collect(),
    }
}

fn payload(part: Part) -> Vec<u8> {
    let (temporal_id, sync) = layer_of(part.picture);
    let [high, low] = (((PICTURE_ID + part.picture) & 0x7fff) as u16).to_be_bytes();
    let first = if part.part == 0 { 0x90 } else { 0x80 };
    let delta = u8::from(!part.picture.is_multiple_of(KEYFRAMES_APART));
    let mut payload = vec![first, 0xe0, 0x80 | high, low, tl0_of(part.picture) as u8];
    payload.extend([temporal_id << 6 | u8::from(sync) << 5, delta]);
    payload.extend(part.seq.to_be_bytes());
    payload.extend(part.picture.to_be_bytes());
    payload.extend([part.part, part.parts]);
    payload
}

fn read(timestamp: u32, payload: &[u8]) -> Got {
    let mark = codec::inspect(Codec::Vp8, payload);
    let body = &payload[7..];
    let number = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().unwrap());
    Got {
        timestamp,
        picture_id: mark.picture_id.unwrap().value,
        tl0: mark.tl0.unwrap().value,
        part: Part { seq: number(0), picture: number(8), part: body[16], parts: body[17] },
    }
}

struct Seen {
    rig: Rig,
    got: BTreeMap<u64, Got>,
    newest: Option<ExtSeq>,
    rid: &'static [u8],
    /// How often another tempo was asked for.
    changes: usize,
}

impl Seen {
    fn new() -> Seen {
        Seen::with_layers(&[], b"")
    }

    /// Of the layers one is sent.
    fn with_layers(rids: &[&[u8]], rid: &'static [u8]) -> Seen {
        let mut rig = Rig::new(2);
        rig.negotiate(0, vec![camera(rids)], Vec::new());
        let mut slots = slots(MediaKind::Video, VP8, 1);
        slots[0].rtx_ssrc = Some(Ssrc(6000));
        rig.negotiate(1, Vec::new(), slots);
        rig.switch_on(0, SourceKind::Camera);
        rig.room.view(rig.people[1].key, &[wish(0, 0, 720)], &mut rig.events);
        Seen { rig, got: BTreeMap::new(), newest: None, rid, changes: 0 }
    }

    /// What comes of these packets, so many of them at each tempo and the rest at all.
    fn of(parts: impl IntoIterator<Item = Part>, tempos: &[(u8, usize)]) -> Seen {
        let mut seen = Seen::new();
        let tempos = tempos.iter().flat_map(|(of, count)| std::iter::repeat_n(tempo(*of), *count));
        for (part, tempo) in parts.into_iter().zip(tempos.chain(std::iter::repeat(Tempo::Full))) {
            seen.set(tempo);
            seen.arrive(part);
        }
        seen
    }

    fn slot(&mut self) -> &mut Slot {
        let key = self.rig.people[1].key;
        &mut self.rig.room.participants.find_mut(key).unwrap().slots[0]
    }

    fn set(&mut self, tempo: Tempo) {
        self.changes += usize::from(self.slot().tempo != tempo);
        self.slot().tempo = tempo;
    }

    fn arrive(&mut self, part: Part) {
        let Part { seq, picture, part: nth, parts } = part;
        let sent = Sent { seq, rid: self.rid, marker: nth + 1 == parts, ..CAMERA };
        self.rig.arrive_at(0, sent, RtpTime(3000 * picture as u32), &payload(part)).unwrap();
        self.rig.fan_out();
        self.take();
    }

    fn take(&mut self) {
        for (seq, got) in self.leaving() {
            let seq = self.newest.map_or(ExtSeq(u64::from(seq.0) + 65_536), |n| n.nearest(seq));
            self.newest = self.newest.max(Some(seq));
            assert_eq!(self.got.insert(seq.0, got), None, "number {seq:?} came twice");
        }
    }

    /// Each packet that leaves for the viewer: its number, and what is in it.
    fn leaving(&mut self) -> Vec<(SeqNo, Got)> {
        let mut leaving = Vec::new();
        while let Some(departure) = self.rig.egress.take_ready() {
            let mut train = self.rig.egress.bytes(&departure).to_vec();
            for packet in train.chunks_mut(departure.segment_bytes) {
                let header = Header::parse(packet).unwrap();
                let (len, _) = self.rig.people[1].inbound.open_rtp(packet, &header, true).unwrap();
                assert_eq!(header.ssrc, Ssrc(5000));
                leaving.push((header.seq, read(header.timestamp.0, &packet[header.len..len])));
            }
            self.rig.egress.release(departure);
        }
        leaving
    }

    /// Whatever is sent again is what was seen under that number.
    fn check_resends(&mut self) {
        let key = self.rig.people[1].key;
        let oldest = self.slot().oldest();
        for nth in 0..self.got.len() as u64 {
            self.rig.with_turn(|room, turn| {
                let sources = &room.sources;
                let (slots, mut sender) =
                    room.participants.find_mut(key).unwrap().receiving(turn.clock(), 1452).unwrap();
                let history_of = |source, layer: usize, _| -> Option<&History> {
                    Some(&sources.find(source)?.layers.get(layer)?.history)
                };
                slots[0].probe(nth, history_of, &mut sender, turn.egress).unwrap();
            });
            let seq = self.newest.unwrap().0 - nth;
            let packet = self.rig.egress.take_ready().unwrap();
            let mut bytes = self.rig.egress.bytes(&packet).to_vec();
            self.rig.egress.release(packet);
            let header = Header::parse(&bytes).unwrap();
            let (len, _) = self.rig.people[1].inbound.open_rtp(&mut bytes, &header, true).unwrap();
            let expected = self.got.get(&seq);
            if header.padding {
                // It never came, or too many changes ago.
                let is_old = self.changes > 4
                    && oldest.is_some_and(|oldest| (seq as u16).wrapping_sub(oldest.0 as u16) > 1 << 15);
                assert!(expected.is_none() || is_old, "number {seq} was seen and is not found");
                continue;
            }
            let (number, payload) = bytes[header.len..len].split_at(2);
            assert_eq!(number, (seq as u16).to_be_bytes());
            let again = read(expected.map_or(0, |got| got.timestamp), payload);
            assert_eq!(expected, Some(&again), "number {seq}");
        }
    }

    /// Pictures of which all packets are there, in the order of their numbers, each with its own number.
    fn pictures(&self) -> Vec<(u64, Got)> {
        let mut pictures = Vec::new();
        let all: Vec<(u64, Got)> = self.got.iter().map(|(seq, got)| (*seq, *got)).collect();
        for (at, (seq, got)) in all.iter().enumerate().filter(|(_, (_, got))| got.part.part == 0) {
            let parts = all[at..].iter().take(usize::from(got.part.parts)).enumerate();
            let whole = parts.filter(|(n, (s, g))| {
                (*s, g.part.picture, usize::from(g.part.part)) == (seq + *n as u64, got.part.picture, *n)
            });
            if whole.count() == usize::from(got.part.parts) {
                pictures.push((*seq, *got));
            }
        }
        pictures
    }
}

/// The packets of some pictures.
fn parts(sizes: &[u8]) -> Vec<Part> {
    let all = sizes.iter().enumerate().flat_map(|(picture, parts)| {
        (0..*parts).map(move |part| Part { seq: 0, picture: picture as u64, part, parts: *parts })
    });
    all.enumerate().map(|(n, part)| Part { seq: SEQ + n as u64, ..part }).collect()
}

fn tempo(of: u8) -> Tempo {
    [Tempo::Base, Tempo::Middle, Tempo::Full][usize::from(of % 3)]
}

#[test]
fn fewer_pictures_at_once_and_more_where_a_decoder_can_follow() {
    let mut seen = Seen::new();
    for part in parts(&[1; 36]) {
        let at = part.picture;
        let tempo = match at {
            0..5 => Tempo::Full,
            5..11 => Tempo::Base,
            11..20 => Tempo::Middle,
            _ => Tempo::Full,
        };
        seen.set(tempo);
        seen.arrive(part);
    }
    let pictures: Vec<u64> = seen.pictures().iter().map(|(_, got)| got.part.picture).collect();
    // Picture 18 is the first of layer 1 to name the base layer alone, and 25 of layer 2.
    let expected = [0, 1, 2, 3, 4, 8, 12, 16, 18, 20, 22, 24].into_iter().chain(25..36).collect::<Vec<u64>>();
    assert_eq!(pictures, expected);
    assert!(
        seen.got
            .values()
            .zip(seen.got.values().skip(1))
            .all(|(a, b)| b.picture_id == (a.picture_id + 1) & 0x7fff)
    );
    seen.check_resends();
}

#[test]
fn a_keyframe_brings_all_pictures_back() {
    let mut seen = Seen::new();
    for part in parts(&[2; 70]) {
        seen.slot().tempo = if part.picture < 62 { Tempo::Base } else { Tempo::Full };
        seen.arrive(part);
    }
    let last: Vec<u64> = seen.pictures().iter().rev().take(7).map(|(_, got)| got.part.picture).collect();
    assert_eq!(last, [69, 68, 67, 66, 65, 64, 60]);
}

#[test]
fn who_begins_to_look_at_fewer_pictures_is_shown_the_past_of_those() {
    let mut seen = Seen::new();
    seen.slot().share = Share::Paused;
    let all = parts(&[1; 20]);
    all[..16].iter().for_each(|part| seen.arrive(*part));
    assert!(seen.got.is_empty());
    seen.slot().share = Share::Granted;
    seen.slot().tempo = Tempo::Base;
    all[16..].iter().for_each(|part| seen.arrive(*part));
    let pictures: Vec<u64> = seen.pictures().iter().map(|(_, got)| got.part.picture).collect();
    assert_eq!(pictures, [0, 4, 8, 12, 16]);
    let numbers: Vec<u64> = seen.got.keys().map(|seq| seq - seen.got.keys().next().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[test]
fn what_is_left_is_measured_and_offered_before_the_whole() {
    let mut seen = Seen::new();
    for part in parts(&[3; 120]) {
        seen.rig.now += Duration::from_millis(11);
        seen.arrive(part);
    }
    let layer: &mut Layer = seen.rig.layer(0, 0);
    let whole = layer.rate.bps().unwrap();
    let percent = Tempo::THINNED.map(|tempo| layer.thinned_bps(tempo).unwrap() * 100 / whole);
    assert!((20..30).contains(&percent[0]) && (45..55).contains(&percent[1]), "{percent:?}");
    let (_, source) = seen.rig.room.sources.iter().next().unwrap();
    let ladder = source.ladder(seen.rig.now, 720, 0);
    let rungs: Vec<Tempo> = ladder.rungs().iter().map(|rung| rung.tempo).collect();
    assert_eq!(rungs, [Tempo::Base, Tempo::Middle, Tempo::Full]);
}

#[test]
fn a_smaller_layer_s_keyframe_is_waited_for_with_few_pictures_on_a_narrow_line_only() {
    for (limit_bps, expected) in [(None, 8), (Some(10_000_000), 2)] {
        let mut seen = Seen::with_layers(&[b"l", b"h"], b"h");
        seen.slot().target = 1;
        let all = parts(&[1; 24]);
        all[..16].iter().for_each(|part| seen.arrive(*part));
        assert_eq!(seen.got.len(), 16);
        seen.got.clear();
        if let Some(bps) = limit_bps {
            let key = seen.rig.people[1].key;
            let downlink = &mut seen.rig.room.participants.find_mut(key).unwrap().downlink;
            downlink.limit(bps);
            seen.rig.now += Duration::from_secs(1);
        }
        seen.slot().target = 0;
        all[16..].iter().for_each(|part| seen.arrive(*part));
        assert_eq!(seen.pictures().len(), expected);
    }
}

#[test]
fn what_waits_for_long_loses_pictures_that_no_other_needs_until_it_does_not() {
    let mut seen = Seen::new();
    let all = parts(&[4; 150]);
    all[..4].iter().for_each(|part| seen.arrive(*part));
    let key = seen.rig.people[1].key;
    // Some three quarters of it.
    seen.rig.room.participants.find_mut(key).unwrap().downlink.limit(50_000);
    for picture in all[4..].chunks(4) {
        picture.iter().for_each(|part| seen.arrive(*part));
        for _ in 0..6 {
            seen.rig.now += Duration::from_millis(5);
            seen.rig.with_turn(|room, turn| room.send_paced(turn));
            seen.take();
        }
    }
    assert_eq!(seen.rig.counters.dropped(Dropped::Overdue), 0);
    let numbers: Vec<u64> = seen.got.keys().copied().collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let pictures: Vec<u64> = seen.pictures().iter().map(|(_, got)| got.part.picture).collect();
    let shown: BTreeSet<u64> = pictures.iter().copied().collect();
    assert!(pictures.iter().all(|picture| needs(*picture).iter().all(|needed| shown.contains(needed))));
    let last = pictures.last().unwrap();
    assert!((0..*last).filter(|picture| layer_of(*picture).0 == 0).all(|picture| shown.contains(&picture)));
    let left_out = *last as usize + 1 - pictures.len();
    assert!(left_out >= 5, "{left_out} of {last}");
    let is_whole = |eight: &u64| (0..8).all(|nth| shown.contains(&(eight * 8 + nth)));
    assert!((10..18).any(|eight| is_whole(&eight)), "between two delays all come: {pictures:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Everything reaches the server in order: every number follows the one before it, and of every picture that comes, all
    /// that it needs has come.
    #[test]
    fn however_the_tempo_changes_nothing_is_missing(
        sizes in prop::collection::vec(1..4_u8, 10..120),
        tempos in prop::collection::vec((0..3_u8, 1..20_usize), 40),
    ) {
        let mut seen = Seen::of(parts(&sizes), &tempos);
        let numbers: Vec<u64> = seen.got.keys().copied().collect();
        prop_assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let pictures = seen.pictures();
        let packets: usize = pictures.iter().map(|(_, got)| usize::from(got.part.parts)).sum();
        prop_assert_eq!(packets, numbers.len(), "every picture is complete");
        let shown: BTreeSet<u64> = pictures.iter().map(|(_, got)| got.part.picture).collect();
        for pair in pictures.windows(2) {
            let [(_, before), (_, after)] = pair else { unreachable!() };
            prop_assert_eq!(after.picture_id, (before.picture_id + 1) & 0x7fff);
            let base = tl0_of(after.part.picture) - tl0_of(before.part.picture);
            prop_assert_eq!(after.tl0, before.tl0.wrapping_add(base as u8));
            prop_assert!(after.part.picture > before.part.picture);
            for needed in needs(after.part.picture) {
                prop_assert!(shown.contains(&needed), "{} needs {needed}", after.part.picture);
            }
        }
        // The base layer always comes.
        let base = (0..sizes.len() as u64).filter(|picture| layer_of(*picture).0 == 0);
        prop_assert!(base.into_iter().all(|picture| shown.contains(&picture)));
        seen.check_resends();
    }

    /// Packets reach the server late or never: a hole is there only where something is missing, no number is used twice, and
    /// what is sent again is what was seen.
    #[test]
    fn however_packets_reach_the_server_numbers_stay_true(
        sizes in prop::collection::vec(1..4_u8, 10..120),
        fates in prop::collection::vec((0..12_u8, 1..25_usize), 360),
        // What comes late comes within as many changes as are remembered.
        tempos in prop::collection::vec((0..3_u8, 10..60_usize), 40),
    ) {
        let all = parts(&sizes);
        let mut order: Vec<(usize, Part)> = Vec::new();
        for (n, part) in all.iter().enumerate() {
            match fates[n % fates.len()] {
                (0, _) if n > 0 => {}
                (1, delay) if n > 0 => order.push((n + delay, *part)),
                _ => order.push((n, *part)),
            }
        }
        order.sort_by_key(|(at, _)| *at);
        let lost = all.len() - order.len();
        let mut seen = Seen::of(order.into_iter().map(|(_, part)| part), &tempos);
        let numbers: Vec<u64> = seen.got.keys().copied().collect();
        let span = numbers.last().unwrap() - numbers[0] + 1;
        prop_assert!(span as usize - numbers.len() <= lost, "{span} {} {lost}", numbers.len());
        let parts: Vec<u64> = seen.got.values().map(|got| got.part.seq).collect();
        prop_assert!(parts.is_sorted(), "numbers are in the order of making");
        seen.check_resends();
    }
}
