//! An in-memory network with a virtual clock and lines that misbehave by a seed, for tests and benches.
//!
//! ```text
//! SimSocket (client) ── Up: a Line ──▶ Net (server: any address with its port)
//!                    ◀─ Down: a Line ──
//! ```
//!
//! Nothing here runs by itself: a datagram arrives when [`SimNetwork::advance_to`] reaches its time. The same seed and
//! the same calls give the same arrivals. Single-threaded; only here may state be shared by `Rc`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::line::{Counts, Line, Script, Shape, Wait};
use super::wake::Waker;
use super::{DATAGRAM_BYTES_MAX, Datagram, IoCounters, Net};
use crate::egress::Egress;
use crate::id::Path;

/// The network that servers and clients share. Clones are the same network.
#[derive(Clone)]
pub struct SimNetwork {
    state: Rc<RefCell<State>>,
}

/// Which way a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a client to a server.
    Up,
    Down,
}

/// A client's socket.
pub struct SimSocket {
    network: SimNetwork,
    client: usize,
}

/// The server's end: receives what is sent to any address with its port.
pub struct SimNet {
    network: SimNetwork,
    port: u16,
    waker: Waker,
    current: Vec<u8>,
    counters: IoCounters,
}

struct State {
    now: Instant,
    seed: u64,
    /// Ordered by time, then by order of sending.
    in_flight: BTreeMap<(Instant, u64), Parcel>,
    sent: u64,
    defaults: [Script; 2],
    lines: Vec<Line>,
    clients: Vec<Client>,
    /// Which client has this address.
    addresses: HashMap<SocketAddr, usize>,
    servers: HashMap<u16, Host>,
}

/// A worker's core and socket.
#[derive(Default)]
struct Host {
    inbox: VecDeque<(Path, Vec<u8>)>,
    /// Processor time of each datagram that comes or goes.
    cost: Duration,
    /// Datagrams beyond it find no place in the socket's buffer.
    inbox_max: Option<usize>,
    /// The core is at work until then, and takes nothing.
    free_at: Option<Instant>,
    busy: Duration,
}

struct Client {
    address: SocketAddr,
    inbox: VecDeque<(Vec<u8>, SocketAddr)>,
    /// Places in `lines`.
    lines: [usize; 2],
    /// Lines that are not as the network's default.
    own: [bool; 2],
}

struct Parcel {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// So much work is taken at once by a core that needs time for it.
const TURN_MAX: Duration = Duration::from_millis(5);

/// Source of what a server sends without saying from which of its addresses.
const SERVER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl SimNetwork {
    pub fn new(seed: u64) -> SimNetwork {
        let state = State {
            now: Instant::now(),
            seed,
            in_flight: BTreeMap::new(),
            sent: 0,
            defaults: [Shape::default().into(), Shape::default().into()],
            lines: Vec::new(),
            clients: Vec::new(),
            addresses: HashMap::new(),
            servers: HashMap::new(),
        };
        SimNetwork { state: Rc::new(RefCell::new(state)) }
    }

    /// A worker's socket on every address of the server.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn server(&self, port: u16) -> Net {
        let taken = self.state.borrow_mut().servers.insert(port, Host::default());
        assert!(taken.is_none(), "port {port} has a server");
        let waker = Waker::new().expect("a test process may make an eventfd");
        let counters = IoCounters::default();
        Net::Sim(Box::new(SimNet { network: self.clone(), port, waker, current: Vec::new(), counters }))
    }

    /// From now on each datagram that comes to or goes from the server at `port` takes its core so long, and no more than
    /// `inbox_max` wait there.
    pub fn set_cost(&self, port: u16, cost: Duration, inbox_max: usize) {
        let mut state = self.state.borrow_mut();
        let host = state.servers.entry(port).or_default();
        (host.cost, host.inbox_max) = (cost, Some(inbox_max));
    }

    /// Until when the core of the server at `port` is at work.
    pub fn free_at(&self, port: u16) -> Option<Instant> {
        let state = self.state.borrow();
        state.servers.get(&port)?.free_at.filter(|at| *at > state.now)
    }

    /// A client with this address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn client(&self, address: SocketAddr) -> SimSocket {
        let mut state = self.state.borrow_mut();
        let client = state.clients.len();
        let now = state.now;
        // Each line has numbers of its own, so that traffic on one does not change the faults of another.
        let lines = [Direction::Up, Direction::Down].map(|direction| {
            let script = state.defaults[direction as usize].clone();
            state.add_line(script, now)
        });
        state.clients.push(Client { address, inbox: VecDeque::new(), lines, own: [false; 2] });
        state.claim(address, client);
        SimSocket { network: self.clone(), client }
    }

    /// What the lines of every client do that has none of its own.
    pub fn set_script(&self, direction: Direction, script: impl Into<Script>) {
        let mut state = self.state.borrow_mut();
        let State { now, clients, lines, defaults, .. } = &mut *state;
        defaults[direction as usize] = script.into();
        for client in clients.iter().filter(|client| !client.own[direction as usize]) {
            lines[client.lines[direction as usize]].set_script(defaults[direction as usize].clone(), *now);
        }
    }

    /// All these share one line with one bottleneck from now on, whichever way they go through it.
    pub fn share(&self, ends: &[(&SimSocket, Direction)], script: impl Into<Script>) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let line = state.add_line(script.into(), now);
        for (socket, direction) in ends {
            let client = &mut state.clients[socket.client];
            client.lines[*direction as usize] = line;
            client.own[*direction as usize] = true;
        }
    }

    pub fn now(&self) -> Instant {
        self.state.borrow().now
    }

    /// When the next datagram arrives.
    pub fn next_event(&self) -> Option<Instant> {
        self.state.borrow().in_flight.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Moves the clock, which never runs backwards, and delivers what is due by then.
    pub fn advance_to(&self, now: Instant) {
        let mut state = self.state.borrow_mut();
        state.now = state.now.max(now);
        state.deliver();
    }
}

impl SimSocket {
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        let mut state = self.network.state.borrow_mut();
        let from = state.clients[self.client].address;
        state.send(self.client, Direction::Up, &Parcel { from, to, bytes: bytes.to_vec() });
    }

    /// The next arrived datagram and where it came from.
    pub fn recv(&self) -> Option<(Vec<u8>, SocketAddr)> {
        self.network.state.borrow_mut().clients[self.client].inbox.pop_front()
    }

    pub fn address(&self) -> SocketAddr {
        self.network.state.borrow().clients[self.client].address
    }

    /// The client's NAT gives it another address; what is sent to the old one gets lost, even if it is under way.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn rebind(&self, address: SocketAddr) {
        let mut state = self.network.state.borrow_mut();
        let old = std::mem::replace(&mut state.clients[self.client].address, address);
        state.addresses.remove(&old);
        state.claim(address, self.client);
    }

    /// What this client's line does from now on.
    pub fn set_script(&self, direction: Direction, script: impl Into<Script>) {
        let mut state = self.network.state.borrow_mut();
        let State { now, clients, lines, .. } = &mut *state;
        let client = &mut clients[self.client];
        client.own[direction as usize] = true;
        lines[client.lines[direction as usize]].set_script(script.into(), *now);
    }

    /// How long each datagram waited before the bottleneck of this client's line, since the last call.
    pub fn take_waits(&self, direction: Direction) -> Vec<Wait> {
        let mut state = self.network.state.borrow_mut();
        let line = state.clients[self.client].lines[direction as usize];
        state.lines[line].take_waits()
    }

    pub fn counts(&self, direction: Direction) -> Counts {
        let state = self.network.state.borrow();
        state.lines[state.clients[self.client].lines[direction as usize]].counts()
    }
}

impl SimNet {
    pub(super) fn wait(&self) {
        self.waker.take();
    }

    pub(super) fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        loop {
            let mut state = self.network.state.borrow_mut();
            let now = state.now;
            let host = state.servers.get_mut(&self.port)?;
            if host.free_at.is_some_and(|at| at > now + TURN_MAX) {
                return None;
            }
            let (path, bytes) = host.inbox.pop_front()?;
            host.work(now, 1);
            drop(state);
            if bytes.len() > DATAGRAM_BYTES_MAX {
                self.counters.truncated += 1;
                continue;
            }
            self.counters.received(bytes.len());
            self.current = bytes;
            return Some(Datagram { path, bytes: &mut self.current });
        }
    }

    pub(super) fn flush(&mut self, egress: &mut Egress) {
        let mut state = self.network.state.borrow_mut();
        while let Some(departure) = egress.take_ready() {
            let Path { remote, local } = departure.path;
            let from = SocketAddr::new(local.unwrap_or(SERVER_IP), self.port);
            // A client that is gone: the datagrams get lost, as they would in a real network.
            if let Some(&client) = state.addresses.get(&remote) {
                for packet in egress.bytes(&departure).chunks(departure.segment_bytes) {
                    state.send(client, Direction::Down, &Parcel { from, to: remote, bytes: packet.to_vec() });
                }
            }
            let now = state.now;
            if let Some(host) = state.servers.get_mut(&self.port) {
                host.work(now, departure.segments() as u32);
            }
            self.counters.sent(departure.segments() as u64, departure.len);
            egress.release(departure);
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn now(&self) -> Instant {
        self.network.now()
    }

    pub(super) fn is_drained(&self) -> bool {
        self.network.state.borrow().servers.get(&self.port).is_none_or(|host| host.inbox.is_empty())
    }

    pub(super) fn busy(&self) -> Duration {
        self.network.state.borrow().servers.get(&self.port).map_or(Duration::ZERO, |host| host.busy)
    }

    pub(super) fn counters(&self) -> IoCounters {
        self.counters
    }
}

impl Host {
    fn work(&mut self, now: Instant, datagrams: u32) {
        let work = self.cost * datagrams;
        if !work.is_zero() {
            self.free_at = Some(self.free_at.filter(|at| *at > now).unwrap_or(now) + work);
            self.busy += work;
        }
    }
}

impl State {
    fn claim(&mut self, address: SocketAddr, client: usize) {
        let taken = self.addresses.insert(address, client);
        assert!(taken.is_none(), "two clients have one address");
    }

    fn add_line(&mut self, script: Script, now: Instant) -> usize {
        let line = self.lines.len();
        let seed = self.seed ^ (line as u64).wrapping_mul(0xd134_2543_de82_ef95);
        self.lines.push(Line::new(script, seed, now));
        line
    }

    /// Puts a datagram onto a client's line.
    fn send(&mut self, client: usize, direction: Direction, parcel: &Parcel) {
        let line = self.clients[client].lines[direction as usize];
        let Some(arrival) = self.lines[line].pass(self.now, parcel.bytes.len()) else { return };
        for _ in 0..arrival.copies {
            let Parcel { from, to, ref bytes } = *parcel;
            self.in_flight.insert((arrival.at, self.sent), Parcel { from, to, bytes: bytes.clone() });
            self.sent += 1;
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        while let Some(first) = self.in_flight.first_entry()
            && first.key().0 <= self.now
        {
            let Parcel { from, to, bytes } = first.remove();
            if let Some(&client) = self.addresses.get(&to) {
                self.clients[client].inbox.push_back((bytes, from));
            } else if let Some(host) = self.servers.get_mut(&to.port())
                && host.inbox_max.is_none_or(|max| host.inbox.len() < max)
            {
                host.inbox.push_back((Path { remote: from, local: Some(to.ip()) }, bytes));
            }
        }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut state = self.network.state.borrow_mut();
        let address = state.clients[self.client].address;
        state.addresses.remove(&address);
    }
}

impl Drop for SimNet {
    fn drop(&mut self) {
        self.network.state.borrow_mut().servers.remove(&self.port);
    }
}

impl fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNetwork").finish_non_exhaustive()
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").finish_non_exhaustive()
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PORT: u16 = 10_000;

    fn server_address() -> SocketAddr {
        SocketAddr::new(SERVER_IP, PORT)
    }

    fn client_address(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 1], port))
    }

    fn arrived(net: &mut Net) -> Vec<u8> {
        let mut first_bytes = Vec::new();
        while let Some(datagram) = net.next_datagram() {
            first_bytes.push(datagram.bytes[0]);
        }
        first_bytes
    }

    /// When and what arrives of 200 datagrams sent 1 ms apart.
    fn arrivals(seed: u64, shape: &str) -> Vec<(Duration, u8)> {
        let network = SimNetwork::new(seed);
        let mut net = network.server(PORT);
        let client = network.client(client_address(1));
        network.set_script(Direction::Up, shape.parse::<Script>().unwrap());
        let start = network.now();
        for serial in 0..200_u8 {
            client.send_to(&[serial], server_address());
            network.advance_to(network.now() + Duration::from_millis(1));
        }
        let mut log: Vec<_> = arrived(&mut net).into_iter().map(|serial| (Duration::ZERO, serial)).collect();
        while let Some(at) = network.next_event() {
            network.advance_to(at);
            log.extend(arrived(&mut net).into_iter().map(|serial| (at - start, serial)));
        }
        log
    }

    #[test]
    fn the_same_seed_repeats_every_fault_and_another_does_not() {
        let shape = "loss=10% delay=300ms jitter=8ms reorder=10% duplicate=10%";
        assert_eq!(arrivals(7, shape), arrivals(7, shape));
        assert_ne!(arrivals(7, shape), arrivals(8, shape));
    }

    #[test]
    fn a_perfect_network_delivers_at_once_and_in_order() {
        let serials: Vec<u8> = arrivals(1, "").into_iter().map(|(_, serial)| serial).collect();
        assert_eq!(serials, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn a_script_begins_when_it_is_given_to_the_line() {
        let lost: Vec<u8> =
            arrivals(1, "0s; 50ms loss=100%; 60ms loss=0%").into_iter().map(|(_, n)| n).collect();
        assert_eq!(lost, (0..50).chain(60..200).collect::<Vec<u8>>());
    }

    #[test]
    fn those_who_share_a_line_wait_for_each_other() {
        let network = SimNetwork::new(1);
        let _net = network.server(PORT);
        let [a, b] = [1, 2].map(|port| network.client(client_address(port)));
        // The datagram of `a` to `b` goes up its own line only, which is the one that `b` sends on as well.
        network.share(&[(&a, Direction::Up), (&b, Direction::Up)], "rate=8k".parse::<Script>().unwrap());
        let start = network.now();
        a.send_to(&[0; 100], b.address());
        b.send_to(&[0; 100], a.address());
        let waits: Vec<_> = a.take_waits(Direction::Up).iter().map(|wait| wait.waited.as_millis()).collect();
        assert_eq!(waits, [0, 100]);
        network.advance_to(start + Duration::from_millis(150));
        assert!(b.recv().is_some() && a.recv().is_none());
        network.advance_to(start + Duration::from_millis(200));
        assert!(a.recv().is_some());
    }

    #[test]
    fn faults_of_one_client_and_direction_leave_the_others_alone() {
        let network = SimNetwork::new(1);
        let mut net = network.server(PORT);
        let (lossy, sound) = (network.client(client_address(1)), network.client(client_address(2)));
        lossy.set_script(Direction::Up, Shape { loss: 1.0, ..Shape::default() });
        lossy.send_to(b"a", server_address());
        sound.send_to(b"b", server_address());
        assert_eq!(arrived(&mut net), b"b");
    }

    #[test]
    fn the_clock_moves_only_by_advance_to_and_never_back() {
        let network = SimNetwork::new(1);
        let mut net = network.server(PORT);
        let client = network.client(client_address(1));
        network.set_script(Direction::Up, Shape { delay: Duration::from_secs(1), ..Shape::default() });
        let start = net.now();
        client.send_to(b"a", server_address());
        let mut egress = Egress::new(1, 2048, 1);
        net.wait(Some(Duration::from_secs(5)), &mut egress).unwrap();
        assert_eq!(net.now(), start);
        assert!(net.next_datagram().is_none());
        let due = network.next_event().unwrap();
        assert_eq!(due, start + Duration::from_secs(1));
        network.advance_to(due);
        network.advance_to(start);
        assert_eq!(net.now(), due);
        assert_eq!(arrived(&mut net), b"a");
    }

    #[test]
    fn after_nat_rebinding_the_server_sees_another_address_and_the_old_one_is_dead() {
        let network = SimNetwork::new(1);
        let mut net = network.server(PORT);
        let client = network.client(client_address(1));
        client.send_to(b"a", server_address());
        let old = net.next_datagram().unwrap().path;
        client.rebind(client_address(2));
        client.send_to(b"b", server_address());
        let new = net.next_datagram().unwrap().path;
        assert_eq!((old.remote, new.remote), (client_address(1), client_address(2)));

        let mut egress = Egress::new(4, 2048, 44);
        for (path, fill) in [(old, b'x'), (new, b'y')] {
            let mut train = crate::egress::Train::default();
            egress.reserve(&mut train, &path, 1).unwrap().fill(fill);
            egress.commit(&mut train);
        }
        net.flush(&mut egress).unwrap();
        assert_eq!(client.recv(), Some((b"y".to_vec(), server_address())));
        assert_eq!(client.recv(), None);
    }
}
