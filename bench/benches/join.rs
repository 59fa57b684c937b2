//! What it costs a worker that one more participant comes and goes: its commands, not its handshake, which is worked on
//! elsewhere. Everybody in the room has a microphone and a camera, three audio slots and four video slots.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use saal_dataplane::id::{ParticipantId, RoomId, SlotIndex, SourceKind};
use saal_dataplane::io::IoChoice;
use saal_dataplane::io::sim::SimNetwork;
use saal_dataplane::link::{Command, MediaSpec, Wish};
use saal_dataplane::sfu::transport::TransportSpec;
use saal_dataplane::sim::SimDataPlane;
use saal_dataplane::{Config, Limits};
use saal_tools::client::plan::{Plan, Seat};
use saal_tools::client::{Client, Remote};
use saal_tools::random::Random;

const PEOPLE: [u64; 3] = [10, 100, 499];
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 10_000);
const ROOM: RoomId = RoomId(1);

struct Crowd {
    network: SimNetwork,
    plane: SimDataPlane,
    newcomer: (TransportSpec, MediaSpec),
}

impl Crowd {
    fn gather(people: u64) -> Crowd {
        let network = SimNetwork::new(1);
        let config = Config {
            cores: vec![None],
            port: SERVER.port(),
            bind: None,
            io: IoChoice::Auto,
            generation: 1,
            // Nobody here ever shakes hands.
            limits: Limits { setup: Duration::from_secs(1 << 30), ..Limits::default() },
        };
        let plane = SimDataPlane::new(&network, config);
        let newcomer = specs(&network, &plane, 0);
        let mut crowd = Crowd { network, plane, newcomer };
        crowd.command(Command::OpenRoom { room: ROOM });
        for number in 1..=people {
            let (transport, media) = specs(&crowd.network, &crowd.plane, number);
            crowd.enter(number, transport, media);
        }
        crowd
    }

    fn command(&mut self, command: Command) {
        self.plane.send(command).expect("every command is followed by a turn");
        self.plane.turn();
        while self.plane.poll_event().is_some() {}
    }

    /// What the control plane says for somebody who comes with everything on and looks at four others.
    fn enter(&mut self, number: u64, transport: TransportSpec, media: MediaSpec) {
        let participant = ParticipantId(number);
        self.command(Command::Join { room: ROOM, participant, transport });
        self.command(Command::Negotiate { room: ROOM, participant, media });
        for source in [SourceKind::Microphone, SourceKind::Camera] {
            self.command(Command::Switch { room: ROOM, participant, source, on: true });
        }
        let wish = |nth: u16| Wish {
            slot: SlotIndex(3 + nth),
            from: ParticipantId(1 + (number + u64::from(nth)) % 10),
            source: SourceKind::Camera,
            height: 360,
        };
        self.command(Command::View { room: ROOM, participant, wishes: (0..4).map(wish).collect() });
    }

    /// The time that it takes somebody to come, and to go.
    fn visit(&mut self) -> (Duration, Duration) {
        let (transport, media) = self.newcomer.clone();
        let start = Instant::now();
        self.enter(0, transport, media);
        let entered = start.elapsed();
        let start = Instant::now();
        self.command(Command::Leave { room: ROOM, participant: ParticipantId(0) });
        (entered, start.elapsed())
    }
}

fn specs(network: &SimNetwork, plane: &SimDataPlane, number: u64) -> (TransportSpec, MediaSpec) {
    let seat = Seat { room: ROOM, participant: ParticipantId(number) };
    let remote = Remote { ice: plane.ice_credentials(), fingerprint: plane.fingerprint() };
    let random = Random::new(number);
    let client = Client::new(seat, Plan::browser(), remote, &mut || plane.ssrc(), random, network.now());
    (client.transport_spec(), client.media_spec())
}

fn join(c: &mut Criterion) {
    let mut group = c.benchmark_group("join");
    for people in PEOPLE {
        let mut crowd = Crowd::gather(people);
        group.bench_function(BenchmarkId::new("enter", people), |b| {
            b.iter_custom(|visits| (0..visits).map(|_| crowd.visit().0).sum());
        });
        group.bench_function(BenchmarkId::new("leave", people), |b| {
            b.iter_custom(|visits| (0..visits).map(|_| crowd.visit().1).sum());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .without_plots();
    targets = join
}
criterion_main!(benches);
