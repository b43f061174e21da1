//! The way from handlers to the engine.

use std::sync::Arc;

use crate::engine::{Drafts, Engine, Receipt, Refused, SendError};
use crate::{Activity, DataTypes, Draft};

/// Checks what handlers send, and gives it to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Bus {
    engine: Arc<dyn Engine>,
    types: DataTypes,
}

impl Bus {
    pub(crate) fn new(engine: Arc<dyn Engine>, types: DataTypes) -> Self {
        Self { engine, types }
    }

    pub(crate) fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        match check_types(&self.types, messages.as_slice()) {
            Ok(()) => self.engine.publish(messages),
            Err(reason) => Err(SendError::new(reason, messages)),
        }
    }

    /// As [`publish`](Self::publish), but waits for room while messages are refused for now.
    pub(crate) async fn publish_when_ready(
        &self,
        mut messages: Drafts,
    ) -> Result<Receipt, SendError> {
        loop {
            let error = match self.publish(messages) {
                Ok(receipt) => return Ok(receipt),
                Err(error) => error,
            };
            let waits = matches!(
                error.reason(),
                Refused::BacklogFull { .. } | Refused::LogBusy | Refused::Unavailable(_)
            );
            if !waits {
                return Err(error);
            }
            messages = error.into_parts().1;
            self.engine.room().await;
        }
    }

    pub(crate) fn publish_activity(&self, change: Activity) {
        self.engine.publish_activity(change);
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

/// A data type of another host has the number of another type here.
pub(crate) fn check_types(types: &DataTypes, messages: &[Draft]) -> Result<(), Refused> {
    match messages.iter().find(|draft| !types.is_own(draft.data_type())) {
        Some(foreign) => Err(Refused::ForeignDataType(foreign.data_type().name().to_owned())),
        None => Ok(()),
    }
}
