//! What every packet of the load carries: where it came from, when it left, and bytes that can be checked to the last.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds on the one clock of this process: never adjusted, the same on every thread.
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // One, so that zero can stand for never.
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

/// Stands behind the head of the codec in each payload; the rest of the payload is filled with bytes that follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub publisher: u16,
    /// Index of the publisher's stream: microphone, camera or a layer of it.
    pub stream: u8,
    pub part: u8,
    pub frame: u32,
    pub sent_ns: u64,
}

/// Why a payload is not what a publisher sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Corrupt {
    /// No stamp of ours.
    Unstamped,
    /// The bytes behind the stamp are others.
    Altered,
}

const MAGIC: [u8; 4] = *b"LOAD";

impl Stamp {
    pub const LEN: usize = 20;

    /// Writes the stamp and fills up to `len` bytes in all.
    pub fn write(&self, out: &mut Vec<u8>, len: usize) {
        out.extend(MAGIC);
        out.extend(self.publisher.to_be_bytes());
        out.extend([self.stream, self.part]);
        out.extend(self.frame.to_be_bytes());
        out.extend(self.sent_ns.to_be_bytes());
        let mut fill = self.seed();
        while out.len() < len {
            out.push(fill);
            fill = fill.wrapping_add(1);
        }
    }

    pub fn read(bytes: &[u8]) -> Result<Stamp, Corrupt> {
        let (head, fill) = bytes.split_first_chunk::<{ Stamp::LEN }>().ok_or(Corrupt::Unstamped)?;
        let [m0, m1, m2, m3, p0, p1, stream, part, f0, f1, f2, f3, sent @ ..] = *head;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(Corrupt::Unstamped);
        }
        let stamp = Stamp {
            publisher: u16::from_be_bytes([p0, p1]),
            stream,
            part,
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            sent_ns: u64::from_be_bytes(sent),
        };
        let mut expected = stamp.seed();
        for byte in fill {
            if *byte != expected {
                return Err(Corrupt::Altered);
            }
            expected = expected.wrapping_add(1);
        }
        Ok(stamp)
    }

    fn seed(&self) -> u8 {
        (self.frame as u8).wrapping_mul(31).wrapping_add(self.part).wrapping_add(self.stream << 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { publisher: 513, stream: 2, part: 7, frame: 70_000, sent_ns: 1 << 40 };

    #[test]
    fn what_was_written_is_read_again() {
        for len in [0, Stamp::LEN, 90, 1100] {
            let mut bytes = Vec::new();
            STAMP.write(&mut bytes, len);
            assert_eq!(bytes.len(), len.max(Stamp::LEN));
            assert_eq!(Stamp::read(&bytes), Ok(STAMP));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_or_changes_the_stamp() {
        let mut bytes = Vec::new();
        STAMP.write(&mut bytes, 300);
        for at in 0..bytes.len() {
            bytes[at] ^= 0x10;
            assert_ne!(Stamp::read(&bytes), Ok(STAMP), "byte {at}");
            bytes[at] ^= 0x10;
        }
        assert_eq!(Stamp::read(&bytes[..Stamp::LEN - 1]), Err(Corrupt::Unstamped));
    }
}
