//! The threads that receive: they own the sockets and the connections, and look at as little of each packet as possible.
//!
//! They look into every socket once in `LOOK_INTERVAL` and take the kernel's stamp for the time of arrival. Nobody
//! sleeps on a socket: on loopback the sender would be charged for waking the receiver, packet by packet, which no
//! network does.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver as Orders, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use mio::net::UdpSocket;
use mio::{Events, Poll, Token, Waker};
use nix::cmsg_space;
use nix::sys::socket::sockopt::{ReceiveTimestampns, UdpGroSegment};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::cpu::{self, Place};
use super::peer::Peer;
use super::publisher::{Outlet, Stage};
use super::stamp::now_ns;
use super::tally::Window;

/// Datagrams of one system call.
const BATCH: usize = 32;
/// The longest datagram there is, and so the longest train that the kernel hands over whole.
const TRAIN_MAX: usize = 65_535;
/// Each socket's: a burst of a few frames for every receiver must fit while the thread looks at others.
const RECEIVE_BUFFER: usize = 1 << 20;
const TICK: Duration = Duration::from_millis(10);
/// How often the sockets are looked into; some hundred packets a second reach each.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// The same while nothing is measured: several crowds may be waiting for their turn.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What one participant received in the window.
#[derive(Clone, Debug)]
pub struct Received {
    pub number: usize,
    pub room: usize,
    pub streams: Vec<(u8, Window)>,
}

#[derive(Debug)]
pub struct Report {
    pub received: Vec<Received>,
    /// Microseconds from stamp to arrival, of the sampled.
    pub latency: Histogram<u64>,
    pub corrupt: u64,
    pub cpu_ns: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct State {
    pub number: usize,
    pub connected: bool,
    pub failed: bool,
    /// Streams that have begun.
    pub streams: usize,
    pub first_packet_us: Option<u64>,
}

/// One message that the kernel handed over: datagrams of `segment` bytes, the last may be shorter.
#[derive(Clone, Copy, Default)]
struct Arrival {
    len: usize,
    segment: usize,
    stamp: Option<Duration>,
}

enum Order {
    Add(Box<Peer>, UdpSocket),
    Pause(bool),
    Begin,
    End(Sender<Report>),
    States(Sender<Vec<State>>),
    Remove(usize),
    Clear,
}

#[derive(Debug)]
pub struct Receiver {
    orders: Sender<Order>,
    waker: Waker,
    _thread: JoinHandle<()>,
}

/// A socket of its own for one participant, connected to the server.
///
/// With `offload` it takes trains whole (UDP_GRO). On loopback the sending kernel then never splits them, as with a
/// network card that does it in hardware; without, the sender pays for splitting, as with a card that cannot.
pub fn socket(server: SocketAddr, offload: bool) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM.nonblocking(), None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(&server.into())?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    if offload {
        setsockopt(&socket, UdpGroSegment, &true)?;
    }
    Ok(UdpSocket::from_std(socket.into()))
}

pub fn histogram() -> Histogram<u64> {
    // Up to a minute, three digits.
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

impl Receiver {
    pub fn start(index: usize, place: Place, stage: Stage) -> std::io::Result<Receiver> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (orders, receiver) = channel();
        let thread = std::thread::Builder::new().name(format!("receive-{index}")).spawn(move || {
            place.take();
            Thread::new(poll, stage).run(&receiver);
        })?;
        Ok(Receiver { orders, waker, _thread: thread })
    }

    pub fn add(&self, peer: Peer, socket: UdpSocket) {
        self.order(Order::Add(Box::new(peer), socket));
    }

    pub fn pause(&self, paused: bool) {
        self.order(Order::Pause(paused));
    }

    pub fn begin(&self) {
        self.order(Order::Begin);
    }

    /// `None` when the thread has ended.
    pub fn end(&self) -> Option<Report> {
        let (sender, report) = channel();
        self.order(Order::End(sender));
        report.recv().ok()
    }

    pub fn states(&self) -> Vec<State> {
        let (sender, states) = channel();
        self.order(Order::States(sender));
        states.recv().unwrap_or_default()
    }

    pub fn remove(&self, number: usize) {
        self.order(Order::Remove(number));
    }

    pub fn clear(&self) {
        self.order(Order::Clear);
    }

    fn order(&self, order: Order) {
        // A thread that has ended is noticed by who waits for its answer.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }
}

const WAKER: Token = Token(usize::MAX);

struct Thread {
    poll: Poll,
    stage: Stage,
    peers: Vec<Option<(Box<Peer>, UdpSocket)>>,
    buffers: Vec<Vec<u8>>,
    look: Duration,
    headers: MultiHeaders<SockaddrStorage>,
    latency: Option<Histogram<u64>>,
    cpu_began_ns: u64,
}

impl Thread {
    fn new(poll: Poll, stage: Stage) -> Thread {
        Thread {
            poll,
            stage,
            peers: Vec::new(),
            buffers: vec![vec![0; TRAIN_MAX]; BATCH],
            look: LOOK_INTERVAL,
            headers: headers(),
            latency: None,
            cpu_began_ns: 0,
        }
    }

    fn run(mut self, orders: &Orders<Order>) {
        let mut events = Events::with_capacity(1024);
        let mut next_tick = Instant::now();
        loop {
            if self.poll.poll(&mut events, Some(self.look)).is_err() {
                // Interrupted by a signal.
                continue;
            }
            for index in 0..self.peers.len() {
                self.receive(index);
            }
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            if next_tick <= now {
                next_tick = now + TICK;
                for index in 0..self.peers.len() {
                    if let Some((peer, socket)) = &mut self.peers[index] {
                        peer.on_timeout(now);
                        flush(peer, socket);
                        go_on_stage(peer, socket, &self.stage);
                    }
                }
            }
        }
    }

    fn receive(&mut self, index: usize) {
        loop {
            let Some(Some((peer, socket))) = self.peers.get_mut(index) else { return };
            let mut arrived = [Arrival::default(); BATCH];
            let mut count = 0;
            {
                let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                    self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
                let flags = MsgFlags::MSG_DONTWAIT;
                let Ok(messages) = recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None)
                else {
                    return;
                };
                for message in messages {
                    let mut arrival = Arrival { len: message.bytes, segment: message.bytes, stamp: None };
                    for control in message.cmsgs().ok().into_iter().flatten() {
                        if let ControlMessageOwned::ScmTimestampns(at) = control {
                            arrival.stamp = Some(at.into());
                        } else if let ControlMessageOwned::UdpGroSegments(segment) = control {
                            arrival.segment = segment as usize;
                        }
                    }
                    arrived[count] = arrival;
                    count += 1;
                }
            }
            let (now_ns, now) = (now_ns(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
            for (buffer, arrival) in self.buffers.iter().zip(&arrived[..count]) {
                // The kernel stamps by the wall clock.
                let ago = arrival.stamp.map_or(Duration::ZERO, |stamp| now.saturating_sub(stamp));
                let at_ns = now_ns.saturating_sub(ago.as_nanos() as u64);
                for datagram in buffer[..arrival.len].chunks(arrival.segment.max(1)) {
                    peer.on_datagram(datagram, at_ns, &mut self.latency);
                }
            }
            // The kernel has shortened the room for control messages to what it needed.
            self.headers = headers();
            flush(peer, socket);
            if count < BATCH {
                return;
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Add(mut peer, socket) => {
                peer.on_timeout(Instant::now());
                flush(&mut peer, &socket);
                self.peers.push(Some((peer, socket)));
            }
            Order::Pause(paused) => self.look = if paused { IDLE_LOOK_INTERVAL } else { LOOK_INTERVAL },
            Order::Begin => {
                self.latency = Some(histogram());
                self.cpu_began_ns = cpu::thread_ns();
                for (peer, _) in self.peers.iter_mut().flatten() {
                    peer.corrupt = 0;
                    peer.turn();
                }
            }
            Order::End(answer) => {
                let received = self.peers.iter_mut().flatten().map(|(peer, _)| Received {
                    number: peer.number,
                    room: peer.room,
                    streams: peer.turn(),
                });
                let received = received.collect();
                let corrupt = self.peers.iter().flatten().map(|(peer, _)| peer.corrupt).sum();
                let latency = self.latency.take().unwrap_or_else(histogram);
                let cpu_ns = cpu::thread_ns() - self.cpu_began_ns;
                // Who asked may be gone.
                let _ = answer.send(Report { received, latency, corrupt, cpu_ns });
            }
            Order::States(answer) => {
                let states = self.peers.iter().flatten().map(|(peer, _)| State {
                    number: peer.number,
                    connected: peer.is_connected(),
                    failed: peer.has_failed(),
                    streams: peer.tallies.len(),
                    first_packet_us: peer.first_media_ns.map(|at| at.saturating_sub(peer.asked_at_ns) / 1000),
                });
                let _ = answer.send(states.collect());
            }
            Order::Remove(number) => {
                for place in &mut self.peers {
                    if place.as_ref().is_some_and(|(peer, _)| peer.number == number) {
                        *place = None;
                    }
                }
            }
            Order::Clear => self.peers.clear(),
        }
    }
}

fn headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, Some(cmsg_space!(TimeSpec, i32)))
}

fn flush(peer: &mut Peer, socket: &UdpSocket) {
    for datagram in peer.out.drain(..) {
        // Lost like any datagram; checks, handshakes and reports are repeated.
        let _ = socket.send(&datagram);
    }
}

/// Media leaves from the publisher's thread through a second descriptor of the same socket.
fn go_on_stage(peer: &mut Peer, socket: &UdpSocket, stage: &Stage) {
    if peer.streams.is_empty() || !peer.is_connected() {
        return;
    }
    let streams = std::mem::take(&mut peer.streams);
    let second = std::os::fd::AsFd::as_fd(socket).try_clone_to_owned();
    if let (Some(context), Ok(second)) = (peer.take_sender(), second) {
        stage.add(Outlet { publisher: peer.number, context, socket: second.into(), streams });
    }
}
