//! Changes to a running host: adding, replacing and removing handlers and receivers.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::parts::{HandlerPart, ReceiverPart};
use super::start::{build_handler, build_receiver};
use super::{ChangeError, HostHandle, ReceiverOptions, StartError};
use crate::{HandlerFactory, ReceiverFactory};

/// How long a receiver that is being replaced may finish its current call; then the call is dropped, and its batch goes to the new one.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(1);

/// Changes are made one at a time. None of these calls is cancel safe: one that is dropped may leave a plugin stopped.
impl HostHandle {
    /// Adds a handler. When this returns, it is listening.
    ///
    /// # Errors
    /// When it cannot be built, the name is taken, or the host is stopping. Nothing has changed then.
    pub async fn add_handler(
        &self,
        name: &str,
        factory: HandlerFactory,
    ) -> Result<(), ChangeError> {
        let _alone = self.0.changes.lock().await;
        if self.has_handler(name) {
            return Err(ChangeError::DuplicateName(format!("handlers.{name}")));
        }
        let built = build_handler(self.0.start_timeout, &self.0.build, name, factory).await?;
        self.check_running()?;
        let part = self.0.spawn_handler(built);
        self.0.parts.lock().handlers.push(part);
        Ok(())
    }

    /// Replaces a handler. The new one is built before the old one is told to stop, and runs as soon as the old one has answered its
    /// requests in flight. A new handler on the address of the old one needs its socket; `poa_http::Listeners` transfers it.
    ///
    /// # Errors
    /// When the new one cannot be built; the old one then keeps running.
    pub async fn replace_handler(
        &self,
        name: &str,
        factory: HandlerFactory,
    ) -> Result<(), ChangeError> {
        let _alone = self.0.changes.lock().await;
        if !self.has_handler(name) {
            return Err(ChangeError::NoSuchPlugin(format!("handlers.{name}")));
        }
        let built = build_handler(self.0.start_timeout, &self.0.build, name, factory).await?;
        self.check_running()?;
        let new = self.0.spawn_handler(built);
        let old = {
            let mut parts = self.0.parts.lock();
            let at = parts.handlers.iter().position(|part| part.name == name);
            at.map(|at| std::mem::replace(&mut parts.handlers[at], new))
        };
        self.end_handler(old).await;
        Ok(())
    }

    /// Stops and removes a handler. When this returns, it has answered its requests in flight.
    ///
    /// # Errors
    /// When there is no handler of this name.
    pub async fn remove_handler(&self, name: &str) -> Result<(), ChangeError> {
        let _alone = self.0.changes.lock().await;
        let old = {
            let mut parts = self.0.parts.lock();
            let at = parts.handlers.iter().position(|part| part.name == name);
            at.map(|at| parts.handlers.remove(at))
        };
        if old.is_none() {
            return Err(ChangeError::NoSuchPlugin(format!("handlers.{name}")));
        }
        self.end_handler(old).await;
        self.0.services.telemetry.forget_gauges_of("handler", name);
        Ok(())
    }

    /// Adds a receiver. It starts at [`ReceiverOptions::from`], unless the engine knows a cursor of this name.
    ///
    /// # Errors
    /// When it cannot be built and is required, the name is taken, or the host is stopping. Nothing has changed then.
    pub async fn add_receiver(
        &self,
        name: &str,
        options: ReceiverOptions,
        factory: ReceiverFactory,
    ) -> Result<(), ChangeError> {
        let _alone = self.0.changes.lock().await;
        if self.has_receiver(name) {
            return Err(ChangeError::DuplicateName(format!("receivers.{name}")));
        }
        let (timeout, cx) = (self.0.start_timeout, &self.0.build);
        let built = build_receiver(timeout, cx, name, options, factory).await?;
        self.check_running()?;
        let part = self.0.subscribe(built).await?.spawn();
        self.0.parts.lock().receivers.push(part);
        Ok(())
    }

    /// Replaces a receiver. The new one is built before the old one is stopped, and continues at its cursor; a batch that the old one
    /// has not confirmed goes to the new one.
    ///
    /// # Errors
    /// When the new one cannot be built, even because of a transient error; the old one then keeps running.
    pub async fn replace_receiver(
        &self,
        name: &str,
        options: ReceiverOptions,
        factory: ReceiverFactory,
    ) -> Result<(), ChangeError> {
        let _alone = self.0.changes.lock().await;
        if !self.has_receiver(name) {
            return Err(ChangeError::NoSuchPlugin(format!("receivers.{name}")));
        }
        let (timeout, cx) = (self.0.start_timeout, &self.0.build);
        let required = ReceiverOptions { required: true, ..options.clone() };
        let mut built = build_receiver(timeout, cx, name, required, factory).await?;
        built.options = options;
        self.check_running()?;
        self.retire(name).await;
        let part = self.0.subscribe(built).await?.spawn();
        let mut parts = self.0.parts.lock();
        match parts.receivers.iter().position(|part| part.state.name == name) {
            Some(at) => parts.receivers[at] = part,
            None => parts.receivers.push(part),
        }
        Ok(())
    }

    /// Stops and removes a receiver, deletes its cursor and discards its backlog.
    ///
    /// # Errors
    /// When there is no receiver of this name, or the engine cannot delete the cursor.
    pub async fn remove_receiver(&self, name: &str) -> Result<(), ChangeError> {
        let _alone = self.0.changes.lock().await;
        if !self.has_receiver(name) {
            return Err(ChangeError::NoSuchPlugin(format!("receivers.{name}")));
        }
        self.retire(name).await;
        self.0.parts.lock().receivers.retain(|part| part.state.name != name);
        self.0.services.telemetry.forget_gauges_of("receiver", name);
        let removed = self.0.bus.engine().unsubscribe(name).await;
        removed.map_err(|error| {
            StartError::Plugin { plugin: format!("receivers.{name}"), source: error.into() }.into()
        })
    }

    fn has_handler(&self, name: &str) -> bool {
        self.0.parts.lock().handlers.iter().any(|part| part.name == name)
    }

    fn has_receiver(&self, name: &str) -> bool {
        self.0.parts.lock().receivers.iter().any(|part| part.state.name == name)
    }

    fn check_running(&self) -> Result<(), ChangeError> {
        if self.is_ready() { Ok(()) } else { Err(ChangeError::Stopping) }
    }

    async fn end_handler(&self, part: Option<HandlerPart>) {
        let Some(HandlerPart { name, stop, task: Some(mut task), .. }) = part else { return };
        stop.cancel();
        if tokio::time::timeout(self.0.stop_timeout, &mut task).await.is_err() {
            tracing::warn!(handler = name, "abandoned the handler: it did not stop in time");
            task.abort();
        }
    }

    /// Stops the delivery of a receiver; events in flight are given back.
    async fn retire(&self, name: &str) {
        let tasks = {
            let mut parts = self.0.parts.lock();
            let part = parts.receivers.iter_mut().find(|part| part.state.name == name);
            part.map(|ReceiverPart { retire, tasks, .. }| {
                retire.cancel();
                std::mem::take(tasks)
            })
        };
        for task in tasks.into_iter().flatten() {
            end(task).await;
        }
    }
}

/// Delivery ends by itself within [`HAND_OVER`], and the receiver's last call within its time limit; a plugin that blocks its thread is
/// abandoned.
async fn end(mut task: JoinHandle<()>) {
    if tokio::time::timeout(3 * HAND_OVER, &mut task).await.is_err() {
        task.abort();
    }
}
