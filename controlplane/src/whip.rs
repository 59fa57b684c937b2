//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): one HTTP request instead of a WebSocket, for clients without our page.
//!
//! ```text
//! POST /whip/{room}  an offer that sends     -> 201, an answer, Location: /whip/session/{id}
//! POST /whep/{room}  an offer that receives  -> 201, an answer, Location: /whep/session/{id}
//! DELETE /whip/session/{id}                  -> 200, the session is over
//! ```
//!
//! The room's media token opens the door. Whoever came through it is a participant that everybody in the room sees.

use std::collections::HashMap;
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName,
    HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, StatusCode};
use saal_dataplane::id::{MediaKind, ParticipantId, RoomId, SlotIndex, SourceKind};
use saal_dataplane::link::{MediaSpec, Wish};
use saal_dataplane::sfu::transport::TransportSpec;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::api;
use crate::hall::Note;
use crate::http::{Answer, error, method_not_allowed, room_name};
use crate::limit::{ClientAddr, Connections, Place};
use crate::random;
use crate::rooms::{Join, Rooms, State};
use crate::sdp::{self, BadOffer};
use crate::server::Server;
use crate::signal::message::{Kind, Refused};

/// The way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Whip,
    Whep,
}

/// Everybody who came by WHIP or WHEP and has not gone. A session's id is the digest of what its URL ends with, so that
/// looking it up tells nothing about how much of a guess is right.
pub(crate) struct Sessions {
    open: HashMap<[u8; 32], Session>,
    connections: Connections,
}

struct Session {
    door: Door,
    room: RoomId,
    participant: ParticipantId,
    place: Place,
}

/// An offer that fits and what it leads to.
struct Negotiated {
    offer: sdp::Offer,
    spec: MediaSpec,
    roles: Vec<sdp::Role>,
}

/// What a viewer's video slots show: each picture stays where it is as long as it is there.
struct Screens {
    slots: Vec<(SlotIndex, Option<Picture>)>,
}

/// A refusal: the status and the code of the error.
struct No(StatusCode, &'static str);

type Picture = (ParticipantId, SourceKind);

/// A viewer cannot say how large it draws: it gets the best layer there is.
const HEIGHT_BEST: u16 = u16::MAX;

/// A room that is full or a server that is busy may have a place when somebody has gone.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("10");

const SDP: &str = "application/sdp";

/// Pages of other origins may ask: no cookie counts here, so that a foreign page can do nothing that the token in its
/// hands does not allow, and without the token all answers are alike.
const FOR_OTHER_ORIGINS: [(HeaderName, &str); 5] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_ALLOW_METHODS, "POST, DELETE, OPTIONS"),
    (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Retry-After, WWW-Authenticate"),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Which door a path leads to, and the rest of the path.
pub(crate) fn door(path: &str) -> Option<(Door, Vec<String>)> {
    let whip = path.strip_prefix("/whip/").map(|rest| (Door::Whip, rest));
    let (door, rest) = whip.or_else(|| path.strip_prefix("/whep/").map(|rest| (Door::Whep, rest)))?;
    Some((door, rest.split('/').map(ToOwned::to_owned).collect()))
}

pub(crate) async fn answer(
    server: &Rc<Server>,
    request: Request<Incoming>,
    client: ClientAddr,
    door: Door,
    path: &[String],
) -> Answer {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut answer = match (&path[..], request.method()) {
        ([_], &Method::OPTIONS) => options("POST, OPTIONS"),
        ([room], &Method::POST) => match begin(server, request, client, door, room).await {
            Ok(answer) | Err(answer) => answer,
        },
        ([_], _) => method_not_allowed("POST, OPTIONS"),
        (["session", _], &Method::OPTIONS) => options("DELETE, OPTIONS"),
        (["session", id], &Method::DELETE) => match end(server, request.headers(), door, id) {
            Ok(()) => Answer::default(),
            Err(no) => no.into(),
        },
        // PATCH too: an ICE-lite server with all its candidates in the answer has no use for a client's (RFC 9725 §4.3).
        (["session", _], _) => method_not_allowed("DELETE, OPTIONS"),
        _ => error(StatusCode::NOT_FOUND, "not-found"),
    };
    for (name, value) in FOR_OTHER_ORIGINS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn begin(
    server: &Rc<Server>,
    request: Request<Incoming>,
    client: ClientAddr,
    door: Door,
    room: &str,
) -> Result<Answer, Answer> {
    let room = admit(server, request.headers(), client, room).map_err(Answer::from)?;
    if !is_sdp(request.headers()) {
        return Err(No(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-sdp").into());
    }
    let body = api::bytes(request).await?;
    let negotiated = negotiate(server, door, &body)?;
    let participant = ParticipantId(random::u64());
    let place = server.whip.borrow_mut().connections.opened(client);
    let place = place.ok_or_else(|| refused(server, Refused::Busy))?;
    let entered = enter(server, door, room, participant, client, &negotiated);
    let (sdp, notes) = match entered {
        Ok(entered) => entered,
        Err(reason) => {
            server.hall.with(|rooms| rooms.leave(participant));
            server.whip.borrow_mut().connections.closed(&place);
            return Err(refused(server, reason).into());
        }
    };
    let id = random::token();
    let key = random::sha256(id.as_bytes());
    server.whip.borrow_mut().open.insert(key, Session { door, room, participant, place });
    let screens = Screens::new(&negotiated.spec);
    spawn_local(attend(server.clone(), key, room, participant, screens, notes));
    let mut answer = Answer::new(Full::new(Bytes::from(sdp)));
    *answer.status_mut() = StatusCode::CREATED;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    let mut location = HeaderValue::try_from(format!("/{}/session/{}", door.name(), *id))
        .expect("the door's name and hex digits are ASCII");
    location.set_sensitive(true);
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

/// The token's room. An absent room, a missing and a wrong token get the same answer (RFC 6750 §3).
fn admit(server: &Server, headers: &HeaderMap, client: ClientAddr, room: &str) -> Result<RoomId, No> {
    let name = room_name(room).ok_or(No(StatusCode::NOT_FOUND, "not-found"))?;
    let hall = &server.hall;
    let token = token_sha256(headers);
    // With the right token nobody's guessing keeps a stream out.
    if let Some(room) = token.and_then(|token| hall.rooms(|rooms| rooms.media_entrance(name.key(), &token))) {
        return Ok(room);
    }
    match hall.on_wrong_token(client) {
        true => Err(refused(server, Refused::NotAdmitted)),
        false => Err(No(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts")),
    }
}

fn negotiate(server: &Server, door: Door, body: &[u8]) -> Result<Negotiated, No> {
    let text = std::str::from_utf8(body).map_err(|_| bad_offer(BadOffer::Malformed))?;
    let offer = sdp::parse(text).map_err(bad_offer)?;
    let rooms = &server.config.rooms;
    let (sources, limits) = match door {
        Door::Whip => {
            (sdp::sources_by_order(&offer).map_err(bad_offer)?, sdp::SlotLimits { audio: 0, video: 0 })
        }
        Door::Whep => {
            let limits = sdp::SlotLimits { audio: rooms.viewer_audio_slots, video: rooms.viewer_video_slots };
            (Vec::new(), limits)
        }
    };
    let mut held = sdp::HeldSsrcs::default();
    let fresh = &mut || server.hall.media.ssrc();
    let (spec, roles) = sdp::negotiate(&offer, &sources, &mut held, limits, fresh).map_err(bad_offer)?;
    if spec.sources.is_empty() && spec.slots.is_empty() {
        return Err(No(StatusCode::UNPROCESSABLE_ENTITY, "nothing-in-common"));
    }
    Ok(Negotiated { offer, spec, roles })
}

/// Makes the client a participant. On failure the caller takes it out of the room again.
fn enter(
    server: &Server,
    door: Door,
    room: RoomId,
    participant: ParticipantId,
    client: ClientAddr,
    negotiated: &Negotiated,
) -> Result<(String, mpsc::Receiver<Note>), Refused> {
    let Negotiated { offer, spec, roles } = negotiated;
    let hall = &server.hall;
    let videos = spec.sources.iter().filter(|source| source.kind.media() == MediaKind::Video).count();
    if !hall.takes_videos(room, videos) {
        return Err(Refused::Busy);
    }
    let kind = match door {
        Door::Whip => Kind::Stream,
        Door::Whep => Kind::Viewer,
    };
    let name = String::new();
    let join = Join { room, participant, kind, name, account: None, proof: None, client };
    let (_, notes) = hall.join(join)?;
    let (local, port) = hall.media.entrance(room).ok_or(Refused::Busy)?;
    let transport = TransportSpec {
        local: local.clone(),
        remote_ufrag: offer.ufrag.clone(),
        fingerprint: offer.fingerprint,
    };
    hall.enter_media(participant, transport, spec.clone()).map_err(|_| Refused::Busy)?;
    let sends = |kind| spec.sources.iter().any(|source| source.kind == kind);
    let state = State {
        microphone: sends(SourceKind::Microphone),
        camera: sends(SourceKind::Camera),
        screen: sends(SourceKind::Screen),
        hand: false,
    };
    hall.with(|rooms| rooms.set_state(participant, state));
    let local = sdp::Local {
        ufrag: &local.ufrag,
        pwd: &local.pwd,
        fingerprint: hall.media.fingerprint(),
        addresses: &server.announced,
        port,
        session: random::u64(),
        version: 1,
        cname: &format!("{:016x}", random::u64()),
    };
    Ok((sdp::write(offer, roles, spec, &local), notes))
}

/// Lasts as long as the participant: until DELETE, the room's end, or the end of the media's consent.
async fn attend(
    server: Rc<Server>,
    key: [u8; 32],
    room: RoomId,
    participant: ParticipantId,
    mut screens: Screens,
    mut notes: mpsc::Receiver<Note>,
) {
    let media = &server.hall.media;
    let tell = |wishes: Option<Vec<Wish>>| {
        wishes.into_iter().for_each(|wishes| media.view(room, participant, wishes));
    };
    tell(screens.show(&server.hall.rooms(|rooms| rooms.pictures(room))));
    while let Some(note) = notes.recv().await {
        match note {
            Note::Publish { pictures } => tell(screens.show(&pictures)),
            Note::Say(_) | Note::Receipt(_) | Note::SlotShows { .. } | Note::Admitted(_) => {}
        }
    }
    server.hall.with(|rooms| rooms.leave(participant));
    server.whip.borrow_mut().close(&key);
}

fn end(server: &Server, headers: &HeaderMap, door: Door, id: &str) -> Result<(), No> {
    let key = random::sha256(id.as_bytes());
    let session = server.whip.borrow().find(&key, door);
    let Some((room, participant)) = session else { return Err(No(StatusCode::NOT_FOUND, "no-session")) };
    // Proxies keep URLs in their logs, so the URL alone is not enough.
    let is_theirs =
        |rooms: &Rooms| token_sha256(headers).is_some_and(|token| rooms.has_media_token(room, &token));
    if !server.hall.rooms(is_theirs) {
        return Err(refused(server, Refused::NotAdmitted));
    }
    server.hall.with(|rooms| rooms.leave(participant));
    server.whip.borrow_mut().close(&key);
    Ok(())
}

fn options(allowed: &'static str) -> Answer {
    let mut answer = Answer::default();
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    if allowed.contains("POST") {
        answer.headers_mut().insert("accept-post", HeaderValue::from_static(SDP));
    }
    answer
}

fn refused(server: &Server, reason: Refused) -> No {
    server.hall.on_refused(reason);
    match reason {
        Refused::NotAdmitted => No(StatusCode::UNAUTHORIZED, "not-admitted"),
        Refused::Full => No(StatusCode::SERVICE_UNAVAILABLE, "full"),
        Refused::Locked => No(StatusCode::FORBIDDEN, "locked"),
        Refused::Busy | Refused::BadMessage | Refused::TooManyAttempts | Refused::TurnedAway => {
            No(StatusCode::SERVICE_UNAVAILABLE, "busy")
        }
    }
}

/// What is no session description is 400; one that we cannot serve is 422.
fn bad_offer(why: BadOffer) -> No {
    match why {
        BadOffer::TooLong | BadOffer::TooManyLines => No(StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
        BadOffer::Malformed => No(StatusCode::BAD_REQUEST, "bad-sdp"),
        BadOffer::NoMid
        | BadOffer::DuplicateMid
        | BadOffer::NoBundle
        | BadOffer::NoRtcpMux
        | BadOffer::NoIceCredentials
        | BadOffer::NoSha256Fingerprint
        | BadOffer::BadSetup
        | BadOffer::UnknownSource
        | BadOffer::DuplicateSource => No(StatusCode::UNPROCESSABLE_ENTITY, "unusable-sdp"),
    }
}

impl From<No> for Answer {
    fn from(No(status, code): No) -> Answer {
        let mut answer = error(status, code);
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        answer
    }
}

fn is_sdp(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(SDP))
}

fn token_sha256(headers: &HeaderMap) -> Option<[u8; 32]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| random::sha256(token.trim().as_bytes()))
}

impl Door {
    fn name(self) -> &'static str {
        match self {
            Door::Whip => "whip",
            Door::Whep => "whep",
        }
    }
}

impl Sessions {
    pub(crate) fn new(connections: Connections) -> Sessions {
        Sessions { open: HashMap::new(), connections }
    }

    /// Streams and viewers.
    pub(crate) fn count(&self) -> [usize; 2] {
        let of = |door| self.open.values().filter(|session| session.door == door).count();
        [of(Door::Whip), of(Door::Whep)]
    }

    fn find(&self, key: &[u8; 32], door: Door) -> Option<(RoomId, ParticipantId)> {
        let session = self.open.get(key).filter(|session| session.door == door)?;
        Some((session.room, session.participant))
    }

    fn close(&mut self, key: &[u8; 32]) {
        if let Some(session) = self.open.remove(key) {
            self.connections.closed(&session.place);
        }
    }
}

impl Screens {
    fn new(spec: &MediaSpec) -> Screens {
        let video = spec.slots.iter().zip(0..).filter(|(slot, _)| slot.kind == MediaKind::Video);
        Screens { slots: video.map(|(_, index)| (SlotIndex(index), None)).collect() }
    }

    /// The wishes if they have changed: pictures that are gone make place for the first ones that are shown nowhere.
    fn show(&mut self, pictures: &[Picture]) -> Option<Vec<Wish>> {
        let before: Vec<_> = self.slots.iter().map(|(_, shown)| *shown).collect();
        for (_, shown) in &mut self.slots {
            shown.take_if(|picture| !pictures.contains(picture));
        }
        let shown: Vec<Picture> = self.slots.iter().filter_map(|(_, shown)| *shown).collect();
        let mut waiting = pictures.iter().filter(|picture| !shown.contains(picture));
        for (_, shown) in self.slots.iter_mut().filter(|(_, shown)| shown.is_none()) {
            *shown = waiting.next().copied();
        }
        let wish = |&(slot, shown): &(SlotIndex, Option<Picture>)| {
            let (from, source) = shown?;
            Some(Wish { slot, from, source, height: HEIGHT_BEST })
        };
        let is_changed = self.slots.iter().map(|(_, shown)| *shown).ne(before);
        is_changed.then(|| self.slots.iter().filter_map(wish).collect())
    }
}

#[cfg(test)]
mod tests {
    use saal_dataplane::id::{Mid, Ssrc};
    use saal_dataplane::link::SlotSpec;

    use super::*;

    const ADA: Picture = (ParticipantId(1), SourceKind::Camera);
    const BOB: Picture = (ParticipantId(2), SourceKind::Camera);
    const EVE: Picture = (ParticipantId(3), SourceKind::Screen);

    /// A viewer with a slot for each of these.
    fn screens(kinds: &[MediaKind]) -> Screens {
        let slot = |&kind| {
            let mid = Mid::new(b"0").expect("it is short");
            SlotSpec { mid, kind, ssrc: Ssrc(1), rtx_ssrc: None, codecs: Vec::new() }
        };
        Screens::new(&MediaSpec { slots: kinds.iter().map(slot).collect(), ..MediaSpec::default() })
    }

    fn shown(wishes: Option<Vec<Wish>>) -> Option<Vec<(u16, Picture)>> {
        Some(wishes?.iter().map(|wish| (wish.slot.0, (wish.from, wish.source))).collect())
    }

    #[test]
    fn a_picture_stays_in_its_slot_while_others_come_and_go() {
        let mut screens = screens(&[MediaKind::Audio, MediaKind::Video, MediaKind::Video]);
        assert_eq!(shown(screens.show(&[ADA, BOB])), Some(vec![(1, ADA), (2, BOB)]));
        assert_eq!(shown(screens.show(&[BOB])), Some(vec![(2, BOB)]));
        assert_eq!(shown(screens.show(&[BOB, EVE])), Some(vec![(1, EVE), (2, BOB)]));
        assert_eq!(shown(screens.show(&[])), Some(vec![]), "nothing is a wish, too");
    }

    #[test]
    fn a_picture_without_a_slot_waits_for_one_and_changes_nothing_meanwhile() {
        let mut screens = screens(&[MediaKind::Video]);
        assert_eq!(shown(screens.show(&[])), None);
        assert_eq!(shown(screens.show(&[ADA])), Some(vec![(0, ADA)]));
        assert_eq!(shown(screens.show(&[ADA, BOB])), None);
        assert_eq!(shown(screens.show(&[BOB])), Some(vec![(0, BOB)]));
    }
}
