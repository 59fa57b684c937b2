//! The readiness backend: epoll by mio, recvmmsg, sendmmsg. An equal citizen beside io_uring, which many installations
//! switch off.
//!
//! mio's epoll is edge-triggered: the socket is read until it is empty before the thread waits again.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ptr;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::socket::{CONTROL_BYTES, Control, DATAGRAM_BYTES_MAX, NAME_BYTES, Name, SendBatch, Socket};
use super::socket::{empty_header, read_path};
use super::wake::Waker;
use super::{Datagram, IoCounters};
use crate::egress::Egress;
use crate::id::Path;

#[derive(Debug)]
pub struct MioNet {
    socket: Socket,
    waker: Waker,
    poll: Poll,
    events: Events,
    inbox: Inbox,
    outbox: SendBatch,
    /// The socket may hold more than was read.
    readable: bool,
    counters: IoCounters,
}

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

impl MioNet {
    pub(super) fn new(socket: Socket) -> io::Result<MioNet> {
        let waker = Waker::new()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&socket.fd()), SOCKET, Interest::READABLE)?;
        poll.registry().register(&mut SourceFd(&waker.fd()), WAKER, Interest::READABLE)?;
        Ok(MioNet {
            outbox: SendBatch::new(&socket),
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
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.events {
            match event.token() {
                SOCKET => self.readable = true,
                // Never read: edge-triggered, each write is an event of its own.
                _ => _ = self.waker.take(),
            }
        }
        self.receive()?;
        Ok(())
    }

    pub(super) fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        let (path, index, len) = self.inbox.advance(&mut self.counters)?;
        self.counters.received(len);
        Some(Datagram { path, bytes: &mut self.inbox.buffers[index][..len] })
    }

    pub(super) fn flush(&mut self, egress: &mut Egress) {
        self.outbox.flush(&self.socket, egress, &mut self.counters);
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

/// Datagrams per recvmmsg; the measured gain ends about here.
const BATCH: usize = 64;

/// What one recvmmsg fills, allocated once.
struct Inbox {
    buffers: Vec<[u8; DATAGRAM_BYTES_MAX]>,
    names: Vec<Name>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
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
            filled: 0,
            next: 0,
        }
    }

    fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.filled = 0;
        self.next = 0;
        // The kernel overwrites the lengths in the headers, so they are written for every call.
        let (buffers, names) = (self.buffers.as_mut_ptr(), self.names.as_mut_ptr());
        let (controls, iovecs) = (self.controls.as_mut_ptr(), self.iovecs.as_mut_ptr());
        for (index, header) in self.headers.iter_mut().enumerate() {
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
            return Err(io::Error::last_os_error());
        }
        self.filled = count as usize;
        Ok(self.filled)
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
