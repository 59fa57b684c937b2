//! A published source: its layers and who subscribes to it.

use std::time::Instant;

use crate::counters::Dropped;
use crate::id::{Codec, ParticipantId, SlotIndex, SourceKind};
use crate::link::SourceSpec;
use crate::sfu::layer::Layer;
use crate::sfu::participant::Participant;
use crate::sfu::slab::Key;

/// Height assumed of the largest layer until a keyframe tells it; each smaller layer is taken as half.
const ASSUMED_HEIGHT: u16 = 720;
/// Simulcast layers of one source; browsers send at most three.
const LAYERS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) owner: Key<Participant>,
    pub(crate) owner_id: ParticipantId,
    pub(crate) kind: SourceKind,
    pub(crate) spec: SourceSpec,
    /// Switched on by its owner.
    pub(crate) on: bool,
    /// By the control plane, whatever the owner says.
    pub(crate) withheld: bool,
    /// From the smallest to the largest.
    pub(crate) layers: Vec<Layer>,
    pub(crate) subscribers: Vec<(Key<Participant>, SlotIndex)>,
}

impl Source {
    pub(crate) fn new(owner: Key<Participant>, owner_id: ParticipantId, mut spec: SourceSpec) -> Source {
        spec.rids.truncate(LAYERS_MAX);
        let clock = spec.codecs.first().map_or(90_000, |c| c.codec.clock_rate_hz());
        let layers = (0..spec.rids.len().max(1)).map(|_| Layer::new(clock)).collect();
        Source {
            owner,
            owner_id,
            kind: spec.kind,
            spec,
            on: false,
            withheld: false,
            layers,
            subscribers: Vec::new(),
        }
    }

    /// Why nothing of the source is forwarded, if so.
    pub(crate) fn stopped(&self) -> Option<Dropped> {
        match (self.withheld, self.on) {
            (true, _) => Some(Dropped::SourceWithheld),
            (false, false) => Some(Dropped::SourceOff),
            (false, true) => None,
        }
    }

    pub(crate) fn flows(&self) -> bool {
        self.stopped().is_none()
    }

    /// The layer that a rid names; without simulcast the only one.
    pub(crate) fn layer_of(&self, rid: Option<&[u8]>) -> Option<usize> {
        match rid {
            Some(rid) => self.spec.rids.iter().position(|r| r.as_bytes() == rid),
            None if self.spec.rids.is_empty() => Some(0),
            None => None,
        }
    }

    /// The best live layer not larger than `height`, or the smallest live one; `None` when none is live. One that comes
    /// and goes is left alone until it stays, unless it is the `chosen` one.
    pub(crate) fn choose_layer(&self, now: Instant, height: u16, chosen: usize) -> Option<usize> {
        let live = |index: &usize| self.layers[*index].is_live(now);
        let stays = |index: &usize| live(index) && (*index == chosen || self.layers[*index].is_steady());
        self.best(height, &stays).or_else(|| self.best(height, &live))
    }

    /// The codec of a payload type and whether it is its retransmission format.
    pub(crate) fn codec_of(&self, pt: crate::id::Pt) -> Option<(Codec, bool)> {
        self.spec.codecs.iter().find_map(|c| {
            if c.pt == pt {
                return Some((c.codec, false));
            }
            (c.rtx_pt == Some(pt)).then_some((c.codec, true))
        })
    }

    pub(crate) fn unsubscribe(&mut self, participant: Key<Participant>, slot: SlotIndex) {
        self.subscribers.retain(|s| *s != (participant, slot));
    }

    fn best(&self, height: u16, eligible: &dyn Fn(&usize) -> bool) -> Option<usize> {
        let fits = |index: &usize| self.height_of(*index) <= height;
        let indices = || 0..self.layers.len();
        indices().rev().filter(eligible).find(fits).or_else(|| indices().find(eligible))
    }

    fn height_of(&self, index: usize) -> u16 {
        let below_top = self.layers.len() - 1 - index;
        self.layers[index].height.unwrap_or(ASSUMED_HEIGHT >> below_top)
    }
}
