//! The packet path does not allocate: a counting allocator watches the worker thread while it forwards.
//!
//! The one test binary beside `io/` that needs `unsafe`: there is no other way to stand in for the allocator.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use saal_dataplane::id::SourceKind::{Camera, Microphone};
use saal_tests::client::plan::Plan;
use saal_tests::world::{Backend, Who, World};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of every thread but the test's own.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// A constant without a destructor, so that reading it never allocates.
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

impl Counting {
    fn count() {
        if !UNCOUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait demands of the caller.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        Counting::count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(at, layout, len) }
    }

    // SAFETY: as the trait demands of the caller.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

const SUBSCRIBERS: usize = 10;
const PACKETS_MIN: u64 = 1_500;
const WINDOW: Duration = Duration::from_secs(2);

/// What the worker did in one window of time.
#[derive(Debug)]
struct Load {
    packets: u64,
    allocations: u64,
}

/// Every subscriber hears and sees the publisher.
fn conference(backend: Backend) -> (World, Who) {
    let mut world = World::new(backend, 1);
    let room = world.open_room();
    let publisher = world.connect(room, Plan::browser());
    let subscribers = world.connect_all(room, (0..SUBSCRIBERS).map(|_| Plan::viewer()));
    for who in &subscribers {
        world.view(*who, &[(publisher, Camera, 720)]);
    }
    world.until("all subscribers hear and see", |world| {
        subscribers.iter().all(|who| {
            world.received(*who, publisher, Camera) > 50 && world.received(*who, publisher, Microphone) > 50
        })
    });
    (world, publisher)
}

/// The camera's frames have so many packets.
fn measure(world: &mut World, publisher: Who, parts: u8) -> Load {
    world.clients[publisher].source_mut(Camera).layers[0].set_parts(parts);
    // Lists that grow to their working size have done so after some reports.
    world.run_for(WINDOW);
    let packets = world.counters().rtp_forwarded;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    world.run_for(WINDOW);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    Load { packets: world.counters().rtp_forwarded - packets, allocations }
}

/// One test, so that no other test's threads are counted.
#[test]
fn steady_forwarding_to_ten_subscribers_does_not_allocate() {
    /// Two for each participant's report once a second, and five choices of layers and speakers with two each.
    const TIMERS_MAX: u64 = (2 * (SUBSCRIBERS as u64 + 1) + 10) * WINDOW.as_secs();
    /// What each is told of its own line when that has changed, once a second at most.
    const TOLD_MAX: u64 = (SUBSCRIBERS as u64 + 1) * WINDOW.as_secs();
    UNCOUNTED.set(true);
    for backend in [Backend::Uring, Backend::Mio] {
        let (mut world, publisher) = conference(backend);
        let light = measure(&mut world, publisher, 2);
        let heavy = measure(&mut world, publisher, 12);
        assert!(light.packets >= PACKETS_MIN && heavy.packets >= 2 * light.packets, "{light:?} {heavy:?}");
        // The same timers ran in both windows, so that the difference is the packets' and what changed of the lines.
        let per_packet = heavy.allocations.saturating_sub(light.allocations + TOLD_MAX);
        assert!(per_packet <= heavy.packets / 500, "{backend:?} allocates per packet: {light:?} {heavy:?}");
        assert!(light.allocations <= TIMERS_MAX + TOLD_MAX, "{backend:?} allocates in its timers: {light:?}");
    }
}
