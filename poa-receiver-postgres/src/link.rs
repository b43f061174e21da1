//! A configured connection: a session of the server if it is one, and configured per transaction if a pooler is in between.

mod greeting;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join3;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::{Connection, connect};
use crate::error::StoreError;
use crate::location::Location;
use crate::{passfile, tls};

/// The address of the server, and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) location: Location,
    /// The location as text.
    pub(crate) server: Arc<str>,
    pub(crate) statement_timeout: Duration,
}

/// An open connection.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) connection: Connection,
    pub(crate) opening: Opening,
}

/// The parameters of a statement, each with its type.
pub(crate) type Params<'p> = &'p [(&'p (dyn ToSql + Sync), Type)];

/// The statements that start a transaction on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    begin: String,
    /// Whether the connection is a session of the server, so that prepared statements and settings persist.
    pub(crate) is_session: bool,
}

impl Opening {
    /// The statements that start a transaction, followed by more of them.
    pub(crate) fn with(&self, more: &str) -> String {
        format!("{}; {more}", self.begin)
    }

    /// Starts a transaction.
    pub(crate) async fn begin(&self, client: &Client) -> Result<(), Error> {
        client.batch_execute(&self.begin).await
    }

    /// One statement in a transaction of its own, in one round trip.
    pub(crate) async fn query(
        &self,
        client: &Client,
        statement: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        let (begin, commit) = (self.begin(client), client.batch_execute("COMMIT"));
        // All three are sent before the first is answered. If one fails, the server treats COMMIT as ROLLBACK.
        let ((), rows, ()) =
            try_join3(begin, client.query_typed(statement, params), commit).await?;
        Ok(rows)
    }
}

impl Link {
    /// Connects.
    pub(crate) async fn open(target: &Target) -> Result<Self, StoreError> {
        let server = &target.server;
        let location = target.location.clone();
        let read = tokio::task::spawn_blocking(move || read_files(location)).await;
        let read = read.unwrap_or_else(|_| Err("the runtime is shutting down".to_owned()));
        let (location, tls) =
            read.map_err(|what| StoreError::Unusable { server: server.clone(), what })?;
        let failed = |error: Error| StoreError::new(server, &error);
        let (client, mut connection) = connect(&location, tls).await.map_err(failed)?;
        let opening = connection.drive(opening(&client, target)).await.map_err(failed)?;
        Ok(Self { client, connection, opening })
    }

    /// Closes it in order.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { client, connection, .. } = self;
        drop(client);
        connection.finish().await
    }
}

/// Reads the password and the certificates that are in files. Blocks.
fn read_files(mut location: Location) -> Result<(Location, MakeRustlsConnect), String> {
    if let (None, Some(passfile)) = (location.driver.get_password(), &location.passfile)
        && let Some(password) = passfile::find(passfile, &location.driver)
    {
        location.driver.password(password);
    }
    let tls = tls::connector(&location.tls)?;
    Ok((location, tls))
}

/// How long the server waits for a sign of life of this host, in seconds, before it sends a probe; the interval between probes; their
/// number.
///
/// A host that lost its power or its network sends nothing. Its transaction would stay open for two hours with the defaults of most
/// systems, and its rows would block the receiver that is given the same messages next.
const ALIVE: [(&str, u32); 3] =
    [("tcp_keepalives_idle", 10), ("tcp_keepalives_interval", 5), ("tcp_keepalives_count", 3)];
/// How long data from the server may stay unacknowledged, in milliseconds.
const ACKNOWLEDGED: (&str, u32) = ("tcp_user_timeout", 25_000);

/// Configures the connection. A pooler gives the next transaction to another connection of the server, and this one to another client; so
/// settings there last only for a transaction.
async fn opening(client: &Client, target: &Target) -> Result<Opening, Error> {
    let is_session = greeting::is_session(client).await?;
    let settings = settings(client, target, is_session).await?;
    let set = |local: &str| {
        let set = |(name, value): &(String, String)| format!("; SET {local}{name} = {value}");
        settings.iter().map(set).collect::<String>()
    };
    if is_session {
        client.batch_execute(&set("")).await?;
        return Ok(Opening { begin: "BEGIN".into(), is_session });
    }
    Ok(Opening { begin: format!("BEGIN{}", set("LOCAL ")), is_session })
}

/// The settings of a connection.
///
/// The host drops what was confirmed, so it must be durable by then, whatever the server's default. A limit on silence is set if there is
/// none or a longer one; a server that does not support it is left unchanged.
async fn settings(
    client: &Client,
    target: &Target,
    is_session: bool,
) -> Result<Vec<(String, String)>, Error> {
    let timeout = u32::try_from(target.statement_timeout.as_millis()).unwrap_or(u32::MAX);
    let mut settings = vec![
        ("timezone".to_owned(), "'UTC'".to_owned()),
        ("client_min_messages".to_owned(), "error".to_owned()),
        ("statement_timeout".to_owned(), timeout.to_string()),
    ];
    // Behind a pooler, the other end of the server's connection is the pooler.
    let of_session = ALIVE.into_iter().chain([ACKNOWLEDGED]).filter(|_| is_session);
    let bounds = of_session.chain([("idle_in_transaction_session_timeout", timeout)]);
    let bounds: Vec<_> = bounds.map(|(name, most)| format!("('{name}', {most})")).collect();
    let wanted = format!(
        "SELECT 'synchronous_commit', 'on' WHERE current_setting('synchronous_commit') = 'off' UNION ALL
        SELECT name, most::text FROM (VALUES {}) AS bound (name, most),
            LATERAL (SELECT setting FROM pg_settings WHERE pg_settings.name = bound.name OFFSET 0) AS now
            WHERE setting::bigint NOT BETWEEN 1 AND most",
        bounds.join(", ")
    );
    for row in client.query_typed(&wanted, &[]).await? {
        settings.push((row.try_get(0)?, row.try_get(1)?));
    }
    Ok(settings)
}
