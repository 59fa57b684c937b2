//! One participant's transport: ICE finds the path, DTLS makes the keys, SRTP uses them.
//!
//! ```text
//! on_stun ─> ice ──────── path ────────┐
//! on_dtls ─> doorman ─> on_word ─> srtp v
//! open_rtp ─────────────────┘      reserve ─> seal ─> commit
//! ```
//!
//! What comes from a path without an authentic check is dropped here, whatever it is. Nothing leaves but through
//! [`Transport::reserve`], which knows the path and its cap.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::doorman::Word;
use super::dtls::Keys;
use super::ice::{Checked, Ice, IceCredentials};
use super::participant::Intake;
use super::srtp::{Inbound, Outbound, Profile};
use crate::config::Limits;
use crate::counters::{Counters, Dropped};
use crate::egress::{Egress, Train};
use crate::id::{ExtSeq, Path, Ssrc};
use crate::wire::rtp::Header;
use crate::wire::stun::{self, Message};

/// What signalling agreed on for one participant's transport.
#[derive(Clone)]
pub struct TransportSpec {
    pub local: IceCredentials,
    /// A lite agent sends no checks, so nothing is addressed to it.
    pub remote_ufrag: String,
    /// SHA-256 of the participant's certificate (RFC 8122).
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for TransportSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportSpec(redacted)")
    }
}

/// Why a transport ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    ConsentExpired,
    CloseNotify,
    HandshakeFailed,
    FingerprintMismatch,
}

/// What the worker has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportEvent {
    Connected {
        profile: Profile,
    },
    /// The path is not ours any more: a packet from there belongs to nobody until the next check.
    PathForgotten(Path),
    /// No check with this ufrag will be answered again.
    UfragRetired(Ufrag),
    /// The last event; everything is refused from here on.
    Closed(Gone),
}

/// An ICE ufrag that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Ufrag(pub String);

impl fmt::Debug for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ufrag(redacted)")
    }
}

pub struct Transport {
    ice: Ice,
    /// SHA-256 of the participant's certificate.
    fingerprint: [u8; 32],
    /// DTLS that goes to the doorman.
    knocks: Intake,
    knocks_per_second_max: u32,
    /// Large, and apart: a room that grows moves its participants.
    srtp: Option<Box<Srtp>>,
    /// For the worker's egress; everything to this participant goes through it.
    pub train: Train,
    events: VecDeque<TransportEvent>,
    /// ICE and DTLS must be done by then.
    setup_by: Instant,
    ssrcs_max: usize,
    is_closed: bool,
}

struct Srtp {
    profile: Profile,
    inbound: Inbound,
    outbound: Outbound,
}

impl Transport {
    pub fn new(spec: TransportSpec, limits: &Limits, now: Instant) -> Transport {
        Transport {
            ice: Ice::new(spec.local, limits.consent),
            fingerprint: spec.fingerprint,
            knocks: Intake::default(),
            knocks_per_second_max: limits.dtls_per_second_max,
            srtp: None,
            train: Train::default(),
            events: VecDeque::new(),
            setup_by: now + limits.setup,
            ssrcs_max: limits.ssrcs_max,
            is_closed: false,
        }
    }

    /// `len` is that of the datagram. True when the path has been authenticated: what comes from its address is this
    /// participant's from now on.
    pub fn on_stun(
        &mut self,
        now: Instant,
        path: &Path,
        message: &Message<'_>,
        len: usize,
        egress: &mut Egress,
        counters: &mut Counters,
    ) -> bool {
        if self.is_closed {
            counters.drop(Dropped::UnknownUfrag);
            return false;
        }
        let Checked { refusal, forgotten, retired } = match self.ice.on_check(now, path, message, len) {
            Ok(checked) => checked,
            Err(reason) => {
                counters.drop(reason);
                return false;
            }
        };
        self.events.extend(forgotten.map(TransportEvent::PathForgotten));
        self.events.extend(retired.map(|ufrag| TransportEvent::UfragRetired(Ufrag(ufrag))));

        let mut out = [0; stun::WRITTEN_MAX];
        let key = self.ice.key();
        let written = match refusal {
            None => stun::write_binding_success(message.transaction, path.remote, key, &mut out),
            Some(refusal) => {
                counters.drop(Dropped::StunUnsupported);
                stun::write_binding_error(message.transaction, refusal, &message.unknown, key, &mut out)
            }
        };
        if let Some(len) = written {
            self.send(path, &out[..len], egress, counters);
        }
        true
    }

    /// The certificate's fingerprint for the doorman, whose the datagram is from here on.
    pub(crate) fn on_dtls(&mut self, now: Instant, path: &Path, len: usize) -> Result<[u8; 32], Dropped> {
        if self.is_closed || !self.ice.received(path.remote, len) {
            return Err(Dropped::DtlsBeforeIce);
        }
        self.knocks.admit(now, 1, self.knocks_per_second_max)?;
        self.ice.prefer(path);
        Ok(self.fingerprint)
    }

    /// What the doorman says to this participant's DTLS, or about it.
    pub(crate) fn on_word(&mut self, now: Instant, word: Word, egress: &mut Egress, counters: &mut Counters) {
        if self.is_closed {
            return;
        }
        match word {
            Word::Datagram(bytes) => {
                if let Some(path) = self.ice.selected().copied() {
                    self.send(&path, &bytes, egress, counters);
                }
            }
            Word::Connected { keys, from } => {
                let Some(srtp) = Srtp::new(&keys, self.ssrcs_max) else {
                    return self.close(Gone::HandshakeFailed);
                };
                if let Some(path) = from {
                    self.ice.prove(now, path.remote);
                }
                self.events.push_back(TransportEvent::Connected { profile: srtp.profile });
                self.srtp = Some(Box::new(srtp));
            }
            Word::Closed(reason) => self.close(reason),
            Word::Dropped(reason) => counters.drop(reason),
        }
    }

    /// Decrypts in place; see [`Inbound::open_rtp`].
    pub fn open_rtp(
        &mut self,
        now: Instant,
        path: &Path,
        packet: &mut [u8],
        header: &Header,
        announced: bool,
    ) -> Result<(usize, ExtSeq), Dropped> {
        let inbound = self.inbound(path, packet.len())?;
        let opened = inbound.open_rtp(packet, header, announced)?;
        self.ice.prove(now, path.remote);
        Ok(opened)
    }

    /// Decrypts in place; see [`Inbound::open_rtcp`].
    pub fn open_rtcp(&mut self, now: Instant, path: &Path, packet: &mut [u8]) -> Result<usize, Dropped> {
        let inbound = self.inbound(path, packet.len())?;
        let len = inbound.open_rtcp(packet)?;
        self.ice.prove(now, path.remote);
        Ok(len)
    }

    /// Room for one packet to the participant, to be sealed and committed.
    pub fn reserve<'e>(&mut self, egress: &'e mut Egress, len: usize) -> Result<&'e mut [u8], Dropped> {
        let Some(path) = self.ice.selected().copied() else { return Err(Dropped::AmplificationCap) };
        self.ice.spend(path.remote, len)?;
        egress.reserve(&mut self.train, &path, len).ok_or(Dropped::EgressFull)
    }

    /// See [`Egress::open_segment`].
    pub fn open_segment(&self, egress: &Egress) -> Option<usize> {
        egress.open_segment(&self.train, self.ice.selected()?)
    }

    /// The packet last reserved will leave.
    pub fn commit(&mut self, egress: &mut Egress) {
        egress.commit(&mut self.train);
    }

    /// See [`Outbound::seal_rtp`].
    pub fn seal_rtp(
        &mut self,
        ext_seq: ExtSeq,
        ssrc: Ssrc,
        header_len: usize,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<(), Dropped> {
        self.outbound()?.seal_rtp(ext_seq, ssrc, header_len, payload, out)
    }

    /// See [`Outbound::seal_rtp_in_place`].
    pub fn seal_rtp_in_place(
        &mut self,
        ext_seq: ExtSeq,
        ssrc: Ssrc,
        header_len: usize,
        out: &mut [u8],
    ) -> Result<(), Dropped> {
        self.outbound()?.seal_rtp_in_place(ext_seq, ssrc, header_len, out)
    }

    /// See [`Outbound::seal_rtcp`].
    pub fn seal_rtcp(&mut self, packet_len: usize, out: &mut [u8]) -> Result<usize, Dropped> {
        self.outbound()?.seal_rtcp(packet_len, out)
    }

    /// To be called at [`Transport::next_timeout`]; earlier does no harm.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.is_closed {
            return;
        }
        while let Some(path) = self.ice.expire(now) {
            self.events.push_back(TransportEvent::PathForgotten(path));
        }
        if self.ice.has_lost_consent(now) {
            return self.close(Gone::ConsentExpired);
        }
        if self.srtp.is_none() && self.setup_by <= now {
            let reason = if self.ice.was_checked() { Gone::HandshakeFailed } else { Gone::ConsentExpired };
            self.close(reason);
        }
    }

    /// The old credentials serve until the first check with these.
    pub fn restart_ice(&mut self, local: IceCredentials) {
        let superseded = self.ice.restart(local);
        self.events.extend(superseded.map(|ufrag| TransportEvent::UfragRetired(Ufrag(ufrag))));
    }

    /// Something authentic came from there a moment ago.
    pub fn holds(&self, now: Instant, remote: SocketAddr) -> bool {
        self.ice.holds(now, remote)
    }

    /// The address has become another participant's. Makes no event.
    pub fn forget_path(&mut self, remote: &SocketAddr) {
        self.ice.forget(*remote);
    }

    /// To be asked after every call until there is none.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        let setup = self.srtp.is_none().then_some(self.setup_by);
        [setup, self.ice.next_timeout()].into_iter().flatten().min()
    }

    /// Where media goes: what the client nominated, and before that where its handshake came from.
    pub fn path(&self) -> Option<&Path> {
        self.ice.selected()
    }

    /// How often the client has nominated another path.
    pub(crate) fn moves(&self) -> u32 {
        self.ice.moves()
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// Connected by decree, so that tests of what is above need no handshake.
    #[cfg(test)]
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        path: Path,
        profile: Profile,
        inbound: Inbound,
        outbound: Outbound,
    ) {
        self.ice.trust(now, path);
        self.srtp = Some(Box::new(Srtp { profile, inbound, outbound }));
    }

    /// Known once connected.
    pub fn profile(&self) -> Option<Profile> {
        self.srtp.as_ref().map(|srtp| srtp.profile)
    }

    /// The ufrags that a check may be addressed to.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.ufrags()
    }

    /// The addresses that are this participant's, for the worker to unmap when it drops the transport.
    pub fn remotes(&self) -> impl Iterator<Item = SocketAddr> {
        self.ice.remotes()
    }

    /// A datagram of STUN or DTLS; losing one is the protocol's business.
    fn send(&mut self, path: &Path, datagram: &[u8], egress: &mut Egress, counters: &mut Counters) {
        if let Err(reason) = self.ice.spend(path.remote, datagram.len()) {
            counters.drop(reason);
            return;
        }
        let Some(slot) = egress.reserve(&mut self.train, path, datagram.len()) else {
            counters.drop(Dropped::EgressFull);
            return;
        };
        slot.copy_from_slice(datagram);
        egress.commit(&mut self.train);
    }

    fn close(&mut self, reason: Gone) {
        self.is_closed = true;
        self.srtp = None;
        self.events.push_back(TransportEvent::Closed(reason));
    }

    fn inbound(&mut self, path: &Path, len: usize) -> Result<&mut Inbound, Dropped> {
        if !self.ice.received(path.remote, len) {
            return Err(Dropped::UnknownAddress);
        }
        self.srtp.as_mut().map(|srtp| &mut srtp.inbound).ok_or(Dropped::BeforeDtls)
    }

    fn outbound(&mut self) -> Result<&mut Outbound, Dropped> {
        self.srtp.as_mut().map(|srtp| &mut srtp.outbound).ok_or(Dropped::BeforeDtls)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport(redacted)")
    }
}

impl Srtp {
    fn new(keys: &Keys, ssrcs_max: usize) -> Option<Srtp> {
        Some(Srtp { profile: keys.profile(), inbound: keys.inbound(ssrcs_max)?, outbound: keys.outbound()? })
    }
}

#[cfg(test)]
mod tests;
