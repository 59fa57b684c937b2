//! Session descriptions (RFC 8866, 8829, 8843, 8853): the only place that reads or writes one.
//!
//! An offer goes in as untrusted text of bounded size; a `MediaSpec` for the data plane and an answer come out. Nothing
//! here has a clock, a socket or randomness of its own, and no candidate of a client is ever looked at.

mod answer;
mod offer;

use std::collections::HashMap;

use saal_dataplane::id::{Codec, MediaKind, Mid, SourceKind, Ssrc};
use saal_dataplane::link::{CodecPt, MediaSpec, SlotSpec, SourceSpec};
use saal_dataplane::wire::ext::ExtensionIds;

pub(crate) use answer::{Local, write};
pub(crate) use offer::{Offer, parse};

use offer::{Direction, Line};

/// Why an offer was not understood. Which one it was is for tests: a client learns `bad-message` only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadOffer {
    TooLong,
    TooManyLines,
    Malformed,
    NoMid,
    DuplicateMid,
    NoBundle,
    NoRtcpMux,
    NoIceCredentials,
    NoSha256Fingerprint,
    BadSetup,
    UnknownSource,
    DuplicateSource,
}

/// What becomes of one m-line of the offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Source,
    /// Index into [`MediaSpec::slots`].
    Slot(usize),
    Inactive,
    Rejected,
}

/// How many receive slots of each kind are granted.
#[derive(Clone, Copy)]
pub(crate) struct SlotLimits {
    pub(crate) audio: usize,
    pub(crate) video: usize,
}

/// SSRCs stay with their m-line for life, whatever is offered later. A description never loses a line, so there are no
/// more of them than lines; who invents others with each offer is refused.
#[derive(Default)]
pub(crate) struct HeldSsrcs(HashMap<Mid, (Ssrc, Ssrc)>);

/// The header extensions that the data plane reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AbsSendTime,
    TransportCc,
    AudioLevel,
    DependencyDescriptor,
}

impl Extension {
    const ALL: [(Extension, &'static str); 7] = [
        (Extension::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        (Extension::Rid, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
        (Extension::RepairedRid, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
        (Extension::AbsSendTime, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
        (Extension::TransportCc, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
        (Extension::AudioLevel, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        (
            Extension::DependencyDescriptor,
            "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        ),
    ];

    fn uri(self) -> &'static str {
        Extension::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, uri)| uri)
    }

    /// Whether the extension means anything on such a line.
    fn fits(self, kind: MediaKind, is_source: bool) -> bool {
        match self {
            Extension::Mid | Extension::AbsSendTime | Extension::TransportCc => true,
            Extension::AudioLevel => kind == MediaKind::Audio,
            Extension::DependencyDescriptor => kind == MediaKind::Video,
            Extension::Rid | Extension::RepairedRid => kind == MediaKind::Video && is_source,
        }
    }

    fn place(self, ids: &mut ExtensionIds) -> &mut Option<u8> {
        match self {
            Extension::Mid => &mut ids.mid,
            Extension::Rid => &mut ids.rid,
            Extension::RepairedRid => &mut ids.repaired_rid,
            Extension::AbsSendTime => &mut ids.abs_send_time,
            Extension::TransportCc => &mut ids.transport_cc,
            Extension::AudioLevel => &mut ids.audio_level,
            Extension::DependencyDescriptor => &mut ids.dependency_descriptor,
        }
    }
}

/// Decides what each m-line is. `sources` names the sending ones; `fresh` draws an SSRC.
pub(crate) fn negotiate(
    offer: &Offer,
    sources: &[(Mid, SourceKind)],
    held: &mut HeldSsrcs,
    limits: SlotLimits,
    fresh: &mut dyn FnMut() -> Ssrc,
) -> Result<(MediaSpec, Vec<Role>), BadOffer> {
    check_sources(offer, sources)?;
    if held.0.len() > offer::LINES_MAX {
        return Err(BadOffer::TooManyLines);
    }
    let mut media = MediaSpec::default();
    let mut roles = Vec::with_capacity(offer.lines.len());
    let mut left = limits;
    for line in &offer.lines {
        let role = role_of(line, sources, &mut media, &mut left, held, fresh);
        if matches!(role, Role::Source | Role::Slot(_)) {
            learn_extensions(line, role == Role::Source, &mut media.extensions);
        }
        roles.push(role);
    }
    Ok((media, roles))
}

/// What the sending lines carry, for clients that cannot say: the first sound is a microphone, the first picture a
/// camera, the second a screen. A sound or a picture that cannot be one of them is an error: nobody would notice that half
/// a stream is missing (RFC 9725 §4.4.3).
pub(crate) fn sources_by_order(offer: &Offer) -> Result<Vec<(Mid, SourceKind)>, BadOffer> {
    let mut left = SourceKind::ALL.to_vec();
    let mut source = |line: &Line| {
        let index = left.iter().position(|source| Some(source.media()) == line.kind);
        let index = index.filter(|_| !line.codecs.is_empty()).ok_or(BadOffer::UnknownSource)?;
        Ok((line.mid, left.remove(index)))
    };
    let sends = |line: &&Line| line.is_usable && line.direction.sends();
    offer.lines.iter().filter(sends).map(&mut source).collect()
}

fn role_of(
    line: &Line,
    sources: &[(Mid, SourceKind)],
    media: &mut MediaSpec,
    left: &mut SlotLimits,
    held: &mut HeldSsrcs,
    fresh: &mut dyn FnMut() -> Ssrc,
) -> Role {
    let Some(kind) = line.kind.filter(|_| line.is_usable && !line.codecs.is_empty()) else {
        return Role::Rejected;
    };
    let codecs: Vec<CodecPt> = line.codecs.iter().map(|offered| offered.codec).collect();
    if let Some((mid, source)) = sources.iter().find(|(mid, _)| *mid == line.mid) {
        if !line.direction.sends() {
            return Role::Inactive;
        }
        let ssrcs = line.ssrcs.clone();
        media.sources.push(SourceSpec { mid: *mid, kind: *source, codecs, rids: line.rids.clone(), ssrcs });
        return Role::Source;
    }
    let left = match kind {
        MediaKind::Audio => &mut left.audio,
        MediaKind::Video => &mut left.video,
    };
    if !line.direction.receives() || *left == 0 {
        return Role::Inactive;
    }
    *left -= 1;
    let (ssrc, rtx) = *held.0.entry(line.mid).or_insert_with(|| (fresh(), fresh()));
    let has_rtx = kind == MediaKind::Video && codecs.iter().any(|codec| codec.rtx_pt.is_some());
    media.slots.push(SlotSpec { mid: line.mid, kind, ssrc, rtx_ssrc: has_rtx.then_some(rtx), codecs });
    Role::Slot(media.slots.len() - 1)
}

/// One id per extension and one extension per id for the whole bundle (RFC 8843 §14): a line that uses another id for
/// it, or an id that is something else, goes without.
fn learn_extensions(line: &Line, is_source: bool, ids: &mut ExtensionIds) {
    for offered in accepted_extensions(line, is_source) {
        if !Extension::ALL.iter().any(|(known, _)| *known.place(ids) == Some(offered.id)) {
            offered.extension.place(ids).get_or_insert(offered.id);
        }
    }
}

fn accepted_extensions(line: &Line, is_source: bool) -> impl Iterator<Item = &offer::OfferedExtension> {
    line.extensions.iter().filter(move |offered| {
        let flows = if is_source { offered.direction.sends() } else { offered.direction.receives() };
        flows
            && line.kind.is_some_and(|kind| offered.extension.fits(kind, is_source))
            && !(is_source && offered.extension == Extension::DependencyDescriptor && describes_itself(line))
    })
}

/// What is sent on the line is VP8, whose payloads say all that a dependency descriptor does. Beside one browsers leave temporal
/// layers and picture ids out of them, and not every receiver reads the descriptor.
fn describes_itself(line: &Line) -> bool {
    line.codecs.first().is_some_and(|offered| offered.codec.codec == Codec::Vp8)
}

fn check_sources(offer: &Offer, sources: &[(Mid, SourceKind)]) -> Result<(), BadOffer> {
    for (index, (mid, source)) in sources.iter().enumerate() {
        if sources[..index].iter().any(|(other, kind)| other == mid || kind == source) {
            return Err(BadOffer::DuplicateSource);
        }
        let line = offer.lines.iter().find(|line| line.mid == *mid).ok_or(BadOffer::UnknownSource)?;
        if line.kind.is_some_and(|kind| kind != source.media()) {
            return Err(BadOffer::UnknownSource);
        }
    }
    Ok(())
}

/// The direction as the other side must write it.
fn reversed(direction: Direction) -> Direction {
    match direction {
        Direction::SendOnly => Direction::RecvOnly,
        Direction::RecvOnly => Direction::SendOnly,
        Direction::SendRecv => Direction::SendRecv,
        Direction::Inactive => Direction::Inactive,
    }
}

#[cfg(test)]
mod tests;
