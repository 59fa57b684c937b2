//! One participant in one room: what their messages do. No socket, no clock of its own.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use saal_dataplane::id::{Mid, ParticipantId, RoomId, SlotIndex, SourceKind};
use saal_dataplane::link::{Showing, Wish};
use saal_dataplane::sfu::ice::IceCredentials;
use saal_dataplane::sfu::transport::TransportSpec;
use tokio::task::spawn_local;

use super::message::{ClientMessage, Connection, Id, OfferedSource, Refused, ServerMessage, SlotWish};
use crate::hall::NoEntry;
use crate::limit::Bucket;
use crate::names;
use crate::password::Password;
use crate::random;
use crate::rooms::State;
use crate::sdp;
use crate::server::Server;

/// A participant that has joined.
pub(crate) struct Call {
    server: Rc<Server>,
    room: RoomId,
    me: ParticipantId,
    messages: Bucket,
    offers: Bucket,
    /// Since the first offer.
    negotiated: Option<Negotiated>,
    /// The last wish; said again when slots appear.
    view: Vec<SlotWish>,
}

/// What the offers so far have led to.
struct Negotiated {
    local: IceCredentials,
    port: u16,
    remote_ufrag: String,
    fingerprint: [u8; 32],
    session: u64,
    version: u64,
    cname: String,
    held: sdp::HeldSsrcs,
    /// By [`SlotIndex`].
    slots: Vec<Mid>,
}

pub(crate) enum Next {
    Answer(ServerMessage),
    GoOn,
    Leave,
}

/// Messages of one client at once, and per second in the long run: a page in use sends a few.
const MESSAGE_BURST: u16 = 100;
const MESSAGES_PER_SECOND: f64 = 30.0;

/// Offers at once, and per second in the long run: one at the start, one per change of network or layout.
const OFFER_BURST: u16 = 5;
const OFFERS_PER_SECOND: f64 = 0.5;

pub(super) fn message_budget(now: Instant) -> Bucket {
    Bucket::new(now, MESSAGE_BURST, MESSAGES_PER_SECOND)
}

impl Call {
    pub(crate) fn new(server: Rc<Server>, room: RoomId, me: ParticipantId) -> Call {
        let now = Instant::now();
        let messages = message_budget(now);
        let offers = Bucket::new(now, OFFER_BURST, OFFERS_PER_SECOND);
        Call { server, room, me, messages, offers, negotiated: None, view: Vec::new() }
    }

    /// Whether this participant may say something more.
    pub(crate) fn may_speak(&mut self, now: Instant) -> bool {
        self.messages.take(now)
    }

    pub(crate) fn on_message(&mut self, now: Instant, message: ClientMessage) -> Result<Next, Refused> {
        let hall = &self.server.hall;
        if message.is_for_organizers() && hall.rooms(|rooms| rooms.may_be_mistaken(self.me)) {
            return Ok(Next::GoOn);
        }
        match message {
            // The session's own.
            ClientMessage::Join { .. } | ClientMessage::Resume { .. } | ClientMessage::Ping {} => {
                return Err(Refused::BadMessage);
            }
            ClientMessage::Offer { sdp, sources } => {
                return self.on_offer(now, &sdp, &sources);
            }
            ClientMessage::State { microphone, camera, screen, hand } => {
                let state = State { microphone, camera, screen, hand };
                let refused = hall.set_state(self.room, self.me, state);
                if !refused.is_empty() {
                    let sources = refused.into_iter().map(Into::into).collect();
                    return Ok(Next::Answer(ServerMessage::VideoRefused { sources }));
                }
            }
            ClientMessage::View { slots } => {
                if slots.len() > saal_dataplane::Limits::default().slots_max {
                    return Err(Refused::BadMessage);
                }
                self.view = slots;
                self.tell_view();
            }
            ClientMessage::Chat { text } => {
                let text = names::chat_text(&text).ok_or(Refused::BadMessage)?;
                hall.with(|rooms| rooms.chat(now, self.me, text));
            }
            ClientMessage::DeleteChat { line } => hall.with(|rooms| rooms.delete_chat(self.me, line)),
            ClientMessage::Pause { on } => hall.with(|rooms| rooms.pause(self.me, on)),
            ClientMessage::Object { speaker_detection, quality } => hall.with(|rooms| {
                if let Some(objects) = speaker_detection {
                    rooms.object(self.me, objects);
                }
                if let Some(objects) = quality {
                    rooms.object_to_quality(self.me, objects);
                }
            }),
            ClientMessage::MyData {} => {
                if let Some(mut data) = hall.rooms(|rooms| rooms.record(now, SystemTime::now(), self.me)) {
                    data.connection = self.connection(now);
                    return Ok(Next::Answer(ServerMessage::MyData { data: Box::new(data) }));
                }
            }
            ClientMessage::Rename { name } => {
                let name = names::display_name(&name).ok_or(Refused::BadMessage)?;
                hall.with(|rooms| rooms.rename(self.me, name));
            }
            ClientMessage::End {} => hall.with(|rooms| rooms.end(self.me))?,
            ClientMessage::Leave {} => return Ok(Next::Leave),
            ClientMessage::Rules(wish) => hall.with(|rooms| rooms.set_rules(now, self.me, wish))?,
            ClientMessage::Password { password } => self.on_password(password)?,
            ClientMessage::Admit { participants } => {
                let waiting = ids(&participants);
                hall.with(|rooms| rooms.admit(now, self.me, &waiting))?;
            }
            ClientMessage::TurnAway { participants } => {
                let waiting = ids(&participants);
                hall.with(|rooms| rooms.turn_away(self.me, &waiting))?;
            }
            ClientMessage::Mute { source, participant } => {
                let participant = participant.map(|id| id.0);
                hall.with(|rooms| rooms.mute(self.me, source.into(), participant))?;
            }
            ClientMessage::Block { participant, source, blocked } => {
                hall.with(|rooms| rooms.block(self.me, participant.0, source.into(), blocked))?;
            }
            ClientMessage::Remove { participant } => {
                hall.with(|rooms| rooms.remove(self.me, participant.0))?;
            }
        }
        Ok(Next::GoOn)
    }

    /// The message for a slot that shows something else from now on.
    pub(crate) fn slot_shows(
        &self,
        slot: SlotIndex,
        source: Option<(ParticipantId, SourceKind)>,
        how: Showing,
    ) -> Option<ServerMessage> {
        let mid = self.negotiated.as_ref()?.slots.get(usize::from(slot.0))?;
        let slot = shown(mid);
        let (participant, source) = source.unzip();
        let (participant, source) = (participant.map(Id), source.map(Into::into));
        let (paused, limit) = match how {
            Showing::Whole => (false, None),
            Showing::Smaller(limit) => (false, Some(limit.into())),
            Showing::Paused(limit) => (true, Some(limit.into())),
        };
        Some(ServerMessage::Slot { slot, participant, source, paused, limit })
    }

    fn connection(&self, now: Instant) -> Option<Connection> {
        let negotiated = self.negotiated.as_ref()?;
        Some(Connection {
            ice_ufrag: negotiated.remote_ufrag.clone(),
            certificate_sha256: random::hex(&negotiated.fingerprint),
            cname: negotiated.cname.clone(),
            offers: negotiated.version,
            slots: negotiated.slots.iter().map(shown).collect(),
            view: self.view.clone(),
            messages_allowed: self.messages.left(now),
            offers_allowed: self.offers.left(now),
        })
    }

    fn on_offer(&mut self, now: Instant, text: &str, sources: &[OfferedSource]) -> Result<Next, Refused> {
        if !self.offers.take(now) {
            return Err(Refused::TooManyAttempts);
        }
        let media = &self.server.hall.media;
        let offer = sdp::parse(text).map_err(|_| Refused::BadMessage)?;
        let sources = sources
            .iter()
            .map(|offered| Some((Mid::new(offered.mid.as_bytes())?, offered.source.into())))
            .collect::<Option<Vec<(Mid, SourceKind)>>>()
            .ok_or(Refused::BadMessage)?;
        let limits = sdp::SlotLimits {
            audio: self.server.config.rooms.audio_slots,
            video: self.server.config.rooms.video_slots,
        };
        let is_first = self.negotiated.is_none();
        if is_first {
            let (local, port) = media.entrance(self.room).ok_or(Refused::Busy)?;
            self.negotiated = Some(Negotiated {
                local,
                port,
                remote_ufrag: offer.ufrag.clone(),
                fingerprint: offer.fingerprint,
                session: random::u64(),
                version: 0,
                cname: format!("{:016x}", random::u64()),
                held: sdp::HeldSsrcs::default(),
                slots: Vec::new(),
            });
        }
        let negotiated = self.negotiated.as_mut().ok_or(Refused::Busy)?;
        // A connection's certificate stays the same for life; another one is another connection.
        if negotiated.fingerprint != offer.fingerprint {
            return Err(Refused::BadMessage);
        }
        let held = &mut negotiated.held;
        let (spec, roles) = sdp::negotiate(&offer, &sources, held, limits, &mut || media.ssrc())
            .map_err(|_| Refused::BadMessage)?;
        negotiated.version += 1;
        negotiated.slots = spec.slots.iter().map(|slot| slot.mid).collect();
        if is_first {
            let transport = TransportSpec {
                local: negotiated.local.clone(),
                remote_ufrag: offer.ufrag.clone(),
                fingerprint: offer.fingerprint,
            };
            match self.server.hall.enter_media(self.me, transport, spec.clone()) {
                Ok(()) => {}
                // What the room said last is on its way to them.
                Err(NoEntry::Left) => return Ok(Next::GoOn),
                Err(NoEntry::Busy) => return Err(Refused::Busy),
            }
        } else {
            if negotiated.remote_ufrag != offer.ufrag {
                let (local, _) = media.entrance(self.room).ok_or(Refused::Busy)?;
                media.restart_ice(self.room, self.me, local.clone());
                negotiated.local = local;
                negotiated.remote_ufrag.clone_from(&offer.ufrag);
            }
            media.negotiate(self.room, self.me, spec.clone());
        }
        let local = sdp::Local {
            ufrag: &negotiated.local.ufrag,
            pwd: &negotiated.local.pwd,
            fingerprint: media.fingerprint(),
            addresses: &self.server.announced,
            port: negotiated.port,
            session: negotiated.session,
            version: negotiated.version,
            cname: &negotiated.cname,
        };
        let sdp = sdp::write(&offer, &roles, &spec, &local);
        self.tell_state();
        self.tell_view();
        Ok(Next::Answer(ServerMessage::Answer { sdp }))
    }

    /// The room's password changes when its hash is ready; everybody hears of it then.
    fn on_password(&self, password: Password) -> Result<(), Refused> {
        if !password.is_acceptable() {
            return Err(Refused::BadMessage);
        }
        let (server, me) = (self.server.clone(), self.me);
        let wish = server.hall.with(|rooms| rooms.wish_password(me))?;
        if password.expose().is_empty() {
            server.hall.with(|rooms| rooms.set_password(me, wish, None));
            return Ok(());
        }
        spawn_local(async move {
            let Ok(turn) = server.hashing.turn().await else { return };
            if let Ok(hash) = turn.hash(password).await {
                server.hall.with(|rooms| rooms.set_password(me, wish, Some(hash)));
            }
        });
        Ok(())
    }

    /// The data plane knows what is withheld, objected to and switched on only since it knows the participant and the source.
    fn tell_state(&self) {
        let hall = &self.server.hall;
        let wishes = hall.rooms(|rooms| rooms.wishes(self.me));
        hall.media.object(self.room, self.me, wishes.objects);
        let state = hall.state(self.me);
        for (source, withheld) in SourceKind::ALL.into_iter().zip(hall.withheld(self.me)) {
            hall.media.withhold(self.room, self.me, source, withheld);
            hall.media.switch(self.room, self.me, source, state.is_on(source));
        }
    }

    fn tell_view(&self) {
        let Some(negotiated) = &self.negotiated else { return };
        let wish = |wanted: &SlotWish| {
            let index = negotiated.slots.iter().position(|mid| mid.as_bytes() == wanted.slot.as_bytes())?;
            let slot = SlotIndex(u16::try_from(index).ok()?);
            Some(Wish {
                slot,
                from: wanted.participant.0,
                source: wanted.source.into(),
                height: wanted.height,
            })
        };
        let wishes = self.view.iter().filter_map(wish).collect();
        self.server.hall.media.view(self.room, self.me, wishes);
    }
}

fn ids(participants: &[Id]) -> Vec<ParticipantId> {
    participants.iter().map(|id| id.0).collect()
}

fn shown(mid: &Mid) -> String {
    String::from_utf8_lossy(mid.as_bytes()).into_owned()
}
