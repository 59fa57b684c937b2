//! Where else a call could leave something: on the disk, in logs and answers, and in the next room of the same name.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::slice::from_ref;
use std::time::Duration;

use serde_json::json;

use crate::canary::{Words, call, until};
use crate::http::{Line, get, request};
use crate::person::Person;
use crate::server::{Directory, Server, output, output_of, saal, wait_for};
use crate::text;

/// Every file below, by its path, with what is in it.
fn files(below: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![below.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("it is ours").map(|entry| entry.expect("it is ours"))
        {
            let path = entry.path();
            if entry.file_type().expect("it is ours").is_dir() {
                directories.push(path.clone());
            }
            let name = path.strip_prefix(below).expect("it is below").to_string_lossy().into_owned();
            found.insert(name, std::fs::read(&path).unwrap_or_default());
        }
    }
    found
}

/// `date` of coreutils says how the calendar calls a day.
pub(crate) fn day(when: &str) -> String {
    let out = Command::new("date").args(["-u", "+%F", "-d", when]).output().expect("coreutils are there");
    text(&out.stdout).trim().to_owned()
}

/// With an organizers' file, everything that a server could write to in one directory; signed in as `anna`.
pub(crate) struct House {
    pub(crate) directory: Directory,
    config: String,
}

impl House {
    pub(crate) fn new() -> House {
        let directory = Directory::new();
        for name in ["cwd", "home", "tmp", "state"] {
            std::fs::create_dir(directory.path(name)).expect("the directory is ours");
        }
        let config = format!("organizers.file = {:?}\n", directory.path("state/organizers.toml"));
        directory.write("saal.toml", &config);
        let house = House { directory, config };
        house.add("anna");
        house
    }

    pub(crate) fn add(&self, account: &str) {
        self.organizer(&["add", account, "--password-stdin"], "correct horse\n");
    }

    /// As the administrator has it done while the server runs.
    pub(crate) fn organizer(&self, words: &[&str], input: &str) {
        let file = self.directory.path("saal.toml");
        let mut command = saal();
        command.arg("organizer").args(words).arg("--config").arg(file);
        assert!(output_of(&mut command, input).status.success());
    }

    pub(crate) fn serve(&self, more: &str) -> Server {
        let mut server = Server::spawn(&format!("{}{more}", self.config), |command| {
            command.current_dir(self.directory.path("cwd"));
            for (name, place) in
                [("HOME", "home"), ("TMPDIR", "tmp"), ("XDG_STATE_HOME", "home"), ("XDG_CACHE_HOME", "home")]
            {
                command.env(name, self.directory.path(place));
            }
            command.spawn().expect("the server starts")
        });
        server.account = "anna".into();
        server.password = "correct horse".into();
        server
    }
}

#[test]
fn a_call_changes_nothing_on_the_disk_but_the_journal() {
    let house = House::new();
    let server = house.serve("media.announce = [\"127.0.0.1\"]\n");
    let words = Words::new(11);
    let journal = format!("state/journal/sign-ins-{}.log", day("now"));
    let before = files(&house.directory.path(""));
    let wrong = server.post("/api/v1/login", "", &json!({"account": words.ada, "password": words.password}));
    assert_eq!(wrong.status, 401);
    let cookie = server.sign_in();
    server.open_room(&cookie, &words.room, &words.password);
    let (mut ada, mut bob) = call(&server, &words);
    ada.line.say(&json!({"type": "chat", "text": words.chat}));
    bob.line.hear_type("chat");
    let during = files(&house.directory.path(""));
    drop((ada, bob));
    wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
    for after in [during, files(&house.directory.path(""))] {
        let changed: Vec<&String> = after
            .iter()
            .filter(|(name, bytes)| before.get(*name) != Some(bytes))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(changed, [&journal]);
        assert!(before.keys().all(|name| after.contains_key(name)));
        let lines = text(&after[&journal]);
        let said: Vec<_> = lines.lines().map(|line| line.split_once(' ').expect("time first").1).collect();
        assert_eq!(said, ["account=- result=unknown-account", "account=anna result=ok"]);
    }
    // No file that is deleted already or lies elsewhere is open for writing.
    let open = |process: &str| -> Vec<String> {
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs");
        let target = |entry: std::fs::DirEntry| {
            Some(std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned())
        };
        open.filter_map(|entry| target(entry.ok()?)).collect()
    };
    // What this test was started with, its children have as well.
    let inherited = open("self");
    let mut opened = open(&server.pid().to_string());
    opened.retain(|target| {
        target.starts_with('/') && !target.starts_with("/dev/") && !target.starts_with("/proc/")
    });
    opened.retain(|target| !inherited.contains(target));
    assert!(opened.is_empty(), "{opened:?}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux says so");
    assert!(
        core.split_whitespace().nth(4) == Some("1") && core.split_whitespace().nth(5) == Some("1"),
        "{core}"
    );
    let filter = std::fs::read_to_string(format!("/proc/{}/coredump_filter", server.pid())).expect("it runs");
    assert_eq!(u32::from_str_radix(filter.trim(), 16), Ok(0), "no memory goes into a dump");
    assert!(!server.said().contains("anna"), "sign-ins are in the journal and nowhere else");
}

#[test]
fn no_log_line_number_or_answer_repeats_what_people_said() {
    let server = Server::start("media.announce = [\"127.0.0.1\"]\n");
    let words = Words::new(12);
    let cookie = server.sign_in();
    let session = cookie.split_once('=').expect("name and value").1;
    let room = server.open_room(&cookie, &words.room, &words.password);
    let token = room["media_token"].as_str().expect("a room has one");
    let (mut ada, mut bob) = call(&server, &words);
    ada.line.say(&json!({"type": "chat", "text": words.chat}));
    bob.line.hear_type("chat");

    // Whatever can be wrong, with the words in it.
    let mut answers = Vec::new();
    for word in [&words.room, &words.password, &words.ada, &words.chat] {
        for (method, path, body) in [
            ("GET", format!("/{word}"), String::new()),
            ("GET", format!("/r/{word}%00"), String::new()),
            ("GET", format!("/assets/{word}"), String::new()),
            ("GET", format!("/api/v1/{word}"), String::new()),
            ("PUT", format!("/api/v1/rooms/{word}"), String::new()),
            ("DELETE", format!("/api/v1/rooms/x{word}"), String::new()),
            (
                "POST",
                "/api/v1/login".into(),
                format!("{{\"account\": \"{word}\", \"password\": \"{word}\"}}"),
            ),
            ("POST", "/api/v1/login".into(), format!("{{\"{word}\": 1}}")),
            ("POST", "/api/v1/rooms".into(), format!("{{\"name\": \"a/{word}\"}}")),
            ("POST", "/api/v1/rooms".into(), format!("{{\"name\": \"{}\"}}", words.room)),
            ("POST", "/api/v1/rooms".into(), format!("\"{word}")),
        ] {
            answers.push(server.own(method, &path, &cookie, &body));
        }
        let bearer = format!("Bearer {word}");
        let headers =
            [("Authorization", bearer.as_str()), ("Content-Type", "application/sdp"), ("User-Agent", word)];
        answers.push(request(server.http, "POST", &format!("/whip/{}", words.room), &headers, word));
        answers.push(request(server.http, "DELETE", &format!("/whip/session/{word}"), &headers, ""));
        answers.push(get(server.admin, &format!("/{word}")));
        answers.push(get(server.admin, &format!("/metrics?{word}")));
        for message in [
            json!({"type": word}),
            json!({"type": "join", "name": word, "password": format!("not {word}")}),
            json!({"type": "join", "name": "x", (word): 1}),
        ] {
            let mut line = Line::open(&server, &words.room);
            line.say(&message);
            for heard in line.hear_out() {
                assert!(!heard.to_string().contains(word.as_str()), "{heard}");
            }
        }
        let mut line = Line::join(&server, &words.room, "Eve", &words.password);
        line.hear_type("welcome");
        line.say(&json!({"type": "offer", "sdp": format!("v=0\r\ns={word}\r\n"), "sources": []}));
        let last = line.hear_out().pop().expect("a reason");
        assert_eq!(last, json!({"type": "refused", "reason": "bad-message"}));
        // Whoever does not answer pings is gone after a while, and a busy machine takes one for all of this.
        ada.line.hear_at_once();
        bob.line.hear_at_once();
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        answers.push(get(server.admin, path));
    }
    let log = || {
        let said = server.said();
        said.lines().filter(|line| !line.starts_with("password: ")).collect::<Vec<_>>().join("\n")
    };
    let mut secrets = vec![
        words.room.clone(),
        words.password.clone(),
        words.ada.clone(),
        words.bob.clone(),
        words.chat.clone(),
        session.to_owned(),
        token.to_owned(),
        server.password.clone(),
        crate::http::CLIENT.to_string(),
    ];
    // A token that brings somebody back, on its way and used.
    let mut lost = Line::join(&server, &words.room, "Eve", &words.password);
    let welcome = lost.hear_type("welcome");
    lost.lose();
    let mut back = Line::resume(&server, &words.room, &welcome["resume"], 1);
    let resumed = back.hear_type("resumed");
    drop(back);
    let returns = [&ada.token, &bob.token, &welcome["resume"], &resumed["resume"]];
    secrets.extend(returns.map(|token| token.as_str().expect("text").to_owned()));
    secrets.extend(words.addresses.map(|address| address.to_string()));
    for person in [&ada, &bob] {
        secrets.extend(
            [&person.id, &person.ufrag, &person.pwd, &person.remote.ufrag, &person.remote.pwd]
                .map(Clone::clone),
        );
    }
    drop((ada, bob));
    wait_for("no room", || (server.metric("saal_rooms") == 0.0).then_some(()));
    wait_for("the line that says so", || log().contains("room closed").then_some(()));
    for secret in &secrets {
        assert!(!log().contains(secret.as_str()), "the log holds {secret}:\n{}", log());
        for answer in &answers {
            assert!(!answer.body.contains(secret.as_str()), "an answer holds {secret}: {}", answer.body);
            let head =
                answer.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("set-cookie"));
            assert!(head.clone().all(|line| !line.contains(secret.as_str())), "{}", answer.head);
        }
    }
}

#[test]
fn what_belonged_to_a_closed_room_is_nothing_to_the_next_of_its_name() {
    let server = Server::start("media.announce = [\"127.0.0.1\"]\n");
    let words = Words::new(13);
    let cookie = server.sign_in();
    let old = server.open_room(&cookie, &words.room, &words.password);
    let (mut ada, mut bob) = call(&server, &words);
    let tokens = [&ada, &bob].map(|person| person.token.clone());
    for person in [&mut ada, &mut bob] {
        person.line.say(&json!({"type": "leave"}));
        person.line.hear_out();
    }
    wait_for("no room", || (server.metric("saal_worker_rooms") == 0.0).then_some(()));

    let new = server.open_room(&cookie, &words.room, "another password");
    let carol_words = Words { password: "another password".into(), ..Words::new(14) };
    let address = carol_words.addresses[0];
    let names = (words.room.as_str(), carol_words.password.as_str(), "carol");
    let mut carol = Person::call(&server, address, names, (&carol_words.sound, &carol_words.picture));
    until("carol", &mut [&mut carol], |people| people[0].is_connected());

    // The password and the media token.
    let refusal = json!({"type": "refused", "reason": "not-admitted"});
    assert_eq!(Line::join(&server, &words.room, "Ada", &words.password).hear_out(), from_ref(&refusal));
    // The tokens that bring somebody back.
    for token in tokens {
        assert_eq!(Line::resume(&server, &words.room, &token, 1).hear_out(), from_ref(&refusal));
    }
    let enter = |token: &serde_json::Value| {
        let bearer = format!("Bearer {}", token.as_str().expect("text"));
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/sdp")];
        request(server.http, "POST", &format!("/whip/{}", words.room), &headers, "v=0\r\n").status
    };
    assert_eq!(enter(&old["media_token"]), 401);
    assert_ne!(enter(&new["media_token"]), 401, "the new one is known");

    // ICE credentials, keys and addresses: counted as strangers', answered by nothing.
    let dropped = |reason: &str| {
        let metrics = get(server.admin, "/metrics").body;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("saal_dropped_total{") && line.contains(&format!("reason=\"{reason}\""))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    for person in [&mut ada, &mut bob] {
        while person.socket.recv(&mut [0; 2000]).is_ok() {}
        for (reason, datagram) in
            [("unknown_ufrag", person.check().write()), ("unknown_address", person.last_sent.clone())]
        {
            let before = dropped(reason);
            person.socket.send(&datagram).expect("the server is there");
            wait_for(reason, || {
                carol.turn();
                (dropped(reason) > before).then_some(())
            });
        }
        person.socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        assert!(person.socket.recv(&mut [0; 2000]).is_err(), "nothing is sent to who has gone");
    }
    // Words of those who have gone, and wishes for them.
    ada.line.say(&json!({"type": "chat", "text": words.chat}));
    carol.watch(&ada.id);
    carol.line.say(&json!({"type": "chat", "text": "alone"}));
    assert_eq!(carol.line.hear_type("chat")["text"], "alone");
    assert_eq!(server.metric("saal_participants"), 1.0);
    assert!(!carol.has_heard(&words.sound) && !carol.has_heard(&words.picture));
}

#[test]
fn a_longer_journal_than_a_week_is_refused() {
    let directory = Directory::new();
    let config = directory.write("saal.toml", "[organizers]\nfile = \"o.toml\"\njournal_days = 8\n");
    for command in ["serve", "check"] {
        let out = output(saal().arg(command).arg("--config").arg(&config).current_dir(directory.path("")));
        assert_eq!(out.status.code(), Some(2), "{command}");
        assert!(text(&out.stderr).contains("organizers.journal_days"), "{}", text(&out.stderr));
    }
    assert_eq!(std::fs::read_dir(directory.path("")).expect("it is ours").count(), 1, "nothing was made");
}

#[test]
fn old_sign_ins_go_at_the_start_and_while_nobody_signs_in() {
    let house = House::new();
    let journal = house.directory.path("state/journal");
    std::fs::create_dir(&journal).expect("the directory is ours");
    let file = |when: &str| journal.join(format!("sign-ins-{}.log", day(when)));
    let put = |when: &str| std::fs::write(file(when), "x\n").expect("the directory is ours");
    let (old, yesterday, to_come) = ("8 days ago", "yesterday", "next week");
    [old, yesterday, to_come].into_iter().for_each(put);
    let server = house.serve("");
    assert_eq!([old, yesterday, to_come].map(|when| file(when).exists()), [false, true, false]);
    // As if the clock had jumped, or somebody had put a backup there.
    [old, to_come].into_iter().for_each(put);
    wait_for("the server's own timer", || (!file(old).exists() && !file(to_come).exists()).then_some(()));
    assert!(file(yesterday).exists());
    assert!(server.metric("saal_journal_oldest_line_seconds") < 2.0 * 86_400.0);
    drop(server);
    put(old);
    let _server = house.serve("organizers.journal_days = 1\n");
    assert_eq!([old, yesterday].map(|when| file(when).exists()), [false, false], "shorter is allowed");
}

#[test]
fn the_servers_own_check_finds_its_room_and_then_nothing_of_it() {
    let server = Server::start("");
    let reply = request(server.admin, "POST", "/self-check", &[], "");
    assert_eq!((reply.status, reply.body.as_str()), (200, "clean\n"));
    let metrics = get(server.admin, "/metrics").body;
    assert!(metrics.lines().any(|line| line == "saal_self_check{result=\"clean\"} 1"), "{metrics}");
    assert_eq!(server.metric("saal_rooms"), 0.0);
    assert_eq!(server.metric("saal_rooms_created_total"), server.metric("saal_rooms_destroyed_total"));
    assert_eq!(server.metric("saal_participants"), 0.0);
}
