//! What a slot sends a second time: packets that its receiver misses, and probes, which are such packets.

use std::time::{Duration, Instant};

use super::{Sender, Slot, push_dependency_descriptor};
use crate::counters::Dropped;
use crate::egress::Egress;
use crate::id::{Codec, ExtSeq, Pt, RtpTime, SeqNo, Ssrc};
use crate::sfu::history::History;
use crate::sfu::slab::Key;
use crate::sfu::source::Source;
use crate::sfu::srtp::PADDING_MAX;
use crate::wire::rtp::{Extensions, Outgoing};

/// Packets whose last retransmission is remembered.
const RESENT: usize = 64;
/// A packet is not sent again within this time, nor within three quarters of a round trip, after which whoever has not got the
/// first copy asks once more.
pub(super) const RESEND_INTERVAL: Duration = Duration::from_millis(20);

/// The last packets sent again, and when.
pub(super) type Resent = [(ExtSeq, Option<Instant>); RESENT];

impl Slot {
    /// Answers a negative acknowledgement (RFC 4585 §6.2.1) with a retransmission (RFC 4588).
    pub(crate) fn resend<'h>(
        &mut self,
        now: Instant,
        lost: SeqNo,
        history_of: impl FnOnce(Key<Source>, usize, u32) -> Option<&'h History>,
        to: &mut Sender<'_>,
        egress: &mut Egress,
    ) -> Result<(), Dropped> {
        to.resend.cap(to.downlink.estimate_bps());
        if to.resend.is_spent() {
            return Err(Dropped::ResendBudget);
        }
        let newest = self.sent.ok_or(Dropped::NotInHistory)?.seq;
        let seq = newest.nearest(lost);
        if seq > newest {
            return Err(Dropped::NotInHistory);
        }
        // On a line that has too much to carry, nothing of a stream that is being left behind is worth its time.
        let is_left = self.current.is_none_or(|m| m.layer != self.target || seq < m.keyframe);
        if is_left && !to.downlink.is_open(to.clock) {
            return Err(Dropped::ResendBudget);
        }
        let place = seq.0 as usize % RESENT;
        let before = self.resent.as_ref().map(|resent| resent[place]);
        let interval =
            to.downlink.round_trip().map_or(RESEND_INTERVAL, |time| (time * 3 / 4).max(RESEND_INTERVAL));
        if before.is_some_and(|(of, at)| of == seq && at.is_some_and(|at| now < at + interval)) {
            return Err(Dropped::ResendBudget);
        }
        let len = self.send_again(seq, history_of, to, egress)?;
        let resent = self.resent.get_or_insert_with(|| Box::new([(ExtSeq(u64::MAX), None); RESENT]));
        resent[place] = (seq, Some(now));
        to.resend.on_resent(len);
        Ok(())
    }

    /// The first number of which it is still known what it was.
    #[cfg(test)]
    pub(crate) fn oldest(&self) -> Option<ExtSeq> {
        self.current.iter().chain(self.past.iter().flatten()).map(|mapping| mapping.out_start).min()
    }

    /// Whether probes can be sent into this slot: it shall show something, be it paused, and has retransmissions.
    pub(crate) fn can_probe(&self) -> bool {
        self.source.is_some() && self.is_probeable()
    }

    /// It has retransmissions, which probes are.
    pub(crate) fn is_probeable(&self) -> bool {
        self.rtx().is_some()
    }

    /// SSRC, payload type and time of what is sent again.
    fn rtx(&self) -> Option<(Ssrc, Pt, RtpTime)> {
        let (ssrc, pt) = match self.sent {
            Some(sent) => self.rtx_for(sent.codec)?,
            None => (self.spec.rtx_ssrc?, self.spec.codecs.iter().find_map(|codec| codec.rtx_pt)?),
        };
        Some((ssrc, pt, self.sent.map_or(RtpTime(0), |sent| sent.timestamp)))
    }

    /// Sends a packet of a probe and returns its size: the `nth` last packet once more, which repairs it should it have got
    /// lost, or nothing but padding under the retransmissions' SSRC, which receivers count and throw away.
    pub(crate) fn probe<'h>(
        &mut self,
        nth: u64,
        history_of: impl FnOnce(Key<Source>, usize, u32) -> Option<&'h History>,
        to: &mut Sender<'_>,
        egress: &mut Egress,
    ) -> Result<usize, Dropped> {
        let again = self.sent.and_then(|sent| sent.seq.0.checked_sub(nth)).map(ExtSeq);
        match again.map(|seq| self.send_again(seq, history_of, to, egress)) {
            Some(Ok(len)) => Ok(len),
            Some(Err(Dropped::NotInHistory)) | None => self.send_padding(to, egress),
            Some(Err(reason)) => Err(reason),
        }
    }

    /// A retransmission of nothing.
    fn send_padding(&mut self, to: &mut Sender<'_>, egress: &mut Egress) -> Result<usize, Dropped> {
        let (ssrc, pt, timestamp) = self.rtx().ok_or(Dropped::CodecNotReceivable)?;
        let mut extensions = Extensions::new();
        self.push_extensions(&mut extensions, to);
        let seq = self.rtx_seq;
        let out = Outgoing { marker: false, padding: true, pt, seq: seq.seq(), timestamp, ssrc };
        let header_len = out.len(&extensions);
        let len = header_len + PADDING_MAX + to.overhead;
        let bytes = to.transport.reserve(egress, len)?;
        out.write(&extensions, bytes);
        to.transport.seal_rtp(seq, ssrc, header_len, &[], bytes)?;
        to.transport.commit(egress);
        to.downlink.on_sent(to.clock, len);
        self.rtx_seq = ExtSeq(seq.0 + 1);
        Ok(len)
    }

    /// Sends a packet of this slot as a retransmission and returns its size.
    fn send_again<'h>(
        &mut self,
        seq: ExtSeq,
        history_of: impl FnOnce(Key<Source>, usize, u32) -> Option<&'h History>,
        to: &mut Sender<'_>,
        egress: &mut Egress,
    ) -> Result<usize, Dropped> {
        let mapping = *self
            .current
            .iter()
            .chain(self.past.iter().flatten())
            .find(|m| m.out_start <= seq)
            .ok_or(Dropped::NotInHistory)?;
        let history =
            history_of(mapping.source, mapping.layer, mapping.epoch).ok_or(Dropped::NotInHistory)?;
        let number = ExtSeq(mapping.in_start.0 + (seq.0 - mapping.out_start.0));
        let in_seq = history.at(mapping.tempo, number).ok_or(Dropped::NotInHistory)?;
        let (entry, payload) = history.find(in_seq).ok_or(Dropped::NotInHistory)?;
        let (ssrc, pt) = self.rtx_for(entry.codec).ok_or(Dropped::CodecNotReceivable)?;
        let is_whole = mapping.tempo >= entry.numbers.needed;
        let payload = if is_whole { payload } else { &[] };

        let mut extensions = Extensions::new();
        self.push_extensions(&mut extensions, to);
        if let (Some(id), Some(descriptor)) =
            (to.extensions.dependency_descriptor, history.descriptor(in_seq).filter(|_| is_whole))
        {
            push_dependency_descriptor(&mut extensions, id, descriptor, mapping.frame_number);
        }
        let out = Outgoing {
            marker: is_whole && entry.marker,
            padding: is_whole && entry.padding,
            pt,
            seq: self.rtx_seq.seq(),
            timestamp: mapping.time(entry.timestamp),
            ssrc,
        };
        let header_len = out.len(&extensions);
        let len = header_len + 2 + payload.len() + to.overhead;
        if len > to.datagram_max {
            return Err(Dropped::TooLarge);
        }
        let bytes = to.transport.reserve(egress, len)?;
        out.write(&extensions, bytes);
        bytes[header_len..header_len + 2].copy_from_slice(&seq.seq().0.to_be_bytes());
        let body = &mut bytes[header_len + 2..header_len + 2 + payload.len()];
        body.copy_from_slice(payload);
        mapping.patch(body, &entry.mark, &entry.numbers);
        to.transport.seal_rtp_in_place(self.rtx_seq, ssrc, header_len, bytes)?;
        to.transport.commit(egress);
        to.downlink.on_sent(to.clock, len);
        self.rtx_seq = ExtSeq(self.rtx_seq.0 + 1);
        Ok(len)
    }

    fn rtx_for(&self, codec: Codec) -> Option<(Ssrc, Pt)> {
        let pt = self.spec.codecs.iter().find(|c| c.codec == codec)?.rtx_pt?;
        Some((self.spec.rtx_ssrc?, pt))
    }
}
