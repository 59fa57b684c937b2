//! Sans-IO state machines of a room: bytes and `now` come in, filled slots and events go out.

pub mod dtls;
pub mod ice;
pub mod srtp;
pub mod transport;
