//! An in-memory network with a virtual clock and seeded faults, for tests and benches.
//!
//! ```text
//! SimSocket (client) ── Up: loss, delay, … ──▶ Net (server: any address with its port)
//!                    ◀─ Down: loss, delay, … ──
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

/// What a path does to datagrams. Probabilities are 0 to 1; the default is a perfect network without delay.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Faults {
    pub loss: f64,
    pub delay: Duration,
    /// Added to the delay, even between zero and this; datagrams keep their order all the same.
    pub jitter: Duration,
    /// Such a datagram is held back by [`HELD_BACK`], so that later ones overtake it.
    pub reorder: f64,
    pub duplicate: f64,
}

/// How late a reordered datagram is.
pub const HELD_BACK: Duration = Duration::from_millis(20);

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
    defaults: [Faults; 2],
    clients: Vec<Client>,
    /// Which client has this address.
    addresses: HashMap<SocketAddr, usize>,
    servers: HashMap<u16, VecDeque<(Path, Vec<u8>)>>,
}

struct Client {
    address: SocketAddr,
    inbox: VecDeque<(Vec<u8>, SocketAddr)>,
    lines: [Line; 2],
}

/// One direction between one client and the servers.
struct Line {
    /// `None`: the network's default.
    faults: Option<Faults>,
    random: Random,
    /// When the last datagram in order arrives.
    tail: Instant,
}

struct Parcel {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Source of what a server sends without saying from which of its addresses.
const SERVER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl SimNetwork {
    pub fn new(seed: u64) -> SimNetwork {
        let state = State {
            now: Instant::now(),
            seed,
            in_flight: BTreeMap::new(),
            sent: 0,
            defaults: [Faults::default(); 2],
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
        let taken = self.state.borrow_mut().servers.insert(port, VecDeque::new());
        assert!(taken.is_none(), "port {port} has a server");
        let waker = Waker::new().expect("a test process may make an eventfd");
        let counters = IoCounters::default();
        Net::Sim(Box::new(SimNet { network: self.clone(), port, waker, current: Vec::new(), counters }))
    }

    /// A client with this address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn client(&self, address: SocketAddr) -> SimSocket {
        let mut state = self.state.borrow_mut();
        let client = state.clients.len();
        let now = state.now;
        let seed = state.seed;
        // Each line has numbers of its own, so that traffic on one does not change the faults of another.
        let line = |direction: Direction| Line {
            faults: None,
            random: Random::new(seed, 2 * client as u64 + direction as u64),
            tail: now,
        };
        let lines = [line(Direction::Up), line(Direction::Down)];
        state.clients.push(Client { address, inbox: VecDeque::new(), lines });
        state.claim(address, client);
        SimSocket { network: self.clone(), client }
    }

    /// Faults of every client that has none of its own.
    pub fn set_faults(&self, direction: Direction, faults: Faults) {
        self.state.borrow_mut().defaults[direction as usize] = faults;
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

    /// Faults of this client only.
    pub fn set_faults(&self, direction: Direction, faults: Faults) {
        self.network.state.borrow_mut().clients[self.client].lines[direction as usize].faults = Some(faults);
    }
}

impl SimNet {
    pub(super) fn wait(&self) {
        self.waker.take();
    }

    pub(super) fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        loop {
            let (path, bytes) = self.network.state.borrow_mut().servers.get_mut(&self.port)?.pop_front()?;
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

    pub(super) fn counters(&self) -> IoCounters {
        self.counters
    }
}

impl State {
    fn claim(&mut self, address: SocketAddr, client: usize) {
        let taken = self.addresses.insert(address, client);
        assert!(taken.is_none(), "two clients have one address");
    }

    /// Puts a datagram onto a client's line.
    fn send(&mut self, client: usize, direction: Direction, parcel: &Parcel) {
        let line = &mut self.clients[client].lines[direction as usize];
        let faults = line.faults.unwrap_or(self.defaults[direction as usize]);
        // Every datagram draws the same count of numbers, so that one fault does not change where others strike.
        let [lost, late, twice, jitter] = std::array::from_fn(|_| line.random.fraction());
        if lost < faults.loss {
            return;
        }
        let mut at = self.now + faults.delay + faults.jitter.mul_f64(jitter);
        if late < faults.reorder {
            at += HELD_BACK;
        } else {
            at = at.max(line.tail);
            line.tail = at;
        }
        let copies = if twice < faults.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let Parcel { from, to, ref bytes } = *parcel;
            self.in_flight.insert((at, self.sent), Parcel { from, to, bytes: bytes.clone() });
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
            } else if let Some(inbox) = self.servers.get_mut(&to.port()) {
                inbox.push_back((Path { remote: from, local: Some(to.ip()) }, bytes));
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

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64, line: u64) -> Random {
        let mut random = Random(seed);
        Random(random.next() ^ line.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Even in 0 to 1, 1 excluded.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
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
    fn arrivals(seed: u64, faults: Faults) -> Vec<(Duration, u8)> {
        let network = SimNetwork::new(seed);
        let mut net = network.server(PORT);
        let client = network.client(client_address(1));
        network.set_faults(Direction::Up, faults);
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
        let ms = Duration::from_millis;
        let faults = Faults { loss: 0.1, delay: ms(300), jitter: ms(8), reorder: 0.1, duplicate: 0.1 };
        assert_eq!(arrivals(7, faults), arrivals(7, faults));
        assert_ne!(arrivals(7, faults), arrivals(8, faults));
    }

    #[test]
    fn a_perfect_network_delivers_at_once_and_in_order() {
        let serials: Vec<u8> = arrivals(1, Faults::default()).into_iter().map(|(_, serial)| serial).collect();
        assert_eq!(serials, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn loss_and_duplicates_come_about_as_often_as_asked() {
        let lost = 200 - arrivals(3, Faults { loss: 0.25, ..Faults::default() }).len();
        assert!((30..=70).contains(&lost), "{lost} of 200 lost");
        let extra = arrivals(3, Faults { duplicate: 0.25, ..Faults::default() }).len() - 200;
        assert!((30..=70).contains(&extra), "{extra} of 200 twice");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let ms = Duration::from_millis;
        let in_order = |faults| arrivals(5, faults).is_sorted_by_key(|&(_, serial)| serial);
        assert!(in_order(Faults { delay: ms(10), jitter: ms(50), ..Faults::default() }));
        assert!(!in_order(Faults { delay: ms(10), reorder: 0.1, ..Faults::default() }));
    }

    #[test]
    fn faults_of_one_client_and_direction_leave_the_others_alone() {
        let network = SimNetwork::new(1);
        let mut net = network.server(PORT);
        let (lossy, sound) = (network.client(client_address(1)), network.client(client_address(2)));
        lossy.set_faults(Direction::Up, Faults { loss: 1.0, ..Faults::default() });
        lossy.send_to(b"a", server_address());
        sound.send_to(b"b", server_address());
        assert_eq!(arrived(&mut net), b"b");
    }

    #[test]
    fn the_clock_moves_only_by_advance_to_and_never_back() {
        let network = SimNetwork::new(1);
        let mut net = network.server(PORT);
        let client = network.client(client_address(1));
        network.set_faults(Direction::Up, Faults { delay: Duration::from_secs(1), ..Faults::default() });
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
