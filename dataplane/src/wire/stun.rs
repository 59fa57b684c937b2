//! STUN messages as ICE uses them (RFC 8489, RFC 8445 §7): reads what a peer sent, writes Binding requests and answers.
//! Whether a check is welcome is decided in `sfu`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

use super::{Malformed, be16};

/// Room that every message written here fits into: a request with the longest names is the largest.
pub const WRITTEN_MAX: usize = 640;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Who controls, with the tie-breaker (RFC 8445 §16.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Controlling(u64),
    Controlled(u64),
}

/// Pairs a response with its request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub [u8; 12]);

/// What stands in a message before its MESSAGE-INTEGRITY: nothing behind it is believed (RFC 8489 §14.5).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub class: Class,
    /// 1 is Binding.
    pub method: u16,
    pub transaction: TransactionId,
    pub username: Option<&'a [u8]>,
    pub priority: Option<u32>,
    pub use_candidate: bool,
    pub role: Option<Role>,
    pub mapped_address: Option<SocketAddr>,
    /// Of an error response.
    pub error_code: Option<u16>,
    pub unknown: Unknown,
    integrity: Option<Integrity<'a>>,
    fingerprint: Option<bool>,
}

/// The attributes that must be understood and were not (RFC 8489 §6.3.1), as far as there is room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unknown {
    types: [u16; Unknown::MAX],
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Integrity<'a> {
    /// The message up to the attribute.
    covered: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed)?;
        let [type_high, type_low, len_high, len_low, cookie @ ..] = *header;
        let [c0, c1, c2, c3, id @ ..] = cookie;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        if type_high & 0xc0 != 0
            || [c0, c1, c2, c3] != MAGIC_COOKIE
            || len % 4 != 0
            || bytes.len() != HEADER_LEN + len
        {
            return Err(Malformed);
        }
        let kind = u16::from_be_bytes([type_high, type_low]);
        let mut message = Message {
            class: match kind & 0x0110 {
                0x0000 => Class::Request,
                0x0010 => Class::Indication,
                0x0100 => Class::Success,
                _ => Class::Error,
            },
            method: (kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2,
            transaction: TransactionId(id),
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped_address: None,
            error_code: None,
            unknown: Unknown::default(),
            integrity: None,
            fingerprint: None,
        };
        let mut at = HEADER_LEN;
        while at < bytes.len() {
            let attribute = be16(bytes, at).ok_or(Malformed)?;
            let value_len = usize::from(be16(bytes, at + 2).ok_or(Malformed)?);
            let value = bytes.get(at + 4..at + 4 + value_len).ok_or(Malformed)?;
            if attribute == FINGERPRINT {
                let covered = bytes.get(..at).ok_or(Malformed)?;
                // It is the last attribute, so the length in the header is that of the whole message already.
                let expected = (crc32(covered) ^ FINGERPRINT_XOR).to_be_bytes();
                message.fingerprint = Some(value == expected && at + 8 == bytes.len());
            } else if message.integrity.is_none() {
                message.read(attribute, value, bytes.get(..at).ok_or(Malformed)?)?;
            }
            at += 4 + value_len.next_multiple_of(4);
        }
        if at != bytes.len() {
            return Err(Malformed);
        }
        Ok(message)
    }

    pub fn is_binding_request(&self) -> bool {
        self.class == Class::Request && self.method == BINDING
    }

    /// The first half of USERNAME: whose credentials the sender claims to use (RFC 8445 §7.2.2).
    pub fn local_ufrag(&self) -> Option<&'a str> {
        let username = self.username?;
        let colon = username.iter().position(|&byte| byte == b':')?;
        std::str::from_utf8(username.get(..colon)?).ok()
    }

    /// Whether MESSAGE-INTEGRITY is there and right under `key`, and so is FINGERPRINT, which ICE demands
    /// (RFC 8445 §7.1). Compares in constant time.
    pub fn is_authentic(&self, key: &hmac::Key) -> bool {
        let Some(integrity) = self.integrity else { return false };
        let Some((head, rest)) = integrity.covered.split_at_checked(2) else { return false };
        let Some((_, rest)) = rest.split_at_checked(2) else { return false };
        // The length in the header counts up to MESSAGE-INTEGRITY and not beyond (RFC 8489 §14.5).
        let len = (integrity.covered.len() - HEADER_LEN + INTEGRITY_LEN) as u16;
        let expected = mac(key, &[head, &len.to_be_bytes(), rest]);
        let tags_agree = bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_ref(), integrity.tag));
        tags_agree && self.fingerprint == Some(true)
    }

    /// Takes the first of every attribute and ignores repetitions (RFC 8489 §14).
    fn read(&mut self, attribute: u16, value: &'a [u8], covered: &'a [u8]) -> Result<(), Malformed> {
        match attribute {
            USERNAME if value.len() > USERNAME_MAX => return Err(Malformed),
            USERNAME => {
                self.username.get_or_insert(value);
            }
            MESSAGE_INTEGRITY if value.len() != 20 => return Err(Malformed),
            MESSAGE_INTEGRITY => self.integrity = Some(Integrity { covered, tag: value }),
            PRIORITY => {
                self.priority.get_or_insert(fixed(value).map(u32::from_be_bytes)?);
            }
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLING => {
                self.role.get_or_insert(Role::Controlling(u64::from_be_bytes(fixed(value)?)));
            }
            ICE_CONTROLLED => {
                self.role.get_or_insert(Role::Controlled(u64::from_be_bytes(fixed(value)?)));
            }
            XOR_MAPPED_ADDRESS => {
                self.mapped_address.get_or_insert(read_address(value, self.transaction)?);
            }
            ERROR_CODE => {
                let [_, _, class, number, ..] = *value else { return Err(Malformed) };
                self.error_code.get_or_insert(u16::from(class & 7) * 100 + u16::from(number));
            }
            UNKNOWN_ATTRIBUTES | MAPPED_ADDRESS | REALM | NONCE => {}
            0..0x8000 => self.unknown.push(attribute),
            _ => {}
        }
        Ok(())
    }
}

impl Unknown {
    const MAX: usize = 8;

    pub fn as_slice(&self) -> &[u16] {
        self.types.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, attribute: u16) {
        if let Some(place) = self.types.get_mut(self.len) {
            *place = attribute;
            self.len += 1;
        }
    }
}

/// Why a request was not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    BadRequest,
    UnknownAttribute,
    RoleConflict,
}

/// What a controlling or controlled full agent puts into its check (RFC 8445 §7.1).
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    pub transaction: TransactionId,
    /// The receiver's ufrag, then the sender's.
    pub ufrags: (&'a str, &'a str),
    pub priority: u32,
    pub role: Role,
    pub use_candidate: bool,
}

/// Each writer returns the length, or `None` when `out` has no room; [`WRITTEN_MAX`] is always enough.
pub fn write_binding_request(request: &BindingRequest<'_>, key: &hmac::Key, out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(out, BINDING_REQUEST, request.transaction)?;
    let (receiver, sender) = request.ufrags;
    writer.attribute(USERNAME, &[receiver.as_bytes(), b":", sender.as_bytes()])?;
    writer.attribute(PRIORITY, &[&request.priority.to_be_bytes()])?;
    match request.role {
        Role::Controlling(tie_breaker) => writer.attribute(ICE_CONTROLLING, &[&tie_breaker.to_be_bytes()])?,
        Role::Controlled(tie_breaker) => writer.attribute(ICE_CONTROLLED, &[&tie_breaker.to_be_bytes()])?,
    }
    if request.use_candidate {
        writer.attribute(USE_CANDIDATE, &[])?;
    }
    writer.finish(key)
}

pub fn write_binding_success(
    transaction: TransactionId,
    mapped: SocketAddr,
    key: &hmac::Key,
    out: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(out, BINDING_SUCCESS, transaction)?;
    let port = (mapped.port() ^ MAGIC_COOKIE_HIGH).to_be_bytes();
    let mut address = xor_mask(transaction);
    match mapped.ip() {
        IpAddr::V4(ip) => {
            let octets = ip.octets();
            xor(&mut address, &octets);
            writer.attribute(XOR_MAPPED_ADDRESS, &[&[0, FAMILY_V4], &port, address.get(..4)?])?;
        }
        IpAddr::V6(ip) => {
            xor(&mut address, &ip.octets());
            writer.attribute(XOR_MAPPED_ADDRESS, &[&[0, FAMILY_V6], &port, &address])?;
        }
    }
    writer.finish(key)
}

/// The reason phrase is left out: nobody reads it, and an answer shall not be longer than its question.
pub fn write_binding_error(
    transaction: TransactionId,
    refusal: Refusal,
    unknown: &Unknown,
    key: &hmac::Key,
    out: &mut [u8],
) -> Option<usize> {
    let mut writer = Writer::new(out, BINDING_ERROR, transaction)?;
    match refusal {
        Refusal::BadRequest => writer.attribute(ERROR_CODE, &[&[0, 0, 4, 0]])?,
        Refusal::RoleConflict => writer.attribute(ERROR_CODE, &[&[0, 0, 4, 87]])?,
        Refusal::UnknownAttribute => {
            writer.attribute(ERROR_CODE, &[&[0, 0, 4, 20]])?;
            let mut types = [[0; 2]; Unknown::MAX];
            for (place, attribute) in types.iter_mut().zip(unknown.as_slice()) {
                *place = attribute.to_be_bytes();
            }
            let types = types.as_flattened().get(..unknown.len * 2)?;
            writer.attribute(UNKNOWN_ATTRIBUTES, &[types])?;
        }
    }
    writer.finish(key)
}

/// The key of short-term credentials is the password itself (RFC 8489 §9.1.1).
pub fn key(pwd: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pwd.as_bytes())
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut [u8], kind: u16, transaction: TransactionId) -> Option<Writer<'a>> {
        let mut writer = Writer { out, len: 0 };
        writer.put(&kind.to_be_bytes())?;
        writer.put(&[0, 0])?;
        writer.put(&MAGIC_COOKIE)?;
        writer.put(&transaction.0)?;
        Some(writer)
    }

    fn attribute(&mut self, attribute: u16, parts: &[&[u8]]) -> Option<()> {
        let value_len: usize = parts.iter().map(|part| part.len()).sum();
        self.put(&attribute.to_be_bytes())?;
        self.put(&u16::try_from(value_len).ok()?.to_be_bytes())?;
        for part in parts {
            self.put(part)?;
        }
        let padding = value_len.next_multiple_of(4) - value_len;
        self.put([0; 3].get(..padding)?)
    }

    /// Appends MESSAGE-INTEGRITY and FINGERPRINT, each computed with the length that includes it.
    fn finish(mut self, key: &hmac::Key) -> Option<usize> {
        self.set_length(INTEGRITY_LEN)?;
        let tag = mac(key, &[self.out.get(..self.len)?]);
        self.attribute(MESSAGE_INTEGRITY, &[tag.as_ref()])?;
        self.set_length(8)?;
        let crc = crc32(self.out.get(..self.len)?) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &[&crc.to_be_bytes()])?;
        Some(self.len)
    }

    fn set_length(&mut self, more: usize) -> Option<()> {
        let len = u16::try_from(self.len - HEADER_LEN + more).ok()?;
        self.out.get_mut(2..4)?.copy_from_slice(&len.to_be_bytes());
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }
}

fn read_address(value: &[u8], transaction: TransactionId) -> Result<SocketAddr, Malformed> {
    let port = be16(value, 2).ok_or(Malformed)? ^ MAGIC_COOKIE_HIGH;
    let mut address = xor_mask(transaction);
    match value {
        [_, FAMILY_V4, _, _, octets @ ..] => {
            xor(&mut address, &fixed::<4>(octets)?);
            let [a, b, c, d, ..] = address;
            Ok(SocketAddr::from(([a, b, c, d], port)))
        }
        [_, FAMILY_V6, _, _, octets @ ..] => {
            xor(&mut address, &fixed::<16>(octets)?);
            Ok(SocketAddr::from((address, port)))
        }
        _ => Err(Malformed),
    }
}

/// What an address is XORed with (RFC 8489 §14.2).
fn xor_mask(transaction: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    let bytes = MAGIC_COOKIE.iter().chain(&transaction.0);
    for (place, byte) in mask.iter_mut().zip(bytes) {
        *place = *byte;
    }
    mask
}

fn xor(into: &mut [u8], with: &[u8]) {
    for (byte, with) in into.iter_mut().zip(with) {
        *byte ^= with;
    }
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed)
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// The CRC-32 of ITU V.42 (RFC 8489 §14.7).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0xedb8_8320);
        }
    }
    !crc
}

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const MAGIC_COOKIE_HIGH: u16 = 0x2112;
const INTEGRITY_LEN: usize = 24;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// RFC 8489 §14.3.
const USERNAME_MAX: usize = 512;

const BINDING: u16 = 1;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

#[cfg(test)]
mod tests;
