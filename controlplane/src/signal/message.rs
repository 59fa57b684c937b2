//! The messages of docs/protocol.md as types. No server message has a field for an address, a device or a user agent.

use std::fmt;

use saal_dataplane::id::{ParticipantId, SourceKind};
use saal_dataplane::link::Limit;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::password::Password;
use crate::random;

/// What a participant says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum ClientMessage {
    Join {
        name: String,
        password: Option<Password>,
    },
    /// Instead of `join`, by whoever lost their connection: goes on where it broke off.
    Resume {
        token: Token,
        heard: u64,
    },
    /// Whether anybody is there.
    Ping {},
    Offer {
        sdp: String,
        sources: Vec<OfferedSource>,
    },
    State {
        microphone: bool,
        camera: bool,
        screen: bool,
        hand: bool,
    },
    View {
        slots: Vec<SlotWish>,
    },
    Chat {
        text: String,
    },
    /// Without a line: all of them.
    #[serde(rename = "delete-chat")]
    DeleteChat {
        line: Option<u32>,
    },
    Rename {
        name: String,
    },
    /// The server neither forwards nor looks at anything of this participant meanwhile.
    Pause {
        on: bool,
    },
    /// What is not named stays.
    Object {
        speaker_detection: Option<bool>,
        quality: Option<bool>,
    },
    #[serde(rename = "my-data")]
    MyData {},
    /// The rest: organizers only.
    Rules(RulesWish),
    Password {
        password: Password,
    },
    Admit {
        participants: Vec<Id>,
    },
    #[serde(rename = "turn-away")]
    TurnAway {
        participants: Vec<Id>,
    },
    Mute {
        source: Source,
        participant: Option<Id>,
    },
    Block {
        participant: Id,
        source: Source,
        blocked: bool,
    },
    Remove {
        participant: Id,
    },
    End {},
    Leave {},
}

impl ClientMessage {
    pub(crate) fn is_for_organizers(&self) -> bool {
        match self {
            ClientMessage::Rules(_)
            | ClientMessage::Password { .. }
            | ClientMessage::Admit { .. }
            | ClientMessage::TurnAway { .. }
            | ClientMessage::Mute { .. }
            | ClientMessage::Block { .. }
            | ClientMessage::Remove { .. }
            | ClientMessage::End {} => true,
            ClientMessage::Join { .. }
            | ClientMessage::Resume { .. }
            | ClientMessage::Ping {}
            | ClientMessage::Offer { .. }
            | ClientMessage::State { .. }
            | ClientMessage::View { .. }
            | ClientMessage::Chat { .. }
            | ClientMessage::DeleteChat { .. }
            | ClientMessage::Rename { .. }
            | ClientMessage::Pause { .. }
            | ClientMessage::Object { .. }
            | ClientMessage::MyData {}
            | ClientMessage::Leave {} => false,
        }
    }
}

/// Reads one JSON object. Serde would take an array of the fields' values for a struct as well.
pub(crate) fn from_object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    json.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(json).ok()).flatten()
}

/// What shall hold in the room; what is not named stays.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesWish {
    pub(crate) lobby: Option<bool>,
    pub(crate) locked: Option<bool>,
    pub(crate) microphone: Option<bool>,
    pub(crate) camera: Option<bool>,
    pub(crate) screen: Option<bool>,
    pub(crate) chat: Option<bool>,
}

/// A sending m-line and what it carries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfferedSource {
    pub(crate) mid: String,
    pub(crate) source: Source,
}

/// What one video slot shall show.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotWish {
    pub(crate) slot: String,
    pub(crate) participant: Id,
    pub(crate) source: Source,
    pub(crate) height: u16,
}

/// What a participant hears.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ServerMessage {
    Welcome {
        participant: Id,
        resume: Token,
        room: String,
        organizer: bool,
        participants: Vec<Person>,
        speakers: Vec<Id>,
        rules: Rules,
        waiting: Vec<Waiter>,
        audio_slots: usize,
        video_slots: usize,
    },
    Resumed {
        resume: Token,
        heard: u64,
    },
    Pong {
        heard: u64,
    },
    Refused {
        reason: Refused,
    },
    /// In the lobby: nothing else is heard before `welcome` or `refused`.
    Waiting {},
    /// For organizers.
    Knocked {
        participant: Waiter,
    },
    #[serde(rename = "knock-over")]
    KnockOver {
        participant: Id,
    },
    Rules {
        #[serde(flatten)]
        rules: Rules,
    },
    #[serde(rename = "password-changed")]
    PasswordChanged {},
    #[serde(rename = "switched-off")]
    SwitchedOff {
        source: Source,
        participants: Vec<Id>,
    },
    /// What an organizer switched off, or does not let this participant switch on.
    Silenced {
        sources: Vec<Source>,
    },
    Answer {
        sdp: String,
    },
    Joined {
        participant: Person,
    },
    Changed {
        participant: Person,
    },
    Left {
        participant: Id,
    },
    Slot {
        slot: String,
        participant: Option<Id>,
        source: Option<Source>,
        /// Its picture stands still.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        paused: bool,
        /// Why, or why there is no larger one.
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<PictureLimit>,
    },
    /// So many of this participant's simulcast layers are wanted, from the smallest on.
    Layers {
        source: Source,
        layers: u8,
    },
    Speakers {
        participants: Vec<Id>,
    },
    Chat {
        from: Id,
        name: String,
        text: String,
        /// Numbered by author, from 1.
        line: u32,
    },
    #[serde(rename = "chat-deleted")]
    ChatDeleted {
        from: Id,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
    },
    #[serde(rename = "my-data")]
    MyData {
        data: Box<Record>,
    },
    /// The last word to somebody who has left.
    Receipt {
        /// JSON, as it was signed.
        receipt: String,
        signature: String,
    },
    /// How the line to this participant is. Nobody else is told.
    Quality {
        estimate_bps: Option<u64>,
        loss_permille: Option<u16>,
        round_trip_ms: Option<u32>,
    },
    Media {
        state: MediaState,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<GoneReason>,
    },
    /// The room's worker has no time for more video; what was switched on is off.
    #[serde(rename = "video-refused")]
    VideoRefused {
        sources: Vec<Source>,
    },
    Ended {
        reason: EndReason,
    },
}

/// One participant as everybody in the room sees them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Person {
    pub(crate) id: Id,
    /// Of a stream or a viewer its number in the room: the page has the words, in its own language.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) organizer: bool,
    pub(crate) microphone: bool,
    pub(crate) camera: bool,
    pub(crate) screen: bool,
    pub(crate) hand: bool,
    /// Withheld by an organizer until it is allowed again.
    pub(crate) blocked: Vec<Source>,
    pub(crate) paused: bool,
    /// Their connection is interrupted; they may come back.
    pub(crate) away: bool,
}

/// All that the control plane holds on the participant who asks. The media plane's part (address, keys, buffers) is not
/// known to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Record {
    pub(crate) participant: Id,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) organizer: bool,
    pub(crate) joined_at: String,
    pub(crate) switched_on: SwitchedOn,
    /// Newcomers are told that they speak.
    pub(crate) speaking: bool,
    pub(crate) blocked: Vec<Source>,
    pub(crate) paused: bool,
    pub(crate) objections: Objections,
    /// Nothing here asks for consent.
    pub(crate) consents: [(); 0],
    pub(crate) chat_lines_relayed: u32,
    /// At once, at this moment.
    pub(crate) chat_lines_allowed: u16,
    pub(crate) connection: Option<Connection>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SwitchedOn {
    pub(crate) microphone: bool,
    pub(crate) camera: bool,
    pub(crate) screen: bool,
    pub(crate) hand: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Objections {
    pub(crate) speaker_detection: bool,
    pub(crate) quality: bool,
}

/// What the control plane keeps of the offers, without the password of the media connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Connection {
    pub(crate) ice_ufrag: String,
    pub(crate) certificate_sha256: String,
    pub(crate) cname: String,
    pub(crate) offers: u64,
    /// Receiving lines.
    pub(crate) slots: Vec<String>,
    pub(crate) view: Vec<SlotWish>,
    pub(crate) messages_allowed: u16,
    pub(crate) offers_allowed: u16,
}

/// What holds in the room; the last four are what guests may use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Rules {
    pub(crate) lobby: bool,
    pub(crate) locked: bool,
    /// Whether there is one.
    pub(crate) password: bool,
    pub(crate) microphone: bool,
    pub(crate) camera: bool,
    pub(crate) screen: bool,
    pub(crate) chat: bool,
}

/// Somebody in the lobby, as organizers see them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Waiter {
    pub(crate) id: Id,
    pub(crate) name: String,
}

/// What a participant came with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The page, or another client of the WebSocket.
    Person,
    /// WHIP: sends only.
    Stream,
    /// WHEP: receives only.
    Viewer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Refused {
    NotAdmitted,
    Full,
    BadMessage,
    Busy,
    TooManyAttempts,
    Locked,
    TurnedAway,
}

impl Refused {
    pub(crate) const ALL: [Refused; 7] = [
        Refused::NotAdmitted,
        Refused::Full,
        Refused::BadMessage,
        Refused::Busy,
        Refused::TooManyAttempts,
        Refused::Locked,
        Refused::TurnedAway,
    ];

    /// The value of the metric's `reason` label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refused::NotAdmitted => "not_admitted",
            Refused::Full => "full",
            Refused::BadMessage => "bad_message",
            Refused::Busy => "busy",
            Refused::TooManyAttempts => "too_many_attempts",
            Refused::Locked => "locked",
            Refused::TurnedAway => "turned_away",
        }
    }
}

/// What does not carry a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PictureLimit {
    /// The line to this participant.
    Line,
    Server,
}

impl From<Limit> for PictureLimit {
    fn from(limit: Limit) -> PictureLimit {
        match limit {
            Limit::Line => PictureLimit::Line,
            Limit::Core => PictureLimit::Server,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MediaState {
    Connected,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GoneReason {
    ConsentExpired,
    CloseNotify,
    HandshakeFailed,
    FingerprintMismatch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndReason {
    ByOrganizer,
    Shutdown,
    /// For this participant only.
    Removed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Microphone,
    Camera,
    Screen,
}

impl From<Source> for SourceKind {
    fn from(source: Source) -> SourceKind {
        match source {
            Source::Microphone => SourceKind::Microphone,
            Source::Camera => SourceKind::Camera,
            Source::Screen => SourceKind::Screen,
        }
    }
}

impl From<SourceKind> for Source {
    fn from(kind: SourceKind) -> Source {
        match kind {
            SourceKind::Microphone => Source::Microphone,
            SourceKind::Camera => Source::Camera,
            SourceKind::Screen => Source::Screen,
        }
    }
}

/// What brings a participant back to their place. Shown to nobody but them.
#[derive(Clone, PartialEq)]
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn new() -> Token {
        Token(random::token())
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        random::sha256(self.0.as_bytes())
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
        String::deserialize(deserializer).map(|text| Token(Zeroizing::new(text)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// A participant's id as 16 hex digits: JavaScript numbers cannot hold 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Id(pub(crate) ParticipantId);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| digits);
        number.map(|number| Id(ParticipantId(number))).ok_or_else(|| serde::de::Error::custom("not an id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses(text: &str) -> bool {
        from_object::<ClientMessage>(text.as_bytes()).is_some()
    }

    #[test]
    fn every_client_message_of_the_protocol_parses() {
        for text in [
            r#"{"type":"join","name":"Ada"}"#,
            r#"{"type":"join","name":"Ada","password":"x"}"#,
            r#"{"type":"resume","token":"x","heard":7}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"offer","sdp":"v=0","sources":[{"mid":"0","source":"microphone"}]}"#,
            r#"{"type":"state","microphone":true,"camera":false,"screen":false,"hand":false}"#,
            r#"{"type":"view","slots":[{"slot":"5","participant":"00000000000000ff","source":"camera","height":360}]}"#,
            r#"{"type":"chat","text":"x"}"#,
            r#"{"type":"delete-chat"}"#,
            r#"{"type":"delete-chat","line":7}"#,
            r#"{"type":"rename","name":"x"}"#,
            r#"{"type":"pause","on":true}"#,
            r#"{"type":"object","speaker_detection":true}"#,
            r#"{"type":"object","quality":true}"#,
            r#"{"type":"my-data"}"#,
            r#"{"type":"end"}"#,
            r#"{"type":"leave"}"#,
            r#"{"type":"rules","lobby":true,"locked":false,"microphone":true,"camera":true,"screen":true,"chat":true}"#,
            r#"{"type":"rules","locked":true}"#,
            r#"{"type":"password","password":"x"}"#,
            r#"{"type":"admit","participants":["00000000000000ff"]}"#,
            r#"{"type":"turn-away","participants":[]}"#,
            r#"{"type":"mute","source":"microphone"}"#,
            r#"{"type":"mute","source":"microphone","participant":"00000000000000ff"}"#,
            r#"{"type":"block","participant":"00000000000000ff","source":"camera","blocked":true}"#,
            r#"{"type":"remove","participant":"00000000000000ff"}"#,
        ] {
            assert!(parses(text), "{text}");
        }
    }

    #[test]
    fn unknown_and_duplicate_fields_are_refused() {
        for text in [
            r#"{"type":"leave","x":1}"#,
            r#"{"type":"resume","token":"x"}"#,
            r#"{"type":"resume","token":"x","heard":-1}"#,
            r#"{"type":"leave","type":"leave"}"#,
            r#"{"type":"chat","text":"a","text":"b"}"#,
            r#"{"type":"chat","text":"a","x":1}"#,
            r#"{"type":"offer","sdp":"","sources":[{"mid":"0","source":"camera","x":1}]}"#,
            r#"{"type":"view","slots":[{"slot":"5","participant":"ff","source":"camera","height":360}]}"#,
            r#"{"type":"shout"}"#,
            r#"{"type":"rules","lobbby":true}"#,
            r#"{"type":"rules","lobby":true,"lobby":false}"#,
            r#"{"type":"unmute","participant":"00000000000000ff","source":"camera"}"#,
            r#"["leave"]"#,
            r#"{}"#,
        ] {
            assert!(!parses(text), "{text}");
        }
    }

    #[test]
    fn server_messages_look_as_the_protocol_says() {
        let id = Id(ParticipantId(255));
        let json = |message: &ServerMessage| serde_json::to_string(message).unwrap();
        let slot = |of: Option<Source>, paused, limit| {
            let participant = of.map(|_| id);
            json(&ServerMessage::Slot { slot: "5".into(), participant, source: of, paused, limit })
        };
        assert_eq!(slot(None, false, None), r#"{"type":"slot","slot":"5","participant":null,"source":null}"#);
        assert_eq!(
            slot(Some(Source::Camera), true, Some(PictureLimit::Server)),
            r#"{"type":"slot","slot":"5","participant":"00000000000000ff","source":"camera","paused":true,"limit":"server"}"#
        );
        assert_eq!(
            slot(Some(Source::Camera), false, Some(PictureLimit::Line)),
            r#"{"type":"slot","slot":"5","participant":"00000000000000ff","source":"camera","limit":"line"}"#
        );
        let layers = ServerMessage::Layers { source: Source::Camera, layers: 2 };
        assert_eq!(json(&layers), r#"{"type":"layers","source":"camera","layers":2}"#);
        assert_eq!(
            json(&ServerMessage::Left { participant: id }),
            r#"{"type":"left","participant":"00000000000000ff"}"#
        );
        let deleted = |line| json(&ServerMessage::ChatDeleted { from: id, line });
        assert_eq!(deleted(Some(7)), r#"{"type":"chat-deleted","from":"00000000000000ff","line":7}"#);
        assert_eq!(deleted(None), r#"{"type":"chat-deleted","from":"00000000000000ff"}"#);
        let refused = ServerMessage::Refused { reason: Refused::NotAdmitted };
        assert_eq!(json(&refused), r#"{"type":"refused","reason":"not-admitted"}"#);
        let full = ServerMessage::VideoRefused { sources: vec![Source::Camera] };
        assert_eq!(json(&full), r#"{"type":"video-refused","sources":["camera"]}"#);
        let rules = Rules {
            lobby: true,
            locked: false,
            password: true,
            microphone: true,
            camera: true,
            screen: false,
            chat: true,
        };
        assert_eq!(
            json(&ServerMessage::Rules { rules }),
            r#"{"type":"rules","lobby":true,"locked":false,"password":true,"microphone":true,"camera":true,"screen":false,"chat":true}"#
        );
        assert_eq!(json(&ServerMessage::Waiting {}), r#"{"type":"waiting"}"#);
        let knocked = ServerMessage::Knocked { participant: Waiter { id, name: "Ada".into() } };
        assert_eq!(
            json(&knocked),
            r#"{"type":"knocked","participant":{"id":"00000000000000ff","name":"Ada"}}"#
        );
        assert_eq!(
            json(&ServerMessage::KnockOver { participant: id }),
            r#"{"type":"knock-over","participant":"00000000000000ff"}"#
        );
        let off = ServerMessage::SwitchedOff { source: Source::Camera, participants: vec![id] };
        assert_eq!(
            json(&off),
            r#"{"type":"switched-off","source":"camera","participants":["00000000000000ff"]}"#
        );
        assert_eq!(json(&ServerMessage::PasswordChanged {}), r#"{"type":"password-changed"}"#);
        let gone = ServerMessage::Media { state: MediaState::Gone, reason: Some(GoneReason::ConsentExpired) };
        assert_eq!(json(&gone), r#"{"type":"media","state":"gone","reason":"consent-expired"}"#);
    }
}
