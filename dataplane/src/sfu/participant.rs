//! One browser's side of a room: its transport, what it publishes and the slots it receives through.

use std::time::{Duration, Instant};

use crate::counters::Dropped;
use crate::egress::Egress;
use crate::id::{MediaKind, ParticipantId, SourceKind, Ssrc};
use crate::sfu::allocation::Patience;
use crate::sfu::arrivals::Arrivals;
use crate::sfu::clock::PublisherClock;
use crate::sfu::downlink::Downlink;
use crate::sfu::room::Room;
use crate::sfu::slab::{Key, Slab};
use crate::sfu::slot::{Sender, Slot};
use crate::sfu::source::Source;
use crate::sfu::transport::Transport;
use crate::wire::ext::ExtensionIds;

/// Share of the sent bytes that retransmissions may add: a quarter.
const RESEND_SHARE: u64 = 4;
/// Bytes that may be resent ahead of that share, about one keyframe.
const RESEND_BURST: u64 = 64 * 1024;
/// However narrow the line, a small picture can be mended.
const RESEND_BURST_MIN: u64 = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) id: ParticipantId,
    pub(crate) transport: Transport,
    pub(crate) extensions: ExtensionIds,
    pub(crate) sources: [Option<Key<Source>>; SourceKind::ALL.len()],
    /// Which kinds of source are withheld, also before there is one.
    pub(crate) withheld: [bool; SourceKind::ALL.len()],
    /// Which SSRC is which encoding; an entry is made by an authenticated packet only. `None` once another SSRC has
    /// taken its place: were it let back, two SSRCs in turn could make the server forget a layer with every packet.
    pub(crate) streams: Vec<(Ssrc, Option<Stream>)>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) arrivals: Arrivals,
    pub(crate) clock: PublisherClock,
    pub(crate) downlink: Downlink,
    /// Our own SSRC in reports and feedback.
    pub(crate) ssrc: Ssrc,
    /// Random, for this stay only (RFC 7022).
    pub(crate) cname: [u8; 16],
    pub(crate) connected: bool,
    /// Their audio level is neither used nor passed on.
    pub(crate) objects: bool,
    pub(crate) reported: Option<Instant>,
    pub(crate) resend: ResendBudget,
    pub(crate) intake: Intake,
    pub(crate) sound_intake: Intake,
    pub(crate) padding: PaddingBudget,
    pub(crate) patience: Patience,
}

/// Who sits where: a participant of one worker, and after it nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Seat {
    pub(crate) room: Key<Room>,
    pub(crate) participant: Key<Participant>,
}

/// What an SSRC of a participant carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream {
    pub(crate) source: Key<Source>,
    pub(crate) layer: usize,
    /// Retransmissions of the layer (RFC 4588).
    pub(crate) rtx: bool,
}

/// Random numbers for one participant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    pub(crate) ssrc: Ssrc,
    pub(crate) cname: [u8; 16],
}

impl Participant {
    pub(crate) fn new(id: ParticipantId, transport: Transport, seeds: Seeds) -> Participant {
        Participant {
            id,
            transport,
            extensions: ExtensionIds::default(),
            sources: [None; SourceKind::ALL.len()],
            withheld: [false; SourceKind::ALL.len()],
            streams: Vec::new(),
            slots: Vec::new(),
            arrivals: Arrivals::new(),
            clock: PublisherClock::default(),
            downlink: Downlink::default(),
            ssrc: seeds.ssrc,
            cname: seeds.cname,
            connected: false,
            objects: false,
            reported: None,
            resend: ResendBudget::default(),
            intake: Intake::default(),
            sound_intake: Intake::default(),
            padding: PaddingBudget::default(),
            patience: Patience::default(),
        }
    }

    /// `Some(None)` when the SSRC has had its time.
    pub(crate) fn stream_of(&self, ssrc: Ssrc) -> Option<Option<Stream>> {
        self.streams.iter().find(|(s, _)| *s == ssrc).map(|(_, stream)| *stream)
    }

    pub(crate) fn audio_slots(&self) -> usize {
        self.slots.iter().filter(|slot| slot.spec.kind == MediaKind::Audio).count()
    }

    /// Bits a second of what is heard; a line that loses packets may get every frame twice.
    pub(crate) fn audio_bps(&self, clock: Duration, sources: &Slab<Source>) -> u64 {
        let copies = if self.downlink.is_lossy(clock) { 2 } else { 1 };
        let audio = self.slots.iter().filter(|slot| slot.spec.kind == MediaKind::Audio);
        let heard = audio.filter_map(|slot| sources.find(slot.source?)?.layers.first()?.rate.bps());
        copies * heard.sum::<u64>()
    }

    /// The participant's slots beside what is needed to send into them; `None` before DTLS is done.
    pub(crate) fn receiving(
        &mut self,
        clock: Duration,
        datagram_max: usize,
    ) -> Option<(&mut Vec<Slot>, Sender<'_>)> {
        let overhead = self.transport.profile()?.rtp_overhead();
        let sender = Sender {
            transport: &mut self.transport,
            overhead,
            extensions: &self.extensions,
            downlink: &mut self.downlink,
            clock,
            datagram_max,
            resend: &mut self.resend,
            padding: &mut self.padding,
        };
        Some((&mut self.slots, sender))
    }

    /// What the line to this participant carries; `None` when they have told nothing of it.
    pub(crate) fn estimate_bps(&self) -> Option<u64> {
        self.downlink.estimate_bps()
    }

    /// How much the participant should be able to get.
    pub(crate) fn wants(&mut self, bps: u64) {
        self.downlink.wants(bps);
    }

    /// Sends a compound RTCP packet.
    pub(crate) fn send_rtcp(&mut self, egress: &mut Egress, plain: &[u8]) -> Result<(), Dropped> {
        let overhead = self.transport.profile().ok_or(Dropped::BeforeDtls)?.rtcp_overhead();
        let bytes = self.transport.reserve(egress, plain.len() + overhead)?;
        bytes[..plain.len()].copy_from_slice(plain);
        self.transport.seal_rtcp(plain.len(), bytes)?;
        self.transport.commit(egress);
        Ok(())
    }
}

/// Counts what a participant sends, or has sent to others, against its limit; a second's worth may come at once.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    packets: u64,
    filled: Option<Instant>,
}

impl Intake {
    /// Takes so many of the packets that are left.
    pub(crate) fn admit(&mut self, now: Instant, count: u64, per_second_max: u32) -> Result<(), Dropped> {
        let most = u64::from(per_second_max);
        let passed = self.filled.map_or(Duration::from_secs(1), |at| now.saturating_duration_since(at));
        let earned = passed.as_micros() as u64 * most / 1_000_000;
        if earned > 0 {
            self.packets = (self.packets + earned).min(most);
            self.filled = Some(now);
        }
        self.packets = self.packets.checked_sub(count).ok_or(Dropped::RateLimit)?;
        Ok(())
    }
}

/// Keeps RTP padding below a share of what is sent anyway.
#[derive(Debug, Default)]
pub(crate) struct PaddingBudget {
    bytes: u64,
    percent: u8,
    /// Padding sent since somebody asked.
    spent: u64,
}

impl PaddingBudget {
    /// 0 switches padding off.
    pub(crate) fn set(&mut self, percent: u8) {
        self.percent = percent;
        if percent == 0 {
            self.bytes = 0;
        }
    }

    pub(crate) fn allows(&self, padding: usize) -> bool {
        padding as u64 * PADDING_SCALE <= self.bytes
    }

    pub(crate) fn on_sent(&mut self, bytes: usize, padding: usize) {
        let earned = bytes as u64 * u64::from(self.percent);
        self.bytes = (self.bytes + earned).min(PADDING_BURST * PADDING_SCALE);
        self.bytes = self.bytes.saturating_sub(padding as u64 * PADDING_SCALE);
        self.spent += padding as u64;
    }

    pub(crate) fn take_spent(&mut self) -> u64 {
        std::mem::take(&mut self.spent)
    }
}

/// The budget counts in hundredths of a byte, so that a percentage of a small packet is not lost.
const PADDING_SCALE: u64 = 100;
/// Bytes of padding that may be saved up: a train's worth of small differences.
const PADDING_BURST: u64 = 1500;

/// Keeps retransmissions below a share of what is sent anyway.
#[derive(Debug)]
pub(crate) struct ResendBudget {
    bytes: u64,
}

impl Default for ResendBudget {
    fn default() -> ResendBudget {
        ResendBudget { bytes: RESEND_BURST }
    }
}

impl ResendBudget {
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.bytes = (self.bytes + bytes as u64 / RESEND_SHARE).min(RESEND_BURST);
    }

    /// No more is saved up than the share of one second of the receiver's line.
    pub(crate) fn cap(&mut self, estimate_bps: Option<u64>) {
        let most = estimate_bps.map_or(RESEND_BURST, |bps| (bps / 8 / RESEND_SHARE).max(RESEND_BURST_MIN));
        self.bytes = self.bytes.min(most);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn on_resent(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}
