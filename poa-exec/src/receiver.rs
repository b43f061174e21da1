use poa_core::config::Problem;
use poa_core::telemetry::Counter;
use poa_core::{
    Activity, BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, ReceiverContext,
    async_trait,
};

use crate::Config;
use crate::child::{Child, unexpected};
use crate::error::ChildError;
use crate::frame::{Frame, activity, batch, start};

/// A receiver that runs as a child process: it reads batches from its standard input and acknowledges each on its
/// standard output.
///
/// A child that exits or writes an invalid frame is killed and started again with the next call; the messages in
/// flight are delivered again. One that hangs is killed when the host cancels the call.
#[derive(Debug)]
pub struct ExecReceiver {
    config: Config,
    cx: BuildContext,
    /// None after a failure, until the next call.
    child: Option<Child>,
    wants_activity: bool,
    wants_start: bool,
    /// The host has started this receiver, so a child that is started from now on is told to start, too.
    started: bool,
    endpoints: Vec<String>,
    /// The id of the last frame.
    last: u64,
    starts: Counter,
}

const ROLE: &str = "receiver";

#[async_trait]
impl Plugin for ExecReceiver {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let labels = [("receiver", cx.name())];
        let help = "Times the child process of a receiver was started";
        let starts = cx.telemetry().counter("exec_receiver_starts", help, &labels);
        let mut receiver = Self {
            config,
            cx: cx.clone(),
            child: None,
            wants_activity: false,
            wants_start: false,
            started: false,
            endpoints: Vec::new(),
            last: 0,
            starts,
        };
        receiver.launch().await?;
        Ok(receiver)
    }
}

impl ExecReceiver {
    async fn launch(&mut self) -> Result<(), ChildError> {
        self.starts.inc();
        let (child, ready) = Child::start(&self.config, ROLE, &self.cx).await?;
        self.wants_activity = ready.activity;
        self.wants_start = ready.start;
        self.endpoints = ready.endpoints;
        self.child = Some(child);
        Ok(())
    }

    /// The child; launched and started again if it has exited. During a call, the child is owned by the call: a call that
    /// is dropped kills it.
    async fn child(&mut self) -> Result<Child, DeliveryError> {
        if let Some(status) = self.child.as_mut().and_then(Child::has_ended) {
            let receiver = self.cx.name();
            tracing::warn!(receiver, "the child process exited ({status}); restarting it");
            self.child = None;
        }
        if let Some(child) = self.child.take() {
            return Ok(child);
        }
        self.launch().await.map_err(DeliveryError::transient)?;
        if self.started {
            self.tell_start().await?;
        }
        Ok(self.child.take().expect("launched above"))
    }

    /// Tells the child to start, if it wants that. One that cannot is killed; its error is not one of any message, so it
    /// is transient.
    async fn tell_start(&mut self) -> Result<(), DeliveryError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if self.wants_start {
            let id = self.next_id();
            let frame = start(id, self.cx.name());
            let answer = answer(&mut child, &frame, id, "before it had started").await;
            answer.map_err(DeliveryError::transient)?.map_err(|error| match error {
                DeliveryError::Permanent { source, .. } => DeliveryError::transient(source),
                other => other,
            })?;
        }
        self.child = Some(child);
        Ok(())
    }

    /// Sends a frame to the child and waits for its answer.
    async fn deliver(&mut self, frame: &[u8], id: u64) -> Result<(), DeliveryError> {
        let mut child = self.child().await?;
        let answer = answer(&mut child, frame, id, "with messages in flight").await;
        let outcome = answer.map_err(DeliveryError::transient)?;
        self.child = Some(child);
        outcome
    }

    async fn tell(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        if !self.wants_activity {
            return Ok(());
        }
        let id = self.next_id();
        self.deliver(&activity(id, agents), id).await
    }

    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// The answer of a child to a frame. The outer error is that of a child that cannot be used any more.
async fn answer(
    child: &mut Child,
    frame: &[u8],
    id: u64,
    when: &'static str,
) -> Result<Result<(), DeliveryError>, ChildError> {
    child.ask(frame, when).await?;
    match child.frame()? {
        Frame::Ack(acknowledged) if acknowledged == id => Ok(Ok(())),
        Frame::Retry { id: Some(of), reason } if of == id => {
            Ok(Err(DeliveryError::transient(reason)))
        }
        Frame::Refuse { id: Some(of), items, reason } if of == id => {
            Ok(Err(DeliveryError::permanent_for(items, reason)))
        }
        other => Err(unexpected(child.name(), &other, &format!("`{id}` is in flight"))),
    }
}

#[async_trait]
impl Receiver for ExecReceiver {
    /// As [`metrics_received`](Self::metrics_received). Without effect if the child does not ask for it.
    async fn start(&mut self, _: ReceiverContext) -> Result<(), DeliveryError> {
        self.started = true;
        self.tell_start().await
    }

    /// A dropped call kills the child; the next call starts another.
    async fn metrics_received(&mut self, messages: &[Message]) -> Result<(), DeliveryError> {
        let id = self.next_id();
        self.deliver(&batch(id, messages)?, id).await
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.tell(agents).await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.tell(agents).await
    }

    async fn terminate(&mut self) {
        let Some(child) = self.child.take() else { return };
        if let Err(error) = child.stop(self.config.stop_timeout.get()).await {
            tracing::warn!(receiver = self.cx.name(), "{error}");
        }
    }

    fn endpoints(&self) -> Vec<String> {
        self.endpoints.clone()
    }
}
