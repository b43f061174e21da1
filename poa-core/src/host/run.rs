//! Runs the plugins that were built.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::parts::LockedParts;
use super::start::{Built, BuiltHandler};
use super::{Host, HostBuilder, HostHandle, Shared, StartError};
use crate::activity::{ActivityMonitor, Journal, Watcher};
use crate::bus::Bus;
use crate::delivery::Turns;
use crate::engine::Engine;
use crate::error::or_default;
use crate::handler::{Services, Way};
use crate::{BuildContext, MemoryBudget, Timestamp, files};

impl HostBuilder {
    /// Subscribes every receiver before any handler runs, so that no message is missed; then spawns everything.
    pub(super) async fn run(
        self,
        build: BuildContext,
        engine: Arc<dyn Engine>,
        built: Built,
    ) -> Result<Host, StartError> {
        let bus = Bus::new(engine.clone(), build.data_types.clone());
        let bus = bus.with_rates(self.rates).observed_by(&self.observers);
        let state_dir = state_dir(&*engine, &build.data_dir);
        let watcher = Arc::new(self.watcher(bus.clone(), state_dir.as_deref(), &built.handlers));
        let shared = Arc::new(self.shared(build, bus, &watcher, state_dir));
        let mut subscribed = Vec::new();
        for receiver in built.receivers {
            subscribed.push(shared.subscribe(receiver).await?);
        }
        if let Err(error) = engine.start().await {
            // Releases what the engine holds.
            engine.finish().await;
            let plugin = format!("bus.{}", shared.engine_kind);
            return Err(StartError::Plugin { plugin, source: error.into() });
        }
        {
            let mut parts = shared.parts.lock();
            parts.receivers.extend(subscribed.into_iter().map(super::parts::Subscribed::spawn));
            let handlers = built.handlers.into_iter();
            parts.handlers.extend(handlers.map(|handler| shared.spawn_handler(handler)));
        }
        Ok(Host {
            limits: self.limits,
            monitor: tokio::spawn(async move { watcher.run().await }),
            handle: HostHandle(shared),
        })
    }

    fn shared(
        &self,
        build: BuildContext,
        bus: Bus,
        watcher: &Arc<Watcher>,
        state_dir: Option<PathBuf>,
    ) -> Shared {
        Shared {
            services: Arc::new(self.services(&build, &bus, watcher)),
            bus,
            build,
            state_dir,
            turns: Turns::default(),
            dead_letters: self.dead_letters.clone(),
            start_timeout: self.start_timeout,
            stop_timeout: self.limits.handlers,
            ready: AtomicBool::new(true),
            started_at: Timestamp::now(),
            ack: self.ack,
            engine_kind: self.engine.as_ref().map_or_else(|| "".into(), |(kind, _)| kind.clone()),
            parts: LockedParts::default(),
            changes: tokio::sync::Mutex::new(()),
            stop_handlers: CancellationToken::new(),
            stop_receivers: CancellationToken::new(),
            last_call: CancellationToken::new(),
        }
    }

    fn services(&self, build: &BuildContext, bus: &Bus, watcher: &Arc<Watcher>) -> Services {
        Services {
            way: Way::Here(bus.clone()),
            activity: ActivityMonitor::of(watcher),
            authenticator: self.authenticator.clone(),
            data_types: build.data_types.clone(),
            memory: MemoryBudget::new(self.memory),
            telemetry: self.telemetry.clone(),
            observers: self.observers.clone(),
        }
    }

    /// Watches the agents: together with the other nodes if the engine spans machines; with another durable engine, including those that
    /// were active before a restart.
    fn watcher(&self, bus: Bus, state_dir: Option<&Path>, handlers: &[BuiltHandler]) -> Watcher {
        let store = bus.engine().shared_store();
        let watcher = Watcher::new(bus, self.inactive_after);
        for built in handlers {
            let timeout = or_default(|| built.handler.inactive_after());
            timeout.into_iter().for_each(|timeout| watcher.expect_timeout(timeout));
        }
        if let Some(store) = store {
            return watcher.sharing(store);
        }
        let Some(dir) = state_dir else { return watcher };
        let path = dir.join("active-agents");
        match Journal::open(&path) {
            Ok((journal, active)) => watcher.remembering(journal, active),
            Err(error) => {
                let path = path.display();
                tracing::warn!("cannot read the active agents from {path}: {error}");
                watcher
            }
        }
    }
}

/// The directory for state that must survive a crash of the process together with the messages, if they survive one.
fn state_dir(engine: &dyn Engine, data_dir: &Path) -> Option<PathBuf> {
    if !engine.capabilities().durable {
        return None;
    }
    let dir = data_dir.join("host");
    match files::make_private_dir(&dir) {
        Ok(()) => Some(dir),
        Err(error) => {
            tracing::warn!(
                "cannot create {}, messages in flight are not recorded: {error}",
                dir.display()
            );
            None
        }
    }
}
