//! Who comes in, who waits in the lobby and who is turned away. Everything is judged at the moment of entry.

use std::time::Instant;

use saal_dataplane::id::{ParticipantId, RoomId, SourceKind};

use super::place::Presence;
use super::{CHAT_BURST, CHAT_PER_SECOND, Output, Participant, Room, Rooms, State, Wishes};
use crate::limit::{Bucket, ClientAddr, Mark};
use crate::password::Hash;
use crate::signal::message::{Id, Kind, Person, Refused, Rules, ServerMessage, Waiter};

pub(crate) struct Join {
    /// From [`Rooms::entrance`]: a room that was closed and opened again in between is another one.
    pub(crate) room: RoomId,
    pub(crate) participant: ParticipantId,
    pub(crate) kind: Kind,
    /// Of a person; others are numbered.
    pub(crate) name: String,
    /// The account that is signed in on the joining browser.
    pub(crate) account: Option<String>,
    /// The password that was found right. If it is not the room's any more, it opens nothing.
    pub(crate) proof: Option<Hash>,
    pub(crate) client: ClientAddr,
}

/// What has become of somebody who wants to come in.
#[derive(Debug, PartialEq)]
pub(crate) enum Entry {
    Admitted(Admitted),
    /// In the lobby, until [`Output::Admit`] or a refusal.
    Waits,
}

/// What a newcomer needs to know.
#[derive(Debug, PartialEq)]
pub(crate) struct Admitted {
    pub(crate) room_name: String,
    pub(crate) organizer: bool,
    pub(crate) others: Vec<Person>,
    pub(crate) speakers: Vec<Id>,
    pub(crate) rules: Rules,
    /// For organizers only.
    pub(crate) waiting: Vec<Waiter>,
}

/// Somebody in the lobby: nobody but the organizers hears of them, and they hear of nobody.
pub(super) struct Waiting {
    pub(super) id: ParticipantId,
    name: String,
    mark: Mark,
}

/// The organizer who opened the room gets in when it is full, from so many browsers at once.
pub(crate) const ORGANIZERS_BEYOND_FULL: usize = 4;

impl Rooms {
    pub(crate) fn join(&mut self, now: Instant, join: Join) -> Result<Entry, Refused> {
        if self.draining {
            return Err(Refused::Busy);
        }
        let people_max = self.limits.participants_max;
        let room = self.rooms.get_mut(&join.room).ok_or(Refused::NotAdmitted)?;
        let organizer = join.account.is_some_and(|account| room.is_of(&account));
        let mark = room.marks.of(join.client);
        if !organizer {
            if join.kind == Kind::Person && join.proof != room.password {
                return Err(Refused::NotAdmitted);
            }
            if room.rules.locked {
                return Err(Refused::Locked);
            }
            // A program cannot wait: whoever gave it the token has let it in.
            if join.kind == Kind::Person && (room.rules.lobby || room.marks.contains(mark)) {
                // No more wait than could be let in.
                if room.waiting.len() >= people_max {
                    return Err(Refused::Full);
                }
                let waiting = Waiting { id: join.participant, name: join.name, mark };
                let message = ServerMessage::Knocked { participant: waiting.as_seen() };
                room.waiting.push(waiting);
                self.waits_for.insert(join.participant, join.room);
                self.tell_organizers(join.room, message);
                return Ok(Entry::Waits);
            }
        }
        let beyond = if organizer { ORGANIZERS_BEYOND_FULL } else { 0 };
        if room.people.len() >= people_max + beyond {
            return Err(Refused::Full);
        }
        let name = match join.kind {
            Kind::Person => join.name,
            Kind::Stream | Kind::Viewer => room.free_number(join.kind),
        };
        let newcomer = Participant {
            id: join.participant,
            name,
            kind: join.kind,
            organizer,
            joined: now,
            state: State::default(),
            wishes: Wishes::default(),
            chat_lines: 0,
            blocked: [false; SourceKind::ALL.len()],
            mark,
            chat: Bucket::new(now, CHAT_BURST, CHAT_PER_SECOND),
            presence: Presence::Here,
            return_sha256: None,
        };
        Ok(Entry::Admitted(self.take_in(join.room, newcomer)?))
    }

    /// An organizer lets in who waits: those that they have seen, not who has come meanwhile. A locked room is no obstacle,
    /// a full one is.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        by: ParticipantId,
        waiting: &[ParticipantId],
    ) -> Result<(), Refused> {
        let id = self.moderated_by(by)?;
        self.admit_waiting(now, id, waiting);
        Ok(())
    }

    /// An organizer lets none of these in; they may ask again.
    pub(crate) fn turn_away(&mut self, by: ParticipantId, waiting: &[ParticipantId]) -> Result<(), Refused> {
        let id = self.moderated_by(by)?;
        for &participant in waiting {
            let Some(room) = self.rooms.get_mut(&id) else { break };
            let Some(away) = room.waiting.iter().find(|waiting| waiting.id == participant) else { continue };
            room.marks.add(away.mark);
            self.refuse_waiting(participant, Refused::TurnedAway);
        }
        Ok(())
    }

    pub(super) fn admit_waiting(&mut self, now: Instant, id: RoomId, waiting: &[ParticipantId]) {
        for &participant in waiting {
            let people_max = self.limits.participants_max;
            let Some(room) = self.rooms.get_mut(&id).filter(|room| room.people.len() < people_max) else {
                return;
            };
            let Some(index) = room.waiting.iter().position(|waiting| waiting.id == participant) else {
                continue;
            };
            let Waiting { name, mark, .. } = room.waiting.remove(index);
            self.waits_for.remove(&participant);
            self.tell_organizers(id, ServerMessage::KnockOver { participant: Id(participant) });
            let newcomer = Participant {
                id: participant,
                name,
                kind: Kind::Person,
                organizer: false,
                joined: now,
                state: State::default(),
                wishes: Wishes::default(),
                chat_lines: 0,
                blocked: [false; SourceKind::ALL.len()],
                mark,
                chat: Bucket::new(now, CHAT_BURST, CHAT_PER_SECOND),
                presence: Presence::Here,
                return_sha256: None,
            };
            if let Ok(admitted) = self.take_in(id, newcomer) {
                self.outputs.push_back(Output::Admit { participant, admitted });
            }
        }
    }

    /// Takes somebody out of the lobby with a word why.
    pub(super) fn refuse_waiting(&mut self, participant: ParticipantId, reason: Refused) {
        let message = ServerMessage::Refused { reason };
        self.outputs.push_back(Output::Tell { to: vec![participant], message });
        self.leave_lobby(participant);
    }

    /// `false` when they do not wait.
    pub(super) fn leave_lobby(&mut self, participant: ParticipantId) -> bool {
        let Some(id) = self.waits_for.remove(&participant) else { return false };
        if let Some(room) = self.rooms.get_mut(&id) {
            room.waiting.retain(|waiting| waiting.id != participant);
        }
        self.outputs.push_back(Output::Dismiss { participant });
        self.tell_organizers(id, ServerMessage::KnockOver { participant: Id(participant) });
        true
    }

    fn take_in(&mut self, id: RoomId, newcomer: Participant) -> Result<Admitted, Refused> {
        let room = self.rooms.get_mut(&id).ok_or(Refused::NotAdmitted)?;
        room.waits_until = None;
        let waiting = match newcomer.organizer {
            true => room.waiting.iter().map(Waiting::as_seen).collect(),
            false => Vec::new(),
        };
        let admitted = Admitted {
            room_name: room.name.shown().to_owned(),
            organizer: newcomer.organizer,
            others: room.people.iter().map(Participant::as_seen).collect(),
            speakers: room.speakers.iter().copied().map(Id).collect(),
            rules: room.rules_as_seen(),
            waiting,
        };
        let message = ServerMessage::Joined { participant: newcomer.as_seen() };
        self.outputs.push_back(Output::Tell { to: room.everybody(), message });
        self.room_of.insert(newcomer.id, id);
        room.people.push(newcomer);
        self.totals.participants_joined += 1;
        Ok(admitted)
    }
}

impl Room {
    pub(super) fn organizers(&self) -> Vec<ParticipantId> {
        self.people.iter().filter(|person| person.organizer).map(|person| person.id).collect()
    }

    /// Without those who would have to wait in any case.
    pub(super) fn waiting_for_the_lobby(&self) -> Vec<ParticipantId> {
        let only_lobby = self.waiting.iter().filter(|waiting| !self.marks.contains(waiting.mark));
        only_lobby.map(|waiting| waiting.id).collect()
    }
}

impl Waiting {
    fn as_seen(&self) -> Waiter {
        Waiter { id: Id(self.id), name: self.name.clone() }
    }
}
