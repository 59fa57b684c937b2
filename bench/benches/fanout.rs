//! A frame's way through a room: what the server does for it, beside the sealing alone.
//!
//! `turn` is the real worker on the simulated network. In the figure: taking each datagram, finding its participant,
//! opening, codec, history, the choice for each slot, numbers and extensions, sealing into the trains, handing them out,
//! and the timers and reports that fall due. Not in it: the kernel, the publisher, and the receivers, whose sockets are
//! closed once they are connected, so that a train costs the network one look-up.
//!
//! `seal` is header, cipher and place for the same packets, each receiver's in one go: the part of the turn that no
//! forwarding can do without. The difference between the two is the server's logic.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saal_dataplane::egress::{Egress, Train};
use saal_dataplane::id::{ExtSeq, ParticipantId, Path, Pt, RoomId, RtpTime, SlotIndex, SourceKind, Ssrc};
use saal_dataplane::io::IoChoice;
use saal_dataplane::io::sim::{SimNetwork, SimSocket};
use saal_dataplane::link::{Command, Wish};
use saal_dataplane::sfu::srtp::{Outbound, Profile};
use saal_dataplane::sim::SimDataPlane;
use saal_dataplane::wire::rtp::{Extensions, Outgoing};
use saal_dataplane::{Config, Limits};
use saal_tools::client::plan::{LayerPlan, Plan, Seat, SourcePlan};
use saal_tools::client::{Client, Remote};
use saal_tools::random::Random;

const RECEIVERS: [u16; 4] = [5, 25, 100, 200];
const FRAMES: [u8; 3] = [1, 6, 10];
const SIZES: [usize; 2] = [100, 1100];
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 10_000);
const ROOM: RoomId = RoomId(1);
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// How long the server waits for them to tell something.
const SILENT: Duration = Duration::from_secs(3);
/// Whatever the worker holds back to make trains longer has left by then.
const HELD: Duration = Duration::from_millis(5);
/// What the simulated camera's last packet of a frame is shorter by.
const TAIL: usize = 37;

/// A room with one camera whose viewers are connected and silent.
struct Lecture {
    network: SimNetwork,
    plane: SimDataPlane,
    camera: Client,
    socket: SimSocket,
    next_frame: Instant,
}

impl Lecture {
    fn open(receivers: u16, frame: u8, size: usize) -> Lecture {
        let network = SimNetwork::new(1);
        let config = Config {
            cores: vec![None],
            port: SERVER.port(),
            bind: None,
            io: IoChoice::Auto,
            generation: 1,
            // Silent viewers stay.
            limits: Limits { consent: Duration::from_secs(1 << 30), ..Limits::default() },
        };
        let mut plane = SimDataPlane::new(&network, config);
        command(&plane, Command::OpenRoom { room: ROOM });

        let part_bytes = if frame == 1 { size + TAIL } else { size };
        let layer = LayerPlan { rid: None, height: 720, parts: frame, part_bytes };
        let source = SourcePlan {
            kind: SourceKind::Camera,
            interval: FRAME_INTERVAL,
            layers: vec![layer],
            keyframe_factor: 1,
            signal_ssrcs: true,
        };
        let plan = Plan::viewer().without_nacks();
        let (mut camera, socket) = join(&network, &mut plane, 0, plan.clone().sending(vec![source]));
        for receiver in 1..=receivers {
            let (viewer, _) = join(&network, &mut plane, receiver, plan.clone());
            let wish = Wish {
                slot: SlotIndex(plan.audio_slots),
                from: camera.seat.participant,
                source: SourceKind::Camera,
                height: 720,
            };
            let Seat { room, participant } = viewer.seat;
            command(&plane, Command::View { room, participant, wishes: vec![wish] });
            plane.turn();
        }
        camera.source_mut(SourceKind::Camera).on = true;
        let next_frame = network.now();
        let mut lecture = Lecture { network, plane, camera, socket, next_frame };
        // Viewers who tell nothing of what arrives get everything after a while; keyframes are asked for and reach everybody.
        lecture.frames(SILENT.div_duration_f64(FRAME_INTERVAL) as u64);
        while lecture.forwarded(1) != u64::from(receivers) * u64::from(frame) {}
        lecture
    }

    /// The time that the worker takes for so many frames.
    fn frames(&mut self, count: u64) -> Duration {
        let mut spent = Duration::ZERO;
        for _ in 0..count {
            self.next_frame += FRAME_INTERVAL;
            self.network.advance_to(self.next_frame);
            while let Some((datagram, _)) = self.socket.recv() {
                self.camera.on_datagram(self.next_frame, &datagram);
            }
            self.camera.on_timeout(self.next_frame);
            for datagram in self.camera.take_datagrams() {
                self.socket.send_to(&datagram, SERVER);
            }
            let start = Instant::now();
            self.plane.turn();
            spent += start.elapsed();
            self.network.advance_to(self.next_frame + HELD);
            let start = Instant::now();
            self.plane.turn();
            spent += start.elapsed();
            while self.plane.poll_event().is_some() {}
        }
        spent
    }

    /// Packets that left for viewers in so many frames.
    fn forwarded(&mut self, frames: u64) -> u64 {
        let before = self.plane.counters().rtp_forwarded;
        self.frames(frames);
        self.plane.counters().rtp_forwarded - before
    }
}

fn command(plane: &SimDataPlane, command: Command) {
    plane.send(command).expect("every command is followed by a turn");
}

/// Connects a participant, on virtual time.
fn join(network: &SimNetwork, plane: &mut SimDataPlane, number: u16, plan: Plan) -> (Client, SimSocket) {
    let seat = Seat { room: ROOM, participant: ParticipantId(1 + u64::from(number)) };
    let remote = Remote { ice: plane.ice_credentials(), fingerprint: plane.fingerprint() };
    let random = Random::new(u64::from(number));
    let mut client = Client::new(seat, plan, remote, &mut || plane.ssrc(), random, network.now());
    let socket = network.client(SocketAddr::from(([198, 51, 100, 1], 20_000 + number)));
    let Seat { room, participant } = seat;
    command(plane, Command::Join { room, participant, transport: client.transport_spec() });
    command(plane, Command::Negotiate { room, participant, media: client.media_spec() });
    for source in client.sources.iter().map(|source| source.plan.kind) {
        command(plane, Command::Switch { room, participant, source, on: true });
    }
    for source in &mut client.sources {
        source.on = false;
    }
    while !client.is_connected() {
        network.advance_to(network.now() + Duration::from_millis(1));
        client.on_timeout(network.now());
        client.take_datagrams().iter().for_each(|datagram| socket.send_to(datagram, SERVER));
        plane.turn();
        while let Some((datagram, _)) = socket.recv() {
            client.on_datagram(network.now(), &datagram);
        }
        client.take_datagrams().iter().for_each(|datagram| socket.send_to(datagram, SERVER));
        plane.turn();
    }
    assert_eq!(
        client.srtp_profile().map(|profile| format!("{profile:?}")),
        Some("AEAD_AES_256_GCM".to_owned()),
        "`seal` has the cipher of `turn`"
    );
    (client, socket)
}

fn turn(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, receivers: u16, frame: u8, size: usize) {
    let mut lecture = Lecture::open(receivers, frame, size);
    let delivered = u64::from(receivers) * u64::from(frame);
    group.bench_function(BenchmarkId::new("turn", name), |b| {
        b.iter_custom(|frames| {
            let before = lecture.plane.counters().rtp_forwarded;
            let spent = lecture.frames(frames);
            let forwarded = lecture.plane.counters().rtp_forwarded - before;
            assert_eq!(forwarded, frames * delivered, "every packet goes to every viewer");
            spent
        });
    });
}

fn seal(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, receivers: u16, frame: u8, size: usize) {
    let profile = Profile::AeadAes256Gcm;
    let payload = vec![0x5a_u8; size];
    let mut egress = Egress::new(2048, 32 * 1024, 44);
    let mut legs: Vec<(Train, Path, Outbound)> = (0..receivers)
        .map(|number| {
            let remote = SocketAddr::from(([198, 51, 100, 1], 20_000 + number));
            let srtp = Outbound::new(profile, &[7; 32], &[3; 12]).expect("lengths fit");
            (Train::default(), Path { remote, local: None }, srtp)
        })
        .collect();
    let mut first = 0;
    group.bench_function(BenchmarkId::new("seal", name), |b| {
        b.iter(|| {
            let next = first + u64::from(frame);
            for (train, path, srtp) in &mut legs {
                for seq in (first..next).map(ExtSeq) {
                    // As long as what the server sends: mid, send time and the transport-wide number.
                    let mut extensions = Extensions::new();
                    extensions.push(4, b"7");
                    extensions.push(2, &[0; 3]);
                    extensions.push(3, &[0; 2]);
                    let out = Outgoing {
                        marker: false,
                        padding: false,
                        pt: Pt(96),
                        seq: seq.seq(),
                        timestamp: RtpTime(1),
                        ssrc: Ssrc(9),
                    };
                    let header_len = out.len(&extensions);
                    let len = header_len + payload.len() + profile.rtp_overhead();
                    let bytes = egress.reserve(train, path, len).expect("there are blocks for a frame");
                    out.write(&extensions, bytes);
                    srtp.seal_rtp(seq, Ssrc(9), header_len, black_box(&payload), bytes).expect("seals");
                    egress.commit(train);
                }
            }
            first = next;
            while let Some(departure) = egress.take_ready() {
                black_box(egress.bytes(&departure));
                egress.release(departure);
            }
        });
    });
}

fn fanout(c: &mut Criterion) {
    let mut group = c.benchmark_group("fanout");
    for receivers in RECEIVERS {
        for frame in FRAMES {
            for size in SIZES {
                group.throughput(Throughput::Elements(u64::from(receivers) * u64::from(frame)));
                let name = format!("{receivers}x{frame}x{size}B");
                turn(&mut group, &name, receivers, frame, size);
                seal(&mut group, &name, receivers, frame, size);
            }
        }
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
    targets = fanout
}
criterion_main!(benches);
