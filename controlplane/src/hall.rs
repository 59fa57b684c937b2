//! Where the parts meet: the rooms' outputs go to sockets and workers, the workers' news go to rooms and sockets.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use hyper_tungstenite::tungstenite::Utf8Bytes;
use saal_dataplane::id::{ParticipantId, RoomId, SlotIndex, SourceKind};
use saal_dataplane::link::{MediaSpec, Quality, Showing};
use saal_dataplane::sfu::transport::{Gone, TransportSpec};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::limit::{ClientAddr, Key, Table};
use crate::media::{Media, News};
use crate::names::RoomKey;
use crate::receipt::{Receipts, Stay};
use crate::rooms::{Admitted, Departed, Entry, Join, Open, OpenError, Output, Pictures, Rooms, State};
use crate::signal::message::{GoneReason, MediaState, Refused, ServerMessage};
use crate::signal::seat::Seat;

/// Rooms, their sockets and their workers.
pub(crate) struct Hall {
    pub(crate) media: Media,
    pub(crate) receipts: Receipts,
    rooms: RefCell<Rooms>,
    members: RefCell<HashMap<ParticipantId, Member>>,
    /// Who has gone from the rooms and perhaps not from the data plane yet.
    leaving: RefCell<HashMap<ParticipantId, Leaving>>,
    failures: RefCell<Failures>,
    refusals: Cell<[u64; Refused::ALL.len()]>,
    videos_refused: Cell<u64>,
}

/// A participant's way out, and whether the data plane knows them.
struct Member {
    outbox: mpsc::Sender<Note>,
    room: RoomId,
    has_media: bool,
    /// Set when they have left: they get a receipt.
    departed: Option<Departed>,
    seat: Place,
}

/// Where a participant's end of the conversation is.
enum Place {
    /// With somebody who cannot be replaced: a program, or whoever has not sat down yet.
    Own,
    /// With the task of a connection, which hands it over when it gets this.
    Connected(oneshot::Sender<Successor>),
    /// Waits for them to come back.
    Kept(Box<Seat>),
}

/// A connection that goes on with the seat of another.
pub(crate) type Successor = oneshot::Sender<Seat>;

/// Their connection ends with this.
struct Leaving {
    outbox: mpsc::Sender<Note>,
    room: RoomId,
    stay: Stay,
}

/// What a session has to pass on to its socket. The end of the channel means: say goodbye.
pub(crate) enum Note {
    Say(Utf8Bytes),
    /// The last note of all.
    Receipt(Utf8Bytes),
    SlotShows {
        slot: SlotIndex,
        source: Option<(ParticipantId, SourceKind)>,
        how: Showing,
    },
    Publish {
        pictures: Pictures,
    },
    Admitted(Box<Admitted>),
}

/// Why a participant gets no media.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// They are not in the room any more.
    Left,
    Busy,
}

struct Failures {
    per_client: Table,
    per_room: Table,
    /// Of media tokens. Apart, because nobody can guess one: whoever sends wrong ones must not spend what guests have.
    tokens_per_client: Table,
}

/// Notes to one participant; whoever does not read for this long is gone. A lobby of 500 that is let in at once is two
/// notes for each to whoever let them in.
const OUTBOX_MAX: usize = 2048;

/// A worker answers within its turn. One that does not makes nobody wait: they go without a receipt.
const LEAVING_WITHIN: Duration = Duration::from_secs(2);

/// Refused joins per minute: of a campus behind one address, and of one name, existing or not.
const FAILURES_PER_CLIENT: u16 = 60;
const FAILURES_PER_ROOM: u16 = 120;
const WINDOW: Duration = Duration::from_secs(60);

impl Hall {
    pub(crate) fn new(media: Media, rooms: Rooms, receipts: Receipts) -> Hall {
        Hall {
            media,
            receipts,
            rooms: RefCell::new(rooms),
            members: RefCell::default(),
            leaving: RefCell::default(),
            failures: RefCell::new(Failures {
                per_client: Table::new(FAILURES_PER_CLIENT, WINDOW),
                per_room: Table::new(FAILURES_PER_ROOM, WINDOW),
                tokens_per_client: Table::new(FAILURES_PER_CLIENT, WINDOW),
            }),
            refusals: Cell::default(),
            videos_refused: Cell::default(),
        }
    }

    pub(crate) fn open(&self, open: Open) -> Result<(), OpenError> {
        let room = open.room;
        self.rooms.borrow_mut().open(Instant::now(), open)?;
        if self.media.open_room(room).is_err() {
            self.rooms.borrow_mut().discard(room);
            return Err(OpenError::Busy);
        }
        Ok(())
    }

    pub(crate) fn join(&self, join: Join) -> Result<(Entry, mpsc::Receiver<Note>), Refused> {
        let (room, participant) = (join.room, join.participant);
        let entry = self.rooms.borrow_mut().join(Instant::now(), join)?;
        let (outbox, notes) = mpsc::channel(OUTBOX_MAX);
        let member = Member { outbox, room, has_media: false, departed: None, seat: Place::Own };
        self.members.borrow_mut().insert(participant, member);
        self.settle();
        Ok((entry, notes))
    }

    /// A connection carries this participant's conversation from now on; what is returned ends when another one shall.
    pub(crate) fn sit(&self, participant: ParticipantId) -> impl Future<Output = Successor> + use<> {
        let (replace, replaced) = oneshot::channel();
        if let Some(member) = self.members.borrow_mut().get_mut(&participant) {
            member.seat = Place::Connected(replace);
        }
        async {
            match replaced.await {
                Ok(successor) => successor,
                // They have left, and their connection ends by itself.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// A connection broke: the seat waits for as long as the rooms keep the place.
    pub(crate) fn lose(&self, now: Instant, participant: ParticipantId, heard_at: Instant, seat: Seat) {
        if let Some(member) = self.members.borrow_mut().get_mut(&participant) {
            member.seat = Place::Kept(Box::new(seat));
        }
        self.with(|rooms| rooms.lose(now, participant, heard_at));
    }

    /// The seat of somebody who is back, from wherever it is.
    pub(crate) async fn seat(&self, participant: ParticipantId) -> Option<Seat> {
        let place = std::mem::replace(&mut self.members.borrow_mut().get_mut(&participant)?.seat, Place::Own);
        match place {
            Place::Own => None,
            Place::Kept(seat) => Some(*seat),
            Place::Connected(replace) => {
                let (successor, seat) = oneshot::channel();
                replace.send(successor).ok()?;
                seat.await.ok()
            }
        }
    }

    /// Lets the rooms do something and carries out what follows.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Rooms) -> T) -> T {
        let result = act(&mut self.rooms.borrow_mut());
        self.settle();
        result
    }

    /// Only looks.
    pub(crate) fn rooms<T>(&self, look: impl FnOnce(&Rooms) -> T) -> T {
        look(&self.rooms.borrow())
    }

    pub(crate) fn state(&self, participant: ParticipantId) -> State {
        self.rooms.borrow().state(participant)
    }

    pub(crate) fn withheld(&self, participant: ParticipantId) -> [bool; SourceKind::ALL.len()] {
        self.rooms.borrow().withheld(participant)
    }

    /// Makes a participant known to the data plane: only one who is in the room, because an offer may still be under way
    /// from somebody who has been removed.
    pub(crate) fn enter_media(
        &self,
        participant: ParticipantId,
        transport: TransportSpec,
        media: MediaSpec,
    ) -> Result<(), NoEntry> {
        let mut members = self.members.borrow_mut();
        let member = members.get_mut(&participant).ok_or(NoEntry::Left)?;
        self.media.join(member.room, participant, transport, media).map_err(|_| NoEntry::Busy)?;
        member.has_media = true;
        Ok(())
    }

    /// What a participant has switched on. A camera or a screen that comes on while the room's worker is full stays off;
    /// those are returned.
    pub(crate) fn set_state(
        &self,
        room: RoomId,
        participant: ParticipantId,
        mut state: State,
    ) -> Vec<SourceKind> {
        let before = self.state(participant);
        let mut refused = Vec::new();
        if !self.media.takes_video(room) {
            for (source, wanted, was_on) in [
                (SourceKind::Camera, &mut state.camera, before.camera),
                (SourceKind::Screen, &mut state.screen, before.screen),
            ] {
                if *wanted && !was_on {
                    *wanted = false;
                    refused.push(source);
                }
            }
        }
        self.videos_refused.set(self.videos_refused.get() + refused.len() as u64);
        self.with(|rooms| rooms.set_state(participant, state));
        refused
    }

    /// Whether somebody may come with so many cameras and screens switched on.
    pub(crate) fn takes_videos(&self, room: RoomId, videos: usize) -> bool {
        let takes = videos == 0 || self.media.takes_video(room);
        if !takes {
            self.videos_refused.set(self.videos_refused.get() + videos as u64);
        }
        takes
    }

    /// Cameras and screens that a full worker did not take.
    pub(crate) fn videos_refused(&self) -> u64 {
        self.videos_refused.get()
    }

    pub(crate) fn may_try(&self, client: ClientAddr, room: &RoomKey) -> bool {
        let now = Instant::now();
        let mut failures = self.failures.borrow_mut();
        !failures.per_client.is_spent(now, &Key::Client(client))
            && !failures.per_room.is_spent(now, &Key::Name(room.as_bytes()))
    }

    pub(crate) fn on_failure(&self, client: ClientAddr, room: &RoomKey) {
        let now = Instant::now();
        let mut failures = self.failures.borrow_mut();
        failures.per_client.charge(now, &Key::Client(client));
        failures.per_room.charge(now, &Key::Name(room.as_bytes()));
    }

    /// Counts a wrong media token; false when this client has sent enough of them.
    pub(crate) fn on_wrong_token(&self, client: ClientAddr) -> bool {
        let (now, key) = (Instant::now(), Key::Client(client));
        let tokens = &mut self.failures.borrow_mut().tokens_per_client;
        let is_spent = tokens.is_spent(now, &key);
        tokens.charge(now, &key);
        !is_spent
    }

    pub(crate) fn on_refused(&self, reason: Refused) {
        let mut refusals = self.refusals.get();
        refusals[reason as usize] += 1;
        self.refusals.set(refusals);
    }

    pub(crate) fn refusals(&self, reason: Refused) -> u64 {
        self.refusals.get()[reason as usize]
    }

    pub(crate) fn on_news(&self, news: News) {
        match news {
            News::Connected(participant) => {
                self.say(participant, &ServerMessage::Media { state: MediaState::Connected, reason: None });
            }
            News::Gone(participant, reason) => {
                let reason = Some(reason_of(reason));
                self.say(participant, &ServerMessage::Media { state: MediaState::Gone, reason });
                self.with(|rooms| rooms.leave(participant));
            }
            News::Refused(participant) => {
                self.on_refused(Refused::Busy);
                self.say(participant, &ServerMessage::Refused { reason: Refused::Busy });
                self.with(|rooms| rooms.leave(participant));
            }
            News::Left(participant) => {
                if let Some(leaving) = self.leaving.borrow_mut().remove(&participant) {
                    self.give_receipt(&leaving.outbox, &leaving.stay);
                }
            }
            News::RoomClosed(room) => {
                for (_, leaving) in self.leaving.borrow_mut().extract_if(|_, leaving| leaving.room == room) {
                    self.give_receipt(&leaving.outbox, &leaving.stay);
                }
            }
            News::SlotShows { participant, slot, source, how } => {
                self.pass(participant, Note::SlotShows { slot, source, how });
            }
            News::LayersWanted { participant, source, layers } => {
                self.say(participant, &ServerMessage::Layers { source: source.into(), layers });
            }
            News::Speakers(room, speakers) => self.with(|rooms| rooms.speakers(room, speakers)),
            News::Quality(participant, Quality { estimate_bps, loss_permille, round_trip_ms }) => {
                if !self.rooms(|rooms| rooms.wishes(participant)).unmeasured {
                    let message = ServerMessage::Quality { estimate_bps, loss_permille, round_trip_ms };
                    self.say(participant, &message);
                }
            }
        }
    }

    pub(crate) fn on_timeout(&self, now: Instant) {
        self.with(|rooms| rooms.on_timeout(now));
        self.media.on_timeout();
        self.leaving.borrow_mut().retain(|_, leaving| now < leaving.stay.left + LEAVING_WITHIN);
        let mut failures = self.failures.borrow_mut();
        failures.per_client.turn(now);
        failures.per_room.turn(now);
        failures.tokens_per_client.turn(now);
    }

    fn say(&self, participant: ParticipantId, message: &ServerMessage) {
        self.pass(participant, Note::Say(text_of(message)));
    }

    fn settle(&self) {
        loop {
            let Some(output) = self.rooms.borrow_mut().poll_output() else { return };
            match output {
                Output::Tell { to, message } => {
                    let text = text_of(&message);
                    to.into_iter().for_each(|participant| self.pass(participant, Note::Say(text.clone())));
                }
                Output::Publish { to, pictures } => {
                    let note =
                        |participant| self.pass(participant, Note::Publish { pictures: pictures.clone() });
                    to.into_iter().for_each(note);
                }
                Output::Admit { participant, admitted } => {
                    self.pass(participant, Note::Admitted(Box::new(admitted)));
                }
                Output::Receipt { participant, departed } => {
                    if let Some(member) = self.members.borrow_mut().get_mut(&participant) {
                        member.departed = Some(departed);
                    }
                }
                Output::Dismiss { participant } => self.dismiss(participant),
                Output::Leave { room, participant } => {
                    let has_media =
                        self.members.borrow().get(&participant).is_some_and(|member| member.has_media);
                    self.media.leave(room, participant, has_media);
                }
                Output::Switch { room, participant, source, on } => {
                    self.media.switch(room, participant, source, on)
                }
                Output::Withhold { room, participant, source, withheld } => {
                    self.media.withhold(room, participant, source, withheld);
                }
                Output::Object { room, participant, objects } => {
                    self.media.object(room, participant, objects)
                }
                Output::CloseRoom { room } => self.close(room),
            }
        }
    }

    /// The connection ends when both planes have forgotten the participant, the receipt being its last word.
    fn dismiss(&self, participant: ParticipantId) {
        let Some(member) = self.members.borrow_mut().remove(&participant) else { return };
        let Member { outbox, room, has_media, departed, seat } = member;
        // Whose seat is kept hears nothing more.
        drop(seat);
        let Some(departed) = departed else { return };
        let stay = Stay { departed, left: Instant::now(), had_media: has_media };
        if has_media {
            self.leaving.borrow_mut().insert(participant, Leaving { outbox, room, stay });
        } else {
            self.give_receipt(&outbox, &stay);
        }
    }

    fn give_receipt(&self, outbox: &mpsc::Sender<Note>, stay: &Stay) {
        // Whoever has closed the connection wants none.
        if !outbox.is_closed() {
            let receipt = self.receipts.issue(stay, Instant::now(), SystemTime::now());
            let _ = outbox.try_send(Note::Receipt(text_of(&receipt)));
        }
    }

    fn close(&self, room: RoomId) {
        self.media.close_room(room);
        crate::log::write(&crate::log::Entry::RoomClosed { rooms: self.rooms.borrow().room_count() });
    }

    /// Whoever does not take their notes is dropped: the session ends with its channel and then leaves.
    fn pass(&self, participant: ParticipantId, note: Note) {
        let mut members = self.members.borrow_mut();
        let Some(member) = members.get_mut(&participant) else { return };
        match member.outbox.try_send(note) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            // A closed channel, but a member still: `has_media` is needed when the session leaves.
            Err(TrySendError::Full(_)) => member.outbox = mpsc::channel(1).0,
        }
    }
}

pub(crate) fn text_of(message: &ServerMessage) -> Utf8Bytes {
    serde_json::to_string(message).expect("plain structs with string keys always serialise").into()
}

fn reason_of(gone: Gone) -> GoneReason {
    match gone {
        Gone::ConsentExpired => GoneReason::ConsentExpired,
        Gone::CloseNotify => GoneReason::CloseNotify,
        Gone::HandshakeFailed => GoneReason::HandshakeFailed,
        Gone::FingerprintMismatch => GoneReason::FingerprintMismatch,
    }
}

#[cfg(test)]
mod tests {
    use saal_dataplane::id::WorkerId;
    use saal_dataplane::link::Event;

    use super::*;
    use crate::media::Events;
    use crate::names::RoomName;
    use crate::rooms::Limits;
    use crate::signal::message::Kind;

    const ROOM: RoomId = RoomId(1);
    const ADA: ParticipantId = ParticipantId(2);
    const BOB: ParticipantId = ParticipantId(3);

    fn hall() -> Hall {
        hall_of_two().0
    }

    fn hall_and_news() -> (Hall, Events) {
        let (hall, events, _) = hall_of_two();
        (hall, events)
    }

    /// With what the worker says, and the notes to Ada and to Bob.
    fn hall_of_two() -> (Hall, Events, [mpsc::Receiver<Note>; 2]) {
        let config = saal_dataplane::Config {
            cores: vec![None],
            port: 0,
            bind: Some(std::net::Ipv4Addr::LOCALHOST.into()),
            io: saal_dataplane::io::IoChoice::Mio,
            generation: 1,
            limits: saal_dataplane::Limits::default(),
        };
        let (media, events) = Media::start(config).unwrap();
        let limits = Limits {
            waiting: Duration::from_secs(60),
            lost: Duration::from_secs(15),
            participants_max: 10,
            rooms_max: 10,
            rooms_per_organizer_max: 10,
        };
        let hall = Hall::new(media, Rooms::new(limits), Receipts::new().unwrap());
        let name = RoomName::new("hall").unwrap();
        hall.open(Open {
            room: ROOM,
            name,
            opened_by: "anna".into(),
            password: None,
            lobby: false,
            media_token_sha256: [0; 32],
        })
        .unwrap();
        let notes = [(ADA, "Ada"), (BOB, "Bob")].map(|(participant, name)| {
            let kind = Kind::Person;
            let client = ClientAddr::new("192.0.2.9".parse().unwrap());
            let name = name.into();
            let join = Join { room: ROOM, participant, name, account: None, kind, proof: None, client };
            hall.join(join).unwrap().1
        });
        (hall, events, notes)
    }

    #[test]
    fn wrong_media_tokens_keep_no_guest_out() {
        let hall = hall();
        let client = ClientAddr::new("192.0.2.1".parse().unwrap());
        let tokens = (0..10 * FAILURES_PER_ROOM).filter(|_| hall.on_wrong_token(client)).count();
        assert_eq!(tokens, usize::from(FAILURES_PER_CLIENT));
        assert!(hall.may_try(client, RoomName::new("hall").unwrap().key()));
    }

    fn enter(hall: &Hall, participant: ParticipantId) -> Result<(), NoEntry> {
        let (local, _) = hall.media.entrance(ROOM).unwrap();
        let transport = TransportSpec { local, remote_ufrag: "abcd".into(), fingerprint: [0; 32] };
        hall.enter_media(participant, transport, MediaSpec::default())
    }

    #[test]
    fn a_late_offer_of_somebody_who_has_gone_brings_nobody_into_the_data_plane() {
        let (hall, mut events) = hall_and_news();
        assert_eq!(enter(&hall, ADA), Ok(()));
        assert_eq!(enter(&hall, BOB), Ok(()));
        hall.with(|rooms| rooms.leave(BOB));
        assert_eq!(enter(&hall, BOB), Err(NoEntry::Left));
        let hear = async {
            while let Some((worker, event)) = events.recv().await {
                hall.media.on_event(worker, *event);
            }
        };
        // A worker takes its commands in order.
        let looked = async {
            tokio::select! {
                workers = hall.media.snapshots(Duration::from_secs(10)) => workers,
                () = hear => Vec::new(),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let [(_, Some(worker))] = &runtime.block_on(looked)[..] else { panic!("the worker does not answer") };
        assert_eq!(worker.rooms, [(ROOM, vec![ADA])]);
    }

    #[test]
    fn the_quality_of_a_line_is_told_to_its_owner_alone_unless_they_object() {
        let (hall, _events, [mut ada, mut bob]) = hall_of_two();
        let told = |notes: &mut mpsc::Receiver<Note>| {
            let notes = std::iter::from_fn(|| notes.try_recv().ok());
            let said = notes.filter_map(|note| if let Note::Say(text) = note { Some(text) } else { None });
            said.filter(|text| text.contains("quality")).collect::<Vec<_>>()
        };
        let quality = Quality { estimate_bps: Some(1_000_000), loss_permille: Some(12), round_trip_ms: None };
        hall.on_news(News::Quality(ADA, quality));
        let message = r#"{"type":"quality","estimate_bps":1000000,"loss_permille":12,"round_trip_ms":null}"#;
        assert_eq!(told(&mut ada), [message]);
        hall.with(|rooms| rooms.object_to_quality(ADA, true));
        hall.on_news(News::Quality(ADA, quality));
        assert_eq!((told(&mut ada), told(&mut bob)), (vec![], vec![]));
        hall.with(|rooms| rooms.object_to_quality(ADA, false));
        hall.on_news(News::Quality(ADA, quality));
        assert_eq!(told(&mut ada), [message], "withdrawing is as easy");
    }

    fn report(hall: &Hall, busy_percent: u8) {
        assert!(hall.media.on_event(WorkerId(0), Event::Load { busy_percent }).is_none());
    }

    #[test]
    fn a_full_worker_takes_no_more_video_but_keeps_what_it_has_and_takes_voices() {
        let hall = hall();
        let on = State { microphone: true, camera: true, screen: false, hand: false };
        assert_eq!(hall.set_state(ROOM, ADA, on), []);
        report(&hall, 95);
        report(&hall, 95);

        let all = State { screen: true, ..on };
        assert_eq!(hall.set_state(ROOM, BOB, all), [SourceKind::Camera, SourceKind::Screen]);
        assert_eq!(hall.state(BOB), State { microphone: true, ..State::default() });
        assert_eq!(hall.set_state(ROOM, ADA, all), [SourceKind::Screen]);
        assert_eq!(hall.state(ADA), on, "her camera goes on");
        assert_eq!(hall.videos_refused(), 3);

        report(&hall, 75);
        assert_eq!(hall.set_state(ROOM, BOB, on), [SourceKind::Camera]);
        report(&hall, 60);
        assert_eq!(hall.set_state(ROOM, BOB, on), []);
        assert_eq!(hall.state(BOB), on);
    }
}
