//! The packets that left to one receiver, by transport-wide sequence number, until the receiver has told of them.
//!
//! ```text
//!            settled                    next
//!  … told of │ 31 │ 32 │ 33 │ 34 │ 35 │        in flight: what lies between
//! ```

use crate::id::{ExtSeq, SeqNo};

/// Places taken with the first packet: half a second of a camera and sound. Eight bytes each.
const LEN_MIN: usize = 256;
/// Most places: two seconds of 2000 packets each, which is 20 Mbit/s of video.
const LEN_MAX: usize = 4096;
/// While what gives way is younger than this, the receiver may still tell of it, and the ring grows instead.
const YOUNG_US: u32 = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct SentPackets {
    places: Vec<Place>,
    next: u64,
    /// Below this number the receiver has told of everything, or will not any more.
    settled: u64,
    in_flight: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    sent_us: u32,
    bytes: u16,
    /// Probe that the packet belongs to; 0 for none.
    cluster: u8,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Empty,
    Flying,
    Lost,
    Arrived,
}

/// A packet of which the receiver has told something new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) seq: u64,
    pub(crate) sent_us: u64,
    pub(crate) bytes: u64,
    pub(crate) cluster: u8,
    pub(crate) news: News,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Arrived,
    Lost,
    /// It was told lost before and was only late.
    Late,
}

impl SentPackets {
    /// The number that the next packet carries.
    pub(crate) fn next_seq(&self) -> u16 {
        self.next as u16
    }

    /// Nothing that has left is in flight or will be told of.
    pub(crate) fn forget(&mut self) {
        *self = SentPackets { next: self.next, settled: self.next, ..SentPackets::default() };
    }

    pub(crate) fn on_sent(&mut self, now_us: u64, bytes: usize, cluster: u8) {
        if self.places.is_empty() {
            self.places = vec![Place::EMPTY; LEN_MIN];
        }
        let oldest = self.places[self.place(self.next)];
        let young = (now_us as u32).wrapping_sub(oldest.sent_us) < YOUNG_US;
        if oldest.fate == Fate::Flying && young && self.places.len() < LEN_MAX {
            self.grow();
        }
        if let Some(lapsed) = self.next.checked_sub(self.places.len() as u64) {
            self.settle(lapsed);
        }
        let place = self.place(self.next);
        self.places[place] = Place {
            sent_us: now_us as u32,
            bytes: bytes.min(usize::from(u16::MAX)) as u16,
            cluster,
            fate: Fate::Flying,
        };
        self.in_flight += u64::from(self.places[place].bytes);
        self.next += 1;
    }

    /// What the receiver tells of number `seq`. `None` for what never left, was told before or is long forgotten.
    pub(crate) fn on_status(&mut self, now_us: u64, seq: u16, arrived: bool) -> Option<Told> {
        let newest = self.next.checked_sub(1)?;
        let seq = ExtSeq(newest).nearest(SeqNo(seq)).0;
        if seq > newest || seq + self.places.len() as u64 <= newest || seq as u16 != ExtSeq(seq).seq().0 {
            return None;
        }
        let at = self.place(seq);
        let place = &mut self.places[at];
        let news = match (place.fate, arrived) {
            (Fate::Flying, true) => News::Arrived,
            (Fate::Flying, false) => News::Lost,
            (Fate::Lost, true) => News::Late,
            (Fate::Lost, false) | (Fate::Arrived | Fate::Empty, _) => return None,
        };
        place.fate = if arrived { Fate::Arrived } else { Fate::Lost };
        let Place { sent_us, bytes, cluster, .. } = *place;
        let age_us = u64::from((now_us as u32).wrapping_sub(sent_us));
        self.settle(seq);
        Some(Told { seq, sent_us: now_us.saturating_sub(age_us), bytes: u64::from(bytes), cluster, news })
    }

    /// Number of the next packet, extended: what is told below it has left before this moment.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Below this number nothing is in flight.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// Bytes of what left behind the newest packet that the receiver has told of.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// What has left is not in flight any more, though the receiver may still tell of it.
    pub(crate) fn give_up(&mut self) {
        self.settle(self.next);
    }

    fn settle(&mut self, through: u64) {
        while self.settled <= through && self.settled < self.next {
            let bytes = self.places[self.place(self.settled)].bytes;
            self.in_flight = self.in_flight.saturating_sub(u64::from(bytes));
            self.settled += 1;
        }
    }

    fn grow(&mut self) {
        let before = self.places.len() as u64;
        let mut grown = vec![Place::EMPTY; self.places.len() * 2];
        let mask = grown.len() as u64 - 1;
        for seq in self.next.saturating_sub(before)..self.next {
            grown[(seq & mask) as usize] = self.places[self.place(seq)];
        }
        self.places = grown;
    }

    /// Lengths are powers of two.
    fn place(&self, seq: u64) -> usize {
        (seq & (self.places.len() as u64 - 1)) as usize
    }
}

impl Place {
    const EMPTY: Place = Place { sent_us: 0, bytes: 0, cluster: 0, fate: Fate::Empty };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_packet_is_told_of_once_and_a_late_one_twice() {
        let mut sent = SentPackets::default();
        assert_eq!(sent.on_status(0, 0, true), None, "nothing has left");
        for nth in 0..4_u64 {
            sent.on_sent(nth * 1000, 100, 0);
        }
        let told = |seq, sent_us, news| Some(Told { seq, sent_us, bytes: 100, cluster: 0, news });
        assert_eq!(sent.on_status(9000, 0, true), told(0, 0, News::Arrived));
        assert_eq!(sent.on_status(9000, 1, false), told(1, 1000, News::Lost));
        assert_eq!(sent.on_status(9000, 2, true), told(2, 2000, News::Arrived));
        assert_eq!(sent.in_flight(), 100);
        assert_eq!(sent.on_status(9000, 2, true), None);
        assert_eq!(sent.on_status(9000, 1, true), told(1, 1000, News::Late));
        assert_eq!(sent.on_status(9000, 1, false), None);
        assert_eq!(sent.on_status(9000, 4, true), None, "it has not left");
    }

    #[test]
    fn on_another_path_nothing_of_the_one_before_is_in_flight_and_the_numbers_go_on() {
        let mut sent = SentPackets::default();
        for nth in 0..300_u64 {
            sent.on_sent(nth * 1000, 100, 0);
        }
        sent.forget();
        assert_eq!((sent.next_seq(), sent.in_flight(), sent.settled()), (300, 0, 300));
        assert_eq!(sent.on_status(400_000, 299, true), None);
        sent.on_sent(400_000, 100, 0);
        assert_eq!(sent.on_status(500_000, 299, true), None, "it left on the path before");
        assert_eq!(sent.on_status(500_000, 300, true).map(|told| told.news), Some(News::Arrived));
        assert_eq!(sent.in_flight(), 0);
    }

    #[test]
    fn numbers_go_on_across_their_wrap_and_times_across_theirs() {
        let mut sent = SentPackets::default();
        let start = u64::from(u32::MAX) - 70_000_000;
        for nth in 0..70_000_u64 {
            sent.on_sent(start + nth * 2000, 100, 0);
            if nth >= 100 {
                sent.on_status(start + nth * 2000, (nth - 100) as u16, true);
            }
        }
        let told = sent.on_status(start + 140_000_000, 69_950_u32 as u16, true).unwrap();
        assert_eq!((told.seq, told.sent_us), (69_950, start + 69_950 * 2000));
        assert_eq!(sent.places.len(), LEN_MIN, "who is told of everything needs no more");
    }

    #[test]
    fn what_is_not_told_of_stops_being_in_flight_and_the_ring_has_an_end() {
        let mut sent = SentPackets::default();
        for nth in 0..3 * LEN_MAX as u64 {
            sent.on_sent(nth, 10, 0);
        }
        assert_eq!(sent.places.len(), LEN_MAX);
        assert_eq!(sent.in_flight(), 10 * LEN_MAX as u64);
        let newest = 3 * LEN_MAX as u64 - 1;
        assert!(sent.on_status(newest, newest as u16, true).is_some());
        assert_eq!(sent.in_flight(), 0);
        assert!(
            sent.on_status(newest, (newest - LEN_MAX as u64 + 1) as u16, true).is_some(),
            "grown in order"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_told_no_byte_is_counted_twice(
            told in prop::collection::vec((any::<u16>(), any::<bool>()), 0..2000),
            sends in 1..3000_u64,
        ) {
            let mut sent = SentPackets::default();
            for nth in 0..sends {
                sent.on_sent(nth * 100, 7, 0);
            }
            let mut arrived = 0;
            for (seq, here) in told {
                if let Some(told) = sent.on_status(sends * 100, seq % 3000, here) {
                    prop_assert!(told.seq < sends);
                    arrived += u64::from(here) * told.bytes;
                }
                prop_assert_eq!(sent.in_flight(), 7 * (sent.next() - sent.settled()));
            }
            prop_assert!(arrived <= 7 * sends);
        }
    }
}
