//! Servers as child processes, and their use of resources.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;

/// A server under measurement. Killed on drop.
pub(crate) struct Server {
    child: Child,
    /// Its address.
    pub(crate) address: String,
    /// A token it accepts.
    pub(crate) token: String,
}

impl Server {
    /// Starts this program again as `kind`, and waits for the line with its address and token.
    pub(crate) fn start(kind: &str) -> Result<Self, Failure> {
        Self::start_with(kind, &[])
    }

    /// The same with these environment variables.
    pub(crate) fn start_with(kind: &str, variables: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", kind])
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let (address, token) = line.trim().split_once(' ').ok_or("the server did not start")?;
        Ok(Self { child, address: address.to_owned(), token: token.to_owned() })
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time the server has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It exits when its stdin closes, and removes its files.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A directory beside this program, because the system's temporary directory can be in memory.
pub(crate) fn scratch() -> Result<tempfile::TempDir, Failure> {
    let program = std::env::current_exe()?;
    let beside = program.parent().ok_or("this program has no directory")?;
    Ok(tempfile::tempdir_in(beside)?)
}

/// User and system time of a process.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    /// The unit of the kernel, independent of the machine.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("cannot read /proc/…/stat")?;
    let ticks: Vec<&str> = fields.split_whitespace().skip(11).take(2).collect();
    let mut total = 0;
    for ticks in ticks {
        total += ticks.parse::<u64>()?;
    }
    Ok(Duration::from_millis(total * 1000 / TICKS_PER_SECOND))
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> Result<u64, Failure> {
    resident_of(std::process::id())
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_of(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib = line.split_whitespace().nth(1).ok_or("no VmRSS")?;
    Ok(kib.parse::<u64>()? * 1024)
}
