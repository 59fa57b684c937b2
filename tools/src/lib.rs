//! What the tools are made of.

#[allow(clippy::wildcard_enum_match_arm, reason = "a participant looks for a few events among many")]
pub mod client;
pub mod download;
pub mod load;
pub mod ports;
pub mod random;
pub mod tune;
