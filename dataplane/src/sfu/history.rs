//! The last packets of one layer in the clear, kept for retransmission: one copy per packet that came in, none per
//! receiver. Bounded; overwritten in place; zeroed when the layer goes.

use std::fmt;

use zeroize::Zeroize;

use crate::id::{Codec, ExtSeq, RtpTime};
use crate::sfu::tempo::{Numbers, Tempo};
use crate::wire::codec::FrameMark;

/// Longest payload kept; a longer one is forwarded but cannot be sent again.
pub(crate) const PAYLOAD_MAX: usize = 1472;

/// What is needed to send a packet again beside its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) seq: ExtSeq,
    pub(crate) timestamp: RtpTime,
    pub(crate) marker: bool,
    pub(crate) padding: bool,
    pub(crate) codec: Codec,
    pub(crate) mark: FrameMark,
    pub(crate) numbers: Numbers,
    len: u16,
    /// Of the dependency descriptor behind the payload; 0 for none.
    descriptor_len: u16,
}

pub(crate) struct History {
    entries: Vec<Option<Entry>>,
    newest: Option<ExtSeq>,
    payloads: Vec<u8>,
}

impl History {
    pub(crate) fn new() -> History {
        History { entries: Vec::new(), newest: None, payloads: Vec::new() }
    }

    /// Takes the memory for `packets` entries (rounded up to a power of two), once.
    pub(crate) fn provide(&mut self, packets: usize) {
        if self.entries.is_empty() {
            let packets = packets.next_power_of_two();
            self.entries = vec![None; packets];
            self.payloads = vec![0; packets * PAYLOAD_MAX];
        }
    }

    /// A descriptor that finds no room behind the payload is not kept.
    pub(crate) fn store(&mut self, mut entry: Entry, payload: &[u8], descriptor: Option<&[u8]>) {
        if self.entries.is_empty() || payload.len() > PAYLOAD_MAX {
            return;
        }
        let place = self.place(entry.seq);
        if self.entries[place].is_some_and(|e| e.seq > entry.seq) {
            // A retransmission that took too long.
            return;
        }
        entry.len = payload.len() as u16;
        let (start, end) = (place * PAYLOAD_MAX, (place + 1) * PAYLOAD_MAX);
        let (payload_place, rest) = self.payloads[start..end].split_at_mut(payload.len());
        payload_place.copy_from_slice(payload);
        let kept = descriptor.and_then(|descriptor| Some((rest.get_mut(..descriptor.len())?, descriptor)));
        if let Some((place, descriptor)) = kept {
            place.copy_from_slice(descriptor);
            entry.descriptor_len = descriptor.len() as u16;
        }
        self.entries[place] = Some(entry);
        self.newest = self.newest.max(Some(entry.seq));
    }

    pub(crate) fn contains(&self, seq: ExtSeq) -> bool {
        !self.entries.is_empty() && self.entries[self.place(seq)].is_some_and(|e| e.seq == seq)
    }

    pub(crate) fn find(&self, seq: ExtSeq) -> Option<(&Entry, &[u8])> {
        if self.entries.is_empty() {
            return None;
        }
        let place = self.place(seq);
        let entry = self.entries[place].as_ref().filter(|e| e.seq == seq)?;
        Some((entry, &self.payloads[place * PAYLOAD_MAX..][..usize::from(entry.len)]))
    }

    /// The dependency descriptor of a packet that is kept.
    pub(crate) fn descriptor(&self, seq: ExtSeq) -> Option<&[u8]> {
        let (entry, payload) = self.find(seq)?;
        let start = self.place(seq) * PAYLOAD_MAX + payload.len();
        let descriptor = &self.payloads[start..start + usize::from(entry.descriptor_len)];
        Some(descriptor).filter(|descriptor| !descriptor.is_empty())
    }

    /// The packet that has this number at a tempo, or would have it if it had not been lost.
    pub(crate) fn at(&self, tempo: Tempo, number: ExtSeq) -> Option<ExtSeq> {
        let mut seq = self.newest?;
        // Numbers grow by no more than one with each packet, so no step goes too far.
        loop {
            let ahead = self.numbers(seq)?.seq(tempo).0.checked_sub(number.0)?;
            if ahead == 0 {
                return Some(seq);
            }
            seq = ExtSeq(seq.0.checked_sub(ahead)?);
        }
    }

    /// The numbers of a packet that is kept or missing.
    pub(crate) fn numbers(&self, seq: ExtSeq) -> Option<Numbers> {
        let newest = self.newest.filter(|newest| newest.0 < seq.0 + self.entries.len() as u64)?;
        let (next, found) = (seq.0..=newest.0).find_map(|next| Some((next, self.find(ExtSeq(next))?.0)))?;
        Some(if next == seq.0 { found.numbers } else { found.numbers.before(next - seq.0) })
    }

    /// Forgets every packet and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.entries.fill(None);
        self.newest = None;
        self.payloads.as_mut_slice().zeroize();
    }

    fn place(&self, seq: ExtSeq) -> usize {
        seq.0 as usize & (self.entries.len() - 1)
    }
}

/// What people said and showed is for nobody's eyes.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("History(redacted)")
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.payloads.as_mut_slice().zeroize();
    }
}

impl Entry {
    pub(crate) fn new(
        seq: ExtSeq,
        timestamp: RtpTime,
        marker: bool,
        padding: bool,
        codec: Codec,
        mark: FrameMark,
    ) -> Entry {
        let numbers = Numbers::whole(seq);
        Entry { seq, timestamp, marker, padding, codec, mark, numbers, len: 0, descriptor_len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry::new(ExtSeq(seq), RtpTime(0), false, false, Codec::Vp8, FrameMark::default())
    }

    #[test]
    fn debug_output_shows_no_media() {
        let mut history = History::new();
        history.provide(4);
        history.store(entry(1), &[199; 3], None);
        assert!(!format!("{history:?}").contains("199"));
    }

    #[test]
    fn the_oldest_packet_gives_way_and_is_not_found_again() {
        let mut history = History::new();
        history.provide(4);
        for seq in 10..15 {
            history.store(entry(seq), &[seq as u8; 3], Some(&[seq as u8 + 100; 4]));
        }
        assert!(history.find(ExtSeq(10)).is_none());
        assert_eq!(history.find(ExtSeq(14)).map(|(_, p)| p), Some(&[14u8; 3][..]));
        assert_eq!(history.descriptor(ExtSeq(14)), Some(&[114; 4][..]));
        assert!(history.contains(ExtSeq(11)) && !history.contains(ExtSeq(15)));
        history.store(entry(10), &[10; 3], None);
        assert!(!history.contains(ExtSeq(10)) && history.contains(ExtSeq(14)), "the newest stays");
    }
}
