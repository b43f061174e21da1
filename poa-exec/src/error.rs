use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use poa_core::config;

use crate::frame::FrameError;

/// A failure of a child.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot start `{child}`; check that it exists and is executable")]
    Start { child: String, source: io::Error },
    #[error("`{child}` did not report that it is ready within {}", config::Duration::from(*.within))]
    NotReady { child: String, within: Duration },
    #[error("`{child}` says: {reason}")]
    Unavailable { child: String, reason: String },
    #[error("`{child}` says: {reason}")]
    Refused { child: String, reason: String },
    #[error(
        "`{child}` uses version {version} of the protocol; this host supports {}",
        crate::frame::PROTOCOL
    )]
    Version { child: String, version: u64 },
    #[error("`{child}` ended {when} ({}){}", status_of(.status), last_words(.said))]
    Ended { child: String, when: &'static str, status: Option<ExitStatus>, said: Option<String> },
    #[error("`{child}` wrote a line of more than {max}; raise `max_line` if it needs longer lines")]
    TooLong { child: String, max: config::Size },
    #[error(
        "`{child}` wrote an invalid frame: {line}; standard output is for frames alone, so print to standard error"
    )]
    NoFrame { child: String, line: String, source: FrameError },
    #[error("`{child}` wrote a `{frame}` frame {id}, which was not expected; {expected}")]
    Unexpected { child: String, frame: &'static str, id: String, expected: String },
    #[error("`{child}` did not read its input within {}", config::Duration::from(*.within))]
    Stuck { child: String, within: Duration },
    #[error("`{child}` hangs: it promised a heartbeat every {} and sent none", config::Duration::from(*.within))]
    Silent { child: String, within: Duration },
    #[error("`{child}` did not exit within {} and was killed; raise `stop_timeout` if it needs longer", config::Duration::from(*.within))]
    Killed { child: String, within: Duration },
    #[error("cannot communicate with `{child}`")]
    Io { child: String, source: io::Error },
}

fn status_of(status: &Option<ExitStatus>) -> String {
    match status {
        Some(status) => status.to_string(),
        None => "it closed its standard output, but is still running".to_owned(),
    }
}

fn last_words(said: &Option<String>) -> String {
    said.as_ref().map(|said| format!("; its last output: {said}")).unwrap_or_default()
}
