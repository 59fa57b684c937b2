//! Sans-IO state machines of a room: bytes and `now` come in, filled slots and events go out.

pub(crate) mod allocation;
pub(crate) mod arrivals;
pub(crate) mod batch;
pub(crate) mod bwe;
pub(crate) mod clock;
pub(crate) mod doorman;
pub(crate) mod downlink;
pub mod dtls;
pub(crate) mod history;
pub mod ice;
pub(crate) mod layer;
pub(crate) mod pacer;
pub(crate) mod participant;
pub(crate) mod rate;
pub(crate) mod report;
pub(crate) mod room;
pub(crate) mod slab;
pub(crate) mod slot;
pub(crate) mod source;
pub(crate) mod speaker;
pub mod srtp;
pub(crate) mod svc;
pub(crate) mod tempo;
pub mod transport;
