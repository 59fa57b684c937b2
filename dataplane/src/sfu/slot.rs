//! A receive slot: one server SSRC for its lifetime, through which one source after another is shown.
//!
//! The receiver sees one continuous stream: sequence numbers, timestamps and picture ids are rewritten so that a change
//! of source or layer looks like nothing but a keyframe.

mod again;
mod mapping;
mod repeat;

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use crate::counters::Dropped;
use crate::egress::Egress;
use crate::id::{Codec, ExtSeq, MediaKind, Pt, RtpTime, SourceKind};
use crate::link::{Limit, Showing, SlotSpec, Wish};
use crate::sfu::batch::{Item, Meta};
use crate::sfu::downlink::Downlink;
use crate::sfu::layer::Urgency;
use crate::sfu::participant::{PaddingBudget, ResendBudget};
use crate::sfu::slab::Key;
use crate::sfu::source::Source;
use crate::sfu::srtp::PADDING_MAX;
use crate::sfu::tempo::{Numbers, Tempo};
use crate::sfu::transport::Transport;
use crate::wire::codec;
use crate::wire::ext::{AbsSendTime, AudioLevel, ExtensionIds};
use crate::wire::rtcp::SenderInfo;
use crate::wire::rtp::{Extensions, Outgoing, Prepared};
use again::Resent;
use mapping::{Mapping, squeeze};
use repeat::Repeat;

pub(crate) use mapping::SQUEEZE;

/// Past switches remembered, so that a packet from before a switch can still be sent again.
const MAPPINGS: usize = 4;
/// Least step of the outgoing timestamp at a switch: two frames never share one.
const SWITCH_STEP_MS: u32 = 1;
/// How long a picture may be waited for before the page hears why.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// The receiver's side of sending: the transport and the negotiated extension ids.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) transport: &'a mut Transport,
    /// Bytes that sealing adds to an RTP packet.
    pub(crate) overhead: usize,
    pub(crate) extensions: &'a ExtensionIds,
    pub(crate) downlink: &'a mut Downlink,
    /// Since the server started.
    pub(crate) clock: Duration,
    pub(crate) datagram_max: usize,
    pub(crate) resend: &'a mut ResendBudget,
    pub(crate) padding: &'a mut PaddingBudget,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) spec: SlotSpec,
    pub(crate) source: Option<Key<Source>>,
    pub(crate) wish: Option<Wish>,
    /// The layer to switch to at its next keyframe; equal to what is forwarded otherwise.
    pub(crate) target: usize,
    /// How much of the target is forwarded.
    pub(crate) tempo: Tempo,
    /// The receiver has been told what the slot shows.
    pub(crate) announced: bool,
    pub(crate) share: Share,
    /// What keeps a larger picture, or any, from the receiver, and what the page was told of that.
    pub(crate) limit: Option<Limit>,
    limit_told: Option<Limit>,
    /// When the page hears that the slot is paused, if it has not.
    tell_at: Option<Instant>,
    /// Nothing of the source has been forwarded, so that its past may be.
    begins: bool,
    /// Of a mapping that begins with the past.
    squeezed_until: Option<RtpTime>,
    /// When the last keyframe left.
    keyframe_sent: Option<Duration>,
    current: Option<Mapping>,
    past: [Option<Mapping>; MAPPINGS],
    sent: Option<Sent>,
    next_seq: ExtSeq,
    rtx_seq: ExtSeq,
    packets: u32,
    octets: u32,
    /// The codec sent last and its payload type: the list of all is elsewhere in memory.
    pt: Option<(Codec, Pt)>,
    prepared: Option<Prepared>,
    /// Made with the first retransmission: most slots of most people never need it.
    resent: Option<Box<Resent>>,
    repeat: Repeat,
}

/// Whether a slot has a part of what its receiver's line carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Share {
    /// Nothing has been decided since it shows its source.
    Open,
    Granted,
    /// There is not enough for its smallest layer.
    Paused,
}

/// The newest packet that left.
#[derive(Clone, Copy, Debug)]
struct Sent {
    seq: ExtSeq,
    timestamp: RtpTime,
    captured: Duration,
    codec: Codec,
    picture_id: u16,
    tl0: u8,
    frame_number: u16,
}

/// The header extensions of one outgoing packet.
enum Head {
    Prepared(Prepared),
    Composed(Extensions),
}

impl Slot {
    /// `seed` chooses the first sequence number and timestamps.
    pub(crate) fn new(spec: SlotSpec, seed: u64) -> Slot {
        Slot {
            spec,
            source: None,
            wish: None,
            target: 0,
            tempo: Tempo::Full,
            announced: true,
            share: Share::Open,
            limit: None,
            limit_told: None,
            tell_at: None,
            begins: false,
            squeezed_until: None,
            keyframe_sent: None,
            current: None,
            past: [None; MAPPINGS],
            sent: None,
            // The first rollover is at least 2^15 packets away (RFC 3711 §3.3.1).
            next_seq: ExtSeq(seed & 0x7fff),
            rtx_seq: ExtSeq((seed >> 16) & 0x7fff),
            packets: 0,
            octets: 0,
            pt: None,
            prepared: None,
            resent: None,
            repeat: Repeat::default(),
        }
    }

    /// The same slot after a renegotiation.
    pub(crate) fn with_spec(self, spec: SlotSpec) -> Slot {
        Slot { spec, pt: None, prepared: None, ..self }
    }

    /// Shows another source from its next keyframe on, or nothing.
    pub(crate) fn show(&mut self, source: Option<Key<Source>>) {
        self.source = source;
        self.target = 0;
        self.tempo = Tempo::Full;
        self.share = Share::Open;
        self.limit = None;
        self.begins = true;
        self.pause();
    }

    /// Something of its source has been forwarded. Returns how that is shown, if the page has not heard of it.
    pub(crate) fn on_forwarded(&mut self) -> Option<Showing> {
        let is_news = !std::mem::replace(&mut self.announced, true);
        is_news.then(|| self.showing())
    }

    /// How a picture of which the page knows is shown, if that is not what it was told last.
    pub(crate) fn next_showing(&mut self) -> Option<Showing> {
        let is_news = self.announced && self.source.is_some() && self.limit != self.limit_told;
        is_news.then(|| self.showing())
    }

    fn showing(&mut self) -> Showing {
        self.limit_told = self.limit;
        self.limit.map_or(Showing::Whole, Showing::Smaller)
    }

    /// What the receiver's line does not carry stands still from here on. Returns whether the page is to be told: of a picture
    /// that was seen at once, and of one that has still to come only when that takes long, since lines are found to be better
    /// than they seemed within a moment.
    pub(crate) fn starve(&mut self, now: Instant) -> bool {
        let was_seen = self.current.is_some();
        if self.share != Share::Paused {
            self.share = Share::Paused;
            self.begins = true;
            self.tell_at = Some(if was_seen { now } else { now + TELL_AFTER });
            self.pause();
        }
        self.tell_at.take_if(|at| now >= *at).is_some()
    }

    /// Shows nothing of its source until its next keyframe.
    pub(crate) fn pause(&mut self) {
        self.announced = false;
        self.retire();
    }

    /// Whether a packet may be for this slot: it continues what the slot forwards, unless a keyframe of what it shall forward
    /// waits, or it is that keyframe or behind it.
    pub(crate) fn may_take(&self, meta: &Meta, begins: bool, downlink: &Downlink) -> bool {
        let continues = self.current.is_some_and(|m| {
            let tempo = m.tempo.max(self.tempo_of(&m, downlink));
            m.layer == meta.layer && m.epoch == meta.epoch && meta.numbers.least <= tempo
        });
        let is_target = meta.layer == self.target;
        let may_begin = is_target && self.share != Share::Paused;
        (continues && (is_target || !begins)) || (may_begin && (begins || meta.mark.keyframe))
    }

    /// Nothing of what is under way any more: it goes on at the next keyframe.
    pub(crate) fn skip_to_keyframe(&mut self) {
        self.retire();
    }

    /// Which slots' packets leave first when not all can: those of screens, then those of the largest picture.
    pub(crate) fn rank(&self) -> u16 {
        match self.wish {
            Some(wish) if wish.source == SourceKind::Screen => 0,
            Some(wish) => u16::MAX - wish.height,
            None => u16::MAX,
        }
    }

    /// Whether the past of a layer may be sent instead of waiting for its next keyframe: the receiver has nothing to look at yet,
    /// or more than its narrow line carries.
    pub(crate) fn may_open(&self, layer: usize, is_narrow: bool) -> bool {
        let is_shown = self.spec.kind == MediaKind::Video && self.share != Share::Paused;
        is_shown
            && match &self.current {
                Some(mapping) => is_narrow && layer == self.target && layer < mapping.layer,
                None => self.begins && layer <= self.target,
            }
    }

    /// As [`Slot::forward`], of a layer up to the one that the slot shall show, with timestamps that are squeezed towards
    /// `present`, and without pictures that no other needs.
    pub(crate) fn forward_past(
        &mut self,
        packet: &mut Item<'_>,
        present: RtpTime,
        to: &mut Sender<'_>,
        egress: &mut Egress,
    ) -> Result<bool, Dropped> {
        let (target, tempo) = (self.target, self.tempo);
        (self.target, self.tempo) = (packet.meta.layer, Tempo::Base);
        self.squeezed_until = Some(present);
        let forwarded = self.forward(packet, true, to, egress);
        self.squeezed_until = None;
        (self.target, self.tempo) = (target, tempo);
        forwarded
    }

    /// How urgently the target's keyframe is needed, if it is; `opens` says whether a layer can be shown without another one.
    pub(crate) fn needs_keyframe(&self, source: &Source, opens: impl Fn(usize) -> bool) -> Option<Urgency> {
        let sees_something = match self.current {
            Some(m) if m.epoch != source.layers[m.layer].epoch => false,
            Some(m) if m.layer == self.target => return None,
            _ if opens(self.target) => return None,
            Some(m) => m.layer < self.target,
            None => (0..self.target).any(opens),
        };
        Some(if sees_something { Urgency::Soon } else { Urgency::Now })
    }

    /// Whether somebody who asks for a keyframe at `clock` cannot have seen the last one yet.
    pub(crate) fn crosses_keyframe(&self, clock: Duration, round_trip: Duration) -> bool {
        self.current.is_some() && self.keyframe_sent.is_some_and(|sent| clock < sent + round_trip)
    }

    /// The layer that is being forwarded.
    pub(crate) fn layer(&self) -> Option<usize> {
        self.current.map(|m| m.layer)
    }

    /// Sends `packet` to this slot's receiver if it belongs to what the slot shows; `more` says that something else follows
    /// to the same receiver. `Ok(false)`: not for this slot.
    pub(crate) fn forward(
        &mut self,
        packet: &mut Item<'_>,
        more: bool,
        to: &mut Sender<'_>,
        egress: &mut Egress,
    ) -> Result<bool, Dropped> {
        let meta = packet.meta;
        let continues = self.current.filter(|m| m.layer == meta.layer && m.epoch == meta.epoch);
        let mapping = match continues.filter(|m| m.follows(&meta.numbers, self.next_seq)) {
            Some(mapping) if !mapping.has(&meta.numbers) => {
                let Some(earlier) = self.earlier(mapping, &meta.numbers) else { return Ok(false) };
                earlier
            }
            Some(mapping) => {
                let tempo = self.tempo_of(&mapping, to.downlink);
                let changed =
                    if tempo == mapping.tempo { None } else { self.change_tempo(&mapping, tempo, meta) };
                changed.unwrap_or(mapping)
            }
            None => {
                if continues.is_some() {
                    self.retire();
                }
                if meta.layer != self.target || !meta.mark.keyframe || self.share == Share::Paused {
                    return Ok(false);
                }
                self.switch(packet)
            }
        };
        if meta.numbers.least > mapping.tempo {
            return Ok(false);
        }
        let seq = mapping.seq(&meta.numbers);
        let (mut codec, mut skipped) = (meta.codec, 0);
        if codec == Codec::Red {
            (codec, skipped) = self.unfold(packet.payload, seq.0 - mapping.out_start.0, to)?;
        }
        let known = self.pt.filter(|(known, _)| *known == codec).map(|(_, pt)| pt);
        let pt = known.or_else(|| self.pt_for(codec)).ok_or(Dropped::CodecNotReceivable)?;
        self.pt = Some((codec, pt));
        let timestamp = mapping.time(meta.timestamp);
        mapping.patch(packet.payload, &meta.mark, &meta.numbers);

        // What came late fills the place of something that was left out.
        let is_whole = mapping.tempo >= meta.numbers.needed;
        let mut frame_number = 0;
        let head = match self.prepare(packet, to) {
            Some(prepared) => Head::Prepared(prepared),
            None => {
                let mut extensions = Extensions::new();
                self.push_extensions(&mut extensions, to);
                if let (Some(id), Some(level)) = (to.extensions.audio_level, meta.audio_level) {
                    extensions.push(id, &level.encode());
                }
                let descriptor = packet.descriptor.filter(|_| is_whole);
                if let (Some(id), Some(descriptor)) = (to.extensions.dependency_descriptor, descriptor) {
                    let offset = mapping.frame_number;
                    frame_number = push_dependency_descriptor(&mut extensions, id, descriptor, offset);
                }
                Head::Composed(extensions)
            }
        };
        let talkspurt = self.sent.is_none();
        let mut out = Outgoing {
            marker: (is_whole && meta.marker) || (talkspurt && meta.kind == MediaKind::Audio),
            padding: is_whole && meta.padding,
            pt,
            seq: seq.seq(),
            timestamp,
            ssrc: self.spec.ssrc,
        };
        let header_len = match &head {
            Head::Prepared(prepared) => prepared.header_len(),
            Head::Composed(extensions) => out.len(extensions),
        };
        let payload = if is_whole { &packet.payload[skipped..] } else { &[] };
        let len = header_len + payload.len() + to.overhead;
        if len > to.datagram_max {
            return Err(Dropped::TooLarge);
        }
        self.repeat.send(to, egress);
        let padding = match meta.padding {
            true => 0,
            false => to.padding_for(egress, len, header_len + packet.longest - skipped + to.overhead, more),
        };
        out.padding |= padding > 0;
        let bytes = to.transport.reserve(egress, len + padding)?;
        match &head {
            Head::Prepared(prepared) => out.write_prepared(prepared, bytes),
            Head::Composed(extensions) => out.write(extensions, bytes),
        };
        to.transport.seal_rtp(seq, self.spec.ssrc, header_len, payload, bytes)?;
        if codec == Codec::Opus && to.downlink.is_lossy(to.clock) {
            self.repeat.keep(bytes);
        }
        to.transport.commit(egress);
        if meta.mark.keyframe {
            self.keyframe_sent = Some(to.clock);
        }
        to.downlink.on_sent(to.clock, len + padding);
        to.resend.on_sent(len);
        to.padding.on_sent(len, padding);

        self.packets = self.packets.wrapping_add(1);
        // Padding is no payload (RFC 3550 §6.4.1), be it ours or the publisher's.
        let padded = payload.last().filter(|_| meta.padding).map_or(0, |count| u32::from(*count));
        self.octets = self.octets.wrapping_add((payload.len() as u32).saturating_sub(padded));
        if self.sent.is_none_or(|s| seq > s.seq) {
            self.next_seq = ExtSeq(seq.0 + 1);
            self.sent = Some(Sent {
                seq,
                timestamp,
                captured: meta.captured,
                codec: meta.codec,
                picture_id: mapping.picture_id(&meta.mark, &meta.numbers).unwrap_or(0),
                tl0: meta.mark.tl0.map_or(0, |t| t.value.wrapping_add(mapping.tl0)),
                frame_number,
            });
        }
        Ok(true)
    }

    /// What a sender report about this slot says at `now` (RFC 3550 §6.4.1). `capture_now` gives, for the encoding
    /// that is forwarded, its RTP time at this moment.
    pub(crate) fn next_sender_info(
        &self,
        ntp: u64,
        clock: Duration,
        rtp_time_now: impl FnOnce(Key<Source>, usize) -> Option<RtpTime>,
    ) -> Option<SenderInfo> {
        let mapping = self.current?;
        let sent = self.sent?;
        let rtp_time = match rtp_time_now(mapping.source, mapping.layer) {
            Some(time) => time.wrapping_add(mapping.timestamp),
            None => sent.timestamp.wrapping_add(ticks(clock.saturating_sub(sent.captured), sent.codec)),
        };
        Some(SenderInfo { ssrc: self.spec.ssrc, ntp, rtp_time, packets: self.packets, octets: self.octets })
    }

    /// The extensions of a packet that has no others than every packet has.
    fn prepare(&mut self, packet: &Item<'_>, to: &Sender<'_>) -> Option<Prepared> {
        let ExtensionIds { mid, abs_send_time, transport_cc, audio_level, dependency_descriptor, .. } =
            *to.extensions;
        if dependency_descriptor.is_some() && packet.descriptor.is_some() {
            return None;
        }
        let level = packet.meta.audio_level;
        let audio_level = audio_level.filter(|_| level.is_some());
        let prepared = match &mut self.prepared {
            Some(prepared) if prepared.has_audio_level() == audio_level.is_some() => prepared,
            other => {
                let mid = mid.map(|id| (id, self.spec.mid.as_bytes()));
                other.insert(Prepared::new(mid, abs_send_time, transport_cc, audio_level)?)
            }
        };
        let transport_seq = to.downlink.next_seq();
        prepared.set(AbsSendTime::from(to.clock), transport_seq, level.map_or([0], AudioLevel::encode));
        Some(*prepared)
    }

    fn push_extensions(&self, extensions: &mut Extensions, to: &Sender<'_>) {
        if let Some(id) = to.extensions.mid {
            extensions.push(id, self.spec.mid.as_bytes());
        }
        if let Some(id) = to.extensions.abs_send_time {
            extensions.push(id, &AbsSendTime::from(to.clock));
        }
        if let Some(id) = to.extensions.transport_cc {
            extensions.push(id, &to.downlink.next_seq());
        }
    }

    /// Redundant sound goes whole to whose line loses packets. Everybody else, and who does not know RFC 2198, gets the frame
    /// itself: returns as what, and how much of the payload is left out. So does everybody in the beginning, `nth` being the
    /// packet's place: what was said before was for nobody, as while the owner had paused.
    fn unfold(&self, payload: &mut [u8], nth: u64, to: &Sender<'_>) -> Result<(Codec, usize), Dropped> {
        let primary = codec::red::primary(payload).ok_or(Dropped::MalformedRtp)?;
        let is_own = nth >= codec::red::BLOCKS_MAX as u64;
        let is_wanted = is_own && to.downlink.is_lossy(to.clock) && self.pt_for(Codec::Red).is_some();
        match self.pt_for(Codec::Opus).filter(|_| is_wanted) {
            Some(opus) => {
                codec::red::patch_pt(payload, opus.0);
                Ok((Codec::Red, 0))
            }
            None => Ok((Codec::Opus, primary)),
        }
    }

    fn pt_for(&self, codec: Codec) -> Option<Pt> {
        self.spec.codecs.iter().find(|c| c.codec == codec).map(|c| c.pt)
    }

    /// Begins a mapping at `packet` that continues what the receiver has seen.
    fn switch(&mut self, packet: &Item<'_>) -> Mapping {
        let meta = packet.meta;
        self.retire();
        self.begins = false;
        let squeezed = self.squeezed_until.map_or(0, |until| squeeze(until, meta.timestamp));
        let (timestamp, picture_id, tl0, frame_number) = match self.sent {
            Some(sent) => {
                let passed = ticks(meta.captured.saturating_sub(sent.captured), meta.codec);
                let step = passed.max(meta.codec.clock_rate_hz() / 1000 * SWITCH_STEP_MS);
                (sent.timestamp.0.wrapping_add(step), sent.picture_id, sent.tl0, sent.frame_number)
            }
            None => ((self.next_seq.0 as u32).wrapping_mul(2_654_435_761), 0, 0, 0),
        };
        let frame_in = packet.descriptor.and_then(frame_number_of).unwrap_or(0);
        let left_out = meta.numbers.left_out(self.tempo);
        let mapping = Mapping {
            source: packet.source,
            layer: meta.layer,
            epoch: meta.epoch,
            tempo: self.tempo,
            in_start: meta.numbers.seq(self.tempo),
            out_start: self.next_seq,
            keyframe: self.next_seq,
            timestamp: timestamp.wrapping_sub(meta.timestamp.0).wrapping_sub(squeezed),
            squeezed_until: self.squeezed_until,
            picture_id: picture_id
                .wrapping_add(1)
                .wrapping_sub(meta.mark.picture_id.map_or(0, |p| p.value.wrapping_sub(left_out))),
            tl0: tl0.wrapping_add(1).wrapping_sub(meta.mark.tl0.map_or(0, |t| t.value)),
            frame_number: frame_number.wrapping_add(1).wrapping_sub(frame_in),
        };
        self.current = Some(mapping);
        mapping
    }

    /// How much of what a mapping forwards shall be forwarded: on a line where packets wait for long, what has to be, and the
    /// same of what is only waiting for the keyframe of a smaller layer, since it is more than a narrow line carries.
    fn tempo_of(&self, mapping: &Mapping, downlink: &Downlink) -> Tempo {
        let is_late = downlink.pacer.is_late(self.rank());
        match mapping.layer.cmp(&self.target) {
            Ordering::Equal | Ordering::Less if is_late => Tempo::Base,
            Ordering::Greater if !downlink.pacer.is_free() => Tempo::Base,
            Ordering::Equal => self.tempo,
            Ordering::Greater | Ordering::Less => Tempo::Full,
        }
    }

    /// Forwards more or fewer pictures from this packet on, if that can begin there.
    fn change_tempo(&mut self, mapping: &Mapping, tempo: Tempo, meta: &Meta) -> Option<Mapping> {
        let changed = mapping.at_tempo(tempo, meta, self.next_seq)?;
        self.retire();
        self.current = Some(changed);
        Some(changed)
    }

    /// The mapping for a packet that comes late, from before the tempo was changed to that of `mapping`.
    fn earlier(&self, mapping: Mapping, numbers: &Numbers) -> Option<Mapping> {
        let mut end = mapping.out_start;
        for past in self.past.iter().flatten().take_while(|m| m.keyframe == mapping.keyframe) {
            if past.has(numbers) {
                return Some(*past).filter(|m| m.seq(numbers) < end);
            }
            end = past.out_start;
        }
        None
    }

    fn retire(&mut self) {
        self.repeat.forget();
        if let Some(mapping) = self.current.take() {
            self.past.rotate_right(1);
            self.past[0] = Some(mapping);
        }
    }
}

impl Sender<'_> {
    /// Bytes of padding that let a packet of `len` bytes share a train with what follows, of which the longest has
    /// `longest`; 0 where that gains nothing or costs too much.
    fn padding_for(&self, egress: &Egress, len: usize, longest: usize, more: bool) -> usize {
        let segment = match self.transport.open_segment(egress) {
            // A shorter packet may end the train; only with something behind it is there a train to go on with.
            Some(segment) if len <= segment => {
                if more {
                    segment
                } else {
                    len
                }
            }
            Some(_) | None => longest.min(self.datagram_max),
        };
        let padding = segment.saturating_sub(len);
        if padding <= PADDING_MAX && self.padding.allows(padding) { padding } else { 0 }
    }
}

/// RTP ticks of a duration.
fn ticks(duration: Duration, codec: Codec) -> u32 {
    (duration.as_micros() as u64 * u64::from(codec.clock_rate_hz()) / 1_000_000) as u32
}

fn frame_number_of(descriptor: &[u8]) -> Option<u16> {
    Some(codec::dependency::Descriptor::parse(descriptor).ok()?.frame_number)
}

/// Writes the descriptor with its frame number moved by `offset`; returns the number written.
fn push_dependency_descriptor(extensions: &mut Extensions, id: u8, descriptor: &[u8], offset: u16) -> u16 {
    /// Longest descriptor forwarded; a template structure of 9 decode targets fits.
    const DESCRIPTOR_MAX: usize = 128;
    let mut copy = [0; DESCRIPTOR_MAX];
    let Some(copy) = copy.get_mut(..descriptor.len()) else { return 0 };
    copy.copy_from_slice(descriptor);
    let Some(number) = frame_number_of(copy) else { return 0 };
    let number = number.wrapping_add(offset);
    codec::dependency::patch_frame_number(copy, number);
    extensions.push(id, copy);
    number
}

#[cfg(test)]
mod tests;
