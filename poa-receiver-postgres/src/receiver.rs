use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use poa_core::telemetry::Counter;
use poa_core::{
    Activity, BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, ReceiverContext,
    async_trait,
};
use poa_tables::Measures;

use crate::Config;
use crate::encode::{Counts, Rows};
use crate::error::StoreError;
use crate::link::Target;
use crate::refusals::Refusals;
use crate::session::{Session, Settings};
use crate::table::Names;
use crate::tidying::Tidying;

/// Stores messages in a PostgreSQL database.
///
/// All methods are cancel safe: a call that is dropped has stored everything or nothing, and closes its connection. Confirmed messages
/// are durable on the server.
pub struct Postgres {
    settings: Arc<Settings>,
    counters: Counters,
    /// Locked by the call that uses it. Empty after a failure that may have been the connection's: the next call connects again.
    session: Option<Session>,
    /// Kept across connections.
    refusals: Refusals,
    retention: Option<Duration>,
    tidying: Option<Tidying>,
}

impl Postgres {
    /// The open session, or a new one.
    async fn session(&mut self) -> Result<Session, StoreError> {
        if let Some(mut session) = self.session.take()
            && session.is_open().await
        {
            return Ok(session);
        }
        Session::open(self.settings.clone()).await
    }

    async fn store(&mut self, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        let result = session.store(rows, &mut self.refusals).await;
        self.keep(session, &result);
        result
    }

    async fn set_activity(&mut self, agents: &[Activity], active: bool) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        let result = session.set_activity(agents, active).await;
        self.keep(session, &result);
        result
    }

    /// A refused message does not mean that the connection is broken.
    fn keep(&mut self, session: Session, result: &Result<(), StoreError>) {
        if matches!(result, Ok(()) | Err(StoreError::Rejected { .. })) {
            self.session = Some(session);
        }
    }
}

#[async_trait]
impl Plugin for Postgres {
    type Config = Config;

    fn validate(config: &Config) -> Vec<poa_core::config::Problem> {
        config.problems()
    }

    /// Connects to the database, creates and migrates the tables if necessary, and starts the maintenance task.
    ///
    /// The maintenance task belongs to this instance and ends when it is dropped, so an instance that never runs leaves nothing behind.
    ///
    /// # Errors
    /// [`BuildError::Unavailable`] when the server cannot be reached, is busy, refuses the login, or has tables that cannot be used.
    /// [`BuildError::Failed`] when the URL cannot be read.
    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let retention = config.retention.map(poa_core::config::Duration::get);
        let settings = Arc::new(settings(config, cx).map_err(BuildError::failed)?);
        let session = Session::open(settings.clone()).await?;
        let counters = Counters::new(cx);
        let refusals = Refusals::default();
        Ok(Self { settings, counters, session: Some(session), refusals, retention, tidying: None })
    }
}

pub(crate) fn settings(config: Config, cx: &BuildContext) -> Result<Settings, String> {
    let mut location = config.location()?;
    if location.driver.get_application_name().is_none() {
        location.driver.application_name(format!("poa {}", cx.name()));
    }
    let server = location.to_string().into();
    let statement_timeout = config.statement_timeout.get();
    Ok(Settings {
        target: Target { location, server, statement_timeout },
        names: Names::new(&config.schema, &config.table_prefix),
        period: config.partition,
    })
}

#[async_trait]
impl Receiver for Postgres {
    async fn start(&mut self, _: ReceiverContext) -> Result<(), DeliveryError> {
        let (settings, measures) = (self.settings.clone(), self.counters.measures.clone());
        self.tidying = Some(Tidying::begin(settings, self.retention, measures));
        Ok(())
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut rows = Rows::of(batch);
        self.store(&mut rows).await?;
        self.counters.add(rows.counts);
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        Ok(self.set_activity(agents, false).await?)
    }

    async fn handle_active(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        Ok(self.set_activity(agents, true).await?)
    }

    async fn terminate(&mut self) {
        self.tidying = None;
        let Some(session) = self.session.take() else { return };
        if let Err(error) = session.close().await {
            tracing::debug!(%error, "the connection was not closed in order; nothing is lost");
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("server", &self.settings.target.server)
            .finish_non_exhaustive()
    }
}

/// Counts values that were stored differently from what the agent sent.
struct Counters {
    measures: Measures,
    wrapped: Counter,
}

impl Counters {
    fn new(cx: &BuildContext) -> Self {
        let labels = [("receiver", cx.name())];
        let help = "Messages whose JSON jsonb cannot hold, stored as its text";
        let wrapped = cx.telemetry().counter("receiver_wrapped_json_messages", help, &labels);
        Self { measures: Measures::new(cx), wrapped }
    }

    fn add(&self, counts: Counts) {
        self.measures.stored(counts.tally);
        self.wrapped.inc_by(counts.wrapped);
    }
}
