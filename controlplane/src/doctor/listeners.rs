//! The two TCP listeners, tried.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use super::Finding;
use crate::config::Config;

/// Taken for a moment, so a server that runs already makes them look bad.
pub(super) fn gather(config: &Config) -> Vec<Finding> {
    let listeners = [("http.listen", config.http.listen), ("admin.listen", config.admin.listen)];
    listeners.map(|(key, address)| tried(key, address, TcpListener::bind(address).err())).into()
}

fn tried(key: &str, address: SocketAddr, error: Option<Error>) -> Finding {
    let Some(error) = error else { return Finding::ok(key, format!("{address} is free")) };
    let port = address.port();
    let mend = if error.kind() == ErrorKind::AddrInUse {
        format!("ss -lntp sport = :{port}   # if that is this server, all is well")
    } else if error.kind() == ErrorKind::PermissionDenied {
        "systemctl edit saal   # [Service] AmbientCapabilities=CAP_NET_BIND_SERVICE".to_owned()
    } else {
        "ip address   # which ones this machine has".to_owned()
    };
    Finding::fail(key, format!("{address}: {}", with_cause(&error)))
        .means("The server does not start.")
        .mend(mend)
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

#[cfg(test)]
mod tests {
    use super::super::Mark;
    use super::*;

    #[test]
    fn a_listener_that_cannot_be_has_is_named_with_its_cause() {
        let address = SocketAddr::from(([0, 0, 0, 0], 443));
        assert_eq!(tried("http.listen", address, None).mark, Mark::Ok);
        let found = |kind| tried("http.listen", address, Some(Error::from(kind)));
        assert!(found(ErrorKind::AddrInUse).mend.starts_with("ss -lntp sport = :443"));
        assert!(found(ErrorKind::PermissionDenied).mend.contains("CAP_NET_BIND_SERVICE"));
        assert!(found(ErrorKind::AddrNotAvailable).finding.contains("no such address"));
    }
}
