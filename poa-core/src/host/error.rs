//! The errors of starting a host and of changing a running one.

use std::sync::Arc;

use crate::{BoxError, InvalidDataType};

/// The reason why a host did not start. Everything that was built has been dropped.
///
/// See [`HostBuilder`](crate::HostBuilder) for an example.
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
        /// The name of the receiver.
        receiver: String,
        /// The data type it subscribes to.
        data_type: String,
    },
    /// An ack is set for a data type that the host does not accept.
    #[error("an ack is set for `{0}`, which is not among the host's data types; declare it there")]
    UnknownDataTypeInAck(String),
    /// The engine does not support this level of `ack`.
    #[error(
        "ack = \"{ack}\" is not supported by the engine `{engine}`; use an engine that stores messages, or a weaker ack"
    )]
    AckNotPossible {
        /// The name of the engine.
        engine: Arc<str>,
        /// The level.
        ack: &'static str,
    },
    /// The data directory cannot be created.
    #[error("cannot create the data directory {path}; is its parent writable?")]
    DataDir {
        /// The path of the directory.
        path: String,
        /// The cause.
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
        /// The cause.
        #[source]
        source: BoxError,
    },
}

/// The reason why a running host was not changed. Everything that ran before still runs.
///
/// See [`HostHandle`](crate::HostHandle) for an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A plugin of this role already has this name.
    #[error("{0}: a plugin of this name exists already; replace it, or choose another name")]
    DuplicateName(String),
    /// No plugin of this role has this name.
    #[error("{0}: there is no such plugin")]
    NoSuchPlugin(String),
    /// The plugin could not be built, or the engine could not be changed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}
