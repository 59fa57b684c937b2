//! Contestants side by side: the same traffic, the same core, one after the other in each round.

use std::path::PathBuf;
use std::time::Duration;

use super::cpu::Place;
use super::crowd::Crowd;
use super::engine::Engine;
use super::result::{Run, Step};
use super::run::{self, cpu_per_packet};
use super::scenario::Scenario;
use super::server::{self, Process, Spawned};
use super::signal::{self, Server};
use crate::client::secure::Certificate;

#[derive(Debug)]
pub struct Plan {
    pub contestants: Vec<String>,
    pub rounds: usize,
    pub seconds: f64,
    /// All of every server; the floor has the first.
    pub server_cores: Vec<usize>,
    pub generator_cores: Vec<usize>,
    /// Receivers take trains whole; see [`super::receiver::socket`].
    pub offload: bool,
    pub saal: PathBuf,
    pub floor: PathBuf,
    /// Lines of configuration for all servers.
    pub set: Vec<String>,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub contestant: String,
    /// Server CPU per delivered packet of each round.
    pub rounds_ns: Vec<f64>,
    pub delivered: u64,
    pub expected: u64,
    /// Packets of one send, where the server tells.
    pub train: Option<f64>,
    pub late_share: f64,
    /// Every round in full.
    pub steps: Vec<Step>,
}

struct Contestant {
    row: Row,
    /// Leaves before the process ends.
    crowd: Crowd,
    engine: Engine,
    process: Process,
    admin: Option<String>,
    sends: u64,
    late: u64,
}

/// What a contestant's name means in the server's configuration.
fn settings(contestant: &str) -> Result<Vec<String>, String> {
    let (io, trains) = match contestant {
        "sendto" => ("sendto", false),
        "mio" => ("mio", false),
        "mio-trains" => ("mio", true),
        "uring" => ("uring", false),
        "uring-trains" => ("uring", true),
        _ => {
            return Err(format!(
                "no contestant {contestant}: sendto, mio, mio-trains, uring, uring-trains, floor"
            ));
        }
    };
    let mut lines = vec![format!("media.io = \"{io}\"")];
    if !trains {
        lines.push("media.segments_max = 1".to_owned());
    }
    Ok(lines)
}

pub async fn compare(
    plan: &Plan,
    scenario: &Scenario,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, String> {
    let mut contestants = Vec::new();
    for name in &plan.contestants {
        if name == "floor" && (scenario.rooms > 1 || !scenario.forwards_everything()) {
            say("floor: left out, it has one room and forwards everything to everybody");
            continue;
        }
        say(&format!("{name}: {} participants join", scenario.participants()));
        let contestant = enter(plan, scenario, name).await.map_err(|why| format!("{name}: {why}"))?;
        contestant.engine.pause(true);
        contestants.push(contestant);
    }
    for round in 0..plan.rounds {
        for contestant in &mut contestants {
            contestant.round(scenario, Duration::from_secs_f64(plan.seconds)).await?;
            let row = &contestant.row;
            let Some(step) = row.steps.last() else { continue };
            let ns = step.server_cpu_ns_per_packet.unwrap_or_default();
            let saturated = &step.generator.saturated;
            let not_counted = saturated.as_ref().map_or(String::new(), |why| format!(", not counted: {why}"));
            say(&format!("round {}, {}: {ns:.0} ns per packet{not_counted}", round + 1, row.contestant));
        }
    }
    let mut rows = Vec::new();
    for mut contestant in contestants {
        contestant.crowd.leave(&mut contestant.engine).await;
        contestant.row.late_share = contestant.late as f64 / contestant.sends.max(1) as f64;
        rows.push(contestant.row);
    }
    Ok(rows)
}

async fn enter(plan: &Plan, scenario: &Scenario, name: &str) -> Result<Contestant, String> {
    let mut engine =
        Engine::start(&Place::apart_from(&plan.server_cores, &plan.generator_cores), plan.offload)?;
    engine.cpu_only = true;
    let row = Row {
        contestant: name.to_owned(),
        rounds_ns: Vec::new(),
        delivered: 0,
        expected: 0,
        train: None,
        late_share: 0.0,
        steps: Vec::new(),
    };
    let (process, crowd, admin) = if name == "floor" {
        let mut arguments = vec![
            format!("--receivers={}", scenario.receivers_per_room()),
            format!("--publishers={}", scenario.publishers),
        ];
        if scenario.publishers_receive {
            arguments.push("--exclude-own".to_owned());
        }
        let core = *plan.server_cores.first().ok_or("no core for the server")?;
        let (process, port) = server::spawn_floor(&plan.floor, core, &arguments)?;
        let crowd = Crowd::on_floor(&mut engine, port, scenario).await?;
        (process, crowd, None)
    } else {
        let mut set = settings(name)?;
        set.extend(plan.set.iter().cloned());
        let Spawned { process, url, admin, account, password } =
            server::spawn(&plan.saal, &plan.server_cores, &set)?;
        let server = Server::sign_in(&url, &account, &password).await?;
        let crowd = Crowd::on_server(&mut engine, &server, scenario, &Certificate::generate()).await?;
        (process, crowd, Some(admin))
    };
    Ok(Contestant { row, crowd, engine, process, admin, sends: 0, late: 0 })
}

impl Contestant {
    /// A busy generator does not make the server's own processor time wrong; packets that it bunches or fails to take do.
    async fn round(&mut self, scenario: &Scenario, duration: Duration) -> Result<(), String> {
        // The caches are another contestant's, and ticks and padding follow the load.
        const WARM_UP: Duration = Duration::from_millis(500);
        self.engine.pause(false);
        tokio::time::sleep(WARM_UP).await;
        let before = self.trains().await;
        let measured = self.engine.measure(scenario, duration, Some(self.process.pid())).await;
        let after = self.trains().await;
        let name = self.row.contestant.clone();
        if measured.corrupt > 0 {
            return Err(format!("{name}: {} packets were not what was sent", measured.corrupt));
        }
        let ns = cpu_per_packet(&measured).ok_or_else(|| format!("{name} delivered nothing"))?;
        if measured.generator.saturated.is_none() {
            self.row.rounds_ns.push(ns);
        }
        self.row.delivered += measured.delivered;
        self.row.expected += measured.expected;
        self.sends += measured.sends;
        self.late += measured.generator.late_sends;
        self.row.steps.push(run::step_of(scenario, measured));
        if let (Some((packets, sends)), Some((packets_after, sends_after))) = (before, after) {
            self.row.train = Some((packets_after - packets) / (sends_after - sends).max(1.0));
        }
        Ok(())
    }

    /// Packets and sends of the server so far.
    async fn trains(&self) -> Option<(f64, f64)> {
        let text = signal::metrics(self.admin.as_ref()?).await.ok()?;
        let sum = |name: &str| -> f64 {
            let values = text.lines().filter_map(|line| {
                let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
                rest.rsplit(' ').next()?.parse::<f64>().ok()
            });
            values.sum()
        };
        let (packets, sends) = (sum("saal_datagrams_out_total"), sum("saal_sends_total"));
        (packets > 0.0 && sends > 0.0).then_some((packets, sends))
    }
}

impl Row {
    pub fn median_ns(&self) -> f64 {
        let mut sorted = self.rounds_ns.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => sorted[len / 2],
            len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
        }
    }

    /// Of a delivered packet with everything above UDP: contestants are comparable only if it is about the same.
    pub fn bytes_per_packet(&self) -> f64 {
        let of_step = |step: &Step| step.delivered_bps as f64 / 8.0 * step.seconds;
        let bytes = self.steps.iter().map(of_step).fold(0.0, |sum, bytes| sum + bytes);
        bytes / self.delivered.max(1) as f64
    }

    /// Half the distance from the best round to the worst, as a share of the median.
    pub fn spread(&self) -> f64 {
        let least = self.rounds_ns.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.rounds_ns.iter().copied().fold(0.0, f64::max);
        (most - least) / 2.0 / self.median_ns()
    }
}

/// A run for each round, as the report has them.
pub fn runs(plan: &Plan, scenario: &Scenario, rows: &[Row]) -> Vec<Run> {
    let run = |contestant: &str, step: &Step| Run {
        steps: vec![step.clone()],
        knee: Some(0),
        ..run::empty(scenario, contestant, &plan.server_cores, plan.seconds)
    };
    rows.iter().flat_map(|row| row.steps.iter().map(move |step| run(&row.contestant, step))).collect()
}

/// The table, in Markdown.
pub fn table(rows: &[Row]) -> String {
    let median = |name: &str| rows.iter().find(|row| row.contestant == name).map(Row::median_ns);
    let (floor, sendto) = (median("floor"), median("sendto"));
    let ratio = |ns: f64, to: Option<f64>| to.map_or("-".to_owned(), |to| format!("{:.2}", ns / to));
    let mut text = "| contestant | CPU ns per packet | spread | to floor | to sendto | train | bytes | delivered | late |\n\
         |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let ns = row.median_ns();
        text += &format!(
            "| {} | {ns:.0} | ± {:.1} % | {} | {} | {} | {:.0} | {:.4} % | {:.1} % |\n",
            row.contestant,
            row.spread() * 100.0,
            ratio(ns, floor),
            ratio(ns, sendto),
            row.train.map_or("-".to_owned(), |train| format!("{train:.1}")),
            row.bytes_per_packet(),
            row.delivered as f64 / row.expected.max(1) as f64 * 100.0,
            row.late_share * 100.0
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contestant: &str, rounds_ns: &[f64]) -> Row {
        Row {
            contestant: contestant.to_owned(),
            rounds_ns: rounds_ns.to_vec(),
            delivered: 999,
            expected: 1000,
            train: None,
            late_share: 0.0,
            steps: Vec::new(),
        }
    }

    #[test]
    fn one_odd_round_moves_the_spread_and_not_the_figure() {
        let odd = row("mio", &[1000.0, 1010.0, 990.0, 2000.0, 1005.0]);
        assert_eq!(odd.median_ns(), 1005.0);
        assert!((odd.spread() - 0.5025).abs() < 0.001);
        assert_eq!(row("mio", &[1.0, 3.0]).median_ns(), 2.0);
    }

    #[test]
    fn the_table_quotes_ratios() {
        let text = table(&[row("sendto", &[8000.0]), row("floor", &[1600.0])]);
        assert!(
            text.contains("| sendto | 8000 | ± 0.0 % | 5.00 | 1.00 | - | 0 | 99.9000 % | 0.0 % |"),
            "{text}"
        );
    }

    #[test]
    fn every_contestant_has_its_settings() {
        assert_eq!(settings("mio").unwrap(), ["media.io = \"mio\"", "media.segments_max = 1"]);
        assert_eq!(settings("uring-trains").unwrap(), ["media.io = \"uring\""]);
        assert!(settings("quic").is_err());
    }
}
