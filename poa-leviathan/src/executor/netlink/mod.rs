//! The kernel, by rtnetlink. The calls block, but only for as long as the kernel works: it answers a request before the call that sends it
//! returns. They run on the blocking threads of tokio.

mod apply;
mod claim;
mod look;
mod message;
mod preflight;
mod socket;
mod steps;
mod visit;
mod visitors;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

pub use claim::Claim;
pub use preflight::{Preflight, Warning};

use self::socket::Rtnl;
use self::visitors::Visitors;
use self::watch::Watch;
use super::{Executor, Session};
use crate::operation::Operation;
use crate::resolver::{Namespace, Resolver};
use crate::seen::{Link, Seen};
use crate::{Code, ContainerId, Error};

/// So many sockets are closed in passing.
const MANY: usize = 16;

/// Changes the network namespace that this process is in, and those of containers that a resolver finds.
#[derive(Debug)]
pub struct Netlink {
    host: String,
    resolver: Arc<dyn Resolver>,
    writes: Arc<AtomicU64>,
    visitors: Arc<Visitors>,
    watch: Option<Watch>,
}

impl Netlink {
    /// For the host of this id. Must be called inside a tokio runtime if changes are to be noticed at once.
    #[must_use]
    pub fn new(host: &str, resolver: Arc<dyn Resolver>) -> Self {
        let watch = match Watch::new() {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(
                    "changes of interfaces are noticed late: cannot listen to the kernel: {error}"
                );
                None
            }
        };
        Self {
            host: host.to_owned(),
            resolver,
            writes: Arc::default(),
            visitors: Arc::default(),
            watch,
        }
    }

    /// How many requests that change something were sent to the kernel so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Fails when nothing can be told about any container: those that run must not be taken for missing.
    async fn resolve(&self, containers: &[ContainerId]) -> Result<Resolved, Error> {
        let mut resolved = Resolved::default();
        for container in containers {
            match self.resolver.namespace(container).await {
                Ok(namespace) => drop(resolved.found.insert(container.clone(), namespace)),
                Err(error) if error.code() == Code::DockerUnavailable => return Err(error),
                Err(error) => drop(resolved.missing.insert(container.clone(), error)),
            }
        }
        Ok(resolved)
    }
}

#[derive(Default)]
struct Resolved {
    found: BTreeMap<ContainerId, Namespace>,
    missing: BTreeMap<ContainerId, Error>,
}

#[async_trait]
impl Executor for Netlink {
    async fn look(&self, containers: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        let resolved = self.resolve(containers).await?;
        let (host, writes, visitors) =
            (self.host.clone(), self.writes.clone(), self.visitors.clone());
        let look = move || Kernel::look(host, resolved, &writes, &visitors);
        let looking = tokio::task::spawn_blocking(look);
        let (kernel, seen) = looking.await.map_err(ended)??;
        Ok(Box::new(NetlinkSession { kernel: Arc::new(Mutex::new(kernel)), seen }))
    }

    async fn look_everywhere(&self, known: &[ContainerId]) -> Result<Box<dyn Session>, Error> {
        let mut containers = known.to_vec();
        containers.extend(self.resolver.list().await);
        containers.sort();
        containers.dedup();
        self.look(&containers).await
    }

    async fn find(&self, names: &[&str]) -> Result<BTreeMap<String, Link>, Error> {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let writes = self.writes.clone();
        let finding = tokio::task::spawn_blocking(move || {
            let mut host = open(&writes)?;
            look::find(&mut host, &names).map_err(|error| look::failed("the host", &error))
        });
        finding.await.map_err(ended)?
    }

    async fn changed(&self) {
        let host = async {
            match &self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = host => {}
            () = self.resolver.changed() => {}
        }
    }
}

fn ended(error: tokio::task::JoinError) -> Error {
    Error::internal(format!("a thread that talks to the kernel ended: {error}"))
}

fn open(writes: &Arc<AtomicU64>) -> Result<Rtnl, Error> {
    let cannot = |error| Error::internal(format!("cannot open a netlink socket: {error}"));
    Rtnl::open(writes.clone()).map_err(cannot)
}

struct NetlinkSession {
    kernel: Arc<Mutex<Kernel>>,
    seen: Seen,
}

/// The sockets of many containers are closed in the background.
impl Drop for NetlinkSession {
    fn drop(&mut self) {
        let is_large = self.seen.inside.len() > MANY;
        if let (true, Ok(runtime)) = (is_large, tokio::runtime::Handle::try_current()) {
            let kernel = self.kernel.clone();
            runtime.spawn_blocking(move || drop(kernel));
        }
    }
}

#[async_trait]
impl Session for NetlinkSession {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        self.apply_all(std::slice::from_ref(operation)).await
    }

    async fn apply_all(&mut self, operations: &[Operation]) -> Result<(), Error> {
        let changes = operations.iter().filter(|operation| !operation.is_look());
        let changes: Vec<Operation> = changes.cloned().collect();
        if changes.is_empty() {
            return Ok(());
        }
        let kernel = self.kernel.clone();
        steps::take(changes, move |operation| kernel.lock().apply(&operation)).await
    }
}

/// Sockets in the host and in containers. It owns them as long as a session lasts: a namespace is not kept alive by this program.
struct Kernel {
    id: String,
    host: Rtnl,
    inside: BTreeMap<ContainerId, Space>,
}

struct Space {
    rtnl: Rtnl,
    namespace: Namespace,
}

impl Kernel {
    /// Looks at the host while other threads look into the containers.
    fn look(
        id: String,
        resolved: Resolved,
        writes: &Arc<AtomicU64>,
        visitors: &Visitors,
    ) -> Result<(Self, Seen), Error> {
        let mut host = open(writes)?;
        let look = || look::host(&mut host);
        let (seen, visited) = visit::while_looking(visitors, resolved.found, writes, look);
        let (mut seen, mut inside) = (seen?, BTreeMap::new());
        seen.missing.extend(resolved.missing);
        for (container, visited) in visited? {
            match visited {
                Ok((space, found)) => {
                    seen.inside.insert(container.clone(), found);
                    inside.insert(container, space);
                }
                Err(error) => drop(seen.missing.insert(container, error)),
            }
        }
        Ok((Self { id, host, inside }, seen))
    }

    fn space(&mut self, container: &ContainerId) -> Result<&mut Space, Error> {
        let space = self.inside.get_mut(container);
        space.ok_or_else(|| crate::resolver::not_found(container, "it was not looked into"))
    }
}
