//! DTLS-SRTP, always as the server (RFC 5764): a handshake in, SRTP keys out, close_notify noticed.
//!
//! Keys are handed out only after the handshake has finished and the certificate of the peer is the one that signalling
//! announced. The engine is dimpl; what it leaves to its user is done here. Should it panic, that is the end of this one
//! association: everybody else is served.

mod hello;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest;
use dimpl::{Dtls, DtlsCertificate, SecurityError, SrtpProfile};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use self::hello::Hello;
use super::srtp::{Inbound, Outbound, Profile};
use super::transport::Gone;
use crate::counters::Dropped;

/// This process's certificate: made at start, never written down.
#[derive(Clone)]
pub struct Certificate {
    certificate: DtlsCertificate,
    fingerprint: [u8; 32],
    /// dimpl wants it shared. It is never written after it was made.
    config: Arc<dimpl::Config>,
}

impl Certificate {
    /// A self-signed ECDSA certificate on P-256, whose subject says nothing about the machine.
    pub fn generate() -> Result<Certificate, CertificateError> {
        let key = rcgen::KeyPair::generate().map_err(|_| CertificateError)?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key).map_err(|_| CertificateError)?.der().to_vec();
        let config = dimpl::Config::builder()
            .mtu(MTU)
            .max_queue_rx(QUEUE_MAX)
            // A DTLS datagram gets here only from a path that ICE has authenticated: the address is no forgery.
            .use_server_cookie(false)
            .build()
            .map_err(|_| CertificateError)?;
        Ok(Certificate {
            fingerprint: sha256(&certificate),
            certificate: DtlsCertificate { certificate, private_key: key.serialize_der() },
            config: Arc::new(config),
        })
    }

    /// SHA-256 of the certificate, for `a=fingerprint` (RFC 8122 §5).
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        self.certificate.private_key.zeroize();
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(redacted)")
    }
}

/// No certificate could be made; the system's source of randomness is the only thing that can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CertificateError;

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot make a DTLS certificate: the system gives no random numbers")
    }
}

impl std::error::Error for CertificateError {}

/// One participant's DTLS association, from the first ClientHello to close_notify.
pub struct Handshake {
    state: State,
    certificate: Certificate,
    /// SHA-256 of the peer's certificate, from signalling.
    fingerprint: [u8; 32],
    is_peer_verified: bool,
    /// The engine is content, and its keys await the verdict on the certificate.
    is_finished: bool,
    keys: Option<Keys>,
    /// The keys have been handed out.
    is_connected: bool,
    timeout: Option<Instant>,
    /// Application data came, which nobody negotiated.
    refused: u64,
}

enum State {
    AwaitHello(Hello),
    Running(Box<Dtls>),
    /// Over, or broken after the keys were handed out: media goes on without DTLS and consent watches it.
    Silent,
    Failed(Gone),
}

/// What [`Handshake::poll`] has for its caller.
#[derive(Debug)]
pub enum Output {
    /// `out[..length]` is a datagram for the peer.
    Datagram(usize),
    /// Comes once, after the peer's certificate was verified.
    Connected(Keys),
    /// Comes at most once; nothing comes after it.
    Closed(Gone),
    Idle,
}

impl Handshake {
    pub fn new(certificate: &Certificate, fingerprint: [u8; 32]) -> Handshake {
        Handshake {
            state: State::AwaitHello(Hello::default()),
            certificate: certificate.clone(),
            fingerprint,
            is_peer_verified: false,
            is_finished: false,
            keys: None,
            is_connected: false,
            timeout: None,
            refused: 0,
        }
    }

    /// To be followed by [`Handshake::poll`] until that is idle.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Dropped> {
        if datagram.len() > DATAGRAM_MAX {
            return Err(Dropped::DtlsOverflow);
        }
        match &mut self.state {
            State::AwaitHello(hello) => {
                if hello.push(datagram)? {
                    let hello = std::mem::take(hello);
                    let engine = guarded(|| start(&self.certificate, &hello, now));
                    self.state = engine.map_or(State::Failed(Gone::HandshakeFailed), |engine| {
                        State::Running(Box::new(engine))
                    });
                    self.drive(|engine| {
                        engine.handle_timeout(now)?;
                        hello.datagrams().try_for_each(|datagram| engine.handle_packet(datagram))
                    });
                }
            }
            State::Running(_) => self.drive(|engine| {
                engine.handle_timeout(now)?;
                engine.handle_packet(datagram)
            }),
            State::Silent | State::Failed(_) => return Err(Dropped::DtlsFailed),
        }
        Ok(())
    }

    /// True when it was time, and [`Handshake::poll`] has to follow until that is idle.
    pub fn on_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.timeout.is_some_and(|timeout| timeout <= now);
        if is_due {
            self.drive(|engine| engine.handle_timeout(now));
        }
        is_due
    }

    /// `out` must have [`Handshake::SCRATCH_LEN`] bytes.
    pub fn poll(&mut self, out: &mut [u8]) -> Output {
        debug_assert!(out.len() >= Handshake::SCRATCH_LEN);
        while let State::Running(engine) = &mut self.state {
            let room = &mut *out;
            let Some(output) = guarded(move || engine.poll_output(room)) else {
                self.end(false);
                break;
            };
            match output {
                dimpl::Output::Packet(datagram) => return Output::Datagram(datagram.len()),
                dimpl::Output::Timeout(at) => {
                    self.timeout = Some(at);
                    break;
                }
                dimpl::Output::PeerCert(der) => {
                    self.is_peer_verified = bool::from(sha256(der).ct_eq(&self.fingerprint));
                    if !self.is_peer_verified {
                        return self.close(Gone::FingerprintMismatch);
                    }
                }
                dimpl::Output::KeyingMaterial(material, profile) => self.keys = Keys::new(&material, profile),
                dimpl::Output::Connected => self.is_finished = true,
                dimpl::Output::CloseNotify => return self.close(Gone::CloseNotify),
                dimpl::Output::ApplicationData(_) => self.refused += 1,
                // There is room for everything, and nobody waits for what else dimpl may learn to say.
                dimpl::Output::BufferTooSmall { .. } | _ => return self.close(Gone::HandshakeFailed),
            }
        }
        if let State::Failed(reason) = self.state {
            return self.close(reason);
        }
        // The engine's order of certificate, keys and end does not matter: all three must be there.
        if !self.is_finished {
            return Output::Idle;
        }
        self.is_finished = false;
        match self.keys.take() {
            _ if !self.is_peer_verified => self.close(Gone::FingerprintMismatch),
            Some(keys) => {
                self.is_connected = true;
                Output::Connected(keys)
            }
            // No SRTP profile in common: the association is of no use (RFC 5764 §4.1.2).
            None => self.close(Gone::HandshakeFailed),
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// Records of application data that came since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// The largest that dimpl can hand out is the peer's certificate, for which it insists on room: it is put together
    /// from at most `QUEUE_MAX` datagrams.
    pub const SCRATCH_LEN: usize = QUEUE_MAX * DATAGRAM_MAX;

    /// Every error of the engine is its end.
    fn drive(&mut self, step: impl FnOnce(&mut Dtls) -> Result<(), dimpl::Error>) {
        let State::Running(engine) = &mut self.state else { return };
        match guarded(|| step(engine)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.end(matches!(error, dimpl::Error::SecurityError(SecurityError::FatalAlert { .. })));
            }
            None => self.end(false),
        }
    }

    fn end(&mut self, by_alert: bool) {
        self.timeout = None;
        let next = match (self.is_connected, by_alert) {
            (false, _) => State::Failed(Gone::HandshakeFailed),
            // Authentic by then: the engine ignores plain alerts after the handshake.
            (true, true) => State::Failed(Gone::CloseNotify),
            (true, false) => State::Silent,
        };
        let ended = std::mem::replace(&mut self.state, next);
        // An engine that panicked may do so again on its way out.
        guarded(|| drop(ended));
    }

    fn close(&mut self, reason: Gone) -> Output {
        self.state = State::Silent;
        self.keys = None;
        self.is_finished = false;
        self.timeout = None;
        Output::Closed(reason)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake(redacted)")
    }
}

/// `None` when `work` panicked. What it worked on is not to be used again.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// dimpl's DTLS 1.3 server takes the client's first SRTP profile, its DTLS 1.2 server prefers AES-GCM. Chromium puts
/// AES-CM first (seen in 156), which costs several times as much per packet: it gets DTLS 1.2.
fn start(certificate: &Certificate, hello: &Hello, now: Instant) -> Dtls {
    let offer = hello.offer();
    let (config, own) = (certificate.config.clone(), certificate.certificate.clone());
    let would_lose_aead = offer.dtls_12 && offer.aead && offer.cm_first;
    if offer.dtls_13 && !would_lose_aead {
        return Dtls::new_13(config, own, now);
    }
    Dtls::new_12(config, own, now)
}

/// Master keys of both directions (RFC 5764 §4.2); wiped when dropped, and boxed so that no queue keeps a copy.
pub struct Keys {
    profile: Profile,
    material: Box<Zeroizing<[u8; Keys::LEN_MAX]>>,
}

impl Keys {
    const LEN_MAX: usize = 2 * (32 + 12);

    /// What the client sends us.
    pub fn inbound(&self, ssrcs_max: usize) -> Option<Inbound> {
        let (key, salt) = self.parts(0);
        Inbound::new(self.profile, key, salt, ssrcs_max)
    }

    /// What we send to the client.
    pub fn outbound(&self) -> Option<Outbound> {
        let (key, salt) = self.parts(1);
        Outbound::new(self.profile, key, salt)
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn new(material: &[u8], profile: SrtpProfile) -> Option<Keys> {
        let profile = match profile {
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
            _ => return None,
        };
        if material.len() != 2 * (profile.key_len() + profile.salt_len()) {
            return None;
        }
        let mut keys = Keys { profile, material: Box::new(Zeroizing::new([0; Keys::LEN_MAX])) };
        keys.material[..material.len()].copy_from_slice(material);
        Some(keys)
    }

    /// Client key, server key, client salt, server salt lie in this order; `side` 0 is the client.
    pub(super) fn parts(&self, side: usize) -> (&[u8], &[u8]) {
        let (key_len, salt_len) = (self.profile.key_len(), self.profile.salt_len());
        let key = &self.material[side * key_len..][..key_len];
        let salt = &self.material[2 * key_len + side * salt_len..][..salt_len];
        (key, salt)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Largest DTLS datagram we send: fits every path that WebRTC works on.
const MTU: usize = 1200;
/// Datagrams of an unfinished message that the engine keeps: a browser's certificate comes in one.
const QUEUE_MAX: usize = 20;
/// Largest DTLS datagram we read; browsers stay below 1500.
const DATAGRAM_MAX: usize = 2048;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sfu) use super::hello::tests::fragmented;

    #[test]
    fn client_that_prefers_aes_cm_is_served_with_dtls_12() {
        let certificate = Certificate::generate().unwrap();
        for (profiles, version) in [
            (&[1, 8, 7][..], dimpl::ProtocolVersion::DTLS1_2),
            (&[7, 8, 1, 2], dimpl::ProtocolVersion::DTLS1_3),
        ] {
            let mut hello = Hello::default();
            assert_eq!(hello.push(&hello::tests::browser_hello(profiles)), Ok(true));
            let engine = start(&certificate, &hello, Instant::now());
            assert_eq!(engine.protocol_version(), Some(version));
        }
    }

    #[test]
    fn certificates_differ_and_their_fingerprint_is_that_of_the_der() {
        let (first, second) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint(), sha256(&first.certificate.certificate));
    }

    #[test]
    fn a_panic_of_the_engine_ends_this_handshake_and_nothing_else() {
        let certificate = Certificate::generate().unwrap();
        let mut out = vec![0; Handshake::SCRATCH_LEN];
        for is_connected in [false, true] {
            let mut handshake = Handshake::new(&certificate, [0; 32]);
            let hello = hello::tests::browser_hello(&[7, 8, 1]);
            let engine = start(&certificate, &Hello::default(), Instant::now());
            handshake.state = State::Running(Box::new(engine));
            handshake.is_connected = is_connected;
            handshake.drive(|_| panic!("what a hostile flight may provoke"));
            let polled = handshake.poll(&mut out);
            match is_connected {
                false => assert!(matches!(polled, Output::Closed(Gone::HandshakeFailed))),
                true => assert!(matches!(polled, Output::Idle), "media goes on without DTLS"),
            }
            assert_eq!(handshake.next_timeout(), None);
            assert_eq!(handshake.on_datagram(Instant::now(), &hello), Err(Dropped::DtlsFailed));
        }
    }

    #[test]
    fn oversized_datagram_is_not_read() {
        let mut handshake = Handshake::new(&Certificate::generate().unwrap(), [0; 32]);
        let refused = handshake.on_datagram(Instant::now(), &[22; DATAGRAM_MAX + 1]);
        assert_eq!(refused, Err(Dropped::DtlsOverflow));
    }
}
