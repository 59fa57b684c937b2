//! Who has a port that the server wants.

use std::fs;
use std::io::{Error, ErrorKind};

use super::{Finding, line, with_cause};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    name: String,
    process: u32,
}

/// Only root sees the sockets of other people's processes.
pub(super) fn of_udp(port: u16) -> Option<Holder> {
    find(["/proc/net/udp", "/proc/net/udp6"], "07", port)
}

pub(super) fn of_tcp(port: u16) -> Option<Holder> {
    find(["/proc/net/tcp", "/proc/net/tcp6"], "0A", port)
}

/// A port that cannot be had. `key` is the setting that chose it.
pub(super) fn taken(name: &str, port: &str, key: &str, error: &Error, holder: Option<&Holder>) -> Finding {
    if error.kind() == ErrorKind::AddrInUse
        && let Some(Holder { name: program, process }) = holder
    {
        if program == "saal" {
            return Finding::note(name, format!("{port} is taken by saal (process {process})")).means(
                "If that is this server, all is well; stop it to let the doctor try the port itself.",
            );
        }
        return Finding::fail(name, format!("{port} is taken by {program} (process {process})"))
            .means("The server does not start.")
            .mend(format!("kill {process}   # or another {key}"));
    }
    let mend = if error.kind() == ErrorKind::AddrInUse {
        "sudo ss -lntup   # who has it; or another ".to_owned() + key
    } else if error.kind() == ErrorKind::PermissionDenied {
        "systemctl edit saal   # [Service] AmbientCapabilities=CAP_NET_BIND_SERVICE".to_owned()
    } else {
        "ip address   # which ones this machine has".to_owned()
    };
    Finding::fail(name, format!("{port}: {}", with_cause(error)))
        .means("The server does not start.")
        .mend(mend)
}

fn find(tables: [&str; 2], state: &str, port: u16) -> Option<Holder> {
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let socket = format!("socket:[{}]", tables.iter().find_map(|table| inode(table, state, port))?);
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(number) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let has_it = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.as_str())
        };
        if files.flatten().any(has_it) {
            // A process chooses its own name; a terminal obeys control characters.
            let name = line(process.path().join("comm"))?.replace(|c: char| c.is_control(), "?");
            return Some(Holder { name, process: number });
        }
    }
    None
}

/// Of the socket that is bound to a port and in a state, from `/proc/net/udp` or `tcp`.
fn inode(table: &str, state: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, bound) = words.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(bound, 16) == Ok(port) && *words.get(3)? == state;
        is_it.then(|| words.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  771: 0100007F:2710 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 55501 2 0000000000000000 0
 1290: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 18377 2 0000000000000000 0
";

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 777 1 0000000000000000
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 888 1 0000000000000000
";

    #[test]
    fn a_socket_is_found_in_the_kernels_table() {
        assert_eq!(inode(UDP, "07", 10_000), Some(55_501));
        assert_eq!(inode(UDP, "07", 68), Some(18_377));
        assert_eq!(inode(UDP, "07", 10_001), None);
        assert_eq!(inode(TCP, "0A", 8080), Some(888), "the listener, not a connection of it");
    }

    #[test]
    fn a_server_that_runs_already_is_no_failure() {
        let found = |kind, holder: Option<&str>| {
            let holder = holder.map(|name| Holder { name: name.into(), process: 77 });
            taken("media ports", "UDP 10000", "media.port", &Error::from(kind), holder.as_ref())
        };
        assert_eq!(found(ErrorKind::AddrInUse, Some("saal")).mark, Mark::Note);
        let other = found(ErrorKind::AddrInUse, Some("coturn"));
        assert_eq!(other.finding, "UDP 10000 is taken by coturn (process 77)");
        assert_eq!(other.mend, "kill 77   # or another media.port");
        assert!(found(ErrorKind::AddrInUse, None).mend.contains("ss -lntup"));
        assert!(found(ErrorKind::PermissionDenied, None).mend.contains("CAP_NET_BIND_SERVICE"));
        assert!(found(ErrorKind::AddrNotAvailable, None).finding.contains("no such address"));
    }

    #[test]
    fn the_holder_of_a_port_of_ours_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(of_tcp(port).map(|holder| holder.process), Some(std::process::id()));
    }
}
