//! What organizers may do in their room: its rules, its password, and keeping somebody quiet or out.
//!
//! A microphone, camera or screen that its owner may not use is *withheld*: the data plane forwards nothing of it, whatever
//! the owner's page does. Nobody can switch on another's: lifting a block leaves the source off.

use std::time::Instant;

use saal_dataplane::id::{ParticipantId, RoomId, SourceKind};

use super::{Output, Participant, Room, Rooms, State};
use crate::accounts::Ended;
use crate::password::Hash;
use crate::signal::message::{EndReason, Id, Kind, Refused, Rules, RulesWish, ServerMessage};

/// What holds for everybody but the organizers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RoomRules {
    pub(super) lobby: bool,
    pub(super) locked: bool,
    /// By [`SourceKind`].
    allowed: [bool; SourceKind::ALL.len()],
    pub(super) chat: bool,
}

impl RoomRules {
    pub(super) fn new(lobby: bool) -> RoomRules {
        RoomRules { lobby, locked: false, allowed: [true; SourceKind::ALL.len()], chat: true }
    }
}

impl Rooms {
    /// What a participant has switched on. What they may not use stays off, and they are told.
    pub(crate) fn set_state(&mut self, participant: ParticipantId, wanted: State) {
        let Some((id, room, index)) = self.find(participant) else { return };
        let person = &room.people[index];
        let mut state = wanted;
        let off: Vec<SourceKind> = SourceKind::ALL
            .into_iter()
            .filter(|&source| wanted.is_on(source) && room.withholds(person, source))
            .collect();
        off.iter().for_each(|&source| state.switch(source, false));
        self.change_state(id, participant, state);
        self.tell_silenced(vec![participant], off);
    }

    /// What of a participant the data plane withholds.
    pub(crate) fn withheld(&self, participant: ParticipantId) -> [bool; SourceKind::ALL.len()] {
        let room = self.room_of.get(&participant).and_then(|id| self.rooms.get(id));
        let person = room.and_then(|room| room.people.iter().find(|person| person.id == participant));
        let Some((room, person)) = room.zip(person) else { return Default::default() };
        SourceKind::ALL.map(|source| person.wishes.paused || room.withholds(person, source))
    }

    pub(crate) fn set_rules(
        &mut self,
        now: Instant,
        by: ParticipantId,
        wish: RulesWish,
    ) -> Result<(), Refused> {
        let id = self.moderated_by(by)?;
        let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
        let before = room.rules;
        let rules = &mut room.rules;
        rules.lobby = wish.lobby.unwrap_or(rules.lobby);
        rules.locked = wish.locked.unwrap_or(rules.locked);
        rules.chat = wish.chat.unwrap_or(rules.chat);
        for (allowed, wish) in rules.allowed.iter_mut().zip([wish.microphone, wish.camera, wish.screen]) {
            *allowed = wish.unwrap_or(*allowed);
        }
        let after = *rules;
        if before == after {
            return Ok(());
        }
        self.tell_rules(id);
        let people = self.rooms.get(&id).map(Room::everybody).unwrap_or_default();
        let changed =
            |source: &SourceKind| before.allowed[*source as usize] != after.allowed[*source as usize];
        for source in SourceKind::ALL.into_iter().filter(changed) {
            self.withhold(id, source, &people);
        }
        // Without a lobby nobody has to wait for anybody; a lock keeps them where they are.
        if before.lobby && !after.lobby && !after.locked {
            let waiting = self.rooms.get(&id).map(Room::waiting_for_the_lobby).unwrap_or_default();
            self.admit_waiting(now, id, &waiting);
        }
        Ok(())
    }

    /// Of wishes for another password the latest counts, whichever hash is ready first.
    pub(crate) fn wish_password(&mut self, by: ParticipantId) -> Result<u64, Refused> {
        let id = self.moderated_by(by)?;
        let Some(room) = self.rooms.get_mut(&id) else { return Err(Refused::BadMessage) };
        room.password_wishes += 1;
        Ok(room.password_wishes)
    }

    /// Whoever is inside stays; whoever waits has to give the new one.
    pub(crate) fn set_password(&mut self, by: ParticipantId, wish: u64, password: Option<Hash>) {
        let Ok(id) = self.moderated_by(by) else { return };
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.password_wishes == wish) else { return };
        room.password = password;
        let waiting: Vec<ParticipantId> = room.waiting.iter().map(|waiting| waiting.id).collect();
        self.tell_rules(id);
        let to = self.rooms.get(&id).map(Room::everybody).unwrap_or_default();
        self.outputs.push_back(Output::Tell { to, message: ServerMessage::PasswordChanged {} });
        waiting.into_iter().for_each(|waiting| self.refuse_waiting(waiting, Refused::NotAdmitted));
    }

    /// Switches a source off, of one participant or of all but the organizers. They may switch it on again.
    pub(crate) fn mute(
        &mut self,
        by: ParticipantId,
        source: SourceKind,
        participant: Option<ParticipantId>,
    ) -> Result<(), Refused> {
        let id = self.moderated_by(by)?;
        let Some(room) = self.rooms.get(&id) else { return Ok(()) };
        let concerned =
            |person: &&Participant| participant.is_none_or(|participant| participant == person.id);
        // A stream could not switch itself on again.
        let guests = room.people.iter().filter(|person| !person.organizer && person.kind == Kind::Person);
        let guests: Vec<ParticipantId> = guests.filter(concerned).map(|person| person.id).collect();
        self.silence(id, source, &guests);
        Ok(())
    }

    /// Withholds a source of one participant until it is allowed again.
    pub(crate) fn block(
        &mut self,
        by: ParticipantId,
        participant: ParticipantId,
        source: SourceKind,
        blocked: bool,
    ) -> Result<(), Refused> {
        let id = self.moderated_by(by)?;
        let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
        let concerned = |person: &&mut Participant| person.id == participant && !person.organizer;
        let Some(person) = room.people.iter_mut().find(concerned) else { return Ok(()) };
        if std::mem::replace(&mut person.blocked[source as usize], blocked) == blocked {
            return Ok(());
        }
        let message = ServerMessage::Changed { participant: person.as_seen() };
        let to = room.everybody();
        self.outputs.push_back(Output::Tell { to, message });
        self.withhold(id, source, &[participant]);
        Ok(())
    }

    /// Takes somebody out of the room. Whoever comes from where they came from has to be let in from now on.
    pub(crate) fn remove(&mut self, by: ParticipantId, participant: ParticipantId) -> Result<(), Refused> {
        let id = self.moderated_by(by)?;
        let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
        let concerned = |person: &&Participant| person.id == participant && !person.organizer;
        let Some(person) = room.people.iter().find(concerned) else { return Ok(()) };
        match person.kind {
            Kind::Person => room.marks.add(person.mark),
            // Its program has the token and would be back at once.
            Kind::Stream | Kind::Viewer => room.token_is_void = true,
        }
        let message = ServerMessage::Ended { reason: EndReason::Removed };
        self.outputs.push_back(Output::Tell { to: vec![participant], message });
        self.leave(participant);
        Ok(())
    }

    /// Whoever moderates with this account goes on as a guest. With another password it may come back to its rooms; those of
    /// an account that was removed are nobody's, and end if nobody is in them.
    pub(crate) fn depose(&mut self, ended: &Ended) {
        let (Ended::Removed { account } | Ended::OtherPassword { account }) = ended;
        let own = self.rooms.iter().filter(|(_, room)| room.is_of(account)).map(|(id, _)| *id);
        for id in own.collect::<Vec<_>>() {
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            if let Ended::Removed { .. } = ended {
                room.opened_by = None;
                room.token_is_void = true;
                if room.people.is_empty() {
                    self.destroy(id);
                    continue;
                }
            }
            let deposed = room.organizers();
            room.has_deposed |= !deposed.is_empty();
            let to = room.everybody();
            for person in room.people.iter_mut().filter(|person| person.organizer) {
                person.organizer = false;
                let message = ServerMessage::Changed { participant: person.as_seen() };
                self.outputs.push_back(Output::Tell { to: to.clone(), message });
            }
            SourceKind::ALL.into_iter().for_each(|source| self.withhold(id, source, &deposed));
        }
    }

    /// Whether a page may believe of itself that it moderates although it does not: it has not heard of that yet.
    pub(crate) fn may_be_mistaken(&self, participant: ParticipantId) -> bool {
        let room = self.room_of.get(&participant).and_then(|id| self.rooms.get(id));
        room.is_some_and(|room| room.has_deposed && !room.organizers().contains(&participant))
    }

    /// The room, if this participant is one of its organizers.
    pub(super) fn moderated_by(&mut self, participant: ParticipantId) -> Result<RoomId, Refused> {
        let (id, room, index) = self.find(participant).ok_or(Refused::BadMessage)?;
        room.people[index].organizer.then_some(id).ok_or(Refused::BadMessage)
    }

    pub(super) fn tell_organizers(&mut self, id: RoomId, message: ServerMessage) {
        let to = self.rooms.get(&id).map(Room::organizers).unwrap_or_default();
        if !to.is_empty() {
            self.outputs.push_back(Output::Tell { to, message });
        }
    }

    fn tell_rules(&mut self, id: RoomId) {
        let Some(room) = self.rooms.get(&id) else { return };
        let message = ServerMessage::Rules { rules: room.rules_as_seen() };
        self.outputs.push_back(Output::Tell { to: room.everybody(), message });
    }

    fn tell_silenced(&mut self, to: Vec<ParticipantId>, sources: Vec<SourceKind>) {
        if !sources.is_empty() {
            let sources = sources.into_iter().map(Into::into).collect();
            let message = ServerMessage::Silenced { sources };
            self.outputs.push_back(Output::Tell { to, message });
        }
    }

    /// Tells the data plane whether a source of these is withheld; what is and was on is off.
    fn withhold(&mut self, id: RoomId, source: SourceKind, participants: &[ParticipantId]) {
        let Some(room) = self.rooms.get(&id) else { return };
        let mut silent = Vec::new();
        for person in room.people.iter().filter(|person| participants.contains(&person.id)) {
            let (participant, withheld) = (person.id, room.withholds(person, source));
            // What an organizer allows again does not end the pause of its owner.
            let output = Output::Withhold {
                room: id,
                participant,
                source,
                withheld: withheld || person.wishes.paused,
            };
            self.outputs.push_back(output);
            // A stream's program knows no switches: what is withheld of it comes again when it is released.
            if withheld && person.kind == Kind::Person {
                silent.push(participant);
            }
        }
        self.silence(id, source, &silent);
    }

    /// Switches a source of these off where it is on. One message for the room, however many they are.
    fn silence(&mut self, id: RoomId, source: SourceKind, participants: &[ParticipantId]) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let on = |person: &&mut Participant| person.state.is_on(source) && participants.contains(&person.id);
        let mut silenced = Vec::new();
        for person in room.people.iter_mut().filter(on) {
            person.state.switch(source, false);
            silenced.push(person.id);
        }
        if silenced.is_empty() {
            return;
        }
        let to = room.everybody();
        for &participant in &silenced {
            self.outputs.push_back(Output::Switch { room: id, participant, source, on: false });
        }
        let participants = silenced.iter().copied().map(Id).collect();
        let message = ServerMessage::SwitchedOff { source: source.into(), participants };
        self.outputs.push_back(Output::Tell { to, message });
        self.tell_silenced(silenced, vec![source]);
        if source != SourceKind::Microphone {
            self.publish(id);
        }
    }

    fn change_state(&mut self, id: RoomId, participant: ParticipantId, state: State) {
        let Some((_, room, index)) = self.find(participant) else { return };
        let before = std::mem::replace(&mut room.people[index].state, state);
        if before == state {
            return;
        }
        let message = ServerMessage::Changed { participant: room.people[index].as_seen() };
        let to = room.everybody();
        let changed = |source: &SourceKind| before.is_on(*source) != state.is_on(*source);
        for source in SourceKind::ALL.into_iter().filter(changed) {
            let on = state.is_on(source);
            self.outputs.push_back(Output::Switch { room: id, participant, source, on });
        }
        self.outputs.push_back(Output::Tell { to, message });
        if (before.camera, before.screen) != (state.camera, state.screen) {
            self.publish(id);
        }
    }
}

impl Room {
    pub(super) fn rules_as_seen(&self) -> Rules {
        let RoomRules { lobby, locked, allowed: [microphone, camera, screen], chat } = self.rules;
        Rules { lobby, locked, password: self.password.is_some(), microphone, camera, screen, chat }
    }

    /// Streams come with the organizers' token: rules for guests are not for them, a block is.
    fn withholds(&self, person: &Participant, source: SourceKind) -> bool {
        let is_guest = !person.organizer && person.kind == Kind::Person;
        person.blocked[source as usize] || (is_guest && !self.rules.allowed[source as usize])
    }
}
