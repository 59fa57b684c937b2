//! A server, simulated participants and the network between them, on each of the three I/O backends.
//!
//! ```text
//!  scenario --> World --> Client, Client, ...     (sans-IO)
//!                 |           | datagrams
//!                 |        Port: SimSocket | UDP socket on loopback
//!                 |           |
//!                 `-------> Plane: SimDataPlane on virtual time | DataPlane with its own thread
//! ```
//!
//! A scenario says what shall become true ([`World::until`]); nobody sleeps. On the simulated network time jumps from
//! one event to the next; on loopback the test thread waits for its sockets.

mod port;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use saal_dataplane::counters::{Counters, Dropped};
use saal_dataplane::id::{MediaKind, ParticipantId, RoomId, SlotIndex, SourceKind, Ssrc, WorkerId};
use saal_dataplane::io::IoChoice;
use saal_dataplane::io::line::{Counts, Script, Shape, Wait};
use saal_dataplane::io::sim::{Direction, SimNetwork};
use saal_dataplane::link::{Command, Event, Snapshot, Wish};
use saal_dataplane::sfu::ice::IceCredentials;
use saal_dataplane::sfu::transport::Gone;
use saal_dataplane::sim::SimDataPlane;
use saal_dataplane::{Busy, Config, DataPlane, Limits};

use crate::client::plan::{Plan, Seat};
use crate::client::slot::Slot;
use crate::client::{Client, Remote};
use crate::flow::Flow;
use crate::random::Random;
use port::{Port, Waiter};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    Sim,
    Uring,
    Mio,
}

/// Index of a client in [`World::clients`].
pub type Who = usize;

/// One-way delay of the simulated network.
const DELAY: Duration = Duration::from_millis(10);
/// What does not come about by then has failed.
const DEADLINE: Duration = Duration::from_secs(20);
const SEEDS: [u64; 2] = [1, 2];

/// Runs a scenario on virtual time with several seeds, then on both kernel backends in real time.
///
/// `SAAL_SEED=n` repeats one seed. `SAAL_WITHOUT_URING=1` is for machines that forbid io_uring.
pub fn each_backend(scenario: impl Fn(&mut World)) {
    on_sim(&scenario);
    for backend in [Backend::Uring, Backend::Mio] {
        if backend == Backend::Uring && std::env::var_os("SAAL_WITHOUT_URING").is_some() {
            continue;
        }
        let mut world = World::new(backend, SEEDS[0]);
        scenario(&mut world);
        world.check();
    }
}

/// Runs a scenario on virtual time only: it takes minutes, or needs faults of the network.
pub fn on_sim(scenario: impl Fn(&mut World)) {
    let chosen = std::env::var("SAAL_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in chosen.map_or(SEEDS.to_vec(), |seed| vec![seed]) {
        let mut world = World::new(Backend::Sim, seed);
        scenario(&mut world);
        world.check();
    }
}

/// The configuration of every test server: one worker, a port of the kernel's choice.
pub fn config(backend: Backend) -> Config {
    Config {
        cores: vec![None],
        port: if backend == Backend::Sim { 10_000 } else { 0 },
        bind: None,
        io: if backend == Backend::Uring { IoChoice::Uring } else { IoChoice::Mio },
        generation: 7,
        limits: Limits::default(),
    }
}

pub struct World {
    pub clients: Vec<Client>,
    /// Everything the server said, oldest first.
    pub events: Vec<Event>,
    pub random: Random,
    backend: Backend,
    seed: u64,
    plane: Plane,
    ports: Vec<Port>,
    server: SocketAddr,
    waiter: Waiter,
    ids: u64,
    hosts: u16,
    recordings: BTreeMap<Who, Vec<Vec<u8>>>,
    received_bytes: Vec<u64>,
    flows: Vec<Flow>,
}

enum Plane {
    Sim { network: SimNetwork, plane: Box<SimDataPlane> },
    Real(DataPlane),
}

impl World {
    pub fn new(backend: Backend, seed: u64) -> World {
        World::with_config(backend, seed, config(backend))
    }

    pub fn with_config(backend: Backend, seed: u64, config: Config) -> World {
        let (plane, server) = match backend {
            Backend::Sim => {
                let network = SimNetwork::new(seed);
                let shape = Shape { delay: DELAY, ..Shape::default() };
                network.set_script(Direction::Up, shape);
                network.set_script(Direction::Down, shape);
                let server = SocketAddr::from(([192, 0, 2, 1], config.port));
                let plane = Box::new(SimDataPlane::new(&network, config));
                (Plane::Sim { network, plane }, server)
            }
            Backend::Uring | Backend::Mio => {
                let plane = DataPlane::start(config).expect("the backend starts on this machine");
                let server = SocketAddr::from(([127, 0, 0, 1], plane.workers()[0].port));
                (Plane::Real(plane), server)
            }
        };
        World {
            clients: Vec::new(),
            events: Vec::new(),
            random: Random::new(seed),
            backend,
            seed,
            plane,
            ports: Vec::new(),
            server,
            waiter: Waiter::new(),
            ids: 0,
            hosts: 0,
            recordings: BTreeMap::new(),
            received_bytes: Vec::new(),
            flows: Vec::new(),
        }
    }

    pub fn open_room(&mut self) -> RoomId {
        self.ids += 1;
        let room = RoomId(self.ids);
        self.command(Command::OpenRoom { room });
        room
    }

    /// A participant whom signalling has let in: its transport, its m-lines, its sources switched on.
    pub fn join(&mut self, room: RoomId, plan: Plan) -> Who {
        let who = self.join_silently(room, plan);
        let Seat { participant, .. } = self.clients[who].seat;
        for source in SourceKind::ALL {
            if self.clients[who].sources.iter().any(|own| own.plan.kind == source) {
                self.command(Command::Switch { room, participant, source, on: true });
            }
        }
        who
    }

    /// As [`World::join`], but every source is off.
    pub fn join_silently(&mut self, room: RoomId, plan: Plan) -> Who {
        let (who, media) = self.invite(room, plan);
        let client = &self.clients[who];
        let (participant, transport) = (client.seat.participant, client.transport_spec());
        self.command(Command::Join { room, participant, transport });
        self.command(Command::Negotiate { room, participant, media });
        who
    }

    /// Makes a client whom the server does not know yet.
    pub fn invite(&mut self, room: RoomId, plan: Plan) -> (Who, saal_dataplane::link::MediaSpec) {
        self.ids += 1;
        let seat = Seat { room, participant: ParticipantId(self.ids) };
        let remote = Remote { ice: self.ice_credentials(), fingerprint: self.fingerprint() };
        let random = Random::new(self.random.number());
        let now = self.now();
        let plane = &self.plane;
        let client = Client::new(seat, plan, remote, &mut || plane.ssrc(), random, now);
        let media = client.media_spec();
        self.clients.push(client);
        let port = self.open_port();
        self.ports.push(port);
        self.received_bytes.push(0);
        (self.clients.len() - 1, media)
    }

    pub fn connect(&mut self, room: RoomId, plan: Plan) -> Who {
        let who = self.join(room, plan);
        self.until("the participant is connected", |world| world.is_connected(who));
        who
    }

    /// Several participants of one plan, connected.
    pub fn connect_all(&mut self, room: RoomId, plans: impl IntoIterator<Item = Plan>) -> Vec<Who> {
        let all: Vec<Who> = plans.into_iter().map(|plan| self.join(room, plan)).collect();
        self.until("all participants are connected", |world| all.iter().all(|who| world.is_connected(*who)));
        all
    }

    /// The server is busy: the test asks for more than it should.
    pub fn command(&mut self, command: Command) {
        self.try_command(command).expect("the command queue has room");
    }

    pub fn try_command(&mut self, command: Command) -> Result<(), Busy> {
        match &self.plane {
            Plane::Sim { plane, .. } => plane.send(command),
            Plane::Real(plane) => plane.send(WorkerId(0), command),
        }
    }

    /// Fills the viewer's video slots from the first on.
    pub fn view(&mut self, viewer: Who, wishes: &[(Who, SourceKind, u16)]) {
        let Seat { room, participant } = self.clients[viewer].seat;
        let wishes = wishes.iter().enumerate().map(|(index, (from, source, height))| Wish {
            slot: SlotIndex(self.video_slot(viewer, index) as u16),
            from: self.clients[*from].seat.participant,
            source: *source,
            height: *height,
        });
        let wishes = wishes.collect();
        self.command(Command::View { room, participant, wishes });
    }

    pub fn switch(&mut self, who: Who, source: SourceKind, on: bool) {
        let Seat { room, participant } = self.clients[who].seat;
        self.command(Command::Switch { room, participant, source, on });
    }

    pub fn withhold(&mut self, who: Who, source: SourceKind, withheld: bool) {
        let Seat { room, participant } = self.clients[who].seat;
        self.command(Command::Withhold { room, participant, source, withheld });
    }

    /// Objects to being detected as a speaker, or no longer does.
    pub fn object(&mut self, who: Who, objects: bool) {
        let Seat { room, participant } = self.clients[who].seat;
        self.command(Command::Object { room, participant, objects });
    }

    pub fn leave(&mut self, who: Who) {
        let Seat { room, participant } = self.clients[who].seat;
        self.command(Command::Leave { room, participant });
        self.clients[who].vanished = true;
    }

    /// New credentials on both sides (RFC 8445 §9).
    pub fn restart_ice(&mut self, who: Who) {
        let local = self.ice_credentials();
        let now = self.now();
        self.clients[who].restart_ice(now, local.clone());
        let Seat { room, participant } = self.clients[who].seat;
        self.command(Command::RestartIce { room, participant, local });
    }

    /// The client's NAT gives it another address.
    pub fn rebind(&mut self, who: Who) {
        self.ports[who] = self.open_port();
    }

    /// The address of `before` is `after`'s from now on; `before` gets none.
    pub fn hand_over_address(&mut self, before: Who, after: Who) {
        let spare = self.open_port();
        self.ports[after] = std::mem::replace(&mut self.ports[before], spare);
    }

    /// Somebody on the network whom nobody invited.
    pub fn stranger(&mut self) -> Stranger {
        Stranger { port: self.open_port() }
    }

    pub fn send_as(&mut self, stranger: &Stranger, datagram: &[u8]) {
        stranger.port.send(datagram, self.server);
    }

    /// What the server sent to a stranger up to this moment.
    pub fn received_by(&mut self, stranger: &mut Stranger) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        stranger.port.receive(|datagram| received.push(datagram.to_vec()));
        received
    }

    /// From now on keeps what this client sends.
    pub fn record(&mut self, who: Who) {
        self.recordings.insert(who, Vec::new());
    }

    /// What was kept so far.
    pub fn recorded(&self, who: Who) -> Vec<Vec<u8>> {
        self.recordings[&who].clone()
    }

    /// What one client's line does, beside the delay that all have; on loopback there is nothing of the kind.
    pub fn set_shape(&mut self, who: Who, direction: Direction, shape: Shape) {
        if let Port::Sim(socket) = &self.ports[who] {
            socket.set_script(direction, Shape { delay: DELAY + shape.delay, ..shape });
        }
    }

    /// What one client's line does from now on, its delay included.
    ///
    /// # Panics
    /// When that is no script.
    pub fn set_script(&mut self, who: Who, direction: Direction, script: &str) {
        let script: Script = script.parse().unwrap_or_else(|error| panic!("{error}"));
        if let Port::Sim(socket) = &self.ports[who] {
            socket.set_script(direction, script);
        }
    }

    /// From now on the server's core takes so long for each datagram that comes or goes, and no more than `inbox_max` wait
    /// for it. Simulated network only.
    pub fn set_cost(&mut self, cost: Duration, inbox_max: usize) {
        if let Plane::Sim { network, .. } = &self.plane {
            network.set_cost(self.server.port(), cost, inbox_max);
        }
    }

    /// How long each datagram waited before the bottleneck of a client's line, since the last call.
    pub fn take_waits(&mut self, who: Who, direction: Direction) -> Vec<Wait> {
        match &self.ports[who] {
            Port::Sim(socket) => socket.take_waits(direction),
            Port::Loopback(_) => Vec::new(),
        }
    }

    /// Puts what the server sends to all these, and a download that takes what it can get, through one bottleneck. Simulated
    /// network only.
    ///
    /// # Panics
    /// When that is no script, or over real sockets.
    pub fn share(&mut self, who: &[Who], script: &str) -> usize {
        let script: Script = script.parse().unwrap_or_else(|error| panic!("{error}"));
        let (Port::Sim(sender), Port::Sim(receiver)) = (self.open_port(), self.open_port()) else {
            panic!("the kernel's loopback has no bottleneck");
        };
        let flow = Flow::new(sender, receiver);
        let mut ends = vec![(flow.sender(), Direction::Up)];
        for who in who {
            if let Port::Sim(socket) = &self.ports[*who] {
                ends.push((socket, Direction::Down));
            }
        }
        if let Plane::Sim { network, .. } = &self.plane {
            network.share(&ends, script);
        }
        self.flows.push(flow);
        self.flows.len() - 1
    }

    /// What a download has got so far.
    pub fn flow_bytes(&self, flow: usize) -> u64 {
        self.flows[flow].received_bytes
    }

    /// What has reached a client so far.
    pub fn received_bytes(&self, who: Who) -> u64 {
        self.received_bytes[who]
    }

    pub fn line_counts(&self, who: Who, direction: Direction) -> Counts {
        match &self.ports[who] {
            Port::Sim(socket) => socket.counts(direction),
            Port::Loopback(_) => Counts::default(),
        }
    }

    /// Goes on until `condition` holds.
    ///
    /// # Panics
    /// When it does not hold within twenty seconds.
    pub fn until(&mut self, what: &str, condition: impl FnMut(&mut World) -> bool) {
        self.until_within(DEADLINE, what, condition);
    }

    pub fn until_within(
        &mut self,
        deadline: Duration,
        what: &str,
        mut condition: impl FnMut(&mut World) -> bool,
    ) {
        let start = self.now();
        while !condition(self) {
            if self.now() >= start + deadline {
                panic!("{deadline:?} passed, but it is not so that {what}\n{}", self.describe());
            }
            self.step(start + deadline);
        }
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            self.step(end);
        }
    }

    /// The server's clock.
    pub fn now(&self) -> Instant {
        match &self.plane {
            Plane::Sim { network, .. } => network.now(),
            Plane::Real(_) => Instant::now(),
        }
    }

    pub fn counters(&mut self) -> Counters {
        self.snapshot().counters
    }

    pub fn dropped(&mut self, reason: Dropped) -> u64 {
        self.counters().dropped(reason)
    }

    pub fn snapshot(&mut self) -> Snapshot {
        let wanted = self.random.number();
        self.command(Command::Snapshot { request: wanted });
        self.until("the snapshot has come", |world| world.snapshot_of(wanted).is_some());
        self.snapshot_of(wanted).cloned().expect("it has come")
    }

    pub fn is_connected(&self, who: Who) -> bool {
        let seat = self.clients[who].seat;
        self.clients[who].is_connected()
            && self.events.iter().any(|event| {
                matches!(event, Event::Connected { participant, .. } if *participant == seat.participant)
            })
    }

    pub fn gone(&self, who: Who) -> Option<Gone> {
        let seat = self.clients[who].seat;
        self.events.iter().find_map(|event| match event {
            Event::Disconnected { participant, reason, .. } if *participant == seat.participant => {
                Some(*reason)
            }
            _ => None,
        })
    }

    /// What the server last said that a slot shows.
    pub fn announced(&self, who: Who, slot: usize) -> Option<(ParticipantId, SourceKind)> {
        let seat = self.clients[who].seat;
        self.events.iter().rev().find_map(|event| match event {
            Event::SlotShows { participant, slot: SlotIndex(index), source, .. }
                if *participant == seat.participant && usize::from(*index) == slot =>
            {
                Some(*source)
            }
            _ => None,
        })?
    }

    /// The last announced speakers of a room, the most recent first.
    pub fn speakers(&self, room: RoomId) -> Vec<ParticipantId> {
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Speakers { room: of, speakers } if *of == room => Some(speakers.clone()),
            _ => None,
        });
        last.unwrap_or_default()
    }

    pub fn id(&self, who: Who) -> ParticipantId {
        self.clients[who].seat.participant
    }

    /// Index among all slots of the participant's n-th video slot.
    pub fn video_slot(&self, who: Who, n: usize) -> usize {
        let slots = self.clients[who].slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.spec.kind == MediaKind::Video).nth(n).expect("the plan has the slot").0
    }

    pub fn video(&self, who: Who, n: usize) -> &Slot {
        &self.clients[who].slots[self.video_slot(who, n)]
    }

    pub fn video_mut(&mut self, who: Who, n: usize) -> &mut Slot {
        let index = self.video_slot(who, n);
        &mut self.clients[who].slots[index]
    }

    /// Packets of `from`'s source that `who` received in any slot.
    pub fn received(&self, who: Who, from: Who, kind: SourceKind) -> usize {
        let publisher = self.id(from);
        self.clients[who].slots.iter().map(|slot| slot.count(publisher, kind)).sum()
    }

    pub fn forget_received(&mut self) {
        self.clients.iter_mut().flat_map(|client| &mut client.slots).for_each(Slot::clear);
    }

    /// No client has seen what no server may send.
    pub fn check(&self) {
        for (who, client) in self.clients.iter().enumerate() {
            assert!(client.violations.is_empty(), "client {who} saw: {:#?}", client.violations);
        }
    }

    /// No slot of this client has a gap, a duplicate or a broken picture.
    pub fn check_slots(&self, who: Who) {
        for (index, slot) in self.clients[who].slots.iter().enumerate() {
            if let Err(fault) = slot.check() {
                panic!("slot {index} of client {who}: {fault}");
            }
        }
    }

    pub fn backend(&self) -> Backend {
        self.backend
    }

    pub fn fingerprint(&self) -> [u8; 32] {
        match &self.plane {
            Plane::Sim { plane, .. } => plane.fingerprint(),
            Plane::Real(plane) => plane.fingerprint(),
        }
    }

    pub fn ice_credentials(&self) -> IceCredentials {
        match &self.plane {
            Plane::Sim { plane, .. } => plane.ice_credentials(),
            Plane::Real(plane) => plane.ice_credentials(WorkerId(0)),
        }
    }

    pub fn ssrc(&self) -> Ssrc {
        self.plane.ssrc()
    }

    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// A datagram from this client's address that its own stack did not write.
    pub fn send_raw(&mut self, who: Who, datagram: &[u8]) {
        self.ports[who].send(datagram, self.server);
    }

    /// One move of everything; at the latest at `end`.
    fn step(&mut self, end: Instant) {
        let moved = self.exchange();
        match &mut self.plane {
            Plane::Sim { network, plane } => {
                let now = network.now();
                let timers = self.clients.iter().filter_map(Client::next_timeout);
                let timers = timers.chain(self.flows.iter().filter_map(Flow::next_timeout));
                let next = timers.chain(network.next_event()).chain(plane.next_timeout()).min();
                let next = next.unwrap_or(end).min(end);
                // A timer that is not later than now but moved nothing would stop the world.
                let next = if next > now || moved { next } else { now + Duration::from_millis(1) };
                network.advance_to(next);
            }
            Plane::Real(_) if moved => {}
            Plane::Real(_) => {
                const EVENT_LATENCY: Duration = Duration::from_millis(2);
                let now = Instant::now();
                let next = self.clients.iter().filter_map(Client::next_timeout).min().unwrap_or(end).min(end);
                self.waiter.wait(next.saturating_duration_since(now).min(EVENT_LATENCY));
            }
        }
    }

    /// Moves datagrams, timers and events at this moment. False: nothing happened.
    fn exchange(&mut self) -> bool {
        let now = self.now();
        let mut moved = false;
        for (who, (client, port)) in self.clients.iter_mut().zip(&mut self.ports).enumerate() {
            let received_bytes = &mut self.received_bytes[who];
            port.receive(|datagram| {
                moved = true;
                *received_bytes += datagram.len() as u64;
                client.on_datagram(now, datagram);
            });
            if client.next_timeout().is_some_and(|at| at <= now) {
                client.on_timeout(now);
            }
            for datagram in client.take_datagrams() {
                moved = true;
                port.send(&datagram, self.server);
                if let Some(recording) = self.recordings.get_mut(&who) {
                    recording.push(datagram);
                }
            }
        }
        for flow in &mut self.flows {
            moved |= flow.turn(now);
        }
        let before = self.events.len();
        match &mut self.plane {
            Plane::Sim { plane, .. } => {
                plane.turn();
                self.events.extend(std::iter::from_fn(|| plane.poll_event()));
            }
            Plane::Real(plane) => {
                let events = plane.events();
                self.events.extend(std::iter::from_fn(|| events.try_recv().ok()).map(|(_, event)| *event));
            }
        }
        moved || self.events.len() > before
    }

    /// What a reader of a failed test asks first.
    fn describe(&self) -> String {
        let mut text = String::new();
        if let Plane::Sim { plane, .. } = &self.plane {
            text += &format!("{:?}\n", plane.counters());
        }
        for (who, client) in self.clients.iter().enumerate() {
            let slots: Vec<_> = client.slots.iter().map(|slot| (slot.shows(), slot.arrivals.len())).collect();
            let sent: Vec<_> =
                client.sources.iter().flat_map(|source| &source.layers).map(|layer| layer.packets).collect();
            text += &format!(
                "client {who}: {:?}, gone {:?}, sent {sent:?}, slots {slots:?}, saw {:?}\n",
                client.phase(),
                self.gone(who),
                client.violations
            );
        }
        text
    }

    fn snapshot_of(&self, wanted: u64) -> Option<&Snapshot> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Snapshot { request, snapshot } if *request == wanted => Some(&**snapshot),
            _ => None,
        })
    }

    fn open_port(&mut self) -> Port {
        match &self.plane {
            Plane::Sim { network, .. } => {
                self.hosts += 1;
                Port::Sim(network.client(SocketAddr::from(([198, 51, 100, 1], 40_000 + self.hosts))))
            }
            Plane::Real(_) => self.waiter.open(),
        }
    }
}

impl Plane {
    fn ssrc(&self) -> Ssrc {
        match self {
            Plane::Sim { plane, .. } => plane.ssrc(),
            Plane::Real(plane) => plane.ssrc(),
        }
    }
}

/// See [`World::stranger`].
#[derive(Debug)]
pub struct Stranger {
    port: Port,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("backend", &self.backend)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on {:?}; SAAL_SEED={} repeats it", self.backend, self.seed);
        }
    }
}
