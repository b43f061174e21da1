use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use poa_core::config;

use crate::frame::FrameError;

/// What a child did wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot start `{child}`; is it there, and may it be run?")]
    Start { child: String, source: io::Error },
    #[error("`{child}` did not say that it is ready within {}", config::Duration::from(*.within))]
    NotReady { child: String, within: Duration },
    #[error("`{child}` says: {reason}")]
    Unavailable { child: String, reason: String },
    #[error("`{child}` says: {reason}")]
    Refused { child: String, reason: String },
    #[error(
        "`{child}` speaks version {version} of the protocol; this host speaks {}",
        crate::frame::PROTOCOL
    )]
    Version { child: String, version: u64 },
    #[error("`{child}` ended {when} ({}){}", status_of(.status), last_words(.said))]
    Ended { child: String, when: &'static str, status: Option<ExitStatus>, said: Option<String> },
    #[error(
        "`{child}` wrote a line of more than {max}; raise `max_line` if that is what it is to do"
    )]
    TooLong { child: String, max: config::Size },
    #[error(
        "`{child}` wrote what is no frame: {line}; standard output is for frames alone, so print to standard error"
    )]
    NoFrame { child: String, line: String, source: FrameError },
    #[error("`{child}` wrote a `{frame}` frame {id}, which nobody waits for; {expected}")]
    Unexpected { child: String, frame: &'static str, id: String, expected: String },
    #[error("`{child}` did not read what it was sent within {}", config::Duration::from(*.within))]
    Stuck { child: String, within: Duration },
    #[error("`{child}` hangs: it promised a sign of life every {} and gave none", config::Duration::from(*.within))]
    Silent { child: String, within: Duration },
    #[error("`{child}` did not end within {} and was killed; raise `stop_timeout` if that is too short", config::Duration::from(*.within))]
    Killed { child: String, within: Duration },
    #[error("cannot talk to `{child}`")]
    Io { child: String, source: io::Error },
}

fn status_of(status: &Option<ExitStatus>) -> String {
    match status {
        Some(status) => status.to_string(),
        None => "its standard output is closed, but it still runs".to_owned(),
    }
}

fn last_words(said: &Option<String>) -> String {
    said.as_ref().map(|said| format!("; it said last: {said}")).unwrap_or_default()
}
