//! An open database: a connection with its tables up to date and its statements prepared.

mod isolate;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use poa_core::{Activity, AgentId, BoxError, Timestamp};
use tokio_postgres::{Client, CopyInSink, Error, Statement};

use crate::activity::{Agents, Seen};
use crate::encode::{Rows, Unreadable};
use crate::error::{StoreError, Verdict, refuses_values};
use crate::link::{Link, Opening, Target};
use crate::partition::{self, Day, Period};
use crate::refusals::Refusals;
use crate::table::{Names, Table};
use crate::{activity, migrations};

/// The most agents that are remembered as active; with more, forgetting one costs a lookup.
const REMEMBERED: usize = 1 << 16;
/// How long they are remembered: another host may have reported meanwhile that an agent is inactive.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// The parameters for opening a session.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) target: Target,
    pub(crate) names: Names,
    pub(crate) period: Option<Period>,
}

pub(crate) struct Session {
    settings: Arc<Settings>,
    link: Link,
    statements: Statements,
    /// How the tables are divided.
    period: Option<Period>,
    /// Days whose parts are known to exist.
    days: BTreeSet<Day>,
    /// Agents whose row said active a moment ago.
    active: HashSet<AgentId>,
    /// The time at which the first of them was remembered.
    active_since: Instant,
}

impl Session {
    /// Connects, and creates or updates the tables if necessary.
    pub(crate) async fn open(settings: Arc<Settings>) -> Result<Self, StoreError> {
        let Settings { target, names, period } = &*settings;
        let server = &target.server;
        let failed = |error: Error| StoreError::new(server, &error);
        let mut link = Link::open(target).await?;
        let Link { client, connection, opening } = &mut link;
        // The errors of migrations are not only those of the driver, so they pass through as a value.
        let prepared = connection.drive(async {
            let migrated = async {
                refuse_other_encodings(client, server).await?;
                migrations::apply(client, opening, names, *period, server).await
            };
            match migrated.await {
                Ok(period) => Ok(Ok((period, Statements::prepare(client, opening, names).await?))),
                Err(error) => Ok(Err(error)),
            }
        });
        let (period, statements) = prepared.await.map_err(failed)??;
        Ok(Self {
            settings: settings.clone(),
            link,
            statements,
            period,
            days: BTreeSet::new(),
            active: HashSet::new(),
            active_since: Instant::now(),
        })
    }

    /// False if the server has closed the connection since it was last used.
    pub(crate) async fn is_open(&mut self) -> bool {
        self.link.connection.is_open().await
    }

    /// Stores these rows, all or none. A row that is stored already stays as it is.
    pub(crate) async fn store(
        &mut self,
        rows: &mut Rows<'_>,
        refusals: &mut Refusals,
    ) -> Result<(), StoreError> {
        let mut repaired = false;
        loop {
            let result = match self.make_parts(rows).await {
                Ok(()) => self.try_store(rows).await,
                // A part that cannot be created is not the fault of any row.
                Err(error) if Verdict::of(&error) != Verdict::NoTable => {
                    return Err(self.failed(&error));
                }
                gone => gone,
            };
            // The error may have come before all messages were read.
            rows.read_all();
            if let Some(Unreadable { items, cause }) = rows.unreadable.take() {
                self.reopen().await?;
                return Err(self.rejected(items, cause));
            }
            let Err(error) = result else { break };
            match Verdict::of(&error) {
                Verdict::NoTable | Verdict::NoPart if !repaired => {
                    repaired = true;
                    self.reopen().await?;
                }
                Verdict::Taken | Verdict::Data => {
                    self.reopen().await?;
                    // Whatever was refused first, rows that are stored already are not the cause.
                    if !self.leave_out_stored(rows).await? {
                        return Err(self.blame(rows, error, refusals).await);
                    }
                }
                _ => return Err(self.failed(&error)),
            }
        }
        refusals.taken(rows);
        self.activate(rows).await
    }

    async fn try_store(&mut self, rows: &mut Rows<'_>) -> Result<(), Error> {
        let Self { link: Link { client, connection, .. }, statements, .. } = self;
        connection.drive(write::all(client, statements, rows)).await
    }

    /// False if none of these rows is stored.
    async fn leave_out_stored(&mut self, rows: &mut Rows<'_>) -> Result<bool, StoreError> {
        let Self { link: Link { client, connection, .. }, statements, .. } = self;
        let looking = write::stored(client, statements, rows);
        let stored = connection.drive(looking).await.map_err(|error| self.failed(&error))?;
        Ok(rows.without(&stored))
    }

    /// Finds the rows that the database refuses, or the table that refuses every row.
    async fn blame(
        &mut self,
        rows: &mut Rows<'_>,
        error: Error,
        refusals: &mut Refusals,
    ) -> StoreError {
        let Self { link: Link { client, connection, .. }, statements, settings, .. } = self;
        let refused = match connection.drive(isolate::refused(client, statements, rows)).await {
            Ok(refused) => refused,
            Err(error) => return self.failed(&error),
        };
        if let Some((table, count)) = refusals.add(rows, &refused) {
            return StoreError::refusing(&settings.target.server, table, count, &error);
        }
        // Another host may have stored some of them meanwhile.
        let taken = refused.iter().any(|row| row.reason.is_taken());
        match self.leave_out_stored(rows).await {
            Ok(true) if taken => self.failed(&error),
            Err(error) if taken => error,
            _ => {
                let items = refused.into_iter().map(|row| row.item).collect();
                self.rejected(items, crate::error::text(&error).into())
            }
        }
    }

    /// Connects again, and creates what is missing.
    ///
    /// The driver loses count of the responses when a COPY is refused before it has started, so a connection is not used again after
    /// that.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        // Immediately, because an open transaction on it may lock what the new one has to change.
        self.link.connection.cut();
        *self = Self::open(self.settings.clone()).await?;
        Ok(())
    }

    /// Records that the agents of these rows are active, unless that is known.
    ///
    /// Separately, after the rows are stored: an operator's constraint or trigger on the activity must not affect any message.
    async fn activate(&mut self, rows: &Rows<'_>) -> Result<(), StoreError> {
        self.forget_some();
        let mut agents = rows.agents_but(&self.active);
        // If the first message is older than the known state of its agent, the last may be newer.
        let dates: [fn(&Seen) -> Timestamp; 2] = [|seen| seen.first, |seen| seen.last];
        for since in dates {
            let told: Vec<_> = agents.iter().map(|(agent, seen)| (agent, since(seen))).collect();
            match self.upsert(&told, true).await {
                Ok(active) => self.remember(&mut agents, &active),
                Err(StoreError::Rejected { source, .. }) => {
                    let refused = self.refused_alone(&told, true).await?.len();
                    let server = &*self.settings.target.server;
                    tracing::warn!(server, refused, error = %source, "the database refuses to record some agents as active");
                    // So that it is not tried again with each batch.
                    self.active.extend(agents.into_keys());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            agents.retain(|_, seen| seen.first < seen.last);
        }
        Ok(())
    }

    /// Sets the state of these agents. A refused agent does not affect the others.
    pub(crate) async fn set_activity(
        &mut self,
        changes: &[Activity],
        active: bool,
    ) -> Result<(), StoreError> {
        let mut told = BTreeMap::new();
        for change in changes {
            // A state that is recorded twice keeps its start.
            told.entry(&change.agent_id).or_insert(change.since);
        }
        self.active.retain(|agent| !told.contains_key(agent));
        let told: Vec<_> = told.into_iter().collect();
        match self.upsert(&told, active).await {
            Ok(_) => Ok(()),
            Err(StoreError::Rejected { source, .. }) => {
                let refused = self.refused_alone(&told, active).await?;
                let is_refused = |change: &Activity| refused.contains(&change.agent_id);
                let items = (0..changes.len()).filter(|n| is_refused(&changes[*n])).collect();
                Err(self.rejected(items, source))
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the state of each of these agents separately; returns those that are refused.
    async fn refused_alone(
        &mut self,
        told: &[(&AgentId, Timestamp)],
        active: bool,
    ) -> Result<BTreeSet<AgentId>, StoreError> {
        let mut refused = BTreeSet::new();
        for one in told {
            match self.upsert(std::slice::from_ref(one), active).await {
                Ok(_) => {}
                Err(StoreError::Rejected { .. }) => {
                    refused.insert(one.0.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Sets the state of these agents; returns those that are in it afterwards.
    async fn upsert(
        &mut self,
        told: &[(&AgentId, Timestamp)],
        active: bool,
    ) -> Result<Vec<String>, StoreError> {
        let mut repaired = false;
        loop {
            let Self { link: Link { client, connection, .. }, statements, .. } = self;
            let Statements { opening, activity, .. } = &*statements;
            let upsert = activity::upsert(client, opening, activity, told, active);
            let error = match connection.drive(upsert).await {
                Ok(active) => return Ok(active),
                Err(error) => error,
            };
            match Verdict::of(&error) {
                Verdict::NoTable if !repaired => {
                    repaired = true;
                    self.reopen().await?;
                }
                // Whatever the reason: no data would be lost by it.
                _ if refuses_values(&error) => {
                    return Err(self.rejected(Vec::new(), crate::error::text(&error).into()));
                }
                _ => return Err(self.failed(&error)),
            }
        }
    }

    /// Creates the parts that these rows may go to.
    async fn make_parts(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        let Some(period) = self.period else { return Ok(()) };
        let wanted = partition::days(rows.dates());
        let missing: Vec<_> = wanted.difference(&self.days).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let Link { client, connection, opening } = &mut self.link;
        let making = partition::make(client, opening, &self.settings.names, period, missing);
        connection.drive(making).await?;
        self.days.extend(wanted);
        Ok(())
    }

    /// Moves the active agents from the first argument to the remembered ones.
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
        StoreError::new(&self.settings.target.server, error)
    }

    fn rejected(&self, items: Vec<usize>, source: BoxError) -> StoreError {
        StoreError::Rejected { server: self.settings.target.server.clone(), items, source }
    }

    /// Closes the session with the server.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { link, statements, .. } = self;
        drop(statements);
        link.close().await
    }
}

/// Other encodings cannot hold every text.
async fn refuse_other_encodings(client: &Client, server: &Arc<str>) -> Result<(), StoreError> {
    let failed = |error: Error| StoreError::new(server, &error);
    let encoding = "SELECT current_setting('server_encoding')";
    let encoding = client.query_typed_one(encoding, &[]).await.map_err(failed)?;
    let encoding: String = encoding.try_get(0).map_err(failed)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let what = format!(
        "the database has the encoding {encoding}; create it with `createdb --encoding=UTF8 --template=template0`"
    );
    Err(StoreError::Unusable { server: server.clone(), what })
}

/// The statements that are used repeatedly.
pub(crate) struct Statements {
    opening: Opening,
    copy: [Copy; 3],
    stored: String,
    activity: String,
}

/// The statement that copies rows into a table.
enum Copy {
    /// In a session of the server, which keeps prepared statements.
    Prepared(Statement),
    /// Behind a pooler: prepared in the transaction that copies, and dropped with it.
    Text(String),
}

impl Statements {
    async fn prepare(client: &Client, opening: &Opening, names: &Names) -> Result<Self, Error> {
        let copy = |table: Table| {
            let (name, columns) = (names.of(table.name()), table.columns());
            let text = format!(
                "COPY {name} (message_id, date, agent_id, {columns}) FROM STDIN (FORMAT binary)"
            );
            async move {
                if opening.is_session {
                    return Ok(Copy::Prepared(client.prepare(&text).await?));
                }
                Ok::<_, Error>(Copy::Text(text))
            }
        };
        // The dates save the server from searching parts of other times.
        let stored = Table::ALL.map(|table| {
            format!(
                "SELECT message_id FROM {} WHERE message_id = ANY($1) AND date BETWEEN $2 AND $3",
                names.of(table.name())
            )
        });
        Ok(Self {
            opening: opening.clone(),
            copy: [
                copy(Table::Eth).await?,
                copy(Table::System).await?,
                copy(Table::Metrics).await?,
            ],
            stored: stored.join(" UNION ALL "),
            activity: activity::statement(names),
        })
    }

    /// Starts to copy rows into a table.
    async fn copy_in(&self, client: &Client, table: Table) -> Result<CopyInSink<Bytes>, Error> {
        match &self.copy[table as usize] {
            Copy::Prepared(statement) => client.copy_in(statement).await,
            Copy::Text(text) => client.copy_in(&**text).await,
        }
    }
}
