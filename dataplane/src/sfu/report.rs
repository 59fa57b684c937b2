//! RTCP that the room sends: feedback and requests to publishers, reports to everybody.

use std::time::Duration;

use crate::counters::Dropped;
use crate::id::{RoomId, SeqNo, Ssrc};
use crate::link::Event;
use crate::sfu::clock;
use crate::sfu::layer::Layer;
use crate::sfu::participant::Participant;
use crate::sfu::room::{Turn, slot_shows};
use crate::sfu::slab::{Key, Slab};
use crate::sfu::source::Source;
use crate::wire::rtcp::{ReportBlock, Writer};

/// Interval of sender and receiver reports; browsers use about the same.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Largest compound packet written.
const COMPOUND_MAX: usize = 1200;
/// Report blocks of one receiver report (RFC 3550 §6.4.2 counts them in five bits).
const BLOCKS_MAX: usize = 31;
const NO_BLOCK: ReportBlock = ReportBlock {
    ssrc: Ssrc(0),
    fraction_lost: 0,
    lost: 0,
    highest_seq: 0,
    jitter: 0,
    last_sr: 0,
    delay_since_last_sr: 0,
};

/// Keyframe requests, negative acknowledgements and transport feedback to publishers.
pub(crate) fn send_requests(
    participants: &mut Slab<Participant>,
    sources: &mut Slab<Source>,
    lost: &mut Vec<SeqNo>,
    turn: &mut Turn<'_>,
) {
    let mut buffer = [0; COMPOUND_MAX];
    for (_, source) in sources.iter_mut() {
        let Some(owner) = participants.find_mut(source.owner).filter(|p| p.connected) else { continue };
        // A layer that is silent beside others was paused by its sender. Browsers answer a request for one layer with
        // keyframes of all, so nobody asks before it is back.
        let is_live = source.layers.iter().any(|layer| layer.is_live(turn.now));
        let now = turn.now;
        let wanted = |layer: &Layer| {
            layer.keyframe.wanted().filter(|_| layer.ssrc.is_some() && (layer.is_live(now) || !is_live))
        };
        let interval = source.keyframe_interval(turn.limits.keyframe_interval);
        let most = source.layers.iter().filter_map(wanted).max().filter(|_| source.flows());
        let asks = most.is_some_and(|urgency| source.requests.due(now, interval, urgency));
        let is_split = source.is_split();
        for (index, layer) in source.layers.iter_mut().enumerate() {
            // Newcomers begin with the smallest, which costs little and which browsers make a keyframe of in any case.
            let is_asked =
                asks && (wanted(layer).is_some() || (index == 0 && (is_split || layer.is_live(now))));
            let Some(media) = layer.ssrc else { continue };
            if is_split && index > 0 {
                // Of one encoding, which was asked with the first.
                if is_asked {
                    layer.keyframe.on_asked();
                }
                continue;
            }
            let mut writer = Writer::new(&mut buffer);
            if is_asked {
                writer.pli(owner.ssrc, media);
                layer.keyframe.on_asked();
                turn.counters.keyframe_requests_sent += 1;
            }
            lost.clear();
            layer.next_nacks(turn.now, owner.downlink.round_trip(), lost);
            if !lost.is_empty() && writer.nack(owner.ssrc, media, lost) {
                turn.counters.nacks_sent += lost.len() as u64;
            }
            let len = writer.len();
            send(owner, &buffer[..len], turn);
        }
        // About all of the owner's packets together, so at the first of its sources.
        if owner.arrivals.is_due(turn.now) {
            let media = owner.streams.first().map_or(owner.ssrc, |(ssrc, _)| *ssrc);
            while let Some(len) = owner.arrivals.next_feedback(turn.now, &mut buffer, owner.ssrc, media) {
                send(owner, &buffer[..len], turn);
            }
        }
    }
}

/// About once a second and participant: a receiver report on what it sends and a sender report on every slot in use.
pub(crate) fn send_reports(
    room: RoomId,
    participants: &mut Slab<Participant>,
    sources: &mut Slab<Source>,
    turn: &mut Turn<'_>,
) {
    let mut buffer = [0; COMPOUND_MAX];
    let mut from = None;
    while let Some(key) = participants.next_key(from) {
        from = Some(key);
        let Some(participant) = participants.find_mut(key) else { continue };
        if participant.connected && participant.reported.is_none_or(|at| turn.now >= at + REPORT_INTERVAL) {
            participant.reported = Some(turn.now);
            let mut slot = Some(0);
            while let Some(first) = slot {
                let (len, next) = write_reports(participants, sources, key, first, &mut buffer, turn);
                if let Some(participant) = participants.find_mut(key) {
                    send(participant, &buffer[..len], turn);
                }
                slot = next;
            }
            tell_line(room, participants.find_mut(key), sources, turn);
        }
    }
}

/// How their line is, and which of their pictures are shown in another size than they know of.
fn tell_line(
    room: RoomId,
    participant: Option<&mut Participant>,
    sources: &Slab<Source>,
    turn: &mut Turn<'_>,
) {
    let Some(participant) = participant else { return };
    for (index, slot) in participant.slots.iter_mut().enumerate() {
        if let Some(source) = slot.source.and_then(|source| sources.find(source))
            && let Some(how) = slot.next_showing()
        {
            turn.events.push_back(slot_shows(room, participant.id, index, source, how));
        }
    }
    if let Some(quality) = participant.downlink.next_quality() {
        turn.events.push_back(Event::Quality { room, participant: participant.id, quality });
    }
}

/// Writes one compound packet for `key`: a sender report on each slot from `first` on as far as there is room, before
/// the first of them a receiver report. Returns its length, and the slot to go on with.
fn write_reports(
    participants: &Slab<Participant>,
    sources: &mut Slab<Source>,
    key: Key<Participant>,
    first: usize,
    buffer: &mut [u8],
    turn: &Turn<'_>,
) -> (usize, Option<usize>) {
    let Some(participant) = participants.find(key) else { return (0, None) };
    let mut writer = Writer::new(buffer);
    if first == 0 {
        write_receiver_report(participant, sources, &mut writer, turn);
    }
    let clock = turn.clock();
    for (index, slot) in participant.slots.iter().enumerate().skip(first) {
        let rtp_time_now = |source, layer: usize| {
            let source = sources.find(source)?;
            let owner = participants.find(source.owner)?;
            let rate_hz = source.spec.codecs.first()?.codec.clock_rate_hz();
            owner.clock.rtp_time_at(source.layers.get(layer)?.sender_report(), rate_hz, clock)
        };
        let Some(info) = slot.next_sender_info(clock::ntp(clock), clock, rtp_time_now) else { continue };
        if !writer.sender_report(&info, &[]) {
            return (writer.len(), Some(index).filter(|index| *index > first));
        }
        writer.cname(info.ssrc, &participant.cname);
    }
    (writer.len(), None)
}

fn write_receiver_report(
    participant: &Participant,
    sources: &mut Slab<Source>,
    writer: &mut Writer<'_>,
    turn: &Turn<'_>,
) {
    let mut blocks = [NO_BLOCK; BLOCKS_MAX];
    let mut count = 0;
    for source in participant.sources.iter().flatten() {
        let Some(source) = sources.find_mut(*source) else { continue };
        for (block, place) in
            source.layers.iter_mut().filter_map(|l| l.next_report_block(turn.now)).zip(&mut blocks[count..])
        {
            *place = block;
            count += 1;
        }
    }
    writer.receiver_report(participant.ssrc, &blocks[..count]);
    writer.cname(participant.ssrc, &participant.cname);
}

fn send(participant: &mut Participant, compound: &[u8], turn: &mut Turn<'_>) {
    if compound.is_empty() {
        return;
    }
    match participant.send_rtcp(turn.egress, compound) {
        Ok(()) | Err(Dropped::BeforeDtls) => {}
        Err(reason) => turn.counters.drop(reason),
    }
}
