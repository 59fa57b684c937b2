//! Scenarios: who sends what to whom, as TOML. Those in `tools/scenarios/` are built in; any other is a file.

use std::path::Path;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(skip)]
    pub name: String,
    /// One sentence for people: what this load looks like in real life.
    pub about: String,
    pub signalling: Signalling,
    #[serde(default = "one")]
    pub rooms: usize,
    /// Of each room: participants who send.
    pub publishers: usize,
    /// Of each room: participants who only receive.
    #[serde(default)]
    pub viewers: usize,
    /// Publishers receive too, as in a conversation.
    #[serde(default)]
    pub publishers_receive: bool,
    /// Receive slots of each who receives.
    #[serde(default)]
    pub audio_slots: usize,
    #[serde(default)]
    pub video_slots: usize,
    /// Heights at which video is drawn, dealt out to the slots in turn.
    #[serde(default = "full_height")]
    pub heights: Vec<u16>,
    #[serde(default)]
    pub video: Option<Video>,
    #[serde(default)]
    pub audio: Option<Audio>,
    /// Receivers send transport-wide feedback ten times a second, as browsers do.
    #[serde(default)]
    pub transport_feedback: bool,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub ramp: Option<Ramp>,
    /// Others who join and leave elsewhere meanwhile.
    #[serde(default)]
    pub joins: Option<Joins>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signalling {
    Websocket,
    /// WHIP for those who send, WHEP for those who receive.
    Whip,
}

/// One camera. Several layers are simulcast, the smallest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Video {
    pub frames_per_second: f64,
    pub layers: Vec<Layer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    pub height: u16,
    /// Packets of a frame, and bytes of payload in each.
    pub packets: u8,
    pub bytes: usize,
    /// Frames differ in size by so much either way.
    #[serde(default)]
    pub vary_percent: u8,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    pub packets_per_second: f64,
    pub bytes: usize,
}

/// Where the server no longer carries a step in full.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub loss: f64,
    /// Above the baseline.
    pub p99_us: u64,
}

/// How `--ramp` grows the load: by factors of `step` from `from`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    pub grow: Grow,
    pub from: usize,
    pub to: usize,
    #[serde(default = "step")]
    pub step: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grow {
    Rooms,
    Publishers,
    Viewers,
}

/// Silent participants, `count` of them spread over `seconds`, in rooms of `room_size`; each leaves after `stay_seconds`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joins {
    pub count: usize,
    pub seconds: f64,
    pub room_size: usize,
    #[serde(default)]
    pub stay_seconds: Option<f64>,
}

fn one() -> usize {
    1
}

fn full_height() -> Vec<u16> {
    vec![1080]
}

fn step() -> f64 {
    1.5
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { loss: 0.001, p99_us: 5000 }
    }
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

const BUILT_IN: [(&str, &str); 15] = built_in![
    "video-25",
    "video-200",
    "lecture-25",
    "lecture-200",
    "seminar-20",
    "audio-200",
    "rooms",
    "rooms-10",
    "join-storm",
    "churn",
    "a",
    "b",
    "c",
    "hot",
    "tiny",
];

/// What the data plane takes from one participant in a second, and the most slots of one, by default.
const PACKETS_PER_SECOND_MAX: f64 = 5000.0;
const SLOTS_MAX: usize = 64;
/// With the header extensions and the tag of SRTP a datagram stays below the server's own limit.
const BYTES_MAX: usize = 1150;
const BYTES_MIN: usize = 40;

impl Scenario {
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A built-in scenario by its name, or a file.
    pub fn load(name: &str) -> Result<Scenario, String> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Scenario::parse(name, text);
        }
        let text = std::fs::read_to_string(name).map_err(|error| {
            let names: Vec<&str> = Scenario::names().collect();
            format!("no scenario {name} ({error}); give a file, or one of {}", names.join(", "))
        })?;
        let stem = Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy());
        Scenario::parse(&stem, &text)
    }

    pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
        let mut scenario: Scenario =
            toml::from_str(text).map_err(|error| format!("scenario {name}: {error}"))?;
        scenario.name = name.to_owned();
        scenario.check().map_err(|why| format!("scenario {name}: {why}"))?;
        Ok(scenario)
    }

    /// Grown to `size` by the ramp's rule.
    pub fn grown(&self, grow: Grow, size: usize) -> Scenario {
        let mut grown = self.clone();
        match grow {
            Grow::Rooms => grown.rooms = size,
            Grow::Publishers => grown.publishers = size,
            Grow::Viewers => grown.viewers = size,
        }
        grown
    }

    /// The sizes of a ramp, the last one `to`.
    pub fn sizes(&self) -> Vec<usize> {
        let Some(ramp) = &self.ramp else { return Vec::new() };
        let mut sizes = vec![ramp.from];
        while let Some(last) = sizes.last().copied().filter(|last| *last < ramp.to) {
            let next = ((last as f64 * ramp.step).round() as usize).max(last + 1);
            sizes.push(next.min(ramp.to));
        }
        sizes
    }

    pub fn participants(&self) -> usize {
        self.rooms * (self.publishers + self.viewers)
    }

    pub fn receivers_per_room(&self) -> usize {
        self.viewers + if self.publishers_receive { self.publishers } else { 0 }
    }

    /// Everybody gets all of every stream: then what must arrive follows from what was sent.
    pub fn forwards_everything(&self) -> bool {
        let others = self.publishers - usize::from(self.publishers_receive && self.viewers == 0);
        let simulcast = self.video.as_ref().is_some_and(|video| video.layers.len() > 1);
        !simulcast
            && (self.video.is_none() || self.video_slots >= others)
            && (self.audio.is_none() || self.audio_slots >= others)
    }

    pub fn video_bps(&self) -> u64 {
        let Some(video) = &self.video else { return 0 };
        let bytes: usize = video.layers.iter().map(|layer| layer.bytes * usize::from(layer.packets)).sum();
        (bytes as f64 * 8.0 * video.frames_per_second) as u64
    }

    pub fn audio_bps(&self) -> u64 {
        self.audio.as_ref().map_or(0, |audio| (audio.bytes as f64 * 8.0 * audio.packets_per_second) as u64)
    }

    fn check(&self) -> Result<(), String> {
        if self.rooms == 0 || self.publishers == 0 {
            return Err("rooms and publishers are at least 1".into());
        }
        if self.receivers_per_room() == 0 {
            return Err("nobody receives: set viewers or publishers_receive".into());
        }
        if self.signalling == Signalling::Whip && self.publishers_receive {
            return Err("who sends by WHIP receives nothing: publishers_receive needs websocket".into());
        }
        if self.audio_slots + self.video_slots > SLOTS_MAX {
            return Err(format!("at most {SLOTS_MAX} slots"));
        }
        let layers = self.video.as_ref().map_or(&[][..], |video| &video.layers);
        if self.video.is_some() && !(1..=3).contains(&layers.len()) {
            return Err("one to three layers".into());
        }
        if layers.iter().any(|layer| layer.packets == 0 || layer.vary_percent > 90) {
            return Err("a layer has at least one packet, and varies by at most 90 percent".into());
        }
        let sizes = layers.iter().map(|layer| layer.bytes).chain(self.audio.iter().map(|audio| audio.bytes));
        if let Some(bytes) = sizes.into_iter().find(|bytes| !(BYTES_MIN..=BYTES_MAX).contains(bytes)) {
            return Err(format!("{bytes} bytes of payload: {BYTES_MIN} to {BYTES_MAX}"));
        }
        let per_frame: usize = layers.iter().map(|layer| usize::from(layer.packets)).sum();
        let frames_per_second = self.video.as_ref().map_or(0.0, |video| video.frames_per_second);
        let audio_per_second = self.audio.as_ref().map_or(0.0, |audio| audio.packets_per_second);
        let per_second = per_frame as f64 * frames_per_second + audio_per_second;
        // NaN is no rate either.
        if !(per_second > 0.0 && per_second < PACKETS_PER_SECOND_MAX) {
            return Err(format!(
                "{per_second} packets/s of one publisher: above 0, below {PACKETS_PER_SECOND_MAX}"
            ));
        }
        if self.heights.is_empty() {
            return Err("heights: at least one".into());
        }
        if self.ramp.as_ref().is_some_and(|ramp| {
            ramp.from == 0 || ramp.to < ramp.from || !(ramp.step > 1.0 && ramp.step.is_finite())
        }) {
            return Err("ramp: from 1 or more, to `from` or more, in steps above 1".into());
        }
        if self.joins.as_ref().is_some_and(|joins| joins.room_size == 0 || joins.seconds.is_nan()) {
            return Err("joins: rooms of at least one".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_valid() {
        for name in Scenario::names() {
            let scenario = Scenario::load(name).unwrap();
            assert_eq!(scenario.name, name);
            assert!(scenario.about.ends_with('.'), "{name}: `about` is a sentence");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = format!("{}\nviewer = 3\n", include_str!("../../scenarios/c.toml"));
        let error = Scenario::parse("x", &text).unwrap_err();
        assert!(error.contains("viewer"), "{error}");
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let good = include_str!("../../scenarios/lecture-25.toml");
        for (from, to, why) in [
            ("publishers = 1", "publishers = 0", "at least 1"),
            ("viewers = 25", "viewers = 0", "nobody receives"),
            ("bytes = 1100", "bytes = 1400", "1400 bytes"),
            ("packets = 8", "packets = 200", "packets/s"),
            ("frames_per_second = 30", "frames_per_second = nan", "packets/s"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Scenario::parse("x", &good.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_ramp_ends_at_its_end() {
        let scenario = Scenario::load("lecture-200").unwrap();
        let ramp = scenario.ramp.clone().unwrap();
        let sizes = scenario.sizes();
        assert_eq!((sizes.first(), sizes.last()), (Some(&ramp.from), Some(&ramp.to)));
        assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_shapes_of_the_comparison_are_as_agreed() {
        let rates = |name: &str| {
            let scenario = Scenario::load(name).unwrap();
            let video = scenario
                .video
                .map_or(0.0, |video| video.frames_per_second * f64::from(video.layers[0].packets));
            (
                scenario.publishers,
                scenario.viewers,
                video,
                scenario.audio.map(|audio| audio.packets_per_second),
            )
        };
        assert_eq!(rates("a"), (1, 50, 300.0, Some(50.0)));
        assert_eq!(rates("b"), (10, 10, 100.0, Some(50.0)));
        assert_eq!(rates("c"), (1, 200, 0.0, Some(50.0)));
        assert_eq!(rates("hot"), (1, 50, 900.0, Some(150.0)));
    }
}
