//! The sending half of a simulated participant: frames on a schedule, keyframes on request, retransmissions from a
//! short history, sender reports on the participant's own clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtp::header::{Extension, Header};
use rtp::packet::Packet;
use saal_dataplane::id::{Mid, ParticipantId, Rid, SourceKind, Ssrc};
use saal_dataplane::link::SourceSpec;
use webrtc_util::marshal::Marshal;

use super::payload::{self, Stamp, Vp8};
use super::plan::{Dialect, LayerPlan, SourcePlan};
use crate::random::Random;

/// What all sources of one participant share.
#[derive(Debug)]
pub struct Sender {
    pub publisher: ParticipantId,
    pub dialect: Dialect,
    /// Capture times count from here.
    pub epoch: Instant,
    /// This participant's wall clock at `epoch`, in seconds of NTP.
    pub ntp_base_s: u32,
    transport_seq: u16,
}

impl Sender {
    pub fn new(publisher: ParticipantId, dialect: Dialect, epoch: Instant, ntp_base_s: u32) -> Sender {
        Sender { publisher, dialect, epoch, ntp_base_s, transport_seq: 0 }
    }

    pub fn ntp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        ((u64::from(self.ntp_base_s) + since.as_secs()) << 32) | fraction
    }

    fn capture_us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_micros() as u64
    }

    /// The next transport-wide sequence number and the send time.
    fn stamp(&mut self, now: Instant) -> (u16, [u8; 3]) {
        self.transport_seq = self.transport_seq.wrapping_add(1);
        let us = u64::from(now.saturating_duration_since(self.epoch).as_micros() as u32);
        let fixed = ((us << 18) / 1_000_000) as u32;
        (self.transport_seq, [(fixed >> 16) as u8, (fixed >> 8) as u8, fixed as u8])
    }
}

#[derive(Debug)]
pub struct Source {
    pub plan: SourcePlan,
    pub mid: Mid,
    pub layers: Vec<Layer>,
    next_frame: Instant,
    frame: u32,
    /// Nothing is captured while off.
    pub on: bool,
    /// -dBov of the microphone, 127 is silence.
    pub level: u8,
}

#[derive(Debug)]
pub struct Layer {
    plan: LayerPlan,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    /// False: the encoder has given this layer up.
    pub alive: bool,
    seq: u16,
    rtx_seq: u16,
    timestamp_base: u32,
    picture_id: u16,
    tl0: u8,
    keyframe_wanted: bool,
    /// The server has reported on it, so that MID and RID are no longer repeated (as libwebrtc does).
    acknowledged: bool,
    /// The same for its retransmissions.
    rtx_acknowledged: bool,
    history: VecDeque<Packet>,
    /// The last frame of sound, which comes along with the next where redundancy is spoken.
    earlier: Option<(u32, Vec<u8>)>,
    /// Packets yet to be lost between here and the server.
    withheld: u32,
    last_withheld: Option<Packet>,
    pub packets: u32,
    pub octets: u32,
    pub keyframe_octets: u64,
    pub keyframes: u32,
    pub keyframe_requests: u32,
    pub nacked: u32,
    pub resent: u32,
}

impl Source {
    pub fn new(plan: SourcePlan, mid: Mid, random: &mut Random, now: Instant) -> Source {
        let layers = plan.layers.iter().map(|plan| Layer::new(*plan, random)).collect();
        Source { plan, mid, layers, next_frame: now, frame: 0, on: true, level: 30 }
    }

    pub fn spec(&self, dialect: &Dialect) -> SourceSpec {
        let rids = self.plan.layers.iter().filter_map(|layer| Rid::new(layer.rid?.as_bytes())).collect();
        let rtx = self.plan.kind != SourceKind::Microphone;
        let ssrcs = match self.plan.signal_ssrcs {
            true => self.layers.iter().map(|layer| (layer.ssrc, rtx.then_some(layer.rtx_ssrc))).collect(),
            false => Vec::new(),
        };
        SourceSpec {
            mid: self.mid,
            kind: self.plan.kind,
            codecs: dialect.codecs(self.plan.kind),
            rids,
            ssrcs,
        }
    }

    /// Every frame that is due leaves as plain RTP packets.
    pub fn on_timeout(&mut self, now: Instant, sender: &mut Sender, out: &mut Vec<Vec<u8>>) {
        const LATE_MAX: Duration = Duration::from_millis(500);
        if now > self.next_frame + LATE_MAX {
            self.next_frame = now;
        }
        while self.next_frame <= now {
            let captured_at = self.next_frame;
            self.next_frame += self.plan.interval;
            self.frame += 1;
            if self.on {
                self.capture(captured_at, now, sender, out);
            }
        }
    }

    pub fn next_timeout(&self) -> Instant {
        self.next_frame
    }

    /// The next `packets` packets of a layer are made but get lost on their way to the server.
    pub fn withhold(&mut self, layer: usize, packets: u32) {
        self.layers[layer].withheld = packets;
    }

    pub fn layer_of(&mut self, ssrc: u32) -> Option<&mut Layer> {
        self.layers.iter_mut().find(|layer| layer.ssrc.0 == ssrc)
    }

    pub fn on_nack(
        &mut self,
        now: Instant,
        ssrc: u32,
        lost: &[u16],
        sender: &mut Sender,
        out: &mut Vec<Vec<u8>>,
    ) {
        let mid = self.mid;
        let Some(layer) = self.layer_of(ssrc) else { return };
        for seq in lost {
            layer.nacked += 1;
            let Some(packet) =
                layer.history.iter().find(|packet| packet.header.sequence_number == *seq).cloned()
            else {
                continue;
            };
            layer.resent += 1;
            out.push(layer.retransmission(now, &mid, packet, sender));
        }
    }

    pub fn sender_reports(&self, now: Instant, sender: &Sender) -> Vec<rtcp::sender_report::SenderReport> {
        let us = sender.capture_us(now);
        let clock = self.clock_rate_hz();
        let alive = self.layers.iter().filter(|layer| layer.packets > 0 && layer.alive && self.on);
        alive
            .map(|layer| rtcp::sender_report::SenderReport {
                ssrc: layer.ssrc.0,
                ntp_time: sender.ntp(now),
                rtp_time: layer.rtp_time(us, clock),
                packet_count: layer.packets,
                octet_count: layer.octets,
                ..Default::default()
            })
            .collect()
    }

    fn clock_rate_hz(&self) -> u32 {
        if self.plan.kind == SourceKind::Microphone { 48_000 } else { 90_000 }
    }

    fn capture(&mut self, captured_at: Instant, now: Instant, sender: &mut Sender, out: &mut Vec<Vec<u8>>) {
        let captured_us = sender.capture_us(captured_at);
        let clock = self.clock_rate_hz();
        for (index, layer) in self.layers.iter_mut().enumerate().filter(|(_, layer)| layer.alive) {
            let factor = if layer.keyframe_wanted { self.plan.keyframe_factor } else { 1 };
            let parts = layer.plan.parts * factor;
            let stamp = Stamp {
                publisher: sender.publisher,
                kind: self.plan.kind,
                layer: index as u8,
                part: 0,
                parts,
                frame: self.frame,
                captured_us,
            };
            layer.next_picture();
            for part in 0..parts {
                let stamp = Stamp { part, ..stamp };
                let packet = layer.packet(now, &self.mid, &stamp, clock, self.level, sender);
                out.extend(layer.pass(&packet));
                layer.remember(packet);
            }
        }
    }
}

impl Layer {
    fn new(plan: LayerPlan, random: &mut Random) -> Layer {
        Layer {
            plan,
            ssrc: Ssrc(random.number() as u32 | 1),
            rtx_ssrc: Ssrc(random.number() as u32 | 1),
            alive: true,
            seq: random.number() as u16,
            rtx_seq: random.number() as u16,
            timestamp_base: random.number() as u32,
            picture_id: random.number() as u16 & 0x7FFF,
            tl0: random.number() as u8,
            keyframe_wanted: true,
            acknowledged: false,
            rtx_acknowledged: false,
            history: VecDeque::new(),
            earlier: None,
            withheld: 0,
            last_withheld: None,
            packets: 0,
            octets: 0,
            keyframe_octets: 0,
            keyframes: 0,
            keyframe_requests: 0,
            nacked: 0,
            resent: 0,
        }
    }

    pub fn on_keyframe_request(&mut self) {
        self.keyframe_requests += 1;
        self.keyframe_wanted = true;
    }

    /// The server has reported on one of our SSRCs.
    pub fn on_report(&mut self, ssrc: u32) {
        self.acknowledged |= self.ssrc.0 == ssrc;
        self.rtx_acknowledged |= self.rtx_ssrc.0 == ssrc;
    }

    /// Packets per frame from the next frame on.
    pub fn set_parts(&mut self, parts: u8) {
        self.plan.parts = parts;
    }

    /// The last packet that was made, sent or not.
    pub fn last_packet(&self) -> Option<&Packet> {
        self.history.back()
    }

    /// The last packet that got lost on purpose.
    pub fn last_withheld(&self) -> Option<&Packet> {
        self.last_withheld.as_ref()
    }

    fn next_picture(&mut self) {
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        self.tl0 = self.tl0.wrapping_add(1);
    }

    fn packet(
        &mut self,
        now: Instant,
        mid: &Mid,
        stamp: &Stamp,
        clock: u32,
        level: u8,
        sender: &mut Sender,
    ) -> Packet {
        let keyframe = self.keyframe_wanted;
        let last = stamp.part + 1 == stamp.parts;
        let audio = stamp.kind == SourceKind::Microphone;
        let timestamp = self.rtp_time(stamp.captured_us, clock);
        let mut pt = sender.dialect.codec(stamp.kind).pt.0;
        let payload = if audio {
            let frame = payload::opus(stamp, self.plan.part_bytes);
            match sender.dialect.red {
                Some(red) => {
                    let earlier = self.earlier.replace((timestamp, frame.clone()));
                    let earlier = earlier.map(|(before, frame)| (timestamp.wrapping_sub(before), frame));
                    let opus = std::mem::replace(&mut pt, red);
                    payload::red(opus, earlier, &frame)
                }
                None => frame,
            }
        } else {
            let vp8 = Vp8 { keyframe, picture_id: self.picture_id, tl0: self.tl0, height: self.plan.height };
            // The last part is shorter, as the end of a frame is.
            payload::vp8(&vp8, stamp, self.plan.part_bytes - usize::from(last) * 37)
        };
        if last && keyframe && !audio {
            self.keyframe_wanted = false;
            self.keyframes += 1;
        }
        let mut extensions = self.extensions(now, mid, sender, false);
        if let Some(id) = sender.dialect.extensions.audio_level.filter(|_| audio) {
            // Somebody who talks pauses between the words.
            let level = if stamp.frame % 30 < 25 { level } else { (level + 25).min(127) };
            extensions.push((id, vec![level | if level < 60 { 0x80 } else { 0 }]));
        }
        self.seq = self.seq.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        if keyframe {
            self.keyframe_octets += payload.len() as u64;
        }
        let mut header = Header {
            version: 2,
            marker: last && !audio,
            payload_type: pt,
            sequence_number: self.seq,
            timestamp,
            ssrc: self.ssrc.0,
            ..Default::default()
        };
        set_extensions(&mut header, extensions);
        Packet { header, payload: payload.into() }
    }

    fn retransmission(&mut self, now: Instant, mid: &Mid, packet: Packet, sender: &mut Sender) -> Vec<u8> {
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        let mut header = packet.header.clone();
        let mut payload = packet.header.sequence_number.to_be_bytes().to_vec();
        payload.extend_from_slice(&packet.payload);
        header.ssrc = self.rtx_ssrc.0;
        header.sequence_number = self.rtx_seq;
        header.payload_type = sender.dialect.vp8_rtx;
        let extensions = self.extensions(now, mid, sender, true);
        set_extensions(&mut header, extensions);
        Packet { header, payload: payload.into() }
            .marshal()
            .expect("the packet was marshalled before")
            .to_vec()
    }

    fn extensions(&self, now: Instant, mid: &Mid, sender: &mut Sender, rtx: bool) -> Vec<(u8, Vec<u8>)> {
        let ids = sender.dialect.extensions;
        let (transport_seq, send_time) = sender.stamp(now);
        let mut extensions = Vec::new();
        let mut push = |id: Option<u8>, value: &[u8]| extensions.extend(id.map(|id| (id, value.to_vec())));
        push(ids.abs_send_time, &send_time);
        push(ids.transport_cc, &transport_seq.to_be_bytes());
        let (acknowledged, rid_id) =
            if rtx { (self.rtx_acknowledged, ids.repaired_rid) } else { (self.acknowledged, ids.rid) };
        if !acknowledged {
            push(ids.mid, mid.as_bytes());
            if let Some(rid) = self.plan.rid {
                push(rid_id, rid.as_bytes());
            }
        }
        extensions
    }

    fn pass(&mut self, packet: &Packet) -> Option<Vec<u8>> {
        if self.withheld > 0 {
            self.withheld -= 1;
            self.last_withheld = Some(packet.clone());
            return None;
        }
        Some(packet.marshal().expect("the packet is well formed").to_vec())
    }

    fn remember(&mut self, packet: Packet) {
        const HISTORY: usize = 256;
        self.history.push_back(packet);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    fn rtp_time(&self, captured_us: u64, clock: u32) -> u32 {
        self.timestamp_base.wrapping_add((captured_us * u64::from(clock) / 1_000_000) as u32)
    }
}

fn set_extensions(header: &mut Header, extensions: Vec<(u8, Vec<u8>)>) {
    const ONE_BYTE: u16 = 0xBEDE;
    header.extension = !extensions.is_empty();
    header.extension_profile = ONE_BYTE;
    header.extensions_padding = 0;
    header.extensions =
        extensions.into_iter().map(|(id, value)| Extension { id, payload: value.into() }).collect();
}
