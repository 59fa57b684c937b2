//! What hostile guests, careless admins and bad luck do to a running server.

use std::time::Instant;

use serde_json::{Value, json};

use crate::http::{Line, get};
use crate::server::{
    Directory, OPERATOR, Server, free_tcp_port, free_udp_ports, output, output_of, saal, wait_for,
};
use crate::{PASSWORD, ROOM, text};

#[test]
fn the_organizer_is_let_in_without_the_password_and_others_are_not() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut line = Line::open_as(&server, ROOM, &cookie);
    line.say(&json!({"type": "join", "name": "Ada"}));
    assert_eq!(line.hear_type("welcome")["organizer"], true);
    let mut stranger = Line::open_as(&server, ROOM, "saal=0123");
    stranger.say(&json!({"type": "join", "name": "Eve"}));
    assert_eq!(stranger.hear_type("refused")["reason"], "not-admitted");
}

/// Everybody asks in the same moment: the guesses in line are not worked off one by one.
#[test]
fn a_flood_of_guesses_does_not_keep_others_waiting() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let mut guesses: Vec<Line> = (0..300).map(|_| Line::join(&server, "elsewhere", "Eve", "guess")).collect();
    let since = Instant::now();
    let mut line = Line::open_as(&server, ROOM, &cookie);
    line.say(&json!({"type": "join", "name": "Ada"}));
    line.hear_type("welcome");
    assert!(since.elapsed().as_secs() < 2, "{:?}", since.elapsed());
    let reasons: Vec<Value> =
        guesses.iter_mut().map(|line| line.hear_type("refused")["reason"].clone()).collect();
    let hashed = reasons.iter().filter(|reason| **reason == "not-admitted").count();
    assert!((1..100).contains(&hashed), "{hashed} guesses were worked off");
}

#[test]
fn a_message_that_is_too_large_is_answered_with_the_reason() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, "");
    let mut line = Line::join(&server, ROOM, "Ada", "");
    line.hear_type("welcome");
    line.say(&json!({"type": "chat", "text": "x".repeat(65 << 10)}));
    assert_eq!(line.hear_type("refused")["reason"], "bad-message");
}

#[test]
fn a_closed_terminal_or_log_reader_stops_nobody() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut server = Server::spawn("", |command| command.stderr(writer).spawn().expect("the server starts"));
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, "");
    Line::join(&server, ROOM, "Ada", "").hear_type("welcome");
    wait_for("the room to end", || (server.metric("saal_rooms") == 0.0).then_some(()));
    assert!(server.is_running());
    assert_eq!(get(server.admin, "/healthz").status, 200);
}

#[test]
fn without_a_certificate_to_renew_sighup_ends_the_server_in_order() {
    let mut server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, "");
    let mut line = Line::join(&server, ROOM, "Ada", "");
    line.hear_type("welcome");
    server.signal("-HUP");
    wait_for("unreadiness", || (get(server.admin, "/readyz").status == 503).then_some(()));
    server.signal("-INT");
    assert_eq!(line.hear_type("ended")["reason"], "shutdown");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn sighup_reads_a_renewed_certificate_and_keeps_the_old_one_when_it_cannot() {
    let directory = Directory::new();
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        directory.write("key.pem", &made.signing_key.serialize_pem());
        directory.write("chain.pem", &made.cert.pem())
    };
    let chain = renew();
    let server = Server::start(&format!(
        "{OPERATOR}http.tls_certificate = {chain:?}\nhttp.tls_key = {:?}\n",
        directory.path("key.pem")
    ));
    renew();
    server.signal("-HUP");
    wait_for("the new certificate", || server.said().contains("info certificate loaded").then_some(()));
    directory.write("chain.pem", "no certificate");
    server.signal("-HUP");
    wait_for("the warning", || server.said().contains("the old certificate serves on").then_some(()));
    assert_eq!(get(server.admin, "/healthz").status, 200);
}

#[test]
fn running_out_of_file_descriptors_is_said_once_and_calls_go_on() {
    let server = Server::start("");
    server.open_room(&server.sign_in(), ROOM, "");
    let mut line = Line::join(&server, ROOM, "Ada", "");
    line.hear_type("welcome");
    server.limit_files(40);
    let crowd: Vec<_> = (0..60)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", server.http)).expect("the backlog"))
        .collect();
    wait_for("the warning", || server.said().contains("nobody new gets in").then_some(()));
    line.say(&json!({"type": "chat", "text": "still here"}));
    line.hear_type("chat");
    drop(crowd);
    wait_for("the end of it", || server.said().contains("get in again").then_some(()));
    assert!(server.said().matches("nobody new gets in").count() < 4, "{}", server.said());
    assert_eq!(get(server.http, "/").status, 200);
}

#[test]
fn a_core_that_this_process_may_not_use_is_a_configuration_error() {
    let directory = Directory::new();
    let config = directory.write("saal.toml", "[media]\ncores = [4000]\n");
    let out = output(saal().args(["serve", "--config"]).arg(&config));
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("core 4000"), "{}", text(&out.stderr));
}

#[test]
fn two_tabs_of_one_person_are_two_participants_of_the_same_name() {
    let server = Server::start("");
    let cookie = server.sign_in();
    server.open_room(&cookie, ROOM, PASSWORD);
    let tab = || {
        let mut line = Line::open_as(&server, ROOM, &cookie);
        line.say(&json!({"type": "join", "name": "Ada"}));
        let welcome = line.hear_type("welcome");
        (line, welcome)
    };
    let (mut first, one) = tab();
    let (second, two) = tab();
    assert_ne!(one["participant"], two["participant"]);
    assert_eq!(first.hear_type("joined")["participant"]["name"], "Ada");
    drop(second);
    assert_eq!(first.hear_type("left")["participant"], two["participant"]);
}

/// Marks of the findings that `saal doctor` prints, and its exit code.
fn doctor(config: &std::path::Path) -> (String, Option<i32>) {
    let out = output(saal().args(["doctor", "--config"]).arg(config));
    (text(&out.stdout), out.status.code())
}

#[test]
fn doctor_says_what_fails_here_and_how_to_mend_it() {
    let directory = Directory::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", free_tcp_port())).expect("a port");
    let address = taken.local_addr().expect("it is bound");
    let organizers = directory.write("organizers.toml", "");
    let write = |more: &str| {
        let text = format!(
            "http.listen = \"{address}\"\nadmin.listen = \"127.0.0.1:0\"\nmedia.port = {}\n\
             organizers.file = {organizers:?}\n{more}",
            free_udp_ports()
        );
        directory.write("saal.toml", &text)
    };
    let (said, code) = doctor(&write(""));
    assert_eq!(code, Some(1), "{said}");
    let fails: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(fails.len() == 1 && fails[0].contains("http.listen"), "{said}");
    let mend = said.lines().last().expect("the worst comes last");
    assert!(mend.starts_with("      > ") && mend.contains("http.listen"), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("warn  organizers") && line.contains("holds nobody")),
        "{said}"
    );

    drop(taken);
    let (said, _) = doctor(&write(""));
    assert!(!said.contains("FAIL") && said.contains("http.listen"), "{said}");

    let (said, code) = doctor(&write("media.cores = [4095]\n"));
    assert!(code == Some(1) && said.contains("FAIL  cores"), "{said}");
    let (said, code) = doctor(&write("media.ports = 1\n"));
    assert!(code == Some(2) && said.is_empty(), "{said}");
}

/// On whatever machine this runs: the verdict is what the findings add up to, for people and machines alike.
#[test]
fn doctors_exit_code_is_what_its_findings_add_up_to() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["saal.example".to_owned()]).expect("a certificate");
    let (chain, key) = (
        directory.write("chain.pem", &made.cert.pem()),
        directory.write("key.pem", &made.signing_key.serialize_pem()),
    );
    let config = directory.write(
        "saal.toml",
        &format!(
            "{OPERATOR}http.listen = \"127.0.0.1:0\"\nhttp.tls_certificate = {chain:?}\nhttp.tls_key = {key:?}\n\
             http.public_url = \"https://saal.example\"\nadmin.listen = \"127.0.0.1:0\"\nmedia.port = {}\n\
             organizers.file = {:?}\n",
            free_udp_ports(),
            directory.path("organizers.toml")
        ),
    );
    let add = ["organizer", "add", "anna", "--password-stdin", "--config"];
    let added = output_of(saal().args(add).arg(&config), "correct horse\n");
    assert!(added.status.success(), "{}", text(&added.stderr));
    let out = output(saal().args(["doctor", "--json", "--config"]).arg(&config));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let of = |name: &str| findings.iter().find(|finding| finding["name"] == name).expect(name);
    for name in ["certificate", "certificate name", "organizers", "operator", "http.listen", "media ports"] {
        assert_eq!(of(name)["mark"], "ok", "{}", of(name));
    }
    let troubles: Vec<&Value> =
        findings.iter().filter(|finding| finding["mark"] == "warn" || finding["mark"] == "fail").collect();
    assert!(
        troubles.iter().all(|trouble| trouble["means"].is_string() && trouble["mend"].is_string()),
        "{report}"
    );
    assert_eq!(report["ready"], troubles.is_empty());
    assert_eq!(out.status.code(), Some(i32::from(!troubles.is_empty())), "{report}");
}
