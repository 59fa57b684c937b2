//! What a viewer gets, measured at the bottleneck of its line and in its slots.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use saal_dataplane::id::ParticipantId;
use saal_dataplane::id::SourceKind::{self, Camera, Microphone};
use saal_dataplane::io::line::Wait;
use saal_dataplane::io::sim::Direction;
use saal_dataplane::link::Event;
use saal_tests::client::plan::{LayerPlan, Plan, SourcePlan};
use saal_tests::client::slot::{Arrival, Slot};
use saal_tests::world::{Who, World};

/// A camera of 150, 500 and 1700 kbit/s, and a voice of 36 kbit/s.
pub(crate) fn publisher() -> Plan {
    publisher_with_keyframes(1)
}

/// The same, with keyframes so many times as large as other pictures.
pub(crate) fn publisher_with_keyframes(keyframe_factor: u8) -> Plan {
    let layer = |rid, height, parts, part_bytes| LayerPlan { rid: Some(rid), height, parts, part_bytes };
    let layers = vec![layer("q", 180, 1, 750), layer("h", 360, 3, 833), layer("f", 720, 8, 1062)];
    let camera = SourcePlan { layers, keyframe_factor, ..SourcePlan::simulcast() };
    Plan::browser().sending(vec![SourcePlan::microphone(), camera])
}

/// Somebody's line from the moment on at which its script began.
pub(crate) struct Meter {
    pub(crate) start: Instant,
    who: Who,
    waits: Vec<Wait>,
}

impl Meter {
    /// From now on what the server sends to `who` goes through this line.
    pub(crate) fn begin(world: &mut World, who: Who, script: &str) -> Meter {
        world.set_script(who, Direction::Down, script);
        world.take_waits(who, Direction::Down);
        world.forget_received();
        Meter { start: world.now(), who, waits: Vec::new() }
    }

    /// Goes on until so much time has passed since the beginning.
    pub(crate) fn run_until(&mut self, world: &mut World, seconds: f64) {
        let end = self.start + Duration::from_secs_f64(seconds);
        world.run_for(end.saturating_duration_since(world.now()));
        self.waits.extend(world.take_waits(self.who, Direction::Down));
    }

    /// Bits a second that entered the line between two moments, in seconds since the beginning.
    pub(crate) fn sent_bps(&self, from: f64, to: f64) -> f64 {
        let bytes: usize = self.within(from, to).map(|wait| wait.bytes).sum();
        bytes as f64 * 8.0 / (to - from)
    }

    pub(crate) fn wait_p95_ms(&self, from: f64, to: f64) -> f64 {
        let waits = self.within(from, to).map(|wait| wait.waited.as_secs_f64() * 1000.0);
        percentile(waits.collect(), 95)
    }

    fn within(&self, from: f64, to: f64) -> impl Iterator<Item = &Wait> {
        let range = self.at(from)..self.at(to);
        self.waits.iter().filter(move |wait| range.contains(&wait.sent))
    }

    pub(crate) fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }
}

/// What the server took the line to carry at that moment, as it told the owner.
pub(crate) fn estimate_bps(world: &World, who: Who) -> Option<u64> {
    let id = world.id(who);
    world.events.iter().rev().find_map(|event| match event {
        Event::Quality { participant, quality, .. } if *participant == id => quality.estimate_bps,
        _ => None,
    })
}

/// The share of a publisher's sound that did not arrive, of what was sent while any of it arrived.
pub(crate) fn audio_loss(world: &World, who: Who, from: Who) -> f64 {
    let publisher = world.id(from);
    let frames: BTreeSet<u32> =
        stream(world, who, publisher, Microphone).map(|arrival| arrival.stamp.frame).collect();
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return 1.0 };
    1.0 - frames.len() as f64 / f64::from(last - first + 1)
}

/// The same, where a frame that came along with the one behind it was heard as well (RFC 2198).
pub(crate) fn concealed(world: &World, who: Who, from: Who) -> f64 {
    let publisher = world.id(from);
    let frames: BTreeSet<u32> = stream(world, who, publisher, Microphone)
        .flat_map(|arrival| [Some(arrival.stamp), arrival.earlier])
        .filter_map(|stamp| Some(stamp?.frame))
        .collect();
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return 1.0 };
    1.0 - frames.len() as f64 / f64::from(last - first + 1)
}

fn stream(
    world: &World,
    who: Who,
    publisher: ParticipantId,
    kind: SourceKind,
) -> impl Iterator<Item = &Arrival> {
    let slots = &world.clients[who].slots;
    let arrivals = slots.iter().flat_map(|slot| &slot.arrivals);
    arrivals.filter(move |arrival| arrival.stamp.publisher == publisher && arrival.stamp.kind == kind)
}

/// Changes of layer in a slot between two moments.
pub(crate) fn layer_switches(slot: &Slot, from: Instant, to: Instant) -> usize {
    let mut arrivals: Vec<_> =
        slot.arrivals.iter().filter(|a| (from..to).contains(&a.at) && !a.rtx).collect();
    arrivals.sort_by_key(|arrival| arrival.seq);
    arrivals.windows(2).filter(|pair| pair[0].stamp.layer != pair[1].stamp.layer).count()
}

/// The longest time between two pictures that were complete, and could be shown in the order of their making.
pub(crate) fn longest_freeze(slot: &Slot, from: Instant, to: Instant) -> Duration {
    let mut shown: Vec<Instant> =
        complete_frames(slot).into_iter().filter(|at| (from..to).contains(at)).collect();
    shown.insert(0, from);
    shown.push(to);
    shown.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// When each picture could be shown: all of it is there, and of all before it in the stream.
fn complete_frames(slot: &Slot) -> Vec<Instant> {
    let mut arrivals: Vec<&Arrival> = slot.arrivals.iter().collect();
    arrivals.sort_by_key(|arrival| (arrival.seq, arrival.at));
    arrivals.dedup_by_key(|arrival| arrival.seq);
    let mut shown = Vec::new();
    let (mut ready, mut next, mut whole) = (None::<Instant>, None, false);
    for arrival in arrivals {
        let starts = arrival.vp8.is_some_and(|vp8| vp8.keyframe) && arrival.stamp.part == 0;
        if next != Some(arrival.seq) {
            whole = false;
        }
        if starts {
            // A decoder can begin here, whatever is missing before.
            (whole, ready) = (true, None);
        }
        ready = Some(ready.map_or(arrival.at, |at| at.max(arrival.at)));
        if arrival.marker && whole {
            shown.extend(ready);
        }
        next = Some(arrival.seq + 1);
    }
    shown.sort_unstable();
    shown
}

pub(crate) fn camera_slot(world: &World, who: Who, from: Who) -> &Slot {
    let publisher = world.id(from);
    let slots = &world.clients[who].slots;
    slots.iter().find(|slot| slot.count(publisher, Camera) > 0).expect("the camera is shown")
}

pub(crate) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// A figure of the table.
#[expect(clippy::print_stdout, reason = "the table is made of what these tests print")]
pub(crate) fn tell(line: &str, seed: u64, figures: &str) {
    println!("{line} (seed {seed}): {figures}");
}
