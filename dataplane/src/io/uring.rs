//! The io_uring backend: one ring, one multishot receive into provided buffers, and trains sent from the egress blocks
//! themselves.
//!
//! ```text
//!            kernel fills            reap                 next_datagram         provide
//! buffers ──────────────▶ completion ─────▶ arrived queue ─────────────▶ current ───────▶ buffers
//! ```
//!
//! Who owns memory that the kernel uses:
//! - *Blocks.* Sends carry MSG_DONTWAIT, so each completes within `flush`, which returns only after the last completion;
//!   it holds `&mut Egress` all that time. If entering the ring fails half-way, the ring is never entered again, and
//!   what was not submitted is never sent.
//! - *Receive buffers* belong to [`BufferRing`]; a [`Filled`] is the right to one of them.
//! - `Drop` cancels the standing requests and waits for their end before it frees anything; should that fail it leaks.
//!
//! The ring is created disabled and gets an allow-list before it is enabled: receive, send and read on two registered
//! files, and cancelling. Whoever takes over this thread finds nothing else in the ring, which seccomp cannot look into.
#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::register::{Probe, Restriction};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use super::outbox::{MESSAGES_MAX, Outbox};
use super::socket::{CONTROL_BYTES, DATAGRAM_BYTES_MAX, NAME_BYTES, Socket, empty_header, read_path};
use super::wake::Waker;
use super::{Datagram, IoCounters, SocketBuffers};
use crate::egress::Egress;
use crate::id::Path;

pub struct UringNet {
    ring: IoUring,
    socket: Socket,
    waker: Waker,
    /// Freed by `drop`, or never.
    shared: ManuallyDrop<Shared>,
    receive: Request,
    wake: Request,
    /// Completed receives that were not handed out yet, oldest first.
    arrived: VecDeque<Filled>,
    /// The datagram that the caller looks at.
    current: Option<Filled>,
    woken: bool,
    outbox: Outbox,
    /// Messages of the outbox that have not completed.
    unfinished: usize,
    /// Entering the ring failed with sends in it; it must not be entered again.
    broken: bool,
    counters: IoCounters,
}

/// What the standing requests write to or read from.
struct Shared {
    buffers: BufferRing,
    receive_header: Box<libc::msghdr>,
    wakes: Box<u64>,
}

/// A request that stands for as long as the ring does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Request {
    Idle,
    Armed,
    Failed(i32),
}

/// Registered files, by their place in the table.
const SOCKET: Fixed = Fixed(0);
const EVENTFD: Fixed = Fixed(1);

/// `user_data` of everything but sends, which carry the index of their message.
const RECEIVE: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
const CANCEL: u64 = u64::MAX - 2;

/// IORING_UNREGISTER_FILES of `linux/io_uring.h`, which the crate keeps to itself.
const UNREGISTER_FILES: u8 = 3;

/// Room for the sends and the standing requests.
const SUBMISSIONS: u32 = 2 * MESSAGES_MAX as u32;

/// Room for every buffer and every send at once, so that completions never overflow.
const COMPLETIONS: u32 = 4096;

/// A worker that is late by 10 ms at 100,000 datagrams a second needs this many.
const BUFFERS: u16 = 1024;

const BUFFER_GROUP: u16 = 0;

/// Entering the ring may be refused for want of memory or room for completions; each time what has completed is reaped.
const ENTER_TRIES_MAX: u32 = 1000;

impl UringNet {
    pub(super) fn new(socket: Socket, trains_off: bool) -> io::Result<UringNet> {
        let waker = Waker::new()?;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)?;

        let operations = [
            opcode::RecvMsgMulti::CODE,
            opcode::SendMsg::CODE,
            opcode::Read::CODE,
            opcode::AsyncCancel2::CODE,
        ];
        let submitter = ring.submitter();
        let mut probe = Probe::new();
        submitter.register_probe(&mut probe)?;
        if !operations.iter().all(|&operation| probe.is_supported(operation)) {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        submitter.register_files(&[socket.fd(), waker.fd()])?;
        let buffers = BufferRing::new(BUFFERS);
        // SAFETY: `buffers` lives in `shared`, which is freed only after the ring has no receive left.
        unsafe { submitter.register_buf_ring_with_flags(buffers.address(), BUFFERS, BUFFER_GROUP, 0)? };
        let mut allowed: Vec<Restriction> = operations.into_iter().map(Restriction::sqe_op).collect();
        allowed.push(Restriction::register_op(UNREGISTER_FILES));
        allowed.push(Restriction::sqe_flags_required(Flags::FIXED_FILE.bits()));
        allowed.push(Restriction::sqe_flags_allowed((Flags::FIXED_FILE | Flags::BUFFER_SELECT).bits()));
        submitter.register_restrictions(&mut allowed)?;
        submitter.register_enable_rings()?;

        let mut receive_header = Box::new(empty_header());
        receive_header.msg_namelen = NAME_BYTES as libc::socklen_t;
        receive_header.msg_controllen = CONTROL_BYTES as _;
        let mut net = UringNet {
            outbox: Outbox::new(&socket, trains_off),
            unfinished: 0,
            shared: ManuallyDrop::new(Shared { buffers, receive_header, wakes: Box::new(0) }),
            receive: Request::Idle,
            wake: Request::Idle,
            arrived: VecDeque::with_capacity(usize::from(BUFFERS)),
            current: None,
            woken: false,
            broken: false,
            counters: IoCounters::default(),
            ring,
            socket,
            waker,
        };
        net.arm()?;
        net.ring.submit()?;
        net.reap();
        // A kernel that knows the operations but not their flags says so at once.
        match (net.receive, net.wake) {
            (Request::Failed(errno), _) | (_, Request::Failed(errno)) => {
                Err(io::Error::from_raw_os_error(errno))
            }
            (Request::Idle | Request::Armed, Request::Idle | Request::Armed) => Ok(net),
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.arrived.is_empty() || std::mem::take(&mut self.woken) {
            return Ok(());
        }
        self.wait_for(1, timeout)
    }

    pub(super) fn rest(&mut self, time: Duration) -> io::Result<()> {
        if !self.arrived.is_empty() {
            return Ok(());
        }
        // So many completions never come. The kernel takes the datagrams out of the socket when the time is up.
        self.wait_for(COMPLETIONS as usize, Some(time))
    }

    /// Until there are so many completions or the time is up.
    fn wait_for(&mut self, completions: usize, timeout: Option<Duration>) -> io::Result<()> {
        self.arm()?;
        let entered = match timeout {
            None => self.ring.submit_and_wait(completions),
            Some(Duration::ZERO) => self.ring.submit(),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(completions, &SubmitArgs::new().timespec(&timespec))
            }
        };
        if let Err(error) = entered
            && !is_passing(&error)
        {
            return Err(error);
        }
        self.reap();
        self.woken = false;
        Ok(())
    }

    pub(super) fn next_datagram(&mut self) -> Option<Datagram<'_>> {
        let Shared { buffers, .. } = &mut *self.shared;
        let (path, filled, len) = loop {
            if let Some(seen) = self.current.take() {
                buffers.provide(seen);
            }
            let filled = self.arrived.pop_front()?;
            match read_buffer(buffers.bytes(&filled)) {
                Arrival::Whole(path, len) => break (path, filled, len),
                Arrival::Truncated => self.counters.truncated += 1,
                Arrival::Unreadable => {}
            }
            self.current = Some(filled);
        };
        self.counters.received(len);
        let filled = self.current.insert(filled);
        Some(Datagram { path, bytes: &mut buffers.bytes(filled)[PAYLOAD_START..PAYLOAD_START + len] })
    }

    pub(super) fn flush(&mut self, egress: &mut Egress) -> io::Result<()> {
        if self.broken {
            return Err(broken());
        }
        loop {
            self.unfinished = self.outbox.load(&self.socket, egress);
            if self.unfinished == 0 {
                return Ok(());
            }
            self.submit_sends()?;
            self.outbox.settle(&self.socket, egress, &mut self.counters);
        }
    }

    pub(super) fn wipe(&mut self) {
        self.outbox.wipe();
        if let Some(seen) = self.current.take() {
            self.shared.buffers.provide(seen);
        }
        self.shared.buffers.wipe(&self.arrived);
    }

    pub(super) fn port(&self) -> u16 {
        self.socket.port()
    }

    pub(super) fn buffers(&self) -> SocketBuffers {
        self.socket.buffers()
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn counters(&self) -> IoCounters {
        self.counters
    }

    /// Puts the standing requests that have ended into the submission queue.
    fn arm(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(broken());
        }
        if self.receive != Request::Armed {
            let header = &raw const *self.shared.receive_header;
            let entry = opcode::RecvMsgMulti::new(SOCKET, header, BUFFER_GROUP).build();
            self.push(entry.user_data(RECEIVE))?;
            self.receive = Request::Armed;
        }
        if self.wake != Request::Armed {
            let wakes: *mut u64 = &raw mut *self.shared.wakes;
            let entry = opcode::Read::new(EVENTFD, wakes.cast(), size_of::<u64>() as u32).build();
            self.push(entry.user_data(WAKE))?;
            self.wake = Request::Armed;
        }
        Ok(())
    }

    /// Queues a request whose memory is part of `self.shared` or needs none.
    fn push(&mut self, entry: Entry) -> io::Result<()> {
        // SAFETY: what the standing requests point at is in boxes of `self.shared`, which lives until they have ended.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Submits the loaded sends and waits for all of their completions.
    fn submit_sends(&mut self) -> io::Result<()> {
        self.arm()?;
        for index in 0..self.unfinished {
            let entry = opcode::SendMsg::new(SOCKET, self.outbox.header(index))
                .flags(libc::MSG_DONTWAIT as u32)
                .build()
                .user_data(index as u64);
            self.push_send(&entry)?;
        }
        let mut tries = 0;
        while self.unfinished > 0 {
            self.enter_for_sends(1, &mut tries)?;
            self.reap();
        }
        Ok(())
    }

    fn push_send(&mut self, entry: &Entry) -> io::Result<()> {
        let mut tries = 0;
        // SAFETY: header, label and iovec stay in `self.outbox`, the bytes in their block, until `submit_sends` has seen
        // the completion; if it gives up before, `broken` keeps the entry from ever being submitted.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter_for_sends(0, &mut tries)?;
        }
        Ok(())
    }

    fn enter_for_sends(&mut self, want: usize, tries: &mut u32) -> io::Result<()> {
        let Err(error) = self.ring.submit_and_wait(want) else {
            return Ok(());
        };
        *tries += 1;
        if is_passing(&error) && *tries < ENTER_TRIES_MAX {
            return Ok(());
        }
        self.broken = true;
        Err(error)
    }

    /// Whether the kernel may still write to `self.shared`.
    fn is_standing(&self) -> bool {
        self.receive == Request::Armed || self.wake == Request::Armed
    }

    /// Cancels and waits for at most a second.
    fn end_standing_requests(&mut self) {
        const ROUNDS: usize = 20;
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().flags(Flags::FIXED_FILE);
        if self.broken || self.push(cancel.user_data(CANCEL)).is_err() {
            return;
        }
        for _ in 0..ROUNDS {
            let timespec = Timespec::new().nsec(50_000_000);
            let entered = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec));
            self.reap();
            if !self.is_standing() || entered.is_err_and(|error| !is_passing(&error)) {
                return;
            }
        }
    }

    /// Takes every completion.
    fn reap(&mut self) {
        for completion in self.ring.completion() {
            let (result, flags) = (completion.result(), completion.flags());
            match completion.user_data() {
                RECEIVE => {
                    if let Some(buffer) = cqueue::buffer_select(flags) {
                        // SAFETY: the kernel has just handed over this buffer, once.
                        self.arrived.push_back(unsafe { Filled::new(buffer) });
                        let used = &mut self.shared.buffers.used;
                        *used = buffer.saturating_add(1).max(*used);
                    }
                    if !cqueue::more(flags) {
                        self.counters.rearmed += 1;
                        self.receive = ended(result);
                    }
                }
                WAKE => {
                    self.waker.take();
                    self.woken = true;
                    self.wake = ended(result);
                }
                CANCEL => {}
                send => {
                    self.outbox.note(send as usize, result);
                    self.unfinished -= 1;
                }
            }
        }
    }
}

fn ended(result: i32) -> Request {
    if result < 0 { Request::Failed(-result) } else { Request::Idle }
}

/// Errors of entering the ring that need no more than another try after the completions were reaped.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

fn broken() -> io::Error {
    io::Error::other("the worker's io_uring failed earlier; restart the server, or set io = \"mio\"")
}

impl Drop for UringNet {
    fn drop(&mut self) {
        self.end_standing_requests();
        // The kernel takes a ring apart in the background; the port is free from here on.
        let _ = self.ring.submitter().unregister_files();
        if !self.is_standing() {
            // SAFETY: no request that knows these addresses is left, and nobody uses `shared` after drop.
            unsafe { ManuallyDrop::drop(&mut self.shared) };
        }
    }
}

impl fmt::Debug for UringNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringNet")
            .field("socket", &self.socket)
            .field("receive", &self.receive)
            .field("arrived", &self.arrived.len())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The right to one receive buffer, from the kernel's completion until the buffer is provided again.
#[derive(Debug)]
struct Filled {
    buffer: u16,
}

impl Filled {
    /// # Safety
    /// The kernel must just have completed a receive into `buffer`.
    unsafe fn new(buffer: u16) -> Filled {
        Filled { buffer }
    }
}

/// Receive buffers and the ring of their addresses that the kernel takes them from, in one piece of memory:
///
/// ```text
/// | entry 0 | entry 1 | … | buffer 0 | buffer 1 | …
/// ```
struct BufferRing {
    memory: NonNull<u8>,
    count: u16,
    /// Entries written so far; the kernel learns it from the ring's own tail.
    tail: u16,
    /// The kernel takes them in turn: so many were ever filled.
    used: u16,
}

/// Holds a datagram of [`DATAGRAM_BYTES_MAX`] and what the kernel puts before it.
const BUFFER_BYTES: usize = 2048;

/// The kernel wants the ring to begin on a page.
const PAGE_BYTES: usize = 4096;

impl BufferRing {
    fn new(count: u16) -> BufferRing {
        assert!(count.is_power_of_two(), "the kernel masks the index");
        let layout = BufferRing::layout(count);
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc::alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else {
            alloc::handle_alloc_error(layout);
        };
        let mut ring = BufferRing { memory, count, tail: 0, used: 0 };
        for buffer in 0..count {
            ring.provide(Filled { buffer });
        }
        ring
    }

    fn layout(count: u16) -> Layout {
        let bytes = usize::from(count) * (size_of::<BufRingEntry>() + BUFFER_BYTES);
        Layout::from_size_align(bytes, PAGE_BYTES)
            .expect("at most 2^15 buffers of 2 KiB are far below isize::MAX")
    }

    fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// Overwrites all buffers but those of `waiting`, which are all that is out.
    fn wipe(&mut self, waiting: &VecDeque<Filled>) {
        let is_provided = |buffer: &u16| waiting.iter().all(|filled| filled.buffer != *buffer);
        for buffer in (0..self.used.min(self.count)).filter(is_provided) {
            // SAFETY: within `memory`. The kernel writes a provided buffer only while this thread is inside the ring's
            // system call (IORING_SETUP_DEFER_TASKRUN), so nobody else does now, and no reference to it is out.
            unsafe { self.buffer(buffer).write_bytes(0, BUFFER_BYTES) };
        }
    }

    /// Hands the buffer to the kernel.
    fn provide(&mut self, filled: Filled) {
        let Filled { buffer } = filled;
        let address = self.buffer(buffer) as u64;
        let entries: *mut BufRingEntry = self.memory.as_ptr().cast();
        let index = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: index < count, so the entry is within `memory`. The kernel reads entries before the tail only, and
        // this one was consumed when the kernel took its buffer, of which there are as many as entries. The tail is a
        // u16 within the first entry, which the kernel reads atomically and never writes.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(buffer);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn bytes(&mut self, filled: &Filled) -> &mut [u8] {
        // SAFETY: the memory is initialized and within `memory`; a `Filled` exists once per buffer and only while the
        // kernel does not write to it, and the result borrows the ring, so there is no second reference.
        unsafe { std::slice::from_raw_parts_mut(self.buffer(filled.buffer), BUFFER_BYTES) }
    }

    fn buffer(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.count, "the kernel knows only the buffers it was given");
        let entries_bytes = usize::from(self.count) * size_of::<BufRingEntry>();
        // SAFETY: entries and `count` buffers are one allocation.
        unsafe { self.memory.as_ptr().add(entries_bytes + usize::from(buffer) * BUFFER_BYTES) }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the owner drops us only when the kernel uses it no more.
        unsafe { alloc::dealloc(self.memory.as_ptr(), BufferRing::layout(self.count)) };
    }
}

/// What a multishot receive leaves in a buffer: `struct io_uring_recvmsg_out` (name length, control length, payload
/// length, flags), then room for name and control as announced, then the payload.
enum Arrival {
    Whole(Path, usize),
    Truncated,
    Unreadable,
}

const NAME_START: usize = 4 * size_of::<u32>();
const CONTROL_START: usize = NAME_START + NAME_BYTES;
const PAYLOAD_START: usize = CONTROL_START + CONTROL_BYTES;
const _: () = assert!(PAYLOAD_START + DATAGRAM_BYTES_MAX <= BUFFER_BYTES);

fn read_buffer(buffer: &[u8]) -> Arrival {
    let word = |index: usize| {
        let bytes = buffer[4 * index..].first_chunk().copied().unwrap_or_default();
        u32::from_ne_bytes(bytes) as usize
    };
    let (name_len, control_len, payload_len, flags) = (word(0), word(1), word(2), word(3));
    if flags & libc::MSG_TRUNC as usize != 0 || payload_len > DATAGRAM_BYTES_MAX {
        return Arrival::Truncated;
    }
    let name = &buffer[NAME_START..][..name_len.min(NAME_BYTES)];
    let control = &buffer[CONTROL_START..][..control_len.min(CONTROL_BYTES)];
    match read_path(name, control) {
        Some(path) => Arrival::Whole(path, payload_len),
        None => Arrival::Unreadable,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;
    use crate::egress::Train;
    use crate::io::SocketOptions;

    fn open() -> UringNet {
        let options = SocketOptions { bind: Some(Ipv4Addr::LOCALHOST.into()), ..SocketOptions::default() };
        UringNet::new(Socket::open(&options).unwrap(), false)
            .expect("this test needs a machine that allows io_uring")
    }

    /// Submits `entry` and returns its result.
    fn outcome(net: &mut UringNet, entry: Entry) -> i32 {
        net.push(entry.user_data(0)).unwrap();
        net.unfinished = 1;
        while net.unfinished > 0 {
            net.ring.submit_and_wait(1).unwrap();
            net.reap();
        }
        net.outbox.result(0)
    }

    #[test]
    fn the_ring_refuses_what_is_not_on_its_list() {
        let mut net = open();
        assert_eq!(outcome(&mut net, opcode::Nop::new().build()), -libc::EACCES);
        let path = c"/proc/self/environ".as_ptr();
        let entry = opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), path).build();
        assert_eq!(outcome(&mut net, entry), -libc::EACCES);
        let mut byte = 0_u8;
        let stdin = io_uring::types::Fd(0);
        let entry = opcode::Read::new(stdin, &raw mut byte, 1).build();
        assert_eq!(outcome(&mut net, entry), -libc::EACCES, "an unregistered file");
        let error = net.ring.submitter().register_files_update(0, &[0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn standing_requests_end_before_their_memory_is_freed() {
        let mut net = open();
        assert!(net.is_standing());
        net.end_standing_requests();
        assert!(!net.is_standing());
    }

    #[test]
    fn when_receive_buffers_run_out_nothing_is_lost_and_receiving_goes_on() {
        let mut net = open();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let path = Path { remote: peer.local_addr().unwrap(), local: None };
        let mut egress = Egress::new(4, 2048, 44);
        let mut sent = 0_u32;
        // Each flush moves what waits in the socket into buffers, at most 32 datagrams; nobody takes them out.
        while sent < u32::from(BUFFERS) + 100 {
            for _ in 0..20 {
                peer.send_to(&sent.to_be_bytes(), (Ipv4Addr::LOCALHOST, net.port())).unwrap();
                sent += 1;
            }
            let mut train = Train::default();
            egress.reserve(&mut train, &path, 1).unwrap().fill(0);
            egress.commit(&mut train);
            net.flush(&mut egress).unwrap();
        }
        let mut next = 0_u32;
        while next < sent {
            net.wait(Some(Duration::from_secs(5))).unwrap();
            let before = next;
            while let Some(datagram) = net.next_datagram() {
                assert_eq!(*datagram.bytes, next.to_be_bytes());
                next += 1;
            }
            assert!(next > before, "nothing arrived for 5 s");
        }
        assert!(net.counters().rearmed > 0);
    }

    #[test]
    fn trains_leave_without_segmentation_when_the_kernel_refuses_it() {
        let mut net = open();
        net.socket.refuse_segmentation().unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let path = Path { remote: peer.local_addr().unwrap(), local: None };
        let mut egress = Egress::new(4, 2048, 44);
        let mut buffer = [0; 2048];
        for _ in 0..50 {
            let mut train = Train::default();
            for len in [100, 100, 40] {
                egress.reserve(&mut train, &path, len).unwrap().fill(0);
                egress.commit(&mut train);
            }
            net.flush(&mut egress).unwrap();
            for len in [100, 100, 40] {
                assert_eq!(peer.recv(&mut buffer).unwrap(), len);
            }
        }
        assert!(!net.outbox.segmentation.is_on());
        assert_eq!(net.counters().send_errors, 0);
        assert_eq!(egress.free_blocks(), 4);
    }
}
