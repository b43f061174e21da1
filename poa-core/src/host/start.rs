//! Builds the parts of a host before anything runs.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::{HostBuilder, ReceiverOptions, StartError};
use crate::engine::TypeSet;
use crate::error::{Interrupted, chain, guarded};
use crate::plugin::Factory;
use crate::status::{Role, StatusCell};
use crate::{
    BuildContext, BuildError, CustomHandler, HandlerFactory, PluginError, Receiver,
    ReceiverFactory, files,
};

/// Plugins that were built and do not run yet. Receivers come first, so that dropping a handler frees its port last.
pub(super) struct Built {
    pub(super) receivers: Vec<BuiltReceiver>,
    pub(super) handlers: Vec<BuiltHandler>,
}

pub(super) struct BuiltHandler {
    pub(super) build: BuildContext,
    pub(super) factory: HandlerFactory,
    pub(super) handler: Box<dyn CustomHandler>,
}

pub(super) struct BuiltReceiver {
    pub(super) build: BuildContext,
    pub(super) factory: ReceiverFactory,
    pub(super) options: ReceiverOptions,
    pub(super) types: TypeSet,
    /// `None` if it was not available and is not required.
    pub(super) receiver: Option<Box<dyn Receiver>>,
    pub(super) cell: StatusCell,
}

/// Refuses two plugins of the same name.
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

/// Creates the data directory, accessible to its owner only.
pub(super) fn make_data_dir(path: &Path) -> Result<(), StartError> {
    files::make_private_dir(path)
        .map_err(|source| StartError::DataDir { path: path.display().to_string(), source })
}

/// Builds every plugin. Dropping the result undoes it.
pub(super) async fn build_plugins(
    host: &mut HostBuilder,
    cx: &BuildContext,
) -> Result<Built, StartError> {
    let mut built = Built { receivers: Vec::new(), handlers: Vec::new() };
    for (name, options, factory) in std::mem::take(&mut host.receivers) {
        let receiver = build_receiver(host.start_timeout, cx, &name, options, factory).await?;
        built.receivers.push(receiver);
    }
    for (name, factory) in std::mem::take(&mut host.handlers) {
        built.handlers.push(build_handler(host.start_timeout, cx, &name, factory).await?);
    }
    Ok(built)
}

pub(super) async fn build_handler(
    timeout: Duration,
    cx: &BuildContext,
    name: &str,
    factory: HandlerFactory,
) -> Result<BuiltHandler, StartError> {
    let build = cx.clone().with_name(name);
    let handler = build_within(timeout, &build, &factory)
        .await
        .map_err(|failure| failure.of(format!("handlers.{name}")))?;
    Ok(BuiltHandler { build, factory, handler })
}

pub(super) async fn build_receiver(
    timeout: Duration,
    cx: &BuildContext,
    name: &str,
    options: ReceiverOptions,
    factory: ReceiverFactory,
) -> Result<BuiltReceiver, StartError> {
    let types = type_set(name, &options, cx)?;
    let build = cx.clone().with_name(name).with_call_timeout(options.timeout.get());
    let cell = StatusCell::new(name, Role::Receiver);
    let receiver = match build_within(timeout, &build, &factory).await {
        Ok(receiver) => Some(receiver),
        Err(BuildFailure::Unavailable(error)) if !options.required => {
            tracing::warn!(receiver = name, "{error} (retrying in the background)");
            cell.failed(&error.to_string());
            None
        }
        Err(failure) => return Err(failure.of(format!("receivers.{name}"))),
    };
    Ok(BuiltReceiver { build, factory, options, types, receiver, cell })
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

pub(super) enum BuildFailure {
    Unavailable(PluginError),
    Failed(PluginError),
}

impl BuildFailure {
    pub(super) fn of(self, plugin: String) -> StartError {
        let (Self::Unavailable(error) | Self::Failed(error)) = self;
        StartError::Plugin { plugin, source: error.into() }
    }
}

impl From<BuildError> for BuildFailure {
    fn from(error: BuildError) -> Self {
        let text = PluginError::new(chain(&error));
        match error {
            BuildError::Unavailable(..) => Self::Unavailable(text),
            BuildError::Failed(..) => Self::Failed(text),
        }
    }
}

/// Builds a plugin within this time; a panic is treated as an error.
pub(super) async fn build_within<T: ?Sized>(
    timeout: Duration,
    cx: &BuildContext,
    factory: &Factory<T>,
) -> Result<Box<T>, BuildFailure> {
    match guarded(timeout, async { factory(cx).await }).await {
        Ok(built) => Ok(built?),
        Err(Interrupted::Panicked(message)) => {
            let message = format!("the plugin panicked while it was built: {message}");
            Err(BuildFailure::Failed(PluginError::new(message)))
        }
        Err(Interrupted::TimedOut(timeout)) => {
            let waited = humantime::format_duration(timeout);
            Err(BuildFailure::Unavailable(PluginError::new(format!(
                "the plugin was not built within {waited}"
            ))))
        }
    }
}
