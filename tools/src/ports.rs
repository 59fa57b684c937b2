//! Ports for servers of our own. A port that was found free and let go may be given to somebody's outgoing connection before
//! the server takes it, so these are none of those that Linux gives away (`ip_local_port_range`: 32768 to 60999).

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const END: u32 = 32_000;

/// A port on loopback that nobody listens on. No other call in this process returns it before all have been given out.
///
/// # Errors
/// All of them are taken.
pub fn free_tcp() -> Result<u16, String> {
    free(1, |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

/// The first of `count` in a row, free on every address: a worker takes one each.
///
/// # Errors
/// There are no `count` in a row.
pub fn free_udp(count: u16) -> Result<u16, String> {
    free(count, |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
}

fn free(count: u16, is_free: impl Fn(u16) -> bool) -> Result<u16, String> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let width = END - FIRST - u32::from(count);
    // Processes that run side by side begin far from each other.
    let begin = std::process::id().wrapping_mul(331);
    for _ in 0..width {
        let at = begin.wrapping_add(TAKEN.fetch_add(u32::from(count), Ordering::Relaxed)) % width;
        let first = u16::try_from(FIRST + at).map_err(|error| error.to_string())?;
        if (first..first + count).all(&is_free) {
            return Ok(first);
        }
    }
    Err(format!("no {count} free ports in a row"))
}
