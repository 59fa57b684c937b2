//! One WebSocket from upgrade to goodbye: the socket pump, its limits and its clock. Knows no SDP.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use saal_dataplane::id::{ParticipantId, RoomId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use super::call::{Call, Next, message_budget};
use super::message::{ClientMessage, Id, Kind, Refused, ServerMessage, from_object};
use super::socket::Socket;
use crate::hall::{Note, text_of};
use crate::limit::{Bucket, ClientAddr};
use crate::names::{self, RoomName};
use crate::password::{Hash, Password};
use crate::random;
use crate::rooms::{Admitted, Entry, Join};
use crate::server::Server;

/// Who is at the other end.
pub(crate) struct Visitor {
    pub(crate) client: ClientAddr,
    pub(crate) account: Option<String>,
    pub(crate) room: RoomName,
}

/// However a conversation ends, a panic included, its participant leaves.
struct Stay<'a> {
    server: &'a Server,
    participant: ParticipantId,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.server.hall.with(|rooms| rooms.leave(self.participant));
    }
}

/// Why a conversation is over.
enum End {
    /// The other side has gone or will hear nothing more.
    Quiet,
    /// They have said goodbye and listen for the receipt.
    Left(mpsc::Receiver<Note>),
    Refused(Refused),
}

/// A browser joins as soon as the socket is open; its user has typed the name before.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// A dead peer is noticed after three missed pings.
const PING_EVERY: Duration = Duration::from_secs(5);
const SILENT_FOR_MAX: Duration = Duration::from_secs(15);

/// A peer that does not read is not written to for longer than this.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How long the last message may take to arrive before the connection is dropped.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// Both planes erase within a turn; whoever waits longer for their receipt goes without.
const RECEIPT_WITHIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(server: Rc<Server>, websocket: HyperWebsocket, visitor: Visitor) {
    let Ok(Ok(stream)) = timeout(JOIN_WITHIN, websocket).await else { return };
    let mut socket = Socket::new(stream).await;
    let participant = ParticipantId(random::u64());
    let stay = Stay { server: &server, participant };
    let end = converse(&server, &mut socket, visitor, participant).await;
    drop(stay);
    match end {
        End::Quiet => {}
        End::Left(notes) => {
            if let Ok(Some(receipt)) = timeout(RECEIPT_WITHIN, receipt(notes)).await {
                let _ = send(&mut socket, Message::Text(receipt)).await;
            }
        }
        End::Refused(reason) => {
            server.hall.on_refused(reason);
            let _ = send(&mut socket, Message::Text(text_of(&ServerMessage::Refused { reason }))).await;
        }
    }
    let _ = timeout(GOODBYE_WITHIN, socket.close()).await;
}

async fn converse(
    server: &Rc<Server>,
    socket: &mut Socket,
    visitor: Visitor,
    participant: ParticipantId,
) -> End {
    let joined = match timeout(JOIN_WITHIN, first_message(socket)).await {
        Ok(Ok((name, password))) => admit(server, &visitor, participant, name, password).await,
        Ok(Err(end)) => return end,
        Err(_) => return End::Refused(Refused::BadMessage),
    };
    let (room, entry, notes) = match joined {
        Ok(joined) => joined,
        Err(reason) => return End::Refused(reason),
    };
    // The address was for counting failures; from here on there is a name beside which it must not stand.
    drop(visitor);
    let mut place = Place { server, room, participant, call: None, frames: message_budget(Instant::now()) };
    let first = match entry {
        Entry::Admitted(admitted) => place.enter(admitted),
        Entry::Waits => ServerMessage::Waiting {},
    };
    if send(socket, Message::Text(text_of(&first))).await.is_err() {
        return End::Quiet;
    }
    talk(socket, place, notes).await
}

/// Where a visitor is: in the lobby, or in the call.
struct Place<'a> {
    server: &'a Rc<Server>,
    room: RoomId,
    participant: ParticipantId,
    /// `None` in the lobby.
    call: Option<Call>,
    /// In the lobby.
    frames: Bucket,
}

impl Place<'_> {
    fn enter(&mut self, admitted: Admitted) -> ServerMessage {
        self.call = Some(Call::new(self.server.clone(), self.room, self.participant));
        ServerMessage::Welcome {
            participant: Id(self.participant),
            room: admitted.room_name,
            organizer: admitted.organizer,
            participants: admitted.others,
            rules: admitted.rules,
            waiting: admitted.waiting,
            audio_slots: self.server.config.rooms.audio_slots,
            video_slots: self.server.config.rooms.video_slots,
        }
    }

    fn on_note(&mut self, note: Note) -> Option<Message> {
        let text = match note {
            Note::Say(text) | Note::Receipt(text) => text,
            Note::Admitted(admitted) => text_of(&self.enter(*admitted)),
            Note::SlotShows { slot, source } => text_of(&self.call.as_ref()?.slot_shows(slot, source)?),
            // For viewers only.
            Note::Publish { .. } => return None,
        };
        Some(Message::Text(text))
    }

    fn may_speak(&mut self, now: Instant) -> bool {
        match &mut self.call {
            Some(call) => call.may_speak(now),
            None => self.frames.take(now),
        }
    }

    /// In the lobby there is nothing to say but goodbye.
    fn on_message(&mut self, now: Instant, message: ClientMessage) -> Result<Next, Refused> {
        match (&mut self.call, message) {
            (Some(call), message) => call.on_message(now, message),
            (None, ClientMessage::Leave {}) => Ok(Next::Leave),
            (None, _) => Err(Refused::BadMessage),
        }
    }
}

/// The last note to somebody who has left; what was on its way to them before is not said any more.
async fn receipt(mut notes: mpsc::Receiver<Note>) -> Option<Utf8Bytes> {
    while let Some(note) = notes.recv().await {
        if let Note::Receipt(text) = note {
            return Some(text);
        }
    }
    None
}

async fn first_message(socket: &mut Socket) -> Result<(String, Password), End> {
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_))) => {
                return Err(End::Refused(Refused::BadMessage));
            }
            Some(Ok(Message::Close(_) | Message::Frame(_)) | Err(_)) | None => return Err(End::Quiet),
        };
        let Some(ClientMessage::Join { name, password }) = from_object(text.as_bytes()) else {
            return Err(End::Refused(Refused::BadMessage));
        };
        return Ok((name, password.unwrap_or_else(|| Password::new(""))));
    }
}

/// An absent room, a missing and a wrong password cost the same work and get the same answer.
async fn admit(
    server: &Rc<Server>,
    visitor: &Visitor,
    participant: ParticipantId,
    name: String,
    password: Password,
) -> Result<(RoomId, Entry, mpsc::Receiver<Note>), Refused> {
    let name = names::display_name(&name).ok_or(Refused::BadMessage)?;
    let hall = &server.hall;
    let account = visitor.account.clone();
    let (room, proof) = match own_room(server, visitor) {
        Some(room) => (room, None),
        None => stranger(server, visitor, password).await?,
    };
    let client = visitor.client;
    let join = Join { room, participant, kind: Kind::Person, name, account, proof, client };
    let (entry, notes) = hall.join(join)?;
    Ok((room, entry, notes))
}

/// The organizer who opened the room needs no password, and nobody's guessing keeps them out.
fn own_room(server: &Server, visitor: &Visitor) -> Option<RoomId> {
    let account = visitor.account.as_deref()?;
    server.hall.rooms(|rooms| rooms.own_entrance(visitor.room.key(), account))
}

/// The room and the hash that the password fits.
async fn stranger(
    server: &Server,
    visitor: &Visitor,
    password: Password,
) -> Result<(RoomId, Option<Hash>), Refused> {
    let hall = &server.hall;
    let key = visitor.room.key();
    let may_try = || hall.may_try(visitor.client, key).then_some(()).ok_or(Refused::TooManyAttempts);
    may_try()?;
    if let Some((room, None)) = hall.rooms(|rooms| rooms.entrance(key)) {
        return Ok((room, None));
    }
    let turn = server.hashing.turn().await.map_err(|_| Refused::Busy)?;
    // A thousand guesses may have come in the same second: those in line are not worked off once the budget is spent.
    may_try()?;
    let (room, hash) = hall.rooms(|rooms| rooms.entrance(key)).unzip();
    let hash = hash.flatten();
    let fits = turn.verify(password, hash.clone()).await.map_err(|_| Refused::Busy)?;
    room.filter(|_| fits).map(|room| (room, hash)).ok_or_else(|| {
        hall.on_failure(visitor.client, key);
        Refused::NotAdmitted
    })
}

async fn talk(socket: &mut Socket, mut place: Place<'_>, mut notes: mpsc::Receiver<Note>) -> End {
    let mut heard_at = Instant::now();
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let answer = tokio::select! {
            note = notes.recv() => match note {
                Some(note) => place.on_note(note),
                None => return End::Quiet,
            },
            _ = ping.tick() => {
                if heard_at.elapsed() > SILENT_FOR_MAX {
                    return End::Quiet;
                }
                Some(Message::Ping(Default::default()))
            }
            frame = socket.next() => {
                heard_at = Instant::now();
                if !place.may_speak(heard_at) {
                    return End::Refused(Refused::TooManyAttempts);
                }
                match frame {
                    Some(Ok(Message::Text(text))) => {
                        let Some(message) = from_object(text.as_bytes()) else {
                            return End::Refused(Refused::BadMessage);
                        };
                        match place.on_message(heard_at, message) {
                            Ok(Next::Answer(message)) => Some(Message::Text(text_of(&message))),
                            Ok(Next::GoOn) => None,
                            Ok(Next::Leave) => return End::Left(notes),
                            Err(reason) => return End::Refused(reason),
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
                    Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_))) => {
                        return End::Refused(Refused::BadMessage);
                    }
                    Some(Ok(Message::Close(_) | Message::Frame(_)) | Err(_)) | None => return End::Quiet,
                }
            }
        };
        if let Some(message) = answer
            && send(socket, message).await.is_err()
        {
            return End::Quiet;
        }
    }
}

/// An error also when the peer does not read.
async fn send(socket: &mut Socket, message: Message) -> Result<(), ()> {
    match timeout(WRITE_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
