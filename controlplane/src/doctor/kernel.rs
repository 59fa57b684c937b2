//! The kernel: its version, io_uring, clocks, and the limits that it sets for this process.

use std::fs;
use std::path::Path;
use std::process::Command;

use saal_dataplane::DataPlane;

use super::{Finding, line, number};
use crate::config::{Config, Io};
use crate::server::media_config;

pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let clocks = Path::new("/sys/devices/system/clocksource/clocksource0");
    let plane_config = media_config(config);
    let workers = plane_config.cores.len();
    vec![
        version(&line("/proc/sys/kernel/osrelease").unwrap_or_default()),
        backend(config.media.io, &try_backend(plane_config), &status),
        locked_memory(&limits, workers),
        open_files(&limits, config.http.connections_max, workers),
        buffer("rmem_max", number("/proc/sys/net/core/rmem_max"), config.media.receive_buffer_bytes),
        buffer("wmem_max", number("/proc/sys/net/core/wmem_max"), config.media.send_buffer_bytes),
        clock_source(
            &line(clocks.join("current_clocksource")).unwrap_or_default(),
            &line(clocks.join("available_clocksource")).unwrap_or_default(),
        ),
        time_sync(
            Path::new("/run/systemd/timesync/synchronized").exists(),
            &output("timedatectl", &["show", "--property=NTPSynchronized"]),
        ),
    ]
}

/// The older ones lack what the ring needs.
const KERNEL_MIN: (u32, u32) = (6, 1);

fn version(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_MIN => Finding::ok("kernel", release),
        (Some(_), Some(_)) => Finding::warn("kernel", format!("{release} is older than 6.1"))
            .means("io_uring lacks what Saal needs from it; media runs over epoll.")
            .mend("apt install linux-generic-hwe-22.04   # Debian 12 and Ubuntu 24.04 have a newer one by themselves"),
        (_, _) => Finding::note("kernel", "unknown: /proc/sys/kernel/osrelease cannot be read"),
    }
}

/// The backend that the workers get, and why it is not io_uring if so.
type Tried = Result<(&'static str, Option<String>), String>;

/// All workers, on ports that the kernel chooses: a server that runs already is not in the way.
fn try_backend(config: saal_dataplane::Config) -> Tried {
    let anywhere = saal_dataplane::Config { port: 0, bind: None, ..config };
    let plane = DataPlane::start(anywhere).map_err(|error| error.to_string())?;
    let backend = plane.workers().first().map_or("none", |worker| worker.backend);
    let tried = (backend, plane.why_not_uring().map(ToOwned::to_owned));
    plane.shutdown();
    Ok(tried)
}

fn backend(asked: Io, tried: &Tried, status: &str) -> Finding {
    let name = "I/O backend";
    let why = match tried {
        Ok((backend, None)) => {
            return Finding::ok(name, format!("{backend} (media.io = {:?})", toml_name(asked)));
        }
        Ok((_, Some(why))) => why,
        Err(why) => why,
    };
    let mend = if why.contains("io_uring_disabled = 2") {
        "sysctl -w kernel.io_uring_disabled=0   # and in /etc/sysctl.d/90-saal.conf".to_owned()
    } else if why.contains("io_uring_group") {
        "sysctl -w kernel.io_uring_group=$(getent group saal | cut -d: -f3)".to_owned()
    } else if is_filtered(status) {
        "docker run --security-opt seccomp=saal-seccomp.json ...   # see docs/operations.md, \"Containers\""
            .to_owned()
    } else if why.contains("LimitMEMLOCK") {
        "systemctl edit saal   # [Service] LimitMEMLOCK=64M".to_owned()
    } else {
        "media.io = \"mio\"   # to keep epoll on purpose".to_owned()
    };
    match tried {
        Ok((backend, _)) => Finding::warn(name, format!("{backend}: {why}"))
            .means("Every feature works over epoll as well; compare the two with saal-load.")
            .mend(mend),
        Err(_) => Finding::fail(name, why.as_str()).means("The media workers do not start.").mend(mend),
    }
}

fn toml_name(io: Io) -> String {
    format!("{io:?}").to_lowercase()
}

/// Whether a seccomp filter stands before this process, as in most containers.
fn is_filtered(status: &str) -> bool {
    status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]))
}

/// The soft limit of a line of `/proc/self/limits`; `None` is no limit.
fn soft_limit(limits: &str, name: &str) -> Option<Option<u64>> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

/// What the ring of a worker needs, twice.
const LOCKED_PER_WORKER: u64 = 512 << 10;

fn locked_memory(limits: &str, workers: usize) -> Finding {
    let name = "locked memory";
    let wanted = LOCKED_PER_WORKER * workers as u64;
    match soft_limit(limits, "Max locked memory") {
        Some(None) => Finding::ok(name, "unlimited"),
        Some(Some(bytes)) if bytes >= wanted => Finding::ok(name, format!("{} KiB", bytes >> 10)),
        Some(Some(bytes)) => Finding::warn(name, format!("{} KiB are allowed, {} may be needed", bytes >> 10, wanted >> 10))
            .means("io_uring's memory counts as locked; when it is not enough for all workers, Saal runs over epoll.")
            .mend("systemctl edit saal   # [Service] LimitMEMLOCK=64M"),
        None => Finding::note(name, "unknown: /proc/self/limits cannot be read"),
    }
}

/// Beside connections: listeners, the runtime, logs, and a socket, a ring and a waker for each worker.
const FILES_BESIDE: u64 = 64;
const FILES_PER_WORKER: u64 = 8;

fn open_files(limits: &str, connections_max: usize, workers: usize) -> Finding {
    let name = "open files";
    let wanted = connections_max as u64 + FILES_BESIDE + FILES_PER_WORKER * workers as u64;
    match soft_limit(limits, "Max open files") {
        Some(None) => Finding::ok(name, "unlimited"),
        Some(Some(max)) if max >= wanted => Finding::ok(name, format!("{max}; at most {wanted} are used")),
        Some(Some(max)) => Finding::warn(name, format!("{max} are allowed, {wanted} may be needed"))
            .means(format!("Before http.connections_max = {connections_max} is reached, nobody new gets in."))
            .mend("systemctl edit saal   # [Service] LimitNOFILE=65536; in a shell: ulimit -n 65536"),
        None => Finding::note(name, "unknown: /proc/self/limits cannot be read"),
    }
}

fn buffer(key: &str, max: Option<usize>, wanted: usize) -> Finding {
    let name = format!("net.core.{key}");
    let (setting, means) = match key {
        "rmem_max" => (
            "media.receive_buffer_bytes",
            "Packets that arrive while a worker is busy wait in this buffer; what does not fit is lost.",
        ),
        _ => (
            "media.send_buffer_bytes",
            "When a worker sends to a full room at once, what does not fit is lost.",
        ),
    };
    match max {
        Some(max) if max >= wanted => Finding::ok(name, format!("{max}; {setting} asks for {wanted}")),
        Some(max) => Finding::warn(&name, format!("{max}; {setting} asks for {wanted}"))
            .means(means)
            .mend(format!("sysctl -w {name}={wanted}   # and in /etc/sysctl.d/90-saal.conf")),
        None => Finding::note(name, "unknown: the host decides, outside this container")
            .mend(format!("sysctl -w net.core.{key}={wanted}   # on the host")),
    }
}

/// Clocks that are read without a system call.
const CHEAP_CLOCKS: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

fn clock_source(current: &str, available: &str) -> Finding {
    let name = "clock source";
    if current.is_empty() {
        return Finding::note(name, "unknown: /sys/devices/system/clocksource cannot be read");
    }
    if CHEAP_CLOCKS.contains(&current) {
        return Finding::ok(name, current);
    }
    let better =
        CHEAP_CLOCKS.iter().find(|clock| available.split_whitespace().any(|offered| offered == **clock));
    let mend = match better {
        Some(clock) => {
            format!("echo {clock} > /sys/devices/system/clocksource/clocksource0/current_clocksource")
        }
        None => "GRUB_CMDLINE_LINUX=\"tsc=reliable\"   # in /etc/default/grub, then update-grub and reboot"
            .to_owned(),
    };
    Finding::warn(name, format!("{current} (there is: {available})"))
        .means(
            "A worker reads the clock several times a turn; this one costs a system call or more each time.",
        )
        .mend(mend)
}

/// `timesyncd` is whether its mark exists; `shown` is what timedatectl says, for chrony and others.
fn time_sync(timesyncd: bool, shown: &str) -> Finding {
    let name = "time";
    if timesyncd || shown.contains("NTPSynchronized=yes") {
        return Finding::ok(name, "synchronized");
    }
    if shown.contains("NTPSynchronized=no") {
        return Finding::warn(name, "not synchronized")
            .means(
                "Browsers refuse the certificate when clocks are far apart, and log lines cannot be matched.",
            )
            .mend("timedatectl set-ntp true   # or install chrony");
    }
    Finding::note(name, "whether it is synchronized is not known here").mend("timedatectl   # on the host")
}

/// What a command prints; nothing when it is not there.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    #[test]
    fn kernels_before_6_1_are_named() {
        assert_eq!(version("6.1.0-18-amd64").mark, Mark::Ok);
        assert_eq!(version("6.18.44").mark, Mark::Ok);
        assert_eq!(version("5.15.0-91-generic").mark, Mark::Warn);
        assert_eq!(version("10.0-rc1").mark, Mark::Ok);
        assert_eq!(version("").mark, Mark::Note);
    }

    #[test]
    fn each_reason_against_io_uring_has_its_own_mend() {
        let seccomp = "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let mend = |why: &str, status: &str| backend(Io::Auto, &Ok(("mio", Some(why.into()))), status).mend;
        assert!(
            mend("io_uring disabled by sysctl kernel.io_uring_disabled = 2; set", "").contains("disabled=0")
        );
        assert!(
            mend("allowed only to the group of sysctl kernel.io_uring_group", "").contains("io_uring_group")
        );
        assert!(mend("refused, most likely by a seccomp profile", seccomp).contains("seccomp="));
        assert!(mend("out of lockable memory; raise LimitMEMLOCK", "").contains("LimitMEMLOCK"));
        assert!(mend("not in this kernel", "Seccomp:\t0\n").contains("mio"));
        assert_eq!(backend(Io::Auto, &Ok(("uring", None)), "").finding, "uring (media.io = \"auto\")");
        assert_eq!(backend(Io::Uring, &Err("io_uring failed".into()), "").mark, Mark::Fail);
    }

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         65536                65536                bytes
Max address space         unlimited            unlimited            bytes
";

    #[test]
    fn limits_are_compared_with_what_the_configuration_may_need() {
        assert_eq!(open_files(LIMITS, 4096, 4).finding, "1024 are allowed, 4192 may be needed");
        assert_eq!(open_files(LIMITS, 900, 4).mark, Mark::Ok);
        assert_eq!(locked_memory(LIMITS, 4).mark, Mark::Warn);
        assert_eq!(locked_memory("Max locked memory  8388608  8388608  bytes\n", 4).mark, Mark::Ok);
        assert_eq!(
            locked_memory("Max locked memory         unlimited  unlimited  bytes\n", 4).mark,
            Mark::Ok
        );
        assert_eq!(soft_limit(LIMITS, "Max address space"), Some(None));
    }

    #[test]
    fn socket_buffers_are_compared_with_the_kernels_cap() {
        let small = buffer("rmem_max", Some(212_992), 4 << 20);
        assert_eq!(small.mark, Mark::Warn);
        assert!(small.mend.starts_with("sysctl -w net.core.rmem_max=4194304 "), "{}", small.mend);
        assert_eq!(buffer("wmem_max", Some(4 << 20), 4 << 20).mark, Mark::Ok);
        assert_eq!(buffer("wmem_max", None, 4 << 20).mark, Mark::Note);
    }

    #[test]
    fn a_dear_clock_is_named_with_the_better_one() {
        assert_eq!(clock_source("tsc", "tsc hpet acpi_pm").mark, Mark::Ok);
        assert!(clock_source("hpet", "tsc hpet acpi_pm").mend.starts_with("echo tsc > "));
        assert!(clock_source("hpet", "hpet acpi_pm").mend.contains("tsc=reliable"));
    }

    #[test]
    fn an_unsynchronized_clock_is_a_warning_and_an_unknown_one_is_not() {
        assert_eq!(time_sync(true, "").mark, Mark::Ok);
        assert_eq!(time_sync(false, "NTPSynchronized=yes\n").mark, Mark::Ok);
        assert_eq!(time_sync(false, "NTPSynchronized=no\n").mark, Mark::Warn);
        assert_eq!(time_sync(false, "").mark, Mark::Note);
    }
}
