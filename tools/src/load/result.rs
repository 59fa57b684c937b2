//! What a load run measured, as written to JSON and drawn in the report. Plain data; units are part of the names.

use serde::{Deserialize, Serialize};

/// One invocation of `saal-load`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub format: u32,
    /// Seconds since 1970 at which the run began.
    pub started_unix_s: u64,
    pub command: String,
    pub machine: Machine,
    pub runs: Vec<Run>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub memory_bytes: u64,
}

/// One scenario against one contestant (a server in one mode, or the floor).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub scenario: String,
    /// One sentence for people: what this load looks like in real life.
    pub about: String,
    /// `sendto`, `mio`, `mio-trains`, `uring`, `uring-trains`, `floor`, or `server` for a running one.
    pub contestant: String,
    pub server_version: Option<String>,
    /// Cores that the server was pinned to; empty when it was not ours to pin.
    pub server_cores: Vec<usize>,
    /// What was asked for.
    pub asked: Asked,
    pub steps: Vec<Step>,
    /// Index of the last step that was carried in full: the knee. `None` when not even the first was.
    pub knee: Option<usize>,
    /// Why the ramp ended.
    pub ended: Ended,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub rooms: usize,
    pub publishers_per_room: usize,
    pub viewers_per_room: usize,
    pub video_bps: u64,
    pub audio_bps: u64,
    pub seconds_per_step: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Every step that was asked for ran.
    Complete,
    /// The server lost packets or was late beyond the scenario's limits.
    ServerAtLimit,
    /// The generator itself was the bottleneck: steps from here on are not reported.
    GeneratorAtLimit,
    Interrupted,
}

/// One load level, measured over a time window after everybody had joined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub participants: usize,
    pub rooms: usize,
    pub seconds: f64,
    /// RTP packets that publishers sent, and those that receivers should get of them.
    pub sent: u64,
    pub expected: u64,
    pub delivered: u64,
    pub lost: u64,
    pub reordered: u64,
    pub delivered_bps: u64,
    /// Send stamp to receive stamp, one clock.
    pub latency: Quantiles,
    /// The same through a bare echo of the generator itself: what the generator and the kernel cost without any server.
    pub baseline: Quantiles,
    /// From asking to join until the first media packet.
    pub first_packet: Quantiles,
    /// User and system time of the server process over the window per delivered packet.
    pub server_cpu_ns_per_packet: Option<f64>,
    /// The same, in cores.
    pub server_cpu_cores: Option<f64>,
    pub server_resident_bytes: Option<u64>,
    pub generator: Generator,
    /// Signalling bytes per receiver in the window.
    pub signalling_bytes_per_participant: Option<f64>,
}

/// Microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
    /// Pairs (microseconds, share of samples at or below), some 40 of them, for drawing.
    pub curve: Vec<(u64, f64)>,
}

/// The generator's look at itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Share of its time that the busiest generator thread ran.
    pub busiest_thread: f64,
    /// Sends that left more than a millisecond after they were due.
    pub late_sends: u64,
    /// Datagrams that the kernel dropped at the generator's own sockets.
    pub socket_drops: u64,
    /// A sentence when the generator was the bottleneck.
    pub saturated: Option<String>,
}
