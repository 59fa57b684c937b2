//! The report, the tables and the JSON from made-up but plausible measurements. The pages are kept below the target
//! directory (`tmp/report-*.html`), for looking at them.

use saal_tools::load::figures::comparisons;
use saal_tools::load::result::{Asked, Ended, Generator, Machine, Quantiles, Report, Run, Step};
use saal_tools::load::{html, table};

/// A server that queues more the nearer it comes to its limit.
struct Server {
    contestant: &'static str,
    ns_per_packet: f64,
    /// Packets per second that one core carries.
    limit: f64,
}

const SENDTO: Server = Server { contestant: "sendto", ns_per_packet: 8_240.0, limit: 118_000.0 };
const MIO: Server = Server { contestant: "mio", ns_per_packet: 5_310.0, limit: 181_000.0 };
const MIO_TRAINS: Server = Server { contestant: "mio-trains", ns_per_packet: 1_980.0, limit: 486_000.0 };
const URING: Server = Server { contestant: "uring", ns_per_packet: 5_120.0, limit: 187_000.0 };
const URING_TRAINS: Server = Server { contestant: "uring-trains", ns_per_packet: 1_870.0, limit: 512_000.0 };
const FLOOR: Server = Server { contestant: "floor", ns_per_packet: 1_560.0, limit: 610_000.0 };

fn quantiles(p50: f64, tail: f64, count: u64) -> Quantiles {
    let at = |share: f64| (p50 * (0.6 + 0.4 * (-(1.0 - share).log10() / 0.301).powf(tail))) as u64;
    Quantiles {
        count,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: at(0.999_99),
        curve: (0..40)
            .map(|i| 1.0 - 10f64.powf(-f64::from(i) / 10.0))
            .map(|share| (at(share), rounded(share)))
            .collect(),
    }
}

/// JSON gives back what has few digits to the last bit.
fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

fn step(server: &Server, participants: usize, pps_each: f64, bytes: f64) -> Step {
    let seconds = 8.0;
    let wanted = participants as f64 * pps_each;
    let load = wanted / server.limit;
    let lost = if load > 1.0 { 1.0 - 1.0 / load } else { 0.0 };
    let expected = (wanted * seconds) as u64;
    let lost = (expected as f64 * lost) as u64;
    let queue = 1.0 / (1.02 - load.min(1.0)).max(0.02);
    Step {
        participants,
        rooms: 1,
        seconds,
        sent: (pps_each * seconds) as u64,
        expected,
        delivered: expected - lost,
        lost,
        reordered: 0,
        delivered_bps: ((expected - lost) as f64 / seconds * bytes * 8.0) as u64,
        latency: quantiles(110.0 + 30.0 * queue, 1.1 + load.min(1.0) / 3.0, expected),
        baseline: quantiles(58.0, 1.05, expected),
        first_packet: quantiles(86_000.0, 0.7, participants as u64),
        server_cpu_ns_per_packet: Some(rounded(server.ns_per_packet * (1.06 - 0.06 * load.min(1.0)))),
        server_cpu_cores: Some(rounded(load.min(1.0) * 0.97)),
        server_resident_bytes: Some(41_000_000 + participants as u64 * 190_000),
        generator: Generator { busiest_thread: rounded(0.2 + load.min(1.0) / 2.0), ..Generator::default() },
        signalling_bytes_per_participant: Some(1_240.0),
    }
}

fn run(
    server: &Server,
    scenario: &str,
    about: &str,
    asked: Asked,
    pps_each: f64,
    bytes: f64,
    loads: &[usize],
) -> Run {
    let mut steps: Vec<Step> = Vec::new();
    let mut ended = Ended::Complete;
    for participants in loads {
        let step = step(server, *participants, pps_each, bytes);
        let too_much = step.lost > 0;
        steps.push(step);
        if too_much {
            ended = Ended::ServerAtLimit;
            break;
        }
    }
    Run {
        scenario: scenario.to_owned(),
        about: about.to_owned(),
        contestant: server.contestant.to_owned(),
        server_version: Some("saal 0.1.0".to_owned()),
        server_cores: vec![1],
        asked,
        knee: steps.iter().rposition(|step| step.lost == 0),
        steps,
        ended,
    }
}

fn lecture(server: &Server) -> Run {
    let asked = Asked {
        rooms: 1,
        publishers_per_room: 1,
        viewers_per_room: 200,
        video_bps: 2_400_000,
        audio_bps: 32_000,
        seconds_per_step: 8.0,
    };
    let about = "One person speaks and shows a picture, everybody else watches and listens.";
    run(
        server,
        "lecture",
        about,
        asked,
        323.0,
        1_090.0,
        &[51, 101, 201, 301, 401, 601, 801, 1_001, 1_201, 1_401, 1_601],
    )
}

fn seminar(server: &Server) -> Run {
    let asked = Asked {
        rooms: 1,
        publishers_per_room: 20,
        viewers_per_room: 0,
        video_bps: 900_000,
        audio_bps: 32_000,
        seconds_per_step: 8.0,
    };
    let about = "Twenty people with camera and microphone who all see one another.";
    let mut run = run(server, "seminar", about, asked, 2_900.0, 780.0, &[20, 40, 60, 80, 100, 120, 140, 160]);
    for step in &mut run.steps {
        step.rooms = step.participants / 20;
    }
    run
}

/// From `participants` on the generator could not drive the load.
fn saturated(mut run: Run, participants: usize) -> Run {
    let Some(first) = run.steps.iter().position(|step| step.participants >= participants) else { return run };
    run.steps.truncate(first + 1);
    run.steps[first].generator = Generator {
        busiest_thread: 0.98,
        late_sends: 8_112,
        socket_drops: 40,
        saturated: Some(
            "its busiest thread ran 98 % of the time and 8,112 packets left more than 1 ms late".to_owned(),
        ),
    };
    run.knee = first.checked_sub(1).map(|last| run.knee.map_or(last, |knee| knee.min(last)));
    run.ended = Ended::GeneratorAtLimit;
    run
}

fn report(runs: Vec<Run>) -> Report {
    Report {
        format: 1,
        started_unix_s: 1_795_461_600,
        command: "saal-load run --scenario lecture,seminar --cores 1 --html report.html".to_owned(),
        machine: Machine {
            cpu: "AMD EPYC 9354P 32-Core Processor".to_owned(),
            cores: 2,
            kernel: "Linux 6.12.43".to_owned(),
            memory_bytes: 8 << 30,
        },
        runs,
    }
}

fn compared() -> Report {
    let contestants = [SENDTO, MIO, MIO_TRAINS, URING, URING_TRAINS, FLOOR];
    let mut runs: Vec<Run> = contestants.iter().map(lecture).collect();
    runs.extend([SENDTO, URING_TRAINS].iter().map(seminar));
    report(runs)
}

fn written(name: &str, report: &Report) -> String {
    let page = html::render(report);
    let path = format!("{}/report-{name}.html", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, &page).expect("the page is kept");
    check_form(&page);
    page
}

/// Every element is closed in its order, every attribute is quoted, ids are unique, and nothing is fetched.
fn check_form(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a document of HTML 5");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        let end = rest[at..].find('>').expect("each tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order, before {:.80}", rest);
            continue;
        }
        let name = tag.split([' ', '/']).next().expect("a tag has a name");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        assert_ne!(name, "script");
        let mut attributes = tag[name.len()..].trim_end_matches('/').trim();
        while let Some((attribute, after)) = attributes.split_once("=\"") {
            let (value, after) = after.split_once('"').expect("each attribute is quoted");
            assert!(!["src", "href", "srcset", "data", "action"].contains(&attribute.trim()), "<{tag}>");
            assert!(!attribute.trim().starts_with("on"), "<{tag}>");
            if attribute.trim() == "id" {
                assert!(!ids.contains(&value), "id {value} twice");
                ids.push(value);
            }
            if attribute.trim() == "aria-labelledby" {
                for id in value.split(' ') {
                    assert!(page.contains(&format!("id=\"{id}\"")), "nothing is called {id}");
                }
            }
            attributes = after.trim();
        }
        assert!(["", "open"].contains(&attributes), "<{tag}>");
        let is_void = name == "meta" || tag.ends_with('/');
        if name == "style" {
            rest = rest.split_once("</style>").expect("the style sheet ends").1;
        } else if !is_void {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    for foreign in ["http://", "https://", "url(", "@import", "NaN", "inf ", "javascript:"] {
        assert!(!page.contains(foreign), "the page contains {foreign}");
    }
}

#[test]
fn summary_says_what_a_core_carries_beside_what_was_asked_for() {
    let page = written("one", &report(vec![lecture(&URING_TRAINS)]));
    assert!(
        page.contains("One core of this machine carried <strong>at least 1,401 participants</strong>")
            || page.contains("One core of this machine carried <strong>1,401 participants</strong>")
    );
    assert!(page.contains("without losing a packet"));
    assert!(page.contains(
        r#"<tr><th scope="row" class="t">lecture</th><td>201</td><td><b>1,401</b></td><td>1,401</td>"#
    ));
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 2);
}

#[test]
fn contestants_of_a_scenario_stand_side_by_side_with_their_ratios() {
    let report = compared();
    let page = written("compared", &report);
    let lecture = &comparisons(&report)[0];
    assert_eq!(lecture.participants, Some(301));
    assert_eq!(lecture.best().unwrap().run.contestant, "uring-trains");
    let trains = lecture.rows.iter().find(|row| row.run.contestant == "uring-trains").unwrap();
    let floor = lecture.rows.iter().find(|row| row.run.contestant == "floor").unwrap();
    let ratio = trains.cpu_ns_per_packet.unwrap() / floor.cpu_ns_per_packet.unwrap();
    assert_eq!(trains.of_floor, Some(ratio));
    assert!(page.contains(&format!("<td>{ratio:.2} ×</td>")));
    assert_eq!(page.matches("class=\"fill b").count(), 8);
}

#[test]
fn load_that_the_generator_could_not_drive_is_never_a_result() {
    let page = written("saturated", &report(vec![saturated(lecture(&URING_TRAINS), 1_001)]));
    assert!(page.contains("<strong>at least 801 participants</strong>"));
    assert!(page.contains("<b>Not measured.</b> its busiest thread ran 98 % of the time"));
    assert!(page.contains("From 1,001 participants on the load generator itself was the bottleneck"));
    let row = page.split("<tr class=\"void\">").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(!row.contains("ms</td>") && !row.contains("bit/s"), "{row}");

    // Nor where it claims to have been the knee.
    let mut run = saturated(lecture(&URING_TRAINS), 51);
    run.knee = Some(0);
    let page = written("saturated-at-once", &report(vec![run]));
    assert!(page.contains("nothing was measured"));
    assert!(!page.contains("<strong>"), "a big figure without a measurement");
}

#[test]
fn run_without_a_knee_or_without_steps_still_makes_a_report() {
    let weak = Server { contestant: "server", ns_per_packet: 90_000.0, limit: 9_000.0 };
    let page = written("no-knee", &report(vec![lecture(&weak)]));
    assert!(page.contains("not even the smallest load, 51 participants, was carried in full"));

    let mut bare = lecture(&URING);
    bare.steps.clear();
    bare.knee = Some(7);
    bare.ended = Ended::Interrupted;
    bare.server_cores.clear();
    let page = written("no-steps", &report(vec![bare]));
    assert!(page.contains("nothing was measured"));

    assert!(written("empty", &report(Vec::new())).contains("This report holds no runs."));

    let mut blank = lecture(&URING);
    for step in &mut blank.steps {
        *step = Step {
            participants: step.participants,
            rooms: 0,
            seconds: 0.0,
            sent: 0,
            expected: 0,
            delivered: 0,
            lost: 0,
            reordered: 0,
            delivered_bps: 0,
            latency: Quantiles::default(),
            baseline: Quantiles::default(),
            first_packet: Quantiles::default(),
            server_cpu_ns_per_packet: None,
            server_cpu_cores: None,
            server_resident_bytes: None,
            generator: Generator::default(),
            signalling_bytes_per_participant: None,
        };
    }
    written("blank", &report(vec![blank]));
}

#[test]
fn hostile_names_stay_text() {
    let evil = "</style><script>alert(1)</script>\" onload='x' & \u{202e}\x1b[2J";
    let mut run = saturated(lecture(&URING_TRAINS), 401);
    run.scenario = evil.to_owned();
    run.about = evil.to_owned();
    run.contestant = evil.to_owned();
    run.server_version = Some(evil.to_owned());
    run.steps.last_mut().unwrap().generator.saturated = Some(evil.to_owned());
    let mut report = report(vec![run, lecture(&SENDTO), lecture(&MIO)]);
    report.runs[2].contestant = evil.to_owned();
    report.command = evil.to_owned();
    report.machine.cpu = evil.to_owned();
    report.machine.kernel = evil.to_owned();
    let page = written("hostile", &report);
    assert!(!page.contains("<script"));
    assert!(!page.contains('\x1b') && !page.contains('\u{202e}'));
    let text = table::compare(&report) + &table::run(&report.runs[0]);
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn json_gives_back_what_was_written() {
    let report = compared();
    let written = serde_json::to_string(&report).unwrap();
    let read: Report = serde_json::from_str(&written).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), written);
    assert_eq!(html::render(&read), html::render(&report));
    assert!(written.contains(r#""ended":"server-at-limit""#));
}

#[test]
fn tables_are_aligned_and_fit_100_columns() {
    let report = compared();
    let mut text = table::compare(&report);
    for run in &report.runs {
        text += &table::run(run);
    }
    text += &table::run(&saturated(lecture(&URING_TRAINS), 1_001));
    println!("{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "lecture: all at 301 participants");
    assert!(lines[1].starts_with("contestant    carried"), "{}", lines[1]);
    let ends = |line: &str, word: &str| line.find(word).map(|at| line[..at + word.len()].chars().count());
    assert_eq!(ends(lines[1], "x floor"), ends(lines[7], "1.00"), "{text}");
}

#[test]
fn of_several_runs_the_median_is_compared() {
    let dear = Server { ns_per_packet: 9_000.0, ..URING_TRAINS };
    let cheap = Server { ns_per_packet: 1_000.0, ..URING_TRAINS };
    let report = report(vec![lecture(&dear), lecture(&URING_TRAINS), lecture(&cheap), lecture(&SENDTO)]);
    let lecture = &comparisons(&report)[0];
    assert_eq!(lecture.rows.len(), 2);
    assert_eq!(lecture.rows[0].runs, 3);
    let step = lecture.rows[0].step.unwrap();
    assert_eq!(
        step.server_cpu_ns_per_packet,
        report.runs[1].steps[2..]
            .iter()
            .find(|s| s.participants == step.participants)
            .unwrap()
            .server_cpu_ns_per_packet
    );
}
