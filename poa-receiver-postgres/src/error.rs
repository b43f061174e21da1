//! Errors of the database, and their cures.

use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::Arc;

use poa_core::{BoxError, BuildError, DeliveryError};
use tokio_postgres::Error;

use crate::table::{self, Table};

/// The reason why messages could not be stored. Names the server without its password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{server}: {cause}; {}", .why.cure())]
    Server { server: Arc<str>, why: Why, cause: String },
    #[error("{server} cannot hold the message")]
    Rejected { server: Arc<str>, items: Vec<usize>, source: BoxError },
    #[error("{server}: {what}")]
    Unusable { server: Arc<str>, what: String },
}

/// The meaning of a server error for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Unreachable,
    Lost,
    Starting,
    TooMany,
    Login,
    NoDatabase,
    Tls,
    Privilege,
    Timeout,
    Full,
    ReadOnly,
    Conflict,
    Changed,
    /// A table refuses every row.
    Refusing,
    /// The server refuses every row.
    UsedUp,
    Other,
}

/// The meaning of an error for the rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A row with this key exists already.
    Taken,
    /// A table or its schema is missing.
    NoTable,
    /// A part of a table is missing.
    NoPart,
    /// A row is the cause.
    Data,
    /// None of these: a retry over another connection may succeed.
    Later,
}

impl Verdict {
    pub(crate) fn of(error: &Error) -> Self {
        let Some(db) = error.as_db_error() else { return Self::Later };
        // This receiver writes nothing into the columns of others, so every row would be refused.
        let others_column = || db.column().is_some_and(|column| !table::is_own_column(column));
        match db.code().code() {
            "23505" => Self::Taken,
            "42P01" | "3F000" => Self::NoTable,
            // A constraint of the operator has the same code; only the place in the server's source distinguishes them, in any
            // language.
            "23514" if db.routine() == Some("ExecFindPartition") => Self::NoPart,
            // A column has an unexpected type, so every row would be refused.
            "22P03" | "22P04" => Self::Later,
            "23502" if others_column() => Self::Later,
            _ if refuses_values(error) => Self::Data,
            _ => Self::Later,
        }
    }
}

/// Whether the server refuses the content of a row: data exceptions, constraints, `WITH CHECK OPTION`, limits of the program, errors
/// raised by triggers.
pub(crate) fn refuses_values(error: &Error) -> bool {
    let classes = ["22", "23", "44", "54", "P0"];
    error.code().is_some_and(|code| classes.contains(&&code.code()[..2])) && !is_used_up(error)
}

/// The functions of the server that report that it has no transaction ids left until it is vacuumed. They share the code of rows that are too
/// large, so as above only the place in the server's source distinguishes them.
const USED_UP: [&str; 2] = ["GetNewTransactionId", "GetNewMultiXactId"];

/// Whether the server refuses every row until an administrator acts.
fn is_used_up(error: &Error) -> bool {
    error.as_db_error().and_then(|db| db.routine()).is_some_and(|at| USED_UP.contains(&at))
}

impl Why {
    fn of(error: &Error) -> Self {
        let Some(code) = error.code() else {
            return if is_tls(error) {
                Self::Tls
            } else if error.is_closed() || error.to_string().contains("communicating") {
                Self::Lost
            } else {
                Self::Unreachable
            };
        };
        match code.code() {
            _ if is_used_up(error) => Self::UsedUp,
            "57P03" => Self::Starting,
            "53300" => Self::TooMany,
            "53100" => Self::Full,
            "57014" | "55P03" => Self::Timeout,
            "25006" => Self::ReadOnly,
            "42501" => Self::Privilege,
            "3D000" => Self::NoDatabase,
            "40001" | "40P01" | "23505" => Self::Conflict,
            "22P03" | "22P04" | "23502" => Self::Changed,
            code if code.starts_with("28") => Self::Login,
            code if code.starts_with("08") || code.starts_with("57P") => Self::Lost,
            code if code.starts_with("42") || code.starts_with("3F") => Self::Changed,
            _ => Self::Other,
        }
    }

    const fn cure(self) -> &'static str {
        match self {
            Self::Unreachable => "is the server running, and is `url` right?",
            Self::Lost => "the connection was lost and will be restored",
            Self::Starting => "the server is starting or stopping",
            Self::TooMany => "raise `max_connections` of the server, or close others",
            Self::Login => "check user and password in `url`, and pg_hba.conf of the server",
            Self::NoDatabase => "create the database with `createdb`, or name another in `url`",
            Self::Tls => {
                "check `sslmode`, `sslrootcert`, `sslcert` and `sslkey` in `url`, and the certificate of the server"
            }
            Self::Privilege => {
                "grant the user CREATE on the schema, and SELECT, INSERT and UPDATE on the tables"
            }
            Self::Timeout => "raise `statement_timeout`, or end what holds the tables locked",
            Self::Full => "free space on the disk of the server",
            Self::ReadOnly => {
                "name the primary server in `url`, or add target_session_attrs=read-write"
            }
            Self::Conflict => "another transaction conflicted with this one",
            Self::Changed => {
                "if tables were changed by hand, change them back, or name another `table_prefix` so that new ones are created"
            }
            Self::Refusing => {
                "the messages wait, because the table seems to be at fault; change the constraint, index, column or trigger that refuses them"
            }
            Self::UsedUp => {
                "the server is out of transaction ids; the messages wait until every database of it is vacuumed, see its log for what holds that up"
            }
            Self::Other => "see the log of the server",
        }
    }
}

/// Whether the two ends cannot agree on TLS. A server that stops during the handshake has not refused it.
fn is_tls(error: &Error) -> bool {
    let tls = error.to_string().contains("TLS");
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    tls && source.is_none_or(|io| io.get_ref().is_some() && io.kind() != ErrorKind::UnexpectedEof)
}

/// The text of an error, without its own kind if the cause says more.
pub(crate) fn text(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", error.message(), error.code().code());
    }
    let Some(mut cause) = error.source() else { return error.to_string() };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("{error}: {cause}")
}

impl StoreError {
    pub(crate) fn new(server: &Arc<str>, error: &Error) -> Self {
        Self::Server { server: server.clone(), why: Why::of(error), cause: text(error) }
    }

    /// All of this many rows were refused.
    pub(crate) fn refusing(server: &Arc<str>, table: Table, rows: usize, error: &Error) -> Self {
        let (table, error) = (table.name(), text(error));
        let cause = format!("the last {rows} rows for `{table}` were all refused: {error}");
        Self::Server { server: server.clone(), why: Why::Refusing, cause }
    }
}

impl From<StoreError> for DeliveryError {
    /// Only the content of a message makes an error permanent. An operator can fix every other cause, and the fixed database should get
    /// the messages.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Rejected { ref items, .. } => Self::permanent_for(items.clone(), error),
            error => Self::transient(error),
        }
    }
}

impl From<StoreError> for BuildError {
    /// The cause lies outside of the host, and must not keep its other receivers from starting.
    fn from(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }
}
