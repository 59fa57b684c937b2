//! The readiness backend: epoll by mio, recvmmsg, sendmmsg. An equal citizen beside io_uring, which many installations
//! switch off. With a system call for each packet instead of sendmmsg it is the control of our comparisons.
//!
//! mio's epoll is edge-triggered: the socket is read until it is empty before the thread waits again.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::outbox::Outbox;
use super::socket::{CONTROL_BYTES, Control, DATAGRAM_BYTES_MAX, NAME_BYTES, Name, Socket};
use super::socket::{empty_header, read_path};
use super::wake::Waker;
use super::{Datagram, IoCounters, SocketBuffers};
use crate::egress::Egress;
use crate::id::Path;

#[derive(Debug)]
pub struct MioNet {
    socket: Socket,
    waker: Waker,
    poll: Poll,
    events: Events,
    inbox: Inbox,
    outbox: Outbox,
    sending: Sending,
    /// Whether the kernel (Linux 5.11) and its sandbox know epoll_pwait2.
    fine_timeouts: bool,
    /// The socket may hold more than was read.
    readable: bool,
    counters: IoCounters,
}

/// How messages leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sending {
    /// As many as one sendmmsg takes.
    Together { trains_off: bool },
    /// Each packet by a system call of its own.
    Singly,
}

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

impl MioNet {
    pub(super) fn new(socket: Socket, sending: Sending) -> io::Result<MioNet> {
        let waker = Waker::new()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&socket.fd()), SOCKET, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&waker.fd()), WAKER, Interest::READABLE)?;
        Ok(MioNet {
            outbox: Outbox::new(&socket, sending != Sending::Together { trains_off: false }),
            sending,
            fine_timeouts: true,
            inbox: Inbox::new(),
            events: Events::with_capacity(2),
            readable: true,
            counters: IoCounters::default(),
            socket,
            waker,
            poll,
        })
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.waker.take() || self.inbox.next < self.inbox.filled || self.receive()? {
            return Ok(());
        }
        match self.wait_for_event(timeout) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        // Which of the two it was is not asked: wake-ups are rare, and looking into an empty socket is harmless. The
        // eventfd is never read: edge-triggered, each write is an event of its own.
        self.waker.take();
        self.readable = true;
        self.receive()?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "to sleep whatever arrives is what is asked for")]
    pub(super) fn rest(&mut self, time: Duration) -> io::Result<()> {
        if self.inbox.next == self.inbox.filled {
            std::thread::sleep(time);
            self.readable = true;
            self.receive()?;
        }
        Ok(())
    }

    /// As mio's poll, which rounds the timeout up to milliseconds, but to the nanosecond where the kernel can. False when
    /// the time is up.
    fn wait_for_event(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        if let Some(timeout) = timeout
            && self.fine_timeouts
        {
            match epoll_wait(self.poll.as_raw_fd(), timeout) {
                Err(error) if is_unknown(&error) => self.fine_timeouts = false,
                waited => return waited,
            }
        }
        self.poll.poll(&mut self.events, timeout)?;
        Ok(!self.events.is_empty())
    }

    pub(super) fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        let mut next = self.inbox.advance(&mut self.counters);
        if next.is_none() && self.receive().is_ok_and(|more| more) {
            next = self.inbox.advance(&mut self.counters);
        }
        let (path, index, len) = next?;
        self.counters.received(len);
        Some(Datagram { path, bytes: self.inbox.bytes(index, len) })
    }

    pub(super) fn flush(&mut self, egress: &mut Egress) {
        while self.outbox.load(&self.socket, egress) > 0 {
            match self.sending {
                Sending::Together { .. } => self.outbox.send_together(&self.socket),
                Sending::Singly => self.outbox.send_singly(&self.socket),
            }
            self.outbox.settle(&self.socket, egress, &mut self.counters);
        }
    }

    pub(super) fn wipe(&mut self) {
        self.outbox.wipe();
        self.inbox.wipe();
    }

    pub(super) fn backend(&self) -> &'static str {
        match self.sending {
            Sending::Together { .. } => "mio",
            Sending::Singly => "sendto",
        }
    }

    pub(super) fn buffers(&self) -> SocketBuffers {
        self.socket.buffers()
    }

    pub(super) fn port(&self) -> u16 {
        self.socket.port()
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn counters(&self) -> IoCounters {
        self.counters
    }

    /// Reads a batch unless the socket is known to be empty. True when something arrived.
    fn receive(&mut self) -> io::Result<bool> {
        if !self.readable {
            return Ok(false);
        }
        match self.inbox.receive(&self.socket) {
            Ok(count) => {
                // A short batch has seen the empty socket; a later datagram is an edge of its own.
                self.readable = count == BATCH;
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether something happened before the time was up. Of what happened nothing is asked, so any room for events will do.
fn epoll_wait(epoll: RawFd, timeout: Duration) -> io::Result<bool> {
    let timespec = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
    // SAFETY: the kernel reads one timespec and writes at most the events that `events` has room for; both outlive the
    // call. A null mask leaves the signals as they are.
    let count = unsafe {
        let (events, len) = (events.as_mut_ptr(), events.len());
        libc::syscall(libc::SYS_epoll_pwait2, epoll, events, len, &raw const timespec, ptr::null::<u8>(), 0)
    };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count > 0) }
}

/// An old kernel, or a sandbox that lists what it knows.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES))
}

/// Datagrams per recvmmsg; the measured gain ends about here.
const BATCH: usize = 64;

/// What one recvmmsg fills, allocated once.
struct Inbox {
    buffers: Vec<[u8; DATAGRAM_BYTES_MAX]>,
    names: Vec<Name>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Headers that the kernel has written to since they were prepared: the first so many.
    stale: usize,
    filled: usize,
    next: usize,
}

impl Inbox {
    fn new() -> Inbox {
        Inbox {
            buffers: vec![[0; DATAGRAM_BYTES_MAX]; BATCH],
            names: vec![[0; NAME_BYTES]; BATCH],
            controls: vec![[0; CONTROL_BYTES]; BATCH],
            iovecs: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH],
            headers: vec![libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 }; BATCH],
            stale: BATCH,
            filled: 0,
            next: 0,
        }
    }

    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.filled = 0;
        self.next = 0;
        // The kernel overwrites the lengths in the headers that it fills. To prepare all 64 each time would cost as much
        // as receiving one datagram.
        let (buffers, names) = (self.buffers.as_mut_ptr(), self.names.as_mut_ptr());
        let (controls, iovecs) = (self.controls.as_mut_ptr(), self.iovecs.as_mut_ptr());
        for (index, header) in self.headers[..self.stale].iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            // SAFETY: index < headers.len() == BATCH, the length of all four vectors; no reference to their elements
            // lives while these pointers are used.
            unsafe {
                let iov_base = buffers.add(index).cast();
                iovecs.add(index).write(libc::iovec { iov_base, iov_len: DATAGRAM_BYTES_MAX });
                header.msg_name = names.add(index).cast();
                header.msg_control = controls.add(index).cast();
                header.msg_iov = iovecs.add(index);
            }
            header.msg_namelen = NAME_BYTES as libc::socklen_t;
            header.msg_controllen = CONTROL_BYTES as _;
            header.msg_iovlen = 1;
        }
        // SAFETY: every header points at a name, a control buffer and an iovec of `self` with their true lengths, and
        // `self` is borrowed mutably until the call returns.
        let count = unsafe {
            let headers = self.headers.as_mut_ptr();
            libc::recvmmsg(socket.fd(), headers, BATCH as u32, libc::MSG_DONTWAIT as _, ptr::null_mut())
        };
        if count < 0 {
            // A failed call may have begun with the first header.
            self.stale = 1;
            return Err(io::Error::last_os_error());
        }
        self.filled = count as usize;
        self.stale = BATCH.min(self.filled + 1);
        Ok(self.filled)
    }

    /// Overwrites all but what waits to be taken.
    fn wipe(&mut self) {
        for seen in [0..self.next, self.filled..BATCH] {
            self.buffers[seen.clone()].fill([0; DATAGRAM_BYTES_MAX]);
            self.names[seen.clone()].fill([0; NAME_BYTES]);
            self.controls[seen].fill([0; CONTROL_BYTES]);
        }
        // References to the vectors have ended the pointers in the headers.
        self.stale = BATCH;
    }

    fn bytes(&mut self, index: usize, len: usize) -> &mut [u8] {
        assert!(index < BATCH && len <= DATAGRAM_BYTES_MAX, "the kernel fills what it was given");
        // SAFETY: within one element of the vector. Not by an index, because a reference to the whole would end the
        // pointers in the prepared headers.
        unsafe { std::slice::from_raw_parts_mut(self.buffers.as_mut_ptr().add(index).cast(), len) }
    }

    /// Path, buffer and length of the next whole datagram.
    fn advance(&mut self, counters: &mut IoCounters) -> Option<(Path, usize, usize)> {
        while self.next < self.filled {
            let index = self.next;
            self.next += 1;
            let libc::mmsghdr { msg_hdr: header, msg_len } = self.headers[index];
            if header.msg_flags & libc::MSG_TRUNC != 0 {
                counters.truncated += 1;
                continue;
            }
            let name = &self.names[index][..NAME_BYTES.min(header.msg_namelen as usize)];
            let control = &self.controls[index][..CONTROL_BYTES.min(header.msg_controllen as _)];
            if let Some(path) = read_path(name, control) {
                return Some((path, index, msg_len as usize));
            }
        }
        None
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("filled", &self.filled)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
