//! The path from handlers to the engine.

use std::sync::Arc;

use crate::engine::{Drafts, Engine, Receipt, Refused, SendError};
use crate::observer::Observers;
use crate::publication::Publication;
use crate::rates::RateLimiter;
use crate::{Activity, DataTypes, Draft, Rates};

/// Checks drafts from handlers and passes them to the engine.
#[derive(Clone, Debug)]
pub(crate) struct Bus {
    engine: Arc<dyn Engine>,
    types: DataTypes,
    rates: Option<Arc<RateLimiter>>,
    /// Those that see acknowledgements.
    observers: Observers,
}

impl Bus {
    pub(crate) fn new(engine: Arc<dyn Engine>, types: DataTypes) -> Self {
        Self { engine, types, rates: None, observers: Observers::default() }
    }

    /// The same bus, which refuses messages above these rates.
    pub(crate) fn with_rates(self, rates: Rates) -> Self {
        Self { rates: RateLimiter::new(rates).map(Arc::new), ..self }
    }

    /// The same bus, of which these observers see the acknowledgements.
    pub(crate) fn observed_by(self, observers: &Observers) -> Self {
        Self { observers: observers.of_acknowledgements(), ..self }
    }

    pub(crate) fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        if let Err(reason) = self.check(messages.as_slice()) {
            return Err(SendError::new(reason, messages));
        }
        match Publication::of(&self.observers, messages.as_slice()) {
            None => self.engine.publish(messages),
            Some(publication) => Ok(self.engine.publish(messages)?.observed(publication)),
        }
    }

    fn check(&self, messages: &[Draft]) -> Result<(), Refused> {
        check_types(&self.types, messages)?;
        self.rates.as_ref().map_or(Ok(()), |rates| rates.admit(messages))
    }

    /// As [`publish`](Self::publish), but waits while messages are refused with a transient error.
    pub(crate) async fn publish_when_ready(
        &self,
        mut messages: Drafts,
    ) -> Result<Receipt, SendError> {
        loop {
            let error = match self.publish(messages) {
                Ok(receipt) => return Ok(receipt),
                Err(error) => error,
            };
            match error.reason() {
                Refused::OverRate { retry_after, .. } => tokio::time::sleep(*retry_after).await,
                Refused::BacklogFull { .. } | Refused::LogBusy | Refused::Unavailable(_) => {
                    self.engine.room().await;
                }
                _ => return Err(error),
            }
            messages = error.into_parts().1;
        }
    }

    pub(crate) fn publish_activity(&self, change: Activity) {
        self.engine.publish_activity(change);
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

/// A data type of another host has the index of a different type here.
pub(crate) fn check_types(types: &DataTypes, messages: &[Draft]) -> Result<(), Refused> {
    match messages.iter().find(|draft| !types.is_own(draft.data_type())) {
        Some(foreign) => Err(Refused::ForeignDataType(foreign.data_type().name().to_owned())),
        None => Ok(()),
    }
}
