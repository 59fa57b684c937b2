//! `saal-load`: loads a server with simulated participants and says what it carried, or that the load itself was at its
//! limit.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use saal_tools::load::compare::{self, Plan};
use saal_tools::load::cpu;
use saal_tools::load::html;
use saal_tools::load::result::{self, Report};
use saal_tools::load::run::{self, Setup};
use saal_tools::load::scenario::Scenario;
use saal_tools::load::server::{self, Spawned};
use saal_tools::load::signal::Server;
use saal_tools::load::table;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The generator was the bottleneck: there is nothing to report.
const GENERATOR_AT_LIMIT: u8 = 3;

/// Loads a Saal server with simulated participants and measures what arrives.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Lists the built-in scenarios
    List,
    /// Runs a scenario against one server
    Run(Run),
    /// Measures several I/O modes and the floor, in turn, on the same core
    Compare(Compare),
}

#[derive(Args, Debug)]
struct Run {
    /// Name of a built-in scenario, or a file
    scenario: String,
    /// A running server, as http://host:port; its account comes with --account, its password in SAAL_PASSWORD
    #[arg(long, conflicts_with_all = ["spawn", "set"])]
    server: Option<String>,
    #[arg(long, requires = "server")]
    account: Option<String>,
    /// File with the account's password, in place of SAAL_PASSWORD
    #[arg(long, requires = "server")]
    password_file: Option<PathBuf>,
    /// Process of the running server, when it is on this machine: its processor time and memory are measured
    #[arg(long, requires = "server")]
    pid: Option<u32>,
    /// Server binary to start; without --server the one beside this binary
    #[arg(long)]
    spawn: Option<PathBuf>,
    #[command(flatten)]
    placing: Placing,
    /// Length of a step's measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Grow to the knee, by the scenario's own rule
    #[arg(long)]
    ramp: bool,
    /// Report processor time also where the generator was late or busy; latency is then partly its own
    #[arg(long, conflicts_with_all = ["ramp", "html"])]
    cpu_only: bool,
    /// Write the report as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Compare {
    /// Name of a built-in scenario, or a file
    scenario: String,
    #[arg(long, value_delimiter = ',', default_value = "sendto,mio,mio-trains,uring,uring-trains,floor")]
    contestants: Vec<String>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Server binary; without it the one beside this binary
    #[arg(long)]
    spawn: Option<PathBuf>,
    /// saal-floor; without it the one beside this binary
    #[arg(long)]
    floor: Option<PathBuf>,
    #[command(flatten)]
    placing: Placing,
    /// Write the report as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Placing {
    /// Cores that a started server runs on, all of it; without it the last core of this machine
    #[arg(long = "server-core", value_delimiter = ',')]
    server_cores: Vec<usize>,
    /// Receivers take trains whole, so that the server's kernel need not split them: as with a network card that does it
    #[arg(long)]
    offload: bool,
    /// A line of a started server's configuration, for example 'media.io="mio"'
    #[arg(long)]
    set: Vec<String>,
}

impl Placing {
    /// The server's cores, and the generator's: all others, or the same on a machine with one core.
    fn cores(&self) -> (Vec<usize>, Vec<usize>) {
        let all = cpu::cores();
        let server = match &self.server_cores[..] {
            [] => all.last().copied().into_iter().collect(),
            chosen => chosen.to_vec(),
        };
        let others: Vec<usize> = all.iter().copied().filter(|core| !server.contains(core)).collect();
        (server, if others.is_empty() { all } else { others })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let mut signals = Signals::new()?;
            // What is given up in the middle ends the servers that it has started.
            tokio::select! {
                ended = obey(arguments.command) => ended,
                number = signals.next() => Ok(ExitCode::from(128 + number)),
            }
        })
    });
    ended.unwrap_or_else(|why| {
        eprintln!("saal-load: {why}");
        ExitCode::FAILURE
    })
}

/// Those that ask a program to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Signals, String> {
        let of = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Signals {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    /// Its number.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 15,
            _ = self.interrupt.recv() => 2,
            _ = self.hang_up.recv() => 1,
        }
    }
}

async fn obey(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::List => {
            for name in Scenario::names() {
                out(&format!("{name:12} {}", Scenario::load(name)?.about));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(arguments) => run(arguments).await,
        Command::Compare(arguments) => compare_all(arguments).await,
    }
}

async fn run(arguments: Run) -> Result<ExitCode, String> {
    let scenario = Scenario::load(&arguments.scenario)?;
    let (server_cores, generator_cores) = arguments.placing.cores();
    cpu::pin(&generator_cores);
    let mut last = String::new();
    let mut say = |line: &str| {
        eprintln!("{line}");
        line.clone_into(&mut last);
    };
    // Ends when this function does.
    let mut spawned: Option<Spawned> = None;
    let (server, pid, server_cores) = match &arguments.server {
        Some(url) => {
            let account = arguments.account.as_deref().ok_or("--account is missing")?;
            let password = match &arguments.password_file {
                Some(path) => {
                    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?
                }
                None => std::env::var("SAAL_PASSWORD")
                    .map_err(|_| "the password is missing: SAAL_PASSWORD or --password-file")?,
            };
            (Server::sign_in(url, account, password.trim_end()).await?, arguments.pid, Vec::new())
        }
        None => {
            let binary = arguments.spawn.clone().unwrap_or_else(|| server::beside("saal"));
            let started = server::spawn(&binary, &server_cores, &arguments.placing.set)?;
            let server = Server::sign_in(&started.url, &started.account, &started.password).await?;
            let pid = started.process.pid();
            spawned = Some(started);
            (server, Some(pid), server_cores)
        }
    };
    let setup = Setup {
        server,
        pid,
        server_cores: &server_cores,
        generator_cores: &generator_cores,
        offload: arguments.placing.offload,
        contestant: "server".to_owned(),
        seconds: arguments.seconds,
        ramp: arguments.ramp,
        cpu_only: arguments.cpu_only,
    };
    let began = unix_s();
    let run = run::run(&setup, &scenario, &mut say).await?;
    drop(spawned);
    let at_limit = run::is_about_nothing(&run);
    let report = report(began, vec![run]);
    if at_limit {
        eprintln!("saal-load: nothing to report: {last}");
        return Ok(ExitCode::from(GENERATOR_AT_LIMIT));
    }
    write(&report, arguments.json.as_deref(), arguments.html.as_deref())?;
    report.runs.iter().for_each(|run| out(&table::run(run)));
    Ok(ExitCode::SUCCESS)
}

async fn compare_all(arguments: Compare) -> Result<ExitCode, String> {
    let mut scenario = Scenario::load(&arguments.scenario)?;
    if arguments.placing.offload {
        scenario.name.push_str(" offload");
    }
    let (server_cores, generator_cores) = arguments.placing.cores();
    cpu::pin(&generator_cores);
    let plan = Plan {
        contestants: arguments.contestants,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        server_cores,
        generator_cores,
        offload: arguments.placing.offload,
        saal: arguments.spawn.unwrap_or_else(|| server::beside("saal")),
        floor: arguments.floor.unwrap_or_else(|| server::beside("saal-floor")),
        set: arguments.placing.set,
    };
    let began = unix_s();
    let rows = compare::compare(&plan, &scenario, &mut |line| eprintln!("{line}")).await?;
    let report = report(began, compare::runs(&plan, &scenario, &rows));
    write(&report, arguments.json.as_deref(), arguments.html.as_deref())?;
    out(&format!("{}: {}\n\n{}", scenario.name, scenario.about, compare::table(&rows)));
    Ok(ExitCode::SUCCESS)
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn report(started_unix_s: u64, runs: Vec<result::Run>) -> Report {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Report { format: 1, started_unix_s, command, machine: run::machine(), runs }
}

fn write(report: &Report, json: Option<&Path>, html: Option<&Path>) -> Result<(), String> {
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = html {
        std::fs::write(path, html::render(report)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the answer of a command line tool")]
fn out(text: &str) {
    println!("{text}");
}
