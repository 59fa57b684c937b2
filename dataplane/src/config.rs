//! Every limit of the data plane as a named field, its default and why it is there.

use std::net::IpAddr;
use std::time::Duration;

use crate::io::IoChoice;

/// What `DataPlane::start` needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// One worker per entry, pinned to that core; `None` leaves the worker unpinned.
    pub cores: Vec<Option<usize>>,
    /// Worker i binds UDP port `port + i`.
    pub port: u16,
    /// `None` binds every address, IPv6 and IPv4 in one socket.
    pub bind: Option<IpAddr>,
    pub io: IoChoice,
    /// Tells two runs of the server apart in the ICE ufrag.
    pub generation: u16,
    pub limits: Limits,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands waiting for one worker; above it the control plane answers "busy".
    pub commands_max: usize,
    /// Events waiting for the control plane.
    pub events_max: usize,
    /// Participants of one room: what one core can serve with everybody's audio.
    pub participants_per_room_max: usize,
    /// Receive slots of one participant: the largest page layout.
    pub slots_max: usize,
    /// SSRCs a participant may send: three sources with three layers, each with RTX, and room for renegotiation.
    pub ssrcs_max: usize,
    /// Packets a second that one participant may send: ten times what a camera, a screen and a microphone need. Each
    /// costs as many as there are receivers, on a core that serves other rooms as well.
    pub packets_per_second_max: u32,
    /// Packets of sound that one participant may have sent to all others together in a second: twice what a browser's
    /// microphone takes in a full room. A core that has too much to do leaves pictures out and never sound, so that more of it
    /// would take everybody's pictures and then everybody's sound.
    pub sound_forwards_per_second_max: u32,
    /// Datagrams of DTLS a second that one participant may have read: a handshake takes about ten.
    pub dtls_per_second_max: u32,
    /// Datagrams of handshakes that wait for the doorman, per worker: three hundred people who join in one instant.
    pub handshake_queue_max: usize,
    /// Packets kept per layer for retransmission: 512 are about 2 s of a 2.5 Mbit/s layer.
    pub history_packets: usize,
    /// A participant without an authenticated check for this long is gone (RFC 7675 allows at most 30 s).
    pub consent: Duration,
    /// A participant that has not finished ICE and DTLS by then is gone.
    pub setup: Duration,
    /// Time between two keyframe requests to one source in the long run: however many people come, a publisher's other
    /// pictures must not get worse.
    pub keyframe_interval: Duration,
    /// Blocks of the send buffer per worker, 32 KiB each; touched only when used.
    pub egress_blocks: usize,
    /// Packets of one train; 1 sends every packet by itself.
    pub segments_max: usize,
    /// Longest time that packets wait so that trains grow, reached when the core has work; 0 lets them leave at the end of
    /// each turn. More than a few milliseconds would be heard in a conversation.
    pub tick_max: Duration,
    /// Bytes of padding, in percent of what a receiver gets, that may even out trains when the core is busy; 0 for none.
    pub padding_max_percent: u8,
    /// Largest outgoing datagram in bytes: fits IPv6 minimum paths with tunnels (RFC 8834 §4.5 in spirit).
    pub datagram_max: usize,
    /// Socket buffers in bytes; the kernel's own limits may cap them.
    pub receive_buffer_bytes: usize,
    pub send_buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            commands_max: 1024,
            events_max: 16_384,
            participants_per_room_max: 500,
            slots_max: 64,
            ssrcs_max: 64,
            packets_per_second_max: 5000,
            sound_forwards_per_second_max: 50_000,
            dtls_per_second_max: 256,
            handshake_queue_max: 1024,
            history_packets: 512,
            consent: Duration::from_secs(15),
            setup: Duration::from_secs(30),
            keyframe_interval: Duration::from_secs(2),
            egress_blocks: 2048,
            segments_max: 44,
            tick_max: Duration::from_millis(1),
            padding_max_percent: 5,
            datagram_max: 1452,
            receive_buffer_bytes: 4 << 20,
            send_buffer_bytes: 4 << 20,
        }
    }
}
