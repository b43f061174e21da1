//! Errors that keep a server from running.

use std::error::Error;
use std::fmt;

use poa_auth::OpenError;
use poa_core::{BuildError, StartError};

use crate::Problems;

/// The reason why a server does not run. Each text, with its causes, names the thing, the cause and the cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration has problems.
    #[error("{0}")]
    Config(Problems),
    /// The admin listener cannot listen.
    #[error("admin")]
    Admin(#[source] BuildError),
    /// The users and their secrets cannot be read.
    #[error("auth")]
    Auth(#[source] OpenError),
    /// The store of dead letters cannot be opened.
    #[error("dead letters")]
    DeadLetters(#[source] poa_dead_letters::OpenError),
    /// The traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] poa_traces::StartError),
    /// The host does not start.
    #[error(transparent)]
    Host(#[from] StartError),
}

impl ServerError {
    /// The exit code of a program that ends with this error: 2 for problems of the configuration, 1 for
    /// everything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Config(_)) { 2 } else { 1 }
    }
}

/// Shows an error and all its causes on one line.
#[derive(Debug)]
pub struct Chain<'e>(pub &'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
