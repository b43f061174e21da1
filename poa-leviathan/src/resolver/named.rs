use std::path::PathBuf;

use async_trait::async_trait;

use super::{Namespace, Resolver, not_found};
use crate::{ContainerId, Error};

/// Containers are the network namespaces that `ip netns add` made.
#[derive(Clone, Debug)]
pub struct NamedNamespaces {
    directory: PathBuf,
}

impl Default for NamedNamespaces {
    fn default() -> Self {
        Self::new("/run/netns")
    }
}

impl NamedNamespaces {
    /// Those in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

#[async_trait]
impl Resolver for NamedNamespaces {
    async fn namespace(&self, container: &ContainerId) -> Result<Namespace, Error> {
        let path = self.directory.join(container.as_str());
        let hint =
            || format!("no namespace {}; make it with `ip netns add {container}`", path.display());
        // A plain file is what is left of a namespace whose mount is gone.
        let namespace = Namespace::open(&path).map_err(|_| not_found(container, hint()))?;
        let is_mounted = std::fs::metadata(&self.directory).is_ok_and(|directory| {
            std::os::unix::fs::MetadataExt::dev(&directory) != namespace.id().0
        });
        if is_mounted { Ok(namespace) } else { Err(not_found(container, hint())) }
    }

    async fn list(&self) -> Vec<ContainerId> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| ContainerId::new(name).ok()).collect()
    }
}
