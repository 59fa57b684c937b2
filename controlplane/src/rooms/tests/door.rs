//! Who comes in and who waits.

use super::*;
use crate::password::{Hash, Password};
use crate::signal::message::RulesWish;

const EVE: ParticipantId = ParticipantId(3);

/// A room with a lobby and Ada, who opened it, in it.
fn lobby(now: Instant) -> Rooms {
    let mut rooms = rooms();
    let name = RoomName::new("hall").unwrap();
    let opened_by = "demo".into();
    let open = Open { room: HALL, name, opened_by, password: None, lobby: true, media_token_sha256: [0; 32] };
    rooms.open(now, open).unwrap();
    knock(&mut rooms, now, ADA, None, Some("demo")).unwrap();
    outputs(&mut rooms);
    rooms
}

fn knock(
    rooms: &mut Rooms,
    now: Instant,
    participant: ParticipantId,
    proof: Option<&Hash>,
    account: Option<&str>,
) -> Result<Entry, Refused> {
    rooms.join(
        now,
        Join {
            room: HALL,
            participant,
            kind: Kind::Person,
            name: format!("p{}", participant.0),
            account: account.map(Into::into),
            proof: proof.cloned(),
            client: client(participant.0),
        },
    )
}

fn hash(password: &str) -> Hash {
    Hash::of(&Password::new(password)).unwrap()
}

/// What was said to one participant.
fn told(outputs: &[Output], participant: ParticipantId) -> Vec<&ServerMessage> {
    let said = outputs.iter().filter_map(|output| {
        let Output::Tell { to, message } = output else { return None };
        to.contains(&participant).then_some(message)
    });
    said.collect()
}

fn set(rooms: &mut Rooms, now: Instant, wish: RulesWish) {
    rooms.set_rules(now, ADA, wish).unwrap();
}

const LOBBY_ON: RulesWish = RulesWish { lobby: Some(true), ..NOTHING };
const LOBBY_OFF: RulesWish = RulesWish { lobby: Some(false), ..NOTHING };
const LOCK: RulesWish = RulesWish { locked: Some(true), ..NOTHING };
const NOTHING: RulesWish =
    RulesWish { lobby: None, locked: None, microphone: None, camera: None, screen: None, chat: None };

#[test]
fn who_waits_hears_nothing_of_the_room_and_only_organizers_hear_of_them() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    set(&mut rooms, now, LOBBY_ON);
    outputs(&mut rooms);
    assert_eq!(knock(&mut rooms, now, EVE, None, None), Ok(Entry::Waits));
    let heard = outputs(&mut rooms);
    assert!(
        matches!(told(&heard, ADA)[..], [ServerMessage::Knocked { participant }] if participant.name == "p3")
    );
    assert_eq!(heard.len(), 1, "not even the other guests");

    rooms.chat(now, ADA, "between us".into());
    rooms.set_state(BOB, State { microphone: true, ..State::default() });
    rooms.speakers(HALL, vec![BOB]);
    rooms.rename(BOB, "Robert".into());
    // Whatever their page tries.
    rooms.chat(now, EVE, "let me in".into());
    rooms.set_state(EVE, State { microphone: true, camera: true, ..State::default() });
    rooms.rename(EVE, "Ada".into());
    let heard = outputs(&mut rooms);
    assert_eq!(told(&heard, EVE), Vec::<&ServerMessage>::new());
    assert!(!heard.iter().any(|output| matches!(output, Output::Switch { participant: EVE, .. })));
    assert_eq!(rooms.participant_count(), 2);
}

#[test]
fn who_is_admitted_learns_of_the_room_as_it_is_then() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    knock(&mut rooms, now, BOB, None, None).unwrap();
    rooms.rename(ADA, "Ada L.".into());
    outputs(&mut rooms);
    rooms.admit(now, ADA, &[BOB, EVE]).unwrap();
    let happened = outputs(&mut rooms);
    let admitted = happened.iter().find_map(|output| {
        let Output::Admit { participant: BOB, admitted } = output else { return None };
        Some(admitted)
    });
    let admitted = admitted.unwrap();
    assert_eq!(admitted.others[0].name, "Ada L.");
    assert!(!admitted.organizer && admitted.waiting.is_empty());
    assert!(matches!(
        told(&happened, ADA)[..],
        [ServerMessage::KnockOver { .. }, ServerMessage::Joined { .. }]
    ));
    assert_eq!(rooms.participant_count(), 2);
}

#[test]
fn who_is_turned_away_hears_so_and_may_ask_again() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    knock(&mut rooms, now, BOB, None, None).unwrap();
    outputs(&mut rooms);
    rooms.turn_away(ADA, &[BOB]).unwrap();
    let happened = outputs(&mut rooms);
    assert_eq!(told(&happened, BOB), [&ServerMessage::Refused { reason: Refused::TurnedAway }]);
    assert!(happened.contains(&Output::Dismiss { participant: BOB }));
    rooms.leave(BOB);
    assert_eq!(outputs(&mut rooms), [], "their connection ends afterwards");
    assert_eq!(knock(&mut rooms, now, BOB, None, None), Ok(Entry::Waits));
}

#[test]
fn guests_admit_nobody() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    set(&mut rooms, now, LOBBY_ON);
    knock(&mut rooms, now, EVE, None, None).unwrap();
    for by in [BOB, EVE, ParticipantId(99)] {
        assert_eq!(rooms.admit(now, by, &[EVE]), Err(Refused::BadMessage));
        assert_eq!(rooms.turn_away(by, &[EVE]), Err(Refused::BadMessage));
        assert_eq!(rooms.set_rules(now, by, LOBBY_OFF), Err(Refused::BadMessage));
        assert_eq!(rooms.wish_password(by), Err(Refused::BadMessage));
        assert_eq!(rooms.mute(by, SourceKind::Camera, None), Err(Refused::BadMessage));
        assert_eq!(rooms.block(by, ADA, SourceKind::Camera, true), Err(Refused::BadMessage));
        assert_eq!(rooms.remove(by, ADA), Err(Refused::BadMessage));
    }
    assert_eq!(rooms.participant_count(), 2);
}

#[test]
fn guests_who_are_early_wait_for_the_organizer_and_go_with_the_room_if_nobody_comes() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    rooms.leave(ADA);
    let name = RoomName::new("hall").unwrap();
    let opened_by = "demo".into();
    let open = Open { room: HALL, name, opened_by, password: None, lobby: true, media_token_sha256: [0; 32] };
    rooms.open(now, open).unwrap();
    assert_eq!(knock(&mut rooms, now, BOB, None, None), Ok(Entry::Waits));
    outputs(&mut rooms);
    rooms.on_timeout(now + Duration::from_secs(600));
    let happened = outputs(&mut rooms);
    let as_for_an_absent_room = ServerMessage::Refused { reason: Refused::NotAdmitted };
    assert_eq!(told(&happened, BOB), [&as_for_an_absent_room]);
    assert_eq!((rooms.room_count(), rooms.waits_for.len()), (0, 0));
}

#[test]
fn the_organizer_who_comes_later_sees_who_waits() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    knock(&mut rooms, now, BOB, None, None).unwrap();
    let Ok(Entry::Admitted(admitted)) = knock(&mut rooms, now, EVE, None, Some("demo")) else { panic!() };
    assert_eq!(admitted.waiting.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), [Id(BOB)]);
}

#[test]
fn a_password_that_was_right_before_it_was_changed_opens_nothing() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let (old, new) = (hash("old"), hash("new"));
    let wish = rooms.wish_password(ADA).unwrap();
    rooms.set_password(ADA, wish, Some(old.clone()));
    let wish = rooms.wish_password(ADA).unwrap();
    // While this guest's password was being checked.
    rooms.set_password(ADA, wish, Some(new.clone()));
    assert_eq!(knock(&mut rooms, now, EVE, Some(&old), None), Err(Refused::NotAdmitted));
    assert_eq!(knock(&mut rooms, now, EVE, None, None), Err(Refused::NotAdmitted));
    assert!(matches!(knock(&mut rooms, now, EVE, Some(&new), None), Ok(Entry::Admitted(_))));
    assert_eq!(rooms.participant_count(), 3, "those who were inside stay");
}

#[test]
fn another_password_asks_those_who_wait_again() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    knock(&mut rooms, now, BOB, None, None).unwrap();
    outputs(&mut rooms);
    let wish = rooms.wish_password(ADA).unwrap();
    rooms.set_password(ADA, wish, Some(hash("new")));
    let happened = outputs(&mut rooms);
    assert_eq!(told(&happened, BOB), [&ServerMessage::Refused { reason: Refused::NotAdmitted }]);
    rooms.admit(now, ADA, &[BOB]).unwrap();
    assert_eq!(rooms.participant_count(), 1);
}

#[test]
fn of_two_passwords_the_later_wish_counts_whichever_hash_is_ready_first() {
    let mut rooms = hall_of_two(Instant::now());
    let first = rooms.wish_password(ADA).unwrap();
    let second = rooms.wish_password(ADA).unwrap();
    let (old, new) = (hash("old"), hash("new"));
    rooms.set_password(ADA, second, Some(new.clone()));
    rooms.set_password(ADA, first, Some(old));
    assert!(rooms.entrance(&key("hall")).unwrap().1 == Some(new));
}

#[test]
fn a_lobby_that_is_set_while_a_password_is_checked_holds_the_guest() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let (room, proof) = rooms.entrance(&key("hall")).unwrap();
    assert_eq!(room, HALL);
    set(&mut rooms, now, LOBBY_ON);
    assert_eq!(knock(&mut rooms, now, EVE, proof.as_ref(), None), Ok(Entry::Waits));
}

#[test]
fn a_lobby_that_is_switched_off_lets_in_who_waits_unless_the_room_is_locked() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    knock(&mut rooms, now, BOB, None, None).unwrap();
    set(&mut rooms, now, RulesWish { lobby: Some(false), ..LOCK });
    assert_eq!(rooms.participant_count(), 1);
    set(&mut rooms, now, RulesWish { lobby: Some(true), locked: Some(false), ..NOTHING });
    set(&mut rooms, now, LOBBY_OFF);
    assert_eq!(rooms.participant_count(), 2);
}

#[test]
fn a_locked_room_lets_nobody_in_but_whom_an_organizer_admits() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    knock(&mut rooms, now, BOB, None, None).unwrap();
    set(&mut rooms, now, LOCK);
    assert_eq!(knock(&mut rooms, now, EVE, None, None), Err(Refused::Locked));
    rooms.admit(now, ADA, &[BOB]).unwrap();
    assert_eq!(rooms.participant_count(), 2);
}

#[test]
fn a_stream_goes_past_the_lobby_and_not_past_the_lock() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    let stream = |rooms: &mut Rooms, participant| {
        let name = String::new();
        let client = client(9);
        let kind = Kind::Stream;
        rooms.join(now, Join { room: HALL, participant, kind, name, account: None, proof: None, client })
    };
    assert!(matches!(stream(&mut rooms, BOB), Ok(Entry::Admitted(_))));
    set(&mut rooms, now, LOCK);
    assert_eq!(stream(&mut rooms, EVE), Err(Refused::Locked));
}

#[test]
fn the_organizer_gets_past_password_lobby_lock_and_a_full_room() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    knock(&mut rooms, now, EVE, None, None).unwrap();
    let wish = rooms.wish_password(ADA).unwrap();
    rooms.set_password(ADA, wish, Some(hash("secret")));
    set(&mut rooms, now, RulesWish { lobby: Some(true), ..LOCK });
    for nth in 10..10 + ORGANIZERS_BEYOND_FULL as u64 {
        let entry = knock(&mut rooms, now, ParticipantId(nth), None, Some("demo"));
        assert!(matches!(entry, Ok(Entry::Admitted(_))), "{entry:?}");
    }
    assert_eq!(knock(&mut rooms, now, ParticipantId(99), None, Some("demo")), Err(Refused::Full));
}

#[test]
fn admitting_stops_when_the_room_is_full_and_the_others_wait_on() {
    let now = Instant::now();
    let mut rooms = lobby(now);
    for nth in 2..5 {
        assert_eq!(knock(&mut rooms, now, ParticipantId(nth), None, None), Ok(Entry::Waits));
    }
    assert_eq!(knock(&mut rooms, now, ParticipantId(5), None, None), Err(Refused::Full), "the lobby, too");
    rooms.admit(now, ADA, &[ParticipantId(2), ParticipantId(3), ParticipantId(4)]).unwrap();
    assert_eq!((rooms.participant_count(), rooms.waits_for.len()), (3, 1));
}

#[test]
fn whoever_was_removed_has_to_be_let_in_from_then_on_and_their_neighbour_with_another_address_has_not() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.remove(ADA, BOB).unwrap();
    let happened = outputs(&mut rooms);
    assert_eq!(told(&happened, BOB), [&ServerMessage::Ended { reason: EndReason::Removed }]);
    assert!(happened.contains(&Output::Leave { room: HALL, participant: BOB }));
    assert_eq!(knock(&mut rooms, now, BOB, None, None), Ok(Entry::Waits));
    assert!(matches!(knock(&mut rooms, now, EVE, None, None), Ok(Entry::Admitted(_))));
    set(&mut rooms, now, LOBBY_ON);
    set(&mut rooms, now, LOBBY_OFF);
    assert_eq!(rooms.participant_count(), 2, "a lobby that is switched off does not let them in");
    rooms.admit(now, ADA, &[BOB]).unwrap();
    assert_eq!(rooms.participant_count(), 3, "an organizer does");
}

#[test]
fn a_removal_concerns_the_address_that_somebody_has_come_back_from() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.set_return(BOB, [7; 32]);
    rooms.lose(now, BOB, now);
    assert_eq!(rooms.resume(&key("hall"), &[7; 32], client(EVE.0)), Some(BOB), "over another network");
    rooms.remove(ADA, BOB).unwrap();
    outputs(&mut rooms);
    assert_eq!(knock(&mut rooms, now, EVE, None, None), Ok(Entry::Waits), "from there");
    assert!(
        matches!(knock(&mut rooms, now, BOB, None, None), Ok(Entry::Admitted(_))),
        "from where he was before"
    );
}

#[test]
fn the_next_room_of_the_same_name_knows_nothing_of_whom_this_one_removed() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.remove(ADA, BOB).unwrap();
    rooms.leave(ADA);
    open(&mut rooms, now, HALL, "hall").unwrap();
    assert!(matches!(knock(&mut rooms, now, BOB, None, None), Ok(Entry::Admitted(_))));
}

#[test]
fn an_organizer_is_never_removed_blocked_or_muted() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    knock(&mut rooms, now, EVE, None, Some("demo")).unwrap();
    rooms.set_state(EVE, State { microphone: true, ..State::default() });
    outputs(&mut rooms);
    for target in [ADA, EVE] {
        rooms.remove(ADA, target).unwrap();
        rooms.block(ADA, target, SourceKind::Microphone, true).unwrap();
        rooms.mute(ADA, SourceKind::Microphone, Some(target)).unwrap();
    }
    rooms.mute(ADA, SourceKind::Microphone, None).unwrap();
    assert_eq!(outputs(&mut rooms), []);
}
