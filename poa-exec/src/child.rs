//! A running child process: its frames, and its end.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use poa_core::{BuildContext, BuildError, config};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::Config;
use crate::error::ChildError;
use crate::frame::{Frame, PROTOCOL, Ready, STOP, excerpt, hello, id_of_send, parse};
use crate::group::Group;
use crate::lines::{Lines, NoLine};
use crate::stderr::Stderr;

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// The time a child may run on after it closed its standard output, before that counts as its failure.
const FAREWELL: Duration = Duration::from_secs(1);

/// A child process. Dropping it kills it and its process group.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: tokio::process::Child,
    group: Option<Group>,
    /// None once its standard input is closed.
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) output: Lines<BufReader<ChildStdout>>,
    stderr: Stderr,
    max_line: config::Size,
}

impl Child {
    /// Starts a child and waits until it is ready.
    pub(crate) async fn start(
        config: &Config,
        role: &'static str,
        cx: &BuildContext,
    ) -> Result<(Self, Ready), ChildError> {
        let mut child = Self::spawn(config, cx)?;
        let within = config.start_timeout.get();
        let hello = hello(role, cx, &config.options);
        match tokio::time::timeout(within, child.greet(&hello)).await {
            Ok(ready) => Ok((child, ready?)),
            Err(_) => Err(ChildError::NotReady { child: child.name.clone(), within }),
        }
    }

    fn spawn(config: &Config, cx: &BuildContext) -> Result<Self, ChildError> {
        let mut command = config.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        Group::lead(&mut command);
        let failed = |source| ChildError::Start { child: config.shown(), source };
        let mut process = command.spawn().map_err(failed)?;
        let piped = "the streams are piped above";
        let output = BufReader::with_capacity(64 << 10, process.stdout.take().expect(piped));
        let stderr = process.stderr.take().expect(piped);
        let stdin = process.stdin.take().expect(piped);
        widen(&stdin);
        let max = usize::try_from(config.max_line.get()).unwrap_or(usize::MAX);
        Ok(Self {
            name: config.shown(),
            group: Group::of(&process),
            stdin: Some(stdin),
            output: Lines::new(output, max),
            stderr: Stderr::pass_on(stderr, cx.name()),
            max_line: config.max_line,
            process,
        })
    }

    async fn greet(&mut self, hello: &[u8]) -> Result<Ready, ChildError> {
        let child = self.name.clone();
        self.ask(hello, "before it was ready").await?;
        let ready = match self.frame()? {
            Frame::Ready(ready) => ready,
            Frame::Retry { id: None, reason } => {
                return Err(ChildError::Unavailable { child, reason });
            }
            Frame::Refuse { id: None, reason, .. } => {
                return Err(ChildError::Refused { child, reason });
            }
            other => return Err(unexpected(&child, &other, "its first frame must be `ready`")),
        };
        match ready.protocol {
            PROTOCOL => Ok(ready),
            version => Err(ChildError::Version { child, version }),
        }
    }

    /// The name of the child in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes a frame and reads one, which [`frame`](Self::frame) then returns. Not cancel safe: a child whose answer
    /// was not read cannot be used any more.
    pub(crate) async fn ask(&mut self, frame: &[u8], when: &'static str) -> Result<(), ChildError> {
        let Self { stdin, output, .. } = &mut *self;
        let write = async {
            let stdin = stdin.as_mut().ok_or(NoLine::End)?;
            stdin.write_all(frame).await.map_err(NoLine::Io)
        };
        // Writes and reads concurrently: a child can write before it has read everything.
        match tokio::try_join!(write, output.next()) {
            Ok(_) => Ok(()),
            Err(why) => Err(self.failed(why, when).await),
        }
    }

    /// The frame on the last line read.
    pub(crate) fn frame(&self) -> Result<Frame<'_>, ChildError> {
        let line = self.output.line();
        parse(line).map_err(|source| ChildError::NoFrame {
            child: self.name.clone(),
            line: excerpt(line),
            source,
        })
    }

    /// The id of the `send` on the last line read, which is not a valid frame.
    pub(crate) fn id_of_send(&self) -> Option<u64> {
        id_of_send(self.output.line())
    }

    /// The reason why reading or writing failed.
    pub(crate) async fn failed(&mut self, why: NoLine, when: &'static str) -> ChildError {
        let child = self.name.clone();
        match why {
            NoLine::TooLong => ChildError::TooLong { child, max: self.max_line },
            NoLine::Io(source) if source.kind() != io::ErrorKind::BrokenPipe => {
                ChildError::Io { child, source }
            }
            NoLine::End | NoLine::Io(_) => {
                let status = self.exited(FAREWELL).await;
                if status.is_none() {
                    self.kill().await;
                }
                let said = self.stderr.last_words().await;
                ChildError::Ended { child, when, status, said }
            }
        }
    }

    /// Whether it has exited, and its exit status.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.try_wait().ok().flatten()?;
        self.kill_group();
        Some(status)
    }

    /// Closes its standard input and makes sure that it exits.
    pub(crate) async fn stop(mut self, within: Duration) -> Result<(), ChildError> {
        if let Some(mut stdin) = self.stdin.take() {
            // A child that has stopped reading is killed at the end of the time limit.
            let _ = tokio::time::timeout(within, stdin.write_all(STOP)).await;
        }
        self.finish(within).await
    }

    /// Waits for its exit, then sends SIGTERM, then SIGKILL.
    pub(crate) async fn finish(mut self, within: Duration) -> Result<(), ChildError> {
        let child = self.name.clone();
        match self.exited(within).await {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let (when, said) = ("while it stopped", self.stderr.last_words().await);
                Err(ChildError::Ended { child, when, status: Some(status), said })
            }
            None => self.force(within).await,
        }
    }

    /// Sends SIGTERM to a child that did not exit within this time, then SIGKILL.
    pub(crate) async fn force(mut self, within: Duration) -> Result<(), ChildError> {
        let child = self.name.clone();
        if let Some(group) = self.group {
            group.terminate();
        }
        if self.exited(GRACE).await.is_none() {
            self.kill().await;
        }
        Err(ChildError::Killed { child, within })
    }

    /// Waits for its exit, then kills the rest of its process group.
    async fn exited(&mut self, within: Duration) -> Option<ExitStatus> {
        let status = tokio::time::timeout(within, self.process.wait()).await.ok()?.ok();
        // The id of the group is free now. It is reused only after all other ids, so not before the next line.
        self.kill_group();
        status
    }

    async fn kill(&mut self) {
        self.kill_group();
        // This fails when the child has exited meanwhile.
        let _ = self.process.kill().await;
    }

    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            group.kill();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Enlarges the pipe to hold a whole batch, so that a batch needs one switch between the processes, not one for each
/// 64 KiB. A smaller pipe works, too.
fn widen(pipe: &ChildStdin) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20) {
        tracing::debug!(%error, "the pipe to the child process keeps its default size");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = pipe;
}

/// A frame that was not expected.
pub(crate) fn unexpected(child: &str, frame: &Frame<'_>, expected: &str) -> ChildError {
    ChildError::Unexpected {
        child: child.to_owned(),
        frame: frame.name(),
        id: frame.shown_id(),
        expected: expected.to_owned(),
    }
}

impl From<ChildError> for BuildError {
    /// A program that is gone or broken lies outside of the host, which must not keep its other receivers from starting. A child that
    /// refuses, or speaks another language, was configured so.
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::Refused { .. } | ChildError::Version { .. } => {
                Self::failed("the child process does not start").with_source(error)
            }
            _ => Self::unavailable("the child process cannot start at present").with_source(error),
        }
    }
}
