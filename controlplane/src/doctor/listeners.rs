//! The two TCP listeners, tried.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use super::{Finding, holder};
use crate::config::Config;

pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let listeners = [("http.listen", config.http.listen), ("admin.listen", config.admin.listen)];
    listeners.map(|(key, address)| tried(key, address)).into()
}

fn tried(key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(key, format!("{address} is free")),
        Err(error) => {
            holder::taken(key, &address.to_string(), key, &error, holder::of_tcp(address.port()).as_ref())
        }
    }
}

/// The kernel's words and what is behind them most of the time.
pub(crate) fn with_cause(error: &Error) -> String {
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
