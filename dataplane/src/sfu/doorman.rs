//! The DTLS handshakes of one worker's participants. Sans-IO: notes from the rooms in, words for them out.
//!
//! A handshake costs more than a thousand forwarded packets, so the rooms hold none: they hand what arrives to their
//! doorman, who may work on another thread, and go on forwarding. The doorman learns no room and no name, only a
//! [`Seat`]; a word for a seat that is empty by then finds nobody.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::time::Instant;

use super::dtls::{Certificate, Handshake, Keys, Output};
use super::participant::Seat;
use super::transport::Gone;
use crate::counters::Dropped;
use crate::id::Path;

/// From a room to its doorman.
pub(crate) enum Note {
    /// DTLS from an authenticated path; the first one begins the handshake.
    Datagram {
        seat: Seat,
        /// In memory of its own, as `from` below, so that no queue keeps a copy.
        path: Box<Path>,
        /// SHA-256 of the certificate that the participant must show.
        fingerprint: [u8; 32],
        bytes: Box<[u8]>,
    },
    /// The last note of this seat.
    Left(Seat),
}

/// From the doorman to the participant at a seat.
pub(crate) enum Word {
    Datagram(Box<[u8]>),
    /// `from` is where the datagram came from that ended the handshake.
    Connected {
        keys: Keys,
        from: Option<Box<Path>>,
    },
    Closed(Gone),
    Dropped(Dropped),
}

pub(crate) struct Doorman {
    certificate: Certificate,
    handshakes: HashMap<Seat, Handshake>,
    /// The timeout of every handshake that has one.
    timeouts: BTreeSet<(Instant, Seat)>,
    words: VecDeque<(Seat, Word)>,
    scratch: Box<[u8]>,
}

impl Doorman {
    pub(crate) fn new(certificate: Certificate) -> Doorman {
        Doorman {
            certificate,
            handshakes: HashMap::new(),
            timeouts: BTreeSet::new(),
            words: VecDeque::new(),
            scratch: vec![0; Handshake::SCRATCH_LEN].into(),
        }
    }

    pub(crate) fn on_note(&mut self, now: Instant, note: Note) {
        match note {
            Note::Datagram { seat, path, fingerprint, bytes } => {
                let (certificate, before) = (&self.certificate, self.timeout_of(seat));
                let handshake =
                    self.handshakes.entry(seat).or_insert_with(|| Handshake::new(certificate, fingerprint));
                if let Err(reason) = handshake.on_datagram(now, &bytes) {
                    self.words.push_back((seat, Word::Dropped(reason)));
                }
                self.listen(seat, before, Some(path));
            }
            Note::Left(seat) => {
                if let Some(at) = self.timeout_of(seat) {
                    self.timeouts.remove(&(at, seat));
                }
                self.handshakes.remove(&seat);
                if self.handshakes.is_empty() {
                    self.handshakes.shrink_to_fit();
                    self.words.shrink_to_fit();
                }
            }
        }
    }

    /// To be called at [`Doorman::next_timeout`]; earlier does no harm.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        // One that wants to be asked at once again has its turn the next time.
        for _ in 0..self.timeouts.len() {
            let Some((at, seat)) = self.timeouts.first().copied().filter(|(at, _)| *at <= now) else {
                return;
            };
            self.timeouts.pop_first();
            if let Some(handshake) = self.handshakes.get_mut(&seat) {
                handshake.on_timeout(now);
                self.listen(seat, Some(at), None);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timeouts.first().map(|(at, _)| *at)
    }

    /// To be asked until there is none, after every call.
    pub(crate) fn poll(&mut self) -> Option<(Seat, Word)> {
        self.words.pop_front()
    }

    /// The word just polled could not be delivered yet.
    pub(crate) fn put_back(&mut self, word: (Seat, Word)) {
        self.words.push_front(word);
    }

    pub(crate) fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    /// Handshakes under way and associations that stand.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.handshakes.len()
    }

    fn timeout_of(&self, seat: Seat) -> Option<Instant> {
        self.handshakes.get(&seat).and_then(Handshake::next_timeout)
    }

    /// What the handshake has to say, and when it wants to be asked again.
    fn listen(&mut self, seat: Seat, before: Option<Instant>, mut from: Option<Box<Path>>) {
        let Some(handshake) = self.handshakes.get_mut(&seat) else { return };
        loop {
            let word = match handshake.poll(&mut self.scratch) {
                Output::Datagram(len) => Word::Datagram(self.scratch[..len].into()),
                Output::Connected(keys) => Word::Connected { keys, from: from.take() },
                Output::Closed(reason) => Word::Closed(reason),
                Output::Idle => break,
            };
            self.words.push_back((seat, word));
        }
        for _ in 0..handshake.take_refused() {
            self.words.push_back((seat, Word::Dropped(Dropped::DtlsFailed)));
        }
        let after = handshake.next_timeout();
        if before != after {
            before.map(|at| self.timeouts.remove(&(at, seat)));
        }
        after.map(|at| self.timeouts.insert((at, seat)));
    }
}

impl fmt::Debug for Doorman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorman").field("handshakes", &self.handshakes.len()).finish_non_exhaustive()
    }
}
