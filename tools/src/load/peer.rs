//! One connection: ICE, DTLS, RTCP and the counting of what comes. Sans-IO, like the participants of the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::publisher::Stream;
use super::stamp::{Stamp, now_ns};
use super::tally::{Tally, Window};
use crate::client::feedback::Feedback;
use crate::client::payload;
use crate::client::secure::{Certificate, DtlsVersion, Phase, Secure};
use crate::client::stun::{Answer, Check, read_answer};
use crate::random::Random;

pub const OPUS: u8 = 111;
pub const VP8: u8 = 96;
pub const RTX: u8 = 97;

const CHECK_INTERVAL_SETUP: Duration = Duration::from_millis(50);
/// Chromium's interval of checks on a writable connection.
const CHECK_INTERVAL: Duration = Duration::from_millis(2500);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);

/// What signalling told about the other side.
#[derive(Clone, Debug)]
pub struct Remote {
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: [u8; 32],
}

/// What a participant shall be, before it has a socket.
#[derive(Debug)]
pub struct Plan {
    /// Number within the run.
    pub number: usize,
    pub room: usize,
    pub streams: Vec<Stream>,
    /// Opens and checks every packet, and measures latency.
    pub sampled: bool,
    pub transport_feedback: bool,
    pub asked_at_ns: u64,
}

pub struct Peer {
    pub number: usize,
    pub room: usize,
    pub sampled: bool,
    pub asked_at_ns: u64,
    pub first_media_ns: Option<u64>,
    pub tallies: Vec<Tally>,
    /// Packets that are neither Opus nor VP8: retransmissions and probes.
    pub others: u64,
    /// Packets of a sampled peer that were not what a publisher sent.
    pub corrupt: u64,
    /// What leaves once there are keys.
    pub streams: Vec<Stream>,
    keyframes: Vec<(u32, Arc<AtomicBool>)>,
    way: Way,
    transport_feedback: bool,
    next_feedback: Instant,
    feedback: Feedback,
    rtcp_ssrc: u32,
    next_report: Instant,
    pub out: Vec<Vec<u8>>,
}

/// How the keys come about.
enum Way {
    Webrtc(Box<Webrtc>),
    /// Keys agreed beforehand.
    Static(Box<Static>),
}

struct Static {
    /// `None` once it was handed out.
    tx: Option<Context>,
    rx: Context,
    hello: Hello,
    answered: bool,
    next_hello: Instant,
}

struct Webrtc {
    secure: Secure,
    remote: Remote,
    ufrag: String,
    random: Random,
    answered: bool,
    dtls_started: bool,
    next_check: Instant,
}

impl Peer {
    pub fn webrtc(
        plan: Plan,
        certificate: &Certificate,
        ufrag: String,
        remote: Remote,
        now: Instant,
    ) -> Peer {
        let random = Random::new(plan.number as u64 ^ now_ns());
        let secure = Secure::new(certificate, remote.fingerprint, DtlsVersion::V12, true, now);
        let webrtc =
            Webrtc { secure, remote, ufrag, random, answered: false, dtls_started: false, next_check: now };
        Peer::new(plan, Way::Webrtc(Box::new(webrtc)), now)
    }

    /// `keys`: key and salt of AEAD_AES_256_GCM to send with and to receive with.
    ///
    /// `hello` is repeated until a `K` comes back, or sent once when nothing will.
    pub fn with_keys(plan: Plan, tx: StaticKey, rx: StaticKey, hello: Hello, now: Instant) -> Peer {
        let (tx, rx) = (Some(tx.context()), rx.context());
        let way = Way::Static(Box::new(Static { tx, rx, hello, answered: false, next_hello: now }));
        Peer::new(plan, way, now)
    }

    fn new(plan: Plan, way: Way, now: Instant) -> Peer {
        let Plan { number, room, streams, sampled, transport_feedback, asked_at_ns } = plan;
        Peer {
            number,
            room,
            sampled,
            asked_at_ns,
            first_media_ns: None,
            tallies: Vec::new(),
            others: 0,
            corrupt: 0,
            keyframes: streams
                .iter()
                .map(|stream| (stream.ssrc, Arc::clone(&stream.keyframe_wanted)))
                .collect(),
            streams,
            way,
            transport_feedback,
            next_feedback: now + FEEDBACK_INTERVAL,
            feedback: Feedback::default(),
            rtcp_ssrc: number as u32 + 1,
            next_report: now + REPORT_INTERVAL,
            out: Vec::new(),
        }
    }

    pub fn is_connected(&self) -> bool {
        match &self.way {
            Way::Webrtc(webrtc) => webrtc.secure.phase() == Phase::Connected && webrtc.secure.has_keys(),
            Way::Static(known) => known.answered,
        }
    }

    pub fn has_failed(&self) -> bool {
        match &self.way {
            Way::Webrtc(webrtc) => matches!(webrtc.secure.phase(), Phase::Failed | Phase::Closed),
            Way::Static(_) => false,
        }
    }

    /// The keys for media, once.
    pub fn take_sender(&mut self) -> Option<Context> {
        match &mut self.way {
            Way::Webrtc(webrtc) => webrtc.secure.take_rtp_sender(),
            Way::Static(known) => known.tx.take(),
        }
    }

    pub fn on_datagram(&mut self, datagram: &[u8], at_ns: u64, latency: &mut Option<Histogram<u64>>) {
        match datagram {
            [128..=191, 192..=223, ..] => self.on_rtcp(datagram),
            [128..=191, ..] => self.on_rtp(datagram, at_ns, latency),
            _ => self.on_setup(datagram),
        }
    }

    fn on_setup(&mut self, datagram: &[u8]) {
        let now = Instant::now();
        match (&mut self.way, datagram) {
            (Way::Webrtc(webrtc), [0..=3, ..]) => {
                if let Some((_, Answer::Success)) = read_answer(datagram, &webrtc.remote.pwd) {
                    webrtc.answered = true;
                    if !std::mem::replace(&mut webrtc.dtls_started, true) {
                        webrtc.secure.on_timeout(now, &mut self.out);
                    }
                }
            }
            (Way::Webrtc(webrtc), [20..=63, ..]) => webrtc.secure.on_dtls(now, datagram, &mut self.out),
            (Way::Static(known), b"K") => known.answered = true,
            _ => {}
        }
    }

    fn on_rtp(&mut self, datagram: &[u8], at_ns: u64, latency: &mut Option<Histogram<u64>>) {
        let Some((&[_, pt, s0, s1, _, _, _, _, c0, c1, c2, c3], _)) = datagram.split_first_chunk() else {
            return;
        };
        let pt = pt & 0x7F;
        if self.transport_feedback
            && let Some(seq) = transport_seq(datagram)
        {
            self.feedback.on_packet(seq, at_ns / 1000);
        }
        if pt != OPUS && pt != VP8 {
            self.others += 1;
            return;
        }
        let (seq, ssrc) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([c0, c1, c2, c3]));
        let index = self.tallies.iter().position(|tally| tally.ssrc == ssrc).unwrap_or_else(|| {
            self.tallies.push(Tally::new(ssrc, pt, seq));
            if pt == VP8 {
                self.send_rtcp(vec![Box::new(PictureLossIndication {
                    sender_ssrc: self.rtcp_ssrc,
                    media_ssrc: ssrc,
                })]);
            }
            self.tallies.len() - 1
        });
        self.tallies[index].on_packet(seq, datagram.len());
        self.first_media_ns.get_or_insert(at_ns);
        if self.sampled {
            self.sample(datagram, pt, at_ns, latency);
        }
    }

    /// Padding alone carries no stamp and is no fault.
    fn sample(&mut self, datagram: &[u8], pt: u8, at_ns: u64, latency: &mut Option<Histogram<u64>>) {
        let rtp = match &mut self.way {
            Way::Webrtc(webrtc) => webrtc.secure.open_rtp(datagram),
            Way::Static(known) => known.rx.decrypt_rtp(datagram).ok().map(|bytes| bytes.to_vec()),
        };
        let Some(payload) = rtp.as_deref().and_then(payload_of) else {
            self.corrupt += 1;
            return;
        };
        let stamped = match pt {
            OPUS => payload.get(1..),
            _ => payload::read_vp8_head(payload).map(|(_, rest)| rest),
        };
        match stamped.map(Stamp::read) {
            Some(Ok(stamp)) => {
                if let Some(latency) = latency {
                    latency.saturating_record(at_ns.saturating_sub(stamp.sent_ns) / 1000);
                }
            }
            _ => self.corrupt += 1,
        }
    }

    fn on_rtcp(&mut self, datagram: &[u8]) {
        // Only requests for keyframes matter, and only to who sends video.
        if self.keyframes.is_empty() {
            return;
        }
        let Way::Webrtc(webrtc) = &mut self.way else { return };
        let Some(plain) = webrtc.secure.open_rtcp(datagram) else { return };
        let Ok(packets) = rtcp::packet::unmarshal(&mut &plain[..]) else { return };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                self.want_keyframe(pli.media_ssrc);
            } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
                fir.fir.iter().for_each(|entry| self.want_keyframe(entry.ssrc));
            }
        }
    }

    fn want_keyframe(&self, ssrc: u32) {
        for (_, wanted) in self.keyframes.iter().filter(|(own, _)| *own == ssrc) {
            wanted.store(true, Ordering::Relaxed);
        }
    }

    pub fn on_timeout(&mut self, now: Instant) {
        match &mut self.way {
            Way::Webrtc(webrtc) => webrtc.on_timeout(now, &mut self.out),
            Way::Static(known) => return known.on_timeout(now, &mut self.out),
        }
        if !self.is_connected() || self.tallies.is_empty() {
            return;
        }
        if self.next_report <= now {
            self.next_report = now + REPORT_INTERVAL;
            // The count of blocks has five bits (RFC 3550 §6.4.2).
            let reports = self.tallies.iter().take(31).map(|tally| ReceptionReport {
                ssrc: tally.ssrc,
                last_sequence_number: tally.highest_seq(),
                ..Default::default()
            });
            let reports = reports.collect();
            self.send_rtcp(vec![Box::new(ReceiverReport {
                ssrc: self.rtcp_ssrc,
                reports,
                ..Default::default()
            })]);
        }
        if self.transport_feedback && self.next_feedback <= now {
            self.next_feedback = now + FEEDBACK_INTERVAL;
            let media = self.tallies.first().map_or(0, |tally| tally.ssrc);
            while let Some(feedback) = self.feedback.take(self.rtcp_ssrc, media) {
                self.send_rtcp(vec![Box::new(feedback)]);
            }
        }
    }

    fn send_rtcp(&mut self, packets: Vec<Box<dyn rtcp::packet::Packet + Send + Sync>>) {
        let Way::Webrtc(webrtc) = &mut self.way else { return };
        if let Ok(compound) = rtcp::packet::marshal(&packets) {
            self.out.extend(webrtc.secure.seal_rtcp(&compound));
        }
    }

    /// Ends a window: what each stream brought.
    pub fn turn(&mut self) -> Vec<(u8, Window)> {
        self.tallies.iter_mut().map(|tally| (tally.pt, tally.turn())).collect()
    }
}

/// The transport-wide sequence number, under the id of the description in `sdp.rs`; header extensions are not encrypted.
fn transport_seq(packet: &[u8]) -> Option<u16> {
    const ID: u8 = 3;
    let first = *packet.first()?;
    let block = packet.get(12 + 4 * usize::from(first & 0x0f)..)?;
    let (&[0xbe, 0xde, words0, words1], rest) = block.split_first_chunk()? else { return None };
    let mut elements = rest.get(..4 * usize::from(u16::from_be_bytes([words0, words1])))?;
    while let Some((&head, value)) = elements.split_first() {
        let len = if head == 0 { 0 } else { usize::from(head & 0x0f) + 1 };
        if head >> 4 == ID {
            return value.first_chunk().copied().map(u16::from_be_bytes);
        }
        elements = value.get(len..)?;
    }
    None
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Static {
    fn on_timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        if !self.answered && self.next_hello <= now {
            self.next_hello = now + CHECK_INTERVAL_SETUP;
            out.push(self.hello.bytes.clone());
            self.answered = !self.hello.is_answered;
        }
    }
}

impl Webrtc {
    fn on_timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        if self.next_check <= now {
            let mut transaction = [0; 12];
            self.random.fill(&mut transaction);
            let username = format!("{}:{}", self.remote.ufrag, self.ufrag);
            out.push(Check::new(transaction, username, self.remote.pwd.clone()).write());
            self.next_check = now + if self.answered { CHECK_INTERVAL } else { CHECK_INTERVAL_SETUP };
        }
        if self.dtls_started && self.secure.next_timeout().is_some_and(|at| at <= now) {
            self.secure.on_timeout(now, out);
        }
    }
}

/// A datagram that makes the other side know this address.
#[derive(Clone, Debug)]
pub struct Hello {
    pub bytes: Vec<u8>,
    pub is_answered: bool,
}

/// A key that both sides know from the start, of the profile that `dimpl` and the server agree on: the floor and the
/// baseline seal with what the server seals with.
#[derive(Clone, Copy, Debug)]
pub struct StaticKey {
    pub key: [u8; 32],
    pub salt: [u8; 12],
}

impl StaticKey {
    fn context(&self) -> Context {
        Context::new(&self.key, &self.salt, ProtectionProfile::AeadAes256Gcm, None, None)
            .expect("key and salt are as long as the profile says")
    }
}

/// The payload of a plain RTP packet, without padding.
fn payload_of(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let mut at = 12 + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = u16::from_be_bytes(packet.get(at + 2..at + 4)?.try_into().ok()?);
        at += 4 + 4 * usize::from(words);
    }
    let padding = if first & 0x20 != 0 { usize::from(*packet.last()?) } else { 0 };
    packet.get(at..packet.len().checked_sub(padding)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_stands_between_extensions_and_padding() {
        let mut packet = vec![0xB0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        packet.extend([0xBE, 0xDE, 0, 1, 0x10, 5, 0, 0]);
        packet.extend([1, 2, 3, 0, 0, 3]);
        assert_eq!(payload_of(&packet), Some(&[1, 2, 3][..]));
        *packet.last_mut().unwrap() = 200;
        assert_eq!(payload_of(&packet), None);
    }
}
