//! One server and its files.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::programs::hand_over;
use crate::{ClusterError, Programs};

/// How long a server may take to get ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of ports to try when another process takes one first.
const PORTS: usize = 5;

/// How a cluster is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    tcp: bool,
    durable: bool,
    certificate: Option<(String, String)>,
    data: Option<PathBuf>,
    wal: Option<PathBuf>,
    settings: Vec<String>,
    rules: Option<String>,
    files: Vec<(String, String)>,
}

impl Setup {
    /// Also listens on a free port of the loopback.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Waits for the disk, as a real server does. Without this, a crash of the machine would lose data; a crash of the server does not.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Offers TLS with this certificate and key, both in PEM.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.certificate = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Keeps its data in this directory, which must be empty, and is given to the user that the server runs as.
    #[must_use]
    pub fn data_in(mut self, directory: &Path) -> Self {
        self.data = Some(directory.to_owned());
        self
    }

    /// Keeps its write-ahead log in this directory, which must be empty, in small segments.
    #[must_use]
    pub fn wal_in(mut self, directory: &Path) -> Self {
        self.wal = Some(directory.to_owned());
        self
    }

    /// Lets clients in by these lines of `pg_hba.conf`.
    #[must_use]
    pub fn rules(mut self, lines: &str) -> Self {
        self.rules = Some(lines.to_owned());
        self
    }

    /// Asks clients for a certificate that one of these authorities, in PEM, has signed. Rules decide who must have one.
    #[must_use]
    pub fn authorities(mut self, pem: &str) -> Self {
        self.files.push(("ssl_ca_file".to_owned(), pem.to_owned()));
        self
    }

    /// One more setting, as `name=value`.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }
}

/// A server with one superuser, `postgres`. Dropping it ends the server and removes its files.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    setup: Setup,
    dir: TempDir,
    password: String,
    port: Option<u16>,
    process: Option<Child>,
}

impl Cluster {
    /// Makes a cluster and starts its server. Blocks until it takes connections.
    ///
    /// # Errors
    /// When the programs are missing or fail.
    pub fn start(setup: Setup) -> Result<Self, ClusterError> {
        let mut cluster = Self::make(Programs::find()?, setup)?;
        cluster.resume()?;
        Ok(cluster)
    }

    fn make(programs: Programs, setup: Setup) -> Result<Self, ClusterError> {
        let made = ClusterError::io("cannot make a directory for temporary files");
        let dir = TempDir::with_prefix("poa-postgres-").map_err(made)?;
        hand_over(dir.path())?;
        let password = format!("{:016x}", RandomState::new().hash_one(dir.path()));
        let cluster = Self { programs, setup, dir, password, port: None, process: None };
        cluster.write("password", &cluster.password)?;
        if let Some((certificate, key)) = &cluster.setup.certificate {
            cluster.write("server.pem", certificate)?;
            cluster.write("server.key", key)?;
        }
        for (name, text) in &cluster.setup.files {
            cluster.write(name, text)?;
        }
        if let Some(data) = &cluster.setup.data {
            hand_over(data)?;
        }
        let data = cluster.data();
        let mut files = vec![
            format!("--pgdata={}", data.display()),
            format!("--pwfile={}", cluster.file("password")),
        ];
        if let Some(wal) = &cluster.setup.wal {
            hand_over(wal)?;
            files.extend([format!("--waldir={}", wal.display()), "--wal-segsize=1".into()]);
        }
        let fixed = [
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ];
        cluster.programs.run("initdb", fixed.into_iter().map(str::to_owned).chain(files))?;
        if let Some(rules) = &cluster.setup.rules {
            let path = data.join("pg_hba.conf");
            fs::write(&path, rules).map_err(ClusterError::io("cannot write pg_hba.conf"))?;
        }
        Ok(cluster)
    }

    /// The programs of the server.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The URL of a database of this server, by TCP if it listens there, else by its socket. With the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let place = match self.port {
            Some(port) => format!("127.0.0.1:{port}"),
            None => self.file("").trim_end_matches('/').replace('/', "%2F"),
        };
        format!("postgres://postgres:{}@{place}/{database}", self.password)
    }

    /// The socket of the server.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// The port of the server, if it listens by TCP.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The password of `postgres`.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Starts the server again after it was stopped or crashed, at the same place. Blocks until it takes connections.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> Result<(), ClusterError> {
        for _ in 0..PORTS {
            let port =
                if self.setup.tcp { Some(self.port.map_or_else(free_port, Ok)?) } else { None };
            match self.launch(port) {
                Err(ClusterError::NotStarted { log })
                    if log.contains("Address already in use") && self.port.is_none() => {}
                result => {
                    self.port = port;
                    return result;
                }
            }
        }
        Err(ClusterError::NotStarted { log: "every port that was free was taken at once".into() })
    }

    fn launch(&mut self, port: Option<u16>) -> Result<(), ClusterError> {
        let log = File::create(self.dir.path().join("log"))
            .map_err(ClusterError::io("cannot write the log"))?;
        let errors = log.try_clone().map_err(ClusterError::io("cannot write the log"))?;
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in self.settings(port) {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let process = command.spawn().map_err(ClusterError::io("cannot run postgres"))?;
        self.process = Some(process);
        self.wait_until_ready()
    }

    fn settings(&self, port: Option<u16>) -> Vec<String> {
        let mut settings = vec![format!("unix_socket_directories={}", self.file(""))];
        match port {
            Some(port) => {
                settings.extend([format!("port={port}"), "listen_addresses=127.0.0.1".into()])
            }
            None => settings.push("listen_addresses=".into()),
        }
        if !self.setup.durable {
            settings.push("fsync=off".into());
            // Rows then stay where they were written, in the order that tests look at.
            settings.push("autovacuum=off".into());
        }
        if self.setup.certificate.is_some() {
            let files = [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")];
            settings.push("ssl=on".into());
            settings.extend(files.map(|(name, file)| format!("{name}={}", self.file(file))));
        }
        let files = self.setup.files.iter();
        settings.extend(files.map(|(name, _)| format!("{name}={}", self.file(name))));
        settings.extend(self.setup.settings.iter().cloned());
        settings
    }

    /// The server says in its lock file that it is ready, as `pg_ctl` reads there as well.
    fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let begin = Instant::now();
        let lock = self.data().join("postmaster.pid");
        while begin.elapsed() < PATIENCE {
            let status = fs::read_to_string(&lock).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() {
                self.process = None;
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(ClusterError::NotStarted { log: self.log() })
    }

    /// Stops the server in order: open transactions are rolled back, connections closed. Blocks until it has ended.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        self.end("fast")
    }

    /// Ends the server at once; it has to recover when it is started again. Blocks until it has ended.
    ///
    /// # Errors
    /// When it does not end.
    pub fn crash(&mut self) -> Result<(), ClusterError> {
        self.end("immediate")
    }

    fn end(&mut self, mode: &str) -> Result<(), ClusterError> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let data = self.data();
        let data = data.to_string_lossy();
        let stopped =
            self.programs.run("pg_ctl", ["stop", "--wait", "--mode", mode, "--pgdata", &data]);
        if stopped.is_err() {
            // Nothing else is left to do; it may have ended by itself.
            let _ = process.kill();
        }
        process.wait().map_err(ClusterError::io("cannot wait for postgres"))?;
        stopped
    }

    /// The log output of the server since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.setup.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Writes a file for the server alone.
    fn write(&self, name: &str, text: &str) -> Result<(), ClusterError> {
        let path = self.dir.path().join(name);
        let failed = |error| ClusterError::io(format!("cannot write {}", path.display()))(error);
        fs::write(&path, text).map_err(failed)?;
        let alone = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, alone).map_err(failed)?;
        hand_over(&path)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What fails here leaves files behind at worst.
        let _ = self.crash();
    }
}

pub(crate) fn free_port() -> Result<u16, ClusterError> {
    let bound =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(ClusterError::io("there is no free port"))
}
