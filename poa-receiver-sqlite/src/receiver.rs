//! The receiver: runs every call on a blocking thread that owns the connection meanwhile.

use std::sync::Arc;
use std::time::Duration;

use poa_core::{
    Activity, BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, ReceiverContext,
    async_trait,
};
use poa_tables::Measures;

use crate::Config;
use crate::database::Location;
use crate::error::StoreError;
use crate::shared::Shared;
use crate::tidying::Tidying;
use crate::writer::{Wanted, Writer};

/// Stores messages in an SQLite database.
///
/// All methods are cancel safe: a call that is dropped has stored everything or nothing, and a call that follows waits for it.
/// Confirmed messages are durable.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
    retention: Option<Duration>,
    tidying: Option<Tidying>,
}

impl Sqlite {
    /// Runs a job on a blocking thread. If this future is dropped before the job has started to write, it never will.
    async fn write(
        &self,
        job: impl Fn(&mut Writer, &Wanted) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), DeliveryError> {
        let waiting = Arc::new(());
        let wanted = Arc::downgrade(&waiting);
        let shared = self.shared.clone();
        let result = blocking(move || shared.run(|writer| job(writer, &wanted))).await;
        drop(waiting);
        Ok(result?)
    }
}

/// Runs a job on a blocking thread, and propagates its panic.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::RuntimeGone),
        },
    }
}

#[async_trait]
impl Plugin for Sqlite {
    type Config = Config;

    fn validate(config: &Config) -> Vec<poa_core::config::Problem> {
        config.problems()
    }

    /// Opens the database, creates and migrates it if necessary, and starts the maintenance task.
    ///
    /// The maintenance task belongs to this instance and ends when it is dropped, so an instance that never runs leaves nothing
    /// behind.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] when the database is locked or damaged, the file cannot be used, or the disk is full.
    /// [`BuildError::Failed`] when `path` names a directory, or a file in a directory that does not exist, the database belongs to
    /// another application, or it was created by a newer version.
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let location = Location {
            path: cx.data_dir().join(config.path),
            busy_timeout: config.busy_timeout.get(),
        };
        let measures = Measures::new(cx);
        let shared = Arc::new(blocking(move || Shared::open(location, measures)).await?);
        let retention = config.retention.map(poa_core::config::Duration::get);
        Ok(Self { shared, retention, tidying: None })
    }
}

#[async_trait]
impl Receiver for Sqlite {
    async fn start(&mut self, _: ReceiverContext) -> Result<(), DeliveryError> {
        self.tidying = Some(Tidying::begin(self.shared.clone(), self.retention));
        Ok(())
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let batch = batch.to_vec();
        self.write(move |writer, wanted| writer.store(&batch, wanted)).await
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        let agents = agents.to_vec();
        self.write(move |writer, wanted| writer.store_activity(&agents, wanted)).await
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        self.handle_inactive(agents).await
    }

    async fn terminate(&mut self) {
        self.tidying = None;
        let shared = self.shared.clone();
        if let Err(error) = blocking(move || shared.close()).await {
            tracing::warn!(%error, "the database was not closed in order; nothing is lost");
        }
    }
}
