//! Media's way in: addresses that browsers are told, UDP ports, and what the kernel does to packets before a worker.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use saal_dataplane::probe;

use super::{Finding, holder, line, number};
use crate::addresses;
use crate::config::Config;
use crate::server::media_config;

pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let announced = addresses::announced(config);
    let own = addresses::of_this_machine();
    let workers = media_config(config).cores.len();
    let ports: Vec<u16> =
        (0..workers).filter_map(|worker| config.media.port.checked_add(worker as u16)).collect();
    // Behind a proxy the page is on loopback too, but has a public name.
    let is_trial = config.http.listen.ip().is_loopback() && config.http.public_url.is_none();
    let mut findings = vec![addresses_told(&announced, &own, is_trial)];
    if config.media.port == 0 {
        findings.push(
            Finding::warn("media ports", "media.port = 0: the kernel chooses them at every start")
                .means("No firewall can be opened for ports that nobody knows beforehand.")
                .mend("media.port = 10000"),
        );
    } else {
        let range = span(&ports);
        findings.push(ports_free(&ports, config.media.bind));
        let ephemeral = line("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let reserved = line("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        findings.push(not_ephemeral(&ports, &ephemeral, &reserved));
        findings.extend(comes_back(&announced, &own, &ports, config.media.bind));
        let outside = announced.iter().find(|address| !address.is_loopback() && !is_trial);
        findings
            .extend(outside.map(|address| from_outside(*address, &range, ports.first().copied(), config)));
    }
    let netfilter = Path::new("/proc/sys/net/netfilter");
    findings.push(connection_tracking(
        number(netfilter.join("nf_conntrack_count")),
        number(netfilter.join("nf_conntrack_max")),
        &span(&ports),
    ));
    findings.push(backlog(
        &fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default(),
        number("/proc/sys/net/core/netdev_max_backlog"),
    ));
    findings
}

/// `10000-10003`
fn span(ports: &[u16]) -> String {
    match (ports.first(), ports.last()) {
        (Some(first), Some(last)) if first != last => format!("{first}-{last}"),
        (first, _) => first.map(ToString::to_string).unwrap_or_default(),
    }
}

fn addresses_told(announced: &[IpAddr], own: &[IpAddr], is_trial: bool) -> Finding {
    let name = "announced";
    let list = announced.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let Some(first) = announced.first() else {
        return Finding::fail(name, "no address that browsers could send media to")
            .means("The server does not start.")
            .mend("media.announce = [\"203.0.113.7\"]   # the address that browsers reach");
    };
    if is_trial {
        return Finding::ok(name, list);
    }
    if announced.iter().all(IpAddr::is_loopback) {
        return Finding::fail(name, list)
            .means("Browsers on other machines have nowhere to send media to: no sound, no picture.")
            .mend("media.announce = [\"203.0.113.7\"]   # the address that browsers reach");
    }
    if !own.contains(first) && !first.is_loopback() {
        return Finding::note(name, format!("{list}; {first} is not this machine's own"))
            .means("Right behind 1:1 NAT that keeps the port numbers; otherwise nobody is heard.");
    }
    if announced.iter().all(|address| !is_public(*address)) {
        return Finding::note(name, format!("{list}; private addresses only"))
            .means(
                "Right inside one network. For guests from elsewhere, announce the address that they reach:",
            )
            .mend("media.announce = [\"203.0.113.7\"]");
    }
    Finding::ok(name, list)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

fn ports_free(ports: &[u16], bind: Option<IpAddr>) -> Finding {
    let taken = ports.iter().find_map(|port| Some((*port, probe::take(bind, *port).err()?)));
    let Some((port, error)) = taken else {
        return Finding::ok("media ports", format!("UDP {} are free", span(ports)));
    };
    holder::taken("media ports", &format!("UDP {port}"), "media.port", &error, holder::of_udp(port).as_ref())
}

/// Ports that the kernel gives to anybody who asks for any.
fn not_ephemeral(ports: &[u16], ephemeral: &str, reserved: &str) -> Finding {
    let name = "port range";
    let mut range = ephemeral.split_whitespace().map_while(|number| number.parse::<u16>().ok());
    let (Some(first), Some(last)) = (range.next(), range.next()) else {
        return Finding::note(name, "unknown: net.ipv4.ip_local_port_range cannot be read");
    };
    let is_reserved = |port: u16| {
        reserved.split(',').any(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            low.parse().is_ok_and(|low: u16| low <= port) && high.parse().is_ok_and(|high: u16| port <= high)
        })
    };
    match ports.iter().find(|port| (first..=last).contains(port) && !is_reserved(**port)) {
        None => Finding::ok(name, format!("{} are nobody else's; others get {first}-{last}", span(ports))),
        Some(port) => Finding::warn(name, format!("{port} is among those that others get: {first}-{last}"))
            .means("Any other program may be given that port, and the server then does not start.")
            .mend(format!(
                "sysctl -w net.ipv4.ip_local_reserved_ports={}   # or media.port = 10000",
                span(ports)
            )),
    }
}

/// A datagram to each announced address, from this machine to itself.
fn comes_back(announced: &[IpAddr], own: &[IpAddr], ports: &[u16], bind: Option<IpAddr>) -> Vec<Finding> {
    let Some(port) = ports.iter().find(|port| probe::take(bind, **port).is_ok()) else { return Vec::new() };
    let tried = |address: &IpAddr| {
        let is_own = own.contains(address) || address.is_loopback();
        loop_result(
            *address,
            *port,
            is_own,
            probe::comes_back(bind, *port, *address).map_err(|e| e.to_string()),
        )
    };
    announced.iter().map(tried).collect()
}

fn loop_result(address: IpAddr, port: u16, is_own: bool, came: Result<bool, String>) -> Finding {
    let name = "loop";
    let there = format!("UDP {port} at {address}");
    match (came, is_own) {
        (Ok(true), _) => Finding::ok(name, format!("{there} reaches this machine")),
        (Ok(false) | Err(_), false) => {
            Finding::note(name, format!("{there} does not come back to this machine"))
                .means("Usual behind NAT, whose inner side is not shown its outer one. Try from outside.")
        }
        (Ok(false), true) => Finding::fail(name, format!("{there} is dropped on this very machine"))
            .means("A firewall on this machine drops media: no sound, no picture.")
            .mend(format!(
                "nft list ruleset | grep -nE 'drop|reject|policy'   # then accept udp dport {port}"
            )),
        (Err(why), true) => Finding::fail(name, format!("{there}: {why}"))
            .means("Nothing can be sent to an address that browsers are told.")
            .mend("ip route get ".to_owned() + &address.to_string()),
    }
}

/// Nobody can look at his own firewall from outside.
fn from_outside(address: IpAddr, range: &str, port: Option<u16>, config: &Config) -> Finding {
    let port = port.unwrap_or(config.media.port);
    let admin = config.admin.listen;
    Finding::note("from outside", format!("UDP {range} at {address}: cannot be known from here"))
        .means("Start the server, run the first line on another machine and the second here: the count rises.")
        .mend(format!(
            "echo saal | nc -u -w1 {address} {port}\ncurl -s http://{admin}/metrics | grep 'dropped.*not_ours'"
        ))
}

fn connection_tracking(count: Option<usize>, max: Option<usize>, ports: &str) -> Finding {
    let name = "conntrack";
    let (Some(count), Some(max)) = (count, max) else { return Finding::ok(name, "not loaded") };
    if count == 0 {
        return Finding::ok(name, "tracks nothing");
    }
    let finding = format!("{count} of {max} entries");
    if count * 5 >= max * 4 {
        return Finding::warn(name, finding)
            .means("When the table is full the kernel drops packets of new participants.")
            .mend(format!("sysctl -w net.netfilter.nf_conntrack_max={}", max * 4));
    }
    Finding::note(name, format!("{finding}; if a rule tracks media, each packet costs more"))
        .means("Leave media out of it, where a firewall with states is in use:")
        .mend(format!(
            "nft add table inet saal\n\
             nft 'add chain inet saal in {{ type filter hook prerouting priority raw; }}'\n\
             nft 'add chain inet saal out {{ type filter hook output priority raw; }}'\n\
             nft add rule inet saal in udp dport {ports} notrack\n\
             nft add rule inet saal out udp sport {ports} notrack"
        ))
}

/// Second column: packets that found a core's queue full since the machine started.
fn backlog(softnet: &str, max: Option<usize>) -> Finding {
    let name = "backlog";
    let dropped: u64 = softnet
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok())
        .sum();
    match dropped {
        0 => Finding::ok(name, "no core has dropped an arriving packet"),
        dropped => {
            Finding::warn(name, format!("{dropped} arriving packets dropped since the machine started"))
                .means("A core had more waiting than net.core.netdev_max_backlog; every call loses a little.")
                .mend(format!("sysctl -w net.core.netdev_max_backlog={}", max.unwrap_or(1000) * 4))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn what_browsers_are_told_must_be_reachable_for_them() {
        let told =
            |announced: &[&str], own: &[&str]| addresses_told(&addresses(announced), &addresses(own), false);
        assert_eq!(told(&[], &[]).mark, Mark::Fail);
        assert_eq!(told(&["127.0.0.1"], &[]).mark, Mark::Fail);
        assert_eq!(told(&["203.0.113.7"], &["203.0.113.7"]).mark, Mark::Ok);
        assert!(told(&["203.0.113.7"], &["10.0.0.2"]).means.contains("1:1 NAT"));
        assert!(told(&["10.0.0.2", "fd00::2"], &["10.0.0.2"]).finding.contains("private"));
        assert_eq!(told(&["10.0.0.2", "2001:db8::2"], &["10.0.0.2"]).mark, Mark::Ok);
        assert_eq!(addresses_told(&addresses(&["127.0.0.1"]), &[], true).mark, Mark::Ok);
        assert!(!is_public("100.64.0.1".parse().unwrap()) && is_public("100.128.0.1".parse().unwrap()));
    }

    #[test]
    fn a_port_that_somebody_has_is_a_failure() {
        let socket = probe::take(None, 0).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(ports_free(&[port], None).mark, Mark::Fail);
        drop(socket);
        assert_eq!(ports_free(&[port], None).mark, Mark::Ok);
    }

    #[test]
    fn ports_that_the_kernel_gives_away_are_reserved() {
        let range = "32768\t60999";
        assert_eq!(not_ephemeral(&[10_000, 10_001], range, "").mark, Mark::Ok);
        let found = not_ephemeral(&[40_000, 40_001], range, "");
        assert!(found.mend.contains("ip_local_reserved_ports=40000-40001"), "{found:?}");
        assert_eq!(not_ephemeral(&[40_000, 40_001], range, "8000,39990-40010").mark, Mark::Ok);
        assert_eq!(not_ephemeral(&[40_000, 40_001], range, "40000").mark, Mark::Warn);
    }

    #[test]
    fn only_an_own_address_must_come_back() {
        let address = "203.0.113.7".parse().unwrap();
        assert_eq!(loop_result(address, 10_000, true, Ok(true)).mark, Mark::Ok);
        assert_eq!(loop_result(address, 10_000, true, Ok(false)).mark, Mark::Fail);
        assert_eq!(loop_result(address, 10_000, false, Ok(false)).mark, Mark::Note);
        assert_eq!(loop_result(address, 10_000, true, Err("no route".into())).mark, Mark::Fail);
        let port = probe::take(None, 0).unwrap().local_addr().unwrap().port();
        let found = comes_back(&addresses(&["127.0.0.1"]), &[], &[port], None);
        assert_eq!(found[0].mark, Mark::Ok, "{found:?}");
    }

    #[test]
    fn a_table_that_fills_up_is_enlarged_and_a_calm_one_only_named() {
        assert_eq!(connection_tracking(None, None, "10000").mark, Mark::Ok);
        assert_eq!(connection_tracking(Some(0), Some(262_144), "10000").mark, Mark::Ok);
        assert_eq!(connection_tracking(Some(10), Some(262_144), "10000-10003").mark, Mark::Note);
        let found = connection_tracking(Some(60_000), Some(65_536), "10000-10003");
        assert_eq!(
            (found.mark, found.mend.as_str()),
            (Mark::Warn, "sysctl -w net.netfilter.nf_conntrack_max=262144")
        );
    }

    #[test]
    fn drops_of_all_cores_are_added_up() {
        let calm = "00275a4c 00000000 00000002\n001e5f79 00000000 00000001\n";
        assert_eq!(backlog(calm, Some(1000)).mark, Mark::Ok);
        let busy = "00275a4c 0000000a 00000002\n001e5f79 00000010 00000001\n";
        assert!(backlog(busy, Some(1000)).finding.starts_with("26 "));
        assert!(backlog(busy, Some(1000)).mend.ends_with("=4000"));
    }
}
