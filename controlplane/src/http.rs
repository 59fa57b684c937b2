//! The public listener: connections and their limits, TLS, and one match on (method, path).

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, HOST, HeaderValue,
    IF_NONE_MATCH,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::api;
use crate::limit::ClientAddr;
use crate::log;
use crate::names::RoomName;
use crate::privacy::{Document, Language};
use crate::server::Server;
use crate::whip;

pub(crate) type Answer = Response<Full<Bytes>>;

/// A browser finishes either in well under a second; slower is an attack or no network to hold a conference on.
const TLS_WITHIN: Duration = Duration::from_secs(10);
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// Life of a connection that is not a WebSocket: bounds peers that never read their answers.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);

/// After this pause the listener tries again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const HEADERS_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

pub(crate) async fn serve(server: Rc<Server>, listener: TcpListener) {
    let mut is_stuck = false;
    loop {
        let accepted = listener.accept().await;
        // Said once at either end, not at every attempt.
        if accepted.is_err() != is_stuck {
            is_stuck = !is_stuck;
            log::write(&match &accepted {
                Ok(_) => log::Entry::AcceptsAgain,
                Err(why) => log::Entry::AcceptFailed { why },
            });
        }
        let (stream, client) = match accepted {
            Ok((stream, peer)) => (stream, ClientAddr::new(peer.ip())),
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = server.connections.borrow_mut().opened(client) else { continue };
        let (server, tls) = (server.clone(), server.tls.borrow().clone());
        spawn_local(async move {
            let _ = stream.set_nodelay(true);
            let _ = timeout(CONNECTION_WITHIN, connection(&server, stream, tls, client)).await;
            server.connections.borrow_mut().closed(&place);
        });
    }
}

async fn connection(server: &Rc<Server>, stream: TcpStream, tls: Option<TlsAcceptor>, client: ClientAddr) {
    let Some(tls) = tls else {
        return requests(server, stream, client).await;
    };
    if let Ok(Ok(stream)) = timeout(TLS_WITHIN, tls.accept(stream)).await {
        requests(server, stream, client).await;
    }
}

async fn requests<S>(server: &Rc<Server>, stream: S, client: ClientAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, request, client).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(server: &Rc<Server>, request: Request<Incoming>, client: ClientAddr) -> Answer {
    let host = request.headers().get(HOST).cloned();
    let mut answer = route(server, request, client).await;
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    server.site.protect(host.as_ref(), answer.headers_mut());
    answer
}

async fn route(server: &Rc<Server>, request: Request<Incoming>, client: ClientAddr) -> Answer {
    let path = request.uri().path().to_owned();
    if request.headers().get_all(HOST).iter().count() != 1 {
        return error(StatusCode::BAD_REQUEST, "bad-request");
    }
    if let Some(rest) = path.strip_prefix("/api/v1/") {
        let segments: Vec<&str> = rest.split('/').collect();
        return api::answer(server, request, client, &segments).await;
    }
    if let Some((door, rest)) = whip::door(&path) {
        return whip::answer(server, request, client, door, &rest).await;
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(document) = Document::at(&path) {
        let language = wanted_language(&request);
        return match is_read {
            true => html(language, server.notices.of(document, language)),
            false => method_not_allowed("GET, HEAD"),
        };
    }
    let Some(file) = file_of(&path) else { return not_found(server, &request) };
    if !is_read {
        return method_not_allowed("GET, HEAD");
    }
    let mut answer = page(server, &request, &file);
    if path == "/bye" {
        answer.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
    }
    answer
}

/// The file of web/ behind a path.
fn file_of(path: &str) -> Option<String> {
    let file = match path {
        "/" => "index.html",
        "/bye" => "bye.html",
        "/favicon.ico" => "favicon.ico",
        "/robots.txt" => "robots.txt",
        _ => {
            if let Some(room) = path.strip_prefix("/r/") {
                return room_name(room).map(|_| "room.html".to_owned());
            }
            return path.strip_prefix("/assets/").map(ToOwned::to_owned);
        }
    };
    Some(file.to_owned())
}

pub(crate) fn page<B>(server: &Server, request: &Request<B>, file: &str) -> Answer {
    let Some(asset) = server.assets.find(file) else { return not_found(server, request) };
    let Ok(etag) = HeaderValue::from_str(&asset.etag) else { return not_found(server, request) };
    let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known
        .is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag));
    let mut answer = Answer::new(Full::new(Bytes::new()));
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *answer.body_mut() = match asset.bytes {
            std::borrow::Cow::Borrowed(bytes) => Full::new(Bytes::from_static(bytes)),
            std::borrow::Cow::Owned(bytes) => Full::new(Bytes::from(bytes)),
        };
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    }
    answer.headers_mut().insert(ETAG, etag);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// By the query and what the browser prefers.
pub(crate) fn wanted_language<B>(request: &Request<B>) -> Language {
    let accept = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Language::wanted(request.uri().query(), accept)
}

/// A page that was made on the server.
pub(crate) fn html(language: Language, page: Bytes) -> Answer {
    let mut answer = Answer::new(Full::new(page));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static(language.code()));
    answer
}

/// The room name of one path segment.
pub(crate) fn room_name(segment: &str) -> Option<RoomName> {
    RoomName::new(&percent_decoded(segment)?)
}

pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

/// `{"error": code}`.
pub(crate) fn error(status: StatusCode, code: &'static str) -> Answer {
    json(status, &serde_json::json!({ "error": code }))
}

pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = Answer::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn not_found<B>(server: &Server, request: &Request<B>) -> Answer {
    let language = wanted_language(request);
    let mut answer = html(language, server.notices.not_found(language));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_pages_and_assets_only() {
        assert_eq!(file_of("/").as_deref(), Some("index.html"));
        assert_eq!(file_of("/r/alpha-7").as_deref(), Some("room.html"));
        assert_eq!(file_of("/assets/js/main.js").as_deref(), Some("js/main.js"));
        for path in ["/r/", "/r/a/b", "/r/%00", "/r/%2e%2e", "/index.html", "//", "/r/%zz", "/r/%"] {
            assert_eq!(file_of(path), None, "{path}");
        }
    }

    #[test]
    fn percent_encoding_goes_there_and_back() {
        for text in ["Mensa-Küche", "会議", "a b&c#d%"] {
            assert_eq!(percent_decoded(&percent_encoded(text)).as_deref(), Some(text));
        }
        assert_eq!(percent_decoded("%ff"), None);
    }
}
