//! The admin's listener: health, readiness, numbers, and a page of them for people. Nothing here names a person, a room or
//! an address.

use std::convert::Infallible;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use saal_dataplane::WorkerInfo;
use saal_dataplane::counters::Dropped;
use saal_dataplane::io::TRAIN_CLASSES;
use saal_dataplane::link::Snapshot;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::http::{self, Answer};
use crate::self_check::{self, Outcome, Verdict};
use crate::server::Server;
use crate::signal::message::Refused;
use crate::status;

/// A worker's turn takes well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);

const CONNECTION_WITHIN: Duration = Duration::from_secs(60);
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// One worker's row: who it is and what it said, if it did.
pub(crate) type Row = (WorkerInfo, Option<Box<Snapshot>>);

pub(crate) async fn serve(server: Rc<Server>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let server = server.clone();
        spawn_local(async move {
            let service = service_fn(|request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(answer(&server, &request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(CONNECTION_WITHIN, connection).await;
        });
    }
}

async fn answer(server: &Server, request: &Request<Incoming>) -> Answer {
    let mut answer = route(server, request).await;
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    server.site.protect(None, answer.headers_mut());
    answer
}

async fn route(server: &Server, request: &Request<Incoming>) -> Answer {
    if request.method() == Method::POST && request.uri().path() == "/self-check" {
        return match self_check::run(server).await {
            Some(Verdict::Clean) => text(StatusCode::OK, "clean\n".into()),
            Some(other) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", other.name())),
            None => text(StatusCode::CONFLICT, "a check is under way\n".into()),
        };
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
    }
    match request.uri().path() {
        "/" => {
            let language = http::wanted_language(request);
            http::html(language, status::page(server, &rows(server).await, language).into())
        }
        "/healthz" => healthz(&rows(server).await),
        "/readyz" if server.hall.rooms(|rooms| rooms.is_draining()) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into())
        }
        "/readyz" => text(StatusCode::OK, "ready\n".into()),
        "/metrics" => {
            let mut page = String::new();
            write_control(&mut page, server);
            write_workers(&mut page, &rows(server).await);
            let mut answer = text(StatusCode::OK, page);
            let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(CONTENT_TYPE, version);
            answer
        }
        path => match path.strip_prefix("/assets/").filter(|file| status::ASSETS.contains(file)) {
            Some(file) => http::page(server, request, file),
            None => text(StatusCode::NOT_FOUND, "not found\n".into()),
        },
    }
}

async fn rows(server: &Server) -> Vec<Row> {
    server.hall.media.snapshots(PATIENCE).await
}

fn healthz(rows: &[Row]) -> Answer {
    let silent: Vec<String> = rows
        .iter()
        .filter(|(_, snapshot)| snapshot.is_none())
        .map(|(info, _)| info.id.0.to_string())
        .collect();
    if rows.is_empty() || !silent.is_empty() {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no answer from workers: {}\n", silent.join(" ")),
        );
    }
    text(StatusCode::OK, "ok\n".into())
}

fn write_control(page: &mut String, server: &Server) {
    let hall = &server.hall;
    let (rooms, participants, totals, draining) = hall
        .rooms(|rooms| (rooms.room_count(), rooms.participant_count(), rooms.totals(), rooms.is_draining()));
    metric(page, "saal_rooms", "gauge", "Rooms that exist.", rooms as u64);
    metric(page, "saal_participants", "gauge", "Participants in all rooms.", participants as u64);
    metric(page, "saal_rooms_created_total", "counter", "Rooms opened.", totals.rooms_created);
    metric(
        page,
        "saal_rooms_destroyed_total",
        "counter",
        "Rooms deleted with all their data.",
        totals.rooms_destroyed,
    );
    metric(page, "saal_participants_joined_total", "counter", "Joins.", totals.participants_joined);
    metric(page, "saal_participants_left_total", "counter", "Participants gone.", totals.participants_left);
    let connections = server.connections.borrow().open() as u64;
    metric(page, "saal_http_connections", "gauge", "Open connections, WebSockets included.", connections);
    let [whip, whep] = server.whip.borrow().count();
    metric(page, "saal_whip_sessions", "gauge", "Streams that came by WHIP.", whip as u64);
    metric(page, "saal_whep_sessions", "gauge", "Viewers that came by WHEP.", whep as u64);
    metric(page, "saal_draining", "gauge", "1 after SIGTERM.", u64::from(draining));
    let videos = hall.videos_refused();
    let help = "Cameras and screens that a full worker did not take.";
    metric(page, "saal_video_refused_total", "counter", help, videos);
    write_promises(page, server);
    head(page, "saal_joins_refused_total", "counter", "Connections ended by the server.");
    for reason in Refused::ALL {
        line(
            page,
            "saal_joins_refused_total",
            &format!("reason=\"{}\"", reason.name()),
            hall.refusals(reason),
        );
    }
}

/// Whether what is promised about people's data holds.
fn write_promises(page: &mut String, server: &Server) {
    if let Some(journal) = server.auth.journal() {
        let journal = journal.borrow();
        let age = journal.oldest_line(SystemTime::now(), Instant::now()).unwrap_or_default().as_secs();
        let help = "No line of the sign-ins' journal is older; 0 when there is none.";
        metric(page, "saal_journal_oldest_line_seconds", "gauge", help, age);
        let help = "Sign-ins that could not be written down.";
        metric(page, "saal_journal_lost_total", "counter", help, journal.lost());
    }
    if let Some(Outcome { verdict, at }) = server.self_check.last() {
        head(
            page,
            "saal_self_check",
            "gauge",
            "1 for what the last search for remains of a closed room found.",
        );
        for possible in Verdict::ALL {
            let labels = format!("result=\"{}\"", possible.name());
            line(page, "saal_self_check", &labels, u64::from(possible == verdict));
        }
        let help = "Since the last search for remains of a closed room.";
        metric(page, "saal_self_check_age_seconds", "gauge", help, at.elapsed().as_secs());
    }
}

fn write_workers(page: &mut String, rows: &[Row]) {
    head(page, "saal_worker_up", "gauge", "1 when the worker answered within a second.");
    for (info, snapshot) in rows {
        line(page, "saal_worker_up", &worker(info), u64::from(snapshot.is_some()));
    }
    head(page, "saal_worker_info", "gauge", "1; the worker's core, if it is pinned, and its I/O backend.");
    for (info, _) in rows {
        let core = info.core.map(|core| core.to_string()).unwrap_or_default();
        let labels = format!("{},core=\"{core}\",backend=\"{}\"", worker(info), info.backend);
        line(page, "saal_worker_info", &labels, 1);
    }
    let name = "saal_worker_busy_seconds_total";
    head(page, name, "counter", "Processor time of the worker, the kernel's work for it included.");
    for (info, snapshot) in rows {
        if let Some(snapshot) = snapshot {
            let _ = writeln!(page, "{name}{{{}}} {:.6}", worker(info), snapshot.counters.busy.as_secs_f64());
        }
    }
    for (name, kind, help, value) in WORKER {
        head(page, name, kind, help);
        for (info, snapshot) in rows {
            if let Some(snapshot) = snapshot {
                line(page, name, &worker(info), value(snapshot));
            }
        }
    }
    head(page, "saal_train_packets", "histogram", "Packets per send operation.");
    for (info, snapshot) in rows {
        let Some(snapshot) = snapshot else { continue };
        let worker = worker(info);
        let mut sum = 0;
        for (count, longest) in snapshot.io.trains.iter().zip(TRAIN_CLASSES) {
            sum += count;
            line(page, "saal_train_packets_bucket", &format!("{worker},le=\"{longest}\""), sum);
        }
        line(page, "saal_train_packets_bucket", &format!("{worker},le=\"+Inf\""), snapshot.io.sends);
        line(page, "saal_train_packets_sum", &worker, snapshot.io.datagrams_out);
        line(page, "saal_train_packets_count", &worker, snapshot.io.sends);
    }
    head(page, "saal_dropped_total", "counter", "What arrived and was not used.");
    for (info, snapshot) in rows {
        let Some(snapshot) = snapshot else { continue };
        for reason in Dropped::ALL {
            let labels = format!("{},reason=\"{}\"", worker(info), reason.name());
            line(page, "saal_dropped_total", &labels, snapshot.counters.dropped(reason));
        }
    }
}

type Column = (&'static str, &'static str, &'static str, fn(&Snapshot) -> u64);

const WORKER: [Column; 23] = [
    ("saal_worker_rooms", "gauge", "Rooms on this worker.", |s| s.counters.rooms),
    ("saal_worker_participants", "gauge", "Participants on this worker.", |s| s.counters.participants),
    ("saal_handshakes_waiting", "gauge", "Datagrams of DTLS handshakes that nobody has read yet.", |s| {
        s.counters.handshakes_waiting
    }),
    ("saal_turns_total", "counter", "Turns of the worker's loop.", |s| s.counters.turns),
    ("saal_tick_microseconds", "gauge", "Longest that packets wait now so that trains grow.", |s| {
        s.counters.tick_us
    }),
    ("saal_pictures_permille", "gauge", "What the core leaves of the pictures that are asked for.", |s| {
        s.counters.relief_permille
    }),
    ("saal_padding_bytes_total", "counter", "RTP padding that evened out trains.", |s| {
        s.counters.padding_bytes
    }),
    ("saal_rtp_in_total", "counter", "RTP packets that arrived.", |s| s.counters.rtp_in),
    ("saal_rtcp_in_total", "counter", "RTCP packets that arrived.", |s| s.counters.rtcp_in),
    ("saal_rtp_forwarded_total", "counter", "RTP packets sent on.", |s| s.counters.rtp_forwarded),
    ("saal_rtx_sent_total", "counter", "Packets sent again.", |s| s.counters.rtx_sent),
    ("saal_probes_sent_total", "counter", "Packets that looked for what receivers' lines carry.", |s| {
        s.counters.probes_sent
    }),
    ("saal_held_total", "counter", "Video packets that waited for a receiver's narrow line.", |s| {
        s.counters.held
    }),
    ("saal_keyframe_requests_total", "counter", "Keyframe requests sent.", |s| {
        s.counters.keyframe_requests_sent
    }),
    ("saal_nacks_sent_total", "counter", "NACKs sent.", |s| s.counters.nacks_sent),
    ("saal_datagrams_in_total", "counter", "Datagrams received.", |s| s.io.datagrams_in),
    ("saal_bytes_in_total", "counter", "Bytes received.", |s| s.io.bytes_in),
    ("saal_sends_total", "counter", "Send operations; a segmented send is one.", |s| s.io.sends),
    ("saal_datagrams_out_total", "counter", "Datagrams sent.", |s| s.io.datagrams_out),
    ("saal_bytes_out_total", "counter", "Bytes sent.", |s| s.io.bytes_out),
    ("saal_send_errors_total", "counter", "Sends that the kernel refused.", |s| s.io.send_errors),
    ("saal_truncated_total", "counter", "Datagrams too long to be ours.", |s| s.io.truncated),
    ("saal_rearmed_total", "counter", "Times the receive buffers ran out.", |s| s.io.rearmed),
];

fn worker(info: &WorkerInfo) -> String {
    format!("worker=\"{}\"", info.id.0)
}

fn metric(page: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(page, name, kind, help);
    let _ = writeln!(page, "{name} {value}");
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(page: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(page, "{name}{{{labels}}} {value}");
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Answer::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
