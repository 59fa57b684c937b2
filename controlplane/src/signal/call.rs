//! One participant in one room: what their messages do. No socket, no clock of its own.

use std::rc::Rc;
use std::time::Instant;

use saal_dataplane::id::{ParticipantId, RoomId, SlotIndex, SourceKind};

use super::message::{ClientMessage, Id, Refused, ServerMessage};
use crate::names;
use crate::rooms::State;
use crate::server::Server;

/// A participant that has joined.
pub(crate) struct Call {
    server: Rc<Server>,
    #[expect(dead_code)]
    room: RoomId,
    me: ParticipantId,
}

pub(crate) enum Next {
    Answer(ServerMessage),
    GoOn,
    Leave,
}

impl Call {
    pub(crate) fn new(server: Rc<Server>, room: RoomId, me: ParticipantId) -> Call {
        Call { server, room, me }
    }

    pub(crate) fn on_message(&mut self, now: Instant, message: ClientMessage) -> Result<Next, Refused> {
        let hall = &self.server.hall;
        match message {
            ClientMessage::Join { .. } => return Err(Refused::BadMessage),
            ClientMessage::Offer { .. } => return Err(Refused::BadMessage),
            ClientMessage::State { microphone, camera, screen, hand } => {
                hall.with(|rooms| rooms.set_state(self.me, State { microphone, camera, screen, hand }));
            }
            ClientMessage::View { .. } => {}
            ClientMessage::Chat { text } => {
                let text = names::chat_text(&text).ok_or(Refused::BadMessage)?;
                hall.with(|rooms| rooms.chat(now, self.me, text));
            }
            ClientMessage::Rename { name } => {
                let name = names::display_name(&name).ok_or(Refused::BadMessage)?;
                hall.with(|rooms| rooms.rename(self.me, name));
            }
            ClientMessage::End {} => hall.with(|rooms| rooms.end(self.me))?,
            ClientMessage::Leave {} => return Ok(Next::Leave),
        }
        Ok(Next::GoOn)
    }

    pub(crate) fn slot_shows(
        &self,
        _slot: SlotIndex,
        source: Option<(ParticipantId, SourceKind)>,
    ) -> Option<ServerMessage> {
        let (participant, source) = source.unzip();
        Some(ServerMessage::Slot {
            slot: String::new(),
            participant: participant.map(Id),
            source: source.map(Into::into),
        })
    }
}
