//! The one configuration file: every key, its default, and the rules that refuse a dangerous combination.
//!
//! Unknown keys are errors that name the key and the line; nothing here opens a socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use saal_dataplane::io::IoChoice;
use serde::{Deserialize, Serialize};

use crate::journal::DAYS_MAX;

/// The effective configuration: defaults overlaid with the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) http: Http,
    pub(crate) admin: Admin,
    pub(crate) media: Media,
    pub(crate) rooms: Rooms,
    pub(crate) organizers: Organizers,
    pub(crate) log: Log,
    /// Needed as soon as others can reach the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<Operator>,
    /// When the file was written; the privacy notice is dated by it.
    #[serde(skip)]
    pub(crate) changed: Option<SystemTime>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    pub(crate) listen: SocketAddr,
    /// PEM files; both or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A certificate made at start and never written down, for trials without a name of one's own.
    pub(crate) self_signed: bool,
    /// The origin that browsers see, when it differs from what they put into `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// Open connections, WebSockets included: bounds memory under a flood.
    pub(crate) connections_max: usize,
    /// Open connections of one address: a campus behind one NAT must fit, one flooding host must not fill the rest.
    pub(crate) connections_per_address_max: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Media {
    /// Worker i is pinned to `cores[i]`; empty means one worker per core that this process may use, at most 4.
    pub(crate) cores: Vec<usize>,
    /// Worker i binds UDP port `port + i`.
    pub(crate) port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind: Option<IpAddr>,
    /// The addresses that browsers are told to send to; empty means this machine's own.
    pub(crate) announce: Vec<IpAddr>,
    pub(crate) io: Io,
    /// A participant whose network has been silent for this long is gone.
    pub(crate) consent_seconds: u64,
    /// Packets of one segmented send; 1 switches segmentation off.
    pub(crate) segments_max: usize,
    /// Longest time in microseconds that packets wait for others to the same receiver, reached when the core has work.
    pub(crate) tick_max_us: u64,
    /// Padding that may be added to make packets of one train equal, in percent of what a receiver gets.
    pub(crate) padding_max_percent: u8,
    /// Socket buffers per worker; the kernel's `net.core.rmem_max` and `wmem_max` cap them.
    pub(crate) receive_buffer_bytes: usize,
    pub(crate) send_buffer_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Io {
    Auto,
    Uring,
    Mio,
    Sendto,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rooms {
    /// How long an opened room waits for its first participant.
    pub(crate) waiting_minutes: u64,
    /// Participants of one room.
    pub(crate) participants_max: usize,
    /// Rooms of this server: each costs memory and a name.
    pub(crate) rooms_max: usize,
    /// Rooms of one organizer: a stolen session cannot fill the server.
    pub(crate) rooms_per_organizer_max: usize,
    /// Receive slots of one participant, told in `welcome`.
    pub(crate) audio_slots: usize,
    pub(crate) video_slots: usize,
    /// Most receive slots of a WHEP viewer, who sees the whole room without choosing.
    pub(crate) viewer_audio_slots: usize,
    pub(crate) viewer_video_slots: usize,
    /// After SIGTERM, rooms in progress may go on for this long.
    pub(crate) drain_minutes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Organizers {
    /// Written by `saal organizer`. Without it a demo account exists, on loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// Directory of the sign-ins' journal; by default `journal` beside the file. The server makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) journal: Option<PathBuf>,
    /// The server deletes each day's sign-ins before they are this old; 0 keeps none.
    pub(crate) journal_days: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: Level,
}

/// Who answers for this server: told in the privacy notice and the imprint. Each text may have several lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phone: Option<String>,
    /// Who acts for a legal person, as an imprint has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) represented_by: Option<String>,
    /// Whatever else the imprint has to say: register, tax number, supervising ministry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) imprint: Option<String>,
    /// Who runs the machine on the operator's behalf, if somebody else does: a recipient (Article 13(1)(e) of the GDPR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) processor: Option<String>,
    pub(crate) data_protection_officer: String,
    /// With whom people may lodge a complaint.
    pub(crate) supervisory_authority: String,
    #[serde(default)]
    pub(crate) legal_basis: LegalBasis,
}

/// Why each function is lawful: a letter of Article 6(1) of the GDPR.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LegalBasis {
    /// The law that gives the operator its task, for the letter e: "§ 4 of the state's university act".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) law: Option<String>,
    pub(crate) meetings: Basis,
    pub(crate) accounts: Basis,
    pub(crate) journal: Basis,
    pub(crate) protection: Basis,
}

/// What a public institution can rest on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Basis {
    /// Consent.
    A,
    /// A contract with the person.
    B,
    /// A task in the public interest.
    #[default]
    E,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_certificate: None,
            tls_key: None,
            self_signed: false,
            public_url: None,
            connections_max: 4096,
            connections_per_address_max: 1024,
        }
    }
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)) }
    }
}

impl Default for Media {
    fn default() -> Media {
        let limits = saal_dataplane::Limits::default();
        Media {
            cores: Vec::new(),
            port: 10_000,
            bind: None,
            announce: Vec::new(),
            io: Io::Auto,
            consent_seconds: limits.consent.as_secs(),
            segments_max: limits.segments_max,
            tick_max_us: limits.tick_max.as_micros() as u64,
            padding_max_percent: limits.padding_max_percent,
            receive_buffer_bytes: limits.receive_buffer_bytes,
            send_buffer_bytes: limits.send_buffer_bytes,
        }
    }
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms {
            waiting_minutes: 10,
            participants_max: 200,
            rooms_max: 500,
            rooms_per_organizer_max: 50,
            audio_slots: 4,
            video_slots: 16,
            viewer_audio_slots: 16,
            viewer_video_slots: 48,
            drain_minutes: 60,
        }
    }
}

impl Default for Organizers {
    fn default() -> Organizers {
        Organizers { file: None, journal: None, journal_days: DAYS_MAX }
    }
}

impl Organizers {
    /// Where sign-ins are written down, if they are.
    pub(crate) fn journal(&self) -> Option<PathBuf> {
        let beside = || self.file.as_ref().map(|file| file.with_file_name("journal"));
        self.journal.clone().or_else(beside).filter(|_| self.journal_days > 0)
    }
}

impl From<Io> for IoChoice {
    fn from(io: Io) -> IoChoice {
        match io {
            Io::Auto => IoChoice::Auto,
            Io::Uring => IoChoice::Uring,
            Io::Mio => IoChoice::Mio,
            Io::Sendto => IoChoice::Sendto,
        }
    }
}

impl Config {
    /// Reads and checks the file; the message of an error is for the admin.
    pub(crate) fn load(path: Option<&Path>) -> Result<Config, String> {
        let Some(path) = path else { return Ok(Config::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let config = Config::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let changed = path.metadata().and_then(|metadata| metadata.modified()).ok();
        Ok(Config { changed, ..config })
    }

    pub(crate) fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|Wrong { section, key, why }| match line_of(text, section, key) {
            Some(line) => format!("line {line}: {section}.{key}: {why}"),
            None => format!("{section}.{key}: {why}"),
        })?;
        Ok(config)
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.http.self_signed || self.http.tls_certificate.is_some()
    }

    /// Whether others than this machine's own people can be served, be it by a proxy.
    pub(crate) fn is_for_others(&self) -> bool {
        let by_proxy = || self.http.public_url.as_deref().is_some_and(|url| !is_loopback(host_of(url)));
        !self.http.listen.ip().is_loopback() || self.has_tls() || by_proxy()
    }

    /// The table as `saal check` prints it.
    pub(crate) fn table(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    fn check(&self) -> Result<(), Wrong> {
        let wrong = |section, key, why: &str| Err(Wrong { section, key, why: why.to_owned() });
        let Http { listen, tls_certificate, tls_key, self_signed, public_url, .. } = &self.http;
        if tls_certificate.is_some() != tls_key.is_some() {
            return wrong(
                "http",
                "tls_certificate",
                "tls_certificate and tls_key belong together; one is missing",
            );
        }
        if *self_signed && tls_certificate.is_some() {
            return wrong("http", "self_signed", "either self_signed or tls_certificate, not both");
        }
        if !listen.ip().is_loopback() && !self.has_tls() {
            return wrong(
                "http",
                "listen",
                "plain http is served on loopback only, because browsers give camera and microphone to secure pages \
                 only and passwords would travel in clear; set tls_certificate and tls_key, or self_signed = true \
                 for a trial, or listen on 127.0.0.1",
            );
        }
        if public_url.as_deref().is_some_and(|url| !origin_of(url).is_some_and(|origin| is_secure(&origin))) {
            return wrong(
                "http",
                "public_url",
                "must look like https://conference.example, without a path; http is for this machine only \
                 (http://localhost:8080), because browsers give camera and microphone to secure pages only",
            );
        }
        let Http { connections_max, connections_per_address_max, .. } = self.http;
        if !(1..=65_535).contains(&connections_max) {
            return wrong("http", "connections_max", "1 to 65535");
        }
        if !(1..=65_535).contains(&connections_per_address_max) {
            return wrong("http", "connections_per_address_max", "1 to 65535");
        }
        if !self.admin.listen.ip().is_loopback() {
            return wrong(
                "admin",
                "listen",
                "the admin listener has no TLS and no sign-in: loopback addresses only",
            );
        }
        if self.organizers.file.is_none() && !listen.ip().is_loopback() {
            return wrong(
                "organizers",
                "file",
                "is needed on a non-loopback address: `saal organizer add NAME --config FILE` writes it",
            );
        }
        match &self.operator {
            None if self.is_for_others() => return wrong("operator", "name", OPERATOR_MISSING),
            Some(operator) => operator.check()?,
            None => {}
        }
        if self.organizers.journal_days > DAYS_MAX {
            return wrong(
                "organizers",
                "journal_days",
                "0 to 7: sign-ins are kept for seven days at most; 0 keeps none",
            );
        }
        let workers_max = self.media.cores.len().max(DEFAULT_WORKERS_MAX);
        if workers_max > 256 || usize::from(self.media.port) + workers_max > 65_536 {
            return wrong("media", "port", "more workers than ports from media.port to 65535, or than 256");
        }
        if let Some(core) = first_double(&self.media.cores) {
            return wrong(
                "media",
                "cores",
                &format!("core {core} is named twice; each worker needs its own"),
            );
        }
        if self.media.announce.iter().any(|address| address.is_unspecified() || address.is_multicast()) {
            return wrong("media", "announce", "browsers cannot send to an unspecified or multicast address");
        }
        if !(5..=30).contains(&self.media.consent_seconds) {
            return wrong("media", "consent_seconds", "5 to 30 (RFC 7675 allows no more)");
        }
        if self.media.tick_max_us > 10_000 {
            return wrong("media", "tick_max_us", "0 to 10000: more would be heard in a conversation");
        }
        if self.media.padding_max_percent > 25 {
            return wrong(
                "media",
                "padding_max_percent",
                "0 to 25: more costs receivers more than it saves here",
            );
        }
        if !(1..=64).contains(&self.media.segments_max) {
            return wrong("media", "segments_max", "1 to 64 (the kernel's UDP_MAX_SEGMENTS)");
        }
        if self.rooms.drain_minutes > 24 * 60 {
            return wrong("rooms", "drain_minutes", "0 to 1440");
        }
        if !(1..=24 * 60).contains(&self.rooms.waiting_minutes) {
            return wrong("rooms", "waiting_minutes", "1 to 1440");
        }
        if !(1..=500).contains(&self.rooms.participants_max) {
            return wrong("rooms", "participants_max", "1 to 500: what one core can serve");
        }
        let slots_max = saal_dataplane::Limits::default().slots_max;
        if self.rooms.audio_slots.saturating_add(self.rooms.video_slots) > slots_max {
            return wrong("rooms", "video_slots", "audio_slots and video_slots together may not exceed 64");
        }
        if self.rooms.viewer_audio_slots.saturating_add(self.rooms.viewer_video_slots) > slots_max {
            return wrong(
                "rooms",
                "viewer_video_slots",
                "viewer_audio_slots and viewer_video_slots together may not exceed 64",
            );
        }
        Ok(())
    }
}

const OPERATOR_MISSING: &str = "who runs this server must be told to the people whose data it processes (Article 13 of the GDPR), so it does not \
    start for others without an [operator] table: name, address, email, data_protection_officer, supervisory_authority; \
    docs/operations.md, \"Who answers for it\"";

/// A text of the operator's block: more does not belong into an imprint.
const OPERATOR_BYTES_MAX: usize = 1000;

impl Operator {
    fn check(&self) -> Result<(), Wrong> {
        let law = &self.legal_basis.law;
        let texts = [
            ("name", Some(&self.name)),
            ("address", Some(&self.address)),
            ("email", Some(&self.email)),
            ("phone", self.phone.as_ref()),
            ("represented_by", self.represented_by.as_ref()),
            ("imprint", self.imprint.as_ref()),
            ("processor", self.processor.as_ref()),
            ("data_protection_officer", Some(&self.data_protection_officer)),
            ("supervisory_authority", Some(&self.supervisory_authority)),
            ("legal_basis.law", law.as_ref()),
        ];
        for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text?))) {
            let fits = (1..=OPERATOR_BYTES_MAX).contains(&text.trim().len())
                && !text.chars().any(|c| c.is_control() && c != '\n');
            if !fits {
                let why =
                    "1 to 1000 bytes, several lines if need be; an optional key is left out instead of empty";
                return Err(Wrong { section: "operator", key, why: why.to_owned() });
            }
        }
        if !self.email.contains('@') {
            let why = "an address like conference@example.org".to_owned();
            return Err(Wrong { section: "operator", key: "email", why });
        }
        Ok(())
    }
}

/// A value that parses but must not be used.
struct Wrong {
    section: &'static str,
    key: &'static str,
    why: String,
}

/// Workers when `media.cores` is empty: enough for a first run.
pub(crate) const DEFAULT_WORKERS_MAX: usize = 4;

fn first_double(cores: &[usize]) -> Option<usize> {
    cores.iter().enumerate().find(|(index, core)| cores[..*index].contains(core)).map(|(_, core)| *core)
}

/// Whether browsers give camera and microphone to pages of this origin.
fn is_secure(origin: &str) -> bool {
    origin.starts_with("https://") || origin.strip_prefix("http://").is_some_and(is_loopback)
}

/// `host[:port]` of a URL.
fn host_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/')
}

/// Whether `host[:port]` names this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    let is_address = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

/// `scheme://host[:port]` of a URL without anything behind it, as browsers write it into `Origin`: without the scheme's
/// own port.
pub(crate) fn origin_of(url: &str) -> Option<String> {
    let url = url.strip_suffix('/').unwrap_or(url).to_ascii_lowercase();
    let own_port = if url.starts_with("https://") { ":443" } else { ":80" };
    let url = url.strip_suffix(own_port).unwrap_or(&url).to_owned();
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
    (!host.is_empty() && host.chars().all(allowed)).then_some(url)
}

/// Line of `key` inside `[section]`, or of the section's head when the key is absent.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut inside = false;
    let mut head = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']', ' ']) == section;
            head = if inside { Some(index + 1) } else { head };
        }
        let name = line.split('=').next().unwrap_or_default().trim();
        if (inside && name == key) || name == format!("{section}.{key}") {
            return Some(index + 1);
        }
    }
    head
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_first_run() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
        assert_eq!(config.media.port, 10_000);
        assert_eq!(config.rooms.waiting_minutes, 10);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = Config::parse("[http]\nlisten = \"127.0.0.1:0\"\nlisen = 1\n").unwrap_err();
        assert!(error.contains("lisen") && error.contains("line 3"), "{error}");
        let error = Config::parse("[htp]\n").unwrap_err();
        assert!(error.contains("htp") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn plain_http_on_a_public_address_is_refused_with_the_way_out() {
        let error = Config::parse("[http]\nlisten = \"0.0.0.0:80\"\n").unwrap_err();
        assert!(error.starts_with("line 2: http.listen") && error.contains("self_signed"), "{error}");
    }

    /// The least that a server for others has to say about itself.
    pub(crate) const OPERATOR: &str = "[operator]\nname = \"Example University\"\naddress = \"Main Street 1\\nExampletown\"\n\
        email = \"conference@example.org\"\ndata_protection_officer = \"dpo@example.org\"\n\
        supervisory_authority = \"The state's commissioner\"\n";

    #[test]
    fn a_public_address_needs_an_organizers_file() {
        let text = format!("{OPERATOR}[http]\nlisten = \"0.0.0.0:443\"\nself_signed = true\n");
        assert!(Config::parse(&text).unwrap_err().contains("organizers.file"));
        assert!(Config::parse(&format!("{text}[organizers]\nfile = \"o.toml\"\n")).is_ok());
    }

    #[test]
    fn a_server_for_others_says_who_runs_it() {
        for served in [
            "[organizers]\nfile = \"o.toml\"\n[http]\nlisten = \"0.0.0.0:443\"\nself_signed = true\n",
            "[http]\nself_signed = true\n",
            "[http]\npublic_url = \"https://saal.example\"\n",
        ] {
            let error = Config::parse(served).unwrap_err();
            assert!(error.starts_with("operator.name: who runs this server"), "{error}");
            assert!(Config::parse(&format!("{OPERATOR}{served}")).is_ok(), "{served}");
            let silent = format!("{OPERATOR}{served}").replace("dpo@example.org", " ");
            let error = Config::parse(&silent).unwrap_err();
            assert!(error.starts_with("line 5: operator.data_protection_officer"), "{error}");
        }
        for on_this_machine in ["", "[http]\npublic_url = \"http://localhost:8080\"\n"] {
            assert!(Config::parse(on_this_machine).is_ok(), "{on_this_machine}");
        }
        let half = Config::parse("[operator]\nname = \"x\"\n").unwrap_err();
        assert!(half.contains("missing field `address`"), "{half}");
        let basis = format!("{OPERATOR}[operator.legal_basis]\nmeetings = \"f\"\n");
        assert!(Config::parse(&basis).unwrap_err().contains("line 8"), "a, b and e are what there is");
    }

    #[test]
    fn sign_ins_are_kept_for_a_week_at_most_beside_the_accounts() {
        let journal =
            |text: &str| Config::parse(&format!("[organizers]\n{text}")).unwrap().organizers.journal();
        assert_eq!(journal(""), None, "a demo account's sign-ins are nobody's business");
        assert_eq!(journal("file = \"/var/lib/saal/o.toml\""), Some("/var/lib/saal/journal".into()));
        assert_eq!(journal("file = \"o.toml\""), Some("journal".into()));
        assert_eq!(journal("file = \"o.toml\"\njournal = \"/x\"\njournal_days = 1"), Some("/x".into()));
        assert_eq!(journal("file = \"o.toml\"\njournal_days = 0"), None);
        let error = Config::parse("[organizers]\njournal_days = 8\n").unwrap_err();
        assert!(error.starts_with("line 2: organizers.journal_days"), "{error}");
    }

    #[test]
    fn a_public_url_without_tls_is_for_this_machine_only() {
        let with = |url: &str| Config::parse(&format!("[http]\npublic_url = \"{url}\"\n{OPERATOR}"));
        assert!(with("https://saal.example").is_ok() && with("http://localhost:8080/").is_ok());
        assert!(with("http://saal.example").unwrap_err().starts_with("line 2: http.public_url"));
    }

    #[test]
    fn numbers_that_would_overflow_are_refused() {
        for text in [
            "[http]\nconnections_per_address_max = 65536\n",
            "[http]\nconnections_max = 0\n",
            "[media]\nport = 65533\n",
            "[media]\ncores = [1, 1]\n",
            "[rooms]\ndrain_minutes = 9223372036854775807\n",
            "[rooms]\nvideo_slots = 9223372036854775807\naudio_slots = 9223372036854775807\n",
        ] {
            assert!(Config::parse(text).unwrap_err().contains("line 2"), "{text}");
        }
    }

    #[test]
    fn the_effective_table_can_be_read_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::to_string(&Config::parse(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn an_origin_is_scheme_and_host_only() {
        assert_eq!(origin_of("https://Saal.example/").as_deref(), Some("https://saal.example"));
        assert_eq!(origin_of("https://saal.example:443").as_deref(), Some("https://saal.example"));
        assert_eq!(origin_of("https://saal.example:80").as_deref(), Some("https://saal.example:80"));
        assert_eq!(origin_of("https://saal.example/x"), None);
        assert_eq!(origin_of("saal.example"), None);
    }
}
