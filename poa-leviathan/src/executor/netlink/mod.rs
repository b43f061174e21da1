//! The kernel, by rtnetlink. The calls block, but only for as long as the kernel works: it answers a request before the call that sends it
//! returns. They run on the blocking threads of tokio.

mod apply;
mod claim;
mod look;
mod message;
mod preflight;
mod socket;
mod watch;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio_util::sync::CancellationToken;

pub use claim::Claim;
pub use preflight::{Preflight, Warning};

use self::socket::Rtnl;
use self::watch::Watch;
use super::{Executor, Session};
use crate::operation::Operation;
use crate::resolver::{Namespace, Resolver};
use crate::seen::Seen;
use crate::{Code, ContainerId, Error};

/// Changes the network namespace that this process is in, and those of containers that a resolver finds.
#[derive(Debug)]
pub struct Netlink {
    host: String,
    resolver: Arc<dyn Resolver>,
    writes: Arc<AtomicU64>,
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
        Self { host: host.to_owned(), resolver, writes: Arc::default(), watch }
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
        let (host, writes) = (self.host.clone(), self.writes.clone());
        let looking = tokio::task::spawn_blocking(move || Kernel::look(host, resolved, &writes));
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

struct NetlinkSession {
    kernel: Arc<Mutex<Kernel>>,
    seen: Seen,
}

#[async_trait]
impl Session for NetlinkSession {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    async fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        self.apply_all(std::slice::from_ref(operation)).await
    }

    /// All of them on one thread: a hand-over to another one takes as long as a request to the kernel.
    async fn apply_all(&mut self, operations: &[Operation]) -> Result<(), Error> {
        let operations: Vec<Operation> =
            operations.iter().filter(|operation| !operation.is_look()).cloned().collect();
        if operations.is_empty() {
            return Ok(());
        }
        let kernel = self.kernel.clone();
        // The thread continues when this future is dropped, at its deadline: then it begins no further operation, which would undo a rollback.
        let dropped = CancellationToken::new();
        let _guard = dropped.clone().drop_guard();
        let applying = tokio::task::spawn_blocking(move || {
            let mut kernel = kernel.lock();
            let mut due = operations.iter().take_while(|_| !dropped.is_cancelled());
            due.try_for_each(|operation| kernel.apply(operation))
        });
        applying.await.map_err(ended)?
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
    fn look(
        id: String,
        resolved: Resolved,
        writes: &Arc<AtomicU64>,
    ) -> Result<(Self, Seen), Error> {
        let cannot = |error| Error::internal(format!("cannot open a netlink socket: {error}"));
        let host = Rtnl::open(writes.clone()).map_err(cannot)?;
        let (inside, failed) = enter(resolved.found, writes)?;
        let mut kernel = Self { id, host, inside };
        let mut seen = kernel.see()?;
        seen.missing.extend(resolved.missing);
        seen.missing.extend(failed);
        Ok((kernel, seen))
    }

    fn space(&mut self, container: &ContainerId) -> Result<&mut Space, Error> {
        let space = self.inside.get_mut(container);
        space.ok_or_else(|| crate::resolver::not_found(container, "it was not looked into"))
    }
}

type Entered = (BTreeMap<ContainerId, Space>, BTreeMap<ContainerId, Error>);

/// Opens a socket in each namespace. A socket belongs to the namespace that its thread is in when it is made, and a thread that moved must
/// not be used for anything else: so a thread of its own does it, and ends.
fn enter(
    namespaces: BTreeMap<ContainerId, Namespace>,
    writes: &Arc<AtomicU64>,
) -> Result<Entered, Error> {
    if namespaces.is_empty() {
        return Ok(Entered::default());
    }
    let writes = writes.clone();
    let thread = std::thread::Builder::new().name("leviathan-setns".to_owned());
    let thread = thread.spawn(move || {
        let (mut entered, mut failed) = Entered::default();
        for (container, namespace) in namespaces {
            match enter_one(&namespace, writes.clone()) {
                Ok(rtnl) => drop(entered.insert(container, Space { rtnl, namespace })),
                Err(error) => {
                    let why = format!("its network namespace cannot be entered: {error}");
                    let error = crate::resolver::not_found(&container, why);
                    failed.insert(container, error);
                }
            }
        }
        (entered, failed)
    });
    let thread =
        thread.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))?;
    thread.join().map_err(|_| Error::internal("a thread that enters namespaces panicked"))
}

fn enter_one(namespace: &Namespace, writes: Arc<AtomicU64>) -> std::io::Result<Rtnl> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Rtnl::open(writes)
}
