//! The only file that sends a `Command` and reads an `Event`: which worker has which room, and what must not get lost.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use saal_dataplane::id::{ParticipantId, RoomId, SlotIndex, SourceKind, Ssrc, WorkerId};
use saal_dataplane::link::{Command, Event, MediaSpec, Quality, Refusal, Showing, Snapshot, Wish};
use saal_dataplane::sfu::ice::IceCredentials;
use saal_dataplane::sfu::transport::{Gone, TransportSpec};
use saal_dataplane::{Busy, DataPlane, WorkerInfo};
use tokio::sync::{mpsc, oneshot};

use crate::load::Load;
use crate::log;

/// The data plane as the rest of the control plane sees it.
pub(crate) struct Media {
    plane: DataPlane,
    table: RefCell<Table>,
    request: Cell<u64>,
}

/// What the data plane says, as far as anybody outside this file cares.
pub(crate) enum News {
    Connected(ParticipantId),
    Gone(ParticipantId, Gone),
    Refused(ParticipantId),
    /// The data plane has forgotten a participant who left.
    Left(ParticipantId),
    /// ... or a whole room.
    RoomClosed(RoomId),
    SlotShows {
        participant: ParticipantId,
        slot: SlotIndex,
        source: Option<(ParticipantId, SourceKind)>,
        how: Showing,
    },
    LayersWanted {
        participant: ParticipantId,
        source: SourceKind,
        layers: u8,
    },
    Speakers(RoomId, Vec<ParticipantId>),
    /// Of the line to this participant, for nobody else.
    Quality(ParticipantId, Quality),
}

/// What arrives from the thread that listens to the workers; `None` from the channel: all workers have stopped.
pub(crate) type Events = mpsc::Receiver<(WorkerId, Box<Event>)>;

#[derive(Default)]
struct Table {
    rooms: HashMap<RoomId, Place>,
    workers: Vec<Worker>,
    snapshots: HashMap<u64, oneshot::Sender<Box<Snapshot>>>,
}

/// Where a room lives and how many are in it.
struct Place {
    worker: usize,
    participants: usize,
}

struct Worker {
    info: WorkerInfo,
    load: Load,
    rooms: usize,
    participants: usize,
    /// Commands that may not be lost, while the worker's queue is full. In order.
    backlog: VecDeque<Box<Command>>,
}

/// A worker that takes nothing for this many commands is lost anyway.
const BACKLOG_MAX: usize = 8192;

/// A worker's turn takes well under a millisecond.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Events on their way from the listening thread.
const EVENTS_MAX: usize = 1024;

impl Media {
    pub(crate) fn start(config: saal_dataplane::Config) -> std::io::Result<(Media, Events)> {
        let plane = DataPlane::start(config)?;
        let events = plane.events();
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let listen = move || {
            while let Ok(event) = events.recv() {
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("saal-events".into()).spawn(listen)?;
        let worker = |info: &WorkerInfo| Worker {
            info: info.clone(),
            load: Load::default(),
            rooms: 0,
            participants: 0,
            backlog: VecDeque::new(),
        };
        let table = Table { workers: plane.workers().iter().map(worker).collect(), ..Table::default() };
        Ok((Media { plane, table: RefCell::new(table), request: Cell::new(0) }, receiver))
    }

    pub(crate) fn workers(&self) -> &[WorkerInfo] {
        self.plane.workers()
    }

    pub(crate) fn why_not_uring(&self) -> Option<&str> {
        self.plane.why_not_uring()
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.plane.fingerprint()
    }

    pub(crate) fn ssrc(&self) -> Ssrc {
        self.plane.ssrc()
    }

    /// Puts the room onto the least busy worker among those that take it, of equally busy ones onto that with the fewest
    /// participants. One that has stopped is idle, but takes nothing.
    pub(crate) fn open_room(&self, room: RoomId) -> Result<(), Busy> {
        let mut table = self.table.borrow_mut();
        let mut by_load: Vec<usize> = (0..table.workers.len()).collect();
        by_load.sort_by_key(|&worker| {
            let worker = &table.workers[worker];
            (worker.load.rank(), worker.participants, worker.rooms)
        });
        let takes = |&worker: &usize| self.ask(&table.workers[worker], Command::OpenRoom { room }).is_ok();
        let worker = by_load.into_iter().find(takes).ok_or(Busy)?;
        table.workers[worker].rooms += 1;
        table.workers[worker].load.on_placed();
        table.rooms.insert(room, Place { worker, participants: 0 });
        Ok(())
    }

    pub(crate) fn close_room(&self, room: RoomId) {
        let mut table = self.table.borrow_mut();
        let Some(place) = table.rooms.remove(&room) else { return };
        let worker = &mut table.workers[place.worker];
        worker.rooms -= 1;
        worker.participants -= place.participants;
        self.insist(worker, Command::CloseRoom { room });
    }

    /// Whether the worker of this room has time for another camera or screen.
    pub(crate) fn takes_video(&self, room: RoomId) -> bool {
        let table = self.table.borrow();
        table.rooms.get(&room).is_none_or(|place| table.workers[place.worker].load.takes_video())
    }

    /// Fresh ICE credentials and the UDP port for a participant of this room.
    pub(crate) fn entrance(&self, room: RoomId) -> Option<(IceCredentials, u16)> {
        let table = self.table.borrow();
        let info = &table.workers[table.rooms.get(&room)?.worker].info;
        Some((self.plane.ice_credentials(info.id), info.port))
    }

    pub(crate) fn join(
        &self,
        room: RoomId,
        participant: ParticipantId,
        transport: TransportSpec,
        media: MediaSpec,
    ) -> Result<(), Busy> {
        let mut table = self.table.borrow_mut();
        let Table { rooms, workers, .. } = &mut *table;
        let place = rooms.get_mut(&room).ok_or(Busy)?;
        let worker = &mut workers[place.worker];
        self.ask(worker, Command::Join { room, participant, transport })?;
        place.participants += 1;
        worker.participants += 1;
        self.insist(worker, Command::Negotiate { room, participant, media });
        Ok(())
    }

    /// `has_joined`: [`Media::join`] has succeeded for this participant.
    pub(crate) fn leave(&self, room: RoomId, participant: ParticipantId, has_joined: bool) {
        let mut table = self.table.borrow_mut();
        let Table { rooms, workers, .. } = &mut *table;
        let Some(place) = rooms.get_mut(&room).filter(|_| has_joined) else { return };
        let worker = &mut workers[place.worker];
        place.participants -= 1;
        worker.participants -= 1;
        self.insist(worker, Command::Leave { room, participant });
    }

    pub(crate) fn negotiate(&self, room: RoomId, participant: ParticipantId, media: MediaSpec) {
        self.tell(room, Command::Negotiate { room, participant, media });
    }

    pub(crate) fn restart_ice(&self, room: RoomId, participant: ParticipantId, local: IceCredentials) {
        self.tell(room, Command::RestartIce { room, participant, local });
    }

    pub(crate) fn view(&self, room: RoomId, participant: ParticipantId, wishes: Vec<Wish>) {
        self.tell(room, Command::View { room, participant, wishes });
    }

    pub(crate) fn switch(&self, room: RoomId, participant: ParticipantId, source: SourceKind, on: bool) {
        self.tell(room, Command::Switch { room, participant, source, on });
    }

    /// Nothing of the source is forwarded until it is released, whatever its owner has switched on.
    pub(crate) fn withhold(
        &self,
        room: RoomId,
        participant: ParticipantId,
        source: SourceKind,
        withheld: bool,
    ) {
        self.tell(room, Command::Withhold { room, participant, source, withheld });
    }

    pub(crate) fn object(&self, room: RoomId, participant: ParticipantId, objects: bool) {
        self.tell(room, Command::Object { room, participant, objects });
    }

    /// What an event means to others; a snapshot goes to whoever asked for it.
    pub(crate) fn on_event(&self, worker: WorkerId, event: Event) -> Option<News> {
        match event {
            Event::Connected { participant, .. } => Some(News::Connected(participant)),
            Event::Disconnected { participant, reason, .. } => Some(News::Gone(participant, reason)),
            Event::Refused { participant, why, .. } => match why {
                Refusal::RoomFull | Refusal::NoSuchRoom | Refusal::DuplicateId => {
                    Some(News::Refused(participant))
                }
            },
            Event::SlotShows { participant, slot, source, how, .. } => {
                Some(News::SlotShows { participant, slot, source, how })
            }
            Event::LayersWanted { participant, source, layers, .. } => {
                Some(News::LayersWanted { participant, source, layers })
            }
            Event::Speakers { room, speakers } => Some(News::Speakers(room, speakers)),
            Event::Left { participant, .. } => Some(News::Left(participant)),
            Event::Quality { participant, quality, .. } => Some(News::Quality(participant, quality)),
            Event::RoomClosed { room } => Some(News::RoomClosed(room)),
            Event::Load { busy_percent } => {
                let mut table = self.table.borrow_mut();
                table.workers.get_mut(usize::from(worker.0))?.load.on_report(busy_percent);
                None
            }
            Event::Snapshot { request, snapshot } => {
                let asked = self.table.borrow_mut().snapshots.remove(&request)?;
                let _ = asked.send(snapshot);
                None
            }
        }
    }

    /// Every worker's snapshot; `None` for a worker that does not answer within `patience`.
    pub(crate) async fn snapshots(&self, patience: Duration) -> Vec<(WorkerInfo, Option<Box<Snapshot>>)> {
        let deadline = tokio::time::Instant::now() + patience;
        let asked: Vec<_> =
            self.workers().iter().map(|info| (info.clone(), self.ask_snapshot(info.id))).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for (info, (request, answer)) in asked {
            let answer = tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok);
            self.table.borrow_mut().snapshots.remove(&request);
            answers.push((info, answer));
        }
        answers
    }

    /// Hands on what had to wait.
    pub(crate) fn on_timeout(&self) {
        for worker in &mut self.table.borrow_mut().workers {
            self.drain_backlog(worker);
        }
    }

    /// Stops the workers and waits for them, but not for one that hangs: `false`.
    pub(crate) fn shut_down(self) -> bool {
        let plane = self.plane;
        let (done, stopped) = std::sync::mpsc::channel();
        let stop = move || {
            plane.shutdown();
            // Nobody listens after the patience.
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("saal-stop".into()).spawn(stop);
        thread.is_ok() && stopped.recv_timeout(STOP_WITHIN).is_ok()
    }

    fn ask_snapshot(&self, worker: WorkerId) -> (u64, oneshot::Receiver<Box<Snapshot>>) {
        let request = self.request.get() + 1;
        self.request.set(request);
        let (sender, receiver) = oneshot::channel();
        if self.plane.send(worker, Command::Snapshot { request }).is_ok() {
            self.table.borrow_mut().snapshots.insert(request, sender);
        }
        (request, receiver)
    }

    fn tell(&self, room: RoomId, command: Command) {
        let mut table = self.table.borrow_mut();
        let Some(worker) = table.rooms.get(&room).map(|place| place.worker) else { return };
        self.insist(&mut table.workers[worker], command);
    }

    /// May be refused; never overtakes what waits.
    fn ask(&self, worker: &Worker, command: Command) -> Result<(), Busy> {
        if !worker.backlog.is_empty() {
            return Err(Busy);
        }
        self.plane.send(worker.info.id, command)
    }

    /// Waits in the backlog when the worker's queue is full.
    fn insist(&self, worker: &mut Worker, command: Command) {
        worker.backlog.push_back(Box::new(command));
        self.drain_backlog(worker);
    }

    fn drain_backlog(&self, worker: &mut Worker) {
        while let Some(command) = worker.backlog.front() {
            if self.plane.send(worker.info.id, (**command).clone()).is_err() {
                break;
            }
            worker.backlog.pop_front();
        }
        if worker.backlog.len() > BACKLOG_MAX {
            worker.backlog.clear();
            log::write(&log::Entry::CommandsLost { worker: worker.info.id.0 });
        }
    }
}
