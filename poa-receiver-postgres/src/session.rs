//! An open database: a connection with its tables up to date and its statements prepared.

mod isolate;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poa_core::{AgentId, BoxError, MessageId, Timestamp};
use tokio_postgres::{Client, Error, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::activity::Agents;
use crate::connection::{Connection, connect};
use crate::encode::{Rows, Unreadable};
use crate::error::{StoreError, Verdict};
use crate::location::Location;
use crate::partition::{self, Part, Period};
use crate::table::{Names, Table};
use crate::{activity, migrations};

/// How many agents are remembered to be active; when there are more, forgetting costs a look-up, nothing else.
const REMEMBERED: usize = 1 << 16;
/// How long: another host may have said meanwhile that an agent is not.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// What a session is opened by.
pub(crate) struct Settings {
    pub(crate) location: Location,
    pub(crate) tls: MakeRustlsConnect,
    /// The location as text.
    pub(crate) server: Arc<str>,
    pub(crate) names: Names,
    pub(crate) period: Option<Period>,
    pub(crate) retention: Option<Duration>,
    pub(crate) statement_timeout: Duration,
}

/// The statements that are used again and again.
pub(crate) struct Statements {
    copy: [Statement; 3],
    stored: Statement,
    activity: Statement,
}

pub(crate) struct Session {
    settings: Arc<Settings>,
    client: Client,
    connection: Connection,
    statements: Statements,
    /// Parts that are known to be there.
    parts: BTreeSet<Part>,
    /// Agents whose row said active a moment ago.
    active: HashSet<AgentId>,
    /// When the first of them was remembered.
    active_since: Instant,
}

impl Session {
    /// Connects, and makes or updates the tables if need be.
    pub(crate) async fn open(settings: Arc<Settings>) -> Result<Self, StoreError> {
        let Settings { server, names, period, .. } = &*settings;
        let failed = |error: Error| StoreError::new(server, &error);
        let (client, mut connection) =
            connect(&settings.location, settings.tls.clone()).await.map_err(failed)?;
        // The errors of migrations are not those of the driver alone, so they pass through as a value.
        let prepared = connection.drive(async {
            client.batch_execute(&setup(&settings)).await?;
            let migrated = async {
                refuse_other_encodings(&client, server).await?;
                migrations::apply(&client, names, *period, server).await
            };
            match migrated.await {
                Ok(()) => Ok(Ok(Statements::prepare(&client, names).await?)),
                Err(error) => Ok(Err(error)),
            }
        });
        let statements = prepared.await.map_err(failed)??;
        let mut session = Self {
            settings: settings.clone(),
            client,
            connection,
            statements,
            parts: BTreeSet::new(),
            active: HashSet::new(),
            active_since: Instant::now(),
        };
        session.drop_ended(Timestamp::now()).await;
        Ok(session)
    }

    /// False when the server has closed the connection since it was last used.
    pub(crate) async fn is_open(&mut self) -> bool {
        self.connection.is_open().await
    }

    /// Stores these rows, all or none. What is stored already stays as it is.
    pub(crate) async fn store(&mut self, rows: &mut Rows<'_>) -> Result<(), StoreError> {
        self.forget_some();
        let (mut looked, mut repaired) = (false, false);
        let mut agents = loop {
            let result = self.try_store(rows).await;
            // An error may have come before all were read.
            rows.read_all();
            if let Some(Unreadable { items, cause }) = rows.unreadable.take() {
                self.reopen().await?;
                return Err(self.rejected(items, cause));
            }
            let error = match result {
                Ok(late) => break late,
                Err(error) => error,
            };
            match Verdict::of(&error) {
                Verdict::Taken if !looked => {
                    looked = true;
                    self.reopen().await?;
                    let stored = self.stored(rows).await.map_err(|error| self.failed(&error))?;
                    rows.without(&stored);
                }
                Verdict::NoTable | Verdict::NoPart if !repaired => {
                    repaired = true;
                    self.reopen().await?;
                }
                Verdict::Taken | Verdict::Data => {
                    self.reopen().await?;
                    return Err(self.blame(rows, error).await);
                }
                _ => return Err(self.failed(&error)),
            }
        };
        self.activate_late(&mut agents).await.map_err(|error| self.failed(&error))
    }

    /// Stores the rows; the agents that are not active even so.
    async fn try_store(&mut self, rows: &mut Rows<'_>) -> Result<Agents, Error> {
        self.make_parts(rows).await?;
        let Self { client, connection, statements, active, .. } = self;
        let storing = write::all(client, statements, rows, active);
        let (mut agents, active) = connection.drive(storing).await?;
        self.remember(&mut agents, &active);
        Ok(agents)
    }

    /// Of agents that are still not active, the first message was older than what is known of them; the last may be newer.
    async fn activate_late(&mut self, agents: &mut Agents) -> Result<(), Error> {
        agents.retain(|_, seen| seen.first < seen.last);
        let Self { client, connection, statements, .. } = self;
        let since = agents.iter().map(|(agent, seen)| (agent, seen.last));
        let active =
            connection.drive(activity::upsert(client, &statements.activity, since, true)).await?;
        self.remember(agents, &active);
        Ok(())
    }

    /// Which of the messages are stored.
    async fn stored(&mut self, rows: &Rows<'_>) -> Result<BTreeSet<MessageId>, Error> {
        let Self { client, connection, statements, .. } = self;
        connection.drive(write::stored(client, &statements.stored, rows)).await
    }

    /// Finds the rows that the database refuses.
    async fn blame(&mut self, rows: &Rows<'_>, error: Error) -> StoreError {
        let Self { client, connection, statements, .. } = self;
        match connection.drive(isolate::refused(client, statements, rows)).await {
            Ok(items) => self.rejected(items, crate::error::text(&error).into()),
            Err(error) => self.failed(&error),
        }
    }

    /// Connects anew, and makes what is missing.
    ///
    /// The driver loses count of the answers when a COPY is refused before it has begun, so a connection is not used again after that.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        *self = Self::open(self.settings.clone()).await?;
        Ok(())
    }

    /// Sets the state of these agents.
    pub(crate) async fn set_activity(
        &mut self,
        agents: &BTreeMap<AgentId, Timestamp>,
        active: bool,
    ) -> Result<(), StoreError> {
        self.active.retain(|agent| !agents.contains_key(agent));
        let mut repaired = false;
        loop {
            let Self { client, connection, statements, .. } = self;
            let since = agents.iter().map(|(agent, since)| (agent, *since));
            let upsert = activity::upsert(client, &statements.activity, since, active);
            match connection.drive(upsert).await {
                Ok(_) => return Ok(()),
                Err(error) if Verdict::of(&error) == Verdict::NoTable && !repaired => {
                    repaired = true;
                    self.reopen().await?;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Makes the parts that these rows may go to, and drops those that have become too old.
    async fn make_parts(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        let Some(period) = self.settings.period else { return Ok(()) };
        let wanted = partition::parts(period, rows.dates());
        let missing: Vec<_> = wanted.difference(&self.parts).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let making = partition::make(&self.client, &self.settings.names, &missing);
        self.connection.drive(making).await?;
        self.parts.extend(wanted);
        if let Some(oldest) = rows.dates().min() {
            self.drop_ended(oldest).await;
        }
        Ok(())
    }

    /// Drops parts that have become too old, but none from `needed` on. Storing goes on when this fails.
    async fn drop_ended(&mut self, needed: Timestamp) {
        let Settings { period: Some(period), retention: Some(retention), names, server, .. } =
            &*self.settings
        else {
            return;
        };
        let age = u64::try_from(retention.as_micros()).unwrap_or(u64::MAX);
        let kept = Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(age));
        let client = &self.client;
        let dropping = async {
            let dropped = partition::drop_ended(client, names, *period, kept.min(needed)).await;
            if dropped.is_err() {
                client.batch_execute("ROLLBACK").await?;
            }
            dropped
        };
        match self.connection.drive(dropping).await {
            Ok(0) => {}
            Ok(parts) => {
                tracing::info!(
                    server = &**server,
                    parts,
                    "dropped parts of tables that are older than `retention`"
                );
            }
            Err(error) => {
                let error = crate::error::text(&error);
                tracing::warn!(server = &**server, %error, "cannot drop old parts of tables; will be tried with the next new part");
            }
        }
    }

    /// Moves the agents that are active from the first to what is remembered.
    fn remember(&mut self, agents: &mut Agents, active: &[String]) {
        let known = active.iter().filter_map(|agent| agents.remove_entry(agent.as_str()));
        self.active.extend(known.map(|(agent, _)| agent));
    }

    fn forget_some(&mut self) {
        if self.active.len() > REMEMBERED || self.active_since.elapsed() > REMEMBERED_FOR {
            self.active.clear();
            self.active_since = Instant::now();
        }
    }

    fn failed(&self, error: &Error) -> StoreError {
        StoreError::new(&self.settings.server, error)
    }

    fn rejected(&self, items: Vec<usize>, source: BoxError) -> StoreError {
        StoreError::Rejected { server: self.settings.server.clone(), items, source }
    }

    /// Says good-bye to the server.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { client, connection, .. } = self;
        drop(client);
        connection.finish().await
    }
}

/// What a connection is set to.
///
/// The host forgets what was confirmed, so it must be on the disk by then, whatever the server does by default.
fn setup(settings: &Settings) -> String {
    let timeout = settings.statement_timeout.as_millis();
    format!(
        "SET timezone = 'UTC'; SET client_min_messages = error; SET statement_timeout = {timeout};
        SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

/// Other encodings cannot hold every text.
async fn refuse_other_encodings(client: &Client, server: &Arc<str>) -> Result<(), StoreError> {
    let failed = |error: Error| StoreError::new(server, &error);
    let encoding =
        client.query_one("SELECT current_setting('server_encoding')", &[]).await.map_err(failed)?;
    let encoding: String = encoding.try_get(0).map_err(failed)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let what = format!(
        "the database has the encoding {encoding}; create it with `createdb --encoding=UTF8 --template=template0`"
    );
    Err(StoreError::Unusable { server: server.clone(), what })
}

impl Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, Error> {
        let copy = |table: Table| {
            let (name, columns) = (names.of(table.name()), table.columns());
            let text = format!(
                "COPY {name} (message_id, date, agent_id, {columns}) FROM STDIN (FORMAT binary)"
            );
            async move { client.prepare(&text).await }
        };
        // The dates spare the server to look into parts of other times.
        let stored = Table::ALL.map(|table| {
            format!(
                "SELECT message_id FROM {} WHERE message_id = ANY($1) AND date BETWEEN $2 AND $3",
                names.of(table.name())
            )
        });
        Ok(Self {
            copy: [
                copy(Table::Eth).await?,
                copy(Table::System).await?,
                copy(Table::Metrics).await?,
            ],
            stored: client.prepare(&stored.join(" UNION ALL ")).await?,
            activity: client.prepare(&activity::statement(names)).await?,
        })
    }

    fn copy(&self, table: Table) -> &Statement {
        &self.copy[table as usize]
    }
}
