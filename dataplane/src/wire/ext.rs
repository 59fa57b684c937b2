//! The RTP header extensions that the server reads or writes: their values, under the ids that one peer negotiated.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;
use std::time::Duration;

use super::rtp::Header;

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

/// The values that one packet carries. What was not negotiated or is not well-formed is absent.
#[derive(Clone, Copy, Default)]
pub struct ExtensionValues<'a> {
    /// Media identification (RFC 8843 §15).
    pub mid: Option<&'a [u8]>,
    /// RTP stream id (RFC 8852 §3.1).
    pub rid: Option<&'a [u8]>,
    /// The stream that this retransmission repairs (RFC 8852 §3.2).
    pub repaired_rid: Option<&'a [u8]>,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
    pub transport_cc: Option<u16>,
    pub audio_level: Option<AudioLevel>,
    /// Sender's clock, seconds in 6.18 fixed point. See [`AbsSendTime`].
    pub abs_send_time: Option<u32>,
    /// For [`crate::wire::codec::dependency`].
    pub dependency_descriptor: Option<&'a [u8]>,
}

impl<'a> ExtensionValues<'a> {
    /// Of an element that comes twice, the last counts.
    pub fn read(packet: &'a [u8], header: &Header, ids: &ExtensionIds) -> ExtensionValues<'a> {
        let mut values = ExtensionValues::default();
        for (id, value) in header.extensions(packet) {
            let id = Some(id);
            if id == ids.transport_cc {
                values.transport_cc = value.try_into().ok().map(u16::from_be_bytes);
            } else if id == ids.mid {
                values.mid = Some(value);
            } else if id == ids.rid {
                values.rid = Some(value);
            } else if id == ids.repaired_rid {
                values.repaired_rid = Some(value);
            } else if id == ids.audio_level {
                values.audio_level = value.first().copied().map(AudioLevel::decode);
            } else if id == ids.abs_send_time {
                values.abs_send_time = match *value {
                    [high, middle, low] => Some(u32::from_be_bytes([0, high, middle, low])),
                    _ => None,
                };
            } else if id == ids.dependency_descriptor {
                values.dependency_descriptor = Some(value);
            }
        }
        values
    }
}

impl fmt::Debug for ExtensionValues<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtensionValues(redacted)")
    }
}

/// How loud a packet's audio is (RFC 6464 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioLevel {
    /// The sender's voice detector heard speech.
    pub voice: bool,
    /// In -dBov: 0 is the loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    pub fn encode(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | self.level.min(127)]
    }

    fn decode(byte: u8) -> AudioLevel {
        AudioLevel { voice: byte & 0x80 != 0, level: byte & 0x7f }
    }
}

/// Absolute send time (<http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time>): 24 bits, seconds in 6.18 fixed
/// point, so that it wraps every 64 seconds.
#[derive(Clone, Copy, Debug)]
pub struct AbsSendTime;

impl AbsSendTime {
    pub fn from(since_epoch: Duration) -> [u8; 3] {
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 18) / 1_000_000_000;
        let [.., high, middle, low] = ((since_epoch.as_secs() << 18) | fraction).to_be_bytes();
        [high, middle, low]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{Pt, RtpTime, SeqNo, Ssrc};
    use crate::wire::rtp::{Extensions, Outgoing};

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        abs_send_time: Some(4),
        transport_cc: Some(5),
        audio_level: Some(6),
        dependency_descriptor: Some(7),
    };

    fn packet(values: &[(u8, &[u8])]) -> Vec<u8> {
        let mut extensions = Extensions::new();
        for (id, value) in values {
            assert!(extensions.push(*id, value));
        }
        let header = Outgoing {
            marker: false,
            padding: false,
            pt: Pt(96),
            seq: SeqNo(1),
            timestamp: RtpTime(2),
            ssrc: Ssrc(3),
        };
        let mut packet = vec![0; header.len(&extensions)];
        header.write(&extensions, &mut packet);
        packet
    }

    #[test]
    fn every_negotiated_value_is_read() {
        let packet = packet(&[
            (1, b"0"),
            (2, b"hi"),
            (3, b"lo"),
            (4, &[1, 2, 3]),
            (5, &[0xab, 0xcd]),
            (6, &[0x80 | 30]),
            (7, &[9, 8, 7]),
            (8, b"not negotiated"),
        ]);
        let values = ExtensionValues::read(&packet, &Header::parse(&packet).unwrap(), &IDS);
        assert_eq!(values.mid, Some(b"0".as_slice()));
        assert_eq!(values.rid, Some(b"hi".as_slice()));
        assert_eq!(values.repaired_rid, Some(b"lo".as_slice()));
        assert_eq!(values.abs_send_time, Some(0x01_0203));
        assert_eq!(values.transport_cc, Some(0xabcd));
        assert_eq!(values.audio_level, Some(AudioLevel { voice: true, level: 30 }));
        assert_eq!(values.dependency_descriptor, Some([9, 8, 7].as_slice()));
    }

    #[test]
    fn what_was_not_negotiated_is_not_read() {
        let packet = packet(&[(1, b"0"), (5, &[0, 1])]);
        let values =
            ExtensionValues::read(&packet, &Header::parse(&packet).unwrap(), &ExtensionIds::default());
        assert!(values.mid.is_none() && values.transport_cc.is_none());
    }

    #[test]
    fn values_of_a_wrong_length_are_absent() {
        let packet = packet(&[(4, &[1, 2]), (5, &[1, 2, 3]), (6, &[])]);
        let values = ExtensionValues::read(&packet, &Header::parse(&packet).unwrap(), &IDS);
        assert!(values.abs_send_time.is_none());
        assert!(values.transport_cc.is_none());
        assert!(values.audio_level.is_none());
    }

    #[test]
    fn send_time_is_fixed_point_and_wraps_at_64_seconds() {
        assert_eq!(AbsSendTime::from(Duration::ZERO), [0, 0, 0]);
        assert_eq!(AbsSendTime::from(Duration::from_millis(1500)), [0x06, 0, 0]);
        assert_eq!(AbsSendTime::from(Duration::from_secs(63)), [0xfc, 0, 0]);
        assert_eq!(AbsSendTime::from(Duration::from_secs(64)), [0, 0, 0]);
        assert_eq!(AbsSendTime::from(Duration::from_nanos(63_999_999_999)), [0xff, 0xff, 0xff]);
        AbsSendTime::from(Duration::MAX);
    }

    proptest! {
        #[test]
        fn an_audio_level_survives_encoding(voice in any::<bool>(), level in 0..=127u8) {
            let level = AudioLevel { voice, level };
            prop_assert_eq!(AudioLevel::decode(level.encode()[0]), level);
        }
    }
}
