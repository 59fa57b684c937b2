//! The participants of a scenario, brought into their rooms: on a server, at the floor, or at the echo.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::echo::{self, Echo};
use super::engine::Engine;
use super::peer::{Hello, OPUS, Peer, Plan, StaticKey, VP8};
use super::publisher::Stream;
use super::scenario::{Joins, Scenario, Signalling};
use super::sdp::{self, Offer};
use super::signal::{Line, Room, Server};
use super::stamp::now_ns;
use crate::client::secure::Certificate;
use crate::random::Random;

/// Joins under way at once: what a web server would see at the start of an hour.
const JOINING_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// One receiver in so many opens every packet, and at least two of each room.
const SAMPLED_EVERY: usize = 8;
const SAMPLED_MIN: usize = 2;

/// Everybody who is there. They leave when this is dropped, and for good with [`Crowd::leave`].
#[derive(Debug, Default)]
pub struct Crowd {
    lines: Vec<Line>,
    rooms: Vec<Room>,
    server: Option<Server>,
    _echo: Option<Echo>,
}

/// Where one participant of a scenario belongs.
#[derive(Clone, Copy, Debug)]
struct Seat {
    number: usize,
    room: usize,
    /// Within the room; publishers come first.
    place: usize,
    sends: bool,
    receives: bool,
    sampled: bool,
}

fn seats(scenario: &Scenario) -> Vec<Seat> {
    let per_room = scenario.publishers + scenario.viewers;
    let seat = |number: usize| {
        let place = number % per_room;
        let sends = place < scenario.publishers;
        let receives = !sends || scenario.publishers_receive;
        // The last of a room, for the first may be publishers only.
        let sampled = receives && (place.is_multiple_of(SAMPLED_EVERY) || place + SAMPLED_MIN >= per_room);
        Seat { number, room: number / per_room, place, sends, receives, sampled }
    };
    (0..scenario.rooms * per_room).map(seat).collect()
}

fn streams(scenario: &Scenario, seat: &Seat, random: &mut Random) -> Vec<Stream> {
    let mut streams = Vec::new();
    if !seat.sends {
        return streams;
    }
    if let Some(audio) = &scenario.audio {
        let interval = Duration::from_secs_f64(1.0 / audio.packets_per_second);
        streams.push(Stream::new(0, OPUS, None, audio.bytes, interval, random));
    }
    for layer in scenario.video.iter().flat_map(|video| &video.layers) {
        let frames_per_second = scenario.video.as_ref().map_or(1.0, |video| video.frames_per_second);
        let interval = Duration::from_secs_f64(1.0 / frames_per_second);
        streams.push(Stream::new(streams.len(), VP8, Some(layer.clone()), 0, interval, random));
    }
    // The first of a room speaks loudest.
    let level = 20 + 2 * (seat.place as u8 % 40);
    let extensions: Vec<Vec<u8>> =
        streams.iter().map(|stream| sdp::extension(&streams, stream, level)).collect();
    for (stream, extension) in streams.iter_mut().zip(extensions) {
        stream.extension = extension;
    }
    streams
}

fn plan(scenario: &Scenario, seat: &Seat, streams: Vec<Stream>) -> Plan {
    Plan {
        number: seat.number,
        room: seat.room,
        streams,
        sampled: seat.sampled,
        transport_feedback: scenario.transport_feedback,
        asked_at_ns: now_ns(),
    }
}

impl Crowd {
    /// Opens the rooms and joins everybody; returns when media reaches all who shall receive it.
    pub async fn on_server(
        engine: &mut Engine,
        server: &Server,
        scenario: &Scenario,
        certificate: &Certificate,
    ) -> Result<Crowd, String> {
        let mut random = Random::new(now_ns());
        let mut crowd = Crowd { server: Some(server.clone()), ..Crowd::default() };
        for _ in 0..scenario.rooms {
            crowd.rooms.push(server.open_room().await?);
        }
        let mut joining = FuturesUnordered::new();
        let mut joined: Vec<(Seat, Option<Line>, Vec<String>)> = Vec::new();
        let mut seats = seats(scenario).into_iter();
        loop {
            if joining.len() < JOINING_MAX
                && let Some(seat) = seats.next()
            {
                let streams = streams(scenario, &seat, &mut random);
                let room = crowd.rooms[seat.room].clone();
                let joiner = Joiner {
                    server: server.clone(),
                    room,
                    fingerprint: certificate.fingerprint,
                    ufrag: random.ice_chars(8),
                    pwd: random.ice_chars(24),
                    signalling: scenario.signalling,
                    audio_slots: if seat.receives { scenario.audio_slots } else { 0 },
                    video_slots: if seat.receives { scenario.video_slots } else { 0 },
                };
                let plan = plan(scenario, &seat, streams);
                joining.push(async move { (seat, joiner.join(plan).await) });
                continue;
            }
            let Some((seat, result)) = joining.next().await else { break };
            let (plan, joined_as) = result?;
            let server = joined_as.answer.server;
            let peer =
                Peer::webrtc(plan, certificate, joined_as.ufrag, joined_as.answer.remote, Instant::now());
            engine.add(peer, server)?;
            joined.push((seat, joined_as.line, joined_as.slots));
        }
        drop(joining);
        joined.sort_by_key(|(seat, ..)| seat.number);
        wish(scenario, &joined);
        crowd.lines = joined.into_iter().filter_map(|(_, line, _)| line).collect();
        crowd.settle(engine, scenario).await?;
        Ok(crowd)
    }

    /// Everybody with a publisher's or a receiver's keys of the floor.
    pub async fn on_floor(engine: &mut Engine, port: u16, scenario: &Scenario) -> Result<Crowd, String> {
        let key = |kind: u8, number: usize| {
            let [high, low] = (number as u16).to_be_bytes();
            let mut key = StaticKey { key: [0x10 + kind; 32], salt: [0x20 + kind; 12] };
            key.key[..2].copy_from_slice(&[high, low]);
            key.salt[..2].copy_from_slice(&[high, low]);
            key
        };
        let floor = SocketAddr::from(([127, 0, 0, 1], port));
        let mut random = Random::new(now_ns());
        let mut receivers = 0;
        for seat in seats(scenario) {
            // A publisher who receives is two connections here.
            let parts = [(seat.sends, 0u8, seat.place), (seat.receives, 1, receivers)];
            for (_, kind, number) in parts.into_iter().filter(|(wanted, ..)| *wanted) {
                let streams = if kind == 0 { streams(scenario, &seat, &mut random) } else { Vec::new() };
                let mut bytes = vec![if kind == 0 { b'P' } else { b'R' }];
                bytes.extend((number as u16).to_be_bytes());
                let hello = Hello { bytes, is_answered: kind == 1 };
                let part = Seat { sampled: seat.sampled && kind == 1, ..seat };
                let keys = key(kind, number);
                let peer = Peer::with_keys(plan(scenario, &part, streams), keys, keys, hello, Instant::now());
                engine.add(peer, floor)?;
                receivers += usize::from(kind == 1);
            }
        }
        let crowd = Crowd::default();
        crowd.settle(engine, scenario).await?;
        Ok(crowd)
    }

    /// Everybody at an echo on these cores.
    pub async fn on_echo(engine: &mut Engine, cores: &[usize], scenario: &Scenario) -> Result<Crowd, String> {
        let mut random = Random::new(now_ns());
        let seats = seats(scenario);
        let streams: Vec<Vec<Stream>> =
            seats.iter().map(|seat| streams(scenario, seat, &mut random)).collect();
        let routes = routes(scenario, &seats, &streams);
        let echo = Echo::start(cores, routes).map_err(|error| format!("the echo: {error}"))?;
        for (seat, streams) in seats.iter().zip(streams) {
            let hello = Hello { bytes: echo::hello(seat.number), is_answered: true };
            let plan = plan(scenario, seat, streams);
            let peer = Peer::with_keys(plan, echo::KEY, echo::KEY, hello, Instant::now());
            engine.add(peer, echo.address)?;
        }
        let crowd = Crowd { _echo: Some(echo), ..Crowd::default() };
        crowd.settle(engine, scenario).await?;
        Ok(crowd)
    }

    /// Until everybody is connected and every stream that shall arrive has begun.
    async fn settle(&self, engine: &Engine, scenario: &Scenario) -> Result<(), String> {
        engine.pause(false);
        let kinds = usize::from(scenario.audio.is_some()) + usize::from(scenario.video.is_some());
        let own = usize::from(scenario.publishers_receive);
        let wanted = match scenario.forwards_everything() {
            true => scenario.rooms * kinds * scenario.publishers * (scenario.receivers_per_room() - own),
            false => scenario.rooms * scenario.receivers_per_room() * kinds,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let states = engine.states();
            let connected = states.iter().filter(|state| state.connected).count();
            let begun: usize = states.iter().map(|state| state.streams).sum();
            if connected == states.len() && begun >= wanted {
                // Keyframes, speakers and layers come to rest.
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Ok(());
            }
            if Instant::now() > deadline {
                let failed = states.iter().filter(|state| state.failed).count();
                return Err(format!(
                    "after {PATIENCE:?} {connected} of {} participants are connected ({failed} failed), and {begun} of \
                     {wanted} streams have begun",
                    states.len()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn signalling_bytes(&self) -> Option<u64> {
        let bytes = self.lines.iter().map(|line| line.bytes.get()).sum();
        (!self.lines.is_empty()).then_some(bytes)
    }

    /// The rooms end.
    pub async fn leave(self, engine: &mut Engine) {
        engine.pause(true);
        engine.clear();
        if let Some(server) = &self.server {
            for room in &self.rooms {
                server.close_room(room).await;
            }
        }
    }

    /// Others come to rooms of their own, evenly spread over the time; returns how many could not.
    pub async fn join_elsewhere(
        engine: &mut Engine,
        server: &Server,
        joins: &Joins,
        certificate: &Certificate,
        first_number: usize,
    ) -> Result<usize, String> {
        let mut random = Random::new(now_ns());
        let mut rooms = Vec::new();
        for _ in 0..joins.count.div_ceil(joins.room_size) {
            rooms.push(server.open_room().await?);
        }
        let pause = Duration::from_secs_f64(joins.seconds / joins.count.max(1) as f64);
        let mut tick = tokio::time::interval(pause.max(Duration::from_micros(100)));
        let mut joining = FuturesUnordered::new();
        let mut present = std::collections::VecDeque::new();
        let (mut started, mut failed) = (0, 0);
        while started < joins.count || !joining.is_empty() {
            tokio::select! {
                _ = tick.tick(), if started < joins.count => {
                    let seat = Seat { number: first_number + started, room: usize::MAX, place: 0, sends: false, receives: true, sampled: false };
                    let joiner = Joiner {
                        server: server.clone(),
                        room: rooms[started / joins.room_size].clone(),
                        fingerprint: certificate.fingerprint,
                        ufrag: random.ice_chars(8),
                        pwd: random.ice_chars(24),
                        signalling: Signalling::Websocket,
                        audio_slots: 3,
                        video_slots: 9,
                    };
                    started += 1;
                    let plan = Plan { number: seat.number, room: seat.room, streams: Vec::new(), sampled: false, transport_feedback: false, asked_at_ns: now_ns() };
                    joining.push(joiner.join(plan));
                }
                Some(result) = joining.next() => match result {
                    Ok((plan, joined)) => {
                        let (number, server) = (plan.number, joined.answer.server);
                        let peer = Peer::webrtc(plan, certificate, joined.ufrag, joined.answer.remote, Instant::now());
                        engine.add(peer, server)?;
                        present.push_back((Instant::now(), number, joined.line));
                    }
                    Err(_) => failed += 1,
                },
            }
            let stay = joins.stay_seconds.map(Duration::from_secs_f64);
            while let Some((since, number, _)) = present.front()
                && stay.is_some_and(|stay| since.elapsed() >= stay)
            {
                engine.remove(*number);
                present.pop_front();
            }
        }
        // Who was answered and has no connection has not joined either.
        tokio::time::sleep(Duration::from_secs(1)).await;
        failed += engine.states().iter().filter(|state| !state.connected).count();
        present.iter().for_each(|(_, number, _)| engine.remove(*number));
        for room in &rooms {
            server.close_room(room).await;
        }
        Ok(failed)
    }
}

/// All that one participant needs to join.
struct Joiner {
    server: Server,
    room: Room,
    fingerprint: [u8; 32],
    ufrag: String,
    pwd: String,
    signalling: Signalling,
    audio_slots: usize,
    video_slots: usize,
}

struct Joined {
    answer: sdp::Answer,
    ufrag: String,
    line: Option<Line>,
    /// MIDs of the video slots.
    slots: Vec<String>,
}

impl Joiner {
    async fn join(self, plan: Plan) -> Result<(Plan, Joined), String> {
        let offer = Offer {
            ufrag: &self.ufrag,
            pwd: &self.pwd,
            fingerprint: self.fingerprint,
            streams: &plan.streams,
            audio_slots: self.audio_slots,
            video_slots: self.video_slots,
        };
        let (text, sources, slots) = offer.write();
        let (answer, line) = match self.signalling {
            Signalling::Websocket => {
                let (answer, line) = self.server.join(&self.room, text, &sources).await?;
                (answer, Some(line))
            }
            Signalling::Whip => {
                let kind = if plan.streams.is_empty() { "whep" } else { "whip" };
                (self.server.offer(kind, &self.room, text).await?, None)
            }
        };
        Ok((plan, Joined { answer, ufrag: self.ufrag, line, slots }))
    }
}

/// The publisher that slot `slot` of the one in `place` shows.
fn shown(scenario: &Scenario, place: usize, slot: usize) -> Option<usize> {
    let own = usize::from(scenario.publishers_receive && place < scenario.publishers);
    (slot + own < scenario.publishers).then_some((place + slot + own) % scenario.publishers)
}

/// Everybody's wish for the video slots.
fn wish(scenario: &Scenario, joined: &[(Seat, Option<Line>, Vec<String>)]) {
    if scenario.video.is_none() {
        return;
    }
    let per_room = scenario.publishers + scenario.viewers;
    for (seat, line, slots) in joined.iter().filter(|(seat, ..)| seat.receives) {
        let Some(line) = line else { continue };
        let wishes = slots.iter().enumerate().filter_map(|(slot, mid)| {
            let publisher = shown(scenario, seat.place, slot)?;
            let (_, other, _) = &joined[seat.room * per_room + publisher];
            let height = scenario.heights[slot % scenario.heights.len()];
            Some((mid.as_str(), other.as_ref()?.participant.as_str(), height))
        });
        line.view(wishes);
    }
}

/// What the echo sends to whom: what a server would, without choosing by the moment.
fn routes(scenario: &Scenario, seats: &[Seat], streams: &[Vec<Stream>]) -> HashMap<u32, Vec<usize>> {
    let mut routes: HashMap<u32, Vec<usize>> = HashMap::new();
    let per_room = scenario.publishers + scenario.viewers;
    for seat in seats.iter().filter(|seat| seat.receives) {
        let of = |place: usize| streams[seat.room * per_room + place].iter();
        let others = (0..scenario.publishers).filter(|place| *place != seat.place);
        for place in others.take(scenario.audio_slots) {
            of(place).filter(|stream| stream.video.is_none()).for_each(|stream| {
                routes.entry(stream.ssrc).or_default().push(seat.number);
            });
        }
        for slot in 0..scenario.video_slots {
            let Some(place) = shown(scenario, seat.place, slot) else { break };
            let height = scenario.heights[slot % scenario.heights.len()];
            let tall = |stream: &&Stream| stream.video.as_ref().is_some_and(|layer| layer.height >= height);
            let layer = of(place).find(tall).or_else(|| of(place).rfind(|stream| stream.video.is_some()));
            if let Some(layer) = layer {
                routes.entry(layer.ssrc).or_default().push(seat.number);
            }
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_has_receivers_that_open_every_packet() {
        for name in Scenario::names() {
            let scenario = Scenario::load(name).unwrap();
            let seats = seats(&scenario);
            assert_eq!(seats.len(), scenario.participants());
            for room in 0..scenario.rooms {
                let sampled = seats.iter().filter(|seat| seat.room == room && seat.sampled).count();
                assert!(sampled >= SAMPLED_MIN, "{name}: {sampled}");
            }
            assert!(seats.iter().all(|seat| seat.receives || !seat.sampled));
        }
    }

    #[test]
    fn nobody_is_shown_to_themselves_and_nobody_twice() {
        let scenario = Scenario::load("seminar-20").unwrap();
        for place in 0..20 {
            let shown: Vec<usize> = (0..9).filter_map(|slot| shown(&scenario, place, slot)).collect();
            let distinct: std::collections::HashSet<_> = shown.iter().collect();
            assert!(distinct.len() == 9 && !shown.contains(&place));
        }
    }

    #[test]
    fn the_echo_sends_what_a_server_would() {
        let scenario = Scenario::load("tiny").unwrap();
        let seats = seats(&scenario);
        let mut random = Random::new(1);
        let streams: Vec<_> = seats.iter().map(|seat| streams(&scenario, seat, &mut random)).collect();
        let routes = routes(&scenario, &seats, &streams);
        assert_eq!(routes.len(), 8);
        assert!(routes.values().all(|receivers| receivers.len() == 2));
    }
}
