//! `saal-tune`: runs short loads over candidate settings on this machine and prints the lines for the configuration that
//! are worth it, with figures before and after.
//!
//! Each run is a `saal-load` of its own with a server of its own, so nothing of one run is left in the next. What follows
//! from the figures is `saal_tools::tune`'s business; this file only measures.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use saal_tools::load::result::Report;
use saal_tools::tune::{Knob, Sample, Tried, choose, fragment, gain, is_worth_another, knobs, median};

/// Find the settings of the media workers that cost least on this machine
#[derive(Parser)]
#[command(name = "saal-tune", version)]
struct Arguments {
    /// The load: a scenario of saal-load or a file; without it the largest of a few that this machine can make
    #[arg(long)]
    scenario: Option<String>,
    /// The load that compares numbers of workers: one with many rooms
    #[arg(long, default_value = "rooms")]
    scenario_cores: String,
    /// Cores that the server may use; all that this process may by default
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// One run of each candidate, about two minutes
    #[arg(long, conflicts_with = "thorough")]
    quick: bool,
    /// More candidates and runs, up to half an hour
    #[arg(long)]
    thorough: bool,
    /// A run is late when its p99 is so many microseconds above the generator's own
    #[arg(long, default_value_t = 5000)]
    p99_us_max: u64,
    /// saal-load; beside this program by default
    #[arg(long)]
    load: Option<PathBuf>,
    /// The server; beside this program by default
    #[arg(long)]
    server: Option<PathBuf>,
}

/// The largest first: mixed sizes, for which trains must be evened out; then one camera for many.
const SCENARIOS: [&str; 2] = ["seminar-20", "lecture-25"];

/// Exit code of saal-load.
const GENERATOR_AT_LIMIT: i32 = 3;

const ATTEMPTS: u32 = 3;

/// How much is measured.
struct Effort {
    seconds: f64,
    rounds: usize,
    pairs: usize,
    /// When it is over, what was measured by then must do.
    budget: Duration,
}

impl Arguments {
    fn effort(&self) -> Effort {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        match (self.quick, self.thorough) {
            (true, _) => Effort { seconds: 2.0, rounds: 1, pairs: 2, budget: minutes(2) },
            (_, true) => Effort { seconds: 10.0, rounds: 4, pairs: 5, budget: minutes(30) },
            (_, _) => Effort { seconds: 3.0, rounds: 2, pairs: 3, budget: minutes(5) },
        }
    }
}

fn main() -> ExitCode {
    match tune(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saal-tune: {error}");
            ExitCode::from(1)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the fragment is what was asked for")]
fn tune(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let cores = match arguments.cores.is_empty() {
        true => (0..std::thread::available_parallelism()?.get()).collect(),
        false => arguments.cores.clone(),
    };
    let mut bench = Bench::new(arguments)?;
    let defaults = bench.defaults()?;
    bench.choose_scenario()?;
    let mut settings: Vec<(&'static str, String)> = Vec::new();
    let mut tried = Vec::new();
    for knob in knobs(&defaults, &cores, arguments.thorough) {
        let Some(samples) = bench.try_all(&knob, &settings)? else { break };
        let chosen = choose(&samples, knob.workers.as_deref());
        if chosen != 0 {
            settings.push((knob.key, knob.candidates[chosen].clone()));
        }
        tried.push(Tried { knob, samples, chosen });
    }
    let pairs = bench.confirm(&settings)?;
    let gain = gain(&pairs);
    let one_line = |samples: Vec<Sample>| match median(&samples) {
        Some(ns) => {
            let p99_us = samples.iter().map(|sample| sample.p99_us).max().unwrap_or_default();
            format!("{:.2} us of CPU per packet, p99 at most {:.1} ms", ns / 1000.0, p99_us as f64 / 1000.0)
        }
        None => "not carried in full".to_owned(),
    };
    if let Some(machine) = &bench.machine {
        println!("# {machine}; {}", bench.shape());
    }
    if !pairs.is_empty() {
        println!("# before: {}", one_line(pairs.iter().map(|(before, _)| *before).collect()));
        println!("# after:  {}", one_line(pairs.iter().map(|(_, after)| *after).collect()));
    }
    println!(
        "{}",
        match gain {
            Some(ratio) => format!("# after / before = {ratio:.2}, measured in turns"),
            None => "# nothing is clearly better than the defaults: leave them".to_owned(),
        }
    );
    print!("{}", fragment(&tried, gain));
    Ok(())
}

/// Runs `saal-load` and reads what it measured.
struct Bench<'a> {
    arguments: &'a Arguments,
    effort: Effort,
    load: PathBuf,
    server: PathBuf,
    scenario: String,
    since: Instant,
    runs: u32,
    machine: Option<String>,
}

impl Bench<'_> {
    fn new(arguments: &Arguments) -> Result<Bench<'_>, Box<dyn Error>> {
        let own = std::env::current_exe()?;
        let beside = |name: &str| own.with_file_name(name);
        let program = |given: &Option<PathBuf>, name: &str| -> Result<PathBuf, Box<dyn Error>> {
            let path = given.clone().unwrap_or_else(|| beside(name));
            match path.exists() {
                true => Ok(path),
                false => {
                    Err(format!("{} is missing: cargo build --release --workspace", path.display()).into())
                }
            }
        };
        Ok(Bench {
            arguments,
            effort: arguments.effort(),
            load: program(&arguments.load, "saal-load")?,
            server: program(&arguments.server, "saal")?,
            scenario: String::new(),
            since: Instant::now(),
            runs: 0,
            machine: None,
        })
    }

    /// The server's `[media]` table when nothing is configured.
    fn defaults(&self) -> Result<toml::Table, Box<dyn Error>> {
        let output = Command::new(&self.server).arg("check").stdin(Stdio::null()).output()?;
        let mut table: toml::Table = toml::from_str(std::str::from_utf8(&output.stdout)?)?;
        match table.remove("media") {
            Some(toml::Value::Table(media)) => Ok(media),
            _ => Err(format!("{} check printed no [media]", self.server.display()).into()),
        }
    }

    /// Every candidate once a round, every other round in reverse. `None` when the time is up before the first round is.
    fn try_all(
        &mut self,
        knob: &Knob,
        settings: &[(&'static str, String)],
    ) -> Result<Option<Vec<Vec<Sample>>>, Box<dyn Error>> {
        let count = knob.candidates.len();
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); count];
        let scenario = match knob.workers {
            Some(_) => &self.arguments.scenario_cores.clone(),
            None => &self.scenario.clone(),
        };
        for round in 0..self.effort.rounds {
            let order: Vec<usize> = match round % 2 {
                0 => (0..count).collect(),
                _ => (0..count).rev().collect(),
            };
            if !self.has_time_for(order.len()) {
                return Ok((round > 0).then_some(samples));
            }
            for index in order {
                if round > 0 && index > 0 && !is_worth_another(&samples[0], &samples[index]) {
                    continue;
                }
                let mut settings = settings.to_vec();
                // Alone, saal-load puts the server on one core.
                if index > 0 || knob.workers.is_some() {
                    settings.push((knob.key, knob.candidates[index].clone()));
                }
                let Some(sample) = self.run(scenario, &settings)? else { continue };
                eprintln!(
                    "{:>4} s  {} = {}: {:.2} us per packet, p99 {} us{}",
                    self.since.elapsed().as_secs(),
                    knob.key,
                    knob.candidates[index],
                    sample.ns_per_packet / 1000.0,
                    sample.p99_us,
                    if sample.is_fit { "" } else { ", not carried in full" }
                );
                samples[index].push(sample);
            }
        }
        Ok(Some(samples))
    }

    /// The defaults and the choice in turns.
    fn confirm(
        &mut self,
        settings: &[(&'static str, String)],
    ) -> Result<Vec<(Sample, Sample)>, Box<dyn Error>> {
        let mut pairs = Vec::new();
        if settings.is_empty() {
            return Ok(pairs);
        }
        // Workers are compared where they differ.
        let scenario = match settings.iter().all(|(key, _)| *key == "cores") {
            true => self.arguments.scenario_cores.clone(),
            false => self.scenario.clone(),
        };
        for pair in 1..=self.effort.pairs {
            let before = self.run(&scenario, &[])?;
            let Some((before, after)) = before.zip(self.run(&scenario, settings)?) else { continue };
            eprintln!(
                "{:>4} s  pair {pair}: {:.2} us before, {:.2} us after",
                self.since.elapsed().as_secs(),
                before.ns_per_packet / 1000.0,
                after.ns_per_packet / 1000.0
            );
            pairs.push((before, after));
        }
        Ok(pairs)
    }

    /// The last pairs must fit in, too.
    fn has_time_for(&self, runs: usize) -> bool {
        let each = match self.runs {
            0 => Duration::from_secs_f64(self.effort.seconds),
            runs => self.since.elapsed() / runs,
        };
        self.since.elapsed() + each * (runs + 2 * self.effort.pairs) as u32 <= self.effort.budget
    }

    /// A load that the machine cannot make says nothing about the server.
    fn choose_scenario(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(scenario) = &self.arguments.scenario {
            self.scenario = scenario.clone();
            return Ok(());
        }
        for scenario in SCENARIOS {
            match self.try_run(scenario, &[])? {
                Ok(_) => {
                    self.scenario = scenario.to_owned();
                    return Ok(());
                }
                Err(why) => eprintln!("{:>4} s  not {scenario}: {why}", self.since.elapsed().as_secs()),
            }
        }
        Err("this machine is too busy or too small to make a load beside the server; stop other programs"
            .into())
    }

    /// A moment in which the machine was busy with something else is let pass; `None` when it does not pass.
    fn run(
        &mut self,
        scenario: &str,
        settings: &[(&'static str, String)],
    ) -> Result<Option<Sample>, Box<dyn Error>> {
        for _ in 0..ATTEMPTS {
            match self.try_run(scenario, settings)? {
                Ok(sample) => return Ok(Some(sample)),
                Err(why) => eprintln!("{:>4} s  {why}", self.since.elapsed().as_secs()),
            }
        }
        Ok(None)
    }

    /// The inner error says why the run tells nothing.
    fn try_run(
        &mut self,
        scenario: &str,
        settings: &[(&'static str, String)],
    ) -> Result<Result<Sample, String>, Box<dyn Error>> {
        let json = std::env::temp_dir().join(format!("saal-tune-{}.json", std::process::id()));
        let arguments = load_arguments(scenario, &self.server, settings, self.effort.seconds, &json);
        let output = Command::new(&self.load).args(arguments).stdin(Stdio::null()).output()?;
        self.runs += 1;
        let text = std::fs::read(&json);
        let _ = std::fs::remove_file(&json);
        let Ok(text) = text else {
            let said = String::from_utf8_lossy(&output.stderr);
            let why = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("saal-load said nothing");
            return match output.status.code() {
                Some(GENERATOR_AT_LIMIT) => Ok(Err(why.to_owned())),
                _ => Err(why.to_owned().into()),
            };
        };
        let report: Report = serde_json::from_slice(&text)?;
        let machine = &report.machine;
        self.machine.get_or_insert_with(|| {
            format!("{}, {} cores, Linux {}", machine.cpu, machine.cores, machine.kernel)
        });
        let run = report.runs.last().ok_or("saal-load reported no run")?;
        Ok(Sample::of(run, self.arguments.p99_us_max))
    }

    fn shape(&self) -> String {
        format!("{}, {} s a run, {} runs", self.scenario, self.effort.seconds, self.runs)
    }
}

fn load_arguments(
    scenario: &str,
    server: &Path,
    settings: &[(&'static str, String)],
    seconds: f64,
    json: &Path,
) -> Vec<String> {
    let mut arguments =
        vec!["run".to_owned(), scenario.to_owned(), "--spawn".to_owned(), server.display().to_string()];
    for (key, value) in settings {
        // The generator keeps away from the server's cores, so it must know them.
        match *key {
            "cores" => arguments.extend(["--server-core".to_owned(), value.replace(['[', ']', ' '], "")]),
            _ => arguments.extend(["--set".to_owned(), format!("media.{key}={value}")]),
        }
    }
    arguments.extend([
        "--cpu-only".to_owned(),
        "--seconds".to_owned(),
        seconds.to_string(),
        "--json".to_owned(),
        json.display().to_string(),
    ]);
    arguments
}
