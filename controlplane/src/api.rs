//! The REST part of docs/protocol.md: sign-in, rooms, and the upgrade to a participant's WebSocket.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, SET_COOKIE, UPGRADE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use saal_dataplane::id::RoomId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::spawn_local;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::auth::{Deletion, Held, SignIn};
use crate::http::{Answer, error, json as json_answer, method_not_allowed, percent_encoded, room_name};
use crate::limit::ClientAddr;
use crate::log;
use crate::names::RoomName;
use crate::password::{Hash, Overloaded, Password};
use crate::random;
use crate::rooms::{Open, OpenError};
use crate::server::Server;
use crate::signal::message::from_object;
use crate::signal::session::{self, Visitor};
use crate::signal::socket;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    account: String,
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    password: Password,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomWish {
    name: Option<String>,
    password: Option<Password>,
    lobby: Option<bool>,
}

/// A request's body: the largest is a session description.
const BODY_BYTES_MAX: usize = 64 * 1024;
const DISCARD_BYTES_MAX: usize = 4 * 1024 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Names made up before giving up: each hits a taken one with a chance of one in millions.
const MADE_UP_NAMES_MAX: usize = 8;

pub(crate) async fn answer(
    server: &Rc<Server>,
    request: Request<Incoming>,
    client: ClientAddr,
    path: &[&str],
) -> Answer {
    let headers = request.headers();
    let changes_state = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_socket = matches!(path, ["rooms", _, "ws"]);
    if (changes_state || is_socket) && !server.site.is_own_origin(headers) {
        return error(StatusCode::FORBIDDEN, "wrong-origin");
    }
    match (path, request.method()) {
        (["login"], &Method::POST) => login(server, request, client).await,
        (["login"], _) => method_not_allowed("POST"),
        (["logout"], &Method::POST) => no_content(&server.auth.sign_out(headers)),
        (["logout"], _) => method_not_allowed("POST"),
        (["session"], &Method::GET | &Method::HEAD) => {
            json_answer(StatusCode::OK, &json!({ "account": server.auth.account(headers) }))
        }
        (["session"], _) => method_not_allowed("GET, HEAD"),
        (["receipt-key"], &Method::GET | &Method::HEAD) => {
            let public_key = server.hall.receipts.public_key();
            json_answer(StatusCode::OK, &json!({ "algorithm": "Ed25519", "public_key": public_key }))
        }
        (["receipt-key"], _) => method_not_allowed("GET, HEAD"),
        (["account"], &Method::GET | &Method::HEAD) => own_account(server, headers),
        (["account"], &Method::DELETE) => delete_account(server, request, client).await,
        (["account"], _) => method_not_allowed("GET, HEAD, DELETE"),
        (["rooms"], &Method::POST) => open_room(server, request).await,
        (["rooms"], _) => method_not_allowed("POST"),
        (["rooms", name], &Method::DELETE) => close_room(server, headers, name),
        (["rooms", _], _) => method_not_allowed("DELETE"),
        (["rooms", name, "ws"], &Method::GET) => match room_name(name) {
            Some(room) => upgrade(server, request, client, room),
            None => error(StatusCode::NOT_FOUND, "not-found"),
        },
        (["rooms", _, "ws"], _) => method_not_allowed("GET"),
        _ => error(StatusCode::NOT_FOUND, "not-found"),
    }
}

async fn login(server: &Server, request: Request<Incoming>, client: ClientAddr) -> Answer {
    let earlier = request.headers().clone();
    let credentials: Credentials = match body(request).await {
        Ok(credentials) => credentials,
        Err(answer) => return answer,
    };
    if credentials.password.expose().len() > Password::LEN_MAX
        || credentials.account.len() > Password::LEN_MAX
    {
        return error(StatusCode::UNAUTHORIZED, "wrong-credentials");
    }
    let Credentials { account, password } = credentials;
    match server.auth.sign_in(&server.hashing, client, &account, password).await {
        SignIn::Welcome(cookie) => {
            server.auth.sign_out(&earlier);
            no_content(&cookie)
        }
        SignIn::WrongCredentials => error(StatusCode::UNAUTHORIZED, "wrong-credentials"),
        SignIn::TooManyAttempts => error(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts"),
        SignIn::Busy => error(StatusCode::SERVICE_UNAVAILABLE, "busy"),
    }
}

/// What is held on the organizer who asks.
fn own_account(server: &Server, headers: &HeaderMap) -> Answer {
    let Some(account) = server.auth.account(headers) else {
        return error(StatusCode::UNAUTHORIZED, "sign-in");
    };
    let rooms = server.hall.rooms(|rooms| rooms.opened_by(&account));
    let room = |(name, participants): (String, usize)| json!({ "name": name, "participants": participants });
    let rooms: Vec<_> = rooms.into_iter().map(room).collect();
    // A journal that cannot be read must not look as if it were empty.
    let Ok(held) = server.auth.held(&account, Instant::now(), SystemTime::now()) else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "unreadable");
    };
    let Held { sessions, sign_ins } = held;
    let held = json!({ "account": account, "rooms": rooms, "sessions": sessions, "sign_ins": sign_ins });
    json_answer(StatusCode::OK, &held)
}

/// An organizer deletes their own account; the password is asked once more, because a session may be somebody else's hand.
async fn delete_account(server: &Server, request: Request<Incoming>, client: ClientAddr) -> Answer {
    let headers = request.headers().clone();
    let Some(account) = server.auth.account(&headers) else {
        return error(StatusCode::UNAUTHORIZED, "sign-in");
    };
    let Confirmation { password } = match body(request).await {
        Ok(confirmation) => confirmation,
        Err(answer) => return answer,
    };
    if password.expose().len() > Password::LEN_MAX {
        return error(StatusCode::UNAUTHORIZED, "wrong-credentials");
    }
    match server.auth.delete(&server.hashing, client, &account, password).await {
        Deletion::Done => {
            server.hall.with(|rooms| rooms.close_all(&account));
            no_content(&server.auth.sign_out(&headers))
        }
        Deletion::WrongPassword => error(StatusCode::UNAUTHORIZED, "wrong-credentials"),
        Deletion::TooManyAttempts => error(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts"),
        Deletion::Busy => error(StatusCode::SERVICE_UNAVAILABLE, "busy"),
        Deletion::NotStored => error(StatusCode::SERVICE_UNAVAILABLE, "not-stored"),
    }
}

async fn open_room(server: &Server, request: Request<Incoming>) -> Answer {
    let headers = request.headers().clone();
    let Some(account) = server.auth.account(&headers) else {
        return error(StatusCode::UNAUTHORIZED, "sign-in");
    };
    let wish: RoomWish = match body(request).await {
        Ok(wish) => wish,
        Err(answer) => return answer,
    };
    let wanted = match wish.name.as_deref().map(RoomName::new) {
        Some(None) => return error(StatusCode::UNPROCESSABLE_ENTITY, "bad-name"),
        Some(Some(name)) => Some(name),
        None => None,
    };
    let password = wish.password.unwrap_or_else(|| Password::new(random::password().as_str()));
    if !password.is_acceptable() {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "bad-password");
    }
    let hash = match password.expose() {
        "" => None,
        _ => match hash(server, password.clone()).await {
            Ok(hash) => Some(hash),
            Err(Overloaded) => return error(StatusCode::SERVICE_UNAVAILABLE, "busy"),
        },
    };
    let token = random::token();
    for _ in 0..MADE_UP_NAMES_MAX {
        let Some(name) = wanted.clone().or_else(|| RoomName::new(&random::room_name())) else { break };
        let open = Open {
            room: RoomId(random::u64()),
            name: name.clone(),
            opened_by: account.clone(),
            password: hash.clone(),
            lobby: wish.lobby.unwrap_or(false),
            media_token_sha256: random::sha256(token.as_bytes()),
        };
        match server.hall.open(open) {
            Ok(()) => return opened(server, &headers, &name, &password, &token),
            Err(OpenError::Busy) => break,
            Err(OpenError::NameTaken) if wanted.is_some() => {
                return error(StatusCode::CONFLICT, "name-taken");
            }
            Err(OpenError::NameTaken) => {}
        }
    }
    error(StatusCode::SERVICE_UNAVAILABLE, "busy")
}

async fn hash(server: &Server, password: Password) -> Result<Hash, Overloaded> {
    server.hashing.turn().await?.hash(password).await
}

fn opened(server: &Server, headers: &HeaderMap, name: &RoomName, password: &Password, token: &str) -> Answer {
    log::write(&log::Entry::RoomOpened { rooms: server.hall.rooms(|rooms| rooms.room_count()) });
    let base = server.site.base(headers).unwrap_or_default();
    let mut url = format!("{base}/r/{}", percent_encoded(name.shown()));
    if !password.expose().is_empty() {
        url.push_str("#p=");
        url.push_str(&percent_encoded(password.expose()));
    }
    let room = json!({
        "name": name.shown(),
        "url": url,
        "password": password.expose(),
        "media_token": token,
        "waiting_seconds": server.config.rooms.waiting_minutes * 60,
    });
    json_answer(StatusCode::CREATED, &room)
}

fn close_room(server: &Server, headers: &HeaderMap, name: &str) -> Answer {
    let Some(account) = server.auth.account(headers) else {
        return error(StatusCode::UNAUTHORIZED, "sign-in");
    };
    let closed =
        room_name(name).is_some_and(|name| server.hall.with(|rooms| rooms.close(name.key(), &account)));
    if !closed {
        return error(StatusCode::NOT_FOUND, "no-room");
    }
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

fn upgrade(
    server: &Rc<Server>,
    mut request: Request<Incoming>,
    client: ClientAddr,
    room: RoomName,
) -> Answer {
    if !hyper_tungstenite::is_upgrade_request(&request) {
        let mut answer = error(StatusCode::UPGRADE_REQUIRED, "websocket-only");
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return answer;
    }
    let session = server.auth.session(request.headers());
    let Some(place) = server.connections.borrow_mut().opened(client) else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "busy");
    };
    let upgraded = hyper_tungstenite::upgrade(&mut request, Some(socket::config()));
    let Ok((answer, websocket)) = upgraded else {
        server.connections.borrow_mut().closed(&place);
        return error(StatusCode::BAD_REQUEST, "bad-request");
    };
    let server = server.clone();
    spawn_local(async move {
        session::run(server.clone(), websocket, Visitor { client, session, room }).await;
        server.connections.borrow_mut().closed(&place);
    });
    answer
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Answer> {
    from_object(&bytes(request).await?).ok_or_else(|| error(StatusCode::BAD_REQUEST, "bad-request"))
}

/// A request's body of bounded size that comes in time.
pub(crate) async fn bytes(request: Request<Incoming>) -> Result<Zeroizing<Vec<u8>>, Answer> {
    let mut body = request.into_body();
    let collect = async {
        let mut bytes = Zeroizing::new(Vec::new());
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            let data =
                frame.map_err(|_| (StatusCode::BAD_REQUEST, "bad-request"))?.into_data().unwrap_or_default();
            len += data.len();
            // What is too long is read and thrown away, so that the sender hears why.
            if len <= BODY_BYTES_MAX {
                bytes.extend_from_slice(&data);
            } else if len > DISCARD_BYTES_MAX {
                break;
            }
        }
        if len <= BODY_BYTES_MAX { Ok(bytes) } else { Err((StatusCode::PAYLOAD_TOO_LARGE, "too-large")) }
    };
    match timeout(BODY_WITHIN, collect).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err((status, code))) => Err(error(status, code)),
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "too-slow")),
    }
}

fn no_content(cookie: &str) -> Answer {
    let mut answer = Answer::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}
