//! When a publisher's packets arrived, for transport-wide feedback to its bandwidth estimator
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::{Duration, Instant};

use crate::id::{SeqNo, Ssrc};
use crate::wire::twcc::{Arrival, write_feedback_since};

/// Arrivals kept between two feedbacks; more packets than this make a feedback due at once.
const ARRIVALS_MAX: usize = 256;
/// Feedback interval: what browsers' estimators are tuned for.
const INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Arrivals {
    arrivals: Vec<Arrival>,
    feedback_count: u8,
    /// First sequence number that no feedback has told of.
    next_seq: Option<u16>,
    sent: Option<Instant>,
}

impl Arrivals {
    pub(crate) fn new() -> Arrivals {
        Arrivals { arrivals: Vec::new(), feedback_count: 0, next_seq: None, sent: None }
    }

    pub(crate) fn on_packet(&mut self, seq: u16, clock: Duration) {
        let arrival = Arrival { seq, at_us: clock.as_micros() as u64 };
        let ahead = |a: &Arrival| (seq.wrapping_sub(a.seq) as i16) > 0;
        let place = self.arrivals.iter().rposition(ahead).map_or(0, |i| i + 1);
        let known = self.arrivals.get(place).is_some_and(|a| a.seq == seq);
        if known || self.arrivals.len() == ARRIVALS_MAX {
            return;
        }
        if self.arrivals.capacity() == 0 {
            // Once, with the first packet: who only listens needs none of it.
            self.arrivals.reserve_exact(ARRIVALS_MAX);
        }
        self.arrivals.insert(place, arrival);
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.arrivals.is_empty()
            && (self.arrivals.len() > ARRIVALS_MAX / 2 || self.sent.is_none_or(|sent| now >= sent + INTERVAL))
    }

    /// Writes one feedback packet; to be called until it returns `None`.
    pub(crate) fn next_feedback(
        &mut self,
        now: Instant,
        out: &mut [u8],
        sender: Ssrc,
        media: Ssrc,
    ) -> Option<usize> {
        let first = self.arrivals.first()?.seq;
        self.sent = Some(now);
        // What is missing since the last feedback is told as lost; what came late is told again from its own place.
        let missed = |next: u16| (first.wrapping_sub(next) as i16) >= 0;
        let base = self.next_seq.filter(|next| missed(*next)).unwrap_or(first);
        let count = self.feedback_count;
        let written = write_feedback_since(out, sender, media, count, base, &self.arrivals)
            .or_else(|| write_feedback_since(out, sender, media, count, first, &self.arrivals));
        let Some((bytes, consumed)) = written.filter(|(_, consumed)| *consumed > 0) else {
            self.arrivals.clear();
            return None;
        };
        let next = self.arrivals[consumed - 1].seq.wrapping_add(1);
        // A packet that came late moves nothing back: what was told as arrived is not told as lost again.
        if self.next_seq.is_none_or(|known| (next.wrapping_sub(known) as i16) > 0) {
            self.next_seq = Some(next);
        }
        self.feedback_count = count.wrapping_add(1);
        self.arrivals.drain(..consumed);
        Some(bytes)
    }
}

/// Sequence numbers asked for in one message; also the bound of one turn's requests to one layer.
pub(crate) const NACKS_MAX: usize = 64;

/// A list of lost packets that is used again and again.
pub(crate) fn nack_list() -> Vec<SeqNo> {
    Vec::with_capacity(NACKS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_arrival_does_not_make_the_next_feedback_tell_of_old_losses() {
        let mut arrivals = Arrivals::new();
        let (now, mut out) = (Instant::now(), [0; 1200]);
        let mut feedback_on = |seqs: &[u16]| {
            for seq in seqs {
                arrivals.on_packet(*seq, Duration::from_millis(5));
            }
            let len = arrivals.next_feedback(now, &mut out, Ssrc(1), Ssrc(2)).unwrap();
            assert!(arrivals.next_feedback(now, &mut [0; 1200], Ssrc(1), Ssrc(2)).is_none());
            // Base and count of statuses.
            out[12..16.min(len)].to_vec()
        };
        assert_eq!(feedback_on(&[10, 11, 13]), [0, 10, 0, 4]);
        assert_eq!(feedback_on(&[12]), [0, 12, 0, 1]);
        assert_eq!(feedback_on(&[16]), [0, 14, 0, 3]);
        assert_eq!(feedback_on(&[30_000]), [30_000_u16.to_be_bytes(), [0, 1]].concat());
    }

    #[test]
    fn reordered_and_repeated_arrivals_are_kept_once_in_order_across_the_wrap() {
        let mut arrivals = Arrivals::new();
        for seq in [65_534, 0, 65_535, 0, 1] {
            arrivals.on_packet(seq, Duration::from_millis(5));
        }
        let seqs: Vec<u16> = arrivals.arrivals.iter().map(|a| a.seq).collect();
        assert_eq!(seqs, [65_534, 65_535, 0, 1]);
    }
}
