//! Rate limits that remember nobody: fixed tables of counters in memory, keyed with a hash whose key is thrown away: every
//! ten minutes where attempts are counted, and where open connections are, as soon as there are none.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::random;

/// Where a TCP connection came from. It cannot be printed, serialised or compared, only be a key of a [`Table`].
#[derive(Clone, Copy)]
pub(crate) struct ClientAddr(IpAddr);

impl ClientAddr {
    pub(crate) fn new(address: IpAddr) -> ClientAddr {
        ClientAddr(address.to_canonical())
    }

    /// What one household or host has: the whole of an IPv4 address, the first 64 bits of an IPv6 address.
    fn site(self) -> u64 {
        match self.0 {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        }
    }
}

/// Who is limited.
pub(crate) enum Key<'a> {
    Client(ClientAddr),
    Name(&'a [u8]),
}

/// Counts events per key in a window; two keys may share a counter, so it can only be too strict.
pub(crate) struct Table {
    budget: u16,
    window: Duration,
    hasher: RandomState,
    rows: [Box<[u16]>; 2],
    window_began: Option<Instant>,
    hasher_made: Option<Instant>,
}

/// Counters per row: a million guesses from as many addresses still leave the table at 32 KiB.
const COUNTERS: usize = 8192;

/// The hash's key does not outlive this, so that counters cannot be tied to an address later.
const KEY_LIFETIME: Duration = Duration::from_secs(600);

impl Table {
    pub(crate) fn new(budget: u16, window: Duration) -> Table {
        Table {
            budget,
            window,
            hasher: RandomState::new(),
            rows: [vec![0; COUNTERS].into(), vec![0; COUNTERS].into()],
            window_began: None,
            hasher_made: None,
        }
    }

    /// Whether the key has spent its budget.
    pub(crate) fn is_spent(&mut self, now: Instant, key: &Key<'_>) -> bool {
        self.turn(now);
        self.places(key).iter().zip(&self.rows).all(|(&place, row)| row[place] >= self.budget)
    }

    pub(crate) fn charge(&mut self, now: Instant, key: &Key<'_>) {
        self.turn(now);
        let places = self.places(key);
        for (place, row) in places.into_iter().zip(&mut self.rows) {
            row[place] = row[place].saturating_add(1);
        }
    }

    /// Takes one charge back.
    pub(crate) fn refund(&mut self, key: &Key<'_>) {
        let places = self.places(key);
        for (place, row) in places.into_iter().zip(&mut self.rows) {
            row[place] = row[place].saturating_sub(1);
        }
    }

    /// Forgets what is over; called on a timer too, so that an idle table is empty.
    pub(crate) fn turn(&mut self, now: Instant) {
        let key_over = self.hasher_made.is_none_or(|at| now >= at + KEY_LIFETIME);
        if key_over {
            self.hasher = RandomState::new();
            self.hasher_made = Some(now);
        }
        if key_over || self.window_began.is_none_or(|at| now >= at + self.window) {
            self.rows.iter_mut().for_each(|row| row.fill(0));
            self.window_began = Some(now);
        }
    }

    fn places(&self, key: &Key<'_>) -> [usize; 2] {
        let hash = match key {
            Key::Client(client) => self.hasher.hash_one(client.site()),
            Key::Name(name) => self.hasher.hash_one(name),
        };
        [hash as usize % COUNTERS, (hash >> 32) as usize % COUNTERS]
    }
}

/// Open connections per client address, in counters that go back to zero.
pub(crate) struct Connections {
    max: usize,
    per_client_max: usize,
    open: usize,
    hasher: RandomState,
    per_client: Box<[u16]>,
}

/// What [`Connections::opened`] gives and [`Connections::closed`] takes back.
pub(crate) struct Place(usize);

impl Connections {
    pub(crate) fn new(max: usize, per_client_max: usize) -> Connections {
        let per_client = vec![0; COUNTERS].into();
        Connections { max, per_client_max, open: 0, hasher: RandomState::new(), per_client }
    }

    pub(crate) fn opened(&mut self, client: ClientAddr) -> Option<Place> {
        let place = self.hasher.hash_one(client.site()) as usize % COUNTERS;
        if self.open >= self.max || usize::from(self.per_client[place]) >= self.per_client_max {
            return None;
        }
        self.open += 1;
        self.per_client[place] += 1;
        Some(Place(place))
    }

    pub(crate) fn closed(&mut self, place: &Place) {
        self.open -= 1;
        self.per_client[place.0] -= 1;
        // A counter is found again by its place, so any other connection would keep the key.
        if self.open == 0 {
            self.hasher = RandomState::new();
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }
}

/// Where people of one room were removed from: hashes with a key that lives and dies with the room. Neither an address nor
/// anything that could be compared with another room's is kept.
pub(crate) struct Marks {
    key: Zeroizing<[u8; 32]>,
    made: VecDeque<Mark>,
}

/// A client address as one room remembers it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([u8; 16]);

/// More removals than that, and the first is forgotten.
const MARKS_MAX: usize = 1024;

impl Marks {
    pub(crate) fn new() -> Marks {
        let mut key = Zeroizing::new([0; 32]);
        random::fill(key.as_mut());
        Marks { key, made: VecDeque::new() }
    }

    pub(crate) fn of(&self, client: ClientAddr) -> Mark {
        let mut keyed = Zeroizing::new([0; 40]);
        keyed[..32].copy_from_slice(self.key.as_ref());
        keyed[32..].copy_from_slice(&client.site().to_be_bytes());
        let mut mark = [0; 16];
        mark.copy_from_slice(&random::sha256(keyed.as_ref())[..16]);
        Mark(mark)
    }

    pub(crate) fn add(&mut self, mark: Mark) {
        if self.contains(mark) {
            return;
        }
        if self.made.len() >= MARKS_MAX {
            self.made.pop_front();
        }
        self.made.push_back(mark);
    }

    pub(crate) fn contains(&self, mark: Mark) -> bool {
        self.made.contains(&mark)
    }
}

/// A bucket of tokens that fills at a steady rate.
#[derive(Clone, Copy)]
pub(crate) struct Bucket {
    tokens: f64,
    burst: f64,
    per_second: f64,
    filled_at: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant, burst: u16, per_second: f64) -> Bucket {
        Bucket { tokens: f64::from(burst), burst: f64::from(burst), per_second, filled_at: now }
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled_at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// How many could be taken.
    pub(crate) fn left(&self, now: Instant) -> u16 {
        let mut at_now = *self;
        std::iter::from_fn(|| at_now.take(now).then_some(())).take(usize::from(u16::MAX)).count() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientAddr {
        ClientAddr::new(text.parse().unwrap())
    }

    #[test]
    fn a_spent_budget_comes_back_with_the_next_window() {
        let now = Instant::now();
        let mut table = Table::new(3, Duration::from_secs(60));
        let key = Key::Client(client("192.0.2.7"));
        for _ in 0..3 {
            assert!(!table.is_spent(now, &key));
            table.charge(now, &key);
        }
        assert!(table.is_spent(now + Duration::from_secs(59), &key));
        assert!(!table.is_spent(now + Duration::from_secs(60), &key));
    }

    #[test]
    fn after_the_window_every_counter_is_zero() {
        let now = Instant::now();
        let mut table = Table::new(3, Duration::from_secs(60));
        for last in 0..=255 {
            table.charge(now, &Key::Client(client(&format!("192.0.2.{last}"))));
        }
        table.turn(now + Duration::from_secs(60));
        assert!(table.rows.iter().flatten().all(|&count| count == 0));
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let now = Instant::now();
        let mut table = Table::new(1, Duration::from_secs(60));
        table.charge(now, &Key::Client(client("2001:db8:1:2::3")));
        assert!(table.is_spent(now, &Key::Client(client("2001:db8:1:2:ffff::9"))));
        assert!(!table.is_spent(now, &Key::Client(client("2001:db8:1:3::3"))));
    }

    #[test]
    fn a_mark_is_known_in_its_room_and_means_nothing_in_another() {
        let (mut marks, other) = (Marks::new(), Marks::new());
        let mark = marks.of(client("192.0.2.1"));
        marks.add(mark);
        assert!(marks.contains(marks.of(client("192.0.2.1"))));
        assert!(!marks.contains(marks.of(client("192.0.2.2"))));
        assert!(other.of(client("192.0.2.1")) != mark);
        for last in 0..MARKS_MAX {
            marks.add(marks.of(client(&format!("2001:db8:0:{last:x}::1"))));
        }
        assert!(!marks.contains(mark), "bounded");
    }

    #[test]
    fn connections_are_limited_in_all_and_per_client() {
        let mut connections = Connections::new(3, 2);
        let place = connections.opened(client("192.0.2.1")).unwrap();
        assert!(connections.opened(client("192.0.2.1")).is_some());
        assert!(connections.opened(client("192.0.2.1")).is_none());
        connections.closed(&place);
        assert!(connections.opened(client("192.0.2.1")).is_some());
    }

    #[test]
    fn when_nobody_is_connected_the_key_is_another_and_every_counter_zero() {
        let mut connections = Connections::new(3, 2);
        let [first, second] = [1, 2].map(|_| connections.opened(client("192.0.2.1")).unwrap());
        let key = |connections: &Connections| connections.hasher.hash_one(1);
        let before = key(&connections);
        connections.closed(&first);
        assert_eq!(key(&connections), before, "somebody is counted by it");
        connections.closed(&second);
        assert_ne!(key(&connections), before);
        assert!(connections.per_client.iter().all(|&count| count == 0));
    }

    #[test]
    fn a_bucket_refills_at_its_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now, 2, 1.0);
        assert!(bucket.take(now) && bucket.take(now) && !bucket.take(now));
        assert!(bucket.take(now + Duration::from_secs(1)));
    }
}
