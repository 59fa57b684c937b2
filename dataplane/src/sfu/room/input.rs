//! What arrives from a participant: opened once, accounted for, and at the end of the tick sent into every slot that
//! shows it.

use std::ops::Range;
use std::time::Duration;

use crate::config::Limits;
use crate::counters::Dropped;
use crate::egress::Egress;
use crate::id::{Codec, ExtSeq, MediaKind, Path, RtpTime, SeqNo, Ssrc};
use crate::link::Event;
use crate::sfu::batch::{Leg, Meta, PACKETS_MAX};
use crate::sfu::bwe::ROUND_TRIP_UNKNOWN;
use crate::sfu::history::Entry;
use crate::sfu::layer::{Layer, Urgency};
use crate::sfu::participant::{Participant, Stream};
use crate::sfu::room::{GOLDEN, Room, Turn, opening, pacing};
use crate::sfu::slab::{Key, Slab};
use crate::sfu::source::Source;
use crate::sfu::svc::{Part, Parts};
use crate::sfu::tempo::Numbers;
use crate::wire::codec;
use crate::wire::ext::ExtensionValues;
use crate::wire::rtcp::{self, Packet, ReportBlocks};
use crate::wire::rtp::Header;

/// Trains sealed before they are handed to the kernel: so many of ten packets stay in a core's own cache until it reads them.
const TRAINS_WAITING_MAX: usize = 16;
/// A longer round trip is that of a queue, or of a device that slept.
const CROSSING_MAX: Duration = Duration::from_millis(500);
/// Retransmissions and keyframes that one datagram may ask for.
const REQUESTS_PER_DATAGRAM_MAX: usize = 256;

impl Room {
    /// An RTP packet of this participant: opened once in place, and put into the batch.
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
        participant.intake.admit(turn.now, 1, turn.limits.packets_per_second_max)?;
        self.busy = true;
        let packet = &mut packet[..len];
        let padding = header.padding_len(packet).ok_or(Dropped::MalformedRtp)?;
        let (head, payload) = packet.split_at_mut(header.len);
        let values = ExtensionValues::read(head, &header, &participant.extensions);
        let audio_level = values.audio_level.filter(|_| !participant.objects);
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
        let kind = source.kind.media();
        let is_video = kind == MediaKind::Video;
        if !is_video {
            let listeners = source.subscribers.len() as u64;
            let most = turn.limits.sound_forwards_per_second_max;
            participant.sound_intake.admit(turn.now, listeners, most)?;
        }
        let stopped = source.stopped();
        let layer = source.layers.get(stream.layer).ok_or(Dropped::UnknownSource)?;
        let (seq, payload) = match is_rtx {
            true => match original(layer, payload, padding)? {
                Some((seq, payload)) if !source.has(stream.layer, seq) => (seq, payload),
                // Nothing new is in it.
                Some(_) | None => return Ok(()),
            },
            false => (seq, payload),
        };
        let layer = &mut source.layers[stream.layer];
        layer.on_packet(turn.now, turn.epoch, seq, header.timestamp, is_rtx, is_video && stopped.is_none());
        if let Some(reason) = stopped {
            return Err(reason);
        }
        let mut earlier = 0;
        if codec == Codec::Red {
            earlier = codec::red::primary(payload).ok_or(Dropped::MalformedRtp)?;
        }
        let captured =
            participant.clock.captured(layer.sender_report(), header.timestamp, codec.clock_rate_hz(), clock);
        let descriptor = values.dependency_descriptor;
        let parts = match is_video {
            true => {
                let mark = codec::inspect(codec, payload);
                let parts = source.parts(turn.now, stream.layer, seq, &header, mark, descriptor);
                parts.ok_or(Dropped::NotInHistory)?
            }
            false => Parts::one(Part::of_sound(seq, header.marker)),
        };
        let holders_change = !is_video && self.speakers.on_level(turn.now, stream.source, audio_level);
        let mut result = Ok(());
        for part in parts.iter() {
            let Part { layer: at, seq, marker, mark, is_empty, is_own } = *part;
            let layer = &mut source.layers[at];
            let payload: &[u8] = if is_empty { &[] } else { payload };
            let padding = header.padding && !is_empty;
            let descriptor = descriptor.filter(|_| !is_empty);
            layer.rate.on_packet(turn.now, payload.len() - earlier);
            let mut numbers = Numbers::whole(seq);
            if is_video {
                if is_own {
                    layer.on_sign(turn.now);
                }
                let entry = Entry::new(seq, header.timestamp, marker, padding, codec, mark);
                let kept = layer.keep(turn.now, entry, payload, descriptor, turn.limits.history_packets);
                numbers = kept.ok_or(Dropped::NotInHistory)?;
                layer.on_captured(seq, captured);
            }
            let meta = Meta {
                kind,
                layer: at,
                epoch: layer.epoch,
                seq,
                numbers,
                timestamp: header.timestamp,
                marker,
                padding,
                codec,
                mark,
                audio_level,
                captured,
            };
            if !turn.batch.push(turn.now, self.id, stream.source, meta, descriptor, payload) {
                result = Err(Dropped::EgressFull);
            }
        }
        if holders_change {
            self.assign_audio(turn.events);
        }
        result
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
        participant.intake.admit(turn.now, 1, turn.limits.packets_per_second_max)?;
        let mut left = REQUESTS_PER_DATAGRAM_MAX;
        for packet in rtcp::packets(&packet[..len]) {
            match packet {
                Packet::SenderReport { ssrc, ntp, rtp_time, reports, .. } => {
                    self.on_sender_report(key, ssrc, ntp, rtp_time, turn);
                    self.on_reception_reports(key, reports, turn);
                }
                Packet::ReceiverReport { reports, .. } => self.on_reception_reports(key, reports, turn),
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
                        self.on_keyframe_request(key, media, turn);
                    }
                }
                Packet::Fir { targets, .. } => {
                    for (media, _) in targets.take(left) {
                        left -= 1;
                        self.on_keyframe_request(key, media, turn);
                    }
                }
                Packet::TransportCc { body, .. } => self.on_transport_feedback(key, body, turn),
                Packet::Remb { bitrate_bps, .. } => {
                    if let Some(participant) = self.participants.find_mut(key) {
                        participant.downlink.on_remb(bitrate_bps);
                    }
                }
                Packet::Bye { .. } | Packet::Other { .. } => {}
            }
        }
        Ok(())
    }

    /// Seals the batch's groups of this room, receiver by receiver. The one place where the number of receivers appears.
    ///
    /// `flush` is called whenever the send blocks may not suffice for the next receiver.
    pub(crate) fn fan_out(
        &mut self,
        groups: Range<usize>,
        turn: &mut Turn<'_>,
        flush: &mut impl FnMut(&mut Egress),
    ) {
        let mut legs = std::mem::take(&mut turn.batch.legs);
        let several = groups.len() > 1;
        for group in groups {
            let source = self.sources.find(turn.batch.group(group).source).filter(|source| source.flows());
            let subscribers = source.into_iter().flat_map(|source| &source.subscribers);
            legs.extend(subscribers.map(|&(participant, slot)| Leg { participant, slot, group }));
        }
        if several {
            legs.sort_unstable_by_key(|leg| (leg.participant.index(), leg.group));
        }
        self.order = self.order.wrapping_add(GOLDEN);
        let is_backwards = self.order > u32::MAX / 2;
        let send = |legs: &[Leg]| {
            if turn.egress.free_blocks() < PACKETS_MAX || turn.egress.waiting() >= TRAINS_WAITING_MAX {
                flush(turn.egress);
            }
            self.send_batch(legs, turn);
        };
        let receivers = legs.chunk_by(|a, b| a.participant == b.participant);
        // Of two behind one full queue the second loses more: it shall not be the same one each time.
        if is_backwards {
            receivers.rev().for_each(send)
        } else {
            receivers.for_each(send)
        }
        legs.clear();
        turn.batch.legs = legs;
    }

    /// Everything of the batch that one receiver gets.
    fn send_batch(&mut self, legs: &[Leg], turn: &mut Turn<'_>) {
        let clock = turn.clock();
        let Some(participant) = legs.first().and_then(|leg| self.participants.find_mut(leg.participant))
        else {
            return;
        };
        participant.padding.set(turn.padding_percent);
        participant.downlink.refill(clock);
        let receiver = participant.id;
        let mut holds = false;
        let Some((slots, mut sender)) = participant.receiving(clock, turn.limits.datagram_max) else {
            return;
        };
        for (nth_leg, leg) in legs.iter().enumerate() {
            let group = turn.batch.group(leg.group);
            let Some(slot) = slots.get_mut(usize::from(leg.slot.0)) else { continue };
            let mut forwarded = false;
            if slot.may_open(group.layer, false)
                && let Some((live, until)) = turn.batch.beginning(&group)
                && let Some(source) = self.sources.find(group.source)
            {
                opening::open(slot, group.source, source, &live, until, &mut sender, turn);
            }
            for nth in 0..group.len() {
                let mut packet = turn.batch.item(&group, nth);
                if let Some(held) = pacing::hold(slot, leg.slot, &packet, &mut sender, turn.counters) {
                    holds |= held;
                    turn.counters.held += u64::from(held);
                    continue;
                }
                let more = nth + 1 < group.len() || nth_leg + 1 < legs.len();
                match slot.forward(&mut packet, more, &mut sender, turn.egress) {
                    Ok(true) => {
                        forwarded = true;
                        turn.counters.rtp_forwarded += 1;
                    }
                    Ok(false) => {}
                    Err(reason) => turn.counters.drop(reason),
                }
            }
            if forwarded && let Some(how) = slot.on_forwarded() {
                let source = self.sources.find(group.source).map(|source| (source.owner_id, source.kind));
                let (room, participant, slot) = (self.id, receiver, leg.slot);
                turn.events.push_back(Event::SlotShows { room, participant, slot, source, how });
            }
        }
        turn.counters.padding_bytes += sender.padding.take_spent();
        if holds {
            pacing::pace(&mut self.paced, legs[0].participant);
        }
    }

    fn on_sender_report(
        &mut self,
        key: Key<Participant>,
        ssrc: Ssrc,
        ntp: u64,
        rtp_time: RtpTime,
        turn: &Turn<'_>,
    ) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        let Some(stream) = participant.stream_of(ssrc).flatten().filter(|s| !s.rtx) else { return };
        let Some(source) = self.sources.find_mut(stream.source) else { return };
        source.on_sender_report(stream.layer, turn.now, ntp, rtp_time);
        participant.clock.on_sender_report(turn.clock(), ntp);
    }

    fn on_transport_feedback(&mut self, key: Key<Participant>, body: &[u8], turn: &Turn<'_>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        self.hurries |= participant.downlink.on_feedback(turn.clock(), body);
    }

    fn on_reception_reports(&mut self, key: Key<Participant>, reports: ReportBlocks<'_>, turn: &Turn<'_>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        for report in reports {
            participant.downlink.on_report(turn.clock(), &report);
        }
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

    /// Browsers ask when they begin to look, and so for what has been on its way to them since they were let in.
    fn on_keyframe_request(&mut self, key: Key<Participant>, media: Ssrc, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.find_mut(key) else { return };
        let Some(slot) = participant.slots.iter().find(|s| s.spec.ssrc == media) else { return };
        let Some(source) = slot.source.and_then(|s| self.sources.find_mut(s)) else { return };
        if source.kind.media() != MediaKind::Video {
            return;
        }
        let round_trip = participant.downlink.round_trip().unwrap_or(ROUND_TRIP_UNKNOWN).min(CROSSING_MAX);
        let layer = slot.layer().unwrap_or(slot.target);
        if slot.crosses_keyframe(turn.clock(), round_trip) || source.layers[layer].keyframe.want(Urgency::Now)
        {
            turn.counters.drop(Dropped::KeyframeRequestMerged);
        }
    }
}

/// The packet inside a retransmission (RFC 4588 §4) and its number; `None` when there is nothing in it.
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
    Ok(Some((seq, payload)))
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
        source.start(layer, header.ssrc);
    }
    let stream = Stream { source: key, layer, rtx };
    for (_, known) in &mut participant.streams {
        known.take_if(|known| *known == stream);
    }
    participant.streams.push((header.ssrc, Some(stream)));
    Ok(stream)
}
