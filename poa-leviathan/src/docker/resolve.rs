//! Docker as a resolver.

use async_trait::async_trait;

use super::Docker;
use super::inspect::short;
use crate::resolver::{Namespace, Resolver, not_found};
use crate::{ContainerId, Error};

#[async_trait]
impl Resolver for Docker {
    async fn namespace(&self, container: &ContainerId) -> Result<Namespace, Error> {
        let found = self.inspect(container.as_str()).await?;
        let found = found.ok_or_else(|| not_found(container, "Docker has none of this name"))?;
        let stopped =
            || not_found(container, format!("it does not run; `docker start {container}`"));
        let pid = found.pid().ok_or_else(stopped)?;
        let namespace = Namespace::open(format!("/proc/{pid}/ns/net"))
            .map_err(|error| not_found(container, format!("process {pid}: {error}")))?;
        if is_of_the_host(&namespace) {
            let why = "it shares the network of the host; start it with `--net=none`";
            return Err(not_found(container, why));
        }
        Ok(namespace)
    }

    async fn list(&self) -> Vec<ContainerId> {
        match self.running().await {
            Ok(ids) => ids.iter().filter_map(|id| ContainerId::new(short(id)).ok()).collect(),
            Err(error) => {
                tracing::warn!("{error}");
                Vec::new()
            }
        }
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Whether a namespace is the one that bridges are made in: the inner ends of wires would become interfaces of the host.
fn is_of_the_host(namespace: &Namespace) -> bool {
    Namespace::open("/proc/self/ns/net").is_ok_and(|own| own.id() == namespace.id())
}
