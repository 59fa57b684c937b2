//! The kernel's side: sockets, rings, readiness. Knows no RTP.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoChoice {
    Auto,
    Uring,
    Mio,
}

/// Sums of one worker's socket since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoCounters {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    /// Send operations; a segmented send counts once.
    pub sends: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
    pub send_errors: u64,
    pub truncated: u64,
    /// Receive buffers ran out and the multishot receive was armed again.
    pub rearmed: u64,
}
