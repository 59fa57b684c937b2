//! One direction of a bad line: loss, delay, jitter, duplication and a bottleneck with a queue.
//!
//! Time and the seed come in as arguments, so that the same datagrams at the same times always fare the same.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// What the line does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// Share of datagrams that vanish, 0 to 1.
    pub loss: f64,
    /// Share of datagrams that arrive twice, 0 to 1.
    pub duplicate: f64,
    pub delay: Duration,
    /// Up to so much is added to the delay of each datagram, which reorders them.
    pub jitter: Duration,
    /// Capacity of the bottleneck in bit/s; 0 is without limit.
    pub rate_bps: u64,
    /// A datagram that would wait longer than this for the bottleneck is dropped.
    pub queue: Duration,
}

/// What happened so far, in datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub passed: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Did not fit into the bottleneck's queue.
    pub overflowed: u64,
}

/// Datagrams on their way; `T` says where each is to go.
#[derive(Debug)]
pub struct Line<T> {
    shape: Shape,
    random: u64,
    flying: BinaryHeap<Flying<T>>,
    bottleneck_free: Option<Instant>,
    sent: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Flying<T> {
    at: Instant,
    /// Datagrams due at one moment leave in the order in which they came.
    order: u64,
    to: T,
    bytes: Vec<u8>,
}

impl<T: Clone> Line<T> {
    pub fn new(shape: Shape, seed: u64) -> Line<T> {
        Line {
            shape,
            random: seed,
            flying: BinaryHeap::new(),
            bottleneck_free: None,
            sent: 0,
            counts: Counts::default(),
        }
    }

    /// A datagram enters the line at `now`.
    pub fn send(&mut self, now: Instant, to: T, bytes: &[u8]) {
        if self.chance() < self.shape.loss {
            self.counts.lost += 1;
            return;
        }
        let Some(leaves) = self.pass_bottleneck(now, bytes.len()) else {
            self.counts.overflowed += 1;
            return;
        };
        self.counts.passed += 1;
        self.fly(leaves, to.clone(), bytes);
        if self.chance() < self.shape.duplicate {
            self.counts.duplicated += 1;
            self.fly(leaves, to, bytes);
        }
    }

    /// When [`Line::next_arrival`] has something.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.flying.peek().map(|f| f.at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn next_arrival(&mut self, now: Instant) -> Option<(T, Vec<u8>)> {
        if self.flying.peek()?.at > now {
            return None;
        }
        self.flying.pop().map(|f| (f.to, f.bytes))
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn pass_bottleneck(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.shape.rate_bps == 0 {
            return Some(now);
        }
        let begins = self.bottleneck_free.map_or(now, |free| free.max(now));
        if begins > now + self.shape.queue {
            return None;
        }
        let takes = Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / self.shape.rate_bps);
        self.bottleneck_free = Some(begins + takes);
        Some(begins + takes)
    }

    fn fly(&mut self, leaves: Instant, to: T, bytes: &[u8]) {
        let jitter = self.shape.jitter.mul_f64(self.chance());
        self.sent += 1;
        let at = leaves + self.shape.delay + jitter;
        self.flying.push(Flying { at, order: self.sent, to, bytes: bytes.to_vec() });
    }

    /// Uniform in 0..1 (SplitMix64).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl<T> PartialEq for Flying<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<T> Eq for Flying<T> {}
impl<T> PartialOrd for Flying<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Flying<T> {
    /// The earliest is the greatest, as the heap gives out the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(shape: Shape, seed: u64, count: u32, every: Duration) -> (Vec<(u32, Duration)>, Counts) {
        let start = Instant::now();
        let mut line = Line::new(shape, seed);
        let mut arrived = Vec::new();
        for number in 0..count {
            let now = start + every * number;
            line.send(now, number, &[0; 1000]);
        }
        while let Some(at) = line.next_timeout() {
            let (number, _) = line.next_arrival(at).expect("it is due");
            arrived.push((number, at - start));
        }
        (arrived, line.counts())
    }

    #[test]
    fn a_clean_line_passes_everything_at_once_in_order() {
        let (arrived, counts) = arrivals(Shape::default(), 1, 10, Duration::from_millis(1));
        assert!(
            arrived
                .iter()
                .enumerate()
                .all(|(i, (n, at))| i as u32 == *n && *at == Duration::from_millis(i as u64))
        );
        assert_eq!(counts, Counts { passed: 10, ..Counts::default() });
    }

    #[test]
    fn the_same_seed_loses_the_same_datagrams_and_about_the_share_asked_for() {
        let shape = Shape { loss: 0.1, ..Shape::default() };
        let (first, counts) = arrivals(shape, 7, 10_000, Duration::from_millis(1));
        assert_eq!(first, arrivals(shape, 7, 10_000, Duration::from_millis(1)).0);
        assert_ne!(first, arrivals(shape, 8, 10_000, Duration::from_millis(1)).0);
        assert!((900..1100).contains(&counts.lost), "{counts:?}");
    }

    #[test]
    fn jitter_reorders_and_never_arrives_before_the_delay() {
        let shape =
            Shape { delay: Duration::from_millis(20), jitter: Duration::from_millis(10), ..Shape::default() };
        let (arrived, _) = arrivals(shape, 3, 100, Duration::from_millis(1));
        assert!(arrived.windows(2).any(|pair| pair[0].0 > pair[1].0));
        assert!(arrived.iter().all(|(n, at)| *at >= Duration::from_millis(20 + u64::from(*n))));
    }

    #[test]
    fn a_bottleneck_passes_its_rate_and_drops_what_would_wait_too_long() {
        let shape = Shape { rate_bps: 800_000, queue: Duration::from_millis(100), ..Shape::default() };
        // 8 Mbit/s offered for a second.
        let (arrived, counts) = arrivals(shape, 1, 1000, Duration::from_millis(1));
        assert!((100..=112).contains(&arrived.len()), "{}", arrived.len());
        assert_eq!(counts.passed + counts.overflowed, 1000);
        assert!(arrived.iter().all(|(n, at)| *at <= Duration::from_millis(u64::from(*n) + 120)));
    }

    #[test]
    fn duplicates_arrive_twice() {
        let shape = Shape { duplicate: 1.0, ..Shape::default() };
        let (arrived, counts) = arrivals(shape, 1, 5, Duration::from_millis(1));
        assert_eq!((arrived.len(), counts.duplicated), (10, 5));
    }
}
