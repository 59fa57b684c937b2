//! The WebSocket side of a participant: message types, one call's state, one socket's life.

mod call;
pub(crate) mod message;
pub(crate) mod seat;
pub(crate) mod session;
pub(crate) mod socket;
