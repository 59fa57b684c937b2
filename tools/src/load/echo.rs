//! The baseline: the same packets to the same receivers through a bare echo of our own. What this takes is the price of
//! the kernel and of the generator; a server cannot be faster, and its latency is quoted beside it.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use super::cpu;
use super::peer::StaticKey;

/// Everybody's: the echo changes nothing.
pub const KEY: StaticKey = StaticKey { key: [0x45; 32], salt: [0x43; 12] };

/// Bytes of one segmented send, below the 64 KiB of an IPv4 datagram.
const TRAIN_MAX: usize = 60_000;
const SEGMENTS_MAX: usize = 44;

#[derive(Debug)]
pub struct Echo {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a participant sends until it hears `K`.
pub fn hello(number: usize) -> Vec<u8> {
    let mut hello = b"H".to_vec();
    hello.extend((number as u32).to_be_bytes());
    hello
}

impl Echo {
    /// `routes`: which participants get each SSRC.
    pub fn start(cores: &[usize], routes: HashMap<u32, Vec<usize>>) -> std::io::Result<Echo> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (cores, stopped) = (cores.to_vec(), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("echo".into()).spawn(move || {
            cpu::pin(&cores);
            Thread { socket, routes, addresses: HashMap::new(), train: Train::default() }.run(&stopped);
        })?;
        Ok(Echo { address, stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Thread {
    socket: UdpSocket,
    routes: HashMap<u32, Vec<usize>>,
    addresses: HashMap<usize, SockaddrIn>,
    train: Train,
}

/// Packets of one SSRC and one size that came one after the other.
#[derive(Default)]
struct Train {
    ssrc: u32,
    segment: usize,
    bytes: Vec<u8>,
}

impl Thread {
    fn run(mut self, stop: &AtomicBool) {
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            // Waits for the first datagram, then takes what is there.
            let mut received = self.socket.recv_from(&mut buffer);
            let _ = self.socket.set_nonblocking(true);
            while let Ok((len, from)) = received {
                self.on_datagram(&buffer[..len], from);
                received = self.socket.recv_from(&mut buffer);
            }
            self.depart();
            let _ = self.socket.set_nonblocking(false);
        }
    }

    fn on_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        match (datagram, from) {
            ([b'H', a, b, c, d], SocketAddr::V4(from)) => {
                let number = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                self.addresses.insert(number, SockaddrIn::from(SocketAddrV4::new(*from.ip(), from.port())));
                // Asked again when this one is lost.
                let _ = self.socket.send_to(b"K", from);
            }
            ([128..=191, _, _, _, _, _, _, _, a, b, c, d, ..], _) => {
                let ssrc = u32::from_be_bytes([*a, *b, *c, *d]);
                let Train { ssrc: riding, segment, bytes } = &self.train;
                let fits = *riding == ssrc && *segment == datagram.len();
                let full = bytes.len() + datagram.len() > TRAIN_MAX
                    || bytes.len() / (*segment).max(1) >= SEGMENTS_MAX;
                if !fits || full {
                    self.depart();
                    self.train.ssrc = ssrc;
                    self.train.segment = datagram.len();
                }
                self.train.bytes.extend(datagram);
            }
            _ => {}
        }
    }

    fn depart(&mut self) {
        if self.train.bytes.is_empty() {
            return;
        }
        let segment = self.train.segment as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let control = if self.train.bytes.len() > self.train.segment { &control[..] } else { &[] };
        let receivers = self.routes.get(&self.train.ssrc).into_iter().flatten();
        for address in receivers.filter_map(|number| self.addresses.get(number)) {
            let slices = [IoSlice::new(&self.train.bytes)];
            // What does not leave is missed by the receivers, and the baseline says so.
            let _ = sendmsg(self.socket.as_raw_fd(), &slices, control, MsgFlags::empty(), Some(address));
        }
        self.train.bytes.clear();
    }
}
