//! Packets that left together are one measurement (draft-ietf-rmcat-gcc-02 §5.2): the delay variation is that between the
//! last packets of two groups.
//!
//! Everything that is due to a receiver leaves as a train with one send time, and a train arrives stretched by the
//! slowest link; so does what a Wi-Fi network has held back, at once. Both are one group.

/// Packets that left within this time are one group (§5.2, burst_time).
const GROUP_US: i64 = 5_000;
/// A packet that comes so soon behind the last one, and with less delay, was queued with it.
const BURST_GAP_US: i64 = 5_000;
/// Longest burst: what comes later tells something of its own.
const BURST_US: i64 = 100_000;
/// A clock that jumps is another clock.
const JUMP_US: i64 = 3_000_000;

#[derive(Debug, Default)]
pub(crate) struct Groups {
    before: Option<Group>,
    current: Option<Group>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent_us: i64,
    last_sent_us: i64,
    first_arrived_us: i64,
    last_arrived_us: i64,
}

/// From one group to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) sent_us: i64,
    pub(crate) arrived_us: i64,
    /// When the later group had arrived, on the receiver's clock.
    pub(crate) at_us: i64,
}

impl Groups {
    /// In the order of sending. A step when the packet begins a group and two are complete before it.
    pub(crate) fn on_packet(&mut self, sent_us: i64, arrived_us: i64) -> Option<Step> {
        let Some(current) = &mut self.current else {
            self.current = Some(Group::new(sent_us, arrived_us));
            return None;
        };
        if sent_us < current.first_sent_us {
            return None;
        }
        if (arrived_us - current.last_arrived_us).abs() > JUMP_US {
            *self = Groups { before: None, current: Some(Group::new(sent_us, arrived_us)) };
            return None;
        }
        if current.takes(sent_us, arrived_us) {
            current.last_sent_us = current.last_sent_us.max(sent_us);
            current.last_arrived_us = current.last_arrived_us.max(arrived_us);
            return None;
        }
        let complete = *current;
        *current = Group::new(sent_us, arrived_us);
        let before = self.before.replace(complete)?;
        Some(Step {
            sent_us: complete.last_sent_us - before.last_sent_us,
            arrived_us: complete.last_arrived_us - before.last_arrived_us,
            at_us: complete.last_arrived_us,
        })
    }
}

impl Group {
    fn new(sent_us: i64, arrived_us: i64) -> Group {
        Group {
            first_sent_us: sent_us,
            last_sent_us: sent_us,
            first_arrived_us: arrived_us,
            last_arrived_us: arrived_us,
        }
    }

    fn takes(&self, sent_us: i64, arrived_us: i64) -> bool {
        if sent_us - self.first_sent_us <= GROUP_US {
            return true;
        }
        let gap = arrived_us - self.last_arrived_us;
        let variation = gap - (sent_us - self.last_sent_us);
        variation < 0 && gap <= BURST_GAP_US && arrived_us - self.first_arrived_us < BURST_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_that_the_line_stretches_is_one_group() {
        let mut groups = Groups::default();
        for nth in 0..10 {
            assert_eq!(groups.on_packet(0, 20_000 + nth * 9_000), None);
        }
        assert_eq!(groups.on_packet(200_000, 220_000), None);
        let step = groups.on_packet(240_000, 265_000).unwrap();
        assert_eq!(step, Step { sent_us: 200_000, arrived_us: 119_000, at_us: 220_000 });
    }

    #[test]
    fn what_was_held_back_and_came_at_once_is_one_group() {
        let mut groups = Groups::default();
        groups.on_packet(0, 10_000);
        groups.on_packet(20_000, 30_000);
        // A pause of the network, and then four packets that left 20 ms apart.
        let steps: Vec<_> =
            (2..6).filter_map(|nth| groups.on_packet(nth * 20_000, 110_000 + nth * 500)).collect();
        assert_eq!(steps.len(), 1, "only what was before the pause: {steps:?}");
    }

    #[test]
    fn late_packets_and_jumping_clocks_make_no_step() {
        let mut groups = Groups::default();
        groups.on_packet(100_000, 110_000);
        assert_eq!(groups.on_packet(50_000, 120_000), None);
        groups.on_packet(120_000, 130_000);
        assert_eq!(groups.on_packet(140_000, i64::from(u32::MAX)), None);
        assert_eq!(groups.on_packet(160_000, i64::from(u32::MAX) + 20_000), None);
    }
}
