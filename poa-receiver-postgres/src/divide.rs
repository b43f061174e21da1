//! Divides existing tables in place: the table becomes the first part of a new one, and no row is copied.
//!
//! Each step is one statement or one transaction, and detects whether it was done before; so it may be interrupted at any moment and run
//! again. Only the last one takes a lock that blocks others, for a moment.

use std::sync::Arc;
use std::time::Duration;

use poa_core::BuildContext;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::config::Config;
use crate::error::{StoreError, text};
use crate::link::{Link, Opening, Params};
use crate::partition;
use crate::receiver::settings;
use crate::session::Settings;
use crate::table::{Names, Table};
use crate::tidying::take;

/// The reason why tables were not divided. Completed steps stay, and the tables work as before.
#[derive(Debug, thiserror::Error)]
#[error("{message}; the tables can be used as before, and the command can be run again")]
pub struct DivideError {
    message: String,
}

impl From<StoreError> for DivideError {
    fn from(error: StoreError) -> Self {
        Self { message: error.to_string() }
    }
}

/// How long to wait, in each attempt, for other sessions that have a table locked.
const LOCK: &str = "SET LOCAL lock_timeout = '5s'";
/// The interval and number of attempts to get the maintenance lock.
const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 600;
/// How often a table is tried whose locks, or whose entries in the catalogue, another session has.
const ATTEMPTS: usize = 10;

/// Divides the tables of this receiver by time, while hosts may store in them. `say` is called with each step.
///
/// Hosts continue, and create parts by day until their configuration says otherwise. Cancel safe: dropped at any moment, it can be called
/// again.
///
/// # Errors
/// See [`DivideError`].
pub async fn divide(config: &Config, mut say: impl FnMut(&str)) -> Result<(), DivideError> {
    let cx = BuildContext::detached("partition", "");
    let settings = settings(config.clone(), &cx).map_err(|message| DivideError { message })?;
    let target = &settings.target;
    let failed = |error: &Error| DivideError::from(StoreError::new(&target.server, error));
    let mut link = Link::open(target).await?;
    let _turn = turn(&settings, &mut say).await?;
    let Link { client, connection, opening } = &mut link;
    if opening.is_session {
        let endless = client.batch_execute("SET statement_timeout = 0");
        connection.drive(endless).await.map_err(|error| failed(&error))?;
    }
    for table in Table::ALL {
        let work = Work { client, opening, names: &settings.names, table };
        // An obstacle is not an error of the driver, so it passes through as a value.
        let done = connection.drive(async {
            work.divide_when_free(&mut say).await.map_or_else(Stop::split, |()| Ok(None))
        });
        if let Some(message) = done.await.map_err(|error| failed(&error))? {
            return Err(DivideError { message: format!("{}: {message}", target.server) });
        }
    }
    Ok(())
}

/// Waits until no host performs maintenance on these tables.
async fn turn(settings: &Settings, say: &mut impl FnMut(&str)) -> Result<Link, DivideError> {
    let target = &settings.target;
    let server: &Arc<str> = &target.server;
    for waited in 0..TURNS {
        let mut link = Link::open(target).await?;
        let Link { client, connection, opening } = &mut link;
        let taken = connection.drive(take(client, opening, &settings.names)).await;
        if taken.map_err(|error| StoreError::new(server, &error))? {
            return Ok(link);
        }
        if waited == 0 {
            say("waiting for a host that removes old rows or creates an index");
        }
        tokio::time::sleep(TURN).await;
    }
    let message = format!(
        "{server}: a host has been removing old rows during the whole wait; stop it, and try again"
    );
    Err(DivideError { message })
}

/// The reason why a table is left unchanged.
enum Stop {
    Failed(Error),
    /// An obstacle that an operator has to remove first.
    Because(String),
}

impl Stop {
    fn split(self) -> Result<Option<String>, Error> {
        match self {
            Self::Failed(error) => Err(error),
            Self::Because(message) => Ok(Some(message)),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One table that is being divided.
struct Work<'w> {
    client: &'w Client,
    opening: &'w Opening,
    names: &'w Names,
    table: Table,
}

impl Work<'_> {
    /// Tries again while another session is in the way: a report that reads the table, or what an earlier run that was killed had asked
    /// the server for, which ends what it does first.
    async fn divide_when_free(&self, say: &mut impl FnMut(&str)) -> Result<(), Stop> {
        for _ in 1..ATTEMPTS {
            match self.divide(say).await {
                Err(Stop::Failed(error)) if is_in_the_way(&error) => {
                    let (name, why) = (self.table.name(), text(&error));
                    say(&format!("{name}: another session is in the way ({why}); trying again"));
                    self.client.batch_execute("ROLLBACK").await?;
                    tokio::time::sleep(TURN).await;
                }
                done => return done,
            }
        }
        self.divide(say).await
    }

    async fn divide(&self, say: &mut impl FnMut(&str)) -> Result<(), Stop> {
        let name = self.table.name();
        if self.kind().await? != "r" {
            say(&format!("{name}: divided already"));
            return Ok(());
        }
        self.refuse_dependents().await?;
        say(&format!("{name}: creating the index that its new key needs"));
        self.make_key().await?;
        let boundary = self.boundary().await?;
        say(&format!("{name}: checking that all rows are older than {boundary}"));
        self.bound(&boundary).await?;
        self.swap(&boundary).await?;
        say(&format!("{name}: divided; its rows until {boundary} are one part"));
        Ok(())
    }

    fn whole(&self) -> String {
        self.names.of(self.table.name())
    }

    fn key(&self) -> String {
        format!("{}_divided", self.table.name())
    }

    async fn texts(&self, statement: &str, param: &str) -> Result<Vec<String>, Error> {
        let rows = self.opening.query(self.client, statement, &[(&param, Type::TEXT)]).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    async fn kind(&self) -> Result<String, Stop> {
        let kind = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)";
        let missing = || {
            Stop::Because(format!(
                "there is no table `{}`; start the receiver once, and it creates the tables",
                self.table.name()
            ))
        };
        self.texts(kind, &self.whole()).await?.pop().ok_or_else(missing)
    }

    /// A view would keep reading what is only one part afterwards, and a trigger would not see new rows.
    async fn refuse_dependents(&self) -> Result<(), Stop> {
        let dependents = "SELECT DISTINCT 'view ' || ev_class::regclass::text FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
                WHERE classid = 'pg_rewrite'::regclass AND refobjid = to_regclass($1) AND ev_class <> refobjid
            UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal";
        let found = self.texts(dependents, &self.whole()).await?;
        if found.is_empty() {
            return Ok(());
        }
        Err(Stop::Because(format!(
            "`{}` has dependents that would miss new rows: {}; drop them, and create them again afterwards",
            self.table.name(),
            found.join(", ")
        )))
    }

    /// The key of a divided table must include the column that divides it.
    async fn make_key(&self) -> Result<(), Error> {
        let (whole, key) = (self.whole(), self.names.of(&self.key()));
        let valid = "SELECT indisvalid::text FROM pg_index WHERE indexrelid = to_regclass($1)";
        match self.texts(valid, &key).await?.pop().as_deref() {
            Some("true") => return Ok(()),
            Some(_) => self.client.batch_execute(&format!("DROP INDEX CONCURRENTLY {key}")).await?,
            None => {}
        }
        let name = self.names.quoted(&self.key());
        let make = format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON {whole} (message_id, date)");
        self.client.batch_execute(&make).await
    }

    /// The first midnight that is after all rows, and far enough ahead for the remaining steps.
    async fn boundary(&self) -> Result<String, Error> {
        let boundary = format!(
            "SELECT (date_trunc('day', greatest(now() + interval '6 hours', max(date)) AT TIME ZONE 'UTC') + interval '1 day')::text || '+00'
            FROM {} WHERE $1 <> ''",
            self.whole()
        );
        Ok(self.texts(&boundary, "x").await?.pop().unwrap_or_default())
    }

    /// Makes the server verify the boundary, which reads every row; others can write meanwhile.
    async fn bound(&self, boundary: &str) -> Result<(), Error> {
        let whole = self.whole();
        let add = self.opening.with(&format!(
            "{LOCK}; ALTER TABLE {whole} DROP CONSTRAINT IF EXISTS {BOUNDARY};
            ALTER TABLE {whole} ADD CONSTRAINT {BOUNDARY} CHECK (date < '{boundary}') NOT VALID; COMMIT"
        ));
        self.client.batch_execute(&add).await?;
        self.client
            .batch_execute(&format!("ALTER TABLE {whole} VALIDATE CONSTRAINT {BOUNDARY}"))
            .await
    }

    /// Makes the table the first part of a new one that takes over its name, its owner and its privileges.
    async fn swap(&self, boundary: &str) -> Result<(), Error> {
        let whole = self.whole();
        let bare = partition::undivided(self.table);
        let (part, renamed) = (self.names.of(&bare), self.names.quoted(&bare));
        let key = self.names.quoted(&self.key());
        let old_key = "SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'p'";
        let old_key = self.texts(old_key, &whole).await?.pop();
        let old_key = old_key
            .map_or(String::new(), |key| format!("ALTER TABLE {part} DROP CONSTRAINT {key};"));
        let grants = self.grants(&whole).await?.join("");
        let swap = self.opening.with(&format!(
            "{LOCK}; ALTER TABLE {whole} RENAME TO {renamed}; {old_key}
            ALTER TABLE {part} ADD PRIMARY KEY USING INDEX {key};
            CREATE TABLE {whole} (LIKE {part} INCLUDING DEFAULTS, PRIMARY KEY (message_id, date)) PARTITION BY RANGE (date); {grants}
            ALTER TABLE {whole} ATTACH PARTITION {part} FOR VALUES FROM (MINVALUE) TO ('{boundary}');
            ALTER TABLE {part} DROP CONSTRAINT {BOUNDARY}; COMMIT"
        ));
        self.client.batch_execute(&swap).await
    }

    /// Statements that copy the owner and the privileges of a table to the one of the same name that follows.
    async fn grants(&self, whole: &str) -> Result<Vec<String>, Error> {
        let grants = "SELECT format('ALTER TABLE %s OWNER TO %I; ', $1, pg_get_userbyid(relowner)) FROM pg_class
                WHERE oid = to_regclass($1) AND pg_get_userbyid(relowner) <> current_user
            UNION ALL SELECT format('GRANT %s ON %s TO %s%s; ', privilege_type, $1,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass($1) AND grantee <> relowner";
        self.texts(grants, whole).await
    }
}

/// Whether another session caused this error. Two that change the same entry of a catalogue get no code of their own.
fn is_in_the_way(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let code = error.code();
        *code == SqlState::LOCK_NOT_AVAILABLE
            || *code == SqlState::T_R_DEADLOCK_DETECTED
            || *code == SqlState::INTERNAL_ERROR && error.message().contains("concurrently")
    })
}

/// The constraint that limits the rows of a table while it is divided. It refuses later rows, so it must not stay.
const BOUNDARY: &str = "poa_boundary";

/// Removes the remains of an interrupted division. Call it with the maintenance lock held.
pub(crate) async fn clear(
    client: &Client,
    opening: &Opening,
    names: &Names,
    table: Table,
) -> Result<(), Error> {
    let whole = names.of(table.name());
    let left = "SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2";
    let params: Params<'_> = &[(&whole, Type::TEXT), (&BOUNDARY, Type::NAME)];
    if opening.query(client, left, params).await?.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        "`poa-server db partition` was interrupted; removing the constraint that it left on {whole}"
    );
    let drop = format!("{LOCK}; ALTER TABLE {whole} DROP CONSTRAINT IF EXISTS {BOUNDARY}; COMMIT");
    match client.batch_execute(&opening.with(&drop)).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!("cannot remove the constraint: {}", text(&error));
            client.batch_execute("ROLLBACK").await
        }
    }
}
