//! STUN as a browser's ICE agent speaks it (RFC 8489, RFC 8445 §7): written without the server's own code, so that
//! one misreading of the RFC cannot agree with itself.

use aws_lc_rs::hmac;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const COOKIE: u32 = 0x2112_A442;
const HEADER_LEN: usize = 20;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;

/// A connectivity check; the fields beside the credentials exist so that a test can break one at a time.
#[derive(Clone, Debug)]
pub struct Check {
    pub transaction: [u8; 12],
    /// `receiver's ufrag:sender's ufrag`
    pub username: String,
    /// The receiver's password.
    pub pwd: String,
    pub nominate: bool,
    pub controlled: bool,
    /// An attribute the server cannot know, of this type.
    pub unknown_attribute: Option<u16>,
    pub integrity: bool,
    pub fingerprint: bool,
}

impl Check {
    pub fn new(transaction: [u8; 12], username: String, pwd: String) -> Check {
        Check {
            transaction,
            username,
            pwd,
            nominate: true,
            controlled: false,
            unknown_attribute: None,
            integrity: true,
            fingerprint: true,
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut message = head(BINDING_REQUEST, &self.transaction);
        push(&mut message, USERNAME, self.username.as_bytes());
        push(&mut message, PRIORITY, &0x6E7F_1EFF_u32.to_be_bytes());
        let role = if self.controlled { ICE_CONTROLLED } else { ICE_CONTROLLING };
        push(&mut message, role, &0x5A5A_0000_1111_2222_u64.to_be_bytes());
        if self.nominate {
            push(&mut message, USE_CANDIDATE, &[]);
        }
        if let Some(kind) = self.unknown_attribute {
            push(&mut message, kind, &[1, 2, 3, 4]);
        }
        if self.integrity {
            let code = integrity(&message, &self.pwd);
            push(&mut message, MESSAGE_INTEGRITY, &code);
        }
        if self.fingerprint {
            let crc = fingerprint(&message);
            push(&mut message, FINGERPRINT, &crc.to_be_bytes());
        }
        message
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Success,
    Error { code: u16 },
}

/// Reads the answer to a check. `None`: not an answer, or one that the holder of `pwd` did not write.
pub fn read_answer(message: &[u8], pwd: &str) -> Option<([u8; 12], Answer)> {
    let kind = u16::from_be_bytes(message.get(0..2)?.try_into().ok()?);
    let len = usize::from(u16::from_be_bytes(message.get(2..4)?.try_into().ok()?));
    let transaction: [u8; 12] = message.get(8..20)?.try_into().ok()?;
    if len + HEADER_LEN != message.len() {
        return None;
    }
    let mut error = None;
    let mut authentic = false;
    let mut at = HEADER_LEN;
    while at + 4 <= message.len() {
        let attribute = u16::from_be_bytes([message[at], message[at + 1]]);
        let value_len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        let value = message.get(at + 4..at + 4 + value_len)?;
        match attribute {
            MESSAGE_INTEGRITY => authentic = integrity(&message[..at], pwd) == value,
            FINGERPRINT if fingerprint(&message[..at]).to_be_bytes() != value => return None,
            ERROR_CODE if value.len() >= 4 => error = Some(u16::from(value[2]) * 100 + u16::from(value[3])),
            _ => {}
        }
        at += 4 + value_len.next_multiple_of(4);
    }
    match kind {
        BINDING_SUCCESS if authentic => Some((transaction, Answer::Success)),
        // A 400 or 401 cannot carry an integrity code (RFC 8489 §9.1.3).
        BINDING_ERROR => Some((transaction, Answer::Error { code: error? })),
        _ => None,
    }
}

fn head(kind: u16, transaction: &[u8; 12]) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.extend(kind.to_be_bytes());
    message.extend([0, 0]);
    message.extend(COOKIE.to_be_bytes());
    message.extend(transaction);
    message
}

fn push(message: &mut Vec<u8>, attribute: u16, value: &[u8]) {
    message.extend(attribute.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let len = (message.len() - HEADER_LEN) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
}

/// HMAC-SHA1 over the message up to the attribute, its length field counting the attribute (RFC 8489 §14.5).
fn integrity(message: &[u8], pwd: &str) -> [u8; 20] {
    let mut message = message.to_vec();
    let len = (message.len() - HEADER_LEN + 24) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pwd.as_bytes());
    let mut code = [0; 20];
    code.copy_from_slice(hmac::sign(&key, &message).as_ref());
    code
}

/// CRC-32 of the message up to the attribute, its length field counting the attribute (RFC 8489 §14.7).
fn fingerprint(message: &[u8]) -> u32 {
    let mut message = message.to_vec();
    let len = (message.len() - HEADER_LEN + 8) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    let mut crc = u32::MAX;
    for byte in message {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc ^ 0x5354_554E
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.2, the sample IPv4 response.
    const RESPONSE: &[u8] = &[
        0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
        0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00,
        0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53,
        0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
    ];

    #[test]
    fn the_sample_response_of_rfc_5769_is_authentic() {
        let (_, answer) = read_answer(RESPONSE, "VOkJxbRl1RmTxUk/WvJxBt").unwrap();
        assert_eq!(answer, Answer::Success);
    }

    #[test]
    fn a_response_under_another_password_is_not_read() {
        assert!(read_answer(RESPONSE, "VOkJxbRl1RmTxUk/WvJxBu").is_none());
    }
}
