//! A participant's end of the conversation, whichever connection carries it: the call, what waits to be said, and what was
//! said and may not have arrived. When a connection is lost the seat waits in the hall, and the next one goes on with it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use hyper_tungstenite::tungstenite::{Message, Utf8Bytes};
use saal_dataplane::id::{ParticipantId, RoomId};
use tokio::sync::mpsc;

use super::call::{Call, Next, message_budget};
use super::message::{ClientMessage, Id, Refused, ServerMessage, Token};
use crate::hall::{Note, text_of};
use crate::limit::Bucket;
use crate::rooms::{Admitted, Entry};
use crate::server::Server;

pub(crate) struct Seat {
    server: Rc<Server>,
    room: RoomId,
    participant: ParticipantId,
    /// `None` in the lobby.
    call: Option<Call>,
    /// In the lobby.
    frames: Bucket,
    notes: mpsc::Receiver<Note>,
    pub(super) said: Said,
    /// Messages that have arrived.
    heard: u64,
    pub(super) heard_at: Instant,
    is_silent: bool,
}

/// What was said last, until it is known to have arrived.
#[derive(Default)]
pub(super) struct Said {
    /// Messages said since the stay began.
    count: u64,
    /// The last of them.
    unconfirmed: VecDeque<Utf8Bytes>,
    bytes: usize,
    /// What the last ping asked for.
    asked: u64,
}

/// Pings go every few seconds and a lost place is kept for some more; who is told more than this meanwhile, a storm of
/// newcomers to a large room for example, cannot go on where it broke off and enters anew.
const UNCONFIRMED_BYTES_MAX: usize = 512 * 1024;

/// More than this is not kept until the next ping is due, but asked after at once.
const UNASKED_BYTES_MAX: usize = 4 * 1024;

impl Seat {
    pub(super) fn new(
        server: Rc<Server>,
        room: RoomId,
        participant: ParticipantId,
        notes: mpsc::Receiver<Note>,
    ) -> Seat {
        let now = Instant::now();
        let frames = message_budget(now);
        let said = Said::default();
        Seat {
            server,
            room,
            participant,
            call: None,
            frames,
            notes,
            said,
            heard: 0,
            heard_at: now,
            is_silent: false,
        }
    }

    /// The first word to a newcomer.
    pub(super) fn take(&mut self, entry: Entry) -> Utf8Bytes {
        match entry {
            Entry::Admitted(admitted) => self.enter(admitted),
            Entry::Waits => self.say(&ServerMessage::Waiting {}),
        }
    }

    /// To another connection of theirs, which has heard so many messages: what it has to be told first. `None` when that
    /// is not known any more.
    pub(super) fn go_on(&mut self, heard: u64) -> Option<Vec<Utf8Bytes>> {
        let missed = self.said.since(heard)?;
        let resumed = ServerMessage::Resumed { resume: self.token(), heard: self.heard };
        Some([text_of(&resumed)].into_iter().chain(missed).collect())
    }

    /// `None`: nothing more will come.
    pub(super) async fn next_note(&mut self) -> Option<Note> {
        self.notes.recv().await
    }

    pub(super) fn on_note(&mut self, note: Note) -> Option<Utf8Bytes> {
        match note {
            Note::Say(text) | Note::Receipt(text) => Some(self.said.push(text)),
            Note::Admitted(admitted) => Some(self.enter(*admitted)),
            Note::SlotShows { slot, source, how } => {
                let message = self.call.as_ref()?.slot_shows(slot, source, how)?;
                Some(self.say(&message))
            }
            // For viewers only.
            Note::Publish { .. } => None,
        }
    }

    /// A frame has come; whether this participant may say something more.
    pub(super) fn on_frame(&mut self, now: Instant) -> bool {
        self.heard_at = now;
        self.set_silent(false);
        match &mut self.call {
            Some(call) => call.may_speak(now),
            None => self.frames.take(now),
        }
    }

    /// In the lobby there is nothing to say but goodbye.
    pub(super) fn on_message(&mut self, now: Instant, message: ClientMessage) -> Result<Heard, Refused> {
        if let ClientMessage::Ping {} = message {
            return Ok(Heard::Answer(text_of(&ServerMessage::Pong { heard: self.heard })));
        }
        self.heard += 1;
        let next = match (&mut self.call, message) {
            (Some(call), message) => call.on_message(now, message)?,
            (None, ClientMessage::Leave {}) => Next::Leave,
            (None, _) => return Err(Refused::BadMessage),
        };
        Ok(match next {
            Next::Answer(message) => Heard::Answer(self.say(&message)),
            Next::GoOn => Heard::GoOn,
            Next::Leave => Heard::Leave,
        })
    }

    /// Nothing has come for longer than it should: the others see it.
    pub(super) fn set_silent(&mut self, silent: bool) {
        if std::mem::replace(&mut self.is_silent, silent) != silent {
            self.server.hall.with(|rooms| rooms.set_silent(self.participant, silent));
        }
    }

    /// The last note to somebody who has left; what was on its way to them before is not said any more.
    pub(super) async fn receipt(mut self) -> Option<Utf8Bytes> {
        while let Some(note) = self.notes.recv().await {
            if let Note::Receipt(text) = note {
                return Some(text);
            }
        }
        None
    }

    fn enter(&mut self, admitted: Admitted) -> Utf8Bytes {
        self.call = Some(Call::new(self.server.clone(), self.room, self.participant));
        let welcome = ServerMessage::Welcome {
            participant: Id(self.participant),
            resume: self.token(),
            room: admitted.room_name,
            organizer: admitted.organizer,
            participants: admitted.others,
            speakers: admitted.speakers,
            rules: admitted.rules,
            waiting: admitted.waiting,
            audio_slots: self.server.config.rooms.audio_slots,
            video_slots: self.server.config.rooms.video_slots,
        };
        self.say(&welcome)
    }

    /// The one that counts from now on.
    fn token(&self) -> Token {
        let token = Token::new();
        self.server.hall.with(|rooms| rooms.set_return(self.participant, token.sha256()));
        token
    }

    fn say(&mut self, message: &ServerMessage) -> Utf8Bytes {
        self.said.push(text_of(message))
    }
}

/// What follows from a message.
pub(super) enum Heard {
    Answer(Utf8Bytes),
    GoOn,
    Leave,
}

impl Said {
    fn push(&mut self, text: Utf8Bytes) -> Utf8Bytes {
        self.count += 1;
        self.bytes += text.len();
        self.unconfirmed.push_back(text.clone());
        while self.bytes > UNCONFIRMED_BYTES_MAX {
            self.forget_first();
        }
        text
    }

    /// Asks whether everything so far has arrived. The pong repeats it (RFC 6455 §5.5.3) and so says what has.
    pub(super) fn ping(&mut self) -> Message {
        self.asked = self.count;
        Message::Ping(self.count.to_be_bytes().to_vec().into())
    }

    /// Much has been said since, and nothing is on its way that asks for it.
    pub(super) fn is_worth_a_ping(&self) -> bool {
        self.bytes > UNASKED_BYTES_MAX && self.asked <= self.first()
    }

    pub(super) fn on_pong(&mut self, payload: &[u8]) {
        if let Ok(count) = payload.try_into() {
            self.confirm(u64::from_be_bytes(count));
        }
    }

    /// So many have arrived.
    fn confirm(&mut self, arrived: u64) {
        while self.first() < arrived && !self.unconfirmed.is_empty() {
            self.forget_first();
        }
        if self.unconfirmed.is_empty() {
            self.unconfirmed = VecDeque::new();
        }
    }

    /// What has not, to somebody who has heard so many.
    fn since(&mut self, heard: u64) -> Option<Vec<Utf8Bytes>> {
        let known = self.first() <= heard && heard <= self.count;
        self.confirm(heard);
        known.then(|| self.unconfirmed.iter().cloned().collect())
    }

    /// How many came before the first that is kept.
    fn first(&self) -> u64 {
        self.count - self.unconfirmed.len() as u64
    }

    fn forget_first(&mut self) {
        if let Some(text) = self.unconfirmed.pop_front() {
            self.bytes -= text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str]) -> Said {
        let mut said = Said::default();
        texts.iter().for_each(|text| drop(said.push((*text).into())));
        said
    }

    #[test]
    fn what_has_not_arrived_is_said_again_and_nothing_twice() {
        let mut said = said(&["a", "b", "c"]);
        said.confirm(1);
        assert_eq!(said.since(1), Some(vec!["b".into(), "c".into()]));
        assert_eq!(said.since(2), Some(vec!["c".into()]));
        assert_eq!(said.since(1), None, "they have said that they have heard it");
        said.push("d".into());
        assert_eq!(said.since(3), Some(vec!["d".into()]));
        assert_eq!(said.since(4), Some(vec![]));
        assert_eq!(said.since(5), None, "more than was said");
    }

    #[test]
    fn a_confirmation_of_more_than_was_said_is_one_of_everything() {
        let mut said = said(&["a"]);
        said.confirm(u64::MAX);
        said.push("b".into());
        assert_eq!((said.first(), said.count, said.bytes), (1, 2, 1));
    }

    #[test]
    fn much_that_was_said_is_asked_after_once() {
        let long = "x".repeat(UNASKED_BYTES_MAX);
        let mut said = said(&["a", &long]);
        assert!(said.is_worth_a_ping());
        let Message::Ping(count) = said.ping() else { panic!("a ping") };
        said.push("b".into());
        assert!(!said.is_worth_a_ping(), "one is on its way");
        said.on_pong(&count);
        assert_eq!((said.first(), said.is_worth_a_ping()), (2, false));
        said.push(long.as_str().into());
        assert!(said.is_worth_a_ping());
        said.on_pong(b"of another kind");
        assert_eq!(said.first(), 2);
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let long = "x".repeat(UNCONFIRMED_BYTES_MAX / 2);
        let mut said = said(&[&long, &long, "y"]);
        assert!(said.bytes <= UNCONFIRMED_BYTES_MAX);
        assert_eq!(said.since(0), None);
        assert_eq!(said.since(1).map(|missed| missed.len()), Some(2));
    }
}
