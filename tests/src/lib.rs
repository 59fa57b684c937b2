//! What the scenario tests share: simulated participants, the world that drives them and the server, seeded randomness.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one event among many")]

pub mod flow;
pub mod world;

pub use saal_tools::{client, random};
