use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Namespace, Resolver, not_found};
use crate::{ContainerId, Error};

/// Containers are processes whose ids are known.
#[derive(Clone, Debug, Default)]
pub struct FixedProcess {
    pids: BTreeMap<ContainerId, u32>,
}

impl FixedProcess {
    /// These containers.
    pub fn new(pids: impl IntoIterator<Item = (ContainerId, u32)>) -> Self {
        Self { pids: pids.into_iter().collect() }
    }
}

#[async_trait]
impl Resolver for FixedProcess {
    async fn namespace(&self, container: &ContainerId) -> Result<Namespace, Error> {
        let Some(pid) = self.pids.get(container) else {
            return Err(not_found(container, "no process is known for it"));
        };
        let path = format!("/proc/{pid}/ns/net");
        Namespace::open(path)
            .map_err(|error| not_found(container, format!("process {pid}: {error}")))
    }

    async fn list(&self) -> Vec<ContainerId> {
        self.pids.keys().cloned().collect()
    }
}
