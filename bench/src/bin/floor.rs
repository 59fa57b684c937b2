//! `saal-floor`: what forwarding costs when nothing is decided. Receives, opens once, seals for every receiver, sends.
//!
//! It is put together from the server's own parts (`io`, `egress`, `srtp`), so that a figure of the server divided by
//! this one's says what rooms, slots, layers, histories, feedback and congestion control cost. There is no signalling:
//!
//! ```text
//!  publisher p   "P" p     ──▶ floor     p and r are two bytes, big-endian; "R" is repeated until "K" comes back
//!  receiver  r   "R" r     ──▶ floor ──▶ "K"
//!  publisher p   SRTP      ──▶ floor ──▶ SRTP to every receiver, SSRC = 0x10000 (r + 1) + p, + 0x8000 for audio
//! ```
//!
//! The cipher is AEAD_AES_256_GCM, which the server chooses with Chromium and with `saal-load`, with a key of 32 bytes 0x10 + kind and a salt of 12 bytes 0x20 + kind (publisher 0,
//! receiver 1), the party's number in their first two. Packets are kept until a frame is whole; then each receiver's are
//! sealed in one go, the largest first: the longest trains and the warmest keys that the traffic allows.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use saal_dataplane::egress::{Egress, Train};
use saal_dataplane::id::{ExtSeq, Path, Ssrc};
use saal_dataplane::io::{self as dataplane_io, IoChoice, Net, SocketOptions, Waker};
use saal_dataplane::sfu::srtp::{Inbound, Outbound, Profile};
use saal_dataplane::wire::rtp::{FIXED_LEN, Header};
use saal_dataplane::wire::{self, Kind};

/// The bare cost of forwarding: receive, open, seal, send.
#[derive(Parser)]
struct Arguments {
    /// UDP port; 0 lets the kernel choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Core that the only thread is pinned to.
    #[arg(long)]
    core: Option<usize>,
    #[arg(long)]
    receivers: u16,
    #[arg(long, default_value_t = 1)]
    publishers: u16,
    #[arg(long, value_enum, default_value_t = Io::Uring)]
    io: Io,
    /// Segments of one segmented send; 1 sends every packet by itself.
    #[arg(long, default_value_t = 44)]
    segments_max: usize,
    /// How long whole frames wait for more; 0 sends them at the end of the turn.
    #[arg(long, default_value_t = 0)]
    tick_us: u64,
    /// Receiver n does not get what publisher n sends.
    #[arg(long)]
    exclude_own: bool,
    /// Length of the outgoing header extension, in bytes, a multiple of four. The server sends 16: mid, abs-send-time
    /// and the transport-wide number.
    #[arg(long, default_value_t = 16, value_parser = extension_bytes)]
    extension_bytes: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Io {
    Uring,
    Mio,
}

struct Floor {
    net: Net,
    egress: Egress,
    publishers: Vec<Inbound>,
    receivers: Vec<Option<Receiver>>,
    /// Which publisher sends from this address.
    origins: HashMap<SocketAddr, u16>,
    pending: Pending,
    extension_bytes: usize,
    exclude_own: bool,
    tick: Duration,
}

struct Receiver {
    number: u16,
    path: Path,
    train: Train,
    outbound: Outbound,
}

/// Opened packets that wait for the end of their frame.
#[derive(Default)]
struct Pending {
    packets: Vec<Opened>,
    /// Their outgoing headers and payloads, one behind the other.
    bytes: Vec<u8>,
    /// When the first of them came.
    since: Option<Instant>,
    /// A frame is whole.
    whole: bool,
}

struct Opened {
    publisher: u16,
    ssrc_base: u32,
    seq: ExtSeq,
    at: usize,
    len: usize,
}

const PROFILE: Profile = Profile::AeadAes256Gcm;
const PUBLISHER: u8 = 0;
const RECEIVER: u8 = 1;
/// Sound and picture of one publisher, and some to spare.
const SSRCS_MAX: usize = 8;
const SSRC_AT: usize = 8;
/// Smaller payloads are sound.
const AUDIO_BYTES_MAX: usize = 400;
/// These four are the server's.
const BLOCKS: usize = 2048;
const BLOCK_BYTES: usize = 32 * 1024;
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
const DATAGRAMS_PER_TURN_MAX: usize = 256;
/// Packets that wait at most, whether their frames are whole or not.
const PACKETS_MAX: usize = 64;
/// A frame whose last packet got lost waits no longer than this.
const STALE: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "saal-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut floor = Floor::open(arguments)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_with_stdin(Arc::clone(&stop), floor.net.waker())?;
    // After the thread that watches stdin was made, which would inherit it.
    if let Some(core) = arguments.core {
        dataplane_io::pin_to_core(core)?;
    }
    let mut stdout = io::stdout();
    writeln!(stdout, "ready {}", floor.net.port())?;
    stdout.flush()?;

    while !stop.load(Ordering::Relaxed) {
        floor.net.wait(Some(floor.wait_max()), &mut floor.egress)?;
        floor.turn()?;
    }
    let io = floor.net.counters();
    writeln!(io::stderr(), "{} datagrams in, {} out in {} sends", io.datagrams_in, io.datagrams_out, io.sends)
}

fn stop_with_stdin(stop: Arc<AtomicBool>, waker: Waker) -> io::Result<()> {
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1)) {}
        stop.store(true, Ordering::Relaxed);
        waker.wake();
    })?;
    Ok(())
}

impl Floor {
    fn open(arguments: &Arguments) -> io::Result<Floor> {
        let io = match arguments.io {
            Io::Uring => IoChoice::Uring,
            Io::Mio => IoChoice::Mio,
        };
        let options = SocketOptions {
            port: arguments.port,
            receive_buffer_bytes: SOCKET_BUFFER_BYTES,
            send_buffer_bytes: SOCKET_BUFFER_BYTES,
            ..SocketOptions::default()
        };
        let (net, _) = Net::open(io, &options)?;
        let publishers = (0..arguments.publishers).map(|number| {
            let (key, salt) = keys(PUBLISHER, number);
            Inbound::new(PROFILE, &key, &salt, SSRCS_MAX).expect("key and salt have the profile's lengths")
        });
        Ok(Floor {
            net,
            egress: Egress::new(BLOCKS, BLOCK_BYTES, arguments.segments_max),
            publishers: publishers.collect(),
            receivers: (0..arguments.receivers).map(|_| None).collect(),
            origins: HashMap::new(),
            pending: Pending::default(),
            extension_bytes: arguments.extension_bytes,
            exclude_own: arguments.exclude_own,
            tick: Duration::from_micros(arguments.tick_us),
        })
    }

    fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            if self.pending.packets.len() == PACKETS_MAX {
                self.seal()?;
            }
            let Some(datagram) = self.net.next_datagram() else { break };
            let remote = datagram.path.remote;
            match (wire::classify(datagram.bytes), &*datagram.bytes) {
                (Some(Kind::Rtp), _) => {
                    // A single publisher needs no registration.
                    let publisher = self.origins.get(&remote).copied().unwrap_or(0);
                    if let Some(inbound) = self.publishers.get_mut(usize::from(publisher)) {
                        self.pending.open(now, publisher, inbound, datagram.bytes, self.extension_bytes);
                    }
                }
                (None, &[b'P', high, low]) => {
                    self.origins.insert(remote, u16::from_be_bytes([high, low]));
                }
                (None, &[b'R', high, low]) => {
                    let path = datagram.path;
                    self.register(u16::from_be_bytes([high, low]), path);
                }
                (Some(_) | None, _) => {}
            }
        }
        if self.pending.due(self.tick).is_some_and(|at| at <= now) {
            self.seal()?;
        }
        self.net.flush(&mut self.egress)
    }

    fn wait_max(&self) -> Duration {
        let due = self.pending.due(self.tick);
        due.map_or(WAIT_MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// A receiver that asks again keeps its keys and numbers: the first answer may have got lost.
    fn register(&mut self, number: u16, path: Path) {
        let Some(place) = self.receivers.get_mut(usize::from(number)) else { return };
        let receiver = place.get_or_insert_with(|| {
            let (key, salt) = keys(RECEIVER, number);
            let outbound =
                Outbound::new(PROFILE, &key, &salt).expect("key and salt have the profile's lengths");
            Receiver { number, path, train: Train::default(), outbound }
        });
        receiver.path = path;
        let mut alone = Train::default();
        if let Some(answer) = self.egress.reserve(&mut alone, &path, 1) {
            answer.copy_from_slice(b"K");
            self.egress.commit(&mut alone);
        }
    }

    /// Everything pending into every receiver's train.
    fn seal(&mut self) -> io::Result<()> {
        // Equal sizes side by side, the shorter ones behind: the fewest trains. A frame keeps its order.
        self.pending.packets.sort_by_key(|packet| Reverse(packet.len));
        for receiver in self.receivers.iter_mut().flatten() {
            if self.egress.free_blocks() < self.pending.packets.len() {
                self.net.flush(&mut self.egress)?;
            }
            for packet in &self.pending.packets {
                if !(self.exclude_own && packet.publisher == receiver.number) {
                    let bytes = &self.pending.bytes[packet.at..packet.at + packet.len];
                    receiver.seal(packet, bytes, FIXED_LEN + self.extension_bytes, &mut self.egress);
                }
            }
        }
        self.pending.clear();
        Ok(())
    }
}

impl Receiver {
    fn seal(&mut self, packet: &Opened, plain: &[u8], header_len: usize, egress: &mut Egress) {
        let len = plain.len() + PROFILE.rtp_overhead();
        let Some(out) = egress.reserve(&mut self.train, &self.path, len) else { return };
        let ssrc = Ssrc(packet.ssrc_base + 0x10000 * (u32::from(self.number) + 1));
        let (header, payload) = plain.split_at(header_len);
        out[..header_len].copy_from_slice(header);
        out[SSRC_AT..FIXED_LEN].copy_from_slice(&ssrc.0.to_be_bytes());
        // What came twice is refused here and leaves nothing.
        if self.outbound.seal_rtp(packet.seq, ssrc, header_len, payload, out).is_ok() {
            egress.commit(&mut self.train);
        }
    }
}

impl Pending {
    fn open(
        &mut self,
        now: Instant,
        publisher: u16,
        inbound: &mut Inbound,
        datagram: &mut [u8],
        extension_bytes: usize,
    ) {
        let Ok(header) = Header::parse(datagram) else { return };
        let Ok((len, seq)) = inbound.open_rtp(datagram, &header, true) else { return };
        let payload = &datagram[header.len..len];
        let audio = payload.len() < AUDIO_BYTES_MAX;
        let at = self.bytes.len();

        self.bytes.extend_from_slice(&datagram[..FIXED_LEN]);
        // No CSRC list; an extension if there are bytes for it, filled with its padding (RFC 8285 §4.1).
        self.bytes[at] = 0x80 | datagram[0] & 0x20 | u8::from(extension_bytes > 0) << 4;
        if let Some(words) = (extension_bytes / 4).checked_sub(1) {
            self.bytes.extend_from_slice(&[0xbe, 0xde, 0, words as u8]);
            self.bytes.resize(at + FIXED_LEN + extension_bytes, 0);
        }
        self.bytes.extend_from_slice(payload);

        let len = self.bytes.len() - at;
        let ssrc_base = u32::from(publisher) + if audio { 0x8000 } else { 0 };
        self.packets.push(Opened { publisher, ssrc_base, seq, at, len });
        self.since = self.since.or(Some(now));
        self.whole |= header.marker || audio;
    }

    /// When they are to leave.
    fn due(&self, tick: Duration) -> Option<Instant> {
        self.since.map(|since| since + if self.whole { tick } else { tick.max(STALE) })
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
        self.since = None;
        self.whole = false;
    }
}

/// The agreed master key and salt of a party.
fn keys(kind: u8, number: u16) -> ([u8; 32], [u8; 12]) {
    let (mut key, mut salt) = ([0x10 + kind; 32], [0x20 + kind; 12]);
    key[..2].copy_from_slice(&number.to_be_bytes());
    salt[..2].copy_from_slice(&number.to_be_bytes());
    (key, salt)
}

fn extension_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes % 4 == 0 && bytes <= 256 => Ok(bytes),
        Ok(_) | Err(_) => Err("a multiple of 4 up to 256".to_owned()),
    }
}
