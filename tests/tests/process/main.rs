//! The server as its admin and its browsers meet it: a real process, its command line, its HTTP and its WebSockets.

mod abuse;
mod canary;
mod curious;
mod http;
mod join;
mod memory;
mod notice;
mod person;
mod resume;
mod rights;
mod rules;
mod server;
mod traces;
mod whip;

use std::process::Command;

use http::{CLIENT, Line, get, request};
use serde_json::{Value, json};
use server::{Directory, SOON, Server, output, output_of, saal, wait_for};

const ROOM: &str = "canaryroom";
const PASSWORD: &str = "canarypassword";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// The command line

#[test]
fn the_first_run_tells_address_account_and_password_on_lines_of_their_own() {
    let server = Server::start("");
    let said = server.said();
    let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    assert_eq!(line("address: "), Some(server.origin()));
    assert!(!server.account.is_empty() && server.password.len() >= 12, "{said}");
    let page = get(server.http, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
}

#[test]
fn without_any_configuration_the_defaults_serve() {
    // The default ports may be in use on this machine, so the server gets one of its own.
    let directory = Directory::new();
    let script = "ip link set lo up && exec timeout 5 \"$SAAL\"";
    let mut unshared = Command::new("unshare");
    unshared.args(["--net", "--map-root-user", "sh", "-c", script]).env("SAAL", saal().get_program());
    let probe = Command::new("unshare").args(["--net", "--map-root-user", "ip", "link"]).output();
    let may = probe.is_ok_and(|probe| probe.status.success());
    assert!(may, "this test needs network namespaces, unshare (util-linux) and ip (iproute2)");
    let out = unshared.current_dir(directory.path("")).output().expect("unshare is there");
    let said = text(&out.stdout);
    assert!(said.lines().any(|line| line == "address: http://localhost:8080"), "{said}{}", text(&out.stderr));
    for name in ["account: ", "password: "] {
        assert_eq!(said.lines().filter(|line| line.starts_with(name)).count(), 1, "{said}");
    }
    assert_eq!(
        std::fs::read_dir(directory.path("")).expect("it exists").count(),
        0,
        "a first run writes nothing"
    );
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let directory = Directory::new();
    let config = directory.write("saal.toml", "[rooms]\nlobbby = true\n");
    for command in ["serve", "check"] {
        let out = output(saal().arg(command).arg("--config").arg(&config));
        assert_eq!(out.status.code(), Some(2));
        let said = text(&out.stderr);
        assert!(said.contains("lobbby") && said.contains("saal.toml"), "{said}");
    }
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    for arguments in [&["--verbose"][..], &["swerve"], &["serve", "--config", "/nonexistent/saal.toml"]] {
        let out = output(saal().args(arguments));
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {}", text(&out.stderr));
        assert!(!out.stderr.is_empty());
    }
}

#[test]
fn check_prints_the_table_that_is_in_force() {
    let directory = Directory::new();
    let config = directory.write("saal.toml", "media.port = 12345\n");
    let out = output(saal().args(["check", "--config"]).arg(&config));
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}{}", text(&out.stderr));
    assert!(
        said.contains("12345") && said.contains("127.0.0.1:8080") && said.contains("consent_seconds"),
        "{said}"
    );
}

#[test]
fn plain_http_for_others_is_refused() {
    let directory = Directory::new();
    for listen in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
        let config = directory.write("saal.toml", &format!("[http]\nlisten = \"{listen}\"\n"));
        let out = output(saal().args(["serve", "--config"]).arg(&config));
        assert_eq!(out.status.code(), Some(2), "{listen}");
        assert!(text(&out.stderr).contains("tls_certificate"), "the way out is named: {}", text(&out.stderr));
    }
}

#[test]
fn organizers_are_added_listed_and_removed() {
    let directory = Directory::new();
    let file = directory.path("organizers.toml");
    let config = directory.write("saal.toml", &format!("[organizers]\nfile = {file:?}\n"));
    let organizer = |arguments: &[&str], input: &str| {
        let out = output_of(saal().arg("organizer").args(arguments).arg("--config").arg(&config), input);
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, _, wrong) = organizer(&["add", "ada", "--password-stdin"], "canarypassword\n");
    assert_eq!(code, Some(0), "{wrong}");
    let kept = std::fs::read_to_string(&file).expect("it was written");
    assert!(!kept.contains("canary") && kept.contains("$argon2id$"), "only its hash is kept: {kept}");
    assert_ne!(organizer(&["add", "bob", "--password-stdin"], "short\n").0, Some(0));
    assert_ne!(organizer(&["add", "a b", "--password-stdin"], "canarypassword\n").0, Some(0));
    assert_eq!(organizer(&["list"], "").1, "ada\n");
    assert_eq!(organizer(&["remove", "ada"], "").0, Some(0));
    assert_eq!(organizer(&["list"], "").1, "");
    assert_ne!(organizer(&["remove", "ada"], "").0, Some(0));
}

#[test]
fn without_io_uring_the_server_says_why_and_serves_all_the_same() {
    let server = Server::spawn("media.io = \"auto\"\n", |command| {
        // A filter holds for one thread and for what it starts.
        std::thread::scope(|scope| {
            let forbidden = scope.spawn(|| {
                seccompiler::apply_filter(&no_io_uring()).expect("filters are allowed");
                command.spawn().expect("the server starts")
            });
            forbidden.join().expect("it has started")
        })
    });
    assert_eq!(wait_for("health", || (get(server.admin, "/healthz").status == 200).then_some(200)), 200);
    let said = server.said();
    let why: Vec<&str> = said.lines().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(why.len(), 1, "one line says why: {said}");
    assert!(said.contains("io=mio") && !said.contains("io=uring"), "{said}");
}

fn no_io_uring() -> seccompiler::BpfProgram {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known architecture");
    let rules = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).expect("a valid filter");
    filter.try_into().expect("a short program")
}

#[test]
fn sigterm_lets_rooms_end_and_a_second_one_does_not() {
    let mut server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Ada", PASSWORD);
    line.hear_type("welcome");

    server.terminate();
    wait_for("unreadiness", || (get(server.admin, "/readyz").status == 503).then_some(()));
    assert_eq!(get(server.admin, "/healthz").status, 200);
    assert_eq!(server.post("/api/v1/rooms", &cookie, &json!({})).error(), (503, "busy".into()));
    line.say(&json!({"type": "chat", "text": "still here"}));
    assert_eq!(line.hear_type("chat")["text"], "still here", "the room goes on");
    assert!(server.is_running());

    server.terminate();
    assert_eq!(line.hear_type("ended")["reason"], "shutdown");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn sigterm_ends_an_idle_server_at_once() {
    let mut server = Server::start("");
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_drained_server_ends_with_its_last_room() {
    let mut server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Ada", PASSWORD);
    line.hear_type("welcome");
    server.terminate();
    wait_for("unreadiness", || (get(server.admin, "/readyz").status == 503).then_some(()));
    line.say(&json!({"type": "leave"}));
    assert_eq!(server.ended().code(), Some(0));
}

// Organizers and rooms

#[test]
fn only_signed_in_organizers_open_rooms() {
    let server = Server::start("");
    assert_eq!(server.post("/api/v1/rooms", "", &json!({})).error(), (401, "sign-in".into()));
    assert_eq!(server.post("/api/v1/rooms", "saal=0123", &json!({})).error(), (401, "sign-in".into()));
    let wrong = server.post("/api/v1/login", "", &json!({"account": server.account, "password": "guess"}));
    assert_eq!(wrong.error(), (401, "wrong-credentials".into()));

    let cookie = server.sign_in();
    let session = server.own("GET", "/api/v1/session", &cookie, "").json();
    assert_eq!(session, json!({"account": server.account}));
    let room = server.post("/api/v1/rooms", &cookie, &json!({"name": ROOM}));
    assert_eq!(room.status, 201);
    let room = room.json();
    let password = room["password"].as_str().expect("a strong password is made up");
    assert!(password.len() >= 12);
    assert_eq!(room["url"], format!("{}/r/{ROOM}#p={password}", server.origin()));
    assert!(room["media_token"].as_str().is_some_and(|token| token.len() >= 20));
    assert_eq!(
        server.post("/api/v1/rooms", &cookie, &json!({"name": ROOM})).error(),
        (409, "name-taken".into())
    );
    for bad in ["", "a b", "a/b", "../x", &"x".repeat(65)] {
        let refused = server.post("/api/v1/rooms", &cookie, &json!({"name": bad})).error();
        assert_eq!(refused, (422, "bad-name".into()), "{bad:?}");
    }

    assert_eq!(server.own("POST", "/api/v1/logout", &cookie, "").status, 204);
    assert_eq!(server.own("GET", "/api/v1/session", &cookie, "").json(), json!({"account": null}));
    assert_eq!(server.post("/api/v1/rooms", &cookie, &json!({})).error(), (401, "sign-in".into()));
}

#[test]
fn a_room_ends_for_everybody_when_its_organizer_deletes_it() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Ada", PASSWORD);
    line.hear_type("welcome");
    let path = format!("/api/v1/rooms/{ROOM}");
    assert_eq!(server.own("DELETE", &path, "", "").status, 401);
    assert_eq!(server.own("DELETE", &path, &cookie, "").status, 204);
    assert_eq!(line.hear_type("ended")["reason"], "by-organizer");
    assert_eq!(server.own("DELETE", &path, &cookie, "").error(), (404, "no-room".into()));
    assert_eq!(server.metric("saal_rooms"), 0.0);
}

#[test]
fn a_request_from_a_foreign_page_changes_nothing() {
    let server = Server::start("");
    let cookie = server.sign_in();
    let login = json!({"account": server.account, "password": server.password}).to_string();
    let near = format!("http://localhost:{}", server.http + 1);
    let foreign = ["http://evil.example", "null", near.as_str(), "http://localhost"];
    for origin in foreign.iter().map(|origin| Some(*origin)).chain([None]) {
        let mut headers = vec![("Cookie", cookie.as_str()), ("Content-Type", "application/json")];
        headers.extend(origin.map(|origin| ("Origin", origin)));
        for (method, path, body) in [
            ("POST", "/api/v1/login", login.as_str()),
            ("POST", "/api/v1/rooms", "{}"),
            ("POST", "/api/v1/logout", ""),
            ("DELETE", "/api/v1/rooms/x", ""),
        ] {
            let reply = request(server.http, method, path, &headers, body);
            assert_eq!(reply.status, 403, "{method} {path} from {origin:?}");
            assert_eq!(reply.header("set-cookie"), None);
        }
    }
    for origin in foreign {
        assert_eq!(Line::try_open(&server, ROOM, origin).err(), Some(403), "{origin}");
    }
    assert_eq!(server.own("GET", "/api/v1/session", &cookie, "").json()["account"], server.account.as_str());
}

#[test]
fn bodies_with_foreign_or_double_fields_are_refused() {
    let server = Server::start("");
    let cookie = server.sign_in();
    for body in ["{\"nam\": \"x\"}", "{\"name\": \"x\", \"name\": \"y\"}", "[]", "{", "", "\"x\""] {
        assert_eq!(server.own("POST", "/api/v1/rooms", &cookie, body).status, 400, "{body}");
    }
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    assert!((400..500).contains(&server.own("POST", "/api/v1/rooms", &cookie, &long).status));
}

#[test]
fn the_session_cookie_stays_with_this_server_and_out_of_scripts() {
    let server = Server::start("");
    let login = json!({"account": server.account, "password": server.password});
    let reply = server.post("/api/v1/login", "", &login);
    let cookie = reply.header("set-cookie").expect("a session cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.split("; ").any(|part| part == attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
}

#[test]
fn guessing_passwords_is_cut_short_without_writing_down_who_guesses() {
    let server = Server::start("");
    let guess = |n: u32| {
        server.post("/api/v1/login", "", &json!({"account": server.account, "password": n.to_string()}))
    };
    let stopped = (0..100).map(guess).find(|reply| reply.status != 401).expect("guessing has an end");
    assert_eq!(stopped.error(), (429, "too-many-attempts".into()));
    assert!(!server.said().contains(&CLIENT.to_string()));
    assert!(!get(server.admin, "/metrics").body.contains(&CLIENT.to_string()));
}

// Pages

#[test]
fn pages_allow_nothing_foreign_and_give_guests_no_cookie() {
    let server = Server::start("");
    for path in ["/", "/r/anything", "/privacy", "/imprint", "/bye"] {
        let page = get(server.http, path);
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("set-cookie"), None, "{path}");
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("default-src 'self'") || policy.contains("default-src 'none'"),
            "{path}: {policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-eval"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("script-src 'unsafe-inline'") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"), "{path}");
    }
    let wipes = get(server.http, "/bye").header("clear-site-data").map(str::to_owned).unwrap_or_default();
    assert!(wipes.contains("\"storage\""), "{wipes}");
    assert_eq!(get(server.http, "/nothing").status, 404);
    for climb in ["/assets/../Cargo.toml", "/assets/%2e%2e/index.html", "/assets//etc/passwd"] {
        assert_eq!(get(server.http, climb).status, 404, "{climb}");
    }
}

// The WebSocket

#[test]
fn an_absent_room_and_a_wrong_password_cannot_be_told_apart() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let refusal = vec![json!({"type": "refused", "reason": "not-admitted"})];
    assert_eq!(Line::join(&server, ROOM, "Eve", "guess").hear_out(), refusal);
    assert_eq!(Line::join(&server, "absent", "Eve", "guess").hear_out(), refusal);
    let mut without = Line::open(&server, ROOM);
    without.say(&json!({"type": "join", "name": "Eve"}));
    assert_eq!(without.hear_out(), refusal);
    Line::join(&server, ROOM, "Ada", PASSWORD).hear_type("welcome");
}

#[test]
fn a_message_that_the_protocol_does_not_know_ends_the_connection() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let refused = json!({"type": "refused", "reason": "bad-message"});
    for first in [
        "{\"type\": \"join\", \"name\": \"Eve\", \"password\": \"x\", \"agent\": \"x\"}",
        "{\"type\": \"join\", \"name\": \"Eve\", \"name\": \"Ada\"}",
        "{\"type\": \"join\", \"name\": \"\"}",
        "{\"type\": \"jump\"}",
        "{\"type\": \"chat\", \"text\": \"before joining\"}",
        "not JSON",
    ] {
        let mut line = Line::open(&server, ROOM);
        line.say_text(first);
        assert_eq!(line.hear_out(), std::slice::from_ref(&refused), "{first}");
    }
    // She keeps the room alive.
    let mut ada = Line::join(&server, ROOM, "Ada", PASSWORD);
    ada.hear_type("welcome");
    for later in [
        json!({"type": "chat", "text": ""}),
        json!({"type": "chat", "text": "x".repeat(2001)}),
        json!({"type": "state", "microphone": true}),
        json!({"type": "join", "name": "Eve"}),
        json!({"type": "offer", "sdp": "nonsense", "sources": []}),
        json!({"type": "view", "slots": [], "address": "192.0.2.1"}),
    ] {
        let mut line = Line::join(&server, ROOM, "Eve", PASSWORD);
        line.hear_type("welcome");
        line.say(&later);
        let out = line.hear_out();
        assert_eq!(out.last(), Some(&refused), "{later}");
    }
    assert!(get(server.admin, "/healthz").status == 200);
}

#[test]
fn a_message_larger_than_64_kib_ends_the_connection() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Ada", PASSWORD);
    line.hear_type("welcome");
    line.say(&json!({"type": "chat", "text": "x".repeat(64 << 10)}));
    assert!(line.hear_out().iter().all(|message| message["type"] == "refused"));
    wait_for("the room to be empty", || (server.metric("saal_participants") == 0.0).then_some(()));
}

#[test]
fn who_connects_and_says_nothing_is_sent_away_within_seconds() {
    let server = Server::start("");
    let mut line = Line::open(&server, ROOM);
    let since = std::time::Instant::now();
    line.hear_out();
    assert!(since.elapsed() >= SOON / 2 && since.elapsed() < SOON * 3 / 2, "{:?}", since.elapsed());
}

#[test]
fn participants_hear_of_each_other_and_of_nothing_else() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let mut ada = Line::join(&server, ROOM, "Ada", PASSWORD);
    let welcome = ada.hear_type("welcome");
    assert_eq!((&welcome["organizer"], &welcome["participants"]), (&json!(false), &json!([])));
    let mut bob = Line::join(&server, ROOM, "Bob", PASSWORD);
    let own = bob.hear_type("welcome");
    assert_eq!(own["participants"][0]["name"], "Ada");
    let fields = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    let joined = ada.hear_type("joined");
    let all = "away blocked camera hand id kind microphone name organizer paused screen"
        .split(' ')
        .map(str::to_owned);
    let all = all.collect::<Vec<_>>();
    assert_eq!(fields(&joined["participant"]), Some(all), "a participant has no other field");
    ada.say(&json!({"type": "chat", "text": "hello"}));
    assert_eq!(bob.hear_type("chat")["text"], "hello");
    bob.say(&json!({"type": "rename", "name": "Robert"}));
    assert_eq!(ada.hear_type("changed")["participant"]["name"], "Robert");
    bob.say(&json!({"type": "leave"}));
    assert_eq!(ada.hear_type("left")["participant"], own["participant"]);
    ada.say(&json!({"type": "end"}));
    assert_eq!(
        ada.hear_out().last(),
        Some(&json!({"type": "refused", "reason": "bad-message"})),
        "she opened no room"
    );
}

#[test]
fn a_room_is_gone_with_its_last_participant_and_its_name_is_free_again() {
    let server = Server::start("");
    let cookie = server.sign_in();
    let first = server.open_room(&cookie, ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Ada", PASSWORD);
    line.hear_type("welcome");
    drop(line);
    wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
    let second = server.open_room(&cookie, ROOM, "another password");
    assert_ne!(first["media_token"], second["media_token"]);
    let refusal = json!({"type": "refused", "reason": "not-admitted"});
    assert_eq!(Line::join(&server, ROOM, "Ada", PASSWORD).hear_out(), [refusal]);
}

// The admin's view

#[test]
fn the_admin_listener_tells_health_and_numbers_only() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Adacanary", PASSWORD);
    line.hear_type("welcome");
    line.say(&json!({"type": "chat", "text": "canarychat"}));
    line.hear_type("chat");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(server.admin, path).status, 200, "{path}");
        assert_eq!(get(server.http, path).status, 404, "{path} is not for the public");
    }
    assert_eq!(get(server.http, "/metrics").status, 404);
    assert_eq!(server.metric("saal_rooms"), 1.0);
    assert_eq!(server.metric("saal_participants"), 1.0);

    let metrics = get(server.admin, "/metrics").body;
    let said = server.said();
    // What the terminal is told at the start is for the admin alone.
    let log = said.lines().filter(|line| !line.starts_with("password: ")).collect::<Vec<_>>().join("\n");
    for secret in ["canary", &CLIENT.to_string(), &server.password] {
        assert!(!metrics.contains(secret), "/metrics holds {secret}");
        assert!(!log.contains(secret), "the log holds {secret}: {log}");
    }
}
