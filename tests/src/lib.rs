//! What the scenario tests share: simulated participants, the world that drives them and the server, seeded randomness.

pub mod client;
pub mod random;
pub mod world;
