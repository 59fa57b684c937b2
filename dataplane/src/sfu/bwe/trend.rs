//! Whether a queue grows on the way: the slope of the one-way delay over the last groups against a threshold that adapts
//! (draft-ietf-rmcat-gcc-02 §5.4 with a line fitted in place of the Kalman filter, as libwebrtc does since 2016).

use super::groups::Step;

/// Groups in the fit: about a third of a second of video and sound, short enough to see a drop within it.
const WINDOW: usize = 20;
/// Share of the known delay in the smoothed one: takes the saw-tooth of frames and audio out of the fit.
const SMOOTHING: f64 = 0.9;
/// Brings a slope to the scale of the threshold, in which the Kalman filter's offset was.
const GAIN: f64 = 4.0;
/// The slope counts in full once so many steps are known.
const STEPS_FULL: u32 = 60;
/// The threshold in the beginning and its bounds (§5.4: del_var_th).
const THRESHOLD_START: f64 = 12.5;
/// At the least a delay that grows by 3 % counts: less is jitter, and a queue that grows so slowly is seen by what is in it.
const THRESHOLD_MIN: f64 = 8.0;
const THRESHOLD_MAX: f64 = 600.0;
/// How fast the threshold rises and falls, per millisecond (§5.4: K_u, K_d). Slower up than down, so that a flow that fills
/// queues on purpose (TCP) does not starve this one.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A slope so far above the threshold is an event, to which the threshold does not adapt (§5.4).
const OUTLIER: f64 = 15.0;
/// Longest time that one adaptation accounts for.
const ADAPT_MS_MAX: f64 = 100.0;
/// The slope must be above the threshold for so long (§5.4: overuse_time_th).
const OVERUSE_MS: f64 = 10.0;

/// What the line is being used like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Usage {
    Normal,
    /// A queue grows.
    Over,
    /// A queue empties.
    Under,
}

#[derive(Debug)]
pub(crate) struct Trend {
    /// When groups arrived, and their smoothed delay; a ring.
    points: [(f64, f64); WINDOW],
    steps: u32,
    first_at_us: Option<i64>,
    delay_ms: f64,
    smoothed_ms: f64,
    slope: f64,
    threshold: f64,
    adapted_ms: Option<f64>,
    over_ms: Option<f64>,
    over_steps: u32,
    usage: Usage,
}

impl Trend {
    pub(crate) fn new() -> Trend {
        Trend {
            points: [(0.0, 0.0); WINDOW],
            steps: 0,
            first_at_us: None,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            slope: 0.0,
            threshold: THRESHOLD_START,
            adapted_ms: None,
            over_ms: None,
            over_steps: 0,
            usage: Usage::Normal,
        }
    }

    pub(crate) fn on_step(&mut self, step: Step) {
        let first = *self.first_at_us.get_or_insert(step.at_us);
        let at_ms = (step.at_us - first) as f64 / 1000.0;
        self.delay_ms += (step.arrived_us - step.sent_us) as f64 / 1000.0;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        self.points[self.steps as usize % WINDOW] = (at_ms, self.smoothed_ms);
        self.steps = self.steps.saturating_add(1);
        let before = self.slope;
        if self.steps as usize >= WINDOW {
            self.slope = fit(&self.points).unwrap_or(self.slope);
        }
        self.detect(before, step.sent_us as f64 / 1000.0);
        self.adapt(at_ms);
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    fn detect(&mut self, slope_before: f64, step_ms: f64) {
        let scaled = self.scaled();
        if scaled > self.threshold {
            // The queue grew somewhere between the groups.
            let over_ms = self.over_ms.map_or(step_ms / 2.0, |over| over + step_ms);
            self.over_ms = Some(over_ms);
            self.over_steps += 1;
            if over_ms > OVERUSE_MS && self.over_steps > 1 && self.slope >= slope_before {
                (self.over_ms, self.over_steps) = (Some(0.0), 0);
                self.usage = Usage::Over;
            }
            return;
        }
        (self.over_ms, self.over_steps) = (None, 0);
        self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
    }

    fn adapt(&mut self, at_ms: f64) {
        let passed_ms = self.adapted_ms.map_or(0.0, |before| (at_ms - before).clamp(0.0, ADAPT_MS_MAX));
        self.adapted_ms = Some(at_ms);
        let distance = self.scaled().abs() - self.threshold;
        if distance > OUTLIER {
            return;
        }
        let pace = if distance < 0.0 { THRESHOLD_DOWN } else { THRESHOLD_UP };
        self.threshold = (self.threshold + pace * distance * passed_ms).clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }

    fn scaled(&self) -> f64 {
        f64::from(self.steps.min(STEPS_FULL)) * self.slope * GAIN
    }
}

/// Slope of the least-squares line, in milliseconds of delay per millisecond.
fn fit(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in points {
        over += (x - mean_x) * (y - mean_y);
        under += (x - mean_x) * (x - mean_x);
    }
    (under > 0.0).then_some(over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups 20 ms apart whose delay grows by `growth_us(nth)` from one to the next; the usage behind each.
    fn usages(count: i64, growth_us: impl Fn(i64) -> i64) -> Vec<Usage> {
        let mut trend = Trend::new();
        let mut at_us = 0;
        (0..count)
            .map(|nth| {
                let arrived_us = 20_000 + growth_us(nth);
                at_us += arrived_us;
                trend.on_step(Step { sent_us: 20_000, arrived_us, at_us });
                trend.usage()
            })
            .collect()
    }

    #[test]
    fn an_even_line_and_one_that_jitters_are_used_normally() {
        assert!(usages(200, |_| 0).iter().all(|usage| *usage == Usage::Normal));
        let jitter = [0, 4000, -4000, 7000, -7000, 2000, -2000];
        let jittery = usages(700, |nth| jitter[nth as usize % jitter.len()]);
        assert!(!jittery.contains(&Usage::Over));
    }

    #[test]
    fn a_queue_that_grows_is_overuse_within_a_quarter_of_a_second_and_one_that_empties_underuse() {
        let usages = usages(160, |nth| match nth {
            0..100 => 0,
            100..120 => 8_000,
            120..130 => 0,
            _ => -5_000,
        });
        let first = usages.iter().position(|usage| *usage == Usage::Over).unwrap();
        assert!((100..112).contains(&first), "{first}");
        assert!(usages[130..].contains(&Usage::Under));
    }
}
