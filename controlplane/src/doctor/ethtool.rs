//! What a network card does by itself, asked over the kernel's ethtool netlink: the question of `ethtool -k`, without
//! needing that program.

use std::io::{Error, Read, Result, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Names as the kernel has them, such as `tx-udp-segmentation`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Features {
    /// What the admin can switch.
    pub(super) hardware: Vec<String>,
    pub(super) active: Vec<String>,
}

pub(super) fn features(device: &str) -> Result<Features> {
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_GENERIC)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = vec![0; 32 << 10];
    let mut ask = |kind: u16, command: u8, attributes: &[u8]| -> Result<Vec<u8>> {
        socket.write_all(&message(kind, command, attributes))?;
        let length = socket.read(&mut answer)?;
        payload(&answer[..length]).map(<[u8]>::to_vec)
    };
    let family = ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0"))?;
    let id = find(&family, CTRL_ATTR_FAMILY_ID).and_then(u16_of).ok_or_else(|| Error::other("no ethtool"))?;
    let name = attribute(ETHTOOL_A_HEADER_DEV_NAME, format!("{device}\0").as_bytes());
    let answer = ask(id, ETHTOOL_MSG_FEATURES_GET, &attribute(ETHTOOL_A_FEATURES_HEADER | NESTED, &name))?;
    Ok(Features::parse(&answer))
}

// linux/netlink.h, linux/genetlink.h, linux/ethtool_netlink.h
const AF_NETLINK: i32 = 16;
const NETLINK_GENERIC: i32 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_HW: u16 = 2;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

/// `nlmsghdr`, and behind it `genlmsghdr`.
const HEADERS_BYTES: usize = 16 + 4;

impl Features {
    fn parse(attributes: &[u8]) -> Features {
        let bits = |kind| find(attributes, kind).map(bitset).unwrap_or_default();
        Features { hardware: bits(ETHTOOL_A_FEATURES_HW), active: bits(ETHTOOL_A_FEATURES_ACTIVE) }
    }
}

/// Names of the bits that are set. In a list without a mask every bit that is named is set.
fn bitset(bytes: &[u8]) -> Vec<String> {
    let is_list = find(bytes, ETHTOOL_A_BITSET_NOMASK).is_some();
    let mut names = Vec::new();
    for (_, bit) in find(bytes, ETHTOOL_A_BITSET_BITS).into_iter().flat_map(Attributes) {
        if !is_list && find(bit, ETHTOOL_A_BITSET_BIT_VALUE).is_none() {
            continue;
        }
        let name = find(bit, ETHTOOL_A_BITSET_BIT_NAME).unwrap_or_default();
        names.push(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
    }
    names
}

fn message(kind: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADERS_BYTES + attributes.len());
    bytes.extend(((HEADERS_BYTES + attributes.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number, and our port, which the kernel fills in.
    bytes.extend([0; 8]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn payload(message: &[u8]) -> Result<&[u8]> {
    if message.get(4..6).and_then(u16_of) == Some(NLMSG_ERROR) {
        let errno = message.get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
        return Err(Error::from_raw_os_error(-errno));
    }
    message.get(HEADERS_BYTES..).ok_or_else(|| Error::other("a short answer"))
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(attributes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn u16_of(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?))
}

/// Length, kind and value, each aligned to four bytes.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_of(self.0)?);
        let kind = u16_of(self.0.get(2..)?)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(name: &str, is_set: bool) -> Vec<u8> {
        let mut bit = attribute(1, &7_u32.to_ne_bytes());
        bit.extend(attribute(ETHTOOL_A_BITSET_BIT_NAME, format!("{name}\0").as_bytes()));
        if is_set {
            bit.extend(attribute(ETHTOOL_A_BITSET_BIT_VALUE, &[]));
        }
        attribute(1 | NESTED, &bit)
    }

    #[test]
    fn a_bit_is_set_by_its_value_or_by_being_in_a_list() {
        let masked = [bit("rx-gro", true), bit("tx-udp-segmentation", false)].concat();
        let masked = attribute(ETHTOOL_A_BITSET_BITS | NESTED, &masked);
        let listed = [
            attribute(ETHTOOL_A_BITSET_NOMASK, &[]),
            attribute(ETHTOOL_A_BITSET_BITS | NESTED, &bit("rx-gro", false)),
        ]
        .concat();
        let answer = [
            attribute(ETHTOOL_A_FEATURES_HW | NESTED, &masked),
            attribute(ETHTOOL_A_FEATURES_ACTIVE | NESTED, &listed),
        ]
        .concat();
        let features = Features::parse(&answer);
        assert_eq!(features.hardware, ["rx-gro"]);
        assert_eq!(features.active, ["rx-gro"]);
    }

    #[test]
    fn no_answer_of_any_length_is_read_beyond_its_end() {
        let answer = attribute(ETHTOOL_A_FEATURES_HW | NESTED, &attribute(3 | NESTED, &bit("rx-gro", true)));
        for length in 0..answer.len() {
            assert!(Features::parse(&answer[..length]).hardware.is_empty());
        }
        assert!(payload(&[0; 19]).is_err());
        let refused = message(NLMSG_ERROR, 0, &[]);
        assert!(payload(&refused[..16]).is_err());
    }

    #[test]
    fn the_kernel_answers_for_loopback() {
        let features = features("lo").unwrap();
        assert!(features.active.iter().any(|name| name.starts_with("tx-checksum")), "{features:?}");
        assert!(super::features("no-such-card").is_err());
    }
}
