//! What leaves in one go: trains of the egress as messages that the kernel reads, whichever call sends them.
//!
//! `load` → the backend sends each message and notes its result → `settle`. A train is one message where it leaves as a
//! segmented send, otherwise as many as it has packets:
//!
//! ```text
//! departures   [ train to A: 3 packets ][ train to B: 1 packet ]
//! labels       [ A, segment 1100       ][ B                    ]      one for each departure
//! messages     [ 3 segments            ][ 1                    ]      with trains off: [ 1 ][ 1 ][ 1 ][ 1 ]
//! ```
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ptr;

use super::IoCounters;
use super::socket::{Label, Socket, empty_header};
use crate::egress::{Departure, Egress, SEGMENTS_MAX};

/// Everything is allocated once.
pub(super) struct Outbox {
    pub(super) segmentation: Segmentation,
    departures: Vec<Departure>,
    messages: Vec<Message>,
    /// The kernel's answer to each message: negative errors, as io_uring gives them.
    results: Vec<i32>,
    labels: Vec<Label>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// Bytes of one departure.
struct Message {
    departure: usize,
    len: usize,
    segments: usize,
}

/// No train is taken once there are so many messages; more go round again. Larger batches gain nothing measurable.
const BATCH: usize = 64;

/// A train taken last may be sent packet by packet.
pub(super) const MESSAGES_MAX: usize = BATCH - 1 + SEGMENTS_MAX;

impl Outbox {
    pub(super) fn new(socket: &Socket, trains_off: bool) -> Outbox {
        let iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let header = libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 };
        Outbox {
            segmentation: Segmentation {
                known: !trains_off && socket.knows_segmentation(),
                refused_in_a_row: 0,
                pause: 0,
            },
            departures: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(MESSAGES_MAX),
            results: vec![0; MESSAGES_MAX],
            labels: vec![Label::EMPTY; BATCH],
            iovecs: vec![iovec; MESSAGES_MAX],
            headers: vec![header; MESSAGES_MAX],
        }
    }

    /// Describes the next trains to the kernel. 0: nothing is left to send.
    pub(super) fn load(&mut self, socket: &Socket, egress: &mut Egress) -> usize {
        self.segmentation.on_load();
        let segmentation = self.segmentation.is_on();
        while self.messages.len() < BATCH
            && let Some(departure) = egress.take_ready()
        {
            let index = self.departures.len();
            let train = (segmentation && departure.segments() > 1).then_some(departure.segment_bytes);
            self.labels[index].write(socket, &departure.path, train);
            let message_bytes = if train.is_some() { departure.len } else { departure.segment_bytes };
            for bytes in egress.bytes(&departure).chunks(message_bytes) {
                self.iovecs[self.messages.len()] =
                    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
                let segments = bytes.len().div_ceil(departure.segment_bytes);
                self.messages.push(Message { departure: index, len: bytes.len(), segments });
            }
            self.departures.push(departure);
        }
        let (labels, iovecs) = (self.labels.as_ptr(), self.iovecs.as_mut_ptr());
        for (index, (message, header)) in self.messages.iter().zip(&mut self.headers).enumerate() {
            // SAFETY: there is a label for each departure and an iovec for each header; both are written again only by
            // the next `load`.
            header.msg_hdr = unsafe { outgoing_header(labels.add(message.departure), iovecs.add(index)) };
        }
        self.messages.len()
    }

    /// Sends what was loaded by sendmmsg.
    pub(super) fn send_together(&mut self, socket: &Socket) {
        let count = self.messages.len();
        let mut done = 0;
        while done < count {
            let rest = &mut self.headers[done..count];
            // SAFETY: each header points at a label and an iovec of `self` that no one writes until the call returns,
            // each iovec at bytes of a block whose departure `self` holds; the kernel only reads them.
            let sent = unsafe {
                libc::sendmmsg(socket.fd(), rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT as _)
            };
            match usize::try_from(sent) {
                Ok(sent) => {
                    self.results[done..done + sent].fill(0);
                    done += sent;
                }
                // The error belongs to the first message only.
                Err(_) => match errno() {
                    libc::EINTR => {}
                    errno => {
                        self.results[done] = -errno;
                        done += 1;
                    }
                },
            }
        }
    }

    /// Sends what was loaded by a system call for each message.
    pub(super) fn send_singly(&mut self, socket: &Socket) {
        let count = self.messages.len();
        for (header, result) in self.headers[..count].iter().zip(&mut self.results) {
            // SAFETY: as for sendmmsg in `send_together`.
            let sent = unsafe { libc::sendmsg(socket.fd(), &raw const header.msg_hdr, libc::MSG_DONTWAIT) };
            *result = if sent < 0 { -errno() } else { 0 };
        }
    }

    /// What io_uring sends. Good until the next `load`.
    pub(super) fn header(&self, index: usize) -> *const libc::msghdr {
        assert!(index < self.messages.len(), "only what was loaded has a header");
        // A pointer into the whole vector: a reference to one element would end with the next one.
        // SAFETY: index < MESSAGES_MAX, the length of the vector.
        unsafe { &raw const (*self.headers.as_ptr().add(index)).msg_hdr }
    }

    #[cfg(test)]
    pub(super) fn result(&self, index: usize) -> i32 {
        self.results[index]
    }

    pub(super) fn note(&mut self, index: usize, result: i32) {
        self.results[index] = result;
    }

    /// Counts what left, sends refused trains packet by packet, and gives the blocks back. Call it when the kernel reads
    /// none of them any more.
    pub(super) fn settle(&mut self, socket: &Socket, egress: &mut Egress, counters: &mut IoCounters) {
        for (message, result) in self.messages.drain(..).zip(&self.results) {
            if *result >= 0 {
                counters.sent(message.segments as u64, message.len);
                if message.segments > 1 {
                    self.segmentation.accepted();
                }
            } else if message.segments > 1 && may_be_segmentation(-*result) {
                let departure = &self.departures[message.departure];
                if send_apart(socket, egress, departure, counters) {
                    self.segmentation.refused();
                }
            } else {
                counters.send_errors += 1;
            }
        }
        for departure in self.departures.drain(..) {
            egress.release(departure);
        }
    }
}

impl Outbox {
    /// Forgets whom the last trains went to.
    pub(super) fn wipe(&mut self) {
        self.labels.fill(Label::EMPTY);
        // A vector keeps the bytes of what was taken out of it.
        self.departures = Vec::with_capacity(BATCH);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("segmentation", &self.segmentation).finish_non_exhaustive()
    }
}

/// Whether trains leave as segmented sends.
///
/// A path whose MTU is below the segment size refuses by itself, and one receiver must not slow down the others; so only
/// refusals without a success between them switch segmentation off, and not for good: they may all have been one
/// receiver's, who was alone.
#[derive(Debug)]
pub(super) struct Segmentation {
    known: bool,
    refused_in_a_row: u32,
    /// Loads that are still sent packet by packet.
    pause: u32,
}

/// After so many refusals it is the kernel or the device, not a path.
const REFUSED_IN_A_ROW_MAX: u32 = 32;
/// After so many loads, some seconds of a busy worker, one train is tried again.
const PAUSE_LOADS: u32 = 4096;

impl Segmentation {
    pub(super) fn is_on(&self) -> bool {
        self.known && self.pause == 0
    }

    fn on_load(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }

    fn accepted(&mut self) {
        self.refused_in_a_row = 0;
    }

    /// A train was refused as one send, and its packets were then sent one by one.
    fn refused(&mut self) {
        self.refused_in_a_row += 1;
        if self.refused_in_a_row >= REFUSED_IN_A_ROW_MAX {
            self.refused_in_a_row -= 1;
            self.pause = PAUSE_LOADS;
        }
    }
}

fn may_be_segmentation(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EIO | libc::EMSGSIZE)
}

/// Sends a refused train packet by packet. The slow path: one system call each. False when nothing left.
fn send_apart(socket: &Socket, egress: &Egress, departure: &Departure, counters: &mut IoCounters) -> bool {
    let mut any = false;
    let mut label = Label::EMPTY;
    label.write(socket, &departure.path, None);
    for packet in egress.bytes(departure).chunks(departure.segment_bytes) {
        let mut iovec = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        // SAFETY: label, iovec and packet outlive the call, and the kernel only reads them.
        let sent = unsafe {
            let header = outgoing_header(&raw const label, &raw mut iovec);
            libc::sendmsg(socket.fd(), &raw const header, libc::MSG_DONTWAIT)
        };
        if sent < 0 {
            counters.send_errors += 1;
        } else {
            counters.sent(1, packet.len());
            any = true;
        }
    }
    any
}

/// A header for sending one iovec to where `label` says.
///
/// # Safety
/// `label` must be valid for reads. The header is good as long as `label` and `iovec` stay where they are.
unsafe fn outgoing_header(label: *const Label, iovec: *mut libc::iovec) -> libc::msghdr {
    let mut header = empty_header();
    // SAFETY: the caller's promise.
    unsafe {
        header.msg_name = (&raw const (*label).name).cast_mut().cast();
        header.msg_namelen = (*label).name_len as libc::socklen_t;
        header.msg_control = (&raw const (*label).control).cast_mut().cast();
        header.msg_controllen = (*label).control_len as _;
    }
    header.msg_iov = iovec;
    header.msg_iovlen = 1;
    header
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::egress::Train;
    use crate::id::Path;
    use crate::io::SocketOptions;

    fn loopback() -> (Socket, UdpSocket, Path) {
        let bind = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let socket = Socket::open(&SocketOptions { bind, ..SocketOptions::default() }).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let path = Path { remote: peer.local_addr().unwrap(), local: None };
        (socket, peer, path)
    }

    fn commit(egress: &mut Egress, path: &Path, sizes: &[usize]) {
        let mut train = Train::default();
        for &size in sizes {
            egress.reserve(&mut train, path, size).unwrap().fill(size as u8);
            egress.commit(&mut train);
        }
    }

    fn flush(outbox: &mut Outbox, socket: &Socket, egress: &mut Egress, counters: &mut IoCounters) {
        while outbox.load(socket, egress) > 0 {
            outbox.send_together(socket);
            outbox.settle(socket, egress, counters);
        }
    }

    #[test]
    fn a_refused_train_arrives_as_single_packets() {
        let (socket, peer, path) = loopback();
        socket.refuse_segmentation().unwrap();
        let mut outbox = Outbox::new(&socket, false);
        let mut egress = Egress::new(4, 4096, 44);
        let mut counters = IoCounters::default();
        commit(&mut egress, &path, &[100, 100, 40]);
        flush(&mut outbox, &socket, &mut egress, &mut counters);
        let mut buffer = [0; 2048];
        for len in [100, 100, 40] {
            assert_eq!(peer.recv(&mut buffer).unwrap(), len);
        }
        assert_eq!((counters.sends, counters.datagrams_out, counters.send_errors), (3, 3, 0));
        assert!(outbox.segmentation.is_on(), "one refusal may be the path's");
    }

    #[test]
    fn a_kernel_that_refuses_every_train_is_seldom_asked_again() {
        let (socket, peer, path) = loopback();
        socket.refuse_segmentation().unwrap();
        let mut outbox = Outbox::new(&socket, false);
        let mut egress = Egress::new(4, 4096, 44);
        let mut counters = IoCounters::default();
        let mut buffer = [0; 2048];
        for _ in 0..REFUSED_IN_A_ROW_MAX + 3 {
            commit(&mut egress, &path, &[100, 100, 40]);
            flush(&mut outbox, &socket, &mut egress, &mut counters);
            for len in [100, 100, 40] {
                assert_eq!(peer.recv(&mut buffer).unwrap(), len);
            }
        }
        assert!(!outbox.segmentation.is_on());
        assert_eq!(egress.free_blocks(), 4);
        for _ in 0..PAUSE_LOADS {
            outbox.segmentation.on_load();
        }
        assert!(outbox.segmentation.is_on(), "it may have been one receiver's path");
        outbox.segmentation.refused();
        assert!(!outbox.segmentation.is_on(), "one more refusal is enough");
    }

    #[test]
    fn a_success_between_refusals_keeps_segmentation_on() {
        let mut segmentation = Segmentation { known: true, refused_in_a_row: 0, pause: 0 };
        for _ in 0..10 * REFUSED_IN_A_ROW_MAX {
            segmentation.refused();
            segmentation.accepted();
        }
        assert!(segmentation.is_on());
    }
}
