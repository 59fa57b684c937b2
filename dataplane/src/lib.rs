//! Saal's media plane: thread-per-core workers that forward SRTP between the participants of a room.
//!
//! How to read this: [`link`] holds the two words that the control plane speaks with us. A packet passes four rooms:
//! `io` (completion) → `worker` (classify, find the participant) → `sfu` (open once in place, choose, rewrite, seal into
//! the send block) → `io` (one submit at the end of the turn).
#![deny(unsafe_code)]

pub mod config;
pub mod counters;
mod door;
pub mod egress;
pub mod id;
pub mod io;
pub mod link;
mod pace;
pub mod probe;
mod relief;
pub mod remains;
mod rooms;
pub mod sfu;
#[cfg(feature = "sim")]
pub mod sim;
pub mod wire;
mod worker;

use std::thread::JoinHandle;

use aws_lc_rs::rand::fill;
use crossbeam::channel::{Receiver, Sender, bounded};

pub use config::{Config, Limits};
pub use io::yield_to_media;

use crate::door::Door;
use crate::id::{Ssrc, WorkerId};
use crate::io::{Net, SocketBuffers, SocketOptions, Waker};
use crate::link::{Command, Event};
use crate::sfu::dtls::Certificate;
use crate::sfu::ice::IceCredentials;
use crate::worker::Worker;

/// The running workers. Dropping it stops them.
#[derive(Debug)]
pub struct DataPlane {
    workers: Vec<WorkerInfo>,
    links: Vec<Link>,
    doorman: Option<JoinHandle<()>>,
    events: Receiver<(WorkerId, Box<Event>)>,
    why_not_uring: Option<String>,
    fingerprint: [u8; 32],
    generation: u16,
}

/// One row of the admin's table: worker i = core = port.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    pub id: WorkerId,
    pub port: u16,
    pub core: Option<usize>,
    pub backend: &'static str,
    pub buffers: SocketBuffers,
}

/// The worker's command queue is full, or the worker has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

#[derive(Debug)]
struct Link {
    commands: Sender<Box<Command>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// What a worker thread says once it stands.
struct Ready {
    port: u16,
    backend: &'static str,
    buffers: SocketBuffers,
    waker: Waker,
    why_not_uring: Option<String>,
    pinned: Option<usize>,
}

impl DataPlane {
    /// Makes the DTLS certificate, binds the ports and starts the threads. Fails when a port is taken, or when
    /// `io = uring` is asked for and not to be had; the error says what to do.
    pub fn start(config: Config) -> std::io::Result<DataPlane> {
        let certificate = Certificate::generate()
            .map_err(|_| std::io::Error::other("no DTLS certificate could be made"))?;
        let fingerprint = certificate.fingerprint();
        let (event_sender, events) = bounded(config.limits.events_max);
        let mut desks = Vec::new();
        let mut plane = DataPlane {
            workers: Vec::new(),
            links: Vec::new(),
            doorman: None,
            events,
            why_not_uring: None,
            fingerprint,
            generation: config.generation,
        };
        for (index, core) in config.cores.iter().copied().enumerate() {
            let id = WorkerId(index as u16);
            let port = match config.port {
                0 => 0,
                first => u16::try_from(usize::from(first) + index).map_err(|_| {
                    std::io::Error::other(format!(
                        "no UDP port is left for worker {index}: choose a lower first port"
                    ))
                })?,
            };
            let (commands, command_receiver) = bounded(config.limits.commands_max);
            let (ready_sender, ready) = bounded(1);
            let (door, mut desk) = Door::line(certificate.clone(), config.limits.handshake_queue_max);
            let (config, event_sender) = (config.clone(), event_sender.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                // A ring belongs to the thread that made it, so everything is opened here.
                let pinned = core.filter(|core| io::pin_to_core(*core).is_ok());
                // Where it is refused the media threads are woken as late as others.
                let _ = io::wake_promptly();
                match open(&config, port) {
                    Ok((net, why_not_uring)) => {
                        let (port, backend, waker) = (net.port(), net.backend(), net.waker());
                        let buffers = net.buffers();
                        let _ = ready_sender.send(Ok(Ready {
                            port,
                            backend,
                            buffers,
                            waker,
                            why_not_uring,
                            pinned,
                        }));
                        Worker::new(id, net, &config, door, system_random(), command_receiver, event_sender)
                            .run();
                    }
                    Err(error) => {
                        let _ = ready_sender.send(Err(error));
                    }
                }
            })?;
            let ready = ready
                .recv()
                .unwrap_or_else(|_| Err(std::io::Error::other("a worker thread ended at its start")))?;
            plane.why_not_uring = plane.why_not_uring.take().or(ready.why_not_uring);
            plane.workers.push(WorkerInfo {
                id,
                port: ready.port,
                core: ready.pinned,
                backend: ready.backend,
                buffers: ready.buffers,
            });
            desk.rings(ready.waker.clone());
            desks.push(desk);
            plane.links.push(Link { commands, waker: ready.waker, thread: Some(thread) });
        }
        let doorman = std::thread::Builder::new().name("doorman".into());
        plane.doorman = Some(doorman.spawn(move || door::run(desks))?);
        Ok(plane)
    }

    pub fn workers(&self) -> &[WorkerInfo] {
        &self.workers
    }

    /// One line for the admin when `io = auto` could not use io_uring.
    pub fn why_not_uring(&self) -> Option<&str> {
        self.why_not_uring.as_deref()
    }

    /// SHA-256 of the DTLS certificate of this process.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Fresh random credentials that name the worker and this process's generation.
    pub fn ice_credentials(&self, worker: WorkerId) -> IceCredentials {
        IceCredentials::generate(worker, self.generation, &mut system_random())
    }

    /// A fresh random SSRC, never zero.
    pub fn ssrc(&self) -> Ssrc {
        random_ssrc(&mut system_random())
    }

    /// Never blocks.
    pub fn send(&self, worker: WorkerId, command: Command) -> Result<(), Busy> {
        let link = self.links.get(usize::from(worker.0)).ok_or(Busy)?;
        link.commands.try_send(Box::new(command)).map_err(|_| Busy)?;
        link.waker.wake();
        Ok(())
    }

    /// All workers' events; disconnected when every worker has stopped.
    pub fn events(&self) -> Receiver<(WorkerId, Box<Event>)> {
        self.events.clone()
    }

    /// Stops the workers and waits for their threads.
    pub fn shutdown(self) {}
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        for link in &self.links {
            // A worker takes its whole queue each turn, so there is room for this soon.
            let _ = link.commands.send(Box::new(Command::Shutdown));
            link.waker.wake();
        }
        let workers = self.links.iter_mut().filter_map(|link| link.thread.take());
        // The doorman ends when its workers have.
        for thread in workers.chain(self.doorman.take()) {
            let _ = thread.join();
        }
    }
}

fn open(config: &Config, port: u16) -> std::io::Result<(Net, Option<String>)> {
    let options = SocketOptions {
        bind: config.bind,
        port,
        receive_buffer_bytes: config.limits.receive_buffer_bytes,
        send_buffer_bytes: config.limits.send_buffer_bytes,
        trains_off: config.limits.segments_max == 1,
    };
    Net::open(config.io, &options)
}

fn system_random() -> rooms::Random {
    Box::new(|bytes| fill(bytes).expect("the system's random source answered when the certificate was made"))
}

fn random_ssrc(random: &mut dyn FnMut(&mut [u8])) -> Ssrc {
    let mut bytes = [0; 4];
    random(&mut bytes);
    Ssrc(u32::from_be_bytes(bytes).max(1))
}
