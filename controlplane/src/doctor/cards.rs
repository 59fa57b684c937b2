//! Network cards: what they take off the cores, and how their interrupts are spread over them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::ethtool::{self, Features};
use super::{Finding, line, list, number};
use crate::addresses;
use crate::config::Config;
use crate::server::media_config;

pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let allowed = addresses::cores_allowed();
    let workers: Vec<usize> = media_config(config).cores.into_iter().flatten().collect();
    let interrupts = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let mut findings = Vec::new();
    for card in cards() {
        let base = Path::new("/sys/class/net").join(&card);
        findings.extend(number(base.join("mtu")).map(|bytes| mtu(&card, bytes)));
        findings.extend(offloads(&card, ethtool::features(&card).ok().as_ref()));
        let queues = Queues {
            receive: entries(&base.join("queues")).iter().filter(|name| name.starts_with("rx-")).count(),
            // Behind virtio the interrupts are the PCI device's, one level up.
            interrupts: ["device/msi_irqs", "device/../msi_irqs"]
                .iter()
                .flat_map(|path| entries(&base.join(path)))
                .filter_map(|number| interrupt(&interrupts, number.parse().ok()?))
                .collect(),
            steered: entries(&base.join("queues")).iter().any(|name| {
                line(base.join("queues").join(name).join("rps_cpus"))
                    .is_some_and(|mask| mask.contains(|digit: char| digit != '0' && digit != ','))
            }),
        };
        findings.push(spread(&card, &queues, &allowed));
        let node = line(base.join("device/numa_node")).or_else(|| line(base.join("device/../numa_node")));
        let near = line(base.join("device/local_cpulist"))
            .or_else(|| line(base.join("device/../local_cpulist")))
            .map(|cores| addresses::parse_list(&cores));
        if let (Some(node), Some(near)) = (node, near) {
            findings.extend(numa(&card, &node, &near, &workers, &allowed));
        }
    }
    if findings.is_empty() {
        findings.push(
            Finding::note("network card", "none to be seen from here, as in a container; look on the host")
                .mend("saal doctor   # on the host"),
        );
    }
    findings
}

/// Devices with hardware, or a hypervisor's, behind them; those that are up.
fn cards() -> Vec<String> {
    let base = Path::new("/sys/class/net");
    let is_card = |name: &String| {
        base.join(name).join("device").exists()
            && line(base.join(name).join("operstate")).is_some_and(|state| state == "up")
    };
    entries(base).into_iter().filter(is_card).collect()
}

fn entries(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Browsers send up to 1,200 bytes of RTP, and IPv6 cannot do with less.
const MTU_MIN: usize = 1280;

fn mtu(card: &str, bytes: usize) -> Finding {
    let name = format!("{card} MTU");
    match bytes >= MTU_MIN {
        true => Finding::ok(name, format!("{bytes}; media needs {MTU_MIN}")),
        false => Finding::warn(name, format!("{bytes}; media needs {MTU_MIN}"))
            .means(
                "Video packets are broken into fragments, which many firewalls drop: sound but no picture.",
            )
            .mend(format!("ip link set {card} mtu 1500")),
    }
}

fn offloads(card: &str, features: Option<&Features>) -> Vec<Finding> {
    let Some(features) = features else {
        return vec![
            Finding::note(format!("{card} offloads"), "unknown: the kernel does not answer")
                .mend(format!("ethtool -k {card} | grep -E 'udp-segmentation|generic-receive|tx-checksum'")),
        ];
    };
    let is_active = |wanted: &str| features.active.iter().any(|name| name == wanted);
    let can_switch = |wanted: &str| features.hardware.iter().any(|name| name == wanted);
    let segmentation = format!("{card} UDP segments");
    let segmentation = match (is_active("tx-udp-segmentation"), can_switch("tx-udp-segmentation")) {
        (true, _) => Finding::ok(segmentation, "cut by the card"),
        (false, true) => Finding::warn(segmentation, "cut by the kernel; the card could")
            .means("Every packet of a train costs the core about 0.35 us more than it must.")
            .mend(format!("ethtool -K {card} tx-udp-segmentation on")),
        (false, false) => Finding::note(segmentation, "cut by the kernel: this card cannot")
            .means("Trains still save most of the cost; a card that cuts them itself saves the rest."),
    };
    let receive = format!("{card} GRO");
    let receive = match is_active("rx-gro") {
        true => Finding::ok(receive, "on"),
        false => Finding::warn(receive, "off")
            .means("What browsers send in bursts reaches the workers packet by packet, which costs more.")
            .mend(format!("ethtool -K {card} gro on")),
    };
    let checksums = format!("{card} checksums");
    let general = is_active("tx-checksum-ip-generic");
    let checksums = match general || is_active("tx-checksum-ipv4") {
        true => Finding::ok(checksums, "by the card"),
        false if can_switch("tx-checksum-ip-generic") || can_switch("tx-checksum-ipv4") => Finding::warn(
            checksums,
            "by the kernel; the card could",
        )
        .means("Without them many kernels refuse segmented sends; each packet then costs a send of its own.")
        .mend(format!("ethtool -K {card} tx on")),
        false => Finding::note(checksums, "by the kernel: this card cannot")
            .means("Where the kernel refuses segmented sends, each packet costs a send of its own."),
    };
    vec![segmentation, receive, checksums]
}

struct Queues {
    receive: usize,
    interrupts: Vec<Interrupt>,
    /// Whether the kernel hands packets on to other cores (RPS).
    steered: bool,
}

struct Interrupt {
    number: u32,
    /// On which cores it has been served so far.
    served_on: BTreeSet<usize>,
}

/// A line of `/proc/interrupts`, unless it belongs to the device's configuration or its sending half.
fn interrupt(interrupts: &str, number: u32) -> Option<Interrupt> {
    let cores: Vec<usize> = interrupts
        .lines()
        .next()?
        .split_whitespace()
        .filter_map(|head| head.strip_prefix("CPU")?.parse().ok())
        .collect();
    let prefix = format!("{number}:");
    let rest = interrupts.lines().find_map(|line| line.trim_start().strip_prefix(&prefix))?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let name = words.last()?;
    if ["config", "output", "tx", "event", "async"].iter().any(|part| name.contains(part))
        && !name.contains("TxRx")
    {
        return None;
    }
    let counts = words.iter().map_while(|word| word.parse::<u64>().ok());
    let served_on: BTreeSet<usize> =
        cores.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(core, _)| *core).collect();
    (!served_on.is_empty()).then_some(Interrupt { number, served_on })
}

fn spread(card: &str, queues: &Queues, allowed: &[usize]) -> Finding {
    let name = format!("{card} interrupts");
    let served: BTreeSet<usize> =
        queues.interrupts.iter().flat_map(|interrupt| interrupt.served_on.iter().copied()).collect();
    let on: Vec<usize> = served.iter().copied().collect();
    let finding = match on.is_empty() {
        true => format!("{} receive queue(s)", queues.receive),
        false => format!("{} receive queue(s), served on core {}", queues.receive, list(&on)),
    };
    if allowed.len() < 2 || queues.steered || served.len() > 1 {
        let steered = if queues.steered { ", handed on to others (RPS)" } else { "" };
        return Finding::ok(name, format!("{finding}{steered}"));
    }
    let means =
        "The kernel's work for every packet that arrives is done on one core; a worker there has less left.";
    if queues.receive > 1 && queues.interrupts.len() > 1 {
        let numbers: Vec<String> =
            queues.interrupts.iter().map(|interrupt| interrupt.number.to_string()).collect();
        return Finding::warn(name, finding).means(means).mend(format!(
            "for i in {}; do echo {} > /proc/irq/$i/smp_affinity_list; done   # or start irqbalance",
            numbers.join(" "),
            list(allowed)
        ));
    }
    Finding::warn(name, finding).means(means).mend(format!(
        "for q in /sys/class/net/{card}/queues/rx-*; do echo {} > $q/rps_cpus; done",
        mask(allowed)
    ))
}

/// Cores as the kernel reads them: hexadecimal words of 32 bits, the highest first.
fn mask(cores: &[usize]) -> String {
    let words = cores.iter().max().map_or(1, |most| most / 32 + 1);
    let mut bits = vec![0_u32; words];
    for core in cores {
        bits[core / 32] |= 1 << (core % 32);
    }
    let mut text = format!("{:x}", bits[words - 1]);
    for word in bits[..words - 1].iter().rev() {
        text.push_str(&format!(",{word:08x}"));
    }
    text
}

fn numa(card: &str, node: &str, near: &[usize], workers: &[usize], allowed: &[usize]) -> Option<Finding> {
    let node: usize = node.parse().ok()?;
    let name = format!("{card} NUMA node");
    let Some(far) = workers.iter().find(|core| !near.contains(core)) else {
        return Some(Finding::ok(name, format!("{node}, as all workers")));
    };
    let chosen: Vec<usize> =
        allowed.iter().copied().filter(|core| near.contains(core)).take(workers.len()).collect();
    let finding = format!("{node}; core {far} is on another");
    match chosen.len() == workers.len() {
        true => Some(
            Finding::warn(name, finding)
                .means("Packets of that worker cross from one processor's memory to the other's.")
                .mend(format!("media.cores = {chosen:?}")),
        ),
        false => Some(
            Finding::note(name, finding)
                .means("The node has fewer cores than there are workers; those beyond it do a little less."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    fn features(hardware: &[&str], active: &[&str]) -> Features {
        let own = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Features { hardware: own(hardware), active: own(active) }
    }

    #[test]
    fn offloads_that_the_card_has_are_asked_for_and_others_are_not() {
        let marks = |features: &Features| {
            offloads("eth0", Some(features)).iter().map(|finding| finding.mark).collect::<Vec<_>>()
        };
        let all = ["tx-udp-segmentation", "rx-gro", "tx-checksum-ip-generic"];
        assert_eq!(marks(&features(&all, &all)), [Mark::Ok, Mark::Ok, Mark::Ok]);
        assert_eq!(marks(&features(&all, &[])), [Mark::Warn, Mark::Warn, Mark::Warn]);
        assert_eq!(marks(&features(&["rx-gro"], &all[1..])), [Mark::Note, Mark::Ok, Mark::Ok]);
        assert_eq!(offloads("eth0", None)[0].mark, Mark::Note);
    }

    #[test]
    fn a_small_mtu_is_mended_with_the_cards_name() {
        assert_eq!(mtu("eth0", 1500).mark, Mark::Ok);
        assert_eq!(mtu("wg0", 1200).mend, "ip link set wg0 mtu 1500");
    }

    const INTERRUPTS: &str = "\
           CPU0       CPU1
 37:          0          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config
 38:          0      22328 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 39:      17703          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
 50:         12         40 IR-PCI-MSI 524289-edge      ens1f0-TxRx-0
 51:          7          0 IR-PCI-MSI 524290-edge      ens1f0-TxRx-1
";

    #[test]
    fn receiving_interrupts_are_told_from_the_others() {
        let served =
            |number| interrupt(INTERRUPTS, number).map(|found| found.served_on.into_iter().collect());
        assert_eq!(served(37), None);
        assert_eq!(served(38), Some(vec![1]));
        assert_eq!(served(39), None);
        assert_eq!(served(50), Some(vec![0, 1]));
        assert_eq!(served(99), None);
    }

    #[test]
    fn one_core_for_all_arriving_packets_is_spread() {
        let queues = |receive, numbers: &[u32], steered| Queues {
            receive,
            interrupts: numbers.iter().filter_map(|number| interrupt(INTERRUPTS, *number)).collect(),
            steered,
        };
        let one = spread("eth0", &queues(1, &[37, 38, 39], false), &[0, 1]);
        assert!(one.mark == Mark::Warn && one.mend.contains("echo 3 > $q/rps_cpus"), "{one:?}");
        assert_eq!(spread("eth0", &queues(1, &[38], true), &[0, 1]).mark, Mark::Ok);
        assert_eq!(spread("eth0", &queues(1, &[38], false), &[0]).mark, Mark::Ok);
        assert_eq!(spread("eth0", &queues(2, &[50, 51], false), &[0, 1]).mark, Mark::Ok);
        let piled = spread("eth0", &queues(2, &[51, 51], false), &[0, 1]);
        assert!(piled.mend.contains("/proc/irq/$i/smp_affinity_list"), "{piled:?}");
        assert_eq!(mask(&[0, 1, 33]), "2,00000003");
    }

    #[test]
    fn workers_are_moved_to_the_cards_node_when_they_fit() {
        assert_eq!(numa("eth0", "-1", &[0, 1], &[0], &[0, 1]), None);
        assert_eq!(numa("eth0", "0", &[0, 1], &[0, 1], &[0, 1, 2, 3]).unwrap().mark, Mark::Ok);
        assert_eq!(numa("eth0", "1", &[2, 3], &[0, 1], &[0, 1, 2, 3]).unwrap().mend, "media.cores = [2, 3]");
        assert_eq!(numa("eth0", "1", &[2, 3], &[1, 2, 3], &[0, 1, 2, 3]).unwrap().mark, Mark::Note);
    }
}
