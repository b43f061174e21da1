//! Passes the standard error of a child on to the log output of the host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tracing::Level;

/// The longest log line; the rest of a longer one is a line of its own.
const LONGEST: u64 = 8 << 10;
/// The longest wait for the last output of a child that has exited: another process can hold the pipe open.
const PATIENCE: Duration = Duration::from_secs(1);

/// Forwards the standard error of a child as long as this value lives.
#[derive(Debug)]
pub(crate) struct Stderr {
    task: JoinHandle<()>,
    last: Arc<Mutex<Option<String>>>,
}

impl Stderr {
    pub(crate) fn pass_on(stderr: ChildStderr, plugin: &str) -> Self {
        let last = Arc::default();
        let task = tokio::spawn(pass_on(stderr, plugin.to_owned(), Arc::clone(&last)));
        Self { task, last }
    }

    /// The last line that was not empty, once the child has exited.
    pub(crate) async fn last_words(&mut self) -> Option<String> {
        // After the time limit, the lines read so far are used.
        let _ = tokio::time::timeout(PATIENCE, &mut self.task).await;
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(stderr: ChildStderr, plugin: String, last: Arc<Mutex<Option<String>>>) {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut input).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            log(&plugin, text);
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        }
    }
}

fn log(plugin: &str, line: &str) {
    let (level, text) = level_of(line);
    match level {
        Level::ERROR => tracing::error!(plugin, "{text}"),
        Level::WARN => tracing::warn!(plugin, "{text}"),
        Level::DEBUG => tracing::debug!(plugin, "{text}"),
        Level::TRACE => tracing::trace!(plugin, "{text}"),
        _ => tracing::info!(plugin, "{text}"),
    }
}

/// The level that a line starts with, as in `WARNING: disk nearly full`, and the rest.
fn level_of(line: &str) -> (Level, &str) {
    let (word, rest) = line.split_once(':').unwrap_or((line, ""));
    let level = match word.trim_matches(['[', ']']).to_ascii_uppercase().as_str() {
        "CRITICAL" | "FATAL" | "ERROR" => Level::ERROR,
        "WARN" | "WARNING" => Level::WARN,
        "INFO" => Level::INFO,
        "DEBUG" => Level::DEBUG,
        "TRACE" => Level::TRACE,
        _ => return (Level::INFO, line),
    };
    (level, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_begin_with_its_level() {
        assert_eq!(level_of("WARNING:root:odd"), (Level::WARN, "root:odd"));
        assert_eq!(level_of("[error]: gone"), (Level::ERROR, "gone"));
        assert_eq!(level_of("debug: x = 1"), (Level::DEBUG, "x = 1"));
        assert_eq!(level_of("listening on :80"), (Level::INFO, "listening on :80"));
        assert_eq!(level_of("plain"), (Level::INFO, "plain"));
    }
}
