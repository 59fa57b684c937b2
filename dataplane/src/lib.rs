//! Saal's media plane: thread-per-core workers that forward SRTP between the participants of a room.
//!
//! How to read this: [`link`] holds the two words that the control plane speaks with us. A packet passes four rooms:
//! `io` (completion) → `worker` (classify, find the participant) → `sfu` (open once in place, choose, rewrite, seal into
//! the send block) → `io` (one submit at the end of the turn).
#![deny(unsafe_code)]

pub mod config;
pub mod counters;
pub mod egress;
pub mod id;
pub mod io;
pub mod link;
pub mod sfu;
pub mod wire;

pub use config::{Config, Limits};

use crossbeam::channel::Receiver;

use crate::id::{Ssrc, WorkerId};
use crate::link::{Command, Event};
use crate::sfu::ice::IceCredentials;

/// The running workers.
#[derive(Debug)]
pub struct DataPlane {}

/// One row of the admin's table: worker i = core = port.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    pub id: WorkerId,
    pub port: u16,
    pub core: Option<usize>,
    pub backend: &'static str,
}

/// The worker's command queue is full, or the worker has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

impl DataPlane {
    /// Binds the ports and starts the threads.
    pub fn start(_config: Config) -> std::io::Result<DataPlane> {
        Ok(DataPlane {})
    }

    pub fn workers(&self) -> &[WorkerInfo] {
        &[]
    }

    /// One line for the admin when `io = auto` could not use io_uring.
    pub fn why_not_uring(&self) -> Option<&str> {
        None
    }

    /// SHA-256 of the DTLS certificate of this process.
    pub fn fingerprint(&self) -> [u8; 32] {
        [0; 32]
    }

    /// Fresh random credentials that name the worker and this process's generation.
    pub fn ice_credentials(&self, _worker: WorkerId) -> IceCredentials {
        IceCredentials { ufrag: String::new(), pwd: String::new() }
    }

    /// A fresh random SSRC, never zero.
    pub fn ssrc(&self) -> Ssrc {
        Ssrc(1)
    }

    /// Never blocks.
    pub fn send(&self, _worker: WorkerId, _command: Command) -> Result<(), Busy> {
        Err(Busy)
    }

    /// All workers' events; disconnected when every worker has stopped.
    pub fn events(&self) -> Receiver<(WorkerId, Event)> {
        crossbeam::channel::never()
    }

    /// Stops the workers and waits for their threads.
    pub fn shutdown(self) {}
}
