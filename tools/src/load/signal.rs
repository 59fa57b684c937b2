//! Signing in, opening rooms and joining them: over the WebSocket of docs/protocol.md, and by WHIP and WHEP.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::sdp::{self, Answer};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that serves plain HTTP: one of our own, or one behind loopback.
#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port`
    authority: String,
    cookie: String,
}

#[derive(Clone, Debug)]
pub struct Room {
    pub name: String,
    pub password: String,
    pub token: String,
}

/// A participant's WebSocket, read by a task of its own until this is dropped.
#[derive(Debug)]
pub struct Line {
    pub participant: String,
    say: UnboundedSender<Value>,
    pub bytes: Rc<Cell<u64>>,
}

impl Server {
    /// `url` is `http://host:port`.
    pub async fn sign_in(url: &str, account: &str, password: &str) -> Result<Server, String> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).ok_or_else(|| {
            format!("{url}: only http:// is spoken here; run saal-load on the server's machine, or through a tunnel to it")
        })?;
        let mut server = Server { authority: authority.to_owned(), cookie: String::new() };
        let body = json!({"account": account, "password": password}).to_string();
        let (reply, _) = server.post("/api/v1/login", "application/json", "", body).await?;
        if reply.status() != 204 {
            return Err(format!("the server refused account {account} ({})", reply.status()));
        }
        let cookie =
            reply.headers().get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
        cookie.split(';').next().unwrap_or_default().clone_into(&mut server.cookie);
        Ok(server)
    }

    pub async fn open_room(&self) -> Result<Room, String> {
        let (reply, body) = self.post("/api/v1/rooms", "application/json", "", "{}".into()).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        match (text("name"), text("password"), text("media_token")) {
            (Some(name), Some(password), Some(token)) => Ok(Room { name, password, token }),
            _ => Err(format!("the server opened no room: {} {answer}", reply.status())),
        }
    }

    pub async fn close_room(&self, room: &Room) {
        // A room that is gone already needs nothing.
        let _ = self
            .request("DELETE", &format!("/api/v1/rooms/{}", room.name), "application/json", "", String::new())
            .await;
    }

    /// One offer, one answer (RFC 9725 §4.2). `kind` is `whip` or `whep`.
    pub async fn offer(&self, kind: &str, room: &Room, offer: String) -> Result<Answer, String> {
        let path = format!("/{kind}/{}", room.name);
        let (reply, body) = self.post(&path, "application/sdp", &room.token, offer).await?;
        if reply.status() != 201 {
            return Err(format!("{kind}: {} {}", reply.status(), String::from_utf8_lossy(&body)));
        }
        sdp::read_answer(&String::from_utf8_lossy(&body))
            .ok_or_else(|| format!("{kind}: an answer without an address"))
    }

    /// Joins by WebSocket. The offer comes back answered; the line stays open.
    pub async fn join(
        &self,
        room: &Room,
        offer: String,
        sources: &[(String, &str)],
    ) -> Result<(Answer, Line), String> {
        let joining = self.join_patiently(room, offer, sources);
        tokio::time::timeout(PATIENCE, joining).await.unwrap_or_else(|_| Err("no answer to a join".into()))
    }

    async fn join_patiently(
        &self,
        room: &Room,
        offer: String,
        sources: &[(String, &str)],
    ) -> Result<(Answer, Line), String> {
        let wrong = |error: tokio_tungstenite::tungstenite::Error| format!("WebSocket: {error}");
        let uri = format!("ws://{}/api/v1/rooms/{}/ws", self.authority, room.name);
        let mut request = uri.into_client_request().map_err(wrong)?;
        let origin = format!("http://{}", self.authority).parse().map_err(|_| "no origin".to_owned())?;
        request.headers_mut().insert("Origin", origin);
        let stream =
            TcpStream::connect(&self.authority).await.map_err(|error| format!("connect: {error}"))?;
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(wrong)?;
        let text = |value: &Value| Message::text(value.to_string());
        let join = json!({"type": "join", "name": "load", "password": room.password});
        socket.send(text(&join)).await.map_err(wrong)?;
        let sources: Vec<Value> =
            sources.iter().map(|(mid, source)| json!({"mid": mid, "source": source})).collect();
        let has = |name: &str| sources.iter().any(|source| source["source"] == name);
        let state = json!({"type": "state", "microphone": has("microphone"), "camera": has("camera"), "screen": false, "hand": false});
        socket
            .send(text(&json!({"type": "offer", "sdp": offer, "sources": sources})))
            .await
            .map_err(wrong)?;
        socket.send(text(&state)).await.map_err(wrong)?;
        let bytes = Rc::new(Cell::new(0));
        let mut participant = None;
        let answer = loop {
            let message = socket.next().await.ok_or("the server hung up")?.map_err(wrong)?;
            let Message::Text(message) = message else { continue };
            bytes.set(bytes.get() + message.len() as u64);
            let message: Value = serde_json::from_str(&message).map_err(|error| error.to_string())?;
            match message["type"].as_str() {
                Some("welcome") => participant = message["participant"].as_str().map(str::to_owned),
                Some("refused") => return Err(format!("the server refused a join: {}", message["reason"])),
                Some("answer") => break message["sdp"].as_str().and_then(sdp::read_answer),
                _ => {}
            }
        };
        let answer = answer.ok_or("an answer without an address")?;
        let (say, mut said) = unbounded_channel::<Value>();
        let heard = Rc::clone(&bytes);
        tokio::task::spawn_local(async move {
            loop {
                tokio::select! {
                    message = socket.next() => match message {
                        Some(Ok(message)) => heard.set(heard.get() + message.len() as u64),
                        _ => return,
                    },
                    said = said.recv() => match said {
                        Some(ref message) if socket.send(text(message)).await.is_ok() => {}
                        _ => {
                            let _ = socket.send(text(&json!({"type": "leave"}))).await;
                            return;
                        }
                    },
                }
            }
        });
        Ok((answer, Line { participant: participant.ok_or("no welcome")?, say, bytes }))
    }

    async fn post(
        &self,
        path: &str,
        kind: &str,
        token: &str,
        body: String,
    ) -> Result<(Response<()>, Bytes), String> {
        self.request("POST", path, kind, token, body).await
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        token: &str,
        body: String,
    ) -> Result<(Response<()>, Bytes), String> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", &self.authority)
            .header("Origin", format!("http://{}", self.authority))
            .header("Content-Type", kind);
        if !self.cookie.is_empty() {
            request = request.header("Cookie", &self.cookie);
        }
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
        exchange(&self.authority, request).await
    }
}

/// The text of `/metrics` of an admin listener.
pub async fn metrics(authority: &str) -> Result<String, String> {
    let request = Request::builder().uri("/metrics").header("Host", authority);
    let request = request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())?;
    let (_, body) = exchange(authority, request).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn exchange(authority: &str, request: Request<Full<Bytes>>) -> Result<(Response<()>, Bytes), String> {
    let wrong = |error: hyper::Error| format!("{authority}: {error}");
    let exchange = async {
        let stream = TcpStream::connect(authority).await.map_err(|error| format!("{authority}: {error}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
        tokio::task::spawn_local(connection);
        let (head, body) = sender.send_request(request).await.map_err(wrong)?.into_parts();
        let body = body.collect().await.map_err(wrong)?.to_bytes();
        Ok((Response::from_parts(head, ()), body))
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(format!("{authority}: no answer")))
}

impl Line {
    /// What each video slot shall show: slot, participant, height.
    pub fn view<'a>(&self, wishes: impl Iterator<Item = (&'a str, &'a str, u16)>) {
        let slots: Vec<Value> = wishes
            .map(|(slot, participant, height)| {
                json!({"slot": slot, "participant": participant, "source": "camera", "height": height})
            })
            .collect();
        // A server that has hung up is noticed by the media that does not come.
        let _ = self.say.send(json!({"type": "view", "slots": slots}));
    }
}
