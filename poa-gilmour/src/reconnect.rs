//! How engines come back to their brokers.

use std::time::Duration;

/// The bound of the first wait before connecting again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// So short that subscriptions are back within 5 s.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Grows from attempt to attempt; the upper half is drawn at random, so that many processes do not come at once.
pub(crate) fn wait(failures: u32) -> Duration {
    let bound = FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT);
    bound.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// A URL without what precedes its `@`.
pub(crate) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}…{}", &url[..scheme + 3], &url[at..])
        }
        (None, Some(at)) => format!("…{}", &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_two_seconds() {
        for failures in 0..20 {
            let wait = wait(failures);
            assert!(wait >= FIRST_WAIT / 2 && wait <= LONGEST_WAIT, "{wait:?}");
        }
        assert!(wait(0) <= FIRST_WAIT && wait(19) >= LONGEST_WAIT / 2);
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("nats://a:b@host:1"), "nats://…@host:1");
        assert_eq!(without_password("a:b@host:1"), "…@host:1");
        assert_eq!(without_password("nats://host:1"), "nats://host:1");
    }
}
