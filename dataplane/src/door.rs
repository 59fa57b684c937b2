//! The way from the rooms to their doorman: in the worker's own turn, where time is virtual, or on one thread for all
//! workers.
//!
//! ```text
//! worker 0 ── notes ──>┐          ┌── words, wake ──> worker 0
//! worker 1 ── notes ──>┤ doorman  ├── words, wake ──> worker 1
//!                      └──────────┘
//! ```
//!
//! The thread stands behind the media threads (a higher nice value) and is pinned to no core. Both queues are bounded.
//! At the limit a datagram is dropped, for DTLS sends it again; words are kept, and no note is taken meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Select, Sender, TryRecvError, TrySendError, bounded};

use crate::counters::Dropped;
use crate::io::memory::overwrite_stack;
use crate::io::{Waker, yield_to_media};
use crate::sfu::doorman::{Doorman, Note, Word};
use crate::sfu::dtls::Certificate;
use crate::sfu::participant::Seat;

/// A worker's doorman.
#[derive(Debug)]
pub(crate) enum Door {
    Inline(Box<Doorman>),
    Thread(Line),
}

/// The worker's ends of the queues.
#[derive(Debug)]
pub(crate) struct Line {
    notes: Sender<Note>,
    words: Receiver<(Seat, Word)>,
    /// Notes that may not be lost, while the queue is full; never more than there were participants at once.
    left: VecDeque<Seat>,
    /// When they are offered again; somebody may be the last to leave, and nothing else happen.
    retry_at: Option<Instant>,
}

/// The doorman's ends of the queues of one worker.
#[derive(Debug)]
pub(crate) struct Desk {
    doorman: Doorman,
    notes: Receiver<Note>,
    words: Sender<(Seat, Word)>,
    waker: Option<Waker>,
}

/// Notes of one worker that are dealt with before the others' turn.
const NOTES_PER_ROUND_MAX: usize = 8;

/// Pause before a full queue is offered again what may not be lost.
const RETRY: Duration = Duration::from_millis(10);

impl Door {
    #[cfg_attr(not(any(test, feature = "sim")), expect(dead_code, reason = "only the simulation has it"))]
    pub(crate) fn inline(certificate: Certificate) -> Door {
        Door::Inline(Box::new(Doorman::new(certificate)))
    }

    /// The worker's side and the doorman's.
    pub(crate) fn line(certificate: Certificate, queue_max: usize) -> (Door, Desk) {
        let (notes, to_doorman) = bounded(queue_max);
        let (words, to_worker) = bounded(queue_max);
        let line = Line { notes, words: to_worker, left: VecDeque::new(), retry_at: None };
        (
            Door::Thread(line),
            Desk { doorman: Doorman::new(certificate), notes: to_doorman, words, waker: None },
        )
    }

    pub(crate) fn note(&mut self, now: Instant, note: Note) -> Result<(), Dropped> {
        match self {
            Door::Inline(doorman) => {
                doorman.on_note(now, note);
                Ok(())
            }
            Door::Thread(line) => line.note(now, note),
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        match self {
            Door::Inline(doorman) => doorman.on_timeout(now),
            Door::Thread(line) => line.send_left(now),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Door::Inline(doorman) => doorman.next_timeout(),
            // The handshakes' timers run on their own thread.
            Door::Thread(line) => line.retry_at,
        }
    }

    pub(crate) fn poll(&mut self) -> Option<(Seat, Word)> {
        match self {
            Door::Inline(doorman) => doorman.poll(),
            Door::Thread(line) => line.words.try_recv().ok(),
        }
    }

    pub(crate) fn has_words(&self) -> bool {
        match self {
            Door::Inline(doorman) => doorman.has_words(),
            Door::Thread(line) => !line.words.is_empty(),
        }
    }

    /// Notes that nobody has read.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Door::Inline(_) => 0,
            Door::Thread(line) => line.notes.len() + line.left.len(),
        }
    }
}

impl Line {
    fn note(&mut self, now: Instant, note: Note) -> Result<(), Dropped> {
        self.send_left(now);
        match self.notes.try_send(note) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Note::Left(seat))) => {
                self.left.push_back(seat);
                self.retry_at = Some(now + RETRY);
                Ok(())
            }
            Err(TrySendError::Full(Note::Datagram { .. })) => Err(Dropped::HandshakeQueueFull),
            // Without a doorman nobody could join, and a worker that goes on would look healthy.
            Err(TrySendError::Disconnected(_)) => panic!("the thread of the DTLS handshakes has ended"),
        }
    }

    fn send_left(&mut self, now: Instant) {
        while let Some(seat) = self.left.front() {
            if self.notes.try_send(Note::Left(*seat)).is_err() {
                self.retry_at = Some(now + RETRY);
                return;
            }
            self.left.pop_front();
        }
        self.left.shrink_to(0);
        self.retry_at = None;
    }
}

impl Desk {
    /// To be called before [`run`]: where to ring after a word.
    pub(crate) fn rings(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// Reads notes, looks at the clocks and says what there is to say. `false` when the worker has gone.
    pub(crate) fn serve(&mut self, now: Instant) -> bool {
        for _ in 0..NOTES_PER_ROUND_MAX {
            if self.doorman.has_words() {
                break;
            }
            match self.notes.try_recv() {
                Ok(note) => self.doorman.on_note(now, note),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
            self.speak();
        }
        if !self.doorman.has_words() {
            self.doorman.on_timeout(now);
        }
        self.speak();
        true
    }

    #[cfg(test)]
    pub(crate) fn handshakes(&self) -> usize {
        self.doorman.len()
    }

    fn speak(&mut self) {
        let mut spoke = false;
        while let Some(word) = self.doorman.poll() {
            match self.words.try_send(word) {
                Ok(()) => spoke = true,
                Err(TrySendError::Full(word)) => {
                    self.doorman.put_back(word);
                    break;
                }
                // The worker has gone; its notes end as well.
                Err(TrySendError::Disconnected(_)) => {}
            }
        }
        if let Some(waker) = self.waker.as_ref().filter(|_| spoke) {
            waker.wake();
        }
    }
}

/// The doorman's thread, until all workers have gone.
pub(crate) fn run(mut desks: Vec<Desk>) {
    // Refused by some sandboxes; the handshakes then compete with the media threads as equals.
    let _ = yield_to_media();
    while !desks.is_empty() {
        wait(&desks);
        let now = Instant::now();
        desks.retain_mut(|desk| desk.serve(now));
        // Where keys were worked out. It costs little beside a handshake.
        overwrite_stack();
    }
}

/// Until there is a note that may be read, or something is due.
fn wait(desks: &[Desk]) {
    let mut select = Select::new();
    let mut until = None;
    for desk in desks {
        let due = match desk.doorman.has_words() {
            true => Some(Instant::now() + RETRY),
            false => {
                select.recv(&desk.notes);
                desk.doorman.next_timeout()
            }
        };
        until = until.into_iter().chain(due).min();
    }
    match until {
        Some(at) => drop(select.ready_deadline(at)),
        None => drop(select.ready()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::id::Path;
    use crate::sfu::slab::Slab;

    fn datagram(seat: Seat) -> Note {
        let path = Path { remote: SocketAddr::from(([192, 0, 2, 1], 9)), local: None };
        Note::Datagram { seat, path: Box::new(path), fingerprint: [0; 32], bytes: [22; 40].into() }
    }

    fn seats() -> [Seat; 3] {
        let (mut rooms, mut participants) = (Slab::new(), Slab::new());
        let room = rooms.reserve_key();
        [(); 3].map(|()| Seat { room, participant: participants.reserve_key() })
    }

    #[test]
    fn a_full_queue_drops_datagrams_and_never_forgets_who_has_left() {
        let now = Instant::now();
        let (mut door, mut desk) = Door::line(Certificate::generate().unwrap(), 2);
        let [first, second, third] = seats();
        assert_eq!(door.note(now, datagram(first)), Ok(()));
        assert_eq!(door.note(now, datagram(second)), Ok(()));
        assert_eq!(door.note(now, datagram(third)), Err(Dropped::HandshakeQueueFull));
        for seat in [first, second] {
            assert_eq!(door.note(now, Note::Left(seat)), Ok(()));
        }
        assert_eq!(door.waiting(), 4);
        while door.waiting() > 0 {
            assert!(desk.serve(now));
            while door.poll().is_some() {}
            door.on_timeout(now);
        }
        assert_eq!(desk.handshakes(), 0, "who left in the middle of the handshake leaves nothing");
        assert_eq!(desk.doorman.next_timeout(), None);
    }

    #[test]
    fn who_leaves_last_is_forgotten_though_nothing_else_happens() {
        let now = Instant::now();
        let (mut door, mut desk) = Door::line(Certificate::generate().unwrap(), 1);
        let [seat, ..] = seats();
        assert_eq!(door.note(now, datagram(seat)), Ok(()));
        assert_eq!(door.next_timeout(), None);
        assert_eq!(door.note(now, Note::Left(seat)), Ok(()), "and waits");
        let first = door.next_timeout().unwrap();
        door.on_timeout(first);
        let second = door.next_timeout().unwrap();
        assert!(second > first, "the queue is still full");
        assert!(desk.serve(now));
        assert_eq!(desk.handshakes(), 1);
        door.on_timeout(second);
        assert_eq!(door.next_timeout(), None);
        assert!(desk.serve(second));
        assert_eq!(desk.handshakes(), 0);
    }

    #[test]
    fn a_worker_that_does_not_listen_gets_every_word_later() {
        let now = Instant::now();
        let (mut door, mut desk) = Door::line(Certificate::generate().unwrap(), 4);
        let [seat, ..] = seats();
        let mut heard = 0;
        // Each of these is refused with a word.
        for _ in 0..10 {
            let path = Path { remote: SocketAddr::from(([192, 0, 2, 1], 9)), local: None };
            let note =
                Note::Datagram { seat, path: Box::new(path), fingerprint: [0; 32], bytes: [22; 4000].into() };
            while door.waiting() == 4 {
                desk.serve(now);
                heard += usize::from(door.poll().is_some());
            }
            assert_eq!(door.note(now, note), Ok(()));
        }
        while heard < 10 {
            desk.serve(now);
            let word = door.poll();
            assert!(matches!(word, Some((_, Word::Dropped(Dropped::DtlsOverflow)))));
            heard += 1;
        }
        assert!(door.poll().is_none() && !desk.doorman.has_words());
    }

    #[test]
    fn the_thread_ends_with_its_workers() {
        let (door, desk) = Door::line(Certificate::generate().unwrap(), 4);
        let thread = std::thread::spawn(move || run(vec![desk]));
        drop(door);
        thread.join().unwrap();
    }
}
