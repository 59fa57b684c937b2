//! What a line that does not carry everything makes of a room.

use super::*;
use crate::link::{Limit, Showing};

/// Two cameras of 360 lines, and somebody who draws the second larger and sees both.
fn rig() -> Rig {
    let mut rig = Rig::new(3);
    for who in 0..2 {
        rig.negotiate(who, vec![camera(&[])], Vec::new());
        rig.switch_on(who, SourceKind::Camera);
    }
    rig.negotiate(2, Vec::new(), slots(MediaKind::Video, VP8, 2));
    rig.room.view(rig.people[2].key, &[wish(0, 0, 360), wish(1, 1, 500)], &mut rig.events);
    rig.pictures(1, true);
    rig.tick(Duration::from_millis(20));
    rig.events.clear();
    rig
}

impl Rig {
    fn pictures(&mut self, seq: u64, keyframe: bool) {
        self.now += Duration::from_millis(20);
        for who in 0..2 {
            self.rtp(who, Sent { seq, keyframe, marker: true, ..CAMERA }).unwrap();
        }
    }

    fn carries(&mut self, bps: u64) {
        let key = self.people[2].key;
        self.room.participants.find_mut(key).unwrap().downlink.on_remb(bps);
    }

    /// The slots in which something left for the viewer.
    fn moving(&mut self) -> Vec<u32> {
        let mut slots: Vec<u32> =
            self.trains_for(2).iter().flatten().map(|packet| packet.ssrc - 5000).collect();
        slots.dedup();
        slots
    }

    /// What the viewer was told: which slot, and how it is shown.
    fn told(&mut self) -> Vec<(u16, Showing)> {
        let told = self.events.drain(..).filter_map(|event| {
            let Event::SlotShows { slot, source: Some(_), how, .. } = event else { return None };
            Some((slot.0, how))
        });
        told.collect()
    }
}

#[test]
fn what_a_line_does_not_carry_stands_still_and_comes_back_with_its_past_when_there_is_room() {
    let mut rig = rig();
    assert_eq!(rig.moving(), [0, 1]);
    rig.carries(600_000);
    rig.tick(Duration::from_millis(200));
    assert_eq!(
        rig.told(),
        [(0, Showing::Paused(Limit::Line))],
        "the smaller picture, and its page hears of it"
    );
    rig.pictures(2, false);
    assert_eq!(rig.moving(), [1]);

    rig.carries(3_000_000);
    rig.tick(Duration::from_millis(200));
    rig.pictures(3, false);
    assert_eq!((rig.moving(), rig.told()), (vec![1], vec![]), "it may have been a moment's luck");
    for seq in 4..9 {
        rig.pictures(seq, false);
        rig.tick(Duration::from_millis(200));
    }
    rig.pictures(9, false);
    assert_eq!(rig.told(), [(0, Showing::Whole)]);
    let asked = rig.counters.keyframe_requests_sent;
    let seen = rig.trains_for(2).concat().iter().filter(|packet| packet.ssrc == 5000).count();
    assert_eq!(
        (seen, asked),
        (9, rig.counters.keyframe_requests_sent),
        "from the keyframe on, without another"
    );
}

#[test]
fn what_the_core_does_not_carry_is_not_laid_at_the_lines_door() {
    let mut rig = rig();
    rig.carries(3_000_000);
    rig.relief.halve();
    rig.tick(Duration::from_millis(200));
    assert_eq!(rig.told(), [(0, Showing::Paused(Limit::Core))]);
}

#[test]
fn a_page_is_not_told_of_a_pause_that_ends_before_anybody_misses_the_picture() {
    let mut rig = Rig::new(2);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.negotiate(1, Vec::new(), slots(MediaKind::Video, VP8, 1));
    rig.switch_on(0, SourceKind::Camera);
    rig.rtp(0, Sent { marker: true, ..CAMERA }).unwrap();
    let key = rig.people[1].key;
    rig.room.participants.find_mut(key).unwrap().downlink.on_remb(50_000);
    rig.room.view(key, &[wish(0, 0, 360)], &mut rig.events);
    rig.tick(Duration::from_millis(20));
    let mut told = Vec::new();
    for tenth in 1..40_u64 {
        rig.arrive(0, Sent { seq: 1 + tenth, keyframe: false, marker: true, ..CAMERA }, 1000).unwrap();
        rig.fan_out();
        rig.tick(Duration::from_millis(100));
        told.extend(rig.told().into_iter().map(|(_, how)| (tenth, how)));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1 == Showing::Paused(Limit::Line) && (30..36).contains(&told[0].0), "{told:?}");
}
