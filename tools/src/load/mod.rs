//! `saal-load`: simulated participants that load a server, and the measuring of what arrives.
//!
//! ```text
//!  scenario ─▶ crowd ── signal, sdp ──▶ server          rooms, offers, answers (one thread)
//!                │
//!                ├─▶ publisher ── packets, stamped ──▶  (one thread, so that sending is punctual)
//!                └─▶ receiver  ◀─ packets ────────────  (a thread per core: count all, open a sample)
//!  engine: pause, count from zero, let run, pause, account ─▶ result
//! ```
//!
//! RTP, SRTP, DTLS and STUN are not the server's own code: `crate::client` is built on other people's.

pub mod compare;
pub mod cpu;
pub mod crowd;
pub mod echo;
pub mod engine;
pub mod figures;
mod format;
pub mod html;
pub mod peer;
mod plot;
pub mod progress;
pub mod publisher;
pub mod receiver;
pub mod result;
pub mod run;
pub mod scenario;
pub mod sdp;
pub mod server;
pub mod signal;
pub mod stamp;
pub mod table;
pub mod tally;
