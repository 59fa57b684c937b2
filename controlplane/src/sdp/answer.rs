//! Writes the answer: one bundle, ICE-lite, passive DTLS, and only codecs and extensions that the offer has.

use std::fmt::Write;
use std::net::IpAddr;

use saal_dataplane::id::{Codec, MediaKind, Mid};
use saal_dataplane::link::{MediaSpec, SlotSpec};

use super::offer::{Direction, Line, OfferedCodec};
use super::{Offer, Role, accepted_extensions, reversed};

/// Our side of the transport.
pub(crate) struct Local<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) pwd: &'a str,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) port: u16,
    /// Random, without meaning.
    pub(crate) session: u64,
    /// Counts the answers of a session from 1.
    pub(crate) version: u64,
    pub(crate) cname: &'a str,
}

pub(crate) fn write(offer: &Offer, roles: &[Role], media: &MediaSpec, local: &Local<'_>) -> String {
    let mut text = String::with_capacity(1024 * (offer.lines.len() + 1));
    // Writing into a String cannot fail.
    let _ = write_all(&mut text, offer, roles, media, local);
    text
}

fn write_all(
    out: &mut String,
    offer: &Offer,
    roles: &[Role],
    media: &MediaSpec,
    local: &Local<'_>,
) -> std::fmt::Result {
    // RFC 8866 wants a session id below 2^63.
    write!(out, "v=0\r\no=- {} {} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", local.session >> 1, local.version)?;
    out.push_str("a=group:BUNDLE");
    let accepted = || offer.lines.iter().zip(roles).filter(|(_, role)| **role != Role::Rejected);
    for (line, _) in accepted() {
        write!(out, " {}", text_of(&line.mid))?;
    }
    out.push_str("\r\na=ice-lite\r\n");
    out.push_str("a=msid-semantic: WMS *\r\n");
    let mut candidates_are_written = false;
    for (line, role) in offer.lines.iter().zip(roles) {
        let direction = match role {
            Role::Rejected => {
                write_rejection(out, line)?;
                continue;
            }
            Role::Source => Direction::RecvOnly,
            Role::Slot(_) => Direction::SendOnly,
            Role::Inactive => Direction::Inactive,
        };
        write_transport(out, line, local)?;
        if !std::mem::replace(&mut candidates_are_written, true) {
            write_candidates(out, local)?;
        }
        write!(out, "a={}\r\n", direction.name())?;
        let is_source = !matches!(role, Role::Slot(_));
        write_extensions(out, line, is_source, media)?;
        for offered in &line.codecs {
            write_codec(out, offered)?;
        }
        match role {
            Role::Source => write_simulcast(out, line)?,
            Role::Slot(index) => write_slot(out, &media.slots[*index], local.cname)?,
            Role::Inactive | Role::Rejected => {}
        }
    }
    Ok(())
}

fn write_transport(out: &mut String, line: &Line, local: &Local<'_>) -> std::fmt::Result {
    write!(out, "m={} {} {}", line.media, local.port, line.protocol)?;
    for OfferedCodec { codec, .. } in &line.codecs {
        write!(out, " {}", codec.pt.0)?;
        codec.rtx_pt.map_or(Ok(()), |rtx| write!(out, " {}", rtx.0))?;
    }
    let address = local.addresses.first().copied().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    write!(out, "\r\nc=IN {family} {address}\r\na=mid:{}\r\n", text_of(&line.mid))?;
    write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 ", local.ufrag, local.pwd)?;
    for (index, byte) in local.fingerprint.iter().enumerate() {
        write!(out, "{}{byte:02X}", if index == 0 { "" } else { ":" })?;
    }
    out.push_str("\r\na=setup:passive\r\na=rtcp-mux\r\n");
    if line.has_reduced_size {
        out.push_str("a=rtcp-rsize\r\n");
    }
    if line.allows_mixed_extensions {
        out.push_str("a=extmap-allow-mixed\r\n");
    }
    Ok(())
}

/// Host candidates in the order of preference (RFC 8445 §5.1.2.1: type 126, component 1).
fn write_candidates(out: &mut String, local: &Local<'_>) -> std::fmt::Result {
    for (index, address) in local.addresses.iter().enumerate() {
        let preference = 65_535 - u32::try_from(index).unwrap_or(65_535).min(65_535);
        let priority = (126 << 24) | (preference << 8) | 255;
        write!(out, "a=candidate:{} 1 udp {priority} {address} {} typ host\r\n", index + 1, local.port)?;
    }
    out.push_str("a=end-of-candidates\r\n");
    Ok(())
}

/// One id per extension in the whole bundle, so that the data plane needs to know one only.
fn write_extensions(out: &mut String, line: &Line, is_source: bool, media: &MediaSpec) -> std::fmt::Result {
    let mut ids = media.extensions;
    for offered in accepted_extensions(line, is_source) {
        // The first line that used the extension has chosen the id.
        if *offered.extension.place(&mut ids) != Some(offered.id) {
            continue;
        }
        write!(out, "a=extmap:{}", offered.id)?;
        if offered.has_direction {
            write!(out, "/{}", reversed(offered.direction).name())?;
        }
        write!(out, " {}\r\n", offered.extension.uri())?;
    }
    Ok(())
}

fn write_codec(out: &mut String, offered: &OfferedCodec) -> std::fmt::Result {
    let pt = offered.codec.pt.0;
    let (name, channels) = match offered.codec.codec {
        Codec::Opus => ("opus", "/2"),
        Codec::Red => ("red", "/2"),
        Codec::Vp8 => ("VP8", ""),
        Codec::Vp9 { .. } => ("VP9", ""),
        Codec::H264 { .. } => ("H264", ""),
        Codec::Av1 => ("AV1", ""),
    };
    let clock = offered.codec.codec.clock_rate_hz();
    write!(out, "a=rtpmap:{pt} {name}/{clock}{channels}\r\n")?;
    if !offered.parameters.is_empty() {
        write!(out, "a=fmtp:{pt} {}\r\n", offered.parameters)?;
    }
    for feedback in &offered.feedback {
        write!(out, "a=rtcp-fb:{pt} {feedback}\r\n")?;
    }
    let Some(rtx) = offered.codec.rtx_pt else { return Ok(()) };
    write!(out, "a=rtpmap:{} rtx/{clock}\r\na=fmtp:{} apt={pt}\r\n", rtx.0, rtx.0)
}

fn write_simulcast(out: &mut String, line: &Line) -> std::fmt::Result {
    if line.rids.is_empty() {
        return Ok(());
    }
    for rid in &line.rids {
        write!(out, "a=rid:{} recv\r\n", text_of(rid))?;
    }
    let list: Vec<String> = line.rids.iter().map(text_of).collect();
    write!(out, "a=simulcast:recv {}\r\n", list.join(";"))
}

fn write_slot(out: &mut String, slot: &SlotSpec, cname: &str) -> std::fmt::Result {
    let mid = text_of(&slot.mid);
    write!(out, "a=msid:slot{mid} slot{mid}-track\r\n")?;
    if let (MediaKind::Video, Some(rtx)) = (slot.kind, slot.rtx_ssrc) {
        write!(out, "a=ssrc-group:FID {} {}\r\n", slot.ssrc.0, rtx.0)?;
        write!(out, "a=ssrc:{} cname:{cname}\r\na=ssrc:{} cname:{cname}\r\n", slot.ssrc.0, rtx.0)
    } else {
        write!(out, "a=ssrc:{} cname:{cname}\r\n", slot.ssrc.0)
    }
}

fn write_rejection(out: &mut String, line: &Line) -> std::fmt::Result {
    write!(out, "m={} 0 {} {}\r\nc=IN IP4 0.0.0.0\r\n", line.media, line.protocol, line.first_format)?;
    write!(out, "a=mid:{}\r\na=inactive\r\n", text_of(&line.mid))
}

/// Mids and rids are ASCII: the parser has seen to it.
fn text_of(tag: &Mid) -> String {
    String::from_utf8_lossy(tag.as_bytes()).into_owned()
}
