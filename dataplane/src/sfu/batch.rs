//! Packets that were opened and wait for the pacer: what arrived within one tick, in the clear, before it is sealed for
//! every receiver. Sizes are known before the first of them is sealed, so trains can be evened out exactly, and one
//! receiver's keys and block stay in the cache while everything that is due to it is sealed.
//!
//! ```text
//! packets  [ camera 1 | mic 3 | camera 1 | camera 1 | camera 7 | … ]      as they arrived
//! groups   [ camera 1: 0, 2, 3 | camera 7: 4 | mic 3: 1 ]                   of one room, the largest first
//! ```
//!
//! Bounded, allocated once, zeroed when the batch has left.

use std::fmt;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::id::{Codec, ExtSeq, MediaKind, RoomId, RtpTime, SlotIndex};
use crate::sfu::allocation::LAYERS_MAX;
use crate::sfu::participant::Participant;
use crate::sfu::slab::Key;
use crate::sfu::source::Source;
use crate::sfu::tempo::Numbers;
use crate::wire::codec::FrameMark;
use crate::wire::ext::AudioLevel;

/// Packets of one batch: a worker that is late by 5 ms at 50,000 packets a second has as many.
pub(crate) const PACKETS_MAX: usize = 256;
/// Payloads and dependency descriptors of a full batch of largest packets.
const BYTES_MAX: usize = PACKETS_MAX * 1536;

/// The packets of one worker's tick.
pub(crate) struct Batch {
    bytes: Box<[u8]>,
    used: usize,
    packets: Vec<Pending>,
    groups: Vec<Group>,
    /// Places in `packets`, group by group.
    order: Vec<u16>,
    /// Lent to a room while it fans out: who gets which group.
    pub(crate) legs: Vec<Leg>,
    first: Option<Instant>,
    /// When the batch before this one left.
    left: Option<Instant>,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) kind: MediaKind,
    pub(crate) layer: usize,
    pub(crate) epoch: u32,
    pub(crate) seq: ExtSeq,
    pub(crate) numbers: Numbers,
    pub(crate) timestamp: RtpTime,
    pub(crate) marker: bool,
    pub(crate) padding: bool,
    pub(crate) codec: Codec,
    pub(crate) mark: FrameMark,
    pub(crate) audio_level: Option<AudioLevel>,
    /// When the picture or sound was captured, on the server's clock; comparable within one publisher.
    pub(crate) captured: Duration,
}

struct Pending {
    meta: Meta,
    start: usize,
    payload_len: usize,
    descriptor_len: Option<usize>,
    /// The longest payload of this packet and those behind it in its group.
    longest: usize,
    /// The group that it belongs to.
    group: u16,
}

/// Packets of one layer of one source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) room: RoomId,
    pub(crate) source: Key<Source>,
    pub(crate) layer: usize,
    /// Longest payload.
    longest: usize,
    count: u16,
    /// Its newest packet does not end a frame, and nobody can show what is not complete.
    mid_frame: bool,
    /// Where it begins in `order`, and how much of it is there.
    start: u16,
    ordered: u16,
}

/// A group on its way into one slot of one participant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) participant: Key<Participant>,
    pub(crate) slot: SlotIndex,
    pub(crate) group: usize,
}

/// One packet as the fan-out sees it. Not `Debug`: it holds what somebody said or showed.
pub(crate) struct Item<'a> {
    pub(crate) source: Key<Source>,
    pub(crate) meta: &'a Meta,
    pub(crate) payload: &'a mut [u8],
    pub(crate) descriptor: Option<&'a [u8]>,
    /// Bytes of the longest payload among this packet and those behind it.
    pub(crate) longest: usize,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch {
            bytes: vec![0; BYTES_MAX].into_boxed_slice(),
            used: 0,
            packets: Vec::with_capacity(PACKETS_MAX),
            groups: Vec::with_capacity(PACKETS_MAX),
            order: Vec::with_capacity(PACKETS_MAX),
            legs: Vec::new(),
            first: None,
            left: None,
        }
    }

    /// Keeps a packet until the batch leaves. False when there is no room, which [`Batch::is_full`] tells beforehand.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        room: RoomId,
        source: Key<Source>,
        meta: Meta,
        descriptor: Option<&[u8]>,
        payload: &[u8],
    ) -> bool {
        let descriptor_len = descriptor.map(<[u8]>::len);
        let len = payload.len() + descriptor_len.unwrap_or(0);
        let Some(place) = self.bytes.get_mut(self.used..self.used + len) else { return false };
        if self.packets.len() == PACKETS_MAX {
            return false;
        }
        let (payload_place, descriptor_place) = place.split_at_mut(payload.len());
        payload_place.copy_from_slice(payload);
        descriptor_place.copy_from_slice(descriptor.unwrap_or_default());
        let layer = meta.layer;
        let same = |g: &Group| g.source == source && g.layer == layer && g.room == room;
        let group = self.groups.iter().position(same).unwrap_or_else(|| {
            let (longest, count, mid_frame) = (0, 0, false);
            self.groups.push(Group { room, source, layer, longest, count, mid_frame, start: 0, ordered: 0 });
            self.groups.len() - 1
        });
        self.groups[group].longest = self.groups[group].longest.max(payload.len());
        self.groups[group].count += 1;
        self.groups[group].mid_frame = meta.kind == MediaKind::Video && !meta.marker;
        let (start, payload_len) = (self.used, payload.len());
        self.packets.push(Pending {
            meta,
            start,
            payload_len,
            descriptor_len,
            longest: 0,
            group: group as u16,
        });
        self.used += len;
        self.first.get_or_insert(now);
        true
    }

    /// Whether the next packet might find no room.
    pub(crate) fn is_full(&self) -> bool {
        // It may be a part of several layers.
        self.packets.len() + LAYERS_MAX > PACKETS_MAX || self.used + LAYERS_MAX * 2048 > self.bytes.len()
    }

    /// When the batch shall leave: at once, but not within `tick` of the batch before it, and `frame` after its first
    /// packet if a frame is still incomplete then. What arrives evenly waits for half a tick in the mean; a burst after
    /// a pause does not wait at all.
    pub(crate) fn due(&self, tick: Duration, frame: Duration) -> Option<Instant> {
        let first = self.first?;
        let paced = self.left.map_or(first, |left| first.max(left + tick));
        let incomplete = self.groups.iter().any(|group| group.mid_frame);
        Some(if incomplete { paced.max(first + frame) } else { paced })
    }

    /// Orders what has arrived: room by room, and in each room the source with the largest packet first, so that small
    /// packets come last and can end a train.
    pub(crate) fn close(&mut self) {
        let mut start = 0;
        for group in &mut self.groups {
            group.start = start;
            start += group.count;
        }
        self.order.resize(self.packets.len(), 0);
        for (index, packet) in self.packets.iter().enumerate() {
            let group = &mut self.groups[usize::from(packet.group)];
            self.order[usize::from(group.start + group.ordered)] = index as u16;
            group.ordered += 1;
        }
        for group in &self.groups {
            let mut longest = 0;
            for &index in self.order[usize::from(group.start)..][..usize::from(group.count)].iter().rev() {
                let packet = &mut self.packets[usize::from(index)];
                longest = longest.max(packet.payload_len);
                packet.longest = longest;
            }
        }
        self.groups.sort_unstable_by_key(|g| (g.room.0, usize::MAX - g.longest, g.start));
    }

    /// The room whose groups begin at number `start`, and where they end.
    pub(crate) fn room_from(&self, start: usize) -> Option<(RoomId, usize)> {
        let rest = self.groups.get(start..)?;
        let room = rest.first()?.room;
        Some((room, start + rest.iter().take_while(|g| g.room == room).count()))
    }

    pub(crate) fn group(&self, index: usize) -> Group {
        self.groups[index]
    }

    /// The first packet of a group, and the lowest number in it.
    pub(crate) fn beginning(&self, group: &Group) -> Option<(Meta, ExtSeq)> {
        let places = self.order.get(usize::from(group.start)..)?.get(..usize::from(group.count))?;
        let metas =
            || places.iter().filter_map(|place| self.packets.get(usize::from(*place))).map(|p| &p.meta);
        Some((*metas().next()?, metas().map(|meta| meta.seq).min()?))
    }

    /// Packet `nth` of a group.
    pub(crate) fn item(&mut self, group: &Group, nth: u16) -> Item<'_> {
        let packet = &self.packets[usize::from(self.order[usize::from(group.start + nth)])];
        let bytes = &mut self.bytes[packet.start..];
        let (payload, rest) = bytes.split_at_mut(packet.payload_len);
        let descriptor = packet.descriptor_len.map(|len| &rest[..len]);
        Item { source: group.source, meta: &packet.meta, payload, descriptor, longest: packet.longest }
    }

    /// Forgets everything: it left at `now`.
    pub(crate) fn clear(&mut self, now: Instant) {
        // The memory stays ours and is read again, so the writes are not dead; `zeroize` goes byte by byte, which would
        // cost a packet to few receivers more than its sealing.
        self.bytes[..self.used].fill(0);
        self.used = 0;
        self.packets.clear();
        self.groups.clear();
        self.order.clear();
        self.first = None;
        self.left = Some(now);
    }
}

impl Group {
    pub(crate) fn len(&self) -> u16 {
        self.count
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.bytes[..self.used].zeroize();
    }
}

/// What people said and showed is for nobody's eyes.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("packets", &self.packets.len()).finish_non_exhaustive()
    }
}
