//! Why a host does not start, and why a running one does not change.

use std::sync::Arc;

use crate::{BoxError, InvalidDataType};

/// Why a host did not start. Whatever had been built is gone again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The list of data types is not valid.
    #[error("the list of data types is not valid")]
    DataTypes(#[from] InvalidDataType),
    /// No engine was given.
    #[error("the host has no engine; set one with `HostBuilder::engine`")]
    NoEngine,
    /// Two plugins of the same role have the same name.
    #[error("{0}: there are two plugins of this name; rename one")]
    DuplicateName(String),
    /// A receiver subscribes to a data type that the host does not accept.
    #[error(
        "receivers.{receiver}: `{data_type}` is not among the host's data types; declare it there"
    )]
    UnknownDataType {
        /// The receiver.
        receiver: String,
        /// What it subscribes to.
        data_type: String,
    },
    /// An ack is set for a data type that the host does not accept.
    #[error("an ack is set for `{0}`, which is not among the host's data types; declare it there")]
    UnknownDataTypeInAck(String),
    /// This engine cannot give the promise that `ack` makes.
    #[error(
        "ack = \"{ack}\" is more than the engine `{engine}` can promise; use an engine that stores messages, or a weaker ack"
    )]
    AckNotPossible {
        /// The engine.
        engine: Arc<str>,
        /// The promise.
        ack: &'static str,
    },
    /// The data directory cannot be made.
    #[error("cannot create the data directory {path}; is its parent writable?")]
    DataDir {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The work of [`HostBuilder::prepare`](crate::HostBuilder::prepare) failed.
    #[error("the host could not be prepared")]
    Prepare(#[source] BoxError),
    /// The engine or another plugin could not be built or started.
    #[error("{plugin}")]
    Plugin {
        /// Its role and name: `receivers.store`, `bus.log`.
        plugin: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

/// Why a running host was not changed. What ran before runs on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A plugin of this role has this name already.
    #[error("{0}: there is a plugin of this name already; replace it, or choose another name")]
    DuplicateName(String),
    /// No plugin of this role has this name.
    #[error("{0}: there is no such plugin")]
    NoSuchPlugin(String),
    /// The plugin could not be built, or the engine not changed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}
