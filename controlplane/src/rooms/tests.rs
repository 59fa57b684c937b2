//! The rules of a room's life.

mod door;
mod moderation;

use super::*;
use crate::limit::ClientAddr;

pub(super) const ADA: ParticipantId = ParticipantId(1);
pub(super) const BOB: ParticipantId = ParticipantId(2);
pub(super) const HALL: RoomId = RoomId(7);

fn rooms() -> Rooms {
    Rooms::new(Limits {
        waiting: Duration::from_secs(600),
        lost: Duration::from_secs(15),
        participants_max: 3,
        rooms_max: 3,
        rooms_per_organizer_max: 2,
    })
}

fn open(rooms: &mut Rooms, now: Instant, room: RoomId, name: &str) -> Result<(), OpenError> {
    let name = RoomName::new(name).unwrap();
    let opened_by = "demo".into();
    rooms.open(now, Open { room, name, opened_by, password: None, lobby: false, media_token_sha256: [0; 32] })
}

fn join(
    rooms: &mut Rooms,
    now: Instant,
    participant: ParticipantId,
    account: Option<&str>,
) -> Result<Admitted, Refused> {
    let join = Join {
        room: HALL,
        participant,
        kind: Kind::Person,
        name: format!("p{}", participant.0),
        account: account.map(Into::into),
        proof: None,
        client: client(participant.0),
    };
    match rooms.join(now, join)? {
        Entry::Admitted(admitted) => Ok(admitted),
        Entry::Waits => panic!("nobody waits here"),
    }
}

/// Another address for each.
pub(super) fn client(nth: u64) -> ClientAddr {
    ClientAddr::new(std::net::Ipv4Addr::from_bits(0xC000_0200 + nth as u32).into())
}

pub(super) fn outputs(rooms: &mut Rooms) -> Vec<Output> {
    std::iter::from_fn(|| rooms.poll_output()).collect()
}

pub(super) fn key(name: &str) -> RoomKey {
    RoomName::new(name).unwrap().key().clone()
}

/// A room with Ada, who opened it, and Bob.
pub(super) fn hall_of_two(now: Instant) -> Rooms {
    let mut rooms = rooms();
    open(&mut rooms, now, HALL, "hall").unwrap();
    join(&mut rooms, now, ADA, Some("demo")).unwrap();
    join(&mut rooms, now, BOB, None).unwrap();
    outputs(&mut rooms);
    rooms
}

#[test]
fn a_room_that_nobody_enters_is_gone_when_its_waiting_time_is_over() {
    let (mut rooms, now) = (rooms(), Instant::now());
    open(&mut rooms, now, HALL, "hall").unwrap();
    rooms.on_timeout(now + Duration::from_secs(599));
    assert_eq!(rooms.room_count(), 1);
    rooms.on_timeout(now + Duration::from_secs(600));
    assert_eq!(outputs(&mut rooms), [Output::CloseRoom { room: HALL }]);
    assert!(rooms.entrance(&key("hall")).is_none());
}

#[test]
fn a_room_with_somebody_in_it_does_not_wait() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.on_timeout(now + Duration::from_secs(10_000));
    assert_eq!(rooms.room_count(), 1);
}

#[test]
fn the_last_participant_takes_the_room_along() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.leave(ADA);
    let left = ServerMessage::Left { participant: Id(ADA) };
    let departed = Departed { joined: now, chat_lines: 0 };
    assert_eq!(
        outputs(&mut rooms),
        [
            Output::Leave { room: HALL, participant: ADA },
            Output::Receipt { participant: ADA, departed },
            Output::Dismiss { participant: ADA },
            Output::Tell { to: vec![BOB], message: left },
        ]
    );
    rooms.leave(BOB);
    assert_eq!(outputs(&mut rooms).last(), Some(&Output::CloseRoom { room: HALL }));
    assert_eq!((rooms.room_count(), rooms.participant_count()), (0, 0));
    let totals = rooms.totals();
    assert_eq!((totals.rooms_created, totals.rooms_destroyed), (1, 1));
    assert_eq!((totals.participants_joined, totals.participants_left), (2, 2));
}

#[test]
fn leaving_twice_is_leaving_once() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.leave(ADA);
    outputs(&mut rooms);
    rooms.leave(ADA);
    assert_eq!(outputs(&mut rooms), []);
}

#[test]
fn newcomers_hear_who_is_there_and_the_others_hear_of_them() {
    let (mut rooms, now) = (rooms(), Instant::now());
    open(&mut rooms, now, HALL, "Hall").unwrap();
    let ada = join(&mut rooms, now, ADA, Some("demo")).unwrap();
    assert_eq!((ada.room_name.as_str(), ada.organizer, ada.others.len()), ("Hall", true, 0));
    outputs(&mut rooms);
    let bob = join(&mut rooms, now, BOB, Some("somebody-else")).unwrap();
    assert!(!bob.organizer);
    assert_eq!(bob.others[0].name, "p1");
    let outputs = outputs(&mut rooms);
    assert!(
        matches!(&outputs[..], [Output::Tell { to, message: ServerMessage::Joined { .. } }] if to[..] == [ADA])
    );
}

#[test]
fn a_reused_name_is_another_room() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let before = rooms.entrance(&key("hall")).unwrap().0;
    assert_eq!(open(&mut rooms, now, RoomId(8), "HALL"), Err(OpenError::NameTaken));
    rooms.leave(ADA);
    rooms.leave(BOB);
    open(&mut rooms, now, RoomId(8), "HALL").unwrap();
    assert_ne!(rooms.entrance(&key("hall")).unwrap().0, before);
    assert_eq!(
        join(&mut rooms, now, ADA, None),
        Err(Refused::NotAdmitted),
        "a verified entrance of the old room"
    );
}

#[test]
fn limits_are_answered_with_busy_and_full() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    join(&mut rooms, now, ParticipantId(3), None).unwrap();
    assert_eq!(join(&mut rooms, now, ParticipantId(4), None), Err(Refused::Full));
    open(&mut rooms, now, RoomId(8), "b").unwrap();
    assert_eq!(open(&mut rooms, now, RoomId(9), "c"), Err(OpenError::Busy));
}

#[test]
fn only_what_changed_is_switched() {
    let mut rooms = hall_of_two(Instant::now());
    let state = State { camera: true, hand: true, ..State::default() };
    rooms.set_state(ADA, state);
    let switch = Output::Switch { room: HALL, participant: ADA, source: SourceKind::Camera, on: true };
    let outputs_of_change = outputs(&mut rooms);
    assert_eq!(outputs_of_change[0], switch);
    assert!(matches!(&outputs_of_change[1], Output::Tell { to, .. } if to[..] == [ADA, BOB]));
    rooms.set_state(ADA, state);
    assert_eq!(outputs(&mut rooms), []);
    assert_eq!(rooms.state(ADA), state);
}

#[test]
fn only_the_organizer_ends_the_room() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    let departed = Departed { joined: now, chat_lines: 0 };
    assert_eq!(rooms.end(BOB), Err(Refused::BadMessage));
    rooms.end(ADA).unwrap();
    let ended = ServerMessage::Ended { reason: EndReason::ByOrganizer };
    assert_eq!(
        outputs(&mut rooms),
        [
            Output::Tell { to: vec![ADA, BOB], message: ended },
            Output::Receipt { participant: ADA, departed },
            Output::Dismiss { participant: ADA },
            Output::Receipt { participant: BOB, departed },
            Output::Dismiss { participant: BOB },
            Output::CloseRoom { room: HALL },
        ]
    );
}

#[test]
fn only_the_account_that_opened_a_room_closes_it_from_outside() {
    let mut rooms = hall_of_two(Instant::now());
    assert!(!rooms.close(&key("hall"), "eve"));
    assert!(!rooms.close(&key("absent"), "demo"));
    assert!(rooms.close(&key("HALL"), "demo"));
    assert_eq!(rooms.room_count(), 0);
}

#[test]
fn chat_goes_to_everybody_until_it_floods() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    for _ in 0..100 {
        rooms.chat(now, BOB, "x".into());
    }
    let said = outputs(&mut rooms);
    assert_eq!(said.len(), usize::from(CHAT_BURST));
    assert!(matches!(&said[0], Output::Tell { to, .. } if to[..] == [ADA, BOB]));
    rooms.chat(now + Duration::from_secs(1), BOB, "x".into());
    assert_eq!(outputs(&mut rooms).len(), 1);
}

#[test]
fn draining_keeps_rooms_in_progress_and_lets_nobody_in() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    open(&mut rooms, now, RoomId(8), "waiting").unwrap();
    rooms.drain();
    assert_eq!(outputs(&mut rooms), [Output::CloseRoom { room: RoomId(8) }]);
    assert_eq!(open(&mut rooms, now, RoomId(9), "late"), Err(OpenError::Busy));
    assert_eq!(join(&mut rooms, now, ParticipantId(3), None), Err(Refused::Busy));
    rooms.shut_down();
    assert_eq!(rooms.room_count(), 0);
}

#[test]
fn speakers_are_told_to_their_room_only() {
    let mut rooms = hall_of_two(Instant::now());
    rooms.speakers(RoomId(99), vec![ADA]);
    assert_eq!(outputs(&mut rooms), []);
    rooms.speakers(HALL, vec![BOB, ADA]);
    let message = ServerMessage::Speakers { participants: vec![Id(BOB), Id(ADA)] };
    assert_eq!(outputs(&mut rooms), [Output::Tell { to: vec![ADA, BOB], message }]);
}

#[test]
fn newcomers_hear_who_speaks_and_nothing_of_who_has_left() {
    let now = Instant::now();
    let mut rooms = hall_of_two(now);
    rooms.speakers(HALL, vec![BOB, ADA]);
    let told = |rooms: &mut Rooms| {
        let newcomer = ParticipantId(3);
        let admitted = join(rooms, now, newcomer, None).expect("there is room");
        rooms.leave(newcomer);
        admitted.speakers
    };
    assert_eq!(told(&mut rooms), [Id(BOB), Id(ADA)]);
    rooms.leave(BOB);
    assert_eq!(told(&mut rooms), [Id(ADA)]);
    // The data plane's word may be older than that.
    rooms.speakers(HALL, vec![BOB]);
    assert_eq!(told(&mut rooms), []);
}

#[test]
fn streams_and_viewers_are_numbered_apart_and_a_number_is_free_again_when_its_owner_has_left() {
    let (mut rooms, now) = (rooms(), Instant::now());
    open(&mut rooms, now, HALL, "hall").unwrap();
    let number = |rooms: &mut Rooms, participant, kind| {
        let participant = ParticipantId(participant);
        let name = String::new();
        let client = client(participant.0);
        let join = Join { room: HALL, participant, kind, name, account: None, proof: None, client };
        rooms.join(now, join).unwrap();
        let joined = outputs(rooms).into_iter().rev().find_map(|output| {
            let Output::Tell { message: ServerMessage::Joined { participant }, .. } = output else {
                return None;
            };
            Some(participant.name)
        });
        joined.unwrap()
    };
    assert_eq!(number(&mut rooms, 1, Kind::Stream), "1");
    assert_eq!(number(&mut rooms, 2, Kind::Stream), "2");
    assert_eq!(number(&mut rooms, 3, Kind::Viewer), "1");
    rooms.leave(ParticipantId(1));
    assert_eq!(number(&mut rooms, 4, Kind::Stream), "1", "whoever comes back is the same to those who watch");
}
