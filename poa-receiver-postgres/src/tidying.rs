//! The maintenance task: creates missing indexes, removes old rows and measures, over connections of its own, alongside the calls
//! that store.

mod indexes;
mod rows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use poa_core::Timestamp;
use poa_tables::{Measures, Pace};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::error::{StoreError, text};
use crate::link::{Link, Opening, Target};
use crate::session::Settings;
use crate::table::{Names, Table};
use crate::{divide, partition};

/// The wait after a round.
const EVERY: Duration = Duration::from_secs(60);
/// The wait before the first round.
const AFTER_START: Duration = Duration::from_secs(2);
/// The wait when another host has the maintenance lock.
const SOON: Duration = Duration::from_secs(5);

/// Runs the maintenance for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Tidying(JoinHandle<()>);

impl Tidying {
    /// Starts the task. It belongs to the receiver, and ends when that is dropped.
    pub(crate) fn begin(
        settings: Arc<Settings>,
        retention: Option<Duration>,
        measures: Measures,
    ) -> Self {
        let mut target = settings.target.clone();
        // The name by which the server shows the connection.
        if let Some(name) = target.location.driver.get_application_name() {
            let name = format!("{name} tidying");
            target.location.driver.application_name(name);
        }
        Self(tokio::spawn(run(Round { target, settings, retention, measures })))
    }
}

impl Drop for Tidying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(round: Round) {
    let mut failing = false;
    // A receiver that is dropped before this needs no maintenance.
    tokio::time::sleep(AFTER_START).await;
    loop {
        let result = round.run().await;
        if let (Err(error), false) = (&result, failing) {
            tracing::warn!(
                "cannot remove old rows or create indexes, retrying every {EVERY:?}: {error}"
            );
        }
        failing = result.is_err();
        let rest = if matches!(result, Ok(Turn::Taken)) { SOON } else { EVERY };
        tokio::time::sleep(rest).await;
    }
}

/// The host that maintains the tables, which several hosts may share.
enum Turn {
    Done,
    /// Another host's.
    Taken,
}

/// The repeated actions.
struct Round {
    target: Target,
    settings: Arc<Settings>,
    retention: Option<Duration>,
    measures: Measures,
}

impl Round {
    async fn run(&self) -> Result<Turn, StoreError> {
        let target = &self.target;
        let mut link = Link::open(target).await?;
        let mut turn = Link::open(target).await?;
        let failed = |error: Error| StoreError::new(&target.server, &error);
        let Link { client, connection, opening } = &mut turn;
        let taken = connection.drive(take(client, opening, self.names())).await.map_err(failed)?;
        let Link { client, connection, opening } = &mut link;
        if taken {
            connection.drive(self.tidy(client, opening)).await.map_err(failed)?;
        }
        connection.drive(self.measure(client, opening)).await.map_err(failed)?;
        // Whatever of the end they do not see, the server detects.
        let _ = (turn.close().await, link.close().await);
        Ok(if taken { Turn::Done } else { Turn::Taken })
    }

    fn names(&self) -> &Names {
        &self.settings.names
    }

    async fn tidy(&self, client: &Client, opening: &Opening) -> Result<(), Error> {
        for table in Table::ALL {
            divide::clear(client, opening, self.names(), table).await?;
            indexes::make_missing(client, opening, self.names(), table, &self.target.server)
                .await?;
        }
        let Some(retention) = self.retention else { return Ok(()) };
        let age = u64::try_from(retention.as_micros()).unwrap_or(u64::MAX);
        let before = Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(age));
        self.drop_parts(client, opening, before).await?;
        for table in Table::ALL {
            for whole in rows::removable(client, opening, self.names(), table, before).await? {
                self.remove(client, opening, table, &whole, before).await?;
            }
        }
        Ok(())
    }

    async fn drop_parts(
        &self,
        client: &Client,
        opening: &Opening,
        before: Timestamp,
    ) -> Result<(), Error> {
        let server = &*self.target.server;
        let dropped = partition::drop_ended(client, opening, self.names(), before).await?;
        if dropped.parts > 0 {
            let parts = dropped.parts;
            tracing::info!(
                server,
                parts,
                "dropped parts of tables that are older than `retention`"
            );
        }
        if let Some(error) = dropped.failure {
            let error = text(&error);
            tracing::warn!(server, %error, "cannot drop old parts of tables, retrying in {EVERY:?}");
        }
        Ok(())
    }

    /// Removes the old rows of one table, or part of one, in steps that leave the server most of its time.
    async fn remove(
        &self,
        client: &Client,
        opening: &Opening,
        table: Table,
        whole: &str,
        before: Timestamp,
    ) -> Result<(), Error> {
        let mut pace = Pace::default();
        loop {
            let begin = Instant::now();
            let removed = rows::remove(client, opening, whole, before, pace.rows()).await?;
            if removed == 0 {
                return Ok(());
            }
            self.measures.expired(table as usize, removed);
            tokio::time::sleep(pace.rest(begin.elapsed())).await;
        }
    }

    async fn measure(&self, client: &Client, opening: &Opening) -> Result<(), Error> {
        let mut bytes = 0;
        for table in Table::ALL {
            let name = self.names().of(table.name());
            self.measures.oldest(table as usize, rows::oldest(client, opening, &name).await?);
            bytes += rows::bytes(client, opening, &name).await?;
        }
        self.measures.bytes(bytes);
        Ok(())
    }
}

/// Starts a transaction that holds a lock which only one host of the same tables can hold; false if another one has it.
///
/// The transaction stays open and idle until the connection is dropped.
pub(crate) async fn take(client: &Client, opening: &Opening, names: &Names) -> Result<bool, Error> {
    let begin = opening.with("SET LOCAL idle_in_transaction_session_timeout = 0");
    client.batch_execute(&begin).await?;
    let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
    let name = format!("tidy {}", names.lock());
    let taken = client.query_typed_one(lock, &[(&name, Type::TEXT)]).await?.try_get(0)?;
    // Ends the previous statement: it would keep its snapshot as long as the transaction, and the creation of an index waits for
    // those.
    client.batch_execute("SELECT 1").await?;
    Ok(taken)
}
