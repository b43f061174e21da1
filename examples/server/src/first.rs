//! The duties of process 1 in a container: it collects the processes that others leave behind.
//!
//! A process whose parent has ended becomes a child of process 1, and stays in the table of processes until that waits for it. The server
//! waits for the children that it started, not for what they left. So, as process 1, the program starts itself again, and only passes
//! signals on and collects processes that ended.

use std::io;

/// Whether this is process 1.
pub(crate) fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs the server in a process of its own, until that ends; its exit code.
#[cfg(target_os = "linux")]
pub(crate) fn watch_over_server() -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(linux::watch())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn watch_over_server() -> io::Result<u8> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{
        Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait,
    };
    use tokio::signal::unix::{SignalKind, signal};

    use std::io;

    /// The exit code of a process that a signal ended, less the number of the signal.
    const BY_SIGNAL: i32 = 128;

    /// How often to look whether the server has started to handle signals.
    const STEP: Duration = Duration::from_millis(5);

    pub(super) async fn watch() -> io::Result<u8> {
        // Before the server runs, so that none is missed.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut ended = signal(SignalKind::child())?;
        // As process 1 it gets the orphans anyway.
        set_child_subreaper(Some(getpid()))?;
        let server = start()?;
        let mut reload = false;
        loop {
            let told = tokio::select! {
                _ = ended.recv() => {
                    if let Some(code) = collect(server)? {
                        return Ok(code);
                    }
                    continue;
                }
                _ = interrupt.recv() => Signal::INT,
                _ = terminate.recv() => Signal::TERM,
                _ = hangup.recv() => {
                    reload = true;
                    continue;
                }
                () = handles_hangups(server), if reload => {
                    reload = false;
                    Signal::HUP
                }
                _ = quit.recv() => Signal::QUIT,
            };
            // It fails when the server has just ended, and then that is what comes next.
            let _ = kill_process(server, told);
        }
    }

    /// Starts this program again, with the same arguments.
    fn start() -> io::Result<Pid> {
        let mut server = Command::new(std::env::current_exe()?);
        server.args(std::env::args_os().skip(1).filter(|arg| arg != "--init"));
        // An interrupt on the terminal reaches this process alone, which passes it on once.
        server.process_group(0);
        let server = server.spawn()?;
        let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::Error::other("the server has no process id"))
    }

    /// Waits until the server handles SIGHUP; before, the signal would end it.
    ///
    /// Cancel safe.
    async fn handles_hangups(server: Pid) {
        while !handles(server, Signal::HUP) {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Whether a process handles a signal, or the system does not tell.
    fn handles(process: Pid, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"));
        let caught = status.ok().and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
        caught.is_none_or(|caught| caught & (1 << (signal.as_raw() - 1)) != 0)
    }

    /// Waits for all that have ended; the exit code of the server if it is among them.
    fn collect(server: Pid) -> io::Result<Option<u8>> {
        let mut code = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == server => code = Some(code_of(status)),
                Ok(Some(_)) => {}
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(code),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn code_of(status: WaitStatus) -> u8 {
        let by_signal = || status.terminating_signal().map(|signal| BY_SIGNAL + signal);
        let code = status.exit_status().or_else(by_signal).unwrap_or(1);
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}
