//! The gateway: nodes on one side, an engine on the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::RwLock;
use poa_core::HandlerContext;
use poa_gilmour::engine::State;
use poa_gilmour::{Engine, Ident, Subscription};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::Config;
use crate::api::Refusal;
use crate::bus::Bus;
use crate::caller::{CallRules, Caller};
use crate::definition::{Definition, Rules};
use crate::exchange::{Exchange, Room};
use crate::node::{Node, Status};
use crate::store::Store;
use crate::traffic::Topics;
use crate::watch::Health;

/// How many nodes are asked at once whether they are healthy.
const CHECKS: usize = 32;
/// How long to wait before a subscription of the gateway itself is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) cx: HandlerContext,
    pub(crate) bus: Arc<Bus>,
    pub(crate) checks: Semaphore,
    pub(crate) rules: Rules,
    pub(crate) topics: Arc<Topics>,
    call_rules: CallRules,
    nodes: RwLock<HashMap<String, Arc<Node>>>,
    store: Store,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Gateway {
    pub(crate) fn new(
        config: Config,
        engine: Arc<dyn Engine>,
        cx: HandlerContext,
        store: Store,
        bus: Bus,
    ) -> Arc<Self> {
        let most = usize::try_from(config.nodes.answer.get()).unwrap_or(usize::MAX);
        let call_rules = CallRules {
            keep_success_codes: config.keep_success_codes,
            room: Room { most, memory: Some(cx.memory().clone()) },
            calls: config.nodes.calls,
        };
        let rules =
            Rules { allow_remote: config.allow_remote_nodes, handlers: config.nodes.handlers };
        Arc::new(Self {
            engine,
            cx,
            bus: Arc::new(bus),
            checks: Semaphore::new(CHECKS),
            rules,
            topics: Arc::default(),
            call_rules,
            nodes: RwLock::default(),
            store,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            config,
        })
    }

    /// Runs this until it ends or the gateway does.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Takes up the nodes that were registered before a restart, and subscribes what the gateway wants itself.
    pub(crate) fn start(self: &Arc<Self>, known: Vec<(String, Definition)>) {
        for (id, definition) in known {
            let node = self.node(id.clone(), definition);
            self.nodes.write().insert(id, node.clone());
            self.restore(node);
        }
        for slot in self.bus.slots() {
            let gateway = self.clone();
            self.spawn(async move {
                let subscribe = || gateway.engine.subscribe(slot.registration(&gateway));
                let _standing = gateway.insist("a slot of the bus", subscribe).await;
                std::future::pending().await
            });
        }
        if self.engine.name() != "memory" {
            let gateway = self.clone();
            self.spawn(async move { gateway.announce().await });
        }
    }

    /// Asks a node at once, as soon as its turn comes; then on its own schedule.
    fn restore(self: &Arc<Self>, node: Arc<Node>) {
        let gateway = self.clone();
        self.spawn(async move {
            let asked = async {
                if matches!(gateway.check(&node).await, Health::Good)
                    && let Err(error) = node.open(&*gateway.engine).await
                {
                    node.note(&error.to_string());
                }
            };
            tokio::select! {
                () = node.gone.cancelled() => return,
                () = asked => {}
            }
            gateway.watch(node, gateway.part_of_a_period());
        });
    }

    /// Subscribes, however long that takes.
    async fn insist<F>(&self, what: &str, subscribe: impl Fn() -> F) -> Subscription
    where
        F: Future<Output = Result<Subscription, poa_gilmour::engine::SubscribeError>>,
    {
        let mut told = false;
        loop {
            match subscribe().await {
                Ok(subscription) => return subscription,
                Err(error) if !told => {
                    tracing::warn!(
                        handler = self.cx.name(),
                        "cannot subscribe {what}, trying again: {error}"
                    );
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn announce(&self) {
        let ident = Ident::of_this_process();
        let _standing = self.insist("heartbeats", || self.engine.announce(&ident)).await;
        let _announced = Announced { engine: self.engine.clone(), ident };
        std::future::pending().await
    }

    pub(crate) fn engine_is_up(&self) -> bool {
        *self.engine.state().borrow() == State::Up
    }

    fn node(&self, id: String, definition: Definition) -> Arc<Node> {
        let exchange = Exchange::new(definition.target.clone());
        let caller = Caller::new(exchange, definition.legacy_body, &self.call_rules);
        Node::new(id, definition, caller, self.topics.clone())
    }

    /// The node of this id.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Node>, Refusal> {
        let node = self.nodes.read().get(id).cloned();
        node.ok_or_else(|| Refusal::not_found("there is no node of this id"))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = self.nodes.read().values().cloned().collect();
        nodes.sort_by(|one, other| one.agent.cmp(&other.agent));
        nodes
    }

    /// How many nodes are in each state.
    pub(crate) fn counted(&self) -> [(Status, usize); 3] {
        let nodes = self.nodes.read();
        Status::ALL
            .map(|status| (status, nodes.values().filter(|node| node.status() == status).count()))
    }

    /// Registers a node: healthy first, then everything subscribed, then it is there.
    pub(crate) async fn register(
        self: &Arc<Self>,
        definition: Definition,
    ) -> Result<Arc<Node>, Refusal> {
        if self.nodes.read().len() >= self.config.nodes.max {
            let text =
                format!("there are {} nodes already, which is the limit", self.config.nodes.max);
            return Err(Refusal::unavailable(&text));
        }
        let node = self.node(Uuid::new_v4().to_string(), definition);
        node.check_all(&*self.engine)?;
        match self.check(&node).await {
            Health::Good => {}
            Health::Bad(why) | Health::Refused(why) => {
                return Err(Refusal::new(
                    StatusCode::BAD_GATEWAY,
                    format!("the node is not healthy: {why}"),
                ));
            }
        }
        self.replace(&node).await;
        node.open(&*self.engine).await?;
        // Before it is stored: a registration that is dropped meanwhile is shown, watched and replaced like any other.
        self.nodes.write().insert(node.id.clone(), node.clone());
        self.watch(node.clone(), self.part_of_a_period());
        if let Err(error) = self.store.save(&node.id, &node.definition()).await {
            self.delete(&node).await?;
            return Err(not_kept(error));
        }
        Ok(node)
    }

    /// A program that registers again after a restart takes the place of what it was before: where nothing answered any more, and where it
    /// has the same name.
    async fn replace(&self, new: &Node) {
        let definition = new.definition();
        let is_before = |old: &Node| {
            let known = old.definition();
            let same_name = known.name.is_some() && known.name == definition.name;
            known.target == definition.target && (same_name || old.status() != Status::Ok)
        };
        let before: Vec<_> = self.all().into_iter().filter(|old| is_before(old)).collect();
        for old in before {
            tracing::info!(node = old.short_id(), by = new.short_id(), "node registered again");
            if let Err(refusal) = self.delete(&old).await {
                tracing::warn!(node = old.short_id(), "cannot forget a node: {}", refusal.text);
            }
        }
    }

    /// Asks a node that was given up, and takes it up again.
    pub(crate) async fn activate(self: &Arc<Self>, node: &Arc<Node>) -> Result<(), Refusal> {
        let before = node.status();
        match self.check(node).await {
            Health::Good => {}
            Health::Bad(why) | Health::Refused(why) => {
                return Err(Refusal::new(
                    StatusCode::BAD_GATEWAY,
                    format!("the node is not healthy: {why}"),
                ));
            }
        }
        node.open(&*self.engine).await?;
        if before == Status::Dirty {
            self.watch(node.clone(), self.part_of_a_period());
        }
        Ok(())
    }

    /// Deletes a node. It is not asked; calls that run are not disturbed.
    pub(crate) async fn delete(&self, node: &Arc<Node>) -> Result<(), Refusal> {
        node.gone.cancel();
        self.nodes.write().remove(&node.id);
        node.close(Status::Dirty, Some("it was deleted")).await;
        self.inactive(node);
        self.store.remove(&node.id).await.map_err(not_kept)
    }

    pub(crate) async fn keep(&self, node: &Node, definition: &Definition) -> Result<(), Refusal> {
        self.store.save(&node.id, definition).await.map_err(not_kept)
    }

    /// Ends everything; the engine keeps running for the plugins that share it.
    pub(crate) async fn end(&self) {
        self.end_now();
        self.tasks.close();
        self.tasks.wait().await;
        let nodes: Vec<_> = self.nodes.write().drain().map(|(_, node)| node).collect();
        for node in nodes {
            node.close(Status::Unavailable, Some("the gateway is stopping")).await;
        }
    }

    /// The same as far as it goes without waiting.
    pub(crate) fn end_now(&self) {
        self.stop.cancel();
    }
}

fn not_kept(error: String) -> Refusal {
    Refusal::internal(&format!("the registration cannot be stored: {error}"))
}

/// Takes an ident back when it is dropped.
struct Announced {
    engine: Arc<dyn Engine>,
    ident: Ident,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let (engine, ident) = (self.engine.clone(), self.ident.clone());
        // Where there is no runtime any more, there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { engine.withdraw(&ident).await });
        }
    }
}
