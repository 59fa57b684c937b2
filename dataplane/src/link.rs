//! The two words between the planes: [`Command`] and [`Event`], plain enums over bounded queues.
//!
//! In the queues they lie in boxes: a place of a queue keeps what was in it, and of a small word that is also what the
//! sender's stack held before in the bytes that it does not use.
//!
//! The data plane knows no name, password, chat or SDP; no `Event` has a field that could carry an address.

use crate::counters::Counters;
use crate::id::{Codec, MediaKind, Mid, ParticipantId, Pt, Rid, RoomId, SlotIndex, SourceKind, Ssrc};
use crate::io::IoCounters;
use crate::sfu::ice::IceCredentials;
use crate::sfu::transport::{Gone, TransportSpec};
use crate::wire::ext::ExtensionIds;

/// What the control plane wants. A command that names an unknown room or participant changes nothing.
#[derive(Clone, Debug)]
pub enum Command {
    /// Answered by nothing; legal once per id.
    OpenRoom {
        room: RoomId,
    },
    /// Everything of the room is dropped. Answered by [`Event::RoomClosed`].
    CloseRoom {
        room: RoomId,
    },
    /// Answered later by [`Event::Connected`] or [`Event::Disconnected`], or at once by [`Event::Refused`].
    Join {
        room: RoomId,
        participant: ParticipantId,
        transport: TransportSpec,
    },
    /// The participant's m-lines, in full. Sources and slots that keep their mid keep their state.
    Negotiate {
        room: RoomId,
        participant: ParticipantId,
        media: MediaSpec,
    },
    /// New ICE credentials (RFC 8445 §9); the old ones serve until the first check with the new ones.
    RestartIce {
        room: RoomId,
        participant: ParticipantId,
        local: IceCredentials,
    },
    /// What each listed video slot shall show; unlisted slots show nothing.
    View {
        room: RoomId,
        participant: ParticipantId,
        wishes: Vec<Wish>,
    },
    /// Nothing of a source that is off is forwarded, whatever its owner sends.
    Switch {
        room: RoomId,
        participant: ParticipantId,
        source: SourceKind,
        on: bool,
    },
    /// Nothing of a source that is withheld is forwarded or kept, whether its owner has it on or off, until it is
    /// released. Counts also for a source that is negotiated later.
    Withhold {
        room: RoomId,
        participant: ParticipantId,
        source: SourceKind,
        withheld: bool,
    },
    /// While somebody objects, their audio level is neither used to find out who speaks nor passed on.
    Object {
        room: RoomId,
        participant: ParticipantId,
        objects: bool,
    },
    /// Always answered by [`Event::Left`].
    Leave {
        room: RoomId,
        participant: ParticipantId,
    },
    /// Answered by [`Event::Snapshot`]; the proof that a worker's turn goes on.
    Snapshot {
        request: u64,
    },
    Shutdown,
}

/// What the data plane says happened.
#[derive(Debug)]
pub enum Event {
    Connected {
        room: RoomId,
        participant: ParticipantId,
    },
    /// The data plane has dropped everything of this participant.
    Disconnected {
        room: RoomId,
        participant: ParticipantId,
        reason: Gone,
    },
    /// As asked for by [`Command::Leave`]: nothing of this participant is held any more.
    Left {
        room: RoomId,
        participant: ParticipantId,
    },
    Refused {
        room: RoomId,
        participant: ParticipantId,
        why: Refusal,
    },
    /// The first packet of this source has been forwarded into the slot, or it is shown otherwise from this moment on, or the
    /// slot shows nothing.
    SlotShows {
        room: RoomId,
        participant: ParticipantId,
        slot: SlotIndex,
        source: Option<(ParticipantId, SourceKind)>,
        how: Showing,
    },
    /// So many of the simulcast layers of a participant's source are wanted by somebody, from the smallest on. Until the
    /// first such word all are.
    LayersWanted {
        room: RoomId,
        participant: ParticipantId,
        source: SourceKind,
        layers: u8,
    },
    /// Who speaks, the most recent active speaker first.
    Speakers {
        room: RoomId,
        speakers: Vec<ParticipantId>,
    },
    /// How the line to this participant is, for their own page and for nobody else. At most once a second, and only when
    /// it is not what was said last. The control plane passes it on unless they object.
    Quality {
        room: RoomId,
        participant: ParticipantId,
        quality: Quality,
    },
    RoomClosed {
        room: RoomId,
    },
    /// Once a second: the share of it that the worker spent in turns.
    Load {
        busy_percent: u8,
    },
    Snapshot {
        request: u64,
        snapshot: Box<Snapshot>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    RoomFull,
    NoSuchRoom,
    DuplicateId,
}

/// How a slot shows its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Showing {
    /// As it was asked for, or as large as its owner sends it.
    Whole,
    /// There would be a larger picture.
    Smaller(Limit),
    /// It stands still until it is shown again.
    Paused(Limit),
}

/// What does not carry a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The line to the participant.
    Line,
    /// The core that serves the room.
    Core,
}

/// What is known of the line from the server to one participant. Held in the data plane only while they are here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quality {
    /// What the line carries. Unknown until the receiver has told of what arrived.
    pub estimate_bps: Option<u64>,
    /// Share of the packets that were lost on it in the last seconds, in thousandths.
    pub loss_permille: Option<u16>,
    pub round_trip_ms: Option<u32>,
}

/// What one worker holds: numbers and ids only.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub counters: Counters,
    pub io: IoCounters,
    pub rooms: Vec<(RoomId, Vec<ParticipantId>)>,
}

/// A participant's side of the negotiated session description, without the description.
#[derive(Clone, Debug, Default)]
pub struct MediaSpec {
    pub extensions: ExtensionIds,
    pub sources: Vec<SourceSpec>,
    pub slots: Vec<SlotSpec>,
}

/// A sending m-line.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    pub mid: Mid,
    pub kind: SourceKind,
    pub codecs: Vec<CodecPt>,
    /// Simulcast layers from the smallest to the largest; empty without simulcast.
    pub rids: Vec<Rid>,
    /// Signalled SSRCs with their RTX, for clients that send no MID.
    pub ssrcs: Vec<(Ssrc, Option<Ssrc>)>,
}

/// A receiving m-line: one server SSRC for its lifetime.
#[derive(Clone, Debug)]
pub struct SlotSpec {
    pub mid: Mid,
    pub kind: MediaKind,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Option<Ssrc>,
    pub codecs: Vec<CodecPt>,
}

/// A codec, the participant's payload type for it and the one for its retransmission (RFC 4588).
#[derive(Clone, Copy, Debug)]
pub struct CodecPt {
    pub codec: Codec,
    pub pt: Pt,
    pub rtx_pt: Option<Pt>,
}

/// One slot's wish.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub slot: SlotIndex,
    pub from: ParticipantId,
    pub source: SourceKind,
    /// Height in device pixels at which it is drawn.
    pub height: u16,
}
