//! The engine `log`.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use poa_core::async_trait;
use poa_core::config::{Problem, Size};
use poa_core::engine::{
    Capabilities, Drafts, Engine, Leftover, Receipt, SendError, Subscription, SubscriptionRequest,
};
use poa_core::telemetry::Telemetry;
use poa_core::{Activity, BuildContext, BuildError, Plugin, ReadFrom, error_chain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::commit::start;
use crate::cursors::{Cursor, Cursors};
use crate::local::Local;
use crate::opening::OpenLog;

/// The engine `log`: messages are kept in a log on the disk, which is synced before a message counts as
/// stored.
#[derive(Debug)]
pub struct Log {
    local: Arc<Local>,
    /// The cursors of receivers when the log was opened.
    left: Cursors,
    /// The disk space available to the log, in bytes.
    disk: Option<u64>,
    telemetry: Telemetry,
    /// The log, until it is started.
    open: Mutex<Option<OpenLog>>,
    /// Reports the end of the thread that writes the log, once it was started.
    ended: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

/// The section `[bus.log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LogConfig {
    /// The size of the files of the log. Space is released one file at a time.
    pub segment_bytes: Size,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: Size::bytes(64 << 20) }
    }
}

impl LogConfig {
    /// Sets the size of the files of the log, in bytes.
    #[must_use]
    pub fn segment_bytes(self, bytes: u64) -> Self {
        Self { segment_bytes: Size::bytes(bytes) }
    }
}

#[async_trait]
impl Plugin for Log {
    type Config = LogConfig;

    fn validate(config: &LogConfig) -> Vec<Problem> {
        let too_small = config.segment_bytes.get() == 0;
        let problem = || Problem::new("segment_bytes", "must be greater than zero");
        too_small.then(problem).into_iter().collect()
    }

    async fn build(config: LogConfig, cx: &BuildContext) -> Result<Self, BuildError> {
        let (dir, types) = (directory(cx.data_dir()), cx.data_types().clone());
        let window = cx.bus().keys;
        let opening = move || {
            let options = poa_log::Options::default().segment_bytes(config.segment_bytes.get());
            let open = OpenLog::open(&dir, types, options)?;
            let past = open.past(window);
            Ok((open, past))
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        let opened = opened.map_err(|_| BuildError::failed("the runtime is shutting down"))?;
        let (open, past) = opened.map_err(|error: crate::opening::LogOpenError| {
            BuildError::failed(error_chain(&error))
        })?;
        Ok(Self {
            local: Local::on_log(cx, open.readers(), open.end(), past),
            left: open.cursors().clone(),
            disk: open.disk_bytes(),
            telemetry: cx.telemetry().clone(),
            open: Mutex::new(Some(open)),
            ended: tokio::sync::Mutex::default(),
        })
    }
}

impl Log {
    /// The starting position of a receiver that is not subscribed now.
    fn cursor_of(&self, request: &SubscriptionRequest) -> Option<Cursor> {
        // The cursor may have been removed, if the receiver is added while the engine runs.
        let left = if self.open.lock().is_some() { self.left.get(&request.name) } else { None };
        let begin = || match (request.from, &self.local.log) {
            (ReadFrom::Start, Some(log)) => Some(log.begin()),
            _ => None,
        };
        left.or_else(begin)
    }

    /// Returns when the positions of the subscribers are durable.
    async fn written(&self) -> Result<(), BuildError> {
        if self.open.lock().is_some() {
            // `start` does it.
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        self.local.state.lock().notes.push(done);
        self.local.work.notify_one();
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BuildError::failed(format!(
                "cannot write the receiver's starting position to the log directory: {error}"
            ))),
            Err(_) => Err(BuildError::failed("the engine has ended")),
        }
    }
}

#[async_trait]
impl Engine for Log {
    fn capabilities(&self) -> Capabilities {
        Capabilities::DURABLE
    }

    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError> {
        let backlog = request.backlog.resolved(Some(self.disk.unwrap_or(u64::MAX)));
        let handle = self.local.subscribe(&request, backlog, self.cursor_of(&request));
        self.written().await?;
        Ok(Arc::new(handle))
    }

    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError> {
        let garbage = self.local.state.lock().unsubscribe(name);
        drop(garbage);
        self.written().await
    }

    async fn start(&self) -> Result<(), BuildError> {
        let Some(open) = self.open.lock().take() else { return Ok(()) };
        open.warn_of_removed(&self.local);
        let ended = start(open, self.local.clone(), &self.telemetry).map_err(|error| {
            BuildError::failed("cannot begin to write the log").with_source(error)
        })?;
        *self.ended.lock().await = Some(ended);
        self.local.open();
        Ok(())
    }

    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        self.local.publish(messages)
    }

    fn publish_activity(&self, change: Activity) {
        self.local.publish_activity(change);
    }

    async fn room(&self) {
        self.local.room().await;
    }

    fn is_open(&self) -> bool {
        self.local.is_open()
    }

    fn close(&self) {
        self.local.close();
    }

    fn status(&self) -> serde_json::Value {
        match &self.local.state.lock().failure {
            Some(failure) => serde_json::json!({ "log_failure": failure }),
            None => serde_json::json!({}),
        }
    }

    async fn finish(&self) -> Leftover {
        self.local.finish();
        if let Some(ended) = self.ended.lock().await.as_mut() {
            // A panic of the thread was reported by its hook.
            let _ = ended.await;
        }
        Leftover { lost: self.local.state.lock().lost }
    }
}

/// Dropping a host does not wait for the log.
impl Drop for Log {
    fn drop(&mut self) {
        self.local.close();
        self.local.finish();
    }
}

/// The directory of the log in a data directory.
pub(crate) fn directory(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("log")
}
