//! Whose connection is lost keeps their place for a while: id, name, role, admission, switches and rights. A token that
//! counts once, for this participant in this room, brings them back to it.

use std::time::Instant;

use saal_dataplane::id::ParticipantId;

use super::{Output, Participant, Rooms};
use crate::limit::ClientAddr;
use crate::names::RoomKey;
use crate::random;
use crate::signal::message::ServerMessage;

/// Whether the page of a participant can be talked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    Here,
    /// The connection stands, and nothing has come for longer than it should.
    Silent,
    /// The connection is lost.
    Lost {
        until: Instant,
    },
}

impl Rooms {
    /// From now on this token brings the participant back, and no earlier one does. Only its hash is kept.
    pub(crate) fn set_return(&mut self, participant: ParticipantId, token_sha256: [u8; 32]) {
        if let Some((_, room, index)) = self.find(participant) {
            room.people[index].return_sha256 = Some(token_sha256);
        }
    }

    /// Whether a connection that has stopped answering is still worth waiting for is not decided here.
    pub(crate) fn set_silent(&mut self, participant: ParticipantId, silent: bool) {
        let presence = if silent { Presence::Silent } else { Presence::Here };
        self.set_presence(participant, presence);
    }

    /// The connection is lost, and was last heard at `heard_at`. The place is kept for as long as a silent media path is;
    /// without a token to come back with, and in the lobby, there is none, and the participant is gone.
    pub(crate) fn lose(&mut self, now: Instant, participant: ParticipantId, heard_at: Instant) {
        let until = heard_at + self.limits.lost;
        let may_return = self.look(participant).is_some_and(|person| person.return_sha256.is_some());
        if may_return && now < until {
            self.set_presence(participant, Presence::Lost { until });
        } else {
            self.leave(participant);
        }
    }

    /// Whose token this is in the room of this name; it is void from now on. An absent room, an earlier room's token and
    /// one that was never given out are the same. A removal concerns from where they are back, not where they were.
    pub(crate) fn resume(
        &mut self,
        key: &RoomKey,
        token_sha256: &[u8; 32],
        client: ClientAddr,
    ) -> Option<ParticipantId> {
        let room = self.rooms.get_mut(self.by_name.get(key)?)?;
        let mark = room.marks.of(client);
        let fits = |person: &&mut Participant| {
            person.return_sha256.as_ref().is_some_and(|own| random::are_equal(own, token_sha256))
        };
        let person = room.people.iter_mut().find(fits)?;
        person.return_sha256 = None;
        person.mark = mark;
        let id = person.id;
        self.set_presence(id, Presence::Here);
        Some(id)
    }

    /// Places of those who did not come back in time.
    pub(super) fn expire_places(&mut self, now: Instant) {
        let is_over =
            |person: &&Participant| matches!(person.presence, Presence::Lost { until } if until <= now);
        let people = self.rooms.values().flat_map(|room| &room.people);
        for id in people.filter(is_over).map(|person| person.id).collect::<Vec<_>>() {
            self.leave(id);
        }
    }

    fn set_presence(&mut self, participant: ParticipantId, presence: Presence) {
        let Some((_, room, index)) = self.find(participant) else { return };
        let person = &mut room.people[index];
        let was_away = person.is_away();
        person.presence = presence;
        if person.is_away() == was_away {
            return;
        }
        let message = ServerMessage::Changed { participant: person.as_seen() };
        let to = room.everybody().into_iter().filter(|&other| other != participant).collect();
        self.outputs.push_back(Output::Tell { to, message });
    }
}

impl Participant {
    /// As the others see it.
    pub(super) fn is_away(&self) -> bool {
        self.presence != Presence::Here
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Id;
    use super::super::tests::{ADA, BOB, HALL, client, hall_of_two, key, outputs};
    use super::*;

    const LOST: Duration = Duration::from_secs(15);
    const TOKEN: [u8; 32] = [7; 32];

    fn told(outputs: &[Output], who: ParticipantId) -> Vec<bool> {
        let away = outputs.iter().filter_map(|output| {
            let Output::Tell { to, message: ServerMessage::Changed { participant } } = output else {
                return None;
            };
            assert!(!to.contains(&who), "whoever is away is not told so");
            (participant.id == Id(who)).then_some(participant.away)
        });
        away.collect()
    }

    #[test]
    fn whose_connection_is_lost_keeps_everything_until_the_time_is_over() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.chat(now, BOB, "x".into());
        rooms.object(BOB, true);
        rooms.set_return(BOB, TOKEN);
        outputs(&mut rooms);
        rooms.lose(now, BOB, now);
        assert_eq!(told(&outputs(&mut rooms), BOB), [true]);
        rooms.on_timeout(now + LOST - Duration::from_millis(1));
        assert_eq!(outputs(&mut rooms), []);

        assert_eq!(rooms.resume(&key("hall"), &TOKEN, client(9)), Some(BOB));
        assert_eq!(told(&outputs(&mut rooms), BOB), [false]);
        rooms.on_timeout(now + LOST);
        assert_eq!(outputs(&mut rooms), [], "they are back");
        let record = rooms.record(now, std::time::SystemTime::UNIX_EPOCH + 2 * LOST, BOB).unwrap();
        assert_eq!((record.chat_lines_relayed, record.objections.speaker_detection), (1, true));

        rooms.set_return(BOB, TOKEN);
        rooms.lose(now, BOB, now);
        rooms.on_timeout(now + LOST);
        assert!(outputs(&mut rooms).contains(&Output::Leave { room: HALL, participant: BOB }));
        assert_eq!(rooms.resume(&key("hall"), &TOKEN, client(9)), None);
    }

    #[test]
    fn the_time_counts_from_the_last_sign_of_life() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.set_return(BOB, TOKEN);
        rooms.lose(now + LOST, BOB, now);
        assert!(outputs(&mut rooms).contains(&Output::Leave { room: HALL, participant: BOB }));
    }

    #[test]
    fn a_token_counts_once_and_for_its_room_alone() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.set_return(BOB, [8; 32]);
        rooms.set_return(BOB, TOKEN);
        assert_eq!(rooms.resume(&key("hall"), &[8; 32], client(9)), None, "an earlier one");
        assert_eq!(rooms.resume(&key("attic"), &TOKEN, client(9)), None);
        assert_eq!(rooms.resume(&key("hall"), &TOKEN, client(9)), Some(BOB));
        assert_eq!(rooms.resume(&key("hall"), &TOKEN, client(9)), None, "once");
        rooms.lose(now, BOB, now);
        assert!(outputs(&mut rooms).contains(&Output::Leave { room: HALL, participant: BOB }), "no way back");
    }

    #[test]
    fn a_room_of_people_who_are_all_lost_ends_with_their_places() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.set_return(ADA, [1; 32]);
        rooms.set_return(BOB, [2; 32]);
        rooms.lose(now, ADA, now);
        rooms.lose(now, BOB, now);
        assert_eq!(rooms.room_count(), 1);
        rooms.on_timeout(now + LOST);
        assert_eq!(outputs(&mut rooms).last(), Some(&Output::CloseRoom { room: HALL }));
        assert_eq!((rooms.room_count(), rooms.participant_count()), (0, 0));
    }

    #[test]
    fn who_answers_again_was_only_silent() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.set_silent(BOB, true);
        rooms.set_silent(BOB, true);
        rooms.set_silent(BOB, false);
        assert_eq!(told(&outputs(&mut rooms), BOB), [true, false]);
    }
}
