//! What a narrow line makes of a batch, and what feedback makes of a line.

use super::*;
use crate::sfu::downlink::Downlink;
use crate::wire::twcc::{Arrival, write_feedback};

const CAMERA_SSRC: u32 = 5000;
const VOICE_SSRC: u32 = 5001;
const STEP: Duration = Duration::from_millis(5);

/// A viewer whose line has shown that it carries 800 kbit/s.
fn narrow() -> Rig {
    let mut rig = speaker_and_viewer(0);
    downlink(&mut rig).limit(800_000);
    // The burst was used up when the line was found narrow.
    rig.now += Duration::from_secs(1);
    rig
}

fn downlink(rig: &mut Rig) -> &mut Downlink {
    let key = rig.people[1].key;
    &mut rig.room.participants.find_mut(key).unwrap().downlink
}

fn frame(rig: &mut Rig, seqs: std::ops::Range<u64>, keyframe: bool) {
    for seq in seqs.clone() {
        let keyframe = keyframe && seq == seqs.start;
        rig.arrive(0, Sent { seq, keyframe, ..CAMERA }, 1000).unwrap();
    }
}

fn seqs_of(leaving: &[Vec<Leaving>], ssrc: u32) -> Vec<u16> {
    leaving.iter().flatten().filter(|packet| packet.ssrc == ssrc).map(|packet| packet.seq).collect()
}

/// What leaves for the viewer within some steps.
fn after(rig: &mut Rig, steps: u32) -> Vec<Vec<Leaving>> {
    let mut trains = Vec::new();
    for _ in 0..steps {
        rig.tick(STEP);
        trains.extend(rig.trains_for(1));
    }
    trains
}

#[test]
fn a_line_without_an_end_gets_a_batch_at_once() {
    let mut rig = speaker_and_viewer(0);
    frame(&mut rig, 40..70, false);
    rig.fan_out();
    assert_eq!(seqs_of(&rig.trains_for(1), CAMERA_SSRC).len(), 30);
    assert_eq!(rig.counters.held, 0);
}

#[test]
fn video_beyond_a_narrow_line_waits_sound_does_not_and_the_numbers_go_on() {
    let mut rig = narrow();
    frame(&mut rig, 40..52, false);
    rig.arrive(0, VOICE, 80).unwrap();
    rig.fan_out();
    let at_once = rig.trains_for(1);
    assert_eq!(seqs_of(&at_once, VOICE_SSRC).len(), 1, "sound is never held");
    let mut seqs = seqs_of(&at_once, CAMERA_SSRC);
    assert!((4..8).contains(&seqs.len()), "a burst of 60 ms: {seqs:?}");
    assert_eq!(rig.counters.held, 12 - seqs.len() as u64);
    // 20 ms at 960 kbit/s are two packets.
    let soon = seqs_of(&after(&mut rig, 4), CAMERA_SSRC);
    assert!((1..4).contains(&soon.len()), "{soon:?}");
    seqs.extend(soon);
    seqs.extend(seqs_of(&after(&mut rig, 20), CAMERA_SSRC));
    assert_eq!(seqs.len(), 12);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert!(rig.room.next_tick().unwrap() >= rig.now + 2 * STEP, "nobody waits any more");
}

#[test]
fn what_waits_too_long_is_dropped_and_the_slot_goes_on_at_a_keyframe() {
    let mut rig = narrow();
    let asked = rig.counters.keyframe_requests_sent;
    frame(&mut rig, 40..130, false);
    rig.fan_out();
    let mut seqs = seqs_of(&rig.trains_for(1), CAMERA_SSRC);
    seqs.extend(seqs_of(&after(&mut rig, 130), CAMERA_SSRC));
    let dropped = rig.counters.dropped(Dropped::Overdue);
    assert_eq!(dropped, 90 - seqs.len() as u64);
    assert!((8..25).contains(&dropped), "600 ms of 960 kbit/s have left: {dropped}");
    frame(&mut rig, 130..133, false);
    rig.fan_out();
    assert_eq!(seqs_of(&rig.trains_for(1), CAMERA_SSRC), [], "it would refer to what was dropped");
    rig.tick(Duration::from_millis(200));
    assert!(rig.counters.keyframe_requests_sent > asked);
    frame(&mut rig, 133..136, true);
    rig.fan_out();
    seqs.extend(seqs_of(&rig.trains_for(1), CAMERA_SSRC));
    assert!(seqs.len() as u64 == 90 - dropped + 3 && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn what_waits_of_a_source_that_is_switched_off_is_not_sent() {
    let mut rig = narrow();
    frame(&mut rig, 40..60, false);
    rig.fan_out();
    rig.trains_for(1);
    rig.room.switch(rig.people[0].key, SourceKind::Camera, false, &mut rig.events);
    assert_eq!(seqs_of(&after(&mut rig, 60), CAMERA_SSRC), []);
}

#[test]
fn feedback_makes_an_estimate_and_the_person_is_told() {
    let mut rig = speaker_and_viewer(0);
    let extensions = ExtensionIds { transport_cc: Some(5), ..EXTENSIONS };
    let key = rig.people[1].key;
    rig.room.participants.find_mut(key).unwrap().extensions = extensions;
    downlink(&mut rig).negotiate(true, true);
    let mut told: u16 = 0;
    for round in 0..50_u64 {
        frame(&mut rig, 40 + round * 4..44 + round * 4, false);
        rig.fan_out();
        rig.trains_for(1);
        let sent = u16::from_be_bytes(downlink(&mut rig).next_seq());
        let now_us = rig.now.duration_since(rig.epoch).as_micros() as u64;
        let at = |seq: u16| now_us + 10_000 + u64::from(seq - told) * 100;
        let arrivals: Vec<Arrival> = (told..sent).map(|seq| Arrival { seq, at_us: at(seq) }).collect();
        told = sent;
        if arrivals.is_empty() {
            after(&mut rig, 10);
            continue;
        }
        let mut out = [0; 600];
        let (len, _) = write_feedback(&mut out, Ssrc(1), Ssrc(2), round as u8, &arrivals).unwrap();
        rig.rtcp(1, &out[..len]);
        after(&mut rig, 10);
    }
    let told: Vec<_> = rig
        .events
        .iter()
        .filter_map(|event| {
            let Event::Quality { participant, quality, .. } = event else { return None };
            Some((participant.0, quality.estimate_bps.is_some()))
        })
        .collect();
    assert!(rig.room.participants.find(key).unwrap().estimate_bps().is_some());
    assert_eq!(told.last(), Some(&(1, true)), "{told:?}");
    assert!(told.iter().all(|(who, _)| *who == 1), "nobody else is told");
}
