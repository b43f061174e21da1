use super::{Changes, Durability, Store, StoreError, Unconfirmed};
use crate::model::{Model, Wiring};

/// Keeps nothing beyond its own life: for plans and tests.
#[derive(Debug, Default)]
pub struct MemoryStore {
    model: Model,
    events: Vec<Unconfirmed>,
    sequence: i64,
}

impl MemoryStore {
    /// With this model.
    #[must_use]
    pub fn with(model: Model) -> Self {
        Self { model, ..Self::default() }
    }
}

impl Store for MemoryStore {
    fn load(&mut self, wiring: Wiring) -> Result<Model, StoreError> {
        self.model.wiring = wiring;
        Ok(self.model.clone())
    }

    fn commit(&mut self, changes: &Changes, _: Durability) -> Result<Option<i64>, StoreError> {
        changes.apply(&mut self.model);
        for event in &changes.events {
            self.sequence += 1;
            self.events.push(Unconfirmed { sequence: self.sequence, event: event.clone() });
        }
        Ok((!changes.events.is_empty()).then_some(self.sequence))
    }

    fn unconfirmed(&mut self, limit: usize) -> Result<Vec<Unconfirmed>, StoreError> {
        Ok(self.events.iter().take(limit).cloned().collect())
    }

    fn confirm(&mut self, up_to: i64) -> Result<(), StoreError> {
        self.events.retain(|event| event.sequence > up_to);
        Ok(())
    }
}
