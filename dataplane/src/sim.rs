//! The data plane on the simulated network: one worker, turned by the test, on virtual time.

use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::Busy;
use crate::config::Config;
use crate::counters::Counters;
use crate::door::Door;
use crate::id::{Ssrc, WorkerId};
use crate::io::sim::SimNetwork;
use crate::link::{Command, Event};
use crate::sfu::dtls::Certificate;
use crate::sfu::ice::IceCredentials;
use crate::worker::Worker;

/// A single worker without a thread.
#[derive(Debug)]
pub struct SimDataPlane {
    worker: Worker,
    commands: Sender<Box<Command>>,
    events: Receiver<(WorkerId, Box<Event>)>,
    network: SimNetwork,
    port: u16,
    fingerprint: [u8; 32],
    generation: u16,
}

impl SimDataPlane {
    pub fn new(network: &SimNetwork, config: Config) -> SimDataPlane {
        let certificate = Certificate::generate().expect("the crypto library makes P-256 keys");
        let fingerprint = certificate.fingerprint();
        let (commands, command_receiver) = bounded(config.limits.commands_max);
        let (event_sender, events) = bounded(config.limits.events_max);
        let net = network.server(config.port);
        let random = crate::rooms::seeded(0x5aa1);
        let worker = Worker::new(
            WorkerId(0),
            net,
            &config,
            Door::inline(certificate),
            random,
            command_receiver,
            event_sender,
        );
        SimDataPlane {
            worker,
            commands,
            events,
            network: network.clone(),
            port: config.port,
            fingerprint,
            generation: config.generation,
        }
    }

    pub fn send(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(Box::new(command)).map_err(|_| Busy)
    }

    pub fn poll_event(&self) -> Option<Event> {
        self.events.try_recv().ok().map(|(_, event)| *event)
    }

    /// Processes everything due at the network's time, unless the core is still at work; see [`SimNetwork::set_cost`].
    pub fn turn(&mut self) {
        if self.network.free_at(self.port).is_none() {
            self.worker.turn();
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.network.free_at(self.port).or_else(|| self.worker.next_timeout())
    }

    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    pub fn ice_credentials(&self) -> IceCredentials {
        let mut random = crate::system_random();
        IceCredentials::generate(WorkerId(0), self.generation, &mut random)
    }

    pub fn ssrc(&self) -> Ssrc {
        crate::random_ssrc(&mut crate::system_random())
    }

    pub fn counters(&self) -> Counters {
        self.worker.counters()
    }
}
