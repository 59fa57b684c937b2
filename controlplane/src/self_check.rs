//! Whether anything of a room is left when it is over: the server opens a room for itself, with words that nobody else
//! knows, closes it, and searches its own memory for them. Every hour, and when the admin asks.

use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use saal_dataplane::id::{ParticipantId, RoomId};
use saal_dataplane::link::MediaSpec;
use saal_dataplane::remains::{Found, Secret, search};
use saal_dataplane::sfu::transport::TransportSpec;
use tokio::sync::{mpsc, oneshot};

use crate::hall::Note;
use crate::limit::ClientAddr;
use crate::names::RoomName;
use crate::random;
use crate::rooms::{Join, Open};
use crate::server::Server;
use crate::signal::message::Kind;

/// The last checks.
#[derive(Default)]
pub(crate) struct SelfCheck {
    last: Cell<Option<Outcome>>,
    is_running: Cell<bool>,
}

#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Found while the room was open, and nowhere after it was closed.
    Clean,
    /// Still there.
    Remains,
    /// Not found even while the room was open, so that finding nothing later means nothing.
    Blind,
    /// This process may not read its own memory: a sandbox forbids it.
    Unreadable,
    /// No worker had a place for the room, or the server is draining.
    Busy,
}

/// A day has many, and each takes the fraction of a second of a thread that stands behind all others.
const EVERY: Duration = Duration::from_secs(3600);

/// Not while a service manager watches the start.
const FIRST_AFTER: Duration = Duration::from_secs(300);

/// Both for the words to be everywhere they belong, and for them to be gone.
const WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The one who is in the room.
struct Guest {
    participant: ParticipantId,
    secrets: Arc<[Secret]>,
    _notes: mpsc::Receiver<Note>,
}

pub(crate) async fn keep(server: Rc<Server>) {
    let mut due = tokio::time::interval_at(tokio::time::Instant::now() + FIRST_AFTER, EVERY);
    loop {
        due.tick().await;
        run(&server).await;
    }
}

/// Checks now; `None` while a check is under way.
pub(crate) async fn run(server: &Server) -> Option<Verdict> {
    if server.self_check.is_running.replace(true) {
        return None;
    }
    let verdict = check(server).await;
    server.self_check.is_running.set(false);
    server.self_check.last.set(Some(Outcome { verdict, at: Instant::now() }));
    Some(verdict)
}

impl SelfCheck {
    pub(crate) fn last(&self) -> Option<Outcome> {
        self.last.get()
    }
}

impl Verdict {
    pub(crate) const ALL: [Verdict; 5] =
        [Verdict::Clean, Verdict::Remains, Verdict::Blind, Verdict::Unreadable, Verdict::Busy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Remains => "remains",
            Verdict::Blind => "blind",
            Verdict::Unreadable => "unreadable",
            Verdict::Busy => "busy",
        }
    }
}

async fn check(server: &Server) -> Verdict {
    let Some(guest) = enter(server) else { return Verdict::Busy };
    let secrets = guest.secrets.clone();
    let all = |found: &[Found]| (0..secrets.len()).all(|nth| found.iter().any(|found| found.secret == nth));
    let held = until(&secrets, all).await;
    server.hall.with(|rooms| rooms.leave(guest.participant));
    drop(guest);
    match held {
        Err(_) => return Verdict::Unreadable,
        Ok(false) => return Verdict::Blind,
        Ok(true) => {}
    }
    match until(&secrets, |found| found.is_empty()).await {
        Err(_) => Verdict::Unreadable,
        Ok(true) => Verdict::Clean,
        Ok(false) => Verdict::Remains,
    }
}

/// Opens a room and joins it: the words are its name, the guest's name, a line of chat, and what the worker knows the
/// guest by. Nobody else finds it, for its name has 128 random bits.
fn enter(server: &Server) -> Option<Guest> {
    let hall = &server.hall;
    let (room, participant) = (RoomId(random::u64()), ParticipantId(random::u64()));
    let [room_name, name, chat] =
        ["room", "name", "chat"].map(|what| format!("{what}-{}", &random::token()[..32]));
    let mut secrets: Vec<Secret> = [&room_name, &name, &chat].map(|word| Secret::new(word.as_bytes())).into();
    let mut unknown = [0; 32];
    random::fill(&mut unknown);
    hall.open(Open {
        room,
        name: RoomName::new(&room_name)?,
        opened_by: String::new(),
        password: None,
        lobby: false,
        media_token_sha256: unknown,
    })
    .ok()?;
    let join = Join {
        room,
        participant,
        kind: Kind::Person,
        name,
        account: None,
        proof: None,
        client: ClientAddr::new(Ipv4Addr::LOCALHOST.into()),
    };
    let Ok((_, notes)) = hall.join(join) else {
        hall.with(|rooms| rooms.discard(room));
        hall.media.close_room(room);
        return None;
    };
    hall.with(|rooms| rooms.chat(Instant::now(), participant, chat));
    if let Some((local, _)) = hall.media.entrance(room) {
        secrets.push(Secret::new(local.ufrag.as_bytes()));
        let transport = TransportSpec { local, remote_ufrag: String::new(), fingerprint: unknown };
        let _ = hall.enter_media(participant, transport, MediaSpec::default());
    }
    Some(Guest { participant, secrets: secrets.into(), _notes: notes })
}

/// Looks again and again; `false` when the time is up.
async fn until(secrets: &Arc<[Secret]>, is_so: impl Fn(&[Found]) -> bool) -> io::Result<bool> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if is_so(&look(secrets.clone()).await?) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// On a thread of its own: it reads all memory that this process uses.
async fn look(secrets: Arc<[Secret]>) -> io::Result<Vec<Found>> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("saal-check".into()).spawn(move || {
        // Refused by some sandboxes; the search then competes with the media threads as an equal.
        let _ = saal_dataplane::yield_to_media();
        let _ = tell.send(search("self", &secrets));
    })?;
    told.await.map_err(|_| io::Error::other("the search has ended without an answer"))?
}
