use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Names the program; `redis-server` on the path if it is not set.
pub const PROGRAM: &str = "POA_TEST_REDIS_SERVER";

/// Longer than a server takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server that keeps nothing on the disk.
#[derive(Debug)]
pub struct Server {
    port: u16,
    process: Option<Child>,
    directory: TempDir,
}

impl Server {
    /// Starts one, and waits until it takes connections.
    ///
    /// # Panics
    /// When there is no program, or it does not start. The text names the cure.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        // A port that was free may be taken by the time the server wants it; then another is.
        for _ in 0..8 {
            let mut server = Self { port: free_port(), process: None, directory: directory() };
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server finds no free port to listen on");
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as if the machine had failed.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only when it has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port, with nothing in it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&mut self) {
        assert!(self.try_start(), "redis-server does not start again on port {}", self.port);
    }

    /// False when it ends before it takes connections.
    fn try_start(&mut self) -> bool {
        let mut process = command(self.port, &self.directory)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing(&error)));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server takes no connection");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(port: u16, directory: &TempDir) -> Command {
    let mut command = Command::new(program());
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(directory.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn program() -> OsString {
    std::env::var_os(PROGRAM).unwrap_or_else(|| "redis-server".into())
}

fn missing(error: &std::io::Error) -> String {
    format!(
        "this test needs `{}`, which cannot be run: {error}; run `cargo xtask test`, install it (Debian: `apt-get install redis-server`), \
         or name it in {PROGRAM}",
        program().to_string_lossy()
    )
}

fn directory() -> TempDir {
    TempDir::with_prefix("poa-redis-").unwrap_or_else(|error| panic!("a directory: {error}"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.unwrap_or_else(|error| panic!("a free port: {error}")).port()
}
