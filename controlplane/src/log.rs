//! Everything this server ever logs: one closed enum, one line each on stderr.
//!
//! No variant has a field for text of a client, a room name, a display name or an address of anybody but ourselves.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
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
    /// Only names of accounts that exist are logged.
    SignedIn {
        account: &'a str,
    },
    SignInFailed {
        account: Option<&'a str>,
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
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        say(format_args!("error panic{place}; its message is withheld because it could hold personal words"));
    }));
}

/// A log that nobody reads any more (a closed terminal, a full disk) is no reason to stop serving: `eprintln!` would panic.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

impl Entry<'_> {
    fn level(&self) -> Level {
        match self {
            Entry::WorkersStopped | Entry::CommandsLost { .. } => Level::Error,
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
            | Entry::SignedIn { .. }
            | Entry::SignInFailed { .. }
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
            Entry::SignedIn { account } => write!(f, "sign-in result=ok account={account:?}"),
            Entry::SignInFailed { account: Some(account) } => {
                write!(f, "sign-in result=wrong-password account={account:?}")
            }
            Entry::SignInFailed { account: None } => f.write_str("sign-in result=unknown-account"),
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
