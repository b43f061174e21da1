//! Named namespaces, `ip`, and two sockets that wait to reach each other.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Failure;

/// The discard port; nothing else uses it here.
const PORT: u16 = 9;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn name(container: usize) -> String {
    format!("c{container}")
}

pub(super) fn prepare() -> Result<(), Failure> {
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    ip("link set lo up")
}

pub(super) fn containers(which: std::ops::Range<usize>) -> Result<(), Failure> {
    which.map(name).try_for_each(|name| ip(&format!("netns add {name}")))
}

pub(super) fn ip(arguments: &str) -> Result<(), Failure> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {why}", arguments.join(" ")).into())
}

/// Removes the bridges of the first CENs and every pair.
pub(super) fn delete_links(cens: usize) -> Result<(), Failure> {
    (0..cens).try_for_each(|cen| ip(&format!("link del n{cen}")))?;
    let listed = Command::new("ip").args(["-o", "link", "show", "type", "veth"]).output()?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').nth(1).unwrap_or_default();
        ip(&format!("link del {}", name.split('@').next().unwrap_or(name)))?;
    }
    Ok(())
}

/// Opens something in the namespace of a container, on a thread that ends.
pub(super) fn enter<T: Send + 'static>(
    container: &str,
    open: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let namespace = File::open(format!("/run/netns/{container}"))?;
    let opened = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        open()
    });
    Ok(opened.join().map_err(|_| "a thread panicked")??)
}

/// A socket in each of the first two containers.
pub(super) struct Pair {
    asks: UdpSocket,
    answers: UdpSocket,
}

impl Pair {
    pub(super) fn open() -> Result<Self, Failure> {
        let open = |container: &str| {
            enter(container, || UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))))
        };
        Ok(Self { asks: open(&name(0))?, answers: open(&name(1))? })
    }

    /// Sends from the first to the second at this address and back. Returns how long that took.
    pub(super) fn answer(&self, at: Ipv4Addr) -> Result<Duration, Failure> {
        let begin = Instant::now();
        self.answers.set_read_timeout(Some(PATIENCE))?;
        self.asks.set_read_timeout(Some(PATIENCE))?;
        self.asks.send_to(b"?", (at, PORT))?;
        let mut byte = [0];
        let (_, from) = self.answers.recv_from(&mut byte)?;
        self.answers.send_to(b"!", from)?;
        match self.asks.recv_from(&mut byte) {
            Ok((1, _)) => Ok(begin.elapsed()),
            Ok(_) => Err("an empty answer".into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err("no answer".into()),
            Err(error) => Err(error.into()),
        }
    }
}
