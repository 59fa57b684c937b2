//! How much of the pictures a worker forwards when its core cannot carry all of them. Pure; time comes in.
//!
//! ```text
//! busy share   0 %            75 %           88 %      95 %      100 %
//! share        rising ─────────── as it is ──── falling ── halving ──       every 100 ms
//! ```
//!
//! Sound is not measured out: it is a small part of a room's packets, and people go on talking when they see nothing.
//! What is taken back at once, before the socket's buffer is full and sound is lost with the rest, is given back slowly,
//! so that what it was taken from is not asked twice.

/// Thousandths of the pictures that receivers would get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relief {
    permille: u32,
}

const WHOLE: u32 = 1000;
/// Percent of the time that the worker was at work: from here on its turns are late, and packets wait for it.
const BUSY: u32 = 88;
/// From here on it may be any number of times too much.
const FULL: u32 = 95;
/// Below this there is room for more.
const CALM: u32 = 75;
/// Below this so much that what is given back can hardly be too much.
const IDLE: u32 = 40;
/// Given back by each interval: to an idle core all within seven seconds, to another slowly enough that what one step brings
/// is seen before the next.
const GIVEN_BACK_IDLE: u32 = 15;
const GIVEN_BACK: u32 = 4;
/// So little that nobody gets anything; from here it would never rise by shares of itself.
const LEAST: u32 = 8;

impl Relief {
    pub(crate) fn new() -> Relief {
        Relief { permille: WHOLE }
    }

    /// Once an interval of the worker's pace: the share of it that the worker was at work.
    pub(crate) fn on_busy(&mut self, percent: u32) {
        self.permille = match percent {
            FULL.. => return self.halve(),
            BUSY..FULL => self.permille * 9 / 10,
            CALM..BUSY => self.permille,
            IDLE..CALM => self.permille + GIVEN_BACK,
            _ => self.permille + GIVEN_BACK_IDLE,
        }
        .clamp(LEAST, WHOLE);
    }

    pub(crate) fn halve(&mut self) {
        self.permille = (self.permille / 2).max(LEAST);
    }

    /// The most that a receiver's pictures may come to, of what they would; `None`: no bound. Those in the first places of
    /// `count` get more of it than the last, so that not all of a room change at once, and keep the picture that counts
    /// most, `smallest_bps`, when not everybody can.
    pub(crate) fn bound_bps(
        &self,
        wanted_bps: u64,
        smallest_bps: u64,
        place: usize,
        count: usize,
    ) -> Option<u64> {
        if self.is_whole() {
            return None;
        }
        // Twice the share for the first, less by the whole for the last: the share in the mean.
        let own = i64::from(2 * self.permille) - (place * WHOLE as usize / count.max(1)) as i64;
        let share = wanted_bps * own.clamp(0, WHOLE.into()) as u64 / u64::from(WHOLE);
        Some(if own > 0 { share.max(smallest_bps) } else { share })
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.permille == WHOLE
    }

    pub(crate) fn permille(&self) -> u32 {
        self.permille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(percents: &[u32]) -> Relief {
        let mut relief = Relief::new();
        percents.iter().for_each(|percent| relief.on_busy(*percent));
        relief
    }

    #[test]
    fn a_worker_with_time_to_spare_bounds_nothing() {
        assert_eq!(after(&[]).bound_bps(5_000_000, 150_000, 9, 10), None);
        assert_eq!(after(&[10, 74, 75, 87]).bound_bps(5_000_000, 150_000, 9, 10), None);
    }

    #[test]
    fn three_times_too_much_is_met_within_two_intervals_and_given_back_in_five_seconds() {
        let mut relief = after(&[100, 100]);
        assert_eq!(relief.permille(), 250);
        let intervals = std::iter::repeat_with(|| relief.on_busy(30)).take(50).count();
        assert_eq!((intervals, relief.permille()), (50, 1000));
    }

    #[test]
    fn between_the_marks_nothing_changes() {
        let mut relief = after(&[100, 90]);
        for percent in [75, 80, 87] {
            relief.on_busy(percent);
            assert_eq!(relief.permille(), 450);
        }
    }

    #[test]
    fn however_long_it_is_too_much_it_comes_back() {
        let mut relief = after(&[100; 50]);
        assert_eq!(relief.permille(), LEAST);
        (0..70).for_each(|_| relief.on_busy(0));
        assert_eq!(relief.permille(), WHOLE);
    }

    #[test]
    fn when_not_everybody_can_keep_a_picture_the_first_do() {
        let relief = after(&[100, 100]);
        let bounds: Vec<u64> = (0..8).filter_map(|place| relief.bound_bps(8_000, 1_500, place, 8)).collect();
        assert_eq!(bounds, [4_000, 3_000, 2_000, 1_500, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_given_back_becomes_the_whole_without_a_jump() {
        let mut relief = after(&[100]);
        while !relief.is_whole() {
            relief.on_busy(0);
        }
        relief.on_busy(90);
        let least = (0..8).filter_map(|place| relief.bound_bps(1_000, 0, place, 8)).min();
        assert_eq!(least, Some(925));
    }
}
