//! Everything this server ever logs: one closed enum, one line each on stderr.
//!
//! No variant has a field for text of a client, an account, a room name, a display name or an address of anybody but
//! ourselves. Sign-ins are not here: whoever collects these lines keeps them for as long as they please.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::Level;

/// One log line.
pub(crate) enum Entry<'a> {
    Starting {
        version: &'static str,
    },
    Listening {
        address: SocketAddr,
        tls: bool,
    },
    AdminListening {
        address: SocketAddr,
    },
    Worker {
        number: u16,
        port: u16,
        core: Option<usize>,
        backend: &'static str,
    },
    /// The data plane's own sentence.
    NotUring {
        why: &'a str,
    },
    /// The data plane's own sentence.
    SmallBuffers {
        why: &'a str,
    },
    DemoAccount,
    /// The kernel's own words about the journal's files.
    JournalFails {
        why: &'a std::io::Error,
    },
    NoAccounts,
    AccountsUnreadable,
    CertificateLoaded,
    /// Our own words about the admin's files.
    CertificateNotLoaded {
        why: &'a str,
    },
    RoomOpened {
        rooms: usize,
    },
    RoomClosed {
        rooms: usize,
    },
    CommandsLost {
        worker: u16,
    },
    WorkersStopped,
    /// The kernel's own words about this process.
    AcceptFailed {
        why: &'a std::io::Error,
    },
    AcceptsAgain,
    Draining {
        rooms: usize,
    },
    Stopping,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

pub(crate) fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

pub(crate) fn write(entry: &Entry<'_>) {
    let level = entry.level();
    if level as u8 <= LEVEL.load(Ordering::Relaxed) {
        let word = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        say(format_args!("{word} {entry}"));
    }
}

/// A panic says where, never what: its message may hold a client's words.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| say(format_args!("{}", words_of(panic)))));
}

fn words_of(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
    format!("error panic{place}; its message is withheld because it could hold personal words")
}

/// A log that nobody reads any more (a closed terminal, a full disk) is no reason to stop serving: `eprintln!` would panic.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

impl Entry<'_> {
    fn level(&self) -> Level {
        match self {
            Entry::WorkersStopped | Entry::CommandsLost { .. } | Entry::JournalFails { .. } => Level::Error,
            Entry::NotUring { .. }
            | Entry::SmallBuffers { .. }
            | Entry::NoAccounts
            | Entry::AccountsUnreadable
            | Entry::CertificateNotLoaded { .. }
            | Entry::AcceptFailed { .. } => Level::Warn,
            Entry::Starting { .. }
            | Entry::Listening { .. }
            | Entry::AdminListening { .. }
            | Entry::Worker { .. }
            | Entry::DemoAccount
            | Entry::AcceptsAgain
            | Entry::CertificateLoaded
            | Entry::Draining { .. }
            | Entry::Stopping => Level::Info,
            Entry::RoomOpened { .. } | Entry::RoomClosed { .. } => Level::Debug,
        }
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Starting { version } => write!(f, "starting version={version}"),
            Entry::Listening { address, tls } => write!(f, "listening address={address} tls={tls}"),
            Entry::AdminListening { address } => write!(f, "listening admin={address}"),
            Entry::Worker { number, port, core, backend } => {
                write!(f, "worker number={number} port={port} io={backend}")?;
                core.map_or(Ok(()), |core| write!(f, " core={core}"))
            }
            Entry::NotUring { why } => write!(f, "using mio: {why}"),
            Entry::SmallBuffers { why } => write!(f, "small socket buffers lose bursts: {why}"),
            Entry::DemoAccount => {
                f.write_str("no organizers file: a demo account lives until this process ends")
            }
            Entry::JournalFails { why } => {
                write!(f, "the journal of sign-ins cannot be kept or its old files not be deleted: {why}")
            }
            Entry::AccountsUnreadable => f.write_str(
                "organizers file not usable; the last good one serves; `saal organizer list --config FILE`, as the \
                 service's user, says why",
            ),
            Entry::NoAccounts => {
                f.write_str("the organizers file is empty, so nobody may open rooms: saal organizer add NAME --config FILE")
            }
            Entry::CertificateLoaded => f.write_str("certificate loaded"),
            Entry::CertificateNotLoaded { why } => write!(f, "the old certificate serves on: {why}"),
            Entry::RoomOpened { rooms } => write!(f, "room opened rooms={rooms}"),
            Entry::RoomClosed { rooms } => write!(f, "room closed rooms={rooms}"),
            Entry::CommandsLost { worker } => write!(f, "worker {worker} takes no commands; some were lost"),
            Entry::WorkersStopped => f.write_str("the media workers have stopped"),
            Entry::AcceptFailed { why } => {
                write!(f, "nobody new gets in until this ends: {why}; raise LimitNOFILE (ulimit -n)")
            }
            Entry::AcceptsAgain => f.write_str("new connections get in again"),
            Entry::Draining { rooms } => write!(f, "draining rooms={rooms}; a second SIGTERM stops at once"),
            Entry::Stopping => f.write_str("stopping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_says_where_and_never_what() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&said);
        std::panic::set_hook(Box::new(move |panic| hook.lock().unwrap().push(words_of(panic))));
        let name = "canary";
        assert!(std::panic::catch_unwind(|| panic!("no such person: {name}")).is_err());
        let _ = std::panic::take_hook();
        // Other tests may panic meanwhile.
        let said = said.lock().unwrap();
        assert!(
            said.iter().any(|line| line.starts_with("error panic at controlplane/src/log.rs:")),
            "{said:?}"
        );
        assert!(said.iter().all(|line| !line.contains("canary")), "{said:?}");
    }
}
