//! What somebody sees who begins to look between two keyframes.

use super::*;
use crate::id::SeqNo;

/// A camera that has sent a keyframe and eight pictures more, and somebody who has just begun to look.
fn rig() -> Rig {
    let mut rig = Rig::new(2);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.negotiate(1, Vec::new(), slots(MediaKind::Video, VP8, 1));
    rig.switch_on(0, SourceKind::Camera);
    rig.rtp(0, Sent { marker: true, ..CAMERA }).unwrap();
    for seq in 2..10 {
        rig.picture(seq);
    }
    rig
}

impl Rig {
    fn picture(&mut self, seq: u64) {
        self.now += Duration::from_millis(33);
        self.rtp(0, Sent { seq, keyframe: false, marker: true, ..CAMERA }).unwrap();
    }

    fn looks(&mut self) {
        self.room.view(self.people[1].key, &[wish(0, 0, 720)], &mut self.events);
    }

    /// How far apart the packets are that leave for the viewer, the first being 0.
    fn seen(&mut self) -> Vec<u16> {
        let packets: Vec<_> = self.trains_for(1).concat();
        packets.iter().map(|packet| packet.seq.wrapping_sub(packets[0].seq)).collect()
    }
}

#[test]
fn who_begins_to_look_gets_everything_since_the_keyframe_and_nobody_is_asked_for_another() {
    let mut rig = rig();
    rig.looks();
    rig.tick(Duration::from_millis(20));
    assert_eq!(rig.asked_for_keyframes(0), [0_u32; 0]);
    rig.picture(10);
    assert_eq!(rig.seen(), (0..10).collect::<Vec<u16>>());
    rig.picture(11);
    assert_eq!(rig.seen(), [0], "and from then on what comes");
}

#[test]
fn a_past_that_is_too_long_ago_or_has_a_hole_is_shown_to_nobody() {
    let mut late = rig();
    late.now += Duration::from_millis(2500);
    late.picture(10);
    let mut broken = rig();
    broken.picture(11);
    for mut rig in [late, broken] {
        rig.looks();
        rig.tick(Duration::from_millis(20));
        assert_eq!(rig.asked_for_keyframes(0), [1]);
        rig.picture(12);
        assert_eq!(rig.seen(), [0_u16; 0]);
    }
}

#[test]
fn what_a_camera_sent_before_it_was_switched_off_is_shown_to_nobody_who_comes_later() {
    let mut rig = rig();
    rig.room.switch(rig.people[0].key, SourceKind::Camera, false, &mut rig.events);
    rig.switch_on(0, SourceKind::Camera);
    rig.looks();
    rig.picture(10);
    assert_eq!(rig.seen(), [0_u16; 0]);
}

#[test]
fn of_a_camera_that_is_off_no_picture_is_kept_whoever_switched_it_off() {
    let kept = |rig: &Rig| {
        let (_, source) = rig.room.sources.iter().next().unwrap();
        let layer = &source.layers[0];
        let sent = (1..10).filter_map(|seq| layer.nearest(SeqNo(seq)));
        sent.filter(|seq| layer.history.contains(*seq)).count()
    };
    let off: [fn(&mut Rig); 2] = [
        |rig| rig.room.switch(rig.people[0].key, SourceKind::Camera, false, &mut rig.events),
        |rig| rig.room.withhold(rig.people[0].key, SourceKind::Camera, true, &mut rig.events),
    ];
    for off in off {
        let mut rig = rig();
        assert_eq!(kept(&rig), 9);
        off(&mut rig);
        assert_eq!(kept(&rig), 0);
    }
}

#[test]
fn a_larger_layer_is_not_waited_for_while_a_smaller_one_can_be_seen_at_once() {
    let mut rig = Rig::new(2);
    rig.negotiate(0, vec![camera(&[b"l", b"h"])], Vec::new());
    rig.negotiate(1, Vec::new(), slots(MediaKind::Video, VP8, 1));
    rig.switch_on(0, SourceKind::Camera);
    let low = Sent { rid: b"l", marker: true, ..CAMERA };
    let high = Sent { rid: b"h", ssrc: 2, marker: true, ..CAMERA };
    rig.rtp(0, low).unwrap();
    for seq in 2..6 {
        rig.now += Duration::from_millis(33);
        rig.rtp(0, Sent { seq, keyframe: false, ..low }).unwrap();
        rig.rtp(0, Sent { seq, keyframe: false, ..high }).unwrap();
    }
    rig.looks();
    rig.tick(Duration::from_millis(20));
    assert_eq!(rig.asked_for_keyframes(0), [1, 2], "there is no keyframe of the larger one");
    rig.rtp(0, Sent { seq: 6, keyframe: false, ..high }).unwrap();
    assert_eq!(rig.seen(), [0_u16; 0]);
    rig.rtp(0, Sent { seq: 6, keyframe: false, ..low }).unwrap();
    assert_eq!(rig.seen(), [0, 1, 2, 3, 4, 5]);
    rig.rtp(0, Sent { seq: 7, ..high }).unwrap();
    rig.rtp(0, Sent { seq: 7, keyframe: false, ..low }).unwrap();
    assert_eq!(rig.seen(), [0], "the larger one has taken its place");
}

/// Somebody sees the larger of two layers, and then the line is found to carry the smaller one only.
#[test]
fn whoever_falls_to_a_smaller_layer_gets_its_past_at_the_pace_of_the_line() {
    let mut rig = Rig::new(2);
    rig.negotiate(0, vec![camera(&[b"l", b"h"])], Vec::new());
    rig.negotiate(1, Vec::new(), slots(MediaKind::Video, VP8, 1));
    rig.switch_on(0, SourceKind::Camera);
    rig.looks();
    for seq in 1..=30 {
        let low = Sent { seq, rid: b"l", keyframe: seq == 1 || seq == 11, marker: true, ..CAMERA };
        rig.arrive(0, low, 200).unwrap();
        rig.arrive(0, Sent { rid: b"h", ssrc: 2, ..low }, 1000).unwrap();
        rig.fan_out();
        rig.tick(Duration::from_millis(33));
    }
    let seen = rig.trains_for(1).concat();
    assert!(seen.iter().rev().take(20).all(|packet| packet.payload >= 1000), "the larger one");
    rig.rtcp_for(0);

    let key = rig.people[1].key;
    rig.room.participants.find_mut(key).unwrap().downlink.limit(150_000);
    let steps: Vec<Vec<Leaving>> = (0..100)
        .map(|_| {
            rig.tick(Duration::from_millis(5));
            rig.trains_for(1).concat()
        })
        .collect();
    // Without a further picture of it.
    let past = steps.concat();
    assert_eq!(past.len(), 20);
    assert!(steps.iter().all(|step| step.len() < 15), "a line has a pace");
    assert_eq!(rig.asked_for_keyframes(0), [0_u32; 0]);
    assert!(past.iter().all(|packet| packet.payload < 1000));
    let numbers = seen.last().into_iter().chain(&past).map(|packet| packet.seq);
    assert!(numbers.clone().zip(numbers.skip(1)).all(|(one, next)| next == one.wrapping_add(1)));
}
