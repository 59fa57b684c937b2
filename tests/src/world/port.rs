//! A client's socket, simulated or on loopback, and the wait for any of the latter.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token};
use saal_dataplane::io::sim::SimSocket;

#[derive(Debug)]
pub(crate) enum Port {
    Sim(SimSocket),
    Loopback(UdpSocket),
}

impl Port {
    pub(crate) fn send(&self, datagram: &[u8], server: SocketAddr) {
        match self {
            Port::Sim(socket) => socket.send_to(datagram, server),
            // A full socket buffer loses the datagram, as a network would.
            Port::Loopback(socket) => drop(socket.send_to(datagram, server)),
        }
    }

    pub(crate) fn receive(&mut self, mut on_datagram: impl FnMut(&[u8])) {
        match self {
            Port::Sim(socket) => {
                while let Some((datagram, _)) = socket.recv() {
                    on_datagram(&datagram);
                }
            }
            Port::Loopback(socket) => {
                let mut buffer = [0; 2048];
                loop {
                    match socket.recv(&mut buffer) {
                        Ok(len) => on_datagram(&buffer[..len]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                        Err(error) => panic!("a loopback socket failed: {error}"),
                    }
                }
            }
        }
    }
}

/// Waits until any loopback socket can be read.
#[derive(Debug)]
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
}

impl Waiter {
    pub(crate) fn new() -> Waiter {
        Waiter { poll: Poll::new().expect("epoll is there"), events: Events::with_capacity(64) }
    }

    pub(crate) fn open(&self) -> Port {
        open(self.poll.registry()).map(Port::Loopback).expect("loopback has a free port")
    }

    pub(crate) fn wait(&mut self, timeout: Duration) {
        // An interrupted wait is a short one.
        let _ = self.poll.poll(&mut self.events, Some(timeout));
    }
}

fn open(registry: &Registry) -> std::io::Result<UdpSocket> {
    const BUFFER: usize = 4 << 20;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let mut socket = UdpSocket::from_std(socket.into());
    registry.register(&mut socket, Token(0), Interest::READABLE)?;
    Ok(socket)
}
