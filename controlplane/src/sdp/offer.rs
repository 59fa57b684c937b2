//! Reads an offer: bounded, tolerant of what it does not know, strict in what the transport needs.

use std::collections::HashMap;

use saal_dataplane::id::{Codec, MediaKind, Mid, Pt, Rid, Ssrc};
use saal_dataplane::link::CodecPt;

use super::{BadOffer, Extension};

/// What an offer says, as far as anybody needs to know.
pub(crate) struct Offer {
    pub(crate) ufrag: String,
    /// SHA-256 of the client's certificate.
    pub(crate) fingerprint: [u8; 32],
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    /// `None`: neither audio nor video.
    pub(super) kind: Option<MediaKind>,
    /// The m-line's own words, to be repeated in a rejection.
    pub(super) media: String,
    pub(super) protocol: String,
    pub(super) first_format: String,
    pub(super) mid: Mid,
    pub(super) direction: Direction,
    /// In the bundle, not rejected by the offerer, and of a protocol we speak.
    pub(super) is_usable: bool,
    pub(super) has_reduced_size: bool,
    pub(super) allows_mixed_extensions: bool,
    pub(super) codecs: Vec<OfferedCodec>,
    pub(super) extensions: Vec<OfferedExtension>,
    pub(super) rids: Vec<Rid>,
    pub(super) ssrcs: Vec<(Ssrc, Option<Ssrc>)>,
}

pub(super) struct OfferedCodec {
    pub(super) codec: CodecPt,
    /// Parameters that the answer repeats.
    pub(super) parameters: String,
    pub(super) feedback: Vec<&'static str>,
}

pub(super) struct OfferedExtension {
    pub(super) extension: Extension,
    pub(super) id: u8,
    pub(super) direction: Direction,
    /// Written out in the offer, so the answer writes it out too.
    pub(super) has_direction: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(super) fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    pub(super) fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    fn from_name(name: &str) -> Option<Direction> {
        Some(match name {
            "sendrecv" => Direction::SendRecv,
            "sendonly" => Direction::SendOnly,
            "recvonly" => Direction::RecvOnly,
            "inactive" => Direction::Inactive,
            _ => return None,
        })
    }
}

/// A signalling message holds no more.
const OFFER_BYTES_MAX: usize = 64 * 1024;

/// Three sources and the largest layout of slots, with room.
pub(super) const LINES_MAX: usize = 80;

/// Payload types are 0 to 127.
const FORMATS_MAX: usize = 128;

/// Layers that a camera may send.
const RIDS_MAX: usize = 4;

/// A layer each, for clients that announce them.
const SSRCS_MAX: usize = 8;

/// Chromium says it for the session, Firefox for each line.
const EXTMAP_ALLOW_MIXED: &str = "extmap-allow-mixed";

/// Feedback that the data plane sends or understands, in the order in which it is answered.
const VIDEO_FEEDBACK: [&str; 4] = ["transport-cc", "ccm fir", "nack", "nack pli"];
const AUDIO_FEEDBACK: [&str; 1] = ["transport-cc"];

/// Attributes before the first m-line, or of one m-line, by name and in order.
#[derive(Default)]
struct Section<'a> {
    head: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

pub(crate) fn parse(text: &str) -> Result<Offer, BadOffer> {
    if text.len() > OFFER_BYTES_MAX {
        return Err(BadOffer::TooLong);
    }
    let (session, sections) = split(text)?;
    let bundle: Vec<&str> = session
        .all("group")
        .find_map(|group| group.strip_prefix("BUNDLE"))
        .map(|mids| mids.split_ascii_whitespace().take(LINES_MAX).collect())
        .ok_or(BadOffer::NoBundle)?;
    let mut lines: Vec<Line> = Vec::with_capacity(sections.len());
    for section in &sections {
        let line = line(&session, section, &bundle)?;
        if lines.iter().any(|other| other.mid == line.mid) {
            return Err(BadOffer::DuplicateMid);
        }
        lines.push(line);
    }
    // The transport is described by the first line of the bundle, or for all lines at once (RFC 8843 §7.2).
    let tagged = lines.iter().position(|line| line.is_usable).ok_or(BadOffer::NoBundle)?;
    let of_transport = |name| sections[tagged].first(name).or_else(|| session.first(name));
    let is_muxed = |(line, section): (&Line, &Section<'_>)| !line.is_usable || section.has("rtcp-mux");
    if !lines.iter().zip(&sections).all(is_muxed) {
        return Err(BadOffer::NoRtcpMux);
    }
    let ufrag = of_transport("ice-ufrag").filter(|ufrag| is_ice_text(ufrag, 4));
    let pwd = of_transport("ice-pwd").filter(|pwd| is_ice_text(pwd, 22));
    let (Some(ufrag), Some(_)) = (ufrag, pwd) else { return Err(BadOffer::NoIceCredentials) };
    if !matches!(of_transport("setup"), Some("actpass" | "active")) {
        return Err(BadOffer::BadSetup);
    }
    let fingerprint = sections[tagged].all("fingerprint").chain(session.all("fingerprint")).find_map(sha256);
    Ok(Offer {
        ufrag: ufrag.to_owned(),
        fingerprint: fingerprint.ok_or(BadOffer::NoSha256Fingerprint)?,
        lines,
    })
}

fn split(text: &str) -> Result<(Section<'_>, Vec<Section<'_>>), BadOffer> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    if lines.next() != Some("v=0") {
        return Err(BadOffer::Malformed);
    }
    let mut session = Section::default();
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in lines {
        let (kind, value) = line.split_once('=').ok_or(BadOffer::Malformed)?;
        match kind {
            "m" if sections.len() == LINES_MAX => return Err(BadOffer::TooManyLines),
            "m" => sections.push(Section { head: value, ..Section::default() }),
            "a" => {
                let attribute = value.split_once(':').unwrap_or((value, ""));
                sections.last_mut().unwrap_or(&mut session).attributes.push(attribute);
            }
            _ => {}
        }
    }
    Ok((session, sections))
}

fn line(session: &Section<'_>, section: &Section<'_>, bundle: &[&str]) -> Result<Line, BadOffer> {
    let mut head = section.head.split(' ');
    let words = (head.next(), head.next(), head.next());
    let (Some(media), Some(port), Some(protocol)) = words else { return Err(BadOffer::Malformed) };
    let port: u16 = port.parse().map_err(|_| BadOffer::Malformed)?;
    let formats: Vec<&str> = head.take(FORMATS_MAX).collect();
    let first_format = formats.first().copied().ok_or(BadOffer::Malformed)?;
    if ![media, protocol, first_format].into_iter().all(is_token) {
        return Err(BadOffer::Malformed);
    }
    let name = section.first("mid").filter(|mid| is_token(mid)).ok_or(BadOffer::NoMid)?;
    let mid = Mid::new(name.as_bytes()).ok_or(BadOffer::NoMid)?;
    let kind = match media {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    // Firefox writes port 0 and bundle-only on every line but the first under max-bundle (RFC 8843 §6).
    let is_offered = port != 0 || section.has("bundle-only");
    let is_usable = is_offered && kind.is_some() && protocol == "UDP/TLS/RTP/SAVPF" && bundle.contains(&name);
    let direction = section.attributes.iter().find_map(|(name, _)| Direction::from_name(name));
    Ok(Line {
        kind,
        media: media.to_owned(),
        protocol: protocol.to_owned(),
        first_format: first_format.to_owned(),
        mid,
        direction: direction.unwrap_or(Direction::SendRecv),
        is_usable,
        has_reduced_size: section.has("rtcp-rsize"),
        allows_mixed_extensions: session.has(EXTMAP_ALLOW_MIXED) || section.has(EXTMAP_ALLOW_MIXED),
        codecs: kind.map(|kind| codecs(section, &formats, kind)).unwrap_or_default(),
        extensions: section.all("extmap").filter_map(extension).take(2 * Extension::ALL.len()).collect(),
        rids: rids(section),
        ssrcs: ssrcs(section),
    })
}

/// The codecs we forward, in the client's order, each with its retransmission.
fn codecs(section: &Section<'_>, formats: &[&str], kind: MediaKind) -> Vec<OfferedCodec> {
    let by_pt = |name: &str| -> HashMap<u8, &str> {
        let pairs = section.all(name).filter_map(|value| value.split_once(' '));
        pairs.filter_map(|(pt, rest)| Some((payload_type(pt)?, rest))).collect()
    };
    let (rtpmaps, fmtps) = (by_pt("rtpmap"), by_pt("fmtp"));
    let mut rtx_of: HashMap<u8, u8> = HashMap::new();
    for (pt, rtpmap) in &rtpmaps {
        let is_rtx = rtpmap.to_ascii_lowercase().starts_with("rtx/");
        let apt = fmtps.get(pt).filter(|_| is_rtx).and_then(|fmtp| parameter(fmtp, "apt"));
        if let Some(apt) = apt.and_then(payload_type) {
            rtx_of.entry(apt).and_modify(|known| *known = (*known).min(*pt)).or_insert(*pt);
        }
    }
    let wanted: &[&'static str] = match kind {
        MediaKind::Audio => &AUDIO_FEEDBACK,
        MediaKind::Video => &VIDEO_FEEDBACK,
    };
    let sets = feedback(section, wanted);
    let offered = |pt: u8| {
        let fmtp = fmtps.get(&pt).copied().unwrap_or_default();
        let (codec, parameters) = codec(rtpmaps.get(&pt)?, fmtp, kind)?;
        let rtx_pt = rtx_of.get(&pt).copied().map(Pt).filter(|_| kind == MediaKind::Video);
        let asked = |(index, feedback): (usize, &&'static str)| {
            (sets[usize::from(pt)] & (1 << index) != 0).then_some(*feedback)
        };
        let feedback = wanted.iter().enumerate().filter_map(asked).collect();
        Some(OfferedCodec { codec: CodecPt { codec, pt: Pt(pt), rtx_pt }, parameters, feedback })
    };
    let mut seen = [false; 128];
    let fresh = |pt: &u8| !std::mem::replace(&mut seen[usize::from(*pt)], true);
    let formats = formats.iter().filter_map(|format| payload_type(format));
    let mut codecs: Vec<OfferedCodec> = formats.filter(fresh).filter_map(offered).collect();
    // Redundancy of another codec would be forwarded to who cannot hear it. Senders take the first codec of an answer.
    let opus = codecs.iter().find(|offered| offered.codec.codec == Codec::Opus).map(|opus| opus.codec.pt.0);
    let is_of_opus =
        |blocks: &str| blocks.split('/').all(|pt| payload_type(pt).is_some_and(|pt| Some(pt) == opus));
    codecs.retain(|offered| offered.codec.codec != Codec::Red || is_of_opus(&offered.parameters));
    codecs.sort_by_key(|offered| offered.codec.codec != Codec::Red);
    codecs
}

/// The codec and the parameters that the answer repeats.
fn codec(rtpmap: &str, fmtp: &str, kind: MediaKind) -> Option<(Codec, String)> {
    let encoding = rtpmap.trim().to_ascii_lowercase();
    let codec = match (kind, encoding.as_str()) {
        (MediaKind::Audio, "opus/48000/2") => {
            let repeated = [("minptime", "10"), ("useinbandfec", "1"), ("usedtx", "1")];
            let asked = repeated.iter().filter(|(name, value)| parameter(fmtp, name) == Some(value));
            let parameters =
                asked.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";");
            return Some((Codec::Opus, parameters));
        }
        (MediaKind::Audio, "red/48000/2") => {
            return (fmtp.len() <= 40).then(|| (Codec::Red, fmtp.to_owned()));
        }
        (MediaKind::Video, "vp8/90000") => return Some((Codec::Vp8, String::new())),
        (MediaKind::Video, "vp9/90000") => {
            let profile = parameter(fmtp, "profile-id").map_or(Some(0), |text| text.parse().ok());
            Codec::Vp9 { profile: profile.filter(|profile| *profile <= 3)? }
        }
        (MediaKind::Video, "h264/90000") => {
            let mode = parameter(fmtp, "packetization-mode").map_or(Some(0), |text| text.parse().ok());
            let level = parameter(fmtp, "profile-level-id").unwrap_or("420010");
            let level = u32::from_str_radix(level, 16).ok().filter(|_| level.len() == 6)?;
            let [_, profile, constraints, _] = level.to_be_bytes();
            let packetization_mode = mode.filter(|mode| *mode <= 1)?;
            Codec::H264 { profile: [profile, constraints], packetization_mode }
        }
        (MediaKind::Video, "av1/90000") => {
            let is_main = parameter(fmtp, "profile").is_none_or(|profile| profile == "0");
            is_main.then_some(Codec::Av1)?
        }
        _ => return None,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | ';' | ' ' | '.');
    let is_repeatable = fmtp.len() <= 200 && fmtp.chars().all(is_plain);
    is_repeatable.then(|| (codec, fmtp.to_owned()))
}

/// For each payload type a set of indices into `wanted`; one pass, however many lines there are.
fn feedback(section: &Section<'_>, wanted: &[&str]) -> [u8; 128] {
    let mut sets = [0; 128];
    for (to, what) in section.all("rtcp-fb").filter_map(|value| value.split_once(' ')) {
        let Some(index) = wanted.iter().position(|known| *known == what.trim()) else { continue };
        match payload_type(to) {
            Some(pt) => sets[usize::from(pt)] |= 1 << index,
            None if to == "*" => sets.iter_mut().for_each(|set| *set |= 1 << index),
            None => {}
        }
    }
    sets
}

fn extension(value: &str) -> Option<OfferedExtension> {
    let mut words = value.split_ascii_whitespace();
    let (id, uri) = (words.next()?, words.next()?);
    let (id, direction) = id.split_once('/').map_or((id, None), |(id, direction)| (id, Some(direction)));
    let (extension, _) = Extension::ALL.iter().find(|(_, known)| *known == uri)?;
    Some(OfferedExtension {
        extension: *extension,
        // 15 is reserved in the one-byte form and 0 is padding (RFC 8285 §4.2).
        id: id.parse().ok().filter(|id| !matches!(id, 0 | 15))?,
        direction: direction.map_or(Some(Direction::SendRecv), Direction::from_name)?,
        has_direction: direction.is_some(),
    })
}

/// The simulcast layers in the offer's order. Of alternatives the first counts; paused ones (`~`) count too.
fn rids(section: &Section<'_>) -> Vec<Rid> {
    let declared: Vec<&str> = section
        .all("rid")
        .filter_map(|value| value.split_once(' '))
        .filter(|(_, rest)| rest.split([' ', ';']).next() == Some("send"))
        .map(|(rid, _)| rid)
        .take(RIDS_MAX)
        .collect();
    let Some(simulcast) = section.first("simulcast") else { return Vec::new() };
    let mut words = simulcast.split_ascii_whitespace();
    let list =
        std::iter::from_fn(|| Some((words.next()?, words.next()?))).take(2).find(|(way, _)| *way == "send");
    let Some((_, list)) = list else { return Vec::new() };
    let mut rids: Vec<Rid> = Vec::new();
    for layer in list.split(';').take(RIDS_MAX) {
        let rid = layer.split(',').next().unwrap_or_default().trim_start_matches('~');
        let is_plain = rid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let tag =
            Rid::new(rid.as_bytes()).filter(|tag| is_plain && declared.contains(&rid) && !rids.contains(tag));
        rids.extend(tag);
    }
    rids
}

/// Announced SSRCs with their RTX. Under simulcast Chromium announces none.
fn ssrcs(section: &Section<'_>) -> Vec<(Ssrc, Option<Ssrc>)> {
    let number = |text: &str| text.parse().ok().filter(|number| *number != 0).map(Ssrc);
    let groups: Vec<(Ssrc, Ssrc)> = section
        .all("ssrc-group")
        .filter_map(|group| group.strip_prefix("FID "))
        .filter_map(|pair| pair.split_once(' '))
        .filter_map(|(media, rtx)| Some((number(media)?, number(rtx.trim())?)))
        .take(SSRCS_MAX)
        .collect();
    let mut ssrcs: Vec<(Ssrc, Option<Ssrc>)> = Vec::new();
    let announced = section.all("ssrc").filter_map(|value| number(value.split(' ').next()?));
    for ssrc in announced {
        let is_rtx = groups.iter().any(|(_, rtx)| *rtx == ssrc);
        if ssrcs.len() == SSRCS_MAX || is_rtx || ssrcs.iter().any(|(known, _)| *known == ssrc) {
            continue;
        }
        let rtx = groups.iter().find(|(media, _)| *media == ssrc).map(|(_, rtx)| *rtx);
        ssrcs.push((ssrc, rtx));
    }
    ssrcs
}

/// The 32 bytes of `sha-256 AB:CD:...`.
fn sha256(value: &str) -> Option<[u8; 32]> {
    let (algorithm, digits) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut parts = digits.trim().split(':');
    for byte in &mut bytes {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Value of `name` in `a=1;b=2`.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    let pairs = fmtp.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|pt| *pt < 128)
}

/// What may be repeated in an answer.
fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 8839 §5.4.
fn is_ice_text(text: &str, len_min: usize) -> bool {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    (len_min..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}
