//! A run: one scenario against one server, in steps, each beside its baseline.

use std::time::Duration;

use super::cpu::{self, Place};
use super::crowd::Crowd;
use super::engine::{Engine, Measured, quantiles};
use super::result::{Asked, Ended, Machine, Quantiles, Run, Step};
use super::scenario::{Limits, Scenario};
use super::signal::Server;
use crate::client::secure::Certificate;

/// What is measured, and from where.
#[derive(Debug)]
pub struct Setup<'a> {
    pub server: Server,
    /// Of the server process, when it runs on this machine.
    pub pid: Option<u32>,
    pub server_cores: &'a [usize],
    pub generator_cores: &'a [usize],
    /// Receivers take trains whole; see [`super::receiver::socket`].
    pub offload: bool,
    pub contestant: String,
    pub seconds: f64,
    pub ramp: bool,
    pub cpu_only: bool,
}

/// Runs every step; `say` hears of each.
pub async fn run(setup: &Setup<'_>, scenario: &Scenario, say: &mut dyn FnMut(&str)) -> Result<Run, String> {
    let mut run = empty(scenario, &setup.contestant, setup.server_cores, setup.seconds);
    if let (true, Some(ramp)) = (setup.ramp, &scenario.ramp) {
        for size in scenario.sizes() {
            if !one_more(&mut run, setup, &scenario.grown(ramp.grow, size), false, say).await? {
                break;
            }
        }
        let knee = run.knee.and_then(|knee| scenario.sizes().get(knee).copied());
        let quiet = knee.map(|knee| (knee * 3 / 4).max(1)).filter(|size| !scenario.sizes().contains(size));
        if let Some(size) = quiet {
            let (ended, knee) = (run.ended, run.knee);
            one_more(&mut run, setup, &scenario.grown(ramp.grow, size), false, say).await?;
            (run.ended, run.knee) = (ended, knee);
            run.steps.sort_by_key(|step| step.participants);
            // It stands before the knee, if its generator could report it.
            run.knee = knee.map(|knee| (knee + 1).min(run.steps.len() - 1));
        }
    } else {
        one_more(&mut run, setup, scenario, false, say).await?;
        if scenario.joins.is_some() && run.ended == Ended::Complete {
            one_more(&mut run, setup, scenario, true, say).await?;
        }
    }
    Ok(run)
}

pub fn empty(scenario: &Scenario, contestant: &str, server_cores: &[usize], seconds: f64) -> Run {
    Run {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        contestant: contestant.to_owned(),
        server_version: None,
        server_cores: server_cores.to_vec(),
        asked: asked(scenario, seconds),
        steps: Vec::new(),
        knee: None,
        ended: Ended::Complete,
    }
}

/// Whether the load may grow further. A step in which the generator was the bottleneck is not kept.
async fn one_more(
    run: &mut Run,
    setup: &Setup<'_>,
    scenario: &Scenario,
    with_joins: bool,
    say: &mut dyn FnMut(&str),
) -> Result<bool, String> {
    // Something else that used the generator's cores for a moment is gone in the next.
    const ATTEMPTS: usize = 3;
    let mut attempt = 1;
    let step = loop {
        let step = step(setup, scenario, with_joins, say).await?;
        match &step.generator.saturated {
            Some(why) if attempt < ATTEMPTS => say(&format!("{why}; once more")),
            Some(_) | None => break step,
        }
        attempt += 1;
    };
    say(&step.generator.saturated.clone().unwrap_or_else(|| line(&step)));
    Ok(keep(run, step, &scenario.limits))
}

fn keep(run: &mut Run, step: Step, limits: &Limits) -> bool {
    if step.generator.saturated.is_some() {
        run.ended = Ended::GeneratorAtLimit;
        return false;
    }
    let carried = is_carried(&step, limits);
    run.steps.push(step);
    if !carried {
        run.ended = Ended::ServerAtLimit;
        return false;
    }
    run.knee = Some(run.steps.len() - 1);
    true
}

/// Nothing is known about the server, only that the generator could not load it.
pub fn is_about_nothing(run: &Run) -> bool {
    run.ended == Ended::GeneratorAtLimit && run.steps.is_empty()
}

/// Loss within the limit, and latency within it above the baseline.
pub fn is_carried(step: &Step, limits: &Limits) -> bool {
    let loss = step.lost as f64 / step.expected.max(1) as f64;
    let p99_us = step.latency.p99_us.saturating_sub(step.baseline.p99_us);
    step.delivered > 0 && loss <= limits.loss && p99_us <= limits.p99_us
}

/// Everybody has got every picture for a while by then.
const SETTLES: Duration = Duration::from_secs(3);

async fn step(
    setup: &Setup<'_>,
    scenario: &Scenario,
    with_joins: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Step, String> {
    let seconds = match &scenario.joins {
        Some(joins) => joins.seconds.max(setup.seconds),
        None => setup.seconds,
    };
    let duration = Duration::from_secs_f64(seconds);
    let certificate = Certificate::generate();
    let place = Place::apart_from(setup.server_cores, setup.generator_cores);
    let mut engine = Engine::start(&place, setup.offload)?;
    engine.cpu_only = setup.cpu_only;
    say(&format!("{}: {} participants, baseline", scenario.name, scenario.participants()));
    let crowd = Crowd::on_echo(&mut engine, setup.server_cores, scenario).await?;
    let baseline = engine.measure(scenario, duration.min(Duration::from_secs(3)), None).await;
    crowd.leave(&mut engine).await;
    say(&format!("{}: {} participants, {}", scenario.name, scenario.participants(), setup.contestant));
    let crowd = Crowd::on_server(&mut engine, &setup.server, scenario, &certificate).await?;
    // Who comes is given the past of a picture, and lines are found to carry more: not what a meeting is like for most of its time.
    tokio::time::sleep(SETTLES).await;
    let first_packet = first_packets(&engine);
    let signalled = crowd.signalling_bytes();
    let measured = match &scenario.joins {
        Some(joins) if with_joins => {
            // The joiners need the engine too, so they have one of their own.
            let mut others = Engine::start(&place.behind(), setup.offload)?;
            let elsewhere = Crowd::join_elsewhere(
                &mut others,
                &setup.server,
                joins,
                &certificate,
                scenario.participants(),
            );
            let (measured, failed) = tokio::join!(engine.measure(scenario, duration, setup.pid), elsewhere);
            let failed = failed?;
            if failed * 20 > joins.count {
                return Err(format!(
                    "{failed} of {} joins failed: what was measured is no storm",
                    joins.count
                ));
            }
            if failed > 0 {
                say(&format!("{failed} of {} joins were refused or not answered", joins.count));
            }
            measured
        }
        _ => engine.measure(scenario, duration, setup.pid).await,
    };
    let signalled = crowd.signalling_bytes().zip(signalled).map(|(after, before)| after - before);
    let resident = setup.pid.and_then(cpu::resident_bytes);
    crowd.leave(&mut engine).await;
    if measured.corrupt > 0 {
        return Err(format!("{} packets were not what was sent, or not authentic", measured.corrupt));
    }
    let mut step = Step {
        baseline: quantiles(&baseline.latency),
        first_packet,
        server_resident_bytes: resident,
        signalling_bytes_per_participant: signalled
            .map(|bytes| bytes as f64 / scenario.participants() as f64),
        ..step_of(scenario, measured)
    };
    // A baseline that was itself late would make the server look fast, or its limit come early.
    let saturated = baseline.generator.saturated.or_else(|| {
        let is_late = !setup.cpu_only && step.baseline.p99_us > scenario.limits.p99_us;
        is_late.then(|| format!("p99 was {} us: something else uses this machine", step.baseline.p99_us))
    });
    let slow = saturated.map(|why| format!("in the baseline, {why}"));
    step.generator.saturated = step.generator.saturated.or(slow);
    Ok(step)
}

/// What the window alone tells.
pub fn step_of(scenario: &Scenario, measured: Measured) -> Step {
    Step {
        participants: scenario.participants(),
        rooms: scenario.rooms,
        seconds: measured.seconds,
        sent: measured.sent,
        expected: measured.expected,
        delivered: measured.delivered,
        lost: measured.lost,
        reordered: measured.reordered,
        delivered_bps: (measured.delivered_bytes as f64 * 8.0 / measured.seconds) as u64,
        latency: quantiles(&measured.latency),
        baseline: Quantiles::default(),
        first_packet: Quantiles::default(),
        server_cpu_ns_per_packet: cpu_per_packet(&measured),
        server_cpu_cores: measured.server_cpu_ns.map(|ns| ns as f64 / (measured.seconds * 1e9)),
        server_resident_bytes: None,
        generator: measured.generator,
        signalling_bytes_per_participant: None,
    }
}

fn first_packets(engine: &Engine) -> Quantiles {
    let mut histogram = super::receiver::histogram();
    for us in engine.states().iter().filter_map(|state| state.first_packet_us) {
        histogram.saturating_record(us);
    }
    quantiles(&histogram)
}

pub fn cpu_per_packet(measured: &Measured) -> Option<f64> {
    let ns = measured.server_cpu_ns.filter(|_| measured.delivered > 0)?;
    Some(ns as f64 / measured.delivered as f64)
}

fn asked(scenario: &Scenario, seconds: f64) -> Asked {
    Asked {
        rooms: scenario.rooms,
        publishers_per_room: scenario.publishers,
        viewers_per_room: scenario.receivers_per_room(),
        video_bps: scenario.video_bps(),
        audio_bps: scenario.audio_bps(),
        seconds_per_step: seconds,
    }
}

/// One step in a line.
fn line(step: &Step) -> String {
    let cpu =
        step.server_cpu_ns_per_packet.map_or(String::new(), |ns| format!(", {:.2} us CPU each", ns / 1000.0));
    format!(
        "{} participants: {} of {} packets ({} lost, {} reordered), {:.0} Mbit/s{cpu}, latency p50 {} p99 {} p99.9 {} us \
         (baseline {} {} {}), busiest thread {:.0} %",
        step.participants,
        step.delivered,
        step.expected,
        step.lost,
        step.reordered,
        step.delivered_bps as f64 / 1e6,
        step.latency.p50_us,
        step.latency.p99_us,
        step.latency.p999_us,
        step.baseline.p50_us,
        step.baseline.p99_us,
        step.baseline.p999_us,
        step.generator.busiest_thread * 100.0
    )
}

/// This machine, for the report.
pub fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory_kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        // Not those that the generator kept for itself.
        cores: read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count().max(1),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory_bytes: memory_kib * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::super::result::Generator;
    use super::*;

    fn step(delivered: u64, p99_us: u64, baseline_us: u64) -> Step {
        let quantiles = |p99_us| Quantiles { p99_us, ..Quantiles::default() };
        Step {
            participants: 2,
            rooms: 1,
            seconds: 1.0,
            sent: 1000,
            expected: 1000,
            delivered,
            lost: 1000 - delivered,
            reordered: 0,
            delivered_bps: 0,
            latency: quantiles(p99_us),
            baseline: quantiles(baseline_us),
            first_packet: Quantiles::default(),
            server_cpu_ns_per_packet: None,
            server_cpu_cores: None,
            server_resident_bytes: None,
            generator: Generator::default(),
            signalling_bytes_per_participant: None,
        }
    }

    #[test]
    fn a_step_in_which_the_generator_was_the_bottleneck_is_not_reported() {
        let scenario = Scenario::load("tiny").unwrap();
        let mut run = empty(&scenario, "server", &[], 1.0);
        let mut at_limit = step(1000, 100, 100);
        at_limit.generator.saturated = Some("busy".into());
        assert!(!keep(&mut run, at_limit.clone(), &scenario.limits));
        assert!(is_about_nothing(&run) && run.knee.is_none());

        let mut run = empty(&scenario, "server", &[], 1.0);
        assert!(keep(&mut run, step(1000, 100, 100), &scenario.limits));
        assert!(!keep(&mut run, at_limit, &scenario.limits));
        assert_eq!((run.steps.len(), run.knee, run.ended), (1, Some(0), Ended::GeneratorAtLimit));
        assert!(!is_about_nothing(&run));
    }

    #[test]
    fn a_step_is_carried_within_loss_and_latency_above_the_baseline() {
        let carried = |delivered, p99_us, baseline_us| {
            is_carried(&step(delivered, p99_us, baseline_us), &Limits::default())
        };
        assert!(carried(999, 5100, 200));
        assert!(!carried(998, 5100, 200));
        assert!(!carried(1000, 5300, 200));
        assert!(!carried(0, 0, 0));
    }
}
