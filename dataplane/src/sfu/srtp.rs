//! SRTP and SRTCP of one participant (RFC 3711, RFC 7714): opens in place, seals into the send block.
//!
//! Rollover counter and replay window move only after a tag has verified, and only then does an SSRC get state: a forged
//! packet leaves nothing behind. No function here allocates in steady state.
//!
//! The payload is read once and written once when it is sealed with AES-GCM: the cipher reads it from the receive
//! buffer and writes it into the send block. AES-CM, the fallback, is an in-place cipher in aws-lc-rs and costs one more
//! copy.

mod cipher;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;

use self::cipher::{Cipher, Labels, Source};
use self::window::Window;
use crate::counters::Dropped;
use crate::id::{ExtSeq, Ssrc};
use crate::wire::rtp::Header;

/// A protection profile of DTLS-SRTP (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Profile {
    AeadAes128Gcm,
    AeadAes256Gcm,
    Aes128CmSha1_80,
}

impl Profile {
    /// The largest of [`Profile::rtp_overhead`].
    pub const RTP_OVERHEAD_MAX: usize = 16;

    /// Bytes that sealing adds to an RTP packet.
    pub fn rtp_overhead(self) -> usize {
        self.tag_len()
    }

    /// Bytes that sealing adds to an RTCP packet: the tag and the word with the index.
    pub fn rtcp_overhead(self) -> usize {
        self.tag_len() + INDEX_LEN
    }

    pub fn key_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    pub fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
            Profile::Aes128CmSha1_80 => 14,
        }
    }

    fn tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
            Profile::Aes128CmSha1_80 => 10,
        }
    }
}

/// What the participant sends us.
pub struct Inbound {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_windows: Windows,
    rtcp_windows: Windows,
    ssrcs_max: usize,
}

impl Inbound {
    /// `None` when key or salt has not the profile's length.
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8], ssrcs_max: usize) -> Option<Inbound> {
        Some(Inbound {
            profile,
            rtp: Cipher::derive(profile, master_key, master_salt, Labels::RTP)?,
            rtcp: Cipher::derive(profile, master_key, master_salt, Labels::RTCP)?,
            rtp_windows: Windows::default(),
            rtcp_windows: Windows::default(),
            ssrcs_max,
        })
    }

    /// Decrypts in place; what is left of the packet is `packet[..length]`, header included.
    /// An SSRC that signalling did not announce finds state only in the first three quarters of the table.
    pub fn open_rtp(
        &mut self,
        packet: &mut [u8],
        header: &Header,
        announced: bool,
    ) -> Result<(usize, ExtSeq), Dropped> {
        if packet.len() < header.len + self.profile.rtp_overhead() {
            return Err(Dropped::MalformedRtp);
        }
        let known = self.rtp_windows.find(header.ssrc);
        let index = match known {
            Some(at) => {
                let window = &self.rtp_windows.windows[at];
                let index = ExtSeq(window.highest()).nearest(header.seq);
                // Before the very first packet there is nothing to be nearest to.
                if index.seq() != header.seq {
                    return Err(Dropped::SrtpTooOld);
                }
                window.check(index.0)?;
                index
            }
            None => {
                let room = if announced { self.ssrcs_max } else { self.ssrcs_max / 4 * 3 };
                if self.rtp_windows.len() >= room {
                    return Err(Dropped::SrtpSsrcLimit);
                }
                ExtSeq(u64::from(header.seq.0))
            }
        };
        if index.0 >= RTP_INDEX_END {
            return Err(Dropped::SrtpExhausted);
        }
        let len = self.rtp.open_rtp(header.ssrc, index, header.len, packet)?;
        self.rtp_windows.mark(known, header.ssrc, index.0);
        Ok((len, index))
    }

    /// Decrypts a compound in place; what is left of it is `packet[..length]`.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Dropped> {
        let Some(sender) = packet.get(4..8).and_then(<[u8]>::first_chunk) else {
            return Err(Dropped::MalformedRtcp);
        };
        if packet.len() < RTCP_HEADER_LEN + self.profile.rtcp_overhead() {
            return Err(Dropped::MalformedRtcp);
        }
        let ssrc = Ssrc(u32::from_be_bytes(*sender));
        let index = self.rtcp.rtcp_index(packet) & RTCP_INDEX_MASK;
        let known = self.rtcp_windows.find(ssrc);
        match known {
            Some(at) => self.rtcp_windows.windows[at].check(u64::from(index))?,
            None if self.rtcp_windows.len() >= self.ssrcs_max => return Err(Dropped::SrtpSsrcLimit),
            None => {}
        }
        let len = self.rtcp.open_rtcp(ssrc, packet)?;
        self.rtcp_windows.mark(known, ssrc, u64::from(index));
        Ok(len)
    }
}

/// What we send to the participant.
///
/// Sealing twice under one (SSRC, index) with one key would give an AES-GCM key away (NIST SP 800-38D §8), so this type
/// remembers what it sealed and refuses the second time with [`Dropped::SrtpReplayed`], whoever made the mistake.
pub struct Outbound {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    sealed: Windows,
    /// One index for all SSRCs: RFC 3711 asks that it grows within each of them.
    rtcp_index: u32,
}

impl Outbound {
    /// Slots and their retransmission SSRCs at [`crate::Limits::slots_max`], twice over.
    const SSRCS_MAX: usize = 256;

    /// `None` when key or salt has not the profile's length.
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Option<Outbound> {
        Some(Outbound {
            profile,
            rtp: Cipher::derive(profile, master_key, master_salt, Labels::RTP)?,
            rtcp: Cipher::derive(profile, master_key, master_salt, Labels::RTCP)?,
            sealed: Windows::default(),
            rtcp_index: 0,
        })
    }

    /// `out` begins with the header and is `header_len + payload.len() + rtp_overhead` bytes long, or up to
    /// 255 bytes longer, which become RTP padding; all behind the header is written here. The rollover
    /// counter is the upper part of `ext_seq`, whose lower part is in the header.
    pub fn seal_rtp(
        &mut self,
        ext_seq: ExtSeq,
        ssrc: Ssrc,
        header_len: usize,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<(), Dropped> {
        let len = header_len + payload.len() + self.profile.rtp_overhead();
        if !(len..=len + PADDING_MAX).contains(&out.len()) {
            return Err(Dropped::TooLarge);
        }
        self.seal(ext_seq, ssrc, header_len, Source::Elsewhere(payload), out)
    }

    /// For a packet that was composed in the slot: `out[header_len..]` is the payload and room for the tag.
    pub fn seal_rtp_in_place(
        &mut self,
        ext_seq: ExtSeq,
        ssrc: Ssrc,
        header_len: usize,
        out: &mut [u8],
    ) -> Result<(), Dropped> {
        if out.len() < header_len + self.profile.rtp_overhead() {
            return Err(Dropped::TooLarge);
        }
        self.seal(ext_seq, ssrc, header_len, Source::InPlace, out)
    }

    /// Encrypts the compound `out[..packet_len]` in place and returns the length with tag and index.
    pub fn seal_rtcp(&mut self, packet_len: usize, out: &mut [u8]) -> Result<usize, Dropped> {
        let len = packet_len + self.profile.rtcp_overhead();
        if packet_len < RTCP_HEADER_LEN || out.len() < len {
            return Err(Dropped::TooLarge);
        }
        // Past the last index there is no sending any more: a repeated index repeats the key stream (RFC 3711 §9.2).
        if self.rtcp_index >= RTCP_INDEX_MASK {
            return Err(Dropped::SrtpExhausted);
        }
        let index = self.rtcp_index;
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(index, packet_len, &mut out[..len])?;
        Ok(len)
    }

    fn seal(
        &mut self,
        ext_seq: ExtSeq,
        ssrc: Ssrc,
        header_len: usize,
        payload: Source<'_>,
        out: &mut [u8],
    ) -> Result<(), Dropped> {
        if ext_seq.0 >= RTP_INDEX_END {
            return Err(Dropped::SrtpExhausted);
        }
        let known = self.sealed.find(ssrc);
        match known {
            Some(at) => self.sealed.windows[at].check(ext_seq.0)?,
            None if self.sealed.len() >= Outbound::SSRCS_MAX => return Err(Dropped::SrtpSsrcLimit),
            None => {}
        }
        self.rtp.seal_rtp(ssrc, ext_seq, header_len, payload, out)?;
        self.sealed.mark(known, ssrc, ext_seq.0);
        Ok(())
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbound(redacted)")
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound(redacted)")
    }
}

/// The replay windows of one direction. SSRCs lie side by side so that the search reads few cache lines.
#[derive(Default)]
struct Windows {
    ssrcs: Vec<Ssrc>,
    windows: Vec<Window>,
}

impl Windows {
    fn find(&self, ssrc: Ssrc) -> Option<usize> {
        self.ssrcs.iter().position(|&known| known == ssrc)
    }

    /// `known` is what `find` said; the caller has seen to the limit.
    fn mark(&mut self, known: Option<usize>, ssrc: Ssrc, index: u64) {
        match known {
            Some(at) => self.windows[at].mark(index),
            None => {
                self.ssrcs.push(ssrc);
                self.windows.push(Window::starting_at(index));
            }
        }
    }

    fn len(&self) -> usize {
        self.ssrcs.len()
    }
}

/// The first index that is not used: 2^48 packets under one key are the most (RFC 3711 §9.2), and the last is left out.
const RTP_INDEX_END: u64 = (1 << 48) - 1;
/// The SRTCP index has 31 bits; the bit above them is E, "encrypted".
const RTCP_INDEX_MASK: u32 = 0x7fff_ffff;
/// RTP padding counts itself in one octet (RFC 3550 §5.1).
pub(crate) const PADDING_MAX: usize = 255;
const INDEX_LEN: usize = 4;
/// First packet's header and sender SSRC: in the clear.
const RTCP_HEADER_LEN: usize = 8;
