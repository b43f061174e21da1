//! The commands that act on data.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The place of the data.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The data directory of the server; the default is the one in the configuration
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: User,
}

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Adds a user, and prints the password if it is generated
    Add {
        /// The name; generated if missing
        name: Option<String>,
        /// A file that holds the password; generated if missing
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The only agent the user may speak for; without it, the user may speak for every agent
        #[arg(long, visible_alias = "agent", value_name = "ID")]
        agent_id: Option<String>,
    },
    /// Sets the password of a user, and prints it if it is generated; the tokens of the user are no longer valid
    Passwd {
        /// The name
        name: String,
        /// A file that holds the password; generated if missing
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Lists all users
    List,
    /// Lists the valid tokens of a user, or of all users
    Tokens {
        /// The name
        name: Option<String>,
    },
    /// Revokes every token of a user, or one token; they are refused at once, and the user can log in again
    #[group(required = true, multiple = false)]
    Revoke {
        /// The name of the user whose tokens are revoked
        name: Option<String>,
        /// The id of one token, as `tokens` lists it
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        token: Option<String>,
    },
    /// Stops a user from logging in and sending
    Ban {
        /// The name
        name: String,
    },
    /// Lifts a ban
    Unban {
        /// The name
        name: String,
    },
    /// Removes a user
    #[command(alias = "delete")]
    Remove {
        /// The name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DlqArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Dlq,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Lists messages that could not be delivered
    #[command(alias = "ls")]
    List {
        /// Only those of this receiver
        #[arg(long, value_name = "NAME")]
        receiver: Option<String>,
    },
    /// Shows one message with its data, as JSON
    Show {
        /// Its number in the list
        id: i64,
        /// Only the data, byte for byte as the agent sent it
        #[arg(long)]
        raw: bool,
    },
    /// Delivers messages again: within a second if the server runs, else after its next start
    Replay(Letters),
    /// Removes messages for good
    #[command(aliases = ["drop", "delete"])]
    Remove(Letters),
}

/// A choice of dead letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Letters {
    /// Their numbers in the list
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<i64>,
    /// Those of this receiver
    #[arg(long, value_name = "NAME")]
    pub(crate) receiver: Option<String>,
    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Rewrites SQLite files so that they take no more space than their rows need; the server must be stopped
    Compact {
        #[command(flatten)]
        place: Place,
        /// The files; all in the data directory if missing
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Divides the tables of a PostgreSQL receiver by time while the server runs; can be interrupted and run again
    Partition {
        /// The name of the receiver: the `x` of [receivers.x]
        receiver: String,
    },
}
