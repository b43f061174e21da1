//! One server process.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ServerError;

/// How long a server may take to get ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to stop in order.
const STOPPING: Duration = Duration::from_secs(30);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that may run. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Process {
    /// The program and everything before it, such as `ip netns exec NAME`.
    command: Vec<PathBuf>,
    config: PathBuf,
    log: PathBuf,
    monitor: SocketAddr,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(command: Vec<PathBuf>, directory: &Path, monitor: (IpAddr, u16)) -> Self {
        let (config, log) = (directory.join("nats.conf"), directory.join("nats.log"));
        Self { command, config, log, monitor: monitor.into(), child: None }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts the process, and does not wait until it is ready.
    pub(crate) fn launch(&mut self) -> Result<(), ServerError> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(ServerError::io("cannot write the log of a server"))?;
        let again = log.try_clone().map_err(ServerError::io("cannot write the log of a server"))?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).arg("-c").arg(&self.config);
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        self.child = Some(command.spawn().map_err(ServerError::io("cannot run nats-server"))?);
        Ok(())
    }

    /// Whether the server takes connections and, in a cluster, whether its JetStream is current.
    fn is_ready(&self) -> bool {
        is_healthy(self.monitor).unwrap_or(false)
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().ok().flatten().is_some())
    }

    /// Ends the process at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the server in order, and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let begin = Instant::now();
        while !self.has_ended() && begin.elapsed() < STOPPING {
            std::thread::sleep(PAUSE);
        }
        self.kill();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        if let Some(id) = id {
            // Fails only when the process has ended.
            let _ = kill_process(id, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Blocks until all of these servers are ready. One that has ended is the reason why the others of its cluster never are.
pub(crate) fn wait_until_ready(servers: &mut [Process]) -> Result<(), ServerError> {
    let begin = Instant::now();
    loop {
        if let Some(ended) = servers.iter_mut().find_map(|one| one.has_ended().then_some(one)) {
            return Err(ServerError::NotStarted { log: ended.log() });
        }
        match servers.iter().find(|server| !server.is_ready()) {
            None => return Ok(()),
            Some(waits) if begin.elapsed() > PATIENCE => {
                return Err(ServerError::NotStarted { log: waits.log() });
            }
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Whether the server says that it is.
fn is_healthy(monitor: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&monitor, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head.ends_with(b"200"))
}
