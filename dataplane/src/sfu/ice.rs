//! ICE-lite for one participant (RFC 8445 §2.5): answers checks and never sends one, remembers from which paths authentic
//! ones came, and follows the client's nomination.
//!
//! ```text
//! path      unknown ── authentic check ──> known ── DTLS or SRTP authentic ──> proven
//! may get   nothing                        3 x what came from it               everything
//! ```
//!
//! A path without a check for the consent time is forgotten, and with the last of them consent is gone (RFC 7675).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use zeroize::Zeroize;

use crate::counters::Dropped;
use crate::id::{Path, WorkerId};
use crate::wire::stun::{self, Message, Refusal, Role};

/// Short-term credentials (RFC 8445 §5.3).
#[derive(Clone)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl IceCredentials {
    /// The ufrag names worker and generation, so that a packet can be told to belong to another worker or to an
    /// earlier process, and has 36 random bits; the password has 144.
    pub fn generate(worker: WorkerId, generation: u16, fill: &mut dyn FnMut(&mut [u8])) -> IceCredentials {
        let mut random = [0; 24];
        fill(&mut random);
        let mut ufrag = String::with_capacity(12);
        push_ice_chars(&mut ufrag, worker.0.into(), 3);
        push_ice_chars(&mut ufrag, generation.into(), 3);
        let mut pwd = String::with_capacity(24);
        for (nth, chunk) in random.chunks_exact(3).enumerate() {
            let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
            match nth {
                0 => push_ice_chars(&mut ufrag, bits, 4),
                1 => push_ice_chars(&mut ufrag, bits & 0xfff, 2),
                _ => push_ice_chars(&mut pwd, bits, 4),
            }
        }
        random.zeroize();
        IceCredentials { ufrag, pwd }
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IceCredentials(redacted)")
    }
}

impl Drop for IceCredentials {
    fn drop(&mut self) {
        self.pwd.zeroize();
    }
}

/// Six bits a character, the most significant first.
fn push_ice_chars(text: &mut String, bits: u32, chars: u32) {
    for nth in (0..chars).rev() {
        text.push(char::from(ICE_CHARS[(bits >> (6 * nth)) as usize % ICE_CHARS.len()]));
    }
}

const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The agent.
pub(super) struct Ice {
    current: Local,
    /// Waits for the first check with it (RFC 8445 §9). Large, and rarely there.
    next: Option<Box<Local>>,
    paths: Vec<Known>,
    nominated: Option<Path>,
    /// How often that has become another.
    moves: u32,
    /// Serves until something is nominated.
    provisional: Option<Path>,
    last_check: Option<Instant>,
    consent: Duration,
}

/// What an authentic check changed, and what is to be answered.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) refusal: Option<Refusal>,
    /// Another path had to go.
    pub(super) forgotten: Option<Path>,
    /// The restart is over, and this ufrag is history.
    pub(super) retired: Option<String>,
}

struct Local {
    ufrag: String,
    key: hmac::Key,
}

#[derive(Clone, Copy)]
struct Known {
    path: Path,
    checked_at: Instant,
    bytes_in: u64,
    bytes_out: u64,
    /// DTLS or SRTP from it has been authenticated: its owner is really there.
    is_proven: bool,
    /// When that was last so.
    heard_at: Instant,
}

impl Ice {
    pub(super) fn new(local: IceCredentials, consent: Duration) -> Ice {
        Ice {
            current: Local::new(local),
            next: None,
            paths: Vec::with_capacity(PATHS_MAX),
            nominated: None,
            moves: 0,
            provisional: None,
            last_check: None,
            consent,
        }
    }

    /// `len` is that of the datagram. The answer is authenticated with [`Ice::key`].
    pub(super) fn on_check(
        &mut self,
        now: Instant,
        path: &Path,
        message: &Message<'_>,
        len: usize,
    ) -> Result<Checked, Dropped> {
        if !message.is_binding_request() {
            return Err(Dropped::StunUnsupported);
        }
        let ufrag = message.local_ufrag();
        let is_restart = self.next.as_ref().is_some_and(|next| Some(next.ufrag.as_str()) == ufrag);
        if !is_restart && ufrag != Some(self.current.ufrag.as_str()) {
            return Err(Dropped::UnknownUfrag);
        }
        let local = self.next.as_deref().filter(|_| is_restart).unwrap_or(&self.current);
        if !message.is_authentic(&local.key) {
            return Err(Dropped::StunUnauthentic);
        }
        let mut checked = Checked::default();
        if let Some(next) = self.next.take_if(|_| is_restart) {
            checked.retired = Some(std::mem::replace(&mut self.current, *next).ufrag);
        }
        self.last_check = Some(now);
        checked.forgotten = self.admit(now, path, len);
        if !message.unknown.as_slice().is_empty() {
            checked.refusal = Some(Refusal::UnknownAttribute);
            return Ok(checked);
        }
        // We are controlled and stay so: a lite agent faces a full one, which has to give way (RFC 8445 §6.1.1).
        if let Some(Role::Controlled(_)) = message.role {
            checked.refusal = Some(Refusal::RoleConflict);
            return Ok(checked);
        }
        if message.use_candidate && self.nominated.replace(*path).is_some_and(|before| before != *path) {
            self.moves += 1;
        }
        self.provisional.get_or_insert(*path);
        Ok(checked)
    }

    /// A path as if it had been checked, nominated and proven.
    #[cfg(test)]
    pub(super) fn trust(&mut self, now: Instant, path: Path) {
        self.paths.push(Known {
            path,
            checked_at: now,
            bytes_in: 0,
            bytes_out: 0,
            is_proven: true,
            heard_at: now,
        });
        self.nominated = Some(path);
    }

    /// Returns the ufrag of an earlier restart that nothing answers to any more.
    pub(super) fn restart(&mut self, local: IceCredentials) -> Option<String> {
        self.next.replace(Box::new(Local::new(local))).map(|superseded| superseded.ufrag)
    }

    /// A datagram came; false when its path has had no authentic check.
    pub(super) fn received(&mut self, remote: SocketAddr, len: usize) -> bool {
        let Some(known) = self.find(remote) else { return false };
        known.bytes_in += wire_bytes(len);
        true
    }

    /// DTLS or SRTP that came from there was authentic.
    pub(super) fn prove(&mut self, now: Instant, remote: SocketAddr) {
        if let Some(known) = self.find(remote) {
            known.is_proven = true;
            known.heard_at = now;
        }
    }

    /// Whether the client is certainly there: a check of somebody else from its address has a forged source.
    pub(super) fn holds(&self, now: Instant, remote: SocketAddr) -> bool {
        let is_there = |known: &Known| known.is_proven && now < known.heard_at + HELD;
        self.paths.iter().any(|known| known.path.remote == remote && is_there(known))
    }

    /// DTLS was spoken on this path, which serves while nothing is nominated.
    pub(super) fn prefer(&mut self, path: &Path) {
        if self.find(path.remote).is_some() {
            self.provisional = Some(*path);
        }
    }

    /// Whether a datagram of `len` bytes may go there; it is counted as sent.
    pub(super) fn spend(&mut self, remote: SocketAddr, len: usize) -> Result<(), Dropped> {
        let Some(known) = self.find(remote) else { return Err(Dropped::AmplificationCap) };
        if known.is_proven {
            return Ok(());
        }
        let spent = known.bytes_out + wire_bytes(len);
        if spent > known.bytes_in.saturating_mul(AMPLIFICATION_MAX) {
            return Err(Dropped::AmplificationCap);
        }
        known.bytes_out = spent;
        Ok(())
    }

    pub(super) fn forget(&mut self, remote: SocketAddr) {
        if let Some(at) = self.paths.iter().position(|known| known.path.remote == remote) {
            self.remove(at);
        }
    }

    /// A path that has had no check for the consent time; to be called until there is none.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Path> {
        let at = self.paths.iter().position(|known| known.checked_at + self.consent <= now)?;
        Some(self.remove(at))
    }

    /// Never before the first check.
    pub(super) fn has_lost_consent(&self, now: Instant) -> bool {
        self.last_check.is_some_and(|at| at + self.consent <= now)
    }

    pub(super) fn was_checked(&self) -> bool {
        self.last_check.is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let checks = self.paths.iter().map(|known| known.checked_at).chain(self.last_check);
        checks.min().map(|at| at + self.consent)
    }

    /// How often the client has nominated another path.
    pub(super) fn moves(&self) -> u32 {
        self.moves
    }

    /// Where to send to.
    pub(super) fn selected(&self) -> Option<&Path> {
        self.nominated.as_ref().or(self.provisional.as_ref())
    }

    pub(super) fn key(&self) -> &hmac::Key {
        &self.current.key
    }

    pub(super) fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(self.next.as_deref()).map(|local| local.ufrag.as_str())
    }

    pub(super) fn remotes(&self) -> impl Iterator<Item = SocketAddr> {
        self.paths.iter().map(|known| known.path.remote)
    }

    /// Makes room by forgetting the path that was checked longest ago and is not in use.
    fn admit(&mut self, now: Instant, path: &Path, len: usize) -> Option<Path> {
        if let Some(known) = self.find(path.remote) {
            known.checked_at = now;
            known.path = *path;
            known.bytes_in += wire_bytes(len);
            return None;
        }
        let mut forgotten = None;
        if self.paths.len() == PATHS_MAX {
            let selected = self.selected().map(|path| path.remote);
            let idle = self.paths.iter().enumerate().filter(|(_, known)| Some(known.path.remote) != selected);
            let oldest = idle.min_by_key(|(_, known)| known.checked_at).map(|(at, _)| at);
            forgotten = oldest.map(|at| self.remove(at));
        }
        let bytes_in = wire_bytes(len);
        self.paths.push(Known {
            path: *path,
            checked_at: now,
            bytes_in,
            bytes_out: 0,
            is_proven: false,
            heard_at: now,
        });
        forgotten
    }

    /// What was selected there falls to the path that was checked last.
    fn remove(&mut self, at: usize) -> Path {
        let removed = std::mem::replace(&mut self.paths[at].path, NOWHERE);
        self.paths.swap_remove(at);
        let is_removed = |path: &mut Path| path.remote == removed.remote;
        let latest = self.paths.iter().max_by_key(|known| known.checked_at).map(|known| known.path);
        if self.provisional.take_if(is_removed).is_some() {
            self.provisional = latest;
        }
        if self.nominated.take_if(is_removed).is_some() {
            self.provisional = latest;
        }
        removed
    }

    fn find(&mut self, remote: SocketAddr) -> Option<&mut Known> {
        self.paths.iter_mut().find(|known| known.path.remote == remote)
    }
}

/// No address outlives the participant in memory that is given back.
impl Drop for Ice {
    fn drop(&mut self) {
        for known in &mut self.paths {
            known.path = NOWHERE;
        }
        self.nominated = self.nominated.map(|_| NOWHERE);
        self.provisional = self.provisional.map(|_| NOWHERE);
        // Without a reader the writes above would be dead stores.
        std::hint::black_box((&self.paths, &self.nominated, &self.provisional));
    }
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ice(redacted)")
    }
}

impl Local {
    fn new(mut credentials: IceCredentials) -> Local {
        let key = stun::key(&credentials.pwd);
        Local { ufrag: std::mem::take(&mut credentials.ufrag), key }
    }
}

/// What a datagram is on the wire, with the headers of UDP and IPv4: a small ClientHello and a check pay for the answer
/// with our certificate only when they are counted on both sides, as a victim would count them.
fn wire_bytes(datagram_len: usize) -> u64 {
    datagram_len as u64 + 28
}

/// Interfaces of a client times addresses of the server, where both are rarely more than two.
const PATHS_MAX: usize = 8;
/// Who speaks or shows a picture sends that often. Short, because client ports are used again quickly: by the time the
/// next owner has been through signalling, the one before has been silent for longer.
const HELD: Duration = Duration::from_millis(250);
/// As QUIC has it (RFC 9000 §8.1).
const AMPLIFICATION_MAX: u64 = 3;
const NOWHERE: Path =
    Path { remote: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), local: None };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stun::{BindingRequest, TransactionId, WRITTEN_MAX};

    const CONSENT: Duration = Duration::from_secs(15);

    #[test]
    fn credentials_name_worker_and_generation_and_are_random_enough() {
        let mut calls = 0u8;
        let mut fill = |out: &mut [u8]| {
            calls += 1;
            out.fill(calls);
        };
        let first = IceCredentials::generate(WorkerId(5), 0x1234, &mut fill);
        let second = IceCredentials::generate(WorkerId(5), 0x1234, &mut fill);
        assert_eq!((first.ufrag.len(), first.pwd.len()), (12, 24));
        assert_eq!(first.ufrag[..6], second.ufrag[..6]);
        assert_eq!(&first.ufrag[..3], "AAF");
        assert_ne!(first.ufrag[6..], second.ufrag[6..]);
        assert_ne!(first.pwd, second.pwd);
        assert!(first.ufrag.bytes().chain(first.pwd.bytes()).all(|char| ICE_CHARS.contains(&char)));
        assert_ne!(first.ufrag, IceCredentials::generate(WorkerId(6), 0x1234, &mut fill).ufrag);
    }

    #[test]
    fn path_follows_the_latest_nomination() {
        let (mut ice, start) = (agent(), Instant::now());
        check(&mut ice, start, 1, "old", false).unwrap();
        check(&mut ice, start, 2, "old", false).unwrap();
        assert_eq!(ice.selected(), Some(&path(1)), "the first, until one is nominated");
        check(&mut ice, start, 2, "old", true).unwrap();
        assert_eq!(ice.selected(), Some(&path(2)));
        check(&mut ice, start, 1, "old", false).unwrap();
        assert_eq!(ice.selected(), Some(&path(2)));
        check(&mut ice, start, 3, "old", true).unwrap();
        assert_eq!(ice.selected(), Some(&path(3)));
    }

    #[test]
    fn old_credentials_serve_until_the_first_check_with_the_new_ones() {
        let (mut ice, start) = (agent(), Instant::now());
        check(&mut ice, start, 1, "old", true).unwrap();
        assert_eq!(ice.restart(credentials("new")), None);
        assert!(check(&mut ice, start, 1, "old", true).unwrap().retired.is_none());
        assert_eq!(ice.ufrags().collect::<Vec<_>>(), ["old", "new"]);

        assert_eq!(check(&mut ice, start, 2, "new", false).unwrap().retired.as_deref(), Some("old"));
        assert_eq!(ice.ufrags().collect::<Vec<_>>(), ["new"]);
        assert_eq!(ice.selected(), Some(&path(1)), "until the new nomination");
        assert_eq!(check(&mut ice, start, 1, "old", true).unwrap_err(), Dropped::UnknownUfrag);
        assert_eq!(ice.restart(credentials("third")), None);
        assert_eq!(ice.restart(credentials("fourth")).as_deref(), Some("third"));
    }

    #[test]
    fn foreign_password_and_foreign_ufrag_leave_no_path() {
        let (mut ice, start) = (agent(), Instant::now());
        let forged = check_with(&mut ice, start, 1, "old", "pwd of another", false, Role::Controlling(1));
        assert_eq!(forged.unwrap_err(), Dropped::StunUnauthentic);
        assert_eq!(check(&mut ice, start, 1, "new", true).unwrap_err(), Dropped::UnknownUfrag);
        assert!(ice.selected().is_none() && !ice.was_checked() && ice.remotes().next().is_none());
    }

    #[test]
    fn client_that_claims_to_be_controlled_is_refused_and_nominates_nothing() {
        let (mut ice, start) = (agent(), Instant::now());
        let checked = check_with(&mut ice, start, 1, "old", "pwd of old", true, Role::Controlled(9)).unwrap();
        assert_eq!(checked.refusal, Some(Refusal::RoleConflict));
        assert!(ice.selected().is_none());
    }

    #[test]
    fn idle_paths_expire_and_consent_with_the_last_of_them() {
        let (mut ice, start) = (agent(), Instant::now());
        check(&mut ice, start, 1, "old", true).unwrap();
        check(&mut ice, start + Duration::from_secs(10), 2, "old", false).unwrap();
        assert_eq!(ice.next_timeout(), Some(start + CONSENT));
        assert!(ice.expire(start + CONSENT - Duration::from_millis(1)).is_none());
        assert_eq!(ice.expire(start + CONSENT), Some(path(1)));
        assert!(ice.expire(start + CONSENT).is_none());
        assert_eq!(ice.selected(), Some(&path(2)), "the one that is left");
        assert!(!ice.has_lost_consent(start + CONSENT));
        assert!(ice.has_lost_consent(start + CONSENT + Duration::from_secs(10)));
    }

    #[test]
    fn ninth_path_displaces_the_oldest_that_is_not_in_use() {
        let (mut ice, start) = (agent(), Instant::now());
        for port in 1..=8 {
            let at = start + Duration::from_millis(port.into());
            assert!(check(&mut ice, at, port, "old", port == 1).unwrap().forgotten.is_none());
        }
        let later = start + Duration::from_secs(1);
        assert_eq!(check(&mut ice, later, 9, "old", false).unwrap().forgotten, Some(path(2)));
        assert_eq!((ice.remotes().count(), ice.selected()), (PATHS_MAX, Some(&path(1))));
    }

    #[test]
    fn unproven_path_gets_three_times_what_it_sent() {
        let (mut ice, start) = (agent(), Instant::now());
        assert_eq!(ice.spend(path(1).remote, 1), Err(Dropped::AmplificationCap));
        check(&mut ice, start, 1, "old", true).unwrap();
        let sent = request("old", "pwd of old", true, Role::Controlling(1)).len();
        assert_eq!(ice.spend(path(1).remote, 3 * (sent + 28) - 28), Ok(()));
        assert_eq!(ice.spend(path(1).remote, 0), Err(Dropped::AmplificationCap));
        assert!(ice.received(path(1).remote, 10));
        assert_eq!(ice.spend(path(1).remote, 3 * (10 + 28) - 27), Err(Dropped::AmplificationCap));
        assert_eq!(ice.spend(path(1).remote, 3 * (10 + 28) - 28), Ok(()));
        ice.prove(start, path(1).remote);
        assert_eq!(ice.spend(path(1).remote, 1_000_000), Ok(()));
        assert!(ice.holds(start, path(1).remote) && !ice.holds(start, path(2).remote));
        assert!(!ice.holds(start + HELD, path(1).remote));
        ice.forget(path(1).remote);
        assert!(!ice.received(path(1).remote, 10) && ice.selected().is_none());
    }

    fn agent() -> Ice {
        Ice::new(credentials("old"), CONSENT)
    }

    fn credentials(ufrag: &str) -> IceCredentials {
        IceCredentials { ufrag: ufrag.into(), pwd: format!("pwd of {ufrag}") }
    }

    fn path(port: u16) -> Path {
        Path { remote: SocketAddr::from(([192, 0, 2, 7], port)), local: None }
    }

    fn check(
        ice: &mut Ice,
        now: Instant,
        port: u16,
        ufrag: &str,
        nominate: bool,
    ) -> Result<Checked, Dropped> {
        check_with(ice, now, port, ufrag, &format!("pwd of {ufrag}"), nominate, Role::Controlling(1))
    }

    fn check_with(
        ice: &mut Ice,
        now: Instant,
        port: u16,
        ufrag: &str,
        pwd: &str,
        nominate: bool,
        role: Role,
    ) -> Result<Checked, Dropped> {
        let bytes = request(ufrag, pwd, nominate, role);
        ice.on_check(now, &path(port), &Message::parse(&bytes).unwrap(), bytes.len())
    }

    fn request(ufrag: &str, pwd: &str, use_candidate: bool, role: Role) -> Vec<u8> {
        let request = BindingRequest {
            transaction: TransactionId([1; 12]),
            ufrags: (ufrag, "client"),
            priority: 1,
            role,
            use_candidate,
        };
        let mut out = vec![0; WRITTEN_MAX];
        let len = stun::write_binding_request(&request, &stun::key(pwd), &mut out).unwrap();
        out.truncate(len);
        out
    }
}
