//! Processor time, placement and memory, of this process's threads and of the server by its pid.

use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use saal_dataplane::io::run_at_once;

/// Where the threads of a load run.
#[derive(Clone, Debug)]
pub struct Place {
    pub cores: Vec<usize>,
    /// Before everything else there. For cores that the server does not share.
    pub at_once: bool,
}

impl Place {
    /// What measures is not held up by what is not measured, on cores of its own.
    pub fn apart_from(server_cores: &[usize], cores: &[usize]) -> Place {
        let at_once = !server_cores.is_empty() && !cores.iter().any(|core| server_cores.contains(core));
        Place { cores: cores.to_vec(), at_once }
    }

    /// For those who only make the others' work.
    pub fn behind(&self) -> Place {
        Place { at_once: false, ..self.clone() }
    }

    /// Puts the calling thread there. Where that is forbidden the figures say so by themselves.
    pub fn take(&self) {
        pin(&self.cores);
        if self.at_once {
            let _ = run_at_once();
        }
    }
}

/// Keeps the calling thread on these cores. Where that is forbidden the figures say so by themselves.
pub fn pin(cores: &[usize]) {
    let _ = pin_process(0, cores);
}

/// Every thread that the process starts from now on stays there too; 0 is the calling thread.
pub fn pin_process(pid: u32, cores: &[usize]) -> std::io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(pid as i32), &set)?)
}

/// The cores that this process may use.
pub fn cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
}

/// What the calling thread has run so far.
pub fn thread_ns() -> u64 {
    clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// User and system time of all threads of a process, to the nanosecond.
pub fn process_ns(pid: u32) -> Option<u64> {
    clock_getcpuclockid(Pid::from_raw(pid as i32)).ok().map(clock_ns).filter(|ns| *ns > 0)
}

pub fn own_process_ns() -> u64 {
    clock_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: ClockId) -> u64 {
    let Ok(time) = clock_gettime(clock) else { return 0 };
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Datagrams that the kernel dropped at UDP sockets with these local ports, by /proc/net/udp and udp6.
pub fn socket_drops(ports: &[u16]) -> u64 {
    let tables = ["/proc/net/udp", "/proc/net/udp6"];
    let texts = tables.iter().filter_map(|table| std::fs::read_to_string(Path::new(table)).ok());
    texts.map(|text| drops_in(&text, ports)).sum()
}

fn drops_in(table: &str, ports: &[u16]) -> u64 {
    let drops = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let port = fields.nth(1)?.rsplit(':').next()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ports.contains(&port).then(|| fields.next_back()?.parse::<u64>().ok()).flatten()
    });
    drops.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_summed_over_our_ports_only() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            10: 0100007F:2710 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  0 0 1 2 0 5\n\
            11: 0100007F:2711 00000000:0000 07 00000000:00000000 00:00000000 00000000  0 0 1 2 0 7\n";
        assert_eq!(drops_in(table, &[0x2710]), 5);
        assert_eq!(drops_in(table, &[0x2710, 0x2711]), 12);
    }

    #[test]
    fn work_takes_processor_time() {
        let before = thread_ns();
        let mut number = 1u64;
        while thread_ns() < before + 1_000_000 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(process_ns(std::process::id()).is_some_and(|ns| ns >= 1_000_000));
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
    }
}
