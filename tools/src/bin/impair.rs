//! `saal-impair`: a UDP proxy that makes a line as bad as asked, the same way for the same seed.
//!
//! It stands where the clients expect the server: let the server bind one address (`media.bind`), announce another
//! (`media.announce`), and listen here on the announced one. Addresses live in memory only and are never printed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use saal_tools::impair::{Line, Shape};

/// The clients' side.
const FRONT: Token = Token(usize::MAX);
/// Clients at once; each has a socket of its own towards the server.
const CLIENTS_MAX: usize = 4096;

/// A UDP proxy that loses, delays, reorders, duplicates and throttles datagrams, by a seed.
#[derive(Parser, Debug)]
struct Arguments {
    /// Where clients send to, for example 127.0.0.1:10000
    #[arg(long)]
    listen: SocketAddr,
    /// Where the server listens, for example 127.0.0.2:10000
    #[arg(long)]
    to: SocketAddr,
    /// Share of datagrams lost, each way, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Share of datagrams duplicated, each way, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// One-way delay in ms
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Up to so many ms more for each datagram; reorders
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
    /// Bottleneck of each way in kbit/s; 0 is without limit
    #[arg(long, default_value_t = 0)]
    rate_kbit: u64,
    /// Longest wait for the bottleneck in ms
    #[arg(long, default_value_t = 200)]
    queue_ms: u64,
    /// The same seed treats the same traffic alike
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after so many seconds; 0 runs until it is stopped
    #[arg(long, default_value_t = 0)]
    seconds: u64,
}

struct Proxy {
    poll: Poll,
    front: UdpSocket,
    to: SocketAddr,
    clients: HashMap<SocketAddr, usize>,
    backs: Vec<(SocketAddr, UdpSocket)>,
    up: Line<usize>,
    down: Line<SocketAddr>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shares = [arguments.loss, arguments.duplicate];
    if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        eprintln!("--loss and --duplicate are shares from 0 to 1");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(proxy) => {
            eprintln!("up   {:?}\ndown {:?}", proxy.up.counts(), proxy.down.counts());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("saal-impair: {error}; is --listen free and an address of this machine?");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<Proxy> {
    let shape = Shape {
        loss: arguments.loss,
        duplicate: arguments.duplicate,
        delay: Duration::from_millis(arguments.delay_ms),
        jitter: Duration::from_millis(arguments.jitter_ms),
        rate_bps: arguments.rate_kbit * 1000,
        queue: Duration::from_millis(arguments.queue_ms),
    };
    let poll = Poll::new()?;
    let mut front = UdpSocket::bind(arguments.listen)?;
    poll.registry().register(&mut front, FRONT, Interest::READABLE)?;
    let mut proxy = Proxy {
        poll,
        front,
        to: arguments.to,
        clients: HashMap::new(),
        backs: Vec::new(),
        up: Line::new(shape, arguments.seed),
        down: Line::new(shape, arguments.seed ^ 1),
    };
    let end = (arguments.seconds > 0).then(|| Instant::now() + Duration::from_secs(arguments.seconds));
    let mut events = Events::with_capacity(256);
    while end.is_none_or(|end| Instant::now() < end) {
        proxy.turn(&mut events, end)?;
    }
    Ok(proxy)
}

impl Proxy {
    fn turn(&mut self, events: &mut Events, end: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let due = [self.up.next_timeout(), self.down.next_timeout(), end].into_iter().flatten().min();
        match self.poll.poll(events, due.map(|at| at.saturating_duration_since(now))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let now = Instant::now();
        for event in &*events {
            match event.token() {
                FRONT => self.on_clients(now)?,
                Token(back) => self.on_server(now, back),
            }
        }
        while let Some((back, bytes)) = self.up.next_arrival(now) {
            // A full socket buffer is one more loss.
            let _ = self.backs[back].1.send(&bytes);
        }
        while let Some((client, bytes)) = self.down.next_arrival(now) {
            let _ = self.front.send_to(&bytes, client);
        }
        Ok(())
    }

    fn on_clients(&mut self, now: Instant) -> io::Result<()> {
        let mut buffer = [0; 65_536];
        while let Ok((len, client)) = self.front.recv_from(&mut buffer) {
            let back = match self.clients.get(&client) {
                Some(back) => *back,
                None if self.backs.len() == CLIENTS_MAX => continue,
                None => self.welcome(client)?,
            };
            self.up.send(now, back, &buffer[..len]);
        }
        Ok(())
    }

    fn on_server(&mut self, now: Instant, back: usize) {
        let mut buffer = [0; 65_536];
        let (client, socket) = &self.backs[back];
        while let Ok(len) = socket.recv(&mut buffer) {
            self.down.send(now, *client, &buffer[..len]);
        }
    }

    /// A socket of its own for a new client, so that the server can tell the clients apart.
    fn welcome(&mut self, client: SocketAddr) -> io::Result<usize> {
        let any: SocketAddr =
            if self.to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let mut socket = UdpSocket::bind(any)?;
        socket.connect(self.to)?;
        let back = self.backs.len();
        self.poll.registry().register(&mut socket, Token(back), Interest::READABLE)?;
        self.backs.push((client, socket));
        self.clients.insert(client, back);
        Ok(back)
    }
}
