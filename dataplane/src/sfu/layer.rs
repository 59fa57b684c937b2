//! One incoming encoding of a source (one SSRC, one rid): what arrived, what is missing, what its sender reported.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::id::{ExtSeq, RtpTime, SeqNo, Ssrc};
use crate::sfu::history::{Entry, History};
use crate::sfu::rate::Rate;
use crate::sfu::tempo::{Numbering, Numbers, Tempo};
use crate::wire::codec::dependency::Structure;
use crate::wire::rtcp::ReportBlock;

/// Missing packets remembered per layer; a larger hole is not worth asking for packet by packet.
const MISSING_MAX: usize = 128;
/// A packet that comes this late was reordered, not lost.
const REORDER: Duration = Duration::from_millis(10);
/// Time between two requests for the same packet: a round trip and a half, within these bounds, and where the round trip is
/// not known that of a bad home line.
const NACK_INTERVAL: Duration = Duration::from_millis(100);
const NACK_INTERVAL_MIN: Duration = Duration::from_millis(30);
const NACK_INTERVAL_MAX: Duration = Duration::from_millis(400);
const NACK_TRIES: u8 = 6;
/// What is sent of the past: a little more than the time between two keyframe requests, of a small layer.
const OPENING_AGE_MAX: Duration = Duration::from_millis(2500);
const OPENING_PACKETS_MAX: u64 = 128;
/// A video layer without packets for this long counts as switched off by its sender.
const SILENT: Duration = Duration::from_millis(1500);
/// A layer that was switched off must be back for this long before receivers move to it: at the edge of its bandwidth a
/// sender switches every few seconds, and each move costs a keyframe.
const STEADY: Duration = Duration::from_millis(1000);
/// Fewer pictures are worth it when they are no more than this part of the layer, in percent.
const THINNED_PERCENT: u64 = 90;

#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) ssrc: Option<Ssrc>,
    pub(crate) rtx_ssrc: Option<Ssrc>,
    /// Counts the encodings that this layer has had: a sender that starts again gets a new one.
    pub(crate) epoch: u32,
    /// Picture height of the last keyframe in pixels.
    pub(crate) height: Option<u16>,
    pub(crate) keyframe: KeyframeRequest,
    last_keyframe: Option<Keyframe>,
    pub(crate) history: History,
    /// What its dependency descriptors have told.
    pub(crate) structure: Option<Box<Structure>>,
    pub(crate) rate: Rate,
    /// Of what is left of it at the lesser tempos.
    thinned: [Rate; 2],
    numbering: Numbering,
    clock_rate_hz: u32,
    last_packet: Option<Instant>,
    /// When what is in the packet with the highest number was captured, on the server's clock.
    captured: Duration,
    /// When packets came again after a silence.
    resumed: Option<Instant>,
    /// The highest number that has been kept.
    newest: Option<ExtSeq>,
    reception: Option<Reception>,
    report: Option<SenderReport>,
    missing: Vec<Missing>,
}

/// The last picture that a decoder can start with.
#[derive(Clone, Copy, Debug)]
struct Keyframe {
    seq: ExtSeq,
    timestamp: RtpTime,
    at: Instant,
    /// Of what has come of it.
    bytes: usize,
}

/// RFC 3550 appendix A: what a receiver report says about one SSRC.
#[derive(Debug)]
struct Reception {
    first: ExtSeq,
    highest: ExtSeq,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// In RTP ticks, times 16.
    jitter_x16: u32,
    transit: u32,
}

/// The sender's last report (RFC 3550 §6.4.1) and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderReport {
    pub(crate) ntp: u64,
    pub(crate) rtp_time: RtpTime,
    pub(crate) at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: ExtSeq,
    noticed: Instant,
    asked: Option<Instant>,
    tries: u8,
}

/// Merges the keyframe requests of all receivers; how often one goes out is the source's affair.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequest {
    wanted: Option<Urgency>,
}

/// How long whoever needs a keyframe can wait for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Urgency {
    /// There is something to see meanwhile.
    Soon,
    /// A picture stands still, or is more than a line carries.
    Now,
}

impl KeyframeRequest {
    /// Returns whether an earlier request that is still open already covers this one.
    pub(crate) fn want(&mut self, urgency: Urgency) -> bool {
        let before = self.wanted;
        self.wanted = before.max(Some(urgency));
        before == self.wanted
    }

    pub(crate) fn wanted(&self) -> Option<Urgency> {
        self.wanted
    }

    /// A request has left. While no keyframe comes, it or its answer may have got lost.
    pub(crate) fn on_asked(&mut self) {
        if self.wanted.is_some() {
            self.wanted = Some(Urgency::Now);
        }
    }

    fn on_keyframe(&mut self) {
        self.wanted = None;
    }
}

impl Layer {
    pub(crate) fn new(clock_rate_hz: u32) -> Layer {
        Layer {
            ssrc: None,
            rtx_ssrc: None,
            epoch: 0,
            height: None,
            keyframe: KeyframeRequest::default(),
            last_keyframe: None,
            history: History::new(),
            structure: None,
            rate: Rate::default(),
            thinned: [Rate::default(); 2],
            numbering: Numbering::default(),
            clock_rate_hz,
            last_packet: None,
            captured: Duration::ZERO,
            resumed: None,
            newest: None,
            reception: None,
            report: None,
            missing: Vec::new(),
        }
    }

    /// The sender began a new encoding under `ssrc`.
    pub(crate) fn start(&mut self, ssrc: Ssrc) {
        if self.ssrc == Some(ssrc) {
            return;
        }
        self.ssrc = Some(ssrc);
        self.epoch = self.epoch.wrapping_add(1);
        self.structure = None;
        self.newest = None;
        self.reception = None;
        self.report = None;
        self.missing.clear();
        self.last_keyframe = None;
        self.history.clear();
        self.numbering = Numbering::default();
    }

    /// Accounts for a packet. `retransmitted` ones fill holes and do not count for jitter.
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        epoch: Instant,
        seq: ExtSeq,
        timestamp: RtpTime,
        retransmitted: bool,
        repairable: bool,
    ) {
        self.on_sign(now);
        let ticks =
            (now.duration_since(epoch).as_micros() as u64 * u64::from(self.clock_rate_hz) / 1_000_000) as u32;
        let transit = ticks.wrapping_sub(timestamp.0);
        let Some(reception) = &mut self.reception else {
            self.reception = Some(Reception {
                first: seq,
                highest: seq,
                received: 1,
                expected_prior: 0,
                received_prior: 0,
                jitter_x16: 0,
                transit,
            });
            return;
        };
        reception.received += 1;
        if !retransmitted {
            let distance = transit.wrapping_sub(reception.transit).cast_signed().unsigned_abs();
            reception.transit = transit;
            reception.jitter_x16 =
                reception.jitter_x16.saturating_add(distance).saturating_sub((reception.jitter_x16 + 8) >> 4);
        }
        let highest = reception.highest;
        if seq <= highest {
            self.missing.retain(|m| m.seq != seq);
            return;
        }
        reception.highest = seq;
        if !repairable {
            return;
        }
        if self.missing.capacity() == 0 {
            // Once, at the beginning of a layer that is sent: most that people announce stay off.
            self.missing.reserve_exact(MISSING_MAX);
        }
        let hole = seq.0 - highest.0 - 1;
        if hole as usize > MISSING_MAX {
            self.missing.clear();
            self.keyframe.want(Urgency::Now);
            return;
        }
        let room = MISSING_MAX - hole as usize;
        if self.missing.len() > room {
            self.missing.drain(..self.missing.len() - room);
        }
        for lost in highest.0 + 1..seq.0 {
            self.missing.push(Missing { seq: ExtSeq(lost), noticed: now, asked: None, tries: 0 });
        }
    }

    /// It is being sent.
    pub(crate) fn on_sign(&mut self, now: Instant) {
        if self.last_packet.is_some() && !self.is_live(now) {
            self.resumed = Some(now);
        }
        self.last_packet = Some(now);
    }

    /// Its sender says that it is not being sent any more.
    pub(crate) fn on_silence(&mut self, now: Instant) {
        self.last_packet = self.last_packet.and_then(|last| Some(last.min(now.checked_sub(SILENT)?)));
    }

    /// Numbers a packet of video, remembers it for retransmission and takes note of a keyframe. `None`: it is too old for
    /// all that.
    pub(crate) fn keep(
        &mut self,
        now: Instant,
        mut entry: Entry,
        payload: &[u8],
        descriptor: Option<&[u8]>,
        packets: usize,
    ) -> Option<Numbers> {
        entry.numbers = self.numbering.number(&entry, &self.history)?;
        if self.numbering.is_layered() {
            let fewer = Tempo::THINNED.into_iter().zip(&mut self.thinned);
            fewer.filter(|(tempo, _)| entry.numbers.least <= *tempo).for_each(|(_, rate)| {
                rate.on_packet(now, payload.len());
            });
        }
        if entry.mark.keyframe {
            self.keyframe.on_keyframe();
            self.height = entry.mark.height.or(self.height);
            // Of the packets that begin it (parameter sets, its first slice) the first counts.
            if self.last_keyframe.is_none_or(|known| known.timestamp != entry.timestamp) {
                let (seq, timestamp) = (entry.seq, entry.timestamp);
                self.last_keyframe = Some(Keyframe { seq, timestamp, at: now, bytes: 0 });
            }
        }
        if let Some(keyframe) = &mut self.last_keyframe
            && keyframe.timestamp == entry.timestamp
        {
            keyframe.bytes += payload.len();
        }
        self.newest = self.newest.max(Some(entry.seq));
        self.history.provide(packets);
        self.history.store(entry, payload, descriptor);
        Some(entry.numbers)
    }

    /// Bits a second of what is left of it at a lesser tempo, where that is clearly less.
    pub(crate) fn thinned_bps(&self, tempo: Tempo) -> Option<u64> {
        let (whole, rate) = (self.rate.bps()?, self.thinned.get(tempo as usize)?);
        rate.bps().filter(|bps| *bps <= whole * THINNED_PERCENT / 100)
    }

    /// The extended sequence number that `seq` of a retransmission means. `None` when it runs ahead of all that has
    /// come, which no repair does.
    pub(crate) fn nearest(&self, seq: SeqNo) -> Option<ExtSeq> {
        let highest = self.reception.as_ref()?.highest;
        Some(highest.nearest(seq)).filter(|seq| seq.0 <= highest.0 + MISSING_MAX as u64)
    }

    /// Appends the sequence numbers to ask for at `now`. `round_trip` is that to the sender.
    pub(crate) fn next_nacks(&mut self, now: Instant, round_trip: Option<Duration>, lost: &mut Vec<SeqNo>) {
        let interval = round_trip
            .map_or(NACK_INTERVAL, |time| (time * 3 / 2).clamp(NACK_INTERVAL_MIN, NACK_INTERVAL_MAX));
        self.missing.retain(|m| m.tries < NACK_TRIES);
        for missing in &mut self.missing {
            let due = match missing.asked {
                None => missing.noticed + REORDER,
                Some(asked) => asked + interval,
            };
            if now < due || lost.len() == lost.capacity() {
                continue;
            }
            missing.asked = Some(now);
            missing.tries += 1;
            lost.push(missing.seq.seq());
        }
    }

    /// What the last keyframe cost.
    pub(crate) fn keyframe_bytes(&self) -> usize {
        self.last_keyframe.map_or(0, |keyframe| keyframe.bytes)
    }

    /// The packets from the last keyframe to `until`, for somebody who begins with this layer, and the bytes of those that later
    /// pictures need; `None` unless the history holds every one of them, and they are few and new.
    pub(crate) fn opening(
        &self,
        now: Instant,
        until: ExtSeq,
        bytes_max: usize,
    ) -> Option<(Range<u64>, usize)> {
        let keyframe = self.last_keyframe.filter(|keyframe| now < keyframe.at + OPENING_AGE_MAX)?;
        let past = keyframe.seq.0..until.0;
        if past.is_empty() || past.end - past.start > OPENING_PACKETS_MAX {
            return None;
        }
        // One that claims to be left out by somebody begins nothing.
        self.history.find(keyframe.seq).filter(|(entry, _)| entry.numbers.least == Tempo::Base)?;
        let mut bytes = 0;
        for seq in past.clone() {
            let (entry, payload) = self.history.find(ExtSeq(seq))?;
            bytes += if entry.numbers.least == Tempo::Base { payload.len() } else { 0 };
        }
        (bytes <= bytes_max).then_some((past, bytes))
    }

    /// Whether somebody who begins with it needs no other keyframe.
    pub(crate) fn has_opening(&self, now: Instant, bytes_max: usize) -> bool {
        self.newest.is_some_and(|newest| self.opening(now, ExtSeq(newest.0 + 1), bytes_max).is_some())
    }

    /// The packet with the highest number, if it is kept, and when what is in it was captured.
    pub(crate) fn newest(&self) -> Option<(&Entry, Duration)> {
        Some((self.history.find(self.newest?)?.0, self.captured))
    }

    pub(crate) fn on_captured(&mut self, seq: ExtSeq, captured: Duration) {
        if self.newest == Some(seq) {
            self.captured = captured;
        }
    }

    /// What has been sent so far is shown to nobody who comes later, and nobody who lost some of it gets it again.
    pub(crate) fn forget_past(&mut self) {
        self.last_keyframe = None;
        self.history.clear();
    }

    pub(crate) fn on_sender_report(&mut self, now: Instant, ntp: u64, rtp_time: RtpTime) {
        self.report = Some(SenderReport { ntp, rtp_time, at: now });
    }

    pub(crate) fn sender_report(&self) -> Option<&SenderReport> {
        self.report.as_ref()
    }

    /// Packets came within the last moments.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        self.last_packet.is_some_and(|at| now < at + SILENT)
    }

    /// Its sender is asked to begin again: it has not come and gone by itself.
    pub(crate) fn on_asked(&mut self) {
        self.last_packet = None;
        self.resumed = None;
    }

    /// It has sent for a while since its last silence, if it had one.
    pub(crate) fn is_steady(&self) -> bool {
        self.resumed.is_none_or(|at| self.last_packet.is_some_and(|last| last >= at + STEADY))
    }

    /// The block of a receiver report about this layer (RFC 3550 §6.4.1, A.3).
    pub(crate) fn next_report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let ssrc = self.ssrc?;
        let reception = self.reception.as_mut()?;
        let expected = reception.highest.0 - reception.first.0 + 1;
        let expected_interval = expected - reception.expected_prior;
        let received_interval = reception.received - reception.received_prior;
        reception.expected_prior = expected;
        reception.received_prior = reception.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction_lost = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0).min(255) as u8;
        let lost = (expected as i64 - reception.received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32;
        let (last_sr, delay_since_last_sr) = self.report.map_or((0, 0), |sr| {
            let delay = now.duration_since(sr.at).as_micros() as u64 * 65_536 / 1_000_000;
            ((sr.ntp >> 16) as u32, delay as u32)
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            lost,
            highest_seq: reception.highest.0 as u32,
            jitter: reception.jitter_x16 >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer() -> (Layer, Instant) {
        let mut layer = Layer::new(90_000);
        layer.start(Ssrc(7));
        (layer, Instant::now())
    }

    #[test]
    fn a_hole_is_asked_for_after_the_reorder_time_and_not_at_once_again() {
        let (mut layer, t0) = layer();
        for seq in [10, 11, 14] {
            layer.on_packet(t0, t0, ExtSeq(seq), RtpTime(0), false, true);
        }
        let mut lost = Vec::with_capacity(16);
        layer.next_nacks(t0, None, &mut lost);
        assert!(lost.is_empty());
        layer.next_nacks(t0 + REORDER, None, &mut lost);
        assert_eq!(lost, [SeqNo(12), SeqNo(13)]);
        lost.clear();
        layer.on_packet(t0, t0, ExtSeq(12), RtpTime(0), true, true);
        layer.next_nacks(t0 + REORDER, None, &mut lost);
        assert!(lost.is_empty());
        layer.next_nacks(t0 + REORDER + NACK_INTERVAL, None, &mut lost);
        assert_eq!(lost, [SeqNo(13)]);
        // Over a long way the answer to the last request is still to come, over a short one it is overdue.
        let asked = t0 + REORDER + NACK_INTERVAL;
        for (round_trip_ms, again_ms) in [(200, 300), (40, 60), (1, 30), (5000, 400)] {
            let mut layer = Layer { missing: layer.missing.clone(), ..Layer::new(90_000) };
            let round_trip = Some(Duration::from_millis(round_trip_ms));
            let mut ask = |at: Duration| {
                lost.clear();
                layer.next_nacks(asked + at, round_trip, &mut lost);
                lost.len()
            };
            let again = Duration::from_millis(again_ms);
            assert_eq!([ask(again - Duration::from_millis(1)), ask(again)], [0, 1], "{round_trip_ms} ms");
        }
    }

    #[test]
    fn a_hole_too_large_to_repair_asks_for_a_keyframe() {
        let (mut layer, t0) = layer();
        layer.on_packet(t0, t0, ExtSeq(1), RtpTime(0), false, true);
        layer.on_packet(t0, t0, ExtSeq(1000), RtpTime(0), false, true);
        assert_eq!(layer.keyframe.wanted(), Some(Urgency::Now));
        let mut lost = Vec::with_capacity(16);
        layer.next_nacks(t0 + Duration::from_secs(1), None, &mut lost);
        assert!(lost.is_empty());
    }

    #[test]
    fn a_retransmission_far_ahead_of_what_has_come_means_nothing() {
        let (mut layer, t0) = layer();
        assert_eq!(layer.nearest(SeqNo(1)), None);
        layer.on_packet(t0, t0, ExtSeq(70_000), RtpTime(0), false, true);
        assert_eq!(layer.nearest(ExtSeq(69_999).seq()), Some(ExtSeq(69_999)));
        assert_eq!(layer.nearest(ExtSeq(70_128).seq()), Some(ExtSeq(70_128)));
        assert_eq!(layer.nearest(ExtSeq(70_129).seq()), None);
    }

    #[test]
    fn the_report_block_counts_what_was_lost() {
        let (mut layer, t0) = layer();
        for seq in (0..100).filter(|s| s % 4 != 3) {
            layer.on_packet(t0, t0, ExtSeq(seq), RtpTime(0), false, false);
        }
        let block = layer.next_report_block(t0).expect("packets came");
        assert_eq!((block.lost, block.highest_seq), (24, 98));
        assert!((60..=64).contains(&block.fraction_lost));
    }
}
