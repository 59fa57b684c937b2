//! The first ClientHello, held back until it is complete: it decides which DTLS version serves it.
//!
//! With a post-quantum key share it no longer fits one datagram, so its fragments may come in any order and repeatedly.

use std::ops::Range;

use crate::counters::Dropped;

/// A ClientHello that is still arriving.
#[derive(Default)]
pub(super) struct Hello {
    /// The datagrams as they came, for the DTLS engine to read again.
    held: Vec<u8>,
    ends: Vec<usize>,
    /// The message as far as it is there; `covered` says how far that is.
    body: Vec<u8>,
    covered: Vec<Range<usize>>,
}

/// Browsers send two fragments of 1.5 KiB altogether.
const BYTES_MAX: usize = 8 * 1024;
const FRAGMENTS_MAX: usize = 16;

impl Hello {
    /// True when the message is complete. At a limit everything is forgotten, and a repetition by the client finds
    /// an empty place.
    pub(super) fn push(&mut self, datagram: &[u8]) -> Result<bool, Dropped> {
        let mut is_wanted = false;
        for fragment in fragments(datagram) {
            if fragment.total > BYTES_MAX || self.covered.len() == FRAGMENTS_MAX {
                *self = Hello::default();
                return Err(Dropped::DtlsOverflow);
            }
            if fragment.total != self.body.len() {
                // The first fragment, or one of another attempt.
                *self = Hello { body: vec![0; fragment.total], ..Hello::default() };
            }
            let range = fragment.offset..fragment.offset + fragment.bytes.len();
            if self.covered_from(range.start) < range.end {
                self.body[range.clone()].copy_from_slice(fragment.bytes);
                self.covered.push(range);
                is_wanted = true;
            }
        }
        if !is_wanted {
            // A repetition, or no part of a ClientHello at all.
            return Err(Dropped::DtlsFailed);
        }
        if self.held.len() + datagram.len() > BYTES_MAX {
            *self = Hello::default();
            return Err(Dropped::DtlsOverflow);
        }
        self.held.extend_from_slice(datagram);
        self.ends.push(self.held.len());
        Ok(self.covered_from(0) == self.body.len())
    }

    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.held[start..end])
    }

    pub(super) fn offer(&self) -> Offer {
        read_offer(&self.body).unwrap_or_default()
    }

    /// Up to where the bytes from `at` on are there without a gap.
    fn covered_from(&self, mut at: usize) -> usize {
        while let Some(range) = self.covered.iter().find(|range| range.contains(&at)) {
            at = range.end;
        }
        at
    }
}

/// What of the ClientHello decides the version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Offer {
    pub(super) dtls_12: bool,
    pub(super) dtls_13: bool,
    pub(super) aead: bool,
    /// AES-CM stands before the first AEAD profile.
    pub(super) cm_first: bool,
}

struct Fragment<'a> {
    total: usize,
    offset: usize,
    bytes: &'a [u8],
}

/// The fragments of a first ClientHello in one datagram (RFC 6347 §4.1 and §4.2.2); stops at garbage.
fn fragments(datagram: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    let mut records = datagram;
    let mut messages: &[u8] = &[];
    std::iter::from_fn(move || {
        while messages.is_empty() {
            messages = read_plain_handshake(&mut records)?;
        }
        let head: &[u8; MESSAGE_HEADER_LEN] = messages.first_chunk()?;
        let [kind, t0, t1, t2, seq_high, seq_low, o0, o1, o2, l0, l1, l2] = *head;
        let (total, offset, len) = (be24([t0, t1, t2]), be24([o0, o1, o2]), be24([l0, l1, l2]));
        let bytes = messages.get(MESSAGE_HEADER_LEN..MESSAGE_HEADER_LEN + len)?;
        messages = &messages[MESSAGE_HEADER_LEN + len..];
        let is_first_hello = kind == CLIENT_HELLO && [seq_high, seq_low] == [0, 0];
        (is_first_hello && len > 0 && offset + len <= total).then_some(Fragment { total, offset, bytes })
    })
}

/// The content of the next record, which must be a handshake record of epoch 0.
fn read_plain_handshake<'a>(records: &mut &'a [u8]) -> Option<&'a [u8]> {
    let head: &[u8; RECORD_HEADER_LEN] = records.first_chunk()?;
    let [HANDSHAKE, 0xfe, _, 0, 0, .., len_high, len_low] = *head else { return None };
    let end = RECORD_HEADER_LEN + usize::from(u16::from_be_bytes([len_high, len_low]));
    let content = records.get(RECORD_HEADER_LEN..end)?;
    *records = &records[end..];
    Some(content)
}

/// RFC 8446 §4.1.2 with the cookie of RFC 9147 §5.3.
fn read_offer(body: &[u8]) -> Option<Offer> {
    let mut rest = body;
    take(&mut rest, VERSION_LEN + RANDOM_LEN)?;
    take_vector8(&mut rest)?; // session id
    take_vector8(&mut rest)?; // cookie
    take_vector16(&mut rest)?; // cipher suites
    take_vector8(&mut rest)?; // compression methods
    let mut extensions = take_vector16(&mut rest)?;
    // Without supported_versions it is a client of DTLS 1.2.
    let mut offer = Offer { dtls_12: true, ..Offer::default() };
    while !extensions.is_empty() {
        let kind = be16(take(&mut extensions, 2)?);
        let mut value = take_vector16(&mut extensions)?;
        match kind {
            USE_SRTP => {
                let profiles = take_vector16(&mut value)?.chunks_exact(2).map(be16);
                let known = profiles.filter(|profile| [CM_80, GCM_128, GCM_256].contains(profile));
                for profile in known {
                    offer.cm_first |= profile == CM_80 && !offer.aead;
                    offer.aead |= profile != CM_80;
                }
            }
            SUPPORTED_VERSIONS => {
                let versions = take_vector8(&mut value)?;
                let offers = |wanted: u16| versions.chunks_exact(2).any(|version| be16(version) == wanted);
                offer.dtls_12 = offers(DTLS_12);
                offer.dtls_13 = offers(DTLS_13);
            }
            _ => {}
        }
    }
    Some(offer)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_vector8<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take(rest, 1)?[0];
    take(rest, usize::from(len))
}

fn take_vector16<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = be16(take(rest, 2)?);
    take(rest, usize::from(len))
}

/// Of two bytes.
fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be24([a, b, c]: [u8; 3]) -> usize {
    u32::from_be_bytes([0, a, b, c]) as usize
}

const RECORD_HEADER_LEN: usize = 13;
const MESSAGE_HEADER_LEN: usize = 12;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const VERSION_LEN: usize = 2;
const RANDOM_LEN: usize = 32;
const USE_SRTP: u16 = 14;
const SUPPORTED_VERSIONS: u16 = 43;
const DTLS_12: u16 = 0xfefd;
const DTLS_13: u16 = 0xfefc;
const CM_80: u16 = 0x0001;
const GCM_128: u16 = 0x0007;
const GCM_256: u16 = 0x0008;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_of_profiles_and_versions_are_read() {
        for (profiles, versions, expected) in [
            // Chromium 156.
            (&[1, 8, 7][..], &[DTLS_13, DTLS_12][..], (true, true, true, true)),
            // Firefox 153.
            (&[7, 8, 1, 2], &[DTLS_13, DTLS_12, 0x0303], (true, true, true, false)),
            (&[2, 1], &[], (true, false, false, true)),
            (&[2, 7, 1], &[DTLS_13], (false, true, true, false)),
            (&[], &[], (true, false, false, false)),
        ] {
            let (dtls_12, dtls_13, aead, cm_first) = expected;
            let expected = Offer { dtls_12, dtls_13, aead, cm_first };
            assert_eq!(read_offer(&body(profiles, versions, 100)), Some(expected));
        }
    }

    #[test]
    fn hello_is_complete_whatever_the_order_of_its_fragments() {
        let body = body(&[1, 8, 7], &[DTLS_13, DTLS_12], 1300);
        let datagrams: Vec<Vec<u8>> =
            [0..500, 400..900, 900..body.len()].map(|range| datagram(&body, range)).into();
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
            let mut hello = Hello::default();
            for (nth, index) in order.into_iter().enumerate() {
                assert_eq!(hello.push(&datagrams[index]), Ok(nth == 2));
                if nth < 2 {
                    assert_eq!(hello.push(&datagrams[index]), Err(Dropped::DtlsFailed), "a repetition");
                }
            }
            assert!(hello.offer().cm_first);
            let held: Vec<&[u8]> = hello.datagrams().collect();
            assert_eq!(held, order.map(|index| &datagrams[index][..]));
        }
    }

    #[test]
    fn limits_of_the_hello_hold_and_let_it_start_again() {
        let body = body(&[1, 8, 7], &[DTLS_13, DTLS_12], 5000);
        let mut hello = Hello::default();
        for nth in 0..FRAGMENTS_MAX {
            assert_eq!(hello.push(&datagram(&body, nth * 10..nth * 10 + 10)), Ok(false));
        }
        assert_eq!(hello.push(&datagram(&body, 500..510)), Err(Dropped::DtlsOverflow));
        assert!(hello.held.is_empty());
        assert_eq!(hello.push(&datagram(&body, 0..body.len())), Ok(true));

        let mut announced = datagram(&body, 0..100);
        announced[14] = 0x0f;
        assert_eq!(Hello::default().push(&announced), Err(Dropped::DtlsOverflow));

        let mut padded = datagram(&body, 0..4000);
        padded.extend(datagram(&vec![0; 3000], 0..3000));
        let mut hello = Hello::default();
        assert_eq!(hello.push(&datagram(&body, 0..4000)), Ok(false));
        let mut rest = datagram(&body, 4000..body.len());
        rest.resize(4200, 0);
        assert_eq!(hello.push(&rest), Err(Dropped::DtlsOverflow));
    }

    proptest! {
        #[test]
        fn hello_never_panics(datagrams in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..100), 0..20)) {
            let mut hello = Hello::default();
            for datagram in datagrams {
                let mut record = vec![HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, datagram.len() as u8];
                record.extend_from_slice(&datagram);
                let _ = hello.push(&record);
                let _ = hello.push(&datagram);
            }
            let _ = read_offer(&hello.body);
        }

        #[test]
        fn offer_of_garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_offer(&body);
        }
    }

    /// One datagram that offers DTLS 1.3 and 1.2.
    pub(in crate::sfu::dtls) fn browser_hello(profiles: &[u16]) -> Vec<u8> {
        let body = body(profiles, &[DTLS_13, DTLS_12], 200);
        datagram(&body, 0..body.len())
    }

    /// A ClientHello's body; `padding` bytes stand for the key shares.
    fn body(profiles: &[u16], versions: &[u16], padding: u16) -> Vec<u8> {
        let mut extensions = vec![0, 21];
        extensions.extend_from_slice(&padding.to_be_bytes());
        extensions.resize(extensions.len() + usize::from(padding), 0);
        if !versions.is_empty() {
            let len = versions.len() as u8 * 2;
            extensions.extend_from_slice(&[0, 43, 0, len + 1, len]);
            extensions.extend(versions.iter().flat_map(|version| version.to_be_bytes()));
        }
        if !profiles.is_empty() {
            let len = profiles.len() as u8 * 2;
            extensions.extend_from_slice(&[0, 14, 0, len + 3, 0, len]);
            extensions.extend(profiles.iter().flat_map(|profile| profile.to_be_bytes()));
            extensions.push(0);
        }
        let mut body = vec![0xfe, 0xfd];
        body.resize(34, 0x55);
        body.extend_from_slice(&[0, 0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    fn datagram(body: &[u8], range: Range<usize>) -> Vec<u8> {
        let mut datagram = vec![HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend_from_slice(&((range.len() + MESSAGE_HEADER_LEN) as u16).to_be_bytes());
        datagram.push(CLIENT_HELLO);
        datagram.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(&(range.start as u32).to_be_bytes()[1..]);
        datagram.extend_from_slice(&(range.len() as u32).to_be_bytes()[1..]);
        datagram.extend_from_slice(&body[range]);
        datagram
    }

    /// Cuts the single ClientHello of `datagram` into datagrams of at most `len` bytes of it.
    pub(in crate::sfu) fn fragmented(whole: &[u8], len: usize) -> Vec<Vec<u8>> {
        let body = &whole[RECORD_HEADER_LEN + MESSAGE_HEADER_LEN..];
        let starts = (0..body.len()).step_by(len);
        starts
            .enumerate()
            .map(|(nth, start)| {
                let mut fragment = datagram(body, start..(start + len).min(body.len()));
                fragment[10] = nth as u8;
                fragment
            })
            .collect()
    }
}
