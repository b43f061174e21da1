//! The bundled server as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;

/// The bundled server, ready. Killed on drop.
pub(crate) struct Bundled {
    child: Child,
    /// The line that reports it is ready, with the addresses.
    ready: String,
}

impl Bundled {
    /// Starts it with the `poa.toml` in this directory. Blocks until it is ready.
    pub(crate) fn start(dir: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(program()?)
            .args(["--config", "poa.toml"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no stdout")?;
        let mut server = Self { child, ready: String::new() };
        BufReader::new(stdout).read_line(&mut server.ready)?;
        if server.ready.starts_with("poa-server ready") {
            Ok(server)
        } else {
            Err("the server did not start".into())
        }
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of the plugin of this name, or of the host for `admin`.
    pub(crate) fn url(&self, name: &str) -> Result<&str, Failure> {
        let words = self.ready.split_whitespace();
        let mut of_name = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Ok(of_name.next().ok_or_else(|| format!("no {name} in `{}`", self.ready))?)
    }

    /// Stops it in an orderly way, and waits until it has delivered everything.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("the server has no id")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server ended: {status}").into()) }
    }
}

impl Bundled {
    /// Tells it to reload, and does not wait.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).ok_or("the server has no id")?;
        Ok(kill_process(pid, Signal::HUP)?)
    }
}

impl Drop for Bundled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of the program, which is built beside this one.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?.with_file_name("poa-server");
    if program.exists() { Ok(program) } else { Err("build poa-server with --release first".into()) }
}
