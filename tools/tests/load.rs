//! A small load against a real server process: what was sent, what had to arrive and what arrived are the same number.
//! Nothing here depends on how fast the machine is.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use saal_tools::client::secure::Certificate;
use saal_tools::load::cpu::Place;
use saal_tools::load::crowd::Crowd;
use saal_tools::load::engine::{Engine, Measured};
use saal_tools::load::peer::{self, Hello, Peer, Plan};
use saal_tools::load::publisher::Stream;
use saal_tools::load::result::Generator;
use saal_tools::load::scenario::{Layer, Scenario, Signalling};
use saal_tools::load::signal::Server;
use saal_tools::load::{echo, server};
use saal_tools::random::Random;

/// tests/run names the server's binary; otherwise it lies beside the test's own directory.
fn saal() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let beside = own.ancestors().nth(2).expect("tests are built into deps/").join("saal");
    let built = std::env::var_os("SAAL_BIN").map_or(beside, PathBuf::from);
    assert!(built.exists(), "build the server first: cargo build -p saal-controlplane ({})", built.display());
    built
}

/// Processes whose parent this is.
fn children(parent: u32) -> Vec<u32> {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: state and parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let entries = std::fs::read_dir("/proc").expect("there is one").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| of(*pid) == Some(parent)).collect()
}

fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A run that would go on for an hour, with its temporary files in a directory of its own.
fn start(arguments: &[&str], directory: &std::path::Path) -> Child {
    std::fs::create_dir_all(directory).expect("the directory is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_saal-load"));
    command.args(arguments).arg("--spawn").arg(saal()).env("TMPDIR", directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("saal-load starts")
}

#[test]
fn whoever_ends_a_load_ends_its_servers() {
    let directory = std::env::temp_dir().join(format!("saal-load-ends-{}", std::process::id()));
    let one: &[&str] = &["run", "tiny", "--seconds", "3600"];
    let two: &[&str] = &["compare", "tiny", "--seconds", "3600", "--contestants", "mio,sendto"];
    for (arguments, signal, servers) in
        [(one, Signal::SIGINT, 1), (two, Signal::SIGTERM, 2), (one, Signal::SIGHUP, 1)]
    {
        let mut load = start(arguments, &directory);
        let started = wait_for("servers", || {
            let started = children(load.id());
            (started.len() == servers).then_some(started)
        });
        kill(Pid::from_raw(load.id() as i32), signal).expect("it runs");
        let status = wait_for("its end", || load.try_wait().expect("it is our child"));
        assert_eq!(status.code(), Some(128 + signal as i32));
        // It has waited for them, so they are not anybody's children by now.
        for server in started {
            assert!(!PathBuf::from(format!("/proc/{server}")).exists(), "{server} runs on");
        }
        let left: Vec<_> = std::fs::read_dir(&directory).expect("it is there").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    std::fs::remove_dir_all(directory).expect("it is ours");
}

async fn measure(scenario: &Scenario) -> Measured {
    let started = server::spawn(&saal(), &[], &["media.io = \"mio\"".to_owned()]).expect("the server starts");
    let server = Server::sign_in(&started.url, &started.account, &started.password).await.expect("signed in");
    let mut engine = Engine::start(&Place::apart_from(&[], &[]), false).expect("threads start");
    let certificate = Certificate::generate();
    let crowd = Crowd::on_server(&mut engine, &server, scenario, &certificate).await.expect("all are there");
    let measured = engine.measure(scenario, Duration::from_secs(1), Some(started.process.pid())).await;
    crowd.leave(&mut engine).await;
    measured
}

fn run(scenario: &Scenario) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let measured = tokio::task::LocalSet::new().block_on(&runtime, measure(scenario));
    assert!(measured.sent > 0 && measured.sends == measured.sent, "{measured:?}");
    // Two viewers in each room; everything of both rooms' two publishers goes to its own room only.
    assert_eq!(measured.expected, 2 * measured.sent);
    assert_eq!((measured.delivered, measured.lost), (measured.expected, 0));
    assert_eq!((measured.duplicates, measured.corrupt, measured.generator.socket_drops), (0, 0, 0));
    // With four participants in a room, both viewers open every packet.
    assert_eq!(measured.latency.len(), measured.delivered);
    assert!(measured.server_cpu_ns.is_some_and(|ns| ns > 0));
}

#[test]
fn what_is_sent_arrives_through_the_websocket() {
    run(&Scenario::load("tiny").expect("it is built in"));
}

#[test]
fn what_is_sent_arrives_through_whip_and_whep() {
    let mut scenario = Scenario::load("tiny").expect("it is built in");
    scenario.signalling = Signalling::Whip;
    run(&scenario);
}

#[test]
fn the_echo_brings_everything_back() {
    let scenario = Scenario::load("tiny").expect("it is built in");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let measured = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut engine = Engine::start(&Place::apart_from(&[], &[]), false).expect("threads start");
        let crowd = Crowd::on_echo(&mut engine, &[], &scenario).await.expect("all are there");
        let measured = engine.measure(&scenario, Duration::from_secs(1), None).await;
        crowd.leave(&mut engine).await;
        measured
    });
    assert_eq!((measured.delivered, measured.corrupt), (2 * measured.sent, 0));
}

/// A receiver that reads nothing loses packets at its own socket; the run says so instead of blaming the server.
#[test]
fn drops_at_the_generators_own_sockets_are_its_own_fault() {
    use saal_tools::load::{cpu, engine};
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket2::SockRef::from(&receiver).set_recv_buffer_size(4096).expect("a small buffer");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = receiver.local_addr().expect("it is bound");
    let before = cpu::socket_drops(&[address.port()]);
    for _ in 0..100 {
        sender.send_to(&[0; 1000], address).expect("loopback takes it");
    }
    let socket_drops = cpu::socket_drops(&[address.port()]) - before;
    let generator = Generator { socket_drops, ..Generator::default() };
    assert!(engine::saturated(&generator, 100, 0, false).is_some_and(|why| why.contains("own sockets")));
}

/// A million packets a second from one thread: no machine seals and sends as many.
#[test]
fn a_load_beyond_the_generators_own_speed_is_noticed() {
    let mut scenario = Scenario::load("tiny").expect("it is built in");
    (scenario.rooms, scenario.publishers, scenario.viewers) = (200, 1, 1);
    let layer = Layer { height: 720, packets: 100, bytes: 1100, vary_percent: 0 };
    let sink = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let sink = sink.local_addr().expect("it is bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let measured = runtime.block_on(async {
        let mut engine = Engine::start(&Place::apart_from(&[], &[]), false).expect("threads start");
        for number in 0..scenario.rooms {
            let interval = Duration::from_millis(20);
            let video = Some(layer.clone());
            let stream = Stream::new(0, peer::VP8, video, 0, interval, &mut Random::new(number as u64));
            let plan = Plan {
                number,
                room: number,
                streams: vec![stream],
                sampled: false,
                transport_feedback: false,
                asked_at_ns: 0,
            };
            let hello = Hello { bytes: b"P".to_vec(), is_answered: false };
            let peer = Peer::with_keys(plan, echo::KEY, echo::KEY, hello, Instant::now());
            engine.add(peer, sink).expect("a socket");
        }
        while engine.states().iter().any(|state| !state.connected) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        engine.measure(&scenario, Duration::from_secs(1), None).await
    });
    assert!(measured.sends > 0);
    assert!(measured.generator.saturated.is_some(), "{:?}", measured.generator);
}
