//! The running thing: requests in, a host that follows.

mod ahead;
mod cens;
mod cins;
mod converge;
mod intent;
mod job;
mod locks;
mod members;
mod pool;
mod preview;
mod reconcile;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use job::{Failed, Job, Made, Report};
pub use pool::Containers;
pub use preview::Direction;

use self::locks::Locks;
use crate::executor::Executor;
use crate::model::{Model, Wiring};
use crate::store::{Store, StoreError, Unconfirmed};
use crate::{Code, ContainerId, Error};

/// How a [`Leviathan`] works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The one host id that requests may name.
    pub host: String,
    /// How CENs are wired.
    pub wiring: Wiring,
    /// The longest that a look or an operation may take.
    pub deadline: Duration,
    /// How often the host is compared with the model when nothing else calls for it.
    pub interval: Duration,
    /// Whether events are kept until they are confirmed.
    pub keep_events: bool,
    /// Whether a CEN that a pool joins gets a CIN of its name, if no CIN covers it.
    pub pool_cins: bool,
}

impl Default for Options {
    /// `host1`, always a bus, 30 s each, no events, no CINs of pools.
    fn default() -> Self {
        Self {
            host: "host1".to_owned(),
            wiring: Wiring::AlwaysBus,
            deadline: Duration::from_secs(30),
            interval: Duration::from_secs(30),
            keep_events: false,
            pool_cins: false,
        }
    }
}

/// The networks of a host. Clones share them.
///
/// Every method may be dropped before it is done: the work continues on a task of its own, until it is done or this is
/// [stopped](Running).
#[derive(Clone)]
pub struct Leviathan(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) executor: Arc<dyn Executor>,
    /// One writer at a time: an intent is checked, made durable and published in one go.
    store: Arc<tokio::sync::Mutex<Box<dyn Store>>>,
    model: watch::Sender<Arc<Model>>,
    /// The members of CENs on the host that do not run.
    missing: watch::Sender<BTreeSet<ContainerId>>,
    locks: Locks,
    /// Held while addresses change: the default route of a container is shared by its CINs.
    addressing: Arc<tokio::sync::Mutex<()>>,
    /// Starts containers, if that is possible.
    containers: Option<Arc<dyn Containers>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The sequence of the last event that was stored; moves whenever there are new ones.
    told: watch::Sender<i64>,
    nudge: Notify,
}

impl Leviathan {
    /// Reads the model. Spawns nothing, touches nothing. Blocks on the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        options: Options,
        executor: Arc<dyn Executor>,
        mut store: Box<dyn Store>,
    ) -> Result<Self, StoreError> {
        let model = store.load(options.wiring)?;
        let last = store.unconfirmed(usize::MAX)?.last().map_or(0, |event| event.sequence);
        Ok(Self(Arc::new(Inner {
            options,
            executor,
            store: Arc::new(tokio::sync::Mutex::new(store)),
            model: watch::Sender::new(Arc::new(model)),
            missing: watch::Sender::default(),
            locks: Locks::default(),
            addressing: Arc::default(),
            containers: None,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            told: watch::Sender::new(last),
            nudge: Notify::new(),
        })))
    }

    /// The same with a place where containers are started.
    ///
    /// # Panics
    /// When it was cloned or run already.
    #[must_use]
    pub fn with_containers(mut self, containers: Arc<dyn Containers>) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => inner.containers = Some(containers),
            None => panic!("with_containers was called after clone or run"),
        }
        self
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> Arc<Model> {
        self.0.model()
    }

    /// The model as it is and as it becomes. Several changes may show as one.
    #[must_use]
    pub fn models(&self) -> watch::Receiver<Arc<Model>> {
        self.0.model.subscribe()
    }

    /// The members of CENs on the host that did not run when they were looked for last.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<ContainerId> {
        self.0.missing.borrow().clone()
    }

    /// [`missing`](Self::missing) as it is and as it becomes.
    #[must_use]
    pub fn watch_missing(&self) -> watch::Receiver<BTreeSet<ContainerId>> {
        self.0.missing.subscribe()
    }

    /// The host id.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.options.host
    }

    /// Refuses another host than the one there is.
    ///
    /// # Errors
    /// `unknown_host`.
    pub fn check_host(&self, host: &str) -> Result<(), Error> {
        if host == self.0.options.host {
            return Ok(());
        }
        let why = format!("host not found: {host}; this is {}", self.0.options.host);
        Err(Error::new(Code::UnknownHost, why).with_details([host]))
    }

    /// Brings the host to where the model says it should be, whatever happened since the last run, and keeps it there until the result is
    /// dropped or closed.
    ///
    /// Returns when the first pass is done. Spawns tasks that end with the result.
    pub async fn run(&self) -> Running {
        let running = Running { inner: self.0.clone(), _guard: self.0.stop.clone().drop_guard() };
        self.0.recover().await;
        let inner = self.0.clone();
        self.0.spawn(async move { inner.watch_host().await });
        running
    }

    /// Compares the host with the model and repairs what differs. Returns when that is done.
    pub async fn reconcile(&self) {
        let inner = self.0.clone();
        let _ = self.0.spawn(async move { inner.reconcile(false).await }).await;
    }

    /// The sequence of the last event that was stored. Moves with each new one.
    #[must_use]
    pub fn told(&self) -> watch::Receiver<i64> {
        self.0.told.subscribe()
    }

    /// The oldest events that were not confirmed, at most `limit`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unconfirmed(&self, limit: usize) -> Result<Vec<Unconfirmed>, Error> {
        self.0.with_store(move |store| store.unconfirmed(limit)).await
    }

    /// Forgets events up to this sequence: they are where they should be.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn confirm(&self, up_to: i64) -> Result<(), Error> {
        self.0.with_store(move |store| store.confirm(up_to)).await
    }
}

/// Keeps the host as the model says. Dropped, everything that is under way ends where it is; the next start finishes it.
pub struct Running {
    inner: Arc<Inner>,
    _guard: DropGuard,
}

impl Running {
    /// Ends in order: begins nothing more, and waits for what is under way, but no longer than `patience`.
    pub async fn close(self, patience: Duration) {
        self.inner.tasks.close();
        self.inner.nudge.notify_waiters();
        let done = tokio::time::timeout(patience, self.inner.tasks.wait()).await;
        if done.is_err() {
            tracing::warn!("operations on networks were interrupted; the next start finishes them");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl fmt::Debug for Leviathan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leviathan").field("options", &self.0.options).finish_non_exhaustive()
    }
}
