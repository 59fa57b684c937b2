//! The report as one HTML file that can be read, printed and forwarded: no script, no picture or style from elsewhere.
//!
//! First what was carried, in words; then each scenario; then how it was measured and what the figures do not say. What
//! the generator could not drive is never shown as a result. All text from outside goes through `escape`.

use super::figures::{Comparison, Row, comparisons};
use super::format::{bytes, count, date, escape, figure, latency, loss, rate_bps, share};
use super::plot::{self, Caption, Curve};
use super::result::{Asked, Quantiles, Report, Run, Step};
use super::table::{at_least, ended, verdict};

const STYLE: &str = include_str!("report.css");
const NONE: &str = "–";
/// Nothing is loaded, whatever slips into the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

pub fn render(report: &Report) -> String {
    let scenarios = comparisons(report);
    let speaker = speaker(&scenarios).map(|row| row.run);
    let sections: String = scenarios.iter().enumerate().map(|(i, of)| scenario(i, of, speaker)).collect();
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>Saal load report, {date}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<p class="brand"><svg viewBox="0 0 24 24" aria-hidden="true"><path fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" d="M4 19V13M9.3 19V9M14.6 19V12M20 19V5"/></svg>Saal</p>
<h1>How much this machine carries</h1>
<p class="soft">Load report of {date} · {cpu}</p>
</header>
<main>
{summary}{sections}{method}{machine}</main>
<footer><p>Written by saal-load. This file needs no network and runs no script; it may be kept and forwarded as it is.</p></footer>
</body>
</html>
"#,
        date = date(report.started_unix_s),
        cpu = escape(&report.machine.cpu),
        summary = summary(&scenarios),
        method = METHOD,
        machine = machine(report),
    )
}

/// The answer: one sentence, four figures, and a table of all scenarios.
fn summary(scenarios: &[Comparison<'_>]) -> String {
    let Some(best) = speaker(scenarios) else {
        return r#"<section class="card hero"><p class="says">This report holds no runs.</p></section>"#
            .to_owned();
    };
    let run = best.run;
    let about = if run.about.is_empty() {
        String::new()
    } else {
        format!(r#"<p class="about"><b>{}</b>: {}</p>"#, escape(&run.scenario), escape(&run.about))
    };
    let all: String = scenarios.iter().filter_map(|of| Some(summary_row(of.best()?))).collect();
    format!(
        r#"<section class="card hero" aria-label="Summary"><p class="says">{}</p>{about}{}{}</section>
<section class="card" aria-labelledby="in-numbers"><h3 id="in-numbers">What was asked for, and what was carried</h3>
<p class="caption">Each scenario at the largest load that was carried in full. A load is one participant count; it is carried when loss and latency stay within the scenario's limits.</p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="in-numbers"><table>
<thead><tr><th scope="col" class="t">Scenario</th><th scope="col">asked for</th><th scope="col">carried</th><th scope="col">per core</th><th scope="col">per Gbit/s</th><th scope="col">out of the server</th><th scope="col">latency p99</th><th scope="col">loss</th></tr></thead>
<tbody>{all}</tbody></table></div>
<p class="small soft plainly"><b>≥</b> The limit lies beyond this figure: the server carried everything that could be tried.</p></section>
"#,
        says(run),
        tiles(run),
        limits_note(run),
    )
}

/// The run that the summary is about: of the scenario that carried most people.
fn speaker<'r, 'a>(scenarios: &'r [Comparison<'a>]) -> Option<&'r Row<'a>> {
    let people = |row: &&Row<'_>| row.run.carried().map_or(0, |step| step.participants);
    scenarios.iter().rev().filter_map(Comparison::best).max_by_key(people)
}

/// The sentence that a reader takes along.
fn says(run: &Run) -> String {
    let scenario = escape(&run.scenario);
    let Some(step) = run.carried() else {
        let tried = run.measured().next().map(|step| step.participants);
        return match tried {
            Some(n) => format!(
                "In the scenario <b>{scenario}</b> not even the smallest load, {} participants, was carried in full.",
                count(n as u64)
            ),
            None => format!("In the scenario <b>{scenario}</b> nothing was measured."),
        };
    };
    let subject = match (run.is_floor(), run.server_cores.len(), step.server_cpu_cores) {
        (true, ..) => "The bare machine, without a conference server,".to_owned(),
        (false, 0, Some(cores)) => format!("The server, with {} cores' worth of CPU time,", figure(cores)),
        (false, 0, None) => "The server".to_owned(),
        (false, 1, _) => "One core of this machine".to_owned(),
        (false, cores, _) => format!("{cores} cores of this machine"),
    };
    let beyond = if run.limit_is_beyond() { "at least " } else { "" };
    let lost = match step.lost {
        0 => "without losing a packet".to_owned(),
        _ => format!("with a loss of {}", escape(&loss(step.loss()))),
    };
    let within = match step.latency.count {
        0 => String::new(),
        _ => format!(
            "; 99 of 100 packets were through within <strong>{}</strong>",
            latency(step.latency.p99_us)
        ),
    };
    format!(
        "{subject} carried <strong>{beyond}{} participants</strong> in the scenario <b>{scenario}</b>, {lost}{within}. That is <strong>{}</strong> out of the server.",
        count(step.participants as u64),
        rate_bps(step.delivered_bps),
    )
}

fn tiles(run: &Run) -> String {
    let Some(step) = run.carried() else { return String::new() };
    let sign = if run.limit_is_beyond() { "≥ " } else { "" };
    let mut tiles = Vec::new();
    if let Some(people) = run.participants_per_core() {
        tiles.push((format!("{sign}{}", figure(people.floor())), "participants per core".to_owned()));
    }
    if let Some(people) = step.participants_per_gbit() {
        tiles.push((figure(people), "participants per Gbit/s".to_owned()));
    }
    if step.latency.count > 0 {
        let baseline = match step.baseline.count {
            0 => "latency, p99".to_owned(),
            _ => format!("latency, p99 ({} without a server)", latency(step.baseline.p99_us)),
        };
        tiles.push((with_unit(&latency(step.latency.p99_us)), baseline));
    }
    tiles.push((with_unit(&loss(step.loss()).replace('<', "&lt;")), "of packets lost".to_owned()));
    if let (Some(cores), true) = (step.server_cpu_cores, tiles.len() < 4) {
        tiles.push((figure(cores), "cores of CPU time".to_owned()));
    }
    let tiles: String =
        tiles.into_iter().map(|(n, what)| format!("<div><dt>{what}</dt><dd>{n}</dd></div>")).collect();
    format!(r#"<dl class="tiles">{tiles}</dl>"#)
}

fn with_unit(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((n, unit)) => format!("{n} <small>{unit}</small>"),
        None => text.to_owned(),
    }
}

/// Why the figure may be less than the server's limit, for readers who see nothing but the summary.
fn limits_note(run: &Run) -> String {
    let reason = run
        .steps
        .iter()
        .find_map(|step| step.generator.saturated.as_deref().map(|reason| (step.participants, reason)));
    match reason {
        Some((n, reason)) => format!(
            r#"<p class="note">From {} participants on the load generator itself was the bottleneck, so those loads are not measured and not counted: {}</p>"#,
            count(n as u64),
            escape(reason)
        ),
        None => format!(r#"<p class="plainly soft">{}</p>"#, ended(run)),
    }
}

fn summary_row(row: &Row<'_>) -> String {
    let run = row.run;
    let name = escape(&run.scenario);
    let asked = asked_total(&run.asked);
    let Some(step) = run.carried() else {
        let why = match run.measured().next() {
            Some(_) => "not even the smallest load was carried in full",
            None => "not measured: the load generator was the bottleneck, or the run ended before",
        };
        return format!(
            r#"<tr class="void"><th scope="row" class="t">{name}</th><td>{asked}</td><td class="t" colspan="6">{why}</td></tr>"#
        );
    };
    let beyond = if run.limit_is_beyond() { "≥ " } else { "" };
    format!(
        r#"<tr><th scope="row" class="t">{name}</th><td>{asked}</td><td><b>{}</b></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>"#,
        at_least(run, step),
        run.participants_per_core()
            .map_or(NONE.to_owned(), |people| format!("{beyond}{}", figure(people.floor()))),
        step.participants_per_gbit().map_or(NONE.to_owned(), figure),
        rate_bps(step.delivered_bps),
        quantile(&step.latency, step.latency.p99_us),
        escape(&loss(step.loss())),
    )
}

fn asked_total(asked: &Asked) -> String {
    count((asked.rooms * (asked.publishers_per_room + asked.viewers_per_room)) as u64)
}

fn scenario(index: usize, of: &Comparison<'_>, speaker: Option<&Run>) -> String {
    let Some(best) = of.best() else { return String::new() };
    let run = best.run;
    let comparison = if of.rows.len() > 1 { contestants(index, of) } else { String::new() };
    let runs: String = of
        .rows
        .iter()
        .enumerate()
        .map(|(i, row)| one_run(&format!("run-{index}-{i}"), row, std::ptr::eq(row.run, run)))
        .collect();
    let says = match speaker {
        // The summary has said it.
        Some(speaker) if std::ptr::eq(speaker, run) => String::new(),
        Some(_) | None => format!(r#"<p class="says measure">{}</p>"#, says(run)),
    };
    format!(
        r#"<section aria-labelledby="scenario-{index}"><h2 id="scenario-{index}">Scenario: {}</h2>
<p class="lead measure">{}</p>
<div class="card">{says}<dl class="facts">{}</dl></div>
{comparison}{runs}</section>
"#,
        escape(of.scenario),
        escape(&run.about),
        asked(&run.asked),
    )
}

fn asked(asked: &Asked) -> String {
    let people = match (asked.publishers_per_room, asked.viewers_per_room) {
        (publishers, 0) => format!("{publishers} who send and watch"),
        (publishers, viewers) => format!("{publishers} who send, {viewers} who watch"),
    };
    let rate = |bps| if bps == 0 { "none".to_owned() } else { rate_bps(bps) };
    facts(&[
        ("Asked for", format!("{} participants", asked_total(asked))),
        ("Rooms", count(asked.rooms as u64)),
        ("In each room", people),
        ("Video of each sender", rate(asked.video_bps)),
        ("Audio of each sender", rate(asked.audio_bps)),
        ("Measured for each load", format!("{} s", (asked.seconds_per_step * 10.0).round() / 10.0)),
    ])
}

/// Bars of CPU per packet, with the figures beside them, and the latencies over one another.
fn contestants(index: usize, of: &Comparison<'_>) -> String {
    let most = of.rows.iter().filter_map(|row| row.cpu_ns_per_packet).fold(0.0, f64::max);
    let (floor, sendto) = (
        of.rows.iter().any(|row| row.of_floor.is_some()),
        of.rows.iter().any(|row| row.cheaper_than_sendto.is_some()),
    );
    let optional = |shown: bool, cell: String| if shown { cell } else { String::new() };
    let rows: String = of
        .rows
        .iter()
        .map(|row| {
            let bar = match row.cpu_ns_per_packet {
                Some(ns) if most > 0.0 => format!(
                    r#"<span class="track"><span class="fill b{}" style="width:{:.1}%"></span></span>"#,
                    style_of(&row.run.contestant),
                    100.0 * ns / most
                ),
                Some(_) | None => String::new(),
            };
            let ratio = |ratio: Option<f64>| ratio.map_or(NONE.to_owned(), |ratio| format!("{ratio:.2} ×"));
            let [delivered, p50, p99, p999] = match row.step {
                Some(step) => [
                    share(step.delivered_share()),
                    quantile(&step.latency, step.latency.p50_us),
                    quantile(&step.latency, step.latency.p99_us),
                    quantile(&step.latency, step.latency.p999_us),
                ],
                None => [NONE; 4].map(str::to_owned),
            };
            format!(
                r#"<tr><th scope="row" class="t">{}</th><td class="t bar">{bar}</td><td><b>{}</b></td>{}{}<td>{}</td><td>{delivered}</td><td>{p50}</td><td>{p99}</td><td>{p999}</td></tr>"#,
                escape(&row.run.contestant),
                row.cpu_ns_per_packet.map_or(NONE.to_owned(), |ns| format!("{} ns", figure(ns))),
                optional(floor, format!("<td>{}</td>", ratio(row.of_floor))),
                optional(sendto, format!("<td>{}</td>", ratio(row.cheaper_than_sendto))),
                row.run.carried().map_or(NONE.to_owned(), |step| at_least(row.run, step)),
            )
        })
        .collect();
    let at = match of.participants {
        Some(n) => format!("with {} participants, a load that all of them carried", count(n as u64)),
        None => "each at the largest load that it carried itself, for they have none in common".to_owned(),
    };
    let curves: Vec<(&Row<'_>, Curve<'_>)> = of
        .rows
        .iter()
        .filter_map(|row| {
            Some((row, Curve { style: style_of(&row.run.contestant), latency: &row.step?.latency }))
        })
        .collect();
    let (id, title) = (format!("contestants-{index}"), format!("Latency of each contestant, {at}"));
    let lines: Vec<Curve<'_>> =
        curves.iter().map(|(_, curve)| Curve { style: curve.style, latency: curve.latency }).collect();
    let caption = Caption { id: &id, title: &title, about: "The figures stand in the table above." };
    let drawn = plot::percentiles(&caption, &lines).map_or_else(String::new, |svg| {
        let legend: Vec<(usize, &str)> =
            curves.iter().map(|(row, curve)| (curve.style, row.run.contestant.as_str())).collect();
        format!(
            r#"<div class="plots one"><figure><h4>Latency, all contestants</h4>{svg}{}</figure></div>"#,
            self::legend(&legend)
        )
    });
    let repeated = of.rows.iter().map(|row| row.runs).max().filter(|runs| *runs > 1);
    let repeated = repeated.map_or_else(String::new, |runs| format!(" Median of {runs} runs."));
    format!(
        r#"<div class="card"><h3 id="cpu-{index}">CPU time of the server for each packet that it delivered</h3>
<p class="caption">Less is better. Compared {at}.{repeated}</p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="cpu-{index}"><table class="bars">
<thead><tr><th scope="col" class="t">Contestant</th><th scope="col"><span class="visually-hidden">bar</span></th><th scope="col">per packet</th>{}{}<th scope="col">carried</th><th scope="col">delivered</th><th scope="col">p50</th><th scope="col">p99</th><th scope="col">p99.9</th></tr></thead>
<tbody>{rows}</tbody></table></div>{drawn}</div>
"#,
        optional(floor, r#"<th scope="col">of the floor</th>"#.to_owned()),
        optional(sendto, r#"<th scope="col">cheaper than sendto</th>"#.to_owned()),
    )
}

/// Each contestant keeps its colour and dashes throughout a report.
fn style_of(contestant: &str) -> usize {
    match contestant {
        "sendto" => 1,
        "uring" => 2,
        "mio-trains" => 3,
        "mio" => 4,
        "floor" => 5,
        // `uring-trains`, or a running server.
        _ => 0,
    }
}

fn one_run(id: &str, row: &Row<'_>, open: bool) -> String {
    let run = row.run;
    let version =
        run.server_version.as_ref().map_or_else(String::new, |version| format!(" · {}", escape(version)));
    let cores = match run.server_cores.as_slice() {
        [] => "cores not pinned by us".to_owned(),
        [core] => format!("pinned to core {core}"),
        cores => format!(
            "pinned to cores {}",
            cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ),
    };
    format!(
        r#"<details{}><summary><h3>Run: {}</h3><span class="soft small">{cores}{version}</span></summary><div class="inner">
<p class="measure">{}</p>{}{}{}{}</div></details>
"#,
        if open { " open" } else { "" },
        escape(&run.contestant),
        ended(run),
        plots(id, run),
        steps(id, run),
        latencies(run),
        run.carried().map_or_else(String::new, extra),
    )
}

fn plots(id: &str, run: &Run) -> String {
    let mut figures = Vec::new();
    let (ramp_id, curve_id) = (format!("{id}-ramp"), format!("{id}-latency"));
    let about = ended(run) + " The figures stand in the table below.";
    let caption = Caption { id: &ramp_id, title: "Latency and server CPU over participants", about: &about };
    if let Some(svg) = plot::ramp(&caption, run) {
        figures.push(format!(
            r#"<figure><h4>As the load rises</h4>{svg}<p class="small soft">● carried in full &#160; ✕ beyond the limit</p></figure>"#
        ));
    }
    let named = latency_lines(run);
    let curves: Vec<Curve<'_>> =
        named.iter().map(|(style, _, latency)| Curve { style: *style, latency }).collect();
    let caption = Caption {
        id: &curve_id,
        title: "Latency over the share of packets",
        about: "How long packets took from sender to receiver, up to 99.9 %. The figures stand in the table below.",
    };
    if let Some(svg) = plot::percentiles(&caption, &curves) {
        let names: Vec<(usize, &str)> = named
            .iter()
            .filter(|(_, _, latency)| latency.count > 0)
            .map(|(style, name, _)| (*style, name.as_str()))
            .collect();
        figures.push(format!(r#"<figure><h4>How long packets take</h4>{svg}{}</figure>"#, legend(&names)));
    }
    match figures.len() {
        0 => String::new(),
        n => format!(r#"<div class="plots{}">{}</div>"#, if n == 1 { " one" } else { "" }, figures.concat()),
    }
}

/// What is drawn and listed of a run's latencies: at its limit, where one would run it, and without a server.
fn latency_lines(run: &Run) -> Vec<(usize, String, &Quantiles)> {
    let Some(step) = run.carried().or_else(|| run.measured().next()) else { return Vec::new() };
    let people = |step: &Step| format!("{} participants", count(step.participants as u64));
    let mut lines = vec![(0, people(step), &step.latency)];
    if let Some(step) = run.at_three_quarters() {
        lines.push((2, people(step), &step.latency));
    }
    lines.push((5, "generator alone, without a server".to_owned(), &step.baseline));
    lines
}

fn legend(names: &[(usize, &str)]) -> String {
    let items: String = names
        .iter()
        .map(|(style, name)| format!("<li>{}{}</li>", plot::sample(*style), escape(name)))
        .collect();
    format!(r#"<ul class="legend">{items}</ul>"#)
}

fn steps(id: &str, run: &Run) -> String {
    if run.steps.is_empty() {
        return String::new();
    }
    let rows: String = run.steps.iter().enumerate().map(|(i, step)| step_row(run, i, step)).collect();
    format!(
        r#"<h4 id="{id}-steps">All loads</h4><div class="scroll" tabindex="0" role="region" aria-labelledby="{id}-steps"><table class="steps">
<thead><tr><th scope="col">participants</th><th scope="col">rooms</th><th scope="col">packets/s</th><th scope="col">bit rate</th><th scope="col">loss</th><th scope="col">p50</th><th scope="col">p99</th><th scope="col">p99.9</th><th scope="col">CPU, cores</th><th scope="col">CPU/packet</th><th scope="col" class="t"><span class="visually-hidden">outcome</span></th></tr></thead>
<tbody>{rows}</tbody></table></div>"#
    )
}

fn step_row(run: &Run, index: usize, step: &Step) -> String {
    let people = count(step.participants as u64);
    if let Some(reason) = &step.generator.saturated {
        return format!(
            r#"<tr class="void"><th scope="row">{people}</th><td>{}</td><td class="t" colspan="9"><b>Not measured.</b> {}</td></tr>"#,
            count(step.rooms as u64),
            escape(reason)
        );
    }
    let class = match run.knee {
        Some(knee) if index == knee => r#" class="knee""#,
        Some(knee) if index < knee => "",
        Some(_) | None => r#" class="beyond""#,
    };
    let of = &step.latency;
    format!(
        r#"<tr{class}><th scope="row">{people}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class="t">{}</td></tr>"#,
        count(step.rooms as u64),
        count(step.delivered_per_s() as u64),
        rate_bps(step.delivered_bps),
        escape(&loss(step.loss())),
        quantile(of, of.p50_us),
        quantile(of, of.p99_us),
        quantile(of, of.p999_us),
        step.server_cpu_cores.map_or(NONE.to_owned(), figure),
        step.server_cpu_ns_per_packet.map_or(NONE.to_owned(), |ns| format!("{} ns", figure(ns))),
        verdict(run, index),
    )
}

fn latencies(run: &Run) -> String {
    let row = |(_, name, of): &(usize, String, &Quantiles)| {
        let cells: String = [of.p50_us, of.p90_us, of.p99_us, of.p999_us, of.max_us]
            .map(|us| format!("<td>{}</td>", quantile(of, us)))
            .concat();
        format!(r#"<tr><th scope="row" class="t">{}</th>{cells}</tr>"#, escape(name))
    };
    let rows: String = latency_lines(run).iter().filter(|(_, _, of)| of.count > 0).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        r#"<h4>Latency, from sender to receiver</h4><div class="scroll" tabindex="0" role="region" aria-label="Latency"><table><thead><tr><th scope="col" class="t">with</th><th scope="col">p50</th><th scope="col">p90</th><th scope="col">p99</th><th scope="col">p99.9</th><th scope="col">slowest</th></tr></thead><tbody>{rows}</tbody></table></div>"#
    )
}

/// The rest of what is known about the carried step.
fn extra(step: &Step) -> String {
    let first = &step.first_packet;
    let memory = step.server_resident_bytes.map_or(NONE.to_owned(), |n| {
        let each = n / step.participants.max(1) as u64;
        format!("{} ({} for each participant)", bytes(n), bytes(each))
    });
    format!(
        r#"<h4>With {} participants, further</h4><dl class="facts">{}</dl>"#,
        count(step.participants as u64),
        facts(&[
            (
                "From asking to join until the first packet",
                match first.count {
                    0 => NONE.to_owned(),
                    _ => format!("p50 {}, p99 {}", latency(first.p50_us), latency(first.p99_us)),
                }
            ),
            ("Packets sent, delivered", format!("{}, {}", count(step.sent), count(step.delivered))),
            ("Out of order", count(step.reordered)),
            ("Memory of the server", memory),
            (
                "Signalling for each participant",
                step.signalling_bytes_per_participant.map_or(NONE.to_owned(), |n| bytes(n as u64)),
            ),
            ("Busiest thread of the generator", share(step.generator.busiest_thread)),
            ("Sent over 1 ms late by the generator", count(step.generator.late_sends)),
            ("Dropped at the generator's sockets", count(step.generator.socket_drops)),
        ])
    )
}

fn facts(facts: &[(&str, String)]) -> String {
    facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).collect()
}

fn quantile(of: &Quantiles, us: u64) -> String {
    if of.count == 0 { NONE.to_owned() } else { latency(us) }
}

const METHOD: &str = r#"<section aria-labelledby="method"><h2 id="method">How this was measured</h2><div class="card">
<ul class="list">
<li><b>Participants are simulated, their traffic is real.</b> Each one joins the server as a browser does (signalling, ICE, DTLS) and sends and receives encrypted RTP through a socket of its own. The code that encrypts and checks on their side is not the server's. At the <i>floor</i> and in the baseline there is nothing to join: keys are agreed beforehand, cipher and packets are the same.</li>
<li><b>Latency</b> is the time from the moment before a sender encrypts a packet, all packets of a frame before the first of them leaves, to the moment a receiver has read it, on one clock. It contains the generator and the kernel; the same path without a server is measured too and shown beside it. p99 means: 99 of 100 packets took no longer.</li>
<li><b>CPU</b> is user and system time of the server process over the measured window, divided by the packets that arrived. It includes the kernel's work of delivering them.</li>
<li><b>The load rises in steps.</b> Counting begins when everybody has joined. The <b>knee</b> is the last load at which loss and latency stayed within the scenario's limits.</li>
<li><b>The generator watches itself.</b> Where it sent late, dropped packets at its own sockets or had no CPU time left, a load counts as not measured, whatever the figures say.</li>
<li><b>The contestants</b>, where several ran: <i>sendto</i> sends each packet with a call of its own; <i>mio</i> hands many over in one call, and <i>uring</i> through io_uring; with <i>trains</i>, packets for one receiver leave as one segmented send. The <i>floor</i> receives, decrypts, encrypts and sends without being a conference server: it is what the machine itself costs.</li>
</ul></div></section>
<section aria-labelledby="limits"><h2 id="limits">What the figures do not say</h2><div class="card">
<ul class="list">
<li><b>Not the network.</b> When generator and server share a machine, as they do wherever a run names its cores, packets cross the loopback interface. Network card, its driver and interrupts, switches and the line come on top; so do loss and delay on people's own connections.</li>
<li><b>Not a recommendation.</b> These are limits. A server that people rely on should be planned with room to spare; the tables show what three quarters of the limit look like.</li>
<li><b>Not other machines.</b> Processor, kernel and settings decide. Generator and server also share caches and memory here, which costs the server something.</li>
<li><b>Not picture or sound quality.</b> Packets are counted, not watched.</li>
</ul></div></section>
"#;

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        r#"<section aria-labelledby="machine"><h2 id="machine">Machine and command</h2><div class="card"><dl class="facts">{}</dl>
<h4 class="repeat">To repeat it</h4><p><code>{}</code></p></div></section>
"#,
        facts(&[
            ("Processor", escape(&machine.cpu)),
            ("Cores", count(machine.cores as u64)),
            ("Memory", bytes(machine.memory_bytes)),
            ("Kernel", escape(&machine.kernel)),
        ]),
        escape(&report.command)
    )
}
