//! What every I/O backend promises, by the same functions on io_uring, epoll and (where it makes sense) the simulation.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use saal_dataplane::egress::{Egress, Train};
use saal_dataplane::id::Path;
#[cfg(feature = "sim")]
use saal_dataplane::io::sim::{SimNetwork, SimSocket};
use saal_dataplane::io::{DATAGRAM_BYTES_MAX, IoChoice, Net, SocketOptions};
use saal_dataplane::remains::{Secret, search};

/// Makes each function a test on the backend.
macro_rules! on {
    ($backend:ident: $($test:ident)*) => {
        mod $backend {
            $(#[test]
            fn $test() {
                let mut world = super::World::$backend();
                super::$test(&mut world);
            })*
        }
    };
}

on! { uring:
    datagrams_arrive_with_path_and_bytes
    a_reply_leaves_from_the_address_the_datagram_came_to
    a_train_arrives_as_its_packets_in_order
    two_thousand_datagrams_arrive
    a_datagram_that_is_too_large_is_dropped_and_counted
    every_receiver_of_a_turn_gets_its_packets
    uncommitted_bytes_are_never_sent
    a_datagram_may_be_changed_in_place
    a_failed_send_does_not_touch_the_others
    a_receiver_that_is_gone_ends_no_receive
    a_wake_up_ends_the_wait
    no_wake_up_is_lost
    the_timeout_is_honoured
    a_timeout_below_a_millisecond_is_not_rounded_up
    a_rest_lasts_whatever_arrives_and_then_everything_is_there
    no_wake_up_is_lost_in_a_rest
    a_dropped_net_frees_its_port
    a_socket_of_ipv4_alone_keeps_the_promises
    a_wipe_overwrites_what_was_taken_and_nothing_that_waits
    the_granted_buffers_are_known
}

on! { mio:
    datagrams_arrive_with_path_and_bytes
    a_reply_leaves_from_the_address_the_datagram_came_to
    a_train_arrives_as_its_packets_in_order
    two_thousand_datagrams_arrive
    a_datagram_that_is_too_large_is_dropped_and_counted
    every_receiver_of_a_turn_gets_its_packets
    uncommitted_bytes_are_never_sent
    a_datagram_may_be_changed_in_place
    a_failed_send_does_not_touch_the_others
    a_receiver_that_is_gone_ends_no_receive
    a_wake_up_ends_the_wait
    no_wake_up_is_lost
    the_timeout_is_honoured
    a_timeout_below_a_millisecond_is_not_rounded_up
    a_rest_lasts_whatever_arrives_and_then_everything_is_there
    no_wake_up_is_lost_in_a_rest
    a_dropped_net_frees_its_port
    a_socket_of_ipv4_alone_keeps_the_promises
    a_wipe_overwrites_what_was_taken_and_nothing_that_waits
    the_granted_buffers_are_known
}

on! { sendto:
    datagrams_arrive_with_path_and_bytes
    a_reply_leaves_from_the_address_the_datagram_came_to
    a_train_arrives_packet_by_packet
    two_thousand_datagrams_arrive
    a_datagram_that_is_too_large_is_dropped_and_counted
    every_receiver_of_a_turn_gets_its_packets_one_by_one
    uncommitted_bytes_are_never_sent
    a_datagram_may_be_changed_in_place
    a_failed_send_does_not_touch_the_others
    a_receiver_that_is_gone_ends_no_receive
    a_wake_up_ends_the_wait
    no_wake_up_is_lost
    the_timeout_is_honoured
    a_timeout_below_a_millisecond_is_not_rounded_up
    a_rest_lasts_whatever_arrives_and_then_everything_is_there
    no_wake_up_is_lost_in_a_rest
    a_dropped_net_frees_its_port
    a_socket_of_ipv4_alone_keeps_the_promises
    a_wipe_overwrites_what_was_taken_and_nothing_that_waits
    the_granted_buffers_are_known
}

// Sending is all that differs from the same backend with trains.
on! { mio_without_trains:
    a_reply_leaves_from_the_address_the_datagram_came_to
    a_train_arrives_packet_by_packet
    every_receiver_of_a_turn_gets_its_packets_one_by_one
    uncommitted_bytes_are_never_sent
    a_failed_send_does_not_touch_the_others
}

on! { uring_without_trains:
    a_reply_leaves_from_the_address_the_datagram_came_to
    a_train_arrives_packet_by_packet
    every_receiver_of_a_turn_gets_its_packets_one_by_one
    uncommitted_bytes_are_never_sent
    a_failed_send_does_not_touch_the_others
}

// The simulation has no threads to wake, no time to wait for and no kernel to refuse a send.
#[cfg(feature = "sim")]
on! { sim:
    datagrams_arrive_with_path_and_bytes
    a_reply_leaves_from_the_address_the_datagram_came_to
    a_train_arrives_as_its_packets_in_order
    two_thousand_datagrams_arrive
    a_datagram_that_is_too_large_is_dropped_and_counted
    every_receiver_of_a_turn_gets_its_packets
    uncommitted_bytes_are_never_sent
    a_datagram_may_be_changed_in_place
}

/// A server's socket and what it sends from.
struct World {
    net: Net,
    egress: Egress,
    #[cfg(feature = "sim")]
    network: Option<SimNetwork>,
}

/// A client.
enum Peer {
    Udp(UdpSocket),
    #[cfg(feature = "sim")]
    Sim(SimSocket),
}

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

const BLOCKS: usize = 512;

impl World {
    fn uring() -> World {
        let opened = Net::open(IoChoice::Uring, &World::options(0));
        let (net, _) = opened.expect("this test needs a machine that allows io_uring");
        World::of(net)
    }

    fn mio() -> World {
        let (net, _) = Net::open(IoChoice::Mio, &World::options(0)).unwrap();
        World::of(net)
    }

    #[cfg(feature = "sim")]
    fn sim() -> World {
        let network = SimNetwork::new(1);
        let mut world = World::of(network.server(10_000));
        world.network = Some(network);
        world
    }

    fn sendto() -> World {
        let (net, _) = Net::open(IoChoice::Sendto, &World::options(0)).unwrap();
        World::of(net)
    }

    fn uring_without_trains() -> World {
        World::without_trains(IoChoice::Uring)
    }

    fn mio_without_trains() -> World {
        World::without_trains(IoChoice::Mio)
    }

    fn without_trains(choice: IoChoice) -> World {
        let options = SocketOptions { trains_off: true, ..World::options(0) };
        let (net, _) = Net::open(choice, &options).expect("this test needs a machine that allows io_uring");
        World::of(net)
    }

    fn options(port: u16) -> SocketOptions {
        SocketOptions {
            port,
            receive_buffer_bytes: 128 << 10,
            send_buffer_bytes: 128 << 10,
            ..SocketOptions::default()
        }
    }

    fn of(net: Net) -> World {
        let egress = Egress::new(BLOCKS, 32 * 1024, 44);
        World {
            net,
            egress,
            #[cfg(feature = "sim")]
            network: None,
        }
    }

    fn choice(&self) -> IoChoice {
        match self.net.backend() {
            "uring" => IoChoice::Uring,
            "mio" => IoChoice::Mio,
            "sendto" => IoChoice::Sendto,
            other => panic!("{other} opens no socket"),
        }
    }

    /// The port matters to the simulation only; the kernel chooses its own.
    fn peer(&self, ip: &str, port: u16) -> Peer {
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        #[cfg(feature = "sim")]
        if let Some(network) = &self.network {
            return Peer::Sim(network.client(address));
        }
        let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer::Udp(socket)
    }

    fn address(&self, ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), self.net.port())
    }

    fn receive(&mut self, count: usize) -> Vec<(Path, Vec<u8>)> {
        let deadline = Instant::now() + PATIENCE;
        let mut arrived = Vec::new();
        while arrived.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} arrived", arrived.len());
            self.net.wait(Some(Duration::from_millis(100)), &mut self.egress).unwrap();
            while let Some(datagram) = self.net.next_datagram() {
                arrived.push((datagram.path, datagram.bytes.to_vec()));
            }
        }
        arrived
    }

    fn commit(&mut self, train: &mut Train, path: &Path, packet: &[u8]) {
        self.egress.reserve(train, path, packet.len()).unwrap().copy_from_slice(packet);
        self.egress.commit(train);
    }

    fn flush(&mut self) {
        self.net.flush(&mut self.egress).unwrap();
        assert_eq!(self.egress.free_blocks(), BLOCKS, "every block comes back");
    }
}

impl Peer {
    fn send(&self, bytes: &[u8], to: SocketAddr) {
        match self {
            Peer::Udp(socket) => _ = socket.send_to(bytes, to).unwrap(),
            #[cfg(feature = "sim")]
            Peer::Sim(socket) => socket.send_to(bytes, to),
        }
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        match self {
            Peer::Udp(socket) => {
                let mut buffer = [0; 4096];
                let (len, from) = socket.recv_from(&mut buffer).unwrap();
                (buffer[..len].to_vec(), from)
            }
            #[cfg(feature = "sim")]
            Peer::Sim(socket) => socket.recv().unwrap(),
        }
    }

    fn path(&self) -> Path {
        let remote = match self {
            Peer::Udp(socket) => socket.local_addr().unwrap(),
            #[cfg(feature = "sim")]
            Peer::Sim(socket) => socket.address(),
        };
        Path { remote, local: None }
    }
}

/// A machine without IPv6 runs the IPv4 half.
fn loopbacks() -> &'static [&'static str] {
    if UdpSocket::bind("[::1]:0").is_ok() { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] }
}

fn a_wipe_overwrites_what_was_taken_and_nothing_that_waits(world: &mut World) {
    let peer = world.peer("127.0.0.1", 1000);
    let word = |seed: u8| (0..200_u8).map(|nth| nth.wrapping_mul(37) ^ seed).collect::<Vec<u8>>();
    for round in 0..3 {
        for nth in 0..3 {
            peer.send(&word(10 * round + nth), world.address("127.0.0.1"));
        }
        world.net.wait(Some(PATIENCE), &mut world.egress).unwrap();
        let taken = world.net.next_datagram().unwrap();
        let (at, secret) = (taken.bytes.as_ptr() as u64, [Secret::new(taken.bytes)]);
        let is_there = || search("self", &secret).unwrap().iter().any(|found| found.address == at);
        assert!(is_there());
        world.net.wipe();
        assert!(!is_there());
        let waiting: Vec<Vec<u8>> = world.receive(2).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(waiting, [word(10 * round + 1), word(10 * round + 2)]);
    }
}

fn datagrams_arrive_with_path_and_bytes(world: &mut World) {
    for ip in loopbacks() {
        let peer = world.peer(ip, 1000);
        for bytes in [&b"one"[..], b"", &[7; 1500]] {
            peer.send(bytes, world.address(ip));
            let path = Path { local: Some(ip.parse().unwrap()), ..peer.path() };
            assert_eq!(world.receive(1), [(path, bytes.to_vec())]);
        }
    }
    let counters = world.net.counters();
    assert_eq!(counters.datagrams_in, 3 * loopbacks().len() as u64);
    assert_eq!(counters.bytes_in, 1503 * loopbacks().len() as u64);
}

fn a_reply_leaves_from_the_address_the_datagram_came_to(world: &mut World) {
    let ours = [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.2"), ("::1", "::1")];
    for (port, (theirs, ours)) in (1000..).zip(ours) {
        if !loopbacks().contains(&theirs) {
            continue;
        }
        let peer = world.peer(theirs, port);
        peer.send(b"ping", world.address(ours));
        let (path, _) = world.receive(1).remove(0);
        world.commit(&mut Train::default(), &path, b"pong");
        world.flush();
        assert_eq!(peer.receive(), (b"pong".to_vec(), world.address(ours)));
    }
}

fn a_train_arrives_as_its_packets_in_order(world: &mut World) {
    send_a_train(world, 1);
}

fn a_train_arrives_packet_by_packet(world: &mut World) {
    send_a_train(world, 21);
}

fn send_a_train(world: &mut World, sends: u64) {
    for ip in loopbacks() {
        let peer = world.peer(ip, 1000);
        let path = Path { local: Some(ip.parse().unwrap()), ..peer.path() };
        let packets: Vec<Vec<u8>> =
            (0..21).map(|index| vec![index; if index == 20 { 333 } else { 1100 }]).collect();
        let mut train = Train::default();
        for packet in &packets {
            world.commit(&mut train, &path, packet);
        }
        let before = world.net.counters();
        world.flush();
        for packet in &packets {
            assert_eq!(peer.receive().0, *packet);
        }
        let counters = world.net.counters();
        assert_eq!(counters.sends - before.sends, sends);
        assert_eq!(counters.datagrams_out - before.datagrams_out, 21);
        assert_eq!(counters.bytes_out - before.bytes_out, 20 * 1100 + 333);
    }
}

fn two_thousand_datagrams_arrive(world: &mut World) {
    let peer = world.peer("127.0.0.1", 1000);
    let to = world.address("127.0.0.1");
    let mut next = 0_u32;
    for burst in 0..20_u32 {
        for serial in 0..100 {
            peer.send(&(100 * burst + serial).to_be_bytes(), to);
        }
        for (_, bytes) in world.receive(100) {
            assert_eq!(bytes, next.to_be_bytes());
            next += 1;
        }
    }
    assert_eq!(next, 2000);
}

fn a_datagram_that_is_too_large_is_dropped_and_counted(world: &mut World) {
    let peer = world.peer("127.0.0.1", 1000);
    let to = world.address("127.0.0.1");
    peer.send(&[1; 3000], to);
    peer.send(&[2; DATAGRAM_BYTES_MAX + 1], to);
    peer.send(&[3; DATAGRAM_BYTES_MAX], to);
    let arrived = world.receive(1);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].1, [3; DATAGRAM_BYTES_MAX]);
    assert_eq!(world.net.counters().truncated, 2);
    assert_eq!(world.net.counters().datagrams_in, 1);
}

fn every_receiver_of_a_turn_gets_its_packets(world: &mut World) {
    send_to_many(world, 300);
}

fn every_receiver_of_a_turn_gets_its_packets_one_by_one(world: &mut World) {
    send_to_many(world, 900);
}

fn send_to_many(world: &mut World, sends: u64) {
    // More than one submit and one sendmmsg take.
    let peers: Vec<Peer> = (0..300).map(|index| world.peer("127.0.0.1", 2000 + index)).collect();
    let mut trains: Vec<Train> = peers.iter().map(|_| Train::default()).collect();
    for serial in 0..3_u8 {
        for (index, (peer, train)) in peers.iter().zip(&mut trains).enumerate() {
            world.commit(train, &peer.path(), &[index as u8, (index >> 8) as u8, serial]);
        }
    }
    world.flush();
    for (index, peer) in peers.iter().enumerate() {
        for serial in 0..3_u8 {
            assert_eq!(peer.receive().0, [index as u8, (index >> 8) as u8, serial]);
        }
    }
    let counters = world.net.counters();
    assert_eq!((counters.sends, counters.datagrams_out, counters.send_errors), (sends, 900, 0));
}

fn uncommitted_bytes_are_never_sent(world: &mut World) {
    let peer = world.peer("127.0.0.1", 1000);
    let mut train = Train::default();
    world.egress.reserve(&mut train, &peer.path(), 100).unwrap().fill(9);
    world.flush();
    world.commit(&mut train, &peer.path(), b"sent");
    world.flush();
    assert_eq!(peer.receive().0, b"sent");
    assert_eq!(world.net.counters().datagrams_out, 1);
}

/// As SRTP does: opened in place, then sealed into the block.
fn a_datagram_may_be_changed_in_place(world: &mut World) {
    let peer = world.peer("127.0.0.1", 1000);
    for serial in 0..100_u8 {
        peer.send(&[serial; 64], world.address("127.0.0.1"));
        let deadline = Instant::now() + PATIENCE;
        let mut answered = false;
        while !answered {
            assert!(Instant::now() < deadline);
            world.net.wait(Some(Duration::from_millis(100)), &mut world.egress).unwrap();
            while let Some(datagram) = world.net.next_datagram() {
                datagram.bytes[0] ^= 0xff;
                let mut train = Train::default();
                let slot = world.egress.reserve(&mut train, &datagram.path, datagram.bytes.len()).unwrap();
                slot.copy_from_slice(datagram.bytes);
                world.egress.commit(&mut train);
                answered = true;
            }
        }
        world.flush();
        let mut answer = [serial; 64];
        answer[0] ^= 0xff;
        assert_eq!(peer.receive().0, answer);
    }
}

fn a_failed_send_does_not_touch_the_others(world: &mut World) {
    let (first, last) = (world.peer("127.0.0.1", 1000), world.peer("127.0.0.1", 1001));
    let nowhere = Path { remote: "127.0.0.1:0".parse().unwrap(), local: None };
    // 192.0.2.0/24 is for documentation: no machine has it.
    let not_ours = Path { local: Some("192.0.2.1".parse().unwrap()), ..first.path() };
    world.commit(&mut Train::default(), &first.path(), b"first");
    world.commit(&mut Train::default(), &nowhere, b"lost");
    let mut train = Train::default();
    for _ in 0..3 {
        world.commit(&mut train, &not_ours, b"lost");
    }
    world.commit(&mut Train::default(), &last.path(), b"last");
    world.flush();
    assert_eq!(first.receive().0, b"first");
    assert_eq!(last.receive().0, b"last");
    let counters = world.net.counters();
    assert_eq!((counters.sends, counters.datagrams_out), (2, 2));
    assert!(counters.send_errors >= 2);
}

/// Its machine answers with ICMP "port unreachable".
fn a_receiver_that_is_gone_ends_no_receive(world: &mut World) {
    let gone = world.peer("127.0.0.1", 1000);
    let path = gone.path();
    drop(gone);
    let alive = world.peer("127.0.0.1", 1001);
    for _ in 0..50 {
        world.commit(&mut Train::default(), &path, b"anybody there?");
        world.commit(&mut Train::default(), &alive.path(), b"hello");
        world.flush();
        assert_eq!(alive.receive().0, b"hello");
        alive.send(b"and back", world.address("127.0.0.1"));
        world.receive(1);
    }
}

fn a_wake_up_ends_the_wait(world: &mut World) {
    let waker = world.net.waker();
    let ringer = thread::spawn(move || waker.wake());
    let start = Instant::now();
    world.net.wait(Some(PATIENCE), &mut world.egress).unwrap();
    assert!(start.elapsed() < PATIENCE / 2);
    ringer.join().unwrap();
    assert!(world.net.next_datagram().is_none());
}

fn no_wake_up_is_lost(world: &mut World) {
    const ROUNDS: u64 = 3000;
    let (posted, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let ringer = {
        let (waker, posted, seen) = (world.net.waker(), Arc::clone(&posted), Arc::clone(&seen));
        thread::spawn(move || {
            for round in 1..=ROUNDS {
                posted.store(round, Ordering::Release);
                waker.wake();
                // Every other round rings without waiting, to meet the worker at each point of its turn.
                while round % 2 == 0 && seen.load(Ordering::Acquire) < round {
                    thread::yield_now();
                }
            }
        })
    };
    while seen.load(Ordering::Acquire) < ROUNDS {
        let start = Instant::now();
        world.net.wait(Some(PATIENCE), &mut world.egress).unwrap();
        assert!(start.elapsed() < PATIENCE / 2, "slept through a wake-up");
        seen.store(posted.load(Ordering::Acquire), Ordering::Release);
    }
    ringer.join().unwrap();
}

fn the_timeout_is_honoured(world: &mut World) {
    let timeout = Duration::from_millis(30);
    let start = Instant::now();
    let mut waits = 0;
    while start.elapsed() < timeout {
        world.net.wait(Some(timeout.saturating_sub(start.elapsed())), &mut world.egress).unwrap();
        waits += 1;
    }
    assert!(start.elapsed() < PATIENCE);
    assert!(waits < 10, "{waits} waits for one timeout");

    let start = Instant::now();
    world.net.wait(Some(Duration::ZERO), &mut world.egress).unwrap();
    assert!(start.elapsed() < PATIENCE / 2);
}

/// Rounded up, twenty waits of 50 µs would take 20 ms or more. The best of many tries, because the machine may be busy.
fn a_timeout_below_a_millisecond_is_not_rounded_up(world: &mut World) {
    const WAITS: u32 = 20;
    let timeout = Duration::from_micros(50);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let start = Instant::now();
        for _ in 0..WAITS {
            world.net.wait(Some(timeout), &mut world.egress).unwrap();
        }
        if start.elapsed() < WAITS * Duration::from_millis(1) / 2 {
            return;
        }
        assert!(Instant::now() < deadline, "a wait of {timeout:?} takes longer than half a millisecond");
    }
}

fn a_rest_lasts_whatever_arrives_and_then_everything_is_there(world: &mut World) {
    // More than one system call takes.
    const DATAGRAMS: u8 = 100;
    let time = Duration::from_millis(30);
    let peer = world.peer("127.0.0.1", 1000);
    for number in 0..DATAGRAMS {
        peer.send(&[number], world.address("127.0.0.1"));
    }
    let start = Instant::now();
    world.net.rest(time, &mut world.egress).unwrap();
    assert!(start.elapsed() >= time, "woken after {:?}", start.elapsed());
    for number in 0..DATAGRAMS {
        assert_eq!(*world.net.next_datagram().unwrap().bytes, [number]);
    }
    assert!(world.net.next_datagram().is_none());
}

fn no_wake_up_is_lost_in_a_rest(world: &mut World) {
    world.net.waker().wake();
    world.net.rest(Duration::from_millis(1), &mut world.egress).unwrap();
    // The caller looks at its queues behind every rest; a later wake-up is one of its own.
    let waker = world.net.waker();
    let ringer = thread::spawn(move || waker.wake());
    let start = Instant::now();
    world.net.wait(Some(PATIENCE), &mut world.egress).unwrap();
    assert!(start.elapsed() < PATIENCE / 2);
    ringer.join().unwrap();
}

fn the_granted_buffers_are_known(world: &World) {
    let buffers = world.net.buffers();
    // Every kernel's default limit is above what the tests ask for.
    assert_eq!((buffers.receive_bytes, buffers.send_bytes), (128 << 10, 128 << 10));
    assert_eq!(buffers.short_of(), None);
}

fn a_dropped_net_frees_its_port(world: &mut World) {
    let port = world.net.port();
    let choice = world.choice();
    for _ in 0..5 {
        // On another port meanwhile, so that the one under test is closed before it is bound again.
        world.net = Net::open(choice, &World::options(0)).unwrap().0;
        world.net = Net::open(choice, &World::options(port)).unwrap().0;
        let peer = world.peer("127.0.0.1", 1000);
        peer.send(b"again", world.address("127.0.0.1"));
        assert_eq!(world.receive(1)[0].1, b"again");
    }
}

fn a_socket_of_ipv4_alone_keeps_the_promises(world: &mut World) {
    let any = SocketOptions { bind: Some(Ipv4Addr::UNSPECIFIED.into()), ..World::options(0) };
    world.net = Net::open(world.choice(), &any).unwrap().0;
    for ours in ["127.0.0.1", "127.0.0.2"] {
        let peer = world.peer("127.0.0.1", 1000);
        peer.send(b"ping", world.address(ours));
        let (path, _) = world.receive(1).remove(0);
        assert_eq!(path, Path { local: Some(ours.parse().unwrap()), ..peer.path() });
        let mut train = Train::default();
        for packet in [b"first", b"again"] {
            world.commit(&mut train, &path, packet);
        }
        // No datagram of this family can leave here; the others do all the same.
        let foreign = Path { remote: "[::1]:9".parse().unwrap(), local: None };
        world.commit(&mut Train::default(), &foreign, b"lost");
        world.flush();
        assert_eq!(peer.receive(), (b"first".to_vec(), world.address(ours)));
        assert_eq!(peer.receive(), (b"again".to_vec(), world.address(ours)));
    }
    assert_eq!(world.net.counters().send_errors, 2);
}

/// As in a container with Docker's seccomp profile. The filter dies with its thread.
#[test]
fn where_io_uring_is_forbidden_epoll_takes_over_and_the_admin_reads_why() {
    let forbidden = || {
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        let calls = [(libc::SYS_io_uring_setup, vec![])].into_iter().collect();
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();

        let (net, why) = Net::open(IoChoice::Auto, &World::options(0)).unwrap();
        assert_eq!(net.backend(), "mio");
        let why = why.unwrap();
        assert!(why.starts_with("io_uring ") && why.ends_with("; using mio"), "{why}");

        let error = Net::open(IoChoice::Uring, &World::options(0)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with("io_uring "), "{error}");
    };
    thread::spawn(forbidden).join().unwrap();
}
