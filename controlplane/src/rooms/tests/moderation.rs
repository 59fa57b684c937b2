//! What organizers may do to what others send.

use super::*;
use crate::accounts::Ended;
use crate::signal::message::RulesWish;

const ALL_ON: State = State { microphone: true, camera: true, screen: true, hand: false };

fn wish(microphone: bool, screen: bool, chat: bool) -> RulesWish {
    RulesWish { microphone: Some(microphone), screen: Some(screen), chat: Some(chat), ..RulesWish::default() }
}

/// What became of one source of Bob's: what the data plane was told last, switched and withheld.
fn flow(outputs: &[Output], source: SourceKind) -> (Option<bool>, Option<bool>) {
    let mut flow = (None, None);
    for output in outputs {
        if let Output::Switch { participant: BOB, source: of, on, .. } = *output
            && of == source
        {
            flow.0 = Some(on);
        }
        if let Output::Withhold { participant: BOB, source: of, withheld, .. } = *output
            && of == source
        {
            flow.1 = Some(withheld);
        }
    }
    flow
}

fn silenced(outputs: &[Output]) -> bool {
    let told = |output: &Output| matches!(output, Output::Tell { to, message: ServerMessage::Silenced { .. } } if to.contains(&BOB));
    outputs.iter().any(told)
}

#[test]
fn who_is_muted_is_off_and_may_switch_on_again() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.set_state(BOB, ALL_ON);
    outputs(&mut rooms);
    rooms.mute(ADA, SourceKind::Microphone, Some(BOB)).unwrap();
    let happened = outputs(&mut rooms);
    assert_eq!(flow(&happened, SourceKind::Microphone), (Some(false), None));
    assert!(silenced(&happened));
    assert_eq!(rooms.state(BOB), State { microphone: false, ..ALL_ON });
    rooms.set_state(BOB, ALL_ON);
    assert_eq!(flow(&outputs(&mut rooms), SourceKind::Microphone), (Some(true), None));
}

#[test]
fn what_is_blocked_stays_withheld_whatever_its_owner_does_until_it_is_allowed_again() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.set_state(BOB, ALL_ON);
    outputs(&mut rooms);
    rooms.block(ADA, BOB, SourceKind::Camera, true).unwrap();
    let happened = outputs(&mut rooms);
    assert_eq!(flow(&happened, SourceKind::Camera), (Some(false), Some(true)));
    assert!(silenced(&happened));
    assert_eq!(rooms.withheld(BOB), [false, true, false]);
    rooms.set_state(BOB, ALL_ON);
    let happened = outputs(&mut rooms);
    assert_eq!(flow(&happened, SourceKind::Camera), (None, None));
    assert!(silenced(&happened), "their page hears that it is off");
    assert_eq!(rooms.state(BOB), State { camera: false, ..ALL_ON });
}

#[test]
fn lifting_a_block_switches_nothing_on() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.set_state(BOB, ALL_ON);
    rooms.block(ADA, BOB, SourceKind::Microphone, true).unwrap();
    outputs(&mut rooms);
    rooms.block(ADA, BOB, SourceKind::Microphone, false).unwrap();
    assert_eq!(flow(&outputs(&mut rooms), SourceKind::Microphone), (None, Some(false)));
    assert!(!rooms.state(BOB).microphone);
    rooms.set_state(BOB, ALL_ON);
    assert_eq!(flow(&outputs(&mut rooms), SourceKind::Microphone), (Some(true), None));
}

#[test]
fn a_rule_for_guests_withholds_theirs_and_not_the_organizers() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.set_state(ADA, ALL_ON);
    rooms.set_state(BOB, ALL_ON);
    outputs(&mut rooms);
    rooms.set_rules(now, ADA, wish(true, false, true)).unwrap();
    let happened = outputs(&mut rooms);
    assert_eq!(flow(&happened, SourceKind::Screen), (Some(false), Some(true)));
    assert_eq!(flow(&happened, SourceKind::Camera), (None, None));
    assert_eq!(rooms.state(ADA), ALL_ON);
    // Somebody who comes later is under the same rule, from their first packet on.
    join(&mut rooms, now, ParticipantId(3), None).unwrap();
    assert_eq!(rooms.withheld(ParticipantId(3)), [false, false, true]);
}

#[test]
fn a_block_of_one_outlives_a_rule_for_all() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.block(ADA, BOB, SourceKind::Microphone, true).unwrap();
    rooms.set_rules(now, ADA, wish(false, true, true)).unwrap();
    rooms.set_rules(now, ADA, wish(true, true, true)).unwrap();
    assert_eq!(flow(&outputs(&mut rooms), SourceKind::Microphone).1, Some(true));
    assert_eq!(rooms.withheld(BOB), [true, false, false]);
}

#[test]
fn muting_all_leaves_organizers_and_streams_as_they_are() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let stream = ParticipantId(3);
    let (kind, name, client) = (Kind::Stream, String::new(), client(3));
    rooms
        .join(now, Join { room: HALL, participant: stream, kind, name, account: None, proof: None, client })
        .unwrap();
    for participant in [ADA, BOB, stream] {
        rooms.set_state(participant, ALL_ON);
    }
    rooms.mute(ADA, SourceKind::Microphone, None).unwrap();
    assert_eq!([ADA, BOB, stream].map(|who| rooms.state(who).microphone), [true, false, true]);
}

#[test]
fn muting_many_is_one_message_to_the_room() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    join(&mut rooms, now, ParticipantId(3), None).unwrap();
    for participant in [BOB, ParticipantId(3)] {
        rooms.set_state(participant, ALL_ON);
    }
    outputs(&mut rooms);
    rooms.mute(ADA, SourceKind::Camera, None).unwrap();
    let happened = outputs(&mut rooms);
    let to_ada = |output: &&Output| matches!(output, Output::Tell { to, .. } if to.contains(&ADA));
    let participants = vec![Id(BOB), Id(ParticipantId(3))];
    let message = ServerMessage::SwitchedOff { source: SourceKind::Camera.into(), participants };
    let told: Vec<&Output> = happened.iter().filter(to_ada).collect();
    assert_eq!(told, [&Output::Tell { to: vec![ADA, BOB, ParticipantId(3)], message }]);
}

#[test]
fn a_blocked_stream_goes_on_when_it_is_allowed_again() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let stream = ParticipantId(3);
    let (kind, name, client) = (Kind::Stream, String::new(), client(3));
    rooms
        .join(now, Join { room: HALL, participant: stream, kind, name, account: None, proof: None, client })
        .unwrap();
    rooms.set_state(stream, ALL_ON);
    for blocked in [true, false] {
        rooms.block(ADA, stream, SourceKind::Camera, blocked).unwrap();
        assert_eq!(rooms.withheld(stream), [false, blocked, false]);
        assert!(rooms.state(stream).camera, "nobody could switch it on again");
    }
}

#[test]
fn where_only_organizers_write_guests_lines_are_not_relayed() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.set_rules(now, ADA, wish(true, true, false)).unwrap();
    outputs(&mut rooms);
    rooms.chat(now, BOB, "x".into());
    assert_eq!(outputs(&mut rooms), []);
    rooms.chat(now, ADA, "x".into());
    assert_eq!(outputs(&mut rooms).len(), 1);
}

#[test]
fn everybody_hears_of_a_rule_that_changes_and_of_no_other() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.set_rules(now, ADA, wish(true, true, true)).unwrap();
    assert_eq!(outputs(&mut rooms), []);
    rooms.set_rules(now, ADA, RulesWish { locked: Some(true), ..RulesWish::default() }).unwrap();
    let said = outputs(&mut rooms);
    let Output::Tell { to, message: ServerMessage::Rules { rules } } = &said[0] else { panic!("{said:?}") };
    assert_eq!((to.len(), rules.locked, rules.lobby), (2, true, false));
}

#[test]
fn a_removed_stream_s_token_lets_nobody_in_any_more() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let (stream, token) = (ParticipantId(3), [0; 32]);
    let (kind, name, client) = (Kind::Stream, String::new(), client(3));
    rooms
        .join(now, Join { room: HALL, participant: stream, kind, name, account: None, proof: None, client })
        .unwrap();
    assert!(rooms.media_entrance(&key("hall"), &token).is_some());
    rooms.remove(ADA, stream).unwrap();
    assert!(rooms.media_entrance(&key("hall"), &token).is_none());
    assert!(rooms.has_media_token(HALL, &token), "who is in may end their own session with it");
}

/// What everybody hears of Ada's role, and what becomes of her camera.
fn ada_as_seen(outputs: &[Output]) -> Vec<bool> {
    let seen = |output: &Output| {
        let Output::Tell { to, message: ServerMessage::Changed { participant } } = output else {
            return None;
        };
        assert_eq!(to, &[ADA, BOB]);
        (participant.id.0 == ADA).then_some(participant.organizer)
    };
    outputs.iter().filter_map(seen).collect()
}

#[test]
fn an_organizer_whose_account_is_removed_is_a_guest_like_others() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.set_rules(Instant::now(), ADA, RulesWish { camera: Some(false), ..RulesWish::default() }).unwrap();
    rooms.set_state(ADA, ALL_ON);
    outputs(&mut rooms);
    rooms.depose(&Ended::Removed { account: "somebody".into() });
    assert_eq!(outputs(&mut rooms), []);
    rooms.depose(&Ended::Removed { account: "demo".into() });
    let happened = outputs(&mut rooms);
    assert_eq!(ada_as_seen(&happened), [false]);
    let off = Output::Switch { room: HALL, participant: ADA, source: SourceKind::Camera, on: false };
    assert!(happened.contains(&off), "guests may not use it: {happened:?}");
    assert_eq!(rooms.state(ADA), State { camera: false, ..ALL_ON });
    assert_eq!(rooms.mute(ADA, SourceKind::Microphone, Some(BOB)), Err(Refused::BadMessage));
    assert_eq!(rooms.end(ADA), Err(Refused::BadMessage));
    assert!(rooms.may_be_mistaken(ADA));
    assert!(rooms.own_entrance(&key("hall"), "demo").is_none(), "another account of that name is another");
    assert!(rooms.media_entrance(&key("hall"), &[0; 32]).is_none());
}

#[test]
fn with_another_password_an_organizer_comes_back_to_the_room() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.depose(&Ended::OtherPassword { account: "demo".into() });
    assert_eq!(ada_as_seen(&outputs(&mut rooms)), [false]);
    rooms.leave(ADA);
    let again = join(&mut rooms, Instant::now(), ADA, Some("demo")).unwrap();
    assert!(again.organizer);
    assert!(!rooms.may_be_mistaken(ADA) && rooms.may_be_mistaken(BOB));
    assert_eq!(rooms.mute(ADA, SourceKind::Microphone, Some(BOB)), Ok(()));
}

#[test]
fn a_room_that_nobody_has_entered_ends_with_the_account() {
    let (mut rooms, now) = (rooms(), Instant::now());
    open(&mut rooms, now, HALL, "hall").unwrap();
    rooms.depose(&Ended::OtherPassword { account: "demo".into() });
    assert_eq!(rooms.room_count(), 1);
    rooms.depose(&Ended::Removed { account: "demo".into() });
    assert_eq!(outputs(&mut rooms), [Output::CloseRoom { room: HALL }]);
}
