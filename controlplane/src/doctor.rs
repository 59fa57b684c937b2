//! `saal doctor`: what this machine offers and what stands in the way, tried rather than guessed.

use std::fs;
use std::net::TcpListener;

use saal_dataplane::DataPlane;

use crate::addresses;
use crate::config::Config;
use crate::server::{Failure, media_config};

/// Prints one line per finding; an error when the server could not run here.
#[expect(clippy::print_stdout, reason = "the findings are what was asked for")]
pub(crate) fn examine(config: &Config) -> Result<(), Failure> {
    let mut problems = 0;
    let mut report = |good: bool, what: &str, finding: &str| {
        println!("{} {what}: {finding}", if good { "ok     " } else { "PROBLEM" });
        problems += usize::from(!good);
    };
    report(true, "kernel", one_line("/proc/sys/kernel/osrelease").as_deref().unwrap_or("unknown"));
    report(true, "cores", &format!("{:?}", addresses::cores_allowed()));
    report(true, "memlock", &memlock().unwrap_or_else(|| "unknown".into()));
    for (key, wanted) in
        [("rmem_max", config.media.receive_buffer_bytes), ("wmem_max", config.media.send_buffer_bytes)]
    {
        let most = one_line(&format!("/proc/sys/net/core/{key}")).and_then(|text| text.parse::<usize>().ok());
        let finding = match most {
            Some(most) if most < wanted => {
                format!(
                    "{most}, less than the wanted {wanted}: `sysctl -w net.core.{key}={wanted}` helps under load"
                )
            }
            Some(most) => most.to_string(),
            None => "unknown".into(),
        };
        report(true, &format!("net.core.{key}"), &finding);
    }
    let announced = addresses::announced(config);
    let finding = announced.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    report(!announced.is_empty(), "media addresses", &finding);
    for (key, address) in [("http.listen", config.http.listen), ("admin.listen", config.admin.listen)] {
        match TcpListener::bind(address) {
            Ok(_) => report(true, key, &format!("{address} is free")),
            Err(error) => report(false, key, &format!("{address}: {error}")),
        }
    }
    match DataPlane::start(media_config(config)) {
        Ok(plane) => {
            for worker in plane.workers() {
                report(
                    true,
                    &format!("worker {}", worker.id.0),
                    &format!("UDP {} by {}", worker.port, worker.backend),
                );
            }
            if let Some(why) = plane.why_not_uring() {
                report(true, "io_uring", why);
            }
            plane.shutdown();
        }
        Err(error) => report(false, "media workers", &format!("UDP {} and up: {error}", config.media.port)),
    }
    match problems {
        0 => Ok(()),
        _ => Err(Failure::Runtime(format!("{problems} problem(s) found"))),
    }
}

fn one_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn memlock() -> Option<String> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}
