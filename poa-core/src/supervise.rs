//! Keeps a handler running.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{chain, guarded, or_default, unpanicked};
use crate::restart::Restarts;
use crate::status::{Phase, StatusCell};
use crate::telemetry::Counter;
use crate::{BuildContext, CustomHandler, HandlerContext, HandlerFactory};

/// An instance that ran this long was healthy, so its failure counts as the first.
const HEALTHY: Duration = Duration::from_secs(30);

/// One handler and everything needed to keep it running.
pub(crate) struct Supervised {
    pub(crate) factory: HandlerFactory,
    pub(crate) build: BuildContext,
    pub(crate) cx: HandlerContext,
    pub(crate) status: StatusCell,
    pub(crate) restarts: Restarts,
    pub(crate) restarted: Counter,
    /// The time limit for building an instance.
    pub(crate) build_timeout: Duration,
    pub(crate) handler: Option<Box<dyn CustomHandler>>,
}

impl Supervised {
    /// Runs the handler until the host stops it, rebuilding it whenever it fails.
    pub(crate) async fn run(mut self) {
        while !self.cx.shutdown.is_cancelled() {
            let Some(mut handler) = self.handler.take() else {
                self.rebuild().await;
                continue;
            };
            self.status.running(or_default(|| handler.endpoints()));
            let begin = Instant::now();
            let error = run_once(&mut *handler, self.cx.clone()).await;
            if self.cx.shutdown.is_cancelled() {
                if let Some(error) = error {
                    self.note(&error);
                }
                break;
            }
            if begin.elapsed() >= HEALTHY {
                self.restarts.succeeded();
            }
            self.note(&error.unwrap_or_else(|| "returned before it was told to stop".to_owned()));
        }
        self.status.enter(Phase::Stopped);
    }

    async fn rebuild(&mut self) {
        self.status.enter(Phase::Restarting);
        let wait = tokio::time::sleep(self.restarts.next_wait(Instant::now()));
        tokio::select! {
            () = wait => {}
            () = self.cx.shutdown.cancelled() => return,
        }
        self.status.restarted();
        self.restarted.inc();
        let shutdown = self.cx.shutdown.clone();
        tokio::select! {
            built = build_once(&self.factory, &self.build, self.build_timeout) => match built {
                Ok(handler) => self.handler = Some(handler),
                Err(error) => self.note(&error),
            },
            () = shutdown.cancelled() => {}
        }
    }

    fn note(&self, error: &str) {
        self.status.failed(error);
        tracing::error!(handler = self.build.name(), "{error}");
    }
}

/// Builds an instance, for at most `timeout`.
async fn build_once(
    factory: &HandlerFactory,
    cx: &BuildContext,
    timeout: Duration,
) -> Result<Box<dyn CustomHandler>, String> {
    match guarded(timeout, async { factory(cx).await }).await {
        Ok(Ok(handler)) => Ok(handler),
        Ok(Err(error)) => Err(chain(&error)),
        Err(interrupted) => Err(format!("not built: {interrupted}")),
    }
}

/// Runs an instance to its end; returns its error, if any.
async fn run_once(handler: &mut dyn CustomHandler, cx: HandlerContext) -> Option<String> {
    match unpanicked(async { handler.run(cx).await }).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(interrupted) => Some(interrupted.to_string()),
    }
}
