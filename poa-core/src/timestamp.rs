//! Points in time as receivers store them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: microseconds since 1970-01-01 UTC.
///
/// Displays as ISO 8601 in UTC with microseconds, `2026-01-31T12:00:00.000001Z`.
///
/// ```
/// use std::time::Duration;
/// use poa_core::Timestamp;
///
/// let received = Timestamp::from_micros(1_769_860_800_000_001);
/// let stored = Timestamp::from_micros(1_769_860_800_250_001);
/// assert_eq!(received.to_string(), "2026-01-31T12:00:00.000001Z");
/// assert_eq!(stored.since(received), Duration::from_millis(250));
/// // A clock that was set back never makes an age negative.
/// assert_eq!(received.since(stored), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The current time of the system clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs() * 1_000_000 + u64::from(since.subsec_micros()))
    }

    /// A point in time from microseconds since 1970-01-01 UTC.
    #[must_use]
    #[inline]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 UTC.
    #[must_use]
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from an earlier point to this one; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The time since this point; zero if it lies in the future.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_micros(self.0);
        humantime::format_rfc3339_micros(time).fmt(f)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_utc_with_microseconds() {
        let time = Timestamp::from_micros(1_533_920_604_000_007);
        assert_eq!(time.to_string(), "2018-08-10T17:03:24.000007Z");
    }
}
