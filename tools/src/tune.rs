//! What `saal-tune` concludes from its measurements: which setting is clearly better than the default, and how to say so.
//! No processes and no clocks in here.
//!
//! The rule is one: the default stays unless a candidate wins beyond the spread of repeated runs. Candidates are measured
//! in turns, never one after the other, so that a machine that slows down slows all of them.

use crate::load::result::{Ended, Run};

/// One setting of the server and what is tried for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Knob {
    /// Below `[media]`.
    pub key: &'static str,
    /// TOML values; the default comes first.
    pub candidates: Vec<String>,
    /// How many workers each candidate means, where that is what differs.
    pub workers: Option<Vec<usize>>,
}

/// One run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// User and system time of the server per delivered packet.
    pub ns_per_packet: f64,
    pub p99_us: u64,
    /// Delivered in full and in time.
    pub is_fit: bool,
}

/// More lost than this and people hear it.
const LOSS_MAX: f64 = 0.001;

/// A gain below this is not worth a line in a configuration; of single runs, whose spread is not known, one below that.
const GAIN_MIN: f64 = 0.03;
const GAIN_MIN_OF_ONE: f64 = 0.10;

/// After one run, a candidate that is dearer than the default by this much is not tried again.
const HOPELESS: f64 = 1.15;

/// What the admin may turn, in the order in which it matters. `defaults` is the server's `[media]` table, and what it does
/// not have is not tried; `cores` are those that the server may use.
pub fn knobs(defaults: &toml::Table, cores: &[usize], is_thorough: bool) -> Vec<Knob> {
    let candidates: [(&'static str, &[&str], &[&str]); 4] = [
        ("io", &["\"mio\""], &["\"uring\""]),
        ("segments_max", &["16"], &["8", "64"]),
        ("tick_max_us", &["0", "2000"], &["500", "4000"]),
        ("padding_max_percent", &["0"], &["2", "10"]),
    ];
    let mut knobs = Vec::new();
    for (key, few, more) in candidates {
        let Some(default) = defaults.get(key).map(ToString::to_string) else { continue };
        let mut candidates = vec![default.clone()];
        let others = few.iter().chain(more.iter().filter(|_| is_thorough)).map(ToString::to_string);
        candidates.extend(others.filter(|other| *other != default));
        knobs.push(Knob { key, candidates, workers: None });
    }
    // The server by itself takes all up to four.
    let mut sets: Vec<&[usize]> = vec![&cores[..cores.len().min(4)]];
    for count in [cores.len().saturating_sub(1), cores.len() / 2, 1] {
        if count > 0 && sets.iter().all(|other| other.len() != count) {
            sets.push(&cores[cores.len() - count..]);
        }
    }
    if sets.len() > 1 && !cores.is_empty() {
        knobs.push(Knob {
            key: "cores",
            candidates: sets.iter().map(|set| format!("{set:?}")).collect(),
            workers: Some(sets.iter().map(|set| set.len()).collect()),
        });
    }
    knobs
}

impl Sample {
    /// The last step of a run; an error says why it tells nothing.
    pub fn of(run: &Run, p99_us_max: u64) -> Result<Sample, String> {
        let Some(step) = run.steps.last().filter(|_| run.ended != Ended::GeneratorAtLimit) else {
            return Err("the load generator was the bottleneck; choose a smaller scenario".into());
        };
        if let Some(why) = &step.generator.saturated {
            return Err(format!("the load generator was the bottleneck: {why}"));
        }
        if step.delivered == 0 {
            return Err("nothing was delivered".into());
        }
        let ns_per_packet = step.server_cpu_ns_per_packet.ok_or("the server's CPU time is not known")?;
        let late_us = step.latency.p99_us.saturating_sub(step.baseline.p99_us);
        Ok(Sample {
            ns_per_packet,
            p99_us: step.latency.p99_us,
            is_fit: step.lost as f64 <= LOSS_MAX * step.expected as f64 && late_us <= p99_us_max,
        })
    }
}

/// Whether a candidate is worth another run after its first; the default always is.
pub fn is_worth_another(default: &[Sample], candidate: &[Sample]) -> bool {
    match (median(default), median(candidate)) {
        (Some(default), Some(candidate)) => candidate < HOPELESS * default,
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// Which candidate to take; the first is the default. `parallel` says how many workers share the work of each.
pub fn choose(samples: &[Vec<Sample>], parallel: Option<&[usize]>) -> usize {
    let cost = |index: usize| -> Vec<f64> {
        let workers = parallel.and_then(|workers| workers.get(index)).copied().unwrap_or(1).max(1);
        fit(&samples[index]).iter().map(|sample| sample.ns_per_packet / workers as f64).collect()
    };
    if samples[0].is_empty() {
        return 0;
    }
    let default = cost(0);
    let mut best = 0;
    let mut best_cost = middle(&default).unwrap_or(f64::INFINITY);
    for index in 1..samples.len() {
        let candidate = cost(index);
        let Some(middle) = middle(&candidate) else { continue };
        let gain_min = match default.len() == 1 || candidate.len() == 1 {
            true => GAIN_MIN_OF_ONE,
            false => GAIN_MIN,
        };
        let is_beyond_spread = default.is_empty() || most(&candidate) < least(&default);
        if is_beyond_spread && middle < (1.0 - gain_min) * best_cost {
            (best, best_cost) = (index, middle);
        }
    }
    best
}

/// After over before, of pairs that ran one after the other; `None` when the gain is within the spread.
pub fn gain(pairs: &[(Sample, Sample)]) -> Option<f64> {
    let ratios: Vec<f64> = pairs
        .iter()
        .filter(|(_, after)| after.is_fit)
        .map(|(before, after)| after.ns_per_packet / before.ns_per_packet)
        .collect();
    if ratios.len() < pairs.len() {
        return None;
    }
    middle(&ratios).filter(|ratio| *ratio < 1.0 - GAIN_MIN && most(&ratios) < 1.0)
}

/// Of the runs that were carried in full; `None` when most were not.
pub fn median(samples: &[Sample]) -> Option<f64> {
    middle(&fit(samples).iter().map(|sample| sample.ns_per_packet).collect::<Vec<_>>())
}

/// All of them, or none when half or more were not carried.
fn fit(samples: &[Sample]) -> Vec<Sample> {
    let fit: Vec<Sample> = samples.iter().filter(|sample| sample.is_fit).copied().collect();
    if 2 * fit.len() > samples.len() { fit } else { Vec::new() }
}

fn middle(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// What was measured for one knob.
#[derive(Clone, PartialEq, Debug)]
pub struct Tried {
    pub knob: Knob,
    pub samples: Vec<Vec<Sample>>,
    pub chosen: usize,
}

/// Ready to paste below `[media]`: chosen lines as they are, kept defaults as comments, each with its figures.
pub fn fragment(tried: &[Tried], gain: Option<f64>) -> String {
    let mut text = String::from("[media]\n");
    for Tried { knob, samples, chosen } in tried {
        let setting = format!("{} = {}", knob.key, knob.candidates[*chosen]);
        let figures: Vec<String> = knob
            .candidates
            .iter()
            .zip(samples)
            .map(|(value, samples)| match median(samples) {
                Some(ns) => format!("{value}: {:.2} us", ns / 1000.0),
                None if samples.is_empty() => format!("{value}: not measured"),
                None => format!("{value}: not carried"),
            })
            .collect();
        let figures = figures.join(", ");
        text.push_str(&match *chosen != 0 && gain.is_some() {
            true => format!("{setting:<30} # {figures}\n"),
            false => format!(
                "# {:<28} # the default stays; {figures}\n",
                format!("{} = {}", knob.key, knob.candidates[0])
            ),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::result::{Asked, Generator, Quantiles, Step};

    fn sample(ns_per_packet: f64) -> Sample {
        Sample { ns_per_packet, p99_us: 900, is_fit: true }
    }

    fn samples(list: &[f64]) -> Vec<Sample> {
        list.iter().copied().map(sample).collect()
    }

    #[test]
    fn the_default_stays_unless_a_candidate_wins_beyond_the_spread() {
        let default = samples(&[2000.0, 2100.0, 2050.0]);
        let choice = |candidate: &[f64]| choose(&[default.clone(), samples(candidate)], None);
        assert_eq!(choice(&[1500.0, 1600.0, 1550.0]), 1);
        assert_eq!(choice(&[1990.0, 1980.0, 1995.0]), 0, "less than three percent");
        assert_eq!(choice(&[1500.0, 1600.0, 2010.0]), 0, "the spreads overlap");
        assert_eq!(choice(&[2500.0]), 0);
        assert_eq!(choice(&[]), 0, "never measured");
        assert_eq!(choose(&[vec![], samples(&[1000.0, 1000.0])], None), 0, "nothing to compare with");
    }

    #[test]
    fn of_two_winners_the_better_is_taken_and_near_ties_go_to_the_first() {
        let three = |first: f64, second: f64| {
            choose(&[samples(&[2000.0]), samples(&[first]), samples(&[second])], None)
        };
        assert_eq!(three(1700.0, 1500.0), 2);
        assert_eq!(three(1500.0, 1490.0), 1);
    }

    #[test]
    fn what_loses_packets_is_not_chosen_however_cheap() {
        let unfit = Sample { is_fit: false, ..sample(100.0) };
        assert_eq!(choose(&[samples(&[2000.0, 2000.0]), vec![unfit, unfit]], None), 0);
        assert_eq!(choose(&[vec![unfit, unfit], samples(&[2000.0, 2000.0])], None), 1);
        assert!(!is_worth_another(&samples(&[2000.0]), &[unfit]));
    }

    #[test]
    fn hopeless_candidates_are_dropped_after_their_first_run() {
        assert!(is_worth_another(&samples(&[2000.0]), &samples(&[2200.0])));
        assert!(!is_worth_another(&samples(&[2000.0]), &samples(&[2400.0])));
    }

    #[test]
    fn two_cores_beat_one_although_each_packet_costs_a_little_more() {
        let tried = [samples(&[2200.0, 2210.0]), samples(&[2000.0, 2010.0])];
        assert_eq!(choose(&tried, Some(&[2, 1])), 0);
        let tried = [samples(&[5000.0, 5010.0]), samples(&[2000.0, 2010.0])];
        assert_eq!(choose(&tried, Some(&[2, 1])), 1, "the second core is not there in truth");
    }

    #[test]
    fn a_gain_is_claimed_only_when_every_pair_shows_it() {
        let pair = |before: f64, after: f64| (sample(before), sample(after));
        assert_eq!(gain(&[pair(2000.0, 1600.0), pair(3000.0, 2400.0), pair(2000.0, 1500.0)]), Some(0.8));
        assert_eq!(gain(&[pair(2000.0, 1600.0), pair(2000.0, 2100.0), pair(2000.0, 1500.0)]), None);
        assert_eq!(gain(&[pair(2000.0, 1990.0)]), None);
        assert_eq!(gain(&[(sample(2000.0), Sample { is_fit: false, ..sample(1000.0) })]), None);
        assert_eq!(gain(&[]), None);
    }

    fn run(step: Option<Step>, ended: Ended) -> Run {
        Run {
            scenario: "tiny".into(),
            about: String::new(),
            contestant: "server".into(),
            server_version: None,
            server_cores: vec![0],
            asked: Asked {
                rooms: 1,
                publishers_per_room: 1,
                viewers_per_room: 1,
                video_bps: 0,
                audio_bps: 0,
                seconds_per_step: 1.0,
            },
            steps: step.into_iter().collect(),
            knee: None,
            ended,
        }
    }

    fn step() -> Step {
        let quantiles = |p99_us| Quantiles { p99_us, ..Quantiles::default() };
        Step {
            participants: 4,
            rooms: 1,
            seconds: 5.0,
            sent: 1000,
            expected: 10_000,
            delivered: 9_995,
            lost: 5,
            reordered: 0,
            delivered_bps: 0,
            latency: quantiles(1200),
            baseline: quantiles(200),
            first_packet: quantiles(0),
            server_cpu_ns_per_packet: Some(1750.0),
            server_cpu_cores: None,
            server_resident_bytes: None,
            generator: Generator::default(),
            signalling_bytes_per_participant: None,
        }
    }

    #[test]
    fn a_run_counts_only_when_the_generator_was_not_the_bottleneck() {
        let read = |step, ended| Sample::of(&run(Some(step), ended), 3000);
        assert_eq!(
            read(step(), Ended::Complete),
            Ok(Sample { ns_per_packet: 1750.0, p99_us: 1200, is_fit: true })
        );
        let lossy = Step { lost: 11, ..step() };
        assert!(!read(lossy, Ended::ServerAtLimit).unwrap().is_fit);
        let late = Step { latency: Quantiles { p99_us: 3300, ..Quantiles::default() }, ..step() };
        assert!(!read(late, Ended::Complete).unwrap().is_fit);
        let saturated =
            Generator { saturated: Some("a thread ran all the time".into()), ..Generator::default() };
        let read_saturated = read(Step { generator: saturated, ..step() }, Ended::Complete);
        assert!(read_saturated.unwrap_err().contains("a thread ran"));
        assert!(read(step(), Ended::GeneratorAtLimit).is_err());
        assert!(Sample::of(&run(None, Ended::Complete), 3000).is_err());
        assert!(read(Step { server_cpu_ns_per_packet: None, ..step() }, Ended::Complete).is_err());
    }

    fn defaults() -> toml::Table {
        toml::from_str("io = \"auto\"\nsegments_max = 44\ntick_max_us = 1000\n").unwrap()
    }

    #[test]
    fn the_servers_own_default_comes_first_and_unknown_settings_are_left_out() {
        let knobs = knobs(&defaults(), &[0], true);
        let of = |key: &str| knobs.iter().find(|knob| knob.key == key).map(|knob| knob.candidates.join(" "));
        assert_eq!(of("tick_max_us").as_deref(), Some("1000 0 2000 500 4000"));
        assert_eq!(of("io").as_deref(), Some("\"auto\" \"mio\" \"uring\""));
        assert_eq!(of("padding_max_percent"), None);
        assert_eq!(of("cores"), None);
    }

    #[test]
    fn cores_are_tried_from_all_down_to_one() {
        let sets =
            |cores: &[usize]| knobs(&defaults(), cores, false).into_iter().find(|knob| knob.key == "cores");
        assert_eq!(sets(&[0]), None);
        assert_eq!(sets(&[0, 1]).unwrap().candidates, ["[0, 1]", "[1]"]);
        let eight = sets(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        assert_eq!(eight.candidates, ["[0, 1, 2, 3]", "[1, 2, 3, 4, 5, 6, 7]", "[7]"]);
        assert_eq!(eight.workers, Some(vec![4, 7, 1]));
    }

    #[test]
    fn the_fragment_is_toml_with_only_what_is_to_change() {
        let tried: Vec<Tried> = knobs(&defaults(), &[0, 1], false)
            .into_iter()
            .map(|knob| Tried {
                samples: knob.candidates.iter().map(|_| samples(&[2000.0])).collect(),
                chosen: usize::from(knob.key == "tick_max_us") * 2,
                knob,
            })
            .collect();
        let text = fragment(&tried, Some(0.8));
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["media"].as_table().unwrap().len(), 1);
        assert_eq!(table["media"]["tick_max_us"].as_integer(), Some(2000));
        assert!(text.contains("# io = \"auto\"") && text.contains("1000: 2.00 us"), "{text}");
        let nothing: toml::Table = toml::from_str(&fragment(&tried, None)).unwrap();
        assert!(nothing["media"].as_table().unwrap().is_empty());
    }
}
