//! Counting what arrives by what is in the clear: sequence numbers per SSRC (RFC 3550 appendix A.1, A.3).

/// One received stream. Sequence numbers are extended, so that a wrap is no loss.
#[derive(Clone, Debug)]
pub struct Tally {
    pub ssrc: u32,
    pub pt: u8,
    highest: u64,
    /// Bit n: `highest - n` has come.
    seen: u64,
    window: Window,
}

/// What one stream brought since the window began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    pub packets: u64,
    pub bytes: u64,
    /// Came after one with a higher number.
    pub reordered: u64,
    pub duplicates: u64,
    /// Numbers that the stream advanced by: what came if nothing was lost.
    pub span: u64,
}

/// An older packet than this cannot be told from a duplicate.
const SEEN: u64 = 64;

impl Tally {
    pub fn new(ssrc: u32, pt: u8, seq: u16) -> Tally {
        // Room below for packets that come late at the start.
        let highest = (1 << 32) + u64::from(seq) - 1;
        Tally { ssrc, pt, highest, seen: 0, window: Window::default() }
    }

    pub fn on_packet(&mut self, seq: u16, bytes: usize) {
        let step = i64::from(seq.wrapping_sub(self.highest as u16) as i16);
        if step > 0 {
            let step = step as u64;
            self.highest += step;
            self.seen = if step < SEEN { self.seen << step } else { 0 } | 1;
            self.window.span += step;
        } else {
            let age = step.unsigned_abs();
            let bit = 1u64.checked_shl(age as u32).unwrap_or(0);
            if self.seen & bit != 0 {
                self.window.duplicates += 1;
                return;
            }
            self.seen |= bit;
            self.window.reordered += 1;
        }
        self.window.packets += 1;
        self.window.bytes += bytes as u64;
    }

    /// Begins another window, and tells what the last one brought.
    pub fn turn(&mut self) -> Window {
        std::mem::take(&mut self.window)
    }

    /// As a receiver report says it.
    pub fn highest_seq(&self) -> u32 {
        self.highest as u32
    }
}

impl Window {
    pub fn lost(&self) -> u64 {
        self.span.saturating_sub(self.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(seqs: impl IntoIterator<Item = u16>) -> Window {
        let mut seqs = seqs.into_iter().peekable();
        let mut tally = Tally::new(7, 96, *seqs.peek().unwrap());
        seqs.for_each(|seq| tally.on_packet(seq, 100));
        tally.turn()
    }

    #[test]
    fn a_stream_in_order_has_lost_nothing_even_over_the_wrap() {
        let window = tally((65_000..=65_535).chain(0..1000));
        assert_eq!(window, Window { packets: 1536, bytes: 153_600, span: 1536, ..Window::default() });
        assert_eq!(window.lost(), 0);
    }

    #[test]
    fn a_gap_is_loss_until_it_is_filled() {
        assert_eq!(tally([10, 11, 14]).lost(), 2);
        let window = tally([10, 11, 14, 13, 12]);
        assert_eq!((window.lost(), window.reordered, window.packets), (0, 2, 5));
    }

    #[test]
    fn a_duplicate_does_not_hide_a_loss() {
        let window = tally([10, 11, 11, 11, 13]);
        assert_eq!((window.lost(), window.duplicates, window.packets), (1, 2, 3));
    }

    #[test]
    fn a_window_begins_where_the_last_one_ended() {
        let mut tally = Tally::new(7, 96, 1);
        (1..=50).for_each(|seq| tally.on_packet(seq, 1));
        assert_eq!(tally.turn().span, 50);
        tally.on_packet(53, 1);
        let window = tally.turn();
        assert_eq!((window.span, window.packets, window.lost()), (3, 1, 2));
    }
}
