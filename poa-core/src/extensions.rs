//! A map from types to values, for data that plugins share without the core knowing its types.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// At most one value of each type.
///
/// Messages carry one as `extensions`; the host offers one to every plugin as its resources. Cloning shares the
/// values.
///
/// ```
/// use std::net::IpAddr;
/// use poa_core::Extensions;
///
/// /// The type is the key, so plugins of different crates do not collide.
/// struct Peer(IpAddr);
///
/// let mut extensions = Extensions::new();
/// extensions.insert(Peer([10, 0, 0, 7].into()));
/// assert_eq!(extensions.get::<Peer>().map(|peer| peer.0.to_string()).as_deref(), Some("10.0.0.7"));
/// assert!(extensions.get::<String>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Extensions(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Extensions {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts a value, replacing one of the same type.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Inserts every value of the others, replacing those of the same types.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().map(|(id, value)| (*id, value.clone())));
    }

    /// The value of this type, if present.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({} values)", self.0.len())
    }
}
