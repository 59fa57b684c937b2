//! One core's turn: completions → rooms → commands → timers → flush. The only file that knows both `io` and `sfu`.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError};

use crate::config::{Config, Limits};
use crate::door::Door;
use crate::egress::{Egress, SEGMENTS_MAX};
use crate::id::WorkerId;
use crate::io::Net;
use crate::io::memory::overwrite_stack;
use crate::link::{Command, Event, Snapshot};
use crate::pace::Pace;
use crate::rooms::{Random, Rooms};

/// Bytes of one send block: a train of 26 full packets.
const EGRESS_BLOCK_BYTES: usize = 32 * 1024;
/// Commands taken per turn, so that a burst of them delays no packet for long.
const COMMANDS_PER_TURN_MAX: usize = 32;
/// Datagrams taken between two looks at the clock and the command queue.
const DATAGRAMS_PER_TURN_MAX: usize = 256;
/// How long a packet waits for the rest of its frame, which nobody can show before: a sender's burst of a frame is over
/// in less.
const FRAME_HOLD: Duration = Duration::from_micros(300);
/// Send blocks kept free before anything is looked at: two for every participant who may be answered or reported to.
const BLOCKS_PER_RECEIVER: usize = 2;
/// The worker looks at the command queue at least this often, whatever happened to a wake-up.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How often a worker says how busy it is.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before events are offered again to a control plane that takes none: no core spins for it.
const EVENTS_RETRY: Duration = Duration::from_millis(10);
/// Work in a row without having taken all that had arrived: sound that came meanwhile is about as late.
const BEHIND_MAX: Duration = Duration::from_millis(40);
/// Least time between two wipes, however many leave: one takes up to a millisecond.
const WIPE_INTERVAL: Duration = Duration::from_secs(1);
/// Waits that may fail in a row. Past that the socket or the ring is lost, and a worker that only spins would look
/// healthy while it carries nothing.
const WAIT_FAILURES_MAX: u32 = 1000;

#[derive(Debug)]
pub(crate) struct Worker {
    id: WorkerId,
    net: Net,
    egress: Egress,
    rooms: Rooms,
    commands: Receiver<Box<Command>>,
    events: Sender<(WorkerId, Box<Event>)>,
    blocks_min: usize,
    pace: Pace,
    /// How busy the worker had been when it last had taken all that had arrived, while that is not so.
    behind_since: Option<Duration>,
    wiped_at: Instant,
    /// Datagrams received by then.
    wiped_in: u64,
    /// When the control plane was last told how busy the worker is, and how busy it had been by then in all.
    reported: (Instant, Duration),
}

impl Worker {
    pub(crate) fn new(
        id: WorkerId,
        net: Net,
        config: &Config,
        door: Door,
        random: Random,
        commands: Receiver<Box<Command>>,
        events: Sender<(WorkerId, Box<Event>)>,
    ) -> Worker {
        let limits: Limits = config.limits;
        let epoch = net.now();
        let blocks_min = limits.participants_per_room_max * BLOCKS_PER_RECEIVER;
        Worker {
            id,
            egress: Egress::new(
                limits.egress_blocks.max(blocks_min * 2),
                EGRESS_BLOCK_BYTES,
                // With trains off they are made all the same, and `io` sends them packet by packet: the comparison is of
                // system calls, not of memory.
                if limits.segments_max == 1 { SEGMENTS_MAX } else { limits.segments_max },
            ),
            rooms: Rooms::new(door, limits, epoch, random),
            net,
            commands,
            events,
            blocks_min,
            pace: Pace::new(epoch, &limits),
            reported: (epoch, Duration::ZERO),
            behind_since: None,
            wiped_at: epoch,
            wiped_in: 0,
        }
    }

    /// Turns until [`Command::Shutdown`]; panics when the network is lost, so that the thread's end is seen by all.
    pub(crate) fn run(mut self) {
        let mut failures = 0;
        while self.turn() {
            let now = self.net.now();
            let waited = match self.pace.rest(now, self.batch_due()) {
                Some(rest) => self.net.rest(rest, &mut self.egress),
                None => {
                    let timeout =
                        self.next_timeout().map_or(WAIT_MAX, |at| at.saturating_duration_since(now));
                    self.net.wait(Some(timeout.min(WAIT_MAX)), &mut self.egress)
                }
            };
            match waited {
                Ok(()) => failures = 0,
                // No datagram can cause it; the next turn tries again.
                Err(_) => failures += 1,
            }
            assert!(failures < WAIT_FAILURES_MAX, "the worker's socket or ring is lost");
        }
    }

    /// Everything that has arrived or is due. `false` after [`Command::Shutdown`].
    pub(crate) fn turn(&mut self) -> bool {
        let now = self.net.now();
        self.rooms.shared.counters.turns += 1;
        self.look_at_load(now);
        let mut drained = false;
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            let Some(datagram) = self.net.next_datagram() else {
                drained = self.net.is_drained();
                break;
            };
            self.rooms.on_datagram(now, &datagram.path, datagram.bytes, &mut self.egress);
            if self.egress.free_blocks() < self.blocks_min {
                flush(&mut self.net, &mut self.egress);
            }
            if self.rooms.batch_is_full() {
                self.fan_out(now);
            }
        }
        if self.batch_due().is_some_and(|at| at <= now) {
            self.fan_out(now);
        }
        self.rooms.on_words(now, &mut self.egress);
        for _ in 0..COMMANDS_PER_TURN_MAX {
            match self.commands.try_recv().map(|command| *command) {
                Ok(Command::Shutdown) => return false,
                Ok(Command::Snapshot { request }) => self.snapshot(request),
                Ok(command) => self.rooms.on_command(now, command),
                Err(_) => break,
            }
        }
        if self.rooms.next_timeout().is_some_and(|at| at <= now) {
            let (net, blocks_min) = (&mut self.net, self.blocks_min);
            self.rooms.on_timeout(now, &mut self.egress, |egress| {
                if egress.free_blocks() < blocks_min {
                    flush(net, egress);
                }
            });
        }
        flush(&mut self.net, &mut self.egress);
        self.look_at_backlog(now, drained);
        self.send_events();
        self.wipe(now);
        true
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if !self.commands.is_empty() || self.rooms.has_words() {
            return Some(self.net.now());
        }
        let retry = (!self.rooms.shared.events.is_empty()).then(|| self.net.now() + EVENTS_RETRY);
        retry.into_iter().chain(self.rooms.next_timeout()).chain(self.batch_due()).min()
    }

    #[cfg(feature = "sim")]
    pub(crate) fn counters(&self) -> crate::counters::Counters {
        self.rooms.shared.counters
    }

    fn batch_due(&self) -> Option<Instant> {
        self.rooms.batch_due(self.pace.tick(), FRAME_HOLD)
    }

    /// At intervals: how busy the worker is, and what follows from it.
    fn look_at_load(&mut self, now: Instant) {
        if !self.pace.is_due(now) {
            return;
        }
        let busy = self.net.busy();
        self.pace.on_busy(now, busy);
        self.rooms.shared.padding_percent = self.pace.padding_percent();
        self.rooms.shared.relief.on_busy(self.pace.busy_percent());
        self.rooms.shared.counters.relief_permille = self.rooms.shared.relief.permille().into();
        self.rooms.shared.counters.busy = busy;
        self.rooms.shared.counters.tick_us = self.pace.tick().as_micros() as u64;
        let (since, before) = self.reported;
        let passed = now.saturating_duration_since(since);
        if passed >= LOAD_INTERVAL {
            let busy_percent = (100.0 * (busy - before).as_secs_f64() / passed.as_secs_f64()).round() as u8;
            self.rooms.shared.events.push_back(Event::Load { busy_percent });
            self.reported = (now, busy);
        }
    }

    /// When the worker has been behind what arrives for as much work as nobody should wait for, pictures stop at once: what
    /// waits in the socket is sound as well. `drained`: the turn that began at `now` found no more than it took. What came
    /// while it was sent on has waited all the same, and a turn after another that take so long are work in a row.
    fn look_at_backlog(&mut self, now: Instant, drained: bool) {
        let ended = self.net.now();
        if drained && ended.saturating_duration_since(now) < BEHIND_MAX {
            self.behind_since = None;
            return;
        }
        // Processor time, so that a core that was taken away for a moment counts for nothing.
        let busy = self.net.busy();
        let since = *self.behind_since.get_or_insert(busy);
        if busy - since >= BEHIND_MAX {
            self.rooms.stop_pictures(ended);
            self.behind_since = Some(busy);
        }
    }

    /// Overwrites what buffers, tables and the stack hold of those who have gone. The packet path itself cleans up
    /// nothing: what is in a buffer is overwritten by the next packet, and by this when people leave.
    fn wipe(&mut self, now: Instant) {
        if now < self.wiped_at + WIPE_INTERVAL || !self.rooms.leaves_traces() {
            return;
        }
        let received = self.net.counters().datagrams_in;
        if received == self.wiped_in && !self.rooms.has_left() {
            return;
        }
        self.egress.wipe();
        self.net.wipe();
        self.rooms.wipe();
        overwrite_stack();
        (self.wiped_at, self.wiped_in) = (now, received);
    }

    fn fan_out(&mut self, now: Instant) {
        self.pace.on_departure(now);
        let net = &mut self.net;
        self.rooms.fan_out(now, &mut self.egress, |egress| flush(net, egress));
        // Handshakes and reports of this turn find blocks, whatever one receiver has used up.
        if self.egress.free_blocks() < self.blocks_min {
            flush(net, &mut self.egress);
        }
    }

    fn snapshot(&mut self, request: u64) {
        let rooms = self.rooms.census();
        let mut counters = self.rooms.shared.counters;
        counters.rooms = rooms.len() as u64;
        counters.handshakes_waiting = self.rooms.handshakes_waiting() as u64;
        counters.participants = rooms.iter().map(|(_, p)| p.len() as u64).sum();
        let snapshot = Box::new(Snapshot { counters, io: self.net.counters(), rooms });
        self.rooms.shared.events.push_back(Event::Snapshot { request, snapshot });
    }

    /// State changes are never dropped: what the queue does not take stays for the next turn.
    fn send_events(&mut self) {
        while let Some(event) = self.rooms.shared.events.pop_front() {
            match self.events.try_send((self.id, Box::new(event))) {
                Ok(()) => {}
                Err(TrySendError::Full((_, event))) => {
                    self.rooms.shared.events.push_front(*event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.rooms.shared.events.clear(),
            }
        }
    }
}

fn flush(net: &mut Net, egress: &mut Egress) {
    // A refused send is counted by the backend; there is nobody else to tell.
    let _ = net.flush(egress);
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use crossbeam::channel::bounded;

    use super::*;
    use crate::id::RoomId;
    use crate::io::IoChoice;
    use crate::io::sim::SimNetwork;
    use crate::sfu::dtls::Certificate;

    #[test]
    fn a_control_plane_that_takes_no_events_makes_no_worker_spin_and_loses_none() {
        let network = SimNetwork::new(1);
        let config = Config {
            cores: vec![None],
            port: 4000,
            bind: None,
            io: IoChoice::Auto,
            generation: 1,
            limits: Limits::default(),
        };
        let (commands, receiver) = bounded(16);
        let (sender, events) = bounded(1);
        let random = crate::rooms::seeded(1);
        let door = Door::inline(Certificate::generate().unwrap());
        let net = network.server(config.port);
        let mut worker = Worker::new(WorkerId(0), net, &config, door, random, receiver, sender);
        for room in 0..3 {
            commands.send(Box::new(Command::CloseRoom { room: RoomId(room) })).unwrap();
        }
        worker.turn();
        let wait = worker.next_timeout().unwrap() - worker.net.now();
        assert!(wait >= EVENTS_RETRY);
        for room in 0..3 {
            let (_, event) = events.try_recv().unwrap();
            assert!(matches!(*event, Event::RoomClosed { room: RoomId(closed) } if closed == room));
            worker.turn();
        }
    }
}
