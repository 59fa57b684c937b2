//! Argon2id, at most two at a time on threads of their own, so that guessing cannot starve the rest of the server.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use saal_dataplane::io::memory::overwrite_stack;
use serde::{Deserialize, Deserializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use zeroize::Zeroizing;

/// A password as somebody typed it; overwritten when dropped.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

/// An Argon2id hash in PHC form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hash(Arc<str>);

/// The threads that hash.
pub(crate) struct Hashing {
    jobs: SyncSender<Job>,
    /// One permit per thread; it comes back when the thread is done, even if nobody waits for the result any more.
    idle: Arc<Semaphore>,
    line: Semaphore,
    /// Of a password nobody knows: whatever does not exist is checked against it and costs the same.
    dummy: Hash,
}

/// An idle thread that waits for its job. Whoever has waited long looks again whether the work is still due.
pub(crate) struct Turn<'a> {
    hashing: &'a Hashing,
    idle: OwnedSemaphorePermit,
}

type Job = Box<dyn FnOnce() + Send>;

/// Too many people wait for a hash already.
#[derive(Debug)]
pub(crate) struct Overloaded;

/// Two hashes at a time leave cores to the media workers.
const THREADS: usize = 2;

/// A lecture hall of people who join in the same second.
const WAITING_MAX: usize = 1024;

impl Password {
    /// Longest accepted password in bytes.
    pub(crate) const LEN_MAX: usize = 256;

    pub(crate) fn new(text: impl Into<String>) -> Password {
        Password(Zeroizing::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_acceptable(&self) -> bool {
        self.0.len() <= Password::LEN_MAX && !self.0.chars().any(char::is_control)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Password, D::Error> {
        String::deserialize(deserializer).map(Password::new)
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(redacted)")
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(redacted)")
    }
}

impl Hash {
    /// Takes as long as Argon2id with 19 MiB and two passes takes.
    pub(crate) fn of(password: &Password) -> Result<Hash, String> {
        let hash: PasswordHash =
            Argon2::default().hash_password(password.0.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Hash(hash.to_string().into()))
    }

    /// A hash from a file; `None` when it is not Argon2id in PHC form.
    pub(crate) fn from_phc(text: &str) -> Option<Hash> {
        let well_formed = text.starts_with("$argon2id$") && PasswordHash::new(text).is_ok();
        well_formed.then(|| Hash(text.into()))
    }

    pub(crate) fn as_phc(&self) -> &str {
        &self.0
    }

    fn fits(&self, password: &Password) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password.0.as_bytes(), &hash).is_ok())
    }
}

impl Hashing {
    pub(crate) fn new() -> Result<Hashing, String> {
        let dummy = Hash::of(&Password(crate::random::token()))?;
        let (jobs, queue) = sync_channel(THREADS);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name("saal-hash".into()).spawn(move || work(&queue));
            thread.map_err(|error| format!("cannot start a thread for passwords: {error}"))?;
        }
        Ok(Hashing {
            jobs,
            idle: Arc::new(Semaphore::new(THREADS)),
            line: Semaphore::new(WAITING_MAX),
            dummy,
        })
    }

    /// Waits in line for a thread.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Overloaded> {
        let _in_line = self.line.try_acquire().map_err(|_| Overloaded)?;
        let idle = self.idle.clone().acquire_owned().await.map_err(|_| Overloaded)?;
        Ok(Turn { hashing: self, idle })
    }
}

impl Turn<'_> {
    pub(crate) async fn hash(self, password: Password) -> Result<Hash, Overloaded> {
        self.run(move || Hash::of(&password)).await?.map_err(|_| Overloaded)
    }

    /// The work is the same for `None`, and the answer is `false`.
    pub(crate) async fn verify(self, password: Password, hash: Option<Hash>) -> Result<bool, Overloaded> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.hashing.dummy.clone());
        let fits = self.run(move || hash.fits(&password)).await?;
        Ok(fits && exists)
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        let Turn { hashing, idle } = self;
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Whoever asked may have gone meanwhile.
            let _ = done.send(work());
            drop(idle);
        });
        hashing.jobs.try_send(job).map_err(|_| Overloaded)?;
        result.await.map_err(|_| Overloaded)
    }
}

/// Until the server drops its end of the queue.
fn work(queue: &Mutex<Receiver<Job>>) {
    // Refused by some sandboxes; hashing then competes with the media threads as an equal.
    let _ = saal_dataplane::yield_to_media();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job();
        // It has worked on a password.
        overwrite_stack();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_fits() {
        let hash = Hash::of(&Password::new("right")).unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hash.fits(&Password::new("right")));
        assert!(!hash.fits(&Password::new("wrong")));
    }

    #[test]
    fn what_does_not_exist_never_fits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hashing = Hashing::new().unwrap();
        let verify = async { hashing.turn().await.unwrap().verify(Password::new(""), None).await };
        assert!(!runtime.block_on(verify).unwrap());
    }

    #[test]
    fn a_weaker_hash_is_not_accepted_from_a_file() {
        assert!(Hash::from_phc("$argon2i$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$aGFzaA").is_none());
        assert!(Hash::from_phc("plain").is_none());
    }
}
