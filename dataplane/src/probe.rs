//! Two questions about UDP that `saal doctor` asks: is a port free, and does what is sent to an address come back? Never
//! used by a running server.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// On the way to itself a datagram needs microseconds, through a router's other side milliseconds.
const PATIENCE: Duration = Duration::from_millis(300);

/// Takes the port as a worker would: `None` is every address. It is free again when the socket is dropped.
pub fn take(bind: Option<IpAddr>, port: u16) -> Result<UdpSocket> {
    let Some(bind) = bind else {
        let is_final =
            |error: &Error| matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied);
        return match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            // A machine without IPv6.
            Err(error) if !is_final(&error) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)),
            bound => bound,
        };
    };
    UdpSocket::bind((bind, port))
}

/// Takes the port for a moment, sends one datagram to `address` at that port, and says whether it arrives.
pub fn comes_back(bind: Option<IpAddr>, port: u16, address: IpAddr) -> Result<bool> {
    let receiver = take(bind, port)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let sender = UdpSocket::bind((any, 0))?;
    // Another's datagram must not be taken for ours.
    let mut token = [0; 16];
    aws_lc_rs::rand::fill(&mut token).map_err(|_| Error::other("no random bytes"))?;
    sender.send_to(&token, SocketAddr::new(address, port))?;
    let mut bytes = [0; 64];
    for _ in 0..16 {
        match receiver.recv(&mut bytes) {
            Ok(length) if bytes[..length] == token => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_free_until_it_is_dropped() {
        let held = take(None, 0).unwrap();
        let port = held.local_addr().unwrap().port();
        assert_eq!(take(None, port).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(held);
        assert!(take(None, port).is_ok());
    }

    #[test]
    fn a_datagram_to_loopback_comes_back_and_one_to_another_address_does_not() {
        let v4 = |last| Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        let port = take(v4(1), 0).unwrap().local_addr().unwrap().port();
        assert!(comes_back(v4(1), port, Ipv4Addr::LOCALHOST.into()).unwrap());
        assert!(!comes_back(v4(1), port, Ipv4Addr::new(127, 0, 0, 2).into()).unwrap());
    }
}
