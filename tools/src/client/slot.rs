//! The receiving half of a simulated participant: what came in one receive slot, and whether a decoder could follow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rtp::packet::Packet;
use saal_dataplane::id::{Codec, MediaKind, Mid, ParticipantId, Pt, SourceKind, Ssrc};
use saal_dataplane::link::SlotSpec;

use super::payload::{self, Stamp, Vp8};
use super::plan::Dialect;

/// One packet of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// Extended by its rollovers.
    pub seq: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub stamp: Stamp,
    /// An earlier frame that came along.
    pub earlier: Option<Stamp>,
    pub vp8: Option<Vp8>,
    /// It came as a retransmission.
    pub rtx: bool,
}

impl Arrival {
    fn stream(&self) -> (ParticipantId, SourceKind, u8) {
        (self.stamp.publisher, self.stamp.kind, self.stamp.layer)
    }
}

/// A sender report of the server on this slot.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub at: Instant,
    pub ntp: u64,
    pub rtp_time: u32,
    pub packets: u32,
    pub octets: u32,
}

#[derive(Debug)]
pub struct Slot {
    pub spec: SlotSpec,
    pub arrivals: Vec<Arrival>,
    pub reports: Vec<Report>,
    /// Padding only, or a payload of nobody here.
    pub unstamped: u32,
    /// Packets yet to be lost between the server and here.
    pub losing: u32,
    /// What was lost on purpose.
    pub lost: Vec<u64>,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    ask_at: Instant,
    asked: u32,
}

/// A larger gap is not asked for (libwebrtc gives up at the same size).
const GAP_MAX: u64 = 1000;
const NACKS_MAX: u32 = 10;
const NACK_INTERVAL: Duration = Duration::from_millis(50);

impl Slot {
    pub fn new(kind: MediaKind, mid: Mid, ssrc: Ssrc, rtx_ssrc: Option<Ssrc>, dialect: &Dialect) -> Slot {
        let codecs = match kind {
            MediaKind::Audio => dialect.codecs(SourceKind::Microphone),
            MediaKind::Video => dialect.codecs(SourceKind::Camera),
        };
        Slot {
            spec: SlotSpec { mid, kind, ssrc, rtx_ssrc, codecs },
            arrivals: Vec::new(),
            reports: Vec::new(),
            unstamped: 0,
            losing: 0,
            lost: Vec::new(),
            highest: None,
            missing: BTreeMap::new(),
        }
    }

    /// A packet on the slot's SSRC or its RTX SSRC. An error is something that no decoder should be asked to bear.
    pub fn on_rtp(&mut self, now: Instant, mut packet: Packet) -> Result<(), String> {
        let rtx = packet.header.ssrc != self.spec.ssrc.0;
        let is_pt = |pt: Option<Pt>| pt == Some(Pt(packet.header.payload_type));
        let codec =
            self.spec.codecs.iter().find(|codec| is_pt(if rtx { codec.rtx_pt } else { Some(codec.pt) }));
        let Some(codec) = codec.map(|known| known.codec) else {
            return Err(format!("payload type {} was not negotiated", packet.header.payload_type));
        };
        if rtx {
            let Some(original) = packet.payload.first_chunk::<2>().copied() else {
                // Padding for bandwidth probes has no original sequence number.
                self.unstamped += 1;
                return Ok(());
            };
            packet.header.sequence_number = u16::from_be_bytes(original);
            packet.payload = packet.payload.slice(2..);
        }
        let seq = self.extend(packet.header.sequence_number);
        if self.losing > 0 {
            self.losing -= 1;
            self.lost.push(seq);
            return Ok(());
        }
        self.note(now, seq);
        let mut earlier = None;
        let (stamp, vp8) = match self.spec.kind {
            MediaKind::Audio if codec == Codec::Red => {
                let opus = self.spec.codecs.iter().find(|known| known.codec == Codec::Opus);
                let read = opus.and_then(|opus| payload::read_red(opus.pt.0, &packet.payload));
                let (before, stamp) = read.ok_or("redundant sound that cannot be read")?;
                earlier = before;
                (Some(stamp), None)
            }
            MediaKind::Audio => (payload::read_opus(&packet.payload), None),
            MediaKind::Video => match payload::read_vp8(&packet.payload) {
                Some((vp8, stamp)) => (Some(stamp), Some(vp8)),
                None => (None, None),
            },
        };
        let Some(stamp) = stamp else {
            self.unstamped += 1;
            return Ok(());
        };
        let Packet { header, .. } = packet;
        self.arrivals.push(Arrival {
            at: now,
            seq,
            timestamp: header.timestamp,
            marker: header.marker,
            stamp,
            earlier,
            vp8,
            rtx,
        });
        Ok(())
    }

    /// The sequence numbers to ask for again, each at most ten times.
    pub fn nacks(&mut self, now: Instant) -> Vec<u16> {
        self.missing.retain(|_, missing| missing.asked < NACKS_MAX);
        let due = self.missing.iter_mut().filter(|(_, missing)| missing.ask_at <= now);
        due.map(|(seq, missing)| {
            missing.asked += 1;
            missing.ask_at = now + NACK_INTERVAL;
            *seq as u16
        })
        .collect()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.ask_at).min()
    }

    pub fn highest_seq(&self) -> Option<u64> {
        self.highest
    }

    /// Forget what came so far; the numbers continue.
    pub fn clear(&mut self) {
        self.arrivals.clear();
        self.reports.clear();
        self.lost.clear();
        self.unstamped = 0;
    }

    pub fn count(&self, publisher: ParticipantId, kind: SourceKind) -> usize {
        self.arrivals
            .iter()
            .filter(|arrival| arrival.stamp.publisher == publisher && arrival.stamp.kind == kind)
            .count()
    }

    /// What the slot showed last.
    pub fn shows(&self) -> Option<(ParticipantId, SourceKind)> {
        self.arrivals.last().map(|arrival| (arrival.stamp.publisher, arrival.stamp.kind))
    }

    pub fn layer(&self) -> Option<u8> {
        self.arrivals.last().map(|arrival| arrival.stamp.layer)
    }

    /// Everything came once and in one piece, as if one encoder had made it.
    pub fn check(&self) -> Result<(), String> {
        let arrivals = self.in_order();
        if let Some(first) = arrivals.first().and_then(|first| first.vp8).filter(|first| !first.keyframe) {
            return Err(format!("the slot begins with picture {} that is no keyframe", first.picture_id));
        }
        self.check_arrivals(&arrivals)
    }

    /// As [`Slot::check`], but the record may begin in the middle of a stream.
    pub fn check_continued(&self) -> Result<(), String> {
        let arrivals = self.in_order();
        self.check_arrivals(&arrivals)
    }

    /// Where the slot changed from one stream to another.
    pub fn switches(&self) -> usize {
        self.arrivals.windows(2).filter(|pair| pair[0].stream() != pair[1].stream()).count()
    }

    pub fn publishers(&self) -> BTreeSet<ParticipantId> {
        self.arrivals.iter().map(|arrival| arrival.stamp.publisher).collect()
    }

    /// By sequence number. A packet that was only late may have been asked for meanwhile, and comes as RTX too.
    fn in_order(&self) -> Vec<Arrival> {
        let mut arrivals = self.arrivals.clone();
        arrivals.sort_by_key(|arrival| arrival.seq);
        arrivals.dedup_by(|later, earlier| later.seq == earlier.seq && (later.rtx || earlier.rtx));
        arrivals
    }

    fn check_arrivals(&self, arrivals: &[Arrival]) -> Result<(), String> {
        for pair in arrivals.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let fault = match (after.seq - before.seq, before.stream() == after.stream()) {
                (0, _) => Some("came twice"),
                (1, true) => self.check_step(before, after).err(),
                (1, false) => self.check_switch(before, after).err(),
                _ => Some("follows a gap"),
            };
            if let Some(fault) = fault {
                return Err(format!("{fault}:\n before {before:?}\n after  {after:?}"));
            }
        }
        Ok(())
    }

    fn check_step(&self, before: &Arrival, after: &Arrival) -> Result<(), &'static str> {
        const ROUNDING_TICKS: i64 = 2;
        const SQUEEZE: i64 = 32;
        const PAST_WITHIN: Duration = Duration::from_millis(300);
        let frames = after.stamp.frame.wrapping_sub(before.stamp.frame);
        let us = after.stamp.captured_us as i64 - before.stamp.captured_us as i64;
        let ticks = i64::from(after.timestamp.wrapping_sub(before.timestamp) as i32);
        let expected = us * self.clock_rate_hz() / 1_000_000;
        // What was made before somebody began to look comes at once, and with timestamps that let it be shown at once.
        let is_past = after.at.saturating_duration_since(before.at) < PAST_WITHIN;
        let is_squeezed = is_past && (ticks - expected / SQUEEZE).abs() <= ROUNDING_TICKS;
        if (ticks - expected).abs() > ROUNDING_TICKS && !is_squeezed {
            return Err("timestamp does not follow the capture time");
        }
        let (Some(old), Some(new)) = (before.vp8, after.vp8) else { return Ok(()) };
        if u32::from(new.picture_id.wrapping_sub(old.picture_id) & 0x7FFF) != frames {
            return Err("picture id does not count the frames");
        }
        if u32::from(new.tl0.wrapping_sub(old.tl0)) != frames & 0xFF {
            return Err("TL0PICIDX does not count the frames");
        }
        if frames == 0 && after.stamp.part != before.stamp.part + 1 {
            return Err("a part of the frame is out of order");
        }
        if frames > 0 && (after.stamp.part != 0 || !before.marker) {
            return Err("a frame is incomplete");
        }
        Ok(())
    }

    fn check_switch(&self, before: &Arrival, after: &Arrival) -> Result<(), &'static str> {
        const TOLERANCE_S: f64 = 0.3;
        let elapsed_s = after.at.saturating_duration_since(before.at).as_secs_f64();
        let ticks = after.timestamp.wrapping_sub(before.timestamp) as i32;
        let media_s = f64::from(ticks) / self.clock_rate_hz() as f64;
        if ticks <= 0 || (media_s - elapsed_s).abs() > TOLERANCE_S {
            return Err("timestamp jumps at a switch");
        }
        let (Some(old), Some(new)) = (before.vp8, after.vp8) else { return Ok(()) };
        if !new.keyframe || after.stamp.part != 0 {
            return Err("switch without a keyframe");
        }
        // A wish for another publisher takes effect at once; the keyframe after it mends the broken picture.
        if !before.marker && before.stamp.publisher == after.stamp.publisher {
            return Err("switch inside a frame");
        }
        if new.picture_id.wrapping_sub(old.picture_id) & 0x7FFF != 1 {
            return Err("picture id jumps at a switch");
        }
        if new.tl0.wrapping_sub(old.tl0) != 1 {
            return Err("TL0PICIDX jumps at a switch");
        }
        Ok(())
    }

    fn clock_rate_hz(&self) -> i64 {
        i64::from(self.spec.codecs[0].codec.clock_rate_hz())
    }

    fn extend(&self, seq: u16) -> u64 {
        let Some(highest) = self.highest else { return (1 << 16) | u64::from(seq) };
        let delta = seq.wrapping_sub(highest as u16) as i16;
        highest.saturating_add_signed(i64::from(delta))
    }

    fn note(&mut self, now: Instant, seq: u64) {
        self.missing.remove(&seq);
        let highest = self.highest.unwrap_or(seq);
        if seq > highest + GAP_MAX {
            self.missing.clear();
            self.highest = Some(seq);
            return;
        }
        for missing in (highest + 1)..seq {
            self.missing.insert(missing, Missing { ask_at: now, asked: 0 });
        }
        self.highest = Some(highest.max(seq));
    }
}
