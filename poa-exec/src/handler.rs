use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use poa_core::config::Problem;
use poa_core::{
    AgentId, BuildContext, BuildError, CustomHandler, HandlerContext, Plugin, PluginError, Receipt,
    ReceiptError, async_trait,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::Config;
use crate::child::{Child, unexpected};
use crate::error::ChildError;
use crate::frame::{Frame, FrameError, Outcome, STOP, result};
use crate::lines::NoLine;
use crate::take::take;

/// A handler that runs as a child process: it writes messages to its standard output, and reads the result of each
/// from its standard input.
#[derive(Debug)]
pub struct ExecHandler {
    child: Option<Child>,
    endpoints: Vec<String>,
    heartbeat: Option<Duration>,
    stop_timeout: Duration,
}

/// The most `send` frames without an answer. At this limit the host stops reading, so the child waits. The answers fit
/// into a pipe, so a child that writes this many before it reads does not block.
const IN_FLIGHT: usize = 1000;
/// The most bytes of answers that wait for the child to read them.
const UNREAD: usize = 64 << 10;
/// The longest time a child may leave its answers unread.
const PATIENCE: Duration = Duration::from_secs(60);

#[async_trait]
impl Plugin for ExecHandler {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let (child, ready) = Child::start(&config, "handler", cx).await?;
        let stop_timeout = config.stop_timeout.get();
        let heartbeat = ready.heartbeat.map(|seconds| Duration::from_secs(seconds.get().into()));
        Ok(Self { child: Some(child), endpoints: ready.endpoints, heartbeat, stop_timeout })
    }
}

#[async_trait]
impl CustomHandler for ExecHandler {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let child = self.child.take().ok_or_else(|| PluginError::new("was run already"))?;
        let serving = Serving {
            child,
            cx,
            stop_timeout: self.stop_timeout,
            heartbeat: self.heartbeat,
            heard_at: Instant::now(),
            waiting: FuturesUnordered::new(),
            unread: Vec::new(),
            read_at: Instant::now(),
            stopped_at: None,
        };
        serving
            .run()
            .await
            .map_err(|error| PluginError::new("the child process failed").with_source(error))
    }

    fn endpoints(&self) -> Vec<String> {
        self.endpoints.clone()
    }
}

/// The connection to a running child.
struct Serving {
    child: Child,
    cx: HandlerContext,
    stop_timeout: Duration,
    /// A child that writes nothing for this long hangs.
    heartbeat: Option<Duration>,
    /// When it last wrote, or the host last did not read.
    heard_at: Instant,
    waiting: FuturesUnordered<Waiting>,
    /// Answers that the child has not read yet.
    unread: Vec<u8>,
    /// When it last read, or had nothing to read.
    read_at: Instant,
    /// When it was told to stop.
    stopped_at: Option<Instant>,
}

/// The next event.
enum Next {
    ToldToStop,
    Wrote(Result<(), NoLine>),
    Settled(u64, Result<(), ReceiptError>),
    Read(io::Result<usize>),
    TimeIsOver,
}

impl Serving {
    async fn run(mut self) -> Result<(), ChildError> {
        loop {
            match self.next().await {
                Next::ToldToStop => {
                    self.stopped_at = Some(Instant::now());
                    self.answer(STOP);
                }
                Next::Wrote(Ok(())) => self.hear()?,
                Next::Wrote(Err(why)) => return self.ended(why).await,
                Next::Settled(id, told) => self.answer(&result(id, &Outcome::of(told))),
                Next::Read(Ok(bytes)) => {
                    self.unread.drain(..bytes);
                    self.read_at = Instant::now();
                }
                // A write error is ignored: the exit of the child reports the cause.
                Next::Read(Err(_)) => self.unread.clear(),
                Next::TimeIsOver => return self.too_late().await,
            }
        }
    }

    async fn next(&mut self) -> Next {
        let room = self.waiting.len() < IN_FLIGHT && self.unread.len() < UNREAD;
        if !room {
            self.heard_at = Instant::now();
        }
        let deadline = self.deadline();
        let Self { child, cx, waiting, unread, .. } = self;
        let Child { stdin, output, .. } = child;
        let read = async {
            let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
            stdin.as_mut().ok_or_else(closed)?.write(unread).await
        };
        tokio::select! {
            () = cx.shutdown().cancelled(), if self.stopped_at.is_none() => Next::ToldToStop,
            line = output.next(), if room => Next::Wrote(line),
            Some((id, told)) = waiting.next() => Next::Settled(id, told),
            bytes = read, if !unread.is_empty() => Next::Read(bytes),
            () = until(deadline) => Next::TimeIsOver,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let stopped = self.stopped_at.map(|at| at + self.stop_timeout);
        stopped.or_else(|| self.unread_until().into_iter().chain(self.silent_until()).min())
    }

    /// The deadline for the child to read.
    fn unread_until(&self) -> Option<Instant> {
        (!self.unread.is_empty()).then_some(self.read_at + PATIENCE)
    }

    /// The deadline for the child to write.
    fn silent_until(&self) -> Option<Instant> {
        self.heartbeat.map(|heartbeat| self.heard_at + heartbeat)
    }

    /// Handles a frame.
    fn hear(&mut self) -> Result<(), ChildError> {
        self.heard_at = Instant::now();
        let frame = match self.child.frame() {
            Ok(frame) => frame,
            Err(error) => return self.misheard(error),
        };
        let refused = match frame {
            Frame::Send { id, messages } => match take(&self.cx, &messages) {
                Ok(receipt) => {
                    self.waiting.push(Waiting { id, receipt });
                    return Ok(());
                }
                Err(outcome) => result(id, &outcome),
            },
            Frame::Ping { agent_id } => {
                return self.with_agent(&agent_id, |cx, agent| cx.activity().ping(agent));
            }
            Frame::Bye { agent_id } => {
                return self.with_agent(&agent_id, HandlerContext::publish_inactive);
            }
            Frame::Alive => return Ok(()),
            other => {
                let expected = "a handler writes `send`, `ping`, `bye` and `alive`";
                return Err(unexpected(self.child.name(), &other, expected));
            }
        };
        self.answer(&refused);
        Ok(())
    }

    /// An invalid frame ends the child, unless it is a `send` that can be answered: a client can have caused it.
    fn misheard(&mut self, error: ChildError) -> Result<(), ChildError> {
        let ChildError::NoFrame { source, .. } = &error else { return Err(error) };
        let Some(id) = self.child.id_of_send() else { return Err(error) };
        tracing::debug!(handler = self.cx.name(), "{error}");
        self.answer(&result(id, &Outcome::never(shown(source))));
        Ok(())
    }

    fn with_agent(
        &self,
        id: &str,
        act: impl FnOnce(&HandlerContext, &AgentId),
    ) -> Result<(), ChildError> {
        match AgentId::new(id) {
            Ok(agent) => act(&self.cx, &agent),
            Err(error) => tracing::warn!(handler = self.cx.name(), "`{id}` {error}"),
        }
        Ok(())
    }

    fn answer(&mut self, frame: &[u8]) {
        if self.unread.is_empty() {
            self.read_at = Instant::now();
        }
        self.unread.extend_from_slice(frame);
    }

    /// The child closed its output.
    async fn ended(mut self, why: NoLine) -> Result<(), ChildError> {
        match (why, self.stopped_at) {
            (NoLine::End, Some(at)) => {
                let left = (at + self.stop_timeout).saturating_duration_since(Instant::now());
                self.child.finish(left).await
            }
            (why, _) => Err(self.child.failed(why, "before it was told to").await),
        }
    }

    async fn too_late(self) -> Result<(), ChildError> {
        match self.stopped_at {
            Some(_) => self.child.force(self.stop_timeout).await,
            None => Err(self.hangs()),
        }
    }

    fn hangs(&self) -> ChildError {
        let child = self.child.name().to_owned();
        let silent = self.silent_until().is_some_and(|until| until <= Instant::now());
        match self.heartbeat.filter(|_| silent) {
            Some(within) => ChildError::Silent { child, within },
            None => ChildError::Stuck { child, within: PATIENCE },
        }
    }
}

/// An error with its cause, for a child that gets one line.
fn shown(error: &FrameError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A `send` that is not answered yet.
struct Waiting {
    id: u64,
    receipt: Receipt,
}

impl Future for Waiting {
    type Output = (u64, Result<(), ReceiptError>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receipt).poll(cx).map(|told| (self.id, told))
    }
}
