//! One WebSocket from upgrade to goodbye: the socket pump, its limits and its clock. Knows no SDP.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper_tungstenite::HyperWebsocket;
use hyper_tungstenite::tungstenite::error::ProtocolError;
use hyper_tungstenite::tungstenite::protocol::CloseFrame;
use hyper_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use hyper_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use saal_dataplane::id::{ParticipantId, RoomId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use super::message::{ClientMessage, Kind, Refused, ServerMessage, Token, from_object};
use super::seat::{Heard, Seat};
use super::socket::Socket;
use crate::auth::SessionKey;
use crate::hall::{Note, Successor, text_of};
use crate::limit::ClientAddr;
use crate::names::{self, RoomName};
use crate::password::{Hash, Password};
use crate::random;
use crate::rooms::{Entry, Join};
use crate::server::Server;

/// Who is at the other end.
pub(crate) struct Visitor {
    pub(crate) client: ClientAddr,
    pub(crate) session: Option<SessionKey>,
    pub(crate) room: RoomName,
}

/// However a conversation ends, a panic included, its participant leaves, unless another connection goes on with it.
struct Stay<'a> {
    server: &'a Server,
    participant: ParticipantId,
    goes_on: bool,
}

impl Stay<'_> {
    fn new(server: &Server, participant: ParticipantId) -> Stay<'_> {
        Stay { server, participant, goes_on: false }
    }

    /// The participant stays.
    fn go_on(mut self) {
        self.goes_on = true;
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        if !self.goes_on {
            self.server.hall.with(|rooms| rooms.leave(self.participant));
        }
    }
}

/// How somebody begins: anew, or where they broke off.
enum First {
    Join { name: String, password: Password },
    Resume { token: Token, heard: u64 },
}

/// Why a conversation is over.
enum End {
    /// The other side has gone or will hear nothing more.
    Quiet,
    /// The connection broke; they may come back.
    Lost,
    /// They are back on another connection already, which waits for the seat.
    Replaced(Successor),
    /// They have said goodbye and listen for the receipt.
    Left,
    Refused(Refused),
}

/// A browser joins as soon as the socket is open; its user has typed the name before.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// A dead peer is noticed after three missed pings, and the others see after the first that something is wrong.
const PING_EVERY: Duration = Duration::from_secs(5);
const SILENT_AFTER: Duration = Duration::from_secs(6);
pub(crate) const SILENT_FOR_MAX: Duration = Duration::from_secs(15);

/// A peer that does not read is not written to for longer than this.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// How long the last message may take to arrive before the connection is dropped.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// Both planes erase within a turn; whoever waits longer for their receipt goes without.
const RECEIPT_WITHIN: Duration = Duration::from_secs(1);

/// The task of the connection before is on this thread and hands over in its next turn.
const SEAT_WITHIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(server: Rc<Server>, websocket: HyperWebsocket, visitor: Visitor) {
    let Ok(Ok(stream)) = timeout(JOIN_WITHIN, websocket).await else { return };
    let mut socket = Socket::new(stream).await;
    let last_word = converse(&server, &mut socket, visitor).await;
    if let Some(text) = last_word {
        let _ = send(&mut socket, Message::Text(text)).await;
    }
    let _ = timeout(GOODBYE_WITHIN, socket.close()).await;
}

/// The last word, if there is one.
async fn converse(server: &Rc<Server>, socket: &mut Socket, visitor: Visitor) -> Option<Utf8Bytes> {
    let refuse = |reason| {
        server.hall.on_refused(reason);
        Some(text_of(&ServerMessage::Refused { reason }))
    };
    let participant = ParticipantId(random::u64());
    let begun = match timeout(JOIN_WITHIN, first_message(socket)).await {
        Ok(Ok(First::Join { name, password })) => {
            let stay = Stay::new(server, participant);
            let admitted = admit(server, &visitor, participant, name, password).await;
            admitted.map(|(room, entry, notes)| {
                let mut seat = Seat::new(server.clone(), room, participant, notes);
                let first = seat.take(entry);
                (stay, seat, vec![first])
            })
        }
        Ok(Ok(First::Resume { token, heard })) => resume(server, &visitor, &token, heard).await,
        Ok(Err(Some(reason))) => return refuse(reason),
        Ok(Err(None)) => return None,
        Err(_) => return refuse(Refused::BadMessage),
    };
    // The address was for counting failures; from here on there is a name beside which it must not stand.
    drop(visitor);
    let (stay, mut seat, first) = match begun {
        Ok(begun) => begun,
        Err(reason) => return refuse(reason),
    };
    let replaced = server.hall.sit(stay.participant);
    let end = tokio::select! {
        biased;
        successor = replaced => End::Replaced(successor),
        end = talk(socket, &mut seat, first) => end,
    };
    match end {
        End::Quiet => None,
        End::Lost => {
            let (participant, heard_at) = (stay.participant, seat.heard_at);
            server.hall.lose(Instant::now(), participant, heard_at, seat);
            stay.go_on();
            None
        }
        End::Replaced(successor) => {
            // One that has gone again meanwhile gives it back, and the participant leaves.
            if successor.send(seat).is_ok() {
                stay.go_on();
            }
            None
        }
        End::Left => {
            drop(stay);
            timeout(RECEIPT_WITHIN, seat.receipt()).await.ok().flatten()
        }
        End::Refused(reason) => refuse(reason),
    }
}

/// Goes on with the seat of somebody whose connection broke, or breaks without the server having noticed yet.
async fn resume<'a>(
    server: &'a Rc<Server>,
    visitor: &Visitor,
    token: &Token,
    heard: u64,
) -> Result<(Stay<'a>, Seat, Vec<Utf8Bytes>), Refused> {
    let hall = &server.hall;
    let (key, sha256) = (visitor.room.key(), token.sha256());
    let participant = hall.with(|rooms| rooms.resume(key, &sha256, visitor.client));
    let participant = participant.ok_or(Refused::NotAdmitted)?;
    let stay = Stay::new(server, participant);
    let seat = timeout(SEAT_WITHIN, hall.seat(participant)).await.ok().flatten();
    let mut seat = seat.ok_or(Refused::NotAdmitted)?;
    // Each return is told to everybody, and costs what a message costs.
    if !seat.on_frame(Instant::now()) {
        return Err(Refused::TooManyAttempts);
    }
    let missed = seat.go_on(heard).ok_or(Refused::NotAdmitted)?;
    Ok((stay, seat, missed))
}

/// An error without a reason: they have gone.
async fn first_message(socket: &mut Socket) -> Result<First, Option<Refused>> {
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_))) => return Err(Some(Refused::BadMessage)),
            Some(Ok(Message::Close(_) | Message::Frame(_)) | Err(_)) | None => return Err(None),
        };
        return match from_object(text.as_bytes()) {
            Some(ClientMessage::Join { name, password }) => {
                Ok(First::Join { name, password: password.unwrap_or_else(|| Password::new("")) })
            }
            Some(ClientMessage::Resume { token, heard }) => Ok(First::Resume { token, heard }),
            Some(_) | None => Err(Some(Refused::BadMessage)),
        };
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
    let (room, proof) = match own_room(server, visitor) {
        Some(room) => (room, None),
        None => stranger(server, visitor, password).await?,
    };
    let (client, account) = (visitor.client, account_of(server, visitor));
    let join = Join { room, participant, kind: Kind::Person, name, account, proof, client };
    let (entry, notes) = hall.join(join)?;
    Ok((room, entry, notes))
}

/// Who is signed in at this moment: an account may have ended since the connection began.
fn account_of(server: &Server, visitor: &Visitor) -> Option<String> {
    visitor.session.as_ref().and_then(|session| server.auth.account_of(session))
}

/// The organizer who opened the room needs no password, and nobody's guessing keeps them out.
fn own_room(server: &Server, visitor: &Visitor) -> Option<RoomId> {
    let account = account_of(server, visitor)?;
    server.hall.rooms(|rooms| rooms.own_entrance(visitor.room.key(), &account))
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

/// May be dropped while it waits: what has been taken from the seat is in what it said.
async fn talk(socket: &mut Socket, seat: &mut Seat, first: Vec<Utf8Bytes>) -> End {
    for text in first {
        if send(socket, Message::Text(text)).await.is_err() {
            return End::Lost;
        }
    }
    // The welcome to a large room is long, and forgotten as soon as it is known to have arrived.
    if send(socket, seat.said.ping()).await.is_err() {
        return End::Lost;
    }
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let silence_ends = tokio::time::Instant::from_std(seat.heard_at + SILENT_FOR_MAX);
        let answer = tokio::select! {
            () = tokio::time::sleep_until(silence_ends) => return End::Quiet,
            note = seat.next_note() => match note {
                Some(note) => seat.on_note(note).map(Message::Text),
                None => return End::Quiet,
            },
            _ = ping.tick() => {
                if seat.heard_at.elapsed() > SILENT_AFTER {
                    seat.set_silent(true);
                }
                Some(seat.said.ping())
            }
            frame = socket.next() => {
                let now = Instant::now();
                if !seat.on_frame(now) {
                    return End::Refused(Refused::TooManyAttempts);
                }
                match frame {
                    Some(Ok(Message::Text(text))) => {
                        let Some(message) = from_object(text.as_bytes()) else {
                            return End::Refused(Refused::BadMessage);
                        };
                        match seat.on_message(now, message) {
                            Ok(Heard::Answer(text)) => Some(Message::Text(text)),
                            Ok(Heard::GoOn) => None,
                            Ok(Heard::Leave) => return End::Left,
                            Err(reason) => return End::Refused(reason),
                        }
                    }
                    Some(Ok(Message::Pong(payload))) => {
                        seat.said.on_pong(&payload);
                        None
                    }
                    Some(Ok(Message::Ping(_))) => None,
                    Some(Ok(Message::Binary(_)) | Err(Error::Capacity(_))) => {
                        return End::Refused(Refused::BadMessage);
                    }
                    Some(Ok(Message::Close(why))) => return if is_goodbye(why.as_ref()) { End::Quiet } else { End::Lost },
                    // Nobody said goodbye.
                    Some(Err(Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => {
                        return End::Lost;
                    }
                    Some(Ok(Message::Frame(_)) | Err(_)) => return End::Quiet,
                }
            }
        };
        if let Some(message) = answer
            && send(socket, message).await.is_err()
        {
            return End::Lost;
        }
        if seat.said.is_worth_a_ping() && send(socket, seat.said.ping()).await.is_err() {
            return End::Lost;
        }
    }
}

/// A page that is closed or left says so; one that gives up a broken connection to begin another uses a code of its own.
fn is_goodbye(why: Option<&CloseFrame>) -> bool {
    why.is_none_or(|frame| matches!(frame.code, CloseCode::Normal | CloseCode::Away | CloseCode::Status))
}

/// An error also when the peer does not read.
async fn send(socket: &mut Socket, message: Message) -> Result<(), ()> {
    match timeout(WRITE_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
