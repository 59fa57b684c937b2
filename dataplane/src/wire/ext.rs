//! RTP header extensions (RFC 8285).

/// The negotiated id of each extension that the server reads or writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtensionIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub transport_cc: Option<u8>,
    pub audio_level: Option<u8>,
    pub dependency_descriptor: Option<u8>,
}
