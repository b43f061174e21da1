//! From a container id to the network namespace of that container.

mod fixed;
mod named;

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use async_trait::async_trait;

pub use fixed::FixedProcess;
pub use named::NamedNamespaces;

use crate::{Code, ContainerId, Error};

/// Finds network namespaces.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The namespace of a container.
    ///
    /// # Errors
    /// `unknown_container` when there is none of this name or it does not run; `docker_unavailable` when Docker does not answer.
    async fn namespace(&self, container: &ContainerId) -> Result<Namespace, Error>;

    /// Containers that exist, if that can be told.
    async fn list(&self) -> Vec<ContainerId> {
        Vec::new()
    }

    /// Ready when a container may have come or gone. May never be.
    ///
    /// Cancel safe.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// A network namespace that is held open.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    id: (u64, u64),
}

impl Namespace {
    /// Opens a file that stands for a namespace, such as `/run/netns/c1` or `/proc/17/ns/net`.
    ///
    /// # Errors
    /// When it cannot be opened, or is not on the file system of namespaces.
    pub fn open(path: impl AsRef<Path>) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let id = (metadata.dev(), metadata.ino());
        Ok(Self { file, id })
    }

    /// The identity of the namespace; unique while it is open.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

pub(crate) fn not_found(container: &ContainerId, why: impl fmt::Display) -> Error {
    let why = format!("container not found: {container}: {why}");
    Error::new(Code::UnknownContainer, why).with_details([container])
}
