//! Tables for a terminal, 100 columns wide at most.

use super::figures::{Comparison, comparisons};
use super::format::{count, figure, loss, plain, share};
use super::result::{Ended, Quantiles, Report, Run, Step};

const WIDTH: usize = 100;

/// The steps of one run, for its end.
pub fn run(run: &Run) -> String {
    let mut rows = vec![
        ["participants", "pkt/s", "Gbit/s", "loss", "p50 ms", "p99 ms", "p99.9 ms", "cores", "ns/pkt", ""]
            .map(str::to_owned),
    ];
    for (i, step) in run.steps.iter().enumerate() {
        if !step.is_measured() {
            let mut row = [const { String::new() }; 10];
            row[0] = count(step.participants as u64);
            row[9] = "not measured".to_owned();
            rows.push(row);
            continue;
        }
        let [p50, p99, p999] = quantiles(&step.latency);
        rows.push([
            count(step.participants as u64),
            count(step.delivered_per_s() as u64),
            figure(step.delivered_bps as f64 / 1e9),
            loss(step.loss()),
            p50,
            p99,
            p999,
            step.server_cpu_cores.map_or_else(dash, figure),
            step.server_cpu_ns_per_packet.map_or_else(dash, figure),
            verdict(run, i).to_owned(),
        ]);
    }
    let mut out = format!("{}, {}\n", plain(&run.scenario), plain(&run.contestant));
    out += &aligned(&rows, &[9]);
    for (step, reason) in run.steps.iter().filter_map(|step| Some((step, step.generator.saturated.as_ref()?)))
    {
        out += &wrapped(&format!("not measured with {}: {}", count(step.participants as u64), plain(reason)));
    }
    out + &wrapped(&ended(run))
}

/// Contestants side by side, a table for each scenario.
pub fn compare(report: &Report) -> String {
    comparisons(report).iter().map(comparison).collect::<Vec<_>>().join("\n")
}

fn comparison(of: &Comparison<'_>) -> String {
    let mut rows = vec![
        [
            "contestant",
            "carried",
            "ns/pkt",
            "x floor",
            "x cheaper",
            "delivered",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
        ]
        .map(str::to_owned),
    ];
    for row in &of.rows {
        let [p50, p99, p999] =
            row.step.map_or_else(|| [dash(), dash(), dash()], |step| quantiles(&step.latency));
        rows.push([
            plain(&row.run.contestant),
            row.run.carried().map_or_else(dash, |step| at_least(row.run, step)),
            row.cpu_ns_per_packet.map_or_else(dash, figure),
            row.of_floor.map_or_else(dash, |ratio| format!("{ratio:.2}")),
            row.cheaper_than_sendto.map_or_else(dash, |ratio| format!("{ratio:.2}")),
            row.step.map_or_else(dash, |step| share(step.delivered_share())),
            p50,
            p99,
            p999,
        ]);
    }
    let load = match of.participants {
        Some(participants) => format!("all at {} participants", count(participants as u64)),
        None => "each at what it carried itself".to_owned(),
    };
    let median = of.rows.iter().map(|row| row.runs).max().filter(|runs| *runs > 1);
    let median = median.map_or_else(String::new, |runs| format!(", median of {runs} runs"));
    let mut out = format!("{}: {load}{median}\n", plain(of.scenario));
    out += &aligned(&rows, &[0]);
    if of.rows.iter().any(|row| row.cheaper_than_sendto.is_some()) {
        out += "ns/pkt: server CPU per delivered packet; x cheaper: so many times less than sendto.\n";
    }
    out
}

/// How the ramp ended, as a sentence.
pub(crate) fn ended(run: &Run) -> String {
    let why = match run.ended {
        Ended::Complete => "Every step that was asked for ran",
        Ended::ServerAtLimit => "The ramp ended where the server lost packets or was late",
        Ended::GeneratorAtLimit => "The ramp ended because the load generator was at its own limit",
        Ended::Interrupted => "The run was interrupted",
    };
    match run.carried() {
        Some(_) if run.limit_is_beyond() => format!("{why}: the server's limit lies beyond what was tried."),
        Some(step) => {
            format!("{why}: the last load carried in full was {}.", count(step.participants as u64))
        }
        None if run.measured().next().is_some() => {
            format!("{why}: not even the smallest load was carried in full.")
        }
        None => format!("{why}: nothing was measured."),
    }
}

/// What became of a step, in a word.
pub(crate) fn verdict(run: &Run, step: usize) -> &'static str {
    match run.knee {
        _ if !run.steps[step].is_measured() => "not measured",
        Some(knee) if step < knee => "carried",
        Some(knee) if step == knee && run.limit_is_beyond() => "carried",
        Some(knee) if step == knee => "knee",
        Some(_) | None => "too much",
    }
}

/// How much a run carried; with a sign where it might have been more.
pub(crate) fn at_least(run: &Run, step: &Step) -> String {
    let sign = if run.limit_is_beyond() { "≥ " } else { "" };
    format!("{sign}{}", count(step.participants as u64))
}

fn quantiles(latency: &Quantiles) -> [String; 3] {
    match latency.count {
        0 => [dash(), dash(), dash()],
        _ => [latency.p50_us, latency.p99_us, latency.p999_us].map(|us| figure(us as f64 / 1e3)),
    }
}

fn dash() -> String {
    "–".to_owned()
}

/// Lines of whole words, up to the width of a table.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let long = word.chars().count();
        if width > 0 && width + 1 + long > WIDTH {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += long;
    }
    out.push('\n');
    out
}

/// Columns as wide as their widest cell, figures to the right, those in `words` to the left.
fn aligned<const N: usize>(rows: &[[String; N]], words: &[usize]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(i, (cell, width))| match words.contains(&i) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            })
            .collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    out
}
