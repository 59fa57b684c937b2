//! The threads of one load and its measuring: pause, count from zero, let run, pause, count what came.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::UdpSocket;

use super::cpu::{self, Place};
use super::peer::Peer;
use super::publisher::{self, Publisher};
use super::receiver::{self, Receiver, State};
use super::result::{Generator, Quantiles};
use super::scenario::Scenario;

/// What is under way when sending stops has arrived by then.
const DRAIN: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct Engine {
    publisher: Publisher,
    receivers: Vec<Receiver>,
    cores: usize,
    ports: Vec<u16>,
    offload: bool,
    /// Only processor time is asked for, which a generator that is busy or a little late does not falsify.
    pub cpu_only: bool,
}

/// One window.
#[derive(Debug)]
pub struct Measured {
    pub seconds: f64,
    pub sent: u64,
    pub expected: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub lost: u64,
    pub reordered: u64,
    pub duplicates: u64,
    /// Packets of sampled receivers that were not what a publisher sent.
    pub corrupt: u64,
    pub latency: Histogram<u64>,
    pub server_cpu_ns: Option<u64>,
    pub generator: Generator,
    pub sends: u64,
}

impl Engine {
    /// All threads in this place; one receiving thread for each core beyond the first, at least one.
    ///
    /// `offload`: see [`receiver::socket`].
    pub fn start(place: &Place, offload: bool) -> Result<Engine, String> {
        let wrong = |error: std::io::Error| format!("the generator's threads: {error}");
        let publisher = Publisher::start(place.clone()).map_err(wrong)?;
        let count = place.cores.len().saturating_sub(1).max(1);
        let receivers = (0..count).map(|index| Receiver::start(index, place.clone(), publisher.stage()));
        let receivers = receivers.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let (cores, ports) = (place.cores.len().max(1), Vec::new());
        Ok(Engine { publisher, receivers, cores, ports, offload, cpu_only: false })
    }

    pub fn add(&mut self, peer: Peer, server: SocketAddr) -> Result<(), String> {
        let socket: UdpSocket = receiver::socket(server, self.offload).map_err(|error| {
            format!("a socket for participant {}: {error}; is `ulimit -n` high enough?", peer.number)
        })?;
        self.ports.extend(socket.local_addr().map(|at| at.port()));
        self.receivers[peer.number % self.receivers.len()].add(peer, socket);
        Ok(())
    }

    pub fn remove(&self, number: usize) {
        self.receivers[number % self.receivers.len()].remove(number);
    }

    pub fn states(&self) -> Vec<State> {
        self.receivers.iter().flat_map(Receiver::states).collect()
    }

    pub fn pause(&self, paused: bool) {
        self.publisher.pause(paused);
        self.receivers.iter().for_each(|receiver| receiver.pause(paused));
    }

    /// Everybody is gone.
    pub fn clear(&mut self) {
        self.publisher.clear();
        self.receivers.iter().for_each(Receiver::clear);
        self.ports.clear();
    }

    /// Sending is paused before and after, so that what was sent and what arrived can be compared to the packet.
    pub async fn measure(&self, scenario: &Scenario, duration: Duration, pid: Option<u32>) -> Measured {
        self.pause(true);
        tokio::time::sleep(DRAIN).await;
        self.receivers.iter().for_each(Receiver::begin);
        self.publisher.begin();
        let drops_before = cpu::socket_drops(&self.ports);
        let server_before = pid.and_then(cpu::process_ns);
        let (own_before, began) = (cpu::own_process_ns(), Instant::now());
        self.pause(false);
        tokio::time::sleep(duration).await;
        self.pause(true);
        let seconds = began.elapsed().as_secs_f64();
        let own_ns = cpu::own_process_ns() - own_before;
        tokio::time::sleep(DRAIN).await;
        let server_cpu_ns =
            pid.and_then(cpu::process_ns).zip(server_before).map(|(after, before)| after - before);
        let sending = self.publisher.end();
        let reports: Vec<receiver::Report> = self.receivers.iter().filter_map(Receiver::end).collect();
        let socket_drops = cpu::socket_drops(&self.ports).saturating_sub(drops_before);
        let mut measured = account(scenario, &sending, &reports);
        let busy = |cpu_ns: u64| cpu_ns as f64 / (seconds * 1e9);
        let threads = reports.iter().map(|report| report.cpu_ns).chain([sending.cpu_ns]).map(busy);
        // Threads that share a core are busy together.
        let busiest_thread = threads.fold(busy(own_ns) / self.cores as f64, f64::max);
        measured.seconds = seconds;
        measured.server_cpu_ns = server_cpu_ns;
        measured.generator =
            Generator { busiest_thread, late_sends: sending.late, socket_drops, ..Generator::default() };
        measured.generator.saturated =
            saturated(&measured.generator, sending.sends, sending.failed, self.cpu_only);
        measured
    }
}

/// Where the generator is the bottleneck: a figure from there on would be the generator's, not the server's.
pub fn saturated(generator: &Generator, sends: u64, failed: u64, cpu_only: bool) -> Option<String> {
    const BUSY_MAX: f64 = 0.85;
    // Late packets leave in bunches, and bunches make longer trains than the load would have.
    let late_share_max = if cpu_only { 0.1 } else { 0.01 };
    let late = generator.late_sends as f64 / sends.max(1) as f64;
    if generator.socket_drops > 0 {
        return Some(format!(
            "the generator did not read fast enough: the kernel dropped {} datagrams at its own sockets",
            generator.socket_drops
        ));
    }
    if failed > 0 {
        return Some(format!("{failed} packets could not be sealed or sent by the generator"));
    }
    if !cpu_only && generator.busiest_thread > BUSY_MAX {
        return Some(format!(
            "the generator was busy for {:.0} % of the time, above {:.0} %: give it more cores",
            generator.busiest_thread * 100.0,
            BUSY_MAX * 100.0
        ));
    }
    if late > late_share_max {
        return Some(format!(
            "{:.1} % of the generator's sends left more than 1 ms late, above {:.0} %: something else uses its cores",
            late * 100.0,
            late_share_max * 100.0
        ));
    }
    None
}

fn account(scenario: &Scenario, sending: &publisher::Report, reports: &[receiver::Report]) -> Measured {
    let mut latency = receiver::histogram();
    let mut measured = Measured {
        seconds: 0.0,
        sent: sending.sent.iter().map(|sent| sent.packets).sum(),
        expected: 0,
        delivered: 0,
        delivered_bytes: 0,
        lost: 0,
        reordered: 0,
        duplicates: 0,
        corrupt: 0,
        latency: receiver::histogram(),
        server_cpu_ns: None,
        generator: Generator::default(),
        sends: sending.sends,
    };
    let (mut span, mut gaps) = (0, 0);
    for report in reports {
        // Both have the same bounds.
        let _ = latency.add(&report.latency);
        measured.corrupt += report.corrupt;
        for (_, window) in report.received.iter().flat_map(|received| &received.streams) {
            measured.delivered += window.packets;
            measured.delivered_bytes += window.bytes;
            measured.reordered += window.reordered;
            measured.duplicates += window.duplicates;
            span += window.span;
            gaps += window.lost();
        }
    }
    measured.latency = latency;
    if scenario.forwards_everything() {
        measured.expected = expected(scenario, sending);
        // What came beyond what was expected, padding say, must not hide what is missing.
        measured.lost = measured.expected.saturating_sub(measured.delivered).max(gaps);
    } else {
        measured.expected = span;
        measured.lost = gaps;
    }
    measured
}

/// Everybody who receives gets everything that the others of the room sent.
fn expected(scenario: &Scenario, sending: &publisher::Report) -> u64 {
    let own = usize::from(scenario.publishers_receive);
    let receivers = (scenario.receivers_per_room() - own) as u64;
    sending.sent.iter().map(|sent| sent.packets * receivers).sum()
}

pub fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    const CURVE: [f64; 41] = {
        let mut curve = [0.0; 41];
        let mut at = 0;
        while at < 41 {
            curve[at] = if at <= 20 { at as f64 / 20.0 * 0.9 } else { 0.9 + (at - 20) as f64 / 20.0 * 0.1 };
            at += 1;
        }
        curve
    };
    if histogram.is_empty() {
        return Quantiles::default();
    }
    let at = |share: f64| histogram.value_at_quantile(share);
    Quantiles {
        count: histogram.len(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max(),
        curve: CURVE.iter().map(|share| (at(*share), *share)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_was_the_bottleneck_says_so() {
        let idle = Generator { busiest_thread: 0.4, late_sends: 3, ..Generator::default() };
        assert_eq!(saturated(&idle, 1000, 0, false), None);
        let busy = Generator { busiest_thread: 0.86, ..idle.clone() };
        assert!(saturated(&busy, 1000, 0, false).is_some_and(|why| why.contains("86 %")));
        let late = Generator { late_sends: 11, ..idle.clone() };
        assert!(saturated(&late, 1000, 0, false).is_some_and(|why| why.contains("1.1 %")));
        let deaf = Generator { socket_drops: 1, ..idle.clone() };
        assert!(saturated(&deaf, 1000, 0, false).is_some_and(|why| why.contains("own sockets")));
        assert!(saturated(&idle, 1000, 1, false).is_some());
        let for_cpu = |generator| saturated(generator, 1000, 0, true);
        assert!(for_cpu(&busy).is_none() && for_cpu(&late).is_none() && for_cpu(&deaf).is_some());
        assert!(for_cpu(&Generator { late_sends: 101, ..idle.clone() }).is_some());
    }

    #[test]
    fn what_must_arrive_follows_from_what_was_sent() {
        let sent = |publisher| publisher::Sent { publisher, video: true, packets: 100, bytes: 0 };
        let sending = publisher::Report { sent: vec![sent(0), sent(1)], ..Default::default() };
        let mut scenario = Scenario::load("tiny").unwrap();
        assert_eq!(expected(&scenario, &sending), 400);
        scenario.publishers_receive = true;
        assert_eq!(expected(&scenario, &sending), 600);
    }

    #[test]
    fn quantiles_of_nothing_are_nothing() {
        assert_eq!(quantiles(&receiver::histogram()).count, 0);
        let mut histogram = receiver::histogram();
        (1..=1000).for_each(|us| histogram.record(us).unwrap());
        let quantiles = quantiles(&histogram);
        assert_eq!((quantiles.p50_us, quantiles.p99_us, quantiles.max_us), (500, 990, 1000));
        assert!(quantiles.curve.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
