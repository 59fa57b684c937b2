//! The rooms of one worker and the maps that find a datagram's participant: by address, and for connectivity checks by
//! ufrag. Sans-IO. The only place that knows which address belongs to whom; an entry goes with its participant.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::counters::{Counters, Dropped};
use crate::door::Door;
use crate::egress::Egress;
use crate::id::{ParticipantId, Path, RoomId, Ssrc};
use crate::link::{Command, Event, Refusal};
use crate::relief::Relief;
use crate::sfu::batch::Batch;
use crate::sfu::doorman::Note;
use crate::sfu::participant::{Participant, Seat, Seeds};
use crate::sfu::room::{Room, Turn};
use crate::sfu::slab::{Key, Slab};
use crate::sfu::transport::{Transport, TransportEvent};
use crate::wire::{self, Kind, stun};

/// Fills a slice with random bytes; seeded in the simulation.
pub(crate) type Random = Box<dyn FnMut(&mut [u8])>;

/// Words of the doorman heard per turn, so that a crowd at the door delays no packet for long.
const WORDS_PER_TURN_MAX: usize = 64;

pub(crate) struct Rooms {
    rooms: Slab<Room>,
    room_ids: HashMap<RoomId, Key<Room>>,
    addresses: HashMap<SocketAddr, Seat>,
    ufrags: HashMap<String, Seat>,
    pub(crate) shared: Shared,
    /// Somebody has gone since the last [`Rooms::wipe`].
    has_left: bool,
    door: Door,
    random: Random,
}

/// What all rooms of a worker share.
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) events: VecDeque<Event>,
    /// Set by the worker according to its load.
    pub(crate) padding_percent: u8,
    pub(crate) relief: Relief,
    batch: Batch,
    limits: Limits,
    epoch: Instant,
}

impl Shared {
    fn turn<'a>(&'a mut self, now: Instant, egress: &'a mut Egress) -> Turn<'a> {
        Turn {
            now,
            epoch: self.epoch,
            egress,
            counters: &mut self.counters,
            events: &mut self.events,
            limits: &self.limits,
            batch: &mut self.batch,
            padding_percent: self.padding_percent,
            relief: self.relief,
        }
    }
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rooms").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}

impl Rooms {
    pub(crate) fn new(door: Door, limits: Limits, epoch: Instant, random: Random) -> Rooms {
        Rooms {
            rooms: Slab::new(),
            room_ids: HashMap::new(),
            addresses: HashMap::new(),
            ufrags: HashMap::new(),
            shared: Shared {
                counters: Counters::default(),
                events: VecDeque::with_capacity(limits.events_max.min(1024)),
                padding_percent: 0,
                relief: Relief::new(),
                batch: Batch::new(),
                limits,
                epoch,
            },
            has_left: false,
            door,
            random,
        }
    }

    /// A datagram from the network. Anything may be in it; what cannot be used is counted and forgotten.
    pub(crate) fn on_datagram(&mut self, now: Instant, path: &Path, bytes: &mut [u8], egress: &mut Egress) {
        let result = match wire::classify(bytes) {
            Some(Kind::Stun) => self.on_stun(now, path, bytes, egress),
            Some(Kind::Dtls) => self.on_dtls(now, path, bytes, egress),
            Some(Kind::Rtp) => {
                self.with_room(now, path, egress, |room, key, turn| room.on_rtp(key, path, bytes, turn))
            }
            Some(Kind::Rtcp) => {
                self.with_room(now, path, egress, |room, key, turn| room.on_rtcp(key, path, bytes, turn))
            }
            None => Err(Dropped::NotOurs),
        };
        if let Err(reason) = result {
            self.shared.counters.drop(reason);
        }
    }

    pub(crate) fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::OpenRoom { room } => {
                if !self.room_ids.contains_key(&room) {
                    let key = self.rooms.insert(Room::new(room, now));
                    self.room_ids.insert(room, key);
                }
            }
            Command::CloseRoom { room } => self.close_room(room, now),
            Command::Join { room, participant, transport } => {
                let ufrag = transport.local.ufrag.clone();
                let transport = Transport::new(transport, &self.shared.limits, now);
                if let Err(why) = self.join(room, participant, transport, ufrag) {
                    self.shared.events.push_back(Event::Refused { room, participant, why });
                }
            }
            Command::Negotiate { room, participant, media } => {
                let random = &mut self.random;
                let mut seed = || {
                    let mut bytes = [0; 8];
                    random(&mut bytes);
                    u64::from_be_bytes(bytes)
                };
                let media = crate::link::MediaSpec {
                    slots: media.slots.into_iter().take(self.shared.limits.slots_max).collect(),
                    ..media
                };
                if let Some((room, key)) = find(&mut self.rooms, &self.room_ids, room, participant) {
                    room.negotiate(key, media, &mut seed, &mut self.shared.events);
                }
            }
            Command::RestartIce { room, participant, local } => {
                let Some(room_key) = self.room_ids.get(&room).copied() else { return };
                let Some((room, key)) = find(&mut self.rooms, &self.room_ids, room, participant) else {
                    return;
                };
                let Some(participant) = room.participant_mut(key) else { return };
                let seat = Seat { room: room_key, participant: key };
                self.ufrags.insert(local.ufrag.clone(), seat);
                participant.transport.restart_ice(local);
                self.settle(seat, now);
            }
            Command::View { room, participant, wishes } => {
                if let Some((room, key)) = find(&mut self.rooms, &self.room_ids, room, participant) {
                    room.view(key, &wishes, &mut self.shared.events);
                }
            }
            Command::Switch { room, participant, source, on } => {
                if let Some((room, key)) = find(&mut self.rooms, &self.room_ids, room, participant) {
                    room.switch(key, source, on, &mut self.shared.events);
                }
            }
            Command::Withhold { room, participant, source, withheld } => {
                if let Some((room, key)) = find(&mut self.rooms, &self.room_ids, room, participant) {
                    room.withhold(key, source, withheld, &mut self.shared.events);
                }
            }
            Command::Object { room, participant, objects } => {
                if let Some((room, key)) = find(&mut self.rooms, &self.room_ids, room, participant) {
                    room.object(key, objects, &mut self.shared.events);
                }
            }
            Command::Leave { room, participant } => {
                let room_key = self.room_ids.get(&room).copied();
                let found = find(&mut self.rooms, &self.room_ids, room, participant).map(|(_, key)| key);
                if let (Some(room), Some(participant)) = (room_key, found) {
                    self.remove(Seat { room, participant }, now);
                }
                self.shared.events.push_back(Event::Left { room, participant });
            }
            Command::Snapshot { .. } | Command::Shutdown => {}
        }
    }

    /// The earliest moment at which [`Rooms::on_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let ticks = self.rooms.iter().filter_map(|(_, room)| room.next_tick());
        ticks.chain(self.door.next_timeout()).min()
    }

    /// Everything that is due at `now`. `flush` is called between rooms so that no room's reports fill the send blocks.
    pub(crate) fn on_timeout(
        &mut self,
        now: Instant,
        egress: &mut Egress,
        mut flush: impl FnMut(&mut Egress),
    ) {
        self.door.on_timeout(now);
        self.on_words(now, egress);
        let mut after = None;
        while let Some(room_key) = self.rooms.next_key(after) {
            after = Some(room_key);
            let Some(room) = self.rooms.find(room_key) else { continue };
            if room.next_tick().is_none_or(|at| at > now) {
                continue;
            }
            if room.walk_is_due(now) {
                self.on_transport_timeouts(now, room_key);
            }
            if let Some(room) = self.rooms.find_mut(room_key) {
                room.on_tick(&mut self.shared.turn(now, egress));
            }
            flush(egress);
        }
    }

    /// All pictures stop; those that the core carries begin again when the rooms next divide it.
    pub(crate) fn stop_pictures(&mut self, now: Instant) {
        self.shared.relief.halve();
        for (_, room) in self.rooms.iter_mut() {
            room.stop_pictures(now, &mut self.shared.events);
        }
    }

    /// When what has arrived shall be sent on; see [`Batch::due`].
    pub(crate) fn batch_due(&self, tick: Duration, frame: Duration) -> Option<Instant> {
        self.shared.batch.due(tick, frame)
    }

    pub(crate) fn batch_is_full(&self) -> bool {
        self.shared.batch.is_full()
    }

    /// Sends on everything that has arrived. `flush` is called when the send blocks may run out.
    pub(crate) fn fan_out(&mut self, now: Instant, egress: &mut Egress, mut flush: impl FnMut(&mut Egress)) {
        self.shared.batch.close();
        let mut start = 0;
        while let Some((room, end)) = self.shared.batch.room_from(start) {
            if let Some(room) = self.room_ids.get(&room).and_then(|key| self.rooms.find_mut(*key)) {
                room.fan_out(start..end, &mut self.shared.turn(now, egress), &mut flush);
            }
            start = end;
        }
        self.shared.batch.clear(now);
    }

    /// What the doorman has to say, as much of it as fits a turn.
    pub(crate) fn on_words(&mut self, now: Instant, egress: &mut Egress) {
        for _ in 0..WORDS_PER_TURN_MAX {
            let Some((seat, word)) = self.door.poll() else { break };
            // Empty when the participant has left meanwhile.
            if let Some(participant) = seat_of(&mut self.rooms, seat) {
                participant.transport.on_word(now, word, egress, &mut self.shared.counters);
                self.settle(seat, now);
            }
        }
    }

    pub(crate) fn has_words(&self) -> bool {
        self.door.has_words()
    }

    pub(crate) fn handshakes_waiting(&self) -> usize {
        self.door.waiting()
    }

    /// Whether the buffers may hold something of somebody who is not here: of who has left, or of strangers while nobody
    /// else's packets overwrite theirs.
    pub(crate) fn leaves_traces(&self) -> bool {
        self.has_left || self.ufrags.is_empty()
    }

    /// Somebody has left since the last [`Rooms::wipe`].
    pub(crate) fn has_left(&self) -> bool {
        self.has_left
    }

    /// Forgets what tables keep of entries that were taken out of them.
    pub(crate) fn wipe(&mut self) {
        self.has_left = false;
        self.addresses = std::mem::take(&mut self.addresses).into_iter().collect();
        self.ufrags = std::mem::take(&mut self.ufrags).into_iter().collect();
        if self.shared.events.is_empty() {
            self.shared.events = VecDeque::with_capacity(self.shared.events.capacity());
        }
    }

    /// Ids of all rooms and their participants, for a control plane that wants to know.
    pub(crate) fn census(&self) -> Vec<(RoomId, Vec<ParticipantId>)> {
        self.rooms
            .iter()
            .map(|(_, room)| (room.id, room.participants().map(|(_, p)| p.id).collect()))
            .collect()
    }

    fn on_stun(
        &mut self,
        now: Instant,
        path: &Path,
        bytes: &[u8],
        egress: &mut Egress,
    ) -> Result<(), Dropped> {
        let message = stun::Message::parse(bytes).map_err(|_| Dropped::MalformedStun)?;
        let ufrag = message.local_ufrag().ok_or(Dropped::StunUnauthentic)?;
        let seat = *self.ufrags.get(ufrag).ok_or(Dropped::UnknownUfrag)?;
        let before = self.addresses.get(&path.remote).copied().filter(|before| *before != seat);
        let owner = before.and_then(|before| seat_of(&mut self.rooms, before));
        if owner.is_some_and(|owner| owner.transport.holds(now, path.remote)) {
            // Whoever can forge source addresses would otherwise cut others off, one check each.
            return Err(Dropped::AddressTaken);
        }
        let participant = seat_of(&mut self.rooms, seat).ok_or(Dropped::UnknownUfrag)?;
        let authentic = participant.transport.on_stun(
            now,
            path,
            &message,
            bytes.len(),
            egress,
            &mut self.shared.counters,
        );
        if authentic {
            self.learn(path.remote, seat);
        }
        self.settle(seat, now);
        Ok(())
    }

    fn on_dtls(
        &mut self,
        now: Instant,
        path: &Path,
        bytes: &[u8],
        egress: &mut Egress,
    ) -> Result<(), Dropped> {
        let seat = *self.addresses.get(&path.remote).ok_or(Dropped::UnknownAddress)?;
        let participant = seat_of(&mut self.rooms, seat).ok_or(Dropped::UnknownAddress)?;
        let fingerprint = participant.transport.on_dtls(now, path, bytes.len())?;
        let note = Note::Datagram { seat, path: Box::new(*path), fingerprint, bytes: bytes.into() };
        self.door.note(now, note)?;
        self.on_words(now, egress);
        Ok(())
    }

    fn with_room(
        &mut self,
        now: Instant,
        path: &Path,
        egress: &mut Egress,
        work: impl FnOnce(&mut Room, Key<Participant>, &mut Turn<'_>) -> Result<(), Dropped>,
    ) -> Result<(), Dropped> {
        let seat = self.addresses.get(&path.remote).ok_or(Dropped::UnknownAddress)?;
        let room = self.rooms.find_mut(seat.room).ok_or(Dropped::UnknownAddress)?;
        work(room, seat.participant, &mut self.shared.turn(now, egress))
    }

    /// An authenticated check came from `address`: from now on it belongs to `seat`, whoever had it before.
    fn learn(&mut self, address: SocketAddr, seat: Seat) {
        if let Some(before) = self.addresses.insert(address, seat) {
            if before == seat {
                return;
            }
            // Client ports are used again quickly, and a NAT may hand one to somebody else.
            if let Some(participant) = seat_of(&mut self.rooms, before) {
                participant.transport.forget_path(&address);
            }
        }
    }

    fn join(
        &mut self,
        room_id: RoomId,
        id: ParticipantId,
        transport: Transport,
        ufrag: String,
    ) -> Result<(), Refusal> {
        let room_key = *self.room_ids.get(&room_id).ok_or(Refusal::NoSuchRoom)?;
        let mut bytes = [0; 20];
        (self.random)(&mut bytes);
        let mut ssrc = [0; 4];
        ssrc.copy_from_slice(&bytes[..4]);
        let mut cname = [0; 16];
        for (to, from) in cname.iter_mut().zip(&bytes[4..]) {
            *to = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[usize::from(from % 32)];
        }
        let seeds = Seeds { ssrc: Ssrc(u32::from_be_bytes(ssrc) | 1), cname };
        let room = self.rooms.find_mut(room_key).ok_or(Refusal::NoSuchRoom)?;
        let participant = room.join(id, transport, seeds, &self.shared.limits)?;
        self.ufrags.insert(ufrag, Seat { room: room_key, participant });
        self.shared.counters.participants += 1;
        Ok(())
    }

    fn close_room(&mut self, id: RoomId, now: Instant) {
        if let Some(key) = self.room_ids.get(&id).copied() {
            let keys: Vec<_> =
                self.rooms.find(key).into_iter().flat_map(|r| r.participants().map(|(k, _)| k)).collect();
            for participant in keys {
                self.remove(Seat { room: key, participant }, now);
            }
            self.room_ids.remove(&id);
            self.rooms.remove(key);
        }
        self.shared.events.push_back(Event::RoomClosed { room: id });
    }

    fn remove(&mut self, seat: Seat, now: Instant) {
        let Some(room) = self.rooms.find_mut(seat.room) else { return };
        let Some(participant) = room.leave(seat.participant, &mut self.shared.events) else { return };
        self.has_left = true;
        // A doorman who has not heard of it learns nothing by this.
        let _ = self.door.note(now, Note::Left(seat));
        for address in participant.transport.remotes() {
            remove_own(&mut self.addresses, &address, seat);
        }
        for ufrag in participant.transport.ufrags() {
            remove_own(&mut self.ufrags, ufrag, seat);
        }
    }

    /// Takes note of what a participant's transport has become.
    fn settle(&mut self, seat: Seat, now: Instant) {
        let Some(room) = self.rooms.find_mut(seat.room) else { return };
        let room_id = room.id;
        let Some(participant) = room.participant_mut(seat.participant) else { return };
        let id = participant.id;
        while let Some(event) = room.participant_mut(seat.participant).and_then(|p| p.transport.poll_event())
        {
            match event {
                TransportEvent::Connected { .. } => {
                    room.on_connected(seat.participant);
                    self.shared.events.push_back(Event::Connected { room: room_id, participant: id });
                }
                TransportEvent::PathForgotten(path) => remove_own(&mut self.addresses, &path.remote, seat),
                TransportEvent::UfragRetired(ufrag) => remove_own(&mut self.ufrags, &ufrag.0, seat),
                TransportEvent::Closed(reason) => {
                    self.shared.events.push_back(Event::Disconnected {
                        room: room_id,
                        participant: id,
                        reason,
                    });
                    self.remove(seat, now);
                    return;
                }
            }
        }
    }

    fn on_transport_timeouts(&mut self, now: Instant, room_key: Key<Room>) {
        let mut after = None;
        while let Some(key) = self.rooms.find(room_key).and_then(|room| room.next_participant(after)) {
            after = Some(key);
            let seat = Seat { room: room_key, participant: key };
            let Some(participant) = seat_of(&mut self.rooms, seat) else { continue };
            if participant.transport.next_timeout().is_some_and(|at| at <= now) {
                participant.transport.on_timeout(now);
                self.settle(seat, now);
            }
        }
    }
}

/// The same bytes for the same seed (SplitMix64).
#[cfg(any(test, feature = "sim"))]
pub(crate) fn seeded(mut state: u64) -> Random {
    Box::new(move |bytes| {
        for byte in bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    })
}

/// Never takes away what has become another's.
fn remove_own<K, Q>(seats: &mut HashMap<K, Seat>, key: &Q, own: Seat)
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    if seats.get(key) == Some(&own) {
        seats.remove(key);
    }
}

fn seat_of(rooms: &mut Slab<Room>, seat: Seat) -> Option<&mut Participant> {
    rooms.find_mut(seat.room)?.participant_mut(seat.participant)
}

fn find<'r>(
    rooms: &'r mut Slab<Room>,
    room_ids: &HashMap<RoomId, Key<Room>>,
    room: RoomId,
    participant: ParticipantId,
) -> Option<(&'r mut Room, Key<Participant>)> {
    let room = rooms.find_mut(*room_ids.get(&room)?)?;
    let key = room.participants().find(|(_, p)| p.id == participant)?.0;
    Some((room, key))
}

#[cfg(test)]
mod tests;
