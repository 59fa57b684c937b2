//! `saal-bench-table`: results of `saal-load compare` as the table of targets, and criterion's medians below it.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use saal_tools::load::result::{Ended, Quantiles, Report, Run, Step};
use serde_json::Value;

/// Prints results of load runs beside their targets.
#[derive(Parser)]
struct Arguments {
    /// Directory of criterion's results.
    #[arg(long)]
    criterion: Option<PathBuf>,
    /// What `saal-load compare --json` wrote.
    reports: Vec<PathBuf>,
}

/// What is asked of a contestant in a shape.
#[derive(Clone, Copy)]
enum Target {
    /// At most so many times the cost of another contestant.
    AtMost(f64, &'static str),
    /// At least so many times cheaper than another contestant.
    Cheaper(f64, &'static str),
    /// At most so many nanoseconds.
    Within(f64),
}

/// Below this two contestants cannot be told apart in one run.
const NOISE: f64 = 1.02;

/// As many rooms for each core, on one and on two.
const SCALING: [&str; 2] = ["rooms-10", "rooms"];

/// Median CPU time per delivered packet in nanoseconds, by contestant.
type Costs = BTreeMap<String, f64>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = false;
    let mut whole = Vec::new();
    for path in &arguments.reports {
        match read(path) {
            Ok(report)
                if report
                    .runs
                    .iter()
                    .all(|run| run.contestant == "server" || SCALING.contains(&&*run.scenario)) =>
            {
                whole.extend(report.runs);
            }
            Ok(report) => print_report(&report),
            Err(error) => {
                eprintln!("saal-bench-table: {}: {error}", path.display());
                failed = true;
            }
        }
    }
    whole.iter().for_each(print_run);
    print_cores(&whole);
    if let Some(directory) = &arguments.criterion {
        print_criterion(directory);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(path: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn print_report(report: &Report) {
    let mut shapes: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in &report.runs {
        shapes.entry(&run.scenario).or_default().push(run);
    }
    for (shape, runs) in shapes {
        let costs = costs(&runs);
        for (contestant, cost) in &costs {
            let ratio = |to: &str| costs.get(to).map_or("-".to_owned(), |to| format!("{:.2}", cost / to));
            println!(
                "{shape:<12} {contestant:<13} {cost:>8.0} {:>9} {:>10}  {}",
                ratio("floor"),
                ratio("sendto"),
                verdicts(shape, contestant, *cost, &costs)
            );
        }
        for run in runs {
            for step in &run.steps {
                if !is_counted(step) {
                    let lost = format!("{} of {} packets", step.delivered, step.expected);
                    let why = step.generator.saturated.as_ref().unwrap_or(&lost);
                    println!("{shape:<12} {:<13} a round not counted: {why}", run.contestant);
                }
            }
        }
    }
}

/// What one server did: latency at three quarters of its knee, or a room beside a storm of joins.
fn print_run(run: &Run) {
    let name = &run.scenario;
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    if let (true, [alone, beside]) = (["join-storm", "churn"].contains(&name.as_str()), &run.steps[..]) {
        let (before_us, after_us) = (alone.latency.p99_us, beside.latency.p99_us);
        println!(
            "{name:<12} p99 {before_us} us, beside the storm {after_us} us, {} packets lost: at most 1.5 x and none lost: {}",
            beside.lost,
            verdict(2 * after_us <= 3 * before_us && beside.lost == 0)
        );
    }
    if let Some(step) = run.at_three_quarters() {
        let above = |of: fn(&Quantiles) -> u64| of(&step.latency).saturating_sub(of(&step.baseline));
        let [p50, p99, p999] = [above(|of| of.p50_us), above(|of| of.p99_us), above(|of| of.p999_us)];
        let knee = run.carried().map_or(0, |step| step.participants);
        let limit =
            if run.ended == Ended::ServerAtLimit { "the knee" } else { "the most that could be tried" };
        println!(
            "{name:<12} {} participants, near 75 % of {limit} ({knee}): p50 {p50} p99 {p99} p99.9 {p999} us above the \
             baseline: at most 300, 1000, 3000: {}",
            step.participants,
            verdict(p50 <= 300 && p99 <= 1000 && p999 <= 3000)
        );
    }
}

/// Two cores do the work of 1.9 if a packet costs at most 2 / 1.9 of what it costs on one that is as busy.
fn print_cores(runs: &[Run]) {
    let cost = |scenario: &str| {
        let runs = runs.iter().filter(|run| run.scenario == scenario);
        let steps = runs.flat_map(|run| &run.steps).filter(|step| is_counted(step));
        median(steps.filter_map(|step| step.server_cpu_ns_per_packet).collect())
    };
    let [one, two] = SCALING.map(cost);
    let Some((one, two)) = one.zip(two) else { return };
    let times = 2.0 * one / two;
    let met = if times >= 1.9 { "met" } else { "MISSED" };
    println!(
        "rooms        {one:.0} ns on one core, {two:.0} ns on two: {times:.2} x one core, at least 1.9: {met}"
    );
}

/// The generator kept up, and nothing is missing: a server that loses packets does other work than its rivals.
fn is_counted(step: &Step) -> bool {
    const LOSS_MAX: f64 = 0.001;
    step.generator.saturated.is_none() && step.lost as f64 <= LOSS_MAX * step.expected as f64
}

/// Rounds that count.
fn costs(runs: &[&Run]) -> Costs {
    let mut rounds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for run in runs {
        let steps = run.steps.iter().filter(|step| is_counted(step));
        let costs = steps.filter_map(|step| step.server_cpu_ns_per_packet);
        rounds.entry(run.contestant.clone()).or_default().extend(costs);
    }
    rounds.into_iter().filter_map(|(name, costs)| Some((name, median(costs)?))).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

fn verdicts(shape: &str, contestant: &str, cost: f64, costs: &Costs) -> String {
    let verdicts = targets(shape, contestant).into_iter().map(|target| {
        let (wanted, met) = match target {
            Target::AtMost(times, other) => {
                (format!("≤ {times} x {other}"), costs.get(other).map(|other| cost <= times * other))
            }
            Target::Cheaper(times, other) => {
                (format!("{times} x below {other}"), costs.get(other).map(|other| cost * times <= *other))
            }
            Target::Within(ns) => (format!("≤ {ns} ns"), Some(cost <= ns)),
        };
        let met = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not compared",
        };
        format!("{wanted}: {met}")
    });
    verdicts.collect::<Vec<_>>().join("; ")
}

fn targets(shape: &str, contestant: &str) -> Vec<Target> {
    if !["mio-trains", "uring-trains"].contains(&contestant) {
        return Vec::new();
    }
    // With and without a card that splits trains, the targets are the same.
    let shape = shape.trim_end_matches(" offload");
    let mut targets = match shape {
        "video-25" | "video-200" | "lecture-25" | "lecture-200" => {
            vec![Target::AtMost(1.3, "floor"), Target::Cheaper(3.5, "sendto")]
        }
        "seminar-20" => vec![Target::Cheaper(2.0, "sendto")],
        "audio-200" => vec![Target::Cheaper(1.5, "sendto"), Target::AtMost(NOISE, "mio")],
        "a" => vec![Target::Within(2000.0)],
        "b" => vec![Target::Within(2200.0)],
        "c" => vec![Target::Within(3000.0)],
        "hot" => vec![Target::Within(1700.0)],
        _ => Vec::new(),
    };
    if contestant == "uring-trains" {
        targets.push(Target::AtMost(NOISE, "mio-trains"));
    }
    targets
}

/// Medians of every benchmark that has run, in nanoseconds; per element where it says how many it has.
fn print_criterion(directory: &Path) {
    let mut medians = BTreeMap::new();
    find_medians(directory, &mut medians);
    for (name, (median, elements)) in medians {
        match elements {
            Some(elements) => println!("{name:<44} {median:>10.0} ns {:>8.0} ns/packet", median / elements),
            None => println!("{name:<44} {median:>10.0} ns"),
        }
    }
}

fn find_medians(directory: &Path, medians: &mut BTreeMap<String, (f64, Option<f64>)>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if path.ends_with("new") {
            medians.extend(read_median(&path));
        } else {
            find_medians(&path, medians);
        }
    }
}

fn read_median(directory: &Path) -> Option<(String, (f64, Option<f64>))> {
    let read = |file: &str| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(directory.join(file)).ok()?).ok()
    };
    let benchmark = read("benchmark.json")?;
    let median = read("estimates.json")?["median"]["point_estimate"].as_f64()?;
    let elements = benchmark["throughput"]["Elements"].as_f64();
    Some((benchmark["full_id"].as_str()?.to_owned(), (median, elements)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn costs(of: &[(&str, f64)]) -> Costs {
        of.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect()
    }

    #[test]
    fn a_lecture_is_held_against_the_floor_and_the_single_sends() {
        let costs = costs(&[("floor", 600.0), ("sendto", 2700.0), ("mio-trains", 779.0)]);
        let verdict = verdicts("lecture-25", "mio-trains", 779.0, &costs);
        assert_eq!(verdict, "≤ 1.3 x floor: met; 3.5 x below sendto: MISSED");
        assert_eq!(verdicts("lecture-25", "sendto", 2700.0, &costs), "");
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let costs = costs(&[("uring-trains", 1800.0)]);
        let verdict = verdicts("hot", "uring-trains", 1800.0, &costs);
        assert_eq!(verdict, "≤ 1700 ns: MISSED; ≤ 1.02 x mio-trains: not compared");
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
