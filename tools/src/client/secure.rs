//! DTLS by `dimpl` and SRTP by `webrtc-srtp`: a client's side of the keys, none of it the server's own code.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest;
use aws_lc_rs::iv::FixedLength;
use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

/// A self-signed certificate and its SHA-256.
#[derive(Clone, Debug)]
pub struct Certificate {
    dtls: DtlsCertificate,
    pub fingerprint: [u8; 32],
}

impl Certificate {
    pub fn generate() -> Certificate {
        let key = rcgen::KeyPair::generate().expect("P-256 key generation has no failing input");
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&key))
            .expect("parameters without names are valid");
        let der = certificate.der().to_vec();
        let fingerprint = sha256(&der);
        Certificate {
            dtls: DtlsCertificate { certificate: der, private_key: key.serialize_der() },
            fingerprint,
        }
    }
}

/// Which DTLS a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsVersion {
    V12,
    V13,
    /// Offers both.
    Auto,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Handshake,
    Connected,
    /// The peer said close_notify.
    Closed,
    /// The peer's certificate is not the signalled one, or the handshake broke.
    Failed,
}

/// One DTLS association and the SRTP contexts that come out of it.
pub struct Secure {
    dtls: Dtls,
    active: bool,
    peer_fingerprint: [u8; 32],
    phase: Phase,
    timer: Option<Instant>,
    keys: Option<Keys>,
    pub profile: Option<SrtpProfile>,
}

struct Keys {
    /// `None` after [`Secure::take_rtp_sender`].
    tx_rtp: Option<Context>,
    tx_rtcp: Context,
    rx: Context,
    secrets: Vec<Vec<u8>>,
}

impl Secure {
    pub fn new(
        certificate: &Certificate,
        peer_fingerprint: [u8; 32],
        version: DtlsVersion,
        active: bool,
        now: Instant,
    ) -> Secure {
        let config = Arc::new(dimpl::Config::default());
        let certificate = certificate.dtls.clone();
        let mut dtls = match version {
            DtlsVersion::V12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::V13 => Dtls::new_13(config, certificate, now),
            DtlsVersion::Auto => Dtls::new_auto(config, certificate, now),
        };
        dtls.set_active(active);
        Secure {
            dtls,
            active,
            peer_fingerprint,
            phase: Phase::Handshake,
            timer: None,
            keys: None,
            profile: None,
        }
    }

    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        if self.dtls.handle_timeout(now).is_err() {
            self.fail();
        }
        self.drain(out);
    }

    pub fn on_dtls(&mut self, now: Instant, datagram: &[u8], out: &mut Vec<Vec<u8>>) {
        if self.dtls.handle_timeout(now).is_err() || self.dtls.handle_packet(datagram).is_err() {
            self.fail();
        }
        self.drain(out);
    }

    pub fn close(&mut self, out: &mut Vec<Vec<u8>>) {
        if self.dtls.close().is_err() {
            self.fail();
        }
        self.drain(out);
        self.phase = Phase::Closed;
    }

    /// An encrypted record of application data: what a data channel would send.
    pub fn application_data(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        self.dtls.send_application_data(bytes).expect("the association is connected");
        self.drain(out);
    }

    /// The context that seals RTP, to be used on another thread. RTCP has an index of its own (RFC 3711 §3.2.1) and
    /// stays here.
    pub fn take_rtp_sender(&mut self) -> Option<Context> {
        self.keys.as_mut()?.tx_rtp.take()
    }

    pub fn seal_rtp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.keys.as_mut()?.tx_rtp.as_mut()?.encrypt_rtp(packet).ok().map(|bytes| bytes.to_vec())
    }

    /// Seals bytes that `rtp` could not write. `header` tells only their SSRC, sequence number and header length.
    pub fn seal_nonsense(&mut self, packet: &[u8], header: &rtp::header::Header) -> Option<Vec<u8>> {
        self.keys
            .as_mut()?
            .tx_rtp
            .as_mut()?
            .encrypt_rtp_with_header(packet, header)
            .ok()
            .map(|bytes| bytes.to_vec())
    }

    pub fn seal_rtcp(&mut self, compound: &[u8]) -> Option<Vec<u8>> {
        self.keys.as_mut()?.tx_rtcp.encrypt_rtcp(compound).ok().map(|bytes| bytes.to_vec())
    }

    /// `None`: no keys yet, or not authentic. `webrtc-srtp` panics on shapes that no server of ours sends, so those
    /// are refused before it sees them.
    pub fn open_rtp(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if !is_readable_rtp(datagram) {
            return None;
        }
        self.keys.as_mut()?.rx.decrypt_rtp(datagram).ok().map(|bytes| bytes.to_vec())
    }

    pub fn open_rtcp(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        const LEN_MIN: usize = 8 + 16 + 4;
        if datagram.len() < LEN_MIN {
            return None;
        }
        self.keys.as_mut()?.rx.decrypt_rtcp(datagram).ok().map(|bytes| bytes.to_vec())
    }

    /// Everything that nobody else may have: master keys, and the session keys and salts of both ways (RFC 3711 §4.3).
    pub fn secrets(&self) -> &[Vec<u8>] {
        self.keys.as_ref().map_or(&[], |keys| &keys.secrets)
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.timer
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    fn fail(&mut self) {
        self.phase = Phase::Failed;
        self.timer = None;
        self.keys = None;
    }

    fn drain(&mut self, out: &mut Vec<Vec<u8>>) {
        let mut buffer = vec![0; 2048];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => out.push(bytes.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.timer = (self.phase != Phase::Failed).then_some(at);
                    return;
                }
                Output::Connected if self.phase == Phase::Handshake => self.phase = Phase::Connected,
                Output::PeerCert(der) if sha256(der) != self.peer_fingerprint => return self.fail(),
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some(Keys::split(&material, profile, self.active));
                    self.profile = Some(profile);
                }
                Output::CloseNotify => self.phase = Phase::Closed,
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Keys {
    /// client key, server key, client salt, server salt (RFC 5764 §4.2).
    fn split(material: &[u8], profile: SrtpProfile, active: bool) -> Keys {
        let profile = match profile {
            SrtpProfile::AEAD_AES_256_GCM => ProtectionProfile::AeadAes256Gcm,
            SrtpProfile::AEAD_AES_128_GCM => ProtectionProfile::AeadAes128Gcm,
            _ => ProtectionProfile::Aes128CmHmacSha1_80,
        };
        let (keys, salts) = material.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let context = |key: &[u8], salt: &[u8]| {
            Context::new(key, &salt[..profile.salt_len()], profile, None, None)
                .expect("the material is as long as the profile says")
        };
        let client = || context(client_key, client_salt);
        let server = || context(server_key, server_salt);
        let mut secrets = vec![client_key.to_vec(), server_key.to_vec()];
        for (key, salt) in [(client_key, client_salt), (server_key, server_salt)] {
            let session = |label, len| session_secret(key, &salt[..profile.salt_len()], label, len);
            for label in [0, 3] {
                secrets.push(session(label, profile.key_len()));
                secrets.push(session(label + 2, profile.salt_len()));
            }
        }
        let (tx_rtp, tx_rtcp, rx) =
            if active { (client(), client(), server()) } else { (server(), server(), client()) };
        Keys { tx_rtp: Some(tx_rtp), tx_rtcp, rx, secrets }
    }
}

/// The pseudo-random function of SRTP (RFC 3711 §4.3.3).
fn session_secret(master_key: &[u8], master_salt: &[u8], label: u8, len: usize) -> Vec<u8> {
    let algorithm = if master_key.len() == 16 { &AES_128 } else { &AES_256 };
    let mut iv = [0; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[7] ^= label;
    let mut out = vec![0; len];
    UnboundCipherKey::new(algorithm, master_key)
        .and_then(EncryptingKey::ctr)
        .and_then(|key| key.less_safe_encrypt(&mut out, EncryptionContext::Iv128(FixedLength::from(&iv))))
        .expect("the key is as long as the algorithm says");
    out
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// The header and its extensions end inside the datagram.
fn is_readable_rtp(datagram: &[u8]) -> bool {
    if datagram.len() < 12 + 16 {
        return false;
    }
    let mut at = 12 + 4 * usize::from(datagram[0] & 0x0F);
    if datagram[0] & 0x10 == 0 {
        return at <= datagram.len();
    }
    let Some(head) = datagram.get(at..at + 4) else { return false };
    let one_byte = head[..2] == [0xBE, 0xDE];
    let end = at + 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
    if end > datagram.len() {
        return false;
    }
    at += 4;
    while at < end {
        let len = match (datagram[at], one_byte) {
            (0, _) => 1,
            (byte, true) => 2 + usize::from(byte & 0x0F),
            (_, false) => 2 + usize::from(*datagram.get(at + 1).unwrap_or(&255)),
        };
        at += len;
    }
    at == end
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use webrtc_util::marshal::Marshal;

    use super::*;

    fn connected(version: DtlsVersion) -> (Secure, Secure) {
        let mut now = Instant::now();
        let (a, b) = (Certificate::generate(), Certificate::generate());
        let mut client = Secure::new(&a, b.fingerprint, version, true, now);
        let mut server = Secure::new(&b, a.fingerprint, version, false, now);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        client.on_timeout(now, &mut to_server);
        server.on_timeout(now, &mut to_client);
        for _ in 0..20 {
            now += Duration::from_millis(10);
            for datagram in std::mem::take(&mut to_server) {
                server.on_dtls(now, &datagram, &mut to_client);
            }
            for datagram in std::mem::take(&mut to_client) {
                client.on_dtls(now, &datagram, &mut to_server);
            }
        }
        (client, server)
    }

    fn packet() -> Vec<u8> {
        let header = rtp::header::Header {
            version: 2,
            payload_type: 96,
            sequence_number: 65_535,
            ssrc: 7,
            ..Default::default()
        };
        rtp::packet::Packet { header, payload: vec![1, 2, 3].into() }.marshal().unwrap().to_vec()
    }

    #[test]
    fn two_clients_agree_on_keys_in_every_dtls_version() {
        for version in [DtlsVersion::V12, DtlsVersion::V13, DtlsVersion::Auto] {
            let (mut client, mut server) = connected(version);
            assert_eq!((client.phase(), server.phase()), (Phase::Connected, Phase::Connected), "{version:?}");
            let sealed = client.seal_rtp(&packet()).unwrap();
            assert_eq!(server.open_rtp(&sealed).unwrap(), packet());
            let sealed = server.seal_rtp(&packet()).unwrap();
            assert_eq!(client.open_rtp(&sealed).unwrap(), packet());
        }
    }

    #[test]
    fn another_certificate_than_the_signalled_one_fails_the_handshake() {
        let now = Instant::now();
        let (a, b) = (Certificate::generate(), Certificate::generate());
        let mut client = Secure::new(&a, [0; 32], DtlsVersion::V12, true, now);
        let mut server = Secure::new(&b, a.fingerprint, DtlsVersion::V12, false, now);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        client.on_timeout(now, &mut to_server);
        server.on_timeout(now, &mut to_client);
        for _ in 0..10 {
            to_server.drain(..).for_each(|datagram| server.on_dtls(now, &datagram, &mut to_client));
            to_client.drain(..).for_each(|datagram| client.on_dtls(now, &datagram, &mut to_server));
        }
        assert_eq!(client.phase(), Phase::Failed);
        assert!(client.seal_rtp(&packet()).is_none());
    }

    #[test]
    fn close_notify_arrives() {
        let (mut client, mut server) = connected(DtlsVersion::V12);
        let mut to_server = Vec::new();
        client.close(&mut to_server);
        for datagram in to_server {
            server.on_dtls(Instant::now(), &datagram, &mut Vec::new());
        }
        assert_eq!(server.phase(), Phase::Closed);
    }
}
