//! What participants may do about their own data while they are in a room (Art. 15 to 21 GDPR): see it, stop its
//! processing, object to a part of it, take chat lines back. What they may change at any time is in the parent.

use std::time::{Instant, SystemTime};

use saal_dataplane::id::{ParticipantId, SourceKind};

use super::{Output, Participant, Room, Rooms, State};
use crate::date::rfc3339;
use crate::signal::message::{EndReason, Id, Kind, Objections, Record, ServerMessage, SwitchedOn};

/// What is known of a participant who has gone, for their receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Departed {
    pub(crate) joined: Instant,
    pub(crate) chat_lines: u32,
}

/// What the data plane has to know of a participant's wishes beside what is switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) paused: bool,
    /// To being detected as a speaker.
    pub(crate) objects: bool,
    /// To being told how the line to them is.
    pub(crate) unmeasured: bool,
}

impl Rooms {
    /// Nothing of a participant who pauses is forwarded or looked at: no sound, no picture, no chat. They stay.
    pub(crate) fn pause(&mut self, participant: ParticipantId, paused: bool) {
        let Some((id, room, index)) = self.find(participant) else { return };
        let person = &mut room.people[index];
        if std::mem::replace(&mut person.wishes.paused, paused) == paused {
            return;
        }
        let shows = person.state.camera || person.state.screen;
        let message = ServerMessage::Changed { participant: person.as_seen() };
        let to = room.everybody();
        // Resuming releases nothing that an organizer withholds.
        for (source, withheld) in SourceKind::ALL.into_iter().zip(self.withheld(participant)) {
            self.outputs.push_back(Output::Withhold { room: id, participant, source, withheld });
        }
        self.outputs.push_back(Output::Tell { to, message });
        if shows {
            self.publish(id);
        }
    }

    /// Only the data plane is told: who objects is nobody else's business.
    pub(crate) fn object(&mut self, participant: ParticipantId, objects: bool) {
        let Some((id, room, index)) = self.find(participant) else { return };
        if std::mem::replace(&mut room.people[index].wishes.objects, objects) != objects {
            if objects {
                room.speakers.retain(|speaker| *speaker != participant);
            }
            self.outputs.push_back(Output::Object { room: id, participant, objects });
        }
    }

    /// What the data plane has to know of their line, to send what fits, is from now on told to nobody.
    pub(crate) fn object_to_quality(&mut self, participant: ParticipantId, objects: bool) {
        if let Some((_, room, index)) = self.find(participant) {
            room.people[index].wishes.unmeasured = objects;
        }
    }

    /// Asks everybody's page to take out one chat line of this participant, or all of them. A line is known by its author
    /// and its number, so nobody can take out another's, and nothing has to be kept for it.
    pub(crate) fn delete_chat(&mut self, participant: ParticipantId, line: Option<u32>) {
        let Some((_, room, index)) = self.find(participant) else { return };
        let lines = room.people[index].chat_lines;
        let is_own = line.map_or(lines > 0, |line| (1..=lines).contains(&line));
        if is_own {
            let message = ServerMessage::ChatDeleted { from: Id(participant), line };
            let to = room.everybody();
            self.outputs.push_back(Output::Tell { to, message });
        }
    }

    /// Ends everything that this account has opened: it is being deleted.
    pub(crate) fn close_all(&mut self, account: &str) {
        let own = self.rooms.iter().filter(|(_, room)| room.is_of(account)).map(|(id, _)| *id);
        for id in own.collect::<Vec<_>>() {
            self.end_room(id, EndReason::ByOrganizer);
        }
    }

    /// The rooms that this account has open, and how many are in each.
    pub(crate) fn opened_by(&self, account: &str) -> Vec<(String, usize)> {
        let own = self.rooms.values().filter(|room| room.is_of(account));
        own.map(|room| (room.name.shown().to_owned(), room.people.len())).collect()
    }

    /// All that is held here on this participant. `wall` is what the clock on the wall says at `now`.
    pub(crate) fn record(
        &self,
        now: Instant,
        wall: SystemTime,
        participant: ParticipantId,
    ) -> Option<Record> {
        let room = self.rooms.get(self.room_of.get(&participant)?)?;
        let speaking = room.speakers.contains(&participant);
        room.person(participant).map(|person| person.record(now, wall, speaking))
    }

    pub(crate) fn wishes(&self, participant: ParticipantId) -> Wishes {
        self.look(participant).map_or_else(Wishes::default, |person| person.wishes)
    }

    pub(super) fn look(&self, participant: ParticipantId) -> Option<&Participant> {
        self.rooms.get(self.room_of.get(&participant)?)?.person(participant)
    }
}

impl Room {
    fn person(&self, participant: ParticipantId) -> Option<&Participant> {
        self.people.iter().find(|person| person.id == participant)
    }
}

impl Participant {
    /// For whoever has a page to show it.
    pub(super) fn receipt(&self) -> Option<Output> {
        let departed = Departed { joined: self.joined, chat_lines: self.chat_lines };
        (self.kind == Kind::Person).then_some(Output::Receipt { participant: self.id, departed })
    }

    fn record(&self, now: Instant, wall: SystemTime, speaking: bool) -> Record {
        let State { microphone, camera, screen, hand } = self.state;
        let here = now.saturating_duration_since(self.joined);
        Record {
            participant: Id(self.id),
            name: self.name.clone(),
            kind: self.kind,
            organizer: self.organizer,
            joined_at: rfc3339(wall.checked_sub(here).unwrap_or(wall)),
            switched_on: SwitchedOn { microphone, camera, screen, hand },
            speaking,
            blocked: self.as_seen().blocked,
            paused: self.wishes.paused,
            objections: Objections {
                speaker_detection: self.wishes.objects,
                quality: self.wishes.unmeasured,
            },
            consents: [],
            chat_lines_relayed: self.chat_lines,
            chat_lines_allowed: self.chat.left(now),
            connection: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{ADA, BOB, HALL, hall_of_two, outputs};
    use super::*;

    fn told(outputs: &[Output]) -> Vec<&ServerMessage> {
        let messages = outputs.iter().filter_map(|output| {
            let Output::Tell { message, .. } = output else { return None };
            Some(message)
        });
        messages.collect()
    }

    #[test]
    fn a_pause_withholds_everything_and_everybody_sees_it() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.set_state(BOB, State { camera: true, ..State::default() });
        outputs(&mut rooms);
        for paused in [true, false] {
            rooms.pause(BOB, paused);
            let outputs_of_pause = outputs(&mut rooms);
            for source in SourceKind::ALL {
                let withhold = Output::Withhold { room: HALL, participant: BOB, source, withheld: paused };
                assert!(outputs_of_pause.contains(&withhold));
            }
            let [ServerMessage::Changed { participant }] = told(&outputs_of_pause)[..] else {
                panic!("{outputs_of_pause:?}")
            };
            assert_eq!((participant.paused, participant.camera), (paused, true), "what is on stays on");
            rooms.pause(BOB, paused);
            assert_eq!(outputs(&mut rooms), [], "said once");
        }
    }

    #[test]
    fn who_pauses_is_neither_shown_to_viewers_nor_relayed_in_chat() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.set_state(BOB, State { camera: true, ..State::default() });
        rooms.pause(BOB, true);
        assert!(rooms.pictures(HALL).is_empty());
        outputs(&mut rooms);
        rooms.chat(now, BOB, "x".into());
        assert_eq!(outputs(&mut rooms), []);
        rooms.pause(BOB, false);
        assert_eq!(rooms.pictures(HALL).len(), 1);
    }

    #[test]
    fn an_objection_is_told_to_nobody_but_the_data_plane() {
        let mut rooms = hall_of_two(Instant::now());
        rooms.object(BOB, true);
        assert_eq!(outputs(&mut rooms), [Output::Object { room: HALL, participant: BOB, objects: true }]);
        assert_eq!(rooms.wishes(BOB), Wishes { objects: true, ..Wishes::default() });
        rooms.object(BOB, true);
        assert_eq!(outputs(&mut rooms), []);
    }

    #[test]
    fn only_the_author_takes_lines_out_of_the_chat() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.delete_chat(BOB, None);
        assert_eq!(outputs(&mut rooms), [], "there is nothing to delete");
        rooms.chat(now, BOB, "one".into());
        rooms.chat(now, BOB, "two".into());
        outputs(&mut rooms);
        for beyond in [0, 3] {
            rooms.delete_chat(BOB, Some(beyond));
        }
        rooms.delete_chat(ADA, Some(1));
        assert_eq!(outputs(&mut rooms), [], "Ada has said nothing");
        for line in [Some(2), None] {
            rooms.delete_chat(BOB, line);
            let deleted = ServerMessage::ChatDeleted { from: Id(BOB), line };
            assert_eq!(outputs(&mut rooms), [Output::Tell { to: vec![ADA, BOB], message: deleted }]);
        }
    }

    #[test]
    fn an_account_takes_its_rooms_along_and_no_others() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        assert_eq!(rooms.opened_by("demo"), [("hall".to_owned(), 2)]);
        rooms.close_all("eve");
        assert_eq!((rooms.room_count(), outputs(&mut rooms)), (1, Vec::new()));
        rooms.close_all("demo");
        assert_eq!((rooms.room_count(), rooms.participant_count()), (0, 0));
        assert_eq!(outputs(&mut rooms).last(), Some(&Output::CloseRoom { room: HALL }));
    }

    #[test]
    fn the_record_is_what_is_held_and_goes_with_the_participant() {
        let now = Instant::now();
        let mut rooms = hall_of_two(now);
        rooms.rename(ADA, "Ada".into());
        rooms.chat(now, ADA, "x".into());
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        rooms.speakers(HALL, vec![ADA]);
        assert!(rooms.record(now, wall, ADA).is_some_and(|record| record.speaking));
        rooms.object(ADA, true);
        assert!(rooms.record(now, wall, ADA).is_some_and(|record| !record.speaking));
        // It may be told a moment later.
        rooms.speakers(HALL, vec![ADA, BOB]);
        let message = ServerMessage::Speakers { participants: vec![Id(BOB)] };
        assert!(told(&outputs(&mut rooms)).contains(&&message));
        let record = rooms.record(now + Duration::from_secs(40), wall, ADA).unwrap();
        assert_eq!(record.joined_at, "1970-01-01T00:01:00Z");
        assert_eq!((record.name.as_str(), record.organizer), ("Ada", true));
        assert_eq!((record.chat_lines_relayed, record.chat_lines_allowed), (1, 10));
        assert!(record.objections.speaker_detection && !record.paused);
        rooms.leave(ADA);
        assert_eq!(rooms.record(now, wall, ADA), None);
        let departed = Departed { joined: now, chat_lines: 1 };
        assert!(outputs(&mut rooms).contains(&Output::Receipt { participant: ADA, departed }));
    }
}
