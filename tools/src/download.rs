//! A greedy TCP download as far as a shared line can tell it from a real one: slow start, additive increase, halving once a
//! round trip on loss, and a timeout (RFC 5681). Sans-IO: who has it sends its segments and brings their acknowledgements.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Bytes of a segment, headers included.
pub const SEGMENT_BYTES: usize = 1448;
/// Bytes of an acknowledgement.
pub const ACKNOWLEDGEMENT_BYTES: usize = 40;
/// Acknowledgements of later segments after which an earlier one counts as lost.
const DUPLICATES: u64 = 3;
const TIMEOUT: Duration = Duration::from_millis(1000);
const WINDOW_MIN: f64 = 2.0;

#[derive(Debug)]
pub struct Download {
    next: u64,
    /// When each was sent, and whether for the second time: those come behind their neighbours without being lost.
    flying: BTreeMap<u64, (Instant, bool)>,
    lost: BTreeSet<u64>,
    window: f64,
    threshold: f64,
    /// The window is not made smaller again for what was sent before this.
    recovers_until: u64,
}

impl Default for Download {
    fn default() -> Download {
        Download {
            next: 0,
            flying: BTreeMap::new(),
            lost: BTreeSet::new(),
            window: 10.0,
            threshold: f64::INFINITY,
            recovers_until: 0,
        }
    }
}

impl Download {
    /// The number of the segment that is to be sent now, if one may be.
    pub fn next_segment(&mut self, now: Instant) -> Option<u64> {
        if self.flying.len() >= self.window as usize {
            return None;
        }
        let again = self.lost.pop_first();
        let number = again.unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        self.flying.insert(number, (now, again.is_some()));
        Some(number)
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.flying.values().map(|(sent, _)| *sent + TIMEOUT).min()
    }

    /// True when the timeout was due: everything that was under way is sent again, slowly.
    pub fn on_time(&mut self, now: Instant) -> bool {
        let is_due = self.next_timeout().is_some_and(|at| at <= now);
        if is_due {
            self.lost.extend(std::mem::take(&mut self.flying).into_keys());
            self.threshold = (self.window / 2.0).max(WINDOW_MIN);
            self.window = 1.0;
            self.recovers_until = self.next;
        }
        is_due
    }

    pub fn on_acknowledged(&mut self, number: u64) {
        if self.flying.remove(&number).is_none() {
            return;
        }
        self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
        let behind = self.flying.range(..number.saturating_sub(DUPLICATES));
        let late: Vec<u64> = behind.filter(|(_, (_, again))| !again).map(|(late, _)| *late).collect();
        for late in late {
            self.flying.remove(&late);
            self.lost.insert(late);
            if late >= self.recovers_until {
                self.window = (self.window / 2.0).max(WINDOW_MIN);
                self.threshold = self.window;
                self.recovers_until = self.next;
            }
        }
    }
}
