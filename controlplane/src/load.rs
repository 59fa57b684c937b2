//! How busy one worker is, by its own reports: where the next room goes, and whether more video is taken. Sans-IO.

/// A worker that is busy for this share of its time does not take more video: what is left is needed for keyframes and
/// joins, which come in bursts.
const FULL_PERCENT: u8 = 85;
/// Below this share it takes video again; the distance keeps cameras from being let in and refused in turn.
const FREE_PERCENT: u8 = 70;
/// Reports in a row, one a second: a burst is no load.
const REPORTS: u8 = 2;
/// What a room that was just placed is taken for until the next report.
const ROOM_PERCENT: u32 = 10;
/// Loads that differ by less are alike, and the number of participants decides.
const STEP_PERCENT: u32 = 10;

#[derive(Default, Debug)]
pub(crate) struct Load {
    busy_percent: u8,
    high: u8,
    is_full: bool,
    placed: u32,
}

impl Load {
    /// The share of the last second that the worker spent in turns.
    pub(crate) fn on_report(&mut self, busy_percent: u8) {
        self.busy_percent = busy_percent;
        self.placed = 0;
        self.high = if busy_percent >= FULL_PERCENT { (self.high + 1).min(REPORTS) } else { 0 };
        self.is_full = self.high == REPORTS || (self.is_full && busy_percent >= FREE_PERCENT);
    }

    pub(crate) fn on_placed(&mut self) {
        self.placed += 1;
    }

    pub(crate) fn takes_video(&self) -> bool {
        !self.is_full
    }

    /// The lower, the better a place for a room.
    pub(crate) fn rank(&self) -> u32 {
        (u32::from(self.busy_percent) + self.placed * ROOM_PERCENT) / STEP_PERCENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_no_overload_and_the_end_of_one_needs_room() {
        let mut load = Load::default();
        let mut takes = |busy| {
            load.on_report(busy);
            load.takes_video()
        };
        assert_eq!([100, 60, 90].map(&mut takes), [true; 3], "never two in a row");
        assert_eq!([90, 80, 70].map(&mut takes), [false; 3]);
        assert_eq!([69, 84, 90].map(&mut takes), [true; 3]);
        assert!(!takes(85));
    }

    #[test]
    fn rooms_opened_within_a_second_do_not_all_go_to_the_same_worker() {
        let (mut idle, mut busy) = (Load::default(), Load::default());
        idle.on_report(4);
        busy.on_report(25);
        let mut placed = [0; 2];
        for _ in 0..10 {
            let (load, count) = match idle.rank() <= busy.rank() {
                true => (&mut idle, 0),
                false => (&mut busy, 1),
            };
            load.on_placed();
            placed[count] += 1;
        }
        assert_eq!(placed, [6, 4]);
    }
}
