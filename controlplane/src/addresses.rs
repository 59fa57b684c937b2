//! This machine's own addresses and cores, read from the kernel's text files: no foreign function call is needed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Config;

/// Interface addresses without loopback and link-local ones, IPv4 first.
pub(crate) fn of_this_machine() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let v4 = fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    for address in local_v4(&v4).map(IpAddr::V4).chain(local_v6(&v6).map(IpAddr::V6)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// What browsers are told to send media to.
pub(crate) fn announced(config: &Config) -> Vec<IpAddr> {
    if !config.media.announce.is_empty() {
        return config.media.announce.clone();
    }
    if let Some(bind) = config.media.bind.filter(|bind| !bind.is_unspecified()) {
        return vec![bind];
    }
    let mut addresses = of_this_machine();
    if config.media.bind.is_some_and(|bind| bind.is_ipv4()) {
        addresses.retain(IpAddr::is_ipv4);
    }
    if config.http.listen.ip().is_loopback() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    addresses
}

/// Cores that this process may use.
pub(crate) fn cores_allowed() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(|list| parse_list(list.trim())).unwrap_or_default()
}

/// The kernel lists each own address as a leaf, followed by the line `/32 host LOCAL`.
fn local_v4(fib_trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut leaf = None;
    fib_trie.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse::<Ipv4Addr>().ok();
            return None;
        }
        leaf.filter(|address| {
            line.starts_with("/32 host LOCAL") && !address.is_loopback() && !address.is_link_local()
        })
    })
}

/// One address per line: 32 hex digits, interface index, prefix length, scope, flags, name.
fn local_v6(if_inet6: &str) -> impl Iterator<Item = Ipv6Addr> {
    let address =
        |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok().map(Ipv6Addr::from);
    if_inet6
        .lines()
        .filter_map(address)
        .filter(|address| !address.is_loopback() && !address.is_unicast_link_local())
}

/// `0-2,5` is 0, 1, 2, 5.
pub(crate) fn parse_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<usize>().ok()?.min(4095))
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_the_local_leaves_of_the_table() {
        let table = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 127.0.0.1\n        \
            /32 host LOCAL\n     |-- 192.0.2.5\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(local_v4(table).collect::<Vec<_>>(), [Ipv4Addr::new(192, 0, 2, 5)]);
        let table = "20010db8000000000000000000000001 02 40 00 80     eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n\
            00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(local_v6(table).collect::<Vec<_>>(), ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn core_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_list("7"), [7]);
        assert!(!cores_allowed().is_empty());
    }
}
