//! Delays between attempts, up to a deadline.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Delays that double up to a maximum, each a random part of that, so that requests refused together are not repeated
/// together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    end: Instant,
    next: Duration,
}

impl Backoff {
    /// The deadline.
    pub(super) fn until(end: Instant) -> Self {
        Self { end, next: FIRST }
    }

    /// Waits; returns false, without waiting, after the deadline.
    pub(super) async fn wait(&mut self) -> bool {
        let wait = self.next.mul_f64(fastrand::f64());
        self.next = (self.next * 2).min(LONGEST);
        let until = Instant::now() + wait;
        if until > self.end {
            return false;
        }
        tokio::time::sleep_until(until).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_longer_and_longer_and_ends() {
        let begin = Instant::now();
        let mut backoff = Backoff::until(begin + Duration::from_secs(60));
        let mut waits = 0;
        while backoff.wait().await {
            waits += 1;
        }
        let elapsed = begin.elapsed();
        assert!(
            (Duration::from_secs(58)..=Duration::from_secs(60)).contains(&elapsed),
            "{elapsed:?}"
        );
        assert!((30..1000).contains(&waits), "{waits}");
    }
}
