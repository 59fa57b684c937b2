//! What the server tells about itself, to people and to their browsers, and what it keeps from participants about each other.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::http::{CLIENT, Line, Reply, get, request};
use crate::server::{Directory, OPERATOR, Server, output, saal, wait_for};
use crate::{PASSWORD, ROOM, text};

/// Both languages, as a query.
const LANGUAGES: [&str; 2] = ["de", "en"];

#[test]
fn a_server_for_others_does_not_start_before_it_says_who_runs_it() {
    let directory = Directory::new();
    let organizers = directory.path("organizers.toml");
    let served = format!(
        "organizers.file = {organizers:?}\nhttp.self_signed = true\nadmin.listen = \"127.0.0.1:0\"\n"
    );
    for listen in ["0.0.0.0:0", "127.0.0.1:0"] {
        let config = directory.write("saal.toml", &format!("{served}http.listen = \"{listen}\"\n"));
        for command in ["serve", "check"] {
            let out = output(saal().arg(command).arg("--config").arg(&config));
            assert_eq!(out.status.code(), Some(2), "{listen} {command}");
            let said = text(&out.stderr);
            assert!(said.contains("[operator]") && said.contains("supervisory_authority"), "{said}");
        }
    }
    let config = directory.write("saal.toml", &format!("{OPERATOR}{served}http.listen = \"0.0.0.0:0\"\n"));
    let out = output(saal().args(["check", "--config"]).arg(&config));
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("[operator.legal_basis]"), "the operator is part of the table");
}

#[test]
fn the_notice_and_the_imprint_are_pages_without_scripts_in_the_language_that_is_asked_for() {
    let server = Server::start(OPERATOR);
    for path in ["/privacy", "/imprint"] {
        for (asked, accept, language) in [
            ("", "de-AT,de;q=0.9,en;q=0.5", "de"),
            ("", "en-GB", "en"),
            ("", "fr", "en"),
            ("?lang=de", "en", "de"),
            ("?lang=en", "de", "en"),
        ] {
            let reply =
                request(server.http, "GET", &format!("{path}{asked}"), &[("Accept-Language", accept)], "");
            assert_eq!((reply.status, reply.header("content-language")), (200, Some(language)));
            assert!(reply.body.contains(&format!("<html lang=\"{language}\">")));
            assert!(!reply.body.contains("<script") && !reply.body.contains(" style="), "{path}");
            for says in
                ["Example University", "Main Street 1<br>Exampletown", "mailto:conference@example.org"]
            {
                assert!(reply.body.contains(says), "{path}: {says}");
            }
            for other in LANGUAGES {
                assert!(
                    reply.body.contains(&format!("href=\"{path}?lang={other}\"")),
                    "a switch of languages"
                );
            }
            assert!(!reply.body.contains("class=\"demo\""));
        }
        assert_eq!(request(server.http, "HEAD", path, &[], "").body, "");
        assert_eq!(server.own("POST", path, "", "").status, 405);
        let demo = Server::start("");
        assert!(get(demo.http, path).body.contains("class=\"demo\""), "without an operator it says so");
    }
    let privacy = get(server.http, "/privacy").body;
    for says in [
        "dpo@example.org",
        "The state&#39;s commissioner",
        "15 seconds after your connection is lost",
        "§ 201",
    ] {
        assert!(privacy.contains(says), "{says}");
    }
}

#[test]
fn the_notices_hash_is_that_of_the_table_that_check_prints() {
    let server = Server::start(OPERATOR);
    let out = output(saal().args(["check", "--config"]).arg(server.config()));
    let mut sum =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils");
    sum.stdin.take().expect("piped").write_all(&out.stdout).expect("it reads");
    let sum = text(&sum.wait_with_output().expect("it ends").stdout);
    let notice = get(server.http, "/privacy").body;
    assert!(notice.contains(&format!("configuration {}</p>", &sum[..16])), "{sum}");
}

#[test]
fn every_page_leads_to_the_notice_and_the_imprint() {
    let server = Server::start("");
    // The page of a room holds two: the door and the call.
    let pages = [("/", 1), ("/bye", 1), ("/privacy", 1), ("/imprint", 1), ("/r/alpha", 2), ("/r/alpha.", 1)];
    for (path, times) in pages {
        let page = get(server.http, path).body;
        for to in ["href=\"/privacy", "href=\"/imprint"] {
            assert!(page.matches(to).count() >= times, "{path}: {to}");
        }
    }
    // A link with a character too many leads nowhere, in words that its reader understands.
    for (language, says) in [("de", "Diese Seite gibt es nicht"), ("en", "There is no such page")] {
        let page = get(server.http, &format!("/r/alpha.?lang={language}"));
        assert!(page.status == 404 && page.body.contains(&format!("<html lang=\"{language}\">")));
        assert!(page.body.contains(says) && !page.body.contains("alpha"), "{}", page.body);
    }
}

#[test]
fn the_papers_for_the_officer_come_from_the_configuration_in_both_languages() {
    let directory = Directory::new();
    let config = directory.write("saal.toml", &format!("{OPERATOR}rooms.waiting_minutes = 33\n"));
    let export = |arguments: &[&str]| {
        let out = output(saal().args(["compliance", "export"]).args(arguments));
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let config = config.to_str().expect("a plain path");
    let german = export(&["--config", config]);
    for says in ["Art. 30 DSGVO", "Art. 32 DSGVO", "Löschfristen", "Example University", "33 Minuten"] {
        assert!(german.contains(says), "{says}");
    }
    let english = export(&["--lang", "en", "--config", config]);
    for says in ["Art. 30 GDPR", "Art. 32 GDPR", "Retention", "Example University", "33 minutes"] {
        assert!(english.contains(says), "{says}");
    }
    assert!(export(&[]).contains("[fehlt: Tabelle [operator] der Konfiguration]"));
    let wrong = output(saal().args(["compliance", "export", "--lang", "fr"]));
    assert_eq!(wrong.status.code(), Some(2));
}

// Headers

/// The policy's directives, each with its sources.
fn policy(reply: &Reply) -> Vec<(String, Vec<String>)> {
    let policy = reply.header("content-security-policy").expect("every answer has a policy");
    let directives = policy.split(';').map(|directive| directive.split_whitespace().map(str::to_owned));
    directives.map(|mut words| (words.next().expect("a name"), words.collect())).collect()
}

fn assert_protected(what: &str, reply: &Reply) {
    let policy = policy(reply);
    for (name, sources) in [
        ("default-src", "'none'"),
        ("script-src", "'self'"),
        ("style-src", "'self'"),
        ("form-action", "'self'"),
        ("base-uri", "'none'"),
        ("frame-ancestors", "'none'"),
    ] {
        let of = policy.iter().find(|(of, _)| of == name).unwrap_or_else(|| panic!("{what}: no {name}"));
        assert_eq!(of.1, [sources], "{what}: {name}");
    }
    for (name, sources) in &policy {
        for source in sources {
            let own = ["'none'", "'self'", "data:", "blob:", "'script'"].contains(&source.as_str());
            let socket = source.strip_prefix("ws://").is_some_and(|host| host.starts_with("localhost:"));
            assert!(own || (name == "connect-src" && socket), "{what}: {name} {source}");
        }
    }
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("x-dns-prefetch-control", "off"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{what}: {name}");
    }
    let permissions = reply.header("permissions-policy").expect("every answer has one");
    assert!(permissions.contains("camera=(self)") && permissions.contains("geolocation=()"), "{what}");
    assert!(!permissions.contains('*'), "{what}: {permissions}");
    let cache = reply.header("cache-control").expect("every answer says whether it may be kept");
    assert!(["no-store", "no-cache"].contains(&cache), "{what}: {cache}");
    assert_eq!(reply.header("server"), None, "{what}");
    assert_eq!(reply.header("set-cookie"), None, "{what}: guests get no cookie");
}

#[test]
fn every_route_and_every_error_of_ours_carries_the_security_headers() {
    let server = Server::start("");
    let origin = server.origin();
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/r/alpha", 200),
        ("GET", "/bye", 200),
        ("GET", "/privacy", 200),
        ("HEAD", "/privacy", 200),
        ("GET", "/imprint", 200),
        ("GET", "/r/a%2Fb", 404),
        ("GET", "/nothing", 404),
        ("GET", "/robots.txt", 404),
        ("GET", "/assets/..%2f..%2fCargo.toml", 404),
        ("GET", "/assets/../site.rs", 404),
        ("POST", "/", 405),
        ("POST", "/imprint", 405),
        ("GET", "/api/v1/session", 200),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/rooms/a%2Fb/ws", 404),
        ("GET", "/api/v1/rooms/a/ws", 426),
        ("POST", "/api/v1/login", 400),
        ("GET", "/api/v1/login", 405),
        ("POST", "/api/v1/rooms", 401),
        ("DELETE", "/api/v1/rooms/a", 401),
        ("POST", "/whip/a", 401),
        ("POST", "/whep/a", 401),
        ("OPTIONS", "/whip/a", 200),
        ("DELETE", "/whep/session/a", 404),
    ] {
        let headers = [("Origin", origin.as_str()), ("Range", "bytes=0-1,5-9")];
        let reply = request(server.http, method, path, &headers, "");
        assert_eq!(reply.status, status, "{method} {path}");
        assert_protected(&format!("{method} {path}"), &reply);
        assert_eq!(reply.header("upgrade").is_some(), status == 426);
        let wipes = reply.header("clear-site-data");
        assert_eq!(wipes, (path == "/bye").then_some("\"cache\", \"storage\""), "{method} {path}");
    }
    for file in page_files() {
        let reply = get(server.http, &format!("/assets/{file}"));
        assert_eq!(reply.status, 200, "{file}");
        assert_protected(&file, &reply);
    }
    for path in ["/", "/healthz", "/readyz", "/metrics", "/assets/style.css", "/nothing"] {
        assert_protected(&format!("admin {path}"), &get(server.admin, path));
    }
    let page = get(server.http, "/");
    let tag = page.header("etag").expect("pages have one").to_owned();
    assert_eq!(request(server.http, "GET", "/", &[("If-None-Match", &tag)], "").status, 304);
}

/// Every file that the page is made of, as text.
fn page_files() -> Vec<String> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane/web");
    let mut files = Vec::new();
    let mut directories = vec![web.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("the page lies there").map_while(Result::ok) {
            let path = entry.path();
            let name = path.strip_prefix(&web).expect("it is below").to_string_lossy().into_owned();
            match path.is_dir() {
                true => directories.push(path),
                false if ["js", "css", "html", "svg"].iter().any(|end| name.ends_with(end)) => {
                    files.push(name)
                }
                false => {}
            }
        }
    }
    assert!(files.len() > 20, "{files:?}");
    files
}

// What participants learn of each other

/// An offer as Chromium makes it, with everything that could give its sender away marked.
fn telling_offer(mark: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane/testdata/chromium-offer.sdp");
    let recorded = std::fs::read_to_string(path).expect("an offer is recorded");
    let mut sdp = String::new();
    for line in recorded.lines() {
        let line = line
            .replace("o=- ", &format!("o=canaryagent{mark} "))
            .replace("cLmjT6V6zx+961Nv", &format!("canarycname{mark}"))
            .replace("msid:- ", &format!("msid:canarystream{mark} "))
            .replace("a=ice-ufrag:Ufr4", &format!("a=ice-ufrag:canaryufrag{mark}"))
            .replace("sha-256 00:01:02:03", "sha-256 CA:4A:12:34");
        sdp += &format!("{line}\r\n");
        if line.starts_with("s=") {
            sdp += &format!("i=canarydevice{mark}\r\n");
        }
        if line.starts_with("a=ice-ufrag") {
            sdp += "a=candidate:1 1 udp 2122260223 198.51.100.77 50001 typ host generation 0\r\n";
            sdp += &format!("a=candidate:2 1 udp 2122194687 canaryhost{mark}.local 50002 typ host\r\n");
        }
    }
    let sources = json!([{"mid": "0", "source": "microphone"}, {"mid": "1", "source": "camera"}, {"mid": "2", "source": "screen"}]);
    json!({"type": "offer", "sdp": sdp, "sources": sources})
}

/// Two guests and the organizer of the room, who is told no more than they are.
#[test]
fn no_message_tells_a_participant_of_anothers_machine_network_or_account() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let names = ["Ada", "Bob", "Cleo"];
    let mut lines: Vec<Line> = Vec::new();
    let mut heard: Vec<Vec<Value>> = vec![Vec::new(); names.len()];
    for (index, name) in names.into_iter().enumerate() {
        let mut line = Line::open_as(&server, ROOM, if index == 2 { &cookie } else { "" });
        line.say(&json!({"type": "join", "name": name, "password": PASSWORD}));
        heard[index].push(line.hear_type("welcome"));
        line.say(&telling_offer(name));
        heard[index].push(line.hear_type("answer"));
        lines.push(line);
    }
    for (index, line) in lines.iter_mut().enumerate() {
        line.say(&json!({"type": "state", "microphone": true, "camera": true, "screen": true, "hand": true}));
        line.say(&json!({"type": "rename", "name": format!("{} again", names[index])}));
        line.say(&json!({"type": "chat", "text": format!("the last word of {index}")}));
    }
    for (line, heard) in lines.iter_mut().zip(&mut heard) {
        let mut words = 0;
        while words < names.len() {
            let message = line.hear().expect("the call goes on");
            words += usize::from(message["type"] == "chat");
            heard.push(message);
        }
    }
    for (index, messages) in heard.iter().enumerate() {
        let types: Vec<&str> = messages.iter().filter_map(|message| message["type"].as_str()).collect();
        for expected in ["welcome", "answer", "changed", "chat"] {
            assert!(types.contains(&expected), "{} heard {types:?}", names[index]);
        }
        let of_others =
            ["agent", "cname", "stream", "ufrag", "device", "host"].map(|word| format!("canary{word}"));
        let client = CLIENT.to_string();
        let secrets = ["198.51.100.77", ".local", "CA:4A:12:34", &client, &server.account];
        for message in messages.iter().map(Value::to_string) {
            for secret in of_others.iter().map(String::as_str).chain(secrets) {
                let told = message.find(secret).map(|at| &message[at..message.len().min(at + 60)]);
                assert_eq!(told, None, "{} was told {secret}", names[index]);
            }
        }
    }
}

// The administration's page

#[test]
fn the_status_page_shows_numbers_and_names_nobody() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut line = Line::join(&server, ROOM, "Adacanary", PASSWORD);
    line.hear_type("welcome");
    for (language, says) in
        [("de", "1 angelegt, 0 gelöscht, 1 vorhanden"), ("en", "1 made, 0 deleted, 1 there")]
    {
        let reply = get(server.admin, &format!("/?lang={language}"));
        assert_eq!((reply.status, reply.header("content-language")), (200, Some(language)));
        assert_eq!(reply.body.matches(says).count(), 2, "rooms and participants: {}", reply.body);
        assert!(reply.body.contains("class=\"verdict good\"") && !reply.body.contains("<script"));
        for secret in ["canary", &CLIENT.to_string(), &server.account, &server.password] {
            assert!(!reply.body.contains(secret), "the page holds {secret}");
        }
    }
    drop(line);
    wait_for("the room's end", || {
        get(server.admin, "/?lang=en").body.contains("1 made, 1 deleted, 0 there").then_some(())
    });
    assert_eq!(
        get(server.admin, "/assets/style.css").header("content-type"),
        Some("text/css; charset=utf-8")
    );
    for foreign in ["/assets/index.html", "/assets/js/welcome.js", "/privacy", "/api/v1/session"] {
        assert_eq!(get(server.admin, foreign).status, 404, "{foreign}");
    }
    assert_eq!(request(server.admin, "POST", "/", &[], "").status, 405);
}
