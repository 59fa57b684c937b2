//! Who may import whom. The data plane is one crate, so its inner borders are kept here and not by the compiler.

use crate::source::{Source, has_word, line_of, positions_of_word, rust};

/// What a room of the data plane may use of the others; `lib` and `worker` join them and may use everything.
const DATAPLANE: [(&str, &[&str]); 15] = [
    ("id", &[]),
    ("counters", &[]),
    ("probe", &[]),
    ("relief", &[]),
    ("remains", &[]),
    ("wire", &["id"]),
    ("egress", &["id"]),
    ("io", &["id", "config", "counters", "egress"]),
    // The specifications that sfu is given are part of the words between the planes.
    ("sfu", &["id", "config", "counters", "egress", "wire", "link", "relief"]),
    ("link", &["id", "counters", "io::IoCounters", "sfu::ice", "sfu::transport", "wire::ext"]),
    ("config", &["id", "io::IoChoice"]),
    ("door", &["counters", "io::Waker", "io::memory", "io::yield_to_media", "sfu"]),
    ("pace", &["config"]),
    ("rooms", &["id", "config", "counters", "door", "egress", "wire", "link", "relief", "sfu"]),
    // The data plane on the simulated network is a second `lib`.
    (
        "sim",
        &[
            "",
            "id",
            "config",
            "counters",
            "door",
            "link",
            "io::sim",
            "rooms",
            "sfu",
            "worker",
            "Busy",
            "random_ssrc",
            "system_random",
        ],
    ),
];

/// The public face of the data plane; nothing else of it concerns the control plane.
const FACE: &[&str] = &[
    "Busy",
    "Config",
    "DataPlane",
    "Limits",
    "WorkerInfo",
    "config",
    "counters",
    "id",
    "io::IoChoice",
    "io::IoCounters",
    "io::TRAIN_CLASSES",
    "io::memory",
    "link",
    "probe",
    "remains",
    "sfu::ice::IceCredentials",
    "sfu::transport",
    "wire::ext::ExtensionIds",
    "yield_to_media",
];

#[test]
fn the_rooms_of_the_data_plane_use_only_what_they_may() {
    let mut broken = Vec::new();
    for source in rust() {
        let Some(inner) = source.path.strip_prefix("dataplane/src/") else { continue };
        let room = inner.split(['/', '.']).next().unwrap_or_default();
        if room == "lib" || room == "worker" {
            continue;
        }
        let Some((_, allowed)) = DATAPLANE.iter().find(|(name, _)| *name == room) else {
            broken.push(format!("{}: a room that the layering table does not know", source.path));
            continue;
        };
        for path in paths_behind(&source.product_code(), "crate") {
            let own = path == room || path.starts_with(&format!("{room}::"));
            if !own && !covered(allowed, &path) {
                broken.push(format!("{}: {room} may not use crate::{path}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_pure_rooms_ask_nobody_for_time_threads_or_sockets() {
    forbid(
        "dataplane/src/wire/",
        &[
            "Instant",
            "SystemTime",
            "std::thread",
            "std::sync",
            "UdpSocket",
            "TcpStream",
            "Vec",
            "Box",
            "String",
        ],
    );
    forbid(
        "dataplane/src/sfu/",
        &[
            "Instant::now",
            "SystemTime",
            "std::thread",
            "thread::spawn",
            "std::sync",
            "UdpSocket",
            "TcpStream",
            "std::fs",
            "std::env",
        ],
    );
    forbid(
        "dataplane/src/egress",
        &["Instant::now", "SystemTime", "std::thread", "std::sync", "UdpSocket", "libc"],
    );
    forbid(
        "dataplane/src/",
        &[
            "Mutex", "RwLock", "RefCell", "tokio", "hyper", "serde", "println", "eprintln", "print",
            "eprint", "dbg",
        ],
    );
}

/// The in-memory network is shared by both ends of a test and lives in one thread.
const SIM: &str = "dataplane/src/io/sim";

/// The DTLS engine takes its configuration behind an `Arc`; every participant has an engine.
const EXCEPTIONS: [(&str, &str); 1] = [("dataplane/src/sfu/dtls.rs", "std::sync")];

fn forbid(under: &str, names: &[&str]) {
    let mut broken = Vec::new();
    for source in rust() {
        if !source.path.starts_with(under) || source.path.starts_with(SIM) {
            continue;
        }
        let code = source.product_code();
        for name in names {
            if EXCEPTIONS.contains(&(source.path.as_str(), name)) {
                continue;
            }
            for at in positions_of_word(&code, name) {
                broken.push(format!(
                    "{}:{}: {name} has no place in {under}",
                    source.path,
                    line_of(&code, at)
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_control_plane_sees_the_public_face_only() {
    let mut broken = Vec::new();
    for source in rust() {
        if !source.path.starts_with("controlplane/src/") {
            continue;
        }
        let code = source.product_code();
        for path in paths_behind(&code, "saal_dataplane") {
            if !covered(FACE, &path) {
                broken.push(format!(
                    "{}: saal_dataplane::{path} is not part of the data plane's face",
                    source.path
                ));
            }
        }
        if has_word(&code, "UdpSocket") {
            broken.push(format!("{}: packets are the data plane's", source.path));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn commands_leave_the_control_plane_through_one_file() {
    let senders = files_with("controlplane/src/", |source| has_word(&source.product_code(), "Command::Join"));
    assert!(senders.len() <= 1, "commands are built in {senders:?}");
}

#[test]
fn one_file_of_the_control_plane_knows_session_descriptions() {
    let marks = ["a=mid", "a=rtpmap", "m=audio", "ice-ufrag", "a=ssrc"];
    let readers = files_with("controlplane/src/", |source| {
        let text = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        marks.iter().any(|mark| text.contains(mark))
    });
    assert!(readers.iter().all(|path| path.contains("/sdp")), "session descriptions are read in {readers:?}");
}

fn files_with(under: &str, test: impl Fn(&Source) -> bool) -> Vec<String> {
    rust()
        .into_iter()
        .filter(|source| source.path.starts_with(under) && test(source))
        .map(|source| source.path)
        .collect()
}

fn covered(allowed: &[&str], path: &str) -> bool {
    allowed.iter().any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}::")))
}

/// Every path that code names behind `head::`, with `use` groups unfolded.
fn paths_behind(code: &str, head: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for at in positions_of_word(code, head) {
        if let Some(rest) = code[at + head.len()..].strip_prefix("::") {
            unfold(rest, "", &mut paths);
        }
    }
    paths
}

/// Reads one path, and each member of the group that it may end in; returns what follows.
fn unfold<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let mut text = text.trim_start();
    let mut path = prefix.to_owned();
    loop {
        if let Some(group) = text.strip_prefix('{') {
            text = group;
            loop {
                text = unfold(text, &path, paths).trim_start();
                match text.strip_prefix(',') {
                    Some(next) if next.trim_start().starts_with('}') => text = next.trim_start(),
                    Some(next) => text = next,
                    None => return text.strip_prefix('}').unwrap_or(text),
                }
                if let Some(rest) = text.strip_prefix('}') {
                    return rest;
                }
            }
        }
        let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if length > 0 && &text[..length] != "self" {
            if !path.is_empty() {
                path.push_str("::");
            }
            path.push_str(&text[..length]);
        }
        text = &text[length..];
        match text.strip_prefix("::") {
            Some(rest) if rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
                text = rest
            }
            _ => {
                if !path.is_empty() {
                    paths.push(path);
                }
                return text;
            }
        }
    }
}

#[test]
fn use_groups_unfold() {
    let paths = paths_behind(
        "use crate::{id::{Mid, Rid}, wire, io::IoChoice};\nlet x = crate::link::Event::A;",
        "crate",
    );
    assert_eq!(paths, ["id::Mid", "id::Rid", "wire", "io::IoChoice", "link::Event::A"]);
}
