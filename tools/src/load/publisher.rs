//! The thread that sends media, and does nothing else, so that packets leave when they are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Bytes;
use webrtc_srtp::context::Context;

use super::cpu::{self, Place};
use super::scenario::Layer;
use super::stamp::{Stamp, now_ns};
use crate::client::payload::{self, Vp8};
use crate::random::Random;

/// A send that leaves later than this after it was due is late.
const LATE_NS: u64 = 1_000_000;

/// One SSRC that a publisher sends.
#[derive(Debug)]
pub struct Stream {
    /// Index among the publisher's streams; the microphone, if there is one, is 0.
    pub index: u8,
    pub ssrc: u32,
    pub pt: u8,
    pub clock_rate_hz: u32,
    /// `None` is audio.
    pub video: Option<Layer>,
    pub audio_bytes: usize,
    pub interval: Duration,
    /// The header extension block, empty or a multiple of four bytes.
    pub extension: Vec<u8>,
    pub keyframe_wanted: Arc<AtomicBool>,
    seq: u16,
    timestamp_base: u32,
    picture_id: u16,
    tl0: u8,
    frame: u32,
    started_ns: u64,
}

/// What a stream sent in the window.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub publisher: usize,
    pub video: bool,
    pub packets: u64,
    pub bytes: u64,
}

/// What the thread says about a window.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: Vec<Sent>,
    pub sends: u64,
    pub late: u64,
    pub failed: u64,
    pub cpu_ns: u64,
}

/// A publisher's way out: its own keys for RTP and its socket.
pub struct Outlet {
    /// Number within the run.
    pub publisher: usize,
    pub context: Context,
    pub socket: UdpSocket,
    pub streams: Vec<Stream>,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}

enum Order {
    Add(Box<Outlet>),
    /// Frames fall due but nothing is sent.
    Pause(bool),
    Begin,
    End(Sender<Report>),
    Clear,
}

#[derive(Debug)]
pub struct Publisher {
    orders: Sender<Order>,
    _thread: JoinHandle<()>,
}

/// The same for those who hand over outlets.
#[derive(Clone, Debug)]
pub struct Stage(Sender<Order>);

impl Stage {
    pub fn add(&self, outlet: Outlet) {
        // A publisher that has ended needs nothing.
        let _ = self.0.send(Order::Add(Box::new(outlet)));
    }
}

impl Publisher {
    pub fn start(place: Place) -> std::io::Result<Publisher> {
        let (orders, receiver) = channel();
        let thread = std::thread::Builder::new().name("publish".into()).spawn(move || {
            place.take();
            Thread::default().run(&receiver);
        })?;
        Ok(Publisher { orders, _thread: thread })
    }

    pub fn stage(&self) -> Stage {
        Stage(self.orders.clone())
    }

    pub fn pause(&self, paused: bool) {
        let _ = self.orders.send(Order::Pause(paused));
    }

    pub fn begin(&self) {
        let _ = self.orders.send(Order::Begin);
    }

    pub fn end(&self) -> Report {
        let (sender, report) = channel();
        let _ = self.orders.send(Order::End(sender));
        report.recv().unwrap_or_default()
    }

    pub fn clear(&self) {
        let _ = self.orders.send(Order::Clear);
    }
}

impl Stream {
    pub fn new(
        index: usize,
        pt: u8,
        video: Option<Layer>,
        audio_bytes: usize,
        interval: Duration,
        random: &mut Random,
    ) -> Stream {
        Stream {
            index: index as u8,
            ssrc: random.number() as u32 | 1,
            pt,
            clock_rate_hz: if video.is_some() { 90_000 } else { 48_000 },
            video,
            audio_bytes,
            interval,
            extension: Vec::new(),
            keyframe_wanted: Arc::new(AtomicBool::new(true)),
            seq: random.number() as u16,
            timestamp_base: random.number() as u32,
            picture_id: random.number() as u16 & 0x7FFF,
            tl0: random.number() as u8,
            frame: 0,
            started_ns: 0,
        }
    }

    /// A packet in the clear.
    fn write(
        &mut self,
        publisher: usize,
        part: u8,
        keyframe: bool,
        bytes: usize,
        due_ns: u64,
        out: &mut Vec<u8>,
    ) {
        let parts = self.video.as_ref().map_or(1, |layer| layer.packets);
        let elapsed_ns = u128::from(due_ns.saturating_sub(self.started_ns));
        let ticks = elapsed_ns * u128::from(self.clock_rate_hz) / 1_000_000_000;
        let timestamp = self.timestamp_base.wrapping_add(ticks as u32);
        let marker = self.video.is_some() && part + 1 == parts;
        self.seq = self.seq.wrapping_add(1);
        out.clear();
        out.extend([if self.extension.is_empty() { 0x80 } else { 0x90 }, self.pt | u8::from(marker) << 7]);
        out.extend(self.seq.to_be_bytes());
        out.extend(timestamp.to_be_bytes());
        out.extend(self.ssrc.to_be_bytes());
        out.extend(&self.extension);
        let payload_at = out.len();
        match &self.video {
            Some(layer) => {
                let (picture_id, tl0) = (self.picture_id, self.tl0);
                let vp8 = Vp8 { keyframe, picture_id, tl0, height: layer.height };
                payload::vp8_head(&vp8, part == 0, out);
            }
            None => out.push(payload::OPUS_TOC),
        }
        let stamp = Stamp {
            publisher: publisher as u16,
            stream: self.index,
            part,
            frame: self.frame,
            sent_ns: now_ns(),
        };
        let head = out.split_off(payload_at);
        let mut body = Vec::with_capacity(bytes);
        stamp.write(&mut body, bytes.saturating_sub(head.len()));
        out.extend(head);
        out.extend(body);
    }
}

struct Thread {
    outlets: Vec<Outlet>,
    /// When, and which stream of which outlet.
    due: BinaryHeap<Reverse<(u64, usize, usize)>>,
    windows: Vec<Vec<(u64, u64)>>,
    report: Report,
    paused: bool,
    cpu_began_ns: u64,
    random: Random,
    packet: Vec<u8>,
    /// Packets of one frame.
    sealed: Vec<Bytes>,
}

impl Default for Thread {
    fn default() -> Thread {
        Thread {
            outlets: Vec::new(),
            due: BinaryHeap::new(),
            windows: Vec::new(),
            report: Report::default(),
            paused: false,
            cpu_began_ns: 0,
            random: Random::new(1),
            packet: Vec::new(),
            sealed: Vec::new(),
        }
    }
}

impl Thread {
    fn run(mut self, orders: &Receiver<Order>) {
        const IDLE: Duration = Duration::from_millis(100);
        const FRAMES_PER_TURN: usize = 16;
        loop {
            let wait = match self.due.peek() {
                Some(Reverse((due_ns, ..))) => Duration::from_nanos(due_ns.saturating_sub(now_ns())),
                None => IDLE,
            };
            match orders.recv_timeout(wait) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Orders are heard however far sending has fallen behind.
            for _ in 0..FRAMES_PER_TURN {
                let Some(Reverse((due_ns, outlet, stream))) = self.due.peek().copied() else { break };
                if due_ns > now_ns() {
                    break;
                }
                self.due.pop();
                let next_ns = self.send(due_ns, outlet, stream);
                self.due.push(Reverse((next_ns, outlet, stream)));
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Add(outlet) => self.add(*outlet),
            Order::Pause(paused) => self.paused = paused,
            Order::Begin => {
                self.report = Report::default();
                self.windows.iter_mut().flatten().for_each(|window| *window = (0, 0));
                self.cpu_began_ns = cpu::thread_ns();
            }
            Order::End(answer) => {
                let mut report = std::mem::take(&mut self.report);
                report.cpu_ns = cpu::thread_ns() - self.cpu_began_ns;
                for (outlet, windows) in self.outlets.iter().zip(&self.windows) {
                    for (stream, &(packets, bytes)) in outlet.streams.iter().zip(windows) {
                        let (publisher, video) = (outlet.publisher, stream.video.is_some());
                        report.sent.push(Sent { publisher, video, packets, bytes });
                    }
                }
                // Who asked may be gone.
                let _ = answer.send(report);
            }
            Order::Clear => {
                self.outlets.clear();
                self.due.clear();
                self.windows.clear();
            }
        }
    }

    /// Phases are spread by the golden ratio: however many publishers there are, no two start together.
    fn add(&mut self, mut outlet: Outlet) {
        const GOLDEN: f64 = 0.618_033_988_75;
        let index = self.outlets.len();
        let now = now_ns();
        for (number, stream) in outlet.streams.iter_mut().enumerate() {
            // The layers of one camera are captured together.
            let lane = index * 2 + usize::from(stream.video.is_some());
            let phase = (lane as f64 * GOLDEN).fract();
            stream.started_ns = now;
            let first_ns = now + (stream.interval.as_nanos() as f64 * phase) as u64;
            self.due.push(Reverse((first_ns, index, number)));
        }
        self.windows.push(vec![(0, 0); outlet.streams.len()]);
        self.outlets.push(outlet);
    }

    /// One frame. Returns when the next one is due.
    fn send(&mut self, due_ns: u64, outlet: usize, number: usize) -> u64 {
        const BEHIND_NS: u64 = 500_000_000;
        let window = &mut self.windows[outlet][number];
        let outlet = &mut self.outlets[outlet];
        let stream = &mut outlet.streams[number];
        let now = now_ns();
        let interval_ns = stream.interval.as_nanos() as u64;
        let next_ns = if now > due_ns + BEHIND_NS { now } else { due_ns + interval_ns };
        if self.paused {
            return next_ns;
        }
        let (parts, mut bytes) = match &stream.video {
            Some(layer) => (layer.packets, layer.bytes),
            None => (1, stream.audio_bytes),
        };
        if let Some(vary) =
            stream.video.as_ref().map(|layer| u64::from(layer.vary_percent)).filter(|vary| *vary > 0)
        {
            bytes = bytes * (100 - vary as usize + self.random.below(2 * vary + 1) as usize) / 100;
            bytes = bytes.min(1150);
        }
        stream.frame += 1;
        stream.picture_id = (stream.picture_id + 1) & 0x7FFF;
        stream.tl0 = stream.tl0.wrapping_add(1);
        let keyframe = stream.video.is_some() && stream.keyframe_wanted.swap(false, Ordering::Relaxed);
        // All of a frame is sealed first, so that it leaves back to back.
        self.sealed.clear();
        for part in 0..parts {
            stream.write(outlet.publisher, part, keyframe, bytes, due_ns, &mut self.packet);
            window.0 += 1;
            window.1 += self.packet.len() as u64;
            self.sealed.extend(outlet.context.encrypt_rtp(&self.packet).ok());
        }
        let mut left = 0;
        for packet in &self.sealed {
            self.report.late += u64::from(now_ns() > due_ns + LATE_NS);
            left += u64::from(outlet.socket.send(packet).is_ok());
        }
        self.report.sends += u64::from(parts);
        self.report.failed += u64::from(parts) - left;
        next_ns
    }
}
