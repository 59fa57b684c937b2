//! The bell of a worker: other threads ring it after they queued something; the worker's ring or epoll waits on it.
//!
//! No ring is lost as long as the worker empties its queues *after* each `wait`: a ring that comes before the worker
//! took the last one is seen by that emptying, a later one writes to the eventfd again.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes the worker out of [`super::Net::wait`], from any thread, without blocking.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    /// Rung and not yet taken: further rings need no system call.
    rung: AtomicBool,
    eventfd: File,
}

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        // SAFETY: eventfd takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fd was just made by eventfd and nobody else knows it.
        let eventfd = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Waker { bell: Arc::new(Bell { rung: AtomicBool::new(false), eventfd }) })
    }

    pub fn wake(&self) {
        if self.bell.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // Fails only when the counter would pass 2^64 - 2; a full counter wakes as well.
        let _ = (&self.bell.eventfd).write_all(&1_u64.to_ne_bytes());
    }

    /// The worker is awake and about to look at its queues. True when somebody had rung.
    pub(super) fn take(&self) -> bool {
        self.bell.rung.swap(false, Ordering::AcqRel)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.bell.eventfd.as_raw_fd()
    }
}
