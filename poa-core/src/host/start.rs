//! Building what a host is made of, before anything runs.

use std::collections::HashSet;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{HostBuilder, ReceiverOptions, ReceiverState, StartError};
use crate::activity::ActivityMonitor;
use crate::bus::{Bus, Cursors};
use crate::data_type::TypeSet;
use crate::delivery::{Counts, Delivery, InHand, Recall, Turns, chain, endpoints, panic_message};
use crate::restart::Restarts;
use crate::status::{Role, StatusCell};
use crate::supervise::Supervised;
use crate::telemetry::Telemetry;
use crate::{
    BuildContext, BuildError, CustomHandler, DeadLetters, HandlerContext, HandlerFactory,
    PluginError, Receiver, ReceiverFactory, RestartPolicy,
};

/// Plugins that were built and do not run yet. Receivers come first, because dropping a handler frees its port last.
pub(super) struct Built {
    pub(super) receivers: Vec<BuiltReceiver>,
    pub(super) handlers: Vec<BuiltHandler>,
}

pub(super) struct BuiltHandler {
    pub(super) build: BuildContext,
    factory: HandlerFactory,
    handler: Box<dyn CustomHandler>,
}

pub(super) struct BuiltReceiver {
    build: BuildContext,
    factory: ReceiverFactory,
    options: ReceiverOptions,
    types: TypeSet,
    /// None when it was not available, and is not required.
    receiver: Option<Box<dyn Receiver>>,
    cell: StatusCell,
}

/// Refuses two plugins of one name.
pub(super) fn check_names(host: &HostBuilder) -> Result<(), StartError> {
    let handlers = host.handlers.iter().map(|(name, _)| format!("handlers.{name}"));
    let receivers = host.receivers.iter().map(|(name, ..)| format!("receivers.{name}"));
    let mut seen = HashSet::new();
    for name in handlers.chain(receivers) {
        if !seen.insert(name.clone()) {
            return Err(StartError::DuplicateName(name));
        }
    }
    Ok(())
}

/// Makes the data directory, for its owner alone.
pub(super) fn make_data_dir(path: &Path) -> Result<(), StartError> {
    poa_log::storage::make_dir(path).map_err(|source: io::Error| StartError::DataDir {
        path: path.display().to_string(),
        source,
    })
}

/// Builds every plugin. Dropping the result undoes it.
pub(super) async fn build_plugins(
    host: &mut HostBuilder,
    cx: &BuildContext,
) -> Result<Built, StartError> {
    let mut built = Built { receivers: Vec::new(), handlers: Vec::new() };
    for (name, options, factory) in std::mem::take(&mut host.receivers) {
        let types = type_set(&name, &options, cx)?;
        let build = BuildContext { name: name.as_str().into(), ..cx.clone() };
        let build = build.with_call_timeout(options.timeout.get());
        let cell = StatusCell::new(&name, Role::Receiver);
        let receiver = match bounded(host.start_timeout, async { factory(&build).await }).await {
            Ok(receiver) => Some(receiver),
            Err(BuildFailure::Unavailable(error)) if !options.required => {
                tracing::warn!(receiver = name, "{error} (retrying in the background)");
                cell.failed(&error.to_string());
                None
            }
            Err(failure) => return Err(failure.of(format!("receivers.{name}"))),
        };
        built.receivers.push(BuiltReceiver { build, factory, options, types, receiver, cell });
    }
    for (name, factory) in std::mem::take(&mut host.handlers) {
        let build = BuildContext { name: name.as_str().into(), ..cx.clone() };
        let handler = bounded(host.start_timeout, async { factory(&build).await })
            .await
            .map_err(|failure| failure.of(format!("handlers.{name}")))?;
        built.handlers.push(BuiltHandler { build, factory, handler });
    }
    Ok(built)
}

fn type_set(
    receiver: &str,
    options: &ReceiverOptions,
    cx: &BuildContext,
) -> Result<TypeSet, StartError> {
    let mut set = TypeSet::default();
    for name in &options.subscribe {
        let data_type = cx.data_types.get(name).ok_or_else(|| StartError::UnknownDataType {
            receiver: receiver.to_owned(),
            data_type: name.clone(),
        })?;
        set.insert(data_type);
    }
    Ok(set)
}

enum BuildFailure {
    Unavailable(PluginError),
    Failed(PluginError),
}

impl BuildFailure {
    fn of(self, plugin: String) -> StartError {
        let (Self::Unavailable(error) | Self::Failed(error)) = self;
        StartError::Plugin { plugin, source: error.into() }
    }
}

/// Builds a plugin within this time; a panic is an error like any other.
async fn bounded<T>(
    timeout: Duration,
    build: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildFailure> {
    let caught = AssertUnwindSafe(build).catch_unwind();
    match tokio::time::timeout(timeout, caught).await {
        Ok(Ok(Ok(plugin))) => Ok(plugin),
        Ok(Ok(Err(error @ BuildError::Unavailable(..)))) => {
            Err(BuildFailure::Unavailable(PluginError::new(chain(&error))))
        }
        Ok(Ok(Err(error))) => Err(BuildFailure::Failed(PluginError::new(chain(&error)))),
        Ok(Err(panic)) => {
            let message = format!("panicked while it was built: {}", panic_message(&*panic));
            Err(BuildFailure::Failed(PluginError::new(message)))
        }
        Err(_) => {
            let waited = humantime::format_duration(timeout);
            Err(BuildFailure::Unavailable(PluginError::new(format!("not built within {waited}"))))
        }
    }
}

/// What all receivers of a host have in common.
pub(super) struct Common<'a> {
    pub(super) bus: &'a Arc<Bus>,
    pub(super) telemetry: &'a Telemetry,
    pub(super) cursors: &'a Cursors,
    /// What the log has of the disk, in bytes, if there is a log.
    pub(super) disk: Option<u64>,
    pub(super) stopping: &'a CancellationToken,
    pub(super) dead_letters: Option<&'a Arc<dyn DeadLetters>>,
    /// Whether what a receiver left is given to it again after a crash.
    pub(super) durable: bool,
    pub(super) activity: &'a ActivityMonitor,
    pub(super) turns: Turns,
}

/// Replays that wait for a receiver; whoever asks for more waits too.
const REPLAYS: usize = 4;

impl BuiltReceiver {
    /// Gives the receiver its place in the bus.
    pub(super) fn subscribe(mut self, common: &Common<'_>) -> (ReceiverState, Delivery) {
        let name = self.build.name().to_owned();
        self.options.backlog = self.options.backlog.resolved(common.disk);
        let telemetry = common.telemetry;
        let counts = Counts::new(telemetry, &name);
        let reader = Arc::new(common.bus.subscribe(
            &name,
            self.types,
            &self.options,
            counts.of_reader(),
            common.cursors.get(&name),
        ));
        let labels = [("receiver", name.as_str())];
        let gauge = |what, help| telemetry.gauge(what, help, &labels);
        let (replay, replays) = mpsc::channel(REPLAYS);
        let in_hand = if common.durable {
            self.remember(&name, common.turns.clone())
        } else {
            InHand::default()
        };
        if let Some(receiver) = &self.receiver {
            self.cell.running(endpoints(|| receiver.endpoints()));
        }
        let state = ReceiverState {
            backlog_messages: gauge("receiver_backlog_messages", "Messages waiting"),
            backlog_bytes: gauge("receiver_backlog_bytes", "Bytes waiting"),
            cell: self.cell.clone(),
            reader: reader.clone(),
            counts: counts.clone(),
            name,
            replay,
        };
        let delivery = Delivery {
            reader,
            factory: self.factory,
            build: self.build,
            options: self.options,
            status: self.cell,
            counts,
            restarts: Restarts::new(RestartPolicy::default()),
            receiver: self.receiver,
            stopping: common.stopping.clone(),
            dead_letters: common.dead_letters.cloned(),
            in_hand,
            recall: Recall::new(common.activity.clone()),
            replays,
        };
        (state, delivery)
    }

    /// What the receiver had in hand when the last process ended.
    fn remember(&self, name: &str, turns: Turns) -> InHand {
        InHand::open(&self.build.data_dir.join("log"), name, turns).unwrap_or_else(|error| {
            tracing::warn!(receiver = name, "cannot remember what is in hand: {error}");
            InHand::default()
        })
    }
}

impl BuiltHandler {
    /// Puts the handler under a supervisor.
    pub(super) fn supervise(
        self,
        cx: HandlerContext,
        build_timeout: Duration,
    ) -> (StatusCell, Supervised) {
        let name = self.build.name().to_owned();
        let cell = StatusCell::new(&name, Role::Handler);
        cell.running(endpoints(|| self.handler.endpoints()));
        let labels = [("handler", name.as_str())];
        let help = "Times the handler was started anew";
        let supervised = Supervised {
            factory: self.factory,
            restarted: cx.telemetry().counter("handler_restarts", help, &labels),
            build: self.build,
            cx,
            status: cell.clone(),
            restarts: Restarts::new(RestartPolicy::default()),
            build_timeout,
            handler: Some(self.handler),
        };
        (cell, supervised)
    }
}
