//! What a simulated participant is going to be: its payload types and extension ids, what it sends, what it can show.

use std::time::Duration;

use saal_dataplane::id::{Codec, ParticipantId, Pt, RoomId, SourceKind};
use saal_dataplane::link::CodecPt;
use saal_dataplane::wire::ext::ExtensionIds;

use super::secure::DtlsVersion;

/// The numbers a browser picks in its offer. Two browsers in one room never agree on them.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    pub extensions: ExtensionIds,
    pub opus: u8,
    /// Redundant sound (RFC 2198), which only some browsers know.
    pub red: Option<u8>,
    pub vp8: u8,
    pub vp8_rtx: u8,
}

impl Dialect {
    pub fn chromium() -> Dialect {
        let extensions = ExtensionIds {
            audio_level: Some(1),
            abs_send_time: Some(2),
            transport_cc: Some(3),
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            dependency_descriptor: None,
        };
        Dialect { extensions, opus: 111, red: None, vp8: 96, vp8_rtx: 97 }
    }

    pub fn firefox() -> Dialect {
        let extensions = ExtensionIds {
            audio_level: Some(1),
            abs_send_time: Some(4),
            transport_cc: Some(7),
            mid: Some(3),
            rid: Some(9),
            repaired_rid: Some(8),
            dependency_descriptor: None,
        };
        Dialect { extensions, opus: 109, red: None, vp8: 120, vp8_rtx: 124 }
    }

    /// What is sent and received, redundancy first.
    pub fn codecs(&self, kind: SourceKind) -> Vec<CodecPt> {
        let red = self.red.filter(|_| kind == SourceKind::Microphone);
        let red = red.map(|pt| CodecPt { codec: Codec::Red, pt: Pt(pt), rtx_pt: None });
        red.into_iter().chain([self.codec(kind)]).collect()
    }

    pub fn codec(&self, kind: SourceKind) -> CodecPt {
        match kind {
            SourceKind::Microphone => CodecPt { codec: Codec::Opus, pt: Pt(self.opus), rtx_pt: None },
            SourceKind::Camera | SourceKind::Screen => {
                CodecPt { codec: Codec::Vp8, pt: Pt(self.vp8), rtx_pt: Some(Pt(self.vp8_rtx)) }
            }
        }
    }
}

/// One layer of a source; audio has one.
#[derive(Clone, Copy, Debug)]
pub struct LayerPlan {
    pub rid: Option<&'static str>,
    pub height: u16,
    /// Packets per frame and bytes per packet.
    pub parts: u8,
    pub part_bytes: usize,
}

#[derive(Clone, Debug)]
pub struct SourcePlan {
    pub kind: SourceKind,
    pub interval: Duration,
    pub layers: Vec<LayerPlan>,
    /// Packets of a keyframe for each of another picture.
    pub keyframe_factor: u8,
    /// Tell the server the SSRCs beforehand; browsers do without simulcast and do not with it.
    pub signal_ssrcs: bool,
}

impl SourcePlan {
    pub fn microphone() -> SourcePlan {
        SourcePlan {
            kind: SourceKind::Microphone,
            interval: Duration::from_millis(20),
            layers: vec![LayerPlan { rid: None, height: 0, parts: 1, part_bytes: 90 }],
            keyframe_factor: 1,
            signal_ssrcs: true,
        }
    }

    pub fn camera() -> SourcePlan {
        SourcePlan::video(
            SourceKind::Camera,
            vec![LayerPlan { rid: None, height: 360, parts: 2, part_bytes: 700 }],
        )
    }

    pub fn screen() -> SourcePlan {
        SourcePlan::video(
            SourceKind::Screen,
            vec![LayerPlan { rid: None, height: 1080, parts: 4, part_bytes: 1100 }],
        )
    }

    /// 180, 360 and 720 lines.
    pub fn simulcast() -> SourcePlan {
        let layer = |rid, height, parts, part_bytes| LayerPlan { rid: Some(rid), height, parts, part_bytes };
        SourcePlan::video(
            SourceKind::Camera,
            vec![layer("q", 180, 1, 400), layer("h", 360, 2, 600), layer("f", 720, 4, 1000)],
        )
    }

    fn video(kind: SourceKind, layers: Vec<LayerPlan>) -> SourcePlan {
        let signal_ssrcs = layers.len() == 1;
        SourcePlan { kind, interval: Duration::from_millis(40), layers, keyframe_factor: 1, signal_ssrcs }
    }
}

/// One simulated participant.
#[derive(Clone, Debug)]
pub struct Plan {
    pub dialect: Dialect,
    pub dtls: DtlsVersion,
    pub sources: Vec<SourcePlan>,
    pub audio_slots: u16,
    pub video_slots: u16,
    /// Ask for what is missing, as a browser does.
    pub nacks: bool,
    /// Tell when each packet arrived, as a browser does.
    pub transport_feedback: bool,
}

impl Plan {
    /// A camera, a microphone, three audio and four video slots.
    pub fn browser() -> Plan {
        Plan {
            dialect: Dialect::chromium(),
            dtls: DtlsVersion::V12,
            sources: vec![SourcePlan::microphone(), SourcePlan::camera()],
            audio_slots: 3,
            video_slots: 4,
            nacks: true,
            transport_feedback: true,
        }
    }

    pub fn viewer() -> Plan {
        Plan { sources: Vec::new(), ..Plan::browser() }
    }

    pub fn simulcast() -> Plan {
        Plan::browser().sending(vec![SourcePlan::microphone(), SourcePlan::simulcast()])
    }

    pub fn firefox(self) -> Plan {
        Plan { dialect: Dialect::firefox(), dtls: DtlsVersion::Auto, ..self }
    }

    /// With redundant sound, sent and received.
    pub fn redundant(self) -> Plan {
        Plan { dialect: Dialect { red: Some(63), ..self.dialect }, ..self }
    }

    pub fn sending(self, sources: Vec<SourcePlan>) -> Plan {
        Plan { sources, ..self }
    }

    pub fn without_transport_feedback(self) -> Plan {
        Plan { transport_feedback: false, ..self }
    }

    pub fn without_nacks(self) -> Plan {
        Plan { nacks: false, ..self }
    }
}

/// Where a participant belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    pub room: RoomId,
    pub participant: ParticipantId,
}
