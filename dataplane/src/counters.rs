//! Plain numbers of one worker: what it received, sent and dropped. No label of any of them names a person or a room.

use std::time::Duration;

/// Why something that arrived was not used. Each reason has a counter and a test that provokes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Dropped {
    /// First byte fits no protocol of RFC 7983.
    NotOurs,
    /// No participant owns this address.
    UnknownAddress,
    MalformedStun,
    /// No participant has this ufrag.
    UnknownUfrag,
    /// MESSAGE-INTEGRITY or FINGERPRINT is missing or wrong.
    StunUnauthentic,
    StunUnsupported,
    /// The path has not proven return routability and its budget is spent.
    AmplificationCap,
    /// Another participant was heard from this address a moment ago.
    AddressTaken,
    DtlsBeforeIce,
    DtlsFailed,
    DtlsOverflow,
    /// More handshakes are under way than the doorman keeps up with; DTLS sends again.
    HandshakeQueueFull,
    MalformedRtp,
    MalformedRtcp,
    BeforeDtls,
    SrtpUnauthentic,
    SrtpReplayed,
    /// Older than the replay window.
    SrtpTooOld,
    SrtpSsrcLimit,
    /// The participant sends more packets a second than anybody needs.
    RateLimit,
    /// The key's packet limit is reached.
    SrtpExhausted,
    UnknownSource,
    UnknownPayloadType,
    SourceOff,
    /// The control plane withholds the source.
    SourceWithheld,
    RtxInvalid,
    /// The receiver negotiated no payload type for the codec.
    CodecNotReceivable,
    /// Outgoing packet would be larger than the path carries.
    TooLarge,
    EgressFull,
    /// A retransmission was asked for that the history does not hold, or a packet came that is older than all it holds.
    NotInHistory,
    /// More keyframe requests than the limit; merged into an earlier one.
    KeyframeRequestMerged,
    ResendBudget,
    /// It would have waited too long for a receiver's narrow line.
    Overdue,
}

impl Dropped {
    pub const ALL: [Dropped; 33] = [
        Dropped::NotOurs,
        Dropped::UnknownAddress,
        Dropped::MalformedStun,
        Dropped::UnknownUfrag,
        Dropped::StunUnauthentic,
        Dropped::StunUnsupported,
        Dropped::AmplificationCap,
        Dropped::AddressTaken,
        Dropped::DtlsBeforeIce,
        Dropped::DtlsFailed,
        Dropped::DtlsOverflow,
        Dropped::HandshakeQueueFull,
        Dropped::MalformedRtp,
        Dropped::MalformedRtcp,
        Dropped::BeforeDtls,
        Dropped::SrtpUnauthentic,
        Dropped::SrtpReplayed,
        Dropped::SrtpTooOld,
        Dropped::SrtpSsrcLimit,
        Dropped::RateLimit,
        Dropped::SrtpExhausted,
        Dropped::UnknownSource,
        Dropped::UnknownPayloadType,
        Dropped::SourceOff,
        Dropped::SourceWithheld,
        Dropped::RtxInvalid,
        Dropped::CodecNotReceivable,
        Dropped::TooLarge,
        Dropped::EgressFull,
        Dropped::NotInHistory,
        Dropped::KeyframeRequestMerged,
        Dropped::ResendBudget,
        Dropped::Overdue,
    ];

    /// The value of the metric's `reason` label.
    pub fn name(self) -> &'static str {
        match self {
            Dropped::NotOurs => "not_ours",
            Dropped::UnknownAddress => "unknown_address",
            Dropped::MalformedStun => "malformed_stun",
            Dropped::UnknownUfrag => "unknown_ufrag",
            Dropped::StunUnauthentic => "stun_unauthentic",
            Dropped::StunUnsupported => "stun_unsupported",
            Dropped::AmplificationCap => "amplification_cap",
            Dropped::AddressTaken => "address_taken",
            Dropped::DtlsBeforeIce => "dtls_before_ice",
            Dropped::DtlsFailed => "dtls_failed",
            Dropped::DtlsOverflow => "dtls_overflow",
            Dropped::HandshakeQueueFull => "handshake_queue_full",
            Dropped::MalformedRtp => "malformed_rtp",
            Dropped::MalformedRtcp => "malformed_rtcp",
            Dropped::BeforeDtls => "before_dtls",
            Dropped::SrtpUnauthentic => "srtp_unauthentic",
            Dropped::SrtpReplayed => "srtp_replayed",
            Dropped::SrtpTooOld => "srtp_too_old",
            Dropped::SrtpSsrcLimit => "srtp_ssrc_limit",
            Dropped::RateLimit => "rate_limit",
            Dropped::SrtpExhausted => "srtp_exhausted",
            Dropped::UnknownSource => "unknown_source",
            Dropped::UnknownPayloadType => "unknown_payload_type",
            Dropped::SourceOff => "source_off",
            Dropped::SourceWithheld => "source_withheld",
            Dropped::RtxInvalid => "rtx_invalid",
            Dropped::CodecNotReceivable => "codec_not_receivable",
            Dropped::TooLarge => "too_large",
            Dropped::EgressFull => "egress_full",
            Dropped::NotInHistory => "not_in_history",
            Dropped::KeyframeRequestMerged => "keyframe_request_merged",
            Dropped::ResendBudget => "resend_budget",
            Dropped::Overdue => "overdue",
        }
    }
}

/// One sum for each reason.
#[derive(Clone, Copy, Debug)]
struct Drops([u64; Dropped::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops([0; Dropped::ALL.len()])
    }
}

/// Sums since the worker started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    dropped: Drops,
    pub rtp_in: u64,
    pub rtcp_in: u64,
    pub rtp_forwarded: u64,
    /// RTP padding that evened out trains (RFC 3550 §5.1).
    pub padding_bytes: u64,
    pub rtx_sent: u64,
    /// Packets of probes that look for what lines carry.
    pub probes_sent: u64,
    /// Packets that waited for a receiver's line.
    pub held: u64,
    pub keyframe_requests_sent: u64,
    pub nacks_sent: u64,
    pub turns: u64,
    /// How long packets are held at the moment so that trains grow, in microseconds.
    pub tick_us: u64,
    /// What the core leaves at the moment of the pictures that receivers would get, in thousandths.
    pub relief_permille: u64,
    /// Processor time of the worker's thread, the kernel's work for it included.
    pub busy: Duration,
    /// Datagrams of handshakes that wait for the doorman at this moment.
    pub handshakes_waiting: u64,
    pub participants: u64,
    pub rooms: u64,
}

impl Counters {
    pub fn drop(&mut self, reason: Dropped) {
        self.drop_many(reason, 1);
    }

    pub fn drop_many(&mut self, reason: Dropped, count: u64) {
        self.dropped.0[reason as usize] += count;
    }

    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped.0[reason as usize]
    }
}
