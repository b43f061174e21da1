//! Signals of the operating system.

mod inbox;

use std::io;

use tokio::sync::mpsc;

pub(crate) use inbox::Inbox;
#[cfg(unix)]
use inbox::Waiting;

/// A signal to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// Ctrl-C: drain and stop; the second time, stop immediately.
    Interrupt,
    /// As [`Interrupt`](Self::Interrupt).
    Terminate,
    /// Reload the configuration.
    Hangup,
}

/// The next signal to stop. Never returns once the sender is dropped. Cancel safe.
pub async fn told_to_stop(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    loop {
        match signals.recv().await {
            Some(Signal::Hangup) => {}
            Some(signal) => return signal,
            None => std::future::pending().await,
        }
    }
}

/// Handles SIGINT, SIGTERM and SIGHUP from now on. They reach the receiver as long as the runtime lives; signals to reload that the receiver
/// has not taken yet count as one, and never delay a signal to stop by more than one reload.
///
/// SIGXFSZ is handled, too: a write beyond the limit of file sizes (`ulimit -f`, `LimitFSIZE`) fails like a write to a full disk, and does not
/// end the process.
///
/// # Errors
/// When the operating system does not allow it.
///
/// # Panics
/// Outside a tokio runtime.
#[cfg(unix)]
pub fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A handler stays for good, and its presence alone makes the write return an error.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut waiting = Waiting::default();
        loop {
            let signal = tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
                _ = hangup.recv() => Signal::Hangup,
                permit = send.reserve(), if !waiting.is_empty() => {
                    if let (Ok(permit), Some(signal)) = (permit, waiting.take()) {
                        permit.send(signal);
                    }
                    continue;
                }
                () = send.closed() => return,
            };
            waiting.add(signal);
        }
    });
    Ok(receive)
}

/// Handles Ctrl-C from now on.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (send, receive) = mpsc::channel(4);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && send.send(Signal::Interrupt).await.is_ok() {}
    });
    Ok(receive)
}
