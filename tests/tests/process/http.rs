//! A client that says exactly what it is told to say, from an address that can be looked for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::server::{SOON, Server};

/// Clients come from here; nothing else in the tests has this address.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 77, 66, 55);

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}\n{}", self.head, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

/// A connection to the server, encrypted or not.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

fn connect_from(client: Ipv4Addr, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((client, 0)).into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON * 2)).expect("a timeout");
    stream
}

pub(crate) fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    exchange(Wire::Plain(connect_from(CLIENT, port)), port, method, path, headers, body)
}

fn exchange(
    mut stream: Wire,
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Reply { status, head: head.to_owned(), body }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a chunk has a length");
        text += &rest[..length];
        body = rest[length..].trim_start_matches("\r\n");
    }
    text
}

pub(crate) fn get(port: u16, path: &str) -> Reply {
    request(port, "GET", path, &[], "")
}

impl Server {
    pub(crate) fn wire_from(&self, client: Ipv4Addr) -> Wire {
        let stream = connect_from(client, self.http);
        let Some(config) = &self.tls else { return Wire::Plain(stream) };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(config.clone(), name).expect("a configuration");
        Wire::Tls(Box::new(StreamOwned::new(connection, stream)))
    }

    /// As the server's own page sends it; `cookie` may be empty.
    pub(crate) fn post(&self, path: &str, cookie: &str, body: &Value) -> Reply {
        self.own("POST", path, cookie, &body.to_string())
    }

    pub(crate) fn own(&self, method: &str, path: &str, cookie: &str, body: &str) -> Reply {
        let origin = self.origin();
        let mut headers = vec![("Origin", origin.as_str()), ("Content-Type", "application/json")];
        if !cookie.is_empty() {
            headers.push(("Cookie", cookie));
        }
        exchange(self.wire_from(CLIENT), self.http, method, path, &headers, body)
    }

    /// Signs in; the cookie as it is sent back.
    pub(crate) fn sign_in(&self) -> String {
        let reply =
            self.post("/api/v1/login", "", &json!({"account": self.account, "password": self.password}));
        assert_eq!(reply.status, 204, "{}", reply.body);
        let cookie = reply.header("set-cookie").expect("a session cookie");
        cookie.split(';').next().unwrap_or_default().to_owned()
    }

    /// Opens a room and gives what the server answered.
    pub(crate) fn open_room(&self, cookie: &str, name: &str, password: &str) -> Value {
        let reply = self.post("/api/v1/rooms", cookie, &json!({"name": name, "password": password}));
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.json()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = get(self.admin, "/metrics").body;
        let values = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.split(' ').next_back()?.parse::<f64>().ok()
        });
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "no metric {name} in\n{metrics}");
        values.iter().sum()
    }
}

/// One participant's WebSocket.
/// One that is dropped says goodbye, as the browser does for a page that is closed.
pub(crate) struct Line(WebSocket<Wire>);

impl Line {
    pub(crate) fn open(server: &Server, room: &str) -> Line {
        Line::open_as(server, room, "")
    }

    pub(crate) fn open_as(server: &Server, room: &str, cookie: &str) -> Line {
        let opened = Line::upgrade(server.wire_from(CLIENT), server, room, &server.origin(), cookie);
        opened.unwrap_or_else(|status| panic!("the upgrade was answered with {status}"))
    }

    /// The status of the answer if it is no upgrade.
    pub(crate) fn try_open(server: &Server, room: &str, origin: &str) -> Result<Line, u16> {
        Line::upgrade(server.wire_from(CLIENT), server, room, origin, "")
    }

    pub(crate) fn open_from(client: Ipv4Addr, server: &Server, room: &str) -> Line {
        let opened = Line::upgrade(server.wire_from(client), server, room, &server.origin(), "");
        opened.unwrap_or_else(|status| panic!("the upgrade was answered with {status}"))
    }

    fn upgrade(wire: Wire, server: &Server, room: &str, origin: &str, cookie: &str) -> Result<Line, u16> {
        let url = format!("ws://localhost:{}/api/v1/rooms/{room}/ws", server.http);
        let mut request = url.into_client_request().expect("a URL");
        request.headers_mut().insert("Origin", origin.parse().expect("a header"));
        request.headers_mut().insert("Cookie", cookie.parse().expect("a header"));
        // What a browser tells of itself goes no further.
        request.headers_mut().insert("User-Agent", "canaryagent/1.0".parse().expect("a header"));
        match tungstenite::client(request, wire) {
            Ok((socket, _)) => Ok(Line(socket)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn join(server: &Server, room: &str, name: &str, password: &str) -> Line {
        let mut line = Line::open(server, room);
        line.say(&json!({"type": "join", "name": name, "password": password}));
        line
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string());
    }

    pub(crate) fn say_text(&mut self, text: &str) {
        // A server that has hung up meanwhile is found out by the next read.
        let _ = self.0.send(Message::text(text));
    }

    /// Goes on in this room where another line broke off, with the token of the last `welcome` or `resumed`.
    pub(crate) fn resume(server: &Server, room: &str, token: &Value, heard: u64) -> Line {
        let mut line = Line::open(server, room);
        line.say(&json!({"type": "resume", "token": token, "heard": heard}));
        line
    }

    /// The network is gone: nobody says goodbye.
    pub(crate) fn lose(self) {
        self.0.get_ref().tcp().shutdown(std::net::Shutdown::Both).expect("it was connected");
    }

    /// Given up by the page, for another one.
    pub(crate) fn abandon(mut self) {
        let why = CloseFrame { code: CloseCode::Library(4000), reason: "".into() };
        self.0.close(Some(why)).expect("it was open");
        self.0.flush().expect("it was open");
        self.hear_out();
    }

    /// The connection below, to send half a message.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.0.get_mut()
    }

    /// The next message; `None` when the server has ended the connection.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).expect("the server sends JSON"));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_) | Message::Binary(_) | Message::Frame(_)) => return None,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the server neither speaks nor hangs up")
                }
                Err(_) => return None,
            }
        }
    }

    /// What has arrived so far.
    pub(crate) fn hear_at_once(&mut self) -> Vec<Value> {
        self.0.get_ref().tcp().set_nonblocking(true).expect("a socket");
        let heard = std::iter::from_fn(|| {
            loop {
                match self.0.read() {
                    Ok(Message::Text(text)) => break serde_json::from_str(&text).ok(),
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(Message::Close(_) | Message::Binary(_) | Message::Frame(_)) | Err(_) => break None,
                }
            }
        });
        let heard = heard.collect();
        self.0.get_ref().tcp().set_nonblocking(false).expect("a socket");
        heard
    }

    /// The next message of a type; others are passed over.
    pub(crate) fn hear_type(&mut self, wanted: &str) -> Value {
        loop {
            let message = self.hear().unwrap_or_else(|| panic!("the connection ended before {wanted}"));
            if message["type"] == wanted {
                return message;
            }
        }
    }

    /// Everything until the server ends the connection.
    pub(crate) fn hear_out(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.hear()).collect()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // One that is closed already says nothing.
        let why = CloseFrame { code: CloseCode::Away, reason: "".into() };
        if self.0.close(Some(why)).is_ok() {
            // Unread input at close would make the kernel reset the connection, and the goodbye could be lost.
            let _ = io::copy(self.0.get_mut(), &mut io::sink());
        }
    }
}
