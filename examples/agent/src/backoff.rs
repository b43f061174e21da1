//! The delays between attempts.

use std::time::Duration;

/// Exponential backoff with full jitter.
///
/// The n-th wait in a row is drawn evenly from zero to `base * 2^n`, at most `cap`. So a fleet that lost its server
/// in one moment does not come back in one moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts with waits of up to `base`, and never waits longer than `cap` (unless the server asks for it).
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// The longest possible next delay; the one after it is twice as long.
    pub(crate) fn ceiling(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The next delay. A delay that the server asked for is added: jitter below it would violate the server's request,
    /// and without jitter all agents would return at the same moment.
    #[must_use]
    pub fn delay(&mut self, asked: Option<Duration>) -> Duration {
        let jitter = self.ceiling().mul_f64(fastrand::f64());
        asked.unwrap_or_default() + jitter
    }

    /// Resets the delay to its base.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    /// From half a second up to 30 seconds.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(1);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_starts_over_after_a_reset() {
        let mut backoff = Backoff::new(BASE, CAP);
        let ceilings: Vec<_> = (0..6).map(|_| backoff.ceiling().as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.ceiling(), BASE);
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff::new(BASE, CAP);
        assert!((0..1000).all(|_| backoff.delay(None) <= CAP));
    }

    #[test]
    fn the_wait_is_never_shorter_than_the_server_asked_for() {
        let asked = Duration::from_secs(3);
        let mut backoff = Backoff::new(BASE, CAP);
        let waits: Vec<_> = (0..100).map(|_| backoff.delay(Some(asked))).collect();
        assert!(waits.iter().all(|wait| (asked..=asked + CAP).contains(wait)));
        assert!(waits.iter().any(|wait| *wait != waits[0]), "no jitter");
    }
}
