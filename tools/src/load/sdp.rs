//! Offers as small as a browser's could be, and the few lines of an answer that matter to a participant.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::peer::{OPUS, RTX, Remote, VP8};
use super::publisher::Stream;

const AUDIO_LEVEL: u8 = 1;
const MID: u8 = 4;
const RID: u8 = 10;
const RIDS: [&str; 3] = ["q", "h", "f"];

#[derive(Debug)]
pub struct Offer<'a> {
    pub ufrag: &'a str,
    pub pwd: &'a str,
    pub fingerprint: [u8; 32],
    pub streams: &'a [Stream],
    pub audio_slots: usize,
    pub video_slots: usize,
}

/// What a description says about where and how to connect.
#[derive(Clone, Debug)]
pub struct Answer {
    pub remote: Remote,
    pub server: SocketAddr,
}

/// The header extensions of a stream: the level of a voice, and MID and RID where no SSRC was told.
pub fn extension(streams: &[Stream], stream: &Stream, level: u8) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut push = |id: u8, value: &[u8]| {
        elements.push(id << 4 | (value.len() as u8 - 1));
        elements.extend(value);
    };
    match &stream.video {
        None => push(AUDIO_LEVEL, &[0x80 | level]),
        Some(_) => {
            let layers: Vec<&Stream> = streams.iter().filter(|stream| stream.video.is_some()).collect();
            if layers.len() > 1 {
                let layer = layers.iter().position(|layer| layer.ssrc == stream.ssrc).unwrap_or(0);
                let mid = usize::from(streams.iter().any(|stream| stream.video.is_none())).to_string();
                push(MID, mid.as_bytes());
                push(RID, RIDS[layer.min(2)].as_bytes());
            }
        }
    }
    if elements.is_empty() {
        return elements;
    }
    elements.resize(elements.len().next_multiple_of(4), 0);
    let mut block = vec![0xBE, 0xDE, 0, (elements.len() / 4) as u8];
    block.extend(elements);
    block
}

impl Offer<'_> {
    /// Sending m-lines first, then slots. Returns the MIDs of the sources by their names, and of the video slots.
    pub fn write(&self) -> (String, Vec<(String, &'static str)>, Vec<String>) {
        let audio: Vec<&Stream> = self.streams.iter().filter(|stream| stream.video.is_none()).collect();
        let video: Vec<&Stream> = self.streams.iter().filter(|stream| stream.video.is_some()).collect();
        let (mut sources, mut slots) = (Vec::new(), Vec::new());
        let mut body = String::new();
        let mut mids = 0;
        let mut line = |audio: bool, direction: &str, more: &str| {
            let mid = mids.to_string();
            mids += 1;
            let (media, formats) =
                if audio { ("audio", format!("{OPUS}")) } else { ("video", format!("{VP8} {RTX}")) };
            // Writing into a String cannot fail.
            let _ = write!(
                body,
                "m={media} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
                 a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n\
                 a=extmap:{MID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
                 a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
                 a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
                self.ufrag,
                self.pwd,
                hex(&self.fingerprint)
            );
            if audio {
                let _ = write!(
                    body,
                    "a=extmap:{AUDIO_LEVEL} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:{OPUS} opus/48000/2\r\n\
                     a=rtcp-fb:{OPUS} transport-cc\r\na=fmtp:{OPUS} minptime=10;useinbandfec=1\r\n"
                );
            } else {
                let _ = write!(
                    body,
                    "a=extmap:{RID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=rtpmap:{VP8} VP8/90000\r\n\
                     a=rtcp-fb:{VP8} transport-cc\r\na=rtcp-fb:{VP8} ccm fir\r\na=rtcp-fb:{VP8} nack\r\n\
                     a=rtcp-fb:{VP8} nack pli\r\na=rtpmap:{RTX} rtx/90000\r\na=fmtp:{RTX} apt={VP8}\r\n"
                );
            }
            let _ = write!(body, "a=rtcp-mux\r\na=rtcp-rsize\r\na={direction}\r\n{more}");
            mid
        };
        let ssrcs = |stream: &Stream| format!("a=ssrc:{} cname:load\r\n", stream.ssrc);
        for stream in audio {
            sources.push((line(true, "sendonly", &ssrcs(stream)), "microphone"));
        }
        match &video[..] {
            [] => {}
            [stream] => sources.push((line(false, "sendonly", &ssrcs(stream)), "camera")),
            layers => {
                let rids = &RIDS[..layers.len().min(3)];
                let mut more: String = rids.iter().map(|rid| format!("a=rid:{rid} send\r\n")).collect();
                let _ = write!(more, "a=simulcast:send {}\r\n", rids.join(";"));
                sources.push((line(false, "sendonly", &more), "camera"));
            }
        }
        for _ in 0..self.audio_slots {
            line(true, "recvonly", "");
        }
        for _ in 0..self.video_slots {
            slots.push(line(false, "recvonly", ""));
        }
        let bundle: String = (0..mids).map(|mid| format!(" {mid}")).collect();
        let head = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE{bundle}\r\na=extmap-allow-mixed\r\n"
        );
        (head + &body, sources, slots)
    }
}

/// `None` when a part is missing. Of several candidates the first is the server's preferred one.
pub fn read_answer(text: &str) -> Option<Answer> {
    let value = |name: &str| text.lines().find_map(|line| line.trim_end().strip_prefix(name));
    let mut fingerprint = [0; 32];
    let mut bytes = value("a=fingerprint:sha-256 ")?.split(':');
    for byte in &mut fingerprint {
        *byte = u8::from_str_radix(bytes.next()?, 16).ok()?;
    }
    let candidates = text.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let mut addresses = candidates.filter_map(|candidate| {
        let fields: Vec<&str> = candidate.split_whitespace().collect();
        let address: IpAddr = fields.get(4)?.parse().ok()?;
        Some(SocketAddr::from((address, fields.get(5)?.parse().ok()?)))
    });
    let remote = Remote {
        ufrag: value("a=ice-ufrag:")?.to_owned(),
        pwd: value("a=ice-pwd:")?.to_owned(),
        fingerprint,
    };
    Some(Answer { remote, server: addresses.next()? })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_keys_and_address() {
        let hash = ["0A"; 32].join(":");
        let text = format!(
            "v=0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 {hash}\r\n\
             a=candidate:1 1 udp 2130706431 127.0.0.1 10007 typ host\r\n"
        );
        let answer = read_answer(&text).unwrap();
        assert_eq!((answer.remote.fingerprint, answer.server.port()), ([10; 32], 10_007));
        assert!(read_answer(&text.replace("a=candidate", "a=x")).is_none());
    }
}
