//! Divides what a receiver's line carries over the pictures that its page wants to show. Pure.
//!
//! ```text
//! 1. everybody's least, the most important first              nobody starves while there is enough for all
//! 2. everybody's smallest layer with all of its pictures
//! 3. screens, then what is drawn large: as high as they go    the picture that people look at
//! 4. the rest in turns, a step each
//! what finds no place for its least is paused                 a picture that cannot be watched helps nobody
//! ```
//!
//! A step is a layer, or where the publisher makes it so, a layer with half of its pictures, which is for whom it was whole
//! before; the least is the smallest layer with a quarter of them.
//!
//! A layer above the present one has to fit with room to spare, and for some time: at the edge of a line's rate pictures
//! would otherwise change with every breath of it. What does not fit goes at once.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::sfu::tempo::Tempo;

/// Layers of one source; browsers send three at most.
pub(crate) const LAYERS_MAX: usize = 4;
/// Each of them with half of its pictures or all, and the smallest with a quarter.
const RUNGS_MAX: usize = 2 * LAYERS_MAX + 1;
/// What a layer above the present one is taken to cost, in percent: an estimate and an encoder both err by about as much.
const RISE_PERCENT: u64 = 115;
/// What a line has to carry, in percent of what somebody would like to see, for all of it to be granted for good.
const WANTS_PERCENT: u64 = 130;
/// What the present layers may be above the estimate, in percent, before they count as not carried.
const SLACK_PERCENT: u64 = 105;
/// How long an improvement must have been possible.
const PATIENCE: Duration = Duration::from_millis(1000);
/// Drawn this much higher than the smallest tile counts as large.
const LARGE_FACTOR: u16 = 2;

/// What may be chosen of a source, from the least to all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ladder {
    rungs: [Rung; RUNGS_MAX],
    len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rung {
    pub(crate) layer: usize,
    pub(crate) tempo: Tempo,
    pub(crate) bps: u64,
}

/// What people look at comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Weight {
    Screen,
    Large,
    Small,
}

/// What one slot asks for and gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Place among the receiver's slots.
    pub(crate) slot: usize,
    pub(crate) weight: Weight,
    /// The owner speaks at the moment.
    pub(crate) speaks: bool,
    /// As it is drawn.
    pub(crate) height: u16,
    pub(crate) ladder: Ladder,
    /// The rung that it has; `None` while it shows nothing.
    pub(crate) held: Option<usize>,
    /// The rung that it gets; `None`: pause.
    pub(crate) granted: Option<usize>,
}

/// One receiver's memory between two divisions.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Since when something else than what is held would be granted.
    since: Option<Instant>,
    /// The page asked for something else: it shall not wait.
    skip: bool,
}

impl Ladder {
    pub(crate) fn push(&mut self, rung: Rung) {
        if let Some(place) = self.rungs.get_mut(self.len) {
            *place = rung;
            self.len += 1;
        }
    }

    pub(crate) fn rungs(&self) -> &[Rung] {
        &self.rungs[..self.len]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The highest rung that is no more than this.
    pub(crate) fn rung_of(&self, layer: usize, tempo: Tempo) -> Option<usize> {
        self.rungs().iter().rposition(|rung| (rung.layer, rung.tempo) <= (layer, tempo))
    }

    /// The rung of the smallest layer with all of its pictures.
    fn smallest(&self) -> usize {
        self.rungs().iter().position(|rung| rung.tempo == Tempo::Full).unwrap_or(0)
    }
}

impl Demand {
    /// Goes up by a rung if that fits into what is left.
    fn climb(&mut self, left: &mut u64) -> bool {
        let next = self.granted.map_or(0, |rung| rung + 1);
        if next >= self.ladder.len {
            return false;
        }
        let cost = self.price(next).saturating_sub(self.granted.map_or(0, |rung| self.price(rung)));
        let Some(rest) = left.checked_sub(cost) else { return false };
        *left = rest;
        self.granted = Some(next);
        true
    }

    fn importance(&self) -> (Weight, bool, Reverse<u16>, usize) {
        (self.weight, !self.speaks, Reverse(self.height), self.slot)
    }

    /// A larger layer begins with a keyframe, which is as large for whoever gets half of the pictures: nobody begins with those.
    fn price(&self, rung: usize) -> u64 {
        if self.held.is_some_and(|held| rung <= held) {
            return self.ladder.rungs[rung].bps;
        }
        let Rung { layer, bps, .. } = self.ladder.rungs[rung];
        let continues = self.held.is_some_and(|held| self.ladder.rungs[held].layer == layer);
        let whole =
            self.ladder.rungs().iter().find(|whole| whole.layer == layer && whole.tempo == Tempo::Full);
        let bps =
            whole.filter(|_| !continues && rung > self.ladder.smallest()).map_or(bps, |whole| whole.bps);
        bps * RISE_PERCENT / 100
    }

    fn held_bps(&self) -> u64 {
        self.held.map_or(0, |rung| self.ladder.rungs[rung].bps)
    }
}

/// How much something counts that is drawn so high beside others of which the smallest is `smallest` high.
pub(crate) fn weight(is_screen: bool, height: u16, smallest: u16) -> Weight {
    match is_screen {
        true => Weight::Screen,
        false if height >= smallest.saturating_mul(LARGE_FACTOR) => Weight::Large,
        false => Weight::Small,
    }
}

/// What a line should be found to carry for somebody who would like to see so much.
pub(crate) fn wants(wished_bps: u64) -> u64 {
    wished_bps * WANTS_PERCENT / 100
}

/// What all pictures of a receiver come to, and the smallest layer of the most important one, with all its pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Worth {
    pub(crate) all_bps: u64,
    pub(crate) first_bps: u64,
}

pub(crate) fn worth(demands: &[Demand]) -> Worth {
    let highest = demands.iter().filter_map(|demand| demand.ladder.rungs().last());
    let first = demands.iter().min_by_key(|demand| demand.importance());
    Worth {
        all_bps: highest.map(|rung| rung.bps).sum(),
        first_bps: first
            .filter(|demand| !demand.ladder.is_empty())
            .map_or(0, |demand| demand.price(demand.ladder.smallest())),
    }
}

/// Decides what everybody gets of `budget_bps`, from what they have: `granted` of each demand. They are put in order of
/// importance. Without a budget everybody gets everything.
pub(crate) fn divide(now: Instant, budget_bps: Option<u64>, demands: &mut [Demand], patience: &mut Patience) {
    let skip = std::mem::take(&mut patience.skip);
    let Some(budget_bps) = budget_bps else {
        patience.since = None;
        demands.iter_mut().for_each(|demand| demand.granted = demand.ladder.len.checked_sub(1));
        return;
    };
    demands.sort_unstable_by_key(Demand::importance);
    share_out(budget_bps, demands);
    let held_bps = demands.iter().map(Demand::held_bps).sum::<u64>();
    let is_carried = held_bps <= budget_bps * SLACK_PERCENT / 100;
    if skip || !is_carried || demands.iter().all(|demand| demand.granted == demand.held) {
        patience.since = None;
        return;
    }
    if now < *patience.since.get_or_insert(now) + PATIENCE {
        demands.iter_mut().for_each(|demand| demand.granted = demand.held);
    } else {
        patience.since = None;
    }
}

fn share_out(budget_bps: u64, demands: &mut [Demand]) {
    let mut left = budget_bps;
    for demand in &mut *demands {
        demand.granted = None;
        demand.climb(&mut left);
    }
    for demand in &mut *demands {
        while demand.granted.is_some_and(|rung| rung < demand.ladder.smallest()) && demand.climb(&mut left) {}
    }
    let small = demands.partition_point(|demand| demand.weight < Weight::Small);
    let (first, rest) = demands.split_at_mut(small);
    for demand in first.iter_mut().filter(|demand| demand.granted.is_some()) {
        while demand.climb(&mut left) {}
    }
    loop {
        let mut moved = false;
        for demand in rest.iter_mut().filter(|demand| demand.granted.is_some()) {
            moved |= demand.climb(&mut left);
        }
        if !moved {
            return;
        }
    }
}

impl Patience {
    pub(crate) fn skip(&mut self) {
        self.skip = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Weight::{Large, Screen, Small};

    const SIMULCAST: &[u64] = &[150, 500, 1700];

    fn demand(slot: usize, weight: Weight, kbps: &[u64]) -> Demand {
        let mut ladder = Ladder::default();
        for (layer, kbps) in kbps.iter().enumerate() {
            ladder.push(Rung { layer, tempo: Tempo::Full, bps: kbps * 1000 });
        }
        Demand { slot, weight, speaks: false, height: 100, ladder, held: None, granted: None }
    }

    /// What each slot gets, in order of the slots.
    fn granted(kbps: u64, demands: &[Demand]) -> Vec<Option<usize>> {
        let mut demands = demands.to_vec();
        divide(Instant::now(), Some(kbps * 1000), &mut demands, &mut Patience { since: None, skip: true });
        demands.sort_by_key(|demand| demand.slot);
        demands.iter().map(|demand| demand.granted).collect()
    }

    #[test]
    fn the_table_of_divisions() {
        let grid: Vec<Demand> = (0..4).map(|slot| demand(slot, Small, SIMULCAST)).collect();
        let stage = [demand(0, Small, SIMULCAST), demand(1, Large, SIMULCAST), demand(2, Small, SIMULCAST)];
        let shared = [demand(0, Large, SIMULCAST), demand(1, Screen, &[1500]), demand(2, Small, &[150])];
        for (kbps, demands, expected) in [
            (10_000, &grid[..], vec![Some(2), Some(2), Some(2), Some(2)]),
            (2_400, &grid[..], vec![Some(1), Some(1), Some(1), Some(1)]),
            (1_200, &grid[..], vec![Some(1), Some(0), Some(0), Some(0)]),
            (700, &grid[..], vec![Some(0), Some(0), Some(0), Some(0)]),
            (400, &grid[..], vec![Some(0), Some(0), None, None]),
            (100, &grid[..], vec![None, None, None, None]),
            (3_000, &stage[..], vec![Some(1), Some(2), Some(0)]),
            (1_000, &stage[..], vec![Some(0), Some(1), Some(0)]),
            (400, &stage[..], vec![Some(0), Some(0), None]),
            (5_000, &shared[..], vec![Some(2), Some(0), Some(0)]),
            (2_500, &shared[..], vec![Some(1), Some(0), Some(0)]),
            (1_800, &shared[..], vec![None, Some(0), None]),
            (1_000, &shared[..], vec![Some(1), None, Some(0)]),
        ] {
            assert_eq!(granted(kbps, demands), expected, "{kbps} kbit/s for {demands:?}");
        }
    }

    /// The same with what temporal layers make of it: the smallest layer can be had with a quarter of its pictures, and each
    /// with half.
    fn layered(slot: usize, weight: Weight, kbps: &[u64]) -> Demand {
        let mut ladder = Ladder::default();
        for (layer, kbps) in kbps.iter().enumerate() {
            let tempos = [(Tempo::Base, 40), (Tempo::Middle, 60), (Tempo::Full, 100)];
            for (tempo, percent) in tempos.into_iter().skip(layer.min(1)) {
                ladder.push(Rung { layer, tempo, bps: kbps * 10 * percent });
            }
        }
        Demand { ladder, ..demand(slot, weight, kbps) }
    }

    #[test]
    fn fewer_pictures_come_before_none() {
        let grid: Vec<Demand> = (0..4).map(|slot| layered(slot, Small, SIMULCAST)).collect();
        let stage = [layered(0, Large, SIMULCAST), layered(1, Small, SIMULCAST)];
        let shared = [layered(0, Screen, &[2500]), layered(1, Small, &[150]), layered(2, Small, &[150])];
        let (quarter, half, all) = ((0, Tempo::Base), (0, Tempo::Middle), (0, Tempo::Full));
        for (kbps, demands, expected) in [
            (400, &grid[..], vec![Some(all), Some(quarter), Some(quarter), Some(quarter)]),
            (200, &grid[..], vec![Some(half), Some(quarter), None, None]),
            (700, &grid[..], vec![Some(all), Some(all), Some(all), Some(all)]),
            (300, &stage[..], vec![Some(all), Some(half)]),
            (600, &stage[..], vec![Some(all), Some(all)]),
            (1_800, &stage[..], vec![Some((1, Tempo::Full)), Some((1, Tempo::Full))]),
            (2_200, &shared[..], vec![Some(half), Some(all), Some(all)]),
            (1_300, &shared[..], vec![Some(quarter), Some(quarter), Some(quarter)]),
            (5_000, &shared[..], vec![Some(all), Some(all), Some(all)]),
        ] {
            let rungs = granted(kbps, demands);
            let rung = |(place, rung): (usize, &Option<usize>)| {
                rung.map(|rung| demands[place].ladder.rungs()[rung]).map(|rung| (rung.layer, rung.tempo))
            };
            let got: Vec<_> = rungs.iter().enumerate().map(rung).collect();
            assert_eq!(got, expected, "{kbps} kbit/s for {demands:?}");
        }
        assert_eq!(worth(&shared).first_bps, 2_875_000, "a line without an end is asked for all pictures");
    }

    #[test]
    fn a_large_layer_loses_half_of_its_pictures_before_it_becomes_smaller_and_begins_with_all() {
        let mut receiver = Receiver::new(vec![layered(0, Small, SIMULCAST)]);
        for (kbps, times, expected) in [
            (2_000, 1, 6),
            (1_100, 20, 5),
            (900, 1, 4),
            (1_600, 20, 4),
            (2_000, 5, 4),
            (2_000, 1, 6),
            (1_500, 1, 5),
            (1_900, 20, 5),
            (2_000, 5, 5),
            (2_000, 1, 6),
            (400, 1, 3),
            (200, 20, 2),
            (100, 1, 1),
            (70, 1, 0),
        ] {
            for _ in 0..times {
                assert_eq!(receiver.sees(kbps), [Some(expected)], "{kbps} kbit/s");
            }
        }
    }

    #[test]
    fn what_is_held_is_found_again_when_the_steps_have_changed() {
        let (plain, layered) = (demand(0, Small, SIMULCAST).ladder, layered(0, Small, SIMULCAST).ladder);
        for (layer, tempo, in_plain, in_layered) in [
            (0, Tempo::Base, None, Some(0)),
            (0, Tempo::Full, Some(0), Some(2)),
            (1, Tempo::Base, Some(0), Some(2)),
            (1, Tempo::Middle, Some(0), Some(3)),
            (2, Tempo::Full, Some(2), Some(6)),
        ] {
            let found = (plain.rung_of(layer, tempo), layered.rung_of(layer, tempo));
            assert_eq!(found, (in_plain, in_layered), "{layer} {tempo:?}");
        }
    }

    #[test]
    fn what_pictures_are_worth() {
        let demands = [demand(0, Small, SIMULCAST), demand(1, Screen, &[1500, 2500])];
        assert_eq!(worth(&demands), Worth { all_bps: 4_200_000, first_bps: 1_725_000 });
        assert_eq!(worth(&[]), Worth { all_bps: 0, first_bps: 0 });
    }

    #[test]
    fn who_speaks_is_paused_last_and_then_who_is_drawn_smallest_first() {
        let mut demands: Vec<Demand> = (0..3).map(|slot| demand(slot, Small, SIMULCAST)).collect();
        demands[2].speaks = true;
        demands[1].height = 200;
        assert_eq!(granted(180, &demands), [None, None, Some(0)]);
        assert_eq!(granted(360, &demands), [None, Some(0), Some(0)]);
    }

    #[test]
    fn a_tile_counts_as_large_beside_smaller_ones_only() {
        assert_eq!([weight(false, 720, 180), weight(false, 360, 180)], [Large, Large]);
        assert_eq!([weight(false, 300, 180), weight(true, 100, 180)], [Small, Screen]);
    }

    #[test]
    fn without_an_estimate_everybody_gets_everything() {
        let mut demands = [demand(0, Small, SIMULCAST), demand(1, Small, &[])];
        divide(Instant::now(), None, &mut demands, &mut Patience::default());
        assert_eq!(demands.map(|demand| demand.granted), [Some(2), None]);
    }

    /// One receiver over time, a division every 200 ms.
    struct Receiver {
        now: Instant,
        demands: Vec<Demand>,
        patience: Patience,
        changes: usize,
    }

    impl Receiver {
        fn new(demands: Vec<Demand>) -> Receiver {
            let patience = Patience { since: None, skip: true };
            Receiver { now: Instant::now(), demands, patience, changes: 0 }
        }

        fn sees(&mut self, kbps: u64) -> Vec<Option<usize>> {
            divide(self.now, Some(kbps * 1000), &mut self.demands, &mut self.patience);
            self.now += Duration::from_millis(200);
            self.demands.sort_by_key(|demand| demand.slot);
            self.changes += self.demands.iter().filter(|demand| demand.granted != demand.held).count();
            self.demands.iter_mut().for_each(|demand| demand.held = demand.granted);
            self.demands.iter().map(|demand| demand.granted).collect()
        }
    }

    #[test]
    fn down_at_once_and_up_only_when_there_has_been_room_to_spare_for_a_while() {
        let mut receiver = Receiver::new(vec![demand(0, Small, SIMULCAST)]);
        assert_eq!(receiver.sees(2_000), [Some(2)]);
        assert_eq!(receiver.sees(1_000), [Some(1)]);
        for _ in 0..20 {
            assert_eq!(receiver.sees(1_800), [Some(1)], "it would fit, but with nothing to spare");
        }
        for _ in 0..4 {
            assert_eq!(receiver.sees(2_100), [Some(1)]);
        }
        assert_eq!(receiver.sees(1_200), [Some(1)], "the room is gone before it was used");
        for _ in 0..5 {
            assert_eq!(receiver.sees(2_100), [Some(1)]);
        }
        assert_eq!(receiver.sees(2_100), [Some(2)]);
    }

    #[test]
    fn an_estimate_that_trembles_around_a_layer_does_not_make_the_picture_tremble() {
        let mut receiver = Receiver::new((0..3).map(|slot| demand(slot, Small, SIMULCAST)).collect());
        receiver.sees(1_600);
        receiver.changes = 0;
        for round in 0..200 {
            receiver.sees(1_550 + round * 37 % 150);
        }
        assert!(receiver.changes <= 1, "{} changes", receiver.changes);
    }

    #[test]
    fn what_the_page_asks_for_does_not_wait() {
        let mut receiver = Receiver::new(vec![demand(0, Small, &[150])]);
        receiver.sees(1_000);
        receiver.demands[0].ladder = demand(0, Small, SIMULCAST).ladder;
        assert_eq!(receiver.sees(1_000), [Some(0)]);
        receiver.patience.skip();
        assert_eq!(receiver.sees(1_000), [Some(1)]);
    }

    fn any_demands() -> impl Strategy<Value = Vec<Demand>> {
        let one = (
            prop::sample::select(vec![Screen, Large, Small]),
            any::<bool>(),
            90..1080_u16,
            prop::collection::vec(20..3000_u64, 0..=LAYERS_MAX),
            prop::option::of(0..LAYERS_MAX),
        );
        prop::collection::vec(one, 0..12).prop_map(|all| {
            let made = all.into_iter().enumerate().map(|(slot, (weight, speaks, height, mut kbps, held))| {
                kbps.sort_unstable();
                let made = demand(slot, weight, &kbps);
                Demand { speaks, height, held: held.filter(|held| *held < kbps.len()), ..made }
            });
            made.collect()
        })
    }

    proptest! {
        #[test]
        fn no_more_is_granted_than_the_line_carries_and_the_order_of_importance_is_kept(
            demands in any_demands(),
            kbps in 0..20_000_u64,
        ) {
            let mut demands = demands;
            let budget = kbps * 1000;
            divide(Instant::now(), Some(budget), &mut demands, &mut Patience { since: None, skip: true });
            let spent: u64 = demands.iter().filter_map(|d| Some(d.ladder.rungs[d.granted?].bps)).sum();
            prop_assert!(spent <= budget);
            for (place, demand) in demands.iter().enumerate() {
                // Who is paused could not have had its smallest layer instead of what less important ones have.
                if demand.granted.is_none() && !demand.ladder.is_empty() {
                    let later: u64 = demands[place..].iter().filter_map(|d| Some(d.ladder.rungs[d.granted?].bps)).sum();
                    let before = spent - later;
                    let smallest_before: u64 = demands[..place]
                        .iter()
                        .filter(|d| d.granted.is_some())
                        .map(|d| d.ladder.rungs[0].bps)
                        .sum();
                    prop_assert!(before >= smallest_before);
                    prop_assert!(smallest_before + demand.price(0) > budget * 100 / RISE_PERCENT);
                }
            }
        }

        #[test]
        fn more_budget_never_pauses_more(demands in any_demands(), kbps in 0..20_000_u64, more in 0..5_000_u64) {
            // A dearer picture may take the place of several cheap ones that count less, so only equal prices compare.
            let alike = |d: &Demand| Demand { held: None, ladder: demand(0, Small, SIMULCAST).ladder, ..*d };
            let demands: Vec<Demand> = demands.iter().map(alike).collect();
            let shown = |kbps| granted(kbps, &demands).iter().filter(|rung| rung.is_some()).count();
            prop_assert!(shown(kbps + more) >= shown(kbps));
        }

        #[test]
        fn under_a_constant_estimate_everybody_comes_to_rest(demands in any_demands(), kbps in 0..20_000_u64) {
            let mut receiver = Receiver::new(demands);
            let mut before = Vec::new();
            for _ in 0..60 {
                receiver.patience.skip();
                before = receiver.sees(kbps);
            }
            receiver.patience.skip();
            prop_assert_eq!(receiver.sees(kbps), before);
        }
    }
}
