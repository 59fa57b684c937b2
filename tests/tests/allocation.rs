//! The packet path does not allocate: a counting allocator watches the worker thread while it forwards.
//!
//! The one test binary beside `io/` that needs `unsafe`: there is no other way to stand in for the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
const PACKETS: usize = 2_000;

/// Every subscriber hears and sees the publisher.
fn conference(backend: Backend) -> (World, Who, Vec<Who>) {
    let mut world = World::new(backend, 1);
    let room = world.open_room();
    let publisher = world.connect(room, Plan::browser());
    let subscribers = world.connect_all(room, (0..SUBSCRIBERS).map(|_| Plan::viewer()));
    for who in &subscribers {
        world.view(*who, &[(publisher, Camera, 720)]);
    }
    world.until("all subscribers hear and see", |world| received(world, publisher, &subscribers, 50));
    // Lists that grow to their working size have done so after some reports.
    world.run_for(Duration::from_secs(3));
    (world, publisher, subscribers)
}

fn received(world: &World, publisher: Who, subscribers: &[Who], packets: usize) -> bool {
    subscribers.iter().all(|who| {
        world.received(*who, publisher, Camera) > packets && world.received(*who, publisher, Microphone) > packets
    })
}

/// Allocations of the worker while `PACKETS` packets reach the subscribers, and how long that took.
fn allocations(backend: Backend) -> (u64, Duration) {
    let (mut world, publisher, subscribers) = conference(backend);
    world.forget_received();
    let (before, start) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
    let all = |world: &World| -> usize {
        let of = |who: &Who| world.received(*who, publisher, Camera) + world.received(*who, publisher, Microphone);
        subscribers.iter().map(of).sum()
    };
    world.until("the packets have been forwarded", |world| all(world) >= PACKETS);
    (ALLOCATIONS.load(Ordering::Relaxed) - before, start.elapsed())
}

/// One test, so that no other test's threads are counted.
#[test]
fn steady_forwarding_to_ten_subscribers_does_not_allocate() {
    UNCOUNTED.set(true);
    for backend in [Backend::Uring, Backend::Mio] {
        let (allocations, took) = allocations(backend);
        assert_eq!(allocations, 0, "{backend:?}: while {PACKETS} packets were forwarded in {took:?}");
    }
}
