//! A simulated participant without sockets or clocks: datagrams and `now` go in, datagrams come out.
//!
//! ```text
//!            Plan                        on_datagram, on_timeout
//!             |                                   |
//!   Source, Source, ...  ->  rtp, rtcp  ->  Secure (dimpl, webrtc-srtp)  ->  take_datagrams
//!   Slot, Slot, ...      <-  rtp, rtcp  <-
//! ```
//!
//! Nothing here shares code with the server beside the types of `link`, so that the two check each other.

pub mod feedback;
pub mod payload;
pub mod plan;
pub mod secure;
pub mod slot;
pub mod source;
pub mod stun;

use std::time::{Duration, Instant};

use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtp::packet::Packet;
use saal_dataplane::id::{MediaKind, Mid, SourceKind, Ssrc};
use saal_dataplane::link::MediaSpec;
use saal_dataplane::sfu::ice::IceCredentials;
use saal_dataplane::sfu::transport::TransportSpec;
use webrtc_util::marshal::Unmarshal;

use crate::random::Random;
use feedback::Feedback;
use plan::{Dialect, Plan, Seat};
use secure::{Certificate, Phase, Secure};
use slot::{Report, Slot};
use source::{Sender, Source};
use stun::{Answer, Check};

type RtcpPacket = Box<dyn rtcp::packet::Packet + Send + Sync>;

const CHECK_INTERVAL_SETUP: Duration = Duration::from_millis(50);
/// Chromium's interval of checks on a writable connection.
const CHECK_INTERVAL: Duration = Duration::from_millis(2500);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// About what libwebrtc takes for a line of some megabits.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
const DATAGRAM_MAX: usize = 1452;

/// What signalling told the participant about the server.
#[derive(Clone, Debug)]
pub struct Remote {
    pub ice: IceCredentials,
    pub fingerprint: [u8; 32],
}

#[derive(Debug)]
pub struct Client {
    pub seat: Seat,
    pub sources: Vec<Source>,
    pub slots: Vec<Slot>,
    /// What no server of ours may do, as sentences.
    pub violations: Vec<String>,
    /// Answers to checks other than success.
    pub refusals: Vec<u16>,
    pub transport_feedbacks: u32,
    pub checks_answered: u32,
    /// Says nothing and hears nothing any more.
    pub vanished: bool,
    plan: Plan,
    random: Random,
    certificate: Certificate,
    remote: Remote,
    ufrag: String,
    secure: Secure,
    dtls_started: bool,
    sender: Sender,
    rtcp_ssrc: u32,
    next_check: Instant,
    next_report: Instant,
    born: Instant,
    feedback: Feedback,
    next_feedback: Instant,
    out: Vec<Vec<u8>>,
}

impl Client {
    /// `ssrc` draws the server's SSRC of one slot.
    pub fn new(
        seat: Seat,
        plan: Plan,
        remote: Remote,
        ssrc: &mut dyn FnMut() -> Ssrc,
        mut random: Random,
        now: Instant,
    ) -> Client {
        let mut mids = 0;
        let mut mid = || {
            mids += 1;
            Mid::new((mids - 1).to_string().as_bytes()).expect("a number is short")
        };
        let sources =
            plan.sources.iter().map(|source| Source::new(source.clone(), mid(), &mut random, now)).collect();
        let mut slots = Vec::new();
        for _ in 0..plan.audio_slots {
            slots.push(Slot::new(MediaKind::Audio, mid(), ssrc(), None, &plan.dialect));
        }
        for _ in 0..plan.video_slots {
            slots.push(Slot::new(MediaKind::Video, mid(), ssrc(), Some(ssrc()), &plan.dialect));
        }
        let certificate = Certificate::generate();
        let ntp_base_s = 3_900_000_000 + random.below(100_000_000) as u32;
        Client {
            seat,
            sources,
            slots,
            violations: Vec::new(),
            refusals: Vec::new(),
            transport_feedbacks: 0,
            checks_answered: 0,
            vanished: false,
            secure: Secure::new(&certificate, remote.fingerprint, plan.dtls, true, now),
            dtls_started: false,
            sender: Sender::new(seat.participant, plan.dialect, now, ntp_base_s),
            ufrag: random.ice_chars(4),
            rtcp_ssrc: random.number() as u32 | 1,
            next_check: now,
            next_report: now + REPORT_INTERVAL,
            born: now,
            feedback: Feedback::default(),
            next_feedback: now,
            plan,
            random,
            certificate,
            remote,
            out: Vec::new(),
        }
    }

    pub fn transport_spec(&self) -> TransportSpec {
        TransportSpec {
            local: self.remote.ice.clone(),
            remote_ufrag: self.ufrag.clone(),
            fingerprint: self.certificate.fingerprint,
        }
    }

    pub fn media_spec(&self) -> MediaSpec {
        MediaSpec {
            extensions: self.plan.dialect.extensions,
            sources: self.sources.iter().map(|source| source.spec(&self.plan.dialect)).collect(),
            slots: self.slots.iter().map(|slot| slot.spec.clone()).collect(),
        }
    }

    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.vanished {
            return;
        }
        if datagram.len() > DATAGRAM_MAX {
            self.violations.push(format!("a datagram of {} bytes", datagram.len()));
        }
        match datagram {
            [0..=3, ..] => self.on_stun(now, datagram),
            [20..=63, ..] => self.secure.on_dtls(now, datagram, &mut self.out),
            [128..=191, 192..=223, ..] => self.on_rtcp(now, datagram),
            [128..=191, ..] => self.on_rtp(now, datagram),
            _ => self.violations.push("a datagram of no known protocol".into()),
        }
    }

    pub fn on_timeout(&mut self, now: Instant) {
        if self.vanished {
            return;
        }
        if self.next_check <= now {
            let check = self.check().write();
            self.out.push(check);
            let writable = self.checks_answered > 0;
            self.next_check = now + if writable { CHECK_INTERVAL } else { CHECK_INTERVAL_SETUP };
        }
        if self.dtls_started && self.secure.next_timeout().is_some_and(|at| at <= now) {
            self.secure.on_timeout(now, &mut self.out);
        }
        if !self.is_connected() {
            return;
        }
        let mut packets = Vec::new();
        for source in &mut self.sources {
            source.on_timeout(now, &mut self.sender, &mut packets);
        }
        self.send_rtp(packets);
        self.send_nacks(now);
        if self.next_report <= now {
            self.next_report = now + REPORT_INTERVAL;
            self.send_reports(now);
        }
        if self.next_feedback <= now && !self.feedback.is_empty() {
            self.next_feedback = now + FEEDBACK_INTERVAL;
            let media = self.slots.first().map_or(0, |slot| slot.spec.ssrc.0);
            while let Some(feedback) = self.feedback.take(self.rtcp_ssrc, media) {
                self.send_rtcp(vec![Box::new(feedback)]);
            }
        }
    }

    /// Never in the past of the last `on_timeout`.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.vanished {
            return None;
        }
        let mut next = self.next_check;
        if self.dtls_started {
            next = self.secure.next_timeout().map_or(next, |at| next.min(at));
        }
        if self.is_connected() {
            next = next.min(self.next_report);
            if !self.feedback.is_empty() {
                next = next.min(self.next_feedback);
            }
            let sources = self.sources.iter().map(Source::next_timeout);
            let repairable = self.slots.iter().filter(|slot| self.plan.nacks && slot.spec.rtx_ssrc.is_some());
            next = sources.chain(repairable.filter_map(Slot::next_timeout)).fold(next, Instant::min);
        }
        Some(next)
    }

    pub fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        let datagrams = std::mem::take(&mut self.out);
        if self.vanished { Vec::new() } else { datagrams }
    }

    /// Sends these bytes as they are.
    pub fn send_raw(&mut self, datagram: Vec<u8>) {
        self.out.push(datagram);
    }

    /// New credentials on both sides (RFC 8445 §9). The server has to be told [`Client::ufrag`].
    pub fn restart_ice(&mut self, now: Instant, remote: IceCredentials) {
        self.remote.ice = remote;
        self.ufrag = self.random.ice_chars(4);
        self.checks_answered = 0;
        self.next_check = now;
    }

    pub fn close_notify(&mut self) {
        self.secure.close(&mut self.out);
    }

    pub fn request_keyframe(&mut self, slot: usize) {
        let pli =
            PictureLossIndication { sender_ssrc: self.rtcp_ssrc, media_ssrc: self.slots[slot].spec.ssrc.0 };
        self.send_rtcp(vec![Box::new(pli)]);
    }

    pub fn nack(&mut self, slot: usize, lost: &[u16]) {
        const PER_PACKET: usize = 100;
        for lost in lost.chunks(PER_PACKET) {
            let nack = TransportLayerNack {
                sender_ssrc: self.rtcp_ssrc,
                media_ssrc: self.slots[slot].spec.ssrc.0,
                nacks: nack_pairs_from_sequence_numbers(lost),
            };
            self.send_rtcp(vec![Box::new(nack)]);
        }
    }

    pub fn send_rtcp(&mut self, packets: Vec<RtcpPacket>) {
        let compound = rtcp::packet::marshal(&packets).expect("the packets are well formed");
        self.send_rtcp_bytes(&compound);
    }

    /// Authentic, but not necessarily RTCP: at least a readable first header.
    pub fn send_rtcp_bytes(&mut self, compound: &[u8]) {
        self.out.extend(self.secure.seal_rtcp(compound));
    }

    /// Authentic, but not necessarily RTP. `header` names SSRC, sequence number and header length.
    pub fn send_rtp_nonsense(&mut self, packet: &[u8], header: &rtp::header::Header) {
        self.out.extend(self.secure.seal_nonsense(packet, header));
    }

    pub fn send_rtp(&mut self, packets: Vec<Vec<u8>>) {
        for packet in packets {
            self.out.extend(self.secure.seal_rtp(&packet));
        }
    }

    pub fn secure_mut(&mut self) -> (&mut Secure, &mut Vec<Vec<u8>>) {
        (&mut self.secure, &mut self.out)
    }

    pub fn source_mut(&mut self, kind: SourceKind) -> &mut Source {
        let source = self.sources.iter_mut().find(|source| source.plan.kind == kind);
        source.expect("the plan has this source")
    }

    pub fn source(&self, kind: SourceKind) -> &Source {
        self.sources.iter().find(|source| source.plan.kind == kind).expect("the plan has this source")
    }

    /// A check that the server should like; break a field before sending it.
    pub fn check(&mut self) -> Check {
        let mut transaction = [0; 12];
        self.random.fill(&mut transaction);
        Check::new(
            transaction,
            format!("{}:{}", self.remote.ice.ufrag, self.ufrag),
            self.remote.ice.pwd.clone(),
        )
    }

    pub fn is_connected(&self) -> bool {
        self.secure.phase() == Phase::Connected && self.secure.has_keys()
    }

    pub fn phase(&self) -> Phase {
        self.secure.phase()
    }

    pub fn srtp_profile(&self) -> Option<dimpl::SrtpProfile> {
        self.secure.profile
    }

    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    pub fn dialect(&self) -> &Dialect {
        &self.plan.dialect
    }

    fn on_stun(&mut self, now: Instant, datagram: &[u8]) {
        match stun::read_answer(datagram, &self.remote.ice.pwd) {
            Some((_, Answer::Success)) => {
                self.checks_answered += 1;
                if !self.dtls_started {
                    self.dtls_started = true;
                    self.secure.on_timeout(now, &mut self.out);
                }
            }
            Some((_, Answer::Error { code })) => self.refusals.push(code),
            // An answer under credentials from before a restart, or no answer at all.
            None if datagram.starts_with(&[1, 1]) => {}
            None => self.violations.push("STUN that is no answer: ICE-lite sends no checks".into()),
        }
    }

    fn on_rtp(&mut self, now: Instant, datagram: &[u8]) {
        let Some(plain) = self.secure.open_rtp(datagram) else {
            self.violations.push("RTP that is not authentic".into());
            return;
        };
        let Ok(packet) = Packet::unmarshal(&mut &plain[..]) else {
            self.violations.push("RTP that cannot be read".into());
            return;
        };
        let ids = self.plan.dialect.extensions;
        let negotiated =
            [ids.mid, ids.rid, ids.repaired_rid, ids.abs_send_time, ids.transport_cc, ids.audio_level];
        for extension in &packet.header.extensions {
            if !negotiated.contains(&Some(extension.id)) {
                self.violations.push(format!("header extension {} was not negotiated", extension.id));
            }
        }
        let number = packet.header.extensions.iter().find(|extension| Some(extension.id) == ids.transport_cc);
        let number = number.and_then(|number| <[u8; 2]>::try_from(&number.payload[..]).ok());
        if let Some(number) = number.filter(|_| self.plan.transport_feedback) {
            let us = now.saturating_duration_since(self.born).as_micros() as u64;
            self.feedback.on_packet(u16::from_be_bytes(number), us);
        }
        let ssrc = Ssrc(packet.header.ssrc);
        let slot =
            self.slots.iter_mut().find(|slot| slot.spec.ssrc == ssrc || slot.spec.rtx_ssrc == Some(ssrc));
        let Some(slot) = slot else {
            self.violations.push(format!("SSRC {} was not negotiated", ssrc.0));
            return;
        };
        let mid = packet.header.extensions.iter().find(|extension| Some(extension.id) == ids.mid);
        if mid.is_some_and(|mid| *mid.payload != *slot.spec.mid.as_bytes()) {
            self.violations.push("MID of another m-line".into());
        }
        self.violations.extend(slot.on_rtp(now, packet).err());
    }

    fn on_rtcp(&mut self, now: Instant, datagram: &[u8]) {
        let Some(plain) = self.secure.open_rtcp(datagram) else {
            self.violations.push("RTCP that is not authentic".into());
            return;
        };
        let Ok(packets) = rtcp::packet::unmarshal(&mut &plain[..]) else {
            self.violations.push("RTCP that cannot be read".into());
            return;
        };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(report) = packet.downcast_ref::<SenderReport>() {
                self.on_sender_report(now, report);
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                self.on_reception_reports(&report.reports);
            } else if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                self.on_keyframe_request(pli.media_ssrc);
            } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
                fir.fir.iter().for_each(|entry| self.on_keyframe_request(entry.ssrc));
            } else if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                self.on_nack(now, nack);
            } else if packet.downcast_ref::<TransportLayerCc>().is_some() {
                self.transport_feedbacks += 1;
            }
        }
    }

    fn on_sender_report(&mut self, now: Instant, report: &SenderReport) {
        self.on_reception_reports(&report.reports);
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.spec.ssrc.0 == report.ssrc) else {
            self.violations.push("sender report of an SSRC that is no slot".into());
            return;
        };
        slot.reports.push(Report {
            at: now,
            ntp: report.ntp_time,
            rtp_time: report.rtp_time,
            packets: report.packet_count,
            octets: report.octet_count,
        });
    }

    fn on_reception_reports(&mut self, reports: &[ReceptionReport]) {
        for layer in self.sources.iter_mut().flat_map(|source| &mut source.layers) {
            reports.iter().for_each(|report| layer.on_report(report.ssrc));
        }
    }

    fn on_keyframe_request(&mut self, ssrc: u32) {
        match self.sources.iter_mut().find_map(|source| source.layer_of(ssrc)) {
            Some(layer) => layer.on_keyframe_request(),
            None => self.violations.push("keyframe request for an SSRC that is not ours".into()),
        }
    }

    fn on_nack(&mut self, now: Instant, nack: &TransportLayerNack) {
        let lost: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        let mut resent = Vec::new();
        for source in &mut self.sources {
            source.on_nack(now, nack.media_ssrc, &lost, &mut self.sender, &mut resent);
        }
        self.send_rtp(resent);
    }

    fn send_nacks(&mut self, now: Instant) {
        if !self.plan.nacks {
            return;
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].spec.rtx_ssrc.is_none() {
                continue;
            }
            let lost = self.slots[slot].nacks(now);
            if !lost.is_empty() {
                self.nack(slot, &lost);
            }
        }
    }

    fn send_reports(&mut self, now: Instant) {
        let mut packets: Vec<RtcpPacket> = Vec::new();
        for source in &self.sources {
            let reports = source.sender_reports(now, &self.sender);
            packets.extend(reports.into_iter().map(|report| Box::new(report) as RtcpPacket));
        }
        let reports = self.slots.iter().filter_map(|slot| {
            let last = slot.reports.last();
            Some(ReceptionReport {
                ssrc: slot.spec.ssrc.0,
                last_sequence_number: (slot.highest_seq()? - (1 << 16)) as u32,
                last_sender_report: last.map_or(0, |report| (report.ntp >> 16) as u32),
                delay: last
                    .map_or(0, |report| (now.duration_since(report.at).as_secs_f64() * 65_536.0) as u32),
                ..Default::default()
            })
        });
        // The count of blocks has five bits (RFC 3550 §6.4.2).
        let reports = reports.take(31).collect();
        packets.push(Box::new(ReceiverReport { ssrc: self.rtcp_ssrc, reports, ..Default::default() }));
        let cname = SourceDescriptionItem {
            sdes_type: SdesType::SdesCname,
            text: format!("cname-{}", self.seat.participant.0).into(),
        };
        let chunk = SourceDescriptionChunk { source: self.rtcp_ssrc, items: vec![cname] };
        packets.push(Box::new(SourceDescription { chunks: vec![chunk] }));
        self.send_rtcp(packets);
    }
}
