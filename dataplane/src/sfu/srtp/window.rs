//! The replay window of one SSRC: a ring of bits over the packet index, as in RFC 6479.

use crate::counters::Dropped;

/// At least 449 packets wide: half a second of a 1080p keyframe burst, with the reordering of a bad path.
pub(super) struct Window {
    highest: u64,
    /// Bit `i % 64` of word `i / 64 % WORDS` says whether index `i` has been seen.
    seen: [u64; WORDS],
}

const WORDS: usize = 8;

impl Window {
    pub(super) fn starting_at(index: u64) -> Window {
        let mut window = Window { highest: index, seen: [0; WORDS] };
        window.mark(index);
        window
    }

    /// To be called only for an index whose packet has been authenticated, and that `check` let through.
    pub(super) fn mark(&mut self, index: u64) {
        let word = index / 64;
        let top = self.highest / 64;
        if index > self.highest {
            for fresh in 1..=(word - top).min(WORDS as u64) {
                self.seen[slot(top + fresh)] = 0;
            }
            self.highest = index;
        }
        self.seen[slot(word)] |= 1 << (index % 64);
    }

    pub(super) fn check(&self, index: u64) -> Result<(), Dropped> {
        if index > self.highest {
            return Ok(());
        }
        if index / 64 + WORDS as u64 <= self.highest / 64 {
            return Err(Dropped::SrtpTooOld);
        }
        if self.seen[slot(index / 64)] & (1 << (index % 64)) != 0 {
            return Err(Dropped::SrtpReplayed);
        }
        Ok(())
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }
}

fn slot(word: u64) -> usize {
    (word % WORDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn window_agrees_with_a_set_of_everything_seen(
            start in 0u64..1000,
            steps in proptest::collection::vec(-600i64..700, 1..400),
        ) {
            let mut window = Window::starting_at(start);
            let mut seen = HashSet::from([start]);
            for step in steps {
                let index = window.highest().saturating_add_signed(step);
                match window.check(index) {
                    Ok(()) => {
                        prop_assert!(seen.insert(index));
                        window.mark(index);
                    }
                    Err(Dropped::SrtpReplayed) => prop_assert!(seen.contains(&index)),
                    Err(reason) => {
                        prop_assert_eq!(reason, Dropped::SrtpTooOld);
                        prop_assert!(window.highest() - index > 448);
                    }
                }
            }
        }
    }
}
