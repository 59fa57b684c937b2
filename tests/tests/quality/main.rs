//! The table of docs/quality.md, in virtual time: each of its lines is a test here, and what it measures is printed, so
//! that `cargo test --release --workspace --test quality -- --nocapture` makes the table again.
//!
//! `SAAL_NIGHTLY=1` runs every line with ten seeds and crowds in full size; `SAAL_SEEDS=n` is another number of
//! seeds, and `SAAL_SEED=n` repeats one.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

mod crowd;
mod lines;
mod meter;
mod overload;
mod shared;

use saal_tests::world::{Backend, World};

/// Runs a line of the table with its seeds.
fn each_seed(scenario: impl Fn(&mut World, u64)) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let count = number("SAAL_SEEDS").unwrap_or(if is_nightly() { 10 } else { 2 });
    let seeds = number("SAAL_SEED").map_or(1..=count, |seed| seed..=seed);
    for seed in seeds {
        let mut world = World::new(Backend::Sim, seed);
        scenario(&mut world, seed);
        world.check();
    }
}

fn is_nightly() -> bool {
    std::env::var_os("SAAL_NIGHTLY").is_some()
}
