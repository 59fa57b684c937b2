//! A greedy TCP download as far as a shared line can tell it from a real one: slow start, additive increase, halving once a
//! round trip on loss, and a timeout (RFC 5681). Sender and receiver are two hosts of the simulated network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use saal_dataplane::io::sim::SimSocket;

/// Bytes of a segment, headers included.
const SEGMENT_BYTES: usize = 1448;
/// Acknowledgements of later segments after which an earlier one counts as lost.
const DUPLICATES: u64 = 3;
const TIMEOUT: Duration = Duration::from_millis(1000);
const WINDOW_MIN: f64 = 2.0;

#[derive(Debug)]
pub struct Flow {
    sender: SimSocket,
    receiver: SimSocket,
    next: u64,
    /// When each was sent, and whether for the second time: those come behind their neighbours without being lost.
    flying: BTreeMap<u64, (Instant, bool)>,
    lost: BTreeSet<u64>,
    window: f64,
    threshold: f64,
    /// The window is not made smaller again for what was sent before this.
    recovers_until: u64,
    pub received_bytes: u64,
}

impl Flow {
    pub fn new(sender: SimSocket, receiver: SimSocket) -> Flow {
        Flow {
            sender,
            receiver,
            next: 0,
            flying: BTreeMap::new(),
            lost: BTreeSet::new(),
            window: 10.0,
            threshold: f64::INFINITY,
            recovers_until: 0,
            received_bytes: 0,
        }
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
            self.on_acknowledged(u64::from_be_bytes(number.try_into().expect("eight bytes were sent")));
        }
        if self.next_timeout().is_some_and(|at| at <= now) {
            moved = true;
            self.lost.extend(std::mem::take(&mut self.flying).into_keys());
            self.threshold = (self.window / 2.0).max(WINDOW_MIN);
            self.window = 1.0;
            self.recovers_until = self.next;
        }
        while self.flying.len() < self.window as usize {
            moved = true;
            let again = self.lost.pop_first();
            let number = again.unwrap_or(self.next);
            self.next = self.next.max(number + 1);
            let mut segment = [0; SEGMENT_BYTES];
            segment[..8].copy_from_slice(&number.to_be_bytes());
            self.sender.send_to(&segment, self.receiver.address());
            self.flying.insert(number, (now, again.is_some()));
        }
        moved
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.flying.values().map(|(sent, _)| *sent + TIMEOUT).min()
    }

    fn on_acknowledged(&mut self, number: u64) {
        if self.flying.remove(&number).is_none() {
            return;
        }
        self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
        let behind = self.flying.range(..number.saturating_sub(DUPLICATES));
        let late: Vec<u64> = behind.filter(|(_, (_, again))| !again).map(|(late, _)| *late).collect();
        for late in late {
            self.flying.remove(&late);
            self.lost.insert(late);
            if late >= self.recovers_until {
                self.window = (self.window / 2.0).max(WINDOW_MIN);
                self.threshold = self.window;
                self.recovers_until = self.next;
            }
        }
    }
}
