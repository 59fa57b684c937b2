//! What does not leave with its batch: video that a narrow line must wait for, and probes of what a line carries.

use std::time::Duration;

use crate::counters::{Counters, Dropped};
use crate::id::{ExtSeq, MediaKind, SlotIndex};
use crate::link::Event;
use crate::sfu::batch::{Item, Meta};
use crate::sfu::history::PAYLOAD_MAX;
use crate::sfu::layer::Layer;
use crate::sfu::pacer::{self, Held};
use crate::sfu::participant::Participant;
use crate::sfu::room::{Room, Turn};
use crate::sfu::slab::{Key, Slab};
use crate::sfu::slot::{Sender, Slot};
use crate::sfu::source::Source;

/// Packets that one probe sends again before it begins anew with the last: those that a receiver most likely still wants.
const PROBE_PACKETS: u64 = 32;
/// Packets of one look at a probe: 5 ms at its highest rate are 12 kB.
const PROBE_PACKETS_PER_STEP_MAX: usize = 64;

/// Decides whether a packet leaves with its batch. `None`: it does. `Some(true)`: it is held and will be sent by
/// [`Room::send_paced`]; `Some(false)`: it will not be sent at all.
pub(super) fn hold(
    slot: &mut Slot,
    index: SlotIndex,
    packet: &Item<'_>,
    to: &mut Sender<'_>,
    counters: &mut Counters,
) -> Option<bool> {
    if to.downlink.pacer.is_free() {
        return None;
    }
    let meta = packet.meta;
    if meta.kind == MediaKind::Audio {
        return None;
    }
    let waits = to.downlink.pacer.holds(index);
    if !waits && to.downlink.is_open(to.clock) {
        return None;
    }
    let begins = waits && to.downlink.pacer.begins(index, packet.source, slot.target);
    if !slot.may_take(meta, begins, to.downlink) {
        return Some(false);
    }
    let held = Held {
        slot: index,
        rank: slot.rank(),
        source: packet.source,
        layer: meta.layer,
        epoch: meta.epoch,
        seq: meta.seq,
        keyframe: meta.mark.keyframe,
        captured: meta.captured,
        present: None,
        since: to.clock,
    };
    let pacer = &mut to.downlink.pacer;
    // The past of its layer may have been held since it came.
    if waits && pacer.has(&held) {
        return Some(false);
    }
    if meta.mark.keyframe && meta.layer == slot.target {
        pacer.supersede(index, meta.layer, meta.epoch);
    }
    if !pacer.hold(held) {
        counters.drop_many(Dropped::Overdue, 1 + pacer.give_up(index));
        slot.skip_to_keyframe();
        return Some(false);
    }
    Some(true)
}

/// Packets of this participant are held, or its line is being probed.
pub(super) fn pace(paced: &mut Vec<Key<Participant>>, key: Key<Participant>) {
    if !paced.contains(&key) {
        paced.push(key);
    }
}

impl Room {
    /// Sends of what is held and what probes need as much as is due.
    pub(super) fn send_paced(&mut self, turn: &mut Turn<'_>) {
        if self.paced.is_empty() || turn.now < self.paced_at + pacer::INTERVAL {
            return;
        }
        self.paced_at = turn.now;
        let mut paced = std::mem::take(&mut self.paced);
        paced.retain(|key| self.send_paced_to(*key, turn));
        self.paced = paced;
    }

    /// At every walk: lines of which nothing is heard, and lines to be probed.
    pub(super) fn look_at_lines(&mut self, turn: &Turn<'_>) {
        let clock = turn.clock();
        let Room { participants, paced, .. } = self;
        for (key, participant) in participants.iter_mut() {
            let slots = &participant.slots;
            participant.downlink.on_moves(participant.transport.moves());
            let connected = participant.connected;
            participant.downlink.on_tick(clock, || connected && slots.iter().any(Slot::can_probe));
            if participant.downlink.is_probing() {
                pace(paced, key);
            }
        }
    }

    /// False when nothing is held for this participant any more, and no probe is leaving.
    fn send_paced_to(&mut self, key: Key<Participant>, turn: &mut Turn<'_>) -> bool {
        let clock = turn.clock();
        let Room { id, participants, sources, .. } = self;
        let Some(participant) = participants.find_mut(key) else { return false };
        participant.downlink.refill(clock);
        let receiver = participant.id;
        let Some((slots, mut sender)) = participant.receiving(clock, turn.limits.datagram_max) else {
            return false;
        };
        while let Some(index) = sender.downlink.pacer.overdue(clock) {
            let dropped = sender.downlink.pacer.give_up(index);
            turn.counters.drop_many(Dropped::Overdue, dropped);
            if let Some(slot) = slots.get_mut(usize::from(index.0)) {
                slot.skip_to_keyframe();
            }
        }
        while sender.downlink.is_open(clock) {
            let Some(held) = sender.downlink.pacer.release() else { break };
            let Some(slot) = slots.get_mut(usize::from(held.slot.0)) else { continue };
            let source = sources.find(held.source).filter(|source| source.flows());
            let Some(source) = source.filter(|_| slot.source == Some(held.source)) else { continue };
            match send_held(slot, &held, source, &mut sender, turn) {
                Ok(false) => {}
                Ok(true) => {
                    turn.counters.rtp_forwarded += 1;
                    if let Some(how) = slot.on_forwarded() {
                        let source = Some((source.owner_id, source.kind));
                        let (room, participant, slot) = (*id, receiver, held.slot);
                        turn.events.push_back(Event::SlotShows { room, participant, slot, source, how });
                    }
                }
                Err(reason) => turn.counters.drop(reason),
            }
        }
        send_probe(slots, sources, &mut sender, turn);
        turn.counters.padding_bytes += sender.padding.take_spent();
        !participant.downlink.pacer.is_empty() || participant.downlink.is_probing()
    }
}

/// Forwards a held packet out of its layer's history.
fn send_held(
    slot: &mut Slot,
    held: &Held,
    source: &Source,
    to: &mut Sender<'_>,
    turn: &mut Turn<'_>,
) -> Result<bool, Dropped> {
    let layer = source.layers.get(held.layer).filter(|layer| layer.epoch == held.epoch);
    let layer = layer.ok_or(Dropped::NotInHistory)?;
    if held.present.is_some() && slot.layer() != Some(held.layer) && !slot.may_open(held.layer, true) {
        // Something else has been chosen since.
        return Ok(false);
    }
    let forward = |packet: &mut Item<'_>| match held.present {
        Some(present) => slot.forward_past(packet, present, to, turn.egress),
        None => slot.forward(packet, false, to, turn.egress),
    };
    with_kept(held.source, layer, held.layer, held.seq, held.captured, forward)
}

/// Lends a packet out of a layer's history as if it had just come.
pub(super) fn with_kept<T>(
    source: Key<Source>,
    layer: &Layer,
    index: usize,
    seq: ExtSeq,
    captured: Duration,
    work: impl FnOnce(&mut Item<'_>) -> Result<T, Dropped>,
) -> Result<T, Dropped> {
    let (entry, kept) = layer.history.find(seq).ok_or(Dropped::NotInHistory)?;
    let mut place = [0; PAYLOAD_MAX];
    let Some(payload) = place.get_mut(..kept.len()) else { return Err(Dropped::TooLarge) };
    // The numbers in it become this receiver's.
    payload.copy_from_slice(kept);
    let meta = Meta {
        kind: MediaKind::Video,
        layer: index,
        epoch: layer.epoch,
        seq,
        numbers: entry.numbers,
        timestamp: entry.timestamp,
        marker: entry.marker,
        padding: entry.padding,
        codec: entry.codec,
        mark: entry.mark,
        audio_level: None,
        captured,
    };
    let longest = payload.len();
    let descriptor = layer.history.descriptor(seq);
    work(&mut Item { source, meta: &meta, payload, descriptor, longest })
}

/// Sends what is due of a probe into a slot that shows something.
fn send_probe(slots: &mut [Slot], sources: &Slab<Source>, to: &mut Sender<'_>, turn: &mut Turn<'_>) {
    let Some(mut due) = to.downlink.due_probe_bytes(to.clock) else { return };
    let Some(slot) = slots.iter_mut().filter(|slot| slot.can_probe()).min_by_key(|slot| slot.rank()) else {
        return;
    };
    for nth in 0..PROBE_PACKETS_PER_STEP_MAX as u64 {
        if due == 0 {
            return;
        }
        let history_of = |source, layer: usize, epoch| {
            let layer = sources.find(source).filter(|source| source.flows())?.layers.get(layer)?;
            (layer.epoch == epoch).then_some(&layer.history)
        };
        match slot.probe(nth % PROBE_PACKETS, history_of, to, turn.egress) {
            Ok(len) => {
                turn.counters.probes_sent += 1;
                due = due.saturating_sub(len as u64);
            }
            Err(reason) => return turn.counters.drop(reason),
        }
    }
}
