//! Sound that brings nothing earlier along leaves a second time, to a line that loses packets.

use std::fmt;

use zeroize::Zeroize;

use super::Sender;
use crate::egress::Egress;

/// The packet of sound sent last, sealed, if it shall leave once more ahead of the next. It is the very same packet, as the
/// cipher must not see another one under its number (RFC 7714 §8.1), and replay protection throws away whichever comes second
/// (RFC 3711 §3.3.2).
#[derive(Default)]
pub(super) struct Repeat {
    sealed: Vec<u8>,
}

impl Repeat {
    pub(super) fn keep(&mut self, sealed: &[u8]) {
        self.sealed.clear();
        self.sealed.extend_from_slice(sealed);
    }

    pub(super) fn send(&mut self, to: &mut Sender<'_>, egress: &mut Egress) {
        if self.sealed.is_empty() {
            return;
        }
        if let Ok(place) = to.transport.reserve(egress, self.sealed.len()) {
            place.copy_from_slice(&self.sealed);
            to.transport.commit(egress);
            to.downlink.on_repeated(self.sealed.len());
        }
        self.sealed.clear();
    }

    /// Overwrites it: what comes next has nothing to do with it.
    pub(super) fn forget(&mut self) {
        self.sealed.zeroize();
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        self.forget();
    }
}

/// What people said is for nobody's eyes.
impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeat").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_never_printed() {
        let mut repeat = Repeat::default();
        repeat.keep(&[1, 2, 3]);
        assert_eq!(format!("{repeat:?}"), "Repeat { .. }");
    }
}
