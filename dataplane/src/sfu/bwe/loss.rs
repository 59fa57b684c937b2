//! The rate that the losses allow. A radio link loses one packet in ten whatever is sent, and slowing down for it helps
//! nobody; a full queue loses what is too much. Which of them it is shows in how the loss goes with the rate, so the best
//! explanation of the last seconds is looked for (the idea of libwebrtc's loss-based estimator v2):
//!
//! ```text
//! expected loss = p                          while sending rate <= limit
//!               = p + (1 - p) (rate - limit) / rate      above it
//! ```
//!
//! Of a few limits near the present one, each with the `p` that suits it best, the likeliest is taken; what explains
//! nothing better does not slow anybody down.

/// Time of one observation: several frames, so that a rate can be told.
const OBSERVATION_US: u64 = 250_000;
/// Packets of one observation, below which one loss weighs too much.
const PACKETS_MIN: u32 = 10;
/// Observations kept: five seconds.
const OBSERVATIONS: usize = 20;
/// Weight of an observation against the one behind it: the last two seconds count most.
const AGEING: f64 = 0.9;
/// Loss below which there is nothing to explain: a stray packet now and then.
const LOSS_QUIET: f64 = 0.02;
/// Most loss that is taken for the line's own: radio links lose so much and can still be talked over with redundancy. What
/// goes beyond is taken for too high a rate.
const OWN_LOSS_MAX: f64 = 0.14;
const OWN_LOSS_MIN: f64 = 0.001;
/// The line's own loss where no observation tells.
const OWN_LOSS_UNKNOWN: f64 = 0.01;
/// Limits that are tried, relative to the present one.
const STEPS: [f64; 4] = [1.05, 1.0, 0.95, 0.85];
/// How much likelier, per packet and unit of ln(rate), a lower limit must be than a higher one: losses are noisy.
const BIAS: f64 = 0.03;

#[derive(Debug, Default)]
pub(crate) struct LossBased {
    observations: [Observation; OBSERVATIONS],
    count: u32,
    current: Observation,
    began_us: Option<u64>,
    limit_bps: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    bps: f64,
    bytes: u64,
    packets: u32,
    lost: u32,
}

impl LossBased {
    pub(crate) fn on_told(&mut self, sent_us: u64, bytes: u64, lost: bool) {
        self.began_us.get_or_insert(sent_us);
        self.current.bytes += bytes;
        self.current.packets += 1;
        self.current.lost += u32::from(lost);
    }

    /// A packet that was told lost was only late.
    pub(crate) fn on_late(&mut self) {
        self.current.lost = self.current.lost.saturating_sub(1);
    }

    /// Whether there is something new to explain, now that everything up to `sent_us` was told.
    pub(crate) fn is_due(&self, sent_us: u64) -> bool {
        self.current.packets >= PACKETS_MIN
            && self.began_us.is_some_and(|began| sent_us >= began + OBSERVATION_US)
    }

    /// Explains the losses. `allowed_bps` is what the delay allows, `acked_bps` what arrives.
    pub(crate) fn update(&mut self, sent_us: u64, allowed_bps: f64, acked_bps: Option<f64>) {
        let Some(began_us) = self.began_us.take() else { return };
        let mut observation = std::mem::take(&mut self.current);
        let passed_us = sent_us.saturating_sub(began_us).max(1);
        observation.bps = observation.bytes as f64 * 8e6 / passed_us as f64;
        self.observations[self.count as usize % OBSERVATIONS] = observation;
        self.count += 1;
        let loss = self.loss();
        let Some(limit) = self.limit_bps else {
            if loss > LOSS_QUIET {
                self.limit_bps = Some(self.likeliest(allowed_bps, allowed_bps, acked_bps));
            }
            return;
        };
        let limit = self.likeliest(limit.min(allowed_bps), allowed_bps, acked_bps);
        // Nothing is lost any more, and the delay is the stricter judge.
        let over = loss < LOSS_QUIET && limit >= allowed_bps;
        self.limit_bps = Some(limit).filter(|_| !over);
    }

    /// A probe came through at this rate.
    pub(crate) fn on_probe(&mut self, bps: f64) {
        if let Some(limit) = &mut self.limit_bps {
            *limit = limit.max(bps);
        }
    }

    pub(crate) fn limit_bps(&self) -> Option<f64> {
        self.limit_bps
    }

    /// Share lost in the last seconds, later observations counting more.
    pub(crate) fn loss(&self) -> f64 {
        let (lost, packets) = self.weighed().fold((0.0, 0.0), |(lost, packets), (weight, observation)| {
            (lost + weight * f64::from(observation.lost), packets + weight * f64::from(observation.packets))
        });
        if packets > 0.0 { lost / packets } else { 0.0 }
    }

    fn likeliest(&self, limit: f64, allowed_bps: f64, acked_bps: Option<f64>) -> f64 {
        // What arrives needs no explanation.
        let least = acked_bps.unwrap_or(0.0).min(allowed_bps);
        let steps = STEPS.iter().map(move |step| (limit * step).min(allowed_bps).max(least));
        let candidates = steps.chain(acked_bps.filter(|acked| *acked < limit));
        let scored = candidates.map(|candidate| (self.likelihood(candidate), candidate));
        let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map_or(limit, |(_, candidate)| candidate)
    }

    fn likelihood(&self, limit: f64) -> f64 {
        let own = self.own_loss(limit);
        self.weighed()
            .map(|(weight, observation)| {
                let excess = ((observation.bps - limit) / observation.bps.max(1.0)).max(0.0);
                let expected = (own + (1.0 - own) * excess).clamp(OWN_LOSS_MIN, 0.999);
                let lost = f64::from(observation.lost);
                let arrived = f64::from(observation.packets) - lost;
                let fits = lost * expected.ln() + arrived * (1.0 - expected).ln();
                weight * (fits + BIAS * limit.max(1.0).ln() * f64::from(observation.packets))
            })
            .sum()
    }

    /// What was lost while no more than the limit was sent.
    fn own_loss(&self, limit: f64) -> f64 {
        let within = self.weighed().filter(|(_, observation)| observation.bps <= limit);
        let (lost, packets) = within.fold((0.0, 0.0), |(lost, packets), (weight, observation)| {
            (lost + weight * f64::from(observation.lost), packets + weight * f64::from(observation.packets))
        });
        if packets > 0.0 { (lost / packets).clamp(OWN_LOSS_MIN, OWN_LOSS_MAX) } else { OWN_LOSS_UNKNOWN }
    }

    /// The newest first.
    fn weighed(&self) -> impl Iterator<Item = (f64, &Observation)> {
        let kept = (self.count as usize).min(OBSERVATIONS);
        (0..kept).map(move |age| {
            let at = (self.count as usize - 1 - age) % OBSERVATIONS;
            (AGEING.powi(age as i32), &self.observations[at])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty seconds at rates between 70 and 100 % of the limit in force over a line that loses `own` of everything and
    /// what is above `capacity`. Returns the last limit.
    fn run(seed: u64, own: f64, capacity: f64, allowed: f64) -> f64 {
        let mut loss = LossBased::default();
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let mut now_us = 0_u64;
        for _ in 0..80 {
            let rate = loss.limit_bps().unwrap_or(allowed) * (0.7 + 0.3 * random());
            let packets = (rate * 0.25 / 8000.0) as u64;
            let drop = own + (1.0 - own) * ((rate - capacity) / rate).max(0.0);
            let mut arrived = 0.0;
            for nth in 0..packets {
                let lost = random() < drop;
                arrived += if lost { 0.0 } else { 8000.0 * 4.0 };
                loss.on_told(now_us + nth * 250_000 / packets, 1000, lost);
            }
            now_us += 250_000;
            assert!(loss.is_due(now_us));
            loss.update(now_us, allowed, Some(arrived));
        }
        loss.limit_bps().unwrap_or(allowed)
    }

    #[test]
    fn one_packet_in_ten_lost_at_any_rate_slows_nobody_down() {
        for seed in 1..20 {
            let limit = run(seed, 0.1, f64::INFINITY, 3e6);
            assert!(limit > 0.85 * 3e6, "seed {seed}: {limit}");
        }
    }

    #[test]
    fn what_is_lost_of_too_much_ends_near_what_the_line_carries() {
        for seed in 1..20 {
            let limit = run(seed, 0.0, 1e6, 3e6);
            assert!((0.7e6..1.25e6).contains(&limit), "seed {seed}: {limit}");
            let limit = run(seed, 0.05, 1e6, 3e6);
            assert!((0.6e6..1.5e6).contains(&limit), "seed {seed}: {limit}");
        }
    }

    #[test]
    fn a_line_without_losses_has_no_limit_of_theirs() {
        assert_eq!(run(1, 0.0, 5e6, 3e6), 3e6);
    }
}
