//! A download between two hosts of the simulated network.

use std::net::SocketAddr;
use std::time::Instant;

use saal_dataplane::io::sim::SimSocket;
use saal_tools::download::{Download, SEGMENT_BYTES};

#[derive(Debug)]
pub struct Flow {
    sender: SimSocket,
    receiver: SimSocket,
    download: Download,
    pub received_bytes: u64,
}

impl Flow {
    pub fn new(sender: SimSocket, receiver: SimSocket) -> Flow {
        Flow { sender, receiver, download: Download::default(), received_bytes: 0 }
    }

    pub fn sender(&self) -> &SimSocket {
        &self.sender
    }

    /// Moves what has arrived and is due. True: something happened.
    pub fn turn(&mut self, now: Instant) -> bool {
        let mut moved = false;
        let back: SocketAddr = self.sender.address();
        while let Some((segment, _)) = self.receiver.recv() {
            moved = true;
            self.received_bytes += segment.len() as u64;
            self.receiver.send_to(&segment[..8], back);
        }
        while let Some((number, _)) = self.sender.recv() {
            moved = true;
            let number = number.try_into().expect("eight bytes were sent");
            self.download.on_acknowledged(u64::from_be_bytes(number));
        }
        moved |= self.download.on_time(now);
        while let Some(number) = self.download.next_segment(now) {
            moved = true;
            let mut segment = [0; SEGMENT_BYTES];
            segment[..8].copy_from_slice(&number.to_be_bytes());
            self.sender.send_to(&segment, self.receiver.address());
        }
        moved
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.download.next_timeout()
    }
}
