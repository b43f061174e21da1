//! Changes a running host step by step, and undoes all of it when a step fails.

use poa_core::{HandlerFactory, HostHandle, ReceiverFactory, ReceiverOptions};

use crate::plan::{Change, Plan, Step};
use crate::tap::{Taps, watched};
use crate::{Chain, Config};

/// Changes the host from one configuration to another.
pub(crate) struct Applying<'a> {
    pub(crate) host: &'a HostHandle,
    pub(crate) taps: &'a Taps,
    pub(crate) old: &'a Config,
    pub(crate) new: &'a Config,
}

impl Applying<'_> {
    /// Applies the steps of a plan that keeps the host: first the starts, then the replacements, last the stops, because a removed
    /// receiver loses its backlog.
    ///
    /// # Errors
    /// The step that failed, and the reason. Every step before it is undone.
    pub(crate) async fn apply(&self, plan: &Plan) -> Result<(), String> {
        let mut done: Vec<&Step> = Vec::new();
        for change in [Change::Start, Change::Replace, Change::Stop] {
            for step in plan.steps.iter().filter(|step| step.change == change) {
                tracing::info!("{step}");
                if let Err(error) = self.step(step, step.change, self.new).await {
                    self.undo(&done).await;
                    return Err(format!("{}: {error}", step.plugin));
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
                tracing::error!(plugin = step.plugin, "cannot undo a step of the reload: {error}");
            }
        }
    }

    async fn step(&self, step: &Step, change: Change, config: &Config) -> Result<(), String> {
        let Some((role, name)) = step.plugin.split_once('.') else { return Ok(()) };
        let done = if role == "handlers" {
            self.handler(name, change, config.handler(name)).await
        } else {
            self.receiver(name, change, config.receiver_parts(name)).await
        };
        done.map_err(|error| Chain(&error).to_string())
    }

    async fn handler(
        &self,
        name: &str,
        change: Change,
        factory: Option<HandlerFactory>,
    ) -> Result<(), poa_core::ChangeError> {
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
    ) -> Result<(), poa_core::ChangeError> {
        let parts = parts.map(|(options, factory)| (options, watched(factory, name, self.taps)));
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
