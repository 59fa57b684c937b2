//! `saal-impair`: a UDP proxy that makes a line as bad as asked, the same way for the same seed.
//!
//! It stands where the clients expect the server: let the server bind one address (`media.bind`), announce another
//! (`media.announce`), and listen here on the announced one. Addresses live in memory only and are never printed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use saal_dataplane::io::line::{Line, Script, Wait};
use saal_tools::download::{ACKNOWLEDGEMENT_BYTES, Download, SEGMENT_BYTES};

/// The clients' side.
const FRONT: Token = Token(usize::MAX);
/// Clients at once; each has a socket of its own towards the server.
const CLIENTS_MAX: usize = 4096;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A UDP proxy that throttles, queues, delays, loses, reorders and duplicates datagrams, by a seed.
///
/// SCRIPT: steps apart by ';' or by lines, each with the time at which it begins, as in
/// "0s rate=10M queue=250ms delay=20ms; 20s rate=800k loss=1%". docs/operations.md has all words.
#[derive(Parser, Debug)]
struct Arguments {
    /// Where clients send to, for example 127.0.0.1:10000
    #[arg(long)]
    listen: SocketAddr,
    /// Where the server listens, for example 127.0.0.2:10000
    #[arg(long)]
    to: SocketAddr,
    /// What happens to what clients send
    #[arg(long, value_name = "SCRIPT", default_value = "")]
    up: Script,
    /// What happens to what the server sends
    #[arg(long, value_name = "SCRIPT", default_value = "")]
    down: Script,
    /// A line for each client instead of one for all; its script begins with the client's first datagram
    #[arg(long)]
    each: bool,
    /// Somebody on the same line downloads as much as it gives by TCP (RFC 5681), from the first client's datagram on
    #[arg(long, conflicts_with = "each")]
    download: bool,
    /// Prints once a second what passed and how long it waited
    #[arg(long)]
    report: bool,
    /// Adds to the report how many waited for how long, in steps of 10 ms, as in "waits 0:52 10:3 420:1"
    #[arg(long, requires = "report")]
    histogram: bool,
    /// The same seed treats the same traffic alike
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after so many seconds; 0 runs until it is stopped
    #[arg(long, default_value_t = 0)]
    seconds: u64,
}

struct Proxy {
    arguments: Arguments,
    poll: Poll,
    front: UdpSocket,
    clients: HashMap<SocketAddr, usize>,
    backs: Vec<Back>,
    lines: Vec<[Line; 2]>,
    download: Option<Download>,
    downloaded_bytes: usize,
    /// By time of arrival, then in the order of sending.
    flying: BTreeMap<(Instant, u64), Flying>,
    sent: u64,
    reported: Instant,
}

/// The proxy's socket towards the server for one client.
struct Back {
    client: SocketAddr,
    socket: UdpSocket,
    /// Place in `lines`.
    line: usize,
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

enum Flying {
    Datagram {
        way: Way,
        back: usize,
        bytes: Vec<u8>,
    },
    /// Of the download, by their numbers.
    Segment(u64),
    Acknowledgement(u64),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saal-impair: {error}; is --listen free and an address of this machine?");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<()> {
    let poll = Poll::new()?;
    let mut front = UdpSocket::bind(arguments.listen)?;
    poll.registry().register(&mut front, FRONT, Interest::READABLE)?;
    let end = (arguments.seconds > 0).then(|| Instant::now() + Duration::from_secs(arguments.seconds));
    let mut proxy = Proxy {
        download: arguments.download.then(Download::default),
        downloaded_bytes: 0,
        arguments,
        poll,
        front,
        clients: HashMap::new(),
        backs: Vec::new(),
        lines: Vec::new(),
        flying: BTreeMap::new(),
        sent: 0,
        reported: Instant::now(),
    };
    let mut events = Events::with_capacity(256);
    while end.is_none_or(|end| Instant::now() < end) {
        proxy.turn(&mut events, end)?;
    }
    for (number, [up, down]) in proxy.lines.iter().enumerate() {
        eprintln!("line {number} up {:?} down {:?}", up.counts(), down.counts());
    }
    Ok(())
}

impl Proxy {
    fn turn(&mut self, events: &mut Events, end: Option<Instant>) -> io::Result<()> {
        let now = Instant::now();
        let due = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timeout = self.download.as_ref().and_then(Download::next_timeout);
        let due = [due, end, timeout, Some(self.reported + REPORT_INTERVAL)].into_iter().flatten().min();
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
        while let Some(first) = self.flying.first_entry()
            && first.key().0 <= now
        {
            match first.remove() {
                Flying::Datagram { way, back, bytes } => {
                    let back = &self.backs[back];
                    // A full socket buffer is one more loss.
                    let _ = match way {
                        Way::Up => back.socket.send(&bytes),
                        Way::Down => self.front.send_to(&bytes, back.client),
                    };
                }
                Flying::Segment(number) => {
                    self.downloaded_bytes += SEGMENT_BYTES;
                    self.fly(now, Way::Up, 0, ACKNOWLEDGEMENT_BYTES, || Flying::Acknowledgement(number));
                }
                Flying::Acknowledgement(number) => {
                    self.download.iter_mut().for_each(|download| download.on_acknowledged(number));
                }
            }
        }
        if !self.lines.is_empty() {
            self.download(now);
        }
        if now >= self.reported + REPORT_INTERVAL {
            self.report(now);
        }
        Ok(())
    }

    fn on_clients(&mut self, now: Instant) -> io::Result<()> {
        let mut buffer = [0; 65_536];
        while let Ok((len, client)) = self.front.recv_from(&mut buffer) {
            let back = match self.clients.get(&client) {
                Some(back) => *back,
                None if self.backs.len() == CLIENTS_MAX => continue,
                None => self.welcome(now, client)?,
            };
            self.send(now, Way::Up, back, &buffer[..len]);
        }
        Ok(())
    }

    fn on_server(&mut self, now: Instant, back: usize) {
        let mut buffer = [0; 65_536];
        while let Ok(len) = self.backs[back].socket.recv(&mut buffer) {
            self.send(now, Way::Down, back, &buffer[..len]);
        }
    }

    fn send(&mut self, now: Instant, way: Way, back: usize, bytes: &[u8]) {
        let line = self.backs[back].line;
        self.fly(now, way, line, bytes.len(), || Flying::Datagram { way, back, bytes: bytes.to_vec() });
    }

    /// Segments that the download may send.
    fn download(&mut self, now: Instant) {
        self.download.iter_mut().for_each(|download| _ = download.on_time(now));
        while let Some(number) = self.download.as_mut().and_then(|download| download.next_segment(now)) {
            self.fly(now, Way::Down, 0, SEGMENT_BYTES, || Flying::Segment(number));
        }
    }

    fn fly(&mut self, now: Instant, way: Way, line: usize, len: usize, what: impl Fn() -> Flying) {
        let Some(arrival) = self.lines[line][way as usize].pass(now, len) else { return };
        for _ in 0..arrival.copies {
            self.flying.insert((arrival.at, self.sent), what());
            self.sent += 1;
        }
    }

    /// A socket of its own for a new client, so that the server can tell the clients apart.
    fn welcome(&mut self, now: Instant, client: SocketAddr) -> io::Result<usize> {
        let Arguments { listen, to, up, down, each, seed, .. } = &self.arguments;
        let mut socket = UdpSocket::bind(seen_from(*listen, *to))?;
        socket.connect(*to)?;
        let back = self.backs.len();
        self.poll.registry().register(&mut socket, Token(back), Interest::READABLE)?;
        if *each || self.lines.is_empty() {
            let seed = seed.wrapping_add(2 * self.lines.len() as u64);
            self.lines
                .push([Line::new(up.clone(), seed, now), Line::new(down.clone(), seed.wrapping_add(1), now)]);
        }
        self.backs.push(Back { client, socket, line: self.lines.len() - 1 });
        self.clients.insert(client, back);
        Ok(back)
    }

    /// Waits are kept by the lines until somebody takes them, so they are taken whether or not they are printed.
    #[expect(clippy::print_stdout, reason = "the report is what was asked for")]
    fn report(&mut self, now: Instant) {
        let Arguments { report, histogram, .. } = self.arguments;
        let seconds = now.duration_since(self.reported).as_secs_f64();
        self.reported = now;
        let downloaded_kbits = std::mem::take(&mut self.downloaded_bytes) as f64 * 8.0 / 1000.0;
        let download =
            self.download.as_ref().map(|_| format!("download {:.0} kbit/s, ", downloaded_kbits / seconds));
        let download = download.unwrap_or_default();
        for (number, line) in self.lines.iter_mut().enumerate() {
            let [up, down] = line.each_mut().map(|line| describe(&mut line.take_waits(), seconds, histogram));
            if report {
                println!("line {number}: {download}up {up}, down {down}");
            }
        }
    }
}

/// Where the server sees the clients. Its answers to their checks tell them this address (RFC 8445 §7.3.1.1), and Firefox
/// takes none that tells of loopback, so a server on loopback must not see them there, too.
fn seen_from(listen: SocketAddr, to: SocketAddr) -> SocketAddr {
    let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let is_local = to.ip().is_loopback() && listen.is_ipv4() == to.is_ipv4();
    SocketAddr::new(if is_local { listen.ip() } else { any }, 0)
}

fn describe(waits: &mut [Wait], seconds: f64, with_histogram: bool) -> String {
    let kbits = waits.iter().map(|wait| wait.bytes as f64 * 8.0 / 1000.0).sum::<f64>();
    waits.sort_unstable_by_key(|wait| wait.waited);
    let p95 = waits.get(waits.len() * 95 / 100).map_or(0, |wait| wait.waited.as_millis());
    let mut text = format!("{:.0} kbit/s, p95 wait {p95} ms", kbits / seconds);
    if with_histogram {
        let step = |wait: &Wait| wait.waited.as_millis() / 10 * 10;
        let counts = waits.chunk_by(|one, other| step(one) == step(other));
        let counts = counts.map(|alike| format!(" {}:{}", step(&alike[0]), alike.len())).collect::<String>();
        text.push_str(", waits");
        text.push_str(&counts);
    }
    text
}
