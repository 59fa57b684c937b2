//! `saal doctor`: what this machine offers and what stands in the way, tried rather than guessed.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;

use saal_dataplane::DataPlane;

use crate::accounts::Accounts;
use crate::addresses;
use crate::config::Config;
use crate::server::{Failure, check_cores, media_config};
use crate::tls;

/// How a finding is marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Ok,
    /// The server runs, but something could be better.
    Note,
    /// The server would not start.
    Problem,
}

type Finding = (Mark, String, String);

/// Prints one line per finding; an error when the server could not run here.
#[expect(clippy::print_stdout, reason = "the findings are what was asked for")]
pub(crate) fn examine(config: &Config) -> Result<(), Failure> {
    let mut findings = machine(config);
    findings.extend(files(config));
    findings.extend(ports(config));
    for (mark, what, finding) in &findings {
        let mark = match mark {
            Mark::Ok => "ok     ",
            Mark::Note => "note   ",
            Mark::Problem => "PROBLEM",
        };
        println!("{mark} {what}: {finding}");
    }
    match findings.iter().filter(|(mark, ..)| *mark == Mark::Problem).count() {
        0 => Ok(()),
        problems => Err(Failure::Runtime(format!("the server would not start: {problems} problem(s) above"))),
    }
}

fn machine(config: &Config) -> Vec<Finding> {
    let kernel = one_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    let mut findings = vec![
        (Mark::Ok, "kernel".into(), kernel),
        tried("cores", check_cores(config), || {
            format!("this process may use {:?}", addresses::cores_allowed())
        }),
    ];
    for (key, wanted) in
        [("rmem_max", config.media.receive_buffer_bytes), ("wmem_max", config.media.send_buffer_bytes)]
    {
        let most = one_line(&format!("/proc/sys/net/core/{key}")).and_then(|text| text.parse::<usize>().ok());
        let (mark, finding) = match most {
            Some(most) if most < wanted => (
                Mark::Note,
                format!(
                    "{most} is less than the wanted {wanted}; under load packets are lost: sysctl -w net.core.{key}={wanted}"
                ),
            ),
            Some(most) => (Mark::Ok, most.to_string()),
            None => (Mark::Note, "unknown".into()),
        };
        findings.push((mark, format!("net.core.{key}"), finding));
    }
    let announced = addresses::announced(config);
    findings.push(match announced.is_empty() {
        true => {
            (Mark::Problem, "media addresses".into(), "none; list this machine's in media.announce".into())
        }
        false => {
            let list = announced.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            (Mark::Ok, "media addresses".into(), format!("browsers are told {list}"))
        }
    });
    findings
}

fn files(config: &Config) -> Vec<Finding> {
    let tls = tls::acceptor(config).map_err(Failure::Config);
    let certificate =
        tried("certificate", tls, || match (&config.http.tls_certificate, config.http.self_signed) {
            (Some(path), _) => format!("{} and its key are readable and fit", path.display()),
            (None, true) => "made at start; browsers will warn".into(),
            (None, false) => "none: plain http on loopback".into(),
        });
    let organizers = match &config.organizers.file {
        None => (Mark::Ok, "organizers".into(), "no file: a demo account is made at start".into()),
        Some(path) => match Accounts::open(path) {
            Ok(accounts) if accounts.names().next().is_none() => (
                Mark::Note,
                "organizers".into(),
                "nobody may open rooms yet: saal organizer add NAME --config FILE".into(),
            ),
            accounts => tried("organizers", accounts.map_err(Failure::Config), || {
                format!("{} is readable", path.display())
            }),
        },
    };
    vec![certificate, organizers]
}

/// Taken for a moment, so a server that runs already makes them look bad.
fn ports(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, address) in [("http.listen", config.http.listen), ("admin.listen", config.admin.listen)] {
        findings.push(match TcpListener::bind(address) {
            Ok(_) => (Mark::Ok, key.into(), format!("{address} is free")),
            Err(error) => (Mark::Problem, key.into(), format!("{address}: {}", with_cause(&error))),
        });
    }
    match DataPlane::start(media_config(config)) {
        Ok(plane) => {
            for worker in plane.workers() {
                let finding = format!("UDP {} by {}", worker.port, worker.backend);
                findings.push((Mark::Ok, format!("worker {}", worker.id.0), finding));
            }
            if let Some(why) = plane.why_not_uring() {
                findings.push((Mark::Note, "backend".into(), format!("mio, because {why}")));
            }
            plane.shutdown();
        }
        Err(error) => findings.push((
            Mark::Problem,
            "media workers".into(),
            format!("UDP {} and up: {error}", config.media.port),
        )),
    }
    findings
}

fn tried<T>(what: &str, result: Result<T, Failure>, finding: impl FnOnce() -> String) -> Finding {
    match result {
        Ok(_) => (Mark::Ok, what.into(), finding()),
        Err(Failure::Config(why) | Failure::Runtime(why)) => (Mark::Problem, what.into(), why),
    }
}

/// The kernel's words and what is behind them most of the time.
pub(crate) fn with_cause(error: &std::io::Error) -> String {
    let cause = [
        (ErrorKind::AddrInUse, "does Saal run already? `ss -lntup` shows who listens"),
        (
            ErrorKind::PermissionDenied,
            "ports below 1024 need AmbientCapabilities=CAP_NET_BIND_SERVICE in the service's unit",
        ),
        (ErrorKind::AddrNotAvailable, "this machine has no such address (`ip address`)"),
    ];
    let cause = cause.iter().find(|(kind, _)| *kind == error.kind());
    cause.map_or_else(|| error.to_string(), |(_, cause)| format!("{error}; {cause}"))
}

fn one_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
