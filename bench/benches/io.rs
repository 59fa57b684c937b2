//! What it costs to send and to receive a packet, for every I/O mode, through the data plane's own `io` and `egress`.
//!
//! `cargo bench -p saal-bench --bench io` prints three tables. The contestants alternate, and what counts is CPU time of
//! the sending thread (user and system); wall-clock says little on a shared machine. Everything goes over loopback to
//! sockets that nobody reads, so a send includes the receive half of the kernel, and a train is taken apart by it.
#![allow(clippy::print_stdout)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use saal_dataplane::egress::{Egress, Train};
use saal_dataplane::id::Path;
use saal_dataplane::io::{IoChoice, Net, SocketOptions};

const MODES: [(&str, IoChoice, bool); 5] = [
    ("sendto", IoChoice::Sendto, true),
    ("mio", IoChoice::Mio, true),
    ("uring", IoChoice::Uring, true),
    ("mio-trains", IoChoice::Mio, false),
    ("uring-trains", IoChoice::Uring, false),
];

/// Receivers of one turn.
const RECEIVERS: usize = 50;
/// Measurements of each cell; the median counts.
const ROUNDS: usize = 7;
/// CPU time of one measurement, well above the clock's own cost.
const ROUND: Duration = Duration::from_millis(40);

fn main() {
    send_table();
    connected_table();
    receive_table();
}

fn send_table() {
    println!("send: ns CPU per packet, {RECEIVERS} receivers a turn, median of {ROUNDS}");
    print!("{:>8} {:>9}", "bytes", "segments");
    for (name, ..) in MODES {
        print!(" {name:>13}");
    }
    println!();
    let sinks: Vec<UdpSocket> = (0..RECEIVERS).map(|_| bind()).collect();
    let paths: Vec<Path> = sinks.iter().map(path_to).collect();
    let mut nets: Vec<Option<Net>> = MODES.map(|(_, choice, off)| open(choice, off)).into();
    let mut egress = Egress::new(2 * RECEIVERS, 64 * 1024, 44);
    for bytes in [100, 1100] {
        for segments in [1, 6, 10, 44] {
            let mut costs = vec![Vec::new(); MODES.len()];
            for _ in 0..ROUNDS {
                for (net, costs) in nets.iter_mut().zip(&mut costs) {
                    let Some(net) = net else { continue };
                    costs.push(cost_of_sending(net, &mut egress, &paths, segments, bytes));
                }
            }
            print!("{bytes:>8} {segments:>9}");
            for costs in &mut costs {
                print!(" {:>13}", median(costs).map_or("-".to_owned(), |ns| format!("{ns:.0}")));
            }
            println!();
        }
    }
}

/// What filling the blocks costs is measured first and subtracted: it is not of the mode.
fn cost_of_sending(net: &mut Net, egress: &mut Egress, paths: &[Path], segments: usize, bytes: usize) -> f64 {
    let mut turns = 0_u32;
    let start = cpu();
    while !turns.is_multiple_of(8) || cpu() - start < ROUND {
        fill(egress, paths, segments, bytes);
        net.flush(egress).expect("a loopback takes what it is given");
        turns += 1;
    }
    let whole = cpu() - start;
    let start = cpu();
    for _ in 0..turns {
        fill(egress, paths, segments, bytes);
        while let Some(departure) = egress.take_ready() {
            egress.release(departure);
        }
    }
    let filling = cpu() - start;
    let packets = f64::from(turns) * (paths.len() * segments) as f64;
    whole.saturating_sub(filling).as_nanos() as f64 / packets
}

fn fill(egress: &mut Egress, paths: &[Path], segments: usize, bytes: usize) {
    for path in paths {
        let mut train = Train::default();
        for _ in 0..segments {
            egress.reserve(&mut train, path, bytes).expect("two blocks for each receiver").fill(0x5a);
            egress.commit(&mut train);
        }
    }
}

/// What a socket for each receiver would save: the look-up of the route, for single packets by plain system calls. A
/// train pays for it once.
fn connected_table() {
    println!("\nsend: ns CPU per packet of 100 B, {RECEIVERS} receivers, median of {ROUNDS}");
    println!("{:>13} {:>13}", "one socket", "connected");
    let sinks: Vec<UdpSocket> = (0..RECEIVERS).map(|_| bind()).collect();
    let addresses: Vec<SocketAddr> = sinks.iter().map(|sink| path_to(sink).remote).collect();
    let one = bind();
    let connected: Vec<UdpSocket> = addresses
        .iter()
        .map(|address| {
            let socket = bind();
            socket.connect(address).expect("a loopback has a route");
            socket
        })
        .collect();
    let packet = [0x5a; 100];
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        costs[0].push(cost_of_turns(|| {
            addresses.iter().for_each(|address| _ = one.send_to(&packet, address));
        }));
        costs[1].push(cost_of_turns(|| connected.iter().for_each(|socket| _ = socket.send(&packet))));
    }
    for costs in &mut costs {
        print!("{:>13.0} ", median(costs).unwrap_or_default());
    }
    println!();
}

/// ns CPU per packet of a turn that sends one to each receiver.
fn cost_of_turns(mut turn: impl FnMut()) -> f64 {
    let mut turns = 0_u32;
    let start = cpu();
    while !turns.is_multiple_of(8) || cpu() - start < ROUND {
        turn();
        turns += 1;
    }
    (cpu() - start).as_nanos() as f64 / (f64::from(turns) * RECEIVERS as f64)
}

/// The receive half of a turn: waiting for a burst that is there, and taking it.
fn receive_table() {
    const BURSTS: usize = 1000;
    println!("\nreceive: ns per packet of wait and next_datagram, median of {BURSTS} bursts of 1100 B");
    println!("{:>8} {:>13} {:>13} {:>13} {:>13}", "burst", "mio", "uring", "mio, GSO", "uring, GSO");
    let mut nets = [open(IoChoice::Mio, false), open(IoChoice::Uring, false)];
    let mut sender = open(IoChoice::Mio, false).expect("epoll is everywhere");
    let mut single = open(IoChoice::Mio, true).expect("epoll is everywhere");
    let mut egress = Egress::new(4, 64 * 1024, 44);
    for burst in [1, 6, 10] {
        let mut costs = vec![Vec::new(); 2 * nets.len()];
        for _ in 0..BURSTS {
            for (column, costs) in costs.iter_mut().enumerate() {
                let from = if column < nets.len() { &mut single } else { &mut sender };
                let count = nets.len();
                let Some(net) = &mut nets[column % count] else { continue };
                let remote = (Ipv4Addr::LOCALHOST, net.port()).into();
                fill(&mut egress, &[Path { remote, local: None }], burst, 1100);
                from.flush(&mut egress).expect("a loopback takes what it is given");
                let start = Instant::now();
                let mut taken = 0;
                while taken < burst {
                    net.wait(Some(Duration::from_secs(5)), &mut egress).expect("waits");
                    while net.next_datagram().is_some() {
                        taken += 1;
                    }
                }
                costs.push(start.elapsed().as_nanos() as f64 / burst as f64);
            }
        }
        print!("{burst:>8}");
        for costs in &mut costs {
            print!(" {:>13}", median(costs).map_or("-".to_owned(), |ns| format!("{ns:.0}")));
        }
        println!();
    }
}

fn open(choice: IoChoice, trains_off: bool) -> Option<Net> {
    let options = SocketOptions {
        trains_off,
        receive_buffer_bytes: 1 << 20,
        send_buffer_bytes: 1 << 20,
        ..Default::default()
    };
    // A machine that forbids io_uring has a table without it.
    Net::open(choice, &options).ok().map(|(net, _)| net)
}

fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

/// As the server sends: from the address that the receiver wrote to.
fn path_to(sink: &UdpSocket) -> Path {
    let remote = sink.local_addr().expect("it is bound");
    Path { remote, local: Some(Ipv4Addr::LOCALHOST.into()) }
}

/// CPU time of this thread. To yield makes the kernel bring its account up to date.
fn cpu() -> Duration {
    thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps it");
    let on_cpu = stat.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(on_cpu.expect("its first word is nanoseconds"))
}

fn median(costs: &mut [f64]) -> Option<f64> {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 2).copied()
}
