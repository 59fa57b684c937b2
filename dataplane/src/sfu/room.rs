//! One room: its participants, what they publish, and the fan-out loop. Sans-IO; owned by one worker.
//!
//! Everything that belongs to the room is owned by [`Room`]; dropping it is the deletion.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::counters::{Counters, Dropped};
use crate::egress::Egress;
use crate::id::{ExtSeq, MediaKind, ParticipantId, Path, RoomId, SeqNo, SlotIndex, SourceKind, Ssrc};
use crate::link::{Event, MediaSpec, Refusal, Wish};
use crate::sfu::clock;
use crate::sfu::history::Entry;
use crate::sfu::layer::Layer;
use crate::sfu::participant::{Participant, Seeds, Stream};
use crate::sfu::report;
use crate::sfu::slab::{Key, Slab};
use crate::sfu::slot::{Incoming, Slot};
use crate::sfu::source::Source;
use crate::sfu::speaker::Speakers;
use crate::sfu::transport::Transport;
use crate::wire::codec::{self, FrameMark};
use crate::wire::ext::ExtensionValues;
use crate::wire::rtcp::{self, Packet};
use crate::wire::rtp::Header;

/// How often a room with media looks after requests, feedback and reports.
const TICK: Duration = Duration::from_millis(20);
/// The same for a room in which nothing moves.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// How often layers are chosen anew and speakers listed.
const CHOICE_INTERVAL: Duration = Duration::from_millis(200);
/// Retransmissions and keyframes that one datagram may ask for.
const REQUESTS_PER_DATAGRAM_MAX: usize = 256;

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
    chosen: Option<Instant>,
    /// Media came since the last tick.
    busy: bool,
    /// Participants whose ICE or DTLS is under way: their timers are finer than the tick.
    connecting: usize,
    lost: Vec<SeqNo>,
}

impl Room {
    pub(crate) fn new(id: RoomId, now: Instant) -> Room {
        Room {
            id,
            participants: Slab::new(),
            sources: Slab::new(),
            speakers: Speakers::new(),
            ticked: now,
            chosen: None,
            busy: false,
            connecting: 0,
            lost: crate::sfu::arrivals::nack_list(),
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
        self.connecting += 1;
        Ok(self.participants.insert(Participant::new(id, transport, seeds)))
    }

    /// Drops the participant with everything it published; the others' slots that showed it fall silent.
    pub(crate) fn leave(
        &mut self,
        key: Key<Participant>,
        events: &mut VecDeque<Event>,
    ) -> Option<Participant> {
        let participant = self.participants.remove(key)?;
        self.connecting -= usize::from(!participant.connected);
        for source in participant.sources.into_iter().flatten() {
            self.drop_source(source, events);
        }
        for (index, slot) in participant.slots.iter().enumerate() {
            if let Some(source) = slot.source.and_then(|s| self.sources.find_mut(s)) {
                source.unsubscribe(key, SlotIndex(index as u16));
            }
        }
        self.count_audio_slots(events);
        Some(participant)
    }

    /// DTLS is done.
    pub(crate) fn on_connected(&mut self, key: Key<Participant>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        self.connecting -= usize::from(!participant.connected);
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
                    participant.sources[place] = Some(self.sources.insert(Source::new(key, owner_id, spec)));
                }
            }
        }

        let mut old_slots = std::mem::take(&mut participant.slots);
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
        for source in old_sources.into_iter().flatten() {
            self.drop_source(source, events);
        }
        self.count_audio_slots(events);
        self.resolve_wishes_for(key, events);
        self.resolve_wishes_of(key, events);
        self.chosen = None;
    }

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
        let Some(participant) = self.participants.find_mut(key) else { return };
        let Some(source_key) = participant.sources[kind as usize] else { return };
        let Some(source) = self.sources.find_mut(source_key) else { return };
        if source.on && !on {
            // What the owner sends meanwhile is not forwarded, so the receivers must not see its numbers go on.
            for (key, index) in &source.subscribers {
                let slots = self.participants.find_mut(*key).map(|p| &mut p.slots);
                if let Some(slot) = slots.and_then(|s| s.get_mut(usize::from(index.0))) {
                    slot.pause();
                }
            }
        }
        source.on = on;
        if kind == SourceKind::Microphone {
            let changed = if on {
                self.speakers.add(source_key, source.owner_id)
            } else {
                self.speakers.remove(source_key)
            };
            if changed {
                self.assign_audio(events);
            }
        }
    }

    /// An RTP packet of this participant: opened once in place, then sealed into every slot that shows its source.
    pub(crate) fn on_rtp(
        &mut self,
        key: Key<Participant>,
        path: &Path,
        packet: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Dropped> {
        let header = Header::parse(packet).map_err(|_| Dropped::MalformedRtp)?;
        let participant = self.participants.find_mut(key).ok_or(Dropped::UnknownAddress)?;
        let known = participant.stream_of(header.ssrc);
        let (len, seq) = participant.transport.open_rtp(turn.now, path, packet, &header, known.is_some())?;
        turn.counters.rtp_in += 1;
        participant.intake.admit(turn.now, turn.limits.packets_per_second_max)?;
        self.busy = true;
        let packet = &mut packet[..len];
        let padding = header.padding_len(packet).ok_or(Dropped::MalformedRtp)?;
        let (head, payload) = packet.split_at_mut(header.len);
        let values = ExtensionValues::read(head, &header, &participant.extensions);
        let clock = turn.clock();
        if let Some(transport_seq) = values.transport_cc {
            participant.arrivals.on_packet(transport_seq, clock);
        }
        let stream = match known {
            Some(stream) => stream.ok_or(Dropped::UnknownSource)?,
            None => bind(participant, &mut self.sources, &header, &values, turn.limits)?,
        };
        let source = self.sources.find_mut(stream.source).ok_or(Dropped::UnknownSource)?;
        let (codec, is_rtx) = source.codec_of(header.pt).ok_or(Dropped::UnknownPayloadType)?;
        if is_rtx != stream.rtx {
            // Media and retransmissions number their packets apart.
            return Err(Dropped::UnknownPayloadType);
        }
        let layer = source.layers.get_mut(stream.layer).ok_or(Dropped::UnknownSource)?;
        let (seq, payload) = match is_rtx {
            true => match original(layer, payload, padding)? {
                Some(original) => original,
                None => return Ok(()),
            },
            false => (seq, payload),
        };
        let is_video = source.kind.media() == MediaKind::Video;
        layer.on_packet(turn.now, turn.epoch, seq, header.timestamp, is_rtx, is_video && source.on);
        if !source.on {
            return Err(Dropped::SourceOff);
        }
        let mut mark = FrameMark { keyframe: true, ..FrameMark::default() };
        if is_video {
            mark = codec::inspect(codec, payload);
            let entry = Entry::new(seq, header.timestamp, header.marker, header.padding, codec, mark);
            layer.keep(entry, payload, turn.limits.history_packets);
        }
        let captured =
            participant.clock.captured(layer.sender_report(), header.timestamp, codec.clock_rate_hz(), clock);
        let epoch = layer.epoch;
        if !is_video && self.speakers.on_level(turn.now, stream.source, values.audio_level) {
            self.assign_audio(turn.events);
        }
        self.fan_out(
            Incoming {
                source: stream.source,
                layer: stream.layer,
                epoch,
                seq,
                timestamp: header.timestamp,
                marker: header.marker,
                padding: header.padding,
                codec,
                mark,
                audio_level: values.audio_level,
                dependency_descriptor: values.dependency_descriptor,
                payload,
                captured,
            },
            turn,
        );
        Ok(())
    }

    /// A compound RTCP packet of this participant (RFC 3550 §6, RFC 4585).
    pub(crate) fn on_rtcp(
        &mut self,
        key: Key<Participant>,
        path: &Path,
        packet: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Dropped> {
        let participant = self.participants.find_mut(key).ok_or(Dropped::UnknownAddress)?;
        let len = participant.transport.open_rtcp(turn.now, path, packet)?;
        turn.counters.rtcp_in += 1;
        participant.intake.admit(turn.now, turn.limits.packets_per_second_max)?;
        let mut left = REQUESTS_PER_DATAGRAM_MAX;
        for packet in rtcp::packets(&packet[..len]) {
            match packet {
                Packet::SenderReport { ssrc, ntp, rtp_time, .. } => {
                    self.on_sender_report(key, ssrc, ntp, rtp_time, turn)
                }
                Packet::Nack { media, lost, .. } => {
                    for seq in lost.take(left) {
                        left -= 1;
                        match self.resend(key, media, seq, turn) {
                            Ok(()) => turn.counters.rtx_sent += 1,
                            Err(reason) => turn.counters.drop(reason),
                        }
                    }
                }
                Packet::Pli { media, .. } => {
                    left = left.saturating_sub(1);
                    if left > 0 {
                        self.on_keyframe_request(key, media, turn.counters);
                    }
                }
                Packet::Fir { targets, .. } => {
                    for (media, _) in targets.take(left) {
                        left -= 1;
                        self.on_keyframe_request(key, media, turn.counters);
                    }
                }
                Packet::ReceiverReport { .. }
                | Packet::TransportCc { .. }
                | Packet::Remb { .. }
                | Packet::Bye { .. }
                | Packet::Other { .. } => {}
            }
        }
        Ok(())
    }

    /// When [`Room::on_tick`] is due.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        if self.participants.len() == 0 {
            return None;
        }
        let transport = match self.connecting {
            0 => None,
            _ => self
                .participants
                .iter()
                .filter(|(_, p)| !p.connected)
                .filter_map(|(_, p)| p.transport.next_timeout())
                .min(),
        };
        let tick = self.ticked + if self.busy { TICK } else { IDLE_TICK };
        Some(transport.map_or(tick, |at| at.min(tick)))
    }

    /// Requests, feedback, reports and choices that are due.
    pub(crate) fn on_tick(&mut self, turn: &mut Turn<'_>) {
        self.ticked = turn.now;
        self.busy = false;
        if self.chosen.is_none_or(|at| turn.now >= at + CHOICE_INTERVAL) {
            self.chosen = Some(turn.now);
            self.choose_layers(turn.now);
            if let Some(speakers) = self.speakers.next_listed(turn.now) {
                turn.events.push_back(Event::Speakers { room: self.id, speakers });
            }
        }
        report::send_requests(&mut self.participants, &mut self.sources, &mut self.lost, turn);
        report::send_reports(&mut self.participants, &mut self.sources, turn);
    }

    /// The one place where the number of receivers appears.
    fn fan_out(&mut self, mut packet: Incoming<'_>, turn: &mut Turn<'_>) {
        let clock = turn.clock();
        let Some(source) = self.sources.find(packet.source) else { return };
        for (key, index) in &source.subscribers {
            let Some(participant) = self.participants.find_mut(*key) else { continue };
            let receiver = participant.id;
            let Some((slots, mut sender)) = participant.receiving(clock, turn.limits.datagram_max) else {
                continue;
            };
            let Some(slot) = slots.get_mut(usize::from(index.0)) else { continue };
            match slot.forward(&mut packet, &mut sender, turn.egress) {
                Ok(true) => turn.counters.rtp_forwarded += 1,
                Ok(false) => continue,
                Err(reason) => turn.counters.drop(reason),
            }
            if !slot.announced {
                slot.announced = true;
                turn.events.push_back(Event::SlotShows {
                    room: self.id,
                    participant: receiver,
                    slot: *index,
                    source: Some((source.owner_id, source.kind)),
                });
            }
        }
    }

    fn on_sender_report(
        &mut self,
        key: Key<Participant>,
        ssrc: Ssrc,
        ntp: u64,
        rtp_time: crate::id::RtpTime,
        turn: &Turn<'_>,
    ) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        let Some(stream) = participant.stream_of(ssrc).flatten().filter(|s| !s.rtx) else { return };
        let Some(source) = self.sources.find_mut(stream.source) else { return };
        source.layers[stream.layer].on_sender_report(turn.now, ntp, rtp_time);
        participant.clock.on_sender_report(turn.clock(), ntp);
    }

    fn resend(
        &mut self,
        key: Key<Participant>,
        media: Ssrc,
        seq: SeqNo,
        turn: &mut Turn<'_>,
    ) -> Result<(), Dropped> {
        let sources = &self.sources;
        let participant = self.participants.find_mut(key).ok_or(Dropped::UnknownAddress)?;
        let (slots, mut sender) =
            participant.receiving(turn.clock(), turn.limits.datagram_max).ok_or(Dropped::BeforeDtls)?;
        let slot = slots.iter_mut().find(|s| s.spec.ssrc == media).ok_or(Dropped::UnknownSource)?;
        let history_of = |source, layer: usize, epoch| {
            let layer = sources.find(source)?.layers.get(layer)?;
            (layer.epoch == epoch).then_some(&layer.history)
        };
        slot.resend(turn.now, seq, history_of, &mut sender, turn.egress)
    }

    fn on_keyframe_request(&mut self, key: Key<Participant>, media: Ssrc, counters: &mut Counters) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        let Some(slot) = participant.slots.iter().find(|s| s.spec.ssrc == media) else { return };
        let Some(source) = slot.source.and_then(|s| self.sources.find_mut(s)) else { return };
        let layer = slot.layer().unwrap_or(slot.target);
        if source.kind.media() == MediaKind::Video && source.layers[layer].keyframe.want() {
            counters.drop(Dropped::KeyframeRequestMerged);
        }
    }

    /// Gives every video slot the best layer that fits its wish; asks for keyframes where a slot waits.
    fn choose_layers(&mut self, now: Instant) {
        for (_, participant) in self.participants.iter_mut() {
            for slot in participant.slots.iter_mut().filter(|s| s.spec.kind == MediaKind::Video) {
                let (Some(key), Some(wish)) = (slot.source, slot.wish) else { continue };
                let Some(source) = self.sources.find_mut(key) else { continue };
                if let Some(best) = source.choose_layer(now, wish.height, slot.target) {
                    slot.target = best;
                }
                if source.on && slot.waits_for_keyframe(source) {
                    source.layers[slot.target].keyframe.want();
                }
            }
        }
    }

    /// Subscribes everybody who waits for one participant's sources to those that exist.
    fn resolve_wishes_for(&mut self, key: Key<Participant>, events: &mut VecDeque<Event>) {
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
    fn resolve_wishes_of(&mut self, key: Key<Participant>, events: &mut VecDeque<Event>) {
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

    fn count_audio_slots(&mut self, events: &mut VecDeque<Event>) {
        let audio_slots =
            |p: &Participant| p.slots.iter().filter(|s| s.spec.kind == MediaKind::Audio).count();
        let most = self.participants.iter().map(|(_, p)| audio_slots(p)).max().unwrap_or(0);
        self.speakers.set_slots(most);
        self.assign_audio(events);
    }

    /// Fills everybody's audio slots with the holders; who is in a slot already stays in it.
    fn assign_audio(&mut self, events: &mut VecDeque<Event>) {
        let holders = self.speakers.holders();
        for (key, participant) in self.participants.iter_mut() {
            let own = participant.sources[SourceKind::Microphone as usize];
            let slots = participant.slots.iter().filter(|s| s.spec.kind == MediaKind::Audio).count();
            let wanted = || holders.iter().copied().filter(|h| Some(*h) != own).take(slots);
            for (index, slot) in participant.slots.iter_mut().enumerate() {
                let shows = slot.spec.kind == MediaKind::Audio && slot.source.is_some();
                if shows && !wanted().any(|w| Some(w) == slot.source) {
                    show(self.id, participant.id, key, index, slot, None, &mut self.sources, events);
                }
            }
            for source in wanted() {
                if participant.slots.iter().any(|s| s.source == Some(source)) {
                    continue;
                }
                let free = participant
                    .slots
                    .iter_mut()
                    .enumerate()
                    .find(|(_, s)| s.spec.kind == MediaKind::Audio && s.source.is_none());
                if let Some((index, slot)) = free {
                    show(self.id, participant.id, key, index, slot, Some(source), &mut self.sources, events);
                }
            }
        }
    }

    fn drop_source(&mut self, key: Key<Source>, events: &mut VecDeque<Event>) {
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

/// The packet inside a retransmission (RFC 4588 §4) and its number; `None` when there is nothing new in it.
fn original<'p>(
    layer: &Layer,
    payload: &'p mut [u8],
    padding: usize,
) -> Result<Option<(ExtSeq, &'p mut [u8])>, Dropped> {
    if payload.len() - padding < 2 {
        // A probe of the sender's bandwidth estimator: nothing but padding.
        return Ok(None);
    }
    let (number, payload) = payload.split_at_mut(2);
    let seq = layer.nearest(SeqNo(u16::from_be_bytes([number[0], number[1]]))).ok_or(Dropped::RtxInvalid)?;
    Ok(Some((seq, payload)).filter(|_| !layer.history.contains(seq)))
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
                events.push_back(Event::SlotShows { room, participant: receiver, slot: index, source: None });
            }
        }
    }
}

/// Finds out which encoding an SSRC is, from an authenticated packet: by MID and RID (RFC 8843 §9.2, RFC 8852), by
/// signalled SSRC, or by a payload type that only one source uses.
fn bind(
    participant: &mut Participant,
    sources: &mut Slab<Source>,
    header: &Header,
    values: &ExtensionValues<'_>,
    limits: &Limits,
) -> Result<Stream, Dropped> {
    if participant.streams.len() >= limits.ssrcs_max {
        return Err(Dropped::SrtpSsrcLimit);
    }
    let own = || participant.sources.iter().flatten().copied();
    let of_source = |key: &Key<Source>, test: &dyn Fn(&Source) -> bool| sources.find(*key).is_some_and(test);
    let by_mid = values.mid.and_then(|mid| own().find(|k| of_source(k, &|s| s.spec.mid.as_bytes() == mid)));
    let by_ssrc = || {
        own().find(|k| {
            of_source(k, &|s| s.spec.ssrcs.iter().any(|(m, r)| *m == header.ssrc || *r == Some(header.ssrc)))
        })
    };
    let by_pt = || {
        let mut using = own().filter(|k| of_source(k, &|s| s.codec_of(header.pt).is_some()));
        using.next().filter(|_| using.next().is_none())
    };
    let key = match values.mid {
        Some(_) => by_mid,
        None => by_ssrc().or_else(by_pt),
    };
    let key = key.ok_or(Dropped::UnknownSource)?;
    let source = sources.find_mut(key).ok_or(Dropped::UnknownSource)?;
    let (_, rtx) = source.codec_of(header.pt).ok_or(Dropped::UnknownPayloadType)?;
    let rid = if rtx { values.repaired_rid.or(values.rid) } else { values.rid };
    let layer = source.layer_of(rid).ok_or(Dropped::UnknownSource)?;
    if rtx {
        source.layers[layer].rtx_ssrc = Some(header.ssrc);
    } else {
        source.layers[layer].start(header.ssrc);
    }
    let stream = Stream { source: key, layer, rtx };
    for (_, known) in &mut participant.streams {
        known.take_if(|known| *known == stream);
    }
    participant.streams.push((header.ssrc, Some(stream)));
    Ok(stream)
}

#[cfg(test)]
mod tests;
