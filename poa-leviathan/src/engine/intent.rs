//! Changes of the model: checked, durable, published.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::Inner;
use crate::event::Event;
use crate::model::Model;
use crate::store::{Changes, Durability, Store, StoreError};
use crate::{Code, Error};

impl Inner {
    pub(super) fn model(&self) -> Arc<Model> {
        self.model.borrow().clone()
    }

    /// Lets `change` work on a copy of the model. If it succeeds, what it changed is made durable in one transaction, and then published; if it
    /// fails, nothing has changed. Returns the model before and what `change` returned.
    ///
    /// Cancel safe: what is published is durable, and what is durable is published.
    pub(super) async fn change<R>(
        &self,
        change: impl FnOnce(&mut Model, &mut Vec<Event>) -> Result<R, Error>,
    ) -> Result<(Arc<Model>, R), Error> {
        self.change_by(Durability::Now, change).await
    }

    /// As [`change`](Self::change), for the result of work whose intent is durable. A loss of power may undo it: it takes all interfaces as
    /// well, so that the next start has to do that work again in any case. Events are not made twice, and so go to the disk at once.
    pub(super) async fn note_result<R>(
        &self,
        change: impl FnOnce(&mut Model, &mut Vec<Event>) -> Result<R, Error>,
    ) -> Result<(Arc<Model>, R), Error> {
        self.change_by(Durability::Soon, change).await
    }

    async fn change_by<R>(
        &self,
        durable: Durability,
        change: impl FnOnce(&mut Model, &mut Vec<Event>) -> Result<R, Error>,
    ) -> Result<(Arc<Model>, R), Error> {
        let mut store = self.store.clone().lock_owned().await;
        let before = self.model();
        let mut after = (*before).clone();
        let mut events = Vec::new();
        let result = change(&mut after, &mut events)?;
        if !self.options.keep_events {
            events.clear();
        }
        let changes = Changes::between(&before, &after, events);
        if changes.is_empty() {
            return Ok((before, result));
        }
        let durable = if changes.events.is_empty() { durable } else { Durability::Now };
        let (model, told) = (self.model.clone(), self.told.clone());
        // Not in this future, which may be dropped between the two.
        let committed = tokio::task::spawn_blocking(move || {
            let last = store.commit(&changes, durable)?;
            model.send_replace(Arc::new(after));
            if let Some(last) = last {
                told.send_replace(last);
            }
            Ok::<(), StoreError>(())
        });
        committed.await.map_err(ended)?.map_err(|error| broken(&error))?;
        Ok((before, result))
    }

    pub(super) async fn with_store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, Error> {
        let mut store = self.store.clone().lock_owned().await;
        let done = tokio::task::spawn_blocking(move || work(&mut **store));
        done.await.map_err(ended)?.map_err(|error| broken(&error))
    }

    /// Runs `work` on a task that continues when the handle is dropped, and ends when this is stopped.
    pub(super) fn spawn<R: Send + 'static>(
        &self,
        work: impl Future<Output = R> + Send + 'static,
    ) -> JoinHandle<Option<R>> {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(work))
    }

    /// Runs `work` on such a task and waits for it.
    pub(super) async fn complete<R: Send + 'static>(
        &self,
        work: impl Future<Output = Result<R, Error>> + Send + 'static,
    ) -> Result<R, Error> {
        if self.tasks.is_closed() {
            return Err(interrupted());
        }
        match self.spawn(work).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(interrupted()),
            Err(error) => Err(ended(error)),
        }
    }
}

pub(super) fn interrupted() -> Error {
    Error::new(Code::Interrupted, "the server stops; the next start finishes what was begun")
}

pub(super) fn ended(error: tokio::task::JoinError) -> Error {
    Error::internal(format!("a task ended: {error}"))
}

fn broken(error: &StoreError) -> Error {
    Error::internal(format!("nothing was changed, since it cannot be stored: {error}"))
}
