//! A published source: its layers and who subscribes to it.

use std::time::{Duration, Instant};

use crate::counters::Dropped;
use crate::id::{Codec, ExtSeq, ParticipantId, RtpTime, SlotIndex, SourceKind, Ssrc};
use crate::link::SourceSpec;
use crate::sfu::allocation::{LAYERS_MAX, Ladder, Rung};
use crate::sfu::layer::{Layer, Urgency};
use crate::sfu::participant::Participant;
use crate::sfu::slab::Key;
use crate::sfu::svc::{Part, Parts, Split};
use crate::sfu::tempo::Tempo;
use crate::wire::codec::FrameMark;
use crate::wire::rtp::Header;

/// Height assumed of the largest layer until a keyframe tells it; each smaller layer is taken as half.
const ASSUMED_HEIGHT: u16 = 720;
/// Bits a second assumed of a layer for each of its lines squared until it is measured: 720 lines are 1.7 Mbit/s.
const ASSUMED_BPS_PER_LINE: f64 = 3.3;
/// Of what a source sends.
const KEYFRAMES_SHARE: f64 = 0.1;
/// Whoever waits for a keyframe does not wait longer, whatever it costs.
const KEYFRAME_INTERVAL_MAX_S: f64 = 10.0;
/// A request takes a round trip to be answered.
const REQUEST_SPACING: Duration = Duration::from_millis(500);
/// A layer that nobody wants is sent for this long before its owner hears of it: people go back and forth between views.
const UNWANTED: Duration = Duration::from_secs(5);
/// How long what its owner was asked for may take to come: an encoder begins, and finds its line to carry more.
const COMING: Duration = Duration::from_secs(5);

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
    /// From the smallest to the largest: encodings of their own, or spatial layers of one.
    pub(crate) layers: Vec<Layer>,
    /// Of one encoding with several spatial layers.
    split: Option<Box<Split>>,
    pub(crate) subscribers: Vec<(Key<Participant>, SlotIndex)>,
    wanted: Wanted,
    pub(crate) requests: Requests,
}

/// How often a source may be asked for keyframes: once in each interval, and in the long run not more often (GCRA, as of ITU-T
/// I.371) for those who cannot wait, two of whose requests may come close together.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    sent: Option<Instant>,
    /// When all that was asked for has been earned.
    earned: Option<Instant>,
}

/// How many of the layers somebody wants, from the smallest on.
#[derive(Debug)]
struct Wanted {
    /// Counted in the present round.
    count: usize,
    /// What the owner knows.
    told: usize,
    /// Since when fewer are wanted than the owner knows of.
    fewer: Option<Instant>,
    /// When the owner was asked for more.
    more: Option<Instant>,
}

/// Where a picture larger than what somebody is shown is, if it would fit what they draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Larger {
    /// They asked for no larger one, or the owner sends none.
    Nothing,
    /// Nobody's line carries it, so that its owner shall not send it.
    Unasked,
    /// Its owner was asked a moment ago.
    Coming,
}

impl Source {
    pub(crate) fn new(owner: Key<Participant>, owner_id: ParticipantId, mut spec: SourceSpec) -> Source {
        spec.rids.truncate(LAYERS_MAX);
        let clock = spec.codecs.first().map_or(90_000, |c| c.codec.clock_rate_hz());
        let layers: Vec<_> = (0..spec.rids.len().max(1)).map(|_| Layer::new(clock)).collect();
        let wanted = Wanted { count: 0, told: layers.len(), fewer: None, more: None };
        Source {
            owner,
            owner_id,
            kind: spec.kind,
            spec,
            on: false,
            withheld: false,
            layers,
            split: None,
            subscribers: Vec::new(),
            wanted,
            requests: Requests::default(),
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

    /// The sender began a new encoding of a layer under `ssrc`.
    pub(crate) fn start(&mut self, layer: usize, ssrc: Ssrc) {
        match self.split.take() {
            Some(_) => self.layers.iter_mut().for_each(|layer| layer.start(ssrc)),
            None => self.layers[layer].start(ssrc),
        }
    }

    /// A packet of an encoding has come before.
    pub(crate) fn has(&self, layer: usize, seq: ExtSeq) -> bool {
        match &self.split {
            Some(split) => split.has(seq),
            None => self.layers[layer].history.contains(seq),
        }
    }

    /// Whether its layers are spatial ones of one encoding.
    pub(crate) fn is_split(&self) -> bool {
        self.split.is_some()
    }

    /// Whether its owner can leave some of its layers out.
    pub(crate) fn is_simulcast(&self) -> bool {
        self.spec.rids.len() > 1
    }

    /// What a packet of video that came for `layer` is in each of the layers. `None`: it is too old for that.
    pub(crate) fn parts(
        &mut self,
        now: Instant,
        layer: usize,
        seq: ExtSeq,
        header: &Header,
        mark: FrameMark,
        descriptor: Option<&[u8]>,
    ) -> Option<Parts> {
        let (timestamp, marker) = (header.timestamp, header.marker);
        let mut structure = self.layers[layer].structure.take();
        // What cannot be read tells nothing.
        let frame = descriptor.and_then(|value| {
            let structure = structure.get_or_insert_with(Box::default);
            structure.read(seq, value).unwrap_or(None)
        });
        let spatial = structure.as_ref().map_or(0, |structure| structure.spatial_layers());
        let is_new = self.split.is_none() || spatial > self.layers.len();
        if spatial > 1 && is_new && self.spec.rids.is_empty() {
            self.grow(spatial.min(LAYERS_MAX));
        }
        let described = frame.as_ref().zip(structure.as_deref());
        let parts = match &mut self.split {
            Some(split) => {
                if let Some(frame) = &frame {
                    let silent =
                        self.layers.iter_mut().enumerate().filter(|(at, _)| frame.active & 1 << at == 0);
                    silent.for_each(|(_, layer)| layer.on_silence(now));
                }
                split.parts(seq, timestamp, marker, mark, described, self.layers.len())
            }
            None => {
                let mark = described.map_or(mark, |(frame, structure)| {
                    let top = structure.spatial_layers() - 1;
                    mark.described(frame, top, structure.height(top))
                });
                Some(Parts::one(Part { layer, seq, marker, mark, is_empty: false, is_own: true }))
            }
        };
        self.layers[layer].structure = structure;
        parts
    }

    /// Its one encoding has so many spatial layers.
    fn grow(&mut self, count: usize) {
        let codecs = &self.spec.codecs;
        let clock = codecs.first().map_or(90_000, |c| c.codec.clock_rate_hz());
        self.split.get_or_insert_with(|| Box::new(Split::new()));
        while self.layers.len() < count {
            let mut layer = Layer::new(clock);
            if let Some(ssrc) = self.layers[0].ssrc {
                layer.start(ssrc);
            }
            self.layers.push(layer);
        }
        self.wanted.told = count;
    }

    /// Of all the layers that are one encoding.
    pub(crate) fn on_sender_report(&mut self, layer: usize, now: Instant, ntp: u64, rtp_time: RtpTime) {
        let count = if self.is_split() { self.layers.len() } else { 1 };
        self.layers
            .iter_mut()
            .skip(layer)
            .take(count)
            .for_each(|layer| layer.on_sender_report(now, ntp, rtp_time));
    }

    /// The live layers not larger than `height`, or the smallest live one; empty when none is live. One that comes and goes
    /// is left alone until it stays, unless it is the `chosen` one. Before each of them comes what it is with half of its
    /// pictures, and before the smallest, rather than nothing, what it is with a quarter.
    pub(crate) fn ladder(&self, now: Instant, height: u16, chosen: usize) -> Ladder {
        let live = |index: &usize| self.layers[*index].is_live(now);
        let stays = |index: &usize| live(index) && (*index == chosen || self.layers[*index].is_steady());
        let all = || 0..self.layers.len();
        let mut ladder = Ladder::default();
        let eligible: &dyn Fn(&usize) -> bool = if all().any(|index| stays(&index)) { &stays } else { &live };
        for layer in all().filter(eligible) {
            let is_smallest = ladder.is_empty();
            if !is_smallest && self.height_of(layer) > height {
                continue;
            }
            if is_smallest && let Some(bps) = self.layers[layer].thinned_bps(Tempo::Base) {
                ladder.push(Rung { layer, tempo: Tempo::Base, bps });
            }
            if let Some(half) = self.half(layer)
                && ladder.rungs().last() != Some(&half)
            {
                ladder.push(half);
            }
            ladder.push(Rung { layer, tempo: Tempo::Full, bps: self.bps(layer) });
        }
        ladder
    }

    /// Somebody whose line carries `estimate_bps` draws it so high, and shall get the layer `chosen`. Returns the bits a
    /// second of the layer that they would see if all were sent.
    pub(crate) fn on_wish(&mut self, height: u16, estimate_bps: Option<u64>, chosen: usize) -> u64 {
        let fits = |layer: usize| self.height_of(layer) <= height;
        let wished = (0..self.layers.len()).rfind(|layer| fits(*layer)).unwrap_or(0);
        let half = |layer: usize| self.half(layer).filter(|_| layer <= chosen);
        let least_bps = |layer: usize| half(layer).map_or(self.bps(layer), |half| half.bps);
        let carried = |layer: &usize| estimate_bps.is_none_or(|estimate| least_bps(*layer) <= estimate);
        let wanted = (0..=wished).rfind(carried).unwrap_or(0) + 1;
        let wished_bps = self.bps(wished);
        self.wanted.count = self.wanted.count.max(wanted);
        wished_bps
    }

    /// Ends a round of [`Source::on_wish`]: how many layers the owner shall send, if that is something else than before. The
    /// smallest is always wanted, so that whoever comes sees something at once.
    pub(crate) fn next_wanted(&mut self, now: Instant) -> Option<u8> {
        let count = std::mem::take(&mut self.wanted.count).max(1);
        if count >= self.wanted.told {
            self.wanted.fewer = None;
        } else if now < *self.wanted.fewer.get_or_insert(now) + UNWANTED {
            return None;
        }
        if count == self.wanted.told {
            return None;
        }
        if count > self.wanted.told {
            self.wanted.more = Some(now);
        }
        for layer in self.layers.iter_mut().take(count).skip(self.wanted.told) {
            layer.on_asked();
        }
        self.wanted.told = count;
        self.wanted.fewer = None;
        Some(count as u8)
    }

    /// What there is above the largest layer that is live and fits, for somebody who draws it so high. After [`Source::on_wish`].
    pub(crate) fn larger_than(&self, now: Instant, layer: usize, height: u16) -> Larger {
        let above = layer + 1;
        if above >= self.layers.len() || self.height_of(above) > height {
            return Larger::Nothing;
        }
        let Wanted { count, told, more, .. } = self.wanted;
        match more {
            _ if above >= told.max(count) => Larger::Unasked,
            _ if above >= told => Larger::Coming,
            Some(at) if now < at + COMING => Larger::Coming,
            Some(_) | None => Larger::Nothing,
        }
    }

    /// Least time between two keyframe requests in the long run: at least `least`, and longer while keyframes would be more
    /// than their share of what the source sends. A browser that is asked for one layer makes keyframes of all.
    pub(crate) fn keyframe_interval(&self, least: Duration) -> Duration {
        let bits = self.layers.iter().map(|layer| layer.keyframe_bytes() as f64 * 8.0);
        // Of spatial layers the largest holds the others' keyframes.
        let bits: f64 = if self.is_split() { bits.fold(0.0, f64::max) } else { bits.sum() };
        let bps: f64 = self.layers.iter().filter_map(|layer| layer.rate.bps()).map(|bps| bps as f64).sum();
        let seconds = if bps > 0.0 { bits / (bps * KEYFRAMES_SHARE) } else { 0.0 };
        Duration::from_secs_f64(seconds.min(KEYFRAME_INTERVAL_MAX_S)).max(least)
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

    fn height_of(&self, index: usize) -> u16 {
        let below_top = self.layers.len() - 1 - index;
        self.layers[index].height.unwrap_or(ASSUMED_HEIGHT >> below_top)
    }

    fn bps(&self, layer: usize) -> u64 {
        self.layers[layer].rate.bps().unwrap_or(self.assumed_bps(layer))
    }

    /// A layer with half of its pictures, if it has temporal layers: without the highest of them.
    fn half(&self, layer: usize) -> Option<Rung> {
        let half = |tempo| Some(Rung { layer, tempo, bps: self.layers[layer].thinned_bps(tempo)? });
        Tempo::THINNED.into_iter().rev().find_map(half)
    }

    fn assumed_bps(&self, layer: usize) -> u64 {
        (f64::from(self.height_of(layer)).powi(2) * ASSUMED_BPS_PER_LINE) as u64
    }
}

impl Requests {
    /// Whether a request goes out at `now`.
    pub(crate) fn due(&mut self, now: Instant, interval: Duration, urgency: Urgency) -> bool {
        let spacing = match urgency {
            Urgency::Soon => interval,
            Urgency::Now => REQUEST_SPACING,
        };
        if self.sent.is_some_and(|sent| now < sent + spacing)
            || self.earned.is_some_and(|earned| earned > now + interval)
        {
            return false;
        }
        self.sent = Some(now);
        self.earned = Some(self.earned.map_or(now, |earned| earned.max(now)) + interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Mid, Pt, Rid};
    use crate::link::CodecPt;
    use crate::sfu::slab::Slab;

    const MS: Duration = Duration::from_millis(1);

    fn camera() -> (Source, Instant) {
        let spec = SourceSpec {
            mid: Mid::new(b"c").unwrap(),
            kind: SourceKind::Camera,
            codecs: vec![CodecPt { codec: Codec::Vp8, pt: Pt(96), rtx_pt: None }],
            rids: [b"q", b"h", b"f"].map(|rid| Rid::new(rid).unwrap()).to_vec(),
            ssrcs: Vec::new(),
        };
        let owner = Slab::<Participant>::new().reserve_key();
        (Source::new(owner, ParticipantId(1), spec), Instant::now())
    }

    #[test]
    fn who_can_wait_is_asked_for_once_in_each_interval_and_who_cannot_may_be_once_more() {
        let asked = |urgency| {
            let (mut requests, t0) = (Requests::default(), Instant::now());
            let due = |n: &u32| requests.due(t0 + 10 * MS * *n, 2000 * MS, urgency);
            (0..1000).filter(due).map(|n| n * 10).collect::<Vec<_>>()
        };
        assert_eq!(asked(Urgency::Soon), [0, 2000, 4000, 6000, 8000]);
        assert_eq!(asked(Urgency::Now), [0, 500, 2000, 4000, 6000, 8000]);
    }

    #[test]
    fn the_owner_hears_at_once_that_more_is_wanted_and_late_that_less_is() {
        let (mut source, t0) = camera();
        let mut round = |at: Duration, height: u16, estimate_bps| {
            source.on_wish(height, estimate_bps, 0);
            source.next_wanted(t0 + at)
        };
        assert_eq!(round(Duration::ZERO, 360, None), None, "all are sent, and somebody may want them soon");
        assert_eq!(round(UNWANTED, 360, None), Some(2));
        assert_eq!(round(UNWANTED, 360, None), None);
        assert_eq!(round(UNWANTED, 2000, None), Some(3));
        assert_eq!(round(2 * UNWANTED, 180, None), None);
        assert_eq!(round(3 * UNWANTED - MS, 720, None), None, "wanted again in time");
        assert_eq!(round(3 * UNWANTED, 180, None), None);
        assert_eq!(round(4 * UNWANTED, 180, None), Some(1));
        // What no line carries is wanted by nobody.
        assert_eq!(round(4 * UNWANTED, 720, Some(500_000)), Some(2));
        assert_eq!(round(4 * UNWANTED, 720, Some(10_000)), None);
    }

    #[test]
    fn where_a_larger_picture_is() {
        let (mut source, t0) = camera();
        let mut round = |at: Duration, estimate_bps| {
            source.on_wish(720, estimate_bps, 0);
            let larger = source.larger_than(t0 + at, 0, 720);
            source.next_wanted(t0 + at);
            larger
        };
        assert_eq!(round(Duration::ZERO, Some(200_000)), Larger::Nothing, "asked for from the beginning");
        assert_eq!(round(UNWANTED, Some(200_000)), Larger::Nothing);
        assert_eq!(round(UNWANTED, Some(200_000)), Larger::Unasked, "by the only one who looks");
        assert_eq!(round(2 * UNWANTED, None), Larger::Coming);
        assert_eq!(round(2 * UNWANTED + COMING - MS, None), Larger::Coming);
        assert_eq!(round(2 * UNWANTED + COMING, None), Larger::Nothing, "the owner sends none");
        assert_eq!(round(2 * UNWANTED + COMING, Some(200_000)), Larger::Nothing);
        assert_eq!(source.larger_than(t0, 0, 359), Larger::Nothing, "drawn small");
        assert_eq!(source.larger_than(t0, 2, 2000), Larger::Nothing);
    }

    #[test]
    fn the_smallest_layer_is_wanted_by_whoever_may_come() {
        let (mut source, t0) = camera();
        assert_eq!(source.next_wanted(t0), None);
        assert_eq!(source.next_wanted(t0 + UNWANTED), Some(1));
    }

    #[test]
    fn what_a_source_would_send_if_all_were_wanted_is_known_before_it_does() {
        let (mut source, _) = camera();
        let bps = [180, 360, 720].map(|height| source.on_wish(height, None, 0));
        assert!(bps.is_sorted() && (1_500_000..2_000_000).contains(&bps[2]), "{bps:?}");
    }
}
