//! A real server process on ports of its own, in a directory that is deleted with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, KeyLog, RootCertStore};
use saal_tools::ports;

/// Who runs the servers of the tests: what a configuration for others than this machine has to say.
pub(crate) const OPERATOR: &str = "operator.name = \"Example University\"\n\
    operator.address = \"Main Street 1\\nExampletown\"\noperator.email = \"conference@example.org\"\n\
    operator.data_protection_officer = \"Dana Example, dpo@example.org\"\n\
    operator.supervisory_authority = \"The state's commissioner\"\n";

/// How long anything may take that should take no time on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    child: Child,
    /// Deleted with the server.
    directory: Directory,
    pub(crate) http: u16,
    pub(crate) admin: u16,
    pub(crate) account: String,
    pub(crate) password: String,
    /// What clients need when it speaks TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Everything it wrote, stdout and stderr.
    said: Arc<Mutex<String>>,
}

/// The server's binary: tests/run names it; otherwise it lies beside the test's own directory.
pub(crate) fn saal() -> Command {
    let built = std::env::var_os("SAAL_BIN").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test has a path");
        test.parent().and_then(Path::parent).expect("tests are built into deps/").join("saal")
    });
    assert!(
        built.exists(),
        "build the server first: cargo build -p saal-controlplane ({} is missing)",
        built.display()
    );
    let mut command = Command::new(built);
    command.stdin(Stdio::null());
    command
}

impl Server {
    /// On loopback with a demo account; `more` is added to the configuration.
    pub(crate) fn start(more: &str) -> Server {
        Server::spawn(more, |command| command.spawn().expect("the server starts"))
    }

    /// The same over TLS, as for others than this machine. `keys` hears the secrets of clients' connections.
    pub(crate) fn start_with_tls(more: &str, keys: Arc<dyn KeyLog>) -> Server {
        let directory = Directory::new();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = directory.write("cert.pem", &made.cert.pem());
        let key = directory.write("key.pem", &made.signing_key.serialize_pem());
        let tls = format!("http.tls_certificate = {certificate:?}\nhttp.tls_key = {key:?}\n");
        let mut server = Server::start(&format!("{OPERATOR}{tls}{more}"));
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.key_log = keys;
        server.tls = Some(Arc::new(config));
        server
    }

    /// `spawn` starts the command, for instance on a thread that may do less.
    pub(crate) fn spawn(more: &str, spawn: impl FnOnce(&mut Command) -> Child) -> Server {
        let directory = Directory::new();
        let (http, admin, media) = (free_tcp_port(), free_tcp_port(), free_udp_ports());
        let config = format!(
            "http.listen = \"127.0.0.1:{http}\"\nadmin.listen = \"127.0.0.1:{admin}\"\nmedia.port = {media}\n\
             log.level = \"debug\"\n{more}"
        );
        let mut command = saal();
        command.args(["serve", "--config"]).arg(directory.write("saal.toml", &config));
        let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));

        let said = Arc::new(Mutex::new(String::new()));
        let lines = follow(child.stdout.take().expect("piped"), &said);
        if let Some(stderr) = child.stderr.take() {
            follow(stderr, &said);
        }
        let mut server = Server {
            child,
            directory,
            http,
            admin,
            account: String::new(),
            password: String::new(),
            tls: None,
            said,
        };
        let deadline = Instant::now() + SOON;
        // The last of the lines for people.
        let mut is_up = false;
        while !is_up {
            let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                panic!("no admin line; the server said: {}", server.said());
            };
            match line.split_once(": ") {
                Some(("account", account)) => server.account = account.to_owned(),
                Some(("password", password)) => server.password = password.to_owned(),
                Some(("admin", _)) => is_up = true,
                _ => {}
            }
        }
        server
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no writer panics").clone()
    }

    /// The file that it was started with.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path("saal.toml")
    }

    pub(crate) fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.http)
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// So many file descriptors and no more.
    pub(crate) fn limit_files(&self, max: u32) {
        let pid = self.child.id().to_string();
        let limited =
            Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={max}:{max}")]).status();
        assert!(limited.is_ok_and(|status| status.success()), "the server still ran");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("/bin/kill").args([name, &pid]).status();
        assert!(kill.is_ok_and(|status| status.success()), "the server still ran");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the server to end", || child.try_wait().expect("it is our child"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Runs a command that must end by itself.
pub(crate) fn output(command: &mut Command) -> Output {
    output_of(command, "")
}

/// The same with something to read.
pub(crate) fn output_of(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    // A command that reads nothing may have ended before.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let deadline = Instant::now() + SOON;
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let ended = child.wait_with_output().expect("it was killed");
            panic!("it did not end: {}", String::from_utf8_lossy(&ended.stderr));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    child.wait_with_output().expect("it has ended")
}

fn follow(pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, lines) = channel();
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut said = said.lock().expect("no writer panics");
            said.push_str(&line);
            said.push('\n');
            // Nobody listens once the server is up.
            let _ = sender.send(line);
        }
    });
    lines
}

pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("saal-process-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("the directory is new");
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the directory is ours");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The first of eight: a worker takes one each.
pub(crate) fn free_udp_ports() -> u16 {
    ports::free_udp(8).expect("eight free UDP ports")
}

pub(crate) fn free_tcp_port() -> u16 {
    ports::free_tcp().expect("a free TCP port")
}
