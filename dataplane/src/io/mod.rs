//! The kernel's side: sockets, rings, readiness. Knows no RTP, and is the only place with `unsafe`.
//!
//! One [`Net`] per worker, opened on the worker's own thread. A worker's turn is
//! `wait` → `next_datagram` until `None` → `flush`; see [`Net::wait`] for what wakes it.
//!
//! Datagrams are received one by one, without UDP_GRO. It halves the cost of what arrives aggregated (bursts of 10 over
//! loopback: 0.36 instead of 0.91 µs a packet) and changes nothing for what does not, which is what browsers send; and
//! received packets are few beside forwarded ones. Its price would be receive buffers of 64 KiB instead of 2 KiB.

mod affinity;
#[cfg(feature = "sim")]
pub mod line;
pub mod memory;
mod mio;
mod outbox;
#[cfg(feature = "sim")]
pub mod sim;
mod socket;
mod uring;
mod wake;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

pub use self::affinity::{pin_to_core, run_at_once, wake_promptly, yield_to_media};
pub use self::mio::MioNet;
pub use self::socket::{DATAGRAM_BYTES_MAX, SocketOptions};
pub use self::uring::UringNet;
pub use self::wake::Waker;

use self::mio::Sending;
use self::socket::Socket;
use crate::egress::Egress;
use crate::id::Path;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoChoice {
    /// io_uring where the kernel allows it, otherwise epoll.
    Auto,
    Uring,
    Mio,
    /// epoll and a system call for every packet: what the others are compared with.
    Sendto,
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
        let mio = |socket, sending| MioNet::new(socket, sending).map(|net| Net::Mio(Box::new(net)));
        let together = Sending::Together { trains_off: options.trains_off };
        match choice {
            IoChoice::Sendto => return Ok((mio(socket, Sending::Singly)?, None)),
            IoChoice::Mio => return Ok((mio(socket, together)?, None)),
            IoChoice::Auto | IoChoice::Uring => {}
        }
        let error = match UringNet::new(socket.try_clone()?, options.trains_off) {
            Ok(net) => return Ok((Net::Uring(Box::new(net)), None)),
            Err(error) => error,
        };
        let why = why_not_uring(&error, std::fs::read_to_string(DISABLED_SYSCTL).ok().as_deref());
        if choice == IoChoice::Uring {
            return Err(io::Error::new(error.kind(), why));
        }
        Ok((mio(socket, together)?, Some(format!("{why}; using mio"))))
    }

    /// Waits until a datagram has arrived, the [`Waker`] was used, or `timeout` has passed; it may also return without
    /// any of them. Timeouts are kept to the accuracy of the kernel's timers, well below a millisecond. Blocks of finished
    /// sends go back to `egress`, which must be the one that [`Net::flush`] gets.
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

    /// Sleeps for `time`, woken by nothing, and takes what has arrived by then: a wake-up for each of a burst of packets
    /// would cost more than the packets. `egress` as in [`Net::wait`].
    pub fn rest(&mut self, time: Duration, _egress: &mut Egress) -> io::Result<()> {
        match self {
            Net::Uring(net) => net.rest(time),
            Net::Mio(net) => net.rest(time),
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

    /// Overwrites what the buffers of both directions still hold of finished packets and their addresses.
    pub fn wipe(&mut self) {
        match self {
            Net::Uring(net) => net.wipe(),
            Net::Mio(net) => net.wipe(),
            #[cfg(feature = "sim")]
            Net::Sim(_) => {}
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
            Net::Mio(net) => net.backend(),
            #[cfg(feature = "sim")]
            Net::Sim(_) => "sim",
        }
    }

    /// What the kernel granted of the socket buffers that were asked for.
    pub fn buffers(&self) -> SocketBuffers {
        match self {
            Net::Uring(net) => net.buffers(),
            Net::Mio(net) => net.buffers(),
            #[cfg(feature = "sim")]
            Net::Sim(_) => SocketBuffers::default(),
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

    /// Whether [`Net::next_datagram`], which had nothing more to give, has given everything.
    pub fn is_drained(&self) -> bool {
        match self {
            Net::Uring(_) | Net::Mio(_) => true,
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.is_drained(),
        }
    }

    /// Processor time that the calling thread has used, the kernel's work for it included; in the simulation what
    /// [`sim::SimNetwork::set_cost`] makes of it.
    pub fn busy(&self) -> Duration {
        match self {
            Net::Uring(_) | Net::Mio(_) => affinity::processor_time(),
            #[cfg(feature = "sim")]
            Net::Sim(net) => net.busy(),
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

/// One socket's buffers, in bytes of payload and the kernel's bookkeeping. Asked for 0: the kernel's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketBuffers {
    pub receive_asked_bytes: usize,
    pub receive_bytes: usize,
    pub send_asked_bytes: usize,
    pub send_bytes: usize,
}

impl SocketBuffers {
    /// For the admin, in one line: what the kernel granted less of than was asked for, and what mends it.
    pub fn short_of(&self) -> Option<String> {
        let short = |name, sysctl, asked, granted| {
            let words = format!("a {name} buffer of {granted} bytes where {asked} were asked for");
            (granted < asked).then(|| (words, format!("net.core.{sysctl}={asked}")))
        };
        let (granted, remedies): (Vec<String>, Vec<String>) = [
            short("receive", "rmem_max", self.receive_asked_bytes, self.receive_bytes),
            short("send", "wmem_max", self.send_asked_bytes, self.send_bytes),
        ]
        .into_iter()
        .flatten()
        .unzip();
        (!granted.is_empty())
            .then(|| format!("the kernel grants {}: sysctl -w {}", granted.join(" and "), remedies.join(" ")))
    }
}

/// Sums of one worker's socket since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoCounters {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    /// Send operations; a segmented send counts once.
    pub sends: u64,
    /// The same by length: how many carried at most as many packets as [`TRAIN_CLASSES`] says, the last all longer ones.
    pub trains: [u64; TRAIN_CLASSES.len() + 1],
    pub datagrams_out: u64,
    pub bytes_out: u64,
    /// Send operations that the kernel refused; what they carried is lost.
    pub send_errors: u64,
    /// Datagrams above [`DATAGRAM_BYTES_MAX`], dropped.
    pub truncated: u64,
    /// Receive buffers ran out and the multishot receive was armed again.
    pub rearmed: u64,
}

/// Upper bounds of the train lengths that are counted apart, in packets.
pub const TRAIN_CLASSES: [u64; 6] = [1, 3, 7, 11, 15, 31];

impl IoCounters {
    fn received(&mut self, len: usize) {
        self.datagrams_in += 1;
        self.bytes_in += len as u64;
    }

    fn sent(&mut self, datagrams: u64, bytes: usize) {
        self.sends += 1;
        self.trains[TRAIN_CLASSES.partition_point(|&longest| longest < datagrams)] += 1;
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
    fn the_admin_reads_which_socket_buffer_is_short_and_what_mends_it() {
        let asked = SocketBuffers {
            receive_asked_bytes: 4000,
            receive_bytes: 4000,
            send_asked_bytes: 3000,
            send_bytes: 5000,
        };
        assert_eq!(asked.short_of(), None);
        let short = SocketBuffers { receive_bytes: 200, ..asked };
        assert_eq!(
            short.short_of().as_deref(),
            Some(
                "the kernel grants a receive buffer of 200 bytes where 4000 were asked for: sysctl -w net.core.rmem_max=4000"
            )
        );
        let both = SocketBuffers { send_bytes: 100, ..short }.short_of();
        assert!(both.is_some_and(|line| line.ends_with("sysctl -w net.core.rmem_max=4000 net.core.wmem_max=3000")));
    }

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
