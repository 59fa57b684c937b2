//! The kernel's side: sockets, rings, readiness. Knows no RTP, and is the only place with `unsafe`.
//!
//! One [`Net`] per worker, opened on the worker's own thread. A worker's turn is
//! `wait` → `next_datagram` until `None` → `flush`; see [`Net::wait`] for what wakes it.

mod affinity;
mod mio;
#[cfg(feature = "sim")]
pub mod sim;
mod socket;
mod uring;
mod wake;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

pub use self::affinity::{pin_to_core, yield_to_media};
pub use self::mio::MioNet;
pub use self::socket::{DATAGRAM_BYTES_MAX, SocketOptions};
pub use self::uring::UringNet;
pub use self::wake::Waker;

use self::socket::Socket;
use crate::egress::Egress;
use crate::id::Path;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoChoice {
    /// io_uring where the kernel allows it, otherwise epoll.
    Auto,
    Uring,
    Mio,
}

/// One worker's socket and how it is driven.
#[derive(Debug)]
pub enum Net {
    Uring(Box<UringNet>),
    Mio(Box<MioNet>),
    #[cfg(feature = "sim")]
    Sim(Box<sim::SimNet>),
}

/// One datagram in the backend's own buffer.
pub struct Datagram<'a> {
    pub path: Path,
    pub bytes: &'a mut [u8],
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram").field("path", &self.path).field("len", &self.bytes.len()).finish()
    }
}

impl Net {
    /// Binds the socket. With [`IoChoice::Auto`] the second value says in one line for the admin why io_uring is not
    /// used, if so; with [`IoChoice::Uring`] that line is the error.
    ///
    /// Call this on the thread that will use it: the ring accepts no other.
    pub fn open(choice: IoChoice, options: &SocketOptions) -> io::Result<(Net, Option<String>)> {
        let socket = Socket::open(options)?;
        if choice == IoChoice::Mio {
            return Ok((Net::Mio(Box::new(MioNet::new(socket)?)), None));
        }
        let error = match UringNet::new(socket.try_clone()?) {
            Ok(net) => return Ok((Net::Uring(Box::new(net)), None)),
            Err(error) => error,
        };
        let why = why_not_uring(&error, std::fs::read_to_string(DISABLED_SYSCTL).ok().as_deref());
        if choice == IoChoice::Uring {
            return Err(io::Error::new(error.kind(), why));
        }
        Ok((Net::Mio(Box::new(MioNet::new(socket)?)), Some(format!("{why}; using mio"))))
    }

    /// Waits until a datagram has arrived, the [`Waker`] was used, or `timeout` has passed; it may also return without
    /// any of them. epoll rounds the timeout up to milliseconds. Blocks of finished sends go back to `egress`, which must
    /// be the one that [`Net::flush`] gets.
    ///
    /// The caller looks at its queues after every return, not only after a wake-up.
    pub fn wait(&mut self, timeout: Option<Duration>, _egress: &mut Egress) -> io::Result<()> {
        match self {
            Net::Uring(net) => net.wait(timeout),
            Net::Mio(net) => net.wait(timeout),
            #[cfg(feature = "sim")]
            Net::Sim(net) => {
                net.wait();
                Ok(())
            }
        }
    }

    /// The next arrived datagram; the buffer of the one before goes back. Never blocks.
    pub fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        match self {
            Net::Uring(net) => net.next_datagram(),
            Net::Mio(net) => net.next_datagram(),
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.next_datagram(),
        }
    }

    /// Sends every committed train. What the kernel refuses is dropped and counted, each receiver for itself. On return
    /// the kernel reads none of the blocks any more.
    pub fn flush(&mut self, egress: &mut Egress) -> io::Result<()> {
        match self {
            Net::Uring(net) => net.flush(egress),
            Net::Mio(net) => {
                net.flush(egress);
                Ok(())
            }
            #[cfg(feature = "sim")]
            Net::Sim(net) => {
                net.flush(egress);
                Ok(())
            }
        }
    }

    /// The bound UDP port.
    pub fn port(&self) -> u16 {
        match self {
            Net::Uring(net) => net.port(),
            Net::Mio(net) => net.port(),
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.port(),
        }
    }

    pub fn backend(&self) -> &'static str {
        match self {
            Net::Uring(_) => "uring",
            Net::Mio(_) => "mio",
            #[cfg(feature = "sim")]
            Net::Sim(_) => "sim",
        }
    }

    pub fn waker(&self) -> Waker {
        match self {
            Net::Uring(net) => net.waker(),
            Net::Mio(net) => net.waker(),
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.waker(),
        }
    }

    /// The worker's only clock: virtual in the simulation.
    pub fn now(&self) -> Instant {
        match self {
            Net::Uring(_) | Net::Mio(_) => Instant::now(),
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.now(),
        }
    }

    pub fn counters(&self) -> IoCounters {
        match self {
            Net::Uring(net) => net.counters(),
            Net::Mio(net) => net.counters(),
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.counters(),
        }
    }
}

/// Sums of one worker's socket since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoCounters {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    /// Send operations; a segmented send counts once.
    pub sends: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
    /// Send operations that the kernel refused; what they carried is lost.
    pub send_errors: u64,
    /// Datagrams above [`DATAGRAM_BYTES_MAX`], dropped.
    pub truncated: u64,
    /// Receive buffers ran out and the multishot receive was armed again.
    pub rearmed: u64,
}

impl IoCounters {
    fn received(&mut self, len: usize) {
        self.datagrams_in += 1;
        self.bytes_in += len as u64;
    }

    fn sent(&mut self, datagrams: u64, bytes: usize) {
        self.sends += 1;
        self.datagrams_out += datagrams;
        self.bytes_out += bytes as u64;
    }
}

/// 0 allows io_uring to everybody, 1 to a group, 2 to nobody.
const DISABLED_SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// What failed, the likely cause, and what to do.
fn why_not_uring(error: &io::Error, disabled: Option<&str>) -> String {
    let cause = match (error.raw_os_error(), disabled.map(str::trim)) {
        (Some(libc::EPERM), Some("2")) => {
            "disabled by sysctl kernel.io_uring_disabled = 2; set it to 0 to allow it".to_owned()
        }
        (Some(libc::EPERM), Some("1")) => {
            "allowed only to the group of sysctl kernel.io_uring_group (kernel.io_uring_disabled = 1); \
             add the server's user to that group"
                .to_owned()
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "refused, most likely by a seccomp profile as Docker's default; allow io_uring_setup, io_uring_enter and \
             io_uring_register there"
                .to_owned()
        }
        (Some(libc::ENOSYS), _) => {
            "not in this kernel or hidden by a sandbox; Linux 6.1 or later with CONFIG_IO_URING has it".to_owned()
        }
        (Some(libc::ENOMEM), _) => {
            "out of lockable memory; raise LimitMEMLOCK of the service (ulimit -l)".to_owned()
        }
        (Some(libc::EINVAL | libc::EOPNOTSUPP), _) => {
            "lacks what the server needs; Linux 6.1 or later has it".to_owned()
        }
        (Some(_) | None, _) => format!("failed: {error}"),
    };
    format!("io_uring {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_reads_why_io_uring_is_not_used() {
        let why = |errno, disabled| why_not_uring(&io::Error::from_raw_os_error(errno), disabled);
        assert!(why(libc::EPERM, Some("2\n")).contains("kernel.io_uring_disabled = 2"));
        assert!(why(libc::EPERM, Some("1\n")).contains("kernel.io_uring_group"));
        assert!(why(libc::EPERM, Some("0\n")).contains("seccomp"));
        assert!(why(libc::EPERM, None).contains("seccomp"));
        assert!(why(libc::ENOSYS, None).contains("kernel"));
        assert!(why(libc::ENOMEM, Some("0\n")).contains("LimitMEMLOCK"));
        assert!(why(libc::EINVAL, Some("0\n")).contains("6.1"));
        assert!(why(libc::EMFILE, Some("0\n")).contains("failed"));
        for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EINVAL, libc::EMFILE] {
            assert_eq!(why(errno, Some("0\n")).lines().count(), 1);
        }
    }
}
