//! Executors: they inspect a host and change it.

mod fault;
#[cfg(target_os = "linux")]
mod netlink;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;

pub use fault::{Fault, Faults};
#[cfg(target_os = "linux")]
pub use netlink::{Claim, Netlink, Preflight, Warning};
pub use record::Recorder;

use crate::operation::Operation;
use crate::seen::{Link, Seen};
use crate::{ContainerId, Error};

/// Looks at a host and makes sessions that change it.
#[async_trait]
pub trait Executor: fmt::Debug + Send + Sync {
    /// Looks at the host and into these containers. One that cannot be found is among [`Seen::missing`].
    ///
    /// # Errors
    /// When the host itself cannot be looked at.
    async fn look(&self, containers: &[ContainerId]) -> Result<Box<dyn Session>, Error>;

    /// Looks into every container that has an interface of ours, besides the host: for what is left of earlier runs.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    async fn look_everywhere(&self, known: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        self.look(known).await
    }

    /// The interfaces of the host that have one of these names.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    async fn find(&self, names: &[&str]) -> Result<BTreeMap<String, Link>, Error> {
        let mut host = self.look(&[]).await?.seen().host.clone();
        host.retain(|name, _| names.contains(&&**name));
        Ok(host)
    }

    /// The second octets of networks `10.B.0.0/16` that others on this host use.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    async fn taken(&self) -> Result<BTreeSet<u8>, Error> {
        Ok(self.look(&[]).await?.seen().taken.clone())
    }

    /// Ready when something on the host may have changed: an interface, a container. May never be.
    ///
    /// Cancel safe.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// A look, and the means to change what was seen.
#[async_trait]
pub trait Session: Send {
    /// The state that was seen. It does not follow the operations.
    fn seen(&self) -> &Seen;

    /// Does one operation. What is there already stays; what is to go and is not there is a success.
    ///
    /// Not cancel safe: the operation may be done in part. Whatever is left of it is found by the next look.
    ///
    /// # Errors
    /// When the host refuses. The text names the operation.
    async fn apply(&mut self, operation: &Operation) -> Result<(), Error>;

    /// Does operations one after the other, as [`apply`](Self::apply), up to the first that fails.
    ///
    /// Not cancel safe, as `apply`; but once this is dropped, no further operation begins.
    ///
    /// # Errors
    /// That of the operation that failed.
    async fn apply_all(&mut self, operations: &[Operation]) -> Result<(), Error> {
        for operation in operations {
            self.apply(operation).await?;
        }
        Ok(())
    }
}
