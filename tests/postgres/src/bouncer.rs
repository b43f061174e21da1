//! PgBouncer before a server.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cluster::free_port;
use crate::programs::{as_nobody, hand_over};
use crate::{Cluster, ClusterError};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// PgBouncer on a free port of the loopback, in transaction mode. Dropping it ends it.
#[derive(Debug)]
pub struct Bouncer {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Bouncer {
    /// Starts it before a server that listens by TCP, for its user `postgres`. Blocks until it takes connections.
    ///
    /// # Errors
    /// When the program is missing, or does not start.
    pub fn start(cluster: &Cluster, database: &str) -> Result<Self, ClusterError> {
        let io = ClusterError::io;
        let dir = TempDir::with_prefix("poa-pgbouncer-").map_err(io("cannot make a directory"))?;
        let port = free_port()?;
        let users = format!("\"postgres\" \"{}\"\n", cluster.password());
        let server = cluster.port().unwrap_or_default();
        let config = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server} dbname={database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = trust\nauth_file = {users_file}\npool_mode = transaction\nunix_socket_dir =\n\
             default_pool_size = 4\nmin_pool_size = 3\nserver_round_robin = 1\n",
            users_file = dir.path().join("users").display(),
        );
        for (name, text) in [("users", users), ("pgbouncer.ini", config)] {
            let path = dir.path().join(name);
            fs::write(&path, text).map_err(io("cannot write the configuration of pgbouncer"))?;
            hand_over(&path)?;
        }
        hand_over(dir.path())?;
        let mut command = Command::new(program()?);
        as_nobody(&mut command);
        command.arg("-q").arg(dir.path().join("pgbouncer.ini"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(io("cannot run pgbouncer"))?;
        let mut bouncer = Self { process, port, _dir: dir };
        bouncer.wait_until_ready()?;
        Ok(bouncer)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(ClusterError::NotStarted { log: "pgbouncer does not listen".into() })
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It fails when the process has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, in PATH or where Debian puts it.
///
/// # Errors
/// When it is not installed.
pub fn program() -> Result<PathBuf, ClusterError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    known
        .map(|dir| dir.join("pgbouncer"))
        .find(|program| program.exists())
        .ok_or(ClusterError::NoBouncer)
}
