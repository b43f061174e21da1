//! State that the plugins of one host share.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// One value of each type, created on first use.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Shared {
    /// The value of this type. `make` runs under the lock, so that two plugins never create two values; it must not request
    /// another value.
    pub(crate) fn get<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.0.lock();
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(make())).clone();
        value.downcast().expect("values are stored under their type")
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} values)", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::Shared;

    #[test]
    fn is_made_once() {
        let shared = Shared::default();
        let first = shared.get(|| String::from("first"));
        assert_eq!(*shared.clone().get(|| String::from("second")), "first");
        assert_eq!(*shared.get(|| 7), 7);
        assert_eq!(*first, "first");
    }
}
