//! What rooms do with packets, commands and ticks, on the rig of their participants.

mod narrow;
mod opening;
mod pacing;
mod redundant;
mod rig;
mod svc;
mod thinned;

use super::*;
use crate::counters::Dropped;
use crate::id::{Codec, ExtSeq, MediaKind, Pt, RtpTime, SourceKind, Ssrc};
use crate::link::{CodecPt, Wish};
use crate::sfu::layer::Urgency;
use crate::wire::ext::ExtensionIds;
use crate::wire::rtcp::{self, Packet};
use crate::wire::rtp::Header;
use rig::*;

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
    Sent { pt: 111, ssrc: 9, seq: 1, mid: b"m", level: Some(30), keyframe: false, ..CAMERA };

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

#[test]
fn nobody_is_always_the_first_of_two() {
    let mut rig = Rig::new(3);
    rig.negotiate(0, vec![camera(&[])], Vec::new());
    rig.switch_on(0, SourceKind::Camera);
    for who in 1..3 {
        rig.negotiate(who, Vec::new(), slots(MediaKind::Video, VP8, 1));
        rig.room.view(rig.people[who].key, &[wish(0, 0, 720)], &mut rig.events);
    }
    let (mut firsts, mut at) = ([[0; 2]; 3], 0);
    for seq in 1..=300 {
        rig.rtp(0, Sent { seq, ..CAMERA }).unwrap();
        let mut paths = Vec::new();
        while let Some(departure) = rig.egress.take_ready() {
            paths.push(departure.path);
            rig.egress.release(departure);
        }
        let [first, second] = paths[..] else { panic!("{paths:?}") };
        assert_ne!(first, second);
        // Of every third batch as well, as sound and pictures go in turns.
        firsts[at][usize::from(first == rig.people[1].path)] += 1;
        at = (at + 1) % firsts.len();
    }
    assert!(firsts.iter().flatten().all(|times| (40..=60).contains(times)), "{firsts:?}");
}
