//! The process that is measured: a `saal` or a `saal-floor` of our own, or somebody's by its pid.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cpu;
use crate::ports;

const PATIENCE: Duration = Duration::from_secs(20);

/// Ended and cleaned up after when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    directory: PathBuf,
}

/// A server of our own and how to sign in.
#[derive(Debug)]
pub struct Spawned {
    pub process: Process,
    pub url: String,
    pub admin: String,
    pub account: String,
    pub password: String,
}

impl Process {
    /// Starts pinned to `cores` as a whole, so that nothing of it runs elsewhere.
    fn start(command: &mut Command, cores: &[usize], directory: PathBuf) -> Result<Process, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A child inherits the cores of the thread that starts it.
        let cores = cores.to_vec();
        let spawned = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                cpu::pin(&cores);
                command.spawn()
            });
            thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the starting thread ended")))
        });
        let mut child = spawned.map_err(|error| format!("cannot start {name}: {error}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // Nobody listens any more once it is up; it must be able to go on writing.
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Process { child, lines, directory })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&self, deadline: Instant) -> Option<String> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Process {
    /// The first SIGTERM lets rooms end, the second does not wait for them.
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.is_running() && Instant::now() < deadline {
            let _ = kill(pid, Signal::SIGTERM);
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Starts a server on loopback that knows no limit but its own speed. `set` are lines of configuration.
pub fn spawn(binary: &Path, cores: &[usize], set: &[String]) -> Result<Spawned, String> {
    let directory = temporary_directory()?;
    let workers = u16::try_from(cores.len().max(1)).map_err(|error| error.to_string())?;
    let (http, admin, media) = (ports::free_tcp()?, ports::free_tcp()?, ports::free_udp(workers)?);
    let mut lines = vec![
        format!("http.listen = \"127.0.0.1:{http}\""),
        format!("admin.listen = \"127.0.0.1:{admin}\""),
        format!("media.port = {media}"),
        "media.announce = [\"127.0.0.1\"]".to_owned(),
        format!("media.cores = {cores:?}"),
        "http.connections_max = 20000".to_owned(),
        "http.connections_per_address_max = 20000".to_owned(),
        "rooms.participants_max = 500".to_owned(),
        "rooms.rooms_max = 5000".to_owned(),
        "rooms.rooms_per_organizer_max = 5000".to_owned(),
        "rooms.audio_slots = 16".to_owned(),
        "rooms.video_slots = 40".to_owned(),
    ];
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    lines.retain(|line| !set.iter().any(|own| key(own) == key(line)));
    if cores.is_empty() {
        lines.retain(|line| !line.starts_with("media.cores"));
    }
    lines.extend(set.iter().cloned());
    let path = directory.join("saal.toml");
    std::fs::write(&path, lines.join("\n")).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(&path);
    let process = Process::start(&mut command, cores, directory)?;
    let (mut account, mut password) = (None, None);
    let deadline = Instant::now() + PATIENCE;
    while account.is_none() || password.is_none() {
        let line = process.line(deadline).ok_or("the server did not start; its own words are above")?;
        match line.split_once(": ") {
            Some(("account", text)) => account = Some(text.to_owned()),
            Some(("password", text)) => password = Some(text.to_owned()),
            _ => {}
        }
    }
    Ok(Spawned {
        process,
        url: format!("http://localhost:{http}"),
        admin: format!("127.0.0.1:{admin}"),
        account: account.unwrap_or_default(),
        password: password.unwrap_or_default(),
    })
}

/// Starts a floor; the port that it listens on.
pub fn spawn_floor(binary: &Path, core: usize, arguments: &[String]) -> Result<(Process, u16), String> {
    let mut command = Command::new(binary);
    command.args(["--port", "0", "--core", &core.to_string()]).args(arguments);
    let process = Process::start(&mut command, &[core], temporary_directory()?)?;
    let line = process.line(Instant::now() + PATIENCE).ok_or("the floor did not start")?;
    let port = line.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
    Ok((process, port.ok_or_else(|| format!("the floor said: {line}"))?))
}

/// A binary of this repository, which lies beside our own.
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join(name)
}

fn temporary_directory() -> Result<PathBuf, String> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("saal-load-{}-{number}", std::process::id()));
    std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
