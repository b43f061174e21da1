//! The agent: measures, pings and sends at the same time, until it is told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, timeout};

use crate::buffer::Buffer;
use crate::pinger::Pinger;
use crate::sender::Sender;
use crate::{
    CallError, Config, ErrorChain, Report, Settings, Source, SystemSource, TlsError, Transport,
    Wire,
};

/// The time limit for the server to answer the bye.
const BYE_TIMEOUT: Duration = Duration::from_secs(2);

/// An agent: one [`Source`] of metrics, one [`Transport`] to a server.
#[derive(Debug)]
pub struct Agent<T = Wire, S = SystemSource> {
    settings: Settings,
    transport: T,
    source: S,
}

/// The reason why an agent cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The server refuses the login permanently.
    #[error("the agent cannot start")]
    Connect(#[source] CallError),
}

impl Agent {
    /// An agent that sends the load of this machine over REST or WebSocket, depending on the address of the server.
    ///
    /// # Errors
    /// If the trusted certificates cannot be loaded.
    pub fn new(config: Config) -> Result<Self, TlsError> {
        let transport = Wire::new(&config)?;
        Ok(Self::from_parts(config.settings, transport, SystemSource::new()))
    }
}

impl<T: Transport, S: Source> Agent<T, S> {
    /// An agent with another source of metrics, or another transport.
    pub const fn from_parts(settings: Settings, transport: T, source: S) -> Self {
        Self { settings, transport, source }
    }

    /// Runs until `shutdown` is ready, then sends the remaining metrics for at most [`Settings::flush_timeout`], says
    /// bye, and reports.
    ///
    /// A server that cannot be reached is waited for. Each metric is sent at least once and in the order measured; a
    /// repetition carries the same [`Metric::key`](crate::Metric::key).
    ///
    /// # Errors
    /// The first login was refused. Later refusals are retried, because the user may be disabled temporarily.
    ///
    /// # Cancel safety
    /// Dropping the future stops the agent immediately. It leaves no task behind, and the buffered metrics are lost.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Report, RunError> {
        let Self { settings, transport, source } = self;
        let buffer = Buffer::new(settings.buffer);
        let mut sender = Sender::new(&transport, &buffer, settings.backoff.clone());
        let mut pinger = Pinger::new(&transport, &buffer, settings.ping_interval);

        work(&settings, &transport, source, &buffer, &mut sender, &mut pinger, shutdown).await?;

        let left = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let mut report = Report::new(buffer.tally(), sender.tally(), left, pinger.answered());
        report.said_bye = say_bye(&transport).await;
        transport.close().await;
        tracing::info!(%report, "the agent has stopped");
        Ok(report)
    }
}

/// Everything but the bye. One future drives all parts, so that none outlives the others.
async fn work<T: Transport>(
    settings: &Settings,
    transport: &T,
    source: impl Source,
    buffer: &Buffer,
    sender: &mut Sender<'_, T>,
    pinger: &mut Pinger<'_, T>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    // Outside the blocks that stop the rest, so that a send in flight is completed, not cancelled and repeated.
    let mut sending = pin!(sender.run());
    {
        let mut shutdown = pin!(shutdown);
        let mut measuring = pin!(measure(source, settings.interval, buffer));
        let connected = tokio::select! {
            biased;
            () = &mut shutdown => false,
            connected = connect(transport, settings) => connected.map(|()| true).map_err(RunError::Connect)?,
            never = &mut measuring => match never {},
        };
        if connected {
            tokio::select! {
                biased;
                () = &mut shutdown => {}
                () = &mut sending => unreachable!("the buffer is still open"),
                never = &mut measuring => match never {},
                never = pinger.run() => match never {},
            }
        }
    }
    buffer.close();
    if timeout(settings.flush_timeout, sending).await.is_err() {
        tracing::warn!(waiting = buffer.len(), "the time to flush is over");
    }
    Ok(())
}

async fn connect<T: Transport>(transport: &T, settings: &Settings) -> Result<(), CallError> {
    let mut backoff = settings.backoff.clone();
    loop {
        match transport.connect().await {
            Err(failure) if failure.is_temporary() => {
                let delay = backoff.delay(failure.retry_after());
                tracing::warn!(error = %ErrorChain(&failure), ?delay, "cannot log in yet");
                tokio::time::sleep(delay).await;
            }
            outcome => return outcome,
        }
    }
}

async fn measure(mut source: impl Source, interval: Duration, buffer: &Buffer) -> Infallible {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        match source.measure().await {
            Ok(metrics) => metrics.into_iter().for_each(|metric| buffer.push(metric)),
            Err(error) => tracing::error!(error = %ErrorChain(&*error), "a measurement failed"),
        }
    }
}

async fn say_bye<T: Transport>(transport: &T) -> bool {
    match timeout(BYE_TIMEOUT, transport.bye()).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::warn!(error = %ErrorChain(&error), "could not say bye"),
        Err(_) => tracing::warn!(limit = ?BYE_TIMEOUT, "the server did not answer the bye in time"),
    }
    false
}
