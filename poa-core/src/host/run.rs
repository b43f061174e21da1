//! From what was built to what runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::start::{Built, BuiltHandler, BuiltReceiver, Common};
use super::{Engine, Host, HostBuilder, HostHandle, ReceiverState, Shared, StartError, Task};
use crate::activity::{ActivityMonitor, Journal, Watcher};
use crate::bus::{Acks, Bus, BusCounts, OpenLog};
use crate::delivery::{Delivery, Shedding, Turns};
use crate::handler::Services;
use crate::relay::Way;
use crate::status::StatusCell;
use crate::{BuildContext, DataType, DataTypes, HandlerContext, MemoryBudget, Timestamp};

impl HostBuilder {
    /// Spawns everything, once nothing can fail any more.
    pub(super) fn run(
        self,
        build: BuildContext,
        built: Built,
        log: Option<OpenLog>,
    ) -> Result<Host, StartError> {
        let stop_handlers = CancellationToken::new();
        let stop_receivers = CancellationToken::new();
        let bus = self.bus(&build, log.as_ref());
        let watcher = Arc::new(self.watcher(bus.clone(), &build.data_dir));
        let services = Arc::new(self.services(&build, &bus, &watcher));
        let receivers =
            self.subscribe(built.receivers, &services, log.as_ref(), &stop_receivers, &bus);
        let committer = log.map(|log| log.commit_for(bus.clone(), &self.telemetry));
        let committer =
            committer.transpose().map_err(StartError::Commit)?.map(|(ended, settling)| {
                tokio::spawn(settling.run());
                ended
            });
        let (receiver_status, receivers): (_, Vec<_>) =
            receivers.into_iter().map(spawn_receiver).unzip();
        let handlers = built.handlers.into_iter();
        let (handler_status, handlers) =
            handlers.map(|handler| self.spawn_handler(handler, &services, &stop_handlers)).unzip();
        let shared = Shared {
            bus,
            services,
            ready: AtomicBool::new(true),
            started_at: Timestamp::now(),
            ack: self.ack,
            engine: self.engine,
            handler_status,
            receiver_status,
            stop_handlers,
            stop_receivers,
        };
        Ok(Host {
            handle: HostHandle(Arc::new(shared)),
            committer,
            handlers,
            receivers: receivers.into_iter().flatten().collect(),
            monitor: tokio::spawn(async move { watcher.run().await }),
            limits: self.limits,
        })
    }

    fn bus(&self, build: &BuildContext, log: Option<&OpenLog>) -> Arc<Bus> {
        let counter = |name, help| self.telemetry.counter(name, help, &[]);
        let counts = BusCounts {
            unrouted: counter("unrouted_messages", "Messages of types nobody subscribed to"),
            repeated: counter("repeated_messages", "Messages taken before, by idempotency key"),
        };
        let types = build.data_types.clone();
        let acks = self.acks(&types);
        match log {
            Some(log) => Bus::on_log(types, acks, counts, self.idempotency, log),
            None => Bus::in_memory(types, acks, counts, self.idempotency),
        }
    }

    fn services(&self, build: &BuildContext, bus: &Arc<Bus>, watcher: &Arc<Watcher>) -> Services {
        Services {
            way: Way::Here(bus.clone()),
            activity: ActivityMonitor::of(watcher),
            authenticator: self.authenticator.clone(),
            data_types: build.data_types.clone(),
            memory: MemoryBudget::new(self.memory),
            telemetry: self.telemetry.clone(),
        }
    }

    /// Watches the agents; with a log, also those that were active before a restart.
    fn watcher(&self, bus: Arc<Bus>, data_dir: &Path) -> Watcher {
        let watcher = Watcher::new(bus, self.inactive_after);
        if self.engine == Engine::Memory {
            return watcher;
        }
        let path = data_dir.join("log").join("active-agents");
        match Journal::open(&path) {
            Ok((journal, active)) => watcher.remembering(journal, active),
            Err(error) => {
                let path = path.display();
                tracing::warn!("cannot tell from {path} which agents were active: {error}");
                watcher
            }
        }
    }

    pub(super) fn acks(&self, types: &DataTypes) -> Acks {
        let ack = |data_type: &DataType| self.ack_for.get(data_type.name()).unwrap_or(&self.ack);
        let by_type = types.iter().map(ack).copied().collect();
        Acks { by_type, delivered_within: self.delivered_within }
    }

    /// Gives every receiver its place, before any handler runs, so that no message finds nobody.
    fn subscribe(
        &self,
        receivers: Vec<BuiltReceiver>,
        services: &Services,
        log: Option<&OpenLog>,
        stopping: &CancellationToken,
        bus: &Arc<Bus>,
    ) -> Vec<(ReceiverState, Delivery)> {
        let common = Common {
            bus,
            telemetry: &self.telemetry,
            cursors: &log.map(|log| log.cursors().clone()).unwrap_or_default(),
            disk: log.map(OpenLog::disk_bytes),
            stopping,
            dead_letters: self.dead_letters.as_ref(),
            durable: self.engine == Engine::Log,
            activity: &services.activity,
            turns: Turns::default(),
        };
        receivers.into_iter().map(|receiver| receiver.subscribe(&common)).collect()
    }

    fn spawn_handler(
        &self,
        handler: BuiltHandler,
        services: &Arc<Services>,
        stop: &CancellationToken,
    ) -> (StatusCell, Task) {
        let name = handler.build.name.clone();
        let (shutdown, services) = (stop.child_token(), services.clone());
        let cx = HandlerContext { name: name.clone(), shutdown, services };
        let (cell, supervised) = handler.supervise(cx, self.start_timeout);
        (cell, Task { name: name.to_string(), task: tokio::spawn(supervised.run()) })
    }
}

/// Delivery has its task, and so has what it gives up, because delivery may be stuck.
fn spawn_receiver((state, delivery): (ReceiverState, Delivery)) -> (ReceiverState, Vec<Task>) {
    let task = |task| Task { name: state.name.clone(), task };
    let delivered = CancellationToken::new();
    let shedding = Shedding::of(&delivery).map(|shedding| shedding.run(delivered.clone()));
    let delivery = async move {
        let _delivered = delivered.drop_guard();
        delivery.run().await;
    };
    let mut tasks = vec![task(tokio::spawn(delivery))];
    tasks.extend(shedding.map(|shedding| task(tokio::spawn(shedding))));
    (state, tasks)
}
