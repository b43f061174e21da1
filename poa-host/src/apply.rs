//! Changes a running host step by step, and undoes all of it when a step fails.

use std::error::Error;
use std::io;

use poa_core::{ChangeError, HandlerFactory, HostHandle, ReceiverFactory, ReceiverOptions};
use poa_http::Listeners;

use crate::plan::{Change, Plan, Step};
use crate::{Chain, Config};

/// Changes the host from one configuration to another.
pub(crate) struct Applying<'a> {
    pub(crate) host: &'a HostHandle,
    pub(crate) old: &'a Config,
    pub(crate) new: &'a Config,
    pub(crate) listeners: &'a Listeners,
}

/// Why a step failed; all of them are undone.
pub(crate) struct Failed {
    pub(crate) reason: String,
    /// A plugin that is replaced could not listen where its predecessor does: it does not take over sockets, and needs the predecessor to
    /// stop first.
    pub(crate) needs_the_address: bool,
}

impl Applying<'_> {
    /// Applies the steps of a plan that keeps the host: first the starts, then the replacements, last the stops, because a removed
    /// receiver loses its backlog.
    ///
    /// # Errors
    /// The step that failed, and the reason. Every step before it is undone.
    pub(crate) async fn apply(&self, plan: &Plan) -> Result<(), Failed> {
        let mut done: Vec<&Step> = Vec::new();
        for change in [Change::Start, Change::Replace, Change::Stop] {
            for step in plan.steps.iter().filter(|step| step.change == change) {
                tracing::info!("{step}");
                if let Err(error) = self.step(step, step.change, self.new).await {
                    self.undo(&done).await;
                    let needs_the_address = change == Change::Replace && is_in_use(&error);
                    let reason = format!("{}: {}", step.plugin, Chain(&error));
                    return Err(Failed { reason, needs_the_address });
                }
                done.push(step);
            }
        }
        Ok(())
    }

    async fn undo(&self, done: &[&Step]) {
        for step in done.iter().rev() {
            let back = match step.change {
                Change::Start => Change::Stop,
                Change::Stop => Change::Start,
                other => other,
            };
            if let Err(error) = self.step(step, back, self.old).await {
                let error = Chain(&error);
                tracing::error!(plugin = step.plugin, "cannot undo a step of the reload: {error}");
            }
        }
    }

    async fn step(&self, step: &Step, change: Change, config: &Config) -> Result<(), ChangeError> {
        let Some((role, name)) = step.plugin.split_once('.') else { return Ok(()) };
        let _same_sockets = (change == Change::Replace).then(|| self.listeners.replacing(name));
        if role == "handlers" {
            self.handler(name, change, config.handler(name)).await
        } else {
            self.receiver(name, change, config.receiver_parts(name)).await
        }
    }

    async fn handler(
        &self,
        name: &str,
        change: Change,
        factory: Option<HandlerFactory>,
    ) -> Result<(), ChangeError> {
        match (change, factory) {
            (Change::Start, Some(factory)) => self.host.add_handler(name, factory).await,
            (Change::Replace, Some(factory)) => self.host.replace_handler(name, factory).await,
            (Change::Stop, _) => self.host.remove_handler(name).await,
            _ => Ok(()),
        }
    }

    async fn receiver(
        &self,
        name: &str,
        change: Change,
        parts: Option<(ReceiverOptions, ReceiverFactory)>,
    ) -> Result<(), ChangeError> {
        match (change, parts) {
            (Change::Start, Some((options, factory))) => {
                self.host.add_receiver(name, options, factory).await
            }
            (Change::Replace, Some((options, factory))) => {
                self.host.replace_receiver(name, options, factory).await
            }
            (Change::Stop, _) => self.host.remove_receiver(name).await,
            _ => Ok(()),
        }
    }
}

/// Whether an address is taken, as far as an error tells: that of a plugin in a library or another process is text.
fn is_in_use(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause| (*cause).source());
    causes.any(|cause| {
        let kind = cause.downcast_ref().map(io::Error::kind);
        kind == Some(io::ErrorKind::AddrInUse) || cause.to_string().contains("in use")
    })
}
