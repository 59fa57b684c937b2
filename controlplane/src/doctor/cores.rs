//! Cores: which ones the workers get, what they share, and who may slow them down.

use std::fs;

use super::{Finding, line, list};
use crate::addresses;
use crate::config::Config;
use crate::server::{Failure, check_cores, media_config};

pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let allowed = addresses::cores_allowed();
    let workers: Vec<usize> = media_config(config).cores.into_iter().flatten().collect();
    let siblings: Vec<(usize, Vec<usize>)> = allowed
        .iter()
        .filter_map(|core| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            Some((*core, addresses::parse_list(&line(path)?)))
        })
        .collect();
    let governors: Vec<(usize, String)> = workers
        .iter()
        .filter_map(|core| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
            Some((*core, line(path)?))
        })
        .collect();
    vec![
        match check_cores(config) {
            Ok(()) => workers_and_cores(&workers, &allowed),
            Err(Failure::Config(why) | Failure::Runtime(why)) => Finding::fail("cores", why)
                .means("The server does not start.")
                .mend(format!("media.cores = {allowed:?}")),
        },
        quota(&cpu_limits(), workers.len()),
        shared(&workers, &siblings),
        governor(&governors),
    ]
}

fn workers_and_cores(workers: &[usize], allowed: &[usize]) -> Finding {
    let finding = format!("workers on {}, of {} that this process may use", list(workers), list(allowed));
    if allowed.len() < 4 || workers.len() < allowed.len() {
        return Finding::ok("cores", finding);
    }
    Finding::warn("cores", finding)
        .means(
            "No core is left for sign-in, DTLS handshakes and the network card's interrupts, so they interrupt media.",
        )
        .mend(format!("media.cores = {:?}", &allowed[1..]))
}

/// `cpu.max` of this process's control group and those above, as `QUOTA PERIOD`.
fn cpu_limits() -> Vec<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = Vec::new();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let is_v2 = controllers.is_empty();
        if !is_v2 && !controllers.split(',').any(|controller| controller == "cpu") {
            continue;
        }
        let mut path = path.trim_end_matches('/');
        loop {
            let limit = match is_v2 {
                true => line(format!("/sys/fs/cgroup{path}/cpu.max")),
                false => {
                    let read = |file| line(format!("/sys/fs/cgroup/cpu{path}/{file}"));
                    read("cpu.cfs_quota_us").zip(read("cpu.cfs_period_us")).map(|(q, p)| format!("{q} {p}"))
                }
            };
            limits.extend(limit);
            match path.rfind('/') {
                Some(end) => path = &path[..end],
                None => break,
            }
        }
    }
    limits
}

fn quota(limits: &[String], workers: usize) -> Finding {
    let name = "CPU quota";
    let cores = |limit: &String| {
        let (quota, period) = limit.split_once(' ')?;
        let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    let Some(least) = limits.iter().filter_map(cores).min_by(f64::total_cmp) else {
        return Finding::ok(name, "none");
    };
    // One core's worth for what is not media.
    if least >= (workers + 1) as f64 {
        return Finding::ok(name, format!("{least} cores, for {workers} workers and the rest"));
    }
    Finding::warn(name, format!("{least} cores, for {workers} workers and the rest"))
        .means(
            "At the end of the quota the kernel stops every thread for the rest of the period, up to 100 ms: all rooms \
             stutter. Give whole cores (cpuset) instead of a share.",
        )
        .mend("systemctl set-property saal.service CPUQuota=   # in Docker: --cpuset-cpus instead of --cpus")
}

/// Two hardware threads of one core are less than two cores.
fn shared(workers: &[usize], siblings: &[(usize, Vec<usize>)]) -> Finding {
    let name = "physical cores";
    let physical = |core: &usize| {
        let threads = siblings.iter().find(|(number, _)| number == core).map(|(_, threads)| threads);
        threads.and_then(|threads| threads.iter().min().copied()).unwrap_or(*core)
    };
    let mut taken: Vec<usize> = workers.iter().map(physical).collect();
    taken.sort_unstable();
    let count = taken.len();
    taken.dedup();
    if taken.len() == count {
        return Finding::ok(name, "each worker has one for itself");
    }
    let mut offered: Vec<usize> = siblings.iter().map(|(core, _)| physical(core)).collect();
    offered.sort_unstable();
    offered.dedup();
    let finding = format!("{count} workers share {} of {}", taken.len(), offered.len());
    if offered.len() <= taken.len() {
        return Finding::note(name, finding)
            .means("Two hardware threads of one core forward about as much as 1.3 cores; count them so.");
    }
    let mut chosen: Vec<usize> = Vec::new();
    for (core, _) in siblings {
        if !chosen.iter().any(|other| physical(other) == physical(core)) {
            chosen.push(*core);
        }
    }
    chosen.truncate(count);
    Finding::warn(name, finding)
        .means("Two workers on one physical core slow each other down while another core idles.")
        .mend(format!("media.cores = {chosen:?}"))
}

fn governor(governors: &[(usize, String)]) -> Finding {
    let name = "CPU governor";
    let Some((_, first)) = governors.first() else {
        return Finding::ok(name, "none: the firmware or the hypervisor decides");
    };
    match governors.iter().find(|(_, governor)| governor != "performance" && governor != "schedutil") {
        None => Finding::ok(name, first),
        Some((core, governor)) => Finding::warn(name, format!("{governor} on core {core}"))
            .means("A worker that wakes up for a packet begins at a low frequency: delay and jitter grow.")
            .mend("cpupower frequency-set -g performance   # package linux-cpupower"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    #[test]
    fn one_core_of_four_is_left_to_the_rest() {
        assert_eq!(workers_and_cores(&[0, 1], &[0, 1]).mark, Mark::Ok);
        assert_eq!(workers_and_cores(&[1, 2, 3], &[0, 1, 2, 3]).mark, Mark::Ok);
        assert_eq!(workers_and_cores(&[0, 1, 2, 3], &[0, 1, 2, 3]).mend, "media.cores = [1, 2, 3]");
    }

    #[test]
    fn a_quota_below_the_workers_stops_them() {
        assert_eq!(quota(&["max 100000".into()], 2).finding, "none");
        assert_eq!(quota(&["-1 100000".into()], 2).finding, "none");
        let found = quota(&["max 100000".into(), "250000 100000".into(), "800000 100000".into()], 2);
        assert_eq!(
            (found.mark, found.finding.as_str()),
            (Mark::Warn, "2.5 cores, for 2 workers and the rest")
        );
        assert_eq!(quota(&["300000 100000".into()], 2).mark, Mark::Ok);
    }

    #[test]
    fn workers_on_one_physical_core_are_moved_apart_where_there_is_another() {
        let machine = [(0, vec![0, 4]), (1, vec![1, 5]), (4, vec![0, 4]), (5, vec![1, 5])];
        assert_eq!(shared(&[0, 1], &machine).mark, Mark::Ok);
        let found = shared(&[0, 4], &machine);
        assert_eq!((found.mark, found.mend.as_str()), (Mark::Warn, "media.cores = [0, 1]"));
        assert_eq!(shared(&[0, 1, 4, 5], &machine).mark, Mark::Note);
        assert_eq!(shared(&[0, 1], &[]).mark, Mark::Ok);
    }

    #[test]
    fn a_governor_that_saves_power_is_named() {
        assert_eq!(governor(&[]).mark, Mark::Ok);
        assert_eq!(governor(&[(0, "performance".into())]).mark, Mark::Ok);
        assert_eq!(
            governor(&[(0, "performance".into()), (1, "powersave".into())]).finding,
            "powersave on core 1"
        );
    }
}
