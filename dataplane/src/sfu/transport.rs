//! One participant's ICE, DTLS and SRTP.

use super::ice::IceCredentials;

/// What signalling agreed on for one participant's transport.
#[derive(Clone)]
pub struct TransportSpec {
    pub local: IceCredentials,
    pub remote_ufrag: String,
    /// SHA-256 of the participant's certificate (RFC 8122).
    pub fingerprint: [u8; 32],
}

impl std::fmt::Debug for TransportSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
