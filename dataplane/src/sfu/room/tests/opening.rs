//! What somebody sees who begins to look between two keyframes.

use super::*;
use crate::id::SeqNo;
use crate::sfu::downlink::Downlink;
use crate::wire::rtcp::Writer;

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
fn a_request_that_left_before_the_past_could_arrive_is_for_nothing_else() {
    let mut rig = rig();
    rig.looks();
    rig.picture(10);
    let mut asks_after = |ms| {
        rig.now += Duration::from_millis(ms);
        let mut plain = [0; 64];
        let mut writer = Writer::new(&mut plain);
        assert!(writer.pli(Ssrc(7), Ssrc(5000)));
        let len = writer.len();
        rig.rtcp(1, &plain[..len]);
        rig.tick(Duration::from_millis(1));
        rig.asked_for_keyframes(0)
    };
    assert_eq!(asks_after(1), [0_u32; 0]);
    assert_eq!(asks_after(90), [0_u32; 0], "a round trip is not known and taken for 100 ms");
    assert_eq!(asks_after(20), [1], "it was not enough");
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

/// Somebody sees the larger of each camera's two layers, and then the line is found to carry the smaller ones only.
fn fallen(cameras: usize, limit_bps: Option<u64>) -> (Rig, Vec<Leaving>) {
    let mut rig = Rig::new(cameras + 1);
    for who in 0..cameras {
        rig.negotiate(who, vec![camera(&[b"l", b"h"])], Vec::new());
        rig.switch_on(who, SourceKind::Camera);
    }
    rig.negotiate(cameras, Vec::new(), slots(MediaKind::Video, VP8, cameras as u16));
    let wishes: Vec<_> = (0..cameras).map(|who| wish(who as u16, who as u64, 720)).collect();
    rig.room.view(rig.people[cameras].key, &wishes, &mut rig.events);
    for seq in 1..=30 {
        for who in 0..cameras {
            let low = Sent { seq, rid: b"l", keyframe: seq == 1 || seq == 11, marker: true, ..CAMERA };
            rig.arrive(who, low, 200).unwrap();
            rig.arrive(who, Sent { rid: b"h", ssrc: 2, ..low }, 1000).unwrap();
        }
        rig.fan_out();
        rig.tick(Duration::from_millis(33));
    }
    let seen = rig.trains_for(cameras).concat();
    assert!(seen.iter().rev().take(20).all(|packet| packet.payload >= 1000), "the larger one");
    if let Some(bps) = limit_bps {
        rig.downlink(cameras).limit(bps);
    }
    (rig, seen)
}

impl Rig {
    fn downlink(&mut self, who: usize) -> &mut Downlink {
        &mut self.room.participants.find_mut(self.people[who].key).unwrap().downlink
    }

    /// What leaves for somebody in steps of 5 ms.
    fn steps(&mut self, who: usize, count: u32) -> Vec<Vec<Leaving>> {
        let step = |_| {
            self.tick(Duration::from_millis(5));
            self.trains_for(who).concat()
        };
        (0..count).map(step).collect()
    }
}

#[test]
fn whoever_falls_to_a_smaller_layer_gets_its_past_at_the_pace_of_the_line() {
    let (mut rig, seen) = fallen(1, Some(150_000));
    let asked = rig.counters.keyframe_requests_sent;
    // Without a further picture of it.
    let steps = rig.steps(1, 100);
    let past = steps.concat();
    assert_eq!(past.len(), 20);
    assert!(steps.iter().all(|step| step.len() < 15), "a line has a pace");
    assert_eq!(rig.counters.keyframe_requests_sent, asked, "nobody is asked for a keyframe");
    assert!(past.iter().all(|packet| packet.payload < 1000));
    let numbers = seen.last().into_iter().chain(&past).map(|packet| packet.seq);
    assert!(numbers.clone().zip(numbers.skip(1)).all(|(one, next)| next == one.wrapping_add(1)));
}

#[test]
fn what_comes_while_the_past_waits_goes_behind_it_once() {
    let (mut rig, _) = fallen(1, Some(150_000));
    let low = Sent { seq: 31, rid: b"l", keyframe: false, marker: true, ..CAMERA };
    // It waits in the batch while the past is chosen, and in the past.
    rig.arrive(0, low, 200).unwrap();
    let mut leaving = Vec::new();
    while rig.downlink(1).pacer.is_empty() {
        rig.tick(Duration::from_millis(5));
        leaving.extend(rig.trains_for(1).concat());
    }
    rig.fan_out();
    rig.arrive(0, Sent { rid: b"h", ssrc: 2, ..low }, 1000).unwrap();
    rig.arrive(0, Sent { seq: 32, ..low }, 200).unwrap();
    rig.fan_out();
    leaving.extend(rig.steps(1, 100).concat());
    assert_eq!(leaving.len(), 22);
    assert!(leaving.windows(2).all(|pair| pair[1].seq == pair[0].seq.wrapping_add(1)));
    assert_eq!(rig.counters.dropped(Dropped::SrtpReplayed), 0);
}

#[test]
fn of_the_pasts_that_one_choice_sends_all_together_are_no_more_than_the_line_takes_in_a_moment() {
    let (mut rig, _) = fallen(2, Some(150_000));
    rig.room.chosen = None;
    let asked = rig.counters.keyframe_requests_sent;
    let past = rig.steps(2, 40).concat();
    let streams = [5000, 5001].map(|ssrc| past.iter().filter(|packet| packet.ssrc == ssrc).count());
    assert!(streams.contains(&0) && streams.iter().any(|count| *count > 5), "{streams:?}");
    // Of the publisher of the other, all of its layers.
    assert_eq!(rig.counters.keyframe_requests_sent - asked, 1);
}

#[test]
fn the_past_of_a_layer_that_is_no_longer_chosen_is_not_sent() {
    let (mut rig, seen) = fallen(1, Some(150_000));
    while rig.downlink(1).pacer.is_empty() {
        rig.tick(Duration::from_millis(5));
    }
    rig.trains_for(1);
    rig.downlink(1).limit(10_000_000);
    let key = rig.people[1].key;
    rig.room.participants.find_mut(key).unwrap().slots[0].target = 1;
    let mut leaving = rig.steps(1, 2).concat();
    let high = Sent { seq: 31, rid: b"h", ssrc: 2, keyframe: false, marker: true, ..CAMERA };
    rig.arrive(0, high, 1000).unwrap();
    rig.fan_out();
    leaving.extend(rig.steps(1, 10).concat());
    assert_eq!(leaving.iter().map(|packet| packet.seq).collect::<Vec<_>>(), [seen.last().unwrap().seq + 1]);
}

#[test]
fn of_a_camera_that_is_switched_off_what_waits_of_its_past_is_not_sent() {
    let (mut rig, _) = fallen(1, Some(150_000));
    while rig.downlink(1).pacer.is_empty() {
        rig.tick(Duration::from_millis(5));
    }
    rig.room.switch(rig.people[0].key, SourceKind::Camera, false, &mut rig.events);
    rig.switch_on(0, SourceKind::Camera);
    assert_eq!(rig.steps(1, 100).concat(), []);
}

#[test]
fn who_wants_a_smaller_picture_on_a_wide_line_goes_on_with_the_larger_until_its_keyframe() {
    let (mut rig, seen) = fallen(1, None);
    rig.room.view(rig.people[1].key, &[wish(0, 0, 100)], &mut rig.events);
    rig.tick(Duration::from_millis(20));
    assert_eq!(rig.asked_for_keyframes(0), [1]);
    let low = Sent { seq: 31, rid: b"l", keyframe: false, marker: true, ..CAMERA };
    rig.arrive(0, low, 200).unwrap();
    rig.arrive(0, Sent { rid: b"h", ssrc: 2, ..low }, 1000).unwrap();
    rig.fan_out();
    let seqs: Vec<u16> = rig.trains_for(1).concat().iter().map(|packet| packet.seq).collect();
    assert_eq!(seqs, [seen.last().unwrap().seq + 1]);
}

#[test]
fn an_estimate_that_has_fallen_does_not_wait_for_the_next_choice() {
    for (hurries, chosen) in [(false, false), (true, true)] {
        let (mut rig, _) = fallen(1, Some(150_000));
        rig.room.chosen = Some(rig.now);
        rig.room.hurries = hurries;
        rig.tick(CHOICE_INTERVAL_MIN);
        assert_eq!(!rig.downlink(1).pacer.is_empty(), chosen);
    }
}
