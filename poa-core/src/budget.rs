//! One limit on the memory that requests hold, for a whole host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number of bytes that all handlers of a host share for the bodies they hold in memory.
///
/// A handler reserves as bytes arrive, so that a client that announces much and sends little costs little.
///
/// ```
/// use poa_core::MemoryBudget;
///
/// // A host has one budget: `HandlerContext::memory`.
/// let budget = MemoryBudget::new(1000);
/// let mut body = budget.reservation();
/// for chunk in [&[0_u8; 600][..], &[0; 400]] {
///     assert!(body.grow(chunk.len() as u64));
/// }
/// // Full: this request is refused with 503 before its body is read.
/// assert!(!budget.reservation().grow(1));
/// drop(body);
/// assert_eq!(budget.used(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicU64::new(0) }))
    }

    /// An empty reservation, to be grown.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.0.clone(), held: 0 }
    }

    /// The most bytes that may be reserved.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes reserved now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }
}

/// Bytes reserved from a [`MemoryBudget`]; released on drop.
///
/// See [`MemoryBudget`] for an example.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Inner>,
    held: u64,
}

impl Reservation {
    /// Reserves `bytes` more; returns false, and reserves nothing, if the budget has less left.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.budget.limit;
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let grown = self.budget.used.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if grown {
            self.held += bytes;
        }
        grown
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryBudget;

    #[test]
    fn is_shared_limited_and_released() {
        let budget = MemoryBudget::new(10);
        let (mut one, mut two) = (budget.reservation(), budget.reservation());
        assert!(one.grow(6) && two.grow(4));
        assert!(!two.grow(1));
        assert!(!one.grow(u64::MAX));
        drop(one);
        assert_eq!(budget.used(), 4);
        assert!(two.grow(6));
    }
}
