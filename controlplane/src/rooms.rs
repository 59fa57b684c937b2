//! All rooms and who is in them: sans-IO, `(now, input)` in, [`Output`]s out. No SDP, no packet, no socket; of an
//! address a hash with the room's own key and nothing else.
//!
//! A room lives from the organizer's opening until its last participant has gone, or until nobody came in time.
//! Nothing of it outlives it: a room of the same name later is another room with another id.

mod door;
mod moderation;
mod place;
mod rights;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use saal_dataplane::id::{ParticipantId, RoomId, SourceKind};

use crate::limit::{Bucket, Mark, Marks};
use crate::names::{RoomKey, RoomName};
use crate::password::Hash;
use crate::random;
use crate::signal::message::{EndReason, Id, Kind, Person, Refused, ServerMessage};

pub(crate) use door::{Admitted, Entry, Join, ORGANIZERS_BEYOND_FULL};
pub(crate) use rights::{Departed, Wishes};

use door::Waiting;
use moderation::RoomRules;
use place::Presence;

/// The registry.
pub(crate) struct Rooms {
    limits: Limits,
    rooms: HashMap<RoomId, Room>,
    by_name: HashMap<RoomKey, RoomId>,
    room_of: HashMap<ParticipantId, RoomId>,
    /// Of those who wait in a lobby: they are no participants yet.
    waits_for: HashMap<ParticipantId, RoomId>,
    outputs: VecDeque<Output>,
    draining: bool,
    totals: Totals,
}

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) waiting: Duration,
    /// How long a place is kept for somebody whose connection is lost.
    pub(crate) lost: Duration,
    pub(crate) participants_max: usize,
    pub(crate) rooms_max: usize,
    pub(crate) rooms_per_organizer_max: usize,
}

/// Sums since the process started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) rooms_created: u64,
    pub(crate) rooms_destroyed: u64,
    pub(crate) participants_joined: u64,
    pub(crate) participants_left: u64,
}

struct Room {
    name: RoomName,
    /// The account that moderates it, while there is one.
    opened_by: Option<String>,
    /// Somebody in it moderated it and does not any more.
    has_deposed: bool,
    password: Option<Hash>,
    password_wishes: u64,
    /// Of the token for clients without our page; only its hash is kept.
    media_token_sha256: [u8; 32],
    /// Nobody comes in with it any more.
    token_is_void: bool,
    rules: RoomRules,
    /// Where people were removed from.
    marks: Marks,
    waiting: Vec<Waiting>,
    /// Set until the first participant has joined.
    waits_until: Option<Instant>,
    people: Vec<Participant>,
    /// Who speaks, for those who come meanwhile.
    speakers: Vec<ParticipantId>,
}

struct Participant {
    id: ParticipantId,
    name: String,
    kind: Kind,
    organizer: bool,
    joined: Instant,
    state: State,
    wishes: Wishes,
    /// By an organizer; by [`SourceKind`].
    blocked: [bool; SourceKind::ALL.len()],
    mark: Mark,
    chat: Bucket,
    /// Relayed so far; each line's number is its name.
    chat_lines: u32,
    presence: Presence,
    /// Of the token that brings them back; of a page only.
    return_sha256: Option<[u8; 32]>,
}

/// What a participant has switched on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct State {
    pub(crate) microphone: bool,
    pub(crate) camera: bool,
    pub(crate) screen: bool,
    pub(crate) hand: bool,
}

pub(crate) struct Open {
    pub(crate) room: RoomId,
    pub(crate) name: RoomName,
    pub(crate) opened_by: String,
    pub(crate) password: Option<Hash>,
    pub(crate) lobby: bool,
    pub(crate) media_token_sha256: [u8; 32],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    NameTaken,
    Busy,
}

/// What the world has to do now.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    Tell {
        to: Vec<ParticipantId>,
        message: ServerMessage,
    },
    /// Somebody who waited is a participant from now on.
    Admit {
        participant: ParticipantId,
        admitted: Admitted,
    },
    /// Nothing more will be said to this participant: close the connection.
    Dismiss {
        participant: ParticipantId,
    },
    /// The participant is gone and has a receipt coming, before they are dismissed.
    Receipt {
        participant: ParticipantId,
        departed: Departed,
    },
    /// The pictures of the room have changed: for those who cannot ask for them.
    Publish {
        to: Vec<ParticipantId>,
        pictures: Pictures,
    },
    Leave {
        room: RoomId,
        participant: ParticipantId,
    },
    Switch {
        room: RoomId,
        participant: ParticipantId,
        source: SourceKind,
        on: bool,
    },
    Withhold {
        room: RoomId,
        participant: ParticipantId,
        source: SourceKind,
        withheld: bool,
    },
    /// To being detected as a speaker.
    Object {
        room: RoomId,
        participant: ParticipantId,
        objects: bool,
    },
    CloseRoom {
        room: RoomId,
    },
}

/// Cameras and screens that are on, in the order in which their owners came.
pub(crate) type Pictures = Rc<[(ParticipantId, SourceKind)]>;

/// Chat lines a participant may send at once, and per second in the long run.
const CHAT_BURST: u16 = 10;
const CHAT_PER_SECOND: f64 = 1.0;

impl State {
    pub(crate) fn is_on(self, source: SourceKind) -> bool {
        match source {
            SourceKind::Microphone => self.microphone,
            SourceKind::Camera => self.camera,
            SourceKind::Screen => self.screen,
        }
    }

    fn switch(&mut self, source: SourceKind, on: bool) {
        match source {
            SourceKind::Microphone => self.microphone = on,
            SourceKind::Camera => self.camera = on,
            SourceKind::Screen => self.screen = on,
        }
    }
}

impl Rooms {
    pub(crate) fn new(limits: Limits) -> Rooms {
        Rooms {
            limits,
            rooms: HashMap::new(),
            by_name: HashMap::new(),
            room_of: HashMap::new(),
            waits_for: HashMap::new(),
            outputs: VecDeque::new(),
            draining: false,
            totals: Totals::default(),
        }
    }

    pub(crate) fn open(&mut self, now: Instant, open: Open) -> Result<(), OpenError> {
        let of_organizer = self.rooms.values().filter(|room| room.is_of(&open.opened_by)).count();
        if self.draining
            || self.rooms.len() >= self.limits.rooms_max
            || of_organizer >= self.limits.rooms_per_organizer_max
        {
            return Err(OpenError::Busy);
        }
        if self.by_name.contains_key(open.name.key()) {
            return Err(OpenError::NameTaken);
        }
        self.by_name.insert(open.name.key().clone(), open.room);
        let room = Room {
            name: open.name,
            opened_by: Some(open.opened_by),
            has_deposed: false,
            password: open.password,
            password_wishes: 0,
            media_token_sha256: open.media_token_sha256,
            token_is_void: false,
            rules: RoomRules::new(open.lobby),
            marks: Marks::new(),
            waiting: Vec::new(),
            waits_until: Some(now + self.limits.waiting),
            people: Vec::new(),
            speakers: Vec::new(),
        };
        self.rooms.insert(open.room, room);
        self.totals.rooms_created += 1;
        Ok(())
    }

    /// Takes an opened room back: no worker had a place for it.
    pub(crate) fn discard(&mut self, room: RoomId) {
        if let Some(room) = self.rooms.remove(&room) {
            self.by_name.remove(room.name.key());
            self.totals.rooms_created -= 1;
        }
    }

    pub(crate) fn rename(&mut self, participant: ParticipantId, name: String) {
        let Some((_, room, index)) = self.find(participant) else { return };
        if room.people[index].name == name {
            return;
        }
        room.people[index].name = name;
        let message = ServerMessage::Changed { participant: room.people[index].as_seen() };
        let to = room.everybody();
        self.outputs.push_back(Output::Tell { to, message });
    }

    /// Lines above the rate are not relayed, nor those of somebody who pauses, nor of guests where only organizers write.
    pub(crate) fn chat(&mut self, now: Instant, participant: ParticipantId, text: String) {
        let Some((_, room, index)) = self.find(participant) else { return };
        let may = room.rules.chat || room.people[index].organizer;
        let person = &mut room.people[index];
        if !may || person.wishes.paused || !person.chat.take(now) {
            return;
        }
        person.chat_lines += 1;
        let (name, line) = (person.name.clone(), person.chat_lines);
        let message = ServerMessage::Chat { from: Id(participant), name, text, line };
        let to = room.everybody();
        self.outputs.push_back(Output::Tell { to, message });
    }

    /// Who speaks, from the data plane, which may not have heard yet of who has left or objects to being named.
    pub(crate) fn speakers(&mut self, room: RoomId, mut speakers: Vec<ParticipantId>) {
        let Some(room) = self.rooms.get_mut(&room) else { return };
        let may_be_told = |person: &Participant| !person.wishes.objects;
        speakers.retain(|speaker| room.people.iter().any(|p| p.id == *speaker && may_be_told(p)));
        let message = ServerMessage::Speakers { participants: speakers.iter().copied().map(Id).collect() };
        room.speakers = speakers;
        self.outputs.push_back(Output::Tell { to: room.everybody(), message });
    }

    /// The participant is gone, for whatever reason. The last one takes the room along.
    pub(crate) fn leave(&mut self, participant: ParticipantId) {
        if self.leave_lobby(participant) {
            return;
        }
        let Some((id, room, index)) = self.find(participant) else { return };
        let person = room.people.remove(index);
        room.speakers.retain(|speaker| *speaker != participant);
        let State { camera, screen, .. } = person.state;
        let to = room.everybody();
        self.room_of.remove(&participant);
        self.totals.participants_left += 1;
        self.outputs.push_back(Output::Leave { room: id, participant });
        self.outputs.extend(person.receipt());
        self.outputs.push_back(Output::Dismiss { participant });
        if to.is_empty() {
            self.destroy(id);
            return;
        }
        self.outputs
            .push_back(Output::Tell { to, message: ServerMessage::Left { participant: Id(participant) } });
        if camera || screen {
            self.publish(id);
        }
    }

    /// An organizer in the room ends it for everybody; from anybody else this is not accepted.
    pub(crate) fn end(&mut self, participant: ParticipantId) -> Result<(), Refused> {
        let Some((id, room, index)) = self.find(participant) else { return Ok(()) };
        if !room.people[index].organizer {
            return Err(Refused::BadMessage);
        }
        self.end_room(id, EndReason::ByOrganizer);
        Ok(())
    }

    /// `false` when there is no such room of this organizer.
    pub(crate) fn close(&mut self, key: &RoomKey, account: &str) -> bool {
        let Some(id) = self.own_entrance(key, account) else { return false };
        self.end_room(id, EndReason::ByOrganizer);
        true
    }

    /// From now on nobody opens or joins; rooms that still wait for somebody end.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        let waiting = self.rooms.iter().filter(|(_, room)| room.people.is_empty());
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.destroy(id);
        }
    }

    /// Ends everything.
    pub(crate) fn shut_down(&mut self) {
        self.drain();
        for id in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.end_room(id, EndReason::Shutdown);
        }
    }

    /// Rooms that nobody came to in time end, and so does the stay of whoever did not come back in time.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.expire_places(now);
        let late = self.rooms.iter().filter(|(_, room)| room.waits_until.is_some_and(|until| until <= now));
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.destroy(id);
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Its places keep what was read out of them.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// The room behind a name and the hash that its password must fit.
    pub(crate) fn entrance(&self, key: &RoomKey) -> Option<(RoomId, Option<Hash>)> {
        let id = *self.by_name.get(key)?;
        self.rooms.get(&id).map(|room| (id, room.password.clone()))
    }

    /// The room behind a name, for the organizer who opened it: no password is asked.
    pub(crate) fn own_entrance(&self, key: &RoomKey, account: &str) -> Option<RoomId> {
        let id = *self.by_name.get(key)?;
        self.rooms.get(&id).filter(|room| room.is_of(account)).map(|_| id)
    }

    /// The room behind a name, for whoever has its media token and it is not void. An absent room costs the same comparison.
    pub(crate) fn media_entrance(&self, key: &RoomKey, token_sha256: &[u8; 32]) -> Option<RoomId> {
        let room = self.by_name.get(key).copied();
        let expected =
            room.and_then(|id| self.rooms.get(&id)).map_or(&[0; 32], |room| &room.media_token_sha256);
        let fits = random::are_equal(expected, token_sha256);
        room.filter(|id| fits && self.rooms.get(id).is_some_and(|room| !room.token_is_void))
    }

    /// Whether this is the media token of the room, however it is called.
    pub(crate) fn has_media_token(&self, room: RoomId, token_sha256: &[u8; 32]) -> bool {
        self.rooms.get(&room).is_some_and(|room| random::are_equal(&room.media_token_sha256, token_sha256))
    }

    pub(crate) fn pictures(&self, room: RoomId) -> Pictures {
        self.rooms.get(&room).map(Room::pictures).unwrap_or_default()
    }

    pub(crate) fn state(&self, participant: ParticipantId) -> State {
        self.look(participant).map_or_else(State::default, |person| person.state)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(crate) fn room_count(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn participant_count(&self) -> usize {
        self.room_of.len()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    fn find(&mut self, participant: ParticipantId) -> Option<(RoomId, &mut Room, usize)> {
        let id = *self.room_of.get(&participant)?;
        let room = self.rooms.get_mut(&id)?;
        let index = room.people.iter().position(|person| person.id == participant)?;
        Some((id, room, index))
    }

    fn publish(&mut self, room: RoomId) {
        let Some(room) = self.rooms.get(&room) else { return };
        let viewers = room.people.iter().filter(|person| person.kind == Kind::Viewer);
        let to: Vec<ParticipantId> = viewers.map(|viewer| viewer.id).collect();
        if !to.is_empty() {
            self.outputs.push_back(Output::Publish { to, pictures: room.pictures() });
        }
    }

    fn end_room(&mut self, id: RoomId, reason: EndReason) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let to = room.everybody();
        let people = std::mem::take(&mut room.people);
        self.outputs.push_back(Output::Tell { to, message: ServerMessage::Ended { reason } });
        for person in people {
            let participant = person.id;
            self.room_of.remove(&participant);
            self.totals.participants_left += 1;
            self.outputs.extend(person.receipt());
            self.outputs.push_back(Output::Dismiss { participant });
        }
        self.destroy(id);
    }

    /// Only for a room without people. Whoever waits hears what a stranger to an absent room hears.
    fn destroy(&mut self, id: RoomId) {
        let waiting =
            self.rooms.get(&id).map(|room| room.waiting.iter().map(|waiting| waiting.id).collect::<Vec<_>>());
        waiting.into_iter().flatten().for_each(|waiting| self.refuse_waiting(waiting, Refused::NotAdmitted));
        let Some(room) = self.rooms.remove(&id) else { return };
        self.by_name.remove(room.name.key());
        self.totals.rooms_destroyed += 1;
        self.outputs.push_back(Output::CloseRoom { room: id });
    }
}

impl Room {
    fn is_of(&self, account: &str) -> bool {
        self.opened_by.as_deref() == Some(account)
    }

    fn everybody(&self) -> Vec<ParticipantId> {
        self.people.iter().map(|person| person.id).collect()
    }

    fn pictures(&self) -> Pictures {
        let both = |person: &Participant| {
            let (id, state) = (person.id, person.state);
            [SourceKind::Camera, SourceKind::Screen]
                .into_iter()
                .filter(move |&source| state.is_on(source))
                .map(move |source| (id, source))
        };
        self.people.iter().filter(|person| !person.wishes.paused).flat_map(both).collect()
    }

    /// The smallest that nobody of this kind has: a stream that comes back is the same one to those who watch.
    fn free_number(&self, kind: Kind) -> String {
        let of_kind = || self.people.iter().filter(|person| person.kind == kind);
        let names = (1..=self.people.len() + 1).map(|number| number.to_string());
        let mut free = names.filter(|name| of_kind().all(|person| person.name != *name));
        free.next().unwrap_or_default()
    }
}

impl Participant {
    fn as_seen(&self) -> Person {
        let State { microphone, camera, screen, hand } = self.state;
        let (id, name, kind, organizer) = (Id(self.id), self.name.clone(), self.kind, self.organizer);
        let blocked = SourceKind::ALL.into_iter().filter(|&source| self.blocked[source as usize]);
        let blocked = blocked.map(Into::into).collect();
        let (paused, away) = (self.wishes.paused, self.is_away());
        Person { id, name, kind, organizer, microphone, camera, screen, hand, blocked, paused, away }
    }
}

#[cfg(test)]
mod tests;
