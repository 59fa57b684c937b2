//! One room: its participants, what they publish, and the fan-out loop. Sans-IO; owned by one worker.
//!
//! Everything that belongs to the room is owned by [`Room`]; dropping it is the deletion.

mod assign;
mod input;
mod opening;
mod pacing;

pub(crate) use assign::slot_shows;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::counters::Counters;
use crate::egress::Egress;
use crate::id::{ParticipantId, RoomId, SeqNo, SlotIndex};
use crate::link::{Event, MediaSpec, Refusal};
use crate::relief::Relief;
use crate::sfu::allocation::Demand;
use crate::sfu::batch::Batch;
use crate::sfu::clock;
use crate::sfu::pacer;
use crate::sfu::participant::{Participant, Seeds};
use crate::sfu::report;
use crate::sfu::slab::{Key, Slab};
use crate::sfu::slot::Slot;
use crate::sfu::source::Source;
use crate::sfu::speaker::Speakers;
use crate::sfu::transport::Transport;

/// How often a room with media looks after requests, feedback and reports.
const TICK: Duration = Duration::from_millis(20);
/// The same for a room in which nothing moves.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// How often everybody is looked at for transports that ended and reports that are due: hundreds of people fill the
/// cache, and nothing of it is in a hurry.
const WALK_INTERVAL: Duration = Duration::from_millis(100);
/// How often layers are chosen anew and speakers listed.
const CHOICE_INTERVAL: Duration = Duration::from_millis(200);
/// The same when an estimate has fallen: whatever is too much shall not wait.
const CHOICE_INTERVAL_MIN: Duration = Duration::from_millis(60);
/// The golden ratio of a turn: two halves of it come in turns that go with no other rhythm.
pub(super) const GOLDEN: u32 = 0x9E37_79B9;

/// What one turn of the worker lends to the rooms.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    /// When the worker started; RTCP time counts from here.
    pub(crate) epoch: Instant,
    pub(crate) egress: &'a mut Egress,
    pub(crate) counters: &'a mut Counters,
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) limits: &'a Limits,
    /// What has arrived and waits for [`Room::fan_out`].
    pub(crate) batch: &'a mut Batch,
    /// Bytes of padding that may be added to what a receiver gets.
    pub(crate) padding_percent: u8,
    /// What the core leaves of the receivers' pictures.
    pub(crate) relief: Relief,
}

impl Turn<'_> {
    pub(crate) fn clock(&self) -> Duration {
        clock::since(self.epoch, self.now)
    }
}

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    participants: Slab<Participant>,
    sources: Slab<Source>,
    speakers: Speakers,
    ticked: Instant,
    walked: Option<Instant>,
    chosen: Option<Instant>,
    /// An estimate has fallen since.
    hurries: bool,
    /// Media came since the last tick.
    busy: bool,
    /// Whose packets are held or whose line is being probed, and when they were looked at last.
    paced: Vec<Key<Participant>>,
    paced_at: Instant,
    /// Moves on with each batch: whether the first or the last receiver comes first.
    order: u32,
    lost: Vec<SeqNo>,
    /// Lent to [`Room::choose_layers`].
    demands: Vec<Demand>,
}

impl Room {
    pub(crate) fn new(id: RoomId, now: Instant) -> Room {
        Room {
            id,
            participants: Slab::new(),
            sources: Slab::new(),
            speakers: Speakers::new(),
            ticked: now,
            walked: None,
            chosen: None,
            hurries: false,
            busy: false,
            paced: Vec::new(),
            paced_at: now,
            order: 0,
            lost: crate::sfu::arrivals::nack_list(),
            demands: Vec::new(),
        }
    }

    pub(crate) fn join(
        &mut self,
        id: ParticipantId,
        transport: Transport,
        seeds: Seeds,
        limits: &Limits,
    ) -> Result<Key<Participant>, Refusal> {
        if self.participants.len() >= limits.participants_per_room_max {
            return Err(Refusal::RoomFull);
        }
        if self.participants.iter().any(|(_, p)| p.id == id) {
            return Err(Refusal::DuplicateId);
        }
        Ok(self.participants.insert(Participant::new(id, transport, seeds)))
    }

    /// Drops the participant with everything it published; the others' slots that showed it fall silent.
    pub(crate) fn leave(
        &mut self,
        key: Key<Participant>,
        events: &mut VecDeque<Event>,
    ) -> Option<Participant> {
        let participant = self.participants.remove(key)?;
        for source in participant.sources.into_iter().flatten() {
            self.drop_source(source, events);
        }
        for (index, slot) in participant.slots.iter().enumerate() {
            if let Some(source) = slot.source.and_then(|s| self.sources.find_mut(s)) {
                source.unsubscribe(key, SlotIndex(index as u16));
            }
        }
        if self.count_audio_slots() {
            self.assign_audio(events);
        }
        Some(participant)
    }

    /// DTLS is done.
    pub(crate) fn on_connected(&mut self, key: Key<Participant>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        participant.connected = true;
    }

    pub(crate) fn participant_mut(&mut self, key: Key<Participant>) -> Option<&mut Participant> {
        self.participants.find_mut(key)
    }

    /// The first participant behind `after`, for a walk during which participants may go.
    pub(crate) fn next_participant(&self, after: Option<Key<Participant>>) -> Option<Key<Participant>> {
        self.participants.next_key(after)
    }

    pub(crate) fn participants(&self) -> impl Iterator<Item = (Key<Participant>, &Participant)> {
        self.participants.iter()
    }

    /// Takes the participant's m-lines as they are from now on. `seed` draws random numbers for new slots.
    pub(crate) fn negotiate(
        &mut self,
        key: Key<Participant>,
        media: MediaSpec,
        seed: &mut dyn FnMut() -> u64,
        events: &mut VecDeque<Event>,
    ) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        participant.extensions = media.extensions;
        let owner_id = participant.id;

        let mut old_sources = std::mem::take(&mut participant.sources);
        for spec in media.sources {
            let place = spec.kind as usize;
            if participant.sources[place].is_some() {
                continue;
            }
            let kept = old_sources[place].take();
            match kept.and_then(|k| self.sources.find_mut(k).filter(|s| s.spec.mid == spec.mid)) {
                Some(source) => {
                    source.spec.codecs = spec.codecs;
                    source.spec.ssrcs = spec.ssrcs;
                    participant.sources[place] = kept;
                }
                None => {
                    old_sources[place] = kept;
                    let mut source = Source::new(key, owner_id, spec);
                    source.withheld = participant.withheld[place];
                    participant.sources[place] = Some(self.sources.insert(source));
                }
            }
        }

        let mut old_slots = std::mem::replace(&mut participant.slots, Vec::with_capacity(media.slots.len()));
        for (index, slot) in old_slots.iter().enumerate() {
            if let Some(source) = slot.source.and_then(|s| self.sources.find_mut(s)) {
                source.unsubscribe(key, SlotIndex(index as u16));
            }
        }
        for (index, spec) in media.slots.into_iter().enumerate() {
            let slot = match old_slots.iter().position(|s| s.spec.mid == spec.mid && s.spec.ssrc == spec.ssrc)
            {
                Some(at) => old_slots.swap_remove(at).with_spec(spec),
                None => Slot::new(spec, seed()),
            };
            if let Some(source) = slot.source.and_then(|s| self.sources.find_mut(s)) {
                source.subscribers.push((key, SlotIndex(index as u16)));
            }
            participant.slots.push(slot);
        }
        let is_probeable = participant.slots.iter().any(Slot::is_probeable);
        participant.downlink.negotiate(media.extensions.transport_cc.is_some(), is_probeable);
        for source in old_sources.into_iter().flatten() {
            self.drop_source(source, events);
        }
        match self.count_audio_slots() {
            true => self.assign_audio(events),
            false => self.assign_audio_of(key, events),
        }
        self.resolve_wishes_for(key, events);
        self.resolve_wishes_of(key, events);
        self.chosen = None;
    }

    /// When [`Room::on_tick`] is due.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        if self.participants.len() == 0 {
            return None;
        }
        // The timers of a transport are for seconds; the tick is fine enough for them.
        let tick = self.ticked + if self.busy { TICK } else { IDLE_TICK };
        Some(if self.paced.is_empty() { tick } else { tick.min(self.paced_at + pacer::INTERVAL) })
    }

    /// Whether [`Room::on_tick`] will look at everybody, before which their transports want to hear of the time.
    pub(crate) fn walk_is_due(&self, now: Instant) -> bool {
        self.walked.is_none_or(|at| now >= at + WALK_INTERVAL)
    }

    /// Requests, feedback, reports and choices that are due.
    pub(crate) fn on_tick(&mut self, turn: &mut Turn<'_>) {
        self.send_paced(turn);
        if turn.now < self.ticked + TICK {
            return;
        }
        self.ticked = turn.now;
        self.busy = false;
        let interval = if self.hurries { CHOICE_INTERVAL_MIN } else { CHOICE_INTERVAL };
        if self.chosen.is_none_or(|at| turn.now >= at + interval) {
            self.chosen = Some(turn.now);
            self.hurries = false;
            self.choose_layers(turn);
            if let Some(speakers) = self.speakers.next_listed(turn.now) {
                turn.events.push_back(Event::Speakers { room: self.id, speakers });
            }
        }
        report::send_requests(&mut self.participants, &mut self.sources, &mut self.lost, turn);
        if self.walk_is_due(turn.now) {
            self.walked = Some(turn.now);
            self.look_at_lines(turn);
            report::send_reports(self.id, &mut self.participants, &mut self.sources, turn);
        }
    }
}

#[cfg(test)]
mod tests;
