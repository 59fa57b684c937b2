//! What follows from a measurement: how much was carried, and how contestants compare under the same load.

use super::result::{Ended, Report, Run, Step};

impl Run {
    /// The last step that was carried in full.
    pub fn carried(&self) -> Option<&Step> {
        self.steps.get(self.knee?).filter(|step| step.is_measured())
    }

    pub fn measured(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_measured())
    }

    /// The server carried everything that was tried, so that its limit lies beyond [`Run::carried`].
    pub fn limit_is_beyond(&self) -> bool {
        let after = self.knee.map_or(0, |knee| knee + 1);
        self.ended != Ended::ServerAtLimit && !self.steps.iter().skip(after).any(Step::is_measured)
    }

    /// Participants of the carried step per core that the server had, or used where it was not pinned.
    pub fn participants_per_core(&self) -> Option<f64> {
        let step = self.carried()?;
        let cores = match self.server_cores.len() {
            0 => step.server_cpu_cores.filter(|cores| *cores > 0.0)?,
            pinned => pinned as f64,
        };
        Some(step.participants as f64 / cores)
    }

    /// The bare cost of the machine, without a server.
    pub fn is_floor(&self) -> bool {
        self.contestant == "floor"
    }

    /// The measured step nearest to three quarters of the carried load, where a server should live; not the carried
    /// step itself.
    pub fn at_three_quarters(&self) -> Option<&Step> {
        let knee = self.carried()?.participants;
        let distance = |step: &&Step| (step.participants * 4).abs_diff(knee * 3);
        self.measured().filter(|step| step.participants < knee).min_by_key(distance)
    }
}

impl Step {
    /// The generator kept up, so that the figures are the server's.
    pub fn is_measured(&self) -> bool {
        self.generator.saturated.is_none()
    }

    pub fn loss(&self) -> f64 {
        if self.lost == 0 { 0.0 } else { self.lost as f64 / self.expected.max(self.lost) as f64 }
    }

    /// NaN when nothing was to be delivered.
    pub fn delivered_share(&self) -> f64 {
        self.delivered as f64 / self.expected as f64
    }

    pub fn delivered_per_s(&self) -> f64 {
        if self.seconds > 0.0 { self.delivered as f64 / self.seconds } else { 0.0 }
    }

    pub fn participants_per_gbit(&self) -> Option<f64> {
        (self.delivered_bps > 0).then(|| self.participants as f64 * 1e9 / self.delivered_bps as f64)
    }
}

/// All runs of one scenario, each contestant once.
#[derive(Debug)]
pub struct Comparison<'a> {
    pub scenario: &'a str,
    /// The largest load that all contestants carried; without one, each is shown at the most that it carried itself.
    pub participants: Option<usize>,
    pub rows: Vec<Row<'a>>,
}

/// One contestant. Of several runs, the one whose CPU per packet is the median.
#[derive(Debug)]
pub struct Row<'a> {
    pub run: &'a Run,
    pub runs: usize,
    /// Where it is compared.
    pub step: Option<&'a Step>,
    pub cpu_ns_per_packet: Option<f64>,
    /// Times the floor's CPU per packet.
    pub of_floor: Option<f64>,
    /// So many times cheaper than `sendto`.
    pub cheaper_than_sendto: Option<f64>,
}

/// One comparison for each scenario, in the order of their first runs.
pub fn comparisons(report: &Report) -> Vec<Comparison<'_>> {
    let mut scenarios: Vec<&str> = Vec::new();
    for run in &report.runs {
        if !scenarios.contains(&run.scenario.as_str()) {
            scenarios.push(&run.scenario);
        }
    }
    scenarios
        .into_iter()
        .map(|scenario| {
            let runs: Vec<&Run> = report.runs.iter().filter(|run| run.scenario == scenario).collect();
            Comparison::of(scenario, &runs)
        })
        .collect()
}

impl<'a> Comparison<'a> {
    fn of(scenario: &'a str, runs: &[&'a Run]) -> Comparison<'a> {
        let mut contestants: Vec<Vec<&Run>> = Vec::new();
        for run in runs {
            match contestants.iter_mut().find(|of| of[0].contestant == run.contestant) {
                Some(of) => of.push(run),
                None => contestants.push(vec![run]),
            }
        }
        let participants = common_load(runs);
        let mut rows: Vec<Row<'_>> =
            contestants.iter().map(|runs| Row::median_of(runs, participants)).collect();
        let cpu_of = |name: &str| {
            rows.iter().find(|row| row.run.contestant == name).and_then(|row| row.cpu_ns_per_packet)
        };
        let (floor, sendto) = (cpu_of("floor"), cpu_of("sendto"));
        for row in &mut rows {
            let Some(cpu) = row.cpu_ns_per_packet.filter(|cpu| *cpu > 0.0) else { continue };
            row.of_floor = floor.filter(|floor| *floor > 0.0).map(|floor| cpu / floor);
            row.cheaper_than_sendto = sendto.map(|sendto| sendto / cpu);
        }
        Comparison { scenario, participants, rows }
    }

    /// The run that speaks for the scenario: it carried the most, at the least CPU. The floor only where nothing else ran.
    pub fn best(&self) -> Option<&Row<'a>> {
        let rank = |row: &&Row<'_>| {
            let carried = row.run.carried().map_or(0, |step| step.participants);
            let cpu = row.cpu_ns_per_packet.map_or(u64::MAX, |ns| ns as u64);
            (!row.run.is_floor(), carried, std::cmp::Reverse(cpu))
        };
        self.rows.iter().rev().max_by_key(rank)
    }
}

impl<'a> Row<'a> {
    fn median_of(runs: &[&'a Run], participants: Option<usize>) -> Row<'a> {
        let mut at: Vec<(&'a Run, Option<&'a Step>)> =
            runs.iter().map(|run| (*run, compared_step(run, participants))).collect();
        let cpu = |step: Option<&Step>| step.and_then(|step| step.server_cpu_ns_per_packet);
        at.sort_by(|(_, a), (_, b)| {
            cpu(*a).unwrap_or(f64::INFINITY).total_cmp(&cpu(*b).unwrap_or(f64::INFINITY))
        });
        let known = at.iter().filter(|(_, step)| cpu(*step).is_some()).count();
        let (run, step) = at[known.max(1).div_ceil(2) - 1];
        Row {
            run,
            runs: runs.len(),
            step,
            cpu_ns_per_packet: cpu(step),
            of_floor: None,
            cheaper_than_sendto: None,
        }
    }
}

fn compared_step(run: &Run, participants: Option<usize>) -> Option<&Step> {
    match participants {
        Some(n) => run.measured().find(|step| step.participants == n),
        None => run.carried().or_else(|| run.measured().next()),
    }
}

/// Contestants that carried nothing do not keep the others from being compared.
fn common_load(runs: &[&Run]) -> Option<usize> {
    let carried = |run: &&Run| -> Vec<usize> {
        let Some(last) = run.carried() else { return Vec::new() };
        run.measured().map(|step| step.participants).filter(|n| *n <= last.participants).collect()
    };
    let mut loads = runs.iter().map(carried).filter(|loads| !loads.is_empty());
    let first = loads.next()?;
    let common = loads.fold(first, |common, loads| {
        common.into_iter().filter(|participants| loads.contains(participants)).collect()
    });
    common.into_iter().max()
}
