//! Who is shown in whose slot: what the pages wish for, and the loudest speakers.

use std::collections::VecDeque;
use std::time::Instant;

use crate::id::{MediaKind, ParticipantId, RoomId, SlotIndex, SourceKind};
use crate::link::{Event, Limit, Showing, Wish};
use crate::sfu::allocation::{self, Demand, Worth};
use crate::sfu::layer::Layer;
use crate::sfu::participant::Participant;
use crate::sfu::room::{Room, Turn, opening, pacing};
use crate::sfu::slab::{Key, Slab};
use crate::sfu::slot::{Share, Slot};
use crate::sfu::source::{Larger, Source};
use crate::sfu::speaker::Speakers;

impl Room {
    /// What the video slots of one participant shall show.
    pub(crate) fn view(&mut self, key: Key<Participant>, wishes: &[Wish], events: &mut VecDeque<Event>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        for (index, slot) in participant.slots.iter_mut().enumerate() {
            if slot.spec.kind == MediaKind::Video {
                let wish = wishes.iter().find(|w| usize::from(w.slot.0) == index);
                slot.wish =
                    wish.copied().filter(|w| w.source != SourceKind::Microphone && w.from != participant.id);
            }
        }
        participant.patience.skip();
        self.resolve_wishes_of(key, events);
        self.chosen = None;
    }

    /// A participant switched one of its sources on or off.
    pub(crate) fn switch(
        &mut self,
        key: Key<Participant>,
        kind: SourceKind,
        on: bool,
        events: &mut VecDeque<Event>,
    ) {
        self.change_flow(key, kind, events, |source| source.on = on);
    }

    /// The control plane withholds a participant's sources of a kind, or releases them.
    pub(crate) fn withhold(
        &mut self,
        key: Key<Participant>,
        kind: SourceKind,
        withheld: bool,
        events: &mut VecDeque<Event>,
    ) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        participant.withheld[kind as usize] = withheld;
        self.change_flow(key, kind, events, |source| source.withheld = withheld);
    }

    fn change_flow(
        &mut self,
        key: Key<Participant>,
        kind: SourceKind,
        events: &mut VecDeque<Event>,
        change: impl FnOnce(&mut Source),
    ) {
        let Some(participant) = self.participants.find(key) else { return };
        let objects = participant.objects;
        let Some(source_key) = participant.sources[kind as usize] else { return };
        let Some(source) = self.sources.find_mut(source_key) else { return };
        let before = source.flows();
        change(source);
        let flows = source.flows();
        if before && !flows {
            source.layers.iter_mut().for_each(Layer::forget_past);
            // What the owner sends meanwhile is not forwarded, so the receivers must not see its numbers go on.
            for (key, index) in &source.subscribers {
                let slots = self.participants.find_mut(*key).map(|p| &mut p.slots);
                if let Some(slot) = slots.and_then(|s| s.get_mut(usize::from(index.0))) {
                    slot.pause();
                }
            }
        }
        if kind == SourceKind::Microphone {
            let changed = if flows {
                self.speakers.add(source_key, source.owner_id, objects)
            } else {
                self.speakers.remove(source_key)
            };
            if changed {
                self.assign_audio(events);
            }
        }
    }

    /// Whether a participant's audio level may be used. Whoever objects is heard all the same.
    pub(crate) fn object(&mut self, key: Key<Participant>, objects: bool, events: &mut VecDeque<Event>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        participant.objects = objects;
        let microphone = participant.sources[SourceKind::Microphone as usize];
        if microphone.is_some_and(|source| self.speakers.set_apart(source, objects)) {
            self.assign_audio(events);
        }
    }

    /// Pauses every video slot until layers are chosen again.
    pub(crate) fn stop_pictures(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        self.chosen = Some(now);
        for (_, participant) in self.participants.iter_mut() {
            for (index, slot) in participant.slots.iter_mut().enumerate() {
                let source = slot.wish.and(slot.source).and_then(|source| self.sources.find(source));
                if let Some(source) = source.filter(|source| source.flows())
                    && slot.starve(now)
                {
                    let how = Showing::Paused(Limit::Core);
                    events.push_back(slot_shows(self.id, participant.id, index, source, how));
                }
            }
        }
    }

    /// Gives every video slot the layer that fits its wish, its receiver's line and the core, or pauses it; asks for
    /// keyframes where a slot waits, and tells publishers which layers are wanted.
    pub(super) fn choose_layers(&mut self, turn: &mut Turn<'_>) {
        let (now, clock, relief) = (turn.now, turn.clock(), turn.relief);
        let events = &mut *turn.events;
        let Room { id: room, participants, sources, speakers, demands, paced, .. } = self;
        let count = participants.len();
        for (place, (key, participant)) in participants.iter_mut().enumerate() {
            let estimate_bps = participant.estimate_bps();
            let wished_bps = demand(participant, estimate_bps, now, sources, speakers, demands);
            let audio_bps = participant.audio_bps(clock, sources);
            participant.wants(allocation::wants(wished_bps + audio_bps));
            let Worth { all_bps, first_bps } = allocation::worth(demands);
            // What has shown no end is not why somebody would see nothing at all.
            let least_bps = if participant.downlink.has_end() { 0 } else { first_bps };
            let line_bps = estimate_bps.map(|estimate| estimate.saturating_sub(audio_bps).max(least_bps));
            let core_bps = relief.bound_bps(all_bps, first_bps, place, count);
            let budget_bps = line_bps.into_iter().chain(core_bps).min();
            let mut past_bytes = if relief.is_whole() { participant.downlink.past_bytes_max() } else { 0 };
            let scarce = if budget_bps == line_bps { Limit::Line } else { Limit::Core };
            allocation::divide(now, budget_bps, demands, &mut participant.patience);
            let lacks = demands.iter().any(|demand| demand.granted.is_none());
            participant.downlink.set_urgent(lacks && scarce == Limit::Line);
            for demand in &*demands {
                let Some(slot) = participant.slots.get_mut(demand.slot) else { continue };
                let Some(source) = slot.source.and_then(|source| sources.find_mut(source)) else { continue };
                match demand.granted {
                    Some(rung) => {
                        slot.share = Share::Granted;
                        let rungs = demand.ladder.rungs();
                        (slot.target, slot.tempo) = (rungs[rung].layer, rungs[rung].tempo);
                        slot.limit = match source.larger_than(now, slot.target, demand.height) {
                            _ if rung + 1 < rungs.len() => Some(scarce),
                            Larger::Nothing => None,
                            Larger::Unasked => Some(Limit::Line),
                            Larger::Coming => slot.limit,
                        };
                        let (index, downlink) = (SlotIndex(demand.slot as u16), &mut participant.downlink);
                        let held =
                            opening::hold((index, slot), source, now, clock, downlink, &mut past_bytes);
                        if held > 0 {
                            turn.counters.held += held;
                            pacing::pace(paced, key);
                        }
                        let opens =
                            |at| opening::opens((index, slot), (source, at), now, downlink, past_bytes);
                        if let Some(urgency) = slot.needs_keyframe(source, opens) {
                            source.layers[slot.target].keyframe.want(urgency);
                        }
                    }
                    None => {
                        if slot.starve(now) {
                            let how = Showing::Paused(scarce);
                            events.push_back(slot_shows(*room, participant.id, demand.slot, source, how));
                        }
                    }
                }
            }
        }
        for (_, source) in sources.iter_mut().filter(|(_, source)| source.is_simulcast() && source.flows()) {
            if let Some(layers) = source.next_wanted(now) {
                let (participant, source) = (source.owner_id, source.kind);
                events.push_back(Event::LayersWanted { room: *room, participant, source, layers });
            }
        }
    }

    /// Subscribes everybody who waits for one participant's sources to those that exist.
    pub(super) fn resolve_wishes_for(&mut self, key: Key<Participant>, events: &mut VecDeque<Event>) {
        let Some(Participant { id: from, sources, .. }) = self.participants.find(key) else { return };
        let (from, published) = (*from, *sources);
        for (key, participant) in self.participants.iter_mut() {
            for (index, slot) in participant.slots.iter_mut().enumerate() {
                let Some(wish) = slot.wish.filter(|wish| wish.from == from) else { continue };
                let wished = published[wish.source as usize];
                if slot.source != wished {
                    show(self.id, participant.id, key, index, slot, wished, &mut self.sources, events);
                }
            }
        }
    }

    /// Subscribes the video slots to the sources that they wish for, as far as these exist.
    pub(super) fn resolve_wishes_of(&mut self, key: Key<Participant>, events: &mut VecDeque<Event>) {
        let Some(participant) = self.participants.find(key) else { return };
        let wished: Vec<_> =
            participant.slots.iter().map(|s| s.wish.and_then(|w| self.find_source(w))).collect();
        let Some(participant) = self.participants.find_mut(key) else { return };
        for (index, (slot, wished)) in participant.slots.iter_mut().zip(wished).enumerate() {
            if slot.spec.kind == MediaKind::Video && slot.source != wished {
                show(self.id, participant.id, key, index, slot, wished, &mut self.sources, events);
            }
        }
    }

    fn find_source(&self, wish: Wish) -> Option<Key<Source>> {
        let (_, participant) = self.participants.iter().find(|(_, p)| p.id == wish.from)?;
        participant.sources[wish.source as usize]
    }

    /// Returns whether there are other holders than before, which [`Room::assign_audio`] has to follow.
    pub(super) fn count_audio_slots(&mut self) -> bool {
        let most = self.participants.iter().map(|(_, p)| p.audio_slots()).max().unwrap_or(0);
        self.speakers.set_slots(most)
    }

    /// Fills everybody's audio slots with the holders.
    pub(super) fn assign_audio(&mut self, events: &mut VecDeque<Event>) {
        let Room { id, participants, sources, speakers, .. } = self;
        for (key, participant) in participants.iter_mut() {
            fill_audio_slots(*id, key, participant, speakers.holders(), sources, events);
        }
    }

    pub(super) fn assign_audio_of(&mut self, key: Key<Participant>, events: &mut VecDeque<Event>) {
        let Room { id, participants, sources, speakers, .. } = self;
        let Some(participant) = participants.find_mut(key) else { return };
        fill_audio_slots(*id, key, participant, speakers.holders(), sources, events);
    }

    pub(super) fn drop_source(&mut self, key: Key<Source>, events: &mut VecDeque<Event>) {
        if self.speakers.remove(key) {
            self.assign_audio(events);
        }
        let Some(source) = self.sources.remove(key) else { return };
        for (receiver, index) in source.subscribers {
            let Some(participant) = self.participants.find_mut(receiver) else { continue };
            let id = participant.id;
            let Some(slot) = participant.slots.get_mut(usize::from(index.0)) else { continue };
            show(self.id, id, receiver, usize::from(index.0), slot, None, &mut self.sources, events);
        }
        if let Some(owner) = self.participants.find_mut(source.owner) {
            owner.streams.retain(|(_, stream)| stream.is_none_or(|s| s.source != key));
        }
    }
}

/// What the video slots of a participant ask for. Returns the bits a second that all of it would take.
fn demand(
    participant: &mut Participant,
    estimate_bps: Option<u64>,
    now: Instant,
    sources: &mut Slab<Source>,
    speakers: &Speakers,
    demands: &mut Vec<Demand>,
) -> u64 {
    demands.clear();
    let shown = |slot: &Slot| slot.source.and(slot.wish);
    let smallest = participant.slots.iter().filter_map(shown).map(|wish| wish.height).min().unwrap_or(0);
    let mut wished_bps = 0;
    let mut is_open = false;
    for (index, slot) in participant.slots.iter().enumerate() {
        let (Some(key), Some(wish)) = (slot.source, slot.wish) else { continue };
        let Some(source) = sources.find_mut(key).filter(|source| source.flows()) else { continue };
        wished_bps += source.on_wish(wish.height, estimate_bps, slot.target);
        let ladder = source.ladder(now, wish.height, slot.target);
        if ladder.is_empty() {
            continue;
        }
        is_open |= slot.share == Share::Open;
        demands.push(Demand {
            slot: index,
            weight: allocation::weight(wish.source == SourceKind::Screen, wish.height, smallest),
            speaks: speakers.is_listed(source.owner_id),
            height: wish.height,
            ladder,
            held: ladder.rung_of(slot.target, slot.tempo).filter(|_| slot.share == Share::Granted),
            granted: None,
        });
    }
    if is_open {
        // Who begins to look at somebody shall not wait.
        participant.patience.skip();
    }
    wished_bps
}

/// The slot is still its source's.
pub(crate) fn slot_shows(
    room: RoomId,
    participant: ParticipantId,
    slot: usize,
    source: &Source,
    how: Showing,
) -> Event {
    let (slot, source) = (SlotIndex(slot as u16), Some((source.owner_id, source.kind)));
    Event::SlotShows { room, participant, slot, source, how }
}

/// Who is in a slot already stays in it.
fn fill_audio_slots(
    room: RoomId,
    key: Key<Participant>,
    participant: &mut Participant,
    holders: &[Key<Source>],
    sources: &mut Slab<Source>,
    events: &mut VecDeque<Event>,
) {
    let own = participant.sources[SourceKind::Microphone as usize];
    let count = participant.audio_slots();
    let wanted = || holders.iter().copied().filter(|h| Some(*h) != own).take(count);
    for (index, slot) in participant.slots.iter_mut().enumerate() {
        let shows = slot.spec.kind == MediaKind::Audio && slot.source.is_some();
        if shows && !wanted().any(|w| Some(w) == slot.source) {
            show(room, participant.id, key, index, slot, None, sources, events);
        }
    }
    for source in wanted() {
        if participant.slots.iter().any(|s| s.source == Some(source)) {
            continue;
        }
        let mut slots = participant.slots.iter_mut().enumerate();
        let free = slots.find(|(_, s)| s.spec.kind == MediaKind::Audio && s.source.is_none());
        if let Some((index, slot)) = free {
            show(room, participant.id, key, index, slot, Some(source), sources, events);
        }
    }
}

/// Points a slot at a source, or at nothing.
#[expect(clippy::too_many_arguments, reason = "the pieces of a room that are borrowed apart")]
fn show(
    room: RoomId,
    receiver: ParticipantId,
    key: Key<Participant>,
    index: usize,
    slot: &mut Slot,
    source: Option<Key<Source>>,
    sources: &mut Slab<Source>,
    events: &mut VecDeque<Event>,
) {
    let index = SlotIndex(index as u16);
    if let Some(old) = slot.source.and_then(|s| sources.find_mut(s)) {
        old.unsubscribe(key, index);
    }
    let showed = slot.source.is_some();
    slot.show(source);
    match source.and_then(|s| sources.find_mut(s)) {
        Some(next) => next.subscribers.push((key, index)),
        None => {
            slot.announced = true;
            if showed {
                let (participant, slot, how) = (receiver, index, Showing::Whole);
                events.push_back(Event::SlotShows { room, participant, slot, source: None, how });
            }
        }
    }
}
