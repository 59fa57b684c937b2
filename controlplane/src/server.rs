//! The running server: starts the parts, says where it listens, ends when it is told to and its rooms are empty.

use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::select_all;
use saal_dataplane::Limits;
use saal_dataplane::io::memory::{forbid_core_dumps, overwrite_stack};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use crate::accounts::Accounts;
use crate::addresses;
use crate::assets::Assets;
use crate::auth::Auth;
use crate::config::{Config, DEFAULT_WORKERS_MAX};
use crate::doctor::with_cause;
use crate::hall::Hall;
use crate::http;
use crate::journal::{Journal, LOOK_EVERY};
use crate::limit::Connections;
use crate::log::{self, Entry};
use crate::media::{Events, Media};
use crate::metrics;
use crate::password::{Hashing, Password};
use crate::privacy::Notices;
use crate::random;
use crate::receipt::Receipts;
use crate::rooms::{self, ORGANIZERS_BEYOND_FULL, Rooms};
use crate::self_check::{self, SelfCheck};
use crate::site::Site;
use crate::tls;
use crate::whip::Sessions;

/// What every request handler may reach.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) site: Site,
    pub(crate) assets: Assets,
    pub(crate) notices: Notices,
    pub(crate) started: Instant,
    pub(crate) auth: Auth,
    pub(crate) hashing: Hashing,
    pub(crate) hall: Hall,
    pub(crate) connections: RefCell<Connections>,
    pub(crate) whip: RefCell<Sessions>,
    pub(crate) self_check: SelfCheck,
    /// `None`: plain http.
    pub(crate) tls: RefCell<Option<TlsAcceptor>>,
    /// Where media arrives: candidates of every answer.
    pub(crate) announced: Vec<std::net::IpAddr>,
}

impl Server {
    /// Open connections keep the certificate that they began with.
    fn reload_certificate(&self) {
        match tls::acceptor(&self.config) {
            Ok(acceptor) => {
                *self.tls.borrow_mut() = acceptor;
                log::write(&Entry::CertificateLoaded);
            }
            Err(why) => log::write(&Entry::CertificateNotLoaded { why: &why }),
        }
    }
}

/// Why the server did not start or stopped by itself.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 2.
    Config(String),
    /// Exit code 1.
    Runtime(String),
}

/// Name of the account that exists when no organizers file is configured.
const DEMO_ACCOUNT: &str = "demo";

/// How often clocks are looked at: waiting rooms, sessions, budgets, commands that had to wait.
const TICK: Duration = Duration::from_millis(250);

/// Last words to browsers before the process ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// Runs until a signal or a failure ends it.
pub(crate) fn run(config: Config, web_dir: Option<PathBuf>) -> Result<(), Failure> {
    log::set_level(config.log.level);
    log::write(&Entry::Starting { version: env!("CARGO_PKG_VERSION") });
    forbid_core_dumps().map_err(|error| Failure::Runtime(format!("cannot forbid core dumps: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("cannot start the runtime: {error}")))?;
    let local = LocalSet::new();
    let server = local.block_on(&runtime, start_and_serve(config, web_dir))?;
    // All tasks end with the runtime, and with them the other references.
    drop(local);
    drop(runtime);
    match Rc::into_inner(server).is_none_or(|server| server.hall.media.shut_down()) {
        true => Ok(()),
        false => Err(Failure::Runtime("a media worker hangs; it was left behind".into())),
    }
}

/// What the file alone cannot tell: whether this process may run on the cores that it names.
pub(crate) fn check_cores(config: &Config) -> Result<(), Failure> {
    let allowed = addresses::cores_allowed();
    let foreign = config.media.cores.iter().find(|core| !allowed.is_empty() && !allowed.contains(core));
    foreign.map_or(Ok(()), |core| {
        Err(Failure::Config(format!(
            "media.cores: this process may not run on core {core}, only on {allowed:?}; name other cores, or look at \
             AllowedCPUs of the service and at the container's cpuset"
        )))
    })
}

/// The data plane's configuration.
pub(crate) fn media_config(config: &Config) -> saal_dataplane::Config {
    let media = &config.media;
    let cores = match media.cores.is_empty() {
        false => media.cores.iter().copied().map(Some).collect(),
        true => default_cores(),
    };
    let mut generation = [0; 2];
    random::fill(&mut generation);
    saal_dataplane::Config {
        cores,
        port: media.port,
        bind: media.bind,
        io: media.io.into(),
        generation: u16::from_ne_bytes(generation),
        limits: Limits {
            consent: Duration::from_secs(media.consent_seconds),
            participants_per_room_max: config.rooms.participants_max + ORGANIZERS_BEYOND_FULL,
            segments_max: media.segments_max,
            tick_max: Duration::from_micros(media.tick_max_us),
            padding_max_percent: media.padding_max_percent,
            receive_buffer_bytes: media.receive_buffer_bytes,
            send_buffer_bytes: media.send_buffer_bytes,
            ..Limits::default()
        },
    }
}

async fn start_and_serve(config: Config, web_dir: Option<PathBuf>) -> Result<Rc<Server>, Failure> {
    check_cores(&config)?;
    let tls = tls::acceptor(&config).map_err(Failure::Config)?;
    let announced = addresses::announced(&config);
    if announced.is_empty() {
        return Err(Failure::Config(
            "media.announce: this machine has no address that browsers could send media to; list one".into(),
        ));
    }
    let (accounts, demo_password) = accounts(&config)?;
    let journal = journal(&config)?;
    let listener = bind("http.listen", config.http.listen).await?;
    let admin = bind("admin.listen", config.admin.listen).await?;
    let (media, events) = Media::start(media_config(&config)).map_err(|error| {
        Failure::Runtime(format!(
            "cannot start the media workers on UDP port {} and up: {error}",
            config.media.port
        ))
    })?;
    let site = Site::new(&config);
    let limits = rooms::Limits {
        waiting: Duration::from_secs(config.rooms.waiting_minutes * 60),
        lost: Duration::from_secs(config.media.consent_seconds),
        participants_max: config.rooms.participants_max,
        rooms_max: config.rooms.rooms_max,
        rooms_per_organizer_max: config.rooms.rooms_per_organizer_max,
    };
    let (connections_max, per_address_max) =
        (config.http.connections_max, config.http.connections_per_address_max);
    let connections = Connections::new(connections_max, per_address_max);
    let whip = Sessions::new(Connections::new(connections_max, per_address_max));
    let server = Rc::new(Server {
        auth: Auth::new(accounts, journal, site.is_secure()),
        hashing: Hashing::new().map_err(Failure::Runtime)?,
        hall: Hall::new(media, Rooms::new(limits), Receipts::new().map_err(Failure::Runtime)?),
        connections: RefCell::new(connections),
        whip: RefCell::new(whip),
        self_check: SelfCheck::default(),
        assets: web_dir.map_or(Assets::Embedded, Assets::Directory),
        notices: Notices::new(&config),
        started: Instant::now(),
        site,
        tls: RefCell::new(tls),
        announced,
        config,
    });
    let signals =
        Signals::new().map_err(|error| Failure::Runtime(format!("cannot listen to signals: {error}")))?;
    announce(&server, &listener, &admin, demo_password.as_ref())
        .map_err(|error| Failure::Runtime(format!("cannot tell where the server listens: {error}")))?;
    // These end only when something is broken, and a server without one of them must not look alive.
    let endless = [
        spawn_local(http::serve(server.clone(), listener)),
        spawn_local(metrics::serve(server.clone(), admin)),
        spawn_local(keep_time(server.clone())),
        spawn_local(keep_journal(server.clone())),
        spawn_local(self_check::keep(server.clone())),
    ];
    let result = tokio::select! {
        () = until_the_end(&server, signals) => Ok(()),
        _ = spawn_local(listen_to_workers(server.clone(), events)) => {
            log::write(&Entry::WorkersStopped);
            Err(Failure::Runtime("the media workers have stopped; the log says at which place".into()))
        }
        _ = select_all(endless) => {
            Err(Failure::Runtime("a part of the server has stopped; the log says at which place".into()))
        }
    };
    server.hall.with(Rooms::shut_down);
    tokio::time::sleep(GOODBYE).await;
    log::write(&Entry::Stopping);
    result.map(|()| server)
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Runtime(format!("cannot listen on {key} = {address}: {}", with_cause(&error)))
    })
}

/// The accounts, and the password of the demo account if there is one.
fn accounts(config: &Config) -> Result<(Accounts, Option<Password>), Failure> {
    if let Some(path) = &config.organizers.file {
        let accounts = Accounts::open(path).map_err(Failure::Config)?;
        if accounts.names().next().is_none() {
            log::write(&Entry::NoAccounts);
        }
        return Ok((accounts, None));
    }
    let password = Password::new(random::password().as_str());
    let accounts = Accounts::demo(DEMO_ACCOUNT, &password).map_err(Failure::Runtime)?;
    log::write(&Entry::DemoAccount);
    Ok((accounts, Some(password)))
}

fn journal(config: &Config) -> Result<Option<Journal>, Failure> {
    let Some(directory) = config.organizers.journal() else { return Ok(None) };
    let days = config.organizers.journal_days;
    Journal::open(&directory, days, SystemTime::now(), Instant::now()).map(Some).map_err(Failure::Config)
}

/// Scripts and people read these lines.
fn announce(
    server: &Server,
    listener: &TcpListener,
    admin: &TcpListener,
    demo_password: Option<&Password>,
) -> std::io::Result<()> {
    let (address, admin) = (listener.local_addr()?, admin.local_addr()?);
    let tls = server.config.has_tls();
    log::write(&Entry::Listening { address, tls });
    log::write(&Entry::AdminListening { address: admin });
    for worker in server.hall.media.workers() {
        let (number, port) = (worker.id.0, worker.port);
        log::write(&Entry::Worker { number, port, core: worker.core, backend: worker.backend });
    }
    if let Some(why) = server.hall.media.why_not_uring() {
        log::write(&Entry::NotUring { why });
    }
    // The same kernel grants every worker the same.
    if let Some(why) = server.hall.media.workers().iter().find_map(|worker| worker.buffers.short_of()) {
        log::write(&Entry::SmallBuffers { why: &why });
    }
    let host = match (address.ip(), server.announced.first()) {
        (ip, _) if ip.is_loopback() => format!("localhost:{}", address.port()),
        (ip, Some(reachable)) if ip.is_unspecified() => {
            SocketAddr::new(*reachable, address.port()).to_string()
        }
        _ => address.to_string(),
    };
    let own_url = format!("{}://{host}", if tls { "https" } else { "http" });
    let mut out = std::io::stdout().lock();
    writeln!(out, "address: {}", server.config.http.public_url.as_deref().unwrap_or(&own_url))?;
    if let Some(password) = demo_password {
        writeln!(out, "account: {DEMO_ACCOUNT}")?;
        writeln!(out, "password: {}", password.expose())?;
    }
    writeln!(out, "admin: http://{admin}")?;
    out.flush()
}

async fn listen_to_workers(server: Rc<Server>, mut events: Events) {
    while let Some((worker, event)) = events.recv().await {
        if let Some(news) = server.hall.media.on_event(worker, *event) {
            server.hall.on_news(news);
        }
    }
}

async fn keep_time(server: Rc<Server>) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        let now = Instant::now();
        server.hall.on_timeout(now);
        for ended in server.auth.on_timeout(now) {
            server.hall.with(|rooms| rooms.depose(&ended));
        }
        // Every task of this thread has its turns on the same stack, and works on names and passwords there.
        overwrite_stack();
    }
}

/// Also while nobody signs in: what is old goes, and a clock that has jumped is noticed.
async fn keep_journal(server: Rc<Server>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if let Some(journal) = server.auth.journal() {
            journal.borrow_mut().on_timeout(SystemTime::now(), Instant::now());
        }
    }
}

/// First signal: drain. Second signal, an empty house or the drain time's end: stop.
async fn until_the_end(server: &Server, mut signals: Signals) {
    signals.next(server).await;
    server.hall.with(Rooms::drain);
    log::write(&Entry::Draining { rooms: server.hall.rooms(Rooms::room_count) });
    let empty = async {
        while server.hall.rooms(Rooms::room_count) > 0 {
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::select! {
        () = signals.next(server) => {}
        () = empty => {}
        () = tokio::time::sleep(Duration::from_secs(server.config.rooms.drain_minutes * 60)) => {}
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until the server is told to end. SIGHUP reads a renewed certificate; without one, it is a terminal that closes.
    async fn next(&mut self, server: &Server) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => match server.config.http.tls_certificate {
                    Some(_) => server.reload_certificate(),
                    None => return,
                },
            }
        }
    }
}

/// One worker per core that this process may use.
fn default_cores() -> Vec<Option<usize>> {
    let allowed = addresses::cores_allowed();
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(DEFAULT_WORKERS_MAX);
    match allowed.is_empty() {
        true => vec![None; count],
        false => allowed.into_iter().take(count).map(Some).collect(),
    }
}
