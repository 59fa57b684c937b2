//! Pure functions over bytes: no state, no time, no allocation, no panic on any input.
//!
//! Readers borrow from the datagram and treat a peer's nonsense as absence; writers fill a caller's buffer and write
//! nothing when it is too small. What a field means for a room is decided in `sfu`, never here.

pub mod codec;
pub mod ext;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod twcc;

/// The bytes are not what they claim to be. Says no more, because nobody can act on more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// What a datagram on the shared port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

/// Tells the protocols on one port apart by the first byte (RFC 7983 §7), and RTCP from RTP by the second: the
/// packet types 192 to 223 are RTCP (RFC 5761 §4). ZRTP, TURN channels and QUIC are not spoken here.
pub fn classify(datagram: &[u8]) -> Option<Kind> {
    match datagram {
        [0..=3, ..] => Some(Kind::Stun),
        [20..=63, ..] => Some(Kind::Dtls),
        [128..=191, 192..=223, ..] => Some(Kind::Rtcp),
        [128..=191, _, ..] => Some(Kind::Rtp),
        _ => None,
    }
}

/// Big-endian 16 bits at `at`, if they are there.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// Big-endian 32 bits at `at`, if they are there.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_first_bytes_is_classified_as_the_rfcs_say() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let expected = match first {
                    0..=3 => Some(Kind::Stun),
                    20..=63 => Some(Kind::Dtls),
                    128..=191 if (192..=223).contains(&second) => Some(Kind::Rtcp),
                    128..=191 => Some(Kind::Rtp),
                    4..=19 | 64..=127 | 192..=255 => None,
                };
                assert_eq!(classify(&[first, second, 0, 0]), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn a_datagram_too_short_for_its_second_byte_is_not_rtp() {
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[0x80]), None);
    }
}
