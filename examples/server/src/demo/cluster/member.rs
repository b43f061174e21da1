//! A process of the cluster.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::guard::Guard;
use crate::failure::Failure;

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one may take to stop in order.
const STOPPING: Duration = Duration::from_secs(45);
/// How long a process that ended stays away: longer than the lease of a receiver node, so that the other takes over.
const AWAY: Duration = Duration::from_secs(12);

/// A layer of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    FrontEnd,
    Receivers,
    Server,
}

impl Role {
    /// That of the member of this name.
    fn of(name: &str) -> Self {
        match name.split_once('-') {
            Some(("front", _)) => Self::FrontEnd,
            Some(("receivers", _)) => Self::Receivers,
            _ => Self::Server,
        }
    }
}

/// A program to run, its directory, and the file for its log lines in there.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) dir: PathBuf,
}

/// A change of a member, or of what it does.
#[derive(Debug)]
pub(super) enum Event {
    Ended(String, ExitStatus),
    Started(String, u32),
    NotStarted(String, io::Error),
    Seen(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(name, status) => {
                write!(f, "{name} ended ({status}); it starts again in {AWAY:?}")
            }
            Self::Started(name, id) => write!(f, "{name} starts again, process {id}"),
            Self::NotStarted(name, why) => write!(f, "{name} does not start again: {why}"),
            Self::Seen(line) => f.write_str(line),
        }
    }
}

/// A process that runs. Dropping this kills it.
#[derive(Debug)]
pub(super) struct Member {
    plan: Plan,
    child: Child,
}

impl Member {
    pub(super) fn start(plan: Plan, guard: &Guard) -> Result<Self, Failure> {
        let child = spawn(&plan, guard);
        let child = child.map_err(|error| {
            let (program, dir) = (plan.program.display(), plan.dir.display());
            Failure::new(format_args!("cannot run {program} in {dir}"), error)
        })?;
        Ok(Self { plan, child })
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(super) fn role(&self) -> Role {
        Role::of(&self.plan.name)
    }

    /// The process; 0 when it has ended.
    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits for the line that says that a node is ready.
    pub(super) async fn until_ready(&mut self) -> Result<(), Failure> {
        let Some(stdout) = self.child.stdout.take() else { return Err(self.is_not_ready()) };
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("poa-server ready") {
                    return true;
                }
            }
            false
        };
        match timeout(PATIENCE, ready).await {
            Ok(true) => Ok(()),
            _ => Err(self.is_not_ready()),
        }
    }

    /// Waits until a NATS server says that it is well, at the address of its monitoring.
    pub(super) async fn until_healthy(&mut self, address: (&str, u16)) -> Result<(), Failure> {
        let healthy = async {
            while !is_healthy(address).await {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let is_ready = tokio::select! {
            healthy = timeout(PATIENCE, healthy) => healthy.is_ok(),
            _ = self.child.wait() => false,
        };
        if is_ready { Ok(()) } else { Err(self.is_not_ready()) }
    }

    fn is_not_ready(&self) -> Failure {
        let log = self.plan.dir.join("log");
        Failure::because(format_args!("{} did not start; see {}", self.plan.name, log.display()))
    }

    /// Starts the process again whenever it ends, until it is told to stop.
    pub(super) async fn keep(
        mut self,
        mut stop: watch::Receiver<bool>,
        events: mpsc::Sender<Event>,
        guard: Arc<Guard>,
    ) {
        loop {
            let id = self.id();
            let status = tokio::select! {
                status = self.child.wait() => status,
                () = told(&mut stop) => return self.stop().await,
            };
            guard.forget(id);
            let name = || self.plan.name.clone();
            if let Ok(status) = status {
                // Fails only when the demo ends.
                let _ = events.send(Event::Ended(name(), status)).await;
            }
            tokio::select! {
                () = sleep(AWAY) => {}
                () = told(&mut stop) => return,
            }
            match spawn(&self.plan, &guard) {
                Ok(child) => self.child = child,
                Err(why) => {
                    let _ = events.send(Event::NotStarted(name(), why)).await;
                    return;
                }
            }
            let _ = events.send(Event::Started(name(), self.id())).await;
        }
    }

    /// Tells the process to stop, and waits until it has.
    async fn stop(&mut self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            // Fails only when the process has ended.
            let _ = kill_process(id, Signal::TERM);
        }
        if timeout(STOPPING, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Ready once it is told to stop. Cancel safe.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Without a sender the demo has ended, which is the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// In a process group of its own: Ctrl-C is for the demo alone, which stops one after the other.
fn spawn(plan: &Plan, guard: &Guard) -> io::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(plan.dir.join("log"))?;
    let mut command = Command::new(&plan.program);
    command.args(&plan.arguments).current_dir(&plan.dir).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let child = command.spawn()?;
    if let Some(id) = child.id() {
        guard.watch(id);
    }
    Ok(child)
}

async fn is_healthy(address: (&str, u16)) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        io::Result::Ok(head.ends_with(b"200"))
    };
    matches!(timeout(Duration::from_secs(5), ask).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_in_the_name() {
        let roles = ["front-1", "receivers-2", "nats-3"].map(Role::of);
        assert_eq!(roles, [Role::FrontEnd, Role::Receivers, Role::Server]);
    }
}
